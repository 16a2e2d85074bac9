/* Where an image lies: GeoTIFFs as they are and as they should not be, overlaps, cells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <tiffio.h>

#include "batch/base/buf.h"
#include "batch/base/file.h"
#include "batch/pipeline/geo.h"
#include "batch/pipeline/image.h"

#define MERCATOR_HALF 20037508.342789244
#define POINT 2
#define USER_DEFINED 32767

/* --- files ---------------------------------------------------------------------------------- */

/* What a file says of itself; all zero: nothing. */
struct said {
	uint32_t width, height;
	double x, y;             /* of the corner of the first pixel */
	double pixel_x, pixel_y; /* 0: the matrix is used */
	double matrix[16];
	unsigned projected, geographic, raster_type;
	const uint16_t *keys; /* instead of the three before */
	uint16_t n_keys;
	const char *date;
};

static void merge_tags(TIFF *tif)
{
	static const TIFFFieldInfo tags[] = {
		{ 33550, -1, -1, TIFF_DOUBLE, FIELD_CUSTOM, 1, 1, (char *)"Scale" },
		{ 33922, -1, -1, TIFF_DOUBLE, FIELD_CUSTOM, 1, 1, (char *)"Tiepoint" },
		{ 34264, -1, -1, TIFF_DOUBLE, FIELD_CUSTOM, 1, 1, (char *)"Matrix" },
		{ 34735, -1, -1, TIFF_SHORT, FIELD_CUSTOM, 1, 1, (char *)"Keys" },
	};
	TIFFMergeFieldInfo(tif, tags, ADAFS_ARRAY_SIZE(tags));
}

static void set_keys(TIFF *tif, const struct said *s)
{
	uint16_t keys[24] = { 1, 1, 0, 0 };
	unsigned rows[][2] = { { 1024, s->projected ? 1 : 2 },
			       { 1025, s->raster_type ? s->raster_type : 1 },
			       { 2048, s->geographic },
			       { 3072, s->projected } };
	uint16_t n = 0;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		if (!rows[i][1])
			continue;
		uint16_t *k = keys + 4 + 4 * (size_t)n++;
		k[0] = (uint16_t)rows[i][0];
		k[2] = 1;
		k[3] = (uint16_t)rows[i][1];
	}
	keys[3] = n;
	TIFFSetField(tif, 34735, s->keys ? s->n_keys : 4 + 4 * n, s->keys ? s->keys : keys);
}

static void set_place(TIFF *tif, const struct said *s)
{
	double scale[3] = { s->pixel_x, s->pixel_y, 0 }, tiepoint[6] = { 0, 0, 0, s->x, s->y, 0 };
	if (s->pixel_x != 0) {
		TIFFSetField(tif, 33550, 3, scale);
		TIFFSetField(tif, 33922, 6, tiepoint);
	} else if (s->matrix[15] != 0) {
		TIFFSetField(tif, 34264, 16, s->matrix);
	}
}

static int write_image(const struct said *s)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	assert_true(fd >= 0);
	TIFF *tif = TIFFFdOpen(dup(fd), "image", "w");
	assert_non_null(tif);
	merge_tags(tif);
	TIFFSetField(tif, TIFFTAG_IMAGEWIDTH, s->width);
	TIFFSetField(tif, TIFFTAG_IMAGELENGTH, s->height);
	TIFFSetField(tif, TIFFTAG_SAMPLESPERPIXEL, 1);
	TIFFSetField(tif, TIFFTAG_BITSPERSAMPLE, 8);
	TIFFSetField(tif, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK);
	TIFFSetField(tif, TIFFTAG_ROWSPERSTRIP, s->height);
	TIFFSetField(tif, TIFFTAG_COMPRESSION, COMPRESSION_ADOBE_DEFLATE);
	if (s->date)
		TIFFSetField(tif, TIFFTAG_DATETIME, s->date);
	set_place(tif, s);
	if (s->projected || s->geographic || s->keys)
		set_keys(tif, s);
	ADAFS_FREE uint8_t *row = calloc(1, s->width);
	for (uint32_t y = 0; y < s->height; y++)
		assert_true(TIFFWriteScanline(tif, row, y, 0) >= 0);
	TIFFClose(tif);
	return fd;
}

