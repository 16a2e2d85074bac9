/*
 * op.c - the life of an op: run on the FUSE thread, again on a worker if it has to wait, one reply.
 */
#include "fs/kernel/op.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "fs/kernel/workers.h"

struct op *op_new(fuse_req_t req, const struct op_kind *kind, struct node *node)
{
	struct op *op = calloc(1, sizeof(*op));
	if (!op) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	op->call = (struct call){
		.fs = fuse_req_userdata(req),
		.pid = ctx->pid,
		.uid = ctx->uid,
		.gid = ctx->gid,
		.umask = ctx->umask,
	};
	op->req = req;
	op->kind = kind;
	op->refs = 1;
	op->node = node ? node_ref(node) : NULL;
	calls_begin(op->call.fs);
	return op;
}

/* Let go of all that an op borrowed and of results that nobody took. */
static void op_free(struct op *op)
{
	struct fs *fs = op->call.fs;
	node_unref(op->child.node);
	if (op->handle)
		handle_unref(fs, op->handle);
	if (op->handle2)
		handle_unref(fs, op->handle2);
	if (op->dir)
		dir_handle_unref(op->dir);
	node_unref(op->node);
	node_unref(op->node2);
	op_unref(op);
	calls_end(fs);
}

void op_done(struct op *op, int rc)
{
	if (rc == -EWOULDBLOCK || rc == -EINPROGRESS) {
		adafs_log(ERROR, "fs", "%s of a %s node answered %d where it may not",
			  op->kind->name, op->node ? op->node->ops->kind : "?", rc);
		rc = -EIO;
	}
	if (!calls_claim(op)) {
		if (!rc && op->kind->drop)
			op->kind->drop(op);
	} else if (rc) {
		fuse_reply_err(op->req, -rc);
	} else {
		op->kind->reply(op);
	}
	op_free(op);
}

static void run_on_worker(void *arg)
{
	struct op *op = arg;
	bool asynchronous = op->kind->asynchronous;
	int rc = op->kind->run(op);
	/* Under way: the op may be gone already. */
	if (rc != -EINPROGRESS || !asynchronous)
		op_done(op, rc);
}

/* Copy what belongs to the request's buffer, which libfuse uses again when the callback returns. */
static int op_own(struct op *op)
{
	if (op->name && !(op->name = op->own_name = strdup(op->name)))
		return -ENOMEM;
	if (op->name2 && !(op->name2 = op->own_name2 = strdup(op->name2)))
		return -ENOMEM;
	if (op->data) {
		void *copy = malloc(op->size ? op->size : 1);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, op->data, op->size);
		op->data = op->own_data = copy;
	}
	return 0;
}

void op_start(struct op *op)
{
	bool asynchronous = op->kind->asynchronous;
	if (asynchronous)
		calls_register(op);
	int rc = op->kind->run(op);
	/* Under way: the op may be gone already. */
	if (rc == -EINPROGRESS && asynchronous)
		return;
	if (rc != -EWOULDBLOCK) {
		op_done(op, rc);
		return;
	}
	op->call.may_wait = true;
	rc = op_own(op);
	if (!rc) {
		calls_register(op);
		rc = workers_run(op->call.fs->workers, run_on_worker, op);
	}
	if (rc)
		op_done(op, rc);
}

/* The version that was read from has lost its ETag: by somebody else, or by a change of ours that
 * kept the content. */
static void read_again(void *arg)
{
	struct op *op = arg;
	if (op->handle->ops->moved_on(&op->call, op->handle))
		run_on_worker(op);
	else
		op_done(op, -ESTALE);
}

static bool starts_again(struct op *op, int rc)
{
	if (rc != -ESTALE || !op->handle || !op->handle->ops->moved_on)
		return false;
	op->call.may_wait = true;
	return workers_run(op->call.fs->workers, read_again, op) == 0;
}

void call_reply_data(struct call *c, const void *data, size_t len, int rc)
{
	struct op *op = (struct op *)c;
	if (starts_again(op, rc))
		return;
	if (!calls_claim(op)) {
		op_free(op);
		return;
	}
	if (rc == -ETIMEDOUT && op->handle)
		__atomic_store_n(&op->handle->late_ms, adafs_clock_mono_ms(), __ATOMIC_RELAXED);
	if (rc < 0)
		fuse_reply_err(op->req, -rc);
	else
		fuse_reply_buf(op->req, data, len);
	op_free(op);
}

void call_reply(struct call *c, int rc)
{
	op_done((struct op *)c, rc);
}

struct node *op_node(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fuse_req_userdata(req);
	return ino == FUSE_ROOT_ID ? fs->root : (struct node *)(uintptr_t)ino;
}

void op_entry(const struct child *child, struct fuse_entry_param *ret)
{
	*ret = (struct fuse_entry_param){
		.ino = (fuse_ino_t)(uintptr_t)child->node,
		.attr = child->st,
		.attr_timeout = child->attr_timeout_s,
		.entry_timeout = child->entry_timeout_s,
	};
	op_mask_mode(child->node->fs, &ret->attr);
}

void op_mask_mode(const struct fs *fs, struct stat *st)
{
	/* A link's own bits mean nothing, and ls shows them. */
	if (!S_ISLNK(st->st_mode))
		st->st_mode &= ~fs->options->umask;
}
