/*
 * tree/containers.c - containers/: one directory a blob container, below it its blobs. The list of
 * containers is asked for anew after attr_timeout. Credentials that may not list (a SAS of one
 * container) show the mount's own.
 */
#include "fs/tree/containers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/azure/sas_rights.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"
#include "fs/blob/blobdir.h"
#include "fs/blob/names.h"

static const struct blobdir_policy plain = { .kind = "containers", .links = true };

struct containers {
	/* Of the container that the mount works in: images that go are missed by their jobs. */
	struct blobdir_policy own;
	struct adafs_mutex lock;
	char **name;
	size_t n;
	uint64_t loaded_ms; /* 0: never, or no longer right */
	uint64_t changes;   /* own mkdir and rmdir */
};

static void names_clear(char **name, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(name[i]);
	free(name);
}

static void containers_free(void *data)
{
	struct containers *c = data;
	names_clear(c->name, c->n);
	adafs_mutex_clear(&c->lock);
	free(c);
}

struct found {
	char **name;
	size_t n;
};

static int on_container(void *arg, const char *name, const struct adafs_blob_props *props)
{
	(void)props;
	struct found *f = arg;
	char **grown = reallocarray(f->name, f->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	f->name = grown;
	f->name[f->n] = strdup(name);
	return f->name[f->n] ? (f->n++, 0) : -ENOMEM;
}

static bool fresh_locked(const struct fs *fs, const struct containers *t)
{
	uint64_t timeout_ms = (uint64_t)(fs->options->attr_timeout_s * 1000);
	return t->loaded_ms && adafs_clock_mono_ms() - t->loaded_ms < timeout_ms;
}

/* Whether to ask at all: a SAS tells by its text, of a role in one container only the service
 * knows. */
static bool may_list(const struct fs *fs)
{
	const char *sas = fs->options->storage.sas;
	struct adafs_sas_rights rights;

	return !sas || (adafs_sas_rights_parse(sas, &rights, NULL) == 0 && rights.account &&
			strchr(rights.types, 's'));
}

static int load(struct fs *fs, struct containers *t)
{
	struct found f = { 0 };
	struct adafs_err err = { 0 };
	adafs_mutex_lock(&t->lock);
	uint64_t changes = t->changes, now = adafs_clock_mono_ms();
	adafs_mutex_unlock(&t->lock);
	int rc = may_list(fs) ? adafs_blob_container_list(fs->blob, on_container, &f, &err)
			      : -EACCES;
	if (rc == -EACCES)
		rc = on_container(&f, fs->container, NULL);
	if (rc) {
		adafs_log(WARN, "fs", "listing containers failed: %s", err.msg);
		names_clear(f.name, f.n);
		return rc;
	}
	adafs_mutex_lock(&t->lock);
	char **old = t->name;
	size_t old_n = t->n;
	t->name = f.name;
	t->n = f.n;
	/* One that was made or removed meanwhile may be wrong in it: right for this call, asked for
	 * again by the next. */
	t->loaded_ms = changes == t->changes ? now : 0;
	adafs_mutex_unlock(&t->lock);
	names_clear(old, old_n);
	return 0;
}

static int refresh(struct call *c, struct containers *t)
{
	adafs_mutex_lock(&t->lock);
	bool fresh = fresh_locked(c->fs, t);
	adafs_mutex_unlock(&t->lock);
	if (fresh)
		return 0;
	return c->may_wait ? load(c->fs, t) : -EWOULDBLOCK;
}

static bool known(struct containers *t, const char *name)
{
	bool found = false;
	adafs_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->n && !found; i++)
		found = !strcmp(t->name[i], name);
	adafs_mutex_unlock(&t->lock);
	return found;
}

static void changed(struct containers *t)
{
	adafs_mutex_lock(&t->lock);
	t->loaded_ms = 0;
	t->changes++;
	adafs_mutex_unlock(&t->lock);
}

static int make_child(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	const struct containers *t = dir->data;
	bool own = !strcmp(name, c->fs->container);
	struct node *n = blobdir_root(c->fs, dir, name, name, "", own ? &t->own : &plain);
	if (!n)
		return -ENOMEM;
	*ret = (struct child){ .node = n };
	ret->entry_timeout_s = c->fs->options->attr_timeout_s;
	return n->ops->getattr(c, n, NULL, &ret->st, &ret->attr_timeout_s);
}

