/* Nodes of pools: list, get, what an operator does with one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/random.h"
#include "batch/emulator/batch/api/api.h"
#include "batch/emulator/batch/engine/node_ops.h"

static const struct odata_property node_filter[] = {
	ODATA_ROW_E("state"),
	ODATA_ROW_T("stateTransitionTime"),
	ODATA_ROW_T("lastBootTime"),
	ODATA_ROW_T("allocationTime"),
	ODATA_ROW_T("startTaskInfo/startTime"),
	ODATA_ROW_T("startTaskInfo/endTime"),
	ODATA_ROW_EQ("startTaskInfo/state"),
	ODATA_ROW_E("startTaskInfo/result"),
	ODATA_ROW_INT("startTaskInfo/exitCode"),
	{ 0 },
};
/* --- list and get ------------------------------------------------------------------------- */

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
	const struct api_list list = { .metadata = "nodes",
				       .filterable = node_filter,
				       .arg = &c,
				       .next = next_node,
				       .key = node_key,
				       .view = view_node };
	return api_list(a, &list);
}

static int node_get(struct api *a)
{
	struct node *n = api_node(a);
	return n ? api_json(a, "nodes/@Element", view_node(a, n, http_req_param(a->req, "$select")))
		 : -ENOENT;
}

/* --- change ------------------------------------------------------------------------------- */

static int answer(struct api *a, int status)
{
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, status, NULL);
}

static int node_disable(struct api *a)
{
	struct node *n = api_node(a);
	ADAFS_JSON *body = NULL;
	if (!n || api_body(a, batch_spec_node_disable, &body) < 0)
		return -EINVAL;
	if (n->disabled)
		return api_error(a, 409, "NodeAlreadyInTargetSchedulingState", NULL);
	node_disable_locked(a->s, n,
			    adafs_json_str(body, "nodeDisableSchedulingOption", "requeue"));
	return answer(a, 200);
}

static int node_enable(struct api *a)
{
	struct node *n = api_node(a);
	if (!n)
		return -ENOENT;
	if (!n->disabled)
		return api_error(a, 409, "NodeAlreadyInTargetSchedulingState", NULL);
	node_enable_locked(a->s, n);
	return answer(a, 200);
}

/* The option of a body that has one. */
static int take_down(struct api *a, const struct batch_spec_field *fields, enum node_down how)
{
	struct node *n = api_node(a);
	ADAFS_JSON *body = NULL;
	if (!n || api_body(a, fields, &body) < 0)
		return -EINVAL;
	if (n->down == NODE_REBOOTING)
		return api_error(a, 409, "NodeBeingRebooted", NULL);
	if (n->down == NODE_REIMAGING)
		return api_error(a, 409, "NodeBeingReimaged", NULL);
	if (n->down != NODE_UP || n->leaving)
		return api_error(a, 409, "OperationNotValidOnNode", NULL);
	node_take_down_locked(a->s, n, how, adafs_json_str(body, fields->name, "requeue"));
	return answer(a, 202);
}

static int node_reboot(struct api *a)
{
	return take_down(a, batch_spec_node_reboot, NODE_REBOOTING);
}

static int node_reimage(struct api *a)
{
	return take_down(a, batch_spec_node_reimage, NODE_REIMAGING);
}

static int node_deallocate(struct api *a)
{
	return take_down(a, batch_spec_node_deallocate, NODE_DEALLOCATING);
}

static int node_start(struct api *a)
{
	struct node *n = api_node(a);
	if (!n)
		return -ENOENT;
	if (n->down != NODE_DEALLOCATED || n->leaving)
		return api_error(a, 409, "OperationNotValidOnNode", NULL);
	node_start_locked(a->s, n);
	return answer(a, 202);
}

/* --- reach it ----------------------------------------------------------------------------- */

static int node_login(struct api *a)
{
	if (!api_node(a))
		return -ENOENT;
	cJSON *out = cJSON_CreateObject();
	cJSON_AddStringToObject(out, "remoteLoginIPAddress", "127.0.0.1");
	cJSON_AddNumberToObject(out, "remoteLoginPort", 22);
	return api_json(a, "Microsoft.Azure.Batch.Protocol.Entities.ComputeNodeRemoteLoginSettings",
			out);
}

