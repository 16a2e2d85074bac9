/* fs/fs.h - what one mount shares: settings, clients, foreman, inode table, workers. */
#ifndef ADAFS_FS_FS_H
#define ADAFS_FS_FS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "batch/azure/batch.h"
#include "batch/azure/blob.h"
#include "batch/foreman/foreman.h"
#include "fs/kernel/kernel.h"
#include "fs/program/options.h"

struct blobs;
struct cache;
struct calls;
struct node;
struct node_table;
struct notify;
struct pollers;
struct spool_space;
struct workers;
struct fuse_session;

/*
 * Made by main before the session starts; borrowed by everything below, constant while mounted. The
 * second part is made by session_run.
 */
struct fs {
	const struct options *options;
	struct adafs_http *http;
	struct adafs_blob_client *blob;    /* by account key or the user's SAS */
	struct adafs_blob_client *results; /* same account, reads through a self-made SAS */
	struct adafs_batch_client *batch;
	struct adafs_foreman *foreman;
	const char *container; /* the one with images/, jobs/, merged/ */
	uid_t uid;
	gid_t gid;
	time_t mounted;  /* mtime of synthetic directories that never change */
	char *spool_dir; /* private directory for files being written */

	struct node_table *nodes;
	struct node *root;
	struct workers *workers;
	struct calls *calls;       /* requests of the kernel that wait */
	unsigned n_writers;        /* atomic: handles of files that are open for writing */
	struct handles *handles;   /* files that are open */
	struct pollers *pollers;   /* who waits for files to grow */
	struct cache *cache;       /* blocks that were read */
	struct spool_space *spool; /* what files being written take of the disk */
	struct blobs *blobs;       /* listings of directories of blobs, files being written */
	struct notify *notify;     /* what the kernel is told by itself */
	struct fuse_session *session;
	struct kernel_init init;
	bool ending;   /* atomic: a signal has asked for the end; nothing more is opened for writing
			*/
	bool detached; /* session.c's */
};

#endif
