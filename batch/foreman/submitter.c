/*
 * foreman/submitter.c - the thread that fills the tables from the container, brings jobs to Batch
 * one after the other, and reads manifests. What fails is tried again with a growing delay, for as
 * long as the mount lives.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/base/random.h"
#include "batch/foreman/crash.h"
#include "batch/foreman/internal.h"

#define ACCESS_RETRY_MS 60000
#define ACCESS_LOOK_MS 60000
#define QUOTA_PROBE_MS 5000
#define QUOTA_PROBE_MAX_MS 60000

bool foreman_transient(const struct adafs_err *err)
{
	switch (err->rc) {
	case -EAGAIN:
	case -ETIMEDOUT:
	case -EHOSTDOWN:
	case -EHOSTUNREACH:
	case -ECANCELED:
	case -EIO:
		return true;
	default:
		return err->retryable;
	}
}

uint32_t foreman_backoff_ms(const struct adafs_foreman *f, unsigned n_tries)
{
	uint32_t ms = f->local ? 250 : 1000, max = f->local ? 3000 : 60000;
	while (n_tries-- > 1 && ms < max)
		ms *= 2;
	if (ms > max)
		ms = max;
	return ms + adafs_random_below(ms / 4 + 1);
}

static void do_scan(struct adafs_foreman *f, unsigned *n_failures)
{
	struct adafs_err err = { 0 };
	int rc = foreman_scan(f, &err);
	if (rc == 0)
		foreman_resolve_all(f);
	adafs_mutex_lock(&f->lock);
	if (rc == 0) {
		*n_failures = 0;
		f->loaded = true;
		foreman_look_at_merges_locked(f, 0);
		foreman_look_at_event_jobs_locked(f, adafs_clock_mono_ms());
		foreman_show_locked(f);
		foreman_set_trouble_locked(f, &f->blob_trouble, "");
		adafs_cond_signal(&f->tracker_wake);
		adafs_cond_signal(&f->janitor_wake);
	} else if (!f->stopping) {
		f->scan_retry_ms = adafs_clock_mono_ms() + foreman_backoff_ms(f, ++*n_failures);
		ADAFS_FREE char *text =
			adafs_fmt("the container cannot be listed now: %s", err.msg);
		foreman_set_trouble_locked(f, &f->blob_trouble, text);
	}
	adafs_mutex_unlock(&f->lock);
}

void foreman_admit_locked(struct adafs_foreman *f)
{
	if (!f->admit_at_ms)
		return;
	f->n_admit++;
	adafs_cond_signal(&f->submitter_wake);
}

/* A job was taken: in the place of one that ended, or because others of the account have. */
static void admitted_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock)
{
	if (f->admit_at_ms)
		foreman_crash_point("after-admission");
	if (f->n_admit) {
		f->n_admit--;
		return;
	}
	f->admit_at_ms = 0;
	f->n_refused = f->n_refused ? 1 : 0;
}

/* Only others of the account can have made room unseen: asking for that is not urgent. */
static uint32_t quota_backoff_ms(unsigned n_tries)
{
	uint32_t ms = QUOTA_PROBE_MS;
	while (n_tries-- > 1 && ms < QUOTA_PROBE_MAX_MS)
		ms *= 2;
	return ms + adafs_random_below(ms / 4 + 1);
}

static char *quota_text(const struct adafs_foreman *f)
{
	return adafs_fmt("waits: Batch account '%s' has as many active jobs as it may "
			 "(ActiveJobAndScheduleQuotaReached); it goes on when others end: end "
			 "stale ones, or ask for quota in the portal",
			 adafs_batch_client_name(f->batch));
}

/*
 * The quota of active jobs is the account's: asking for each waiting job anew would only add load.
 * All of them say so, and go on when a job ends, or at the latest when others of the account may
 * have.
 */
