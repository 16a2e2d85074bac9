/* The functions of formulas, and the methods that look into a metric's history. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/random.h"
#include "batch/emulator/batch/autoscale/autoscale_int.h"

/* What GetSample asks for when the formula does not say: as in the service's published example. */
#define DEFAULT_SAMPLE_PERCENT 10

/* --- lists of numbers --------------------------------------------------------------------- */

/* All arguments as one vector: a doubleVecList. */
static struct value flatten(struct eval *e, const struct value *arg, size_t n, const char *where)
{
	size_t total = 0;
	for (size_t i = 0; i < n; i++)
		total += arg[i].type == VALUE_VEC ? arg[i].n : 1;
	struct value v = { .type = VALUE_VEC, .vec = eval_alloc(e, (total + 1) * sizeof(double)) };
	for (size_t i = 0; v.vec && i < n; i++) {
		if (arg[i].type != VALUE_VEC) {
			v.vec[v.n++] = eval_number(e, &arg[i], where);
			continue;
		}
		if (arg[i].n)
			memcpy(v.vec + v.n, arg[i].vec, arg[i].n * sizeof(double));
		v.n += arg[i].n;
	}
	return v;
}

static double sum_of(const struct value *v)
{
	double sum = 0;
	for (size_t i = 0; i < v->n; i++)
		sum += v->vec[i];
	return sum;
}

static double min_of(const struct value *v)
{
	double least = v->vec[0];
	for (size_t i = 1; i < v->n; i++)
		least = fmin(least, v->vec[i]);
	return least;
}

static double max_of(const struct value *v)
{
	double most = v->vec[0];
	for (size_t i = 1; i < v->n; i++)
		most = fmax(most, v->vec[i]);
	return most;
}

static double avg_of(const struct value *v)
{
	return sum_of(v) / (double)v->n;
}

static double range_of(const struct value *v)
{
	return max_of(v) - min_of(v);
}

static double norm_of(const struct value *v)
{
	double sum = 0;
	for (size_t i = 0; i < v->n; i++)
		sum += v->vec[i] * v->vec[i];
	return sqrt(sum);
}

/* Of a sample: n - 1. */
static double std_of(const struct value *v)
{
	double mean = avg_of(v), sum = 0;
	for (size_t i = 0; i < v->n; i++)
		sum += (v->vec[i] - mean) * (v->vec[i] - mean);
	return v->n > 1 ? sqrt(sum / (double)(v->n - 1)) : 0;
}

static double len_of(const struct value *v)
{
	return (double)v->n;
}

/* One number out of a list. */
static const struct {
	const char *name;
	bool of_nothing; /* has a value for an empty list */
	double (*fn)(const struct value *v);
} reductions[] = {
	{ "avg", false, avg_of }, { "len", true, len_of },   { "max", false, max_of },
	{ "min", false, min_of }, { "norm", true, norm_of }, { "range", false, range_of },
	{ "std", false, std_of }, { "sum", true, sum_of },
};

/* A number out of each of a list. */
static const struct {
	const char *name;
	double (*fn)(double);
} maps[] = {
	{ "lg", log2 },   { "ln", log },      { "log", log10 },
	{ "ceil", ceil }, { "floor", floor }, { "round", round },
};

static struct value map_call(struct eval *e, double (*fn)(double), const struct value *arg,
			     size_t n, const char *where)
{
	if (n == 1 && arg->type != VALUE_VEC)
		return value_double(fn(eval_number(e, arg, where)));
	struct value v = flatten(e, arg, n, where);
	for (size_t i = 0; v.vec && i < v.n; i++)
		v.vec[i] = fn(v.vec[i]);
	return v;
}

/* --- the others --------------------------------------------------------------------------- */

