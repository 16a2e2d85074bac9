/*
 * fs/tree/results.c - results/<event>/: the newest complete map, and a directory a job. Read-only,
 * read through a SAS. Listings are loaded on workers and believed for the attribute timeout, or
 * until a job has ended. When the service does not answer, what was last seen stays listed.
 *
 * A file is one version of one blob: a new map has new nodes, so an open one is read to its end.
 */
#include <errno.h>
#include <string.h>

#include <fuse_lowlevel.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"
#include "fs/read/read.h"
#include "fs/tree/synth.h"
#include "fs/tree/tree.h"

/* The files of one event as of a load; shared by those who read it. */
struct event_set {
	struct adafs_results files;
	int refs; /* under the cache's lock */
};

struct event {
	char *name;
	struct event_set *set; /* NULL: never loaded */
	uint64_t loaded_ms;
	size_t ended; /* jobs that had ended then */
	struct event *next;
};

/* The data of results/ itself; lives as long as any node below, since those hold their parents. */
struct results_cache {
	struct adafs_mutex lock; /* rank TREE */
	struct event *events;
	char **names;
	size_t n_names;
	bool names_loaded;
	uint64_t names_ms;
	size_t names_ended;
};

/* The data of nodes below an event. */
struct result_at {
	struct results_cache *cache;
	char *event;
	char *path; /* below the event; "" is the event's directory */
	/* Files only. */
	char *blob;
	char etag[ADAFS_ETAG_LEN];
	int64_t size;
	time_t mtime;
};

static const struct node_ops dir_ops, file_ops;

/* --- the cache ---------------------------------------------------------------------------- */

static void set_unref_locked(struct event_set *set)
{
	if (!set || --set->refs > 0)
		return;
	adafs_results_clear(&set->files);
	free(set);
}

static void set_unref(struct results_cache *cache, struct event_set *set)
{
	adafs_mutex_lock(&cache->lock);
	set_unref_locked(set);
	adafs_mutex_unlock(&cache->lock);
}

