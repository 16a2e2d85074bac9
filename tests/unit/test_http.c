/* The HTTP loop against a scripted server: throttling, silence, loss. */
#include <time.h>

#include "batch/base/clock.h"
#include "http_fixture.h"

/* --- plain transport ------------------------------------------------------------------------ */

static void test_get_and_keep_alive(void **state)
{
	(void)state;
	BEGIN(f, { REPLY, OK_HELLO });
	for (int i = 0; i < 3; i++) {
		struct adafs_http_response r = { 0 };
		assert_int_equal(
			adafs_http_perform(f.http, request(&f, "GET", "/a/../b?x=%2F"), &r, NULL),
			0);
		assert_int_equal(r.status, 200);
		assert_string_equal(r.body.data, "hello");
		adafs_http_response_clear(&r);
	}
	assert_int_equal(f.server.connections, 1);
	assert_ptr_equal(strstr(f.server.seen[0].head, "GET /a/../b?x=%2F HTTP/1.1"),
			 f.server.seen[0].head);
	assert_header(&f, 0, "Accept-Encoding", NULL);
	assert_header(&f, 0, "Expect", NULL);
	struct adafs_http_stats s;
	adafs_http_get_stats(f.http, &s);
	assert_int_equal(s.requests, 3);
	assert_int_equal(s.bytes_in, 15);
	end(&f);
}

static void test_bodies(void **state)
{
	(void)state;
	BEGIN(f, { REPLY, OK_EMPTY });
	static const char *const methods[] = { "PUT", "POST", "PATCH" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(methods); i++)
		assert_int_equal(
			adafs_http_perform(f.http, request(&f, methods[i], "/"), NULL, NULL), 0);
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(methods); i++) {
		assert_header(&f, i, "Content-Length", "0");
		assert_header(&f, i, "Content-Type", NULL);
		assert_header(&f, i, "Transfer-Encoding", NULL);
		assert_memory_equal(f.server.seen[i].head, methods[i], strlen(methods[i]));
	}
	/* A large body out of a range of a file, without waiting for a 100 Continue. */
	size_t len = 3 * 1024 * 1024 + 7;
	char *data = malloc(len), path[] = "/tmp/adafs-test-http-XXXXXX";
	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i * 31 >> 3);
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	struct adafs_http_request *rq = request(&f, "PUT", "/file");
	rq->body_fd = fd;
	rq->body_off = 5;
	rq->body_len = len - 5;
	assert_int_equal(adafs_http_perform(f.http, rq, NULL, NULL), 0);
	assert_header(&f, 3, "Expect", NULL);
	assert_int_equal(f.server.seen[3].body_len, len - 5);
	assert_memory_equal(f.server.seen[3].body, data + 5, len - 5);
	close(fd);
	free(data);
	end(&f);
}

static void test_caps(void **state)
{
	(void)state;
	BEGIN(f, { REPLY, OK_HELLO });
	char small[4];
	struct adafs_err err;
	struct adafs_http_request *rq = request(&f, "GET", "/");
	rq->sink = small;
	rq->sink_size = sizeof(small);
	assert_int_equal(adafs_http_perform(f.http, rq, NULL, &err), -EPROTO);
	rq = request(&f, "GET", "/");
	rq->max_body = 4;
	assert_int_equal(adafs_http_perform(f.http, rq, NULL, &err), -EFBIG);
	assert_int_equal(adafs_http_perform(f.http,
					    adafs_http_request_new("GET", strdup("ftp://x/")), NULL,
					    &err),
			 -EINVAL);
	assert_int_equal(adafs_http_perform(f.http, NULL, NULL, &err), -ENOMEM);
	assert_int_equal(retries(&f), 0);
	end(&f);
}

static void test_header_injection(void **state)
{
	(void)state;
	struct adafs_http_headers h = { 0 };
	assert_int_equal(adafs_http_headers_set(&h, "a", "b\r\nc: d"), -EINVAL);
	assert_int_equal(adafs_http_headers_set(&h, "a\n", "b"), -EINVAL);
	assert_int_equal(adafs_http_headers_set(&h, "A", "1"), 0);
	assert_int_equal(adafs_http_headers_set(&h, "a", "2"), 0);
	assert_int_equal(h.n, 1);
	assert_string_equal(adafs_http_headers_get(&h, "A"), "2");
	adafs_http_headers_clear(&h);
}

