/*
 * plan_merge.c - a job that merges an event. Up to ADAFS_PLAN_FLAT parts, or where the merge cannot
 * read what it writes, it is one task. Else leaves merge so many parts each, and the root merges
 * what they leave in work/<job>/leaf/<run>/<k>/: out/, their shares of the map, and tally/, those
 * of the summary.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/codec.h"
#include "batch/base/digest.h"
#include "batch/pipeline/build.h"

#define LEAF_MOST 100
/* What the entry of a part takes of a task's list of files beside its prefix, with a long SAS. */
#define ENTRY_LEN 520
#define LIST_MOST 30000
/* A task may name 64,000 characters of tasks that it waits for. */
#define WAIT_MOST 60000

void adafs_plan_merge_id(const char *event, const char *pipeline,
			 const struct adafs_plan_part *parts, const unsigned *runs, size_t n,
			 unsigned again, char out[ADAFS_JOB_ID_LEN])
{
	char hex[ADAFS_SHA256_HEX_LEN] = "", slug[25], line[128];
	uint8_t sum[ADAFS_SHA256_LEN];
	struct adafs_digest *d = adafs_digest_new(ADAFS_DIGEST_SHA256);
	if (d) {
		adafs_digest_update(d, event, strlen(event) + 1);
		adafs_digest_update(d, pipeline, strlen(pipeline) + 1);
		for (size_t i = 0; i < n; i++) {
			int len = snprintf(line, sizeof(line), "%s %u\n", parts[i].job_id, runs[i]);
			adafs_digest_update(d, line, (size_t)len);
		}
		if (again)
			adafs_digest_update(d, line,
					    (size_t)snprintf(line, sizeof(line), "%u\n", again));
		adafs_digest_final(d, sum);
		adafs_hex_encode(sum, sizeof(sum), hex);
	}
	adafs_digest_free(d);
	plan_slug(event, strlen(event), slug, 24);
	snprintf(out, ADAFS_JOB_ID_LEN, "%s-merge-%.8s", slug, hex);
}

/* Whether the merge finds in the outputs of merges what it finds in parts. */
static bool reads_itself(const struct adafs_pipeline *p, const struct model_step *merge)
{
	const struct model_step *result = NULL;
	for (size_t i = 0; i < p->n_steps; i++)
		if (p->steps[i].result)
			result = &p->steps[i];
	for (size_t i = 0; result && i < merge->n_outputs; i++) {
		bool found = false;
		for (size_t k = 0; k < result->n_outputs; k++)
			found |= !result->outputs[k].folder &&
				 strcmp(result->outputs[k].base, merge->outputs[i].base) == 0;
		if (!found)
			return false;
	}
	return result && merge->n_outputs > 0;
}

void adafs_plan_task_prefix(const char *job_id, char out[ADAFS_PLAN_PREFIX_LEN])
{
	size_t len = strlen(job_id);
	snprintf(out, ADAFS_PLAN_PREFIX_LEN, "%.8s-", job_id + (len > 8 ? len - 8 : 0));
}

/* Its last steps, one a shard, and how long the ids of a member's tasks for them are. */
static const struct model_step *result_of(const struct adafs_pipeline *p, size_t *ret_number)
{
	for (*ret_number = 0; *ret_number < p->n_steps; ++*ret_number)
		if (p->steps[*ret_number].result)
			return &p->steps[(*ret_number)++];
	return NULL;
}

size_t adafs_plan_most_members(const struct adafs_pipeline *p)
{
	size_t number;
	const struct model_step *merge = &p->steps[p->n_steps - 1], *result = result_of(p, &number);
	if (!result || reads_itself(p, merge))
		return SIZE_MAX;
	/* prefix, number and dash, name, and in the list quotes and a comma */
	return WAIT_MOST / (strlen(result->name) + 24) / (size_t)result->shards;
}

int build_merge_dependencies(struct build *b, const struct adafs_plan_step *t, cJSON *ids)
{
	size_t number;
	const struct model_step *result = result_of(b->p, &number);
	if (!result || (t->shard < 0 && b->n_leaves))
		return 0;
	size_t first = t->shard < 0 ? 0 : b->leaf[t->shard];
	size_t end = t->shard < 0 ? b->req->n_parts : b->leaf[t->shard + 1];
	for (size_t i = first; i < end; i++) {
		char prefix[ADAFS_PLAN_PREFIX_LEN];
		if (!b->req->parts[i].member)
			continue;
		adafs_plan_task_prefix(b->req->parts[i].job_id, prefix);
		for (int k = 0; k < result->shards; k++) {
			ADAFS_FREE char *id =
				result->shards > 1
					? adafs_fmt("%02zu-%s-%d", number, result->name, k)
					: adafs_fmt("%02zu-%s", number, result->name);
			if (!id)
				return build_oom(b);
			build_dependency(b, ids, prefix, id);
		}
	}
	return 0;
}

/* The list of a leaf's files must stay within what the service allows. */
static int cut_leaves(struct build *b)
{
	const struct adafs_plan_request *req = b->req;
	b->leaf = calloc(req->n_parts + 1, sizeof(*b->leaf));
	if (!b->leaf)
		return build_oom(b);
	for (size_t i = 0; i < req->n_parts; b->n_leaves++) {
		size_t len = 0, first = i;
		b->leaf[b->n_leaves] = first;
		for (; i < req->n_parts && i - first < LEAF_MOST; i++) {
			len += ENTRY_LEN + strlen(b->parts) + strlen(req->parts[i].job_id);
			if (len > LIST_MOST && i > first)
				break;
		}
	}
	b->leaf[b->n_leaves] = req->n_parts;
	return 0;
}

