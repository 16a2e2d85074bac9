/* The bodies of /jobs/{}/tasks, and the parts of a task that pools and jobs have too. */
#include "batch/emulator/batch/api/spec_fields.h"

NAMES upload_condition[] = { "tasksuccess", "taskfailure", "taskcompletion", NULL };
NAMES job_action[] = { "none", "disable", "terminate", NULL };
NAMES dependency_action[] = { "satisfy", "block", NULL };
NAMES user_scope[] = { "task", "pool", NULL };
NAMES working_directory[] = { "taskWorkingDirectory", "containerImageDefault", NULL };
NAMES mount_source[] = {
	"Shared", "Startup", "VfsMounts", "Task", "JobPrep", "Applications", NULL
};
const char *const spec_elevation[] = { "nonadmin", "admin", NULL };

/* --- shared ------------------------------------------------------------------------------ */

const struct batch_spec_field spec_name_value[] = { STRING_REQ("name"), STRING("value"), END };
const struct batch_spec_field spec_metadata[] = { STRING_REQ("name"), STRING_REQ("value"), END };
const struct batch_spec_field spec_identity_reference[] = { STRING("resourceId"), END };
const struct batch_spec_field spec_package[] = { STRING_REQ("applicationId"), STRING("version"),
						 END };
const struct batch_spec_field spec_registry[] = {
	STRING("username"),
	STRING("password"),
	STRING("registryServer"),
	OBJECT("identityReference", spec_identity_reference),
	END,
};
FIELDS bind_mount[] = { ENUM("source", mount_source), BOOL("isReadOnly"), END };
const struct batch_spec_field spec_container_settings[] = {
	STRING_REQ("imageName"),
	STRING("containerRunOptions"),
	OBJECT("registry", spec_registry),
	ENUM("workingDirectory", working_directory),
	LIST("containerHostBatchBindMounts", bind_mount),
	END,
};
const struct batch_spec_field spec_resource_file[] = {
	STRING("httpUrl"),
	STRING("storageContainerUrl"),
	STRING("autoStorageContainerName"),
	STRING("blobPrefix"),
	STRING("filePath"),
	STRING("fileMode"),
	OBJECT("identityReference", spec_identity_reference),
	END,
};
FIELDS upload_container[] = {
	STRING_REQ("containerUrl"),
	STRING("path"),
	OBJECT("identityReference", spec_identity_reference),
	LIST("uploadHeaders", spec_name_value),
	END,
};
FIELDS upload_destination[] = { OBJECT_REQ("container", upload_container), END };
FIELDS upload_options[] = { ENUM_REQ("uploadCondition", upload_condition), END };
const struct batch_spec_field spec_output_file[] = {
	STRING_REQ("filePattern"),
	OBJECT_REQ("destination", upload_destination),
	OBJECT_REQ("uploadOptions", upload_options),
	END,
};
const struct batch_spec_field spec_task_constraints[] = {
	DURATION("maxWallClockTime", 0),
	DURATION("retentionTime", 0),
	INT("maxTaskRetryCount", -1, 1 << 30),
	END,
};
FIELDS auto_user[] = { ENUM("scope", user_scope), ENUM("elevationLevel", spec_elevation), END };
const struct batch_spec_field spec_user_identity[] = { STRING("username"),
						       OBJECT("autoUser", auto_user), END };
const struct batch_spec_field spec_token_settings[] = { STRINGS("access"), END };

/* --- tasks ------------------------------------------------------------------------------- */

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
FIELDS multi_instance[] = { INT("numberOfInstances", 1, 100000),
			    STRING_REQ("coordinationCommandLine"),
			    LIST("commonResourceFiles", spec_resource_file), END };

const struct batch_spec_field batch_spec_task_add[] = {
	ID_REQ("id"),
	STRING_MAX("displayName", 1024),
	STRING_REQ("commandLine"),
	OBJECT("containerSettings", spec_container_settings),
	LIST("resourceFiles", spec_resource_file),
	LIST("outputFiles", spec_output_file),
	LIST("environmentSettings", spec_name_value),
	OBJECT("constraints", spec_task_constraints),
	INT("requiredSlots", 1, 256),
	OBJECT("userIdentity", spec_user_identity),
	OBJECT("exitConditions", exit_conditions),
	OBJECT("dependsOn", depends_on),
	OBJECT("affinityInfo", affinity),
	OBJECT("authenticationTokenSettings", spec_token_settings),
	LIST_MAX("applicationPackageReferences", spec_package, PACKAGES_MAX),
	OBJECT("multiInstanceSettings", multi_instance),
	END,
};

/* SDKs put back what they got: members that cannot change are dropped. */
const struct batch_spec_field batch_spec_task_put[] = {
	OBJECT("constraints", spec_task_constraints),
	IGNORED("id"),
	IGNORED("displayName"),
	IGNORED("url"),
	IGNORED("eTag"),
	IGNORED("lastModified"),
	IGNORED("creationTime"),
	IGNORED("exitConditions"),
	IGNORED("state"),
	IGNORED("stateTransitionTime"),
	IGNORED("previousState"),
	IGNORED("previousStateTransitionTime"),
	IGNORED("commandLine"),
	IGNORED("containerSettings"),
	IGNORED("resourceFiles"),
	IGNORED("outputFiles"),
	IGNORED("environmentSettings"),
	IGNORED("affinityInfo"),
	IGNORED("requiredSlots"),
	IGNORED("userIdentity"),
	IGNORED("executionInfo"),
	IGNORED("nodeInfo"),
	IGNORED("multiInstanceSettings"),
	IGNORED("stats"),
	IGNORED("dependsOn"),
	IGNORED("applicationPackageReferences"),
	IGNORED("authenticationTokenSettings"),
	END,
};
