/* emulator/batch/strmap.c - the hash table. Its owner locks. */
#include "batch/emulator/batch/strmap.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static uint64_t hash(const char *key)
{
	uint64_t h = 1469598103934665603u;
	for (; *key; key++)
		h = (h ^ (unsigned char)*key) * 1099511628211u;
	return h ^ (h >> 29);
}

static struct strmap_entry **find(const struct strmap *m, const char *key)
{
	struct strmap_entry **at = &m->bucket[hash(key) & (m->n_buckets - 1)];
	while (*at && strcmp((*at)->key, key) != 0)
		at = &(*at)->next;
	return at;
}

static int grow(struct strmap *m)
{
	size_t n = m->n_buckets ? m->n_buckets * 2 : 16;
	struct strmap_entry **bucket = calloc(n, sizeof(struct strmap_entry *));
	if (!bucket)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_buckets; i++) {
		while (m->bucket[i]) {
			struct strmap_entry *e = m->bucket[i];
			m->bucket[i] = e->next;
			struct strmap_entry **to = &bucket[hash(e->key) & (n - 1)];
			e->next = *to;
			*to = e;
		}
	}
	free(m->bucket);
	m->bucket = bucket;
	m->n_buckets = n;
	return 0;
}

void strmap_clear(struct strmap *m)
{
	for (size_t i = 0; i < m->n_buckets; i++) {
		while (m->bucket[i]) {
			struct strmap_entry *e = m->bucket[i];
			m->bucket[i] = e->next;
			free(e);
		}
	}
	free(m->bucket);
	*m = (struct strmap){ 0 };
}

void *strmap_get(const struct strmap *m, const char *key)
{
	struct strmap_entry *e = m->n ? *find(m, key) : NULL;
	return e ? e->value : NULL;
}

int strmap_set(struct strmap *m, const char *key, void *value)
{
	struct strmap_entry **at = m->n ? find(m, key) : NULL;
	if (!at || !*at) {
		if (m->n >= m->n_buckets && grow(m) < 0)
			return -ENOMEM;
		at = find(m, key);
		size_t size = strlen(key) + 1;
		struct strmap_entry *e = malloc(sizeof(*e) + size);
		if (!e)
			return -ENOMEM;
		e->next = NULL;
		memcpy(e->key, key, size);
		*at = e;
		m->n++;
	}
	(*at)->value = value;
	return 0;
}

void *strmap_del(struct strmap *m, const char *key)
{
	struct strmap_entry **at = m->n ? find(m, key) : NULL;
	if (!at || !*at)
		return NULL;
	struct strmap_entry *e = *at;
	void *value = e->value;
	*at = e->next;
	free(e);
	m->n--;
	return value;
}
