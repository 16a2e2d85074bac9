/*
 * blobdir_orphan.c - files that somebody has open while this mount takes their name away, by unlink
 * or by a rename over them. Readers go on with a copy on local disk, which is the spool of a file
 * being written that nobody writes: fetched before the name goes, closed by the last reader. Large
 * files are not fetched (wfile_save): their readers get ESTALE.
 */
#include "fs/blob/blobdir_int.h"

#include <errno.h>
#include <string.h>

/* Somebody's name has gone or stays; see blobdir_await. */
static struct adafs_cond decided = { .cond = PTHREAD_COND_INITIALIZER };

/* Open it once more for its readers. Without a spool they lose the file, but the name can go. */
static void hold_content(struct hold *h)
{
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *mine = bnode_entry(h->node);
	struct node *dir = node_parent(h->node);
	if (mine && wfile_open(h->node, dir, h->node->name, mine, &h->w))
		h->w = NULL;
	node_unref(dir);
}

void blobdir_hold(struct node *n, struct wfile *w, bool keep, struct hold *ret)
{
	*ret = (struct hold){ 0 };
	if (!n || n->ops != &blobdir_file_ops)
		return;
	ret->node = node_ref(n);
	adafs_mutex_lock(&wfiles_lock);
	bnode_of(n)->leaving++;
	bool read = bnode_of(n)->readers > 0;
	adafs_mutex_unlock(&wfiles_lock);
	if (keep && w)
		ret->w = wfile_share(w);
	else if (keep && read)
		hold_content(ret);
}

void blobdir_let_go(struct hold *h, bool gone)
{
	if (!h->node)
		return;
	struct bnode *b = bnode_of(h->node);
	adafs_mutex_lock(&wfiles_lock);
	b->leaving--;
	if (gone && h->w && b->readers && !b->orphan)
		b->orphan = ADAFS_STEAL(h->w);
	adafs_cond_broadcast(&decided);
	adafs_mutex_unlock(&wfiles_lock);
	if (h->w)
		wfile_close(h->w);
	node_unref(h->node);
	*h = (struct hold){ 0 };
}

int blobdir_await(struct call *c, struct node *n, bool *ret_waited)
{
	*ret_waited = false;
	adafs_mutex_lock(&wfiles_lock);
	int rc = bnode_of(n)->leaving && !c->may_wait ? -EWOULDBLOCK : 0;
	while (!rc && bnode_of(n)->leaving) {
		*ret_waited = true;
		adafs_cond_wait(&decided, &wfiles_lock);
	}
	adafs_mutex_unlock(&wfiles_lock);
	return rc;
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