static void test_not_modified(void **state)
{
	(void)state;
	BEGIN(f, { REPLY, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n" });
	struct adafs_http_response r = { 0 };
	struct adafs_http_request *rq = request(&f, "GET", "/");
	adafs_http_headers_set(&rq->headers, "If-None-Match", "\"x\"");
	assert_int_equal(adafs_http_perform(f.http, rq, &r, NULL), 0);
	assert_int_equal(r.status, 304);
	adafs_http_response_clear(&r);
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, NULL), -EIO);
	end(&f);
}

/* --- errors and retries ------------------------------------------------------------------- */

static void test_error_body(void **state)
{
	(void)state;
	static const char body[] =
		"\xef\xbb\xbf<?xml version=\"1.0\"?><Error><Code>BlobNotFound</Code><Message>The "
		"blob "
		"sig=abcdefghijkl is not there.\nRequestId:id-1</Message></Error>\n";
	ADAFS_FREE char *reply = adafs_fmt(
		"HTTP/1.1 404 Not Found\r\nx-ms-request-id: id-1\r\nContent-Length: %zu\r\n\r\n%s",
		sizeof(body) - 1, body);
	const struct step steps[] = { { REPLY, reply } };
	struct fixture f;
	begin_with(&f, steps, 1, 8000, 0);
	struct adafs_err err;
	char *text;
	assert_int_equal(adafs_blob_get_text(f.blob, "c", "n", 4, &text, NULL, NULL, &err),
			 -ENOENT);
	assert_int_equal(err.http_status, 404);
	assert_string_equal(err.service_code, "BlobNotFound");
	assert_string_equal(err.request_id, "id-1");
	assert_string_equal(
		err.msg, "Get Blob '/acct/c/n' with the key of 'acct': 404 BlobNotFound: the blob "
			 "does not exist; look whether somebody deleted or renamed it");
	assert_false(err.retryable || err.outcome_unknown);
	assert_int_equal(retries(&f), 0);
	end(&f);
}

static void test_throttle(void **state)
{
	(void)state;
	BEGIN(f, { REPLY, BUSY }, { REPLY, BUSY }, { REPLY, CREATED });
	const struct adafs_blob_source src = { .data = "hello", .len = 5 };
	char etag[ADAFS_ETAG_LEN], a[256], b[256];
	assert_int_equal(adafs_blob_put(f.blob, "c", "a b+/ü", &src, NULL, etag, NULL), 0);
	assert_string_equal(etag, "0x8D1");
	assert_int_equal(f.server.n_seen, 3);
	assert_int_equal(retries(&f), 2);
	for (size_t i = 0; i < 3; i++) {
		assert_ptr_equal(
			strstr(f.server.seen[i].head, "PUT /acct/c/a%20b%2B/%C3%BC HTTP/1.1"),
			f.server.seen[i].head);
		assert_header(&f, i, "x-ms-content-crc64", "V0JSBnCFdzM=");
		assert_header(&f, i, "x-ms-blob-type", "BlockBlob");
		assert_string_equal(f.server.seen[i].body, "hello");
		assert_non_null(seen_header(&f.server.seen[i], "Authorization", a));
	}
	seen_header(&f.server.seen[0], "x-ms-client-request-id", a);
	seen_header(&f.server.seen[1], "x-ms-client-request-id", b);
	assert_string_not_equal(a, b);
	end(&f);
}

static void test_attempts_end(void **state)
{
	(void)state;
	BEGIN(f, { REPLY, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n" });
	struct adafs_err err;
	struct adafs_http_request *rq = request(&f, "PUT", "/");
	rq->no_retry = true;
	assert_int_equal(adafs_http_perform(f.http, rq, NULL, &err), -EIO);
	assert_true(err.outcome_unknown && err.retryable);
	assert_int_equal(f.server.n_seen, 1);
	end(&f);
}

static void test_retry_after(void **state)
{
	(void)state;
	BEGIN(f, { REPLY, "HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n" },
	      { REPLY,
		"HTTP/1.1 503 Slow\r\nx-ms-retry-after-ms: 600\r\nContent-Length: 0\r\n\r\n" },
	      { REPLY, OK_EMPTY });
	uint64_t start = adafs_clock_mono_ms();
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, NULL), 0);
	assert_true(adafs_clock_mono_ms() - start >= 1600);
	end(&f);
}

