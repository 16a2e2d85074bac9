/*
 * spool_hot.c - blocks of a spool that are in memory: the one that is being filled in order, and
 * full ones until a sender has sent them and written them to disk. So the bytes of a stream are
 * neither read again to be sent nor pass through the page cache, whose pages would all be new ones.
 *
 *   filling -> full -> (a sender) storing -> stored, and the memory goes to the next block
 *
 * Whatever does not go on where the block ends settles it first: its bytes are written to disk and
 * it is hot no more. The number of hot blocks is bounded for all spools together; a block for which
 * there is no memory is written to disk at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "batch/base/file.h"
#include "fs/write/spool_int.h"

#define HOT_ALL ((size_t)24 * 1024 * 1024)
#define DISK_ALIGN 4096

struct hot {
	struct hot *next;
	size_t block;
	uint32_t fill;  /* bytes from the block's start */
	bool storing;   /* its sender writes it to disk: nobody else may write there */
	bool stored;    /* the disk has it */
	bool detached;  /* settled while a sender still reads it */
	unsigned users; /* senders that read it */
	char *data;
};

/*
 * --- memory -------------------------------------------------------------------------------------
 */
/* From the kernel and back to it: in a heap they would leave holes. */
static char *memory_new(size_t size)
{
	void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return data == MAP_FAILED ? NULL : data;
}

static char *memory_take(struct spool_space *space, size_t size)
{
	char *data = NULL;
	adafs_mutex_lock(&space->lock);
	if (space->n_free) {
		data = space->free_block[--space->n_free];
		space->n_hot++;
	} else if ((space->n_hot + 1) * size <= HOT_ALL) {
		data = memory_new(size);
		space->n_hot += data != NULL;
	}
	adafs_mutex_unlock(&space->lock);
	return data;
}

/* What nobody uses is given back when the last one is: a mount at rest is small. */
static void memory_give(struct spool_space *space, char *data, size_t size)
{
	adafs_mutex_lock(&space->lock);
	space->n_hot--;
	if (space->n_free < SPOOL_FREE_BLOCKS)
		space->free_block[space->n_free++] = data;
	else
		munmap(data, size);
	while (!space->n_hot && space->n_free)
		munmap(space->free_block[--space->n_free], size);
	adafs_mutex_unlock(&space->lock);
}

static struct hot *hot_find(const struct spool *s, size_t block)
{
	struct hot *h = s->hot;
	while (h && (h->block != block || h->detached))
		h = h->next;
	return h;
}

static void hot_free(struct spool *s, struct hot *h)
{
	struct hot **p = &s->hot;
	while (*p != h)
		p = &(*p)->next;
	*p = h->next;
	memory_give(s->space, h->data, s->block_size);
	free(h);
}

struct hot *spool_hot_new(struct spool *s, size_t block)
{
	if (block >= SPOOL_TIER_BLOCKS || s->block_size % DISK_ALIGN)
		return NULL;
	struct hot *h = calloc(1, sizeof(*h));
	char *data = h ? memory_take(s->space, s->block_size) : NULL;
	if (!data) {
		free(h);
		return NULL;
	}
	*h = (struct hot){ .next = s->hot, .block = block, .data = data };
	s->hot = h;
	return h;
}

void spool_hot_clear(struct spool *s)
{
	while (s->hot)
		hot_free(s, s->hot);
}

/*
 * --- bytes -------------------------------------------------------------------------------------
 */
void spool_hot_append(struct hot *h, const void *data, size_t len)
{
	memcpy(h->data + h->fill, data, len);
	h->fill += (uint32_t)len;
}

struct hot *spool_hot_next(const struct spool *s, size_t block, int64_t at)
{
	struct hot *h = hot_find(s, block);
	return h && h->fill == at ? h : NULL;
}

const char *spool_hot_data(const struct spool *s, size_t block)
{
	const struct hot *h = hot_find(s, block);
	return h ? h->data : NULL;
}

/* Its bytes are on disk, or go there; it is the block's content no more. */
static int settle(struct spool *s, struct hot *h)
{
	if (h->storing)
		return -EWOULDBLOCK;
	int rc = h->stored ? 0
			   : adafs_pwrite_all(s->fd, h->data, h->fill,
					      spool_block_start(s, h->block));
	if (rc)
		return rc;
	if (h->users)
		h->detached = true;
	else
		hot_free(s, h);
	return 0;
}

int spool_hot_settle(struct spool *s, size_t first, size_t last)
{
	for (struct hot *h = s->hot, *next; h; h = next) {
		next = h->next;
		int rc = !h->detached && h->block >= first && h->block <= last ? settle(s, h) : 0;
		if (rc)
			return rc;
	}
	return 0;
}

/*
 * --- sending ------------------------------------------------------------------------------------
 */
struct hot *spool_hot_use(struct spool *s, size_t block)
{
	struct hot *h = hot_find(s, block);
	if (!h)
		return NULL;
	/* One that is not full may be gone on with. */
	if (!h->users++)
		h->storing = !h->stored && h->fill == s->block_size;
	return h;
}

/* Past the page cache, where the disk can do so. */
static int direct_fd(struct spool *s)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->fd);
	return open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
}

int spool_hot_store(struct spool *s, const struct hot *h)
{
	int64_t off = spool_block_start(s, h->block);
	if (!h->storing)
		return 0;
	ADAFS_CLOSE int fd = direct_fd(s);
	if (fd >= 0 && !adafs_pwrite_all(fd, h->data, h->fill, off))
		return 0;
	return adafs_pwrite_all(s->fd, h->data, h->fill, off);
}

void spool_hot_done(struct spool *s, struct hot *h, int rc)
{
	h->users--;
	if (h->storing) {
		h->storing = false;
		h->stored = !rc;
	}
	/* What the disk does not take stays here until the file is closed. */
	if (!h->users && (h->detached || h->stored))
		hot_free(s, h);
}
