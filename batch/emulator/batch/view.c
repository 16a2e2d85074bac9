/* Entities as the service shows them. Bulky parts of a spec are referred to, not copied. */
#include <inttypes.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/emulator/batch/api.h"
#include "batch/emulator/batch/autoscale.h"

struct view {
	struct api *a;
	cJSON *out;
	const char *select;
};

static void add(struct view *v, const char *name, cJSON *item)
{
	if (odata_selected(v->select, name))
		cJSON_AddItemToObject(v->out, name, item);
	else
		cJSON_Delete(item);
}

static void add_text(struct view *v, const char *name, const char *text)
{
	if (text && odata_selected(v->select, name))
		cJSON_AddStringToObject(v->out, name, text);
}

static void add_time(struct view *v, const char *name, int64_t us)
{
	if (us)
		add(v, name, api_time(us));
}

static void add_number(struct view *v, const char *name, int64_t n)
{
	if (odata_selected(v->select, name))
		cJSON_AddNumberToObject(v->out, name, (double)n);
}

/* Takes ownership of path. */
static void add_url(struct view *v, char *path)
{
	ADAFS_FREE char *owned = path;
	ADAFS_FREE char *url = owned ? adafs_fmt("%s%s", v->a->base, owned) : NULL;
	add_text(v, "url", url);
}

/* Every member of the spec but the id, by reference: the view is printed under the same lock. */
static void add_spec(struct view *v, const cJSON *spec)
{
	cJSON *item;
	cJSON_ArrayForEach(item, spec)
		if (strcmp(item->string, "id") != 0 && odata_selected(v->select, item->string))
			cJSON_AddItemReferenceToObject(v->out, item->string, item);
}

static void add_entity(struct view *v, const struct entity *e, const char *(*state_name)(int))
{
	char etag[ENTITY_ETAG_LEN];
	entity_etag(e, etag);
	add_text(v, "eTag", etag);
	add_time(v, "lastModified", e->modified_us);
	add_time(v, "creationTime", e->created_us);
	add_text(v, "state", state_name(e->state));
	add_time(v, "stateTransitionTime", e->state_us);
	if (e->prev_state >= 0 && e->kind != ENTITY_POOL) {
		add_text(v, "previousState", state_name(e->prev_state));
		add_time(v, "previousStateTransitionTime", e->prev_state_us);
	}
}

static void put_time(cJSON *o, const char *name, int64_t us)
{
	if (us)
		cJSON_AddItemToObject(o, name, api_time(us));
}

/* --- pools and nodes ---------------------------------------------------------------------- */

static void add_resize_errors(struct view *v, const struct pool *p, int64_t dedicated, int64_t low)
{
	const char *code[] = { "AccountCoreQuotaReached", "AccountLowPriorityCoreQuotaReached" };
	int64_t missing[] = { adafs_json_int(p->e.spec, "targetDedicatedNodes", 0) - dedicated,
			      adafs_json_int(p->e.spec, "targetLowPriorityNodes", 0) - low };
	if (p->resizing || (missing[0] <= 0 && missing[1] <= 0))
		return;
	cJSON *errors = cJSON_CreateArray();
	for (int i = 0; i < 2; i++) {
		if (missing[i] <= 0)
			continue;
		cJSON *item = cJSON_CreateObject();
		cJSON_AddStringToObject(item, "code", code[i]);
		cJSON_AddStringToObject(item, "message",
					"The specified account has reached core quota");
		cJSON_AddItemToArray(errors, item);
	}
	add(v, "resizeErrors", errors);
}

cJSON *view_pool(struct api *a, void *entity, const char *select)
{
	const struct pool *p = entity_pool(entity);
	struct view v = { .a = a, .out = cJSON_CreateObject(), .select = select };
	int64_t dedicated = 0, low = 0;
	const struct node *n;
	TAILQ_FOREACH(n, &p->nodes, link)
		*(n->dedicated ? &dedicated : &low) += 1;
	add_text(&v, "id", p->e.id);
	add_url(&v, adafs_fmt("/pools/%s", p->e.id));
	add_entity(&v, &p->e, pool_state_name);
	add_text(&v, "allocationState", p->resizing ? "resizing" : "steady");
	add_time(&v, "allocationStateTransitionTime", p->allocation_us);
	add_number(&v, "currentDedicatedNodes", dedicated);
	add_number(&v, "currentLowPriorityNodes", low);
	add_resize_errors(&v, p, dedicated, low);
	add_text(&v, "currentNodeCommunicationMode", "simplified");
	if (autoscale_last_run(p) && adafs_json_bool(p->e.spec, "enableAutoScale", false))
		add(&v, "autoScaleRun", cJSON_Duplicate(autoscale_last_run(p), true));
	add_spec(&v, p->e.spec);
	return v.out;
}

static const char *node_state(const struct node *n)
{
	return n->leaving ? "leavingpool" : n->n_running ? "running" : "idle";
}

