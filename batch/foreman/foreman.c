/* foreman/foreman.c - life, the queue of what the filesystem asks for, the submitter thread, publishing. */
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
#include "batch/foreman/manifest.h"
#include "batch/foreman/view.h"

#define POLL_MS 2000
#define POLL_MAX_MS 15000
#define LOCAL_POLL_MS 400
#define LOCAL_POLL_MAX_MS 1000
/* Somebody looks: the container is listed again when the last time is longer ago, for what other mounts did. */
#define RESCAN_MS 60000

/* --- life --------------------------------------------------------------------------------- */

static int init_tables(struct adafs_foreman *f)
{
	struct view_input in = { .jobs = &f->jobs, .images = &f->images, .pool_state = "", .trouble = "" };
	f->pool_state = strdup("");
	f->blob_trouble = strdup("");
	f->batch_trouble = strdup("");
	f->view = view_make(&in);
	return f->pool_state && f->blob_trouble && f->batch_trouble && f->view ? 0 : -ENOMEM;
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
	f->blob = config->blob;
	f->batch = config->batch;
	f->container = strdup(config->container);
	const char *pool = config->pool && *config->pool ? config->pool : adafs_pipeline_pool(config->pipeline);
	f->pool = strdup(pool ? pool : "");
	f->owner = adafs_fmt("%s/%s", adafs_blob_client_account(config->blob)->name, config->container);
	f->pipeline = adafs_pipeline_ref(config->pipeline);
	f->changed = config->changed;
	f->changed_arg = config->changed_arg;
	f->poll_ms = config->poll_ms;
	f->pool_nodes = -1;
	f->urls = (struct sas_urls){ .blob = f->blob, .container = f->container, .policy = "adafs-1" };
	f->pipelines = (struct foreman_pipelines){ .blob = f->blob, .container = f->container,
						   .own = f->pipeline };
	if (f->container && f->pool && f->owner && init_tables(f) == 0)
		return f;
	adafs_foreman_free(f);
	adafs_err_set(reterr, -ENOMEM, "out of memory");
	return NULL;
}

static void free_op(struct foreman_op *op)
{
	free(op->blob);
	free(op->sha256);
	free(op);
}

void adafs_foreman_free(struct adafs_foreman *f)
{
	if (!f)
		return;
	adafs_foreman_stop(f);
	while (f->first_op) {
		struct foreman_op *op = f->first_op;
		f->first_op = op->next;
		free_op(op);
	}
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
	free(f->jobs.item);
	free(f->images.item);
	adafs_view_unref(f->view);
	pipelines_clear(&f->pipelines);
	adafs_pipeline_unref(f->pipeline);
	free(f->container);
	free(f->pool);
	free(f->owner);
	free(f->pool_state);
	free(f->blob_trouble);
	free(f->batch_trouble);
	adafs_cond_clear(&f->submitter_wake);
	adafs_cond_clear(&f->tracker_wake);
	adafs_mutex_clear(&f->view_lock);
	adafs_mutex_clear(&f->lock);
	free(f);
}

static void *submitter_main(void *arg);

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
	rc = pthread_create(&f->submitter, NULL, submitter_main, f);
	if (rc)
		return adafs_err_set(reterr, -rc, "cannot start a thread: %s", strerror(rc));
	rc = pthread_create(&f->tracker, NULL, foreman_tracker_main, f);
	if (rc) {
		adafs_mutex_lock(&f->lock);
		f->stopping = true;
		adafs_cond_broadcast(&f->submitter_wake);
		adafs_mutex_unlock(&f->lock);
		pthread_join(f->submitter, NULL);
		return adafs_err_set(reterr, -rc, "cannot start a thread: %s", strerror(rc));
	}
	f->running = true;
	return 0;
}

void adafs_foreman_stop(struct adafs_foreman *f)
{
	if (!f || !f->running)
		return;
	adafs_mutex_lock(&f->lock);
	f->stopping = true;
	adafs_cond_broadcast(&f->submitter_wake);
	adafs_cond_broadcast(&f->tracker_wake);
	adafs_mutex_unlock(&f->lock);
	pthread_join(f->submitter, NULL);
	pthread_join(f->tracker, NULL);
	f->running = false;
}

/* --- views -------------------------------------------------------------------------------- */

