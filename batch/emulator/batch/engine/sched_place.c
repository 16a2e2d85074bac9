/* emulator/batch/engine/sched_place.c - active tasks to free slots. Under the service's lock. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/emulator/batch/engine/job_node.h"
#include "batch/emulator/batch/engine/node_ops.h"
#include "batch/emulator/batch/node/runner.h"
#include "batch/emulator/batch/engine/scheduler.h"
#include "batch/emulator/traps.h"

/* How far the queue is searched for a smaller task when the first one does not fit. */
#define LOOK_AHEAD 100

/* The node for a task: the one it asked for, else the emptiest (spread) or the fullest (pack). */
static struct node *choose_node(const struct pool *p, const struct task *t,
				const struct node *reserved)
{
	const char *wish =
		adafs_json_str(adafs_json_get(t->e.spec, "affinityInfo"), "affinityId", "");
	wish += strncmp(wish, "TVM:", 4) == 0 ? 4 : 0;
	struct node *best = NULL, *n;
	TAILQ_FOREACH(n, &p->nodes, link)
	{
		if (!node_open(n) || n == reserved || !job_node_open(t->job, n) ||
		    n->used_slots + t->slots > p->slots)
			continue;
		if (strcmp(n->id, wish) == 0)
			return n;
		if (!best ||
		    (p->pack ? n->used_slots > best->used_slots : n->used_slots < best->used_slots))
			best = n;
	}
	return best;
}

/* The node that a task which fits nowhere waits for: small tasks must not keep it out for ever. */
static const struct node *emptiest_node(const struct pool *p, const struct job *j)
{
	const struct node *best = NULL, *n;
	TAILQ_FOREACH(n, &p->nodes, link)
	if (node_open(n) && job_node_open(j, n) && (!best || n->used_slots < best->used_slots))
		best = n;
	return best;
}

static bool set_text(char **to, const char *text)
{
	char *copy = strdup(text);
	if (!copy)
		return false;
	free(*to);
	*to = copy;
	return true;
}

static bool place(struct batch_service *s, struct task *t, struct node *n, struct run_list *started)
{
	/* A new run starts in an empty directory, also on the node where the last one was. */
	ADAFS_FREE char *old_dir = service_task_dir(s, t);
	if (!set_text(&t->pool_id, n->pool->e.id) || !set_text(&t->node_id, n->id))
		return false;
	struct job_node *at = NULL;
	if (job_prepare_locked(s, t->job, n, started, &at) < 0)
		return false;
	const struct run like = { .kind = RUN_TASK,
				  .exec = &t->exec,
				  .owner = &t->e,
				  .task = t,
				  .job = t->job,
				  .at = at,
				  .node = n };
	const cJSON *limits = adafs_json_get(t->e.spec, "constraints");
	struct run_plan plan = { .spec = t->e.spec,
				 .id = t->e.id,
				 .dir = service_task_dir(s, t),
				 .limit = adafs_json_str(limits, "maxWallClockTime", NULL),
				 .retries = adafs_json_int(limits, "maxTaskRetryCount", 0) };
	struct run *run = run_new_locked(s, &like, &plan);
	if (!run)
		return false;
	if (old_dir)
		service_trash_locked(s, old_dir);
	service_trash_locked(s, run->dir);
	sched_task_placed_locked(s, t, at != NULL);
	/* Not a task that was lost before: a full node would be struck at each try, and nothing
	 * ever end. */
	run->lose_node = !t->requeue_count && trap_nth(s->traps, TRAP_PREEMPT_EVERY);
	n->state_us = t->e.state_us;
	TAILQ_INSERT_TAIL(started, run, link);
	return true;
}

static int by_priority(const void *a, const void *b)
{
	const struct job *x = *(struct job *const *)a, *y = *(struct job *const *)b;
	int64_t px = adafs_json_int(x->e.spec, "priority", 0);
	int64_t py = adafs_json_int(y->e.spec, "priority", 0);
	if (px != py)
		return px > py ? -1 : 1;
	return x->e.seq < y->e.seq ? -1 : x->e.seq > y->e.seq;
}

/* Jobs of this pool that have something to run, in the order of service. *ret_n 0: none. */
static struct job **waiting_jobs(const struct batch_service *s, const struct pool *p, size_t *ret_n)
{
	size_t n = 0;
	struct job **jobs = NULL;
	for (size_t i = 0; i < s->jobs.n; i++) {
		struct job *j = entity_job(s->jobs.item[i]);
		if (j->e.state != JOB_ACTIVE || TAILQ_EMPTY(&j->ready) ||
		    strcmp(j->pool_key, p->e.key) != 0)
			continue;
		struct job **grown = reallocarray(jobs, n + 1, sizeof(struct job *));
		if (!grown)
			break;
		jobs = grown;
		jobs[n++] = j;
	}
	if (n)
		qsort(jobs, n, sizeof(struct job *), by_priority);
	*ret_n = n;
	return jobs;
}

static unsigned free_slots(const struct pool *p, const struct node *reserved)
{
	unsigned n_free = 0;
	const struct node *n;
	TAILQ_FOREACH(n, &p->nodes, link)
	if (node_open(n) && n != reserved && n->used_slots < p->slots)
		n_free += p->slots - n->used_slots;
	return n_free;
}

static void place_pool(struct batch_service *s, struct pool *p, struct run_list *started)
{
	const struct node *reserved = NULL;
	size_t n_jobs, skipped = 0;
	if (!free_slots(p, NULL))
		return;
	ADAFS_FREE struct job **jobs = waiting_jobs(s, p, &n_jobs);
	for (size_t i = 0; i < n_jobs; i++) {
		int64_t limit = adafs_json_int(jobs[i]->e.spec, "maxParallelTasks", -1);
		struct task *t = TAILQ_FIRST(&jobs[i]->ready);
		while (t) {
			struct task *next = TAILQ_NEXT(t, ready_link);
			if ((limit > 0 && jobs[i]->n_runs >= limit) || s->n_runs >= SCHED_MAX_RUNS)
				break;
			struct node *n = choose_node(p, t, reserved);
			if (n && !place(s, t, n, started))
				return;
			/* Prepared nowhere: other jobs must not wait for that. */
			if (!n && jobs[i]->prepares && !emptiest_node(p, jobs[i]))
				break;
			if (!n && t->slots <= p->slots && !reserved)
				reserved = emptiest_node(p, t->job);
			if ((!n && ++skipped > LOOK_AHEAD) || !free_slots(p, reserved))
				return;
			t = next;
		}
	}
}

void sched_place_locked(struct batch_service *s, struct run_list *started)
{
	for (size_t i = 0; i < s->pools.n; i++) {
		struct pool *p = entity_pool(s->pools.item[i]);
		if (p->e.state == POOL_ACTIVE)
			place_pool(s, p, started);
	}
}
