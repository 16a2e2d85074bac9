/*
 * node.c - the inode table. A nodeid is the node's address; a node lives while the kernel has
 * lookups of it or anything here holds a reference, and it holds one on its parent. One lock (rank
 * NODES) guards the hash, all counters and where a node stands (parent, name, version). free_data
 * runs with no lock held.
 */
#include "fs/kernel/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/mutex.h"

struct node_table {
	struct adafs_mutex lock;
	struct node **bucket;
	size_t n_buckets, n_nodes;
};

static uint64_t hash_text(uint64_t h, const char *text)
{
	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return h;
}

static uint64_t hash_add(uint64_t h, const char *text)
{
	return (hash_text(h, text) ^ 0xff) * UINT64_C(0x100000001b3);
}

static uint64_t mix(uint64_t h)
{
	h ^= h >> 33;
	h *= UINT64_C(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64_C(0xc4ceb9fe1a85ec53);
	return h ^ h >> 33;
}

uint64_t node_ino_begin(const char *identity)
{
	return hash_text(UINT64_C(0xcbf29ce484222325), identity);
}

uint64_t node_ino_end(uint64_t begun, const char *rest)
{
	uint64_t h = mix(hash_add(begun, rest));
	return h > 1 ? h : h + 2; /* 0 is no inode, 1 the root */
}

uint64_t node_ino(const char *identity)
{
	return node_ino_end(node_ino_begin(""), identity);
}

static size_t bucket_of(const struct node_table *t, const struct node *parent, const char *name,
			const char *version)
{
	uint64_t h = (uint64_t)(uintptr_t)parent ^ UINT64_C(0xcbf29ce484222325);
	return mix(hash_add(hash_add(h, name), version)) & (t->n_buckets - 1);
}

struct node_table *node_table_new(void)
{
	struct node_table *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->n_buckets = 1024;
	t->bucket = calloc(t->n_buckets, sizeof(*t->bucket));
	if (!t->bucket) {
		free(t);
		return NULL;
	}
	adafs_mutex_init(&t->lock, ADAFS_RANK_NODES);
	return t;
}

/* A node that never moved has its texts behind it: listings make them by the hundred thousand. */
static void free_texts(const struct node *n, char *name, char *version)
{
	if (name != n->text) {
		free(name);
		free(version);
	}
}

static void node_destroy(struct node *n)
{
	if (n->ops->free_data && n->data)
		n->ops->free_data(n->data);
	free_texts(n, n->name, n->version);
	free(n);
}

void node_table_free(struct node_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n_buckets; i++) {
		struct node *next;
		for (struct node *n = t->bucket[i]; n; n = next) {
			next = n->hash_next;
			node_destroy(n);
		}
	}
	adafs_mutex_clear(&t->lock);
	free(t->bucket);
	free(t);
}

static void hash_insert_locked(struct node_table *t, struct node *n)
{
	struct node **b = &t->bucket[bucket_of(t, n->parent, n->name, n->version)];
	n->hash_next = *b;
	*b = n;
	t->n_nodes++;
}

static void hash_remove_locked(struct node_table *t, struct node *n)
{
	struct node **p = &t->bucket[bucket_of(t, n->parent, n->name, n->version)];
	for (; *p; p = &(*p)->hash_next) {
		if (*p == n) {
			*p = n->hash_next;
			t->n_nodes--;
			return;
		}
	}
}

/* A table that cannot grow stays as it is: slower, not wrong. */
static void grow_locked(struct node_table *t)
{
	size_t old_n = t->n_buckets;
	if (t->n_nodes < old_n * 2)
		return;
	struct node **bucket = calloc(old_n * 4, sizeof(*bucket)), **old = t->bucket;
	if (!bucket)
		return;
	t->bucket = bucket;
	t->n_buckets = old_n * 4;
	t->n_nodes = 0;
	for (size_t i = 0; i < old_n; i++) {
		struct node *next;
		for (struct node *n = old[i]; n; n = next) {
			next = n->hash_next;
			hash_insert_locked(t, n);
		}
	}
	free(old);
}

static struct node *find_locked(struct node_table *t, const struct node *parent, const char *name,
				const char *version)
{
	struct node *n = t->bucket[bucket_of(t, parent, name, version)];
	while (n && (n->parent != parent || strcmp(n->name, name) || strcmp(n->version, version)))
		n = n->hash_next;
	return n;
}

static struct node *node_make(struct fs *fs, struct node *parent, const char *name,
			      const char *version, const struct node_ops *ops, uint64_t ino,
			      void *data)
{
	size_t name_size = strlen(name) + 1, version_size = strlen(version) + 1;
	struct node *n = malloc(sizeof(*n) + name_size + version_size);
	if (!n)
		return NULL;
	*n = (struct node){
		.ops = ops, .fs = fs, .parent = parent, .ino = ino, .data = data, .refs = 1
	};
	n->name = memcpy(n->text, name, name_size);
	n->version = memcpy(n->text + name_size, version, version_size);
	return n;
}

