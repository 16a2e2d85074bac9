/*
 * write.c - files that are being written: one wfile a node, from its first open for writing to the
 * release of its last handle. Its bytes live in a spool; commit.c brings them to the service.
 *
 *   new file         base NULL, fetched, dirty from the start (an empty file has to exist after
 * close) O_TRUNC          base set, fetched (empty), dirty opened to edit   base set, not fetched
 * until the first write or truncate
 *
 * FLUSH commits what is dirty, but never an empty file: `cat x > f` flushes before its first byte.
 * An empty file is committed at RELEASE, as is what a mapping wrote after the last FLUSH.
 */
#include "fs/blob/blobdir_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "batch/base/log.h"

/* close(2) returns before RELEASE comes: so long an open waits for it. */
#define CLOSING_MS 300
/*
 * An unlink holds up its directory, so what it saves for those who have the file open is bounded.
 */
#define SAVE_MAX ((int64_t)64 * 1024 * 1024)

struct adafs_mutex wfiles_lock = { .mutex = PTHREAD_MUTEX_INITIALIZER, .rank = ADAFS_RANK_TREE };
static struct wfile *first;

/* --- registry --------------------------------------------------------------------------------- */
static struct wfile *wfile_ref(struct wfile *w)
{
	__atomic_add_fetch(&w->refs, 1, __ATOMIC_RELAXED);
	return w;
}

void wfile_unref(struct wfile *w)
{
	if (!w || __atomic_sub_fetch(&w->refs, 1, __ATOMIC_ACQ_REL))
		return;
	wfile_drop_copy_locked(w);
	spool_free(w->spool);
	blob_entry_unref(w->base);
	adafs_blob_meta_clear(&w->tell_meta);
	adafs_blob_meta_clear(&w->meta);
	adafs_cond_clear(&w->changed);
	adafs_mutex_clear(&w->lock);
	node_unref(w->dir);
	node_unref(w->node);
	free(w->name);
	free(w->blob);
	free(w->tell_blob);
	free(w);
}

static void register_locked(struct wfile *w)
{
	w->next = first;
	w->prev = &first;
	if (first)
		first->prev = &w->next;
	first = w;
}

static void unregister_locked(struct wfile *w)
{
	*w->prev = w->next;
	if (w->next)
		w->next->prev = w->prev;
}

struct wfile *wfile_of(const struct node *n)
{
	adafs_mutex_lock(&wfiles_lock);
	struct wfile *w = bnode_of(n)->w;
	if (w)
		wfile_ref(w);
	adafs_mutex_unlock(&wfiles_lock);
	return w;
}

struct wfile *wfile_find(struct fs *fs, const struct node *dir, const char *name)
{
	(void)fs;
	adafs_mutex_lock(&wfiles_lock);
	struct wfile *w = first;
	while (w && (w->dir != dir || !w->name || strcmp(w->name, name)))
		w = w->next;
	if (w)
		wfile_ref(w);
	adafs_mutex_unlock(&wfiles_lock);
	return w;
}

int wfile_each(const struct node *dir, int (*fn)(void *arg, const char *name, uint64_t ino),
	       void *arg)
{
	int rc = 0;
	adafs_mutex_lock(&wfiles_lock);
	for (struct wfile *w = first; w && !rc; w = w->next)
		if (w->dir == dir && w->name)
			rc = fn(arg, w->name, w->node->ino);
	adafs_mutex_unlock(&wfiles_lock);
	return rc;
}

bool wfile_any_below(const struct node *dir)
{
	ADAFS_FREE char *prefix = blobdir_prefix(dir);
	return !prefix || blobdir_is_written(bnode_of(dir)->view->container, prefix);
}

bool blobdir_is_written(const char *container, const char *prefix)
{
	bool any = false;
	adafs_mutex_lock(&wfiles_lock);
	for (struct wfile *w = first; w && !any; w = w->next)
		any = w->name && !strcmp(w->view->container, container) &&
		      !strncmp(w->blob, prefix, strlen(prefix));
	adafs_mutex_unlock(&wfiles_lock);
	return any;
}

/* What others noted about the file stays with it. */
static int carry_meta(struct wfile *w, const struct blob_entry *base)
{
	ADAFS_CLEANUP(adafs_blob_props_clear) struct adafs_blob_props props = { 0 };
	struct adafs_blob_meta meta = { 0 };
	int rc = blob_entry_props(base, &props);
	if (!rc)
		rc = meta_carry(&meta, &props.meta);
	if (rc) {
		adafs_blob_meta_clear(&meta);
		return rc;
	}
	adafs_blob_meta_clear(&w->meta);
	w->meta = meta;
	return 0;
}

