/*
 * Append blobs, and the end of uploads that were given up. The blocks of an append blob go to the
 * file of its upload, as staged blocks do, but belong to the content at once: its last extent grows
 * while they touch. A content that a snapshot or copy shares is cloned first.
 */
#include "batch/emulator/blob/store_db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "batch/base/clock.h"
#include "batch/emulator/blob/blob_error.h"

static int find_locked(struct blob_store *s, const struct blob_append *a, struct blob_info *ret)
{
	int64_t container;
	int rc = db_container_id(s->writer, a->container, &container);
	if (rc == 0)
		rc = db_blob_get(s->writer, container, a->name, BLOB_SNAPSHOT_NONE, ret);
	return rc == 0 ? a->guard(a->guard_arg, ret) : rc;
}

/* Whether another row names the content: 1, 0 or an errno. */
static int shared_locked(struct blob_store *s, const struct blob_info *b)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_BLOB_OTHER_USES);
	sqlite3_bind_int64(st, 1, b->content);
	sqlite3_bind_int64(st, 2, b->id);
	int rc = db_step(st);
	sqlite3_reset(st);
	return rc;
}

/* Lengthen the content's last extent if the new bytes lie right behind it: 1, 0 or an errno. */
static int grow_locked(struct blob_store *s, int64_t content, int64_t file, uint64_t off,
		       uint64_t len)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_EXTENT_GROW);
	sqlite3_bind_int64(st, 1, content);
	sqlite3_bind_int64(st, 2, file);
	sqlite3_bind_int64(st, 3, (int64_t)off);
	sqlite3_bind_int64(st, 4, (int64_t)len);
	int rc = db_run(st);
	return rc < 0 ? rc : sqlite3_changes(s->writer->h) != 0;
}

static int append_bytes_locked(struct blob_store *s, int64_t content, uint64_t pos,
			       struct block_writer *w)
{
	int64_t file = w->upload->file;
	int rc = grow_locked(s, content, file, w->off, w->written);
	if (rc == 0)
		rc = extent_add_locked(s, content, pos, file, w->off, w->written);
	if (rc >= 0)
		rc = sums_store_locked(s, file, w->off, w->written, &w->sums);
	return rc < 0 ? rc : 0;
}

/* A lease that has ended cannot be renewed once the blob has changed. */
static int lease_settle_locked(struct blob_store *s, const struct blob_info *b)
{
	if (!b->lease.id || lease_holds(&b->lease, adafs_clock_wall_us()))
		return 0;
	return lease_set_locked(s, b->id, &(struct blob_lease){ 0 });
}

static int append_locked(struct blob_store *s, const struct blob_append *a, struct block_writer *w,
			 struct blob_info *b)
{
	int rc = find_locked(s, a, b);
	if (rc != 0)
		return rc;
	int64_t content = b->content;
	rc = shared_locked(s, b);
	if (rc == 1)
		rc = content_clone_locked(s, b, &content);
	if (rc == 0)
		rc = append_bytes_locked(s, content, b->size, w);
	if (rc == 0)
		rc = lease_settle_locked(s, b);
	if (rc != 0)
		return rc;
	b->content = content;
	b->size += w->written;
	b->n_appended++;
	b->stamp = db_stamp_locked(s);
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_BLOB_APPENDED);
	sqlite3_bind_int64(st, 1, b->id);
	sqlite3_bind_int64(st, 2, content);
	sqlite3_bind_int64(st, 3, (int64_t)b->size);
	sqlite3_bind_int64(st, 4, b->stamp);
	sqlite3_bind_int64(st, 5, b->n_appended);
	return db_run(st);
}

static int answer(int rc, struct blob_info *b, struct blob_info *ret_info)
{
	if (rc != 0)
		blob_info_clear(b);
	else
		*ret_info = *b;
	return rc;
}

int store_blob_append(struct blob_store *s, const struct blob_append *a, struct block_writer *w,
		      struct blob_info *ret_info)
{
	if (fdatasync(w->upload->fd) < 0)
		return -errno;
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	struct blob_info b = { 0 };
	rc = db_end(s, append_locked(s, a, w, &b));
	w->staged = rc == 0;
	return answer(rc, &b, ret_info);
}

int store_blob_seal(struct blob_store *s, const struct blob_append *a, struct blob_info *ret_info)
{
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	struct blob_info b = { 0 };
	rc = find_locked(s, a, &b);
	if (rc == 0 && !b.sealed) { /* sealing twice is no error and no change */
		struct sqlite3_stmt *st = db_stmt(s->writer, ST_BLOB_SEAL);
		b.stamp = db_stamp_locked(s);
		sqlite3_bind_int64(st, 1, b.id);
		sqlite3_bind_int64(st, 2, b.stamp);
		rc = db_run(st);
	}
	return answer(db_end(s, rc), &b, ret_info);
}

/* --- staged blocks that nobody committed ------------------------------------------------------ */

struct expired {
	int64_t container;
	char *name;
};

static void expired_free(struct expired *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i].name);
	free(v);
}

static int expired_find(struct db *db, blob_stamp before, struct expired **ret_v, size_t *ret_n)
{
	struct expired *v = NULL;
	size_t n = 0;
	bool oom = false;
	struct sqlite3_stmt *st = db_stmt(db, ST_STAGED_EXPIRED);
	sqlite3_bind_int64(st, 1, before);
	int rc;
	while ((rc = db_step(st)) == 1) {
		struct expired *grown = reallocarray(v, n + 1, sizeof(*grown));
		if (!grown) {
			oom = true;
			break;
		}
		v = grown;
		v[n++] = (struct expired){ sqlite3_column_int64(st, 0),
					   db_column_text(st, 1, &oom) };
	}
	sqlite3_reset(st);
	if (rc < 0 || oom) {
		expired_free(v, n);
		return rc < 0 ? rc : -ENOMEM;
	}
	*ret_v = v;
	*ret_n = n;
	return 0;
}

int store_block_expire(struct blob_store *s, blob_stamp before)
{
	struct expired *v = NULL;
	size_t n = 0;
	/* Looked for without the lock: mostly there is nothing. */
	struct db *db = db_reader_get(s);
	int rc = expired_find(db, before, &v, &n);
	db_reader_put(s, db);
	if (rc < 0 || !n)
		return rc;
	expired_free(v, n);
	v = NULL;
	n = 0;
	rc = db_begin(s);
	if (rc < 0)
		return rc;
	rc = expired_find(s->writer, before, &v, &n);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = staged_drop_locked(s, v[i].container, v[i].name);
	expired_free(v, n);
	return db_end(s, rc);
}
