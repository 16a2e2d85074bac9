/*
 * image_tiff.c - TIFF and BigTIFF by libtiff, which only reads directories here: every strip and
 * tile of every image, overview and mask is compared with the file's size, none is decoded. Work
 * is bounded by the number of directories and of chunks.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <tiffio.h>

#include "batch/pipeline/geo.h"
#include "batch/pipeline/image_formats.h"

#define MAX_DIRECTORIES 1024
#define MAX_CHUNKS 50000000u /* of all directories: 16 bytes each in the file, held by libtiff */
#define MAX_BANDS 4096

#define TAG_MODEL_PIXEL_SCALE 33550
#define TAG_MODEL_TIEPOINT 33922
#define TAG_MODEL_TRANSFORMATION 34264
#define TAG_GEO_KEY_DIRECTORY 34735

struct source {
	struct image_file *f;
	int64_t pos;
	char first[200]; /* the first thing that libtiff complained about */
};

static tmsize_t source_read(thandle_t h, void *data, tmsize_t len)
{
	struct source *s = (struct source *)h;
	if (len < 0 || s->pos >= s->f->size)
		return 0;
	if (len > s->f->size - s->pos)
		len = (tmsize_t)(s->f->size - s->pos);
	if (image_read(s->f, data, (size_t)len, s->pos) < 0)
		return 0;
	s->pos += len;
	return len;
}

static tmsize_t source_write(thandle_t h, void *data, tmsize_t len)
{
	(void)h;
	(void)data;
	(void)len;
	return -1;
}

static toff_t source_seek(thandle_t h, toff_t off, int whence)
{
	struct source *s = (struct source *)h;
	int64_t base = whence == SEEK_CUR ? s->pos : whence == SEEK_END ? s->f->size : 0;
	int64_t to = 0;
	if (__builtin_add_overflow(base, (int64_t)off, &to) || to < 0)
		return (toff_t)-1;
	s->pos = to;
	return (toff_t)to;
}

static int source_close(thandle_t h)
{
	(void)h;
	return 0;
}

static toff_t source_size(thandle_t h)
{
	return (toff_t)((struct source *)h)->f->size;
}

static int keep_error(TIFF *tif, void *user, const char *module, const char *fmt, va_list ap)
{
	struct source *s = user;
	(void)tif;
	(void)module;
	if (!s->first[0]) {
		vsnprintf(s->first, sizeof(s->first), fmt, ap);
		for (char *c = s->first; *c; c++)
			if ((unsigned char)*c < ' ')
				*c = ' ';
	}
	return 1;
}

static int drop_warning(TIFF *tif, void *user, const char *module, const char *fmt, va_list ap)
{
	(void)tif;
	(void)user;
	(void)module;
	(void)fmt;
	(void)ap;
	return 1;
}

static TIFF *open_source(struct source *s)
{
	TIFFOpenOptions *o = TIFFOpenOptionsAlloc();
	if (!o)
		return NULL;
	TIFFOpenOptionsSetErrorHandlerExtR(o, keep_error, s);
	TIFFOpenOptionsSetWarningHandlerExtR(o, drop_warning, s);
	/* A damaged count must not make it allocate gigabytes. */
	TIFFOpenOptionsSetMaxSingleMemAlloc(o, (tmsize_t)512 << 20);
	/* h: no directory before the tags are known; m: no mmap; O: tables of chunks only as asked
	 * for. */
	TIFF *tif = TIFFClientOpenExt("image", "rhmO", (thandle_t)s, source_read, source_write,
				      source_seek, source_close, source_size, NULL, NULL, o);
	TIFFOpenOptionsFree(o);
	return tif;
}

static const char *format_of(TIFF *tif)
{
	return TIFFIsBigTIFF(tif) ? "BigTIFF" : "TIFF";
}

/* The image's own chunk layout as plain words: "tile 12", "strip 3 of overview 1". */
static int bad_chunk(struct source *s, TIFF *tif, uint32_t chunk, uint64_t off, uint64_t len,
		     unsigned directory)
{
	const char *kind = TIFFIsTiled(tif) ? "tile" : "strip";
	const char *tags = TIFFIsTiled(tif) ? "TileOffsets" : "StripOffsets";
	char where[40] = "";
	if (directory)
		snprintf(where, sizeof(where), " of directory %u", directory);
	return image_bad(s->f,
			 "%s %" PRIu32 "%s (%s %" PRIu64 ", %" PRIu64
			 " bytes) runs past the end of the file, which has %" PRId64
			 " bytes; copy the whole "
			 "image again",
			 kind, chunk, where, tags, off, len, s->f->size);
}

