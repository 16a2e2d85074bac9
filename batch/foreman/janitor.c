/*
 * foreman/janitor.c - the thread that removes. It finds what is due in the tables, so it asks the
 * service for nothing while nothing is; times are compared by the service's clock. What it does is
 * safe to do twice: the manifest says first that work no longer counts, a tombstone stands before a
 * part's files go, and what is gone already is no error.
 */
#include "batch/foreman/janitor.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/base/random.h"
#include "batch/foreman/crash.h"
#include "batch/foreman/internal.h"

#define REQUESTS_PER_MINUTE 600
/* A wait ends later when the machine sleeps meanwhile: never a long one. */
#define LOOK_MS 60000
/* Work goes later than it might by up to this share of its stay, and at most so long. */
#define JITTER_SHARE 10
#define JITTER_MAX_US (INT64_C(600) * 1000000)
#define MAPS_EVERY_MS (UINT64_C(4) * 3600 * 1000)
#define MAPS_FIRST_MS 60000
#define LOCAL_MAPS_FIRST_MS 1000
/* Between a tombstone and the removal of files: what saw the part before is at work by then. */
#define SWEEP_AFTER_MS 1000
#define DAY_US (INT64_C(86400) * 1000000)
/* What is refused, not only missed, is not soon granted. */
#define REFUSED_MS (UINT64_C(3600) * 1000)

/* --- the choice (pure) -------------------------------------------------------------------- */

static int64_t keep_end_us(const struct foreman_job *j, int64_t keep_ms)
{
	int64_t ms = j->keep_ms ? j->keep_ms : keep_ms;
	/* Centuries count as forever. */
	return ms > INT64_C(1000) * 366 * 86400000 ? INT64_MAX : j->ended_us + ms * 1000;
}

enum janitor_chore janitor_choose(const struct foreman_job *j, bool image_gone, int64_t keep_ms,
				  int64_t now_us, int64_t *ret_due_us)
{
	*ret_due_us = INT64_MAX;
	if (!*j->manifest_etag || j->final_pending || j->retry)
		return JANITOR_NOTHING;
	if (!j->ended)
		return !j->cancel && (image_gone || j->deletion) ? JANITOR_CANCEL : JANITOR_NOTHING;
	if (j->deletion == FOREMAN_DELETION_WANTED)
		return JANITOR_DELETE;
	if (!j->deletion && image_gone && !j->dropped_us)
		return JANITOR_DROP;
	if (j->litter && j->dropped_us)
		return JANITOR_SWEEP;
	if (j->deletion)
		return JANITOR_NOTHING;
	if (j->work == FOREMAN_WORK_GOING)
		return JANITOR_CLEAR;
	if (j->work == FOREMAN_WORK_GONE)
		return JANITOR_NOTHING;
	int64_t due_us = keep_end_us(j, keep_ms);
	if (now_us >= due_us)
		return JANITOR_CLEAR;
	*ret_due_us = due_us;
	return JANITOR_NOTHING;
}

/* --- pace --------------------------------------------------------------------------------- */

void foreman_wake_janitor_locked(struct adafs_foreman *f, const struct foreman_job *j)
{
	int64_t keep_ms = j->keep_ms ? j->keep_ms : f->keep_ms;
	/* Else it comes by itself in time. */
	if (j->deletion || j->cancel || keep_ms < LOOK_MS)
		adafs_cond_signal(&f->janitor_wake);
}

bool janitor_turn(struct janitor *t)
{
	struct adafs_foreman *f = t->f;
	adafs_mutex_lock(&f->lock);
	while (!f->stopping) {
		uint64_t now = adafs_clock_mono_ms();
		if (now >= t->minute_ms + 60000) {
			t->minute_ms = now;
			t->n_requests = 0;
		}
		if (t->urgent || t->n_requests < REQUESTS_PER_MINUTE)
			break;
		adafs_cond_wait_until(&f->janitor_wake, &f->lock, t->minute_ms + 60000);
	}
	bool go = !f->stopping;
	adafs_mutex_unlock(&f->lock);
	t->n_requests++;
	return go;
}

