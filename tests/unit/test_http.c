/* The HTTP loop and the Blob client against a scripted server: throttling, damage, silence, loss.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <time.h>

#include "batch/azure/blob.h"
#include "batch/azure/http.h"
#include "batch/base/clock.h"
#include "batch/base/digest.h"
#include "scripted_server.h"

#define KEY \
	"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define OK_HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define CREATED "HTTP/1.1 201 Created\r\nETag: \"0x8D1\"\r\nContent-Length: 0\r\n\r\n"
#define BUSY "HTTP/1.1 503 Busy\r\nx-ms-error-code: ServerBusy\r\nContent-Length: 0\r\n\r\n"
#define RANGE_HEAD                                                                          \
	"HTTP/1.1 206 Partial\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/5\r\nETag: " \
	"\"0x8D1\"\r\n"
#define RANGE_GOOD RANGE_HEAD "x-ms-content-crc64: V0JSBnCFdzM=\r\n\r\nhello"
#define RANGE_BAD RANGE_HEAD "x-ms-content-crc64: V0JSBnCFdzM=\r\n\r\nhellO"

struct fixture {
	struct server server;
	struct adafs_http *http;
	struct adafs_storage_account account;
	struct adafs_blob_client *blob;
};

static void begin_with(struct fixture *f, const struct step *steps, size_t n,
		       uint32_t io_timeout_ms, uint32_t connections)
{
	const struct adafs_http_config config = {.io_timeout_ms = io_timeout_ms,
						 .max_connections_per_host = connections};
	char endpoint[128];
	*f = (struct fixture){0};
	server_start(&f->server, steps, n);
	f->http = adafs_http_new(&config, NULL);
	assert_non_null(f->http);
	assert_int_equal(adafs_http_start(f->http, NULL), 0);
	snprintf(endpoint, sizeof(endpoint), "%s/acct", f->server.url);
	assert_int_equal(adafs_storage_account_set(&f->account, "acct", endpoint, KEY, NULL, NULL),
			 0);
	f->blob = adafs_blob_client_new(f->http, &f->account, NULL);
	assert_non_null(f->blob);
}

#define BEGIN(f, ...)                                      \
	static const struct step steps_[] = {__VA_ARGS__}; \
	struct fixture f;                                  \
	begin_with(&f, steps_, ADAFS_ARRAY_SIZE(steps_), 8000, 0)

static void end(struct fixture *f)
{
	adafs_http_stop(f->http);
	adafs_http_stop(f->http);
	adafs_blob_client_free(f->blob);
	adafs_http_free(f->http);
	adafs_storage_account_clear(&f->account);
	server_stop(&f->server);
}

static struct adafs_http_request *request(const struct fixture *f, const char *method,
					  const char *path)
{
	struct adafs_http_request *rq =
		adafs_http_request_new(method, adafs_fmt("%s%s", f->server.url, path));
	assert_non_null(rq);
	rq->operation = "Test";
	return rq;
}

static uint64_t retries(const struct fixture *f)
{
	struct adafs_http_stats s;
	adafs_http_get_stats(f->http, &s);
	return s.retries;
}

static void assert_header(const struct fixture *f, size_t i, const char *name, const char *value)
{
	char text[256];
	assert_true(i < f->server.n_seen);
	const char *found = seen_header(&f->server.seen[i], name, text);
	if (!value)
		assert_null(found);
	else
		assert_string_equal(found ? found : "(absent)", value);
}

/* --- plain transport ------------------------------------------------------------------------ */

