/*
 * cache_fetch.c - from a planned extent to its bytes and the replies of all who wait for them.
 */
#include "fs/read/cache_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"

static void extent_done(void *arg, size_t len, const struct adafs_err *err);

static void fetch(struct extent *e)
{
	struct cache_file *f = e->file;
	adafs_blob_get_start(f->client, f->container, f->blob, NULL, e->off, e->len, f->etag,
			     e->buf, extent_done, e);
}

static void on_loaded(void *arg, bool found)
{
	static const struct adafs_err none;
	struct extent *e = arg;
	e->from_disk = found;
	if (found)
		extent_done(e, e->len, &none);
	else
		fetch(e);
}

static struct diskcache_range range_of(const struct extent *e)
{
	return (struct diskcache_range){ .key = e->file->disk_key, .off = e->off, .len = e->len };
}

void start_chain(struct extent *chain)
{
	struct extent *next;
	for (struct extent *e = chain; e; e = next) {
		next = e->chain;
		const struct diskcache_range range = range_of(e);
		if (range.key)
			diskcache_load(e->file->cache->disk, &range, e->buf, on_loaded, e);
		else
			fetch(e);
	}
}

/* Take all that waits for memory out of its files; each is pinned once for who ends its readers. */
static struct extent *queue_fail_locked(struct cache *c)
{
	struct extent *failed = ADAFS_STEAL(c->queue);
	c->queue_tail = &c->queue;
	for (struct extent *e = failed; e; e = e->chain) {
		extent_unlink_locked(e);
		e->state = FAILED;
		e->consumed = e->len;
		e->pins = 1;
	}
	return failed;
}

/*
 * Extents that waited for memory and now have it: a chain to start. When the system gives none and
 * nothing is under way whose end would try again, nobody would ever wake the readers: *ret_failed
 * are the extents to fail.
 */
static struct extent *take_queue_locked(struct cache *c, struct extent **ret_failed)
{
	struct extent *chain = NULL, **tail = &chain;
	*ret_failed = NULL;
	while (c->queue && make_room_locked(c, c->queue->len, UINT64_MAX)) {
		struct extent *e = c->queue;
		if (!extent_map_locked(c, e)) {
			if (!c->loading)
				*ret_failed = queue_fail_locked(c);
			break;
		}
		c->queue = e->chain;
		if (!c->queue)
			c->queue_tail = &c->queue;
		e->chain = NULL;
		*tail = e;
		tail = &e->chain;
	}
	return chain;
}

/* --- replies ------------------------------------------------------------------------------- */
void gather_reply(struct gather *g)
{
	call_reply_data(g->call, g->buf, g->size, g->rc);
	free(g->buf);
	free(g);
}

size_t extent_overlap(const struct extent *e, int64_t off, size_t size, int64_t *ret_from)
{
	int64_t from = off > e->off ? off : e->off;
	int64_t end = off + (int64_t)size, e_end = e->off + (int64_t)e->len;
	if (e_end < end)
		end = e_end;
	*ret_from = from;
	return end > from ? (size_t)(end - from) : 0;
}

void gather_copy(struct gather *g, const struct extent *e)
{
	int64_t from;
	size_t n = extent_overlap(e, g->off, g->size, &from);
	memcpy(g->buf + (from - g->off), e->buf + (from - e->off), n);
}

/* Serve one waiter of a pinned (or failed) extent; no lock held but for the count of its gather. */
static void serve_waiter(struct cache *c, struct extent *e, struct waiter *w, int rc)
{
	if (!w->gather) {
		call_reply_data(w->call, rc ? NULL : e->buf + (w->off - e->off), w->size, rc);
		free(w);
		return;
	}
	struct gather *g = w->gather;
	if (!rc)
		gather_copy(g, e);
	adafs_mutex_lock(&c->lock);
	if (rc)
		g->rc = rc;
	bool last = --g->pending == 0;
	adafs_mutex_unlock(&c->lock);
	if (last)
		gather_reply(g);
	free(w);
}

/* Replies to who waits for an extent that its caller has pinned; no lock held. */
static void serve_all(struct cache *c, struct extent *e, struct waiter *list, int rc)
{
	struct waiter *next;
	for (struct waiter *w = list; w; w = next) {
		next = w->next;
		serve_waiter(c, e, w, rc);
	}
}

static void unpin(struct cache *c, struct extent *e)
{
	adafs_mutex_lock(&c->lock);
	unpin_locked(c, e);
	adafs_mutex_unlock(&c->lock);
}

/* End the readers of extents that get no memory; no lock held. */
static void fail_chain(struct cache *c, struct extent *failed)
{
	struct extent *next;
	if (failed)
		adafs_log(ERROR, "fs", "no memory to read into: what waits for it fails");
	for (struct extent *e = failed; e; e = next) {
		next = e->chain;
		/* Out of its file: nobody else can add a waiter. */
		serve_all(c, e, ADAFS_STEAL(e->waiters), -ENOMEM);
		unpin(c, e);
	}
}

void run_queue(struct cache *c)
{
	struct extent *failed;
	adafs_mutex_lock(&c->lock);
	struct extent *chain = take_queue_locked(c, &failed);
	adafs_mutex_unlock(&c->lock);
	start_chain(chain);
	fail_chain(c, failed);
}

static int load_error(const struct extent *e, size_t len, const struct adafs_err *err)
{
	int rc = err->rc;
	if (!rc && len != e->len)
		rc = -EIO;
	/* Deleted is as gone as replaced for who has it open. */
	if (rc == -ENOENT)
		rc = -ESTALE;
	if (rc && rc != -ECANCELED)
		adafs_log(WARN, "fs", "read of '%s/%s' at %lld failed: %s", e->file->container,
			  e->file->blob, (long long)e->off,
			  err->rc ? err->msg : "fewer bytes than listed");
	return rc;
}

static void on_stored(void *arg)
{
	struct extent *e = arg;
	struct cache *c = e->file->cache;
	unpin(c, e);
	run_queue(c);
}

/* On the loop thread, or on one of the disk cache's. */
static void extent_done(void *arg, size_t len, const struct adafs_err *err)
{
	struct extent *e = arg;
	struct cache *c = e->file->cache;
	int rc = load_error(e, len, err);
	adafs_mutex_lock(&c->lock);
	struct waiter *list = ADAFS_STEAL(e->waiters);
	c->loading -= e->len;
	e->state = READY;
	e->ready_ms = adafs_clock_mono_ms();
	bool keep = !rc && e->file->disk_key && !e->from_disk;
	e->pins = keep ? 2 : 1;
	for (struct waiter *w = list; w; w = w->next)
		e->consumed += w->size;
	if (rc) {
		/* Nobody may find it any more; it is freed with the last pin. */
		extent_unlink_locked(e);
		e->state = FAILED;
		e->consumed = e->len;
	}
	adafs_mutex_unlock(&c->lock);
	serve_all(c, e, list, rc);
	const struct diskcache_range range = range_of(e);
	if (keep && !diskcache_store(c->disk, &range, e->buf, on_stored, e))
		unpin(c, e);
	unpin(c, e);
	run_queue(c);
}
