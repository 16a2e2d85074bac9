/* The bodies of batch-rest: which members each has, and what GET shows when they are left out. */
#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/emulator/batch/spec.h"

#define FIELDS static const struct batch_spec_field
#define NAMES static const char *const
#define END { 0 }
#define STRING(n) { .name = n, .type = SPEC_STRING }
#define STRING_MAX(n, limit) { .name = n, .type = SPEC_STRING, .max = limit }
#define STRING_REQ(n) { .name = n, .type = SPEC_STRING, .required = true }
#define INT(n, lo, hi) { .name = n, .type = SPEC_INT, .min = lo, .max = hi }
#define INT_REQ(n, lo, hi) { .name = n, .type = SPEC_INT, .min = lo, .max = hi, .required = true }
#define BOOL(n) { .name = n, .type = SPEC_BOOL }
#define DURATION(n, least_ms) { .name = n, .type = SPEC_DURATION, .min = least_ms }
#define ENUM(n, list) { .name = n, .type = SPEC_ENUM, .names = list }
#define ENUM_REQ(n, list) { .name = n, .type = SPEC_ENUM, .names = list, .required = true }
#define OBJECT(n, table) { .name = n, .type = SPEC_OBJECT, .fields = table }
#define OBJECT_REQ(n, table) { .name = n, .type = SPEC_OBJECT, .fields = table, .required = true }
#define LIST(n, table) { .name = n, .type = SPEC_LIST, .fields = table }
#define STRINGS(n) { .name = n, .type = SPEC_STRINGS }
#define ANY(n) { .name = n, .type = SPEC_ANY }
#define IGNORED(n) { .name = n, .type = SPEC_IGNORED }
#define UNSUPPORTED(n) { .name = n, .type = SPEC_UNSUPPORTED }

NAMES no_action_or_terminate[] = { "noaction", "terminatejob", NULL };
NAMES on_failure[] = { "noaction", "performexitoptionsjobaction", NULL };
NAMES fill_type[] = { "spread", "pack", NULL };
NAMES disable_tasks[] = { "requeue", "terminate", "wait", NULL };
NAMES deallocation[] = { "requeue", "terminate", "taskcompletion", "retaineddata", NULL };
NAMES upload_condition[] = { "tasksuccess", "taskfailure", "taskcompletion", NULL };
NAMES job_action[] = { "none", "disable", "terminate", NULL };
NAMES dependency_action[] = { "satisfy", "block", NULL };
NAMES user_scope[] = { "task", "pool", NULL };
NAMES elevation[] = { "nonadmin", "admin", NULL };
NAMES working_directory[] = { "taskWorkingDirectory", "containerImageDefault", NULL };
NAMES communication[] = { "default", "classic", "simplified", NULL };

FIELDS name_value[] = { STRING_REQ("name"), STRING("value"), END };
FIELDS metadata[] = { STRING_REQ("name"), STRING_REQ("value"), END };

/* --- pools ------------------------------------------------------------------------------- */

FIELDS image_reference[] = { STRING("publisher"), STRING("offer"), STRING("sku"), STRING("version"),
			     STRING("virtualMachineImageId"), END };
FIELDS vm_configuration[] = {
	OBJECT_REQ("imageReference", image_reference),
	STRING_REQ("nodeAgentSKUId"),
	ANY("containerConfiguration"),
	ANY("osDisk"),
	ANY("nodePlacementConfiguration"),
	UNSUPPORTED("windowsConfiguration"),
	UNSUPPORTED("dataDisks"),
	UNSUPPORTED("licenseType"),
	UNSUPPORTED("diskEncryptionConfiguration"),
	UNSUPPORTED("extensions"),
	END,
};
FIELDS scheduling_policy[] = { ENUM_REQ("nodeFillType", fill_type), END };

const struct batch_spec_field batch_spec_pool_add[] = {
	{ .name = "id", .type = SPEC_ID, .required = true },
	STRING_MAX("displayName", 1024),
	STRING_REQ("vmSize"),
	OBJECT("virtualMachineConfiguration", vm_configuration),
	INT("targetDedicatedNodes", 0, 100000),
	INT("targetLowPriorityNodes", 0, 100000),
	DURATION("resizeTimeout", 300000),
	INT("taskSlotsPerNode", 1, 256),
	OBJECT("taskSchedulingPolicy", scheduling_policy),
	LIST("metadata", metadata),
	ENUM("targetNodeCommunicationMode", communication),
	UNSUPPORTED("cloudServiceConfiguration"),
	UNSUPPORTED("enableAutoScale"),
	UNSUPPORTED("autoScaleFormula"),
	UNSUPPORTED("autoScaleEvaluationInterval"),
	UNSUPPORTED("enableInterNodeCommunication"),
	UNSUPPORTED("networkConfiguration"),
	UNSUPPORTED("startTask"),
	UNSUPPORTED("applicationPackageReferences"),
	UNSUPPORTED("applicationLicenses"),
	UNSUPPORTED("certificateReferences"),
	UNSUPPORTED("userAccounts"),
	UNSUPPORTED("mountConfiguration"),
	UNSUPPORTED("identity"),
	UNSUPPORTED("upgradePolicy"),
	UNSUPPORTED("resourceTags"),
	END,
};
const struct batch_spec_field batch_spec_pool_patch[] = {
	STRING_MAX("displayName", 1024),
	LIST("metadata", metadata),
	ENUM("targetNodeCommunicationMode", communication),
	UNSUPPORTED("startTask"),
	UNSUPPORTED("applicationPackageReferences"),
	UNSUPPORTED("certificateReferences"),
	END,
};
const struct batch_spec_field batch_spec_pool_resize[] = {
	INT("targetDedicatedNodes", 0, 100000),
	INT("targetLowPriorityNodes", 0, 100000),
	DURATION("resizeTimeout", 300000),
	ENUM("nodeDeallocationOption", deallocation),
	END,
};
const struct batch_spec_field batch_spec_pool_remove_nodes[] = {
	{ .name = "nodeList", .type = SPEC_STRINGS, .required = true, .max = 100 },
	DURATION("resizeTimeout", 300000),
	ENUM("nodeDeallocationOption", deallocation),
	END,
};

