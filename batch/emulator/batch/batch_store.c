/*
 * emulator/batch/batch_store.c - rows of JSON in SQLite, written in one transaction a commit.
 * Under the service's lock.
 */
#include "batch/emulator/batch/batch_store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/log.h"

/* Migration n brings a database of user_version n to n + 1. Never change one that was released. */
static const char *const migrations[] = {
	"CREATE TABLE pools(seq INTEGER PRIMARY KEY, id TEXT NOT NULL, spec TEXT NOT NULL,"
	" state TEXT NOT NULL);"
	"CREATE TABLE jobs(seq INTEGER PRIMARY KEY, id TEXT NOT NULL, spec TEXT NOT NULL,"
	" state TEXT NOT NULL);"
	"CREATE TABLE tasks(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, id TEXT NOT NULL,"
	" spec TEXT NOT NULL, state TEXT NOT NULL);"
	"CREATE INDEX tasks_of_job ON tasks(job);"
	"CREATE TABLE remembered(job INTEGER NOT NULL, key TEXT NOT NULL, PRIMARY KEY(job, key))"
	" WITHOUT ROWID;",
};

enum statement {
	ST_BEGIN,
	ST_COMMIT,
	ST_ROLLBACK,
	ST_PUT, /* three in a row: pools, jobs, tasks */
	ST_PUT_JOB,
	ST_PUT_TASK,
	ST_STATE,
	ST_STATE_JOB,
	ST_STATE_TASK,
	ST_DELETE,
	ST_DELETE_JOB,
	ST_DELETE_TASK,
	ST_DELETE_TASKS_OF_JOB,
	ST_DELETE_REMEMBERED,
	ST_REMEMBER,
	N_STATEMENTS,
};

static const char *const sql[N_STATEMENTS] = {
	[ST_BEGIN] = "BEGIN IMMEDIATE",
	[ST_COMMIT] = "COMMIT",
	[ST_ROLLBACK] = "ROLLBACK",
	[ST_PUT] = "INSERT OR REPLACE INTO pools(seq, id, spec, state) VALUES(?1, ?2, ?3, ?4)",
	[ST_PUT_JOB] = "INSERT OR REPLACE INTO jobs(seq, id, spec, state) VALUES(?1, ?2, ?3, ?4)",
	[ST_PUT_TASK] = "INSERT OR REPLACE INTO tasks(seq, id, spec, state, job)"
			" VALUES(?1, ?2, ?3, ?4, ?5)",
	[ST_STATE] = "UPDATE pools SET state = ?2 WHERE seq = ?1",
	[ST_STATE_JOB] = "UPDATE jobs SET state = ?2 WHERE seq = ?1",
	[ST_STATE_TASK] = "UPDATE tasks SET state = ?2 WHERE seq = ?1",
	[ST_DELETE] = "DELETE FROM pools WHERE seq = ?1",
	[ST_DELETE_JOB] = "DELETE FROM jobs WHERE seq = ?1",
	[ST_DELETE_TASK] = "DELETE FROM tasks WHERE seq = ?1",
	[ST_DELETE_TASKS_OF_JOB] = "DELETE FROM tasks WHERE job = ?1",
	[ST_DELETE_REMEMBERED] = "DELETE FROM remembered WHERE job = ?1",
	[ST_REMEMBER] = "INSERT OR IGNORE INTO remembered(job, key) VALUES(?1, ?2)",
};

struct batch_store {
	sqlite3 *db;
	sqlite3_stmt *stmt[N_STATEMENTS];
};

static int rc_of(int sqlite_rc)
{
	switch (sqlite_rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return -EACCES;
	default:
		return -EIO;
	}
}

static void finalizep(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
}

