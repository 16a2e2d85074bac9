/* Routing, authentication and the answers that all operations of the Batch service share. */
#include "batch/emulator/batch/api.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/random.h"
#include "batch/emulator/batch/auth.h"

#define BODY_MAX (1u << 20) /* what the service was seen to enforce */
#define CONTENT_TYPE "application/json;odata=minimalmetadata"
#define OLDEST_VERSION "2018-12-01"

/* --- errors ------------------------------------------------------------------------------- */

const char *api_error_text(const char *code)
{
	static const char *const texts[][2] = {
		{ "AuthenticationFailed",
		  "Server failed to authenticate the request. Make sure the value of "
		  "Authorization header is formed correctly including the signature." },
		{ "ConditionNotMet",
		  "The condition specified using HTTP conditional header(s) is not met." },
		{ "FileNotFound", "The specified file does not exist." },
		{ "InternalError",
		  "Server encountered an internal error. Please try again after some time." },
		{ "InvalidPropertyValue",
		  "The value provided for one of the properties in the request body is "
		  "invalid." },
		{ "InvalidQueryParameterValue",
		  "Value for one of the query parameters specified in the request URI is "
		  "invalid" },
		{ "InvalidRange",
		  "The range specified is invalid for the current size of the resource." },
		{ "InvalidRequestBody", "The specified Request Body is not syntactically valid." },
		{ "JobBeingDeleted",
		  "The specified job has been marked for deletion and is being garbage "
		  "collected." },
		{ "JobBeingTerminated", "The specified job is being terminated." },
		{ "JobCompleted", "The specified job is already in a completed state." },
		{ "JobExists", "The specified job already exists." },
		{ "JobNotActive", "The specified job is not active." },
		{ "JobNotFound", "The specified job does not exist." },
		{ "MissingRequiredHeader", "A required HTTP header was not specified." },
		{ "MissingRequiredProperty",
		  "A required property was not specified in the request body." },
		{ "MissingRequiredQueryParameter",
		  "A required query parameter was not specified." },
		{ "MultipleConditionHeadersNotSupported",
		  "Multiple condition headers are not supported." },
		{ "NodeNotFound", "The specified node does not exist." },
		{ "OperationInvalidForCurrentState",
		  "The operation is not valid for the current state of the resource." },
		{ "OutOfRangePriority", "The priority must be between -1000 and 1000." },
		{ "PoolBeingDeleted",
		  "The specified pool has been marked for deletion and is being reclaimed." },
		{ "PoolBeingResized", "The specified pool is being resized." },
		{ "PoolExists", "The specified pool already exists." },
		{ "PoolNotFound", "The specified pool does not exist." },
		{ "RequestBodyTooLarge",
		  "The size of the request body exceeds the maximum permitted size." },
		{ "ResourceNotFound", "The specified resource does not exist." },
		{ "TaskCompleted", "The specified task is already in a completed state." },
		{ "TaskDependenciesNotSpecifiedOnJob",
		  "The task has dependencies, but the job does not use task dependencies." },
		{ "TaskDependencyListTooLong", "The list of task dependencies is too long." },
		{ "TaskExists", "The specified task already exists." },
		{ "TaskFilesCleanedup", "The files of the specified task have been cleaned up." },
		{ "TaskFilesUnavailable",
		  "The files of the specified task are unavailable as the node is "
		  "unavailable." },
		{ "TaskNotCompleted", "The specified task is not in a completed state." },
		{ "TaskNotFound", "The specified task does not exist." },
		{ "TaskSucceeded", "The specified task has already succeeded." },
		{ "UnsupportedHttpVerb", "The resource doesn't support the specified Http Verb." },
		{ "UnsupportedProperty",
		  "One of the properties specified in the request body is not supported." },
		{ "UnsupportedRequestVersion", "The specified API version is not supported." },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i][0], code) == 0)
			return texts[i][1];
	return "The request is invalid.";
}

cJSON *api_error_object(const struct api *a, const char *code, const cJSON *values)
{
	char now[ADAFS_ISO8601_LEN];
	adafs_clock_iso8601(adafs_clock_wall_us(), now);
	ADAFS_FREE char *text = adafs_fmt("%s\nRequestId:%s\nTime:%s", api_error_text(code),
					  a->request_id, now);
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "code", code);
	cJSON *message = cJSON_AddObjectToObject(o, "message");
	cJSON_AddStringToObject(message, "lang", "en-US");
	cJSON_AddStringToObject(message, "value", text ? text : "");
	if (values && cJSON_GetArraySize(values))
		cJSON_AddItemToObject(o, "values", cJSON_Duplicate(values, true));
	return o;
}