static int fill_step(struct build *b, size_t model, int leaf)
{
	struct adafs_plan_step *out = &b->plan->steps[b->plan->n_steps++];
	const struct model_step *s = &b->p->steps[model];
	out->number = leaf < 0 && b->n_leaves ? 2 : 1;
	out->model = model;
	out->shard = leaf;
	out->run = b->req->run;
	out->slots = s->settings.slots;
	out->merge = true;
	out->name = leaf < 0 ? strdup(s->name) : adafs_fmt("leaf-%d", leaf);
	out->task_id = out->name ? adafs_fmt("%02u-%s", out->number, out->name) : NULL;
	out->command = strdup(s->source);
	if (!out->name || !out->task_id || !out->command)
		return build_oom(b);
	if (leaf >= 0)
		return 0;
	out->depends_on = calloc(b->n_leaves + 1, sizeof(*out->depends_on));
	if (!out->depends_on)
		return build_oom(b);
	for (size_t i = 0; i < b->n_leaves; i++)
		out->depends_on[out->n_depends_on++] = i;
	return 0;
}

int build_merge_steps(struct build *b)
{
	size_t model = b->p->n_steps - 1;
	int rc = 0;
	if (b->req->n_parts > ADAFS_PLAN_FLAT && reads_itself(b->p, &b->p->steps[model]))
		rc = cut_leaves(b);
	if (rc == 0)
		b->plan->steps = calloc(b->n_leaves + 1, sizeof(*b->plan->steps));
	if (!b->plan->steps)
		return build_oom(b);
	for (size_t i = 0; rc == 0 && i < b->n_leaves; i++)
		rc = fill_step(b, model, (int)i);
	return rc == 0 ? fill_step(b, model, -1) : rc;
}

/* "work/<job>/leaf/<run>" */
static char *leaves_folder(const struct build *b)
{
	return adafs_fmt("work/%s/leaf/%u", b->req->job_id, b->req->run);
}

int build_merge_inputs(struct build *b, const struct adafs_plan_step *t, cJSON *list)
{
	int rc = 0;
	if (t->shard < 0 && b->n_leaves == 0)
		return build_prefix(b, list, b->parts);
	if (t->shard < 0) {
		ADAFS_FREE char *folder = leaves_folder(b);
		ADAFS_FREE char *prefix = folder ? adafs_fmt("%s/", folder) : NULL;
		return prefix ? build_prefix(b, list, prefix) : build_oom(b);
	}
	for (size_t i = b->leaf[t->shard]; rc == 0 && i < b->leaf[t->shard + 1]; i++) {
		ADAFS_FREE char *prefix = adafs_fmt("%s%s/", b->parts, b->req->parts[i].job_id);
		rc = prefix ? build_prefix(b, list, prefix) : build_oom(b);
	}
	return rc;
}

int build_merge_outputs(struct build *b, const struct adafs_plan_step *t, cJSON *list)
{
	if (t->shard < 0)
		return build_merged(b, list);
	ADAFS_FREE char *folder = leaves_folder(b);
	return folder ? build_output(b, list, ".adafs/leaf/**/*", "tasksuccess", "%s/%d", folder,
				     t->shard)
		      : build_oom(b);
}

/*
 * "job must|may", a line each: of a leaf all that it reads; else of the members, whose tasks may
 * end without leaving a part.
 */
static int add_parts_of(struct build *b, const struct adafs_plan_step *t, cJSON *list)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf text = ADAFS_BUF_INIT(1 << 17);
	bool leaf = t->shard >= 0;
	size_t first = leaf ? b->leaf[t->shard] : 0;
	size_t end = leaf ? b->leaf[t->shard + 1] : b->req->n_parts;
	int rc = 0;
	for (size_t i = first; rc == 0 && i < end; i++)
		if (leaf || b->req->parts[i].member)
			rc = adafs_buf_addf(&text, "%s %s\n", b->req->parts[i].job_id,
					    b->req->parts[i].must ? "must" : "may");
	build_env(b, list, "ADAFS_PARTS_OF", adafs_buf_str(&text));
	return rc;
}

int build_merge_environment(struct build *b, const struct adafs_plan_step *t, cJSON *list)
{
	bool root = t->shard < 0 && b->n_leaves;
	ADAFS_FREE char *folder = leaves_folder(b);
	ADAFS_FREE char *parts =
		!folder ? NULL
		: root  ? adafs_fmt(STAGE "%s", folder)
			: adafs_fmt(STAGE "%.*s", (int)strlen(b->parts) - 1, b->parts);
	if (!parts)
		return -ENOMEM;
	build_env(b, list, "ADAFS_MODE", t->shard >= 0 ? "leaf" : root ? "root" : "event");
	build_env(b, list, "ADAFS_PARTS", parts);
	if (root) {
		build_env_number(b, list, "ADAFS_LEAVES", (int64_t)b->n_leaves);
		build_env_number(b, list, "ADAFS_COUNT_BASE", 2 * (int64_t)b->req->merged_runs);
	}
	return root ? 0 : add_parts_of(b, t, list);
}
