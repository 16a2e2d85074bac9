/* Entra ID's settings and assertions, user delegation SAS (blob-rest.md section 17.4), rights of a
 * SAS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "batch/azure/auth.h"
#include "batch/azure/entra.h"
#include "batch/azure/sas.h"
#include "batch/azure/sas_rights.h"
#include "batch/base/codec.h"
#include "batch/base/digest.h"
#include "batch/base/json.h"

/* --- user delegation SAS ------------------------------------------------------------------ */

static struct adafs_sas_delegation delegation(void)
{
	struct adafs_sas_delegation d = {
		.oid = "11111111-1111-1111-1111-111111111111",
		.tid = "22222222-2222-2222-2222-222222222222",
		.start = "2026-01-01T00:00:00Z",
		.expiry = "2026-01-08T00:00:00Z",
		.service = "b",
		.version = "2020-12-06",
	};
	static const char value[] = "YWRhZnMtdXNlci1kZWxlZ2F0aW9uLWtleS0zMmJ5dGU=";
	uint8_t *bytes;
	assert_int_equal(adafs_base64_decode(value, strlen(value), &bytes, &d.value_len), 0);
	memcpy(d.value, bytes, d.value_len);
	free(bytes);
	return d;
}

static void test_delegation(void **state)
{
	(void)state;
	static const struct {
		const char *version, *signature;
	} rows[] = {
		{ "2018-11-09", "E1IqMvXOkBha6PwcgzajcBlnesir+upLNd/gk6dW9pU=" },
		{ "2020-02-10", "ncegHikjCmEiQV6uHsBiATauiVuycufdp/62yPN3OD8=" },
		{ "2020-12-06", "mI+ZCg6djG8vmFxj5wKmv/ybchVBWQkjJLpV2vKdi/s=" },
		{ "2025-07-05", "Ii874Pjpam8gVGiPB30YpE/VCgbKHHV4Ci09UhYy1yk=" },
		{ "2026-04-06", "hHH/WjTwtM4U5C+1BNVeuysyHr0SEyY/UTOAe1r2cqE=" },
	};
	const struct adafs_sas_delegation d = delegation();
	const struct adafs_storage_account a = { .name = (char *)"devstoreaccount1" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		const struct adafs_sas sas = { .version = rows[i].version,
					       .resource = "b",
					       .permissions = "r",
					       .start = "2026-01-01T00:00:00Z",
					       .expiry = "2026-01-02T00:00:00Z",
					       .protocol = "https",
					       .delegation = &d };
		char *query;
		assert_int_equal(adafs_sas_sign(&a, "vectors", "x.bin", &sas, &query, NULL), 0);
		char *encoded = adafs_url_encode(rows[i].signature, strlen(rows[i].signature), "");
		const char *sig = strstr(query, "&sig=");
		assert_non_null(sig);
		assert_string_equal(sig + 5, encoded);
		assert_non_null(strstr(query, "&skoid=11111111-1111-1111-1111-111111111111&"));
		assert_non_null(
			strstr(query, "&ske=2026-01-08T00%3A00%3A00Z&sks=b&skv=2020-12-06&"));
		free(encoded);
		free(query);
	}
}

/* For a container and a snapshot the resource and the signed time are in the string, the latter
 * once. */
static void test_delegation_resources(void **state)
{
	(void)state;
	const struct adafs_sas_delegation d = delegation();
	const struct adafs_sas container = { .version = "2021-12-02",
					     .resource = "c",
					     .permissions = "rl",
					     .expiry = "2026-01-02T00:00:00Z",
					     .delegation = &d };
	char *text = adafs_sas_string_to_sign("acct", "box", NULL, &container);
	assert_string_equal(text, "rl\n\n2026-01-02T00:00:00Z\n/blob/acct/box\n"
				  "11111111-1111-1111-1111-111111111111\n"
				  "22222222-2222-2222-2222-222222222222\n"
				  "2026-01-01T00:00:00Z\n2026-01-08T00:00:00Z\nb\n2020-12-06\n"
				  "\n\n\n\n\n2021-12-02\nc\n\n\n\n\n\n\n");
	free(text);
	struct adafs_sas snapshot = container;
	snapshot.resource = "bs";
	snapshot.snapshot = "2026-01-01T10:00:00.0000000Z";
	text = adafs_sas_string_to_sign("acct", "box", "a/b", &snapshot);
	assert_non_null(strstr(text, "/blob/acct/box/a/b\n"));
	assert_non_null(strstr(text, "\nbs\n2026-01-01T10:00:00.0000000Z\n"));
	free(text);
}

