/* foreman/tracker_end.c - a job has ended, or is gone: what is settled then, and written down. */
#include "batch/foreman/tracker.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/foreman/manifest.h"

/* A job must be missing so often in a row before it counts as deleted. */
#define GONE_POLLS 2

void tracker_end_job_locked(struct adafs_foreman *f, struct foreman_job *j)
{
	int64_t last = 0;
	for (size_t i = 0; i < j->n_steps; i++)
		if (j->step[i].finished_us > last)
			last = j->step[i].finished_us;
	j->ended = true;
	j->held = false;
	foreman_job_clear_kept(j);
	if (!foreman_job_is_member(j))
		foreman_admit_locked(f);
	foreman_look_at_merges_locked(f, 0);
	j->final_pending = true;
	j->ended_us = last ? last : adafs_clock_wall_us();
	j->changed_us = j->ended_us;
	if (j->state == ADAFS_STATE_COMPLETED)
		foreman_job_log(j, j->ended_us, "job completed");
	else
		foreman_job_log(j, j->ended_us, "job %s: %s", adafs_state_name(j->state),
				j->waiting_for);
	f->newest_dirty = true;
}

static int count_one(void *arg, const char *name, const struct adafs_blob_props *props)
{
	(void)name;
	if (props)
		++*(int *)arg;
	return 0;
}

/* Batch knows the job no more, though it was not seen to end: what it left in the container
 * decides. */
int tracker_settle_gone(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	int n_parts = 0;
	adafs_mutex_lock(&f->lock);
	foreman_asks_locked(f, 0);
	bool sure = !j->ended && ++j->n_gone >= GONE_POLLS;
	bool cancelled = j->cancel || strcmp(j->batch_reason, DERIVE_CANCEL_REASON) == 0;
	ADAFS_FREE char *prefix = adafs_fmt("parts/%s/%s/%s/", j->event, j->pipeline, j->id);
	adafs_mutex_unlock(&f->lock);
	if (!sure)
		return 0;
	if (!prefix)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = adafs_blob_list_some(f->blob, f->container, prefix, NULL, 0, 1, count_one,
				      &n_parts, reterr);
	if (rc)
		return rc;
	adafs_mutex_lock(&f->lock);
	if (j->ended) { /* by another thread meanwhile */
		adafs_mutex_unlock(&f->lock);
		return 0;
	}
	bool done = n_parts > 0;
	const char *why = done ? "completed; Batch has forgotten the job, its results are there"
			  : cancelled ? "cancelled"
				      : "failed: deleted outside adafs; write retry to its ctl";
	j->state = done        ? ADAFS_STATE_COMPLETED
		   : cancelled ? ADAFS_STATE_CANCELLED
			       : ADAFS_STATE_FAILED;
	foreman_text_set(&j->waiting_for, why);
	for (size_t i = 0; i < j->n_steps; i++) {
		struct foreman_step *s = &j->step[i];
		if (s->state > ADAFS_STATE_RUNNING)
			continue;
		s->state = done ? ADAFS_STATE_COMPLETED : ADAFS_STATE_CANCELLED;
		s->task_running = false;
		foreman_text_set(&s->waiting_for,
				 done ? "completed" : "cancelled: the Batch job is gone");
	}
	tracker_end_job_locked(f, j);
	foreman_touch_locked(f, j);
	adafs_mutex_unlock(&f->lock);
	return 0;
}

/* Another mount wrote how the job ended. */
static int settle_adopted(struct adafs_foreman *f, struct foreman_job *j)
{
	adafs_mutex_lock(&f->lock);
	if (j->ended) {
		foreman_job_settled_locked(f, j);
		foreman_wake_janitor_locked(f, j);
	}
	adafs_mutex_unlock(&f->lock);
	return 0;
}

/* Whether a verb of this mount has written the manifest meanwhile: then the next poll writes it. */
static bool moved_on(struct adafs_foreman *f, const struct foreman_job *j, const char *etag)
{
	adafs_mutex_lock(&f->lock);
	bool moved = *etag && strcmp(etag, j->manifest_etag) != 0;
	adafs_mutex_unlock(&f->lock);
	return moved;
}

/* Write how the job ended. Another mount may have done so already. */
int tracker_write_end(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	char etag[ADAFS_ETAG_LEN];
	adafs_mutex_lock(&f->lock);
	strcpy(etag, j->manifest_etag);
	adafs_mutex_unlock(&f->lock);
	int rc = f->reads_only ? 0 : *etag ? foreman_put_manifest(f, j, etag, reterr) : -ESTALE;
	if (rc == -ESTALE && moved_on(f, j, etag))
		return 0;
	if (rc == -ESTALE || rc == -ENOENT) {
		rc = foreman_adopt_manifest(f, j, reterr);
		if (rc == -ENOENT)
			rc = 0; /* somebody took the manifest away: the job is shown until this
				   mount ends */
		else
			return rc ? rc : settle_adopted(f, j);
	}
	if (rc == 0) {
		adafs_mutex_lock(&f->lock);
		j->final_pending = false;
		foreman_job_settled_locked(f, j);
		foreman_touch_locked(f, j);
		foreman_wake_janitor_locked(f, j);
		if (j->retry)
			adafs_cond_signal(&f->submitter_wake);
		enum adafs_state state = j->state;
		adafs_mutex_unlock(&f->lock);
		adafs_log(INFO, "foreman", "job '%s' %s", j->id, adafs_state_name(state));
	}
	return rc;
}