/* --- chores ------------------------------------------------------------------------------- */

/* What a chore needs of the job, as it was when it began. */
struct errand {
	char *event, *pipeline;
	char **image;
	size_t n_images;
	unsigned run;
};

static void errand_clear(struct errand *e)
{
	for (size_t i = 0; i < e->n_images; i++)
		free(e->image[i]);
	free(e->image);
	free(e->event);
	free(e->pipeline);
}

static int errand_init(struct errand *e, struct adafs_foreman *f, const struct foreman_job *j,
		       struct adafs_err *reterr)
{
	adafs_mutex_lock(&f->lock);
	*e = (struct errand){ .event = strdup(j->event),
			      .pipeline = strdup(j->pipeline),
			      .image = calloc(j->n_inputs + 1, sizeof(char *)),
			      .run = j->run };
	bool ok = e->event && e->pipeline && e->image;
	for (size_t i = 0; ok && i < j->n_inputs; i++) {
		e->image[i] = strdup(j->input[i].blob);
		ok = e->image[i];
		e->n_images += ok;
	}
	adafs_mutex_unlock(&f->lock);
	if (ok)
		return 0;
	errand_clear(e);
	return adafs_err_set(reterr, -ENOMEM, "out of memory");
}

/* The table may be older than the container: whether an image of the job is gone in truth. */
static int look_for_images(struct janitor *t, struct foreman_job *j, const struct errand *e,
			   bool *ret_gone, struct adafs_err *reterr)
{
	adafs_mutex_lock(&t->f->lock);
	uint64_t scan = t->f->scan_number;
	adafs_mutex_unlock(&t->f->lock);
	*ret_gone = false;
	for (size_t i = 0; i < e->n_images && !*ret_gone; i++) {
		struct adafs_blob_props props = { 0 };
		if (!janitor_turn(t))
			return -ECANCELED;
		int rc = adafs_blob_head(t->f->blob, t->f->container, e->image[i], NULL, &props,
					 reterr);
		*ret_gone = rc == -ENOENT || (rc == 0 && props.size == 0);
		adafs_blob_props_clear(&props);
		if (rc && rc != -ENOENT)
			return rc;
	}
	if (*ret_gone)
		return 0;
	/* They are there all the same: looked for again after the next listing. */
	adafs_mutex_lock(&t->f->lock);
	j->images_seen_at = scan;
	adafs_mutex_unlock(&t->f->lock);
	return 0;
}

static int do_cancel(struct janitor *t, struct foreman_job *j, const struct errand *e,
		     struct adafs_err *reterr)
{
	struct adafs_foreman *f = t->f;
	bool gone = true;
	adafs_mutex_lock(&f->lock);
	bool deleted = j->deletion;
	adafs_mutex_unlock(&f->lock);
	int rc = deleted ? 0 : look_for_images(t, j, e, &gone, reterr);
	if (rc || !gone)
		return rc;
	adafs_mutex_lock(&f->lock);
	j->cancel = true;
	j->retry_at_ms = 0;
	foreman_job_log(j, adafs_clock_wall_us(), "%s: cancelling",
			deleted ? "deleted by the user" : "image deleted");
	f->nudged = true;
	foreman_touch_locked(f, j);
	adafs_cond_signal(&f->tracker_wake);
	adafs_cond_signal(&f->submitter_wake);
	adafs_mutex_unlock(&f->lock);
	return 0;
}

/* A run of its own: see manifest.h. */
static void change_dropped(struct foreman_job *j, int64_t dropped_us)
{
	j->run++;
	j->dropped_us = dropped_us;
	/* What the result step left is no more: were the image copied again, all would run. */
	foreman_job_forget_keys(j);
	foreman_job_log(j, adafs_clock_wall_us(), "image deleted: no longer in the map");
}

static void change_deleted(struct foreman_job *j, int64_t dropped_us)
{
	j->run++;
	j->dropped_us = dropped_us;
	j->deletion = FOREMAN_DELETED;
	j->work = FOREMAN_WORK_GONE;
	foreman_job_clear_steps(j);
	foreman_job_clear_kept(j);
	adafs_buf_reset(&j->events);
}

