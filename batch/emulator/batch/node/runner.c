/*
 * emulator/batch/node/runner.c - a thread a run:
 *
 *   [wait for the job's preparation] -> files in -> command (again while retries are left)
 *   -> files out -> reported to the scheduler
 *
 * It takes the service's lock only to wait at first, to record process and retries, and to report
 * the end; a kill reaches it through an atomic flag and a descriptor.
 */
#include "batch/emulator/batch/node/runner.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "batch/base/log.h"
#include "batch/emulator/batch/node/container.h"
#include "batch/emulator/batch/node/identity.h"
#include "batch/emulator/batch/engine/node_ops.h"
#include "batch/emulator/batch/node/process.h"
#include "batch/emulator/batch/engine/scheduler.h"
#include "batch/emulator/batch/node/transfer.h"

/* How often to look whether a container has come to be. */
#define BEGUN_LOOK_MS 100

/* --- life of a run ------------------------------------------------------------------------ */

void run_free(struct run *run)
{
	if (!run)
		return;
	cJSON_Delete(run->spec);
	free(run->dir);
	free(run->wd);
	free(run->tmp_dir);
	strings_free(run->envp);
	run_container_free(run);
	if (run->stop_fd >= 0)
		close(run->stop_fd);
	free(run);
}

static void load_plan(struct run *run, const struct run_plan *plan)
{
	run->limit_ms = ADAFS_DURATION_NONE;
	if (plan->limit && adafs_duration_parse(plan->limit, &run->limit_ms) < 0)
		run->limit_ms = ADAFS_DURATION_NONE;
	run->retries_left = plan->retries < 0 ? -1
			    : plan->retries > run->exec->retry_count
				    ? (int)(plan->retries - run->exec->retry_count)
				    : 0;
}

/* Tasks and what jobs and pools run of their own are counted apart. */
static void count_run(const struct run *run, unsigned by)
{
	if (run->kind == RUN_TASK) {
		run->job->n_runs += by;
		run->node->n_running += by;
		run->node->used_slots += by * run->task->slots;
		return;
	}
	run->node->n_own += by;
	if (run->job)
		run->job->n_own += by;
}

struct run *run_new_locked(struct batch_service *s, const struct run *like, struct run_plan *plan)
{
	struct run *run = calloc(1, sizeof(*run));
	if (!run) {
		free(plan->dir);
		return NULL;
	}
	*run = *like;
	run->s = s;
	run->dir = ADAFS_STEAL(plan->dir);
	run->stop_fd = eventfd(0, EFD_CLOEXEC);
	run->spec = cJSON_Duplicate(plan->spec, true);
	bool opened = run->spec && identity_apply_locked(s, run->node->pool, run->spec) == 0;
	ADAFS_FREE char *node_dir = service_node_dir(s, run->node->id);
	run->wd = run->dir ? adafs_fmt("%s/wd", run->dir) : NULL;
	/*
	 * Of all runs that an entity has at a time on a node, this one alone uses such a directory.
	 */
	run->tmp_dir = node_dir ? adafs_fmt("%s/volatile/%llu", node_dir,
					    (unsigned long long)run->owner->seq)
				: NULL;
	if (run->wd && run->tmp_dir)
		run->envp = run_env_new(run, node_dir, plan->id);
	if (run->stop_fd < 0 || !opened || !run->envp) {
		run_free(run);
		return NULL;
	}
	load_plan(run, plan);
	run->exec->run = run;
	count_run(run, 1);
	s->n_runs++;
	TAILQ_INSERT_TAIL(&s->runs, run, all_link);
	return run;
}

void run_leave_locked(struct run *run)
{
	struct execution *x = run->exec;
	x->run = NULL;
	x->ending = RUN_STOP_NONE;
	x->pid = 0;
	x->pid_start = 0;
	count_run(run, -1U);
}

