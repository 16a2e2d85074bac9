/*
 * opdir.c - OPENDIR, READDIR, READDIRPLUS. What a directory stream reads from is taken at OPENDIR
 * and again at rewinddir: a snapshot of the names, or a stream of the kind's own. An offset is the
 * place of the next name in it, so it stays valid while the directory changes. Places 0 and 1 are
 * "." and "..".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/mutex.h"
#include "fs/kernel/op.h"

/* Shared by a handle and the calls that read it. */
struct source {
	unsigned refs;
	struct node *node; /* a reference */
	struct dirlist list;
	struct dirstream *stream; /* NULL: list */
};

struct dir_handle {
	unsigned refs;
	struct adafs_mutex lock;
	struct source *source;
	bool used; /* it was read: offset 0 means rewinddir */
};

static void source_unref(struct source *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (s->stream)
		s->stream->ops->close(s->stream, s->node);
	dirlist_clear(&s->list);
	node_unref(s->node);
	free(s);
}

void dir_handle_unref(struct dir_handle *d)
{
	if (__atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL))
		return;
	source_unref(d->source);
	adafs_mutex_clear(&d->lock);
	free(d);
}

static int take_source(struct op *op, struct source **ret)
{
	struct node *n = op->node;
	if (!n->ops->list && !n->ops->stream)
		return -ENOTDIR;
	struct source *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->refs = 1;
	s->node = node_ref(n);
	int rc = n->ops->stream ? n->ops->stream(&op->call, n, &s->stream)
				: n->ops->list(&op->call, n, &s->list);
	if (rc) {
		source_unref(s);
		return rc;
	}
	*ret = s;
	return 0;
}

static int run_opendir(struct op *op)
{
	struct source *s;
	int rc = take_source(op, &s);
	if (rc)
		return rc;
	struct dir_handle *d = calloc(1, sizeof(*d));
	if (!d) {
		source_unref(s);
		return -ENOMEM;
	}
	*d = (struct dir_handle){ .refs = 1, .source = s };
	adafs_mutex_init(&d->lock, ADAFS_RANK_LEAF);
	op->dir = d;
	if (s->stream) {
		op->fi.cache_readdir = s->stream->cache;
		op->fi.keep_cache = s->stream->keep;
	}
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
	static const struct op_kind kind = { "opendir", .run = run_opendir,
					     .reply = reply_opendir };
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (!op)
		return;
	op->fi = *fi;
	op_start(op);
}

static struct source *current_source(struct dir_handle *d)
{
	adafs_mutex_lock(&d->lock);
	struct source *s = d->source;
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	adafs_mutex_unlock(&d->lock);
	return s;
}

/* rewinddir(3) asks for the directory as it is now. */
static int refresh_source(struct op *op)
{
	struct dir_handle *d = op->dir;
	adafs_mutex_lock(&d->lock);
	bool rewound = op->off == 0 && d->used;
	adafs_mutex_unlock(&d->lock);
	if (!rewound)
		return 0;
	struct source *fresh, *old = current_source(d);
	bool current = old->stream && old->stream->ops->current(old->stream);
	source_unref(old);
	if (current)
		return 0;
	int rc = take_source(op, &fresh);
	if (rc)
		return rc;
	adafs_mutex_lock(&d->lock);
	old = d->source;
	d->source = fresh;
	adafs_mutex_unlock(&d->lock);
	source_unref(old);
	return 0;
}

/* --- the reply -------------------------------------------------------------------------------- */
static bool add_plain(struct op *op, size_t next, const char *name, uint64_t ino, mode_t mode)
{
	const struct stat st = { .st_ino = ino, .st_mode = mode };
	size_t left = op->size - op->buf.len;
	size_t n = fuse_add_direntry(op->req, op->buf.data + op->buf.len, left, name, &st,
				     (off_t)next);
	if (n > left)
		return false;
	op->buf.len += n;
	return true;
}

