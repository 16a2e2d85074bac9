/* foreman/setup.c - what is brought into order once at start: access policy, assets, pool. */
#include <errno.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/foreman/internal.h"
#include "batch/foreman/policy.h"

/* The service may take so long to know a new stored access policy. */
#define POLICY_DELAY_MS 30000
#define POLICY_CHECK_MS (12 * 3600 * 1000)

/* --- the stored access policy ------------------------------------------------------------- */

int foreman_setup_policy(struct adafs_foreman *f, struct adafs_err *reterr)
{
	/* With a SAS only, tasks get the user's own and there is no policy to set. */
	if (!adafs_blob_client_account(f->blob)->key)
		return 0;
	struct adafs_blob_acl acl = {0};
	bool changed, added;
	int rc = adafs_blob_container_get_acl(f->blob, f->container, &acl, reterr);
	if (rc == -ENOENT) {
		rc = adafs_blob_container_create(f->blob, f->container, reterr);
		if (rc == 0 || rc == -EEXIST)
			rc = adafs_blob_container_get_acl(f->blob, f->container, &acl, reterr);
	}
	if (rc) {
		adafs_err_prefix(reterr, "container '%s'", f->container);
		return rc;
	}
	rc = policy_merge(acl.policy, &acl.n, adafs_clock_wall_us(), &changed, &added);
	if (rc == -ENOSPC)
		return adafs_err_set(
			reterr, rc,
			"container '%s' has five stored access policies of others: remove one, "
			"adafs needs one of its own",
			f->container);
	f->policy_check_ms = adafs_clock_mono_ms() + POLICY_CHECK_MS;
	if (!changed)
		return 0;
	rc = adafs_blob_container_set_acl(f->blob, f->container, &acl, reterr);
	if (rc) {
		adafs_err_prefix(reterr, "cannot set the stored access policy of container '%s'",
				 f->container);
		return rc;
	}
	if (added && !f->local)
		f->policy_ready_ms = adafs_clock_mono_ms() + POLICY_DELAY_MS;
	return 0;
}

/* --- assets ------------------------------------------------------------------------------- */

struct asset_list {
	const struct adafs_pipeline *pipeline;
	bool *found;
	const char *text_blob;
	bool text_found;
};

static int see_asset(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct asset_list *l = arg;
	if (!props)
		return 0;
	if (strcmp(name, l->text_blob) == 0)
		l->text_found = true;
	for (size_t i = 0; i < adafs_pipeline_n_assets(l->pipeline); i++)
		if (strcmp(adafs_pipeline_asset(l->pipeline, i)->blob, name) == 0)
			l->found[i] = true;
	return 0;
}

static int put_once(struct adafs_foreman *f, const char *blob, const void *data, size_t len,
		    const char *type, struct adafs_err *reterr)
{
	struct adafs_blob_source src = {.data = data, .fd = -1, .len = len};
	struct adafs_blob_put put = {.content_type = type, .cond = {.if_none_match = "*"}};
	int rc = adafs_blob_put(f->blob, f->container, blob, &src, &put, NULL, reterr);
	/* The name holds the digest: whoever was first wrote the same bytes. */
	if (rc == -EEXIST || rc == -ESTALE)
		return 0;
	if (rc)
		adafs_err_prefix(reterr, "cannot store asset '%s'", blob);
	return rc;
}

