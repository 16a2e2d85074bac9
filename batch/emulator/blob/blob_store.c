/* Blobs: their rows; get, put, delete, snapshot, update, copy. */
#include "batch/emulator/blob/store_db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "batch/emulator/blob/blob_error.h"

void blob_headers_clear(struct blob_headers *h)
{
	free(h->content_type);
	free(h->encoding);
	free(h->language);
	free(h->cache_control);
	free(h->disposition);
	free(h->md5);
	*h = (struct blob_headers){ 0 };
}

static char *copy_text(const char *text, bool *oom)
{
	char *copy = text ? strdup(text) : NULL;
	*oom |= text && !copy;
	return copy;
}

int blob_headers_copy(struct blob_headers *dst, const struct blob_headers *src)
{
	bool oom = false;
	struct blob_headers h = {
		.content_type = copy_text(src->content_type, &oom),
		.encoding = copy_text(src->encoding, &oom),
		.language = copy_text(src->language, &oom),
		.cache_control = copy_text(src->cache_control, &oom),
		.disposition = copy_text(src->disposition, &oom),
		.md5 = copy_text(src->md5, &oom),
	};
	if (oom) {
		blob_headers_clear(&h);
		return -ENOMEM;
	}
	*dst = h;
	return 0;
}

void blob_info_clear(struct blob_info *b)
{
	free(b->name);
	blob_headers_clear(&b->headers);
	free(b->metadata);
	free(b->copy_id);
	free(b->copy_source);
	free(b->tier);
	free(b->tags);
	free(b->rehydrate);
	blob_lease_clear(&b->lease);
	*b = (struct blob_info){ 0 };
}

int store_blob_get(struct blob_store *s, const char *container, const char *name,
		   blob_stamp snapshot, struct blob_info *ret)
{
	struct db *db = db_reader_get(s);
	unsigned version = atomic_load(&s->version);
	bool hot = hot_find(db, version, container, name, snapshot, ret);
	int64_t id;
	int rc = hot ? 0 : db_container_id(db, container, &id);
	if (rc == 0 && !hot)
		rc = db_blob_get(db, id, name, snapshot, ret);
	if (rc == 0 && !hot)
		hot_keep(db, version, container, ret);
	db_reader_put(s, db);
	return rc;
}

/* --- rows ------------------------------------------------------------------------------------ */

static int blob_insert_locked(struct blob_store *s, const struct blob_info *b)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_BLOB_INSERT);
	sqlite3_bind_int64(st, 1, b->container);
	db_text(st, 2, b->name);
	sqlite3_bind_int64(st, 3, b->snapshot);
	sqlite3_bind_int64(st, 4, b->content);
	sqlite3_bind_int64(st, 5, (int64_t)b->size);
	sqlite3_bind_int64(st, 6, b->stamp);
	sqlite3_bind_int64(st, 7, b->created);
	db_text(st, 8, b->headers.content_type);
	db_text(st, 9, b->headers.encoding);
	db_text(st, 10, b->headers.language);
	db_text(st, 11, b->headers.cache_control);
	db_text(st, 12, b->headers.disposition);
	db_text(st, 13, b->headers.md5);
	db_text(st, 14, b->metadata);
	db_text(st, 15, b->copy_id);
	db_text(st, 16, b->copy_source);
	sqlite3_bind_int64(st, 17, b->copy_stamp);
	db_text(st, 18, b->tier);
	sqlite3_bind_int64(st, 19, b->tier_stamp);
	sqlite3_bind_int(st, 20, (int)b->type);
	sqlite3_bind_int64(st, 21, b->n_appended);
	sqlite3_bind_int(st, 22, b->sealed);
	db_text(st, 23, b->tags);
	db_text(st, 24, b->rehydrate);
	sqlite3_bind_int(st, 25, b->rehydrate_high);
	db_lease_bind(st, 26, &b->lease);
	return db_run(st);
}

static int row_delete_locked(struct blob_store *s, int64_t id)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_BLOB_DELETE);
	sqlite3_bind_int64(st, 1, id);
	return db_run(st);
}

