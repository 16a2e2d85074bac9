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
#include "batch/foreman/internal.h"
#include "batch/foreman/manifest.h"

#define MAX_VERSIONS 50 /* of one image while its job is made */
#define MAX_RUNS 99
#define PROVE_AGAIN_MS 500

/* A submission under way: a copy of what it needs of the job. */
struct work {
	struct adafs_foreman *f;
	struct foreman_job *job;
	struct adafs_pipeline *pipeline; /* borrowed */
	char *event;
	unsigned run;
	struct adafs_plan_image *image; /* texts borrowed from `text` */
	size_t n;
	char **text; /* owned */
	size_t n_texts;
	struct adafs_plan *plan;
};

static const char *keep(struct work *w, const char *text)
{
	char *copy = strdup(text);
	char **list = realloc(w->text, (w->n_texts + 1) * sizeof(*list));
	if (list)
		w->text = list;
	if (!copy || !list) {
		free(copy);
		return NULL;
	}
	return w->text[w->n_texts++] = copy;
}

static void work_clear(struct work *w)
{
	for (size_t i = 0; i < w->n_texts; i++)
		free(w->text[i]);
	free(w->text);
	free(w->image);
	free(w->event);
	adafs_plan_free(w->plan);
}

static int work_init(struct work *w, struct adafs_foreman *f, struct foreman_job *j,
		     struct adafs_err *reterr)
{
	bool ok = true;
	*w = (struct work){ .f = f, .job = j };
	adafs_mutex_lock(&f->lock);
	ADAFS_FREE char *digest = strdup(j->digest);
	w->event = strdup(j->event);
	w->run = j->run;
	w->image = calloc(j->n_inputs + 1, sizeof(*w->image));
	for (size_t i = 0; w->image && i < j->n_inputs; i++) {
		const struct foreman_input *in = &j->input[i];
		w->image[i] = (struct adafs_plan_image){
			.role = in->role_index,
			.blob = keep(w, in->blob),
			.snapshot = keep(w, in->snapshot),
			.etag = keep(w, in->etag),
			.sha256 = keep(w, in->sha256),
		};
		ok = ok && w->image[i].blob && w->image[i].snapshot && w->image[i].etag &&
		     w->image[i].sha256;
	}
	w->n = j->n_inputs;
	adafs_mutex_unlock(&f->lock);
	if (!ok || !digest || !w->event || !w->image)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	w->pipeline = pipelines_get(&f->pipelines, digest, reterr);
	return w->pipeline ? 0 : -EAGAIN;
}

/* --- the images --------------------------------------------------------------------------- */

/*
 * The version that was committed is not the newest: with the same content the newer one serves as
 * well, else this job has lost its image.
 */
static int refresh_etag(struct work *w, struct adafs_plan_image *image, struct adafs_err *reterr)
{
	struct adafs_blob_props props = { 0 };
	int rc = adafs_blob_head(w->f->blob, w->f->container, image->blob, NULL, &props, reterr);
	if (rc)
		return rc;
	const char *sha = adafs_blob_meta_get(&props.meta, "adafssha256");
	if (!sha || strcmp(sha, image->sha256) != 0)
		rc = adafs_err_set(reterr, -ESTALE, "%s was replaced before its job began",
				   image->blob);
	else if (!(image->etag = keep(w, props.etag)))
		rc = adafs_err_set(reterr, -ENOMEM, "out of memory");
	adafs_blob_props_clear(&props);
	return rc;
}

static int take_snapshot(struct work *w, struct adafs_plan_image *image, struct adafs_err *reterr)
{
	char time[ADAFS_SNAPSHOT_LEN];
	int rc = -ESTALE;
	/* A copy sets time, mode and attributes after its close, one by one: each makes a new
	 * version of the same content. */
	for (int attempt = 0; rc == -ESTALE && attempt < MAX_VERSIONS; attempt++) {
		int moved = attempt ? refresh_etag(w, image, reterr) : 0;
		if (moved)
			return moved;
		rc = adafs_blob_snapshot(w->f->blob, w->f->container, image->blob,
					 *image->etag ? image->etag : NULL, time, reterr);
	}
	if (rc)
		return rc;
	image->snapshot = keep(w, time);
	return image->snapshot ? 0 : adafs_err_set(reterr, -ENOMEM, "out of memory");
}

static int take_snapshots(struct work *w, struct adafs_err *reterr)
{
	for (size_t i = 0; i < w->n; i++) {
		if (*w->image[i].snapshot)
			continue;
		int rc = take_snapshot(w, &w->image[i], reterr);
		if (rc)
			return rc;
	}
	/* Kept with the job: a try after a failure further on takes no second one. */
	adafs_mutex_lock(&w->f->lock);
	for (size_t i = 0; i < w->n && i < w->job->n_inputs; i++)
		if (strcmp(w->job->input[i].blob, w->image[i].blob) == 0) {
			foreman_text_set(&w->job->input[i].snapshot, w->image[i].snapshot);
			foreman_text_set(&w->job->input[i].etag, w->image[i].etag);
		}
	adafs_mutex_unlock(&w->f->lock);
	foreman_crash_point("after-snapshot");
	return 0;
}

