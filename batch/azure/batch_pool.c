/* What changes a pool: its formula, and its end. */
#include "batch/azure/batch_int.h"

#include <errno.h>
#include <string.h>

#define MAX_URL (64 * 1024)
#define URL_BUF(name) ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf name = ADAFS_BUF_INIT(MAX_URL)

/* A change that holds only for the pool as it was read. etag NULL: for any. */
static int change(struct adafs_batch_client *c, const char *method, const char *operation,
		  const char *url, const cJSON *body, const char *etag, struct adafs_err *reterr)
{
	struct adafs_http_request *rq = batch_request(c, method, operation, url);
	ADAFS_FREE char *text = body ? adafs_json_print(body) : NULL;
	int rc = rq && (text || !body) ? 0 : -ENOMEM;
	if (rc == 0 && etag)
		rc = adafs_http_headers_set(&rq->headers, "If-Match", etag);
	if (rc == 0 && text)
		rc = adafs_http_headers_set(&rq->headers, "Content-Type", BATCH_CONTENT_TYPE);
	if (rc < 0) {
		adafs_http_request_free(rq);
		return adafs_err_set(reterr, rc, "%s: out of memory", operation);
	}
	rq->body = text;
	rq->body_len = text ? strlen(text) : 0;
	ADAFS_CLEANUP(adafs_http_response_clear) struct adafs_http_response response = { 0 };
	return adafs_http_perform(c->http, rq, &response, reterr);
}

int adafs_batch_pool_enable_autoscale(struct adafs_batch_client *c, const char *pool,
				      const char *formula, const char *interval, const char *etag,
				      struct adafs_err *reterr)
{
	URL_BUF(url);
	ADAFS_JSON *body = cJSON_CreateObject();
	int rc = batch_url(&url, c, "/pools/%s/enableautoscale", pool);
	if (rc == 0 && (!body || !cJSON_AddStringToObject(body, "autoScaleFormula", formula) ||
			!cJSON_AddStringToObject(body, "autoScaleEvaluationInterval", interval)))
		rc = -ENOMEM;
	return rc < 0 ? adafs_err_set(reterr, rc, "enable autoscale: %s", strerror(-rc))
		      : change(c, "POST", "enable autoscale", url.data, body, etag, reterr);
}

int adafs_batch_pool_delete(struct adafs_batch_client *c, const char *pool, const char *etag,
			    struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/pools/%s", pool);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "delete pool: %s", strerror(-rc));
	struct adafs_err err = { 0 };
	rc = change(c, "DELETE", "delete pool", url.data, NULL, etag, &err);
	if (rc < 0 && (rc == -ENOENT || strcmp(err.service_code, "PoolBeingDeleted") == 0))
		return 0; /* an earlier attempt, or another mount, did it */
	return adafs_err_copy(reterr, &err);
}

static int take_item(void *arg, const cJSON *item)
{
	cJSON **ret = arg;
	if (!*ret)
		*ret = cJSON_Duplicate(item, true);
	return *ret ? 0 : -ENOMEM;
}

int adafs_batch_node_counts(struct adafs_batch_client *c, const char *pool, cJSON **ret_counts,
			    struct adafs_err *reterr)
{
	URL_BUF(url);
	cJSON *counts = NULL;
	ADAFS_FREE char *filter = adafs_fmt("poolId eq '%s'", pool);
	int rc = filter ? batch_url(&url, c, "/nodecounts") : -ENOMEM;
	if (rc == 0)
		rc = batch_url_param(&url, "$filter", filter);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "count nodes: %s", strerror(-rc));
	rc = batch_list(c, "count nodes", url.data, take_item, &counts, reterr);
	if (rc == 0 && !counts)
		rc = adafs_err_set(reterr, -ENOENT, "count nodes: there is no pool '%s'", pool);
	if (rc < 0)
		cJSON_Delete(counts);
	else
		*ret_counts = counts;
	return rc;
}

int64_t adafs_batch_now_us(struct adafs_batch_client *c)
{
	return adafs_http_service_us(c->http, c->account.endpoint);
}
