/* foreman/foreman.c - life, publishing, and what the filesystem asks for. */
#include "batch/foreman/foreman.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/base/random.h"
#include "batch/foreman/crash.h"
#include "batch/foreman/internal.h"
#include "batch/foreman/policy.h"
#include "batch/foreman/view.h"

#define POLL_MS 2000
#define POLL_MAX_MS 15000
#define SETTLE_MS 10000
#define LOCAL_POLL_MS 400
#define LOCAL_POLL_MAX_MS 1000
/* Somebody looks: the container is listed again when the last time is longer ago, for what other
 * mounts did. */
#define KEEP_MS (INT64_C(30) * 86400000)
#define RESCAN_MS 60000 /* what other mounts did, when somebody looks */
#define LOCAL_RESCAN_MS 5000

/* --- life --------------------------------------------------------------------------------- */

static int init_tables(struct adafs_foreman *f)
{
	struct view_input in = { .jobs = &f->jobs,
				 .images = &f->images,
				 .pool_state = "",
				 .trouble = "",
				 .batch_trouble = "" };
	f->pool_state = strdup("");
	f->pool_trouble = strdup("");
	f->blob_trouble = strdup("");
	f->batch_trouble = strdup("");
	f->view = view_make(&in);
	return f->pool_state && f->pool_trouble && f->blob_trouble && f->batch_trouble && f->view
		       ? 0
		       : -ENOMEM;
}

struct adafs_foreman *adafs_foreman_new(const struct adafs_foreman_config *config,
					struct adafs_err *reterr)
{
	struct adafs_foreman *f = calloc(1, sizeof(*f));
	if (!f) {
		adafs_err_set(reterr, -ENOMEM, "out of memory");
		return NULL;
	}
	adafs_mutex_init(&f->lock, ADAFS_RANK_FOREMAN);
	adafs_mutex_init(&f->view_lock, ADAFS_RANK_VIEW);
	adafs_cond_init(&f->submitter_wake);
	adafs_cond_init(&f->tracker_wake);
	adafs_cond_init(&f->publisher_wake);
	adafs_cond_init(&f->janitor_wake);
	adafs_cond_init(&f->chore_done);
	f->blob = config->blob;
	f->batch = config->batch;
	f->container = strdup(config->container);
	const char *pool = config->pool && *config->pool ? config->pool
							 : adafs_pipeline_pool(config->pipeline);
	f->pool = strdup(pool ? pool : "");
	f->owner = adafs_fmt("%s/%s", adafs_blob_client_account(config->blob)->name,
			     config->container);
	f->pipeline = adafs_pipeline_ref(config->pipeline);
	f->changed = config->changed;
	f->changed_arg = config->changed_arg;
	f->is_written = config->is_written;
	f->is_written_arg = config->is_written_arg;
	f->poll_ms = config->poll_ms;
	f->by_event = config->by_event;
	f->identity_wish = config->node_identity;
	f->settle_ms = config->settle_ms ? config->settle_ms : SETTLE_MS;
	f->pool_nodes = -1;
	f->pool_settings = config->pool_settings;
	f->urls = (struct sas_urls){ .blob = f->blob,
				     .container = f->container,
				     .policy = POLICY_FIRST,
				     .life_s = config->sas_life_s,
				     .own_sas = config->sas_to_tasks };
	f->reads_only = config->reads_only;
	f->keep_ms = config->keep_ms ? config->keep_ms : KEEP_MS;
	f->pipelines = (struct foreman_pipelines){ .blob = f->blob,
						   .container = f->container,
						   .own = f->pipeline };
	if (f->container && f->pool && f->owner && init_tables(f) == 0)
		return f;
	adafs_foreman_free(f);
	adafs_err_set(reterr, -ENOMEM, "out of memory");
	return NULL;
}

