/*
 * emulator/batch/runner.c - a thread a running task:
 *
 *   files in -> command (again while retries are left) -> files out -> reported to the scheduler
 *
 * It takes the service's lock only to record a retry and to report the end; a kill reaches it
 * through an atomic flag and a descriptor.
 */
#include "batch/emulator/batch/runner.h"

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
#include "batch/emulator/batch/container.h"
#include "batch/emulator/batch/identity.h"
#include "batch/emulator/batch/node_ops.h"
#include "batch/emulator/batch/process.h"
#include "batch/emulator/batch/transfer.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* --- environment -------------------------------------------------------------------------- */

struct env {
	char **list;
	size_t n;
	bool failed;
};

/* Set or replace; takes ownership of text ("NAME=value"). */
static void env_put(struct env *e, char *text)
{
	size_t name = text ? strcspn(text, "=") : 0;
	for (size_t i = 0; text && i < e->n; i++) {
		if (strncmp(e->list[i], text, name + 1) == 0) {
			free(e->list[i]);
			e->list[i] = text;
			return;
		}
	}
	char **grown = text ? reallocarray(e->list, e->n + 2, sizeof(*grown)) : NULL;
	if (!grown) {
		free(text);
		e->failed = true;
		return;
	}
	e->list = grown;
	grown[e->n++] = text;
	grown[e->n] = NULL;
}

static void env_put_settings(struct env *e, const cJSON *settings)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, settings)
		env_put(e, adafs_fmt("%s=%s", adafs_json_str(item, "name", ""),
				     adafs_json_str(item, "value", "")));
}

/* Nothing of this process's environment is passed on: it may hold keys. */
static char **task_env(const struct run *run, const char *node_dir)
{
	const struct task *t = run->task;
	struct env e = { 0 };
	env_put(&e, strdup("PATH=" DEFAULT_PATH));
	env_put(&e, strdup("LANG=C.UTF-8"));
	env_put(&e, adafs_fmt("HOME=%s", run->wd));
	env_put(&e, adafs_fmt("TMPDIR=%s", run->tmp_dir));
	env_put(&e, adafs_fmt("AZ_BATCH_ACCOUNT_NAME=%s", run->s->account));
	env_put(&e, adafs_fmt("AZ_BATCH_ACCOUNT_URL=%s", run->s->endpoint));
	env_put(&e, adafs_fmt("AZ_BATCH_POOL_ID=%s", run->node->pool->e.id));
	env_put(&e, adafs_fmt("AZ_BATCH_NODE_ID=%s", run->node->id));
	env_put(&e, adafs_fmt("AZ_BATCH_NODE_IS_DEDICATED=%s",
			      run->node->dedicated ? "true" : "false"));
	env_put(&e, adafs_fmt("AZ_BATCH_NODE_ROOT_DIR=%s", node_dir));
	env_put(&e, adafs_fmt("AZ_BATCH_NODE_SHARED_DIR=%s/shared", node_dir));
	env_put(&e, adafs_fmt("AZ_BATCH_NODE_STARTUP_DIR=%s/startup", node_dir));
	env_put(&e, adafs_fmt("AZ_BATCH_NODE_MOUNTS_DIR=%s/fsmounts", node_dir));
	env_put(&e, adafs_fmt("AZ_BATCH_JOB_ID=%s", t->job->e.id));
	env_put(&e, adafs_fmt("AZ_BATCH_TASK_ID=%s", t->e.id));
	env_put(&e, adafs_fmt("AZ_BATCH_TASK_DIR=%s", run->dir));
	env_put(&e, adafs_fmt("AZ_BATCH_TASK_WORKING_DIR=%s", run->wd));
	env_put_settings(&e, adafs_json_get(t->job->e.spec, "commonEnvironmentSettings"));
	env_put_settings(&e, adafs_json_get(t->e.spec, "environmentSettings"));
	if (e.failed) {
		strings_free(e.list);
		return NULL;
	}
	return e.list;
}

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

static void load_limits(struct run *run)
{
	const cJSON *c = adafs_json_get(run->spec, "constraints");
	const char *limit = adafs_json_str(c, "maxWallClockTime", NULL);
	run->limit_ms = ADAFS_DURATION_NONE;
	if (limit && adafs_duration_parse(limit, &run->limit_ms) < 0)
		run->limit_ms = ADAFS_DURATION_NONE;
	int64_t retries = adafs_json_int(c, "maxTaskRetryCount", 0);
	run->retries_left = retries < 0 ? -1
			    : retries > run->task->retry_count
				    ? (int)(retries - run->task->retry_count)
				    : 0;
}

