/*
 * emulator/batch/api/spec.h - request bodies: checked against a table, copied in the service's
 * spelling (enums in lower case, durations normalised), unknown members refused.
 */
#ifndef ADAFS_EMULATOR_BATCH_SPEC_H
#define ADAFS_EMULATOR_BATCH_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "batch/base/json.h"

enum batch_spec_type {
	SPEC_STRING, /* at most max bytes; 0: no limit */
	SPEC_ID,     /* 1..64 of [A-Za-z0-9_-] */
	SPEC_INT,    /* min..max */
	SPEC_BOOL,
	SPEC_DURATION, /* min..max ms; max 0: no limit */
	SPEC_TIME,     /* ISO 8601 */
	SPEC_ENUM,     /* one of names, any case */
	SPEC_OBJECT,   /* fields */
	SPEC_LIST,     /* of objects with fields, at most max of them; 0: no limit */
	SPEC_STRINGS,  /* a list of texts */
	SPEC_ENUMS,    /* a list of names */
	SPEC_ANY,      /* copied as it is */
	SPEC_IGNORED,  /* accepted and dropped */
};

struct batch_spec_field {
	const char *name; /* NULL ends a table */
	enum batch_spec_type type;
	bool required;
	int64_t min, max;
	const char *const *names;              /* SPEC_ENUM, SPEC_ENUMS; ends with NULL */
	const struct batch_spec_field *fields; /* SPEC_OBJECT, SPEC_LIST */
};

/* Why a body is refused, in the service's terms. */
struct batch_spec_error {
	const char *code; /* "InvalidPropertyValue"; static */
	char property[128];
	char reason[256];
};

/*
 * Check body against fields; *ret is a normalised copy, without members whose value is null.
 * 0; -EINVAL with why filled; -ENOMEM.
 */
int batch_spec_check(const struct batch_spec_field *fields, const cJSON *body, cJSON **ret,
		     struct batch_spec_error *why) ADAFS_MUST_CHECK;

/* Members of change replace those of the spec; change is left empty. 0 or -ENOMEM. */
int batch_spec_merge(cJSON *spec, cJSON *change) ADAFS_MUST_CHECK;

extern const struct batch_spec_field batch_spec_pool_add[];
extern const struct batch_spec_field batch_spec_pool_patch[];
extern const struct batch_spec_field batch_spec_pool_patch_2024[]; /* from 2024-07-01 on */
extern const struct batch_spec_field batch_spec_pool_replace[];
extern const struct batch_spec_field batch_spec_pool_autoscale[];
extern const struct batch_spec_field batch_spec_pool_evaluate[];
extern const struct batch_spec_field batch_spec_pool_resize[];
extern const struct batch_spec_field batch_spec_pool_remove_nodes[];
extern const struct batch_spec_field batch_spec_node_reboot[];
extern const struct batch_spec_field batch_spec_node_reimage[];
extern const struct batch_spec_field batch_spec_node_deallocate[];
extern const struct batch_spec_field batch_spec_node_disable[];
extern const struct batch_spec_field batch_spec_node_user_add[];
extern const struct batch_spec_field batch_spec_node_user_put[];
extern const struct batch_spec_field batch_spec_node_logs[];
extern const struct batch_spec_field batch_spec_job_add[];
extern const struct batch_spec_field batch_spec_job_patch[];
extern const struct batch_spec_field batch_spec_job_put[];
extern const struct batch_spec_field batch_spec_job_terminate[];
extern const struct batch_spec_field batch_spec_job_disable[];
extern const struct batch_spec_field batch_spec_task_add[];
extern const struct batch_spec_field batch_spec_task_put[];

/* Fill in what GET shows of a body that left it out. 0 or -ENOMEM. */
int batch_spec_pool_defaults(cJSON *spec);
/* Of the start task alone, which a patch may have brought. */
int batch_spec_start_task_defaults(cJSON *pool);
int batch_spec_job_defaults(cJSON *spec);
/* job: the defaults that a task takes from its job; NULL in a test. */
int batch_spec_task_defaults(cJSON *spec, const cJSON *job);

#endif
