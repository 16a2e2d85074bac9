/* The service: from a request to its route, through authorisation, to its handler and answer. */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/log.h"
#include "batch/emulator/traps.h"

#define DEFAULT_VERSION "2021-12-02"
#define OLDEST_VERSION "2018-11-09"
#define BATCH_BODY (4 * 1024 * 1024)
#define SWEEP_S 3600.0
#define SMALL_BODY (1024 * 1024) /* an ACL; anything else that is buffered is smaller */

/* --- one call -------------------------------------------------------------------------------- */

static struct blob_call *call_new(struct blob_service *s, struct http_req *req)
{
	struct blob_call *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->service = s;
	c->req = req;
	c->snapshot = BLOB_SNAPSHOT_NONE;
	adafs_buf_init(&c->detail, 128 * 1024);
	adafs_random_uuid(c->request_id);
	memcpy(c->version, DEFAULT_VERSION, sizeof(DEFAULT_VERSION));
	return c;
}

static void call_free(struct blob_call *c)
{
	if (!c)
		return;
	store_writer_close(&c->writer);
	store_block_close(&c->block);
	adafs_digest_free(c->md5);
	block_list_free(c->list);
	free(c->structured);
	adafs_buf_clear(&c->detail);
	free(c->container);
	free(c->name);
	free(c);
}

static bool is_version(const char *v)
{
	static const char shape[] = "0000-00-00";
	for (size_t i = 0; i < sizeof(shape); i++)
		if (shape[i] == '0' ? v[i] < '0' || v[i] > '9' : v[i] != shape[i])
			return false;
	return true;
}

/* The version that the client speaks is echoed: any date that is not too old is welcome. */
static int call_take_version(struct blob_call *c)
{
	const char *v = call_header(c, "x-ms-version");
	if (c->batch) /* inherited, and no part of what its requests sign */
		memcpy(c->version, c->batch->version, sizeof(c->version));
	if (c->batch)
		return 0;
	if (v && (!is_version(v) || strcmp(v, OLDEST_VERSION) < 0))
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-version");
	if (!v)
		v = call_param(c, "sv");
	if (v && is_version(v))
		memcpy(c->version, v, 11);
	return 0;
}

static bool same(const char *want, const char *have)
{
	return want ? have && strcasecmp(want, have) == 0 : !have;
}

static bool agrees(char want, const char *have)
{
	return !want || (want == 'y') == (have != NULL);
}

static bool acts(const char *want, const char *have)
{
	return !want || (have && strcasecmp(want, have) == 0);
}

static const struct blob_route *find_route(const struct blob_call *c, bool *ret_path_known)
{
	const char *restype = call_param(c, "restype"), *comp = call_param(c, "comp");
	const char *source = call_header(c, "x-ms-copy-source");
	const char *type = call_header(c, "x-ms-blob-type");
	const char *action = call_header(c, "x-ms-lease-action");
	*ret_path_known = false;
	for (size_t i = 0; i < blob_n_routes; i++) {
		const struct blob_route *r = &blob_routes[i];
		bool account_info =
			restype && strcasecmp(restype, "account") == 0 && r->level == LEVEL_ACCOUNT;
		if ((r->level != c->level && !account_info) || !same(r->restype, restype) ||
		    !same(r->comp, comp))
			continue;
		*ret_path_known = true;
		if (strcmp(r->method, c->req->method) == 0 && agrees(r->source, source) &&
		    agrees(r->type, type) && acts(r->action, action))
			return r;
	}
	return NULL;
}

static int no_route(struct blob_call *c, bool path_known)
{
	if (path_known)
		return BE_UNSUPPORTED_HTTP_VERB;
	if (call_param(c, "comp"))
		return call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, "comp", NULL);
	return call_param(c, "restype")
		       ? call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, "restype", NULL)
		       : BE_INVALID_URI;
}

/* Headers that change what an operation means: an answer that ignored them would be a false one. */
static int check_refused_headers(struct blob_call *c)
{
	static const char *const refused[] = {
		"x-ms-encryption-key",
		"x-ms-encryption-scope",
		"x-ms-immutability-policy-until-date",
		"x-ms-legal-hold",
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(refused); i++)
		if (call_header(c, refused[i]))
			return call_bad_header(c, BE_UNSUPPORTED_HEADER, refused[i]);
	return 0;
}

/* Tags and tier may be set on a snapshot too: they are no part of it. */
static bool marks_snapshots(const struct blob_call *c)
{
	const char *comp = c->route->comp;
	return comp && (strcmp(comp, "tier") == 0 || strcmp(comp, "tags") == 0);
}

