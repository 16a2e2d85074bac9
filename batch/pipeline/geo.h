/* pipeline/geo.h - from a GeoTIFF's tags to an outline on the globe. */
#ifndef ADAFS_PIPELINE_GEO_H
#define ADAFS_PIPELINE_GEO_H

#include <stdbool.h>
#include <stdint.h>

#include "batch/pipeline/footprint.h"

/* GeoTIFF's tags as the file has them, so of any length and content. Borrowed; NULL is n 0. */
struct geo_tags {
	const double *scale, *tiepoints, *matrix; /* 33550, 33922, 34264 */
	const uint16_t *keys;                     /* 34735 */
	uint16_t n_scale, n_tiepoints, n_matrix, n_keys;
};

/* What they say. */
struct geo_ref {
	bool has_transform;
	/*
	 * From pixels to the coordinate system's x (east, longitude) and y, whole numbers being the
	 * corners of pixels: x = t[0] + column * t[1] + row * t[2], y = t[3] + column * t[4] +
	 * row * t[5]. Finite, and never flat.
	 */
	double transform[6];
	unsigned epsg; /* the coordinate system's code; 0: none, or one of the file's own */
};

void geo_keys_read(const struct geo_tags *tags, struct geo_ref *ret);

/*
 * Outline, name of the coordinate system and pixel size of an image, by PROJ and its database.
 * What cannot be worked out stays unknown, which is no error: PROJ does not know the code, the
 * coordinates lie outside of its domain, a pole lies inside the image. Any thread may call.
 */
void geo_locate(const struct geo_ref *ref, uint32_t width, uint32_t height,
		struct adafs_image_geo *ret);

#endif
