/* blob/store_db.h - the inside of the store: connections, statements, transactions, data files. */
#ifndef ADAFS_EMULATOR_BLOB_STORE_DB_H
#define ADAFS_EMULATOR_BLOB_STORE_DB_H

#include <stdatomic.h>

#include "batch/base/mutex.h"
#include "batch/emulator/blob/store.h"

struct sqlite3;
struct sqlite3_stmt;

/* Every statement is prepared once a connection; the texts stand in db_store.c in this order. */
enum stmt {
	ST_BEGIN,
	ST_COMMIT,
	ST_ROLLBACK,
	ST_SAVEPOINT,
	ST_RELEASE,
	ST_ROLLBACK_TO,
	ST_CONTAINER_INSERT,
	ST_CONTAINER_GET,
	ST_CONTAINER_LIST,
	ST_CONTAINER_DELETE,
	ST_CONTAINER_SET_METADATA,
	ST_CONTAINER_SET_ACCESS,
	ST_POLICY_LIST,
	ST_POLICY_CLEAR,
	ST_POLICY_INSERT,
	ST_BLOB_GET,
	ST_BLOB_INSERT,
	ST_BLOB_DELETE,
	ST_BLOB_UPDATE,
	ST_BLOB_SNAPSHOTS,
	ST_BLOB_CONTENTS,
	ST_BLOB_DELETE_ALL,
	ST_BLOB_LIST,
	ST_BLOB_LIST_SNAPSHOTS,
	ST_BLOB_USES,
	ST_CONTENT_INSERT,
	ST_CONTENT_DELETE,
	ST_EXTENT_INSERT,
	ST_EXTENT_RANGE,
	ST_EXTENT_FILES,
	ST_EXTENT_DELETE,
	ST_BLOCK_INSERT,
	ST_BLOCK_FIND,
	ST_BLOCK_LIST,
	ST_BLOCK_DELETE,
	ST_STAGED_PUT,
	ST_STAGED_GET,
	ST_STAGED_LIST,
	ST_STAGED_ANY,
	ST_STAGED_COUNT,
	ST_STAGED_NAMES,
	ST_STAGED_FILES,
	ST_STAGED_DELETE,
	ST_STAGED_FILES_ALL,
	ST_STAGED_DELETE_ALL,
	ST_STAGED_DELETE_OLD,
	ST_FILE_USED,
	ST_MAX_STAMP,
	ST_MAX_FILE,
	ST_MAX_ID,
	ST_STAGED_EXPIRED,
	ST_BLOB_SET_TAGS,
	ST_BLOB_SET_TIER,
	ST_BLOB_SET_LEASE,
	ST_CONTAINER_SET_LEASE,
	ST_BLOB_APPENDED,
	ST_BLOB_OTHER_USES,
	ST_BLOB_SEAL,
	ST_EXTENT_GROW,
	ST_SETTING_SET,
	ST_SETTING_DELETE,
	ST_SETTING_GET,
	ST_SUM_PUT,
	ST_SUM_RANGE,
	ST_SUM_DELETE,
	ST_COUNT,
};

/* What a connection looked up last, each as of a version of the store; see hot_store.c. */
#define HOT_BLOBS 8
struct hot_blob {
	unsigned version;
	char *container; /* owned; NULL: no entry */
	struct blob_info info;
};
struct hot_extent {
	unsigned version;
	int64_t content; /* 0: no entry */
	uint64_t pos;    /* where the piece lies in the content */
	struct blob_piece piece;
};
struct hot {
	struct hot_blob blobs[HOT_BLOBS];
	struct hot_extent extents[HOT_BLOBS];
	size_t next, next_extent;
};

struct db {
	struct sqlite3 *h;
	struct hot hot;
	struct sqlite3_stmt *st[ST_COUNT];
	struct db *next; /* in the list of idle readers */
};

/*
 * The file that the blocks of one blob are written to while they are staged. In an ordered one
 * every block lies where its number puts it; in the other, blocks lie as they came.
 */
struct upload {
	struct upload *next; /* in the store's list; only while attached */
	int64_t container;
	char *name; /* owned */
	int64_t file;
	int fd;
	uint64_t stride; /* ordered: room for each block; 0: not ordered */
	uint8_t *taken;  /* owned; ordered: a bit for each place in use */
	size_t n_taken;  /* bytes of it */
	uint64_t end;    /* not ordered: where the next block goes */
	unsigned n_writers;
	bool attached;     /* further blocks of this blob go here */
	uint64_t n_staged; /* at least as many as are staged; -1: not counted yet */
	uint64_t used;     /* by the store's clock of uploads: the smallest is the oldest */
};

