/*
 * fs/write/spool.h - the bytes of a file that is being written: a local file without a name, what
 * it takes of the disk, and which of its blocks the service already has. A small file stays in
 * memory as long as there is room for it.
 */
#ifndef ADAFS_FS_WRITE_SPOOL_H
#define ADAFS_FS_WRITE_SPOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "batch/azure/blob.h"
#include "batch/base/digest.h"
#include "batch/base/err.h"

/* --- the space that all spools share ------------------------------------------------------ */
struct spool_space;
/* NULL: out of memory. */
struct spool_space *spool_space_new(uint64_t limit);
void spool_space_free(struct spool_space *s);
void spool_space_usage(const struct spool_space *s, uint64_t *ret_limit, uint64_t *ret_used);

/* --- one file ----------------------------------------------------------------------------- */
/*
 * Blocks grow with the file, since a blob has at most 50,000: the first 10,000 are of block_size,
 * each further 10,000 eight times as large, and none above 4000 MiB. Where a block starts depends
 * on its index only, so blocks that were sent stay good while the file grows. With 4 MiB that is 39
 * GiB in blocks of 4 MiB, and 60 TiB in all.
 */
#define SPOOL_MAX_BLOCKS 50000
#define SPOOL_TIER_BLOCKS 10000
#define SPOOL_MAX_BLOCK ((int64_t)4000 << 20)
#define SPOOL_BLOCK_ID_LEN 32 /* "adafs", 16 digits of the upload, 8 of the index, NUL */

enum spool_state {
	SPOOL_DIRTY, /* the service does not have it as it is now */
	SPOOL_SENDING,
	SPOOL_SENT,
};

struct spool;
/* What will be asked for of the whole content, and is taken as it is written. */
enum spool_sum {
	SPOOL_SHA256 = 1, /* the content has to be in a file, too */
	SPOOL_MD5 = 2,
};
/*
 * An empty spool in dir. *ret is owned. sums: of enum spool_sum. Not for two threads at once: the
 * owner's lock guards it; only the descriptor may be read meanwhile.
 */
int spool_new(struct spool_space *space, const char *dir, uint32_t block_size, unsigned sums,
	      struct spool **ret, struct adafs_err *reterr);
void spool_free(struct spool *s);
/* Give back what it takes of the space; after this it can only be freed. */
void spool_give_back(struct spool *s);
/*
 * -1: it is in memory, as only one without SPOOL_SHA256 can be. Blocks that are still in memory are
 * not in the file before spool_settle.
 */
int spool_fd(const struct spool *s);
/* Bring all bytes to the file, if there is one. -EWOULDBLOCK: a sender is at work, try again when
 * it has ended. */
int spool_settle(struct spool *s);
int64_t spool_size(const struct spool *s);
/*
 * Write all of it. -ENOSPC: no space is left for spools; -EFBIG: more than 50,000 blocks;
 * -EWOULDBLOCK as above; or the disk's errno.
 */
int spool_write(struct spool *s, const void *data, size_t len, int64_t off);
/* Whether bytes may be elsewhere than in the file: then only spool_read finds them. */
bool spool_in_memory(const struct spool *s);
/* Read at most len bytes; fewer at the end. The number, or negative errno. */
ssize_t spool_read(const struct spool *s, void *data, size_t len, int64_t off);
/*
 * Take space and disk for len bytes at off, so that writing them cannot fail for want of it, and
 * grow the file to hold them. -ENOSPC, -EFBIG.
 */
int spool_reserve(struct spool *s, int64_t off, int64_t len);
int spool_truncate(struct spool *s, int64_t size);
/*
 * Make room for content that is written to the descriptor past this interface (a download of the
 * old version), and give the file that size. -ENOSPC, -EFBIG.
 */
int spool_fill_begin(struct spool *s, int64_t size);
/* SHA-256 of the whole content in hexadecimal; reads the file if it was not written in order. */
int spool_sha256(struct spool *s, char ret[ADAFS_SHA256_HEX_LEN]);
int spool_md5(struct spool *s, uint8_t ret[ADAFS_MD5_LEN]);

/* --- blocks ------------------------------------------------------------------------------- */
size_t spool_n_blocks(const struct spool *s);
/* The block that holds an offset, and where a block starts: of any file with this block_size. */
size_t spool_block_at(const struct spool *s, int64_t off);
int64_t spool_block_start(const struct spool *s, size_t i);
/* Bytes of a block; the last one may be short. */
size_t spool_block_len(const struct spool *s, size_t i);
/*
 * Where its bytes are, with the part of their checksum that was taken as they were written. Those
 * in memory stay as they are while spool_hot_use holds them, or while nothing is written.
 */
struct adafs_blob_source spool_block_source(const struct spool *s, size_t i);
/*
 * A sender holds the memory of a block that is still there (NULL: it is not), writes it to disk
 * without the owner's lock, and lets go with the outcome.
 */
struct hot;
struct hot *spool_hot_use(struct spool *s, size_t i);
int spool_hot_store(struct spool *s, const struct hot *h);
void spool_hot_done(struct spool *s, struct hot *h, int rc);
enum spool_state spool_block_state(const struct spool *s, size_t i);
/* The first block at or after `from` that is to be sent; spool_n_blocks: none. */
size_t spool_next_dirty(const struct spool *s, size_t from);
/* Mark as being sent. A write to it meanwhile makes it dirty again. */
void spool_send_begin(struct spool *s, size_t i);
void spool_send_end(struct spool *s, size_t i, bool sent);
/* Blocks in state SENDING. */
unsigned spool_n_sending(const struct spool *s);
/*
 * All blocks are to be sent again under new ids: the blob's name changed, or the service lost them.
 */
void spool_restart(struct spool *s);
void spool_block_id(const struct spool *s, size_t i, char ret[SPOOL_BLOCK_ID_LEN]);

#endif
