/* Pools and nodes as the service shows them. */
#include <inttypes.h>
#include <string.h>

#include "batch/emulator/batch/autoscale/autoscale.h"
#include "batch/emulator/batch/engine/node_ops.h"
#include "batch/emulator/batch/api/view.h"

static void put_resize_error(cJSON *errors, const char *code, const char *message)
{
	cJSON *item = cJSON_CreateObject();
	cJSON_AddStringToObject(item, "code", code);
	cJSON_AddStringToObject(item, "message", message);
	cJSON_AddItemToArray(errors, item);
}

/* Why the last resize did not come to its targets. */
static void add_resize_errors(struct view *v, const struct pool *p, int64_t dedicated, int64_t low)
{
	const char *codes[] = { "AccountCoreQuotaReached", "AccountLowPriorityCoreQuotaReached" };
	int64_t missing[] = { adafs_json_int(p->e.spec, "targetDedicatedNodes", 0) - dedicated,
			      adafs_json_int(p->e.spec, "targetLowPriorityNodes", 0) - low };
	cJSON *errors = cJSON_CreateArray();
	if (p->resize_stopped)
		put_resize_error(errors, "ResizeStopped",
				 "Desired number of nodes could not be allocated as the resize "
				 "operation was stopped");
	if (p->resize_timed_out)
		put_resize_error(errors, "AllocationTimedout",
				 "Desired number of nodes could not be allocated as the resize "
				 "timeout was reached");
	for (int i = 0; i < 2 && !p->resize_stopped && !p->resize_timed_out; i++)
		if (missing[i] > 0)
			put_resize_error(errors, codes[i],
					 "The specified account has reached core quota");
	if (p->resizing || !errors->child)
		cJSON_Delete(errors);
	else
		view_add(v, "resizeErrors", errors);
}

cJSON *view_pool(struct api *a, void *entity, const char *select)
{
	const struct pool *p = entity_pool(entity);
	struct view v = { .a = a, .out = cJSON_CreateObject(), .select = select };
	int64_t dedicated = 0, low = 0;
	const struct node *n;
	TAILQ_FOREACH(n, &p->nodes, link)
	*(n->dedicated ? &dedicated : &low) += 1;
	view_add_text(&v, "id", p->e.id);
	view_add_url(&v, adafs_fmt("/pools/%s", p->e.id));
	view_add_entity(&v, &p->e, pool_state_name);
	view_add_text(&v, "allocationState",
		      p->stopping   ? "stopping"
		      : p->resizing ? "resizing"
				    : "steady");
	view_add_time(&v, "allocationStateTransitionTime", p->allocation_us);
	view_add_number(&v, "currentDedicatedNodes", dedicated);
	view_add_number(&v, "currentLowPriorityNodes", low);
	add_resize_errors(&v, p, dedicated, low);
	view_add_text(&v, "currentNodeCommunicationMode", "simplified");
	if (autoscale_last_run(p) && adafs_json_bool(p->e.spec, "enableAutoScale", false))
		view_add(&v, "autoScaleRun", cJSON_Duplicate(autoscale_last_run(p), true));
	view_add_spec(&v, p->e.spec);
	/* Before 2020-09-01 taskSlotsPerNode had another name. */
	if (api_before(a, "2020-09-01")) {
		cJSON_DeleteItemFromObjectCaseSensitive(v.out, "taskSlotsPerNode");
		view_add_number(&v, "maxTasksPerNode", p->slots);
	}
	view_add_pool_stats(&v, p);
	return v.out;
}

/* --- nodes -------------------------------------------------------------------------------- */

#define RECENT_TASKS 10

static cJSON *recent_item(const struct api *a, const struct task *t)
{
	cJSON *o = cJSON_CreateObject();
	ADAFS_FREE char *url = adafs_fmt("%s/jobs/%s/tasks/%s", a->base, t->job->e.id, t->e.id);
	cJSON_AddStringToObject(o, "taskUrl", url ? url : "");
	cJSON_AddStringToObject(o, "jobId", t->job->e.id);
	cJSON_AddStringToObject(o, "taskId", t->e.id);
	cJSON_AddStringToObject(o, "taskState", task_state_name(t->e.state));
	cJSON_AddItemToObject(o, "executionInfo", view_task_execution(t));
	return o;
}