static int migrate(struct batch_store *st, struct adafs_err *reterr)
{
	ADAFS_CLEANUP(finalizep) sqlite3_stmt *stmt = NULL;
	if (sqlite3_prepare_v2(st->db, "PRAGMA user_version", -1, &stmt, NULL) != SQLITE_OK ||
	    sqlite3_step(stmt) != SQLITE_ROW)
		return adafs_err_set(reterr, -EIO, "batch state: %s", sqlite3_errmsg(st->db));
	int version = sqlite3_column_int(stmt, 0), n = (int)ADAFS_ARRAY_SIZE(migrations);
	sqlite3_reset(stmt);
	if (version > n)
		return adafs_err_set(reterr, -EINVAL,
				     "batch state was written by a newer adafs (version %d)",
				     version);
	for (; version < n; version++) {
		char *text = sqlite3_mprintf("BEGIN; %s PRAGMA user_version = %d; COMMIT",
					     migrations[version], version + 1);
		int rc = text ? sqlite3_exec(st->db, text, NULL, NULL, NULL) : SQLITE_NOMEM;
		sqlite3_free(text);
		if (rc != SQLITE_OK)
			return adafs_err_set(reterr, rc_of(rc), "batch state, migration %d: %s",
					     version + 1, sqlite3_errmsg(st->db));
	}
	return 0;
}

static int open_db(struct batch_store *st, const char *path, struct adafs_err *reterr)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
	int rc = sqlite3_open_v2(path, &st->db, flags, NULL);
	if (rc != SQLITE_OK)
		return adafs_err_set(reterr, rc_of(rc), "batch state %s: %s", path,
				     sqlite3_errstr(rc));
	sqlite3_busy_timeout(st->db, 5000);
	/* FULL: with WAL, NORMAL would lose the last commits in a power cut. */
	rc = sqlite3_exec(st->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", NULL,
			  NULL, NULL);
	if (rc != SQLITE_OK)
		return adafs_err_set(reterr, rc_of(rc), "batch state %s: %s", path,
				     sqlite3_errmsg(st->db));
	rc = migrate(st, reterr);
	if (rc < 0)
		return rc;
	for (int i = 0; i < N_STATEMENTS; i++) {
		rc = sqlite3_prepare_v3(st->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &st->stmt[i],
					NULL);
		if (rc != SQLITE_OK)
			return adafs_err_set(reterr, rc_of(rc), "batch state %s: %s", path,
					     sqlite3_errmsg(st->db));
	}
	return 0;
}

int batch_store_open(const char *path, struct batch_store **ret, struct adafs_err *reterr)
{
	struct batch_store *st = calloc(1, sizeof(*st));
	if (!st)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = open_db(st, path, reterr);
	if (rc < 0) {
		batch_store_close(st);
		return rc;
	}
	*ret = st;
	return 0;
}

void batch_store_close(struct batch_store *st)
{
	if (!st)
		return;
	for (int i = 0; i < N_STATEMENTS; i++)
		sqlite3_finalize(st->stmt[i]);
	sqlite3_close(st->db);
	free(st);
}

/* Run a statement whose parameters are bound, and make it ready for the next use. */
static int run(struct batch_store *st, enum statement which)
{
	int rc = sqlite3_step(st->stmt[which]);
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		adafs_log(ERROR, "batch", "state database: %s: %s", sql[which],
			  sqlite3_errmsg(st->db));
	sqlite3_reset(st->stmt[which]);
	sqlite3_clear_bindings(st->stmt[which]);
	return rc_of(rc);
}

int batch_store_begin(struct batch_store *st)
{
	return run(st, ST_BEGIN);
}

int batch_store_commit(struct batch_store *st)
{
	return run(st, ST_COMMIT);
}

void batch_store_rollback(struct batch_store *st)
{
	/* Some failures have rolled back by themselves. */
	if (!sqlite3_get_autocommit(st->db))
		run(st, ST_ROLLBACK);
}