static int check_body_headers(struct blob_call *c)
{
	const char *method = c->req->method;
	bool needs = strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0;
	if (needs && c->req->content_length < 0)
		return BE_MISSING_CONTENT_LENGTH;
	/* Taking a wrapped body for plain bytes would store rubbish. */
	if (needs && c->route->body != BODY_OWN && call_header(c, "x-ms-structured-body"))
		return call_bad_header(c, BE_UNSUPPORTED_HEADER, "x-ms-structured-body");
	if (needs && c->snapshot != BLOB_SNAPSHOT_NONE && !marks_snapshots(c)) /* read-only */
		return call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, "snapshot", NULL);
	if (call_param(c, "versionid"))
		return call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, "versionid",
				      "Versioning is not enabled for this account.");
	return check_refused_headers(c);
}

static void choose_sink(struct blob_call *c)
{
	c->req->sink = c->route->body == BODY_OWN    ? HTTP_SINK_STREAM
		       : c->route->body == BODY_NONE ? HTTP_SINK_DROP
						     : HTTP_SINK_BUFFER;
	c->req->body_max = c->route->body == BODY_BATCH ? BATCH_BODY : SMALL_BODY;
}

/* Browsers ask without credentials, whatever the path names. */
static int begin_preflight(struct blob_call *c)
{
	static const struct blob_route preflight = { .operation = "Preflight",
						     .method = "OPTIONS",
						     .handle = op_preflight };
	c->route = &preflight;
	c->req->operation = preflight.operation;
	choose_sink(c);
	return 0;
}

static int call_begin(struct blob_call *c)
{
	bool path_known;
	int rc = call_take_version(c);
	if (rc == 0)
		rc = call_parse_target(c);
	if (rc == 0 && c->secondary && !strchr("GHO", *c->req->method))
		rc = BE_SECONDARY_WRITE;
	if (rc != 0)
		return rc;
	if (strcmp(c->req->method, "OPTIONS") == 0)
		return begin_preflight(c);
	c->route = find_route(c, &path_known);
	if (!c->route) {
		/* Strangers learn nothing; those who are known learn what is wrong. */
		static const struct blob_route any = { .operation = "Unknown", .resource = 0 };
		c->route = &any;
		rc = call_authorize(c);
		c->route = NULL;
		return rc != 0 ? rc : no_route(c, path_known);
	}
	c->req->operation = c->route->operation;
	rc = call_authorize(c);
	if (rc == 0)
		rc = tags_check_permission(c);
	if (rc == 0)
		rc = check_body_headers(c);
	if (rc != 0)
		return rc;
	choose_sink(c);
	return c->route->begin ? c->route->begin(c) : 0;
}

static int service_begin(void *service, struct http_req *req, struct http_resp *resp)
{
	struct blob_call *c = call_new(service, req);
	req->user = c;
	if (!c) {
		resp->status = 500;
		return 1;
	}
	int rc = call_begin(c);
	if (rc != 0)
		blob_answer_error(c, resp, rc);
	return rc;
}

static int service_body(void *service, struct http_req *req, const void *data, size_t len)
{
	struct blob_call *c = req->user;
	(void)service;
	int rc = c->route->piece ? c->route->piece(c, data, len) : 0;
	/* Codes of the service are positive; the server knows failures by their sign. */
	return rc > 0 ? -rc - 100000 : rc;
}

static int body_error(const struct http_req *req)
{
	if (req->body_rc <= -100000)
		return -req->body_rc - 100000;
	return req->body_rc == -EFBIG ? BE_REQUEST_BODY_TOO_LARGE : req->body_rc;
}

static void service_handle(void *service, struct http_req *req, struct http_resp *resp)
{
	struct blob_call *c = req->user;
	(void)service;
	int rc = body_error(req);
	if (rc == 0)
		rc = c->route->handle(c, resp);
	if (rc != 0)
		blob_answer_error(c, resp, rc);
}

static void service_finish(void *service, const struct http_req *req, struct http_resp *resp)
{
	struct blob_call *c = req->user;
	(void)service;
	http_resp_header(resp, "Server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0");
	if (!c) { /* a target that could not even be parsed */
		http_resp_header(resp, "x-ms-error-code",
				 resp->status == 400 ? "InvalidUri" : "InternalError");
		return;
	}
	http_resp_header(resp, "x-ms-request-id", c->request_id);
	http_resp_header(resp, "x-ms-version", c->version);
	const char *id = http_req_header(req, "x-ms-client-request-id");
	if (id && *id && strlen(id) <= 1024)
		http_resp_header(resp, "x-ms-client-request-id", id);
	cors_answer(c, resp);
}

