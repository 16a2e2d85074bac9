/* The Batch client against a scripted server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "batch/azure/batch.h"
#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "scripted_server.h"

#define KEY "YWRhZnMtdGVzdC1rZXktMDEyMzQ1Njc4OWFiY2RlZjA="
#define DONE "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"

struct fixture {
	struct server server;
	struct adafs_http *http;
	struct adafs_batch_account account;
	struct adafs_batch_client *batch;
	struct step steps[8];
	char *replies[8];
	size_t n;
};

/* Start a fixture without steps; they are added and then the server is started. */
static void add(struct fixture *f, const char *head, const char *body)
{
	f->replies[f->n] =
		adafs_fmt("HTTP/1.1 %s\r\nContent-Length: %zu\r\nrequest-id: r-%zu\r\n\r\n%s", head,
			  strlen(body), f->n, body);
	f->steps[f->n] = (struct step){ REPLY, f->replies[f->n] };
	f->n++;
}

static void begin(struct fixture *f)
{
	const struct adafs_http_config config = { .io_timeout_ms = 8000 };
	server_start(&f->server, f->steps, f->n);
	f->http = adafs_http_new(&config, NULL);
	assert_non_null(f->http);
	assert_int_equal(adafs_http_start(f->http, NULL), 0);
	assert_int_equal(adafs_batch_account_set(&f->account, "acct", f->server.url, KEY, NULL), 0);
	f->batch = adafs_batch_client_new(f->http, &f->account, NULL);
	assert_non_null(f->batch);
}

static void end(struct fixture *f)
{
	adafs_http_stop(f->http);
	adafs_batch_client_free(f->batch);
	adafs_batch_client_free(NULL);
	adafs_http_free(f->http);
	adafs_batch_account_clear(&f->account);
	server_stop(&f->server);
	for (size_t i = 0; i < f->n; i++)
		free(f->replies[i]);
}

static void assert_starts(const struct fixture *f, size_t i, const char *text)
{
	assert_true(i < f->server.n_seen);
	if (strncmp(f->server.seen[i].head, text, strlen(text)) != 0)
		fail_msg("'%.*s' instead of '%s'", (int)strcspn(f->server.seen[i].head, "\r"),
			 f->server.seen[i].head, text);
}

static int collect(void *arg, const cJSON *item)
{
	char *text = arg;
	const char *id = adafs_json_str(item, "id", adafs_json_str(item, "name", "?"));
	strcat(text, id);
	strcat(text, ";");
	return strcmp(id, "stop") == 0 ? -EINTR : 0;
}

static void test_errors(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	char text[256];
	struct adafs_err err;
	add(&f, "409 Conflict",
	    "{\"code\":\"JobExists\",\"message\":{\"lang\":\"en-US\",\"value\":\"It "
	    "exists.\\nRequestId:x\"},"
	    "\"values\":[{\"key\":\"Reason\",\"value\":\"twice\"}]}");
	add(&f, "403 Forbidden",
	    "{\"code\":\"AuthenticationFailed\",\"message\":{\"value\":\"No.\"},\"values\":[{"
	    "\"key\":"
	    "\"AuthenticationErrorDetail\",\"value\":\"The MAC signature abcdef\"}]}");
	add(&f, "404 Not Found", "<html>no JSON</html>");
	add(&f, "200 OK", "{\"id\": ");
	begin(&f);
	ADAFS_JSON *body = cJSON_CreateObject();
	cJSON_AddStringToObject(body, "id", "j");
	assert_int_equal(adafs_batch_job_add(f.batch, body, &err), -EEXIST);
	assert_string_equal(err.service_code, "JobExists");
	assert_string_equal(err.request_id, "r-0");
	assert_string_equal(err.msg,
			    "add job '/jobs' with the key of 'acct': 409 JobExists: It exists. "
			    "(Reason: twice)");
	assert_starts(&f, 0, "POST /jobs?api-version=2024-07-01.20.0 HTTP/1.1\r\n");
	assert_string_equal(f.server.seen[0].body, "{\"id\":\"j\"}");
	assert_string_equal(seen_header(&f.server.seen[0], "Content-Type", text),
			    "application/json; odata=minimalmetadata; charset=utf-8");
	assert_non_null(seen_header(&f.server.seen[0], "client-request-id", text));
	assert_non_null(seen_header(&f.server.seen[0], "ocp-date", text));
	cJSON *job = NULL;
	assert_int_equal(adafs_batch_job_get(f.batch, "j", "id,state", &job, &err), -EACCES);
	assert_null(strstr(err.msg, "MAC"));
	assert_starts(&f, 1, "GET /jobs/j?api-version=2024-07-01.20.0&$select=id%2Cstate HTTP");
	assert_int_equal(adafs_batch_job_get(f.batch, "j", NULL, &job, &err), -ENOENT);
	assert_int_equal(adafs_batch_job_get(f.batch, "j", NULL, &job, &err), -EPROTO);
	assert_null(job);
	end(&f);
}

