/*
 * image_jp2.c - JPEG 2000: boxes of a JP2 file, each inside the file, and the codestream with its
 * main header and its tile parts to the end marker.
 */
#include <errno.h>
#include <string.h>

#include "batch/pipeline/image_formats.h"

#define MAX_STEPS 1000000 /* boxes, segments, tile parts: each at least 8 bytes of the file */

/* The SIZ segment, right after the codestream's start. */
static int read_size(struct image_file *f, int64_t off, struct adafs_image_info *ret)
{
	uint8_t h[43];
	if (image_read(f, h, sizeof(h), off) < 0 || memcmp(h, "\xff\x4f\xff\x51", 4))
		return image_bad(f,
				 "the JPEG 2000 codestream at offset %lld has no whole header; "
				 "copy the whole "
				 "image again",
				 (long long)off);
	uint32_t x1 = image_be32(h + 8), y1 = image_be32(h + 12), x0 = image_be32(h + 16),
		 y0 = image_be32(h + 20);
	ret->width = x1 > x0 ? x1 - x0 : 0;
	ret->height = y1 > y0 ? y1 - y0 : 0;
	ret->bands = (uint16_t)image_be16(h + 40);
	ret->bits_per_sample = (uint16_t)((h[42] & 0x7f) + 1);
	return image_check_sides(f, "JPEG 2000", ret->width, ret->height);
}

/* A tile part from its SOT marker: its length leads to the next. A length of 0 is the last. */
static int walk_tiles(struct image_file *f, int64_t off, int64_t end)
{
	for (int i = 0; i < MAX_STEPS; i++) {
		uint8_t h[10];
		if (off + 2 <= end && image_read(f, h, 2, off) == 0 && !memcmp(h, "\xff\xd9", 2))
			return 0;
		if (off + (int64_t)sizeof(h) > end || image_read(f, h, sizeof(h), off) < 0)
			return image_bad(f,
					 "the JPEG 2000 codestream ends at offset %lld without its "
					 "end marker; "
					 "copy the whole image again",
					 (long long)end);
		if (memcmp(h, "\xff\x90", 2))
			return image_bad(f,
					 "at offset %lld of the JPEG 2000 stands no tile; copy the "
					 "image again",
					 (long long)off);
		int64_t len = image_be32(h + 6);
		if (len == 0) {
			if (image_read(f, h, 2, end - 2) == 0 && !memcmp(h, "\xff\xd9", 2))
				return 0;
			return image_bad(f,
					 "the JPEG 2000 codestream has no end marker at offset "
					 "%lld; copy the "
					 "whole image again",
					 (long long)end - 2);
		}
		if (len < 14 || len > end - off)
			return image_bad(f,
					 "the tile at offset %lld of the JPEG 2000 (%lld bytes) "
					 "runs past the end "
					 "at %lld; copy the whole image again",
					 (long long)off, (long long)len, (long long)end);
		off += len;
	}
	return image_bad(f, "the JPEG 2000 has more than %d tile parts; write it again", MAX_STEPS);
}

static int check_codestream(struct image_file *f, int64_t off, int64_t end,
			    struct adafs_image_info *ret)
{
	int rc = read_size(f, off, ret);
	if (rc < 0)
		return rc;
	off += 2;
	for (int i = 0; i < MAX_STEPS; i++) {
		uint8_t h[4];
		if (off + (int64_t)sizeof(h) > end || image_read(f, h, sizeof(h), off) < 0)
			return image_bad(f,
					 "the JPEG 2000 codestream is cut off in its header at "
					 "offset %lld; copy "
					 "the whole image again",
					 (long long)off);
		if (!memcmp(h, "\xff\x90", 2))
			return walk_tiles(f, off, end);
		if (h[0] != 0xff || h[1] < 0x50 || image_be16(h + 2) < 2)
			return image_bad(
				f,
				"at offset %lld of the JPEG 2000 stands no segment; copy the image "
				"again",
				(long long)off);
		off += 2 + (int64_t)image_be16(h + 2);
	}
	return image_bad(f, "the JPEG 2000 has more than %d segments; write it again", MAX_STEPS);
}

int image_check_jp2(struct image_file *f, struct adafs_image_info *ret)
{
	uint8_t h[16];
	int64_t code = -1, code_end = 0;
	ret->format = "JPEG 2000";
	if (image_read(f, h, 4, 0) == 0 && !memcmp(h, "\xff\x4f\xff\x51", 4))
		return check_codestream(f, 0, f->size, ret);
	int64_t off = 0;
	for (int i = 0; off < f->size && i < MAX_STEPS; i++) {
		if (image_read(f, h, 8, off) < 0)
			return image_bad(f,
					 "the JPEG 2000 is cut off at offset %lld; copy the whole "
					 "image again",
					 (long long)off);
		uint64_t len = image_be32(h);
		int64_t header = 8;
		if (len == 1) {
			if (image_read(f, h + 8, 8, off + 8) < 0)
				return image_bad(f,
						 "the JPEG 2000 is cut off at offset %lld; copy "
						 "the whole image "
						 "again",
						 (long long)off);
			len = image_be64(h + 8);
			header = 16;
		} else if (len == 0) { /* to the end of the file */
			len = (uint64_t)(f->size - off);
		}
		if (len < (uint64_t)header || len > (uint64_t)(f->size - off))
			return image_bad(
				f,
				"the box at offset %lld of the JPEG 2000 (%llu bytes) runs past "
				"the end of "
				"the file, which has %lld bytes; copy the whole image again",
				(long long)off, (unsigned long long)len, (long long)f->size);
		if (!memcmp(h + 4, "jp2c", 4) && code < 0) {
			code = off + header;
			code_end = off + (int64_t)len;
		}
		off += (int64_t)len;
	}
	if (code < 0)
		return image_bad(f, "the JPEG 2000 has no codestream; copy the whole image again");
	return check_codestream(f, code, code_end, ret);
}
