/* The block cache when the system gives it no memory: its readers are told, and none waits for
 * ever. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

static unsigned maps_left; /* how many more mappings succeed */

static void *scarce_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	if (!maps_left)
		return MAP_FAILED;
	maps_left--;
	return mmap(addr, len, prot, flags, fd, off);
}

#define mmap scarce_mmap
#define adafs_blob_get_start fake_get_start
#include "fs/read/cache.c"
#include "fs/read/cache_fetch.c"
#include "fs/read/cache_memory.c"
#include "fs/read/diskcache.c"
#include "fs/read/diskcache_file.c"
#undef mmap

#define MAX_GETS 8
#define LARGE (128 * 1024) /* small ones are not mapped */

/* Requests under way, to be ended by the test. */
static struct get {
	void *buf;
	size_t len;
	adafs_blob_get_done *done;
	void *arg;
} gets[MAX_GETS];
static unsigned n_gets;

void fake_get_start(struct adafs_blob_client *c, const char *container, const char *name,
		    const char *snapshot, int64_t off, size_t len, const char *etag, void *buf,
		    adafs_blob_get_done *done, void *arg)
{
	(void)c, (void)container, (void)name, (void)snapshot, (void)off, (void)etag;
	assert_true(n_gets < MAX_GETS);
	gets[n_gets++] = (struct get){ .buf = buf, .len = len, .done = done, .arg = arg };
}

static void end_get(unsigned i)
{
	const struct adafs_err none = { 0 };
	memset(gets[i].buf, 'x', gets[i].len);
	gets[i].done(gets[i].arg, gets[i].len, &none);
}

/* A reader, found again by its call. */
struct reader {
	struct call call;
	unsigned replies;
	int rc;
	size_t len;
};

void call_reply_data(struct call *c, const void *data, size_t len, int rc)
{
	struct reader *r = (struct reader *)c;
	r->replies++;
	r->rc = rc;
	r->len = rc ? 0 : len;
	for (size_t i = 0; i < r->len; i++)
		assert_int_equal(((const char *)data)[i], 'x');
}

static void assert_reply(const struct reader *r, int rc, size_t len)
{
	assert_int_equal(r->replies, 1);
	assert_int_equal(r->rc, rc);
	assert_int_equal(r->len, len);
}

static struct cache *cache;
static struct cache_file *file;

static int setup(void **state)
{
	(void)state;
	n_gets = 0;
	cache = cache_new((size_t)64 << 20);
	file = cache_file_get(cache, NULL, "c", "b", "e", (int64_t)32 << 20);
	return cache && file ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	cache_file_put(file);
	cache_free(cache);
	return 0;
}

/* A random read: only what is asked for is fetched. */
static int read_at(struct reader *r, size_t size, off_t off)
{
	struct cache_seq seq = { 0 };
	return cache_read(file, &seq, &r->call, size, off);
}

static void test_nothing_is_under_way(void **state)
{
	(void)state;
	struct reader a = { 0 }, b = { 0 };
	maps_left = 0;
	assert_int_equal(read_at(&a, LARGE, 10 << 20), -EINPROGRESS);
	assert_reply(&a, -ENOMEM, 0);
	/* One that needs two extents. */
	assert_int_equal(read_at(&b, 2 * LARGE, (12 << 20) - LARGE), -EINPROGRESS);
	assert_reply(&b, -ENOMEM, 0);
	assert_int_equal(n_gets, 0);
	/* Nothing is left of them. */
	maps_left = 1;
	a = (struct reader){ 0 };
	assert_int_equal(read_at(&a, LARGE, 10 << 20), -EINPROGRESS);
	assert_int_equal(n_gets, 1);
	end_get(0);
	assert_reply(&a, 0, LARGE);
}

static void test_a_request_under_way_takes_up_the_queue(void **state)
{
	(void)state;
	struct reader a = { 0 }, b = { 0 }, c = { 0 };
	maps_left = 1;
	assert_int_equal(read_at(&a, LARGE, 10 << 20), -EINPROGRESS);
	assert_int_equal(read_at(&b, LARGE, 20 << 20), -EINPROGRESS);
	assert_int_equal(read_at(&c, LARGE, 20 << 20), -EINPROGRESS);
	assert_int_equal(n_gets, 1);
	assert_int_equal(b.replies + c.replies, 0);
	maps_left = 1;
	end_get(0);
	assert_reply(&a, 0, LARGE);
	assert_int_equal(n_gets, 2);
	end_get(1);
	assert_reply(&b, 0, LARGE);
	assert_reply(&c, 0, LARGE);
}

static void test_the_last_request_leaves_no_memory(void **state)
{
	(void)state;
	struct reader a = { 0 }, b = { 0 }, c = { 0 };
	maps_left = 1;
	assert_int_equal(read_at(&a, LARGE, 10 << 20), -EINPROGRESS);
	assert_int_equal(read_at(&b, LARGE, 20 << 20), -EINPROGRESS);
	assert_int_equal(read_at(&c, 2 * LARGE, (20 << 20) - LARGE), -EINPROGRESS);
	end_get(0);
	assert_reply(&a, 0, LARGE);
	assert_reply(&b, -ENOMEM, 0);
	assert_reply(&c, -ENOMEM, 0);
	assert_int_equal(n_gets, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_is_under_way, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_request_under_way_takes_up_the_queue, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_the_last_request_leaves_no_memory, setup,
						teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
