/*
 * foreman/remove.c - what is left of a job, taken away piece by piece. Every piece may be gone
 * already: another mount does the same, or this one did so before it was killed.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/json.h"
#include "batch/base/log.h"
#include "batch/foreman/internal.h"
#include "batch/foreman/janitor.h"

#define MAX_PART (1 << 20)

/* --- what is whose (pure) ----------------------------------------------------------------- */

bool janitor_is_work(const char *blob, const char *job_id, unsigned max_run)
{
	size_t len = strlen(job_id);
	if (strncmp(blob, "work/", 5) != 0 || strncmp(blob + 5, job_id, len) != 0 ||
	    blob[5 + len] != '/')
		return false;
	const char *step = blob + 5 + len + 1, *run = strchr(step, '/');
	size_t digits = run ? strspn(run + 1, "0123456789") : 0;
	if (run == step || !digits || digits > 9 || run[1 + digits] != '/')
		return false;
	return strtoul(run + 1, NULL, 10) <= max_run;
}

bool janitor_is_tombstone(const char *part, size_t len)
{
	ADAFS_JSON *old = adafs_json_parse(part, len, NULL);
	return old && strcmp(adafs_json_str(old, "result", ""), "deleted") == 0;
}

/* As the wrapper writes it: one value a line, read by a shell. */
char *janitor_tombstone(const char *part, size_t len, unsigned run, bool with_order)
{
	ADAFS_JSON *old = adafs_json_parse(part, len, NULL);
	const char *job = old ? adafs_json_str(old, "job", NULL) : NULL;
	ADAFS_FREE char *images = old ? adafs_json_print(adafs_json_get(old, "images")) : NULL;
	if (!job)
		return NULL;
	return adafs_fmt("{\n\"job\": \"%s\",\n\"run\": %u,\n\"key\": \"%s\",\n\"order\": \"%s\",\n"
			 "\"result\": \"deleted\",\n\"cause\": \"\",\n\"files\": [\n],\n"
			 "\"images\": %s\n}\n",
			 job, run, adafs_json_str(old, "key", ""),
			 with_order ? adafs_json_str(old, "order", "") : "",
			 images ? images : "[]");
}

/* --- blobs -------------------------------------------------------------------------------- */

/* Blobs of a listing that are to go, each in the version that was seen. */
struct doomed {
	struct {
		char *name;
		char etag[ADAFS_ETAG_LEN];
		time_t written;
	} * blob;
	size_t n, size;
	const char *job_id; /* only work of it; NULL: all */
	unsigned max_run;
};

static void doomed_clear(struct doomed *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->blob[i].name);
	free(d->blob);
	d->blob = NULL;
	d->n = d->size = 0;
}

static int see_blob(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct doomed *d = arg;
	if (!props || (d->job_id && !janitor_is_work(name, d->job_id, d->max_run)))
		return 0;
	if (d->n == d->size) {
		size_t size = d->size ? 2 * d->size : 64;
		void *list = realloc(d->blob, size * sizeof(*d->blob));
		if (!list)
			return -ENOMEM;
		d->blob = list;
		d->size = size;
	}
	d->blob[d->n].name = strdup(name);
	if (!d->blob[d->n].name)
		return -ENOMEM;
	strcpy(d->blob[d->n].etag, props->etag);
	d->blob[d->n++].written = props->last_modified;
	return 0;
}

/* What somebody has written anew meanwhile is theirs. */
static int delete_blob(struct janitor *t, const char *name, const char *etag,
		       struct adafs_err *reterr)
{
	struct adafs_err err = { 0 };
	const struct adafs_blob_cond cond = { .if_match = etag };
	if (!janitor_turn(t))
		return adafs_err_set(reterr, -ECANCELED, "the mount ends");
	int rc = adafs_blob_delete(t->f->blob, t->f->container, name, true, &cond, &err);
	return rc == -ENOENT || rc == -ESTALE ? 0 : adafs_err_copy(reterr, &err);
}

static int delete_all(struct janitor *t, const struct doomed *d, struct adafs_err *reterr)
{
	int rc = 0;
	for (size_t i = 0; i < d->n && !rc; i++)
		rc = delete_blob(t, d->blob[i].name, d->blob[i].etag, reterr);
	return rc;
}

int janitor_remove_work(struct janitor *t, const char *id, unsigned max_run,
			struct adafs_err *reterr)
{
	ADAFS_FREE char *prefix = adafs_fmt("work/%s/", id);
	struct adafs_blob_pages *pages =
		prefix ? adafs_blob_pages_open(t->f->blob, t->f->container, prefix, NULL, 0, NULL)
		       : NULL;
	if (!pages)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = 1;
	while (rc == 1) {
		struct doomed d = { .job_id = id, .max_run = max_run };
		rc = janitor_turn(t) ? adafs_blob_pages_next(pages, see_blob, &d, reterr)
				     : adafs_err_set(reterr, -ECANCELED, "the mount ends");
		int gone = rc < 0 ? rc : delete_all(t, &d, reterr);
		if (gone)
			rc = gone;
		doomed_clear(&d);
	}
	adafs_blob_pages_close(pages);
	return rc;
}

/* --- the part ----------------------------------------------------------------------------- */

