/* /pools and their nodes. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "batch/emulator/batch/api.h"
#include "batch/emulator/batch/scheduler.h"

#define S(n) { n, ODATA_STRING, ODATA_S }
#define E(n) { n, ODATA_STRING, ODATA_E }
#define T(n) { n, ODATA_TIME, ODATA_T }
#define B(n) { n, ODATA_BOOL, ODATA_E }
static const struct odata_property pool_filter[] = {
	S("id"), E("state"), E("allocationState"), T("stateTransitionTime"),
	T("allocationStateTransitionTime"), T("creationTime"), T("lastModified"),
	B("enableAutoScale"), B("enableInterNodeCommunication"), E("vmSize"), { 0 },
};
static const struct odata_property node_filter[] = {
	E("state"), T("stateTransitionTime"), T("lastBootTime"), T("allocationTime"),
	T("startTaskInfo/startTime"), T("startTaskInfo/endTime"),
	{ "startTaskInfo/state", ODATA_STRING, ODATA_EQ }, E("startTaskInfo/result"),
	{ "startTaskInfo/exitCode", ODATA_INT, ODATA_T }, { 0 },
};
static const struct odata_property counts_filter[] = {
	{ "poolId", ODATA_STRING, ODATA_EQ }, { 0 },
};
static const struct odata_property images_filter[] = { E("osType"), E("verificationType"),
						       E("nodeAgentSKUId"), { 0 } };

/* --- pools -------------------------------------------------------------------------------- */

static int check_pool(struct api *a, const cJSON *spec)
{
	if (!adafs_json_get(spec, "virtualMachineConfiguration"))
		return api_error(a, 400, "MissingRequiredProperty", "PropertyName",
				 "virtualMachineConfiguration", NULL);
	if (!adafs_json_get(spec, "targetDedicatedNodes") &&
	    !adafs_json_get(spec, "targetLowPriorityNodes"))
		return api_error(a, 400, "MissingRequiredProperty", "PropertyName",
				 "targetDedicatedNodes", NULL);
	return 0;
}

static int pool_add(struct api *a)
{
	cJSON *spec = NULL;
	int rc = api_body(a, batch_spec_pool_add, &spec);
	if (rc == 0)
		rc = check_pool(a, spec);
	const char *id = rc == 0 ? adafs_json_str(spec, "id", "") : "";
	const struct entity *old = rc == 0 ? entity_list_find(&a->s->pools, id) : NULL;
	if (old)
		rc = api_error(a, 409, old->state == POOL_DELETING ? "PoolBeingDeleted" : "PoolExists",
			       NULL);
	else if (rc == 0 && batch_spec_pool_defaults(spec) < 0)
		rc = api_error_internal(a);
	if (rc < 0) {
		cJSON_Delete(spec);
		return rc;
	}
	struct pool *p = pool_new(id, spec);
	if (!p)
		return api_error_internal(a);
	api_stamp_new(a, &p->e);
	if (entity_list_add(&a->s->pools, &p->e) < 0) {
		entity_free(&p->e);
		return api_error_internal(a);
	}
	sched_pool_resize_locked(a->s, p, "requeue");
	rc = api_commit_new(a, &p->e);
	return rc < 0 ? rc : api_created(a, "/pools", &p->e);
}

static int pool_list(struct api *a)
{
	return api_list_entities(a, &a->s->pools, "pools", pool_filter, view_pool);
}

static int pool_get(struct api *a)
{
	struct pool *p = api_pool(a);
	if (!p)
		return -ENOENT;
	int rc = api_conditions(a, &p->e, false);
	if (rc < 0)
		return rc;
	api_etag_headers(a, &p->e);
	return api_json(a, "pools/@Element", view_pool(a, &p->e, http_req_param(a->req, "$select")));
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
	struct pool *p = api_pool(a);
	if (p && p->e.state == POOL_DELETING) {
		api_error(a, 409, "PoolBeingDeleted", NULL);
		return NULL;
	}
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
	while (change->child) {
		cJSON *item = cJSON_DetachItemViaPointer(change, change->child);
		ADAFS_FREE char *name = strdup(item->string);
		if (!name) {
			cJSON_Delete(item);
			return -ENOMEM;
		}
		cJSON_DeleteItemFromObjectCaseSensitive(p->e.spec, name);
		cJSON_AddItemToObject(p->e.spec, name, item);
	}
	service_touch_locked(a->s, &p->e);
	service_dirty_locked(a->s, &p->e, true);
	return 0;
}

