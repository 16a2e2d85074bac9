/*
 * emulator/batch/node/glob.h - the patterns of output files: * ? [abc] [a-c] [!x] within one
 * segment, ** for any directories. A leading dot is only matched by a dot.
 */
#ifndef ADAFS_EMULATOR_BATCH_GLOB_H
#define ADAFS_EMULATOR_BATCH_GLOB_H

#include <stdbool.h>

#include "batch/base/cleanup.h"

/* Whether one segment's name matches one segment's pattern. */
bool batch_glob_segment(const char *pattern, const char *name);
/* Whether a pattern has any wildcard. */
bool batch_glob_has_wildcard(const char *pattern);
/*
 * Find the regular files (symbolic links resolved) that match a pattern relative to dir, or an
 * absolute one. fn gets the file's path and its path relative to the base: the leading segments
 * before the first that holds a wildcard; without a wildcard the base name. A negative return of fn
 * stops and is returned. 0, -ENOMEM or another negative errno. No match is no error.
 */
typedef int batch_glob_fn(void *arg, const char *path, const char *relative);
int batch_glob_walk(const char *dir, const char *pattern, batch_glob_fn *fn, void *arg);
/* Replace $NAME and ${NAME} by the environment's values, unknown ones by nothing. free() it. */
char *batch_glob_expand(const char *pattern, char *const *envp);

#endif
