/* azure/retry.h - whether and when a failed attempt is sent again: pure decisions, no clock of
 * their own. */
#ifndef ADAFS_AZURE_RETRY_H
#define ADAFS_AZURE_RETRY_H

#include <stdint.h>

#include "batch/azure/http.h"
#include "batch/base/err.h"

#define ADAFS_RETRY_MAX_ATTEMPTS 8
#define ADAFS_RETRY_BASE_MS 250
#define ADAFS_RETRY_CAP_MS 15000
#define ADAFS_RETRY_AFTER_CAP_MS 60000

/* What is remembered of a request across its attempts. */
struct adafs_retry {
	unsigned attempts;          /* sent so far */
	unsigned checksum_failures; /* replies that said that our bytes arrived damaged */
	uint64_t
		last_progress_ms; /* monotonic time of the last byte moved, at first of the start */
};

/*
 * The delay in ms before the next attempt after err, or -1: give up. Exponential back-off with full
 * jitter out of `random` (any 32 bits), but never less than what the service asked for. Gives up
 * after ADAFS_RETRY_MAX_ATTEMPTS, or when the next attempt would start later than io_timeout_ms
 * after the last progress. Damaged bytes are sent once more, without a delay.
 */
int64_t adafs_retry_delay(struct adafs_retry *r, const struct adafs_err *err,
			  uint32_t io_timeout_ms, uint64_t now_ms, uint32_t random);

/*
 * What a reply asks for in Retry-After (seconds or an HTTP date), retry-after-ms and
 * x-ms-retry-after-ms: the largest, in ms, capped at ADAFS_RETRY_AFTER_CAP_MS. 0: nothing.
 * now is wall time in seconds since 1970, for the date.
 */
uint32_t adafs_retry_after(const struct adafs_http_headers *headers, time_t now);

#endif
