/* The table from status and service code to errno: an expectation for every row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "batch/azure/status.h"
#include "batch/base/cleanup.h"

static const struct adafs_status_row expected[] = {
	{ 400, "Crc64Mismatch", -EIO, false },
	{ 400, "Md5Mismatch", -EIO, false },
	{ 400, "InvalidBlockList", -EINVAL, false },
	{ 401, "NoAuthenticationInformation", -EACCES, false },
	{ 403, "AuthenticationFailed", -EACCES, false },
	{ 404, "BlobNotFound", -ENOENT, false },
	{ 404, "JobNotFound", -ENOENT, false },
	{ 408, "", -EIO, true },
	{ 409, "BlobAlreadyExists", -EEXIST, false },
	{ 409, "ContainerAlreadyExists", -EEXIST, false },
	{ 409, "ResourceAlreadyExists", -EEXIST, false },
	{ 409, "JobExists", -EEXIST, false },
	{ 409, "TaskExists", -EEXIST, false },
	{ 409, "PoolExists", -EEXIST, false },
	{ 409, "DirectoryIsNotEmpty", -ENOTEMPTY, false },
	{ 409, "BlobImmutableDueToPolicy", -EROFS, false },
	{ 409, "LeaseAlreadyPresent", -EBUSY, false },
	{ 409, "LeaseIdMismatchWithLeaseOperation", -EBUSY, false },
	{ 409, "LeaseNotPresentWithLeaseOperation", -EBUSY, false },
	{ 409, "PendingCopyOperation", -EBUSY, false },
	{ 409, "ContainerBeingDeleted", -EBUSY, false },
	{ 409, "PoolBeingCreated", -EBUSY, false },
	{ 409, "PoolBeingDeleted", -EBUSY, false },
	{ 409, "PoolBeingResized", -EBUSY, false },
	{ 409, "JobBeingDeleted", -EBUSY, false },
	{ 409, "JobBeingTerminated", -EBUSY, false },
	{ 409, "OperationInvalidForCurrentState", -EAGAIN, false },
	{ 409, "ActiveJobAndScheduleQuotaReached", -EDQUOT, false },
	{ 409, "PoolQuotaReached", -EDQUOT, false },
	{ 412, "LeaseIdMissing", -EBUSY, false },
	{ 412, "LeaseIdMismatchWithBlobOperation", -EBUSY, false },
	{ 412, "LeaseIdMismatchWithContainerOperation", -EBUSY, false },
	{ 412, "LeaseLost", -EBUSY, false },
	{ 412, "LeaseNotPresentWithBlobOperation", -EBUSY, false },
	{ 412, "LeaseNotPresentWithContainerOperation", -EBUSY, false },
	{ 412, "ConditionNotMet", -ESTALE, false },
	{ 412, "TargetConditionNotMet", -ESTALE, false },
	{ 413, "RequestBodyTooLarge", -EFBIG, false },
	{ 416, "InvalidRange", -ERANGE, false },
	{ 429, "TooManyRequests", -EAGAIN, true },
	{ 500, "InternalError", -EIO, true },
	{ 501, "APINotImplemented", -EOPNOTSUPP, false },
	{ 502, "", -EIO, true },
	{ 503, "ServerBusy", -EAGAIN, true },
	{ 504, "", -EIO, true },
	/* what no row knows */
	{ 301, "", -EIO, false },
	{ 405, "UnsupportedHttpVerb", -EIO, false },
	{ 409, "BlobArchived", -EIO, false },
	{ 505, "", -EIO, false },
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(expected); i++) {
		bool retryable;
		int rc = adafs_status_errno(expected[i].status, expected[i].code, &retryable);
		if (rc != expected[i].rc || retryable != expected[i].retryable)
			fail_msg("%d %s: %d, retryable %d", expected[i].status, expected[i].code,
				 rc, retryable);
	}
}

/* Nobody adds a row without an expectation above, and none is hidden by an earlier one. */
static void test_each_row_is_expected(void **state)
{
	(void)state;
	size_t n;
	const struct adafs_status_row *rows = adafs_status_table(&n);
	for (size_t r = 0; r < n; r++) {
		bool found = false;
		for (size_t i = 0; i < ADAFS_ARRAY_SIZE(expected); i++)
			found |= expected[i].status == rows[r].status &&
				 (!rows[r].code || strcmp(rows[r].code, expected[i].code) == 0);
		if (!found)
			fail_msg("no expectation for %d %s", rows[r].status,
				 rows[r].code ? rows[r].code : "");
		for (size_t e = 0; e < r; e++)
			if (rows[e].status == rows[r].status)
				assert_non_null(rows[e].code);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_each_row_is_expected),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
