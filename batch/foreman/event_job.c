/*
 * foreman/event_job.c - with grouping=event the images of an event go to Batch as one job, once
 * nothing more is copied into it: the tasks of each of them, and those that merge the event, which
 * wait for them. Such a job is one that merges the event and has members; a member has a manifest
 * of its own, which names the Batch job. What comes later goes in a further one.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/foreman/grouping.h"

#define LOOK_MS 500

bool foreman_goes_with_event_locked(const struct adafs_foreman *f, const struct foreman_job *j)
{
	return f->by_event && !j->n_merged && !j->submitted && !j->ended && !j->cancel &&
	       !j->alone && j->run == 1 && !j->n_kept && !*j->manifest_etag &&
	       j->retry_at_ms != UINT64_MAX &&
	       strcmp(j->digest, adafs_pipeline_digest(f->pipeline)) == 0;
}

void foreman_look_at_event_jobs_locked(struct adafs_foreman *f, uint64_t when_ms)
{
	if (!f->by_event || (f->event_job_at_ms && f->event_job_at_ms <= when_ms))
		return;
	f->event_job_at_ms = when_ms ? when_ms : 1;
	adafs_cond_signal(&f->submitter_wake);
}

struct foreman_job *foreman_event_job_locked(struct adafs_foreman *f, const struct foreman_job *j)
{
	struct foreman_job *e =
		foreman_job_is_member(j) ? foreman_table_find(&f->jobs, j->batch_job_id) : NULL;
	return e && e->n_merged ? e : NULL;
}

bool foreman_is_in_locked(struct adafs_foreman *f, const struct foreman_job *j)
{
	const struct foreman_job *e = foreman_event_job_locked(f, j);
	return !foreman_job_is_member(j) || (j->body_loaded && (!e || e->submitted || e->ended));
}

/* --- which events are whole --------------------------------------------------------------- */

/* An event with images that wait for a Batch job. */
struct waiting {
	char *event;
	bool busy; /* a file of it is being written */
};

static void waiting_free(struct waiting *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i].event);
	free(list);
}

static size_t find_waiting_locked(struct adafs_foreman *f, struct waiting **ret)
	ADAFS_REQUIRES(&f->lock)
{
	size_t n = 0;
	*ret = NULL;
	for (size_t i = 0; i < f->jobs.n; i++) {
		const struct foreman_job *j = f->jobs.item[i];
		size_t k = 0;
		if (!foreman_goes_with_event_locked(f, j))
			continue;
		while (k < n && strcmp((*ret)[k].event, j->event) != 0)
			k++;
		if (k < n)
			continue;
		struct waiting *list = realloc(*ret, (n + 1) * sizeof(*list));
		if (!list)
			break;
		*ret = list;
		list[n] = (struct waiting){ .event = strdup(j->event) };
		if (list[n].event)
			n++;
	}
	return n;
}

/* One that is on its way takes no more members, and may have some of those that wait. */
static bool is_open_locked(const struct adafs_foreman *f, const char *event)
	ADAFS_REQUIRES(&f->lock)
{
	for (size_t i = 0; i < f->jobs.n; i++) {
		const struct foreman_job *j = f->jobs.item[i];
		if (foreman_job_has_members(j) && !j->submitted && !j->ended &&
		    strcmp(j->event, event) == 0)
			return true;
	}
	return false;
}

static uint64_t settled_at_locked(struct adafs_foreman *f, const struct waiting *w)
	ADAFS_REQUIRES(&f->lock)
{
	const struct foreman_event e = { .pipeline = f->pipeline,
					 .name = w->event,
					 .busy = w->busy };
	struct foreman_members m;
	if (foreman_members_locked(f, &e, &m))
		return UINT64_MAX;
	uint64_t at = foreman_settled_at_ms(f, &e, &m);
	foreman_members_clear(&m);
	return at;
}

