/* Entities as the service shows them. Bulky parts of a spec are referred to, not copied. */
#include "batch/emulator/batch/api/view.h"

#include <inttypes.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/emulator/batch/engine/job_own.h"

void view_add(struct view *v, const char *name, cJSON *item)
{
	if (odata_selected(v->select, name))
		cJSON_AddItemToObject(v->out, name, item);
	else
		cJSON_Delete(item);
}

void view_add_text(struct view *v, const char *name, const char *text)
{
	if (text && odata_selected(v->select, name))
		cJSON_AddStringToObject(v->out, name, text);
}

void view_add_time(struct view *v, const char *name, int64_t us)
{
	if (us)
		view_add(v, name, api_time(us));
}

void view_add_number(struct view *v, const char *name, int64_t n)
{
	if (odata_selected(v->select, name))
		cJSON_AddNumberToObject(v->out, name, (double)n);
}

void view_add_url(struct view *v, char *path)
{
	ADAFS_FREE char *owned = path;
	ADAFS_FREE char *url = owned ? adafs_fmt("%s%s", v->a->base, owned) : NULL;
	view_add_text(v, "url", url);
}

/* Whether a member or something in it is a secret, which the service never shows. */
static bool secret_name(const char *name)
{
	static const char *const names[] = { "password", "sshPrivateKey", "accountKey", "sasKey",
					     "protectedSettings" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static bool holds_secret(const cJSON *v)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, v) if ((item->string && secret_name(item->string)) ||
					holds_secret(item)) return true;
	return false;
}

static void drop_secrets(cJSON *v)
{
	cJSON *item = v->child;
	while (item) {
		cJSON *next = item->next;
		if (item->string && secret_name(item->string))
			cJSON_Delete(cJSON_DetachItemViaPointer(v, item));
		else
			drop_secrets(item);
		item = next;
	}
}

/* The parts of a body that hold secrets; the others are not looked through. */
static bool may_hold_secrets(const char *name)
{
	static const char *const names[] = {
		"userAccounts",       "mountConfiguration", "virtualMachineConfiguration",
		"containerSettings",  "startTask",          "jobManagerTask",
		"jobPreparationTask", "jobReleaseTask",     "poolInfo",
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* By reference where that can be: the view is printed under the same lock. */
void view_add_part(struct view *v, const char *name, const cJSON *part)
{
	if (!part || !odata_selected(v->select, name))
		return;
	if (!may_hold_secrets(name) || !holds_secret(part)) {
		cJSON_AddItemReferenceToObject(v->out, name, (cJSON *)part);
		return;
	}
	cJSON *copy = cJSON_Duplicate(part, true);
	if (copy)
		drop_secrets(copy);
	cJSON_AddItemToObject(v->out, name, copy);
}

void view_add_spec(struct view *v, const cJSON *spec)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, spec) if (strcmp(item->string, "id") != 0)
		view_add_part(v, item->string, item);
}

void view_add_entity(struct view *v, const struct entity *e, const char *(*state_name)(int))
{
	char etag[ENTITY_ETAG_LEN];
	entity_etag(e, etag);
	view_add_text(v, "eTag", etag);
	view_add_time(v, "lastModified", e->modified_us);
	view_add_time(v, "creationTime", e->created_us);
	view_add_text(v, "state", state_name(e->state));
	view_add_time(v, "stateTransitionTime", e->state_us);
	if (e->prev_state >= 0 && e->kind != ENTITY_POOL) {
		view_add_text(v, "previousState", state_name(e->prev_state));
		view_add_time(v, "previousStateTransitionTime", e->prev_state_us);
	}
}

void view_put_time(cJSON *o, const char *name, int64_t us)
{
	if (us)
		cJSON_AddItemToObject(o, name, api_time(us));
}

/* --- jobs --------------------------------------------------------------------------------- */

static cJSON *job_execution(const struct job *j)
{
	cJSON *o = cJSON_CreateObject();
	view_put_time(o, "startTime", j->start_us);
	view_put_time(o, "endTime", j->end_us);
	cJSON_AddStringToObject(
		o, "poolId", adafs_json_str(adafs_json_get(j->e.spec, "poolInfo"), "poolId", ""));
	if (j->terminate_reason)
		cJSON_AddStringToObject(o, "terminateReason", j->terminate_reason);
	return o;
}

