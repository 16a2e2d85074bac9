/* Routing, authentication and the answers that all operations of the Batch service share. */
#include "batch/emulator/batch/api/api.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/random.h"
#include "batch/emulator/batch/auth.h"

#define BODY_MAX (1u << 20) /* what the service was seen to enforce */
#define OLDEST_VERSION "2018-12-01"

/* --- requests ----------------------------------------------------------------------------- */

int api_body(struct api *a, const struct batch_spec_field *fields, cJSON **ret)
{
	ADAFS_JSON *empty = a->body ? NULL : cJSON_CreateObject();
	struct batch_spec_error why = { 0 };
	int rc = batch_spec_check(fields, a->body ? a->body : empty, ret, &why);
	if (rc == -EINVAL)
		return api_error_spec(a, &why);
	return rc < 0 ? api_error_internal(a) : 0;
}

bool api_before(const struct api *a, const char *day)
{
	const char *version = http_req_param(a->req, "api-version");
	return version && strncmp(version, day, strlen(day)) < 0;
}

int api_expand(struct api *a)
{
	const char *text = http_req_param(a->req, "$expand");
	if (!text || !*text)
		return 0;
	if (strcmp(text, "stats") != 0)
		return api_error_query(a, "$expand", text, "Only stats can be expanded");
	a->stats = true;
	return 0;
}

int api_flag(struct api *a, const char *name, bool *ret)
{
	const char *text = http_req_param(a->req, name);
	if (text && strcasecmp(text, "true") != 0 && strcasecmp(text, "false") != 0)
		return api_error_query(a, name, text, "The value is true or false");
	*ret = text && strcasecmp(text, "true") == 0;
	return 0;
}

struct pool *api_pool(struct api *a)
{
	struct entity *e = entity_list_find(&a->s->pools, a->args[0]);
	if (!e)
		api_error(a, 404, "PoolNotFound", NULL);
	return e ? entity_pool(e) : NULL;
}

struct pool *api_live_pool(struct api *a)
{
	struct pool *p = api_pool(a);
	if (p && p->e.state == POOL_DELETING) {
		api_error(a, 409, "PoolBeingDeleted", NULL);
		return NULL;
	}
	return p;
}

struct node *api_node(struct api *a)
{
	struct pool *p = api_pool(a);
	struct node *n = p ? pool_find_node(p, a->args[1]) : NULL;
	if (p && !n)
		api_error(a, 404, "NodeNotFound", NULL);
	return n;
}

struct job *api_job(struct api *a)
{
	struct entity *e = entity_list_find(&a->s->jobs, a->args[0]);
	if (!e)
		api_error(a, 404, "JobNotFound", NULL);
	return e ? entity_job(e) : NULL;
}

struct job *api_live_job(struct api *a)
{
	struct job *j = api_job(a);
	if (j && j->e.state == JOB_DELETING) {
		api_error(a, 409, "JobBeingDeleted", NULL);
		return NULL;
	}
	return j;
}

struct task *api_task(struct api *a)
{
	struct job *j = api_job(a);
	struct entity *e = j ? entity_list_find(&j->tasks, a->args[1]) : NULL;
	if (j && !e)
		api_error(a, 404, "TaskNotFound", NULL);
	return e ? entity_task(e) : NULL;
}

static bool etag_listed(const char *list, const char *etag)
{
	size_t n = strlen(etag);
	while (*list) {
		list += strspn(list, " ,\t");
		if (strncmp(list, "W/", 2) == 0)
			list += 2;
		bool quoted = *list == '"';
		list += quoted;
		size_t len = strcspn(list, quoted ? "\"" : ", \t");
		if ((len == 1 && *list == '*') || (len == n && strncasecmp(list, etag, n) == 0))
			return true;
		list += len + (list[len] == '"');
	}
	return false;
}

