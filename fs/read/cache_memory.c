/*
 * cache_memory.c - the memory of extents: where it comes from, what is let go for more. The list
 * holds what nobody pins, the oldest first.
 */
#include "fs/read/cache_int.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define SMALL_BUFFER ((size_t)64 * 1024)
#define HUGE_PAGE ((size_t)2 * 1024 * 1024)

static void lru_remove_locked(struct cache *c, struct extent *e)
{
	*(e->lru_prev ? &e->lru_prev->lru_next : &c->lru_first) = e->lru_next;
	*(e->lru_next ? &e->lru_next->lru_prev : &c->lru_last) = e->lru_prev;
	e->lru_prev = e->lru_next = NULL;
}

static void lru_append_locked(struct cache *c, struct extent *e)
{
	e->lru_prev = c->lru_last;
	e->lru_next = NULL;
	*(c->lru_last ? &c->lru_last->lru_next : &c->lru_first) = e;
	c->lru_last = e;
}

static void *map(size_t len, int flags)
{
	void *p =
		mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

/* A whole block, in huge pages if the system has any: the kernel's copy of each byte to a reader is
 * a tenth cheaper. */
static void *map_block(void)
{
	char *p = map(BLOCK + HUGE_PAGE, 0);
	if (!p)
		return NULL;
	size_t before = -(uintptr_t)p % HUGE_PAGE;
	if (before)
		munmap(p, before);
	munmap(p + before + BLOCK, HUGE_PAGE - before);
	madvise(p + before, BLOCK, MADV_HUGEPAGE);
#ifdef MADV_POPULATE_WRITE
	madvise(p + before, BLOCK, MADV_POPULATE_WRITE);
#endif
	return p + before;
}

/*
 * What is large is mapped: freed, it is gone from the process at once, whatever the order. A few
 * whole blocks are kept to be used again, since the page faults of a new one cost as much as its
 * bytes: they count as used until they are. A small one is from malloc: to unmap it would cost more
 * than to read it.
 */
static void *buffer_get_locked(struct cache *c, size_t len)
{
	if (len == BLOCK && c->n_spare)
		return c->spare[--c->n_spare];
	void *p = len <= SMALL_BUFFER ? malloc(len)
		  : len == BLOCK      ? map_block()
				      : map(len, MAP_POPULATE);
	if (!p)
		return NULL;
	c->used += len;
	return p;
}

static void buffer_unmap_locked(struct cache *c, void *buf, size_t len)
{
	if (len <= SMALL_BUFFER)
		free(buf);
	else
		munmap(buf, len);
	c->used -= len;
}

static void buffer_put_locked(struct cache *c, void *buf, size_t len)
{
	if (len == BLOCK && c->n_spare < MAX_SPARE)
		c->spare[c->n_spare++] = buf;
	else
		buffer_unmap_locked(c, buf, len);
}

bool extent_map_locked(struct cache *c, struct extent *e)
{
	e->buf = buffer_get_locked(c, e->len);
	if (!e->buf)
		return false;
	e->state = LOADING;
	c->loading += e->len;
	return true;
}

void extent_unlink_locked(struct extent *e)
{
	struct extent **p = &e->file->extents;
	while (*p && *p != e)
		p = &(*p)->next;
	if (*p)
		*p = e->next;
}

void extent_free_locked(struct cache *c, struct extent *e)
{
	extent_unlink_locked(e);
	if (e->buf)
		buffer_put_locked(c, e->buf, e->len);
	file_unref_locked(e->file);
	free(e);
}

bool make_room_locked(struct cache *c, size_t len, uint64_t before_ms)
{
	for (;;) {
		bool spare = len == BLOCK && c->n_spare;
		if (spare || c->used + len <= c->limit)
			return true;
		struct extent *e = c->lru_first;
		if (c->n_spare) {
			buffer_unmap_locked(c, c->spare[--c->n_spare], BLOCK);
		} else if (e && e->ready_ms < before_ms) {
			lru_remove_locked(c, e);
			extent_free_locked(c, e);
		} else {
			return false;
		}
	}
}

void pin_locked(struct cache *c, struct extent *e)
{
	if (e->pins++ == 0)
		lru_remove_locked(c, e);
}

void unpin_locked(struct cache *c, struct extent *e)
{
	if (--e->pins)
		return;
	if (e->consumed >= e->len)
		extent_free_locked(c, e);
	else
		lru_append_locked(c, e);
}

void memory_clear_locked(struct cache *c)
{
	while (c->lru_first) {
		struct extent *e = c->lru_first;
		lru_remove_locked(c, e);
		extent_free_locked(c, e);
	}
	while (c->n_spare)
		buffer_unmap_locked(c, c->spare[--c->n_spare], BLOCK);
}
