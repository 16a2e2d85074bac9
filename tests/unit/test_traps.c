/*
 * The table of traps: what is taken, what is refused, and that draws keep to their rate and seed.
 */
#include "batch/emulator/traps.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_defaults(void **state)
{
	(void)state;
	struct traps *t = traps_new();
	assert_non_null(t);
	for (int i = 0; i < TRAP_COUNT; i++)
		assert_true(trap_value(t, (enum trap)i) == trap_value(NULL, (enum trap)i));
	assert_true(trap_value(NULL, TRAP_CLOCK_SPEED) == 1);
	assert_false(trap_strikes(t, TRAP_BUSY_RATE));
	assert_false(trap_strikes(NULL, TRAP_BUSY_RATE));
	assert_false(trap_nth(NULL, TRAP_PREEMPT_EVERY));
	traps_free(t);
	traps_free(NULL);
}

static void test_all_or_none_is_set(void **state)
{
	(void)state;
	struct traps *t = traps_new();
	struct adafs_err err = { 0 };
	assert_int_equal(traps_set(t, "job_quota=3, busy_rate=0.5\nsas_clock=-60", &err), 0);
	assert_true(trap_value(t, TRAP_JOB_QUOTA) == 3);
	assert_true(trap_value(t, TRAP_BUSY_RATE) == 0.5);
	assert_true(trap_value(t, TRAP_SAS_CLOCK) == -60);
	static const char *const bad[][2] = {
		{ "job_quota=9 busy_rat=1", "busy_rate" },
		{ "job_quota=9 busy_rate=1.5", "0 to 1" },
		{ "job_quota=9 busy_rate=", "number" },
		{ "job_quota=9 busy_rate=nan", "number" },
		{ "job_quota=9 busy_rate", "NAME=VALUE" },
		{ "job_quota=9 cut_rate=1x", "number" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++) {
		assert_int_equal(traps_set(t, bad[i][0], &err), -EINVAL);
		assert_non_null(strstr(err.msg, bad[i][1]));
		assert_true(trap_value(t, TRAP_JOB_QUOTA) == 3);
	}
	traps_reset(t);
	assert_true(trap_value(t, TRAP_JOB_QUOTA) == 0);
	traps_free(t);
}

static unsigned strikes(struct traps *t, uint64_t *ret_first)
{
	unsigned n = 0;
	*ret_first = 0;
	for (int i = 0; i < 10000; i++) {
		bool hit = trap_strikes(t, TRAP_BUSY_RATE);
		n += hit;
		if (i < 64)
			*ret_first |= (uint64_t)hit << i;
	}
	return n;
}

static void test_draws_repeat_by_their_seed(void **state)
{
	(void)state;
	struct traps *t = traps_new();
	uint64_t one, again, other;
	assert_int_equal(traps_set(t, "busy_rate=0.2 seed=7", NULL), 0);
	unsigned n = strikes(t, &one);
	assert_in_range(n, 1800, 2200);
	assert_int_equal(traps_set(t, "seed=7", NULL), 0);
	assert_int_equal(strikes(t, &again), n);
	assert_true(one == again);
	assert_int_equal(traps_set(t, "seed=8", NULL), 0);
	strikes(t, &other);
	assert_true(one != other);
	assert_int_equal(traps_set(t, "busy_rate=1", NULL), 0);
	assert_int_equal(strikes(t, &one), 10000);
	traps_free(t);
}

static void test_each_third(void **state)
{
	(void)state;
	struct traps *t = traps_new();
	assert_int_equal(traps_set(t, "preempt_every=3", NULL), 0);
	for (int i = 1; i <= 9; i++)
		assert_int_equal(trap_nth(t, TRAP_PREEMPT_EVERY), i % 3 == 0);
	traps_free(t);
}

static void test_the_table_can_be_read_back(void **state)
{
	(void)state;
	struct traps *t = traps_new(), *u = traps_new();
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(65536);
	assert_int_equal(traps_set(t, "busy_rate=0.125 block_life=12345", NULL), 0);
	assert_int_equal(traps_print(t, &b), 0);
	char *save = NULL;
	unsigned n = 0;
	for (char *line = strtok_r(b.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *comment = strstr(line, " # ");
		assert_non_null(comment);
		*comment = 0;
		assert_int_equal(traps_set(u, line, NULL), 0);
		n++;
	}
	assert_int_equal(n, TRAP_COUNT);
	for (int i = 0; i < TRAP_COUNT; i++)
		assert_true(trap_value(t, (enum trap)i) == trap_value(u, (enum trap)i));
	traps_free(t);
	traps_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_all_or_none_is_set),
		cmocka_unit_test(test_draws_repeat_by_their_seed),
		cmocka_unit_test(test_each_third),
		cmocka_unit_test(test_the_table_can_be_read_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
