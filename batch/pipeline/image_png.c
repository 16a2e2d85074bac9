/* image_png.c - PNG: the chain of chunks from IHDR to IEND. */
#include <errno.h>
#include <string.h>

#include "batch/pipeline/image_formats.h"

static int read_header(struct image_file *f, struct adafs_image_info *ret)
{
	static const uint8_t bands[] = { 1, 0, 3, 1, 2, 0, 4 };
	uint8_t h[25];
	if (image_read(f, h, sizeof(h), 8) < 0 || image_be32(h) != 13 || memcmp(h + 4, "IHDR", 4))
		return image_bad(
			f, "the PNG has no whole header at offset 8; copy the whole image again");
	ret->format = "PNG";
	ret->width = image_be32(h + 8);
	ret->height = image_be32(h + 12);
	ret->bits_per_sample = h[16];
	ret->bands = h[17] < sizeof(bands) ? bands[h[17]] : 0;
	if (!ret->bands || !h[16] || h[16] > 16)
		return image_bad(
			f, "the PNG's header has colour type %u and %u bits; write the image again",
			h[17], h[16]);
	return image_check_sides(f, "PNG", ret->width, ret->height);
}

static bool is_type(const uint8_t *type)
{
	for (int i = 0; i < 4; i++)
		if ((type[i] < 'A' || type[i] > 'Z') && (type[i] < 'a' || type[i] > 'z'))
			return false;
	return true;
}

int image_check_png(struct image_file *f, struct adafs_image_info *ret)
{
	int rc = read_header(f, ret);
	if (rc < 0)
		return rc;
	bool data = false;
	for (int64_t off = 33;;) {
		uint8_t h[8];
		if (image_read(f, h, sizeof(h), off) < 0)
			return image_bad(f,
					 "the PNG ends at offset %lld without IEND; copy the whole "
					 "image again",
					 (long long)f->size);
		uint64_t len = image_be32(h);
		if (!is_type(h + 4))
			return image_bad(
				f,
				"at offset %lld of the PNG stands no chunk; copy the image again",
				(long long)off);
		if (len + 12 > (uint64_t)(f->size - off))
			return image_bad(
				f,
				"chunk %.4s at offset %lld of the PNG (%llu bytes) runs past the "
				"end of "
				"the file, which has %lld bytes; copy the whole image again",
				(const char *)h + 4, (long long)off, (unsigned long long)len,
				(long long)f->size);
		data |= !memcmp(h + 4, "IDAT", 4);
		if (!memcmp(h + 4, "IEND", 4))
			break;
		off += (int64_t)len + 12;
	}
	return data ? 0 : image_bad(f, "the PNG has no pixels (no IDAT); write the image again");
}
