/*
 * Staged blocks and block lists. What a request wrote to its upload (upload_store.c) is staged as a
 * block; a commit names adjacent parts as one extent of a new content.
 */
#include "batch/emulator/blob/store_db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "batch/base/file.h"
#include "batch/emulator/blob/blob_error.h"

#define MAX_STAGED 100000
#define COPY_CHUNK (256 * 1024)

/* --- staging --------------------------------------------------------------------------------- */

static int staged_count(struct blob_store *s, int64_t container, const char *name, uint64_t *ret_n)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_STAGED_COUNT);
	sqlite3_bind_int64(st, 1, container);
	db_text(st, 2, name);
	int rc = db_step(st);
	if (rc == 1)
		*ret_n = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return rc < 0 ? rc : 0;
}

/* Counting rows at every block would cost the square of their number, so the upload keeps count. */
static int check_count_locked(struct blob_store *s, int64_t container, const char *name,
			      struct upload *u)
{
	uint64_t n = u ? u->n_staged : UINT64_MAX;
	if (n >= MAX_STAGED) {
		int rc = staged_count(s, container, name, &n);
		if (rc < 0)
			return rc;
	}
	if (n >= MAX_STAGED)
		return BE_BLOCK_COUNT_EXCEEDS_LIMIT;
	for (struct upload *v = s->uploads; v; v = v->next)
		if (v->container == container && strcmp(v->name, name) == 0)
			v->n_staged = n + 1;
	return 0;
}

static size_t decoded_length(const char *base64, size_t len)
{
	size_t pad = 0;
	while (pad < len && base64[len - 1 - pad] == '=')
		pad++;
	return len / 4 * 3 - pad;
}

/* All ids of one blob have the same length; the block that this one replaces loses its part. */
static int check_id_locked(struct blob_store *s, int64_t container, const char *name,
			   const char *id)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_STAGED_ANY);
	sqlite3_bind_int64(st, 1, container);
	db_text(st, 2, name);
	int rc = db_step(st);
	bool fits = true;
	if (rc == 1) {
		const char *other = (const char *)sqlite3_column_text(st, 0);
		fits = decoded_length(other, strlen(other)) == decoded_length(id, strlen(id));
	}
	sqlite3_reset(st);
	if (rc < 0 || !fits)
		return rc < 0 ? rc : BE_INVALID_BLOB_OR_BLOCK;
	st = db_stmt(s->writer, ST_STAGED_GET);
	sqlite3_bind_int64(st, 1, container);
	db_text(st, 2, name);
	db_text(st, 3, id);
	rc = db_step(st);
	if (rc == 1)
		rc = data_dropped_locked(s, sqlite3_column_int64(st, 0));
	sqlite3_reset(st);
	return rc;
}

struct part {
	int64_t file;
	uint64_t off, len;
};

static int stage_locked(struct blob_store *s, const char *container, const char *name,
			const char *id, struct part part, struct upload *u)
{
	int64_t cid;
	int rc = db_container_id(s->writer, container, &cid);
	if (rc == 0 && u && u->container != cid)
		rc = BE_CONTAINER_NOT_FOUND; /* deleted and made again meanwhile */
	if (rc == 0)
		rc = check_id_locked(s, cid, name, id);
	if (rc == 0)
		rc = check_count_locked(s, cid, name, u);
	if (rc != 0)
		return rc;
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_STAGED_PUT);
	sqlite3_bind_int64(st, 1, cid);
	db_text(st, 2, name);
	db_text(st, 3, id);
	sqlite3_bind_int64(st, 4, part.file);
	sqlite3_bind_int64(st, 5, (int64_t)part.off);
	sqlite3_bind_int64(st, 6, (int64_t)part.len);
	sqlite3_bind_int64(st, 7, db_stamp_locked(s));
	return db_run(st);
}

int store_block_stage(struct block_writer *w, const char *container, const char *name,
		      const char *id)
{
	struct blob_store *s = w->store;
	if (fdatasync(w->upload->fd) < 0)
		return -errno;
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	struct part part = { w->upload->file, w->off, w->written };
	rc = stage_locked(s, container, name, id, part, w->upload);
	if (rc == 0)
		rc = sums_store_locked(s, part.file, part.off, part.len, &w->sums);
	rc = db_end(s, rc);
	w->staged = rc == 0;
	return rc;
}

/* Stage by reference; 1: the part lies in several pieces. */
static int stage_reference(struct blob_store *s, const char *container, const char *name,
			   const char *id, const struct blob_info *source, uint64_t off,
			   uint64_t len)
{
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	struct blob_pieces p = { 0 };
	rc = extents_find(s->writer, source->content, off, len, &p);
	bool one = rc == 0 && p.n == 1;
	if (one) {
		struct part part = { p.v[0].file, p.v[0].off, p.v[0].len };
		rc = stage_locked(s, container, name, id, part, NULL);
	}
	free(p.v);
	rc = db_end(s, rc == -ESTALE ? BE_BLOB_NOT_FOUND : rc);
	return rc != 0 ? (rc == 1 ? -EIO : rc) : !one;
}