struct node *node_get(struct fs *fs, struct node *parent, const char *name, const char *version,
		      const struct node_ops *ops, uint64_t ino, void *data)
{
	struct node_table *t = fs->nodes;
	struct node *fresh = NULL;
	adafs_mutex_lock(&t->lock);
	struct node *n = find_locked(t, parent, name, version);
	/* Another kind under the same name: what was there is gone for good. */
	if (n && n->ops != ops)
		n = NULL;
	if (n) {
		n->refs++;
	} else {
		n = fresh = node_make(fs, parent, name, version, ops, ino, data);
		if (fresh) {
			if (parent)
				parent->refs++;
			grow_locked(t);
			hash_insert_locked(t, fresh);
		}
	}
	adafs_mutex_unlock(&t->lock);
	if (!fresh && data && ops->free_data)
		ops->free_data(data);
	return n;
}

struct node *node_find(struct fs *fs, struct node *parent, const char *name, const char *version)
{
	adafs_mutex_lock(&fs->nodes->lock);
	struct node *n = find_locked(fs->nodes, parent, name, version);
	if (n)
		n->refs++;
	adafs_mutex_unlock(&fs->nodes->lock);
	return n;
}

struct node *node_ref(struct node *n)
{
	adafs_mutex_lock(&n->fs->nodes->lock);
	n->refs++;
	adafs_mutex_unlock(&n->fs->nodes->lock);
	return n;
}

/* Give `drop` references back; nodes that nobody holds any more are freed, then their parents
 * likewise. */
static void release(struct node *n, uint64_t lookups, unsigned drop)
{
	struct node_table *t = n->fs->nodes;
	while (n) {
		adafs_mutex_lock(&t->lock);
		if (lookups) {
			drop = n->lookups && n->lookups <= lookups ? 1 : 0;
			n->lookups -= lookups > n->lookups ? n->lookups : lookups;
		}
		n->refs -= drop;
		bool dead = n->refs == 0;
		struct node *parent = n->parent;
		if (dead)
			hash_remove_locked(t, n);
		adafs_mutex_unlock(&t->lock);
		if (!dead)
			return;
		node_destroy(n);
		n = parent;
		lookups = 0;
		drop = 1;
	}
}

void node_unref(struct node *n)
{
	if (n)
		release(n, 0, 1);
}

void node_lookup(struct node *n)
{
	adafs_mutex_lock(&n->fs->nodes->lock);
	if (n->lookups++ == 0)
		n->refs++;
	adafs_mutex_unlock(&n->fs->nodes->lock);
}

void node_forget(struct node *n, uint64_t count)
{
	/* The root is never looked up, but the kernel may forget it at the end. */
	if (count && n->parent)
		release(n, count, 0);
}

int node_move(struct node *n, struct node *parent, const char *name, const char *version)
{
	struct node_table *t = n->fs->nodes;
	ADAFS_FREE char *new_name = strdup(name);
	ADAFS_FREE char *new_version = strdup(version);
	if (!new_name || !new_version)
		return -ENOMEM;
	adafs_mutex_lock(&t->lock);
	struct node *old_parent = n->parent;
	hash_remove_locked(t, n);
	char *old_name = n->name, *old_version = n->version;
	n->name = ADAFS_STEAL(new_name);
	n->version = ADAFS_STEAL(new_version);
	n->parent = parent;
	parent->refs++;
	/* Inserted in front: a node that stood here is shadowed from now on. */
	hash_insert_locked(t, n);
	adafs_mutex_unlock(&t->lock);
	free_texts(n, old_name, old_version);
	node_unref(old_parent);
	return 0;
}

static int add_path_locked(const struct node *n, const struct node *top, struct adafs_buf *ret)
{
	if (n == top || !n)
		return 0;
	int rc = add_path_locked(n->parent, top, ret);
	if (!rc && n->parent != top)
		rc = adafs_buf_add(ret, "/", 1);
	return rc ? rc : adafs_buf_adds(ret, n->name);
}

int node_path(const struct node *n, const struct node *top, struct adafs_buf *ret)
{
	adafs_mutex_lock(&n->fs->nodes->lock);
	int rc = add_path_locked(n, top, ret);
	adafs_mutex_unlock(&n->fs->nodes->lock);
	return rc;
}

struct node *node_parent(const struct node *n)
{
	adafs_mutex_lock(&n->fs->nodes->lock);
	struct node *parent = n->parent;
	if (parent)
		parent->refs++;
	adafs_mutex_unlock(&n->fs->nodes->lock);
	return parent;
}

void node_stat(const struct node *n, mode_t mode, int64_t size, time_t mtime, struct stat *ret)
{
	*ret = (struct stat){
		.st_ino = n->ino,
		.st_mode = mode,
		.st_nlink = 1,
		.st_uid = n->fs->uid,
		.st_gid = n->fs->gid,
		.st_size = size,
		.st_blksize = 4096,
		.st_blocks = (size + 511) / 512,
		.st_atim.tv_sec = mtime,
		.st_mtim.tv_sec = mtime,
		.st_ctim.tv_sec = mtime,
	};
}
