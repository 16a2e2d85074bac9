/*
 * fs/tree/events.c - two views of blobs shown as one directory. The kernel knows the directory R;
 * what it asks of R goes to the view of all events when it is about a directory, and to the view of
 * the event `default` when it is about a file. Both views are nodes below R that the kernel never
 * sees.
 */
#include "fs/tree/events.h"

#include <errno.h>
#include <string.h>

#include "fs/blob/blobs.h"
#include "fs/tree/synth.h"

/* The data of R, which stays for the life of the mount: policies are borrowed for as long. */
struct events {
	struct events_view all, files;
	struct blobdir_policy all_policy, files_policy;
	struct events_index index;
};

static const struct node_ops events_ops;

char *events_blob(const struct events_view *v, const char *path)
{
	return adafs_fmt("%s%s", v->prefix, path);
}

void events_made(const struct events_view *v)
{
	ADAFS_FREE char *prefix = strdup(v->prefix);

	/* "images/default/": then "default" is in "images/", and "images" in "". */
	for (char *slash; prefix && (slash = strrchr(prefix, '/'));) {
		*slash = '\0';
		char *parent = strrchr(prefix, '/');
		ADAFS_FREE char *name = strdup(parent ? parent + 1 : prefix);
		ADAFS_FREE char *dir = strndup(prefix, parent ? (size_t)(parent - prefix) + 1 : 0);
		bool known = false;
		if (!name || !dir)
			return;
		ADAFS_CLEANUP(blob_entry_unrefp)
		struct blob_entry *e =
			blobs_peek(v->fs->blobs, v->fs->container, dir, name, &known);
		ADAFS_CLEANUP(blob_entry_unrefp)
		struct blob_entry *made = known && !e ? blob_entry_new(name, NULL) : NULL;
		if (made)
			blobs_put(v->fs->blobs, v->fs->container, dir, name, made);
	}
}

/* --- the index ---------------------------------------------------------------------------- */

/* Of an image in several jobs the first is one that runs, else one that failed. */
static int weight(const struct adafs_job_view *job)
{
	switch (job->state) {
	case ADAFS_STATE_COMPLETED:
	case ADAFS_STATE_EMPTY:
	case ADAFS_STATE_CANCELLED:
		return 0;
	case ADAFS_STATE_FAILED:
		return 1;
	default:
		return 2;
	}
}

static int by_blob(const void *a, const void *b)
{
	const struct events_image *x = a, *y = b;
	int order = strcmp(x->blob, y->blob);

	if (order == 0)
		order = weight(y->job) - weight(x->job);
	return order ? order : strcmp(x->job->id, y->job->id);
}

static int index_fill(struct events_index *x, const struct adafs_view *view)
{
	size_t n = 0;

	for (size_t i = 0; i < view->n_jobs; i++)
		n += view->jobs[i].newest ? view->jobs[i].n_images : 0;
	struct events_image *image = calloc(n + 1, sizeof(*image));
	if (!image)
		return -ENOMEM;
	free(x->image);
	x->image = image;
	x->n = n;
	for (size_t i = 0; i < view->n_jobs; i++)
		for (size_t k = 0; view->jobs[i].newest && k < view->jobs[i].n_images; k++)
			*image++ = (struct events_image){ view->jobs[i].images[k], &view->jobs[i] };
	qsort(x->image, n, sizeof(*x->image), by_blob);
	return 0;
}

/* The lock is held after it unless the answer is NULL. */
ADAFS_UNCHECKED const struct adafs_view *events_index_lock(struct events_index *x, struct fs *fs)
{
	struct adafs_view *view = adafs_foreman_view(fs->foreman), *old = view;
	int rc = 0;

	adafs_mutex_lock(&x->lock);
	if (!x->view || view->generation > x->view->generation) {
		rc = index_fill(x, view);
		if (rc == 0) {
			old = x->view;
			x->view = view;
		}
	}
	if (rc < 0)
		adafs_mutex_unlock(&x->lock);
	if (old)
		adafs_view_unref(old);
	return rc < 0 ? NULL : x->view;
}

void events_index_unlock(struct events_index *x)
{
	adafs_mutex_unlock(&x->lock);
}