int batch_store_save(struct batch_store *st, const struct entity *e)
{
	ADAFS_JSON *state = entity_state_json(e);
	ADAFS_FREE char *state_text = state ? adafs_json_print(state) : NULL;
	if (!state_text)
		return -ENOMEM;
	if (e->stored && !e->spec_dirty) {
		sqlite3_stmt *stmt = st->stmt[ST_STATE + e->kind];
		sqlite3_bind_int64(stmt, 1, (sqlite3_int64)e->seq);
		sqlite3_bind_text(stmt, 2, state_text, -1, SQLITE_STATIC);
		return run(st, ST_STATE + e->kind);
	}
	ADAFS_FREE char *spec_text = adafs_json_print(e->spec);
	if (!spec_text)
		return -ENOMEM;
	sqlite3_stmt *stmt = st->stmt[ST_PUT + e->kind];
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)e->seq);
	sqlite3_bind_text(stmt, 2, e->id, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 3, spec_text, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 4, state_text, -1, SQLITE_STATIC);
	if (e->kind == ENTITY_TASK) {
		const struct task *t = ADAFS_CONTAINER_OF(e, const struct task, e);
		sqlite3_bind_int64(stmt, 5, (sqlite3_int64)t->job->e.seq);
	}
	return run(st, ST_PUT + e->kind);
}

static int delete_by(struct batch_store *st, enum statement which, uint64_t seq)
{
	sqlite3_bind_int64(st->stmt[which], 1, (sqlite3_int64)seq);
	return run(st, which);
}

int batch_store_delete(struct batch_store *st, const struct entity *e)
{
	int rc = delete_by(st, ST_DELETE + e->kind, e->seq);
	if (rc == 0 && e->kind == ENTITY_JOB)
		rc = delete_by(st, ST_DELETE_TASKS_OF_JOB, e->seq);
	if (rc == 0 && e->kind == ENTITY_JOB)
		rc = delete_by(st, ST_DELETE_REMEMBERED, e->seq);
	return rc;
}

int batch_store_remember(struct batch_store *st, const struct job *j, const char *key)
{
	sqlite3_stmt *stmt = st->stmt[ST_REMEMBER];
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)j->e.seq);
	sqlite3_bind_text(stmt, 2, key, -1, SQLITE_STATIC);
	return run(st, ST_REMEMBER);
}

static int load_kind(struct batch_store *st, enum entity_kind kind,
		     const struct batch_store_loader *loader)
{
	static const char *const query[] = {
		[ENTITY_POOL] = "SELECT seq, 0, id, spec, state FROM pools ORDER BY seq",
		[ENTITY_JOB] = "SELECT seq, 0, id, spec, state FROM jobs ORDER BY seq",
		[ENTITY_TASK] = "SELECT seq, job, id, spec, state FROM tasks ORDER BY seq",
	};
	ADAFS_CLEANUP(finalizep) sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(st->db, query[kind], -1, &stmt, NULL);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		int err = loader->entity(loader->arg, kind, (uint64_t)sqlite3_column_int64(stmt, 0),
					 (uint64_t)sqlite3_column_int64(stmt, 1),
					 (const char *)sqlite3_column_text(stmt, 2),
					 (const char *)sqlite3_column_text(stmt, 3),
					 (const char *)sqlite3_column_text(stmt, 4));
		if (err < 0)
			return err;
	}
	return rc_of(rc);
}

int batch_store_load(struct batch_store *st, const struct batch_store_loader *loader)
{
	for (enum entity_kind kind = ENTITY_POOL; kind <= ENTITY_TASK; kind++) {
		int rc = load_kind(st, kind, loader);
		if (rc < 0)
			return rc;
	}
	ADAFS_CLEANUP(finalizep) sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(st->db, "SELECT job, key FROM remembered", -1, &stmt, NULL);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		int err = loader->remembered(loader->arg, (uint64_t)sqlite3_column_int64(stmt, 0),
					     (const char *)sqlite3_column_text(stmt, 1));
		if (err < 0)
			return err;
	}
	return rc_of(rc);
}