/* Staged blocks that nobody committed go, looked for now and then while requests come. */
static void sweep_staged(struct blob_service *s)
{
	double life_s = trap_value(s->traps, TRAP_BLOCK_LIFE);
	double every_s = life_s / 8 < SWEEP_S ? life_s / 8 : SWEEP_S;
	int64_t now = (int64_t)adafs_clock_mono_ms();
	int64_t last = __atomic_load_n(&s->swept_ms, __ATOMIC_RELAXED);
	if ((double)(now - last) < every_s * 1000 ||
	    !__atomic_compare_exchange_n(&s->swept_ms, &last, now, false, __ATOMIC_RELAXED,
					 __ATOMIC_RELAXED))
		return;
	int rc = store_block_expire(s->store, adafs_clock_wall_us() - (int64_t)(life_s * 1e6));
	if (rc < 0)
		adafs_log(WARN, "emulator", "cannot drop old blocks: %s", strerror(-rc));
}

int service_run_part(struct blob_call *batch, struct http_req *req, struct http_resp *resp)
{
	struct blob_call *c = call_new(batch->service, req);
	if (!c)
		return -ENOMEM;
	req->user = c;
	c->batch = batch;
	int rc = call_begin(c);
	/* One container's batch reaches no other. */
	if (rc == 0 && batch->container && strcmp(batch->container, c->container) != 0)
		rc = BE_INVALID_INPUT;
	if (rc == 0)
		rc = c->route->handle(c, resp);
	if (rc != 0)
		blob_answer_error(c, resp, rc);
	service_finish(batch->service, req, resp);
	call_free(c);
	req->user = NULL;
	return rc;
}

static void service_end(void *service, struct http_req *req)
{
	sweep_staged(service);
	call_free(req->user);
	req->user = NULL;
}

const struct http_service_ops blob_service_ops = {
	.name = "blob",
	.begin = service_begin,
	.body = service_body,
	.handle = service_handle,
	.finish = service_finish,
	.end = service_end,
};

/* --- life ------------------------------------------------------------------------------------ */

static int service_open(struct blob_service *s, const struct blob_service_config *config,
			struct adafs_err *reterr)
{
	s->traps = config->traps;
	s->account = strdup(config->account);
	if (!s->account)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (adafs_base64_decode(config->key, strlen(config->key), &s->key, &s->key_len) < 0 ||
	    s->key_len == 0)
		return adafs_err_set(reterr, -EINVAL, "the account key is not base64");
	s->issuer = config->issuer;
	s->no_shared_key = config->no_shared_key;
	s->sas_memo = sas_memo_new();
	if (!s->sas_memo || policies_new(s) < 0)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = blob_store_open(config->dir, &s->store, reterr);
	if (rc == 0 && cors_new(s) < 0)
		rc = adafs_err_set(reterr, -EIO, "cannot read the service's properties");
	if (rc < 0 || !config->host)
		return rc;
	struct http_config http = { .host = config->host,
				    .port = config->port,
				    .access_log_fd = config->access_log_fd,
				    .traps = config->traps,
				    .ops = &blob_service_ops,
				    .service = s };
	return http_server_new(&http, &s->http, reterr);
}

int blob_service_new(const struct blob_service_config *config, struct blob_service **ret,
		     struct adafs_err *reterr)
{
	struct blob_service *s = calloc(1, sizeof(*s));
	if (!s)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = service_open(s, config, reterr);
	if (rc < 0) {
		blob_service_free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

int blob_service_start(struct blob_service *s, struct adafs_err *reterr)
{
	return http_server_start(s->http, reterr);
}

void blob_service_stop(struct blob_service *s, unsigned grace_ms)
{
	if (s->http)
		http_server_stop(s->http, grace_ms);
}

void blob_service_free(struct blob_service *s)
{
	if (!s)
		return;
	http_server_free(s->http);
	blob_store_close(s->store);
	cors_free(s->cors);
	policies_free(s->policies);
	sas_memo_free(s->sas_memo);
	free(s->account);
	if (s->key)
		explicit_bzero(s->key, s->key_len);
	free(s->key);
	free(s);
}

const char *blob_service_authority(const struct blob_service *s)
{
	return http_server_authority(s->http);
}

uint16_t blob_service_port(const struct blob_service *s)
{
	return http_server_port(s->http);
}
