/*
 * emulator/batch/engine/deps.h - what a task waits for, and what its end does to others.
 *
 * A dependency once satisfied holds for ever, even when its task is deleted or reactivated. So a
 * task looks at its dependencies in order, stops at the first that does not hold, and is woken
 * when exactly that one comes to hold: each costs one look-up, however large the job.
 */
#ifndef ADAFS_EMULATOR_BATCH_DEPS_H
#define ADAFS_EMULATOR_BATCH_DEPS_H

#include <stdbool.h>

#include "batch/emulator/batch/engine/model.h"

/* How a task ended. */
enum batch_outcome {
	OUTCOME_EXIT,          /* the process ended by itself */
	OUTCOME_PREPROCESSING, /* it never started */
	OUTCOME_UPLOAD,        /* it ended, and an output file could not be stored */
	OUTCOME_ENDED,         /* killed by a user or a limit */
};
enum batch_job_action { JOB_ACTION_NONE, JOB_ACTION_DISABLE, JOB_ACTION_TERMINATE };
struct batch_exit_action {
	bool satisfy;
	enum batch_job_action
		job; /* acted on only with onTaskFailure=performexitoptionsjobaction */
};
/*
 * Choose by exitConditions (NULL: none): exit code, range, then the kind's own entry, then
 * `default`, then what the service does without any.
 */
struct batch_exit_action batch_exit_action(const cJSON *conditions, enum batch_outcome outcome,
					   bool has_exit_code, int exit_code);
/* Whether any exitOptions names a jobAction. */
bool batch_exit_has_job_action(const cJSON *conditions);

/*
 * Look at the dependencies of an active task. True: all hold. False: it is in the waiters of the
 * first that does not. -ENOMEM counts as false and is tried again with the next look.
 */
bool deps_check(struct task *t);
/* Take a task out of the waiters. */
void deps_unwait(struct task *t);
/*
 * The task with this id satisfies from now on. Calls ready for each task whose dependencies hold
 * all together now. 0 or -ENOMEM.
 */
int deps_satisfy(struct job *j, const char *task_key, void (*ready)(void *arg, struct task *t),
		 void *arg);
/* Load a remembered key into a job. 0 or -ENOMEM. */
int deps_remember(struct job *j, const char *key);

#endif
