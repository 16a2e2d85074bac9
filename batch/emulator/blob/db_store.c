/*
 * The database: schema by numbered migrations, connections and their statements, rows that several
 * parts of the store read, and the life of the store.
 */
#include "batch/emulator/blob/store_db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "batch/base/log.h"
#include "batch/emulator/blob/blob_error.h"

#define N_READERS 6
#define STAGED_KEEP_US \
	(7LL * 24 * 3600 * 1000000) /* staged blocks live a week, as at the service */

/* Migration i takes a database of user_version i to i + 1. Never edit one that shipped. */
static const char *const migrations[] = {
	"CREATE TABLE container(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
	" stamp INTEGER NOT NULL, access TEXT NOT NULL, metadata TEXT NOT NULL);"
	"CREATE TABLE policy(container INTEGER NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL,"
	" start TEXT, expiry TEXT, permission TEXT, PRIMARY KEY(container, seq)) WITHOUT ROWID;"
	"CREATE TABLE content(id INTEGER PRIMARY KEY);"
	"CREATE TABLE extent(content INTEGER NOT NULL, pos INTEGER NOT NULL, file INTEGER NOT NULL,"
	" off INTEGER NOT NULL, len INTEGER NOT NULL, PRIMARY KEY(content, pos)) WITHOUT ROWID;"
	"CREATE INDEX extent_file ON extent(file);"
	"CREATE TABLE block(content INTEGER NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL,"
	" pos INTEGER NOT NULL, len INTEGER NOT NULL, PRIMARY KEY(content, seq)) WITHOUT ROWID;"
	"CREATE INDEX block_id ON block(content, id);"
	"CREATE TABLE blob(id INTEGER PRIMARY KEY, container INTEGER NOT NULL, name TEXT NOT NULL,"
	" snapshot INTEGER NOT NULL, content INTEGER NOT NULL, size INTEGER NOT NULL,"
	" stamp INTEGER NOT NULL, created INTEGER NOT NULL, content_type TEXT, encoding TEXT,"
	" language TEXT, cache_control TEXT, disposition TEXT, md5 TEXT, metadata TEXT NOT NULL,"
	" copy_id TEXT, copy_source TEXT, copy_stamp INTEGER NOT NULL, tier TEXT,"
	" tier_stamp INTEGER NOT NULL, UNIQUE(container, name, snapshot));"
	"CREATE INDEX blob_content ON blob(content);"
	"CREATE UNIQUE INDEX blob_base ON blob(container, name) WHERE snapshot = "
	"9223372036854775807;"
	"CREATE TABLE staged(container INTEGER NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL,"
	" file INTEGER NOT NULL, off INTEGER NOT NULL, len INTEGER NOT NULL, stamp INTEGER NOT "
	"NULL,"
	" PRIMARY KEY(container, name, id)) WITHOUT ROWID;"
	"CREATE INDEX staged_file ON staged(file);",

	"ALTER TABLE blob ADD COLUMN type INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE blob ADD COLUMN n_appended INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE blob ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE blob ADD COLUMN tags TEXT;"
	"ALTER TABLE blob ADD COLUMN rehydrate TEXT;"
	"ALTER TABLE blob ADD COLUMN rehydrate_high INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE blob ADD COLUMN lease_id TEXT;"
	"ALTER TABLE blob ADD COLUMN lease_seconds INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE blob ADD COLUMN lease_end INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE blob ADD COLUMN lease_breaking INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE container ADD COLUMN lease_id TEXT;"
	"ALTER TABLE container ADD COLUMN lease_seconds INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE container ADD COLUMN lease_end INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE container ADD COLUMN lease_breaking INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE setting(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;",

	"CREATE TABLE sum(file INTEGER NOT NULL, off INTEGER NOT NULL, len INTEGER NOT NULL,"
	" crc BLOB NOT NULL, PRIMARY KEY(file, off)) WITHOUT ROWID;",
};

#define BLOB_COLUMNS                                                                              \
	"id, container, name, snapshot, content, size, stamp, created, content_type, encoding,"   \
	" language, cache_control, disposition, md5, metadata, copy_id, copy_source, copy_stamp," \
	" tier, tier_stamp, type, n_appended, sealed, tags, rehydrate, rehydrate_high, lease_id," \
	" lease_seconds, lease_end, lease_breaking"
#define CONTAINER_COLUMNS \
	"id, name, stamp, access, metadata, lease_id, lease_seconds, lease_end, lease_breaking"

