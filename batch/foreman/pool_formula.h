/*
 * foreman/pool_formula.h - the autoscale formula of pools that adafs makes. Pure text. It lives in
 * the Batch service and acts when no adafs does: the pool is empty within 20 minutes of its last
 * task.
 *
 * The first line is a comment that says what the formula was made from, so that any mount can put a
 * floor into a pool's formula without knowing the settings of the mount that made the pool.
 */
#ifndef ADAFS_FOREMAN_POOL_FORMULA_H
#define ADAFS_FOREMAN_POOL_FORMULA_H

#include <stdbool.h>
#include <stdint.h>

#include "batch/base/err.h"

/* A pool that was just made, or was just given work, keeps a node so long. */
#define POOL_FORMULA_FIRST_US (INT64_C(10) * 60 * 1000000)
/* A floor set by hand lasts so long unless it says otherwise, and at most so long. */
#define POOL_FORMULA_FLOOR_MIN 60
#define POOL_FORMULA_FLOOR_MAX_MIN (24 * 60)

struct pool_formula {
	int dedicated, spot;    /* the most nodes of each kind; spot nodes are for what is above */
	int tasks_per_node;     /* that run side by side on one; at least 1 */
	int64_t first_until_us; /* one node until then; 0: no such floor */
	int floor;              /* nodes that are kept until floor_until_us; 0: none */
	int64_t floor_until_us;
};

/* The formula's text; free() it. NULL: out of memory. */
char *pool_formula_make(const struct pool_formula *pf);
/* What a formula was made from. False: adafs did not make it. */
bool pool_formula_parse(const char *text, struct pool_formula *ret);

#endif
