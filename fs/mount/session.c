/*
 * session.c - make the shared state, fork, mount, serve, unmount, take everything down again. The
 * parent waits on a pipe for the child's outcome, then asks the mountpoint itself: it returns when
 * the mount answers.
 */
#include "fs/mount/session.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "batch/base/file.h"
#include "batch/base/log.h"
#include "fs/blob/blobs.h"
#include "fs/read/cache.h"
#include "fs/read/diskcache.h"
#include "fs/kernel/handles.h"
#include "fs/kernel/notify.h"
#include "fs/kernel/op.h"
#include "fs/mount/mountpoint.h"
#include "fs/kernel/ops.h"
#include "fs/kernel/poll.h"
#include "fs/mount/signals.h"
#include "fs/write/spool.h"
#include "fs/mount/supervisor.h"
#include "fs/tree/root.h"
#include "fs/kernel/workers.h"

#define MAX_WORKERS 128
#define DEFAULT_IO_TIMEOUT_MS 30000

/* What the child tells its parent, once. */
struct outcome {
	int rc;
	char msg[sizeof(((struct adafs_err *)0)->msg)];
};

static int make_state(struct fs *fs, struct adafs_err *reterr)
{
	int rc = adafs_mkdir_p(fs->spool_dir, 0700);
	if (rc)
		return adafs_err_set(reterr, rc, "cannot make '%s': %s", fs->spool_dir,
				     strerror(-rc));
	fs->nodes = node_table_new();
	fs->cache = cache_new(fs->options->memory_cache);
	fs->blobs = blobs_new(fs);
	fs->spool = spool_space_new(fs->options->cache_size);
	fs->notify = notify_new(fs);
	fs->pollers = pollers_new(fs);
	fs->handles = handles_new();
	if (!fs->notify || !fs->nodes || !fs->cache || !fs->blobs || !fs->spool || !fs->pollers ||
	    !fs->handles)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	struct diskcache *disk = NULL;
	if (fs->options->disk_cache) {
		rc = diskcache_open(fs->options->disk_cache, fs->options->disk_cache_size, &disk,
				    reterr);
		if (rc)
			return rc;
		cache_use_disk(fs->cache, disk);
	}
	if (!(fs->calls = calls_new(reterr)) || !(fs->workers = workers_new(MAX_WORKERS, reterr)))
		return -ENOMEM;
	rc = calls_start(fs->calls, reterr);
	if (rc)
		return rc;
	fs->root = root_new(fs);
	return fs->root ? 0
			: adafs_err_set(reterr, -ENOMEM, "out of memory for the root directory");
}

static void free_state(struct fs *fs)
{
	notify_free(ADAFS_STEAL(fs->notify));
	workers_free(ADAFS_STEAL(fs->workers));
	/* The foreman, which tells them news, has stopped; their handles refer to nodes. */
	pollers_free(ADAFS_STEAL(fs->pollers));
	handles_close(fs);
	node_table_free(ADAFS_STEAL(fs->nodes));
	fs->root = NULL;
	calls_free(ADAFS_STEAL(fs->calls));
	blobs_free(ADAFS_STEAL(fs->blobs));
	cache_free(ADAFS_STEAL(fs->cache));
	spool_space_free(ADAFS_STEAL(fs->spool));
	handles_free(ADAFS_STEAL(fs->handles));
}

/* "fsname=..." with what separates options escaped. */
static char *escaped_name(const char *source)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf text = ADAFS_BUF_INIT(8192);
	int rc = adafs_buf_adds(&text, "-osubtype=adafs,fsname=");

	for (const char *p = source; rc == 0 && *p; p++) {
		if (*p == ',' || *p == '\\')
			rc = adafs_buf_adds(&text, "\\");
		if (rc == 0)
			rc = adafs_buf_add(&text, p, 1);
	}
	return rc < 0 ? NULL : adafs_buf_steal(&text, NULL);
}

/* libfuse's own arguments. fsname and subtype first, so that the user's win. */
static int make_args(const struct fs *fs, struct fuse_args *args)
{
	const struct options *o = fs->options;
	ADAFS_FREE char *names = escaped_name(o->source ? o->source : "adafs");
	if (!names || fuse_opt_add_arg(args, "adafs") || fuse_opt_add_arg(args, names) ||
	    fuse_opt_add_arg(args, "-omax_read=1048576") ||
	    (o->read_only && fuse_opt_add_arg(args, "-oro")) ||
	    (o->debug && fuse_opt_add_arg(args, "-d")))
		return -ENOMEM;
	for (int i = 0; i < o->n_fuse_args; i++)
		if (fuse_opt_add_arg(args, o->fuse_args[i]))
			return -ENOMEM;
	return 0;
}

