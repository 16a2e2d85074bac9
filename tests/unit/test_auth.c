/* Shared Key: the vectors of both services' references. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "batch/azure/auth.h"
#include "batch/base/codec.h"

#define BLOB_KEY \
	"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
#define BATCH_KEY "YWRhZnMtdGVzdC1rZXktMDEyMzQ1Njc4OWFiY2RlZjA="
#define DATE "x-ms-date:Thu, 01 Jan 2026 00:00:00 GMT\n"
#define JSON_TYPE "application/json; odata=minimalmetadata; charset=utf-8"
#define BATCH_HOST "https://testaccount.westeurope.batch.azure.com"

struct vector {
	const char *method, *url;
	size_t body_len;
	const char *headers[6][2];
	const char *string; /* NULL: only the signature is known */
	const char *signature;
};

static const struct vector blob_vectors[] = {
	{ "PUT",
	  "http://127.0.0.1:10000/devstoreaccount1/vectors?restype=container",
	  0,
	  { { NULL } },
	  "PUT\n\n\n\n\n\n\n\n\n\n\n\n" DATE
	  "x-ms-version:2021-12-02\n/devstoreaccount1/devstoreaccount1/vectors\n"
	  "restype:container",
	  "kCDpN1RPjXOczz9fzKtp46NXnvUPc302ovU9UXlZtew=" },
	{ "PUT",
	  "http://127.0.0.1:10000/devstoreaccount1/vectors/dir/a%20b+c%25d%C3%A9.txt?timeout=30",
	  5,
	  { { "If-None-Match", "*" },
	    { "Content-Type", "application/octet-stream" },
	    { "X-Ms-Blob-Type", "BlockBlob" },
	    { "x-ms-blob-content-type", "text/plain" },
	    { "x-ms-meta-mtime", "1700000000" } },
	  "PUT\n\n\n5\n\napplication/octet-stream\n\n\n\n*\n\n\nx-ms-blob-content-type:text/plain\n"
	  "x-ms-blob-type:BlockBlob\n" DATE "x-ms-meta-mtime:1700000000\nx-ms-version:2021-12-02\n"
	  "/devstoreaccount1/devstoreaccount1/vectors/dir/a%20b+c%25d%C3%A9.txt\ntimeout:30",
	  "WO9RORPf3mZGGGRpJM9vMIa4Jy7PK6KMZA8s9KlShqk=" },
	{ "GET",
	  "http://127.0.0.1:10000/devstoreaccount1/"
	  "vectors?restype=container&comp=list&prefix=dir%2Fa%20b%2B"
	  "&delimiter=%2F&maxresults=5000&include=metadata",
	  0,
	  { { NULL } },
	  "GET\n\n\n\n\n\n\n\n\n\n\n\n" DATE
	  "x-ms-version:2021-12-02\n/devstoreaccount1/devstoreaccount1/vectors\n"
	  "comp:list\ndelimiter:/\ninclude:metadata\nmaxresults:5000\nprefix:dir/a "
	  "b+\nrestype:container",
	  "iUzQ7wZqrs+tiHzDotqozWl7tQBtN8CtDOOkIibjj78=" },
	{ "GET",
	  "https://myaccount.blob.core.windows.net/vectors/dir/a%20b+c%25d%C3%A9.txt",
	  0,
	  { { "x-ms-range", "bytes=0-3" } },
	  "GET\n\n\n\n\n\n\n\n\n\n\n\n" DATE "x-ms-range:bytes=0-3\nx-ms-version:2021-12-02\n"
	  "/devstoreaccount1/vectors/dir/a%20b+c%25d%C3%A9.txt",
	  "7D5/BQFkRWDEqfLrQeTLVclrvMIj+2VpNCzGjlHmHYg=" },
};

