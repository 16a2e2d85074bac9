/* Signatures as the Blob service verifies them: the protocol's test vectors, and calls without a
 * socket. */
#include "batch/emulator/blob/blob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/file.h"

/* The public account of the official emulator. */
#define ACCOUNT "devstoreaccount1"
#define KEY \
	"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

static struct blob_service *service;
static char dir[] = "/tmp/adafs-blob-XXXXXX";

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	struct blob_service_config config = {
		.dir = dir, .account = ACCOUNT, .key = KEY, .access_log_fd = -1
	};
	struct adafs_err err = { 0 };
	return blob_service_new(&config, &service, &err);
}

static int teardown(void **state)
{
	(void)state;
	blob_service_free(service);
	return adafs_remove_tree(dir);
}

static void assert_signature(const struct adafs_buf *text, const char *want)
{
	ADAFS_FREE char *sig = auth_sign(service, text->data, text->len);
	assert_string_equal(sig, want);
}

struct vector {
	const char *method, *target, *headers[16], *account, *signature;
};

static const struct vector shared_key[] = {
	{ "PUT",
	  "/devstoreaccount1/vectors?restype=container",
	  { "Content-Length", "0" },
	  ACCOUNT,
	  "kCDpN1RPjXOczz9fzKtp46NXnvUPc302ovU9UXlZtew=" },
	{ "PUT",
	  "/devstoreaccount1/vectors/dir/a%20b+c%25d%C3%A9.txt?timeout=30",
	  { "Content-Length", "5", "If-None-Match", "*", "Content-Type", "application/octet-stream",
	    "x-ms-blob-type", "BlockBlob", "x-ms-blob-content-type", "text/plain",
	    "x-ms-meta-mtime", "1700000000" },
	  ACCOUNT,
	  "WO9RORPf3mZGGGRpJM9vMIa4Jy7PK6KMZA8s9KlShqk=" },
	{ "GET",
	  "/devstoreaccount1/vectors?restype=container&comp=list&prefix=dir%2Fa%20b%2B&delimiter=%2F"
	  "&maxresults=5000&include=metadata",
	  { NULL },
	  ACCOUNT,
	  "iUzQ7wZqrs+tiHzDotqozWl7tQBtN8CtDOOkIibjj78=" },
	{ "GET",
	  "/vectors/dir/a%20b+c%25d%C3%A9.txt",
	  { "x-ms-range", "bytes=0-3" },
	  ACCOUNT,
	  "7D5/BQFkRWDEqfLrQeTLVclrvMIj+2VpNCzGjlHmHYg=" },
};

static void test_shared_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(shared_key); i++) {
		const struct vector *v = &shared_key[i];
		struct http_req req;
		assert_int_equal(http_req_init(&req, v->method, v->target), 0);
		http_req_add_header(&req, "x-ms-date", "Thu, 01 Jan 2026 00:00:00 GMT");
		http_req_add_header(&req, "x-ms-version", "2021-12-02");
		for (size_t k = 0; v->headers[k]; k += 2)
			http_req_add_header(&req, v->headers[k], v->headers[k + 1]);
		ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(4096);
		assert_int_equal(auth_string_to_sign(&req, v->account, false, false, &b), 0);
		assert_signature(&b, v->signature);
		http_req_clear(&req);
	}
}

struct sas_vector {
	const char *query, *container, *name, *signature;
};

#define TIMES "&st=2026-01-01T00%3A00%3A00Z&se=2030-01-01T00%3A00%3A00Z"
#define BLOB_NAME "dir/a b+c%d\xc3\xa9.txt"

