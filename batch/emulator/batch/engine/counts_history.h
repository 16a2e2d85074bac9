/*
 * emulator/batch/engine/counts_history.h - task counts as they were a while ago, for the trap
 * stale_counts: the service's counts lag behind, and a client must not decide anything by them.
 */
#ifndef ADAFS_EMULATOR_BATCH_COUNTS_HISTORY_H
#define ADAFS_EMULATOR_BATCH_COUNTS_HISTORY_H

#include "batch/emulator/batch/engine/model.h"

/* Record a job's counts as they are. Without memory a moment is left out. */
void counts_note_locked(struct job *j, int64_t now_us);
/* The counts at that time; those of now when nothing was recorded. */
struct task_counts counts_at_locked(const struct job *j, int64_t us);

#endif
