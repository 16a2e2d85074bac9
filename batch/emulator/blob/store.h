/*
 * blob/store.h - what the Blob service remembers: metadata in SQLite, bytes in data files.
 *
 * A blob row names a content; a content is a list of extents in data files and, if it came from a
 * block list, the blocks. Snapshots and copies name the same content, so no byte is copied; content
 * without a row that names it is deleted, and data files without an extent or staged block are
 * unlinked. Bytes reach the disk (fdatasync) before the row that names them is committed
 * (synchronous=FULL), so a kill at any moment leaves either the old blob or the new one.
 *
 * Every function may be called from any thread. One writer connection under `lock`, a few readers.
 * Return values: see blob_error.h.
 */
#ifndef ADAFS_EMULATOR_BLOB_STORE_H
#define ADAFS_EMULATOR_BLOB_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/base/buf.h"
#include "batch/base/err.h"

struct blob_store;

/*
 * The time of a change in microseconds since 1970, unique and rising within the account: ETag,
 * Last-Modified and snapshot times all come from it.
 */
typedef int64_t blob_stamp;

#define BLOB_SNAPSHOT_NONE INT64_MAX /* the blob itself: after its snapshots in every order */

/* The lease on a blob or container. Its state follows from the time: lease_state. */
struct blob_lease {
	char *id;        /* owned; NULL: none was taken, or it was given back */
	int64_t seconds; /* as acquired; -1: infinite */
	int64_t end;     /* when it expires, or when its breaking ends; INT64_MAX: never */
	bool breaking;
};
enum blob_lease_state {
	LEASE_AVAILABLE,
	LEASE_LEASED,
	LEASE_EXPIRED,
	LEASE_BREAKING,
	LEASE_BROKEN,
};
/* now: microseconds since 1970. */
enum blob_lease_state lease_state(const struct blob_lease *l, int64_t now);
/* Whether writers must name it: leased or breaking. */
bool lease_holds(const struct blob_lease *l, int64_t now);
void blob_lease_clear(struct blob_lease *l);

enum blob_type { BLOB_BLOCK, BLOB_APPEND };

/* The properties that a writer sets and that replace each other as a whole. NULL: not set. */
struct blob_headers {
	char *content_type, *encoding, *language, *cache_control, *disposition; /* owned */
	char *md5;                                                              /* owned; base64 */
};

struct blob_info {
	int64_t id, container, content;
	char *name;          /* owned */
	blob_stamp snapshot; /* BLOB_SNAPSHOT_NONE: the blob itself */
	blob_stamp stamp, created;
	uint64_t size;
	bool uncommitted; /* listing only: nothing but staged blocks */
	struct blob_headers headers;
	char *metadata;              /* owned; "name:value\n" lines, never NULL after a read */
	char *copy_id, *copy_source; /* owned; NULL: no copy */
	blob_stamp copy_stamp;
	char *tier; /* owned; NULL: inferred Hot */
	blob_stamp tier_stamp;
	enum blob_type type;
	unsigned n_appended; /* append blobs: blocks so far */
	bool sealed;         /* append blobs: takes no more */
	char *tags;          /* owned; "key=value&..." with both percent-encoded; NULL: none */
	char *rehydrate;     /* owned; the tier an archived blob is on its way to; NULL: none */
	bool rehydrate_high; /* with high priority */
	struct blob_lease lease;
};
void blob_info_clear(struct blob_info *b);
void blob_headers_clear(struct blob_headers *h);
/* 0 or -ENOMEM. */
int blob_headers_copy(struct blob_headers *dst, const struct blob_headers *src);

#define BLOB_MAX_POLICIES 5
struct blob_policy {
	char *id;                          /* owned */
	char *start, *expiry, *permission; /* owned; NULL: left to the SAS */
};

struct container_info {
	int64_t id;
	char *name;
	blob_stamp stamp;
	char *access;   /* "", "blob" or "container" */
	char *metadata; /* "name:value\n" lines */
	struct blob_policy policies[BLOB_MAX_POLICIES];
	size_t n_policies;
	struct blob_lease lease;
};
void container_info_clear(struct container_info *c);
void blob_policy_clear(struct blob_policy *p);

/* Open or create the store in dir (blob.db, data/); removes what a crash left. */
int blob_store_open(const char *dir, struct blob_store **ret_store,
		    struct adafs_err *reterr) ADAFS_MUST_CHECK;
void blob_store_close(struct blob_store *s);

/* --- containers ------------------------------------------------------------------------------ */

/* Called with what exists (NULL: nothing) inside the writing transaction; nonzero refuses the
 * write. */
typedef int blob_guard(void *arg, const struct blob_info *existing);
typedef int container_guard(void *arg, const struct container_info *existing);

int store_container_create(struct blob_store *s, const char *name, const char *access,
			   const char *metadata, blob_stamp *ret_stamp);
/* Without policies. BE_CONTAINER_NOT_FOUND. */
int store_container_get(struct blob_store *s, const char *name, bool with_policies,
			struct container_info *ret);
