/* fs/mount/mountpoint.h - the directory that a mount lies on: whether it will do, what lies on it,
 * taking that away. */
#ifndef ADAFS_FS_MOUNT_MOUNTPOINT_H
#define ADAFS_FS_MOUNT_MOUNTPOINT_H

#include <stdbool.h>

#include "batch/base/err.h"

/*
 * Make a path absolute, since a daemon changes its directory. The last component is not asked for:
 * that of a dead mount fails, and that of a hung one hangs. *path is freed and replaced. 0 or
 * negative errno.
 */
int mountpoint_absolute(char **path) ADAFS_MUST_CHECK;
/*
 * Whether a mount may be made there. The mount of a process that died is taken away. nonempty: it
 * may hold something. 0, -EBUSY (an adafs is mounted there), -ENOTEMPTY, or what opening it says;
 * with the fix.
 */
int mountpoint_check(const char *path, bool nonempty, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* Whether an adafs is mounted there, living or dead; asks only the table of mounts. */
bool mountpoint_is_ours(const char *path);
/* "major:minor" of the adafs that is mounted there. 0 or -ENOENT. */
int mountpoint_device(const char *path, char ret[static 32]) ADAFS_MUST_CHECK;
/* Whether any file system is mounted below it. */
bool mountpoint_has_below(const char *path);
/*
 * Unmount; lazily: now, for all who look it up, while those who have files open keep them. As root
 * by a system call, else by fusermount3. 0, -EBUSY, or another negative errno.
 */
int mountpoint_unmount(const char *path, bool lazily) ADAFS_MUST_CHECK;

#endif
