/*
 * call.c - interrupts, and the count of calls under way.
 *
 * INTERRUPT comes for any signal, once a request. It is answered with EINTR only when the caller is
 * about to die or one of the signals that people end programs with is pending; else the op is put
 * on a watch list and looked at again, since the kernel will not tell a second time (SIGURG first,
 * SIGKILL later).
 *
 * libfuse runs the interrupt function with the request's lock held; fuse_req_interrupt_func(req,
 * NULL, NULL) takes the same lock, so once it returned no callback runs and the op may go.
 */
#include "fs/kernel/call.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"
#include "fs/kernel/op.h"

#define WATCH_MS 100
#define WATCH_MAX 32 /* looked at between two takings of the lock */
#define PF_EXITING_FLAG 0x00000004u
#define PF_SIGNALED_FLAG 0x00000400u

struct calls {
	struct adafs_mutex lock;
	struct adafs_cond changed;
	struct op *watch; /* interrupted calls whose caller seemed to go on */
	uint64_t round;   /* counts the watcher's looks at the list */
	unsigned n_live;
	pthread_t thread;
	bool running, stopping;
	bool draining; /* somebody waits for n_live to be 0 */
};

/*
 * Read a small file of /proc. Returns false when it is not there: another pid namespace, or gone.
 */
static bool read_proc(pid_t pid, const char *what, char *out, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	ADAFS_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, out, size - 1);
	if (n <= 0)
		return false;
	out[n] = 0;
	return true;
}

static unsigned task_flags(pid_t pid)
{
	char text[1024];
	if (pid <= 0 || !read_proc(pid, "stat", text, sizeof(text)))
		return 0;
	/* The command name may hold anything: fields are counted from its last parenthesis. */
	const char *p = strrchr(text, ')');
	unsigned flags = 0;
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1)
		return 0;
	return flags;
}

static uint64_t signal_mask(const char *status, const char *name)
{
	const char *p = strstr(status, name);
	return p ? strtoull(p + strlen(name), NULL, 16) : 0;
}

/* Whether a call of this thread should end now with EINTR. */
static bool caller_is_dying(pid_t pid, bool is_flush)
{
	if (pid <= 0)
		return false;
	if (task_flags(pid) & PF_EXITING_FLAG)
		return true;
	char text[4096];
	if (!read_proc(pid, "status", text, sizeof(text)))
		return true; /* the thread is gone */
	uint64_t pending = signal_mask(text, "\nSigPnd:") | signal_mask(text, "\nShdPnd:");
	uint64_t deadly = 0;
	static const int signals[] = { SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGKILL };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(signals); i++)
		deadly |= UINT64_C(1) << (signals[i] - 1);
	/* close(2) is worth waiting for in a program that handles the signal and goes on. */
	if (is_flush)
		deadly &= ~(signal_mask(text, "\nSigCgt:") | signal_mask(text, "\nSigIgn:"));
	return pending & deadly;
}

bool call_caller_killed(const struct call *c)
{
	return c->killed;
}

/* When the flush arrives: a dying caller does not wait for the answer, so later it may be gone. */
void calls_note_killed(struct op *op)
{
	op->call.killed = task_flags(op->call.pid) & PF_SIGNALED_FLAG;
}

void op_unref(struct op *op)
{
	struct calls *c = op->call.fs->calls;
	adafs_mutex_lock(&c->lock);
	bool last = --op->refs == 0;
	adafs_mutex_unlock(&c->lock);
	if (!last)
		return;
	free(op->own_name);
	free(op->own_name2);
	free(op->own_data);
	free(op->listed);
	adafs_buf_clear(&op->buf);
	free(op);
}

static void watch_add_locked(struct calls *c, struct op *op)
{
	if (op->watched)
		return;
	op->watched = true;
	op->watch_prev = NULL;
	op->watch_next = c->watch;
	if (c->watch)
		c->watch->watch_prev = op;
	c->watch = op;
	adafs_cond_broadcast(&c->changed);
}

static void watch_remove_locked(struct calls *c, struct op *op)
{
	if (!op->watched)
		return;
	op->watched = false;
	if (op->watch_prev)
		op->watch_prev->watch_next = op->watch_next;
	else
		c->watch = op->watch_next;
	if (op->watch_next)
		op->watch_next->watch_prev = op->watch_prev;
}

static bool claim_locked(struct calls *c, struct op *op)
{
	if (op->replied)
		return false;
	op->replied = true;
	watch_remove_locked(c, op);
	return true;
}

/*
 * Under the request's lock: the op lives, since op_done clears this function before it lets go.
 * From within fuse_req_interrupt_func (the interrupt overtook the request) it must not reply:
 * libfuse unlocks the request after it.
 */
static void on_interrupt(fuse_req_t req, void *arg)
{
	struct op *op = arg;
	struct calls *c = op->call.fs->calls;
	bool dying = caller_is_dying(op->call.pid, op->kind->is_flush);
	adafs_mutex_lock(&c->lock);
	bool mine = dying && op->may_interrupt && claim_locked(c, op);
	if (!mine && !op->replied)
		watch_add_locked(c, op);
	adafs_mutex_unlock(&c->lock);
	if (mine)
		fuse_reply_err(req, EINTR);
}

