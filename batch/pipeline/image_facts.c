/*
 * image_facts.c - what the check found as one line, and back: words "key=value" after a version.
 * The line lives in a blob's metadata, where others may write too, so all of it is checked.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "batch/pipeline/footprint.h"
#include "batch/pipeline/image_formats.h"

#define VERSION "v1"
#define MAX_GSD_M 1e8
#define MAX_LON 540 /* from -180 east, a whole turn */

/* --- dates ---------------------------------------------------------------------------------- */

/* strptime lets the 31st of February pass, and 60 seconds: timegm makes other ones of them. */
static bool is_real(const struct tm *tm)
{
	struct tm again = *tm;
	timegm(&again);
	return tm->tm_year >= 0 && tm->tm_year < 300 && again.tm_mday == tm->tm_mday &&
	       again.tm_hour == tm->tm_hour && again.tm_min == tm->tm_min &&
	       again.tm_sec == tm->tm_sec;
}

/* Of these lengths and characters, no number of it has a digit less. */
bool image_date_valid(const char *date)
{
	struct tm tm = { 0 };
	size_t n = strlen(date);
	if (strspn(date, "0123456789-T:Z") != n)
		return false;
	const char *end = n == 10   ? strptime(date, "%Y-%m-%d", &tm)
			  : n == 20 ? strptime(date, "%Y-%m-%dT%H:%M:%SZ", &tm)
				    : NULL;
	return end && !*end && is_real(&tm);
}

void image_date_from_tiff(const char *text, char ret[ADAFS_IMAGE_DATE_SIZE])
{
	char date[ADAFS_IMAGE_DATE_SIZE] = "";
	size_t n = strnlen(text, ADAFS_IMAGE_DATE_SIZE);
	ret[0] = '\0';
	if (n < 10 || text[4] != ':' || text[7] != ':' || (text[10] && text[10] != ' '))
		return;
	memcpy(date, text, n < 19 ? n : 19);
	date[4] = date[7] = '-';
	if (n == 19) {
		date[10] = 'T';
		date[19] = 'Z';
	}
	if (!image_date_valid(date))
		date[10] = '\0';
	if (image_date_valid(date))
		memcpy(ret, date, sizeof(date));
}

/* --- writing -------------------------------------------------------------------------------- */

struct line {
	char *out;
	size_t size, n;
	int rc;
};

static void put(struct line *l, const char *fmt, ...) ADAFS_PRINTF(2, 3);
static void put(struct line *l, const char *fmt, ...)
{
	va_list ap;
	if (l->rc < 0)
		return;
	va_start(ap, fmt);
	int n = vsnprintf(l->out + l->n, l->size - l->n, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= l->size - l->n)
		l->rc = -ENOSPC;
	else
		l->n += (size_t)n;
}

/* To 7 decimals, without the zeros at the end. */
static void put_number(struct line *l, const char *before, double value, double max)
{
	char text[40];
	if (!(fabs(value) <= max)) {
		l->rc = -EINVAL;
		return;
	}
	int n = snprintf(text, sizeof(text), "%.7f", value);
	while (text[n - 1] == '0')
		n--;
	if (text[n - 1] == '.')
		n--;
	text[n] = '\0';
	put(l, "%s%s", before, strcmp(text, "-0") ? text : "0");
}

static void put_ring(struct line *l, const struct adafs_image_geo *geo)
{
	for (int i = 0; i < 4; i++) {
		put_number(l, i ? "," : " ring=", geo->lon[i], MAX_LON);
		put_number(l, ",", geo->lat[i], 90);
	}
}

/* The name of a format as a word: "JPEG 2000" has a blank. */
static const struct {
	const char *format, *word;
} formats[] = {
	{ "TIFF", "TIFF" }, { "BigTIFF", "BigTIFF" },    { "PNG", "PNG" },
	{ "JPEG", "JPEG" }, { "JPEG 2000", "JPEG2000" },
};

static const char *format_word(const char *format)
{
	for (size_t i = 0; format && i < ADAFS_ARRAY_SIZE(formats); i++)
		if (!strcmp(format, formats[i].format))
			return formats[i].word;
	return NULL;
}

