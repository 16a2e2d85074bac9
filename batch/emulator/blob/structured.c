/*
 * Bodies in checksummed segments (x-ms-structured-body: XSM/1.0; properties=crc64), taken apart as
 * they arrive: header, then per segment its header, data and CRC-64, then the CRC-64 of everything.
 */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_LEN 13
#define SEGMENT_LEN 10
#define CRC_LEN 8
#define VERSION 1
#define FLAG_CRC64 1

struct structured {
	enum { AT_HEADER, AT_SEGMENT, AT_DATA, AT_CRC, AT_TRAILER, AT_END } at;
	uint8_t field[HEADER_LEN]; /* of the part that is being collected */
	size_t n_field;
	uint64_t total;  /* bytes of the message, as its header says */
	uint64_t length; /* of the content, as the request says */
	uint64_t seen;   /* of the content so far */
	uint64_t left;   /* of the segment */
	unsigned segments, at_segment;
	bool crc;
	uint64_t segment_crc, crc_all;
};

struct structured *structured_new(uint64_t total, uint64_t length)
{
	struct structured *s = calloc(1, sizeof(*s));
	if (s) {
		s->total = total;
		s->length = length;
	}
	return s;
}

static uint64_t number(const uint8_t *p, size_t len)
{
	uint64_t n = 0;
	while (len--)
		n = n << 8 | p[len];
	return n;
}

static void next_segment(struct structured *s)
{
	if (s->at_segment < s->segments)
		s->at = AT_SEGMENT;
	else
		s->at = s->crc ? AT_TRAILER : AT_END;
}

static int take_header(struct structured *s)
{
	unsigned flags = (unsigned)number(s->field + 9, 2);
	s->crc = flags & FLAG_CRC64;
	s->segments = (unsigned)number(s->field + 11, 2);
	if (s->field[0] != VERSION || number(s->field + 1, 8) != s->total || flags > FLAG_CRC64)
		return BE_INVALID_INPUT;
	next_segment(s);
	return 0;
}

static int take_segment(struct structured *s)
{
	s->left = number(s->field + 2, 8);
	if (number(s->field, 2) != ++s->at_segment || s->left > s->length - s->seen)
		return BE_INVALID_INPUT;
	s->segment_crc = 0;
	s->at = AT_DATA;
	return 0;
}

static int take_crc(struct structured *s)
{
	bool all = s->at == AT_TRAILER;
	if (number(s->field, CRC_LEN) != (all ? s->crc_all : s->segment_crc))
		return BE_CRC64_MISMATCH;
	if (all)
		s->at = AT_END;
	else
		next_segment(s);
	return 0;
}

/* Collect a part of fixed size; 0 also while it is not whole. */
static int collect(struct structured *s, const uint8_t **p, size_t *len)
{
	size_t size = s->at == AT_HEADER ? HEADER_LEN : s->at == AT_SEGMENT ? SEGMENT_LEN : CRC_LEN;
	size_t n = size - s->n_field < *len ? size - s->n_field : *len;
	memcpy(s->field + s->n_field, *p, n);
	s->n_field += n;
	*p += n;
	*len -= n;
	if (s->n_field < size)
		return 0;
	s->n_field = 0;
	return s->at == AT_HEADER    ? take_header(s)
	       : s->at == AT_SEGMENT ? take_segment(s)
				     : take_crc(s);
}

static int pass_data(struct structured *s, const uint8_t **p, size_t *len,
		     int (*sink)(void *arg, const void *data, size_t len), void *arg)
{
	size_t n = s->left < *len ? (size_t)s->left : *len;
	int rc = n ? sink(arg, *p, n) : 0;
	if (rc != 0)
		return rc;
	s->segment_crc = adafs_crc64(s->segment_crc, *p, n);
	s->crc_all = adafs_crc64(s->crc_all, *p, n);
	s->left -= n;
	s->seen += n;
	*p += n;
	*len -= n;
	if (s->left)
		return 0;
	if (s->crc)
		s->at = AT_CRC;
	else
		next_segment(s);
	return 0;
}

int structured_feed(struct structured *s, const void *data, size_t len,
		    int (*sink)(void *arg, const void *data, size_t len), void *arg)
{
	const uint8_t *p = data;
	int rc = 0;
	while (rc == 0 && (len || (s->at == AT_DATA && !s->left))) {
		if (s->at == AT_END)
			return BE_INVALID_INPUT;
		rc = s->at == AT_DATA ? pass_data(s, &p, &len, sink, arg) : collect(s, &p, &len);
	}
	return rc;
}

int structured_finish(const struct structured *s)
{
	return s->at == AT_END && s->seen == s->length ? 0 : BE_INVALID_INPUT;
}
