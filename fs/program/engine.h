/*
 * fs/program/engine.h - the embedded emulator as a mount uses it: found or started, watched, ended
 * when nobody needs it.
 *
 * Files of its directory: `lock` is held (flock) by a living emulator, `settings` is written by it
 * once it serves. `mounts` is held shared by each mount that uses it and exclusively by the one
 * that starts or ends it; `started` is the pid of an emulator that a mount started: only such a one
 * is ended by a mount.
 */
#ifndef ADAFS_FS_PROGRAM_ENGINE_H
#define ADAFS_FS_PROGRAM_ENGINE_H

#include "batch/base/err.h"
#include "fs/program/options.h"

struct engine;

/*
 * Attach to the emulator of dir, or start it and wait until it serves (at most 10 s). Its process
 * outlives the mount. No threads yet: to be called before a fork.
 */
int engine_open(const char *dir, struct engine **ret, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* Fill the accounts that are not configured from its settings. */
int engine_fill(const struct engine *e, struct options *o,
		struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* Watch it from a thread, and start it again when it dies. */
int engine_watch(struct engine *e, struct adafs_err *reterr) ADAFS_MUST_CHECK;
void engine_unwatch(struct engine *e);
/*
 * Let go of it. idle: its Batch has no active job; then it is ended if a mount had started it and
 * no other mount uses it. Accepts NULL.
 */
void engine_close(struct engine *e, bool idle);

#endif