/* --- assertions --------------------------------------------------------------------------- */

static EVP_PKEY *key;
static X509 *certificate;

/* A key and its certificate in one text, as `cat` would join them. */
static char *make_pem(const EVP_CIPHER *cipher, const char *password, size_t *ret_len)
{
	if (!key) {
		key = EVP_RSA_gen(2048);
		certificate = X509_new();
		assert_true(key && certificate);
		ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
		X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
		X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
		X509_set_pubkey(certificate, key);
		assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	}
	BIO *out = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_PrivateKey(out, key, cipher, (const unsigned char *)password,
						  password ? (int)strlen(password) : 0, NULL, NULL),
			 1);
	assert_int_equal(PEM_write_bio_X509(out, certificate), 1);
	char *data;
	*ret_len = (size_t)BIO_get_mem_data(out, &data);
	char *pem = strndup(data, *ret_len);
	BIO_free(out);
	return pem;
}

static char *unbase64url(const char *text, size_t len, size_t *ret_len)
{
	char *copy = calloc(1, len + 4);
	memcpy(copy, text, len);
	for (char *p = copy; *p; p++)
		*p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
	while (strlen(copy) % 4)
		strcat(copy, "=");
	uint8_t *data;
	assert_int_equal(adafs_base64_decode(copy, strlen(copy), &data, ret_len), 0);
	free(copy);
	return (char *)data;
}

static void check_signature(const char *jwt)
{
	const char *dot = strrchr(jwt, '.');
	size_t len;
	char *signature = unbase64url(dot + 1, strlen(dot + 1), &len);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx;
	assert_int_equal(EVP_DigestVerifyInit(ctx, &pctx, EVP_sha256(), NULL, key), 1);
	EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
	EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST);
	assert_int_equal(EVP_DigestVerify(ctx, (uint8_t *)signature, len, (const uint8_t *)jwt,
					  (size_t)(dot - jwt)),
			 1);
	EVP_MD_CTX_free(ctx);
	free(signature);
}

static void check_assertion(const char *jwt)
{
	size_t len, n = strcspn(jwt, ".");
	char *text = unbase64url(jwt, n, &len);
	ADAFS_JSON *header = adafs_json_parse(text, len, NULL);
	free(text);
	assert_string_equal(adafs_json_str(header, "alg", ""), "PS256");
	assert_string_equal(adafs_json_str(header, "typ", ""), "JWT");
	const char *thumbprint = adafs_json_str(header, "x5t#S256", "");
	uint8_t digest[32];
	unsigned digest_len;
	X509_digest(certificate, EVP_sha256(), digest, &digest_len);
	text = unbase64url(thumbprint, strlen(thumbprint), &len);
	assert_int_equal(len, digest_len);
	assert_memory_equal(text, digest, len);
	free(text);
	assert_int_equal(cJSON_GetArraySize(header), 3);

	const char *second = jwt + n + 1;
	text = unbase64url(second, strcspn(second, "."), &len);
	ADAFS_JSON *claims = adafs_json_parse(text, len, NULL);
	free(text);
	assert_string_equal(adafs_json_str(claims, "aud", ""), "https://login/t/oauth2/v2.0/token");
	assert_string_equal(adafs_json_str(claims, "iss", ""), "client");
	assert_string_equal(adafs_json_str(claims, "sub", ""), "client");
	assert_string_equal(adafs_json_str(claims, "jti", ""), "an-id");
	assert_int_equal(adafs_json_int(claims, "nbf", 0), 1767225600);
	assert_int_equal(adafs_json_int(claims, "iat", 0), 1767225600);
	assert_int_equal(adafs_json_int(claims, "exp", 0), 1767225600 + 600);
	check_signature(jwt);
}

static char *assertion(const char *pem, size_t len, const char *password, struct adafs_err *err)
{
	return adafs_entra_assertion(pem, len, password, "client",
				     "https://login/t/oauth2/v2.0/token", "an-id", 1767225600, err);
}

