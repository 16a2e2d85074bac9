/* Who asks: Shared Key, a SAS, or nobody (public containers). */
#include "batch/emulator/blob/blob.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"

#define MAX_SKEW_US (15LL * 60 * 1000000)
#define MAX_STRING (256 * 1024)

struct pair {
	char *name, *value; /* owned */
};

struct pairs {
	struct pair *v;
	size_t n;
};

static void pairs_clear(struct pairs *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->v[i].name);
		free(p->v[i].value);
	}
	free(p->v);
}

static int pairs_add(struct pairs *p, const char *name, char *value)
{
	char *lower = strdup(name);
	struct pair *grown = lower && value ? reallocarray(p->v, p->n + 1, sizeof(*grown)) : NULL;
	if (!grown) {
		free(lower);
		free(value);
		return -ENOMEM;
	}
	for (char *c = lower; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	p->v = grown;
	grown[p->n++] = (struct pair){ lower, value };
	return 0;
}

static int compare_ascii(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int d = strcmp(x->name, y->name);
	return d ? d : strcmp(x->value, y->value);
}

/* Weight of a character where "-" and "'" do not count and "_" comes before digits and letters. */
static int culture_weight(char ch)
{
	if (ch == '_')
		return 1;
	return isalnum((unsigned char)ch) ? 16 + (unsigned char)ch : 2 + (ch & 7);
}

static int compare_culture(const void *a, const void *b)
{
	const char *x = ((const struct pair *)a)->name, *y = ((const struct pair *)b)->name;
	for (;; x++, y++) {
		while (*x == '-' || *x == '\'')
			x++;
		while (*y == '-' || *y == '\'')
			y++;
		if (!*x || !*y || *x != *y)
			break;
	}
	if (*x || *y)
		return (*x ? culture_weight(*x) : 0) - (*y ? culture_weight(*y) : 0);
	return compare_ascii(a, b);
}

static int add_canonical_headers(const struct http_req *req, bool culture, struct adafs_buf *b)
{
	ADAFS_CLEANUP(pairs_clear) struct pairs p = { 0 };
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < req->n_headers; i++)
		if (strncasecmp(req->headers[i].name, "x-ms-", 5) == 0)
			rc = pairs_add(&p, req->headers[i].name, strdup(req->headers[i].value));
	if (p.n)
		qsort(p.v, p.n, sizeof(*p.v), culture ? compare_culture : compare_ascii);
	for (size_t i = 0; rc == 0 && i < p.n; i++)
		rc = adafs_buf_addf(b, "%s:%s\n", p.v[i].name, p.v[i].value);
	return rc;
}

/* A value as a client that means a blank by "+" understands it. */
static char *with_blanks(const char *value, bool plus_is_space)
{
	char *copy = strdup(value);
	for (char *p = copy; plus_is_space && p && *p; p++)
		if (*p == '+')
			*p = ' ';
	return copy;
}

static int add_canonical_resource(const struct http_req *req, const char *account,
				  bool plus_is_space, struct adafs_buf *b)
{
	ADAFS_CLEANUP(pairs_clear) struct pairs p = { 0 };
	int rc = adafs_buf_addf(b, "/%s%s", account, req->path);
	for (size_t i = 0; rc == 0 && i < req->n_params; i++)
		rc = pairs_add(&p, req->params[i].name,
			       with_blanks(req->params[i].value, plus_is_space));
	if (p.n)
		qsort(p.v, p.n, sizeof(*p.v), compare_ascii);
	for (size_t i = 0; rc == 0 && i < p.n; i++) {
		bool repeated = i && strcmp(p.v[i].name, p.v[i - 1].name) == 0;
		rc = repeated ? adafs_buf_addf(b, ",%s", p.v[i].value)
			      : adafs_buf_addf(b, "\n%s:%s", p.v[i].name, p.v[i].value);
	}
	return rc;
}

int auth_string_to_sign(const struct http_req *req, const char *account, bool plus_is_space,
			bool culture, struct adafs_buf *ret)
{
	static const char *const fields[] = {
		"Content-Encoding",
		"Content-Language",
		"Content-Length",
		"Content-MD5",
		"Content-Type",
		"Date",
		"If-Modified-Since",
		"If-Match",
		"If-None-Match",
		"If-Unmodified-Since",
		"Range",
	};
	int rc = adafs_buf_addf(ret, "%s\n", req->method);
	for (size_t i = 0; rc == 0 && i < ADAFS_ARRAY_SIZE(fields); i++) {
		const char *v = http_req_header(req, fields[i]);
		bool empty = !v ||
			     (strcmp(fields[i], "Content-Length") == 0 && strcmp(v, "0") == 0) ||
			     (strcmp(fields[i], "Date") == 0 && http_req_header(req, "x-ms-date"));
		rc = adafs_buf_addf(ret, "%s\n", empty ? "" : v);
	}
	if (rc == 0)
		rc = add_canonical_headers(req, culture, ret);
	if (rc == 0)
		rc = add_canonical_resource(req, account, plus_is_space, ret);
	return rc;
}

char *auth_sign(const struct blob_service *s, const char *text, size_t len)
{
	uint8_t mac[ADAFS_SHA256_LEN];
	if (adafs_hmac_sha256(s->key, s->key_len, text, len, mac) < 0)
		return NULL;
	return adafs_base64_encode(mac, sizeof(mac));
}

