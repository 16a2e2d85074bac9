/* names.c - the rules of names, so that a bad one fails at create and never later. */
#include "fs/blob/names.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "batch/base/codec.h"

#define MAX_SEGMENT 255
#define MAX_UNITS 1024
#define MAX_SEGMENTS 254

static bool bad_character(const char *s)
{
	unsigned char c = (unsigned char)*s;
	if (c < 0x20 || c == 0x7f || c == '\\')
		return true;
	/* U+FFFE and U+FFFF */
	return c == 0xef && (unsigned char)s[1] == 0xbf && (unsigned char)s[2] >= 0xbe;
}

static int check_segment(const char *s, size_t len)
{
	if (len > MAX_SEGMENT)
		return -ENAMETOOLONG;
	if (!len || (len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.'))
		return -EINVAL;
	return 0;
}

int names_check_length(const char *blob)
{
	size_t segments = 1;
	for (const char *p = blob; *p; p++)
		segments += *p == '/';
	return segments > MAX_SEGMENTS || adafs_utf16_units(blob, strlen(blob)) > MAX_UNITS
		       ? -ENAMETOOLONG
		       : 0;
}

int names_check_blob(const char *blob)
{
	size_t len = strlen(blob);
	if (!adafs_utf8_valid(blob, len))
		return -EILSEQ;
	for (const char *p = blob; *p; p++)
		if (bad_character(p))
			return -EINVAL;
	for (const char *s = blob;; s++) {
		size_t n = strcspn(s, "/");
		int rc = check_segment(s, n);
		if (rc)
			return rc;
		s += n;
		if (!*s)
			break;
	}
	return names_check_length(blob);
}

int names_check_container(const char *name)
{
	size_t len = strlen(name);
	if (len > 63)
		return -ENAMETOOLONG;
	if (len < 3 || name[0] == '-' || name[len - 1] == '-' || strstr(name, "--"))
		return -EINVAL;
	return name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")] ? -EINVAL : 0;
}
