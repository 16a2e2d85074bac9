/*
 * The formula of adafs's pools, run by the emulator's evaluator over made-up histories: what
 * matters is that every one of them ends at no nodes, and that none lets tasks wait for ever.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "batch/emulator/batch/autoscale/autoscale_formula.h"
#include "batch/foreman/pool_formula.h"

#define MINUTE (INT64_C(60) * 1000000)
#define START (INT64_C(1772459110) * 1000000)
#define MAX_SAMPLES 512

/*
 * A run of the pool's life: samples each 30 s that are seen a minute late, the formula each 5 min.
 */
struct life {
	struct pool_formula pf;
	char *formula;
	/* Tasks that wait or run at a minute of the life; NAN: the sample is missing. */
	float (*tasks)(double minute);
	struct autoscale_sample sample[MAX_SAMPLES];
	int64_t dedicated, spot;
};

static void evaluate(struct life *l, double minute)
{
	struct autoscale_input in = { .now_us = START + (int64_t)(minute * MINUTE),
				      .sample = l->sample,
				      .dedicated = l->dedicated,
				      .low_priority = l->spot };
	for (int i = 0; i < N_METRICS; i++)
		in.current[i] = NAN;
	for (double at = 0; at <= minute - 1 && in.n_samples < MAX_SAMPLES; at += 0.5) {
		float tasks = l->tasks(at);
		if (isnan(tasks))
			continue;
		struct autoscale_sample *s = &l->sample[in.n_samples++];
		s->at_us = START + (int64_t)(at * MINUTE);
		for (int i = 0; i < N_METRICS; i++)
			s->value[i] = NAN;
		s->value[METRIC_PENDING_TASKS] = tasks;
	}
	struct autoscale_result r;
	struct autoscale_error error;
	struct adafs_buf text = ADAFS_BUF_INIT(65536);
	if (autoscale_evaluate(l->formula, &in, &r, &text, &error) < 0)
		fail_msg("minute %g: %s", minute, error.detail);
	adafs_buf_clear(&text);
	assert_string_equal(r.option, "taskcompletion");
	l->dedicated = r.dedicated;
	l->spot = r.low_priority;
}

/* Live until a minute; the formula runs each five from `phase` on. */
static void live(struct life *l, double phase, double until)
{
	free(l->formula);
	l->formula = pool_formula_make(&l->pf);
	assert_non_null(l->formula);
	assert_true(strlen(l->formula) < AUTOSCALE_MAX_TEXT);
	l->dedicated = l->spot = 0;
	for (double minute = phase; minute <= until; minute += 5)
		evaluate(l, minute);
	free(l->formula);
	l->formula = NULL;
}

static const struct pool_formula usual = { .dedicated = 2, .spot = 4, .tasks_per_node = 3 };

static float none(double minute)
{
	(void)minute;
	return 0;
}

static float nothing_known(double minute)
{
	(void)minute;
	return NAN;
}

/* 30 tasks from minute 20, the last ends at minute 60. */
static float burst(double minute)
{
	return minute < 20 || minute >= 60 ? 0 : minute < 50 ? 30 : 1;
}

static float burst_with_holes(double minute)
{
	return fmod(minute, 5) < 3.5 ? NAN : burst(minute);
}

/* The metrics are lost at the worst time: the last sample says that tasks run. */
static float lost(double minute)
{
	return minute >= 60 ? NAN : burst(minute);
}

static void test_zero_within_20_minutes(void **state)
{
	static float (*const histories[])(double) = { burst, burst_with_holes, lost };
	(void)state;
	for (size_t i = 0; i < sizeof(histories) / sizeof(histories[0]); i++) {
		/* Whenever the formula happens to run within its five minutes. */
		for (double phase = 0; phase < 5; phase += 0.25) {
			struct life l = { .pf = usual, .tasks = histories[i] };
			live(&l, phase, 45);
			assert_int_equal(l.dedicated, 2);
			assert_int_equal(l.spot, 4);
			live(&l, phase, 80);
			assert_int_equal(l.dedicated, 0);
			assert_int_equal(l.spot, 0);
			live(&l, phase, 200);
			assert_int_equal(l.dedicated, 0);
			assert_int_equal(l.spot, 0);
		}
	}
}

