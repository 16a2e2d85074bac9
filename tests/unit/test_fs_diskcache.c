/* The disk cache: what it gives back is what was stored, whatever became of its files; its bound
 * holds for two mounts. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "fs/read/diskcache.c"
#include "fs/read/diskcache_file.c"

#define MIB ((size_t)1 << 20)
#define N_FLIPS 10000
#define N_BLOCKS 8

static char dir[] = "/tmp/adafs-diskcache-XXXXXX";
static unsigned seed = 20261;

static unsigned dice(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

/* Each byte of a blob is known by its place. */
static void fill(char *buf, size_t len, int64_t off, unsigned blob)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(((uint64_t)off + i) * UINT64_C(2654435761) >> 13 ^ blob);
}

static bool is_filled(const char *buf, size_t len, int64_t off, unsigned blob)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != (char)(((uint64_t)off + i) * UINT64_C(2654435761) >> 13 ^ blob))
			return false;
	return true;
}

static void for_all_files(void (*act)(const char *path, void *arg), void *arg)
{
	char path[PATH_MAX];
	for (unsigned i = 0; i < 256; i++) {
		snprintf(path, sizeof(path), "%s/%02x", dir, i);
		DIR *d = opendir(path);
		for (struct dirent *e; d && (e = readdir(d));) {
			snprintf(path, sizeof(path), "%s/%02x/%s", dir, i, e->d_name);
			if (e->d_name[0] != '.')
				act(path, arg);
		}
		if (d)
			closedir(d);
	}
}

static void remove_file(const char *path, void *arg)
{
	(void)arg;
	unlink(path);
}

static void add_size(const char *path, void *arg)
{
	struct stat st;
	if (stat(path, &st) == 0)
		*(uint64_t *)arg += (uint64_t)st.st_blocks * 512;
}

