/*
 * blobs_lookup.c - single names: from the slots, the listing, or a listing that is under way; else
 * one small request. Where many names of a directory are asked for in a row, listing it again is
 * cheaper.
 */
#include "fs/blob/blobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "fs/blob/blobs_int.h"
#include "fs/kernel/notify.h"

#define LOOKUP_MAX 8
/*
 * Names in a row that are asked for alone before the directory is listed: if it was listed before,
 * and if not.
 */
#define SINGLES_AGAIN 4
#define SINGLES_FIRST 32
#define PAGES_FIRST 4

/* An entry of the last listing or of the one under way whose page is fresh. */
static struct blob_entry *listed_locked(const struct blobs *b, const struct dir *d,
					const char *name, uint64_t *ret_ms)
{
	const struct listing *from[] = { d->base, d->current };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(from); i++) {
		if (!from[i] || from[i]->unsorted || from[i]->seq < d->forget_seq)
			continue;
		struct blob_entry *e = listing_find(from[i], name, ret_ms);
		if (e && blobs_fresh(b, *ret_ms))
			return e;
	}
	return NULL;
}

/* Whether it is known that there is no such name in the listings. */
static bool absent_locked(const struct blobs *b, const struct dir *d, const char *name,
			  uint64_t *ret_ms)
{
	const struct listing *l = d->current;
	*ret_ms = d->complete_ms;
	if (blobs_fresh(b, d->complete_ms))
		return true;
	*ret_ms = l ? l->began_ms : 0;
	return blobs_fresh(b, *ret_ms) && l->seq >= d->forget_seq && listing_is_past(l, name);
}

/*
 * The answer for a name, if there is one that is fresh: 0 or -ENOENT, else -EWOULDBLOCK. *ret_ms:
 * when it was learned.
 */
static int answer_locked(const struct blobs *b, const struct dir *d, const char *name,
			 struct blob_entry **ret, uint64_t *ret_ms)
{
	struct blob_entry *e;
	size_t i;
	if (blobs_slot_find(d, name, &i)) {
		*ret_ms = d->slot[i].learned_ms > d->complete_ms ? d->slot[i].learned_ms
								 : d->complete_ms;
		if (!blobs_fresh(b, *ret_ms))
			return -EWOULDBLOCK;
		e = d->slot[i].entry;
	} else {
		e = listed_locked(b, d, name, ret_ms);
		if (!e && !absent_locked(b, d, name, ret_ms))
			return -EWOULDBLOCK;
	}
	if (!e)
		return -ENOENT;
	*ret = blob_entry_ref(e);
	return 0;
}

/* --- asking the service --------------------------------------------------------------------- */
struct lookup {
	const char *full; /* the whole name of the blob */
	size_t full_len;
	const char *name;
	struct blob_entry *file, *dir;
	unsigned n;
};

static int on_looked_up(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct lookup *l = arg;
	l->n++;
	if (strncmp(name, l->full, l->full_len))
		return 0;
	const char *rest = name + l->full_len;
	if (props && !*rest && !l->file) {
		l->file = blob_entry_new(l->name, props);
		return l->file ? 0 : -ENOMEM;
	}
	if (*rest == '/' && !l->dir) {
		l->dir = blob_entry_new(l->name, NULL);
		return l->dir ? 0 : -ENOMEM;
	}
	return 0;
}

/*
 * Ask the service. One page of a few names that start with this one tells file and directory apart,
 * unless there are many (`a-1`, `a-2` come before `a/`): then a second one asks for `a/`.
 */
static int ask(struct blobs *b, const char *container, const char *prefix, const char *name,
	       struct blob_entry **ret, struct adafs_err *reterr)
{
	ADAFS_FREE char *full = adafs_fmt("%s%s", prefix, name);
	ADAFS_FREE char *below = adafs_fmt("%s%s/", prefix, name);
	if (!full || !below)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	/* The service refuses to be asked for what cannot be a name. */
	if (!adafs_utf8_valid(full, strlen(full)) || adafs_utf16_units(full, strlen(full)) > 1024)
		return -ENOENT;
	struct lookup l = { .full = full, .full_len = strlen(full), .name = name };
	int rc = adafs_blob_list_some(b->fs->blob, container, full, "/", ADAFS_LIST_META,
				      LOOKUP_MAX, on_looked_up, &l, reterr);
	bool marker = l.file && l.file->is_dir;
	if (!rc && l.n >= LOOKUP_MAX && !l.dir && !marker)
		rc = adafs_blob_list_some(b->fs->blob, container, below, NULL, 0, 1, on_looked_up,
					  &l, reterr);
	struct blob_entry *found = l.file;
	if (l.dir && !(l.file && l.file->is_dir))
		found = l.dir;
	if (!rc && !found)
		rc = -ENOENT;
	if (!rc)
		*ret = blob_entry_ref(found);
	blob_entry_unref(l.file);
	blob_entry_unref(l.dir);
	return rc;
}