static void test_size_follows_tasks(void **state)
{
	(void)state;
	struct life l = { .pf = usual, .tasks = burst };
	live(&l, 0, 25);
	assert_int_equal(l.dedicated, 2);
	assert_int_equal(l.spot, 4); /* ten nodes would be right, six are allowed */
	/* The last task needs one node; spot nodes go first. */
	live(&l, 0, 60);
	assert_int_equal(l.dedicated, 1);
	assert_int_equal(l.spot, 0);
	l.pf = (struct pool_formula){ .dedicated = 0, .spot = 20, .tasks_per_node = 4 };
	live(&l, 0, 40);
	assert_int_equal(l.dedicated, 0);
	assert_int_equal(l.spot, 8); /* 30 tasks, four a node */
	l.pf.tasks_per_node = 0;     /* unknown counts as one */
	live(&l, 0, 40);
	assert_int_equal(l.spot, 20);
}

static void test_first_minutes(void **state)
{
	static float (*const histories[])(double) = { none, nothing_known };
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct life l = { .pf = usual, .tasks = histories[i] };
		l.pf.first_until_us = START + POOL_FORMULA_FIRST_US;
		live(&l, 0, 0);
		assert_int_equal(l.dedicated, 1);
		live(&l, 0, 5);
		assert_int_equal(l.dedicated, 1);
		live(&l, 0, 10);
		assert_int_equal(l.dedicated, 0);
		assert_int_equal(l.spot, 0);
		l.pf.dedicated = 0;
		live(&l, 0, 5);
		assert_int_equal(l.spot, 1);
		/* Without the floor a pool that has no work starts nothing. */
		l.pf.first_until_us = 0;
		live(&l, 0, 5);
		assert_int_equal(l.spot, 0);
	}
}

static void test_floor_expires(void **state)
{
	(void)state;
	struct life l = { .pf = usual, .tasks = none };
	l.pf.floor = 5;
	l.pf.floor_until_us = START + 60 * MINUTE;
	live(&l, 0, 55);
	assert_int_equal(l.dedicated, 2);
	assert_int_equal(l.spot, 3);
	live(&l, 0, 60);
	assert_int_equal(l.dedicated, 0);
	assert_int_equal(l.spot, 0);
	/* More than is allowed is not given. */
	l.pf.floor = 100;
	live(&l, 0, 30);
	assert_int_equal(l.dedicated, 2);
	assert_int_equal(l.spot, 4);
	l.tasks = nothing_known;
	l.pf.floor = 1;
	live(&l, 0, 55);
	assert_int_equal(l.dedicated, 1);
	live(&l, 0, 60);
	assert_int_equal(l.dedicated, 0);
}

static void test_parse(void **state)
{
	(void)state;
	struct pool_formula pf = { .dedicated = 3,
				   .spot = 7,
				   .tasks_per_node = 2,
				   .floor = 4,
				   .first_until_us = START,
				   .floor_until_us = START + MINUTE };
	struct pool_formula back;
	char *text = pool_formula_make(&pf);
	assert_true(pool_formula_parse(text, &back));
	assert_int_equal(back.dedicated, 3);
	assert_int_equal(back.spot, 7);
	assert_int_equal(back.tasks_per_node, 2);
	assert_int_equal(back.floor, 4);
	assert_int_equal(back.first_until_us, START);
	assert_int_equal(back.floor_until_us, START + MINUTE);
	char *again = pool_formula_make(&back);
	assert_string_equal(text, again);
	free(text);
	free(again);
	assert_false(pool_formula_parse("$TargetDedicatedNodes = 1;", &back));
	assert_false(pool_formula_parse("// adafs 1 dedicated=x", &back));
	assert_false(pool_formula_parse("", &back));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zero_within_20_minutes),
		cmocka_unit_test(test_size_follows_tasks),
		cmocka_unit_test(test_first_minutes),
		cmocka_unit_test(test_floor_expires),
		cmocka_unit_test(test_parse),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
