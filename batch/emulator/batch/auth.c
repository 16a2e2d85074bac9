/* emulator/batch/auth.c - the text that a client should have signed, and the comparison. Pure. */
#include "batch/emulator/batch/auth.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/digest.h"

#define SKEW_SECONDS (15 * 60)
#define STRING_MAX (256u << 10)

static const char *header_or_empty(const struct http_req *req, const char *name)
{
	const char *value = http_req_header(req, name);
	return value ? value : "";
}

static int by_name(const void *a, const void *b)
{
	const struct http_field *x = a, *y = b;
	return strcasecmp(x->name, y->name);
}

static int by_name_bytes(const void *a, const void *b)
{
	const struct http_field *x = a, *y = b;
	return strcmp(x->name, y->name);
}

/* A sorted copy whose texts are borrowed. */
static struct http_field *sorted(const struct http_field *fields, size_t n,
				 int (*compare)(const void *, const void *))
{
	struct http_field *copy = calloc(n + 1, sizeof(*copy));
	if (copy && n) {
		memcpy(copy, fields, n * sizeof(*copy));
		qsort(copy, n, sizeof(*copy), compare);
	}
	return copy;
}

static int add_ocp_headers(struct adafs_buf *b, const struct http_req *req)
{
	ADAFS_FREE struct http_field *h = sorted(req->headers, req->n_headers, by_name);
	int rc = h ? 0 : -1;
	for (size_t i = 0; rc == 0 && i < req->n_headers; i++) {
		if (strncasecmp(h[i].name, "ocp-", 4) != 0)
			continue;
		for (const char *p = h[i].name; rc == 0 && *p; p++) {
			char c = (char)tolower((unsigned char)*p);
			rc = adafs_buf_add(b, &c, 1);
		}
		if (rc == 0)
			rc = adafs_buf_addf(b, ":%s\n", h[i].value);
	}
	return rc;
}

static int add_resource(struct adafs_buf *b, const struct http_req *req, const char *account,
			bool with_empty)
{
	ADAFS_FREE struct http_field *p = sorted(req->params, req->n_params, by_name_bytes);
	int rc = p ? adafs_buf_addf(b, "/%s%s", account, req->path) : -1;
	for (size_t i = 0; rc == 0 && i < req->n_params; i++)
		if (with_empty || *p[i].value)
			rc = adafs_buf_addf(b, "\n%s:%s", p[i].name, p[i].value);
	return rc;
}

static char *string_to_sign(const struct http_req *req, const char *account,
			    const char *content_length, bool with_empty)
{
	static const char *const before[] = { "Content-Encoding", "Content-Language" };
	static const char *const after[] = { "Content-MD5",         "Content-Type", "Date",
					     "If-Modified-Since",   "If-Match",     "If-None-Match",
					     "If-Unmodified-Since", "Range" };
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(STRING_MAX);
	int rc = adafs_buf_addf(&b, "%s\n", req->method);
	for (size_t i = 0; rc == 0 && i < ADAFS_ARRAY_SIZE(before); i++)
		rc = adafs_buf_addf(&b, "%s\n", header_or_empty(req, before[i]));
	if (rc == 0)
		rc = adafs_buf_addf(&b, "%s\n", content_length);
	bool ocp_date = http_req_header(req, "ocp-date") != NULL;
	for (size_t i = 0; rc == 0 && i < ADAFS_ARRAY_SIZE(after); i++) {
		bool skip = ocp_date && strcmp(after[i], "Date") == 0;
		rc = adafs_buf_addf(&b, "%s\n", skip ? "" : header_or_empty(req, after[i]));
	}
	if (rc == 0)
		rc = add_ocp_headers(&b, req);
	if (rc == 0)
		rc = add_resource(&b, req, account, with_empty);
	return rc == 0 ? adafs_buf_steal(&b, NULL) : NULL;
}

static bool signature_equal(const char *text, const uint8_t *key, size_t key_len,
			    const char *signature)
{
	uint8_t mac[ADAFS_SHA256_LEN];
	if (adafs_hmac_sha256(key, key_len, text, strlen(text), mac) < 0)
		return false;
	ADAFS_FREE char *expected = adafs_base64_encode(mac, sizeof(mac));
	return expected &&
	       adafs_equal_secret(expected, strlen(expected), signature, strlen(signature));
}

