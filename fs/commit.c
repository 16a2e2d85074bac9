/*
 * commit.c - from spool to service. A file of at most one block is one Put Blob; a larger one goes up in blocks while it is
 * still written, at most MAX_SENDERS at a time, and one Put Block List makes them the blob. Both are conditional on the
 * version that was opened. A nonce in the metadata tells an own commit whose reply was lost from a foreign one.
 *
 * Blocks are sent by jobs on the workers that take one after the other; a commit works as one of them itself and waits
 * only for those that have begun, so it needs no free worker to end.
 */
#include "fs/blobdir_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/log.h"
#include "batch/base/random.h"
#include "fs/workers.h"

#define MAX_SENDERS 4

/* --- blocks -------------------------------------------------------------------------------------- */
/* The next block that may go up now; -1: none. */
static ssize_t next_block_locked(const struct wfile *w)
{
	size_t n = spool_n_blocks(w->spool);
	if (w->send_all) {
		size_t i = spool_next_dirty(w->spool, 0);
		return i < n ? (ssize_t)i : -1;
	}
	/* Complete, behind the writer, and not all there is: a file of one block is a single Put Blob. */
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

static void on_block_sent(void *arg, struct adafs_http_response *response, const struct adafs_err *err)
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
	adafs_blob_put_block_start(w->view->fs->blob, w->view->container, w->blob, id, &src, on_block_sent,
				   &x);
	int rc = hot ? spool_hot_store(w->spool, hot) : 0;
	if (rc)
		adafs_log(ERROR, "fs", "cannot keep a block of '%s' on disk: %s", w->blob, strerror(-rc));
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
		rc = adafs_err_set(reterr, w->send_rc, "sending a block failed: %s", strerror(-w->send_rc));
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
	return adafs_blob_put_block_list(w->view->fs->blob, w->view->container, w->blob, ids, n, put, etag,
					 reterr);
}

static int put_blocks(struct wfile *w, const struct adafs_blob_put *put, char etag[ADAFS_ETAG_LEN],
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
	/* Somebody else's commit discarded our blocks. If it also moved the version, the condition will say so. */
	adafs_mutex_lock(&w->lock);
	spool_restart(w->spool);
	adafs_mutex_unlock(&w->lock);
	rc = send_rest(w, reterr);
	return rc ? rc : put_list(w, put, etag, reterr);
}

/* --- metadata ------------------------------------------------------------------------------------ */
/* What goes with the file whatever its content is; what is said of the content is said anew. */
static int add_carried(struct wfile *w, struct adafs_blob_meta *meta)
{
	adafs_mutex_lock(&w->lock);
	int rc = meta_carry(meta, &w->meta);
	adafs_mutex_unlock(&w->lock);
	return rc;
}

static int make_meta(struct wfile *w, struct adafs_blob_meta *meta, char nonce[64])
{
	char mtime[BLOB_MTIME_LEN];
	const char *given = adafs_blob_meta_get(meta, "adafsnonce");
	if (given)
		snprintf(nonce, 64, "%s", given);
	else
		adafs_random_hex(16, nonce);
	adafs_mutex_lock(&w->lock);
	blob_mtime_format(w->mtime, mtime);
	adafs_mutex_unlock(&w->lock);
	int rc = adafs_blob_meta_set(meta, "adafsnonce", nonce);
	return rc ? rc : adafs_blob_meta_set(meta, "mtime", mtime);
}

/* --- the commit ---------------------------------------------------------------------------------- */
/*
 * A condition failed and the reply of an earlier attempt may have been lost: is what stands there our own? Returns 0 and
 * its ETag if its nonce is this commit's; 1 if it is that of the commit before, which then becomes the base; -ESTALE if it
 * is somebody else's or gone.
 */
