/* fs/mount/session.h - one mount from fork to unmount. */
#ifndef ADAFS_FS_MOUNT_SESSION_H
#define ADAFS_FS_MOUNT_SESSION_H

#include "fs/fs.h"

/*
 * What main adds. Threads do not survive fork: whatever starts some is done in start, which runs in
 * the process that serves the mount, before the mount is made.
 */
struct session_hooks {
	/* 0 or negative errno: nothing is mounted, stop is called. May be NULL. */
	int (*start)(struct fs *fs, void *arg, struct adafs_err *reterr);
	/* After the last call of the kernel was served; requests that still wait are to be
	 * cancelled here. May be NULL. */
	void (*stop)(struct fs *fs, void *arg);
	/* SIGHUP: read settings again. On a thread of its own, while mounted. May be NULL. */
	void (*reload)(struct fs *fs, void *arg);
	void *arg;
};

/*
 * Mount fs->options->mountpoint and serve it until it is unmounted or a signal ends it (see
 * signals.h). Without options->foreground a child serves, and the caller (the parent) returns when
 * the mount answers. 0, or a negative errno with the reason, -EINTR for a signal: then nothing is
 * mounted.
 */
int session_run(struct fs *fs, const struct session_hooks *hooks,
		struct adafs_err *reterr) ADAFS_MUST_CHECK;

#endif