static struct adafs_image_info check_image(const struct said *s)
{
	ADAFS_CLOSE int fd = write_image(s);
	struct stat st;
	struct adafs_image_info info = { 0 };
	struct adafs_err err = { 0 };
	assert_int_equal(fstat(fd, &st), 0);
	if (adafs_image_check(fd, st.st_size, &info, &err) < 0)
		fail_msg("%s", err.msg);
	return info;
}

static void assert_near(double got, double want, double slack)
{
	if (!(fabs(got - want) <= slack))
		fail_msg("%.9f is not %.9f", got, want);
}

static void assert_ring(const struct adafs_image_geo *geo, const double want[8], double slack)
{
	assert_true(geo->has_footprint);
	for (int i = 0; i < 4; i++) {
		assert_near(geo->lon[i], want[2 * i], slack);
		assert_near(geo->lat[i], want[2 * i + 1], slack);
	}
}

/* As gdalinfo tells the corners, to a hundredth of a second. */
#define DMS(d, m, s) ((d) + (m) / 60.0 + (s) / 3600.0)
static const double rgb_ring[8] = { -DMS(78, 57, 31.14), DMS(25, 30, 21.91),  -DMS(76, 35, 57.98),
				    DMS(25, 33, 3.15),   -DMS(76, 34, 29.73), DMS(23, 36, 21.41),
				    -DMS(78, 53, 53.28), DMS(23, 33, 53.97) };

static void test_utm(void **state)
{
	(void)state;
	struct adafs_image_info info = check_image(&(struct said){ .width = 791,
								   .height = 718,
								   .x = 101985,
								   .y = 2826915,
								   .pixel_x = 300.037926675094809,
								   .pixel_y = 300.041782729804993,
								   .projected = 32618,
								   .geographic = 4326 });
	assert_true(info.georeferenced);
	assert_string_equal(info.geo.crs, "EPSG:32618");
	assert_ring(&info.geo, rgb_ring, 0.005 / 3600);
	assert_near(info.geo.pixel_size_m, 300.0417827, 1e-6);
	assert_string_equal(info.date, "");
}

static void test_shared_file(void **state)
{
	(void)state;
	const char *dir = getenv("ADAFS_SHARED");
	ADAFS_FREE char *path = adafs_fmt("%s/data/RGB.byte.tif", dir ? dir : "");
	ADAFS_CLOSE int fd = dir ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0) {
		print_message("skipped: the shared images are not there (ADAFS_SHARED)\n");
		free(path);
		path = NULL; /* skip() does not return */
		skip();
	}
	struct stat st;
	struct adafs_image_info info = { 0 };
	struct adafs_err err = { 0 };
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(adafs_image_check(fd, st.st_size, &info, &err), 0);
	assert_string_equal(info.geo.crs, "EPSG:32618");
	assert_ring(&info.geo, rgb_ring, 0.005 / 3600);
}

static const struct said degrees = { .width = 100,
				     .height = 50,
				     .x = 18,
				     .y = 5,
				     .pixel_x = 0.01,
				     .pixel_y = 0.02,
				     .geographic = 4326 };

static void test_degrees(void **state)
{
	(void)state;
	struct adafs_image_info info = check_image(&degrees);
	assert_string_equal(info.geo.crs, "EPSG:4326");
	assert_ring(&info.geo, (double[]){ 18, 5, 19, 5, 19, 4, 18, 4 }, 1e-9);
	/* 0.02 degrees of a meridian at 4.5 north. */
	assert_near(info.geo.pixel_size_m, 2211.6, 0.3);
}

static void test_whole_world(void **state)
{
	(void)state;
	struct said s = degrees;
	s.x = -180;
	s.y = 90;
	s.pixel_x = 3.6;
	s.pixel_y = 3.6;
	struct adafs_image_info info = check_image(&s);
	assert_ring(&info.geo, (double[]){ -180, 90, 180, 90, 180, -90, -180, -90 }, 1e-9);
	/* From 0 to 360, as climate models have it: the same place. */
	s.x = 0;
	struct adafs_image_info other = check_image(&s);
	assert_ring(&other.geo, (double[]){ 0, 90, 360, 90, 360, -90, 0, -90 }, 1e-9);
	assert_near(adafs_footprint_overlap(&info.geo, &other.geo), 1, 1e-9);
}

static double mercator_lon(double x)
{
	return x / MERCATOR_HALF * 180;
}

static double mercator_lat(double y)
{
	return atan(sinh(y / MERCATOR_HALF * M_PI)) * 180 / M_PI;
}

