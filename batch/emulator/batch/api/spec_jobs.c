/* The bodies of /jobs. */
#include "batch/emulator/batch/api/spec_fields.h"

NAMES all_complete[] = { "noaction", "terminatejob", NULL };
NAMES on_failure[] = { "noaction", "performexitoptionsjobaction", NULL };
NAMES disable_tasks[] = { "requeue", "terminate", "wait", NULL };
NAMES pool_lifetime[] = { "job", "jobschedule", NULL };

FIELDS auto_pool_specification[] = {
	STRING_MAX("autoPoolIdPrefix", 20),
	ENUM_REQ("poolLifetimeOption", pool_lifetime),
	BOOL("keepAlive"),
	OBJECT("pool", spec_auto_pool),
	END,
};
FIELDS pool_info[] = { { .name = "poolId", .type = SPEC_ID },
		       OBJECT("autoPoolSpecification", auto_pool_specification),
		       END };
FIELDS job_constraints[] = { DURATION("maxWallClockTime", 0), INT("maxTaskRetryCount", -1, 1 << 30),
			     END };
FIELDS network[] = { STRING_REQ("subnetId"), BOOL("skipWithdrawFromVNet"), END };

FIELDS manager_task[] = {
	ID_REQ("id"),
	STRING_MAX("displayName", 1024),
	STRING_REQ("commandLine"),
	OBJECT("containerSettings", spec_container_settings),
	LIST("resourceFiles", spec_resource_file),
	LIST("outputFiles", spec_output_file),
	LIST("environmentSettings", spec_name_value),
	OBJECT("constraints", spec_task_constraints),
	INT("requiredSlots", 1, 256),
	BOOL("killJobOnCompletion"),
	OBJECT("userIdentity", spec_user_identity),
	BOOL("runExclusive"),
	LIST_MAX("applicationPackageReferences", spec_package, PACKAGES_MAX),
	OBJECT("authenticationTokenSettings", spec_token_settings),
	BOOL("allowLowPriorityNode"),
	END,
};
FIELDS preparation_task[] = {
	{ .name = "id", .type = SPEC_ID },
	STRING_REQ("commandLine"),
	OBJECT("containerSettings", spec_container_settings),
	LIST("resourceFiles", spec_resource_file),
	LIST("environmentSettings", spec_name_value),
	OBJECT("constraints", spec_task_constraints),
	BOOL("waitForSuccess"),
	OBJECT("userIdentity", spec_user_identity),
	BOOL("rerunOnNodeRebootAfterSuccess"),
	END,
};
FIELDS release_task[] = {
	{ .name = "id", .type = SPEC_ID },
	STRING_REQ("commandLine"),
	OBJECT("containerSettings", spec_container_settings),
	LIST("resourceFiles", spec_resource_file),
	LIST("environmentSettings", spec_name_value),
	DURATION("maxWallClockTime", 0),
	DURATION("retentionTime", 0),
	OBJECT("userIdentity", spec_user_identity),
	END,
};

#define JOB_CHANGEABLE(pool)                                                           \
	INT("priority", -1000, 1000), INT("maxParallelTasks", -1, 1 << 30),            \
		BOOL("allowTaskPreemption"), ENUM("onAllTasksComplete", all_complete), \
		OBJECT("constraints", job_constraints), pool, LIST("metadata", spec_metadata)

const struct batch_spec_field batch_spec_job_add[] = {
	ID_REQ("id"),
	STRING_MAX("displayName", 1024),
	JOB_CHANGEABLE(OBJECT_REQ("poolInfo", pool_info)),
	BOOL("usesTaskDependencies"),
	ENUM("onTaskFailure", on_failure),
	LIST("commonEnvironmentSettings", spec_name_value),
	OBJECT("jobManagerTask", manager_task),
	OBJECT("jobPreparationTask", preparation_task),
	OBJECT("jobReleaseTask", release_task),
	OBJECT("networkConfiguration", network),
	END,
};
const struct batch_spec_field batch_spec_job_patch[] = {
	JOB_CHANGEABLE(OBJECT("poolInfo", pool_info)),
	OBJECT("networkConfiguration", network),
	END,
};
/* SDKs put back what they got: members that cannot change are dropped. */
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
	IGNORED("jobManagerTask"),
	IGNORED("jobPreparationTask"),
	IGNORED("jobReleaseTask"),
	IGNORED("networkConfiguration"),
	IGNORED("executionInfo"),
	IGNORED("stats"),
	END,
};
const struct batch_spec_field batch_spec_job_terminate[] = { STRING("terminateReason"), END };
const struct batch_spec_field batch_spec_job_disable[] = { ENUM_REQ("disableTasks", disable_tasks),
							   END };
