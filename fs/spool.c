/*
 * spool.c - spool file and block map. A block is charged for the bytes from its start to the last one that was written
 * in it, so holes cost nothing as long as whole blocks are skipped.
 */
#include "fs/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "batch/base/codec.h"
#include "batch/base/file.h"
#include "batch/base/random.h"

struct spool_space {
	uint64_t limit;
	uint64_t used; /* atomic */
};

struct block {
	uint32_t charged;
	uint8_t state;
	bool touched; /* written while it was being sent */
};

struct spool {
	struct spool_space *space;
	int fd;
	int64_t size;
	uint32_t block_size;
	struct block *block;
	size_t n_alloc;
	unsigned n_sending;
	char upload[17];
	struct adafs_digest *digest; /* of the first `digested` bytes; NULL: to be read from the file */
	int64_t digested;
	bool hashed;
};

struct spool_space *spool_space_new(uint64_t limit)
{
	struct spool_space *s = calloc(1, sizeof(*s));
	if (s)
		s->limit = limit;
	return s;
}

void spool_space_free(struct spool_space *s)
{
	free(s);
}

void spool_space_usage(const struct spool_space *s, uint64_t *ret_limit, uint64_t *ret_used)
{
	uint64_t used = __atomic_load_n(&s->used, __ATOMIC_RELAXED);
	*ret_limit = s->limit;
	*ret_used = used < s->limit ? used : s->limit;
}

static int space_take(struct spool_space *s, uint64_t n)
{
	uint64_t used = __atomic_add_fetch(&s->used, n, __ATOMIC_RELAXED);
	if (used <= s->limit)
		return 0;
	__atomic_sub_fetch(&s->used, n, __ATOMIC_RELAXED);
	return -ENOSPC;
}

static void space_give(struct spool_space *s, uint64_t n)
{
	__atomic_sub_fetch(&s->used, n, __ATOMIC_RELAXED);
}