static int put_first(cJSON *o, const char *name, const char *value)
{
	cJSON *item = cJSON_CreateString(value);
	char *key = strdup(name);
	if (!item || !key) {
		cJSON_Delete(item);
		free(key);
		return -ENOMEM;
	}
	item->string = key;
	return cJSON_InsertItemInArray(o, 0, item) ? 0 : -ENOMEM;
}

int api_error(struct api *a, int status, const char *code, ...)
{
	ADAFS_JSON *values = cJSON_CreateArray();
	va_list ap;
	va_start(ap, code);
	const char *key;
	while ((key = va_arg(ap, const char *)) != NULL) {
		cJSON *item = cJSON_CreateObject();
		cJSON_AddStringToObject(item, "key", key);
		cJSON_AddStringToObject(item, "value", va_arg(ap, const char *));
		cJSON_AddItemToArray(values, item);
	}
	va_end(ap);
	http_resp_reset(a->resp);
	a->resp->status = status;
	if (strcmp(a->req->method, "HEAD") == 0 || status == 304)
		return -EIO;
	ADAFS_JSON *o = api_error_object(a, code, values);
	ADAFS_FREE char *metadata = adafs_fmt(
		"%s/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element",
		a->base ? a->base : "");
	if (!metadata || put_first(o, "odata.metadata", metadata) < 0 ||
	    http_resp_json(a->resp, status, CONTENT_TYPE, o) < 0)
		a->resp->status = 500;
	return -EIO;
}

int api_error_spec(struct api *a, const struct batch_spec_error *why)
{
	return api_error(a, 400, why->code, "PropertyName", why->property, "Reason", why->reason, NULL);
}

int api_error_query(struct api *a, const char *name, const char *value, const char *reason)
{
	return api_error(a, 400, "InvalidQueryParameterValue", "QueryParameterName", name,
			 "QueryParameterValue", value, "Reason", reason, NULL);
}

int api_error_internal(struct api *a)
{
	return api_error(a, 500, "InternalError", NULL);
}

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

struct pool *api_pool(struct api *a)
{
	struct entity *e = entity_list_find(&a->s->pools, a->args[0]);
	if (!e)
		api_error(a, 404, "PoolNotFound", NULL);
	return e ? entity_pool(e) : NULL;
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
	if (!owned || !text || put_first(owned, "odata.metadata", text) < 0 ||
	    http_resp_json(a->resp, 200, CONTENT_TYPE, owned) < 0)
		return api_error_internal(a);
	return 0;
}

/* --- lists -------------------------------------------------------------------------------- */

static int list_limit(struct api *a, long *ret)
{
	const char *text = http_req_param(a->req, "maxresults");
	*ret = 1000;
	if (!text)
		return 0;
	char *end;
	errno = 0;
	*ret = strtol(text, &end, 10);
	if (errno || *end || end == text)
		return api_error_query(a, "maxresults", text, "MaxResults is not a number");
	if (*ret < 1)
		return api_error_query(a, "maxresults", text, "MaxResults cannot be less than 1");
	if (*ret > 1000)
		return api_error_query(a, "maxresults", text, "MaxResults cannot be more than 1000");
	return 0;
}

/* The request's URL with another $skiptoken. */
static char *next_link(const struct api *a, const char *key)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(64 * 1024);
	int rc = adafs_buf_addf(&b, "%s%s", a->base, a->req->path);
	char join = '?';
	for (size_t i = 0; rc == 0 && i < a->req->n_params; i++) {
		const struct http_field *p = &a->req->params[i];
		if (strcasecmp(p->name, "$skiptoken") == 0)
			continue;
		ADAFS_FREE char *value = adafs_url_encode(p->value, strlen(p->value), "");
		ADAFS_FREE char *name = adafs_url_encode(p->name, strlen(p->name), "$");
		rc = value && name ? adafs_buf_addf(&b, "%c%s=%s", join, name, value) : -ENOMEM;
		join = '&';
	}
	ADAFS_FREE char *token = adafs_base64_encode(key, strlen(key));
	ADAFS_FREE char *encoded = token ? adafs_url_encode(token, strlen(token), "") : NULL;
	if (rc == 0)
		rc = encoded ? adafs_buf_addf(&b, "%c$skiptoken=%s", join, encoded) : -ENOMEM;
	return rc == 0 ? adafs_buf_steal(&b, NULL) : NULL;
}

