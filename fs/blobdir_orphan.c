/*
 * blobdir_orphan.c - files that somebody has open while this mount takes their name away, by unlink or by a rename over them. Readers
 * go on with a copy on local disk, which is the spool of a file being written that nobody writes: fetched before the name goes,
 * closed by the last reader. Large files are not fetched (wfile_save): their readers get ESTALE.
 */
#include "fs/blobdir_int.h"

#include <errno.h>
#include <string.h>

void blobdir_hold(struct node *dir, const char *name, const struct blob_entry *e, struct wfile **ret)
{
	*ret = NULL;
	struct node *n = node_find(dir->fs, dir, name, e->etag);
	if (!n)
		return;
	adafs_mutex_lock(&wfiles_lock);
	bool wanted = n->ops == &blobdir_file_ops && bnode_of(n)->readers > 0;
	adafs_mutex_unlock(&wfiles_lock);
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *mine = wanted ? bnode_entry(n) : NULL;
	/* Without a spool the readers lose the file, but the name can go. */
	if (mine && wfile_open(n, dir, name, mine, ret))
		*ret = NULL;
	node_unref(n);
}

void blobdir_orphaned(struct wfile *held)
{
	if (!held)
		return;
	adafs_mutex_lock(&wfiles_lock);
	struct bnode *b = bnode_of(held->node);
	bool taken = b->readers > 0 && !b->orphan;
	if (taken)
		b->orphan = held;
	adafs_mutex_unlock(&wfiles_lock);
	if (!taken)
		wfile_close(held);
}

void blobdir_reader_gone(struct node *n)
{
	struct wfile *held = NULL;
	adafs_mutex_lock(&wfiles_lock);
	struct bnode *b = bnode_of(n);
	if (--b->readers == 0) {
		held = b->orphan;
		b->orphan = NULL;
	}
	adafs_mutex_unlock(&wfiles_lock);
	if (held)
		wfile_close(held);
}
