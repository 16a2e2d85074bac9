/*
 * fs/mount/umount_command.c - `adafs umount`, and umount.fuse.adafs as umount(8) calls it: wait
 * until files being written are closed, unmount, wait until the mount's process has handed over
 * what came of them and ended.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "fs/program/commands.h"
#include "fs/mount/holders.h"
#include "fs/mount/mountpoint.h"

#define DEFAULT_WAIT_S 60 /* below the 90 s that systemd gives an unmount */
#define LOOK_MS 100
#define WORDS_MS 5000 /* between two words of progress */
#define ASK_MS 2000
#define MAX_UNSEEN 5

struct umount {
	char *path;
	bool helper, lazy, force, quiet;
	uint64_t deadline_ms, next_words_ms;
	unsigned n_unseen; /* looks that found nobody who keeps it busy */
};

static int fail(int status, const char *text)
{
	fprintf(stderr, "adafs: %s\n", text);
	return status;
}

static void nap(unsigned ms)
{
	const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&t, NULL);
}

/* Words of progress: the first at once, then one now and then. */
static void say(struct umount *u, const char *what, const char *whom)
{
	uint64_t now_ms = adafs_clock_mono_ms();

	if (u->quiet || now_ms < u->next_words_ms)
		return;
	fprintf(stderr, "adafs: %s: %s%s; %llu s left\n", u->path, what, whom,
		(unsigned long long)(u->deadline_ms > now_ms
					     ? (u->deadline_ms - now_ms + 999) / 1000
					     : 0));
	u->next_words_ms = now_ms + WORDS_MS;
}

/* --- the mount's process -------------------------------------------------------------------- */

/* Who asks a mount that does not answer cannot be interrupted: that is left to a thread. */
struct question {
	char path[4096];
	pid_t pid; /* 0: no answer yet */
};

