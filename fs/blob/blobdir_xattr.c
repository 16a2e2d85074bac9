/*
 * blobdir_xattr.c - extended attributes: user.adafs.* say what adafs knows of a file, all others of
 * user.* are the blob's metadata (fs/blob/meta.h). The former are asked for by name and not listed,
 * unless by a policy: `rsync -X` would try to remove them, and `cp -a` would copy them.
 */
#include "fs/blob/blobdir_int.h"

#include <errno.h>
#include <string.h>

#include "batch/base/codec.h"

#define OWN "user.adafs."

/* The metadata of a node as of now; ret is all zero. */
static int node_meta(const struct node *n, struct adafs_blob_meta *ret)
{
	struct wfile *w = wfile_of(n);
	if (w) {
		int rc = wfile_copy_meta(w, ret);
		wfile_unref(w);
		return rc;
	}
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = bnode_entry(n);
	ADAFS_CLEANUP(adafs_blob_props_clear) struct adafs_blob_props props = { 0 };
	int rc = e ? blob_entry_props(e, &props) : 0;
	return rc ? rc : adafs_blob_meta_copy(ret, &props.meta);
}

static int own_value(const struct blob_entry *e, const char *name, struct adafs_buf *ret)
{
	if (*e->etag && !strcmp(name, OWN "etag"))
		return adafs_buf_adds(ret, e->etag);
	if (e->archived && !strcmp(name, OWN "tier"))
		return adafs_buf_adds(ret, "archive");
	if (e->has_md5 && !strcmp(name, OWN "md5")) {
		char hex[33];
		adafs_hex_encode(e->md5, sizeof(e->md5), hex);
		return adafs_buf_adds(ret, hex);
	}
	return -ENODATA;
}

static int policy_value(const struct node *n, const struct blob_entry *e, const char *name,
			struct adafs_buf *ret)
{
	const struct view *v = bnode_of(n)->view;
	ADAFS_FREE char *blob = blobdir_blob(n);
	ADAFS_CLEANUP(adafs_blob_props_clear) struct adafs_blob_props props = { 0 };
	if (!blob || (e && blob_entry_props(e, &props)))
		return -ENOMEM;
	return v->policy->getxattr(v->policy->arg, blobdir_shown_path(v, blob), e ? &props : NULL,
				   name, ret);
}

int blobdir_getxattr(struct call *c, struct node *n, const char *name, struct adafs_buf *ret)
{
	(void)c;
	if (!strncmp(name, OWN, strlen(OWN))) {
		ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = bnode_entry(n);
		int rc = bnode_of(n)->view->policy->getxattr ? policy_value(n, e, name, ret)
							     : -ENODATA;
		return rc == -ENODATA && e ? own_value(e, name, ret) : rc;
	}
	struct adafs_blob_meta meta = { 0 };
	int rc = node_meta(n, &meta);
	if (!rc)
		rc = meta_xattr_get(&meta, name, ret);
	adafs_blob_meta_clear(&meta);
	return rc;
}

static int list_own(const struct node *n, struct adafs_buf *ret)
{
	const struct view *v = bnode_of(n)->view;
	if (!v->policy->listxattr)
		return 0;
	ADAFS_FREE char *blob = blobdir_blob(n);
	return blob ? v->policy->listxattr(v->policy->arg, blobdir_shown_path(v, blob), ret)
		    : -ENOMEM;
}

int blobdir_listxattr(struct call *c, struct node *n, struct adafs_buf *ret)
{
	(void)c;
	struct adafs_blob_meta meta = { 0 };
	int rc = list_own(n, ret);
	if (!rc)
		rc = node_meta(n, &meta);
	if (!rc)
		rc = meta_xattr_list(&meta, ret);
	adafs_blob_meta_clear(&meta);
	return rc;
}

int blobdir_setxattr(struct call *c, struct node *n, const char *name, const void *value,
		     size_t size, int flags)
{
	if (bnode_of(n)->view->policy->read_only || c->fs->options->read_only)
		return -EROFS;
	const struct meta_change change = {
		.xattr = name, .value = value, .value_len = size, .xattr_flags = flags
	};
	return blobdir_change_meta(c, n, &change);
}