int blob_prepare_locked(struct blob_store *s, const struct blob_write *bw,
			struct blob_info *ret_old, bool *ret_exists, int64_t *ret_container)
{
	int rc = db_container_id(s->writer, bw->container, ret_container);
	if (rc != 0)
		return rc;
	rc = db_blob_get(s->writer, *ret_container, bw->name, BLOB_SNAPSHOT_NONE, ret_old);
	*ret_exists = rc == 0;
	if (rc == BE_BLOB_NOT_FOUND)
		rc = 0;
	if (rc == 0 && bw->guard)
		rc = bw->guard(bw->guard_arg, *ret_exists ? ret_old : NULL);
	return rc;
}

int blob_replace_locked(struct blob_store *s, const struct blob_info *old,
			const struct blob_info *b)
{
	struct blob_info row = *b; /* borrows its texts */
	if (old && lease_holds(&old->lease, adafs_clock_wall_us()))
		row.lease = old->lease;
	int rc = old ? row_delete_locked(s, old->id) : 0;
	if (rc == 0)
		rc = blob_insert_locked(s, &row);
	if (rc == 0 && old)
		rc = content_release_locked(s, old->content);
	if (rc == 0)
		rc = staged_drop_locked(s, b->container, b->name);
	return rc;
}

/* --- put ------------------------------------------------------------------------------------- */

int store_writer_open(struct blob_store *s, struct blob_writer *w)
{
	*w = (struct blob_writer){ .store = s, .fd = -1 };
	return 0;
}

int store_writer_add(struct blob_writer *w, const void *data, size_t len)
{
	int rc = w->fd < 0 ? data_create(w->store, &w->file, &w->fd) : 0;
	if (rc == 0)
		rc = adafs_pwrite_all(w->fd, data, len, (off_t)w->len);
	if (rc == 0)
		rc = sums_add(&w->sums, data, len);
	if (rc == 0)
		w->len += len;
	return rc;
}

void store_writer_close(struct blob_writer *w)
{
	if (!w->store)
		return;
	if (w->fd >= 0)
		close(w->fd);
	sums_clear(&w->sums);
	if (w->file)
		data_unlink(w->store, w->file);
	*w = (struct blob_writer){ .fd = -1 };
}

struct blob_info blob_new_row(const struct blob_write *bw, int64_t container, blob_stamp stamp)
{
	return (struct blob_info){
		.container = container,
		.name = (char *)bw->name,
		.snapshot = BLOB_SNAPSHOT_NONE,
		.stamp = stamp,
		.created = stamp,
		.headers = bw->headers ? *bw->headers : (struct blob_headers){ 0 },
		.metadata = (char *)(bw->metadata ? bw->metadata : ""),
		.tier = (char *)bw->tier,
		.tier_stamp = bw->tier ? stamp : 0,
		.tags = (char *)bw->tags,
		.type = bw->type,
	};
}

static int put_locked(struct blob_store *s, const struct blob_write *bw, struct blob_writer *w,
		      blob_stamp *ret_stamp)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info old = { 0 };
	bool exists = false;
	int64_t container, content;
	int rc = blob_prepare_locked(s, bw, &old, &exists, &container);
	if (rc == 0)
		rc = content_new_locked(s, &content);
	if (rc == 0 && w->len)
		rc = extent_add_locked(s, content, 0, w->file, 0, w->len);
	if (rc == 0 && w->len)
		rc = sums_store_locked(s, w->file, 0, w->len, &w->sums);
	if (rc != 0)
		return rc;
	*ret_stamp = db_stamp_locked(s);
	struct blob_info b = blob_new_row(bw, container, *ret_stamp);
	b.content = content;
	b.size = w->len;
	return blob_replace_locked(s, exists ? &old : NULL, &b);
}

int store_blob_put(struct blob_store *s, const struct blob_write *bw, struct blob_writer *w,
		   blob_stamp *ret_stamp)
{
	int rc = w->fd < 0 ? 0 : data_room(s);
	if (rc == 0 && w->fd >= 0)
		rc = data_sync(s, w->file, w->fd);
	if (rc == 0)
		rc = db_begin(s);
	if (rc < 0)
		return rc;
	blob_stamp stamp = 0;
	rc = db_end(s, put_locked(s, bw, w, &stamp));
	if (rc != 0)
		return rc;
	if (w->len)
		w->file = 0; /* the blob's now */
	*ret_stamp = stamp;
	return 0;
}

/* --- delete, snapshot, update, copy ---------------------------------------------------------- */

