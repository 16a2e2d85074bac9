/* Manifests survive the way through metadata and body. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "batch/foreman/manifest.h"

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct foreman_job *make_job(void)
{
	struct foreman_job *j = foreman_job_new("flood-a-12345678");
	size_t dep[] = { 0 };
	struct adafs_plan_step steps[] = {
		{ .number = 1,
		  .name = (char *)"cover",
		  .task_id = (char *)"01-cover",
		  .command = (char *)"cover \"{image}\"\n",
		  .work_prefix = (char *)"work/x/01-cover/1/" },
		{ .number = 2,
		  .name = (char *)"merge",
		  .task_id = (char *)"02-merge",
		  .command = (char *)"",
		  .work_prefix = (char *)"work/x/02-merge/1/",
		  .depends_on = dep,
		  .n_depends_on = 1,
		  .merge = true },
	};
	struct adafs_plan plan = { .steps = steps, .n_steps = 2 };
	assert_non_null(j);
	j->created_us = INT64_C(1767225600123456);
	j->run = 3;
	foreman_text_set(&j->batch_job_id, "flood-a-12345678-r3");
	foreman_text_set(&j->event, "Überschwemmung, 2026:a%b");
	foreman_text_set(&j->pipeline, "damage");
	foreman_text_set(&j->digest, SHA);
	foreman_text_set(&j->nonce, "aa,bb");
	assert_int_equal(
		foreman_job_add_input(
			j,
			&(struct foreman_input){ .role = (char *)"pre",
						 .role_index = 0,
						 .blob = (char *)"images/Über/pre-event/a,b:c%.tif",
						 .snapshot = (char *)"2026-01-01T00:00:00.1234567Z",
						 .etag = (char *)"0x8D",
						 .sha256 = (char *)SHA,
						 .date = (char *)"2026-05-03" }),
		0);
	assert_int_equal(
		foreman_job_add_input(j,
				      &(struct foreman_input){
					      .role = (char *)"post",
					      .role_index = 1,
					      .blob = (char *)"images/Über/post-event/a,b:c%.tif",
					      .snapshot = (char *)"2026-01-01T00:00:00.1234568Z",
					      .etag = (char *)"0x8E",
					      .sha256 = (char *)SHA,
					      .date = (char *)"2026-05-03" }),
		0);
	assert_int_equal(foreman_job_take_plan(j, &plan), 0);
	return j;
}

static void end_job(struct foreman_job *j)
{
	j->ended = true;
	j->state = ADAFS_STATE_FAILED;
	j->ended_us = j->created_us + 5000000;
	foreman_text_set(&j->waiting_for, "01-cover failed: exit code 1 – schade");
	j->step[0].state = ADAFS_STATE_FAILED;
	j->step[0].has_exit_code = true;
	j->step[0].exit_code = 1;
	j->step[0].started_us = j->created_us + 1000000;
	j->step[0].finished_us = j->created_us + 2000000;
	j->step[0].changed_us = j->step[0].finished_us;
	foreman_text_set(&j->step[0].node, "tvm_1");
	foreman_text_set(&j->step[0].failure, "exit code 1");
	j->step[1].state = ADAFS_STATE_SKIPPED;
	foreman_job_log(j, j->ended_us, "job failed");
}

/* Through metadata alone, as a first fill reads it. */
static void test_meta(void **state)
{
	(void)state;
	struct foreman_job *a = make_job(), *b = foreman_job_new(a->id);
	struct adafs_blob_meta m = { 0 };
	end_job(a);
	assert_int_equal(manifest_meta(a, &m), 0);
	size_t total = 0;
	for (size_t i = 0; i < m.n; i++) {
		total += strlen(m.item[i].name) + strlen(m.item[i].value);
		for (const char *p = m.item[i].value; *p; p++)
			assert_true(*p > ' ' && *p < 0x7f);
	}
	assert_true(total < 8192);
	assert_int_equal(manifest_apply_meta(b, &m), 0);
	assert_string_equal(b->event, a->event);
	assert_string_equal(b->pipeline, "damage");
	assert_string_equal(b->batch_job_id, a->batch_job_id);
	assert_string_equal(b->waiting_for, a->waiting_for);
	assert_string_equal(b->nonce, "aa,bb");
	assert_int_equal(b->run, 3);
	assert_int_equal(b->state, ADAFS_STATE_FAILED);
	assert_true(b->ended && b->submitted && !b->body_loaded);
	assert_true(b->created_us == a->created_us && b->ended_us == a->ended_us);
	assert_int_equal(b->n_inputs, 2);
	assert_string_equal(b->input[0].role, "pre");
	assert_string_equal(b->input[1].blob, a->input[1].blob);
	assert_int_equal(strncmp(b->input[1].sha256, SHA, MANIFEST_SHA_DIGITS), 0);
	adafs_blob_meta_clear(&m);
	foreman_job_free(a);
	foreman_job_free(b);
}