static void tell_waiting_locked(struct adafs_foreman *f, const char *event) ADAFS_REQUIRES(&f->lock)
{
	ADAFS_FREE char *text = adafs_fmt("waits for the rest of event '%s': it goes to Batch once "
					  "nothing was copied there for %u s",
					  event, (f->settle_ms + 999) / 1000);
	for (size_t i = 0; text && i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (foreman_goes_with_event_locked(f, j) && strcmp(j->event, event) == 0 &&
		    foreman_text_set(&j->waiting_for, text))
			foreman_touch_locked(f, j);
	}
}

static void make_locked(struct adafs_foreman *f, const char *event) ADAFS_REQUIRES(&f->lock)
{
	struct foreman_job *known;
	struct foreman_job *e =
		foreman_new_merge_locked(f, event, adafs_pipeline_name(f->pipeline),
					 adafs_plan_most_members(f->pipeline), &known);
	if (e && foreman_table_insert(&f->jobs, e)) {
		foreman_job_free(e);
		e = NULL;
	}
	for (size_t i = 0; (e || known) && i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (!foreman_goes_with_event_locked(f, j) || strcmp(j->event, event) != 0)
			continue;
		/* The same set went before, and its images have come back: each by itself. */
		j->alone = known != NULL;
		foreman_text_set(&j->waiting_for, "is being submitted");
		foreman_touch_locked(f, j);
	}
	if (!e)
		return;
	adafs_log(INFO, "foreman", "event '%s' is whole: %zu jobs go to Batch as '%s'", event,
		  e->n_members, e->id);
	foreman_touch_locked(f, e);
}

void foreman_make_event_jobs(struct adafs_foreman *f)
{
	struct waiting *list;
	adafs_mutex_lock(&f->lock);
	f->event_job_at_ms = 0;
	size_t n = f->reads_only ? 0 : find_waiting_locked(f, &list);
	adafs_mutex_unlock(&f->lock);
	if (!n)
		return;
	for (size_t i = 0; i < n; i++) {
		ADAFS_FREE char *below = adafs_fmt("images/%s/", list[i].event);
		list[i].busy = below && f->is_written && f->is_written(f->is_written_arg, below);
	}
	adafs_mutex_lock(&f->lock);
	for (size_t i = 0; i < n; i++) {
		uint64_t now = adafs_clock_mono_ms(), at = settled_at_locked(f, &list[i]);
		if (is_open_locked(f, list[i].event))
			continue; /* looked at again when it is submitted */
		if (at <= now) {
			make_locked(f, list[i].event);
			continue;
		}
		tell_waiting_locked(f, list[i].event);
		foreman_look_at_event_jobs_locked(f, at < now + LOOK_MS ? at : now + LOOK_MS);
	}
	adafs_mutex_unlock(&f->lock);
	waiting_free(list, n);
}

/* --- a member that is to end ------------------------------------------------------------- */

/* The next of its tasks from the end that has not ended, so that nothing starts meanwhile. */
static char *next_task_locked(const struct foreman_job *j, size_t *at)
{
	char prefix[ADAFS_PLAN_PREFIX_LEN];
	foreman_job_task_prefix(j, prefix);
	while (*at > 0) {
		const struct foreman_step *s = &j->step[--*at];
		if (*at < j->n_steps && !s->reused && s->state <= ADAFS_STATE_RUNNING)
			return adafs_fmt("%s%s", prefix, s->task_id);
	}
	return NULL;
}

int foreman_end_member(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	adafs_mutex_lock(&f->lock);
	size_t at = j->n_steps;
	adafs_mutex_unlock(&f->lock);
	for (;;) {
		struct adafs_err err = { 0 };
		adafs_mutex_lock(&f->lock);
		ADAFS_FREE char *batch_id = strdup(j->batch_job_id);
		ADAFS_FREE char *task = next_task_locked(j, &at);
		adafs_mutex_unlock(&f->lock);
		if (!batch_id || !task)
			return 0;
		int rc = adafs_batch_task_terminate(f->batch, batch_id, task, &err);
		if (rc && rc != -ENOENT && err.http_status != 409)
			return adafs_err_copy(reterr, &err);
	}
}