/* -1: refused with 400; else whether the dates hold. */
static int dates_hold(struct api *a, time_t modified)
{
	const char *since = http_req_header(a->req, "If-Modified-Since");
	const char *unless = http_req_header(a->req, "If-Unmodified-Since");
	time_t t;
	if (since && adafs_clock_parse_rfc1123(since, &t) < 0)
		return api_error(a, 400, "InvalidHeaderValue", "HeaderName", "If-Modified-Since",
				 "HeaderValue", since, NULL),
		       -1;
	if (since && modified <= t)
		return 0;
	if (unless && adafs_clock_parse_rfc1123(unless, &t) < 0)
		return api_error(a, 400, "InvalidHeaderValue", "HeaderName", "If-Unmodified-Since",
				 "HeaderValue", unless, NULL),
		       -1;
	return !(unless && modified > t);
}

static int condition_failed(struct api *a, bool write)
{
	return api_error(a, write ? 412 : 304, "ConditionNotMet", NULL);
}

int api_conditions_time(struct api *a, time_t modified, bool write)
{
	if (http_req_header(a->req, "If-Modified-Since") &&
	    http_req_header(a->req, "If-Unmodified-Since"))
		return api_error(a, 400, "MultipleConditionHeadersNotSupported", NULL);
	int hold = dates_hold(a, modified);
	return hold < 0 ? -EIO : hold ? 0 : condition_failed(a, write);
}

int api_conditions(struct api *a, const struct entity *e, bool write)
{
	static const char *const names[] = { "If-Match", "If-None-Match", "If-Modified-Since",
					     "If-Unmodified-Since" };
	int n = 0;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++)
		n += http_req_header(a->req, names[i]) != NULL;
	if (n > 1)
		return api_error(a, 400, "MultipleConditionHeadersNotSupported", NULL);
	char etag[ENTITY_ETAG_LEN];
	entity_etag(e, etag);
	const char *match = http_req_header(a->req, "If-Match");
	const char *none = http_req_header(a->req, "If-None-Match");
	if ((match && !etag_listed(match, etag)) || (none && etag_listed(none, etag)))
		return condition_failed(a, write);
	return api_conditions_time(a, (time_t)(e->modified_us / 1000000), write);
}

/* --- answers ------------------------------------------------------------------------------ */

int api_commit(struct api *a)
{
	return service_commit_locked(a->s) < 0 ? api_error_internal(a) : 0;
}

void api_stamp_new(struct api *a, struct entity *e)
{
	e->seq = a->s->next_seq++;
	e->created_us = e->modified_us = e->state_us = service_now_locked(a->s);
}

int api_commit_new(struct api *a, struct entity *e)
{
	int rc = service_commit_locked(a->s);
	if (rc == 0)
		return 0;
	service_forget_locked(a->s, e);
	return api_error_internal(a);
}

cJSON *api_time(int64_t us)
{
	char text[ADAFS_ISO8601_LEN];
	adafs_clock_iso8601(us, text);
	return cJSON_CreateString(text);
}

void api_etag_headers(struct api *a, const struct entity *e)
{
	char etag[ENTITY_ETAG_LEN], date[ADAFS_RFC1123_LEN];
	entity_etag(e, etag);
	adafs_clock_rfc1123((time_t)(e->modified_us / 1000000), date);
	http_resp_header(a->resp, "ETag", etag);
	http_resp_header(a->resp, "Last-Modified", date);
}

int api_done(struct api *a, int status, const struct entity *e)
{
	a->resp->status = status;
	ADAFS_FREE char *url = adafs_fmt("%s%s", a->base, a->req->path);
	if (url)
		http_resp_header(a->resp, "DataServiceId", url);
	if (e)
		api_etag_headers(a, e);
	return 0;
}

int api_created(struct api *a, const char *collection, const struct entity *e)
{
	ADAFS_FREE char *url = adafs_fmt("%s%s/%s", a->base, collection, e->id);
	a->resp->status = 201;
	if (url) {
		http_resp_header(a->resp, "DataServiceId", url);
		http_resp_header(a->resp, "Location", url);
	}
	api_etag_headers(a, e);
	return 0;
}

