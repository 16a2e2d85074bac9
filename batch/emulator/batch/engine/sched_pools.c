/*
 * emulator/batch/engine/sched_pools.c - pools to their targets, nodes in and out. Under the
 * service's lock.
 */
#include <string.h>

#include "batch/emulator/batch/engine/job_node.h"
#include "batch/emulator/batch/engine/node_ops.h"
#include "batch/emulator/batch/engine/scheduler.h"
#include "batch/emulator/batch/engine/start_task.h"
#include "batch/emulator/traps.h"

void sched_node_leave_locked(struct batch_service *s, struct node *n, const char *option)
{
	n->leaving = true;
	n->pool->resizing = true;
	n->state_us = service_now_locked(s);
	node_stop_runs_locked(s, n, option);
}

void sched_pool_settle_locked(struct batch_service *s, struct pool *p)
{
	bool leaving = false;
	struct node *n = TAILQ_FIRST(&p->nodes);
	while (n) {
		struct node *next = TAILQ_NEXT(n, link);
		if (n->leaving && !n->n_running && !n->n_own) {
			ADAFS_FREE char *dir = service_node_dir(s, n->id);
			if (dir)
				service_trash_locked(s, dir);
			job_nodes_gone_locked(s, n);
			pool_remove_node(p, n);
			service_dirty_locked(s, &p->e, false);
		} else {
			leaving |= n->leaving;
		}
		n = next;
	}
	if (p->resizing && !leaving && !p->grow_us) {
		p->resizing = p->stopping = false;
		p->allocation_us = service_now_locked(s);
		service_dirty_locked(s, &p->e, false);
	}
	if (p->e.state == POOL_DELETING && TAILQ_EMPTY(&p->nodes)) {
		entity_list_remove(&s->pools, &p->e);
		p->e.gone = true;
		service_dirty_locked(s, &p->e, false);
	}
}

/* How many more nodes the account may have (TRAP_CORE_QUOTA). */
static int64_t quota_left(const struct batch_service *s)
{
	int64_t left = (int64_t)trap_value(s->traps, TRAP_CORE_QUOTA);
	if (left <= 0)
		return INT64_MAX;
	for (size_t i = 0; i < s->pools.n; i++) {
		const struct node *n;
		TAILQ_FOREACH(n, &entity_pool(s->pools.item[i])->nodes, link)
		left--;
	}
	return left;
}

/* Make missing nodes, or (delay) wait for them. Returns how many there are of the kind. */
static int64_t grow_kind(struct batch_service *s, struct pool *p, bool dedicated, int64_t target,
			 bool delay)
{
	int64_t n = 0, left = quota_left(s);
	const struct node *node;
	TAILQ_FOREACH(node, &p->nodes, link)
	n += node->dedicated == dedicated && !node->leaving;
	if (target > SCHED_MAX_NODES)
		target = SCHED_MAX_NODES;
	if (delay && n < target && left > 0 && !p->grow_us)
		p->grow_us = node_allocation_due_locked(s);
	for (; !p->grow_us && n < target && left > 0; n++, left--) {
		struct node *made = pool_add_node(p, dedicated, service_now_locked(s));
		if (!made)
			break;
		start_task_boot_locked(s, made);
	}
	return n;
}

static void resize_kind(struct batch_service *s, struct pool *p, bool dedicated, int64_t target,
			const char *option)
{
	struct node *node;
	int64_t n = grow_kind(s, p, dedicated, target, true);
	/* Idle nodes go before busy ones, young before old. */
	for (int busy = 0; busy <= 1; busy++)
		TAILQ_FOREACH_REVERSE(node, &p->nodes, node_list, link)
	if (n > target && node->dedicated == dedicated && !node->leaving &&
	    (node->n_running > 0) == busy) {
		sched_node_leave_locked(s, node, option);
		n--;
	}
}

void sched_pool_resize_locked(struct batch_service *s, struct pool *p, const char *option)
{
	p->resizing = true;
	p->resize_stopped = p->resize_timed_out = false;
	p->allocation_us = service_now_locked(s);
	resize_kind(s, p, true, adafs_json_int(p->e.spec, "targetDedicatedNodes", 0), option);
	resize_kind(s, p, false, adafs_json_int(p->e.spec, "targetLowPriorityNodes", 0), option);
	service_dirty_locked(s, &p->e, true);
	sched_pool_settle_locked(s, p);
	service_wake_locked(s);
}

/* The delay is over: it does not count again. */
void sched_pool_grow_locked(struct batch_service *s, struct pool *p)
{
	p->grow_us = 0;
	grow_kind(s, p, true, adafs_json_int(p->e.spec, "targetDedicatedNodes", 0), false);
	grow_kind(s, p, false, adafs_json_int(p->e.spec, "targetLowPriorityNodes", 0), false);
	service_dirty_locked(s, &p->e, false);
	sched_pool_settle_locked(s, p);
}

void sched_pool_delete_locked(struct batch_service *s, struct pool *p)
{
	service_set_state_locked(s, &p->e, POOL_DELETING);
	struct node *n;
	TAILQ_FOREACH(n, &p->nodes, link)
	sched_node_leave_locked(s, n, "requeue");
	sched_pool_settle_locked(s, p);
}