static void test_body(void **state)
{
	(void)state;
	struct foreman_job *a = make_job(), *b = foreman_job_new(a->id);
	end_job(a);
	ADAFS_FREE char *text = manifest_body(a, "local");
	assert_non_null(text);
	assert_int_equal(manifest_apply_body(b, text, strlen(text), NULL), 0);
	assert_int_equal(b->n_steps, 2);
	assert_string_equal(b->step[0].command, a->step[0].command);
	assert_int_equal(b->step[0].state, ADAFS_STATE_FAILED);
	assert_true(b->step[0].has_exit_code && b->step[0].exit_code == 1);
	assert_true(b->step[0].started_us == a->step[0].started_us);
	assert_string_equal(b->step[0].node, "tvm_1");
	assert_int_equal(b->step[1].state, ADAFS_STATE_SKIPPED);
	assert_int_equal(b->step[1].n_dep, 1);
	assert_true(b->step[1].merge && !b->step[0].merge);
	assert_string_equal(b->input[0].snapshot, "2026-01-01T00:00:00.1234567Z");
	assert_string_equal(b->input[0].sha256, SHA);
	assert_string_equal(adafs_buf_str(&b->events), adafs_buf_str(&a->events));
	foreman_job_free(a);
	foreman_job_free(b);
}

static void test_active_body(void **state)
{
	(void)state;
	struct foreman_job *a = make_job(), *b = foreman_job_new(a->id);
	ADAFS_FREE char *text = manifest_body(a, "local");
	assert_int_equal(manifest_apply_body(b, text, strlen(text), NULL), 0);
	assert_int_equal(b->step[0].state, ADAFS_STATE_QUEUED);
	assert_int_equal(b->step[1].state, ADAFS_STATE_WAITING);
	foreman_job_free(a);
	foreman_job_free(b);
}

static void test_bad(void **state)
{
	(void)state;
	static const char *const text[] = { "", "[]", "{}",
					    "{\"id\":\"other\",\"images\":[],\"steps\":[]}",
					    "{\"id\":\"x\",\"images\":[1],\"steps\":3}" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(text); i++) {
		struct foreman_job *j = foreman_job_new("x");
		assert_int_not_equal(manifest_apply_body(j, text[i], strlen(text[i]), NULL), 0);
		foreman_job_free(j);
	}
	/* Wrong types inside must not crash. */
	struct foreman_job *j = foreman_job_new("x");
	const char *odd =
		"{\"id\":\"x\",\"images\":[1],\"steps\":[2,{\"dependsOn\":[3,\"a\"],\"task\":4}]}";
	assert_int_equal(manifest_apply_body(j, odd, strlen(odd), NULL), 0);
	struct adafs_blob_meta m = { 0 };
	assert_int_not_equal(manifest_apply_meta(j, &m), 0);
	adafs_blob_meta_set(&m, "adafsstate", "completed");
	adafs_blob_meta_set(&m, "adafsimages", "no colon");
	j->body_loaded = false;
	assert_int_not_equal(manifest_apply_meta(j, &m), 0);
	adafs_blob_meta_clear(&m);
	foreman_job_free(j);
}

static void test_names(void **state)
{
	(void)state;
	ADAFS_FREE char *blob = manifest_blob("a-b");
	ADAFS_FREE char *id = manifest_job_id(blob);
	assert_string_equal(blob, "jobs/a-b.json");
	assert_string_equal(id, "a-b");
	assert_null(manifest_job_id("jobs/a/b.json"));
	assert_null(manifest_job_id("jobs/.json"));
	assert_null(manifest_job_id("images/a.json"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_meta),        cmocka_unit_test(test_body),
		cmocka_unit_test(test_active_body), cmocka_unit_test(test_bad),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
