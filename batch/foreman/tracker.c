/*
 * foreman/tracker.c - follows submitted jobs to their end. One poll is one list of jobs (or a look
 * at the pool) and one list of tasks a job: J + 1 requests, never more than ten in any second.
 * Nothing is asked while no job is active.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/foreman/internal.h"
#include "batch/foreman/manifest.h"

#define MAX_REQUESTS_PER_SECOND 10
/* A list of jobs by their ids fits into a URL up to so many; above it all live jobs are listed. */
#define MAX_IDS_IN_FILTER 12
/* Every so many polls the pool is looked at instead of the jobs, while something is queued. */
#define POOL_EVERY 5
/* A job must be missing so often in a row before it counts as deleted. */
#define GONE_POLLS 2

/* The tracker thread's own state. */
struct tracker {
	struct adafs_foreman *f;
	uint64_t sent_ms[MAX_REQUESTS_PER_SECOND]; /* when the last requests were sent, a ring */
	size_t next_sent;
	unsigned n_polls, n_quiet, n_failures;
	struct foreman_job **job; /* of the present poll */
	size_t n, size;
};

/* Wait until one more request keeps the rate. Returns false when the foreman stops. */
static bool take_slot(struct tracker *t)
{
	struct adafs_foreman *f = t->f;
	uint64_t oldest = t->sent_ms[t->next_sent];
	uint64_t due = oldest ? oldest + 1000 : 0;
	adafs_mutex_lock(&f->lock);
	while (!f->stopping && adafs_clock_mono_ms() < due)
		adafs_cond_wait_until(&f->tracker_wake, &f->lock, due);
	bool go = !f->stopping;
	adafs_mutex_unlock(&f->lock);
	t->sent_ms[t->next_sent] = adafs_clock_mono_ms();
	t->next_sent = (t->next_sent + 1) % MAX_REQUESTS_PER_SECOND;
	return go;
}

static bool needs_poll(const struct foreman_job *j)
{
	return j->submitted && (j->final_pending || (!j->ended && j->body_loaded));
}

static int collect_locked(struct tracker *t)
{
	struct adafs_foreman *f = t->f;
	t->n = 0;
	for (size_t i = 0; i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (!needs_poll(j))
			continue;
		if (t->n == t->size) {
			size_t size = t->size ? 2 * t->size : 16;
			struct foreman_job **list =
				realloc(t->job, size * sizeof(struct foreman_job *));
			if (!list)
				return -ENOMEM;
			t->job = list;
			t->size = size;
		}
		t->job[t->n++] = j;
	}
	return 0;
}

/* A copy, since another mount's manifest may name another run at any moment. */
static char *batch_id(struct adafs_foreman *f, const struct foreman_job *j)
{
	adafs_mutex_lock(&f->lock);
	char *id = strdup(j->batch_job_id);
	adafs_mutex_unlock(&f->lock);
	return id;
}

/* --- the job list ------------------------------------------------------------------------- */

struct job_listing {
	struct tracker *t;
	bool *seen;
};

static void take_job_locked(struct adafs_foreman *f, struct foreman_job *j, const cJSON *item)
{
	struct derive_job d = { 0 };
	(void)f;
	derive_job_parse(item, &d);
	j->batch_ended = d.ended;
	foreman_text_set(&j->batch_reason, d.reason);
	foreman_text_set(&j->batch_error, d.scheduling_error);
}

static int see_job(void *arg, const cJSON *item)
{
	struct job_listing *l = arg;
	const char *id = adafs_json_str(item, "id", "");
	adafs_mutex_lock(&l->t->f->lock);
	for (size_t i = 0; i < l->t->n; i++) {
		if (strcasecmp(l->t->job[i]->batch_job_id, id) != 0)
			continue;
		l->seen[i] = true;
		take_job_locked(l->t->f, l->t->job[i], item);
	}
	adafs_mutex_unlock(&l->t->f->lock);
	return 0;
}

static char *job_filter(struct tracker *t)
{
	struct adafs_buf b = ADAFS_BUF_INIT(8192);
	if (t->n > MAX_IDS_IN_FILTER)
		return strdup("state ne 'completed'");
	adafs_mutex_lock(&t->f->lock);
	for (size_t i = 0; i < t->n; i++)
		adafs_buf_addf(&b, "%sid eq '%s'", i ? " or " : "", t->job[i]->batch_job_id);
	adafs_mutex_unlock(&t->f->lock);
	return adafs_buf_steal(&b, NULL);
}

