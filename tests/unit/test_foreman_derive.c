/* Task JSON to step states, job states and sentences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "batch/base/json.h"
#include "batch/foreman/derive.h"

#define N 4 /* cover -> tile, cover -> filter; tile + filter -> merge */

static struct foreman_job *make_job(void)
{
	static const char *const names[N] = { "cover", "tile", "filter", "merge" };
	struct foreman_job *j = foreman_job_new("flood-a-12345678");
	struct adafs_plan_step steps[N] = { 0 };
	struct adafs_plan plan = { .steps = steps, .n_steps = N };
	size_t on_cover[] = { 0 }, on_both[] = { 1, 2 };
	char ids[N][32];
	for (unsigned i = 0; i < N; i++) {
		snprintf(ids[i], sizeof(ids[i]), "%02u-%s", i + 1, names[i]);
		steps[i] = (struct adafs_plan_step){ .number = i + 1,
						     .name = (char *)names[i],
						     .task_id = ids[i],
						     .command = (char *)"true",
						     .work_prefix = (char *)"work/",
						     .depends_on = i == 3 ? on_both : on_cover,
						     .n_depends_on = i == 0   ? 0
								     : i == 3 ? 2
									      : 1,
						     .merge = i == 3 };
	}
	assert_non_null(j);
	assert_int_equal(foreman_job_take_plan(j, &plan), 0);
	return j;
}

static const struct derive_pool pool = { .id = "local", .state = "steady", .nodes = 1 };

/* Parse an array of tasks and derive; single quotes stand for double ones. */
static void apply(struct foreman_job *j, const char *text, const struct derive_job *job)
{
	char *json = strdup(text);
	for (char *p = json; *p; p++)
		if (*p == '\'')
			*p = '"';
	ADAFS_JSON *list = adafs_json_parse(json, strlen(json), NULL);
	assert_non_null(list);
	struct derive_task tasks[16];
	size_t n = 0;
	const cJSON *item;
	cJSON_ArrayForEach(item, list) assert_int_equal(derive_task_parse(item, &tasks[n++]), 0);
	derive_steps(j, tasks, n, job, &pool);
	free(json);
}

#define ACTIVE(id) "{'id':'" id "','state':'active','stateTransitionTime':'2026-01-01T00:00:00Z'}"
#define RUNNING(id)                                                                              \
	"{'id':'" id "','state':'running','executionInfo':{'startTime':'2026-01-01T00:00:01Z'}," \
	"'nodeInfo':{'nodeId':'tvm_1'}}"
#define DONE(id)                                                                                   \
	"{'id':'" id "','state':'completed','executionInfo':{'startTime':'2026-01-01T00:00:01Z',"  \
	"'endTime':'2026-01-01T00:00:05Z','exitCode':0,'result':'success'},'nodeInfo':{'nodeId':'" \
	"tvm_1'}}"
#define EXIT(id, code)                                                                            \
	"{'id':'" id "','state':'completed','executionInfo':{'startTime':'2026-01-01T00:00:01Z'," \
	"'endTime':'2026-01-01T00:00:06Z','exitCode':" code ",'result':'failure','failureInfo':"  \
	"{'category':'UserError','code':'FailureExitCode','message':'The task exited'}}}"
#define FAIL(id, code, details)                                                                 \
	"{'id':'" id "','state':'completed','executionInfo':{'result':'failure','failureInfo':" \
	"{'category':'UserError','code':'" code "','message':'text','details':[" details "]}}}"

