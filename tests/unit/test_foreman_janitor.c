/* What the janitor chooses: what is due when, what is whose, which maps are old. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "batch/base/clock.h"
#include "batch/base/json.h"
#include "batch/foreman/janitor.h"
#include "batch/foreman/manifest.h"

#define SECOND INT64_C(1000000)
#define DAY (86400 * SECOND)
#define DAY_MS INT64_C(86400000)

static struct foreman_job *ended_job(void)
{
	struct foreman_job *j = foreman_job_new("flood-a-01234567");
	assert_non_null(j);
	strcpy(j->manifest_etag, "0x1");
	j->submitted = j->ended = true;
	j->state = ADAFS_STATE_COMPLETED;
	j->ended_us = 100 * DAY;
	return j;
}

static void test_what_is_due(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		int64_t keep_ms, now_us;
		bool active, cancelled, no_manifest, unsettled, gone, litter;
		int deletion, work;
		int64_t dropped_us;
		enum janitor_chore chore;
		int64_t due_us;
	} row[] = {
		{ "kept as the mount says", .now_us = 129 * DAY, .due_us = 130 * DAY },
		{ "kept long enough", .now_us = 130 * DAY, .chore = JANITOR_CLEAR },
		{ "its own wish is shorter", .keep_ms = 2000, .now_us = 101 * DAY,
		  .chore = JANITOR_CLEAR },
		{ "its own wish is longer", .keep_ms = 40 * DAY_MS, .now_us = 131 * DAY,
		  .due_us = 140 * DAY },
		{ "forever", .keep_ms = ADAFS_DURATION_NONE, .now_us = 9000 * DAY },
		{ "still active", .keep_ms = 2000, .now_us = 900 * DAY, .active = true },
		{ "its end is not written", .keep_ms = 2000, .now_us = 900 * DAY,
		  .unsettled = true },
		{ "no manifest", .keep_ms = 2000, .now_us = 900 * DAY, .no_manifest = true },
		{ "a removal was cut off", .now_us = 101 * DAY, .work = FOREMAN_WORK_GOING,
		  .chore = JANITOR_CLEAR },
		{ "removed", .now_us = 900 * DAY, .work = FOREMAN_WORK_GONE },
		{ "deleted", .now_us = 101 * DAY, .deletion = FOREMAN_DELETION_WANTED,
		  .chore = JANITOR_DELETE },
		{ "gone for good", .now_us = 900 * DAY, .deletion = FOREMAN_DELETED, .gone = true },
		{ "deleted while it runs", .now_us = 101 * DAY, .active = true,
		  .deletion = FOREMAN_DELETION_WANTED, .chore = JANITOR_CANCEL },
		{ "being cancelled", .now_us = 101 * DAY, .active = true, .cancelled = true,
		  .deletion = FOREMAN_DELETION_WANTED },
		{ "its image is gone", .now_us = 101 * DAY, .gone = true, .chore = JANITOR_DROP },
		{ "and runs", .now_us = 101 * DAY, .gone = true, .active = true,
		  .chore = JANITOR_CANCEL },
		{ "that was seen to", .now_us = 101 * DAY, .gone = true, .dropped_us = 1,
		  .due_us = 130 * DAY },
		{ "but for its files", .now_us = 101 * DAY, .gone = true, .litter = true,
		  .dropped_us = 101 * DAY, .chore = JANITOR_SWEEP },
		{ "gone but for its files", .now_us = 101 * DAY, .deletion = FOREMAN_DELETED,
		  .litter = true, .dropped_us = 101 * DAY, .chore = JANITOR_SWEEP },
		{ "run again since", .now_us = 101 * DAY, .litter = true, .due_us = 130 * DAY },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(row); i++) {
		struct foreman_job *j = ended_job();
		int64_t due_us = -1;
		j->ended = !row[i].active;
		j->cancel = row[i].cancelled;
		j->keep_ms = row[i].keep_ms;
		j->final_pending = row[i].unsettled;
		j->litter = row[i].litter;
		j->deletion = row[i].deletion;
		j->work = row[i].work;
		j->dropped_us = row[i].dropped_us;
		if (row[i].no_manifest)
			*j->manifest_etag = 0;
		enum janitor_chore chore =
			janitor_choose(j, row[i].gone, 30 * DAY_MS, row[i].now_us, &due_us);
		if (chore != row[i].chore || due_us != (row[i].due_us ? row[i].due_us : INT64_MAX))
			fail_msg("%s: %d, due at %lld", row[i].what, chore, (long long)due_us);
		foreman_job_free(j);
	}
}

static void test_whose_work(void **state)
{
	(void)state;
	const char *id = "flood-a-01234567";
	assert_true(janitor_is_work("work/flood-a-01234567/01-look/1/stdout.txt", id, 1));
	assert_true(janitor_is_work("work/flood-a-01234567/01-look/2/out/deep/x", id, 3));
	/* A run that began since is not the janitor's. */
	assert_false(janitor_is_work("work/flood-a-01234567/01-look/2/stdout.txt", id, 1));
	assert_false(janitor_is_work("work/flood-a-012345678/01-look/1/stdout.txt", id, 1));
	assert_false(janitor_is_work("work/flood-a-01234567/01-look/1", id, 1));
	assert_false(janitor_is_work("work/flood-a-01234567/01-look/x/stdout.txt", id, 1));
	assert_false(janitor_is_work("work/flood-a-01234567/notes.txt", id, 1));
	assert_false(janitor_is_work("parts/flood-a-01234567/01-look/1/x", id, 1));
}

