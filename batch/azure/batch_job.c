/* Pools, nodes and jobs. Ids are letters, digits, '-' and '_': they stand in paths as they are. */
#include "batch/azure/batch_int.h"

#include <errno.h>
#include <string.h>

#define MAX_URL (64 * 1024)
#define URL_BUF(name) ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf name = ADAFS_BUF_INIT(MAX_URL)

static int no_url(const char *operation, int rc, struct adafs_err *reterr)
{
	return adafs_err_set(reterr, rc, "%s: %s", operation, strerror(-rc));
}

int adafs_batch_pool_get(struct adafs_batch_client *c, const char *pool, cJSON **ret_pool,
			 struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/pools/%s", pool);
	return rc < 0 ? no_url("get pool", rc, reterr)
		      : batch_call(c, "GET", "get pool", url.data, NULL, ret_pool, reterr);
}

int adafs_batch_pool_add(struct adafs_batch_client *c, const cJSON *body, struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/pools");
	return rc < 0 ? no_url("add pool", rc, reterr)
		      : batch_call(c, "POST", "add pool", url.data, body, NULL, reterr);
}

int adafs_batch_pool_resize(struct adafs_batch_client *c, const char *pool, int dedicated,
			    struct adafs_err *reterr)
{
	URL_BUF(url);
	char body[64];
	snprintf(body, sizeof(body), "{\"targetDedicatedNodes\":%d}", dedicated);
	int rc = batch_url(&url, c, "/pools/%s/resize", pool);
	return rc < 0 ? no_url("resize pool", rc, reterr)
		      : batch_call_text(c, "POST", "resize pool", url.data, body, NULL, reterr);
}

int adafs_batch_node_list(struct adafs_batch_client *c, const char *pool, const char *select,
			  adafs_batch_item_fn *fn, void *arg, struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/pools/%s/nodes", pool);
	if (rc == 0)
		rc = batch_url_param(&url, "$select", select);
	return rc < 0 ? no_url("list nodes", rc, reterr)
		      : batch_list(c, "list nodes", url.data, fn, arg, reterr);
}

int adafs_batch_job_add(struct adafs_batch_client *c, const cJSON *body, struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/jobs");
	return rc < 0 ? no_url("add job", rc, reterr)
		      : batch_call(c, "POST", "add job", url.data, body, NULL, reterr);
}

int adafs_batch_job_get(struct adafs_batch_client *c, const char *job, const char *select,
			cJSON **ret_job, struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/jobs/%s", job);
	if (rc == 0)
		rc = batch_url_param(&url, "$select", select);
	return rc < 0 ? no_url("get job", rc, reterr)
		      : batch_call(c, "GET", "get job", url.data, NULL, ret_job, reterr);
}

int adafs_batch_job_patch(struct adafs_batch_client *c, const char *job, const cJSON *body,
			  struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/jobs/%s", job);
	return rc < 0 ? no_url("patch job", rc, reterr)
		      : batch_call(c, "PATCH", "patch job", url.data, body, NULL, reterr);
}

/* Whether a refusal says that what was to be ended has ended, or is about to. */
static bool has_ended(const struct adafs_err *err)
{
	return err->http_status == 409 && (strcmp(err->service_code, "JobCompleted") == 0 ||
					   strcmp(err->service_code, "JobBeingTerminated") == 0 ||
					   strcmp(err->service_code, "TaskCompleted") == 0);
}

int adafs_batch_job_terminate(struct adafs_batch_client *c, const char *job, const char *reason,
			      struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/jobs/%s/terminate", job);
	if (rc < 0)
		return no_url("terminate job", rc, reterr);
	ADAFS_JSON *body = reason ? cJSON_CreateObject() : NULL;
	if (reason && (!body || !cJSON_AddStringToObject(body, "terminateReason", reason)))
		return no_url("terminate job", -ENOMEM, reterr);
	struct adafs_err err = { 0 };
	rc = batch_call(c, "POST", "terminate job", url.data, body, NULL, &err);
	return rc < 0 && has_ended(&err) ? 0 : adafs_err_copy(reterr, &err);
}

/* POST to /jobs/{id}/<verb> with a body or none. */
static int job_verb(struct adafs_batch_client *c, const char *job, const char *verb,
		    const cJSON *body, struct adafs_err *reterr)
{
	char what[32];
	URL_BUF(url);
	int rc = batch_url(&url, c, "/jobs/%s/%s", job, verb);
	snprintf(what, sizeof(what), "%s job", verb);
	return rc < 0 ? no_url(what, rc, reterr)
		      : batch_call(c, "POST", what, url.data, body, NULL, reterr);
}

int adafs_batch_job_disable(struct adafs_batch_client *c, const char *job, struct adafs_err *reterr)
{
	ADAFS_JSON *body = cJSON_CreateObject();
	if (!body || !cJSON_AddStringToObject(body, "disableTasks", "wait"))
		return no_url("disable job", -ENOMEM, reterr);
	return job_verb(c, job, "disable", body, reterr);
}

int adafs_batch_job_enable(struct adafs_batch_client *c, const char *job, struct adafs_err *reterr)
{
	return job_verb(c, job, "enable", NULL, reterr);
}

int adafs_batch_job_delete(struct adafs_batch_client *c, const char *job, struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/jobs/%s", job);
	if (rc < 0)
		return no_url("delete job", rc, reterr);
	struct adafs_err err = { 0 };
	rc = batch_call(c, "DELETE", "delete job", url.data, NULL, NULL, &err);
	if (rc < 0 && err.outcome_unknown &&
	    (rc == -ENOENT || strcmp(err.service_code, "JobBeingDeleted") == 0))
		return 0; /* an earlier attempt did it */
	return adafs_err_copy(reterr, &err);
}

int adafs_batch_job_list(struct adafs_batch_client *c, const char *filter, const char *select,
			 adafs_batch_item_fn *fn, void *arg, struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/jobs");
	if (rc == 0)
		rc = batch_url_param(&url, "$filter", filter);
	if (rc == 0)
		rc = batch_url_param(&url, "$select", select);
	return rc < 0 ? no_url("list jobs", rc, reterr)
		      : batch_list(c, "list jobs", url.data, fn, arg, reterr);
}

int adafs_batch_task_list(struct adafs_batch_client *c, const char *job, const char *filter,
			  const char *select, adafs_batch_item_fn *fn, void *arg,
			  struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/jobs/%s/tasks", job);
	if (rc == 0)
		rc = batch_url_param(&url, "$filter", filter);
	if (rc == 0)
		rc = batch_url_param(&url, "$select", select);
	return rc < 0 ? no_url("list tasks", rc, reterr)
		      : batch_list(c, "list tasks", url.data, fn, arg, reterr);
}

int adafs_batch_task_terminate(struct adafs_batch_client *c, const char *job, const char *task,
			       struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/jobs/%s/tasks/%s/terminate", job, task);
	if (rc < 0)
		return no_url("terminate task", rc, reterr);
	struct adafs_err err = { 0 };
	rc = batch_call(c, "POST", "terminate task", url.data, NULL, NULL, &err);
	return rc < 0 && has_ended(&err) ? 0 : adafs_err_copy(reterr, &err);
}
