/* The check at close: real images pass, cut or damaged ones do not, and no bytes crash it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <tiffio.h>

#include "batch/base/buf.h"
#include "batch/base/file.h"
#include "batch/pipeline/image.h"

struct bytes {
	uint8_t *data;
	size_t len;
};

static int check_bytes(const void *data, size_t len, struct adafs_image_info *info,
		       struct adafs_err *err)
{
	ADAFS_CLOSE int fd = memfd_create("image", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(adafs_write_all(fd, data, len), 0);
	memset(err, 0, sizeof(*err));
	return adafs_image_check(fd, (int64_t)len, info, err);
}

/* --- real files --- */

static char *shared_file(const char *name)
{
	const char *dir = getenv("ADAFS_SHARED");
	return dir ? adafs_fmt("%s/data/%s", dir, name)
		   : adafs_fmt("%s/../shared/data/%s", ADAFS_SOURCE_DIR, name);
}

static int check_shared(const char *name, struct adafs_image_info *info, struct adafs_err *err)
{
	ADAFS_FREE char *path = shared_file(name);
	ADAFS_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ENOENT;
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	return adafs_image_check(fd, st.st_size, info, err);
}

static void test_real_files(void **state)
{
	(void)state;
	static const struct {
		const char *name, *format;
		unsigned width, height, bands, bits;
		bool geo;
	} rows[] = {
		{ "RGB.byte.tif", "TIFF", 791, 718, 3, 8, true },
		{ "rgb_lzw.tif", "TIFF", 791, 718, 3, 8, true },
		{ "rgb_deflate.tif", "TIFF", 791, 718, 3, 8, true },
		{ "RGBA.uint16.tif", "TIFF", 0, 0, 4, 16, true },
		{ "cogeo.tif", "TIFF", 0, 0, 3, 8, true },
		{ "world.rgb.tif", "TIFF", 512, 256, 3, 8, true },
		{ "RGB.byte.jpg", "JPEG", 0, 0, 3, 8, false },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		struct adafs_image_info info = { 0 };
		struct adafs_err err = { 0 };
		int rc = check_shared(rows[i].name, &info, &err);
		if (rc == -ENOENT) {
			print_message("skipped: the shared images are not there (ADAFS_SHARED)\n");
			skip();
		}
		if (rc < 0)
			fail_msg("%s: %s", rows[i].name, err.msg);
		assert_string_equal(info.format, rows[i].format);
		assert_int_equal(info.bands, rows[i].bands);
		assert_int_equal(info.bits_per_sample, rows[i].bits);
		assert_true(info.width > 0 && (!rows[i].width || info.width == rows[i].width));
		assert_true(info.height > 0 && (!rows[i].height || info.height == rows[i].height));
		if (info.georeferenced != rows[i].geo)
			fail_msg("%s: georeferenced is %d", rows[i].name, info.georeferenced);
	}
}

static void test_corrupt_file(void **state)
{
	(void)state;
	struct adafs_image_info info;
	struct adafs_err err = { 0 };
	int rc = check_shared("corrupt.tif", &info, &err);
	if (rc == -ENOENT)
		skip();
	assert_int_equal(rc, -EBADMSG);
	assert_non_null(strstr(err.msg, "tile "));
	assert_non_null(strstr(err.msg, "runs past the end of the file, which has 298232 bytes"));
}

/* --- generated files --- */

struct layout {
	const char *mode;
	unsigned side, tile, rows, compression, planar, directories;
};

static const struct layout layouts[] = {
	{ "w", 100, 0, 7, COMPRESSION_NONE, PLANARCONFIG_CONTIG, 1 },
	{ "wb", 64, 16, 0, COMPRESSION_NONE, PLANARCONFIG_SEPARATE, 1 },
	{ "w8", 100, 32, 0, COMPRESSION_LZW, PLANARCONFIG_CONTIG, 3 },
	{ "w", 50, 0, 50, COMPRESSION_PACKBITS, PLANARCONFIG_SEPARATE, 2 },
};

