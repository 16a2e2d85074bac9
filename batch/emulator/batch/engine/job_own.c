/* A job's manager task and the pool that lives and ends with it. */
#include "batch/emulator/batch/engine/job_own.h"

#include <string.h>
#include <strings.h>

#include "batch/base/random.h"
#include "batch/emulator/batch/engine/scheduler.h"

cJSON *job_manager_body(const cJSON *job)
{
	static const char *const own[] = { "killJobOnCompletion", "runExclusive",
					   "allowLowPriorityNode" };
	const cJSON *manager = adafs_json_get(job, "jobManagerTask");
	cJSON *body = manager ? cJSON_Duplicate(manager, true) : NULL;
	for (size_t i = 0; body && i < ADAFS_ARRAY_SIZE(own); i++)
		cJSON_DeleteItemFromObjectCaseSensitive(body, own[i]);
	return body;
}

bool job_ends_with(const struct task *t)
{
	const cJSON *manager = adafs_json_get(t->job->e.spec, "jobManagerTask");
	return manager && strcasecmp(adafs_json_str(manager, "id", ""), t->e.id) == 0 &&
	       adafs_json_bool(manager, "killJobOnCompletion", true);
}

const cJSON *job_auto_pool(const cJSON *job)
{
	return adafs_json_path(job, "poolInfo/autoPoolSpecification");
}

cJSON *job_auto_pool_body(cJSON *job)
{
	const cJSON *automatic = job_auto_pool(job), *pool = adafs_json_get(automatic, "pool");
	const char *prefix = adafs_json_str(automatic, "autoPoolIdPrefix", "");
	char uuid[ADAFS_UUID_LEN];
	adafs_random_uuid(uuid);
	ADAFS_FREE char *id = adafs_fmt("%s%s%s", prefix, *prefix ? "_" : "", uuid);
	cJSON *info = cJSON_GetObjectItemCaseSensitive(job, "poolInfo");
	ADAFS_JSON *body = pool ? cJSON_Duplicate(pool, true) : NULL;
	if (!id || !body || !cJSON_AddStringToObject(body, "id", id) ||
	    !cJSON_AddStringToObject(info, "poolId", id))
		return NULL;
	return ADAFS_STEAL(body);
}

void job_drop_pool_locked(struct batch_service *s, const struct job *j)
{
	const cJSON *automatic = job_auto_pool(j->e.spec);
	if (!automatic || adafs_json_bool(automatic, "keepAlive", false))
		return;
	struct entity *e = entity_list_find(&s->pools, j->pool_key);
	if (e && e->state != POOL_DELETING)
		sched_pool_delete_locked(s, entity_pool(e));
}
