/*
 * spool.c - the bytes of spools: in memory while they are few, else in a file without a name that
 * is gone with its descriptor. Neither outlives the process.
 */
#include "fs/write/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "batch/base/codec.h"
#include "batch/base/file.h"
#include "batch/base/random.h"
#include "fs/write/spool_int.h"

#define MEMORY_FILE ((size_t)256 * 1024) /* larger ones have a file on disk */
#define MEMORY_ALL \
	((uint64_t)12 * 1024 * 1024) /* of all small ones together; what comes then, too */

struct spool_space *spool_space_new(uint64_t limit)
{
	struct spool_space *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->limit = limit;
	adafs_mutex_init(&s->lock, ADAFS_RANK_LEAF);
	return s;
}

void spool_space_free(struct spool_space *s)
{
	if (!s)
		return;
	adafs_mutex_clear(&s->lock);
	free(s);
}

void spool_space_usage(const struct spool_space *s, uint64_t *ret_limit, uint64_t *ret_used)
{
	uint64_t used = __atomic_load_n(&s->used, __ATOMIC_RELAXED);
	*ret_limit = s->limit;
	*ret_used = used < s->limit ? used : s->limit;
}

int spool_space_take(struct spool_space *s, uint64_t n)
{
	uint64_t used = __atomic_add_fetch(&s->used, n, __ATOMIC_RELAXED);
	if (used <= s->limit)
		return 0;
	__atomic_sub_fetch(&s->used, n, __ATOMIC_RELAXED);
	return -ENOSPC;
}

void spool_space_give(struct spool_space *s, uint64_t n)
{
	__atomic_sub_fetch(&s->used, n, __ATOMIC_RELAXED);
}