struct group;

struct blob_store {
	char *dir;               /* data files */
	atomic_uint n_waiting;   /* writers that want the lock */
	atomic_uint version;     /* counts transactions */
	struct adafs_mutex lock; /* rank STORE: the writer connection and all below */
	struct adafs_cond group_done;
	struct group *group ADAFS_GUARDED_BY(&lock); /* the open transaction; NULL: none */
	struct db *writer ADAFS_GUARDED_BY(&lock);
	int64_t last_stamp ADAFS_GUARDED_BY(&lock);
	int64_t last_id ADAFS_GUARDED_BY(&lock); /* of contents and containers */
	int64_t *dropped
		ADAFS_GUARDED_BY(&lock); /* files that lost a reference in this transaction */
	size_t n_dropped ADAFS_GUARDED_BY(&lock);
	size_t n_dropped_before ADAFS_GUARDED_BY(&lock); /* of it: not by the running operation */
	struct upload *uploads ADAFS_GUARDED_BY(&lock);
	struct upload *detached ADAFS_GUARDED_BY(&lock); /* still written to, not found any more */
	unsigned n_uploads ADAFS_GUARDED_BY(&lock);
	uint64_t upload_clock ADAFS_GUARDED_BY(&lock);
	int64_t next_file;               /* atomic */
	struct adafs_mutex readers_lock; /* LEAF */
	struct adafs_cond reader_idle;
	struct db *readers ADAFS_GUARDED_BY(&readers_lock);
};

/* --- db_store.c ------------------------------------------------------------------------------ */

/* A statement ready for binding. */
struct sqlite3_stmt *db_stmt(struct db *db, enum stmt st);
/* Step: 1 a row, 0 done, negative errno. */
int db_step(struct sqlite3_stmt *st);
/* Step a statement that gives no row; resets it. 0, -EEXIST (a constraint) or another errno. */
int db_run(struct sqlite3_stmt *st);
/* Bind a text (NULL: SQL NULL), borrowed until the statement is reset. */
void db_text(struct sqlite3_stmt *st, int index, const char *text);
/* A column as an owned text, NULL for SQL NULL; sets *oom when memory ran out. */
char *db_column_text(struct sqlite3_stmt *st, int column, bool *oom);

/* An idle connection for reading, waiting for one if need be; it goes back by db_reader_put. */
struct db *db_reader_get(struct blob_store *s);
void db_reader_put(struct blob_store *s, struct db *db);

/* The time of a change, of the wall clock; later than every one given before. */
blob_stamp db_stamp_locked(struct blob_store *s);
/*
 * The id of a new content or container. None comes twice while the store is open, unlike SQLite's
 * own: a reader that looked one up, and finds it gone, must not meet another's bytes under it.
 */
int64_t db_id_locked(struct blob_store *s);

/* Whether an extent or a staged block lies in the data file; true when that cannot be told. */
bool db_file_used_locked(struct blob_store *s, int64_t file);

/* Container's id by name. BE_CONTAINER_NOT_FOUND. */
int db_container_id(struct db *db, const char *name, int64_t *ret_id);
/* BE_BLOB_NOT_FOUND. */
int db_blob_get(struct db *db, int64_t container, const char *name, blob_stamp snapshot,
		struct blob_info *ret);
/* A lease in four columns from `column` on: id, seconds, end, breaking. */
struct blob_lease db_lease_row(struct sqlite3_stmt *st, int column, bool *oom);
void db_lease_bind(struct sqlite3_stmt *st, int index, const struct blob_lease *l);
/* Fill from a row of BLOB_COLUMNS. */
int db_blob_row(struct sqlite3_stmt *st, struct blob_info *ret);

/* --- commit_store.c -------------------------------------------------------------------------- */

/* Lock the writer and begin an operation. 0, or -errno without the lock. */
int db_begin(struct blob_store *s);
/*
 * Keep the operation if rc is 0, else roll it back; unlock; return once the transaction that it is
 * part of is on disk; unlink what lost its last reference. Returns rc, or why that failed.
 */
int db_end(struct blob_store *s, int rc);

/* --- blob_store.c, used by its neighbours ---------------------------------------------------- */

/* What exists under the write's name, and whether the guard lets it be replaced. */
int blob_prepare_locked(struct blob_store *s, const struct blob_write *bw,
			struct blob_info *ret_old, bool *ret_exists, int64_t *ret_container);
