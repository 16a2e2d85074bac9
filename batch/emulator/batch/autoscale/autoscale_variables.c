/* The variables of formulas: the service's own, the targets, the user's; and they as text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"
#include "batch/emulator/batch/autoscale/autoscale_int.h"

#define MAX_TARGET 1e9

struct variable {
	char name[FORMULA_MAX_NAME];
	struct value value;
};

static const char *const metrics[N_METRICS] = {
	[METRIC_CPU_PERCENT] = "$CPUPercent",
	[METRIC_WALL_CLOCK_SECONDS] = "$WallClockSeconds",
	[METRIC_MEMORY_BYTES] = "$MemoryBytes",
	[METRIC_DISK_BYTES] = "$DiskBytes",
	[METRIC_DISK_READ_BYTES] = "$DiskReadBytes",
	[METRIC_DISK_WRITE_BYTES] = "$DiskWriteBytes",
	[METRIC_DISK_READ_OPS] = "$DiskReadOps",
	[METRIC_DISK_WRITE_OPS] = "$DiskWriteOps",
	[METRIC_NETWORK_IN_BYTES] = "$NetworkInBytes",
	[METRIC_NETWORK_OUT_BYTES] = "$NetworkOutBytes",
	[METRIC_SAMPLE_NODE_COUNT] = "$SampleNodeCount",
	[METRIC_ACTIVE_TASKS] = "$ActiveTasks",
	[METRIC_RUNNING_TASKS] = "$RunningTasks",
	[METRIC_PENDING_TASKS] = "$PendingTasks",
	[METRIC_SUCCEEDED_TASKS] = "$SucceededTasks",
	[METRIC_FAILED_TASKS] = "$FailedTasks",
	[METRIC_TASK_SLOTS_PER_NODE] = "$TaskSlotsPerNode",
	[METRIC_CURRENT_DEDICATED_NODES] = "$CurrentDedicatedNodes",
	[METRIC_CURRENT_LOW_PRIORITY_NODES] = "$CurrentLowPriorityNodes",
	[METRIC_PREEMPTED_NODE_COUNT] = "$PreemptedNodeCount",
	[METRIC_USABLE_NODE_COUNT] = "$UsableNodeCount",
};
static const char *const options[] = { "requeue", "terminate", "taskcompletion", "retaineddata" };
static const struct {
	const char *name;
	int64_t ticks;
} intervals[] = {
	{ "TimeInterval_Zero", 0 },
	{ "TimeInterval_100ns", 1 },
	{ "TimeInterval_Microsecond", 10 },
	{ "TimeInterval_Millisecond", 10000 },
	{ "TimeInterval_Second", TICKS_PER_SECOND },
	{ "TimeInterval_Minute", 60 * TICKS_PER_SECOND },
	{ "TimeInterval_Hour", 3600 * TICKS_PER_SECOND },
	{ "TimeInterval_Day", 86400 * TICKS_PER_SECOND },
	{ "TimeInterval_Week", 7 * 86400 * TICKS_PER_SECOND },
	{ "TimeInterval_Year", 365 * 86400 * TICKS_PER_SECOND },
};

const char *variable_default_option(void)
{
	return options[0];
}

const char *metric_name(enum autoscale_metric m)
{
	return metrics[m];
}

static bool is_dedicated(const char *name)
{
	return strcasecmp(name, "$TargetDedicatedNodes") == 0 ||
	       strcasecmp(name, "$TargetDedicated") == 0;
}

static bool is_low_priority(const char *name)
{
	return strcasecmp(name, "$TargetLowPriorityNodes") == 0;
}

static bool is_option(const char *name)
{
	return strcasecmp(name, "$NodeDeallocationOption") == 0;
}

/* -1: none. The name before low-priority nodes existed still counts. */
static int find_metric(const char *name)
{
	if (strcasecmp(name, "$CurrentDedicated") == 0)
		return METRIC_CURRENT_DEDICATED_NODES;
	for (int i = 0; i < N_METRICS; i++)
		if (strcasecmp(metrics[i], name) == 0)
			return i;
	return -1;
}

static struct variable *find_variable(struct eval *e, const char *name)
{
	for (size_t i = 0; i < e->n_variables; i++)
		if (strcmp(e->variable[i].name, name) == 0)
			return &e->variable[i];
	return NULL;
}

static void set_variable(struct eval *e, const char *name, const struct value *v)
{
	struct variable *old = find_variable(e, name);
	if (old) {
		old->value = *v;
		return;
	}
	struct variable *grown = reallocarray(e->variable, e->n_variables + 1, sizeof(*grown));
	if (!grown) {
		e->no_memory = e->failed = true;
		return;
	}
	e->variable = grown;
	size_t i = e->n_variables++;
	for (; i > 0 && strcmp(grown[i - 1].name, name) > 0; i--)
		grown[i] = grown[i - 1];
	snprintf(grown[i].name, FORMULA_MAX_NAME, "%s", name);
	grown[i].value = *v;
}

