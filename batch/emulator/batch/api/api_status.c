/* /jobs/{}/jobpreparationandreleasetaskstatus: how a job's own tasks fared on each node. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/emulator/batch/engine/job_node.h"
#include "batch/emulator/batch/api/view.h"

#define PREPARATION "jobPreparationTaskExecutionInfo/"
#define RELEASE "jobReleaseTaskExecutionInfo/"

static const struct odata_property status_filter[] = {
	ODATA_ROW_E("poolId"),
	ODATA_ROW_E("nodeId"),
	ODATA_ROW_EQ(PREPARATION "state"),
	ODATA_ROW_T(PREPARATION "startTime"),
	ODATA_ROW_T(PREPARATION "endTime"),
	ODATA_ROW_INT(PREPARATION "exitCode"),
	ODATA_ROW_E(PREPARATION "result"),
	ODATA_ROW_EQ(RELEASE "state"),
	ODATA_ROW_T(RELEASE "startTime"),
	ODATA_ROW_T(RELEASE "endTime"),
	ODATA_ROW_INT(RELEASE "exitCode"),
	ODATA_ROW_E(RELEASE "result"),
	{ 0 },
};

struct status_cursor {
	struct job_node **item; /* sorted by the node's id */
	size_t n, at;
};

static int compare_status(const void *a, const void *b)
{
	const struct job_node *x = *(struct job_node *const *)a, *y = *(struct job_node *const *)b;
	return strcmp(x->node_id, y->node_id);
}

static void *next_status(void *arg, const char *after, void *previous)
{
	struct status_cursor *c = arg;
	if (!previous)
		for (c->at = 0; c->at < c->n && strcmp(c->item[c->at]->node_id, after) <= 0;)
			c->at++;
	return c->at < c->n ? c->item[c->at++] : NULL;
}

static const char *status_key(void *item)
{
	return ((struct job_node *)item)->node_id;
}

static cJSON *view_own(const struct api *a, const struct job_node *at, enum run_kind kind)
{
	const struct execution *x = kind == RUN_RELEASE ? &at->release : &at->prep;
	cJSON *o = view_own_execution(x, kind == RUN_PREPARATION);
	ADAFS_FREE char *dir =
		adafs_fmt("workitems/%s/job-1/%s", at->job->e.id, job_own_id(at->job, kind));
	ADAFS_FREE char *url = adafs_fmt("%s/pools/%s/nodes/%s/files/%s", a->base, at->pool_id,
					 at->node_id, dir ? dir : "");
	cJSON_AddStringToObject(o, "taskRootDirectory", dir ? dir : "");
	cJSON_AddStringToObject(o, "taskRootDirectoryUrl", url ? url : "");
	return o;
}

static cJSON *view_status(struct api *a, void *item, const char *select)
{
	const struct job_node *at = item;
	struct view v = { .a = a, .out = cJSON_CreateObject(), .select = select };
	ADAFS_FREE char *url = adafs_fmt("%s/pools/%s/nodes/%s", a->base, at->pool_id, at->node_id);
	view_add_text(&v, "poolId", at->pool_id);
	view_add_text(&v, "nodeId", at->node_id);
	view_add_text(&v, "nodeUrl", url);
	if (at->prep.start_us)
		view_add(&v, "jobPreparationTaskExecutionInfo", view_own(a, at, RUN_PREPARATION));
	if (at->release.start_us)
		view_add(&v, "jobReleaseTaskExecutionInfo", view_own(a, at, RUN_RELEASE));
	return v.out;
}

static int status_list(struct api *a)
{
	const struct job *j = api_job(a);
	if (!j)
		return -ENOENT;
	if (!job_own_spec(j, RUN_PREPARATION) && !job_own_spec(j, RUN_RELEASE))
		return api_error(a, 409, "JobPreparationTaskOrReleaseTaskNotSpecified", NULL);
	struct status_cursor c = { 0 };
	struct job_node *at;
	TAILQ_FOREACH(at, &j->nodes, link)
	c.n++;
	ADAFS_FREE struct job_node **item = calloc(c.n + 1, sizeof(struct job_node *));
	if (!item)
		return api_error_internal(a);
	TAILQ_FOREACH(at, &j->nodes, link)
	item[c.at++] = at;
	c.item = item;
	qsort(item, c.n, sizeof(struct job_node *), compare_status);
	const struct api_list list = { .metadata = "jobpreparationandreleasetaskstatuslist",
				       .filterable = status_filter,
				       .arg = &c,
				       .next = next_status,
				       .key = status_key,
				       .view = view_status };
	return api_list(a, &list);
}

const struct api_route api_status_routes[] = {
	{ "GET", "/jobs/{}/jobpreparationandreleasetaskstatus", "ListPreparationStatus",
	  status_list },
	{ 0 },
};