/* The row of a new version; its texts are borrowed from bw: never clear it. */
struct blob_info blob_new_row(const struct blob_write *bw, int64_t container, blob_stamp stamp);
/* Replace the blob's row (old may be NULL), keep a lease that holds, and release the old content
 * and all staged blocks. */
int blob_replace_locked(struct blob_store *s, const struct blob_info *old,
			const struct blob_info *b);

/* --- content_store.c ------------------------------------------------------------------------- */

/* A content of no extents and no name yet. */
int content_new_locked(struct blob_store *s, int64_t *ret_content);
/* Bytes [pos, pos + len) of a content lie in the file from off on. */
int extent_add_locked(struct blob_store *s, int64_t content, uint64_t pos, int64_t file,
		      uint64_t off, uint64_t len);
/* The extents that cover [off, off + len) of a content, merged; nothing is opened. -ESTALE: gone.
 * free() ret->v, which holds what was found also after a failure. */
int extents_find(struct db *db, int64_t content, uint64_t off, uint64_t len,
		 struct blob_pieces *ret);
/* A content of the same bytes without the block list. */
int content_clone_locked(struct blob_store *s, const struct blob_info *source,
			 int64_t *ret_content);
/* Delete a content that no blob names any more, noting its files as dropped. */
int content_release_locked(struct blob_store *s, int64_t content);

/* --- sum_store.c ----------------------------------------------------------------------------- */

int sums_add(struct sums *s, const void *data, size_t len);
void sums_clear(struct sums *s);
/* Keep the sums of len bytes at off of a file, of which all have been added. */
int sums_store_locked(struct blob_store *s, int64_t file, uint64_t off, uint64_t len,
		      struct sums *sums);
/* The file goes. */
int sums_delete_locked(struct blob_store *s, int64_t file);

/* --- hot_store.c ----------------------------------------------------------------------------- */

/* version: of the store, read before the database was. */
bool hot_find(struct db *db, unsigned version, const char *container, const char *name,
	      blob_stamp snapshot, struct blob_info *ret);
void hot_keep(struct db *db, unsigned version, const char *container, const struct blob_info *info);
/* Part of an extent that was kept. */
bool hot_extent_find(const struct db *db, unsigned version, int64_t content, uint64_t off,
		     uint64_t len, struct blob_piece *ret);
void hot_extent_keep(struct db *db, unsigned version, int64_t content, uint64_t pos,
		     const struct blob_piece *piece);
void hot_clear(struct hot *h);

/* --- mark_store.c ---------------------------------------------------------------------------- */

/* A blob that was on its way out of the archive for long enough has arrived. */
void blob_tier_settle(struct blob_info *b);
/* Store a lease with the blob. */
int lease_set_locked(struct blob_store *s, int64_t blob, const struct blob_lease *l);

/* --- block_store.c --------------------------------------------------------------------------- */

/* Forget the staged blocks of a blob (name NULL: of the whole container). */
int staged_drop_locked(struct blob_store *s, int64_t container, const char *name);

/* --- upload_store.c -------------------------------------------------------------------------- */

/* Whether an upload still writes to the file. */
bool upload_writes_locked(const struct blob_store *s, int64_t file);
/*
 * The next block goes to a new upload. This one ends with its last writer, at once if it has none:
 * do not use it any more. 0, or -errno of noting its file as dropped.
 */
int upload_detach_locked(struct blob_store *s, struct upload *u);
/* At the end of the store: all that are attached; nobody writes any more. */
void uploads_free(struct blob_store *s);

/* --- data.c ---------------------------------------------------------------------------------- */

/* -ENOSPC: what is left of the disk is kept for the database. */
int data_room(struct blob_store *s);
/* Create a new data file, if there is room. */
int data_create(struct blob_store *s, int64_t *ret_file, int *ret_fd);
/* Its bytes and its name are on disk then. */
int data_sync(struct blob_store *s, int64_t file, int fd);
/* Open for reading: fd or -errno. */
int data_open(struct blob_store *s, int64_t file);
void data_unlink(struct blob_store *s, int64_t file);
/* Note that a file lost a reference in this transaction. */
int data_dropped_locked(struct blob_store *s, int64_t file);
/* At start: unlink every file that used() does not know; *ret_max: the highest number seen. */
int data_sweep(struct blob_store *s, bool (*used)(void *arg, int64_t file), void *arg,
	       int64_t *ret_max, struct adafs_err *reterr);

#endif
