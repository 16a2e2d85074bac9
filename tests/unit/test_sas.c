/* Service SAS: the vectors of blob-rest.md section 17.2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/azure/auth.h"
#include "batch/azure/sas.h"
#include "batch/base/codec.h"

#define KEY \
	"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
#define START "2026-01-01T00:00:00Z"
#define EXPIRY "2030-01-01T00:00:00Z"
#define NAME "dir/a b+c%d\xc3\xa9.txt"
#define BLOB_STRING \
	"racwd\n" START "\n" EXPIRY "\n/blob/devstoreaccount1/vectors/" NAME "\n\n\nhttps,http\n"
#define CONTAINER_STRING "racwdl\n" START "\n" EXPIRY "\n/blob/devstoreaccount1/vectors\n\n\n\n"

static struct adafs_storage_account account(void)
{
	struct adafs_storage_account a;
	assert_int_equal(adafs_storage_account_set(&a, "devstoreaccount1",
						   "http://127.0.0.1:10000/devstoreaccount1", KEY,
						   NULL, NULL),
			 0);
	return a;
}

static void check(const char *blob, const struct adafs_sas *sas, const char *string,
		  const char *signature, const char *query)
{
	struct adafs_storage_account a = account();
	char *text = adafs_sas_string_to_sign(a.name, "vectors", blob, sas);
	if (string)
		assert_string_equal(text, string);
	char *made = adafs_auth_signature(a.key, a.key_len, text);
	assert_string_equal(made, signature);
	char *got;
	assert_int_equal(adafs_sas_sign(&a, "vectors", blob, sas, &got, NULL), 0);
	if (query)
		assert_string_equal(got, query);
	char *encoded = adafs_url_encode(signature, strlen(signature), "");
	const char *sig = strstr(got, "&sig=");
	assert_non_null(sig);
	assert_string_equal(sig + 5, encoded);
	free(encoded);
	free(got);
	free(made);
	free(text);
	adafs_storage_account_clear(&a);
}

static void test_blob(void **state)
{
	(void)state;
	static const struct {
		const char *version, *string, *signature, *query;
	} rows[] = {
		{ "2018-11-09", BLOB_STRING "2018-11-09\nb\n\n\n\n\n\n",
		  "bmXg+BO10IhUXDxB4YCwZiQo8SYzh8tGwJ/S/ur/IoM=", NULL },
		{ "2020-12-06", BLOB_STRING "2020-12-06\nb\n\n\n\n\n\n\n",
		  "CJvxGazyzmprV73U6FgN9QxtDUo6Gr6T2BUAseuetjw=",
		  "sv=2020-12-06&spr=https%2Chttp&st=2026-01-01T00%3A00%3A00Z&se=2030-01-01T00%3A00%"
		  "3A00Z&sr=b&sp=racwd"
		  "&sig=CJvxGazyzmprV73U6FgN9QxtDUo6Gr6T2BUAseuetjw%3D" },
		{ "2021-12-02", NULL, "zA21HKj4vhzjmdNA53x39593lVkv/msAe/EM4xVMEKY=", NULL },
		{ NULL, NULL,
		  "zA21HKj4vhzjmdNA53x39593lVkv/msAe/EM4xVMEKY=", NULL }, /* the client's own */
		{ "2022-11-02", NULL, "E0uE5x2hUXWce3t/9IL20Hhf7/XZOLRMwyyRwOoYxJA=", NULL },
		{ "2026-04-06", NULL, "CRCQ5UKOdzVBAEmdZw29LGYaX/quHvWaeEhmfEqfttU=", NULL },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		const struct adafs_sas sas = { .version = rows[i].version,
					       .resource = "b",
					       .permissions = "racwd",
					       .start = START,
					       .expiry = EXPIRY,
					       .protocol = "https,http" };
		check(NAME, &sas, rows[i].string, rows[i].signature, rows[i].query);
	}
}

