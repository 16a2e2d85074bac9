/* foreman/setup.c - what is brought into order once at start; access and pool have files of their
 * own. */
#include <errno.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/log.h"
#include "batch/foreman/internal.h"

/* --- assets ------------------------------------------------------------------------------- */

struct asset_list {
	const struct adafs_pipeline *pipeline;
	bool *found;
	const char *text_blob;
	bool text_found;
	struct foreman_asset *asset; /* all but what adafs stores there itself */
	size_t n;
};

#define OWN_ASSETS "assets/.adafs/"

static int note_asset(struct asset_list *l, const char *name, const struct adafs_blob_props *props)
{
	struct foreman_asset *list = realloc(l->asset, (l->n + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	l->asset = list;
	list[l->n].blob = strdup(name);
	strcpy(list[l->n].etag, props->etag);
	return list[l->n].blob && ++l->n ? 0 : -ENOMEM;
}

/* The list's assets become the foreman's, and the list goes; of half a listing only that. */
static void take_assets(struct adafs_foreman *f, struct asset_list *l, bool whole)
{
	struct foreman_asset *old = l->asset;
	size_t n = l->n;
	adafs_mutex_lock(&f->lock);
	if (whole) {
		old = f->asset;
		n = f->n_assets;
		f->asset = l->asset;
		f->n_assets = l->n;
	}
	adafs_mutex_unlock(&f->lock);
	for (size_t i = 0; i < n; i++)
		free(old[i].blob);
	free(old);
}

const char *foreman_asset_etag(void *arg, const char *blob)
{
	const struct adafs_foreman *f = arg;
	for (size_t i = 0; i < f->n_assets; i++)
		if (strcmp(f->asset[i].blob, blob) == 0)
			return f->asset[i].etag;
	return NULL;
}

static int see_asset(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct asset_list *l = arg;
	if (!props)
		return 0;
	if (strcmp(name, l->text_blob) == 0)
		l->text_found = true;
	for (size_t i = 0; i < adafs_pipeline_n_assets(l->pipeline); i++)
		if (strcmp(adafs_pipeline_asset(l->pipeline, i)->blob, name) == 0)
			l->found[i] = true;
	return strncmp(name, OWN_ASSETS, strlen(OWN_ASSETS)) == 0 ? 0 : note_asset(l, name, props);
}

int foreman_refresh_assets(struct adafs_foreman *f, struct adafs_err *reterr)
{
	const struct adafs_pipeline *p = f->pipeline;
	ADAFS_FREE bool *found = calloc(adafs_pipeline_n_assets(p) + 1, sizeof(*found));
	if (!found)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	struct asset_list l = { .pipeline = p, .found = found, .text_blob = "" };
	int rc = adafs_blob_list(f->blob, f->container, "assets/", NULL, 0, see_asset, &l, reterr);
	take_assets(f, &l, rc == 0);
	return rc;
}

static int put_once(struct adafs_foreman *f, const char *blob, const void *data, size_t len,
		    const char *type, struct adafs_err *reterr)
{
	struct adafs_blob_source src = { .data = data, .fd = -1, .len = len };
	struct adafs_blob_put put = { .content_type = type, .cond = { .if_none_match = "*" } };
	int rc = adafs_blob_put(f->blob, f->container, blob, &src, &put, NULL, reterr);
	/* The name holds the digest: whoever was first wrote the same bytes. */
	if (rc == -EEXIST || rc == -ESTALE)
		return 0;
	if (rc)
		adafs_err_prefix(reterr, "cannot store asset '%s'", blob);
	return rc;
}

static int add_missing(struct adafs_foreman *f, const char *blob)
{
	char **list = realloc(f->missing_assets, (f->n_missing_assets + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	f->missing_assets = list;
	list[f->n_missing_assets] = strdup(blob);
	if (!list[f->n_missing_assets])
		return -ENOMEM;
	f->n_missing_assets++;
	return 0;
}

static int put_assets(struct adafs_foreman *f, const struct asset_list *l, struct adafs_err *reterr)
{
	int rc = 0;
	for (size_t i = 0; i < adafs_pipeline_n_assets(l->pipeline) && !rc; i++) {
		const struct adafs_pipeline_asset *a = adafs_pipeline_asset(l->pipeline, i);
		if (l->found[i])
			continue;
		if (a->data) {
			rc = put_once(f, a->blob, a->data, a->data_len, NULL, reterr);
		} else if (!a->optional) {
			adafs_log(WARN, "foreman",
				  "asset '%s' of the pipeline is not in container '%s': jobs wait "
				  "until it is",
				  a->blob, f->container);
			if (add_missing(f, a->blob))
				rc = adafs_err_set(reterr, -ENOMEM, "out of memory");
		}
	}
	return rc;
}

static int setup_assets(struct adafs_foreman *f, struct adafs_err *reterr)
{
	const struct adafs_pipeline *p = f->pipeline;
	ADAFS_FREE bool *found = calloc(adafs_pipeline_n_assets(p) + 1, sizeof(*found));
	ADAFS_FREE char *text_blob = pipelines_blob(adafs_pipeline_digest(p));
	if (!found || !text_blob)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	struct asset_list l = { .pipeline = p, .found = found, .text_blob = text_blob };
	int rc = adafs_blob_list(f->blob, f->container, "assets/", NULL, 0, see_asset, &l, reterr);
	take_assets(f, &l, rc == 0);
	if (rc)
		return rc;
	rc = put_assets(f, &l, reterr);
	if (rc || l.text_found)
		return rc;
	size_t len;
	const char *text = adafs_pipeline_text(p, &len);
	return put_once(f, text_blob, text, len, "application/json", reterr);
}

int foreman_setup(struct adafs_foreman *f, struct adafs_err *reterr)
{
	int rc = foreman_setup_pool(f, reterr);
	if (rc || f->reads_only)
		return rc;
	rc = foreman_setup_access(f, reterr);
	if (!rc) /* asked now, no image pays for it; what is not obeyed yet is asked again then */
		rc = foreman_prove_access(f, reterr);
	if (!rc || rc == -EAGAIN)
		rc = setup_assets(f, reterr);
	return rc;
}
