/*
 * blobdir_file.c - open files of a blob tree. A handle reads what its node is: the spool while
 * somebody writes the node, else the node's version through the block cache. Since a node only
 * changes its version by this mount's own commit, a reader never mixes two versions of somebody
 * else.
 */
#include "fs/blob/blobdir_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "batch/base/log.h"
#include "fs/blob/names.h"
#include "fs/kernel/op.h"
#include "fs/read/read.h"

struct bfile {
	struct handle base;
	struct wfile *w;       /* open for writing: a reference and a count in handles */
	struct handle *reader; /* of version reader_etag; under wfiles_lock */
	char reader_etag[ADAFS_ETAG_LEN];
};

/* --- reading ---------------------------------------------------------------------------------- */
/* The reader of an entry's version, with a reference; made or replaced when the version is another
 * one. */
static int take_reader(struct fs *fs, struct bfile *f, struct node *n, const struct blob_entry *e,
		       struct handle **ret)
{
	adafs_mutex_lock(&wfiles_lock);
	if (f->reader && !strcmp(f->reader_etag, e->etag)) {
		*ret = handle_ref(f->reader);
		adafs_mutex_unlock(&wfiles_lock);
		return 0;
	}
	adafs_mutex_unlock(&wfiles_lock);
	ADAFS_FREE char *blob = blobdir_blob(n);
	struct fuse_file_info fi = { 0 };
	struct handle *fresh;
	int rc = blob ? read_open(fs, fs->blob, bnode_of(n)->view->container, blob, e->etag,
				  e->size, &fi, &fresh)
		      : -ENOMEM;
	if (rc)
		return rc;
	fresh->refs = 2; /* the file's and the caller's */
	adafs_mutex_lock(&wfiles_lock);
	struct handle *old = f->reader;
	f->reader = fresh;
	snprintf(f->reader_etag, sizeof(f->reader_etag), "%s", e->etag);
	adafs_mutex_unlock(&wfiles_lock);
	if (old)
		handle_unref(fs, old);
	*ret = fresh;
	return 0;
}

static int read_version(struct call *c, struct bfile *f, struct blob_entry *e, size_t size,
			off_t off, struct adafs_buf *ret)
{
	struct handle *reader;
	int rc = take_reader(c->fs, f, f->base.node, e, &reader);
	if (rc)
		return rc;
	struct fs *fs = c->fs;
	/* The call may be answered and gone when this returns. */
	rc = reader->ops->read(c, reader, size, off, ret);
	handle_unref(fs, reader);
	return rc;
}

static int bfile_read(struct call *c, struct handle *h, size_t size, off_t off,
		      struct adafs_buf *ret)
{
	struct bfile *f = (struct bfile *)h;
	adafs_mutex_lock(&wfiles_lock);
	c->seen = bnode_of(h->node)->changes;
	adafs_mutex_unlock(&wfiles_lock);
	struct wfile *w = wfile_of(h->node);
	if (w) {
		int rc = adafs_buf_reserve(ret, size);
		ssize_t n = rc ? rc : wfile_read(w, c->may_wait, ret->data, size, off);
		wfile_unref(w);
		if (n >= 0)
			ret->len = (size_t)n;
		if (n != -EAGAIN)
			return n < 0 ? (int)n : 0;
	}
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = bnode_entry(h->node);
	return e ? read_version(c, f, e, size, off, ret) : -ESTALE;
}

/* Asked after a failed read: what is under way ends first, and then the node is another version, or
 * it is not. */
static bool bfile_moved_on(struct call *c, struct handle *h)
{
	bool waited;
	if (blobdir_await(c, h->node, &waited))
		return false;
	adafs_mutex_lock(&wfiles_lock);
	bool moved = bnode_of(h->node)->changes != c->seen;
	bool gone = bnode_of(h->node)->orphan;
	adafs_mutex_unlock(&wfiles_lock);
	if (!moved && !gone)
		blobdir_mistaken(h->node);
	return moved;
}

/* --- writing ---------------------------------------------------------------------------------- */
static int bfile_write(struct call *c, struct handle *h, const void *data, size_t size, off_t off)
{
	struct bfile *f = (struct bfile *)h;
	return f->w ? wfile_write(f->w, c->may_wait, data, size, off) : -EBADF;
}

static int bfile_flush(struct call *c, struct handle *h)
{
	struct bfile *f = (struct bfile *)h;
	return wfile_flush(f->w, c, call_caller_killed(c));
}

static int bfile_fsync(struct call *c, struct handle *h)
{
	struct bfile *f = (struct bfile *)h;
	return wfile_fsync(f->w, c);
}

static int bfile_fallocate(struct call *c, struct handle *h, off_t off, off_t len)
{
	struct bfile *f = (struct bfile *)h;
	return wfile_reserve(f->w, c->may_wait, off, len);
}

