/*
 * fs/blob/blobs_int.h - what the parts of the cache of directories share: blobs.c (directories, own
 * changes), blobs_list.c (listings and streams), blobs_lookup.c (single names).
 *
 * A directory is a listing and slots over it. A slot is a name that this mount changed, or that was
 * asked for alone, after the listing began; a slot without entry says that the name is not there.
 *
 * Every own change gives its slot a number from `seq`; a listing or lookup remembers the number at
 * its start and does not overwrite slots with a higher one. Forgetting takes a number too: what
 * began before it is not fresh when it ends. One lock (rank TREE); requests are made without it,
 * while the directory is held by a reference.
 */
#ifndef ADAFS_FS_BLOB_BLOBS_INT_H
#define ADAFS_FS_BLOB_BLOBS_INT_H

#include "batch/base/mutex.h"
#include "fs/blob/blobs.h"
#include "fs/kernel/listing.h"

struct slot {
	char *name;
	struct blob_entry *entry; /* NULL: not there */
	uint64_t learned_ms;
	uint64_t seq; /* 0: from the service */
};

struct dir {
	struct dir *next;
	char *container, *prefix;
	unsigned refs;
	struct slot *slot; /* sorted by strcmp */
	size_t n, size;
	size_t n_gone;           /* slots without entry */
	struct listing *base;    /* the last whole listing; NULL: none, or not kept */
	uint64_t complete_ms;    /* when base began; 0: it is not to be believed any more */
	struct listing *current; /* one under way; borrowed from its readers */
	uint64_t
		forget_seq; /* when it was last forgotten: what was asked for before is not fresh */
	uint64_t gen;       /* another one whenever the names or entries may be others */
	uint64_t used;      /* the last use, as a number of b->uses */
	size_t pages;       /* of the last whole listing ... */
	uint64_t took_ms;   /* ... which took so long */
	unsigned singles;   /* names asked for alone ... */
	uint64_t singles_ms; /* ... since then */
};

#define BLOBS_BUCKETS 1024

struct blobs {
	struct fs *fs;
	struct adafs_mutex lock;
	struct adafs_cond moved; /* a listing has a page more, or has ended */
	struct dir *bucket[BLOBS_BUCKETS];
	unsigned n_dirs;
	uint64_t seq, gen, uses;
	uint64_t timeout_ms;
	size_t bytes; /* of all bases */
};

/* --- blobs.c --- */
bool blobs_fresh(const struct blobs *b, uint64_t ms);
/* Seconds for which what was learned then stays fresh. */
double blobs_left_of(const struct blobs *b, uint64_t learned_ms);
/* Makes it if it is not there. NULL: out of memory. */
struct dir *blobs_dir_locked(struct blobs *b, const char *container, const char *prefix);
struct dir *blobs_find_locked(struct blobs *b, const char *container, const char *prefix);
/* Where a name's slot is, or belongs. */
bool blobs_slot_find(const struct dir *d, const char *name, size_t *ret);
/* Set a slot; takes a reference of e (may be NULL). Without memory the name is simply not known. */
void blobs_slot_put_locked(struct blobs *b, struct dir *d, const char *name, struct blob_entry *e,
			   uint64_t now_ms, uint64_t seq);
/* Whether a slot is newer than a listing. */
bool blobs_slot_over(const struct slot *s, const struct listing *l);
/*
 * A listing has ended well: it becomes the directory's, slots that are not newer go, others'
 * listings make room.
 */
void blobs_install_locked(struct blobs *b, struct dir *d, struct listing *l);

/* --- blobs_list.c --- */
void blobs_listing_unref_locked(struct dir *d, struct listing *l);
/*
 * List the directory, unless it is of more than max_pages pages; whether its names are known now.
 * Waits.
 */
bool blobs_relist_locked(struct blobs *b, struct dir *d, size_t max_pages);

#endif