static void test_get_and_keep_alive(void **state)
{
	(void)state;
	BEGIN(f, {REPLY, OK_HELLO});
	for (int i = 0; i < 3; i++) {
		struct adafs_http_response r = {0};
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
	BEGIN(f, {REPLY, OK_EMPTY});
	static const char *const methods[] = {"PUT", "POST", "PATCH"};
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
	BEGIN(f, {REPLY, OK_HELLO});
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
	struct adafs_http_headers h = {0};
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
	BEGIN(f, {REPLY, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"});
	struct adafs_http_response r = {0};
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
	const struct step steps[] = {{REPLY, reply}};
	struct fixture f;
	begin_with(&f, steps, 1, 8000, 0);
	struct adafs_err err;
	char *text;
	assert_int_equal(adafs_blob_get_text(f.blob, "c", "n", 4, &text, NULL, NULL, &err),
			 -ENOENT);
	assert_int_equal(err.http_status, 404);
	assert_string_equal(err.service_code, "BlobNotFound");
	assert_string_equal(err.request_id, "id-1");
	assert_string_equal(err.msg,
			    "Get Blob '/acct/c/n' with the key of 'acct': 404 BlobNotFound: the blob "
			    "does not exist; look whether somebody deleted or renamed it");
	assert_false(err.retryable || err.outcome_unknown);
	assert_int_equal(retries(&f), 0);
	end(&f);
}

static void test_throttle(void **state)
{
	(void)state;
	BEGIN(f, {REPLY, BUSY}, {REPLY, BUSY}, {REPLY, CREATED});
	const struct adafs_blob_source src = {.data = "hello", .len = 5};
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
	BEGIN(f, {REPLY, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"});
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
	BEGIN(f, {REPLY, "HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"},
	      {REPLY, "HTTP/1.1 503 Slow\r\nx-ms-retry-after-ms: 600\r\nContent-Length: 0\r\n\r\n"},
	      {REPLY, OK_EMPTY});
	uint64_t start = adafs_clock_mono_ms();
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, NULL), 0);
	assert_true(adafs_clock_mono_ms() - start >= 1600);
	end(&f);
}

static void test_retry_after_beyond_budget(void **state)
{
	(void)state;
	static const struct step steps[] = {
		{REPLY, "HTTP/1.1 503 Slow\r\nRetry-After: 3000\r\nContent-Length: 0\r\n\r\n"}};
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
	BEGIN(f, {REPLY_CLOSE, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"},
	      {REPLY, OK_HELLO});
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
	BEGIN(f, {RESET, NULL}, {LOSE, NULL}, {REPLY, OK_HELLO});
	assert_int_equal(adafs_http_perform(f.http, request(&f, "GET", "/"), NULL, NULL), 0);
	end(&f);
}

static void test_nobody_listens(void **state)
{
	(void)state;
	BEGIN(f, {REPLY, OK_EMPTY});
	struct adafs_err err;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
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

/* What does not resolve (".invalid" never does) says so, and leaves nothing behind that fails the next request. */
static void test_unknown_host(void **state)
{
	(void)state;
	BEGIN(f, {REPLY, OK_HELLO});
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
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	assert_false(adafs_http_is_down(f->http, f->server.url));
}

static void test_hang_and_recovery(void **state)
{
	(void)state;
	static const struct step hang[] = {{HANG, NULL}}, well[] = {{REPLY, OK_HELLO}};
	struct fixture f;
	struct adafs_err err;
	begin_with(&f, hang, 1, 400, 0);
	f.server.heads_apart = true;
	uint64_t start = adafs_clock_mono_ms();
	const struct adafs_blob_source src = {.data = "hello", .len = 5};
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
	static const struct step steps[] = {{TRICKLE, OK_HELLO}};
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
	static const struct step steps[] = {{REPLY, CREATED}};
	struct fixture f;
	begin_with(&f, steps, 1, 600, 0);
	f.server.slow_reader = true;
	assert_int_equal(
		setsockopt(f.server.listener, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int)), 0);
	size_t len = 512 * 1024;
	char *data = calloc(1, len);
	const struct adafs_blob_source src = {.data = data, .len = len};
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
		{REPLY, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"}};
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
	BEGIN(f, {HANG, NULL});
	struct cancelled c = {.lock = PTHREAD_MUTEX_INITIALIZER};
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
	static const struct step steps[] = {{REPLY, OK_HELLO}};
	struct fixture f;
	begin_with(&f, steps, 1, 8000, 2);
	pthread_t threads[4];
	struct burst bursts[4];
	for (int i = 0; i < 4; i++) {
		bursts[i] = (struct burst){.f = &f};
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
	const struct adafs_blob_source src = {.data = "hello", .len = 5};
	const struct adafs_blob_put put = {.cond.if_none_match = "*"};
	return adafs_blob_put(f->blob, "c", "n", &src, &put, NULL, err);
}

static void test_lost_reply(void **state)
{
	(void)state;
	BEGIN(f, {LOSE, NULL}, {REPLY, EXISTS});
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
	BEGIN(f, {REPLY, OK_EMPTY}, {LOSE, NULL}, {REPLY, EXISTS});
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
	BEGIN(f, {LOSE, NULL},
	      {REPLY,
	       "HTTP/1.1 404 Gone\r\nx-ms-error-code: BlobNotFound\r\nContent-Length: 0\r\n\r\n"});
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
	const struct step steps[] = {{REPLY, refusal}, {REPLY, CREATED}, {REPLY, refusal}};
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

static void test_sas_reader(void **state)
{
	(void)state;
	BEGIN(f, {REPLY, RANGE_GOOD});
	struct adafs_blob_client *reader = adafs_blob_client_new_sas_reader(f.blob, NULL);
	char buf[5];
	size_t len;
	assert_int_equal(adafs_blob_get(reader, "c", "n", NULL, 0, 5, "0x8D1", buf, 5, &len, NULL),
			 0);
	assert_int_equal(adafs_blob_get(reader, "c", "m", NULL, 0, 5, NULL, buf, 5, &len, NULL), 0);
	assert_header(&f, 0, "Authorization", NULL);
	assert_header(&f, 0, "If-Match", "\"0x8D1\"");
	const char *sas = strstr(f.server.seen[0].head, "?sv=");
	assert_non_null(sas);
	assert_non_null(strstr(sas, "&sr=c&sp=rl&sig="));
	/* Made once, used for both. */
	size_t n = strcspn(sas, " ");
	assert_memory_equal(sas, strstr(f.server.seen[1].head, "?sv="), n);
	adafs_blob_client_free(reader);
	end(&f);
}

/* --- checksums ------------------------------------------------------------------------------ */

static void test_range_checksum(void **state)
{
	(void)state;
	BEGIN(f, {REPLY, RANGE_BAD}, {REPLY, RANGE_GOOD}, {REPLY, RANGE_BAD});
	char buf[8];
	size_t len;
	struct adafs_err err;
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", "2026-01-01T00:00:00.0000000Z", 0, 8,
					NULL, buf, 8, &len, NULL),
			 0);
	assert_int_equal(len, 5);
	assert_memory_equal(buf, "hello", 5);
	assert_header(&f, 0, "x-ms-range", "bytes=0-7");
	assert_header(&f, 0, "x-ms-range-get-content-crc64", "true");
	assert_non_null(
		strstr(f.server.seen[0].head, "?snapshot=2026-01-01T00%3A00%3A00.0000000Z "));
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 0, 8, NULL, buf, 8, &len, &err),
			 -EIO);
	assert_int_equal(f.server.n_seen, 4);
	end(&f);
}

static void test_range_ends(void **state)
{
	(void)state;
	BEGIN(f,
	      {REPLY,
	       "HTTP/1.1 416 Range\r\nx-ms-error-code: InvalidRange\r\nContent-Length: 0\r\n\r\n"},
	      {REPLY,
	       "HTTP/1.1 206 P\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/90\r\n\r\nhello"});
	char buf[8];
	size_t len = 9;
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 100, 8, NULL, buf, 8, &len, NULL),
			 0);
	assert_int_equal(len, 0);
	/* Fewer bytes than asked for although the blob goes on, and another range than asked for.
	 */
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 0, 8, NULL, buf, 8, &len, NULL),
			 -EPROTO);
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 10, 5, NULL, buf, 8, &len, NULL),
			 -EPROTO);
	end(&f);
}

