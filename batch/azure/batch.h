/*
 * azure/batch.h - the Batch service's operations that adafs needs. Bodies are JSON in the service's
 * own shapes, so that this layer adds transport, paging, chunking and errors, and no second model.
 * All calls wait in the calling thread unless their name says _start. Errors as in blob.h; the
 * service's code is in err.service_code ("JobExists", "TaskNotFound", ...).
 */
#ifndef ADAFS_AZURE_BATCH_H
#define ADAFS_AZURE_BATCH_H

#include <stdint.h>

#include "batch/azure/account.h"
#include "batch/azure/http.h"
#include "batch/base/json.h"

struct adafs_batch_client;
/* Copies what it needs of the account; http is borrowed and outlives the client. */
struct adafs_batch_client *adafs_batch_client_new(struct adafs_http *http,
						  const struct adafs_batch_account *account,
						  struct adafs_err *reterr);
void adafs_batch_client_free(struct adafs_batch_client *c);
/* As adafs_blob_client_describe and _ready. */
char *adafs_batch_client_describe(const struct adafs_batch_client *c);
int adafs_batch_client_ready(const struct adafs_batch_client *c, struct adafs_err *reterr);
/* The name of the account; borrowed. */
const char *adafs_batch_client_name(const struct adafs_batch_client *c);
/* As adafs_http_tries_again. */
bool adafs_batch_client_tries_again(const struct adafs_batch_client *c, struct adafs_err *ret);

/*
 * Called for each item of a list, borrowed for the call; a negative return stops and is returned.
 */
typedef int adafs_batch_item_fn(void *arg, const cJSON *item);

/* GET /pools/{id}; *ret_pool to be deleted by cJSON_Delete. -ENOENT. */
int adafs_batch_pool_get(struct adafs_batch_client *c, const char *pool, cJSON **ret_pool,
			 struct adafs_err *reterr);
/* POST /pools with a body as in batch-rest.md 6.1. -EEXIST. */
int adafs_batch_pool_add(struct adafs_batch_client *c, const cJSON *body, struct adafs_err *reterr);
/* POST /pools/{id}/resize to a number of dedicated nodes. */
int adafs_batch_pool_resize(struct adafs_batch_client *c, const char *pool, int dedicated,
			    struct adafs_err *reterr);
/*
 * POST /pools/{id}/enableautoscale; interval "PT5M" starts the schedule anew, so that the formula
 * runs at once. etag NULL: whatever the pool is now. -EAGAIN with TooManyEnableAutoScaleRequests:
 * the last was less than 30 s ago; -ESTALE: the pool has another ETag.
 */
int adafs_batch_pool_enable_autoscale(struct adafs_batch_client *c, const char *pool,
				      const char *formula, const char *interval, const char *etag,
				      struct adafs_err *reterr);
/* DELETE /pools/{id}, etag as above. A pool that is gone, or going, is success. */
int adafs_batch_pool_delete(struct adafs_batch_client *c, const char *pool, const char *etag,
			    struct adafs_err *reterr);
/* The service's time in µs since 1970, as far as known: times in formulas are compared with it. */
int64_t adafs_batch_now_us(struct adafs_batch_client *c);
/* GET /nodecounts of one pool: {dedicated, lowPriority} by state; to be deleted by cJSON_Delete. */
int adafs_batch_node_counts(struct adafs_batch_client *c, const char *pool, cJSON **ret_counts,
			    struct adafs_err *reterr);
/* GET /pools/{id}/nodes, all pages. */
int adafs_batch_node_list(struct adafs_batch_client *c, const char *pool, const char *select,
			  adafs_batch_item_fn *fn, void *arg, struct adafs_err *reterr);

/* POST /jobs. -EEXIST with service_code JobExists. */
int adafs_batch_job_add(struct adafs_batch_client *c, const cJSON *body, struct adafs_err *reterr);
/* GET /jobs/{id}; select may be NULL. */
int adafs_batch_job_get(struct adafs_batch_client *c, const char *job, const char *select,
			cJSON **ret_job, struct adafs_err *reterr);
/* PATCH /jobs/{id}. */
int adafs_batch_job_patch(struct adafs_batch_client *c, const char *job, const cJSON *body,
			  struct adafs_err *reterr);
/* POST /jobs/{id}/terminate with a reason. A job that has ended already is success. */
int adafs_batch_job_terminate(struct adafs_batch_client *c, const char *job, const char *reason,
			      struct adafs_err *reterr);
/* POST /jobs/{id}/disable with disableTasks wait: what runs goes on, nothing more starts. */
int adafs_batch_job_disable(struct adafs_batch_client *c, const char *job,
			    struct adafs_err *reterr);
/* POST /jobs/{id}/enable. */
int adafs_batch_job_enable(struct adafs_batch_client *c, const char *job, struct adafs_err *reterr);
/* DELETE /jobs/{id}. */
int adafs_batch_job_delete(struct adafs_batch_client *c, const char *job, struct adafs_err *reterr);
/* GET /jobs, all pages. filter and select may be NULL. */
int adafs_batch_job_list(struct adafs_batch_client *c, const char *filter, const char *select,
			 adafs_batch_item_fn *fn, void *arg, struct adafs_err *reterr);

/*
 * POST /jobs/{id}/addtaskcollection for an array of tasks, in chunks of at most 100 tasks and under
 * 1 MiB; a chunk that is still too large (413) is halved; items with servererror are sent again;
 * TaskExists counts as success, since ids are deterministic. The first clienterror fails the call
 * with the task's id in the message.
 */
int adafs_batch_task_add_all(struct adafs_batch_client *c, const char *job, const cJSON *tasks,
			     struct adafs_err *reterr);
/* GET /jobs/{id}/tasks, all pages. */
int adafs_batch_task_list(struct adafs_batch_client *c, const char *job, const char *filter,
			  const char *select, adafs_batch_item_fn *fn, void *arg,
			  struct adafs_err *reterr);
int adafs_batch_task_terminate(struct adafs_batch_client *c, const char *job, const char *task,
			       struct adafs_err *reterr);

/*
 * HEAD .../files/{path}: its size and time of change. -ENOENT, -EAGAIN: the task has not started.
 */
int adafs_batch_file_head(struct adafs_batch_client *c, const char *job, const char *task,
			  const char *path, int64_t *ret_size, time_t *ret_mtime,
			  struct adafs_err *reterr);
/* On the loop thread; len bytes are in the buffer that was given, 0 at or after the end. */
typedef void adafs_batch_file_done(void *arg, size_t len, const struct adafs_err *err);
/* GET .../files/{path} with ocp-range; buf is borrowed until done, which is called exactly once. */
void adafs_batch_file_get_start(struct adafs_batch_client *c, const char *job, const char *task,
				const char *path, int64_t off, size_t len, void *buf,
				adafs_batch_file_done *done, void *arg);
int adafs_batch_file_get(struct adafs_batch_client *c, const char *job, const char *task,
			 const char *path, int64_t off, size_t len, void *buf, size_t *ret_len,
			 struct adafs_err *reterr);
/* GET .../files?recursive=true below a directory ("wd/"), all pages. */
int adafs_batch_file_list(struct adafs_batch_client *c, const char *job, const char *task,
			  const char *starts_with, adafs_batch_item_fn *fn, void *arg,
			  struct adafs_err *reterr);

#endif
