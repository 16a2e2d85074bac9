/*
 * fs/read/cache_int.h - what the parts of the block cache share: cache.c (files, planning of a
 * read), cache_memory.c (buffers, what is let go), cache_fetch.c (requests, replies).
 */
#ifndef ADAFS_FS_READ_CACHE_INT_H
#define ADAFS_FS_READ_CACHE_INT_H

#include "batch/base/mutex.h"
#include "fs/read/cache.h"
#include "fs/read/diskcache.h"

#define BLOCK ((int64_t)4 * 1024 * 1024)
#define MAX_SPARE 6
#define N_BUCKETS 256

enum extent_state { QUEUED, LOADING, READY, FAILED };

/* A reader that waits for several extents, or for one with a copy. */
struct gather {
	struct call *call;
	char *buf;
	int64_t off;
	size_t size;
	unsigned pending;
	int rc;
};

struct waiter {
	struct waiter *next;
	struct gather *gather; /* NULL: all is in this extent, reply from it */
	struct call *call;
	int64_t off;
	size_t size;
};

struct extent {
	struct cache_file *file;
	struct extent *next; /* in the file, by offset */
	struct extent *lru_prev, *lru_next;
	struct extent *chain; /* queue, or a list that one thread holds */
	struct waiter *waiters;
	char *buf;
	int64_t off;
	size_t len;
	size_t consumed; /* bytes that readers got */
	enum extent_state state;
	unsigned pins;
	bool from_disk;
	uint64_t ready_ms;
};

struct cache_file {
	struct cache *cache;
	struct cache_file *next;
	struct adafs_blob_client *client;
	char *container, *blob, *etag;
	char *disk_key; /* NULL: it is not kept on disk */
	int64_t size;
	unsigned refs; /* handles and extents */
	struct extent *extents;
	struct cache_seq seq; /* all handles together: a second reader only asks for what the page
				 cache lacks */
};

struct cache {
	struct adafs_mutex lock;
	size_t limit, used, loading; /* bytes; loading is a part of used */
	void *spare[MAX_SPARE];      /* whole blocks without an extent; part of used */
	unsigned n_spare;
	struct extent *lru_first, *lru_last; /* oldest first */
	struct extent *queue, **queue_tail;
	struct diskcache *disk; /* NULL: none */
	struct cache_file *bucket[N_BUCKETS];
};

void file_unref_locked(struct cache_file *f);

/* --- cache_memory.c ------------------------------------------------------------------------- */
/* Give it memory and make it LOADING. False: the system has none. */
bool extent_map_locked(struct cache *c, struct extent *e);
/* Take an extent out of its file, so that nobody finds it any more. */
void extent_unlink_locked(struct extent *e);
/* Take an extent out of its file and free it. It is in no list. */
void extent_free_locked(struct cache *c, struct extent *e);
/* Whether len more bytes fit; data that came before `before_ms` goes for them. */
bool make_room_locked(struct cache *c, size_t len, uint64_t before_ms);
/* Hold one that is READY; the last to let go frees what was read completely. */
void pin_locked(struct cache *c, struct extent *e);
void unpin_locked(struct cache *c, struct extent *e);
/* Free all memory that is held by nobody. */
void memory_clear_locked(struct cache *c);

/* --- cache_fetch.c -------------------------------------------------------------------------- */
/* What [off, off+size) and an extent have in common. */
size_t extent_overlap(const struct extent *e, int64_t off, size_t size, int64_t *ret_from);
/* Load the extents of a chain, all in state LOADING, from disk or by a request; no lock held. */
void start_chain(struct extent *chain);
/* Start, or fail, what waits for memory; no lock held. */
void run_queue(struct cache *c);
void gather_copy(struct gather *g, const struct extent *e);
/* The gather is gone after it; no lock held. */
void gather_reply(struct gather *g);

#endif
