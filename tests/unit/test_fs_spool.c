/* The spool: bytes, space, the block map and the running digest. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fs/write/spool.c"
#include "fs/write/spool_block.c"
#include "fs/write/spool_hot.c"

#define BLOCK 8192u

static struct spool *make(struct spool_space *space, bool hashed)
{
	struct spool *s = NULL;
	assert_int_equal(spool_new(space, "/tmp", BLOCK, hashed, &s, NULL), 0);
	return s;
}

static uint64_t used(struct spool_space *space)
{
	uint64_t limit, n;
	spool_space_usage(space, &limit, &n);
	return n;
}

static void test_space_is_bounded_and_given_back(void **state)
{
	(void)state;
	static char data[4 * BLOCK];
	struct spool_space *space = spool_space_new(3 * BLOCK);
	struct spool *s = make(space, false);
	assert_int_equal(spool_write(s, data, 1, 0), 0);
	assert_int_equal(used(space), 4096);
	assert_int_equal(spool_write(s, data, 3 * BLOCK, 0), 0);
	assert_int_equal(used(space), 3 * BLOCK);
	assert_int_equal(spool_write(s, data, 1, 3 * BLOCK), -ENOSPC);
	assert_int_equal(spool_size(s), 3 * BLOCK);
	assert_int_equal(spool_write(s, data, 3 * BLOCK, 0), 0);
	assert_int_equal(spool_truncate(s, BLOCK), 0);
	assert_int_equal(used(space), BLOCK);
	/* A hole costs nothing but what its last block holds. */
	assert_int_equal(spool_write(s, data, 1, 1000 * (int64_t)BLOCK), 0);
	assert_int_equal(used(space), BLOCK + 4096);
	assert_int_equal(spool_write(s, data, 1, spool_block_start(s, SPOOL_MAX_BLOCKS)), -EFBIG);
	spool_free(s);
	assert_int_equal(used(space), 0);
	spool_space_free(space);
}

static void test_blocks(void **state)
{
	(void)state;
	static char data[4 * BLOCK];
	struct spool_space *space = spool_space_new(1 << 30);
	struct spool *s = make(space, false);
	assert_int_equal(spool_n_blocks(s), 0);
	assert_int_equal(spool_write(s, data, 2 * BLOCK + 10, 0), 0);
	assert_int_equal(spool_n_blocks(s), 3);
	assert_int_equal(spool_block_len(s, 2), 10);
	spool_send_begin(s, 0);
	assert_int_equal(spool_next_dirty(s, 0), 1);
	spool_send_end(s, 0, true);
	assert_int_equal(spool_block_state(s, 0), SPOOL_SENT);
	/* A write while it is being sent makes the sent bytes old. */
	spool_send_begin(s, 1);
	assert_int_equal(spool_write(s, data, 1, BLOCK), 0);
	spool_send_end(s, 1, true);
	assert_int_equal(spool_block_state(s, 1), SPOOL_DIRTY);
	spool_send_begin(s, 1);
	spool_send_end(s, 1, true);
	spool_send_begin(s, 2);
	spool_send_end(s, 2, true);
	assert_int_equal(spool_next_dirty(s, 0), 3);
	/* Growing changes the last block, shrinking the one that is cut, and no other. */
	assert_int_equal(spool_truncate(s, 3 * BLOCK + 5), 0);
	assert_int_equal(spool_block_state(s, 1), SPOOL_SENT);
	assert_int_equal(spool_next_dirty(s, 0), 2);
	assert_int_equal(spool_truncate(s, BLOCK + 7), 0);
	assert_int_equal(spool_block_state(s, 0), SPOOL_SENT);
	assert_int_equal(spool_next_dirty(s, 0), 1);
	assert_int_equal(spool_block_len(s, 1), 7);
	char before[SPOOL_BLOCK_ID_LEN], after[SPOOL_BLOCK_ID_LEN];
	spool_block_id(s, 0, before);
	spool_restart(s);
	spool_block_id(s, 0, after);
	assert_string_not_equal(before, after);
	assert_int_equal(strlen(after), 29);
	assert_int_equal(spool_next_dirty(s, 0), 0);
	spool_free(s);
	spool_space_free(space);
}

/* Every block starts where the one before it ends, and an offset finds its block, to the last byte
 * that a blob can have. */