static void bfile_release(struct call *c, struct handle *h)
{
	struct bfile *f = (struct bfile *)h;
	if (f->w)
		wfile_close(f->w);
	else
		blobdir_reader_gone(h->node);
	if (f->reader)
		handle_unref(c->fs, f->reader);
	free(f);
}

static const struct handle_ops reader_ops = {
	.read = bfile_read,
	.moved_on = bfile_moved_on,
	.release = bfile_release,
};

static int bfile_copy(struct call *c, struct handle *h, off_t to, struct handle *source, off_t from,
		      size_t len, size_t *ret_len)
{
	struct bfile *f = (struct bfile *)h;
	if (source->ops != &reader_ops && source->ops != h->ops)
		return -EOPNOTSUPP;
	return wfile_copy_from(f->w, c->may_wait, source->node, from, to, len, ret_len);
}

static bool bfile_release_now(struct call *c, struct handle *h)
{
	struct bfile *f = (struct bfile *)h;
	if (!wfile_close_now(f->w, c->may_wait))
		return false;
	if (f->reader)
		handle_unref(c->fs, f->reader);
	free(f);
	return true;
}

static const struct handle_ops writer_ops = {
	.read = bfile_read,
	.moved_on = bfile_moved_on,
	.write = bfile_write,
	.flush = bfile_flush,
	.fsync = bfile_fsync,
	.fallocate = bfile_fallocate,
	.copy = bfile_copy,
	.release_now = bfile_release_now,
	.release = bfile_release,
};

static struct bfile *bfile_new(const struct handle_ops *ops)
{
	struct bfile *f = calloc(1, sizeof(*f));
	if (f)
		f->base.ops = ops;
	return f;
}

/* --- open and create
 * ------------------------------------------------------------------------------ */
/*
 * Whether a writer of content that starts empty does without the page cache: its bytes are copied
 * once less, and the kernel need not ask for security.capability before each write. Only while
 * nobody else has the file open, so no page of it exists; whoever opens it meanwhile gets the same.
 * O_SYNC is left to the path on which the kernel sends FSYNC.
 */
static void choose_direct(struct node *n, struct wfile *w, struct fuse_file_info *fi)
{
	adafs_mutex_lock(&wfiles_lock);
	if ((fi->flags & O_ACCMODE) == O_WRONLY && !(fi->flags & (O_SYNC | O_DSYNC)) &&
	    w->handles == 1 && !bnode_of(n)->readers)
		w->direct = true;
	adafs_mutex_unlock(&wfiles_lock);
}

/* Without pages of the kernel, as the file's other opens. */
static void open_as_others(const struct wfile *w, struct fuse_file_info *fi)
{
	adafs_mutex_lock(&wfiles_lock);
	fi->direct_io = w->direct;
	adafs_mutex_unlock(&wfiles_lock);
	if (fi->direct_io)
		fi->keep_cache = 0;
}

static int open_writer(struct call *c, struct node *n, struct fuse_file_info *fi,
		       struct handle **ret)
{
	struct view *v = bnode_of(n)->view;
	ADAFS_FREE char *blob = blobdir_blob(n), *prefix = NULL;
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *base = bnode_entry(n);
	const char *name;
	if (v->policy->read_only || c->fs->options->read_only)
		return -EROFS;
	/* Others append to it, or use it as a disk: as a block blob it would be neither. */
	if (base && base->type != ADAFS_BLOB_BLOCK)
		return -EPERM;
	struct bfile *f = bfile_new(&writer_ops);
	if (!f || !blob || blob_split(blob, &prefix, &name)) {
		free(f);
		return -ENOMEM;
	}
	struct node *dir = node_parent(n);
	int rc = wfile_open(n, dir, name, base, &f->w);
	node_unref(dir);
	if (!rc && (fi->flags & O_TRUNC)) {
		rc = wfile_truncate(f->w, c->may_wait, 0);
		if (rc)
			wfile_close(ADAFS_STEAL(f->w));
		else
			choose_direct(n, f->w, fi);
	}
	if (rc) {
		free(f);
		return rc;
	}
	open_as_others(f->w, fi);
	*ret = &f->base;
	return 0;
}

/* truncate(2) without a handle is an open, a truncate and a close. */
static int truncate_path(struct call *c, struct node *n, int64_t size)
{
	struct handle *h;
	struct fuse_file_info fi = { .flags = O_WRONLY };
	if (!c->may_wait)
		return -EWOULDBLOCK;
	struct wfile *w = wfile_of(n);
	int rc = w ? 0 : blobdir_check_version(c, n);
	wfile_unref(w);
	if (!rc)
		rc = open_writer(c, n, &fi, &h);
	if (rc)
		return rc;
	struct bfile *f = (struct bfile *)h;
	rc = wfile_truncate(f->w, true, size);
	if (!rc)
		rc = wfile_commit_alone(f->w);
	wfile_close(f->w);
	free(f);
	return rc;
}

