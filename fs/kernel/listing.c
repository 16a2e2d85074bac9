/*
 * listing.c - pages of a directory, and the rule by which files and prefixes of one name become
 * one.
 */
#include "fs/kernel/listing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"

#define MAX_NAME 255
#define MALLOC_OVERHEAD 16

struct listing *listing_new(uint64_t seq, uint64_t began_ms)
{
	struct listing *l = calloc(1, sizeof(*l));
	if (l)
		*l = (struct listing){
			.refs = 1, .seq = seq, .began_ms = began_ms, .asked_ms = began_ms
		};
	return l;
}

static void entries_free(struct blob_entry **entry, size_t n)
{
	for (size_t i = 0; entry && i < n; i++)
		blob_entry_unref(entry[i]);
	free(entry);
}

void listing_free(struct listing *l)
{
	for (size_t i = 0; i < l->n_pages; i++) {
		entries_free(l->page[i].entry, l->page[i].n);
		free(l->page[i].marker);
	}
	free(l->page);
	entries_free(l->pending, l->n_pending);
	adafs_blob_pages_close(l->pages);
	free(l);
}

/* --- names --------------------------------------------------------------------------------- */
bool listing_segment_ok(const char *s, size_t len)
{
	return len && len <= MAX_NAME && !(len == 1 && s[0] == '.') &&
	       !(len == 2 && s[0] == '.' && s[1] == '.');
}

int listing_order(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	if (!*a && !*b)
		return 0;
	return (*a ? (unsigned char)*a : '/') - (*b ? (unsigned char)*b : '/');
}

/* The segment that a listed name shows as; false: hidden. */
static bool shown_segment(const struct listing_adding *a, const char *full, bool is_prefix,
			  char buf[MAX_NAME + 1])
{
	if (strncmp(full, a->prefix, a->prefix_len))
		return false;
	const char *s = full + a->prefix_len;
	size_t len = strlen(s);
	if (is_prefix && len && s[len - 1] == '/')
		len--;
	if (!listing_segment_ok(s, len))
		return false;
	memcpy(buf, s, len);
	buf[len] = 0;
	return true;
}

