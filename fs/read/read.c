/* read.c - a handle that reads one version of a blob through the cache. */
#include "fs/read/read.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>

#include "fs/read/cache.h"

struct reader {
	struct handle base;
	struct cache_file *file;
	struct cache_seq seq;
};

static int reader_read(struct call *c, struct handle *h, size_t size, off_t off,
		       struct adafs_buf *ret)
{
	(void)ret;
	struct reader *r = (struct reader *)h;
	return cache_read(r->file, &r->seq, c, size, off);
}

static void reader_release(struct call *c, struct handle *h)
{
	(void)c;
	struct reader *r = (struct reader *)h;
	cache_file_put(r->file);
	free(r);
}

static const struct handle_ops reader_ops = { .read = reader_read, .release = reader_release };

int read_open(struct fs *fs, struct adafs_blob_client *client, const char *container,
	      const char *blob, const char *etag, int64_t size, struct fuse_file_info *fi,
	      struct handle **ret)
{
	struct reader *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->base.ops = &reader_ops;
	r->file = cache_file_get(fs->cache, client, container, blob, etag, size);
	if (!r->file) {
		free(r);
		return -ENOMEM;
	}
	/*
	 * The version is the nodeid's: the pages are right as long as the kernel finds this node.
	 */
	fi->keep_cache = 1;
	*ret = &r->base;
	return 0;
}
