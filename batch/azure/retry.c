/* azure/retry.c - which failures are tried again, and after how long. Pure. */
#include "batch/azure/retry.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"

static bool checksum_refused(const struct adafs_err *err)
{
	return err->http_status == 400 && (strcmp(err->service_code, "Crc64Mismatch") == 0 ||
					   strcmp(err->service_code, "Md5Mismatch") == 0);
}

int64_t adafs_retry_delay(struct adafs_retry *r, const struct adafs_err *err,
			  uint32_t io_timeout_ms, uint64_t now_ms, uint32_t random)
{
	if (checksum_refused(err))
		return r->checksum_failures++ == 0 ? 0 : -1;
	if (!err->retryable || r->attempts >= ADAFS_RETRY_MAX_ATTEMPTS)
		return -1;
	uint32_t range = ADAFS_RETRY_BASE_MS;
	for (unsigned i = 1; i < r->attempts && range < ADAFS_RETRY_CAP_MS; i++)
		range *= 2;
	if (range > ADAFS_RETRY_CAP_MS)
		range = ADAFS_RETRY_CAP_MS;
	uint32_t delay = random % (range + 1);
	uint32_t asked = err->retry_after_ms;
	if (asked > ADAFS_RETRY_AFTER_CAP_MS)
		asked = ADAFS_RETRY_AFTER_CAP_MS;
	if (delay < asked)
		delay = asked;
	return now_ms + delay >= r->last_progress_ms + io_timeout_ms ? -1 : (int64_t)delay;
}

/* A decimal number times factor, saturated at the cap; 0 for anything else. */
static uint32_t parse_delay(const char *text, uint32_t factor)
{
	uint64_t n = 0;
	if (!isdigit((unsigned char)*text))
		return 0;
	for (; isdigit((unsigned char)*text); text++)
		if (n < ADAFS_RETRY_AFTER_CAP_MS)
			n = n * 10 + (uint64_t)(*text - '0');
	n *= factor;
	return n < ADAFS_RETRY_AFTER_CAP_MS ? (uint32_t)n : ADAFS_RETRY_AFTER_CAP_MS;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

uint32_t adafs_retry_after(const struct adafs_http_headers *headers, time_t now)
{
	uint32_t ms = 0;
	const char *v = adafs_http_headers_get(headers, "x-ms-retry-after-ms");
	if (v)
		ms = parse_delay(v, 1);
	v = adafs_http_headers_get(headers, "retry-after-ms");
	if (v)
		ms = larger(ms, parse_delay(v, 1));
	v = adafs_http_headers_get(headers, "Retry-After");
	if (!v)
		return ms;
	time_t date;
	if (isdigit((unsigned char)*v))
		return larger(ms, parse_delay(v, 1000));
	if (adafs_clock_parse_rfc1123(v, &date) < 0 || date <= now)
		return ms;
	int64_t seconds = (int64_t)date - (int64_t)now;
	return seconds >= ADAFS_RETRY_AFTER_CAP_MS / 1000 ? ADAFS_RETRY_AFTER_CAP_MS
							  : larger(ms, (uint32_t)seconds * 1000);
}
