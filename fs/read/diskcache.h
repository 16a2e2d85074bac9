/*
 * fs/read/diskcache.h - what was read from blobs, kept on local disk beyond the mount. Never
 * trusted: every page has a checksum beside it, and one that does not fit is as if it had never
 * been there. Two mounts may share a directory.
 */
#ifndef ADAFS_FS_READ_DISKCACHE_H
#define ADAFS_FS_READ_DISKCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/base/err.h"

/* Bytes of a blob that one file holds; a range never crosses two. */
#define DISKCACHE_BLOCK ((int64_t)4 * 1024 * 1024)

struct diskcache;

/* A part of one version of a blob. Both ends are multiples of 4 KiB, or the end of the blob. */
struct diskcache_range {
	const char *key; /* whose: account, blob and ETag; borrowed until done */
	int64_t off;
	size_t len;
};

/*
 * Keep at most limit bytes in a directory, which is made (0700) if it is missing. -EPERM: it is
 * somebody else's or open to others; else the disk's errno.
 */
int diskcache_open(const char *dir, uint64_t limit, struct diskcache **ret,
		   struct adafs_err *reterr);
/* Ends what is under way; nobody may ask any more. NULL: nothing. */
void diskcache_close(struct diskcache *d);

/* On one of its threads. found: all of the range is in buf and as it was stored. */
typedef void diskcache_loaded(void *arg, bool found);
void diskcache_load(struct diskcache *d, const struct diskcache_range *range, void *buf,
		    diskcache_loaded *done, void *arg);
/*
 * Store what buf holds, which is borrowed until done. False, and done is not called: too much waits
 * to be stored already. What the disk does not take is not stored, and the log says why.
 */
bool diskcache_store(struct diskcache *d, const struct diskcache_range *range, const void *buf,
		     void (*done)(void *arg), void *arg);

#endif