static void change_clearing(struct foreman_job *j, int64_t unused)
{
	(void)unused;
	j->work = FOREMAN_WORK_GOING;
	foreman_job_forget_keys(j);
}

static void change_cleared(struct foreman_job *j, int64_t unused)
{
	(void)unused;
	j->work = FOREMAN_WORK_GONE;
	foreman_job_forget_keys(j);
	ADAFS_FREE char *text = adafs_fmt("%s; its work and logs were removed", j->waiting_for);
	if (text)
		foreman_text_set(&j->waiting_for, text);
	foreman_job_log(j, adafs_clock_wall_us(), "work and logs removed: kept long enough");
}

/*
 * Its part is a tombstone: write that down, and have the map made anew. An image that was copied
 * again meanwhile is looked at once more.
 */
static int note_dropped(struct janitor *t, struct foreman_job *j, const struct errand *e, bool had,
			foreman_change_fn *change, struct adafs_err *reterr)
{
	struct adafs_foreman *f = t->f;
	adafs_mutex_lock(&f->lock);
	bool same = j->run == e->run && j->ended;
	adafs_mutex_unlock(&f->lock);
	int rc = same ? foreman_rewrite(f, j, change, had ? adafs_blob_now_us(f->blob) : 1, reterr)
		      : 0;
	if (rc || !same)
		return rc;
	foreman_crash_point("after-drop");
	adafs_mutex_lock(&f->lock);
	if (had) {
		j->litter = true;
		j->sweep_at_ms = adafs_clock_mono_ms() + SWEEP_AFTER_MS;
		foreman_want_merge_locked(f, e->event, e->pipeline);
	}
	foreman_job_settled_locked(f, j);
	f->newest_dirty = true;
	foreman_touch_locked(f, j);
	adafs_mutex_unlock(&f->lock);
	return 0;
}

static int do_drop(struct janitor *t, struct foreman_job *j, const struct errand *e,
		   struct adafs_err *reterr)
{
	bool gone, had;
	int rc = look_for_images(t, j, e, &gone, reterr);
	if (rc || !gone)
		return rc;
	const struct janitor_part part = { e->event, e->pipeline, j->id, e->run + 1, false };
	rc = janitor_bury_part(t, &part, &had, reterr);
	return rc ? rc : note_dropped(t, j, e, had, change_dropped, reterr);
}

static int do_delete(struct janitor *t, struct foreman_job *j, const struct errand *e,
		     struct adafs_err *reterr)
{
	const struct janitor_part part = { e->event, e->pipeline, j->id, e->run + 1, true };
	bool had;
	int rc = janitor_bury_part(t, &part, &had, reterr);
	t->urgent = false;
	if (!rc)
		rc = janitor_remove_work(t, j->id, e->run, reterr);
	if (!rc)
		rc = janitor_remove_batch_jobs(t, j->id, e->run, reterr);
	return rc ? rc : note_dropped(t, j, e, had, change_deleted, reterr);
}

static int do_sweep(struct janitor *t, struct foreman_job *j, const struct errand *e,
		    struct adafs_err *reterr)
{
	const struct janitor_part part = { .event = e->event,
					   .pipeline = e->pipeline,
					   .id = j->id };
	int rc = janitor_sweep_part(t, &part, reterr);
	adafs_mutex_lock(&t->f->lock);
	j->litter = j->litter && rc;
	adafs_mutex_unlock(&t->f->lock);
	return rc;
}

static int do_clear(struct janitor *t, struct foreman_job *j, const struct errand *e,
		    struct adafs_err *reterr)
{
	struct adafs_foreman *f = t->f;
	adafs_mutex_lock(&f->lock);
	bool fresh = j->work == FOREMAN_WORK_KEPT;
	adafs_mutex_unlock(&f->lock);
	/* From here on no run builds on it: whoever retries the job runs it all. */
	int rc = fresh ? foreman_rewrite(f, j, change_clearing, 0, reterr) : 0;
	if (!rc)
		rc = janitor_remove_work(t, j->id, e->run, reterr);
	if (!rc)
		rc = janitor_remove_batch_jobs(t, j->id, e->run, reterr);
	adafs_mutex_lock(&f->lock);
	bool same = j->run == e->run && j->ended && j->work == FOREMAN_WORK_GOING;
	adafs_mutex_unlock(&f->lock);
	return rc || !same ? rc : foreman_rewrite(f, j, change_cleared, 0, reterr);
}

