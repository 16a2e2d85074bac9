/*
 * blobs_list.c - directories as they are listed. Nobody waits for a whole listing who only wants
 * its beginning: a reader's place is an index, and the next page is got by whoever needs it first
 * (or by a job that runs ahead of the readers), while the others wait for him. So no reader depends
 * on a free worker, and what nobody reads is not asked for.
 */
#include "fs/blob/blobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "fs/blob/blobs_int.h"
#include "fs/kernel/notify.h"
#include "fs/kernel/workers.h"

/* Pages that may be there beyond those that are read. */
#define AHEAD 4

struct blob_stream {
	struct blobs *b;
	struct dir *d;
	struct listing *l;
	uint64_t gen;
	bool ended;             /* extra has been filled */
	struct blob_list extra; /* own names that the listing does not have */
};

void blobs_listing_unref_locked(struct dir *d, struct listing *l)
{
	if (--l->refs)
		return;
	if (d->current == l)
		d->current = NULL;
	listing_free(l);
}

/* --- loading --------------------------------------------------------------------------------- */
static void finish_locked(struct blobs *b, struct dir *d, struct listing *l)
{
	if (!l->rc && l->hidden)
		adafs_log(INFO, "fs", "'%s/%s': %u blobs cannot be shown as files", d->container,
			  d->prefix, l->hidden);
	if (!l->rc && d->current == l)
		blobs_install_locked(b, d, l);
	if (d->current == l)
		d->current = NULL;
}

/*
 * Entries that are what they were are shared with the listing before and its nodes, not held twice.
 */
static void share_locked(const struct dir *d, struct listing_adding *a)
{
	for (size_t i = 0; d->base && i < a->n; i++) {
		struct blob_entry *old = listing_find(d->base, a->entry[i]->name, NULL);
		if (!old || !blob_entry_equal(old, a->entry[i]))
			continue;
		blob_entry_unref(a->entry[i]);
		a->entry[i] = blob_entry_ref(old);
	}
}

struct trimming {
	struct blobs *b;
	const struct dir *d;
};

/* The kernel lets go of them, too: nobody looks at them any more. */
static void on_trimmed(void *arg, const struct listing_page *p)
{
	const struct trimming *t = arg;
	notify_passed(t->b->fs->notify, t->d->container, t->d->prefix, p->entry, p->n);
}

/*
 * Get one page; called and returning with the lock held, d and l referenced, nobody else driving.
 */
static void drive_locked(struct blobs *b, struct dir *d, struct listing *l)
{
	struct listing_adding a;
	struct adafs_err err = { 0 };
	char *marker = NULL;
	l->driving = true;
	adafs_mutex_unlock(&b->lock);
	int rc = listing_fetch(l, b->fs, d->container, d->prefix, &a, &marker, &err);
	adafs_mutex_lock(&b->lock);
	share_locked(d, &a);
	listing_append(l, &a, rc, marker, &err);
	listing_trim(l, on_trimmed, &(struct trimming){ b, d });
	l->driving = false;
	if (l->done)
		finish_locked(b, d, l);
	adafs_cond_broadcast(&b->moved);
}

/* Wait until there is a page more, or the listing is done. */
static void advance_locked(struct blobs *b, struct dir *d, struct listing *l)
{
	size_t before = l->n_pages;
	while (!l->done && l->n_pages == before) {
		if (l->driving)
			adafs_cond_wait(&b->moved, &b->lock);
		else
			drive_locked(b, d, l);
	}
}

struct ahead {
	struct blobs *b;
	struct dir *d;
	struct listing *l;
};

static bool wants_ahead(const struct listing *l)
{
	return l->readers && !l->done && l->n_pages < l->wanted_pages + AHEAD;
}