static const char *const sql[ST_COUNT] = {
	[ST_BEGIN] = "BEGIN IMMEDIATE",
	[ST_COMMIT] = "COMMIT",
	[ST_ROLLBACK] = "ROLLBACK",
	[ST_SAVEPOINT] = "SAVEPOINT op",
	[ST_RELEASE] = "RELEASE op",
	[ST_ROLLBACK_TO] = "ROLLBACK TO op",
	[ST_CONTAINER_INSERT] =
		"INSERT INTO container(name, stamp, access, metadata, id) VALUES(?1, ?2, ?3, ?4, ?5)",
	[ST_CONTAINER_GET] = "SELECT " CONTAINER_COLUMNS " FROM container WHERE name = ?1",
	[ST_CONTAINER_LIST] = "SELECT " CONTAINER_COLUMNS " FROM container "
			      "WHERE name >= ?1 ORDER BY name",
	[ST_CONTAINER_DELETE] = "DELETE FROM container WHERE id = ?1",
	[ST_CONTAINER_SET_METADATA] =
		"UPDATE container SET stamp = ?2, metadata = ?3 WHERE id = ?1",
	[ST_CONTAINER_SET_ACCESS] = "UPDATE container SET stamp = ?2, access = ?3 WHERE id = ?1",
	[ST_POLICY_LIST] = "SELECT id, start, expiry, permission FROM policy WHERE container = ?1 "
			   "ORDER BY seq",
	[ST_POLICY_CLEAR] = "DELETE FROM policy WHERE container = ?1",
	[ST_POLICY_INSERT] = "INSERT INTO policy(container, seq, id, start, expiry, permission) "
			     "VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	[ST_BLOB_GET] = "SELECT " BLOB_COLUMNS " FROM blob WHERE container = ?1 AND name = ?2 "
			"AND snapshot = ?3",
	[ST_BLOB_INSERT] =
		"INSERT INTO blob(container, name, snapshot, content, size, stamp, created,"
		" content_type, encoding, language, cache_control, disposition, md5, metadata,"
		" copy_id, copy_source, copy_stamp, tier, tier_stamp, type, n_appended, sealed,"
		" tags, rehydrate, rehydrate_high, lease_id, lease_seconds, lease_end,"
		" lease_breaking) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
		" ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29)",
	[ST_BLOB_DELETE] = "DELETE FROM blob WHERE id = ?1",
	[ST_BLOB_UPDATE] =
		"UPDATE blob SET stamp = ?2, content_type = ?3, encoding = ?4, language = ?5,"
		" cache_control = ?6, disposition = ?7, md5 = ?8, metadata = ?9 WHERE id = ?1",
	[ST_BLOB_SNAPSHOTS] = "SELECT id, content FROM blob WHERE container = ?1 AND name = ?2 "
			      "AND snapshot < 9223372036854775807",
	[ST_BLOB_CONTENTS] = "SELECT DISTINCT content FROM blob WHERE container = ?1",
	[ST_BLOB_DELETE_ALL] = "DELETE FROM blob WHERE container = ?1",
	[ST_BLOB_LIST] = "SELECT " BLOB_COLUMNS " FROM blob WHERE container = ?1 AND name >= ?2 "
			 "AND snapshot = 9223372036854775807 ORDER BY name",
	[ST_BLOB_LIST_SNAPSHOTS] = "SELECT " BLOB_COLUMNS " FROM blob WHERE container = ?1 "
				   "AND (name, snapshot) >= (?2, ?3) ORDER BY name, snapshot",
	[ST_BLOB_USES] = "SELECT 1 FROM blob WHERE content = ?1 LIMIT 1",
	[ST_CONTENT_INSERT] = "INSERT INTO content(id) VALUES(?1)",
	[ST_CONTENT_DELETE] = "DELETE FROM content WHERE id = ?1",
	[ST_EXTENT_INSERT] =
		"INSERT INTO extent(content, pos, file, off, len) VALUES(?1, ?2, ?3, ?4, ?5)",
	[ST_EXTENT_RANGE] =
		"SELECT pos, file, off, len FROM extent WHERE content = ?1 AND pos < ?3 "
		"AND pos >= coalesce((SELECT max(pos) FROM extent WHERE content = ?1 "
		"AND pos <= ?2), 0) ORDER BY pos",
	[ST_EXTENT_FILES] = "SELECT file FROM extent WHERE content = ?1",
	[ST_EXTENT_DELETE] = "DELETE FROM extent WHERE content = ?1",
	[ST_BLOCK_INSERT] =
		"INSERT INTO block(content, seq, id, pos, len) VALUES(?1, ?2, ?3, ?4, ?5)",
	[ST_BLOCK_FIND] = "SELECT pos, len FROM block WHERE content = ?1 AND id = ?2 LIMIT 1",
	[ST_BLOCK_LIST] = "SELECT id, len, pos FROM block WHERE content = ?1 ORDER BY seq",
	[ST_BLOCK_DELETE] = "DELETE FROM block WHERE content = ?1",
	[ST_STAGED_PUT] =
		"INSERT OR REPLACE INTO staged(container, name, id, file, off, len, stamp) "
		"VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[ST_STAGED_GET] = "SELECT file, off, len FROM staged WHERE container = ?1 AND name = ?2 "
			  "AND id = ?3",
	[ST_STAGED_LIST] =
		"SELECT id, len FROM staged WHERE container = ?1 AND name = ?2 ORDER BY id",
	[ST_STAGED_ANY] = "SELECT id FROM staged WHERE container = ?1 AND name = ?2 LIMIT 1",
	[ST_STAGED_COUNT] = "SELECT count(*) FROM staged WHERE container = ?1 AND name = ?2",
	[ST_STAGED_NAMES] = "SELECT DISTINCT name FROM staged WHERE container = ?1 AND name >= ?2 "
			    "ORDER BY name",
	[ST_STAGED_FILES] = "SELECT DISTINCT file FROM staged WHERE container = ?1 AND name = ?2",
	[ST_STAGED_DELETE] = "DELETE FROM staged WHERE container = ?1 AND name = ?2",
	[ST_STAGED_FILES_ALL] = "SELECT DISTINCT file FROM staged WHERE container = ?1",
	[ST_STAGED_DELETE_ALL] = "DELETE FROM staged WHERE container = ?1",
	[ST_STAGED_DELETE_OLD] = /* all blocks of a blob live as long as its last one */
	"DELETE FROM staged WHERE (container, name) IN (SELECT container, name FROM staged "
	"GROUP BY container, name HAVING max(stamp) < ?1)",
	[ST_FILE_USED] = "SELECT 1 WHERE EXISTS(SELECT 1 FROM extent WHERE file = ?1) "
			 "OR EXISTS(SELECT 1 FROM staged WHERE file = ?1)",
	[ST_MAX_STAMP] = "SELECT max(coalesce((SELECT max(max(stamp, copy_stamp)) FROM blob), 0),"
			 " coalesce((SELECT max(snapshot) FROM blob WHERE snapshot < "
			 "9223372036854775807), 0),"
			 " coalesce((SELECT max(stamp) FROM container), 0))",
	[ST_MAX_FILE] = "SELECT max(coalesce((SELECT max(file) FROM extent), 0),"
			" coalesce((SELECT max(file) FROM staged), 0),"
			" coalesce((SELECT max(file) FROM sum), 0))",
	[ST_MAX_ID] = "SELECT max(coalesce((SELECT max(id) FROM content), 0),"
		      " coalesce((SELECT max(id) FROM container), 0))",
	[ST_STAGED_EXPIRED] = "SELECT container, name FROM staged GROUP BY container, name "
			      "HAVING max(stamp) < ?1",
	[ST_BLOB_SET_TAGS] = "UPDATE blob SET tags = ?2 WHERE id = ?1",
	[ST_BLOB_SET_TIER] = "UPDATE blob SET tier = ?2, tier_stamp = ?3, rehydrate = ?4,"
			     " rehydrate_high = ?5 WHERE id = ?1",
	[ST_BLOB_SET_LEASE] = "UPDATE blob SET lease_id = ?2, lease_seconds = ?3, lease_end = ?4,"
			      " lease_breaking = ?5 WHERE id = ?1",
	[ST_CONTAINER_SET_LEASE] = "UPDATE container SET lease_id = ?2, lease_seconds = ?3,"
				   " lease_end = ?4, lease_breaking = ?5 WHERE id = ?1",
	[ST_BLOB_APPENDED] = "UPDATE blob SET content = ?2, size = ?3, stamp = ?4,"
			     " n_appended = ?5, md5 = NULL WHERE id = ?1",
	[ST_BLOB_OTHER_USES] = "SELECT 1 FROM blob WHERE content = ?1 AND id <> ?2 LIMIT 1",
	[ST_BLOB_SEAL] = "UPDATE blob SET sealed = 1, stamp = ?2 WHERE id = ?1",
	[ST_EXTENT_GROW] = "UPDATE extent SET len = len + ?4 WHERE content = ?1 AND file = ?2 "
			   "AND off + len = ?3 AND pos = (SELECT max(pos) FROM extent "
			   "WHERE content = ?1)",
	[ST_SETTING_SET] = "INSERT OR REPLACE INTO setting(name, value) VALUES(?1, ?2)",
	[ST_SETTING_DELETE] = "DELETE FROM setting WHERE name = ?1",
	[ST_SETTING_GET] = "SELECT value FROM setting WHERE name = ?1",
	[ST_SUM_PUT] = "INSERT OR REPLACE INTO sum(file, off, len, crc) VALUES(?1, ?2, ?3, ?4)",
	[ST_SUM_RANGE] =
		"SELECT off, len, crc FROM sum WHERE file = ?1 AND off < ?3 "
		"AND off >= coalesce((SELECT max(off) FROM sum WHERE file = ?1 AND off <= ?2), 0)",
	[ST_SUM_DELETE] = "DELETE FROM sum WHERE file = ?1",
};

