/* foreman/scan.c - the tables from the container: a listing of images/ and one of jobs/. */
#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/foreman/internal.h"
#include "batch/foreman/manifest.h"

/* Bodies of so many ended jobs are read without being asked for, newest first. */
#define MAX_EAGER_BODIES 1000

/* It was there before this process saw it. */
static void backdate(const struct adafs_foreman *f, struct foreman_image *i,
		     const struct adafs_blob_props *props)
{
	int64_t age_ms = adafs_blob_now_us(f->blob) / 1000 - (int64_t)props->last_modified * 1000;
	if (age_ms > 0)
		i->noted_ms -= (uint64_t)age_ms < i->noted_ms ? (uint64_t)age_ms : i->noted_ms;
}

static int see_image(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct adafs_foreman *f = arg;
	const char *sha = props ? adafs_blob_meta_get(&props->meta, "adafssha256") : NULL;
	const char *digest = props ? adafs_blob_meta_get(&props->meta, "adafspipeline") : NULL;
	const char *nonce = props ? adafs_blob_meta_get(&props->meta, "adafsnonce") : NULL;
	if (!sha || !digest || strlen(sha) != 64)
		return 0;
	int rc = 0;
	adafs_mutex_lock(&f->lock);
	struct foreman_image *i = foreman_table_find(&f->images, name);
	if (!i) {
		i = foreman_image_new(name);
		rc = i ? foreman_table_insert(&f->images, i) : -ENOMEM;
		if (rc)
			foreman_image_free(i);
	} else if (i->seen == f->scan_number) {
		/* Committed here since the listing began: this page may be older. */
		adafs_mutex_unlock(&f->lock);
		return 0;
	}
	if (rc == 0) {
		bool other = foreman_text_set(&i->sha256, sha);
		bool fresh = other;
		other |= foreman_text_set(&i->digest, digest);
		other |= foreman_text_set(&i->nonce, nonce ? nonce : "");
		if (other)
			i->resolved = false;
		if (fresh) {
			foreman_release_partners_locked(f, i);
			foreman_image_take_facts(
				i, adafs_blob_meta_get(&props->meta, FOREMAN_META_FACTS));
			i->own = false;
			backdate(f, i, props);
		}
		strcpy(i->etag, props->etag);
		i->size = props->size;
		i->seen = f->scan_number;
	}
	adafs_mutex_unlock(&f->lock);
	return rc;
}

static void take_manifest_locked(struct adafs_foreman *f, struct foreman_job *j,
				 const struct adafs_blob_props *props) ADAFS_REQUIRES(&f->lock)
{
	struct foreman_job *fresh = NULL;
	if (strcmp(j->manifest_etag, props->etag) == 0)
		return;
	/* What this process follows itself it knows better; an end or a further run that another
	 * mount wrote counts. */
	const char *ended = adafs_blob_meta_get(&props->meta, "adafsended");
	const char *run = adafs_blob_meta_get(&props->meta, "adafsrun");
	bool active = !ended || strcmp(ended, "0") == 0;
	bool further = run && strtoul(run, NULL, 10) > j->run;
	if (j->submitted && active && !further && *j->manifest_etag) {
		/* The listing may be older than what this process wrote in the meantime. */
		if (!j->ended) {
			strcpy(j->manifest_etag, props->etag);
			manifest_apply_wishes(j, &props->meta);
		}
		return;
	}
	/* Try it on a stranger first: a manifest that cannot be read must not leave half a job. */
	fresh = foreman_job_new(j->id);
	if (!fresh || manifest_apply_meta(fresh, &props->meta)) {
		adafs_log(WARN, "foreman", "manifest of job '%s' is not readable: left alone",
			  j->id);
	} else {
		j->body_loaded = false;
		manifest_apply_meta(j, &props->meta);
		strcpy(j->manifest_etag, props->etag);
		j->final_pending = false;
		foreman_touch_locked(f, j);
		/* Deleted by another mount, and copied again to this one meanwhile. */
		if (j->deletion == FOREMAN_DELETED || j->dropped_us)
			foreman_job_settled_locked(f, j);
	}
	foreman_job_free(fresh);
}

static int see_manifest(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct adafs_foreman *f = arg;
	ADAFS_FREE char *id = props ? manifest_job_id(name) : NULL;
	int rc = 0;
	if (!id)
		return 0;
	adafs_mutex_lock(&f->lock);
	struct foreman_job *j = foreman_table_find(&f->jobs, id);
	if (!j && adafs_blob_meta_get(&props->meta, "adafsstate")) {
		j = foreman_job_new(id);
		rc = j ? foreman_table_insert(&f->jobs, j) : -ENOMEM;
		if (rc) {
			foreman_job_free(j);
			j = NULL;
		}
	}
	if (j)
		take_manifest_locked(f, j, props);
	adafs_mutex_unlock(&f->lock);
	return rc;
}

