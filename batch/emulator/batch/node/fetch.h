/*
 * emulator/batch/node/fetch.h - one download into a file, given up at once when the task is to end:
 * a source that hangs must not keep a killed task alive until its time-out.
 */
#ifndef ADAFS_EMULATOR_BATCH_FETCH_H
#define ADAFS_EMULATOR_BATCH_FETCH_H

#include "batch/emulator/batch/node/transfer.h"

/*
 * GET url into fd (written from its start, truncated when the request is repeated). 0; -ECANCELED;
 * any other negative errno with reterr. *ret_disk: the file could not be written.
 */
int batch_fetch(const struct batch_transfer *t, const char *url, int fd, bool *ret_disk,
		struct adafs_err *reterr);

#endif
