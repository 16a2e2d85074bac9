/* base/buf.c - the buffer, and adafs_fmt, the text made in one go. */
#include "batch/base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void adafs_buf_init(struct adafs_buf *b, size_t cap)
{
	*b = ADAFS_BUF_INIT(cap);
}

void adafs_buf_clear(struct adafs_buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->size = 0;
}

void adafs_buf_reset(struct adafs_buf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = 0;
}

int adafs_buf_reserve(struct adafs_buf *b, size_t extra)
{
	if (extra > b->cap || b->len > b->cap - extra)
		return -EFBIG;
	size_t need = b->len + extra + 1;
	if (need <= b->size)
		return 0;
	size_t size = b->size ? b->size : 64;
	while (size < need)
		size *= 2;
	char *data = realloc(b->data, size);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->size = size;
	return 0;
}

int adafs_buf_add(struct adafs_buf *b, const void *data, size_t len)
{
	int rc = adafs_buf_reserve(b, len);
	if (rc < 0)
		return rc;
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = 0;
	return 0;
}

int adafs_buf_adds(struct adafs_buf *b, const char *text)
{
	return adafs_buf_add(b, text, strlen(text));
}

int adafs_buf_vaddf(struct adafs_buf *b, const char *fmt, va_list ap)
{
	/* Most texts fit into what is there already: then one pass is enough. */
	size_t room = b->data ? b->size - b->len : 0;
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(room ? b->data + b->len : NULL, room, fmt, again);
	va_end(again);
	int rc = n < 0 ? -EINVAL : adafs_buf_reserve(b, (size_t)n);
	if (rc < 0) {
		if (room)
			b->data[b->len] = 0;
		return rc;
	}
	if ((size_t)n >= room)
		vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	b->len += (size_t)n;
	return 0;
}

int adafs_buf_addf(struct adafs_buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int rc = adafs_buf_vaddf(b, fmt, ap);
	va_end(ap);
	return rc;
}

char *adafs_buf_steal(struct adafs_buf *b, size_t *ret_len)
{
	char *data = b->data ? b->data : calloc(1, 1);
	if (data && ret_len)
		*ret_len = b->len;
	b->data = NULL;
	b->len = b->size = 0;
	return data;
}

const char *adafs_buf_str(const struct adafs_buf *b)
{
	return b->data ? b->data : "";
}

char *adafs_fmt(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	return n < 0 ? NULL : text;
}
