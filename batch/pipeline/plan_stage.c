/*
 * plan_stage.c - what a node fetches before a step and stores after it. A single file that must be
 * there comes by its own URL; what may be missing comes by prefix, because a missing blob would end
 * the task before the wrapper could say why, and an empty prefix does not.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/pipeline/build.h"

/* Note the expiry that a URL's SAS tells. With a stored access policy there is none. */
static void note_expiry(struct build *b, const char *url)
{
	const char *query = strchr(url, '?');
	for (const char *p = query; p; p = strchr(p, '&')) {
		p++;
		if (strncmp(p, "se=", 3))
			continue;
		int64_t us = 0;
		ADAFS_FREE char *text = adafs_url_decode(p + 3, strcspn(p + 3, "&"), false);
		if (text && adafs_clock_parse_iso8601(text, &us) == 0 &&
		    (!b->expires_us || us < b->expires_us))
			b->expires_us = us;
	}
}

/* free() the result; NULL: the reason is in reterr. */
static char *make_url(struct build *b, enum adafs_plan_access access, const char *blob,
		      const char *snapshot)
{
	struct adafs_err err = { 0 };
	char *url = b->req->url(b->req->url_arg, access, blob, snapshot, &err);
	if (url) {
		note_expiry(b, url);
		return url;
	}
	if (!err.rc)
		err.rc = -EIO;
	adafs_err_copy(b->reterr, &err);
	return NULL;
}

static int container_url(struct build *b, enum adafs_plan_access access, const char **ret)
{
	char **url = access == ADAFS_PLAN_WRITE_CONTAINER ? &b->write_url : &b->read_url;
	if (!*url)
		*url = make_url(b, access, NULL, NULL);
	if (!*url)
		return b->reterr && b->reterr->rc ? b->reterr->rc : -EIO;
	*ret = *url;
	return 0;
}

/* In whose name the node asks, where the URL says nothing of it. */
static void add_identity(struct build *b, cJSON *item)
{
	if (b->req->identity && *b->req->identity)
		build_str(b, build_object(b, item, "identityReference"), "resourceId",
			  b->req->identity);
}

static int add_blob(struct build *b, cJSON *list, const char *blob, const char *snapshot,
		    const char *path)
{
	ADAFS_FREE char *url = make_url(b, ADAFS_PLAN_READ_BLOB, blob, snapshot);
	if (!url)
		return b->reterr && b->reterr->rc ? b->reterr->rc : -EIO;
	cJSON *item = build_item(b, list);
	build_str(b, item, "httpUrl", url);
	add_identity(b, item);
	build_str(b, item, "filePath", path);
	return 0;
}

int build_prefix(struct build *b, cJSON *list, const char *prefix)
{
	const char *url = NULL;
	int rc = container_url(b, ADAFS_PLAN_READ_CONTAINER, &url);
	if (rc < 0)
		return rc;
	cJSON *item = build_item(b, list);
	build_str(b, item, "storageContainerUrl", url);
	add_identity(b, item);
	build_str(b, item, "blobPrefix", prefix);
	build_str(b, item, "filePath", ".adafs/stage");
	return 0;
}

static int stage_images(struct build *b, cJSON *list, size_t role)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < b->req->n_images; i++) {
		const struct adafs_plan_image *image = &b->req->images[i];
		if (image->role != role)
			continue;
		ADAFS_FREE char *path =
			adafs_fmt(".adafs/in/%s/%s", b->p->inputs[role].name, b->names[i]);
		rc = path ? add_blob(b, list, image->blob, image->snapshot, path) : build_oom(b);
	}
	return rc;
}

static int stage_asset(struct build *b, cJSON *list, const struct piece *ref)
{
	const struct model_asset *named = &b->p->named[ref->index];
	const struct adafs_pipeline_asset *a = &b->p->assets[named->first];
	if (named->optional)
		return build_prefix(b, list, a->blob);
	if (!named->folder) {
		/* The name on the node does not depend on where `files` puts it. */
		struct model_step bare = { .n_places = 0 };
		ADAFS_FREE char *seen = build_ref_path(b, &bare, ref);
		ADAFS_FREE char *path = seen ? adafs_fmt(".adafs/%s", seen) : NULL;
		return path ? add_blob(b, list, a->blob, NULL, path) : build_oom(b);
	}
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < named->n; i++) {
		const char *shown = a[i].blob + strlen("assets/.adafs/") + ADAFS_SHA256_HEX_LEN;
		ADAFS_FREE char *path = adafs_fmt(".adafs/in/%s/%s", named->name, shown);
		rc = path ? add_blob(b, list, a[i].blob, NULL, path) : build_oom(b);
	}
	return rc;
}

