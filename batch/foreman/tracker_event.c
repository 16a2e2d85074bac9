/*
 * foreman/tracker_event.c - the Batch job of a whole event: one list of tasks is for all members,
 * whose ids begin with what tells a member from the others.
 */
#include "batch/foreman/tracker.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"

/* A member is looked at with the Batch job of its event, as long as that is looked at. */
bool tracker_is_followed_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock)
{
	const struct foreman_job *e = foreman_event_job_locked(f, j);
	return e && !e->ended;
}

/* --- the Batch job of an event -------------------------------------------------------------- */

/* Its tasks are asked for again from a little before the newest change that was seen. */
#define OVERLAP_US INT64_C(5000000)

/* A live member, by what the ids of its tasks begin with. */
struct member {
	char prefix[ADAFS_PLAN_PREFIX_LEN];
	struct foreman_job *job;
};

static int by_prefix(const void *a, const void *b)
{
	return strcmp(((const struct member *)a)->prefix, ((const struct member *)b)->prefix);
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct derive_task *)a)->id, ((const struct derive_task *)b)->id);
}

/* The members that have not ended, sorted. NULL: out of memory. */
static struct member *live_members(struct adafs_foreman *f, const struct foreman_job *e,
				   size_t *ret_n)
{
	adafs_mutex_lock(&f->lock);
	struct member *list = calloc(e->n_parts + 1, sizeof(*list));
	*ret_n = 0;
	for (size_t i = 0; list && i < e->n_parts; i++) {
		struct foreman_job *j =
			e->part[i].member ? foreman_table_find(&f->jobs, e->part[i].job_id) : NULL;
		if (!j || !j->submitted || j->ended || !j->body_loaded ||
		    strcmp(j->batch_job_id, e->batch_job_id) != 0)
			continue;
		list[*ret_n].job = j;
		foreman_job_task_prefix(j, list[(*ret_n)++].prefix);
	}
	adafs_mutex_unlock(&f->lock);
	if (list)
		qsort(list, *ret_n, sizeof(*list), by_prefix);
	return list;
}

