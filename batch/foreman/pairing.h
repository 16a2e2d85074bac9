/* foreman/pairing.h - which images make one job when a pipeline has several roles. Pure. */
#ifndef ADAFS_FOREMAN_PAIRING_H
#define ADAFS_FOREMAN_PAIRING_H

#include <stdbool.h>
#include <stddef.h>

/* An image of one event that may take part. */
struct pairing_image {
	const char *blob;
	size_t role;
};

/* The name by which partners find each other: base name without its last extension. free() it. */
char *pairing_key(const char *blob);

/*
 * Partners of images[self]: ret[role] becomes the index of the image of that role with the same
 * key, compared byte by byte, or SIZE_MAX when there is none. When a role holds several (x.tif and
 * x.png) the first by name counts. Returns whether every role is there and self is one of them. Out
 * of memory counts as incomplete.
 */
bool pairing_find(const struct pairing_image *images, size_t n, size_t self, size_t n_roles,
		  size_t *ret);

/*
 * Where the missing partner belongs: the role's pattern with its wildcard part replaced by the name
 * of the image that is there ("pre-event/x.tif"). free() it; NULL: out of memory.
 */
char *pairing_suggest(const char *match, const char *blob);

#endif
