/*
 * fs/kernel/listing.h - a directory of blobs as the service lists it, while it is being listed and
 * after: names in the order of the service, by pages. Those who read it have their place as an
 * index, which stays valid.
 *
 * The order is that of names with a '/' behind each, so that a file `a` and a prefix `a/` meet: a
 * name is only shown when the service has gone past the place where its prefix would stand.
 *
 * A listing of more than LISTING_MAX bytes is large: of its pages only the last LISTING_WINDOW stay
 * in memory, with those that were asked for again. It answers who reads it, and is not kept for
 * others.
 *
 * No lock of its own: its owner's covers all but what is marked.
 */
#ifndef ADAFS_FS_KERNEL_LISTING_H
#define ADAFS_FS_KERNEL_LISTING_H

#include "fs/blob/blobs.h"

#define LISTING_MAX ((size_t)28 << 20)
#define LISTING_WINDOW 24

struct listing_page {
	size_t first, n;
	uint64_t learned_ms;       /* not before this time */
	char *marker;              /* where the service starts it; "": the beginning */
	struct blob_entry **entry; /* n, each with a reference, NULL where there is none any more;
				      NULL: dropped */
};

struct listing {
	unsigned refs;
	uint64_t seq, began_ms; /* the owner's number and time when it began */
	uint64_t asked_ms;      /* no earlier than this the page was asked for that comes next */
	struct listing_page *page;
	size_t n_pages, size;
	size_t n;     /* names on all pages */
	size_t bytes; /* that entries take */
	bool done, large, unsorted;
	int rc; /* how it ended */
	struct adafs_err err;
	unsigned hidden; /* blobs that cannot be shown */
	bool driving;    /* somebody waits for a page: what follows is his without the lock */
	struct adafs_blob_pages *pages;
	struct blob_entry **pending; /* names that a prefix may still follow, the shorter first */
	size_t n_pending, size_pending;
	size_t restored; /* a page before the window that is here again, plus 1 */
	/* The owner's. */
	size_t wanted_pages; /* the furthest that a reader has come */
	unsigned readers;
	bool ahead; /* a job loads it ahead of them */
};

/* Names that are to become a page; of one thread. */
struct listing_adding {
	struct listing *l;
	const char *prefix;
	size_t prefix_len;
	uint64_t began_ms;
	struct blob_entry **entry;
	size_t n, size, bytes;
	unsigned hidden;
};

/* NULL: out of memory. */
struct listing *listing_new(uint64_t seq, uint64_t began_ms);
/* Without references of others. */
void listing_free(struct listing *l);
/*
 * Get the next page from the service, without the lock, by who has set `driving`: 1, 0 when it was
 * the last one, or an error. Then listing_append with the lock held. a is cleared by that.
 */
int listing_fetch(struct listing *l, struct fs *fs, const char *container, const char *prefix,
		  struct listing_adding *a, char **ret_marker, struct adafs_err *reterr);
/*
 * Add what was fetched. rc: what listing_fetch said; below 1 the listing is done. Takes over
 * marker.
 */
void listing_append(struct listing *l, struct listing_adding *a, int rc, char *marker,
		    const struct adafs_err *err);
/* Drop what a large one does not keep; fn for each page before it goes. */
void listing_trim(struct listing *l, void (*fn)(void *arg, const struct listing_page *p),
		  void *arg);
/* Get a page that was dropped again; without the lock. The entries are n of the page. */
int listing_refetch(struct fs *fs, const char *container, const char *prefix, const char *marker,
		    size_t n, struct blob_entry ***ret, struct adafs_err *reterr);
/* Put its entries back; the page that was put back before goes again. Takes over entry. */
void listing_restore(struct listing *l, size_t page, struct blob_entry **entry);
/* The page of an index below n. */
struct listing_page *listing_page_at(const struct listing *l, size_t index);
/*
 * The entry of a name, borrowed, or NULL: it is not on a page that is here. Of a sorted one. ret_ms
 * (may be NULL): when it was learned.
 */
struct blob_entry *listing_find(const struct listing *l, const char *name, uint64_t *ret_ms);
/* The same of any listing, if need be one name after the other. */
struct blob_entry *listing_find_any(const struct listing *l, const char *name);
/*
 * Whether all names up to this one have been listed: what listing_find does not find is not there.
 */
bool listing_is_past(const struct listing *l, const char *name);
/*
 * The same names sorted and each once, for a service that has another order. NULL: out of memory.
 */
struct listing *listing_sorted(const struct listing *l);
/* Below 0, 0, above 0: the order of names. */
int listing_order(const char *a, const char *b);
/* Whether a segment of a blob's name can be a file name. */
bool listing_segment_ok(const char *s, size_t len);

#endif
