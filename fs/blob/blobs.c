/*
 * blobs.c - directories of blobs: which are known, what this mount changed in them, what is
 * forgotten, and what of it stays in memory. Listings and slots are explained in blobs_int.h.
 */
#include "fs/blob/blobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "fs/blob/blobdir.h"
#include "fs/blob/blobs_int.h"
#include "fs/kernel/notify.h"

#define SWEEP_ABOVE 512
#define MAX_TOLD 256

struct blobs *blobs_new(struct fs *fs)
{
	struct blobs *b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->fs = fs;
	b->timeout_ms = (uint64_t)(fs->options->attr_timeout_s * 1000);
	adafs_mutex_init(&b->lock, ADAFS_RANK_TREE);
	adafs_cond_init(&b->moved);
	return b;
}

static void slot_clear(struct slot *s)
{
	free(s->name);
	blob_entry_unref(s->entry);
}

static void drop_base_locked(struct blobs *b, struct dir *d)
{
	if (!d->base)
		return;
	b->bytes -= d->base->bytes;
	d->complete_ms = 0;
	blobs_listing_unref_locked(d, ADAFS_STEAL(d->base));
}

static void dir_destroy(struct blobs *b, struct dir *d)
{
	drop_base_locked(b, d);
	for (size_t i = 0; i < d->n; i++)
		slot_clear(&d->slot[i]);
	free(d->slot);
	free(d->container);
	free(d->prefix);
	free(d);
}

void blobs_free(struct blobs *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < BLOBS_BUCKETS; i++) {
		struct dir *next;
		for (struct dir *d = b->bucket[i]; d; d = next) {
			next = d->next;
			dir_destroy(b, d);
		}
	}
	adafs_cond_clear(&b->moved);
	adafs_mutex_clear(&b->lock);
	free(b);
}

/* --- directories --------------------------------------------------------------------------- */
static unsigned bucket_of(const char *container, const char *prefix)
{
	uint32_t h = 2166136261u;
	for (; *container; container++)
		h = (h ^ (unsigned char)*container) * 16777619u;
	for (; *prefix; prefix++)
		h = (h ^ (unsigned char)*prefix) * 16777619u;
	return (h ^ h >> 16) % BLOBS_BUCKETS;
}

bool blobs_fresh(const struct blobs *b, uint64_t ms)
{
	return ms && adafs_clock_mono_ms() - ms < b->timeout_ms;
}

double blobs_left_of(const struct blobs *b, uint64_t learned_ms)
{
	uint64_t now = adafs_clock_mono_ms(), end = learned_ms + b->timeout_ms;
	return learned_ms && end > now ? (double)(end - now) / 1000 : 0;
}

/* Forget directories whose listing is old; single slots in them are as old or nearly so. */
static void sweep_locked(struct blobs *b)
{
	for (unsigned i = 0; i < BLOBS_BUCKETS; i++) {
		for (struct dir **p = &b->bucket[i]; *p;) {
			struct dir *d = *p;
			if (d->refs || blobs_fresh(b, d->complete_ms)) {
				p = &d->next;
				continue;
			}
			*p = d->next;
			dir_destroy(b, d);
			b->n_dirs--;
		}
	}
}

struct dir *blobs_find_locked(struct blobs *b, const char *container, const char *prefix)
{
	struct dir *d = b->bucket[bucket_of(container, prefix)];
	while (d && (strcmp(d->prefix, prefix) || strcmp(d->container, container)))
		d = d->next;
	if (d)
		d->used = ++b->uses;
	return d;
}

struct dir *blobs_dir_locked(struct blobs *b, const char *container, const char *prefix)
{
	struct dir *d = blobs_find_locked(b, container, prefix);
	if (d)
		return d;
	if (b->n_dirs > SWEEP_ABOVE)
		sweep_locked(b);
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->container = strdup(container);
	d->prefix = strdup(prefix);
	if (!d->container || !d->prefix) {
		dir_destroy(b, d);
		return NULL;
	}
	struct dir **bucket = &b->bucket[bucket_of(container, prefix)];
	d->gen = ++b->gen;
	d->used = ++b->uses;
	d->next = *bucket;
	*bucket = d;
	b->n_dirs++;
	return d;
}