static void write_directory(TIFF *tif, const struct layout *l, unsigned side)
{
	uint8_t *row = calloc(3, (size_t)side * side + 65536);
	assert_non_null(row);
	for (size_t i = 0; i < (size_t)side * 3; i++)
		row[i] = (uint8_t)(i * 31);
	TIFFSetField(tif, TIFFTAG_IMAGEWIDTH, side);
	TIFFSetField(tif, TIFFTAG_IMAGELENGTH, side);
	TIFFSetField(tif, TIFFTAG_SAMPLESPERPIXEL, 3);
	TIFFSetField(tif, TIFFTAG_BITSPERSAMPLE, 8);
	TIFFSetField(tif, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_RGB);
	TIFFSetField(tif, TIFFTAG_PLANARCONFIG, l->planar);
	TIFFSetField(tif, TIFFTAG_COMPRESSION, l->compression);
	if (l->tile) {
		TIFFSetField(tif, TIFFTAG_TILEWIDTH, l->tile);
		TIFFSetField(tif, TIFFTAG_TILELENGTH, l->tile);
		for (uint32_t t = 0; t < TIFFNumberOfTiles(tif); t++)
			assert_true(TIFFWriteEncodedTile(tif, t, row, TIFFTileSize(tif)) > 0);
	} else {
		TIFFSetField(tif, TIFFTAG_ROWSPERSTRIP, l->rows);
		unsigned planes = l->planar == PLANARCONFIG_SEPARATE ? 3 : 1;
		for (unsigned p = 0; p < planes; p++)
			for (unsigned y = 0; y < side; y++)
				assert_true(TIFFWriteScanline(tif, row, y, (uint16_t)p) >= 0);
	}
	assert_true(TIFFWriteDirectory(tif));
	free(row);
}

static struct bytes make_tiff(const struct layout *l)
{
	char path[] = "/tmp/adafs-image-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	TIFF *tif = TIFFFdOpen(fd, path, l->mode);
	assert_non_null(tif);
	for (unsigned d = 0; d < l->directories; d++)
		write_directory(tif, l, l->side >> d);
	TIFFClose(tif);
	struct bytes b = { 0 };
	char *data = NULL;
	assert_int_equal(adafs_file_read(path, 1 << 24, &data, &b.len, NULL), 0);
	unlink(path);
	b.data = (uint8_t *)data;
	return b;
}

static void put32(struct adafs_buf *b, uint32_t v)
{
	uint8_t p[] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };
	adafs_buf_add(b, p, 4);
}

static void put_chunk(struct adafs_buf *b, const char *type, const void *data, uint32_t len)
{
	put32(b, len);
	adafs_buf_add(b, type, 4);
	adafs_buf_add(b, data, len);
	put32(b, 0);
}

static struct bytes steal(struct adafs_buf *b)
{
	struct bytes out = { 0 };
	out.data = (uint8_t *)adafs_buf_steal(b, &out.len);
	return out;
}

static struct bytes make_png(void)
{
	struct adafs_buf b = ADAFS_BUF_INIT(1 << 16);
	uint8_t pixels[300] = { 1 };
	adafs_buf_add(&b, "\x89PNG\r\n\x1a\n", 8);
	put_chunk(&b, "IHDR", "\0\0\1\0\0\0\0\x40\x08\x02\0\0\0", 13);
	put_chunk(&b, "IDAT", pixels, sizeof(pixels));
	put_chunk(&b, "IDAT", pixels, sizeof(pixels));
	put_chunk(&b, "IEND", "", 0);
	return steal(&b);
}

static struct bytes make_jpeg(void)
{
	struct adafs_buf b = ADAFS_BUF_INIT(1 << 16);
	uint8_t pixels[5000] = { 7 };
	adafs_buf_add(&b, "\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0", 20);
	adafs_buf_add(&b, "\xff\xc0\0\x11\x08\0\x40\1\0\3\1\x11\0\2\x11\0\3\x11\0", 19);
	adafs_buf_add(&b, "\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0", 14);
	adafs_buf_add(&b, pixels, sizeof(pixels));
	adafs_buf_add(&b, "\xff\xd9", 2);
	return steal(&b);
}

static struct bytes make_codestream(bool boxed)
{
	struct adafs_buf b = ADAFS_BUF_INIT(1 << 16);
	uint8_t tile[200] = { 0 };
	if (boxed) {
		adafs_buf_add(&b, "\0\0\0\fjP  \r\n\x87\n", 12);
		adafs_buf_add(&b,
			      "\0\0\0\x14"
			      "ftypjp2 \0\0\0\0jp2 ",
			      20);
		put32(&b, 8 + 2 + 49 + 2 * (12 + 202) + 2);
		adafs_buf_add(&b, "jp2c", 4);
	}
	adafs_buf_add(&b, "\xff\x4f\xff\x51\0\x2f\0\0", 8);
	put32(&b, 256);
	put32(&b, 64);
	for (int i = 0; i < 6; i++)
		put32(&b, i == 2 ? 256 : i == 3 ? 64 : 0);
	adafs_buf_add(&b, "\0\3\7\1\1\7\1\1\7\1\1", 11);
	for (int i = 0; i < 2; i++) {
		adafs_buf_add(&b, "\xff\x90\0\x0a\0\0", 6);
		put32(&b, 12 + 202);
		adafs_buf_add(&b, "\0\1\xff\x93", 4);
		adafs_buf_add(&b, tile, sizeof(tile));
	}
	adafs_buf_add(&b, "\xff\xd9", 2);
	return steal(&b);
}