static void test_whole(void **state)
{
	(void)state;
	BEGIN(f,
	      {REPLY, "HTTP/1.1 200 OK\r\nContent-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\nContent-Length: "
		      "5\r\n\r\nhellO"},
	      {REPLY, "HTTP/1.1 200 OK\r\nContent-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\nContent-Length: "
		      "5\r\n\r\nhello"});
	char buf[8];
	size_t len;
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 0, 0, NULL, buf, 8, &len, NULL), 0);
	assert_int_equal(len, 5);
	assert_int_equal(f.server.n_seen, 2);
	assert_header(&f, 0, "x-ms-range", NULL);
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 0, 0, NULL, buf, 4, &len, NULL),
			 -EFBIG);
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 0, 9, NULL, buf, 8, &len, NULL),
			 -EINVAL);
	end(&f);
}

static void test_upload_damaged(void **state)
{
	(void)state;
	static const char bad[] =
		"HTTP/1.1 400 Bad\r\nx-ms-error-code: Crc64Mismatch\r\nContent-Length: 0\r\n\r\n";
	BEGIN(f, {REPLY, bad}, {REPLY, CREATED}, {REPLY, bad});
	const struct adafs_blob_source src = {.data = "hello", .len = 5};
	assert_int_equal(adafs_blob_put_block(f.blob, "c", "n", "block/1+", &src, NULL), 0);
	assert_int_equal(f.server.n_seen, 2);
	assert_non_null(strstr(f.server.seen[0].head, "?comp=block&blockid=YmxvY2svMSs%3D "));
	assert_int_equal(adafs_blob_put_block(f.blob, "c", "n", "block/1+", &src, NULL), -EIO);
	assert_int_equal(f.server.n_seen, 4);
	end(&f);
}

