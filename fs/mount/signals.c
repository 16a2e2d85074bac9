/*
 * signals.c - see signals.h. Only `phase` is shared with the thread that serves; all else is the
 * taking thread's own.
 */
#include "fs/mount/signals.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"
#include "fs/mount/mountpoint.h"

#define LOOK_MS 50

enum phase { PHASE_START, PHASE_HOLD, PHASE_SERVE, PHASE_WIND_UP, PHASE_STOP };

struct signals {
	struct fs *fs;
	const struct session_hooks *hooks;
	pthread_t thread, server;
	sigset_t set;
	bool hangup_ends;
	enum phase phase; /* atomic */
	/* Held while the session is touched, and to say that it winds up: after that it may be
	 * gone. */
	struct adafs_mutex session_lock; /* rank LEAF */
	/* The thread's own. */
	bool asked;   /* to end */
	bool hung_up; /* before it served: then once it does */
	uint64_t deadline_ms;
};

static enum phase phase_of(const struct signals *s)
{
	return __atomic_load_n(&s->phase, __ATOMIC_ACQUIRE);
}

static unsigned writers(const struct fs *fs)
{
	return __atomic_load_n(&fs->n_writers, __ATOMIC_ACQUIRE);
}

static void do_nothing(int sig)
{
	(void)sig;
}

static void ask_end(struct signals *s, int sig)
{
	s->asked = true;
	s->deadline_ms = adafs_clock_mono_ms() + s->fs->options->io_timeout_ms;
	__atomic_store_n(&s->fs->ending, true, __ATOMIC_RELEASE);
	adafs_log(WARN, "fs", "%s: the mount of '%s' ends; %u files are open for writing",
		  strsignal(sig), s->fs->options->mountpoint, writers(s->fs));
}

static void on_end_signal(struct signals *s, int sig)
{
	switch (phase_of(s)) {
	case PHASE_START:
		adafs_log(WARN, "fs", "%s: nothing is mounted", strsignal(sig));
		quick_exit(128 + sig);
	case PHASE_HOLD:
	case PHASE_SERVE:
		if (!s->asked)
			ask_end(s, sig);
		else
			s->deadline_ms = 0;
		break;
	case PHASE_WIND_UP:
		adafs_log(WARN, "fs",
			  "%s again: ending at once; the next mount submits what is left",
			  strsignal(sig));
		if (mountpoint_is_ours(s->fs->options->mountpoint))
			(void)!mountpoint_unmount(s->fs->options->mountpoint, true);
		quick_exit(128 + sig);
	case PHASE_STOP:
		break;
	}
}

static void on_hangup(struct signals *s)
{
	if (s->hangup_ends)
		on_end_signal(s, SIGHUP);
	else
		s->hung_up = true;
}

static void reload_if_wanted(struct signals *s)
{
	if (!s->hung_up || phase_of(s) != PHASE_SERVE)
		return;
	s->hung_up = false;
	if (s->hooks->reload)
		s->hooks->reload(s->fs, s->hooks->arg);
}

/* Once what is being written is closed, or must not be waited for: again and again until the loop
 * has noticed. */
static void look_whether_over(struct signals *s)
{
	if (writers(s->fs) && adafs_clock_mono_ms() < s->deadline_ms)
		return;
	adafs_mutex_lock(&s->session_lock);
	if (phase_of(s) == PHASE_SERVE) {
		fuse_session_exit(s->fs->session);
		pthread_kill(s->server, SIGUSR2);
	}
	adafs_mutex_unlock(&s->session_lock);
}

static void *signals_main(void *arg)
{
	struct signals *s = arg;
	const struct timespec look = { .tv_nsec = LOOK_MS * 1000000L };

	while (phase_of(s) != PHASE_STOP) {
		bool ending = s->asked && phase_of(s) <= PHASE_SERVE;
		int sig = ending ? sigtimedwait(&s->set, NULL, &look) : sigwaitinfo(&s->set, NULL);
		if (sig == SIGHUP)
			on_hangup(s);
		else if (sig == SIGTERM || sig == SIGINT || sig == SIGQUIT)
			on_end_signal(s, sig);
		reload_if_wanted(s);
		if (s->asked)
			look_whether_over(s);
	}
	return NULL;
}

/* What the starter of this process ignores (nohup, a shell's background jobs) stays ignored. */
static void make_set(sigset_t *ret)
{
	static const int ending[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	struct sigaction old;

	sigemptyset(ret);
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(ending); i++)
		if (sigaction(ending[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaddset(ret, ending[i]);
	/* Wakes the thread; from anybody else it does nothing. */
	sigaddset(ret, SIGUSR1);
}

struct signals *signals_start(struct fs *fs, const struct session_hooks *hooks,
			      struct adafs_err *reterr)
{
	const struct sigaction wake = { .sa_handler = do_nothing };
	struct signals *s = calloc(1, sizeof(*s));

	if (!s) {
		adafs_err_set(reterr, -ENOMEM, "out of memory");
		return NULL;
	}
	s->fs = fs;
	s->hooks = hooks;
	adafs_mutex_init(&s->session_lock, ADAFS_RANK_LEAF);
	s->hangup_ends = fs->options->foreground && (isatty(0) || isatty(1) || isatty(2));
	make_set(&s->set);
	pthread_sigmask(SIG_BLOCK, &s->set, NULL);
	sigaction(SIGUSR2, &wake, NULL);
	int rc = pthread_create(&s->thread, NULL, signals_main, s);
	if (rc) {
		adafs_err_set(reterr, -rc, "cannot start a thread: %s", strerror(rc));
		adafs_mutex_clear(&s->session_lock);
		free(s);
		return NULL;
	}
	return s;
}

static void set_phase(struct signals *s, enum phase phase)
{
	__atomic_store_n(&s->phase, phase, __ATOMIC_RELEASE);
	pthread_kill(s->thread, SIGUSR1);
}

void signals_hold(struct signals *s)
{
	set_phase(s, PHASE_HOLD);
}

void signals_serve(struct signals *s)
{
	s->server = pthread_self();
	set_phase(s, PHASE_SERVE);
}

void signals_wind_up(struct signals *s)
{
	adafs_mutex_lock(&s->session_lock);
	set_phase(s, PHASE_WIND_UP);
	adafs_mutex_unlock(&s->session_lock);
}

void signals_stop(struct signals *s)
{
	if (!s)
		return;
	set_phase(s, PHASE_STOP);
	pthread_join(s->thread, NULL);
	adafs_mutex_clear(&s->session_lock);
	free(s);
}