/* --- the Batch job ------------------------------------------------------------------------ */

static int make_plan(struct work *w, struct adafs_err *reterr)
{
	struct adafs_foreman *f = w->f;
	adafs_mutex_lock(&f->lock);
	int slots = f->pool_slots;
	adafs_mutex_unlock(&f->lock);
	struct adafs_plan_request rq = {
		.job_id = w->job->id,
		.run = w->run,
		.event = w->event,
		.pool = f->pool,
		.pool_slots = slots,
		.images = w->image,
		.n_images = w->n,
		.url = sas_url_make,
		.url_arg = &f->urls,
	};
	adafs_plan_free(w->plan);
	w->plan = NULL;
	return adafs_plan_make(w->pipeline, &rq, &w->plan, reterr);
}

static void set_metadata(cJSON *list, const char *name, const char *value)
{
	cJSON *item = cJSON_CreateObject();
	cJSON_AddStringToObject(item, "name", name);
	cJSON_AddStringToObject(item, "value", value);
	cJSON_AddItemToArray(list, item);
}

/* What a later mount needs to know the job again: whose it is, and the snapshots that it reads. */
static int mark_job(struct work *w, struct adafs_err *reterr)
{
	cJSON *list = cJSON_GetObjectItemCaseSensitive(w->plan->job, "metadata");
	if (!list)
		list = cJSON_AddArrayToObject(w->plan->job, "metadata");
	struct adafs_buf times = ADAFS_BUF_INIT(64 * 1024);
	for (size_t i = 0; i < w->n; i++)
		adafs_buf_addf(&times, "%s%s", i ? " " : "", w->image[i].snapshot);
	set_metadata(list, "adafs", ADAFS_VERSION);
	set_metadata(list, "adafsowner", w->f->owner);
	set_metadata(list, "adafsjob", w->job->id);
	set_metadata(list, "adafssnapshots", adafs_buf_str(&times));
	adafs_buf_clear(&times);
	return list ? 0 : adafs_err_set(reterr, -ENOMEM, "out of memory");
}

static const char *metadata_of(const cJSON *job, const char *name)
{
	const cJSON *item;
	cJSON_ArrayForEach(
		item, adafs_json_get(job, "metadata")) if (strcmp(adafs_json_str(item, "name", ""),
								  name) ==
							   0) return adafs_json_str(item, "value",
										    "");
	return "";
}

enum verdict { ADOPT, ALL_IN, NEXT_RUN, GONE };

static int count_task(void *arg, const cJSON *item)
{
	(void)item;
	++*(size_t *)arg;
	return 0;
}