static int poll_jobs(struct tracker *t, struct adafs_err *reterr)
{
	ADAFS_FREE char *filter = job_filter(t);
	ADAFS_FREE bool *seen = calloc(t->n + 1, sizeof(*seen));
	if (!filter || !seen)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	struct job_listing l = { .t = t, .seen = seen };
	int rc = adafs_batch_job_list(t->f->batch, filter, "id,state,executionInfo", see_job, &l,
				      reterr);
	if (rc || t->n <= MAX_IDS_IN_FILTER)
		return rc;
	/* Not among the live ones: it has ended (or is gone, which its task list will tell). Why is
	 * worth one question. */
	for (size_t i = 0; i < t->n && !rc; i++) {
		ADAFS_JSON *job = NULL;
		ADAFS_FREE char *id = batch_id(t->f, t->job[i]);
		if (seen[i] || !id || !take_slot(t))
			continue;
		rc = adafs_batch_job_get(t->f->batch, id, NULL, &job, reterr);
		if (rc == 0) {
			adafs_mutex_lock(&t->f->lock);
			take_job_locked(t->f, t->job[i], job);
			adafs_mutex_unlock(&t->f->lock);
		} else if (rc == -ENOENT) {
			rc = 0;
		}
	}
	return rc;
}

/* --- one job ------------------------------------------------------------------------------ */

struct task_list {
	struct derive_task *task;
	size_t n, size;
};

static int see_task(void *arg, const cJSON *item)
{
	struct task_list *l = arg;
	if (l->n == l->size) {
		size_t size = l->size ? 2 * l->size : 16;
		struct derive_task *list = realloc(l->task, size * sizeof(*list));
		if (!list)
			return -ENOMEM;
		l->task = list;
		l->size = size;
	}
	if (derive_task_parse(item, &l->task[l->n]) == 0)
		l->n++;
	return 0;
}

static void fill_derive_job(const struct foreman_job *j, struct derive_job *d)
{
	*d = (struct derive_job){ .ended = j->batch_ended, .cancel = j->cancel };
	snprintf(d->reason, sizeof(d->reason), "%s", j->batch_reason);
	snprintf(d->scheduling_error, sizeof(d->scheduling_error), "%s", j->batch_error);
}

static void end_job_locked(struct adafs_foreman *f, struct foreman_job *j)
{
	int64_t last = 0;
	for (size_t i = 0; i < j->n_steps; i++)
		if (j->step[i].finished_us > last)
			last = j->step[i].finished_us;
	j->ended = true;
	foreman_admit_locked(f);
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

/* Bring a job up to date with its tasks. Returns whether anything changed. */
static bool apply_tasks(struct adafs_foreman *f, struct foreman_job *j, const struct task_list *l)
{
	struct derive_job d;
	adafs_mutex_lock(&f->lock);
	struct derive_pool pool = { .id = f->pool,
				    .state = f->pool_state,
				    .nodes = f->pool_nodes,
				    .trouble = f->pool_trouble,
				    .scaled = f->pool_scaled,
				    .usable = f->pool_usable,
				    .starting = f->pool_starting,
				    .broken = f->pool_broken };
	fill_derive_job(j, &d);
	j->n_gone = 0;
	bool changed = derive_steps(j, l->task, l->n, &d, &pool);
	enum adafs_state state = derive_job_state(j, &d);
	ADAFS_FREE char *sentence = derive_job_sentence(j, state, &d, &pool);
	if (state != j->state) {
		j->state = state;
		j->changed_us = adafs_clock_wall_us();
		changed = true;
	}
	if (sentence)
		changed |= foreman_text_set(&j->waiting_for, sentence);
	if (derive_all_ended(j) && j->n_steps && !j->ended) {
		end_job_locked(f, j);
		changed = true;
	}
	if (changed)
		foreman_touch_locked(f, j);
	adafs_mutex_unlock(&f->lock);
	return changed;
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
static int settle_gone(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	int n_parts = 0;
	adafs_mutex_lock(&f->lock);
	bool sure = ++j->n_gone >= GONE_POLLS;
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
	bool done = n_parts > 0;
	const char *why =
		done        ? "completed; Batch has forgotten the job, its results are there"
		: cancelled ? "cancelled"
			    : "failed: deleted outside adafs; copy the image again to run it again";
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
	end_job_locked(f, j);
	foreman_touch_locked(f, j);
	adafs_mutex_unlock(&f->lock);
	return 0;
}

/* Another mount wrote how the job ended. */
static int settle_adopted(struct adafs_foreman *f, struct foreman_job *j)
{
	adafs_mutex_lock(&f->lock);
	if (j->ended)
		foreman_job_settled_locked(f, j);
	adafs_mutex_unlock(&f->lock);
	return 0;
}

/* Write how the job ended. Another mount may have done so already. */
static int write_end(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	char etag[ADAFS_ETAG_LEN];
	adafs_mutex_lock(&f->lock);
	strcpy(etag, j->manifest_etag);
	adafs_mutex_unlock(&f->lock);
	int rc = f->reads_only ? 0 : *etag ? foreman_put_manifest(f, j, etag, reterr) : -ESTALE;
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
		enum adafs_state state = j->state;
		adafs_mutex_unlock(&f->lock);
		adafs_log(INFO, "foreman", "job '%s' %s", j->id, adafs_state_name(state));
	}
	return rc;
}

static int send_cancel(struct tracker *t, struct foreman_job *j, struct adafs_err *reterr)
{
	struct adafs_foreman *f = t->f;
	adafs_mutex_lock(&f->lock);
	bool due = j->cancel && !j->cancel_sent && !j->ended;
	adafs_mutex_unlock(&f->lock);
	if (!due || !take_slot(t))
		return 0;
	ADAFS_FREE char *id = batch_id(f, j);
	int rc = id ? adafs_batch_job_terminate(f->batch, id, DERIVE_CANCEL_REASON, reterr)
		    : -ENOMEM;
	if (rc && rc != -ENOENT)
		return rc;
	adafs_mutex_lock(&f->lock);
	j->cancel_sent = true;
	adafs_mutex_unlock(&f->lock);
	return 0;
}

static int poll_job(struct tracker *t, struct foreman_job *j, bool *changed,
		    struct adafs_err *reterr)
{
	struct adafs_foreman *f = t->f;
	int rc = send_cancel(t, j, reterr);
	if (rc)
		return rc;
	adafs_mutex_lock(&f->lock);
	bool ended = j->ended;
	adafs_mutex_unlock(&f->lock);
	if (!ended) {
		struct task_list l = { 0 };
		ADAFS_FREE char *id = batch_id(f, j);
		if (!id || !take_slot(t))
			return 0;
		rc = adafs_batch_task_list(f->batch, id, NULL, DERIVE_TASK_SELECT, see_task, &l,
					   reterr);
		if (rc == 0)
			*changed |= apply_tasks(f, j, &l);
		else if (rc == -ENOENT)
			rc = settle_gone(f, j, reterr);
		free(l.task);
	}
	adafs_mutex_lock(&f->lock);
	bool final = j->final_pending;
	adafs_mutex_unlock(&f->lock);
	if (rc == 0 && final) {
		rc = write_end(f, j, reterr);
		*changed = true;
	}
	return rc;
}

/* --- the poll ----------------------------------------------------------------------------- */

static bool any_queued_locked(struct tracker *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->job[i]->state == ADAFS_STATE_QUEUED)
			return true;
	return false;
}