static struct wfile *wfile_new(struct node *n, struct node *dir, const char *name,
			       struct blob_entry *base, struct adafs_err *reterr)
{
	struct fs *fs = n->fs;
	struct view *v = bnode_of(n)->view;
	struct wfile *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	adafs_mutex_init(&w->lock, ADAFS_RANK_HANDLE);
	adafs_cond_init(&w->changed);
	w->refs = 1;
	w->view = v;
	w->node = node_ref(n);
	w->dir = node_ref(dir);
	w->name = strdup(name);
	w->blob = blobdir_blob_in(dir, name);
	w->base = base ? blob_entry_ref(base) : NULL;
	w->fetched = w->dirty = !base;
	w->gen = 1;
	clock_gettime(CLOCK_REALTIME, &w->mtime);
	if (base)
		w->mtime = base->mtime;
	int rc = base ? carry_meta(w, base) : 0;
	/* Only a policy asks for the one, only an option for the other. */
	unsigned sums =
		(v->policy->before_commit ? SPOOL_SHA256 : 0) | (fs->options->md5 ? SPOOL_MD5 : 0);
	if (rc || !w->name || !w->blob ||
	    spool_new(fs->spool, fs->spool_dir, fs->options->block_size, sums, &w->spool, reterr)) {
		wfile_unref(w);
		return NULL;
	}
	return w;
}

int wfile_open(struct node *n, struct node *dir, const char *name, struct blob_entry *base,
	       struct wfile **ret)
{
	struct adafs_err err = { 0 };
	adafs_mutex_lock(&wfiles_lock);
	struct wfile *w = bnode_of(n)->w;
	if (w) {
		w->handles++;
		*ret = wfile_ref(w);
		adafs_mutex_unlock(&wfiles_lock);
		return 0;
	}
	adafs_mutex_unlock(&wfiles_lock);
	struct wfile *fresh = wfile_new(n, dir, name, base, &err);
	if (!fresh)
		return blobdir_log(err.rc ? err.rc : -ENOMEM, "opening a spool",
				   bnode_of(n)->view->container, name, &err);
	adafs_mutex_lock(&wfiles_lock);
	w = bnode_of(n)->w;
	if (!w) {
		/* The registry's reference. */
		w = bnode_of(n)->w = wfile_ref(fresh);
		register_locked(w);
	}
	w->handles++;
	*ret = wfile_ref(w);
	adafs_mutex_unlock(&wfiles_lock);
	wfile_unref(fresh);
	return 0;
}

struct wfile *wfile_share(struct wfile *w)
{
	adafs_mutex_lock(&wfiles_lock);
	bool wanted = bnode_of(w->node)->readers > 0 && w->handles;
	if (wanted) {
		w->handles++;
		wfile_ref(w);
	}
	adafs_mutex_unlock(&wfiles_lock);
	return wanted ? w : NULL;
}

/*
 * --- the right to change ------------------------------------------------------------------------
 */
void wfile_begin(struct wfile *w)
{
	adafs_mutex_lock(&w->lock);
	while (w->busy)
		adafs_cond_wait(&w->changed, &w->lock);
	w->busy = true;
	while (w->senders)
		adafs_cond_wait(&w->changed, &w->lock);
	adafs_mutex_unlock(&w->lock);
}

void wfile_end(struct wfile *w)
{
	adafs_mutex_lock(&w->lock);
	w->busy = false;
	adafs_cond_broadcast(&w->changed);
	adafs_mutex_unlock(&w->lock);
}

int wfile_move(struct wfile *w, struct node *dir, const char *name, struct blob_entry *base)
{
	ADAFS_FREE char *new_name = strdup(name);
	ADAFS_FREE char *blob = blobdir_blob_in(dir, name);
	if (!new_name || !blob)
		return -ENOMEM;
	struct node *old_dir = node_ref(dir);
	struct blob_entry *old_base = base ? blob_entry_ref(base) : NULL;
	adafs_mutex_lock(&wfiles_lock);
	adafs_mutex_lock(&w->lock);
	struct node *t = w->dir;
	w->dir = old_dir;
	old_dir = t;
	char *s = w->name;
	w->name = new_name;
	new_name = s;
	s = w->blob;
	w->blob = blob;
	blob = s;
	struct blob_entry *e = w->base;
	w->base = old_base;
	old_base = e;
	/* Blocks belong to the old name. */
	spool_restart(w->spool);
	adafs_mutex_unlock(&w->lock);
	adafs_mutex_unlock(&wfiles_lock);
	node_unref(old_dir);
	blob_entry_unref(old_base);
	return 0;
}