void calls_register(struct op *op)
{
	if (op->registered)
		return;
	struct calls *c = op->call.fs->calls;
	op->registered = true;
	fuse_req_interrupt_func(op->req, on_interrupt, op);
	adafs_mutex_lock(&c->lock);
	op->may_interrupt = true;
	adafs_mutex_unlock(&c->lock);
}

bool calls_claim(struct op *op)
{
	if (!op->registered)
		return true;
	struct calls *c = op->call.fs->calls;
	adafs_mutex_lock(&c->lock);
	bool mine = claim_locked(c, op);
	adafs_mutex_unlock(&c->lock);
	if (mine)
		fuse_req_interrupt_func(op->req, NULL, NULL);
	return mine;
}

/*
 * References to calls of the watch list that have not been looked at in this round; *ret_n of them.
 */
static void watch_copy_locked(struct calls *c, struct op *list[WATCH_MAX], size_t *ret_n)
{
	size_t n = 0;
	for (struct op *op = c->watch; op && n < WATCH_MAX; op = op->watch_next) {
		if (op->watch_round == c->round)
			continue;
		op->watch_round = c->round;
		op->refs++;
		list[n++] = op;
	}
	*ret_n = n;
}

/* End a watched call whose caller is about to die. /proc may be slow, so no lock is held. */
static void watch_look(struct calls *c, struct op *op)
{
	if (!caller_is_dying(op->call.pid, op->kind->is_flush))
		return;
	adafs_mutex_lock(&c->lock);
	bool mine = claim_locked(c, op);
	adafs_mutex_unlock(&c->lock);
	if (!mine)
		return;
	fuse_req_interrupt_func(op->req, NULL, NULL);
	fuse_reply_err(op->req, EINTR);
}

/* Look at every watched call once. */
static void watch_round(struct calls *c)
{
	struct op *list[WATCH_MAX];
	size_t n;
	adafs_mutex_lock(&c->lock);
	c->round++;
	do {
		watch_copy_locked(c, list, &n);
		adafs_mutex_unlock(&c->lock);
		for (size_t i = 0; i < n; i++) {
			watch_look(c, list[i]);
			op_unref(list[i]);
		}
		adafs_mutex_lock(&c->lock);
	} while (n == WATCH_MAX);
	adafs_mutex_unlock(&c->lock);
}

static void *watcher_main(void *arg)
{
	struct calls *c = arg;
	adafs_mutex_lock(&c->lock);
	while (!c->stopping) {
		if (!c->watch) {
			adafs_cond_wait(&c->changed, &c->lock);
			continue;
		}
		adafs_cond_wait_until(&c->changed, &c->lock, adafs_clock_mono_ms() + WATCH_MS);
		adafs_mutex_unlock(&c->lock);
		watch_round(c);
		adafs_mutex_lock(&c->lock);
	}
	adafs_mutex_unlock(&c->lock);
	return NULL;
}

struct calls *calls_new(struct adafs_err *reterr)
{
	struct calls *c = calloc(1, sizeof(*c));
	if (!c) {
		adafs_err_set(reterr, -ENOMEM, "out of memory");
		return NULL;
	}
	adafs_mutex_init(&c->lock, ADAFS_RANK_LEAF);
	adafs_cond_init(&c->changed);
	return c;
}

int calls_start(struct calls *c, struct adafs_err *reterr)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&c->thread, NULL, watcher_main, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return adafs_err_set(reterr, -rc, "cannot start a thread: %s", strerror(rc));
	c->running = true;
	return 0;
}

unsigned calls_stop(struct calls *c, uint32_t timeout_ms)
{
	uint64_t deadline = adafs_clock_mono_ms() + timeout_ms;
	adafs_mutex_lock(&c->lock);
	c->draining = true;
	while (c->n_live && !adafs_cond_wait_until(&c->changed, &c->lock, deadline))
		;
	unsigned left = c->n_live;
	c->stopping = true;
	adafs_cond_broadcast(&c->changed);
	adafs_mutex_unlock(&c->lock);
	if (c->running)
		pthread_join(c->thread, NULL);
	c->running = false;
	return left;
}

void calls_free(struct calls *c)
{
	if (!c)
		return;
	adafs_cond_clear(&c->changed);
	adafs_mutex_clear(&c->lock);
	free(c);
}

void calls_begin(struct fs *fs)
{
	adafs_mutex_lock(&fs->calls->lock);
	fs->calls->n_live++;
	adafs_mutex_unlock(&fs->calls->lock);
}

void calls_end(struct fs *fs)
{
	adafs_mutex_lock(&fs->calls->lock);
	if (--fs->calls->n_live == 0 && fs->calls->draining)
		adafs_cond_broadcast(&fs->calls->changed);
	adafs_mutex_unlock(&fs->calls->lock);
}
