/*
 * fs/tree/inbox.c - inbox/, the view of images/ where files become jobs. A commit of an image is
 * checked before it is sent and carries its trigger; a file under a temporary name carries the
 * check's verdict instead, so that renaming it needs no bytes. Images whose job has ended well are
 * hidden; nothing is moved.
 */
#include "fs/tree/inbox.h"

#include <errno.h>
#include <string.h>

#include "batch/azure/sas.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/log.h"
#include "batch/pipeline/image.h"
#include "fs/tree/events.h"
#include "fs/tree/tree.h"
#include "fs/tree/waiting.h"

/* Metadata of files that are no images yet. */
#define META_SHA256 "adafssha256"
#define META_CHECKED "adafschecked" /* "ok", or why the bytes are no image */
#define META_PIPELINE "adafspipeline"

#define URL_MINUTES 60
#define LEAVES_AFTER_S 10

static const char *base_name(const char *blob)
{
	const char *slash = strrchr(blob, '/');

	return slash ? slash + 1 : blob;
}

/* Temporary, or in a folder that a desktop keeps for itself, such as .Trashes/. */
static bool is_litter(const char *blob)
{
	return strstr(blob, "/.") != NULL || adafs_name_is_litter(base_name(blob));
}

/* Whether a name means work: neither temporary nor beside an image. */
static bool is_image_name(const char *blob)
{
	return !is_litter(blob) && !adafs_name_is_sidecar(base_name(blob));
}

/* --- commit ------------------------------------------------------------------------------- */

/* Header values are printable ASCII; a verdict is cut to a length that leaves room for others. */
static int set_verdict(struct adafs_blob_meta *meta, const char *text)
{
	char clean[400];
	size_t n = 0;

	for (; *text && n < sizeof(clean) - 1; text++)
		clean[n++] =
			(unsigned char)*text >= ' ' && (unsigned char)*text < 0x7f ? *text : '?';
	clean[n] = '\0';
	return adafs_blob_meta_set(meta, META_CHECKED, clean);
}

/*
 * A temporary file: stored whatever it holds, with what the check says for the day it is renamed.
 */
static int litter_commit(const struct blobdir_commit *commit, struct adafs_blob_meta *meta)
{
	struct adafs_image_info info;
	struct adafs_err verdict = { 0 };
	int rc = commit->size == 0 ? 0
				   : adafs_image_check(commit->fd, commit->size, &info, &verdict);

	if (rc < 0 && rc != -EBADMSG)
		return rc;
	if (commit->caller_killed)
		rc = adafs_err_set(&verdict, -EBADMSG, "the program that wrote it was killed");
	char facts[ADAFS_IMAGE_FACTS_SIZE];
	int set = adafs_blob_meta_set(meta, META_SHA256, commit->sha256);
	if (set == 0 && rc == 0 && commit->size > 0 &&
	    adafs_image_facts_write(&info, facts, sizeof(facts)) == 0)
		set = adafs_blob_meta_set(meta, FOREMAN_META_FACTS, facts);
	return set < 0 ? set : set_verdict(meta, rc < 0 ? verdict.msg : "ok");
}

static int inbox_before_commit(void *arg, const struct blobdir_commit *commit,
			       struct adafs_blob_meta *meta, struct adafs_err *reterr)
{
	struct events_view *v = arg;
	struct adafs_image_info info;

	if (is_litter(commit->blob))
		return litter_commit(commit, meta);
	if (adafs_name_is_sidecar(base_name(commit->blob)))
		return 0;
	if (commit->caller_killed)
		return adafs_err_set(reterr, -ECANCELED, "the program that wrote it was killed");
	if (commit->size == 0)
		return 0;
	int rc = adafs_image_check(commit->fd, commit->size, &info, reterr);
	if (rc < 0)
		return rc;
	rc = adafs_foreman_trigger(v->fs->foreman, commit->blob, commit->sha256, &info, meta,
				   reterr);
	/* The pipeline has no place for it: said now, not by a job that never comes. */
	if (rc == -ENOENT && reterr)
		reterr->rc = -EBADMSG;
	return rc == -ENOENT ? -EBADMSG : rc;
}

static void submit(struct fs *fs, const char *blob, const char *etag, int64_t size,
		   const struct adafs_blob_meta *meta)
{
	const char *sha256 = adafs_blob_meta_get(meta, META_SHA256);

	if (!adafs_blob_meta_get(meta, META_PIPELINE) || !sha256) {
		/* An image that became a placeholder, or got a temporary name. */
		adafs_foreman_forget(fs->foreman, blob);
		return;
	}
	const struct adafs_foreman_image image = {
		.blob = blob,
		.etag = etag,
		.sha256 = sha256,
		.facts = adafs_blob_meta_get(meta, FOREMAN_META_FACTS),
		.size = size,
	};
	adafs_foreman_submit(fs->foreman, &image);
}