void adafs_foreman_free(struct adafs_foreman *f)
{
	if (!f)
		return;
	adafs_foreman_stop(f);
	for (size_t i = 0; i < FOREMAN_N_TRIGGERS; i++) {
		free(f->trigger[i].blob);
		free(f->trigger[i].sha256);
	}
	for (size_t i = 0; i < f->jobs.n; i++)
		foreman_job_free(f->jobs.item[i]);
	for (size_t i = 0; i < f->images.n; i++)
		foreman_image_free(f->images.item[i]);
	for (size_t i = 0; i < f->n_missing_assets; i++)
		free(f->missing_assets[i]);
	free(f->missing_assets);
	for (size_t i = 0; i < f->n_assets; i++)
		free(f->asset[i].blob);
	free(f->asset);
	for (size_t i = 0; i < f->n_stale_maps; i++)
		free(f->stale_map[i]);
	free(f->stale_map);
	free(f->jobs.item);
	free(f->images.item);
	adafs_view_unref(f->view);
	pipelines_clear(&f->pipelines);
	adafs_pipeline_unref(f->pipeline);
	free(f->container);
	free(f->pool);
	free(f->owner);
	free(f->pool_state);
	free(f->pool_trouble);
	free(f->pool_identities);
	free(f->blob_trouble);
	free(f->batch_trouble);
	adafs_cond_clear(&f->submitter_wake);
	adafs_cond_clear(&f->tracker_wake);
	adafs_cond_clear(&f->publisher_wake);
	adafs_cond_clear(&f->janitor_wake);
	adafs_cond_clear(&f->chore_done);
	adafs_mutex_clear(&f->view_lock);
	adafs_mutex_clear(&f->lock);
	free(f);
}

static void *publisher_main(void *arg);
static struct adafs_view *renew_view_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock);

/* Start the threads; on failure those that run are stopped again. */
static int start_threads(struct adafs_foreman *f)
{
	struct {
		pthread_t *thread;
		void *(*main)(void *);
	} list[] = { { &f->publisher, publisher_main },
		     { &f->submitter, foreman_submitter_main },
		     { &f->tracker, foreman_tracker_main },
		     { &f->janitor, foreman_janitor_main } };
	size_t n = ADAFS_ARRAY_SIZE(list) - f->reads_only; /* who only reads removes nothing */
	for (; f->n_threads < n; f->n_threads++) {
		int rc =
			pthread_create(list[f->n_threads].thread, NULL, list[f->n_threads].main, f);
		if (rc) {
			adafs_foreman_stop(f);
			return -rc;
		}
	}
	return 0;
}

int adafs_foreman_start(struct adafs_foreman *f, struct adafs_err *reterr)
{
	int rc = foreman_setup(f, reterr);
	if (rc)
		return rc;
	if (!f->poll_ms)
		f->poll_ms = f->local ? LOCAL_POLL_MS : POLL_MS;
	f->poll_max_ms = f->local ? LOCAL_POLL_MAX_MS : POLL_MAX_MS;
	if (f->poll_max_ms < f->poll_ms)
		f->poll_max_ms = f->poll_ms;
	f->scan_wanted = true;
	adafs_mutex_lock(&f->lock);
	struct adafs_view *old = renew_view_locked(f); /* the pool is known from the start */
	adafs_mutex_unlock(&f->lock);
	adafs_view_unref(old);
	rc = start_threads(f);
	return rc ? adafs_err_set(reterr, rc, "cannot start a thread: %s", strerror(-rc)) : 0;
}

/* Whether a submission is still to be made that has not failed yet. */
static bool has_unsubmitted_locked(const struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock)
{
	for (size_t i = 0; i < f->jobs.n; i++) {
		const struct foreman_job *j = f->jobs.item[i];
		if (!j->submitted && j->n_tries == 0)
			return true;
	}
	return false;
}

/* The same, or it is not known yet. */
static bool has_submissions_locked(const struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock)
{
	return !f->loaded || f->resolve_wanted || has_unsubmitted_locked(f);
}

