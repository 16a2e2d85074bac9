/*
 * emulator/batch/engine/sched_tasks.c - tasks from state to state: active ones into the queue of
 * their job, ends to their dependents and jobs, and what the end of any run means. Under the
 * service's lock.
 */
#include <errno.h>
#include <string.h>

#include "batch/base/log.h"
#include "batch/emulator/batch/batch_store.h"
#include "batch/emulator/batch/engine/job_node.h"
#include "batch/emulator/batch/engine/job_own.h"
#include "batch/emulator/batch/engine/node_ops.h"
#include "batch/emulator/batch/node/runner.h"
#include "batch/emulator/batch/engine/scheduler.h"
#include "batch/emulator/batch/engine/start_task.h"
#include "batch/emulator/batch/node/transfer.h"

static void make_ready(void *arg, struct task *t)
{
	(void)arg;
	if (t->in_ready || t->e.state != TASK_ACTIVE)
		return;
	TAILQ_INSERT_TAIL(&t->job->ready, t, ready_link);
	t->in_ready = true;
}

void sched_task_active_locked(struct batch_service *s, struct task *t)
{
	if (deps_check(t))
		make_ready(s, t);
	service_wake_locked(s);
}

void sched_task_unqueue_locked(struct task *t)
{
	deps_unwait(t);
	if (t->in_ready)
		TAILQ_REMOVE(&t->job->ready, t, ready_link);
	t->in_ready = false;
}

static void set_task_state(struct batch_service *s, struct task *t, int state,
			   enum task_result result)
{
	task_count(t, -1);
	t->result = result;
	service_set_state_locked(s, &t->e, state);
	task_count(t, 1);
}

void sched_task_begins_locked(struct batch_service *s, struct task *t)
{
	set_task_state(s, t, TASK_RUNNING, RESULT_NONE);
	t->exec.start_us = t->e.state_us;
}

void sched_task_placed_locked(struct batch_service *s, struct task *t, bool wait)
{
	sched_task_unqueue_locked(t);
	execution_restart(&t->exec);
	t->files_gone = false;
	if (wait)
		set_task_state(s, t, TASK_PREPARING, RESULT_NONE);
	else
		sched_task_begins_locked(s, t);
}

/* Active again, in front of the others. */
static void put_back(struct batch_service *s, struct task *t)
{
	execution_restart(&t->exec);
	set_task_state(s, t, TASK_ACTIVE, RESULT_NONE);
	if (!t->in_ready) {
		TAILQ_INSERT_HEAD(&t->job->ready, t, ready_link);
		t->in_ready = true;
	}
	service_wake_locked(s);
}

void sched_task_requeue_locked(struct batch_service *s, struct task *t)
{
	t->requeue_count++;
	t->last_requeue_us = service_now_locked(s);
	put_back(s, t);
}

static void do_job_action(struct batch_service *s, struct job *j, enum batch_job_action action)
{
	const char *on_failure = adafs_json_str(j->e.spec, "onTaskFailure", "noaction");
	if (strcmp(on_failure, "performexitoptionsjobaction") != 0 || j->e.state > JOB_ENABLING)
		return;
	if (action == JOB_ACTION_TERMINATE)
		sched_job_terminate_locked(s, j, "TaskFailed");
	else if (action == JOB_ACTION_DISABLE && j->e.state == JOB_ACTIVE)
		sched_job_disable_locked(s, j, "requeue");
}

