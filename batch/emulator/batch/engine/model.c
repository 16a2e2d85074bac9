/*
 * emulator/batch/engine/model.c - making, finding and freeing entities; lists are found by
 * lower-case id and sorted when somebody wants the order. Under the service's lock.
 */
#include "batch/emulator/batch/engine/model.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/digest.h"
#include "batch/emulator/batch/autoscale/autoscale.h"

static const char *const pool_states[] = { "active", "deleting" };
static const char *const job_states[] = { "active",      "disabling", "disabled", "enabling",
					  "terminating", "completed", "deleting" };
static const char *const task_states[] = { "active", "preparing", "running", "completed" };

const char *pool_state_name(int state)
{
	return pool_states[state];
}

const char *job_state_name(int state)
{
	return job_states[state];
}

const char *task_state_name(int state)
{
	return task_states[state];
}

char *key_of(const char *id)
{
	char *key = strdup(id);
	for (char *p = key; p && *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return key;
}

void entity_etag(const struct entity *e, char out[ENTITY_ETAG_LEN])
{
	/* As the service does: ticks of 100 ns since year 1, in hexadecimal. */
	uint64_t ticks = (uint64_t)e->modified_us * 10 + UINT64_C(621355968000000000);
	snprintf(out, ENTITY_ETAG_LEN, "0x%" PRIX64, ticks);
}

static int entity_init(struct entity *e, enum entity_kind kind, const char *id, cJSON *spec)
{
	e->kind = kind;
	e->id = strdup(id);
	e->key = key_of(id);
	e->spec = spec;
	e->prev_state = -1;
	return e->id && e->key && spec ? 0 : -ENOMEM;
}

int pool_load_spec(struct pool *p)
{
	p->slots = (unsigned)adafs_json_int(p->e.spec, "taskSlotsPerNode", 1);
	const cJSON *policy = adafs_json_get(p->e.spec, "taskSchedulingPolicy");
	p->pack = strcmp(adafs_json_str(policy, "nodeFillType", "spread"), "pack") == 0;
	return 0;
}

struct pool *pool_new(const char *id, cJSON *spec)
{
	struct pool *p = calloc(1, sizeof(*p));
	if (!p) {
		cJSON_Delete(spec);
		return NULL;
	}
	TAILQ_INIT(&p->nodes);
	if (entity_init(&p->e, ENTITY_POOL, id, spec) < 0 || pool_load_spec(p) < 0) {
		entity_free(&p->e);
		return NULL;
	}
	return p;
}

int job_load_spec(struct job *j)
{
	char *key = key_of(adafs_json_str(adafs_json_get(j->e.spec, "poolInfo"), "poolId", ""));
	if (!key)
		return -ENOMEM;
	free(j->pool_key);
	j->pool_key = key;
	const cJSON *preparation = adafs_json_get(j->e.spec, "jobPreparationTask");
	j->prepares = preparation != NULL;
	j->prep_gates = adafs_json_bool(preparation, "waitForSuccess", true);
	int64_t limit_ms = ADAFS_DURATION_NONE;
	const char *text =
		adafs_json_str(adafs_json_get(j->e.spec, "constraints"), "maxWallClockTime", NULL);
	if (text && adafs_duration_parse(text, &limit_ms) < 0)
		limit_ms = ADAFS_DURATION_NONE;
	/* The limit counts from the creation of the job, queueing included. */
	j->deadline_us = limit_ms > (INT64_MAX - j->e.created_us) / 1000
				 ? INT64_MAX
				 : j->e.created_us + limit_ms * 1000;
	return 0;
}

struct job *job_new(const char *id, cJSON *spec)
{
	struct job *j = calloc(1, sizeof(*j));
	if (!j) {
		cJSON_Delete(spec);
		return NULL;
	}
	TAILQ_INIT(&j->ready);
	TAILQ_INIT(&j->nodes);
	if (entity_init(&j->e, ENTITY_JOB, id, spec) < 0 || job_load_spec(j) < 0) {
		entity_free(&j->e);
		return NULL;
	}
	return j;
}

struct task *task_new(struct job *job, const char *id, cJSON *spec)
{
	struct task *t = calloc(1, sizeof(*t));
	if (!t) {
		cJSON_Delete(spec);
		return NULL;
	}
	t->job = job;
	t->range_cursor = INT64_MIN;
	t->slots = (unsigned)adafs_json_int(spec, "requiredSlots", 1);
	if (entity_init(&t->e, ENTITY_TASK, id, spec) < 0) {
		entity_free(&t->e);
		return NULL;
	}
	return t;
}

static void pool_clear(struct pool *p)
{
	while (!TAILQ_EMPTY(&p->nodes))
		pool_remove_node(p, TAILQ_FIRST(&p->nodes));
	autoscale_free(p->scale);
}

static void job_node_free(struct job_node *at)
{
	execution_clear(&at->prep);
	execution_clear(&at->release);
	free(at->pool_id);
	free(at->node_id);
	free(at);
}

static void job_clear(struct job *j)
{
	for (size_t i = 0; i < j->tasks.n; i++)
		entity_free(j->tasks.item[i]);
	entity_list_clear(&j->tasks);
	strmap_clear(&j->satisfied);
	strmap_clear(&j->waiters);
	free(j->pool_key);
	free(j->terminate_reason);
	free(j->history);
	struct job_node *at;
	while ((at = TAILQ_FIRST(&j->nodes)) != NULL) {
		TAILQ_REMOVE(&j->nodes, at, link);
		job_node_free(at);
	}
	strmap_clear(&j->nodes_by_id);
}

static void task_clear(struct task *t)
{
	execution_clear(&t->exec);
	free(t->pool_id);
	free(t->node_id);
	free(t->waits_for);
}

void entity_free(struct entity *e)
{
	if (!e)
		return;
	free(e->id);
	free(e->key);
	cJSON_Delete(e->spec);
	switch (e->kind) {
	case ENTITY_POOL:
		pool_clear(entity_pool(e));
		free(entity_pool(e));
		break;
	case ENTITY_JOB:
		job_clear(entity_job(e));
		free(entity_job(e));
		break;
	case ENTITY_TASK:
		task_clear(entity_task(e));
		free(entity_task(e));
		break;
	}
}

/* --- the mutable part as JSON ------------------------------------------------------------ */

static void put_int(cJSON *o, const char *name, int64_t value)
{
	if (value)
		cJSON_AddNumberToObject(o, name, (double)value);
}

static void put_text(cJSON *o, const char *name, const char *value)
{
	if (value)
		cJSON_AddStringToObject(o, name, value);
}

/* Left out if it never ran. */
static void put_execution(cJSON *o, const char *name, const struct execution *x)
{
	if (x->start_us)
		execution_put(x, cJSON_AddObjectToObject(o, name));
}

static void pool_state_json(const struct pool *p, cJSON *o)
{
	put_int(o, "allocation", p->allocation_us);
	put_int(o, "next_node", (int64_t)p->next_node);
	put_int(o, "resize_stopped", p->resize_stopped);
	put_int(o, "resize_timed_out", p->resize_timed_out);
	put_int(o, "grow", p->grow_us);
	cJSON *scale = autoscale_state_json(p->scale);
	if (scale)
		cJSON_AddItemToObject(o, "scale", scale);
	cJSON *nodes = cJSON_AddArrayToObject(o, "nodes");
	const struct node *n;
	TAILQ_FOREACH(n, &p->nodes, link)
	{
		cJSON *item = cJSON_CreateObject();
		put_text(item, "id", n->id);
		put_int(item, "dedicated", n->dedicated);
		put_int(item, "leaving", n->leaving);
		put_int(item, "disabled", n->disabled);
		put_int(item, "allocated", n->allocated_us);
		put_int(item, "down", n->down);
		put_int(item, "boot", n->boot_us);
		put_int(item, "run", (int64_t)n->total_run);
		put_int(item, "succeeded", (int64_t)n->total_succeeded);
		put_int(item, "start_state", n->start_state);
		put_int(item, "start_gates", n->start_gates);
		put_execution(item, "start", &n->start);
		cJSON_AddItemToArray(nodes, item);
	}
}

static void task_state_json(const struct task *t, cJSON *o)
{
	execution_put(&t->exec, o);
	put_int(o, "result", t->result);
	put_int(o, "requeues", t->requeue_count);
	put_int(o, "last_requeue", t->last_requeue_us);
	put_int(o, "satisfies", t->satisfies);
	put_int(o, "files_gone", t->files_gone);
	put_text(o, "pool", t->pool_id);
	put_text(o, "node", t->node_id);
}

static void job_state_json(const struct job *j, cJSON *o)
{
	put_int(o, "start", j->start_us);
	put_int(o, "end", j->end_us);
	put_text(o, "reason", j->terminate_reason);
	cJSON *nodes = TAILQ_EMPTY(&j->nodes) ? NULL : cJSON_AddArrayToObject(o, "nodes");
	const struct job_node *at;
	TAILQ_FOREACH(at, &j->nodes, link)
	{
		cJSON *item = cJSON_CreateObject();
		put_text(item, "pool", at->pool_id);
		put_text(item, "node", at->node_id);
		put_int(item, "state", at->state);
		put_int(item, "released", at->released);
		put_execution(item, "prep", &at->prep);
		put_execution(item, "release", &at->release);
		cJSON_AddItemToArray(nodes, item);
	}
}

cJSON *entity_state_json(const struct entity *e)
{
	cJSON *o = cJSON_CreateObject();
	put_int(o, "created", e->created_us);
	put_int(o, "modified", e->modified_us);
	put_int(o, "state", e->state);
	put_int(o, "state_time", e->state_us);
	put_int(o, "prev", e->prev_state);
	put_int(o, "prev_time", e->prev_state_us);
	switch (e->kind) {
	case ENTITY_POOL:
		pool_state_json(ADAFS_CONTAINER_OF(e, const struct pool, e), o);
		break;
	case ENTITY_JOB:
		job_state_json(ADAFS_CONTAINER_OF(e, const struct job, e), o);
		break;
	case ENTITY_TASK:
		task_state_json(ADAFS_CONTAINER_OF(e, const struct task, e), o);
		break;
	}
	return o;
}

static int copy_text(const cJSON *o, const char *name, char **ret)
{
	const char *text = adafs_json_str(o, name, NULL);
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

static int pool_state_load(struct pool *p, const cJSON *o)
{
	p->allocation_us = adafs_json_int(o, "allocation", 0);
	p->next_node = (uint64_t)adafs_json_int(o, "next_node", 0);
	p->resize_stopped = adafs_json_int(o, "resize_stopped", 0);
	p->resize_timed_out = adafs_json_int(o, "resize_timed_out", 0);
	p->grow_us = adafs_json_int(o, "grow", 0);
	p->resizing = p->grow_us != 0;
	const cJSON *item;
	cJSON_ArrayForEach(item, adafs_json_get(o, "nodes"))
	{
		struct node *n = calloc(1, sizeof(*n));
		if (!n)
			return -ENOMEM;
		n->pool = p;
		snprintf(n->id, sizeof(n->id), "%s", adafs_json_str(item, "id", ""));
		n->dedicated = adafs_json_int(item, "dedicated", 0);
		n->leaving = adafs_json_int(item, "leaving", 0);
		n->disabled = adafs_json_int(item, "disabled", 0);
		n->allocated_us = adafs_json_int(item, "allocated", 0);
		n->down = (enum node_down)adafs_json_int(item, "down", NODE_UP);
		n->boot_us = adafs_json_int(item, "boot", 0);
		n->total_run = (uint64_t)adafs_json_int(item, "run", 0);
		n->total_succeeded = (uint64_t)adafs_json_int(item, "succeeded", 0);
		n->start_state = (enum start_state)adafs_json_int(item, "start_state", START_NONE);
		n->start_gates = adafs_json_int(item, "start_gates", 0);
		n->state_us = adafs_clock_wall_us();
		p->resizing |= n->leaving;
		TAILQ_INSERT_TAIL(&p->nodes, n, link);
		if (execution_load(&n->start, adafs_json_get(item, "start")) < 0)
			return -ENOMEM;
	}
	int rc = autoscale_state_load(p, adafs_json_get(o, "scale"));
	return rc < 0 ? rc : pool_load_spec(p);
}

static int task_state_load(struct task *t, const cJSON *o)
{
	t->result = (enum task_result)adafs_json_int(o, "result", RESULT_NONE);
	t->requeue_count = (int)adafs_json_int(o, "requeues", 0);
	t->last_requeue_us = adafs_json_int(o, "last_requeue", 0);
	t->satisfies = adafs_json_int(o, "satisfies", 0);
	t->files_gone = adafs_json_int(o, "files_gone", 0);
	if (execution_load(&t->exec, o) < 0)
		return -ENOMEM;
	if (copy_text(o, "pool", &t->pool_id) < 0 || copy_text(o, "node", &t->node_id) < 0)
		return -ENOMEM;
	return 0;
}

static struct job_node *new_job_node(struct job *j, const char *pool_id, const char *node_id)
{
	struct job_node *at = calloc(1, sizeof(*at));
	if (!at)
		return NULL;
	at->job = j;
	at->pool_id = strdup(pool_id);
	at->node_id = strdup(node_id);
	if (!at->pool_id || !at->node_id || strmap_set(&j->nodes_by_id, at->node_id, at) < 0) {
		job_node_free(at);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&j->nodes, at, link);
	return at;
}

/* The nodes themselves are found when all is loaded. */
static int job_nodes_load(struct job *j, const cJSON *nodes)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, nodes)
	{
		struct job_node *at = new_job_node(j, adafs_json_str(item, "pool", ""),
						   adafs_json_str(item, "node", ""));
		if (!at || execution_load(&at->prep, adafs_json_get(item, "prep")) < 0 ||
		    execution_load(&at->release, adafs_json_get(item, "release")) < 0)
			return -ENOMEM;
		at->state = (enum prep_state)adafs_json_int(item, "state", PREP_WANTED);
		at->released = adafs_json_int(item, "released", 0);
	}
	return 0;
}

