/* What is known of an image as a line: there and back, and never half from a damaged one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>

#include "batch/pipeline/image.h"
#include "batch/pipeline/image_formats.h"

static void assert_near(double got, double want, double slack)
{
	if (!(fabs(got - want) <= slack))
		fail_msg("%.9f is not %.9f", got, want);
}

static uint32_t next_random(uint64_t *s)
{
	*s = *s * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*s >> 33);
}

static void test_date(void **state)
{
	(void)state;
	static const struct {
		const char *said, *want;
	} rows[] = {
		{ "2026:05:03 10:11:12", "2026-05-03T10:11:12Z" },
		{ "2024:02:29 00:00:00", "2024-02-29T00:00:00Z" },
		{ "2026:05:03", "2026-05-03" },
		{ "2026:05:03 24:00:00", "2026-05-03" },
		{ "2026:05:03 10:11", "2026-05-03" },
		{ "2026:05:03 10:11:12.5", "2026-05-03" },
		{ "2026:05:03T10:11:12", "" },
		{ "2025:02:29 10:11:12", "" },
		{ "2026:13:03 10:11:12", "" },
		{ "0000:00:00 00:00:00", "" },
		{ "1066:10:14 00:00:00", "" },
		{ "    :  :     :  :  ", "" },
		{ "2026:5:3", "" },
		{ "yesterday", "" },
		{ "", "" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		char date[ADAFS_IMAGE_DATE_SIZE] = "x";
		image_date_from_tiff(rows[i].said, date);
		assert_string_equal(date, rows[i].want);
		assert_int_equal(image_date_valid(date), date[0] != '\0');
	}
}

static const char full[] =
	"v1 w=791 h=718 bands=3 bits=8 format=TIFF geo=1 crs=EPSG:32618 gsd=300.0417827 "
	"date=2026-05-03 ring=-78.95865,25.506086,-76.5994389,25.5508751,-76.5749252,23.6059472,"
	"-78.8981331,23.564991";

static void test_facts(void **state)
{
	(void)state;
	struct adafs_image_info info = { 0 }, again = { 0 };
	char text[ADAFS_IMAGE_FACTS_SIZE];
	assert_int_equal(adafs_image_facts_read(full, &info), 0);
	assert_string_equal(info.format, "TIFF");
	assert_int_equal(info.width, 791);
	assert_int_equal(info.height, 718);
	assert_int_equal(info.bands, 3);
	assert_int_equal(info.bits_per_sample, 8);
	assert_true(info.georeferenced && info.geo.has_footprint);
	assert_string_equal(info.geo.crs, "EPSG:32618");
	assert_string_equal(info.date, "2026-05-03");
	assert_near(info.geo.lat[3], 23.564991, 1e-12);
	assert_int_equal(adafs_image_facts_write(&info, text, sizeof(text)), 0);
	assert_string_equal(text, full);
	/* The plainest one, and unknown words between. */
	static const char plain[] = "v1 w=1 h=4000000 bands=4096 bits=128 format=JPEG2000";
	assert_int_equal(adafs_image_facts_read(plain, &again), 0);
	assert_string_equal(again.format, "JPEG 2000");
	assert_false(again.geo.has_footprint || again.georeferenced);
	assert_int_equal(adafs_image_facts_write(&again, text, sizeof(text)), 0);
	assert_string_equal(text, plain);
	assert_int_equal(adafs_image_facts_read("v1 new=1 w=1 h=4000000 bands=4096 cloud= bits=128 "
						"format=JPEG2000 x==",
						&again),
			 0);
	assert_int_equal(adafs_image_facts_write(&again, text, sizeof(text)), 0);
	assert_string_equal(text, plain);
}

static void test_facts_of_any_place(void **state)
{
	(void)state;
	uint64_t seed = 3;
	for (int round = 0; round < 2000; round++) {
		struct adafs_image_info info = { .format = "BigTIFF", .width = 1, .height = 1 };
		struct adafs_image_info back;
		char text[ADAFS_IMAGE_FACTS_SIZE], again[ADAFS_IMAGE_FACTS_SIZE];
		info.geo.has_footprint = true;
		info.geo.pixel_size_m = next_random(&seed) / 1e5;
		for (int i = 0; i < 4; i++) {
			info.geo.lon[i] = next_random(&seed) / 2147483648.0 * 720 - 180;
			info.geo.lat[i] = next_random(&seed) / 2147483648.0 * 180 - 90;
		}
		info.geo.lon[0] = round % 2 ? -1e-9 : -180;
		assert_int_equal(adafs_image_facts_write(&info, text, sizeof(text)), 0);
		assert_null(strstr(text, "-0,"));
		assert_int_equal(adafs_image_facts_read(text, &back), 0);
		for (int i = 0; i < 4; i++) {
			assert_near(back.geo.lon[i], info.geo.lon[i], 0.5001e-7);
			assert_near(back.geo.lat[i], info.geo.lat[i], 0.5001e-7);
		}
		assert_near(back.geo.pixel_size_m, info.geo.pixel_size_m, 0.5001e-7);
		assert_int_equal(adafs_image_facts_write(&back, again, sizeof(again)), 0);
		assert_string_equal(again, text);
	}
}

