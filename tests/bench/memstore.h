/*
 * bench/memstore.h - blobs in memory for blobserver.c: names in order, contents as pieces that
 * copies share. Every call ends the process when there is no memory. A blob that was found stays
 * valid until it is released, whatever happens to its name.
 */
#ifndef ADAFS_TESTS_BENCH_MEMSTORE_H
#define ADAFS_TESTS_BENCH_MEMSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <time.h>

/* Bytes that several blobs may share. */
struct piece {
	unsigned refs; /* atomic */
	size_t len;
	char *data;
};
struct piece *piece_new(size_t len);
void piece_unref(struct piece *p);

struct blob {
	unsigned refs;
	char *name;
	struct piece **piece;
	size_t n_pieces, size;
	uint64_t version; /* of which the ETag is made */
	time_t modified;
	char *meta;           /* lines "name:value\n" */
	struct block *blocks; /* not committed */
};

struct memstore;
struct memstore *memstore_new(void);
/* A blob with a reference, or NULL. */
struct blob *memstore_get(struct memstore *s, const char *name);
void blob_release(struct memstore *s, struct blob *b);
/* What a write may demand: the version that is there (0: any), or that none is. */
struct condition {
	uint64_t match;
	bool absent;
};
enum outcome { DONE, FAILED_CONDITION, NO_BLOCK, NO_BLOB };
/* The pieces, each with a reference, become the blob. meta is copied; NULL: none. */
enum outcome memstore_put(struct memstore *s, const char *name, struct piece **piece, size_t n,
			  const char *meta, const struct condition *cond, uint64_t *ret_version);
/* Keep a block until a list or a Put Blob; takes over the reference. */
void memstore_put_block(struct memstore *s, const char *name, const char *id, struct piece *p);
/* Commit blocks by their ids, NULL-terminated. */
enum outcome memstore_commit(struct memstore *s, const char *name, char **id, const char *meta,
			     const struct condition *cond, uint64_t *ret_version);
enum outcome memstore_set_meta(struct memstore *s, const char *name, const char *meta,
			       const struct condition *cond, uint64_t *ret_version);
enum outcome memstore_delete(struct memstore *s, const char *name, const struct condition *cond);
/*
 * Names after `marker` (NULL: from the start) that begin with prefix, at most max, folded at the
 * delimiter when folds: one call of on_name each, b NULL for a folded one. Returns the marker of
 * the next page (free() it) or NULL.
 */
char *memstore_list(struct memstore *s, const char *prefix, const char *marker, bool folds,
		    size_t max,
		    void (*on_name)(void *arg, const char *name, size_t len, const struct blob *b),
		    void *arg);
/* The bytes [off, off+len) as at most max vectors; returns their number. */
size_t blob_vectors(const struct blob *b, size_t off, size_t len, struct iovec *iov, size_t max);

#endif