static int setup(void **state)
{
	(void)state;
	strcpy(strrchr(dir, '-'), "-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	for_all_files(remove_file, NULL);
	char path[PATH_MAX];
	for (unsigned i = 0; i < 256; i++) {
		snprintf(path, sizeof(path), "%s/%02x", dir, i);
		rmdir(path);
	}
	return rmdir(dir);
}

static struct diskcache_files files_of(uint64_t limit)
{
	return (struct diskcache_files){ .dir = dir, .limit = limit, .count_at = limit };
}

static void test_what_was_stored_is_found(void **state)
{
	(void)state;
	static char in[DISKCACHE_BLOCK], out[DISKCACHE_BLOCK];
	static const struct {
		int64_t off;
		size_t len;
	} parts[] = { { 0, 100 },
		      { PAGE, PAGE },
		      { 8 * MIB, 4 * MIB },
		      { 3 * MIB, MIB },
		      { 12 * MIB + PAGE, 2 * PAGE + 1 } };
	struct diskcache_files f = files_of(64 * MIB);
	for (unsigned i = 0; i < 5; i++) {
		const struct diskcache_range r = { "a", parts[i].off, parts[i].len },
					     other = { "b", parts[i].off, parts[i].len };
		assert_false(diskcache_files_read(&f, &r, out));
		fill(in, r.len, r.off, 0);
		diskcache_files_write(&f, &r, in);
		assert_true(diskcache_files_read(&f, &r, out));
		assert_memory_equal(in, out, r.len);
		assert_false(diskcache_files_read(&f, &other, out));
	}
	/* A part of what is there, and more than is there. */
	const struct diskcache_range inner = { "a", 9 * MIB, PAGE },
				     outer = { "a", 2 * MIB, 2 * MIB };
	assert_true(diskcache_files_read(&f, &inner, out));
	assert_true(is_filled(out, inner.len, inner.off, 0));
	assert_false(diskcache_files_read(&f, &outer, out));
}

/* --- damage ---------------------------------------------------------------------------------- */
static struct diskcache_range range_of_block(unsigned i, char key[32])
{
	snprintf(key, 32, "account/container/%u", i);
	return (struct diskcache_range){ key,
					 (int64_t)i * DISKCACHE_BLOCK + (i % 3) * (int64_t)PAGE,
					 (i % 4 + 1) * PAGE - i };
}

static void store_block(struct diskcache_files *f, unsigned i)
{
	char key[32], buf[8 * PAGE];
	const struct diskcache_range r = range_of_block(i, key);
	fill(buf, r.len, r.off, i);
	diskcache_files_write(f, &r, buf);
}

/* What is found must be sound; 1 when it was not found. */
static unsigned load_block(struct diskcache_files *f, unsigned i)
{
	char key[32], buf[8 * PAGE];
	const struct diskcache_range r = range_of_block(i, key);
	if (!diskcache_files_read(f, &r, buf))
		return 1;
	assert_true(is_filled(buf, r.len, r.off, i));
	return 0;
}

static int open_block(const struct diskcache_files *f, unsigned i)
{
	char key[32];
	const struct diskcache_range r = range_of_block(i, key);
	struct block_file b;
	assert_true(file_name(f, &r, &b));
	int fd = open(b.path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* Where a flip hurts: the head, the checksums of the pages that are there, or their bytes. */
static off_t place_in(unsigned i, char key[32])
{
	const struct diskcache_range r = range_of_block(i, key);
	const size_t first = (size_t)(r.off % DISKCACHE_BLOCK) / PAGE;
	switch (dice(3)) {
	case 0:
		return (off_t)dice(PAGE);
	case 1:
		return TABLE_OFF + (off_t)(first * sizeof(uint64_t) +
					   dice((r.len + PAGE - 1) / PAGE * sizeof(uint64_t)));
	default:
		return DATA_OFF + (off_t)(first * PAGE + dice((unsigned)r.len));
	}
}

static void test_no_flipped_bit_is_returned(void **state)
{
	(void)state;
	struct diskcache_files f = files_of(64 * MIB);
	unsigned missed = 0;
	for (unsigned i = 0; i < N_BLOCKS; i++)
		store_block(&f, i);
	for (unsigned n = 0; n < N_FLIPS; n++) {
		unsigned i = dice(N_BLOCKS);
		char key[32], byte;
		int fd = open_block(&f, i);
		off_t at = place_in(i, key);
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= (char)(1 << dice(8));
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close(fd);
		missed += load_block(&f, i);
		store_block(&f, i);
		assert_int_equal(load_block(&f, i), 0);
	}
	assert_int_equal(missed, N_FLIPS);
}

static void test_a_cut_file_is_not_there(void **state)
{
	(void)state;
	struct diskcache_files f = files_of(64 * MIB);
	for (unsigned n = 0; n < 500; n++) {
		unsigned i = dice(N_BLOCKS);
		store_block(&f, i);
		int fd = open_block(&f, i);
		struct stat st;
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(ftruncate(fd, dice((unsigned)st.st_size)), 0);
		close(fd);
		assert_int_equal(load_block(&f, i), 1);
		store_block(&f, i);
		assert_int_equal(load_block(&f, i), 0);
	}
}

/* --- the bound ------------------------------------------------------------------------------- */
struct filler {
	struct diskcache_files files;
	const char *who;
	pthread_t thread;
	bool over;
};

static void *filler_main(void *arg)
{
	struct filler *m = arg;
	static const char zeros[4 * MIB];
	diskcache_files_scan(&m->files);
	for (int64_t i = 0; i < 60; i++) {
		const struct diskcache_range r = { m->who, i * DISKCACHE_BLOCK,
						   i % 4 ? 4 * MIB : 3 * PAGE };
		diskcache_files_write(&m->files, &r, zeros);
		uint64_t bytes = 0;
		for_all_files(add_size, &bytes);
		m->over |= bytes > m->files.limit;
	}
	return NULL;
}

static void test_two_mounts_stay_below_one_limit(void **state)
{
	(void)state;
	struct filler m[2] = { { .files = files_of(80 * MIB), .who = "one" },
			       { .files = files_of(80 * MIB), .who = "two" } };
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&m[i].thread, NULL, filler_main, &m[i]), 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(m[i].thread, NULL);
		assert_false(m[i].over);
	}
}

static void count_load(void *arg, bool found)
{
	(void)found;
	__atomic_add_fetch((unsigned *)arg, 1, __ATOMIC_RELAXED);
}

static void test_closing_ends_every_load(void **state)
{
	(void)state;
	struct diskcache *d = NULL;
	struct adafs_err err;
	char buf[PAGE];
	unsigned ended = 0;
	const struct diskcache_range r = { "a", 0, PAGE };
	assert_int_equal(diskcache_open(dir, 64 * MIB, &d, &err), 0);
	for (int i = 0; i < 200; i++)
		diskcache_load(d, &r, buf, count_load, &ended);
	diskcache_close(d);
	assert_int_equal(ended, 200);
}

static void test_a_directory_of_others_is_refused(void **state)
{
	(void)state;
	struct diskcache *d = NULL;
	struct adafs_err err;
	assert_int_equal(chmod(dir, 0750), 0);
	assert_int_equal(diskcache_open(dir, 64 * MIB, &d, &err), -EPERM);
	assert_int_equal(chmod(dir, 0700), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_was_stored_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_flipped_bit_is_returned, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_cut_file_is_not_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_mounts_stay_below_one_limit, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_closing_ends_every_load, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_directory_of_others_is_refused, setup,
						teardown),
	};
	/* Each flip is worth a warning. */
	struct adafs_err err;
	adafs_log_set_levels("error", &err);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
