/*
 * commit.c - from spool to service. A file of at most one block is one Put Blob; a larger one goes
 * up in blocks (send.c). Both are conditional on the version that was opened. A nonce in the
 * metadata tells an own commit whose reply was lost from a foreign one.
 *
 * close(2) of a file of one block needs no worker: wfile_commit_start sends the Put Blob, and its
 * completion ends the commit.
 */
#include "fs/blob/blobdir_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/log.h"
#include "batch/base/random.h"
#include "fs/kernel/workers.h"

/*
 * --- metadata ------------------------------------------------------------------------------------
 */
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

/*
 * --- the commit ----------------------------------------------------------------------------------
 */
/*
 * A condition failed and the reply of an earlier attempt may have been lost: is what stands there
 * our own? Returns 0 and its ETag if its nonce is this commit's; 1 if it is that of the commit
 * before, which then becomes the base; -ESTALE if it is somebody else's or gone.
 */
static int resolve(struct wfile *w, const char *nonce, char etag[ADAFS_ETAG_LEN],
		   struct adafs_err *reterr)
{
	struct adafs_blob_props props;
	struct adafs_err err = { 0 };
	int rc =
		adafs_blob_head(w->view->fs->blob, w->view->container, w->blob, NULL, &props, &err);
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

/* One commit from its beginning to its end; between begin and end of the wfile. */
struct commit {
	struct wfile *w;
	struct adafs_blob_meta meta;
	char nonce[64], etag[ADAFS_ETAG_LEN], sha256[ADAFS_SHA256_HEX_LEN];
	uint8_t md5[ADAFS_MD5_LEN];
	bool put;          /* the service was asked */
	struct call *call; /* of wfile_commit_start */
	struct adafs_err err;
};

static struct adafs_blob_put how_to_put(const struct commit *x)
{
	struct adafs_blob_put put = { .meta = &x->meta };
	if (x->w->base)
		put.cond.if_match = x->w->base->etag;
	else
		put.cond.if_none_match = "*";
	return put;
}

static struct adafs_blob_source whole(const struct wfile *w)
{
	struct adafs_blob_source empty = { .data = "" };
	return spool_n_blocks(w->spool) ? spool_block_source(w->spool, 0) : empty;
}

static int put_once(struct commit *x, struct adafs_err *reterr)
{
	struct wfile *w = x->w;
	struct adafs_blob_put put = how_to_put(x);
	x->put = true;
	if (w->copied)
		return adafs_blob_copy(w->view->fs->blob, w->copied->container, w->copied->blob,
				       w->copied->entry->etag, w->view->container, w->blob,
				       &x->meta, &put.cond, x->etag, reterr);
	/* Of a Put Blob the service takes it itself. */
	if (spool_n_blocks(w->spool) > 1 && w->view->fs->options->md5) {
		int rc = spool_md5(w->spool, x->md5);
		if (rc)
			return adafs_err_set(reterr, rc, "cannot read the spool: %s",
					     strerror(-rc));
		put.md5 = x->md5;
	}
	if (spool_n_blocks(w->spool) > 1)
		return wfile_put_blocks(w, &put, x->etag, reterr);
	const struct adafs_blob_source src = whole(w);
	return adafs_blob_put(w->view->fs->blob, w->view->container, w->blob, &src, &put, x->etag,
			      reterr);
}

/* Whether what stands in the way may be an own commit: of this one, or an earlier one without an
 * answer (*w->nonce). */
static bool may_be_own(const struct commit *x, int rc, const struct adafs_err *err)
{
	return (rc == -ESTALE || rc == -EEXIST) && (err->outcome_unknown || *x->w->nonce);
}

/* After a first put ended with rc. */
static int put_end(struct commit *x, int rc, struct adafs_err *reterr)
{
	bool unknown = reterr->outcome_unknown;
	if (may_be_own(x, rc, reterr)) {
		rc = resolve(x->w, x->nonce, x->etag, reterr);
		reterr->outcome_unknown = unknown;
		if (rc == 1)
			rc = put_once(x, reterr);
	}
	if (rc == -ESTALE || rc == -EEXIST)
		return adafs_err_set(reterr, -ESTALE, "'%s' was changed by somebody else meanwhile",
				     x->w->blob);
	return rc;
}

/* The new version is what the node is from now on. */
static int adopt(struct wfile *w, const struct adafs_blob_meta *meta, const char *etag)
{
	ADAFS_FREE char *prefix = NULL;
	const char *name;
	struct adafs_blob_props props = { .size = wfile_size_locked(w), .meta = *meta };
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
	wfile_drop_copy_locked(w);
	adafs_mutex_unlock(&w->lock);
	return rc;
}

static void tell_later(struct wfile *w, int tell, const char *etag, const char *sha256,
		       struct adafs_blob_meta *meta, const struct adafs_err *why)
{
	const struct blobdir_policy *p = w->view->policy;
	if (tell == TELL_COMMITTED && !p->committed)
		return;
	/* An earlier flush was committed, and stays: what it started does not wait for a listing to
	 * find it. */
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
		return killed ? adafs_err_set(reterr, -ECANCELED,
					      "the program that wrote it was killed")
			      : 0;
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

static int commit_prepare(struct commit *x, bool killed, struct adafs_err *reterr)
{
	int rc = ask_policy(x->w, killed, x->sha256, &x->meta, reterr);
	if (!rc)
		rc = add_carried(x->w, &x->meta);
	return rc ? rc : make_meta(x->w, &x->meta, x->nonce);
}

/* The outcome: rc of what came before. */
static int commit_end(struct commit *x, int rc, struct adafs_err *reterr)
{
	struct wfile *w = x->w;
	bool stored = !rc;
	if (stored && (rc = adopt(w, &x->meta, x->etag)))
		adafs_err_set(reterr, rc, "stored, but out of memory");
	/* One that failed for sure stands in nobody's way; the one before it may still. */
	if (rc && x->put && (stored || reterr->outcome_unknown))
		snprintf(w->nonce, sizeof(w->nonce), "%s", x->nonce);
	if (rc == -ESTALE)
		blobdir_mistaken(w->node);
	/* What is stored is a commit, whatever became of its nodes: it has to get its job. */
	if (stored)
		tell_later(w, TELL_COMMITTED, x->etag, x->sha256, &x->meta, NULL);
	else if (rc == -EBADMSG || rc == -ESTALE)
		tell_later(w, TELL_REFUSED, NULL, x->sha256, NULL, reterr);
	adafs_blob_meta_clear(&x->meta);
	return rc;
}

int wfile_commit(struct wfile *w, bool killed, struct adafs_err *reterr)
{
	struct commit x = { .w = w };
	int rc = 0;
	/* A copy that did not become whole. */
	if (!killed && w->copied && w->copied->len < w->copied->entry->size)
		rc = wfile_fetch(w);
	if (rc)
		return adafs_err_set(reterr, rc, "fetching the content");
	rc = commit_prepare(&x, killed, reterr);
	if (!rc)
		rc = put_end(&x, put_once(&x, reterr), reterr);
	return commit_end(&x, rc, reterr);
}

/*
 * --- without waiting -----------------------------------------------------------------------------
 */
static void start_end(struct commit *x, int rc)
{
	struct wfile *w = x->w;
	struct call *call = x->call;
	rc = wfile_committed(w, commit_end(x, rc, &x->err), &x->err);
	free(x);
	wfile_end(w);
	call_reply(call, rc);
}

static void end_on_worker(void *arg)
{
	struct commit *x = arg;
	start_end(x, put_end(x, x->err.rc, &x->err));
}

static void on_put(void *arg, struct adafs_http_response *response, const struct adafs_err *err)
{
	struct commit *x = arg;
	int rc = adafs_err_copy(&x->err, err);
	if (!rc)
		adafs_blob_etag(response, x->etag);
	/* Only to find out whose blob it is has to wait for the network. */
	if (!may_be_own(x, rc, err))
		start_end(x, put_end(x, rc, &x->err));
	else if (workers_run(x->w->view->fs->workers, end_on_worker, x))
		start_end(x, x->err.rc = -EAGAIN);
}

int wfile_commit_start(struct wfile *w, struct call *call)
{
	struct commit *x = calloc(1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	*x = (struct commit){ .w = w, .call = call };
	int rc = commit_prepare(x, false, &x->err);
	if (rc) {
		adafs_blob_meta_clear(&x->meta);
		free(x);
		return rc;
	}
	x->put = true;
	const struct adafs_blob_put put = how_to_put(x);
	const struct adafs_blob_source src = whole(w);
	adafs_blob_put_start(w->view->fs->blob, w->view->container, w->blob, &src, &put, on_put, x);
	return 0;
}

/*
 * --- what is left --------------------------------------------------------------------------------
 */
void wfile_rescue(struct wfile *w)
{
	char sha256[ADAFS_SHA256_HEX_LEN];
	adafs_mutex_lock(&w->lock);
	const struct adafs_err why = w->held;
	int64_t size = spool_size(w->spool);
	/* Bytes that a write lost are no content to keep; a refusal is told anyway; new bytes have
	 * a close of their own. */
	bool wanted = size && !w->lost_rc && !w->unlinked && w->tell != TELL_REFUSED &&
		      w->held_gen == w->gen;
	adafs_mutex_unlock(&w->lock);
	if (!wanted)
		return;
	if (w->view->policy->refused && !spool_sha256(w->spool, sha256))
		tell_later(w, TELL_REFUSED, NULL, sha256, NULL, &why);
	else
		adafs_log(ERROR, "fs",
			  "'%s/%s': what was written after its last close(2) is lost: %s",
			  w->view->container, w->blob, why.msg);
}
