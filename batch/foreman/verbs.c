/*
 * foreman/verbs.c - what a user tells a job: cancel, hold, release, priority, retry. Each waits for
 * the service on a worker thread, and its effect is sure when it returns.
 */
#include <errno.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/foreman/internal.h"

/* Of the Batch job of an event that is not there yet. */
static void cancel_members_locked(struct adafs_foreman *f, const struct foreman_job *e)
	ADAFS_REQUIRES(&f->lock)
{
	for (size_t i = 0; foreman_job_has_members(e) && i < e->n_parts; i++) {
		struct foreman_job *j =
			e->part[i].member ? foreman_table_find(&f->jobs, e->part[i].job_id) : NULL;
		bool elsewhere = j && j->submitted && strcmp(j->batch_job_id, e->id) != 0;
		if (j && !j->ended && !elsewhere)
			j->cancel = true;
	}
}

int adafs_foreman_cancel(struct adafs_foreman *f, const char *job_id, struct adafs_err *reterr)
{
	int rc = 0;
	ADAFS_FREE char *batch_id = NULL;
	adafs_mutex_lock(&f->lock);
	struct foreman_job *j = foreman_table_find(&f->jobs, job_id);
	bool member = j && foreman_job_is_member(j);
	if (!j) {
		rc = adafs_err_set(reterr, -ENOENT, "there is no job '%s'", job_id);
	} else if (j->ended) {
		rc = adafs_err_set(reterr, -EBUSY, "job '%s' has ended already: %s", job_id,
				   adafs_state_name(j->state));
	} else if (!j->submitted) {
		/* The submitter leaves a tombstone instead of a job, or the tracker ends what it
		 * has begun. */
		j->cancel = true;
		j->retry_at_ms = 0;
		cancel_members_locked(f, j);
		adafs_cond_signal(&f->submitter_wake);
	} else {
		batch_id = strdup(j->batch_job_id);
		if (!batch_id)
			rc = adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	adafs_mutex_unlock(&f->lock);
	if (rc || !batch_id)
		return rc;
	rc = member ? foreman_end_member(f, j, reterr)
		    : adafs_batch_job_terminate(f->batch, batch_id, DERIVE_CANCEL_REASON, reterr);
	if (rc && rc != -ENOENT)
		return rc;
	adafs_mutex_lock(&f->lock);
	j->cancel = true;
	j->cancel_sent = !member || foreman_is_in_locked(f, j);
	f->nudged = true;
	adafs_cond_signal(&f->tracker_wake);
	adafs_mutex_unlock(&f->lock);
	return 0;
}

/* An active job, and its id in Batch: NULL when it is not there yet. 0; -ENOENT; -EBUSY. */
static int active_job_locked(struct adafs_foreman *f, const char *job_id, struct foreman_job **ret,
			     char **ret_batch_id, struct adafs_err *reterr) ADAFS_REQUIRES(&f->lock)
{
	struct foreman_job *j = foreman_table_find(&f->jobs, job_id);
	*ret_batch_id = NULL;
	if (!j)
		return adafs_err_set(reterr, -ENOENT, "there is no job '%s'", job_id);
	if (j->ended)
		return adafs_err_set(reterr, -EBUSY, "job '%s' has ended already: %s", job_id,
				     adafs_state_name(j->state));
	*ret = j;
	if (foreman_job_is_member(j))
		return adafs_err_set(reterr, -EBUSY,
				     "job '%s' is part of Batch job '%s' of its event: write it to "
				     "jobs/%s/ctl",
				     job_id, j->batch_job_id, j->batch_job_id);
	if (!j->submitted)
		return 0;
	*ret_batch_id = strdup(j->batch_job_id);
	return *ret_batch_id ? 0 : adafs_err_set(reterr, -ENOMEM, "out of memory");
}

/* A verb that the service refuses for the state that the job is in by now. */
static int refused(const char *verb, const char *job_id, struct adafs_err *reterr)
{
	if (reterr->http_status != 409)
		return reterr->rc;
	ADAFS_FREE char *why = strdup(reterr->msg);
	return adafs_err_set(reterr, -EBUSY, "cannot %s job '%s': %s", verb, job_id,
			     why ? why : "");
}

int adafs_foreman_hold(struct adafs_foreman *f, const char *job_id, bool hold,
		       struct adafs_err *reterr)
{
	ADAFS_FREE char *batch_id = NULL;
	struct foreman_job *j = NULL;
	adafs_mutex_lock(&f->lock);
	int rc = active_job_locked(f, job_id, &j, &batch_id, reterr);
	if (rc == 0 && (j->held || j->hold_wanted) == hold)
		rc = adafs_err_set(reterr, -EBUSY, "job '%s' is %s", job_id,
				   hold ? "held already" : "not held");
	if (rc == 0 && !batch_id) { /* the submitter holds it before it has a task */
		j->hold_wanted = hold;
		foreman_touch_locked(f, j);
	}
	adafs_mutex_unlock(&f->lock);
	if (rc || !batch_id)
		return rc;
	rc = hold ? adafs_batch_job_disable(f->batch, batch_id, reterr)
		  : adafs_batch_job_enable(f->batch, batch_id, reterr);
	if (rc)
		return refused(hold ? "hold" : "release", job_id, reterr);
	adafs_mutex_lock(&f->lock);
	j->held = hold;
	foreman_job_log(j, adafs_clock_wall_us(), hold ? "held by the user" : "released");
	foreman_touch_locked(f, j);
	f->nudged = true;
	adafs_cond_signal(&f->tracker_wake);
	adafs_mutex_unlock(&f->lock);
	return 0;
}

int adafs_foreman_priority(struct adafs_foreman *f, const char *job_id, int priority,
			   struct adafs_err *reterr)
{
	ADAFS_FREE char *batch_id = NULL;
	struct foreman_job *j = NULL;
	if (priority < -1000 || priority > 1000)
		return adafs_err_set(reterr, -ERANGE, "priority %d is not from -1000 to 1000",
				     priority);
	adafs_mutex_lock(&f->lock);
	int rc = active_job_locked(f, job_id, &j, &batch_id, reterr);
	if (rc == 0 && !batch_id)
		rc = adafs_err_set(reterr, -EBUSY, "job '%s' is not in Batch yet: %s", job_id,
				   j->waiting_for);
	adafs_mutex_unlock(&f->lock);
	if (rc)
		return rc;
	ADAFS_JSON *patch = cJSON_CreateObject();
	if (!patch || !cJSON_AddNumberToObject(patch, "priority", priority))
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	rc = adafs_batch_job_patch(f->batch, batch_id, patch, reterr);
	if (rc)
		return refused("change the priority of", job_id, reterr);
	adafs_mutex_lock(&f->lock);
	foreman_job_log(j, adafs_clock_wall_us(), "priority is %d", priority);
	foreman_touch_locked(f, j);
	adafs_mutex_unlock(&f->lock);
	return 0;
}

const char *adafs_foreman_digest(const struct adafs_foreman *f)
{
	return adafs_pipeline_digest(f->pipeline);
}

int adafs_foreman_retry(struct adafs_foreman *f, const char *job_id, const char *step,
			uint32_t timeout_ms, struct adafs_err *reterr)
{
	uint64_t deadline_ms = adafs_clock_mono_ms() + timeout_ms;
	struct foreman_retry retry = { .step = step };
	adafs_mutex_lock(&f->lock);
	struct foreman_job *j = foreman_table_find(&f->jobs, job_id);
	int rc = 0;
	if (!j)
		rc = adafs_err_set(reterr, -ENOENT, "there is no job '%s'", job_id);
	else if (j->retry)
		rc = adafs_err_set(reterr, -EBUSY, "job '%s' is being retried already", job_id);
	if (rc) {
		adafs_mutex_unlock(&f->lock);
		return rc;
	}
	j->retry = &retry;
	f->n_retries++;
	adafs_cond_signal(&f->submitter_wake);
	while (!retry.done && !f->stopping)
		if (adafs_cond_wait_until(&f->chore_done, &f->lock, deadline_ms) < 0)
			break;
	j->retry = NULL;
	f->n_retries--;
	adafs_mutex_unlock(&f->lock);
	if (!retry.done)
		return adafs_err_set(reterr, -ETIMEDOUT,
				     "the retry of job '%s' could not be made in time: write it "
				     "again",
				     job_id);
	return adafs_err_copy(reterr, &retry.err);
}
