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
#include "batch/foreman/internal.h"

#define ACCESS_RETRY_MS 60000
#define ACCESS_LOOK_MS 60000

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
		foreman_show_locked(f);
		foreman_set_trouble_locked(f, &f->blob_trouble, "");
		adafs_cond_signal(&f->tracker_wake);
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
	f->admit_at_ms = 0;
	f->n_refused = 1;
	adafs_cond_signal(&f->submitter_wake);
}

/*
 * The quota of active jobs is the account's: asking for each waiting job anew would only add load.
 * All of them say so, and go on when a job ends, or at the latest when others of the account may
 * have.
 */
static void hold_for_quota_locked(struct adafs_foreman *f, uint64_t now) ADAFS_REQUIRES(&f->lock)
{
	static const char text[] = "waits: the Batch account has as many active jobs as it may "
				   "(ActiveJobAndScheduleQuotaReached); it goes on when others end";
	if (!f->n_refused)
		adafs_log(WARN, "foreman",
			  "jobs wait: the Batch account's quota of active jobs is used up");
	f->admit_at_ms = now + foreman_backoff_ms(f, ++f->n_refused);
	for (size_t i = 0; i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (!j->submitted && !j->cancel && foreman_text_set(&j->waiting_for, text))
			foreman_touch_locked(f, j);
	}
}

static void do_job(struct adafs_foreman *f, struct foreman_job *j)
{
	struct adafs_err err = { 0 };
	int rc = foreman_submit_job(f, j, &err);
	uint64_t now = adafs_clock_mono_ms();
	adafs_mutex_lock(&f->lock);
	if (rc == 0) {
		f->n_refused = f->n_refused ? 1 : 0;
		foreman_set_trouble_locked(f, &f->blob_trouble, "");
	} else if (strcmp(err.service_code, "ActiveJobAndScheduleQuotaReached") == 0) {
		hold_for_quota_locked(f, now);
	} else if (!f->stopping) {
		j->n_tries++;
		if (j->retry_at_ms <= now)
			j->retry_at_ms = now + foreman_backoff_ms(f, j->n_tries);
		ADAFS_FREE char *text =
			adafs_fmt("not submitted yet, will be tried again: %s", err.msg);
		if (foreman_text_set(&j->waiting_for, text))
			adafs_log(WARN, "foreman", "job '%s': %s", j->id, text);
		if (foreman_transient(&err) && err.rc != -EAGAIN)
			foreman_set_trouble_locked(f, &f->blob_trouble, text);
		foreman_touch_locked(f, j);
	}
	adafs_mutex_unlock(&f->lock);
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

/* The next job with something to do for this thread, else NULL and when to look again. */
static struct foreman_job *next_job_locked(struct adafs_foreman *f, uint64_t now, uint64_t *ret_due)
	ADAFS_REQUIRES(&f->lock)
{
	struct foreman_job *best = NULL;
	*ret_due = UINT64_MAX;
	for (size_t i = 0; i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (j->submitted && !wants_body(j))
			continue;
		if (!j->submitted && !j->cancel && f->admit_at_ms > now) {
			if (f->admit_at_ms < *ret_due)
				*ret_due = f->admit_at_ms;
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
enum chore { NOTHING, SCAN, RESOLVE, JOB, ACCESS };

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

static enum chore next_chore_locked(struct adafs_foreman *f, struct foreman_job **ret_job,
				    uint64_t *ret_due) ADAFS_REQUIRES(&f->lock)
{
	uint64_t now = adafs_clock_mono_ms();
	*ret_due = UINT64_MAX;
	if (f->scan_wanted && now >= f->scan_retry_ms)
		return SCAN;
	/* Before the first listing nothing is submitted: an ended job may be known to its manifest
	 * alone. */
	if (f->loaded && f->resolve_wanted)
		return RESOLVE;
	*ret_job = f->loaded ? next_job_locked(f, now, ret_due) : NULL;
	if (*ret_job)
		return JOB;
	if (f->scan_wanted && f->scan_retry_ms < *ret_due)
		*ret_due = f->scan_retry_ms;
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
		bool body = j && j->submitted;
		adafs_mutex_unlock(&f->lock);
		if (chore == SCAN)
			do_scan(f, &n_failures);
		else if (chore == RESOLVE)
			foreman_resolve_all(f);
		else if (chore == ACCESS)
			do_access(f);
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