static int resolve(struct wfile *w, const char *nonce, char etag[ADAFS_ETAG_LEN], struct adafs_err *reterr)
{
	struct adafs_blob_props props;
	struct adafs_err err = { 0 };
	int rc = adafs_blob_head(w->view->fs->blob, w->view->container, w->blob, NULL, &props, &err);
	/* Not known is not lost: the next close asks again. */
	if (rc)
		return rc == -ENOENT ? -ESTALE : adafs_err_copy(reterr, &err);
	const char *theirs = adafs_blob_meta_get(&props.meta, "adafsnonce");
	rc = -ESTALE;
	if (theirs && !strcmp(theirs, nonce)) {
		memcpy(etag, props.etag, ADAFS_ETAG_LEN);
		rc = 0;
	} else if (theirs && *w->nonce && !strcmp(theirs, w->nonce)) {
		struct blob_entry *e = blob_entry_new(w->name ? w->name : "", &props);
		if (e) {
			wfile_rebase(w, e);
			blob_entry_unref(e);
			rc = 1;
		}
	}
	adafs_blob_props_clear(&props);
	return rc;
}

static int put_once(struct wfile *w, const struct adafs_blob_meta *meta, char etag[ADAFS_ETAG_LEN],
		    struct adafs_err *reterr)
{
	struct adafs_blob_put put = { .meta = meta };
	if (w->base)
		put.cond.if_match = w->base->etag;
	else
		put.cond.if_none_match = "*";
	size_t n = spool_n_blocks(w->spool);
	if (n > 1)
		return put_blocks(w, &put, etag, reterr);
	struct adafs_blob_source src = { .data = "" };
	if (n)
		src = spool_block_source(w->spool, 0);
	return adafs_blob_put(w->view->fs->blob, w->view->container, w->blob, &src, &put, etag, reterr);
}

static int put_content(struct wfile *w, const struct adafs_blob_meta *meta, const char *nonce,
		       char etag[ADAFS_ETAG_LEN], struct adafs_err *reterr)
{
	int rc = put_once(w, meta, etag, reterr);
	bool lost = rc == -ESTALE || rc == -EEXIST;
	/* An earlier commit of ours without an answer (*w->nonce) can be what stands in the way as well. */
	bool unknown = reterr->outcome_unknown;
	if (lost && (unknown || *w->nonce)) {
		rc = resolve(w, nonce, etag, reterr);
		reterr->outcome_unknown = unknown;
		if (rc == 1)
			rc = put_once(w, meta, etag, reterr);
	}
	if (rc == -ESTALE || rc == -EEXIST)
		return adafs_err_set(reterr, -ESTALE, "'%s' was changed by somebody else meanwhile", w->blob);
	return rc;
}

/* The new version is what the node is from now on. */
static int adopt(struct wfile *w, const struct adafs_blob_meta *meta, const char *etag)
{
	ADAFS_FREE char *prefix = NULL;
	const char *name;
	struct adafs_blob_props props = { .size = spool_size(w->spool), .meta = *meta };
	props.last_modified = w->mtime.tv_sec;
	props.created = w->base ? w->base->created : props.last_modified;
	snprintf(props.etag, sizeof(props.etag), "%s", etag);
	int rc = blob_split(w->blob, &prefix, &name);
	struct blob_entry *e = rc ? NULL : blob_entry_new(name, &props);
	if (!e)
		return -ENOMEM;
	blobs_put(w->view->fs->blobs, w->view->container, prefix, name, e);
	bnode_set_entry(w->node, e);
	adafs_mutex_lock(&wfiles_lock);
	bnode_of(w->node)->pages_lost = false;
	struct node *dir = w->name ? w->dir : NULL;
	adafs_mutex_unlock(&wfiles_lock);
	/* Its place only changes between begin and end, which is now ours. */
	if (dir)
		rc = node_move(w->node, dir, name, etag);
	wfile_rebase(w, e);
	blob_entry_unref(e);
	adafs_mutex_lock(&w->lock);
	w->dirty = false;
	w->nonce[0] = 0;
	adafs_mutex_unlock(&w->lock);
	return rc;
}

static void tell_later(struct wfile *w, int tell, const char *etag, const char *sha256,
		       struct adafs_blob_meta *meta, const struct adafs_err *why)
{
	/* An earlier flush was committed, and stays: what it started does not wait for a listing to find it. */
	if (tell == TELL_REFUSED && w->tell == TELL_COMMITTED)
		wfile_tell(w);
	adafs_mutex_lock(&w->lock);
	w->tell = tell;
	free(w->tell_blob);
	w->tell_blob = strdup(w->blob);
	if (!w->tell_blob)
		w->tell = TELL_NOTHING;
	adafs_blob_meta_clear(&w->tell_meta);
	if (meta) {
		w->tell_meta = *meta;
		*meta = (struct adafs_blob_meta){ 0 };
	}
	snprintf(w->tell_etag, sizeof(w->tell_etag), "%s", etag ? etag : "");
	snprintf(w->tell_sha256, sizeof(w->tell_sha256), "%s", sha256);
	if (why)
		w->tell_why = *why;
	adafs_mutex_unlock(&w->lock);
}