static void inbox_committed(void *arg, const struct blobdir_commit *commit, const char *etag,
			    const struct adafs_blob_meta *meta)
{
	struct events_view *v = arg;

	events_made(v);
	if (is_image_name(commit->blob))
		submit(v->fs, commit->blob, etag, commit->size, meta);
}

static void inbox_refused(void *arg, const struct blobdir_commit *commit,
			  const struct adafs_err *why)
{
	struct events_view *v = arg;

	rejected_keep(v->fs, commit, why);
}

static void inbox_removed(void *arg, const char *blob)
{
	struct events_view *v = arg;

	if (is_image_name(blob))
		adafs_foreman_forget(v->fs->foreman, blob);
}

/* --- rename ------------------------------------------------------------------------------- */

static int copy_meta(struct adafs_blob_meta *to, const struct adafs_blob_meta *from,
		     const char *name)
{
	const char *value = adafs_blob_meta_get(from, name);

	return value ? adafs_blob_meta_set(to, name, value) : 0;
}

static int inbox_before_rename(void *arg, const char *old_blob, const char *new_blob,
			       const struct adafs_blob_props *props, struct adafs_blob_meta *meta,
			       struct adafs_err *reterr)
{
	struct events_view *v = arg;
	const char *sha256 = adafs_blob_meta_get(&props->meta, META_SHA256);
	const char *checked = adafs_blob_meta_get(&props->meta, META_CHECKED);
	const char *facts = adafs_blob_meta_get(&props->meta, FOREMAN_META_FACTS);
	struct adafs_image_info info = { 0 };

	if (adafs_blob_meta_get(&props->meta, META_PIPELINE))
		checked = "ok"; /* it has been an image before */
	if (!is_image_name(new_blob)) {
		/* The trigger goes; what the check knew stays for the way back. */
		int rc = copy_meta(meta, &props->meta, META_SHA256);
		if (rc == 0)
			rc = copy_meta(meta, &props->meta, FOREMAN_META_FACTS);
		return rc < 0 || !checked ? rc : set_verdict(meta, checked);
	}
	if (props->size == 0)
		return 0;
	/* Stored by another program, so never checked: a copy through here reads the bytes. */
	if (!sha256 || !checked)
		return adafs_err_set(reterr, -EXDEV, "'%s' has never been checked", old_blob);
	if (strcmp(checked, "ok") != 0)
		return adafs_err_set(reterr, -EBADMSG, "%s", checked);
	if (!facts || adafs_image_facts_read(facts, &info) < 0)
		return adafs_err_set(reterr, -EXDEV, "'%s' was checked by an older version",
				     old_blob);
	int rc = adafs_foreman_trigger(v->fs->foreman, new_blob, sha256, &info, meta, reterr);
	if (rc == -ENOENT && reterr)
		reterr->rc = -EBADMSG;
	return rc == -ENOENT ? -EBADMSG : rc;
}

static void inbox_renamed(void *arg, const char *old_blob, const char *new_blob,
			  const struct adafs_blob_props *props)
{
	struct events_view *v = arg;

	events_made(v);
	if (is_image_name(old_blob))
		adafs_foreman_forget(v->fs->foreman, old_blob);
	if (is_image_name(new_blob))
		submit(v->fs, new_blob, props->etag, props->size, &props->meta);
}

/* --- what is shown ------------------------------------------------------------------------ */