const struct events_image *events_index_jobs(const struct events_index *x, const char *blob,
					     size_t *ret_n)
{
	size_t low = 0, high = x->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (strcmp(x->image[mid].blob, blob) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*ret_n = 0;
	while (low + *ret_n < x->n && strcmp(x->image[low + *ret_n].blob, blob) == 0)
		++*ret_n;
	return &x->image[low];
}

const struct adafs_job_view *events_index_job(const struct events_index *x, const char *blob)
{
	size_t n;
	const struct events_image *found = events_index_jobs(x, blob, &n);

	return n ? found->job : NULL;
}

/* --- the directory ------------------------------------------------------------------------ */

static void node_unrefp(struct node **n)
{
	if (*n)
		node_unref(*n);
}
#define NODE_REF ADAFS_CLEANUP(node_unrefp) struct node

static struct node *all_view(struct node *dir)
{
	const struct events *e = dir->data;

	return blobdir_root(dir->fs, dir, "/events", dir->fs->container, e->all.prefix,
			    &e->all_policy);
}

static struct node *files_view(struct node *dir)
{
	const struct events *e = dir->data;

	return blobdir_root(dir->fs, dir, "/files", dir->fs->container, e->files.prefix,
			    &e->files_policy);
}

/* A child of one of both views if it is a directory, or is none, as wanted. */
static int lookup_type(struct call *c, struct node *view, const char *name, bool want_dir,
		       struct child *ret)
{
	struct child child;
	int rc = view->ops->lookup(c, view, name, &child);

	if (rc < 0)
		return rc;
	if (S_ISDIR(child.st.st_mode) != want_dir) {
		node_unref(child.node);
		return -ENOENT;
	}
	*ret = child;
	return 0;
}

static int events_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	NODE_REF *all = all_view(dir), *files = files_view(dir);

	if (!all || !files)
		return -ENOMEM;
	int rc = lookup_type(c, files, name, false, ret);
	return rc == -ENOENT ? lookup_type(c, all, name, true, ret) : rc;
}

/* Move the items of a listing that are (or are not) directories; `skip` is left out. */
static int take_items(struct dirlist *from, bool want_dir, const char *skip, struct dirlist *to)
{
	for (size_t i = 0; i < from->n; i++) {
		struct dirent_item *item = &from->item[i];
		if (S_ISDIR(item->mode) != want_dir || (skip && strcmp(item->name, skip) == 0))
			continue;
		int rc = dirlist_add(to, item->name, item->ino, item->mode, NULL);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int events_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	ADAFS_CLEANUP(dirlist_clear) struct dirlist dirs = { 0 }, files = { 0 };
	NODE_REF *all = all_view(dir), *own = files_view(dir);

	if (!all || !own)
		return -ENOMEM;
	int rc = all->ops->list(c, all, &dirs);
	if (rc == 0)
		rc = own->ops->list(c, own, &files);
	if (rc < 0)
		return rc;
	/* `default` is only worth a line when it has directories, which are nowhere else. */
	bool nested = false;
	for (size_t i = 0; i < files.n; i++)
		nested = nested || S_ISDIR(files.item[i].mode);
	rc = take_items(&dirs, true, nested ? NULL : EVENT_DEFAULT, ret);
	return rc < 0 ? rc : take_items(&files, false, NULL, ret);
}

static int events_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
			  double *ret_timeout_s)
{
	(void)c;
	(void)h;
	node_stat(n, S_IFDIR | 0755, 0, n->fs->mounted, ret);
	*ret_timeout_s = n->fs->options->attr_timeout_s;
	return 0;
}

static int events_create(struct call *c, struct node *dir, const char *name, mode_t mode,
			 struct fuse_file_info *fi, struct child *ret, struct handle **ret_handle)
{
	NODE_REF *files = files_view(dir);

	return files ? files->ops->create(c, files, name, mode, fi, ret, ret_handle) : -ENOMEM;
}

/* A copy of a tree sets the time of its top: accepted, and not kept. */
static int events_setattr(struct call *c, struct node *n, struct handle *h, const struct stat *st,
			  int to_set, struct stat *ret)
{
	double timeout_s;

	(void)st;
	(void)to_set;
	return c->fs->options->read_only ? -EROFS : events_getattr(c, n, h, ret, &timeout_s);
}