static int containers_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	if (names_check_container(name) && strcmp(name, "$logs") && strcmp(name, "$root"))
		return -ENOENT;
	int rc = refresh(c, dir->data);
	if (rc)
		return rc;
	return known(dir->data, name) ? make_child(c, dir, name, ret) : -ENOENT;
}

static int containers_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	struct containers *t = dir->data;
	int rc = refresh(c, t);
	if (rc)
		return rc;
	adafs_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->n && !rc; i++) {
		ADAFS_FREE char *identity = adafs_fmt("blob/%s/", t->name[i]);
		rc = identity ? dirlist_add(ret, t->name[i], node_ino(identity), S_IFDIR, NULL)
			      : -ENOMEM;
	}
	adafs_mutex_unlock(&t->lock);
	return rc;
}

static int containers_child_of(struct call *c, struct node *dir, const struct dirent_item *item,
			       struct child *ret)
{
	return make_child(c, dir, item->name, ret);
}

static int containers_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
			      double *ret_timeout_s)
{
	(void)h;
	node_stat(n, S_IFDIR | 0755, 0, n->fs->mounted, ret);
	*ret_timeout_s = c->fs->options->attr_timeout_s;
	return 0;
}

static int containers_mkdir(struct call *c, struct node *dir, const char *name, mode_t mode,
			    struct child *ret)
{
	(void)mode;
	struct adafs_err err = { 0 };
	int rc = names_check_container(name);
	if (rc)
		return rc;
	if (c->fs->options->read_only)
		return -EROFS;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	rc = adafs_blob_container_create(c->fs->blob, name, &err);
	if (rc) {
		if (rc != -EEXIST)
			adafs_log(WARN, "fs", "making container '%s' failed: %s", name, err.msg);
		return rc;
	}
	changed(dir->data);
	return make_child(c, dir, name, ret);
}

static int on_any(void *arg, const char *name, const struct adafs_blob_props *props)
{
	(void)name;
	(void)props;
	*(bool *)arg = true;
	return 0;
}

/* Delete Container takes its blobs along, so it must have none. Somebody who adds one in between
 * loses it. */
static int containers_rmdir(struct call *c, struct node *dir, const char *name)
{
	struct adafs_err err = { 0 };
	bool any = false;
	if (c->fs->options->read_only)
		return -EROFS;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	int rc = adafs_blob_list_some(c->fs->blob, name, "", NULL, 0, 1, on_any, &any, &err);
	if (!rc && any)
		return -ENOTEMPTY;
	if (!rc && !strcmp(name, c->fs->container))
		return -EBUSY; /* the mount itself works in it */
	if (!rc)
		rc = adafs_blob_container_delete(c->fs->blob, name, &err);
	if (rc)
		adafs_log(WARN, "fs", "removing container '%s' failed: %s", name, err.msg);
	else
		changed(dir->data);
	return rc;
}

static const struct node_ops containers_ops = {
	.kind = "containers",
	.readonly_errno = EPERM,
	.lookup = containers_lookup,
	.list = containers_list,
	.child_of = containers_child_of,
	.getattr = containers_getattr,
	.mkdir = containers_mkdir,
	.rmdir = containers_rmdir,
	.free_data = containers_free,
};

static void image_removed(void *arg, const char *blob)
{
	const struct fs *fs = arg;
	if (!strncmp(blob, "images/", 7))
		adafs_foreman_forget(fs->foreman, blob);
}

static void image_renamed(void *arg, const char *old_blob, const char *new_blob,
			  const struct adafs_blob_props *props)
{
	(void)new_blob;
	(void)props;
	image_removed(arg, old_blob);
}

struct node *containers_root(struct fs *fs, struct node *root)
{
	struct containers *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	adafs_mutex_init(&t->lock, ADAFS_RANK_TREE);
	t->own = plain;
	t->own.removed = image_removed;
	t->own.renamed = image_renamed;
	t->own.arg = fs;
	struct node *n =
		node_get(fs, root, "containers", "", &containers_ops, node_ino("containers"), t);
	/* The first to make it leaves a reference for good: what is below borrows the policy. */
	return n && n->data == t ? node_ref(n) : n;
}
