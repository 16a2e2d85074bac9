/*
 * foreman/pool.c - the pool that runs the jobs: made when it is missing and the settings say of
 * what, watched, sized by hand, and made anew of another VM size when its own cannot be had.
 *
 * A Batch job belongs to one pool by its id and waits when there is none of it. So a pool without
 * nodes that cannot get any is deleted and made again under the same id: no job has to move.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/foreman/internal.h"
#include "batch/foreman/pool_make.h"
#include "batch/foreman/pool_words.h"

/* Work for an empty pool asks for a node at most so often. */
#define WAKE_MS (5 * 60 * 1000)

/* --- what is known of it ------------------------------------------------------------------ */

static int n_nodes(const cJSON *pool)
{
	return (int)(adafs_json_int(pool, "currentDedicatedNodes", 0) +
		     adafs_json_int(pool, "currentLowPriorityNodes", 0));
}

/* A line each; free(). NULL: out of memory. */
static char *identities_of(const cJSON *pool)
{
	struct adafs_buf b = ADAFS_BUF_INIT(1 << 16);
	const cJSON *item;
	int rc = adafs_buf_adds(&b, "");
	cJSON_ArrayForEach(item, adafs_json_path(pool, "identity/userAssignedIdentities"))
	{
		if (rc == 0)
			rc = adafs_buf_addf(&b, "%s\n", adafs_json_str(item, "resourceId", ""));
	}
	return adafs_buf_steal(&b, NULL);
}

/* Azure compares resource ids without case. */
static bool has_line(const char *lines, const char *line)
{
	size_t len = strlen(line);
	for (; *lines; lines += strcspn(lines, "\n") + 1)
		if (strcspn(lines, "\n") == len && strncasecmp(lines, line, len) == 0)
			return true;
	return false;
}

int foreman_node_identity(struct adafs_foreman *f, char **ret, struct adafs_err *reterr)
{
	const char *wish = f->identity_wish ? f->identity_wish : "auto";
	bool by_token = adafs_blob_client_account(f->blob)->token != NULL;
	adafs_mutex_lock(&f->lock);
	const char *lines = f->pool_identities ? f->pool_identities : "";
	bool known = has_line(lines, wish);
	/* A SAS by Entra ID lives for seven days at most; one by key is extended while work waits.
	 */
	if (strcmp(wish, "auto") == 0)
		*ret = strndup(lines, by_token ? strcspn(lines, "\n") : 0);
	else
		*ret = strdup(known ? wish : "");
	adafs_mutex_unlock(&f->lock);
	if (!*ret)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (**ret || strcmp(wish, "auto") == 0 || strcmp(wish, "off") == 0)
		return 0;
	return adafs_err_set(
		reterr, -EINVAL,
		"pool '%s' does not have the identity '%s': assign it to the pool in the "
		"Azure portal, or set node_identity=off",
		f->pool, wish);
}

static void take_pool(struct adafs_foreman *f, const cJSON *pool)
{
	int nodes = n_nodes(pool);
	int slots = (int)adafs_json_int(pool, "taskSlotsPerNode", 1);
	ADAFS_FREE char *trouble = pool_words_trouble(pool);
	char *identities = identities_of(pool);
	adafs_mutex_lock(&f->lock);
	free(f->pool_identities);
	f->pool_identities = identities;
	bool changed =
		foreman_text_set(&f->pool_state, adafs_json_str(pool, "allocationState", ""));
	changed |= foreman_text_set(&f->pool_trouble, trouble ? trouble : "");
	if (changed || nodes != f->pool_nodes || slots != f->pool_slots)
		foreman_show_locked(f);
	f->pool_nodes = nodes;
	f->pool_slots = slots;
	f->pool_scaled = adafs_json_bool(pool, "enableAutoScale", false);
	f->pool_boxes =
		adafs_json_path(pool, "virtualMachineConfiguration/containerConfiguration") != NULL;
	adafs_mutex_unlock(&f->lock);
}

/* What the formula was made from. False: the pool is not one that adafs made. */
static bool our_formula(const cJSON *pool, struct pool_formula *ret)
{
	return adafs_json_bool(pool, "enableAutoScale", false) &&
	       pool_formula_parse(adafs_json_str(pool, "autoScaleFormula", ""), ret);
}

static const char *etag_of(const cJSON *pool)
{
	return adafs_json_str(pool, "eTag", NULL);
}

/* --- making it ---------------------------------------------------------------------------- */

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

/*
 * The service knows the size when the pool is added, and refuses one that the region does not have.
 */
