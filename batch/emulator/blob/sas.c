/*
 * Shared access signatures. The steps and their order are the service's: syntax, stored policy,
 * signature, time, address, protocol, service and resource type, permission.
 */
#include "batch/emulator/blob/blob.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/emulator/traps.h"

#define MAX_STRING (64 * 1024)

/* What a SAS allows, after its stored policy was merged in. Borrowed. */
struct sas_terms {
	const char *permission, *start, *expiry;
};

/* A parameter of the SAS, "" where absent: that is how it is signed. */
static const char *param(const struct http_req *req, const char *name)
{
	const char *v = http_req_param(req, name);
	return v ? v : "";
}

static bool has(const struct http_req *req, const char *name)
{
	return *param(req, name) != 0;
}

static bool is_account_sas(const struct http_req *req)
{
	return has(req, "ss") || has(req, "srt");
}

/* Signed by a key that a user was given, not by the account's. */
static bool is_delegated(const struct http_req *req)
{
	return has(req, "skoid");
}

/* --- strings to sign ------------------------------------------------------------------------- */

static int add_lines(struct adafs_buf *b, const struct http_req *req, const char *const *names,
		     size_t n)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		rc = adafs_buf_adds(b, param(req, names[i]));
		if (rc == 0)
			rc = adafs_buf_add(b, "\n", 1);
	}
	return rc;
}

static int account_string(const struct http_req *req, const char *account, struct adafs_buf *b)
{
	static const char *const names[] = { "sp", "ss", "srt", "st", "se", "sip", "spr", "sv" };
	static const char *const later[] = { "ses" };
	int rc = adafs_buf_reserve(b, 256);
	if (rc == 0)
		rc = adafs_buf_adds(b, account);
	if (rc == 0)
		rc = adafs_buf_add(b, "\n", 1);
	if (rc == 0)
		rc = add_lines(b, req, names, ADAFS_ARRAY_SIZE(names));
	if (rc == 0 && strcmp(param(req, "sv"), "2020-12-06") >= 0)
		rc = add_lines(b, req, later, ADAFS_ARRAY_SIZE(later));
	return rc;
}

/* The part of a name that a directory SAS covers: its first sdd segments. */
static size_t directory_length(const char *name, const char *depth)
{
	long n = strtol(depth, NULL, 10);
	const char *p = name;
	while (n-- > 0 && *p) {
		p += strcspn(p, "/");
		if (n > 0 && *p)
			p++;
	}
	return (size_t)(p - name);
}

static int add_resource(struct adafs_buf *b, const struct http_req *req, const char *account,
			const char *container, const char *name)
{
	const char *sr = param(req, "sr");
	bool with_name = name && strcmp(sr, "c") != 0;
	int rc = adafs_buf_addf(b, "/blob/%s/%s", account, container ? container : "");
	if (rc == 0 && with_name) {
		size_t len = strcmp(sr, "d") == 0 ? directory_length(name, param(req, "sdd"))
						  : strlen(name);
		rc = adafs_buf_add(b, "/", 1);
		if (rc == 0)
			rc = adafs_buf_add(b, name, len);
	}
	return rc == 0 ? adafs_buf_add(b, "\n", 1) : rc;
}

static int service_string(const struct http_req *req, const char *account, const char *container,
			  const char *name, struct adafs_buf *b)
{
	static const char *const first[] = { "sp", "st", "se" };
	static const char *const second[] = { "si", "sip", "spr", "sv" };
	static const char *const overrides[] = { "rscc", "rscd", "rsce", "rscl" };
	const char *sv = param(req, "sv");
	int rc = add_lines(b, req, first, ADAFS_ARRAY_SIZE(first));
	if (rc == 0)
		rc = add_resource(b, req, account, container, name);
	if (rc == 0)
		rc = add_lines(b, req, second, ADAFS_ARRAY_SIZE(second));
	if (rc == 0 && strcmp(sv, "2018-11-09") >= 0) {
		/* A container's SAS says nothing of the snapshot that a request names. */
		bool names_it =
			strcmp(param(req, "sr"), "c") != 0 && strcmp(param(req, "sr"), "d") != 0;
		const char *time = strcmp(param(req, "sr"), "bv") == 0 ? "versionid" : "snapshot";
		rc = adafs_buf_addf(b, "%s\n%s\n", param(req, "sr"),
				    names_it ? param(req, time) : "");
	}
	if (rc == 0 && strcmp(sv, "2020-12-06") >= 0)
		rc = adafs_buf_addf(b, "%s\n", param(req, "ses"));
	if (rc == 0)
		rc = add_lines(b, req, overrides, ADAFS_ARRAY_SIZE(overrides));
	return rc == 0 ? adafs_buf_adds(b, param(req, "rsct")) : rc;
}