static void run_ahead(void *arg)
{
	struct ahead *a = arg;
	struct blobs *b = a->b;
	adafs_mutex_lock(&b->lock);
	while (wants_ahead(a->l))
		advance_locked(b, a->d, a->l);
	a->l->ahead = false;
	blobs_listing_unref_locked(a->d, a->l);
	a->d->refs--;
	adafs_mutex_unlock(&b->lock);
	free(a);
}

/* Have pages loaded that will be wanted soon. Where no worker is to be had, readers load them. */
static void start_ahead_locked(struct blobs *b, struct dir *d, struct listing *l)
{
	if (l->ahead || !wants_ahead(l))
		return;
	struct ahead *a = malloc(sizeof(*a));
	if (!a)
		return;
	*a = (struct ahead){ b, d, l };
	l->ahead = true;
	l->refs++;
	d->refs++;
	/* Its lock is taken after this one, by rank. */
	if (workers_run(b->fs->workers, run_ahead, a)) {
		l->ahead = false;
		l->refs--;
		d->refs--;
		free(a);
	}
}

/* A listing to read from: the directory's, one under way, or a new one; with a reference. */
static int take_listing_locked(struct blobs *b, struct dir *d, bool may_wait, struct listing **ret)
{
	struct listing *l = d->current;
	if (blobs_fresh(b, d->complete_ms)) {
		l = d->base;
	} else if (!l || !blobs_fresh(b, l->began_ms) || l->seq < d->forget_seq) {
		if (!may_wait)
			return -EWOULDBLOCK;
		l = d->current = listing_new(b->seq, adafs_clock_mono_ms());
		if (!l)
			return -ENOMEM;
		d->gen = ++b->gen;
		*ret = l;
		return 0;
	}
	l->refs++;
	*ret = l;
	return 0;
}

bool blobs_relist_locked(struct blobs *b, struct dir *d, size_t max_pages)
{
	struct listing *l;
	if (take_listing_locked(b, d, true, &l))
		return false;
	while (!l->done && l->n_pages < max_pages)
		advance_locked(b, d, l);
	bool known = l->done && !l->rc && !l->large;
	blobs_listing_unref_locked(d, l);
	return known;
}

/* --- streams ---------------------------------------------------------------------------------- */
static int copy_err(const struct dir *d, const struct listing *l, struct adafs_err *reterr)
{
	if (!l->err.rc)
		return adafs_err_set(reterr, l->rc, "listing of '%s/%s' failed", d->container,
				     d->prefix);
	if (reterr)
		*reterr = l->err;
	return l->rc;
}

static void close_locked(struct blob_stream *s)
{
	s->l->readers--;
	blobs_listing_unref_locked(s->d, s->l);
	s->d->refs--;
}

int blobs_stream_open(struct blobs *b, const char *container, const char *prefix, bool may_wait,
		      struct blob_stream **ret, struct adafs_err *reterr)
{
	struct blob_stream *s = calloc(1, sizeof(*s));
	if (!s)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	adafs_mutex_lock(&b->lock);
	struct dir *d = blobs_dir_locked(b, container, prefix);
	int rc = d ? take_listing_locked(b, d, may_wait, &s->l) : -ENOMEM;
	if (rc) {
		adafs_mutex_unlock(&b->lock);
		free(s);
		return rc == -EWOULDBLOCK ? rc : adafs_err_set(reterr, rc, "out of memory");
	}
	d->refs++;
	s->b = b;
	s->d = d;
	s->l->readers++;
	/* The first page tells whether there is anything to be read at all. */
	if (!s->l->n_pages && !s->l->done) {
		if (may_wait)
			advance_locked(b, d, s->l);
		else
			rc = -EWOULDBLOCK;
	}
	if (!rc && s->l->rc && !s->l->n)
		rc = copy_err(d, s->l, reterr);
	s->gen = d->gen;
	if (rc)
		close_locked(s);
	else
		start_ahead_locked(b, d, s->l);
	adafs_mutex_unlock(&b->lock);
	if (rc)
		free(s);
	else
		*ret = s;
	return rc;
}

