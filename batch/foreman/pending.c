/*
 * foreman/pending.c - from images to jobs. An image with a trigger belongs to the job whose id
 * follows from its path and content (and those of its partners); a job without a manifest in any
 * state is to be submitted.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/digest.h"
#include "batch/base/log.h"
#include "batch/foreman/grouping.h"
#include "batch/foreman/manifest.h"

bool foreman_set_waiting_locked(struct adafs_foreman *f, struct foreman_image *i, const char *text)
{
	bool changed = foreman_text_set(&i->job_id, "");
	if (foreman_text_set(&i->waiting_for, text)) {
		i->waiting_us = adafs_clock_wall_us();
		changed = true;
	}
	if (changed)
		foreman_show_locked(f);
	return changed;
}

/* What the triggers of a group are known by; "": not all are. Those of a unit are too many to list.
 */
static char *group_nonce(const struct foreman_group *g)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(1 << 20);
	for (size_t i = 0; i < g->n; i++) {
		if (!*g->image[i]->nonce) /* half a nonce would look like another trigger */
			return strdup("");
		if (adafs_buf_addf(&b, "%s%s", i ? "," : "", g->image[i]->nonce) < 0)
			return NULL;
	}
	if (!*g->unit)
		return adafs_buf_steal(&b, NULL);
	char hex[ADAFS_SHA256_HEX_LEN];
	adafs_sha256_hex(adafs_buf_str(&b), b.len, hex);
	return strndup(hex, 32);
}

bool foreman_same_unit(const struct foreman_job *a, const struct foreman_job *b)
{
	return *a->unit && strcmp(a->unit, b->unit) == 0 && strcmp(a->event, b->event) == 0 &&
	       strcmp(a->pipeline, b->pipeline) == 0;
}

/* Whether the part of one takes the place of the other's. */
static bool shares_image(const struct foreman_job *a, const struct foreman_job *b)
{
	if (*a->unit || *b->unit)
		return foreman_same_unit(a, b);
	for (size_t i = 0; i < a->n_inputs; i++)
		for (size_t k = 0; k < b->n_inputs; k++)
			if (strcmp(a->input[i].blob, b->input[k].blob) == 0)
				return true;
	return false;
}

/* Whether other content of one of its images has run since: then the map holds that one's part. */
static bool superseded_locked(const struct adafs_foreman *f, const struct foreman_job *j)
{
	for (size_t i = 0; i < f->jobs.n; i++) {
		const struct foreman_job *other = f->jobs.item[i];
		if (other != j && other->submitted && *other->manifest_etag &&
		    other->created_us > j->created_us && shares_image(other, j))
			return true;
	}
	return false;
}

/* Whether a further commit of the job's own content is a reason to run an ended job once more. */
static bool repeatable_locked(const struct adafs_foreman *f, const struct foreman_job *j)
{
	return j->state == ADAFS_STATE_FAILED || j->state == ADAFS_STATE_CANCELLED ||
	       j->deletion == FOREMAN_DELETED || j->dropped_us || superseded_locked(f, j);
}

/*
 * The image was committed again with the same content after its job had failed, was cancelled, or
 * was followed by one of other content: run it once more. Every mount sees the same nonces, so all
 * choose the same next run.
 */
static bool wants_rerun_locked(const struct adafs_foreman *f, const struct foreman_job *j,
			       const char *nonce)
{
	if (!j->submitted || !j->ended || j->final_pending ||
	    j->deletion == FOREMAN_DELETION_WANTED) /* when it is done, it is looked at again */
		return false;
	if (!*j->manifest_etag) /* given up before it began */
		return true;
	/* A unit that has the images again that it had once. */
	if (*j->unit && superseded_locked(f, j))
		return true;
	return *nonce && *j->nonce && strcmp(nonce, j->nonce) != 0 && repeatable_locked(f, j);
}

/* Committed again with the same content while the job runs: this run is the one meant, unless it is
 * being cancelled or was overtaken; then the commit is looked at again when it has ended. */
