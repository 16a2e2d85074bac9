/*
 * fs/kernel/handles.h - open files from the kernel's OPEN to its RELEASE. They are counted: a call
 * that was answered with EINTR may outlive the RELEASE. They are listed, since a connection that
 * ends drops the RELEASEs that it has not delivered.
 */
#ifndef ADAFS_FS_KERNEL_HANDLES_H
#define ADAFS_FS_KERNEL_HANDLES_H

#include "fs/kernel/node.h"

struct handles;

/* What fs->handles is. NULL: out of memory. */
struct handles *handles_new(void);
/* Accepts NULL. */
void handles_free(struct handles *all);

/*
 * The kernel is about to know h, an open file of n, of which a reference is taken: it has one
 * reference of h from here on. writes: it counts in fs->n_writers.
 */
void handle_publish(struct fs *fs, struct handle *h, struct node *n, bool writes);
struct handle *handle_ref(struct handle *h);
/* The last one closes the file: on this thread, or a worker where that may wait. */
void handle_unref(struct fs *fs, struct handle *h);

/*
 * The connection has ended and no call is left: what is still open is closed. What was written and
 * not stored stays behind, open: only its writer knows whether it is whole. Accepts NULL.
 */
void handles_close(struct fs *fs);

#endif
