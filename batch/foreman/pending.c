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
#include "batch/base/log.h"
#include "batch/foreman/internal.h"
#include "batch/foreman/manifest.h"
#include "batch/foreman/pairing.h"

/* The images of one job-to-be, one a role, in the order of roles. Borrowed from the table. */
struct group {
	struct foreman_image **image;
	size_t n;
};

static void set_waiting_locked(struct adafs_foreman *f, struct foreman_image *i, const char *text)
{
	bool changed = foreman_text_set(&i->job_id, "");
	if (foreman_text_set(&i->waiting_for, text) || changed)
		foreman_show_locked(f);
}

static char *group_nonce(const struct group *g)
{
	struct adafs_buf b = ADAFS_BUF_INIT(4096);
	for (size_t i = 0; i < g->n; i++) {
		if (!*g->image[i]->nonce) { /* half a nonce would look like another trigger */
			adafs_buf_clear(&b);
			return strdup("");
		}
		adafs_buf_addf(&b, "%s%s", i ? "," : "", g->image[i]->nonce);
	}
	return adafs_buf_steal(&b, NULL);
}

static bool shares_image(const struct foreman_job *a, const struct foreman_job *b)
{
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
	       superseded_locked(f, j);
}

/*
 * The image was committed again with the same content after its job had failed, was cancelled, or
 * was followed by one of other content: run it once more. Every mount sees the same nonces, so all
 * choose the same next run.
 */
static bool wants_rerun_locked(const struct adafs_foreman *f, const struct foreman_job *j,
			       const char *nonce)
{
	if (!j->submitted || !j->ended || j->final_pending)
		return false;
	if (!*j->manifest_etag) /* given up before it began */
		return true;
	return *nonce && *j->nonce && strcmp(nonce, j->nonce) != 0 && repeatable_locked(f, j);
}

/* Committed again with the same content while the job runs: this run is the one meant, unless it is
 * being cancelled or was overtaken; then the commit is looked at again when it has ended. */
static void join_run_locked(const struct adafs_foreman *f, struct foreman_job *j, const char *nonce)
{
	bool cancelled = j->cancel || strcmp(j->batch_reason, DERIVE_CANCEL_REASON) == 0;
	if (*nonce && j->submitted && !j->ended && !cancelled && !superseded_locked(f, j))
		foreman_text_set(&j->nonce, nonce);
}

void foreman_job_settled_locked(struct adafs_foreman *f, struct foreman_job *j)
{
	for (size_t k = 0; k < j->n_inputs; k++) {
		struct foreman_image *i = foreman_table_find(&f->images, j->input[k].blob);
		if (!i || !*i->nonce || strcmp(i->job_id, j->id) != 0 || strstr(j->nonce, i->nonce))
			continue;
		i->resolved = false;
		f->resolve_wanted = true;
		adafs_cond_signal(&f->submitter_wake);
	}
}

static void start_rerun(struct foreman_job *j)
{
	if (*j->manifest_etag)
		j->run++;
	j->submitted = j->ended = j->cancel = j->cancel_sent = false;
	j->batch_ended = false;
	foreman_text_set(&j->batch_reason, "");
	foreman_text_set(&j->batch_error, "");
	j->state = ADAFS_STATE_QUEUED;
	j->created_us = j->changed_us =
		adafs_clock_wall_us(); /* this run's: it counts as the newest */
	j->ended_us = 0;
	j->n_tries = 0;
	j->retry_at_ms = 0;
	foreman_text_set(&j->batch_job_id, "");
	foreman_text_set(&j->waiting_for, "is being submitted again");
	foreman_job_clear_steps(j);
	foreman_job_log(j, adafs_clock_wall_us(), "copied again: run %u", j->run);
}

