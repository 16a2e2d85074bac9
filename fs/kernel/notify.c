/*
 * notify.c - the notifier: a queue and its thread.
 *
 * At the end of a mount its thread may hang in the kernel: it wants the lock of a directory, whose
 * holder waits for a LOOKUP that nobody would read any more. So the last thing that the session's
 * thread does is to read for it.
 */
#include "fs/kernel/notify.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"
#include "fs/blob/blobdir.h"
#include "fs/blob/blobs.h"
#include "fs/kernel/node.h"

#define MAX_QUEUED 4096
#define SERVE_EVERY_MS 20

/* One thing to tell. */
struct note {
	struct note *next;
	struct node *node; /* with a reference; NULL: about a blob */
	bool attributes;
	char *container, *prefix, *etag;
	struct blob_entry **entry; /* of notify_passed */
	size_t n_entries;
	char name[];
};

struct notify {
	struct fs *fs;
	struct adafs_mutex lock;
	struct adafs_cond queued;
	struct note *head, **tail;
	unsigned n_queued, n_dropped;
	bool running, telling;
	bool quitting; /* also read without the lock */
	pthread_t thread;
};

struct notify *notify_new(struct fs *fs)
{
	struct notify *n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->fs = fs;
	n->tail = &n->head;
	adafs_mutex_init(&n->lock, ADAFS_RANK_QUEUE);
	adafs_cond_init(&n->queued);
	return n;
}

static void note_free(struct note *t)
{
	for (size_t i = 0; i < t->n_entries; i++)
		blob_entry_unref(t->entry[i]);
	free(t->entry);
	node_unref(t->node);
	free(t->container);
	free(t->prefix);
	free(t->etag);
	free(t);
}

/* --- telling --------------------------------------------------------------------------------- */
static uint64_t nodeid(const struct fs *fs, const struct node *n)
{
	return n == fs->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n;
}

static void tell_entry(struct fs *fs, const struct node *dir, const char *name)
{
	/* -ENOENT: it does not know it. */
	int rc = fuse_lowlevel_notify_inval_entry(fs->session, nodeid(fs, dir), name, strlen(name));
	adafs_log(DEBUG, "fs", "told the kernel about '%s': %s", name, rc ? strerror(-rc) : "done");
}

struct telling {
	struct fs *fs;
	const struct note *note;
};

static bool is_quitting(const struct notify *n)
{
	return __atomic_load_n(&n->quitting, __ATOMIC_RELAXED);
}

/* One view that shows the directory of a blob. */
static void tell_place(void *arg, struct node *view_dir, struct node *kernel_dir)
{
	const struct telling *t = arg;
	const struct note *note = t->note;
	for (size_t i = 0; i < note->n_entries && !is_quitting(t->fs->notify); i++)
		fuse_lowlevel_notify_inval_entry(t->fs->session, nodeid(t->fs, kernel_dir),
						 note->entry[i]->name,
						 strlen(note->entry[i]->name));
	if (note->n_entries)
		return;
	struct node *known = note->etag ? node_find(t->fs, view_dir, note->name, note->etag) : NULL;
	if (!known)
		tell_entry(t->fs, kernel_dir, note->name);
	node_unref(known);
}

static void tell(struct fs *fs, const struct note *t)
{
	if (t->attributes)
		fuse_lowlevel_notify_inval_inode(fs->session, nodeid(fs, t->node), -1, 0);
	else if (t->node)
		tell_entry(fs, t->node, t->name);
	else
		blobdir_each_place(fs, t->container, t->prefix, tell_place,
				   &(struct telling){ .fs = fs, .note = t });
}

static void *notifier_main(void *arg)
{
	struct notify *n = arg;
	adafs_mutex_lock(&n->lock);
	while (!n->quitting) {
		struct note *t = n->head;
		if (!t) {
			adafs_cond_wait(&n->queued, &n->lock);
			continue;
		}
		n->head = t->next;
		if (!n->head)
			n->tail = &n->head;
		n->n_queued--;
		n->telling = true;
		unsigned dropped = n->n_dropped;
		n->n_dropped = 0;
		adafs_mutex_unlock(&n->lock);
		if (dropped)
			adafs_log(DEBUG, "fs", "%u changes were not told to the kernel", dropped);
		tell(n->fs, t);
		note_free(t);
		adafs_mutex_lock(&n->lock);
		n->telling = false;
		adafs_cond_broadcast(&n->queued);
	}
	adafs_mutex_unlock(&n->lock);
	return NULL;
}

