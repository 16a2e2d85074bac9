/*
 * cache.c - extents: ranges of one version of a blob, each fetched by one Get Blob.
 *
 * An extent never crosses a block of 4 MiB (the most that the service gives a checksum for).
 * Extents of a file do not overlap. States:
 *
 *   QUEUED   no memory yet: waits in cache->queue    buf NULL, readers may wait on it
 *   LOADING  its request is under way                buf owned by the request
 *   READY    data is there                           in the LRU list while nobody pins it
 *   FAILED   being taken back: no longer in its file
 *
 * A random read fetches what was asked for; one that goes on where the last ended fetches twice as
 * much each time; a reader that starts at the beginning, or has read 2 MiB in sequence, fetches
 * whole blocks and some ahead. Memory: while requests under way take half of the limit, demand
 * fetches only what was asked for, so that readers of a hung service leave room for others, and
 * nothing is read ahead; at the limit demand queues. Reading ahead only pushes out what has lain
 * for a second, or two readers would evict each other's blocks before they are read.
 *
 * One lock (rank CACHE). Replies and requests are made without it; an extent that is being copied
 * from is pinned.
 */
#include "fs/read/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "fs/read/cache_int.h"

#define SLACK \
	((int64_t)1024 * 1024) /* the kernel's parallel reads arrive out of order by so much */
#define STREAK_FULL ((int64_t)2 * 1024 * 1024)
#define MAX_AHEAD 6
#define OLD_MS 1000

struct cache *cache_new(size_t limit)
{
	struct cache *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	adafs_mutex_init(&c->lock, ADAFS_RANK_CACHE);
	c->limit = limit;
	c->queue_tail = &c->queue;
	return c;
}

void cache_use_disk(struct cache *c, struct diskcache *disk)
{
	c->disk = disk;
}

/* --- files ------------------------------------------------------------------------------- */
static unsigned bucket_of(const char *container, const char *blob, const char *etag)
{
	const char *parts[] = { container, blob, etag };
	uint32_t h = 2166136261u;
	for (int i = 0; i < 3; i++)
		for (const char *p = parts[i]; *p; p++)
			h = (h ^ (unsigned char)*p) * 16777619u;
	return (h ^ h >> 16) % N_BUCKETS;
}

static void file_destroy(struct cache_file *f)
{
	free(f->container);
	free(f->blob);
	free(f->etag);
	free(f->disk_key);
	free(f);
}

void file_unref_locked(struct cache_file *f)
{
	if (--f->refs)
		return;
	struct cache_file **p = &f->cache->bucket[bucket_of(f->container, f->blob, f->etag)];
	while (*p != f)
		p = &(*p)->next;
	*p = f->next;
	file_destroy(f);
}

static struct cache_file *file_make(struct cache *c, struct adafs_blob_client *client,
				    const char *container, const char *blob, const char *etag,
				    int64_t size)
{
	struct cache_file *f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	*f = (struct cache_file){ .cache = c, .client = client, .size = size, .refs = 1 };
	f->container = strdup(container);
	f->blob = strdup(blob);
	f->etag = strdup(etag);
	if (c->disk)
		f->disk_key = adafs_fmt("%s/%s/%s %s", adafs_blob_client_account(client)->endpoint,
					container, blob, etag);
	if (!f->container || !f->blob || !f->etag || (c->disk && !f->disk_key)) {
		file_destroy(f);
		return NULL;
	}
	return f;
}

struct cache_file *cache_file_get(struct cache *c, struct adafs_blob_client *client,
				  const char *container, const char *blob, const char *etag,
				  int64_t size)
{
	struct cache_file **b = &c->bucket[bucket_of(container, blob, etag)];
	adafs_mutex_lock(&c->lock);
	struct cache_file *f = *b;
	while (f && (f->client != client || f->size != size || strcmp(f->etag, etag) ||
		     strcmp(f->blob, blob) || strcmp(f->container, container)))
		f = f->next;
	if (f) {
		f->refs++;
	} else if ((f = file_make(c, client, container, blob, etag, size))) {
		f->next = *b;
		*b = f;
	}
	adafs_mutex_unlock(&c->lock);
	return f;
}

void cache_file_put(struct cache_file *f)
{
	struct cache *c = f->cache;
	adafs_mutex_lock(&c->lock);
	file_unref_locked(f);
	adafs_mutex_unlock(&c->lock);
}