static void join_run_locked(const struct adafs_foreman *f, struct foreman_job *j, const char *nonce)
{
	bool cancelled = j->cancel || strcmp(j->batch_reason, DERIVE_CANCEL_REASON) == 0;
	if (!*nonce || !j->submitted || j->ended || strcmp(nonce, j->nonce) == 0)
		return;
	if (cancelled || superseded_locked(f, j))
		j->look_again = true;
	else
		foreman_text_set(&j->nonce, nonce);
}

void foreman_job_settled_locked(struct adafs_foreman *f, struct foreman_job *j)
{
	for (size_t k = 0; k < j->n_inputs; k++) {
		struct foreman_image *i = foreman_table_find(&f->images, j->input[k].blob);
		if (!i || !*i->nonce)
			continue;
		if (*j->unit ? !j->look_again
			     : strcmp(i->job_id, j->id) != 0 || strstr(j->nonce, i->nonce) != NULL)
			continue;
		i->resolved = false;
		f->resolve_wanted = true;
		adafs_cond_signal(&f->submitter_wake);
	}
	j->look_again = false;
}

int64_t foreman_begin_us_locked(const struct adafs_foreman *f, const struct foreman_job *j)
{
	int64_t us = adafs_blob_now_us(f->blob);
	if (us <= j->created_us)
		us = j->created_us + 1;
	for (size_t i = 0; *j->unit && i < f->jobs.n; i++) {
		const struct foreman_job *other = f->jobs.item[i];
		if (us <= other->created_us && foreman_same_unit(other, j))
			us = other->created_us + 1;
	}
	return us;
}

void foreman_start_rerun_locked(struct adafs_foreman *f, struct foreman_job *j)
{
	if (*j->manifest_etag)
		j->run++;
	j->created_us = foreman_begin_us_locked(f, j); /* this run's */
	foreman_job_begin_again(j);
	foreman_text_set(&j->batch_job_id, "");
	/* The manifest of the run that ended, read before this one is submitted, decides. */
	j->kept_wanted = *j->manifest_etag;
	foreman_job_keep_steps(j, NULL, NULL);
	foreman_job_log(j, adafs_clock_wall_us(), "%s: run %u",
			j->n_merged ? "merged again" : "copied again", j->run);
}

int foreman_show_plan(struct adafs_foreman *f, struct foreman_job *j, struct adafs_pipeline *p,
		      struct adafs_err *reterr)
{
	ADAFS_FREE struct adafs_plan_image *images = calloc(j->n_inputs + 1, sizeof(*images));
	ADAFS_FREE struct adafs_plan_kept *kept = foreman_job_kept(j);
	ADAFS_FREE struct adafs_plan_part *parts = foreman_job_parts(j);
	if (!images || !kept || !parts)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	for (size_t i = 0; i < j->n_inputs; i++)
		images[i] = (struct adafs_plan_image){ .role = j->input[i].role_index,
						       .blob = j->input[i].blob,
						       .snapshot = j->input[i].snapshot,
						       .etag = j->input[i].etag,
						       .sha256 = j->input[i].sha256,
						       .date = j->input[i].date,
						       .size = j->input[i].size };
	struct adafs_plan_request rq = { .job_id = j->id,
					 .run = j->run,
					 .event = j->event,
					 .unit = j->unit,
					 .pool = f->pool,
					 .pool_slots = f->pool_slots,
					 .images = images,
					 .n_images = j->n_inputs,
					 .no_merge = foreman_merges_event_locked(f, j) ||
						     foreman_goes_with_event_locked(f, j),
					 .parts = parts,
					 .n_parts = j->n_parts,
					 .kept = kept,
					 .n_kept = j->n_kept,
					 .asset_etag = foreman_asset_etag,
					 .asset_arg = f };
	struct adafs_plan *plan;
	int rc = adafs_plan_make(p, &rq, &plan, reterr);
	if (rc)
		return rc;
	rc = foreman_job_take_plan(j, plan);
	foreman_text_set(&j->batch_job_id, plan->batch_job_id);
	adafs_plan_free(plan);
	return rc ? adafs_err_set(reterr, rc, "out of memory") : 0;
}

