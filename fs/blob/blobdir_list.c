/*
 * blobdir_list.c - the names of a directory of blobs, for the kernel as a stream that follows the
 * service's listing. Behind the listed names come files that are being written and were never
 * committed.
 *
 * The kernel keeps the names that it read, as pages of the directory, so that a listing which is
 * repeated while nothing changed costs it no call. What it kept is right while the content has the
 * same number; if streams of different content were open at once, it may be a mixture, and is
 * thrown away.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/blob/blobdir_int.h"

#define BATCH 256

struct bstream {
	struct dirstream base;
	struct blob_stream *entries;
	uint64_t ino_begin;      /* of a name's inode number */
	struct adafs_mutex lock; /* of what follows */
	bool ended;
	size_t n_entries;       /* once ended: places of the listing */
	struct dirlist written; /* names of files that were never committed */
};

struct adding {
	struct dirlist *list;
	const struct blob_list *known;
};

static int by_name(const void *key, const void *element)
{
	return strcmp(key, (*(struct blob_entry *const *)element)->name);
}

static int add_new_file(void *arg, const char *name, uint64_t ino)
{
	struct adding *a = arg;
	if (a->known->n &&
	    bsearch(name, a->known->entry, a->known->n, sizeof(*a->known->entry), by_name))
		return 0;
	return dirlist_add(a->list, name, ino, S_IFREG, NULL);
}

/* How inode numbers of names in a directory begin. */
static int ino_begin(const struct view *v, const char *prefix, uint64_t *ret)
{
	ADAFS_FREE char *identity = adafs_fmt("blob/%s/%s", v->container, prefix);
	if (!identity)
		return -ENOMEM;
	*ret = node_ino_begin(identity);
	return 0;
}

static mode_t type_of(const struct blob_entry *e)
{
	return e->is_dir ? S_IFDIR : e->is_link ? S_IFLNK : S_IFREG;
}

int blobdir_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	const struct view *v = bnode_of(dir)->view;
	ADAFS_FREE char *prefix = blobdir_prefix(dir);
	ADAFS_CLEANUP(blob_list_clear) struct blob_list known = { 0 };
	struct adafs_err err = { 0 };
	uint64_t begin;
	if (!prefix || ino_begin(v, prefix, &begin))
		return -ENOMEM;
	int rc = blobs_list(c->fs->blobs, v->container, prefix, c->may_wait, &known, &err);
	if (rc)
		return blobdir_log(rc, "listing", v->container, prefix, &err);
	bool extra = blobdir_has_extra(dir, true);
	if (extra)
		rc = blobdir_list_extra(dir, ret);
	for (size_t i = 0; i < known.n && !rc; i++) {
		struct blob_entry *e = known.entry[i];
		if (blobdir_shown(dir, e) && !(extra && blobdir_extra_name(dir, e->name)))
			rc = dirlist_add(ret, e->name, node_ino_end(begin, e->name), type_of(e),
					 NULL);
	}
	struct adding a = { .list = ret, .known = &known };
	return rc ? rc : wfile_each(dir, add_new_file, &a);
}

/* --- streams ---------------------------------------------------------------------------------- */
static void bstream_free(struct bstream *s)
{
	blobs_stream_close(s->entries);
	dirlist_clear(&s->written);
	adafs_mutex_clear(&s->lock);
	free(s);
}

/* Note which content the kernel reads from now on, and whether what it has is of this one. */
static void begin_keeping(struct node *dir, struct bstream *s)
{
	struct bdir *d = (struct bdir *)bnode_of(dir);
	uint64_t gen = blobs_stream_gen(s->entries);
	/* What a policy shows changes by itself. */
	bool may_keep = !d->bnode.view->policy->shown;
	adafs_mutex_lock(&wfiles_lock);
	if (!d->streams && d->mixed)
		d->mixed = false;
	else if (d->streams && d->kept_gen != gen)
		d->mixed = true;
	s->base.keep = may_keep && !d->mixed && d->kept_gen == gen;
	s->base.cache = may_keep && !d->mixed;
	d->kept_gen = d->mixed ? 0 : gen;
	d->streams++;
	adafs_mutex_unlock(&wfiles_lock);
}

static void end_keeping(struct node *dir, struct bstream *s)
{
	struct bdir *d = (struct bdir *)bnode_of(dir);
	adafs_mutex_lock(&wfiles_lock);
	d->streams--;
	/* A file that is being written may vanish without a trace. */
	if (d->mixed || s->written.n)
		d->kept_gen = 0;
	adafs_mutex_unlock(&wfiles_lock);
}

/* Names that no listing of the service has. */
static int written_names(struct node *dir, struct dirlist *ret)
{
	static const struct blob_list none;
	struct adding a = { .list = ret, .known = &none };
	int rc = wfile_each(dir, add_new_file, &a);
	return rc ? rc : blobdir_list_extra(dir, ret);
}

/* The end of the listing was reached for the first time: see what is being written. */
static int end_listing(struct bstream *s, struct node *dir)
{
	ADAFS_CLEANUP(dirlist_clear) struct dirlist all = { 0 };
	int rc = written_names(dir, &all);
	if (rc)
		return rc;
	struct dirlist written = { 0 };
	/* One that was listed, too, keeps its listed place. */
	for (size_t i = 0; i < all.n && !rc; i++)
		if (!blobs_stream_has(s->entries, all.item[i].name))
			rc = dirlist_add(&written, all.item[i].name, all.item[i].ino, S_IFREG,
					 NULL);
	size_t n_entries = blobs_stream_size(s->entries);
	adafs_mutex_lock(&s->lock);
	if (!rc && !s->ended) {
		s->n_entries = n_entries;
		s->written = written;
		written = (struct dirlist){ 0 };
		s->ended = true;
	}
	adafs_mutex_unlock(&s->lock);
	dirlist_clear(&written);
	return rc;
}