void adafs_foreman_drain(struct adafs_foreman *f, uint32_t timeout_ms)
{
	uint64_t deadline_ms = adafs_clock_mono_ms() + timeout_ms;
	adafs_mutex_lock(&f->lock);
	f->draining = f->resolve_wanted = true;
	foreman_look_at_event_jobs_locked(f, adafs_clock_mono_ms());
	adafs_cond_signal(&f->submitter_wake);
	while (f->n_threads && has_submissions_locked(f) && !*f->blob_trouble && !*f->batch_trouble)
		if (adafs_cond_wait_until(&f->chore_done, &f->lock, deadline_ms) < 0)
			break;
	if (!f->loaded || has_unsubmitted_locked(f))
		adafs_log(WARN, "foreman", "images are left to the next mount: not submitted yet");
	adafs_mutex_unlock(&f->lock);
}

void adafs_foreman_stop(struct adafs_foreman *f)
{
	if (!f || !f->n_threads)
		return;
	pthread_t thread[] = { f->publisher, f->submitter, f->tracker, f->janitor };
	adafs_mutex_lock(&f->lock);
	f->stopping = true;
	adafs_cond_broadcast(&f->submitter_wake);
	adafs_cond_broadcast(&f->tracker_wake);
	adafs_cond_broadcast(&f->publisher_wake);
	adafs_cond_broadcast(&f->janitor_wake);
	adafs_mutex_unlock(&f->lock);
	while (f->n_threads)
		pthread_join(thread[--f->n_threads], NULL);
}

/* --- views -------------------------------------------------------------------------------- */

struct adafs_view *adafs_foreman_view(struct adafs_foreman *f)
{
	adafs_mutex_lock(&f->view_lock);
	struct adafs_view *v = view_ref(f->view);
	adafs_mutex_unlock(&f->view_lock);
	return v;
}

void foreman_show_locked(struct adafs_foreman *f)
{
	f->view_dirty = true;
	adafs_cond_signal(&f->publisher_wake);
}

void foreman_touch_locked(struct adafs_foreman *f, struct foreman_job *j)
{
	j->dirty = true;
	foreman_show_locked(f);
}

void foreman_set_trouble_locked(struct adafs_foreman *f, char **which, const char *text)
{
	if (!foreman_text_set(which, text))
		return;
	foreman_show_locked(f);
	if (**which)
		adafs_log(WARN, "foreman", "%s", *which);
	else
		adafs_log(INFO, "foreman", "the services answer again");
}

/* A view of the tables as they are; NULL: out of memory. */
static struct adafs_view *make_view_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock)
{
	if (f->newest_dirty)
		foreman_mark_newest_locked(f);
	struct view_input in = {
		.jobs = &f->jobs,
		.images = &f->images,
		.generation = f->generation + 1,
		.pool_state = f->pool_state,
		.pool_nodes = f->pool_nodes < 0 ? 0 : f->pool_nodes,
		.pool_slots = f->pool_slots,
		.loaded = f->loaded,
		.trouble = *f->blob_trouble ? f->blob_trouble : f->batch_trouble,
		.batch_trouble = f->batch_trouble,
	};
	return view_make(&in);
}

/* Make the tables as they are the newest view. Returns the one before, to be released without a
 * lock. */
static struct adafs_view *renew_view_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock)
{
	struct adafs_view *v = make_view_locked(f), *old;
	f->view_dirty = false;
	if (!v) { /* the old view stays until the next change */
		adafs_log(ERROR, "foreman", "out of memory: the view is not renewed");
		return NULL;
	}
	f->generation++;
	adafs_mutex_lock(&f->view_lock);
	old = f->view;
	f->view = v;
	adafs_mutex_unlock(&f->view_lock);
	return old;
}

/* A view of many jobs takes its time, and may take no more than a fifth of all. */
static void *publisher_main(void *arg)
{
	struct adafs_foreman *f = arg;
	uint64_t next_ms = 0;
	adafs_mutex_lock(&f->lock);
	while (!f->stopping) {
		uint64_t now = adafs_clock_mono_ms(), due_ms = foreman_tell_waits_locked(f, now);
		if (f->view_dirty)
			due_ms = next_ms;
		if (due_ms == UINT64_MAX)
			adafs_cond_wait(&f->publisher_wake, &f->lock);
		else if (now < due_ms)
			adafs_cond_wait_until(&f->publisher_wake, &f->lock, due_ms);
		now = adafs_clock_mono_ms();
		if (!f->view_dirty || now < next_ms)
			continue;
		struct adafs_view *old = renew_view_locked(f);
		uint64_t generation = f->generation, end_ms = adafs_clock_mono_ms();
		next_ms = end_ms + 4 * (end_ms - now);
		adafs_mutex_unlock(&f->lock);
		adafs_view_unref(old);
		if (f->changed)
			f->changed(f->changed_arg, generation);
		adafs_mutex_lock(&f->lock);
	}
	adafs_mutex_unlock(&f->lock);
	return NULL;
}

