/*
 * foreman/tracker.c - follows submitted jobs to their end. One poll is one list of jobs and one
 * list of tasks a job: J + 1 requests at most, while something is queued one more for the pool, and
 * now and then one for its nodes; never more than ten in any second. With many jobs those that have
 * ended come first, the others in turns. Nothing is asked while no job is active.
 */
#include "batch/foreman/tracker.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"

/* A list of jobs by their ids fits into a URL up to so many; above it all live jobs are listed. */
#define MAX_IDS_IN_FILTER 12
/* Every so many polls the nodes of a pool that is well are looked at, while something is queued. */
#define POOL_EVERY 5
/* Of live jobs so many are looked at in one poll. */
#define LIVE_PER_POLL 20

/* Wait until one more request keeps the rate. Returns false when the foreman stops. */
bool tracker_take_slot(struct tracker *t)
{
	struct adafs_foreman *f = t->f;
	uint64_t oldest = t->sent_ms[t->next_sent];
	uint64_t due = oldest ? oldest + 1000 : 0;
	adafs_mutex_lock(&f->lock);
	foreman_asks_locked(f, 0);
	while (!f->stopping && adafs_clock_mono_ms() < due)
		adafs_cond_wait_until(&f->tracker_wake, &f->lock, due);
	bool go = !f->stopping;
	foreman_asks_locked(f, adafs_clock_mono_ms());
	adafs_mutex_unlock(&f->lock);
	t->sent_ms[t->next_sent] = adafs_clock_mono_ms();
	t->next_sent = (t->next_sent + 1) % TRACKER_REQUESTS_PER_SECOND;
	return go;
}

static bool needs_poll_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock)
{
	if (j->open && !j->submitted)
		return true;
	if (!j->submitted || !(j->final_pending || (!j->ended && j->body_loaded)))
		return false;
	return j->final_pending || (j->cancel && !j->cancel_sent) ||
	       !tracker_is_followed_locked(f, j);
}

