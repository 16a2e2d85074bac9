/*
 * fs/mount/holders.h - which processes keep a mount busy, as far as /proc shows them to this user.
 */
#ifndef ADAFS_FS_MOUNT_HOLDERS_H
#define ADAFS_FS_MOUNT_HOLDERS_H

#include "batch/base/buf.h"

struct holders {
	unsigned n;            /* processes */
	unsigned n_writes;     /* files that are open for writing */
	struct adafs_buf text; /* "cp (pid 12, writes inbox/a.tif), bash (pid 9, stands in jobs)" */
};

/* Look for them. The mount itself is not asked, so a hung one does not matter. holders_clear it. 0
 * or -ENOMEM. */
int holders_find(const char *mountpoint, struct holders *ret);
void holders_clear(struct holders *h);

#endif
