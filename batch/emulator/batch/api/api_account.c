/*
 * What belongs to the account: node counts, images, and the names of what the emulator never has.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/emulator/batch/api/api.h"
#include "batch/emulator/batch/engine/node_ops.h"

static const struct odata_property counts_filter[] = {
	ODATA_ROW_EQ("poolId"),
	{ 0 },
};
static const struct odata_property images_filter[] = {
	ODATA_ROW_E("osType"), ODATA_ROW_E("verificationType"), ODATA_ROW_E("nodeAgentSKUId"), { 0 }
};

static cJSON *count_nodes(const struct pool *p, bool dedicated)
{
	static const char *const names[] = { "creating",
					     "idle",
					     "leavingPool",
					     "offline",
					     "preempted",
					     "rebooting",
					     "reimaging",
					     "running",
					     "starting",
					     "startTaskFailed",
					     "unknown",
					     "unusable",
					     "waitingForStartTask",
					     "total" };
	cJSON *o = cJSON_CreateObject();
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++) {
		int count = 0;
		const struct node *n;
		TAILQ_FOREACH(n, &p->nodes, link)
		{
			const char *state = node_state_name(n);
			count += n->dedicated == dedicated && (strcmp(names[i], "total") == 0 ||
							       strcasecmp(names[i], state) == 0);
		}
		cJSON_AddNumberToObject(o, names[i], count);
	}
	return o;
}

static cJSON *view_counts(struct api *a, void *entity, const char *select)
{
	(void)a;
	(void)select;
	const struct pool *p = entity_pool(entity);
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "poolId", p->e.id);
	cJSON_AddItemToObject(o, "dedicated", count_nodes(p, true));
	cJSON_AddItemToObject(o, "lowPriority", count_nodes(p, false));
	return o;
}

static int node_counts(struct api *a)
{
	const char *max = http_req_param(a->req, "maxresults");
	if (max && strtol(max, NULL, 10) > 10)
		return api_error_query(a, "maxresults", max, "MaxResults cannot be more than 10");
	return api_list_entities(a, &a->s->pools, "poolnodecounts", counts_filter, view_counts);
}

/* Pools run on this machine whatever image they name; these are what clients look for. */
static const struct image {
	const char *key, *agent, *publisher, *offer, *sku;
	bool docker, verified;
} images[] = {
	{ "1", "batch.node.debian 12", "debian", "debian-12", "12", false, true },
	{ "2", "batch.node.ubuntu 22.04", "canonical", "0001-com-ubuntu-server-jammy", "22_04-lts",
	  false, true },
	{ "3", "batch.node.ubuntu 22.04", "microsoft-dsvm", "ubuntu-hpc", "2204", true, true },
	{ "4", "batch.node.ubuntu 20.04", "microsoft-azure-batch", "ubuntu-server-container",
	  "20-04-lts", true, true },
	{ "5", "batch.node.ubuntu 24.04", "canonical", "ubuntu-24_04-lts", "server", false, false },
};

static void *next_image(void *arg, const char *after, void *previous)
{
	(void)arg;
	const struct image *next = previous ? (const struct image *)previous + 1 : images;
	while (next < images + ADAFS_ARRAY_SIZE(images) && strcmp(next->key, after) <= 0)
		next++;
	return next < images + ADAFS_ARRAY_SIZE(images) ? (void *)next : NULL;
}

static const char *image_key(void *item)
{
	return ((const struct image *)item)->key;
}

static cJSON *view_image(struct api *a, void *item, const char *select)
{
	(void)a;
	(void)select;
	const struct image *i = item;
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "nodeAgentSKUId", i->agent);
	cJSON *reference = cJSON_AddObjectToObject(o, "imageReference");
	cJSON_AddStringToObject(reference, "publisher", i->publisher);
	cJSON_AddStringToObject(reference, "offer", i->offer);
	cJSON_AddStringToObject(reference, "sku", i->sku);
	cJSON_AddStringToObject(reference, "version", "latest");
	cJSON_AddStringToObject(o, "osType", "linux");
	if (i->docker) {
		cJSON *capabilities = cJSON_AddArrayToObject(o, "capabilities");
		cJSON_AddItemToArray(capabilities, cJSON_CreateString("DockerCompatible"));
	}
	cJSON_AddStringToObject(o, "verificationType", i->verified ? "verified" : "unverified");
	return o;
}

