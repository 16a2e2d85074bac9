/* Small decisions: partners, the newest complete map, the access policy, the table. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "batch/base/clock.h"
#include "batch/foreman/pairing.h"
#include "batch/foreman/policy.h"
#include "batch/foreman/results.h"
#include "batch/foreman/table.h"

static const double any_overlap[3];

static void test_pairing_by_name(void **state)
{
	(void)state;
	const struct pairing_image images[] = {
		{ .blob = "images/e/pre-event/x.tif", .role = 0 },
		{ .blob = "images/e/post-event/x.tiff", .role = 1 },
		{ .blob = "images/e/post-event/X.tif", .role = 1 },
		{ .blob = "images/e/pre-event/y.2020.tif", .role = 0 },
		{ .blob = "images/e/post-event/y.tif", .role = 1 },
		{ .blob = "images/e/pre-event/x.png", .role = 0 },
	};
	const struct pairing p = {
		.image = images, .n = 6, .n_roles = 2, .min_overlap = any_overlap
	};
	size_t partner[2];
	/* x.png comes before x.tif: it is the one that pairs, the other waits. */
	assert_int_equal(pairing_find(&p, 5, partner), PAIRING_FOUND);
	assert_int_equal(partner[0], 5);
	assert_int_equal(partner[1], 1);
	assert_int_equal(pairing_find(&p, 0, partner), PAIRING_ALONE);
	assert_int_equal(pairing_find(&p, 2, partner), PAIRING_ALONE);
	assert_true(partner[0] == SIZE_MAX);
	assert_int_equal(pairing_find(&p, 3, partner), PAIRING_ALONE);
	assert_int_equal(pairing_find(&p, 1, partner), PAIRING_FOUND);
	ADAFS_FREE char *why = pairing_reason(&images[5], &images[1]);
	assert_string_equal(why, "have the same name");
	ADAFS_FREE char *where = pairing_suggest("pre-event/*", "images/e/post-event/x.tif");
	assert_string_equal(where, "pre-event/x.tif");
	ADAFS_FREE char *plain = pairing_suggest(NULL, "images/e/post-event/x.tif");
	assert_string_equal(plain, "x.tif");
}

/* A square of `side` degrees at the equator whose west edge is at `west`. */
static struct adafs_image_geo square(double west, double side)
{
	return (struct adafs_image_geo){ .has_footprint = true,
					 .lon = { west, west + side, west + side, west },
					 .lat = { 0, 0, side, side } };
}

static void test_pairing_by_footprint(void **state)
{
	(void)state;
	const struct adafs_image_geo at0 = square(0, 1), at1 = square(1, 1), at09 = square(0.9, 1),
				     at08 = square(0.8, 1), at5 = square(5, 1);
	struct pairing_image images[] = {
		{ .blob = "images/e/pre-event/a.tif", .role = 0, .geo = &at0 },
		{ .blob = "images/e/pre-event/b.tif", .role = 0, .geo = &at1 },
		{ .blob = "images/e/post-event/a.tif", .role = 1, .geo = &at1 },
		{ .blob = "images/e/post-event/z.tif", .role = 1, .geo = &at0 },
		{ .blob = "images/e/post-event/far.tif", .role = 1, .geo = &at5 },
		{ .blob = "images/e/pre-event/far.tif", .role = 0, .geo = &at08 },
	};
	double least[2] = { 0, 0 };
	struct pairing p = { .image = images, .n = 5, .n_roles = 2, .min_overlap = least };
	size_t partner[2];
	/* Where they lie outranks what they are called. */
	assert_int_equal(pairing_find(&p, 0, partner), PAIRING_FOUND);
	assert_int_equal(partner[1], 3);
	assert_int_equal(pairing_find(&p, 2, partner), PAIRING_FOUND);
	assert_int_equal(partner[0], 1);
	ADAFS_FREE char *why = pairing_reason(&images[1], &images[2]);
	assert_string_equal(why, "overlap by 100 %");
	assert_int_equal(pairing_find(&p, 4, partner), PAIRING_ALONE);

	/* The same name and nothing in common is told. */
	double share = -1;
	p.n = 6;
	assert_int_equal(pairing_misfit(&p, 4, 0, &share), 5);
	assert_true(share == 0);

	/* What has a partner is no other's; the next best overlaps by a tenth: that may wait. */
	images[3].taken = images[1].taken = true;
	images[2].geo = &at09;
	p.n = 3;
	assert_int_equal(pairing_find(&p, 0, partner), PAIRING_FOUND); /* the same name */
	images[2].blob = "images/e/post-event/c.tif";
	assert_int_equal(pairing_find(&p, 0, partner), PAIRING_WEAK);
	p.quiet = true;
	assert_int_equal(pairing_find(&p, 0, partner), PAIRING_FOUND);
	assert_int_equal(partner[1], 2);
	least[1] = 0.11;
	assert_int_equal(pairing_find(&p, 0, partner), PAIRING_ALONE);
	least[1] = 0.1;
	assert_int_equal(pairing_find(&p, 0, partner), PAIRING_FOUND);
}