static void test_paging(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	char got[256] = "";
	/* The port is not known before the server runs; the script is given then. */
	add(&f, "200 OK", "{\"value\":[]}");
	begin(&f);
	ADAFS_FREE char *first =
		adafs_fmt("{\"value\":[{\"id\":\"a\"},{\"id\":\"b\"}],\"odata.nextLink\":\"%s/jobs?"
			  "$filter=x&$skiptoken=a%%2Bb%%3D&api-version=7\"}",
			  f.server.url);
	add(&f, "200 OK", first);
	add(&f, "200 OK", "{\"value\":[{\"id\":\"c\"}]}");
	server_script(&f.server, f.steps + 1, 2);
	assert_int_equal(
		adafs_batch_job_list(f.batch, "state eq 'active'", "id", collect, got, NULL), 0);
	assert_string_equal(got, "a;b;c;");
	assert_starts(&f, 0,
		      "GET "
		      "/jobs?api-version=2024-07-01.20.0&$filter=state%20eq%20%27active%27&$select="
		      "id HTTP");
	assert_starts(&f, 1, "GET /jobs?$filter=x&$skiptoken=a%2Bb%3D&api-version=7 HTTP");
	add(&f, "200 OK", "{\"value\":[{\"id\":\"stop\"},{\"id\":\"d\"}]}");
	add(&f, "200 OK", "{\"value\":[],\"odata.nextLink\":\"ftp://x/\"}");
	server_script(&f.server, f.steps + 3, 2);
	assert_int_equal(adafs_batch_task_list(f.batch, "j", NULL, NULL, collect, got, NULL),
			 -EINTR);
	assert_int_equal(adafs_batch_node_list(f.batch, "p", NULL, collect, got, NULL), -EPROTO);
	assert_string_equal(got, "a;b;c;stop;");
	end(&f);
}

static cJSON *make_tasks(int n)
{
	cJSON *tasks = cJSON_CreateArray();
	for (int i = 0; i < n; i++) {
		char id[16];
		snprintf(id, sizeof(id), "t%03d", i);
		cJSON *task = cJSON_CreateObject();
		cJSON_AddStringToObject(task, "id", id);
		cJSON_AddItemToArray(tasks, task);
	}
	return tasks;
}

/* The reply to a chunk of tasks from..to, in reverse order; one may fail in its own way. */
static char *results(int from, int to, int odd, const char *odd_text)
{
	struct adafs_buf b = ADAFS_BUF_INIT(1 << 20);
	adafs_buf_adds(&b, "{\"value\":[");
	for (int i = to - 1; i >= from; i--)
		adafs_buf_addf(&b, "{\"taskId\":\"t%03d\",%s}%s", i,
			       i == odd ? odd_text : "\"status\":\"Success\"", i > from ? "," : "");
	adafs_buf_adds(&b, "]}");
	return adafs_buf_steal(&b, NULL);
}

static int count_tasks(const struct fixture *f, size_t i)
{
	ADAFS_JSON *body =
		adafs_json_parse(f->server.seen[i].body, f->server.seen[i].body_len, NULL);
	return cJSON_GetArraySize(adafs_json_get(body, "value"));
}

static void test_collection(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	ADAFS_FREE char *a = results(
		0, 100, 7, "\"status\":\"servererror\",\"error\":{\"code\":\"InternalError\"}");
	ADAFS_FREE char *b = results(
		100, 150, 120, "\"status\":\"clienterror\",\"error\":{\"code\":\"TaskExists\"}");
	ADAFS_FREE char *c = results(7, 8, -1, "");
	add(&f, "200 OK", a);
	add(&f, "200 OK", b);
	add(&f, "200 OK", c);
	begin(&f);
	ADAFS_JSON *tasks = make_tasks(150);
	assert_int_equal(adafs_batch_task_add_all(f.batch, "j", tasks, NULL), 0);
	assert_int_equal(f.server.n_seen, 3);
	assert_int_equal(count_tasks(&f, 0), 100);
	assert_int_equal(count_tasks(&f, 1), 50);
	assert_string_equal(f.server.seen[2].body, "{\"value\":[{\"id\":\"t007\"}]}");
	assert_starts(&f, 0, "POST /jobs/j/addtaskcollection?api-version=");
	end(&f);
}

