/*
 * diskcache_file.c - a file a block of 4 MiB, sparse where nothing was stored:
 *
 *   0      "adafs-block-1\n", the key, '\n', the number of the block, '\n', zeros
 *   4096   CRC-64 of each page of 4 KiB; 0: not there
 *   12288  the pages
 *
 * A page is written before its checksum. Whatever a crash or a bad disk leaves of the two does not
 * fit, and the file goes. Its name is the SHA-256 of its first line; its mtime is when it was last
 * of use, by which the oldest go when there is too much.
 */
#include "fs/read/diskcache_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/digest.h"
#include "batch/base/file.h"
#include "batch/base/log.h"

#define PAGE ((size_t)4096)
#define N_PAGES (DISKCACHE_BLOCK / (int64_t)PAGE)
#define TABLE_OFF ((off_t)PAGE)
#define DATA_OFF (TABLE_OFF + (off_t)(N_PAGES * sizeof(uint64_t)))
#define TOUCH_SECONDS 60
#define FULL_PAUSE_MS UINT64_C(60000)
/* Two threads of each of two mounts may be writing a block when bytes are counted. */
#define ROOM_UNDER_WAY (4 * (uint64_t)DISKCACHE_BLOCK)

/* Room for the head of a file and for the checksums of its pages. */
struct block_file {
	int fd;
	char path[PATH_MAX];
	char head[PAGE];
	size_t first, n; /* pages of the range */
	uint64_t crc[N_PAGES];
};

/* --- one file -------------------------------------------------------------------------------- */
/* False: a key too long to be kept, which no blob has. */
static bool file_name(const struct diskcache_files *f, const struct diskcache_range *r,
		      struct block_file *b)
{
	uint8_t sum[ADAFS_SHA256_LEN];
	char hex[ADAFS_SHA256_HEX_LEN];
	memset(b->head, 0, sizeof(b->head));
	int len = snprintf(b->head, sizeof(b->head), "adafs-block-1\n%s\n%lld\n", r->key,
			   (long long)(r->off / DISKCACHE_BLOCK));
	adafs_sha256(b->head, strlen(b->head), sum);
	adafs_hex_encode(sum, sizeof(sum), hex);
	int n = snprintf(b->path, sizeof(b->path), "%s/%.2s/%s", f->dir, hex, hex + 2);
	b->first = (size_t)(r->off % DISKCACHE_BLOCK) / PAGE;
	b->n = (r->len + PAGE - 1) / PAGE;
	return len < (int)sizeof(b->head) && n < (int)sizeof(b->path) &&
	       r->off % (int64_t)PAGE == 0 && r->len;
}

static size_t page_len(const struct diskcache_range *r, size_t i)
{
	return r->len - i * PAGE < PAGE ? r->len - i * PAGE : PAGE;
}

static uint64_t page_crc(const struct diskcache_range *r, const char *buf, size_t i)
{
	return adafs_crc64(0, buf + i * PAGE, page_len(r, i));
}

static off_t table_at(const struct block_file *b)
{
	return TABLE_OFF + (off_t)(b->first * sizeof(uint64_t));
}

static off_t data_at(const struct block_file *b)
{
	return DATA_OFF + (off_t)(b->first * PAGE);
}

static bool head_fits(const struct block_file *b)
{
	char have[PAGE];
	return adafs_pread_all(b->fd, have, sizeof(have), 0) == 0 &&
	       memcmp(have, b->head, sizeof(have)) == 0;
}

