/*
 * emulator/batch/engine/execution.h - what is recorded of a command that runs, or ran last, on a
 * node: of a task, of a job's preparation and release task on each node, of a node's start task.
 * Part of the entity whose row holds it; under the service's lock.
 */
#ifndef ADAFS_EMULATOR_BATCH_EXECUTION_H
#define ADAFS_EMULATOR_BATCH_EXECUTION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "batch/base/json.h"

struct run;

struct execution {
	int64_t start_us, end_us; /* 0: absent */
	bool has_exit_code;
	int exit_code;
	cJSON *failure;     /* failureInfo; NULL: none */
	char *container_id; /* owned; NULL: it ran in none */
	int retry_count;
	int64_t last_retry_us;
	pid_t pid;          /* of the running process, leader of its session; 0: none */
	uint64_t pid_start; /* its start time in clock ticks: a recycled pid has another */
	/* enum run_stop: what was asked of the run; recorded, so that it holds over a crash. */
	int ending;

	struct run *run; /* NULL: not on a node; not stored */
};

/* Free what it owns. */
void execution_clear(struct execution *x);
/* As if it had never run, but for the counts of retries, which a task keeps over its runs. */
void execution_restart(struct execution *x);
/* As if it had never run. It has no run. */
void execution_reset(struct execution *x);
/* Completed so; takes the failure. */
void execution_end(struct execution *x, int64_t now_us, bool has_exit_code, int exit_code,
		   cJSON **failure);

/* Add the stored members to an object, and read them again. Load: 0 or -ENOMEM. */
void execution_put(const struct execution *x, cJSON *o);
int execution_load(struct execution *x, const cJSON *o);

#endif
