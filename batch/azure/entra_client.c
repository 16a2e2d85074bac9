/*
 * azure/entra_client.c - the client credentials grant: a secret, a certificate, or the token of
 * another issuer that Entra ID trusts. Waits in the calling thread.
 */
#include "batch/azure/entra_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/azure/account.h"
#include "batch/base/file.h"
#include "batch/base/random.h"

#define MAX_FILE (256 * 1024)
#define MAX_FORM (512 * 1024)
#define MAX_SKEW_S 60

static void secret_freep(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
}

static void form_clear(struct adafs_buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->size);
	adafs_buf_clear(b);
}

/* What tenants and client ids are made of: the tenant becomes a part of the URL. */
static bool name_ok(const char *text)
{
	return text[strspn(text,
			   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")] ==
	       0;
}

/* The token endpoint; free() it. NULL: reterr. */
static char *token_url(const struct entra_call *call, struct adafs_err *reterr)
{
	const char *authority = call->settings->authority;
	if (!authority)
		authority = call->resource.authority;
	bool has_scheme = strstr(authority, "://");
	size_t len = strlen(authority);
	while (len && authority[len - 1] == '/')
		len--;
	char *url = adafs_fmt("%s%.*s/%s/oauth2/v2.0/token", has_scheme ? "" : "https://", (int)len,
			      authority, call->settings->tenant);
	if (!url) {
		adafs_err_set(reterr, -ENOMEM, "out of memory");
		return NULL;
	}
	if (!name_ok(call->settings->tenant) || !adafs_url_is_private(url)) {
		adafs_err_set(reterr, -EINVAL,
			      name_ok(call->settings->tenant)
				      ? "AZURE_AUTHORITY_HOST is no https URL"
				      : "AZURE_TENANT_ID is no tenant's id or domain");
		free(url);
		return NULL;
	}
	return url;
}

/* Send the grant; secret_name and secret are what proves the client. */
static int grant(const struct entra_call *call, const char *url, const char *secret_name,
		 const char *secret, bool assertion, struct entra_answer *ret,
		 struct adafs_err *reterr)
{
	ADAFS_CLEANUP(form_clear) struct adafs_buf form = ADAFS_BUF_INIT(MAX_FORM);
	/* Grown bytes would stay behind in freed memory. */
	int rc = adafs_buf_reserve(&form, 3 * strlen(secret) + 1024);
	if (rc == 0)
		rc = entra_param(&form, "client_id", call->settings->client);
	if (rc == 0)
		rc = entra_param(&form, "scope", call->resource.scope);
	if (rc == 0)
		rc = entra_param(&form, "grant_type", "client_credentials");
	if (rc == 0 && assertion)
		rc = entra_param(&form, "client_assertion_type",
				 "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
	if (rc == 0)
		rc = entra_param(&form, secret_name, secret);
	struct adafs_http_request *rq =
		rc == 0 ? adafs_http_request_new("POST", strdup(url)) : NULL;
	if (!rq ||
	    adafs_http_headers_set(&rq->headers, "Content-Type",
				   "application/x-www-form-urlencoded") < 0 ||
	    adafs_http_headers_set(&rq->headers, "Accept", "application/json") < 0) {
		adafs_http_request_free(rq);
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	rq->operation = "Get Token";
	rq->body = form.data;
	rq->body_len = form.len;
	ADAFS_CLEANUP(entra_reply_clear) struct adafs_http_response reply = { 0 };
	rc = entra_exchange(call, rq, &reply, reterr);
	return rc < 0 ? rc : entra_parse(&reply, ret, reterr);
}

/* By the issuer's clock, as far as known: an assertion is good for minutes. */
static int grant_by_certificate(const struct entra_call *call, const char *url, const char *pem,
				size_t len, struct entra_answer *ret, struct adafs_err *reterr)
{
	const struct adafs_entra *s = call->settings;
	time_t now = (time_t)(adafs_http_service_us(call->http, url) / 1000000);
	char id[ADAFS_UUID_LEN];
	adafs_random_uuid(id);
	struct adafs_err why = { 0 };
	ADAFS_CLEANUP(secret_freep)
	char *assertion = adafs_entra_assertion(pem, len, s->certificate_password, s->client, url,
						id, now, &why);
	if (!assertion)
		return adafs_err_set(reterr, why.rc, "AZURE_CLIENT_CERTIFICATE_PATH=%s: %s",
				     s->certificate, why.msg);
	return grant(call, url, "client_assertion", assertion, true, ret, reterr);
}

static int fetch_by_certificate(const struct entra_call *call, const char *url,
				struct entra_answer *ret, struct adafs_err *reterr)
{
	ADAFS_CLEANUP(secret_freep) char *pem = NULL;
	size_t len;
	int64_t skew_s = 0;
	/* Read each time: certificates are renewed in place. */
	int rc = adafs_file_read(call->settings->certificate, MAX_FILE, &pem, &len, reterr);
	if (rc < 0) {
		adafs_err_prefix(reterr, "AZURE_CLIENT_CERTIFICATE_PATH");
		return -EACCES;
	}
	bool known = adafs_http_clock_skew(call->http, url, &skew_s) == 0;
	rc = grant_by_certificate(call, url, pem, len, ret, reterr);
	/* The refusal has told how far off this machine's clock is. */
	if (rc == -EACCES && !known && adafs_http_clock_skew(call->http, url, &skew_s) == 0 &&
	    llabs(skew_s) > MAX_SKEW_S)
		rc = grant_by_certificate(call, url, pem, len, ret, reterr);
	explicit_bzero(pem, len);
	return rc;
}

int entra_fetch_environment(const struct entra_call *call, struct entra_answer *ret,
			    struct adafs_err *reterr)
{
	const struct adafs_entra *s = call->settings;
	if (!s->tenant || !s->client || (!s->secret && !s->certificate))
		return adafs_err_set(reterr, -ENODATA, "%s is not set",
				     !s->tenant   ? "AZURE_TENANT_ID"
				     : !s->client ? "AZURE_CLIENT_ID"
						  : "AZURE_CLIENT_SECRET");
	ADAFS_FREE char *url = token_url(call, reterr);
	if (!url)
		return reterr && reterr->rc ? reterr->rc : -EINVAL;
	/* As in Azure's libraries a secret goes before a certificate. */
	return s->secret ? grant(call, url, "client_secret", s->secret, false, ret, reterr)
			 : fetch_by_certificate(call, url, ret, reterr);
}

int entra_fetch_workload(const struct entra_call *call, struct entra_answer *ret,
			 struct adafs_err *reterr)
{
	const struct adafs_entra *s = call->settings;
	if (!s->tenant || !s->client || !s->token_file)
		return adafs_err_set(reterr, -ENODATA, "%s is not set",
				     !s->token_file ? "AZURE_FEDERATED_TOKEN_FILE"
				     : !s->tenant   ? "AZURE_TENANT_ID"
						    : "AZURE_CLIENT_ID");
	ADAFS_FREE char *url = token_url(call, reterr);
	if (!url)
		return reterr && reterr->rc ? reterr->rc : -EINVAL;
	ADAFS_CLEANUP(secret_freep) char *token = NULL;
	size_t len;
	/* Read each time: whoever put it there replaces it every hour. */
	int rc = adafs_file_read(s->token_file, MAX_FILE, &token, &len, reterr);
	if (rc < 0) {
		adafs_err_prefix(reterr, "AZURE_FEDERATED_TOKEN_FILE");
		return -EACCES;
	}
	while (len && strchr(" \t\r\n", token[len - 1]))
		token[--len] = 0;
	if (!len)
		return adafs_err_set(reterr, -EACCES, "AZURE_FEDERATED_TOKEN_FILE=%s is empty",
				     s->token_file);
	return grant(call, url, "client_assertion", token, true, ret, reterr);
}
