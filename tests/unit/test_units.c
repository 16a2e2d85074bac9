/* Units of an event: cells that all roles cover, and the event as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/cleanup.h"
#include "batch/foreman/units.h"

#define ZOOM 10

/* An image that fills w by h cells from (x, y) but for a rim. */
static struct adafs_image_geo area(int x, int y, int w, int h)
{
	struct adafs_image_geo g = { .has_footprint = true };
	const double side = 1 << ZOOM, rim = 0.1;
	const double cx[4] = { x + rim, x + w - rim, x + w - rim, x + rim };
	const double cy[4] = { y + rim, y + rim, y + h - rim, y + h - rim };
	for (int i = 0; i < 4; i++) {
		g.lon[i] = cx[i] / side * 360 - 180;
		g.lat[i] = atan(sinh(M_PI * (1 - 2 * cy[i] / side))) * 180 / M_PI;
	}
	return g;
}

/* "id:members id:members" */
static char *told(const struct units *u)
{
	struct adafs_buf b = ADAFS_BUF_INIT(4096);
	for (size_t k = 0; k < u->n; k++) {
		adafs_buf_addf(&b, "%s%s:", k ? " " : "", u->unit[k].id);
		for (size_t i = 0; i < u->unit[k].n; i++)
			adafs_buf_addf(&b, "%zu", u->member[u->unit[k].first + i]);
	}
	return adafs_buf_steal(&b, NULL);
}

static void test_cells_that_all_roles_cover(void **state)
{
	(void)state;
	const struct adafs_image_geo geo[] = {
		area(500, 300, 2, 1), /* pre of two cells */
		area(501, 300, 1, 1), /* post of the second */
		area(501, 300, 2, 1), /* post of the second and a third */
		area(700, 300, 1, 1), /* pre, alone */
	};
	const struct units_image images[] = {
		{ 0, &geo[0] }, { 1, &geo[1] }, { 1, &geo[2] }, { 0, &geo[3] }
	};
	struct units u;
	assert_int_equal(units_make(images, 4, 2, ZOOM, &u), 0);
	ADAFS_FREE char *text = told(&u);
	assert_string_equal(text, "10.501.300:012");
	assert_int_equal(u.roles_near[0], 3);
	assert_int_equal(u.roles_near[1], 3);
	assert_int_equal(u.roles_near[3], 1);
	assert_int_equal(u.n_cells[0], 2);
	assert_int_equal(u.n_cells[3], 1);
	units_clear(&u);
}

static void test_units_stand_in_rows(void **state)
{
	(void)state;
	const struct adafs_image_geo geo = area(10, 20, 2, 2);
	const struct units_image images[] = { { 1, &geo }, { 0, &geo } };
	struct units u;
	assert_int_equal(units_make(images, 2, 2, ZOOM, &u), 0);
	ADAFS_FREE char *text = told(&u);
	assert_string_equal(text, "10.10.20:10 10.11.20:10 10.10.21:10 10.11.21:10");
	units_clear(&u);
}

static void test_the_event_as_one(void **state)
{
	(void)state;
	const struct adafs_image_geo nowhere = { 0 };
	const struct units_image images[] = { { 1, &nowhere }, { 0, &nowhere }, { 1, &nowhere } };
	struct units u;
	assert_int_equal(units_make(images, 3, 2, -1, &u), 0);
	ADAFS_FREE char *text = told(&u);
	assert_string_equal(text, "all:102");
	units_clear(&u);
	assert_int_equal(units_make(images, 1, 2, -1, &u), 0);
	assert_int_equal(u.n, 0);
	assert_int_equal(u.roles_near[0], 2);
	units_clear(&u);
	assert_int_equal(units_make(images, 0, 2, -1, &u), 0);
	assert_int_equal(u.n, 0);
	units_clear(&u);
}

static void test_images_that_lie_nowhere(void **state)
{
	(void)state;
	const struct adafs_image_geo nowhere = { 0 };
	struct adafs_image_geo polar = area(10, 20, 1, 1);
	for (int i = 0; i < 4; i++)
		polar.lat[i] = 86 + (i > 1);
	const struct units_image images[] = { { 0, &nowhere }, { 0, &polar } };
	struct units u;
	assert_int_equal(units_make(images, 2, 1, ZOOM, &u), 0);
	assert_int_equal(u.n, 0);
	assert_int_equal(u.n_cells[0], 0);
	assert_int_equal(u.n_cells[1], 0);
	units_clear(&u);
}

static void test_limits(void **state)
{
	(void)state;
	const struct adafs_image_geo geo = area(100, 100, 60, 60);
	ADAFS_FREE struct units_image *images = calloc(600, sizeof(*images));
	assert_non_null(images);
	for (size_t i = 0; i < 600; i++)
		images[i] = (struct units_image){ 0, &geo };
	struct units u;
	assert_int_equal(units_make(images, 600, 1, ZOOM, &u), -E2BIG);
	assert_null(u.unit);
	assert_int_equal(units_make(images, 500, 1, ZOOM, &u), 0);
	assert_int_equal(u.n, 3600);
	assert_int_equal(u.unit[3599].n, 500);
	units_clear(&u);
	assert_int_equal(units_make(images, 1, 65, ZOOM, &u), -EINVAL);
	assert_int_equal(units_make(images, 1, 0, ZOOM, &u), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cells_that_all_roles_cover),
		cmocka_unit_test(test_units_stand_in_rows),
		cmocka_unit_test(test_the_event_as_one),
		cmocka_unit_test(test_images_that_lie_nowhere),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