static void test_mercator(void **state)
{
	(void)state;
	struct adafs_image_info info = check_image(&(struct said){ .width = 20,
								   .height = 10,
								   .x = 2e6,
								   .y = 5e5,
								   .pixel_x = 0.5,
								   .pixel_y = 0.5,
								   .projected = 3857 });
	double west = mercator_lon(2e6), east = mercator_lon(2e6 + 10);
	double north = mercator_lat(5e5), south = mercator_lat(5e5 - 5);
	assert_ring(&info.geo, (double[]){ west, north, east, north, east, south, west, south },
		    1e-9);
	assert_near(info.geo.pixel_size_m, 0.5, 1e-9);
}

static void test_rotated(void **state)
{
	(void)state;
	double c = cos(0.5), s = sin(0.5), x = -3e6, y = -2e6;
	struct said said = { .width = 400, .height = 300, .projected = 3857 };
	const double matrix[16] = { 10 * c, 10 * s, 0, x, 10 * s, -10 * c, 0, y,
				    0,      0,      0, 0, 0,      0,       0, 1 };
	memcpy(said.matrix, matrix, sizeof(matrix));
	struct adafs_image_info info = check_image(&said);
	double want[8];
	for (int i = 0; i < 4; i++) {
		double column = i == 1 || i == 2 ? 400 : 0, row = i >= 2 ? 300 : 0;
		want[2 * i] = mercator_lon(x + 10 * (c * column + s * row));
		want[2 * i + 1] = mercator_lat(y + 10 * (s * column - c * row));
	}
	assert_true(info.georeferenced);
	assert_ring(&info.geo, want, 1e-9);
	assert_near(info.geo.pixel_size_m, 10, 1e-9);
}

static void test_pixel_is_point(void **state)
{
	(void)state;
	struct said s = degrees;
	s.raster_type = POINT;
	struct adafs_image_info info = check_image(&s);
	assert_ring(&info.geo, (double[]){ 17.995, 5.01, 18.995, 5.01, 18.995, 4.01, 17.995, 4.01 },
		    1e-9);
}

/* Feet are no metres, and north before east in the registry is east before north in a file. */
static void test_units_and_axes(void **state)
{
	(void)state;
	struct said s = { .width = 10,
			  .height = 10,
			  .x = 985000,
			  .y = 200000,
			  .pixel_x = 1,
			  .pixel_y = 1,
			  .projected = 2263 };
	struct adafs_image_info feet = check_image(&s);
	assert_near(feet.geo.pixel_size_m, 0.3048006, 1e-7);
	assert_near(feet.geo.lon[0], -74, 0.2);
	assert_near(feet.geo.lat[0], 40.7, 0.2);
	s.x = 1750000;
	s.y = 5430000;
	s.projected = 2193;
	struct adafs_image_info wellington = check_image(&s);
	assert_near(wellington.geo.lon[0], 174.8, 0.2);
	assert_near(wellington.geo.lat[0], -41.3, 0.2);
}

static void test_antimeridian(void **state)
{
	(void)state;
	struct said s = degrees;
	s.x = 179.5;
	struct adafs_image_info east = check_image(&s);
	assert_ring(&east.geo, (double[]){ 179.5, 5, 180.5, 5, 180.5, 4, 179.5, 4 }, 1e-9);
	s.x = -180.5;
	struct adafs_image_info west = check_image(&s);
	assert_ring(&west.geo, (double[]){ 179.5, 5, 180.5, 5, 180.5, 4, 179.5, 4 }, 1e-9);
	/* UTM zone 60 ends there, and images go on. */
	struct adafs_image_info fiji = check_image(&(struct said){ .width = 100,
								   .height = 100,
								   .x = 780000,
								   .y = 8000000,
								   .pixel_x = 1000,
								   .pixel_y = 1000,
								   .projected = 32760 });
	assert_true(fiji.geo.has_footprint);
	assert_near(fiji.geo.lon[0], 179.6, 0.1);
	assert_near(fiji.geo.lon[1], 180.6, 0.1);
	assert_near(fiji.geo.lon[2], 180.6, 0.1);
	assert_near(fiji.geo.lon[3], 179.6, 0.1);
	struct adafs_image_info mercator = check_image(&(struct said){ .width = 100,
								       .height = 100,
								       .x = MERCATOR_HALF - 500,
								       .y = 1000,
								       .pixel_x = 10,
								       .pixel_y = 10,
								       .projected = 3857 });
	assert_near(mercator.geo.lon[1], mercator_lon(MERCATOR_HALF + 500), 1e-9);
}

