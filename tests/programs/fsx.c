/*
 * fsx - random operations on one file against a model in memory, after the idea of the file system
 * exerciser: read, write, mapped read and write, append, truncate both ways, close and open again,
 * fsync, copy within the file, rename, replace. Every byte that is read is compared; so is the size
 * after every operation.
 *
 * usage: fsx FILE SEED OPERATIONS [MAX_SIZE [CLOSE_EVERY]]
 *   MAX_SIZE     bytes that the file never exceeds; 256 KiB unless told
 *   CLOSE_EVERY  about so many operations between two closes, which are what a commit costs; 50
 * unless told
 *
 * Prints the last operations and exits with 1 at the first difference.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_LOGGED 24
#define LINE 120

struct fsx {
	const char *path;
	char *aside; /* a second name in the same directory */
	int fd;
	uint64_t random;
	size_t max, size;
	unsigned close_every;
	unsigned char *model, *buf;
	unsigned long step;
	char log[N_LOGGED][LINE];
};

/* xorshift64*: the same run for the same seed everywhere. */
static uint64_t next_random(struct fsx *x)
{
	x->random ^= x->random >> 12;
	x->random ^= x->random << 25;
	x->random ^= x->random >> 27;
	return x->random * UINT64_C(2685821657736338717);
}

static size_t below(struct fsx *x, size_t n)
{
	return n ? (size_t)((next_random(x) >> 11) % n) : 0;
}

static void note(struct fsx *x, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(x->log[x->step % N_LOGGED], LINE, format, args);
	va_end(args);
}

