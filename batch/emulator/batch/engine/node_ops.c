/* What an operator asks of one node, and what becomes of it by itself. */
#include "batch/emulator/batch/engine/node_ops.h"

#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/emulator/batch/engine/job_node.h"
#include "batch/emulator/batch/engine/scheduler.h"
#include "batch/emulator/batch/engine/start_task.h"
#include "batch/emulator/traps.h"

/* A time-out of a thousand years is none. */
#define FAR_US 3e16

/* What an option for tasks means; false: they go on. */
static bool stop_of(const char *option, enum run_stop *ret)
{
	*ret = strcmp(option, "requeue") == 0 ? RUN_STOP_REQUEUE : RUN_STOP_TERMINATE;
	return *ret == RUN_STOP_REQUEUE || strcmp(option, "terminate") == 0;
}

void node_stop_runs_locked(struct batch_service *s, struct node *n, const char *option)
{
	enum run_stop stop;
	unsigned job_own = RUN_KIND(RUN_PREPARATION) | RUN_KIND(RUN_RELEASE);
	run_stop_all_locked(s, n, NULL, RUN_KIND(RUN_START), RUN_STOP_REQUEUE);
	if (!stop_of(option, &stop))
		return;
	run_stop_all_locked(s, n, NULL, RUN_KIND(RUN_TASK), stop);
	run_stop_all_locked(s, n, NULL, job_own, RUN_STOP_REQUEUE);
}

void node_disable_locked(struct batch_service *s, struct node *n, const char *option)
{
	enum run_stop stop;
	n->disabled = true;
	if (stop_of(option, &stop))
		run_stop_all_locked(s, n, NULL, RUN_KIND(RUN_TASK), stop);
	service_dirty_locked(s, &n->pool->e, false);
}

void node_enable_locked(struct batch_service *s, struct node *n)
{
	n->disabled = false;
	service_dirty_locked(s, &n->pool->e, false);
	service_wake_locked(s);
}

static void throw_files_away(struct batch_service *s, struct node *n)
{
	ADAFS_FREE char *dir = service_node_dir(s, n->id);
	if (dir)
		service_trash_locked(s, dir);
	job_nodes_lost_locked(s, n);
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
	if (n->n_running || n->n_own || n->down == NODE_UP || n->down == NODE_DEALLOCATED)
		return;
	if (n->down == NODE_PREEMPTED && service_now_locked(s) < node_back_us_locked(s, n))
		return;
	if (n->down == NODE_REBOOTING)
		job_nodes_rebooted_locked(s, n);
	else
		throw_files_away(s, n);
	n->down = n->down == NODE_DEALLOCATING ? NODE_DEALLOCATED : NODE_UP;
	n->state_us = service_now_locked(s);
	if (n->down == NODE_UP) {
		n->boot_us = n->state_us;
		start_task_boot_locked(s, n);
	}
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

/*
 * When a resize that waits for nodes gives up; on autoscale's clock, so that tests need not wait.
 */
static int64_t growth_ends_us(const struct batch_service *s, const struct pool *p)
{
	int64_t timeout_ms = ADAFS_DURATION_NONE;
	const char *text = adafs_json_str(p->e.spec, "resizeTimeout", NULL);
	if (!text || adafs_duration_parse(text, &timeout_ms) < 0)
		return INT64_MAX;
	double wait_us = (double)timeout_ms * 1000 / trap_value(s->traps, TRAP_CLOCK_SPEED);
	return wait_us > FAR_US ? INT64_MAX : p->allocation_us + (int64_t)wait_us;
}

/* Go on with a pool's resize; returns when there is more to do. */
static int64_t tick_growth(struct batch_service *s, struct pool *p, int64_t now)
{
	if (p->stopping)
		sched_pool_settle_locked(s, p);
	if (!p->grow_us)
		return INT64_MAX;
	int64_t ends_us = growth_ends_us(s, p);
	if (p->grow_us <= now) {
		sched_pool_grow_locked(s, p);
	} else if (ends_us <= now) {
		p->grow_us = 0;
		p->resize_timed_out = true;
		service_dirty_locked(s, &p->e, false);
		sched_pool_settle_locked(s, p);
	}
	if (!p->grow_us)
		return INT64_MAX;
	return p->grow_us < ends_us ? p->grow_us : ends_us;
}

int64_t nodes_tick_locked(struct batch_service *s)
{
	int64_t now = adafs_clock_wall_us(), next = INT64_MAX;
	for (size_t i = 0; i < s->pools.n; i++) {
		struct pool *p = entity_pool(s->pools.item[i]);
		if (p->e.state != POOL_ACTIVE)
			continue;
		int64_t growth = tick_growth(s, p, now);
		next = growth < next ? growth : next;
		struct node *n;
		TAILQ_FOREACH(n, &p->nodes, link)
		{
			if (n->down == NODE_UP || n->down == NODE_DEALLOCATED || n->n_running ||
			    n->n_own)
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
	start_task_boot_locked(s, n);
}

bool node_ready(const struct node *n)
{
	bool started = n->start_state == START_NONE || n->start_state == START_DONE;
	return !n->leaving && n->down == NODE_UP && (started || !n->start_gates);
}

bool node_open(const struct node *n)
{
	return !n->disabled && node_ready(n);
}

const char *node_state_name(const struct node *n)
{
	static const char *const down[] = {
		[NODE_REBOOTING] = "rebooting",       [NODE_REIMAGING] = "reimaging",
		[NODE_DEALLOCATING] = "deallocating", [NODE_DEALLOCATED] = "deallocated",
		[NODE_PREEMPTED] = "preempted",
	};
	if (n->leaving)
		return "leavingpool";
	if (n->down != NODE_UP)
		return down[n->down];
	if (!node_ready(n))
		return n->start_state == START_FAILED ? "starttaskfailed" : "waitingforstarttask";
	/* A start task that nobody waits for does not count. */
	bool busy = n->n_running || n->n_own > (n->start_state == START_RUNNING);
	return busy ? "running" : "idle";
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