void wfile_rebase(struct wfile *w, struct blob_entry *base)
{
	blob_entry_ref(base);
	adafs_mutex_lock(&w->lock);
	struct blob_entry *old = w->base;
	w->base = base;
	/* Nothing waits for a commit: what was noted at the service is what the file has. */
	if (!w->dirty && !carry_meta(w, base))
		w->mtime = base->mtime;
	adafs_mutex_unlock(&w->lock);
	blob_entry_unref(old);
}

void wfile_unlink(struct wfile *w)
{
	adafs_mutex_lock(&w->lock);
	w->unlinked = true;
	w->tell = TELL_NOTHING;
	adafs_mutex_unlock(&w->lock);
	adafs_mutex_lock(&wfiles_lock);
	char *name = ADAFS_STEAL(w->name);
	adafs_mutex_unlock(&wfiles_lock);
	free(name);
}

/*
 * --- content ------------------------------------------------------------------------------------
 */
void wfile_save(struct wfile *w)
{
	adafs_mutex_lock(&w->lock);
	bool wanted = !w->fetched && w->base && w->base->size <= SAVE_MAX;
	adafs_mutex_unlock(&w->lock);
	/* What fails has been logged: reads of it will say ESTALE. */
	if (wanted)
		wfile_fetch(w);
}

/* Wait until the content may be changed, with the lock held on success; fetch it when it is to be
 * kept. */
static int lock_for_change(struct wfile *w, bool may_wait, bool keep)
{
	for (;;) {
		adafs_mutex_lock(&w->lock);
		bool ready = w->fetched || !keep;
		if (ready && !w->busy)
			return 0;
		if (!may_wait) {
			adafs_mutex_unlock(&w->lock);
			return -EWOULDBLOCK;
		}
		while (w->busy)
			adafs_cond_wait(&w->changed, &w->lock);
		if (w->fetched || !keep)
			return 0;
		adafs_mutex_unlock(&w->lock);
		wfile_begin(w);
		int rc = w->fetched ? 0 : wfile_fetch(w);
		wfile_end(w);
		if (rc)
			return rc;
	}
}

void wfile_changed_locked(struct wfile *w)
{
	w->dirty = true;
	w->gen++;
	clock_gettime(CLOCK_REALTIME, &w->mtime);
}

/*
 * After a change of the spool: whether it met a block that a sender brings to disk. Then the lock
 * is given back, once the sender has moved on if that may be waited for.
 */
static bool met_sender(struct wfile *w, bool may_wait, int rc)
{
	if (rc != -EWOULDBLOCK)
		return false;
	if (may_wait)
		adafs_cond_wait(&w->changed, &w->lock);
	adafs_mutex_unlock(&w->lock);
	return true;
}

int wfile_write(struct wfile *w, bool may_wait, const void *data, size_t size, off_t off)
{
	int rc = lock_for_change(w, may_wait, true);
	if (rc)
		return rc;
	rc = spool_write(w->spool, data, size, off);
	if (met_sender(w, may_wait, rc))
		return may_wait ? wfile_write(w, may_wait, data, size, off) : rc;
	if (!rc) {
		wfile_changed_locked(w);
		if (off <= w->lost_off && w->lost_off < off + (int64_t)size)
			w->lost_rc = 0;
		if (off != w->run_end)
			w->run_start = off;
		w->run_end = off + (int64_t)size;
		wfile_send_ahead_locked(w);
	} else {
		w->lost_rc = rc;
		w->lost_off = off;
		adafs_log(WARN, "fs", "write to '%s/%s' failed: %s%s", w->view->container, w->blob,
			  strerror(-rc),
			  rc == -ENOSPC ? " (cache_size bounds what files being written take)"
					: "");
	}
	adafs_mutex_unlock(&w->lock);
	return rc;
}