/* bytes is the chunk's size if it is not compressed; 0: compressed. */
static int check_chunk(struct source *s, TIFF *tif, uint32_t chunk, uint64_t bytes,
		       unsigned directory, bool sparse_ok)
{
	int err = 0;
	uint64_t off = TIFFGetStrileOffsetWithErr(tif, chunk, &err);
	uint64_t len = err ? 0 : TIFFGetStrileByteCountWithErr(tif, chunk, &err);
	if (err)
		return image_bad(
			s->f,
			"the TIFF's table of strips or tiles cannot be read at entry %" PRIu32
			" of directory %u: %s; copy the whole image again",
			chunk, directory, s->first[0] ? s->first : "it is cut off");
	if (off == 0 && len == 0 && sparse_ok)
		return 0; /* GDAL leaves out chunks that hold nothing */
	if (off == 0 || len == 0)
		return image_bad(s->f,
				 "%s %" PRIu32 " of directory %u is empty (offset %" PRIu64
				 ", %" PRIu64 " bytes); write the image again",
				 TIFFIsTiled(tif) ? "tile" : "strip", chunk, directory, off, len);
	uint64_t size = (uint64_t)s->f->size;
	if (off >= size || len > size - off)
		return bad_chunk(s, tif, chunk, off, len, directory);
	/* Strips are allowed to be shorter at the end; a missing half is not. */
	if (bytes && len < bytes)
		return image_bad(s->f,
				 "%s %" PRIu32 " of directory %u has %" PRIu64
				 " bytes and needs %" PRIu64 "; write the image again",
				 TIFFIsTiled(tif) ? "tile" : "strip", chunk, directory, len, bytes);
	return 0;
}

/* The bytes of a chunk that is stored as it is; 0 where compression or subsampling decide. */
static uint64_t plain_bytes(TIFF *tif, uint32_t chunk, uint32_t height, uint16_t bands)
{
	uint16_t compression = COMPRESSION_NONE, photometric = 0, planar = PLANARCONFIG_CONTIG;
	TIFFGetFieldDefaulted(tif, TIFFTAG_COMPRESSION, &compression);
	TIFFGetField(tif, TIFFTAG_PHOTOMETRIC, &photometric);
	TIFFGetFieldDefaulted(tif, TIFFTAG_PLANARCONFIG, &planar);
	if (compression != COMPRESSION_NONE || photometric == PHOTOMETRIC_YCBCR)
		return 0;
	if (TIFFIsTiled(tif))
		return TIFFTileSize64(tif);
	uint32_t rows = 0, n = TIFFNumberOfStrips(tif);
	TIFFGetFieldDefaulted(tif, TIFFTAG_ROWSPERSTRIP, &rows);
	if (!rows || rows > height)
		rows = height;
	uint32_t per_band = planar == PLANARCONFIG_SEPARATE && bands ? n / bands : n;
	uint32_t row = per_band ? chunk % per_band * rows : 0;
	if (row >= height)
		return 0;
	return TIFFVStripSize64(tif, row + rows > height ? height - row : rows);
}

/* How many chunks the sides ask for; what the file says may be fewer when its table is cut. */
static int check_table(struct source *s, TIFF *tif, unsigned directory, uint32_t n,
		       uint64_t *budget)
{
	if (n == 0)
		return image_bad(
			s->f,
			"directory %u of the TIFF has no strips or tiles; write the image again",
			directory);
	if (n > *budget || (uint64_t)n > (uint64_t)s->f->size)
		return image_bad(s->f,
				 "directory %u of the TIFF says it has %" PRIu32
				 " strips or tiles, too many for a file of %" PRId64
				 " bytes; write it again",
				 directory, n, s->f->size);
	*budget -= n;
	uint32_t tag = TIFFIsTiled(tif) ? TIFFTAG_TILEOFFSETS : TIFFTAG_STRIPOFFSETS;
	if (!TIFFFieldWithTag(tif, tag))
		return image_bad(s->f,
				 "directory %u of the TIFF has no table of offsets; write it again",
				 directory);
	return 0;
}

static int check_directory(struct source *s, TIFF *tif, unsigned directory, uint64_t *budget,
			   struct adafs_image_info *ret)
{
	uint32_t width = 0, height = 0;
	uint16_t bands = 1, bits = 1;
	TIFFGetField(tif, TIFFTAG_IMAGEWIDTH, &width);
	TIFFGetField(tif, TIFFTAG_IMAGELENGTH, &height);
	TIFFGetFieldDefaulted(tif, TIFFTAG_SAMPLESPERPIXEL, &bands);
	TIFFGetFieldDefaulted(tif, TIFFTAG_BITSPERSAMPLE, &bits);
	int rc = image_check_sides(s->f, format_of(tif), width, height);
	if (rc < 0)
		return rc;
	if (!bands || bands > MAX_BANDS || !bits || bits > 128)
		return image_bad(s->f,
				 "the TIFF says it has %u bands of %u bits; write the image again",
				 bands, bits);
	if (directory == 0) {
		ret->width = width;
		ret->height = height;
		ret->bands = bands;
		ret->bits_per_sample = bits;
	}
	uint32_t n = TIFFIsTiled(tif) ? TIFFNumberOfTiles(tif) : TIFFNumberOfStrips(tif);
	rc = check_table(s, tif, directory, n, budget);
	/* An image that holds no chunk at all is no image; single ones may be left out. */
	bool any = false;
	for (uint32_t i = 0; rc == 0 && i < n; i++) {
		rc = check_chunk(s, tif, i, plain_bytes(tif, i, height, bands), directory, true);
		any |= rc == 0 && !any && TIFFGetStrileByteCount(tif, i) > 0;
	}
	if (rc == 0 && !any && directory == 0)
		return image_bad(s->f,
				 "none of the TIFF's %" PRIu32
				 " strips or tiles was written; write the "
				 "image again",
				 n);
	return rc;
}

