/*
 * emulator/batch/engine/recover.c - rows to entities, then processes of a predecessor ended and
 * their tasks run again. Before any thread of the service starts.
 */
#include "batch/emulator/batch/engine/recover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "batch/base/log.h"
#include "batch/emulator/batch/batch_store.h"
#include "batch/emulator/batch/engine/job_node.h"
#include "batch/emulator/batch/node/process.h"
#include "batch/emulator/batch/node/runner.h"
#include "batch/emulator/batch/engine/scheduler.h"
#include "batch/emulator/batch/api/spec.h"

#define LOCAL_POOL "local"

struct loader {
	struct batch_service *s;
	struct strmap jobs; /* by seq in decimal */
};

static struct job *find_job(const struct loader *l, uint64_t seq)
{
	char key[24];
	snprintf(key, sizeof(key), "%" PRIu64, seq);
	return strmap_get(&l->jobs, key);
}

static struct entity *make_entity(const struct loader *l, enum entity_kind kind, uint64_t job_seq,
				  const char *id, cJSON *spec)
{
	if (kind == ENTITY_POOL) {
		struct pool *p = pool_new(id, spec);
		return p ? &p->e : NULL;
	}
	if (kind == ENTITY_JOB) {
		struct job *j = job_new(id, spec);
		return j ? &j->e : NULL;
	}
	struct task *t = task_new(find_job(l, job_seq), id, spec);
	return t ? &t->e : NULL;
}

static int load_entity(void *arg, enum entity_kind kind, uint64_t seq, uint64_t job_seq,
		       const char *id, const char *spec, const char *state)
{
	struct loader *l = arg;
	if (kind == ENTITY_TASK && !find_job(l, job_seq))
		return -EIO;
	cJSON *spec_json = adafs_json_parse(spec, strlen(spec), NULL);
	ADAFS_JSON *state_json = adafs_json_parse(state, strlen(state), NULL);
	if (!spec_json || !state_json) {
		cJSON_Delete(spec_json);
		return -EIO;
	}
	struct entity *e = make_entity(l, kind, job_seq, id, spec_json);
	if (!e)
		return -ENOMEM;
	e->seq = seq;
	e->stored = true;
	if (seq >= l->s->next_seq)
		l->s->next_seq = seq + 1;
	struct entity_list *list = kind == ENTITY_POOL  ? &l->s->pools
				   : kind == ENTITY_JOB ? &l->s->jobs
							: &entity_task(e)->job->tasks;
	int rc = entity_state_load(e, state_json);
	if (rc == 0)
		rc = entity_list_add(list, e);
	if (rc < 0) {
		entity_free(e);
		return rc;
	}
	if (e->modified_us > l->s->last_us)
		l->s->last_us = e->modified_us;
	char key[24];
	snprintf(key, sizeof(key), "%" PRIu64, seq);
	return kind == ENTITY_JOB ? strmap_set(&l->jobs, key, entity_job(e)) : 0;
}

static int load_remembered(void *arg, uint64_t job_seq, const char *key)
{
	struct job *j = find_job(arg, job_seq);
	return j ? deps_remember(j, key) : 0;
}

static void kill_recorded(const struct execution *x)
{
	if (x->pid)
		batch_process_kill_recorded(x->pid, x->pid_start);
}

/* What a predecessor left running ends before anything is started anew. */
static void kill_strays(struct batch_service *s)
{
	for (size_t i = 0; i < s->jobs.n; i++) {
		struct job *j = entity_job(s->jobs.item[i]);
		for (size_t k = 0; k < j->tasks.n; k++) {
			struct task *t = entity_task(j->tasks.item[k]);
			if (t->e.state == TASK_RUNNING)
				kill_recorded(&t->exec);
		}
		const struct job_node *at;
		TAILQ_FOREACH(at, &j->nodes, link)
		{
			kill_recorded(&at->prep);
			kill_recorded(&at->release);
		}
	}
	for (size_t i = 0; i < s->pools.n; i++) {
		const struct node *n;
		TAILQ_FOREACH(n, &entity_pool(s->pools.item[i])->nodes, link)
		kill_recorded(&n->start);
	}
	ADAFS_FREE char *tag = adafs_fmt("AZ_BATCH_NODE_ROOT_DIR=%s/nodes/", s->dir);
	unsigned n = tag ? batch_process_kill_tagged(tag, false) : 0;
	if (n)
		adafs_log(INFO, "batch", "ended %u processes that an earlier emulator left", n);
}

