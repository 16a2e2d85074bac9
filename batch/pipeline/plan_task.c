/* plan_task.c - the bodies of tasks and of the job (design, "Ending"). */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/json.h"
#include "batch/pipeline/build.h"

#define SAS_LIST_MAX 32768
/* Fetching and storing gigabytes; only a backstop, the wrapper holds the real limit. */
#define STAGING_MS (INT64_C(2) * 3600 * 1000)
/* How long a job may wait for nodes over its tasks' own limits. */
#define QUEUE_MS (INT64_C(7) * 24 * 3600 * 1000)
/* The most that the tasks of a job are given together. */
#define MOST_MS (INT64_C(60) * 24 * 3600 * 1000)

int build_oom(struct build *b)
{
	b->oom = true;
	return adafs_err_set(b->reterr, -ENOMEM, "out of memory planning job '%s'", b->req->job_id);
}

cJSON *build_object(struct build *b, cJSON *to, const char *name)
{
	cJSON *o = cJSON_AddObjectToObject(to, name);
	b->oom |= !o;
	return o;
}

cJSON *build_array(struct build *b, cJSON *to, const char *name)
{
	cJSON *a = cJSON_AddArrayToObject(to, name);
	b->oom |= !a;
	return a;
}

cJSON *build_item(struct build *b, cJSON *array)
{
	cJSON *o = cJSON_CreateObject();
	if (!o || !cJSON_AddItemToArray(array, o)) {
		cJSON_Delete(o);
		b->oom = true;
		return NULL;
	}
	return o;
}

void build_str(struct build *b, cJSON *to, const char *name, const char *value)
{
	b->oom |= !cJSON_AddStringToObject(to, name, value);
}

void build_fmt(struct build *b, cJSON *to, const char *name, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->oom = true;
		return;
	}
	build_str(b, to, name, text);
	free(text);
}

static int64_t backstop_ms(const struct model_step *s)
{
	return s->settings.time_limit_ms * (s->settings.retries + 1) + STAGING_MS;
}

static void add_limit(struct build *b, cJSON *constraints, int64_t ms)
{
	char text[48];
	adafs_duration_format(ms, text);
	build_str(b, constraints, "maxWallClockTime", text);
}

static void add_container(struct build *b, cJSON *task)
{
	if (b->p->image) {
		cJSON *settings = build_object(b, task, "containerSettings");
		build_str(b, settings, "imageName", b->p->image);
		if (b->p->run_options)
			build_str(b, settings, "containerRunOptions", b->p->run_options);
	}
	if (b->p->admin) {
		cJSON *user = build_object(b, build_object(b, task, "userIdentity"), "autoUser");
		build_str(b, user, "scope", "pool");
		build_str(b, user, "elevationLevel", "admin");
	}
}

/* Whatever happens to a task, its dependents run: the wrapper there sees what is missing. */
static void add_exit_conditions(struct build *b, cJSON *task)
{
	static const char *const names[] = { "default", "preProcessingError", "fileUploadError" };
	cJSON *conditions = build_object(b, task, "exitConditions");
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++)
		build_str(b, build_object(b, conditions, names[i]), "dependencyAction", "satisfy");
}

void build_dependency(struct build *b, cJSON *ids, const char *prefix, const char *task_id)
{
	ADAFS_FREE char *text = adafs_fmt("%s%s", prefix ? prefix : "", task_id);
	cJSON *id = text ? cJSON_CreateString(text) : NULL;
	if (!id || !cJSON_AddItemToArray(ids, id)) {
		cJSON_Delete(id);
		b->oom = true;
	}
}

/* What an earlier run did has no task in this one. */
static int add_depends_on(struct build *b, const struct adafs_plan_step *t, cJSON *task)
{
	ADAFS_JSON *ids = cJSON_CreateArray();
	for (size_t i = 0; i < t->n_depends_on; i++) {
		const struct adafs_plan_step *from = &b->plan->steps[t->depends_on[i]];
		if (!from->reused)
			build_dependency(b, ids, b->req->task_prefix, from->task_id);
	}
	int rc = b->req->n_parts ? build_merge_dependencies(b, t, ids) : 0;
	if (rc < 0 || !cJSON_GetArraySize(ids))
		return rc;
	cJSON *on = build_object(b, task, "dependsOn");
	if (on && cJSON_AddItemToObject(on, "taskIds", ids))
		ids = NULL;
	else
		b->oom = true;
	return 0;
}

