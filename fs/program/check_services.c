/* fs/program/check_services.c - what `adafs check` asks of Blob and Batch. No request changes
 * anything. */
#include <errno.h>
#include <string.h>

#include "batch/base/buf.h"
#include "fs/program/check.h"

/* A blob that nobody has: asking to change it under a condition tells what is allowed. */
#define NOBODY "assets/.adafs/check"
#define NO_ETAG "0x0"

/* The default quota of active jobs, from which on it is worth a word. */
#define MANY_JOBS 100

static int any_blob(void *arg, const char *name, const struct adafs_blob_props *props)
{
	(void)arg;
	(void)name;
	(void)props;
	return 0;
}

/* --- rights in the container --------------------------------------------------------------- */

static int try_read(struct fs *fs, struct adafs_err *err)
{
	struct adafs_blob_props props;
	int rc = adafs_blob_head(fs->blob, fs->container, NOBODY, NULL, &props, err);

	if (rc == 0)
		adafs_blob_props_clear(&props);
	return rc;
}

/* Authorisation comes before conditions: what may be written answers 412. */
static int try_write(struct fs *fs, struct adafs_err *err)
{
	const struct adafs_blob_source nothing = { .data = "", .fd = -1 };
	const struct adafs_blob_put put = { .cond = { .if_match = NO_ETAG } };
	int rc = adafs_blob_put(fs->blob, fs->container, NOBODY, &nothing, &put, NULL, err);

	if (rc == 0) /* a server that does not know the condition has made it */
		rc = adafs_blob_delete(fs->blob, fs->container, NOBODY, false, NULL, err);
	return rc;
}

static int try_delete(struct fs *fs, struct adafs_err *err)
{
	const struct adafs_blob_cond cond = { .if_match = NO_ETAG };

	return adafs_blob_delete(fs->blob, fs->container, NOBODY, false, &cond, err);
}

static const struct {
	const char *verb, *letter;
	int (*try)(struct fs *fs, struct adafs_err *err);
	bool for_writers; /* a read-only mount does without */
	enum finding without;
	const char *consequence;
} rights[] = {
	{ "read", "r", try_read, false, FINDING_FAIL, "nothing can be opened" },
	{ "write", "cw", try_write, true, FINDING_FAIL,
	  "no image can be stored; mount with -o ro to read only" },
	{ "delete", "d", try_delete, true, FINDING_WARN, "rm and mv will fail with EACCES" },
};

static bool check_rights(struct fs *fs)
{
	bool good = true;

	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rights); i++) {
		struct adafs_err err = { 0 };
		if (rights[i].for_writers && fs->options->read_only)
			continue;
		int rc = rights[i].try(fs, &err);
		if (rc == 0 || rc == -ENOENT || rc == -ESTALE)
			good &= check_report(FINDING_OK, rights[i].verb, adafs_fmt("allowed"));
		else if (rc == -EACCES)
			good &= check_report(rights[i].without, rights[i].verb,
					     adafs_fmt("refused, so %s; a SAS needs %s. %s",
						       rights[i].consequence, rights[i].letter,
						       err.msg));
		else
			good &= check_report(FINDING_FAIL, rights[i].verb, strdup(err.msg));
	}
	return good;
}

bool check_blob(struct fs *fs)
{
	struct adafs_err err = { 0 };
	const char *endpoint = fs->options->storage.endpoint;
	/* List Blobs, since a SAS of a container may ask for nothing else of it. */
	int rc = adafs_blob_list_some(fs->blob, fs->container, "images/", NULL, 0, 1, any_blob,
				      NULL, &err);

	if (rc == -ENOENT && fs->options->storage.sas)
		return check_report(
			FINDING_FAIL, "container",
			adafs_fmt("'%s' does not exist at %s, and a SAS cannot make it: create it, "
				  "or name another with -o container=NAME",
				  fs->container, endpoint));
	if (rc == -ENOENT)
		return check_report(FINDING_OK, "container",
				    adafs_fmt("'%s' does not exist at %s yet; a mount makes it",
					      fs->container, endpoint));
	if (rc < 0)
		return check_report(FINDING_FAIL, "container", strdup(err.msg));
	check_report(FINDING_OK, "container",
		     adafs_fmt("'%s' at %s can be listed", fs->container, endpoint));
	return check_rights(fs);
}