static void test_retry_after_beyond_budget(void **state)
{
	(void)state;
	static const struct step steps[] = {
		{ REPLY, "HTTP/1.1 503 Slow\r\nRetry-After: 3000\r\nContent-Length: 0\r\n\r\n" }
	};
	struct fixture f;
	begin_with(&f, steps, 1, 2000, 0);
	struct adafs_err err;
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, &err), -EAGAIN);
	assert_int_equal(err.retry_after_ms, 60000);
	assert_int_equal(f.server.n_seen, 1);
	end(&f);
}

static void test_cut_body(void **state)
{
	(void)state;
	BEGIN(f, { REPLY_CLOSE, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel" },
	      { REPLY, OK_HELLO });
	char *text;
	size_t len;
	assert_int_equal(adafs_blob_get_text(f.blob, "c", "n", 100, &text, &len, NULL, NULL), 0);
	assert_int_equal(len, 5);
	assert_string_equal(text, "hello");
	free(text);
	assert_int_equal(retries(&f), 1);
	end(&f);
}

static void test_reset(void **state)
{
	(void)state;
	BEGIN(f, { RESET, NULL }, { LOSE, NULL }, { REPLY, OK_HELLO });
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, NULL), 0);
	end(&f);
}

static void test_nobody_listens(void **state)
{
	(void)state;
	BEGIN(f, { REPLY, OK_EMPTY });
	struct adafs_err err;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM,
			0); /* bound, not listening: nobody else gets the port */
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	for (int i = 0; i < 2; i++) {
		struct adafs_http_request *rq = adafs_http_request_new(
			"PUT", adafs_fmt("http://127.0.0.1:%d/", ntohs(a.sin_port)));
		rq->io_timeout_ms = 500;
		rq->no_retry = i == 0;
		uint64_t start = adafs_clock_mono_ms();
		assert_int_equal(adafs_http_perform(f.http, rq, NULL, &err), -EHOSTUNREACH);
		assert_false(err.outcome_unknown);
		assert_true(adafs_clock_mono_ms() - start < 1500);
	}
	ADAFS_FREE char *url = adafs_fmt("http://127.0.0.1:%d/", ntohs(a.sin_port));
	assert_true(adafs_http_is_down(f.http, url));
	assert_false(adafs_http_is_down(f.http, f.server.url));
	close(fd);
	end(&f);
}

/* What does not resolve (".invalid" never does) says so, and leaves nothing behind that fails the
 * next request. */
static void test_unknown_host(void **state)
{
	(void)state;
	BEGIN(f, { REPLY, OK_HELLO });
	struct adafs_err err;
	struct adafs_http_request *rq =
		adafs_http_request_new("GET", strdup("http://adafs.invalid/"));
	rq->no_retry = true;
	assert_int_equal(adafs_http_perform(f.http, rq, NULL, &err), -EHOSTUNREACH);
	assert_non_null(strstr(err.msg, "adafs.invalid"));
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, &err), 0);
	end(&f);
}

/* --- time -------------------------------------------------------------------------------- */

static void await_up(struct fixture *f)
{
	uint64_t deadline = adafs_clock_mono_ms() + 20000;
	while (adafs_http_is_down(f->http, f->server.url) && adafs_clock_mono_ms() < deadline)
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	assert_false(adafs_http_is_down(f->http, f->server.url));
}

static void test_hang_and_recovery(void **state)
{
	(void)state;
	static const struct step hang[] = { { HANG, NULL } }, well[] = { { REPLY, OK_HELLO } };
	struct fixture f;
	struct adafs_err err;
	begin_with(&f, hang, 1, 400, 0);
	f.server.heads_apart = true;
	uint64_t start = adafs_clock_mono_ms();
	const struct adafs_blob_source src = { .data = "hello", .len = 5 };
	assert_int_equal(adafs_blob_put(f.blob, "c", "n", &src, NULL, NULL, &err), -ETIMEDOUT);
	uint64_t took = adafs_clock_mono_ms() - start;
	assert_in_range(took, 400, 1400);
	assert_true(err.outcome_unknown);
	assert_true(adafs_http_is_down(f.http, f.server.url));
	start = adafs_clock_mono_ms();
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, &err),
			 -EHOSTDOWN);
	assert_true(err.retryable && !err.outcome_unknown);
	assert_true(adafs_clock_mono_ms() - start < 400);
	server_script(&f.server, well, 1);
	pthread_mutex_lock(&f.server.lock);
	f.server.probes_answered = true;
	pthread_mutex_unlock(&f.server.lock);
	await_up(&f);
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, &err), 0);
	end(&f);
}

