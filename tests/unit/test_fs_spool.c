/* The spool: bytes, space, the block map and the running digest. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fs/spool.c"

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
	assert_int_equal(spool_write(s, data, 1, SPOOL_MAX_BLOCKS * (int64_t)BLOCK), -EFBIG);
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
		cmocka_unit_test(test_digest_in_and_out_of_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
