/*
 * foreman/results.c - what a user sees in results/: of each pipeline the newest complete merge, and
 * the parts of its jobs. One listing of merged/, one of parts/, and the summary of each merge that
 * is a candidate.
 */
#include "batch/foreman/results.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/json.h"
#include "batch/foreman/foreman.h"

#define MAX_SUMMARY (16 << 20)

/* --- events ------------------------------------------------------------------------------- */

struct name_list {
	char **name;
	size_t n, prefix_len;
};

static int see_event(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct name_list *l = arg;
	size_t len = strlen(name);
	if (props || len <= l->prefix_len + 1)
		return 0;
	char **list = realloc(l->name, (l->n + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	l->name = list;
	list[l->n] = strndup(name + l->prefix_len, len - l->prefix_len - 1);
	return list[l->n] && ++l->n ? 0 : -ENOMEM;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(struct name_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->name[i]);
	free(l->name);
}

int adafs_results_events(struct adafs_blob_client *c, const char *container, char ***ret_names,
			 size_t *ret_n, struct adafs_err *reterr)
{
	static const char *const prefix[] = { "merged/", "parts/" };
	struct name_list l = { 0 };
	int rc = 0;
	for (size_t i = 0; i < 2 && !rc; i++) {
		l.prefix_len = strlen(prefix[i]);
		rc = adafs_blob_list(c, container, prefix[i], "/", 0, see_event, &l, reterr);
	}
	if (rc) {
		free_names(&l);
		return rc;
	}
	size_t n = 0;
	if (l.n)
		qsort(l.name, l.n, sizeof(*l.name), by_text);
	for (size_t i = 0; i < l.n; i++) {
		if (n && strcmp(l.name[n - 1], l.name[i]) == 0)
			free(l.name[i]);
		else
			l.name[n++] = l.name[i];
	}
	*ret_names = l.name;
	*ret_n = n;
	return 0;
}

/* --- choosing the map (pure) -------------------------------------------------------------- */

int results_parse_merge(const char *name, size_t prefix_len, struct results_blob *b)
{
	const char *pipeline = name + prefix_len, *folder = strchr(pipeline, '/');
	const char *file = folder ? strchr(folder + 1, '/') : NULL;
	char *end;
	if (!file || !file[1])
		return -EINVAL;
	b->count = strtoull(folder + 1, &end, 10);
	if (end == folder + 1 || *end != '-')
		return -EINVAL;
	b->pipeline_len = (size_t)(folder - pipeline);
	b->folder_len = (size_t)(file + 1 - name);
	return 0;
}

const struct results_blob *results_find(const struct results_blob *list, size_t n, const char *name)
{
	size_t low = 0, high = n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(list[mid].name, name);
		if (c == 0)
			return &list[mid];
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

bool results_complete(const struct results_blob *list, size_t n, const char *folder,
		      size_t folder_len, const cJSON *summary)
{
	const cJSON *files = adafs_json_get(summary, "files"), *f;
	if (!cJSON_IsArray(files))
		return false;
	cJSON_ArrayForEach(f, files)
	{
		const char *path = adafs_json_str(f, "path", NULL);
		ADAFS_FREE char *name =
			path ? adafs_fmt("%.*s%s", (int)folder_len, folder, path) : NULL;
		const struct results_blob *b = name ? results_find(list, n, name) : NULL;
		if (!b || b->size != adafs_json_int(f, "size", -1))
			return false;
	}
	return true;
}

/* --- loading ------------------------------------------------------------------------------ */

struct blob_list {
	struct results_blob *blob;
	size_t n, size, prefix_len;
	bool merges;
};

static int see_blob(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct blob_list *l = arg;
	struct results_blob b = { 0 };
	if (!props || (l->merges && results_parse_merge(name, l->prefix_len, &b)))
		return 0;
	if (l->n == l->size) {
		size_t size = l->size ? 2 * l->size : 64;
		struct results_blob *list = realloc(l->blob, size * sizeof(*list));
		if (!list)
			return -ENOMEM;
		l->blob = list;
		l->size = size;
	}
	b.name = strdup(name);
	b.size = props->size;
	b.mtime = props->last_modified;
	strcpy(b.etag, props->etag);
	if (!b.name)
		return -ENOMEM;
	l->blob[l->n++] = b;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct results_blob *)a)->name,
		      ((const struct results_blob *)b)->name);
}