static void hold_for_quota_locked(struct adafs_foreman *f, uint64_t now) ADAFS_REQUIRES(&f->lock)
{
	ADAFS_FREE char *text = quota_text(f);
	if (!f->n_refused)
		adafs_log(WARN, "foreman",
			  "jobs wait: the Batch account's quota of active jobs is used up");
	f->admit_at_ms = now + quota_backoff_ms(++f->n_refused);
	f->n_admit = 0;
	for (size_t i = 0; i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (!j->submitted && !j->cancel && foreman_text_set(&j->waiting_for, text))
			foreman_touch_locked(f, j);
	}
}

static int see_begun(void *arg, const cJSON *item)
{
	struct adafs_foreman *f = arg;
	if (strcmp(foreman_metadata_of(item, "adafsowner"), f->owner) != 0)
		return 0;
	adafs_mutex_lock(&f->lock);
	struct foreman_job *j = foreman_table_find(&f->jobs, foreman_metadata_of(item, "adafsjob"));
	if (j && !j->submitted)
		j->begun = true;
	adafs_mutex_unlock(&f->lock);
	return 0;
}

/*
 * Whoever made a job may have died before its tasks were in. It ends only when it gets them, so
 * that others must not hold it up that wait for its very place.
 */
static void find_begun(struct adafs_foreman *f)
{
	struct adafs_err err = { 0 };
	if (adafs_batch_job_list(f->batch, "state ne 'completed'", "id,metadata", see_begun, f,
				 &err))
		adafs_log(WARN, "foreman", "jobs that were begun cannot be listed now: %s",
			  err.msg);
}

/* One that came after the refusal waits for the same. */
static void tell_quota_locked(struct adafs_foreman *f, struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock)
{
	if (strstr(j->waiting_for, "ActiveJobAndScheduleQuotaReached"))
		return;
	ADAFS_FREE char *text = quota_text(f);
	if (foreman_text_set(&j->waiting_for, text))
		foreman_touch_locked(f, j);
}

static void do_job(struct adafs_foreman *f, struct foreman_job *j)
{
	struct adafs_err err = { 0 };
	bool begun = j->begun;
	adafs_mutex_lock(&f->lock);
	foreman_submits_locked(f, adafs_clock_mono_ms());
	adafs_mutex_unlock(&f->lock);
	int rc = foreman_submit_job(f, j, &err);
	bool full = rc && strcmp(err.service_code, "ActiveJobAndScheduleQuotaReached") == 0;
	uint64_t now = adafs_clock_mono_ms();
	adafs_mutex_lock(&f->lock);
	foreman_submits_locked(f, 0);
	if (rc == 0) {
		if (!begun && !j->ended) /* else no room was made, or taken */
			admitted_locked(f);
		j->begun = false;
		foreman_look_at_event_jobs_locked(f, now);
		foreman_set_trouble_locked(f, &f->blob_trouble, "");
	} else if (full && !begun) {
		hold_for_quota_locked(f, now);
	} else if (!f->stopping) {
		j->begun = begun && !full;
		j->n_tries++;
		if (j->retry_at_ms <= now)
			j->retry_at_ms = now + foreman_backoff_ms(f, j->n_tries);
		ADAFS_FREE char *text =
			adafs_fmt("not submitted yet, will be tried again: %s", err.msg);
		if (foreman_text_set(&j->waiting_for, text))
			adafs_log(WARN, "foreman", "job '%s': %s", j->id, text);
		ADAFS_FREE char *trouble = adafs_fmt("jobs cannot be submitted now: %s", err.msg);
		if (foreman_transient(&err) && err.rc != -EAGAIN)
			foreman_set_trouble_locked(f, &f->blob_trouble, trouble);
		foreman_touch_locked(f, j);
	}
	adafs_mutex_unlock(&f->lock);
	if (full && !begun)
		find_begun(f);
}