static void test_blocks_grow_with_the_file(void **state)
{
	(void)state;
	const uint32_t sizes[] = { 65536, 4 << 20, 64 << 20 };
	struct spool_space *space = spool_space_new(1 << 30);
	for (size_t k = 0; k < 3; k++) {
		struct spool *s = NULL;
		assert_int_equal(spool_new(space, "/tmp", sizes[k], false, &s, NULL), 0);
		int64_t end = 0;
		for (size_t i = 0; i < SPOOL_MAX_BLOCKS; i++) {
			assert_int_equal(spool_block_start(s, i), end);
			end = spool_block_start(s, i + 1);
			assert_int_equal(spool_block_at(s, spool_block_start(s, i)), i);
			assert_int_equal(spool_block_at(s, end - 1), i);
			assert_true(end - spool_block_start(s, i) <= SPOOL_MAX_BLOCK);
		}
		assert_int_equal(spool_block_start(s, 9999), 9999 * (int64_t)sizes[k]);
		assert_int_equal(spool_block_at(s, end), SPOOL_MAX_BLOCKS);
		if (sizes[k] == 4 << 20)
			assert_true(end > (int64_t)60 << 40);
		spool_free(s);
	}
	spool_space_free(space);
}

static void check_crc(struct spool *s, size_t i)
{
	static char all[4 * BLOCK];
	struct adafs_blob_source src = spool_block_source(s, i);
	assert_int_equal(spool_read(s, all, src.len, src.off), src.len);
	assert_true(src.crc_len <= src.len);
	assert_int_equal(adafs_crc64(0, all, src.crc_len), src.crc);
}

/* A huge file with a few bytes written takes a few blocks, and its checksums are those of what a
 * reader finds. */
static void test_huge_offsets(void **state)
{
	(void)state;
	static char data[3 * BLOCK];
	memset(data, 'h', sizeof(data));
	struct spool_space *space = spool_space_new(64 << 20);
	struct spool *s = make(space, false);
	int64_t far = spool_block_start(s, SPOOL_TIER_BLOCKS) - 10;
	assert_int_equal(spool_write(s, data, 3 * BLOCK, far), 0);
	assert_int_equal(spool_n_blocks(s), SPOOL_TIER_BLOCKS + 1);
	assert_int_equal(spool_block_len(s, SPOOL_TIER_BLOCKS), 3 * BLOCK - 10);
	assert_int_equal(used(space), BLOCK + 3 * BLOCK);
	check_crc(s, SPOOL_TIER_BLOCKS);
	assert_int_equal(spool_truncate(s, (int64_t)1 << 38), 0);
	assert_true(spool_n_blocks(s) <= SPOOL_MAX_BLOCKS);
	assert_int_equal(used(space), BLOCK + 3 * BLOCK);
	assert_int_equal(spool_truncate(s, INT64_MAX), -EFBIG);
	spool_free(s);
	spool_space_free(space);
}

static void test_checksums_follow_the_bytes(void **state)
{
	(void)state;
	static char data[2 * BLOCK];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7);
	struct spool_space *space = spool_space_new(1 << 30);
	struct spool *s = make(space, false);
	for (size_t at = 0; at < sizeof(data); at += 1024)
		assert_int_equal(spool_write(s, data + at, 1024, (int64_t)at), 0);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(spool_block_source(s, i).crc_len, BLOCK);
		check_crc(s, i);
	}
	assert_int_equal(spool_write(s, data, 10, 5), 0);
	assert_int_equal(spool_block_source(s, 0).crc_len, 0);
	check_crc(s, 1);
	assert_int_equal(spool_truncate(s, BLOCK + 100), 0);
	assert_int_equal(spool_block_source(s, 1).crc_len, 0);
	assert_int_equal(spool_truncate(s, 2 * BLOCK), 0);
	assert_int_equal(spool_write(s, data, BLOCK, 0), 0);
	assert_int_equal(spool_block_source(s, 0).crc_len, BLOCK);
	check_crc(s, 0);
	spool_free(s);
	spool_space_free(space);
}

/*
 * A small file has no file on disk until it grows or memory is short, and reads the same in both.
 */
