/* The parts of the Batch emulator that need no HTTP: filters, signatures, bodies, dependencies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/emulator/batch/auth.h"
#include "batch/emulator/batch/engine/deps.h"
#include "batch/emulator/batch/api/odata.h"
#include "batch/emulator/batch/api/spec.h"

static cJSON *json(const char *text)
{
	cJSON *j = adafs_json_parse(text, strlen(text), NULL);
	assert_non_null(j);
	return j;
}

/* --- filters ------------------------------------------------------------------------------ */

static const struct odata_property properties[] = {
	ODATA_ROW_S("id"),
	ODATA_ROW_E("state"),
	ODATA_ROW_T("creationTime"),
	{ "executionInfo/exitCode", ODATA_INT, ODATA_T, NULL },
	ODATA_ROW_E("executionInfo/result"),
	{ "enableAutoScale", ODATA_BOOL, ODATA_E, NULL },
	{ 0 },
};

static void test_filter_match(void **state)
{
	(void)state;
	ADAFS_JSON *task =
		json("{\"id\":\"render-7\",\"state\":\"completed\",\"enableAutoScale\":false,"
		     "\"creationTime\":\"2025-07-01T12:00:00.5000000Z\","
		     "\"executionInfo\":{\"exitCode\":-3}}");
	static const struct {
		const char *filter;
		bool match;
	} cases[] = {
		{ "state eq 'completed'", true },
		{ "state eq 'COMPLETED'", true },
		{ "state ne 'active'", true },
		{ "(state eq 'running') and startswith(id,'render')", false },
		{ "(state eq 'completed') and startswith( id , 'render' )", true },
		{ "state eq 'running' or state eq 'completed' and id eq 'x'", false },
		{ "id eq 'a' or id eq 'b' or id eq 'render-7'", true },
		{ "(executionInfo/exitCode lt 0) or (executionInfo/exitCode gt 0)", true },
		{ "executionInfo/exitCode eq -3", true },
		{ "executionInfo/exitCode ge -2", false },
		{ "executionInfo/result eq 'failure'", false },
		{ "executionInfo/result ne 'failure'", true }, /* absent */
		{ "creationTime gt DateTime'2025-07-01T12:00:00Z'", true },
		{ "creationTime lt datetime'2025-07-01T12:00:00.5Z'", false },
		{ "creationTime le DateTime'2025-07-01T12:00:00.5Z'", true },
		{ "enableAutoScale eq false", true },
		{ "enableAutoScale ne false", false },
		{ "id gt 'render'", true },
		{ "((((id eq 'render-7'))))", true },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++) {
		struct odata_filter *f = NULL;
		assert_int_equal(odata_filter_parse(cases[i].filter, properties, &f, NULL), 0);
		if (odata_filter_match(f, task) != cases[i].match)
			fail_msg("%s", cases[i].filter);
		odata_filter_free(f);
	}
	assert_true(odata_filter_match(NULL, task));
}

static void test_filter_quotes(void **state)
{
	(void)state;
	ADAFS_JSON *task = json("{\"id\":\"it's\"}");
	struct odata_filter *f = NULL;
	assert_int_equal(odata_filter_parse("id eq 'it''s'", properties, &f, NULL), 0);
	assert_true(odata_filter_match(f, task));
	odata_filter_free(f);
}

static void test_filter_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		" ",
		"id",
		"id eq",
		"id eq x",
		"id eq 'x",
		"Id eq 'x'",
		"name eq 'x'",
		"state gt 'a'",
		"startswith(state,'a')",
		"startswith(id 'a')",
		"id eq 'x' and",
		"(id eq 'x'",
		"id eq 'x')",
		"executionInfo/exitCode eq '1'",
		"executionInfo/exitCode eq 1.5",
		"creationTime eq 5",
		"creationTime eq DateTime'x'",
		"enableAutoScale eq 1",
		"not id eq 'x'",
		"id like 'x'",
		"id eq 'a' or or id eq 'b'",
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++) {
		struct odata_filter *f = NULL;
		struct adafs_err err = { 0 };
		if (odata_filter_parse(bad[i], properties, &f, &err) != -EINVAL || f || !*err.msg)
			fail_msg("'%s' was taken", bad[i]);
	}
	/* Deep nesting is refused, not a crash. */
	char deep[2000];
	memset(deep, '(', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = 0;
	struct odata_filter *f = NULL;
	assert_int_equal(odata_filter_parse(deep, properties, &f, NULL), -EINVAL);
}