/* --- triggers ----------------------------------------------------------------------------- */

static void remember_trigger(struct adafs_foreman *f, const char *blob, const char *sha256,
			     const char *nonce)
{
	adafs_mutex_lock(&f->lock);
	struct foreman_trigger *t = &f->trigger[f->next_trigger++ % FOREMAN_N_TRIGGERS];
	free(t->blob);
	free(t->sha256);
	t->blob = strdup(blob);
	t->sha256 = strdup(sha256);
	snprintf(t->nonce, sizeof(t->nonce), "%s", nonce);
	adafs_mutex_unlock(&f->lock);
}

/* The nonce of the newest trigger for this content; "": not ours or too long ago. */
static const char *recall_nonce_locked(struct adafs_foreman *f, const char *blob,
				       const char *sha256) ADAFS_REQUIRES(&f->lock)
{
	for (size_t i = 1; i <= FOREMAN_N_TRIGGERS && i <= f->next_trigger; i++) {
		const struct foreman_trigger *t =
			&f->trigger[(f->next_trigger - i) % FOREMAN_N_TRIGGERS];
		if (t->blob && t->sha256 && strcmp(t->blob, blob) == 0 &&
		    strcmp(t->sha256, sha256) == 0)
			return t->nonce;
	}
	return "";
}

int adafs_foreman_trigger(struct adafs_foreman *f, const char *blob, const char *sha256,
			  const struct adafs_image_info *info, struct adafs_blob_meta *ret,
			  struct adafs_err *reterr)
{
	const char *rest;
	char nonce[33], facts[ADAFS_IMAGE_FACTS_SIZE];
	struct adafs_blob_meta m = { 0 };
	ADAFS_FREE char *event = foreman_event_of(blob, &rest);
	if (!event)
		return adafs_err_set(reterr, -ENOENT,
				     "'%s' is in no event: copy it to inbox/<event>/", blob);
	int role = adafs_pipeline_role(f->pipeline, rest, reterr);
	if (role < 0)
		return role;
	int rc = adafs_pipeline_demands(f->pipeline, (size_t)role, info, reterr);
	if (rc)
		return rc;
	adafs_random_hex(8, nonce);
	rc = adafs_blob_meta_set(&m, "adafssha256", sha256);
	if (!rc && adafs_image_facts_write(info, facts, sizeof(facts)) == 0)
		rc = adafs_blob_meta_set(&m, FOREMAN_META_FACTS, facts);
	if (!rc)
		rc = adafs_blob_meta_set(&m, "adafspipeline", adafs_pipeline_digest(f->pipeline));
	if (!rc)
		rc = adafs_blob_meta_set(&m, "adafsnonce", nonce);
	if (!rc && adafs_pipeline_n_inputs(f->pipeline) == 1 &&
	    !adafs_pipeline_by_unit(f->pipeline)) {
		struct adafs_plan_image image = { .blob = blob, .sha256 = sha256 };
		char id[ADAFS_JOB_ID_LEN];
		adafs_plan_job_id(event, NULL, &image, 1, id);
		rc = adafs_blob_meta_set(&m, "adafsjob", id);
	}
	if (rc) {
		adafs_blob_meta_clear(&m);
		return adafs_err_set(reterr, rc, "out of memory");
	}
	remember_trigger(f, blob, sha256, nonce);
	*ret = m;
	return 0;
}

/* --- what the filesystem asks for --------------------------------------------------------- */

/*
 * Enter a committed image and find its job, so that no view shows one without the other; -ENOMEM.
 */