static void do_chore(struct janitor *t, struct foreman_job *j, enum janitor_chore chore)
{
	struct adafs_foreman *f = t->f;
	struct adafs_err err = { 0 };
	struct errand e;
	int rc = errand_init(&e, f, j, &err);
	t->urgent = chore != JANITOR_CLEAR;
	if (rc == 0) {
		rc = chore == JANITOR_CANCEL   ? do_cancel(t, j, &e, &err)
		     : chore == JANITOR_DROP   ? do_drop(t, j, &e, &err)
		     : chore == JANITOR_DELETE ? do_delete(t, j, &e, &err)
		     : chore == JANITOR_SWEEP  ? do_sweep(t, j, &e, &err)
					       : do_clear(t, j, &e, &err);
		errand_clear(&e);
	}
	t->urgent = false;
	adafs_mutex_lock(&f->lock);
	j->n_sweeps = rc ? j->n_sweeps + 1 : 0;
	if (rc && !f->stopping) {
		bool soon = foreman_transient(&err) || rc == -EBUSY;
		j->sweep_at_ms = adafs_clock_mono_ms() +
				 (soon ? foreman_backoff_ms(f, j->n_sweeps) : REFUSED_MS);
		adafs_log(WARN, "foreman", "what is left of job '%s' cannot be removed now: %s",
			  j->id, err.msg);
	}
	adafs_mutex_unlock(&f->lock);
}

/* --- the thread --------------------------------------------------------------------------- */

/* Whether a listing has shown that an image of the job is not there. */
static bool misses_image_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock)
{
	if (j->dropped_us || j->images_seen_at == f->scan_number)
		return false;
	for (size_t i = 0; i < j->n_inputs; i++)
		if (!foreman_table_find(&f->images, j->input[i].blob))
			return true;
	return false;
}

/*
 * Whether a merge that reads the job's part may run now, or is about to: one comes last in every
 * job.
 */
static bool is_read_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock)
{
	for (size_t i = 0; i < f->jobs.n; i++) {
		const struct foreman_job *other = f->jobs.item[i];
		bool live = !other->ended && (other->submitted || other->begun || other->n_merged);
		if (live && foreman_same_map(other, j))
			return true;
	}
	return foreman_merge_is_wanted_locked(f, j);
}

/* The first job with something due, else NULL and when to look again, in mono_ms. */
static struct foreman_job *next_job_locked(struct janitor *t, enum janitor_chore *ret_chore,
					   uint64_t *ret_at_ms) ADAFS_REQUIRES(&t->f->lock)
{
	struct adafs_foreman *f = t->f;
	uint64_t now_ms = adafs_clock_mono_ms();
	int64_t now_us = adafs_blob_now_us(f->blob);
	const struct foreman_job *looked = NULL; /* jobs of one map stand together, mostly */
	bool is_read = false;
	*ret_at_ms = UINT64_MAX;
	for (size_t i = 0; f->loaded && i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		int64_t late_us = (j->keep_ms ? j->keep_ms : f->keep_ms) / JITTER_SHARE;
		late_us = late_us > JITTER_MAX_US / 1000 ? JITTER_MAX_US : late_us * 1000;
		int64_t due_us, then_us = now_us - late_us / 1000 * t->jitter;
		*ret_chore =
			janitor_choose(j, misses_image_locked(f, j), f->keep_ms, then_us, &due_us);
		uint64_t at_ms = UINT64_MAX;
		if (*ret_chore == JANITOR_SWEEP && now_ms >= j->sweep_at_ms) {
			if (!looked || !foreman_same_map(looked, j))
				is_read = is_read_locked(f, j);
			looked = j;
			j->sweep_at_ms = is_read ? now_ms + SWEEP_AFTER_MS : j->sweep_at_ms;
		}
		if (*ret_chore && now_ms >= j->sweep_at_ms)
			return j;
		if (*ret_chore)
			at_ms = j->sweep_at_ms;
		else if (due_us != INT64_MAX)
			at_ms = now_ms + (uint64_t)(due_us - then_us) / 1000 + 1;
		if (at_ms < *ret_at_ms)
			*ret_at_ms = at_ms;
	}
	return NULL;
}