static void test_container(void **state)
{
	(void)state;
	static const struct {
		const char *version, *string, *signature, *query;
	} rows[] = {
		{ "2018-11-09", CONTAINER_STRING "2018-11-09\nc\n\n\n\n\n\n",
		  "lRP67uBr3NjmPpIzRBsTmI1lJOwzbTmBDuWhuME9i3U=", NULL },
		{ "2020-12-06", CONTAINER_STRING "2020-12-06\nc\n\n\n\n\n\n\n",
		  "gYeabRGHTr7Jtle+YAs1ImO7W1NfL/U4Aj8a+GqTmEo=",
		  "sv=2020-12-06&st=2026-01-01T00%3A00%3A00Z&se=2030-01-01T00%3A00%3A00Z&sr=c&sp="
		  "racwdl"
		  "&sig=gYeabRGHTr7Jtle%2BYAs1ImO7W1NfL%2FU4Aj8a%2BGqTmEo%3D" },
		{ "2022-11-02", NULL, "Y5g8+MEBKQKoOp7WpIJl5tL3xroFeeLS1u1S7RaPZYE=", NULL },
		{ "2026-04-06", NULL, "oLFi71NWn/Jo/8I2eyrupsGuikljjOeYllzRCK15lCI=", NULL },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		const struct adafs_sas sas = { .version = rows[i].version,
					       .resource = "c",
					       .permissions = "racwdl",
					       .start = START,
					       .expiry = EXPIRY };
		check(NULL, &sas, rows[i].string, rows[i].signature, rows[i].query);
	}
}

static void test_all_fields(void **state)
{
	(void)state;
	const struct adafs_sas sas = {
		.version = "2020-12-06",
		.resource = "b",
		.permissions = "r",
		.expiry = EXPIRY,
		.policy = "pol1",
		.ip = "168.1.5.60-168.1.5.70",
		.protocol = "https",
		.encryption_scope = "scope1",
		.cache_control = "no-cache",
		.content_disposition = "attachment; filename=\"f.txt\"",
		.content_encoding = "gzip",
		.content_language = "en",
		.content_type = "text/plain; charset=utf-8",
	};
	check("x.bin", &sas,
	      "r\n\n" EXPIRY "\n/blob/devstoreaccount1/vectors/"
	      "x.bin\npol1\n168.1.5.60-168.1.5.70\nhttps\n2020-12-06\nb\n\n"
	      "scope1\nno-cache\nattachment; filename=\"f.txt\"\ngzip\nen\ntext/plain; "
	      "charset=utf-8",
	      "8QxfHS01rxl/gFFPnQORy5zCimOB0udaMYEXoDZhXKQ=", NULL);
}

static void test_directory(void **state)
{
	(void)state;
	const struct adafs_sas sas = {
		.version = "2021-12-02", .resource = "d", .permissions = "rl", .expiry = EXPIRY
	};
	check("d1/d2", &sas,
	      "rl\n\n" EXPIRY
	      "\n/blob/devstoreaccount1/vectors/d1/d2\n\n\n\n2021-12-02\nd\n\n\n\n\n\n\n",
	      "Fi0+QzOfBQDKi71rg5wWBr5NceLZNyGXQV2iuhfCtPY=", NULL);
}

static void test_policy_and_snapshot(void **state)
{
	(void)state;
	struct adafs_storage_account a = account();
	const struct adafs_sas policy = { .resource = "c", .policy = "p1" };
	char *query;
	assert_int_equal(adafs_sas_sign(&a, "c", NULL, &policy, &query, NULL), 0);
	assert_ptr_equal(strstr(query, "sv=2021-12-02&si=p1&sr=c&sig="), query);
	free(query);
	const struct adafs_sas snapshot = { .resource = "bs",
					    .permissions = "r",
					    .snapshot = START };
	char *text = adafs_sas_string_to_sign("a", "c", "b", &snapshot);
	assert_string_equal(text,
			    "r\n\n\n/blob/a/c/b\n\n\n\n2021-12-02\nbs\n" START "\n\n\n\n\n\n");
	free(text);
	adafs_storage_account_clear(&a);
}

static void test_without_key(void **state)
{
	(void)state;
	struct adafs_storage_account a;
	const struct adafs_sas sas = { .resource = "c", .permissions = "r" };
	char *query = NULL;
	assert_int_equal(adafs_storage_account_set(&a, "acct", NULL, NULL, "sv=1&sig=x", NULL), 0);
	assert_int_equal(adafs_sas_sign(&a, "c", NULL, &sas, &query, NULL), -EACCES);
	assert_null(query);
	adafs_storage_account_clear(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blob),
		cmocka_unit_test(test_container),
		cmocka_unit_test(test_all_fields),
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_policy_and_snapshot),
		cmocka_unit_test(test_without_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
