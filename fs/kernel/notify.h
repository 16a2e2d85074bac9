/*
 * fs/kernel/notify.h - telling the kernel that what it remembers is not so any more. Any thread;
 * nothing waits. What is about blobs may be told with locks of a rank below ADAFS_RANK_QUEUE held,
 * what is about nodes with none. A kernel call may wait for a LOOKUP or READ that is pending, so
 * one thread makes them all, which holds no lock and on which no reply depends. What does not fit
 * into its queue is dropped: timeouts do it then.
 */
#ifndef ADAFS_FS_KERNEL_NOTIFY_H
#define ADAFS_FS_KERNEL_NOTIFY_H

#include "fs/fs.h"

struct blob_entry;
struct node;
struct notify;

/* Takes what is to be told from the time of notify_start on. NULL: out of memory. */
struct notify *notify_new(struct fs *fs);
/* fs->session is there. */
int notify_start(struct notify *n, struct adafs_err *reterr);
/*
 * Nothing is told any more when this returns. By the thread that served the session, while calls
 * are still answered: what the kernel asks meanwhile is passed on to them. May be called twice;
 * accepts NULL.
 */
void notify_stop(struct notify *n);
/* Accepts NULL. */
void notify_free(struct notify *n);

/* A name in a directory is not what it was, or no longer there. */
void notify_entry(struct notify *n, struct node *dir, const char *name);
/* The attributes of a node are others (its pages stay). */
void notify_attributes(struct notify *n, struct node *node);
/*
 * A blob, or the directory of that name, is another one or is gone: its name in every view that
 * shows it. etag: its version now, which a view that knows it already is not told of; NULL: none.
 */
void notify_blob(struct notify *n, const char *container, const char *prefix, const char *name,
		 const char *etag);
/*
 * Take n entries of a directory from the kernel, which a listing passed long ago: it forgets their
 * nodes.
 */
void notify_passed(struct notify *n, const char *container, const char *prefix,
		   struct blob_entry *const entry[], size_t n_entries);

#endif