static struct value wrong_arguments(struct eval *e, const char *name, const char *where)
{
	return eval_fail(e, AUTOSCALE_EVALUATION, where, "Invalid arguments for function %s", name);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

/* The nearest rank. */
static struct value percentile_call(struct eval *e, const struct value *arg, size_t n,
				    const char *where)
{
	if (n != 2 || arg->type != VALUE_VEC || !arg->n)
		return wrong_arguments(e, "percentile", where);
	double p = eval_number(e, &arg[1], where);
	struct value v = flatten(e, arg, 1, where);
	if (!v.vec || !(p >= 0 && p <= 100))
		return wrong_arguments(e, "percentile", where);
	qsort(v.vec, v.n, sizeof(double), compare_doubles);
	size_t rank = (size_t)ceil(p / 100 * (double)v.n);
	return value_double(v.vec[rank ? rank - 1 : 0]);
}

static struct value val_call(struct eval *e, const struct value *arg, size_t n, const char *where)
{
	if (n != 2 || arg->type != VALUE_VEC)
		return wrong_arguments(e, "val", where);
	double i = eval_number(e, &arg[1], where);
	if (!(i >= 0 && i < (double)arg->n))
		return eval_fail(e, AUTOSCALE_EVALUATION, where, "Index is out of range");
	return value_double(arg->vec[(size_t)i]);
}

static struct value time_call(struct eval *e, const struct value *arg, size_t n, const char *where)
{
	struct value v = { .type = VALUE_TIME, .ticks = e->in->now_us * TICKS_PER_US };
	int64_t us;
	time_t t;
	if (n == 0 || (n == 1 && arg->type == VALUE_STRING && !*arg->text))
		return v;
	if (n != 1 || arg->type != VALUE_STRING)
		return wrong_arguments(e, "time", where);
	if (adafs_clock_parse_iso8601(arg->text, &us) < 0) {
		if (adafs_clock_parse_rfc1123(arg->text, &t) < 0)
			return eval_fail(e, AUTOSCALE_EVALUATION, where, "Invalid date time '%s'",
					 arg->text);
		us = (int64_t)t * 1000000;
	}
	v.ticks = us * TICKS_PER_US;
	return v;
}

static struct value rand_call(struct eval *e, const struct value *arg, size_t n, const char *where)
{
	uint32_t bits;
	(void)arg;
	if (n)
		return wrong_arguments(e, "rand", where);
	adafs_random_bytes(&bits, sizeof(bits));
	return value_double(bits / 4294967295.0);
}

static struct value stop_call(struct eval *e, const struct value *arg, size_t n, const char *where)
{
	(void)arg;
	if (n)
		return wrong_arguments(e, "stop", where);
	e->stopped = true;
	return (struct value){ 0 };
}

static const struct {
	const char *name;
	struct value (*fn)(struct eval *e, const struct value *arg, size_t n, const char *where);
} others[] = {
	{ "percentile", percentile_call },
	{ "val", val_call },
	{ "time", time_call },
	{ "rand", rand_call },
	{ "stop", stop_call },
};

bool function_known(const char *name)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(reductions); i++)
		if (strcmp(reductions[i].name, name) == 0)
			return true;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(maps); i++)
		if (strcmp(maps[i].name, name) == 0)
			return true;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(others); i++)
		if (strcmp(others[i].name, name) == 0)
			return true;
	return false;
}

struct value function_call(struct eval *e, const char *name, const struct value *arg, size_t n,
			   const char *where)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(others); i++)
		if (strcmp(others[i].name, name) == 0)
			return others[i].fn(e, arg, n, where);
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(maps); i++)
		if (strcmp(maps[i].name, name) == 0)
			return n ? map_call(e, maps[i].fn, arg, n, where)
				 : wrong_arguments(e, name, where);
	struct value v = flatten(e, arg, n, where);
	for (size_t i = 0; v.vec && i < ADAFS_ARRAY_SIZE(reductions); i++) {
		if (strcmp(reductions[i].name, name) != 0)
			continue;
		return v.n || reductions[i].of_nothing ? value_double(reductions[i].fn(&v))
						       : wrong_arguments(e, name, where);
	}
	return (struct value){ 0 };
}

/* --- history ------------------------------------------------------------------------------ */

/* The samples between two looks back, both as times. */
struct window {
	int64_t from_us, to_us;
	double n_possible;
};

/* A look back: an interval before now, or a time. */
static bool edge_us(const struct eval *e, const struct value *v, int64_t *ret)
{
	if (v->type == VALUE_INTERVAL)
		*ret = e->in->now_us - v->ticks / TICKS_PER_US;
	else if (v->type == VALUE_TIME)
		*ret = v->ticks / TICKS_PER_US;
	else
		return false;
	return true;
}

/*
 * Start and end in any order: the service's examples have both. Returns how many arguments it took.
 */
static size_t window_of(const struct eval *e, const struct value *arg, size_t n, struct window *ret)
{
	int64_t a, b = e->in->now_us;
	if (!n || !edge_us(e, arg, &a))
		return 0;
	size_t taken = n > 1 && edge_us(e, &arg[1], &b) ? 2 : 1;
	ret->from_us = a < b ? a : b;
	ret->to_us = a < b ? b : a;
	ret->n_possible = fmax(1, floor((double)(ret->to_us - ret->from_us) / AUTOSCALE_PERIOD_US));
	return taken;
}

static bool has(const struct autoscale_sample *s, enum autoscale_metric m)
{
	return !isnan(s->value[m]);
}

static size_t count_in(const struct eval *e, enum autoscale_metric m, const struct window *w)
{
	size_t n = 0;
	for (size_t i = 0; i < e->in->n_samples; i++) {
		const struct autoscale_sample *s = &e->in->sample[i];
		n += has(s, m) && s->at_us > w->from_us && s->at_us <= w->to_us;
	}
	return n;
}

static double percent_of(size_t n, const struct window *w)
{
	return fmin(100, 100.0 * (double)n / w->n_possible);
}