void blobs_stream_close(struct blob_stream *s)
{
	if (!s)
		return;
	struct blobs *b = s->b;
	adafs_mutex_lock(&b->lock);
	close_locked(s);
	adafs_mutex_unlock(&b->lock);
	blob_list_clear(&s->extra);
	free(s);
}

uint64_t blobs_stream_gen(const struct blob_stream *s)
{
	return s->gen;
}

bool blobs_stream_current(struct blob_stream *s)
{
	adafs_mutex_lock(&s->b->lock);
	bool current = s->gen == s->d->gen &&
		       (s->l == s->d->current || blobs_fresh(s->b, s->d->complete_ms));
	adafs_mutex_unlock(&s->b->lock);
	return current;
}

/* What a listed name is now, with a reference; NULL: gone. */
static struct blob_entry *entry_now(const struct dir *d, const struct listing *l,
				    struct blob_entry *listed)
{
	size_t i;
	if (!listed)
		return NULL;
	if (d->n && blobs_slot_find(d, listed->name, &i) && blobs_slot_over(&d->slot[i], l))
		return d->slot[i].entry ? blob_entry_ref(d->slot[i].entry) : NULL;
	return blob_entry_ref(listed);
}

/* A page that was dropped, again; called and returning with the lock held. */
static int refetch_locked(struct blob_stream *s, struct listing_page *p, struct adafs_err *reterr)
{
	struct blobs *b = s->b;
	size_t index = (size_t)(p - s->l->page), n = p->n;
	char *marker = strdup(p->marker);
	struct blob_entry **entry = NULL;
	uint64_t asked_ms = adafs_clock_mono_ms();
	adafs_mutex_unlock(&b->lock);
	int rc = marker ? listing_refetch(b->fs, s->d->container, s->d->prefix, marker, n, &entry,
					  reterr)
			: adafs_err_set(reterr, -ENOMEM, "out of memory");
	adafs_mutex_lock(&b->lock);
	free(marker);
	if (!rc)
		listing_restore(s->l, index, entry);
	if (!rc)
		s->l->page[index].learned_ms = asked_ms;
	return rc;
}

/*
 * Names that this mount made since the listing began. A large one cannot tell whether it has them.
 */
static int fill_extra_locked(struct blob_stream *s)
{
	const struct dir *d = s->d;
	if (s->ended || s->l->large || !d->n) {
		s->ended = true;
		return 0;
	}
	s->extra.entry = calloc(d->n, sizeof(*s->extra.entry));
	if (!s->extra.entry)
		return -ENOMEM;
	for (size_t i = 0; i < d->n; i++)
		if (d->slot[i].entry && blobs_slot_over(&d->slot[i], s->l) &&
		    !listing_find_any(s->l, d->slot[i].name))
			s->extra.entry[s->extra.n++] = blob_entry_ref(d->slot[i].entry);
	s->ended = true;
	return 0;
}

static void take_page(struct blob_stream *s, const struct listing_page *p, size_t from,
		      struct blob_entry *ret[], size_t max, size_t *ret_n)
{
	size_t n = 0;
	for (size_t i = from - p->first; i < p->n && n < max; i++)
		ret[n++] = entry_now(s->d, s->l, p->entry[i]);
	*ret_n = n;
	size_t wanted = (size_t)(p - s->l->page) + 1;
	if (wanted > s->l->wanted_pages)
		s->l->wanted_pages = wanted;
}

