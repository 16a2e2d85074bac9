/* plan.c - a pipeline and its images become the steps of a job and, with URLs, its Batch bodies. */
#include "batch/pipeline/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/codec.h"
#include "batch/pipeline/build.h"

#define MAX_TASK_ID 64

/* All shards of what it comes after, but hand in hand where both are split. */
static int fill_deps(struct build *b, struct adafs_plan_step *out)
{
	const struct model_step *s = build_model(b, out);
	size_t n = 0;
	for (size_t i = 0; i < s->n_deps; i++)
		n += (size_t)build_width(b, s->deps[i]);
	out->depends_on = calloc(n ? n : 1, sizeof(*out->depends_on));
	if (!out->depends_on)
		return build_oom(b);
	for (size_t i = 0; i < s->n_deps; i++) {
		const struct piece ref = { .kind = PIECE_OUTPUT, .index = s->deps[i] };
		const struct adafs_plan_step *from = build_producers(b, out, &ref, &n);
		for (size_t k = 0; k < n; k++)
			out->depends_on[out->n_depends_on++] = (size_t)(from - b->plan->steps) + k;
	}
	return 0;
}

static int fill_step(struct build *b, struct adafs_plan_step *out, size_t model, int shard)
{
	const struct model_step *s = &b->p->steps[model];
	const struct adafs_plan_request *req = b->req;
	out->number = (unsigned)model + 1;
	out->model = model;
	out->shard = shard;
	out->run = req->run;
	out->slots = s->settings.slots;
	out->result = s->result;
	out->merge = s->merge;
	out->name = shard < 0 ? strdup(s->name) : adafs_fmt("%s-%d", s->name, shard);
	out->task_id = out->name ? adafs_fmt("%02u-%s", out->number, out->name) : NULL;
	out->command = strdup(s->source);
	if (!out->name || !out->task_id || !out->command)
		return build_oom(b);
	int rc = fill_deps(b, out);
	if (rc < 0)
		return rc;
	if (req->pool_slots > 0 && out->slots > req->pool_slots)
		return adafs_err_set(
			b->reterr, -EINVAL,
			"step '%s' takes %d slots and a node of the pool has %d; lower its "
			"\"slots\" or make the pool with more task slots",
			s->name, out->slots, req->pool_slots);
	return 0;
}

/* Where an attempt leaves its logs, which may be one of an earlier run. */
static int fill_prefixes(struct build *b)
{
	for (size_t i = 0; i < b->plan->n_steps; i++) {
		struct adafs_plan_step *t = &b->plan->steps[i];
		t->work_prefix = adafs_fmt("work/%s/%s/%u/", b->req->job_id, t->task_id, t->run);
		if (!t->work_prefix)
			return build_oom(b);
	}
	return 0;
}

static int fill_steps(struct build *b)
{
	size_t n = 0;
	for (size_t i = 0; i < b->p->n_steps; i++)
		n += (size_t)build_width(b, i);
	b->first = calloc(b->p->n_steps, sizeof(*b->first));
	b->plan->steps = calloc(n, sizeof(*b->plan->steps));
	if (!b->first || !b->plan->steps)
		return build_oom(b);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < b->p->n_steps; i++) {
		int width = build_width(b, i);
		if (b->p->steps[i].merge && b->req->no_merge)
			continue;
		b->first[i] = b->plan->n_steps;
		for (int k = 0; rc == 0 && k < width; k++)
			rc = fill_step(b, &b->plan->steps[b->plan->n_steps++], i,
				       width > 1 ? k : -1);
	}
	return rc;
}

