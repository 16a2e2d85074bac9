/* tree/root.c - the mount's root: a table of names, each with the function that gives its node. */
#include "fs/tree/root.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fs/write/spool.h"
#include "fs/tree/tree.h"

/* The children never change: the kernel may keep their names for long. Their attributes are asked
 * for anew. */
#define ENTRY_TIMEOUT_S 3600.0

static const struct root_child {
	const char *name;
	struct node *(*make)(struct fs *fs, struct node *root); /* a reference for the caller */
} children[] = {
	{ "inbox", inbox_root },
	{ "jobs", jobs_root },
	{ "results", results_root },
	{ "rejected", rejected_root },
	{ "containers", containers_root },
	{ "pool", pool_root },
	{ "status.html", status_html_file },
	{ "status.json", status_json_file },
};

static int child_stat(struct call *c, struct node *n, struct child *ret)
{
	int rc = n->ops->getattr(c, n, NULL, &ret->st, &ret->attr_timeout_s);
	if (rc) {
		node_unref(n);
		return rc;
	}
	ret->node = n;
	ret->entry_timeout_s = ENTRY_TIMEOUT_S;
	return 0;
}

static int root_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(children); i++) {
		if (strcmp(children[i].name, name))
			continue;
		struct node *n = children[i].make(c->fs, dir);
		return n ? child_stat(c, n, ret) : -ENOMEM;
	}
	return -ENOENT;
}

static int root_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(children); i++) {
		struct node *n = children[i].make(c->fs, dir);
		if (!n)
			return -ENOMEM;
		mode_t type = n->ops->list ? S_IFDIR : S_IFREG;
		int rc = dirlist_add(ret, children[i].name, n->ino, type, NULL);
		node_unref(n);
		if (rc)
			return rc;
	}
	return 0;
}

static int root_child_of(struct call *c, struct node *dir, const struct dirent_item *item,
			 struct child *ret)
{
	return root_lookup(c, dir, item->name, ret);
}

static int root_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
			double *ret_timeout_s)
{
	(void)c;
	(void)h;
	node_stat(n, S_IFDIR | 0755, 0, n->fs->mounted, ret);
	*ret_timeout_s = ENTRY_TIMEOUT_S;
	return 0;
}

/* What is free is what files being written may still take of the local disk; the account has no
 * end. */
static int root_statfs(struct call *c, struct node *n, struct statvfs *ret)
{
	(void)n;
	uint64_t limit, used;
	spool_space_usage(c->fs->spool, &limit, &used);
	*ret = (struct statvfs){
		.f_bsize = 4096,
		.f_frsize = 4096,
		.f_blocks = limit / 4096,
		.f_bfree = (limit - used) / 4096,
		.f_bavail = (limit - used) / 4096,
		.f_files = UINT32_MAX,
		.f_ffree = UINT32_MAX,
		.f_favail = UINT32_MAX,
		.f_namemax = 255,
	};
	return 0;
}

/* By name only: umount.fuse.adafs waits for this process. */
static int root_getxattr(struct call *c, struct node *n, const char *name, struct adafs_buf *ret)
{
	(void)c;
	(void)n;
	return strcmp(name, "user.adafs.pid") == 0 ? adafs_buf_addf(ret, "%d", (int)getpid())
						   : -ENODATA;
}

static const struct node_ops root_ops = {
	.kind = "root",
	.readonly_errno = EPERM,
	.lookup = root_lookup,
	.list = root_list,
	.child_of = root_child_of,
	.getattr = root_getattr,
	.getxattr = root_getxattr,
	.statfs = root_statfs,
};

struct node *root_new(struct fs *fs)
{
	return node_get(fs, NULL, "", "", &root_ops, 1, NULL);
}
