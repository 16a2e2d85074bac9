/* The language of autoscale formulas: values, operators, functions, samples, errors, results. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "batch/emulator/batch/autoscale/autoscale_formula.h"

#define SECOND INT64_C(1000000)
/* Monday, 2 March 2026, 13:45:10 UTC. */
#define NOW (INT64_C(1772459110) * SECOND)

struct scene {
	struct autoscale_sample sample[64];
	struct autoscale_input in;
	struct autoscale_result result;
	struct autoscale_error error;
	char text[2048];
};

static void scene_init(struct scene *s)
{
	memset(s, 0, sizeof(*s));
	s->in = (struct autoscale_input){
		.now_us = NOW, .sample = s->sample, .dedicated = 2, .low_priority = 1
	};
	for (int i = 0; i < N_METRICS; i++)
		s->in.current[i] = NAN;
}

/* A sample so many seconds ago; to be added in order of time. */
static void add(struct scene *s, int64_t age_s, enum autoscale_metric m, double value)
{
	struct autoscale_sample *sample = &s->sample[s->in.n_samples++];
	sample->at_us = NOW - age_s * SECOND;
	for (int i = 0; i < N_METRICS; i++)
		sample->value[i] = NAN;
	sample->value[m] = (float)value;
}

static int evaluate(struct scene *s, const char *formula)
{
	struct adafs_buf text = ADAFS_BUF_INIT(65536);
	int rc = autoscale_evaluate(formula, &s->in, &s->result, &text, &s->error);
	snprintf(s->text, sizeof(s->text), "%s", adafs_buf_str(&text));
	adafs_buf_clear(&text);
	return rc;
}

/* What x is after "x = <expression>;". */
static const char *value_of(struct scene *s, const char *expression)
{
	char formula[1024];
	snprintf(formula, sizeof(formula), "x = %s;", expression);
	if (evaluate(s, formula) < 0)
		return s->error.detail;
	const char *x = strstr(s->text, ";x=");
	return x ? x + 3 : "nothing";
}

static void test_values(void **state)
{
	static const struct {
		const char *expression, *value;
	} rows[] = {
		{ "1 + 2 * 3 - 4 / 8", "6.5" },
		{ "-(2 - 5)", "3" },
		{ "1.5e2", "150" },
		{ ".5", "0.5" },
		{ "!0 + !7", "1" },
		{ "2 < 3 && 3 <= 3 || 0", "1" },
		{ "1 == 2", "0" },
		{ "1 != 2", "1" },
		{ "0 ? 1 : 0 ? 2 : 3", "3" },
		{ "[1, 2, 3]", "[1,2,3]" },
		{ "[1,2,3] * 2", "[2,4,6]" },
		{ "[1,2] + [10,20]", "[11,22]" },
		{ "-[1,2]", "[-1,-2]" },
		{ "[5,6,7][1]", "6" },
		{ "val([5,6,7], 2)", "7" },
		{ "avg(1, [2, 3], 6)", "3" },
		{ "min([4, 2, 8])", "2" },
		{ "max(0, -1)", "0" },
		{ "sum([1,2],[3])", "6" },
		{ "len([1,2],[3])", "3" },
		{ "norm(3, 4)", "5" },
		{ "range([4, 9, 6])", "5" },
		{ "std([2,4,4,4,5,5,7,9])", "2.1380899352994" },
		{ "lg(8)", "3" },
		{ "lg([8, 2])", "[3,1]" },
		{ "ln(1)", "0" },
		{ "log(1000)", "3" },
		{ "ceil(1.2)", "2" },
		{ "floor(1.8)", "1" },
		{ "round([1.4, 1.6])", "[1,2]" },
		{ "percentile([5,1,4,2,3], 50)", "3" },
		{ "percentile([5,1,4,2,3], 100)", "5" },
		{ "rand() >= 0 && rand() <= 1", "1" },
		{ "\"abc\"", "abc" },
		{ "\"abc\" < \"abd\"", "1" },
		{ "time()", "2026-03-02T13:45:10.000Z" },
		{ "time().weekday", "1" },
		{ "time().hour * 100 + time().minute", "1345" },
		{ "time().year", "2026" },
		{ "time(\"2026-03-02T13:45:00Z\").second", "0" },
		{ "time(\"Mon, 02 Mar 2026 13:45:10 GMT\") == time()", "1" },
		{ "time() - time(\"2026-03-02T13:45:00Z\") == 10 * TimeInterval_Second", "1" },
		{ "time() + TimeInterval_Day", "2026-03-03T13:45:10.000Z" },
		{ "TimeInterval_Minute * 2 > TimeInterval_Minute + 59 * TimeInterval_Second", "1" },
		{ "TimeInterval_Week / 7 == TimeInterval_Day", "1" },
		{ "-TimeInterval_Second < TimeInterval_Zero", "1" },
		{ "TimeInterval_100ns * 10 == TimeInterval_Microsecond", "1" },
		{ "TimeInterval_Year", "31536000s" },
		{ "$TargetDedicatedNodes + $TargetLowPriorityNodes", "3" },
	};
	(void)state;
	struct scene s;
	scene_init(&s);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(value_of(&s, rows[i].expression), rows[i].value);
}

