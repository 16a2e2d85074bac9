/*
 * foreman/submit.c - one image (or pair) to one Batch job, exactly once. Every step may be the last
 * that this process does, and may have been done before by this or another mount:
 *
 *   snapshot of each image   pins the content; an orphan of a crash is harmless
 *   POST job                 409: read the job, compare its metadata, adopt its snapshots
 *   addtaskcollection        ids are deterministic, TaskExists is success
 *   PATCH terminatejob       from here on the job ends with no client alive
 *   Put manifest             If-None-Match: *, last: from here on nobody submits the image again
 *
 * A job that ended before all its tasks were in takes no more: its id is dead and the next run
 * (<job-id>-r2) is used; so is it when the id belongs to a job of somebody else.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/foreman/crash.h"
#include "batch/foreman/manifest.h"
#include "batch/foreman/work.h"

#define PROVE_AGAIN_MS 500
#define MAX_WRITES 3

/* --- the Batch job ------------------------------------------------------------------------ */

const char *foreman_metadata_of(const cJSON *job, const char *name)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, adafs_json_get(job, "metadata"))
	{
		if (strcmp(adafs_json_str(item, "name", ""), name) == 0)
			return adafs_json_str(item, "value", "");
	}
	return "";
}

bool foreman_owns(const struct adafs_foreman *f, const cJSON *job, const char *id)
{
	return strcmp(foreman_metadata_of(job, "adafsowner"), f->owner) == 0 &&
	       strcmp(foreman_metadata_of(job, "adafsjob"), id) == 0;
}

enum verdict { ADOPT, ALL_IN, NEXT_RUN, GONE };

/* Those of members go in before those of the job itself. */
static int count_task(void *arg, const cJSON *item)
{
	const char *id = adafs_json_str(item, "id", "");
	*(size_t *)arg += strcspn(id, "-") != ADAFS_PLAN_PREFIX_LEN - 2;
	return 0;
}

static int adopt_snapshots(struct work *w, const char *times, struct adafs_err *reterr)
{
	for (size_t i = 0; i < w->n && *times; i++) {
		size_t len = strcspn(times, " ");
		ADAFS_FREE char *one = strndup(times, len);
		w->image[i].snapshot = one ? work_keep(w, one) : NULL;
		if (!w->image[i].snapshot)
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
		times += len + (times[len] == ' ');
	}
	return 0;
}

/* The id is taken: by whom, and is it of use? */
static int inspect(struct work *w, enum verdict *ret, struct adafs_err *reterr)
{
	const char *id = w->plan->batch_job_id;
	ADAFS_JSON *job = NULL;
	int rc = adafs_batch_job_get(w->f->batch, id, NULL, &job, reterr);
	if (rc == -ENOENT) {
		*ret = GONE;
		return 0;
	}
	if (rc)
		return rc;
	if (!foreman_owns(w->f, job, w->job->id)) {
		adafs_log(WARN, "foreman",
			  "Batch job '%s' belongs to somebody else: taking the next id", id);
		*ret = NEXT_RUN;
		w->foreign = true;
		return 0;
	}
	const char *state = adafs_json_str(job, "state", "");
	if (strcasecmp(state, "deleting") == 0) {
		*ret = NEXT_RUN;
		return 0;
	}
	rc = adopt_snapshots(w, foreman_metadata_of(job, "adafssnapshots"), reterr);
	if (rc)
		return rc;
	*ret = ADOPT;
	if (strcasecmp(state, "completed") != 0 && strcasecmp(state, "terminating") != 0)
		return 0;
	size_t n = 0;
	rc = adafs_batch_task_list(w->f->batch, id, NULL, "id", count_task, &n, reterr);
	*ret = n >= (size_t)cJSON_GetArraySize(w->plan->tasks) ? ALL_IN : NEXT_RUN;
	return rc;
}

static bool job_closed(const struct adafs_err *err)
{
	const char *c = err->service_code;
	return strcmp(c, "JobCompleted") == 0 || strcmp(c, "JobBeingTerminated") == 0 ||
	       strcmp(c, "JobBeingDeleted") == 0 || strcmp(c, "JobNotFound") == 0;
}

static int add_half(struct work *w, int first, int end, struct adafs_err *reterr)
{
	ADAFS_JSON *half = cJSON_CreateArray();
	for (int i = first; i < end; i++)
		cJSON_AddItemToArray(half,
				     cJSON_Duplicate(cJSON_GetArrayItem(w->plan->tasks, i), true));
	return adafs_batch_task_add_all(w->f->batch, w->plan->batch_job_id, half, reterr);
}

