/*
 * foreman/crash.h - named moments of a submission at which a test may have the process killed. The
 * environment variable ADAFS_CRASH_AT holds one of
 *
 *   after-commit      at entry of adafs_foreman_submit: the image is committed, nothing else
 *   after-retry       the manifest says that the job is to run again, nothing else
 *   after-snapshot    the snapshots are made, the job is not
 *   after-job         the job is there without tasks
 *   after-half-tasks  half of the tasks are in (only then they are added in two calls)
 *   before-patch      all tasks are in, the job does not end by itself yet
 *   after-patch       the job ends by itself
 *   after-merge-manifest, after-merge-job, after-half-merge   of a job that merges an event: what
 *                     it will merge is written down; it is there without tasks; with half of them
 *   after-half-members   of the Batch job of an event: half of its members are claimed, and in
 *   after-admission   a job that waited for the quota of active jobs is submitted
 *   before-manifest   everything but the manifest is done (the moment just before its Put)
 *
 * and the process sends itself SIGKILL there; with ":3" behind it when it comes there for the third
 * time. Unset, it costs one comparison.
 */
#ifndef ADAFS_FOREMAN_CRASH_H
#define ADAFS_FOREMAN_CRASH_H

#include <stdbool.h>

/* Whether this moment was asked for. */
bool foreman_crash_wanted(const char *moment);
/* Die here if this moment was asked for. */
void foreman_crash_point(const char *moment);

#endif