static int pool_update(struct api *a, int status, bool replace)
{
	struct pool *p = pool_to_change(a);
	ADAFS_JSON *change = NULL;
	if (!p || api_body(a, batch_spec_pool_patch, &change) < 0)
		return -EINVAL;
	if (replace)
		cJSON_DeleteItemFromObjectCaseSensitive(p->e.spec, "metadata");
	if (change_spec(a, p, change) < 0)
		return api_error_internal(a);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, status, &p->e);
}

static int pool_patch(struct api *a)
{
	return pool_update(a, 200, false);
}

static int pool_update_properties(struct api *a)
{
	return pool_update(a, 204, true);
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
	if (p->resizing)
		return api_error(a, 409, "PoolBeingResized", NULL);
	ADAFS_FREE char *option = strdup(adafs_json_str(change, "nodeDeallocationOption", "requeue"));
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
	service_touch_locked(a->s, &p->e);
	sched_pool_settle_locked(a->s, p);
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
	cJSON_ArrayForEach(item, adafs_json_get(body, "nodeList"))
		if (!pool_find_node(p, item->valuestring))
			return api_error(a, 404, "NodeNotFound", "NodeId", item->valuestring, NULL);
	cJSON_ArrayForEach(item, adafs_json_get(body, "nodeList")) {
		struct node *n = pool_find_node(p, item->valuestring);
		if (n->leaving)
			continue;
		lower_target(p, n);
		sched_node_leave_locked(a->s, n,
					adafs_json_str(body, "nodeDeallocationOption", "requeue"));
	}
	service_touch_locked(a->s, &p->e);
	service_dirty_locked(a->s, &p->e, true);
	sched_pool_settle_locked(a->s, p);
	service_wake_locked(a->s);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 202, &p->e);
}

/* --- nodes -------------------------------------------------------------------------------- */

static int compare_nodes(const void *a, const void *b)
{
	const struct node *x = *(struct node *const *)a, *y = *(struct node *const *)b;
	return strcmp(x->id, y->id);
}

struct node_cursor {
	struct node **item; /* sorted by id */
	size_t n, at;
};

static void *next_node(void *arg, const char *after, void *previous)
{
	struct node_cursor *c = arg;
	if (!previous)
		for (c->at = 0; c->at < c->n && strcmp(c->item[c->at]->id, after) <= 0;)
			c->at++;
	return c->at < c->n ? c->item[c->at++] : NULL;
}

static const char *node_key(void *item)
{
	return ((struct node *)item)->id;
}

static int node_list(struct api *a)
{
	const struct pool *p = api_pool(a);
	if (!p)
		return -ENOENT;
	struct node_cursor c = { 0 };
	struct node *n;
	TAILQ_FOREACH(n, &p->nodes, link)
		c.n++;
	ADAFS_FREE struct node **item = calloc(c.n + 1, sizeof(struct node *));
	if (!item)
		return api_error_internal(a);
	TAILQ_FOREACH(n, &p->nodes, link)
		item[c.at++] = n;
	c.item = item;
	if (c.n)
		qsort(item, c.n, sizeof(struct node *), compare_nodes);
	const struct api_list list = { .metadata = "nodes", .filterable = node_filter, .arg = &c,
				       .next = next_node, .key = node_key, .view = view_node };
	return api_list(a, &list);
}