/* Take the group's images and the plan's steps, without ids and access: only to show them. */
static int fill_job(struct adafs_foreman *f, struct foreman_job *j, struct adafs_pipeline *p,
		    const struct group *g, struct adafs_err *reterr)
{
	foreman_job_clear_inputs(j);
	ADAFS_FREE struct adafs_plan_image *images = calloc(g->n, sizeof(*images));
	if (!images)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	for (size_t i = 0; i < g->n; i++) {
		const struct foreman_image *in = g->image[i];
		if (foreman_job_add_input(j, adafs_pipeline_input(p, i)->name, i, in->blob, "",
					  in->etag, in->sha256))
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
		images[i] = (struct adafs_plan_image){ .role = i,
						       .blob = in->blob,
						       .snapshot = "",
						       .etag = in->etag,
						       .sha256 = in->sha256 };
	}
	struct adafs_plan_request rq = { .job_id = j->id,
					 .run = j->run,
					 .event = j->event,
					 .pool = f->pool,
					 .pool_slots = f->pool_slots,
					 .images = images,
					 .n_images = g->n };
	struct adafs_plan *plan;
	int rc = adafs_plan_make(p, &rq, &plan, reterr);
	if (rc)
		return rc;
	rc = foreman_job_take_plan(j, plan);
	foreman_text_set(&j->batch_job_id, plan->batch_job_id);
	adafs_plan_free(plan);
	return rc ? adafs_err_set(reterr, rc, "out of memory") : 0;
}

static struct foreman_job *add_job_locked(struct adafs_foreman *f, const char *id,
					  const char *event, struct adafs_pipeline *p)
{
	struct foreman_job *j = foreman_job_new(id);
	if (!j || foreman_table_insert(&f->jobs, j)) {
		foreman_job_free(j);
		return NULL;
	}
	j->created_us = j->changed_us = adafs_clock_wall_us();
	foreman_text_set(&j->event, event);
	foreman_text_set(&j->pipeline, adafs_pipeline_name(p));
	foreman_text_set(&j->digest, adafs_pipeline_digest(p));
	foreman_text_set(&j->waiting_for, "is being submitted");
	foreman_job_log(j, j->created_us, "image committed");
	return j;
}

static void assign_locked(struct adafs_foreman *f, struct adafs_pipeline *p, const char *event,
			  const struct group *g)
{
	ADAFS_FREE struct adafs_plan_image *images = calloc(g->n, sizeof(*images));
	ADAFS_FREE char *nonce = group_nonce(g);
	if (!images || !nonce)
		return;
	for (size_t i = 0; i < g->n; i++)
		images[i] = (struct adafs_plan_image){ .role = i,
						       .blob = g->image[i]->blob,
						       .sha256 = g->image[i]->sha256 };
	char id[ADAFS_JOB_ID_LEN];
	adafs_plan_job_id(event, images, g->n, id);

	struct foreman_job *j = foreman_table_find(&f->jobs, id);
	bool fresh = !j;
	if (!j)
		j = add_job_locked(f, id, event, p);
	if (!j)
		return;
	bool again = !fresh && wants_rerun_locked(f, j, nonce);
	/* Cancelled before it was submitted, and the manifest that says so is on its way. */
	bool ending = !j->submitted && j->ended;
	if (again)
		start_rerun(j);
	else if (!fresh)
		join_run_locked(f, j, nonce);
	if (fresh || again || (!j->submitted && !ending)) {
		struct adafs_err err;
		if (*nonce &&
		    strcmp(nonce, j->nonce) != 0) /* wanted again since it was cancelled */
			j->cancel = false;
		foreman_text_set(&j->nonce, nonce);
		if (j->retry_at_ms == UINT64_MAX)
			j->retry_at_ms = 0;
		if (fill_job(f, j, p, g, &err)) {
			foreman_text_set(&j->waiting_for, err.msg);
			/* The same plan fails the same way until somebody changes something. */
			j->retry_at_ms = err.rc == -ENOMEM ? 0 : UINT64_MAX;
			adafs_log(ERROR, "foreman", "job '%s' cannot be planned: %s", id, err.msg);
		}
	}
	for (size_t i = 0; i < g->n; i++) {
		foreman_text_set(&g->image[i]->job_id, id);
		foreman_text_set(&g->image[i]->waiting_for, "");
		g->image[i]->resolved = true;
	}
	foreman_touch_locked(f, j);
	f->newest_dirty = true;
}

