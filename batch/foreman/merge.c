/*
 * foreman/merge.c - events of many images are merged by jobs of their own: now and then while their
 * jobs end, and once all have. Such a job is known by the parts that it merges and their runs, so
 * that every mount makes the same one; nothing is made for a set that has been merged.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/foreman/crash.h"
#include "batch/foreman/internal.h"

/* Of the moments at which jobs end only some are looked at. */
#define LOOK_MS 1000
/* So many runs of a merge that fails are made without being asked for, with so long between them.
 */
#define MAX_RUNS 3
#define RETRY_MS 30000
/* So often a set is merged anew because parts of it were left out. */
#define MAX_AGAIN 9

/* Whether it is a job of images whose part counts in the map. */
static bool counts(const struct foreman_job *j)
{
	bool given_up = j->ended && !*j->manifest_etag && !j->final_pending;
	return !j->n_merged && j->newest && !given_up;
}

bool foreman_merges_event_locked(struct adafs_foreman *f, const struct foreman_job *j)
{
	size_t n = 0;
	if (j->n_merged)
		return false;
	for (size_t i = 0; i < f->jobs.n && n <= ADAFS_PLAN_FLAT; i++) {
		const struct foreman_job *other = f->jobs.item[i];
		n += (other == j || counts(other)) && foreman_same_map(other, j);
	}
	return n > ADAFS_PLAN_FLAT;
}

void foreman_look_at_merges_locked(struct adafs_foreman *f, uint32_t delay_ms)
{
	uint64_t at = adafs_clock_mono_ms() + (delay_ms ? delay_ms : LOOK_MS);
	if (f->merge_at_ms && f->merge_at_ms <= at)
		return;
	f->merge_at_ms = at;
	adafs_cond_signal(&f->submitter_wake);
}

static size_t find_stale_locked(struct adafs_foreman *f, const char *event, const char *pipeline)
	ADAFS_REQUIRES(&f->lock)
{
	ADAFS_FREE char *name = adafs_fmt("%s\n%s", event, pipeline);
	size_t i = 0;
	while (name && i < f->n_stale_maps && strcmp(f->stale_map[i], name) != 0)
		i++;
	return i;
}

bool foreman_merge_is_wanted_locked(struct adafs_foreman *f, const struct foreman_job *j)
{
	return find_stale_locked(f, j->event, j->pipeline) < f->n_stale_maps;
}

void foreman_want_merge_locked(struct adafs_foreman *f, const char *event, const char *pipeline)
{
	if (find_stale_locked(f, event, pipeline) == f->n_stale_maps) {
		char **list = realloc(f->stale_map, (f->n_stale_maps + 1) * sizeof(char *));
		char *name = list ? adafs_fmt("%s\n%s", event, pipeline) : NULL;
		if (list)
			f->stale_map = list;
		if (name)
			f->stale_map[f->n_stale_maps++] = name;
	}
	foreman_look_at_merges_locked(f, 0);
}

/* The jobs of one map as they are now. */
struct map {
	struct foreman_job **job;
	size_t n;
	size_t n_counting, n_ended;
	struct foreman_job *last; /* merge of it */
	int64_t begun_us;         /* the newest job of images */
	int64_t done_us;          /* the newest end of one that was not cancelled */
	bool merging;
	bool stale; /* it was asked for */
};

static void look_at_map(struct map *m)
{
	for (size_t i = 0; i < m->n; i++) {
		struct foreman_job *j = m->job[i];
		if (j->n_merged) {
			m->merging |= !j->ended || j->final_pending;
			if (!m->last || j->created_us > m->last->created_us)
				m->last = j;
		} else if (counts(j)) {
			m->n_counting++;
			m->n_ended += j->ended && !j->final_pending;
			if (j->created_us > m->begun_us)
				m->begun_us = j->created_us;
			if (j->ended && j->state != ADAFS_STATE_CANCELLED &&
			    j->ended_us > m->done_us)
				m->done_us = j->ended_us;
		}
	}
}

/* Whether enough is new: all that there is, or a quarter more than in the last map. */
static bool is_due(const struct map *m)
{
	size_t before = m->last && m->last->state == ADAFS_STATE_COMPLETED ? m->last->n_merged : 0;
	size_t more = before / 4 > ADAFS_PLAN_FLAT ? before / 4 : ADAFS_PLAN_FLAT;
	/* Of a small event only what no job of its own has merged since. */
	bool again = m->last && m->last->state == ADAFS_STATE_FAILED &&
		     m->last->created_us > m->begun_us;
	if ((m->stale || again) && !m->merging && m->n_ended == m->n_counting)
		return true;
	if (m->n_counting <= ADAFS_PLAN_FLAT || m->merging || m->n_ended == 0)
		return false;
	return m->n_ended == m->n_counting || m->n_ended >= before + more;
}