struct adafs_view *adafs_foreman_view(struct adafs_foreman *f)
{
	adafs_mutex_lock(&f->view_lock);
	struct adafs_view *v = view_ref(f->view);
	adafs_mutex_unlock(&f->view_lock);
	return v;
}

void foreman_touch_locked(struct adafs_foreman *f, struct foreman_job *j)
{
	j->dirty = true;
	f->view_dirty = true;
}

void foreman_set_trouble_locked(struct adafs_foreman *f, char **which, const char *text)
{
	if (!foreman_text_set(which, text))
		return;
	f->view_dirty = true;
	if (**which)
		adafs_log(WARN, "foreman", "%s", *which);
	else
		adafs_log(INFO, "foreman", "the services answer again");
}

void foreman_publish(struct adafs_foreman *f)
{
	adafs_mutex_lock(&f->lock);
	if (!f->view_dirty) {
		adafs_mutex_unlock(&f->lock);
		return;
	}
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
	};
	struct adafs_view *v = view_make(&in), *old = NULL;
	uint64_t generation = f->generation;
	if (v) { /* else the old one stays and the next change tries again */
		generation = ++f->generation;
		f->view_dirty = false;
		adafs_mutex_lock(&f->view_lock);
		old = f->view;
		f->view = v;
		adafs_mutex_unlock(&f->view_lock);
	}
	adafs_mutex_unlock(&f->lock);
	adafs_view_unref(old);
	if (v && f->changed)
		f->changed(f->changed_arg, generation);
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
static const char *recall_nonce_locked(struct adafs_foreman *f, const char *blob, const char *sha256)
{
	for (size_t i = 1; i <= FOREMAN_N_TRIGGERS && i <= f->next_trigger; i++) {
		const struct foreman_trigger *t = &f->trigger[(f->next_trigger - i) % FOREMAN_N_TRIGGERS];
		if (t->blob && t->sha256 && strcmp(t->blob, blob) == 0 && strcmp(t->sha256, sha256) == 0)
			return t->nonce;
	}
	return "";
}