static bool date_fits(const struct http_req *req, time_t now)
{
	const char *date = http_req_header(req, "ocp-date");
	if (!date)
		date = http_req_header(req, "Date");
	time_t t;
	return date && adafs_clock_parse_rfc1123(date, &t) == 0 && t >= now - SKEW_SECONDS &&
	       t <= now + SKEW_SECONDS;
}

/* Clients differ in whether they sign a length of nothing and parameters without a value. */
static bool any_variant_fits(const struct http_req *req, const char *account, const uint8_t *key,
			     size_t key_len, const char *signature, char **ret_string)
{
	const char *sent = header_or_empty(req, "Content-Length");
	const char *lengths[] = { sent, "", "0" };
	size_t n = *sent && strcmp(sent, "0") != 0 ? 1 : ADAFS_ARRAY_SIZE(lengths);
	for (size_t i = 0; i < n; i++) {
		for (int with_empty = 1; with_empty >= 0; with_empty--) {
			char *text = string_to_sign(req, account, lengths[i], with_empty);
			if (text && signature_equal(text, key, key_len, signature)) {
				free(text);
				return true;
			}
			if (*ret_string)
				free(text);
			else
				*ret_string = text;
		}
	}
	return false;
}

/* A reader may look only: every other method changes something or may. */
static enum batch_auth_result check_token(const struct http_req *req, struct token_issuer *issuer,
					  const char *token, time_t now, char **ret_detail)
{
	static const char *const audiences[] = { "https://batch.core.windows.net" };
	struct token_claims who;
	struct adafs_err err = { 0 };
	if (token_check(issuer, token + strspn(token, " "), audiences, ADAFS_ARRAY_SIZE(audiences),
			(int64_t)now, &who, &err) < 0) {
		*ret_detail = strdup(err.msg);
		return BATCH_AUTH_BAD_TOKEN;
	}
	bool reads = strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0;
	if (reads ? who.may_read : who.may_write)
		return BATCH_AUTH_OK;
	*ret_detail = strdup("The token's roles do not allow this operation.");
	return BATCH_AUTH_FAILED;
}

enum batch_auth_result batch_auth_check(const struct http_req *req,
					const struct batch_auth_keys *keys, time_t now,
					char **ret_detail)
{
	const char *account = keys->account, *auth = http_req_header(req, "Authorization");
	if (!auth)
		return BATCH_AUTH_MISSING;
	const char *scheme = "SharedKey ";
	size_t n = strlen(scheme), account_len = strlen(account);
	if (keys->issuer && strncasecmp(auth, "Bearer ", 7) == 0)
		return check_token(req, keys->issuer, auth + 7, now, ret_detail);
	if (strncasecmp(auth, scheme, n) != 0) {
		*ret_detail =
			strdup(keys->issuer ? "The scheme is neither SharedKey nor Bearer."
					    : "The emulator takes the SharedKey scheme only.");
		return BATCH_AUTH_FAILED;
	}
	if (keys->no_shared_key) {
		*ret_detail = strdup("The account does not allow authentication by Shared Key.");
		return BATCH_AUTH_FAILED;
	}
	const char *who = auth + n + strspn(auth + n, " ");
	if (strncasecmp(who, account, account_len) != 0 || who[account_len] != ':') {
		*ret_detail =
			adafs_fmt("The account in the Authorization header is not '%s'.", account);
		return BATCH_AUTH_FAILED;
	}
	if (!date_fits(req, now)) {
		*ret_detail =
			strdup("The ocp-date or Date header is missing or more than 15 minutes "
			       "off.");
		return BATCH_AUTH_FAILED;
	}
	ADAFS_FREE char *text = NULL;
	if (any_variant_fits(req, account, keys->key, keys->key_len, who + account_len + 1, &text))
		return BATCH_AUTH_OK;
	*ret_detail =
		adafs_fmt("The MAC signature found in the HTTP request is not the same as any "
			  "computed signature. Server used following string to sign: '%s'.",
			  text ? text : "");
	return BATCH_AUTH_FAILED;
}
