/* foreman/work.c - what a submission needs of its job, the snapshots of its images, its plan. */
#include "batch/foreman/work.h"

#include <errno.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/foreman/crash.h"

#define MAX_VERSIONS 50 /* of one image while its job is made */

const char *work_keep(struct work *w, const char *text)
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

void work_clear(struct work *w)
{
	for (size_t i = 0; i < w->n_texts; i++)
		free(w->text[i]);
	free(w->text);
	free(w->image);
	free(w->role);
	free(w->kept);
	free(w->part);
	free(w->event);
	free(w->unit);
	adafs_plan_free(w->plan);
}

void work_in_hand(struct adafs_foreman *f, struct foreman_job *j, bool in_hand)
{
	adafs_mutex_lock(&f->lock);
	j->in_hand = in_hand;
	adafs_mutex_unlock(&f->lock);
}

static int copy_kept_locked(struct work *w, const struct foreman_job *j)
{
	w->kept = foreman_job_kept(j);
	w->n_kept = w->kept ? j->n_kept : 0;
	for (size_t i = 0; i < w->n_kept; i++) {
		w->kept[i].name = work_keep(w, w->kept[i].name);
		w->kept[i].key = work_keep(w, w->kept[i].key);
		if (!w->kept[i].name || !w->kept[i].key)
			return -ENOMEM;
	}
	return w->kept ? 0 : -ENOMEM;
}

/* A manifest names the roles of its images; their places are the pipeline's. */
static int find_roles(struct work *w, struct adafs_err *reterr)
{
	for (size_t i = 0; i < w->n; i++) {
		size_t r = 0;
		while (r < adafs_pipeline_n_inputs(w->pipeline) &&
		       strcmp(adafs_pipeline_input(w->pipeline, r)->name, w->role[i]) != 0)
			r++;
		if (r == adafs_pipeline_n_inputs(w->pipeline))
			return adafs_err_set(
				reterr, -EINVAL, "pipeline '%s' has no role '%s' for '%s'",
				adafs_pipeline_name(w->pipeline), w->role[i], w->image[i].blob);
		w->image[i].role = r;
	}
	return 0;
}

int work_init(struct work *w, struct adafs_foreman *f, struct foreman_job *j,
	      struct adafs_err *reterr)
{
	bool ok = true;
	*w = (struct work){ .f = f, .job = j };
	adafs_mutex_lock(&f->lock);
	ADAFS_FREE char *digest = strdup(j->digest);
	w->event = strdup(j->event);
	w->unit = strdup(j->unit);
	w->run = j->run;
	w->hold = j->hold_wanted;
	w->part = foreman_job_parts(j);
	w->n_parts = j->n_parts;
	for (size_t i = 0; w->part && i < w->n_parts; i++) {
		w->has_members |= w->part[i].member;
		w->part[i].job_id = work_keep(w, w->part[i].job_id);
		ok = ok && w->part[i].job_id;
	}
	w->no_merge = foreman_merges_event_locked(f, j);
	w->image = calloc(j->n_inputs + 1, sizeof(*w->image));
	w->role = calloc(j->n_inputs + 1, sizeof(*w->role));
	for (size_t i = 0; w->image && w->role && i < j->n_inputs; i++) {
		const struct foreman_input *in = &j->input[i];
		w->role[i] = work_keep(w, in->role);
		w->image[i] = (struct adafs_plan_image){
			.blob = work_keep(w, in->blob),
			.snapshot = work_keep(w, in->snapshot),
			.etag = work_keep(w, in->etag),
			.sha256 = work_keep(w, in->sha256),
			.date = work_keep(w, in->date),
			.size = in->size,
		};
		ok = ok && w->image[i].blob && w->image[i].snapshot && w->image[i].etag &&
		     w->image[i].sha256 && w->image[i].date && w->role[i];
	}
	w->n = j->n_inputs;
	if (copy_kept_locked(w, j))
		ok = false;
	adafs_mutex_unlock(&f->lock);
	if (!ok || !digest || !w->event || !w->unit || !w->part || !w->image || !w->role)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	w->pipeline = pipelines_get(&f->pipelines, digest, reterr);
	return w->pipeline ? find_roles(w, reterr) : -EAGAIN;
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
	else if (!(image->etag = work_keep(w, props.etag)))
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
	image->snapshot = work_keep(w, time);
	return image->snapshot ? 0 : adafs_err_set(reterr, -ENOMEM, "out of memory");
}

int work_take_snapshots(struct work *w, struct adafs_err *reterr)
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

int work_plan(struct work *w, struct adafs_err *reterr)
{
	struct adafs_foreman *f = w->f;
	ADAFS_FREE char *identity = NULL;
	int rc = foreman_node_identity(f, &identity, reterr);
	if (rc)
		return rc;
	adafs_mutex_lock(&f->lock);
	int slots = f->pool_slots;
	adafs_mutex_unlock(&f->lock);
	struct adafs_plan_request rq = {
		.job_id = w->job->id,
		.run = w->run,
		.event = w->event,
		.unit = w->unit,
		.pool = f->pool,
		.pool_slots = slots,
		.images = w->image,
		.n_images = w->n,
		.no_merge = w->no_merge,
		.batch_job_id = w->batch_job_id,
		.task_prefix = w->task_prefix,
		.parts = w->part,
		.n_parts = w->n_parts,
		.merged_runs = w->job->merged_runs,
		.kept = w->kept,
		.n_kept = w->n_kept,
		.asset_etag = foreman_asset_etag,
		.asset_arg = f,
		.identity = identity,
		.url = sas_url_make,
		.url_arg = &f->urls,
	};
	adafs_plan_free(w->plan);
	w->plan = NULL;
	f->urls.bare = *identity != 0;
	rc = adafs_plan_make(w->pipeline, &rq, &w->plan, reterr);
	f->urls.bare = false;
	return rc;
}

static void set_metadata(cJSON *list, const char *name, const char *value)
{
	cJSON *item = cJSON_CreateObject();
	cJSON_AddStringToObject(item, "name", name);
	cJSON_AddStringToObject(item, "value", value);
	cJSON_AddItemToArray(list, item);
}

/* What a later mount needs to know the job again: whose it is, and the snapshots that it reads. */
int work_mark_job(struct work *w, struct adafs_err *reterr)
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

int work_take(struct work *w, struct adafs_err *reterr)
{
	struct foreman_job *j = w->job;
	int rc = 0;
	adafs_mutex_lock(&w->f->lock);
	foreman_job_clear_inputs(j);
	for (size_t i = 0; i < w->n && !rc; i++) {
		const struct adafs_plan_image *in = &w->image[i];
		const struct foreman_input copy = {
			.role = (char *)adafs_pipeline_input(w->pipeline, in->role)->name,
			.role_index = in->role,
			.blob = (char *)in->blob,
			.snapshot = (char *)in->snapshot,
			.etag = (char *)in->etag,
			.sha256 = (char *)in->sha256,
			.date = (char *)in->date,
			.size = in->size,
		};
		rc = foreman_job_add_input(j, &copy);
	}
	if (!rc)
		rc = foreman_job_take_plan(j, w->plan);
	j->run = w->run;
	foreman_text_set(&j->batch_job_id, w->plan->batch_job_id);
	adafs_mutex_unlock(&w->f->lock);
	return rc ? adafs_err_set(reterr, rc, "out of memory") : 0;
}
