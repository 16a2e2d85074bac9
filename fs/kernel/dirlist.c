/* dirlist.c - the names of a directory as one OPENDIR saw them. */
#include "fs/kernel/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int dirlist_add(struct dirlist *l, const char *name, uint64_t ino, mode_t mode, void *extra)
{
	if (l->n == l->size) {
		size_t size = l->size ? l->size * 2 : 32;
		struct dirent_item *item = reallocarray(l->item, size, sizeof(*item));
		if (!item)
			goto no_memory;
		l->item = item;
		l->size = size;
	}
	char *copy = strdup(name);
	if (!copy)
		goto no_memory;
	l->item[l->n++] =
		(struct dirent_item){ .name = copy, .ino = ino, .mode = mode, .extra = extra };
	return 0;
no_memory:
	if (extra && l->free_extra)
		l->free_extra(extra);
	return -ENOMEM;
}

void dirlist_clear(struct dirlist *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->item[i].name);
		if (l->item[i].extra && l->free_extra)
			l->free_extra(l->item[i].extra);
	}
	free(l->item);
	*l = (struct dirlist){ .free_extra = l->free_extra };
}