static int add_missing(struct adafs_foreman *f, const char *blob)
{
	char **list = realloc(f->missing_assets, (f->n_missing_assets + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	f->missing_assets = list;
	list[f->n_missing_assets] = strdup(blob);
	if (!list[f->n_missing_assets])
		return -ENOMEM;
	f->n_missing_assets++;
	return 0;
}

static int put_assets(struct adafs_foreman *f, const struct asset_list *l, struct adafs_err *reterr)
{
	int rc = 0;
	for (size_t i = 0; i < adafs_pipeline_n_assets(l->pipeline) && !rc; i++) {
		const struct adafs_pipeline_asset *a = adafs_pipeline_asset(l->pipeline, i);
		if (l->found[i])
			continue;
		if (a->data) {
			rc = put_once(f, a->blob, a->data, a->data_len, NULL, reterr);
		} else if (!a->optional) {
			adafs_log(WARN, "foreman",
				  "asset '%s' of the pipeline is not in container '%s': jobs wait "
				  "until it is",
				  a->blob, f->container);
			if (add_missing(f, a->blob))
				rc = adafs_err_set(reterr, -ENOMEM, "out of memory");
		}
	}
	return rc;
}

static int setup_assets(struct adafs_foreman *f, struct adafs_err *reterr)
{
	const struct adafs_pipeline *p = f->pipeline;
	ADAFS_FREE bool *found = calloc(adafs_pipeline_n_assets(p) + 1, sizeof(*found));
	ADAFS_FREE char *text_blob = pipelines_blob(adafs_pipeline_digest(p));
	if (!found || !text_blob)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	struct asset_list l = {.pipeline = p, .found = found, .text_blob = text_blob};
	int rc = adafs_blob_list(f->blob, f->container, "assets/", NULL, 0, see_asset, &l, reterr);
	if (rc)
		return rc;
	rc = put_assets(f, &l, reterr);
	if (rc || l.text_found)
		return rc;
	size_t len;
	const char *text = adafs_pipeline_text(p, &len);
	return put_once(f, text_blob, text, len, "application/json", reterr);
}

/* --- the pool ----------------------------------------------------------------------------- */

static void take_pool(struct adafs_foreman *f, const cJSON *pool)
{
	int nodes = (int)(adafs_json_int(pool, "currentDedicatedNodes", 0) +
			  adafs_json_int(pool, "currentLowPriorityNodes", 0));
	int slots = (int)adafs_json_int(pool, "taskSlotsPerNode", 1);
	adafs_mutex_lock(&f->lock);
	bool changed =
		foreman_text_set(&f->pool_state, adafs_json_str(pool, "allocationState", ""));
	if (changed || nodes != f->pool_nodes || slots != f->pool_slots)
		foreman_show_locked(f);
	f->pool_nodes = nodes;
	f->pool_slots = slots;
	adafs_mutex_unlock(&f->lock);
}

int foreman_refresh_pool(struct adafs_foreman *f, struct adafs_err *reterr)
{
	ADAFS_JSON *pool = NULL;
	int rc = adafs_batch_pool_get(f->batch, f->pool, &pool, reterr);
	if (rc == 0)
		take_pool(f, pool);
	return rc;
}

/* A pool of the embedded engine: one node of this machine. */
static int add_local_pool(struct adafs_foreman *f, struct adafs_err *reterr)
{
	ADAFS_JSON *body = cJSON_CreateObject();
	cJSON_AddStringToObject(body, "id", f->pool);
	cJSON_AddStringToObject(body, "vmSize", "standard_d2s_v3");
	cJSON_AddNumberToObject(body, "targetDedicatedNodes", 1);
	cJSON_AddNumberToObject(body, "taskSlotsPerNode", 4);
	cJSON *vm = cJSON_AddObjectToObject(body, "virtualMachineConfiguration");
	cJSON_AddStringToObject(vm, "nodeAgentSKUId", "batch.node.debian 12");
	cJSON *image = cJSON_AddObjectToObject(vm, "imageReference");
	cJSON_AddStringToObject(image, "publisher", "debian");
	cJSON_AddStringToObject(image, "offer", "debian-12");
	cJSON_AddStringToObject(image, "sku", "12");
	int rc = adafs_batch_pool_add(f->batch, body, reterr);
	return rc == -EEXIST ? 0 : rc;
}

static int setup_pool(struct adafs_foreman *f, struct adafs_err *reterr)
{
	const struct adafs_storage_account *a = adafs_blob_client_account(f->blob);
	bool blob_local = adafs_url_is_loopback(a->endpoint);
	ADAFS_JSON *pool = NULL;
	if (!*f->pool)
		return adafs_err_set(reterr, -EINVAL, "no pool is named: set pool=");
	int rc = adafs_batch_pool_get(f->batch, f->pool, &pool, reterr);
	if (rc == -ENOENT && blob_local) {
		rc = add_local_pool(f, reterr);
		if (rc == 0)
			rc = adafs_batch_pool_get(f->batch, f->pool, &pool, reterr);
	}
	if (rc == -ENOENT)
		return adafs_err_set(
			reterr, rc,
			"pool '%s' does not exist in the Batch account: make it, or name another "
			"one with pool=",
			f->pool);
	if (rc) {
		adafs_err_prefix(reterr, "pool '%s'", f->pool);
		return rc;
	}
	const char *url = adafs_json_str(pool, "url", "");
	if (blob_local && *url && !adafs_url_is_loopback(url))
		return adafs_err_set(
			reterr, -EINVAL,
			"the Batch account's nodes cannot reach the Blob endpoint %s of this "
			"machine: use a storage account in Azure, or the embedded Batch",
			a->endpoint);
	if (strcasecmp(adafs_json_str(pool, "state", ""), "deleting") == 0)
		return adafs_err_set(
			reterr, -EINVAL,
			"pool '%s' is being deleted: name another one with pool=", f->pool);
	f->local = *url ? adafs_url_is_loopback(url) : blob_local;
	take_pool(f, pool);
	return 0;
}

int foreman_setup(struct adafs_foreman *f, struct adafs_err *reterr)
{
	const struct adafs_storage_account *a = adafs_blob_client_account(f->blob);
	if (!a->key && !a->sas)
		return adafs_err_set(reterr, -EACCES,
				     "storage account '%s': neither a key nor a SAS is set",
				     a->name);
	int rc = adafs_pipeline_runnable(f->pipeline, reterr);
	if (rc)
		return rc;
	rc = setup_pool(f, reterr);
	if (!rc)
		rc = foreman_setup_policy(f, reterr);
	if (!rc)
		rc = setup_assets(f, reterr);
	return rc;
}
