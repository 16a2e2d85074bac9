/*
 * emulator/batch/engine/start_task.h - start tasks: each node of a pool that has one runs it when
 * it boots, and takes tasks only after its success if that is waited for. All want the service's
 * lock; none commits.
 *
 *   (boot) -> WANTED -> RUNNING -> DONE | FAILED
 */
#ifndef ADAFS_EMULATOR_BATCH_START_TASK_H
#define ADAFS_EMULATOR_BATCH_START_TASK_H

#include "batch/emulator/batch/node/runner.h"

/* A node has booted: what its pool's body says now is what it runs. */
void start_task_boot_locked(struct batch_service *s, struct node *n);
/* Begin those that are wanted. */
void start_tasks_begin_locked(struct batch_service *s, struct run_list *started);
/* The end of such a run. Takes the result's failure. */
void start_task_ended_locked(struct batch_service *s, struct run *run, struct run_result *r);

#endif
