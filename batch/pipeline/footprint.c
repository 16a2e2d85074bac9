/*
 * footprint.c - the geometry of outlines. Two planes: areas are compared in longitude and sine of
 * the latitude, which keeps areas, cells are found in the web map's own plane, where they are
 * squares. In both an outline is the convex hull of its four corners; the sides of a real image
 * bend a little between them.
 */
#include "batch/pipeline/footprint.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define RADIAN (M_PI / 180)

struct point {
	double x, y;
};

/* A clip adds one corner at most to a convex outline; the rest is room for rounding. */
#define MAX_CORNERS 24

struct outline {
	struct point at[MAX_CORNERS];
	int n;
};

static void add(struct outline *o, struct point p)
{
	if (o->n < MAX_CORNERS)
		o->at[o->n++] = p;
}

/* Twice the area of a, b, c: positive where they turn left. */
static double turn(struct point a, struct point b, struct point c)
{
	return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
}

static void sort_points(struct point p[4])
{
	for (int i = 1; i < 4; i++)
		for (int j = i; j > 0 && (p[j].x < p[j - 1].x ||
					  (p[j].x == p[j - 1].x && p[j].y < p[j - 1].y));
		     j--) {
			struct point swap = p[j];
			p[j] = p[j - 1];
			p[j - 1] = swap;
		}
}

/* Andrew's chain: below from left to right, above back again, which turns left all the way. */
static struct outline hull_of(const struct point corners[4])
{
	struct outline o = { .n = 0 };
	struct point p[4];
	memcpy(p, corners, sizeof(p));
	sort_points(p);
	for (int way = 0; way < 2; way++) {
		int first = o.n;
		for (int i = 0; i < 4; i++) {
			struct point next = p[way ? 3 - i : i];
			while (o.n >= first + 2 && turn(o.at[o.n - 2], o.at[o.n - 1], next) <= 0)
				o.n--;
			add(&o, next);
		}
		o.n--; /* the end of one way is the beginning of the other */
	}
	return o;
}

static double area_of(const struct outline *o)
{
	double twice = 0;
	for (int i = 1; i + 1 < o->n; i++)
		twice += turn(o->at[0], o->at[i], o->at[i + 1]);
	return fabs(twice) / 2;
}

/* What of o lies where distance(p) = a * x + b * y + c is not negative (Sutherland-Hodgman). */
static struct outline clip(const struct outline *o, double a, double b, double c)
{
	struct outline out = { .n = 0 };
	for (int i = 0; i < o->n; i++) {
		struct point p = o->at[i], q = o->at[(i + 1) % o->n];
		double dp = a * p.x + b * p.y + c, dq = a * q.x + b * q.y + c;
		if (dp >= 0)
			add(&out, p);
		if ((dp > 0 && dq < 0) || (dp < 0 && dq > 0)) {
			double part = dp / (dp - dq);
			add(&out,
			    (struct point){ p.x + (q.x - p.x) * part, p.y + (q.y - p.y) * part });
		}
	}
	return out;
}

/* --- overlap -------------------------------------------------------------------------------- */

static double shared_area(const struct outline *a, const struct outline *b)
{
	struct outline left = *a;
	for (int i = 0; i < b->n && left.n > 0; i++) {
		struct point p = b->at[i], q = b->at[(i + 1) % b->n];
		left = clip(&left, p.y - q.y, q.x - p.x, p.x * q.y - q.x * p.y);
	}
	return area_of(&left);
}

/* Seen from (lon, lat), so that the areas of small images do not drown in rounding. */
static struct outline on_equal_area(const struct adafs_image_geo *g, double lon, double lat)
{
	struct point p[4];
	for (int i = 0; i < 4; i++) {
		double sum = (g->lat[i] + lat) * RADIAN, difference = (g->lat[i] - lat) * RADIAN;
		p[i].x = (g->lon[i] - lon) * RADIAN;
		p[i].y = 2 * cos(sum / 2) * sin(difference / 2); /* sin lat[i] - sin lat */
	}
	return hull_of(p);
}

double adafs_footprint_overlap(const struct adafs_image_geo *a, const struct adafs_image_geo *b)
{
	if (!a->has_footprint || !b->has_footprint)
		return -1;
	double lon = a->lon[0], lat = a->lat[0], shared = 0;
	struct outline pa = on_equal_area(a, lon, lat), pb = on_equal_area(b, lon, lat);
	double smaller = fmin(area_of(&pa), area_of(&pb));
	if (!(smaller > 0))
		return 0;
	/* Corners at most half a turn apart, and outlines of a whole turn at most on both sides. */
	double turns = round((lon - b->lon[0]) / 360);
	for (int k = -2; k <= 2; k++) {
		pb = on_equal_area(b, lon - 360 * (turns + k), lat);
		shared += shared_area(&pa, &pb);
	}
	return fmin(shared / smaller, 1);
}

