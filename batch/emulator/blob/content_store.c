/*
 * Contents: the bytes of blobs. A content lies in extents, each part of a data file; several blobs
 * may name one, and it goes with the last of them. Read, it is handed out as pieces: extents cut to
 * the range, those that touch merged.
 */
#include "batch/emulator/blob/store_db.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <sqlite3.h>

/* --- pieces ---------------------------------------------------------------------------------- */

void blob_pieces_clear(struct blob_pieces *p)
{
	for (size_t i = 0; i < p->n_fds; i++)
		close(p->fds[i]);
	free(p->fds);
	free(p->v);
	*p = (struct blob_pieces){ 0 };
}

static int pieces_add(struct blob_pieces *p, int64_t file, uint64_t off, uint64_t len)
{
	struct blob_piece *last = p->n ? &p->v[p->n - 1] : NULL;
	if (last && last->file == file && last->off + last->len == off) {
		last->len += len;
		return 0;
	}
	struct blob_piece *grown = reallocarray(p->v, p->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	p->v = grown;
	grown[p->n++] = (struct blob_piece){ .fd = -1, .file = file, .off = off, .len = len };
	return 0;
}

int extents_find(struct db *db, int64_t content, uint64_t off, uint64_t len,
		 struct blob_pieces *ret)
{
	struct sqlite3_stmt *st = db_stmt(db, ST_EXTENT_RANGE);
	sqlite3_bind_int64(st, 1, content);
	sqlite3_bind_int64(st, 2, (int64_t)off);
	sqlite3_bind_int64(st, 3, (int64_t)(off + len));
	uint64_t covered = 0;
	int rc;
	while ((rc = db_step(st)) == 1) {
		uint64_t pos = (uint64_t)sqlite3_column_int64(st, 0);
		uint64_t from = (uint64_t)sqlite3_column_int64(st, 2);
		uint64_t size = (uint64_t)sqlite3_column_int64(st, 3);
		if (pos + size <= off)
			continue;
		uint64_t skip = pos < off ? off - pos : 0;
		uint64_t want = pos + size < off + len ? pos + size : off + len;
		uint64_t piece = want - pos - skip;
		rc = pieces_add(ret, sqlite3_column_int64(st, 1), from + skip, piece);
		if (rc < 0)
			break;
		covered += piece;
	}
	sqlite3_reset(st);
	return rc < 0 ? rc : covered == len ? 0 : -ESTALE;
}

struct extent {
	uint64_t pos, off, len;
	int64_t file;
};

/* The extent that holds a position. 1, 0: there is none. */
static int extent_at(struct db *db, int64_t content, uint64_t off, struct extent *ret)
{
	struct sqlite3_stmt *st = db_stmt(db, ST_EXTENT_RANGE);
	sqlite3_bind_int64(st, 1, content);
	sqlite3_bind_int64(st, 2, (int64_t)off);
	sqlite3_bind_int64(st, 3, (int64_t)off + 1);
	int rc = db_step(st);
	if (rc == 1)
		*ret = (struct extent){ .pos = (uint64_t)sqlite3_column_int64(st, 0),
					.file = sqlite3_column_int64(st, 1),
					.off = (uint64_t)sqlite3_column_int64(st, 2),
					.len = (uint64_t)sqlite3_column_int64(st, 3) };
	sqlite3_reset(st);
	return rc == 1 && off >= ret->pos && off < ret->pos + ret->len ? 1 : rc < 0 ? rc : 0;
}

/* The same, of a content that lies in one piece without asking again for every part. */
static int extents_find_hot(struct blob_store *s, struct db *db, int64_t content, uint64_t off,
			    uint64_t len, struct blob_pieces *ret)
{
	unsigned version = atomic_load(&s->version);
	struct blob_piece piece;
	if (hot_extent_find(db, version, content, off, len, &piece))
		return pieces_add(ret, piece.file, piece.off, piece.len);
	struct extent e;
	int rc = extent_at(db, content, off, &e);
	if (rc == 1 && off + len <= e.pos + e.len) {
		piece = (struct blob_piece){ .fd = -1, .file = e.file, .off = e.off, .len = e.len };
		hot_extent_keep(db, version, content, e.pos, &piece);
		return pieces_add(ret, e.file, e.off + (off - e.pos), len);
	}
	return rc < 0 ? rc : extents_find(db, content, off, len, ret);
}

static int piece_open(struct blob_store *s, struct blob_pieces *p, size_t i)
{
	for (size_t k = i; k > 0; k--) {
		if (p->v[k - 1].file == p->v[i].file) {
			p->v[i].fd = p->v[k - 1].fd;
			return 0;
		}
	}
	int *grown = reallocarray(p->fds, p->n_fds + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	p->fds = grown;
	int fd = data_open(s, p->v[i].file);
	if (fd < 0)
		return fd == -ENOENT ? -ESTALE : fd;
	p->v[i].fd = p->fds[p->n_fds++] = fd;
	return 0;
}

int store_content_open(struct blob_store *s, int64_t content, uint64_t off, uint64_t len,
		       struct blob_pieces *ret)
{
	struct blob_pieces p = { 0 };
	struct db *db = db_reader_get(s);
	int rc = len ? extents_find_hot(s, db, content, off, len, &p) : 0;
	db_reader_put(s, db);
	for (size_t i = 0; rc == 0 && i < p.n; i++)
		rc = piece_open(s, &p, i);
	if (rc < 0) {
		blob_pieces_clear(&p);
		return rc;
	}
	*ret = p;
	return 0;
}

/* --- contents -------------------------------------------------------------------------------- */

static int run_on_content(struct blob_store *s, enum stmt which, int64_t content)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, which);
	sqlite3_bind_int64(st, 1, content);
	return db_run(st);
}

