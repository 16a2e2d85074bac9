/*
 * fs/tree/events.h - a directory of events over a prefix of blobs: "<prefix><event>/..." are its
 * directories, and the files of the event `default` stand in it directly. inbox/ and rejected/ are such.
 */
#ifndef ADAFS_FS_TREE_EVENTS_H
#define ADAFS_FS_TREE_EVENTS_H

#include "fs/blobdir.h"

#define EVENT_DEFAULT "default"

/* What a policy's calls get: paths are relative to prefix. Borrowed for the life of the mount. */
struct events_view {
	struct fs *fs;
	const char *prefix; /* "images/" or "images/default/" */
};
/* The whole blob name of a path; free() it. NULL: out of memory. */
char *events_blob(const struct events_view *v, const char *path);

/* A blob of the view was made: so are the directories that lead to the view, which others may show. */
void events_made(const struct events_view *v);

/*
 * The directory `name` over container fs->container. prefix and default_prefix are static texts; policy is copied, and its arg
 * is set to the view that is meant. A reference for the caller; NULL: out of memory.
 */
struct node *events_root(struct fs *fs, struct node *root, const char *name, const char *prefix,
			 const char *default_prefix, const struct blobdir_policy *policy);

#endif
