/* Pools of the foreman: bodies out of settings, checks of settings, and the service's words. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "batch/foreman/foreman.h"
#include "batch/foreman/pool_make.h"
#include "batch/foreman/pool_words.h"

#define NOW (INT64_C(1772459110) * 1000000)

static struct adafs_pipeline *pipeline(const char *container, int slots)
{
	char text[1024];
	snprintf(text, sizeof(text),
		 "{\"name\":\"p\",%s\"steps\":[{\"name\":\"look\",\"slots\":%d,\"command\":\"cp "
		 "{image} a\","
		 "\"outputs\":{\"a\":\"a\"},\"result\":true}],"
		 "\"merge\":{\"command\":\"ls {parts} > all\",\"outputs\":{\"all\":\"all\"}}}",
		 container, slots);
	struct adafs_pipeline *p;
	struct adafs_err err = { 0 };
	if (adafs_pipeline_parse("p.json", text, strlen(text), &p, &err) < 0)
		fail_msg("%s", err.msg);
	return p;
}

static void test_sizes(void **state)
{
	(void)state;
	const struct adafs_pool_settings s = { .vm_sizes = (char *)"A1, B2 ,C3" };
	const char *sizes[] = { "A1", "B2", "C3" };
	for (unsigned i = 0; i < 3; i++) {
		char *size = pool_settings_size(&s, i);
		assert_string_equal(size, sizes[i]);
		free(size);
	}
	assert_null(pool_settings_size(&s, 3));
	assert_int_equal(pool_settings_find_size(&s, "b2"), 1);
	assert_int_equal(pool_settings_find_size(&s, "B"), -1);
}

static void test_body(void **state)
{
	(void)state;
	struct adafs_pipeline *p = pipeline("\"container\":{\"image\":\"r.io/a:1\"},", 4);
	const struct adafs_pool_settings s = { .vm_sizes = (char *)"A1", .slots = 6, .spot = 3 };
	struct adafs_err err = { 0 };
	assert_int_equal(adafs_pool_settings_check(&s, p, &err), 0);
	cJSON *body = pool_make_body(&s, p, "ada", "A1", NOW);
	const cJSON *vm = adafs_json_get(body, "virtualMachineConfiguration");
	assert_string_equal(adafs_json_str(body, "vmSize", ""), "A1");
	assert_int_equal(adafs_json_int(body, "taskSlotsPerNode", 0), 6);
	assert_true(adafs_json_bool(body, "enableAutoScale", false));
	assert_null(adafs_json_get(body, "targetDedicatedNodes"));
	assert_string_equal(adafs_json_str(adafs_json_get(vm, "imageReference"), "version", ""),
			    "latest");
	const cJSON *names = adafs_json_path(vm, "containerConfiguration/containerImageNames");
	assert_string_equal(cJSON_GetArrayItem(names, 0)->valuestring, "r.io/a:1");
	struct pool_formula pf;
	assert_true(pool_formula_parse(adafs_json_str(body, "autoScaleFormula", ""), &pf));
	assert_int_equal(pf.dedicated, 0); /* spot alone */
	assert_int_equal(pf.spot, 3);
	assert_int_equal(pf.tasks_per_node, 1); /* four of six slots: one large task a node */
	assert_int_equal(pf.first_until_us, NOW + POOL_FORMULA_FIRST_US);
	cJSON_Delete(body);
	adafs_pipeline_unref(p);
	/* Nothing said: one dedicated node, four slots, or what the largest step takes; no
	 * containers. */
	p = pipeline("", 1);
	const struct adafs_pool_settings least = { .vm_sizes = (char *)"A1" };
	pool_settings_formula(&least, p, NOW, &pf);
	assert_int_equal(pf.dedicated, 1);
	assert_int_equal(pf.tasks_per_node, 4);
	body = pool_make_body(&least, p, "ada", "A1", NOW);
	assert_null(adafs_json_path(body, "virtualMachineConfiguration/containerConfiguration"));
	cJSON_Delete(body);
	adafs_pipeline_unref(p);
	p = pipeline("", 7);
	assert_int_equal(pool_settings_slots(&least, p), 7);
	adafs_pipeline_unref(p);
}

static void test_checks(void **state)
{
	(void)state;
	const struct {
		struct adafs_pool_settings s;
		const char *words;
	} rows[] = {
		{ { .vm_sizes = (char *)" , " }, "names no VM size" },
		{ { .vm_sizes = (char *)"A", .slots = 3 }, "set pool_slots=4" },
		{ { .vm_sizes = (char *)"A", .containers = (char *)"x,y" },
		  "set pool_container_image=x,y,r.io/a:1" },
		{ { .vm_sizes = (char *)"A", .image = (char *)"a:b" }, "PUBLISHER:OFFER:SKU" },
		{ { .vm_sizes = (char *)"A", .image = (char *)"a:b:c" }, "set pool_node_agent" },
		{ { .vm_sizes = (char *)"A", .node_agent = (char *)"n" }, "set pool_image" },
		{ { .vm_sizes = (char *)"A",
		    .registry = (char *)"r.io",
		    .registry_user = (char *)"u" },
		  "ADAFS_REGISTRY_PASSWORD" },
	};
	struct adafs_pipeline *p = pipeline("\"container\":{\"image\":\"r.io/a:1\"},", 4);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct adafs_err err = { 0 };
		assert_int_equal(adafs_pool_settings_check(&rows[i].s, p, &err), -EINVAL);
		if (!strstr(err.msg, rows[i].words))
			fail_msg("'%s' is not in '%s'", rows[i].words, err.msg);
	}
	adafs_pipeline_unref(p);
}

/* --- words -------------------------------------------------------------------------------- */

