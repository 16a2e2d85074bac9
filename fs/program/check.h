/* fs/program/check.h - the findings of `adafs check`: one line each, what was tried and what to do
 * about it. */
#ifndef ADAFS_FS_PROGRAM_CHECK_H
#define ADAFS_FS_PROGRAM_CHECK_H

#include <stdbool.h>

#include "fs/fs.h"

/* What a finding means for a mount. */
enum finding {
	FINDING_OK,
	FINDING_WARN, /* a mount works, with less than all */
	FINDING_FAIL, /* a mount would not work */
};

/* Print a finding; the text is freed, and NULL is out of memory. Returns whether a mount would
 * work. */
bool check_report(enum finding finding, const char *what, char *text);

/*
 * The Blob service: container, and what the credential may do there, tried by requests that change
 * nothing. Waits for the service. Returns whether a mount would work.
 */
bool check_blob(struct fs *fs);
/* The Batch service: pool, its nodes and errors, active jobs. pipeline: what is to run there; NULL:
 * unknown. */
bool check_batch(struct fs *fs, const struct adafs_pipeline *pipeline);

#endif