static void expect_nowhere(const struct said *s, const char *crs)
{
	struct adafs_image_info info = check_image(s);
	assert_false(info.geo.has_footprint);
	assert_string_equal(info.geo.crs, crs);
	for (int i = 0; i < 4; i++)
		assert_true(info.geo.lon[i] == 0 && info.geo.lat[i] == 0);
}

static void test_nowhere(void **state)
{
	(void)state;
	struct said s = degrees;
	expect_nowhere(&(struct said){ .width = 5, .height = 5 }, "");
	expect_nowhere(&(struct said){ .width = 5, .height = 5, .projected = 32618 }, "EPSG:32618");
	s.geographic = 0;
	expect_nowhere(&s, "");
	/* Its own system, although the base of that has a code. */
	s.geographic = 4326;
	s.projected = USER_DEFINED;
	expect_nowhere(&s, "");
	/* No such code; one that is a height. */
	s.projected = 1025;
	expect_nowhere(&s, "EPSG:1025");
	s.projected = 5703;
	expect_nowhere(&s, "EPSG:5703");
	s.projected = 0;
	s.y = 91;
	expect_nowhere(&s, "EPSG:4326");
	s.y = 1e300;
	expect_nowhere(&s, "EPSG:4326");
	s.y = NAN;
	expect_nowhere(&s, "EPSG:4326");
	s.y = 5;
	s.pixel_y = INFINITY;
	expect_nowhere(&s, "EPSG:4326");
	s.pixel_y = 0;
	expect_nowhere(&s, "EPSG:4326");
	s.projected = 32618;
	s.pixel_x = s.pixel_y = 1e12;
	expect_nowhere(&s, "EPSG:32618");
}

static void test_pole(void **state)
{
	(void)state;
	struct said s = { .width = 100,
			  .height = 100,
			  .x = -50000,
			  .y = 50000,
			  .pixel_x = 1000,
			  .pixel_y = 1000,
			  .projected = 3031 };
	struct adafs_image_info info = check_image(&s);
	assert_false(info.geo.has_footprint);
	assert_near(info.geo.pixel_size_m, 1000, 1e-9);
	s.x = 1e6;
	info = check_image(&s);
	assert_true(info.geo.has_footprint);
	assert_near(info.geo.lon[0], 87.1, 0.1);
}

static void test_date_of_file(void **state)
{
	(void)state;
	struct said s = degrees;
	s.date = "2026:05:03 10:11:12";
	assert_string_equal(check_image(&s).date, "2026-05-03T10:11:12Z");
	s.date = "0000:00:00 00:00:00";
	assert_string_equal(check_image(&s).date, "");
}

/* --- hostile keys --------------------------------------------------------------------------- */

static uint32_t next_random(uint64_t *s)
{
	*s = *s * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*s >> 33);
}

