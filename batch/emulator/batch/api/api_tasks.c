/* /jobs/{}/tasks: add one or many, list, get, change, end. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"
#include "batch/emulator/batch/api/api.h"
#include "batch/emulator/batch/batch_store.h"
#include "batch/emulator/batch/node/runner.h"
#include "batch/emulator/batch/engine/scheduler.h"

#define COLLECTION_MAX 100
#define RESOURCE_FILES_MAX 32768
#define TASK_IDS_MAX 64000
#define DELETE_WAIT_MS 10000

static const struct odata_property task_filter[] = {
	ODATA_ROW_S("id"),
	ODATA_ROW_E("state"),
	ODATA_ROW_T("stateTransitionTime"),
	ODATA_ROW_T("creationTime"),
	ODATA_ROW_T("lastModified"),
	{ "lastModifiedTime", ODATA_TIME, ODATA_T, "lastModified" },
	ODATA_ROW_T("executionInfo/startTime"),
	ODATA_ROW_T("executionInfo/endTime"),
	ODATA_ROW_INT("executionInfo/exitCode"),
	ODATA_ROW_E("executionInfo/result"),
	{ 0 },
};

/* --- add ---------------------------------------------------------------------------------- */

/* Why one task is refused: the whole answer of an add, or one item's of a collection. */
struct refusal {
	int status;
	const char *code;
	const char *property;
	char reason[256];
};

static int refuse(struct refusal *r, int status, const char *code, const char *property,
		  const char *reason)
{
	r->status = status;
	r->code = code;
	r->property = property;
	snprintf(r->reason, sizeof(r->reason), "%s", reason);
	return -EINVAL;
}

static int check_resource_files(const cJSON *spec, struct refusal *r)
{
	const cJSON *files = adafs_json_get(spec, "resourceFiles"), *item;
	ADAFS_FREE char *text = files ? adafs_json_print(files) : NULL;
	if (text && strlen(text) > RESOURCE_FILES_MAX)
		return refuse(r, 400, "InvalidPropertyValue", "resourceFiles",
			      "The resource files of a task have at most 32768 characters in all");
	cJSON_ArrayForEach(item, files)
	{
		bool http = adafs_json_get(item, "httpUrl") != NULL;
		if (http + (adafs_json_get(item, "storageContainerUrl") != NULL) +
			    (adafs_json_get(item, "autoStorageContainerName") != NULL) !=
		    1)
			return refuse(r, 400, "InvalidPropertyValue", "resourceFiles",
				      "A resource file has exactly one of httpUrl, "
				      "storageContainerUrl and autoStorageContainerName");
		if (http && !adafs_json_get(item, "filePath"))
			return refuse(r, 400, "MissingRequiredProperty", "filePath",
				      "A resource file with httpUrl needs filePath");
		const char *mode = adafs_json_str(item, "fileMode", "0770");
		if (!*mode || strspn(mode, "01234567") != strlen(mode) || strlen(mode) > 5)
			return refuse(r, 400, "InvalidPropertyValue", "fileMode",
				      "A file mode is an octal number");
		if (http && adafs_json_get(item, "blobPrefix"))
			return refuse(r, 400, "InvalidPropertyValue", "blobPrefix",
				      "blobPrefix is for storage containers only");
	}
	return 0;
}

static int check_dependencies(const struct job *j, const cJSON *spec, struct refusal *r)
{
	const cJSON *on = adafs_json_get(spec, "dependsOn"), *item;
	if (!on)
		return 0;
	if (!adafs_json_bool(j->e.spec, "usesTaskDependencies", false))
		return refuse(r, 400, "TaskDependenciesNotSpecifiedOnJob", "dependsOn",
			      "The job has usesTaskDependencies false");
	size_t total = 0;
	cJSON_ArrayForEach(item, adafs_json_get(on, "taskIds")) total += strlen(item->valuestring);
	if (total > TASK_IDS_MAX)
		return refuse(r, 400, "TaskDependencyListTooLong", "taskIds",
			      "The ids have at most 64000 characters in all");
	return 0;
}

static int check_environment(const cJSON *spec, struct refusal *r)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, adafs_json_get(spec, "environmentSettings"))
	{
		const char *name = adafs_json_str(item, "name", "");
		if (!*name || strchr(name, '='))
			return refuse(
				r, 400, "InvalidPropertyValue", "environmentSettings",
				"The name of an environment variable is not empty and holds no "
				"equals sign");
	}
	return 0;
}