static int copy_pieces(struct block_writer *w, const struct blob_pieces *p)
{
	ADAFS_FREE char *chunk = malloc(COPY_CHUNK);
	int rc = chunk ? 0 : -ENOMEM;
	for (size_t i = 0; rc == 0 && i < p->n; i++) {
		const struct blob_piece *v = &p->v[i];
		for (uint64_t done = 0; rc == 0 && done < v->len;) {
			size_t n =
				v->len - done < COPY_CHUNK ? (size_t)(v->len - done) : COPY_CHUNK;
			rc = adafs_pread_all(v->fd, chunk, n, (off_t)(v->off + done));
			if (rc == 0)
				rc = store_block_add(w, chunk, n);
			done += n;
		}
	}
	return rc;
}

int store_block_from_blob(struct blob_store *s, const char *container, const char *name,
			  const char *id, const struct blob_info *source, uint64_t off,
			  uint64_t len)
{
	int rc = stage_reference(s, container, name, id, source, off, len);
	if (rc != 1)
		return rc;
	struct blob_pieces p = { 0 };
	struct block_writer w = { 0 };
	rc = store_content_open(s, source->content, off, len, &p);
	if (rc == 0)
		rc = store_block_open(s, container, name, id, len, &w);
	if (rc == 0)
		rc = copy_pieces(&w, &p);
	if (rc == 0)
		rc = store_block_stage(&w, container, name, id);
	store_block_close(&w);
	blob_pieces_clear(&p);
	return rc == -ESTALE ? BE_BLOB_NOT_FOUND : rc;
}

int staged_drop_locked(struct blob_store *s, int64_t container, const char *name)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, name ? ST_STAGED_FILES : ST_STAGED_FILES_ALL);
	sqlite3_bind_int64(st, 1, container);
	if (name)
		db_text(st, 2, name);
	int rc;
	bool any = false;
	while ((rc = db_step(st)) == 1) {
		any = true;
		rc = data_dropped_locked(s, sqlite3_column_int64(st, 0));
		if (rc < 0)
			break;
	}
	sqlite3_reset(st);
	for (struct upload *u = s->uploads, *next; rc == 0 && u; u = next) {
		next = u->next;
		if (u->container == container && (!name || strcmp(u->name, name) == 0))
			rc = upload_detach_locked(s, u);
	}
	if (rc < 0 || !any)
		return rc;
	st = db_stmt(s->writer, name ? ST_STAGED_DELETE : ST_STAGED_DELETE_ALL);
	sqlite3_bind_int64(st, 1, container);
	if (name)
		db_text(st, 2, name);
	return db_run(st);
}

/* --- committing ------------------------------------------------------------------------------ */

/*
 * A new content while its block list is put together: the extent in hand grows while parts touch.
 */
struct commit {
	struct blob_store *s;
	int64_t container, content;
	const char *name;
	const struct blob_info *old; /* NULL: no committed blocks */
	uint64_t pos;                /* length so far */
	struct part extent;          /* not yet stored; len 0: none */
};

static int flush_extent(struct commit *c)
{
	if (!c->extent.len)
		return 0;
	int rc = extent_add_locked(c->s, c->content, c->pos - c->extent.len, c->extent.file,
				   c->extent.off, c->extent.len);
	c->extent.len = 0;
	return rc;
}

static int append_part(struct commit *c, struct part part)
{
	if (c->extent.len && c->extent.file == part.file &&
	    c->extent.off + c->extent.len == part.off) {
		c->extent.len += part.len;
	} else {
		int rc = flush_extent(c);
		if (rc < 0)
			return rc;
		c->extent = part;
	}
	c->pos += part.len;
	return 0;
}

/* 1: found and appended; 0: no such staged block. */
static int append_staged(struct commit *c, const char *id)
{
	struct sqlite3_stmt *st = db_stmt(c->s->writer, ST_STAGED_GET);
	sqlite3_bind_int64(st, 1, c->container);
	db_text(st, 2, c->name);
	db_text(st, 3, id);
	int rc = db_step(st);
	struct part part = { 0 };
	if (rc == 1)
		part = (struct part){ sqlite3_column_int64(st, 0),
				      (uint64_t)sqlite3_column_int64(st, 1),
				      (uint64_t)sqlite3_column_int64(st, 2) };
	sqlite3_reset(st);
	if (rc != 1)
		return rc;
	rc = append_part(c, part);
	return rc < 0 ? rc : 1;
}

static int append_committed(struct commit *c, const char *id)
{
	if (!c->old)
		return 0;
	struct sqlite3_stmt *st = db_stmt(c->s->writer, ST_BLOCK_FIND);
	sqlite3_bind_int64(st, 1, c->old->content);
	db_text(st, 2, id);
	int rc = db_step(st);
	uint64_t pos = rc == 1 ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
	uint64_t len = rc == 1 ? (uint64_t)sqlite3_column_int64(st, 1) : 0;
	sqlite3_reset(st);
	if (rc != 1)
		return rc;
	struct blob_pieces p = { 0 };
	rc = extents_find(c->s->writer, c->old->content, pos, len, &p);
	for (size_t i = 0; rc == 0 && i < p.n; i++)
		rc = append_part(c, (struct part){ p.v[i].file, p.v[i].off, p.v[i].len });
	free(p.v);
	return rc < 0 ? rc : 1;
}

