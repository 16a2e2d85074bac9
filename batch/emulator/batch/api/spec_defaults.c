/* What GET shows of a body that left it out. */
#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/emulator/batch/api/spec.h"

static int default_item(cJSON *o, const char *name, cJSON *value)
{
	if (adafs_json_get(o, name)) {
		cJSON_Delete(value);
		return 0;
	}
	return value && cJSON_AddItemToObject(o, name, value) ? 0 : -ENOMEM;
}

static int default_number(cJSON *o, const char *name, int64_t value)
{
	return default_item(o, name, cJSON_CreateNumber((double)value));
}

static int default_bool(cJSON *o, const char *name, bool value)
{
	return default_item(o, name, cJSON_CreateBool(value));
}

static int default_text(cJSON *o, const char *name, const char *value)
{
	return default_item(o, name, cJSON_CreateString(value));
}

static int default_duration(cJSON *o, const char *name, int64_t ms)
{
	char text[48];
	adafs_duration_format(ms, text);
	return default_text(o, name, text);
}

/* The member object, made if it is not there; NULL: out of memory. */
static cJSON *default_object(cJSON *o, const char *name)
{
	cJSON *member = cJSON_GetObjectItemCaseSensitive(o, name);
	return member ? member : cJSON_AddObjectToObject(o, name);
}

/* Who runs the command: unless an account is named, the pool's own user. */
static int default_user(cJSON *task)
{
	cJSON *identity = default_object(task, "userIdentity");
	if (!identity)
		return -ENOMEM;
	if (adafs_json_get(identity, "username"))
		return 0;
	cJSON *user = default_object(identity, "autoUser");
	return !user || default_text(user, "scope", "pool") < 0 ||
			       default_text(user, "elevationLevel", "nonadmin") < 0
		       ? -ENOMEM
		       : 0;
}

static int default_retention(cJSON *o)
{
	return default_duration(o, "retentionTime", INT64_C(7) * 24 * 3600 * 1000);
}

static int default_constraints(cJSON *task, int64_t retries)
{
	cJSON *constraints = default_object(task, "constraints");
	return !constraints ||
			       default_duration(constraints, "maxWallClockTime",
						ADAFS_DURATION_NONE) < 0 ||
			       default_retention(constraints) < 0 ||
			       default_number(constraints, "maxTaskRetryCount", retries) < 0
		       ? -ENOMEM
		       : 0;
}

int batch_spec_start_task_defaults(cJSON *pool)
{
	cJSON *start = cJSON_GetObjectItemCaseSensitive(pool, "startTask");
	if (!start)
		return 0;
	return default_user(start) < 0 || default_number(start, "maxTaskRetryCount", 0) < 0 ||
			       default_bool(start, "waitForSuccess", true) < 0
		       ? -ENOMEM
		       : 0;
}

/* How many nodes: fixed targets, or a formula that sets them. */
static int default_scale(cJSON *spec)
{
	if (default_bool(spec, "enableAutoScale", false) < 0)
		return -ENOMEM;
	if (adafs_json_bool(spec, "enableAutoScale", false) &&
	    default_duration(spec, "autoScaleEvaluationInterval", 15 * 60 * 1000) < 0)
		return -ENOMEM;
	return default_number(spec, "targetDedicatedNodes", 0) < 0 ||
			       default_number(spec, "targetLowPriorityNodes", 0) < 0 ||
			       default_duration(spec, "resizeTimeout", 15 * 60 * 1000) < 0
		       ? -ENOMEM
		       : 0;
}