static bool size_refused(const struct adafs_err *err)
{
	return err->http_status == 400 && strcasestr(err->msg, "vmSize");
}

/* From the n-th VM size of the list on, the first that the service takes. */
static int add_pool(struct adafs_foreman *f, unsigned n, struct adafs_err *reterr)
{
	for (;; n++) {
		ADAFS_FREE char *size = pool_settings_size(f->pool_settings, n);
		ADAFS_JSON *body = size ? pool_make_body(f->pool_settings, f->pipeline, f->pool,
							 size, adafs_batch_now_us(f->batch))
					: NULL;
		if (!body)
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
		int rc = adafs_batch_pool_add(f->batch, body, reterr);
		if (rc == -EEXIST) /* another mount was first */
			return 0;
		if (rc == 0) {
			adafs_log(WARN, "foreman",
				  "pool '%s' is made of %s; it scales to zero by itself", f->pool,
				  size);
			return 0;
		}
		ADAFS_FREE char *next = pool_settings_size(f->pool_settings, n + 1);
		if (!next || !size_refused(reterr))
			return adafs_err_prefix(reterr, "pool '%s' cannot be made", f->pool);
		adafs_log(WARN, "foreman", "pool '%s': VM size %s is refused, %s is tried: %s",
			  f->pool, size, next, reterr->msg);
	}
}

static bool has_settings(const struct adafs_foreman *f)
{
	return f->pool_settings && f->pool_settings->vm_sizes && !f->reads_only;
}

/* 0 with the pool; -ENOENT: it is not there and nothing says how to make it. */
static int get_or_make(struct adafs_foreman *f, bool blob_local, cJSON **ret_pool,
		       struct adafs_err *reterr)
{
	int rc = adafs_batch_pool_get(f->batch, f->pool, ret_pool, reterr);
	if (rc != -ENOENT)
		return rc;
	if (has_settings(f)) {
		rc = adafs_pool_settings_check(f->pool_settings, f->pipeline, reterr);
		if (rc == 0)
			rc = add_pool(f, 0, reterr);
	} else if (blob_local) {
		rc = add_local_pool(f, reterr);
	}
	return rc ? rc : adafs_batch_pool_get(f->batch, f->pool, ret_pool, reterr);
}

/* --- whether it suits --------------------------------------------------------------------- */

static int check_slots(const cJSON *pool, const struct adafs_pipeline *p, struct adafs_err *reterr)
{
	const char *step = "";
	int largest = adafs_pipeline_max_slots(p, &step);
	int slots = (int)adafs_json_int(pool, "taskSlotsPerNode", 1);
	if (largest <= slots)
		return 0;
	return adafs_err_set(
		reterr, -EINVAL,
		"step '%s' of pipeline '%s' takes %d slots and a node of pool '%s' has %d: name a "
		"pool with more with pool=, or lower the step's \"slots\"",
		step, adafs_pipeline_name(p), largest, adafs_json_str(pool, "id", ""), slots);
}

/* A node without a container engine fails every task that wants one. */
static int check_containers(const cJSON *pool, const struct adafs_pipeline *p,
			    struct adafs_err *reterr)
{
	const char *image = adafs_pipeline_image(p);
	const cJSON *name,
		*config =
			adafs_json_path(pool, "virtualMachineConfiguration/containerConfiguration");
	bool pulled = false;
	if (!image)
		return 0;
	cJSON_ArrayForEach(name, adafs_json_get(config, "containerImageNames")) pulled |=
		cJSON_IsString(name) && strcmp(name->valuestring, image) == 0;
	if (config && !pulled)
		adafs_log(
			WARN, "foreman",
			"nodes of pool '%s' do not pull container image '%s' when they start: the "
			"first task of each does, if it may",
			adafs_json_str(pool, "id", ""), image);
	if (config)
		return 0;
	return adafs_err_set(
		reterr, -EINVAL,
		"pipeline '%s' runs in container image '%s' and pool '%s' was made without "
		"containers: name another with pool=, or a new name and pool_vm_size=",
		adafs_pipeline_name(p), image, adafs_json_str(pool, "id", ""));
}

int adafs_pool_suits(const cJSON *pool, const struct adafs_pipeline *p, bool blob_local,
		     bool *ret_local, struct adafs_err *reterr)
{
	const char *url = adafs_json_str(pool, "url", "");
	bool local = *url ? adafs_url_is_loopback(url) : blob_local;
	if (blob_local && !local)
		return adafs_err_set(
			reterr, -EINVAL,
			"the Batch account's nodes cannot reach the Blob endpoint of this machine: use a "
			"storage account in Azure, or the embedded Batch");
	if (strcasecmp(adafs_json_str(pool, "state", ""), "deleting") == 0)
		return adafs_err_set(
			reterr, -EINVAL,
			"pool '%s' is being deleted: wait until it is gone, or name another with pool=",
			adafs_json_str(pool, "id", ""));
	int rc = check_slots(pool, p, reterr);
	if (rc == 0 && !local)
		rc = check_containers(pool, p, reterr);
	if (rc == 0)
		*ret_local = local;
	return rc;
}

