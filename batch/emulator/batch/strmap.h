/* emulator/batch/strmap.h - a hash table from text to pointer; keys are copied, values borrowed. */
#ifndef ADAFS_EMULATOR_BATCH_STRMAP_H
#define ADAFS_EMULATOR_BATCH_STRMAP_H

#include <stdbool.h>
#include <stddef.h>

struct strmap_entry {
	struct strmap_entry *next;
	void *value;
	char key[];
};

/* All zero is an empty map. */
struct strmap {
	struct strmap_entry **bucket;
	size_t n_buckets, n;
};

void strmap_clear(struct strmap *m);
/* The value of key, or NULL. */
void *strmap_get(const struct strmap *m, const char *key);
/* Set or replace; value is not NULL. 0 or -ENOMEM; replacing never fails. */
int strmap_set(struct strmap *m, const char *key, void *value);
/* Remove; returns what was there, or NULL. */
void *strmap_del(struct strmap *m, const char *key);

#endif
