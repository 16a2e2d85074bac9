/* What changes a pool: its formula, and its end. */
#include "batch/azure/batch_int.h"

#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"

#define MAX_URL (64 * 1024)
#define URL_BUF(name) ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf name = ADAFS_BUF_INIT(MAX_URL)

int adafs_batch_pool_enable_autoscale(struct adafs_batch_client *c, const char *pool,
				      const char *formula, const char *interval,
				      struct adafs_err *reterr)
{
	URL_BUF(url);
	ADAFS_JSON *body = cJSON_CreateObject();
	int rc = batch_url(&url, c, "/pools/%s/enableautoscale", pool);
	if (rc == 0 && (!body || !cJSON_AddStringToObject(body, "autoScaleFormula", formula) ||
			!cJSON_AddStringToObject(body, "autoScaleEvaluationInterval", interval)))
		rc = -ENOMEM;
	return rc < 0 ? adafs_err_set(reterr, rc, "enable autoscale: %s", strerror(-rc))
		      : batch_call(c, "POST", "enable autoscale", url.data, body, NULL, reterr);
}

int adafs_batch_pool_delete(struct adafs_batch_client *c, const char *pool, struct adafs_err *reterr)
{
	URL_BUF(url);
	int rc = batch_url(&url, c, "/pools/%s", pool);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "delete pool: %s", strerror(-rc));
	struct adafs_err err = {0};
	rc = batch_call(c, "DELETE", "delete pool", url.data, NULL, NULL, &err);
	if (rc < 0 && (rc == -ENOENT || strcmp(err.service_code, "PoolBeingDeleted") == 0))
		return 0; /* an earlier attempt, or another mount, did it */
	return adafs_err_copy(reterr, &err);
}

int64_t adafs_batch_now_us(struct adafs_batch_client *c)
{
	int64_t skew = 0;
	if (adafs_http_clock_skew(c->http, c->account.endpoint, &skew) < 0)
		skew = 0;
	return adafs_clock_wall_us() + skew * 1000000;
}
