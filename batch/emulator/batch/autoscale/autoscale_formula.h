/*
 * emulator/batch/autoscale/autoscale_formula.h - the language of autoscale formulas. Pure: a
 * formula, samples, the time and the targets so far give new targets or an error; nothing else is
 * read or changed.
 *
 * Values are doubles, vectors of doubles, strings, timestamps and intervals. Only the branch of ?:
 * that is taken is evaluated, which is what lets a formula guard GetSample by GetSamplePercent.
 */
#ifndef ADAFS_EMULATOR_BATCH_AUTOSCALE_FORMULA_H
#define ADAFS_EMULATOR_BATCH_AUTOSCALE_FORMULA_H

#include <stddef.h>
#include <stdint.h>

#include "batch/base/buf.h"

/* Of a formula, in bytes, and its statements. */
#define AUTOSCALE_MAX_TEXT 8192
#define AUTOSCALE_MAX_STATEMENTS 100
/* A sample is taken so often. */
#define AUTOSCALE_PERIOD_US (INT64_C(30) * 1000000)

/* The read-only variables, each with a history. */
enum autoscale_metric {
	METRIC_CPU_PERCENT,
	METRIC_WALL_CLOCK_SECONDS,
	METRIC_MEMORY_BYTES,
	METRIC_DISK_BYTES,
	METRIC_DISK_READ_BYTES,
	METRIC_DISK_WRITE_BYTES,
	METRIC_DISK_READ_OPS,
	METRIC_DISK_WRITE_OPS,
	METRIC_NETWORK_IN_BYTES,
	METRIC_NETWORK_OUT_BYTES,
	METRIC_SAMPLE_NODE_COUNT,
	METRIC_ACTIVE_TASKS, /* ready to run: tasks that wait for others do not count */
	METRIC_RUNNING_TASKS,
	METRIC_PENDING_TASKS, /* the sum of both */
	METRIC_SUCCEEDED_TASKS,
	METRIC_FAILED_TASKS,
	METRIC_TASK_SLOTS_PER_NODE,
	METRIC_CURRENT_DEDICATED_NODES,
	METRIC_CURRENT_LOW_PRIORITY_NODES,
	METRIC_PREEMPTED_NODE_COUNT,
	METRIC_USABLE_NODE_COUNT,
	N_METRICS,
};

/* What was measured at a time; NAN: this metric was not. */
struct autoscale_sample {
	int64_t at_us;
	float value[N_METRICS];
};

struct autoscale_input {
	int64_t now_us; /* what time() gives */
	/* In order of time; those that are known by now. Borrowed. */
	const struct autoscale_sample *sample;
	size_t n_samples;
	/* The pool as it is: what a metric of nodes is worth when it stands as a number. NAN: the
	 * last sample counts. */
	float current[N_METRICS];
	int64_t dedicated, low_priority; /* targets so far */
};

enum autoscale_failure {
	AUTOSCALE_OK,
	AUTOSCALE_SYNTAX,     /* AutoScalingFormulaSyntaxError, by autoscale_check too */
	AUTOSCALE_EVALUATION, /* AutoScalingFormulaEvaluationError */
	AUTOSCALE_DATA,       /* InsufficientSampleData */
};

struct autoscale_error {
	enum autoscale_failure kind;
	char detail[256]; /* "Line 1, Col 24: Insufficient data from data set: ..." */
};

struct autoscale_result {
	int64_t dedicated, low_priority;
	char option[16]; /* "requeue", ... */
};

/* Whether the text is a formula. 0; -EINVAL with *ret_error filled; -ENOMEM. */
int autoscale_check(const char *formula, struct autoscale_error *ret_error);
/*
 * Evaluate. ret_text gets "$TargetDedicatedNodes=0;...", all variables, also when the formula
 * failed half way (the targets are those before then). 0; -EINVAL with *ret_error filled; -ENOMEM.
 */
int autoscale_evaluate(const char *formula, const struct autoscale_input *in,
		       struct autoscale_result *ret, struct adafs_buf *ret_text,
		       struct autoscale_error *ret_error);

/* The code and the sentence of a failure, as the service has them. */
const char *autoscale_failure_code(enum autoscale_failure kind);
const char *autoscale_failure_text(enum autoscale_failure kind);

#endif
