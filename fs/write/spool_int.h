/* fs/write/spool_int.h - what the two parts of a spool share: spool.c (bytes), spool_block.c (block
 * map). */
#ifndef ADAFS_FS_WRITE_SPOOL_INT_H
#define ADAFS_FS_WRITE_SPOOL_INT_H

#include "batch/base/mutex.h"
#include "fs/write/spool.h"

#define SPOOL_FREE_BLOCKS 16

struct hot;
struct spool_space {
	uint64_t limit;
	uint64_t used;   /* atomic */
	uint64_t memory; /* atomic: of spools that have no file */
	/* Memory of hot blocks: in use, and kept for the next one. All of one size: the mount's
	 * block_size. */
	struct adafs_mutex lock; /* rank LEAF */
	size_t n_hot, n_free;
	char *free_block[SPOOL_FREE_BLOCKS];
};

struct block {
	uint64_t crc;     /* of the first crc_len bytes, which were written in order */
	uint32_t crc_len; /* 0: none */
	uint32_t charged;
	uint8_t state;
	bool touched; /* written while it was being sent */
};

/* A digest of the first `done` bytes; digest NULL: to be taken from the content. */
struct running {
	struct adafs_digest *digest;
	int64_t done;
};

struct spool {
	struct spool_space *space;
	const char *dir; /* borrowed */
	int fd;          /* -1: in memory */
	char *mem;
	size_t mem_cap;
	struct hot *hot;
	int64_t size;
	uint32_t block_size;
	struct block *block;
	size_t n_alloc;
	unsigned n_sending;
	char upload[17];
	unsigned sums;
	struct running sha256, md5;
};

/* Take and give back what spools may use. -ENOSPC. */
int spool_space_take(struct spool_space *s, uint64_t n);
void spool_space_give(struct spool_space *s, uint64_t n);

/* --- spool_block.c -------------------------------------------------------------------------- */
/* Blocks that a size needs; more than SPOOL_MAX_BLOCKS: too large. */
size_t spool_blocks_of(const struct spool *s, int64_t size);
/* Have a map for a file of this size. -EFBIG, -ENOMEM. */
int spool_grow_map(struct spool *s, int64_t size);
/* Take space for [off, end): per block up to the last byte, rounded up to what a disk gives. */
int spool_charge(struct spool *s, int64_t off, int64_t end);
/*
 * These bytes of block i, at off in the file, were written: it is to be sent, its checksum follows.
 */
void spool_written(struct spool *s, size_t i, const void *data, size_t len, int64_t off);
/* Before the size changes from s->size: what changes with it is to be sent, what is cut gives its
 * space back. */
void spool_resized(struct spool *s, int64_t size);
/* The bytes were changed past spool_written. */
void spool_forget_sums(struct spool *s);

/* --- spool_hot.c ---------------------------------------------------------------------------- */
/* Memory for a block of which there is nothing yet; NULL: none, it goes to disk. */
struct hot *spool_hot_new(struct spool *s, size_t block);
/* The hot block that a write at `at` in a block goes on; NULL: it does not. */
struct hot *spool_hot_next(const struct spool *s, size_t block, int64_t at);
void spool_hot_append(struct hot *h, const void *data, size_t len);
/* The bytes of a hot block; NULL: it is not one. */
const char *spool_hot_data(const struct spool *s, size_t block);
/* Bring hot blocks to disk before their bytes change. -EWOULDBLOCK: a sender is writing one; or the
 * disk's errno. */
int spool_hot_settle(struct spool *s, size_t first, size_t last);
void spool_hot_clear(struct spool *s);

#endif