/* --- Batch --------------------------------------------------------------------------------- */

static int count_job(void *arg, const cJSON *item)
{
	(void)item;
	(*(size_t *)arg)++;
	return 0;
}

static bool check_jobs(struct fs *fs)
{
	struct adafs_err err = { 0 };
	size_t n = 0;
	int rc = adafs_batch_job_list(fs->batch, "state eq 'active'", "id", count_job, &n, &err);

	if (rc < 0)
		return check_report(FINDING_FAIL, "jobs", strdup(err.msg));
	if (n >= MANY_JOBS)
		return check_report(
			FINDING_WARN, "jobs",
			adafs_fmt(
				"%zu are active; many accounts may have 100 to 300: end what nobody "
				"waits for, or ask for more under Quotas in the portal",
				n));
	return check_report(FINDING_OK, "jobs", adafs_fmt("%zu are active in the account", n));
}

/* Why the pool has not the nodes that were asked for. */
static bool check_resize_errors(const cJSON *pool)
{
	const cJSON *error;

	cJSON_ArrayForEach(error, adafs_json_get(pool, "resizeErrors"))
	{
		const char *code = adafs_json_str(error, "code", "");
		bool quota = strcasecmp(code, "AccountCoreQuotaReached") == 0;
		check_report(
			FINDING_WARN, "quota",
			adafs_fmt(
				"the pool's last resize ended with %s: %s%s", code,
				adafs_json_str(error, "message", ""),
				quota ? "; ask for cores under Quotas in the portal, or use another vmSize"
				      : ""));
	}
	return true;
}

static bool report_pool(struct fs *fs, const struct adafs_pipeline *pipeline, const cJSON *pool)
{
	struct adafs_err err = { 0 };
	bool local;
	int64_t nodes = adafs_json_int(pool, "currentDedicatedNodes", 0) +
			adafs_json_int(pool, "currentLowPriorityNodes", 0);
	bool autoscale = cJSON_IsTrue(adafs_json_get(pool, "enableAutoScale"));

	if (pipeline &&
	    adafs_pool_suits(pool, pipeline, adafs_url_is_loopback(fs->options->storage.endpoint),
			     &local, &err) < 0)
		return check_report(FINDING_FAIL, "pool", strdup(err.msg));
	check_report(
		nodes || autoscale ? FINDING_OK : FINDING_WARN, "pool",
		adafs_fmt("'%s' is %s with %lld nodes of %lld slots%s", fs->options->pool,
			  adafs_json_str(pool, "allocationState", "unknown"), (long long)nodes,
			  (long long)adafs_json_int(pool, "taskSlotsPerNode", 1),
			  autoscale ? ", scaled by its formula"
			  : nodes   ? ""
				  : ": jobs wait until it is resized (echo resize 1 > pool/ctl)"));
	return check_resize_errors(pool);
}

bool check_batch(struct fs *fs, const struct adafs_pipeline *pipeline)
{
	struct adafs_err err = { 0 };
	ADAFS_JSON *pool = NULL;
	int rc = adafs_batch_pool_get(fs->batch, fs->options->pool, &pool, &err);

	if (rc == -ENOENT && fs->options->pool_make.vm_sizes && pipeline &&
	    adafs_pool_settings_check(&fs->options->pool_make, pipeline, &err) < 0)
		return check_report(FINDING_FAIL, "pool", strdup(err.msg));
	if (rc == -ENOENT && fs->options->pool_make.vm_sizes)
		return check_report(FINDING_OK, "pool",
				    adafs_fmt("'%s' does not exist yet: a mount makes it of %s",
					      fs->options->pool, fs->options->pool_make.vm_sizes));
	if (rc == -ENOENT)
		return check_report(
			FINDING_FAIL, "pool",
			adafs_fmt("'%s' does not exist: name another with -o pool=ID, or have "
				  "it made with pool_vm_size=",
				  fs->options->pool));
	if (rc < 0)
		return check_report(FINDING_FAIL, "batch", strdup(err.msg));
	bool good = report_pool(fs, pipeline, pool);
	return check_jobs(fs) && good;
}
