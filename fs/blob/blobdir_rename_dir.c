/*
 * blobdir_rename_dir.c - rename of a directory: blob by blob up to MAX_MOVED of them, above that
 * mv(1) is told to copy (EXDEV). Blobs that cannot be shown as files go along. A failure in the
 * middle leaves blobs at both places, each whole at one of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/log.h"
#include "fs/blob/blobdir_rename.h"
#include "fs/blob/names.h"

#define MAX_MOVED 100

struct moving {
	size_t n;
	char *blob[MAX_MOVED];
	struct adafs_blob_props props[MAX_MOVED];
	struct blob_entry *moved[MAX_MOVED]; /* what it is at its new place */
	struct hold hold[MAX_MOVED];         /* its node, if the kernel has one */
};

static void moving_clear(struct moving *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->blob[i]);
		adafs_blob_props_clear(&m->props[i]);
		blob_entry_unref(m->moved[i]);
		blobdir_let_go(&m->hold[i], false);
	}
}

static int on_moving(void *arg, const char *name, const struct adafs_blob_props *props)
{
	struct moving *m = arg;
	if (m->n == MAX_MOVED)
		return -EXDEV;
	struct adafs_blob_props copy = *props;
	copy.meta = (struct adafs_blob_meta){ 0 };
	char *blob = strdup(name);
	if (!blob || adafs_blob_meta_copy(&copy.meta, &props->meta)) {
		free(blob);
		return -ENOMEM;
	}
	m->blob[m->n] = blob;
	m->props[m->n++] = copy;
	return 0;
}

/* Before anything is moved: nothing that is known now is to end it halfway. What has an odd name
 * keeps it. */
static int check_moving(const struct place *from, const struct place *to, const struct moving *list,
			struct adafs_err *reterr)
{
	size_t skip = strlen(from->blob);
	for (size_t i = 0; i < list->n; i++) {
		ADAFS_FREE char *target = adafs_fmt("%s%s", to->blob, list->blob[i] + skip);
		int rc = target ? names_check_length(target) : -ENOMEM;
		if (rc)
			return adafs_err_set(reterr, rc, "'%s' cannot move", list->blob[i]);
		if (list->props[i].archived)
			return adafs_err_set(reterr, -EIO, "'%s' is archived: rehydrate it first",
					     list->blob[i]);
	}
	return 0;
}

/* The node that the kernel may have of a version of a file; path is below top. With a reference;
 * NULL: none. */
static struct node *node_below(struct node *top, const char *path, const char *etag)
{
	struct node *dir = top ? node_ref(top) : NULL;
	const char *slash;
	while (dir && (slash = strchr(path, '/'))) {
		ADAFS_FREE char *name = strndup(path, (size_t)(slash - path));
		struct node *next = name ? node_find(top->fs, dir, name, "") : NULL;
		node_unref(dir);
		dir = next && next->ops == &blobdir_dir_ops ? next : NULL;
		if (next && !dir)
			node_unref(next);
		path = slash + 1;
	}
	struct node *n = dir && *path ? node_find(top->fs, dir, path, etag) : NULL;
	node_unref(dir);
	return n;
}

/*
 * The kernel's nodes have new versions, so that files that are open go on. Only now that their
 * directory has its new name: a reader takes name and ETag together.
 */
static void follow_all(struct moving *list)
{
	for (size_t i = 0; i < list->n; i++) {
		struct node *n = list->hold[i].node;
		const struct blob_entry *e = list->moved[i];
		if (!n || !e)
			continue;
		struct node *dir = node_parent(n);
		/* Without memory it stays what it was: stale, not wrong. */
		if (node_move(n, dir, e->name, e->etag))
			adafs_log(WARN, "fs", "'%s' has moved: its open files are stale", e->name);
		else
			bnode_set_entry(n, list->moved[i]);
		node_unref(dir);
	}
}