/* Take the group's images and the plan's steps, without ids and access: only to show them. */
static int fill_job(struct adafs_foreman *f, struct foreman_job *j, struct adafs_pipeline *p,
		    const struct foreman_group *g, struct adafs_err *reterr)
{
	foreman_job_clear_inputs(j);
	foreman_text_set(&j->pipeline, adafs_pipeline_name(p));
	foreman_text_set(&j->digest, adafs_pipeline_digest(p));
	foreman_text_set(&j->unit, g->unit);
	for (size_t i = 0; i < g->n; i++) {
		const struct foreman_image *in = g->image[i];
		const struct foreman_input copy = {
			.role = (char *)adafs_pipeline_input(p, g->role[i])->name,
			.role_index = g->role[i],
			.blob = in->blob,
			.etag = (char *)in->etag,
			.sha256 = in->sha256,
			.date = (char *)in->date,
			.size = in->size,
		};
		if (foreman_job_add_input(j, &copy))
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	return foreman_show_plan(f, j, p, reterr);
}

static struct foreman_job *add_job_locked(struct adafs_foreman *f, const char *id,
					  const char *event, struct adafs_pipeline *p,
					  const char *unit)
{
	struct foreman_job *j = foreman_job_new(id);
	if (!j || foreman_table_insert(&f->jobs, j)) {
		foreman_job_free(j);
		return NULL;
	}
	foreman_text_set(&j->event, event);
	foreman_text_set(&j->pipeline, adafs_pipeline_name(p));
	foreman_text_set(&j->unit, unit);
	j->created_us = j->changed_us = foreman_begin_us_locked(f, j);
	foreman_text_set(&j->digest, adafs_pipeline_digest(p));
	j->keep_ms = f->keep_ms;
	foreman_text_set(&j->waiting_for, "is being submitted");
	foreman_job_log(j, j->created_us, "image committed");
	return j;
}

/* Other images make up the unit by now: what its former ones began need not be finished. */
static void end_former_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock)
{
	for (size_t i = 0; i < f->jobs.n; i++) {
		struct foreman_job *other = f->jobs.item[i];
		if (other == j || other->ended || other->cancel || !foreman_same_unit(other, j))
			continue;
		other->cancel = true;
		other->retry_at_ms = 0;
		foreman_job_log(other, adafs_clock_wall_us(), "replaced by %s: cancelling", j->id);
		foreman_touch_locked(f, other);
		f->nudged = true;
		adafs_cond_signal(&f->tracker_wake);
	}
}

