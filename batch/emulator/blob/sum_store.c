/*
 * Checksums of data files: CRC-64 of each 16 KiB of what one request wrote, counted from where it
 * began, in one row of the database. A read that wants a checksum is held against them, so that
 * what a disk has changed is an error, never data. They belong to the file, whatever contents its
 * bytes are part of, and go with it.
 */
#include "batch/emulator/blob/store_db.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "batch/base/digest.h"
#include "batch/base/file.h"
#include "batch/base/log.h"

#define UNIT ((size_t)16 * 1024)

/* --- while bytes are written ----------------------------------------------------------------- */

static int unit_close(struct sums *s)
{
	if (s->n == s->size) {
		size_t size = s->size ? s->size * 2 : 8;
		uint64_t *crc = reallocarray(s->crc, size, sizeof(*crc));
		if (!crc)
			return -ENOMEM;
		s->crc = crc;
		s->size = size;
	}
	s->crc[s->n++] = htole64(s->open);
	s->open = 0;
	s->open_len = 0;
	return 0;
}

int sums_add(struct sums *s, const void *data, size_t len)
{
	const char *p = data;
	while (len) {
		size_t n = UNIT - s->open_len < len ? UNIT - s->open_len : len;
		s->open = adafs_crc64(s->open, p, n);
		s->open_len += n;
		p += n;
		len -= n;
		int rc = s->open_len == UNIT ? unit_close(s) : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}

void sums_clear(struct sums *s)
{
	free(s->crc);
	*s = (struct sums){ 0 };
}

int sums_store_locked(struct blob_store *s, int64_t file, uint64_t off, uint64_t len,
		      struct sums *sums)
{
	int rc = sums->open_len ? unit_close(sums) : 0;
	if (rc < 0 || !sums->n)
		return rc;
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_SUM_PUT);
	sqlite3_bind_int64(st, 1, file);
	sqlite3_bind_int64(st, 2, (int64_t)off);
	sqlite3_bind_int64(st, 3, (int64_t)len);
	sqlite3_bind_blob64(st, 4, sums->crc, sums->n * sizeof(*sums->crc), SQLITE_STATIC);
	return db_run(st);
}

int sums_delete_locked(struct blob_store *s, int64_t file)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_SUM_DELETE);
	sqlite3_bind_int64(st, 1, file);
	return db_run(st);
}

/* --- when they are read ---------------------------------------------------------------------- */

/* What one request wrote, as a row tells it. */
struct written {
	uint64_t off, len;
	const uint8_t *crc;
	size_t n;
};

/* The bytes of a piece and where they stand in its file. */
struct have {
	const struct blob_piece *piece;
	const char *data;
};

/* One unit, from the bytes at hand where they hold all of it. 0, -EIO, or the disk's errno. */
static int unit_check(const struct have *h, const struct written *w, size_t i)
{
	const struct blob_piece *p = h->piece;
	uint64_t from = w->off + i * UNIT, end = w->off + w->len;
	size_t len = end - from < UNIT ? (size_t)(end - from) : UNIT;
	char own[UNIT];
	const char *bytes = own;
	if (from >= p->off && from + len <= p->off + p->len) {
		bytes = h->data + (from - p->off);
	} else {
		int rc = adafs_pread_all(p->fd, own, len, (off_t)from);
		if (rc < 0)
			return rc == -ENODATA ? -EIO : rc;
	}
	uint64_t wanted;
	memcpy(&wanted, w->crc + i * sizeof(wanted), sizeof(wanted));
	if (le64toh(wanted) == adafs_crc64(0, bytes, len))
		return 0;
	adafs_log(ERROR, "emulator", "data file %016llx is damaged within the %zu bytes at %llu",
		  (unsigned long long)p->file, len, (unsigned long long)from);
	return -EIO;
}

static int written_check(const struct have *h, const struct written *w)
{
	const struct blob_piece *p = h->piece;
	uint64_t from = p->off > w->off ? p->off : w->off, end = p->off + p->len;
	if (end > w->off + w->len)
		end = w->off + w->len;
	int rc = 0;
	for (size_t i = (size_t)(from - w->off) / UNIT;
	     rc == 0 && i < w->n && w->off + i * UNIT < end; i++)
		rc = unit_check(h, w, i);
	return rc;
}

static int piece_check(struct db *db, const struct have *h)
{
	struct sqlite3_stmt *st = db_stmt(db, ST_SUM_RANGE);
	sqlite3_bind_int64(st, 1, h->piece->file);
	sqlite3_bind_int64(st, 2, (int64_t)h->piece->off);
	sqlite3_bind_int64(st, 3, (int64_t)(h->piece->off + h->piece->len));
	int rc;
	while ((rc = db_step(st)) == 1) {
		const struct written w = {
			.off = (uint64_t)sqlite3_column_int64(st, 0),
			.len = (uint64_t)sqlite3_column_int64(st, 1),
			.crc = sqlite3_column_blob(st, 2),
			.n = (size_t)sqlite3_column_bytes(st, 2) / sizeof(uint64_t),
		};
		rc = written_check(h, &w);
		if (rc < 0)
			break;
	}
	sqlite3_reset(st);
	return rc < 0 ? rc : 0;
}

int store_content_check(struct blob_store *s, const struct blob_pieces *p, const void *data)
{
	const char *at = data;
	int rc = 0;
	struct db *db = db_reader_get(s);
	for (size_t i = 0; rc == 0 && i < p->n; i++) {
		const struct have h = { &p->v[i], at };
		rc = piece_check(db, &h);
		at += p->v[i].len;
	}
	db_reader_put(s, db);
	return rc;
}
