/*
 * foreman/units.h - which images make one job when a pipeline goes by units of an event: the cells
 * of a grid that all roles cover, or the event as one. Pure.
 */
#ifndef ADAFS_FOREMAN_UNITS_H
#define ADAFS_FOREMAN_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "batch/base/cleanup.h"
#include "batch/pipeline/footprint.h"

/* An image of one event. */
struct units_image {
	size_t role;
	const struct adafs_image_geo *geo; /* borrowed */
};

#define UNITS_MAX_ROLES 64

/* A unit that all roles cover. */
struct unit {
	char id[ADAFS_CELL_ID_SIZE]; /* "13.4823.6160", or "all" */
	size_t first, n;             /* its images: member[first] and on, by role, then index */
};

struct units {
	struct unit *unit; /* by id's numbers: y, then x */
	size_t n;
	size_t *member;       /* indexes of images */
	uint64_t *roles_near; /* of each image: bit r: an image of role r is in one of its cells */
	size_t *n_cells;      /* of each image: how many it touches */
};

/*
 * zoom -1: the event is one unit. 0; -EINVAL with more than UNITS_MAX_ROLES roles; -E2BIG when the
 * images touch more than UNITS_MAX_TOUCHES cells together; -ENOMEM. *ret is then empty.
 */
#define UNITS_MAX_TOUCHES 2000000
int units_make(const struct units_image *image, size_t n, size_t n_roles, int zoom,
	       struct units *ret) ADAFS_MUST_CHECK;
void units_clear(struct units *u);

#endif
