/* foreman/pairing.h - which images make one job when a pipeline has several roles. Pure. */
#ifndef ADAFS_FOREMAN_PAIRING_H
#define ADAFS_FOREMAN_PAIRING_H

#include <stdbool.h>
#include <stddef.h>

#include "batch/pipeline/footprint.h"

/* An image of one event that may take part. */
struct pairing_image {
	const char *blob;
	size_t role;
	const struct adafs_image_geo *geo; /* without a footprint, or NULL: only its name counts */
	bool taken;                        /* it has its partners already */
};

/* The images of an event, and what their pipeline demands. */
struct pairing {
	const struct pairing_image *image;
	size_t n;
	size_t n_roles;
	const double *min_overlap; /* of each role: the least share of the smaller image; 0: any */
	bool quiet;                /* nothing more is being copied into the event */
};

enum pairing_verdict {
	PAIRING_FOUND,
	PAIRING_ALONE, /* of some role there is none */
	PAIRING_WEAK,  /* they overlap by little: a better one may still come */
};

/* Two such images are partners at once; with less only when the event is quiet. */
#define PAIRING_STRONG 0.5

/*
 * Partners of image[self]. Two images are possible partners when their footprints overlap, by as
 * much as both roles demand; where a footprint is not known, when their keys, the base names
 * without their last extensions, are the same. Of several the one that overlaps most counts, then
 * the one with the same key, then the first by name; and each must be the best for the other.
 * ret[role] becomes the index of the image of that role, or SIZE_MAX when there is none.
 */
enum pairing_verdict pairing_find(const struct pairing *p, size_t self, size_t *ret);

/* How two images belong together: "overlap by 87 %", "have the same name". free() it. */
char *pairing_reason(const struct pairing_image *a, const struct pairing_image *b);

/*
 * An image of the role that has the key of image[self] and is no partner, because they overlap too
 * little: SIZE_MAX when there is none. *ret_overlap is their share.
 */
size_t pairing_misfit(const struct pairing *p, size_t self, size_t role, double *ret_overlap);

/*
 * Where the missing partner belongs: the role's pattern with its wildcard part replaced by the name
 * of the image that is there ("pre-event/x.tif"). free() it; NULL: out of memory.
 */
char *pairing_suggest(const char *match, const char *blob);

#endif