/* A file that nobody else can open and that is gone with its descriptor. */
static int open_unnamed(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	/* Somebody tidied up: what is written there is not theirs to keep. */
	if (fd < 0 && errno == ENOENT && mkdir(dir, 0700) == 0)
		fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
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

/*
 * --- bytes -------------------------------------------------------------------------------------
 */
static void memory_drop(struct spool *s)
{
	__atomic_sub_fetch(&s->space->memory, s->mem_cap, __ATOMIC_RELAXED);
	free(ADAFS_STEAL(s->mem));
	s->mem_cap = 0;
}

/* Keep the disk's blocks for one that is still in memory: ENOSPC belongs to the write. */
static int keep_disk(struct spool *s, size_t block)
{
	int64_t off = spool_block_start(s, block);
	return fallocate(s->fd, FALLOC_FL_KEEP_SIZE, off, s->block_size) && errno == ENOSPC
		       ? -ENOSPC
		       : 0;
}

/* From memory to disk, or to the first block on its way there. */
static int to_disk(struct spool *s)
{
	if (s->fd >= 0)
		return 0;
	s->fd = open_unnamed(s->dir);
	if (s->fd < 0)
		return s->fd;
	size_t len = (size_t)s->size < s->mem_cap ? (size_t)s->size : s->mem_cap;
	struct hot *hot =
		len && (int64_t)len == s->size && !keep_disk(s, 0) ? spool_hot_new(s, 0) : NULL;
	int rc = 0;
	if (hot)
		spool_hot_append(hot, s->mem, len);
	else if (len)
		rc = adafs_pwrite_all(s->fd, s->mem, len, 0);
	if (!rc && !hot && ftruncate(s->fd, s->size))
		rc = -errno;
	if (rc) {
		close(s->fd);
		s->fd = -1;
		return rc;
	}
	memory_drop(s);
	return 0;
}

/* Whether the content up to end may be in memory, with room for it. */
static bool memory_holds(struct spool *s, int64_t end)
{
	if (s->fd >= 0 || (s->sums & SPOOL_SHA256) || end > (int64_t)MEMORY_FILE ||
	    end > s->block_size)
		return false;
	if ((size_t)end <= s->mem_cap)
		return true;
	size_t cap = s->mem_cap ? s->mem_cap : 4096;
	while (cap < (size_t)end)
		cap *= 2;
	size_t more = cap - s->mem_cap;
	if (__atomic_add_fetch(&s->space->memory, more, __ATOMIC_RELAXED) <= MEMORY_ALL) {
		char *mem = realloc(s->mem, cap);
		if (mem) {
			memset(mem + s->mem_cap, 0, more);
			s->mem = mem;
			s->mem_cap = cap;
			return true;
		}
	}
	__atomic_sub_fetch(&s->space->memory, more, __ATOMIC_RELAXED);
	return false;
}

/* Have a place for content up to end: memory or disk. */
static int place(struct spool *s, int64_t end)
{
	return memory_holds(s, end) ? 0 : to_disk(s);
}

static void running_add(struct running *r, const void *data, size_t len, int64_t off)
{
	if (!r->digest)
		return;
	if (off == r->done) {
		adafs_digest_update(r->digest, data, len);
		r->done += (int64_t)len;
	} else if (off < r->done) {
		/* What was summed has changed. */
		adafs_digest_free(ADAFS_STEAL(r->digest));
	}
}

/* The content was cut to size. */
static void running_cut(struct running *r, bool wanted, enum adafs_digest_kind kind, int64_t size)
{
	if (size < r->done)
		adafs_digest_free(ADAFS_STEAL(r->digest));
	if (size || !wanted || r->digest)
		return;
	r->digest = adafs_digest_new(kind);
	r->done = 0;
}

static void sums_cut(struct spool *s, int64_t size)
{
	running_cut(&s->sha256, s->sums & SPOOL_SHA256, ADAFS_DIGEST_SHA256, size);
	running_cut(&s->md5, s->sums & SPOOL_MD5, ADAFS_DIGEST_MD5, size);
}

static void sums_drop(struct spool *s)
{
	adafs_digest_free(ADAFS_STEAL(s->sha256.digest));
	adafs_digest_free(ADAFS_STEAL(s->md5.digest));
}

/* Bytes of one block: on with it in memory, or to disk. */
static int put_in_block(struct spool *s, size_t block, const char *data, size_t len, int64_t off)
{
	if (s->fd < 0) {
		memcpy(s->mem + off, data, len);
		return 0;
	}
	int64_t at = off - spool_block_start(s, block);
	struct hot *hot = spool_hot_next(s, block, at);
	int rc = 0;
	if (!hot && !at && off == s->size) {
		rc = keep_disk(s, block);
		hot = rc ? NULL : spool_hot_new(s, block);
	}
	if (hot)
		spool_hot_append(hot, data, len);
	else if (!rc)
		rc = spool_hot_settle(s, block, block);
	return hot || rc ? rc : adafs_pwrite_all(s->fd, data, len, off);
}

static int put_bytes(struct spool *s, const char *data, size_t len, int64_t off)
{
	for (size_t i = spool_block_at(s, off); len; i++) {
		int64_t room = spool_block_start(s, i + 1) - off;
		size_t n = (int64_t)len < room ? len : (size_t)room;
		int rc = put_in_block(s, i, data, n, off);
		if (rc)
			return rc;
		running_add(&s->sha256, data, n, off);
		running_add(&s->md5, data, n, off);
		if (off + (int64_t)n > s->size) {
			spool_resized(s, off + (int64_t)n);
			s->size = off + (int64_t)n;
		}
		spool_written(s, i, data, n, off);
		data += n;
		off += (int64_t)n;
		len -= n;
	}
	return 0;
}

int spool_new(struct spool_space *space, const char *dir, uint32_t block_size, unsigned sums,
	      struct spool **ret, struct adafs_err *reterr)
{
	struct spool *s = calloc(1, sizeof(*s));
	if (!s)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	*s = (struct spool){
		.space = space, .dir = dir, .fd = -1, .block_size = block_size, .sums = sums
	};
	int rc = sums & SPOOL_SHA256 ? to_disk(s) : 0;
	if (rc) {
		free(s);
		return adafs_err_set(reterr, rc, "cannot make a file in '%s': %s", dir,
				     strerror(-rc));
	}
	sums_cut(s, 0);
	adafs_random_hex(8, s->upload);
	*ret = s;
	return 0;
}

void spool_free(struct spool *s)
{
	if (!s)
		return;
	spool_hot_clear(s);
	spool_give_back(s);
	memory_drop(s);
	sums_drop(s);
	if (s->fd >= 0)
		close(s->fd);
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

int spool_write(struct spool *s, const void *data, size_t len, int64_t off)
{
	int64_t end;
	if (off < 0 || __builtin_add_overflow(off, (int64_t)len, &end))
		return -EFBIG;
	if (!len)
		return 0;
	int rc = spool_grow_map(s, end);
	if (!rc)
		rc = spool_charge(s, off, end);
	if (!rc)
		rc = place(s, end > s->size ? end : s->size);
	/* The last block ends in a hole, which memory on its way to disk does not have. */
	if (!rc && off > s->size)
		rc = spool_settle(s);
	return rc ? rc : put_bytes(s, data, len, off);
}

/* Bytes of one block. */
static int read_in_block(const struct spool *s, size_t block, char *data, size_t len, int64_t off)
{
	const char *hot = s->fd < 0 ? s->mem : spool_hot_data(s, block);
	if (!hot)
		return adafs_pread_all(s->fd, data, len, off);
	memcpy(data, hot + (off - spool_block_start(s, block)), len);
	return 0;
}

ssize_t spool_read(const struct spool *s, void *data, size_t len, int64_t off)
{
	if (off >= s->size)
		return 0;
	if ((int64_t)len > s->size - off)
		len = (size_t)(s->size - off);
	char *p = data;
	for (size_t i = spool_block_at(s, off), left = len; left; i++) {
		int64_t room = spool_block_start(s, i + 1) - off;
		size_t n = (int64_t)left < room ? left : (size_t)room;
		int rc = read_in_block(s, i, p, n, off);
		if (rc)
			return rc;
		p += n;
		off += (int64_t)n;
		left -= n;
	}
	return (ssize_t)len;
}

bool spool_in_memory(const struct spool *s)
{
	return s->fd < 0 || s->hot;
}

int spool_settle(struct spool *s)
{
	return spool_hot_settle(s, 0, SIZE_MAX);
}

int spool_truncate(struct spool *s, int64_t size)
{
	if (size < 0)
		return -EFBIG;
	int rc = spool_grow_map(s, size);
	if (!rc)
		rc = place(s, size > s->size ? size : s->size);
	if (!rc)
		rc = spool_settle(s);
	if (rc)
		return rc;
	if (s->fd >= 0 && ftruncate(s->fd, size))
		return -errno;
	/* What is cut reads as zeros when the file grows again. */
	if (s->fd < 0 && size < s->size)
		memset(s->mem + size, 0, (size_t)(s->size - size));
	sums_cut(s, size);
	spool_resized(s, size);
	s->size = size;
	return 0;
}

int spool_reserve(struct spool *s, int64_t off, int64_t len)
{
	int64_t end;
	if (off < 0 || len <= 0 || __builtin_add_overflow(off, len, &end))
		return -EFBIG;
	int rc = spool_grow_map(s, end);
	if (!rc)
		rc = spool_charge(s, off, end);
	if (!rc)
		rc = to_disk(s);
	if (!rc)
		rc = spool_settle(s);
	/* A disk that cannot say so now says it at write. */
	if (!rc && fallocate(s->fd, 0, off, len) && errno == ENOSPC)
		rc = -ENOSPC;
	return rc || end <= s->size ? rc : spool_truncate(s, end);
}

int spool_fill_begin(struct spool *s, int64_t size)
{
	if (size < 0)
		return -EFBIG;
	int rc = spool_grow_map(s, size);
	if (!rc)
		rc = spool_charge(s, 0, size);
	if (!rc)
		rc = to_disk(s);
	if (!rc)
		rc = spool_settle(s);
	if (!rc && ftruncate(s->fd, size))
		rc = -errno;
	if (rc)
		return rc;
	sums_drop(s);
	spool_forget_sums(s);
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

/* The running digest ends here; further writes make the next call read the content. */
static int running_end(struct spool *s, struct running *r, enum adafs_digest_kind kind,
		       uint8_t *ret)
{
	ADAFS_CLEANUP(adafs_digest_freep) struct adafs_digest *d = ADAFS_STEAL(r->digest);
	int64_t from = d ? r->done : 0;
	if (!d)
		d = adafs_digest_new(kind);
	if (!d)
		return -ENOMEM;
	int rc = digest_rest(s, d, from);
	if (!rc)
		adafs_digest_final(d, ret);
	return rc;
}

int spool_sha256(struct spool *s, char ret[ADAFS_SHA256_HEX_LEN])
{
	uint8_t sum[ADAFS_SHA256_LEN];
	int rc = running_end(s, &s->sha256, ADAFS_DIGEST_SHA256, sum);
	if (!rc)
		adafs_hex_encode(sum, sizeof(sum), ret);
	return rc;
}

int spool_md5(struct spool *s, uint8_t ret[ADAFS_MD5_LEN])
{
	return running_end(s, &s->md5, ADAFS_DIGEST_MD5, ret);
}
