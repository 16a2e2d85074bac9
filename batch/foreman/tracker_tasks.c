/* foreman/tracker_tasks.c - what Batch says of a job and its tasks becomes states and sentences. */
#include "batch/foreman/tracker.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"

void tracker_take_job_locked(struct foreman_job *j, const cJSON *item)
{
	struct derive_job d = { 0 };
	derive_job_parse(item, &d);
	j->batch_ended = d.ended;
	j->batch_unsure = false;
	j->held = d.held;
	foreman_text_set(&j->batch_reason, d.reason);
	foreman_text_set(&j->batch_error, d.scheduling_error);
}

int tracker_see_task(void *arg, const cJSON *item)
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
	/* A list of thousands takes its time, page by page: that is no silence. */
	if (l->f && l->n % 256 == 255) {
		adafs_mutex_lock(&l->f->lock);
		foreman_asks_locked(l->f, adafs_clock_mono_ms());
		adafs_mutex_unlock(&l->f->lock);
	}
	struct derive_task *task = &l->task[l->n];
	size_t skip = strlen(l->prefix);
	if (derive_task_parse(item, task) || strncmp(task->id, l->prefix, skip) != 0)
		return 0;
	memmove(task->id, task->id + skip, strlen(task->id + skip) + 1);
	if (task->changed_us > l->newest_us)
		l->newest_us = task->changed_us;
	l->n++;
	return 0;
}

/* Whether every task of a job has ended. */
static bool all_completed(const struct foreman_job *j, const struct task_list *l)
{
	size_t n = 0;
	for (size_t i = 0; i < l->n; i++)
		n += l->task[i].state == DERIVE_TASK_COMPLETED;
	return n == l->n && n > 0 && j->n_steps > 0;
}

/* It was not among the live jobs, and yet not all of its tasks have ended: why is worth a question.
 */
int tracker_ask_why(struct tracker *t, struct foreman_job *j, const struct task_list *l,
		    struct adafs_err *reterr)
{
	struct adafs_foreman *f = t->f;
	ADAFS_JSON *job = NULL;
	adafs_mutex_lock(&f->lock);
	bool ask = j->batch_unsure && !all_completed(j, l);
	adafs_mutex_unlock(&f->lock);
	ADAFS_FREE char *id = ask ? tracker_batch_id(f, j) : NULL;
	if (!id || !tracker_take_slot(t))
		return 0;
	int rc = adafs_batch_job_get(f->batch, id, NULL, &job, reterr);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	adafs_mutex_lock(&f->lock);
	tracker_take_job_locked(j, job);
	adafs_mutex_unlock(&f->lock);
	return 0;
}

/* --- what a failed step says itself --------------------------------------------------------- */

#define MAX_END 65536

static bool failed_by_exit(const struct derive_task *t)
{
	return t->state == DERIVE_TASK_COMPLETED && !t->success && t->has_exit_code &&
	       t->exit_code != ADAFS_EXIT_EMPTY && t->exit_code != ADAFS_EXIT_SKIPPED;
}

/* The next step that failed and whose end.json was not asked for: its place, else -1. */
static int unasked_locked(const struct foreman_job *j, const struct task_list *l)
{
	for (size_t i = 0; i < j->n_steps; i++)
		for (size_t k = 0; !j->step[i].asked && !j->step[i].reused && k < l->n; k++)
			if (failed_by_exit(&l->task[k]) &&
			    strcasecmp(l->task[k].id, j->step[i].task_id) == 0)
				return (int)i;
	return -1;
}

/*
 * The message of a failed step's end.json: which output is missing, which input. One request a
 * failure; what cannot be read is left out.
 */
void tracker_read_ends(struct adafs_foreman *f, struct foreman_job *j, const struct task_list *l)
{
	for (;;) {
		struct adafs_err err = { 0 };
		ADAFS_FREE char *text = NULL;
		size_t len = 0;
		adafs_mutex_lock(&f->lock);
		foreman_asks_locked(f, 0); /* this goes to the other service */
		int i = unasked_locked(j, l);
		ADAFS_FREE char *blob =
			i < 0 ? NULL : adafs_fmt("%send.json", j->step[i].work_prefix);
		if (i >= 0)
			j->step[i].asked = true;
		adafs_mutex_unlock(&f->lock);
		if (i < 0 || !blob)
			return;
		if (adafs_blob_get_text(f->blob, f->container, blob, MAX_END, &text, &len, NULL,
					&err))
			continue;
		ADAFS_JSON *end = adafs_json_parse(text, len, NULL);
		adafs_mutex_lock(&f->lock);
		if ((size_t)i < j->n_steps)
			foreman_text_set(&j->step[i].told, adafs_json_str(end, "message", ""));
		adafs_mutex_unlock(&f->lock);
	}
}

