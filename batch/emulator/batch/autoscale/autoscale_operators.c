/* The operators of formulas, by the service's table of operand types. */
#include <math.h>
#include <string.h>

#include "batch/emulator/batch/autoscale/autoscale_int.h"

static double apply_op(enum op op, double a, double b)
{
	switch (op) {
	case OP_ADD:
		return a + b;
	case OP_SUB:
		return a - b;
	case OP_MUL:
		return a * b;
	default:
		return a / b;
	}
}

static bool is_number(const struct value *v)
{
	return v->type == VALUE_DOUBLE || v->type == VALUE_METRIC;
}

static struct value bad_types(struct eval *e, const char *where)
{
	return eval_fail(e, AUTOSCALE_EVALUATION, where,
			 "The operator does not take operands of these types");
}

static struct value vec_op(struct eval *e, enum op op, const struct value *a, const struct value *b,
			   const char *where)
{
	size_t n = a->type == VALUE_VEC ? a->n : b->n;
	if (a->type == VALUE_VEC && b->type == VALUE_VEC && a->n != b->n)
		return eval_fail(e, AUTOSCALE_EVALUATION, where, "The vectors differ in length");
	struct value v = { .type = VALUE_VEC, .vec = eval_alloc(e, (n + 1) * sizeof(double)) };
	double x = a->type == VALUE_VEC ? 0 : eval_number(e, a, where);
	double y = b->type == VALUE_VEC ? 0 : eval_number(e, b, where);
	for (; v.vec && v.n < n; v.n++)
		v.vec[v.n] = apply_op(op, a->type == VALUE_VEC ? a->vec[v.n] : x,
				      b->type == VALUE_VEC ? b->vec[v.n] : y);
	return v;
}

static struct value interval_times(struct eval *e, const struct value *interval, double factor,
				   const char *where)
{
	double ticks = (double)interval->ticks * factor;
	if (!(fabs(ticks) < 9e18))
		return eval_fail(e, AUTOSCALE_EVALUATION, where, "The interval is out of range");
	return value_interval((int64_t)ticks);
}

/* Sums of times and intervals. */
static struct value time_op(struct eval *e, enum op op, const struct value *a,
			    const struct value *b, const char *where)
{
	bool add = op == OP_ADD;
	int64_t ticks;
	if ((!add && op != OP_SUB) || (add ? __builtin_add_overflow(a->ticks, b->ticks, &ticks)
					   : __builtin_sub_overflow(a->ticks, b->ticks, &ticks)))
		return bad_types(e, where);
	bool at = a->type == VALUE_TIME, bt = b->type == VALUE_TIME;
	if ((at && bt && add) || (!at && bt && !add))
		return bad_types(e, where);
	return (struct value){ .type = at != bt ? VALUE_TIME : VALUE_INTERVAL, .ticks = ticks };
}

static bool is_time(const struct value *v)
{
	return v->type == VALUE_TIME || v->type == VALUE_INTERVAL;
}

struct value operator_binary(struct eval *e, enum op op, const struct value *a,
			     const struct value *b, const char *where)
{
	if (!eval_live(e))
		return (struct value){ 0 };
	if (is_number(a) && is_number(b))
		return value_double(
			apply_op(op, eval_number(e, a, where), eval_number(e, b, where)));
	if ((a->type == VALUE_VEC && (b->type == VALUE_VEC || is_number(b))) ||
	    (is_number(a) && b->type == VALUE_VEC))
		return vec_op(e, op, a, b, where);
	if (a->type == VALUE_INTERVAL && is_number(b) && op == OP_MUL)
		return interval_times(e, a, eval_number(e, b, where), where);
	if (a->type == VALUE_INTERVAL && is_number(b) && op == OP_DIV)
		return interval_times(e, a, 1 / eval_number(e, b, where), where);
	if (is_number(a) && b->type == VALUE_INTERVAL && op == OP_MUL)
		return interval_times(e, b, eval_number(e, a, where), where);
	if (is_time(a) && is_time(b))
		return time_op(e, op, a, b, where);
	return bad_types(e, where);
}

struct value operator_compare(struct eval *e, const char *op, const struct value *a,
			      const struct value *b, const char *where)
{
	double order;
	if (!eval_live(e))
		return (struct value){ 0 };
	if (is_number(a) && is_number(b)) {
		double x = eval_number(e, a, where), y = eval_number(e, b, where);
		order = x < y ? -1 : x > y;
	} else if (a->type == VALUE_STRING && b->type == VALUE_STRING) {
		order = strcmp(a->text, b->text);
	} else if (is_time(a) && a->type == b->type) {
		order = a->ticks < b->ticks ? -1 : a->ticks > b->ticks;
	} else {
		return bad_types(e, where);
	}
	bool holds = strcmp(op, "<") == 0    ? order < 0
		     : strcmp(op, "<=") == 0 ? order <= 0
		     : strcmp(op, ">") == 0  ? order > 0
		     : strcmp(op, ">=") == 0 ? order >= 0
		     : strcmp(op, "==") == 0 ? order == 0
					     : order != 0;
	return value_double(holds);
}

struct value operator_minus(struct eval *e, const struct value *v, const char *where)
{
	struct value zero = value_double(0);
	if (v->type == VALUE_INTERVAL)
		return interval_times(e, v, -1, where);
	if (v->type == VALUE_VEC)
		return vec_op(e, OP_SUB, &zero, v, where);
	return value_double(-eval_number(e, v, where));
}
