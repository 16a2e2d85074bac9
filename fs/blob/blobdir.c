/*
 * blobdir.c - blobs as a tree: nodes and lookup (listing is in blobdir_list.c). What a directory
 * holds is asked of blobs.c; files that are being written (write.c) come before what the service
 * knows. A node's version is its ETag; a file that was never committed has a version of its own.
 */
#include "fs/blob/blobdir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/log.h"
#include "fs/blob/blobdir_int.h"
#include "fs/kernel/notify.h"

/* --- views -------------------------------------------------------------------------------- */
static void view_free(struct view *v)
{
	free(v->container);
	free(v->prefix);
	free(v);
}

void view_unref(struct view *v)
{
	if (v && __atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL) == 0)
		view_free(v);
}

static struct view *view_new(struct fs *fs, const char *container, const char *prefix,
			     const struct blobdir_policy *policy)
{
	static const struct blobdir_policy none;
	struct view *v = calloc(1, sizeof(*v));
	if (!v)
		return NULL;
	*v = (struct view){ .refs = 1, .fs = fs, .policy = policy ? policy : &none };
	v->container = strdup(container);
	v->prefix = strdup(prefix);
	if (!v->container || !v->prefix) {
		view_free(v);
		return NULL;
	}
	return v;
}

/* --- nodes -------------------------------------------------------------------------------- */
static void bnode_free(void *data)
{
	struct bnode *b = data;
	blob_entry_unref(b->entry);
	free(b->link);
	view_unref(b->view);
	free(b);
}

/* Takes over a reference of view; entry gets one. */
static struct bnode *bnode_new(struct view *view, struct blob_entry *entry, bool is_dir)
{
	struct bnode *b = calloc(1, is_dir ? sizeof(struct bdir) : sizeof(*b));
	if (!b)
		return NULL;
	*b = (struct bnode){ .view = view, .is_dir = is_dir };
	b->entry = entry ? blob_entry_ref(entry) : NULL;
	return b;
}

struct node *blobdir_root(struct fs *fs, struct node *parent, const char *name,
			  const char *container, const char *prefix,
			  const struct blobdir_policy *policy)
{
	/* Two threads may make the same root: nobody is to see it before its view points to it. */
	static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
	ADAFS_FREE char *identity = adafs_fmt("blob/%s/%s", container, prefix);
	struct view *v = view_new(fs, container, prefix, policy);
	struct bnode *b = v ? bnode_new(v, NULL, true) : NULL;
	if (!b || !identity) {
		view_unref(v);
		free(b);
		return NULL;
	}
	pthread_mutex_lock(&making);
	struct node *n = node_get(fs, parent, name, "", &blobdir_dir_ops, node_ino(identity), b);
	if (n && n->data == b)
		v->root = n;
	pthread_mutex_unlock(&making);
	return n;
}

static const struct node_ops *ops_of(const struct blob_entry *e, bool is_dir)
{
	if (is_dir)
		return &blobdir_dir_ops;
	return e && e->is_link ? &blobdir_link_ops : &blobdir_file_ops;
}

struct node *blobdir_node(struct node *dir, const char *name, const char *version,
			  struct blob_entry *entry, bool is_dir)
{
	struct view *v = bnode_of(dir)->view;
	ADAFS_FREE char *blob = blobdir_blob_in(dir, name);
	ADAFS_FREE char *identity = blob ? adafs_fmt("blob/%s/%s", v->container, blob) : NULL;
	__atomic_add_fetch(&v->refs, 1, __ATOMIC_RELAXED);
	struct bnode *b = identity ? bnode_new(v, entry, is_dir) : NULL;
	if (!b) {
		view_unref(v);
		return NULL;
	}
	return node_get(dir->fs, dir, name, version, ops_of(entry, is_dir), node_ino(identity), b);
}

struct node *blobdir_node_at(struct node *dir, struct blob_entry *e, uint64_t ino)
{
	struct view *v = bnode_of(dir)->view;
	const char *version = e->is_dir ? "" : e->etag;
	const struct node_ops *ops = ops_of(e, e->is_dir);
	struct node *n = node_find(dir->fs, dir, e->name, version);
	if (n && n->ops == ops) {
		/* Same version, maybe newer metadata than the node was made with. */
		bnode_set_entry(n, e);
		return n;
	}
	node_unref(n);
	__atomic_add_fetch(&v->refs, 1, __ATOMIC_RELAXED);
	struct bnode *b = bnode_new(v, e, e->is_dir);
	if (!b) {
		view_unref(v);
		return NULL;
	}
	return node_get(dir->fs, dir, e->name, version, ops, ino, b);
}

struct blob_entry *bnode_entry(const struct node *n)
{
	adafs_mutex_lock(&wfiles_lock);
	struct blob_entry *e = bnode_of(n)->entry;
	if (e)
		blob_entry_ref(e);
	adafs_mutex_unlock(&wfiles_lock);
	return e;
}