int foreman_setup_pool(struct adafs_foreman *f, struct adafs_err *reterr)
{
	const struct adafs_storage_account *a = adafs_blob_client_account(f->blob);
	bool blob_local = adafs_url_is_loopback(a->endpoint);
	ADAFS_JSON *pool = NULL;
	if (!*f->pool)
		return adafs_err_set(reterr, -EINVAL, "no pool is named: set pool=");
	int rc = get_or_make(f, blob_local, &pool, reterr);
	if (rc == -ENOENT)
		return adafs_err_set(reterr, rc,
				     "pool '%s' does not exist in the Batch account: name another "
				     "one with pool=, or "
				     "have it made by pool_vm_size=",
				     f->pool);
	if (rc) {
		adafs_err_prefix(reterr, "pool '%s'", f->pool);
		return rc;
	}
	rc = adafs_pool_suits(pool, f->pipeline, blob_local, &f->local, reterr);
	if (rc == 0)
		take_pool(f, pool);
	return rc;
}

/* --- another VM size ---------------------------------------------------------------------- */

/* The number of the next VM size when this pool, ours and empty, cannot get any of its own; 0:
 * stay. */
static unsigned next_size(const struct adafs_foreman *f, const cJSON *pool)
{
	struct pool_formula pf;
	bool settled = strcasecmp(adafs_json_str(pool, "allocationState", ""), "steady") == 0 &&
		       strcasecmp(adafs_json_str(pool, "state", ""), "active") == 0;
	if (!has_settings(f) || !settled || n_nodes(pool) || !our_formula(pool, &pf) ||
	    !pool_words_wants_other_size(pool))
		return 0;
	int now = pool_settings_find_size(f->pool_settings, adafs_json_str(pool, "vmSize", ""));
	ADAFS_FREE char *next = pool_settings_size(f->pool_settings, (unsigned)(now + 1));
	return now >= 0 && next ? (unsigned)(now + 1) : 0;
}

static int leave_size(struct adafs_foreman *f, const cJSON *pool, unsigned next,
		      struct adafs_err *reterr)
{
	ADAFS_FREE char *size = pool_settings_size(f->pool_settings, next);
	ADAFS_FREE char *trouble = pool_words_trouble(pool);
	adafs_log(WARN, "foreman", "pool '%s' gets no %s and is made anew of %s: %s", f->pool,
		  adafs_json_str(pool, "vmSize", ""), size ? size : "", trouble ? trouble : "");
	/* Another mount may have made it anew since it was read: that one must not go. */
	int rc = adafs_batch_pool_delete(f->batch, f->pool, etag_of(pool), reterr);
	if (rc == 0)
		f->pool_next_size = next;
	return rc == -ESTALE ? 0 : rc;
}

/* Nodes that are there may not be able to run tasks yet, or ever. */
static void count_nodes(struct adafs_foreman *f)
{
	struct adafs_err err = { 0 };
	ADAFS_JSON *counts = NULL;
	struct pool_node_counts n = { 0 };
	if (adafs_batch_node_counts(f->batch, f->pool, &counts, &err))
		adafs_log(DEBUG, "foreman", "nodes of pool '%s' are not counted: %s", f->pool,
			  err.msg);
	else
		pool_words_counts(counts, &n);
	adafs_mutex_lock(&f->lock);
	f->pool_usable = n.usable;
	f->pool_starting = n.starting;
	f->pool_broken = n.broken;
	f->pool_preempted = n.preempted;
	adafs_mutex_unlock(&f->lock);
}

/* Somebody has deleted it. It is not made anew: that may have been to stop what it costs. */
static void take_no_pool(struct adafs_foreman *f)
{
	adafs_mutex_lock(&f->lock);
	bool changed = foreman_text_set(&f->pool_state, "missing");
	changed |=
		foreman_text_set(&f->pool_trouble,
				 has_settings(f) ? "it was deleted; mount again to have it made"
						 : "it was deleted; make it again under this name");
	f->pool_nodes = 0;
	if (changed) {
		adafs_log(WARN, "foreman", "pool '%s' was deleted", f->pool);
		foreman_show_locked(f);
	}
	adafs_mutex_unlock(&f->lock);
}