static int poll_all(struct tracker *t, bool *changed, struct adafs_err *reterr)
{
	struct adafs_foreman *f = t->f;
	int rc = 0;
	adafs_mutex_lock(&f->lock);
	bool pool = ++t->n_polls % POOL_EVERY == 0 && any_queued_locked(t);
	adafs_mutex_unlock(&f->lock);
	if (take_slot(t))
		rc = pool ? foreman_refresh_pool(f, reterr) : poll_jobs(t, reterr);
	if (rc)
		return rc;
	for (size_t i = 0; i < t->n; i++) {
		struct adafs_err err = { 0 };
		int one = poll_job(t, t->job[i], changed, &err);
		if (one && !rc) {
			rc = one;
			adafs_err_copy(reterr, &err);
		}
		/* What is refused to one job does not keep the others from being followed. */
		if (one && foreman_transient(&err))
			break;
	}
	return rc;
}

static void poll_once(struct tracker *t)
{
	struct adafs_foreman *f = t->f;
	struct adafs_err err = { 0 };
	bool changed = false;
	int rc = poll_all(t, &changed, &err);
	adafs_mutex_lock(&f->lock);
	if (f->stopping) {
		adafs_mutex_unlock(&f->lock);
		return;
	}
	ADAFS_FREE char *text = rc ? adafs_fmt("jobs cannot be followed now: %s", err.msg) : NULL;
	foreman_set_trouble_locked(f, &f->batch_trouble, text);
	adafs_mutex_unlock(&f->lock);
	t->n_failures = rc ? t->n_failures + 1 : 0;
	t->n_quiet = changed ? 0 : t->n_quiet + 1;
}

/* Time between two polls: longer with more jobs, slowly longer while nothing changes. */
static uint64_t interval_ms(const struct tracker *t)
{
	const struct adafs_foreman *f = t->f;
	uint64_t ms = f->poll_ms, by_rate = (t->n + 1) * 1000 / MAX_REQUESTS_PER_SECOND;
	if (t->n_failures)
		return foreman_backoff_ms(f, t->n_failures);
	for (unsigned i = 4; i < t->n_quiet && ms < f->poll_max_ms; i++)
		ms += ms / 4;
	if (ms > f->poll_max_ms)
		ms = f->poll_max_ms;
	return ms > by_rate ? ms : by_rate;
}

void *foreman_tracker_main(void *arg)
{
	struct adafs_foreman *f = arg;
	struct tracker t = { .f = f };
	uint64_t last_ms = 0;
	adafs_mutex_lock(&f->lock);
	while (!f->stopping) {
		if (collect_locked(&t) || t.n == 0) {
			f->nudged = false;
			adafs_cond_wait(&f->tracker_wake, &f->lock);
			continue;
		}
		uint64_t wait = f->nudged && !t.n_failures ? f->poll_ms : interval_ms(&t);
		if (last_ms && adafs_clock_mono_ms() < last_ms + wait) {
			adafs_cond_wait_until(&f->tracker_wake, &f->lock, last_ms + wait);
			continue;
		}
		f->nudged = false;
		adafs_mutex_unlock(&f->lock);
		poll_once(&t);
		last_ms = adafs_clock_mono_ms();
		adafs_mutex_lock(&f->lock);
	}
	adafs_mutex_unlock(&f->lock);
	free(t.job);
	return NULL;
}