static char *trouble(const char *text)
{
	cJSON *pool = cJSON_Parse(text);
	assert_non_null(pool);
	char *words = pool_words_trouble(pool);
	cJSON_Delete(pool);
	return words;
}

static void test_trouble(void **state)
{
	(void)state;
	static const struct {
		const char *pool, *words;
	} rows[] = {
		{ "{\"resizeErrors\":[{\"code\":\"AccountCoreQuotaReached\"}]}",
		  "AccountCoreQuotaReached: the Batch account's quota of dedicated cores is used "
		  "up: ask" },
		{ "{\"resizeErrors\":[{\"code\":\"New\",\"message\":\"it broke\"}]}",
		  "New: it broke" },
		{ "{\"resizeErrors\":[{\"code\":\"AllocationFailed\"},{\"code\":\"B\",\"message\":"
		  "\"c\"}]}",
		  "; B: c" },
		{ "{\"autoScaleRun\":{\"error\":{\"code\":\"InsufficientSampleData\",\"message\":"
		  "\"m\","
		  "\"values\":[{\"name\":\"Message\",\"value\":\"Line 1, Col 2: no\"}]}}}",
		  "the pool's formula fails (InsufficientSampleData: Line 1, Col 2: no)" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *words = trouble(rows[i].pool);
		if (!strstr(words, rows[i].words))
			fail_msg("'%s' is not in '%s'", rows[i].words, words);
		free(words);
	}
	char *none = trouble("{\"resizeErrors\":[],\"autoScaleRun\":{\"results\":\"\"}}");
	assert_string_equal(none, "");
	free(none);
}

static void test_other_size(void **state)
{
	(void)state;
	static const struct {
		const char *code;
		bool other;
	} rows[] = { { "AllocationFailed", true },
		     { "AccountVMSeriesCoreQuotaReached", true },
		     { "AccountCoreQuotaReached", false },
		     { "ResizeStopped", false },
		     { "Unknown", false } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[128];
		snprintf(text, sizeof(text), "{\"resizeErrors\":[{\"code\":\"%s\"}]}",
			 rows[i].code);
		cJSON *pool = cJSON_Parse(text);
		assert_int_equal(pool_words_wants_other_size(pool), rows[i].other);
		cJSON_Delete(pool);
	}
}

static void test_counts(void **state)
{
	(void)state;
	struct pool_node_counts n;
	cJSON *c = cJSON_Parse(
		"{\"poolId\":\"p\",\"dedicated\":{\"idle\":1,\"running\":2,\"creating\":4,"
		"\"leavingPool\":8,\"total\":15},\"lowPriority\":{\"startTaskFailed\":16,"
		"\"unusable\":32,\"waitingForStartTask\":64,\"preempted\":128}}");
	pool_words_counts(c, &n);
	assert_int_equal(n.usable, 3);
	assert_int_equal(n.starting, 68);
	assert_int_equal(n.broken, 48);
	cJSON_Delete(c);
}

static void test_state_and_nodes(void **state)
{
	(void)state;
	struct adafs_buf out = ADAFS_BUF_INIT(4096);
	cJSON *pool = cJSON_Parse(
		"{\"allocationState\":\"resizing\",\"vmSize\":\"a1\",\"taskSlotsPerNode\":6,"
		"\"currentDedicatedNodes\":1,\"targetDedicatedNodes\":2,"
		"\"resizeErrors\":[{\"code\":\"X\",\"message\":\"y\"}]}");
	assert_int_equal(pool_words_state(pool, &out), 0);
	assert_string_equal(out.data,
			    "resizing\nvm_size a1\nslots 6\ndedicated 1 of 2\nspot 0 of 0\n"
			    "scaling fixed: write \"resize N\" to ctl\ntrouble X: y\n");
	cJSON_Delete(pool);
	adafs_buf_reset(&out);
	pool = cJSON_Parse(
		"{\"allocationState\":\"steady\",\"state\":\"deleting\",\"enableAutoScale\":true,"
		"\"autoScaleFormula\":\"$TargetDedicatedNodes=1;\"}");
	assert_int_equal(pool_words_state(pool, &out), 0);
	assert_string_equal(out.data,
			    "steady\nstate deleting\nvm_size unknown\nslots 1\ndedicated 0 of 0\n"
			    "spot 0 of 0\nscaling by a formula that adafs did not make\n");
	cJSON_Delete(pool);
	adafs_buf_reset(&out);
	cJSON *node = cJSON_Parse(
		"{\"id\":\"n\",\"state\":\"starttaskfailed\",\"isDedicated\":false,"
		"\"startTaskInfo\":{\"state\":\"completed\",\"exitCode\":7,\"failureInfo\":"
		"{\"code\":\"FailureExitCode\",\"message\":\"it failed\"}},"
		"\"recentTasks\":[{\"jobId\":\"j\",\"taskId\":\"t\",\"taskState\":\"running\"}],"
		"\"errors\":[{\"code\":\"DiskFull\",\"message\":\"no room\"}]}");
	assert_int_equal(pool_words_node(node, &out), 0);
	assert_non_null(strstr(out.data, "state starttaskfailed\nrunning_tasks 0\nrunning_slots 0\n"
					 "kind spot\nmeaning the start task failed"));
	assert_non_null(strstr(out.data,
			       "start_task completed, exit code 7, FailureExitCode: it failed\n"
			       "task j/t running\nerror DiskFull: no room\n"));
	cJSON_Delete(node);
	adafs_buf_clear(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),      cmocka_unit_test(test_body),
		cmocka_unit_test(test_checks),     cmocka_unit_test(test_trouble),
		cmocka_unit_test(test_other_size), cmocka_unit_test(test_state_and_nodes),
		cmocka_unit_test(test_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