/* The ids of a job's own tasks are taken. */
static int check_own_ids(const struct job *j, const char *id, struct refusal *r)
{
	static const char *const own[][3] = {
		{ "jobPreparationTask", "jobpreparation", "TaskIdSameAsJobPreparationTask" },
		{ "jobReleaseTask", "jobrelease", "TaskIdSameAsJobReleaseTask" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(own); i++) {
		const cJSON *task = adafs_json_get(j->e.spec, own[i][0]);
		if (task && strcasecmp(adafs_json_str(task, "id", own[i][1]), id) == 0)
			return refuse(r, 409, own[i][2], NULL, "");
	}
	return 0;
}

static int check_task(const struct job *j, const cJSON *spec, struct refusal *r)
{
	int rc = check_resource_files(spec, r);
	if (rc == 0)
		rc = check_own_ids(j, adafs_json_str(spec, "id", ""), r);
	if (rc == 0)
		rc = check_environment(spec, r);
	if (rc == 0)
		rc = check_dependencies(j, spec, r);
	if (rc < 0)
		return rc;
	const char *on_failure = adafs_json_str(j->e.spec, "onTaskFailure", "noaction");
	if (strcmp(on_failure, "noaction") == 0 &&
	    batch_exit_has_job_action(adafs_json_get(spec, "exitConditions")))
		return refuse(r, 400, "InvalidPropertyValue", "jobAction",
			      "The job has onTaskFailure noaction");
	const char *command = adafs_json_str(spec, "commandLine", "");
	if (!*command && !adafs_json_get(spec, "containerSettings"))
		return refuse(r, 400, "InvalidPropertyValue", "commandLine",
			      "The command line is empty");
	if (entity_list_find(&j->tasks, adafs_json_str(spec, "id", "")))
		return refuse(r, 409, "TaskExists", NULL, "");
	return 0;
}

/* Add one task to the model; committed by the caller. */
static int add_task(struct api *a, struct job *j, const cJSON *body, struct task **ret,
		    struct refusal *r)
{
	cJSON *spec = NULL;
	struct batch_spec_error why = { 0 };
	int rc = batch_spec_check(batch_spec_task_add, body, &spec, &why);
	if (rc == -EINVAL) {
		refuse(r, 400, why.code, NULL, why.reason);
		/* The name lives in `why` only: it goes in front of the reason. */
		snprintf(r->reason, sizeof(r->reason), "%.100s: %.140s", why.property, why.reason);
		return rc;
	}
	if (rc == 0)
		rc = check_task(j, spec, r);
	if (rc == 0)
		rc = batch_spec_task_defaults(spec, j->e.spec);
	if (rc < 0) {
		cJSON_Delete(spec);
		return rc == -EINVAL ? rc : refuse(r, 500, "InternalError", NULL, "");
	}
	struct task *t = task_new(j, adafs_json_str(spec, "id", ""), spec);
	if (!t || entity_list_add(&j->tasks, &t->e) < 0) {
		if (t)
			entity_free(&t->e);
		return refuse(r, 500, "InternalError", NULL, "");
	}
	api_stamp_new(a, &t->e);
	task_count(t, 1);
	service_dirty_locked(a->s, &t->e, true);
	sched_task_active_locked(a->s, t);
	*ret = t;
	return 0;
}

static struct job *job_for_add(struct api *a)
{
	struct job *j = api_live_job(a);
	if (j && j->e.state == JOB_COMPLETED)
		api_error(a, 409, "JobCompleted", NULL);
	else if (j && j->e.state == JOB_TERMINATING)
		api_error(a, 409, "JobBeingTerminated", NULL);
	else
		return j;
	return NULL;
}

int api_make_task(struct api *a, struct job *j, const cJSON *body, struct task **ret)
{
	struct refusal r = { 0 };
	if (add_task(a, j, body, ret, &r) == 0)
		return 0;
	if (r.property)
		return api_error(a, r.status, r.code, "PropertyName", r.property, "Reason",
				 r.reason, NULL);
	if (*r.reason)
		return api_error(a, r.status, r.code, "Reason", r.reason, NULL);
	return api_error(a, r.status, r.code, NULL);
}

static int task_add(struct api *a)
{
	struct job *j = job_for_add(a);
	struct task *t = NULL;
	if (!j || api_make_task(a, j, a->body, &t) < 0)
		return -EINVAL;
	int rc = api_commit_new(a, &t->e);
	if (rc < 0)
		return rc;
	ADAFS_FREE char *collection = adafs_fmt("/jobs/%s/tasks", j->e.id);
	return collection ? api_created(a, collection, &t->e) : api_error_internal(a);
}

static cJSON *refused_item(const struct api *a, const char *id, const struct refusal *r)
{
	ADAFS_JSON *values = cJSON_CreateArray();
	const char *texts[][2] = { { "PropertyName", r->property }, { "Reason", r->reason } };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(texts); i++) {
		if (!texts[i][1] || !*texts[i][1])
			continue;
		cJSON *value = cJSON_CreateObject();
		cJSON_AddStringToObject(value, "key", texts[i][0]);
		cJSON_AddStringToObject(value, "value", texts[i][1]);
		cJSON_AddItemToArray(values, value);
	}
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "status", r->status < 500 ? "clienterror" : "servererror");
	cJSON_AddStringToObject(o, "taskId", id);
	cJSON_AddItemToObject(o, "error", api_error_object(a, r->code, values));
	return o;
}

