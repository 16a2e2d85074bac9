/*
 * emulator/batch/engine/job_own.h - what a job brings itself: its manager task and its pool. All
 * want the service's lock; none commits.
 */
#ifndef ADAFS_EMULATOR_BATCH_JOB_OWN_H
#define ADAFS_EMULATOR_BATCH_JOB_OWN_H

#include "batch/emulator/batch/service.h"

/*
 * The body of the manager task as that of an ordinary task; NULL: the job has none, or no memory.
 */
cJSON *job_manager_body(const cJSON *job);
/* Whether the end of this task ends its job. */
bool job_ends_with(const struct task *t);

/* The specification of a job's pool, or NULL: it runs on a pool that exists by itself. */
const cJSON *job_auto_pool(const cJSON *job);
/*
 * The body of that pool with a new id, which is put into the job's poolInfo too: there the engine
 * finds it. Clients see it in executionInfo only. NULL: out of memory.
 */
cJSON *job_auto_pool_body(cJSON *job);
/* The job has ended or goes: so does its pool, unless it is kept alive. */
void job_drop_pool_locked(struct batch_service *s, const struct job *j);

#endif