/* --- jobs -------------------------------------------------------------------------------- */

FIELDS pool_info[] = {
	{ .name = "poolId", .type = SPEC_ID, .required = true },
	UNSUPPORTED("autoPoolSpecification"),
	END,
};
FIELDS job_constraints[] = { DURATION("maxWallClockTime", 0), INT("maxTaskRetryCount", -1, 1 << 30),
			     END };

#define JOB_CHANGEABLE(pool)                                          \
	INT("priority", -1000, 1000), INT("maxParallelTasks", -1, 1 << 30), \
		BOOL("allowTaskPreemption"),                          \
		ENUM("onAllTasksComplete", no_action_or_terminate),   \
		OBJECT("constraints", job_constraints), pool, LIST("metadata", metadata)

const struct batch_spec_field batch_spec_job_add[] = {
	{ .name = "id", .type = SPEC_ID, .required = true },
	STRING_MAX("displayName", 1024),
	JOB_CHANGEABLE(OBJECT_REQ("poolInfo", pool_info)),
	BOOL("usesTaskDependencies"),
	ENUM("onTaskFailure", on_failure),
	LIST("commonEnvironmentSettings", name_value),
	UNSUPPORTED("jobManagerTask"),
	UNSUPPORTED("jobPreparationTask"),
	UNSUPPORTED("jobReleaseTask"),
	UNSUPPORTED("networkConfiguration"),
	END,
};
const struct batch_spec_field batch_spec_job_patch[] = {
	JOB_CHANGEABLE(OBJECT("poolInfo", pool_info)),
	UNSUPPORTED("networkConfiguration"),
	END,
};
/* SDKs put back what they got: read-only members are dropped. */
const struct batch_spec_field batch_spec_job_put[] = {
	JOB_CHANGEABLE(OBJECT_REQ("poolInfo", pool_info)),
	IGNORED("id"),
	IGNORED("url"),
	IGNORED("displayName"),
	IGNORED("eTag"),
	IGNORED("lastModified"),
	IGNORED("creationTime"),
	IGNORED("state"),
	IGNORED("stateTransitionTime"),
	IGNORED("previousState"),
	IGNORED("previousStateTransitionTime"),
	IGNORED("usesTaskDependencies"),
	IGNORED("onTaskFailure"),
	IGNORED("commonEnvironmentSettings"),
	IGNORED("executionInfo"),
	IGNORED("stats"),
	END,
};
const struct batch_spec_field batch_spec_job_terminate[] = { STRING("terminateReason"), END };
const struct batch_spec_field batch_spec_job_disable[] = { ENUM_REQ("disableTasks", disable_tasks),
							   END };

/* --- tasks ------------------------------------------------------------------------------- */

FIELDS resource_file[] = {
	STRING("httpUrl"),
	STRING("storageContainerUrl"),
	UNSUPPORTED("autoStorageContainerName"),
	STRING("blobPrefix"),
	STRING("filePath"),
	STRING("fileMode"),
	UNSUPPORTED("identityReference"),
	END,
};
FIELDS upload_container[] = { STRING_REQ("containerUrl"), STRING("path"),
			      UNSUPPORTED("identityReference"), UNSUPPORTED("uploadHeaders"), END };
FIELDS upload_destination[] = { OBJECT_REQ("container", upload_container), END };
FIELDS upload_options[] = { ENUM_REQ("uploadCondition", upload_condition), END };
FIELDS output_file[] = { STRING_REQ("filePattern"), OBJECT_REQ("destination", upload_destination),
			 OBJECT_REQ("uploadOptions", upload_options), END };
FIELDS task_constraints[] = { DURATION("maxWallClockTime", 0), DURATION("retentionTime", 0),
			      INT("maxTaskRetryCount", -1, 1 << 30), END };
FIELDS auto_user[] = { ENUM("scope", user_scope), ENUM("elevationLevel", elevation), END };
FIELDS user_identity[] = { OBJECT("autoUser", auto_user), UNSUPPORTED("username"), END };
FIELDS exit_options[] = { ENUM("jobAction", job_action),
			  ENUM("dependencyAction", dependency_action), END };
