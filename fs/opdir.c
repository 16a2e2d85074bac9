/*
 * opdir.c - OPENDIR, READDIR, READDIRPLUS. A directory stream is a snapshot taken at OPENDIR and
 * again at rewinddir; an offset is the index of the next name in it, so it stays valid while the directory
 * changes. Names 0 and 1 are "." and "..".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/mutex.h"
#include "fs/op.h"

/* An immutable listing, shared by a stream and the calls that read it. */
struct listing {
	unsigned refs;
	struct dirlist list;
};

struct dir_handle {
	unsigned refs;
	struct adafs_mutex lock;
	struct listing *listing;
	bool used; /* it was read: offset 0 means rewinddir */
};

static void listing_unref(struct listing *l)
{
	if (!l || __atomic_sub_fetch(&l->refs, 1, __ATOMIC_ACQ_REL))
		return;
	dirlist_clear(&l->list);
	free(l);
}

void dir_handle_unref(struct dir_handle *d)
{
	if (__atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL))
		return;
	listing_unref(d->listing);
	adafs_mutex_clear(&d->lock);
	free(d);
}

static int take_listing(struct op *op, struct listing **ret)
{
	if (!op->node->ops->list)
		return -ENOTDIR;
	struct listing *l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->refs = 1;
	int rc = op->node->ops->list(&op->call, op->node, &l->list);
	if (rc) {
		listing_unref(l);
		return rc;
	}
	*ret = l;
	return 0;
}

static int run_opendir(struct op *op)
{
	struct listing *l;
	int rc = take_listing(op, &l);
	if (rc)
		return rc;
	struct dir_handle *d = calloc(1, sizeof(*d));
	if (!d) {
		listing_unref(l);
		return -ENOMEM;
	}
	*d = (struct dir_handle){ .refs = 1, .listing = l };
	adafs_mutex_init(&d->lock, ADAFS_RANK_LEAF);
	op->dir = d;
	return 0;
}

/* The op's reference becomes the kernel's, or goes with the op when the reply fails. */
static void reply_opendir(struct op *op)
{
	op->fi.fh = (uint64_t)(uintptr_t)op->dir;
	__atomic_add_fetch(&op->dir->refs, 1, __ATOMIC_RELAXED);
	if (fuse_reply_open(op->req, &op->fi) < 0)
		dir_handle_unref(op->dir);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	static const struct op_kind kind = { "opendir", .run = run_opendir, .reply = reply_opendir };
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (!op)
		return;
	op->fi = *fi;
	op_start(op);
}

static struct listing *current_listing(struct dir_handle *d)
{
	adafs_mutex_lock(&d->lock);
	struct listing *l = d->listing;
	__atomic_add_fetch(&l->refs, 1, __ATOMIC_RELAXED);
	d->used = true;
	adafs_mutex_unlock(&d->lock);
	return l;
}

/* rewinddir(3) asks for the directory as it is now. */
static int refresh_listing(struct op *op)
{
	struct dir_handle *d = op->dir;
	adafs_mutex_lock(&d->lock);
	bool stale = op->off == 0 && d->used;
	adafs_mutex_unlock(&d->lock);
	if (!stale)
		return 0;
	struct listing *fresh;
	int rc = take_listing(op, &fresh);
	if (rc)
		return rc;
	adafs_mutex_lock(&d->lock);
	struct listing *old = d->listing;
	d->listing = fresh;
	adafs_mutex_unlock(&d->lock);
	listing_unref(old);
	return 0;
}

/* Name i of a stream, with its type. False: the end. */
static bool name_at(struct op *op, const struct listing *l, size_t i, const char **ret_name,
		    struct stat *ret)
{
	*ret = (struct stat){ 0 };
	if (i < 2) {
		struct node *parent = i == 1 ? node_parent(op->node) : NULL;
		*ret_name = i == 0 ? "." : "..";
		ret->st_ino = parent ? parent->ino : op->node->ino;
		ret->st_mode = S_IFDIR;
		node_unref(parent);
		return true;
	}
	if (i - 2 >= l->list.n)
		return false;
	const struct dirent_item *item = &l->list.item[i - 2];
	*ret_name = item->name;
	ret->st_ino = item->ino;
	ret->st_mode = item->mode;
	return true;
}

