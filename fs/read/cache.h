/*
 * fs/read/cache.h - blocks of blobs in memory, with a hard limit. It holds what was fetched ahead
 * and what several readers wait for; what was read completely is let go, since the kernel's page
 * cache keeps it.
 */
#ifndef ADAFS_FS_READ_CACHE_H
#define ADAFS_FS_READ_CACHE_H

#include "fs/kernel/call.h"

struct cache;
struct cache_file;
struct diskcache;

/* How one handle reads; guarded by the cache's lock. All zero at open. */
struct cache_seq {
	bool any;        /* something was read */
	bool from_start; /* the first read was at the start of the file */
	int64_t next;    /* where a sequential reader goes on */
	int64_t streak;  /* bytes read in sequence */
};

/* NULL: out of memory. */
struct cache *cache_new(size_t limit);
/* Look on disk before asking the service, and keep there what it said. Takes it over; before the
 * first file. */
void cache_use_disk(struct cache *c, struct diskcache *disk);
/*
 * End what the disk still loads; it may reply. Nobody reads any more and the HTTP client was
 * stopped. cache_free does it too.
 */
void cache_stop(struct cache *c);
/* After the HTTP client was stopped: no request may be under way. */
void cache_free(struct cache *c);

/*
 * The file of one version of a blob, shared by all who read it, with a reference. client is
 * borrowed and outlives the cache's use; texts are copied. NULL: out of memory.
 */
struct cache_file *cache_file_get(struct cache *c, struct adafs_blob_client *client,
				  const char *container, const char *blob, const char *etag,
				  int64_t size);
void cache_file_put(struct cache_file *f);

/*
 * Read at most size bytes at off for a call: 0 at the end of the file (nothing to give),
 * -EINPROGRESS when call_reply_data was or will be called, or -ENOMEM. Get Blob for what is not
 * there; -ESTALE is replied when the version is gone.
 */
int cache_read(struct cache_file *f, struct cache_seq *seq, struct call *call, size_t size,
	       off_t off);

#endif