/* Images that a whole listing did not show are gone, unless they came after it had begun. */
static void drop_unseen_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock)
{
	size_t n = 0;
	for (size_t k = 0; k < f->images.n; k++) {
		struct foreman_image *i = f->images.item[k];
		if (i->seen >= f->scan_number) {
			f->images.item[n++] = i;
			continue;
		}
		foreman_image_free(i);
		foreman_show_locked(f);
	}
	bool gone = n < f->images.n;
	f->images.n = n;
	for (size_t i = 0; gone && i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (*j->unit && j->newest && !foreman_job_is_current_locked(f, j))
			foreman_free_partners_locked(f, j);
	}
}

static int newest_first(const void *a, const void *b)
{
	const struct foreman_job *x = *(struct foreman_job *const *)a;
	const struct foreman_job *y = *(struct foreman_job *const *)b;
	return x->created_us < y->created_us ? 1 : x->created_us > y->created_us ? -1 : 0;
}

static void want_bodies_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock)
{
	ADAFS_FREE struct foreman_job **jobs = calloc(f->jobs.n + 1, sizeof(struct foreman_job *));
	size_t n = 0;
	for (size_t i = 0; jobs && i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (j->ended && !j->body_loaded && *j->manifest_etag)
			jobs[n++] = j;
	}
	if (n)
		qsort(jobs, n, sizeof(struct foreman_job *), newest_first);
	for (size_t i = 0; i < n && i < MAX_EAGER_BODIES; i++)
		jobs[i]->body_wanted = true;
}

int foreman_scan(struct adafs_foreman *f, struct adafs_err *reterr)
{
	adafs_mutex_lock(&f->lock);
	f->scan_number++;
	f->scan_wanted = false;
	adafs_mutex_unlock(&f->lock);
	int rc = adafs_blob_list(f->blob, f->container, "images/", NULL, ADAFS_LIST_META, see_image,
				 f, reterr);
	if (rc == 0)
		rc = adafs_blob_list(f->blob, f->container, MANIFEST_PREFIX, NULL, ADAFS_LIST_META,
				     see_manifest, f, reterr);
	adafs_mutex_lock(&f->lock);
	f->last_scan_ms = adafs_clock_mono_ms();
	if (rc == 0) {
		drop_unseen_locked(f);
		want_bodies_locked(f);
		/* Images that came before the first listing were given jobs without knowing the
		 * manifests. */
		for (size_t i = 0; !f->loaded && i < f->images.n; i++)
			((struct foreman_image *)f->images.item[i])->resolved = false;
	} else {
		f->scan_wanted = true;
	}
	adafs_mutex_unlock(&f->lock);
	return rc;
}

static int load_body(struct adafs_foreman *f, struct foreman_job *j, bool adopt,
		     struct adafs_err *reterr)
{
	ADAFS_FREE char *blob = manifest_blob(j->id);
	ADAFS_FREE char *text = NULL;
	size_t len = 0;
	if (!blob)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	struct adafs_blob_props props = { 0 };
	int rc = adafs_blob_get_text(f->blob, f->container, blob, MANIFEST_MAX_BODY, &text, &len,
				     &props, reterr);
	if (rc == -ENOENT && adopt) {
		adafs_mutex_lock(&f->lock);
		j->final_pending = false;
		*j->manifest_etag = 0;
		adafs_mutex_unlock(&f->lock);
	}
	if (rc)
		return rc;
	adafs_mutex_lock(&f->lock);
	/* The body may be newer than the listing: both parts come from this reply. */
	if (adopt || (strcmp(props.etag, j->manifest_etag) != 0 && !j->final_pending))
		rc = manifest_apply_meta(j, &props.meta);
	if (rc == 0)
		rc = manifest_apply_body(j, text, len, reterr);
	else
		adafs_err_set(reterr, rc, "manifest of job '%s' is not readable", j->id);
	if (rc == 0)
		strcpy(j->manifest_etag, props.etag);
	if (rc == 0 && adopt)
		j->final_pending = false;
	foreman_touch_locked(f, j);
	adafs_cond_signal(&f->tracker_wake);
	adafs_mutex_unlock(&f->lock);
	adafs_blob_props_clear(&props);
	return rc;
}

int foreman_load_body(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	return load_body(f, j, false, reterr);
}

/* What this mount was about to write gives way; when that cannot be read now, it stays due. */
int foreman_adopt_manifest(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr)
{
	return load_body(f, j, true, reterr);
}