static void do_body(struct adafs_foreman *f, struct foreman_job *j)
{
	struct adafs_err err = { 0 };
	int rc = foreman_load_body(f, j, &err);
	if (rc == 0)
		return;
	adafs_mutex_lock(&f->lock);
	if (!f->stopping) {
		j->n_tries++;
		j->retry_at_ms = adafs_clock_mono_ms() + foreman_backoff_ms(f, j->n_tries);
		if (!foreman_transient(&err) && j->ended)
			j->body_wanted = false;
		adafs_log(WARN, "foreman", "manifest of job '%s' cannot be read: %s", j->id,
			  err.msg);
	}
	adafs_mutex_unlock(&f->lock);
}

static bool wants_body(const struct foreman_job *j)
{
	return j->submitted && !j->body_loaded && *j->manifest_etag &&
	       (!j->ended || j->body_wanted);
}

/* Batch jobs of events that are not there yet. One more than fit is as if there were any number. */
#define MAX_OPEN 64
struct open_jobs {
	const struct foreman_job *job[MAX_OPEN];
	size_t n;
};

static void find_open_locked(const struct adafs_foreman *f, struct open_jobs *ret)
	ADAFS_REQUIRES(&f->lock)
{
	ret->n = 0;
	for (size_t i = 0; i < f->jobs.n && ret->n < MAX_OPEN; i++) {
		const struct foreman_job *j = f->jobs.item[i];
		if (foreman_job_has_members(j) && !j->submitted && !j->ended)
			ret->job[ret->n++] = j;
	}
}

/*
 * Whether a job is not for itself to submit: it goes with its event, or may be a member of what
 * another mount began for that event.
 */
static bool goes_with_others_locked(const struct adafs_foreman *f, const struct foreman_job *j,
				    const struct open_jobs *open) ADAFS_REQUIRES(&f->lock)
{
	if (j->submitted || j->n_merged || j->cancel)
		return false;
	if (foreman_goes_with_event_locked(f, j) || open->n == MAX_OPEN)
		return true;
	for (size_t i = 0; i < open->n; i++)
		if (strcmp(open->job[i]->event, j->event) == 0)
			return true;
	return false;
}

/* The next job with something to do for this thread, else NULL and when to look again. */
static struct foreman_job *next_job_locked(struct adafs_foreman *f, uint64_t now, uint64_t *ret_due)
	ADAFS_REQUIRES(&f->lock)
{
	struct foreman_job *best = NULL;
	struct open_jobs open;
	find_open_locked(f, &open);
	*ret_due = UINT64_MAX;
	for (size_t i = 0; i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (j->submitted ? !wants_body(j) : goes_with_others_locked(f, j, &open))
			continue;
		if (!j->submitted && !j->cancel && !j->begun && f->admit_at_ms > now &&
		    !f->n_admit) {
			if (f->admit_at_ms < *ret_due)
				*ret_due = f->admit_at_ms;
			tell_quota_locked(f, j);
			continue;
		}
		if (j->retry_at_ms > now) {
			if (j->retry_at_ms < *ret_due)
				*ret_due = j->retry_at_ms;
			continue;
		}
		/* Submissions first, then jobs that are under way, then the past. */
		if (!j->submitted)
			return j;
		if (!best || (best->ended && !j->ended))
			best = j;
	}
	return best;
}

/* What to do next, in this order. */
enum chore { NOTHING, SCAN, RESOLVE, RETRY, MERGE, EVENT_JOB, JOB, ACCESS };

/* Whether Batch holds work whose access must last. */
static bool has_active_locked(const struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock)
{
	for (size_t i = 0; i < f->jobs.n; i++) {
		const struct foreman_job *j = f->jobs.item[i];
		if (j->submitted && !j->ended)
			return true;
	}
	return false;
}

/* The stored access policy is extended while work waits, though nothing new is submitted. */
static void do_access(struct adafs_foreman *f)
{
	struct adafs_err err = { 0 };
	if (foreman_setup_access(f, &err) == 0)
		return;
	f->policy_check_us = adafs_blob_now_us(f->blob) + ACCESS_RETRY_MS * INT64_C(1000);
	adafs_log(WARN, "foreman", "the access of waiting tasks cannot be extended now: %s",
		  err.msg);
}