static int by_seq(const void *a, const void *b)
{
	const struct entity *x = *(struct entity *const *)a, *y = *(struct entity *const *)b;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void recover_task(struct batch_service *s, struct task *t)
{
	int job_state = t->job->e.state, ending = t->exec.ending;
	if (t->e.state == TASK_ACTIVE) {
		sched_task_active_locked(s, t);
		return;
	}
	/* What a client was told will happen to the run does happen. */
	t->exec.ending = RUN_STOP_NONE;
	if (job_state == JOB_TERMINATING || ending == RUN_STOP_TERMINATE)
		sched_task_terminate_locked(s, t);
	else if (ending == RUN_STOP_DELETE && job_state != JOB_DELETING)
		sched_task_remove_locked(s, t);
	else
		sched_task_requeue_locked(s, t);
}

static int recover_job(struct batch_service *s, struct job *j)
{
	struct entity_list *l = &j->tasks;
	for (size_t i = 0; i < l->n; i++) {
		struct task *t = entity_task(l->item[i]);
		task_count(t, 1);
		if (t->e.state == TASK_COMPLETED && t->satisfies && deps_remember(j, t->e.key) < 0)
			return -ENOMEM;
	}
	/* The oldest task last among those that go to the front, first among those at the back. */
	if (l->n) /* its tasks may not have come before the kill */
		qsort(l->item, l->n, sizeof(*l->item), by_seq);
	l->sorted = false;
	for (size_t i = 0; i < l->n; i++)
		if (l->item[i]->state == TASK_ACTIVE)
			recover_task(s, entity_task(l->item[i]));
	for (size_t i = l->n; i-- > 0;)
		if (l->item[i]->state == TASK_RUNNING || l->item[i]->state == TASK_PREPARING)
			recover_task(s, entity_task(l->item[i]));
	return 0;
}

/* Start tasks that were running run again. */
static void recover_nodes(struct pool *p)
{
	struct node *n;
	TAILQ_FOREACH(n, &p->nodes, link)
	if (n->start_state == START_RUNNING) {
		execution_reset(&n->start);
		n->start_state = START_WANTED;
	}
}

/* Jobs and pools may leave their lists here. */
static int recover_all(struct batch_service *s)
{
	for (size_t i = 0; i < s->pools.n; i++)
		recover_nodes(entity_pool(s->pools.item[i]));
	for (size_t i = 0; i < s->jobs.n; i++) {
		job_nodes_recover_locked(s, entity_job(s->jobs.item[i]));
		int rc = recover_job(s, entity_job(s->jobs.item[i]));
		if (rc < 0)
			return rc;
	}
	for (size_t i = s->jobs.n; i-- > 0;) {
		struct job *j = entity_job(s->jobs.item[i]);
		sched_job_check_locked(s, j);
		sched_job_settle_locked(s, j);
	}
	for (size_t i = s->pools.n; i-- > 0;)
		sched_pool_settle_locked(s, entity_pool(s->pools.item[i]));
	return 0;
}

static cJSON *local_spec(const struct batch_service *s)
{
	cJSON *spec = cJSON_CreateObject();
	cJSON_AddStringToObject(spec, "id", LOCAL_POOL);
	cJSON_AddStringToObject(spec, "vmSize", "local");
	cJSON *vm = cJSON_AddObjectToObject(spec, "virtualMachineConfiguration");
	cJSON *image = cJSON_AddObjectToObject(vm, "imageReference");
	cJSON_AddStringToObject(image, "publisher", "adafs");
	cJSON_AddStringToObject(image, "offer", "emulator");
	cJSON_AddStringToObject(image, "sku", "local");
	cJSON_AddStringToObject(vm, "nodeAgentSKUId", "batch.node.local");
	cJSON_AddNumberToObject(spec, "targetDedicatedNodes", s->local_nodes);
	cJSON_AddNumberToObject(spec, "taskSlotsPerNode", s->local_slots);
	if (batch_spec_pool_defaults(spec) == 0)
		return spec;
	cJSON_Delete(spec);
	return NULL;
}

static int make_local_pool(struct batch_service *s)
{
	struct entity *e = entity_list_find(&s->pools, LOCAL_POOL);
	if (!e) {
		cJSON *spec = local_spec(s);
		struct pool *p = spec ? pool_new(LOCAL_POOL, spec) : NULL;
		if (!p || entity_list_add(&s->pools, &p->e) < 0)
			return -ENOMEM;
		e = &p->e;
		e->seq = s->next_seq++;
		e->created_us = e->modified_us = e->state_us = service_now_locked(s);
	}
	struct pool *p = entity_pool(e);
	/* The command line decides at each start, also against an earlier resize. */
	cJSON_SetNumberValue(cJSON_GetObjectItemCaseSensitive(e->spec, "targetDedicatedNodes"),
			     s->local_nodes);
	cJSON_SetNumberValue(cJSON_GetObjectItemCaseSensitive(e->spec, "taskSlotsPerNode"),
			     s->local_slots);
	pool_load_spec(p);
	sched_pool_resize_locked(s, p, "requeue");
	return 0;
}

int service_recover(struct batch_service *s, struct adafs_err *reterr)
{
	struct loader l = { .s = s };
	const struct batch_store_loader loader = { .entity = load_entity,
						   .remembered = load_remembered,
						   .arg = &l };
	int rc = batch_store_load(s->store, &loader);
	strmap_clear(&l.jobs);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "cannot read the batch state below %s: %s", s->dir,
				     strerror(-rc));
	kill_strays(s);
	rc = recover_all(s);
	if (rc == 0)
		rc = make_local_pool(s);
	if (rc == 0)
		rc = service_commit_locked(s);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "cannot write the batch state below %s: %s",
				     s->dir, strerror(-rc));
	return 0;
}