/* The event's images that were triggered under one pipeline, with their roles in it. */
static size_t collect_locked(struct adafs_foreman *f, struct adafs_pipeline *p, const char *event,
			     struct pairing_image **ret, struct foreman_image ***ret_images)
{
	ADAFS_FREE char *prefix = adafs_fmt("images/%s/", event);
	size_t n = 0, len = prefix ? strlen(prefix) : 0;
	size_t first = prefix ? foreman_table_lower(&f->images, prefix) : f->images.n, last = first;
	while (last < f->images.n &&
	       strncmp(((struct foreman_image *)f->images.item[last])->blob, prefix, len) == 0)
		last++;
	struct pairing_image *list = calloc(last - first + 1, sizeof(*list));
	struct foreman_image **images = calloc(last - first + 1, sizeof(struct foreman_image *));
	for (size_t i = first; list && images && i < last; i++) {
		struct foreman_image *im = f->images.item[i];
		int role = adafs_pipeline_role(p, im->blob + len, NULL);
		if (role < 0 || strcmp(im->digest, adafs_pipeline_digest(p)) != 0)
			continue;
		list[n] = (struct pairing_image){ .blob = im->blob, .role = (size_t)role };
		images[n++] = im;
	}
	*ret = list;
	*ret_images = images;
	return n;
}

/* "waiting for the pre partner of x.tif: copy it to inbox/flood/pre-event/x.tif" */
static void missing_partner_locked(struct adafs_foreman *f, struct adafs_pipeline *p,
				   const char *event, struct foreman_image *self,
				   const size_t *partner)
{
	struct adafs_buf text = ADAFS_BUF_INIT(8192);
	const char *name = strrchr(self->blob, '/') + 1;
	for (size_t r = 0; r < adafs_pipeline_n_inputs(p); r++) {
		const struct adafs_pipeline_input *in = adafs_pipeline_input(p, r);
		if (partner[r] != SIZE_MAX)
			continue;
		ADAFS_FREE char *where = pairing_suggest(in->match, self->blob);
		adafs_buf_addf(&text, "%s%s partner of %s: copy it to inbox/%s/%s",
			       text.len ? "; and for the " : "waiting for the ", in->name, name,
			       event, where ? where : name);
	}
	if (!text.len)
		adafs_buf_addf(
			&text,
			"another image of the same role has the base name of %s too: rename one",
			name);
	set_waiting_locked(f, self, adafs_buf_str(&text));
	adafs_buf_clear(&text);
}

static void resolve_group_locked(struct adafs_foreman *f, struct adafs_pipeline *p,
				 const char *event, struct foreman_image *self)
{
	size_t n_roles = adafs_pipeline_n_inputs(p);
	if (n_roles == 1) {
		struct group g = { .image = &self, .n = 1 };
		assign_locked(f, p, event, &g);
		return;
	}
	struct pairing_image *list;
	struct foreman_image **images;
	size_t n = collect_locked(f, p, event, &list, &images), at = 0;
	ADAFS_FREE size_t *partner = calloc(n_roles, sizeof(*partner));
	while (at < n && images[at] != self)
		at++;
	if (partner && at < n) {
		if (pairing_find(list, n, at, n_roles, partner)) {
			ADAFS_FREE struct foreman_image **of_role =
				calloc(n_roles, sizeof(struct foreman_image *));
			for (size_t r = 0; of_role && r < n_roles; r++)
				of_role[r] = images[partner[r]];
			struct group g = { .image = of_role, .n = n_roles };
			if (of_role)
				assign_locked(f, p, event, &g);
		} else {
			missing_partner_locked(f, p, event, self, partner);
		}
	}
	free(list);
	free(images);
}