void run_stop_locked(struct run *run, enum run_stop stop)
{
	if (run->stop == RUN_STOP_NONE || stop == RUN_STOP_SHUTDOWN || stop == RUN_STOP_DELETE)
		run->stop = stop;
	if (stop != RUN_STOP_SHUTDOWN && run->exec->ending != (int)run->stop) {
		run->exec->ending = (int)run->stop;
		service_dirty_locked(run->s, run->owner, false);
	}
	atomic_store(&run->stopped, true);
	uint64_t one = 1;
	if (write(run->stop_fd, &one, sizeof(one)) < 0)
		adafs_log(ERROR, "batch", "cannot stop a task: %s", strerror(errno));
	if (run->at)
		adafs_cond_broadcast(&run->s->prepared);
}

void run_stop_all_locked(struct batch_service *s, const struct node *n, const struct job *j,
			 unsigned kinds, enum run_stop stop)
{
	struct run *run;
	TAILQ_FOREACH(run, &s->runs, all_link)
	if ((!n || run->node == n) && (!j || run->job == j) && (kinds & RUN_KIND(run->kind)))
		run_stop_locked(run, stop);
}

/* --- the process -------------------------------------------------------------------------- */

/* All that the task left: its session's group, then whoever carries its environment. */
static void kill_all(const struct run *run, pid_t group)
{
	if (group > 0)
		kill(-group, SIGKILL);
	ADAFS_FREE char *tag = adafs_fmt("AZ_BATCH_TASK_DIR=%s", run->dir);
	if (tag)
		batch_process_kill_tagged(tag, true);
}

/* Record the process, so that a successor of this service can end it. */
static void record_pid(struct run *run, pid_t pid)
{
	uint64_t start = pid ? batch_process_start_time(pid) : 0;
	adafs_mutex_lock(&run->s->lock);
	run->exec->pid = pid;
	run->exec->pid_start = start;
	if (run->lose_node)
		node_preempt_locked(run->s, run->node);
	run->lose_node = false;
	service_dirty_locked(run->s, run->owner, false);
	service_commit_locked(run->s);
	adafs_mutex_unlock(&run->s->lock);
}

static int poll_timeout(uint64_t deadline_ms, int most_ms)
{
	if (deadline_ms == UINT64_MAX)
		return most_ms;
	uint64_t now = adafs_clock_mono_ms();
	if (now >= deadline_ms)
		return 0;
	uint64_t left = deadline_ms - now;
	return most_ms >= 0 && left > (uint64_t)most_ms ? most_ms
	       : left > INT32_MAX                       ? INT32_MAX
							: (int)left;
}

