/* fs/read/read.h - reading a blob of one version: block cache with a hard limit and read-ahead. */
#ifndef ADAFS_FS_READ_READ_H
#define ADAFS_FS_READ_READ_H

#include "fs/kernel/node.h"

/*
 * A read-only handle on (container, blob, etag) of size bytes through client (fs->blob or
 * fs->results). fi gets keep_cache. Texts are copied. 0 or -ENOMEM; never waits.
 */
int read_open(struct fs *fs, struct adafs_blob_client *client, const char *container,
	      const char *blob, const char *etag, int64_t size, struct fuse_file_info *fi,
	      struct handle **ret);

#endif
