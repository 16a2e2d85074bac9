/*
 * fs/tree/events.h - a directory of events over a prefix of blobs: "<prefix><event>/..." are its
 * directories, and the files of the event `default` stand in it directly. inbox/ and rejected/ are
 * such.
 */
#ifndef ADAFS_FS_TREE_EVENTS_H
#define ADAFS_FS_TREE_EVENTS_H

#include "batch/base/mutex.h"
#include "fs/blob/blobdir.h"

#define EVENT_DEFAULT "default"

/* Which job an image belongs to: the foreman's view, ordered by image. Shared by both views of a
 * directory. */
struct events_index {
	struct adafs_mutex lock; /* rank LEAF */
	struct adafs_view *view; /* a reference; NULL: none yet */
	struct events_image {
		const char *blob;
		const struct adafs_job_view *job;
	} * image; /* of the newest jobs, sorted by blob */
	size_t n;
};
/* Take the foreman's newest view. The lock is held until events_index_unlock; NULL: out of memory,
 * and no lock. */
const struct adafs_view *events_index_lock(struct events_index *x, struct fs *fs);
void events_index_unlock(struct events_index *x);
/* The newest job of an image, or NULL. */
const struct adafs_job_view *events_index_job(const struct events_index *x, const char *blob);
/* All newest jobs that read an image, *ret_n of them from the one returned: of a grid it may have
 * several. */
const struct events_image *events_index_jobs(const struct events_index *x, const char *blob,
					     size_t *ret_n);

/* What a policy's calls get: paths are relative to prefix. Borrowed for the life of the mount. */
struct events_view {
	struct fs *fs;
	const char *prefix; /* "images/" or "images/default/" */
	struct events_index *index;
};
/* The whole blob name of a path; free() it. NULL: out of memory. */
char *events_blob(const struct events_view *v, const char *path);

/*
 * A blob of the view was made: so are the directories that lead to the view, which others may show.
 */
void events_made(const struct events_view *v);

/*
 * The directory `name` over container fs->container. prefix and default_prefix are static texts;
 * policy is copied, and its arg is set to the view that is meant. A reference for the caller; NULL:
 * out of memory.
 */
struct node *events_root(struct fs *fs, struct node *root, const char *name, const char *prefix,
			 const char *default_prefix, const struct blobdir_policy *policy);

#endif
