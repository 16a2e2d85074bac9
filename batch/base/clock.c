/*
 * base/clock.c - clocks, and RFC 1123, ISO 8601 and durations as text, whatever the locale. Pure
 * but for the clocks.
 */
#include "batch/base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNLIMITED_TEXT "P10675199DT2H48M5.4775807S"
#define UNLIMITED_DAYS 10675199

static const char *const day_names[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char *const month_names[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

uint64_t adafs_clock_mono_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int64_t adafs_clock_wall_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* A page of a listing holds ten thousand dates: printf would take most of its time. */
static void two_digits(char *out, int n)
{
	out[0] = (char)('0' + n / 10 % 10);
	out[1] = (char)('0' + n % 10);
}

void adafs_clock_rfc1123(time_t t, char out[ADAFS_RFC1123_LEN])
{
	struct tm tm;
	gmtime_r(&t, &tm);
	memcpy(out, "Thu, 01 Jan 1970 00:00:00 GMT", ADAFS_RFC1123_LEN);
	memcpy(out, day_names[tm.tm_wday], 3);
	two_digits(out + 5, tm.tm_mday);
	memcpy(out + 8, month_names[tm.tm_mon], 3);
	two_digits(out + 12, (tm.tm_year + 1900) / 100);
	two_digits(out + 14, (tm.tm_year + 1900) % 100);
	two_digits(out + 17, tm.tm_hour);
	two_digits(out + 20, tm.tm_min);
	two_digits(out + 23, tm.tm_sec);
}

/* Whether each field is what a clock can show; scanf takes signs and timegm carries over. */
static bool tm_ok(const struct tm *tm, int month)
{
	return month >= 1 && month <= 12 && tm->tm_mday >= 1 && tm->tm_mday <= 31 &&
	       tm->tm_hour >= 0 && tm->tm_hour <= 23 && tm->tm_min >= 0 && tm->tm_min <= 59 &&
	       tm->tm_sec >= 0 && tm->tm_sec <= 60;
}

static int number(const char *p, int digits)
{
	int n = 0;
	for (; digits > 0; digits--, p++) {
		if (*p < '0' || *p > '9')
			return -1;
		n = n * 10 + (*p - '0');
	}
	return n;
}

/* The form that services send, at a tenth of scanf's price: a listing has two an entry. */
static bool parse_fixed(const char *text, time_t *ret_t)
{
	static const char shape[] = "---, -- --- ---- --:--:-- GMT";
	for (size_t i = 0; i < sizeof(shape); i++)
		if (shape[i] == '-' ? !text[i] : shape[i] != text[i])
			return false;
	struct tm tm = { .tm_mday = number(text + 5, 2),
			 .tm_year = number(text + 12, 4),
			 .tm_hour = number(text + 17, 2),
			 .tm_min = number(text + 20, 2),
			 .tm_sec = number(text + 23, 2) };
	int month = 0;
	while (month < 12 && memcmp(text + 8, month_names[month], 3) != 0)
		month++;
	if (tm.tm_year < 1970 || !tm_ok(&tm, month + 1))
		return false;
	/* Days since 1970 with years that begin in March. */
	int year = tm.tm_year - (month < 2), era = year / 400, of_era = year % 400;
	int of_year = (153 * ((month + 10) % 12) + 2) / 5 + tm.tm_mday - 1;
	int64_t days =
		(int64_t)era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
	*ret_t = (time_t)(days * 86400 + tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec);
	return true;
}

int adafs_clock_parse_rfc1123(const char *text, time_t *ret_t)
{
	if (parse_fixed(text, ret_t))
		return 0;
	char day[4], month[4], zone[4];
	struct tm tm = { 0 };
	if (sscanf(text, "%3s, %2d %3s %4d %2d:%2d:%2d %3s", day, &tm.tm_mday, month, &tm.tm_year,
		   &tm.tm_hour, &tm.tm_min, &tm.tm_sec, zone) != 8)
		return -EINVAL;
	for (tm.tm_mon = 0; tm.tm_mon < 12; tm.tm_mon++)
		if (strcmp(month, month_names[tm.tm_mon]) == 0)
			break;
	if (!tm_ok(&tm, tm.tm_mon + 1) || strcmp(zone, "GMT") != 0)
		return -EINVAL;
	tm.tm_year -= 1900;
	*ret_t = timegm(&tm);
	return 0;
}

void adafs_clock_iso8601(int64_t wall_us, char out[ADAFS_ISO8601_LEN])
{
	time_t t = (time_t)(wall_us / 1000000);
	struct tm tm;
	gmtime_r(&t, &tm);
	snprintf(out, ADAFS_ISO8601_LEN, "%04u-%02u-%02uT%02u:%02u:%02u.%06u0Z",
		 (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
		 (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
		 (unsigned)tm.tm_sec % 100, (unsigned)(wall_us % 1000000));
}

void adafs_clock_iso8601_seconds(int64_t wall_us, char out[ADAFS_ISO8601_LEN])
{
	adafs_clock_iso8601(wall_us, out);
	strcpy(out + strlen("2026-01-01T00:00:00"), "Z");
}

/* The fraction after a dot in microseconds, and where it ends; more digits are cut. */
static int64_t parse_fraction_us(const char **p)
{
	int64_t us = 0, unit = 100000;
	for (; isdigit((unsigned char)**p); (*p)++, unit /= 10)
		us += (**p - '0') * unit;
	return us;
}

static int parse_zone(const char *p, int64_t *ret_offset_s)
{
	*ret_offset_s = 0;
	if (strcmp(p, "Z") == 0 || strcmp(p, "z") == 0)
		return 0;
	int h, m, n = 0;
	if ((*p != '+' && *p != '-') || sscanf(p + 1, "%2d:%2d%n", &h, &m, &n) != 2 || p[1 + n] ||
	    h < 0 || h > 23 || m < 0 || m > 59)
		return -EINVAL;
	*ret_offset_s = (*p == '-' ? -1 : 1) * ((int64_t)h * 3600 + m * 60);
	return 0;
}

/*
 * The common shape, "2026-01-01T00:00:00Z": scanf takes longer than all else that is done with it.
 */
static bool parse_plain(const char *text, struct tm *tm)
{
	static const char shape[] = "0000-00-00T00:00:00Z";
	for (size_t i = 0; i < sizeof(shape); i++)
		if (shape[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i])
			return false;
#define TWO(at) ((text[at] - '0') * 10 + text[(at) + 1] - '0')
	*tm = (struct tm){ .tm_year = TWO(0) * 100 + TWO(2),
			   .tm_mon = TWO(5),
			   .tm_mday = TWO(8),
			   .tm_hour = TWO(11),
			   .tm_min = TWO(14),
			   .tm_sec = TWO(17) };
#undef TWO
	return true;
}

static int parse_any(const char *text, struct tm *ret_tm, int64_t *ret_us, int64_t *ret_offset_s)
{
	struct tm tm = { 0 };
	int n = 0;
	if (sscanf(text, "%4d-%2d-%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &n) != 3 || n != 10)
		return -EINVAL;
	const char *p = text + n;
	int64_t us = 0, offset_s = 0;
	if (*p) {
		if (sscanf(p, "T%2d:%2d%n", &tm.tm_hour, &tm.tm_min, &n) != 2)
			return -EINVAL;
		p += n;
		if (*p == ':') {
			if (sscanf(p, ":%2d%n", &tm.tm_sec, &n) != 1)
				return -EINVAL;
			p += n;
			if (*p == '.') {
				p++;
				us = parse_fraction_us(&p);
			}
		}
		if (parse_zone(p, &offset_s) < 0)
			return -EINVAL;
	}
	*ret_tm = tm;
	*ret_us = us;
	*ret_offset_s = offset_s;
	return 0;
}

int adafs_clock_parse_iso8601(const char *text, int64_t *ret_wall_us)
{
	struct tm tm;
	int64_t us = 0, offset_s = 0;
	if (!parse_plain(text, &tm) && parse_any(text, &tm, &us, &offset_s) < 0)
		return -EINVAL;
	if (!tm_ok(&tm, tm.tm_mon))
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret_wall_us = ((int64_t)timegm(&tm) - offset_s) * 1000000 + us;
	return 0;
}

static int64_t unit_ms(char unit, bool in_time)
{
	switch (unit) {
	case 'Y':
		return in_time ? 0 : INT64_C(365) * 86400000;
	case 'M':
		return in_time ? 60000 : INT64_C(30) * 86400000;
	case 'W':
		return in_time ? 0 : INT64_C(7) * 86400000;
	case 'D':
		return in_time ? 0 : 86400000;
	case 'H':
		return in_time ? 3600000 : 0;
	case 'S':
		return in_time ? 1000 : 0;
	default:
		return 0;
	}
}

int adafs_duration_parse(const char *text, int64_t *ret_ms)
{
	const char *p = text;
	bool in_time = false, any = false;
	int64_t total = 0;
	if (*p++ != 'P')
		return -EINVAL;
	while (*p) {
		if (*p == 'T' && !in_time) {
			in_time = true;
			p++;
			continue;
		}
		if (!isdigit((unsigned char)*p))
			return -EINVAL;
		char *end;
		int64_t value = strtoll(p, &end, 10), fraction_us = 0;
		p = end;
		if (*p == '.') {
			p++;
			fraction_us = parse_fraction_us(&p);
		}
		int64_t ms = unit_ms(*p, in_time);
		if (!ms || (fraction_us && *p != 'S'))
			return -EINVAL;
		if (*p == 'D' && value >= UNLIMITED_DAYS) {
			*ret_ms = ADAFS_DURATION_NONE;
			return 0;
		}
		if (value > UNLIMITED_DAYS * INT64_C(86400000) / ms)
			return -EINVAL;
		if (__builtin_add_overflow(total, value * ms + fraction_us / 1000, &total))
			return -EINVAL;
		any = true;
		p++;
	}
	if (!any)
		return -EINVAL;
	*ret_ms = total;
	return 0;
}

int adafs_duration_parse_short(const char *text, int64_t *ret_ms)
{
	static const char units[] = "smhdw";
	static const int64_t seconds[] = { 1, 60, 3600, 86400, 7 * 86400 };
	if (*text == 'P')
		return adafs_duration_parse(text, ret_ms);
	if (strcmp(text, "forever") == 0) {
		*ret_ms = ADAFS_DURATION_NONE;
		return 0;
	}
	size_t n = strspn(text, "0123456789");
	const char *unit = n && n < 10 && text[n] ? strchr(units, text[n]) : NULL;
	if (!unit || text[n + 1])
		return -EINVAL;
	int64_t ms = strtoll(text, NULL, 10) * seconds[unit - units] * 1000;
	if (ms >= UNLIMITED_DAYS * INT64_C(86400000))
		return -EINVAL;
	*ret_ms = ms;
	return 0;
}

void adafs_duration_format(int64_t ms, char out[48])
{
	if (ms == ADAFS_DURATION_NONE) {
		strcpy(out, UNLIMITED_TEXT);
		return;
	}
	int64_t d = ms / 86400000, h = ms / 3600000 % 24, m = ms / 60000 % 60, s = ms / 1000 % 60;
	int n = snprintf(out, 48, "P");
	if (d)
		n += snprintf(out + n, 48 - (size_t)n, "%lldD", (long long)d);
	if (h || m || s || ms % 1000 || !d) {
		n += snprintf(out + n, 48 - (size_t)n, "T");
		if (h)
			n += snprintf(out + n, 48 - (size_t)n, "%lldH", (long long)h);
		if (m)
			n += snprintf(out + n, 48 - (size_t)n, "%lldM", (long long)m);
		if (ms % 1000)
			snprintf(out + n, 48 - (size_t)n, "%lld.%03lldS", (long long)s,
				 (long long)(ms % 1000));
		else if (s || (!h && !m))
			snprintf(out + n, 48 - (size_t)n, "%lldS", (long long)s);
	}
}