#define N_MADE (ADAFS_ARRAY_SIZE(layouts) + 4)

static struct bytes make(size_t i)
{
	size_t n = ADAFS_ARRAY_SIZE(layouts);
	return i < n        ? make_tiff(&layouts[i])
	       : i == n     ? make_png()
	       : i == n + 1 ? make_jpeg()
			    : make_codestream(i == n + 2);
}

static void test_generated(void **state)
{
	(void)state;
	static const char *const formats[] = { "TIFF", "TIFF", "BigTIFF",   "TIFF",
					       "PNG",  "JPEG", "JPEG 2000", "JPEG 2000" };
	for (size_t i = 0; i < N_MADE; i++) {
		struct bytes b = make(i);
		struct adafs_image_info info = { 0 };
		struct adafs_err err;
		if (check_bytes(b.data, b.len, &info, &err) < 0)
			fail_msg("image %zu: %s", i, err.msg);
		assert_string_equal(info.format, formats[i]);
		assert_int_equal(info.bands, 3);
		assert_int_equal(info.bits_per_sample, 8);
		assert_false(info.georeferenced);
		if (i >= ADAFS_ARRAY_SIZE(layouts)) {
			assert_int_equal(info.width, 256);
			assert_int_equal(info.height, 64);
		} else {
			assert_int_equal(info.width, layouts[i].side);
		}
		free(b.data);
	}
}

/* Bytes at the end that no strip uses, and nothing else, may be missing without being noticed. */
static size_t slack(size_t i)
{
	return i < ADAFS_ARRAY_SIZE(layouts) ? 16 : 0;
}

static void test_truncated(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_MADE; i++) {
		struct bytes b = make(i);
		size_t step = b.len > 3000 ? b.len / 1500 : 1, passed = 0;
		for (size_t len = 0; len<b.len; len += len + 100> b.len || len < 100 ? 1 : step) {
			struct adafs_image_info info;
			struct adafs_err err;
			int rc = check_bytes(b.data, len, &info, &err);
			if (rc == 0 && len + slack(i) < b.len)
				fail_msg("image %zu of %zu bytes passes with %zu", i, b.len, len);
			passed += rc == 0;
			assert_true(rc == 0 || rc == -EBADMSG);
			assert_true(rc == 0 || (err.msg[0] && !strchr(err.msg, '\n')));
		}
		assert_true(passed <= slack(i));
		free(b.data);
	}
}

/* A pre-sized file whose writer died has zeros where the rest should be. */
static void test_zero_tail(void **state)
{
	(void)state;
	for (size_t i = ADAFS_ARRAY_SIZE(layouts); i < N_MADE; i++) {
		struct bytes b = make(i);
		struct adafs_image_info info;
		struct adafs_err err;
		memset(b.data + b.len / 2, 0, b.len - b.len / 2);
		assert_int_equal(check_bytes(b.data, b.len, &info, &err), -EBADMSG);
		free(b.data);
	}
}

static uint32_t next_random(uint64_t *s)
{
	*s = *s * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*s >> 33);
}

static void damage(struct bytes *b, uint64_t *seed)
{
	unsigned n = 1 + next_random(seed) % 8;
	for (unsigned k = 0; k < n; k++) {
		/* Headers and tables stand at both ends; damage there reaches the parser. */
		size_t span = b->len < 400 || next_random(seed) % 4 == 0 ? b->len : 400;
		size_t at = next_random(seed) % span;
		if (next_random(seed) % 2)
			at = b->len - 1 - at;
		static const uint8_t nasty[] = { 0, 0xff, 0x7f, 0x80, 1 };
		b->data[at] = next_random(seed) % 2 ? nasty[next_random(seed) % sizeof(nasty)]
						    : (uint8_t)next_random(seed);
	}
}