/* The end.json of an attempt: of all shards of a run at once where all are read. */
static int stage_end(struct build *b, cJSON *list, const struct adafs_plan_step *from, bool all)
{
	ADAFS_FREE char *common = build_common(b, from);
	ADAFS_FREE char *end = !common ? NULL
			       : all   ? adafs_fmt("%send/", common)
				       : build_end(b, from);
	return end ? build_prefix(b, list, end) : build_oom(b);
}

/* The outputs of an attempt, in the same way. */
static int stage_out(struct build *b, cJSON *list, const struct adafs_plan_step *t,
		     const struct piece *ref, const struct adafs_plan_step *from, bool all)
{
	const struct model_output *o = &b->p->steps[ref->index].outputs[ref->output];
	ADAFS_FREE char *prefix = NULL;
	if (all) {
		ADAFS_FREE char *common = build_common(b, from);
		prefix = common ? adafs_fmt("%sout/%s/", common, o->name) : NULL;
	} else {
		ADAFS_FREE char *folder = build_out(b, from, o);
		if (folder && build_is_share(b, t, ref))
			prefix = adafs_fmt("%s/%d/", folder, t->shard);
		else if (folder)
			prefix = adafs_fmt("%s/", folder);
	}
	return prefix ? build_prefix(b, list, prefix) : build_oom(b);
}

/* Whether one of the shards before this one is of the same run. */
static bool same_run_before(const struct adafs_plan_step *from, size_t k)
{
	for (size_t i = 0; i < k; i++)
		if (from[i].run == from[k].run)
			return true;
	return false;
}

/*
 * An output of an earlier step, and its end.json, which says why it may be missing. Shards of one
 * run lie in one folder: a hundred of them take two entries of a list that holds about a hundred.
 */
static int stage_output(struct build *b, cJSON *list, const struct adafs_plan_step *t, size_t use)
{
	const struct model_step *s = build_model(b, t);
	const struct piece *ref = &s->uses[use];
	size_t n;
	const struct adafs_plan_step *from = build_producers(b, t, ref, &n);
	bool known = false;
	int rc = 0;
	for (size_t i = 0; i < use; i++)
		known |= s->uses[i].kind == PIECE_OUTPUT && s->uses[i].index == ref->index;
	for (size_t k = 0; rc == 0 && k < n; k++) {
		if (same_run_before(from, k))
			continue;
		rc = stage_out(b, list, t, ref, &from[k], n > 1);
		if (rc == 0 && !known)
			rc = stage_end(b, list, &from[k], n > 1);
	}
	return rc;
}

static bool reads_step(const struct model_step *s, size_t model)
{
	for (size_t i = 0; i < s->n_uses; i++)
		if (s->uses[i].kind == PIECE_OUTPUT && s->uses[i].index == model)
			return true;
	return false;
}

/* Of a step that it comes after without reading anything, only what the manifest tells of it. */
static int stage_after(struct build *b, cJSON *list, const struct adafs_plan_step *t)
{
	const struct model_step *s = build_model(b, t);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < s->n_deps; i++) {
		const struct piece ref = { .kind = PIECE_OUTPUT, .index = s->deps[i] };
		size_t n;
		const struct adafs_plan_step *from = build_producers(b, t, &ref, &n);
		for (size_t k = 0; rc == 0 && k < n && !reads_step(s, s->deps[i]); k++)
			if (!same_run_before(from, k))
				rc = stage_end(b, list, &from[k], n > 1);
	}
	return rc;
}