/* SQLITE_* to errno, once. */
static int db_errno(int code)
{
	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return 0;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	default:
		return -EIO;
	}
}

struct sqlite3_stmt *db_stmt(struct db *db, enum stmt st)
{
	sqlite3_reset(db->st[st]);
	return db->st[st];
}

int db_step(struct sqlite3_stmt *st)
{
	int code = sqlite3_step(st);
	if (code == SQLITE_ROW)
		return 1;
	int rc = db_errno(code);
	if (rc < 0 && rc != -EEXIST)
		adafs_log(ERROR, "emulator", "blob database: %s",
			  sqlite3_errmsg(sqlite3_db_handle(st)));
	sqlite3_reset(st);
	return rc;
}

int db_run(struct sqlite3_stmt *st)
{
	int rc = db_step(st);
	sqlite3_reset(st);
	return rc < 0 ? rc : 0;
}

void db_text(struct sqlite3_stmt *st, int index, const char *text)
{
	sqlite3_bind_text(st, index, text, -1, SQLITE_STATIC);
}

char *db_column_text(struct sqlite3_stmt *st, int column, bool *oom)
{
	const unsigned char *text = sqlite3_column_text(st, column);
	if (!text)
		return NULL;
	char *copy = strdup((const char *)text);
	*oom |= !copy;
	return copy;
}