int api_json(struct api *a, const char *metadata, cJSON *json)
{
	ADAFS_JSON *owned = json;
	ADAFS_FREE char *text = adafs_fmt("%s/$metadata#%s", a->base, metadata);
	if (!owned || !text || api_put_first(owned, "odata.metadata", text) < 0 ||
	    http_resp_json(a->resp, 200, API_CONTENT_TYPE, owned) < 0)
		return api_error_internal(a);
	return 0;
}

/* --- the HTTP service --------------------------------------------------------------------- */

static const struct api_route *const tables[] = { api_pool_routes,  api_autoscale_routes,
						  api_job_routes,   api_task_routes,
						  api_file_routes,  api_node_routes,
						  api_named_routes, api_status_routes };

/* 1: found; 0: no such path; -1: the path exists with other methods. */
static int find_route(struct api *a)
{
	int result = 0;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(tables); i++) {
		for (const struct api_route *r = tables[i]; r->method; r++) {
			char *args[HTTP_PATH_ARGS];
			if (http_path_match(r->pattern, a->req->path, args) != 1)
				continue;
			if (strcmp(r->method, a->req->method) == 0) {
				memcpy(a->args, args, sizeof(args));
				a->route = r;
				return 1;
			}
			http_path_args_clear(args);
			result = -1;
		}
	}
	return result;
}

static bool digits(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isdigit((unsigned char)p[i]))
			return false;
	return true;
}

/* YYYY-MM-DD or YYYY-MM-DD.n.m, not older than the oldest that is answered alike. */
static bool version_known(const char *v)
{
	if (strlen(v) < 10 || !digits(v, 4) || v[4] != '-' || !digits(v + 5, 2) || v[7] != '-' ||
	    !digits(v + 8, 2) || strncmp(v, OLDEST_VERSION, 10) < 0)
		return false;
	for (v += 10; *v == '.';) {
		size_t n = strspn(v + 1, "0123456789");
		if (!n)
			return false;
		v += n + 1;
	}
	return !*v;
}

static int check_version(struct api *a)
{
	const char *version = http_req_param(a->req, "api-version");
	if (!version)
		return api_error(a, 400, "MissingRequiredQueryParameter", "QueryParameterName",
				 "api-version", NULL);
	if (!version_known(version))
		return api_error(a, 400, "UnsupportedRequestVersion", "QueryParameterName",
				 "api-version", "QueryParameterValue", version, NULL);
	return 0;
}

static int authenticate(struct api *a)
{
	ADAFS_FREE char *detail = NULL;
	const struct batch_auth_keys keys = { .account = a->s->account,
					      .key = a->s->key,
					      .key_len = a->s->key_len,
					      .no_shared_key = a->s->no_shared_key,
					      .issuer = a->s->issuer };
	switch (batch_auth_check(a->req, &keys, (time_t)(adafs_clock_wall_us() / 1000000),
				 &detail)) {
	case BATCH_AUTH_OK:
		return 0;
	case BATCH_AUTH_MISSING:
		return api_error(a, 400, "MissingRequiredHeader", "HeaderName", "Authorization",
				 NULL);
	case BATCH_AUTH_BAD_TOKEN: {
		char tenant[64];
		int rc = api_error(a, 401, "AuthenticationFailed", "AuthenticationErrorDetail",
				   detail ? detail : "", NULL);
		token_issuer_tenant(a->s->issuer, tenant);
		http_resp_headerf(a->resp, "WWW-Authenticate",
				  "Bearer authorization_uri=\"https://login.windows.net/%s\", "
				  "error=\"invalid_token\", resource_id=\"https://batch.core."
				  "windows.net/\"",
				  tenant);
		return rc;
	}
	case BATCH_AUTH_FAILED:
		break;
	}
	return api_error(a, 403, "AuthenticationFailed", "AuthenticationErrorDetail",
			 detail ? detail : "", NULL);
}