static const struct adafs_inbox_view *find_image(const struct adafs_view *view, const char *blob)
{
	size_t low = 0, high = view->n_inbox;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(view->inbox[mid].blob, blob);
		if (order == 0)
			return &view->inbox[mid];
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* The job of an image as it is now. view->inbox knows of newer content than the newest job. The
 * index is locked. */
static const struct adafs_job_view *job_of(const struct events_view *v,
					   const struct adafs_view *view, const char *blob)
{
	const struct adafs_inbox_view *image = find_image(view, blob);

	if (image)
		return *image->job_id ? adafs_view_job(view, image->job_id) : NULL;
	return events_index_job(v->index, blob);
}

static bool ended_well(const struct adafs_job_view *job)
{
	return job->state == ADAFS_STATE_COMPLETED || job->state == ADAFS_STATE_EMPTY ||
	       job->state == ADAFS_STATE_CANCELLED;
}

/*
 * A done image that was written once more, and changed nothing: who writes by name, as rsync does,
 * still sets its times.
 */
static bool just_written(const struct adafs_job_view *job, const struct adafs_blob_props *props,
			 int64_t now_us)
{
	int64_t written_us = (int64_t)props->last_modified * 1000000;

	return written_us > job->changed_us &&
	       now_us < written_us + LEAVES_AFTER_S * INT64_C(1000000);
}

static bool inbox_shown(void *arg, const char *path, const struct adafs_blob_props *props)
{
	struct events_view *v = arg;
	ADAFS_FREE char *blob = events_blob(v, path);

	if (!blob || !is_image_name(blob))
		return true;
	int64_t now_us = adafs_blob_now_us(v->fs->blob); /* its lock ranks below the index's */
	const struct adafs_view *view = events_index_lock(v->index, v->fs);
	if (!view)
		return true;
	const struct adafs_inbox_view *image = find_image(view, blob);
	const struct adafs_job_view *job = job_of(v, view, blob);
	bool shown = image && image->deleted
			     ? false
			     : !job || !ended_well(job) || just_written(job, props, now_us);
	events_index_unlock(v->index);
	return shown;
}

/* --- attributes --------------------------------------------------------------------------- */

/* A URL that reads this blob for an hour: for curl, GDAL's /vsicurl and browsers. */
static int read_url(struct fs *fs, const char *blob, struct adafs_buf *ret)
{
	char expiry[ADAFS_ISO8601_LEN];
	ADAFS_FREE char *url = adafs_blob_url(fs->blob, fs->container, blob);
	ADAFS_FREE char *query = NULL;

	if (!url)
		return -ENOMEM;
	adafs_clock_iso8601_seconds(
		adafs_blob_now_us(fs->blob) + (int64_t)URL_MINUTES * 60 * 1000000, expiry);
	const struct adafs_sas sas = { .resource = "b", .permissions = "r", .expiry = expiry };
	int rc = adafs_blob_sas(fs->blob, fs->container, blob, &sas, &query, NULL);
	if (rc == -EACCES) /* there is nothing to sign with */
		return -ENODATA;
	return rc < 0 ? rc : adafs_buf_addf(ret, "%s?%s", url, query);
}

static int job_attribute(const struct events_view *v, const char *blob, bool state,
			 struct adafs_buf *ret)
{
	const struct adafs_view *view = events_index_lock(v->index, v->fs);
	int rc = -ENODATA;

	if (!view)
		return -ENOMEM;
	const struct adafs_inbox_view *image = find_image(view, blob);
	const struct adafs_job_view *job = job_of(v, view, blob);
	size_t n = 0;
	const struct events_image *in = events_index_jobs(v->index, blob, &n);
	if (job && !state && n > 1)
		for (size_t i = rc = 0; rc == 0 && i < n; i++)
			rc = adafs_buf_addf(ret, "%s%s", i ? "\n" : "", in[i].job->id);
	else if (job)
		rc = adafs_buf_adds(ret, state ? adafs_state_name(job->state) : job->id);
	else if (image && !image->deleted && state)
		rc = adafs_buf_adds(ret, "waiting");
	events_index_unlock(v->index);
	return rc;
}

static int inbox_getxattr(void *arg, const char *path, const struct adafs_blob_props *props,
			  const char *name, struct adafs_buf *ret)
{
	struct events_view *v = arg;
	ADAFS_FREE char *blob = events_blob(v, path);

	int rc;

	if (!blob)
		return -ENOMEM;
	if (strcmp(name, "user.adafs.job") == 0)
		return job_attribute(v, blob, false, ret);
	if (strcmp(name, "user.adafs.state") == 0)
		return job_attribute(v, blob, true, ret);
	if (strcmp(name, "user.adafs.waiting_for") == 0) {
		rc = waiting_text(v->fs, blob, ret, NULL);
		return rc < 0 ? rc : ret->len ? 0 : -ENODATA;
	}
	if (!props)
		return -ENODATA;
	if (strcmp(name, "user.adafs.url") == 0)
		return read_url(v->fs, blob, ret);
	if (strcmp(name, "user.adafs.etag") == 0)
		return *props->etag ? adafs_buf_adds(ret, props->etag) : -ENODATA;
	if (strcmp(name, "user.adafs.md5") == 0 && props->has_md5) {
		char hex[33];
		adafs_hex_encode(props->md5, sizeof(props->md5), hex);
		return adafs_buf_adds(ret, hex);
	}
	return -ENODATA;
}

/* .url is left out: `cp -a` would copy a signature. */
static int inbox_listxattr(void *arg, const char *path, struct adafs_buf *ret)
{
	static const char *const names[] = { "user.adafs.job", "user.adafs.state",
					     "user.adafs.etag" };
	struct events_view *v = arg;

	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++) {
		ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf value = ADAFS_BUF_INIT(4096);
		ADAFS_FREE char *blob = events_blob(v, path);
		if (!blob)
			return -ENOMEM;
		if (i < 2 && job_attribute(v, blob, i == 1, &value) < 0)
			continue;
		int rc = adafs_buf_add(ret, names[i], strlen(names[i]) + 1);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static const struct blobdir_policy inbox_policy = {
	.kind = "inbox",
	.shown = inbox_shown,
	.before_commit = inbox_before_commit,
	.committed = inbox_committed,
	.refused = inbox_refused,
	.removed = inbox_removed,
	.before_rename = inbox_before_rename,
	.renamed = inbox_renamed,
	.getxattr = inbox_getxattr,
	.listxattr = inbox_listxattr,
	.extra_name = WAITING_FILE,
	.extra = waiting_extra,
};

struct node *inbox_root(struct fs *fs, struct node *root)
{
	return events_root(fs, root, "inbox", INBOX_PREFIX, INBOX_PREFIX EVENT_DEFAULT "/",
			   &inbox_policy);
}
