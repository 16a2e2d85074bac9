/*
 * blobdir_attr.c - attributes of a blob tree. Time and permission bits stand in the blob's metadata
 * (fs/blob/meta.h), those of a directory in that of its marker. Owners are the mount's.
 */
#include "fs/blob/blobdir_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "batch/base/log.h"

int blobdir_check_version(struct call *c, struct node *n)
{
	struct view *v = bnode_of(n)->view;
	ADAFS_FREE char *blob = blobdir_blob(n), *prefix = NULL;
	const char *name;
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *now = NULL, *mine = bnode_entry(n);
	struct adafs_err err = { 0 };
	if (!mine)
		return -ESTALE;
	if (!blob || blob_split(blob, &prefix, &name))
		return -ENOMEM;
	int rc = blobs_lookup(c->fs->blobs, v->container, prefix, name, c->may_wait, &now, &err);
	if (rc == -ENOENT)
		return -ESTALE;
	if (rc)
		return blobdir_log(rc, "lookup", v->container, blob, &err);
	if (now->is_dir || strcmp(now->etag, mine->etag))
		return -ESTALE;
	if (now != mine)
		bnode_set_entry(n, now);
	return 0;
}

/*
 * --- reading ------------------------------------------------------------------------------------
 */
static bool has_readers(const struct node *n)
{
	adafs_mutex_lock(&wfiles_lock);
	bool any = bnode_of(n)->readers > 0;
	adafs_mutex_unlock(&wfiles_lock);
	return any;
}

static int file_getattr(struct call *c, struct node *n, struct stat *ret, double *ret_timeout_s)
{
	struct wfile *w = wfile_of(n);
	if (w) {
		wfile_stat(w, ret);
		wfile_unref(w);
		*ret_timeout_s = 0;
		return 0;
	}
	/*
	 * An open file stays what it was at open, and fstat(2) comes without its handle. A path is
	 * looked up first, so it gets to a newer version all the same.
	 */
	bool open = has_readers(n);
	int rc = open ? 0 : blobdir_check_version(c, n);
	if (rc)
		return rc;
	ADAFS_FREE char *blob = blobdir_blob(n), *prefix = NULL;
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = bnode_entry(n);
	const char *name;
	if (!e)
		return -ESTALE;
	if (!blob || blob_split(blob, &prefix, &name))
		return -ENOMEM;
	blobdir_stat(n, e, ret);
	*ret_timeout_s = blobs_left_s(c->fs->blobs, bnode_of(n)->view->container, prefix, name);
	return 0;
}

int blobdir_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
		    double *ret_timeout_s)
{
	(void)h;
	if (!bnode_of(n)->is_dir)
		return file_getattr(c, n, ret, ret_timeout_s);
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = bnode_entry(n);
	blobdir_stat(n, e, ret);
	*ret_timeout_s = c->fs->options->attr_timeout_s;
	return 0;
}

/* --- metadata of files
 * ---------------------------------------------------------------------------- */
/* Apply a change to what an entry has. A time that was only Last-Modified is noted, since every
 * change moves that. */
static int apply(const struct blob_entry *e, struct adafs_blob_props *props,
		 const struct meta_change *change, bool *ret_changed)
{
	struct meta_change with_time = *change;
	int rc = meta_apply(&props->meta, change, e->is_dir, ret_changed);
	if (rc || !*ret_changed || change->mtime || !*e->etag)
		return rc;
	with_time = (struct meta_change){ .mtime = &e->mtime };
	bool ignored;
	return meta_apply(&props->meta, &with_time, e->is_dir, &ignored);
}

/* Set Blob Metadata: all of it is replaced, so all of it is sent, for this version only. */
static int send_meta(struct call *c, struct node *n, const struct blob_entry *e,
		     struct adafs_blob_props *props, struct adafs_err *reterr)
{
	const struct view *v = bnode_of(n)->view;
	ADAFS_FREE char *blob = blobdir_blob(n), *prefix = NULL;
	const char *name;
	if (!blob || blob_split(blob, &prefix, &name))
		return -ENOMEM;
	const struct adafs_blob_cond cond = { .if_match = e->etag };
	int rc = adafs_blob_set_meta(c->fs->blob, v->container, blob, &props->meta, &cond,
				     props->etag, reterr);
	if (rc)
		return rc;
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *fresh = blob_entry_new(name, props);
	if (!fresh)
		return -ENOMEM;
	blobs_put(c->fs->blobs, v->container, prefix, name, fresh);
	bnode_set_entry(n, fresh);
	return 0;
}

static int change_file(struct call *c, struct node *n, const struct meta_change *change)
{
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = bnode_entry(n);
	ADAFS_CLEANUP(adafs_blob_props_clear) struct adafs_blob_props props = { 0 };
	struct adafs_err err = { 0 };
	bool changed;
	if (!e)
		return -ESTALE;
	int rc = blob_entry_props(e, &props);
	if (!rc)
		rc = apply(e, &props, change, &changed);
	if (rc || !changed)
		return rc;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	struct hold hold;
	blobdir_hold(n, NULL, false, &hold);
	rc = send_meta(c, n, e, &props, &err);
	blobdir_let_go(&hold, false);
	if (rc == -ENOENT || rc == -ESTALE)
		blobdir_mistaken(n);
	if (rc)
		return blobdir_log(rc == -ENOENT ? -ESTALE : rc, "setting metadata",
				   bnode_of(n)->view->container, e->name, &err);
	struct node *dir = node_parent(n);
	rc = node_move(n, dir, e->name, props.etag);
	node_unref(dir);
	return rc;
}