static int user_add(struct api *a)
{
	struct node *n = api_node(a);
	ADAFS_JSON *body = NULL;
	if (!n || api_body(a, batch_spec_node_user_add, &body) < 0)
		return -EINVAL;
	const char *name = adafs_json_str(body, "name", "");
	if (!*name || strlen(name) > 20 || strchr(name, '/'))
		return api_error(a, 400, "InvalidPropertyValue", "PropertyName", "name", "Reason",
				 "A user name has 1 to 20 characters", NULL);
	if (node_user_exists_locked(a->s, n, name))
		return api_error(a, 409, "NodeUserExists", NULL);
	if (node_user_add_locked(a->s, n, name) < 0)
		return api_error_internal(a);
	ADAFS_FREE char *url = adafs_fmt("%s%s/%s", a->base, a->req->path, name);
	if (url)
		http_resp_header(a->resp, "Location", url);
	return api_done(a, 201, NULL);
}

static int user_put(struct api *a)
{
	struct node *n = api_node(a);
	ADAFS_JSON *body = NULL;
	if (!n || api_body(a, batch_spec_node_user_put, &body) < 0)
		return -EINVAL;
	if (!node_user_exists_locked(a->s, n, a->args[2]))
		return api_error(a, 404, "NodeUserNotFound", NULL);
	return api_done(a, 200, NULL);
}

static int user_delete(struct api *a)
{
	struct node *n = api_node(a);
	if (!n)
		return -ENOENT;
	if (!node_user_remove_locked(a->s, n, a->args[2]))
		return api_error(a, 404, "NodeUserNotFound", NULL);
	return api_done(a, 200, NULL);
}

/* The emulator has no agent on its nodes, so there are no logs of one to upload. */
static int node_logs(struct api *a)
{
	struct node *n = api_node(a);
	ADAFS_JSON *body = NULL;
	if (!n || api_body(a, batch_spec_node_logs, &body) < 0)
		return -EINVAL;
	const char *url = adafs_json_str(body, "containerUrl", "");
	if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
		return api_error(a, 400, "InvalidPropertyValue", "PropertyName", "containerUrl",
				 NULL);
	char id[ADAFS_UUID_LEN];
	adafs_random_uuid(id);
	ADAFS_FREE char *dir = adafs_fmt("%s/%s/%s", n->pool->e.id, n->id, id);
	cJSON *out = cJSON_CreateObject();
	cJSON_AddStringToObject(out, "virtualDirectoryName", dir ? dir : "");
	cJSON_AddNumberToObject(out, "numberOfFilesUploaded", 0);
	return api_json(a, "uploadBatchServiceLogsResult/@Element", out);
}

const struct api_route api_node_routes[] = {
	{ "GET", "/pools/{}/nodes", "ListNodes", node_list },
	{ "GET", "/pools/{}/nodes/{}", "GetNode", node_get },
	{ "POST", "/pools/{}/nodes/{}/disablescheduling", "DisableNodeScheduling", node_disable },
	{ "POST", "/pools/{}/nodes/{}/enablescheduling", "EnableNodeScheduling", node_enable },
	{ "POST", "/pools/{}/nodes/{}/reboot", "RebootNode", node_reboot },
	{ "POST", "/pools/{}/nodes/{}/reimage", "ReimageNode", node_reimage },
	{ "POST", "/pools/{}/nodes/{}/start", "StartNode", node_start },
	{ "POST", "/pools/{}/nodes/{}/deallocate", "DeallocateNode", node_deallocate },
	{ "GET", "/pools/{}/nodes/{}/remoteloginsettings", "GetRemoteLoginSettings", node_login },
	{ "POST", "/pools/{}/nodes/{}/users", "AddNodeUser", user_add },
	{ "PUT", "/pools/{}/nodes/{}/users/{}", "UpdateNodeUser", user_put },
	{ "DELETE", "/pools/{}/nodes/{}/users/{}", "DeleteNodeUser", user_delete },
	{ "POST", "/pools/{}/nodes/{}/uploadbatchservicelogs", "UploadBatchServiceLogs",
	  node_logs },
	{ 0 },
};