static bool plain_id(const char *text)
{
	return text && *text && strlen(text) <= MAX_TASK_ID &&
	       text[strspn(text,
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")] ==
		       0;
}

/* It stands in commands, and so must mean nothing to a shell. */
static bool plain_unit(const char *text)
{
	for (const char *p = text; *p; p++)
		if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') &&
		    !(*p >= '0' && *p <= '9') && !strchr("_.-", *p))
			return false;
	return *text && *text != '-';
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	return false;
}

static int check_request(const struct adafs_pipeline *p, const struct adafs_plan_request *req,
			 struct adafs_err *reterr)
{
	if (!plain_id(req->job_id) || req->run < 1)
		return adafs_err_set(reterr, -EINVAL, "'%.80s' is no id of a job", req->job_id);
	if (!*req->event || strchr(req->event, '/') || has_control(req->event))
		return adafs_err_set(reterr, -EINVAL, "'%.80s' is no name of an event", req->event);
	if (!req->n_parts && adafs_pipeline_by_unit(p) && !plain_unit(req->unit ? req->unit : ""))
		return adafs_err_set(reterr, -EINVAL, "'%.80s' is no unit of pipeline '%s'",
				     req->unit ? req->unit : "", p->name);
	return 0;
}

static int fill_bodies(struct build *b)
{
	struct adafs_plan *plan = b->plan;
	int rc = b->req->batch_job_id ? 0 : build_job(b, &plan->job);
	plan->tasks = cJSON_CreateArray();
	plan->patch = build_patch(b);
	if (rc == 0 && (!plan->tasks || b->oom))
		rc = build_oom(b);
	for (size_t i = 0; rc == 0 && i < plan->n_steps; i++) {
		cJSON *task = NULL;
		if (plan->steps[i].reused)
			continue;
		rc = build_task(b, &plan->steps[i], &task);
		if (rc == 0 && !cJSON_AddItemToArray(plan->tasks, task)) {
			cJSON_Delete(task);
			rc = build_oom(b);
		}
	}
	return rc;
}

static int fill_plan(struct build *b)
{
	struct adafs_plan *plan = b->plan;
	const struct adafs_plan_request *req = b->req;
	plan->batch_job_id = req->batch_job_id ? strdup(req->batch_job_id)
			     : req->run > 1    ? adafs_fmt("%s-r%u", req->job_id, req->run)
					       : strdup(req->job_id);
	b->parts = adafs_fmt("parts/%s/%s/", req->event, b->p->name);
	if (!plan->batch_job_id || !b->parts)
		return build_oom(b);
	int rc = req->n_parts ? 0 : build_names(b);
	if (rc == 0)
		rc = req->n_parts ? build_merge_steps(b) : fill_steps(b);
	if (rc == 0 && !req->n_parts)
		rc = build_keys(b);
	if (rc == 0)
		rc = fill_prefixes(b);
	return rc < 0 || !req->url ? rc : fill_bodies(b);
}

int adafs_plan_make(const struct adafs_pipeline *p, const struct adafs_plan_request *req,
		    struct adafs_plan **ret, struct adafs_err *reterr)
{
	struct adafs_err err = { 0 };
	struct build b = { .p = p, .req = req, .reterr = &err };
	int rc = check_request(p, req, reterr);
	if (rc < 0)
		return rc;
	b.plan = calloc(1, sizeof(*b.plan));
	rc = b.plan ? fill_plan(&b) : build_oom(&b);
	for (size_t i = 0; b.names && i < req->n_images; i++)
		free(b.names[i]);
	free(b.names);
	free(b.first);
	free(b.leaf);
	free(b.parts);
	free(b.read_url);
	free(b.write_url);
	if (rc < 0) {
		adafs_plan_free(b.plan);
		adafs_err_copy(reterr, &err);
		return rc;
	}
	*ret = b.plan;
	return 0;
}

void adafs_plan_free(struct adafs_plan *plan)
{
	if (!plan)
		return;
	for (size_t i = 0; plan->steps && i < plan->n_steps; i++) {
		struct adafs_plan_step *s = &plan->steps[i];
		free(s->name);
		free(s->task_id);
		free(s->command);
		free(s->depends_on);
		free(s->work_prefix);
	}
	free(plan->steps);
	free(plan->batch_job_id);
	cJSON_Delete(plan->job);
	cJSON_Delete(plan->tasks);
	cJSON_Delete(plan->patch);
	free(plan);
}
