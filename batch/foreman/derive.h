/*
 * foreman/derive.h - from what Batch says of a job's tasks to the states that users read. Pure
 * functions: no clock, no network, no lock.
 */
#ifndef ADAFS_FOREMAN_DERIVE_H
#define ADAFS_FOREMAN_DERIVE_H

#include "batch/foreman/table.h"

/* $select of a task list: all that derive_task_parse reads. */
#define DERIVE_TASK_SELECT "id,state,stateTransitionTime,executionInfo,nodeInfo"
/* The reason that adafs gives when it terminates a job for a user: any mount knows a cancelled job
 * by it. */
#define DERIVE_CANCEL_REASON "adafs: cancelled"
/* What a job that the user holds waits for. */
#define DERIVE_HELD_TEXT "held by the user: nothing more starts until 'release' is written to ctl"

enum derive_task_state {
	DERIVE_TASK_ACTIVE,
	DERIVE_TASK_PREPARING,
	DERIVE_TASK_RUNNING,
	DERIVE_TASK_COMPLETED,
};

/* A task as a list shows it. */
struct derive_task {
	char id[65];
	enum derive_task_state state;
	bool success; /* executionInfo.result */
	bool has_exit_code;
	int exit_code;
	bool in_container; /* one was made for it: what it needs is on the node */
	int requeues;      /* how often the service took it back, its node having gone */
	int64_t changed_us, started_us, finished_us; /* 0: not yet */
	char node[128];
	char failure_code[64];
	char failure_text[256];   /* the service's message */
	char failure_detail[256]; /* its details, "name: value" each */
};
/* 0, or -EPROTO when there is no id or state. Unknown states count as active. */
int derive_task_parse(const cJSON *item, struct derive_task *ret);

/* What is known of the Batch job as a whole. */
struct derive_job {
	bool ended;       /* completed: active tasks will never run */
	bool cancel;      /* this process was asked to cancel it */
	bool held;        /* disabled: nothing more of it starts */
	size_t n_awaited; /* members that have not ended, which its merges wait for */
	bool partial;     /* of tasks that are not given nothing has changed since they were last */
	char reason[128]; /* terminateReason; "": none */
	char scheduling_error[256];
};
/* Read state and executionInfo of a job's JSON into *ret; `cancel` is left as it is. */
void derive_job_parse(const cJSON *job, struct derive_job *ret);
/* Whether the job was ended for a user of adafs. */
bool derive_job_cancelled(const struct derive_job *job);

/* The pool, for sentences. */
struct derive_pool {
	const char *id;
	const char *state;   /* allocationState; "": unknown */
	int nodes;           /* -1: unknown */
	const char *trouble; /* why it lacks nodes; NULL or "": nothing is wrong */
	bool scaled;         /* it gets nodes by its formula */
	const char *image;   /* the container that the job's tasks run in; NULL: none */
	/* Of the nodes, when asked: able to run tasks, on their way there, failed before it, taken
	 * away for a while. */
	int usable, starting, broken, preempted;
};

/*
 * Bring the steps of a job to what the tasks say; logs what started and ended, in time order.
 * Returns whether anything changed.
 */
bool derive_steps(struct foreman_job *j, const struct derive_task *tasks, size_t n,
		  const struct derive_job *job, const struct derive_pool *pool);
/* Whether nothing more will happen: every step has ended. */
bool derive_all_ended(const struct foreman_job *j);
/* The job's state from its steps. */
enum adafs_state derive_job_state(const struct foreman_job *j, const struct derive_job *job);
/* Its sentence: what it waits for, or why it stopped and what to do. free() it; NULL: out of
 * memory. */
char *derive_job_sentence(const struct foreman_job *j, enum adafs_state state,
			  const struct derive_job *job, const struct derive_pool *pool);

/* What an exit code means, in words; out is always filled. */
void explain_exit(int code, char *out, size_t size);
/*
 * What a service failure code means and what to do; NULL: nothing to add to the service's own text.
 */
const char *explain_failure_code(const char *code);

#endif