static void set_target(struct eval *e, double *target, const struct value *v, const char *where)
{
	double n = eval_number(e, v, where);
	if (e->failed)
		return;
	if (!(fabs(n) <= MAX_TARGET))
		eval_fail(e, AUTOSCALE_EVALUATION, where, "The target is not a number of nodes");
	else
		*target = n < 0 ? 0 : trunc(n);
}

void variable_assign(struct eval *e, const char *name, const struct value *v, const char *where)
{
	if (find_metric(name) >= 0) {
		eval_fail(e, AUTOSCALE_SYNTAX, where, "Variable %s is read-only", name);
		return;
	}
	if (!eval_live(e))
		return;
	if (is_dedicated(name))
		set_target(e, &e->dedicated, v, where);
	else if (is_low_priority(name))
		set_target(e, &e->low_priority, v, where);
	else if (is_option(name) && v->type == VALUE_OPTION)
		e->option = v->text;
	else if (is_option(name))
		eval_fail(e, AUTOSCALE_EVALUATION, where,
			  "%s has four values: requeue, terminate, "
			  "taskcompletion, retaineddata",
			  name);
	else if (v->type == VALUE_NONE)
		eval_fail(e, AUTOSCALE_EVALUATION, where, "There is no value for %s", name);
	else
		set_variable(e, name, v);
}

struct value variable_read(struct eval *e, const char *name, const char *where)
{
	struct value none = { 0 };
	if (!eval_live(e))
		return none;
	int metric = find_metric(name);
	if (metric >= 0)
		return (struct value){ .type = VALUE_METRIC,
				       .metric = (enum autoscale_metric)metric };
	if (is_dedicated(name))
		return value_double(e->dedicated);
	if (is_low_priority(name))
		return value_double(e->low_priority);
	if (is_option(name))
		return (struct value){ .type = VALUE_OPTION, .text = e->option };
	const struct variable *v = find_variable(e, name);
	if (v)
		return v->value;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(intervals); i++)
		if (strcmp(intervals[i].name, name) == 0)
			return value_interval(intervals[i].ticks);
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(options); i++)
		if (strcmp(options[i], name) == 0)
			return (struct value){ .type = VALUE_OPTION, .text = options[i] };
	return eval_fail(e, AUTOSCALE_EVALUATION, where, "Undefined variable %s", name);
}

double eval_number(struct eval *e, const struct value *v, const char *where)
{
	if (v->type == VALUE_DOUBLE)
		return v->number;
	if (v->type != VALUE_METRIC) {
		eval_fail(e, AUTOSCALE_EVALUATION, where, "A number is expected here");
		return 0;
	}
	if (!isnan(e->in->current[v->metric]))
		return (double)e->in->current[v->metric];
	for (size_t i = e->in->n_samples; i-- > 0;)
		if (!isnan(e->in->sample[i].value[v->metric]))
			return (double)e->in->sample[i].value[v->metric];
	eval_fail(e, AUTOSCALE_DATA, where,
		  "Insufficient data from data set: %s wanted 100%%, received 0%%",
		  metrics[v->metric]);
	return 0;
}

/* --- as text ------------------------------------------------------------------------------ */

static void print_value(struct adafs_buf *b, const struct value *v)
{
	char time[ADAFS_ISO8601_LEN];
	switch (v->type) {
	case VALUE_DOUBLE:
		adafs_buf_addf(b, "%.15g", v->number);
		break;
	case VALUE_VEC:
		adafs_buf_adds(b, "[");
		for (size_t i = 0; i < v->n; i++)
			if (adafs_buf_addf(b, "%s%.15g", i ? "," : "", v->vec[i]) < 0)
				return;
		adafs_buf_adds(b, "]");
		break;
	case VALUE_TIME:
		adafs_clock_iso8601(v->ticks / TICKS_PER_US, time);
		adafs_buf_addf(b, "%.23sZ", time);
		break;
	case VALUE_INTERVAL:
		adafs_buf_addf(b, "%.15gs", (double)v->ticks / TICKS_PER_SECOND);
		break;
	case VALUE_METRIC:
		adafs_buf_adds(b, metrics[v->metric]);
		break;
	default:
		adafs_buf_adds(b, v->text ? v->text : "");
	}
}

void variables_print(const struct eval *e, struct adafs_buf *b)
{
	adafs_buf_addf(b,
		       "$TargetDedicatedNodes=%.0f;$TargetLowPriorityNodes=%.0f;"
		       "$NodeDeallocationOption=%s",
		       e->dedicated, e->low_priority, e->option);
	for (size_t i = 0; i < e->n_variables; i++) {
		adafs_buf_addf(b, ";%s=", e->variable[i].name);
		print_value(b, &e->variable[i].value);
	}
}