/* Ask the policy, or decide where there is none: what a killed writer leaves is no file. */
static int ask_policy(struct wfile *w, bool killed, char sha256[ADAFS_SHA256_HEX_LEN],
		      struct adafs_blob_meta *meta, struct adafs_err *reterr)
{
	const struct blobdir_policy *p = w->view->policy;
	if (!p->before_commit)
		return killed ? adafs_err_set(reterr, -ECANCELED, "the program that wrote it was killed") : 0;
	if (w->lost_rc)
		return adafs_err_set(reterr, w->lost_rc, "a write to it had failed: %s",
				     strerror(-w->lost_rc));
	adafs_mutex_lock(&w->lock);
	int rc = spool_settle(w->spool);
	adafs_mutex_unlock(&w->lock);
	if (!rc)
		rc = spool_sha256(w->spool, sha256);
	if (rc)
		return adafs_err_set(reterr, rc, "cannot read the spool: %s", strerror(-rc));
	struct blobdir_commit commit = {
		.container = w->view->container,
		.blob = w->blob,
		.fd = spool_fd(w->spool),
		.size = spool_size(w->spool),
		.sha256 = sha256,
		.caller_killed = killed,
	};
	rc = p->before_commit(p->arg, &commit, meta, reterr);
	if (rc && reterr && !reterr->rc)
		adafs_err_set(reterr, rc, "%s", strerror(-rc));
	return rc;
}

int wfile_commit(struct wfile *w, bool killed, struct adafs_err *reterr)
{
	struct adafs_blob_meta meta = { 0 };
	char nonce[64], etag[ADAFS_ETAG_LEN], sha256[ADAFS_SHA256_HEX_LEN] = "";
	int rc = ask_policy(w, killed, sha256, &meta, reterr);
	if (!rc)
		rc = add_carried(w, &meta);
	if (!rc)
		rc = make_meta(w, &meta, nonce);
	bool stored = false;
	if (!rc) {
		rc = put_content(w, &meta, nonce, etag, reterr);
		stored = !rc;
		if (stored && (rc = adopt(w, &meta, etag)))
			adafs_err_set(reterr, rc, "stored, but out of memory");
		/* One that failed for sure stands in nobody's way; the one before it may still. */
		if (rc && (stored || reterr->outcome_unknown))
			snprintf(w->nonce, sizeof(w->nonce), "%s", nonce);
	}
	/* What is stored is a commit, whatever became of its nodes: it has to get its job. */
	if (stored)
		tell_later(w, TELL_COMMITTED, etag, sha256, &meta, NULL);
	else if (rc == -EBADMSG || rc == -ESTALE)
		tell_later(w, TELL_REFUSED, NULL, sha256, NULL, reterr);
	adafs_blob_meta_clear(&meta);
	return rc;
}

void wfile_rescue(struct wfile *w)
{
	char sha256[ADAFS_SHA256_HEX_LEN];
	adafs_mutex_lock(&w->lock);
	const struct adafs_err why = w->held;
	int64_t size = spool_size(w->spool);
	/* Bytes that a write lost are no content to keep; a refusal is told anyway; new bytes have a close of their own. */
	bool wanted = size && !w->lost_rc && !w->unlinked && w->tell != TELL_REFUSED && w->held_gen == w->gen;
	adafs_mutex_unlock(&w->lock);
	if (!wanted)
		return;
	if (w->view->policy->refused && !spool_sha256(w->spool, sha256))
		tell_later(w, TELL_REFUSED, NULL, sha256, NULL, &why);
	else
		adafs_log(ERROR, "fs", "'%s/%s': what was written after its last close(2) is lost: %s",
			  w->view->container, w->blob, why.msg);
}