static void test_results(void **state)
{
	(void)state;
	struct scene s;
	scene_init(&s);
	/* Line breaks, comments, no ';' at the end; names of services in any case. */
	assert_int_equal(evaluate(&s, "// first\ncap = 10; /* two\nlines */\n"
				      "$targetDedicatedNodes = min(cap, 20.9);\n"
				      "$nodeDeallocationOption = taskcompletion"),
			 0);
	assert_int_equal(s.result.dedicated, 10);
	assert_int_equal(s.result.low_priority, 1);
	assert_string_equal(s.result.option, "taskcompletion");
	assert_string_equal(s.text, "$TargetDedicatedNodes=10;$TargetLowPriorityNodes=1;"
				    "$NodeDeallocationOption=taskcompletion;cap=10");
	assert_int_equal(evaluate(&s, "$TargetLowPriorityNodes = 2.9; $TargetDedicatedNodes = -3"),
			 0);
	assert_int_equal(s.result.low_priority, 2);
	assert_int_equal(s.result.dedicated, 0);
	assert_string_equal(s.result.option, "requeue");
	/* User variables stand in order of their names. */
	assert_int_equal(evaluate(&s, "b=1;$a=2;"), 0);
	assert_non_null(strstr(s.text, "requeue;$a=2;b=1"));
	assert_int_equal(
		evaluate(&s, "$TargetDedicatedNodes = 7; stop(); $TargetDedicatedNodes = 9;"), 0);
	assert_int_equal(s.result.dedicated, 7);
	assert_int_equal(evaluate(&s, "$TargetDedicatedNodes = (time().weekday == 1 ? 5:1);"), 0);
	assert_int_equal(s.result.dedicated, 5);
}

static void test_syntax(void **state)
{
	static const struct {
		const char *formula, *detail;
	} rows[] = {
		{ "x = ;", "Line 1, Col 5" },
		{ "x = 1", NULL },
		{ "", NULL },
		{ "x = (1;", "Line 1, Col 7" },
		{ "x = 1 y = 2", "Line 1, Col 7" },
		{ "x = \"abc", "Line 1, Col 9" },
		{ "\n\nx = 1 +;", "Line 3, Col 8" },
		{ "x = frob(1);", "Unknown function frob" },
		{ "x = $CPUPercent.GetSamples(1);", "Unknown method GetSamples" },
		{ "x = time().weekend;", "Unknown member weekend" },
		{ "$RunningTasks = 1;", "read-only" },
		{ "x = 1.2.3;", "Line 1, Col 8" },
		{ "x = [1, 2;", "Line 1, Col 10" },
		{ "x = 1 ? 2;", "':'" },
		{ "x = #;", "Line 1, Col 5" },
	};
	(void)state;
	struct autoscale_error error;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int rc = autoscale_check(rows[i].formula, &error);
		assert_int_equal(rc, rows[i].detail ? -EINVAL : 0);
		if (!rows[i].detail)
			continue;
		assert_int_equal(error.kind, AUTOSCALE_SYNTAX);
		if (!strstr(error.detail, rows[i].detail))
			fail_msg("'%s' gives '%s'", rows[i].formula, error.detail);
	}
	/* Deep nesting is refused, not followed. */
	char deep[4096];
	memset(deep, '(', sizeof(deep));
	deep[sizeof(deep) - 1] = 0;
	assert_int_equal(autoscale_check(deep, &error), -EINVAL);
	memset(deep, '-', sizeof(deep) - 1);
	assert_int_equal(autoscale_check(deep, &error), -EINVAL);
	char many[1024] = "";
	for (int i = 0; i < 101; i++)
		strcat(many, "x=1;");
	assert_int_equal(autoscale_check(many, &error), -EINVAL);
	assert_int_equal(autoscale_check(many + 4, &error), 0);
}