static void test_select(void **state)
{
	(void)state;
	assert_true(odata_selected(NULL, "id"));
	assert_true(odata_selected("id,state", "state"));
	assert_true(odata_selected(" id , state ", "id"));
	assert_false(odata_selected("identity,states", "id"));
}

/* --- signatures: the vectors of the protocol reference ------------------------------------- */

#define ACCOUNT "testaccount"
#define KEY "YWRhZnMtdGVzdC1rZXktMDEyMzQ1Njc4OWFiY2RlZjA="
#define CT "application/json; odata=minimalmetadata; charset=utf-8"
#define V "api-version=2022-10-01.16.0"

static enum batch_auth_result check_at(const char *method, const char *target,
				       const char *const *headers, const char *signature,
				       const char *now, char **detail)
{
	struct http_req req;
	assert_int_equal(http_req_init(&req, method, target), 0);
	for (; headers && *headers; headers += 2)
		http_req_add_header(&req, headers[0], headers[1]);
	http_req_add_header(&req, "ocp-date", "Tue, 01 Jul 2025 12:00:00 GMT");
	http_req_add_header(&req, "client-request-id", "not signed");
	char auth[128];
	snprintf(auth, sizeof(auth), "SharedKey " ACCOUNT ":%s", signature);
	http_req_add_header(&req, "Authorization", auth);
	uint8_t *key = NULL;
	size_t key_len;
	int64_t now_us;
	assert_int_equal(adafs_base64_decode(KEY, strlen(KEY), &key, &key_len), 0);
	assert_int_equal(adafs_clock_parse_iso8601(now, &now_us), 0);
	const struct batch_auth_keys keys = { .account = ACCOUNT, .key = key, .key_len = key_len };
	enum batch_auth_result r =
		batch_auth_check(&req, &keys, (time_t)(now_us / 1000000), detail);
	free(key);
	http_req_clear(&req);
	return r;
}