/* What the sentences of queued tasks are made of, so that members are told when it is another. */
static uint64_t hash_news_locked(const struct adafs_foreman *f, const struct foreman_job *e)
	ADAFS_REQUIRES(&f->lock)
{
	ADAFS_FREE char *text = adafs_fmt("%d %d %s %s %s %s %d %d %d %d %d", e->batch_ended,
					  e->held, e->batch_reason, e->batch_error, f->pool_state,
					  f->pool_trouble, f->pool_nodes > 0, f->pool_usable > 0,
					  f->pool_starting, f->pool_broken, f->pool_preempted);
	uint64_t hash = 14695981039346656037u;
	for (const char *p = text; p && *p; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211u;
	return hash;
}

/* A member's Batch job is its event's. */
static void tell_member(struct adafs_foreman *f, const struct foreman_job *e, struct foreman_job *j)
{
	adafs_mutex_lock(&f->lock);
	j->batch_ended = e->batch_ended;
	j->batch_unsure = false;
	foreman_text_set(&j->batch_reason, e->batch_reason);
	foreman_text_set(&j->batch_error, e->batch_error);
	adafs_mutex_unlock(&f->lock);
}

/*
 * Copies of the tasks of a sorted list that begin with a prefix, without it; looks from *at. What
 * is left out for want of memory is seen again later.
 */
static struct task_list copy_slice(const struct task_list *l, const char *prefix, size_t *at)
{
	size_t len = strlen(prefix), first;
	while (*at < l->n && strcmp(l->task[*at].id, prefix) < 0)
		++*at;
	for (first = *at; *at < l->n && strncmp(l->task[*at].id, prefix, len) == 0;)
		++*at;
	struct task_list slice = { 0 };
	if (*at > first)
		slice.task = malloc((*at - first) * sizeof(*slice.task));
	for (size_t i = first; slice.task && i < *at; i++) {
		struct derive_task *t = &slice.task[slice.n++];
		*t = l->task[i];
		memmove(t->id, t->id + len, strlen(t->id + len) + 1);
	}
	return slice;
}

static bool is_queued(const struct foreman_job *j)
{
	for (size_t k = 0; k < j->n_steps; k++)
		if (j->step[k].state == ADAFS_STATE_QUEUED)
			return true;
	return false;
}

/* Returns how many members have not ended. */
static size_t apply_members(struct tracker *t, const struct foreman_job *e,
			    const struct task_list *l, bool partial, bool news, bool *changed)
{
	struct adafs_foreman *f = t->f;
	size_t n, n_live = 0, at = 0;
	ADAFS_FREE struct member *list = live_members(f, e, &n);
	for (size_t i = 0; list && i < n; i++) {
		struct foreman_job *j = list[i].job;
		struct task_list own = copy_slice(l, list[i].prefix, &at);
		if (own.n || news || !partial) {
			tell_member(f, e, j);
			tracker_read_ends(f, j, &own);
			*changed |= tracker_apply_tasks(t, j, &own, partial, 0);
		}
		free(own.task);
		adafs_mutex_lock(&f->lock);
		n_live += !j->ended;
		t->members_queued = t->members_queued || is_queued(j);
		adafs_mutex_unlock(&f->lock);
	}
	return list ? n_live : 1;
}

static int event_gone(struct adafs_foreman *f, struct foreman_job *e, struct adafs_err *reterr)
{
	size_t n;
	ADAFS_FREE struct member *list = live_members(f, e, &n);
	int rc = tracker_settle_gone(f, e, reterr);
	for (size_t i = 0; list && i < n && !rc; i++)
		rc = tracker_settle_gone(f, list[i].job, reterr);
	return rc;
}

/* Whether this look is at all tasks, and since when else. */
static char *tasks_since(struct adafs_foreman *f, const struct foreman_job *e)
{
	char time[ADAFS_ISO8601_LEN];
	adafs_mutex_lock(&f->lock);
	int64_t since = e->batch_ended ? 0 : e->seen_us;
	adafs_mutex_unlock(&f->lock);
	if (!since)
		return NULL;
	adafs_clock_iso8601(since - OVERLAP_US, time);
	return adafs_fmt("stateTransitionTime ge datetime'%s'", time);
}

static int apply_event(struct tracker *t, struct foreman_job *e, struct task_list *l, bool partial,
		       bool *changed)
{
	struct adafs_foreman *f = t->f;
	if (l->n)
		qsort(l->task, l->n, sizeof(*l->task), by_id);
	adafs_mutex_lock(&f->lock);
	uint64_t told = hash_news_locked(f, e);
	bool news = told != e->told;
	adafs_mutex_unlock(&f->lock);
	size_t n_live = apply_members(t, e, l, partial, news, changed);
	tracker_read_ends(f, e, l);
	*changed |= tracker_apply_tasks(t, e, l, partial, n_live);
	adafs_mutex_lock(&f->lock);
	if (l->newest_us > e->seen_us)
		e->seen_us = l->newest_us;
	e->told = told;
	adafs_mutex_unlock(&f->lock);
	return 0;
}

/* One list of the tasks that changed since the last look; at first, and once it has ended, of all.
 */
int tracker_poll_event(struct tracker *t, struct foreman_job *e, bool *changed,
		       struct adafs_err *reterr)
{
	struct adafs_foreman *f = t->f;
	struct task_list l = { .f = f };
	adafs_mutex_lock(&f->lock);
	bool unsure = e->batch_unsure;
	adafs_mutex_unlock(&f->lock);
	if (unsure) {
		int rc = tracker_ask_why(t, e, &l, reterr);
		if (rc)
			return rc;
	}
	ADAFS_FREE char *id = tracker_batch_id(f, e);
	ADAFS_FREE char *filter = tasks_since(f, e);
	if (!id || !tracker_take_slot(t))
		return 0;
	int rc = adafs_batch_task_list(f->batch, id, filter, DERIVE_TASK_SELECT, tracker_see_task,
				       &l, reterr);
	if (rc == 0)
		rc = apply_event(t, e, &l, filter != NULL, changed);
	else if (rc == -ENOENT)
		rc = event_gone(f, e, reterr);
	free(l.task);
	return rc;
}
