/* base/json.h - cJSON with the checks that every reader of the services' bodies needs. */
#ifndef ADAFS_BASE_JSON_H
#define ADAFS_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "batch/base/err.h"

/* Parse a whole text; rubbish after the value is an error. NULL: -EINVAL in reterr with line and
 * column. */
cJSON *adafs_json_parse(const char *text, size_t len, struct adafs_err *reterr);
/* For ADAFS_CLEANUP. */
void adafs_json_freep(cJSON **j);
#define ADAFS_JSON ADAFS_CLEANUP(adafs_json_freep) cJSON

/* Member of an object by exact name, or NULL (also when object is NULL or none). */
const cJSON *adafs_json_get(const cJSON *object, const char *name);
/* Member by a path such as "executionInfo/startTime". */
const cJSON *adafs_json_path(const cJSON *object, const char *path);
/* Text of a member, or fallback when it is absent or no text; borrowed. */
const char *adafs_json_str(const cJSON *object, const char *name, const char *fallback);
/* Number of a member, or fallback. */
int64_t adafs_json_int(const cJSON *object, const char *name, int64_t fallback);
bool adafs_json_bool(const cJSON *object, const char *name, bool fallback);
/* Compact text of a value; free() it. NULL: out of memory. */
char *adafs_json_print(const cJSON *value);

#endif
