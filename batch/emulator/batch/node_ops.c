/* What an operator asks of one node: scheduling off and on, users. */
#include "batch/emulator/batch/node_ops.h"

#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/emulator/batch/runner.h"
#include "batch/emulator/batch/scheduler.h"
#include "batch/emulator/traps.h"

void node_stop_runs_locked(struct batch_service *s, struct node *n, const char *option)
{
	bool requeue = strcmp(option, "requeue") == 0;
	if (!requeue && strcmp(option, "terminate") != 0)
		return;
	for (size_t i = 0; i < s->jobs.n; i++) {
		struct job *j = entity_job(s->jobs.item[i]);
		for (size_t k = 0; j->n_runs && k < j->tasks.n; k++) {
			struct task *t = entity_task(j->tasks.item[k]);
			if (t->run && t->run->node == n)
				run_stop_locked(t->run,
						requeue ? RUN_STOP_REQUEUE : RUN_STOP_TERMINATE);
		}
	}
}

void node_disable_locked(struct batch_service *s, struct node *n, const char *option)
{
	n->disabled = true;
	node_stop_runs_locked(s, n, option);
	service_dirty_locked(s, &n->pool->e, false);
}

void node_enable_locked(struct batch_service *s, struct node *n)
{
	n->disabled = false;
	service_dirty_locked(s, &n->pool->e, false);
	service_wake_locked(s);
}

static void throw_files_away(struct batch_service *s, const struct node *n)
{
	ADAFS_FREE char *dir = service_node_dir(s, n->id);
	if (dir)
		service_trash_locked(s, dir);
}

static int64_t allocation_delay_us(const struct batch_service *s)
{
	return (int64_t)(trap_value(s->traps, TRAP_ALLOCATION_DELAY) * 1e6);
}

static int64_t node_back_us_locked(const struct batch_service *s, const struct node *n)
{
	return n->state_us + allocation_delay_us(s);
}

void node_settle_locked(struct batch_service *s, struct node *n)
{
	if (n->n_running || n->down == NODE_UP || n->down == NODE_DEALLOCATED)
		return;
	if (n->down == NODE_PREEMPTED && service_now_locked(s) < node_back_us_locked(s, n))
		return;
	if (n->down != NODE_REBOOTING)
		throw_files_away(s, n);
	n->down = n->down == NODE_DEALLOCATING ? NODE_DEALLOCATED : NODE_UP;
	n->state_us = service_now_locked(s);
	if (n->down == NODE_UP)
		n->boot_us = n->state_us;
	service_dirty_locked(s, &n->pool->e, false);
	service_wake_locked(s);
}

void node_take_down_locked(struct batch_service *s, struct node *n, enum node_down how,
			   const char *option)
{
	n->down = how;
	n->state_us = service_now_locked(s);
	node_stop_runs_locked(s, n, option);
	service_dirty_locked(s, &n->pool->e, false);
	node_settle_locked(s, n);
}

void node_preempt_locked(struct batch_service *s, struct node *n)
{
	if (n->down == NODE_UP && !n->leaving)
		node_take_down_locked(s, n, NODE_PREEMPTED, "requeue");
}

int64_t node_allocation_due_locked(struct batch_service *s)
{
	int64_t delay_us = allocation_delay_us(s);
	return delay_us > 0 ? service_now_locked(s) + delay_us : 0;
}

int64_t nodes_tick_locked(struct batch_service *s)
{
	int64_t now = adafs_clock_wall_us(), next = INT64_MAX;
	for (size_t i = 0; i < s->pools.n; i++) {
		struct pool *p = entity_pool(s->pools.item[i]);
		if (p->e.state != POOL_ACTIVE)
			continue;
		if (p->grow_us && p->grow_us <= now)
			sched_pool_grow_locked(s, p);
		if (p->grow_us && p->grow_us < next)
			next = p->grow_us;
		struct node *n;
		TAILQ_FOREACH(n, &p->nodes, link) {
			if (n->down == NODE_UP || n->down == NODE_DEALLOCATED || n->n_running)
				continue;
			node_settle_locked(s, n);
			if (n->down == NODE_PREEMPTED && node_back_us_locked(s, n) < next)
				next = node_back_us_locked(s, n);
		}
	}
	return next;
}

void node_start_locked(struct batch_service *s, struct node *n)
{
	n->down = NODE_UP;
	n->boot_us = n->state_us = service_now_locked(s);
	service_dirty_locked(s, &n->pool->e, false);
	service_wake_locked(s);
}

const char *node_state_name(const struct node *n)
{
	static const char *const down[] = {
		[NODE_REBOOTING] = "rebooting",
		[NODE_REIMAGING] = "reimaging",
		[NODE_DEALLOCATING] = "deallocating",
		[NODE_DEALLOCATED] = "deallocated",
		[NODE_PREEMPTED] = "preempted",
	};
	if (n->leaving)
		return "leavingpool";
	if (n->down != NODE_UP)
		return down[n->down];
	return n->n_running ? "running" : "idle";
}

static char *user_key(const struct node *n, const char *name)
{
	return adafs_fmt("%s/%s", n->id, name);
}

bool node_user_exists_locked(const struct batch_service *s, const struct node *n, const char *name)
{
	ADAFS_FREE char *key = user_key(n, name);
	return key && strmap_get(&s->node_users, key);
}

int node_user_add_locked(struct batch_service *s, const struct node *n, const char *name)
{
	static char present;
	ADAFS_FREE char *key = user_key(n, name);
	return key ? strmap_set(&s->node_users, key, &present) : -ENOMEM;
}

bool node_user_remove_locked(struct batch_service *s, const struct node *n, const char *name)
{
	ADAFS_FREE char *key = user_key(n, name);
	return key && strmap_del(&s->node_users, key);
}