/*
 * "name:value" lines of what a SAS wants to see in the request: names is a list parted by commas,
 * header says which kind. What is absent is signed as empty, so that its lack breaks the signature.
 */
static int add_wanted(struct adafs_buf *b, const struct http_req *req, const char *names,
		      bool header)
{
	ADAFS_FREE char *copy = strdup(names);
	char *save = NULL;
	int rc = copy ? 0 : -ENOMEM;
	for (char *n = rc == 0 ? strtok_r(copy, ",", &save) : NULL; rc == 0 && n;
	     n = strtok_r(NULL, ",", &save)) {
		const char *v = header ? http_req_header(req, n) : http_req_param(req, n);
		rc = adafs_buf_addf(b, "%s:%s\n", n, v ? v : "");
	}
	return rc == 0 ? adafs_buf_add(b, "\n", 1) : rc;
}

static int delegated_string(const struct http_req *req, const char *account, const char *container,
			    const char *name, struct adafs_buf *b)
{
	static const char *const terms[] = { "sp", "st", "se" };
	static const char *const key[] = { "skoid", "sktid", "skt", "ske", "sks", "skv" };
	static const char *const agents[] = { "saoid", "suoid", "scid" };
	static const char *const users[] = { "skdutid", "sduoid" };
	static const char *const limits[] = { "sip", "spr", "sv", "sr" };
	static const char *const overrides[] = { "rscc", "rscd", "rsce", "rscl" };
	const char *sv = param(req, "sv"), *sr = param(req, "sr");
	int rc = add_lines(b, req, terms, ADAFS_ARRAY_SIZE(terms));
	if (rc == 0)
		rc = add_resource(b, req, account, container, name);
	if (rc == 0)
		rc = add_lines(b, req, key, ADAFS_ARRAY_SIZE(key));
	if (rc == 0 && strcmp(sv, "2020-02-10") >= 0)
		rc = add_lines(b, req, agents, ADAFS_ARRAY_SIZE(agents));
	if (rc == 0 && strcmp(sv, "2025-07-05") >= 0)
		rc = add_lines(b, req, users, ADAFS_ARRAY_SIZE(users));
	if (rc == 0)
		rc = add_lines(b, req, limits, ADAFS_ARRAY_SIZE(limits));
	if (rc == 0)
		rc = adafs_buf_addf(b, "%s\n",
				    strcmp(sr, "bv") == 0  ? param(req, "versionid")
				    : strcmp(sr, "c") == 0 ? ""
							   : param(req, "snapshot"));
	if (rc == 0 && strcmp(sv, "2020-12-06") >= 0)
		rc = adafs_buf_addf(b, "%s\n", param(req, "ses"));
	if (rc == 0 && strcmp(sv, "2026-04-06") >= 0)
		rc = add_wanted(b, req, param(req, "srh"), true);
	if (rc == 0 && strcmp(sv, "2026-04-06") >= 0)
		rc = add_wanted(b, req, param(req, "srq"), false);
	if (rc == 0)
		rc = add_lines(b, req, overrides, ADAFS_ARRAY_SIZE(overrides));
	return rc == 0 ? adafs_buf_adds(b, param(req, "rsct")) : rc;
}

int sas_string_to_sign(const struct http_req *req, const char *account, const char *container,
		       const char *name, struct adafs_buf *ret)
{
	if (is_delegated(req))
		return delegated_string(req, account, container, name, ret);
	return is_account_sas(req) ? account_string(req, account, ret)
				   : service_string(req, account, container, name, ret);
}

/* --- the steps ------------------------------------------------------------------------------- */

static int failed(struct blob_call *c, const char *detail)
{
	call_detail(c, "AuthenticationErrorDetail", "%s", detail);
	return BE_AUTHENTICATION_FAILED;
}

