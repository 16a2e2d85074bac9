/*
 * send.c - the blocks of a file on their way: while it is still written, at most MAX_SENDERS at a
 * time, and the rest at its commit, which one Put Block List ends.
 *
 * Blocks are sent by jobs on the workers that take one after the other; a commit works as one of
 * them itself and waits only for those that have begun, so it needs no free worker to end.
 */
#include "fs/blob/blobdir_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/log.h"
#include "fs/kernel/workers.h"

#define MAX_SENDERS 4

/* The next block that may go up now; -1: none. */
static ssize_t next_block_locked(const struct wfile *w)
{
	size_t n = spool_n_blocks(w->spool);
	if (w->send_all) {
		size_t i = spool_next_dirty(w->spool, 0);
		return i < n ? (ssize_t)i : -1;
	}
	/* Complete, behind the writer, and not all there is: a file of one block is a single Put
	 * Blob. */
	size_t first = w->run_start ? spool_block_at(w->spool, w->run_start - 1) + 1 : 0;
	size_t i = spool_next_dirty(w->spool, first);
	return i < n && spool_block_start(w->spool, i + 1) < w->run_end ? (ssize_t)i : -1;
}

/* A block on its way. */
struct sending {
	struct wfile *w;
	bool ended;
	struct adafs_err err;
};

static void on_block_sent(void *arg, struct adafs_http_response *response,
			  const struct adafs_err *err)
{
	struct sending *x = arg;
	struct wfile *w = x->w;
	(void)response;
	adafs_mutex_lock(&w->lock);
	adafs_err_copy(&x->err, err);
	x->ended = true;
	adafs_cond_broadcast(&w->changed);
	adafs_mutex_unlock(&w->lock);
}

/* Send one block, and meanwhile bring it to disk; called and returning with the lock held. */
static int send_block_locked(struct wfile *w, size_t i, struct adafs_err *reterr)
{
	char id[SPOOL_BLOCK_ID_LEN];
	struct sending x = { .w = w };
	struct adafs_blob_source src = spool_block_source(w->spool, i);
	struct hot *hot = spool_hot_use(w->spool, i);
	spool_block_id(w->spool, i, id);
	spool_send_begin(w->spool, i);
	adafs_mutex_unlock(&w->lock);
	adafs_blob_put_block_start(w->view->fs->blob, w->view->container, w->blob, id, &src,
				   on_block_sent, &x);
	int rc = hot ? spool_hot_store(w->spool, hot) : 0;
	if (rc)
		adafs_log(ERROR, "fs", "cannot keep a block of '%s' on disk: %s", w->blob,
			  strerror(-rc));
	adafs_mutex_lock(&w->lock);
	while (!x.ended)
		adafs_cond_wait(&w->changed, &w->lock);
	if (hot)
		spool_hot_done(w->spool, hot, rc);
	spool_send_end(w->spool, i, !x.err.rc);
	adafs_cond_broadcast(&w->changed);
	return adafs_err_copy(reterr, &x.err);
}

static bool may_send_locked(const struct wfile *w)
{
	return !w->send_rc && !w->unlinked && (!w->busy || w->send_all);
}

static void sender_main(void *arg)
{
	struct wfile *w = arg;
	struct adafs_err err = { 0 };
	adafs_mutex_lock(&w->lock);
	ssize_t i;
	w->queued--;
	w->senders++;
	while (may_send_locked(w) && (i = next_block_locked(w)) >= 0) {
		int rc = send_block_locked(w, (size_t)i, &err);
		if (rc) {
			w->send_rc = rc;
			adafs_log(DEBUG, "fs", "block %zd of '%s': %s", i, w->blob, err.msg);
		}
	}
	w->senders--;
	adafs_cond_broadcast(&w->changed);
	adafs_mutex_unlock(&w->lock);
	wfile_unref(w);
}

/* Start senders while there is more to send than they hold. */
static void start_senders_locked(struct wfile *w, unsigned max)
{
	while (w->senders + w->queued < max && may_send_locked(w) && next_block_locked(w) >= 0) {
		__atomic_add_fetch(&w->refs, 1, __ATOMIC_RELAXED);
		if (workers_run(w->view->fs->workers, sender_main, w)) {
			/* The caller holds a reference too, so this is never the last one. */
			__atomic_sub_fetch(&w->refs, 1, __ATOMIC_RELAXED);
			return;
		}
		w->queued++;
		/* One block is taken by each: more only if there is a second one. */
		if (spool_n_sending(w->spool) + w->queued >= spool_n_blocks(w->spool))
			return;
	}
}

void wfile_send_ahead_locked(struct wfile *w)
{
	unsigned n = w->senders + w->queued + 1;
	if (next_block_locked(w) >= 0)
		start_senders_locked(w, n > MAX_SENDERS ? MAX_SENDERS : n);
}

/* All blocks that the service does not have, with the help of senders. */
static int send_rest(struct wfile *w, struct adafs_err *reterr)
{
	int rc = 0;
	adafs_mutex_lock(&w->lock);
	w->send_all = true;
	w->send_rc = 0;
	start_senders_locked(w, MAX_SENDERS - 1);
	ssize_t i;
	while (!rc && !w->send_rc && (i = next_block_locked(w)) >= 0)
		rc = send_block_locked(w, (size_t)i, reterr);
	if (rc)
		w->send_rc = rc;
	while (w->senders)
		adafs_cond_wait(&w->changed, &w->lock);
	if (!rc && w->send_rc)
		rc = adafs_err_set(reterr, w->send_rc, "sending a block failed: %s",
				   strerror(-w->send_rc));
	w->send_all = false;
	w->send_rc = 0;
	adafs_mutex_unlock(&w->lock);
	return rc;
}

static int put_list(struct wfile *w, const struct adafs_blob_put *put, char etag[ADAFS_ETAG_LEN],
		    struct adafs_err *reterr)
{
	size_t n = spool_n_blocks(w->spool);
	ADAFS_FREE char(*id)[SPOOL_BLOCK_ID_LEN] = calloc(n, sizeof(*id));
	ADAFS_FREE const char **ids = calloc(n, sizeof(*ids));
	if (!id || !ids)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		spool_block_id(w->spool, i, id[i]);
		ids[i] = id[i];
	}
	return adafs_blob_put_block_list(w->view->fs->blob, w->view->container, w->blob, ids, n,
					 put, etag, reterr);
}

int wfile_put_blocks(struct wfile *w, const struct adafs_blob_put *put, char etag[ADAFS_ETAG_LEN],
		     struct adafs_err *reterr)
{
	int rc = send_rest(w, reterr);
	if (rc) {
		reterr->outcome_unknown = false; /* a block is no commit */
		return rc;
	}
	rc = put_list(w, put, etag, reterr);
	if (!rc || strcmp(reterr->service_code, "InvalidBlockList"))
		return rc;
	/* Somebody else's commit discarded our blocks. If it also moved the version, the condition
	 * will say so. */
	adafs_mutex_lock(&w->lock);
	spool_restart(w->spool);
	adafs_mutex_unlock(&w->lock);
	rc = send_rest(w, reterr);
	return rc ? rc : put_list(w, put, etag, reterr);
}