static void test_assertion(void **state)
{
	(void)state;
	size_t len;
	struct adafs_err err = { 0 };
	char *pem = make_pem(NULL, NULL, &len);
	char *jwt = assertion(pem, len, NULL, &err);
	assert_non_null(jwt);
	check_assertion(jwt);
	free(jwt);
	/* A certificate without its key, a key without its certificate, neither. */
	char *second = strstr(pem, "-----BEGIN CERTIFICATE");
	assert_null(assertion(second, strlen(second), NULL, &err));
	assert_non_null(strstr(err.msg, "no private key"));
	assert_null(assertion(pem, (size_t)(second - pem), NULL, &err));
	assert_non_null(strstr(err.msg, "no certificate"));
	assert_null(assertion("nonsense", 8, NULL, &err));
	free(pem);
	pem = make_pem(EVP_aes_256_cbc(), "sesame", &len);
	assert_null(assertion(pem, len, NULL, &err));
	assert_null(assertion(pem, len, "wrong", &err));
	assert_null(strstr(err.msg, "wrong password: wrong"));
	jwt = assertion(pem, len, "sesame", &err);
	assert_non_null(jwt);
	check_assertion(jwt);
	free(jwt);
	free(pem);
}

static void test_clouds(void **state)
{
	(void)state;
	static const struct {
		const char *endpoint, *resource, *authority;
	} rows[] = {
		{ "https://a.westeurope.batch.azure.com", "https://batch.core.windows.net/",
		  "https://login.microsoftonline.com" },
		{ "https://a.usgovvirginia.batch.usgovcloudapi.net",
		  "https://batch.core.usgovcloudapi.net/", "https://login.microsoftonline.us" },
		{ "https://a.chinaeast2.batch.chinacloudapi.cn:443/",
		  "https://batch.chinacloudapi.cn/", "https://login.chinacloudapi.cn" },
		{ "http://127.0.0.1:5", "https://batch.core.windows.net/",
		  "https://login.microsoftonline.com" },
		{ "https://x.chinacloudapi.cn.evil.example", "https://batch.core.windows.net/",
		  "https://login.microsoftonline.com" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		struct adafs_entra_resource r = adafs_entra_batch(rows[i].endpoint);
		assert_string_equal(r.resource, rows[i].resource);
		assert_string_equal(r.authority, rows[i].authority);
		size_t len = strlen(r.resource);
		assert_true(strncmp(r.scope, r.resource, len) == 0);
		assert_string_equal(r.scope + len, "/.default"); /* two slashes */
	}
	struct adafs_entra_resource r =
		adafs_entra_storage("https://a.blob.core.usgovcloudapi.net");
	assert_string_equal(r.scope, "https://storage.azure.com/.default");
	assert_string_equal(r.authority, "https://login.microsoftonline.us");
}

static void test_environment(void **state)
{
	(void)state;
	struct adafs_entra e, copy;
	setenv("AZURE_TENANT_ID", "t", 1);
	setenv("AZURE_CLIENT_SECRET", "", 1);
	setenv("AZURE_TOKEN_CREDENTIALS", "managedidentitycredential", 1);
	assert_int_equal(adafs_entra_from_environment(&e, NULL), 0);
	assert_string_equal(e.tenant, "t");
	assert_null(e.secret);
	assert_int_equal(e.kind, ADAFS_ENTRA_MANAGED);
	assert_int_equal(adafs_entra_copy(&copy, &e), 0);
	adafs_entra_clear(&e);
	assert_string_equal(copy.tenant, "t");
	adafs_entra_clear(&copy);
	setenv("AZURE_TOKEN_CREDENTIALS", "magic", 1);
	struct adafs_err err;
	assert_int_equal(adafs_entra_from_environment(&e, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "AzureCliCredential"));
	adafs_entra_clear(&e);
	unsetenv("AZURE_TOKEN_CREDENTIALS");
}

/* --- rights ------------------------------------------------------------------------------- */

#define NOW_US (INT64_C(1767225600) * 1000000) /* 2026-01-01 */

static void test_rights(void **state)
{
	(void)state;
	static const struct {
		const char *sas;
		bool read_only;
		int rc;
		const char *word; /* of the refusal */
		enum adafs_sas_use use;
	} rows[] = {
		{ "sv=2&sr=c&sp=racwdl&se=2026-02-01T00:00:00Z&sig=x", false, 0, "",
		  ADAFS_SAS_READ_WRITE },
		{ "sv=2&sr=c&sp=cwrld&se=2026-02-01&sig=x", false, 0, "", ADAFS_SAS_READ_WRITE },
		{ "sv=2&sr=c&sp=rl&se=2026-02-01&sig=x", false, 0, "", ADAFS_SAS_READ_ONLY },
		{ "sv=2&sr=c&sp=rcl&se=2026-02-01&sig=x", true, 0, "", ADAFS_SAS_READ_ONLY },
		{ "sv=2&sr=c&sp=rcl&se=2026-02-01&sig=x", false, -EACCES, "w (write)", 0 },
		{ "sv=2&sr=c&sp=rcwl&se=2026-02-01&sig=x", false, -EACCES, "d (delete)", 0 },
		{ "sv=2&sr=c&sp=l&se=2026-02-01&sig=x", true, -EACCES, "r (read)", 0 },
		{ "sv=2&sr=c&sp=racwd&se=2026-02-01&sig=x", false, -EACCES, "l (list)", 0 },
		{ "sv=2&sr=b&sp=r&se=2026-02-01&sig=x", true, -EACCES, "one blob", 0 },
		{ "sv=2&sr=d&sdd=1&sp=rl&se=2026-02-01&sig=x", true, -EACCES, "one directory", 0 },
		{ "sv=2&sr=c&si=mine&sig=x", false, 0, "", ADAFS_SAS_READ_WRITE },
		{ "sv=2&sr=c&sp=rl&se=2025-12-31T23%3A59%3A59Z&sig=x", false, -EACCES,
		  "ended at 2025-12-31T23:59:59Z", 0 },
		{ "sv=2&sr=c&sp=rl&st=2026-01-02&se=2026-02-01&sig=x", false, -EACCES,
		  "starts at 2026-01-02", 0 },
		{ "sv=2&sr=c&sp=rl&se=2026-02-01&ske=2025-12-01&skoid=o&sig=x", false, -EACCES,
		  "ended at 2025-12-01", 0 },
		{ "sv=2&ss=b&srt=sco&sp=rwdlac&se=2026-02-01&sig=x", false, 0, "",
		  ADAFS_SAS_READ_WRITE },
		{ "sv=2&ss=qt&srt=sco&sp=rwdlac&se=2026-02-01&sig=x", false, -EACCES, "ss=qt", 0 },
		{ "sv=2&ss=b&srt=o&sp=rwdlac&se=2026-02-01&sig=x", false, -EACCES,
		  "resource types o only", 0 },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		struct adafs_sas_rights r;
		struct adafs_err err = { 0 };
		enum adafs_sas_use use = ADAFS_SAS_READ_WRITE;
		assert_int_equal(adafs_sas_rights_parse(rows[i].sas, &r, &err), 0);
		int rc = adafs_sas_rights_check(&r, NOW_US, rows[i].read_only, &use, &err);
		if (rc != rows[i].rc || !strstr(err.msg, rows[i].word) ||
		    (!rc && use != rows[i].use))
			fail_msg("row %zu: %d %s", i, rc, err.msg);
	}
}

static void test_rights_broken(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
		{ "sv=2", "sig=" },
		{ "sr=c&sp=rl&sig=x", "sv=" },
		{ "sv=2&sp=rl&sig=x", "sr=" },
		{ "sv=2&sr=c&sp=rl&se=soon&sig=secret", "se=" },
		{ "sv=2&sr=c&sp=%zz&sig=secret", "sp=" },
		{ "sv=2&sr=cccccccc&sp=r&sig=secret", "sr=" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		struct adafs_sas_rights r;
		struct adafs_err err = { 0 };
		assert_int_equal(adafs_sas_rights_parse(rows[i][0], &r, &err), -EINVAL);
		if (!strstr(err.msg, rows[i][1]) || strstr(err.msg, "secret"))
			fail_msg("row %zu: %s", i, err.msg);
	}
}

static void test_rights_in_words(void **state)
{
	(void)state;
	struct adafs_sas_rights r;
	assert_int_equal(
		adafs_sas_rights_parse("sv=2&ss=b&srt=sco&sp=rl&se=2026-02-01&sig=x", &r, NULL), 0);
	char *text = adafs_sas_rights_describe(&r);
	assert_string_equal(text, "an account SAS with rl, good until 2026-02-01T00:00:00Z");
	free(text);
	assert_false(adafs_sas_rights_may_create(&r));
	assert_int_equal(adafs_sas_rights_parse("sv=2&sr=c&si=mine&sig=x", &r, NULL), 0);
	text = adafs_sas_rights_describe(&r);
	assert_string_equal(
		text, "a container SAS with the rights of its policy, good until its policy says");
	free(text);
}

static int free_key(void **state)
{
	(void)state;
	EVP_PKEY_free(key);
	X509_free(certificate);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delegation),    cmocka_unit_test(test_delegation_resources),
		cmocka_unit_test(test_assertion),     cmocka_unit_test(test_clouds),
		cmocka_unit_test(test_environment),   cmocka_unit_test(test_rights),
		cmocka_unit_test(test_rights_broken), cmocka_unit_test(test_rights_in_words),
	};
	return cmocka_run_group_tests(tests, NULL, free_key);
}