static void resolve_locked(struct adafs_foreman *f, struct adafs_pipeline *p, const char *event,
			   const char *rest, struct foreman_image *i)
{
	struct adafs_err err = { 0 };
	if (adafs_pipeline_role(p, rest, &err) < 0)
		set_waiting_locked(f, i, err.msg);
	else
		resolve_group_locked(f, p, event, i);
}

void foreman_resolve_own_locked(struct adafs_foreman *f, struct foreman_image *i)
{
	const char *rest;
	ADAFS_FREE char *event = foreman_event_of(i->blob, &rest);
	if (event)
		resolve_locked(f, f->pipeline, event, rest, i);
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
	struct adafs_pipeline *p = pipelines_get(&f->pipelines, digest, &err);
	adafs_mutex_lock(&f->lock);
	i = foreman_table_find(&f->images, blob);
	/*
	 * Committed again under another pipeline in the meantime: then it has been resolved anew.
	 */
	if (i && strcmp(i->digest, digest) != 0)
		i = NULL;
	if (i && !p)
		set_waiting_locked(f, i, err.msg);
	else if (i)
		resolve_locked(f, p, event, rest, i);
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

/* Whether every image of the job has the content now that the job was made of. */
static bool job_is_current_locked(struct adafs_foreman *f, const struct foreman_job *j)
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
	for (size_t k = first_ref(refs, n, i->blob); k < n && strcmp(refs[k].blob, i->blob) == 0;
	     k++) {
		struct foreman_job *j = refs[k].job;
		if (!j->submitted || !same_content(refs[k].sha256, i->sha256) ||
		    !job_is_current_locked(f, j))
			continue;
		bool further = *i->nonce && *j->nonce && !strstr(j->nonce, i->nonce);
		if (further && j->ended && repeatable_locked(f, j))
			continue;
		foreman_text_set(&i->job_id, j->id);
		foreman_text_set(&i->waiting_for, "");
		i->resolved = true;
		return true;
	}
	return false;
}

void foreman_resolve_all(struct adafs_foreman *f)
{
	size_t n_refs, n = 0;
	adafs_mutex_lock(&f->lock);
	ADAFS_FREE struct ref *refs = make_refs_locked(f, &n_refs);
	ADAFS_FREE char **names = calloc(f->images.n + 1, sizeof(char *));
	for (size_t i = 0; refs && names && i < f->images.n; i++) {
		struct foreman_image *im = f->images.item[i];
		if (!im->resolved && !settled_locked(f, im, refs, n_refs))
			names[n++] = strdup(im->blob);
	}
	f->newest_dirty = true;
	f->resolve_wanted = false;
	adafs_mutex_unlock(&f->lock);
	for (size_t i = 0; i < n; i++) {
		if (names[i])
			foreman_resolve_image(f, names[i]);
		free(names[i]);
	}
}

void foreman_mark_newest_locked(struct adafs_foreman *f)
{
	size_t n;
	ADAFS_FREE struct ref *refs = make_refs_locked(f, &n);
	f->newest_dirty = false;
	for (size_t i = 0; refs && i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		bool newest = true;
		if (j->n_inputs && !job_is_current_locked(f, j)) {
			/* Not of the present content: newest only when its image is gone and no
			 * later job had it. */
			const char *blob = j->input[0].blob;
			newest = !foreman_table_find(&f->images, blob);
			for (size_t k = first_ref(refs, n, blob);
			     newest && k < n && strcmp(refs[k].blob, blob) == 0; k++)
				newest = refs[k].job->created_us <= j->created_us;
		}
		if (newest != j->newest) {
			j->newest = newest;
			foreman_touch_locked(f, j);
		}
	}
}