static const struct sas_vector sas[] = {
	{ "sv=2018-11-09&spr=https%2Chttp&sr=b&sp=racwd" TIMES, "vectors", BLOB_NAME,
	  "bmXg+BO10IhUXDxB4YCwZiQo8SYzh8tGwJ/S/ur/IoM=" },
	{ "sv=2020-12-06&spr=https%2Chttp&sr=b&sp=racwd" TIMES, "vectors", BLOB_NAME,
	  "CJvxGazyzmprV73U6FgN9QxtDUo6Gr6T2BUAseuetjw=" },
	{ "sv=2021-12-02&spr=https%2Chttp&sr=b&sp=racwd" TIMES, "vectors", BLOB_NAME,
	  "zA21HKj4vhzjmdNA53x39593lVkv/msAe/EM4xVMEKY=" },
	{ "sv=2022-11-02&spr=https%2Chttp&sr=b&sp=racwd" TIMES, "vectors", BLOB_NAME,
	  "E0uE5x2hUXWce3t/9IL20Hhf7/XZOLRMwyyRwOoYxJA=" },
	{ "sv=2026-04-06&spr=https%2Chttp&sr=b&sp=racwd" TIMES, "vectors", BLOB_NAME,
	  "CRCQ5UKOdzVBAEmdZw29LGYaX/quHvWaeEhmfEqfttU=" },
	{ "sv=2018-11-09&sr=c&sp=racwdl" TIMES, "vectors", NULL,
	  "lRP67uBr3NjmPpIzRBsTmI1lJOwzbTmBDuWhuME9i3U=" },
	{ "sv=2020-12-06&sr=c&sp=racwdl" TIMES, "vectors", NULL,
	  "gYeabRGHTr7Jtle+YAs1ImO7W1NfL/U4Aj8a+GqTmEo=" },
	{ "sv=2022-11-02&sr=c&sp=racwdl" TIMES, "vectors", "any/blob",
	  "Y5g8+MEBKQKoOp7WpIJl5tL3xroFeeLS1u1S7RaPZYE=" },
	{ "sv=2026-04-06&sr=c&sp=racwdl" TIMES, "vectors", NULL,
	  "oLFi71NWn/Jo/8I2eyrupsGuikljjOeYllzRCK15lCI=" },
	{ "sv=2020-12-06&sr=b&sp=r&se=2030-01-01T00%3A00%3A00Z&si=pol1&sip=168.1.5.60-168.1.5.70&"
	  "spr=https"
	  "&ses=scope1&rscc=no-cache&rscd=attachment%3B%20filename%3D%22f.txt%22&rsce=gzip&rscl=en"
	  "&rsct=text%2Fplain%3B%20charset%3Dutf-8",
	  "vectors", "x.bin", "8QxfHS01rxl/gFFPnQORy5zCimOB0udaMYEXoDZhXKQ=" },
	{ "sv=2021-12-02&sr=d&sdd=2&sp=rl&se=2030-01-01T00%3A00%3A00Z", "vectors", "d1/d2/d3/x",
	  "Fi0+QzOfBQDKi71rg5wWBr5NceLZNyGXQV2iuhfCtPY=" },
	{ "sv=2018-11-09&ss=b&srt=sco&spr=https%2Chttp&sp=rwdlac" TIMES, NULL, NULL,
	  "UVRMQHouXds3r8E/8zyiwAs6aWQlO/QNIg1R/lpRXEc=" },
	{ "sv=2020-12-06&ss=b&srt=sco&spr=https%2Chttp&sp=rwdxftlacu" TIMES, NULL, NULL,
	  "umQfL8l9Jg72ruWA0CWwz2Q1oaD5rixJ99PpYxcysoc=" },
	{ "sv=2026-04-06&ss=b&srt=sco&spr=https%2Chttp&sp=rwdxftlacu" TIMES, NULL, NULL,
	  "mOqm+lvSj8KnuQDF2+/C6YhoEhLs6tTCjisqrtQPORw=" },
};

static void test_sas(void **state)
{
	(void)state;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(sas); i++) {
		ADAFS_FREE char *target = adafs_fmt("/p?%s", sas[i].query);
		struct http_req req;
		assert_int_equal(http_req_init(&req, "GET", target), 0);
		ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(4096);
		assert_int_equal(
			sas_string_to_sign(&req, ACCOUNT, sas[i].container, sas[i].name, &b), 0);
		assert_signature(&b, sas[i].signature);
		http_req_clear(&req);
	}
}

#define DELEGATED                                                                                \
	"&sr=b&sp=r&st=2026-01-01T00%3A00%3A00Z&se=2026-01-02T00%3A00%3A00Z&spr=https"           \
	"&skoid=11111111-1111-1111-1111-111111111111&sktid=22222222-2222-2222-2222-222222222222" \
	"&skt=2026-01-01T00%3A00%3A00Z&ske=2026-01-08T00%3A00%3A00Z&sks=b&skv=2020-12-06"

static const struct sas_vector delegated[] = {
	{ "sv=2018-11-09" DELEGATED, "vectors", "x.bin",
	  "E1IqMvXOkBha6PwcgzajcBlnesir+upLNd/gk6dW9pU=" },
	{ "sv=2020-02-10" DELEGATED, "vectors", "x.bin",
	  "ncegHikjCmEiQV6uHsBiATauiVuycufdp/62yPN3OD8=" },
	{ "sv=2020-12-06" DELEGATED, "vectors", "x.bin",
	  "mI+ZCg6djG8vmFxj5wKmv/ybchVBWQkjJLpV2vKdi/s=" },
	{ "sv=2025-07-05" DELEGATED, "vectors", "x.bin",
	  "Ii874Pjpam8gVGiPB30YpE/VCgbKHHV4Ci09UhYy1yk=" },
	{ "sv=2026-04-06" DELEGATED, "vectors", "x.bin",
	  "hHH/WjTwtM4U5C+1BNVeuysyHr0SEyY/UTOAe1r2cqE=" },
};

static void test_delegated_sas(void **state)
{
	(void)state;
	static const char key[] = "adafs-user-delegation-key-32byte";
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(delegated); i++) {
		const struct sas_vector *v = &delegated[i];
		ADAFS_FREE char *target = adafs_fmt("/p?%s", v->query);
		struct http_req req;
		assert_int_equal(http_req_init(&req, "GET", target), 0);
		ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(4096);
		assert_int_equal(sas_string_to_sign(&req, ACCOUNT, v->container, v->name, &b), 0);
		uint8_t mac[ADAFS_SHA256_LEN];
		assert_int_equal(adafs_hmac_sha256(key, sizeof(key) - 1, b.data, b.len, mac), 0);
		ADAFS_FREE char *sig = adafs_base64_encode(mac, sizeof(mac));
		assert_string_equal(sig, v->signature);
		http_req_clear(&req);
	}
}

