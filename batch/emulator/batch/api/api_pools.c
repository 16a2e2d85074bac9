/* /pools and their nodes. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "batch/emulator/batch/api/api.h"
#include "batch/emulator/batch/autoscale/autoscale.h"
#include "batch/emulator/batch/engine/scheduler.h"

static const struct odata_property pool_filter[] = {
	ODATA_ROW_S("id"),
	ODATA_ROW_E("state"),
	ODATA_ROW_E("allocationState"),
	ODATA_ROW_T("stateTransitionTime"),
	ODATA_ROW_T("allocationStateTransitionTime"),
	ODATA_ROW_T("creationTime"),
	ODATA_ROW_T("lastModified"),
	ODATA_ROW_B("enableAutoScale"),
	ODATA_ROW_B("enableInterNodeCommunication"),
	ODATA_ROW_E("vmSize"),
	{ 0 },
};

/* --- pools -------------------------------------------------------------------------------- */

/* Before 2020-09-01 taskSlotsPerNode had another name. */
static void rename_slots(struct api *a)
{
	cJSON *slots = api_before(a, "2020-09-01")
			       ? cJSON_DetachItemFromObjectCaseSensitive(a->body, "maxTasksPerNode")
			       : NULL;
	if (slots)
		cJSON_AddItemToObject(a->body, "taskSlotsPerNode", slots);
}

/* Each mount is of exactly one kind. */
static int check_mounts(struct api *a, const cJSON *spec)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, adafs_json_get(spec, "mountConfiguration")) if (
		cJSON_GetArraySize(item) !=
		1) return api_error(a, 400, "InvalidPropertyValue", "PropertyName",
				    "mountConfiguration", "Reason",
				    "A mount configuration is of exactly one kind", NULL);
	return 0;
}

int api_check_pool(struct api *a, const cJSON *spec)
{
	bool vm = adafs_json_get(spec, "virtualMachineConfiguration") != NULL;
	bool cloud = adafs_json_get(spec, "cloudServiceConfiguration") != NULL;
	if (!vm && !cloud)
		return api_error(a, 400, "MissingRequiredProperty", "PropertyName",
				 "virtualMachineConfiguration", NULL);
	if (vm && cloud)
		return api_error(a, 400, "InvalidPropertyValue", "PropertyName",
				 "cloudServiceConfiguration", "Reason",
				 "A pool has one of virtualMachineConfiguration and "
				 "cloudServiceConfiguration",
				 NULL);
	if (check_mounts(a, spec) < 0)
		return -EINVAL;
	if (!adafs_json_bool(spec, "enableAutoScale", false) &&
	    !adafs_json_get(spec, "targetDedicatedNodes") &&
	    !adafs_json_get(spec, "targetLowPriorityNodes"))
		return api_error(a, 400, "MissingRequiredProperty", "PropertyName",
				 "targetDedicatedNodes", NULL);
	return autoscale_check_body(a, spec);
}

int api_make_pool(struct api *a, cJSON *spec, struct pool **ret)
{
	if (batch_spec_pool_defaults(spec) < 0) {
		cJSON_Delete(spec);
		return api_error_internal(a);
	}
	struct pool *p = pool_new(adafs_json_str(spec, "id", ""), spec);
	if (!p)
		return api_error_internal(a);
	api_stamp_new(a, &p->e);
	if (entity_list_add(&a->s->pools, &p->e) < 0) {
		entity_free(&p->e);
		return api_error_internal(a);
	}
	sched_pool_resize_locked(a->s, p, "requeue");
	if (adafs_json_bool(p->e.spec, "enableAutoScale", false) &&
	    autoscale_start_locked(a->s, p) < 0) {
		service_forget_locked(a->s, &p->e);
		return api_error_internal(a);
	}
	*ret = p;
	return 0;
}