/* What cannot be told, and room: the longest line has it. */
static void test_facts_not_written(void **state)
{
	(void)state;
	struct adafs_image_info good = { 0 };
	char text[ADAFS_IMAGE_FACTS_SIZE];
	assert_int_equal(adafs_image_facts_read(full, &good), 0);
	for (size_t size = 0; size < sizeof(full); size++) {
		memset(text, 'x', sizeof(text));
		assert_int_equal(adafs_image_facts_write(&good, text, size), -ENOSPC);
		assert_true(size == 0 || text[0] == '\0');
		assert_true(text[size] == 'x');
	}
	assert_int_equal(adafs_image_facts_write(&good, text, sizeof(full)), 0);
	struct adafs_image_info bad[8];
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].format = NULL;
	bad[1].format = "GIF";
	bad[2].width = 0;
	bad[3].geo.lon[2] = NAN;
	bad[4].geo.lat[1] = INFINITY;
	strcpy(bad[5].geo.crs, "my own");
	strcpy(bad[6].date, "2026-05-32");
	bad[7].geo.pixel_size_m = -1;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++) {
		assert_int_equal(adafs_image_facts_write(&bad[i], text, sizeof(text)), -EINVAL);
		assert_string_equal(text, "");
	}
	struct adafs_image_info longest = { .format = "JPEG 2000",
					    .width = UINT32_MAX,
					    .height = UINT32_MAX,
					    .bands = UINT16_MAX,
					    .bits_per_sample = UINT16_MAX,
					    .georeferenced = true,
					    .date = "2026-05-03T10:11:12Z" };
	memset(longest.geo.crs, 'x', sizeof(longest.geo.crs) - 1);
	longest.geo.has_footprint = true;
	longest.geo.pixel_size_m = 99999999.1234567;
	for (int i = 0; i < 4; i++) {
		longest.geo.lon[i] = -179.1234567;
		longest.geo.lat[i] = -89.1234567;
	}
	assert_int_equal(adafs_image_facts_write(&longest, text, sizeof(text)), 0);
}

static void test_facts_damaged(void **state)
{
	(void)state;
#define GOOD "v1 w=1 h=1 bands=1 bits=8 format=TIFF"
	static const char *const rows[] = {
		"",
		" ",
		"v1",
		"v2 w=1 h=1 bands=1 bits=8 format=TIFF",
		"v1 h=1 bands=1 bits=8 format=TIFF",
		"v1 w=0 h=1 bands=1 bits=8 format=TIFF",
		"v1 w=-1 h=1 bands=1 bits=8 format=TIFF",
		"v1 w= h=1 bands=1 bits=8 format=TIFF",
		"v1 w=4294967296 h=1 bands=1 bits=8 format=TIFF",
		"v1 w=1 h=1 bands=65536 bits=8 format=TIFF",
		"v1 w=1 h=1 bands=1 bits=8 format=GIF",
		"v1 w=1 w=1 h=1 bands=1 bits=8 format=TIFF",
		GOOD " ",
		GOOD " word",
		GOOD " =x",
		GOOD " new=\x80",
		GOOD " new=\n",
		GOOD " geo=2",
		GOOD " crs=",
		GOOD " crs=12345678901234567890123456789012",
		GOOD " gsd=nan",
		GOOD " gsd=-1",
		GOOD " gsd=0x10",
		GOOD " gsd=1e300",
		GOOD " gsd=99999999999999999999",
		GOOD " date=2026-02-30",
		GOOD " date=today",
		GOOD " ring=",
		GOOD " ring=1,2,3,4,5,6,7",
		GOOD " ring=1,2,3,4,5,6,7,8,",
		GOOD " ring=1,2,3,4,5,6,7,8,9",
		GOOD " ring=1,2,3,4,5,6,7,91",
		GOOD " ring=1,2,3,4,5,6,541,8",
		GOOD " ring=1,2,3,4,5,6,7,-",
		GOOD " ring=1,2,3,4,,6,7,8",
		GOOD " ring=1,2,3,4,5.5.5,6,7,8",
	};
	struct adafs_image_info info, before;
	assert_int_equal(adafs_image_facts_read(GOOD, &info), 0);
	before = info;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		if (adafs_image_facts_read(rows[i], &info) != -EINVAL)
			fail_msg("row %zu passes", i);
		assert_memory_equal(&info, &before, sizeof(info));
	}
	ADAFS_FREE char *endless = calloc(1, 20001);
	assert_non_null(endless);
	memset(endless, 'x', 20000);
	assert_int_equal(adafs_image_facts_read(endless, &info), -EINVAL);
}

/* Bytes that changed on the way: read or refused, and what is read can be written. */
static void test_facts_rubbish(void **state)
{
	(void)state;
	uint64_t seed = 9;
	for (int round = 0; round < 20000; round++) {
		char text[sizeof(full)], out[ADAFS_IMAGE_FACTS_SIZE];
		struct adafs_image_info info;
		memcpy(text, full, sizeof(full));
		for (unsigned k = next_random(&seed) % 4; k > 0; k--)
			text[next_random(&seed) % (sizeof(full) - 1)] = (char)next_random(&seed);
		int rc = adafs_image_facts_read(text, &info);
		assert_true(rc == 0 || rc == -EINVAL);
		if (rc == 0)
			assert_int_equal(adafs_image_facts_write(&info, out, sizeof(out)), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_date),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_facts_of_any_place),
		cmocka_unit_test(test_facts_not_written),
		cmocka_unit_test(test_facts_damaged),
		cmocka_unit_test(test_facts_rubbish),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