static void test_tombstone(void **state)
{
	(void)state;
	static const char part[] =
		"{\n\"job\": \"flood-a-01234567\",\n\"run\": 2,\n\"key\": \"ab12\",\n"
		"\"order\": \"2026-05-03T10:00:00.0000000Z\",\n\"result\": \"completed\",\n"
		"\"cause\": \"\",\n\"files\": [\n{\"path\": \"x\", \"files\": 1, \"bytes\": 5}\n],\n"
		"\"images\": [{\"role\":\"image\",\"blob\":\"images/flood/a \\\"b\\\".tif\","
		"\"snapshot\":\"s\"}]\n}\n";
	assert_false(janitor_is_tombstone(part, strlen(part)));
	ADAFS_FREE char *stone = janitor_tombstone(part, strlen(part), 3, true);
	/* To the byte: a shell reads it line by line. */
	assert_string_equal(
		stone, "{\n\"job\": \"flood-a-01234567\",\n\"run\": 3,\n\"key\": \"ab12\",\n"
		       "\"order\": \"2026-05-03T10:00:00.0000000Z\",\n\"result\": \"deleted\",\n"
		       "\"cause\": \"\",\n\"files\": [\n],\n"
		       "\"images\": [{\"role\":\"image\",\"blob\":\"images/flood/a \\\"b\\\".tif\","
		       "\"snapshot\":\"s\"}]\n}\n");
	assert_true(janitor_is_tombstone(stone, strlen(stone)));
	ADAFS_FREE char *last = janitor_tombstone(part, strlen(part), 3, false);
	assert_non_null(strstr(last, "\"order\": \"\",\n"));
	assert_null(janitor_tombstone("{}", 2, 3, true));
	assert_null(janitor_tombstone("half a pa", 9, 3, true));
	assert_false(janitor_is_tombstone("half a pa", 9));
}

static struct janitor_map a_map(const char *folder, uint64_t count, time_t written, bool complete)
{
	return (struct janitor_map){ .folder = folder,
				     .folder_len = strlen(folder),
				     .count = count,
				     .written = written,
				     .complete = complete };
}

static size_t n_old(const struct janitor_map *map, size_t n)
{
	size_t old = 0;
	for (size_t i = 0; i < n; i++)
		old += map[i].old;
	return old;
}

static void test_old_maps(void **state)
{
	(void)state;
	struct janitor_map map[] = {
		a_map("m/2-a/", 2, 100, true),  a_map("m/4-a/", 4, 200, true),
		a_map("m/6-a/", 6, 300, true),  a_map("m/6-b/", 6, 310, true),
		a_map("m/8-a/", 8, 400, false), a_map("m/5-a/", 5, 900, true),
	};
	size_t n = ADAFS_ARRAY_SIZE(map);
	janitor_old_maps(map, n, 500);
	assert_string_equal(map[0].folder, "m/8-a/"); /* it may become the newest */
	assert_string_equal(map[1].folder, "m/6-b/");
	assert_string_equal(map[2].folder, "m/6-a/");
	assert_string_equal(map[3].folder, "m/5-a/"); /* within the day */
	assert_false(map[0].old || map[1].old || map[2].old || map[3].old);
	assert_true(map[4].old && map[5].old);
	/* Without two that are known to be complete nothing goes. */
	for (size_t i = 0; i < n; i++)
		map[i].complete = i == 5;
	janitor_old_maps(map, n, 500);
	assert_int_equal(n_old(map, n), 0);
	janitor_old_maps(map, 0, 500);
}

/* Every wish and every step of a removal is in the metadata, which a listing shows. */
static void test_manifest(void **state)
{
	(void)state;
	struct foreman_job *a = ended_job(), *b = foreman_job_new(a->id);
	static const int64_t keep[] = { 0, 2000, 30 * DAY_MS, ADAFS_DURATION_NONE };
	for (int i = 0; i < 36; i++) {
		struct adafs_blob_meta m = { 0 };
		a->keep_ms = keep[i % 4];
		a->deletion = i / 4 % 3;
		a->work = i / 12;
		a->dropped_us = i % 2 ? 1795465029908742 : 0;
		assert_int_equal(manifest_meta(a, &m), 0);
		assert_int_equal(manifest_apply_meta(b, &m), 0);
		assert_true(b->keep_ms == a->keep_ms && b->deletion == a->deletion &&
			    b->work == a->work && b->dropped_us == a->dropped_us);
		adafs_blob_meta_clear(&m);
	}
	foreman_job_begin_again(a);
	assert_true(!a->deletion && !a->work && !a->dropped_us && a->keep_ms);
	foreman_job_free(a);
	foreman_job_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_due), cmocka_unit_test(test_whose_work),
		cmocka_unit_test(test_tombstone),   cmocka_unit_test(test_old_maps),
		cmocka_unit_test(test_manifest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
