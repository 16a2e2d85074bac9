/*
 * foreman/retry.c - the next run of a job that has ended. It is written down first, as a manifest
 * of a run that is not in Batch yet: whoever finds such a one, this mount or another after a crash,
 * brings it there. What need not run again stands in it, or in the manifest of the run before.
 */
#include <errno.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/foreman/crash.h"
#include "batch/foreman/internal.h"
#include "batch/foreman/manifest.h"

/* --- what is kept --------------------------------------------------------------------------- */

int foreman_load_kept(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	ADAFS_FREE char *blob = manifest_blob(j->id);
	ADAFS_FREE char *text = NULL;
	size_t len = 0;
	struct foreman_job *old = foreman_job_new(j->id);
	struct adafs_blob_props props = { 0 };
	int rc = blob && old ? adafs_blob_get_text(f->blob, f->container, blob, MANIFEST_MAX_BODY,
						   &text, &len, &props, reterr)
			     : adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (rc == 0 && manifest_apply_meta(old, &props.meta))
		rc = adafs_err_set(reterr, -EINVAL, "manifest of job '%s' is not readable", j->id);
	if (rc == 0)
		rc = manifest_apply_body(old, text, len, reterr);
	if (rc == 0 && old->ended)
		foreman_job_keep_steps(old, NULL, NULL);
	if (rc == 0) {
		adafs_mutex_lock(&f->lock);
		foreman_job_clear_kept(j);
		j->kept = ADAFS_STEAL(old->kept);
		j->n_kept = old->n_kept;
		old->n_kept = 0;
		if (!j->n_parts) {
			j->part = ADAFS_STEAL(old->part);
			j->n_parts = old->n_parts;
			j->merged_runs = old->merged_runs;
			j->n_members = old->n_members;
		}
		j->kept_wanted = false;
		if (!j->body_loaded && !old->ended) {
			/* Written down by a mount that did not get further: its images too. */
			foreman_job_clear_inputs(j);
			j->input = ADAFS_STEAL(old->input);
			j->n_inputs = old->n_inputs;
			old->n_inputs = 0;
			foreman_text_set(&j->digest, old->digest);
			j->body_loaded = true;
		}
		adafs_mutex_unlock(&f->lock);
	}
	adafs_blob_props_clear(&props);
	foreman_job_free(old);
	return rc;
}

/* --- the next run --------------------------------------------------------------------------- */

/* Whether a name is the step's: "predict", "03-predict", and of a shard also without its number. */
static bool names_step(const struct foreman_step *s, const char *name)
{
	size_t len = strlen(name), own = strlen(s->name);
	const char *id_name = strchr(s->task_id, '-');
	if (strcmp(name, s->name) == 0 || strcmp(name, s->task_id) == 0)
		return true;
	if (!id_name)
		return false;
	/* "-" and digits after the name that was given: a shard of it */
	const char *rest = NULL;
	if (len < own && strncmp(s->name, name, len) == 0)
		rest = s->name + len;
	else if (len < strlen(s->task_id) && strncmp(s->task_id, name, len) == 0)
		rest = s->task_id + len;
	return rest && *rest == '-' && rest[1] && !rest[1 + strspn(rest + 1, "0123456789")];
}

static bool knows_step(const struct foreman_job *j, const char *name)
{
	for (size_t i = 0; i < j->n_steps; i++)
		if (names_step(&j->step[i], name))
			return true;
	return false;
}

/* Whether an ended job may run once more at all; the reason in reterr. */
static int check_locked(struct adafs_foreman *f, const struct foreman_job *j, const char *step,
			struct adafs_err *reterr) ADAFS_REQUIRES(&f->lock)
{
	if (f->reads_only)
		return adafs_err_set(reterr, -EROFS, "this mount may only read");
	if (!j->ended || !j->submitted)
		return adafs_err_set(reterr, -EBUSY, "job '%s' is still %s: cancel it first", j->id,
				     adafs_state_name(j->state));
	if (j->deletion)
		return adafs_err_set(reterr, -ENOENT, "job '%s' is deleted", j->id);
	if (!*j->manifest_etag)
		return adafs_err_set(reterr, -EBUSY,
				     "job '%s' ended before it began: copy its image again", j->id);
	if (!j->n_merged && !foreman_job_is_current_locked(f, j))
		return adafs_err_set(reterr, -ESTALE,
				     "an image of job '%s' is gone or holds other content by now",
				     j->id);
	if (f->newest_dirty)
		foreman_mark_newest_locked(f);
	if (*j->unit && !j->newest)
		return adafs_err_set(reterr, -ESTALE,
				     "another job has taken the place of '%s' for unit %s", j->id,
				     j->unit);
	if (j->run >= FOREMAN_MAX_RUNS)
		return adafs_err_set(reterr, -EBUSY, "job '%s' has used up its %d runs", j->id,
				     FOREMAN_MAX_RUNS);
	if (step && !knows_step(j, step))
		return adafs_err_set(reterr, -ENOENT, "job '%s' has no step '%s'", j->id, step);
	return 0;
}

