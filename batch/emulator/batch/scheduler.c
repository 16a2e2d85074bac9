/*
 * emulator/batch/scheduler.c - active tasks to free slots, ends of tasks to their dependents and
 * jobs, resizes of pools, and time limits. Under the service's lock; its thread sleeps until the
 * next time limit or a wake-up.
 */
#include "batch/emulator/batch/scheduler.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/emulator/batch/autoscale.h"
#include "batch/emulator/batch/batch_store.h"
#include "batch/emulator/batch/job_own.h"
#include "batch/emulator/batch/node_ops.h"
#include "batch/emulator/batch/runner.h"
#include "batch/emulator/batch/transfer.h"
#include "batch/emulator/traps.h"

/* How far the queue is searched for a smaller task when the first one does not fit. */
#define LOOK_AHEAD 100
#define SWEEP_INTERVAL_US (INT64_C(600) * 1000000)
#define COMMIT_RETRY_MS 1000

/* --- tasks -------------------------------------------------------------------------------- */

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

static void clear_execution(struct task *t)
{
	cJSON_Delete(ADAFS_STEAL(t->failure));
	t->has_exit_code = false;
	t->exit_code = 0;
	t->start_us = t->end_us = 0;
	t->pid = 0;
	t->pid_start = 0;
}

void sched_task_requeue_locked(struct batch_service *s, struct task *t)
{
	clear_execution(t);
	t->requeue_count++;
	t->last_requeue_us = service_now_locked(s);
	set_task_state(s, t, TASK_ACTIVE, RESULT_NONE);
	if (!t->in_ready) {
		TAILQ_INSERT_HEAD(&t->job->ready, t, ready_link);
		t->in_ready = true;
	}
	service_wake_locked(s);
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
	t->end_us = service_now_locked(s);
	t->has_exit_code = r->has_exit_code;
	t->exit_code = r->exit_code;
	cJSON_Delete(t->failure);
	t->failure = ADAFS_STEAL(r->failure);
	struct batch_exit_action action = batch_exit_action(adafs_json_get(t->e.spec, "exitConditions"),
							    r->outcome, r->has_exit_code,
							    r->exit_code);
	t->satisfies = action.satisfy;
	set_task_state(s, t, TASK_COMPLETED, t->failure ? RESULT_FAILURE : RESULT_SUCCESS);
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
	if (t->run) {
		run_stop_locked(t->run, RUN_STOP_TERMINATE);
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

/* --- jobs --------------------------------------------------------------------------------- */

static void stop_runs(struct job *j, enum run_stop stop)
{
	for (size_t i = 0; j->n_runs && i < j->tasks.n; i++) {
		struct task *t = entity_task(j->tasks.item[i]);
		if (t->run)
			run_stop_locked(t->run, stop);
	}
}

static void trash_job_dirs(struct batch_service *s, const struct job *j)
{
	ADAFS_FREE char *nodes = adafs_fmt("%s/nodes", s->dir);
	DIR *d = nodes ? opendir(nodes) : NULL;
	const struct dirent *entry;
	while (d && (entry = readdir(d)) != NULL) {
		ADAFS_FREE char *path = *entry->d_name == '.'
						? NULL
						: adafs_fmt("%s/%s/workitems/%s", nodes,
							    entry->d_name, j->e.id);
		if (path)
			service_trash_locked(s, path);
	}
	if (d)
		closedir(d);
}

void sched_job_settle_locked(struct batch_service *s, struct job *j)
{
	if (j->n_runs)
		return;
	switch (j->e.state) {
	case JOB_DISABLING:
		service_set_state_locked(s, &j->e, JOB_DISABLED);
		break;
	case JOB_TERMINATING:
		j->end_us = service_now_locked(s);
		service_set_state_locked(s, &j->e, JOB_COMPLETED);
		job_drop_pool_locked(s, j);
		break;
	case JOB_DELETING:
		trash_job_dirs(s, j);
		job_drop_pool_locked(s, j);
		entity_list_remove(&s->jobs, &j->e);
		j->e.gone = true;
		service_dirty_locked(s, &j->e, false);
		break;
	default:
		break;
	}
}

void sched_job_check_locked(struct batch_service *s, struct job *j)
{
	const char *action = adafs_json_str(j->e.spec, "onAllTasksComplete", "noaction");
	if (j->e.state == JOB_ACTIVE && strcmp(action, "terminatejob") == 0 && !j->counts.active &&
	    !j->counts.running)
		sched_job_terminate_locked(s, j, "AllTasksComplete");
}

void sched_job_terminate_locked(struct batch_service *s, struct job *j, const char *reason)
{
	free(j->terminate_reason);
	j->terminate_reason = strdup(reason);
	service_set_state_locked(s, &j->e, JOB_TERMINATING);
	stop_runs(j, RUN_STOP_TERMINATE);
	sched_job_settle_locked(s, j);
}

void sched_job_disable_locked(struct batch_service *s, struct job *j, const char *option)
{
	service_set_state_locked(s, &j->e, JOB_DISABLING);
	if (strcmp(option, "requeue") == 0)
		stop_runs(j, RUN_STOP_REQUEUE);
	else if (strcmp(option, "terminate") == 0)
		stop_runs(j, RUN_STOP_TERMINATE);
	sched_job_settle_locked(s, j);
}

void sched_job_enable_locked(struct batch_service *s, struct job *j)
{
	service_set_state_locked(s, &j->e, JOB_ACTIVE);
	sched_job_check_locked(s, j);
	service_wake_locked(s);
}

void sched_job_delete_locked(struct batch_service *s, struct job *j)
{
	service_set_state_locked(s, &j->e, JOB_DELETING);
	stop_runs(j, RUN_STOP_DELETE);
	sched_job_settle_locked(s, j);
}

/* --- pools -------------------------------------------------------------------------------- */

static void stop_node(struct batch_service *s, struct node *n, enum run_stop stop)
{
	for (size_t i = 0; i < s->jobs.n; i++) {
		struct job *j = entity_job(s->jobs.item[i]);
		for (size_t k = 0; j->n_runs && k < j->tasks.n; k++) {
			struct task *t = entity_task(j->tasks.item[k]);
			if (t->run && t->run->node == n)
				run_stop_locked(t->run, stop);
		}
	}
}

void sched_node_leave_locked(struct batch_service *s, struct node *n, const char *option)
{
	n->leaving = true;
	n->pool->resizing = true;
	n->state_us = service_now_locked(s);
	if (strcmp(option, "requeue") == 0)
		stop_node(s, n, RUN_STOP_REQUEUE);
	else if (strcmp(option, "terminate") == 0)
		stop_node(s, n, RUN_STOP_TERMINATE);
}

void sched_pool_settle_locked(struct batch_service *s, struct pool *p)
{
	bool leaving = false;
	struct node *n = TAILQ_FIRST(&p->nodes);
	while (n) {
		struct node *next = TAILQ_NEXT(n, link);
		if (n->leaving && !n->n_running) {
			ADAFS_FREE char *dir = service_node_dir(s, n->id);
			if (dir)
				service_trash_locked(s, dir);
			pool_remove_node(p, n);
			service_dirty_locked(s, &p->e, false);
		} else {
			leaving |= n->leaving;
		}
		n = next;
	}
	if (p->resizing && !leaving && !p->grow_us) {
		p->resizing = false;
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
	for (; !p->grow_us && n < target && left > 0; n++, left--)
		if (!pool_add_node(p, dedicated, service_now_locked(s)))
			break;
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
	p->resize_stopped = false;
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

/* --- the end of a run --------------------------------------------------------------------- */

static void leave_node(struct run *run)
{
	struct task *t = run->task;
	struct node *n = run->node;
	t->run = NULL;
	t->ending = RUN_STOP_NONE;
	t->pid = 0;
	t->pid_start = 0;
	t->job->n_runs--;
	n->used_slots -= t->slots;
	n->n_running--;
	n->total_run++;
}

void sched_run_ended(struct run *run, struct run_result *r)
{
	struct batch_service *s = run->s;
	struct task *t = run->task;
	struct job *j = t->job;
	adafs_mutex_lock(&s->lock);
	enum run_stop stop = run->stop;
	if (stop != RUN_STOP_SHUTDOWN) {
		struct pool *p = run->node->pool; /* the node may go with its job's own pool */
		leave_node(run);
		node_settle_locked(s, run->node);
		if (stop == RUN_STOP_DELETE) {
			service_dirty_locked(s, &t->e, false);
			if (j->e.state != JOB_DELETING)
				sched_task_remove_locked(s, t);
		} else if (stop == RUN_STOP_REQUEUE) {
			sched_task_requeue_locked(s, t);
		} else {
			run->node->total_succeeded += !r->failure;
			complete_task(s, t, r);
		}
		sched_job_settle_locked(s, j);
		sched_pool_settle_locked(s, p);
		service_wake_locked(s);
		/* If this fails the scheduler's thread tries again; memory holds the truth. */
		service_commit_locked(s);
	}
	cJSON_Delete(r->failure);
	run_free(run);
	s->n_runs--;
	adafs_cond_broadcast(&s->idle);
	adafs_mutex_unlock(&s->lock);
}

/* --- placing tasks ------------------------------------------------------------------------ */

TAILQ_HEAD(run_list, run);

static bool node_open(const struct node *n)
{
	return !n->leaving && !n->disabled && n->down == NODE_UP;
}

/* The node for a task: the one it asked for, else the emptiest (spread) or the fullest (pack). */
static struct node *choose_node(const struct pool *p, const struct task *t,
				const struct node *reserved)
{
	const char *wish = adafs_json_str(adafs_json_get(t->e.spec, "affinityInfo"), "affinityId", "");
	wish += strncmp(wish, "TVM:", 4) == 0 ? 4 : 0;
	struct node *best = NULL, *n;
	TAILQ_FOREACH(n, &p->nodes, link) {
		if (!node_open(n) || n == reserved || n->used_slots + t->slots > p->slots)
			continue;
		if (strcmp(n->id, wish) == 0)
			return n;
		if (!best || (p->pack ? n->used_slots > best->used_slots
				      : n->used_slots < best->used_slots))
			best = n;
	}
	return best;
}

/* The node that a task which fits nowhere waits for: small tasks must not keep it out for ever. */
static const struct node *emptiest_node(const struct pool *p)
{
	const struct node *best = NULL, *n;
	TAILQ_FOREACH(n, &p->nodes, link)
		if (node_open(n) && (!best || n->used_slots < best->used_slots))
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
	struct run *run = run_new_locked(s, t, n);
	if (!run)
		return false;
	if (old_dir)
		service_trash_locked(s, old_dir);
	service_trash_locked(s, run->dir);
	sched_task_unqueue_locked(t);
	clear_execution(t);
	t->files_gone = false;
	set_task_state(s, t, TASK_RUNNING, RESULT_NONE);
	t->start_us = t->e.state_us;
	t->run = run;
	run->lose_node = trap_nth(s->traps, TRAP_PREEMPT_EVERY);
	t->job->n_runs++;
	n->used_slots += t->slots;
	n->n_running++;
	n->state_us = t->e.state_us;
	s->n_runs++;
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
			if (!n && t->slots <= p->slots && !reserved)
				reserved = emptiest_node(p);
			if ((!n && ++skipped > LOOK_AHEAD) || !free_slots(p, reserved))
				return;
			t = next;
		}
	}
}

/* --- the thread --------------------------------------------------------------------------- */

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

/* Throw away the files of tasks whose retention is over. */
static void sweep_files(struct batch_service *s)
{
	int64_t now = adafs_clock_wall_us();
	if (now < s->next_sweep_us)
		return;
	s->next_sweep_us = now + SWEEP_INTERVAL_US;
	for (size_t i = 0; i < s->jobs.n; i++) {
		struct job *j = entity_job(s->jobs.item[i]);
		for (size_t k = 0; k < j->tasks.n; k++) {
			struct task *t = entity_task(j->tasks.item[k]);
			int64_t keep_ms = ADAFS_DURATION_NONE;
			const char *text = adafs_json_str(adafs_json_get(t->e.spec, "constraints"),
							  "retentionTime", NULL);
			if (t->e.state != TASK_COMPLETED || t->files_gone || !t->node_id || !text ||
			    adafs_duration_parse(text, &keep_ms) < 0 ||
			    keep_ms > (now - t->end_us) / 1000)
				continue;
			ADAFS_FREE char *dir = service_task_dir(s, t);
			if (dir)
				service_trash_locked(s, dir);
			t->files_gone = true;
			service_dirty_locked(s, &t->e, false);
		}
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
		for (size_t i = 0; i < s->pools.n; i++) {
			struct pool *p = entity_pool(s->pools.item[i]);
			if (p->e.state == POOL_ACTIVE)
				place_pool(s, p, &started);
		}
		commit_or_wait(s);
		adafs_mutex_unlock(&s->lock);
		launch_all(s, &started);
		adafs_mutex_lock(&s->lock);
		wait_for_work(s, next);
	}
	adafs_mutex_unlock(&s->lock);
	return NULL;
}