static int add_tasks(struct work *w, struct adafs_err *reterr)
{
	const char *half = w->n_parts ? "after-half-merge" : "after-half-tasks";
	if (foreman_crash_wanted(half)) {
		int n = cJSON_GetArraySize(w->plan->tasks);
		int rc = add_half(w, 0, n / 2, reterr);
		if (rc)
			return rc;
		foreman_crash_point(half);
		return add_half(w, n / 2, n, reterr);
	}
	return adafs_batch_task_add_all(w->f->batch, w->plan->batch_job_id, w->plan->tasks, reterr);
}

static int fill_job(struct work *w, struct adafs_err *reterr)
{
	int rc = 0;
	/* Before there is a task that could start. */
	if (w->hold)
		rc = adafs_batch_job_disable(w->f->batch, w->plan->batch_job_id, reterr);
	if (!rc && w->has_members)
		rc = work_add_members(w, reterr);
	if (!rc)
		rc = add_tasks(w, reterr);
	if (rc)
		return rc;
	foreman_crash_point("before-patch");
	rc = adafs_batch_job_patch(w->f->batch, w->plan->batch_job_id, w->plan->patch, reterr);
	if (rc)
		return rc;
	foreman_crash_point("after-patch");
	return 0;
}

/* One try with one run's id. -EEXIST: take the next run; -EAGAIN with err.rc 0: look at this one
 * again. */
static int try_run(struct work *w, struct adafs_err *reterr)
{
	struct adafs_err err = { 0 };
	enum verdict verdict = ADOPT;
	int rc = work_plan(w, reterr);
	if (!rc)
		rc = work_mark_job(w, reterr);
	if (rc)
		return rc;
	rc = adafs_batch_job_add(w->f->batch, w->plan->job, &err);
	if (rc == 0)
		foreman_crash_point(w->n_parts ? "after-merge-job" : "after-job");
	if (rc == -EEXIST || (rc && strcmp(err.service_code, "JobExists") == 0) ||
	    (rc && strcmp(err.service_code, "JobBeingDeleted") == 0)) {
		rc = inspect(w, &verdict, &err);
		if (rc == 0 && verdict == NEXT_RUN)
			return adafs_err_set(reterr, -EEXIST, "taken");
		if (rc == 0 && verdict == GONE)
			return adafs_err_set(reterr, -EAGAIN, "Batch job '%s' is being deleted",
					     w->plan->batch_job_id);
		if (rc == 0)
			rc = work_plan(w, &err); /* with the snapshots that were adopted */
	}
	if (rc)
		return adafs_err_copy(reterr, &err);
	if (verdict == ALL_IN)
		return 0;
	rc = fill_job(w, &err);
	if (rc && job_closed(&err)) {
		/*
		 * It ended under our hands: with all tasks it is done, without them the id is dead.
		 */
		rc = inspect(w, &verdict, &err);
		if (rc == 0 && verdict != ALL_IN)
			return adafs_err_set(reterr, verdict == NEXT_RUN ? -EEXIST : -EAGAIN,
					     "Batch job '%s' was closed", w->plan->batch_job_id);
	}
	return rc ? adafs_err_copy(reterr, &err) : 0;
}

static int run_job(struct work *w, struct adafs_err *reterr)
{
	for (; w->run <= FOREMAN_MAX_RUNS; w->run++) {
		int rc = try_run(w, reterr);
		/* Its members name this Batch job: how far they got is the tracker's to see. */
		if (rc == -EEXIST && w->has_members && !w->foreign)
			return 0;
		if (rc == -EEXIST && w->has_members)
			return adafs_err_set(reterr, -ENODATA,
					     "Batch job '%s' belongs to somebody else",
					     w->plan->batch_job_id);
		if (rc != -EEXIST)
			return rc;
	}
	return adafs_err_set(reterr, -EEXIST, "job '%s' has used up its %d runs", w->job->id,
			     FOREMAN_MAX_RUNS);
}

/* --- the manifest ------------------------------------------------------------------------- */