static bool is_one_of(const char *text, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(text, list[i]) == 0)
			return true;
	return false;
}

/* All fields of the key are there, and no stored policy adds to it. */
static bool delegation_complete(const struct http_req *req)
{
	static const char *const needed[] = {
		"sktid", "skt", "ske", "sks", "skv", "sp", "se", "sr"
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(needed); i++)
		if (!has(req, needed[i]))
			return false;
	return strcmp(param(req, "sv"), "2018-11-09") >= 0 && strcmp(param(req, "sks"), "b") == 0 &&
	       !has(req, "si") && !is_account_sas(req);
}

static int check_syntax(struct blob_call *c, const struct http_req *req)
{
	/* Directories (sr=d) exist in hierarchical namespaces only, which this account has not. */
	static const char *const kinds[] = { "b", "c", "bs", "bv" };
	const char *sv = param(req, "sv");
	if (strlen(sv) != 10 || strcmp(sv, "2015-04-05") < 0 || !has(req, "sig"))
		return failed(c, "Signature fields not well formed.");
	if (is_delegated(req) && !delegation_complete(req))
		return failed(c, "Signature fields not well formed.");
	if (is_account_sas(req)) {
		if (!has(req, "ss") || !has(req, "srt") || !has(req, "sp") || !has(req, "se"))
			return failed(c, "Signature fields not well formed.");
	} else if (!is_one_of(param(req, "sr"), kinds, ADAFS_ARRAY_SIZE(kinds)) ||
		   (strcmp(param(req, "sr"), "bs") == 0 &&
		    (strcmp(sv, "2018-11-09") < 0 || !has(req, "snapshot"))) ||
		   (strcmp(param(req, "sr"), "bv") == 0 &&
		    (strcmp(sv, "2018-11-09") < 0 || !has(req, "versionid")))) {
		return failed(c, "sr is mandatory and must name a resource of the request.");
	}
	if (has(req, "spr") && strcmp(param(req, "spr"), "https") != 0 &&
	    strcmp(param(req, "spr"), "https,http") != 0)
		return failed(c, "spr must be https or https,http.");
	return 0;
}

/* A term of the URI or of the policy, but not of both. */
static int merge_term(struct blob_call *c, const struct http_req *req, const char *name,
		      const char *policy, const char **ret)
{
	const char *uri = has(req, name) ? param(req, name) : NULL;
	if (uri && policy)
		return call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, name,
				      "The access policy already has this field.");
	*ret = uri ? uri : policy;
	return 0;
}

static int merge_policy(struct blob_call *c, const struct sas_request *r,
			struct container_info *holder, struct sas_terms *ret)
{
	static const struct blob_policy none;
	const struct blob_policy *p = &none;
	const char *si = param(r->req, "si");
	if (*si) {
		if (!r->container || is_account_sas(r->req))
			return failed(c, "si needs a container.");
		int rc = policies_obeyed(c, r->container, holder);
		if (rc < 0)
			return rc;
		p = NULL;
		for (size_t i = 0; i < holder->n_policies; i++)
			if (strcmp(holder->policies[i].id, si) == 0)
				p = &holder->policies[i];
		if (!p)
			return failed(c,
				      "The stored access policy of the signature does not exist.");
	}
	int rc = merge_term(c, r->req, "sp", p->permission, &ret->permission);
	if (rc == 0)
		rc = merge_term(c, r->req, "st", p->start, &ret->start);
	if (rc == 0)
		rc = merge_term(c, r->req, "se", p->expiry, &ret->expiry);
	if (rc == 0 && (!ret->permission || !ret->expiry))
		return failed(c, "Signature fields not well formed.");
	return rc;
}

/* Whether a text is signed by the key that a user with this role was given. */
static int signed_by_user(struct blob_call *c, const struct http_req *req,
			  const struct adafs_buf *text, bool may_write)
{
	struct delegation_fields f = { .oid = param(req, "skoid"),
				       .tid = param(req, "sktid"),
				       .start = param(req, "skt"),
				       .expiry = param(req, "ske"),
				       .service = param(req, "sks"),
				       .version = param(req, "skv"),
				       .may_write = may_write };
	uint8_t key[ADAFS_SHA256_LEN], mac[ADAFS_SHA256_LEN];
	int rc = delegation_key(c->service->key, c->service->key_len, &f, key);
	if (rc == 0)
		rc = adafs_hmac_sha256(key, sizeof(key), text->data, text->len, mac);
	ADAFS_FREE char *have = rc == 0 ? adafs_base64_encode(mac, sizeof(mac)) : NULL;
	const char *sig = param(req, "sig");
	if (rc == 0 && !have)
		rc = -ENOMEM;
	return rc < 0 ? rc : adafs_equal_secret(have, strlen(have), sig, strlen(sig));
}