int content_new_locked(struct blob_store *s, int64_t *ret_content)
{
	int64_t content = db_id_locked(s);
	int rc = run_on_content(s, ST_CONTENT_INSERT, content);
	if (rc == 0)
		*ret_content = content;
	return rc;
}

int extent_add_locked(struct blob_store *s, int64_t content, uint64_t pos, int64_t file,
		      uint64_t off, uint64_t len)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_EXTENT_INSERT);
	sqlite3_bind_int64(st, 1, content);
	sqlite3_bind_int64(st, 2, (int64_t)pos);
	sqlite3_bind_int64(st, 3, file);
	sqlite3_bind_int64(st, 4, (int64_t)off);
	sqlite3_bind_int64(st, 5, (int64_t)len);
	return db_run(st);
}

int content_release_locked(struct blob_store *s, int64_t content)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_BLOB_USES);
	sqlite3_bind_int64(st, 1, content);
	int rc = db_step(st);
	sqlite3_reset(st);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	st = db_stmt(s->writer, ST_EXTENT_FILES);
	sqlite3_bind_int64(st, 1, content);
	while ((rc = db_step(st)) == 1) {
		rc = data_dropped_locked(s, sqlite3_column_int64(st, 0));
		if (rc < 0)
			break;
	}
	sqlite3_reset(st);
	if (rc == 0)
		rc = run_on_content(s, ST_EXTENT_DELETE, content);
	if (rc == 0)
		rc = run_on_content(s, ST_BLOCK_DELETE, content);
	if (rc == 0)
		rc = run_on_content(s, ST_CONTENT_DELETE, content);
	return rc;
}

int content_clone_locked(struct blob_store *s, const struct blob_info *source, int64_t *ret_content)
{
	struct blob_pieces p = { 0 };
	int rc = source->size ? extents_find(s->writer, source->content, 0, source->size, &p) : 0;
	if (rc == 0)
		rc = content_new_locked(s, ret_content);
	uint64_t pos = 0;
	for (size_t i = 0; rc == 0 && i < p.n; i++) {
		rc = extent_add_locked(s, *ret_content, pos, p.v[i].file, p.v[i].off, p.v[i].len);
		pos += p.v[i].len;
	}
	free(p.v);
	return rc;
}