static void test_signatures(void **state)
{
	(void)state;
	static const struct {
		const char *method, *target, *headers[7], *signature;
	} cases[] = {
		{ "GET",
		  "/jobs?" V "&$filter=state%20eq%20'active'&maxresults=10&timeout=30",
		  { 0 },
		  "MdF9Xih9vJEWvvqhY84LBofyyd16kYjACywknH0nhxk=" },
		{ "POST",
		  "/jobs?" V,
		  { "Content-Type", CT, "Content-Length", "43", NULL },
		  "9kM6p9upgAHnTlelZQQbm45jLsgtSn2VDXzN3x/IrL4=" },
		{ "DELETE",
		  "/jobs/job1?" V,
		  { "Content-Length", "0", NULL },
		  "1CsJc+W3IAgVzv/PE/yJwJlPtq9azzzw1xNTeJ6eCHc=" },
		{ "DELETE",
		  "/jobs/job1?" V,
		  { 0 },
		  "1CsJc+W3IAgVzv/PE/yJwJlPtq9azzzw1xNTeJ6eCHc=" },
		{ "POST",
		  "/jobs/job1/enable?" V,
		  { "Content-Length", "0", NULL },
		  "TyFmxJt5OY61B0IQ8c9smTTgDn2yV/NcJszsPO/4XJQ=" },
		{ "GET",
		  "/jobs/job1/tasks/t1/files/wd%2Fout%20put.txt?" V,
		  { "ocp-range", "bytes=0-99", NULL },
		  "BvsVx9NXqTkJdMeKz3sxSARKSTt9mE7JGnYtCc16HCo=" },
		{ "HEAD", "/pools/p1?" V, { 0 }, "9I/NOak+V8L9Nupr1QWi0egnoPeRoXfK3L5rAtKcF1Q=" },
		{ "PATCH",
		  "/jobs/job1?" V,
		  { "Content-Type", CT, "Content-Length", "2", "If-Match", "0x8D89006D982EEEF",
		    NULL },
		  "42wlTjg4BN/dMd8ycYvEL2yMxzYlW40UvbBGLcN4oeI=" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++) {
		char *detail = NULL;
		if (check_at(cases[i].method, cases[i].target, cases[i].headers, cases[i].signature,
			     "2025-07-01T12:14:00Z", &detail) != BATCH_AUTH_OK)
			fail_msg("case %zu: %s", i, detail);
	}
}

static void test_signature_refused(void **state)
{
	(void)state;
	static const char good[] = "9I/NOak+V8L9Nupr1QWi0egnoPeRoXfK3L5rAtKcF1Q=";
	char *detail = NULL;
	assert_int_equal(
		check_at("HEAD", "/pools/p2?" V, NULL, good, "2025-07-01T12:00:00Z", &detail),
		BATCH_AUTH_FAILED);
	assert_non_null(strstr(detail, "HEAD\n\n\n\n"));
	assert_non_null(strstr(detail, "/testaccount/pools/p2\napi-version:2022-10-01.16.0"));
	free(detail);
	detail = NULL;
	assert_int_equal(
		check_at("HEAD", "/pools/p1?" V, NULL, good, "2025-07-01T12:16:00Z", &detail),
		BATCH_AUTH_FAILED);
	free(detail);
}

/* --- bodies ------------------------------------------------------------------------------- */

static void test_bodies(void **state)
{
	(void)state;
	static const struct {
		const char *body, *code;
	} cases[] = {
		{ "{\"id\":\"t\",\"commandLine\":\"x\"}", NULL },
		{ "{\"id\":\"t\",\"commandLine\":\"x\",\"displayName\":null}", NULL },
		{ "{\"id\":\"t\",\"commandLine\":\"x\",\"applicationPackageReferences\":[]}",
		  NULL },
		{ "{\"id\":\"t\"}", "MissingRequiredProperty" },
		{ "{\"id\":\"t/\",\"commandLine\":\"x\"}", "InvalidPropertyValue" },
		{ "{\"id\":\"\",\"commandLine\":\"x\"}", "InvalidPropertyValue" },
		{ "{\"id\":\"t\",\"commandLine\":\"x\",\"more\":1}", "InvalidRequestBody" },
		{ "{\"id\":\"t\",\"commandLine\":\"x\",\"id\":\"u\"}", "InvalidRequestBody" },
		{ "{\"id\":\"t\",\"commandLine\":5}", "InvalidRequestBody" },
		{ "{\"id\":\"t\",\"commandLine\":\"x\",\"requiredSlots\":1.5}",
		  "InvalidRequestBody" },
		{ "{\"id\":\"t\",\"commandLine\":\"x\",\"requiredSlots\":0}",
		  "InvalidPropertyValue" },
		{ "{\"id\":\"t\",\"commandLine\":\"x\",\"exitConditions\":{\"default\":null}}",
		  "InvalidRequestBody" },
		{ "{\"id\":\"t\",\"commandLine\":\"x\",\"exitConditions\":{\"default\":"
		  "{\"dependencyAction\":\"maybe\"}}}",
		  "InvalidPropertyValue" },
		{ "{\"id\":\"t\",\"commandLine\":\"x\",\"multiInstanceSettings\":{}}",
		  "MissingRequiredProperty" },
		{ "[]", "InvalidRequestBody" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++) {
		ADAFS_JSON *body = json(cases[i].body);
		ADAFS_JSON *spec = NULL;
		struct batch_spec_error why = { 0 };
		int rc = batch_spec_check(batch_spec_task_add, body, &spec, &why);
		assert_int_equal(rc, cases[i].code ? -EINVAL : 0);
		if (cases[i].code)
			assert_string_equal(why.code, cases[i].code);
	}
}

static void test_body_normalised(void **state)
{
	(void)state;
	ADAFS_JSON *body =
		json("{\"id\":\"t\",\"commandLine\":\"x\",\"userIdentity\":{\"autoUser\":"
		     "{\"scope\":\"Task\"}},\"constraints\":{\"maxWallClockTime\":\"PT90M\"}}");
	ADAFS_JSON *job = json("{\"constraints\":{\"maxTaskRetryCount\":4}}");
	ADAFS_JSON *spec = NULL;
	struct batch_spec_error why = { 0 };
	assert_int_equal(batch_spec_check(batch_spec_task_add, body, &spec, &why), 0);
	assert_int_equal(batch_spec_task_defaults(spec, job), 0);
	ADAFS_JSON *expected = json(
		"{\"id\":\"t\",\"commandLine\":\"x\",\"userIdentity\":{\"autoUser\":{\"scope\":"
		"\"task\",\"elevationLevel\":\"nonadmin\"}},\"constraints\":{\"maxWallClockTime\":"
		"\"PT1H30M\",\"retentionTime\":\"P7D\",\"maxTaskRetryCount\":4},"
		"\"requiredSlots\":1}");
	assert_true(cJSON_Compare(spec, expected, true));
}

/* --- exit conditions and dependencies ------------------------------------------------------ */

static void test_exit_actions(void **state)
{
	(void)state;
	static const char all[] =
		"{\"exitCodes\":[{\"code\":3,\"exitOptions\":{\"dependencyAction\":\"satisfy\"}}],"
		"\"exitCodeRanges\":[{\"start\":2,\"end\":5,\"exitOptions\":{\"jobAction\":\"none\"}}],"
		"\"fileUploadError\":{\"jobAction\":\"disable\"},"
		"\"default\":{\"dependencyAction\":\"satisfy\",\"jobAction\":\"none\"}}";
	static const char only_default[] = "{\"default\":{\"dependencyAction\":\"satisfy\"}}";
	static const char zero[] =
		"{\"exitCodes\":[{\"code\":0,\"exitOptions\":{\"dependencyAction\":\"block\"}}]}";
	static const struct {
		const char *conditions;
		enum batch_outcome outcome;
		bool has_code;
		int code;
		bool satisfy;
		enum batch_job_action job;
	} cases[] = {
		{ "{}", OUTCOME_EXIT, true, 0, true, JOB_ACTION_NONE },
		{ "{}", OUTCOME_EXIT, true, 1, false, JOB_ACTION_TERMINATE },
		{ "{}", OUTCOME_PREPROCESSING, false, 0, false, JOB_ACTION_TERMINATE },
		{ "{}", OUTCOME_UPLOAD, true, 0, false, JOB_ACTION_TERMINATE },
		{ "{}", OUTCOME_ENDED, false, 0, false, JOB_ACTION_TERMINATE },
		{ all, OUTCOME_EXIT, true, 3, true, JOB_ACTION_TERMINATE },
		{ all, OUTCOME_EXIT, true, 4, false, JOB_ACTION_NONE },
		{ all, OUTCOME_EXIT, true, 9, true, JOB_ACTION_NONE },
		{ all, OUTCOME_PREPROCESSING, false, 0, true, JOB_ACTION_NONE },
		{ all, OUTCOME_UPLOAD, true, 0, false, JOB_ACTION_DISABLE },
		{ all, OUTCOME_UPLOAD, true, 3, true, JOB_ACTION_TERMINATE },
		{ only_default, OUTCOME_UPLOAD, true, 0, true, JOB_ACTION_TERMINATE },
		{ only_default, OUTCOME_PREPROCESSING, false, 0, true, JOB_ACTION_TERMINATE },
		{ only_default, OUTCOME_ENDED, true, 137, true, JOB_ACTION_TERMINATE },
		{ zero, OUTCOME_EXIT, true, 0, false, JOB_ACTION_NONE },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++) {
		ADAFS_JSON *c = json(cases[i].conditions);
		struct batch_exit_action a =
			batch_exit_action(c, cases[i].outcome, cases[i].has_code, cases[i].code);
		if (a.satisfy != cases[i].satisfy || a.job != cases[i].job)
			fail_msg("case %zu", i);
	}
	ADAFS_JSON *with = json(all), *without = json(only_default);
	assert_true(batch_exit_has_job_action(with));
	assert_false(batch_exit_has_job_action(without));
}

static struct task *add_task(struct job *j, const char *id, const char *depends_on)
{
	char text[512];
	snprintf(text, sizeof(text), "{\"id\":\"%s\",\"dependsOn\":%s}", id,
		 depends_on ? depends_on : "{}");
	struct task *t = task_new(j, id, json(text));
	assert_non_null(t);
	assert_int_equal(entity_list_add(&j->tasks, &t->e), 0);
	return t;
}

static void note_ready(void *arg, struct task *t)
{
	strcat(arg, t->e.id);
	strcat(arg, " ");
}

static void test_dependencies(void **state)
{
	(void)state;
	struct job *j = job_new("j", json("{\"poolInfo\":{\"poolId\":\"p\"}}"));
	char ready[200] = "";
	struct task *both = add_task(j, "both", "{\"taskIds\":[\"B\",\"a\"]}");
	struct task *second = add_task(j, "second", "{\"taskIds\":[\"b\"]}");
	struct task *range = add_task(j, "range",
				      "{\"taskIds\":[\"a\"],\"taskIdRanges\":"
				      "[{\"start\":-1,\"end\":1},{\"start\":7,\"end\":7}]}");
	struct task *none = add_task(j, "none", NULL);
	assert_true(deps_check(none));
	assert_false(deps_check(both));
	assert_false(deps_check(second));
	assert_false(deps_check(range));
	assert_int_equal(deps_satisfy(j, "b", note_ready, ready), 0);
	assert_string_equal(ready, "second ");
	assert_int_equal(deps_satisfy(j, "a", note_ready, ready), 0);
	assert_string_equal(ready, "second both ");
	assert_int_equal(deps_satisfy(j, "5flamingoes", note_ready, ready), 0);
	assert_int_equal(deps_satisfy(j, "0", note_ready, ready), 0);
	assert_int_equal(deps_satisfy(j, "007", note_ready, ready), 0);
	assert_int_equal(deps_satisfy(j, "-1", note_ready, ready), 0);
	assert_string_equal(ready, "second both ");
	assert_int_equal(deps_satisfy(j, "01", note_ready, ready), 0);
	assert_string_equal(ready, "second both range ");
	assert_true(deps_check(range));

	/* One of several that wait for the same can leave, first, middle or last. */
	struct task *w[4];
	for (int i = 0; i < 4; i++) {
		char id[8];
		snprintf(id, sizeof(id), "w%d", i);
		w[i] = add_task(j, id, "{\"taskIds\":[\"z\"]}");
		assert_false(deps_check(w[i]));
	}
	deps_unwait(w[3]);
	deps_unwait(w[1]);
	*ready = 0;
	assert_int_equal(deps_satisfy(j, "z", note_ready, ready), 0);
	assert_string_equal(ready, "w0 w2 ");
	entity_free(&j->e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filter_match),   cmocka_unit_test(test_filter_quotes),
		cmocka_unit_test(test_filter_refused), cmocka_unit_test(test_select),
		cmocka_unit_test(test_signatures),     cmocka_unit_test(test_signature_refused),
		cmocka_unit_test(test_bodies),         cmocka_unit_test(test_body_normalised),
		cmocka_unit_test(test_exit_actions),   cmocka_unit_test(test_dependencies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