static void test_slow_is_not_late(void **state)
{
	(void)state;
	static const struct step steps[] = { { TRICKLE, OK_HELLO } };
	struct fixture f;
	begin_with(&f, steps, 1, 500, 0);
	uint64_t start = adafs_clock_mono_ms();
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, NULL), 0);
	assert_true(adafs_clock_mono_ms() - start > 750); /* 43 bytes, 25 ms each */
	end(&f);
}

/* The tail of an upload sits in the socket's buffer, where only its shrinking shows progress. */
static void test_slow_upload_is_not_late(void **state)
{
	(void)state;
	static const struct step steps[] = { { REPLY, CREATED } };
	struct fixture f;
	begin_with(&f, steps, 1, 600, 0);
	f.server.slow_reader = true;
	assert_int_equal(
		setsockopt(f.server.listener, SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int)),
		0);
	size_t len = 512 * 1024;
	char *data = calloc(1, len);
	const struct adafs_blob_source src = { .data = data, .len = len };
	uint64_t start = adafs_clock_mono_ms();
	assert_int_equal(adafs_blob_put(f.blob, "c", "n", &src, NULL, NULL, NULL), 0);
	assert_true(adafs_clock_mono_ms() - start > 1200); /* 128 pieces, 20 ms each */
	assert_int_equal(f.server.n_seen, 1);
	free(data);
	end(&f);
}

static void test_hang_amid_body(void **state)
{
	(void)state;
	static const struct step steps[] = {
		{ REPLY, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello" }
	};
	struct fixture f;
	struct adafs_err err;
	begin_with(&f, steps, 1, 400, 0);
	f.server.heads_apart = true;
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, &err),
			 -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "no byte moved for 400 ms"));
	end(&f);
}

struct cancelled {
	pthread_mutex_t lock;
	int calls, rc;
};

static void on_cancelled(void *arg, struct adafs_http_response *r, const struct adafs_err *err)
{
	struct cancelled *c = arg;
	(void)r;
	pthread_mutex_lock(&c->lock);
	c->calls++;
	c->rc = err->rc;
	pthread_mutex_unlock(&c->lock);
}

static void test_stop_cancels(void **state)
{
	(void)state;
	BEGIN(f, { HANG, NULL });
	struct cancelled c = { .lock = PTHREAD_MUTEX_INITIALIZER };
	for (int i = 0; i < 5; i++)
		adafs_http_send(f.http, request(&f, "GET", "/"), on_cancelled, &c);
	adafs_http_stop(f.http);
	assert_int_equal(c.calls, 5);
	assert_int_equal(c.rc, -ECANCELED);
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, NULL),
			 -ECANCELED);
	adafs_http_free(NULL);
	adafs_http_stop(NULL);
	adafs_blob_client_free(NULL);
	end(&f);
}

struct burst {
	struct fixture *f;
	int failures;
};

static void *burst_thread(void *arg)
{
	struct burst *b = arg;
	for (int i = 0; i < 20; i++)
		b->failures +=
			adafs_http_perform(b->f->http, request(b->f, "GET", "/"), NULL, NULL) != 0;
	return NULL;
}

static void test_bounded_concurrency(void **state)
{
	(void)state;
	static const struct step steps[] = { { REPLY, OK_HELLO } };
	struct fixture f;
	begin_with(&f, steps, 1, 8000, 2);
	pthread_t threads[4];
	struct burst bursts[4];
	for (int i = 0; i < 4; i++) {
		bursts[i] = (struct burst){ .f = &f };
		pthread_create(&threads[i], NULL, burst_thread, &bursts[i]);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(bursts[i].failures, 0);
	}
	assert_int_equal(f.server.n_seen, 80);
	assert_true(f.server.connections <= 2);
	assert_true(f.server.max_active <= 2);
	end(&f);
}

/* --- lost replies --------------------------------------------------------------------------- */

#define EXISTS \
	"HTTP/1.1 409 Conflict\r\nx-ms-error-code: BlobAlreadyExists\r\nContent-Length: 0\r\n\r\n"