struct row_id {
	int64_t id, content;
};

static int snapshots_find(struct blob_store *s, int64_t container, const char *name,
			  struct row_id **ret_rows, size_t *ret_n)
{
	struct row_id *rows = NULL;
	size_t n = 0;
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_BLOB_SNAPSHOTS);
	sqlite3_bind_int64(st, 1, container);
	db_text(st, 2, name);
	int rc;
	while ((rc = db_step(st)) == 1) {
		struct row_id *grown = reallocarray(rows, n + 1, sizeof(*grown));
		if (!grown) {
			rc = -ENOMEM;
			break;
		}
		rows = grown;
		rows[n++] =
			(struct row_id){ sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1) };
	}
	sqlite3_reset(st);
	*ret_rows = rows;
	*ret_n = n;
	return rc;
}

static int row_release_locked(struct blob_store *s, struct row_id row)
{
	int rc = row_delete_locked(s, row.id);
	return rc == 0 ? content_release_locked(s, row.content) : rc;
}

static int delete_locked(struct blob_store *s, const struct blob_write *bw, blob_stamp snapshot,
			 char snapshots)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info old = { 0 };
	ADAFS_FREE struct row_id *rows = NULL;
	size_t n = 0;
	int64_t container;
	int rc = db_container_id(s->writer, bw->container, &container);
	if (rc == 0)
		rc = db_blob_get(s->writer, container, bw->name, snapshot, &old);
	if (rc == 0 && bw->guard)
		rc = bw->guard(bw->guard_arg, &old);
	if (rc != 0)
		return rc;
	if (snapshot != BLOB_SNAPSHOT_NONE)
		return row_release_locked(s, (struct row_id){ old.id, old.content });
	rc = snapshots_find(s, container, bw->name, &rows, &n);
	if (rc == 0 && n && !snapshots)
		rc = BE_SNAPSHOTS_PRESENT;
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = row_release_locked(s, rows[i]);
	if (rc == 0 && snapshots != 'o')
		rc = row_release_locked(s, (struct row_id){ old.id, old.content });
	if (rc == 0 && snapshots != 'o')
		rc = staged_drop_locked(s, container, bw->name);
	return rc;
}

int store_blob_delete(struct blob_store *s, const char *container, const char *name,
		      blob_stamp snapshot, char snapshots, blob_guard *guard, void *arg)
{
	struct blob_write bw = {
		.container = container, .name = name, .guard = guard, .guard_arg = arg
	};
	int rc = db_begin(s);
	return rc < 0 ? rc : db_end(s, delete_locked(s, &bw, snapshot, snapshots));
}

/* The blob that an operation changes: it must exist and the guard must agree. */
static int existing_locked(struct blob_store *s, const struct blob_write *bw, struct blob_info *ret)
{
	bool exists = false;
	int64_t container;
	int rc = db_container_id(s->writer, bw->container, &container);
	if (rc == 0)
		rc = db_blob_get(s->writer, container, bw->name, BLOB_SNAPSHOT_NONE, ret);
	exists = rc == 0;
	if (exists && bw->guard)
		rc = bw->guard(bw->guard_arg, ret);
	return rc;
}

int store_blob_snapshot(struct blob_store *s, const char *container, const char *name,
			const char *metadata, blob_guard *guard, void *arg,
			blob_stamp *ret_snapshot, blob_stamp *ret_stamp)
{
	struct blob_write bw = {
		.container = container, .name = name, .guard = guard, .guard_arg = arg
	};
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	ADAFS_CLEANUP(blob_info_clear) struct blob_info old = { 0 };
	blob_stamp when = 0, stamp = 0;
	rc = existing_locked(s, &bw, &old);
	if (rc == 0) {
		struct blob_info snap = old; /* borrows its texts */
		snap.snapshot = when = db_stamp_locked(s);
		snap.lease = (struct blob_lease){ 0 };
		if (metadata) {
			snap.metadata = (char *)metadata;
			snap.stamp = when;
		}
		stamp = snap.stamp;
		rc = blob_insert_locked(s, &snap);
	}
	rc = db_end(s, rc);
	if (rc != 0)
		return rc;
	*ret_snapshot = when;
	*ret_stamp = stamp;
	return 0;
}