static int make_session(struct fs *fs, struct adafs_err *reterr)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	if (make_args(fs, &args)) {
		fuse_opt_free_args(&args);
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	fs->session = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), fs);
	fuse_opt_free_args(&args);
	if (!fs->session)
		return adafs_err_set(reterr, -EINVAL, "libfuse refused an option (see above)");
	if (fuse_session_mount(fs->session, fs->options->mountpoint)) {
		fuse_session_destroy(ADAFS_STEAL(fs->session));
		return adafs_err_set(reterr, -EIO, "cannot mount on '%s' (why stands above)",
				     fs->options->mountpoint);
	}
	return kernel_extend(fs->session, reterr);
}

/* They never wait for a service: a few are enough, and each holds a buffer of max_write. */
static int loop(struct fs *fs, struct adafs_err *reterr)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	if (!config)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	fuse_loop_cfg_set_max_threads(config, 6);
	fuse_loop_cfg_set_idle_threads(config, 6);
	int rc = fuse_session_loop_mt(fs->session, config);
	fuse_loop_cfg_destroy(config);
	return rc < 0 ? adafs_err_set(reterr, rc, "the session ended: %s", strerror(-rc)) : 0;
}

/*
 * Nobody serves any more: whoever looks the mount up shall not wait for what is still to be done.
 * libfuse would unmount the path once more, and by then another mount may lie there; a descriptor
 * that says that its other end is gone keeps it from that, as it does after an unmount from
 * outside.
 */
static void detach_mount(struct fs *fs)
{
	const char *path = fs->options->mountpoint;
	int rc = mountpoint_is_ours(path) ? mountpoint_unmount(path, true) : 0;
	if (rc < 0)
		adafs_log(WARN, "fs", "cannot unmount '%s': %s", path, strerror(-rc));
	else
		fs->detached = true;
}

static void end_session(struct fs *fs)
{
	int fd[2];
	if (fs->detached && pipe2(fd, O_CLOEXEC) == 0) {
		close(fd[0]);
		dup3(fd[1], fuse_session_fd(fs->session), O_CLOEXEC);
		close(fd[1]);
	}
	fuse_session_unmount(fs->session);
	fuse_session_destroy(ADAFS_STEAL(fs->session));
}

static int serve(struct fs *fs, struct signals *signals, struct adafs_err *reterr)
{
	signals_serve(signals);
	supervisor_tell("READY=1");
	int rc = loop(fs, reterr);
	/* While calls are still answered: it may wait for one. */
	notify_stop(fs->notify);
	signals_wind_up(signals);
	supervisor_tell("STOPPING=1");
	if (__atomic_load_n(&fs->ending, __ATOMIC_ACQUIRE))
		detach_mount(fs);
	return rc;
}

/* Everything that threads did is over before the session, which their replies need, is freed. */
static void take_down(struct fs *fs, const struct session_hooks *hooks)
{
	const uint32_t timeout_ms =
		fs->options->io_timeout_ms ? fs->options->io_timeout_ms : DEFAULT_IO_TIMEOUT_MS;
	/* What closed files still have to do is bounded by io_timeout; reads that hang are
	 * cancelled after it. */
	pollers_stop(fs->pollers);
	if (fs->calls)
		calls_stop(fs->calls, timeout_ms + 2000);
	workers_free(ADAFS_STEAL(fs->workers));
	if (hooks->stop)
		hooks->stop(fs, hooks->arg);
	notify_stop(fs->notify);
	if (fs->cache)
		cache_stop(fs->cache);
	/* Only now: it closes the descriptor that replies are written to. */
	if (fs->session)
		end_session(fs);
	free_state(fs);
}

static void tell(int fd, int rc, const struct adafs_err *err)
{
	if (fd < 0)
		return;
	struct outcome o = { .rc = rc };
	if (rc)
		snprintf(o.msg, sizeof(o.msg), "%s", err->msg);
	if (adafs_write_all(fd, &o, sizeof(o)))
		adafs_log(WARN, "fs", "the process that started the mount is gone");
}

/* A daemon has no terminal and does not keep the directory it was started in. */
static void detach(void)
{
	adafs_log_use_syslog("adafs");
	if (chdir("/"))
		adafs_log(WARN, "fs", "cannot leave the current directory: %s", strerror(errno));
	int fd = open("/dev/null", O_RDWR);
	if (fd < 0)
		return;
	dup2(fd, 0);
	dup2(fd, 1);
	dup2(fd, 2);
	if (fd > 2)
		close(fd);
}

static int prepare(struct fs *fs, const struct session_hooks *hooks, struct signals *signals,
		   struct adafs_err *reterr)
{
	int rc = make_state(fs, reterr);
	if (!rc && hooks->start)
		rc = hooks->start(fs, hooks->arg, reterr);
	if (rc)
		return rc;
	signals_hold(signals);
	rc = make_session(fs, reterr);
	return rc ? rc : notify_start(fs->notify, reterr);
}

