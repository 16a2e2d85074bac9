/*
 * ops.c - the low-level callbacks. run_x() asks the kind of the node and returns a code; reply_x()
 * answers a success; op_x() only collects arguments. Directories are in opdir.c.
 */
#include "fs/kernel/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "fs/kernel/kernel.h"
#include "fs/kernel/op.h"
#include "fs/kernel/poll.h"

#define MAX_XATTR (64 * 1024)
#define LATE_MS 500

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	kernel_negotiate(conn);
}

static int missing_mutation(const struct node *n)
{
	return n->ops->readonly_errno ? -n->ops->readonly_errno : -EPERM;
}

/* --- entries --------------------------------------------------------------------------- */
static void reply_entry(struct op *op)
{
	struct fuse_entry_param e;
	op_entry(&op->child, &e);
	node_lookup(op->child.node);
	if (fuse_reply_entry(op->req, &e) < 0)
		node_forget(op->child.node, 1);
}

static void reply_lookup(struct op *op)
{
	const struct fuse_entry_param absent = { .entry_timeout = op->child.entry_timeout_s };
	if (op->child.node)
		reply_entry(op);
	else
		fuse_reply_entry(op->req, &absent);
}

static int run_lookup(struct op *op)
{
	if (!op->node->ops->lookup)
		return -ENOTDIR;
	int rc = op->node->ops->lookup(&op->call, op->node, op->name, &op->child);
	return rc == -ENOENT && op->child.entry_timeout_s > 0 ? 0 : rc;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	static const struct op_kind kind = { "lookup", .run = run_lookup, .reply = reply_lookup };
	struct op *op = op_new(req, &kind, op_node(req, parent));
	if (!op)
		return;
	op->name = name;
	op_start(op);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	node_forget(op_node(req, ino), count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		node_forget(op_node(req, forgets[i].ino), forgets[i].nlookup);
	fuse_reply_none(req);
}

static int run_mkdir(struct op *op)
{
	if (!op->node->ops->mkdir)
		return missing_mutation(op->node);
	return op->node->ops->mkdir(&op->call, op->node, op->name, op->mode, &op->child);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	static const struct op_kind kind = { "mkdir", .run = run_mkdir, .reply = reply_entry };
	struct op *op = op_new(req, &kind, op_node(req, parent));
	if (!op)
		return;
	op->name = name;
	op->mode = mode;
	op_start(op);
}

static void reply_ok(struct op *op)
{
	fuse_reply_err(op->req, 0);
}

static int run_unlink(struct op *op)
{
	if (!op->node->ops->unlink)
		return missing_mutation(op->node);
	return op->node->ops->unlink(&op->call, op->node, op->name);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	static const struct op_kind kind = { "unlink", .run = run_unlink, .reply = reply_ok };
	struct op *op = op_new(req, &kind, op_node(req, parent));
	if (!op)
		return;
	op->name = name;
	op_start(op);
}

static int run_rmdir(struct op *op)
{
	if (!op->node->ops->rmdir)
		return missing_mutation(op->node);
	return op->node->ops->rmdir(&op->call, op->node, op->name);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	static const struct op_kind kind = { "rmdir", .run = run_rmdir, .reply = reply_ok };
	struct op *op = op_new(req, &kind, op_node(req, parent));
	if (!op)
		return;
	op->name = name;
	op_start(op);
}

static int run_rename(struct op *op)
{
	if (!op->node->ops->rename)
		return missing_mutation(op->node);
	/*
	 * The kernel swaps two names (RENAME_EXCHANGE) or leaves a whiteout: no blob service can.
	 */
	if (op->flags & ~(unsigned)RENAME_NOREPLACE)
		return -EINVAL;
	struct node *target = node_ref(op->node2);
	if (op->node2->ops->rename_target) {
		node_unref(target);
		target = op->node2->ops->rename_target(&op->call, op->node2, op->node, op->name);
		if (!target)
			return -errno;
	}
	int rc = op->node->ops->rename(&op->call, op->node, op->name, target, op->name2, op->flags);
	node_unref(target);
	return rc;
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
		      const char *newname, unsigned flags)
{
	static const struct op_kind kind = { "rename", .run = run_rename, .reply = reply_ok };
	struct op *op = op_new(req, &kind, op_node(req, parent));
	if (!op)
		return;
	op->node2 = node_ref(op_node(req, newparent));
	op->name = name;
	op->name2 = newname;
	op->flags = flags;
	op_start(op);
}

static int run_symlink(struct op *op)
{
	if (!op->node->ops->symlink)
		return missing_mutation(op->node);
	return op->node->ops->symlink(&op->call, op->node, op->name2, op->name, &op->child);
}

static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	static const struct op_kind kind = { "symlink", .run = run_symlink, .reply = reply_entry };
	struct op *op = op_new(req, &kind, op_node(req, parent));
	if (!op)
		return;
	op->name = name;
	op->name2 = link;
	op_start(op);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	(void)ino;
	(void)newparent;
	(void)newname;
	/* A blob has one name. */
	fuse_reply_err(req, EPERM);
}