int entity_state_load(struct entity *e, const cJSON *o)
{
	e->created_us = adafs_json_int(o, "created", 0);
	e->modified_us = adafs_json_int(o, "modified", 0);
	e->state = (int)adafs_json_int(o, "state", 0);
	e->state_us = adafs_json_int(o, "state_time", 0);
	e->prev_state = (int)adafs_json_int(o, "prev", 0);
	e->prev_state_us = adafs_json_int(o, "prev_time", 0);
	if (e->kind == ENTITY_POOL)
		return pool_state_load(entity_pool(e), o);
	if (e->kind == ENTITY_TASK)
		return task_state_load(entity_task(e), o);
	struct job *j = entity_job(e);
	j->start_us = adafs_json_int(o, "start", 0);
	j->end_us = adafs_json_int(o, "end", 0);
	int rc = copy_text(o, "reason", &j->terminate_reason);
	if (rc == 0)
		rc = job_nodes_load(j, adafs_json_get(o, "nodes"));
	return rc < 0 ? rc : job_load_spec(j);
}

/* --- lists ------------------------------------------------------------------------------- */

int entity_list_add(struct entity_list *l, struct entity *e)
{
	if (l->n == l->size) {
		size_t size = l->size ? l->size * 2 : 16;
		struct entity **item = reallocarray(l->item, size, sizeof(*item));
		if (!item)
			return -ENOMEM;
		l->item = item;
		l->size = size;
	}
	if (strmap_set(&l->by_key, e->key, e) < 0)
		return -ENOMEM;
	bool in_order = l->n == 0 || (l->sorted && strcmp(l->item[l->n - 1]->key, e->key) < 0);
	l->sorted = in_order;
	l->item[l->n++] = e;
	return 0;
}

