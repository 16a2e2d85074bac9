/*
 * foreman/maps.c - maps that newer ones have followed. Of each event and pipeline the two newest
 * complete ones stay, and whatever was written within a day: it may be a merge that is still being
 * stored, or be open.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/json.h"
#include "batch/base/log.h"
#include "batch/foreman/internal.h"
#include "batch/foreman/janitor.h"

#define DAY_S 86400
#define KEPT_MAPS 2
#define MAX_SUMMARY (16 << 20)
#define TOP "merged/"

/* --- the choice (pure) -------------------------------------------------------------------- */

static int by_rank(const void *a, const void *b)
{
	const struct janitor_map *x = a, *y = b;
	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	if (x->written != y->written)
		return x->written > y->written ? -1 : 1;
	return strncmp(y->folder, x->folder, y->folder_len);
}

void janitor_old_maps(struct janitor_map *map, size_t n, time_t before)
{
	size_t n_complete = 0;
	if (n)
		qsort(map, n, sizeof(*map), by_rank);
	for (size_t i = 0; i < n; i++) {
		map[i].old = n_complete >= KEPT_MAPS && map[i].written < before;
		n_complete += map[i].complete;
	}
}

/* --- what is there ------------------------------------------------------------------------ */

struct sweep {
	struct janitor *t;
	struct results_blob *blob; /* in the order of names: a folder's stand together */
	size_t n, size;
	struct janitor_map *map;
	size_t n_maps;
};

static int see_blob(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct sweep *s = arg;
	const char *event = name + strlen(TOP), *slash = strchr(event, '/');
	struct results_blob b = { 0 };
	if (!props || !slash || results_parse_merge(name, (size_t)(slash + 1 - name), &b))
		return 0;
	if (s->n == s->size) {
		size_t size = s->size ? 2 * s->size : 256;
		struct results_blob *list = realloc(s->blob, size * sizeof(*list));
		if (!list)
			return -ENOMEM;
		s->blob = list;
		s->size = size;
	}
	b.pipeline_len += (size_t)(slash + 2 - name); /* here: up to the slash behind it */
	b.name = strdup(name);
	b.size = props->size;
	b.mtime = props->last_modified;
	strcpy(b.etag, props->etag);
	if (!b.name)
		return -ENOMEM;
	s->blob[s->n++] = b;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct results_blob *)a)->name,
		      ((const struct results_blob *)b)->name);
}

static void find_maps(struct sweep *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct results_blob *b = &s->blob[i];
		struct janitor_map *m = s->n_maps ? &s->map[s->n_maps - 1] : NULL;
		if (!m || m->folder_len != b->folder_len ||
		    strncmp(m->folder, b->name, m->folder_len) != 0) {
			m = &s->map[s->n_maps++];
			*m = (struct janitor_map){ .folder = b->name,
						   .folder_len = b->folder_len,
						   .pipeline_len = b->pipeline_len,
						   .first = i,
						   .count = b->count };
		}
		m->n_files++;
		if (b->mtime > m->written)
			m->written = b->mtime;
	}
}

static int check_map(struct sweep *s, struct janitor_map *m, struct adafs_err *reterr)
{
	struct adafs_foreman *f = s->t->f;
	ADAFS_FREE char *name = adafs_fmt("%.*ssummary.json", (int)m->folder_len, m->folder);
	ADAFS_FREE char *text = NULL;
	size_t len = 0;
	if (!name)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (!results_find(s->blob, s->n, name))
		return 0;
	if (!janitor_turn(s->t))
		return adafs_err_set(reterr, -ECANCELED, "the mount ends");
	int rc = adafs_blob_get_text(f->blob, f->container, name, MAX_SUMMARY, &text, &len, NULL,
				     reterr);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	ADAFS_JSON *summary = adafs_json_parse(text, len, NULL);
	m->complete = summary && results_complete(s->blob, s->n, m->folder, m->folder_len, summary);
	return 0;
}

/* --- removing ----------------------------------------------------------------------------- */

static int delete_one(struct sweep *s, const struct results_blob *b, struct adafs_err *reterr)
{
	struct adafs_err err = { 0 };
	const struct adafs_blob_cond cond = { .if_match = b->etag };
	if (!janitor_turn(s->t))
		return adafs_err_set(reterr, -ECANCELED, "the mount ends");
	int rc = adafs_blob_delete(s->t->f->blob, s->t->f->container, b->name, true, &cond, &err);
	return rc == -ENOENT || rc == -ESTALE ? 0 : adafs_err_copy(reterr, &err);
}

/* The summary first: without it nobody takes what is left for a map. */
static int delete_map(struct sweep *s, const struct janitor_map *m, struct adafs_err *reterr)
{
	int rc = 0;
	for (int summary = 1; summary >= 0; summary--)
		for (size_t i = 0; i < m->n_files && !rc; i++) {
			const struct results_blob *b = &s->blob[m->first + i];
			if ((strcmp(b->name + b->folder_len, "summary.json") == 0) == summary)
				rc = delete_one(s, b, reterr);
		}
	return rc;
}

static bool same_pipeline(const struct janitor_map *a, const struct janitor_map *b)
{
	return a->pipeline_len == b->pipeline_len &&
	       strncmp(a->folder, b->folder, a->pipeline_len) == 0;
}

/* The maps of one event and pipeline. */
static int sweep_pipeline(struct sweep *s, struct janitor_map *map, size_t n,
			  struct adafs_err *reterr)
{
	time_t before = (time_t)(adafs_blob_now_us(s->t->f->blob) / 1000000) - DAY_S;
	size_t n_complete = 0;
	int rc = 0;
	if (n <= KEPT_MAPS)
		return 0;
	janitor_old_maps(map, n, before); /* in order of rank; what is complete is not known yet */
	for (size_t i = 0; i < n && n_complete < KEPT_MAPS && !rc; i++) {
		rc = check_map(s, &map[i], reterr);
		n_complete += map[i].complete;
	}
	janitor_old_maps(map, n, before);
	for (size_t i = 0; i < n && !rc; i++)
		if (map[i].old)
			rc = delete_map(s, &map[i], reterr);
	return rc;
}

static int sweep_all(struct sweep *s, struct adafs_err *reterr)
{
	int rc = 0;
	if (s->n)
		qsort(s->blob, s->n, sizeof(*s->blob), by_name);
	s->map = calloc(s->n + 1, sizeof(*s->map));
	if (!s->map)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	find_maps(s);
	for (size_t i = 0, end; i < s->n_maps && !rc; i = end) {
		for (end = i + 1; end < s->n_maps && same_pipeline(&s->map[i], &s->map[end]);)
			end++;
		rc = sweep_pipeline(s, s->map + i, end - i, reterr);
	}
	return rc;
}

int janitor_remove_maps(struct janitor *t, struct adafs_err *reterr)
{
	struct sweep s = { .t = t };
	if (!janitor_turn(t))
		return adafs_err_set(reterr, -ECANCELED, "the mount ends");
	int rc = adafs_blob_list(t->f->blob, t->f->container, TOP, NULL, 0, see_blob, &s, reterr);
	if (!rc)
		rc = sweep_all(&s, reterr);
	for (size_t i = 0; i < s.n; i++)
		free(s.blob[i].name);
	free(s.blob);
	free(s.map);
	return rc;
}