static void test_merge_names(void **state)
{
	(void)state;
	struct results_blob b;
	const char *name = "merged/e/quick/12-ab/deep/x.json";
	assert_int_equal(results_parse_merge(name, 9, &b), 0);
	assert_int_equal(b.count, 12);
	assert_int_equal(b.pipeline_len, 5);
	assert_string_equal(name + b.folder_len, "deep/x.json");
	assert_int_not_equal(results_parse_merge("merged/e/quick/12-ab", 9, &b), 0);
	assert_int_not_equal(results_parse_merge("merged/e/quick/ab-12/x", 9, &b), 0);
	assert_int_not_equal(results_parse_merge("merged/e/x", 9, &b), 0);
}

static void test_complete(void **state)
{
	(void)state;
	struct results_blob list[] = {
		{ .name = (char *)"merged/e/q/2-a/b.geojson", .size = 10 },
		{ .name = (char *)"merged/e/q/2-a/summary.json", .size = 99 },
	};
	static const struct {
		const char *json;
		bool complete;
	} row[] = {
		{ "{\"files\":[{\"path\":\"b.geojson\",\"size\":10}]}", true },
		{ "{\"files\":[]}", true },
		{ "{\"files\":[{\"path\":\"b.geojson\",\"size\":11}]}", false },
		{ "{\"files\":[{\"path\":\"c.geojson\",\"size\":10}]}", false },
		{ "{\"files\":[7]}", false },
		{ "{}", false },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(row); i++) {
		ADAFS_JSON *summary = cJSON_Parse(row[i].json);
		assert_int_equal(results_complete(list, 2, list[0].name, 15, summary),
				 row[i].complete);
	}
}

#define DAY INT64_C(86400000000)

static void test_policy(void **state)
{
	(void)state;
	struct adafs_blob_policy p[ADAFS_BLOB_MAX_POLICIES] = { { .id = "theirs",
								  .permissions = "r" } };
	int64_t now = 1767225600 * INT64_C(1000000), expiry;
	size_t n = 1;
	bool changed, added;
	assert_int_equal(policy_merge(p, &n, now, 30 * DAY, &changed, &added), 0);
	assert_true(changed && added && n == 2);
	assert_string_equal(p[0].id, "theirs");
	assert_string_equal(p[1].id, POLICY_FIRST);
	assert_int_equal(adafs_clock_parse_iso8601(p[1].expiry, &expiry), 0);
	assert_true(expiry == now + 30 * DAY);
	/* As the service writes it back: nothing to do until half of it is over. */
	strcpy(p[1].expiry, "2026-01-31T00:00:00.0000000Z");
	assert_int_equal(policy_merge(p, &n, now + 14 * DAY, 30 * DAY, &changed, &added), 0);
	assert_false(changed || added);
	assert_int_equal(policy_merge(p, &n, now + 16 * DAY, 30 * DAY, &changed, &added), 0);
	assert_true(changed && !added && n == 2);
	for (n = 0; n < ADAFS_BLOB_MAX_POLICIES; n++)
		snprintf(p[n].id, sizeof(p[n].id), "theirs-%zu", n);
	assert_int_equal(policy_merge(p, &n, now, 30 * DAY, &changed, &added), -ENOSPC);
}

static void test_table(void **state)
{
	(void)state;
	struct foreman_table t = { 0 };
	static const char *const names[] = { "m", "c", "x", "a", "d", "z", "b" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++)
		assert_int_equal(foreman_table_insert(&t, foreman_image_new(names[i])), 0);
	for (size_t i = 1; i < t.n; i++)
		assert_true(strcmp(((struct foreman_image *)t.item[i - 1])->blob,
				   ((struct foreman_image *)t.item[i])->blob) < 0);
	struct foreman_image *c = foreman_table_find(&t, "c");
	assert_string_equal(c->blob, "c");
	foreman_table_remove(&t, "c");
	foreman_image_free(c);
	assert_null(foreman_table_find(&t, "c"));
	assert_int_equal(t.n, ADAFS_ARRAY_SIZE(names) - 1);
	for (size_t i = 0; i < t.n; i++)
		foreman_image_free(t.item[i]);
	free(t.item);
}

static void test_event(void **state)
{
	(void)state;
	const char *rest;
	ADAFS_FREE char *event = foreman_event_of("images/flood/pre-event/a.tif", &rest);
	assert_string_equal(event, "flood");
	assert_string_equal(rest, "pre-event/a.tif");
	assert_null(foreman_event_of("images/a.tif", NULL));
	assert_null(foreman_event_of("images//a.tif", NULL));
	assert_null(foreman_event_of("images/flood/", NULL));
	assert_null(foreman_event_of("jobs/flood/a", NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairing_by_name), cmocka_unit_test(test_pairing_by_footprint),
		cmocka_unit_test(test_merge_names),     cmocka_unit_test(test_complete),
		cmocka_unit_test(test_policy),          cmocka_unit_test(test_table),
		cmocka_unit_test(test_event),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