void foreman_assign_locked(struct adafs_foreman *f, struct adafs_pipeline *p, const char *event,
			   const struct foreman_group *g)
{
	ADAFS_FREE struct adafs_plan_image *images = calloc(g->n, sizeof(*images));
	ADAFS_FREE char *nonce = group_nonce(g);
	if (!images || !nonce)
		return;
	for (size_t i = 0; i < g->n; i++)
		images[i] = (struct adafs_plan_image){ .role = g->role[i],
						       .blob = g->image[i]->blob,
						       .sha256 = g->image[i]->sha256 };
	char id[ADAFS_JOB_ID_LEN];
	adafs_plan_job_id(event, g->unit, images, g->n, id);

	struct foreman_job *j = foreman_table_find(&f->jobs, id);
	bool fresh = !j;
	if (!j)
		j = add_job_locked(f, id, event, p, g->unit);
	if (!j)
		return;
	bool again = !fresh && wants_rerun_locked(f, j, nonce);
	/* Cancelled before it was submitted, and the manifest that says so is on its way. */
	bool ending = !j->submitted && j->ended;
	if (again)
		foreman_start_rerun_locked(f, j);
	else if (!fresh)
		join_run_locked(f, j, nonce);
	if ((fresh || again) && foreman_text_set(&j->pairing, g->why) && *g->why)
		foreman_job_log(j, adafs_clock_wall_us(), "%s: %s", *g->unit ? "unit" : "paired",
				g->why);
	if (fresh || again || (!j->submitted && !ending)) {
		struct adafs_err err;
		if (*nonce &&
		    strcmp(nonce, j->nonce) != 0) { /* wanted again since it was cancelled */
			j->cancel = false;
			j->deletion = FOREMAN_NOT_DELETED;
		}
		foreman_text_set(&j->nonce, nonce);
		if (j->retry_at_ms == UINT64_MAX)
			j->retry_at_ms = 0;
		if (!j->in_hand && fill_job(f, j, p, g, &err)) {
			foreman_text_set(&j->waiting_for, err.msg);
			/* The same plan fails the same way until somebody changes something. */
			j->retry_at_ms = err.rc == -ENOMEM ? 0 : UINT64_MAX;
			adafs_log(ERROR, "foreman", "job '%s' cannot be planned: %s", id, err.msg);
		}
		if (*g->unit && (fresh || again))
			end_former_locked(f, j);
	}
	for (size_t i = 0; i < g->n; i++) {
		foreman_text_set(&g->image[i]->job_id, id);
		foreman_text_set(&g->image[i]->waiting_for, "");
		g->image[i]->resolved = true;
	}
	foreman_look_at_event_jobs_locked(f, adafs_clock_mono_ms());
	foreman_touch_locked(f, j);
	f->newest_dirty = true;
}

static void resolve_locked(struct adafs_foreman *f, const struct foreman_event *e, const char *rest,
			   struct foreman_image *i) ADAFS_REQUIRES(&f->lock)
{
	struct adafs_err err = { 0 };
	size_t first = 0;
	if (adafs_pipeline_role(e->pipeline, rest, &err) < 0) {
		foreman_set_waiting_locked(f, i, err.msg);
	} else if (adafs_pipeline_by_unit(e->pipeline)) {
		foreman_resolve_unit_locked(f, e, i);
	} else if (adafs_pipeline_n_inputs(e->pipeline) > 1) {
		foreman_resolve_partners_locked(f, e, i);
	} else {
		const struct foreman_group g = {
			.image = &i, .role = &first, .n = 1, .why = "", .unit = ""
		};
		foreman_assign_locked(f, e->pipeline, e->name, &g);
	}
}

void foreman_release_partners_locked(struct adafs_foreman *f, struct foreman_image *i)
{
	const struct foreman_job *j = *i->job_id ? foreman_table_find(&f->jobs, i->job_id) : NULL;
	for (size_t k = 0; j && j->n_inputs > 1 && k < j->n_inputs; k++) {
		struct foreman_image *other = foreman_table_find(&f->images, j->input[k].blob);
		if (!other || other == i || strcmp(other->job_id, j->id) != 0)
			continue;
		other->resolved = false;
		foreman_text_set(&other->job_id, "");
		f->resolve_wanted = true;
	}
	foreman_text_set(&i->job_id, "");
}

void foreman_free_partners_locked(struct adafs_foreman *f, const struct foreman_job *j)
{
	for (size_t k = 0; k < j->n_inputs; k++) {
		struct foreman_image *i = foreman_table_find(&f->images, j->input[k].blob);
		if (i && (*j->unit || strcmp(i->job_id, j->id) == 0))
			i->resolved = false;
	}
}

void foreman_resolve_own_locked(struct adafs_foreman *f, struct foreman_image *i)
{
	const char *rest;
	ADAFS_FREE char *event = foreman_event_of(i->blob, &rest);
	/* Its own file is still open, so that nothing is settled here. */
	const struct foreman_event e = { .pipeline = f->pipeline, .name = event, .busy = true };
	if (event)
		resolve_locked(f, &e, rest, i);
}