static int note_image_locked(struct adafs_foreman *f, const struct adafs_foreman_image *image)
	ADAFS_REQUIRES(&f->lock)
{
	struct foreman_image *i = foreman_table_find(&f->images, image->blob);
	if (!i) {
		i = foreman_image_new(image->blob);
		if (!i || foreman_table_insert(&f->images, i)) {
			foreman_image_free(i);
			return -ENOMEM;
		}
	}
	if (foreman_text_set(&i->sha256, image->sha256))
		foreman_release_partners_locked(f, i);
	foreman_text_set(&i->digest, adafs_pipeline_digest(f->pipeline));
	foreman_text_set(&i->nonce, recall_nonce_locked(f, image->blob, image->sha256));
	snprintf(i->etag, sizeof(i->etag), "%s", image->etag);
	i->size = image->size;
	foreman_image_take_facts(i, image->facts);
	i->resolved = false;
	i->own = true;
	/* A listing under way may have passed this name already. */
	i->seen = f->scan_number;
	foreman_show_locked(f);
	foreman_resolve_own_locked(f, i);
	return 0;
}

void adafs_foreman_submit(struct adafs_foreman *f, const struct adafs_foreman_image *image)
{
	foreman_crash_point("after-commit");
	adafs_mutex_lock(&f->lock);
	/* Without memory nothing is lost: the blob carries its trigger, a listing finds it. */
	if (note_image_locked(f, image))
		f->scan_wanted = true;
	adafs_cond_signal(&f->submitter_wake);
	adafs_mutex_unlock(&f->lock);
}

static bool has_input(const struct foreman_job *j, const char *blob)
{
	for (size_t i = 0; i < j->n_inputs; i++)
		if (strcmp(j->input[i].blob, blob) == 0)
			return true;
	return false;
}

static void cancel_job_locked(struct adafs_foreman *f, struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock)
{
	j->cancel = true;
	j->retry_at_ms = 0;
	foreman_job_log(j, adafs_clock_wall_us(), "image deleted: cancelling");
	foreman_touch_locked(f, j);
}

void adafs_foreman_forget(struct adafs_foreman *f, const char *blob)
{
	adafs_mutex_lock(&f->lock);
	struct foreman_image *image = foreman_table_find(&f->images, blob);
	if (image) {
		foreman_release_partners_locked(f, image);
		foreman_table_remove(&f->images, blob);
		foreman_image_free(image);
	}
	for (size_t i = 0; i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (!has_input(j, blob))
			continue;
		if (*j->unit || (!j->ended && !j->cancel))
			foreman_free_partners_locked(f, j);
		j->images_seen_at = 0;
		if (!j->ended && !j->cancel)
			cancel_job_locked(f, j);
	}
	f->nudged = f->newest_dirty = f->resolve_wanted = true;
	foreman_show_locked(f);
	adafs_cond_signal(&f->tracker_wake);
	adafs_cond_signal(&f->submitter_wake);
	adafs_cond_signal(&f->janitor_wake); /* an ended job's part leaves the map */
	adafs_mutex_unlock(&f->lock);
}

void adafs_foreman_nudge(struct adafs_foreman *f)
{
	adafs_mutex_lock(&f->lock);
	if (!f->nudged) {
		f->nudged = true;
		adafs_cond_signal(&f->tracker_wake);
	}
	uint64_t rescan_ms = f->local ? LOCAL_RESCAN_MS : RESCAN_MS;
	if (f->loaded && adafs_clock_mono_ms() > f->last_scan_ms + rescan_ms && !f->scan_wanted) {
		f->scan_wanted = true;
		adafs_cond_signal(&f->submitter_wake);
	}
	adafs_mutex_unlock(&f->lock);
}

void adafs_foreman_want(struct adafs_foreman *f, const char *job_id)
{
	adafs_mutex_lock(&f->lock);
	struct foreman_job *j = foreman_table_find(&f->jobs, job_id);
	if (j && !j->body_loaded && !j->body_wanted && *j->manifest_etag) {
		j->body_wanted = true;
		adafs_cond_signal(&f->submitter_wake);
	}
	adafs_mutex_unlock(&f->lock);
}