static int pool_add(struct api *a)
{
	ADAFS_JSON *spec = NULL;
	rename_slots(a);
	int rc = api_body(a, batch_spec_pool_add, &spec);
	if (rc == 0)
		rc = api_check_pool(a, spec);
	if (rc < 0)
		return rc;
	const struct entity *old = entity_list_find(&a->s->pools, adafs_json_str(spec, "id", ""));
	if (old)
		return api_error(a, 409,
				 old->state == POOL_DELETING ? "PoolBeingDeleted" : "PoolExists",
				 NULL);
	struct pool *p;
	rc = api_make_pool(a, ADAFS_STEAL(spec), &p);
	if (rc == 0)
		rc = api_commit_new(a, &p->e);
	return rc < 0 ? rc : api_created(a, "/pools", &p->e);
}

static int pool_list(struct api *a)
{
	int rc = api_expand(a);
	return rc < 0 ? rc : api_list_entities(a, &a->s->pools, "pools", pool_filter, view_pool);
}

static int pool_get(struct api *a)
{
	struct pool *p = api_pool(a);
	if (!p)
		return -ENOENT;
	int rc = api_conditions(a, &p->e, false);
	if (rc == 0)
		rc = api_expand(a);
	if (rc < 0)
		return rc;
	api_etag_headers(a, &p->e);
	return api_json(a, "pools/@Element",
			view_pool(a, &p->e, http_req_param(a->req, "$select")));
}

static int pool_head(struct api *a)
{
	struct pool *p = api_pool(a);
	if (!p)
		return -ENOENT;
	int rc = api_conditions(a, &p->e, false);
	if (rc < 0)
		return rc;
	a->resp->status = 200;
	api_etag_headers(a, &p->e);
	return 0;
}

/* A pool that may be changed and whose conditions hold. NULL: answered. */
static struct pool *pool_to_change(struct api *a)
{
	struct pool *p = api_live_pool(a);
	return p && api_conditions(a, &p->e, true) == 0 ? p : NULL;
}

static int pool_delete(struct api *a)
{
	struct pool *p = pool_to_change(a);
	if (!p)
		return -EINVAL;
	sched_pool_delete_locked(a->s, p);
	service_wake_locked(a->s);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 202, NULL);
}

static int change_spec(struct api *a, struct pool *p, cJSON *change)
{
	if (batch_spec_merge(p->e.spec, change) < 0)
		return -ENOMEM;
	service_touch_locked(a->s, &p->e);
	service_dirty_locked(a->s, &p->e, true);
	return 0;
}

static int pool_update(struct api *a, struct pool *p, int status, cJSON *change)
{
	if (check_mounts(a, change) < 0)
		return -EINVAL;
	if (change_spec(a, p, change) < 0 || batch_spec_start_task_defaults(p->e.spec) < 0 ||
	    pool_load_spec(p) < 0)
		return api_error_internal(a);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, status, &p->e);
}

static int pool_patch(struct api *a)
{
	struct pool *p = pool_to_change(a);
	ADAFS_JSON *change = NULL;
	if (!p || api_body(a,
			   api_before(a, "2024-07-01") ? batch_spec_pool_patch
						       : batch_spec_pool_patch_2024,
			   &change) < 0)
		return -EINVAL;
	return pool_update(a, p, 200, change);
}

/* Takes no conditions; what is left out is cleared. */
static int pool_update_properties(struct api *a)
{
	static const char *const cleared[] = { "startTask", "certificateReferences" };
	struct pool *p = api_live_pool(a);
	ADAFS_JSON *change = NULL;
	if (!p || api_body(a, batch_spec_pool_replace, &change) < 0)
		return -EINVAL;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cleared); i++)
		cJSON_DeleteItemFromObjectCaseSensitive(p->e.spec, cleared[i]);
	if (!adafs_json_get(change, "targetNodeCommunicationMode"))
		cJSON_AddStringToObject(change, "targetNodeCommunicationMode", "default");
	return pool_update(a, p, 204, change);
}