static int append_block(struct commit *c, const struct block_ref *b, size_t seq)
{
	uint64_t start = c->pos;
	int rc = 0;
	if (b->from != BLOCK_COMMITTED)
		rc = append_staged(c, b->id);
	if (rc == 0 && b->from != BLOCK_UNCOMMITTED)
		rc = append_committed(c, b->id);
	if (rc != 1)
		return rc < 0 ? rc : BE_INVALID_BLOCK_LIST;
	struct sqlite3_stmt *st = db_stmt(c->s->writer, ST_BLOCK_INSERT);
	sqlite3_bind_int64(st, 1, c->content);
	sqlite3_bind_int64(st, 2, (int64_t)seq);
	db_text(st, 3, b->id);
	sqlite3_bind_int64(st, 4, (int64_t)start);
	sqlite3_bind_int64(st, 5, (int64_t)(c->pos - start));
	return db_run(st);
}

static int commit_locked(struct blob_store *s, const struct blob_write *bw,
			 const struct block_ref *blocks, size_t n, blob_stamp *ret_stamp)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info old = { 0 };
	bool exists = false;
	struct commit c = { .s = s, .name = bw->name };
	int rc = blob_prepare_locked(s, bw, &old, &exists, &c.container);
	if (rc == 0)
		rc = content_new_locked(s, &c.content);
	if (rc != 0)
		return rc;
	c.old = exists ? &old : NULL;
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = append_block(&c, &blocks[i], i);
	if (rc == 0)
		rc = flush_extent(&c);
	if (rc != 0)
		return rc;
	*ret_stamp = db_stamp_locked(s);
	struct blob_info b = blob_new_row(bw, c.container, *ret_stamp);
	b.content = c.content;
	b.size = c.pos;
	if (exists)
		b.created = old.created;
	return blob_replace_locked(s, c.old, &b);
}

int store_blob_commit(struct blob_store *s, const struct blob_write *bw,
		      const struct block_ref *blocks, size_t n, blob_stamp *ret_stamp)
{
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	blob_stamp stamp = 0;
	rc = db_end(s, commit_locked(s, bw, blocks, n, &stamp));
	if (rc == 0)
		*ret_stamp = stamp;
	return rc;
}

/* --- block lists ----------------------------------------------------------------------------- */

static int each_row(struct sqlite3_stmt *st, int (*each)(void *arg, const char *id, uint64_t len),
		    void *arg)
{
	int rc;
	while ((rc = db_step(st)) == 1) {
		rc = each(arg, (const char *)sqlite3_column_text(st, 0),
			  (uint64_t)sqlite3_column_int64(st, 1));
		if (rc != 0)
			break;
	}
	sqlite3_reset(st);
	return rc;
}

static bool staged_any(struct db *db, int64_t container, const char *name)
{
	struct sqlite3_stmt *st = db_stmt(db, ST_STAGED_ANY);
	sqlite3_bind_int64(st, 1, container);
	db_text(st, 2, name);
	bool any = db_step(st) == 1;
	sqlite3_reset(st);
	return any;
}

static int block_lists(struct db *db, int64_t container, const char *name,
		       const struct blob_info *b,
		       int (*committed)(void *arg, const char *id, uint64_t len),
		       int (*staged)(void *arg, const char *id, uint64_t len), void *arg)
{
	int rc = 0;
	if (committed && b->id) {
		struct sqlite3_stmt *st = db_stmt(db, ST_BLOCK_LIST);
		sqlite3_bind_int64(st, 1, b->content);
		rc = each_row(st, committed, arg);
	}
	if (rc == 0 && staged) {
		struct sqlite3_stmt *st = db_stmt(db, ST_STAGED_LIST);
		sqlite3_bind_int64(st, 1, container);
		db_text(st, 2, name);
		rc = each_row(st, staged, arg);
	}
	return rc;
}

int store_block_list(struct blob_store *s, const char *container, const char *name,
		     blob_stamp snapshot, struct blob_info *ret_info,
		     int (*committed)(void *arg, const char *id, uint64_t len),
		     int (*staged)(void *arg, const char *id, uint64_t len), void *arg)
{
	struct db *db = db_reader_get(s);
	struct blob_info b = { 0 };
	int64_t id;
	int rc = db_container_id(db, container, &id);
	if (rc == 0)
		rc = db_blob_get(db, id, name, snapshot, &b);
	if (rc == BE_BLOB_NOT_FOUND && snapshot == BLOB_SNAPSHOT_NONE && staged_any(db, id, name))
		rc = 0;
	if (rc == 0)
		rc = block_lists(db, id, name, &b, committed, staged, arg);
	db_reader_put(s, db);
	if (rc != 0) {
		blob_info_clear(&b);
		return rc;
	}
	*ret_info = b;
	return 0;
}