static struct foreman_job *next_retry_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock)
{
	for (size_t i = 0; i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		/* The end of the run before is being written down: the tracker wakes us. */
		if (j->retry && !j->retry->done && !j->final_pending)
			return j;
	}
	return NULL;
}

static enum chore next_chore_locked(struct adafs_foreman *f, struct foreman_job **ret_job,
				    uint64_t *ret_due) ADAFS_REQUIRES(&f->lock)
{
	uint64_t now = adafs_clock_mono_ms();
	*ret_due = UINT64_MAX;
	if (f->scan_wanted && now >= f->scan_retry_ms)
		return SCAN;
	/* Before the first listing nothing is submitted: an ended job may be known to its manifest
	 * alone. */
	if (f->loaded && f->resolve_at_ms && now >= f->resolve_at_ms)
		f->resolve_wanted = true;
	if (f->loaded && f->resolve_wanted)
		return RESOLVE;
	*ret_job = f->loaded && f->n_retries ? next_retry_locked(f) : NULL;
	if (*ret_job)
		return RETRY;
	if (f->loaded && f->merge_at_ms && now >= f->merge_at_ms)
		return MERGE;
	if (f->loaded && f->event_job_at_ms && now >= f->event_job_at_ms)
		return EVENT_JOB;
	*ret_job = f->loaded ? next_job_locked(f, now, ret_due) : NULL;
	if (*ret_job)
		return JOB;
	if (f->loaded && f->merge_at_ms && f->merge_at_ms < *ret_due)
		*ret_due = f->merge_at_ms;
	if (f->loaded && f->event_job_at_ms && f->event_job_at_ms < *ret_due)
		*ret_due = f->event_job_at_ms;
	if (f->scan_wanted && f->scan_retry_ms < *ret_due)
		*ret_due = f->scan_retry_ms;
	if (f->loaded && f->resolve_at_ms && f->resolve_at_ms < *ret_due)
		*ret_due = f->resolve_at_ms;
	if (f->policy_check_us && has_active_locked(f)) {
		int64_t left_us = f->policy_check_us - adafs_blob_now_us(f->blob);
		if (left_us <= 0)
			return ACCESS;
		/* This wait ends later when the machine sleeps meanwhile: never a long one. */
		uint64_t left_ms = (uint64_t)left_us / 1000 + 1;
		uint64_t look_ms = now + (left_ms < ACCESS_LOOK_MS ? left_ms : ACCESS_LOOK_MS);
		if (look_ms < *ret_due)
			*ret_due = look_ms;
	}
	return NOTHING;
}

void *foreman_submitter_main(void *arg)
{
	struct adafs_foreman *f = arg;
	unsigned n_failures = 0;
	adafs_mutex_lock(&f->lock);
	while (!f->stopping) {
		struct foreman_job *j = NULL;
		uint64_t due;
		enum chore chore = next_chore_locked(f, &j, &due);
		if (chore == NOTHING && due == UINT64_MAX) {
			adafs_cond_wait(&f->submitter_wake, &f->lock);
			continue;
		}
		if (chore == NOTHING) {
			adafs_cond_wait_until(&f->submitter_wake, &f->lock, due);
			continue;
		}
		if (chore == MERGE) {
			foreman_make_merges_locked(f);
			continue;
		}
		bool body = j && j->submitted;
		adafs_mutex_unlock(&f->lock);
		if (chore == SCAN)
			do_scan(f, &n_failures);
		else if (chore == RESOLVE)
			foreman_resolve_all(f);
		else if (chore == ACCESS)
			do_access(f);
		else if (chore == EVENT_JOB)
			foreman_make_event_jobs(f);
		else if (chore == RETRY)
			foreman_make_retry(f, j);
		else if (body)
			do_body(f, j);
		else
			do_job(f, j);
		adafs_mutex_lock(&f->lock);
		adafs_cond_broadcast(&f->chore_done);
	}
	adafs_mutex_unlock(&f->lock);
	return NULL;
}
