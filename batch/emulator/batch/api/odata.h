/*
 * emulator/batch/api/odata.h - $filter and $select of the Batch lists.
 *
 * A filter is comparisons (eq ne ge gt le lt) and startswith, joined by and, or and parentheses.
 * Each list allows certain properties, each with certain operators; anything else is refused, as
 * the service does.
 */
#ifndef ADAFS_EMULATOR_BATCH_ODATA_H
#define ADAFS_EMULATOR_BATCH_ODATA_H

#include <stdbool.h>
#include <stddef.h>

#include "batch/base/json.h"

enum odata_type { ODATA_STRING, ODATA_TIME, ODATA_INT, ODATA_BOOL };
enum {
	ODATA_EQ = 1,
	ODATA_NE = 2,
	ODATA_ORDER = 4, /* ge gt le lt */
	ODATA_STARTS = 8,
};
/* The operator sets of batch-rest.md section 3.6. */
#define ODATA_E (ODATA_EQ | ODATA_NE)
#define ODATA_T (ODATA_E | ODATA_ORDER)
#define ODATA_S (ODATA_T | ODATA_STARTS)

struct odata_property {
	const char *name; /* "executionInfo/exitCode"; NULL ends a table */
	enum odata_type type;
	unsigned ops;
	const char *path; /* where it stands in the entity; NULL: as its name */
};

/* Rows of a table, by the operator sets. */
#define ODATA_ROW_S(n)                         \
	{                                      \
		n, ODATA_STRING, ODATA_S, NULL \
	}
#define ODATA_ROW_E(n)                         \
	{                                      \
		n, ODATA_STRING, ODATA_E, NULL \
	}
#define ODATA_ROW_T(n)                       \
	{                                    \
		n, ODATA_TIME, ODATA_T, NULL \
	}
#define ODATA_ROW_B(n)                       \
	{                                    \
		n, ODATA_BOOL, ODATA_E, NULL \
	}
#define ODATA_ROW_INT(n)                    \
	{                                   \
		n, ODATA_INT, ODATA_T, NULL \
	}
#define ODATA_ROW_EQ(n)                         \
	{                                       \
		n, ODATA_STRING, ODATA_EQ, NULL \
	}

struct odata_filter;

/* Parse a filter. 0; -EINVAL with a sentence in reterr; -ENOMEM. */
int odata_filter_parse(const char *text, const struct odata_property *allowed,
		       struct odata_filter **ret, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* Whether an entity, as its full JSON, passes. A NULL filter passes everything. */
bool odata_filter_match(const struct odata_filter *f, const cJSON *entity);
void odata_filter_free(struct odata_filter *f);
void odata_filter_freep(struct odata_filter **f);

/* Whether a comma list names this top-level property; NULL selects everything. */
bool odata_selected(const char *select, const char *name);

#endif