/* --- adding -------------------------------------------------------------------------------- */
static int grow(struct blob_entry ***entry, size_t n, size_t *size, size_t first)
{
	if (n < *size)
		return 0;
	size_t wanted = *size ? *size * 2 : first;
	struct blob_entry **grown = reallocarray(*entry, wanted, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*entry = grown;
	*size = wanted;
	return 0;
}

static size_t entry_bytes(const struct blob_entry *e)
{
	return sizeof(*e) + strlen(e->name) + strlen(e->etag) + 2 + e->meta_len + MALLOC_OVERHEAD +
	       sizeof(struct blob_entry *);
}

/* Takes over e, whatever comes of it. */
static int add_entry(struct listing_adding *a, struct blob_entry *e)
{
	if (grow(&a->entry, a->n, &a->size, 512)) {
		blob_entry_unref(e);
		return -ENOMEM;
	}
	a->entry[a->n++] = e;
	a->bytes += entry_bytes(e);
	return 0;
}

/*
 * Pending names that no prefix can follow any more when `name` has come (NULL: the end) are shown.
 */
static int settle(struct listing_adding *a, const char *name)
{
	struct listing *l = a->l;
	int rc = 0;
	while (l->n_pending && !rc) {
		struct blob_entry *e = l->pending[l->n_pending - 1];
		if (name && listing_order(e->name, name) >= 0)
			break;
		l->n_pending--;
		rc = add_entry(a, e);
	}
	return rc;
}

/*
 * Which of two entries of one name is shown: a directory before a file, with its marker before
 * without.
 */
static bool outranks(const struct blob_entry *a, const struct blob_entry *b)
{
	return a->is_dir != b->is_dir ? a->is_dir : a->marker > b->marker;
}

/* One name, in the order of the service; takes over e. */
static int add_name(struct listing_adding *a, struct blob_entry *e, bool is_prefix)
{
	struct listing *l = a->l;
	int rc = settle(a, e->name);
	struct blob_entry *same = l->n_pending ? l->pending[l->n_pending - 1] : NULL;
	if (rc) {
		blob_entry_unref(e);
		return rc;
	}
	if (same && !strcmp(same->name, e->name)) {
		bool keep_new = outranks(e, same);
		a->hidden += !(keep_new ? same : e)->is_dir;
		if (keep_new)
			l->pending[l->n_pending - 1] = e;
		blob_entry_unref(keep_new ? same : e);
		return 0;
	}
	if (is_prefix)
		return add_entry(a, e);
	if (grow(&l->pending, l->n_pending, &l->size_pending, 8)) {
		blob_entry_unref(e);
		return -ENOMEM;
	}
	l->pending[l->n_pending++] = e;
	return 0;
}

static int on_listed(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct listing_adding *a = arg;
	char segment[MAX_NAME + 1];
	if (!shown_segment(a, name, !props, segment)) {
		/* The directory's own marker "dir/" is no name in it. */
		a->hidden += strcmp(name, a->prefix) != 0;
		return 0;
	}
	struct blob_entry *e = blob_entry_new(segment, props);
	return e ? add_name(a, e, !props) : -ENOMEM;
}

int listing_fetch(struct listing *l, struct fs *fs, const char *container, const char *prefix,
		  struct listing_adding *a, char **ret_marker, struct adafs_err *reterr)
{
	*a = (struct listing_adding){ .l = l,
				      .prefix = prefix,
				      .prefix_len = strlen(prefix),
				      .began_ms = adafs_clock_mono_ms() };
	if (!l->pages)
		l->pages = adafs_blob_pages_open(fs->blob, container, prefix, "/", ADAFS_LIST_META,
						 NULL);
	*ret_marker = l->pages ? strdup(adafs_blob_pages_marker(l->pages)) : NULL;
	if (!*ret_marker)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = adafs_blob_pages_next(l->pages, on_listed, a, reterr);
	if (!rc && settle(a, NULL))
		rc = adafs_err_set(reterr, -ENOMEM, "out of memory");
	return rc;
}

/* --- pages --------------------------------------------------------------------------------- */
static void drop_page(struct listing_page *p)
{
	entries_free(p->entry, p->n);
	p->entry = NULL;
}

static int add_page(struct listing *l, const struct listing_page *p)
{
	if (l->n_pages == l->size) {
		size_t size = l->size ? l->size * 2 : 4;
		struct listing_page *grown = reallocarray(l->page, size, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		l->page = grown;
		l->size = size;
	}
	l->page[l->n_pages++] = *p;
	l->n += p->n;
	return 0;
}

/* Whether the names go on in order after those that are there. */
static bool in_order(const struct listing *l, const struct listing_adding *a)
{
	const struct listing_page *last = l->n_pages ? &l->page[l->n_pages - 1] : NULL;
	const struct blob_entry *before =
		last && last->n && last->entry ? last->entry[last->n - 1] : NULL;
	for (size_t i = 0; i < a->n; i++) {
		if (before && listing_order(before->name, a->entry[i]->name) >= 0)
			return false;
		before = a->entry[i];
	}
	return true;
}

void listing_append(struct listing *l, struct listing_adding *a, int rc, char *marker,
		    const struct adafs_err *err)
{
	struct blob_entry **fitted = a->n ? reallocarray(a->entry, a->n, sizeof(*fitted)) : NULL;
	if (fitted)
		a->entry = fitted;
	const struct listing_page p = { .first = l->n,
					.n = a->n,
					.learned_ms = l->asked_ms,
					.marker = marker,
					.entry = a->entry };
	l->asked_ms = a->began_ms; /* the next one was asked for after this one had come */
	l->unsorted = l->unsorted || !in_order(l, a);
	if (rc < 0 || a->n == 0 || add_page(l, &p)) {
		if (rc >= 0 && a->n)
			rc = -ENOMEM;
		entries_free(p.entry, a->n);
		free(marker);
	} else {
		l->bytes += a->bytes;
		l->hidden += a->hidden;
	}
	l->large = l->large || l->bytes > LISTING_MAX;
	if (rc <= 0) {
		l->done = true;
		l->rc = rc;
		if (err)
			l->err = *err;
		adafs_blob_pages_close(l->pages);
		l->pages = NULL;
	}
	*a = (struct listing_adding){ 0 };
}

void listing_trim(struct listing *l, void (*fn)(void *arg, const struct listing_page *p), void *arg)
{
	if (!l->large || l->n_pages <= LISTING_WINDOW)
		return;
	for (size_t i = l->n_pages - LISTING_WINDOW; i-- > 0 && l->page[i].entry;) {
		fn(arg, &l->page[i]);
		drop_page(&l->page[i]);
	}
}

int listing_refetch(struct fs *fs, const char *container, const char *prefix, const char *marker,
		    size_t n, struct blob_entry ***ret, struct adafs_err *reterr)
{
	struct listing_adding a = { .prefix = prefix, .prefix_len = strlen(prefix) };
	struct adafs_blob_pages *pages =
		adafs_blob_pages_open(fs->blob, container, prefix, "/", ADAFS_LIST_META, marker);
	a.l = listing_new(0, 0);
	int rc = pages && a.l ? adafs_blob_pages_next(pages, on_listed, &a, reterr)
			      : adafs_err_set(reterr, -ENOMEM, "out of memory");
	adafs_blob_pages_close(pages);
	struct blob_entry **entry = NULL;
	if (rc >= 0) {
		rc = settle(&a, NULL);
		entry = rc ? NULL : calloc(n, sizeof(*entry));
	}
	/* Names that came or went since then: offsets stay, so what does not fit is left out. */
	for (size_t i = 0; entry && i < a.n && i < n; i++)
		entry[i] = blob_entry_ref(a.entry[i]);
	entries_free(a.entry, a.n);
	if (a.l)
		listing_free(a.l);
	if (rc >= 0 && !entry)
		rc = adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (rc >= 0)
		*ret = entry;
	return rc < 0 ? rc : 0;
}

void listing_restore(struct listing *l, size_t page, struct blob_entry **entry)
{
	if (l->restored && l->restored - 1 + LISTING_WINDOW < l->n_pages)
		drop_page(&l->page[l->restored - 1]);
	drop_page(&l->page[page]); /* two may have asked for it */
	l->page[page].entry = entry;
	l->restored = page + 1;
}

struct listing_page *listing_page_at(const struct listing *l, size_t index)
{
	size_t low = 0, high = l->n_pages;
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;
		if (l->page[mid].first <= index)
			low = mid;
		else
			high = mid;
	}
	return &l->page[low];
}

/* The page that a name is on if it is on any: the last one that does not begin behind it. */
static const struct listing_page *page_of(const struct listing *l, const char *name)
{
	size_t low = 0, high = l->n_pages;
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;
		const struct listing_page *p = &l->page[mid];
		if (!p->entry || !p->entry[0] || listing_order(p->entry[0]->name, name) <= 0)
			low = mid;
		else
			high = mid;
	}
	return l->n_pages ? &l->page[low] : NULL;
}