/* What a call reads with. */
struct reading {
	struct call *call;
	struct node *dir;
	bool plus, any_written;
	double left_s;
	dirstream_add *add;
	void *arg;
};

static void plain_child(const struct reading *r, struct blob_entry *e, uint64_t ino,
			struct child *ret)
{
	struct node *n = blobdir_node_at(r->dir, e, ino);
	if (!n)
		return;
	*ret = (struct child){ .node = n,
			       .attr_timeout_s = r->left_s,
			       .entry_timeout_s = r->left_s };
	blobdir_stat(n, e, &ret->st);
}

static bool hand_over(const struct reading *r, uint64_t ino_begin, size_t next,
		      struct blob_entry *e)
{
	uint64_t ino = node_ino_end(ino_begin, e->name);
	struct child child = { 0 };
	struct wfile *w =
		r->plus && r->any_written ? wfile_find(r->call->fs, r->dir, e->name) : NULL;
	if (w)
		blobdir_wfile_child(w, &child);
	else if (r->plus && !blobdir_extra_name(r->dir, e->name))
		plain_child(r, e, ino, &child);
	return r->add(r->arg, next, e->name, ino, type_of(e), &child);
}

static int read_written(const struct reading *r, struct bstream *s, size_t from)
{
	adafs_mutex_lock(&s->lock);
	size_t n = s->written.n, first = s->n_entries;
	adafs_mutex_unlock(&s->lock);
	/* It does not change any more. */
	for (size_t i = from - first; i < n; i++) {
		const struct dirent_item *item = &s->written.item[i];
		struct child child = { 0 };
		struct wfile *w = r->plus ? wfile_find(r->call->fs, r->dir, item->name) : NULL;
		if (w)
			blobdir_wfile_child(w, &child);
		if (!r->add(r->arg, first + i + 1, item->name, item->ino, S_IFREG, &child))
			break;
	}
	return 0;
}

/*
 * One batch from the listing. 1: go on with the next, 0: enough, or an error. *ret_n 0: it has
 * ended.
 */
static int read_batch(struct reading *r, struct bstream *s, size_t from, size_t *ret_n)
{
	struct blob_entry *batch[BATCH];
	struct adafs_err err = { 0 };
	size_t n = 0;
	int rc = blobs_stream_read(s->entries, from, r->call->may_wait, batch, BATCH, &n,
				   &r->left_s, &err);
	if (rc)
		return blobdir_log(rc, "listing", bnode_of(r->dir)->view->container, r->dir->name,
				   &err);
	bool room = true;
	for (size_t i = 0; i < n; i++) {
		if (room && batch[i] && blobdir_shown(r->dir, batch[i]))
			room = hand_over(r, s->ino_begin, from + i + 1, batch[i]);
		blob_entry_unref(batch[i]);
	}
	*ret_n = n;
	return room;
}

static int count_name(void *arg, const char *name, uint64_t ino)
{
	(void)name;
	(void)ino;
	*(bool *)arg = true;
	return 1;
}

/* Whether something was handed over is known by whether add was called. */
struct counting {
	dirstream_add *add;
	void *arg;
	size_t n;
};

static bool add_counted(void *arg, size_t next, const char *name, uint64_t ino, mode_t mode,
			const struct child *child)
{
	struct counting *k = arg;
	k->n++;
	return k->add(k->arg, next, name, ino, mode, child);
}

static int bstream_read(struct call *c, struct dirstream *base, struct node *dir, size_t from,
			bool plus, dirstream_add *add, void *arg)
{
	struct bstream *s = (struct bstream *)base;
	struct counting k = { .add = add, .arg = arg };
	struct reading r = { .call = c, .dir = dir, .plus = plus, .add = add_counted, .arg = &k };
	wfile_each(dir, count_name, &r.any_written);
	for (;;) {
		adafs_mutex_lock(&s->lock);
		bool behind = s->ended && from >= s->n_entries;
		adafs_mutex_unlock(&s->lock);
		if (behind)
			return read_written(&r, s, from);
		size_t n;
		int rc = read_batch(&r, s, from, &n);
		if (rc > 0 && n == 0)
			rc = end_listing(s, dir) ? -ENOMEM : 1;
		/* What has been handed over is answered first. */
		if (rc <= 0)
			return k.n ? 0 : rc;
		from += n;
	}
}

static bool bstream_current(struct dirstream *base)
{
	return blobs_stream_current(((struct bstream *)base)->entries);
}

static void bstream_close(struct dirstream *base, struct node *dir)
{
	struct bstream *s = (struct bstream *)base;
	end_keeping(dir, s);
	bstream_free(s);
}

static const struct dirstream_ops bstream_ops = {
	.read = bstream_read,
	.current = bstream_current,
	.close = bstream_close,
};

int blobdir_stream(struct call *c, struct node *dir, struct dirstream **ret)
{
	const struct view *v = bnode_of(dir)->view;
	ADAFS_FREE char *prefix = blobdir_prefix(dir);
	struct adafs_err err = { 0 };
	struct bstream *s = calloc(1, sizeof(*s));
	if (!s || !prefix || ino_begin(v, prefix, &s->ino_begin)) {
		free(s);
		return -ENOMEM;
	}
	s->base.ops = &bstream_ops;
	adafs_mutex_init(&s->lock, ADAFS_RANK_LEAF);
	int rc = blobs_stream_open(c->fs->blobs, v->container, prefix, c->may_wait, &s->entries,
				   &err);
	if (rc) {
		bstream_free(s);
		return blobdir_log(rc, "listing", v->container, prefix, &err);
	}
	begin_keeping(dir, s);
	*ret = &s->base;
	return 0;
}
