/* Refusals of the services in words: every row of the table names code, object, identity and
 * action. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "batch/azure/words.h"
#include "batch/base/cleanup.h"

static struct adafs_http_request *request(const char *url)
{
	struct adafs_http_request *rq = adafs_http_request_new("PUT", strdup(url));
	assert_non_null(rq);
	rq->operation = "PutBlob";
	return rq;
}

static void test_rows(void **state)
{
	size_t n;
	const struct adafs_words_row *row = adafs_words_table(&n);
	struct adafs_http_request *rq = request(
		"https://acct.blob.core.windows.net/ada/images/a%20b.tif?comp=x&sv=1&sig=SECRET");
	(void)state;
	assert_true(n >= 25);
	for (size_t i = 0; i < n; i++) {
		char line[512];
		adafs_words_line(rq, 409, row[i].code, "text of the service", line, sizeof(line));
		assert_non_null(strstr(line, "PutBlob '/ada/images/a b.tif' with a SAS: 409 "));
		assert_non_null(strstr(line, row[i].code));
		assert_non_null(strstr(line, row[i].meaning));
		assert_non_null(strstr(line, row[i].action));
		assert_null(strstr(line, "SECRET"));
		/* One row a code, whatever its spelling. */
		assert_ptr_equal(adafs_words_find(row[i].code), &row[i]);
	}
	adafs_http_request_free(rq);
}

static void test_unknown_code(void **state)
{
	struct adafs_http_request *rq = request("http://127.0.0.1:1/acct/jobs?api-version=1");
	char line[512];
	(void)state;
	adafs_words_line(rq, 418, "Teapot", "Short and stout.", line, sizeof(line));
	assert_string_equal(line, "PutBlob '/acct/jobs' with no credential: 418 Teapot: "
				  "Short and stout.");
	adafs_words_line(rq, 502, "", "", line, sizeof(line));
	assert_string_equal(line, "PutBlob '/acct/jobs' with no credential: 502 ");
	adafs_http_request_free(rq);
}

static void test_identities(void **state)
{
	static const struct {
		const char *url, *auth, *identity;
	} rows[] = {
		{ "https://h/c", "SharedKey acct:c2VjcmV0", "the key of 'acct'" },
		{ "https://h/c", "Bearer ey.secret.x", "an Entra ID token" },
		{ "https://h/c?si=adafs-1&sig=x", NULL, "a SAS of access policy 'adafs-1'" },
		{ "https://h/c?sv=1&skoid=1&sig=x", NULL, "a user delegation SAS" },
		{ "https://h/c?sig=x&si=%27%0a", NULL, "a SAS" },
		{ "https://h/c", NULL, "no credential" },
	};
	(void)state;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		struct adafs_http_request *rq = request(rows[i].url);
		char text[96];
		if (rows[i].auth)
			assert_int_equal(
				adafs_http_headers_set(&rq->headers, "Authorization", rows[i].auth),
				0);
		adafs_words_identity(rq, text, sizeof(text));
		assert_string_equal(text, rows[i].identity);
		adafs_http_request_free(rq);
	}
}

static void test_objects(void **state)
{
	char text[32], url[4096] = "https://h/container/", *end = url + strlen(url);
	(void)state;
	adafs_words_object("https://h/c/%0a%41%zz?sig=x", text, sizeof(text));
	assert_string_equal(text, "/c/?A%zz");
	adafs_words_object("nothing", text, sizeof(text));
	assert_string_equal(text, "?");
	memset(end, 'n', 1000);
	strcpy(end + 1000, "/pre.tif");
	adafs_words_object(url, text, sizeof(text));
	assert_int_equal(strlen(text), sizeof(text) - 1);
	assert_non_null(strstr(text, "/contai"));
	assert_non_null(strstr(text, "..."));
	assert_non_null(strstr(text, "/pre.tif"));
}

static void test_detail(void **state)
{
	struct adafs_http_request *rq = request("https://h/c?sig=x");
	char line[512];
	(void)state;
	adafs_words_line(rq, 403, "authenticationfailed",
			 "Signature not valid in the specified time frame: ...", line,
			 sizeof(line));
	assert_non_null(strstr(line, "AuthenticationFailed"));
	assert_non_null(strstr(line, "specified time frame"));
	assert_non_null(strstr(line, "adafs check"));
	adafs_http_request_free(rq);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),       cmocka_unit_test(test_unknown_code),
		cmocka_unit_test(test_identities), cmocka_unit_test(test_objects),
		cmocka_unit_test(test_detail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