int wfile_truncate(struct wfile *w, bool may_wait, int64_t size)
{
	int rc = lock_for_change(w, may_wait, size > 0);
	if (rc)
		return rc;
	/* To nothing: what it was a copy of does not matter any more. */
	bool was_copy = w->copied;
	wfile_drop_copy_locked(w);
	w->fetched = true;
	if (was_copy || size != spool_size(w->spool) || (size == 0 && w->base && !w->dirty)) {
		rc = spool_truncate(w->spool, size);
		if (met_sender(w, may_wait, rc))
			return may_wait ? wfile_truncate(w, may_wait, size) : rc;
		if (!rc)
			wfile_changed_locked(w);
	}
	if (!rc && size <= w->lost_off)
		w->lost_rc = 0;
	adafs_mutex_unlock(&w->lock);
	return rc;
}

int wfile_reserve(struct wfile *w, bool may_wait, int64_t off, int64_t len)
{
	int rc = lock_for_change(w, may_wait, true);
	if (rc)
		return rc;
	int64_t before = spool_size(w->spool);
	rc = spool_reserve(w->spool, off, len);
	if (met_sender(w, may_wait, rc))
		return may_wait ? wfile_reserve(w, may_wait, off, len) : rc;
	if (!rc && spool_size(w->spool) != before)
		wfile_changed_locked(w);
	adafs_mutex_unlock(&w->lock);
	return rc;
}

ssize_t wfile_read(struct wfile *w, bool may_wait, void *buf, size_t size, off_t off)
{
	adafs_mutex_lock(&w->lock);
	bool fetched = w->fetched;
	int64_t end = fetched ? spool_size(w->spool) : 0;
	bool in_memory = spool_in_memory(w->spool);
	ssize_t n = fetched && in_memory ? spool_read(w->spool, buf, size, off) : 0;
	bool copied = w->copied;
	adafs_mutex_unlock(&w->lock);
	if (copied) {
		int rc = wfile_end_copy(w, may_wait);
		return rc ? rc : wfile_read(w, may_wait, buf, size, off);
	}
	if (!fetched)
		return -EAGAIN;
	if (in_memory || off >= end)
		return n;
	if ((int64_t)size > end - off)
		size = (size_t)(end - off);
	/* Without the lock: the file may shrink meanwhile, and then has nothing there. */
	int rc = adafs_pread_all(spool_fd(w->spool), buf, size, off);
	if (rc == -ENODATA)
		return 0;
	return rc ? rc : (ssize_t)size;
}

int64_t wfile_size_locked(const struct wfile *w)
{
	if (w->copied)
		return w->copied->len;
	return w->fetched ? spool_size(w->spool) : w->base ? w->base->size : 0;
}

void wfile_stat(struct wfile *w, struct stat *ret)
{
	node_stat(w->node, S_IFREG | 0644, 0, 0, ret);
	adafs_mutex_lock(&w->lock);
	ret->st_size = wfile_size_locked(w);
	ret->st_atim = ret->st_mtim = ret->st_ctim = w->mtime;
	ret->st_nlink = w->unlinked ? 0 : 1;
	ret->st_mode = S_IFREG | meta_mode(&w->meta, false);
	adafs_mutex_unlock(&w->lock);
	ret->st_blocks = (ret->st_size + 511) / 512;
	ret->st_blksize = 128 * 1024;
}

int wfile_change_meta(struct wfile *w, bool may_wait, const struct meta_change *change)
{
	int rc = lock_for_change(w, may_wait, false);
	if (rc)
		return rc;
	struct meta_change rest = *change;
	bool kept = w->dirty || w->unlinked, changed;
	if (kept && change->mtime)
		w->mtime = *change->mtime;
	/* The time of content that waits stands beside its metadata. */
	rest.mtime = NULL;
	if (kept)
		rc = meta_apply(&w->meta, &rest, false, &changed);
	adafs_mutex_unlock(&w->lock);
	return kept ? rc : -EAGAIN;
}

int wfile_copy_meta(struct wfile *w, struct adafs_blob_meta *ret)
{
	adafs_mutex_lock(&w->lock);
	int rc = adafs_blob_meta_copy(ret, &w->meta);
	adafs_mutex_unlock(&w->lock);
	return rc;
}

/*
 * --- close --------------------------------------------------------------------------------------
 */
