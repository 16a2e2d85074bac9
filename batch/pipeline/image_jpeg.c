/*
 * image_jpeg.c - JPEG: the chain of segments to the first scan, then the end marker. Entropy-coded
 * data are not walked: a cut file lacks the end marker, which is searched in the file's tail, as
 * cameras append things after it.
 */
#include <errno.h>
#include <string.h>

#include "batch/pipeline/image_formats.h"

#define MAX_SEGMENTS 100000
#define TAIL (64 * 1024)

static bool is_frame(uint8_t marker)
{
	return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 &&
	       marker != 0xcc;
}

static int read_frame(struct image_file *f, int64_t off, struct adafs_image_info *ret)
{
	uint8_t h[10];
	if (image_read(f, h, sizeof(h), off) < 0)
		return image_bad(f,
				 "the JPEG is cut off in its frame header at offset %lld; copy the "
				 "whole image "
				 "again",
				 (long long)off);
	ret->bits_per_sample = h[4];
	ret->height = image_be16(h + 5);
	ret->width = image_be16(h + 7);
	ret->bands = h[9];
	if (!ret->bands || ret->bands > 4 || (h[4] != 8 && h[4] != 12 && h[4] != 16))
		return image_bad(f,
				 "the JPEG says it has %u bands of %u bits; write the image again",
				 ret->bands, h[4]);
	return image_check_sides(f, "JPEG", ret->width, ret->height);
}

/* The end marker in the last bytes, but not before scan. */
static int find_end(struct image_file *f, int64_t scan)
{
	uint8_t tail[4096];
	int64_t from = f->size > TAIL ? f->size - TAIL : 0;
	from = from < scan ? scan : from;
	/* Blocks overlap by a byte, so that a marker across two of them is seen. */
	for (int64_t end = f->size; end - from >= 2; end -= (int64_t)sizeof(tail) - 1) {
		int64_t start =
			end - (int64_t)sizeof(tail) < from ? from : end - (int64_t)sizeof(tail);
		size_t n = (size_t)(end - start);
		if (image_read(f, tail, n, start) < 0)
			break;
		for (size_t i = n - 1; i > 0; i--)
			if (tail[i - 1] == 0xff && tail[i] == 0xd9)
				return 0;
		if (start == from)
			break;
	}
	return image_bad(f,
			 "the JPEG has no end marker before its end at offset %lld; copy the whole "
			 "image again",
			 (long long)f->size);
}

int image_check_jpeg(struct image_file *f, struct adafs_image_info *ret)
{
	int64_t off = 2;
	bool frame = false;
	ret->format = "JPEG";
	for (int i = 0; i < MAX_SEGMENTS; i++) {
		uint8_t h[4];
		if (image_read(f, h, sizeof(h), off) < 0)
			return image_bad(f,
					 "the JPEG is cut off at offset %lld before its pixels; "
					 "copy the whole "
					 "image again",
					 (long long)off);
		if (h[0] != 0xff)
			return image_bad(
				f,
				"at offset %lld of the JPEG stands no marker; copy the image again",
				(long long)off);
		if (h[1] == 0xff) { /* fill byte */
			off++;
			continue;
		}
		if (h[1] == 0xd9 || h[1] == 0xd8 || image_be16(h + 2) < 2)
			return image_bad(f,
					 "marker %02X at offset %lld of the JPEG is out of place; "
					 "copy the image "
					 "again",
					 h[1], (long long)off);
		int64_t next = off + 2 + image_be16(h + 2);
		if (is_frame(h[1])) {
			int rc = read_frame(f, off, ret);
			if (rc < 0)
				return rc;
			frame = true;
		}
		if (h[1] == 0xda) {
			if (!frame)
				return image_bad(f, "the JPEG has pixels before its frame header; "
						    "write it again");
			return find_end(f, next);
		}
		off = next;
	}
	return image_bad(f, "the JPEG has more than %d segments before its pixels; write it again",
			 MAX_SEGMENTS);
}
