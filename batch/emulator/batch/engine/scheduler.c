/*
 * emulator/batch/engine/scheduler.c - the thread that starts what can run and keeps time limits. It
 * sleeps until the next one or a wake-up.
 */
#include "batch/emulator/batch/engine/scheduler.h"

#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/emulator/batch/autoscale/autoscale.h"
#include "batch/emulator/batch/engine/job_node.h"
#include "batch/emulator/batch/engine/node_ops.h"
#include "batch/emulator/batch/node/runner.h"
#include "batch/emulator/batch/engine/start_task.h"
#include "batch/emulator/batch/node/transfer.h"

#define SWEEP_INTERVAL_US (INT64_C(600) * 1000000)
#define COMMIT_RETRY_MS 1000

/* End jobs whose time is over; returns when the next one's is. */
static int64_t check_deadlines(struct batch_service *s)
{
	int64_t now = adafs_clock_wall_us(), next = INT64_MAX;
	for (size_t i = 0; i < s->jobs.n; i++) {
		struct job *j = entity_job(s->jobs.item[i]);
		if (j->e.state >= JOB_TERMINATING)
			continue;
		if (j->deadline_us <= now)
			sched_job_terminate_locked(s, j, "MaxWallClockTimeExpiry");
		else if (j->deadline_us < next)
			next = j->deadline_us;
	}
	return next;
}

/* Whether a directory that was left then is past what its owner asks to keep it. */
static bool past(const char *retention, int64_t end_us, int64_t now_us)
{
	int64_t keep_ms = ADAFS_DURATION_NONE;
	return end_us && retention && adafs_duration_parse(retention, &keep_ms) == 0 &&
	       keep_ms <= (now_us - end_us) / 1000;
}

static void sweep_task(struct batch_service *s, struct task *t, int64_t now)
{
	const cJSON *limits = adafs_json_get(t->e.spec, "constraints");
	if (t->e.state != TASK_COMPLETED || t->files_gone || !t->node_id ||
	    !past(adafs_json_str(limits, "retentionTime", NULL), t->exec.end_us, now))
		return;
	ADAFS_FREE char *dir = service_task_dir(s, t);
	if (dir)
		service_trash_locked(s, dir);
	t->files_gone = true;
	service_dirty_locked(s, &t->e, false);
}

static void sweep_own(struct batch_service *s, const struct job_node *at, int64_t now)
{
	const cJSON *spec = at->job->e.spec;
	const char *keep[] = {
		adafs_json_str(adafs_json_path(spec, "jobPreparationTask/constraints"),
			       "retentionTime", NULL),
		adafs_json_str(adafs_json_get(spec, "jobReleaseTask"), "retentionTime", NULL)
	};
	const struct execution *x[] = { &at->prep, &at->release };
	const enum run_kind kinds[] = { RUN_PREPARATION, RUN_RELEASE };
	for (int i = 0; i < 2; i++) {
		ADAFS_FREE char *dir = past(keep[i], x[i]->end_us, now)
					       ? job_own_dir(s, at->job, at->node_id, kinds[i])
					       : NULL;
		if (dir)
			service_trash_locked(s, dir);
	}
}

/* Throw away the files of tasks whose retention is over. */
static void sweep_files(struct batch_service *s)
{
	int64_t now = adafs_clock_wall_us();
	if (now < s->next_sweep_us)
		return;
	s->next_sweep_us = now + SWEEP_INTERVAL_US;
	for (size_t i = 0; i < s->jobs.n; i++) {
		struct job *j = entity_job(s->jobs.item[i]);
		const struct job_node *at;
		for (size_t k = 0; k < j->tasks.n; k++)
			sweep_task(s, entity_task(j->tasks.item[k]), now);
		/* Tasks of a job may use what prepared it. */
		if (j->e.state == JOB_COMPLETED)
			TAILQ_FOREACH(at, &j->nodes, link)
		sweep_own(s, at, now);
	}
}

static void launch_all(struct batch_service *s, struct run_list *started)
{
	struct run *run;
	while ((run = TAILQ_FIRST(started)) != NULL) {
		TAILQ_REMOVE(started, run, link);
		if (run_launch(run) == 0)
			continue;
		adafs_log(ERROR, "batch", "no thread for a task: it waits");
		adafs_mutex_lock(&s->lock);
		run_stop_locked(run, RUN_STOP_REQUEUE);
		adafs_mutex_unlock(&s->lock);
		struct run_result r = { .outcome = OUTCOME_ENDED };
		sched_run_ended(run, &r);
	}
}

static void wait_for_work(struct batch_service *s, int64_t next_deadline_us)
{
	int64_t now = adafs_clock_wall_us();
	int64_t next = next_deadline_us < s->next_sweep_us ? next_deadline_us : s->next_sweep_us;
	uint64_t wait_ms = next > now ? (uint64_t)(next - now) / 1000 + 1 : 1;
	if (!TAILQ_EMPTY(&s->dirty) && wait_ms > COMMIT_RETRY_MS)
		wait_ms = COMMIT_RETRY_MS;
	uint64_t until = adafs_clock_mono_ms() + wait_ms;
	while (!s->work && !s->stopping)
		if (adafs_cond_wait_until(&s->wake, &s->lock, until) < 0)
			break;
}

/* Nothing starts before its start is on disk: a successor must know what may be running. */
static void commit_or_wait(struct batch_service *s)
{
	while (service_commit_locked(s) < 0 && !s->stopping)
		adafs_cond_wait_until(&s->wake, &s->lock, adafs_clock_mono_ms() + COMMIT_RETRY_MS);
}

void *sched_thread(void *service)
{
	struct batch_service *s = service;
	adafs_mutex_lock(&s->lock);
	while (!s->stopping) {
		struct run_list started = TAILQ_HEAD_INITIALIZER(started);
		s->work = false;
		int64_t next = check_deadlines(s), scale = autoscale_tick_locked(s);
		next = scale < next ? scale : next;
		int64_t nodes = nodes_tick_locked(s);
		next = nodes < next ? nodes : next;
		sweep_files(s);
		start_tasks_begin_locked(s, &started);
		job_releases_begin_locked(s, &started);
		sched_place_locked(s, &started);
		commit_or_wait(s);
		adafs_mutex_unlock(&s->lock);
		launch_all(s, &started);
		adafs_mutex_lock(&s->lock);
		wait_for_work(s, next);
	}
	adafs_mutex_unlock(&s->lock);
	return NULL;
}
