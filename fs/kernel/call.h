/*
 * fs/kernel/call.h - one request of the kernel from arrival to its single reply.
 *
 * Every operation is a plain function that returns 0 or a negative errno and fills an output. It
 * first runs on the FUSE thread with may_wait false: if it needs the network it returns
 * -EWOULDBLOCK and the same function runs again on a worker with may_wait true. So cached and
 * synthetic files answer at once, and no FUSE thread ever waits for a service. An operation that
 * starts an asynchronous request returns -EINPROGRESS and replies later through call_reply_*. An
 * interrupted call whose caller is about to die is answered with EINTR at once; its work goes on
 * and is dropped.
 */
#ifndef ADAFS_FS_KERNEL_CALL_H
#define ADAFS_FS_KERNEL_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "fs/fs.h"

struct call {
	struct fs *fs;
	bool may_wait; /* on a worker: the network may be waited for */
	pid_t pid;     /* caller; 0: unknown */
	uid_t uid;
	gid_t gid;
	mode_t umask;
	uint64_t seen; /* of a read: what its kind began with */
	bool killed;   /* of a FLUSH: see call_caller_killed */
};

/* Reply to a read that returned -EINPROGRESS: data is copied out before this returns. rc < 0: an
 * error. */
void call_reply_data(struct call *c, const void *data, size_t len, int rc);

/* Reply to another call that returned -EINPROGRESS: 0 or negative errno. */
void call_reply(struct call *c, int rc);

/* Whether the caller is being killed (PF_SIGNALED at its flush): a file it leaves behind is not
 * whole. */
bool call_caller_killed(const struct call *c);

#endif
