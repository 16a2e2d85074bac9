/*
 * emulator/batch/api/api.h - one request on its way through the service, and the answers that all
 * operations share. A handler holds the service's lock from start to end unless it says otherwise;
 * it changes the model, commits, and answers. Its return: 0, or negative after an error was
 * answered.
 */
#ifndef ADAFS_EMULATOR_BATCH_API_H
#define ADAFS_EMULATOR_BATCH_API_H

#include "batch/emulator/batch/api/odata.h"
#include "batch/emulator/batch/service.h"
#include "batch/emulator/batch/api/spec.h"

#define API_CONTENT_TYPE "application/json;odata=minimalmetadata"

struct api;

struct api_route {
	const char *method;
	const char *pattern;   /* of http_path_match */
	const char *operation; /* for counters */
	int (*handle)(struct api *a);
};

struct api {
	struct batch_service *s;
	struct http_req *req;
	struct http_resp *resp;
	const struct api_route *route;
	char *args[HTTP_PATH_ARGS]; /* of the path */
	char request_id[40];
	cJSON *body; /* parsed; NULL: none was sent */
	char *base;  /* "http://host:port" as the client sees it */
	bool stats;  /* views show statistics */
};

/* Tables of routes, each ended by a NULL method. */
extern const struct api_route api_pool_routes[];
extern const struct api_route api_autoscale_routes[];
extern const struct api_route api_job_routes[];
extern const struct api_route api_task_routes[];
extern const struct api_route api_file_routes[];
extern const struct api_route api_node_routes[];
extern const struct api_route api_status_routes[];
extern const struct api_route api_named_routes[];

/* --- errors ------------------------------------------------------------------------------- */
/* Answer an error; values are key and value in turns, ended by NULL. Returns -EIO for `return`. */
int api_error(struct api *a, int status, const char *code, ...) __attribute__((sentinel));
/* The object that stands in an answer or in the result of one item. */
cJSON *api_error_object(const struct api *a, const char *code, const cJSON *values);
/* The service's sentence for a code. */
const char *api_error_text(const char *code);
int api_error_spec(struct api *a, const struct batch_spec_error *why);
/* 400 InvalidQueryParameterValue. */
int api_error_query(struct api *a, const char *name, const char *value, const char *reason);
/* 500: memory or disk failed. */
int api_error_internal(struct api *a);
/* Add a text as the first member of an object. 0 or -ENOMEM. */
int api_put_first(cJSON *o, const char *name, const char *value);

/* --- requests ----------------------------------------------------------------------------- */
/* The body by a table; *ret owned. A missing body is taken as {}. 0 or answered. */
int api_body(struct api *a, const struct batch_spec_field *fields, cJSON **ret);
/* Whether the request's api-version is of an earlier day than "2020-09-01". */
bool api_before(const struct api *a, const char *day);
/* Read $expand, which is stats or nothing, into a->stats. 0 or answered. */
int api_expand(struct api *a);
/* A query parameter that is true or false; absent: false. 0 or answered. */
int api_flag(struct api *a, const char *name, bool *ret);
/* The entity that the path names, or 404. */
struct pool *api_pool(struct api *a);
/* Likewise, to be changed: 409 while it is being deleted. */
struct pool *api_live_pool(struct api *a);
struct node *api_node(struct api *a);
struct job *api_job(struct api *a);
/* A job that may be changed: 409 while it is being deleted. */
struct job *api_live_job(struct api *a);
struct task *api_task(struct api *a);
/* If-Match and its kin against an entity. write: 412, else 304. 0 or answered. */
int api_conditions(struct api *a, const struct entity *e, bool write);
/* The same for two of the headers, against a time alone (files). */
int api_conditions_time(struct api *a, time_t modified, bool write);

/* --- answers ------------------------------------------------------------------------------ */
/* Write what changed, or 500. To be called before an answer of success. */
int api_commit(struct api *a);
/* The number and the times of an entity that is about to be added. */
void api_stamp_new(struct api *a, struct entity *e);
/* As api_commit, for an entity that was just added: when it fails, the entity is gone. */
int api_commit_new(struct api *a, struct entity *e);
/* An empty answer with DataServiceId and, unless e is NULL, ETag and Last-Modified. */
int api_done(struct api *a, int status, const struct entity *e);
/* 201 with the Location of the new entity, base URL + "/jobs/" + id. */
int api_created(struct api *a, const char *collection, const struct entity *e);
/* A JSON answer; takes json. metadata: "jobs/@Element". */
int api_json(struct api *a, const char *metadata, cJSON *json);
void api_etag_headers(struct api *a, const struct entity *e);
cJSON *api_time(int64_t us);

/*
 * A page of a list: filtered, selected, limited by maxresults, continued by $skiptoken. next gives
 * items in order of their keys, at first the one whose key is above `after` (""); view makes the
 * JSON of one with the properties of `select` (NULL: all).
 */
struct api_list {
	const char *metadata;
	const struct odata_property *filterable;
	void *arg;
	void *(*next)(void *arg, const char *after, void *previous);
	const char *(*key)(void *item);
	cJSON *(*view)(struct api *a, void *item, const char *select);
};
int api_list(struct api *a, const struct api_list *l);
/* api_list over entities in a sorted list. */
int api_list_entities(struct api *a, struct entity_list *l, const char *metadata,
		      const struct odata_property *filterable,
		      cJSON *(*view)(struct api *a, void *item, const char *select));

/* --- entities that come with others ------------------------------------------------------- */
/*
 * A pool of a checked body with its defaults; takes spec. A task of a job, from any body. Both are
 * in the model and not committed. 0 with the entity, or answered.
 */
int api_make_pool(struct api *a, cJSON *spec, struct pool **ret);
int api_make_task(struct api *a, struct job *j, const cJSON *body, struct task **ret);
/* What the tables cannot say of a pool's body. 0 or answered. */
int api_check_pool(struct api *a, const cJSON *spec);

/* --- views (view.c): JSON of an entity, only what select names (NULL: all) ----------------- */
cJSON *view_pool(struct api *a, void *entity, const char *select);
cJSON *view_node(struct api *a, void *node, const char *select);
cJSON *view_job(struct api *a, void *entity, const char *select);
cJSON *view_task(struct api *a, void *entity, const char *select);

#endif