/* --- what the tasks say ------------------------------------------------------------------ */
static void fill_derive_job(const struct foreman_job *j, struct derive_job *d)
{
	*d = (struct derive_job){ .ended = j->batch_ended,
				  .cancel = j->cancel,
				  .held = j->held && !j->batch_ended };
	snprintf(d->reason, sizeof(d->reason), "%s", j->batch_reason);
	snprintf(d->scheduling_error, sizeof(d->scheduling_error), "%s", j->batch_error);
}

static int times_taken(const struct foreman_job *j)
{
	int n = 0;
	for (size_t i = 0; i < j->n_steps; i++)
		n += j->step[i].n_taken;
	return n;
}

/* Bring a job up to date with its tasks. Returns whether anything changed. */
bool tracker_apply_tasks(struct tracker *t, struct foreman_job *j, const struct task_list *l,
			 bool partial, size_t n_awaited)
{
	struct adafs_foreman *f = t->f;
	struct derive_job d;
	adafs_mutex_lock(&f->lock);
	/* By another thread, while its tasks were asked for; or what they are is not known yet. */
	if (j->ended || !j->n_steps) {
		j->n_gone = 0;
		adafs_mutex_unlock(&f->lock);
		return false;
	}
	struct derive_pool pool = { .id = f->pool,
				    .state = f->pool_state,
				    .nodes = f->pool_nodes,
				    .trouble = f->pool_trouble,
				    .scaled = f->pool_scaled,
				    .image = f->pool_boxes ? adafs_pipeline_image(f->pipeline)
							   : NULL,
				    .usable = f->pool_usable,
				    .starting = f->pool_starting,
				    .broken = f->pool_broken,
				    .preempted = f->pool_preempted };
	fill_derive_job(j, &d);
	d.partial = partial;
	d.n_awaited = n_awaited;
	j->n_gone = 0;
	int n_taken = times_taken(j);
	bool changed = derive_steps(j, l->task, l->n, &d, &pool);
	t->taken_back |= times_taken(j) > n_taken;
	enum adafs_state state = derive_job_state(j, &d);
	ADAFS_FREE char *sentence = derive_job_sentence(j, state, &d, &pool);
	if (state != j->state) {
		j->state = state;
		j->changed_us = adafs_clock_wall_us();
		changed = true;
	}
	if (sentence)
		changed |= foreman_text_set(&j->waiting_for, sentence);
	if (!n_awaited && derive_all_ended(j) && j->n_steps && !j->ended) {
		tracker_end_job_locked(f, j);
		changed = true;
	}
	if (changed)
		foreman_touch_locked(f, j);
	adafs_mutex_unlock(&f->lock);
	return changed;
}

/* A job that is looked at by itself: one list of its tasks. */
int tracker_poll_tasks(struct tracker *t, struct foreman_job *j, bool *changed,
		       struct adafs_err *reterr)
{
	struct adafs_foreman *f = t->f;
	struct task_list l = { 0 };
	adafs_mutex_lock(&f->lock);
	foreman_job_task_prefix(j, l.prefix);
	adafs_mutex_unlock(&f->lock);
	ADAFS_FREE char *id = tracker_batch_id(f, j);
	ADAFS_FREE char *filter = *l.prefix ? adafs_fmt("startswith(id,'%s')", l.prefix) : NULL;
	if (!id || !tracker_take_slot(t))
		return 0;
	int rc = adafs_batch_task_list(f->batch, id, filter, DERIVE_TASK_SELECT, tracker_see_task,
				       &l, reterr);
	if (rc == 0)
		rc = tracker_ask_why(t, j, &l, reterr);
	if (rc == 0) {
		tracker_read_ends(f, j, &l);
		*changed |= tracker_apply_tasks(t, j, &l, false, 0);
	} else if (rc == -ENOENT) {
		rc = tracker_settle_gone(f, j, reterr);
	}
	free(l.task);
	return rc;
}
