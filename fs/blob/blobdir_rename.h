/* fs/blob/blobdir_rename.h - what renames of files and of directories share: blobdir_rename.c,
 * blobdir_rename_dir.c. */
#ifndef ADAFS_FS_BLOB_BLOBDIR_RENAME_H
#define ADAFS_FS_BLOB_BLOBDIR_RENAME_H

#include "fs/blob/blobdir_int.h"

/* One blob on its way. */
struct move {
	struct call *call;
	const struct view *from, *to;
	const char *old_blob, *new_blob;
	bool no_replace;
};

/*
 * Copy and delete one blob; *ret_entry is the new one. props are the source's. The policy may
 * refuse or give the new blob other metadata.
 */
int rename_blob(const struct move *m, const struct adafs_blob_props *props,
		struct blob_entry **ret_entry, struct adafs_err *reterr);

/* Where a rename comes from or goes to. */
struct place {
	struct node *dir;
	const char *name;
	const struct view *view;
	char *prefix, *blob;
	struct blob_entry *entry; /* what the service has there; NULL: nothing */
	struct wfile *w;          /* open for writing; NULL: not */
	struct hold hold;         /* of what loses its name */
};

/*
 * The kernel's node of a version moves with it, so that an open file and the page cache stay valid.
 */
int rename_node(struct node *dir, const char *name, const char *version, struct node *newdir,
		const char *newname, struct blob_entry *e);
/* A directory with all below it, up to a number that rename(2) may wait for. -EXDEV: more, or files
 * being written. */
int rename_dir(struct call *c, struct place *from, struct place *to, bool no_replace);

#endif