static int move_all(struct call *c, struct place *from, struct place *to, struct moving *list,
		    struct node *top, struct adafs_err *reterr)
{
	size_t skip = strlen(from->blob);
	for (size_t i = 0; i < list->n; i++) {
		ADAFS_FREE char *target = adafs_fmt("%s%s", to->blob, list->blob[i] + skip);
		const struct move m = { .call = c,
					.from = from->view,
					.to = to->view,
					.old_blob = list->blob[i],
					.new_blob = target };
		struct node *n = node_below(top, list->blob[i] + skip + 1, list->props[i].etag);
		blobdir_hold(n, NULL, false, &list->hold[i]);
		node_unref(n);
		int rc = target ? rename_blob(&m, &list->props[i], &list->moved[i], reterr)
				: -ENOMEM;
		if (rc && i)
			adafs_log(ERROR, "fs", "'%s': %zu of %zu blobs have moved to '%s'",
				  from->blob, i, list->n, to->blob);
		if (rc)
			return rc;
	}
	return 0;
}

/* The marker `dir` stands beside the blobs below "dir/". */
static int move_marker(struct call *c, struct place *from, struct place *to,
		       struct blob_entry **ret, struct adafs_err *reterr)
{
	struct adafs_blob_props props;
	const struct move m = { .call = c,
				.from = from->view,
				.to = to->view,
				.old_blob = from->blob,
				.new_blob = to->blob };
	int rc = blob_entry_props(from->entry, &props);
	if (rc)
		return rc;
	rc = rename_blob(&m, &props, ret, reterr);
	adafs_blob_props_clear(&props);
	return rc;
}

static int check_target_dir(struct call *c, const struct place *to, bool no_replace)
{
	struct blob_list names = { 0 };
	struct adafs_err err = { 0 };
	if (to->w)
		return -ENOTDIR;
	if (!to->entry)
		return 0;
	if (no_replace)
		return -EEXIST;
	if (!to->entry->is_dir)
		return -ENOTDIR;
	ADAFS_FREE char *below = adafs_fmt("%s/", to->blob);
	struct node *n = node_find(c->fs, to->dir, to->name, "");
	bool written = n && wfile_any_below(n);
	node_unref(n);
	if (!below)
		return -ENOMEM;
	if (written)
		return -ENOTEMPTY;
	blobs_forget(c->fs->blobs, to->view->container, below, false);
	int rc = blobs_list(c->fs->blobs, to->view->container, below, true, &names, &err);
	bool empty = names.n == 0;
	blob_list_clear(&names);
	return rc ? rc : empty ? 0 : -ENOTEMPTY;
}

int rename_dir(struct call *c, struct place *from, struct place *to, bool no_replace)
{
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *marker = NULL;
	ADAFS_FREE char *below = adafs_fmt("%s/", from->blob),
			*new_below = adafs_fmt("%s/", to->blob);
	ADAFS_FREE struct moving *list = calloc(1, sizeof(*list));
	struct adafs_err err = { 0 };
	if (!below || !new_below || !list)
		return -ENOMEM;
	if (!strncmp(to->blob, below, strlen(below)))
		return -EINVAL;
	int rc = check_target_dir(c, to, no_replace);
	struct node *n = node_find(c->fs, from->dir, from->name, "");
	/* Files being written below would have to move with their blocks. */
	if (!rc && n && wfile_any_below(n))
		rc = -EXDEV;
	if (!rc)
		rc = adafs_blob_list(c->fs->blob, from->view->container, below, NULL,
				     ADAFS_LIST_META, on_moving, list, &err);
	if (!rc)
		rc = check_moving(from, to, list, &err);
	if (!rc)
		rc = move_all(c, from, to, list, n, &err);
	if (!rc && from->entry->marker)
		rc = move_marker(c, from, to, &marker, &err);
	blobs_forget(c->fs->blobs, from->view->container, below, true);
	blobs_forget(c->fs->blobs, to->view->container, new_below, true);
	if (!rc) {
		if (!marker)
			marker = blob_entry_new(to->name, NULL);
		blobdir_uncover(c, from->view, from->prefix, from->name, from->entry);
		blobs_put(c->fs->blobs, to->view->container, to->prefix, to->name, marker);
		rc = rename_node(from->dir, from->name, "", to->dir, to->name, marker);
		follow_all(list);
		blobdir_keep(from->dir);
	}
	moving_clear(list);
	node_unref(n);
	return rc == -EXDEV ? rc
			    : blobdir_log(rc, "rename", from->view->container, from->blob, &err);
}
