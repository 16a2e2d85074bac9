/*
 * session.c - make the shared state, fork, mount, serve, unmount, take everything down again. The parent waits on a
 * pipe for the child's outcome, then asks the mountpoint itself: it returns when the mount answers.
 */
#include "fs/session.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "batch/base/file.h"
#include "batch/base/log.h"
#include "fs/blobs.h"
#include "fs/cache.h"
#include "fs/op.h"
#include "fs/ops.h"
#include "fs/spool.h"
#include "fs/tree/root.h"
#include "fs/workers.h"

#define MAX_WORKERS 128
#define CACHE_BYTES ((size_t)64 * 1024 * 1024)
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
		return adafs_err_set(reterr, rc, "cannot make '%s': %s", fs->spool_dir, strerror(-rc));
	fs->nodes = node_table_new();
	fs->cache = cache_new(CACHE_BYTES);
	fs->blobs = blobs_new(fs);
	fs->spool = spool_space_new(fs->options->cache_size);
	if (!fs->nodes || !fs->cache || !fs->blobs || !fs->spool)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (!(fs->calls = calls_new(reterr)) || !(fs->workers = workers_new(MAX_WORKERS, reterr)))
		return -ENOMEM;
	rc = calls_start(fs->calls, reterr);
	if (rc)
		return rc;
	fs->root = root_new(fs);
	return fs->root ? 0 : adafs_err_set(reterr, -ENOMEM, "out of memory for the root directory");
}

static void free_state(struct fs *fs)
{
	workers_free(ADAFS_STEAL(fs->workers));
	node_table_free(ADAFS_STEAL(fs->nodes));
	fs->root = NULL;
	calls_free(ADAFS_STEAL(fs->calls));
	blobs_free(ADAFS_STEAL(fs->blobs));
	cache_free(ADAFS_STEAL(fs->cache));
	spool_space_free(ADAFS_STEAL(fs->spool));
}

/* libfuse's own arguments. fsname and subtype first, so that the user's win. */
static int make_args(const struct fs *fs, struct fuse_args *args)
{
	const struct options *o = fs->options;
	ADAFS_FREE char *names = adafs_fmt("-osubtype=adafs,fsname=%s", o->source ? o->source : "adafs");
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
		return adafs_err_set(reterr, -EIO, "cannot mount on '%s'", fs->options->mountpoint);
	}
	return kernel_extend(fs->session, reterr);
}

/* Signals that end the mount: threads are born with them blocked, so they reach the main thread. */
static void end_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGHUP);
	sigaddset(ret, SIGINT);
	sigaddset(ret, SIGTERM);
	sigaddset(ret, SIGQUIT);
}

static int serve(struct fs *fs, struct adafs_err *reterr)
{
	sigset_t ending;
	end_signals(&ending);
	if (fuse_set_signal_handlers(fs->session))
		return adafs_err_set(reterr, -EIO, "cannot set signal handlers");
	pthread_sigmask(SIG_UNBLOCK, &ending, NULL);
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	if (!config) {
		fuse_remove_signal_handlers(fs->session);
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	/* They never wait for a service: a few are enough, and each holds a buffer of max_write. */
	fuse_loop_cfg_set_max_threads(config, 6);
	fuse_loop_cfg_set_idle_threads(config, 6);
	int rc = fuse_session_loop_mt(fs->session, config);
	fuse_loop_cfg_destroy(config);
	fuse_remove_signal_handlers(fs->session);
	/* Positive: ended by a signal, as asked. */
	return rc < 0 ? adafs_err_set(reterr, rc, "the session ended: %s", strerror(-rc)) : 0;
}

/* Everything that threads did is over before the session, which their replies need, is freed. */
static void take_down(struct fs *fs, const struct session_hooks *hooks)
{
	const uint32_t timeout_ms = fs->options->io_timeout_ms ? fs->options->io_timeout_ms
							       : DEFAULT_IO_TIMEOUT_MS;
	/* What closed files still have to do is bounded by io_timeout; reads that hang are cancelled after it. */
	if (fs->calls)
		calls_stop(fs->calls, timeout_ms + 2000);
	workers_free(ADAFS_STEAL(fs->workers));
	if (hooks->stop)
		hooks->stop(fs, hooks->arg);
	/* Only now: it closes the descriptor that replies are written to. */
	if (fs->session) {
		fuse_session_unmount(fs->session);
		fuse_session_destroy(ADAFS_STEAL(fs->session));
	}
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

/* In the process that serves. ready_fd -1: in the foreground. */
static int run(struct fs *fs, const struct session_hooks *hooks, int ready_fd, struct adafs_err *reterr)
{
	sigset_t ending;
	end_signals(&ending);
	pthread_sigmask(SIG_BLOCK, &ending, NULL);
	/* A write to a connection or pipe whose other end is gone is an errno, not the end. */
	signal(SIGPIPE, SIG_IGN);
	int rc = make_state(fs, reterr);
	if (!rc && hooks->start)
		rc = hooks->start(fs, hooks->arg, reterr);
	if (!rc)
		rc = make_session(fs, reterr);
	if (rc) {
		take_down(fs, hooks);
		tell(ready_fd, rc, reterr);
		return rc;
	}
	tell(ready_fd, 0, NULL);
	if (ready_fd >= 0) {
		close(ready_fd);
		detach();
	}
	adafs_log(INFO, "fs", "mounted on '%s'", fs->options->mountpoint);
	rc = serve(fs, reterr);
	take_down(fs, hooks);
	adafs_log(INFO, "fs", "unmounted '%s'", fs->options->mountpoint);
	return rc;
}

/* The parent's part: 0 when the mount has answered. */
static int wait_mounted(const struct options *o, int fd, pid_t child, struct adafs_err *reterr)
{
	struct outcome out;
	size_t have = 0;
	while (have < sizeof(out)) {
		ssize_t n = read(fd, (char *)&out + have, sizeof(out) - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	if (have < sizeof(out)) {
		int status = 0;
		waitpid(child, &status, 0);
		return adafs_err_set(reterr, -EIO, "the mount's process ended early (status %d)", status);
	}
	if (out.rc)
		return adafs_err_set(reterr, out.rc, "%s", out.msg);
	struct stat st;
	if (stat(o->mountpoint, &st))
		return adafs_err_set(reterr, -errno, "'%s' does not answer: %s", o->mountpoint,
				     strerror(errno));
	return 0;
}

int session_run(struct fs *fs, const struct session_hooks *hooks, struct adafs_err *reterr)
{
	if (fs->options->foreground || fs->options->debug)
		return run(fs, hooks, -1, reterr);
	int fd[2];
	if (pipe2(fd, O_CLOEXEC))
		return adafs_err_set(reterr, -errno, "cannot make a pipe: %s", strerror(errno));
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
	int rc = wait_mounted(fs->options, fd[0], child, reterr);
	close(fd[0]);
	return rc;
}