/* Takes the failure. The task is not queued and has no run any more. */
static void complete_task(struct batch_service *s, struct task *t, struct run_result *r)
{
	execution_end(&t->exec, service_now_locked(s), r->has_exit_code, r->exit_code, &r->failure);
	struct batch_exit_action action =
		batch_exit_action(adafs_json_get(t->e.spec, "exitConditions"), r->outcome,
				  r->has_exit_code, r->exit_code);
	t->satisfies = action.satisfy;
	set_task_state(s, t, TASK_COMPLETED, t->exec.failure ? RESULT_FAILURE : RESULT_SUCCESS);
	if (action.satisfy && deps_satisfy(t->job, t->e.key, make_ready, s) < 0)
		adafs_log(ERROR, "batch", "out of memory: dependents of %s wait for the next start",
			  t->e.id);
	/* What was killed with its job is no reason to end the job. */
	if (r->outcome != OUTCOME_ENDED || t->job->e.state == JOB_ACTIVE)
		do_job_action(s, t->job, action.job);
	if (job_ends_with(t) && t->job->e.state < JOB_TERMINATING)
		sched_job_terminate_locked(s, t->job, "JMComplete");
	sched_job_check_locked(s, t->job);
	service_wake_locked(s);
}

void sched_task_terminate_locked(struct batch_service *s, struct task *t)
{
	if (t->exec.run) {
		run_stop_locked(t->exec.run, RUN_STOP_TERMINATE);
		return;
	}
	sched_task_unqueue_locked(t);
	struct run_result r = {
		.outcome = OUTCOME_ENDED,
		.failure = batch_failure_new("UserError", "TaskEnded",
					     "Task Was Ended by User Request", NULL),
	};
	complete_task(s, t, &r);
}

void sched_task_remove_locked(struct batch_service *s, struct task *t)
{
	struct job *j = t->job;
	sched_task_unqueue_locked(t);
	/* Dependents count the completion even when the task is gone. */
	if (t->satisfies && batch_store_remember(s->store, j, t->e.key) < 0)
		adafs_log(ERROR, "batch", "a deleted task's completion was not recorded");
	ADAFS_FREE char *dir = service_task_dir(s, t);
	if (dir)
		service_trash_locked(s, dir);
	task_count(t, -1);
	entity_list_remove(&j->tasks, &t->e);
	t->e.gone = true;
	service_dirty_locked(s, &t->e, false);
	sched_job_check_locked(s, j);
}

/* --- the end of a run --------------------------------------------------------------------- */

static void end_task(struct batch_service *s, struct run *run, struct run_result *r)
{
	struct task *t = run->task;
	if (run->stop == RUN_STOP_DELETE) {
		service_dirty_locked(s, &t->e, false);
		if (t->job->e.state != JOB_DELETING)
			sched_task_remove_locked(s, t);
	} else if (run->stop == RUN_STOP_REQUEUE) {
		sched_task_requeue_locked(s, t);
	} else if (run->stop == RUN_STOP_UNPREPARED) {
		put_back(s, t);
	} else {
		complete_task(s, t, r);
	}
}

/*
 * The order matters: what is a node's own counts for what becomes of it, and a job may take its
 * pool along.
 */
static void end_run(struct batch_service *s, struct run *run, struct run_result *r)
{
	struct node *n = run->node;
	struct pool *p = n->pool;
	struct job *j = run->job;
	run_leave_locked(run);
	if (run->kind == RUN_TASK) {
		n->total_run += run->stop != RUN_STOP_UNPREPARED;
		n->total_succeeded += !run->stop && !r->failure;
	} else if (run->kind == RUN_START) {
		start_task_ended_locked(s, run, r);
	} else {
		job_own_ended_locked(s, run, r);
	}
	node_settle_locked(s, n);
	if (run->kind == RUN_TASK)
		end_task(s, run, r);
	if (j)
		sched_job_settle_locked(s, j);
	sched_pool_settle_locked(s, p);
	service_wake_locked(s);
}

void sched_run_ended(struct run *run, struct run_result *r)
{
	struct batch_service *s = run->s;
	adafs_mutex_lock(&s->lock);
	TAILQ_REMOVE(&s->runs, run, all_link);
	if (run->stop != RUN_STOP_SHUTDOWN) {
		end_run(s, run, r);
		/* If this fails the scheduler's thread tries again; memory holds the truth. */
		service_commit_locked(s);
	}
	cJSON_Delete(r->failure);
	run_free(run);
	s->n_runs--;
	adafs_cond_broadcast(&s->idle);
	adafs_mutex_unlock(&s->lock);
}