/* 1: the signature is right, and *ret_reads tells whether its key is a reader's. */
static int is_signed(struct blob_call *c, const struct http_req *req, const struct adafs_buf *text,
		     bool *ret_reads)
{
	*ret_reads = false;
	if (is_delegated(req)) {
		int rc = signed_by_user(c, req, text, true);
		if (rc != 0)
			return rc;
		*ret_reads = true;
		return signed_by_user(c, req, text, false);
	}
	const char *sig = param(req, "sig");
	if (sas_memo_knows(c->service->sas_memo, text, sig))
		return 1;
	ADAFS_FREE char *have = auth_sign(c->service, text->data, text->len);
	if (!have)
		return -ENOMEM;
	bool right = adafs_equal_secret(have, strlen(have), sig, strlen(sig));
	if (right)
		sas_memo_keep(c->service->sas_memo, text, sig);
	return right;
}

static int check_sig(struct blob_call *c, const struct sas_request *r, bool *ret_reads)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_STRING);
	int rc = sas_string_to_sign(r->req, c->service->account, r->container, r->name, &b);
	if (rc < 0)
		return rc;
	rc = is_signed(c, r->req, &b, ret_reads);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	call_detail(c, "AuthenticationErrorDetail",
		    "Signature did not match. String to sign used was %s", adafs_buf_str(&b));
	return BE_AUTHENTICATION_FAILED;
}

static void http_date(int64_t us, char out[ADAFS_RFC1123_LEN])
{
	adafs_clock_rfc1123((time_t)(us / 1000000), out);
}

/* The clock that SAS are checked with, which a trap sets wrong. */
static int64_t sas_now(const struct blob_call *c)
{
	return adafs_clock_wall_us() +
	       (int64_t)(trap_value(c->service->traps, TRAP_SAS_CLOCK) * 1e6);
}

static int check_time(struct blob_call *c, const struct sas_terms *t)
{
	int64_t start = 0, expiry, now = sas_now(c);
	if (adafs_clock_parse_iso8601(t->expiry, &expiry) < 0 ||
	    (t->start && adafs_clock_parse_iso8601(t->start, &start) < 0))
		return failed(c, "Signature fields not well formed.");
	if (now >= start && now < expiry && (!t->start || expiry > start))
		return 0;
	char from[ADAFS_RFC1123_LEN], to[ADAFS_RFC1123_LEN], current[ADAFS_RFC1123_LEN];
	http_date(start, from);
	http_date(expiry, to);
	http_date(now, current);
	if (t->start && expiry <= start) {
		call_detail(c, "AuthenticationErrorDetail",
			    "Signed expiry time [%s] has to be after signed start time [%s]", to,
			    from);
		return BE_AUTHENTICATION_FAILED;
	}
	call_detail(c, "AuthenticationErrorDetail",
		    "Signature not valid in the specified time frame: Start [%s] - Expiry [%s] - "
		    "Current [%s]",
		    t->start ? from : "", to, current);
	return BE_AUTHENTICATION_FAILED;
}

/* A SAS holds no longer than the key that signed it. */
static int check_key_time(struct blob_call *c, const struct http_req *req)
{
	struct sas_terms key = { .start = param(req, "skt"), .expiry = param(req, "ske") };
	return is_delegated(req) ? check_time(c, &key) : 0;
}