struct run *run_new_locked(struct batch_service *s, struct task *t, struct node *n)
{
	struct run *run = calloc(1, sizeof(*run));
	if (!run)
		return NULL;
	run->s = s;
	run->task = t;
	run->node = n;
	run->stop_fd = eventfd(0, EFD_CLOEXEC);
	run->spec = cJSON_Duplicate(t->e.spec, true);
	bool opened = run->spec && identity_apply_locked(s, n->pool, run->spec) == 0;
	ADAFS_FREE char *node_dir = service_node_dir(s, n->id);
	run->dir = service_task_dir(s, t);
	run->wd = run->dir ? adafs_fmt("%s/wd", run->dir) : NULL;
	run->tmp_dir = node_dir ? adafs_fmt("%s/volatile/%llu", node_dir,
					    (unsigned long long)t->e.seq)
				: NULL;
	if (run->wd && run->tmp_dir)
		run->envp = task_env(run, node_dir);
	if (run->stop_fd < 0 || !opened || !run->envp) {
		run_free(run);
		return NULL;
	}
	load_limits(run);
	return run;
}

void run_stop_locked(struct run *run, enum run_stop stop)
{
	if (run->stop == RUN_STOP_NONE || stop == RUN_STOP_SHUTDOWN || stop == RUN_STOP_DELETE)
		run->stop = stop;
	if (stop != RUN_STOP_SHUTDOWN && run->task->ending != (int)run->stop) {
		run->task->ending = (int)run->stop;
		service_dirty_locked(run->s, &run->task->e, false);
	}
	atomic_store(&run->stopped, true);
	uint64_t one = 1;
	if (write(run->stop_fd, &one, sizeof(one)) < 0)
		adafs_log(ERROR, "batch", "cannot stop a task: %s", strerror(errno));
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
	run->task->pid = pid;
	run->task->pid_start = start;
	if (run->lose_node)
		node_preempt_locked(run->s, run->node);
	run->lose_node = false;
	service_dirty_locked(run->s, &run->task->e, false);
	service_commit_locked(run->s);
	adafs_mutex_unlock(&run->s->lock);
}

static int poll_timeout(uint64_t deadline_ms)
{
	if (deadline_ms == UINT64_MAX)
		return -1;
	uint64_t now = adafs_clock_mono_ms();
	if (now >= deadline_ms)
		return 0;
	return deadline_ms - now > INT32_MAX ? INT32_MAX : (int)(deadline_ms - now);
}

int run_await(struct run *run, pid_t pid, uint64_t deadline_ms)
{
	int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool killed = false;
	if (pid_fd < 0) { /* its end would never be seen: a failed task is better than one without limit */
		adafs_log(ERROR, "batch", "cannot watch a task's process: %s", strerror(errno));
		kill(-pid, SIGKILL);
	}
	while (pid_fd >= 0) {
		struct pollfd fds[] = { { .fd = pid_fd, .events = POLLIN },
					{ .fd = run->stop_fd, .events = POLLIN } };
		int n = poll(fds, killed ? 1 : 2, killed ? -1 : poll_timeout(deadline_ms));
		if (n < 0 && errno == EINTR)
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
	return batch_failure_new("UserError", "CommandLaunchFailed",
				 "The specified command program could not be started", "Message",
				 rc == -EINVAL ? "A quote in the command line does not end"
					       : strerror(-rc),
				 NULL);
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
	struct batch_command c = { .argv = argv, .cwd = run->wd, .stdout_path = out, .stderr_path = err,
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
	r->failure = timed_out
			     ? batch_failure_new("ServerError", "TaskEnded",
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
	run->task->retry_count++;
	run->task->last_retry_us = run->task->start_us = service_now_locked(run->s);
	service_dirty_locked(run->s, &run->task->e, false);
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
	struct batch_transfer t = { .http = run->s->client, .task_dir = run->dir, .wd = run->wd,
				    .envp = run->envp, .cancelled = &run->stopped,
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

static void *run_thread(void *arg)
{
	struct run *run = arg;
	struct run_result r = { 0 };
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