static int read_locked(struct blob_stream *s, size_t from, bool may_wait, struct blob_entry *ret[],
		       size_t max, size_t *ret_n, uint64_t *ret_ms, struct adafs_err *reterr)
{
	struct listing *l = s->l;
	*ret_ms = l->began_ms;
	while (from >= l->n && !l->done) {
		if (!may_wait)
			return -EWOULDBLOCK;
		advance_locked(s->b, s->d, l);
	}
	while (from < l->n) {
		struct listing_page *p = listing_page_at(l, from);
		if (p->entry) {
			take_page(s, p, from, ret, max, ret_n);
			*ret_ms = p->learned_ms;
			return 0;
		}
		if (!may_wait)
			return -EWOULDBLOCK;
		int rc = refetch_locked(s, p, reterr);
		if (rc)
			return rc;
	}
	if (l->rc)
		return copy_err(s->d, l, reterr);
	int rc = fill_extra_locked(s);
	size_t n = 0;
	for (size_t i = from - l->n; !rc && i < s->extra.n && n < max; i++)
		ret[n++] = blob_entry_ref(s->extra.entry[i]);
	*ret_n = n;
	return rc;
}

int blobs_stream_read(struct blob_stream *s, size_t from, bool may_wait, struct blob_entry *ret[],
		      size_t max, size_t *ret_n, double *ret_left_s, struct adafs_err *reterr)
{
	uint64_t learned_ms;
	adafs_mutex_lock(&s->b->lock);
	int rc = read_locked(s, from, may_wait, ret, max, ret_n, &learned_ms, reterr);
	start_ahead_locked(s->b, s->d, s->l);
	adafs_mutex_unlock(&s->b->lock);
	*ret_left_s = blobs_left_of(s->b, learned_ms);
	return rc;
}

bool blobs_stream_has(struct blob_stream *s, const char *name)
{
	adafs_mutex_lock(&s->b->lock);
	/* One that is gone was not shown, though it was listed. */
	struct blob_entry *e = entry_now(s->d, s->l, listing_find_any(s->l, name));
	bool has = e;
	blob_entry_unref(e);
	for (size_t i = 0; i < s->extra.n && !has; i++)
		has = !strcmp(s->extra.entry[i]->name, name);
	adafs_mutex_unlock(&s->b->lock);
	return has;
}

size_t blobs_stream_size(struct blob_stream *s)
{
	adafs_mutex_lock(&s->b->lock);
	size_t n = s->l->n + s->extra.n;
	adafs_mutex_unlock(&s->b->lock);
	return n;
}

/* --- whole listings --------------------------------------------------------------------------- */
#define BATCH 512

/* All that a stream has, into an array that holds them all. */
static int drain(struct blob_stream *s, bool may_wait, struct blob_list *ret,
		 struct adafs_err *reterr)
{
	struct blob_entry *batch[BATCH];
	size_t at = 0, n, size = 0;
	double left_s;
	int rc;
	while (!(rc = blobs_stream_read(s, at, may_wait, batch, BATCH, &n, &left_s, reterr)) && n) {
		at += n;
		if (ret->n + n > size) {
			size = (ret->n + n) * 2;
			struct blob_entry **grown = reallocarray(ret->entry, size, sizeof(*grown));
			if (!grown)
				rc = adafs_err_set(reterr, -ENOMEM, "out of memory");
			else
				ret->entry = grown;
		}
		for (size_t i = 0; i < n; i++) {
			if (rc)
				blob_entry_unref(batch[i]);
			else if (batch[i])
				ret->entry[ret->n++] = batch[i];
		}
		if (rc)
			break;
	}
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct blob_entry *const *)a)->name,
		      (*(struct blob_entry *const *)b)->name);
}

int blobs_list(struct blobs *b, const char *container, const char *prefix, bool may_wait,
	       struct blob_list *ret, struct adafs_err *reterr)
{
	struct blob_stream *s;
	struct blob_list all = { 0 };
	int rc = blobs_stream_open(b, container, prefix, may_wait, &s, reterr);
	if (rc)
		return rc;
	rc = drain(s, may_wait, &all, reterr);
	blobs_stream_close(s);
	if (rc) {
		blob_list_clear(&all);
		return rc;
	}
	if (all.n)
		qsort(all.entry, all.n, sizeof(*all.entry), by_name);
	*ret = all;
	return 0;
}