static cJSON *added_item(const struct api *a, const struct job *j, const struct task *t)
{
	char etag[ENTITY_ETAG_LEN];
	entity_etag(&t->e, etag);
	ADAFS_FREE char *url = adafs_fmt("%s/jobs/%s/tasks/%s", a->base, j->e.id, t->e.id);
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "status", "Success");
	cJSON_AddStringToObject(o, "taskId", t->e.id);
	cJSON_AddStringToObject(o, "eTag", etag);
	cJSON_AddItemToObject(o, "lastModified", api_time(t->e.modified_us));
	cJSON_AddStringToObject(o, "location", url ? url : "");
	return o;
}

static int add_collection(struct api *a, struct job *j, const cJSON *tasks, cJSON *results)
{
	struct task *added[COLLECTION_MAX];
	size_t n = 0;
	const cJSON *body;
	cJSON_ArrayForEach(body, tasks)
	{
		struct refusal r = { 0 };
		struct task *t = NULL;
		if (add_task(a, j, body, &t, &r) < 0) {
			/*
			 * Documented otherwise, but this is what a collection was seen to answer.
			 */
			if (strcmp(r.code, "TaskDependenciesNotSpecifiedOnJob") == 0)
				r.code = "UnsupportedProperty";
			cJSON_AddItemToArray(results,
					     refused_item(a, adafs_json_str(body, "id", ""), &r));
			continue;
		}
		added[n++] = t;
		cJSON_AddItemToArray(results, added_item(a, j, t));
	}
	if (service_commit_locked(a->s) == 0)
		return 0;
	while (n)
		service_forget_locked(a->s, &added[--n]->e);
	return api_error_internal(a);
}

static int task_add_collection(struct api *a)
{
	struct job *j = job_for_add(a);
	if (!j)
		return -EINVAL;
	const cJSON *tasks = adafs_json_get(a->body, "value");
	if (!cJSON_IsArray(tasks))
		return api_error(a, 400, "MissingRequiredProperty", "PropertyName", "value", NULL);
	if (cJSON_GetArraySize(tasks) > COLLECTION_MAX)
		return api_error(a, 400, "InvalidPropertyValue", "PropertyName", "value", "Reason",
				 "A collection has at most 100 tasks", NULL);
	ADAFS_JSON *out = cJSON_CreateObject();
	cJSON *results = cJSON_AddArrayToObject(out, "value");
	int rc = add_collection(a, j, tasks, results);
	return rc < 0 ? rc : api_json(a, "taskaddresult", ADAFS_STEAL(out));
}

/* --- read --------------------------------------------------------------------------------- */

static int task_list(struct api *a)
{
	struct job *j = api_job(a);
	if (!j || api_expand(a) < 0)
		return -ENOENT;
	return api_list_entities(a, &j->tasks, "tasks", task_filter, view_task);
}

static int task_get(struct api *a)
{
	struct task *t = api_task(a);
	if (!t)
		return -ENOENT;
	int rc = api_conditions(a, &t->e, false);
	if (rc == 0)
		rc = api_expand(a);
	if (rc < 0)
		return rc;
	api_etag_headers(a, &t->e);
	return api_json(a, "tasks/@Element",
			view_task(a, &t->e, http_req_param(a->req, "$select")));
}

/* Of a task on several nodes; the emulator runs it as one, so there are none. */
static int task_subtasks(struct api *a)
{
	if (!api_task(a))
		return -ENOENT;
	cJSON *out = cJSON_CreateObject();
	cJSON_AddArrayToObject(out, "value");
	return api_json(a, "subtasks", out);
}

/* --- change ------------------------------------------------------------------------------- */

/* The task of a changing call: job not being deleted, conditions hold. NULL: answered. */
static struct task *task_to_change(struct api *a)
{
	struct task *t = api_live_job(a) ? api_task(a) : NULL;
	return t && api_conditions(a, &t->e, true) == 0 ? t : NULL;
}

