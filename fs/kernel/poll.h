/*
 * fs/kernel/poll.h - poll(2), select(2) and epoll(7) of files that grow: events of a job, and what
 * a step prints.
 *
 * Who polls when there is nothing to read is noted with its handle; a thread, which exists once
 * somebody waited, looks at all of these when the foreman has news, and at logs on nodes twice a
 * second by a worker. It wakes the kernel, which asks again. It holds no lock meanwhile, and no
 * reply depends on it.
 */
#ifndef ADAFS_FS_KERNEL_POLL_H
#define ADAFS_FS_KERNEL_POLL_H

#include <fuse_lowlevel.h>

#include "fs/kernel/node.h"

struct pollers;

/* NULL: out of memory. */
struct pollers *pollers_new(struct fs *fs);
/* The foreman has published news. Any thread. */
void pollers_changed(struct pollers *p);
/* The kernel has released a handle: forget who polls it. */
void pollers_drop(struct pollers *p, struct handle *h);
/* End the thread; workers may still look at logs. */
void pollers_stop(struct pollers *p);
/* After the workers have ended. */
void pollers_free(struct pollers *p);

/* The callback of the session. */
void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph);

#endif
