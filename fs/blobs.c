/*
 * blobs.c - the cache of directories. A directory holds slots sorted by name, each with the time it was learned; a slot
 * without entry says that the name is not there. While `complete_ms` is fresh, a name without a slot is not there either.
 *
 * Every own change gives its slot a number from `seq`; a listing or lookup remembers the number at its start and does not
 * overwrite slots with a higher one. Forgetting takes a number too: what began before it is not fresh when it ends. One
 * thread lists a directory at a time, others wait for it. One lock (rank TREE); requests are made without it, while the
 * directory is held by a reference.
 */
#include "fs/blobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"

#define N_BUCKETS 1024
#define SWEEP_ABOVE 512
#define MAX_NAME 255
#define LOOKUP_MAX 8

struct slot {
	char *name;
	struct blob_entry *entry; /* NULL: not there */
	uint64_t learned_ms;
	uint64_t seq; /* 0: from the service */
};

struct dir {
	struct dir *next;
	char *container, *prefix;
	unsigned refs;
	struct slot *slot;
	size_t n, size;
	uint64_t complete_ms; /* when the last whole listing began; 0: none */
	uint64_t forget_seq;  /* when it was last forgotten: what was asked for before is not fresh */
	bool loading;
	int load_rc;       /* how the last listing ended */
	uint64_t load_seq; /* when it began */
};

struct blobs {
	struct fs *fs;
	struct adafs_mutex lock;
	struct adafs_cond loaded;
	struct dir *bucket[N_BUCKETS];
	unsigned n_dirs;
	uint64_t seq;
	uint64_t timeout_ms;
};

struct blobs *blobs_new(struct fs *fs)
{
	struct blobs *b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->fs = fs;
	b->timeout_ms = (uint64_t)(fs->options->attr_timeout_s * 1000);
	adafs_mutex_init(&b->lock, ADAFS_RANK_TREE);
	adafs_cond_init(&b->loaded);
	return b;
}

static void slots_clear(struct slot *slot, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(slot[i].name);
		blob_entry_unref(slot[i].entry);
	}
	free(slot);
}

static void dir_destroy(struct dir *d)
{
	slots_clear(d->slot, d->n);
	free(d->container);
	free(d->prefix);
	free(d);
}

void blobs_free(struct blobs *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < N_BUCKETS; i++) {
		struct dir *next;
		for (struct dir *d = b->bucket[i]; d; d = next) {
			next = d->next;
			dir_destroy(d);
		}
	}
	adafs_cond_clear(&b->loaded);
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
	return (h ^ h >> 16) % N_BUCKETS;
}

static bool fresh(const struct blobs *b, uint64_t ms)
{
	return ms && adafs_clock_mono_ms() - ms < b->timeout_ms;
}

/* Forget directories whose listing is old; single slots in them are as old or nearly so. */
static void sweep_locked(struct blobs *b)
{
	for (unsigned i = 0; i < N_BUCKETS; i++) {
		for (struct dir **p = &b->bucket[i]; *p;) {
			struct dir *d = *p;
			if (d->refs || fresh(b, d->complete_ms)) {
				p = &d->next;
				continue;
			}
			*p = d->next;
			dir_destroy(d);
			b->n_dirs--;
		}
	}
}

static struct dir *dir_find_locked(struct blobs *b, const char *container, const char *prefix)
{
	struct dir *d = b->bucket[bucket_of(container, prefix)];
	while (d && (strcmp(d->prefix, prefix) || strcmp(d->container, container)))
		d = d->next;
	return d;
}

static struct dir *dir_get_locked(struct blobs *b, const char *container, const char *prefix)
{
	struct dir *d = dir_find_locked(b, container, prefix);
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
		dir_destroy(d);
		return NULL;
	}
	struct dir **bucket = &b->bucket[bucket_of(container, prefix)];
	d->next = *bucket;
	*bucket = d;
	b->n_dirs++;
	return d;
}