static int run_readdir(struct op *op)
{
	int rc = refresh_listing(op);
	if (rc)
		return rc;
	adafs_buf_init(&op->buf, op->size);
	if (adafs_buf_reserve(&op->buf, op->size))
		return -ENOMEM;
	struct listing *l = current_listing(op->dir);
	const char *name;
	struct stat st;
	for (size_t i = (size_t)op->off; name_at(op, l, i, &name, &st); i++) {
		size_t left = op->size - op->buf.len;
		size_t n = fuse_add_direntry(op->req, op->buf.data + op->buf.len, left, name, &st,
					     (off_t)i + 1);
		if (n > left)
			break;
		op->buf.len += n;
	}
	listing_unref(l);
	return 0;
}

static void reply_readdir(struct op *op)
{
	if (fuse_reply_buf(op->req, op->buf.data, op->buf.len) < 0)
		for (size_t i = 0; i < op->n_listed; i++)
			node_forget(op->listed[i], 1);
}

static void drop_readdirplus(struct op *op)
{
	for (size_t i = 0; i < op->n_listed; i++)
		node_forget(op->listed[i], 1);
}

static void start_readdir(fuse_req_t req, const struct op_kind *kind, fuse_ino_t ino, size_t size,
			  off_t off, struct fuse_file_info *fi)
{
	struct op *op = op_new(req, kind, op_node(req, ino));
	if (!op)
		return;
	op->dir = (struct dir_handle *)(uintptr_t)fi->fh;
	__atomic_add_fetch(&op->dir->refs, 1, __ATOMIC_RELAXED);
	op->size = size;
	op->off = off;
	op_start(op);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	static const struct op_kind kind = { "readdir", .run = run_readdir, .reply = reply_readdir };
	start_readdir(req, &kind, ino, size, off, fi);
}

/* The child of name i, if it can be made without waiting; else an entry that the kernel looks up. */
static void child_at(struct op *op, const struct listing *l, size_t i, const struct stat *st,
		     struct fuse_entry_param *ret, struct child *ret_child)
{
	*ret_child = (struct child){ 0 };
	*ret = (struct fuse_entry_param){ .attr = *st };
	if (i < 2 || !op->node->ops->child_of)
		return;
	/* A readdirplus that waits for each entry would be slower than the lookups it saves. */
	bool may_wait = op->call.may_wait;
	op->call.may_wait = false;
	int rc = op->node->ops->child_of(&op->call, op->node, &l->list.item[i - 2], ret_child);
	op->call.may_wait = may_wait;
	if (!rc)
		op_entry(ret_child, ret);
	else
		ret_child->node = NULL;
}

static int add_plus(struct op *op, const char *name, const struct fuse_entry_param *e,
		    struct child *child, size_t i)
{
	size_t left = op->size - op->buf.len;
	size_t n = fuse_add_direntry_plus(op->req, op->buf.data + op->buf.len, left, name, e,
					  (off_t)i + 1);
	if (n > left) {
		node_unref(child->node);
		return -ERANGE;
	}
	op->buf.len += n;
	if (child->node) {
		node_lookup(child->node);
		node_unref(child->node);
		op->listed[op->n_listed++] = child->node;
	}
	return 0;
}

static int run_readdirplus(struct op *op)
{
	int rc = refresh_listing(op);
	if (rc)
		return rc;
	adafs_buf_init(&op->buf, op->size);
	/* No entry takes less than 152 bytes. */
	op->listed = calloc(op->size / 128 + 1, sizeof(*op->listed));
	if (!op->listed || adafs_buf_reserve(&op->buf, op->size))
		return -ENOMEM;
	struct listing *l = current_listing(op->dir);
	const char *name;
	struct stat st;
	for (size_t i = (size_t)op->off; name_at(op, l, i, &name, &st); i++) {
		struct fuse_entry_param e;
		struct child child;
		child_at(op, l, i, &st, &e, &child);
		if (add_plus(op, name, &e, &child, i))
			break;
	}
	listing_unref(l);
	return 0;
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	static const struct op_kind kind = { "readdirplus", .run = run_readdirplus,
					     .reply = reply_readdir, .drop = drop_readdirplus };
	start_readdir(req, &kind, ino, size, off, fi);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	dir_handle_unref((struct dir_handle *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}
