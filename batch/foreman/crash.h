/*
 * foreman/crash.h - named moments of a submission at which a test may have the process killed. The
 * environment variable ADAFS_CRASH_AT holds one of
 *
 *   after-commit      at entry of adafs_foreman_submit: the image is committed, nothing else
 *   after-snapshot    the snapshots are made, the job is not
 *   after-job         the job is there without tasks
 *   after-half-tasks  half of the tasks are in (only then they are added in two calls)
 *   before-patch      all tasks are in, the job does not end by itself yet
 *   after-patch       the job ends by itself
 *   before-manifest   everything but the manifest is done (the moment just before its Put)
 *
 * and the process sends itself SIGKILL there. Unset, it costs one comparison.
 */
#ifndef ADAFS_FOREMAN_CRASH_H
#define ADAFS_FOREMAN_CRASH_H

#include <stdbool.h>

/* Whether this moment was asked for. */
bool foreman_crash_wanted(const char *moment);
/* Die here if this moment was asked for. */
void foreman_crash_point(const char *moment);

#endif