int store_container_delete(struct blob_store *s, const char *name, container_guard *guard,
			   void *arg);
int store_container_set_metadata(struct blob_store *s, const char *name, const char *metadata,
				 container_guard *guard, void *arg, blob_stamp *ret_stamp);
int store_container_set_acl(struct blob_store *s, const char *name, const char *access,
			    const struct blob_policy *policies, size_t n, container_guard *guard,
			    void *arg, blob_stamp *ret_stamp);
/* Each container with this prefix from `from` on, in order; each() returns nonzero to stop. */
int store_container_list(struct blob_store *s, const char *prefix, const char *from,
			 int (*each)(void *arg, const struct container_info *c), void *arg);

/* --- blobs ----------------------------------------------------------------------------------- */

/* BE_CONTAINER_NOT_FOUND, BE_BLOB_NOT_FOUND. */
int store_blob_get(struct blob_store *s, const char *container, const char *name,
		   blob_stamp snapshot, struct blob_info *ret);

/* A piece of a data file that is open for reading. */
struct blob_piece {
	int fd; /* shared by pieces of the same file; see blob_pieces */
	int64_t file;
	uint64_t off, len;
};
struct blob_pieces {
	struct blob_piece *v;
	size_t n;
	int *fds; /* owned, each once */
	size_t n_fds;
};
void blob_pieces_clear(struct blob_pieces *p);
/*
 * Open [off, off + len) of a content. What is open stays readable whatever happens to the blob.
 * -ESTALE: the content is gone meanwhile, look the blob up again.
 */
int store_content_open(struct blob_store *s, int64_t content, uint64_t off, uint64_t len,
		       struct blob_pieces *ret);

/*
 * Hold the bytes of pieces that were read against the checksums of when they were written. -EIO:
 * the disk has changed them, and the log says where.
 */
int store_content_check(struct blob_store *s, const struct blob_pieces *p, const void *data);

/* Checksums of bytes on their way to a data file, see sum_store.c. */
struct sums {
	uint64_t *crc; /* owned */
	size_t n, size;
	uint64_t open; /* of the unit that is not full yet */
	size_t open_len;
};

/* A data file in the making, for a Put Blob; an empty blob has none. */
struct blob_writer {
	struct blob_store *store;
	int64_t file; /* 0: none yet */
	int fd;       /* -1: none yet */
	uint64_t len;
	struct sums sums;
};
int store_writer_open(struct blob_store *s, struct blob_writer *w);
/* 0 or -errno; ENOSPC among them. */
int store_writer_add(struct blob_writer *w, const void *data, size_t len);
/* Throws the file away unless it was put. */
void store_writer_close(struct blob_writer *w);

/* What a new version of a blob carries. All borrowed. */
struct blob_write {
	const char *container, *name;
	const struct blob_headers *headers;
	const char *metadata;
	const char *tier;
	const char *tags;    /* as of blob_info; NULL: none */
	enum blob_type type; /* of what is made; commits and copies know it themselves */
	blob_guard *guard;
	void *guard_arg;
};
/* Put Blob: the writer's file becomes the blob's content. Discards staged blocks. */
int store_blob_put(struct blob_store *s, const struct blob_write *bw, struct blob_writer *w,
		   blob_stamp *ret_stamp);

struct block_ref {
	enum { BLOCK_LATEST, BLOCK_COMMITTED, BLOCK_UNCOMMITTED } from;
	char *id; /* owned; base64 */
};
/* Put Block List. BE_INVALID_BLOCK_LIST. */
int store_blob_commit(struct blob_store *s, const struct blob_write *bw,
		      const struct block_ref *blocks, size_t n, blob_stamp *ret_stamp);

/* Delete the blob. snapshots: 0: refuse when there are some; 'i': include; 'o': only them. */
int store_blob_delete(struct blob_store *s, const char *container, const char *name,
		      blob_stamp snapshot, char snapshots, blob_guard *guard, void *arg);
/* metadata NULL: that of the blob. */
int store_blob_snapshot(struct blob_store *s, const char *container, const char *name,
			const char *metadata, blob_guard *guard, void *arg,
			blob_stamp *ret_snapshot, blob_stamp *ret_stamp);
/* Replace metadata or headers; a NULL one stays. */
int store_blob_update(struct blob_store *s, const char *container, const char *name,
		      const char *metadata, const struct blob_headers *headers, blob_guard *guard,
		      void *arg, blob_stamp *ret_stamp);

/* --- marks: what changes no ETag (mark_store.c) ---------------------------------------------- */

/* Replace the tags; NULL: none. */
int store_blob_set_tags(struct blob_store *s, const char *container, const char *name,
			blob_stamp snapshot, const char *tags, blob_guard *guard, void *arg);
/*
 * Set the tier. From Archive to another one the blob is on its way for a while; *ret_rehydrating:
 * it is. high: its priority.
 */
