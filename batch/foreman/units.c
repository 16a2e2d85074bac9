/* foreman/units.c - each image's cells, sorted, so that those of one cell stand together. */
#include "batch/foreman/units.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An image that touches a cell. */
struct touch {
	struct adafs_cell cell;
	size_t role, image;
};

struct touches {
	struct touch *v;
	size_t n, size;
};

static int add_touch(struct touches *t, struct adafs_cell cell, size_t role, size_t image)
{
	if (t->n == UNITS_MAX_TOUCHES)
		return -E2BIG;
	if (t->n == t->size) {
		size_t size = t->size ? 2 * t->size : 256;
		struct touch *v = realloc(t->v, size * sizeof(*v));
		if (!v)
			return -ENOMEM;
		t->v = v;
		t->size = size;
	}
	t->v[t->n++] = (struct touch){ cell, role, image };
	return 0;
}

static int touch_cells(struct touches *t, const struct units_image *image, size_t index, int zoom,
		       struct adafs_cell *cell, size_t *ret_n)
{
	int rc = adafs_footprint_cells(image->geo, (unsigned)zoom, cell, ADAFS_MAX_CELLS, ret_n);
	/* Refused at close; one that came by another way touches nothing. */
	if (rc < 0)
		*ret_n = 0;
	for (size_t i = 0; i < *ret_n; i++) {
		rc = add_touch(t, cell[i], image->role, index);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int order(size_t a, size_t b)
{
	return a < b ? -1 : a > b;
}

static int compare_cells(const struct adafs_cell *a, const struct adafs_cell *b)
{
	int c = order(a->y, b->y);
	return c ? c : order(a->x, b->x);
}

static int by_cell(const void *a, const void *b)
{
	const struct touch *x = a, *y = b;
	int c = compare_cells(&x->cell, &y->cell);
	if (!c)
		c = order(x->role, y->role);
	return c ? c : order(x->image, y->image);
}

static int collect(struct touches *t, const struct units_image *image, size_t n, int zoom,
		   struct units *u)
{
	struct adafs_cell *cell = calloc(ADAFS_MAX_CELLS, sizeof(*cell));
	int rc = cell ? 0 : -ENOMEM;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		u->n_cells[i] = 1;
		rc = zoom < 0 ? add_touch(t, (struct adafs_cell){ 0 }, image[i].role, i)
			      : touch_cells(t, &image[i], i, zoom, cell, &u->n_cells[i]);
	}
	free(cell);
	if (rc == 0 && t->n)
		qsort(t->v, t->n, sizeof(*t->v), by_cell);
	return rc;
}

/* The touches of one cell: a unit if every role is among them. */
static void see_cell(const struct touch *t, size_t n, size_t n_roles, int zoom, struct units *u,
		     size_t *n_members)
{
	uint64_t roles = 0, all = n_roles == 64 ? UINT64_MAX : (UINT64_C(1) << n_roles) - 1;
	for (size_t i = 0; i < n; i++)
		roles |= UINT64_C(1) << t[i].role;
	for (size_t i = 0; i < n; i++)
		u->roles_near[t[i].image] |= roles;
	if (roles != all)
		return;
	struct unit *unit = &u->unit[u->n++];
	unit->first = *n_members;
	unit->n = n;
	if (zoom < 0)
		strcpy(unit->id, "all");
	else
		adafs_cell_id(&t->cell, unit->id);
	for (size_t i = 0; i < n; i++)
		u->member[(*n_members)++] = t[i].image;
}

int units_make(const struct units_image *image, size_t n, size_t n_roles, int zoom,
	       struct units *ret)
{
	struct touches t = { 0 };
	size_t n_members = 0;
	*ret = (struct units){ 0 };
	if (n_roles == 0 || n_roles > UNITS_MAX_ROLES)
		return -EINVAL;
	ret->roles_near = calloc(n + 1, sizeof(*ret->roles_near));
	ret->n_cells = calloc(n + 1, sizeof(*ret->n_cells));
	int rc = ret->roles_near && ret->n_cells ? collect(&t, image, n, zoom, ret) : -ENOMEM;
	if (rc == 0) {
		ret->unit = calloc(t.n + 1, sizeof(*ret->unit));
		ret->member = calloc(t.n + 1, sizeof(*ret->member));
		rc = ret->unit && ret->member ? 0 : -ENOMEM;
	}
	for (size_t i = 0, end; rc == 0 && i < t.n; i = end) {
		for (end = i + 1; end < t.n && compare_cells(&t.v[i].cell, &t.v[end].cell) == 0;)
			end++;
		see_cell(&t.v[i], end - i, n_roles, zoom, ret, &n_members);
	}
	free(t.v);
	if (rc < 0)
		units_clear(ret);
	return rc;
}

void units_clear(struct units *u)
{
	free(u->unit);
	free(u->member);
	free(u->roles_near);
	free(u->n_cells);
	*u = (struct units){ 0 };
}