static int image_list(struct api *a)
{
	const struct api_list list = { .metadata = "supportedimages",
				       .filterable = images_filter,
				       .next = next_image,
				       .key = image_key,
				       .view = view_image };
	return api_list(a, &list);
}

/* --- never there: an empty list is the truth ---------------------------------------------- */

static void *no_item(void *arg, const char *after, void *previous)
{
	(void)arg;
	(void)after;
	(void)previous;
	return NULL;
}

static const char *no_key(void *item)
{
	(void)item;
	return "";
}

static int empty_list(struct api *a, const char *metadata)
{
	static const struct odata_property filter[] = {
		ODATA_ROW_S("id"),
		ODATA_ROW_E("state"),
		ODATA_ROW_T("creationTime"),
		ODATA_ROW_T("lastModified"),
		ODATA_ROW_EQ("poolId"),
		ODATA_ROW_T("stateTransitionTime"),
		{ 0 },
	};
	const struct api_list list = {
		.metadata = metadata, .filterable = filter, .next = no_item, .key = no_key
	};
	return api_list(a, &list);
}

static int schedule_list(struct api *a)
{
	return empty_list(a, "jobschedules");
}

static int application_list(struct api *a)
{
	return empty_list(a, "applications");
}

static int certificate_list(struct api *a)
{
	return empty_list(a, "certificates");
}

static int usage_list(struct api *a)
{
	return empty_list(a, "poolusagemetrics");
}

static int extension_list(struct api *a)
{
	return api_node(a) ? empty_list(a, "extensions") : -ENOENT;
}

static int no_schedule(struct api *a)
{
	return api_error(a, 404, "JobScheduleNotFound", NULL);
}

static int no_application(struct api *a)
{
	return api_error(a, 404, "ApplicationNotFound", NULL);
}

static int no_resource(struct api *a)
{
	return api_error(a, 404, "ResourceNotFound", NULL);
}

static int no_extension(struct api *a)
{
	return api_node(a) ? no_resource(a) : -ENOENT;
}

const struct api_route api_named_routes[] = {
	{ "GET", "/nodecounts", "ListNodeCounts", node_counts },
	{ "GET", "/supportedimages", "ListSupportedImages", image_list },
	{ "GET", "/jobschedules", "ListJobSchedules", schedule_list },
	{ "POST", "/jobschedules", "AddJobSchedule", no_resource },
	{ "GET", "/jobschedules/{}", "GetJobSchedule", no_schedule },
	{ "HEAD", "/jobschedules/{}", "JobScheduleExists", no_schedule },
	{ "PATCH", "/jobschedules/{}", "PatchJobSchedule", no_schedule },
	{ "PUT", "/jobschedules/{}", "UpdateJobSchedule", no_schedule },
	{ "DELETE", "/jobschedules/{}", "DeleteJobSchedule", no_schedule },
	{ "POST", "/jobschedules/{}/disable", "DisableJobSchedule", no_schedule },
	{ "POST", "/jobschedules/{}/enable", "EnableJobSchedule", no_schedule },
	{ "POST", "/jobschedules/{}/terminate", "TerminateJobSchedule", no_schedule },
	{ "GET", "/jobschedules/{}/jobs", "ListJobsOfSchedule", no_schedule },
	{ "GET", "/applications", "ListApplications", application_list },
	{ "GET", "/applications/{}", "GetApplication", no_application },
	{ "GET", "/certificates", "ListCertificates", certificate_list },
	{ "POST", "/certificates", "AddCertificate", no_resource },
	{ "GET", "/poolusagemetrics", "ListPoolUsageMetrics", usage_list },
	{ "GET", "/lifetimejobstats", "GetLifetimeJobStats", no_resource },
	{ "GET", "/lifetimepoolstats", "GetLifetimePoolStats", no_resource },
	{ "GET", "/pools/{}/nodes/{}/extensions", "ListNodeExtensions", extension_list },
	{ "GET", "/pools/{}/nodes/{}/extensions/{}", "GetNodeExtension", no_extension },
	{ "GET", "/pools/{}/nodes/{}/rdp", "GetRemoteDesktop", no_extension },
	{ 0 },
};
