/*
 * foreman/pipelines.c - a list of parsed pipelines; one that is missing is fetched from assets/.
 * One thread.
 */
#include "batch/foreman/pipelines.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "batch/base/buf.h"

#define MAX_TEXT (4 << 20)

char *pipelines_blob(const char *digest)
{
	return adafs_fmt("assets/.adafs/%s/pipeline.json", digest);
}

static bool permanent(int rc)
{
	return rc == -ENOENT || rc == -EINVAL || rc == -EOPNOTSUPP;
}

/* Its scripts as they are on this machine: usually the same as the mount's own, then nothing is
 * stored. */
static int store_scripts(struct foreman_pipelines *p, const struct adafs_pipeline *pipeline,
			 struct adafs_err *reterr)
{
	for (size_t i = 0; i < adafs_pipeline_n_assets(pipeline); i++) {
		const struct adafs_pipeline_asset *a = adafs_pipeline_asset(pipeline, i);
		struct adafs_blob_source src = { .data = a->data, .fd = -1, .len = a->data_len };
		struct adafs_blob_put put = { .cond = { .if_none_match = "*" } };
		int rc = !a->data ? 0
				  : adafs_blob_put(p->blob, p->container, a->blob, &src, &put, NULL,
						   reterr);
		if (rc && rc != -EEXIST && rc != -ESTALE)
			return rc;
	}
	return 0;
}

/* Relative names of scripts are looked up beside the mount's own pipeline: most often it is the
 * same one, edited. */
static int load(struct foreman_pipelines *p, const char *digest, struct adafs_pipeline **ret,
		struct adafs_err *reterr)
{
	ADAFS_FREE char *blob = pipelines_blob(digest);
	ADAFS_FREE char *text = NULL;
	size_t len = 0;
	if (!blob)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = adafs_blob_get_text(p->blob, p->container, blob, MAX_TEXT, &text, &len, NULL,
				     reterr);
	if (rc == -ENOENT)
		return adafs_err_set(
			reterr, rc,
			"its pipeline (digest %.12s) is not in the container: copy the image again",
			digest);
	if (rc)
		return rc;
	char found[ADAFS_SHA256_HEX_LEN];
	adafs_sha256_hex(text, len, found);
	if (strcmp(found, digest) != 0)
		return adafs_err_set(reterr, -EINVAL, "blob '%s' was changed: its digest is wrong",
				     blob);
	struct adafs_pipeline *pipeline;
	rc = adafs_pipeline_parse(adafs_pipeline_path(p->own), text, len, &pipeline, reterr);
	if (rc) {
		adafs_err_prefix(
			reterr,
			"the pipeline that it was copied under (digest %.12s) cannot be used here",
			digest);
		return rc;
	}
	rc = store_scripts(p, pipeline, reterr);
	if (rc) {
		adafs_pipeline_unref(pipeline);
		return rc;
	}
	*ret = pipeline;
	return 0;
}

static struct foreman_pipeline_entry *find(struct foreman_pipelines *p, const char *digest)
{
	for (size_t i = 0; i < p->n; i++)
		if (strcmp(p->entry[i].digest, digest) == 0)
			return &p->entry[i];
	return NULL;
}

struct adafs_pipeline *pipelines_get(struct foreman_pipelines *p, const char *digest,
				     struct adafs_err *reterr)
{
	if (strcmp(digest, adafs_pipeline_digest(p->own)) == 0)
		return p->own;
	if (strlen(digest) != 64) {
		adafs_err_set(reterr, -EINVAL,
			      "its trigger names no pipeline: copy the image again");
		return NULL;
	}
	struct foreman_pipeline_entry *e = find(p, digest);
	if (!e) {
		struct adafs_err err = { 0 };
		struct adafs_pipeline *pipeline = NULL;
		int rc = load(p, digest, &pipeline, &err);
		if (rc && !permanent(rc)) {
			adafs_err_copy(reterr, &err);
			return NULL;
		}
		e = realloc(p->entry, (p->n + 1) * sizeof(*e));
		if (!e) {
			adafs_pipeline_unref(pipeline);
			adafs_err_set(reterr, -ENOMEM, "out of memory");
			return NULL;
		}
		p->entry = e;
		e += p->n++;
		snprintf(e->digest, sizeof(e->digest), "%s", digest);
		e->pipeline = pipeline;
		snprintf(e->why, sizeof(e->why), "%s", err.msg);
	}
	if (!e->pipeline)
		adafs_err_set(reterr, -EINVAL, "%s", e->why);
	return e->pipeline;
}

void pipelines_clear(struct foreman_pipelines *p)
{
	for (size_t i = 0; i < p->n; i++)
		adafs_pipeline_unref(p->entry[i].pipeline);
	free(p->entry);
	p->entry = NULL;
	p->n = 0;
}
