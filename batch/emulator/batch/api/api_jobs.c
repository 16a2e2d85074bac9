/* /jobs: add, list, get, change, end. */
#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/emulator/batch/api/api.h"
#include "batch/emulator/batch/engine/counts_history.h"
#include "batch/emulator/batch/engine/job_own.h"
#include "batch/emulator/batch/engine/scheduler.h"
#include "batch/emulator/traps.h"

static const struct odata_property job_filter[] = {
	ODATA_ROW_S("id"),
	ODATA_ROW_E("state"),
	ODATA_ROW_T("stateTransitionTime"),
	ODATA_ROW_T("creationTime"),
	ODATA_ROW_T("lastModified"),
	ODATA_ROW_T("executionInfo/startTime"),
	ODATA_ROW_T("executionInfo/endTime"),
	ODATA_ROW_S("executionInfo/poolId"),
	{ 0 },
};

/* What the tables cannot say of a job's body. 0 or answered. */
static int check_job(struct api *a, const cJSON *spec)
{
	if (adafs_json_int(spec, "maxParallelTasks", -1) == 0)
		return api_error(a, 400, "InvalidPropertyValue", "PropertyName", "maxParallelTasks",
				 "PropertyValue", "0", NULL);
	const cJSON *pool = adafs_json_get(spec, "poolInfo");
	bool named = adafs_json_get(pool, "poolId") != NULL;
	if (pool && named == (adafs_json_get(pool, "autoPoolSpecification") != NULL))
		return api_error(a, 400, "InvalidPropertyValue", "PropertyName", "poolInfo",
				 "Reason", "A job has one of poolId and autoPoolSpecification",
				 NULL);
	return 0;
}

/* What the tables cannot say of a new job. 0 or answered. */
static int check_new_job(struct api *a, const cJSON *spec)
{
	if (adafs_json_get(spec, "jobReleaseTask") && !adafs_json_get(spec, "jobPreparationTask"))
		return api_error(a, 400, "InvalidPropertyValue", "PropertyName", "jobReleaseTask",
				 "Reason", "A job release task needs a job preparation task", NULL);
	double quota = trap_value(a->s->traps, TRAP_JOB_QUOTA);
	size_t live = 0;
	for (size_t i = 0; quota > 0 && i < a->s->jobs.n; i++)
		live += a->s->jobs.item[i]->state != JOB_COMPLETED;
	if (quota > 0 && (double)live >= quota)
		return api_error(a, 409, "ActiveJobAndScheduleQuotaReached", NULL);
	return 0;
}

/* What a job brings: a pool, or NULL; a manager task, or NULL. */
struct own {
	struct pool *pool;
	struct task *manager;
};

static void forget(struct api *a, struct job *j, struct own *own)
{
	if (own->manager)
		service_forget_locked(a->s, &own->manager->e);
	if (j)
		service_forget_locked(a->s, &j->e);
	if (own->pool)
		service_forget_locked(a->s, &own->pool->e);
}

static int make_own_pool(struct api *a, cJSON *spec, struct own *own)
{
	const cJSON *automatic = job_auto_pool(spec);
	if (!automatic)
		return 0;
	const cJSON *pool = adafs_json_get(automatic, "pool");
	if (!pool)
		return api_error(a, 400, "MissingRequiredProperty", "PropertyName", "pool", NULL);
	if (api_check_pool(a, pool) < 0)
		return -EINVAL;
	cJSON *body = job_auto_pool_body(spec);
	return body ? api_make_pool(a, body, &own->pool) : api_error_internal(a);
}

/* The job in the model, with its manager; takes spec. */
static int make_job(struct api *a, cJSON *spec, struct own *own, struct job **ret)
{
	struct job *j = job_new(adafs_json_str(spec, "id", ""), spec);
	if (!j)
		return api_error_internal(a);
	api_stamp_new(a, &j->e);
	j->start_us = j->e.created_us;
	if (job_load_spec(j) < 0 || entity_list_add(&a->s->jobs, &j->e) < 0) {
		entity_free(&j->e);
		return api_error_internal(a);
	}
	service_dirty_locked(a->s, &j->e, true);
	*ret = j;
	ADAFS_JSON *manager = job_manager_body(spec);
	return manager ? api_make_task(a, j, manager, &own->manager) : 0;
}