static bool is_word(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

static void put_geo(struct line *l, const struct adafs_image_info *info)
{
	const struct adafs_image_geo *geo = &info->geo;
	if (info->georeferenced)
		put(l, " geo=1");
	if (geo->crs[0])
		put(l, " crs=%s", geo->crs);
	if (geo->pixel_size_m != 0)
		put_number(l, " gsd=", geo->pixel_size_m, MAX_GSD_M);
	if (info->date[0])
		put(l, " date=%s", info->date);
	if (geo->has_footprint)
		put_ring(l, geo);
}

int adafs_image_facts_write(const struct adafs_image_info *info, char *out, size_t size)
{
	struct line l = { .out = out, .size = size };
	const char *word = format_word(info->format);
	if (!size)
		return -ENOSPC;
	out[0] = '\0';
	if (!word || !info->width || !info->height || !is_word(info->geo.crs) ||
	    (info->date[0] && !image_date_valid(info->date)) || info->geo.pixel_size_m < 0)
		return -EINVAL;
	put(&l, VERSION " w=%u h=%u bands=%u bits=%u format=%s", info->width, info->height,
	    info->bands, info->bits_per_sample, word);
	put_geo(&l, info);
	if (l.rc < 0)
		out[0] = '\0';
	return l.rc;
}

/* --- reading -------------------------------------------------------------------------------- */

static bool read_unsigned(const char *text, unsigned long max, unsigned long *ret)
{
	if (!*text || strlen(text) > 10 || strspn(text, "0123456789") != strlen(text))
		return false;
	*ret = strtoul(text, NULL, 10);
	return *ret <= max;
}

/* One number up to the end character, after which *at stands. */
static bool read_number(const char **at, char end, double max, double *ret)
{
	size_t n = strspn(*at, "-0123456789.");
	char *stop = NULL;
	if (!n || (*at)[n] != end)
		return false;
	*ret = strtod(*at, &stop);
	if (stop != *at + n || !(fabs(*ret) <= max))
		return false;
	*at += n + (end != '\0');
	return true;
}

static bool read_side(const char *value, uint32_t *ret)
{
	unsigned long n = 0;
	if (!read_unsigned(value, UINT32_MAX, &n) || n == 0)
		return false;
	*ret = (uint32_t)n;
	return true;
}

static bool read_width(const char *value, struct adafs_image_info *ret)
{
	return read_side(value, &ret->width);
}

static bool read_height(const char *value, struct adafs_image_info *ret)
{
	return read_side(value, &ret->height);
}

static bool read_bands(const char *value, struct adafs_image_info *ret)
{
	unsigned long n = 0;
	bool ok = read_unsigned(value, UINT16_MAX, &n);
	ret->bands = (uint16_t)n;
	return ok;
}

static bool read_bits(const char *value, struct adafs_image_info *ret)
{
	unsigned long n = 0;
	bool ok = read_unsigned(value, UINT16_MAX, &n);
	ret->bits_per_sample = (uint16_t)n;
	return ok;
}

static bool read_format(const char *value, struct adafs_image_info *ret)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(formats); i++)
		if (!strcmp(value, formats[i].word))
			ret->format = formats[i].format;
	return ret->format != NULL;
}

static bool read_geo(const char *value, struct adafs_image_info *ret)
{
	ret->georeferenced = !strcmp(value, "1");
	return ret->georeferenced;
}

static bool read_crs(const char *value, struct adafs_image_info *ret)
{
	size_t n = strlen(value);
	if (n == 0 || n >= sizeof(ret->geo.crs))
		return false;
	memcpy(ret->geo.crs, value, n + 1);
	return true;
}

static bool read_gsd(const char *value, struct adafs_image_info *ret)
{
	return read_number(&value, '\0', MAX_GSD_M, &ret->geo.pixel_size_m) &&
	       ret->geo.pixel_size_m >= 0;
}

static bool read_date(const char *value, struct adafs_image_info *ret)
{
	if (!image_date_valid(value))
		return false;
	memcpy(ret->date, value, strlen(value) + 1);
	return true;
}

static bool read_ring(const char *value, struct adafs_image_info *ret)
{
	for (int i = 0; i < 4; i++)
		if (!read_number(&value, ',', MAX_LON, &ret->geo.lon[i]) ||
		    !read_number(&value, i < 3 ? ',' : '\0', 90, &ret->geo.lat[i]))
			return false;
	ret->geo.has_footprint = true;
	return true;
}

/* The first five are in every line. */
#define N_NEEDED 5
static const struct {
	const char *key;
	bool (*read)(const char *value, struct adafs_image_info *ret);
} keys[] = {
	{ "w", read_width },   { "h", read_height },      { "bands", read_bands },
	{ "bits", read_bits }, { "format", read_format }, { "geo", read_geo },
	{ "crs", read_crs },   { "gsd", read_gsd },       { "date", read_date },
	{ "ring", read_ring },
};

/* A key that comes twice is damage: which of them would be right? */
static int read_word(char *word, struct adafs_image_info *ret, unsigned *seen)
{
	char *value = strchr(word, '=');
	if (!value || value == word)
		return -EINVAL;
	*value++ = '\0';
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(keys); i++) {
		if (strcmp(word, keys[i].key) != 0)
			continue;
		if ((*seen & 1u << i) || !keys[i].read(value, ret))
			return -EINVAL;
		*seen |= 1u << i;
	}
	return 0;
}

int adafs_image_facts_read(const char *text, struct adafs_image_info *ret)
{
	struct adafs_image_info info = { 0 };
	/* Room for keys of newer programs; metadata as a whole is not longer. */
	char copy[8192], *rest = copy;
	unsigned seen = 0, needed = (1u << N_NEEDED) - 1;
	size_t n = strnlen(text, sizeof(copy));
	if (n == sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, n + 1);
	if (strcmp(strsep(&rest, " "), VERSION) != 0)
		return -EINVAL;
	for (char *word; (word = strsep(&rest, " "));)
		if (!is_word(word) || read_word(word, &info, &seen) < 0)
			return -EINVAL;
	if ((seen & needed) != needed)
		return -EINVAL;
	*ret = info;
	return 0;
}