static void test_progress(void **state)
{
	(void)state;
	struct derive_job job = { 0 };
	struct foreman_job *j = make_job();
	apply(j,
	      "[" ACTIVE("01-cover") "," ACTIVE("02-tile") "," ACTIVE("03-filter") "," ACTIVE(
		      "04-merge") "]",
	      &job);
	assert_int_equal(j->step[0].state, ADAFS_STATE_QUEUED);
	assert_int_equal(j->step[1].state, ADAFS_STATE_WAITING);
	assert_string_equal(j->step[1].waiting_for, "waits for 01-cover");
	assert_string_equal(j->step[3].waiting_for, "waits for 02-tile and 03-filter");
	assert_non_null(strstr(j->step[0].waiting_for, "pool 'local'"));
	assert_int_equal(derive_job_state(j, &job), ADAFS_STATE_QUEUED);

	apply(j, "[" RUNNING("01-cover") "]", &job);
	assert_int_equal(j->step[0].state, ADAFS_STATE_RUNNING);
	assert_true(j->step[0].task_running);
	assert_string_equal(j->step[0].node, "tvm_1");
	assert_int_equal(derive_job_state(j, &job), ADAFS_STATE_RUNNING);

	apply(j, "[" DONE("01-cover") "," ACTIVE("02-tile") "]", &job);
	assert_int_equal(j->step[0].state, ADAFS_STATE_COMPLETED);
	assert_false(j->step[0].task_running);
	assert_int_equal(j->step[1].state, ADAFS_STATE_QUEUED);
	assert_int_equal(j->step[3].state, ADAFS_STATE_WAITING);
	assert_int_equal(derive_job_state(j, &job), ADAFS_STATE_RUNNING);
	assert_false(derive_all_ended(j));

	apply(j,
	      "[" DONE("01-cover") "," DONE("02-tile") "," DONE("03-filter") "," DONE(
		      "04-merge") "]",
	      &job);
	assert_true(derive_all_ended(j));
	assert_int_equal(derive_job_state(j, &job), ADAFS_STATE_COMPLETED);
	/* Each start and end is told once, in order of time. */
	const char *log = adafs_buf_str(&j->events);
	assert_string_equal(log, "2026-01-01T00:00:01Z 01-cover started on tvm_1\n"
				 "2026-01-01T00:00:05Z 01-cover completed\n"
				 "2026-01-01T00:00:01Z 02-tile started on tvm_1\n"
				 "2026-01-01T00:00:01Z 03-filter started on tvm_1\n"
				 "2026-01-01T00:00:01Z 04-merge started on tvm_1\n"
				 "2026-01-01T00:00:05Z 02-tile completed\n"
				 "2026-01-01T00:00:05Z 03-filter completed\n"
				 "2026-01-01T00:00:05Z 04-merge completed\n");
	foreman_job_free(j);
}

static void test_idempotent(void **state)
{
	(void)state;
	struct derive_job job = { 0 };
	struct foreman_job *j = make_job();
	apply(j, "[" DONE("01-cover") "," RUNNING("02-tile") "]", &job);
	j->dirty = false;
	apply(j, "[" DONE("01-cover") "," RUNNING("02-tile") "]", &job);
	assert_false(j->dirty);
	foreman_job_free(j);
}

