/*
 * azure/entra_cli.c - the token of who is signed in to the az command line. It is run without a
 * shell and within a deadline, and its process group is ended with it. Waits in the calling thread.
 */
#include "batch/azure/entra_int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "batch/base/clock.h"
#include "batch/base/json.h"

#define DEADLINE_MS 30000
#define MAX_OUTPUT (256 * 1024)

extern char **environ;

/* A child with both of its outputs. */
struct child {
	pid_t pid; /* and process group; 0: none */
	int out, err;
	int ended; /* pidfd: readable once it has */
};

/*
 * The process groups under way, so that a process which ends at once (quick_exit) leaves none
 * behind. A group that finds no room is only bounded by the deadline.
 */
static pid_t running[4]; /* atomic */

static void end_running(void)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(running); i++) {
		pid_t pid = __atomic_exchange_n(&running[i], 0, __ATOMIC_ACQ_REL);
		if (pid > 0)
			kill(-pid, SIGKILL);
	}
}

static void register_end_running(void)
{
	(void)!at_quick_exit(end_running);
}

static void running_add(pid_t pid)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, register_end_running);
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(running); i++) {
		pid_t none = 0;
		if (__atomic_compare_exchange_n(&running[i], &none, pid, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return;
	}
}

/* Before it is waited for: its number may be another's afterwards. */
static void running_remove(pid_t pid)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(running); i++) {
		pid_t mine = pid;
		__atomic_compare_exchange_n(&running[i], &mine, 0, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_RELAXED);
	}
}

static void child_end(struct child *c)
{
	if (c->pid > 0) {
		running_remove(c->pid);
		kill(-c->pid, SIGKILL);
		while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (c->out >= 0)
		close(c->out);
	if (c->err >= 0)
		close(c->err);
	if (c->ended >= 0)
		close(c->ended);
}

static void output_clear(struct adafs_buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->size);
	adafs_buf_clear(b);
}

static bool is_secret(const char *setting)
{
	static const char *const names[] = {
		"AZURE_CLIENT_SECRET=",     "AZURE_CLIENT_CERTIFICATE_PASSWORD=",
		"AZURE_STORAGE_KEY=",       "AZURE_STORAGE_CONNECTION_STRING=",
		"AZURE_STORAGE_SAS_TOKEN=", "AZURE_STORAGE_ACCESS_KEY=",
		"AZURE_BATCH_ACCESS_KEY=",  "ADAFS_REGISTRY_PASSWORD=",
		"IDENTITY_HEADER=",
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++)
		if (strncmp(setting, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* The environment without what az does not need to know; free() it, its texts are borrowed. */
static char **make_environment(void)
{
	size_t n = 0, kept = 0;
	while (environ[n])
		n++;
	char **env = calloc(n + 1, sizeof(*env));
	for (size_t i = 0; env && i < n; i++)
		if (!is_secret(environ[i]))
			env[kept++] = environ[i];
	return env;
}

/* 0 or an errno. */
static int spawn(struct child *c, char *const argv[], int out, int err)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	ADAFS_FREE char **env = make_environment();
	sigset_t none, all;
	if (!env)
		return ENOMEM;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	int rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&actions, out, 1);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&actions, err, 2);
	if (rc == 0)
		rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP |
							     POSIX_SPAWN_SETSIGMASK |
							     POSIX_SPAWN_SETSIGDEF);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(&attr, &none);
	if (rc == 0)
		rc = posix_spawnattr_setsigdefault(&attr, &all);
	if (rc == 0)
		rc = posix_spawnp(&c->pid, argv[0], &actions, &attr, argv, env);
	if (rc == 0)
		running_add(c->pid);
	else
		c->pid = 0;
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return rc;
}

static int child_start(struct child *c, char *const argv[], struct adafs_err *reterr)
{
	int out[2] = { -1, -1 }, err[2] = { -1, -1 };
	int rc = pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 ? errno : 0;
	if (rc == 0)
		rc = spawn(c, argv, out[1], err[1]);
	if (rc == 0 && (c->ended = pidfd_open(c->pid, 0)) < 0)
		rc = errno;
	if (out[1] >= 0)
		close(out[1]);
	if (err[1] >= 0)
		close(err[1]);
	c->out = out[0];
	c->err = err[0];
	if (rc == ENOENT)
		return adafs_err_set(reterr, -ENODATA, "no program az is on the PATH");
	return rc ? adafs_err_set(reterr, -rc, "az cannot be started: %s", strerror(rc)) : 0;
}

/* Take what is there, which poll said there is. Returns whether more may come. */
static bool take(int fd, struct adafs_buf *b)
{
	if (adafs_buf_reserve(b, 4096) < 0)
		return false;
	ssize_t n = read(fd, b->data + b->len, 4096);
	if (n <= 0)
		return n < 0 && errno == EINTR;
	b->len += (size_t)n;
	b->data[b->len] = 0;
	return true;
}

/* What is left in a pipe that others may still hold open. */
static void drain(int fd, struct adafs_buf *b)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	while (poll(&p, 1, 0) > 0 && take(fd, b))
		;
}

