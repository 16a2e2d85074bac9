/* blobdir_mutate.c - mkdir, rmdir and unlink in a tree of blobs. */
#include "fs/blob/blobdir_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "batch/base/log.h"
#include "fs/blob/names.h"

static bool read_only(const struct call *c, const struct node *dir)
{
	return bnode_of(dir)->view->policy->read_only || c->fs->options->read_only;
}

int blobdir_put_new(struct fs *fs, const char *container, const char *blob, const char *text,
		    struct adafs_blob_meta *meta, struct blob_entry **ret, struct adafs_err *reterr)
{
	ADAFS_FREE char *prefix = NULL;
	const char *name;
	struct timespec now;
	bool changed;
	clock_gettime(CLOCK_REALTIME, &now);
	const struct meta_change time = { .mtime = &now };
	const struct adafs_blob_source src = { .data = text, .len = strlen(text) };
	struct adafs_blob_props props = { .size = (int64_t)src.len,
					  .created = now.tv_sec,
					  .last_modified = now.tv_sec };
	int rc = blob_split(blob, &prefix, &name);
	if (!rc && !adafs_blob_meta_get(meta, META_MTIME))
		rc = meta_apply(meta, &time, false, &changed);
	if (rc)
		return rc;
	const struct adafs_blob_put put = { .meta = meta, .cond = { .if_none_match = "*" } };
	rc = adafs_blob_put(fs->blob, container, blob, &src, &put, props.etag, reterr);
	if (rc == -ESTALE)
		rc = -EEXIST;
	props.meta = *meta; /* borrowed */
	if (!rc && !(*ret = blob_entry_new(name, &props)))
		rc = -ENOMEM;
	return rc;
}

/* A marker blob `dir` with hdi_isfolder, which azcopy, blobfuse2 and HNS tools know. -EEXIST:
 * something is there. */
static int put_marker(struct fs *fs, const char *container, const char *blob, mode_t mode,
		      struct blob_entry **ret, struct adafs_err *reterr)
{
	struct adafs_blob_meta meta = { 0 };
	const struct meta_change bits = { .mode = &mode };
	bool changed;
	int rc = adafs_blob_meta_set(&meta, META_FOLDER, "true");
	if (!rc)
		rc = meta_apply(&meta, &bits, true, &changed);
	if (!rc)
		rc = blobdir_put_new(fs, container, blob, "", &meta, ret, reterr);
	adafs_blob_meta_clear(&meta);
	return rc;
}

int blobdir_mkdir(struct call *c, struct node *dir, const char *name, mode_t mode,
		  struct child *ret)
{
	const struct view *v = bnode_of(dir)->view;
	ADAFS_FREE char *prefix = blobdir_prefix(dir), *blob = blobdir_blob_in(dir, name);
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = NULL;
	struct adafs_err err = { 0 };
	if (!prefix || !blob)
		return -ENOMEM;
	if (read_only(c, dir))
		return -EROFS;
	int rc = names_check_blob(blob);
	if (rc)
		return rc;
	struct wfile *w = wfile_find(c->fs, dir, name);
	wfile_unref(w);
	if (w)
		return -EEXIST;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	rc = blobs_lookup(c->fs->blobs, v->container, prefix, name, true, &e, &err);
	if (rc != -ENOENT)
		return rc ? blobdir_log(rc, "lookup", v->container, blob, &err) : -EEXIST;
	rc = put_marker(c->fs, v->container, blob, mode, &e, &err);
	if (rc)
		return rc == -EEXIST ? rc : blobdir_log(rc, "mkdir", v->container, blob, &err);
	blobs_put(c->fs->blobs, v->container, prefix, name, e);
	ADAFS_FREE char *below = adafs_fmt("%s/", blob);
	if (below)
		blobs_made(c->fs->blobs, v->container, below);
	return blobdir_child(dir, e, ret);
}