int foreman_put_manifest(struct adafs_foreman *f, struct foreman_job *j, const char *if_match,
			 struct adafs_err *reterr)
{
	struct adafs_blob_meta meta = { 0 };
	char etag[ADAFS_ETAG_LEN] = "";
	adafs_mutex_lock(&f->lock);
	ADAFS_FREE char *body = manifest_body(j, f->pool);
	int rc = manifest_meta(j, &meta);
	adafs_mutex_unlock(&f->lock);
	ADAFS_FREE char *blob = manifest_blob(j->id);
	if (rc || !body || !blob) {
		adafs_blob_meta_clear(&meta);
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	struct adafs_blob_source src = { .data = body, .fd = -1, .len = strlen(body) };
	struct adafs_blob_put put = {
		.content_type = "application/json",
		.meta = &meta,
		.cond = { .if_match = if_match, .if_none_match = if_match ? NULL : "*" },
	};
	rc = adafs_blob_put(f->blob, f->container, blob, &src, &put, etag, reterr);
	adafs_blob_meta_clear(&meta);
	if (rc)
		return rc;
	adafs_mutex_lock(&f->lock);
	strcpy(j->manifest_etag, etag);
	adafs_mutex_unlock(&f->lock);
	return 0;
}

/* Write the first manifest of a run; when another mount was first, its manifest is the truth. */
static int write_manifest(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	char old[ADAFS_ETAG_LEN];
	bool moved = true;
	int rc = -ESTALE;
	adafs_mutex_lock(&f->lock);
	ADAFS_FREE char *mine = strdup(j->batch_job_id);
	adafs_mutex_unlock(&f->lock);
	for (int i = 0; i < MAX_WRITES && moved; i++) { /* a verb of this mount writes it, too */
		adafs_mutex_lock(&f->lock);
		strcpy(old, j->manifest_etag);
		adafs_mutex_unlock(&f->lock);
		rc = foreman_put_manifest(f, j, *old ? old : NULL, reterr);
		if (rc != -EEXIST && rc != -ESTALE)
			return rc;
		adafs_mutex_lock(&f->lock);
		moved = strcmp(old, j->manifest_etag) != 0;
		adafs_mutex_unlock(&f->lock);
	}
	rc = foreman_adopt_manifest(f, j, reterr);
	if (rc)
		return rc;
	adafs_mutex_lock(&f->lock);
	bool other = mine && *mine && *j->batch_job_id && strcmp(mine, j->batch_job_id) != 0;
	adafs_mutex_unlock(&f->lock);
	if (other) {
		adafs_log(WARN, "foreman", "job '%s' runs under another id: ending '%s'", j->id,
			  mine);
		adafs_batch_job_terminate(f->batch, mine, "adafs: superseded", NULL);
	}
	return 0;
}

/* End what a try before may have made. A member's tasks are in the Batch job of others, too. */
static int end_begun(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	struct adafs_err err = { 0 };
	ADAFS_JSON *job = NULL;
	adafs_mutex_lock(&f->lock);
	bool member = foreman_job_is_member(j);
	ADAFS_FREE char *id = j->run < 2 ? strdup(j->id) : adafs_fmt("%s-r%u", j->id, j->run);
	if (member) /* claimed by nobody */
		foreman_text_set(&j->batch_job_id, "");
	adafs_mutex_unlock(&f->lock);
	if (member)
		return 0;
	if (!id)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = adafs_batch_job_get(f->batch, id, "id,metadata", &job, &err);
	if (rc == 0 && !foreman_owns(f, job, j->id))
		return 0;
	if (rc == 0)
		rc = adafs_batch_job_terminate(f->batch, id, DERIVE_CANCEL_REASON, &err);
	return rc == -ENOENT ? 0 : adafs_err_copy(reterr, &err);
}

/* Cancelled before it was submitted: leave a tombstone. */
static int submit_tombstone(struct adafs_foreman *f, struct foreman_job *j,
			    struct adafs_err *reterr)
{
	int begun = end_begun(f, j, reterr);
	if (begun)
		return begun;
	adafs_mutex_lock(&f->lock);
	j->ended = true;
	j->state = ADAFS_STATE_CANCELLED;
	j->ended_us = j->changed_us = adafs_clock_wall_us();
	for (size_t i = 0; i < j->n_steps; i++) {
		if (j->step[i].reused)
			continue;
		j->step[i].state = ADAFS_STATE_CANCELLED;
		foreman_text_set(&j->step[i].waiting_for, "cancelled");
	}
	foreman_text_set(&j->waiting_for, "cancelled before it was submitted");
	foreman_job_log(j, j->ended_us, "cancelled");
	foreman_touch_locked(f, j);
	adafs_mutex_unlock(&f->lock);
	int rc = write_manifest(f, j, reterr);
	adafs_mutex_lock(&f->lock);
	if (rc == 0) {
		j->submitted = true;
		foreman_wake_janitor_locked(f, j);
		foreman_job_settled_locked(f, j);
	} else {
		j->ended = false;
	}
	adafs_mutex_unlock(&f->lock);
	return rc;
}

static int check_ready(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	uint64_t now = adafs_clock_mono_ms();
	int rc = 0;
	if (foreman_access_due(f))
		rc = foreman_setup_access(f, reterr);
	if (rc == 0)
		rc = foreman_prove_access(f, reterr);
	if (rc == -EAGAIN) {
		adafs_mutex_lock(&f->lock);
		j->retry_at_ms = now + PROVE_AGAIN_MS;
		adafs_mutex_unlock(&f->lock);
	}
	if (rc)
		return rc;
	while (f->n_missing_assets) {
		const char *blob = f->missing_assets[f->n_missing_assets - 1];
		struct adafs_blob_props props = { 0 };
		rc = adafs_blob_head(f->blob, f->container, blob, NULL, &props, reterr);
		if (rc == -ENOENT)
			return adafs_err_set(reterr, rc,
					     "waits for asset '%s': copy it to containers/%s/%s",
					     blob, f->container, blob);
		if (rc)
			return rc;
		adafs_blob_props_clear(&props);
		free(f->missing_assets[--f->n_missing_assets]);
		if (f->n_missing_assets == 0) /* their versions are part of keys */
			rc = foreman_refresh_assets(f, reterr);
	}
	return rc;
}

void foreman_give_up(struct adafs_foreman *f, struct foreman_job *j, const char *why)
{
	adafs_mutex_lock(&f->lock);
	for (size_t i = 0; i < j->n_inputs; i++) {
		struct foreman_image *im = foreman_table_find(&f->images, j->input[i].blob);
		if (im && (*j->unit || strcmp(im->job_id, j->id) == 0))
			im->resolved = false;
	}
	j->submitted = j->ended = true;
	j->state = ADAFS_STATE_CANCELLED;
	j->ended_us = j->changed_us = adafs_clock_wall_us();
	foreman_text_set(&j->waiting_for, why);
	foreman_job_log(j, j->ended_us, "given up: %s", why);
	f->newest_dirty = true;
	f->scan_wanted = true;
	foreman_touch_locked(f, j);
	adafs_mutex_unlock(&f->lock);
}

/* A hold or a release that came while the job was on its way. */
static void settle_hold(struct adafs_foreman *f, struct foreman_job *j, bool hold)
{
	struct adafs_err err = { 0 };
	adafs_mutex_lock(&f->lock);
	ADAFS_FREE char *id = strdup(j->batch_job_id);
	adafs_mutex_unlock(&f->lock);
	int rc = !id    ? -ENOMEM
		 : hold ? adafs_batch_job_disable(f->batch, id, &err)
			: adafs_batch_job_enable(f->batch, id, &err);
	adafs_mutex_lock(&f->lock);
	if (rc == 0)
		j->held = hold;
	else
		foreman_job_log(j, adafs_clock_wall_us(), "could not be %s: %s",
				hold ? "held" : "released", err.msg);
	foreman_touch_locked(f, j);
	adafs_mutex_unlock(&f->lock);
}

static void note_submitted(struct adafs_foreman *f, struct foreman_job *j, bool held)
{
	adafs_mutex_lock(&f->lock);
	bool hold = j->hold_wanted;
	j->submitted = true;
	j->held = held;
	j->hold_wanted = false;
	if (!j->ended)
		foreman_text_set(&j->waiting_for,
				 j->held ? DERIVE_HELD_TEXT
					 : "submitted: waits for a free slot in the pool");
	foreman_job_log(j, adafs_clock_wall_us(), "submitted as Batch job %s", j->batch_job_id);
	foreman_touch_locked(f, j);
	adafs_cond_signal(&f->tracker_wake);
	adafs_mutex_unlock(&f->lock);
	if (hold != held)
		settle_hold(f, j, hold);
	foreman_wake_pool(f);
}

static int submit(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	struct work w;
	bool images_done = false;
	int rc = check_ready(f, j, reterr);
	if (!rc && j->n_merged)
		rc = foreman_intend_merge(f, j, reterr);
	if (rc || j->submitted)
		return rc;
	rc = work_init(&w, f, j, reterr);
	if (!rc) {
		rc = work_take_snapshots(&w, reterr);
		images_done = rc == 0;
	}
	if (!rc)
		rc = run_job(&w, reterr);
	if (!rc)
		rc = work_take(&w, reterr);
	work_clear(&w);
	if (rc == -ENODATA && j->n_members)
		return submit_tombstone(f, j, reterr);
	bool no_container = strcmp(reterr->service_code, "ContainerNotFound") == 0;
	if ((rc == -ESTALE || rc == -ENOENT) && !images_done && w.pipeline && !no_container) {
		foreman_give_up(f, j, reterr->msg);
		return 0;
	}
	if (!rc) {
		foreman_crash_point("before-manifest");
		rc = write_manifest(f, j, reterr);
	}
	if (!rc)
		note_submitted(f, j, w.hold);
	return rc;
}

int foreman_submit_job(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	adafs_mutex_lock(&f->lock);
	bool cancel = j->cancel;
	/* A further run: its manifest, or that of the run before, says what need not run again. */
	bool look = *j->manifest_etag && (j->kept_wanted || !j->body_loaded);
	adafs_mutex_unlock(&f->lock);
	int rc = look && !cancel ? foreman_load_kept(f, j, reterr) : 0;
	if (rc)
		return rc;
	if (f->reads_only)
		return adafs_err_set(reterr, -EROFS,
				     "this mount may only read: a mount that may write submits it");
	work_in_hand(f, j, true);
	rc = cancel ? submit_tombstone(f, j, reterr) : submit(f, j, reterr);
	work_in_hand(f, j, false);
	return rc;
}
