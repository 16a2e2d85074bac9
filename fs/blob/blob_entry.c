/* blob_entry.c - one name of a container as the tree shows it. */
#include "fs/blob/blobs.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"
#include "fs/blob/meta.h"

bool blob_meta_is_dir(const struct adafs_blob_meta *m)
{
	const char *v = adafs_blob_meta_get(m, "hdi_isfolder");
	return v && !strcasecmp(v, "true");
}

void blob_mtime_format(struct timespec t, char ret[BLOB_MTIME_LEN])
{
	snprintf(ret, BLOB_MTIME_LEN, "%" PRId64 ".%09ld", (int64_t)t.tv_sec, t.tv_nsec);
}

bool blob_mtime_parse(const char *text, struct timespec *ret)
{
	char *end;
	errno = 0;
	long long sec = strtoll(text, &end, 10);
	if (end != text && !errno && (*end == 0 || *end == '.')) {
		long ns = 0;
		int digits = 0;
		if (*end == '.')
			for (end++; *end >= '0' && *end <= '9' && digits < 9; end++, digits++)
				ns = ns * 10 + (*end - '0');
		for (; digits < 9; digits++)
			ns *= 10;
		*ret = (struct timespec){ .tv_sec = (time_t)sec, .tv_nsec = ns };
		return *end == 0 || (*end >= '0' && *end <= '9');
	}
	int64_t us;
	if (adafs_clock_parse_iso8601(text, &us))
		return false;
	int64_t frac = us % 1000000;
	if (frac < 0)
		frac += 1000000;
	*ret = (struct timespec){ .tv_sec = (time_t)((us - frac) / 1000000),
				  .tv_nsec = (long)frac * 1000 };
	return true;
}

static size_t packed_size(const struct adafs_blob_meta *m)
{
	size_t n = 0;
	for (size_t i = 0; i < m->n; i++)
		n += strlen(m->item[i].name) + strlen(m->item[i].value) + 2;
	return n;
}

/* A target that no link can have makes it an ordinary file. */
static bool is_link(const struct adafs_blob_props *p)
{
	const char *v = adafs_blob_meta_get(&p->meta, META_LINK);
	return v && !strcasecmp(v, "true") && p->size > 0 && p->size < PATH_MAX;
}

static void fill(struct blob_entry *e, const struct adafs_blob_props *p)
{
	const char *mtime = adafs_blob_meta_get(&p->meta, "mtime");
	e->is_dir = e->marker = blob_meta_is_dir(&p->meta);
	e->is_link = !e->is_dir && is_link(p);
	e->mode = (uint16_t)meta_mode(&p->meta, e->is_dir);
	e->archived = p->archived;
	e->has_md5 = p->has_md5;
	e->type = (uint8_t)p->type;
	e->size = p->size;
	e->last_modified = p->last_modified;
	e->created = p->created;
	memcpy(e->md5, p->md5, sizeof(e->md5));
	if (!mtime || !blob_mtime_parse(mtime, &e->mtime))
		e->mtime = (struct timespec){ .tv_sec = p->last_modified };
}

struct blob_entry *blob_entry_new(const char *name, const struct adafs_blob_props *props)
{
	const char *etag = props ? props->etag : "";
	size_t name_len = strlen(name) + 1, etag_len = strlen(etag) + 1;
	size_t meta_len = props ? packed_size(&props->meta) : 0;
	struct blob_entry *e = malloc(sizeof(*e) + name_len + etag_len + meta_len);
	if (!e || meta_len > UINT32_MAX) {
		free(e);
		return NULL;
	}
	*e = (struct blob_entry){
		.refs = 1, .is_dir = true, .mode = 0755, .meta_len = (uint32_t)meta_len
	};
	e->name = memcpy(e->text, name, name_len);
	e->etag = memcpy(e->text + name_len, etag, etag_len);
	e->meta = e->text + name_len + etag_len;
	if (!props)
		return e;
	char *p = e->text + name_len + etag_len;
	for (size_t i = 0; i < props->meta.n; i++) {
		p = stpcpy(p, props->meta.item[i].name) + 1;
		p = stpcpy(p, props->meta.item[i].value) + 1;
	}
	fill(e, props);
	return e;
}

struct blob_entry *blob_entry_ref(struct blob_entry *e)
{
	__atomic_add_fetch(&e->refs, 1, __ATOMIC_RELAXED);
	return e;
}

void blob_entry_unref(struct blob_entry *e)
{
	if (e && __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(e);
}

void blob_entry_unrefp(struct blob_entry **e)
{
	blob_entry_unref(*e);
}

bool blob_entry_same(const struct blob_entry *a, const struct blob_entry *b)
{
	return a == b || (a && b && a->is_dir == b->is_dir && !strcmp(a->etag, b->etag));
}

/* An ETag stands for content and metadata, but not for the tier. */
bool blob_entry_equal(const struct blob_entry *a, const struct blob_entry *b)
{
	return blob_entry_same(a, b) && a && !strcmp(a->name, b->name) && a->marker == b->marker &&
	       a->archived == b->archived;
}

int blob_entry_props(const struct blob_entry *e, struct adafs_blob_props *ret)
{
	struct adafs_blob_props p = {
		.size = e->size,
		.last_modified = e->last_modified,
		.created = e->created,
		.type = (enum adafs_blob_type)e->type,
		.archived = e->archived,
		.has_md5 = e->has_md5,
	};
	snprintf(p.etag, sizeof(p.etag), "%s", e->etag);
	memcpy(p.md5, e->md5, sizeof(p.md5));
	for (const char *m = e->meta; m < e->meta + e->meta_len;) {
		const char *value = m + strlen(m) + 1;
		if (adafs_blob_meta_set(&p.meta, m, value)) {
			adafs_blob_props_clear(&p);
			return -ENOMEM;
		}
		m = value + strlen(value) + 1;
	}
	*ret = p;
	return 0;
}

void blob_list_clear(struct blob_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		blob_entry_unref(l->entry[i]);
	free(l->entry);
	*l = (struct blob_list){ 0 };
}

int blob_split(const char *blob, char **ret_prefix, const char **ret_name)
{
	const char *slash = strrchr(blob, '/');
	size_t n = slash ? (size_t)(slash - blob) + 1 : 0;
	char *prefix = strndup(blob, n);
	if (!prefix)
		return -ENOMEM;
	*ret_prefix = prefix;
	*ret_name = blob + n;
	return 0;
}