/* Without a child the kernel looks the name up when it needs it. */
static bool add_plus(struct op *op, size_t next, const char *name, uint64_t ino, mode_t mode,
		     const struct child *child)
{
	struct fuse_entry_param e = { .attr = { .st_ino = ino, .st_mode = mode } };
	if (child && child->node)
		op_entry(child, &e);
	size_t left = op->size - op->buf.len;
	size_t n = fuse_add_direntry_plus(op->req, op->buf.data + op->buf.len, left, name, &e,
					  (off_t)next);
	if (n > left) {
		if (child)
			node_unref(child->node);
		return false;
	}
	op->buf.len += n;
	if (child && child->node) {
		node_lookup(child->node);
		node_unref(child->node);
		op->listed[op->n_listed++] = child->node;
	}
	return true;
}

static bool add_name(void *arg, size_t next, const char *name, uint64_t ino, mode_t mode,
		     const struct child *child)
{
	struct op *op = arg;
	/* Places of a stream come after "." and "..". */
	return op->listed ? add_plus(op, next + 2, name, ino, mode, child)
			  : add_plain(op, next + 2, name, ino, mode);
}

/* "." and ".." as far as they are asked for; false: no room. */
static bool add_dots(struct op *op)
{
	bool room = true;
	for (size_t i = (size_t)op->off; i < 2 && room; i++) {
		struct node *parent = i == 1 ? node_parent(op->node) : NULL;
		uint64_t ino = parent ? parent->ino : op->node->ino;
		const char *name = i == 0 ? "." : "..";
		room = op->listed ? add_plus(op, i + 1, name, ino, S_IFDIR, NULL)
				  : add_plain(op, i + 1, name, ino, S_IFDIR);
		node_unref(parent);
	}
	return room;
}

/* A readdirplus that waits for each entry would be slower than the lookups it saves. */
static void make_child(struct op *op, const struct dirent_item *item, struct child *ret)
{
	*ret = (struct child){ 0 };
	if (!op->listed || !op->node->ops->child_of)
		return;
	bool may_wait = op->call.may_wait;
	op->call.may_wait = false;
	if (op->node->ops->child_of(&op->call, op->node, item, ret))
		*ret = (struct child){ 0 };
	op->call.may_wait = may_wait;
}

static void read_list(struct op *op, const struct dirlist *l, size_t from)
{
	struct child child;
	for (size_t i = from; i < l->n; i++) {
		make_child(op, &l->item[i], &child);
		if (!add_name(op, i + 1, l->item[i].name, l->item[i].ino, l->item[i].mode, &child))
			return;
	}
}

static int fill(struct op *op)
{
	int rc = refresh_source(op);
	if (rc)
		return rc;
	adafs_buf_clear(&op->buf);
	adafs_buf_init(&op->buf, op->size);
	if (adafs_buf_reserve(&op->buf, op->size))
		return -ENOMEM;
	struct source *s = current_source(op->dir);
	size_t from = op->off > 2 ? (size_t)op->off - 2 : 0;
	bool room = add_dots(op);
	if (room && !s->stream)
		read_list(op, &s->list, from);
	else if (room)
		rc = s->stream->ops->read(&op->call, s->stream, op->node, from, op->listed,
					  add_name, op);
	source_unref(s);
	/* The dots are an answer, whatever happens to the names. */
	if (rc && op->buf.len && rc != -EWOULDBLOCK)
		rc = 0;
	if (rc)
		return rc;
	adafs_mutex_lock(&op->dir->lock);
	op->dir->used = true;
	adafs_mutex_unlock(&op->dir->lock);
	return 0;
}

static int run_readdir(struct op *op)
{
	return fill(op);
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
	static const struct op_kind kind = { "readdir", .run = run_readdir,
					     .reply = reply_readdir };
	start_readdir(req, &kind, ino, size, off, fi);
}

static int run_readdirplus(struct op *op)
{
	/* No entry takes less than 152 bytes. */
	if (!op->listed)
		op->listed = calloc(op->size / 128 + 1, sizeof(*op->listed));
	return op->listed ? fill(op) : -ENOMEM;
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