/* One that is bound to a user needs that user's token beside it. */
static int check_user(struct blob_call *c, const struct sas_request *r)
{
	const char *user = param(r->req, "sduoid");
	if (!*user || !is_delegated(r->req))
		return 0;
	static const struct blob_route any = { .operation = "Unknown" };
	const char *authorization = call_header(c, "Authorization");
	struct token_claims who;
	if (!authorization || strncmp(authorization, "Bearer ", 7) != 0)
		return failed(c, "The signature is bound to a user, whose token is missing.");
	int rc = bearer_check(c, authorization, &any, &who);
	if (rc != 0)
		return rc;
	const char *tenant = param(r->req, "skdutid");
	if (strcasecmp(who.oid, user) != 0 || (*tenant && strcasecmp(who.tid, tenant) != 0))
		return failed(c, "The signature is bound to another user.");
	return 0;
}

static int check_address(const struct sas_request *r)
{
	const char *sip = param(r->req, "sip");
	if (!*sip)
		return 0;
	char first[64];
	size_t len = strcspn(sip, "-");
	if (len >= sizeof(first))
		return BE_SOURCE_IP_MISMATCH;
	memcpy(first, sip, len);
	first[len] = 0;
	struct in_addr lo, hi, peer;
	if (inet_pton(AF_INET, first, &lo) != 1 ||
	    inet_pton(AF_INET, sip[len] ? sip + len + 1 : first, &hi) != 1 ||
	    inet_pton(AF_INET, r->peer, &peer) != 1)
		return BE_SOURCE_IP_MISMATCH;
	uint32_t at = ntohl(peer.s_addr);
	return at >= ntohl(lo.s_addr) && at <= ntohl(hi.s_addr) ? 0 : BE_SOURCE_IP_MISMATCH;
}

static int check_kind(const struct sas_request *r)
{
	if (!is_account_sas(r->req))
		return r->route->no_service_sas ? BE_PERMISSION_MISMATCH : 0;
	if (!strchr(param(r->req, "ss"), 'b'))
		return BE_SERVICE_MISMATCH;
	if (r->route->resource && !strchr(param(r->req, "srt"), r->route->resource))
		return BE_RESOURCE_TYPE_MISMATCH;
	return 0;
}

/* reads: who signed may read only, whatever the SAS says. */
static int check_permission(struct blob_call *c, const struct sas_request *r, const char *granted,
			    bool reads)
{
	const char *wanted = r->route->permissions;
	if (!wanted)
		return 0;
	/* A SAS of one blob cannot list its container, whatever letters it holds. */
	if (!is_account_sas(r->req) && r->route->level == LEVEL_CONTAINER &&
	    strcmp(param(r->req, "sr"), "c") != 0)
		return BE_PERMISSION_MISMATCH;
	bool tags = r->req == c->req && http_req_header(r->req, "x-ms-tags");
	if (tags && !strchr(granted, 't'))
		return BE_PERMISSION_MISMATCH;
	for (const char *p = wanted; *p; p++)
		if (strchr(granted, *p) &&
		    (!reads || (strchr("rlf", *p) && strcmp(r->route->method, "PUT") != 0)))
			return 0;
	return BE_PERMISSION_MISMATCH;
}

int sas_check(struct blob_call *c, const struct sas_request *r, enum auth_kind *ret_kind,
	      bool *ret_overwrite)
{
	ADAFS_CLEANUP(container_info_clear) struct container_info holder = { 0 };
	struct sas_terms t = { 0 };
	bool reads = false;
	int rc = check_syntax(c, r->req);
	if (rc == 0 && c->service->no_shared_key && !is_delegated(r->req))
		rc = BE_KEY_NOT_PERMITTED;
	if (rc == 0)
		rc = merge_policy(c, r, &holder, &t);
	if (rc == 0)
		rc = check_sig(c, r, &reads);
	if (rc == 0)
		rc = check_time(c, &t);
	if (rc == 0)
		rc = check_key_time(c, r->req);
	if (rc == 0)
		rc = check_user(c, r);
	if (rc == 0)
		rc = check_address(r);
	if (rc == 0 && strcmp(param(r->req, "spr"), "https") == 0)
		rc = BE_PROTOCOL_MISMATCH; /* this service speaks plain HTTP on loopback only */
	if (rc == 0)
		rc = check_kind(r);
	if (rc == 0)
		rc = check_permission(c, r, t.permission, reads);
	if (rc != 0)
		return rc;
	*ret_kind = is_account_sas(r->req) ? AUTH_ACCOUNT_SAS : AUTH_SERVICE_SAS;
	*ret_overwrite = strchr(t.permission, 'w') != NULL;
	return 0;
}