static int job_add(struct api *a)
{
	ADAFS_JSON *spec = NULL;
	int rc = api_body(a, batch_spec_job_add, &spec);
	if (rc == 0)
		rc = check_job(a, spec);
	if (rc < 0)
		return rc;
	const struct entity *old = entity_list_find(&a->s->jobs, adafs_json_str(spec, "id", ""));
	if (old)
		return api_error(
			a, 409, old->state == JOB_DELETING ? "JobBeingDeleted" : "JobExists", NULL);
	struct own own = { 0 };
	struct job *j = NULL;
	rc = check_new_job(a, spec);
	/* Before the defaults: a pool's targets must not look as if they had been given. */
	if (rc == 0)
		rc = make_own_pool(a, spec, &own);
	if (rc == 0 && batch_spec_job_defaults(spec) < 0)
		rc = api_error_internal(a);
	if (rc == 0)
		rc = make_job(a, ADAFS_STEAL(spec), &own, &j);
	if (rc == 0) {
		/* A job without tasks counts as all complete. */
		sched_job_check_locked(a->s, j);
		rc = api_commit(a);
	}
	if (rc < 0) {
		forget(a, j, &own);
		return rc;
	}
	service_wake_locked(a->s);
	return api_created(a, "/jobs", &j->e);
}

static int job_list(struct api *a)
{
	int rc = api_expand(a);
	return rc < 0 ? rc : api_list_entities(a, &a->s->jobs, "jobs", job_filter, view_job);
}

static int job_get(struct api *a)
{
	struct job *j = api_job(a);
	if (!j)
		return -ENOENT;
	int rc = api_conditions(a, &j->e, false);
	if (rc == 0)
		rc = api_expand(a);
	if (rc < 0)
		return rc;
	api_etag_headers(a, &j->e);
	return api_json(a, "jobs/@Element", view_job(a, &j->e, http_req_param(a->req, "$select")));
}

/* What a change may not do in the job's present state. */
static int check_change(struct api *a, const struct job *j, const cJSON *change)
{
	if (check_job(a, change) < 0)
		return -EINVAL;
	if (j->e.state == JOB_COMPLETED)
		return api_error(a, 409, "JobCompleted", NULL);
	if (j->e.state == JOB_TERMINATING)
		return api_error(a, 409, "JobBeingTerminated", NULL);
	const char *is = adafs_json_str(j->e.spec, "onAllTasksComplete", "noaction");
	const char *to = adafs_json_str(change, "onAllTasksComplete", is);
	if (strcmp(is, "terminatejob") == 0 && strcmp(to, "noaction") == 0)
		return api_error(
			a, 400, "InvalidPropertyValue", "PropertyName", "onAllTasksComplete",
			"PropertyValue", to, "Reason",
			"OnAllTasksComplete cannot be changed from terminatejob to noaction", NULL);
	const char *pool = adafs_json_str(adafs_json_get(change, "poolInfo"), "poolId", NULL);
	const char *pool_is = adafs_json_str(adafs_json_get(j->e.spec, "poolInfo"), "poolId", "");
	if (pool && strcmp(pool, pool_is) != 0 && j->e.state != JOB_DISABLED)
		return api_error(a, 409, "OperationInvalidForCurrentState", "Reason",
				 "The pool of a job can be changed only while it is disabled",
				 NULL);
	return 0;
}

/* A job keeps the pool that was made for it, and gets none later. 0 or answered. */
static int keep_own_pool(struct api *a, const struct job *j, cJSON *change)
{
	if (!job_auto_pool(change))
		return 0;
	if (!job_auto_pool(j->e.spec))
		return api_error(a, 400, "InvalidPropertyValue", "PropertyName",
				 "autoPoolSpecification", "Reason",
				 "The emulator makes a pool for a job only when the job is added",
				 NULL);
	cJSON_DeleteItemFromObjectCaseSensitive(change, "poolInfo");
	return 0;
}

static int job_change(struct api *a, const struct batch_spec_field *fields, bool replace)
{
	static const char *const reset[] = { "priority", "maxParallelTasks", "allowTaskPreemption",
					     "constraints", "metadata" };
	struct job *j = api_live_job(a);
	ADAFS_JSON *change = NULL;
	if (!j || api_conditions(a, &j->e, true) < 0 || api_body(a, fields, &change) < 0)
		return -EINVAL;
	if (replace && !adafs_json_get(change, "onAllTasksComplete"))
		cJSON_AddStringToObject(change, "onAllTasksComplete", "noaction");
	int rc = check_change(a, j, change);
	if (rc == 0)
		rc = keep_own_pool(a, j, change);
	if (rc < 0)
		return rc;
	for (size_t i = 0; replace && i < ADAFS_ARRAY_SIZE(reset); i++)
		cJSON_DeleteItemFromObjectCaseSensitive(j->e.spec, reset[i]);
	if (batch_spec_merge(j->e.spec, change) < 0 || batch_spec_job_defaults(j->e.spec) < 0 ||
	    job_load_spec(j) < 0)
		return api_error_internal(a);
	service_touch_locked(a->s, &j->e);
	service_dirty_locked(a->s, &j->e, true);
	sched_job_check_locked(a->s, j);
	service_wake_locked(a->s);
	rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 200, &j->e);
}

static int job_patch(struct api *a)
{
	return job_change(a, batch_spec_job_patch, false);
}

static int job_put(struct api *a)
{
	return job_change(a, batch_spec_job_put, true);
}