static uint64_t disk_bytes(int fd)
{
	struct stat st;
	return fstat(fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

static void drop(struct diskcache_files *f, const struct block_file *b, const char *why)
{
	uint64_t bytes = disk_bytes(b->fd);
	adafs_log(WARN, "cache", "'%s' is dropped: %s", b->path, why);
	if (unlink(b->path) == 0)
		__atomic_sub_fetch(&f->used, bytes, __ATOMIC_RELAXED);
}

/* It was of use now. Said once a minute: a write for each read would cost more than it saves. */
static void touch(const struct block_file *b)
{
	struct stat st;
	if (fstat(b->fd, &st) == 0 &&
	    adafs_clock_wall_us() / 1000000 - st.st_mtim.tv_sec > TOUCH_SECONDS)
		futimens(b->fd, NULL);
}

static bool pages_read(struct diskcache_files *f, const struct diskcache_range *r,
		       struct block_file *b, char *buf)
{
	if (!head_fits(b)) {
		drop(f, b, "it is not what its name says");
		return false;
	}
	if (adafs_pread_all(b->fd, b->crc, b->n * sizeof(*b->crc), table_at(b)))
		return false;
	for (size_t i = 0; i < b->n; i++)
		if (!b->crc[i])
			return false;
	int rc = adafs_pread_all(b->fd, buf, r->len, data_at(b));
	for (size_t i = 0; !rc && i < b->n; i++)
		if (page_crc(r, buf, i) != b->crc[i])
			rc = -EIO;
	if (rc)
		drop(f, b, "its bytes do not fit their checksums");
	return !rc;
}

bool diskcache_files_read(struct diskcache_files *f, const struct diskcache_range *r, void *buf)
{
	ADAFS_FREE struct block_file *b = malloc(sizeof(*b));
	if (!b || !file_name(f, r, b))
		return false;
	b->fd = open(b->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (b->fd < 0)
		return false;
	bool found = pages_read(f, r, b, buf);
	if (found)
		touch(b);
	close(b->fd);
	return found;
}

/* --- storing --------------------------------------------------------------------------------- */
static int open_to_write(struct diskcache_files *f, struct block_file *b)
{
	const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
	for (int attempt = 0; attempt < 2; attempt++) {
		b->fd = open(b->path, flags, 0600);
		if (b->fd < 0 && errno == ENOENT) {
			char *slash = strrchr(b->path, '/');
			*slash = 0;
			mkdir(b->path, 0700);
			*slash = '/';
			b->fd = open(b->path, flags, 0600);
		}
		struct stat st;
		if (b->fd < 0 || fstat(b->fd, &st))
			return -errno;
		if (st.st_size == 0 || head_fits(b))
			return 0;
		drop(f, b, "it is not what its name says");
		close(b->fd);
		b->fd = -1;
	}
	return -EIO;
}

static int pages_write(const struct diskcache_range *r, struct block_file *b, const char *buf)
{
	int rc = adafs_pwrite_all(b->fd, b->head, sizeof(b->head), 0);
	/* The whole length at once, so that a table is never read past the end. */
	struct stat st;
	if (!rc && (fstat(b->fd, &st) || (st.st_size < DATA_OFF && ftruncate(b->fd, DATA_OFF))))
		rc = -errno;
	if (!rc)
		rc = adafs_pwrite_all(b->fd, buf, r->len, data_at(b));
	for (size_t i = 0; i < b->n; i++)
		b->crc[i] = page_crc(r, buf, i);
	return rc ? rc : adafs_pwrite_all(b->fd, b->crc, b->n * sizeof(*b->crc), table_at(b));
}

/* --- room ------------------------------------------------------------------------------------ */
struct found {
	char *path;
	struct timespec used;
	uint64_t bytes;
};

struct found_list {
	struct found *item;
	size_t n, size;
	uint64_t bytes;
};

static void found_add(struct found_list *l, const char *path, const struct stat *st)
{
	if (l->n == l->size) {
		size_t size = l->size ? l->size * 2 : 256;
		struct found *item = reallocarray(l->item, size, sizeof(*item));
		if (!item)
			return;
		l->item = item;
		l->size = size;
	}
	char *copy = strdup(path);
	if (!copy)
		return;
	const uint64_t bytes = (uint64_t)st->st_blocks * 512;
	l->item[l->n++] = (struct found){ .path = copy, .used = st->st_mtim, .bytes = bytes };
	l->bytes += bytes;
}

static void find_in(struct found_list *l, const char *dir)
{
	DIR *d = opendir(dir);
	if (!d)
		return;
	for (struct dirent *e; (e = readdir(d));) {
		ADAFS_FREE char *path = adafs_fmt("%s/%s", dir, e->d_name);
		struct stat st;
		if (path && strlen(e->d_name) == ADAFS_SHA256_HEX_LEN - 3 &&
		    lstat(path, &st) == 0 && S_ISREG(st.st_mode))
			found_add(l, path, &st);
	}
	closedir(d);
}

/* Only names of the form that files have here: what else lies in the directory is not ours. */
static void find_all(const struct diskcache_files *f, struct found_list *l)
{
	for (unsigned i = 0; i < 256; i++) {
		ADAFS_FREE char *dir = adafs_fmt("%s/%02x", f->dir, i);
		if (dir)
			find_in(l, dir);
	}
}

static void found_clear(struct found_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->item[i].path);
	free(l->item);
}

static int older(const void *a, const void *b)
{
	const struct timespec *x = &((const struct found *)a)->used,
			      *y = &((const struct found *)b)->used;
	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

/*
 * The limit holds with two mounts that fill one directory at the same time: each stores at most a
 * twentieth between two counts, and a count leaves room for both and for the blocks that are being
 * written.
 */
void diskcache_files_scan(struct diskcache_files *f)
{
	const uint64_t slice = f->limit / 20, most = f->limit - 2 * slice - ROOM_UNDER_WAY;
	const uint64_t before = __atomic_load_n(&f->used, __ATOMIC_RELAXED);
	struct found_list l = { 0 };
	find_all(f, &l);
	if (l.bytes > most) {
		qsort(l.item, l.n, sizeof(*l.item), older);
		for (size_t i = 0; i < l.n && l.bytes > most - slice; i++)
			if (unlink(l.item[i].path) == 0 || errno == ENOENT)
				l.bytes -= l.item[i].bytes;
	}
	/* What the other thread stored meanwhile counts, perhaps twice. */
	__atomic_add_fetch(&f->used, l.bytes - before, __ATOMIC_RELAXED);
	__atomic_store_n(&f->count_at, l.bytes + slice, __ATOMIC_RELAXED);
	found_clear(&l);
}

void diskcache_files_write(struct diskcache_files *f, const struct diskcache_range *r,
			   const void *buf)
{
	ADAFS_FREE struct block_file *b = malloc(sizeof(*b));
	uint64_t now = adafs_clock_mono_ms(), full = __atomic_load_n(&f->full_ms, __ATOMIC_RELAXED);
	if (!b || !file_name(f, r, b) || (full && now - full < FULL_PAUSE_MS))
		return;
	int rc = open_to_write(f, b);
	uint64_t before = rc ? 0 : disk_bytes(b->fd);
	if (!rc)
		rc = pages_write(r, b, buf);
	uint64_t after = b->fd < 0 ? 0 : disk_bytes(b->fd);
	if (b->fd >= 0)
		close(b->fd);
	if (rc) {
		adafs_log(WARN, "cache", "nothing is kept in '%s' for a minute: %s", f->dir,
			  strerror(-rc));
		__atomic_store_n(&f->full_ms, now, __ATOMIC_RELAXED);
	}
	if (__atomic_add_fetch(&f->used, after - before, __ATOMIC_RELAXED) >
	    __atomic_load_n(&f->count_at, __ATOMIC_RELAXED))
		diskcache_files_scan(f);
}