static int events_symlink(struct call *c, struct node *dir, const char *target, const char *name,
			  struct child *ret)
{
	NODE_REF *files = files_view(dir);

	return files ? files->ops->symlink(c, files, target, name, ret) : -ENOMEM;
}

static int events_mkdir(struct call *c, struct node *dir, const char *name, mode_t mode,
			struct child *ret)
{
	NODE_REF *all = all_view(dir);

	return all ? all->ops->mkdir(c, all, name, mode, ret) : -ENOMEM;
}

static int events_unlink(struct call *c, struct node *dir, const char *name)
{
	NODE_REF *files = files_view(dir);

	return files ? files->ops->unlink(c, files, name) : -ENOMEM;
}

static int events_rmdir(struct call *c, struct node *dir, const char *name)
{
	NODE_REF *all = all_view(dir);

	return all ? all->ops->rmdir(c, all, name) : -ENOMEM;
}

/* The view that a name of dir is in: dir itself unless it is a directory of events. NULL with
 * errno. */
static struct node *view_of_name(struct call *c, struct node *dir, const char *name)
{
	struct child child;

	if (dir->ops != &events_ops)
		return node_ref(dir);
	int rc = events_lookup(c, dir, name, &child);
	if (rc < 0) {
		errno = -rc;
		return NULL;
	}
	bool is_dir = S_ISDIR(child.st.st_mode);
	node_unref(child.node);
	errno = ENOMEM;
	return is_dir ? all_view(dir) : files_view(dir);
}

static int events_rename(struct call *c, struct node *dir, const char *name, struct node *newdir,
			 const char *newname, unsigned flags)
{
	NODE_REF *from = view_of_name(c, dir, name);

	if (!from)
		return -errno;
	return from->ops->rename(c, from, name, newdir == dir ? from : newdir, newname, flags);
}

static struct node *events_rename_target(struct call *c, struct node *newdir, struct node *dir,
					 const char *name)
{
	struct child child;
	int rc = dir->ops->lookup(c, dir, name, &child);

	if (rc < 0) {
		errno = -rc;
		return NULL;
	}
	bool is_dir = S_ISDIR(child.st.st_mode);
	node_unref(child.node);
	errno = ENOMEM;
	return is_dir ? all_view(newdir) : files_view(newdir);
}

static void events_free(void *data)
{
	struct events *e = data;

	if (e->index.view)
		adafs_view_unref(e->index.view);
	free(e->index.image);
	adafs_mutex_clear(&e->index.lock);
	free(e);
}

static const struct node_ops events_ops = {
	.kind = "events",
	.readonly_errno = EROFS,
	.lookup = events_lookup,
	.list = events_list,
	.getattr = events_getattr,
	.setattr = events_setattr,
	.create = events_create,
	.symlink = events_symlink,
	.mkdir = events_mkdir,
	.unlink = events_unlink,
	.rmdir = events_rmdir,
	.rename = events_rename,
	.rename_target = events_rename_target,
	.free_data = events_free,
};

struct node *events_root(struct fs *fs, struct node *root, const char *name, const char *prefix,
			 const char *default_prefix, const struct blobdir_policy *policy)
{
	struct events *e = calloc(1, sizeof(*e));
	char identity[64];

	if (!e)
		return NULL;
	adafs_mutex_init(&e->index.lock, ADAFS_RANK_LEAF);
	e->all = (struct events_view){ .fs = fs, .prefix = prefix, .index = &e->index };
	e->files = (struct events_view){ .fs = fs, .prefix = default_prefix, .index = &e->index };
	e->all_policy = *policy;
	e->all_policy.arg = &e->all;
	e->files_policy = *policy;
	e->files_policy.arg = &e->files;
	snprintf(identity, sizeof(identity), "events/%s", name);
	struct node *n = node_get(fs, root, name, "", &events_ops, node_ino(identity), e);
	/* The first to make it leaves a reference for good: open files borrow the policies. */
	return n && n->data == e ? node_ref(n) : n;
}