static int put_new(struct fixture *f, struct adafs_err *err)
{
	const struct adafs_blob_source src = { .data = "hello", .len = 5 };
	const struct adafs_blob_put put = { .cond.if_none_match = "*" };
	return adafs_blob_put(f->blob, "c", "n", &src, &put, NULL, err);
}

static void test_lost_reply(void **state)
{
	(void)state;
	BEGIN(f, { LOSE, NULL }, { REPLY, EXISTS });
	struct adafs_err err;
	assert_int_equal(put_new(&f, &err), -EEXIST);
	assert_true(err.outcome_unknown);
	/* Without a loss the same refusal is certain. */
	assert_int_equal(put_new(&f, &err), -EEXIST);
	assert_false(err.outcome_unknown);
	assert_header(&f, 0, "If-None-Match", "*");
	end(&f);
}

/* curl repeats by itself what it lost on a connection that it had kept: that counts as well. */
static void test_lost_reply_on_kept_connection(void **state)
{
	(void)state;
	BEGIN(f, { REPLY, OK_EMPTY }, { LOSE, NULL }, { REPLY, EXISTS });
	struct adafs_err err;
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, NULL), 0);
	assert_int_equal(put_new(&f, &err), -EEXIST);
	assert_true(err.outcome_unknown);
	assert_int_equal(f.server.n_seen, 3);
	assert_string_equal(f.server.seen[2].body, "hello");
	end(&f);
}

static void test_lost_delete(void **state)
{
	(void)state;
	BEGIN(f, { LOSE, NULL },
	      { REPLY,
		"HTTP/1.1 404 Gone\r\nx-ms-error-code: BlobNotFound\r\nContent-Length: 0\r\n\r\n" });
	struct adafs_err err;
	assert_int_equal(adafs_blob_delete(f.blob, "c", "n", true, NULL, &err), 0);
	assert_int_equal(adafs_blob_delete(f.blob, "c", "n", true, NULL, &err), -ENOENT);
	assert_header(&f, 0, "x-ms-delete-snapshots", "include");
	end(&f);
}

/* --- signatures ----------------------------------------------------------------------------- */

static void test_clock_skew(void **state)
{
	(void)state;
	char date[ADAFS_RFC1123_LEN], text[256];
	time_t theirs = time(NULL) + 7200;
	adafs_clock_rfc1123(theirs, date);
	ADAFS_FREE char *refusal =
		adafs_fmt("HTTP/1.1 403 Forbidden\r\nDate: %s\r\nx-ms-error-code: "
			  "AuthenticationFailed\r\nContent-Length: 0\r\n\r\n",
			  date);
	const struct step steps[] = { { REPLY, refusal }, { REPLY, CREATED }, { REPLY, refusal } };
	struct fixture f;
	struct adafs_err err;
	begin_with(&f, steps, 3, 8000, 0);
	assert_int_equal(put_new(&f, &err), 0);
	assert_non_null(seen_header(&f.server.seen[1], "x-ms-date", text));
	time_t sent;
	assert_int_equal(adafs_clock_parse_rfc1123(text, &sent), 0);
	assert_in_range(sent, theirs - 5, theirs + 60);
	/* The clock is right by now: a further refusal is final, and tells no secret. */
	assert_int_equal(put_new(&f, &err), -EACCES);
	assert_int_equal(f.server.n_seen, 3);
	assert_null(strstr(err.msg, "SharedKey"));
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get_and_keep_alive),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_header_injection),
		cmocka_unit_test(test_not_modified),
		cmocka_unit_test(test_error_body),
		cmocka_unit_test(test_throttle),
		cmocka_unit_test(test_attempts_end),
		cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_retry_after_beyond_budget),
		cmocka_unit_test(test_cut_body),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_unknown_host),
		cmocka_unit_test(test_hang_and_recovery),
		cmocka_unit_test(test_slow_is_not_late),
		cmocka_unit_test(test_slow_upload_is_not_late),
		cmocka_unit_test(test_hang_amid_body),
		cmocka_unit_test(test_stop_cancels),
		cmocka_unit_test(test_bounded_concurrency),
		cmocka_unit_test(test_lost_reply),
		cmocka_unit_test(test_lost_reply_on_kept_connection),
		cmocka_unit_test(test_lost_delete),
		cmocka_unit_test(test_clock_skew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