static void db_close(struct db *db)
{
	if (!db)
		return;
	for (int i = 0; i < ST_COUNT; i++)
		sqlite3_finalize(db->st[i]);
	sqlite3_close(db->h);
	hot_clear(&db->hot);
	free(db);
}

static int db_exec(struct db *db, const char *text, struct adafs_err *reterr)
{
	int code = sqlite3_exec(db->h, text, NULL, NULL, NULL);
	if (code == SQLITE_OK)
		return 0;
	return adafs_err_set(reterr, db_errno(code), "blob database: %s", sqlite3_errmsg(db->h));
}

static int db_version(struct db *db, int *ret_version)
{
	sqlite3_stmt *st = NULL;
	int code = sqlite3_prepare_v2(db->h, "PRAGMA user_version", -1, &st, NULL);
	if (code == SQLITE_OK && (code = sqlite3_step(st)) == SQLITE_ROW)
		*ret_version = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	return db_errno(code);
}

static int db_migrate(struct db *db, struct adafs_err *reterr)
{
	int version = 0, rc = db_version(db, &version);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "blob database: %s", sqlite3_errmsg(db->h));
	if (version > (int)ADAFS_ARRAY_SIZE(migrations))
		return adafs_err_set(reterr, -EINVAL,
				     "the blob database was written by a newer adafs (version %d)",
				     version);
	for (; rc == 0 && version < (int)ADAFS_ARRAY_SIZE(migrations); version++) {
		ADAFS_FREE char *text = adafs_fmt("BEGIN; %s PRAGMA user_version = %d; COMMIT;",
						  migrations[version], version + 1);
		rc = text ? db_exec(db, text, reterr) : -ENOMEM;
	}
	return rc;
}

static int db_prepare(struct db *db, struct adafs_err *reterr)
{
	for (int i = 0; i < ST_COUNT; i++) {
		int code = sqlite3_prepare_v3(db->h, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
					      &db->st[i], NULL);
		if (code != SQLITE_OK)
			return adafs_err_set(reterr, db_errno(code), "blob database: %s",
					     sqlite3_errmsg(db->h));
	}
	return 0;
}

