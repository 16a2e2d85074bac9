/* blobdir_extra.c - the one file of a directory that is no blob, as the view's policy gives it. */
#include <errno.h>
#include <string.h>

#include "fs/blob/blobdir_int.h"

bool blobdir_extra_name(const struct node *dir, const char *name)
{
	const char *extra = bnode_of(dir)->view->policy->extra_name;
	return extra && strcmp(extra, name) == 0;
}

struct node *blobdir_extra(struct node *dir, bool *ret_listed)
{
	const struct view *v = bnode_of(dir)->view;
	*ret_listed = false;
	errno = 0;
	if (!v->policy->extra)
		return NULL;
	ADAFS_FREE char *prefix = blobdir_prefix(dir);
	if (!prefix) {
		errno = ENOMEM;
		return NULL;
	}
	size_t len = strlen(prefix);
	if (len > strlen(v->prefix)) /* the directory's own slash */
		prefix[len - 1] = 0;
	return v->policy->extra(v->policy->arg, dir, blobdir_shown_path(v, prefix), ret_listed);
}

bool blobdir_has_extra(struct node *dir, bool listed)
{
	bool is_listed;
	struct node *n = blobdir_extra(dir, &is_listed);
	node_unref(n);
	return n && (is_listed || !listed);
}

int blobdir_extra_child(struct call *c, struct node *dir, bool listed, struct child *ret)
{
	struct child child = { 0 };
	bool is_listed;
	child.node = blobdir_extra(dir, &is_listed);
	if (!child.node || (listed && !is_listed)) {
		int rc = !child.node && errno ? -errno : -ENOENT;
		node_unref(child.node);
		return rc;
	}
	int rc = child.node->ops->getattr(c, child.node, NULL, &child.st, &child.attr_timeout_s);
	if (rc) {
		node_unref(child.node);
		return rc;
	}
	*ret = child;
	return 0;
}

int blobdir_list_extra(struct node *dir, struct dirlist *to)
{
	bool listed;
	struct node *n = blobdir_extra(dir, &listed);
	int rc = !n && errno ? -errno : 0;
	if (n && listed)
		rc = dirlist_add(to, bnode_of(dir)->view->policy->extra_name, n->ino, S_IFREG,
				 NULL);
	node_unref(n);
	return rc;
}
