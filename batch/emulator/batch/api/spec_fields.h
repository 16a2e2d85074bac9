/*
 * emulator/batch/api/spec_fields.h - the words in which the tables of request bodies are written
 * (spec_pools.c, spec_jobs.c, spec_tasks.c), and the tables that several of them share.
 */
#ifndef ADAFS_EMULATOR_BATCH_SPEC_FIELDS_H
#define ADAFS_EMULATOR_BATCH_SPEC_FIELDS_H

#include "batch/emulator/batch/api/spec.h"

#define FIELDS static const struct batch_spec_field
#define NAMES static const char *const
#define END       \
	{         \
		0 \
	}
#define STRING(n)                              \
	{                                      \
		.name = n, .type = SPEC_STRING \
	}
#define STRING_MAX(n, limit)                                 \
	{                                                    \
		.name = n, .type = SPEC_STRING, .max = limit \
	}
#define STRING_REQ(n)                                            \
	{                                                        \
		.name = n, .type = SPEC_STRING, .required = true \
	}
#define ID_REQ(n)                                            \
	{                                                    \
		.name = n, .type = SPEC_ID, .required = true \
	}
#define INT(n, lo, hi)                                            \
	{                                                         \
		.name = n, .type = SPEC_INT, .min = lo, .max = hi \
	}
#define INT_REQ(n, lo, hi)                                                          \
	{                                                                           \
		.name = n, .type = SPEC_INT, .min = lo, .max = hi, .required = true \
	}
#define BOOL(n)                              \
	{                                    \
		.name = n, .type = SPEC_BOOL \
	}
#define DURATION(n, least_ms)                                     \
	{                                                         \
		.name = n, .type = SPEC_DURATION, .min = least_ms \
	}
#define DURATION_IN(n, least_ms, most_ms)                                         \
	{                                                                         \
		.name = n, .type = SPEC_DURATION, .min = least_ms, .max = most_ms \
	}
#define TIME(n)                              \
	{                                    \
		.name = n, .type = SPEC_TIME \
	}
#define TIME_REQ(n)                                            \
	{                                                      \
		.name = n, .type = SPEC_TIME, .required = true \
	}
#define ENUM(n, list)                                       \
	{                                                   \
		.name = n, .type = SPEC_ENUM, .names = list \
	}
#define ENUM_REQ(n, list)                                                     \
	{                                                                     \
		.name = n, .type = SPEC_ENUM, .names = list, .required = true \
	}
#define OBJECT(n, table)                                        \
	{                                                       \
		.name = n, .type = SPEC_OBJECT, .fields = table \
	}
#define OBJECT_REQ(n, table)                                                      \
	{                                                                         \
		.name = n, .type = SPEC_OBJECT, .fields = table, .required = true \
	}
#define LIST(n, table)                                        \
	{                                                     \
		.name = n, .type = SPEC_LIST, .fields = table \
	}
#define LIST_MAX(n, table, limit)                                           \
	{                                                                   \
		.name = n, .type = SPEC_LIST, .fields = table, .max = limit \
	}
#define LIST_REQ(n, table)                                                      \
	{                                                                       \
		.name = n, .type = SPEC_LIST, .fields = table, .required = true \
	}
#define STRINGS(n)                              \
	{                                       \
		.name = n, .type = SPEC_STRINGS \
	}
#define ANY(n)                              \
	{                                   \
		.name = n, .type = SPEC_ANY \
	}
#define IGNORED(n)                              \
	{                                       \
		.name = n, .type = SPEC_IGNORED \
	}

#define PACKAGES_MAX 10

/* Shared tables; they stand in spec_tasks.c. */
extern const struct batch_spec_field spec_name_value[]; /* value optional */
extern const struct batch_spec_field spec_metadata[];
extern const struct batch_spec_field spec_resource_file[];
extern const struct batch_spec_field spec_output_file[];
extern const struct batch_spec_field spec_user_identity[];
extern const struct batch_spec_field spec_container_settings[];
extern const struct batch_spec_field spec_registry[];
extern const struct batch_spec_field spec_identity_reference[];
extern const struct batch_spec_field spec_package[];
extern const struct batch_spec_field spec_task_constraints[];
extern const struct batch_spec_field spec_token_settings[];
extern const struct batch_spec_field spec_start_task[]; /* spec_pools.c */
extern const struct batch_spec_field spec_auto_pool[];  /* spec_pools.c: a pool without id */
extern const char *const spec_elevation[];

#endif