static void test_hostile_files(void **state)
{
	(void)state;
	static const uint16_t none[] = { 1, 1, 0, 65535 };
	static const uint16_t cut[] = { 1, 1, 0, 2, 1024, 0, 1, 2, 2048, 0, 1 };
	static const uint16_t outside[] = { 1, 1, 0, 1, 2048, 34735, 1, 12 };
	static const uint16_t inside[] = { 1, 1, 0, 1, 2048, 34735, 1, 8, 4326 };
	static const uint16_t params[] = { 1, 1, 0, 1, 2048, 34736, 9, 60000 };
	static const uint16_t head[] = { 1, 1, 0 };
	static const uint16_t version[] = { 2, 1, 0, 1, 2048, 0, 1, 4326 };
	static const struct {
		const uint16_t *keys;
		size_t size;
		const char *crs;
	} rows[] = {
		{ none, sizeof(none), "" },       { cut, sizeof(cut), "" },
		{ outside, sizeof(outside), "" }, { inside, sizeof(inside), "EPSG:4326" },
		{ params, sizeof(params), "" },   { head, sizeof(head), "" },
		{ version, sizeof(version), "" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		struct said s = degrees;
		s.keys = rows[i].keys;
		s.n_keys = (uint16_t)(rows[i].size / 2);
		assert_string_equal(check_image(&s).geo.crs, rows[i].crs);
	}
}

/* Arrays of exactly the length that is told, so that a sanitizer sees what reads past them. */
static void *exactly(const void *data, size_t len)
{
	void *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	memcpy(copy, data, len);
	return copy;
}

static void fill(double *values, int n, uint64_t *seed)
{
	static const double nasty[] = { 0, -0.0, NAN, INFINITY, -INFINITY, 1e308, 1e-308, 180, 90 };
	for (int i = 0; i < n; i++)
		values[i] = next_random(seed) % 3
				    ? (double)next_random(seed) / 1e4 - 1e5
				    : nasty[next_random(seed) % ADAFS_ARRAY_SIZE(nasty)];
}

static void test_hostile_tags(void **state)
{
	(void)state;
	static const uint16_t ids[] = { 1024, 1025, 2048, 3072, 0, 34735, 65535 };
	static const uint16_t codes[] = { 1, 2, 4326, 3857, 32618, 32767, 1025, 65535, 3031, 4267 };
	uint64_t seed = 7;
	for (int round = 0; round < 3000; round++) {
		uint16_t keys[40];
		double values[40];
		for (size_t i = 0; i < ADAFS_ARRAY_SIZE(keys); i++)
			keys[i] = i % 4 == 0   ? ids[next_random(&seed) % ADAFS_ARRAY_SIZE(ids)]
				  : i % 4 == 3 ? codes[next_random(&seed) % ADAFS_ARRAY_SIZE(codes)]
				  : next_random(&seed) % 8 ? i % 4 == 2
							   : (uint16_t)next_random(&seed);
		keys[0] = 1;
		fill(values, 40, &seed);
		struct geo_tags t = { .n_scale = next_random(&seed) % 4,
				      .n_tiepoints = next_random(&seed) % 13,
				      .n_matrix = next_random(&seed) % 18,
				      .n_keys = next_random(&seed) % 41 };
		ADAFS_FREE double *scale = exactly(values, t.n_scale * sizeof(double));
		ADAFS_FREE double *tiepoints = exactly(values + 3, t.n_tiepoints * sizeof(double));
		ADAFS_FREE double *matrix = exactly(values + 16, t.n_matrix * sizeof(double));
		ADAFS_FREE uint16_t *all = exactly(keys, t.n_keys * sizeof(*keys));
		t.scale = scale;
		t.tiepoints = tiepoints;
		t.matrix = matrix;
		t.keys = all;
		struct geo_ref ref;
		struct adafs_image_geo geo;
		geo_keys_read(&t, &ref);
		if (round % 4 == 0) {
			geo_locate(&ref, 100, 100, &geo);
			for (int i = 0; i < 4; i++)
				assert_true(fabs(geo.lon[i]) <= 541 && fabs(geo.lat[i]) <= 90);
			assert_true(geo.pixel_size_m >= 0 && isfinite(geo.pixel_size_m));
		}
	}
}

/* --- PROJ ----------------------------------------------------------------------------------- */

/* In a process of its own, because PROJ remembers where its files were. */
static void test_no_database(void **state)
{
	(void)state;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct geo_ref ref = { .has_transform = true,
				       .transform = { 18, 0.01, 0, 5, 0, -0.01 },
				       .epsg = 4326 };
		struct adafs_image_geo geo = { .has_footprint = true };
		setenv("PROJ_DATA", "/nonexistent", 1);
		setenv("PROJ_LIB", "/nonexistent", 1);
		geo_locate(&ref, 10, 10, &geo);
		_exit(geo.has_footprint || strcmp(geo.crs, "EPSG:4326") != 0);
	}
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void *locate_often(void *arg)
{
	struct geo_ref ref = { .has_transform = true,
			       .transform = { 500000, 10, 0, 4000000, 0, -10 },
			       .epsg = *(unsigned *)arg };
	struct adafs_image_geo geo = { 0 };
	for (int i = 0; i < 20; i++) {
		geo_locate(&ref, 10, 10, &geo);
		if (!geo.has_footprint)
			return NULL;
	}
	return arg;
}

static void test_threads(void **state)
{
	(void)state;
	pthread_t threads[4];
	unsigned codes[4] = { 32618, 32633, 3857, 32760 };
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, locate_often, &codes[i]), 0);
	for (int i = 0; i < 4; i++) {
		void *result = NULL;
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_ptr_equal(result, &codes[i]);
	}
}

/* --- overlap -------------------------------------------------------------------------------- */

static struct adafs_image_geo box(double west, double south, double east, double north)
{
	return (struct adafs_image_geo){ .has_footprint = true,
					 .lon = { west, east, east, west },
					 .lat = { north, north, south, south } };
}