/* The values of a tag of GeoTIFF, borrowed from libtiff until the next directory. */
static const void *get_values(TIFF *tif, uint32_t tag, uint16_t *ret_n)
{
	uint16_t n = 0;
	void *values = NULL;
	bool found = TIFFGetField(tif, tag, &n, &values) == 1 && values;
	*ret_n = found ? n : 0;
	return found ? values : NULL;
}

/* What the first directory says of place and time; the place is worked out when all is whole. */
static void read_facts(TIFF *tif, struct geo_ref *ref, struct adafs_image_info *ret)
{
	struct geo_tags t = { 0 };
	const char *date = NULL;
	t.scale = get_values(tif, TAG_MODEL_PIXEL_SCALE, &t.n_scale);
	t.tiepoints = get_values(tif, TAG_MODEL_TIEPOINT, &t.n_tiepoints);
	t.matrix = get_values(tif, TAG_MODEL_TRANSFORMATION, &t.n_matrix);
	t.keys = get_values(tif, TAG_GEO_KEY_DIRECTORY, &t.n_keys);
	geo_keys_read(&t, ref);
	ret->georeferenced = t.n_matrix > 0 || t.n_tiepoints > 0;
	if (TIFFGetField(tif, TIFFTAG_DATETIME, &date) == 1 && date)
		image_date_from_tiff(date, ret->date);
}

/* GeoTIFF's tags are not known to libtiff by itself. */
static void add_geo_tags(TIFF *tif)
{
	static const TIFFFieldInfo info[] = {
		{ TAG_MODEL_PIXEL_SCALE, -1, -1, TIFF_DOUBLE, FIELD_CUSTOM, 1, 1,
		  (char *)"ModelPixelScale" },
		{ TAG_MODEL_TIEPOINT, -1, -1, TIFF_DOUBLE, FIELD_CUSTOM, 1, 1,
		  (char *)"ModelTiepoint" },
		{ TAG_MODEL_TRANSFORMATION, -1, -1, TIFF_DOUBLE, FIELD_CUSTOM, 1, 1,
		  (char *)"ModelTransformation" },
		{ TAG_GEO_KEY_DIRECTORY, -1, -1, TIFF_SHORT, FIELD_CUSTOM, 1, 1,
		  (char *)"GeoKeyDirectory" },
	};
	TIFFMergeFieldInfo(tif, info, ADAFS_ARRAY_SIZE(info));
}

static int bad_directory(struct source *s, unsigned directory)
{
	return image_bad(s->f,
			 "directory %u of the TIFF cannot be read: %s; copy the whole image again",
			 directory, s->first[0] ? s->first : "it is cut off");
}

static int check_open(struct source *s, TIFF *tif, struct geo_ref *ref,
		      struct adafs_image_info *ret)
{
	uint64_t budget = MAX_CHUNKS;
	add_geo_tags(tif);
	ret->format = format_of(tif);
	for (unsigned directory = 0;; directory++) {
		if (directory == MAX_DIRECTORIES)
			return image_bad(s->f,
					 "the TIFF has more than %d directories; write it again",
					 MAX_DIRECTORIES);
		if (!TIFFReadDirectory(tif))
			return bad_directory(s, directory);
		int rc = check_directory(s, tif, directory, &budget, ret);
		if (rc < 0)
			return rc;
		if (directory == 0)
			read_facts(tif, ref, ret);
		if (TIFFLastDirectory(tif))
			return 0;
	}
}

int image_check_tiff(struct image_file *f, struct adafs_image_info *ret)
{
	struct source s = { .f = f };
	TIFF *tif = open_source(&s);
	if (!tif)
		return image_bad(f,
				 "the TIFF's header cannot be read: %s; copy the whole image again",
				 s.first[0] ? s.first : "it is cut off");
	struct geo_ref ref = { 0 };
	int rc = check_open(&s, tif, &ref, ret);
	TIFFClose(tif);
	if (rc == 0 && !f->rc)
		geo_locate(&ref, ret->width, ret->height, &ret->geo);
	return f->rc ? f->rc : rc;
}
