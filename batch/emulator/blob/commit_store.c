/*
 * Group commit: writers that come while the disk is busy run one after the other in one
 * transaction, each in a savepoint of its own, and the last of them commits for all. Nobody waits
 * for company: whoever finds nobody else at the door commits at once.
 */
#include "batch/emulator/blob/store_db.h"

#include <errno.h>
#include <stdlib.h>

#include <sqlite3.h>

#define MAX_GROUP 256 /* operations of one transaction: the first of them waits for the last */

/* Operations that share one transaction. */
struct group {
	unsigned n_members; /* that will still look at it */
	unsigned n_ended;   /* operations in it */
	bool done;
	int rc; /* once done */
};

static struct group *group_take_locked(struct blob_store *s)
{
	struct group *g = s->group;
	if (!g) {
		g = calloc(1, sizeof(*g));
		if (!g || db_run(db_stmt(s->writer, ST_BEGIN)) < 0) {
			free(g);
			return NULL;
		}
		s->group = g;
	}
	g->n_members++;
	return g;
}

/* The group is over: its members may go, and what they dropped may be unlinked. */
static void group_done_locked(struct blob_store *s, int rc, int64_t **ret_gone, size_t *ret_n)
{
	struct group *g = ADAFS_STEAL(s->group);
	g->done = true;
	g->rc = rc;
	if (rc == 0)
		atomic_fetch_add(&s->version, 1);
	*ret_n = rc == 0 ? s->n_dropped : 0;
	*ret_gone = ADAFS_STEAL(s->dropped);
	s->n_dropped = 0;
	adafs_cond_broadcast(&s->group_done);
}

/*
 * The savepoint of an operation ends; rc as it stays. The whole transaction may have ended with it.
 */
static int operation_end_locked(struct blob_store *s, int rc)
{
	if (rc == 0)
		rc = db_run(db_stmt(s->writer, ST_RELEASE));
	if (rc != 0) {
		s->n_dropped = s->n_dropped_before;
		if (!sqlite3_get_autocommit(s->writer->h)) {
			(void)db_run(db_stmt(s->writer, ST_ROLLBACK_TO));
			(void)db_run(db_stmt(s->writer, ST_RELEASE));
		}
	}
	return rc;
}

/*
 * Of the files that lost a reference, those that nothing refers to stay in the list; their sums go.
 */
static int dropped_settle_locked(struct blob_store *s)
{
	size_t n = 0;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < s->n_dropped; i++) {
		if (db_file_used_locked(s, s->dropped[i]) || upload_writes_locked(s, s->dropped[i]))
			continue;
		s->dropped[n++] = s->dropped[i];
		rc = sums_delete_locked(s, s->dropped[n - 1]);
	}
	s->n_dropped = n;
	return rc;
}

static int group_commit_locked(struct blob_store *s)
{
	if (sqlite3_get_autocommit(s->writer->h))
		return -EIO; /* an error such as a full disk has rolled everything back */
	int rc = dropped_settle_locked(s);
	if (rc == 0)
		rc = db_run(db_stmt(s->writer, ST_COMMIT));
	if (rc != 0 && !sqlite3_get_autocommit(s->writer->h))
		(void)db_run(db_stmt(s->writer, ST_ROLLBACK));
	return rc;
}

/* The lock stays held when it succeeds. */
ADAFS_UNCHECKED int db_begin(struct blob_store *s)
{
	atomic_fetch_add(&s->n_waiting, 1);
	adafs_mutex_lock(&s->lock);
	atomic_fetch_sub(&s->n_waiting, 1);
	struct group *g = group_take_locked(s);
	if (!g) {
		adafs_mutex_unlock(&s->lock);
		return -EIO;
	}
	s->n_dropped_before = s->n_dropped;
	int rc = db_run(db_stmt(s->writer, ST_SAVEPOINT));
	return rc < 0 ? db_end(s, rc) : 0;
}

/* Gives up the lock of db_begin. */
ADAFS_UNCHECKED int db_end(struct blob_store *s, int rc)
{
	struct group *g = s->group;
	int64_t *gone = NULL;
	size_t n = 0;
	rc = operation_end_locked(s, rc);
	g->n_ended++;
	bool lost = sqlite3_get_autocommit(s->writer->h);
	if (lost || atomic_load(&s->n_waiting) == 0 || g->n_ended >= MAX_GROUP)
		group_done_locked(s, group_commit_locked(s), &gone, &n);
	/*
	 * Who was refused waits too: what he was told may rest on a write that is not on disk yet.
	 */
	while (!g->done)
		adafs_cond_wait(&s->group_done, &s->lock);
	if (rc == 0)
		rc = g->rc;
	bool last = --g->n_members == 0;
	adafs_mutex_unlock(&s->lock);
	/* Numbers are never used twice, so nothing can refer to these any more. */
	for (size_t i = 0; i < n; i++)
		data_unlink(s, gone[i]);
	free(gone);
	if (last)
		free(g);
	return rc;
}