static int task_put(struct api *a)
{
	struct task *t = task_to_change(a);
	ADAFS_JSON *change = NULL;
	if (!t || api_body(a, batch_spec_task_put, &change) < 0)
		return -EINVAL;
	if (t->e.state == TASK_COMPLETED)
		return api_error(a, 409, "TaskCompleted", NULL);
	cJSON_DeleteItemFromObjectCaseSensitive(t->e.spec, "constraints");
	cJSON *constraints = cJSON_DetachItemFromObjectCaseSensitive(change, "constraints");
	if (constraints)
		cJSON_AddItemToObject(t->e.spec, "constraints", constraints);
	if (batch_spec_task_defaults(t->e.spec, t->job->e.spec) < 0)
		return api_error_internal(a);
	service_touch_locked(a->s, &t->e);
	service_dirty_locked(a->s, &t->e, true);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 200, &t->e);
}

static int task_terminate(struct api *a)
{
	struct task *t = task_to_change(a);
	if (!t)
		return -EINVAL;
	if (t->e.state == TASK_COMPLETED)
		return api_error(a, 409, "TaskCompleted", NULL);
	service_touch_locked(a->s, &t->e);
	sched_task_terminate_locked(a->s, t);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 204, &t->e);
}

/*
 * A running task is killed first, so that its id and directory are free when the answer arrives.
 * Waits without the lock; job and task are looked up again after every wait.
 */
static int task_delete(struct api *a)
{
	struct task *t = task_to_change(a);
	if (!t)
		return -EINVAL;
	uint64_t seq = t->e.seq, deadline = adafs_clock_mono_ms() + DELETE_WAIT_MS;
	while (t && t->exec.run) {
		run_stop_locked(t->exec.run, RUN_STOP_DELETE);
		service_commit_locked(a->s);
		if (a->s->stopping || adafs_cond_wait_until(&a->s->idle, &a->s->lock, deadline) < 0)
			return api_error(a, 500, "OperationTimedOut", NULL);
		const struct entity *job = entity_list_find(&a->s->jobs, a->args[0]);
		struct entity *e =
			job ? entity_list_find(&entity_job((struct entity *)job)->tasks, a->args[1])
			    : NULL;
		t = e && e->seq == seq ? entity_task(e) : NULL;
	}
	if (t)
		sched_task_remove_locked(a->s, t);
	service_wake_locked(a->s);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 200, NULL);
}

static int check_reactivation(struct api *a, const struct task *t)
{
	switch (t->job->e.state) {
	case JOB_COMPLETED:
		return api_error(a, 409, "JobCompleted", NULL);
	case JOB_TERMINATING:
		return api_error(a, 409, "JobBeingTerminated", NULL);
	default:
		break;
	}
	if (t->e.state != TASK_COMPLETED)
		return api_error(a, 409, "TaskNotCompleted", NULL);
	if (t->result == RESULT_SUCCESS || (t->exec.has_exit_code && t->exec.exit_code == 0))
		return api_error(a, 409, "TaskSucceeded", NULL);
	return 0;
}

static int task_reactivate(struct api *a)
{
	struct task *t = task_to_change(a);
	if (!t)
		return -EINVAL;
	int rc = check_reactivation(a, t);
	if (rc < 0)
		return rc;
	/* What it satisfied stays satisfied, whatever comes of it now. */
	if (t->satisfies && batch_store_remember(a->s->store, t->job, t->e.key) < 0)
		return api_error_internal(a);
	task_count(t, -1);
	execution_reset(&t->exec);
	t->satisfies = false;
	t->result = RESULT_NONE;
	t->requeue_count = 0;
	t->last_requeue_us = 0;
	service_touch_locked(a->s, &t->e);
	service_set_state_locked(a->s, &t->e, TASK_ACTIVE);
	task_count(t, 1);
	sched_task_active_locked(a->s, t);
	rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 204, &t->e);
}

const struct api_route api_task_routes[] = {
	{ "POST", "/jobs/{}/tasks", "AddTask", task_add },
	{ "POST", "/jobs/{}/addtaskcollection", "AddTaskCollection", task_add_collection },
	{ "GET", "/jobs/{}/tasks", "ListTasks", task_list },
	{ "GET", "/jobs/{}/tasks/{}", "GetTask", task_get },
	{ "GET", "/jobs/{}/tasks/{}/subtasksinfo", "ListSubtasks", task_subtasks },
	{ "PUT", "/jobs/{}/tasks/{}", "UpdateTask", task_put },
	{ "DELETE", "/jobs/{}/tasks/{}", "DeleteTask", task_delete },
	{ "POST", "/jobs/{}/tasks/{}/terminate", "TerminateTask", task_terminate },
	{ "POST", "/jobs/{}/tasks/{}/reactivate", "ReactivateTask", task_reactivate },
	{ 0 },
};