int wfile_committed(struct wfile *w, int rc, const struct adafs_err *err)
{
	adafs_mutex_lock(&w->lock);
	if (rc) {
		w->held_gen = w->gen;
		w->held = *err;
	}
	adafs_mutex_unlock(&w->lock);
	if (rc == -ECANCELED) {
		adafs_log(INFO, "fs", "'%s/%s' is not stored: %s", w->view->container, w->blob,
			  err->msg);
		rc = 0;
	}
	return blobdir_log(rc, "commit", w->view->container, w->blob, err);
}

/* Commit what is dirty; the outcome is remembered for this content. */
static int commit_now(struct wfile *w, bool killed, bool retry)
{
	struct adafs_err err = { 0 };
	int rc = 0;
	wfile_begin(w);
	adafs_mutex_lock(&w->lock);
	bool wanted = w->dirty && !w->unlinked;
	/* A refusal stays one until the content changes; after a failure of the line the next close
	 * tries again. */
	bool held = w->held_gen == w->gen;
	if (wanted && held && (!retry || w->tell == TELL_REFUSED)) {
		wanted = false;
		rc = w->held.rc;
	}
	adafs_mutex_unlock(&w->lock);
	if (wanted) {
		rc = wfile_commit(w, killed, &err);
		rc = wfile_committed(w, rc, &err);
	}
	wfile_end(w);
	return rc;
}

/* A file of one block that nothing is said against before it is stored: its close waits for no
 * thread. */
static bool flush_at_once(struct wfile *w, struct call *c, bool killed)
{
	adafs_mutex_lock(&w->lock);
	bool fit = !w->busy && !w->senders && !killed && w->fetched &&
		   !w->view->policy->before_commit && w->held_gen != w->gen &&
		   spool_n_blocks(w->spool) == 1;
	if (fit)
		w->busy = true;
	adafs_mutex_unlock(&w->lock);
	if (!fit || !wfile_commit_start(w, c))
		return fit;
	wfile_end(w);
	return false;
}

int wfile_flush(struct wfile *w, struct call *c, bool killed)
{
	adafs_mutex_lock(&w->lock);
	bool unsaved = w->dirty && !w->unlinked;
	bool empty = w->fetched && spool_size(w->spool) == 0;
	if (unsaved && killed && empty) {
		w->held_gen = w->gen;
		w->held = (struct adafs_err){ 0 };
	}
	adafs_mutex_unlock(&w->lock);
	if (!unsaved || empty)
		return 0;
	if (!c->may_wait)
		return flush_at_once(w, c, killed) ? -EINPROGRESS : -EWOULDBLOCK;
	return commit_now(w, killed, true);
}

int wfile_commit_alone(struct wfile *w)
{
	adafs_mutex_lock(&wfiles_lock);
	bool alone = w->handles == (w->finishing ? 2 : 1);
	adafs_mutex_unlock(&wfiles_lock);
	/* Where a commit is only storing bytes it does no harm amid another's writes, and the
	 * caller sees how it ended. */
	return alone || !w->view->policy->before_commit ? commit_now(w, false, true) : 0;
}

int wfile_fsync(struct wfile *w, const struct call *c)
{
	adafs_mutex_lock(&w->lock);
	bool unsaved = w->dirty && !w->unlinked;
	adafs_mutex_unlock(&w->lock);
	if (!unsaved)
		return 0;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	/*
	 * Where a commit is more than storing bytes (an image starts a job) only close may do it.
	 */
	int rc = w->view->policy->before_commit ? 0 : commit_now(w, false, true);
	if (rc)
		return rc;
	/* Its owner may now be long silent: memory is for those who write. */
	wfile_begin(w);
	adafs_mutex_lock(&w->lock);
	rc = spool_settle(w->spool);
	adafs_mutex_unlock(&w->lock);
	wfile_end(w);
	if (!rc && w->view->policy->before_commit && fdatasync(spool_fd(w->spool)))
		rc = -errno;
	return rc;
}

void wfile_tell(struct wfile *w)
{
	const struct blobdir_policy *p = w->view->policy;
	adafs_mutex_lock(&w->lock);
	int tell = w->tell;
	w->tell = TELL_NOTHING;
	if (tell != TELL_NOTHING && spool_settle(w->spool))
		adafs_log(ERROR, "fs", "cannot bring all of '%s' to disk", w->blob);
	struct blobdir_commit commit = {
		.container = w->view->container,
		.blob = w->tell_blob,
		.fd = spool_fd(w->spool),
		.size = spool_size(w->spool),
		.sha256 = w->tell_sha256,
	};
	adafs_mutex_unlock(&w->lock);
	if (tell == TELL_COMMITTED && p->committed)
		p->committed(p->arg, &commit, w->tell_etag, &w->tell_meta);
	else if (tell == TELL_REFUSED && p->refused)
		p->refused(p->arg, &commit, &w->tell_why);
}