static int list_blobs(struct adafs_blob_client *c, const char *container, const char *top,
		      const char *event, struct blob_list *l, struct adafs_err *reterr)
{
	ADAFS_FREE char *prefix = adafs_fmt("%s/%s/", top, event);
	if (!prefix)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	l->prefix_len = strlen(prefix);
	int rc = adafs_blob_list(c, container, prefix, NULL, 0, see_blob, l, reterr);
	if (rc == 0 && l->n)
		qsort(l->blob, l->n, sizeof(*l->blob), by_name);
	return rc;
}

static void free_blobs(struct blob_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->blob[i].name);
	free(l->blob);
}

static int add_file(struct adafs_results *r, const struct results_blob *b, char *path)
{
	struct adafs_result_file *list = realloc(r->file, (r->n + 1) * sizeof(*list));
	char *blob = strdup(b->name);
	if (list)
		r->file = list;
	if (!list || !blob || !path) {
		free(blob);
		free(path);
		return -ENOMEM;
	}
	struct adafs_result_file *f = &list[r->n++];
	*f = (struct adafs_result_file){
		.path = path, .blob = blob, .size = b->size, .mtime = b->mtime
	};
	strcpy(f->etag, b->etag);
	return 0;
}

/* Summaries in the order in which they are to be tried: of one pipeline highest count first, then
 * newest. */
static int by_rank(const void *a, const void *b)
{
	const struct results_blob *x = *(const struct results_blob *const *)a;
	const struct results_blob *y = *(const struct results_blob *const *)b;
	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	if (x->mtime != y->mtime)
		return x->mtime > y->mtime ? -1 : 1;
	return strcmp(y->name, x->name);
}

struct loader {
	struct adafs_blob_client *c;
	const char *container, *first;
	struct blob_list merged, parts;
	struct adafs_results out;
};

/* Where a pipeline's files are shown: "" for the first one. free() it. */
static char *shown_prefix(const struct loader *l, const char *pipeline)
{
	return strcmp(pipeline, l->first) == 0 ? strdup("") : adafs_fmt("%s/", pipeline);
}

static int check_summary(struct loader *l, const struct results_blob *s, bool *ret_ok,
			 struct adafs_err *reterr)
{
	ADAFS_FREE char *text = NULL;
	size_t len = 0;
	int rc = adafs_blob_get_text(l->c, l->container, s->name, MAX_SUMMARY, &text, &len, NULL,
				     reterr);
	*ret_ok = false;
	if (rc == -ENOENT)
		return 0;
	if (rc)
		return rc;
	ADAFS_JSON *summary = adafs_json_parse(text, len, NULL);
	*ret_ok = summary &&
		  results_complete(l->merged.blob, l->merged.n, s->name, s->folder_len, summary);
	return 0;
}

static int show_merge(struct loader *l, const struct results_blob *s, const char *pipeline)
{
	for (size_t i = 0; i < l->merged.n; i++) {
		const struct results_blob *b = &l->merged.blob[i];
		if (b->folder_len != s->folder_len || strncmp(b->name, s->name, s->folder_len) != 0)
			continue;
		ADAFS_FREE char *prefix = shown_prefix(l, pipeline);
		int rc = add_file(&l->out, b,
				  prefix ? adafs_fmt("%s%s", prefix, b->name + b->folder_len)
					 : NULL);
		if (rc)
			return rc;
	}
	return 0;
}

static int load_merge(struct loader *l, const char *pipeline, struct adafs_err *reterr)
{
	ADAFS_FREE const struct results_blob **list =
		calloc(l->merged.n + 1, sizeof(const struct results_blob *));
	size_t n = 0, len = strlen(pipeline);
	bool ok = false;
	int rc = list ? 0 : -ENOMEM;
	for (size_t i = 0; !rc && i < l->merged.n; i++) {
		const struct results_blob *b = &l->merged.blob[i];
		if (strcmp(b->name + b->folder_len, "summary.json") == 0 &&
		    b->pipeline_len == len &&
		    strncmp(b->name + l->merged.prefix_len, pipeline, len) == 0)
			list[n++] = b;
	}
	if (n)
		qsort(list, n, sizeof(const struct results_blob *), by_rank);
	for (size_t i = 0; i < n && !ok && !rc; i++) {
		rc = check_summary(l, list[i], &ok, reterr);
		if (!rc && ok)
			rc = show_merge(l, list[i], pipeline);
	}
	return rc;
}

