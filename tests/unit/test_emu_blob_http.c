/* The HTTP server under the emulator's services: over real sockets, and its values without one. */
#include "batch/emulator/http.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "batch/base/json.h"

static char seen_target[256];
static size_t streamed;
static int n_ended;

static int begin(void *service, struct http_req *req, struct http_resp *resp)
{
	(void)service;
	snprintf(seen_target, sizeof(seen_target), "%s", req->target);
	req->operation = "Echo";
	req->body_max = 64;
	if (strcmp(req->path, "/stream") == 0)
		req->sink = HTTP_SINK_STREAM;
	if (strcmp(req->path, "/refuse") == 0)
		return http_resp_text(resp, 403, "text/plain", "refused") < 0 ? -1 : 1;
	return 0;
}

static int body(void *service, struct http_req *req, const void *data, size_t len)
{
	(void)service;
	(void)req;
	(void)data;
	streamed += len;
	return 0;
}

static int temp_file(const char *text)
{
	char path[] = "/tmp/adafs-test-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

static void handle(void *service, struct http_req *req, struct http_resp *resp)
{
	(void)service;
	if (req->body_rc == -EFBIG) {
		http_resp_text(resp, 413, "text/plain", "too large");
	} else if (strcmp(req->path, "/file") == 0) {
		resp->status = 206;
		http_resp_add_file(resp, temp_file("0123456789"), true, 2, 5);
	} else if (strcmp(req->path, "/segments") == 0) {
		int fd = temp_file("0123456789");
		resp->status = 200;
		http_resp_add_file(resp, fd, true, 8, 2);
		http_resp_add_file(resp, fd, false, 0, 0);
		http_resp_add_file(resp, fd, false, 0, 3);
	} else if (strcmp(req->method, "HEAD") == 0) {
		resp->status = 200;
		resp->head_length = 5368709120;
	} else {
		http_resp_text(resp, 200, "text/plain", adafs_buf_str(&req->body));
	}
}

static void end(void *service, struct http_req *req)
{
	(void)service;
	(void)req;
	__atomic_add_fetch(&n_ended, 1, __ATOMIC_SEQ_CST);
}

static const struct http_service_ops echo_ops = {
	.name = "echo",
	.begin = begin,
	.body = body,
	.handle = handle,
	.end = end,
};

static int setup(void **state)
{
	struct http_server *s = NULL;
	struct http_config config = { .host = "127.0.0.1", .access_log_fd = -1, .ops = &echo_ops };
	struct adafs_err err = { 0 };
	assert_int_equal(http_server_new(&config, &s, &err), 0);
	assert_int_equal(http_server_start(s, &err), 0);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	http_server_stop(*state, 1000);
	http_server_free(*state);
	return 0;
}

static int dial(struct http_server *s)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_port = htons(http_server_port(s)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval tv = { .tv_sec = 20 };
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Read one response: head and, unless head_only, the body by its Content-Length. */
static void hear(int fd, char *out, size_t size, bool head_only)
{
	size_t n = 0;
	char *body_start = NULL;
	while (!body_start) {
		assert_true(n < size - 1);
		assert_int_equal(read(fd, out + n, 1), 1);
		out[++n] = 0;
		body_start = strstr(out, "\r\n\r\n");
	}
	const char *cl = strcasestr(out, "content-length:");
	size_t len = cl && !head_only ? strtoul(cl + 15, NULL, 10) : 0;
	while (len--) {
		assert_int_equal(read(fd, out + n, 1), 1);
		out[++n] = 0;
	}
}

static void test_target_is_raw(void **state)
{
	char out[2048];
	int fd = dial(*state);
	say(fd, "GET /a%2fb//../c%20d?x=%2B+1&sig=a%2Fb HTTP/1.1\r\nHost: h\r\n\r\n");
	hear(fd, out, sizeof(out), false);
	assert_non_null(strstr(out, "200 OK"));
	assert_string_equal(seen_target, "/a%2fb//../c%20d?x=%2B+1&sig=a%2Fb");
	close(fd);
}

static void test_refusal_keeps_connection(void **state)
{
	char out[2048];
	int fd = dial(*state);
	say(fd, "PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel");
	say(fd, "lo");
	hear(fd, out, sizeof(out), false);
	assert_non_null(strstr(out, " 403 "));
	assert_non_null(strstr(out, "refused"));
	say(fd, "PUT /ok HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
	hear(fd, out, sizeof(out), false);
	assert_non_null(strstr(out, " 200 "));
	assert_string_equal(strstr(out, "\r\n\r\n") + 4, "hello");
	close(fd);
}

static void test_expect_continue(void **state)
{
	char out[2048];
	int fd = dial(*state);
	say(fd, "PUT /ok HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
	hear(fd, out, sizeof(out), true);
	assert_non_null(strstr(out, " 100 "));
	say(fd, "hello");
	hear(fd, out, sizeof(out), false);
	assert_non_null(strstr(out, " 200 "));
	close(fd);
	fd = dial(*state);
	say(fd,
	    "PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
	hear(fd, out, sizeof(out), false);
	assert_non_null(strstr(out, " 403 "));
	close(fd);
}

static void test_chunked_and_caps(void **state)
{
	char out[2048];
	int fd = dial(*state);
	say(fd, "POST /ok HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
		"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
	hear(fd, out, sizeof(out), false);
	assert_string_equal(strstr(out, "\r\n\r\n") + 4, "abcde");
	char big[200];
	memset(big, 'x', 100);
	big[100] = 0;
	say(fd, "POST /ok HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
	say(fd, big);
	hear(fd, out, sizeof(out), false);
	assert_non_null(strstr(out, " 413 "));
	streamed = 0;
	say(fd, "POST /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
	say(fd, big);
	hear(fd, out, sizeof(out), false);
	assert_int_equal(streamed, 100);
	close(fd);
}

static void test_bodies(void **state)
{
	char out[2048];
	int fd = dial(*state);
	say(fd, "GET /file HTTP/1.1\r\nHost: h\r\n\r\n");
	hear(fd, out, sizeof(out), false);
	assert_non_null(strstr(out, " 206 "));
	assert_string_equal(strstr(out, "\r\n\r\n") + 4, "23456");
	say(fd, "GET /segments HTTP/1.1\r\nHost: h\r\n\r\n");
	hear(fd, out, sizeof(out), false);
	assert_string_equal(strstr(out, "\r\n\r\n") + 4, "89012");
	say(fd, "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n");
	hear(fd, out, sizeof(out), true);
	assert_non_null(strcasestr(out, "content-length: 5368709120"));
	say(fd, "GET /file HTTP/1.1\r\nHost: h\r\n\r\n");
	hear(fd, out, sizeof(out), false);
	assert_string_equal(strstr(out, "\r\n\r\n") + 4, "23456");
	close(fd);
}

static double counted(struct http_server *s, const char *operation)
{
	char out[4096];
	int fd = dial(s);
	say(fd, "GET /adafs/counters HTTP/1.1\r\nHost: h\r\n\r\n");
	hear(fd, out, sizeof(out), false);
	close(fd);
	const char *text = strstr(out, "\r\n\r\n") + 4;
	ADAFS_JSON *j = adafs_json_parse(text, strlen(text), NULL);
	assert_non_null(j);
	return (double)adafs_json_int(adafs_json_get(j, "operations"), operation, 0);
}

static void test_counters(void **state)
{
	char out[2048];
	int fd = dial(*state);
	say(fd, "POST /adafs/counters/reset HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
	hear(fd, out, sizeof(out), false);
	assert_non_null(strstr(out, " 204 "));
	for (int i = 0; i < 3; i++) {
		say(fd, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
		hear(fd, out, sizeof(out), false);
	}
	assert_int_equal((int)counted(*state, "Echo"), 3);
	assert_int_equal((int)counted(*state, "Echo"), 3);
	close(fd);
}

static void test_only_loopback(void **state)
{
	(void)state;
	struct http_server *s = NULL;
	struct http_config config = { .host = "0.0.0.0", .access_log_fd = -1, .ops = &echo_ops };
	struct adafs_err err = { 0 };
	assert_int_equal(http_server_new(&config, &s, &err), -EINVAL);
	assert_null(s);
}

static void test_values(void **state)
{
	(void)state;
	struct http_req req;
	assert_int_equal(http_req_init(&req, "GET", "/p?A=1&b=%41+&c&=x&d="), 0);
	assert_string_equal(http_req_param(&req, "a"), "1");
	assert_string_equal(http_req_param(&req, "B"), "A+");
	assert_string_equal(http_req_param(&req, "c"), "");
	assert_string_equal(http_req_param(&req, "d"), "");
	assert_null(http_req_param(&req, "e"));
	assert_int_equal(http_req_add_header(&req, "X-Y", "  v \t"), 0);
	assert_string_equal(http_req_header(&req, "x-y"), "v");
	http_req_clear(&req);
	assert_int_equal(http_req_init(&req, "GET", "/p?a=%4"), -EINVAL);
	http_req_clear(&req);

	char *args[HTTP_PATH_ARGS];
	assert_int_equal(http_path_match("/jobs/{}/tasks/{}", "/jobs/a%20b/tasks/1/", args), 1);
	assert_string_equal(args[0], "a b");
	assert_string_equal(args[1], "1");
	http_path_args_clear(args);
	assert_int_equal(http_path_match("/files/{*}", "/files/wd/a%2Fb", args), 1);
	assert_string_equal(args[0], "wd/a/b");
	http_path_args_clear(args);
	assert_int_equal(http_path_match("/jobs/{}", "/jobs/", args), 0);
	assert_int_equal(http_path_match("/jobs", "/jobsx", args), 0);

	struct http_resp resp;
	http_resp_init(&resp);
	assert_int_equal(http_resp_header(&resp, "A", "x\r\ny"), -EINVAL);
	assert_int_equal(http_resp_headerf(&resp, "A", "%d", 5), 0);
	assert_string_equal(http_resp_get_header(&resp, "a"), "5");
	http_resp_clear(&resp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_target_is_raw, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusal_keeps_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_expect_continue, setup, teardown),
		cmocka_unit_test_setup_teardown(test_chunked_and_caps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bodies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counters, setup, teardown),
		cmocka_unit_test(test_only_loopback),
		cmocka_unit_test(test_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