static void test_small_ones_stay_in_memory(void **state)
{
	(void)state;
	static char data[2 * BLOCK], got[2 * BLOCK];
	memset(data, 'm', sizeof(data));
	struct spool_space *space = spool_space_new(1 << 30);
	struct spool *s = make(space, false);
	assert_int_equal(spool_write(s, data, 100, 50), 0);
	assert_int_equal(spool_fd(s), -1);
	assert_int_equal(spool_truncate(s, 60), 0);
	assert_int_equal(spool_truncate(s, 200), 0);
	assert_int_equal(spool_read(s, got, sizeof(got), 0), 200);
	assert_true(got[49] == 0 && got[50] == 'm' && got[59] == 'm' && got[60] == 0 &&
		    got[199] == 0);
	assert_ptr_equal((const char *)spool_block_source(s, 0).data, s->mem);
	assert_int_equal(spool_write(s, data, BLOCK, 100), 0);
	assert_true(spool_fd(s) >= 0 && space->memory == 0);
	assert_int_equal(spool_read(s, got, sizeof(got), 0), BLOCK + 100);
	assert_true(got[49] == 0 && got[50] == 'm' && got[60] == 0 && got[100] == 'm');
	spool_free(s);
	space->memory = MEMORY_ALL;
	s = make(space, false);
	assert_int_equal(spool_write(s, data, 100, 0), 0);
	assert_true(spool_fd(s) >= 0 && space->memory == MEMORY_ALL);
	spool_free(s);
	spool_space_free(space);
}

static void check_md5(struct spool *s, const void *data, size_t len)
{
	uint8_t got[ADAFS_MD5_LEN], want[ADAFS_MD5_LEN];
	adafs_md5(data, len, want);
	assert_int_equal(spool_md5(s, got), 0);
	assert_memory_equal(got, want, sizeof(got));
}

/* Of a file in memory, on its way to disk, and changed in the middle. */
static void test_md5(void **state)
{
	(void)state;
	static char data[3 * BLOCK];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 13);
	struct spool_space *space = spool_space_new(1 << 30);
	struct spool *s = NULL;
	assert_int_equal(spool_new(space, "/tmp", BLOCK, SPOOL_MD5, &s, NULL), 0);
	assert_int_equal(spool_write(s, data, 100, 0), 0);
	assert_int_equal(spool_fd(s), -1);
	check_md5(s, data, 100);
	assert_int_equal(spool_truncate(s, 0), 0);
	for (size_t at = 0; at < sizeof(data); at += 1024)
		assert_int_equal(spool_write(s, data + at, 1024, (int64_t)at), 0);
	assert_true(s->md5.done == sizeof(data));
	check_md5(s, data, sizeof(data));
	data[7] = 'x';
	assert_int_equal(spool_write(s, data + 7, 1, 7), 0);
	check_md5(s, data, sizeof(data));
	spool_free(s);
	spool_space_free(space);
}

static void check_sum(struct spool *s, const void *data, size_t len)
{
	char got[ADAFS_SHA256_HEX_LEN], want[ADAFS_SHA256_HEX_LEN];
	adafs_sha256_hex(data, len, want);
	assert_int_equal(spool_sha256(s, got), 0);
	assert_string_equal(got, want);
}

static void test_digest_in_and_out_of_order(void **state)
{
	(void)state;
	static char data[3 * BLOCK];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 31);
	struct spool_space *space = spool_space_new(1 << 30);
	struct spool *s = make(space, true);
	assert_int_equal(spool_write(s, data, BLOCK, 0), 0);
	assert_int_equal(spool_write(s, data + BLOCK, BLOCK, BLOCK), 0);
	check_sum(s, data, 2 * BLOCK);
	assert_int_equal(spool_write(s, data + 2 * BLOCK, BLOCK, 2 * BLOCK), 0);
	check_sum(s, data, sizeof(data));
	assert_int_equal(spool_truncate(s, 0), 0);
	assert_int_equal(spool_write(s, data, BLOCK, 0), 0);
	data[5] = 'x';
	assert_int_equal(spool_write(s, data + 5, 1, 5), 0);
	check_sum(s, data, BLOCK);
	/* A hole that is filled later, and one that stays. */
	memset(data + BLOCK, 0, BLOCK);
	assert_int_equal(spool_write(s, data + 2 * BLOCK, 10, 2 * BLOCK), 0);
	check_sum(s, data, 2 * BLOCK + 10);
	spool_free(s);
	spool_space_free(space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_space_is_bounded_and_given_back),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_blocks_grow_with_the_file),
		cmocka_unit_test(test_huge_offsets),
		cmocka_unit_test(test_checksums_follow_the_bytes),
		cmocka_unit_test(test_small_ones_stay_in_memory),
		cmocka_unit_test(test_md5),
		cmocka_unit_test(test_digest_in_and_out_of_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