/* A file that nobody else can open and that is gone with its descriptor. */
static int open_unnamed(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd < 0 ? -errno : fd;
	char path[4096];
	if (snprintf(path, sizeof(path), "%s/spool-XXXXXX", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

int spool_new(struct spool_space *space, const char *dir, uint32_t block_size, bool hashed,
	      struct spool **ret, struct adafs_err *reterr)
{
	struct spool *s = calloc(1, sizeof(*s));
	if (!s)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	*s = (struct spool){ .space = space, .block_size = block_size, .hashed = hashed };
	s->fd = open_unnamed(dir);
	if (s->fd < 0) {
		int rc = s->fd;
		free(s);
		return adafs_err_set(reterr, rc, "cannot make a file in '%s': %s", dir, strerror(-rc));
	}
	if (hashed)
		s->digest = adafs_digest_new(ADAFS_DIGEST_SHA256);
	adafs_random_hex(8, s->upload);
	*ret = s;
	return 0;
}

void spool_free(struct spool *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_alloc; i++)
		space_give(s->space, s->block[i].charged);
	adafs_digest_free(s->digest);
	close(s->fd);
	free(s->block);
	free(s);
}

int spool_fd(const struct spool *s)
{
	return s->fd;
}

int64_t spool_size(const struct spool *s)
{
	return s->size;
}

static int grow_map(struct spool *s, size_t n)
{
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

static void touch(struct spool *s, size_t i)
{
	if (s->block[i].state == SPOOL_SENDING)
		s->block[i].touched = true;
	else
		s->block[i].state = SPOOL_DIRTY;
}

/* Take space for [off, end): per block up to the last byte, rounded up to what a disk gives. */
static int charge(struct spool *s, int64_t off, int64_t end)
{
	for (size_t i = (size_t)(off / s->block_size); (int64_t)i * s->block_size < end; i++) {
		int64_t top = end - (int64_t)i * s->block_size;
		uint32_t want = top < s->block_size ? ((uint32_t)top + 4095) & ~UINT32_C(4095)
						    : s->block_size;
		if (want <= s->block[i].charged)
			continue;
		int rc = space_take(s->space, want - s->block[i].charged);
		if (rc)
			return rc;
		s->block[i].charged = want;
	}
	return 0;
}

static void digest_add(struct spool *s, const void *data, size_t len, int64_t off)
{
	if (!s->digest)
		return;
	if (off == s->digested) {
		adafs_digest_update(s->digest, data, len);
		s->digested += (int64_t)len;
	} else if (off < s->digested) {
		/* What was hashed has changed. */
		adafs_digest_free(ADAFS_STEAL(s->digest));
	}
}

static int64_t blocks_of(const struct spool *s, int64_t size)
{
	return size / s->block_size + (size % s->block_size != 0);
}

/* Blocks whose length or bytes change when the size goes from one to the other. */
static void touch_resized(struct spool *s, int64_t from, int64_t to)
{
	int64_t low = from < to ? from : to;
	for (int64_t i = low / s->block_size; i < blocks_of(s, to); i++)
		touch(s, (size_t)i);
}

int spool_write(struct spool *s, const void *data, size_t len, int64_t off)
{
	int64_t end;
	if (off < 0 || __builtin_add_overflow(off, (int64_t)len, &end))
		return -EFBIG;
	if (!len)
		return 0;
	if (blocks_of(s, end) > SPOOL_MAX_BLOCKS)
		return -EFBIG;
	int rc = grow_map(s, (size_t)blocks_of(s, end));
	if (!rc)
		rc = charge(s, off, end);
	if (!rc)
		rc = adafs_pwrite_all(s->fd, data, len, off);
	if (rc)
		return rc;
	digest_add(s, data, len, off);
	if (end > s->size) {
		touch_resized(s, s->size, end);
		s->size = end;
	}
	for (int64_t i = off / s->block_size; i < blocks_of(s, end); i++)
		touch(s, (size_t)i);
	return 0;
}

ssize_t spool_read(const struct spool *s, void *data, size_t len, int64_t off)
{
	if (off >= s->size)
		return 0;
	if ((int64_t)len > s->size - off)
		len = (size_t)(s->size - off);
	int rc = adafs_pread_all(s->fd, data, len, off);
	return rc ? rc : (ssize_t)len;
}

int spool_truncate(struct spool *s, int64_t size)
{
	if (size < 0 || blocks_of(s, size) > SPOOL_MAX_BLOCKS)
		return -EFBIG;
	int rc = grow_map(s, (size_t)blocks_of(s, size));
	if (rc)
		return rc;
	if (ftruncate(s->fd, size))
		return -errno;
	if (size < s->digested)
		adafs_digest_free(ADAFS_STEAL(s->digest));
	if (size == 0 && s->hashed && !s->digest) {
		s->digest = adafs_digest_new(ADAFS_DIGEST_SHA256);
		s->digested = 0;
	}
	touch_resized(s, s->size, size);
	s->size = size;
	for (size_t i = (size_t)blocks_of(s, size); i < s->n_alloc; i++) {
		space_give(s->space, s->block[i].charged);
		s->block[i].charged = 0;
		touch(s, i);
	}
	return 0;
}

int spool_reserve(struct spool *s, int64_t off, int64_t len)
{
	int64_t end;
	if (off < 0 || len <= 0 || __builtin_add_overflow(off, len, &end) ||
	    blocks_of(s, end) > SPOOL_MAX_BLOCKS)
		return -EFBIG;
	int rc = grow_map(s, (size_t)blocks_of(s, end));
	if (!rc)
		rc = charge(s, off, end);
	/* A disk that cannot say so now says it at write. */
	if (!rc && fallocate(s->fd, 0, off, len) && errno == ENOSPC)
		rc = -ENOSPC;
	return rc || end <= s->size ? rc : spool_truncate(s, end);
}

int spool_fill_begin(struct spool *s, int64_t size)
{
	if (size < 0 || blocks_of(s, size) > SPOOL_MAX_BLOCKS)
		return -EFBIG;
	int rc = grow_map(s, (size_t)blocks_of(s, size));
	if (!rc)
		rc = charge(s, 0, size);
	if (!rc && ftruncate(s->fd, size))
		rc = -errno;
	if (rc)
		return rc;
	adafs_digest_free(ADAFS_STEAL(s->digest));
	s->size = size;
	return 0;
}

/* Hash what stands behind the part that was hashed while it was written. */
static int digest_rest(struct spool *s, struct adafs_digest *d, int64_t from)
{
	const size_t chunk = 256 * 1024;
	ADAFS_FREE char *buf = malloc(chunk);
	if (!buf)
		return -ENOMEM;
	for (int64_t off = from; off < s->size;) {
		ssize_t n = spool_read(s, buf, chunk, off);
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		adafs_digest_update(d, buf, (size_t)n);
		off += n;
	}
	return 0;
}

/* The running digest ends here; further writes make the next call read the file. */
int spool_sha256(struct spool *s, char ret[ADAFS_SHA256_HEX_LEN])
{
	ADAFS_CLEANUP(adafs_digest_freep) struct adafs_digest *d = ADAFS_STEAL(s->digest);
	int64_t from = d ? s->digested : 0;
	if (!d)
		d = adafs_digest_new(ADAFS_DIGEST_SHA256);
	if (!d)
		return -ENOMEM;
	int rc = digest_rest(s, d, from);
	if (rc)
		return rc;
	uint8_t sum[ADAFS_SHA256_LEN];
	adafs_digest_final(d, sum);
	adafs_hex_encode(sum, sizeof(sum), ret);
	return 0;
}

size_t spool_n_blocks(const struct spool *s)
{
	return (size_t)blocks_of(s, s->size);
}

size_t spool_block_len(const struct spool *s, size_t i)
{
	int64_t left = s->size - (int64_t)i * s->block_size;
	return left < s->block_size ? (size_t)left : s->block_size;
}

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