static void *ask_main(void *arg)
{
	struct question *q = arg;
	char text[32];
	ssize_t n = getxattr(q->path, "user.adafs.pid", text, sizeof(text) - 1);

	if (n > 0) {
		text[n] = '\0';
		__atomic_store_n(&q->pid, (pid_t)strtol(text, NULL, 10), __ATOMIC_RELEASE);
	} else {
		__atomic_store_n(&q->pid, -1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* A descriptor that becomes readable when the mount's process ends; -1: it is not known. */
static int watch_process(const char *path)
{
	static struct question q; /* outlives a thread that hangs */
	uint64_t deadline_ms = adafs_clock_mono_ms() + ASK_MS;
	pthread_t thread;
	pid_t pid;

	snprintf(q.path, sizeof(q.path), "%s", path);
	if (pthread_create(&thread, NULL, ask_main, &q))
		return -1;
	pthread_detach(thread);
	while ((pid = __atomic_load_n(&q.pid, __ATOMIC_ACQUIRE)) == 0 &&
	       adafs_clock_mono_ms() < deadline_ms)
		nap(1);
	return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

static int wait_end(struct umount *u, int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	u->next_words_ms = adafs_clock_mono_ms() + 1000;
	while (poll(&p, 1, LOOK_MS) == 0) {
		if (adafs_clock_mono_ms() > u->deadline_ms) {
			fprintf(stderr,
				"adafs: %s is unmounted; its process still hands over what was written, and "
				"the next mount goes on with what it leaves\n",
				u->path);
			return EXIT_OK;
		}
		say(u, "unmounted; waiting until jobs of what was written are submitted", "");
	}
	return EXIT_OK;
}

/* --- unmounting ----------------------------------------------------------------------------- */

static int say_busy(const struct umount *u, const struct holders *h)
{
	if (h->n)
		fprintf(stderr, "adafs: %s is busy: %s\n", u->path, adafs_buf_str(&h->text));
	else if (mountpoint_has_below(u->path))
		fprintf(stderr, "adafs: %s is busy: something is mounted below it\n", u->path);
	else
		fprintf(stderr, "adafs: %s is busy: by a process that %s\n", u->path,
			geteuid() ? "only root can see" : "is in another namespace");
	return EXIT_MOUNT;
}

/* -EBUSY: files are open for writing and there is time left, or it is worth another try. Else the
 * exit status. */
static int try_once(struct umount *u)
{
	struct holders h;
	int rc = mountpoint_unmount(u->path, false);

	if (rc == 0)
		return EXIT_OK;
	if (rc != -EBUSY) {
		fprintf(stderr, "adafs: cannot unmount %s: %s\n", u->path, strerror(-rc));
		return rc == -EPERM ? EXIT_USAGE : EXIT_MOUNT;
	}
	if (holders_find(u->path, &h) < 0)
		return fail(EXIT_SYSTEM, "out of memory");
	if (!h.n && u->n_unseen++ < MAX_UNSEEN) {
		rc = -EBUSY; /* who did may just have gone */
	} else if (h.n_writes && adafs_clock_mono_ms() < u->deadline_ms) {
		say(u, "waiting for files being written: ", adafs_buf_str(&h.text));
		rc = -EBUSY;
	} else {
		rc = say_busy(u, &h);
	}
	holders_clear(&h);
	return rc;
}

static int unmount_now(const struct umount *u)
{
	int rc = u->force && umount2(u->path, MNT_FORCE | UMOUNT_NOFOLLOW) == 0
			 ? 0
			 : mountpoint_unmount(u->path, true);

	if (rc == 0)
		return EXIT_OK;
	fprintf(stderr, "adafs: cannot unmount %s: %s\n", u->path, strerror(-rc));
	return EXIT_MOUNT;
}

static int run(struct umount *u)
{
	int status;

	if (!mountpoint_is_ours(u->path)) {
		fprintf(stderr, "adafs: no adafs is mounted on %s\n", u->path);
		return EXIT_MOUNT;
	}
	if (u->lazy || u->force)
		return unmount_now(u);
	ADAFS_CLOSE int pidfd = watch_process(u->path);
	while ((status = try_once(u)) == -EBUSY)
		nap(LOOK_MS);
	return status == EXIT_OK && pidfd >= 0 ? wait_end(u, pidfd) : status;
}

/* --- arguments ------------------------------------------------------------------------------ */

static int usage(const struct umount *u)
{
	fputs(u->helper ? "usage: umount.fuse.adafs MOUNTPOINT [-flnrv] [-N namespace] [-t type]\n"
			: "usage: adafs umount [-l | -f] [-q] [-w SECONDS] MOUNTPOINT\n",
	      stderr);
	return EXIT_USAGE;
}

static int parse_wait(struct umount *u, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds >= 0 && seconds <= 86400)) {
		fprintf(stderr, "adafs: -w %s: use seconds from 0 to 86400\n", text);
		return EXIT_USAGE;
	}
	u->deadline_ms = adafs_clock_mono_ms() + (uint64_t)(seconds * 1000);
	return EXIT_OK;
}

static int parse(struct umount *u, int argc, char **argv)
{
	const char *letters = u->helper ? "flnrvN:t:" : "flqw:h";
	int c;

	while ((c = getopt(argc, argv, letters)) != -1) {
		if (c == 'l')
			u->lazy = true;
		else if (c == 'f')
			u->force = true;
		else if (c == 'q')
			u->quiet = true;
		else if (c == 'w' && parse_wait(u, optarg) != EXIT_OK)
			return EXIT_USAGE;
		else if (c == 'r')
			return fail(
				EXIT_USAGE,
				"-r: an adafs is not remounted; unmount it, and mount it with -o ro");
		else if (c == 'N')
			return fail(EXIT_USAGE, "-N: enter the namespace with nsenter(1) instead");
		else if (c == '?' || c == 'h')
			return usage(u);
	}
	if (optind != argc - 1)
		return usage(u);
	u->path = strdup(argv[optind]);
	if (!u->path)
		return fail(EXIT_SYSTEM, "out of memory");
	int rc = mountpoint_absolute(&u->path);
	if (rc == 0)
		return EXIT_OK;
	fprintf(stderr, "adafs: %s: %s\n", u->path, strerror(-rc));
	return EXIT_USAGE;
}

int command_umount(int argc, char **argv, bool helper)
{
	struct umount u = { .helper = helper,
			    .deadline_ms = adafs_clock_mono_ms() + DEFAULT_WAIT_S * 1000 };
	int status = parse(&u, argc, argv);

	if (status == EXIT_OK)
		status = run(&u);
	free(u.path);
	return status;
}