void foreman_resolve_image(struct adafs_foreman *f, const char *blob)
{
	const char *rest;
	ADAFS_FREE char *event = foreman_event_of(blob, &rest);
	adafs_mutex_lock(&f->lock);
	struct foreman_image *i = event ? foreman_table_find(&f->images, blob) : NULL;
	ADAFS_FREE char *digest = i ? strdup(i->digest) : NULL;
	adafs_mutex_unlock(&f->lock);
	if (!digest)
		return;

	struct adafs_err err = { 0 };
	ADAFS_FREE char *below = adafs_fmt("images/%s/", event);
	struct adafs_pipeline *p = pipelines_get(&f->pipelines, digest, &err);
	const struct foreman_event e = {
		.pipeline = p,
		.name = event,
		.busy = f->is_written && below && f->is_written(f->is_written_arg, below),
	};
	adafs_mutex_lock(&f->lock);
	i = foreman_table_find(&f->images, blob);
	/*
	 * Committed again under another pipeline in the meantime: then it has been resolved anew.
	 */
	if (i && strcmp(i->digest, digest) != 0)
		i = NULL;
	if (i && !p)
		foreman_set_waiting_locked(f, i, err.msg);
	else if (i)
		resolve_locked(f, &e, rest, i);
	adafs_mutex_unlock(&f->lock);
}

/* --- all of them after a listing ---------------------------------------------------------- */

/* An image as a manifest names it, to find the job of an image without its pipeline. */
struct ref {
	const char *blob, *sha256;
	struct foreman_job *job;
};

static int by_blob(const void *a, const void *b)
{
	const struct ref *x = a, *y = b;
	return strcmp(x->blob, y->blob);
}

static struct ref *make_refs_locked(struct adafs_foreman *f, size_t *ret_n)
{
	size_t n = 0;
	for (size_t i = 0; i < f->jobs.n; i++)
		n += ((struct foreman_job *)f->jobs.item[i])->n_inputs;
	struct ref *refs = calloc(n + 1, sizeof(*refs));
	*ret_n = 0;
	for (size_t i = 0; refs && i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		for (size_t k = 0; k < j->n_inputs; k++)
			refs[(*ret_n)++] = (struct ref){ j->input[k].blob, j->input[k].sha256, j };
	}
	if (refs)
		qsort(refs, *ret_n, sizeof(*refs), by_blob);
	return refs;
}

static bool same_content(const char *a, const char *b)
{
	return strncmp(a, b, MANIFEST_SHA_DIGITS) == 0;
}

bool foreman_job_is_current_locked(struct adafs_foreman *f, const struct foreman_job *j)
{
	for (size_t k = 0; k < j->n_inputs; k++) {
		const struct foreman_image *i = foreman_table_find(&f->images, j->input[k].blob);
		if (!i || !same_content(i->sha256, j->input[k].sha256))
			return false;
	}
	return j->n_inputs > 0;
}