void entity_list_remove(struct entity_list *l, struct entity *e)
{
	if (strmap_get(&l->by_key, e->key) == e)
		strmap_del(&l->by_key, e->key);
	for (size_t i = 0; i < l->n; i++) {
		if (l->item[i] == e) {
			memmove(&l->item[i], &l->item[i + 1], (l->n - i - 1) * sizeof(*l->item));
			l->n--;
			return;
		}
	}
}

struct entity *entity_list_find(const struct entity_list *l, const char *id)
{
	ADAFS_FREE char *key = key_of(id);
	return key ? strmap_get(&l->by_key, key) : NULL;
}

static int compare_keys(const void *a, const void *b)
{
	const struct entity *const *x = a, *const *y = b;
	return strcmp((*x)->key, (*y)->key);
}

void entity_list_sort(struct entity_list *l)
{
	if (!l->sorted && l->n)
		qsort(l->item, l->n, sizeof(*l->item), compare_keys);
	l->sorted = true;
}

void entity_list_clear(struct entity_list *l)
{
	free(l->item);
	strmap_clear(&l->by_key);
	*l = (struct entity_list){ 0 };
}

/* --- tasks and nodes ---------------------------------------------------------------------- */

void task_count(struct task *t, int sign)
{
	struct task_counts *c = &t->job->counts;
	unsigned one = (unsigned)sign, slots = (unsigned)sign * t->slots;
	switch (t->e.state) {
	case TASK_ACTIVE:
		c->active += one;
		c->active_slots += slots;
		break;
	case TASK_PREPARING:
	case TASK_RUNNING:
		c->running += one;
		c->running_slots += slots;
		break;
	default:
		if (t->result == RESULT_SUCCESS) {
			c->succeeded += one;
			c->succeeded_slots += slots;
		} else {
			c->failed += one;
			c->failed_slots += slots;
		}
	}
}