void blobdir_keep(struct node *dir)
{
	struct fs *fs = dir->fs;
	const struct view *v = bnode_of(dir)->view;
	ADAFS_FREE char *prefix = blobdir_prefix(dir), *blob = blobdir_blob(dir), *parent = NULL;
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = NULL, *marker = NULL;
	const char *name;
	bool known;
	/*
	 * Only where it is known to be empty now: to ask would cost more than a directory is worth.
	 */
	if (dir == v->root || !prefix || !blob || blob_split(blob, &parent, &name) ||
	    !blobs_known_empty(fs->blobs, v->container, prefix))
		return;
	e = blobs_peek(fs->blobs, v->container, parent, name, &known);
	if (e && e->marker)
		return;
	struct adafs_err err = { 0 };
	int rc = put_marker(fs, v->container, blob, 0755, &marker, &err);
	if (!rc)
		blobs_put(fs->blobs, v->container, parent, name, marker);
	else if (rc != -EEXIST)
		blobdir_log(rc, "keeping the directory", v->container, blob, &err);
}

/*
 * --- unlink ------------------------------------------------------------------------------------
 */
static int delete_blob(struct call *c, const struct view *v, const char *blob)
{
	struct adafs_err err = { 0 };
	/* Snapshots go with it: they cannot outlive their blob. */
	int rc = adafs_blob_delete(c->fs->blob, v->container, blob, true, NULL, &err);
	return rc == -ENOENT ? rc : blobdir_log(rc, "delete", v->container, blob, &err);
}

/* A file that is open for writing: what was not committed goes with its spool. */
static int unlink_written(struct call *c, struct wfile *w, const char *blob)
{
	wfile_begin(w);
	wfile_save(w);
	/* A commit that ended without an answer may have made the blob. */
	int rc = w->base || *w->nonce ? delete_blob(c, w->view, blob) : 0;
	if (rc == -ENOENT)
		rc = 0;
	if (!rc)
		wfile_unlink(w);
	wfile_end(w);
	return rc;
}

/* One that is open: readers may go on longer than writers do. */
static int unlink_open(struct call *c, struct wfile *w, const char *blob)
{
	struct hold hold;
	blobdir_hold(w->node, w, true, &hold);
	int rc = unlink_written(c, w, blob);
	blobdir_let_go(&hold, !rc);
	return rc;
}

/* A file that nobody writes. */
static int unlink_stored(struct call *c, struct node *dir, const char *prefix, const char *name,
			 const char *blob)
{
	const struct view *v = bnode_of(dir)->view;
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = NULL;
	struct adafs_err err = { 0 };
	struct hold hold;
	int rc = blobs_lookup(c->fs->blobs, v->container, prefix, name, true, &e, &err);
	if (rc)
		return blobdir_log(rc, "lookup", v->container, name, &err);
	if (e->is_dir)
		return -EISDIR;
	struct node *n = node_find(c->fs, dir, name, e->etag);
	blobdir_hold(n, NULL, true, &hold);
	node_unref(n);
	rc = hold.w ? unlink_written(c, hold.w, blob) : delete_blob(c, v, blob);
	/* Who opens it next has to find out. */
	if (!rc)
		blobs_put(c->fs->blobs, v->container, prefix, name, NULL);
	blobdir_let_go(&hold, !rc);
	return rc;
}

int blobdir_unlink(struct call *c, struct node *dir, const char *name)
{
	const struct view *v = bnode_of(dir)->view;
	ADAFS_FREE char *prefix = blobdir_prefix(dir), *blob = blobdir_blob_in(dir, name);
	if (!prefix || !blob)
		return -ENOMEM;
	if (read_only(c, dir))
		return -EROFS;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	struct wfile *w = wfile_find(c->fs, dir, name);
	int rc = w ? unlink_open(c, w, blob) : unlink_stored(c, dir, prefix, name, blob);
	wfile_unref(w);
	if (rc && rc != -ENOENT)
		return rc;
	blobs_put(c->fs->blobs, v->container, prefix, name, NULL);
	/* Of a file that is no blob nothing is there to be removed, and `rm -r` goes on. */
	if (rc)
		return blobdir_extra_name(dir, name) && blobdir_has_extra(dir, false) ? 0 : rc;
	if (v->policy->removed)
		v->policy->removed(v->policy->arg, blob);
	blobdir_keep(dir);
	return 0;
}

/*
 * --- rmdir ---------------------------------------------------------------------------------------
 */