static void names_free(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

static void results_cache_free(void *data)
{
	struct results_cache *cache = data;

	while (cache->events) {
		struct event *event = cache->events;
		cache->events = event->next;
		set_unref_locked(event->set);
		free(event->name);
		free(event);
	}
	names_free(cache->names, cache->n_names);
	adafs_mutex_clear(&cache->lock);
	free(cache);
}

/* Each job that ends may have changed a map. */
static size_t count_ended(struct fs *fs)
{
	struct adafs_view *view = adafs_foreman_view(fs->foreman);
	size_t n = 0;

	for (size_t i = 0; i < view->n_jobs; i++)
		n += view->jobs[i].state != ADAFS_STATE_QUEUED &&
		     view->jobs[i].state != ADAFS_STATE_RUNNING;
	adafs_view_unref(view);
	return n;
}

static bool fresh(const struct fs *fs, uint64_t loaded_ms, size_t ended_then, size_t ended_now)
{
	uint64_t limit_ms = (uint64_t)(fs->options->attr_timeout_s * 1000);

	return ended_then == ended_now && adafs_clock_mono_ms() - loaded_ms < limit_ms;
}

static struct event *event_locked(struct results_cache *cache, const char *name)
{
	for (struct event *event = cache->events; event; event = event->next)
		if (strcmp(event->name, name) == 0)
			return event;
	struct event *event = calloc(1, sizeof(*event));
	if (!event || !(event->name = strdup(name))) {
		free(event);
		return NULL;
	}
	event->next = cache->events;
	cache->events = event;
	return event;
}

/* Load an event's files and put them in the cache; the former ones stay when the service fails. */
static int event_load(struct fs *fs, struct results_cache *cache, const char *name, size_t ended,
		      struct event_set **ret)
{
	struct adafs_err err = { 0 };
	struct event_set *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	int rc = adafs_results_load(fs->blob, fs->container, name, NULL, &set->files, &err);
	if (rc < 0) {
		free(set);
		set = NULL;
	} else {
		set->refs = 1;
	}
	adafs_mutex_lock(&cache->lock);
	struct event *event = event_locked(cache, name);
	if (!event) {
		set_unref_locked(set);
		rc = -ENOMEM;
	} else if (set) {
		set_unref_locked(event->set);
		event->set = set;
		event->ended = ended;
	} else if (event->set) {
		rc = 0;
	}
	if (rc == 0) {
		event->loaded_ms = adafs_clock_mono_ms();
		event->set->refs++;
		*ret = event->set;
	}
	adafs_mutex_unlock(&cache->lock);
	if (!set && err.rc < 0)
		adafs_log(WARN, "fs", "results of '%s' cannot be listed: %s", name, err.msg);
	return rc;
}

/* The files of an event with a reference. any_age: take what is there without asking. */
static int event_files(struct call *c, struct results_cache *cache, const char *name, bool any_age,
		       struct event_set **ret)
{
	size_t ended = count_ended(c->fs);

	adafs_mutex_lock(&cache->lock);
	struct event *event = event_locked(cache, name);
	if (event && event->set &&
	    (any_age || fresh(c->fs, event->loaded_ms, event->ended, ended))) {
		event->set->refs++;
		*ret = event->set;
		adafs_mutex_unlock(&cache->lock);
		return 0;
	}
	adafs_mutex_unlock(&cache->lock);
	if (!event)
		return -ENOMEM;
	return c->may_wait ? event_load(c->fs, cache, name, ended, ret) : -EWOULDBLOCK;
}

/* Make sure that the names of events are as new as wanted. */
static int names_refresh(struct call *c, struct results_cache *cache)
{
	size_t ended = count_ended(c->fs);
	struct adafs_err err = { 0 };
	char **names = NULL;
	size_t n = 0;

	adafs_mutex_lock(&cache->lock);
	bool loaded = cache->names_loaded;
	bool good = loaded && fresh(c->fs, cache->names_ms, cache->names_ended, ended);
	adafs_mutex_unlock(&cache->lock);
	if (good)
		return 0;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	int rc = adafs_results_events(c->fs->blob, c->fs->container, &names, &n, &err);
	if (rc < 0) {
		adafs_log(WARN, "fs", "results cannot be listed: %s", err.msg);
		return loaded ? 0 : rc;
	}
	adafs_mutex_lock(&cache->lock);
	char **old = cache->names;
	size_t n_old = cache->n_names;
	cache->names = names;
	cache->n_names = n;
	cache->names_loaded = true;
	cache->names_ms = adafs_clock_mono_ms();
	cache->names_ended = ended;
	adafs_mutex_unlock(&cache->lock);
	names_free(old, n_old);
	return 0;
}

/* --- nodes -------------------------------------------------------------------------------- */

static void result_at_free(void *data)
{
	struct result_at *at = data;

	if (!at)
		return;
	free(at->event);
	free(at->path);
	free(at->blob);
	free(at);
}

static struct result_at *result_at_new(struct results_cache *cache, const char *event,
				       const char *path, const struct adafs_result_file *file)
{
	struct result_at *at = calloc(1, sizeof(*at));

	if (!at)
		return NULL;
	at->cache = cache;
	at->event = strdup(event);
	at->path = strdup(path);
	if (file) {
		at->blob = strdup(file->blob);
		memcpy(at->etag, file->etag, sizeof(at->etag));
		at->size = file->size;
		at->mtime = file->mtime;
	}
	if (!at->event || !at->path || (file && !at->blob)) {
		result_at_free(at);
		return NULL;
	}
	return at;
}

static uint64_t result_ino(const char *event, const char *path)
{
	ADAFS_FREE char *text = adafs_fmt("results/%s/%s", event, path);

	return text ? node_ino(text) : 1;
}

/* If path is below the directory dir ("" is the top), the rest of it. */
static const char *below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	if (len == 0)
		return path;
	return strncmp(path, dir, len) == 0 && path[len] == '/' ? path + len + 1 : NULL;
}

static int dir_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	const struct result_at *at = dir->data;
	const char *last = "";
	struct event_set *set;
	int rc = event_files(c, at->cache, at->event, false, &set);

	if (rc < 0)
		return rc;
	/* Sorted by path, so what is below one directory stands together. */
	for (size_t i = 0; rc == 0 && i < set->files.n; i++) {
		const char *rest = below(set->files.file[i].path, at->path);
		if (!rest)
			continue;
		size_t len = strcspn(rest, "/");
		if (rest[len] == '/' && strncmp(last, rest, len) == 0 && last[len] == '/')
			continue;
		last = rest;
		ADAFS_FREE char *name = strndup(rest, len);
		ADAFS_FREE char *path =
			adafs_fmt("%s%s%s", at->path, *at->path ? "/" : "", name ? name : "");
		rc = name && path ? dirlist_add(ret, name, result_ino(at->event, path),
						rest[len] == '/' ? S_IFDIR : S_IFREG, NULL)
				  : -ENOMEM;
	}
	set_unref(at->cache, set);
	return rc;
}

/* The node of a path below an event; NULL with errno. */
static struct node *path_node(struct node *dir, const char *name, const char *path,
			      const struct event_set *set)
{
	const struct result_at *at = dir->data;

	errno = ENOENT;
	for (size_t i = 0; i < set->files.n; i++) {
		const struct adafs_result_file *file = &set->files.file[i];
		bool is_file = strcmp(file->path, path) == 0;
		if (!is_file && !below(file->path, path))
			continue;
		struct result_at *child =
			result_at_new(at->cache, at->event, path, is_file ? file : NULL);
		struct node *node = child ? node_get(dir->fs, dir, name, is_file ? file->etag : "",
						     is_file ? &file_ops : &dir_ops,
						     result_ino(at->event, path), child)
					  : NULL;
		if (!node)
			errno = ENOMEM;
		return node;
	}
	return NULL;
}