static int check_sas_list(struct build *b, const struct model_step *s, const cJSON *task)
{
	ADAFS_FREE char *in = adafs_json_print(adafs_json_get(task, "resourceFiles"));
	ADAFS_FREE char *out = adafs_json_print(adafs_json_get(task, "outputFiles"));
	if (!in || !out)
		return build_oom(b);
	size_t len = strlen(in) + strlen(out);
	if (len > SAS_LIST_MAX)
		return adafs_err_set(b->reterr, -EINVAL,
				     "the files of step '%s' take %zu characters of URLs, and the "
				     "service allows "
				     "%d; give the step fewer files, or put them in one folder",
				     s->name, len, SAS_LIST_MAX);
	return 0;
}

int build_task(struct build *b, const struct adafs_plan_step *t, cJSON **ret)
{
	ADAFS_JSON *task = cJSON_CreateObject();
	const struct model_step *s = build_model(b, t);
	build_fmt(b, task, "id", "%s%s", b->req->task_prefix ? b->req->task_prefix : "",
		  t->task_id);
	build_str(b, task, "commandLine", "/bin/sh .adafs/wrapper.sh");
	int rc = build_resource_files(b, t, task);
	if (rc == 0)
		rc = build_output_files(b, t, task);
	if (rc == 0) /* after the URLs, which tell how long they live */
		rc = build_environment(b, t, task);
	if (rc < 0)
		return rc;
	add_container(b, task);
	cJSON *constraints = build_object(b, task, "constraints");
	add_limit(b, constraints, backstop_ms(s));
	b->oom |= !cJSON_AddNumberToObject(constraints, "maxTaskRetryCount", 0);
	b->oom |= !cJSON_AddNumberToObject(task, "requiredSlots", t->slots);
	add_exit_conditions(b, task);
	rc = add_depends_on(b, t, task);
	if (rc < 0 || b->oom)
		return rc < 0 ? rc : build_oom(b);
	rc = check_sas_list(b, s, task);
	if (rc == 0)
		*ret = ADAFS_STEAL(task);
	return rc;
}

static void add_metadata(struct build *b, cJSON *list, const char *name, const char *value)
{
	cJSON *item = build_item(b, list);
	build_str(b, item, "name", name);
	build_str(b, item, "value", value);
}

/* The service keeps about 1 KiB of metadata: snapshots of a few images, not names. */
static void add_snapshots(struct build *b, cJSON *list)
{
	char text[256] = "";
	size_t used = 0;
	for (size_t i = 0; i < b->req->n_images && used + 40 < sizeof(text); i++) {
		const char *snapshot = b->req->images[i].snapshot;
		int n = snprintf(text + used, sizeof(text) - used, "%s%.36s", i ? " " : "",
				 snapshot ? snapshot : "-");
		used += n > 0 ? (size_t)n : 0;
	}
	add_metadata(b, list, "adafs-snapshot", text);
}

int build_job(struct build *b, cJSON **ret)
{
	ADAFS_JSON *job = cJSON_CreateObject();
	const char *pool = b->req->pool ? b->req->pool : b->p->pool;
	int64_t limit_ms = QUEUE_MS, chain_ms = 0;
	size_t n_chains = 1;
	for (size_t i = 0; i < b->p->n_steps; i++)
		chain_ms += backstop_ms(&b->p->steps[i]) * b->p->steps[i].shards;
	/* One after the other, should the pool be that small. */
	for (size_t i = 0; i < b->req->n_parts && chain_ms * (int64_t)n_chains < MOST_MS; i++)
		n_chains += b->req->parts[i].member;
	limit_ms += chain_ms * (int64_t)n_chains < MOST_MS ? chain_ms * (int64_t)n_chains : MOST_MS;
	if (!pool)
		return adafs_err_set(b->reterr, -EINVAL,
				     "no pool is named for job '%s'; set pool=", b->req->job_id);
	build_str(b, job, "id", b->plan->batch_job_id);
	build_str(b, build_object(b, job, "poolInfo"), "poolId", pool);
	b->oom |= !cJSON_AddTrueToObject(job, "usesTaskDependencies");
	/* An empty job counts as all complete: the PATCH comes when the tasks are in. */
	build_str(b, job, "onAllTasksComplete", "noaction");
	build_str(b, job, "onTaskFailure", "noaction");
	add_limit(b, build_object(b, job, "constraints"), limit_ms);
	cJSON *metadata = build_array(b, job, "metadata");
	add_metadata(b, metadata, "adafs", ADAFS_VERSION);
	add_metadata(b, metadata, "adafs-job", b->req->job_id);
	add_metadata(b, metadata, "adafs-pipeline", adafs_pipeline_digest(b->p));
	if (b->req->n_images)
		add_snapshots(b, metadata);
	if (b->oom)
		return build_oom(b);
	*ret = ADAFS_STEAL(job);
	return 0;
}

cJSON *build_patch(struct build *b)
{
	cJSON *patch = cJSON_CreateObject();
	build_str(b, patch, "onAllTasksComplete", "terminatejob");
	return patch;
}