static int pool_resize(struct api *a)
{
	struct pool *p = pool_to_change(a);
	ADAFS_JSON *change = NULL;
	if (!p || api_body(a, batch_spec_pool_resize, &change) < 0)
		return -EINVAL;
	if (!adafs_json_get(change, "targetDedicatedNodes") &&
	    !adafs_json_get(change, "targetLowPriorityNodes"))
		return api_error(a, 400, "MissingRequiredProperty", "PropertyName",
				 "targetDedicatedNodes", NULL);
	if (adafs_json_bool(p->e.spec, "enableAutoScale", false))
		return api_error(a, 409, "OperationInvalidForCurrentState", "Reason",
				 "The pool is scaled by its formula", NULL);
	if (p->resizing)
		return api_error(a, 409, "PoolBeingResized", NULL);
	ADAFS_FREE char *option =
		strdup(adafs_json_str(change, "nodeDeallocationOption", "requeue"));
	cJSON_DeleteItemFromObjectCaseSensitive(change, "nodeDeallocationOption");
	if (!option || change_spec(a, p, change) < 0)
		return api_error_internal(a);
	sched_pool_resize_locked(a->s, p, option);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 202, &p->e);
}

static int pool_stop_resize(struct api *a)
{
	struct pool *p = pool_to_change(a);
	if (!p)
		return -EINVAL;
	if (!p->resizing)
		return api_error(a, 409, "OperationInvalidForCurrentState", NULL);
	/* Nodes that still wait for their tasks stay. */
	struct node *n;
	TAILQ_FOREACH(n, &p->nodes, link)
	n->leaving = false;
	p->grow_us = 0;
	p->resize_stopped = p->stopping = true;
	service_touch_locked(a->s, &p->e);
	service_wake_locked(a->s);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 202, &p->e);
}

static void lower_target(struct pool *p, const struct node *n)
{
	const char *name = n->dedicated ? "targetDedicatedNodes" : "targetLowPriorityNodes";
	cJSON *target = cJSON_GetObjectItemCaseSensitive(p->e.spec, name);
	if (target && target->valuedouble > 0)
		cJSON_SetNumberValue(target, target->valuedouble - 1);
}

static int pool_remove_nodes(struct api *a)
{
	struct pool *p = pool_to_change(a);
	ADAFS_JSON *body = NULL;
	if (!p || api_body(a, batch_spec_pool_remove_nodes, &body) < 0)
		return -EINVAL;
	if (p->resizing)
		return api_error(a, 409, "PoolBeingResized", NULL);
	const cJSON *item;
	cJSON_ArrayForEach(item, adafs_json_get(body, "nodeList")) if (
		!pool_find_node(p, item->valuestring)) return api_error(a, 404, "NodeNotFound",
									"NodeId", item->valuestring,
									NULL);
	cJSON_ArrayForEach(item, adafs_json_get(body, "nodeList"))
	{
		struct node *n = pool_find_node(p, item->valuestring);
		if (n->leaving)
			continue;
		lower_target(p, n);
		sched_node_leave_locked(a->s, n,
					adafs_json_str(body, "nodeDeallocationOption", "requeue"));
	}
	p->resize_stopped = p->resize_timed_out = false;
	service_touch_locked(a->s, &p->e);
	service_dirty_locked(a->s, &p->e, true);
	sched_pool_settle_locked(a->s, p);
	service_wake_locked(a->s);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 202, &p->e);
}

const struct api_route api_pool_routes[] = {
	{ "POST", "/pools", "AddPool", pool_add },
	{ "GET", "/pools", "ListPools", pool_list },
	{ "GET", "/pools/{}", "GetPool", pool_get },
	{ "HEAD", "/pools/{}", "PoolExists", pool_head },
	{ "DELETE", "/pools/{}", "DeletePool", pool_delete },
	{ "PATCH", "/pools/{}", "PatchPool", pool_patch },
	{ "POST", "/pools/{}/updateproperties", "UpdatePoolProperties", pool_update_properties },
	{ "POST", "/pools/{}/resize", "ResizePool", pool_resize },
	{ "POST", "/pools/{}/stopresize", "StopResizePool", pool_stop_resize },
	{ "POST", "/pools/{}/removenodes", "RemoveNodes", pool_remove_nodes },
	{ 0 },
};