/* --- slots --------------------------------------------------------------------------------- */
bool blobs_slot_find(const struct dir *d, const char *name, size_t *ret)
{
	size_t low = 0, high = d->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(d->slot[mid].name, name);
		if (c == 0) {
			*ret = mid;
			return true;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*ret = low;
	return false;
}

/* Make room for a name at i. */
static int slot_insert(struct dir *d, const char *name, size_t i)
{
	char *copy = strdup(name);
	if (copy && d->n == d->size) {
		size_t size = d->size ? d->size * 2 : 16;
		struct slot *grown = reallocarray(d->slot, size, sizeof(*grown));
		if (grown) {
			d->slot = grown;
			d->size = size;
		}
	}
	if (!copy || d->n == d->size) {
		free(copy);
		return -ENOMEM;
	}
	memmove(&d->slot[i + 1], &d->slot[i], (d->n - i) * sizeof(*d->slot));
	d->n++;
	d->slot[i] = (struct slot){ .name = copy };
	d->n_gone++;
	return 0;
}

void blobs_slot_put_locked(struct blobs *b, struct dir *d, const char *name, struct blob_entry *e,
			   uint64_t now_ms, uint64_t seq)
{
	size_t i;
	d->gen = ++b->gen;
	if (!blobs_slot_find(d, name, &i) && slot_insert(d, name, i)) {
		d->complete_ms = 0;
		return;
	}
	struct blob_entry *old = d->slot[i].entry;
	d->n_gone += !e - !old;
	d->slot[i].entry = e ? blob_entry_ref(e) : NULL;
	d->slot[i].learned_ms = now_ms;
	d->slot[i].seq = seq;
	blob_entry_unref(old);
}

bool blobs_slot_over(const struct slot *s, const struct listing *l)
{
	return s->seq > l->seq || (!s->seq && s->learned_ms > l->began_ms);
}

void blobs_put(struct blobs *b, const char *container, const char *prefix, const char *name,
	       struct blob_entry *e)
{
	adafs_mutex_lock(&b->lock);
	struct dir *d = blobs_dir_locked(b, container, prefix);
	if (d)
		blobs_slot_put_locked(b, d, name, e, adafs_clock_mono_ms(), ++b->seq);
	adafs_mutex_unlock(&b->lock);
	/* The kernel knows what was done through it, but not that another view shows it. */
	if (blobdir_shown_twice(b->fs, container, prefix))
		notify_blob(b->fs->notify, container, prefix, name, e ? e->etag : NULL);
}

void blobs_made(struct blobs *b, const char *container, const char *prefix)
{
	adafs_mutex_lock(&b->lock);
	struct dir *d = blobs_dir_locked(b, container, prefix);
	struct listing *l = d ? listing_new(++b->seq, adafs_clock_mono_ms()) : NULL;
	if (l) {
		l->done = true;
		d->current = NULL; /* what its readers see was before */
		d->gen = ++b->gen;
		blobs_install_locked(b, d, l);
		blobs_listing_unref_locked(d, l);
	}
	adafs_mutex_unlock(&b->lock);
}

/* Whether any name is left; most often told by how many are gone. */
static bool empty_locked(const struct dir *d)
{
	size_t k;
	if (d->base->n > d->n_gone || d->n > d->n_gone)
		return false;
	for (size_t i = 0; i < d->base->n_pages; i++)
		for (size_t j = 0; j < d->base->page[i].n; j++)
			if (!blobs_slot_find(d, d->base->page[i].entry[j]->name, &k))
				return false;
	return true;
}

bool blobs_known_empty(struct blobs *b, const char *container, const char *prefix)
{
	adafs_mutex_lock(&b->lock);
	const struct dir *d = blobs_find_locked(b, container, prefix);
	bool empty = d && blobs_fresh(b, d->complete_ms) && empty_locked(d);
	adafs_mutex_unlock(&b->lock);
	return empty;
}

void blobs_forget(struct blobs *b, const char *container, const char *prefix, bool deep)
{
	size_t len = strlen(prefix);
	adafs_mutex_lock(&b->lock);
	b->seq++;
	for (unsigned i = 0; i < BLOBS_BUCKETS; i++) {
		for (struct dir *d = b->bucket[i]; d; d = d->next) {
			if (strcmp(d->container, container) ||
			    (deep ? strncmp(d->prefix, prefix, len) : strcmp(d->prefix, prefix)))
				continue;
			d->complete_ms = 0;
			d->forget_seq = b->seq;
			d->gen = ++b->gen;
			for (size_t k = 0; k < d->n; k++)
				d->slot[k].learned_ms = 0;
		}
	}
	adafs_mutex_unlock(&b->lock);
}

/* --- what stays in memory -------------------------------------------------------------------- */
/* Listings that nobody used for the longest go until the rest fits. */
static void make_room_locked(struct blobs *b, const struct dir *but)
{
	while (b->bytes > LISTING_MAX) {
		struct dir *oldest = NULL;
		for (unsigned i = 0; i < BLOBS_BUCKETS; i++)
			for (struct dir *d = b->bucket[i]; d; d = d->next)
				if (d->base && d != but && (!oldest || d->used < oldest->used))
					oldest = d;
		if (!oldest)
			return;
		oldest->gen = ++b->gen;
		drop_base_locked(b, oldest);
	}
}

/*
 * Tell the kernel what is gone or another one, where it may still believe the old listing: that was
 * replaced before its time. Whoever has changed very much waits for the timeouts.
 */
static void tell_changes_locked(struct blobs *b, const struct dir *d, const struct listing *old,
				const struct listing *now)
{
	unsigned told = 0;
	if (!blobs_fresh(b, old->began_ms) || old->unsorted || now->unsorted || now->large)
		return;
	for (size_t i = 0; i < old->n_pages; i++) {
		for (size_t k = 0; k < old->page[i].n && told < MAX_TOLD; k++) {
			const struct blob_entry *was = old->page[i].entry[k];
			const struct blob_entry *is = listing_find(now, was->name, NULL);
			if (blob_entry_same(was, is))
				continue;
			notify_blob(b->fs->notify, d->container, d->prefix, was->name,
				    is ? is->etag : NULL);
			told++;
		}
	}
}

void blobs_install_locked(struct blobs *b, struct dir *d, struct listing *l)
{
	d->pages = l->n_pages ? l->n_pages : 1;
	d->took_ms = adafs_clock_mono_ms() - l->began_ms;
	d->singles = 0;
	if (d->base)
		tell_changes_locked(b, d, d->base, l);
	drop_base_locked(b, d);
	size_t n = 0;
	for (size_t i = 0; i < d->n; i++) {
		if (l->large || blobs_slot_over(&d->slot[i], l))
			d->slot[n++] = d->slot[i];
		else
			slot_clear(&d->slot[i]);
	}
	d->n = n;
	d->n_gone = 0;
	for (size_t i = 0; i < n; i++)
		d->n_gone += !d->slot[i].entry;
	if (l->large)
		return;
	struct listing *sorted = l->unsorted ? listing_sorted(l) : l;
	if (!sorted)
		return;
	if (sorted == l)
		l->refs++;
	d->base = sorted;
	b->bytes += sorted->bytes;
	/* Forgotten meanwhile: its older pages may lack what it was forgotten for. */
	d->complete_ms = d->forget_seq > l->seq ? 0 : l->began_ms;
	make_room_locked(b, d);
}
