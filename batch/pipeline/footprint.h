/*
 * pipeline/footprint.h - where an image lies: its outline on the globe, how much of it another one
 * shares, the map cells it touches, and all that is known of it as one line for a blob's metadata.
 */
#ifndef ADAFS_PIPELINE_FOOTPRINT_H
#define ADAFS_PIPELINE_FOOTPRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/base/cleanup.h"

struct adafs_image_info;

#define ADAFS_IMAGE_DATE_SIZE 21

/* Where an image lies. All zero: not known. */
struct adafs_image_geo {
	bool has_footprint;
	/*
	 * The outer corners of the image in WGS84 degrees, in ring order: of its first pixel, along
	 * the first row, along the last column, back along the last row. Which way that turns and
	 * where north is depends on the image. The westernmost lon is from -180 to 180, the others
	 * follow without a jump, so that they pass 180 where the image crosses the antimeridian.
	 */
	double lon[4], lat[4];
	char crs[32]; /* "EPSG:32618"; "" unknown. May be known without a footprint. */
	/*
	 * The longer side of a pixel in metres: of the coordinate system where that has a length
	 * (Web Mercator's metres shrink away from the equator), on the ellipsoid at the image's
	 * centre where it is in degrees. 0: unknown.
	 */
	double pixel_size_m;
};

/* --- geometry ------------------------------------------------------------------------------- */

/*
 * The area that both cover as a share, 0 to 1, of the smaller one; longitudes are compared modulo
 * 360. -1 when one of them has no footprint.
 */
double adafs_footprint_overlap(const struct adafs_image_geo *a, const struct adafs_image_geo *b);

/* A square of the web map: zoom has 2^zoom by 2^zoom of them, x from -180 east, y from north. */
struct adafs_cell {
	unsigned zoom, x, y;
};

#define ADAFS_CELL_MAX_ZOOM 22
/* So many cells an image of a pipeline may touch that goes by a grid. */
#define ADAFS_MAX_CELLS 4096

/*
 * All cells of a zoom that share an area with the footprint, by y, then x. Less than a millionth
 * of a cell, or what the facts line rounds away, is none: an image that was cut to a cell's border
 * touches that cell alone. An image has one cell at least, unless all of it lies beyond the map,
 * which ends at 85.0511 degrees: 0 cells. The longitude wraps.
 *
 * Writes at most max cells to out and their number to *ret_n. 0; -E2BIG with the number of all
 * when there are more than max, out is then not to be used; -ENODATA without a footprint; -EINVAL
 * for a zoom above ADAFS_CELL_MAX_ZOOM. *ret_n is 0 after the last two.
 */
int adafs_footprint_cells(const struct adafs_image_geo *geo, unsigned zoom, struct adafs_cell *out,
			  size_t max, size_t *ret_n) ADAFS_MUST_CHECK;

#define ADAFS_CELL_ID_SIZE 36
/* "13.4823.6160": zoom, x, y, as ADA's create-index writes them and setup-wd looks for them. */
void adafs_cell_id(const struct adafs_cell *cell, char out[ADAFS_CELL_ID_SIZE]);

/* --- facts ---------------------------------------------------------------------------------- */

/* Room for any line of facts. */
#define ADAFS_IMAGE_FACTS_SIZE 400

/*
 * What the check found as one line of printable ASCII for a blob's metadata, degrees and metres to
 * 7 decimals: "v1 w=791 h=718 bands=3 bits=8 format=TIFF geo=1 crs=EPSG:32618 gsd=300.0417827
 * date=2026-05-03 ring=-78.9,25.5,...". What is unknown is left out. 0; -ENOSPC, -EINVAL when a
 * value cannot be told (no format, a coordinate that is no number); out is "" then, if size allows.
 */
int adafs_image_facts_write(const struct adafs_image_info *info, char *out,
			    size_t size) ADAFS_MUST_CHECK;
/*
 * The way back. Keys that are not known are skipped, so that a newer program may add some. 0, or
 * -EINVAL for any other text, with *ret unchanged.
 */
int adafs_image_facts_read(const char *text, struct adafs_image_info *ret) ADAFS_MUST_CHECK;

#endif
