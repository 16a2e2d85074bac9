/* plan.c - a pipeline and its images become the steps of a job and, with URLs, its Batch bodies. */
#include "batch/pipeline/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/codec.h"
#include "batch/pipeline/build.h"

#define MAX_TASK_ID 64

static int fill_step(struct build *b, size_t i)
{
	const struct model_step *s = &b->p->steps[i];
	struct adafs_plan_step *out = &b->plan->steps[i];
	const struct adafs_plan_request *req = b->req;
	out->number = (unsigned)i + 1;
	out->slots = s->settings.slots;
	out->result = s->result;
	out->merge = s->merge;
	out->name = strdup(s->name);
	out->task_id = adafs_fmt("%02zu-%s", i + 1, s->name);
	out->command = strdup(s->source);
	out->depends_on = calloc(s->n_deps ? s->n_deps : 1, sizeof(*out->depends_on));
	if (!out->name || !out->task_id || !out->command || !out->depends_on)
		return build_oom(b);
	memcpy(out->depends_on, s->deps, s->n_deps * sizeof(*s->deps));
	out->n_depends_on = s->n_deps;
	out->work_prefix = adafs_fmt("work/%s/%s/%u/", req->job_id, out->task_id, req->run);
	if (!out->work_prefix)
		return build_oom(b);
	if (req->pool_slots > 0 && out->slots > req->pool_slots)
		return adafs_err_set(
			b->reterr, -EINVAL,
			"step '%s' takes %d slots and a node of the pool has %d; lower its "
			"\"slots\" or make the pool with more task slots",
			s->name, out->slots, req->pool_slots);
	return 0;
}

static bool plain_id(const char *text)
{
	return text && *text && strlen(text) <= MAX_TASK_ID &&
	       text[strspn(text,
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")] ==
		       0;
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
	if (p->grid_zoom >= 0 && !plain_id(req->unit))
		return adafs_err_set(reterr, -EINVAL, "pipeline '%s' needs the id of a grid cell",
				     p->name);
	for (size_t i = 0; i < p->n_steps; i++)
		if (p->steps[i].shards > 1)
			return adafs_pipeline_runnable(p, reterr);
	return 0;
}

static int fill_bodies(struct build *b)
{
	struct adafs_plan *plan = b->plan;
	int rc = build_job(b, &plan->job);
	plan->tasks = cJSON_CreateArray();
	plan->patch = build_patch(b);
	if (rc == 0 && (!plan->tasks || b->oom))
		rc = build_oom(b);
	for (size_t i = 0; rc == 0 && i < plan->n_steps; i++) {
		cJSON *task = NULL;
		rc = build_task(b, &b->p->steps[i], &task);
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
	plan->batch_job_id =
		req->run > 1 ? adafs_fmt("%s-r%u", req->job_id, req->run) : strdup(req->job_id);
	plan->steps = calloc(b->p->n_steps, sizeof(*plan->steps));
	b->parts = adafs_fmt("parts/%s/%s/", req->event, b->p->name);
	if (!plan->batch_job_id || !plan->steps || !b->parts)
		return build_oom(b);
	plan->n_steps = b->p->n_steps;
	int rc = build_names(b);
	for (size_t i = 0; rc == 0 && i < plan->n_steps; i++)
		rc = fill_step(b, i);
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
