/*
 * geo_proj.c - from an image's own coordinates to WGS84, by PROJ. Each call has its own context,
 * which belongs to its thread, and writes no log; PROJ never asks the network for better grids,
 * so that the same image has the same outline on every machine that has the same PROJ.
 */
#include <math.h>
#include <stdio.h>

#include <geodesic.h>
#include <proj.h>

#include "batch/pipeline/geo.h"

/*
 * Points a side at which the outline is followed: longitudes that wrap are told from those that
 * do not by steps of less than half a turn.
 */
#define STEPS 16
#define MAX_PIXEL_SIZE_M 1e8 /* more than the globe has around it */

struct projection {
	const double *transform;
	PJ_CONTEXT *ctx;
	PJ *crs;
	PJ *to_lonlat;
};

static void projection_clear(struct projection *p)
{
	proj_destroy(p->to_lonlat);
	proj_destroy(p->crs);
	proj_context_destroy(p->ctx);
}

static bool is_geographic(const struct projection *p)
{
	PJ_TYPE type = proj_get_type(p->crs);
	return type == PJ_TYPE_GEOGRAPHIC_2D_CRS || type == PJ_TYPE_GEOGRAPHIC_3D_CRS;
}

static bool projection_init(struct projection *p, const struct geo_ref *ref)
{
	char code[16];
	*p = (struct projection){ .transform = ref->transform, .ctx = proj_context_create() };
	if (!p->ctx)
		return false;
	proj_log_level(p->ctx, PJ_LOG_NONE);
	proj_context_set_enable_network(p->ctx, 0);
	snprintf(code, sizeof(code), "%u", ref->epsg);
	p->crs = proj_create_from_database(p->ctx, "EPSG", code, PJ_CATEGORY_CRS, 0, NULL);
	if (!p->crs || (!is_geographic(p) && proj_get_type(p->crs) != PJ_TYPE_PROJECTED_CRS))
		return false;
	PJ *wgs84 = proj_create_from_database(p->ctx, "EPSG", "4326", PJ_CATEGORY_CRS, 0, NULL);
	PJ *pj = wgs84 ? proj_create_crs_to_crs_from_pj(p->ctx, p->crs, wgs84, NULL, NULL) : NULL;
	/* GeoTIFF has east before north whatever the axes of the coordinate system are. */
	p->to_lonlat = pj ? proj_normalize_for_visualization(p->ctx, pj) : NULL;
	proj_destroy(pj);
	proj_destroy(wgs84);
	return p->to_lonlat != NULL;
}

static bool to_lonlat(const struct projection *p, double column, double row, double *ret_lon,
		      double *ret_lat)
{
	const double *t = p->transform;
	double x = t[0] + column * t[1] + row * t[2], y = t[3] + column * t[4] + row * t[5];
	if (!isfinite(x) || !isfinite(y))
		return false;
	/* The last one is the time of the coordinates: unknown. */
	PJ_COORD out = proj_trans(p->to_lonlat, PJ_FWD, proj_coord(x, y, 0, HUGE_VAL));
	/* Beyond two turns no longitude is meant, only damage. */
	if (!isfinite(out.xy.x) || !isfinite(out.xy.y) || fabs(out.xy.x) > 720 ||
	    fabs(out.xy.y) > 90 + 1e-7)
		return false;
	*ret_lon = out.xy.x;
	*ret_lat = fmin(fmax(out.xy.y, -90), 90);
	return true;
}

/* The longitude that is lon but for whole turns, and nearest to the one before. */
static double follow(double lon, double before)
{
	return lon + 360 * round((before - lon) / 360);
}

/* Into the range that the declaration promises; a hair below -180 is -180, computed. */
static bool shift_ring(struct adafs_image_geo *geo)
{
	double west = geo->lon[0], east = geo->lon[0];
	for (int i = 1; i < 4; i++) {
		west = fmin(west, geo->lon[i]);
		east = fmax(east, geo->lon[i]);
	}
	double shift = -360 * floor((west + 180 + 1e-9) / 360);
	for (int i = 0; i < 4; i++)
		geo->lon[i] += shift;
	return east - west <= 360 + 1e-6;
}

static bool trace_ring(const struct projection *p, uint32_t width, uint32_t height,
		       struct adafs_image_geo *ret)
{
	static const double corners[5][2] = { { 0, 0 }, { 1, 0 }, { 1, 1 }, { 0, 1 }, { 0, 0 } };
	double before = 0;
	for (int i = 0; i <= 4 * STEPS; i++) {
		const double *from = corners[i / STEPS % 4], *to = corners[i / STEPS % 4 + 1];
		double part = (double)(i % STEPS) / STEPS, lon = 0, lat = 0;
		if (!to_lonlat(p, width * (from[0] + (to[0] - from[0]) * part),
			       height * (from[1] + (to[1] - from[1]) * part), &lon, &lat))
			return false;
		if (i > 0)
			lon = follow(lon, before);
		before = lon;
		if (i % STEPS == 0 && i < 4 * STEPS) {
			ret->lon[i / STEPS] = lon;
			ret->lat[i / STEPS] = lat;
		}
	}
	/* Not back where it began: around a pole, which four corners cannot tell. */
	return fabs(before - ret->lon[0]) < 180 && shift_ring(ret);
}

static double distance(const struct projection *p, double column, double row, double lon,
		       double lat)
{
	struct geod_geodesic wgs84;
	double lon2 = 0, lat2 = 0, metres = 0;
	if (!to_lonlat(p, column, row, &lon2, &lat2))
		return 0;
	geod_init(&wgs84, 6378137, 1 / 298.257223563);
	geod_inverse(&wgs84, lat, lon, lat2, lon2, &metres, NULL, NULL);
	return metres;
}

/* Metres a unit of the coordinate system's axes; 0: unknown. */
static double unit_of(const struct projection *p)
{
	double metres = 0;
	PJ *axes = proj_crs_get_coordinate_system(p->ctx, p->crs);
	if (!axes ||
	    !proj_cs_get_axis_info(p->ctx, axes, 0, NULL, NULL, NULL, &metres, NULL, NULL, NULL))
		metres = 0;
	proj_destroy(axes);
	return metres;
}

static double measure_pixel(const struct projection *p, uint32_t width, uint32_t height)
{
	const double *t = p->transform;
	double column = width / 2.0, row = height / 2.0, lon = 0, lat = 0, size = 0;
	if (!is_geographic(p))
		size = unit_of(p) * fmax(hypot(t[1], t[4]), hypot(t[2], t[5]));
	else if (to_lonlat(p, column, row, &lon, &lat))
		size = fmax(distance(p, column + 1, row, lon, lat),
			    distance(p, column, row + 1, lon, lat));
	return isfinite(size) && size > 0 && size < MAX_PIXEL_SIZE_M ? size : 0;
}

void geo_locate(const struct geo_ref *ref, uint32_t width, uint32_t height,
		struct adafs_image_geo *ret)
{
	struct projection p;
	struct adafs_image_geo geo = { 0 };
	if (ref->epsg)
		snprintf(geo.crs, sizeof(geo.crs), "EPSG:%u", ref->epsg);
	*ret = geo;
	if (!ref->epsg || !ref->has_transform)
		return;
	if (projection_init(&p, ref)) {
		geo.has_footprint = trace_ring(&p, width, height, &geo);
		if (geo.has_footprint)
			*ret = geo;
		ret->pixel_size_m = measure_pixel(&p, width, height);
	}
	projection_clear(&p);
}