static size_t first_ref(const struct ref *refs, size_t n, const char *blob)
{
	size_t low = 0, high = n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (strcmp(refs[mid].blob, blob) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Whether a job is known that the image's own present trigger made (or one that ended well with the
 * same content). */
static bool settled_locked(struct adafs_foreman *f, struct foreman_image *i, const struct ref *refs,
			   size_t n)
{
	bool in_unit = false; /* all of whose jobs are of the present images */
	for (size_t k = first_ref(refs, n, i->blob); k < n && strcmp(refs[k].blob, i->blob) == 0;
	     k++) {
		struct foreman_job *j = refs[k].job;
		/* A run that is written down and not in Batch yet is on its way. */
		bool known = j->submitted || *j->manifest_etag;
		if (*j->unit && j->newest) {
			if (!known || j->state == ADAFS_STATE_FAILED ||
			    j->state == ADAFS_STATE_CANCELLED ||
			    !foreman_job_is_current_locked(f, j))
				return false;
			foreman_text_set(&i->job_id, j->id);
			in_unit = true;
		}
		if (*j->unit || !known || !same_content(refs[k].sha256, i->sha256) ||
		    !foreman_job_is_current_locked(f, j))
			continue;
		bool further = *i->nonce && *j->nonce && !strstr(j->nonce, i->nonce);
		foreman_text_set(&i->job_id, j->id); /* whoever was its partner is so again */
		if (further && j->ended && repeatable_locked(f, j))
			continue;
		foreman_text_set(&i->waiting_for, "");
		i->resolved = true;
		return true;
	}
	if (in_unit) {
		foreman_text_set(&i->waiting_for, "");
		i->resolved = true;
	}
	return in_unit;
}

void foreman_resolve_all(struct adafs_foreman *f)
{
	size_t n_refs, n = 0;
	adafs_mutex_lock(&f->lock);
	foreman_mark_newest_locked(f);
	ADAFS_FREE struct ref *refs = make_refs_locked(f, &n_refs);
	ADAFS_FREE char **names = calloc(f->images.n + 1, sizeof(char *));
	for (size_t i = 0; refs && names && i < f->images.n; i++) {
		struct foreman_image *im = f->images.item[i];
		if (!im->resolved && !settled_locked(f, im, refs, n_refs))
			names[n++] = strdup(im->blob);
	}
	f->newest_dirty = true;
	f->resolve_number++;
	f->resolve_wanted = false;
	f->resolve_at_ms = 0; /* those that go on waiting say when */
	adafs_mutex_unlock(&f->lock);
	for (size_t i = 0; i < n; i++) {
		if (names[i])
			foreman_resolve_image(f, names[i]);
		free(names[i]);
	}
}

static int by_unit(const void *a, const void *b)
{
	const struct foreman_job *x = *(struct foreman_job *const *)a;
	const struct foreman_job *y = *(struct foreman_job *const *)b;
	int c = strcmp(x->event, y->event);
	if (!c)
		c = strcmp(x->pipeline, y->pipeline);
	if (!c)
		c = strcmp(x->unit, y->unit);
	return c ? c : x->created_us < y->created_us ? -1 : x->created_us > y->created_us;
}

static void set_newest_locked(struct adafs_foreman *f, struct foreman_job *j, bool newest)
	ADAFS_REQUIRES(&f->lock)
{
	if (newest == j->newest)
		return;
	j->newest = newest;
	foreman_touch_locked(f, j);
}

/* The job that began last is the newest of its unit, whichever images it has. */
static void mark_units_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock)
{
	size_t n = 0;
	ADAFS_FREE struct foreman_job **jobs = calloc(f->jobs.n + 1, sizeof(struct foreman_job *));
	for (size_t i = 0; jobs && i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (*j->unit)
			jobs[n++] = j;
	}
	if (n)
		qsort(jobs, n, sizeof(struct foreman_job *), by_unit);
	for (size_t i = 0; i < n; i++)
		set_newest_locked(f, jobs[i],
				  i + 1 == n || !foreman_same_unit(jobs[i], jobs[i + 1]));
}

/* Whether no other job counts for the job's image: by the content that it has now, or had last. */
static bool is_newest_locked(struct adafs_foreman *f, const struct foreman_job *j,
			     const struct ref *refs, size_t n) ADAFS_REQUIRES(&f->lock)
{
	if (!j->n_inputs || foreman_job_is_current_locked(f, j))
		return true;
	const char *blob = j->input[0].blob;
	bool newest = !foreman_table_find(&f->images, blob);
	for (size_t k = first_ref(refs, n, blob);
	     newest && k < n && strcmp(refs[k].blob, blob) == 0; k++)
		newest = refs[k].job->created_us <= j->created_us;
	return newest;
}

void foreman_mark_newest_locked(struct adafs_foreman *f)
{
	size_t n;
	ADAFS_FREE struct ref *refs = make_refs_locked(f, &n);
	f->newest_dirty = false;
	for (size_t i = 0; refs && i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (!*j->unit)
			set_newest_locked(f, j, is_newest_locked(f, j, refs, n));
	}
	mark_units_locked(f);
}
