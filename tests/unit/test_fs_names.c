/* Names, and times in metadata: the parts of the blob tree that need no mount. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fs/blob/blob_entry.c"
#include "fs/blob/meta.c"
#include "fs/blob/names.c"

static void test_blob_names(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		int rc;
	} cases[] = {
		{ "a", 0 },
		{ "a/b c/d.tif", 0 },
		{ "tail.", 0 },
		{ "e\xcc\x81", 0 },
		{ "\xf0\x9f\x8c\x8d", 0 },
		{ "", -EINVAL },
		{ "a//b", -EINVAL },
		{ "/a", -EINVAL },
		{ "a/", -EINVAL },
		{ "a/./b", -EINVAL },
		{ "..", -EINVAL },
		{ "a\\b", -EINVAL },
		{ "a\tb", -EINVAL },
		{ "\x7f", -EINVAL },
		{ "\xef\xbf\xbe", -EINVAL },
		{ "\xef\xbf\xbd", 0 },
		{ "\xff", -EILSEQ },
		{ "\xed\xa0\x80", -EILSEQ },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++)
		assert_int_equal(names_check_blob(cases[i].name), cases[i].rc);
}

static void test_long_names(void **state)
{
	(void)state;
	char name[2048] = { 0 };
	memset(name, 'x', 255);
	assert_int_equal(names_check_blob(name), 0);
	name[255] = 'x';
	assert_int_equal(names_check_blob(name), -ENAMETOOLONG);
	for (int i = 0; i < 1024; i++)
		name[i] = i % 128 == 127 ? '/' : 'x';
	name[1023] = 'x';
	assert_int_equal(names_check_blob(name), 0);
	name[1024] = 'x';
	assert_int_equal(names_check_blob(name), -ENAMETOOLONG);
	for (int i = 0; i < 509; i++)
		name[i] = i % 2 ? '/' : 'x';
	name[509] = 0;
	assert_int_equal(names_check_blob(name), -ENAMETOOLONG);
	name[507] = 0;
	assert_int_equal(names_check_blob(name), 0);
}

static void test_container_names(void **state)
{
	(void)state;
	assert_int_equal(names_check_container("ada-2"), 0);
	static const char *const bad[] = { "ab", "Ada", "-ada", "ada-", "a--b", "a_b", "a.b" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++)
		assert_int_equal(names_check_container(bad[i]), -EINVAL);
	char name[65] = { 0 };
	memset(name, 'a', 64);
	assert_int_equal(names_check_container(name), -ENAMETOOLONG);
}

static void test_mtime(void **state)
{
	(void)state;
	struct timespec t;
	char text[BLOB_MTIME_LEN];
	static const struct {
		const char *text;
		int64_t sec;
		long ns;
	} good[] = {
		{ "1700000000", 1700000000, 0 },
		{ "1700000000.5", 1700000000, 500000000 },
		{ "1700000000.123456789", 1700000000, 123456789 },
		{ "2023-11-14T22:13:20.25Z", 1700000000, 250000000 },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(good); i++) {
		assert_true(blob_mtime_parse(good[i].text, &t));
		assert_int_equal(t.tv_sec, good[i].sec);
		assert_int_equal(t.tv_nsec, good[i].ns);
	}
	assert_false(blob_mtime_parse("", &t));
	assert_false(blob_mtime_parse("yesterday", &t));
	blob_mtime_format((struct timespec){ .tv_sec = 1, .tv_nsec = 2 }, text);
	assert_string_equal(text, "1.000000002");
}

static void test_entry_keeps_metadata(void **state)
{
	(void)state;
	struct adafs_blob_props props = { .size = 7, .last_modified = 5, .etag = "0x1" }, back;
	assert_int_equal(adafs_blob_meta_set(&props.meta, "mtime", "9.5"), 0);
	assert_int_equal(adafs_blob_meta_set(&props.meta, "empty", ""), 0);
	struct blob_entry *e = blob_entry_new("name", &props);
	assert_non_null(e);
	assert_false(e->is_dir);
	assert_int_equal(e->mtime.tv_sec, 9);
	assert_int_equal(blob_entry_props(e, &back), 0);
	assert_int_equal(back.meta.n, 2);
	assert_string_equal(adafs_blob_meta_get(&back.meta, "EMPTY"), "");
	assert_string_equal(back.etag, "0x1");
	adafs_blob_props_clear(&back);
	adafs_blob_props_clear(&props);
	blob_entry_unref(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blob_names),           cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_container_names),      cmocka_unit_test(test_mtime),
		cmocka_unit_test(test_entry_keeps_metadata),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