/* Of an entity that may be gone when the change is committed. */
static int accepted(struct api *a)
{
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 202, NULL);
}

static int job_delete(struct api *a)
{
	struct job *j = api_live_job(a);
	bool force; /* nothing here needs it: a deletion waits for no node */
	if (!j || api_conditions(a, &j->e, true) < 0 || api_flag(a, "force", &force) < 0)
		return -EINVAL;
	sched_job_delete_locked(a->s, j);
	return accepted(a);
}

static int job_terminate(struct api *a)
{
	struct job *j = api_live_job(a);
	ADAFS_JSON *body = NULL;
	bool force;
	if (!j || api_conditions(a, &j->e, true) < 0 || api_flag(a, "force", &force) < 0 ||
	    api_body(a, batch_spec_job_terminate, &body) < 0)
		return -EINVAL;
	if (j->e.state == JOB_COMPLETED)
		return api_error(a, 409, "JobCompleted", NULL);
	if (j->e.state == JOB_TERMINATING)
		return api_error(a, 409, "JobBeingTerminated", NULL);
	service_touch_locked(a->s, &j->e);
	sched_job_terminate_locked(a->s, j,
				   adafs_json_str(body, "terminateReason", "UserTerminate"));
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 202, &j->e);
}

static int job_disable(struct api *a)
{
	struct job *j = api_live_job(a);
	ADAFS_JSON *body = NULL;
	if (!j || api_conditions(a, &j->e, true) < 0 ||
	    api_body(a, batch_spec_job_disable, &body) < 0)
		return -EINVAL;
	if (j->e.state == JOB_COMPLETED)
		return api_error(a, 409, "JobCompleted", NULL);
	if (j->e.state > JOB_DISABLED)
		return api_error(a, 409, "JobNotActive", NULL);
	service_touch_locked(a->s, &j->e);
	if (j->e.state != JOB_DISABLED)
		sched_job_disable_locked(a->s, j, adafs_json_str(body, "disableTasks", "wait"));
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 202, &j->e);
}

static int job_enable(struct api *a)
{
	struct job *j = api_live_job(a);
	if (!j || api_conditions(a, &j->e, true) < 0)
		return -EINVAL;
	if (j->e.state == JOB_COMPLETED)
		return api_error(a, 409, "JobCompleted", NULL);
	if (j->e.state == JOB_TERMINATING)
		return api_error(a, 409, "JobBeingTerminated", NULL);
	service_touch_locked(a->s, &j->e);
	sched_job_enable_locked(a->s, j);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 202, &j->e);
}

static cJSON *counts_object(unsigned active, unsigned running, unsigned succeeded, unsigned failed)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddNumberToObject(o, "active", active);
	cJSON_AddNumberToObject(o, "running", running);
	cJSON_AddNumberToObject(o, "completed", succeeded + failed);
	cJSON_AddNumberToObject(o, "succeeded", succeeded);
	cJSON_AddNumberToObject(o, "failed", failed);
	return o;
}

static int job_task_counts(struct api *a)
{
	const struct job *j = api_job(a);
	if (!j)
		return -ENOENT;
	double lag_s = trap_value(a->s->traps, TRAP_STALE_COUNTS);
	struct task_counts then =
		lag_s > 0 ? counts_at_locked(j, adafs_clock_wall_us() - (int64_t)(lag_s * 1e6))
			  : j->counts;
	const struct task_counts *c = &then;
	if (api_before(a, "2020-09-01"))
		return api_json(a, "taskcounts/@Element",
				counts_object(c->active, c->running, c->succeeded, c->failed));
	cJSON *out = cJSON_CreateObject();
	cJSON_AddItemToObject(out, "taskCounts",
			      counts_object(c->active, c->running, c->succeeded, c->failed));
	cJSON_AddItemToObject(out, "taskSlotCounts",
			      counts_object(c->active_slots, c->running_slots, c->succeeded_slots,
					    c->failed_slots));
	return api_json(a, "taskcountsresult/@Element", out);
}

const struct api_route api_job_routes[] = {
	{ "POST", "/jobs", "AddJob", job_add },
	{ "GET", "/jobs", "ListJobs", job_list },
	{ "GET", "/jobs/{}", "GetJob", job_get },
	{ "PATCH", "/jobs/{}", "PatchJob", job_patch },
	{ "PUT", "/jobs/{}", "UpdateJob", job_put },
	{ "DELETE", "/jobs/{}", "DeleteJob", job_delete },
	{ "POST", "/jobs/{}/terminate", "TerminateJob", job_terminate },
	{ "POST", "/jobs/{}/disable", "DisableJob", job_disable },
	{ "POST", "/jobs/{}/enable", "EnableJob", job_enable },
	{ "GET", "/jobs/{}/taskcounts", "GetTaskCounts", job_task_counts },
	{ 0 },
};