/* The tasks that began on a node last, youngest first. */
static cJSON *recent_tasks(const struct api *a, const struct node *n)
{
	const struct task *recent[RECENT_TASKS] = { NULL };
	size_t count = 0;
	for (size_t i = 0; i < a->s->jobs.n; i++) {
		const struct job *j = entity_job(a->s->jobs.item[i]);
		for (size_t k = 0; k < j->tasks.n; k++) {
			const struct task *t = entity_task(j->tasks.item[k]);
			if (!t->exec.start_us || !t->node_id || strcmp(t->node_id, n->id) != 0)
				continue;
			size_t at = count < RECENT_TASKS ? count++ : RECENT_TASKS;
			for (; at > 0 && recent[at - 1]->exec.start_us < t->exec.start_us; at--)
				if (at < RECENT_TASKS)
					recent[at] = recent[at - 1];
			if (at < RECENT_TASKS)
				recent[at] = t;
		}
	}
	cJSON *list = cJSON_CreateArray();
	for (size_t i = 0; i < count; i++)
		cJSON_AddItemToArray(list, recent_item(a, recent[i]));
	return list;
}

static cJSON *agent_info(const struct node *n)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "version", "1.12.0");
	view_put_time(o, "lastUpdateTime", n->allocated_us);
	return o;
}

static cJSON *machine_info(const struct pool *p)
{
	cJSON *o = cJSON_CreateObject();
	const cJSON *image =
		adafs_json_path(p->e.spec, "virtualMachineConfiguration/imageReference");
	if (image)
		cJSON_AddItemReferenceToObject(o, "imageReference", (cJSON *)image);
	return o;
}

/* Each port that the pool opens, as it is reached on this node. */
static cJSON *endpoints(const struct node *n)
{
	cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "inboundEndpoints");
	const cJSON *pool;
	cJSON_ArrayForEach(pool, adafs_json_path(n->pool->e.spec,
						 "networkConfiguration/endpointConfiguration/"
						 "inboundNATPools"))
	{
		cJSON *item = cJSON_CreateObject();
		int64_t port = adafs_json_int(pool, "backendPort", 0);
		cJSON_AddStringToObject(item, "name", adafs_json_str(pool, "name", ""));
		cJSON_AddStringToObject(item, "protocol", adafs_json_str(pool, "protocol", "tcp"));
		cJSON_AddStringToObject(item, "publicIPAddress", "127.0.0.1");
		cJSON_AddNumberToObject(item, "frontendPort", (double)port);
		cJSON_AddNumberToObject(item, "backendPort", (double)port);
		cJSON_AddItemToArray(list, item);
	}
	return o;
}

cJSON *view_node(struct api *a, void *node, const char *select)
{
	const struct node *n = node;
	const struct pool *p = n->pool;
	struct view v = { .a = a, .out = cJSON_CreateObject(), .select = select };
	ADAFS_FREE char *affinity = adafs_fmt("TVM:%s", n->id);
	view_add_text(&v, "id", n->id);
	view_add_url(&v, adafs_fmt("/pools/%s/nodes/%s", p->e.id, n->id));
	view_add_text(&v, "state", node_state_name(n));
	view_add_text(&v, "schedulingState", n->disabled ? "disabled" : "enabled");
	view_add_time(&v, "stateTransitionTime", n->state_us);
	view_add_time(&v, "lastBootTime", n->boot_us ? n->boot_us : n->allocated_us);
	view_add_time(&v, "allocationTime", n->allocated_us);
	view_add_text(&v, "ipAddress", "127.0.0.1");
	view_add_text(&v, "affinityId", affinity);
	view_add_text(&v, "vmSize", adafs_json_str(p->e.spec, "vmSize", ""));
	view_add_number(&v, "totalTasksRun", (int64_t)n->total_run);
	view_add_number(&v, "totalTasksSucceeded", (int64_t)n->total_succeeded);
	view_add_number(&v, "runningTasksCount", n->n_running);
	view_add_number(&v, "runningTaskSlotsCount", n->used_slots);
	view_add(&v, "isDedicated", cJSON_CreateBool(n->dedicated));
	if (odata_selected(select, "recentTasks"))
		view_add(&v, "recentTasks", recent_tasks(a, n));
	view_add_part(&v, "startTask", adafs_json_get(p->e.spec, "startTask"));
	if (n->start.start_us && odata_selected(select, "startTaskInfo"))
		view_add(&v, "startTaskInfo", view_own_execution(&n->start, true));
	view_add(&v, "endpointConfiguration", endpoints(n));
	view_add(&v, "nodeAgentInfo", agent_info(n));
	view_add(&v, "virtualMachineInfo", machine_info(p));
	return v.out;
}
