/*
 * Shared access signatures. The steps and their order are the service's: syntax, stored policy,
 * signature, time, address, protocol, service and resource type, permission.
 */
#include "batch/emulator/blob/blob.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"

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

/* --- strings to sign ------------------------------------------------------------------------- */

static int add_lines(struct adafs_buf *b, const struct http_req *req, const char *const *names,
		     size_t n)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = adafs_buf_addf(b, "%s\n", param(req, names[i]));
	return rc;
}

static int account_string(const struct http_req *req, const char *account, struct adafs_buf *b)
{
	static const char *const names[] = {"sp", "ss", "srt", "st", "se", "sip", "spr", "sv"};
	int rc = adafs_buf_addf(b, "%s\n", account);
	if (rc == 0)
		rc = add_lines(b, req, names, ADAFS_ARRAY_SIZE(names));
	if (rc == 0 && strcmp(param(req, "sv"), "2020-12-06") >= 0)
		rc = adafs_buf_addf(b, "%s\n", param(req, "ses"));
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
	static const char *const first[] = {"sp", "st", "se"};
	static const char *const second[] = {"si", "sip", "spr", "sv"};
	static const char *const overrides[] = {"rscc", "rscd", "rsce", "rscl"};
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
		rc = adafs_buf_addf(b, "%s\n%s\n", param(req, "sr"),
				    names_it ? param(req, "snapshot") : "");
	}
	if (rc == 0 && strcmp(sv, "2020-12-06") >= 0)
		rc = adafs_buf_addf(b, "%s\n", param(req, "ses"));
	if (rc == 0)
		rc = add_lines(b, req, overrides, ADAFS_ARRAY_SIZE(overrides));
	return rc == 0 ? adafs_buf_adds(b, param(req, "rsct")) : rc;
}

int sas_string_to_sign(const struct http_req *req, const char *account, const char *container,
		       const char *name, struct adafs_buf *ret)
{
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

static int check_syntax(struct blob_call *c, const struct http_req *req)
{
	/* Directories (sr=d) exist in hierarchical namespaces only, which this account has not. */
	static const char *const kinds[] = {"b", "c", "bs"};
	const char *sv = param(req, "sv");
	if (strlen(sv) != 10 || strcmp(sv, "2015-04-05") < 0 || !has(req, "sig"))
		return failed(c, "Signature fields not well formed.");
	if (has(req, "skoid"))
		return failed(c, "User delegation keys are not known to this service.");
	if (is_account_sas(req)) {
		if (!has(req, "ss") || !has(req, "srt") || !has(req, "sp") || !has(req, "se"))
			return failed(c, "Signature fields not well formed.");
	} else if (!is_one_of(param(req, "sr"), kinds, ADAFS_ARRAY_SIZE(kinds)) ||
		   (strcmp(param(req, "sr"), "bs") == 0 &&
		    (strcmp(sv, "2018-11-09") < 0 || !has(req, "snapshot")))) {
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
		int rc = store_container_get(c->service->store, r->container, true, holder);
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

static int check_sig(struct blob_call *c, const struct sas_request *r)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_STRING);
	int rc = sas_string_to_sign(r->req, c->service->account, r->container, r->name, &b);
	if (rc < 0)
		return rc;
	ADAFS_FREE char *have = auth_sign(c->service, b.data, b.len);
	if (!have)
		return -ENOMEM;
	const char *sig = param(r->req, "sig");
	if (adafs_equal_secret(have, strlen(have), sig, strlen(sig)))
		return 0;
	call_detail(c, "AuthenticationErrorDetail",
		    "Signature did not match. String to sign used was %s", adafs_buf_str(&b));
	return BE_AUTHENTICATION_FAILED;
}

static void http_date(int64_t us, char out[ADAFS_RFC1123_LEN])
{
	adafs_clock_rfc1123((time_t)(us / 1000000), out);
}

static int check_time(struct blob_call *c, const struct sas_terms *t)
{
	int64_t start = 0, expiry, now = adafs_clock_wall_us();
	if (adafs_clock_parse_iso8601(t->expiry, &expiry) < 0 ||
	    (t->start && adafs_clock_parse_iso8601(t->start, &start) < 0))
		return failed(c, "Signature fields not well formed.");
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
	if (now < start || now >= expiry) {
		call_detail(c, "AuthenticationErrorDetail",
			    "Signature not valid in the specified time frame: Start [%s] - Expiry "
			    "[%s] - "
			    "Current [%s]",
			    t->start ? from : "", to, current);
		return BE_AUTHENTICATION_FAILED;
	}
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

static int check_permission(const struct sas_request *r, const char *granted)
{
	const char *wanted = r->route->permissions;
	if (!wanted)
		return 0;
	/* A SAS of one blob cannot list its container, whatever letters it holds. */
	if (!is_account_sas(r->req) && r->route->level == LEVEL_CONTAINER &&
	    strcmp(param(r->req, "sr"), "c") != 0)
		return BE_PERMISSION_MISMATCH;
	return strpbrk(granted, wanted) ? 0 : BE_PERMISSION_MISMATCH;
}

int sas_check(struct blob_call *c, const struct sas_request *r, enum auth_kind *ret_kind,
	      bool *ret_overwrite)
{
	ADAFS_CLEANUP(container_info_clear) struct container_info holder = {0};
	struct sas_terms t = {0};
	int rc = check_syntax(c, r->req);
	if (rc == 0)
		rc = merge_policy(c, r, &holder, &t);
	if (rc == 0)
		rc = check_sig(c, r);
	if (rc == 0)
		rc = check_time(c, &t);
	if (rc == 0)
		rc = check_address(r);
	if (rc == 0 && strcmp(param(r->req, "spr"), "https") == 0)
		rc = BE_PROTOCOL_MISMATCH; /* this service speaks plain HTTP on loopback only */
	if (rc == 0)
		rc = check_kind(r);
	if (rc == 0)
		rc = check_permission(r, t.permission);
	if (rc != 0)
		return rc;
	*ret_kind = is_account_sas(r->req) ? AUTH_ACCOUNT_SAS : AUTH_SERVICE_SAS;
	*ret_overwrite = strchr(t.permission, 'w') != NULL;
	return 0;
}