static struct node *path_node(struct api *a)
{
	struct pool *p = api_pool(a);
	struct node *n = p ? pool_find_node(p, a->args[1]) : NULL;
	if (p && !n)
		api_error(a, 404, "NodeNotFound", NULL);
	return n;
}

static int node_get(struct api *a)
{
	struct node *n = path_node(a);
	return n ? api_json(a, "nodes/@Element", view_node(a, n, http_req_param(a->req, "$select")))
		 : -ENOENT;
}

static int node_scheduling(struct api *a, bool disabled)
{
	struct node *n = path_node(a);
	if (!n)
		return -ENOENT;
	if (n->disabled == disabled)
		return api_error(a, 409, "NodeAlreadyInTargetSchedulingState", NULL);
	const char *option = adafs_json_str(a->body, "nodeDisableSchedulingOption", "requeue");
	if (disabled && strcasecmp(option, "taskcompletion") != 0)
		/* Ending what runs there is not there: better refused than half done. */
		return api_error(a, 400, "UnsupportedProperty", "PropertyName",
				 "nodeDisableSchedulingOption", "Reason",
				 "The emulator has taskcompletion only", NULL);
	n->disabled = disabled;
	service_dirty_locked(a->s, &n->pool->e, false);
	service_wake_locked(a->s);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 200, NULL);
}

static int node_disable(struct api *a)
{
	return node_scheduling(a, true);
}

static int node_enable(struct api *a)
{
	return node_scheduling(a, false);
}

/* --- counts and images -------------------------------------------------------------------- */

static cJSON *count_nodes(const struct pool *p, bool dedicated)
{
	static const char *const names[] = { "creating",  "idle",      "leavingPool",
					     "offline",   "preempted", "rebooting",
					     "reimaging", "running",   "starting",
					     "startTaskFailed", "unknown", "unusable",
					     "waitingForStartTask", "total" };
	cJSON *o = cJSON_CreateObject();
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++) {
		int count = 0;
		const struct node *n;
		TAILQ_FOREACH(n, &p->nodes, link) {
			const char *state = n->leaving     ? "leavingPool"
					    : n->n_running ? "running"
							   : "idle";
			count += n->dedicated == dedicated && (strcmp(names[i], "total") == 0 ||
							       strcmp(names[i], state) == 0);
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
	const char *agent, *publisher, *offer, *sku;
} images[] = {
	{ "batch.node.debian 12", "debian", "debian-12", "12" },
	{ "batch.node.ubuntu 22.04", "canonical", "0001-com-ubuntu-server-jammy", "22_04-lts" },
	{ "batch.node.ubuntu 22.04", "microsoft-dsvm", "ubuntu-hpc", "2204" },
};

static void *next_image(void *arg, const char *after, void *previous)
{
	(void)arg;
	const struct image *next = previous ? (const struct image *)previous + 1 : images;
	while (next < images + ADAFS_ARRAY_SIZE(images) && !previous && strcmp(next->sku, after) == 0)
		next++;
	return next < images + ADAFS_ARRAY_SIZE(images) ? (void *)next : NULL;
}

static const char *image_key(void *item)
{
	return ((const struct image *)item)->sku;
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
	cJSON_AddStringToObject(o, "verificationType", "verified");
	return o;
}

static int image_list(struct api *a)
{
	const struct api_list list = { .metadata = "supportedimages", .filterable = images_filter,
				       .next = next_image, .key = image_key, .view = view_image };
	return api_list(a, &list);
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
	{ "GET", "/pools/{}/nodes", "ListNodes", node_list },
	{ "GET", "/pools/{}/nodes/{}", "GetNode", node_get },
	{ "POST", "/pools/{}/nodes/{}/disablescheduling", "DisableNodeScheduling", node_disable },
	{ "POST", "/pools/{}/nodes/{}/enablescheduling", "EnableNodeScheduling", node_enable },
	{ "GET", "/nodecounts", "ListNodeCounts", node_counts },
	{ "GET", "/supportedimages", "ListSupportedImages", image_list },
	{ 0 },
};
