/*
 * emulator/batch/service.h - what the parts of the Batch service share.
 *
 * api/ answers requests, engine/ holds pools, jobs and tasks and decides what runs where, node/
 * runs one task as a node does, autoscale/ evaluates formulas; this folder has the service itself
 * and its database.
 *
 * Threads: the HTTP server's pool runs handlers (api_*.c), one scheduler thread starts tasks and
 * keeps deadlines (scheduler.c), one thread a running task moves its files and waits for its
 * process (runner.c), one deletes what was thrown away (janitor.c). All state is under one lock,
 * which is never held during network or bulk file work; only the database is written under it.
 */
#ifndef ADAFS_EMULATOR_BATCH_SERVICE_H
#define ADAFS_EMULATOR_BATCH_SERVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/azure/http.h"
#include "batch/base/buf.h"
#include "batch/base/mutex.h"
#include "batch/emulator/batch/batch_service.h"
#include "batch/emulator/batch/engine/model.h"
#include "batch/emulator/http.h"

struct batch_store;

struct batch_service {
	/* Constant after batch_service_new. */
	char *dir; /* DIR/batch, canonical */
	char *account;
	uint8_t *key;
	size_t key_len;
	unsigned local_nodes, local_slots;
	struct traps *traps;         /* borrowed; NULL: none */
	char *container_engine;      /* path of podman or docker; NULL: container tasks run on this
					machine */
	struct token_issuer *issuer; /* borrowed; NULL: no bearer tokens */
	bool no_shared_key;
	char *blob_authority; /* NULL: identities enter nowhere */
	struct http_server *server;
	char *endpoint;
	struct adafs_http *client; /* of the runners; exists from start to free */

	struct adafs_mutex lock;
	struct adafs_cond wake;     /* the scheduler has something to do */
	struct adafs_cond idle;     /* a run has ended */
	struct adafs_cond prepared; /* a preparation has ended, or who waits for it is to */
	struct adafs_cond trash_added;
	bool work; /* something changed since the scheduler's last pass */
	bool stopping;
	bool started;
	pthread_t scheduler, janitor;
	bool has_janitor;
	struct batch_store *store;
	struct entity_list pools, jobs;
	struct strmap node_users; /* "<node>/<name>"; see node_ops.h */
	TAILQ_HEAD(dirty_list, entity) dirty;
	uint64_t next_seq;
	int64_t last_us;                /* of service_now_locked */
	TAILQ_HEAD(run_list, run) runs; /* of tasks, jobs and nodes; see runner.h */
	unsigned n_runs;                /* in that list: their threads */
	uint64_t next_trash;
	bool trash;            /* something was thrown away */
	int64_t next_sweep_us; /* when files past their retention are looked for */
};

/* A time that is later than every one before: it makes ETags unique. */
int64_t service_now_locked(struct batch_service *s);
/* The entity's state must be written; spec: its spec too. */
void service_dirty_locked(struct batch_service *s, struct entity *e, bool spec);
/* Move to another state, remembering the one before. */
void service_set_state_locked(struct batch_service *s, struct entity *e, int state);
/* A change by a client: new ETag and Last-Modified. */
void service_touch_locked(struct batch_service *s, struct entity *e);
/*
 * Write what is dirty in one transaction. On failure everything stays dirty, in memory it holds,
 * and the scheduler tries again: the caller answers 500, whose outcome is open.
 */
int service_commit_locked(struct batch_service *s);
/* Wake the scheduler. */
void service_wake_locked(struct batch_service *s);

/* Undo the add of an entity that no commit has written. */
void service_forget_locked(struct batch_service *s, struct entity *e);

/* Move a directory out of the way at once; its bytes are deleted by the janitor thread. */
void service_trash_locked(struct batch_service *s, const char *path);
/* "DIR/batch/nodes/<node>/workitems/<job>/job-1/<task>"; free(). NULL: out of memory or no node. */
char *service_task_dir(const struct batch_service *s, const struct task *t);
/* The same of any task of a job, also one that the job has of its own. */
char *service_job_dir(const struct batch_service *s, const char *node_id, const struct job *j,
		      const char *task_id);
char *service_node_dir(const struct batch_service *s, const char *node_id);

/* The HTTP side: routes and handlers of everything in batch-rest. */
extern const struct http_service_ops batch_api_ops;

#endif