/* Until it ends: what it has started may hold the pipes longer, and it may close them earlier. */
static int child_read(struct child *c, int stop_fd, struct adafs_buf *out, struct adafs_buf *err,
		      struct adafs_err *reterr)
{
	uint64_t deadline_ms = adafs_clock_mono_ms() + DEADLINE_MS;
	struct pollfd p[] = { { .fd = c->out, .events = POLLIN },
			      { .fd = c->err, .events = POLLIN },
			      { .fd = stop_fd, .events = POLLIN },
			      { .fd = c->ended, .events = POLLIN } };
	while (!p[3].revents) {
		uint64_t now = adafs_clock_mono_ms();
		if (now >= deadline_ms)
			return adafs_err_set(reterr, -ETIMEDOUT,
					     "az did not answer within %d s: try 'az account "
					     "get-access-token'",
					     DEADLINE_MS / 1000);
		if (poll(p, ADAFS_ARRAY_SIZE(p), (int)(deadline_ms - now)) < 0) {
			if (errno != EINTR)
				return adafs_err_set(reterr, -errno, "az cannot be read");
			continue;
		}
		if (p[2].revents)
			return adafs_err_set(reterr, -ECANCELED, "cancelled");
		if (p[0].fd >= 0 && p[0].revents && !take(c->out, out))
			p[0].fd = -1;
		if (p[1].fd >= 0 && p[1].revents && !take(c->err, err))
			p[1].fd = -1;
	}
	drain(p[0].fd, out);
	drain(p[1].fd, err);
	return 0;
}

/* Exit status, or -1 when it was killed. */
static int child_wait(struct child *c)
{
	int status = 0;
	running_remove(c->pid);
	while (waitpid(c->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	c->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The line that matters of what az wrote to its standard error. */
static int az_failed(int status, const struct adafs_buf *err, struct adafs_err *reterr)
{
	const char *text = adafs_buf_str(err);
	const char *line = strstr(text, "ERROR:");
	line = line ? line + strlen("ERROR:") : text;
	line += strspn(line, " \r\n");
	/* Where nobody has signed in, az is not a credential. */
	bool signed_out = strstr(text, "az login") != NULL;
	adafs_err_set(reterr, signed_out ? -ENODATA : -EACCES, "az ended with status %d: %.*s",
		      status, (int)strcspn(line, "\r\n"), line);
	return signed_out ? -ENODATA : -EACCES;
}

/*
 * "2026-01-01 12:00:00.000000", by this machine's time zone: what older versions of az write only.
 */
static int64_t local_time(const char *text)
{
	struct tm tm = { .tm_isdst = -1 };
	if (!strptime(text, "%Y-%m-%d %H:%M:%S", &tm))
		return -1;
	return (int64_t)mktime(&tm);
}

static int parse(const struct adafs_buf *out, struct entra_answer *ret, struct adafs_err *reterr)
{
	ADAFS_JSON *body = adafs_json_parse(adafs_buf_str(out), out->len, NULL);
	cJSON *token = (cJSON *)adafs_json_get(body, "accessToken");
	if (!cJSON_IsString(token) || !*token->valuestring)
		return adafs_err_set(reterr, -EPROTO, "az printed no accessToken");
	int64_t expires = adafs_json_int(body, "expires_on", -1);
	if (expires < 0)
		expires = local_time(adafs_json_str(body, "expiresOn", ""));
	char *copy = strdup(token->valuestring);
	explicit_bzero(token->valuestring, strlen(token->valuestring));
	if (!copy)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	/* az may hand out what it has kept for some minutes yet: never longer than it says. */
	*ret = (struct entra_answer){ .token = copy,
				      .lifetime_s =
					      expires < 0 ? 300 : expires - (int64_t)time(NULL) };
	return 0;
}

int entra_fetch_cli(const struct entra_call *call, struct entra_answer *ret,
		    struct adafs_err *reterr)
{
	char *argv[] = { "az",
			 "account",
			 "get-access-token",
			 "--output",
			 "json",
			 "--resource",
			 (char *)call->resource.resource,
			 NULL,
			 NULL,
			 NULL };
	if (call->settings->tenant) {
		argv[7] = "--tenant";
		argv[8] = call->settings->tenant;
	}
	ADAFS_CLEANUP(child_end) struct child child = { .out = -1, .err = -1, .ended = -1 };
	ADAFS_CLEANUP(output_clear) struct adafs_buf out = ADAFS_BUF_INIT(MAX_OUTPUT);
	ADAFS_CLEANUP(output_clear) struct adafs_buf err = ADAFS_BUF_INIT(MAX_OUTPUT);
	/* Grown bytes would stay behind in freed memory. */
	int rc = adafs_buf_reserve(&out, 32 * 1024);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "out of memory");
	rc = child_start(&child, argv, reterr);
	if (rc == 0)
		rc = child_read(&child, call->stop_fd, &out, &err, reterr);
	if (rc < 0)
		return rc;
	int status = child_wait(&child);
	return status ? az_failed(status, &err, reterr) : parse(&out, ret, reterr);
}