static int adopt_snapshots(struct work *w, const char *times, struct adafs_err *reterr)
{
	for (size_t i = 0; i < w->n && *times; i++) {
		size_t len = strcspn(times, " ");
		ADAFS_FREE char *one = strndup(times, len);
		w->image[i].snapshot = one ? keep(w, one) : NULL;
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
	if (strcmp(metadata_of(job, "adafsowner"), w->f->owner) != 0 ||
	    strcmp(metadata_of(job, "adafsjob"), w->job->id) != 0) {
		adafs_log(WARN, "foreman",
			  "Batch job '%s' belongs to somebody else: taking the next id", id);
		*ret = NEXT_RUN;
		return 0;
	}
	const char *state = adafs_json_str(job, "state", "");
	if (strcasecmp(state, "deleting") == 0) {
		*ret = NEXT_RUN;
		return 0;
	}
	rc = adopt_snapshots(w, metadata_of(job, "adafssnapshots"), reterr);
	if (rc)
		return rc;
	*ret = ADOPT;
	if (strcasecmp(state, "completed") != 0 && strcasecmp(state, "terminating") != 0)
		return 0;
	size_t n = 0;
	rc = adafs_batch_task_list(w->f->batch, id, NULL, "id", count_task, &n, reterr);
	*ret = n >= w->plan->n_steps ? ALL_IN : NEXT_RUN;
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
	if (foreman_crash_wanted("after-half-tasks")) {
		int n = cJSON_GetArraySize(w->plan->tasks);
		int rc = add_half(w, 0, n / 2, reterr);
		if (rc)
			return rc;
		foreman_crash_point("after-half-tasks");
		return add_half(w, n / 2, n, reterr);
	}
	return adafs_batch_task_add_all(w->f->batch, w->plan->batch_job_id, w->plan->tasks, reterr);
}

static int fill_job(struct work *w, struct adafs_err *reterr)
{
	int rc = add_tasks(w, reterr);
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
	int rc = make_plan(w, reterr);
	if (!rc)
		rc = mark_job(w, reterr);
	if (rc)
		return rc;
	rc = adafs_batch_job_add(w->f->batch, w->plan->job, &err);
	if (rc == 0)
		foreman_crash_point("after-job");
	if (rc == -EEXIST || (rc && strcmp(err.service_code, "JobExists") == 0) ||
	    (rc && strcmp(err.service_code, "JobBeingDeleted") == 0)) {
		rc = inspect(w, &verdict, &err);
		if (rc == 0 && verdict == NEXT_RUN)
			return adafs_err_set(reterr, -EEXIST, "taken");
		if (rc == 0 && verdict == GONE)
			return adafs_err_set(reterr, -EAGAIN, "Batch job '%s' is being deleted",
					     w->plan->batch_job_id);
		if (rc == 0)
			rc = make_plan(w, &err); /* with the snapshots that were adopted */
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
	for (; w->run <= MAX_RUNS; w->run++) {
		int rc = try_run(w, reterr);
		if (rc != -EEXIST)
			return rc;
	}
	return adafs_err_set(reterr, -EEXIST, "job '%s' has used up its %d runs", w->job->id,
			     MAX_RUNS);
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
	adafs_mutex_lock(&f->lock);
	strcpy(old, j->manifest_etag);
	ADAFS_FREE char *mine = strdup(j->batch_job_id);
	adafs_mutex_unlock(&f->lock);
	int rc = foreman_put_manifest(f, j, *old ? old : NULL, reterr);
	if (rc != -EEXIST && rc != -ESTALE)
		return rc;
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

static int take_work(struct work *w, struct adafs_err *reterr)
{
	struct foreman_job *j = w->job;
	int rc = 0;
	adafs_mutex_lock(&w->f->lock);
	foreman_job_clear_inputs(j);
	for (size_t i = 0; i < w->n && !rc; i++) {
		const struct adafs_plan_image *in = &w->image[i];
		rc = foreman_job_add_input(j, adafs_pipeline_input(w->pipeline, in->role)->name,
					   in->role, in->blob, in->snapshot, in->etag, in->sha256);
	}
	if (!rc)
		rc = foreman_job_take_plan(j, w->plan);
	j->run = w->run;
	foreman_text_set(&j->batch_job_id, w->plan->batch_job_id);
	adafs_mutex_unlock(&w->f->lock);
	return rc ? adafs_err_set(reterr, rc, "out of memory") : 0;
}

/* Cancelled before it was submitted: end what a try before may have made, and leave a tombstone. */
static int submit_tombstone(struct adafs_foreman *f, struct foreman_job *j,
			    struct adafs_err *reterr)
{
	adafs_mutex_lock(&f->lock);
	ADAFS_FREE char *id = strdup(j->batch_job_id);
	adafs_mutex_unlock(&f->lock);
	if (id && *id) {
		int rc = adafs_batch_job_terminate(f->batch, id, DERIVE_CANCEL_REASON, reterr);
		if (rc && rc != -ENOENT)
			return rc;
	}
	adafs_mutex_lock(&f->lock);
	j->ended = true;
	j->state = ADAFS_STATE_CANCELLED;
	j->ended_us = j->changed_us = adafs_clock_wall_us();
	for (size_t i = 0; i < j->n_steps; i++) {
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
	}
	return 0;
}

/*
 * The image is gone or holds something else: there is nothing to submit, and no manifest to write.
 */
static void give_up(struct adafs_foreman *f, struct foreman_job *j, const char *why)
{
	adafs_mutex_lock(&f->lock);
	for (size_t i = 0; i < j->n_inputs; i++) {
		struct foreman_image *im = foreman_table_find(&f->images, j->input[i].blob);
		if (im && strcmp(im->job_id, j->id) == 0)
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

int foreman_submit_job(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	adafs_mutex_lock(&f->lock);
	bool cancel = j->cancel;
	adafs_mutex_unlock(&f->lock);
	if (f->reads_only)
		return adafs_err_set(reterr, -EROFS,
				     "this mount may only read: a mount that may write submits it");
	if (cancel)
		return submit_tombstone(f, j, reterr);

	struct work w;
	bool images_done = false;
	int rc = check_ready(f, j, reterr);
	if (rc)
		return rc;
	rc = work_init(&w, f, j, reterr);
	if (!rc) {
		rc = take_snapshots(&w, reterr);
		images_done = rc == 0;
	}
	if (!rc)
		rc = run_job(&w, reterr);
	if (!rc)
		rc = take_work(&w, reterr);
	work_clear(&w);
	bool no_container = strcmp(reterr->service_code, "ContainerNotFound") == 0;
	if ((rc == -ESTALE || rc == -ENOENT) && !images_done && w.pipeline && !no_container) {
		give_up(f, j, reterr->msg);
		return 0;
	}
	if (!rc) {
		foreman_crash_point("before-manifest");
		rc = write_manifest(f, j, reterr);
	}
	if (rc)
		return rc;
	adafs_mutex_lock(&f->lock);
	j->submitted = true;
	if (!j->ended)
		foreman_text_set(&j->waiting_for, "submitted: waits for a free slot in the pool");
	foreman_job_log(j, adafs_clock_wall_us(), "submitted as Batch job %s", j->batch_job_id);
	foreman_touch_locked(f, j);
	adafs_cond_signal(&f->tracker_wake);
	adafs_mutex_unlock(&f->lock);
	foreman_wake_pool(f);
	return 0;
}
