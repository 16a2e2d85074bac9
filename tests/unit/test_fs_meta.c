/* Metadata of blobs as attributes of files: names, values, limits, and that any bytes come back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fs/blob/blob_entry.c"
#include "fs/blob/meta.c"

static int set(struct adafs_blob_meta *m, const char *name, const void *value, size_t len,
	       int flags)
{
	const struct meta_change ch = {
		.xattr = name, .value = value, .value_len = len, .xattr_flags = flags
	};
	bool changed;
	return meta_apply(m, &ch, false, &changed);
}

static void expect(const struct adafs_blob_meta *m, const char *name, const void *value, size_t len)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(64 * 1024);
	assert_int_equal(meta_xattr_get(m, name, &b), 0);
	assert_int_equal(b.len, len);
	assert_memory_equal(b.data ? b.data : "", value, len);
}

static void test_names_of_attributes(void **state)
{
	(void)state;
	static const struct {
		const char *xattr, *meta;
	} cases[] = {
		{ "user.event", "event" },
		{ "user._a1", "_a1" },
		{ "user.A", "xattr__41" },
		{ "user.1a", "xattr_1a" },
		{ "user.a.b", "xattr_a_2eb" },
		{ "user.mtime", "xattr_mtime" },
		{ "user.mode", "xattr_mode" },
		{ "user.adafsnonce", "xattr_adafsnonce" },
		{ "user.xattr_a", "xattr_xattr_5fa" },
		{ "user.\xc3\xbc", "xattr__c3_bc" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++) {
		struct adafs_blob_meta m = { 0 };
		ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf names = ADAFS_BUF_INIT(1024);
		assert_int_equal(set(&m, cases[i].xattr, "v", 1, 0), 0);
		assert_string_equal(adafs_blob_meta_get(&m, cases[i].meta), "v");
		expect(&m, cases[i].xattr, "v", 1);
		assert_int_equal(meta_xattr_list(&m, &names), 0);
		assert_string_equal(names.data, cases[i].xattr);
		assert_int_equal(set(&m, cases[i].xattr, NULL, 0, 0), 0);
		assert_int_equal(m.n, 0);
		adafs_blob_meta_clear(&m);
	}
}

static void test_refusals(void **state)
{
	(void)state;
	struct adafs_blob_meta m = { 0 };
	static const char big[META_XATTR_MAX + 1];
	assert_int_equal(set(&m, "trusted.a", "v", 1, 0), -EOPNOTSUPP);
	assert_int_equal(set(&m, "user.", "v", 1, 0), -EOPNOTSUPP);
	assert_int_equal(set(&m, "user.adafs.job", "v", 1, 0), -EPERM);
	assert_int_equal(set(&m, "user.a", "v", 1, XATTR_REPLACE), -ENODATA);
	assert_int_equal(set(&m, "user.a", NULL, 0, 0), -ENODATA);
	assert_int_equal(set(&m, "user.a", big, sizeof(big), 0), -E2BIG);
	assert_int_equal(set(&m, "user.a", big, 5000, 0), 0);
	assert_int_equal(set(&m, "user.b", big, 1000, 0), -ENOSPC);
	assert_int_equal(set(&m, "user.a", "v", 1, XATTR_CREATE), -EEXIST);
	adafs_blob_meta_clear(&m);
}

static void test_any_value_comes_back(void **state)
{
	(void)state;
	unsigned seed = 20261123;
	for (int turn = 0; turn < 3000; turn++) {
		struct adafs_blob_meta m = { 0 };
		char value[40], name[32] = "user.";
		size_t len = (size_t)rand_r(&seed) % sizeof(value),
		       n = 1 + (size_t)rand_r(&seed) % 20;
		for (size_t i = 0; i < len; i++)
			value[i] =
				(char)(turn % 2 ? rand_r(&seed) : " ~base64:="[rand_r(&seed) % 10]);
		for (size_t i = 0; i < n; i++)
			name[5 + i] = (char)(turn % 3 ? 1 + rand_r(&seed) % 255
						      : "xattr_a09_"[rand_r(&seed) % 10]);
		name[5 + n] = 0;
		if (strncmp(name + 5, "adafs.", 6)) {
			assert_int_equal(set(&m, name, value, len, 0), 0);
			assert_int_equal(m.n, 1);
			expect(&m, name, value, len);
		}
		adafs_blob_meta_clear(&m);
	}
}

static void test_names_of_others(void **state)
{
	(void)state;
	struct adafs_blob_meta m = { 0 };
	assert_int_equal(adafs_blob_meta_set(&m, "Author", "Someone"), 0);
	assert_int_equal(adafs_blob_meta_set(&m, "xattr_", "odd"), 0);
	assert_int_equal(adafs_blob_meta_set(&m, "xattr__zz", "odd too"), 0);
	assert_int_equal(adafs_blob_meta_set(&m, "Hdi_IsFolder", "true"), 0);
	assert_int_equal(adafs_blob_meta_set(&m, "v", "base64:no"), 0);
	expect(&m, "user.author", "Someone", 7);
	expect(&m, "user.xattr_", "odd", 3);
	expect(&m, "user.xattr__zz", "odd too", 7);
	expect(&m, "user.v", "base64:no", 9);
	assert_int_equal(set(&m, "user.author", "Other", 5, XATTR_REPLACE), 0);
	assert_string_equal(adafs_blob_meta_get(&m, "author"), "Other");
	assert_int_equal(m.n, 5);
	adafs_blob_meta_clear(&m);
}

static void test_modes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		mode_t file, dir;
	} cases[] = {
		{ "100755", 0755, 0755 },
		{ "0100600", 0600, 0600 },
		{ "644", 0644, 0644 },
		{ "104755", 0755, 0755 },
		{ "0", 0, 0 },
		{ "9", 0644, 0755 },
		{ "755x", 0644, 0755 },
		{ "777777777", 0644, 0755 },
		{ "-1", 0644, 0755 },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++) {
		struct adafs_blob_meta m = { 0 };
		assert_int_equal(adafs_blob_meta_set(&m, "mode", cases[i].text), 0);
		assert_int_equal(meta_mode(&m, false), cases[i].file);
		assert_int_equal(meta_mode(&m, true), cases[i].dir);
		adafs_blob_meta_clear(&m);
	}
	struct adafs_blob_meta m = { 0 };
	mode_t mode = 0700;
	const struct meta_change ch = { .mode = &mode };
	bool changed;
	assert_int_equal(meta_apply(&m, &ch, true, &changed), 0);
	assert_true(changed);
	assert_string_equal(adafs_blob_meta_get(&m, "mode"), "40700");
	mode = 0755;
	assert_int_equal(meta_apply(&m, &ch, true, &changed), 0);
	assert_int_equal(m.n, 0);
	assert_int_equal(meta_apply(&m, &ch, true, &changed), 0);
	assert_false(changed);
}

static void test_what_is_carried(void **state)
{
	(void)state;
	struct adafs_blob_meta m = { 0 }, c = { 0 };
	static const char *const own[] = { "mtime", "AdafsNonce", "adafssha256", "hdi_isfolder",
					   "Is_Symlink" };
	static const char *const carried[] = { "mode", "author", "xattr_a_2eb" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(own); i++)
		assert_int_equal(adafs_blob_meta_set(&m, own[i], "1"), 0);
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(carried); i++)
		assert_int_equal(adafs_blob_meta_set(&m, carried[i], "1"), 0);
	assert_int_equal(meta_carry(&c, &m), 0);
	assert_int_equal(c.n, ADAFS_ARRAY_SIZE(carried));
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(carried); i++)
		assert_non_null(adafs_blob_meta_get(&c, carried[i]));
	adafs_blob_meta_clear(&m);
	adafs_blob_meta_clear(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_of_attributes),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_any_value_comes_back),
		cmocka_unit_test(test_names_of_others),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_what_is_carried),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
