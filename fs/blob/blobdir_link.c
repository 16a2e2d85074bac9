/*
 * blobdir_link.c - symbolic links as blobfuse2 keeps them: a small blob whose content is the
 * target, with metadata is_symlink=true. The target is read once a version.
 */
#include "fs/blob/blobdir_int.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fs/blob/names.h"

static void remember(struct node *n, const char *target)
{
	char *copy = strdup(target);
	adafs_mutex_lock(&wfiles_lock);
	char *old = bnode_of(n)->link;
	bnode_of(n)->link = copy;
	adafs_mutex_unlock(&wfiles_lock);
	free(old);
}

int blobdir_symlink(struct call *c, struct node *dir, const char *target, const char *name,
		    struct child *ret)
{
	const struct view *v = bnode_of(dir)->view;
	ADAFS_FREE char *prefix = blobdir_prefix(dir), *blob = blobdir_blob_in(dir, name);
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = NULL;
	struct adafs_err err = { 0 };
	if (!prefix || !blob)
		return -ENOMEM;
	if (v->policy->read_only || c->fs->options->read_only)
		return -EROFS;
	if (!v->policy->links)
		return -EPERM;
	int rc = strlen(target) < PATH_MAX ? names_check_blob(blob) : -ENAMETOOLONG;
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
	struct adafs_blob_meta meta = { 0 };
	rc = adafs_blob_meta_set(&meta, META_LINK, "true");
	if (!rc)
		rc = blobdir_put_new(c->fs, v->container, blob, target, &meta, &e, &err);
	adafs_blob_meta_clear(&meta);
	if (rc)
		return rc == -EEXIST ? rc : blobdir_log(rc, "symlink", v->container, blob, &err);
	blobs_put(c->fs->blobs, v->container, prefix, name, e);
	rc = blobdir_child(dir, e, ret);
	if (!rc)
		remember(ret->node, target);
	return rc;
}

static int read_target(struct call *c, struct node *n, char target[PATH_MAX])
{
	const struct view *v = bnode_of(n)->view;
	ADAFS_FREE char *blob = blobdir_blob(n);
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = bnode_entry(n);
	struct adafs_err err = { 0 };
	size_t len = 0;
	if (!blob)
		return -ENOMEM;
	if (!e)
		return -ESTALE;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	int rc = adafs_blob_get(c->fs->blob, v->container, blob, NULL, 0, (size_t)e->size, e->etag,
				target, PATH_MAX - 1, &len, &err);
	if (!rc && (len != (size_t)e->size || memchr(target, 0, len)))
		rc = adafs_err_set(&err, -EIO, "its content is no path");
	if (rc)
		return blobdir_log(rc == -ENOENT ? -ESTALE : rc, "readlink", v->container, blob,
				   &err);
	target[len] = 0;
	return 0;
}

int blobdir_readlink(struct call *c, struct node *n, struct adafs_buf *ret)
{
	char target[PATH_MAX];
	adafs_mutex_lock(&wfiles_lock);
	const char *known = bnode_of(n)->link;
	if (known)
		memcpy(target, known, strlen(known) + 1);
	adafs_mutex_unlock(&wfiles_lock);
	if (!known) {
		int rc = read_target(c, n, target);
		if (rc)
			return rc;
		remember(n, target);
	}
	return adafs_buf_adds(ret, target);
}