void cache_stop(struct cache *c)
{
	/* Its threads go on asking c->disk until they are joined. */
	diskcache_close(c->disk);
	c->disk = NULL;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	/* What it still loads or stores holds extents. */
	cache_stop(c);
	adafs_mutex_lock(&c->lock);
	memory_clear_locked(c);
	adafs_mutex_unlock(&c->lock);
	/* Files of handles that the kernel never released stay behind otherwise. */
	for (unsigned i = 0; i < N_BUCKETS; i++) {
		struct cache_file *next;
		for (struct cache_file *f = c->bucket[i]; f; f = next) {
			next = f->next;
			if (!f->extents)
				file_destroy(f);
		}
	}
	adafs_mutex_clear(&c->lock);
	free(c);
}

/* --- planning ------------------------------------------------------------------------------- */
static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Note a read; whether it goes on where the last one ended. */
static bool seq_note(struct cache_seq *seq, int64_t off, int64_t end)
{
	bool near =
		seq->any ? off <= seq->next + SLACK && off + SLACK >= seq->next : off < SLACK / 4;
	if (!seq->any)
		seq->from_start = near;
	else if (!near)
		seq->from_start = false;
	if (near) {
		seq->streak += end - off;
		seq->next = max64(seq->next, end);
	} else {
		seq->streak = end - off;
		seq->next = end;
	}
	seq->any = true;
	return near;
}

/* A sequence long enough, or from the start, to fetch whole blocks for. */
static bool reads_on(const struct cache_seq *seq)
{
	return seq->from_start || seq->streak >= STREAK_FULL;
}

/* The extent that holds pos, or NULL; ret_free_end: how far from pos no extent is. */
static struct extent *find_locked(const struct cache_file *f, int64_t pos, int64_t *ret_free_start,
				  int64_t *ret_free_end)
{
	*ret_free_start = 0;
	*ret_free_end = f->size;
	for (struct extent *e = f->extents; e; e = e->next) {
		if (e->off > pos) {
			*ret_free_end = e->off;
			return NULL;
		}
		if (e->off + (int64_t)e->len > pos)
			return e;
		*ret_free_start = e->off + (int64_t)e->len;
	}
	return NULL;
}

/* A new extent in state QUEUED that belongs to no list but its file's. */
static struct extent *extent_add_locked(struct cache_file *f, int64_t off, int64_t end)
{
	struct extent *e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	*e = (struct extent){ .file = f, .off = off, .len = (size_t)(end - off), .state = QUEUED };
	struct extent **p = &f->extents;
	while (*p && (*p)->off < off)
		p = &(*p)->next;
	e->next = *p;
	*p = e;
	f->refs++;
	return e;
}

/* Give it memory and chain it for start, or queue it. */
static void extent_launch_locked(struct cache *c, struct extent *e, struct extent **chain)
{
	if (!c->queue && make_room_locked(c, e->len, UINT64_MAX) && extent_map_locked(c, e)) {
		e->chain = *chain;
		*chain = e;
		return;
	}
	e->chain = NULL;
	*c->queue_tail = e;
	c->queue_tail = &e->chain;
}

/* Fetch for a read of [pos, end) of which pos is not there. */
static struct extent *fetch_locked(struct cache_file *f, const struct cache_seq *seq, bool near,
				   int64_t pos, int64_t end, int64_t free_start, int64_t free_end,
				   struct extent **chain)
{
	struct cache *c = f->cache;
	int64_t block = pos - pos % BLOCK, block_end = min64(block + BLOCK, f->size);
	int64_t from = pos & ~INT64_C(4095), to = min64((end + 4095) & ~INT64_C(4095), block_end);
	int64_t exact_from = max64(from, free_start), exact_to = min64(to, free_end);
	if (near && reads_on(seq)) {
		from = block;
		to = block_end;
	} else if (near) {
		to = min64(block_end, max64(to, pos + seq->streak));
	}
	from = max64(from, free_start);
	to = min64(to, free_end);
	if (c->loading + (size_t)(to - from) > c->limit / 2) {
		from = exact_from;
		to = exact_to;
	}
	struct extent *e = extent_add_locked(f, from, to);
	if (e)
		extent_launch_locked(c, e, chain);
	return e;
}

static void read_ahead_locked(struct cache_file *f, const struct cache_seq *seq,
			      struct extent **chain)
{
	struct cache *c = f->cache;
	uint64_t now = adafs_clock_mono_ms(), before_ms = now > OLD_MS ? now - OLD_MS : 0;
	int64_t n = seq->streak / BLOCK + (seq->streak >= BLOCK / 4);
	int64_t block = ((seq->next - 1) / BLOCK + 1) * BLOCK;
	for (int64_t i = 0; i < min64(n, MAX_AHEAD) && block < f->size; i++, block += BLOCK) {
		int64_t to = min64(block + BLOCK, f->size), free_start, free_end;
		if (find_locked(f, block, &free_start, &free_end) || free_end < to)
			continue;
		if (c->queue || c->loading + (size_t)(to - block) > c->limit / 2 ||
		    !make_room_locked(c, (size_t)(to - block), before_ms))
			return;
		struct extent *e = extent_add_locked(f, block, to);
		if (!e)
			return;
		extent_launch_locked(c, e, chain);
	}
}