/* --- slots --------------------------------------------------------------------------------- */
/* Where a name is, or belongs. */
static bool slot_find(const struct slot *slot, size_t n, const char *name, size_t *ret)
{
	size_t low = 0, high = n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(slot[mid].name, name);
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

/* Set a slot; takes a reference of e (may be NULL). Without memory the name is simply not known. */
static void slot_put_locked(struct dir *d, const char *name, struct blob_entry *e, uint64_t now_ms,
			    uint64_t seq)
{
	size_t i;
	if (!slot_find(d->slot, d->n, name, &i)) {
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
			d->complete_ms = 0;
			return;
		}
		memmove(&d->slot[i + 1], &d->slot[i], (d->n - i) * sizeof(*d->slot));
		d->n++;
		d->slot[i] = (struct slot){ .name = copy };
	}
	blob_entry_unref(d->slot[i].entry);
	d->slot[i].entry = e ? blob_entry_ref(e) : NULL;
	d->slot[i].learned_ms = now_ms;
	d->slot[i].seq = seq;
}

void blobs_put(struct blobs *b, const char *container, const char *prefix, const char *name,
	       struct blob_entry *e)
{
	adafs_mutex_lock(&b->lock);
	struct dir *d = dir_get_locked(b, container, prefix);
	if (d)
		slot_put_locked(d, name, e, adafs_clock_mono_ms(), ++b->seq);
	adafs_mutex_unlock(&b->lock);
}

void blobs_forget(struct blobs *b, const char *container, const char *prefix, bool deep)
{
	size_t len = strlen(prefix);
	adafs_mutex_lock(&b->lock);
	b->seq++;
	for (unsigned i = 0; i < N_BUCKETS; i++) {
		for (struct dir *d = b->bucket[i]; d; d = d->next) {
			if (strcmp(d->container, container) ||
			    (deep ? strncmp(d->prefix, prefix, len) : strcmp(d->prefix, prefix)))
				continue;
			d->complete_ms = 0;
			d->forget_seq = b->seq;
			for (size_t k = 0; k < d->n; k++)
				d->slot[k].learned_ms = 0;
		}
	}
	adafs_mutex_unlock(&b->lock);
}

/* --- whole listings -------------------------------------------------------------------------- */
struct loading {
	const char *prefix;
	size_t prefix_len;
	struct slot *slot;
	size_t n, size;
	unsigned hidden;
	uint64_t now_ms;
};

/* Whether a segment can be a file name. */
static bool segment_ok(const char *s, size_t len)
{
	return len && len <= MAX_NAME && !(len == 1 && s[0] == '.') &&
	       !(len == 2 && s[0] == '.' && s[1] == '.');
}

static int loading_add(struct loading *l, const char *name, struct blob_entry *e)
{
	if (l->n == l->size) {
		size_t size = l->size ? l->size * 2 : 64;
		struct slot *grown = reallocarray(l->slot, size, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		l->slot = grown;
		l->size = size;
	}
	char *copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	l->slot[l->n++] = (struct slot){ .name = copy, .entry = e, .learned_ms = l->now_ms };
	return 0;
}

/* The segment that a listed name shows as, or NULL: hidden. *ret_dir: it is a prefix. */
static const char *shown_segment(const char *prefix, size_t prefix_len, const char *full, bool is_prefix,
				 char buf[MAX_NAME + 1])
{
	if (strncmp(full, prefix, prefix_len))
		return NULL;
	const char *s = full + prefix_len;
	size_t len = strlen(s);
	if (is_prefix && len && s[len - 1] == '/')
		len--;
	if (!segment_ok(s, len))
		return NULL;
	memcpy(buf, s, len);
	buf[len] = 0;
	return buf;
}

static int on_listed(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct loading *l = arg;
	char segment[MAX_NAME + 1];
	if (!shown_segment(l->prefix, l->prefix_len, name, !props, segment)) {
		/* The directory's own marker "dir/" is no name in it. */
		l->hidden += strcmp(name, l->prefix) != 0;
		return 0;
	}
	struct blob_entry *e = blob_entry_new(segment, props);
	if (!e)
		return -ENOMEM;
	int rc = loading_add(l, segment, e);
	if (rc)
		blob_entry_unref(e);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct slot *)a)->name, ((const struct slot *)b)->name);
}

/* Which of two entries of one name is shown: a directory before a file, with its marker before without. */
static bool outranks(const struct blob_entry *a, const struct blob_entry *b)
{
	return a->is_dir != b->is_dir ? a->is_dir : a->marker > b->marker;
}

