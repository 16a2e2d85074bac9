/* pipeline/image_formats.h - one checker a format, behind adafs_image_check. */
#ifndef ADAFS_PIPELINE_IMAGE_FORMATS_H
#define ADAFS_PIPELINE_IMAGE_FORMATS_H

#include <stdint.h>

#include "batch/pipeline/image.h"

/* The file under check. Every read goes through image_read. */
struct image_file {
	int fd;
	int64_t size;
	struct adafs_err *reterr;
	int rc; /* first failure of a read: -EIO; 0: none */
};

/* At most this many pixels a side: above, a header is damaged rather than an image large. */
#define IMAGE_MAX_SIDE 4000000u

/* Exactly len bytes at off. 0; -ENODATA past the end of the file; -EIO with reterr. */
int image_read(struct image_file *f, void *data, size_t len, int64_t off);
/* Fail with -EBADMSG, or with the -EIO that a read met before. */
int image_bad(struct image_file *f, const char *fmt, ...) ADAFS_PRINTF(2, 3);
/* Width and height are from 1 to IMAGE_MAX_SIDE. */
int image_check_sides(struct image_file *f, const char *format, uint64_t width, uint64_t height);

int image_check_tiff(struct image_file *f, struct adafs_image_info *ret);
int image_check_png(struct image_file *f, struct adafs_image_info *ret);
int image_check_jpeg(struct image_file *f, struct adafs_image_info *ret);
/* JP2 boxes, or a raw codestream. */
int image_check_jp2(struct image_file *f, struct adafs_image_info *ret);

/* A date as adafs_image_info has it, of a day and a second that exist, from 1900 to 2199. */
bool image_date_valid(const char *date);
/*
 * TIFF's DateTime, "YYYY:MM:DD hh:mm:ss", as such a date: without the time where that is damaged,
 * "" where the day is.
 */
void image_date_from_tiff(const char *text, char ret[ADAFS_IMAGE_DATE_SIZE]);

static inline uint32_t image_be16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static inline uint32_t image_be32(const uint8_t *p)
{
	return image_be16(p) << 16 | image_be16(p + 2);
}

static inline uint64_t image_be64(const uint8_t *p)
{
	return (uint64_t)image_be32(p) << 32 | image_be32(p + 4);
}

#endif