FIELDS exit_code[] = { INT_REQ("code", INT32_MIN, INT32_MAX),
		       OBJECT_REQ("exitOptions", exit_options), END };
FIELDS exit_code_range[] = { INT_REQ("start", INT32_MIN, INT32_MAX),
			     INT_REQ("end", INT32_MIN, INT32_MAX),
			     OBJECT_REQ("exitOptions", exit_options), END };
FIELDS exit_conditions[] = {
	LIST("exitCodes", exit_code),
	LIST("exitCodeRanges", exit_code_range),
	OBJECT("preProcessingError", exit_options),
	OBJECT("fileUploadError", exit_options),
	OBJECT("default", exit_options),
	END,
};
FIELDS id_range[] = { INT_REQ("start", INT32_MIN, INT32_MAX), INT_REQ("end", INT32_MIN, INT32_MAX),
		      END };
FIELDS depends_on[] = { STRINGS("taskIds"), LIST("taskIdRanges", id_range), END };
FIELDS affinity[] = { STRING_REQ("affinityId"), END };
FIELDS registry[] = { STRING("username"), STRING("password"), STRING("registryServer"),
		      UNSUPPORTED("identityReference"), END };
/* The command runs on this machine, without its image: see the design of the emulator. */
FIELDS container_settings[] = {
	STRING_REQ("imageName"),
	STRING("containerRunOptions"),
	OBJECT("registry", registry),
	ENUM("workingDirectory", working_directory),
	ANY("containerHostBatchBindMounts"),
	END,
};

const struct batch_spec_field batch_spec_task_add[] = {
	{ .name = "id", .type = SPEC_ID, .required = true },
	STRING_MAX("displayName", 1024),
	STRING_REQ("commandLine"),
	OBJECT("containerSettings", container_settings),
	LIST("resourceFiles", resource_file),
	LIST("outputFiles", output_file),
	LIST("environmentSettings", name_value),
	OBJECT("constraints", task_constraints),
	INT("requiredSlots", 1, 256),
	OBJECT("userIdentity", user_identity),
	OBJECT("exitConditions", exit_conditions),
	OBJECT("dependsOn", depends_on),
	OBJECT("affinityInfo", affinity),
	IGNORED("authenticationTokenSettings"),
	UNSUPPORTED("applicationPackageReferences"),
	UNSUPPORTED("multiInstanceSettings"),
	END,
};
const struct batch_spec_field batch_spec_task_put[] = {
	OBJECT("constraints", task_constraints),
	END,
};

/* --- defaults ---------------------------------------------------------------------------- */

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

int batch_spec_pool_defaults(cJSON *spec)
{
	cJSON *policy = default_object(spec, "taskSchedulingPolicy");
	cJSON *image = cJSON_GetObjectItemCaseSensitive(
		adafs_json_get(spec, "virtualMachineConfiguration"), "imageReference");
	if (!policy || (image && !adafs_json_get(image, "virtualMachineImageId") &&
			default_text(image, "version", "latest") < 0))
		return -ENOMEM;
	return default_text(policy, "nodeFillType", "spread") < 0 ||
			       default_number(spec, "targetDedicatedNodes", 0) < 0 ||
			       default_number(spec, "targetLowPriorityNodes", 0) < 0 ||
			       default_duration(spec, "resizeTimeout", 15 * 60 * 1000) < 0 ||
			       default_number(spec, "taskSlotsPerNode", 1) < 0 ||
			       default_bool(spec, "enableAutoScale", false) < 0 ||
			       default_bool(spec, "enableInterNodeCommunication", false) < 0 ||
			       default_text(spec, "targetNodeCommunicationMode", "default") < 0
		       ? -ENOMEM
		       : 0;
}

int batch_spec_job_defaults(cJSON *spec)
{
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
			       default_text(spec, "onTaskFailure", "noaction") < 0
		       ? -ENOMEM
		       : 0;
}

int batch_spec_task_defaults(cJSON *spec, const cJSON *job)
{
	cJSON *constraints = default_object(spec, "constraints");
	cJSON *identity = default_object(spec, "userIdentity");
	cJSON *user = identity ? default_object(identity, "autoUser") : NULL;
	if (!constraints || !user)
		return -ENOMEM;
	int64_t retries = adafs_json_int(adafs_json_get(job, "constraints"), "maxTaskRetryCount", 0);
	return default_text(user, "scope", "pool") < 0 ||
			       default_text(user, "elevationLevel", "nonadmin") < 0 ||
			       default_duration(constraints, "maxWallClockTime",
						ADAFS_DURATION_NONE) < 0 ||
			       default_duration(constraints, "retentionTime",
						INT64_C(7) * 24 * 3600 * 1000) < 0 ||
			       default_number(constraints, "maxTaskRetryCount", retries) < 0 ||
			       default_number(spec, "requiredSlots", 1) < 0
		       ? -ENOMEM
		       : 0;
}