/*
 * A mount that ended between a deletion and the merge after it: the map is made anew unless some
 * job has been begun since, whose merge knows. It may have left the part's files, too.
 */
static void resume_drops_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock)
{
	const struct foreman_job *last = NULL;
	for (size_t i = 0; i < f->jobs.n; i++) {
		struct foreman_job *d = f->jobs.item[i];
		int64_t dropped_us = 0, begun_us = 0;
		d->litter = d->dropped_us > adafs_blob_now_us(f->blob) - DAY_US;
		if (d->dropped_us <= 1 || (last && foreman_same_map(last, d)))
			continue;
		last = d;
		for (size_t k = 0; k < f->jobs.n; k++) {
			const struct foreman_job *j = f->jobs.item[k];
			if (!foreman_same_map(j, d))
				continue;
			if (j->dropped_us > dropped_us)
				dropped_us = j->dropped_us;
			if (j->state != ADAFS_STATE_CANCELLED && j->created_us > begun_us)
				begun_us = j->created_us;
		}
		if (begun_us <= dropped_us)
			foreman_want_merge_locked(f, d->event, d->pipeline);
	}
}

/* Whether there can be a map that is older than a day: then some job has ended as long ago. */
static bool has_old_maps_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock)
{
	int64_t before_us = adafs_blob_now_us(f->blob) - DAY_US;
	for (size_t i = 0; i < f->jobs.n; i++) {
		const struct foreman_job *j = f->jobs.item[i];
		if (j->ended && j->ended_us < before_us)
			return true;
	}
	return false;
}

static void do_maps(struct janitor *t)
{
	struct adafs_err err = { 0 };
	int rc = janitor_remove_maps(t, &err);
	if (rc && rc != -ECANCELED)
		adafs_log(WARN, "foreman", "older maps cannot be removed now: %s", err.msg);
	t->maps_at_ms = adafs_clock_mono_ms() + MAPS_EVERY_MS +
			adafs_random_below((uint32_t)MAPS_EVERY_MS / 4);
}

void *foreman_janitor_main(void *arg)
{
	struct adafs_foreman *f = arg;
	struct janitor t = { .f = f, .jitter = (int)adafs_random_below(1000) };
	t.maps_at_ms = adafs_clock_mono_ms() + (f->local ? LOCAL_MAPS_FIRST_MS : MAPS_FIRST_MS);
	adafs_mutex_lock(&f->lock);
	bool looked = false;
	while (!f->stopping) {
		if (f->loaded && !looked) {
			resume_drops_locked(f);
			looked = true;
		}
		enum janitor_chore chore;
		uint64_t at_ms, now_ms = adafs_clock_mono_ms();
		struct foreman_job *j = next_job_locked(&t, &chore, &at_ms);
		bool maps = !j && f->loaded && now_ms >= t.maps_at_ms && has_old_maps_locked(f);
		if (j || maps) {
			adafs_mutex_unlock(&f->lock);
			if (j)
				do_chore(&t, j, chore);
			else
				do_maps(&t);
			adafs_mutex_lock(&f->lock);
			continue;
		}
		if (at_ms > now_ms + LOOK_MS)
			at_ms = now_ms + LOOK_MS;
		if (t.maps_at_ms > now_ms && t.maps_at_ms < at_ms)
			at_ms = t.maps_at_ms;
		adafs_cond_wait_until(&f->janitor_wake, &f->lock, at_ms);
	}
	adafs_mutex_unlock(&f->lock);
	return NULL;
}