static int update_locked(struct blob_store *s, const struct blob_info *old, const char *metadata,
			 const struct blob_headers *headers, blob_stamp *ret_stamp)
{
	const struct blob_headers *h = headers ? headers : &old->headers;
	*ret_stamp = db_stamp_locked(s);
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_BLOB_UPDATE);
	sqlite3_bind_int64(st, 1, old->id);
	sqlite3_bind_int64(st, 2, *ret_stamp);
	db_text(st, 3, h->content_type);
	db_text(st, 4, h->encoding);
	db_text(st, 5, h->language);
	db_text(st, 6, h->cache_control);
	db_text(st, 7, h->disposition);
	db_text(st, 8, h->md5);
	db_text(st, 9, metadata ? metadata : old->metadata);
	int rc = db_run(st);
	/* A lease that has ended cannot be renewed once the blob has changed. */
	if (rc == 0 && old->lease.id && !lease_holds(&old->lease, adafs_clock_wall_us()))
		rc = lease_set_locked(s, old->id, &(struct blob_lease){ 0 });
	return rc;
}

int store_blob_update(struct blob_store *s, const char *container, const char *name,
		      const char *metadata, const struct blob_headers *headers, blob_guard *guard,
		      void *arg, blob_stamp *ret_stamp)
{
	struct blob_write bw = {
		.container = container, .name = name, .guard = guard, .guard_arg = arg
	};
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	ADAFS_CLEANUP(blob_info_clear) struct blob_info old = { 0 };
	blob_stamp stamp = 0;
	rc = existing_locked(s, &bw, &old);
	if (rc == 0)
		rc = update_locked(s, &old, metadata, headers, &stamp);
	rc = db_end(s, rc);
	if (rc == 0)
		*ret_stamp = stamp;
	return rc;
}

static int copy_source_locked(struct blob_store *s, const struct blob_copy *copy,
			      struct blob_info *ret)
{
	int64_t container;
	int rc = db_container_id(s->writer, copy->source_container, &container);
	if (rc == 0)
		rc = db_blob_get(s->writer, container, copy->source_name, copy->source_snapshot,
				 ret);
	if (rc == 0 && copy->source_guard)
		rc = copy->source_guard(copy->source_arg, ret);
	return rc;
}

static int copy_locked(struct blob_store *s, const struct blob_write *bw,
		       const struct blob_copy *copy, struct blob_info *ret_info)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info source = { 0 };
	ADAFS_CLEANUP(blob_info_clear) struct blob_info old = { 0 };
	bool exists = false;
	int64_t container, content = 0;
	int rc = copy_source_locked(s, copy, &source);
	if (rc == 0)
		rc = blob_prepare_locked(s, bw, &old, &exists, &container);
	bool append = source.type == BLOB_APPEND;
	if (rc == 0 && copy->keep_blocks && !append)
		content = source.content;
	else if (rc == 0)
		rc = content_clone_locked(s, &source, &content);
	if (rc != 0)
		return rc;
	struct blob_info b = blob_new_row(bw, container, db_stamp_locked(s));
	b.content = content;
	b.size = source.size;
	if (copy->keep_headers)
		b.headers = source.headers;
	if (copy->keep_metadata)
		b.metadata = source.metadata;
	if (copy->keep_tags)
		b.tags = source.tags;
	if (copy->keep_blocks) { /* a copy of the whole blob, whatever its type */
		b.type = source.type;
		b.n_appended = source.n_appended;
		b.sealed = append && (source.sealed || copy->seal);
	}
	b.copy_id = (char *)copy->copy_id;
	b.copy_source = (char *)copy->copy_source;
	b.copy_stamp = copy->copy_id ? b.stamp : 0;
	rc = blob_replace_locked(s, exists ? &old : NULL, &b);
	return rc != 0 ? rc
		       : db_blob_get(s->writer, container, bw->name, BLOB_SNAPSHOT_NONE, ret_info);
}

int store_blob_copy(struct blob_store *s, const struct blob_write *bw, const struct blob_copy *copy,
		    struct blob_info *ret_info)
{
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	struct blob_info b = { 0 };
	rc = db_end(s, copy_locked(s, bw, copy, &b));
	if (rc != 0) {
		blob_info_clear(&b);
		return rc;
	}
	*ret_info = b;
	return 0;
}
