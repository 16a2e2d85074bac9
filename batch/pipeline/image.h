/* pipeline/image.h - is this file a whole image? Names that never are; the check at close. */
#ifndef ADAFS_PIPELINE_IMAGE_H
#define ADAFS_PIPELINE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "batch/base/err.h"
#include "batch/pipeline/footprint.h"

/* What the check saw. */
struct adafs_image_info {
	const char *format; /* "TIFF", "BigTIFF", "PNG", "JPEG", "JPEG 2000"; static */
	uint32_t width, height;
	uint16_t bands;
	uint16_t bits_per_sample;
	bool georeferenced; /* TIFF with a geotransform or tie points */
	/*
	 * When it was taken, as far as TIFF's DateTime says so (many writers put the time of
	 * writing there): "YYYY-MM-DDThh:mm:ssZ", its clock taken as UTC, or "YYYY-MM-DD"; ""
	 * unknown.
	 */
	char date[ADAFS_IMAGE_DATE_SIZE];
	struct adafs_image_geo geo; /* where it lies; only a GeoTIFF says so */
};

/*
 * Check size bytes behind fd: known format, every strip, tile or chunk inside the file, sane
 * dimensions. Reads with pread only; never crashes on any bytes. 0, or -EBADMSG with one line that
 * names what is wrong, where (offset, tag, measured value) and what to do; -EIO.
 */
int adafs_image_check(int fd, int64_t size, struct adafs_image_info *ret,
		      struct adafs_err *reterr) ADAFS_MUST_CHECK;

/* Temporary and litter names (".x", "x~", "x.part", "Thumbs.db", ...): never start a job. */
bool adafs_name_is_litter(const char *name);
/* Sidecars (.tfw .prj .aux.xml .ovr and world files): stored beside their image, start nothing. */
bool adafs_name_is_sidecar(const char *name);

#endif
