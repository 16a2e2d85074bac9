/* fs/diskcache_int.h - what diskcache.c (jobs and threads) asks of diskcache_file.c (files and room). */
#ifndef ADAFS_FS_DISKCACHE_INT_H
#define ADAFS_FS_DISKCACHE_INT_H

#include "fs/diskcache.h"

struct diskcache_files {
	char *dir;
	uint64_t limit;
	uint64_t used;	    /* bytes on disk; atomic */
	uint64_t full_ms;   /* the disk was full then: nothing is stored for a while; atomic */
};

/* Count what is there from former mounts. */
void diskcache_files_scan(struct diskcache_files *f);
/* Whether all of the range was there and sound. */
bool diskcache_files_read(struct diskcache_files *f, const struct diskcache_range *range, void *buf);
void diskcache_files_write(struct diskcache_files *f, const struct diskcache_range *range, const void *buf);

#endif