/* A part.json as it stands: *ret_text, free() it, is NULL when there is none. */
static int read_part(struct janitor *t, const char *blob, char **ret_text, size_t *ret_len,
		     char etag[ADAFS_ETAG_LEN], time_t *ret_when, struct adafs_err *reterr)
{
	struct adafs_blob_props props = { 0 };
	*ret_text = NULL;
	if (!janitor_turn(t))
		return adafs_err_set(reterr, -ECANCELED, "the mount ends");
	int rc = adafs_blob_get_text(t->f->blob, t->f->container, blob, MAX_PART, ret_text, ret_len,
				     &props, reterr);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	strcpy(etag, props.etag);
	*ret_when = props.last_modified;
	adafs_blob_props_clear(&props);
	return 0;
}

/* Put the tombstone where part.json is, if it is; -EAGAIN: it changed meanwhile. */
static int put_tombstone(struct janitor *t, const char *blob, const struct janitor_part *p,
			 bool *ret_had, struct adafs_err *reterr)
{
	ADAFS_FREE char *text = NULL;
	char etag[ADAFS_ETAG_LEN];
	size_t len = 0;
	time_t when;
	int rc = read_part(t, blob, &text, &len, etag, &when, reterr);
	if (rc || !text)
		return rc; /* no merge counts files without it */
	*ret_had = true;
	if (janitor_is_tombstone(text, len))
		return 0;
	ADAFS_FREE char *stone = janitor_tombstone(text, len, p->run, p->with_order);
	if (!stone) /* no merge can read it either */
		return 0;
	struct adafs_blob_source src = { .data = stone, .fd = -1, .len = strlen(stone) };
	struct adafs_blob_put put = { .content_type = "application/json",
				      .cond = { .if_match = etag } };
	if (!janitor_turn(t))
		return adafs_err_set(reterr, -ECANCELED, "the mount ends");
	rc = adafs_blob_put(t->f->blob, t->f->container, blob, &src, &put, NULL, reterr);
	if (rc == -ESTALE || rc == -ENOENT)
		return adafs_err_set(reterr, -EAGAIN, "%s was changed meanwhile", blob);
	return rc;
}

/* "parts/<event>/<pipeline>/<job>/<name>" */
static char *part_blob(const struct janitor_part *p, const char *name)
{
	return adafs_fmt("parts/%s/%s/%s/%s", p->event, p->pipeline, p->id, name);
}

int janitor_bury_part(struct janitor *t, const struct janitor_part *p, bool *ret_had,
		      struct adafs_err *reterr)
{
	ADAFS_FREE char *blob = part_blob(p, "part.json");
	*ret_had = false;
	return blob ? put_tombstone(t, blob, p, ret_had, reterr)
		    : adafs_err_set(reterr, -ENOMEM, "out of memory");
}

/* When a tombstone was put there, by the service's clock; 0: there is none. */
static int find_tombstone(struct janitor *t, const char *blob, time_t *ret_when,
			  struct adafs_err *reterr)
{
	ADAFS_FREE char *text = NULL;
	char etag[ADAFS_ETAG_LEN];
	size_t len = 0;
	int rc = read_part(t, blob, &text, &len, etag, ret_when, reterr);
	if (rc || !text || !janitor_is_tombstone(text, len))
		*ret_when = 0;
	return rc;
}

/* A run that follows writes later than the tombstone, which every mount waits for. */
int janitor_sweep_part(struct janitor *t, const struct janitor_part *p, struct adafs_err *reterr)
{
	ADAFS_FREE char *prefix = part_blob(p, "");
	ADAFS_FREE char *part = part_blob(p, "part.json");
	struct doomed d = { 0 };
	time_t when = 0;
	if (!prefix || !part)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (!janitor_turn(t))
		return adafs_err_set(reterr, -ECANCELED, "the mount ends");
	int rc =
		adafs_blob_list(t->f->blob, t->f->container, prefix, NULL, 0, see_blob, &d, reterr);
	if (!rc && d.n > 1)
		rc = find_tombstone(t, part, &when, reterr);
	for (size_t i = 0; i < d.n && !rc; i++)
		if (strcmp(d.blob[i].name, part) != 0 && d.blob[i].written <= when)
			rc = delete_blob(t, d.blob[i].name, d.blob[i].etag, reterr);
	doomed_clear(&d);
	return rc;
}

/* --- Batch jobs --------------------------------------------------------------------------- */

/* Only what carries our own tag, and has ended. */
static int delete_batch_job(struct janitor *t, const char *batch_id, const char *id,
			    struct adafs_err *reterr)
{
	struct adafs_err err = { 0 };
	ADAFS_JSON *job = NULL;
	if (!janitor_turn(t))
		return adafs_err_set(reterr, -ECANCELED, "the mount ends");
	int rc = adafs_batch_job_get(t->f->batch, batch_id, "id,state,metadata", &job, &err);
	if (rc)
		return rc == -ENOENT ? 0 : adafs_err_copy(reterr, &err);
	if (!foreman_owns(t->f, job, id) ||
	    strcasecmp(adafs_json_str(job, "state", ""), "completed") != 0)
		return 0;
	if (!janitor_turn(t))
		return adafs_err_set(reterr, -ECANCELED, "the mount ends");
	rc = adafs_batch_job_delete(t->f->batch, batch_id, &err);
	/* 409: another mount is at it. */
	return rc == -ENOENT || err.http_status == 409 ? 0 : adafs_err_copy(reterr, &err);
}

int janitor_remove_batch_jobs(struct janitor *t, const char *id, unsigned max_run,
			      struct adafs_err *reterr)
{
	int rc = 0;
	for (unsigned run = 1; run <= max_run && !rc; run++) {
		ADAFS_FREE char *batch_id = run > 1 ? adafs_fmt("%s-r%u", id, run) : strdup(id);
		rc = batch_id ? delete_batch_job(t, batch_id, id, reterr)
			      : adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	return rc;
}