int store_blob_set_tier(struct blob_store *s, const char *container, const char *name,
			blob_stamp snapshot, const char *tier, bool high, blob_guard *guard,
			void *arg, bool *ret_rehydrating);
/*
 * Change the lease of a blob (name NULL: of the container). change() sees it and leaves what shall
 * be; it may steal its texts. *ret_stamp: of the resource, which a lease does not change.
 */
int store_lease(struct blob_store *s, const char *container, const char *name,
		int (*change)(void *arg, struct blob_lease *l, blob_stamp stamp), void *arg,
		blob_stamp *ret_stamp);
/* A text that the service keeps under a name; NULL removes it. *ret: owned, NULL: none. */
int store_setting_set(struct blob_store *s, const char *name, const char *text);
int store_setting_get(struct blob_store *s, const char *name, char **ret);

/* --- append blobs (append_store.c) ----------------------------------------------------------- */

struct block_writer;
struct blob_append {
	const char *container, *name;
	blob_guard *guard; /* sees the blob, never NULL; refuses other types and full ones */
	void *guard_arg;
};
/* Append what the writer was given. *ret_info: the blob as it is now; clear it. */
int store_blob_append(struct blob_store *s, const struct blob_append *a, struct block_writer *w,
		      struct blob_info *ret_info);
/* No more appends. *ret_info as above. */
int store_blob_seal(struct blob_store *s, const struct blob_append *a, struct blob_info *ret_info);

struct blob_copy {
	const char *source_container, *source_name;
	blob_stamp source_snapshot;
	blob_guard *source_guard; /* sees the source, never NULL */
	void *source_arg;
	const char *copy_id, *copy_source; /* recorded on the blob; NULL: a Put Blob From URL */
	bool keep_blocks;                  /* the committed block list comes along */
	bool keep_metadata;                /* the source's metadata instead of write->metadata */
	bool keep_headers;                 /* the source's headers instead of write->headers */
	bool keep_tags;                    /* the source's tags instead of write->tags */
	bool seal;                         /* a copied append blob is sealed in any case */
};
/* The target becomes a second name of the source's bytes. *ret_info: the new blob; clear it. */
int store_blob_copy(struct blob_store *s, const struct blob_write *bw, const struct blob_copy *copy,
		    struct blob_info *ret_info);

/* --- blocks ---------------------------------------------------------------------------------- */

/* A block on its way into the upload's file: a reserved part of it. */
struct block_writer {
	struct blob_store *store;
	struct upload *upload;
	uint64_t off, len, written;
	uint64_t flushed; /* of written: on its way to the disk */
	bool staged;      /* or appended: its part of the file is taken */
	struct sums sums;
};
/*
 * Reserve len bytes. id: of the block to be, for its place among the others; NULL: behind what came
 * before. BE_CONTAINER_NOT_FOUND.
 */
int store_block_open(struct blob_store *s, const char *container, const char *name, const char *id,
		     uint64_t len, struct block_writer *w);
int store_block_add(struct block_writer *w, const void *data, size_t len);
/* Stage what was written under id. BE_INVALID_BLOB_OR_BLOCK: other length of id than the others. */
int store_block_stage(struct block_writer *w, const char *container, const char *name,
		      const char *id);
void store_block_close(struct block_writer *w);
/* Forget the staged blocks of blobs of which none was staged since `before`. */
int store_block_expire(struct blob_store *s, blob_stamp before);
/*
 * Stage part of another blob as a block, without copying bytes where that part lies in one piece,
 * else through a copy. BE_CONTAINER_NOT_FOUND, BE_BLOB_NOT_FOUND (the source went away).
 */
int store_block_from_blob(struct blob_store *s, const char *container, const char *name,
			  const char *id, const struct blob_info *source, uint64_t off,
			  uint64_t len);
/* Both lists; either callback may be NULL. *ret_info: the blob if committed (else size 0, id 0). */
int store_block_list(struct blob_store *s, const char *container, const char *name,
		     blob_stamp snapshot, struct blob_info *ret_info,
		     int (*committed)(void *arg, const char *id, uint64_t len),
		     int (*staged)(void *arg, const char *id, uint64_t len), void *arg);

/* --- listing --------------------------------------------------------------------------------- */

struct blob_listing {
	const char *container, *prefix, *delimiter; /* "" where absent */
	const char *from;                           /* first name to return; "" from the start */
	blob_stamp from_snapshot;                   /* with snapshots: first one of that name */
	bool snapshots, uncommitted;
	/* One blob, or (b NULL) one common prefix. Return 1 to stop before this entry. */
	int (*each)(void *arg, const struct blob_info *b, const char *prefix, size_t prefix_len);
	void *arg;
};
/*
 * One scan of the index in name order. When each() stops it, *ret_more is true and ret_next holds
 * the name (raw bytes) with *ret_next_snapshot where the next page starts.
 */
int store_blob_list(struct blob_store *s, const struct blob_listing *l, bool *ret_more,
		    struct adafs_buf *ret_next, blob_stamp *ret_next_snapshot);

#endif