static void test_evaluation_errors(void **state)
{
	static const char *const formulas[] = {
		"$something_useless",
		"x = 1 + \"a\";",
		"x = time() + time();",
		"x = [1,2] + [1];",
		"x = val([1], 1);",
		"x = max([]);",
		"x = max();",
		"x = TimeInterval_Second * TimeInterval_Second;",
		"x = time(\"soon\");",
		"$TargetDedicatedNodes = 1/0;",
		"$NodeDeallocationOption = 1;",
		"x = avg(\"a\");",
		"x = 1; x.GetSample(1);",
	};
	(void)state;
	struct scene s;
	scene_init(&s);
	for (size_t i = 0; i < sizeof(formulas) / sizeof(formulas[0]); i++) {
		if (evaluate(&s, formulas[i]) != -EINVAL)
			fail_msg("'%s' was evaluated", formulas[i]);
		assert_int_equal(s.error.kind, AUTOSCALE_EVALUATION);
		assert_string_equal(autoscale_failure_code(s.error.kind),
				    "AutoScalingFormulaEvaluationError");
	}
	assert_int_equal(evaluate(&s, "$TargetDedicatedNodes = 9; x = nobody;"), -EINVAL);
	assert_string_equal(s.error.detail, "Line 1, Col 32: Undefined variable nobody");
	/* The targets stay. */
	assert_int_equal(s.result.dedicated, 2);
	assert_non_null(strstr(s.text, "$TargetDedicatedNodes=2;$TargetLowPriorityNodes=1;"
				       "$NodeDeallocationOption=requeue"));
}

/* A list that grows 60-fold with every statement neither eats the memory nor takes long. */
static void test_memory_is_bounded(void **state)
{
	(void)state;
	struct scene s;
	char formula[8192] = "a = [1", args[256] = "a";
	scene_init(&s);
	for (int i = 0; i < 59; i++) {
		strcat(formula, ",1");
		strcat(args, ",a");
	}
	strcat(formula, "];");
	for (int i = 0; i < 20; i++)
		sprintf(formula + strlen(formula), "a=round(%s);", args);
	assert_int_equal(evaluate(&s, formula), -EINVAL);
	assert_int_equal(s.error.kind, AUTOSCALE_EVALUATION);
	assert_non_null(strstr(s.error.detail, "too much memory"));
	/* What was made before is shown as far as there is room. */
	assert_non_null(strstr(s.text, ";a=[1,1,"));
}

static void *deep_formulas(void *arg)
{
	static const char *const openings[] = { "[", "(", "-", "round(", "1+(", "x[", "1?" };
	struct scene *s = arg;
	char formula[8192];
	for (size_t i = 0; i < sizeof(openings) / sizeof(*openings); i++) {
		strcpy(formula, "x=");
		while (strlen(formula) + strlen(openings[i]) < sizeof(formula))
			strcat(formula, openings[i]);
		assert_int_equal(evaluate(s, formula), -EINVAL);
		assert_int_equal(autoscale_check(formula, &s->error), -EINVAL);
	}
	return NULL;
}

/* The stack that the emulator's HTTP server gives its threads is enough for the deepest formula. */
static void test_depth_is_bounded(void **state)
{
	(void)state;
	struct scene s;
	pthread_attr_t attr;
	pthread_t thread;
	scene_init(&s);
	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstacksize(&attr, 1024 * 1024), 0);
	assert_int_equal(pthread_create(&thread, &attr, deep_formulas, &s), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
}

