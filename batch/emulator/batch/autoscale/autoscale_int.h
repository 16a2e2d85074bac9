/* emulator/batch/autoscale/autoscale_int.h - what the parser of formulas shares with their
 * functions. */
#ifndef ADAFS_EMULATOR_BATCH_AUTOSCALE_INT_H
#define ADAFS_EMULATOR_BATCH_AUTOSCALE_INT_H

#include <stdbool.h>

#include "batch/emulator/batch/autoscale/autoscale_formula.h"

/* Times and intervals are counted in 100 ns, the smallest interval of the language. */
#define TICKS_PER_US 10
#define TICKS_PER_SECOND (INT64_C(10000000))

/* A name is shorter. */
#define FORMULA_MAX_NAME 128

enum value_type {
	VALUE_NONE, /* of a statement, or of what is only parsed */
	VALUE_DOUBLE,
	VALUE_VEC,
	VALUE_STRING,
	VALUE_TIME,
	VALUE_INTERVAL,
	VALUE_METRIC, /* a service variable: a number, or an object with methods */
	VALUE_OPTION, /* requeue and its like */
};

/* Passed by copy; what it points to belongs to the evaluation. */
struct value {
	enum value_type type;
	double number;
	int64_t ticks;
	double *vec;
	size_t n;
	const char *text;
	enum autoscale_metric metric;
};

/* One formula on its way. */
struct eval {
	const char *text, *at;
	const struct autoscale_input *in; /* NULL: only the syntax is checked */
	unsigned skip;                    /* above 0: inside a branch that is not taken */
	unsigned depth;
	bool failed, stopped, no_memory;
	struct autoscale_error *error;
	void **owned; /* freed at the end */
	size_t n_owned, owned_size;
	struct variable *variable; /* of the user, in the order of their names */
	size_t n_variables;
	double dedicated, low_priority;
	const char *option;
};

/* Whether values are made: neither skipped nor only checked, and nothing has failed. */
static inline bool eval_live(const struct eval *e)
{
	return e->in && !e->skip && !e->failed && !e->stopped;
}

/* Note the first failure with the line and column of `where`; returns a value of no type. */
struct value eval_fail(struct eval *e, enum autoscale_failure kind, const char *where,
		       const char *fmt, ...) ADAFS_PRINTF(4, 5);
/*
 * Memory that lives as long as the evaluation. NULL: noted as a failure, also when the formula has
 * asked for more than any honest one does: a list given to a function many times over grows without
 * bound.
 */
void *eval_alloc(struct eval *e, size_t size);

static inline struct value value_double(double d)
{
	return (struct value){ .type = VALUE_DOUBLE, .number = d };
}

static inline struct value value_interval(int64_t ticks)
{
	return (struct value){ .type = VALUE_INTERVAL, .ticks = ticks };
}

/* A number out of a double or a metric; a failure for other types. */
double eval_number(struct eval *e, const struct value *v, const char *where);

enum op { OP_ADD, OP_SUB, OP_MUL, OP_DIV };

/* where: the operator, for failures. Without a live evaluation a value of no type. */
struct value operator_binary(struct eval *e, enum op op, const struct value *a,
			     const struct value *b, const char *where);
/* op: "<", "<=", ">", ">=", "==" or "!=". */
struct value operator_compare(struct eval *e, const char *op, const struct value *a,
			      const struct value *b, const char *where);
struct value operator_minus(struct eval *e, const struct value *v, const char *where);

/* "$CPUPercent", ... */
const char *metric_name(enum autoscale_metric m);

/* Give a variable a value, in a live evaluation; a name that is read-only is refused anyway. */
void variable_assign(struct eval *e, const char *name, const struct value *v, const char *where);
/* What a name stands for. Without a live evaluation a value of no type. */
struct value variable_read(struct eval *e, const char *name, const char *where);
/* What becomes of tasks on nodes that go, if the formula does not say. */
const char *variable_default_option(void);
/* "$TargetDedicatedNodes=0;..." and all variables of the user. */
void variables_print(const struct eval *e, struct adafs_buf *b);

/* Whether a function of this name exists. */
bool function_known(const char *name);
/* where: its opening parenthesis. */
struct value function_call(struct eval *e, const char *name, const struct value *arg, size_t n,
			   const char *where);
bool method_known(const char *name);
/* A method of a metric: GetSample and its kin. */
struct value method_call(struct eval *e, enum autoscale_metric metric, const char *name,
			 const struct value *arg, size_t n, const char *where);

#endif