static int db_open(const char *path, bool migrate, struct db **ret_db, struct adafs_err *reterr)
{
	struct db *db = calloc(1, sizeof(*db));
	if (!db)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
	int code = sqlite3_open_v2(path, &db->h, flags, NULL);
	int rc = code == SQLITE_OK ? 0
				   : adafs_err_set(reterr, db_errno(code), "cannot open '%s': %s",
						   path, sqlite3_errmsg(db->h));
	if (rc == 0)
		rc = db_exec(db,
			     "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL;"
			     "PRAGMA synchronous = FULL; PRAGMA cache_size = -4096;",
			     reterr);
	if (rc == 0 && migrate)
		rc = db_migrate(db, reterr);
	if (rc == 0)
		rc = db_prepare(db, reterr);
	if (rc < 0) {
		db_close(db);
		return rc;
	}
	*ret_db = db;
	return 0;
}

struct db *db_reader_get(struct blob_store *s)
{
	adafs_mutex_lock(&s->readers_lock);
	while (!s->readers)
		adafs_cond_wait(&s->reader_idle, &s->readers_lock);
	struct db *db = s->readers;
	s->readers = db->next;
	adafs_mutex_unlock(&s->readers_lock);
	return db;
}

void db_reader_put(struct blob_store *s, struct db *db)
{
	adafs_mutex_lock(&s->readers_lock);
	db->next = s->readers;
	s->readers = db;
	adafs_cond_signal(&s->reader_idle);
	adafs_mutex_unlock(&s->readers_lock);
}

/* --- rows and numbers ------------------------------------------------------------------------ */

blob_stamp db_stamp_locked(struct blob_store *s)
{
	int64_t now = adafs_clock_wall_us();
	s->last_stamp = now > s->last_stamp ? now : s->last_stamp + 1;
	return s->last_stamp;
}

int64_t db_id_locked(struct blob_store *s)
{
	return ++s->last_id;
}

bool db_file_used_locked(struct blob_store *s, int64_t file)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_FILE_USED);
	sqlite3_bind_int64(st, 1, file);
	int rc = db_step(st);
	sqlite3_reset(st);
	return rc != 0; /* also when it could not be told */
}

int db_container_id(struct db *db, const char *name, int64_t *ret_id)
{
	struct sqlite3_stmt *st = db_stmt(db, ST_CONTAINER_GET);
	db_text(st, 1, name);
	int rc = db_step(st);
	if (rc == 1)
		*ret_id = sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return rc < 0 ? rc : rc == 1 ? 0 : BE_CONTAINER_NOT_FOUND;
}

struct blob_lease db_lease_row(struct sqlite3_stmt *st, int column, bool *oom)
{
	return (struct blob_lease){
		.id = db_column_text(st, column, oom),
		.seconds = sqlite3_column_int64(st, column + 1),
		.end = sqlite3_column_int64(st, column + 2),
		.breaking = sqlite3_column_int(st, column + 3),
	};
}

void db_lease_bind(struct sqlite3_stmt *st, int index, const struct blob_lease *l)
{
	db_text(st, index, l->id);
	sqlite3_bind_int64(st, index + 1, l->seconds);
	sqlite3_bind_int64(st, index + 2, l->end);
	sqlite3_bind_int(st, index + 3, l->breaking);
}

int db_blob_row(struct sqlite3_stmt *st, struct blob_info *ret)
{
	bool oom = false;
	struct blob_info b = {
		.id = sqlite3_column_int64(st, 0),
		.container = sqlite3_column_int64(st, 1),
		.name = db_column_text(st, 2, &oom),
		.snapshot = sqlite3_column_int64(st, 3),
		.content = sqlite3_column_int64(st, 4),
		.size = (uint64_t)sqlite3_column_int64(st, 5),
		.stamp = sqlite3_column_int64(st, 6),
		.created = sqlite3_column_int64(st, 7),
		.headers =
			{
				.content_type = db_column_text(st, 8, &oom),
				.encoding = db_column_text(st, 9, &oom),
				.language = db_column_text(st, 10, &oom),
				.cache_control = db_column_text(st, 11, &oom),
				.disposition = db_column_text(st, 12, &oom),
				.md5 = db_column_text(st, 13, &oom),
			},
		.metadata = db_column_text(st, 14, &oom),
		.copy_id = db_column_text(st, 15, &oom),
		.copy_source = db_column_text(st, 16, &oom),
		.copy_stamp = sqlite3_column_int64(st, 17),
		.tier = db_column_text(st, 18, &oom),
		.tier_stamp = sqlite3_column_int64(st, 19),
		.type = sqlite3_column_int(st, 20),
		.n_appended = (unsigned)sqlite3_column_int(st, 21),
		.sealed = sqlite3_column_int(st, 22),
		.tags = db_column_text(st, 23, &oom),
		.rehydrate = db_column_text(st, 24, &oom),
		.rehydrate_high = sqlite3_column_int(st, 25),
		.lease = db_lease_row(st, 26, &oom),
	};
	if (oom || !b.name || !b.metadata) {
		blob_info_clear(&b);
		return -ENOMEM;
	}
	blob_tier_settle(&b);
	*ret = b;
	return 0;
}