/* Open for writing but clean: the commit that may follow has to find the new ETag. */
static int change_clean(struct call *c, struct wfile *w, struct node *n,
			const struct meta_change *change)
{
	wfile_begin(w);
	int rc = change_file(c, n, change);
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = rc ? NULL : bnode_entry(n);
	if (e)
		wfile_rebase(w, e);
	wfile_end(w);
	return rc;
}

/* --- metadata of directories
 * ------------------------------------------------------------------------ */
/* What stands there now: the marker, or NULL. -EEXIST: a blob that is none, which the directory
 * hides. */
static int read_marker(struct call *c, struct node *n, const char *blob, const char *name,
		       struct blob_entry **ret, struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_blob_props_clear) struct adafs_blob_props props = { 0 };
	int rc = adafs_blob_head(c->fs->blob, bnode_of(n)->view->container, blob, NULL, &props,
				 reterr);
	*ret = NULL;
	if (rc == -ENOENT)
		return 0;
	if (!rc && !blob_meta_is_dir(&props.meta))
		return -EEXIST;
	if (!rc && !(*ret = blob_entry_new(name, &props)))
		return -ENOMEM;
	return rc;
}

static int make_marker(struct call *c, struct node *n, const char *blob,
		       struct adafs_blob_meta *meta, struct adafs_err *reterr)
{
	const struct view *v = bnode_of(n)->view;
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *fresh = NULL;
	ADAFS_FREE char *prefix = NULL;
	const char *name;
	int rc = adafs_blob_meta_set(meta, META_FOLDER, "true");
	if (!rc)
		rc = blob_split(blob, &prefix, &name);
	if (!rc)
		rc = blobdir_put_new(c->fs, v->container, blob, "", meta, &fresh, reterr);
	if (rc)
		return rc;
	blobs_put(c->fs->blobs, v->container, prefix, name, fresh);
	bnode_set_entry(n, fresh);
	return 0;
}

/* One try with the marker as it is thought to be; e NULL or without ETag: there is none. */
static int change_marker(struct call *c, struct node *n, const char *blob,
			 const struct blob_entry *e, const struct meta_change *change,
			 struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_blob_props_clear) struct adafs_blob_props props = { 0 };
	bool marked = e && *e->etag, changed;
	int rc = marked ? blob_entry_props(e, &props) : 0;
	if (!rc)
		rc = marked ? apply(e, &props, change, &changed)
			    : meta_apply(&props.meta, change, true, &changed);
	if (rc || !changed)
		return rc;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	return marked ? send_meta(c, n, e, &props, reterr)
		      : make_marker(c, n, blob, &props.meta, reterr);
}

static int change_dir(struct call *c, struct node *n, const struct meta_change *change)
{
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = bnode_entry(n), *now = NULL;
	ADAFS_FREE char *blob = blobdir_blob(n), *prefix = NULL;
	const char *name;
	struct adafs_err err = { 0 };
	/* A container has no blob of its own: times and modes of it are accepted and not kept. */
	if (n == bnode_of(n)->view->root)
		return change->xattr ? -EOPNOTSUPP : 0;
	if (!blob || blob_split(blob, &prefix, &name))
		return -ENOMEM;
	int rc = change_marker(c, n, blob, e, change, &err);
	if (rc == -ESTALE || rc == -ENOENT || (rc == -EEXIST && !(change->xattr_flags))) {
		rc = read_marker(c, n, blob, name, &now, &err);
		if (rc == -EEXIST)
			return change->xattr ? -EOPNOTSUPP : 0;
		if (!rc)
			rc = change_marker(c, n, blob, now, change, &err);
	}
	return rc == -ENODATA || rc == -EEXIST || rc == -EPERM
		       ? rc
		       : blobdir_log(rc, "setting metadata", bnode_of(n)->view->container, blob,
				     &err);
}

int blobdir_change_meta(struct call *c, struct node *n, const struct meta_change *change)
{
	if (bnode_of(n)->is_dir)
		return change_dir(c, n, change);
	struct wfile *w = wfile_of(n);
	if (!w)
		return change_file(c, n, change);
	int rc = wfile_change_meta(w, c->may_wait, change);
	if (rc == -EAGAIN)
		rc = c->may_wait ? change_clean(c, w, n, change) : -EWOULDBLOCK;
	wfile_unref(w);
	return rc;
}

/* --- setattr
 * ---------------------------------------------------------------------------------------- */
int blobdir_setattr(struct call *c, struct node *n, struct handle *h, const struct stat *st,
		    int to_set, struct stat *ret)
{
	double timeout_s;
	const struct view *v = bnode_of(n)->view;
	struct timespec t = st->st_mtim;
	struct meta_change change = { 0 };
	if (v->policy->read_only || c->fs->options->read_only)
		return -EROFS;
	int rc = 0;
	if ((to_set & FUSE_SET_ATTR_SIZE) && !bnode_of(n)->is_dir)
		rc = blobdir_truncate(c, n, h, st->st_size);
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		clock_gettime(CLOCK_REALTIME, &t);
	if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
		change.mtime = &t;
	if (to_set & FUSE_SET_ATTR_MODE)
		change.mode = &st->st_mode;
	/* Owners and times of access are accepted and not kept. */
	if (!rc && (change.mtime || change.mode))
		rc = blobdir_change_meta(c, n, &change);
	return rc ? rc : blobdir_getattr(c, n, h, ret, &timeout_s);
}