/* What a flush could not store its program has been told of; a mapping's later bytes have nobody
 * who looks. */
static bool was_told(struct wfile *w)
{
	adafs_mutex_lock(&w->lock);
	bool told = w->held_gen == w->gen;
	adafs_mutex_unlock(&w->lock);
	return told;
}

/* The last handle goes; opens may still come. */
static void finish(struct wfile *w)
{
	bool told = was_told(w);
	int rc = commit_now(w, false, false);
	wfile_begin(w);
	if (rc && !told)
		wfile_rescue(w);
	wfile_tell(w);
	wfile_end(w);
}

/* Whether a handle that came and went while the file was being finished left something to do. */
static bool unfinished(struct wfile *w)
{
	adafs_mutex_lock(&w->lock);
	bool more = (w->dirty && !w->unlinked && w->held_gen != w->gen) || w->tell != TELL_NOTHING;
	adafs_mutex_unlock(&w->lock);
	return more;
}

/* The last handle of some file has gone; with wfiles_lock. */
static struct adafs_cond closed;
static pthread_once_t closed_once = PTHREAD_ONCE_INIT;

static void make_closed(void)
{
	adafs_cond_init(&closed);
}

/* Whether a writer without the page cache has it open who seems to be closing it: all is stored. */
static bool closing_locked(const struct node *n)
{
	struct wfile *w = bnode_of(n)->w;
	if (!w || !w->direct)
		return false;
	adafs_mutex_lock(&w->lock);
	bool stored = !w->dirty;
	adafs_mutex_unlock(&w->lock);
	return stored;
}

int wfile_await_close(const struct node *n, bool may_wait)
{
	uint64_t deadline_ms = adafs_clock_mono_ms() + CLOSING_MS;
	int rc = 0;
	pthread_once(&closed_once, make_closed);
	adafs_mutex_lock(&wfiles_lock);
	if (closing_locked(n) && !may_wait)
		rc = -EWOULDBLOCK;
	while (!rc && closing_locked(n))
		rc = adafs_cond_wait_until(&closed, &wfiles_lock, deadline_ms);
	adafs_mutex_unlock(&wfiles_lock);
	return rc == -ETIMEDOUT ? 0 : rc;
}

/* One handle less; true: it was the last, and the file is nobody's any more. */
static bool let_go_locked(struct wfile *w)
{
	if (--w->handles)
		return false;
	unregister_locked(w);
	pthread_once(&closed_once, make_closed);
	adafs_cond_broadcast(&closed);
	bnode_of(w->node)->w = NULL;
	adafs_mutex_lock(&w->lock);
	if (w->dirty)
		bnode_of(w->node)->pages_lost = true;
	/* Senders that have not begun find nothing to do. */
	w->send_rc = -ECANCELED;
	/* Room for the next one as soon as the name is seen to be gone. */
	spool_give_back(w->spool);
	adafs_mutex_unlock(&w->lock);
	return true;
}

void wfile_close(struct wfile *w)
{
	adafs_mutex_lock(&wfiles_lock);
	/* Still registered while it is committed: a lookup finds it, a new open joins it. */
	while (w->handles == 1 && unfinished(w)) {
		w->finishing = true;
		adafs_mutex_unlock(&wfiles_lock);
		finish(w);
		adafs_mutex_lock(&wfiles_lock);
		w->finishing = false;
	}
	bool last = let_go_locked(w);
	adafs_mutex_unlock(&wfiles_lock);
	if (last)
		wfile_unref(w);
	wfile_unref(w);
}

bool wfile_close_now(struct wfile *w, bool may_wait)
{
	adafs_mutex_lock(&wfiles_lock);
	/* A file on disk takes its time to go. */
	bool fit = w->handles > 1 || (!unfinished(w) && (may_wait || spool_fd(w->spool) < 0));
	bool last = fit && let_go_locked(w);
	adafs_mutex_unlock(&wfiles_lock);
	if (last)
		wfile_unref(w);
	if (fit)
		wfile_unref(w);
	return fit;
}