/* --- listing, copy, properties ---------------------------------------------------------------- */

struct listed {
	char text[512];
};

static int on_listed(void *arg, const char *name, const struct adafs_blob_props *p)
{
	struct listed *l = arg;
	size_t n = strlen(l->text);
	if (p)
		snprintf(l->text + n, sizeof(l->text) - n, "%s=%lld,%s,%s;", name,
			 (long long)p->size, p->etag,
			 adafs_blob_meta_get(&p->meta, "NONCE")
				 ? adafs_blob_meta_get(&p->meta, "NONCE")
				 : "-");
	else
		snprintf(l->text + n, sizeof(l->text) - n, "%s;", name);
	return strcmp(name, "stop") == 0 ? -EINTR : 0;
}

static char *page(const char *blobs, const char *marker)
{
	ADAFS_FREE char *body = adafs_fmt(
		"<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Prefix>p"
		"</Prefix><Blobs>%s</Blobs><NextMarker>%s</NextMarker></EnumerationResults>",
		blobs, marker);
	return adafs_fmt("HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
}

static void test_list(void **state)
{
	(void)state;
	ADAFS_FREE char *first =
		page("<Blob><Name>a &amp; "
		     "b</Name><Unknown><Name>x</Name></Unknown><Properties><Content-Length>5</"
		     "Content-Length>"
		     "<Etag>0x1</Etag></Properties><Metadata><nonce>n1</nonce></Metadata></Blob>"
		     "<BlobPrefix><Name>d/</Name></BlobPrefix>",
		     "m &amp;1");
	ADAFS_FREE char *empty = page("", "m2");
	ADAFS_FREE char *last = page(
		"<BlobPrefix><Name>d/</Name></BlobPrefix>"
		"<Blob><Name "
		"Encoded=\"true\">e%01%2Ff</Name><Properties><Content-Length>0</Content-Length>"
		"<Etag>\"0x2\"</Etag></Properties></Blob>",
		"");
	const struct step steps[] = {{REPLY, first}, {REPLY, empty}, {REPLY, last}};
	struct fixture f;
	struct listed l = {0};
	begin_with(&f, steps, 3, 8000, 0);
	assert_int_equal(
		adafs_blob_list(f.blob, "c", "p q/", "/", ADAFS_LIST_META, on_listed, &l, NULL), 0);
	assert_string_equal(l.text, "a & b=5,0x1,n1;d/;e\001/f=0,0x2,-;");
	assert_non_null(strstr(f.server.seen[0].head,
			       "GET /acct/c?restype=container&comp=list&maxresults=5000&"
			       "prefix=p%20q%2F&delimiter=%2F&include=metadata HTTP"));
	assert_non_null(strstr(f.server.seen[1].head, "&marker=m%20%261 "));
	assert_int_equal(f.server.n_seen, 3);
	end(&f);
}

static void test_list_stops(void **state)
{
	(void)state;
	ADAFS_FREE char *only =
		page("<Blob><Name>stop</Name></Blob><Blob><Name>z</Name></Blob>", "m");
	const struct step steps[] = {{REPLY, only}};
	struct fixture f;
	struct listed l = {0};
	begin_with(&f, steps, 1, 8000, 0);
	assert_int_equal(adafs_blob_list(f.blob, "c", "", NULL, 0, on_listed, &l, NULL), -EINTR);
	assert_string_equal(l.text, "stop=0,,-;");
	end(&f);
	/* A service that repeats a page would keep us for ever. */
	ADAFS_FREE char *again = page("", "m");
	const struct step repeat[] = {{REPLY, again}};
	begin_with(&f, repeat, 1, 8000, 0);
	assert_int_equal(adafs_blob_list(f.blob, "c", "", NULL, 0, on_listed, &l, NULL), -EPROTO);
	assert_int_equal(adafs_blob_list_some(f.blob, "c", "", NULL, 0, 1, on_listed, &l, NULL),
			 -EPROTO);
	end(&f);
}

static void test_head(void **state)
{
	(void)state;
	BEGIN(f,
	      {REPLY,
	       "HTTP/1.1 200 OK\r\nContent-Length: 1234567890123\r\nETag: \"0x9\"\r\n"
	       "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nx-ms-blob-type: AppendBlob\r\n"
	       "Content-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\nX-Ms-Meta-Nonce: "
	       "abc\r\nx-ms-meta-empty:\r\n"
	       "x-ms-access-tier: Archive\r\nContent-Type: image/tiff\r\n\r\n"},
	      {REPLY, "HTTP/1.1 404 No\r\nx-ms-error-code: BlobNotFound\r\n\r\n"});
	struct adafs_blob_props p = {0};
	struct adafs_err err;
	assert_int_equal(adafs_blob_head(f.blob, "c", "n", NULL, &p, NULL), 0);
	assert_true(p.size == 1234567890123);
	assert_string_equal(p.etag, "0x9");
	assert_int_equal(p.last_modified, 1767225600);
	assert_int_equal(p.type, ADAFS_BLOB_APPEND);
	assert_true(p.has_md5 && p.archived);
	assert_string_equal(p.content_type, "image/tiff");
	assert_string_equal(adafs_blob_meta_get(&p.meta, "nonce"), "abc");
	assert_string_equal(adafs_blob_meta_get(&p.meta, "empty"), "");
	adafs_blob_props_clear(&p);
	assert_int_equal(adafs_blob_head(f.blob, "c", "n", NULL, &p, &err), -ENOENT);
	assert_string_equal(err.service_code, "BlobNotFound");
	end(&f);
}

static void test_copy(void **state)
{
	(void)state;
	BEGIN(f,
	      {REPLY, "HTTP/1.1 202 A\r\nx-ms-copy-status: pending\r\nETag: "
		      "\"1\"\r\nContent-Length: 0\r\n\r\n"},
	      {REPLY, "HTTP/1.1 200 A\r\nx-ms-copy-status: pending\r\nx-ms-copy-progress: "
		      "1/2\r\nETag: \"1\"\r\n\r\n"},
	      {REPLY, "HTTP/1.1 200 A\r\nx-ms-copy-status: success\r\nETag: \"2\"\r\n\r\n"},
	      {REPLY, "HTTP/1.1 202 A\r\nx-ms-copy-status: failed\r\nContent-Length: 0\r\n\r\n"});
	char etag[ADAFS_ETAG_LEN], url[256];
	const struct adafs_blob_cond cond = {.if_none_match = "*"};
	struct adafs_blob_meta meta = {0};
	assert_int_equal(adafs_blob_meta_set(&meta, "empty", ""), 0);
	assert_int_equal(adafs_blob_meta_set(&meta, "bad-name", "x"), -EINVAL);
	assert_int_equal(
		adafs_blob_copy(f.blob, "c", "a b", "0x1", "d", "n", &meta, &cond, etag, NULL), 0);
	assert_string_equal(etag, "2");
	snprintf(url, sizeof(url), "%s/acct/c/a%%20b", f.server.url);
	assert_header(&f, 0, "x-ms-copy-source", url);
	assert_header(&f, 0, "x-ms-source-if-match", "\"0x1\"");
	assert_header(&f, 0, "If-None-Match", "*");
	assert_header(&f, 0, "x-ms-meta-empty", "");
	assert_int_equal(
		adafs_blob_copy(f.blob, "c", "a b", NULL, "d", "n", NULL, NULL, NULL, NULL), -EIO);
	adafs_blob_meta_clear(&meta);
	end(&f);
}

static void test_copy_without_a_reply(void **state)
{
	(void)state;
	/* Lost, then refused by its own result: that is found by its nonce. Then by somebody else's. */
	BEGIN(f, {LOSE, NULL},
	      {REPLY, "HTTP/1.1 409 C\r\nx-ms-error-code: BlobAlreadyExists\r\nContent-Length: 0\r\n\r\n"},
	      {REPLY, "HTTP/1.1 200 A\r\nx-ms-meta-AdafsCopy: mine\r\nx-ms-copy-status: success\r\n"
		      "ETag: \"7\"\r\n\r\n"},
	      {LOSE, NULL},
	      {REPLY, "HTTP/1.1 409 C\r\nx-ms-error-code: BlobAlreadyExists\r\nContent-Length: 0\r\n\r\n"},
	      {REPLY, "HTTP/1.1 200 A\r\nx-ms-meta-adafscopy: theirs\r\nETag: \"8\"\r\n\r\n"},
	      {REPLY, "HTTP/1.1 409 C\r\nx-ms-error-code: BlobAlreadyExists\r\nContent-Length: 0\r\n\r\n"});
	char etag[ADAFS_ETAG_LEN] = "";
	const struct adafs_blob_cond cond = {.if_none_match = "*"};
	struct adafs_blob_meta meta = {0};
	struct adafs_err err;
	assert_int_equal(adafs_blob_meta_set(&meta, ADAFS_META_COPY, "mine"), 0);
	assert_int_equal(adafs_blob_copy(f.blob, "c", "a", "0x1", "d", "n", &meta, &cond, etag, NULL), 0);
	assert_string_equal(etag, "7");
	assert_int_equal(adafs_blob_copy(f.blob, "c", "a", "0x1", "d", "n", &meta, &cond, etag, &err),
			 -EEXIST);
	assert_string_equal(err.service_code, "BlobAlreadyExists");
	assert_true(err.outcome_unknown);
	/* Answered at once: nothing to find out. */
	assert_int_equal(adafs_blob_copy(f.blob, "c", "a", "0x1", "d", "n", &meta, &cond, etag, &err),
			 -EEXIST);
	assert_false(err.outcome_unknown);
	assert_string_equal(etag, "7");
	assert_int_equal(f.server.n_seen, 7);
	adafs_blob_meta_clear(&meta);
	end(&f);
}

static void test_acl(void **state)
{
	(void)state;
	static const char body[] =
		"<?xml version=\"1.0\" "
		"encoding=\"utf-8\"?><SignedIdentifiers><SignedIdentifier><Id>p1</Id>"
		"<AccessPolicy><Expiry>2030-01-01T00:00:00.0000000Z</Expiry><Permission>rl</"
		"Permission>"
		"</AccessPolicy></SignedIdentifier><SignedIdentifier><Id>p2</Id><AccessPolicy>"
		"</AccessPolicy></SignedIdentifier></SignedIdentifiers>";
	ADAFS_FREE char *reply = adafs_fmt("HTTP/1.1 200 OK\r\nx-ms-blob-public-access: blob\r\n"
					   "Content-Length: %zu\r\n\r\n%s",
					   sizeof(body) - 1, body);
	const struct step steps[] = {{REPLY, reply}, {REPLY, OK_EMPTY}};
	struct fixture f;
	struct adafs_blob_acl acl;
	begin_with(&f, steps, 2, 8000, 0);
	assert_int_equal(adafs_blob_container_get_acl(f.blob, "c", &acl, NULL), 0);
	assert_int_equal(acl.n, 2);
	assert_string_equal(acl.policy[0].id, "p1");
	assert_string_equal(acl.policy[0].permissions, "rl");
	assert_string_equal(acl.policy[1].expiry, "");
	assert_int_equal(adafs_blob_container_set_acl(f.blob, "c", &acl, NULL), 0);
	assert_string_equal(f.server.seen[1].body, body);
	assert_non_null(strstr(f.server.seen[1].head, "x-ms-blob-public-access: blob\r\n"));
	acl.n = 6;
	assert_int_equal(adafs_blob_container_set_acl(f.blob, "c", &acl, NULL), -EINVAL);
	end(&f);
}

static void test_urls(void **state)
{
	(void)state;
	BEGIN(f, {REPLY_CLOSE, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"},
	      {REPLY, OK_HELLO}, {REPLY, CREATED});
	ADAFS_FREE char *container =
		adafs_fmt("%s/acct/c?restype=container&sv=1&comp=list&sig=a%%2Bb", f.server.url);
	ADAFS_FREE char *url = adafs_blob_url_in_container(container, "x y/z");
	ADAFS_FREE char *want = adafs_fmt("%s/acct/c/x%%20y/z?sv=1&sig=a%%2Bb", f.server.url);
	assert_string_equal(url, want);
	char path[] = "/tmp/adafs-test-http-XXXXXX", data[16] = "";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(adafs_blob_download_url(f.http, url, fd, NULL), 0);
	assert_int_equal(pread(fd, data, sizeof(data), 0), 5);
	assert_string_equal(data, "hello");
	assert_int_equal(adafs_blob_upload_url(f.http, url, fd, 5, NULL), 0);
	assert_string_equal(f.server.seen[2].body, "hello");
	assert_header(&f, 2, "Authorization", NULL);
	close(fd);
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
		cmocka_unit_test(test_sas_reader),
		cmocka_unit_test(test_range_checksum),
		cmocka_unit_test(test_range_ends),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_upload_damaged),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_list_stops),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_copy_without_a_reply),
		cmocka_unit_test(test_acl),
		cmocka_unit_test(test_urls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