int adafs_foreman_trigger(struct adafs_foreman *f, const char *blob, const char *sha256,
			  struct adafs_blob_meta *ret, struct adafs_err *reterr)
{
	const char *rest;
	char nonce[33];
	struct adafs_blob_meta m = { 0 };
	ADAFS_FREE char *event = foreman_event_of(blob, &rest);
	if (!event)
		return adafs_err_set(reterr, -ENOENT, "'%s' is in no event: copy it to inbox/<event>/", blob);
	int role = adafs_pipeline_role(f->pipeline, rest, reterr);
	if (role < 0)
		return role;
	adafs_random_hex(8, nonce);
	int rc = adafs_blob_meta_set(&m, "adafssha256", sha256);
	if (!rc)
		rc = adafs_blob_meta_set(&m, "adafspipeline", adafs_pipeline_digest(f->pipeline));
	if (!rc)
		rc = adafs_blob_meta_set(&m, "adafsnonce", nonce);
	if (!rc && adafs_pipeline_n_inputs(f->pipeline) == 1) {
		struct adafs_plan_image image = { .blob = blob, .sha256 = sha256 };
		char id[ADAFS_JOB_ID_LEN];
		adafs_plan_job_id(event, &image, 1, id);
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

static void push_op(struct adafs_foreman *f, enum foreman_op_kind kind, const char *blob,
		    const char *sha256, const char *etag)
{
	struct foreman_op *op = calloc(1, sizeof(*op));
	if (op) {
		op->kind = kind;
		op->blob = strdup(blob);
		op->sha256 = strdup(sha256);
		snprintf(op->etag, sizeof(op->etag), "%s", etag);
	}
	adafs_mutex_lock(&f->lock);
	bool full = kind == FOREMAN_OP_SUBMIT && f->n_ops >= FOREMAN_MAX_OPS;
	if (!op || !op->blob || !op->sha256 || full) {
		/* Nothing is lost: the blob carries its trigger, a listing finds it. */
		f->scan_wanted = true;
		if (op)
			free_op(op);
	} else {
		if (f->last_op)
			f->last_op->next = op;
		else
			f->first_op = op;
		f->last_op = op;
		f->n_ops++;
	}
	adafs_cond_signal(&f->submitter_wake);
	adafs_mutex_unlock(&f->lock);
}

void adafs_foreman_submit(struct adafs_foreman *f, const struct adafs_foreman_image *image)
{
	foreman_crash_point("after-commit");
	push_op(f, FOREMAN_OP_SUBMIT, image->blob, image->sha256, image->etag);
}

void adafs_foreman_forget(struct adafs_foreman *f, const char *blob)
{
	push_op(f, FOREMAN_OP_FORGET, blob, "", "");
}

void adafs_foreman_nudge(struct adafs_foreman *f)
{
	adafs_mutex_lock(&f->lock);
	if (!f->nudged) {
		f->nudged = true;
		adafs_cond_signal(&f->tracker_wake);
	}
	if (f->loaded && adafs_clock_mono_ms() > f->last_scan_ms + RESCAN_MS && !f->scan_wanted) {
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

int adafs_foreman_cancel(struct adafs_foreman *f, const char *job_id, struct adafs_err *reterr)
{
	int rc = 0;
	ADAFS_FREE char *batch_id = NULL;
	adafs_mutex_lock(&f->lock);
	struct foreman_job *j = foreman_table_find(&f->jobs, job_id);
	if (!j) {
		rc = adafs_err_set(reterr, -ENOENT, "there is no job '%s'", job_id);
	} else if (j->ended) {
		rc = adafs_err_set(reterr, -EBUSY, "job '%s' has ended already: %s", job_id,
				   adafs_state_name(j->state));
	} else if (!j->submitted) {
		/* The submitter leaves a tombstone instead of a job, or the tracker ends what it has begun. */
		j->cancel = true;
		j->retry_at_ms = 0;
		adafs_cond_signal(&f->submitter_wake);
	} else {
		batch_id = strdup(j->batch_job_id);
		if (!batch_id)
			rc = adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	adafs_mutex_unlock(&f->lock);
	if (rc || !batch_id)
		return rc;
	rc = adafs_batch_job_terminate(f->batch, batch_id, DERIVE_CANCEL_REASON, reterr);
	if (rc && rc != -ENOENT)
		return rc;
	adafs_mutex_lock(&f->lock);
	j->cancel = j->cancel_sent = true;
	f->nudged = true;
	adafs_cond_signal(&f->tracker_wake);
	adafs_mutex_unlock(&f->lock);
	return 0;
}

/* --- the submitter thread ----------------------------------------------------------------- */

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

static void do_submit_op(struct adafs_foreman *f, const struct foreman_op *op)
{
	adafs_mutex_lock(&f->lock);
	struct foreman_image *i = foreman_table_find(&f->images, op->blob);
	if (!i) {
		i = foreman_image_new(op->blob);
		if (!i || foreman_table_insert(&f->images, i)) {
			foreman_image_free(i);
			f->scan_wanted = true;
			adafs_mutex_unlock(&f->lock);
			return;
		}
	}
	foreman_text_set(&i->sha256, op->sha256);
	foreman_text_set(&i->digest, adafs_pipeline_digest(f->pipeline));
	foreman_text_set(&i->nonce, recall_nonce_locked(f, op->blob, op->sha256));
	strcpy(i->etag, op->etag);
	i->resolved = false;
	i->seen = f->scan_number;
	f->view_dirty = true;
	adafs_mutex_unlock(&f->lock);
	foreman_resolve_image(f, op->blob);
}

static bool has_input(const struct foreman_job *j, const char *blob)
{
	for (size_t i = 0; i < j->n_inputs; i++)
		if (strcmp(j->input[i].blob, blob) == 0)
			return true;
	return false;
}

static void do_forget_op(struct adafs_foreman *f, const struct foreman_op *op)
{
	adafs_mutex_lock(&f->lock);
	struct foreman_image *i = foreman_table_find(&f->images, op->blob);
	if (i) {
		foreman_table_remove(&f->images, op->blob);
		foreman_image_free(i);
	}
	for (size_t k = 0; k < f->jobs.n; k++) {
		struct foreman_job *j = f->jobs.item[k];
		if (j->ended || j->cancel || !has_input(j, op->blob))
			continue;
		j->cancel = true;
		j->retry_at_ms = 0;
		foreman_job_log(j, adafs_clock_wall_us(), "image deleted: cancelling");
		/* Its partners stay: without this image they wait for a new one. */
		for (size_t m = 0; m < f->images.n; m++) {
			struct foreman_image *other = f->images.item[m];
			if (strcmp(other->job_id, j->id) == 0)
				other->resolved = false;
		}
	}
	f->nudged = true;
	f->newest_dirty = f->view_dirty = true;
	adafs_cond_signal(&f->tracker_wake);
	adafs_mutex_unlock(&f->lock);
	foreman_resolve_all(f);
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
		f->view_dirty = true;
		foreman_set_trouble_locked(f, &f->blob_trouble, "");
		adafs_cond_signal(&f->tracker_wake);
	} else if (!f->stopping) {
		f->scan_retry_ms = adafs_clock_mono_ms() + foreman_backoff_ms(f, ++*n_failures);
		ADAFS_FREE char *text = adafs_fmt("the container cannot be listed now: %s", err.msg);
		foreman_set_trouble_locked(f, &f->blob_trouble, text);
	}
	adafs_mutex_unlock(&f->lock);
}

static void do_job(struct adafs_foreman *f, struct foreman_job *j)
{
	struct adafs_err err = { 0 };
	int rc = foreman_submit_job(f, j, &err);
	uint64_t now = adafs_clock_mono_ms();
	adafs_mutex_lock(&f->lock);
	if (rc == 0) {
		foreman_set_trouble_locked(f, &f->blob_trouble, "");
	} else if (!f->stopping) {
		j->n_tries++;
		if (j->retry_at_ms <= now)
			j->retry_at_ms = now + foreman_backoff_ms(f, j->n_tries);
		bool quota = strcmp(err.service_code, "ActiveJobAndScheduleQuotaReached") == 0;
		ADAFS_FREE char *text =
			quota ? strdup("waits: the Batch account has as many active jobs as it may; it goes "
				       "on when others end") :
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
		adafs_log(WARN, "foreman", "manifest of job '%s' cannot be read: %s", j->id, err.msg);
	}
	adafs_mutex_unlock(&f->lock);
}

static bool wants_body(const struct foreman_job *j)
{
	return j->submitted && !j->body_loaded && *j->manifest_etag && (!j->ended || j->body_wanted);
}

/* The next job with something to do for this thread, else NULL and when to look again. */
static struct foreman_job *next_job_locked(struct adafs_foreman *f, uint64_t now, uint64_t *ret_due)
{
	struct foreman_job *best = NULL;
	*ret_due = UINT64_MAX;
	for (size_t i = 0; i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (j->submitted && !wants_body(j))
			continue;
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

static struct foreman_op *pop_op_locked(struct adafs_foreman *f)
{
	struct foreman_op *op = f->first_op;
	if (!op)
		return NULL;
	f->first_op = op->next;
	if (!f->first_op)
		f->last_op = NULL;
	f->n_ops--;
	return op;
}

static void do_op(struct adafs_foreman *f, struct foreman_op *op)
{
	if (op->kind == FOREMAN_OP_SUBMIT)
		do_submit_op(f, op);
	else
		do_forget_op(f, op);
	free_op(op);
}

static void *submitter_main(void *arg)
{
	struct adafs_foreman *f = arg;
	unsigned n_failures = 0;
	adafs_mutex_lock(&f->lock);
	while (!f->stopping) {
		uint64_t now = adafs_clock_mono_ms(), due = UINT64_MAX;
		struct foreman_op *op = NULL;
		struct foreman_job *j = NULL;
		bool scan = f->scan_wanted && now >= f->scan_retry_ms;
		/* Before the first listing nothing is submitted: an ended job may be known to its manifest alone. */
		if (!scan && f->loaded)
			op = pop_op_locked(f);
		if (!scan && f->loaded && !op)
			j = next_job_locked(f, now, &due);
		if (f->scan_wanted && f->scan_retry_ms < due)
			due = f->scan_retry_ms;
		if (!scan && !op && !j) {
			if (due == UINT64_MAX)
				adafs_cond_wait(&f->submitter_wake, &f->lock);
			else
				adafs_cond_wait_until(&f->submitter_wake, &f->lock, due);
			continue;
		}
		adafs_mutex_unlock(&f->lock);
		if (scan)
			do_scan(f, &n_failures);
		else if (op)
			do_op(f, op);
		else if (j->submitted)
			do_body(f, j);
		else
			do_job(f, j);
		foreman_publish(f);
		adafs_mutex_lock(&f->lock);
	}
	adafs_mutex_unlock(&f->lock);
	return NULL;
}
