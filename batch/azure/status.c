/* azure/status.c - the table, and the look-up in it by status and code. Pure. */
#include "batch/azure/status.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "batch/base/cleanup.h"

/* Rows with a code come before the row of the same status without one. */
static const struct adafs_status_row rows[] = {
	{ 400, "Crc64Mismatch", -EIO, false },
	{ 400, "Md5Mismatch", -EIO, false },
	{ 400, NULL, -EINVAL, false },
	{ 401, NULL, -EACCES, false },
	{ 403, NULL, -EACCES, false },
	{ 404, NULL, -ENOENT, false },
	{ 408, NULL, -EIO, true },
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
	{ 412, NULL, -ESTALE, false },
	{ 413, NULL, -EFBIG, false },
	{ 416, NULL, -ERANGE, false },
	{ 429, NULL, -EAGAIN, true },
	{ 500, NULL, -EIO, true },
	{ 501, NULL, -EOPNOTSUPP, false },
	{ 502, NULL, -EIO, true },
	{ 503, NULL, -EAGAIN, true },
	{ 504, NULL, -EIO, true },
};

const struct adafs_status_row *adafs_status_table(size_t *ret_n)
{
	*ret_n = ADAFS_ARRAY_SIZE(rows);
	return rows;
}

int adafs_status_errno(int status, const char *code, bool *ret_retryable)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		if (rows[i].status != status ||
		    (rows[i].code && strcasecmp(rows[i].code, code) != 0))
			continue;
		if (ret_retryable)
			*ret_retryable = rows[i].retryable;
		return rows[i].rc;
	}
	if (ret_retryable)
		*ret_retryable = false;
	return -EIO;
}