/* What the kernel remembers of the name may come from what was known here. */
static void tell_change_locked(struct blobs *b, const struct dir *d, const char *name,
			       const struct blob_entry *now)
{
	size_t i;
	const struct blob_entry *old = NULL;
	bool known = blobs_slot_find(d, name, &i);
	if (known)
		old = d->slot[i].entry;
	else if (d->base && (known = !d->base->unsorted))
		old = listing_find(d->base, name, NULL);
	if (known && !blob_entry_same(old, now))
		notify_blob(b->fs->notify, d->container, d->prefix, name, now ? now->etag : NULL);
}

/*
 * Ask, and keep the answer; d is referenced. An own change that was made meanwhile is the answer.
 */
static int ask_locked(struct blobs *b, struct dir *d, const char *name, struct blob_entry **ret,
		      struct adafs_err *reterr)
{
	struct blob_entry *e = NULL;
	uint64_t start_seq = b->seq;
	adafs_mutex_unlock(&b->lock);
	int rc = ask(b, d->container, d->prefix, name, &e, reterr);
	adafs_mutex_lock(&b->lock);
	size_t i;
	bool changed = blobs_slot_find(d, name, &i) && d->slot[i].seq > start_seq;
	if (!changed && (!rc || rc == -ENOENT)) {
		tell_change_locked(b, d, name, e);
		bool forgotten = d->forget_seq > start_seq;
		blobs_slot_put_locked(b, d, name, e, forgotten ? 0 : adafs_clock_mono_ms(), 0);
	} else if (changed) {
		blob_entry_unref(e);
		e = d->slot[i].entry ? blob_entry_ref(d->slot[i].entry) : NULL;
		rc = e ? 0 : -ENOENT;
	}
	if (!rc)
		*ret = e;
	return rc;
}

/* Whether to list the directory instead of asking for one name more. */
static bool list_instead_locked(struct blobs *b, struct dir *d, size_t *ret_max_pages)
{
	uint64_t now = adafs_clock_mono_ms();
	if (now - d->singles_ms > b->timeout_ms) {
		d->singles_ms = now;
		d->singles = 0;
	}
	d->singles++;
	*ret_max_pages = d->pages ? d->pages + 1 : PAGES_FIRST;
	/* A listing that is old when it ends helps nobody. */
	if (d->took_ms * 2 >= b->timeout_ms)
		return false;
	return d->singles > (d->pages ? SINGLES_AGAIN + 2 * d->pages : SINGLES_FIRST);
}

int blobs_lookup(struct blobs *b, const char *container, const char *prefix, const char *name,
		 bool may_wait, struct blob_entry **ret, struct adafs_err *reterr)
{
	uint64_t ms;
	size_t max_pages;
	if (!listing_segment_ok(name, strlen(name)))
		return -ENOENT;
	adafs_mutex_lock(&b->lock);
	struct dir *d = blobs_dir_locked(b, container, prefix);
	int rc = d ? answer_locked(b, d, name, ret, &ms) : -ENOMEM;
	if (rc == -EWOULDBLOCK && may_wait) {
		d->refs++;
		if (list_instead_locked(b, d, &max_pages)) {
			if (blobs_relist_locked(b, d, max_pages))
				rc = answer_locked(b, d, name, ret, &ms);
			else
				d->took_ms = b->timeout_ms; /* too long: not tried again */
		}
		if (rc == -EWOULDBLOCK)
			rc = ask_locked(b, d, name, ret, reterr);
		d->refs--;
	}
	adafs_mutex_unlock(&b->lock);
	return rc;
}

struct blob_entry *blobs_peek(struct blobs *b, const char *container, const char *prefix,
			      const char *name, bool *ret_known)
{
	struct blob_entry *e = NULL;
	uint64_t ms;
	adafs_mutex_lock(&b->lock);
	struct dir *d = blobs_find_locked(b, container, prefix);
	int rc = d ? answer_locked(b, d, name, &e, &ms) : -EWOULDBLOCK;
	adafs_mutex_unlock(&b->lock);
	*ret_known = rc != -EWOULDBLOCK;
	return e;
}

double blobs_left_s(struct blobs *b, const char *container, const char *prefix, const char *name)
{
	uint64_t learned = 0;
	struct blob_entry *e = NULL;
	adafs_mutex_lock(&b->lock);
	struct dir *d = blobs_find_locked(b, container, prefix);
	if (d && answer_locked(b, d, name, &e, &learned) == -EWOULDBLOCK)
		learned = 0;
	adafs_mutex_unlock(&b->lock);
	blob_entry_unref(e);
	return blobs_left_of(b, learned);
}