/* The id of a job's own pool stands in executionInfo alone. */
static void hide_auto_pool(cJSON *out)
{
	cJSON *copy = cJSON_Duplicate(adafs_json_get(out, "poolInfo"), true);
	cJSON_DeleteItemFromObjectCaseSensitive(copy, "poolId");
	if (copy)
		cJSON_ReplaceItemInObjectCaseSensitive(out, "poolInfo", copy);
}

cJSON *view_job(struct api *a, void *entity, const char *select)
{
	const struct job *j = entity_job(entity);
	struct view v = { .a = a, .out = cJSON_CreateObject(), .select = select };
	view_add_text(&v, "id", j->e.id);
	view_add_url(&v, adafs_fmt("/jobs/%s", j->e.id));
	view_add_entity(&v, &j->e, job_state_name);
	view_add_spec(&v, j->e.spec);
	if (job_auto_pool(j->e.spec) && odata_selected(select, "poolInfo"))
		hide_auto_pool(v.out);
	if (odata_selected(select, "executionInfo"))
		view_add(&v, "executionInfo", job_execution(j));
	view_add_job_stats(&v, j);
	return v.out;
}

/* --- tasks -------------------------------------------------------------------------------- */

/* There is one once its image is there and the engine has made it. */
static void put_container(cJSON *o, const struct execution *x, const char *state)
{
	if (!x->container_id)
		return;
	cJSON *info = cJSON_AddObjectToObject(o, "containerInfo");
	cJSON_AddStringToObject(info, "containerId", x->container_id);
	cJSON_AddStringToObject(info, "state", state);
	cJSON_AddStringToObject(info, "error", "");
}

/* What the end of a command came to. */
static void put_end(cJSON *o, const struct execution *x)
{
	view_put_time(o, "endTime", x->end_us);
	if (x->has_exit_code)
		cJSON_AddNumberToObject(o, "exitCode", x->exit_code);
	if (x->failure)
		cJSON_AddItemReferenceToObject(o, "failureInfo", x->failure);
	put_container(o, x, "exited");
	cJSON_AddStringToObject(o, "result", x->failure ? "failure" : "success");
}

cJSON *view_own_execution(const struct execution *x, bool retries)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "state", x->end_us ? "completed" : "running");
	view_put_time(o, "startTime", x->start_us);
	if (x->end_us)
		put_end(o, x);
	if (retries) {
		cJSON_AddNumberToObject(o, "retryCount", x->retry_count);
		view_put_time(o, "lastRetryTime", x->last_retry_us);
	}
	return o;
}

cJSON *view_task_execution(const struct task *t)
{
	cJSON *o = cJSON_CreateObject();
	view_put_time(o, "startTime", t->exec.start_us);
	if (t->e.state == TASK_COMPLETED)
		put_end(o, &t->exec);
	else
		put_container(o, &t->exec, "running");
	cJSON_AddNumberToObject(o, "retryCount", t->exec.retry_count);
	view_put_time(o, "lastRetryTime", t->exec.last_retry_us);
	cJSON_AddNumberToObject(o, "requeueCount", t->requeue_count);
	view_put_time(o, "lastRequeueTime", t->last_requeue_us);
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
	view_add_text(&v, "id", t->e.id);
	view_add_url(&v, adafs_fmt("/jobs/%s/tasks/%s", t->job->e.id, t->e.id));
	view_add_entity(&v, &t->e, task_state_name);
	view_add_spec(&v, t->e.spec);
	if (odata_selected(select, "executionInfo"))
		view_add(&v, "executionInfo", view_task_execution(t));
	if (t->node_id && t->pool_id && t->e.state != TASK_ACTIVE &&
	    odata_selected(select, "nodeInfo"))
		view_add(&v, "nodeInfo", task_node(a, t));
	view_add_task_stats(&v, t);
	return v.out;
}