static void test_samples(void **state)
{
	(void)state;
	struct scene s;
	scene_init(&s);
	/* Ten minutes but for the last: 18 of 20, as in the service's documentation. */
	for (int i = 19; i >= 2; i--)
		add(&s, i * 30, METRIC_CPU_PERCENT, i);
	assert_string_equal(value_of(&s, "len($CPUPercent.GetSample(TimeInterval_Minute * 10))"),
			    "18");
	assert_string_equal(value_of(&s, "$CPUPercent.GetSamplePercent(TimeInterval_Minute * 10)"),
			    "90");
	assert_string_equal(
		value_of(&s, "len($CPUPercent.GetSample(TimeInterval_Minute * 10, 80))"), "18");
	assert_int_equal(evaluate(&s, "x = $CPUPercent.GetSample(TimeInterval_Minute * 10, 95);"),
			 -EINVAL);
	assert_int_equal(s.error.kind, AUTOSCALE_DATA);
	assert_string_equal(s.error.detail, "Line 1, Col 26: Insufficient data from data set: "
					    "$CPUPercent wanted 95%, received 90%");
	assert_string_equal(autoscale_failure_code(s.error.kind), "InsufficientSampleData");
	/* Both ends in either order; times as well as intervals. */
	assert_string_equal(value_of(&s, "$CPUPercent.GetSample(1 * TimeInterval_Minute,"
					 " 2 * TimeInterval_Minute)"),
			    "[3,2]");
	assert_string_equal(value_of(&s, "$CPUPercent.GetSample(2 * TimeInterval_Minute,"
					 " 1 * TimeInterval_Minute, 50)"),
			    "[3,2]");
	assert_string_equal(value_of(&s, "$CPUPercent.GetSample(time(\"2026-03-02T13:43:10Z\"),"
					 " TimeInterval_Minute)"),
			    "[3,2]");
	assert_string_equal(value_of(&s, "$CPUPercent.GetSample(2)"), "[3,2]");
	assert_string_equal(value_of(&s, "$CPUPercent.GetSample(1)[0]"), "2");
	assert_string_equal(value_of(&s, "$CPUPercent.Count()"), "18");
	assert_string_equal(
		value_of(&s, "$CPUPercent.GetSamplePeriod() == 30 * TimeInterval_Second"), "1");
	assert_string_equal(value_of(&s, "$CPUPercent.HistoryBeginTime()"),
			    "2026-03-02T13:35:40.000Z");
	/* As a number: the last sample, or what the pool is now. */
	assert_string_equal(value_of(&s, "$CPUPercent * 2"), "4");
	s.in.current[METRIC_CURRENT_DEDICATED_NODES] = 5;
	assert_string_equal(value_of(&s, "$CurrentDedicatedNodes * 1.1"), "5.5");
}

static void test_missing_samples(void **state)
{
	(void)state;
	struct scene s;
	scene_init(&s);
	add(&s, 90, METRIC_CPU_PERCENT, 1);
	assert_int_equal(evaluate(&s, "x = $PendingTasks.GetSample(180 * TimeInterval_Second);"),
			 -EINVAL);
	assert_int_equal(s.error.kind, AUTOSCALE_DATA);
	assert_int_equal(evaluate(&s, "x = $PendingTasks.GetSample(1);"), -EINVAL);
	assert_int_equal(evaluate(&s, "x = $PendingTasks + 1;"), -EINVAL);
	assert_int_equal(s.error.kind, AUTOSCALE_DATA);
	assert_string_equal(value_of(&s, "$PendingTasks.GetSamplePercent(TimeInterval_Minute)"),
			    "0");
	assert_string_equal(value_of(&s, "$PendingTasks.Count()"), "0");
	/* The guard of the service's first example: the branch that is not taken does not fail. */
	assert_int_equal(
		evaluate(&s, "startingNumberOfVMs = 1; maxNumberofVMs = 25;\n"
			     "pct = $PendingTasks.GetSamplePercent(180 * TimeInterval_Second);\n"
			     "n = pct < 70 ? startingNumberOfVMs :\n"
			     " avg($PendingTasks.GetSample(180 * TimeInterval_Second));\n"
			     "$TargetDedicatedNodes=min(maxNumberofVMs, n);"),
		0);
	assert_int_equal(s.result.dedicated, 1);
	assert_string_equal(value_of(&s, "0 && $PendingTasks > 1"), "0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_results),
		cmocka_unit_test(test_syntax),
		cmocka_unit_test(test_evaluation_errors),
		cmocka_unit_test(test_memory_is_bounded),
		cmocka_unit_test(test_depth_is_bounded),
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_missing_samples),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
