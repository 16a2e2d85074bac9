/*
 * poll.c - see poll.h. A poller is in the list until it is woken or its handle is released. `busy`
 * means that somebody looks at its handle without the lock; who clears it sees `gone` and frees the
 * poller then.
 */
#include "fs/kernel/poll.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"
#include "fs/kernel/op.h"
#include "fs/kernel/workers.h"

#define SLOW_LOOK_MS 500

/* Of files that are always ready, as the kernel answers for them itself. */
#define ALWAYS (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)

struct poller {
	struct poller *next;
	struct pollers *all;
	struct handle *handle; /* a reference */
	struct fuse_pollhandle *ph;
	bool busy, gone, slow;
	uint64_t looked_ms; /* when a service was asked */
	uint64_t round;
};

struct pollers {
	struct fs *fs;
	struct adafs_mutex lock; /* rank QUEUE */
	struct adafs_cond news_avail;
	struct poller *list;
	bool news, running, stopping;
	uint64_t round;
	pthread_t thread;
};

static void *pollers_main(void *arg);

static void poller_free(struct poller *p)
{
	fuse_pollhandle_destroy(p->ph);
	handle_unref(p->all->fs, p->handle);
	free(p);
}

static void unlink_locked(struct poller *p)
{
	struct poller **at = &p->all->list;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
}

/* --- looking ---------------------------------------------------------------------------------- */

/* What is there now: revents, 0 for nothing yet, -EWOULDBLOCK when a service has to be asked. */
static int look(struct poller *p, bool may_wait)
{
	struct call c = { .fs = p->all->fs, .may_wait = may_wait };
	unsigned revents = 0;
	int rc = p->handle->ops->poll(&c, p->handle, &revents);

	return rc == 0 || rc == -EWOULDBLOCK ? rc ? rc : (int)revents : POLLERR;
}

/* A look has ended. The lock is held before and after, not while the kernel is told. */
static void looked_locked(struct poller *p, int outcome) ADAFS_UNCHECKED
{
	struct pollers *all = p->all;

	p->busy = false;
	if (!p->gone && outcome <= 0)
		return;
	if (!p->gone)
		unlink_locked(p);
	adafs_mutex_unlock(&all->lock);
	if (!p->gone)
		fuse_lowlevel_notify_poll(p->ph);
	poller_free(p);
	adafs_mutex_lock(&all->lock);
}

static void look_on_worker(void *arg)
{
	struct poller *p = arg;
	struct pollers *all = p->all;
	int outcome = look(p, true);

	adafs_mutex_lock(&all->lock);
	looked_locked(p, outcome);
	adafs_mutex_unlock(&all->lock);
	calls_end(all->fs);
}

/* Ask the service about it, unless that was done a moment ago. It is busy. */
static void look_slowly_locked(struct poller *p, uint64_t now_ms) ADAFS_UNCHECKED
{
	struct pollers *all = p->all;

	p->slow = true;
	if (now_ms - p->looked_ms < SLOW_LOOK_MS) {
		looked_locked(p, 0);
		return;
	}
	p->looked_ms = now_ms;
	adafs_mutex_unlock(&all->lock);
	calls_begin(all->fs);
	int rc = workers_run(all->fs->workers, look_on_worker, p);
	if (rc)
		calls_end(all->fs);
	adafs_mutex_lock(&all->lock);
	if (rc)
		looked_locked(p, 0);
}

/* The next one that was not looked at in this round; NULL: none. */
static struct poller *next_locked(struct pollers *all)
{
	struct poller *p = all->list;

	while (p && (p->busy || p->round == all->round))
		p = p->next;
	return p;
}

static void look_at_all_locked(struct pollers *all) ADAFS_UNCHECKED
{
	uint64_t now_ms = adafs_clock_mono_ms();

	all->news = false;
	all->round++;
	for (struct poller *p; !all->stopping && (p = next_locked(all));) {
		p->busy = true;
		p->round = all->round;
		adafs_mutex_unlock(&all->lock);
		int outcome = look(p, false);
		adafs_mutex_lock(&all->lock);
		if (outcome == -EWOULDBLOCK && !p->gone)
			look_slowly_locked(p, now_ms);
		else
			looked_locked(p, outcome);
	}
}

static bool any_slow_locked(const struct pollers *all)
{
	for (const struct poller *p = all->list; p; p = p->next)
		if (p->slow)
			return true;
	return false;
}

static void *pollers_main(void *arg)
{
	struct pollers *all = arg;

	adafs_mutex_lock(&all->lock);
	while (!all->stopping) {
		if (all->news)
			look_at_all_locked(all);
		else if (!any_slow_locked(all))
			adafs_cond_wait(&all->news_avail, &all->lock);
		else if (adafs_cond_wait_until(&all->news_avail, &all->lock,
					       adafs_clock_mono_ms() + SLOW_LOOK_MS / 2))
			all->news = true;
	}
	adafs_mutex_unlock(&all->lock);
	return NULL;
}