int batch_spec_pool_defaults(cJSON *spec)
{
	cJSON *policy = default_object(spec, "taskSchedulingPolicy");
	cJSON *image = cJSON_GetObjectItemCaseSensitive(
		adafs_json_get(spec, "virtualMachineConfiguration"), "imageReference");
	if (!policy || (image && adafs_json_get(image, "publisher") &&
			default_text(image, "version", "latest") < 0))
		return -ENOMEM;
	return default_text(policy, "nodeFillType", "spread") < 0 ||
			       default_number(spec, "taskSlotsPerNode", 1) < 0 ||
			       default_bool(spec, "enableInterNodeCommunication", false) < 0 ||
			       default_text(spec, "targetNodeCommunicationMode", "default") < 0 ||
			       default_scale(spec) < 0 || batch_spec_start_task_defaults(spec) < 0
		       ? -ENOMEM
		       : 0;
}

static int default_manager(cJSON *task)
{
	return default_user(task) < 0 || default_constraints(task, 0) < 0 ||
			       default_number(task, "requiredSlots", 1) < 0 ||
			       default_bool(task, "killJobOnCompletion", true) < 0 ||
			       default_bool(task, "runExclusive", true) < 0 ||
			       default_bool(task, "allowLowPriorityNode", true) < 0
		       ? -ENOMEM
		       : 0;
}

static int default_preparation(cJSON *task)
{
	return default_text(task, "id", "jobpreparation") < 0 || default_user(task) < 0 ||
			       default_constraints(task, 0) < 0 ||
			       default_bool(task, "waitForSuccess", true) < 0 ||
			       default_bool(task, "rerunOnNodeRebootAfterSuccess", true) < 0
		       ? -ENOMEM
		       : 0;
}

static int default_release(cJSON *task)
{
	return default_text(task, "id", "jobrelease") < 0 || default_user(task) < 0 ||
			       default_duration(task, "maxWallClockTime", 15 * 60 * 1000) < 0 ||
			       default_retention(task) < 0
		       ? -ENOMEM
		       : 0;
}

static int default_auto_pool(cJSON *spec)
{
	cJSON *automatic = cJSON_GetObjectItemCaseSensitive(adafs_json_get(spec, "poolInfo"),
							    "autoPoolSpecification");
	cJSON *pool = cJSON_GetObjectItemCaseSensitive(automatic, "pool");
	if (automatic && default_bool(automatic, "keepAlive", false) < 0)
		return -ENOMEM;
	return pool ? batch_spec_pool_defaults(pool) : 0;
}

int batch_spec_job_defaults(cJSON *spec)
{
	static const struct {
		const char *name;
		int (*fill)(cJSON *task);
	} tasks[] = { { "jobManagerTask", default_manager },
		      { "jobPreparationTask", default_preparation },
		      { "jobReleaseTask", default_release } };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(tasks); i++) {
		cJSON *task = cJSON_GetObjectItemCaseSensitive(spec, tasks[i].name);
		if (task && tasks[i].fill(task) < 0)
			return -ENOMEM;
	}
	cJSON *constraints = default_object(spec, "constraints");
	if (!constraints)
		return -ENOMEM;
	return default_duration(constraints, "maxWallClockTime", ADAFS_DURATION_NONE) < 0 ||
			       default_number(constraints, "maxTaskRetryCount", 0) < 0 ||
			       default_number(spec, "priority", 0) < 0 ||
			       default_number(spec, "maxParallelTasks", -1) < 0 ||
			       default_bool(spec, "allowTaskPreemption", false) < 0 ||
			       default_bool(spec, "usesTaskDependencies", false) < 0 ||
			       default_text(spec, "onAllTasksComplete", "noaction") < 0 ||
			       default_text(spec, "onTaskFailure", "noaction") < 0 ||
			       default_auto_pool(spec) < 0
		       ? -ENOMEM
		       : 0;
}

int batch_spec_task_defaults(cJSON *spec, const cJSON *job)
{
	int64_t retries =
		adafs_json_int(adafs_json_get(job, "constraints"), "maxTaskRetryCount", 0);
	return default_user(spec) < 0 || default_constraints(spec, retries) < 0 ||
			       default_number(spec, "requiredSlots", 1) < 0
		       ? -ENOMEM
		       : 0;
}