/* What the ids of members' tasks begin with, sorted. */
struct prefixes {
	char (*item)[ADAFS_PLAN_PREFIX_LEN];
	size_t n;
};

/* Whether its last eight characters tell a job from the members that are there; adds them, then. */
static bool take_prefix(struct prefixes *p, const struct foreman_job *j)
{
	char own[ADAFS_PLAN_PREFIX_LEN];
	size_t low = 0, high = p->n;
	adafs_plan_task_prefix(j->id, own);
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(p->item[mid], own);
		if (c == 0)
			return false;
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	memmove(p->item[low + 1], p->item[low], (p->n++ - low) * sizeof(*p->item));
	memcpy(p->item[low], own, sizeof(own));
	return true;
}

/*
 * The parts that have ended, into a job, and up to so many members; their runs to *ret_runs. 0 or
 * -ENOMEM.
 */
static int take_parts(struct adafs_foreman *f, const struct map *m, size_t most,
		      struct foreman_job *to, unsigned **ret_runs) ADAFS_REQUIRES(&f->lock)
{
	unsigned *runs = calloc(m->n + 1, sizeof(*runs));
	struct prefixes members = { .item = calloc(m->n + 1, sizeof(*members.item)) };
	int rc = runs && members.item ? 0 : -ENOMEM;
	for (size_t i = 0; rc == 0 && i < m->n; i++) {
		const struct foreman_job *j = m->job[i];
		bool member = to->n_members < most && foreman_goes_with_event_locked(f, j) &&
			      take_prefix(&members, j);
		if (j->n_merged || (!member && (!j->ended || j->final_pending)))
			continue;
		if (!member && !counts(j)) {
			to->merged_runs += j->run;
			continue;
		}
		runs[to->n_parts] = j->run;
		to->n_members += member;
		/* What was cancelled before its last step left none, or that of an earlier run. */
		bool must = j->state != ADAFS_STATE_CANCELLED && !j->deletion && !j->dropped_us;
		rc = foreman_job_add_part(to, j->id, must, member);
	}
	free(members.item);
	to->n_merged = to->n_parts;
	*ret_runs = runs;
	return rc;
}

/* This set was merged, or is to be merged again because that failed. */
static void see_known_locked(struct adafs_foreman *f, struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock)
{
	int64_t due_us = j->ended_us + (int64_t)RETRY_MS * 1000 * j->run;
	int64_t left_us = due_us - adafs_clock_wall_us();
	if (j->state != ADAFS_STATE_FAILED || j->run >= MAX_RUNS || f->reads_only)
		return;
	if (left_us > 0) {
		foreman_look_at_merges_locked(f, (uint32_t)(left_us / 1000) + 1);
		return;
	}
	adafs_log(WARN, "foreman", "the merge '%s' has failed: it is tried again", j->id);
	foreman_start_rerun_locked(f, j);
	foreman_touch_locked(f, j);
}

/*
 * A merge that was to have these parts has ended without some: they went to Batch elsewhere, or it
 * was cancelled and they have run since.
 */
static bool lacks_parts(const struct map *m, const struct foreman_job *known, size_t n)
{
	return known->ended && !known->final_pending &&
	       (known->n_merged != n ||
		(known->state == ADAFS_STATE_CANCELLED && m->done_us > known->ended_us));
}