struct blob_entry *listing_find(const struct listing *l, const char *name, uint64_t *ret_ms)
{
	const struct listing_page *p = page_of(l, name);
	if (!p || !p->entry)
		return NULL;
	size_t low = 0, high = p->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = p->entry[mid] ? listing_order(p->entry[mid]->name, name) : 1;
		if (order == 0) {
			if (ret_ms)
				*ret_ms = p->learned_ms;
			return p->entry[mid];
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

struct blob_entry *listing_find_any(const struct listing *l, const char *name)
{
	if (!l->unsorted)
		return listing_find(l, name, NULL);
	for (size_t i = 0; i < l->n_pages; i++)
		for (size_t k = 0; l->page[i].entry && k < l->page[i].n; k++)
			if (l->page[i].entry[k] && !strcmp(l->page[i].entry[k]->name, name))
				return l->page[i].entry[k];
	return NULL;
}

bool listing_is_past(const struct listing *l, const char *name)
{
	if (l->unsorted || l->large || l->rc)
		return false;
	if (l->done)
		return true;
	const struct listing_page *last = l->n_pages ? &l->page[l->n_pages - 1] : NULL;
	return last && listing_order(last->entry[last->n - 1]->name, name) >= 0;
}

/* --- another order --------------------------------------------------------------------------- */
static int by_name(const void *a, const void *b)
{
	return listing_order((*(struct blob_entry *const *)a)->name,
			     (*(struct blob_entry *const *)b)->name);
}

struct listing *listing_sorted(const struct listing *l)
{
	struct listing *s = listing_new(l->seq, l->began_ms);
	struct blob_entry **entry = calloc(l->n + 1, sizeof(*entry));
	char *marker = strdup("");
	size_t n = 0;
	for (size_t i = 0; entry && i < l->n_pages; i++)
		for (size_t k = 0; l->page[i].entry && k < l->page[i].n; k++)
			if (l->page[i].entry[k])
				entry[n++] = blob_entry_ref(l->page[i].entry[k]);
	if (n)
		qsort(entry, n, sizeof(*entry), by_name);
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		struct blob_entry *e = entry[i];
		if (kept && !strcmp(entry[kept - 1]->name, e->name)) {
			bool better = outranks(e, entry[kept - 1]);
			blob_entry_unref(better ? entry[kept - 1] : e);
			if (better)
				entry[kept - 1] = e;
		} else {
			entry[kept++] = e;
		}
	}
	const struct listing_page p = {
		.n = kept, .learned_ms = l->began_ms, .marker = marker, .entry = entry
	};
	if (!s || !entry || !marker || (kept && add_page(s, &p))) {
		entries_free(entry, kept);
		free(marker);
		if (s)
			listing_free(s);
		return NULL;
	}
	if (!kept) {
		free(entry);
		free(marker);
	}
	s->done = true;
	s->bytes = l->bytes;
	return s;
}
