/* base/buf.h - a growable byte buffer with a mandatory cap, always NUL-terminated for text use. */
#ifndef ADAFS_BASE_BUF_H
#define ADAFS_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>

#include "batch/base/cleanup.h"

struct adafs_buf {
	char *data; /* owned; NULL while empty; data[len] is 0 once anything was added */
	size_t len;
	size_t size; /* bytes allocated */
	size_t cap;  /* the most that len may reach; adding more fails with -EFBIG */
};

#define ADAFS_BUF_INIT(max) ((struct adafs_buf){ .cap = (max) })

/* Prepare an embedded buffer that may hold at most cap bytes. */
void adafs_buf_init(struct adafs_buf *b, size_t cap);
/* Free the bytes; the buffer may be used again with the same cap. */
void adafs_buf_clear(struct adafs_buf *b);
/* Forget the content, keep the memory. */
void adafs_buf_reset(struct adafs_buf *b);
/* Make room for at least extra more bytes. 0, -ENOMEM or -EFBIG. */
int adafs_buf_reserve(struct adafs_buf *b, size_t extra) ADAFS_MUST_CHECK;
/* Append len bytes. 0, -ENOMEM or -EFBIG; on failure the buffer is unchanged. */
int adafs_buf_add(struct adafs_buf *b, const void *data, size_t len);
/* Append a NUL-terminated text. */
int adafs_buf_adds(struct adafs_buf *b, const char *text);
/* Append formatted text. */
int adafs_buf_addf(struct adafs_buf *b, const char *fmt, ...) ADAFS_PRINTF(2, 3);
int adafs_buf_vaddf(struct adafs_buf *b, const char *fmt, va_list ap);
/* Hand the bytes to the caller (free()); an empty buffer gives "". NULL: out of memory. */
char *adafs_buf_steal(struct adafs_buf *b, size_t *ret_len);
/* The content as text, "" when empty; borrowed until the next change. */
const char *adafs_buf_str(const struct adafs_buf *b);

/* asprintf that returns the text (free()) or NULL when out of memory. */
char *adafs_fmt(const char *fmt, ...) ADAFS_PRINTF(1, 2);

#endif