/* Nothing is printed, whatever the bytes: libtiff's own handlers are silent. */
static void test_rubbish(void **state)
{
	(void)state;
	ADAFS_CLOSE int sink = memfd_create("stderr", MFD_CLOEXEC);
	ADAFS_CLOSE int saved = dup(STDERR_FILENO);
	uint64_t seed = 42;
	fflush(stderr);
	assert_true(dup2(sink, STDERR_FILENO) >= 0);
	for (size_t i = 0; i < N_MADE; i++) {
		struct bytes good = make(i);
		struct bytes b = { malloc(good.len), good.len };
		for (int k = 0; k < 1500; k++) {
			memcpy(b.data, good.data, good.len);
			damage(&b, &seed);
			struct adafs_image_info info;
			struct adafs_err err;
			int rc = check_bytes(b.data, b.len, &info, &err);
			if (rc != 0 && rc != -EBADMSG) {
				dup2(saved, STDERR_FILENO);
				fail_msg("image %zu, round %d: %d", i, k, rc);
			}
		}
		free(b.data);
		free(good.data);
	}
	fflush(stderr);
	struct stat st;
	assert_int_equal(fstat(sink, &st), 0);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	assert_int_equal(st.st_size, 0);
}

static void test_loop(void **state)
{
	(void)state;
	struct bytes b = make_tiff(&layouts[3]);
	/* The last directory's link to the next one leads back to the first: little-endian,
	 * classic. */
	uint32_t first = 0;
	memcpy(&first, b.data + 4, 4);
	for (uint32_t at = first, n = 0;; n++) {
		uint16_t entries = 0;
		assert_true(n < 4);
		memcpy(&entries, b.data + at, 2);
		uint8_t *link = b.data + at + 2 + 12 * (size_t)entries;
		uint32_t next = 0;
		memcpy(&next, link, 4);
		if (!next) {
			memcpy(link, &first, 4);
			break;
		}
		at = next;
	}
	struct adafs_image_info info;
	struct adafs_err err;
	assert_int_equal(check_bytes(b.data, b.len, &info, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "directory 2"));
	free(b.data);
}

static void test_messages(void **state)
{
	(void)state;
	static const struct {
		const char *data;
		size_t len;
		const char *says;
	} rows[] = {
		{ "", 0, "the file is empty" },
		{ "%PDF-1.4 x", 10, "the file is a PDF document" },
		{ "PK\3\4xxxxxxxxxx", 14, "the file is a ZIP archive" },
		{ "hello, world\n", 13, "the file is a text" },
		{ "GIF89a....", 10, "the file is a GIF image" },
		{ "\1\2\3\4\5\6\7\x08\x09", 9, "the file is of an unknown format" },
		{ "\0\0\0\0\0\0\0\0\0\0", 10, "the file is all zeros" },
		{ "II*\0\x08\0\0\0", 8, "directory 0 of the TIFF cannot be read" },
		{ "II*\0\0\0\0\0", 8, "directory 0 of the TIFF cannot be read" },
		{ "\x89PNG\r\n\x1a\n\0\0", 10, "no whole header at offset 8" },
		{ "\xff\xd8\xff\xe0\0\x04xx", 8, "cut off at offset 8" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		struct adafs_image_info info;
		struct adafs_err err;
		assert_int_equal(check_bytes(rows[i].data, rows[i].len, &info, &err), -EBADMSG);
		if (!strstr(err.msg, rows[i].says))
			fail_msg("row %zu: %s", i, err.msg);
	}
}

static void test_read_error(void **state)
{
	(void)state;
	struct adafs_image_info info;
	struct adafs_err err = { 0 };
	ADAFS_CLOSE int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(adafs_image_check(fd, 1000, &info, &err), -EIO);
	assert_int_equal(err.rc, -EIO);
}

static void test_names(void **state)
{
	(void)state;
	static const char *const litter[] = { ".a.tif",     "a.tif~",    "~",
					      "a.tif.part", "a.TMP",     "b.crdownload",
					      "c.filepart", "Thumbs.db", "desktop.ini",
					      ".a.tif.Xy12" };
	static const char *const fine[] = {
		"a.tif", "a", "part", "x.part.tif", "tmp", "Thumbs.dbx"
	};
	static const char *const sidecar[] = { "a.tfw",     "a.prj", "a.tif.aux.xml",
					       "a.tif.ovr", "A.TFW", "a.wld" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(litter); i++)
		assert_true(adafs_name_is_litter(litter[i]));
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(fine); i++) {
		assert_false(adafs_name_is_litter(fine[i]));
		assert_false(adafs_name_is_sidecar(fine[i]));
	}
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(sidecar); i++)
		assert_true(adafs_name_is_sidecar(sidecar[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real_files), cmocka_unit_test(test_corrupt_file),
		cmocka_unit_test(test_generated),  cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_zero_tail),  cmocka_unit_test(test_rubbish),
		cmocka_unit_test(test_loop),       cmocka_unit_test(test_messages),
		cmocka_unit_test(test_read_error), cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