static void expect_overlap(struct adafs_image_geo a, struct adafs_image_geo b, double want)
{
	assert_near(adafs_footprint_overlap(&a, &b), want, 1e-9);
	assert_near(adafs_footprint_overlap(&b, &a), want, 1e-9);
}

static void test_overlap(void **state)
{
	(void)state;
	struct adafs_image_geo none = { 0 }, one = box(18, 4, 19, 5);
	expect_overlap(one, one, 1);
	expect_overlap(one, box(18.5, 4, 19.5, 5), 0.5);
	expect_overlap(one, box(18.2, 4.2, 18.3, 4.3), 1);
	expect_overlap(one, box(18.9, 4, 30, 5), 0.1);
	expect_overlap(one, box(19, 4, 20, 5), 0);
	expect_overlap(one, box(30, 4, 31, 5), 0);
	expect_overlap(one, none, -1);
	expect_overlap(none, none, -1);
	/* A point has no area. */
	expect_overlap(one, box(18.5, 4.5, 18.5, 4.5), 0);
	/* The whole turn. */
	expect_overlap(box(179, 0, 181, 1), box(-181, 0, -179, 1), 1);
	expect_overlap(box(179, 0, 181, 1), box(-180, 0, -178, 1), 0.5);
	expect_overlap(box(-180, -90, 180, 90), box(179, 0, 181, 1), 1);
	expect_overlap(box(0, -90, 360, 90), box(-1, 0, 1, 1), 1);
	/* The northern half of a hemisphere is the smaller part. */
	expect_overlap(box(0, 0, 10, 30), box(0, 0, 10, 90), 1);
	expect_overlap(box(0, 30, 10, 90), box(0, 0, 5, 90), 0.5);
	/* Ten metres, cut in half. */
	expect_overlap(box(18, 4, 18.0001, 4.0001), box(18.00005, 4, 18.00015, 4.0001), 0.5);
}

static void test_overlap_of_any_shape(void **state)
{
	(void)state;
	/* A diamond inside its own square, drawn from another corner and the other way round. */
	struct adafs_image_geo square = box(-1, -1, 1, 1);
	struct adafs_image_geo diamond = { .has_footprint = true,
					   .lon = { 0, -1, 0, 1 },
					   .lat = { -1, 0, 1, 0 } };
	struct adafs_image_geo right = box(0, -1, 1, 1);
	expect_overlap(square, diamond, 1);
	expect_overlap(diamond, right, 0.5);
	uint64_t seed = 5;
	for (int round = 0; round < 5000; round++) {
		struct adafs_image_geo g[2];
		for (int i = 0; i < 2; i++) {
			g[i].has_footprint = true;
			for (int k = 0; k < 4; k++) {
				g[i].lon[k] = next_random(&seed) % 721 - 180.0;
				g[i].lat[k] = next_random(&seed) % 181 - 90.0;
			}
		}
		double share = adafs_footprint_overlap(&g[0], &g[1]);
		assert_true(share >= 0 && share <= 1);
		assert_near(adafs_footprint_overlap(&g[1], &g[0]), share, 1e-9);
	}
}

/* Two neighbouring scenes of UTM as files, half over each other. */
static void test_overlap_of_files(void **state)
{
	(void)state;
	struct said s = { .width = 100,
			  .height = 100,
			  .x = 600000,
			  .y = 500000,
			  .pixel_x = 10,
			  .pixel_y = 10,
			  .projected = 32634 };
	struct adafs_image_info a = check_image(&s);
	s.x += 500;
	struct adafs_image_info b = check_image(&s);
	assert_near(adafs_footprint_overlap(&a.geo, &b.geo), 0.5, 1e-5);
}

/* --- cells ---------------------------------------------------------------------------------- */

static struct adafs_image_geo cell_box(unsigned zoom, double x, double y, double w, double h)
{
	double cell = 2 * MERCATOR_HALF / (1u << zoom);
	double west = x * cell - MERCATOR_HALF, north = MERCATOR_HALF - y * cell;
	return box(mercator_lon(west), mercator_lat(north - h * cell),
		   mercator_lon(west + w * cell), mercator_lat(north));
}

