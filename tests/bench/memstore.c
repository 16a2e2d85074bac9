/* memstore.c - an array of blobs in the order of their names under one lock. */
#include "tests/bench/memstore.h"

#include <err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct block {
	struct block *next;
	char *id;
	struct piece *piece;
};

struct memstore {
	pthread_mutex_t lock;
	struct blob **blob;
	size_t n, size;
	uint64_t version;
};

static void *need(void *p)
{
	if (!p)
		err(1, "memory");
	return p;
}

struct piece *piece_new(size_t len)
{
	struct piece *p = need(malloc(sizeof(*p)));
	*p = (struct piece){ .refs = 1, .len = len, .data = need(malloc(len + 1)) };
	return p;
}

void piece_unref(struct piece *p)
{
	if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL))
		return;
	free(p->data);
	free(p);
}

struct memstore *memstore_new(void)
{
	struct memstore *s = need(calloc(1, sizeof(*s)));
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

/*
 * --- blobs -------------------------------------------------------------------------------------
 */
static void drop_pieces(struct blob *b)
{
	for (size_t i = 0; i < b->n_pieces; i++)
		piece_unref(b->piece[i]);
	free(b->piece);
}

static void drop_blocks(struct blob *b)
{
	struct block *next;
	for (struct block *k = b->blocks; k; k = next) {
		next = k->next;
		piece_unref(k->piece);
		free(k->id);
		free(k);
	}
	b->blocks = NULL;
}

static void unref_locked(struct blob *b)
{
	if (--b->refs)
		return;
	drop_pieces(b);
	drop_blocks(b);
	free(b->name);
	free(b->meta);
	free(b);
}

/* Where a name is or would stand. */
static size_t place_locked(const struct memstore *s, const char *name)
{
	size_t low = 0, high = s->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(s->blob[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct blob *find_locked(const struct memstore *s, const char *name, size_t *ret_at)
{
	*ret_at = place_locked(s, name);
	return *ret_at < s->n && strcmp(s->blob[*ret_at]->name, name) == 0 ? s->blob[*ret_at]
									   : NULL;
}

/* A version 0 is a name with blocks only: no blob yet. */
static struct blob *add_locked(struct memstore *s, const char *name, size_t at)
{
	struct blob *b = need(calloc(1, sizeof(*b)));
	b->refs = 1;
	b->name = need(strdup(name));
	if (s->n == s->size) {
		s->size = s->size ? s->size * 2 : 1024;
		s->blob = need(reallocarray(s->blob, s->size, sizeof(*s->blob)));
	}
	memmove(s->blob + at + 1, s->blob + at, (s->n - at) * sizeof(*s->blob));
	s->blob[at] = b;
	s->n++;
	return b;
}

struct blob *memstore_get(struct memstore *s, const char *name)
{
	size_t at;
	pthread_mutex_lock(&s->lock);
	struct blob *b = find_locked(s, name, &at);
	if (b && b->version)
		b->refs++;
	else
		b = NULL;
	pthread_mutex_unlock(&s->lock);
	return b;
}

void blob_release(struct memstore *s, struct blob *b)
{
	pthread_mutex_lock(&s->lock);
	unref_locked(b);
	pthread_mutex_unlock(&s->lock);
}

static bool fits(const struct blob *b, const struct condition *cond)
{
	uint64_t version = b ? b->version : 0;
	return !(cond->match && cond->match != version) && !(cond->absent && version);
}

/* A new version stands in the place of the old one, which lives on for who reads it. */
static void replace_locked(struct memstore *s, const char *name, struct piece **piece, size_t n,
			   const char *meta, uint64_t *ret_version)
{
	size_t at;
	struct blob *old = find_locked(s, name, &at), *b;
	if (old) {
		s->n--;
		memmove(s->blob + at, s->blob + at + 1, (s->n - at) * sizeof(*s->blob));
	}
	b = add_locked(s, name, at);
	b->piece = need(calloc(n + 1, sizeof(*b->piece)));
	memcpy(b->piece, piece, n * sizeof(*piece));
	b->n_pieces = n;
	for (size_t i = 0; i < n; i++)
		b->size += piece[i]->len;
	b->meta = need(strdup(meta ? meta : ""));
	b->modified = time(NULL);
	*ret_version = b->version = ++s->version;
	if (old)
		unref_locked(old);
}

enum outcome memstore_put(struct memstore *s, const char *name, struct piece **piece, size_t n,
			  const char *meta, const struct condition *cond, uint64_t *ret_version)
{
	size_t at;
	pthread_mutex_lock(&s->lock);
	bool good = fits(find_locked(s, name, &at), cond);
	if (good)
		replace_locked(s, name, piece, n, meta, ret_version);
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; !good && i < n; i++)
		piece_unref(piece[i]);
	return good ? DONE : FAILED_CONDITION;
}

void memstore_put_block(struct memstore *s, const char *name, const char *id, struct piece *p)
{
	size_t at;
	struct block *k = need(malloc(sizeof(*k)));
	*k = (struct block){ .id = need(strdup(id)), .piece = p };
	pthread_mutex_lock(&s->lock);
	struct blob *b = find_locked(s, name, &at);
	if (!b)
		b = add_locked(s, name, at);
	k->next = b->blocks;
	b->blocks = k;
	pthread_mutex_unlock(&s->lock);
}

static struct piece *block_locked(const struct blob *b, const char *id)
{
	for (struct block *k = b ? b->blocks : NULL; k; k = k->next)
		if (strcmp(k->id, id) == 0)
			return k->piece;
	return NULL;
}

enum outcome memstore_commit(struct memstore *s, const char *name, char **id, const char *meta,
			     const struct condition *cond, uint64_t *ret_version)
{
	size_t at, n = 0, found = 0;
	while (id[n])
		n++;
	struct piece **piece = need(calloc(n + 1, sizeof(*piece)));
	pthread_mutex_lock(&s->lock);
	struct blob *b = find_locked(s, name, &at);
	enum outcome outcome = fits(b, cond) ? DONE : FAILED_CONDITION;
	while (outcome == DONE && found < n && (piece[found] = block_locked(b, id[found])))
		found++;
	if (outcome == DONE && found < n)
		outcome = NO_BLOCK;
	if (outcome == DONE) {
		for (size_t i = 0; i < n; i++)
			__atomic_add_fetch(&piece[i]->refs, 1, __ATOMIC_RELAXED);
		replace_locked(s, name, piece, n, meta, ret_version);
	}
	pthread_mutex_unlock(&s->lock);
	free(piece);
	return outcome;
}

enum outcome memstore_set_meta(struct memstore *s, const char *name, const char *meta,
			       const struct condition *cond, uint64_t *ret_version)
{
	struct blob *b = memstore_get(s, name);
	if (!b)
		return NO_BLOB;
	for (size_t i = 0; i < b->n_pieces; i++)
		__atomic_add_fetch(&b->piece[i]->refs, 1, __ATOMIC_RELAXED);
	enum outcome outcome =
		memstore_put(s, name, b->piece, b->n_pieces, meta, cond, ret_version);
	blob_release(s, b);
	return outcome;
}

enum outcome memstore_delete(struct memstore *s, const char *name, const struct condition *cond)
{
	size_t at;
	pthread_mutex_lock(&s->lock);
	struct blob *b = find_locked(s, name, &at);
	enum outcome outcome = !b || !b->version ? NO_BLOB
			       : fits(b, cond)   ? DONE
						 : FAILED_CONDITION;
	if (outcome == DONE) {
		s->n--;
		memmove(s->blob + at, s->blob + at + 1, (s->n - at) * sizeof(*s->blob));
		unref_locked(b);
	}
	pthread_mutex_unlock(&s->lock);
	return outcome;
}

/*
 * --- reading -----------------------------------------------------------------------------------
 */
char *memstore_list(struct memstore *s, const char *prefix, const char *marker, bool folds,
		    size_t max,
		    void (*on_name)(void *arg, const char *name, size_t len, const struct blob *b),
		    void *arg)
{
	size_t skip = strlen(prefix), n = 0;
	char *next = NULL;
	pthread_mutex_lock(&s->lock);
	for (size_t i = place_locked(s, marker ? marker : prefix); i < s->n; i++) {
		const struct blob *b = s->blob[i];
		if (strncmp(b->name, prefix, skip) != 0)
			break;
		if (!b->version)
			continue;
		if (n++ == max) {
			next = need(strdup(b->name));
			break;
		}
		const char *slash = folds ? strchr(b->name + skip, '/') : NULL;
		if (!slash) {
			on_name(arg, b->name, strlen(b->name), b);
			continue;
		}
		size_t len = (size_t)(slash + 1 - b->name);
		on_name(arg, b->name, len, NULL);
		/* '0' comes after '/': the first name behind all that are folded into this one. */
		char *after = need(strndup(b->name, len));
		after[len - 1] = '0';
		i = place_locked(s, after) - 1;
		free(after);
	}
	pthread_mutex_unlock(&s->lock);
	return next;
}

size_t blob_vectors(const struct blob *b, size_t off, size_t len, struct iovec *iov, size_t max)
{
	size_t n = 0;
	for (size_t i = 0; i < b->n_pieces && len && n < max; i++) {
		const struct piece *p = b->piece[i];
		if (off >= p->len) {
			off -= p->len;
			continue;
		}
		size_t here = p->len - off < len ? p->len - off : len;
		iov[n++] = (struct iovec){ .iov_base = p->data + off, .iov_len = here };
		len -= here;
		off = 0;
	}
	return n;
}