int foreman_refresh_pool(struct adafs_foreman *f, bool nodes_too, struct adafs_err *reterr)
{
	ADAFS_JSON *pool = NULL;
	adafs_mutex_lock(&f->lock);
	int before = f->pool_nodes;
	adafs_mutex_unlock(&f->lock);
	int rc = adafs_batch_pool_get(f->batch, f->pool, &pool, reterr);
	if (rc == -ENOENT && f->pool_next_size) {
		rc = add_pool(f, f->pool_next_size, reterr);
		if (rc == 0) {
			f->pool_next_size = 0;
			rc = adafs_batch_pool_get(f->batch, f->pool, &pool, reterr);
		}
	} else if (rc == -ENOENT) {
		take_no_pool(f);
		return 0;
	}
	if (rc)
		return rc;
	take_pool(f, pool);
	if (n_nodes(pool) && (nodes_too || n_nodes(pool) != before))
		count_nodes(f);
	unsigned next = f->pool_next_size ? 0 : next_size(f, pool);
	return next ? leave_size(f, pool, next, reterr) : 0;
}

/* --- sizes -------------------------------------------------------------------------------- */

static int set_formula(struct adafs_foreman *f, const cJSON *pool, const struct pool_formula *pf,
		       struct adafs_err *reterr)
{
	ADAFS_FREE char *text = pool_formula_make(pf);
	if (!text)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	return adafs_batch_pool_enable_autoscale(f->batch, f->pool, text, POOL_INTERVAL,
						 etag_of(pool), reterr);
}

/* A plain resize is refused under autoscale: the number becomes a floor in the formula. */
static int set_floor(struct adafs_foreman *f, const cJSON *pool, int nodes, int minutes,
		     struct adafs_err *reterr)
{
	struct pool_formula pf;
	if (!our_formula(pool, &pf))
		return adafs_err_set(
			reterr, -EPERM,
			"pool '%s' scales by a formula that adafs did not make: change that "
			"with az batch pool autoscale enable",
			f->pool);
	if (nodes > pf.dedicated + pf.spot)
		return adafs_err_set(
			reterr, -ERANGE,
			"pool '%s' was made for at most %d nodes: pool_dedicated and pool_spot "
			"count when a pool is made",
			f->pool, pf.dedicated + pf.spot);
	pf.floor = nodes;
	pf.floor_until_us = nodes ? adafs_batch_now_us(f->batch) + (int64_t)minutes * 60000000 : 0;
	if (!nodes)
		pf.first_until_us = 0;
	return set_formula(f, pool, &pf, reterr);
}

int adafs_foreman_resize(struct adafs_foreman *f, int nodes, int minutes, struct adafs_err *reterr)
{
	int rc = -ESTALE;
	/* Another mount may change the formula between our look and our change. */
	for (int tries = 0; rc == -ESTALE && tries < 3; tries++) {
		ADAFS_JSON *pool = NULL;
		rc = adafs_batch_pool_get(f->batch, f->pool, &pool, reterr);
		if (rc)
			return rc;
		if (!adafs_json_bool(pool, "enableAutoScale", false))
			return adafs_batch_pool_resize(f->batch, f->pool, nodes, reterr);
		rc = set_floor(f, pool, nodes, minutes ? minutes : POOL_FORMULA_FLOOR_MIN, reterr);
	}
	return rc;
}

/* The formula sees new tasks a minute late and looks each five: an empty pool is told at once. */
void foreman_wake_pool(struct adafs_foreman *f)
{
	struct adafs_err err = { 0 };
	ADAFS_JSON *pool = NULL;
	struct pool_formula pf;
	uint64_t now = adafs_clock_mono_ms();
	adafs_mutex_lock(&f->lock);
	bool wanted = f->pool_scaled && now >= f->pool_wake_ms;
	if (wanted)
		f->pool_wake_ms = now + WAKE_MS;
	adafs_mutex_unlock(&f->lock);
	if (!wanted || adafs_batch_pool_get(f->batch, f->pool, &pool, &err) ||
	    !our_formula(pool, &pf) ||
	    adafs_json_int(pool, "targetDedicatedNodes", 0) +
			    adafs_json_int(pool, "targetLowPriorityNodes", 0) >
		    0)
		return;
	pf.first_until_us = adafs_batch_now_us(f->batch) + POOL_FORMULA_FIRST_US;
	if (set_formula(f, pool, &pf, &err))
		adafs_log(INFO, "foreman",
			  "pool '%s' is not woken, its formula will see the tasks: %s", f->pool,
			  err.msg);
}