/* How one completed task reads, and what the job becomes when all others are as given. */
static void test_endings(void **state)
{
	(void)state;
	static const struct {
		const char *tasks;
		enum adafs_state tile, job;
		const char *word;
	} row[] = {
		{ EXIT("02-tile", "64"), ADAFS_STATE_EMPTY, ADAFS_STATE_EMPTY,
		  "nothing was found" },
		{ EXIT("02-tile", "97"), ADAFS_STATE_SKIPPED, ADAFS_STATE_FAILED, "skipped" },
		{ EXIT("02-tile", "66"), ADAFS_STATE_FAILED, ADAFS_STATE_FAILED,
		  "output is missing" },
		{ EXIT("02-tile", "77"), ADAFS_STATE_FAILED, ADAFS_STATE_FAILED, "SAS" },
		{ EXIT("02-tile", "137"), ADAFS_STATE_FAILED, ADAFS_STATE_FAILED, "out of memory" },
		{ EXIT("02-tile", "150"), ADAFS_STATE_FAILED, ADAFS_STATE_FAILED, "signal 22" },
		{ FAIL("02-tile", "BlobAccessDenied", ""), ADAFS_STATE_FAILED, ADAFS_STATE_FAILED,
		  "may not read" },
		{ FAIL("02-tile", "SomethingNew", "{'name':'a','value':'b'}"), ADAFS_STATE_FAILED,
		  ADAFS_STATE_FAILED, "SomethingNew: text (a: b)" },
		{ FAIL("02-tile", "TaskEnded", ""), ADAFS_STATE_CANCELLED, ADAFS_STATE_CANCELLED,
		  "ended outside" },
		{ FAIL("02-tile", "TaskEnded",
		       "{'name':'Message','value':'The maximum execution time configured on the "
		       "task was exceeded'}"),
		  ADAFS_STATE_FAILED, ADAFS_STATE_FAILED, "time limit" },
		/* Exit 0 with a failed upload is a failure. */
		{ "{'id':'02-tile','state':'completed','executionInfo':{'exitCode':0,'result':'"
		  "failure',"
		  "'failureInfo':{'code':'FileUploadAccessDenied','message':'x'}}}",
		  ADAFS_STATE_FAILED, ADAFS_STATE_FAILED, "may not write" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(row); i++) {
		struct derive_job job = { 0 };
		char text[4096];
		struct foreman_job *j = make_job();
		snprintf(text, sizeof(text),
			 "[" DONE("01-cover") ",%s," DONE("03-filter") "," DONE("04-merge") "]",
			 row[i].tasks);
		apply(j, text, &job);
		assert_int_equal(j->step[1].state, row[i].tile);
		assert_int_equal(derive_job_state(j, &job), row[i].job);
		if (!strstr(j->step[1].waiting_for, row[i].word))
			fail_msg("row %zu: '%s' lacks '%s'", i, j->step[1].waiting_for,
				 row[i].word);
		foreman_job_free(j);
	}
}

static void test_failure_outranks_empty(void **state)
{
	(void)state;
	struct derive_job job = { 0 };
	struct foreman_job *j = make_job();
	apply(j,
	      "[" DONE("01-cover") "," EXIT("02-tile", "64") "," EXIT("03-filter",
								      "1") "," DONE("04-merge") "]",
	      &job);
	assert_int_equal(derive_job_state(j, &job), ADAFS_STATE_FAILED);
	ADAFS_FREE char *text = derive_job_sentence(j, ADAFS_STATE_FAILED, &job, &pool);
	assert_non_null(strstr(text, "03-filter failed: exit code 1"));
	foreman_job_free(j);
}

static void test_skipped_names_the_cause(void **state)
{
	(void)state;
	struct derive_job job = { 0 };
	struct foreman_job *j = make_job();
	apply(j,
	      "[" EXIT("01-cover", "1") "," EXIT("02-tile", "97") "," EXIT(
		      "03-filter", "97") "," DONE("04-merge") "]",
	      &job);
	assert_string_equal(j->step[1].waiting_for, "skipped: 01-cover left no input for it");
	assert_int_equal(derive_job_state(j, &job), ADAFS_STATE_FAILED);
	foreman_job_free(j);
}

/* A merge that found nothing says nothing about this image. */
static void test_empty_merge(void **state)
{
	(void)state;
	struct derive_job job = { 0 };
	struct foreman_job *j = make_job();
	apply(j,
	      "[" DONE("01-cover") "," DONE("02-tile") "," DONE("03-filter") "," EXIT("04-merge",
										      "64") "]",
	      &job);
	assert_int_equal(derive_job_state(j, &job), ADAFS_STATE_COMPLETED);
	foreman_job_free(j);
}

static void test_job_ended(void **state)
{
	(void)state;
	static const struct {
		const char *reason;
		bool cancel;
		enum adafs_state job;
		const char *word;
	} row[] = {
		{ "", true, ADAFS_STATE_CANCELLED, "cancelled" },
		{ DERIVE_CANCEL_REASON, false, ADAFS_STATE_CANCELLED, "cancelled" },
		{ "UserTerminate", false, ADAFS_STATE_CANCELLED, "outside adafs" },
		{ "MaxWallClockTimeExpiry", false, ADAFS_STATE_FAILED, "time limit" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(row); i++) {
		struct derive_job job = { .ended = true, .cancel = row[i].cancel };
		struct foreman_job *j = make_job();
		strcpy(job.reason, row[i].reason);
		apply(j,
		      "[" DONE("01-cover") "," ACTIVE("02-tile") "," ACTIVE("03-filter") "," ACTIVE(
			      "04-merge") "]",
		      &job);
		assert_int_equal(j->step[0].state, ADAFS_STATE_COMPLETED);
		assert_int_equal(j->step[1].state, ADAFS_STATE_CANCELLED);
		assert_true(derive_all_ended(j));
		assert_int_equal(derive_job_state(j, &job), row[i].job);
		ADAFS_FREE char *text = derive_job_sentence(j, row[i].job, &job, &pool);
		assert_non_null(strstr(text, row[i].word));
		foreman_job_free(j);
	}
}

static void test_pool_sentences(void **state)
{
	(void)state;
	struct derive_job job = { 0 };
	struct foreman_job *j = make_job();
	struct derive_pool none = { .id = "gpu", .state = "steady", .nodes = 0 };
	struct derive_pool starting = { .id = "gpu", .state = "resizing", .nodes = 0 };
	derive_steps(j, NULL, 0, &job, &none);
	assert_string_equal(j->step[0].waiting_for,
			    "waits for a node: pool 'gpu' has none; resize it");
	derive_steps(j, NULL, 0, &job, &starting);
	assert_string_equal(j->step[0].waiting_for, "waits for the nodes of pool 'gpu' to start");
	struct derive_pool scaled = {
		.id = "gpu", .state = "steady", .scaled = true, .trouble = ""
	};
	derive_steps(j, NULL, 0, &job, &scaled);
	assert_string_equal(
		j->step[0].waiting_for,
		"waits for a node: pool 'gpu' is empty and starts one within 6 minutes");
	struct derive_pool booting = { .id = "gpu", .state = "steady", .nodes = 2, .starting = 2 };
	derive_steps(j, NULL, 0, &job, &booting);
	assert_string_equal(j->step[0].waiting_for,
			    "waits for the nodes of pool 'gpu' to start: 2 on the way");
	struct derive_pool broken = { .id = "gpu", .state = "steady", .nodes = 2, .broken = 2 };
	derive_steps(j, NULL, 0, &job, &broken);
	assert_string_equal(
		j->step[0].waiting_for,
		"waits for a node: 2 of pool 'gpu' cannot run tasks; pool/nodes says why");
	struct derive_pool refused = {
		.id = "gpu", .state = "resizing", .scaled = true, .trouble = "X: ask for more"
	};
	derive_steps(j, NULL, 0, &job, &refused);
	assert_string_equal(j->step[0].waiting_for,
			    "waits for a node of pool 'gpu': X: ask for more");
	foreman_job_free(j);
}

/* What is no fault of the step, and what the user wants, is said as such. */
static void test_held_preempted_and_pulling(void **state)
{
	(void)state;
	struct foreman_job *j = make_job();
	struct derive_job job = { .held = true };
	apply(j, "[" ACTIVE("01-cover") "]", &job);
	assert_string_equal(j->step[0].waiting_for, DERIVE_HELD_TEXT);
	ADAFS_FREE char *held = derive_job_sentence(j, derive_job_state(j, &job), &job, &pool);
	assert_string_equal(held, DERIVE_HELD_TEXT);
	job.held = false;
	apply(j,
	      "[{'id':'01-cover','state':'active','executionInfo':{'requeueCount':2,'retryCount':0}}]",
	      &job);
	assert_string_equal(
		j->step[0].waiting_for,
		"queued again, its node was taken from it 2 times (preempted, rebooted or removed); "
		"waits for a free slot in pool 'local' behind other tasks");
	struct derive_pool pulling = pool;
	pulling.image = "ada510.azurecr.io/ada:latest";
	struct derive_task t = { .state = DERIVE_TASK_RUNNING };
	strcpy(t.id, "01-cover");
	strcpy(t.node, "tvm-1");
	derive_steps(j, &t, 1, &job, &pulling);
	assert_int_equal(j->step[0].state, ADAFS_STATE_RUNNING);
	assert_string_equal(j->step[0].waiting_for,
			    "node tvm-1 fetches container image 'ada510.azurecr.io/ada:latest' and "
			    "the inputs, then the command runs");
	t.in_container = true;
	derive_steps(j, &t, 1, &job, &pulling);
	assert_string_equal(j->step[0].waiting_for, "runs on node tvm-1");

	/* Its node goes, and is the only one. */
	t.state = DERIVE_TASK_ACTIVE;
	pulling.preempted = 1;
	derive_steps(j, &t, 1, &job, &pulling);
	assert_string_equal(
		j->step[0].waiting_for,
		"queued again, its node was taken from it 3 times (preempted, rebooted or removed); "
		"waits for the nodes of pool 'local' to come back: 1 preempted, Azure returns them "
		"when it has capacity; dedicated nodes are not taken");
	ADAFS_FREE char *again = derive_job_sentence(j, derive_job_state(j, &job), &job, &pulling);
	assert_string_equal(again, j->step[0].waiting_for);
	foreman_job_free(j);
}

/* What an earlier run left is shown as it ended, and no task of this run changes it. */
static void test_reused(void **state)
{
	(void)state;
	struct foreman_job *j = make_job();
	const struct derive_job job = { 0 };
	j->step[0].reused = true;
	j->step[0].state = ADAFS_STATE_COMPLETED;
	foreman_text_set(&j->step[0].waiting_for, "completed in run 1");
	apply(j, "[" ACTIVE("02-tile") "," ACTIVE("03-filter") "]", &job);
	assert_string_equal(j->step[0].waiting_for, "completed in run 1");
	assert_int_equal(j->step[1].state, ADAFS_STATE_QUEUED);
	assert_int_equal(derive_job_state(j, &job), ADAFS_STATE_RUNNING);
	foreman_job_free(j);
}

static void test_bad_task(void **state)
{
	(void)state;
	struct derive_task t;
	ADAFS_JSON *no_id = cJSON_Parse("{\"state\":\"active\"}");
	ADAFS_JSON *odd = cJSON_Parse("{\"id\":\"a\",\"state\":\"hovering\",\"executionInfo\":7}");
	assert_int_not_equal(derive_task_parse(no_id, &t), 0);
	assert_int_equal(derive_task_parse(odd, &t), 0);
	assert_int_equal(t.state, DERIVE_TASK_ACTIVE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_idempotent),
		cmocka_unit_test(test_endings),
		cmocka_unit_test(test_failure_outranks_empty),
		cmocka_unit_test(test_skipped_names_the_cause),
		cmocka_unit_test(test_empty_merge),
		cmocka_unit_test(test_job_ended),
		cmocka_unit_test(test_pool_sentences),
		cmocka_unit_test(test_held_preempted_and_pulling),
		cmocka_unit_test(test_reused),
		cmocka_unit_test(test_bad_task),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
