/* emulator/batch/node/transfer_internal.h - what downloads and uploads share. */
#ifndef ADAFS_EMULATOR_BATCH_TRANSFER_INTERNAL_H
#define ADAFS_EMULATOR_BATCH_TRANSFER_INTERNAL_H

#include "batch/emulator/batch/node/transfer.h"

/* Whether to stop: killed, or past the time limit. */
bool transfer_cancelled(const struct batch_transfer *t);

#endif
