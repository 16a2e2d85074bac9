/* /jobs/{}/jobpreparationandreleasetaskstatus: how a job's own tasks fared on each node. */
#include <errno.h>

#include "batch/emulator/batch/api.h"

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

static void *next_status(void *arg, const char *after, void *previous)
{
	(void)arg;
	(void)after;
	(void)previous;
	return NULL;
}

static const char *status_key(void *item)
{
	(void)item;
	return "";
}

static int status_list(struct api *a)
{
	const struct job *j = api_job(a);
	if (!j)
		return -ENOENT;
	if (!adafs_json_get(j->e.spec, "jobPreparationTask") &&
	    !adafs_json_get(j->e.spec, "jobReleaseTask"))
		return api_error(a, 409, "JobPreparationTaskOrReleaseTaskNotSpecified", NULL);
	const struct api_list list = { .metadata = "jobpreparationandreleasetaskstatuslist",
				       .filterable = status_filter, .next = next_status,
				       .key = status_key };
	return api_list(a, &list);
}

const struct api_route api_status_routes[] = {
	{ "GET", "/jobs/{}/jobpreparationandreleasetaskstatus", "ListPreparationStatus", status_list },
	{ 0 },
};