int build_resource_files(struct build *b, const struct adafs_plan_step *t, cJSON *task)
{
	const struct model_step *s = build_model(b, t);
	cJSON *list = build_array(b, task, "resourceFiles");
	const struct adafs_pipeline_asset *wrapper = &b->p->assets[b->p->n_assets - 1];
	const struct adafs_pipeline_asset *document = wrapper - 1;
	int rc = add_blob(b, list, wrapper->blob, NULL, ".adafs/wrapper.sh");
	if (rc == 0 && s->result && !b->req->n_parts)
		rc = add_blob(b, list, document->blob, NULL, ".adafs/pipeline.json");
	if (rc == 0 && b->req->n_parts)
		rc = build_merge_inputs(b, t, list);
	else if (rc == 0 && s->merge) /* also when the command names no {parts}: the summary needs
					 them */
		rc = build_prefix(b, list, b->parts);
	for (size_t i = 0; rc == 0 && i < s->n_uses; i++) {
		const struct piece *ref = &s->uses[i];
		if (ref->kind == PIECE_INPUT)
			rc = stage_images(b, list, ref->index);
		else if (ref->kind == PIECE_ASSET)
			rc = stage_asset(b, list, ref);
		else if (ref->kind == PIECE_OUTPUT)
			rc = stage_output(b, list, t, i);
	}
	return rc == 0 && !s->merge ? stage_after(b, list, t) : rc;
}

int build_output(struct build *b, cJSON *list, const char *pattern, const char *condition,
		 const char *fmt, ...)
{
	const char *url = NULL;
	int rc = container_url(b, ADAFS_PLAN_WRITE_CONTAINER, &url);
	if (rc < 0)
		return rc;
	va_list ap;
	va_start(ap, fmt);
	char *text = NULL;
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	ADAFS_FREE char *path = n < 0 ? NULL : text;
	if (!path)
		return build_oom(b);
	cJSON *item = build_item(b, list);
	build_str(b, item, "filePattern", pattern);
	cJSON *container = build_object(b, build_object(b, item, "destination"), "container");
	build_str(b, container, "containerUrl", url);
	add_identity(b, container);
	build_str(b, container, "path", path);
	build_str(b, build_object(b, item, "uploadOptions"), "uploadCondition", condition);
	return 0;
}

int build_merged(struct build *b, cJSON *list)
{
	return build_output(b, list, ".adafs/merged/**/*", "tasksuccess", "merged/%.*s",
			    (int)(strlen(b->parts) - strlen("parts/") - 1),
			    b->parts + strlen("parts/"));
}

/* Declared outputs below a prefix: `out/<output>/` in work/, or the job's part. */
static int add_declared(struct build *b, cJSON *list, const struct adafs_plan_step *t, bool part)
{
	const struct model_step *s = build_model(b, t);
	const char *job = b->req->job_id;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < s->n_outputs; i++) {
		const struct model_output *o = &s->outputs[i];
		ADAFS_FREE char *out = build_out(b, t, o);
		if (!out)
			return build_oom(b);
		if (part && o->folder)
			rc = build_output(b, list, o->path, "tasksuccess", "%s%s/%s", b->parts, job,
					  o->name);
		else if (part)
			rc = build_output(b, list, o->path, "tasksuccess", "%s%s/%s", b->parts, job,
					  o->base);
		else if (o->folder)
			rc = build_output(b, list, o->path, "tasksuccess", "%s", out);
		else
			rc = build_output(b, list, o->path, "tasksuccess", "%s/%s", out, o->base);
	}
	return rc;
}

int build_output_files(struct build *b, const struct adafs_plan_step *t, cJSON *task)
{
	cJSON *list = build_array(b, task, "outputFiles");
	const struct model_step *s = build_model(b, t);
	const char *work = t->work_prefix;
	int rc = build_output(b, list, "../stdout.txt", "taskcompletion", "%sstdout.txt", work);
	if (rc == 0)
		rc = build_output(b, list, "../stderr.txt", "taskcompletion", "%sstderr.txt", work);
	if (rc == 0)
		rc = build_output(b, list, ".adafs/end.json", "taskcompletion", "%send.json", work);
	if (rc == 0 && b->req->n_parts)
		return build_merge_outputs(b, t, list);
	if (rc == 0 && t->shard >= 0) {
		ADAFS_FREE char *end = build_end(b, t);
		rc = end ? build_output(b, list, ".adafs/end.json", "taskcompletion", "%s", end)
			 : build_oom(b);
	}
	if (rc == 0 && (s->result || s->merge))
		rc = build_output(b, list, ".adafs/part/part.json", "taskcompletion",
				  "%s%s/part.json", b->parts, b->req->job_id);
	if (rc == 0 && s->result)
		rc = build_output(b, list, ".adafs/part/manifest.json", "taskcompletion",
				  "%s%s/manifest.json", b->parts, b->req->job_id);
	if (rc == 0 && s->merge)
		return build_merged(b, list);
	if (rc == 0)
		rc = add_declared(b, list, t, false);
	if (rc == 0 && s->result)
		rc = add_declared(b, list, t, true);
	return rc;
}
