/*
 * spool_block.c - the block map of a spool: where blocks start, what they take of the space, which
 * the service has. A block is charged for the bytes from its start to the last one that was written
 * in it, so holes cost nothing as long as whole blocks are skipped.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/random.h"
#include "fs/write/spool_int.h"

#define LAST_TIER (SPOOL_MAX_BLOCKS / SPOOL_TIER_BLOCKS - 1)

/*
 * --- where blocks start -------------------------------------------------------------------------
 */
static int64_t tier_size(const struct spool *s, unsigned tier)
{
	int64_t size = (int64_t)s->block_size << (3 * tier);
	return size < SPOOL_MAX_BLOCK ? size : SPOOL_MAX_BLOCK;
}

size_t spool_block_at(const struct spool *s, int64_t off)
{
	size_t first = 0;
	for (unsigned tier = 0; first < SPOOL_MAX_BLOCKS; tier++, first += SPOOL_TIER_BLOCKS) {
		int64_t bytes = tier_size(s, tier) * SPOOL_TIER_BLOCKS;
		if (off < bytes)
			return first + (size_t)(off / tier_size(s, tier));
		off -= bytes;
	}
	return SPOOL_MAX_BLOCKS;
}

int64_t spool_block_start(const struct spool *s, size_t i)
{
	int64_t start = 0;
	unsigned tier = 0;
	for (; i >= SPOOL_TIER_BLOCKS && tier < LAST_TIER; i -= SPOOL_TIER_BLOCKS)
		start += tier_size(s, tier++) * SPOOL_TIER_BLOCKS;
	return start + (int64_t)i * tier_size(s, tier);
}

/* Bytes that a block has room for. */
static int64_t block_room(const struct spool *s, size_t i)
{
	return tier_size(s, (unsigned)(i / SPOOL_TIER_BLOCKS));
}

size_t spool_blocks_of(const struct spool *s, int64_t size)
{
	return size > 0 ? spool_block_at(s, size - 1) + 1 : 0;
}

size_t spool_n_blocks(const struct spool *s)
{
	return spool_blocks_of(s, s->size);
}

size_t spool_block_len(const struct spool *s, size_t i)
{
	int64_t left = s->size - spool_block_start(s, i), room = block_room(s, i);
	return (size_t)(left < room ? left : room);
}

struct adafs_blob_source spool_block_source(const struct spool *s, size_t i)
{
	struct adafs_blob_source src = {
		.fd = s->fd,
		.off = spool_block_start(s, i),
		.len = spool_block_len(s, i),
	};
	src.data = s->fd < 0 ? s->mem + src.off : spool_hot_data(s, i);
	if (s->block[i].crc_len <= src.len) {
		src.crc = s->block[i].crc;
		src.crc_len = s->block[i].crc_len;
	}
	return src;
}

/*
 * --- the map ------------------------------------------------------------------------------------
 */
int spool_grow_map(struct spool *s, int64_t size_wanted)
{
	size_t n = spool_blocks_of(s, size_wanted);
	if (n > SPOOL_MAX_BLOCKS)
		return -EFBIG;
	if (n <= s->n_alloc)
		return 0;
	size_t size = s->n_alloc ? s->n_alloc : 4;
	while (size < n)
		size *= 2;
	struct block *block = reallocarray(s->block, size, sizeof(*block));
	if (!block)
		return -ENOMEM;
	memset(block + s->n_alloc, 0, (size - s->n_alloc) * sizeof(*block));
	s->block = block;
	s->n_alloc = size;
	return 0;
}

int spool_charge(struct spool *s, int64_t off, int64_t end)
{
	for (size_t i = spool_block_at(s, off); spool_block_start(s, i) < end; i++) {
		int64_t top = end - spool_block_start(s, i), room = block_room(s, i);
		uint32_t want = (uint32_t)(top < room ? (top + 4095) & ~INT64_C(4095) : room);
		if (want <= s->block[i].charged)
			continue;
		int rc = spool_space_take(s->space, want - s->block[i].charged);
		if (rc)
			return rc;
		s->block[i].charged = want;
	}
	return 0;
}

void spool_give_back(struct spool *s)
{
	for (size_t i = 0; i < s->n_alloc; i++)
		spool_space_give(s->space, s->block[i].charged);
	free(ADAFS_STEAL(s->block));
	s->n_alloc = 0;
}

static void touch(struct spool *s, size_t i)
{
	if (s->block[i].state == SPOOL_SENDING)
		s->block[i].touched = true;
	else
		s->block[i].state = SPOOL_DIRTY;
}

/* Bytes of one block, at `at` in it. Only what follows on what was summed is added. */
static void sum(struct block *b, const void *data, size_t len, int64_t at)
{
	if (at < b->crc_len || at == 0) {
		b->crc_len = 0;
		b->crc = 0;
	}
	if (at != b->crc_len)
		return;
	b->crc = adafs_crc64(b->crc, data, len);
	b->crc_len += (uint32_t)len;
}

void spool_written(struct spool *s, size_t i, const void *data, size_t len, int64_t off)
{
	sum(&s->block[i], data, len, off - spool_block_start(s, i));
	touch(s, i);
}

void spool_resized(struct spool *s, int64_t size)
{
	int64_t low = s->size < size ? s->size : size;
	size_t n = spool_blocks_of(s, size);
	for (size_t i = spool_block_at(s, low); i < n; i++) {
		if (low - spool_block_start(s, i) < s->block[i].crc_len)
			s->block[i].crc_len = 0;
		touch(s, i);
	}
	for (size_t i = n; size < s->size && i < s->n_alloc; i++) {
		spool_space_give(s->space, s->block[i].charged);
		s->block[i].charged = 0;
		s->block[i].crc_len = 0;
		touch(s, i);
	}
}

void spool_forget_sums(struct spool *s)
{
	for (size_t i = 0; i < s->n_alloc; i++)
		s->block[i].crc_len = 0;
}

/* --- what the service has
 * ------------------------------------------------------------------------- */
enum spool_state spool_block_state(const struct spool *s, size_t i)
{
	return s->block[i].state;
}

size_t spool_next_dirty(const struct spool *s, size_t from)
{
	size_t n = spool_n_blocks(s);
	while (from < n && s->block[from].state != SPOOL_DIRTY)
		from++;
	return from < n ? from : n;
}

void spool_send_begin(struct spool *s, size_t i)
{
	s->block[i].state = SPOOL_SENDING;
	s->block[i].touched = false;
	s->n_sending++;
}

void spool_send_end(struct spool *s, size_t i, bool sent)
{
	s->block[i].state = sent && !s->block[i].touched ? SPOOL_SENT : SPOOL_DIRTY;
	s->n_sending--;
}

unsigned spool_n_sending(const struct spool *s)
{
	return s->n_sending;
}

void spool_restart(struct spool *s)
{
	adafs_random_hex(8, s->upload);
	for (size_t i = 0; i < s->n_alloc; i++)
		touch(s, i);
}

void spool_block_id(const struct spool *s, size_t i, char ret[SPOOL_BLOCK_ID_LEN])
{
	snprintf(ret, SPOOL_BLOCK_ID_LEN, "adafs%s%08zu", s->upload, i);
}