bool bnode_entry_is(const struct node *n, const struct blob_entry *e)
{
	adafs_mutex_lock(&wfiles_lock);
	const struct blob_entry *own = bnode_of(n)->entry;
	bool same = own && e && !strcmp(own->etag, e->etag);
	adafs_mutex_unlock(&wfiles_lock);
	return same;
}

void bnode_set_entry(struct node *n, struct blob_entry *e)
{
	adafs_mutex_lock(&wfiles_lock);
	struct blob_entry *old = bnode_of(n)->entry;
	bnode_of(n)->entry = e ? blob_entry_ref(e) : NULL;
	bnode_of(n)->changes += !old || !e || strcmp(old->etag, e->etag);
	adafs_mutex_unlock(&wfiles_lock);
	blob_entry_unref(old);
}

/* --- names -------------------------------------------------------------------------------- */
#define MAX_PATH (64 * 1024)

char *blobdir_blob_in(const struct node *dir, const char *name)
{
	const struct view *v = bnode_of(dir)->view;
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_PATH);
	size_t start = strlen(v->prefix);
	if (adafs_buf_adds(&b, v->prefix) || node_path(dir, v->root, &b) ||
	    (b.len > start && adafs_buf_add(&b, "/", 1)) || adafs_buf_adds(&b, name))
		return NULL;
	return adafs_buf_steal(&b, NULL);
}

char *blobdir_prefix(const struct node *dir)
{
	return blobdir_blob_in(dir, "");
}

char *blobdir_blob(const struct node *n)
{
	const struct view *v = bnode_of(n)->view;
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_PATH);
	if (adafs_buf_adds(&b, v->prefix) || node_path(n, v->root, &b))
		return NULL;
	return adafs_buf_steal(&b, NULL);
}

const char *blobdir_shown_path(const struct view *v, const char *blob)
{
	size_t n = strlen(v->prefix);
	return strncmp(blob, v->prefix, n) ? blob : blob + n;
}

bool blobdir_shown(const struct node *dir, const struct blob_entry *e)
{
	const struct view *v = bnode_of(dir)->view;
	if (e->is_dir || !v->policy->shown)
		return true;
	ADAFS_FREE char *blob = blobdir_blob_in(dir, e->name);
	struct adafs_blob_props props;
	if (!blob || blob_entry_props(e, &props))
		return true;
	bool shown = v->policy->shown(v->policy->arg, blobdir_shown_path(v, blob), &props);
	adafs_blob_props_clear(&props);
	return shown;
}

int blobdir_log(int rc, const char *what, const char *container, const char *blob,
		const struct adafs_err *err)
{
	if (rc && rc != -ENOENT && rc != -EWOULDBLOCK)
		adafs_log(WARN, "fs", "%s of '%s/%s' failed: %s", what, container, blob,
			  err && err->rc ? err->msg : strerror(-rc));
	return rc;
}

void blobdir_mistaken(struct node *n)
{
	ADAFS_FREE char *blob = blobdir_blob(n), *prefix = NULL;
	const char *name;
	if (blob && !blob_split(blob, &prefix, &name))
		blobs_forget(n->fs->blobs, bnode_of(n)->view->container, prefix, false);
}

/* --- lookup -------------------------------------------------------------------------------- */
static mode_t file_mode(const struct blob_entry *e)
{
	if (e && e->is_link)
		return S_IFLNK | 0777;
	mode_t mode = e ? e->mode : 0644;
	/* Page and append blobs are no files to write to. */
	return S_IFREG | (e && e->type != ADAFS_BLOB_BLOCK ? mode & ~(mode_t)0222 : mode);
}

void blobdir_stat(const struct node *n, const struct blob_entry *e, struct stat *ret)
{
	bool is_dir = bnode_of(n)->is_dir;
	mode_t mode = is_dir ? S_IFDIR | (e ? e->mode : 0755) : file_mode(e);
	node_stat(n, mode, is_dir || !e ? 0 : e->size, n->fs->mounted, ret);
	/* A directory without marker has no time of its own. */
	if (e && *e->etag)
		ret->st_atim = ret->st_mtim = ret->st_ctim = e->mtime;
	/* One link, not two and one for each directory below: find(1) would count on that. */
	if (!is_dir)
		ret->st_blksize = 128 * 1024;
}

