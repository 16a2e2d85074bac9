/* image.c - which format a file has, what else it may be, and names that never are images. */
#include "batch/pipeline/image.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "batch/base/file.h"
#include "batch/pipeline/image_formats.h"

int image_read(struct image_file *f, void *data, size_t len, int64_t off)
{
	if (off < 0 || (int64_t)len > f->size || off > f->size - (int64_t)len)
		return -ENODATA;
	int rc = adafs_pread_all(f->fd, data, len, off);
	if (rc < 0 && rc != -ENODATA && !f->rc)
		f->rc = adafs_err_set(f->reterr, -EIO, "cannot read the image at offset %lld: %s",
				      (long long)off, strerror(-rc));
	return f->rc ? f->rc : rc;
}

int image_bad(struct image_file *f, const char *fmt, ...)
{
	if (f->rc)
		return f->rc;
	char msg[400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	return adafs_err_set(f->reterr, -EBADMSG, "%s", msg);
}

int image_check_sides(struct image_file *f, const char *format, uint64_t width, uint64_t height)
{
	if (width && height && width <= IMAGE_MAX_SIDE && height <= IMAGE_MAX_SIDE)
		return 0;
	return image_bad(
		f,
		"the %s says it is %llu x %llu pixels, and 1 to %u a side are sane; write it again",
		format, (unsigned long long)width, (unsigned long long)height, IMAGE_MAX_SIDE);
}

/* What a file is that is no image: beginnings that people do copy by mistake. */
static const struct {
	const char *magic;
	size_t len, off;
	const char *what;
} others[] = {
	{ "%PDF", 4, 0, "a PDF document" },
	{ "PK\3\4", 4, 0, "a ZIP archive" },
	{ "PK\5\6", 4, 0, "an empty ZIP archive" },
	{ "\x1f\x8b", 2, 0, "a gzip file" },
	{ "BZh", 3, 0, "a bzip2 file" },
	{ "\xfd"
	  "7zXZ",
	  5, 0, "an xz file" },
	{ "(\xb5/\xfd", 4, 0, "a zstd file" },
	{ "7z\xbc\xaf", 4, 0, "a 7z archive" },
	{ "Rar!", 4, 0, "a RAR archive" },
	{ "ustar", 5, 257, "a tar archive" },
	{ "GIF8", 4, 0, "a GIF image" },
	{ "BM", 2, 0, "a BMP image" },
	{ "WEBP", 4, 8, "a WebP image" },
	{ "ftypheic", 8, 4, "a HEIC image" },
	{ "ftypavif", 8, 4, "an AVIF image" },
	{ "NITF", 4, 0, "a NITF image" },
	{ "HFA_HEADER", 10, 4, "an ERDAS Imagine image" },
	{ "EHFA_HEADER", 11, 0, "an ERDAS Imagine image" },
	{ "\x89HDF", 4, 0, "an HDF5 file" },
	{ "CDF", 3, 0, "a NetCDF file" },
	{ "SQLite format 3", 15, 0, "an SQLite database or GeoPackage" },
	{ "<?xml", 5, 0, "an XML text" },
	{ "\x7f"
	  "ELF",
	  4, 0, "a program" },
};

static const char *describe(const uint8_t *head, size_t n)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(others); i++)
		if (others[i].off + others[i].len <= n &&
		    !memcmp(head + others[i].off, others[i].magic, others[i].len))
			return others[i].what;
	size_t text = 0, zero = 0;
	for (size_t i = 0; i < n; i++) {
		text += (head[i] >= ' ' && head[i] != 0x7f) || strchr("\t\r\n", head[i]) != NULL;
		zero += head[i] == 0;
	}
	if (zero == n)
		return "all zeros at its beginning, as a copy that was cut off leaves it";
	return text == n ? "a text" : "of an unknown format";
}

static bool is_tiff(const uint8_t *h)
{
	return !memcmp(h, "II*\0", 4) || !memcmp(h, "MM\0*", 4) || !memcmp(h, "II+\0", 4) ||
	       !memcmp(h, "MM\0+", 4);
}

int adafs_image_check(int fd, int64_t size, struct adafs_image_info *ret, struct adafs_err *reterr)
{
	struct image_file f = { .fd = fd, .size = size, .reterr = reterr };
	struct adafs_image_info info = { 0 };
	uint8_t head[512] = { 0 };
	size_t n = size < (int64_t)sizeof(head) ? (size_t)(size > 0 ? size : 0) : sizeof(head);
	if (!n)
		return image_bad(&f, "the file is empty; copy the image again");
	int rc = image_read(&f, head, n, 0);
	if (rc < 0)
		return image_bad(&f,
				 "the file is shorter than its size of %lld bytes; copy it again",
				 (long long)size);
	if (is_tiff(head))
		rc = image_check_tiff(&f, &info);
	else if (!memcmp(head, "\x89PNG\r\n\x1a\n", 8))
		rc = image_check_png(&f, &info);
	else if (!memcmp(head, "\xff\xd8\xff", 3))
		rc = image_check_jpeg(&f, &info);
	else if (!memcmp(head, "\0\0\0\fjP  \r\n\x87\n", 12) ||
		 !memcmp(head, "\xff\x4f\xff\x51", 4))
		rc = image_check_jp2(&f, &info);
	else
		rc = image_bad(&f,
			       "the file is %s, and none of TIFF, PNG, JPEG and JPEG 2000; convert "
			       "it, for "
			       "example with gdal_translate",
			       describe(head, n));
	if (rc == 0)
		*ret = info;
	return rc;
}

static bool ends_in(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);
	return n > m && !strcasecmp(name + n - m, end);
}

bool adafs_name_is_litter(const char *name)
{
	static const char *const ends[] = { "~", ".part", ".tmp", ".crdownload", ".filepart" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(ends); i++)
		if (ends_in(name, ends[i]))
			return true;
	return name[0] == '.' || !strcmp(name, "~") || !strcasecmp(name, "Thumbs.db") ||
	       !strcasecmp(name, "desktop.ini");
}

bool adafs_name_is_sidecar(const char *name)
{
	static const char *const ends[] = { ".aux.xml", ".ovr", ".prj",  ".msk", ".tfw", ".tifw",
					    ".tiffw",   ".pgw", ".pngw", ".jgw", ".jpw", ".jpgw",
					    ".jpegw",   ".j2w", ".jp2w", ".wld" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(ends); i++)
		if (ends_in(name, ends[i]))
			return true;
	return false;
}