int notify_start(struct notify *n, struct adafs_err *reterr)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&n->thread, NULL, notifier_main, n);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return adafs_err_set(reterr, -rc, "cannot start a thread: %s", strerror(rc));
	adafs_mutex_lock(&n->lock);
	n->running = true;
	adafs_mutex_unlock(&n->lock);
	return 0;
}

/* Pass on one request of the kernel if there is any. */
static void serve_one(struct fuse_session *session)
{
	struct pollfd device = { .fd = fuse_session_fd(session), .events = POLLIN };
	struct fuse_buf buf = { .mem = NULL };
	if (poll(&device, 1, 0) != 1 || !(device.revents & POLLIN))
		return;
	if (fuse_session_receive_buf(session, &buf) > 0)
		fuse_session_process_buf(session, &buf);
	free(buf.mem);
}

void notify_stop(struct notify *n)
{
	if (!n)
		return;
	adafs_mutex_lock(&n->lock);
	__atomic_store_n(&n->quitting, true, __ATOMIC_RELAXED);
	adafs_cond_broadcast(&n->queued);
	while (n->telling) {
		if (!adafs_cond_wait_until(&n->queued, &n->lock,
					   adafs_clock_mono_ms() + SERVE_EVERY_MS))
			continue;
		adafs_mutex_unlock(&n->lock);
		serve_one(n->fs->session);
		adafs_mutex_lock(&n->lock);
	}
	adafs_mutex_unlock(&n->lock);
	if (n->running)
		pthread_join(n->thread, NULL);
	n->running = false;
}

void notify_free(struct notify *n)
{
	if (!n)
		return;
	notify_stop(n);
	struct note *next;
	for (struct note *t = n->head; t; t = next) {
		next = t->next;
		note_free(t);
	}
	adafs_cond_clear(&n->queued);
	adafs_mutex_clear(&n->lock);
	free(n);
}

/* --- queueing -------------------------------------------------------------------------------- */
static struct note *note_new(const char *name)
{
	size_t size = strlen(name) + 1;
	struct note *t = malloc(sizeof(*t) + size);
	if (!t)
		return NULL;
	*t = (struct note){ 0 };
	memcpy(t->name, name, size);
	return t;
}

/* Takes over the note (NULL: out of memory), which is dropped when there is no room. */
static void queue(struct notify *n, struct note *t)
{
	if (!t)
		return;
	adafs_mutex_lock(&n->lock);
	bool room = n->running && !n->quitting && n->n_queued < MAX_QUEUED;
	if (room) {
		*n->tail = t;
		n->tail = &t->next;
		n->n_queued++;
		adafs_cond_signal(&n->queued);
	} else {
		n->n_dropped++;
	}
	adafs_mutex_unlock(&n->lock);
	if (!room)
		note_free(t);
}

void notify_entry(struct notify *n, struct node *dir, const char *name)
{
	struct note *t = note_new(name);
	if (t)
		t->node = node_ref(dir);
	queue(n, t);
}

void notify_attributes(struct notify *n, struct node *node)
{
	struct note *t = note_new("");
	if (t) {
		t->node = node_ref(node);
		t->attributes = true;
	}
	queue(n, t);
}

static struct note *about_blob(const char *container, const char *prefix, const char *name)
{
	struct note *t = note_new(name);
	if (!t)
		return NULL;
	t->container = strdup(container);
	t->prefix = strdup(prefix);
	if (t->container && t->prefix)
		return t;
	note_free(t);
	return NULL;
}

void notify_blob(struct notify *n, const char *container, const char *prefix, const char *name,
		 const char *etag)
{
	struct note *t = about_blob(container, prefix, name);
	if (t && etag)
		t->etag = strdup(etag);
	queue(n, t);
}

void notify_passed(struct notify *n, const char *container, const char *prefix,
		   struct blob_entry *const entry[], size_t n_entries)
{
	struct note *t = about_blob(container, prefix, "");
	if (t)
		t->entry = calloc(n_entries + 1, sizeof(*t->entry));
	for (size_t i = 0; t && t->entry && i < n_entries; i++)
		if (entry[i])
			t->entry[t->n_entries++] = blob_entry_ref(entry[i]);
	if (t && !t->n_entries) {
		note_free(t);
		return;
	}
	queue(n, t);
}