static int api_begin(void *service, struct http_req *req, struct http_resp *resp)
{
	struct api *a = calloc(1, sizeof(*a));
	if (!a) {
		resp->status = 500;
		return -ENOMEM;
	}
	req->user = a;
	a->s = service;
	a->req = req;
	a->resp = resp;
	adafs_random_uuid(a->request_id);
	const char *host = http_req_header(req, "Host");
	a->base =
		host ? adafs_fmt("http://%s", host) : strdup(a->s->endpoint ? a->s->endpoint : "");
	int found = find_route(a);
	req->operation = found == 1 ? a->route->operation : NULL;
	int rc = a->base ? authenticate(a) : api_error_internal(a);
	if (rc == 0)
		rc = check_version(a);
	if (rc == 0 && found != 1)
		rc = found == 0 ? api_error(a, 404, "ResourceNotFound", NULL)
				: api_error(a, 405, "UnsupportedHttpVerb", NULL);
	req->sink = HTTP_SINK_BUFFER;
	req->body_max = BODY_MAX;
	return rc;
}

/* Texts end at a NUL here: what came after one would be dropped in silence. */
static bool has_nul(const char *json, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (!json[i])
			return true;
		if (json[i] != '\\')
			continue;
		if (len - i >= 6 && memcmp(json + i, "\\u0000", 6) == 0)
			return true;
		i++; /* what is escaped starts no escape */
	}
	return false;
}

static int parse_body(struct api *a)
{
	const struct adafs_buf *b = &a->req->body;
	if (a->req->body_rc == -EFBIG)
		return api_error(a, 413, "RequestBodyTooLarge", "MaxLimit", "1048576", NULL);
	if (a->req->body_rc < 0)
		return api_error_internal(a);
	if (!b->len)
		return 0;
	if (has_nul(b->data, b->len))
		return api_error(a, 400, "InvalidRequestBody", "Reason", "The body holds a NUL",
				 NULL);
	struct adafs_err err = { 0 };
	a->body =
		adafs_utf8_valid(b->data, b->len) ? adafs_json_parse(b->data, b->len, &err) : NULL;
	if (!a->body)
		return api_error(a, 400, "InvalidRequestBody", "Reason",
				 *err.msg ? err.msg : "The body is not UTF-8", NULL);
	return 0;
}

static void api_handle(void *service, struct http_req *req, struct http_resp *resp)
{
	(void)service;
	struct api *a = req->user;
	a->resp = resp;
	if (parse_body(a) < 0)
		return;
	adafs_mutex_lock(&a->s->lock);
	a->route->handle(a);
	adafs_mutex_unlock(&a->s->lock);
}

static void api_finish(void *service, const struct http_req *req, struct http_resp *resp)
{
	(void)service;
	const struct api *a = req->user;
	char id[ADAFS_UUID_LEN];
	if (!a)
		adafs_random_uuid(id);
	http_resp_header(resp, "request-id", a ? a->request_id : id);
	const char *client = http_req_header(req, "client-request-id");
	const char *wanted = http_req_header(req, "return-client-request-id");
	if (client && wanted && strcasecmp(wanted, "true") == 0)
		http_resp_header(resp, "client-request-id", client);
	http_resp_header(resp, "DataServiceVersion", "3.0");
	http_resp_header(resp, "X-Content-Type-Options", "nosniff");
	http_resp_header(resp, "Server", "Microsoft-HTTPAPI/2.0");
}

static void api_end(void *service, struct http_req *req)
{
	(void)service;
	struct api *a = req->user;
	if (!a)
		return;
	http_path_args_clear(a->args);
	cJSON_Delete(a->body);
	free(a->base);
	free(a);
	req->user = NULL;
}

const struct http_service_ops batch_api_ops = {
	.name = "batch",
	.begin = api_begin,
	.handle = api_handle,
	.finish = api_finish,
	.end = api_end,
};