static int load_parts(struct loader *l)
{
	for (size_t i = 0; i < l->parts.n; i++) {
		const struct results_blob *b = &l->parts.blob[i];
		const char *pipeline = b->name + l->parts.prefix_len, *job = strchr(pipeline, '/');
		const char *file = job ? strchr(job + 1, '/') : NULL;
		if (!file || strcmp(file, "/part.json") == 0)
			continue;
		ADAFS_FREE char *name = strndup(pipeline, (size_t)(job - pipeline));
		ADAFS_FREE char *prefix = name ? shown_prefix(l, name) : NULL;
		int rc = add_file(&l->out, b, prefix ? adafs_fmt("%s%s", prefix, job + 1) : NULL);
		if (rc)
			return rc;
	}
	return 0;
}

/* The pipelines of an event by name, from both listings. */
static int find_pipelines(const struct loader *l, struct name_list *ret)
{
	const struct blob_list *lists[] = { &l->merged, &l->parts };
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < lists[k]->n; i++) {
			const char *at = lists[k]->blob[i].name + lists[k]->prefix_len;
			size_t len = strcspn(at, "/");
			bool known = !at[len];
			for (size_t m = 0; m < ret->n && !known; m++)
				known = strlen(ret->name[m]) == len &&
					strncmp(ret->name[m], at, len) == 0;
			if (known)
				continue;
			char **list = realloc(ret->name, (ret->n + 1) * sizeof(*list));
			if (!list)
				return -ENOMEM;
			ret->name = list;
			list[ret->n] = strndup(at, len);
			if (!list[ret->n])
				return -ENOMEM;
			ret->n++;
		}
	}
	if (ret->n)
		qsort(ret->name, ret->n, sizeof(*ret->name), by_text);
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct adafs_result_file *)a)->path,
		      ((const struct adafs_result_file *)b)->path);
}

static int load_all(struct loader *l, const char *first_pipeline, struct adafs_err *reterr)
{
	struct name_list pipelines = { 0 };
	int rc = find_pipelines(l, &pipelines);
	bool known = false;
	for (size_t i = 0; i < pipelines.n; i++)
		known |= first_pipeline && strcmp(first_pipeline, pipelines.name[i]) == 0;
	/* A mount with another pipeline still shows an event as its own pipeline left it. */
	l->first = known ? first_pipeline : pipelines.n ? pipelines.name[0] : "";
	for (size_t i = 0; i < pipelines.n && !rc; i++)
		rc = load_merge(l, pipelines.name[i], reterr);
	if (!rc)
		rc = load_parts(l);
	free_names(&pipelines);
	if (rc == -ENOMEM)
		adafs_err_set(reterr, rc, "out of memory");
	return rc;
}

int adafs_results_load(struct adafs_blob_client *c, const char *container, const char *event,
		       const char *first_pipeline, struct adafs_results *ret,
		       struct adafs_err *reterr)
{
	struct loader l = { .c = c, .container = container, .merged = { .merges = true } };
	int rc = list_blobs(c, container, "merged", event, &l.merged, reterr);
	if (!rc)
		rc = list_blobs(c, container, "parts", event, &l.parts, reterr);
	if (!rc)
		rc = load_all(&l, first_pipeline, reterr);
	free_blobs(&l.merged);
	free_blobs(&l.parts);
	if (rc) {
		adafs_results_clear(&l.out);
		return rc;
	}
	if (l.out.n)
		qsort(l.out.file, l.out.n, sizeof(*l.out.file), by_path);
	*ret = l.out;
	return 0;
}

void adafs_results_clear(struct adafs_results *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->file[i].path);
		free(r->file[i].blob);
	}
	free(r->file);
	*r = (struct adafs_results){ 0 };
}