static void test_collection_too_large(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct adafs_err err;
	ADAFS_FREE char *a = results(0, 2, -1, "");
	char *b = results(2, 4, 3,
			  "\"status\":\"clienterror\",\"error\":{\"code\":"
			  "\"InvalidPropertyValue\",\"message\":{\"value\":\"too\\nx\"}}");
	add(&f, "413 Large",
	    "{\"code\":\"RequestBodyTooLarge\",\"message\":{\"value\":\"large\"}}");
	add(&f, "200 OK", a);
	add(&f, "200 OK", b);
	begin(&f);
	ADAFS_JSON *tasks = make_tasks(4);
	assert_int_equal(adafs_batch_task_add_all(f.batch, "j", tasks, &err), -EINVAL);
	assert_string_equal(err.msg,
			    "add tasks: task 't003' was refused: InvalidPropertyValue: too");
	assert_string_equal(err.service_code, "InvalidPropertyValue");
	assert_int_equal(count_tasks(&f, 1), 2);
	assert_int_equal(count_tasks(&f, 2), 2);
	free(b);
	end(&f);
}

static void test_chunks_by_size(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	ADAFS_FREE char *a = results(0, 2, -1, "");
	char *b = results(2, 3, -1, "");
	add(&f, "200 OK", a);
	add(&f, "200 OK", b);
	begin(&f);
	ADAFS_JSON *tasks = make_tasks(3);
	ADAFS_FREE char *long_text = malloc(400001);
	memset(long_text, 'x', 400000);
	long_text[400000] = 0;
	cJSON *task;
	cJSON_ArrayForEach(task, tasks) cJSON_AddStringToObject(task, "commandLine", long_text);
	assert_int_equal(adafs_batch_task_add_all(f.batch, "j", tasks, NULL), 0);
	assert_int_equal(count_tasks(&f, 0), 2);
	assert_int_equal(count_tasks(&f, 1), 1);
	free(b);
	end(&f);
}