int blobdir_open(struct call *c, struct node *n, struct fuse_file_info *fi, struct handle **ret)
{
	bool waited;
	int rc = blobdir_await(c, n, &waited);
	if (!rc && (fi->flags & O_ACCMODE) != O_WRONLY)
		rc = wfile_await_close(n, c->may_wait);
	if (rc)
		return rc;
	struct wfile *w = wfile_of(n);
	if (w)
		wfile_unref(w);
	else
		rc = blobdir_check_version(c, n);
	if (rc)
		return rc;
	adafs_mutex_lock(&wfiles_lock);
	fi->keep_cache = !bnode_of(n)->pages_lost;
	adafs_mutex_unlock(&wfiles_lock);
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = bnode_entry(n);
	if (e && e->archived && !(fi->flags & O_TRUNC)) {
		adafs_log(WARN, "fs", "'%s' is archived: rehydrate it to a readable tier first",
			  e->name);
		return -EIO;
	}
	if (writes)
		return open_writer(c, n, fi, ret);
	/* The kernel leaves O_TRUNC to us for readers too. */
	rc = fi->flags & O_TRUNC ? truncate_path(c, n, 0) : 0;
	if (rc)
		return rc;
	struct bfile *f = bfile_new(&reader_ops);
	if (!f)
		return -ENOMEM;
	adafs_mutex_lock(&wfiles_lock);
	bnode_of(n)->readers++;
	fi->direct_io = bnode_of(n)->w && bnode_of(n)->w->direct;
	adafs_mutex_unlock(&wfiles_lock);
	*ret = &f->base;
	return 0;
}

/* A version that no ETag can be, for a file that the service does not have. */
static void new_version(char ret[40])
{
	static uint64_t counter;
	snprintf(ret, 40, "new-%llu",
		 (unsigned long long)__atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED));
}

/*
 * What the new file replaces: nothing, or a blob that the view hides. Where nothing is hidden it is
 * not asked for: the kernel has just looked, and if something is there after all, the commit finds
 * out.
 */
static int base_of_new(struct call *c, struct node *dir, const char *name, struct blob_entry **ret)
{
	const struct view *v = bnode_of(dir)->view;
	ADAFS_FREE char *prefix = blobdir_prefix(dir);
	bool known;
	if (!prefix)
		return -ENOMEM;
	struct blob_entry *e = blobs_peek(c->fs->blobs, v->container, prefix, name, &known);
	if (!e && !known && v->policy->shown) {
		struct adafs_err err = { 0 };
		int rc = blobs_lookup(c->fs->blobs, v->container, prefix, name, c->may_wait, &e,
				      &err);
		if (rc == -EWOULDBLOCK)
			return rc;
		if (rc && rc != -ENOENT)
			return blobdir_log(rc, "looking up", v->container, name, &err);
	}
	if (e && blobdir_shown(dir, e)) {
		blob_entry_unref(e);
		return -EEXIST;
	}
	*ret = e;
	return 0;
}

int blobdir_create(struct call *c, struct node *dir, const char *name, mode_t mode,
		   struct fuse_file_info *fi, struct child *ret, struct handle **ret_handle)
{
	const struct view *v = bnode_of(dir)->view;
	const struct meta_change bits = { .mode = &mode };
	ADAFS_FREE char *blob = blobdir_blob_in(dir, name);
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *base = NULL;
	char version[40];
	if (v->policy->read_only || c->fs->options->read_only)
		return -EROFS;
	int rc = blob ? names_check_blob(blob) : -ENOMEM;
	if (rc)
		return rc;
	struct wfile *other = wfile_find(c->fs, dir, name);
	rc = other ? -EEXIST : base_of_new(c, dir, name, &base);
	wfile_unref(other);
	/* The kernel did not know of it: without O_EXCL it is to look again and open it. */
	if (rc == -EEXIST && !(fi->flags & O_EXCL))
		return -ESTALE;
	if (rc)
		return rc;
	new_version(version);
	struct bfile *f = bfile_new(&writer_ops);
	struct node *n = f ? blobdir_node(dir, name, version, NULL, false) : NULL;
	rc = n ? wfile_open(n, dir, name, base, &f->w) : -ENOMEM;
	if (!rc && base)
		rc = wfile_truncate(f->w, true, 0);
	if (!rc)
		rc = wfile_change_meta(f->w, true, &bits);
	if (rc) {
		if (f && f->w)
			wfile_close(f->w);
		node_unref(n);
		free(f);
		return rc;
	}
	*ret = (struct child){ .node = n };
	wfile_stat(f->w, &ret->st);
	fi->keep_cache = 1;
	choose_direct(n, f->w, fi);
	open_as_others(f->w, fi);
	*ret_handle = &f->base;
	return 0;
}

/*
 * --- truncate ----------------------------------------------------------------------------------
 */
int blobdir_truncate(struct call *c, struct node *n, struct handle *h, int64_t size)
{
	struct bfile *f = (struct bfile *)h;
	return f && f->w ? wfile_truncate(f->w, c->may_wait, size) : truncate_path(c, n, size);
}