/* --- cells ---------------------------------------------------------------------------------- */

/* What is less in width or height than this, in cells, is nothing. */
struct slack {
	double x, y;
};

struct row {
	int64_t first, n; /* cells from first on, east, before any wrap */
};

/*
 * The poles are infinitely far; what is beyond 89.9 degrees lies there, which changes nothing on
 * the map.
 */
static struct outline on_map(const struct adafs_image_geo *g, double side, struct slack *ret)
{
	struct point p[4];
	double north = 0;
	for (int i = 0; i < 4; i++) {
		double lat = fmin(fmax(g->lat[i], -89.9), 89.9) * RADIAN;
		p[i].x = (g->lon[i] + 180) / 360 * side;
		p[i].y = (1 - asinh(tan(lat)) / M_PI) / 2 * side;
		north = fmax(north, fmin(fabs(lat), 85.06 * RADIAN));
	}
	/* Half a unit of the 7th decimal is what a corner moves by in the facts line. */
	ret->x = 1e-6 + 1e-7 / 360 * side;
	ret->y = 1e-6 + 1e-7 / 360 * side / cos(north);
	return hull_of(p);
}

/* The strip of one row is convex too: which cells of it are touched is a matter of its ends. */
static struct row find_row(const struct outline *o, struct slack slack, int64_t y, int64_t side)
{
	struct outline strip = clip(o, 0, 1, -((double)y + slack.y));
	strip = clip(&strip, 0, -1, (double)y + 1 - slack.y);
	if (strip.n == 0)
		return (struct row){ 0, 0 };
	double west = strip.at[0].x, east = strip.at[0].x;
	for (int i = 1; i < strip.n; i++) {
		west = fmin(west, strip.at[i].x);
		east = fmax(east, strip.at[i].x);
	}
	int64_t first = (int64_t)floor(west + slack.x), last = (int64_t)ceil(east - slack.x) - 1;
	int64_t n = last < first ? 0 : last - first + 1;
	return (struct row){ first, n < side ? n : side };
}

static int64_t wrap(int64_t x, int64_t side)
{
	return ((x % side) + side) % side;
}

struct cells {
	struct adafs_cell *out;
	size_t max, n;
};

static void put_cell(struct cells *c, unsigned zoom, int64_t x, int64_t y)
{
	if (c->n < c->max)
		c->out[c->n] = (struct adafs_cell){ zoom, (unsigned)x, (unsigned)y };
	c->n++;
}

/* A row that wraps begins with what lies past the antimeridian, as x says. */
static void put_row(struct cells *c, unsigned zoom, struct row row, int64_t y, int64_t side)
{
	int64_t first = wrap(row.first, side);
	int64_t past = first + row.n > side ? first + row.n - side : 0;
	if (c->n >= c->max) {
		c->n += (size_t)row.n; /* only counted */
		return;
	}
	for (int64_t x = 0; x < past; x++)
		put_cell(c, zoom, x, y);
	for (int64_t x = first; x < first + row.n - past; x++)
		put_cell(c, zoom, x, y);
}

/* Smaller than the slack, and on a border: the cell of its middle. */
static void put_middle(struct cells *c, unsigned zoom, const struct outline *o, int64_t side)
{
	struct point sum = { 0, 0 };
	for (int i = 0; i < o->n; i++) {
		sum.x += o->at[i].x / o->n;
		sum.y += o->at[i].y / o->n;
	}
	if (o->n && sum.y >= 0 && sum.y < (double)side)
		put_cell(c, zoom, wrap((int64_t)floor(sum.x), side), (int64_t)sum.y);
}

int adafs_footprint_cells(const struct adafs_image_geo *geo, unsigned zoom, struct adafs_cell *out,
			  size_t max, size_t *ret_n)
{
	*ret_n = 0;
	if (zoom > ADAFS_CELL_MAX_ZOOM)
		return -EINVAL;
	if (!geo->has_footprint)
		return -ENODATA;
	struct slack slack;
	int64_t side = (int64_t)1 << zoom;
	struct cells c = { out, max, 0 };
	struct outline o = on_map(geo, (double)side, &slack);
	double north = side, south = 0;
	for (int i = 0; i < o.n; i++) {
		north = fmin(north, o.at[i].y);
		south = fmax(south, o.at[i].y);
	}
	for (int64_t y = (int64_t)fmax(floor(north), 0); y < side && (double)y < south; y++)
		put_row(&c, zoom, find_row(&o, slack, y, side), y, side);
	if (c.n == 0)
		put_middle(&c, zoom, &o, side);
	*ret_n = c.n;
	return c.n > max ? -E2BIG : 0;
}

void adafs_cell_id(const struct adafs_cell *cell, char out[ADAFS_CELL_ID_SIZE])
{
	snprintf(out, ADAFS_CELL_ID_SIZE, "%u.%u.%u", cell->zoom, cell->x, cell->y);
}
