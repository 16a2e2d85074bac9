/* fs/kernel/workers.h - threads that may wait for the network in place of the FUSE threads. */
#ifndef ADAFS_FS_KERNEL_WORKERS_H
#define ADAFS_FS_KERNEL_WORKERS_H

#include "batch/base/err.h"

struct workers;
/* Threads are made on demand, at most max; idle ones end. */
struct workers *workers_new(unsigned max, struct adafs_err *reterr);
/* Queue a job; the queue is bounded: -EAGAIN when it is full. */
int workers_run(struct workers *w, void (*fn)(void *arg), void *arg);
/* Wait until all that was queued has run, then end the threads. */
void workers_free(struct workers *w);

#endif
