/*
 * fetch.c - content that a file being written has from elsewhere: of the version that it replaces,
 * or of another blob that copy_file_range(2) named. The latter is only noted while the copy is
 * going on; once it is whole, the service makes it, and no byte passes through here. What changes
 * it before that brings the bytes to the spool.
 */
#include "fs/blob/blobdir_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/file.h"
#include "batch/base/log.h"

#define FETCH_CHUNK ((size_t)4 * 1024 * 1024)

/*
 * --- bytes --------------------------------------------------------------------------------------
 */
struct origin {
	const char *container, *blob, *etag;
	int64_t size;
};

static struct origin origin_of(const struct wfile *w)
{
	const struct copied *c = w->copied;
	if (c)
		return (struct origin){ c->container, c->blob, c->entry->etag, c->len };
	return (struct origin){ w->view->container, w->blob, w->base->etag, w->base->size };
}

static int fetch_range(struct wfile *w, const struct origin *from, char *buf, int64_t off,
		       struct adafs_err *reterr)
{
	size_t want = FETCH_CHUNK, got;
	if ((int64_t)want > from->size - off)
		want = (size_t)(from->size - off);
	int rc = adafs_blob_get(w->view->fs->blob, from->container, from->blob, NULL, off, want,
				from->etag, buf, FETCH_CHUNK, &got, reterr);
	if (rc)
		return rc;
	if (got != want)
		return adafs_err_set(reterr, -EIO, "%zu bytes of %zu at %lld", got, want,
				     (long long)off);
	return adafs_pwrite_all(spool_fd(w->spool), buf, got, off);
}

int wfile_fetch(struct wfile *w)
{
	const struct origin from = origin_of(w);
	struct adafs_err err = { 0 };
	ADAFS_FREE char *buf = malloc(FETCH_CHUNK);
	if (!buf)
		return -ENOMEM;
	adafs_mutex_lock(&w->lock);
	int rc = spool_fill_begin(w->spool, from.size);
	adafs_mutex_unlock(&w->lock);
	for (int64_t off = 0; !rc && off < from.size; off += (int64_t)FETCH_CHUNK)
		rc = fetch_range(w, &from, buf, off, &err);
	if (rc)
		return blobdir_log(rc == -ENOENT ? -ESTALE : rc, "fetching the content",
				   from.container, from.blob, &err);
	adafs_mutex_lock(&w->lock);
	w->fetched = true;
	wfile_drop_copy_locked(w);
	adafs_mutex_unlock(&w->lock);
	return 0;
}

/*
 * --- copies -------------------------------------------------------------------------------------
 */
void wfile_drop_copy_locked(struct wfile *w)
{
	struct copied *c = w->copied;
	if (!c)
		return;
	w->copied = NULL;
	blob_entry_unref(c->entry);
	free(c->container);
	free(c->blob);
	free(c);
}

/* Note that content begins as e; the file is empty. */
static int copy_begin(struct wfile *w, struct node *source, struct blob_entry *e)
{
	struct copied *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct copied){ .entry = blob_entry_ref(e),
			      .container = strdup(bnode_of(source)->view->container),
			      .blob = blobdir_blob(source) };
	adafs_mutex_lock(&w->lock);
	w->copied = c;
	w->fetched = false;
	adafs_mutex_unlock(&w->lock);
	return c->container && c->blob ? 0 : -ENOMEM;
}

/* It did not become a copy: empty as before, and the caller moves the bytes. */
static void copy_undo(struct wfile *w)
{
	adafs_mutex_lock(&w->lock);
	wfile_drop_copy_locked(w);
	w->fetched = true;
	adafs_mutex_unlock(&w->lock);
}

/* Whether a copy from off on begins one, or goes on with the one that is noted. */
static bool copy_fits(struct wfile *w, const struct blob_entry *e, int64_t off)
{
	adafs_mutex_lock(&w->lock);
	const struct copied *c = w->copied;
	bool fits = c ? c->entry == e && off == c->len
		      : w->dirty && w->fetched && !off && !spool_size(w->spool);
	adafs_mutex_unlock(&w->lock);
	return fits && !w->unlinked;
}

/*
 * The copy is whole with its last n bytes: have it made. Called between begin and end. Where the
 * service cannot, what was noted before comes to the spool, and the caller moves these.
 */
static int copy_make(struct wfile *w, int64_t n)
{
	struct adafs_err err = { 0 };
	int rc = wfile_commit(w, false, &err);
	if (!rc)
		return 0;
	adafs_log(INFO, "fs", "'%s' is not copied by the service: %s", w->blob, err.msg);
	bool no_answer = rc == -ETIMEDOUT || rc == -EHOSTDOWN || rc == -EHOSTUNREACH;
	adafs_mutex_lock(&w->lock);
	w->copied->len -= n;
	bool noted = w->copied->len;
	adafs_mutex_unlock(&w->lock);
	int lost = noted ? wfile_fetch(w) : 0;
	if (!noted)
		copy_undo(w);
	/* Changed or gone, or not what it copies: whoever moves the bytes is told what is wrong. */
	return lost ? lost : no_answer ? rc : -EOPNOTSUPP;
}

static int copy_on(struct wfile *w, struct node *source, struct blob_entry *e, int64_t off,
		   int64_t n)
{
	int rc = 0;
	if (!copy_fits(w, e, off))
		return -EOPNOTSUPP;
	if (!w->copied)
		rc = copy_begin(w, source, e);
	if (rc) {
		copy_undo(w);
		return rc;
	}
	adafs_mutex_lock(&w->lock);
	w->copied->len += n;
	wfile_changed_locked(w);
	bool whole = w->copied->len == e->size;
	adafs_mutex_unlock(&w->lock);
	return whole ? copy_make(w, n) : 0;
}

int wfile_end_copy(struct wfile *w, bool may_wait)
{
	if (!may_wait)
		return -EWOULDBLOCK;
	wfile_begin(w);
	int rc = w->copied ? wfile_fetch(w) : 0;
	wfile_end(w);
	return rc;
}

int wfile_copy_from(struct wfile *w, bool may_wait, struct node *source, off_t from, off_t to,
		    size_t len, size_t *ret_len)
{
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = bnode_entry(source);
	/* Only what is stored whole, and where storing is all that a commit is. */
	if (!e || e->is_dir || e->archived || e->type != ADAFS_BLOB_BLOCK || from != to ||
	    from >= e->size || w->view->policy->before_commit)
		return -EOPNOTSUPP;
	int64_t n = (uint64_t)len < (uint64_t)(e->size - from) ? (int64_t)len : e->size - from;
	/* The reply has 32 bits. A part is only worth noting as the beginning of a copy that goes
	 * on so. */
	if (n > WFILE_COPY_MAX)
		n = WFILE_COPY_MAX;
	if (n < e->size - from && n < WFILE_COPY_MAX)
		return -EOPNOTSUPP;
	if (!may_wait)
		return -EWOULDBLOCK;
	struct wfile *writer = wfile_of(source);
	bool written = writer && (writer->dirty || writer == w);
	wfile_unref(writer);
	if (written)
		return -EOPNOTSUPP;
	wfile_begin(w);
	int rc = copy_on(w, source, e, to, n);
	wfile_end(w);
	if (!rc)
		*ret_len = (size_t)n;
	return rc;
}