static int dir_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	const struct result_at *at = dir->data;
	ADAFS_FREE char *path = adafs_fmt("%s%s%s", at->path, *at->path ? "/" : "", name);
	struct event_set *set;

	if (!path)
		return -ENOMEM;
	int rc = event_files(c, at->cache, at->event, false, &set);
	if (rc < 0)
		return rc;
	struct node *node = path_node(dir, name, path, set);
	rc = node ? 0 : -errno;
	set_unref(at->cache, set);
	return node ? synth_child(c, node, ret) : rc;
}

static int dir_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
		       double *ret_timeout_s)
{
	const struct result_at *at = n->data;
	struct event_set *set;
	time_t newest = 0;

	(void)h;
	int rc = event_files(c, at->cache, at->event, true, &set);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < set->files.n; i++)
		if (below(set->files.file[i].path, at->path) && set->files.file[i].mtime > newest)
			newest = set->files.file[i].mtime;
	set_unref(at->cache, set);
	return synth_dir_stat(n, newest, ret, ret_timeout_s);
}

static int file_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
			double *ret_timeout_s)
{
	const struct result_at *at = n->data;

	(void)c;
	(void)h;
	node_stat(n, S_IFREG | 0444, at->size, at->mtime, ret);
	*ret_timeout_s = n->fs->options->attr_timeout_s;
	return 0;
}

/* A file whose name has got a newer version is stale: the kernel looks it up again. */
static bool superseded(struct call *c, const struct result_at *at)
{
	struct event_set *set;
	bool moved = false;

	if (event_files(c, at->cache, at->event, true, &set) < 0)
		return false;
	for (size_t i = 0; i < set->files.n; i++)
		if (strcmp(set->files.file[i].path, at->path) == 0)
			moved = strcmp(set->files.file[i].blob, at->blob) != 0 ||
				strcmp(set->files.file[i].etag, at->etag) != 0;
	set_unref(at->cache, set);
	return moved;
}

static int file_open(struct call *c, struct node *n, struct fuse_file_info *fi, struct handle **ret)
{
	const struct result_at *at = n->data;

	if ((fi->flags & O_ACCMODE) != O_RDONLY)
		return -EROFS;
	if (superseded(c, at))
		return -ESTALE;
	return read_open(n->fs, n->fs->results, n->fs->container, at->blob, at->etag, at->size, fi,
			 ret);
}

static const struct node_ops dir_ops = {
	.kind = "results",
	.readonly_errno = EROFS,
	.lookup = dir_lookup,
	.list = dir_list,
	.getattr = dir_getattr,
	.free_data = result_at_free,
};

static const struct node_ops file_ops = {
	.kind = "result",
	.readonly_errno = EROFS,
	.getattr = file_getattr,
	.open = file_open,
	.free_data = result_at_free,
};

/* --- results ------------------------------------------------------------------------------ */

static int root_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	struct results_cache *cache = dir->data;
	bool known = false;
	int rc = names_refresh(c, cache);

	if (rc < 0)
		return rc;
	adafs_mutex_lock(&cache->lock);
	for (size_t i = 0; i < cache->n_names; i++)
		known = known || strcmp(cache->names[i], name) == 0;
	adafs_mutex_unlock(&cache->lock);
	if (!known)
		return -ENOENT;
	struct result_at *at = result_at_new(cache, name, "", NULL);
	if (!at)
		return -ENOMEM;
	return synth_child(c, node_get(dir->fs, dir, name, "", &dir_ops, result_ino(name, ""), at),
			   ret);
}

static int root_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	struct results_cache *cache = dir->data;
	int rc = names_refresh(c, cache);

	if (rc < 0)
		return rc;
	adafs_mutex_lock(&cache->lock);
	for (size_t i = 0; rc == 0 && i < cache->n_names; i++)
		rc = dirlist_add(ret, cache->names[i], result_ino(cache->names[i], ""), S_IFDIR,
				 NULL);
	adafs_mutex_unlock(&cache->lock);
	return rc;
}

static int root_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
			double *ret_timeout_s)
{
	(void)c;
	(void)h;
	return synth_dir_stat(n, 0, ret, ret_timeout_s);
}

static const struct node_ops root_ops = {
	.kind = "results",
	.readonly_errno = EROFS,
	.lookup = root_lookup,
	.list = root_list,
	.getattr = root_getattr,
	.free_data = results_cache_free,
};

struct node *results_root(struct fs *fs, struct node *root)
{
	struct results_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	adafs_mutex_init(&cache->lock, ADAFS_RANK_TREE);
	return node_get(fs, root, "results", "", &root_ops, node_ino("results"), cache);
}
