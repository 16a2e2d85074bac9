/*
 * foreman/event_submit.c - the members of an event's Batch job. The job and its manifest are there
 * already; each member is claimed by a manifest that names that Batch job, before there is a task
 * of it, so that no other mount submits it; its tasks go in with those of others, a collection at a
 * time. All of it may have been done before, by this or another mount.
 */
#include <errno.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/foreman/crash.h"
#include "batch/foreman/work.h"

/* So many tasks fit into one request. */
#define COLLECTION 100

static int plan_member(struct work *w, const struct work *event, struct adafs_err *reterr)
{
	adafs_plan_task_prefix(w->job->id, w->task_prefix);
	w->batch_job_id = event->plan->batch_job_id;
	w->no_merge = true;
	return work_plan(w, reterr);
}

static bool is_ours(const struct foreman_job *j, const struct work *event)
{
	return strcmp(j->batch_job_id, event->plan->batch_job_id) == 0;
}

/* Another mount may have been first, with the same Batch job or another. */
static int write_claim(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	int rc = foreman_put_manifest(f, j, NULL, reterr);
	if (rc == -EEXIST || rc == -ESTALE)
		return foreman_adopt_manifest(f, j, reterr);
	if (rc)
		return rc;
	adafs_mutex_lock(&f->lock);
	j->submitted = j->body_loaded = true;
	foreman_text_set(&j->waiting_for, "submitted: waits for a free slot in the pool");
	foreman_job_log(j, adafs_clock_wall_us(), "submitted with event '%s' as tasks of %s",
			j->event, j->batch_job_id);
	foreman_touch_locked(f, j);
	adafs_mutex_unlock(&f->lock);
	return 0;
}

static int send_tasks(struct work *w, cJSON *tasks, struct adafs_err *reterr)
{
	int rc = 0;
	if (cJSON_GetArraySize(tasks))
		rc = adafs_batch_task_add_all(w->f->batch, w->plan->batch_job_id, tasks, reterr);
	while (cJSON_GetArraySize(tasks))
		cJSON_DeleteItemFromArray(tasks, cJSON_GetArraySize(tasks) - 1);
	return rc;
}

/* The tasks of a member's plan, to those that wait to be sent; a full collection goes first. */
static int add_tasks(struct work *w, struct cJSON *plan, cJSON *tasks, struct adafs_err *reterr)
{
	int rc = 0;
	if (cJSON_GetArraySize(tasks) + cJSON_GetArraySize(plan) > COLLECTION)
		rc = send_tasks(w, tasks, reterr);
	while (!rc && cJSON_GetArraySize(plan))
		cJSON_AddItemToArray(tasks, cJSON_DetachItemFromArray(plan, 0));
	return rc;
}

/* How a job stands that is to be a member. */
struct member_state {
	bool fresh; /* nobody has submitted it */
	bool in;    /* it is one */
	bool load;  /* and its images are not known here yet */
};

static struct member_state look(const struct work *event, const struct foreman_job *j)
{
	adafs_mutex_lock(&event->f->lock);
	struct member_state s = {
		.fresh = !j->submitted && !j->ended && !*j->manifest_etag && !j->cancel,
		.in = j->submitted && is_ours(j, event),
		.load = j->submitted && !j->body_loaded,
	};
	adafs_mutex_unlock(&event->f->lock);
	return s;
}

/* Claim it; the manifest comes before its tasks. Its images may be gone: then it is none. */
static int make_claim(struct work *w, const struct work *event, struct adafs_err *reterr)
{
	int rc = work_take_snapshots(w, reterr);
	if ((rc == -ESTALE || rc == -ENOENT) &&
	    strcmp(reterr->service_code, "ContainerNotFound") != 0) {
		foreman_give_up(event->f, w->job, reterr->msg);
		return 0;
	}
	if (!rc)
		rc = plan_member(w, event, reterr);
	if (!rc)
		rc = work_take(w, reterr);
	return rc ? rc : write_claim(event->f, w->job, reterr);
}

/* Claim a job and take its tasks. *ret_in: whether it is a member once this returns 0. */
static int take_member(struct work *event, struct foreman_job *j, cJSON *tasks, bool *ret_in,
		       struct adafs_err *reterr)
{
	struct member_state s = look(event, j);
	struct work w;
	int rc = 0;
	if (s.in && s.load)
		rc = foreman_load_body(event->f, j, reterr);
	if (rc || (!s.fresh && !s.in))
		return rc;
	work_in_hand(event->f, j, true);
	rc = work_init(&w, event->f, j, reterr);
	if (!rc && s.fresh)
		rc = make_claim(&w, event, reterr);
	else if (!rc)
		rc = plan_member(&w, event, reterr);
	work_in_hand(event->f, j, false);
	*ret_in = !rc && look(event, j).in;
	if (*ret_in)
		rc = add_tasks(event, w.plan->tasks, tasks, reterr);
	work_clear(&w);
	return rc;
}

