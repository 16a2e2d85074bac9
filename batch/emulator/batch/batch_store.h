/*
 * emulator/batch/batch_store.h - the Batch state on disk: one SQLite database, rows of JSON.
 * Callers hold the service's lock, so there is one user at a time.
 */
#ifndef ADAFS_EMULATOR_BATCH_STORE_H
#define ADAFS_EMULATOR_BATCH_STORE_H

#include "batch/base/err.h"
#include "batch/emulator/batch/engine/model.h"

struct batch_store;

int batch_store_open(const char *path, struct batch_store **ret,
		     struct adafs_err *reterr) ADAFS_MUST_CHECK;
void batch_store_close(struct batch_store *st);

/* Nothing of a transaction lasts unless it is committed; commit returns after the bytes are on
 * disk. */
int batch_store_begin(struct batch_store *st);
int batch_store_commit(struct batch_store *st);
void batch_store_rollback(struct batch_store *st);

/* Insert or update an entity's row; the spec is only written when the row is new or spec_dirty. */
int batch_store_save(struct batch_store *st, const struct entity *e);
/* Delete the row of an entity; of a job: also its tasks' and what it remembers. */
int batch_store_delete(struct batch_store *st, const struct entity *e);
/* Remember that a dependency holds although its task is deleted. */
int batch_store_remember(struct batch_store *st, const struct job *j, const char *key);

/*
 * Read everything, in order of creation: pools, jobs, then tasks and remembered dependencies.
 * A negative return of a callback ends the load and is returned.
 */
struct batch_store_loader {
	int (*entity)(void *arg, enum entity_kind kind, uint64_t seq, uint64_t job_seq,
		      const char *id, const char *spec, const char *state);
	int (*remembered)(void *arg, uint64_t job_seq, const char *key);
	void *arg;
};
int batch_store_load(struct batch_store *st, const struct batch_store_loader *loader);

#endif
