/* The retry decisions: no clock, no network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "batch/azure/retry.h"

static const struct adafs_err busy = { .rc = -EAGAIN, .http_status = 503, .retryable = true };

static void test_backoff_grows_and_is_capped(void **state)
{
	(void)state;
	uint32_t range = ADAFS_RETRY_BASE_MS;
	for (unsigned attempts = 1; attempts < ADAFS_RETRY_MAX_ATTEMPTS; attempts++) {
		struct adafs_retry r = { .attempts = attempts, .last_progress_ms = 1000 };
		/* Full jitter: from nothing to the whole range. */
		assert_int_equal(adafs_retry_delay(&r, &busy, 60000, 1000, 0), 0);
		assert_int_equal(adafs_retry_delay(&r, &busy, 60000, 1000, range), range);
		assert_int_equal(adafs_retry_delay(&r, &busy, 60000, 1000, range + 1), 0);
		range = range * 2 < ADAFS_RETRY_CAP_MS ? range * 2 : ADAFS_RETRY_CAP_MS;
	}
}

static void test_gives_up(void **state)
{
	(void)state;
	struct adafs_retry r = { .attempts = ADAFS_RETRY_MAX_ATTEMPTS, .last_progress_ms = 1000 };
	assert_int_equal(adafs_retry_delay(&r, &busy, 60000, 1000, 0), -1);
	const struct adafs_err final = { .rc = -ENOENT, .http_status = 404 };
	r.attempts = 1;
	assert_int_equal(adafs_retry_delay(&r, &final, 60000, 1000, 0), -1);
	/* The next attempt would start when the budget has gone. */
	assert_int_equal(adafs_retry_delay(&r, &busy, 1000, 1900, 99), 99);
	assert_int_equal(adafs_retry_delay(&r, &busy, 1000, 1900, 100), -1);
	assert_int_equal(adafs_retry_delay(&r, &busy, 1000, 2000, 0), -1);
}

static void test_service_asks(void **state)
{
	(void)state;
	struct adafs_retry r = { .attempts = 1, .last_progress_ms = 0 };
	struct adafs_err e = busy;
	e.retry_after_ms = 3000;
	assert_int_equal(adafs_retry_delay(&r, &e, 30000, 0, 5), 3000);
	e.retry_after_ms = 30000;
	assert_int_equal(adafs_retry_delay(&r, &e, 30000, 0, 5), -1);
	e.retry_after_ms = 4000000;
	assert_int_equal(adafs_retry_delay(&r, &e, 100000, 0, 5), ADAFS_RETRY_AFTER_CAP_MS);
}

static void test_damaged_once(void **state)
{
	(void)state;
	const struct adafs_err damaged = { .rc = -EIO,
					   .http_status = 400,
					   .service_code = "Crc64Mismatch" };
	struct adafs_retry r = { .attempts = 1 };
	assert_int_equal(adafs_retry_delay(&r, &damaged, 30000, 0, 5), 0);
	r.attempts = 2;
	assert_int_equal(adafs_retry_delay(&r, &damaged, 30000, 0, 5), -1);
}

static uint32_t after(const char *name, const char *value, const char *name2, const char *value2)
{
	struct adafs_http_headers h = { 0 };
	assert_int_equal(adafs_http_headers_set(&h, name, value), 0);
	if (name2)
		assert_int_equal(adafs_http_headers_set(&h, name2, value2), 0);
	uint32_t ms = adafs_retry_after(&h, 1767225600);
	adafs_http_headers_clear(&h);
	return ms;
}

static void test_retry_after(void **state)
{
	(void)state;
	assert_int_equal(after("Retry-After", "7", NULL, NULL), 7000);
	assert_int_equal(after("retry-after", "0", NULL, NULL), 0);
	assert_int_equal(after("Retry-After", "-3", NULL, NULL), 0);
	assert_int_equal(after("Retry-After", "soon", NULL, NULL), 0);
	assert_int_equal(after("Retry-After", "99999999999999999999", NULL, NULL), 60000);
	assert_int_equal(after("Retry-After", "Thu, 01 Jan 2026 00:00:09 GMT", NULL, NULL), 9000);
	assert_int_equal(after("Retry-After", "Wed, 31 Dec 2025 00:00:09 GMT", NULL, NULL), 0);
	assert_int_equal(after("Retry-After", "Thu, 01 Jan 2099 00:00:09 GMT", NULL, NULL), 60000);
	assert_int_equal(after("x-ms-retry-after-ms", "1500", "Retry-After", "1"), 1500);
	assert_int_equal(after("retry-after-ms", "1500", "Retry-After", "2"), 2000);
	assert_int_equal(after("x-ms-retry-after-ms", "70000", NULL, NULL), 60000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backoff_grows_and_is_capped),
		cmocka_unit_test(test_gives_up),
		cmocka_unit_test(test_service_asks),
		cmocka_unit_test(test_damaged_once),
		cmocka_unit_test(test_retry_after),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