/* The pipeline that the next run goes by: the mount's own if it has the job's name. */
static struct adafs_pipeline *choose_pipeline(struct adafs_foreman *f, const struct foreman_job *j,
					      struct adafs_err *reterr)
{
	if (strcmp(j->pipeline, adafs_pipeline_name(f->pipeline)) == 0)
		return f->pipeline;
	return pipelines_get(&f->pipelines, j->digest, reterr);
}

static int copy_inputs(struct foreman_job *to, const struct foreman_job *from,
		       const struct adafs_pipeline *p, struct adafs_err *reterr)
{
	for (size_t i = 0; i < from->n_inputs; i++) {
		const struct foreman_input *in = &from->input[i];
		size_t r = 0;
		while (r < adafs_pipeline_n_inputs(p) &&
		       strcmp(adafs_pipeline_input(p, r)->name, in->role) != 0)
			r++;
		if (r == adafs_pipeline_n_inputs(p))
			return adafs_err_set(reterr, -EINVAL,
					     "pipeline '%s' has no role '%s' for '%s'",
					     adafs_pipeline_name(p), in->role, in->blob);
		struct foreman_input copy = *in;
		copy.role_index = r;
		if (foreman_job_add_input(to, &copy))
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	return 0;
}

/* The job as its next run begins; the job itself is not touched, for writing this down may fail. */
static int make_next_locked(struct adafs_foreman *f, struct foreman_job *j, const char *step,
			    struct adafs_pipeline *p, struct foreman_job *next,
			    struct adafs_err *reterr) ADAFS_REQUIRES(&f->lock)
{
	ADAFS_FREE char *body = manifest_body(j, f->pool);
	int rc = body ? manifest_apply_body(next, body, strlen(body), reterr)
		      : adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (rc)
		return rc;
	foreman_job_clear_inputs(next);
	foreman_job_keep_steps(next, step ? names_step : NULL, step);
	next->run = j->run + 1;
	next->created_us = next->changed_us = foreman_begin_us_locked(f, j);
	next->keep_ms = j->keep_ms;
	foreman_text_set(&next->event, j->event);
	foreman_text_set(&next->unit, j->unit);
	next->n_merged = j->n_merged;
	next->n_members = j->n_members;
	foreman_text_set(&next->nonce, j->nonce);
	foreman_text_set(&next->pipeline, adafs_pipeline_name(p));
	foreman_text_set(&next->digest, adafs_pipeline_digest(p));
	rc = copy_inputs(next, j, p, reterr);
	return rc ? rc : foreman_show_plan(f, next, p, reterr);
}

/* Of a job that ended well something must be new. */
static int check_work(const struct foreman_job *j, const struct foreman_job *next,
		      struct adafs_err *reterr)
{
	if (j->state != ADAFS_STATE_COMPLETED && j->state != ADAFS_STATE_EMPTY)
		return 0;
	/* After an empty step all that follows was skipped, and would be again. */
	for (size_t i = 0; i < next->n_steps; i++) {
		const struct foreman_step *s = &next->step[i];
		bool skipped = false;
		for (size_t k = 0; k < j->n_steps; k++)
			skipped |= j->step[k].state == ADAFS_STATE_SKIPPED &&
				   strcmp(j->step[k].key, s->key) == 0;
		if (!s->merge && !s->reused && !skipped)
			return 0;
	}
	return adafs_err_set(reterr, -EBUSY,
			     "there is nothing to retry in job '%s': every step ended well under "
			     "this pipeline; name a step to run it again",
			     j->id);
}

static void take_next_locked(struct adafs_foreman *f, struct foreman_job *j,
			     struct foreman_job *next) ADAFS_REQUIRES(&f->lock)
{
	foreman_job_clear_steps(j);
	foreman_job_clear_kept(j);
	foreman_job_clear_inputs(j);
	free(j->part);
	j->part = ADAFS_STEAL(next->part);
	j->n_parts = next->n_parts;
	j->step = ADAFS_STEAL(next->step);
	j->n_steps = next->n_steps;
	j->kept = ADAFS_STEAL(next->kept);
	j->n_kept = next->n_kept;
	j->input = ADAFS_STEAL(next->input);
	j->n_inputs = next->n_inputs;
	next->n_steps = next->n_kept = next->n_inputs = 0;
	foreman_text_set(&j->pipeline, next->pipeline);
	foreman_text_set(&j->digest, next->digest);
	foreman_text_set(&j->batch_job_id, next->batch_job_id);
	strcpy(j->manifest_etag, next->manifest_etag);
	j->run = next->run;
	j->created_us = next->created_us;
	foreman_job_begin_again(j);
	foreman_job_log(j, j->created_us, "retry: run %u", j->run);
	f->newest_dirty = true;
	foreman_touch_locked(f, j);
}

static int write_next(struct adafs_foreman *f, struct foreman_job *j, struct foreman_job *next,
		      struct adafs_err *reterr)
{
	char etag[ADAFS_ETAG_LEN];
	ADAFS_FREE char *batch_id = strdup(next->batch_job_id);
	adafs_mutex_lock(&f->lock);
	strcpy(etag, j->manifest_etag);
	adafs_mutex_unlock(&f->lock);
	/* Without an id of Batch: it is not there yet. */
	foreman_text_set(&next->batch_job_id, "");
	int rc = foreman_put_manifest(f, next, etag, reterr);
	foreman_text_set(&next->batch_job_id, batch_id);
	if (rc == -ESTALE) {
		struct adafs_err err = { 0 };
		foreman_adopt_manifest(f, j, &err);
		adafs_err_set(reterr, -EBUSY, "another mount has changed job '%s': look again",
			      j->id);
		rc = -EBUSY;
	}
	return rc;
}

static int make_retry(struct adafs_foreman *f, struct foreman_job *j, const char *step,
		      struct adafs_err *reterr)
{
	adafs_mutex_lock(&f->lock);
	bool load = j->ended && !j->body_loaded && *j->manifest_etag;
	adafs_mutex_unlock(&f->lock);
	int rc = load ? foreman_load_body(f, j, reterr) : 0;
	if (!rc)
		rc = foreman_refresh_assets(f, reterr);
	struct adafs_pipeline *p = rc ? NULL : choose_pipeline(f, j, reterr);
	struct foreman_job *next = p ? foreman_job_new(j->id) : NULL;
	if (!next)
		return rc ? rc : reterr->rc ? reterr->rc : -ENOMEM;
	adafs_mutex_lock(&f->lock);
	rc = check_locked(f, j, step, reterr);
	if (!rc)
		rc = make_next_locked(f, j, step, p, next, reterr);
	if (!rc && !step)
		rc = check_work(j, next, reterr);
	adafs_mutex_unlock(&f->lock);
	if (!rc)
		rc = write_next(f, j, next, reterr);
	if (!rc) {
		foreman_crash_point("after-retry");
		adafs_mutex_lock(&f->lock);
		take_next_locked(f, j, next);
		adafs_mutex_unlock(&f->lock);
	}
	foreman_job_free(next);
	return rc;
}

void foreman_make_retry(struct adafs_foreman *f, struct foreman_job *j)
{
	struct adafs_err err = { 0 };
	adafs_mutex_lock(&f->lock);
	/* Who waits may give up meanwhile: nothing of theirs is used without the lock. */
	ADAFS_FREE char *step = j->retry && j->retry->step ? strdup(j->retry->step) : NULL;
	bool wanted = j->retry && !j->retry->done;
	adafs_mutex_unlock(&f->lock);
	if (!wanted)
		return;
	int rc = make_retry(f, j, step, &err);
	adafs_mutex_lock(&f->lock);
	if (rc && !err.rc)
		adafs_err_set(&err, rc, "out of memory");
	if (rc) {
		adafs_log(WARN, "foreman", "retry refused: %s", err.msg);
		foreman_job_log(j, adafs_clock_wall_us(), "retry refused: %s", err.msg);
		foreman_touch_locked(f, j);
	}
	if (j->retry) {
		j->retry->done = true;
		adafs_err_copy(&j->retry->err, &err);
	}
	adafs_mutex_unlock(&f->lock);
}