static int list_start(struct api *a, const struct api_list *l, struct odata_filter **ret_filter,
		      char **ret_after)
{
	const char *filter = http_req_param(a->req, "$filter");
	if (filter && *filter) {
		struct adafs_err err = { 0 };
		int rc = odata_filter_parse(filter, l->filterable, ret_filter, &err);
		if (rc < 0)
			return api_error_query(a, "$filter", filter, err.msg);
	}
	const char *token = http_req_param(a->req, "$skiptoken");
	size_t len;
	if (!token)
		*ret_after = strdup("");
	else if (adafs_base64_decode(token, strlen(token), (uint8_t **)ret_after, &len) < 0)
		return api_error_query(a, "$skiptoken", token, "The token is not one of this service");
	return *ret_after ? 0 : api_error_internal(a);
}

/* Whether an item passes; *ret is its view when one had to be made of all properties anyway. */
static bool passes(struct api *a, const struct api_list *l, const struct odata_filter *filter,
		   void *item)
{
	if (!filter)
		return true;
	/* All that lists can filter by, without the bulk of a task. */
	ADAFS_JSON *view = l->view(a, item,
				   "id,name,state,allocationState,stateTransitionTime,"
				   "allocationStateTransitionTime,creationTime,lastModified,"
				   "lastModifiedTime,enableAutoScale,enableInterNodeCommunication,"
				   "vmSize,executionInfo,startTaskInfo,lastBootTime,allocationTime");
	return view && odata_filter_match(filter, view);
}

int api_list(struct api *a, const struct api_list *l)
{
	ADAFS_CLEANUP(odata_filter_freep) struct odata_filter *filter = NULL;
	ADAFS_FREE char *after = NULL;
	long limit;
	int rc = list_limit(a, &limit);
	if (rc == 0)
		rc = list_start(a, l, &filter, &after);
	if (rc < 0)
		return rc;
	const char *select = http_req_param(a->req, "$select");
	ADAFS_JSON *out = cJSON_CreateObject();
	cJSON *value = cJSON_AddArrayToObject(out, "value");
	void *last = NULL, *item = NULL;
	while ((item = l->next(l->arg, after, item)) != NULL) {
		if (!passes(a, l, filter, item))
			continue;
		if (limit-- == 0) {
			ADAFS_FREE char *link = next_link(a, l->key(last));
			if (!link || !cJSON_AddStringToObject(out, "odata.nextLink", link))
				return api_error_internal(a);
			break;
		}
		if (!cJSON_AddItemToArray(value, l->view(a, item, select && *select ? select : NULL)))
			return api_error_internal(a);
		last = item;
	}
	return api_json(a, l->metadata, ADAFS_STEAL(out));
}

struct entity_cursor {
	struct entity_list *list;
	size_t at;
};

static void *next_entity(void *arg, const char *after, void *previous)
{
	struct entity_cursor *c = arg;
	if (!previous) {
		size_t lo = 0, hi = c->list->n;
		while (lo < hi) {
			size_t mid = (lo + hi) / 2;
			if (strcmp(c->list->item[mid]->key, after) <= 0)
				lo = mid + 1;
			else
				hi = mid;
		}
		c->at = lo;
	}
	return c->at < c->list->n ? c->list->item[c->at++] : NULL;
}

static const char *entity_key(void *item)
{
	return ((struct entity *)item)->key;
}

int api_list_entities(struct api *a, struct entity_list *l, const char *metadata,
		      const struct odata_property *filterable,
		      cJSON *(*view)(struct api *a, void *item, const char *select))
{
	entity_list_sort(l);
	struct entity_cursor c = { .list = l };
	const struct api_list list = { .metadata = metadata, .filterable = filterable, .arg = &c,
				       .next = next_entity, .key = entity_key, .view = view };
	return api_list(a, &list);
}

/* --- the HTTP service --------------------------------------------------------------------- */

static const struct api_route *const tables[] = { api_pool_routes, api_job_routes, api_task_routes,
						  api_file_routes };

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
	for (v += 10; *v == '.'; ) {
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
	switch (batch_auth_check(a->req, a->s->account, a->s->key, a->s->key_len,
				 (time_t)(adafs_clock_wall_us() / 1000000), &detail)) {
	case BATCH_AUTH_OK:
		return 0;
	case BATCH_AUTH_MISSING:
		return api_error(a, 400, "MissingRequiredHeader", "HeaderName", "Authorization", NULL);
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
	a->base = host ? adafs_fmt("http://%s", host) : strdup(a->s->endpoint ? a->s->endpoint : "");
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

static int parse_body(struct api *a)
{
	const struct adafs_buf *b = &a->req->body;
	if (a->req->body_rc == -EFBIG)
		return api_error(a, 413, "RequestBodyTooLarge", "MaxLimit", "1048576", NULL);
	if (a->req->body_rc < 0)
		return api_error_internal(a);
	if (!b->len)
		return 0;
	struct adafs_err err = { 0 };
	a->body = adafs_utf8_valid(b->data, b->len) ? adafs_json_parse(b->data, b->len, &err) : NULL;
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