int blobdir_child(struct node *dir, struct blob_entry *e, struct child *ret)
{
	const struct view *v = bnode_of(dir)->view;
	ADAFS_FREE char *prefix = blobdir_prefix(dir);
	struct node *n =
		prefix ? blobdir_node(dir, e->name, e->is_dir ? "" : e->etag, e, e->is_dir) : NULL;
	if (!n)
		return -ENOMEM;
	/* Same version, maybe newer metadata than the node was made with. */
	bnode_set_entry(n, e);
	*ret = (struct child){ .node = n };
	blobdir_stat(n, e, &ret->st);
	ret->attr_timeout_s = ret->entry_timeout_s =
		blobs_left_s(dir->fs->blobs, v->container, prefix, e->name);
	return 0;
}

/* A file that is being written: asked for every time, since it changes with every write. */
void blobdir_wfile_child(struct wfile *w, struct child *ret)
{
	*ret = (struct child){ .node = node_ref(w->node) };
	wfile_stat(w, &ret->st);
	wfile_unref(w);
}

static int lookup_now(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	struct view *v = bnode_of(dir)->view;
	struct wfile *w = wfile_find(c->fs, dir, name);
	if (w) {
		blobdir_wfile_child(w, ret);
		return 0;
	}
	ADAFS_FREE char *prefix = blobdir_prefix(dir);
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *e = NULL;
	struct adafs_err err = { 0 };
	if (!prefix)
		return -ENOMEM;
	int rc = blobs_lookup(c->fs->blobs, v->container, prefix, name, c->may_wait, &e, &err);
	/* The kernel may remember that, too. */
	if (rc == -ENOENT)
		*ret = (struct child){ .entry_timeout_s = blobs_left_s(c->fs->blobs, v->container,
								       prefix, name) };
	if (rc)
		return blobdir_log(rc, "lookup", v->container, name, &err);
	if (!blobdir_shown(dir, e))
		return -ENOENT;
	return blobdir_child(dir, e, ret);
}

/* A name that is about to get another file is answered after that: an open of the old one would be
 * told to look again. */
static int lookup_blob(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	for (;;) {
		struct child child;
		bool waited = false;
		int rc = lookup_now(c, dir, name, &child);
		if (rc)
			return rc;
		if (!bnode_of(child.node)->is_dir)
			rc = blobdir_await(c, child.node, &waited);
		if (!rc && !waited) {
			*ret = child;
			return 0;
		}
		node_unref(child.node);
		if (rc)
			return rc;
	}
}

static int dir_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	if (!blobdir_extra_name(dir, name))
		return lookup_blob(c, dir, name, ret);
	int rc = blobdir_extra_child(c, dir, true, ret);
	if (rc != -ENOENT)
		return rc;
	struct child child = { 0 };
	rc = lookup_blob(c, dir, name, &child);
	if (rc == 0)
		*ret = child;
	/* Not to be remembered: the next moment something may wait. */
	return rc == -ENOENT ? blobdir_extra_child(c, dir, false, ret) : rc;
}

/* --- changes beside the view ----------------------------------------------------------------- */
void blobdir_invalidate(struct fs *fs, const char *container, const char *blob)
{
	ADAFS_FREE char *copy = strdup(blob);
	if (!copy)
		return;
	/* The blob may have made its directories, so all of them are asked for again. */
	char *slash;
	do {
		slash = strrchr(copy, '/');
		ADAFS_FREE char *prefix = strndup(copy, slash ? (size_t)(slash - copy) + 1 : 0);
		if (!prefix)
			return;
		blobs_forget(fs->blobs, container, prefix, false);
		notify_blob(fs->notify, container, prefix, slash ? slash + 1 : copy, NULL);
		if (slash)
			*slash = 0;
	} while (slash);
}

const struct node_ops blobdir_dir_ops = {
	.kind = "blobdir",
	.readonly_errno = EROFS,
	.lookup = dir_lookup,
	.list = blobdir_list,
	.stream = blobdir_stream,
	.getattr = blobdir_getattr,
	.setattr = blobdir_setattr,
	.create = blobdir_create,
	.symlink = blobdir_symlink,
	.mkdir = blobdir_mkdir,
	.unlink = blobdir_unlink,
	.rmdir = blobdir_rmdir,
	.rename = blobdir_rename,
	.getxattr = blobdir_getxattr,
	.listxattr = blobdir_listxattr,
	.setxattr = blobdir_setxattr,
	.free_data = bnode_free,
};

const struct node_ops blobdir_file_ops = {
	.kind = "blob",
	.readonly_errno = EROFS,
	.getattr = blobdir_getattr,
	.setattr = blobdir_setattr,
	.open = blobdir_open,
	.getxattr = blobdir_getxattr,
	.listxattr = blobdir_listxattr,
	.setxattr = blobdir_setxattr,
	.free_data = bnode_free,
};

const struct node_ops blobdir_link_ops = {
	.kind = "link",
	.readonly_errno = EROFS,
	.getattr = blobdir_getattr,
	.setattr = blobdir_setattr,
	.readlink = blobdir_readlink,
	.free_data = bnode_free,
};
