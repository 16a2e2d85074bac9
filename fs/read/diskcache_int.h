/* fs/read/diskcache_int.h - what diskcache.c (jobs and threads) asks of diskcache_file.c (files and
 * room). */
#ifndef ADAFS_FS_READ_DISKCACHE_INT_H
#define ADAFS_FS_READ_DISKCACHE_INT_H

#include "fs/read/diskcache.h"

struct diskcache_files {
	char *dir;
	uint64_t limit;
	uint64_t used;     /* bytes on disk when they were last counted and what was stored since;
			      atomic */
	uint64_t count_at; /* they are counted anew when used comes to this; atomic */
	uint64_t full_ms;  /* the disk was full then: nothing is stored for a while; atomic */
};

/* Count what is there, also from other mounts, and let the oldest go when it is too much. */
void diskcache_files_scan(struct diskcache_files *f);
/* Whether all of the range was there and sound. */
bool diskcache_files_read(struct diskcache_files *f, const struct diskcache_range *range,
			  void *buf);
void diskcache_files_write(struct diskcache_files *f, const struct diskcache_range *range,
			   const void *buf);

#endif