static struct value too_few(struct eval *e, enum autoscale_metric m, double wanted, double received,
			    const char *where)
{
	return eval_fail(e, AUTOSCALE_DATA, where,
			 "Insufficient data from data set: %s wanted %.0f%%, received %.0f%%",
			 metric_name(m), wanted, received);
}

/* The last `count` samples. */
static struct value last_samples(struct eval *e, enum autoscale_metric m, double count,
				 const char *where)
{
	size_t wanted = count < 1 ? 0 : count > 1e6 ? (size_t)1e6 : (size_t)count, n = 0;
	struct value v = { .type = VALUE_VEC };
	size_t from = e->in->n_samples;
	while (from > 0 && n < wanted)
		n += has(&e->in->sample[--from], m);
	if (!n)
		return too_few(e, m, 100, 0, where);
	v.vec = eval_alloc(e, n * sizeof(double));
	for (; v.vec && from < e->in->n_samples; from++)
		if (has(&e->in->sample[from], m))
			v.vec[v.n++] = (double)e->in->sample[from].value[m];
	return v;
}

static struct value get_sample(struct eval *e, enum autoscale_metric m, const struct value *arg,
			       size_t n, const char *where)
{
	struct window w;
	double wanted = DEFAULT_SAMPLE_PERCENT;
	size_t taken = window_of(e, arg, n, &w);
	if (!taken && n == 1 && (arg->type == VALUE_DOUBLE || arg->type == VALUE_METRIC))
		return last_samples(e, m, eval_number(e, arg, where), where);
	if (!taken || n > taken + 1)
		return wrong_arguments(e, "GetSample", where);
	if (n == taken + 1)
		wanted = eval_number(e, &arg[taken], where);
	size_t found = count_in(e, m, &w);
	if (percent_of(found, &w) < wanted)
		return too_few(e, m, wanted, percent_of(found, &w), where);
	struct value v = { .type = VALUE_VEC, .vec = eval_alloc(e, (found + 1) * sizeof(double)) };
	for (size_t i = 0; v.vec && i < e->in->n_samples; i++) {
		const struct autoscale_sample *s = &e->in->sample[i];
		if (has(s, m) && s->at_us > w.from_us && s->at_us <= w.to_us)
			v.vec[v.n++] = (double)s->value[m];
	}
	return v;
}

static struct value get_sample_percent(struct eval *e, enum autoscale_metric m,
				       const struct value *arg, size_t n, const char *where)
{
	struct window w;
	if (!n || window_of(e, arg, n, &w) != n)
		return wrong_arguments(e, "GetSamplePercent", where);
	return value_double(percent_of(count_in(e, m, &w), &w));
}

static struct value get_sample_period(struct eval *e, enum autoscale_metric m,
				      const struct value *arg, size_t n, const char *where)
{
	(void)m;
	(void)arg;
	return n ? wrong_arguments(e, "GetSamplePeriod", where)
		 : value_interval(AUTOSCALE_PERIOD_US * TICKS_PER_US);
}

static struct value sample_count(struct eval *e, enum autoscale_metric m, const struct value *arg,
				 size_t n, const char *where)
{
	const struct window all = { INT64_MIN, INT64_MAX, 1 };
	(void)arg;
	return n ? wrong_arguments(e, "Count", where) : value_double((double)count_in(e, m, &all));
}

static struct value history_begin(struct eval *e, enum autoscale_metric m, const struct value *arg,
				  size_t n, const char *where)
{
	(void)arg;
	if (n)
		return wrong_arguments(e, "HistoryBeginTime", where);
	for (size_t i = 0; i < e->in->n_samples; i++)
		if (has(&e->in->sample[i], m))
			return (struct value){ .type = VALUE_TIME,
					       .ticks = e->in->sample[i].at_us * TICKS_PER_US };
	return too_few(e, m, 100, 0, where);
}

static const struct {
	const char *name;
	struct value (*fn)(struct eval *e, enum autoscale_metric m, const struct value *arg,
			   size_t n, const char *where);
} methods[] = {
	{ "GetSample", get_sample },
	{ "GetSamplePercent", get_sample_percent },
	{ "GetSamplePeriod", get_sample_period },
	{ "Count", sample_count },
	{ "HistoryBeginTime", history_begin },
};

bool method_known(const char *name)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(methods); i++)
		if (strcmp(methods[i].name, name) == 0)
			return true;
	return false;
}

struct value method_call(struct eval *e, enum autoscale_metric metric, const char *name,
			 const struct value *arg, size_t n, const char *where)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(methods); i++)
		if (strcmp(methods[i].name, name) == 0)
			return methods[i].fn(e, metric, arg, n, where);
	return eval_fail(e, AUTOSCALE_EVALUATION, where, "Unknown method %s", name);
}
