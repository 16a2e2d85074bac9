/* Connection strings and endpoints, right and wrong; no error text may hold a key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/azure/account.h"

#define KEY "c2VjcmV0LXNlY3JldC1zZWNyZXQ="

struct good {
	const char *text, *name, *endpoint, *sas;
	bool path_style;
};

static const struct good good[] = {
	{ "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=" KEY
	  ";EndpointSuffix=core.windows.net",
	  "acct", "https://acct.blob.core.windows.net", NULL, false },
	{ "accountname=acct; ACCOUNTKEY = " KEY ";;Other=x;QueueEndpoint=q", "acct",
	  "https://acct.blob.core.windows.net", NULL, false },
	{ "DefaultEndpointsProtocol=http;AccountName=acct;AccountKey=" KEY
	  ";EndpointSuffix=core.chinacloudapi.cn",
	  "acct", "http://acct.blob.core.chinacloudapi.cn", NULL, false },
	{ "AccountName=acct;AccountKey=" KEY ";BlobEndpoint=http://127.0.0.1:10000/acct/;", "acct",
	  "http://127.0.0.1:10000/acct", NULL, true },
	{ "AccountName=acct;AccountKey=" KEY ";BlobEndpoint=http://localhost:10000", "acct",
	  "http://localhost:10000/acct", NULL, true },
	{ "UseDevelopmentStorage=true", "devstoreaccount1",
	  "http://127.0.0.1:10000/devstoreaccount1", NULL, true },
	{ "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://10.0.0.1/",
	  "devstoreaccount1", "http://10.0.0.1:10000/devstoreaccount1", NULL, true },
	{ "BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature=?sv=1&sig=a%3D",
	  "acct", "https://acct.blob.core.windows.net", "sv=1&sig=a%3D", false },
	{ "BlobEndpoint=https://acct.blob.core.windows.net/?sv=1&sig=a%3D", "acct",
	  "https://acct.blob.core.windows.net", "sv=1&sig=a%3D", false },
	{ "BlobEndpoint=http://[::1]:5/acct;SharedAccessSignature=sig=a", "acct",
	  "http://[::1]:5/acct", "sig=a", true },
};

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(good); i++) {
		struct adafs_storage_account a;
		struct adafs_err err = { 0 };
		int rc = adafs_storage_account_parse(&a, good[i].text, &err);
		if (rc < 0)
			fail_msg("'%s': %s", good[i].text, err.msg);
		assert_string_equal(a.name, good[i].name);
		assert_string_equal(a.endpoint, good[i].endpoint);
		assert_int_equal(a.path_style, good[i].path_style);
		if (good[i].sas)
			assert_string_equal(a.sas, good[i].sas);
		assert_int_equal(a.key != NULL, good[i].sas == NULL);
		adafs_storage_account_clear(&a);
	}
}

static void test_bad(void **state)
{
	(void)state;
	static const char *const bad[][2] = {
		{ "", "AccountName" },
		{ "AccountName=acct", "AccountKey" },
		{ "AccountKey=" KEY, "AccountName" },
		{ "AccountName=acct;AccountKey=se$ret", "base64" },
		{ "AccountName=acct;AccountKey=", "base64" },
		{ "AccountName=Acct_;AccountKey=" KEY, "name" },
		{ "AccountName=acct;AccountKey=" KEY ";BlobEndpoint=ftp://x", "endpoint" },
		{ "AccountName=acct;AccountKey=" KEY ";BlobEndpoint=http:///x", "endpoint" },
		{ "AccountName=acct;" KEY, "" },
		{ "AccountName=acct;c2VjcmV0", "part 2" },
		{ "AccountName=acct;SharedAccessSignature=sv=1", "sig=" },
		{ "BlobEndpoint=http://127.0.0.1:1;SharedAccessSignature=sig=1", "name" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++) {
		struct adafs_storage_account a;
		struct adafs_err err = { 0 };
		if (adafs_storage_account_parse(&a, bad[i][0], &err) != -EINVAL)
			fail_msg("'%s' was taken", bad[i][0]);
		if (!strstr(err.msg, bad[i][1]))
			fail_msg("'%s': %s", bad[i][0], err.msg);
		assert_null(strstr(err.msg, "c2VjcmV0"));
		assert_null(strstr(err.msg, "se$ret"));
	}
}

static void test_set(void **state)
{
	(void)state;
	struct adafs_storage_account a;
	assert_int_equal(adafs_storage_account_set(&a, "acct", NULL, KEY, "sig=1", NULL), -EINVAL);
	/* Neither: for a token. */
	assert_int_equal(adafs_storage_account_set(&a, "acct", NULL, NULL, NULL, NULL), 0);
	assert_true(!a.key && !a.sas && !a.token);
	adafs_storage_account_clear(&a);
	assert_int_equal(adafs_storage_account_set(&a, "acct", NULL, KEY, NULL, NULL), 0);
	assert_string_equal(a.endpoint, "https://acct.blob.core.windows.net");
	assert_int_equal(a.key_len, 20);
	assert_memory_equal(a.key, "secret-secret-secret", 20);
	adafs_storage_account_clear(&a);
	assert_null(a.key);
	adafs_storage_account_clear(&a);
}

static void test_batch(void **state)
{
	(void)state;
	struct adafs_batch_account a;
	assert_int_equal(
		adafs_batch_account_set(&a, "acct", "acct.westeurope.batch.azure.com/", KEY, NULL),
		0);
	assert_string_equal(a.endpoint, "https://acct.westeurope.batch.azure.com");
	adafs_batch_account_clear(&a);
	assert_int_equal(adafs_batch_account_set(&a, "acct", "http://127.0.0.1:5", KEY, NULL), 0);
	assert_string_equal(a.endpoint, "http://127.0.0.1:5");
	adafs_batch_account_clear(&a);
	assert_int_equal(adafs_batch_account_set(&a, "acct", "ftp://127.0.0.1:5", KEY, NULL),
			 -EINVAL);
	assert_int_equal(adafs_batch_account_set(&a, "acct", "", KEY, NULL), -EINVAL);
	assert_int_equal(adafs_batch_account_set(&a, "acct", "h", "???", NULL), -EINVAL);
	assert_int_equal(adafs_batch_account_set(&a, NULL, "h", KEY, NULL), -EINVAL);
}

static void test_loopback(void **state)
{
	(void)state;
	static const struct {
		const char *url;
		bool loopback;
	} cases[] = {
		{ "http://127.0.0.1:10000/acct", true },
		{ "http://LocalHost:80", true },
		{ "localhost", true },
		{ "http://[::1]:1/x", true },
		{ "http://user@127.1.2.3/", true },
		{ "https://acct.blob.core.windows.net", false },
		{ "http://localhost.example.org", false },
		{ "https://example.org/@localhost", false },
		{ "https://example.org?x=http://127.0.0.1", false },
		{ "", false },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++)
		if (adafs_url_is_loopback(cases[i].url) != cases[i].loopback)
			fail_msg("'%s'", cases[i].url);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),     cmocka_unit_test(test_bad),
		cmocka_unit_test(test_set),      cmocka_unit_test(test_batch),
		cmocka_unit_test(test_loopback),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
