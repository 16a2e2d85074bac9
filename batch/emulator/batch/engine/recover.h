/*
 * emulator/batch/engine/recover.h - from what is on disk to what goes on: the start of the service.
 */
#ifndef ADAFS_EMULATOR_BATCH_RECOVER_H
#define ADAFS_EMULATOR_BATCH_RECOVER_H

#include "batch/emulator/batch/service.h"

/*
 * Load the state, end the processes of a predecessor, put its running tasks back into the queue,
 * carry on what it was in the middle of, and make the pool `local` as configured. Before any
 * thread.
 */
int service_recover(struct batch_service *s, struct adafs_err *reterr) ADAFS_MUST_CHECK;

#endif