struct job_node *job_find_node(const struct job *j, const struct node *n)
{
	return strmap_get(&j->nodes_by_id, n->id);
}

struct job_node *job_add_node(struct job *j, struct node *n)
{
	struct job_node *at = job_find_node(j, n);
	if (!at)
		at = new_job_node(j, n->pool->e.id, n->id);
	if (at)
		at->node = n;
	return at;
}

struct node *pool_find_node(struct pool *p, const char *id)
{
	struct node *n;
	TAILQ_FOREACH(n, &p->nodes, link)
	if (strcasecmp(n->id, id) == 0)
		return n;
	return NULL;
}

struct node *pool_add_node(struct pool *p, bool dedicated, int64_t now_us)
{
	struct node *n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	/* Unlike every earlier node of this or a deleted pool of the same id. */
	char text[160], hex[ADAFS_SHA256_HEX_LEN];
	snprintf(text, sizeof(text), "%s/%" PRIu64 "/%" PRIu64, p->e.key, p->e.seq, p->next_node++);
	adafs_sha256_hex(text, strlen(text), hex);
	snprintf(n->id, sizeof(n->id), "tvmps_%.24s_%c", hex, dedicated ? 'd' : 'p');
	n->pool = p;
	n->dedicated = dedicated;
	n->allocated_us = n->state_us = now_us;
	TAILQ_INSERT_TAIL(&p->nodes, n, link);
	return n;
}

void pool_remove_node(struct pool *p, struct node *n)
{
	TAILQ_REMOVE(&p->nodes, n, link);
	execution_clear(&n->start);
	free(n);
}