/* Sort, and merge a marker blob with the prefix of the same name (they may stand far apart, or on two pages). */
static void loading_merge(struct loading *l)
{
	size_t n = 0;
	if (l->n)
		qsort(l->slot, l->n, sizeof(*l->slot), by_name);
	for (size_t i = 0; i < l->n; i++) {
		if (n && !strcmp(l->slot[n - 1].name, l->slot[i].name)) {
			struct slot *keep = &l->slot[n - 1], *drop = &l->slot[i];
			if (outranks(drop->entry, keep->entry)) {
				struct slot t = *keep;
				*keep = *drop;
				*drop = t;
			}
			l->hidden += !drop->entry->is_dir;
			free(drop->name);
			blob_entry_unref(drop->entry);
		} else {
			l->slot[n++] = l->slot[i];
		}
	}
	l->n = n;
}

/* Put the new listing in the place of the old slots, but for own changes made since it began. */
static void install_locked(struct dir *d, struct loading *l)
{
	struct slot *old = d->slot;
	size_t old_n = d->n;
	d->slot = ADAFS_STEAL(l->slot);
	d->n = l->n;
	d->size = l->size;
	d->complete_ms = l->now_ms;
	/* Forgotten meanwhile: its older pages may lack what it was forgotten for. */
	if (d->forget_seq > d->load_seq) {
		d->complete_ms = 0;
		for (size_t i = 0; i < d->n; i++)
			d->slot[i].learned_ms = 0;
	}
	for (size_t i = 0; i < old_n; i++)
		if (old[i].seq > d->load_seq)
			slot_put_locked(d, old[i].name, old[i].entry, old[i].learned_ms, old[i].seq);
	slots_clear(old, old_n);
}

/* List a directory; called and returning with the lock held, d referenced. */
static int load_locked(struct blobs *b, struct dir *d, struct adafs_err *reterr)
{
	struct loading l = { .prefix = d->prefix, .prefix_len = strlen(d->prefix),
			     .now_ms = adafs_clock_mono_ms() };
	d->load_seq = b->seq;
	d->loading = true;
	adafs_mutex_unlock(&b->lock);
	int rc = adafs_blob_list(b->fs->blob, d->container, d->prefix, "/", ADAFS_LIST_META, on_listed,
				 &l, reterr);
	if (!rc)
		loading_merge(&l);
	if (!rc && l.hidden)
		adafs_log(INFO, "fs", "'%s/%s': %u blobs cannot be shown as files", d->container,
			  d->prefix, l.hidden);
	adafs_mutex_lock(&b->lock);
	if (!rc)
		install_locked(d, &l);
	else
		slots_clear(l.slot, l.n);
	d->loading = false;
	d->load_rc = rc;
	adafs_cond_broadcast(&b->loaded);
	return rc;
}