/* In the process that serves. ready_fd -1: in the foreground. */
static int run(struct fs *fs, const struct session_hooks *hooks, int ready_fd,
	       struct adafs_err *reterr)
{
	/* A write to a connection or pipe whose other end is gone is an errno, not the end. */
	signal(SIGPIPE, SIG_IGN);
	struct signals *signals = signals_start(fs, hooks, reterr);
	int rc = signals ? prepare(fs, hooks, signals, reterr) : reterr->rc;
	if (rc) {
		take_down(fs, hooks);
		signals_stop(signals);
		tell(ready_fd, rc, reterr);
		return rc;
	}
	tell(ready_fd, 0, NULL);
	if (ready_fd >= 0) {
		close(ready_fd);
		detach();
	}
	adafs_log(INFO, "fs", "mounted on '%s'", fs->options->mountpoint);
	rc = serve(fs, signals, reterr);
	take_down(fs, hooks);
	signals_stop(signals);
	adafs_log(INFO, "fs", "unmounted '%s'", fs->options->mountpoint);
	/* What others had open for writing when a signal ended it is never released, so the memory
	 * of it is nobody's to free. */
	if (fs->ending)
		_exit(rc ? 1 : 0);
	return rc;
}

/* --- the process that was called -------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void note_interrupt(int sig)
{
	interrupted = sig;
}

/* Signals of the caller, which come only while it waits: *ret_old is the mask to wait with. */
static void hold_interrupts(sigset_t *ret_old)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	const struct sigaction note = { .sa_handler = note_interrupt };
	struct sigaction old;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(signals); i++) {
		sigaction(signals[i], NULL, &old);
		if (old.sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &note, NULL);
		sigaddset(&set, signals[i]);
	}
	pthread_sigmask(SIG_BLOCK, &set, ret_old);
}

/* The child's outcome. -EINTR: a signal came first; -EIO: it ended without a word. */
static int read_outcome(int fd, const sigset_t *waiting, struct outcome *ret)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t have = 0;

	while (have < sizeof(*ret)) {
		if (ppoll(&p, 1, NULL, waiting) < 0 && errno == EINTR) {
			if (interrupted)
				return -EINTR;
			continue;
		}
		ssize_t n = read(fd, (char *)ret + have, sizeof(*ret) - have);
		if (n <= 0)
			return -EIO;
		have += (size_t)n;
	}
	return 0;
}

/* The parent's part: 0 when the mount has answered. */
static int wait_mounted(const struct options *o, int fd, pid_t child, const sigset_t *waiting,
			struct adafs_err *reterr)
{
	struct outcome out;
	struct stat st;
	int status = 0, rc = read_outcome(fd, waiting, &out);

	if (rc == -EINTR) {
		/* Nothing is left behind: before the mount is made it just ends, and afterwards it
		 * unmounts. */
		kill(child, SIGTERM);
		waitpid(child, &status, 0);
		return adafs_err_set(reterr, rc, "interrupted: %s; nothing is mounted",
				     strsignal(interrupted));
	}
	if (rc < 0) {
		waitpid(child, &status, 0);
		return adafs_err_set(reterr, rc, "the mount's process ended early (%s %d)",
				     WIFSIGNALED(status) ? "signal" : "status",
				     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	}
	if (out.rc)
		return adafs_err_set(reterr, out.rc, "%s", out.msg);
	if (stat(o->mountpoint, &st))
		return adafs_err_set(reterr, -errno, "'%s' does not answer: %s", o->mountpoint,
				     strerror(errno));
	return 0;
}

int session_run(struct fs *fs, const struct session_hooks *hooks, struct adafs_err *reterr)
{
	sigset_t waiting;
	int fd[2];

	if (fs->options->foreground || fs->options->debug)
		return run(fs, hooks, -1, reterr);
	if (pipe2(fd, O_CLOEXEC))
		return adafs_err_set(reterr, -errno, "cannot make a pipe: %s", strerror(errno));
	hold_interrupts(&waiting);
	pid_t child = fork();
	if (child < 0) {
		int rc = -errno;
		close(fd[0]);
		close(fd[1]);
		return adafs_err_set(reterr, rc, "cannot fork: %s", strerror(-rc));
	}
	if (child == 0) {
		close(fd[0]);
		setsid();
		struct adafs_err err = { 0 };
		int rc = run(fs, hooks, fd[1], &err);
		if (rc)
			adafs_log(ERROR, "fs", "%s", err.msg);
		exit(rc ? 1 : 0);
	}
	close(fd[1]);
	int rc = wait_mounted(fs->options, fd[0], child, &waiting, reterr);
	close(fd[0]);
	return rc;
}