cJSON *view_node(struct api *a, void *node, const char *select)
{
	const struct node *n = node;
	const struct pool *p = n->pool;
	struct view v = { .a = a, .out = cJSON_CreateObject(), .select = select };
	ADAFS_FREE char *affinity = adafs_fmt("TVM:%s", n->id);
	add_text(&v, "id", n->id);
	add_url(&v, adafs_fmt("/pools/%s/nodes/%s", p->e.id, n->id));
	add_text(&v, "state", node_state(n));
	add_text(&v, "schedulingState", n->disabled ? "disabled" : "enabled");
	add_time(&v, "stateTransitionTime", n->state_us);
	add_time(&v, "lastBootTime", n->allocated_us);
	add_time(&v, "allocationTime", n->allocated_us);
	add_text(&v, "ipAddress", "127.0.0.1");
	add_text(&v, "affinityId", affinity);
	add_text(&v, "vmSize", adafs_json_str(p->e.spec, "vmSize", ""));
	add_number(&v, "totalTasksRun", (int64_t)n->total_run);
	add_number(&v, "totalTasksSucceeded", (int64_t)n->total_succeeded);
	add_number(&v, "runningTasksCount", n->n_running);
	add_number(&v, "runningTaskSlotsCount", n->used_slots);
	add(&v, "isDedicated", cJSON_CreateBool(n->dedicated));
	return v.out;
}

/* --- jobs --------------------------------------------------------------------------------- */

static cJSON *job_execution(const struct job *j)
{
	cJSON *o = cJSON_CreateObject();
	put_time(o, "startTime", j->start_us);
	put_time(o, "endTime", j->end_us);
	cJSON_AddStringToObject(
		o, "poolId", adafs_json_str(adafs_json_get(j->e.spec, "poolInfo"), "poolId", ""));
	if (j->terminate_reason)
		cJSON_AddStringToObject(o, "terminateReason", j->terminate_reason);
	return o;
}

cJSON *view_job(struct api *a, void *entity, const char *select)
{
	const struct job *j = entity_job(entity);
	struct view v = { .a = a, .out = cJSON_CreateObject(), .select = select };
	add_text(&v, "id", j->e.id);
	add_url(&v, adafs_fmt("/jobs/%s", j->e.id));
	add_entity(&v, &j->e, job_state_name);
	add_spec(&v, j->e.spec);
	if (odata_selected(select, "executionInfo"))
		add(&v, "executionInfo", job_execution(j));
	return v.out;
}

/* --- tasks -------------------------------------------------------------------------------- */

static cJSON *task_execution(const struct task *t)
{
	cJSON *o = cJSON_CreateObject();
	put_time(o, "startTime", t->start_us);
	if (t->e.state == TASK_COMPLETED) {
		put_time(o, "endTime", t->end_us);
		if (t->has_exit_code)
			cJSON_AddNumberToObject(o, "exitCode", t->exit_code);
		if (t->failure)
			cJSON_AddItemReferenceToObject(o, "failureInfo", t->failure);
		cJSON_AddStringToObject(o, "result",
					t->result == RESULT_SUCCESS ? "success" : "failure");
	}
	cJSON_AddNumberToObject(o, "retryCount", t->retry_count);
	put_time(o, "lastRetryTime", t->last_retry_us);
	cJSON_AddNumberToObject(o, "requeueCount", t->requeue_count);
	put_time(o, "lastRequeueTime", t->last_requeue_us);
	return o;
}

static cJSON *task_node(const struct api *a, const struct task *t)
{
	cJSON *o = cJSON_CreateObject();
	ADAFS_FREE char *affinity = adafs_fmt("TVM:%s", t->node_id);
	ADAFS_FREE char *url = adafs_fmt("%s/pools/%s/nodes/%s", a->base, t->pool_id, t->node_id);
	ADAFS_FREE char *dir = adafs_fmt("workitems/%s/job-1/%s", t->job->e.id, t->e.id);
	ADAFS_FREE char *dir_url = url && dir ? adafs_fmt("%s/files/%s", url, dir) : NULL;
	cJSON_AddStringToObject(o, "affinityId", affinity ? affinity : "");
	cJSON_AddStringToObject(o, "nodeUrl", url ? url : "");
	cJSON_AddStringToObject(o, "poolId", t->pool_id);
	cJSON_AddStringToObject(o, "nodeId", t->node_id);
	cJSON_AddStringToObject(o, "taskRootDirectory", dir ? dir : "");
	cJSON_AddStringToObject(o, "taskRootDirectoryUrl", dir_url ? dir_url : "");
	return o;
}

cJSON *view_task(struct api *a, void *entity, const char *select)
{
	const struct task *t = entity_task(entity);
	struct view v = { .a = a, .out = cJSON_CreateObject(), .select = select };
	add_text(&v, "id", t->e.id);
	add_url(&v, adafs_fmt("/jobs/%s/tasks/%s", t->job->e.id, t->e.id));
	add_entity(&v, &t->e, task_state_name);
	add_spec(&v, t->e.spec);
	if (odata_selected(select, "executionInfo"))
		add(&v, "executionInfo", task_execution(t));
	if (t->node_id && t->pool_id && t->e.state != TASK_ACTIVE &&
	    odata_selected(select, "nodeInfo"))
		add(&v, "nodeInfo", task_node(a, t));
	return v.out;
}
