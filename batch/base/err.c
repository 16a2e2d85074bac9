/*
 * base/err.c - filling and passing on the detail beside a negative errno. Every function accepts
 * NULL.
 */
#include "batch/base/err.h"

#include <stdarg.h>
#include <string.h>

int adafs_err_set(struct adafs_err *e, int rc, const char *fmt, ...)
{
	if (!e)
		return rc;
	memset(e, 0, sizeof(*e));
	e->rc = rc;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	return rc;
}

int adafs_err_prefix(struct adafs_err *e, const char *fmt, ...)
{
	if (!e)
		return 0;
	char old[sizeof(e->msg)];
	memcpy(old, e->msg, sizeof(old));
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(e->msg))
		snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %.400s", old);
	return e->rc;
}

int adafs_err_copy(struct adafs_err *dst, const struct adafs_err *src)
{
	if (dst) {
		if (src)
			*dst = *src;
		else
			memset(dst, 0, sizeof(*dst));
	}
	return src ? src->rc : 0;
}