/* --- attributes ------------------------------------------------------------------------ */
static void reply_attr(struct op *op)
{
	op_mask_mode(op->call.fs, &op->st);
	fuse_reply_attr(op->req, &op->st, op->timeout_s);
}

static int run_getattr(struct op *op)
{
	if (!op->node->ops->getattr)
		return -ENOSYS;
	return op->node->ops->getattr(&op->call, op->node, op->handle, &op->st, &op->timeout_s);
}

static struct handle *handle_of(const struct fuse_file_info *fi)
{
	return fi && fi->fh ? handle_ref((struct handle *)(uintptr_t)fi->fh) : NULL;
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	static const struct op_kind kind = { "getattr", .run = run_getattr, .reply = reply_attr };
	struct node *n = op_node(req, ino);
	struct op *op = op_new(req, &kind, n);
	if (!op)
		return;
	/* A directory's fi is one of opdir.c's. libfuse 3.14 passes none for GETATTR of one. */
	op->handle = n->ops->list ? NULL : handle_of(fi);
	op_start(op);
}

static int run_setattr(struct op *op)
{
	struct stat ret;
	if (!op->node->ops->setattr)
		return missing_mutation(op->node);
	int rc = op->node->ops->setattr(&op->call, op->node, op->handle, &op->st, op->to_set, &ret);
	if (!rc)
		op->st = ret;
	return rc;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	static const struct op_kind kind = { "setattr", .run = run_setattr, .reply = reply_attr };
	struct node *n = op_node(req, ino);
	struct op *op = op_new(req, &kind, n);
	if (!op)
		return;
	op->handle = n->ops->list ? NULL : handle_of(fi);
	op->st = *attr;
	op->to_set = to_set;
	op_start(op);
}

static void reply_readlink(struct op *op)
{
	fuse_reply_readlink(op->req, adafs_buf_str(&op->buf));
}

static int run_readlink(struct op *op)
{
	if (!op->node->ops->readlink)
		return -EINVAL;
	adafs_buf_init(&op->buf, PATH_MAX);
	return op->node->ops->readlink(&op->call, op->node, &op->buf);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	static const struct op_kind kind = { "readlink", .run = run_readlink,
					     .reply = reply_readlink };
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (op)
		op_start(op);
}

static void reply_statfs(struct op *op)
{
	fuse_reply_statfs(op->req, &op->vfs);
}

/* A node without an own answer gets the root's. */
static int run_statfs(struct op *op)
{
	struct node *n = op->node->ops->statfs ? op->node : op->call.fs->root;
	return n->ops->statfs ? n->ops->statfs(&op->call, n, &op->vfs) : -ENOSYS;
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	static const struct op_kind kind = { "statfs", .run = run_statfs, .reply = reply_statfs };
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (op)
		op_start(op);
}

/* --- extended attributes --------------------------------------------------------------- */
static void reply_xattr(struct op *op)
{
	if (op->size == 0)
		fuse_reply_xattr(op->req, op->buf.len);
	else if (op->buf.len > op->size)
		fuse_reply_err(op->req, ERANGE);
	else
		fuse_reply_buf(op->req, op->buf.data, op->buf.len);
}