struct below {
	const char *prefix;
	bool own_marker; /* a blob "dir/" without content */
	char *other;     /* one of the others; NULL: there is none */
};

static int on_below(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct below *b = arg;
	if (!strcmp(name, b->prefix) && props && !props->size)
		b->own_marker = true;
	else if (!b->other && !(b->other = strdup(name)))
		return -ENOMEM;
	return 0;
}

/* Whether nothing is below a directory, neither at the service nor being written. */
static int check_empty(struct call *c, struct node *dir, const char *name, const char *below,
		       bool *ret_own_marker)
{
	const struct view *v = bnode_of(dir)->view;
	struct below b = { .prefix = below };
	struct adafs_err err = { 0 };
	struct node *n = node_find(c->fs, dir, name, "");
	bool written = n && bnode_of(n)->is_dir && wfile_any_below(n);
	node_unref(n);
	if (written)
		return -ENOTEMPTY;
	int rc = adafs_blob_list_some(c->fs->blob, v->container, below, NULL, 0, 2, on_below, &b,
				      &err);
	if (rc)
		return blobdir_log(rc, "listing", v->container, below, &err);
	*ret_own_marker = b.own_marker;
	rc = b.other ? -ENOTEMPTY : 0;
	if (b.other && names_check_blob(b.other))
		adafs_log(WARN, "fs", "'%s/%s' holds blobs that cannot be shown, such as '%s'",
			  v->container, below, b.other);
	free(b.other);
	return rc;
}

/* Delete a marker; one that is not there any more is as good as deleted. */
static int delete_marker(struct call *c, const struct view *v, const char *blob)
{
	int rc = delete_blob(c, v, blob);
	return rc == -ENOENT ? 0 : rc;
}

void blobdir_uncover(struct call *c, const struct view *v, const char *prefix, const char *name,
		     const struct blob_entry *was)
{
	ADAFS_CLEANUP(adafs_blob_props_clear) struct adafs_blob_props props = { 0 };
	struct adafs_err err = { 0 };
	ADAFS_FREE char *blob = adafs_fmt("%s%s", prefix, name);
	int rc = was && was->marker ? -ENOENT : -ENOMEM;
	if (rc == -ENOMEM && blob)
		rc = adafs_blob_head(c->fs->blob, v->container, blob, NULL, &props, &err);
	ADAFS_CLEANUP(blob_entry_unrefp)
	struct blob_entry *e = rc ? NULL : blob_entry_new(name, &props);
	if (rc == -ENOENT || e)
		blobs_put(c->fs->blobs, v->container, prefix, name, e);
	else
		blobs_forget(c->fs->blobs, v->container, prefix, false);
}

int blobdir_rmdir(struct call *c, struct node *dir, const char *name)
{
	const struct view *v = bnode_of(dir)->view;
	ADAFS_FREE char *prefix = blobdir_prefix(dir), *blob = blobdir_blob_in(dir, name);
	ADAFS_FREE char *below = blob ? adafs_fmt("%s/", blob) : NULL;
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = NULL;
	struct adafs_err err = { 0 };
	bool own_marker = false;
	if (!prefix || !below)
		return -ENOMEM;
	if (read_only(c, dir))
		return -EROFS;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	int rc = blobs_lookup(c->fs->blobs, v->container, prefix, name, true, &e, &err);
	/* A directory without marker went with its last file, but the kernel still knows it: then
	 * rmdir has nothing to do. */
	if (rc && rc != -ENOENT)
		return blobdir_log(rc, "lookup", v->container, blob, &err);
	if (e && !e->is_dir)
		return -ENOTDIR;
	/* Somebody keeps something in the marker itself. */
	if (e && e->marker && e->size)
		return -ENOTEMPTY;
	rc = check_empty(c, dir, name, below, &own_marker);
	if (!rc && e && e->marker)
		rc = delete_marker(c, v, blob);
	if (!rc && own_marker)
		rc = delete_marker(c, v, below);
	if (rc)
		return rc;
	blobs_forget(c->fs->blobs, v->container, below, true);
	blobdir_uncover(c, v, prefix, name, e);
	blobdir_keep(dir);
	return 0;
}
