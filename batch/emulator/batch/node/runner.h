/*
 * emulator/batch/node/runner.h - one command on a node, of a task or of one of the tasks that jobs
 * and pools have of their own: a thread that brings its resource files, runs its command (again,
 * while retries are left), stores its output files, and reports the end.
 */
#ifndef ADAFS_EMULATOR_BATCH_RUNNER_H
#define ADAFS_EMULATOR_BATCH_RUNNER_H

#include <stdatomic.h>

#include "batch/emulator/batch/engine/deps.h"
#include "batch/emulator/batch/service.h"

/* Why a run is ended before its time. The first reason stays, but for deletion and shutdown. */
enum run_stop {
	RUN_STOP_NONE = 0,       /* the numbers are stored: struct task, ending */
	RUN_STOP_TERMINATE = 1,  /* task or job was terminated: the task completes as a failure */
	RUN_STOP_REQUEUE = 2,    /* the task becomes active again */
	RUN_STOP_DELETE = 3,     /* task or job is being deleted */
	RUN_STOP_SHUTDOWN = 4,   /* the service stops: the task stays recorded as running */
	RUN_STOP_UNPREPARED = 5, /* the job's preparation failed: the task becomes active again */
};

/* Whose command it is. */
enum run_kind { RUN_TASK, RUN_PREPARATION, RUN_RELEASE, RUN_START };
#define RUN_KIND(kind) (1U << (kind))

/* How it runs; copied. */
struct run_plan {
	const cJSON *spec;
	const char *id;    /* AZ_BATCH_TASK_ID; NULL: it has none */
	char *dir;         /* taken, also on failure */
	const char *limit; /* maxWallClockTime; NULL: none */
	int64_t retries;   /* -1: no limit */
};

struct container;

struct run {
	struct batch_service *s;
	enum run_kind kind;
	struct execution *exec;    /* where it is recorded */
	struct entity *owner;      /* whose row that is in; lives as long as the run */
	struct task *task;         /* NULL: no task of a client */
	struct job *job;           /* NULL: a start task has none */
	struct job_node *at;       /* NULL, but of preparation, release, and a task that waits */
	struct node *node;         /* lives as long as the run */
	TAILQ_ENTRY(run) link;     /* in a list of those to be launched */
	TAILQ_ENTRY(run) all_link; /* in the service's */
	enum run_stop stop;        /* under the service's lock */
	atomic_bool stopped;
	int stop_fd;    /* eventfd: written when stop is set */
	bool lose_node; /* TRAP_PREEMPT_EVERY: the node goes once the command runs */
	bool timed_out; /* by the task's own limit */

	struct container *container; /* owned; NULL: the command runs on this machine */

	/* Copies for use without the lock. */
	cJSON *spec;
	char *dir, *wd, *tmp_dir;
	char **envp;
	int retries_left; /* -1: no limit */
	int64_t limit_ms; /* maxWallClockTime; ADAFS_DURATION_NONE */
};

/* What a run came to. */
struct run_result {
	enum batch_outcome outcome;
	bool has_exit_code;
	int exit_code;
	cJSON *failure; /* owned; NULL: success */
};

/*
 * A run as far as `like` says whose it is (kind to node): its execution and node know of it, and it
 * is in the service's list, until sched_run_ended. NULL: out of memory or descriptors.
 */
struct run *run_new_locked(struct batch_service *s, const struct run *like, struct run_plan *plan);
/* Start the thread, after the new state was committed. 0 or -EAGAIN. */
int run_launch(struct run *run);
void run_stop_locked(struct run *run, enum run_stop stop);
/* Its execution and its node are free of it; only its memory is left. */
void run_leave_locked(struct run *run);
/* Those of some kinds (RUN_KIND) among the runs of a node or a job; NULL: of all. */
void run_stop_all_locked(struct batch_service *s, const struct node *n, const struct job *j,
			 unsigned kinds, enum run_stop stop);
void run_free(struct run *run);

/*
 * run_env.c: the environment of a run whose directories are known; strings_free. NULL: out of
 * memory.
 */
char **run_env_new(const struct run *run, const char *node_dir, const char *id);

/*
 * Wait for a process of the run or for a reason to kill it, then end all that the run has started,
 * and reap it. deadline_ms: monotonic time; UINT64_MAX: none. The exit code, 128 and the signal if
 * it was killed.
 */
int run_await(struct run *run, pid_t pid, uint64_t deadline_ms);

/* --- container_run.c: only its own thread calls these --- */
/*
 * If the task wants a container and there is an engine: bring its image. Negative: *ret_failure
 * says why.
 */
int run_container_open(struct run *run, uint64_t deadline_ms, cJSON **ret_failure);
/*
 * What the engine is called with for a command (NULL: the image's own); strings_free. NULL: out of
 * memory.
 */
char **run_container_argv(const struct run *run, char *const *command);
/* Whether its container came to be, whose id is then recorded; true, too, when there is none. */
bool run_container_begun(struct run *run);
/* Its process has ended; killed: by us. */
void run_container_ended(struct run *run, bool killed);
void run_container_free(struct run *run);

/* sched_tasks.c: the end of a run, called by its thread. Takes the result's failure. */
void sched_run_ended(struct run *run, struct run_result *result);

#endif
