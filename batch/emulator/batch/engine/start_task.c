/* Start tasks of nodes. */
#include "batch/emulator/batch/engine/start_task.h"

#include "batch/emulator/batch/engine/scheduler.h"

static const cJSON *spec_of(const struct node *n)
{
	return adafs_json_get(n->pool->e.spec, "startTask");
}

void start_task_boot_locked(struct batch_service *s, struct node *n)
{
	const cJSON *spec = spec_of(n);
	execution_reset(&n->start);
	n->start_state = spec ? START_WANTED : START_NONE;
	n->start_gates = spec && adafs_json_bool(spec, "waitForSuccess", true);
	service_dirty_locked(s, &n->pool->e, false);
	service_wake_locked(s);
}

/* Files of an earlier run stay, as they do on a node that boots again. */
static struct run *begin(struct batch_service *s, struct node *n)
{
	ADAFS_FREE char *node_dir = service_node_dir(s, n->id);
	const struct run like = {
		.kind = RUN_START, .exec = &n->start, .owner = &n->pool->e, .node = n
	};
	struct run_plan plan = { .spec = spec_of(n),
				 .dir = node_dir ? adafs_fmt("%s/startup", node_dir) : NULL,
				 .retries = adafs_json_int(spec_of(n), "maxTaskRetryCount", 0) };
	struct run *run = run_new_locked(s, &like, &plan);
	if (!run)
		return NULL;
	n->start.start_us = service_now_locked(s);
	n->start_state = START_RUNNING;
	service_dirty_locked(s, &n->pool->e, false);
	return run;
}

void start_tasks_begin_locked(struct batch_service *s, struct run_list *started)
{
	for (size_t i = 0; i < s->pools.n; i++) {
		struct node *n;
		TAILQ_FOREACH(n, &entity_pool(s->pools.item[i])->nodes, link)
		{
			if (n->start_state != START_WANTED || n->leaving || n->down != NODE_UP)
				continue;
			/* A patch may have taken it away since the boot. */
			if (!spec_of(n)) {
				start_task_boot_locked(s, n);
				continue;
			}
			struct run *run = s->n_runs < SCHED_MAX_RUNS ? begin(s, n) : NULL;
			if (!run)
				return;
			TAILQ_INSERT_TAIL(started, run, link);
		}
	}
}

void start_task_ended_locked(struct batch_service *s, struct run *run, struct run_result *r)
{
	struct node *n = run->node;
	bool failed = r->failure != NULL;
	int64_t now = service_now_locked(s);
	execution_end(&n->start, now, r->has_exit_code, r->exit_code, &r->failure);
	/* Stopped with its node: it runs when that boots, or stays after all. */
	n->start_state = run->stop ? START_WANTED : failed ? START_FAILED : START_DONE;
	n->state_us = n->start.end_us;
	service_dirty_locked(s, &n->pool->e, false);
}