/* Wait on an extent that is not ready. */
static int add_waiter_locked(struct extent *e, struct gather *g, struct call *call, int64_t off,
			     size_t size)
{
	struct waiter *w = malloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct waiter){
		.next = e->waiters, .gather = g, .call = call, .off = off, .size = size
	};
	e->waiters = w;
	if (g)
		g->pending++;
	return 0;
}

static struct gather *gather_new(struct call *call, int64_t off, size_t size)
{
	struct gather *g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	*g = (struct gather){ .call = call, .off = off, .size = size, .buf = malloc(size) };
	if (!g->buf) {
		free(g);
		return NULL;
	}
	return g;
}

/* A read over several extents: what is ready is copied now, the rest when it comes. */
static void gather_locked(struct cache_file *f, const struct cache_seq *seq, bool near,
			  struct gather *g, struct extent **chain)
{
	int64_t end = g->off + (int64_t)g->size, free_start, free_end;
	for (int64_t pos = g->off; pos < end && !g->rc;) {
		struct extent *e = find_locked(f, pos, &free_start, &free_end);
		if (!e)
			e = fetch_locked(f, seq, near, pos, end, free_start, free_end, chain);
		if (!e) {
			g->rc = -ENOMEM;
			return;
		}
		int64_t from;
		size_t n = extent_overlap(e, g->off, g->size, &from);
		pos = e->off + (int64_t)e->len;
		if (e->state == READY) {
			pin_locked(f->cache, e);
			gather_copy(g, e);
			e->consumed += n;
			unpin_locked(f->cache, e);
		} else {
			g->rc = add_waiter_locked(e, g, g->call, from, n);
		}
	}
}

/* All is in one extent that is there: the reply is made from its memory. */
static void reply_ready(struct cache *c, struct extent *e, struct call *call, int64_t off,
			size_t size)
{
	call_reply_data(call, e->buf + (off - e->off), size, 0);
	adafs_mutex_lock(&c->lock);
	e->consumed += size;
	unpin_locked(c, e);
	adafs_mutex_unlock(&c->lock);
	run_queue(c);
}

int cache_read(struct cache_file *f, struct cache_seq *seq, struct call *call, size_t size,
	       off_t off)
{
	if (off >= f->size || !size)
		return 0;
	if ((int64_t)size > f->size - off)
		size = (size_t)(f->size - off);
	struct cache *c = f->cache;
	struct extent *chain = NULL, *ready = NULL;
	struct gather *g = NULL;
	int64_t end = off + (int64_t)size, free_start, free_end;
	int rc = -EINPROGRESS;

	adafs_mutex_lock(&c->lock);
	bool near = seq_note(seq, off, end);
	if (seq_note(&f->seq, off, end) && reads_on(&f->seq) && !(near && reads_on(seq))) {
		seq = &f->seq;
		near = true;
	}
	struct extent *e = find_locked(f, off, &free_start, &free_end);
	if (!e)
		e = fetch_locked(f, seq, near, off, end, free_start, free_end, &chain);
	bool whole = e && e->off + (int64_t)e->len >= end;
	if (!e) {
		rc = -ENOMEM;
	} else if (whole && e->state == READY) {
		ready = e;
		pin_locked(c, e);
	} else if (whole) {
		if (add_waiter_locked(e, NULL, call, off, size))
			rc = -ENOMEM;
	} else if ((g = gather_new(call, off, size))) {
		g->pending = 1; /* this function's own: nobody replies before it is done */
		gather_locked(f, seq, near, g, &chain);
	} else {
		rc = -ENOMEM;
	}
	if (near)
		read_ahead_locked(f, seq, &chain);
	bool complete = g && --g->pending == 0;
	/* Queued with nothing under way: no end of a request will take it up. */
	bool stuck = c->queue && !c->loading;
	adafs_mutex_unlock(&c->lock);

	/* The chain first: a reply may take long, and the call is gone after it. */
	start_chain(chain);
	if (ready)
		reply_ready(c, ready, call, off, size);
	else if (complete)
		gather_reply(g);
	if (stuck)
		run_queue(c);
	return rc;
}