static int run_getxattr(struct op *op)
{
	if (!op->node->ops->getxattr)
		return -ENODATA;
	adafs_buf_clear(&op->buf);
	adafs_buf_init(&op->buf, MAX_XATTR);
	return op->node->ops->getxattr(&op->call, op->node, op->name, &op->buf);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	static const struct op_kind kind = { "getxattr", .run = run_getxattr,
					     .reply = reply_xattr };
	/* ENODATA would make `ls -l` ask twice for every entry; after this answer it stops. */
	if (strncmp(name, "user.", 5)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (!op)
		return;
	op->name = name;
	op->size = size;
	op_start(op);
}

static int run_listxattr(struct op *op)
{
	if (!op->node->ops->listxattr)
		return 0;
	adafs_buf_clear(&op->buf);
	adafs_buf_init(&op->buf, MAX_XATTR);
	return op->node->ops->listxattr(&op->call, op->node, &op->buf);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	static const struct op_kind kind = { "listxattr", .run = run_listxattr,
					     .reply = reply_xattr };
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (!op)
		return;
	op->size = size;
	op_start(op);
}

static int run_setxattr(struct op *op)
{
	if (!op->node->ops->setxattr)
		return op->node->ops->readonly_errno == EROFS ? -EROFS : -EOPNOTSUPP;
	return op->node->ops->setxattr(&op->call, op->node, op->name, op->data, op->size,
				       (int)op->flags);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			size_t size, int flags)
{
	static const struct op_kind kind = { "setxattr", .run = run_setxattr, .reply = reply_ok };
	if (strncmp(name, "user.", 5)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (!op)
		return;
	op->name = name;
	op->data = value ? value : "";
	op->size = size;
	op->flags = (unsigned)flags;
	op_start(op);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	static const struct op_kind kind = { "removexattr", .run = run_setxattr,
					     .reply = reply_ok };
	if (strncmp(name, "user.", 5)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (!op)
		return;
	op->name = name;
	op_start(op);
}

/* --- files ----------------------------------------------------------------------------- */
static bool opens_for_writing(const struct fuse_file_info *fi)
{
	return (fi->flags & O_ACCMODE) != O_RDONLY;
}

/*
 * A signal has asked for the end, which waits for files that are open for writing: no more of them.
 */
static bool too_late(const struct op *op)
{
	return opens_for_writing(&op->fi) &&
	       __atomic_load_n(&op->call.fs->ending, __ATOMIC_ACQUIRE);
}

/* The kernel knows the handle from here on; it ends with RELEASE. */
static void publish_handle(struct op *op)
{
	handle_publish(op->call.fs, op->opened, op->child.node ? op->child.node : op->node,
		       op->opened->ops->flush && opens_for_writing(&op->fi));
	op->fi.fh = (uint64_t)(uintptr_t)op->opened;
}

static void drop_handle(struct op *op)
{
	publish_handle(op);
	handle_unref(op->call.fs, ADAFS_STEAL(op->opened));
}

static void reply_open(struct op *op)
{
	publish_handle(op);
	if (fuse_reply_open(op->req, &op->fi) < 0)
		handle_unref(op->call.fs, op->opened);
}

static int run_open(struct op *op)
{
	if (!op->node->ops->open)
		return op->node->ops->list ? -EISDIR : -EACCES;
	if (too_late(op))
		return -ESHUTDOWN;
	return op->node->ops->open(&op->call, op->node, &op->fi, &op->opened);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	static const struct op_kind kind = { "open", .run = run_open, .reply = reply_open,
					     .drop = drop_handle };
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (!op)
		return;
	op->fi = *fi;
	op_start(op);
}

static void reply_create(struct op *op)
{
	struct fuse_entry_param e;
	op_entry(&op->child, &e);
	node_lookup(op->child.node);
	publish_handle(op);
	if (fuse_reply_create(op->req, &e, &op->fi) < 0) {
		node_forget(op->child.node, 1);
		handle_unref(op->call.fs, op->opened);
	}
}

static int run_create(struct op *op)
{
	if (!op->node->ops->create)
		return missing_mutation(op->node);
	if (too_late(op))
		return -ESHUTDOWN;
	return op->node->ops->create(&op->call, op->node, op->name, op->mode, &op->fi, &op->child,
				     &op->opened);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	static const struct op_kind kind = { "create", .run = run_create, .reply = reply_create,
					     .drop = drop_handle };
	struct op *op = op_new(req, &kind, op_node(req, parent));
	if (!op)
		return;
	op->name = name;
	op->mode = mode;
	op->fi = *fi;
	op_start(op);
}

/* The kernel opens the file by itself if somebody wants it open; what mknod(2) opened is closed. */
static void reply_mknod(struct op *op)
{
	drop_handle(op);
	reply_entry(op);
}

static int run_mknod(struct op *op)
{
	if (!S_ISREG(op->mode))
		return -EPERM;
	op->fi.flags = O_WRONLY | O_CREAT | O_EXCL;
	return run_create(op);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	static const struct op_kind kind = { "mknod", .run = run_mknod, .reply = reply_mknod,
					     .drop = drop_handle };
	(void)rdev;
	struct op *op = op_new(req, &kind, op_node(req, parent));
	if (!op)
		return;
	op->name = name;
	op->mode = mode;
	op_start(op);
}

static void reply_read(struct op *op)
{
	fuse_reply_buf(op->req, op->buf.data, op->buf.len);
}

/*
 * The kernel's page cache asks for each page of a read that failed once more: then it would take
 * twice io_timeout until its caller hears of it. A program that tries again does so later.
 */
static bool has_just_timed_out(const struct handle *h)
{
	uint64_t late_ms = __atomic_load_n(&h->late_ms, __ATOMIC_RELAXED);

	return late_ms && adafs_clock_mono_ms() - late_ms < LATE_MS;
}

static int run_read(struct op *op)
{
	if (!op->handle->ops->read)
		return -EBADF;
	if (has_just_timed_out(op->handle))
		return -ETIMEDOUT;
	adafs_buf_clear(&op->buf);
	adafs_buf_init(&op->buf, op->size);
	return op->handle->ops->read(&op->call, op->handle, op->size, op->off, &op->buf);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	static const struct op_kind kind = { "read", .run = run_read, .reply = reply_read,
					     .asynchronous = true };
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (!op)
		return;
	op->handle = handle_of(fi);
	op->size = size;
	op->off = off;
	op_start(op);
}

static void reply_write(struct op *op)
{
	fuse_reply_write(op->req, op->size);
}

static int run_write(struct op *op)
{
	if (!op->handle->ops->write)
		return -EBADF;
	return op->handle->ops->write(&op->call, op->handle, op->data, op->size, op->off);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	static const struct op_kind kind = { "write", .run = run_write, .reply = reply_write };
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (!op)
		return;
	op->handle = handle_of(fi);
	op->data = data;
	op->size = size;
	op->off = off;
	op_start(op);
}

static int run_flush(struct op *op)
{
	return op->handle->ops->flush ? op->handle->ops->flush(&op->call, op->handle) : 0;
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	static const struct op_kind kind = { "flush", .run = run_flush, .reply = reply_ok,
					     .asynchronous = true, .is_flush = true };
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (!op)
		return;
	op->handle = handle_of(fi);
	if (op->handle->ops->flush)
		calls_note_killed(op);
	op_start(op);
}

static int run_fsync(struct op *op)
{
	return op->handle->ops->fsync ? op->handle->ops->fsync(&op->call, op->handle) : 0;
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	static const struct op_kind kind = { "fsync", .run = run_fsync, .reply = reply_ok };
	(void)datasync;
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (!op)
		return;
	op->handle = handle_of(fi);
	op_start(op);
}

static int run_fallocate(struct op *op)
{
	/* To keep the size, or to make holes, says nothing that a blob can hold. */
	if (op->flags || !op->handle->ops->fallocate)
		return -EOPNOTSUPP;
	return op->handle->ops->fallocate(&op->call, op->handle, op->off, (off_t)op->size);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	static const struct op_kind kind = { "fallocate", .run = run_fallocate, .reply = reply_ok };
	struct op *op = op_new(req, &kind, op_node(req, ino));
	if (!op)
		return;
	op->handle = handle_of(fi);
	op->flags = (unsigned)mode;
	op->off = offset;
	op->size = (size_t)length;
	op_start(op);
}

static int run_copy(struct op *op)
{
	size_t copied = 0;
	if (!op->handle->ops->copy)
		return -EOPNOTSUPP;
	int rc = op->handle->ops->copy(&op->call, op->handle, op->off, op->handle2, op->off2,
				       op->size, &copied);
	if (!rc)
		op->size = copied;
	return rc;
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			       struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			       struct fuse_file_info *fi_out, size_t len, int flags)
{
	static const struct op_kind kind = { "copy_file_range", .run = run_copy,
					     .reply = reply_write };
	(void)ino_in;
	(void)flags;
	struct op *op = op_new(req, &kind, op_node(req, ino_out));
	if (!op)
		return;
	op->handle = handle_of(fi_out);
	op->handle2 = handle_of(fi_in);
	op->off = off_out;
	op->off2 = off_in;
	op->size = len;
	op_start(op);
}

/* Every mutation of a directory is durable when it returns. */
static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	fuse_reply_err(req, 0);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	struct fs *fs = fuse_req_userdata(req);
	struct handle *h = (struct handle *)(uintptr_t)fi->fh;
	if (h->ops->poll)
		pollers_drop(fs->pollers, h);
	handle_unref(fs, h);
	fuse_reply_err(req, 0);
}

const struct fuse_lowlevel_ops fs_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.poll = op_poll,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.fallocate = op_fallocate,
	.copy_file_range = op_copy_file_range,
	.setxattr = op_setxattr,
	.removexattr = op_removexattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.create = op_create,
};
