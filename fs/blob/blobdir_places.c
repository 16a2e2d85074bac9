/*
 * blobdir_places.c - where in the tree the directory of a blob is shown, as far as somebody looked
 * there: below containers/, and below inbox/ or rejected/. The views of these two are nodes that
 * the kernel does not know: to it, their names are in the directory above them.
 */
#include <stdlib.h>
#include <string.h>

#include "fs/blob/blobdir_int.h"
#include "fs/tree/inbox.h"

/*
 * The directory below a view's root that holds the names of prefix, with a reference; NULL: nobody
 * looked there.
 */
static struct node *find_dir(struct fs *fs, struct node *root, const char *prefix)
{
	const struct view *v = bnode_of(root)->view;
	size_t skip = strlen(v->prefix);
	if (strncmp(prefix, v->prefix, skip))
		return NULL;
	struct node *at = node_ref(root);
	for (const char *p = prefix + skip, *slash; at && (slash = strchr(p, '/')); p = slash + 1) {
		ADAFS_FREE char *segment = strndup(p, (size_t)(slash - p));
		struct node *next = segment ? node_find(fs, at, segment, "") : NULL;
		node_unref(at);
		at = next;
	}
	return at;
}

static void try_view(struct fs *fs, struct node *parent, const char *name, const char *container,
		     const char *prefix, blobdir_place_fn *fn, void *arg)
{
	struct node *root = node_find(fs, parent, name, "");
	bool is_view = root && root->ops == &blobdir_dir_ops &&
		       !strcmp(bnode_of(root)->view->container, container);
	struct node *dir = is_view ? find_dir(fs, root, prefix) : NULL;
	if (dir)
		fn(arg, dir, dir == root && *name == '/' ? parent : dir);
	node_unref(dir);
	node_unref(root);
}

static const struct {
	const char *name, *prefix;
} events[] = { { "inbox", INBOX_PREFIX }, { "rejected", REJECTED_PREFIX } };

bool blobdir_shown_twice(const struct fs *fs, const char *container, const char *prefix)
{
	bool twice = false;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(events) && !twice; i++)
		twice = !strncmp(prefix, events[i].prefix, strlen(events[i].prefix));
	return twice && !strcmp(container, fs->container);
}

void blobdir_each_place(struct fs *fs, const char *container, const char *prefix,
			blobdir_place_fn *fn, void *arg)
{
	struct node *containers = node_find(fs, fs->root, "containers", "");
	if (containers)
		try_view(fs, containers, container, container, prefix, fn, arg);
	node_unref(containers);
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(events); i++) {
		struct node *dir = node_find(fs, fs->root, events[i].name, "");
		if (!dir)
			continue;
		try_view(fs, dir, "/events", container, prefix, fn, arg);
		try_view(fs, dir, "/files", container, prefix, fn, arg);
		node_unref(dir);
	}
}
