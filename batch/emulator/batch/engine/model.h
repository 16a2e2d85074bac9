/*
 * emulator/batch/engine/model.h - pools, nodes, jobs and tasks in memory. All of it is guarded by
 * the service's lock. Every change marks its entity dirty; service_commit_locked writes the dirty
 * ones in one transaction, and nothing is answered or started before that succeeded.
 */
#ifndef ADAFS_EMULATOR_BATCH_MODEL_H
#define ADAFS_EMULATOR_BATCH_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "batch/base/json.h"
#include "batch/emulator/batch/engine/execution.h"
#include "batch/emulator/batch/strmap.h"

enum entity_kind { ENTITY_POOL, ENTITY_JOB, ENTITY_TASK };

enum pool_state { POOL_ACTIVE, POOL_DELETING };
enum job_state {
	JOB_ACTIVE,
	JOB_DISABLING,
	JOB_DISABLED,
	JOB_ENABLING,
	JOB_TERMINATING,
	JOB_COMPLETED,
	JOB_DELETING,
};
enum task_state { TASK_ACTIVE, TASK_PREPARING, TASK_RUNNING, TASK_COMPLETED };

/* What pools, jobs and tasks have in common. The ETag is made of modified_us. */
struct entity {
	enum entity_kind kind;
	uint64_t seq; /* order of creation over all entities; the primary key */
	char *id;     /* as given */
	char *key;    /* in lower case: how it is looked up */
	cJSON *spec;  /* body of the add, normalised and with defaults; changed by PATCH and PUT */
	int state, prev_state; /* prev_state -1: no transition yet */
	int64_t created_us, modified_us, state_us, prev_state_us;

	bool dirty;      /* in the service's list of what must be written */
	bool spec_dirty; /* the spec too */
	bool stored;     /* the database has a row of it */
	bool gone;       /* delete the row and free the entity at the next commit */
	TAILQ_ENTRY(entity) dirty_link;
};

/* Entities in order of their keys; sorted only when somebody lists them. */
struct entity_list {
	struct entity **item;
	size_t n, size;
	bool sorted;
	struct strmap by_key;
};

/*
 * Why a node is away: an operator, or preemption (the numbers are stored); it takes no task unless
 * it is up.
 */
enum node_down {
	NODE_UP,
	NODE_REBOOTING,
	NODE_REIMAGING,
	NODE_DEALLOCATING,
	NODE_DEALLOCATED,
	NODE_PREEMPTED,
};

/*
 * A node's start task (the numbers are stored). A node that waits for it, or that it failed on,
 * takes no task.
 */
enum start_state { START_NONE, START_WANTED, START_RUNNING, START_DONE, START_FAILED };

struct pool;
struct node {
	TAILQ_ENTRY(node) link;
	struct pool *pool;
	char id[40]; /* tvmps_<hex>_d, _p for low priority */
	bool dedicated;
	bool leaving;  /* takes no more tasks and goes when the last has ended */
	bool disabled; /* schedulingState */
	enum node_down down;
	int64_t boot_us; /* 0: as allocated_us */
	enum start_state start_state;
	bool start_gates; /* waitForSuccess of the start task that it booted with */
	struct execution start;
	unsigned used_slots, n_running;
	unsigned n_own; /* runs that are no tasks: start, preparation and release */
	uint64_t total_run, total_succeeded;
	int64_t allocated_us, state_us;
};
TAILQ_HEAD(node_list, node);

struct pool {
	struct entity e;
	struct node_list nodes;
	unsigned slots; /* of a node */
	bool pack;
	bool resizing;
	bool resize_stopped;   /* the last resize, by an operator */
	bool resize_timed_out; /* the last resize: its nodes did not come in time */
	bool stopping;         /* a resize, until the scheduler has looked at it */
	int64_t allocation_us;
	int64_t grow_us;         /* when missing nodes come to be; 0: none is awaited */
	uint64_t next_node;      /* number of the next node, never reused */
	struct autoscale *scale; /* samples, last evaluation; NULL: none yet */
};

struct task;
TAILQ_HEAD(task_list, task);

/* A job's preparation task on a node (the numbers are stored). */
enum prep_state { PREP_WANTED, PREP_RUNNING, PREP_DONE, PREP_FAILED };
/*
 * How a job's own tasks fare on a node, from the first task that was placed there on. See
 * job_node.h.
 */
struct job_node {
	TAILQ_ENTRY(job_node) link;
	struct job *job;
	struct node *node; /* NULL: it has left its pool */
	char *pool_id, *node_id;
	enum prep_state state;
	bool released; /* the release task has run, or has nothing to undo */
	struct execution prep, release;
};
TAILQ_HEAD(job_node_list, job_node);