static _Noreturn void fail(struct fsx *x, const char *format, ...)
{
	va_list args;
	unsigned long from = x->step < N_LOGGED ? 0 : x->step - N_LOGGED + 1;
	for (unsigned long i = from; i <= x->step; i++)
		fprintf(stderr, "%8lu  %s\n", i, x->log[i % N_LOGGED]);
	fprintf(stderr, "fsx: step %lu: ", x->step);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void check(struct fsx *x, bool good, const char *call)
{
	if (!good)
		fail(x, "%s: %s", call, strerror(errno));
}

static void compare(struct fsx *x, size_t off, const unsigned char *got, size_t n, const char *how)
{
	if (memcmp(got, x->model + off, n) == 0)
		return;
	size_t i = 0;
	while (got[i] == x->model[off + i])
		i++;
	fail(x, "%s differs at %zu: %02x is read, %02x was written", how, off + i, got[i],
	     x->model[off + i]);
}

/* A place and a length in it: small ones, page-sized ones and large ones. */
static size_t some_range(struct fsx *x, size_t limit, size_t *ret_off)
{
	static const size_t most[] = { 16, 4096, 65536, SIZE_MAX };
	size_t off = below(x, limit);
	size_t cap = most[below(x, 4)];
	if (below(x, 4) == 0)
		off &= ~(size_t)4095;
	size_t len = below(x, (limit - off < cap ? limit - off : cap)) + 1;
	*ret_off = off;
	return off + len > limit ? limit - off : len;
}

static void fill(struct fsx *x, size_t n)
{
	uint64_t word = next_random(x);
	for (size_t i = 0; i < n; i++)
		x->buf[i] = (unsigned char)(word >> (i % 7 * 8)) + (unsigned char)i;
}

/* What the model holds after n bytes of buf were put at off. */
static void put(struct fsx *x, size_t off, size_t n)
{
	if (off > x->size)
		memset(x->model + x->size, 0, off - x->size);
	memcpy(x->model + off, x->buf, n);
	if (off + n > x->size)
		x->size = off + n;
}

/* --- operations
 * ------------------------------------------------------------------------------------ */
static void open_file(struct fsx *x, int flags)
{
	x->fd = open(x->path, O_RDWR | flags, 0644);
	check(x, x->fd >= 0, "open");
}

static void do_read(struct fsx *x)
{
	size_t off, n = some_range(x, x->max, &off);
	note(x, "read %zu+%zu", off, n);
	size_t want = off < x->size ? (n < x->size - off ? n : x->size - off) : 0;
	ssize_t got = pread(x->fd, x->buf, n, (off_t)off);
	check(x, got >= 0, "pread");
	if ((size_t)got != want)
		fail(x, "%zd bytes are read, %zu expected", got, want);
	compare(x, off, x->buf, want, "read");
}

static void do_write(struct fsx *x)
{
	size_t off, n = some_range(x, x->max, &off);
	note(x, "write %zu+%zu", off, n);
	fill(x, n);
	check(x, pwrite(x->fd, x->buf, n, (off_t)off) == (ssize_t)n, "pwrite");
	put(x, off, n);
}

static void do_append(struct fsx *x)
{
	size_t n = below(x, x->max - x->size < 9000 ? x->max - x->size : 9000);
	note(x, "append %zu+%zu", x->size, n);
	if (n == 0)
		return;
	int fd = open(x->path, O_WRONLY | O_APPEND);
	check(x, fd >= 0, "open to append");
	fill(x, n);
	check(x, write(fd, x->buf, n) == (ssize_t)n, "write");
	check(x, close(fd) == 0, "close");
	put(x, x->size, n);
}

static void do_truncate(struct fsx *x)
{
	size_t size = below(x, x->max + 1);
	note(x, "truncate %zu to %zu", x->size, size);
	bool by_name = below(x, 4) == 0;
	check(x, (by_name ? truncate(x->path, (off_t)size) : ftruncate(x->fd, (off_t)size)) == 0,
	      "truncate");
	if (size > x->size)
		memset(x->model + x->size, 0, size - x->size);
	x->size = size;
}

static void do_mapped(struct fsx *x, bool writes)
{
	note(x, "mapped %s", writes ? "write" : "read");
	if (x->size == 0)
		return;
	size_t off, n = some_range(x, x->size, &off);
	note(x, "mapped %s %zu+%zu", writes ? "write" : "read", off, n);
	unsigned char *map = mmap(NULL, x->size, writes ? PROT_READ | PROT_WRITE : PROT_READ,
				  MAP_SHARED, x->fd, 0);
	check(x, map != MAP_FAILED, "mmap");
	if (writes) {
		fill(x, n);
		memcpy(map + off, x->buf, n);
		put(x, off, n);
		check(x, msync(map, x->size, MS_SYNC) == 0, "msync");
	} else {
		compare(x, off, map + off, n, "mapped read");
	}
	check(x, munmap(map, x->size) == 0, "munmap");
}

static void do_copy(struct fsx *x)
{
	note(x, "copy");
	if (x->size < 2)
		return;
	size_t from, to, n = some_range(x, x->size, &from);
	to = below(x, x->max - n);
	if (to < from + n && from < to + n)
		return; /* copy_file_range refuses what overlaps */
	note(x, "copy %zu+%zu to %zu", from, n, to);
	off_t in = (off_t)from, out = (off_t)to;
	for (size_t left = n; left;) {
		ssize_t got = copy_file_range(x->fd, &in, x->fd, &out, left, 0);
		check(x, got > 0, "copy_file_range");
		left -= (size_t)got;
	}
	memcpy(x->buf, x->model + from, n);
	put(x, to, n);
}

static void do_reopen(struct fsx *x)
{
	note(x, "close and open, %zu bytes", x->size);
	check(x, close(x->fd) == 0, "close");
	open_file(x, 0);
	ssize_t got = pread(x->fd, x->buf, x->max, 0);
	check(x, got >= 0, "pread");
	if ((size_t)got != x->size)
		fail(x, "%zd bytes after close, %zu expected", got, x->size);
	compare(x, 0, x->buf, x->size, "after close");
}

static void do_fsync(struct fsx *x)
{
	note(x, "fsync");
	check(x, fsync(x->fd) == 0, "fsync");
}

/* Away and back, while it is open. */
static void do_rename(struct fsx *x)
{
	note(x, "rename there and back");
	check(x, rename(x->path, x->aside) == 0, "rename");
	check(x, rename(x->aside, x->path) == 0, "rename back");
}

/* As an editor saves: a new file under another name takes the place of the old one. */
static void do_replace(struct fsx *x)
{
	size_t n = below(x, x->max);
	note(x, "replace by %zu", n);
	int fd = open(x->aside, O_RDWR | O_CREAT | O_EXCL, 0644);
	check(x, fd >= 0, "open beside");
	fill(x, n);
	check(x, pwrite(fd, x->buf, n, 0) == (ssize_t)n, "pwrite beside");
	check(x, close(x->fd) == 0, "close");
	check(x, rename(x->aside, x->path) == 0, "rename over");
	x->fd = fd;
	x->size = 0;
	put(x, 0, n);
}

static void check_size(struct fsx *x)
{
	struct stat st;
	check(x, fstat(x->fd, &st) == 0, "fstat");
	if ((size_t)st.st_size != x->size)
		fail(x, "the size is %lld, %zu expected", (long long)st.st_size, x->size);
}

static void step(struct fsx *x)
{
	size_t dice = below(x, 10000), rare = 10000 / x->close_every;
	if (dice < rare)
		below(x, 8) ? do_reopen(x) : do_replace(x);
	else if (dice < rare + rare / 8)
		do_append(x);
	else if (dice < rare + rare / 4)
		do_fsync(x);
	else if (dice < rare + rare / 2)
		do_rename(x);
	else if (dice < 3500)
		do_read(x);
	else if (dice < 6000)
		do_write(x);
	else if (dice < 7000)
		do_truncate(x);
	else if (dice < 8000)
		do_copy(x);
	else
		do_mapped(x, dice < 9000);
	check_size(x);
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: fsx FILE SEED OPERATIONS [MAX_SIZE [CLOSE_EVERY]]\n");
		return 2;
	}
	struct fsx x = { .path = argv[1],
			 .max = argc > 4 ? strtoul(argv[4], NULL, 10) : 256 * 1024 };
	x.close_every = argc > 5 ? (unsigned)strtoul(argv[5], NULL, 10) : 50;
	x.random = strtoull(argv[2], NULL, 10) * UINT64_C(0x9e3779b97f4a7c15) + 1;
	unsigned long steps = strtoul(argv[3], NULL, 10);
	x.model = calloc(1, x.max);
	x.buf = malloc(x.max);
	if (!x.model || !x.buf || asprintf(&x.aside, "%s.aside", x.path) < 0 || !x.close_every) {
		fprintf(stderr, "fsx: out of memory, or a number is 0\n");
		return 2;
	}
	open_file(&x, O_CREAT | O_TRUNC);
	for (x.step = 0; x.step < steps; x.step++)
		step(&x);
	do_reopen(&x);
	check(&x, close(x.fd) == 0 && unlink(x.path) == 0, "close and unlink");
	printf("fsx: %lu operations of seed %s: all bytes as written\n", steps, argv[2]);
	free(x.aside);
	free(x.model);
	free(x.buf);
	return 0;
}
