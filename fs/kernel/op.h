/*
 * fs/kernel/op.h - the core's side of a call: arguments, results and the one reply. Only ops*.c and
 * call.c.
 *
 * An op is owned by whoever runs it (FUSE thread, worker, or the completion of an asynchronous
 * read) until op_done. What may reply besides is the interrupt: the right to reply is claimed under
 * the lock of struct calls, so it happens exactly once; results of an op that lost it are taken
 * back.
 */
#ifndef ADAFS_FS_KERNEL_OP_H
#define ADAFS_FS_KERNEL_OP_H

#include <fuse_lowlevel.h>

#include "fs/kernel/handles.h"
#include "fs/kernel/node.h"

struct dir_handle;
struct op;

struct op_kind {
	const char *name;
	/* 0, -errno, -EWOULDBLOCK on a FUSE thread, -EINPROGRESS. May run twice (see
	 * fs/kernel/call.h). */
	int (*run)(struct op *op);
	/* Answer a success. Undoes what the kernel will not know of when the reply fails. */
	void (*reply)(struct op *op);
	/*
	 * Take back results that were never replied (beyond the child's reference). NULL: nothing.
	 */
	void (*drop)(struct op *op);
	bool asynchronous; /* run may return -EINPROGRESS */
	bool is_flush;     /* EINTR only when the caller is really being killed */
};

struct op {
	struct call call; /* first: call_reply_* find the op through it */
	fuse_req_t req;
	const struct op_kind *kind;
	/* Interrupts; under calls->lock. */
	unsigned refs;
	bool registered, replied, watched;
	bool may_interrupt; /* the interrupt's own callback may reply; before, only the watcher */
	struct op *watch_prev, *watch_next;
	uint64_t watch_round; /* the watcher's last look */
	/* Arguments. Names and data point into the request until op_own copies them. */
	struct node *node, *node2;
	const char *name, *name2;
	char *own_name, *own_name2;
	const void *data;
	void *own_data;
	struct handle *handle, *handle2;
	struct dir_handle *dir;
	struct fuse_file_info fi;
	size_t size;
	off_t off, off2;
	mode_t mode;
	int to_set;
	unsigned flags;               /* of POLL the answer */
	struct fuse_pollhandle *poll; /* of POLL, until run has taken it */
	struct stat st;
	/* Results. */
	struct child child;
	struct handle *opened;
	double timeout_s;
	struct adafs_buf buf;
	struct statvfs vfs;
	struct node **listed; /* nodes that a readdirplus reply counts */
	size_t n_listed;
};

/* A new op for a request; NULL: out of memory, and the request has been answered. The node gets a
 * reference. */
struct op *op_new(fuse_req_t req, const struct op_kind *kind, struct node *node);
/* Run it; it is gone or handed on when this returns. */
void op_start(struct op *op);
/* End it with the outcome of kind->run or of a completion. */
void op_done(struct op *op, int rc);

/* Directory operations stand in opdir.c. */
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void dir_handle_unref(struct dir_handle *d);

/* The node of a nodeid. */
struct node *op_node(fuse_req_t req, fuse_ino_t ino);
/* What LOOKUP answers for a node. */
void op_entry(const struct child *child, struct fuse_entry_param *ret);
/* Take away the bits that the option umask= names. */
void op_mask_mode(const struct fs *fs, struct stat *st);

/* call.c */
struct calls *calls_new(struct adafs_err *reterr);
int calls_start(struct calls *c, struct adafs_err *reterr);
/* Wait until every call has been answered, at most so long; then end the watcher. Returns calls
 * left. */
unsigned calls_stop(struct calls *c, uint32_t timeout_ms);
void calls_free(struct calls *c);
void calls_register(struct op *op);
void calls_note_killed(struct op *op);
/* Claim the reply. False: an interrupt has answered. */
bool calls_claim(struct op *op);
void calls_begin(struct fs *fs);
void calls_end(struct fs *fs);
void op_unref(struct op *op);

#endif