static void test_files(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct adafs_err err;
	char buf[8], text[256], got[256] = "";
	size_t len = 9;
	int64_t size;
	time_t mtime;
	add(&f, "200 OK", "hello");
	add(&f, "416 Range", "{\"code\":\"InvalidRange\",\"message\":{\"value\":\"x\"}}");
	add(&f, "409 Conflict",
	    "{\"code\":\"OperationInvalidForCurrentState\",\"message\":{\"value\":\"x\"}}");
	add(&f, "200 OK", "longer than what was asked for");
	add(&f, "200 OK", "{\"value\":[{\"name\":\"wd/a\"}]}");
	begin(&f);
	assert_int_equal(
		adafs_batch_file_get(f.batch, "j", "t", "wd/a b.txt", 10, 8, buf, &len, NULL), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(buf, "hello", 5);
	assert_starts(&f, 0, "GET /jobs/j/tasks/t/files/wd%2Fa%20b.txt?api-version=");
	assert_string_equal(seen_header(&f.server.seen[0], "ocp-range", text), "bytes=10-17");
	assert_int_equal(adafs_batch_file_get(f.batch, "j", "t", "f", 10, 8, buf, &len, NULL), 0);
	assert_int_equal(len, 0);
	assert_int_equal(adafs_batch_file_get(f.batch, "j", "t", "f", 10, 8, buf, &len, NULL),
			 -EAGAIN);
	assert_int_equal(adafs_batch_file_get(f.batch, "j", "t", "f", 10, 8, buf, &len, NULL),
			 -EPROTO);
	assert_int_equal(adafs_batch_file_get(f.batch, "j", "t", "f", -1, 8, buf, &len, NULL),
			 -EINVAL);
	assert_int_equal(adafs_batch_file_get(f.batch, "j", "t", "f", 0, 0, buf, &len, NULL),
			 -EINVAL);
	assert_int_equal(adafs_batch_file_list(f.batch, "j", "t", "wd/it's", collect, got, NULL),
			 0);
	assert_string_equal(got, "wd/a;");
	assert_non_null(
		strstr(f.server.seen[4].head,
		       "&recursive=true&$filter=startswith%28name%2C%27wd%2Fit%27%27s%27%29 "));
	static const struct step heads[] = {
		{ REPLY, "HTTP/1.1 200 OK\r\nContent-Length: 42\r\nLast-Modified: Thu, 01 Jan 2026 "
			 "00:00:00 GMT\r\n\r\n" },
		{ REPLY, "HTTP/1.1 409 Conflict\r\n\r\n" },
		{ REPLY, "HTTP/1.1 404 No\r\n\r\n" },
	};
	server_script(&f.server, heads, 3);
	assert_int_equal(adafs_batch_file_head(f.batch, "j", "t", "f", &size, &mtime, NULL), 0);
	assert_int_equal(size, 42);
	assert_int_equal(mtime, 1767225600);
	assert_int_equal(adafs_batch_file_head(f.batch, "j", "t", "f", &size, &mtime, &err),
			 -EAGAIN);
	assert_int_equal(err.rc, -EAGAIN);
	assert_int_equal(adafs_batch_file_head(f.batch, "j", "t", "f", &size, &mtime, NULL),
			 -ENOENT);
	end(&f);
}

static void test_endings(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	add(&f, "409 Conflict", "{\"code\":\"JobCompleted\",\"message\":{\"value\":\"x\"}}");
	add(&f, "409 Conflict", "{\"code\":\"TaskCompleted\",\"message\":{\"value\":\"x\"}}");
	add(&f, "404 No", "{\"code\":\"JobNotFound\",\"message\":{\"value\":\"x\"}}");
	begin(&f);
	assert_int_equal(adafs_batch_job_terminate(f.batch, "j", "said \"so\"", NULL), 0);
	assert_string_equal(f.server.seen[0].body, "{\"terminateReason\":\"said \\\"so\\\"\"}");
	assert_int_equal(adafs_batch_task_terminate(f.batch, "j", "t", NULL), 0);
	assert_int_equal(adafs_batch_job_terminate(f.batch, "j", NULL, NULL), -ENOENT);
	assert_int_equal(f.server.seen[2].body_len, 0);
	assert_int_equal(adafs_batch_job_delete(f.batch, "j", NULL), -ENOENT);
	/* A delete whose reply was lost has done its work when the job is gone. */
	const struct step lost[] = { { LOSE, NULL }, { REPLY, f.replies[2] } };
	server_script(&f.server, lost, 2);
	assert_int_equal(adafs_batch_job_delete(f.batch, "j", NULL), 0);
	static const struct step done[] = { { REPLY, DONE } };
	server_script(&f.server, done, 1);
	assert_int_equal(adafs_batch_pool_resize(f.batch, "p", 3, NULL), 0);
	assert_string_equal(f.server.seen[f.server.n_seen - 1].body,
			    "{\"targetDedicatedNodes\":3}");
	end(&f);
}

static void test_pools(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	char text[256];
	struct adafs_err err;
	add(&f, "200 OK", "");
	add(&f, "412 Precondition Failed",
	    "{\"code\":\"ConditionNotMet\",\"message\":{\"value\":\"x\"}}");
	add(&f, "409 Conflict", "{\"code\":\"PoolBeingDeleted\",\"message\":{\"value\":\"x\"}}");
	add(&f, "404 Not Found", "{\"code\":\"PoolNotFound\",\"message\":{\"value\":\"x\"}}");
	add(&f, "200 OK", "{\"value\":[{\"poolId\":\"p\",\"dedicated\":{\"idle\":2}}]}");
	add(&f, "200 OK", "{\"value\":[]}");
	begin(&f);
	assert_int_equal(
		adafs_batch_pool_enable_autoscale(f.batch, "p", "x = 1;\n", "PT5M", "0x8D1", NULL),
		0);
	assert_starts(&f, 0, "POST /pools/p/enableautoscale?api-version=2024-07-01.20.0 HTTP");
	assert_string_equal(f.server.seen[0].body, "{\"autoScaleFormula\":\"x = 1;\\n\","
						   "\"autoScaleEvaluationInterval\":\"PT5M\"}");
	assert_string_equal(seen_header(&f.server.seen[0], "If-Match", text), "0x8D1");
	/* Another pool of the name, one that goes already, none. */
	assert_int_equal(adafs_batch_pool_delete(f.batch, "p", "0x8D1", &err), -ESTALE);
	assert_starts(&f, 1, "DELETE /pools/p?");
	assert_string_equal(seen_header(&f.server.seen[1], "If-Match", text), "0x8D1");
	assert_int_equal(adafs_batch_pool_delete(f.batch, "p", NULL, &err), 0);
	assert_null(seen_header(&f.server.seen[2], "If-Match", text));
	assert_int_equal(adafs_batch_pool_delete(f.batch, "p", NULL, &err), 0);
	cJSON *counts = NULL;
	assert_int_equal(adafs_batch_node_counts(f.batch, "p", &counts, &err), 0);
	assert_starts(&f, 4,
		      "GET /nodecounts?api-version=2024-07-01.20.0&$filter=poolId%20eq%20%27p%27 ");
	assert_int_equal(adafs_json_int(adafs_json_get(counts, "dedicated"), "idle", 0), 2);
	cJSON_Delete(counts);
	assert_int_equal(adafs_batch_node_counts(f.batch, "p", &counts, &err), -ENOENT);
	/* The server's Date is that of its machine, which is this one. */
	int64_t off = adafs_batch_now_us(f.batch) - adafs_clock_wall_us();
	assert_true(off > -3000000 && off < 3000000);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),         cmocka_unit_test(test_paging),
		cmocka_unit_test(test_collection),     cmocka_unit_test(test_collection_too_large),
		cmocka_unit_test(test_chunks_by_size), cmocka_unit_test(test_files),
		cmocka_unit_test(test_endings),        cmocka_unit_test(test_pools),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
