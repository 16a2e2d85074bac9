/* foreman/pool_make.h - from settings to the body of POST /pools. Pure functions. */
#ifndef ADAFS_FOREMAN_POOL_MAKE_H
#define ADAFS_FOREMAN_POOL_MAKE_H

#include "batch/base/json.h"
#include "batch/foreman/pool_formula.h"
#include "batch/foreman/pool_settings.h"
#include "batch/pipeline/pipeline.h"

/* How often the service looks at the formula: its shortest. */
#define POOL_INTERVAL "PT5M"

/* The n-th VM size of the list; free() it. NULL: there is none (or no memory). */
char *pool_settings_size(const struct adafs_pool_settings *s, unsigned n);
/* The number of a VM size in the list; -1: it is not there. */
int pool_settings_find_size(const struct adafs_pool_settings *s, const char *vm_size);
/* Task slots of a node. */
int pool_settings_slots(const struct adafs_pool_settings *s, const struct adafs_pipeline *p);
/* What the formula is made from; now_us: the service's time. */
void pool_settings_formula(const struct adafs_pool_settings *s, const struct adafs_pipeline *p,
			   int64_t now_us, struct pool_formula *ret);
/* NULL: out of memory. It holds the registry's password. */
cJSON *pool_make_body(const struct adafs_pool_settings *s, const struct adafs_pipeline *p,
		      const char *id, const char *vm_size, int64_t now_us);

#endif