static int collect_locked(struct tracker *t) ADAFS_REQUIRES(&t->f->lock)
{
	struct adafs_foreman *f = t->f;
	t->n = 0;
	for (size_t i = 0; i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (!needs_poll_locked(f, j))
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
char *tracker_batch_id(struct adafs_foreman *f, const struct foreman_job *j)
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

static int see_job(void *arg, const cJSON *item)
{
	struct job_listing *l = arg;
	const char *id = adafs_json_str(item, "id", "");
	adafs_mutex_lock(&l->t->f->lock);
	for (size_t i = 0; i < l->t->n; i++) {
		if (strcasecmp(l->t->job[i]->batch_job_id, id) != 0)
			continue;
		l->seen[i] = true;
		tracker_take_job_locked(l->t->job[i], item);
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
	/* Not among the live ones: it has ended, or is gone, which its task list will tell. */
	adafs_mutex_lock(&t->f->lock);
	for (size_t i = 0; i < t->n; i++)
		if (!seen[i])
			t->job[i]->batch_ended = t->job[i]->batch_unsure = true;
	adafs_mutex_unlock(&t->f->lock);
	return 0;
}

static int send_cancel(struct tracker *t, struct foreman_job *j, struct adafs_err *reterr)
{
	struct adafs_foreman *f = t->f;
	adafs_mutex_lock(&f->lock);
	bool due = j->cancel && !j->cancel_sent && !j->ended && foreman_is_in_locked(f, j);
	adafs_mutex_unlock(&f->lock);
	if (!due || !tracker_take_slot(t))
		return 0;
	ADAFS_FREE char *id = tracker_batch_id(f, j);
	adafs_mutex_lock(&f->lock);
	bool member = foreman_job_is_member(j);
	adafs_mutex_unlock(&f->lock);
	int rc = member ? foreman_end_member(f, j, reterr)
		 : id   ? adafs_batch_job_terminate(f->batch, id, DERIVE_CANCEL_REASON, reterr)
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
	bool ended = j->ended, event = !ended && foreman_job_has_members(j);
	bool followed = !ended && tracker_is_followed_locked(f, j);
	adafs_mutex_unlock(&f->lock);
	if (event)
		rc = tracker_poll_event(t, j, changed, reterr);
	else if (!ended && !followed)
		rc = tracker_poll_tasks(t, j, changed, reterr);
	adafs_mutex_lock(&f->lock);
	foreman_asks_locked(f, 0);
	bool final = j->final_pending;
	adafs_mutex_unlock(&f->lock);
	if (rc == 0 && final) {
		rc = tracker_write_end(f, j, reterr);
		*changed = true;
	}
	return rc;
}

/* --- the poll ----------------------------------------------------------------------------- */

/* Whether something waits for a node: then the pool says what for. */
static bool any_queued_locked(struct tracker *t)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct foreman_job *j = t->job[i];
		if (j->n_members && t->members_queued)
			return true;
		for (size_t k = 0; k < j->n_steps; k++)
			if (j->step[k].state == ADAFS_STATE_QUEUED)
				return true;
	}
	return false;
}

/*
 * The nodes of a pool that runs tasks are looked at now and then, and when it has lost one; those
 * of one that does not may say something new at any time.
 */
static bool are_nodes_due_locked(struct tracker *t) ADAFS_REQUIRES(&t->f->lock)
{
	const struct adafs_foreman *f = t->f;
	bool well = f->pool_usable > 0 && !f->pool_starting && !f->pool_broken &&
		    !f->pool_preempted && !*f->pool_trouble && !t->taken_back;
	return ++t->n_polls % POOL_EVERY == 0 || !well;
}

/*
 * Which jobs this poll looks at: those that have ended, since others wait for their places, and of
 * the others as many as keep the next look at the list near, in turns.
 */
static size_t choose(struct tracker *t, struct foreman_job **ret)
{
	size_t n = 0, n_live = 0, from = t->n > LIVE_PER_POLL ? t->next_live % t->n : 0;
	adafs_mutex_lock(&t->f->lock);
	for (size_t i = 0; i < t->n; i++)
		if (t->job[i]->batch_ended || t->job[i]->final_pending || t->job[i]->cancel)
			ret[n++] = t->job[i];
	for (size_t k = 0; k < t->n && n_live < LIVE_PER_POLL; k++) {
		struct foreman_job *j = t->job[(from + k) % t->n];
		t->next_live = (from + k + 1) % t->n;
		if (j->batch_ended || j->final_pending || j->cancel)
			continue;
		ret[n++] = j;
		n_live++;
	}
	adafs_mutex_unlock(&t->f->lock);
	return n;
}

static int poll_chosen(struct tracker *t, bool *changed, struct adafs_err *reterr)
{
	ADAFS_FREE struct foreman_job **jobs = calloc(t->n + 1, sizeof(struct foreman_job *));
	size_t n = jobs ? choose(t, jobs) : 0;
	int rc = 0;
	t->members_queued = false;
	for (size_t i = 0; i < n; i++) {
		struct adafs_err err = { 0 };
		int one = poll_job(t, jobs[i], changed, &err);
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

static int poll_all(struct tracker *t, bool *changed, struct adafs_err *reterr)
{
	struct adafs_foreman *f = t->f;
	int rc = 0;
	adafs_mutex_lock(&f->lock);
	bool pool = any_queued_locked(t), nodes = pool && are_nodes_due_locked(t);
	t->taken_back = false;
	adafs_mutex_unlock(&f->lock);
	if (tracker_take_slot(t))
		rc = poll_jobs(t, reterr);
	if (rc == 0 && pool && tracker_take_slot(t))
		rc = foreman_refresh_pool(f, nodes, reterr);
	return rc ? rc : poll_chosen(t, changed, reterr);
}

static void poll_once(struct tracker *t)
{
	struct adafs_foreman *f = t->f;
	struct adafs_err err = { 0 };
	bool changed = false;
	int rc = poll_all(t, &changed, &err);
	adafs_mutex_lock(&f->lock);
	foreman_asks_locked(f, 0);
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
	size_t n = t->n < LIVE_PER_POLL ? t->n : LIVE_PER_POLL;
	uint64_t ms = f->poll_ms, by_rate = (n + 1) * 1000 / TRACKER_REQUESTS_PER_SECOND;
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
		uint64_t wait = t.n_failures   ? interval_ms(&t)
				: t.taken_back ? 0
				: f->nudged    ? f->poll_ms
					       : interval_ms(&t);
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