static struct foreman_job *new_merge_locked(struct adafs_foreman *f, const struct map *m,
					    size_t most, struct foreman_job **ret_known)
	ADAFS_REQUIRES(&f->lock)
{
	char id[ADAFS_JOB_ID_LEN];
	ADAFS_FREE unsigned *runs = NULL;
	const struct foreman_job *any = m->job[0];
	struct foreman_job *j = foreman_job_new("");
	int rc = j ? take_parts(f, m, most, j, &runs) : -ENOMEM;
	ADAFS_FREE struct adafs_plan_part *parts = rc == 0 ? foreman_job_parts(j) : NULL;
	*ret_known = NULL;
	for (unsigned again = 0; parts && again < MAX_AGAIN; again++) {
		adafs_plan_merge_id(any->event, any->pipeline, parts, runs, j->n_parts, again, id);
		*ret_known = foreman_table_find(&f->jobs, id);
		if (!*ret_known || !lacks_parts(m, *ret_known, j->n_parts))
			break;
	}
	if (!parts || *ret_known) {
		foreman_job_free(j);
		return NULL;
	}
	bool own = strcmp(any->pipeline, adafs_pipeline_name(f->pipeline)) == 0;
	foreman_text_set(&j->id, id);
	foreman_text_set(&j->event, any->event);
	foreman_text_set(&j->pipeline, any->pipeline);
	foreman_text_set(&j->digest, own ? adafs_pipeline_digest(f->pipeline) : any->digest);
	foreman_text_set(&j->waiting_for, "is being submitted");
	j->keep_ms = f->keep_ms;
	j->created_us = j->changed_us = foreman_begin_us_locked(f, j);
	if (j->n_members)
		foreman_job_log(j, j->created_us,
				"runs %zu jobs of event '%s' and merges %zu parts", j->n_members,
				j->event, j->n_parts);
	else
		foreman_job_log(j, j->created_us, "merges %zu of %zu parts", m->n_ended,
				m->n_counting);
	return j;
}

static void make_merge_locked(struct adafs_foreman *f, const struct map *m) ADAFS_REQUIRES(&f->lock)
{
	struct foreman_job *known, *j = new_merge_locked(f, m, 0, &known);
	if (known)
		see_known_locked(f, known);
	else if (j && foreman_table_insert(&f->jobs, j))
		foreman_job_free(j);
	else if (j)
		foreman_touch_locked(f, j);
}

struct foreman_job *foreman_new_merge_locked(struct adafs_foreman *f, const char *event,
					     const char *pipeline, size_t most,
					     struct foreman_job **ret_known)
{
	struct map m = { .job = calloc(f->jobs.n + 1, sizeof(struct foreman_job *)) };
	*ret_known = NULL;
	if (f->newest_dirty)
		foreman_mark_newest_locked(f);
	for (size_t i = 0; m.job && i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (strcmp(j->event, event) == 0 && strcmp(j->pipeline, pipeline) == 0)
			m.job[m.n++] = j;
	}
	look_at_map(&m);
	struct foreman_job *made = m.n ? new_merge_locked(f, &m, most, ret_known) : NULL;
	free(m.job);
	return made;
}

static int by_map(const void *a, const void *b)
{
	const struct foreman_job *x = *(struct foreman_job *const *)a;
	const struct foreman_job *y = *(struct foreman_job *const *)b;
	int c = strcmp(x->event, y->event);
	if (!c)
		c = strcmp(x->pipeline, y->pipeline);
	return c ? c : strcmp(x->id, y->id);
}

void foreman_make_merges_locked(struct adafs_foreman *f)
{
	size_t n = f->jobs.n;
	ADAFS_FREE struct foreman_job **jobs = calloc(n + 1, sizeof(struct foreman_job *));
	f->merge_at_ms = 0;
	if (f->newest_dirty)
		foreman_mark_newest_locked(f);
	if (!jobs || !n || f->reads_only)
		return;
	memcpy(jobs, f->jobs.item, n * sizeof(struct foreman_job *));
	qsort(jobs, n, sizeof(struct foreman_job *), by_map);
	for (size_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && foreman_same_map(jobs[i], jobs[end]);)
			end++;
		struct map m = { .job = jobs + i, .n = end - i };
		size_t stale = find_stale_locked(f, jobs[i]->event, jobs[i]->pipeline);
		m.stale = stale < f->n_stale_maps;
		look_at_map(&m);
		if (!is_due(&m))
			continue;
		make_merge_locked(f, &m);
		if (!m.stale)
			continue;
		free(f->stale_map[stale]);
		f->stale_map[stale] = f->stale_map[--f->n_stale_maps];
	}
}

int foreman_intend_merge(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	adafs_mutex_lock(&f->lock);
	bool written = *j->manifest_etag;
	adafs_mutex_unlock(&f->lock);
	if (written)
		return 0;
	int rc = foreman_put_manifest(f, j, NULL, reterr);
	if (rc == -EEXIST || rc == -ESTALE)
		rc = foreman_adopt_manifest(f, j, reterr);
	if (rc == 0)
		foreman_crash_point("after-merge-manifest");
	return rc;
}