/* 1: the signature is right for this variant; 0: not. */
static int try_variant(const struct blob_call *c, const char *sig, bool plus_is_space, bool culture)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_STRING);
	int rc = auth_string_to_sign(c->req, c->service->account, plus_is_space, culture, &b);
	if (rc < 0)
		return rc;
	ADAFS_FREE char *have = auth_sign(c->service, b.data, b.len);
	if (!have)
		return -ENOMEM;
	return adafs_equal_secret(have, strlen(have), sig, strlen(sig));
}

/* The client meant blanks: read the query as it did. */
static void read_plus_as_space(struct http_req *req)
{
	for (size_t i = 0; i < req->n_params; i++)
		for (char *p = req->params[i].value; *p; p++)
			if (*p == '+')
				*p = ' ';
}

static int check_signature(struct blob_call *c, const char *sig)
{
	for (unsigned variant = 0; variant < 4; variant++) {
		bool plus = variant & 1, culture = variant & 2;
		int rc = try_variant(c, sig, plus, culture);
		if (rc < 0)
			return rc;
		if (rc == 1) {
			if (plus)
				read_plus_as_space(c->req);
			return 0;
		}
	}
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_STRING);
	if (auth_string_to_sign(c->req, c->service->account, false, false, &b) == 0)
		call_detail(c, "AuthenticationErrorDetail",
			    "The MAC signature found in the HTTP request is not the same as any "
			    "computed "
			    "signature. Server used following string to sign: '%s'.",
			    adafs_buf_str(&b));
	return BE_AUTHENTICATION_FAILED;
}

static int check_date(struct blob_call *c)
{
	const char *text = call_header(c, "x-ms-date");
	if (!text)
		text = call_header(c, "Date");
	time_t t;
	if (!text || adafs_clock_parse_rfc1123(text, &t) < 0) {
		call_detail(c, "AuthenticationErrorDetail",
			    "The Date header in the request is incorrect.");
		return BE_AUTHENTICATION_FAILED;
	}
	int64_t skew = adafs_clock_wall_us() - (int64_t)t * 1000000;
	if (skew > MAX_SKEW_US || skew < -MAX_SKEW_US) {
		call_detail(c, "AuthenticationErrorDetail", "Request date header too old: '%s'",
			    text);
		return BE_AUTHENTICATION_FAILED;
	}
	return 0;
}

static int check_shared_key(struct blob_call *c, const char *authorization)
{
	if (strncmp(authorization, "SharedKey ", 10) != 0)
		return BE_INVALID_AUTHENTICATION_INFO;
	const char *account = authorization + 10 + strspn(authorization + 10, " ");
	const char *colon = strchr(account, ':');
	if (!colon || !colon[1])
		return BE_INVALID_AUTHENTICATION_INFO;
	if (!c->batch && !call_header(c, "x-ms-version"))
		return call_bad_header(c, BE_MISSING_REQUIRED_HEADER, "x-ms-version");
	size_t len = (size_t)(colon - account);
	if (len != strlen(c->service->account) || strncmp(account, c->service->account, len) != 0) {
		call_detail(c, "AuthenticationErrorDetail",
			    "This service has the account '%s' only, not the one that signed.",
			    c->service->account);
		return BE_AUTHENTICATION_FAILED;
	}
	if (c->service->no_shared_key)
		return BE_KEY_NOT_PERMITTED;
	int rc = check_date(c);
	return rc == 0 ? check_signature(c, colon + 1) : rc;
}

/* Reads of a container that its owner opened to everybody. */
static int check_public(struct blob_call *c)
{
	bool read = strchr("GH", c->req->method[0]) != NULL && c->container;
	if (!read || c->route->no_service_sas || !c->route->permissions ||
	    !strpbrk(c->route->permissions, "rl"))
		return BE_NO_AUTHENTICATION_INFORMATION;
	ADAFS_CLEANUP(container_info_clear) struct container_info info = { 0 };
	int rc = store_container_get(c->service->store, c->container, false, &info);
	if (rc < 0)
		return rc;
	bool open = rc == 0 && (strcmp(info.access, "container") == 0 ||
				(strcmp(info.access, "blob") == 0 && c->name));
	return open ? 0 : BE_NO_AUTHENTICATION_INFORMATION;
}

int call_authorize(struct blob_call *c)
{
	const char *authorization = call_header(c, "Authorization");
	const char *sig = call_param(c, "sig");
	c->may_overwrite = true;
	bool bearer = authorization && strncmp(authorization, "Bearer ", 7) == 0;
	/* A SAS that is bound to one user comes with that user's token. */
	if (authorization && sig && !(bearer && call_param(c, "sduoid")))
		return BE_INVALID_AUTHENTICATION_INFO;
	if (bearer && !sig) {
		c->auth = AUTH_BEARER;
		return bearer_check(c, authorization, c->route, &c->who);
	}
	if (authorization && !sig) {
		c->auth = AUTH_KEY;
		return check_shared_key(c, authorization);
	}
	if (sig || call_param(c, "sv")) {
		struct sas_request r = { .req = c->req,
					 .container = c->container,
					 .name = c->name,
					 .peer = c->req->peer,
					 .route = c->route };
		return sas_check(c, &r, &c->auth, &c->may_overwrite);
	}
	c->auth = AUTH_ANONYMOUS;
	return check_public(c);
}