/* What keeps this one image out would do so again: the others do not wait for it. */
static bool is_its_own(const struct adafs_err *err)
{
	return !foreman_transient(err) && err->rc != -ENOMEM &&
	       (err->http_status == 0 || err->http_status == 409);
}

/* It goes by itself, if it can. */
static void leave_out(struct adafs_foreman *f, struct foreman_job *j, const char *why)
{
	adafs_mutex_lock(&f->lock);
	j->alone = true;
	foreman_text_set(&j->waiting_for, why);
	foreman_job_log(j, adafs_clock_wall_us(), "not with its event: %s", why);
	foreman_touch_locked(f, j);
	adafs_mutex_unlock(&f->lock);
}

/* Members are many requests: each of them is an answer. false: there are to be no more. */
static bool tell_alive(const struct work *w)
{
	struct adafs_foreman *f = w->f;
	adafs_mutex_lock(&f->lock);
	foreman_submits_locked(f, adafs_clock_mono_ms());
	bool go = !f->stopping && !w->job->cancel;
	adafs_mutex_unlock(&f->lock);
	return go;
}

/* From now on its members are followed. */
static void open_job(struct work *w)
{
	adafs_mutex_lock(&w->f->lock);
	foreman_text_set(&w->job->batch_job_id, w->plan->batch_job_id);
	w->job->open = true;
	adafs_cond_signal(&w->f->tracker_wake);
	adafs_mutex_unlock(&w->f->lock);
}

/* Nodes work on the first members while the last are claimed. */
static int take_members(struct work *w, bool *in, struct adafs_err *reterr)
{
	open_job(w);
	ADAFS_JSON *tasks = cJSON_CreateArray();
	int rc = tasks ? 0 : -ENOMEM;
	for (size_t i = 0; i < w->n_parts && !rc; i++) {
		in[i] = !w->part[i].member;
		if (in[i])
			continue;
		adafs_mutex_lock(&w->f->lock);
		struct foreman_job *j = foreman_table_find(&w->f->jobs, w->part[i].job_id);
		adafs_mutex_unlock(&w->f->lock);
		if (!tell_alive(w))
			return adafs_err_set(reterr, -ECANCELED, "stopped before all were in");
		if (j)
			rc = take_member(w, j, tasks, &in[i], reterr);
		if (rc && is_its_own(reterr)) {
			leave_out(w->f, j, reterr->msg);
			*reterr = (struct adafs_err){ 0 };
			rc = 0;
		}
		if (i != w->n_parts / 2 || !foreman_crash_wanted("after-half-members"))
			continue;
		rc = rc ? rc : send_tasks(w, tasks, reterr);
		foreman_crash_point("after-half-members");
	}
	return rc ? rc : send_tasks(w, tasks, reterr);
}

/* What is no member after all is no part either: its own job, if it has one, is another's part. */
static void keep_members(struct work *w, const bool *in)
{
	size_t n = 0;
	adafs_mutex_lock(&w->f->lock);
	struct foreman_job *e = w->job;
	e->n_members = 0;
	for (size_t i = 0; i < w->n_parts && i < e->n_parts; i++) {
		if (!in[i])
			continue;
		e->n_members += e->part[i].member;
		e->part[n] = e->part[i];
		w->part[n++] = w->part[i];
	}
	w->n_parts = e->n_parts = e->n_merged = n;
	adafs_mutex_unlock(&w->f->lock);
}

int work_add_members(struct work *w, struct adafs_err *reterr)
{
	ADAFS_FREE bool *in = calloc(w->n_parts + 1, sizeof(*in));
	int rc = in ? take_members(w, in, reterr) : -ENOMEM;
	if (rc)
		return reterr->rc ? rc : adafs_err_set(reterr, rc, "out of memory");
	bool any = false;
	for (size_t i = 0; i < w->n_parts; i++)
		any |= in[i];
	if (!any)
		return adafs_err_set(reterr, -ENODATA, "no image of event '%s' is left", w->event);
	keep_members(w, in);
	return work_plan(w, reterr); /* its leaves are those that are left */
}