/* Texts that a request must have are signed with it. */
static void test_wanted_in_a_sas(void **state)
{
	(void)state;
	struct http_req req;
	assert_int_equal(
		http_req_init(&req, "GET", "/p?sv=2026-04-06" DELEGATED "&srh=x-a,x-b&srq=q&q=1"),
		0);
	http_req_add_header(&req, "X-A", "one");
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(4096);
	assert_int_equal(sas_string_to_sign(&req, ACCOUNT, "vectors", "x.bin", &b), 0);
	assert_non_null(strstr(adafs_buf_str(&b), "\nb\n\n\nx-a:one\nx-b:\n\nq:1\n\n\n\n\n\n"));
	http_req_clear(&req);
}

/* --- whole calls through the service's callbacks --------------------------------------------- */

enum variant { PLAIN, PLUS_IS_SPACE, CULTURE };

/* Run one signed request; the response is the caller's. */
static void run(const char *method, const char *target, const char *body, enum variant variant,
		const char *const *headers, struct http_resp *resp)
{
	struct http_req req;
	char now[ADAFS_RFC1123_LEN];
	adafs_clock_rfc1123((time_t)(adafs_clock_wall_us() / 1000000), now);
	ADAFS_FREE char *length = adafs_fmt("%zu", strlen(body));
	assert_int_equal(http_req_init(&req, method, target), 0);
	http_req_add_header(&req, "x-ms-date", now);
	http_req_add_header(&req, "x-ms-version", "2021-12-02");
	if (strcmp(method, "PUT") == 0)
		http_req_add_header(&req, "Content-Length", length);
	for (; headers && *headers; headers += 2)
		http_req_add_header(&req, headers[0], headers[1]);
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(4096);
	auth_string_to_sign(&req, ACCOUNT, variant == PLUS_IS_SPACE, variant == CULTURE, &b);
	ADAFS_FREE char *sig = auth_sign(service, b.data, b.len);
	ADAFS_FREE char *authorization = adafs_fmt("SharedKey " ACCOUNT ":%s", sig);
	http_req_add_header(&req, "Authorization", authorization);
	http_resp_init(resp);
	if (blob_service_ops.begin(service, &req, resp) == 0) {
		if (req.sink == HTTP_SINK_STREAM && *body)
			req.body_rc = blob_service_ops.body(service, &req, body, strlen(body));
		blob_service_ops.handle(service, &req, resp);
	}
	blob_service_ops.finish(service, &req, resp);
	blob_service_ops.end(service, &req);
	http_req_clear(&req);
}

static int status_of(const char *method, const char *target, const char *body, enum variant variant,
		     const char *const *headers)
{
	struct http_resp resp;
	run(method, target, body, variant, headers, &resp);
	int status = resp.status;
	http_resp_clear(&resp);
	return status;
}

static void test_calls(void **state)
{
	(void)state;
	static const char *const block_blob[] = { "x-ms-blob-type", "BlockBlob", NULL };
	static const char *const meta[] = { "x-ms-blob-type",
					    "BlockBlob",
					    "x-ms-meta-a_b",
					    "1",
					    "x-ms-meta-a1",
					    "2",
					    "x-ms-meta-ab",
					    "3",
					    NULL };
	assert_int_equal(status_of("PUT", "/" ACCOUNT "/box?restype=container", "", PLAIN, NULL),
			 201);
	assert_int_equal(status_of("PUT", "/" ACCOUNT "/box/a%20b", "x", PLAIN, block_blob), 201);
	assert_int_equal(status_of("PUT", "/" ACCOUNT "/box/c", "x", CULTURE, meta), 201);
	assert_int_equal(status_of("GET", "/other/box/c", "", PLAIN, NULL), 404);
	/* A client that means a blank by "+" gets what it means. */
	struct http_resp resp;
	run("GET", "/" ACCOUNT "/box?restype=container&comp=list&prefix=a+b", "", PLUS_IS_SPACE,
	    NULL, &resp);
	assert_int_equal(resp.status, 200);
	assert_non_null(strstr(adafs_buf_str(&resp.body), "<Name>a b</Name>"));
	http_resp_clear(&resp);
}

static void test_virtual_host(void **state)
{
	(void)state;
	static const char *const host[] = { "Host", ACCOUNT ".blob.localhost:10000", NULL };
	assert_int_equal(status_of("PUT", "/virtual?restype=container", "", PLAIN, host), 201);
	assert_int_equal(status_of("GET", "/virtual?restype=container", "", PLAIN, host), 200);
	assert_int_equal(
		status_of("GET", "/" ACCOUNT "/virtual?restype=container", "", PLAIN, NULL), 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shared_key),    cmocka_unit_test(test_sas),
		cmocka_unit_test(test_delegated_sas), cmocka_unit_test(test_wanted_in_a_sas),
		cmocka_unit_test(test_calls),         cmocka_unit_test(test_virtual_host),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
