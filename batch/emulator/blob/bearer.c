/* Bearer tokens at the Blob service, and the keys that their holders may sign SAS with. */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"

#define MAX_KEY_LIFE_US (7LL * 86400 * 1000000)
#define CHALLENGED_SINCE "2019-12-12"

static int check_token(struct blob_call *c, const char *token, struct token_claims *ret)
{
	ADAFS_FREE char *own = adafs_fmt("https://%s.blob.core.windows.net", c->service->account);
	if (!own)
		return -ENOMEM;
	const char *const audiences[] = { "https://storage.azure.com",
					  "e406a681-f3d4-42a8-90b6-c2b029497af1", own };
	struct adafs_err err = { 0 };
	int rc = token_check(c->service->issuer, token, audiences, ADAFS_ARRAY_SIZE(audiences),
			     adafs_clock_wall_us() / 1000000, ret, &err);
	if (rc != -EACCES)
		return rc;
	call_detail(c, "AuthenticationErrorDetail", "%s", err.msg);
	return BE_INVALID_TOKEN;
}

int bearer_check(struct blob_call *c, const char *authorization, const struct blob_route *route,
		 struct token_claims *ret)
{
	struct token_claims claims;
	if (!c->service->issuer)
		return BE_INVALID_AUTHENTICATION_INFO;
	if (!c->batch && !call_header(c, "x-ms-version")) {
		call_detail(c, "AuthenticationErrorDetail",
			    "Bearer tokens need an x-ms-version of 2017-11-09 or later.");
		return BE_AUTHENTICATION_FAILED;
	}
	static const char scheme[] = "Bearer ";
	if (strncmp(authorization, scheme, sizeof(scheme) - 1) != 0)
		return BE_INVALID_AUTHENTICATION_INFO; /* that of a copy's source may be anything */
	const char *token = authorization + sizeof(scheme) - 1;
	int rc = check_token(c, token + strspn(token, " "), &claims);
	if (rc != 0)
		return rc;
	/* What is posted changes nothing by itself: a batch asks for each of its requests. */
	const char *method = route->method ? route->method : "";
	bool writes = strcmp(method, "PUT") == 0 || strcmp(method, "DELETE") == 0;
	if (!(writes ? claims.may_write : claims.may_read))
		return BE_PERMISSION_MISMATCH;
	*ret = claims;
	return 0;
}

void bearer_challenge(struct blob_call *c, struct http_resp *resp)
{
	char tenant[64] = "common";
	if (resp->status != 401 || strcmp(c->version, CHALLENGED_SINCE) < 0)
		return;
	if (c->service->issuer)
		token_issuer_tenant(c->service->issuer, tenant);
	http_resp_headerf(resp, "WWW-Authenticate",
			  "Bearer authorization_uri=https://login.microsoftonline.com/%s/oauth2/"
			  "authorize resource_id=https://storage.azure.com",
			  tenant);
}

/* --- Get User Delegation Key ----------------------------------------------------------------- */

struct key_info {
	char start[64], expiry[64], delegated_tid[64];
};

static int key_info_end(void *arg, const char *path, const char *text, size_t len)
{
	struct key_info *k = arg;
	char *to = strcmp(path, "KeyInfo/Start") == 0              ? k->start
		   : strcmp(path, "KeyInfo/Expiry") == 0           ? k->expiry
		   : strcmp(path, "KeyInfo/DelegatedUserTid") == 0 ? k->delegated_tid
								   : NULL;
	if (!to)
		return 0;
	if (len >= sizeof(k->start))
		return -EINVAL;
	memcpy(to, text, len);
	to[len] = 0;
	return 0;
}

/* The times of the key, as the answer and every SAS will have them. */
static int key_times(struct blob_call *c, const struct key_info *k, char start[ADAFS_ISO8601_LEN],
		     char expiry[ADAFS_ISO8601_LEN])
{
	int64_t now = adafs_clock_wall_us(), from = now, to;
	if (!*k->expiry) {
		call_detail(c, "XmlNodeName", "%s", "Expiry");
		return BE_MISSING_XML_NODE;
	}
	if ((*k->start && adafs_clock_parse_iso8601(k->start, &from) < 0) ||
	    adafs_clock_parse_iso8601(k->expiry, &to) < 0 || to <= now || to <= from ||
	    to - from > MAX_KEY_LIFE_US || to - now > MAX_KEY_LIFE_US) {
		call_detail(c, "XmlNodeName", "%s", "Expiry");
		call_detail(c, "XmlNodeValue", "%s", k->expiry);
		return BE_INVALID_XML_NODE_VALUE;
	}
	adafs_clock_iso8601_seconds(from, start);
	adafs_clock_iso8601_seconds(to, expiry);
	return 0;
}

static int key_body(const struct delegation_fields *f, const char *delegated_tid,
		    const uint8_t key[ADAFS_SHA256_LEN], struct adafs_buf *b)
{
	ADAFS_FREE char *value = adafs_base64_encode(key, ADAFS_SHA256_LEN);
	const char *const members[][2] = {
		{ "SignedOid", f->oid },
		{ "SignedTid", f->tid },
		{ "SignedStart", f->start },
		{ "SignedExpiry", f->expiry },
		{ "SignedService", f->service },
		{ "SignedVersion", f->version },
		{ "SignedDelegatedUserTid", delegated_tid },
		{ "Value", value },
	};
	int rc = value ? adafs_buf_adds(b, "<UserDelegationKey>") : -ENOMEM;
	for (size_t i = 0; rc == 0 && i < ADAFS_ARRAY_SIZE(members); i++)
		if (members[i][1])
			rc = adafs_xml_element(b, members[i][0], members[i][1]);
	if (value)
		explicit_bzero(value, strlen(value));
	return rc == 0 ? adafs_buf_adds(b, "</UserDelegationKey>") : rc;
}

int op_user_delegation_key(struct blob_call *c, struct http_resp *resp)
{
	struct key_info info = { 0 };
	struct adafs_xml_handler h = { .end = key_info_end, .arg = &info };
	char start[ADAFS_ISO8601_LEN], expiry[ADAFS_ISO8601_LEN];
	if (c->auth != AUTH_BEARER) {
		call_detail(c, "AuthenticationErrorDetail",
			    "Only authentication scheme Bearer is supported");
		return BE_AUTHENTICATION_FAILED;
	}
	if (adafs_xml_parse(c->req->body.data, c->req->body.len, &h, NULL) < 0)
		return BE_INVALID_XML_DOCUMENT;
	int rc = key_times(c, &info, start, expiry);
	if (rc != 0)
		return rc;
	struct delegation_fields f = { .oid = c->who.oid,
				       .tid = c->who.tid,
				       .start = start,
				       .expiry = expiry,
				       .service = "b",
				       .version = c->version,
				       .may_write = c->who.may_write };
	uint8_t key[ADAFS_SHA256_LEN];
	rc = delegation_key(c->service->key, c->service->key_len, &f, key);
	if (rc == 0)
		rc = answer_xml(resp, 200);
	if (rc == 0)
		rc = key_body(&f, *info.delegated_tid ? info.delegated_tid : NULL, key,
			      &resp->body);
	explicit_bzero(key, sizeof(key));
	return rc;
}