static int copy_locked(const struct dir *d, struct blob_list *ret)
{
	struct blob_entry **entry = calloc(d->n + 1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	size_t n = 0;
	for (size_t i = 0; i < d->n; i++)
		if (d->slot[i].entry)
			entry[n++] = blob_entry_ref(d->slot[i].entry);
	*ret = (struct blob_list){ .entry = entry, .n = n };
	return 0;
}

/* Wait for another thread's listing, else make one. */
static int refresh_locked(struct blobs *b, struct dir *d, struct adafs_err *reterr)
{
	const uint64_t forgotten = d->forget_seq;
	while (d->loading) {
		while (d->loading)
			adafs_cond_wait(&b->loaded, &b->lock);
		/* It failed for the other one: the same would happen again. */
		if (d->load_rc)
			return adafs_err_set(reterr, d->load_rc, "listing of '%s/%s' failed", d->container,
					     d->prefix);
		/* However long it took, it is newer than the call, unless it began before what was forgotten then. */
		if (d->load_seq >= forgotten)
			return 0;
	}
	return load_locked(b, d, reterr);
}

int blobs_list(struct blobs *b, const char *container, const char *prefix, bool may_wait,
	       struct blob_list *ret, struct adafs_err *reterr)
{
	adafs_mutex_lock(&b->lock);
	struct dir *d = dir_get_locked(b, container, prefix);
	int rc = d ? 0 : adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (!rc && !fresh(b, d->complete_ms)) {
		if (may_wait) {
			d->refs++;
			rc = refresh_locked(b, d, reterr);
			d->refs--;
		} else {
			rc = -EWOULDBLOCK;
		}
	}
	if (!rc)
		rc = copy_locked(d, ret);
	adafs_mutex_unlock(&b->lock);
	return rc;
}

/* --- single names ------------------------------------------------------------------------------ */
/* The answer for a name, if there is one that is fresh: 0 or -ENOENT, else -EWOULDBLOCK. */
static int answer_locked(const struct blobs *b, const struct dir *d, const char *name,
			 struct blob_entry **ret)
{
	size_t i;
	bool complete = fresh(b, d->complete_ms);
	if (!slot_find(d->slot, d->n, name, &i))
		return complete ? -ENOENT : -EWOULDBLOCK;
	if (!complete && !fresh(b, d->slot[i].learned_ms))
		return -EWOULDBLOCK;
	if (!d->slot[i].entry)
		return -ENOENT;
	*ret = blob_entry_ref(d->slot[i].entry);
	return 0;
}

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
 * Ask the service. One page of a few names that start with this one tells file and directory apart, unless there are many
 * (`a-1`, `a-2` come before `a/`): then a second one asks for `a/`.
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
	int rc = adafs_blob_list_some(b->fs->blob, container, full, "/", ADAFS_LIST_META, LOOKUP_MAX,
				      on_looked_up, &l, reterr);
	bool marker = l.file && l.file->is_dir;
	if (!rc && l.n >= LOOKUP_MAX && !l.dir && !marker)
		rc = adafs_blob_list_some(b->fs->blob, container, below, NULL, 0, 1, on_looked_up, &l,
					  reterr);
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

int blobs_lookup(struct blobs *b, const char *container, const char *prefix, const char *name,
		 bool may_wait, struct blob_entry **ret, struct adafs_err *reterr)
{
	if (!segment_ok(name, strlen(name)))
		return -ENOENT;
	adafs_mutex_lock(&b->lock);
	struct dir *d = dir_get_locked(b, container, prefix);
	int rc = d ? answer_locked(b, d, name, ret) : -ENOMEM;
	if (rc != -EWOULDBLOCK || !may_wait) {
		adafs_mutex_unlock(&b->lock);
		return rc;
	}
	d->refs++;
	/* A listing under way answers for all names. */
	while (d->loading)
		adafs_cond_wait(&b->loaded, &b->lock);
	rc = answer_locked(b, d, name, ret);
	uint64_t start_seq = b->seq;
	if (rc == -EWOULDBLOCK) {
		struct blob_entry *e = NULL;
		adafs_mutex_unlock(&b->lock);
		rc = ask(b, container, prefix, name, &e, reterr);
		adafs_mutex_lock(&b->lock);
		size_t i;
		bool changed = slot_find(d->slot, d->n, name, &i) && d->slot[i].seq > start_seq;
		if ((!rc || rc == -ENOENT) && !changed) {
			bool forgotten = d->forget_seq > start_seq;
			slot_put_locked(d, name, e, forgotten ? 0 : adafs_clock_mono_ms(), 0);
		}
		if (!rc && changed && !d->slot[i].entry) {
			blob_entry_unref(e);
			rc = -ENOENT;
		} else if (changed && d->slot[i].entry) {
			blob_entry_unref(e);
			*ret = blob_entry_ref(d->slot[i].entry);
			rc = 0;
		} else if (!rc) {
			*ret = e;
		}
	}
	d->refs--;
	adafs_mutex_unlock(&b->lock);
	return rc;
}

struct blob_entry *blobs_peek(struct blobs *b, const char *container, const char *prefix,
			      const char *name, bool *ret_known)
{
	struct blob_entry *e = NULL;
	adafs_mutex_lock(&b->lock);
	struct dir *d = dir_find_locked(b, container, prefix);
	int rc = d ? answer_locked(b, d, name, &e) : -EWOULDBLOCK;
	adafs_mutex_unlock(&b->lock);
	*ret_known = rc != -EWOULDBLOCK;
	return e;
}

double blobs_left_s(struct blobs *b, const char *container, const char *prefix, const char *name)
{
	uint64_t learned = 0, now = adafs_clock_mono_ms();
	size_t i;
	adafs_mutex_lock(&b->lock);
	struct dir *d = dir_find_locked(b, container, prefix);
	if (d)
		learned = d->complete_ms;
	if (d && slot_find(d->slot, d->n, name, &i) && d->slot[i].learned_ms > learned)
		learned = d->slot[i].learned_ms;
	adafs_mutex_unlock(&b->lock);
	return learned + b->timeout_ms > now ? (double)(learned + b->timeout_ms - now) / 1000 : 0;
}