static const struct vector batch_vectors[] = {
	{ "GET",
	  BATCH_HOST
	  "/jobs?api-version=2022-10-01.16.0&$filter=state%20eq%20'active'&maxresults=10&timeout=30",
	  0,
	  { { NULL } },
	  "GET\n\n\n\n\n\n\n\n\n\n\n\nocp-date:Tue, 01 Jul 2025 12:00:00 GMT\n/testaccount/jobs\n"
	  "$filter:state eq 'active'\napi-version:2022-10-01.16.0\nmaxresults:10\ntimeout:30",
	  "MdF9Xih9vJEWvvqhY84LBofyyd16kYjACywknH0nhxk=" },
	{ "POST",
	  BATCH_HOST "/jobs?api-version=2022-10-01.16.0",
	  43,
	  { { "Content-Type", JSON_TYPE } },
	  "POST\n\n\n43\n\n" JSON_TYPE
	  "\n\n\n\n\n\n\nocp-date:Tue, 01 Jul 2025 12:00:00 GMT\n/testaccount/jobs\n"
	  "api-version:2022-10-01.16.0",
	  "9kM6p9upgAHnTlelZQQbm45jLsgtSn2VDXzN3x/IrL4=" },
	{ "DELETE",
	  BATCH_HOST "/jobs/job1?api-version=2022-10-01.16.0",
	  0,
	  { { "Content-Length", "0" } },
	  NULL,
	  "1CsJc+W3IAgVzv/PE/yJwJlPtq9azzzw1xNTeJ6eCHc=" },
	{ "POST",
	  BATCH_HOST "/jobs/job1/enable?api-version=2022-10-01.16.0",
	  0,
	  { { NULL } },
	  NULL,
	  "TyFmxJt5OY61B0IQ8c9smTTgDn2yV/NcJszsPO/4XJQ=" },
	{ "GET",
	  BATCH_HOST "/jobs/job1/tasks/t1/files/wd%2Fout%20put.txt?api-version=2022-10-01.16.0",
	  0,
	  { { "ocp-range", "bytes=0-99" } },
	  NULL,
	  "BvsVx9NXqTkJdMeKz3sxSARKSTt9mE7JGnYtCc16HCo=" },
	{ "HEAD",
	  BATCH_HOST "/pools/p1?api-version=2022-10-01.16.0",
	  0,
	  { { NULL } },
	  NULL,
	  "9I/NOak+V8L9Nupr1QWi0egnoPeRoXfK3L5rAtKcF1Q=" },
	{ "PATCH",
	  BATCH_HOST "/jobs/job1?api-version=2022-10-01.16.0",
	  2,
	  { { "Content-Type", JSON_TYPE }, { "If-Match", "0x8D89006D982EEEF" } },
	  NULL,
	  "42wlTjg4BN/dMd8ycYvEL2yMxzYlW40UvbBGLcN4oeI=" },
};

typedef char *string_fn(const struct adafs_http_request *rq, const char *account);
typedef int sign_fn(struct adafs_http_request *rq, const char *account, const uint8_t *key,
		    size_t key_len, time_t now, struct adafs_err *reterr);

static struct adafs_http_request *build(const struct vector *v)
{
	struct adafs_http_request *rq = adafs_http_request_new(v->method, strdup(v->url));
	assert_non_null(rq);
	rq->body_len = v->body_len;
	for (size_t i = 0; i < 6 && v->headers[i][0]; i++)
		assert_int_equal(
			adafs_http_headers_set(&rq->headers, v->headers[i][0], v->headers[i][1]),
			0);
	return rq;
}

static void check(const struct vector *v, const char *version, const char *account,
		  const char *key_base64, time_t now, string_fn *string, sign_fn *sign)
{
	uint8_t *key;
	size_t key_len;
	char expected[256];
	assert_int_equal(adafs_base64_decode(key_base64, strlen(key_base64), &key, &key_len), 0);
	struct adafs_http_request *rq = build(v);
	if (version)
		adafs_http_headers_set(&rq->headers, "x-ms-version", version);
	/* Twice: signing an attempt anew replaces what the last one left. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(sign(rq, account, key, key_len, now, NULL), 0);
		snprintf(expected, sizeof(expected), "SharedKey %s:%s", account, v->signature);
		assert_string_equal(adafs_http_headers_get(&rq->headers, "Authorization"),
				    expected);
	}
	if (v->string) {
		char *text = string(rq, account);
		assert_string_equal(text, v->string);
		free(text);
	}
	adafs_http_request_free(rq);
	free(key);
}

static void test_blob_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(blob_vectors); i++)
		check(&blob_vectors[i], "2021-12-02", "devstoreaccount1", BLOB_KEY, 1767225600,
		      adafs_auth_blob_string, adafs_auth_sign_blob);
}

static void test_batch_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(batch_vectors); i++)
		check(&batch_vectors[i], NULL, "testaccount", BATCH_KEY, 1751371200,
		      adafs_auth_batch_string, adafs_auth_sign_batch);
}

static void assert_blob_string(const char *url, const char *name, const char *value,
			       const char *want)
{
	struct adafs_http_request *rq = adafs_http_request_new("GET", strdup(url));
	if (name)
		adafs_http_headers_set(&rq->headers, name, value);
	char *text = adafs_auth_blob_string(rq, "acct");
	if (want)
		assert_string_equal(text, want);
	else
		assert_null(text);
	free(text);
	adafs_http_request_free(rq);
}

static void test_canonical_corners(void **state)
{
	(void)state;
	/* No path, repeated parameters in any case, an empty value, dots that stay. */
	assert_blob_string("https://h", NULL, NULL, "GET\n\n\n\n\n\n\n\n\n\n\n\n/acct/");
	assert_blob_string("https://h/a/../b//c?X=2&x=1&b=", NULL, NULL,
			   "GET\n\n\n\n\n\n\n\n\n\n\n\n/acct/a/../b//c\nb:\nx:1,2");
	/* White space folds, an empty value stays. */
	assert_blob_string("https://h/", "x-ms-meta-a", "  b \t  c ",
			   "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-meta-a:b c\n/acct/");
	assert_blob_string("https://h/", "x-ms-meta-a", "",
			   "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-meta-a:\n/acct/");
	assert_blob_string("https://h/?a=%zz", NULL, NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blob_vectors),
		cmocka_unit_test(test_batch_vectors),
		cmocka_unit_test(test_canonical_corners),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