int db_blob_get(struct db *db, int64_t container, const char *name, blob_stamp snapshot,
		struct blob_info *ret)
{
	struct sqlite3_stmt *st = db_stmt(db, ST_BLOB_GET);
	sqlite3_bind_int64(st, 1, container);
	db_text(st, 2, name);
	sqlite3_bind_int64(st, 3, snapshot);
	int rc = db_step(st);
	if (rc == 1)
		rc = db_blob_row(st, ret);
	else if (rc == 0)
		rc = BE_BLOB_NOT_FOUND;
	sqlite3_reset(st);
	return rc;
}

/* --- opening --------------------------------------------------------------------------------- */

static int64_t single_number(struct db *db, enum stmt which)
{
	struct sqlite3_stmt *st = db_stmt(db, which);
	int64_t n = db_step(st) == 1 ? sqlite3_column_int64(st, 0) : 0;
	sqlite3_reset(st);
	return n;
}

/* A file that goes takes its sums along: its number may come again. */
static bool sweep_used(void *arg, int64_t file)
{
	return db_file_used_locked(arg, file) || sums_delete_locked(arg, file) < 0;
}

/* Old staged blocks go, then every data file that nothing names. */
static int recover(struct blob_store *s, struct adafs_err *reterr)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_STAGED_DELETE_OLD);
	sqlite3_bind_int64(st, 1, adafs_clock_wall_us() - STAGED_KEEP_US);
	int rc = db_run(st);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "cannot clean up the blob database");
	s->last_stamp = single_number(s->writer, ST_MAX_STAMP);
	s->last_id = single_number(s->writer, ST_MAX_ID);
	int64_t on_disk = 0, in_db = single_number(s->writer, ST_MAX_FILE);
	rc = data_sweep(s, sweep_used, s, &on_disk, reterr);
	s->next_file = (on_disk > in_db ? on_disk : in_db) + 1;
	return rc;
}

static int open_all(struct blob_store *s, const char *dir, struct adafs_err *reterr)
{
	ADAFS_FREE char *path = adafs_fmt("%s/blob.db", dir);
	s->dir = adafs_fmt("%s/data", dir);
	if (!path || !s->dir)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = adafs_mkdir_p(s->dir, 0700);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "cannot create '%s': %s", s->dir, strerror(-rc));
	rc = db_open(path, true, &s->writer, reterr);
	for (int i = 0; rc == 0 && i < N_READERS; i++) {
		struct db *db = NULL;
		rc = db_open(path, false, &db, reterr);
		if (rc == 0) {
			db->next = s->readers;
			s->readers = db;
		}
	}
	return rc < 0 ? rc : recover(s, reterr);
}

int blob_store_open(const char *dir, struct blob_store **ret_store, struct adafs_err *reterr)
{
	struct blob_store *s = calloc(1, sizeof(*s));
	if (!s)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	adafs_mutex_init(&s->lock, ADAFS_RANK_STORE);
	adafs_mutex_init(&s->readers_lock, ADAFS_RANK_LEAF);
	adafs_cond_init(&s->reader_idle);
	adafs_cond_init(&s->group_done);
	int rc = open_all(s, dir, reterr);
	if (rc < 0) {
		blob_store_close(s);
		return rc;
	}
	*ret_store = s;
	return 0;
}

void blob_store_close(struct blob_store *s)
{
	if (!s)
		return;
	uploads_free(s);
	while (s->readers) {
		struct db *next = s->readers->next;
		db_close(s->readers);
		s->readers = next;
	}
	db_close(s->writer);
	adafs_cond_clear(&s->group_done);
	adafs_cond_clear(&s->reader_idle);
	adafs_mutex_clear(&s->readers_lock);
	adafs_mutex_clear(&s->lock);
	free(s->dropped);
	free(s->dir);
	free(s);
}