int run_await(struct run *run, pid_t pid, uint64_t deadline_ms)
{
	int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool killed = false, begun = false;
	if (pid_fd <
	    0) { /* its end would never be seen: a failed task is better than one without limit */
		adafs_log(ERROR, "batch", "cannot watch a task's process: %s", strerror(errno));
		kill(-pid, SIGKILL);
	}
	while (pid_fd >= 0) {
		struct pollfd fds[] = { { .fd = pid_fd, .events = POLLIN },
					{ .fd = run->stop_fd, .events = POLLIN } };
		if (!begun)
			begun = run_container_begun(run);
		int timeout_ms =
			killed ? -1 : poll_timeout(deadline_ms, begun ? -1 : BEGUN_LOOK_MS);
		int n = poll(fds, killed ? 1 : 2, timeout_ms);
		if ((n < 0 && errno == EINTR) ||
		    (n == 0 && !begun && adafs_clock_mono_ms() < deadline_ms))
			continue;
		if (n < 0 || fds[0].revents)
			break;
		run->timed_out = !fds[1].revents && adafs_clock_mono_ms() >= deadline_ms;
		if (fds[1].revents || run->timed_out) {
			kill(-pid, SIGKILL);
			killed = true;
		}
	}
	if (pid_fd >= 0)
		close(pid_fd);
	/* Not reaped yet, so that nobody else can have its group's number when that is killed. */
	siginfo_t info;
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
		;
	kill_all(run, pid);
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static cJSON *launch_failure(int rc)
{
	if (rc == -ENOENT)
		return batch_failure_new("UserError", "CommandProgramNotFound",
					 "The specified command program is not found", "Message",
					 "The system cannot find the file specified", NULL);
	return batch_failure_new(
		"UserError", "CommandLaunchFailed",
		"The specified command program could not be started", "Message",
		rc == -EINVAL ? "A quote in the command line does not end" : strerror(-rc), NULL);
}

/* The words of the command, or of what runs it in a container; "" there is what the image says. */
static int command_argv(const struct run *run, char ***ret)
{
	ADAFS_CLEANUP(strings_freep) char **argv = NULL;
	int rc = batch_command_split(adafs_json_str(run->spec, "commandLine", ""), &argv);
	if (rc == 0 && !run->container)
		*ret = ADAFS_STEAL(argv);
	if (!run->container || (rc < 0 && rc != -ENOENT))
		return rc;
	*ret = run_container_argv(run, argv);
	return *ret ? 0 : -ENOMEM;
}

/* Run the command once. 0 with the exit code, or a negative errno when it could not be started. */
static int run_command(struct run *run, uint64_t deadline_ms, int *ret_exit_code)
{
	ADAFS_CLEANUP(strings_freep) char **argv = NULL;
	int rc = command_argv(run, &argv);
	if (rc < 0)
		return rc;
	ADAFS_FREE char *out = adafs_fmt("%s/stdout.txt", run->dir);
	ADAFS_FREE char *err = adafs_fmt("%s/stderr.txt", run->dir);
	if (!out || !err)
		return -ENOMEM;
	struct batch_command c = { .argv = argv,
				   .cwd = run->wd,
				   .stdout_path = out,
				   .stderr_path = err,
				   .envp = run->container ? run->container->envp : run->envp };
	pid_t pid;
	rc = batch_process_spawn(&c, &pid);
	if (rc < 0)
		return rc;
	record_pid(run, pid);
	*ret_exit_code = run_await(run, pid, deadline_ms);
	run_container_ended(run, run->timed_out || atomic_load(&run->stopped));
	return 0;
}

/* --- the whole ---------------------------------------------------------------------------- */

static int make_dirs(const struct run *run)
{
	static const char *const names[] = { "applications", "fsmounts", "shared", "startup" };
	ADAFS_FREE char *node_dir = service_node_dir(run->s, run->node->id);
	int rc = node_dir ? adafs_mkdir_p(run->wd, 0755) : -ENOMEM;
	for (size_t i = 0; rc == 0 && i < ADAFS_ARRAY_SIZE(names); i++) {
		ADAFS_FREE char *path = adafs_fmt("%s/%s", node_dir, names[i]);
		rc = path ? adafs_mkdir_p(path, 0755) : -ENOMEM;
	}
	return rc < 0 ? rc : adafs_mkdir_p(run->tmp_dir, 0700);
}

/* The logs exist from the start, empty: a reader that follows them needs no luck. */
static int make_logs(const struct run *run)
{
	static const char *const names[] = { "stdout.txt", "stderr.txt" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++) {
		ADAFS_FREE char *path = adafs_fmt("%s/%s", run->dir, names[i]);
		FILE *f = path ? fopen(path, "we") : NULL;
		if (!f)
			return -errno;
		fclose(f);
	}
	return 0;
}

static void ended(struct run_result *r, bool timed_out)
{
	r->outcome = OUTCOME_ENDED;
	cJSON_Delete(r->failure);
	r->failure =
		timed_out ? batch_failure_new("ServerError", "TaskEnded",
					      "Task Was Ended by User Request", "Message",
					      "The maximum execution time configured on the task "
					      "was exceeded",
					      NULL)
			  : batch_failure_new("UserError", "TaskEnded",
					      "Task Was Ended by User Request", NULL);
}

/* Another try is about to start: record it, unless somebody wants the task to end. */
static bool take_retry(struct run *run)
{
	if (run->retries_left == 0 || atomic_load(&run->stopped) || run->timed_out)
		return false;
	if (run->retries_left > 0)
		run->retries_left--;
	adafs_mutex_lock(&run->s->lock);
	run->exec->retry_count++;
	run->exec->last_retry_us = run->exec->start_us = service_now_locked(run->s);
	service_dirty_locked(run->s, run->owner, false);
	service_commit_locked(run->s);
	adafs_mutex_unlock(&run->s->lock);
	return true;
}

static void run_tries(struct run *run, uint64_t deadline_ms, struct run_result *r)
{
	do {
		int rc = run_command(run, deadline_ms, &r->exit_code);
		if (rc < 0) {
			r->outcome = OUTCOME_PREPROCESSING;
			r->has_exit_code = false;
			r->failure = launch_failure(rc);
			return;
		}
		r->has_exit_code = true;
	} while (r->exit_code != 0 && take_retry(run));
	r->outcome = OUTCOME_EXIT;
	if (r->exit_code != 0)
		r->failure = batch_failure_new(
			"UserError", "FailureExitCode",
			"The task exited with an exit code representing a failure", "Message",
			"The task process exited with an unexpected exit code",
			"AdditionalErrorCode", "FailureExitCode", NULL);
}

static void upload_outputs(struct run *run, struct batch_transfer *t, struct run_result *r)
{
	cJSON *failure = NULL;
	/* The time limit is for the command; what it wrote is stored however long that takes. */
	t->deadline_ms = UINT64_MAX;
	int rc = batch_transfer_upload(t, adafs_json_get(run->spec, "outputFiles"),
				       r->exit_code == 0, &failure);
	if (!failure)
		return;
	if (rc != -ECANCELED && !r->failure) {
		r->outcome = OUTCOME_UPLOAD;
		r->failure = ADAFS_STEAL(failure);
	}
	cJSON_Delete(failure);
}

static void run_task(struct run *run, struct run_result *r)
{
	uint64_t deadline = run->limit_ms == ADAFS_DURATION_NONE
				    ? UINT64_MAX
				    : adafs_clock_mono_ms() + (uint64_t)run->limit_ms;
	struct batch_transfer t = { .http = run->s->client,
				    .task_dir = run->dir,
				    .wd = run->wd,
				    .envp = run->envp,
				    .cancelled = &run->stopped,
				    .stop_fd = run->stop_fd,
				    .deadline_ms = deadline };
	r->outcome = OUTCOME_PREPROCESSING;
	int rc = make_dirs(run);
	if (rc == 0)
		rc = make_logs(run);
	if (rc < 0) {
		r->failure = batch_failure_new("ServerError", "ResourceDirectoryCreateFailed",
					       "The task's directory could not be made", "Message",
					       strerror(-rc), NULL);
		return;
	}
	rc = batch_transfer_stage(&t, adafs_json_get(run->spec, "resourceFiles"), &r->failure);
	run->timed_out = rc == -ECANCELED && !atomic_load(&run->stopped);
	if (rc == 0)
		rc = run_container_open(run, deadline, &r->failure);
	if (rc < 0)
		return;
	run_tries(run, deadline, r);
	/* A kill uploads nothing. */
	if (r->has_exit_code && !run->timed_out && !atomic_load(&run->stopped))
		upload_outputs(run, &t, r);
}

/* Wait until the job's preparation on this node is through; false: the task is not to run now. */
static bool await_preparation(struct run *run)
{
	struct batch_service *s = run->s;
	adafs_mutex_lock(&s->lock);
	while (!run->stop && run->at->state == PREP_RUNNING)
		adafs_cond_wait(&s->prepared, &s->lock);
	if (!run->stop && run->at->state != PREP_DONE)
		run_stop_locked(run, RUN_STOP_UNPREPARED);
	bool go = !run->stop;
	if (go) {
		sched_task_begins_locked(s, run->task);
		service_commit_locked(s);
	}
	adafs_mutex_unlock(&s->lock);
	return go;
}

static void *run_thread(void *arg)
{
	struct run *run = arg;
	struct run_result r = { 0 };
	if (run->kind != RUN_TASK || !run->at || await_preparation(run))
		run_task(run, &r);
	if (run->timed_out || atomic_load(&run->stopped))
		ended(&r, run->timed_out);
	adafs_remove_tree(run->tmp_dir);
	sched_run_ended(run, &r);
	return NULL;
}

int run_launch(struct run *run)
{
	pthread_t thread;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	int rc = pthread_create(&thread, &attr, run_thread, run);
	pthread_attr_destroy(&attr);
	return -rc;
}
