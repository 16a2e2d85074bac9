/*
 * foreman/delete.c - what a user says of a job's stay: how long its work is kept, and that it is to
 * go. Both stand in the manifest when the call returns; the janitor of any mount does the rest.
 */
#include <errno.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/foreman/crash.h"
#include "batch/foreman/internal.h"

int adafs_keep_parse(const char *text, int64_t *ret_ms, struct adafs_err *reterr)
{
	int64_t ms;
	if (adafs_duration_parse_short(text, &ms) || ms < 1000)
		return adafs_err_set(reterr, -EINVAL,
				     "'%.40s' is no duration of at least a second: use a number "
				     "with s, m, h, d or w, ISO 8601 (P30D), or forever",
				     text);
	*ret_ms = ms;
	return 0;
}

/* A job that is not deleted. NULL: there is none, or this mount may only read. */
static struct foreman_job *find_locked(struct adafs_foreman *f, const char *job_id,
				       struct adafs_err *reterr) ADAFS_REQUIRES(&f->lock)
{
	struct foreman_job *j = foreman_table_find(&f->jobs, job_id);
	if (f->reads_only)
		adafs_err_set(reterr, -EROFS, "this mount may only read");
	else if (!j || (j->ended && j->deletion))
		adafs_err_set(reterr, -ENOENT, "there is no job '%s'", job_id);
	else
		return j;
	return NULL;
}

/* --- keep ----------------------------------------------------------------------------------- */

static void change_keep(struct foreman_job *j, int64_t keep_ms)
{
	char text[48];
	j->keep_ms = keep_ms;
	j->sweep_at_ms = 0;
	adafs_duration_format(keep_ms, text);
	foreman_job_log(j, adafs_clock_wall_us(), "work is kept %s",
			keep_ms == ADAFS_DURATION_NONE ? "forever" : text);
}

int adafs_foreman_keep(struct adafs_foreman *f, const char *job_id, int64_t keep_ms,
		       struct adafs_err *reterr)
{
	struct adafs_err err = { 0 };
	adafs_mutex_lock(&f->lock);
	struct foreman_job *j = find_locked(f, job_id, &err);
	if (j && j->work != FOREMAN_WORK_KEPT)
		adafs_err_set(&err, -EBUSY, "the work of job '%s' was removed already", job_id);
	else if (j && !*j->manifest_etag) /* the first one says it */
		change_keep(j, keep_ms);
	bool write = j && *j->manifest_etag;
	adafs_mutex_unlock(&f->lock);
	if (err.rc)
		return adafs_err_copy(reterr, &err);
	int rc = write ? foreman_rewrite(f, j, change_keep, keep_ms, reterr) : 0;
	adafs_mutex_lock(&f->lock);
	foreman_touch_locked(f, j);
	adafs_cond_signal(&f->janitor_wake);
	adafs_mutex_unlock(&f->lock);
	return rc;
}

/* --- delete --------------------------------------------------------------------------------- */

static void change_delete(struct foreman_job *j, int64_t unused)
{
	(void)unused;
	j->deletion = FOREMAN_DELETION_WANTED;
	j->sweep_at_ms = 0;
	foreman_job_log(j, adafs_clock_wall_us(), "deleted by the user");
}

/*
 * A job that the container does not know yet is ended by the submitter, which writes it down. Until
 * then the wish is only here. 0, or -ETIMEDOUT.
 */
static int wait_manifest_locked(struct adafs_foreman *f, struct foreman_job *j,
				uint64_t deadline_ms, struct adafs_err *reterr)
	ADAFS_REQUIRES(&f->lock)
{
	if (*j->manifest_etag)
		return 0;
	j->deletion = FOREMAN_DELETION_WANTED;
	j->cancel = true;
	j->retry_at_ms = 0;
	adafs_cond_signal(&f->submitter_wake);
	while (!*j->manifest_etag && !j->ended && !f->stopping)
		if (adafs_cond_wait_until(&f->chore_done, &f->lock, deadline_ms) < 0)
			break;
	if (*j->manifest_etag || (j->ended && j->submitted))
		return 0;
	return adafs_err_set(reterr, -ETIMEDOUT,
			     "the deletion of job '%s' could not be written down in time: write it "
			     "again",
			     j->id);
}

int adafs_foreman_delete(struct adafs_foreman *f, const char *job_id, uint32_t timeout_ms,
			 struct adafs_err *reterr)
{
	uint64_t deadline_ms = adafs_clock_mono_ms() + timeout_ms;
	struct adafs_err err = { 0 };
	adafs_mutex_lock(&f->lock);
	struct foreman_job *j = find_locked(f, job_id, &err);
	if (j && j->retry)
		adafs_err_set(&err, -EBUSY, "job '%s' is being retried", job_id);
	else if (j)
		wait_manifest_locked(f, j, deadline_ms, &err);
	/* One that was given up before it began has no manifest: nothing is left of it. */
	bool write = j && *j->manifest_etag && j->deletion != FOREMAN_DELETED;
	if (!err.rc && !write)
		j->deletion = FOREMAN_DELETED;
	adafs_mutex_unlock(&f->lock);
	if (err.rc)
		return adafs_err_copy(reterr, &err);
	int rc = write ? foreman_rewrite(f, j, change_delete, 0, reterr) : 0;
	if (rc)
		return rc;
	foreman_crash_point("after-delete");
	adafs_mutex_lock(&f->lock);
	j->cancel = j->cancel || !j->ended;
	f->nudged = true;
	foreman_touch_locked(f, j);
	adafs_cond_signal(&f->tracker_wake);
	adafs_cond_signal(&f->submitter_wake);
	adafs_cond_signal(&f->janitor_wake);
	adafs_mutex_unlock(&f->lock);
	return 0;
}
