/*
 * Listing: one walk over the index in name order. A common prefix is reported once and then skipped
 * by a new search behind it, so a folder costs one step whatever it holds.
 */
#include "batch/emulator/blob/store_db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "batch/emulator/blob/blob_error.h"

/* One of the two sources, committed and staged names, with its next entry. */
struct cursor {
	struct sqlite3_stmt *st;
	bool has; /* b holds the next entry */
	struct blob_info b;
};

struct walk {
	struct db *db;
	const struct blob_listing *l;
	int64_t container;
	size_t prefix_len, delimiter_len;
	struct cursor blobs, staged;
	struct adafs_buf from; /* where the cursors were last placed */
};

static void cursor_close(struct cursor *c)
{
	blob_info_clear(&c->b);
	if (c->st)
		sqlite3_reset(c->st);
	*c = (struct cursor){ 0 };
}

static int blobs_next(struct walk *w)
{
	struct cursor *c = &w->blobs;
	blob_info_clear(&c->b);
	int rc = db_step(c->st);
	c->has = rc == 1;
	if (rc == 1)
		rc = db_blob_row(c->st, &c->b);
	return rc;
}

static int staged_next(struct walk *w)
{
	struct cursor *c = &w->staged;
	if (!c->st)
		return 0;
	blob_info_clear(&c->b);
	bool oom = false;
	int rc = db_step(c->st);
	c->has = rc == 1;
	if (rc != 1)
		return rc;
	c->b = (struct blob_info){ .name = db_column_text(c->st, 0, &oom),
				   .uncommitted = true,
				   .snapshot = BLOB_SNAPSHOT_NONE };
	return oom ? -ENOMEM : 0;
}

/* Place both cursors at the first entry not before w->from. */
static int seek(struct walk *w, blob_stamp snapshot)
{
	cursor_close(&w->blobs);
	cursor_close(&w->staged);
	w->blobs.st = db_stmt(w->db, w->l->snapshots ? ST_BLOB_LIST_SNAPSHOTS : ST_BLOB_LIST);
	sqlite3_bind_int64(w->blobs.st, 1, w->container);
	db_text(w->blobs.st, 2, adafs_buf_str(&w->from));
	if (w->l->snapshots)
		sqlite3_bind_int64(w->blobs.st, 3, snapshot);
	int rc = blobs_next(w);
	if (rc == 0 && w->l->uncommitted) {
		w->staged.st = db_stmt(w->db, ST_STAGED_NAMES);
		sqlite3_bind_int64(w->staged.st, 1, w->container);
		db_text(w->staged.st, 2, adafs_buf_str(&w->from));
		rc = staged_next(w);
	}
	return rc;
}

/* Whether a blob exists under a staged name: it is listed as that then. */
static int is_committed(struct walk *w, const char *name)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	int rc = db_blob_get(w->db, w->container, name, BLOB_SNAPSHOT_NONE, &b);
	return rc == BE_BLOB_NOT_FOUND ? 0 : rc < 0 ? rc : 1;
}

/* The cursor with the smaller name; staged names that are committed too are passed over. */
static int smaller(struct walk *w, struct cursor **ret)
{
	while (w->staged.has) {
		int rc = is_committed(w, w->staged.b.name);
		if (rc < 0)
			return rc;
		if (rc == 0)
			break;
		rc = staged_next(w);
		if (rc < 0)
			return rc;
	}
	if (w->staged.has && (!w->blobs.has || strcmp(w->staged.b.name, w->blobs.b.name) < 0))
		*ret = &w->staged;
	else
		*ret = w->blobs.has ? &w->blobs : NULL;
	return 0;
}

/* Length of the common prefix that hides the name, 0: none. */
static size_t common_prefix(const struct walk *w, const char *name)
{
	const char *d = w->delimiter_len ? strstr(name + w->prefix_len, w->l->delimiter) : NULL;
	return d ? (size_t)(d - name) + w->delimiter_len : 0;
}

/* The first text behind everything that starts with these bytes. */
static int set_successor(struct adafs_buf *b, const char *text, size_t len)
{
	while (len && (unsigned char)text[len - 1] == 0xff)
		len--;
	adafs_buf_reset(b);
	int rc = adafs_buf_add(b, text, len);
	if (rc == 0 && len)
		b->data[len - 1] = (char)(b->data[len - 1] + 1);
	return rc;
}

static int stop_at(const struct blob_info *b, struct adafs_buf *ret_next, blob_stamp *ret_snapshot)
{
	adafs_buf_reset(ret_next);
	*ret_snapshot = b->snapshot;
	return adafs_buf_adds(ret_next, b->name);
}

/* One entry; 1: stopped before it, 2: the end of what has the prefix. */
static int walk_one(struct walk *w, struct adafs_buf *ret_next, blob_stamp *ret_snapshot)
{
	struct cursor *c = NULL;
	int rc = smaller(w, &c);
	if (rc < 0 || !c || strncmp(c->b.name, w->l->prefix, w->prefix_len) != 0)
		return rc < 0 ? rc : 2;
	size_t hidden = common_prefix(w, c->b.name);
	rc = hidden ? w->l->each(w->l->arg, NULL, c->b.name, hidden)
		    : w->l->each(w->l->arg, &c->b, NULL, 0);
	if (rc == 1) {
		/*
		 * A common prefix starts again at its first name: that name still has the prefix.
		 */
		rc = stop_at(&c->b, ret_next, ret_snapshot);
		return rc < 0 ? rc : 1;
	}
	if (rc < 0)
		return rc;
	if (!hidden)
		return c == &w->staged ? staged_next(w) : blobs_next(w);
	rc = set_successor(&w->from, c->b.name, hidden);
	return rc < 0 ? rc : seek(w, 0);
}

int store_blob_list(struct blob_store *s, const struct blob_listing *l, bool *ret_more,
		    struct adafs_buf *ret_next, blob_stamp *ret_next_snapshot)
{
	struct walk w = { .l = l,
			  .prefix_len = strlen(l->prefix),
			  .delimiter_len = strlen(l->delimiter),
			  .from = ADAFS_BUF_INIT(64 * 1024) };
	w.db = db_reader_get(s);
	int rc = db_container_id(w.db, l->container, &w.container);
	bool resume = *l->from && strcmp(l->from, l->prefix) >= 0;
	if (rc == 0)
		rc = adafs_buf_adds(&w.from, resume ? l->from : l->prefix);
	if (rc == 0)
		rc = seek(&w, resume ? l->from_snapshot : 0);
	while (rc == 0)
		rc = walk_one(&w, ret_next, ret_next_snapshot);
	cursor_close(&w.blobs);
	cursor_close(&w.staged);
	db_reader_put(s, w.db);
	adafs_buf_clear(&w.from);
	if (rc == BE_CONTAINER_NOT_FOUND || rc < 0)
		return rc;
	*ret_more = rc == 1;
	return 0;
}
