/*
 * fs/program/engine.c - the embedded emulator of a mount; which file of its directory says what
 * stands in engine.h.
 *
 *   engine_open: dead -> starting (`lock` held by the emulator) -> serving (`settings` written)
 *   watching:    serving -> dead (`lock` free) -> starting, by the mount that gets `restart`
 *   engine_close of the last mount: serving -> dead, unless jobs run or another started it
 *
 * The mount's thread opens and closes; between them a thread of its own watches, and only
 * `stopping` is shared.
 */
#include "fs/program/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"

#define START_MS 10000
#define STOP_MS 5000
#define WATCH_MS 500
#define POLL_MS 20
#define MAX_BACKOFF_MS 30000
#define MAX_LOG_BYTES ((off_t)8 << 20)

extern char **environ;

struct engine {
	char *dir;
	int mounts_fd; /* holds `mounts`; -1: not yet */

	struct adafs_mutex lock; /* rank LEAF */
	struct adafs_cond stop_asked;
	bool stopping, watched;
	pthread_t thread;
};

static void nap(void)
{
	const struct timespec t = { .tv_nsec = POLL_MS * 1000000L };

	nanosleep(&t, NULL);
}

/* Descriptor of a file of the directory, or -errno. */
static int open_in(const struct engine *e, const char *name, int flags)
{
	ADAFS_FREE char *path = adafs_fmt("%s/%s", e->dir, name);

	if (!path)
		return -ENOMEM;
	int fd = open(path, flags | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

/* Whether an emulator lives in the directory: then its lock cannot be had. */
static bool is_alive(const struct engine *e)
{
	ADAFS_CLOSE int fd = open_in(e, "lock", O_RDONLY);

	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

static bool serves(const struct engine *e)
{
	ADAFS_CLOSE int fd = open_in(e, "settings", O_RDONLY);

	return fd >= 0 && is_alive(e);
}

/* The pid of the emulator that a mount started, if that is the one that lives. */
static pid_t started_pid(const struct engine *e)
{
	ADAFS_FREE char *path = adafs_fmt("%s/started", e->dir);
	ADAFS_FREE char *text = NULL, *command = NULL;
	char proc[64];
	size_t len;

	if (!path || adafs_file_read(path, 64, &text, &len, NULL) < 0)
		return 0;
	pid_t pid = (pid_t)strtol(text, NULL, 10);
	if (pid <= 1)
		return 0;
	/* The number may have gone to another process since. */
	snprintf(proc, sizeof(proc), "/proc/%d/cmdline", (int)pid);
	if (adafs_file_read(proc, 65536, &command, &len, NULL) < 0)
		return 0;
	const char *second = memchr(command, 0, len);
	return second && second + 1 < command + len && strcmp(second + 1, "emulator") == 0 ? pid
											   : 0;
}

/* --- starting ----------------------------------------------------------------------------- */

static int prepare_spawn(const struct engine *e, posix_spawn_file_actions_t *actions,
			 posix_spawnattr_t *attr)
{
	ADAFS_FREE char *log = adafs_fmt("%s/emulator.log", e->dir);
	sigset_t none, defaults;

	if (!log)
		return ENOMEM;
	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	sigaddset(&defaults, SIGHUP);
	sigaddset(&defaults, SIGINT);
	sigaddset(&defaults, SIGTERM);
	int rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
							POSIX_SPAWN_SETSIGDEF);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(attr, &none);
	if (rc == 0)
		rc = posix_spawnattr_setsigdefault(attr, &defaults);
	if (rc == 0)
		rc = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
	if (rc == 0)
		/* What it prints are its settings with the key: they are no matter for a log. */
		rc = posix_spawn_file_actions_addopen(actions, 1, "/dev/null", O_WRONLY, 0);
	return rc ? rc
		  : posix_spawn_file_actions_addopen(actions, 2, log, O_WRONLY | O_CREAT | O_APPEND,
						     0600);
}

/* The log of all emulators of the directory only grows: what is long goes aside before the next one
 * starts. */
static void rotate_log(const struct engine *e)
{
	ADAFS_FREE char *log = adafs_fmt("%s/emulator.log", e->dir);
	ADAFS_FREE char *old = adafs_fmt("%s/emulator.log.1", e->dir);
	struct stat st;

	if (log && old && stat(log, &st) == 0 && st.st_size > MAX_LOG_BYTES && rename(log, old) < 0)
		adafs_log(WARN, "engine", "cannot rename '%s': %s", log, strerror(errno));
}

/* posix_spawn, never fork: a forked child of the mount would hold its /dev/fuse. */
static int spawn(const struct engine *e, pid_t *ret_pid, struct adafs_err *reterr)
{
	ADAFS_FREE char *mounts = adafs_fmt("%s/mounts", e->dir);
	char *argv[] = { (char *)"adafs",
			 (char *)"emulator",
			 (char *)"--dir",
			 e->dir,
			 (char *)"--while-used",
			 mounts,
			 NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	pid_t pid;

	if (!mounts || posix_spawn_file_actions_init(&actions))
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (posix_spawnattr_init(&attr)) {
		posix_spawn_file_actions_destroy(&actions);
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	int rc = prepare_spawn(e, &actions, &attr);
	if (rc == 0)
		rc = posix_spawn(&pid, "/proc/self/exe", &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	if (rc)
		return adafs_err_set(reterr, -rc, "the emulator cannot be started: %s",
				     strerror(rc));
	*ret_pid = pid;
	return 0;
}

static void note_started(const struct engine *e, pid_t pid)
{
	ADAFS_FREE char *path = adafs_fmt("%s/started", e->dir);
	char text[32];
	int n = snprintf(text, sizeof(text), "%d\n", (int)pid);
	struct adafs_err err = { 0 };

	if (path && adafs_file_write_atomic(path, text, (size_t)n, 0600, &err) < 0)
		adafs_log(WARN, "engine", "%s", err.msg);
}

/* The last line that the emulator logged, for the message about its failure. */
static char *last_words(const struct engine *e)
{
	ADAFS_CLOSE int fd = open_in(e, "emulator.log", O_RDONLY);
	char text[4097];
	off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	off_t start = size > (off_t)sizeof(text) - 1 ? size - (off_t)sizeof(text) + 1 : 0;
	ssize_t len = size > 0 ? pread(fd, text, sizeof(text) - 1, start) : 0;

	while (len > 0 && text[len - 1] == '\n')
		len--;
	if (len <= 0)
		return strdup("");
	text[len] = '\0';
	const char *line = strrchr(text, '\n');
	return strdup(line ? line + 1 : text);
}

/* Wait until somebody serves: our child, or another mount's that was faster. */
static int wait_serving(const struct engine *e, pid_t pid, struct adafs_err *reterr)
{
	uint64_t deadline_ms = adafs_clock_mono_ms() + START_MS;
	bool ended = false;

	while (!serves(e)) {
		ended = ended || waitpid(pid, NULL, WNOHANG) == pid;
		if ((ended && !is_alive(e)) || adafs_clock_mono_ms() > deadline_ms) {
			ADAFS_FREE char *words = last_words(e);
			if (!ended)
				kill(pid, SIGTERM);
			return adafs_err_set(
				reterr, ended ? -ECHILD : -EIO, "the emulator in %s %s%s%s", e->dir,
				ended ? "ended at its start" : "does not serve after 10 s",
				words && *words ? ": " : "", words ? words : "");
		}
		nap();
	}
	return 0;
}

/* Under `mounts`: make sure that one serves. */
static int start_if_dead(const struct engine *e, struct adafs_err *reterr)
{
	ADAFS_FREE char *settings = adafs_fmt("%s/settings", e->dir);
	pid_t pid;

	if (!settings)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (is_alive(e)) {
		/* It may be starting: then it has yet to write its settings. */
		uint64_t deadline_ms = adafs_clock_mono_ms() + START_MS;
		while (!serves(e) && is_alive(e) && adafs_clock_mono_ms() < deadline_ms)
			nap();
		if (serves(e))
			return 0;
		if (is_alive(e))
			return adafs_err_set(reterr, -EIO,
					     "an emulator holds %s and does not serve", e->dir);
	}
	/* Settings of a dead one would be taken for those of the next before it serves. */
	unlink(settings);
	/* A look at the lock by somebody may fall on the moment in which the new one takes it: it
	 * ends, and is tried again. */
	int rc = -ECHILD;
	for (int i = 0; i < 2 && rc == -ECHILD; i++) {
		rotate_log(e);
		rc = spawn(e, &pid, reterr);
		if (rc < 0)
			return rc;
		note_started(e, pid);
		rc = wait_serving(e, pid, reterr);
	}
	return rc;
}

/* Take `mounts` exclusively; the waits for it are short. */
static int lock_mounts(struct engine *e, struct adafs_err *reterr)
{
	uint64_t deadline_ms = adafs_clock_mono_ms() + START_MS + STOP_MS;

	while (flock(e->mounts_fd, LOCK_EX | LOCK_NB) < 0) {
		/* Living mounts share it: then the emulator lives, or one of them is starting it
		 * again. */
		if (flock(e->mounts_fd, LOCK_SH | LOCK_NB) == 0 && serves(e))
			return 0;
		if (adafs_clock_mono_ms() > deadline_ms)
			return adafs_err_set(reterr, -EBUSY, "%s/mounts is held by another mount",
					     e->dir);
		nap();
	}
	return 0;
}

int engine_open(const char *dir, struct engine **ret, struct adafs_err *reterr)
{
	struct engine *e = calloc(1, sizeof(*e));

	if (!e)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	adafs_mutex_init(&e->lock, ADAFS_RANK_LEAF);
	adafs_cond_init(&e->stop_asked);
	e->mounts_fd = -1;
	e->dir = strdup(dir);
	int rc = e->dir ? adafs_mkdir_p(dir, 0700) : -ENOMEM;
	if (rc == 0) {
		e->mounts_fd = open_in(e, "mounts", O_RDWR | O_CREAT);
		rc = e->mounts_fd < 0 ? e->mounts_fd : 0;
	}
	if (rc < 0) {
		adafs_err_set(reterr, rc, "directory '%s' of the emulator: %s", dir, strerror(-rc));
	} else {
		rc = lock_mounts(e, reterr);
		if (rc == 0)
			rc = start_if_dead(e, reterr);
	}
	if (rc < 0) {
		engine_close(e, false);
		return rc;
	}
	flock(e->mounts_fd, LOCK_SH);
	*ret = e;
	return 0;
}

/* --- settings ----------------------------------------------------------------------------- */

/* Undo a shell's quoting in place. */
static void unquote(char *text)
{
	char *to = text, quote = 0;

	for (const char *p = text; *p; p++) {
		if (quote && *p == quote)
			quote = 0;
		else if (!quote && (*p == '\'' || *p == '"'))
			quote = *p;
		else if (*p == '\\' && quote != '\'' && p[1])
			*to++ = *++p;
		else
			*to++ = *p;
	}
	*to = '\0';
}

/* The value of a name, borrowed from text, which is changed. */
static int read_settings(char *text, const char *const names[], const char *values[], size_t n)
{
	char *rest = text;

	for (char *line; (line = strsep(&rest, "\n"));) {
		if (strncmp(line, "export ", 7) == 0)
			line += 7;
		char *value = strchr(line, '=');
		if (!value)
			continue;
		*value++ = '\0';
		unquote(value);
		for (size_t i = 0; i < n; i++)
			if (strcmp(names[i], line) == 0)
				values[i] = value;
	}
	for (size_t i = 0; i < n; i++)
		if (!values[i])
			return (int)i;
	return -1;
}

int engine_fill(const struct engine *e, struct options *o, struct adafs_err *reterr)
{
	static const char *const names[] = { "AZURE_STORAGE_CONNECTION_STRING",
					     "AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ACCESS_KEY",
					     "AZURE_BATCH_ENDPOINT" };
	const char *values[ADAFS_ARRAY_SIZE(names)] = { 0 };
	ADAFS_FREE char *path = adafs_fmt("%s/settings", e->dir);
	ADAFS_FREE char *text = NULL;
	size_t len;

	if (!path)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = adafs_file_read(path, 65536, &text, &len, reterr);
	if (rc < 0)
		return rc;
	int missing = read_settings(text, names, values, ADAFS_ARRAY_SIZE(names));
	if (missing >= 0)
		rc = adafs_err_set(reterr, -EINVAL, "%s: %s is missing", path, names[missing]);
	if (rc == 0 && !o->has_storage)
		rc = adafs_storage_account_parse(&o->storage, values[0], reterr);
	if (rc == 0 && !o->has_batch)
		rc = adafs_batch_account_set(&o->batch, values[1], values[3], values[2], reterr);
	explicit_bzero(text, len);
	return rc;
}

/* --- watching ----------------------------------------------------------------------------- */

/* Wait for ms unless it is time to stop; returns whether it is. */
static bool wait_stop(struct engine *e, uint64_t ms)
{
	uint64_t deadline_ms = adafs_clock_mono_ms() + ms;

	adafs_mutex_lock(&e->lock);
	while (!e->stopping && adafs_cond_wait_until(&e->stop_asked, &e->lock, deadline_ms) == 0)
		;
	bool stopping = e->stopping;
	adafs_mutex_unlock(&e->lock);
	return stopping;
}

/* All mounts share `mounts` and watch, so a lock of its own decides which of them starts the
 * emulator. */
static int restart(struct engine *e)
{
	struct adafs_err err = { 0 };
	ADAFS_CLOSE int fd = open_in(e, "restart", O_RDWR | O_CREAT);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || is_alive(e))
		return 0;
	adafs_log(WARN, "engine", "the emulator in %s has died; starting it again", e->dir);
	int rc = start_if_dead(e, &err);
	if (rc < 0)
		adafs_log(ERROR, "engine", "%s", err.msg);
	return rc;
}

static void *watch_main(void *arg)
{
	struct engine *e = arg;
	uint64_t backoff_ms = WATCH_MS;

	while (!wait_stop(e, backoff_ms)) {
		/* A child that was started here before must not stay a zombie. */
		pid_t pid = started_pid(e);
		if (pid > 0)
			waitpid(pid, NULL, WNOHANG);
		/* Only one that does not come to serve is waited for longer and longer. */
		if (is_alive(e) || restart(e) == 0)
			backoff_ms = WATCH_MS;
		else
			backoff_ms =
				backoff_ms * 2 < MAX_BACKOFF_MS ? backoff_ms * 2 : MAX_BACKOFF_MS;
	}
	return NULL;
}

int engine_watch(struct engine *e, struct adafs_err *reterr)
{
	int rc = pthread_create(&e->thread, NULL, watch_main, e);

	if (rc)
		return adafs_err_set(reterr, -rc, "cannot start a thread: %s", strerror(rc));
	e->watched = true;
	return 0;
}

void engine_unwatch(struct engine *e)
{
	if (!e || !e->watched)
		return;
	adafs_mutex_lock(&e->lock);
	e->stopping = true;
	adafs_cond_broadcast(&e->stop_asked);
	adafs_mutex_unlock(&e->lock);
	pthread_join(e->thread, NULL);
	e->watched = false;
}

/* --- ending ------------------------------------------------------------------------------- */

static void end_emulator(struct engine *e)
{
	pid_t pid = started_pid(e);
	uint64_t deadline_ms = adafs_clock_mono_ms() + STOP_MS;

	if (pid == 0 || !is_alive(e) || kill(pid, SIGTERM) < 0)
		return;
	/*
	 * A mount that comes right after waits for `mounts`, so it never attaches to a dying one.
	 */
	while (is_alive(e) && adafs_clock_mono_ms() < deadline_ms)
		nap();
	waitpid(pid, NULL, WNOHANG);
}

void engine_close(struct engine *e, bool idle)
{
	if (!e)
		return;
	engine_unwatch(e);
	if (idle && flock(e->mounts_fd, LOCK_EX | LOCK_NB) == 0)
		end_emulator(e);
	if (e->mounts_fd >= 0)
		close(e->mounts_fd);
	adafs_cond_clear(&e->stop_asked);
	adafs_mutex_clear(&e->lock);
	free(e->dir);
	free(e);
}