static void expect_cells(const struct adafs_image_geo *geo, unsigned zoom, const char *want)
{
	struct adafs_cell cells[64];
	size_t n = 0;
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf got = ADAFS_BUF_INIT(4096);
	assert_int_equal(adafs_footprint_cells(geo, zoom, cells, 64, &n), 0);
	for (size_t i = 0; i < n; i++) {
		char id[ADAFS_CELL_ID_SIZE];
		adafs_cell_id(&cells[i], id);
		adafs_buf_addf(&got, "%s%s", i ? " " : "", id);
	}
	assert_string_equal(adafs_buf_str(&got), want);
}

static void test_known_cell(void **state)
{
	(void)state;
	/* The formula of the web map, as every tool has it. */
	double lon = 18.4, lat = 4.36, r = lat * M_PI / 180;
	int x = (int)((lon + 180) / 360 * 8192);
	int y = (int)((1 - log(tan(r) + 1 / cos(r)) / M_PI) / 2 * 8192);
	ADAFS_FREE char *want = adafs_fmt("13.%d.%d", x, y);
	struct adafs_image_geo geo = box(lon - 1e-4, lat - 1e-4, lon + 1e-4, lat + 1e-4);
	expect_cells(&geo, 13, want);
	assert_string_equal(want, "13.4514.3996");
	expect_cells(&geo, 0, "0.0.0");
	expect_cells(&geo, 1, "1.1.0");
}

/* One cell, as a file: its neighbours only share the border. */
static void test_exact_cell(void **state)
{
	(void)state;
	static const struct {
		unsigned zoom, x, y;
	} rows[] = { { 13, 4823, 6160 },       { 17, 70000, 12 }, { 22, 4194303, 4194303 },
		     { 22, 2097151, 2000000 }, { 3, 0, 0 },       { 0, 0, 0 } };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		double cell = 2 * MERCATOR_HALF / (1u << rows[i].zoom);
		struct adafs_image_info info =
			check_image(&(struct said){ .width = 256,
						    .height = 256,
						    .x = rows[i].x * cell - MERCATOR_HALF,
						    .y = MERCATOR_HALF - rows[i].y * cell,
						    .pixel_x = cell / 256,
						    .pixel_y = cell / 256,
						    .projected = 3857 });
		ADAFS_FREE char *want = adafs_fmt("%u.%u.%u", rows[i].zoom, rows[i].x, rows[i].y);
		expect_cells(&info.geo, rows[i].zoom, want);
		/* What the facts line rounds away makes no neighbour. */
		char text[ADAFS_IMAGE_FACTS_SIZE];
		assert_int_equal(adafs_image_facts_write(&info, text, sizeof(text)), 0);
		assert_int_equal(adafs_image_facts_read(text, &info), 0);
		expect_cells(&info.geo, rows[i].zoom, want);
	}
}

static void test_cells(void **state)
{
	(void)state;
	struct adafs_image_geo geo = cell_box(13, 100.5, 200.5, 2, 1);
	expect_cells(&geo, 13, "13.100.200 13.101.200 13.102.200 13.100.201 13.101.201 13.102.201");
	/* A hundredth of a cell is a part of it. */
	geo = cell_box(13, 100, 200, 1.01, 1);
	expect_cells(&geo, 13, "13.100.200 13.101.200");
	/* Over the antimeridian, from either side. */
	geo = cell_box(13, 8191, 5, 2, 1);
	expect_cells(&geo, 13, "13.0.5 13.8191.5");
	geo = cell_box(13, -1, 5, 2, 1);
	expect_cells(&geo, 13, "13.0.5 13.8191.5");
	geo = cell_box(2, 3, 1, 3, 1);
	expect_cells(&geo, 2, "2.0.1 2.1.1 2.3.1");
	/* The map ends before the poles. */
	geo = box(0, 84, 1, 90);
	expect_cells(&geo, 3, "3.4.0");
	geo = box(0, -90, 1, -85.5);
	expect_cells(&geo, 3, "");
	geo = box(-180, -90, 180, 90);
	expect_cells(&geo, 1, "1.0.0 1.1.0 1.0.1 1.1.1");
	expect_cells(&geo, 0, "0.0.0");
	/* Smaller than what counts, and on a corner. */
	geo = box(-1e-9, -1e-9, 1e-9, 1e-9);
	expect_cells(&geo, 1, "1.1.1");
}

