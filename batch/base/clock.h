/* base/clock.h - time: monotonic and wall clock, and the texts that the protocols use for it. */
#ifndef ADAFS_BASE_CLOCK_H
#define ADAFS_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "batch/base/cleanup.h"

/* Milliseconds of the monotonic clock, for deadlines and intervals. */
uint64_t adafs_clock_mono_ms(void);
/* Microseconds since 1970 UTC. */
int64_t adafs_clock_wall_us(void);

#define ADAFS_RFC1123_LEN 30 /* "Thu, 01 Jan 2026 00:00:00 GMT" and its NUL */
#define ADAFS_ISO8601_LEN 32 /* "2026-01-01T00:00:00.0000000Z" and its NUL */

/* HTTP date of wall time in seconds; English names whatever the locale. */
void adafs_clock_rfc1123(time_t t, char out[ADAFS_RFC1123_LEN]);
/* Parse an HTTP date. 0 or -EINVAL. */
int adafs_clock_parse_rfc1123(const char *text, time_t *ret_t) ADAFS_MUST_CHECK;

/* ISO 8601 UTC with 7 decimals, as both services write it, from microseconds since 1970. */
void adafs_clock_iso8601(int64_t wall_us, char out[ADAFS_ISO8601_LEN]);
/* The same without decimals: "2026-01-01T00:00:00Z", as SAS fields are written. */
void adafs_clock_iso8601_seconds(int64_t wall_us, char out[ADAFS_ISO8601_LEN]);
/*
 * Parse an ISO 8601 date or time: YYYY-MM-DD, with Thh:mm, seconds, up to 7 decimals, Z or an
 * offset. 0 or -EINVAL.
 */
int adafs_clock_parse_iso8601(const char *text, int64_t *ret_wall_us) ADAFS_MUST_CHECK;

#define ADAFS_DURATION_NONE                                                  \
	INT64_MAX /* no limit; the service writes P10675199DT2H48M5.4775807S \
		   */

/* Parse an ISO 8601 duration (PT5M, P1DT2H, P3Y6M4DT12H30M5.5S) to milliseconds. 0 or -EINVAL. */
int adafs_duration_parse(const char *text, int64_t *ret_ms) ADAFS_MUST_CHECK;
/*
 * Parse a duration as people write it: ISO 8601, or a whole number with s, m, h, d or w ("30d"), or
 * "forever" (ADAFS_DURATION_NONE). 0 or -EINVAL.
 */
int adafs_duration_parse_short(const char *text, int64_t *ret_ms) ADAFS_MUST_CHECK;
/* Write a duration normalised as Batch does: days, hours, minutes, seconds. out holds 48 bytes. */
void adafs_duration_format(int64_t ms, char out[48]);

#endif
