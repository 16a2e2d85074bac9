/*
 * foreman/rewrite.c - a change of a manifest beside a job's way to its end: a copy of the job is
 * changed and written first, so that what could not be written did not happen.
 */
#include <errno.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/foreman/internal.h"
#include "batch/foreman/manifest.h"

/* As often the manifest may be written by another thread of this mount meanwhile. */
#define MAX_TRIES 3

/* The job as its manifest says it. NULL: out of memory, or it cannot be read. */
static struct foreman_job *copy_job_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock)
{
	struct adafs_blob_meta meta = { 0 };
	struct foreman_job *copy = foreman_job_new(j->id);
	ADAFS_FREE char *body = manifest_body(j, f->pool);
	bool ok = copy && body && manifest_meta(j, &meta) == 0 &&
		  manifest_apply_meta(copy, &meta) == 0 &&
		  manifest_apply_body(copy, body, strlen(body), NULL) == 0;
	adafs_blob_meta_clear(&meta);
	if (ok)
		return copy;
	foreman_job_free(copy);
	return NULL;
}

static int rewrite_once(struct adafs_foreman *f, struct foreman_job *j, foreman_change_fn *change,
			int64_t arg, struct adafs_err *reterr)
{
	char etag[ADAFS_ETAG_LEN];
	adafs_mutex_lock(&f->lock);
	strcpy(etag, j->manifest_etag);
	struct foreman_job *copy = copy_job_locked(f, j);
	if (copy && !j->submitted) /* a manifest with an id of Batch says that it is there */
		foreman_text_set(&copy->batch_job_id, "");
	if (copy)
		change(copy, arg);
	adafs_mutex_unlock(&f->lock);
	int rc = copy ? foreman_put_manifest(f, copy, etag, reterr)
		      : adafs_err_set(reterr, -ENOMEM, "out of memory");
	adafs_mutex_lock(&f->lock);
	if (rc == 0) {
		change(j, arg);
		strcpy(j->manifest_etag, copy->manifest_etag);
		foreman_touch_locked(f, j);
	} else if (rc == -ESTALE && strcmp(etag, j->manifest_etag) != 0) {
		rc = -EAGAIN;
	} else if (rc == -ESTALE) {
		f->scan_wanted = true;
		adafs_cond_signal(&f->submitter_wake);
		rc = adafs_err_set(reterr, -EBUSY, "another mount has changed job '%s': look again",
				   j->id);
	}
	adafs_mutex_unlock(&f->lock);
	foreman_job_free(copy);
	return rc;
}

int foreman_rewrite(struct adafs_foreman *f, struct foreman_job *j, foreman_change_fn *change,
		    int64_t arg, struct adafs_err *reterr)
{
	adafs_mutex_lock(&f->lock);
	bool load = !j->body_loaded && !j->in_hand;
	adafs_mutex_unlock(&f->lock);
	int rc = load ? foreman_load_body(f, j, reterr) : 0;
	if (rc)
		return rc;
	rc = -EAGAIN;
	for (int i = 0; rc == -EAGAIN && i < MAX_TRIES; i++)
		rc = rewrite_once(f, j, change, arg, reterr);
	return rc;
}