static void test_cell_errors(void **state)
{
	(void)state;
	struct adafs_cell cells[4] = { { 99, 99, 99 } };
	struct adafs_image_geo geo = cell_box(13, 100, 200, 3, 2), none = { 0 };
	size_t n = 77;
	assert_int_equal(adafs_footprint_cells(&geo, 13, cells, 4, &n), -E2BIG);
	assert_int_equal(n, 6);
	assert_int_equal(adafs_footprint_cells(&geo, 13, NULL, 0, &n), -E2BIG);
	assert_int_equal(n, 6);
	assert_int_equal(adafs_footprint_cells(&geo, 23, cells, 4, &n), -EINVAL);
	assert_int_equal(n, 0);
	n = 77;
	assert_int_equal(adafs_footprint_cells(&none, 13, cells, 4, &n), -ENODATA);
	assert_int_equal(n, 0);
	geo = box(-180, -90, 180, 90);
	assert_int_equal(adafs_footprint_cells(&geo, 22, cells, 4, &n), -E2BIG);
	assert_true(n == (size_t)1 << 44);
}

/* Whether a line along one of the sides, or of the axes, parts the quad from the cell's inside. */
static bool parted(const double q[4][2], double x, double y)
{
	const double cell[4][2] = { { x, y }, { x + 1, y }, { x + 1, y + 1 }, { x, y + 1 } };
	for (int i = 0; i < 6; i++) {
		double a = i < 4 ? q[(i + 1) % 4][1] - q[i][1] : i == 4;
		double b = i < 4 ? q[i][0] - q[(i + 1) % 4][0] : i == 5;
		double low[2] = { INFINITY, INFINITY }, high[2] = { -INFINITY, -INFINITY };
		for (int k = 0; k < 4; k++) {
			double at[2] = { a * q[k][0] + b * q[k][1],
					 a * cell[k][0] + b * cell[k][1] };
			for (int o = 0; o < 2; o++) {
				low[o] = fmin(low[o], at[o]);
				high[o] = fmax(high[o], at[o]);
			}
		}
		if (high[0] <= low[1] || high[1] <= low[0])
			return true;
	}
	return false;
}

/* Turned squares against a test of each cell alone. */
static void test_turned(void **state)
{
	(void)state;
	uint64_t seed = 11;
	for (int round = 0; round < 300; round++) {
		double angle = next_random(&seed) % 1000 / 159.0, q[4][2];
		double size = 0.1 + next_random(&seed) % 100 / 20.0;
		double mx = 100 + next_random(&seed) % 1000 / 1000.0;
		double my = 100 + next_random(&seed) % 1000 / 1000.0;
		struct adafs_image_geo geo = { .has_footprint = true };
		for (int i = 0; i < 4; i++) {
			double cell = 2 * MERCATOR_HALF / 8192;
			q[i][0] = mx + size * cos(angle + i * M_PI / 2);
			q[i][1] = my + size * sin(angle + i * M_PI / 2);
			geo.lon[i] = mercator_lon(q[i][0] * cell - MERCATOR_HALF);
			geo.lat[i] = mercator_lat(MERCATOR_HALF - q[i][1] * cell);
		}
		struct adafs_cell cells[200];
		size_t n = 0, k = 0;
		assert_int_equal(adafs_footprint_cells(&geo, 13, cells, 200, &n), 0);
		for (unsigned y = 90; y < 112; y++)
			for (unsigned x = 90; x < 112; x++)
				if (!parted(q, x, y)) {
					assert_true(k < n);
					assert_int_equal(cells[k].x, x);
					assert_int_equal(cells[k].y, y);
					k++;
				}
		assert_int_equal(k, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_database),
		cmocka_unit_test(test_utm),
		cmocka_unit_test(test_shared_file),
		cmocka_unit_test(test_degrees),
		cmocka_unit_test(test_whole_world),
		cmocka_unit_test(test_mercator),
		cmocka_unit_test(test_rotated),
		cmocka_unit_test(test_pixel_is_point),
		cmocka_unit_test(test_units_and_axes),
		cmocka_unit_test(test_antimeridian),
		cmocka_unit_test(test_nowhere),
		cmocka_unit_test(test_pole),
		cmocka_unit_test(test_date_of_file),
		cmocka_unit_test(test_hostile_files),
		cmocka_unit_test(test_hostile_tags),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_overlap_of_any_shape),
		cmocka_unit_test(test_overlap_of_files),
		cmocka_unit_test(test_known_cell),
		cmocka_unit_test(test_exact_cell),
		cmocka_unit_test(test_cells),
		cmocka_unit_test(test_cell_errors),
		cmocka_unit_test(test_turned),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