/* Tasks and their slots, by what taskcounts shows. */
struct task_counts {
	unsigned active, running, succeeded, failed;
	unsigned active_slots, running_slots, succeeded_slots, failed_slots;
};

struct job {
	struct entity e;
	struct entity_list tasks;
	struct task_list ready; /* active, all dependencies satisfied, in the order to run */
	struct strmap
		satisfied; /* keys of dependencies that hold: lower-case ids and "#<number>" */
	struct strmap
		waiters; /* key -> first struct task that waits for it (linked by wait_next) */
	struct task_counts counts;
	struct counts_history *history; /* NULL: none kept; see counts_history.h */
	unsigned n_runs;                /* tasks that occupy a node */
	unsigned n_own;                 /* runs of its preparation and release task */
	struct job_node_list nodes;     /* where its preparation task was wanted */
	struct strmap nodes_by_id;
	bool prepares;            /* it has a preparation task */
	bool prep_gates;          /* whose success its tasks wait for */
	char *pool_key;           /* lower-case id of the pool it is bound to */
	int64_t start_us, end_us; /* end 0: not ended */
	char *terminate_reason;   /* NULL: not ended */
	int64_t deadline_us;      /* by constraints.maxWallClockTime; INT64_MAX: none */
};

enum task_result { RESULT_NONE, RESULT_SUCCESS, RESULT_FAILURE };

struct task {
	struct entity e;
	struct job *job;
	unsigned slots;
	struct execution exec;
	enum task_result result;
	int requeue_count;
	int64_t last_requeue_us;
	bool satisfies;          /* completed, and dependents may run */
	bool files_gone;         /* retention is over */
	char *pool_id, *node_id; /* where it runs or ran last; NULL: nowhere yet */

	/* Derived */
	bool in_ready;
	TAILQ_ENTRY(task) ready_link;
	size_t dep_cursor;    /* dependencies before it hold; they never stop holding */
	int64_t range_cursor; /* next number of the range at dep_cursor; INT64_MIN: its start */
	char *waits_for;      /* key in job->waiters; NULL: waits for none */
	struct task *wait_next;
};

const char *pool_state_name(int state);
const char *job_state_name(int state);
const char *task_state_name(int state);

/* Of a job on a node; the second one makes it if need be. NULL: there is none, out of memory. */
struct job_node *job_find_node(const struct job *j, const struct node *n);
struct job_node *job_add_node(struct job *j, struct node *n);

/* Lower-case copy; free(). NULL: out of memory. */
char *key_of(const char *id);

/* Takes ownership of spec, also on failure. NULL: out of memory. */
struct pool *pool_new(const char *id, cJSON *spec);
struct job *job_new(const char *id, cJSON *spec);
struct task *task_new(struct job *job, const char *id, cJSON *spec);
/* Frees the entity and all that it owns (a job: its tasks). */
void entity_free(struct entity *e);

/* Read again what is derived from the spec. 0 or -ENOMEM. */
int pool_load_spec(struct pool *p);
int job_load_spec(struct job *j);

/* The mutable part as stored. NULL: out of memory. */
cJSON *entity_state_json(const struct entity *e);
int entity_state_load(struct entity *e, const cJSON *json);

static inline struct pool *entity_pool(struct entity *e)
{
	return ADAFS_CONTAINER_OF(e, struct pool, e);
}

static inline struct job *entity_job(struct entity *e)
{
	return ADAFS_CONTAINER_OF(e, struct job, e);
}

static inline struct task *entity_task(struct entity *e)
{
	return ADAFS_CONTAINER_OF(e, struct task, e);
}

int entity_list_add(struct entity_list *l, struct entity *e) ADAFS_MUST_CHECK;
void entity_list_remove(struct entity_list *l, struct entity *e);
/* Any spelling of the id; NULL: none. */
struct entity *entity_list_find(const struct entity_list *l, const char *id);
void entity_list_sort(struct entity_list *l);
/* Frees the list, not the entities. */
void entity_list_clear(struct entity_list *l);

/* Add (sign 1) or take away (-1) a task in its job's counts, as its state and result are now. */
void task_count(struct task *t, int sign);

struct node *pool_find_node(struct pool *p, const char *id);
/* A node with a new id. NULL: out of memory. */
struct node *pool_add_node(struct pool *p, bool dedicated, int64_t now_us);
void pool_remove_node(struct pool *p, struct node *n);

/* "0x8D..." of a time of modification. */
#define ENTITY_ETAG_LEN 24
void entity_etag(const struct entity *e, char out[ENTITY_ETAG_LEN]);

#endif