/* --- the list --------------------------------------------------------------------------------- */

struct pollers *pollers_new(struct fs *fs)
{
	struct pollers *all = calloc(1, sizeof(*all));

	if (!all)
		return NULL;
	all->fs = fs;
	adafs_mutex_init(&all->lock, ADAFS_RANK_QUEUE);
	adafs_cond_init(&all->news_avail);
	return all;
}

static void wake_locked(struct pollers *all)
{
	all->news = true;
	adafs_cond_signal(&all->news_avail);
}

void pollers_changed(struct pollers *all)
{
	adafs_mutex_lock(&all->lock);
	if (all->list)
		wake_locked(all);
	adafs_mutex_unlock(&all->lock);
}

/* Signals are for one thread only. */
static int start_thread_locked(struct pollers *all)
{
	sigset_t set, old;

	sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, &old);
	int rc = pthread_create(&all->thread, NULL, pollers_main, all);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	all->running = rc == 0;
	return -rc;
}

/* Wake ph when there is something. Takes it over. 0 or negative errno. */
static int add(struct pollers *all, struct handle *h, struct fuse_pollhandle *ph)
{
	struct poller *fresh = calloc(1, sizeof(*fresh)), *p;
	struct fuse_pollhandle *unused = ph;
	int rc = fresh ? 0 : -ENOMEM;

	adafs_mutex_lock(&all->lock);
	for (p = all->list; p && p->handle != h;)
		p = p->next;
	if (rc == 0 && !all->running && !all->stopping)
		rc = start_thread_locked(all);
	if (p) {
		unused = p->ph;
		p->ph = ph;
		rc = 0;
	} else if (rc == 0) {
		*fresh = (struct poller){
			.next = all->list, .all = all, .handle = handle_ref(h), .ph = ph
		};
		all->list = ADAFS_STEAL(fresh);
		unused = NULL;
	}
	/* Something may have come since the caller looked. */
	wake_locked(all);
	adafs_mutex_unlock(&all->lock);
	if (unused)
		fuse_pollhandle_destroy(unused);
	free(fresh);
	return rc;
}

void pollers_drop(struct pollers *all, struct handle *h)
{
	struct poller *p;

	adafs_mutex_lock(&all->lock);
	for (p = all->list; p && p->handle != h;)
		p = p->next;
	if (p) {
		unlink_locked(p);
		p->gone = true;
		if (p->busy)
			p = NULL;
	}
	adafs_mutex_unlock(&all->lock);
	if (p)
		poller_free(p);
}

void pollers_stop(struct pollers *all)
{
	if (!all)
		return;
	adafs_mutex_lock(&all->lock);
	all->stopping = true;
	bool running = all->running;
	adafs_cond_signal(&all->news_avail);
	adafs_mutex_unlock(&all->lock);
	if (running)
		pthread_join(all->thread, NULL);
	all->running = false;
}

void pollers_free(struct pollers *all)
{
	if (!all)
		return;
	while (all->list) {
		struct poller *p = all->list;
		all->list = p->next;
		poller_free(p);
	}
	adafs_cond_clear(&all->news_avail);
	adafs_mutex_clear(&all->lock);
	free(all);
}

/* --- POLL ------------------------------------------------------------------------------------- */

static void reply_poll(struct op *op)
{
	fuse_reply_poll(op->req, op->flags);
}

/* Whoever waits is never kept waiting here: what a service has to be asked for is looked at
 * afterwards. */
static int run_poll(struct op *op)
{
	struct fuse_pollhandle *ph = ADAFS_STEAL(op->poll);
	unsigned revents = 0;
	int rc = op->handle->ops->poll(&op->call, op->handle, &revents);

	if (rc == -EWOULDBLOCK && !ph)
		return rc;
	if (rc < 0 && rc != -EWOULDBLOCK)
		revents = POLLERR;
	if (ph && !revents && add(op->call.fs->pollers, op->handle, ph) < 0)
		revents = POLLERR;
	else if (ph && revents)
		fuse_pollhandle_destroy(ph);
	op->flags = revents;
	return 0;
}

void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
	static const struct op_kind kind = { "poll", .run = run_poll, .reply = reply_poll };
	struct node *n = op_node(req, ino);
	struct handle *h = n->ops->list ? NULL : (struct handle *)(uintptr_t)fi->fh;

	if (!h || !h->ops->poll) {
		if (ph)
			fuse_pollhandle_destroy(ph);
		fuse_reply_poll(req, ALWAYS);
		return;
	}
	struct op *op = op_new(req, &kind, n);
	if (!op) {
		if (ph)
			fuse_pollhandle_destroy(ph);
		return;
	}
	op->handle = handle_ref(h);
	op->poll = ph;
	op_start(op);
}
