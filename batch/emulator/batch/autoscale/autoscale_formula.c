/*
 * emulator/batch/autoscale/autoscale_formula.c - formulas are parsed by recursive descent and
 * evaluated on the way; what is not to be evaluated (the other branch of ?:, a check of the syntax)
 * is parsed only.
 */
#include "batch/emulator/batch/autoscale/autoscale_formula.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "batch/emulator/batch/autoscale/autoscale_int.h"

#define MAX_DEPTH 64
#define MAX_ARGS 64
#define MAX_MEMORY (4u << 20) /* bounds the time as well: there are no loops */

const char *autoscale_failure_code(enum autoscale_failure kind)
{
	return kind == AUTOSCALE_SYNTAX ? "AutoScalingFormulaSyntaxError"
	       : kind == AUTOSCALE_DATA ? "InsufficientSampleData"
					: "AutoScalingFormulaEvaluationError";
}

const char *autoscale_failure_text(enum autoscale_failure kind)
{
	return kind == AUTOSCALE_SYNTAX ? "The specified autoscaling formula has a syntax error"
	       : kind == AUTOSCALE_DATA
		       ? "Autoscale evaluation failed due to insufficient sample data"
		       : "The specified autoscaling formula failed to evaluate";
}

struct value eval_fail(struct eval *e, enum autoscale_failure kind, const char *where,
		       const char *fmt, ...)
{
	struct value none = { 0 };
	if (e->failed)
		return none;
	e->failed = true;
	int line = 1, col = 1;
	for (const char *p = e->text; p < where; p++) {
		col = *p == '\n' ? 1 : col + 1;
		line += *p == '\n';
	}
	char text[192];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	e->error->kind = kind;
	snprintf(e->error->detail, sizeof(e->error->detail), "Line %d, Col %d: %s", line, col,
		 text);
	return none;
}

static struct value syntax(struct eval *e, const char *where, const char *wanted)
{
	if (!*where)
		return eval_fail(e, AUTOSCALE_SYNTAX, where, "Unexpected end, %s expected", wanted);
	return eval_fail(e, AUTOSCALE_SYNTAX, where, "Unexpected '%c', %s expected", *where,
			 wanted);
}

void *eval_alloc(struct eval *e, size_t size)
{
	if (size > MAX_MEMORY - e->owned_size) {
		eval_fail(e, AUTOSCALE_EVALUATION, e->at, "The formula needs too much memory");
		return NULL;
	}
	e->owned_size += size;
	void **list = reallocarray(e->owned, e->n_owned + 1, sizeof(*list));
	if (list) {
		e->owned = list;
		list[e->n_owned] = calloc(1, size);
		if (list[e->n_owned])
			return list[e->n_owned++];
	}
	e->no_memory = e->failed = true;
	return NULL;
}

/* --- words -------------------------------------------------------------------------------- */

static void skip_blanks(struct eval *e)
{
	for (;;) {
		e->at += strspn(e->at, " \t\r\n");
		if (e->at[0] == '/' && e->at[1] == '/') {
			e->at += strcspn(e->at, "\n");
		} else if (e->at[0] == '/' && e->at[1] == '*') {
			const char *end = strstr(e->at + 2, "*/");
			e->at = end ? end + 2 : e->at + strlen(e->at);
		} else {
			return;
		}
	}
}

static bool accept(struct eval *e, const char *word)
{
	skip_blanks(e);
	size_t n = strlen(word);
	if (strncmp(e->at, word, n) != 0)
		return false;
	/* "<" is not the start of "<=", nor "=" that of "==". */
	if (n == 1 && strchr("<>=!", *word) && e->at[1] == '=')
		return false;
	e->at += n;
	return true;
}

static void expect(struct eval *e, const char *word, const char *what)
{
	if (!e->failed && !accept(e, word))
		syntax(e, e->at, what);
}

static bool name_start(char c)
{
	return isalpha((unsigned char)c) || c == '_' || c == '$';
}

static bool read_name(struct eval *e, char ret[FORMULA_MAX_NAME])
{
	skip_blanks(e);
	if (!name_start(*e->at))
		return false;
	size_t n = 1;
	while (isalnum((unsigned char)e->at[n]) || e->at[n] == '_')
		n++;
	if (n >= FORMULA_MAX_NAME) {
		syntax(e, e->at, "a shorter name");
		return false;
	}
	memcpy(ret, e->at, n);
	ret[n] = 0;
	e->at += n;
	return true;
}

/* --- expressions -------------------------------------------------------------------------- */

static struct value expression(struct eval *e);

/* Not on the stack: lists are nested, and the stack of a server's thread is small. */
struct list {
	struct value *item;
	size_t n;
};

static void list_clear(struct list *l)
{
	free(l->item);
}

static void list_add(struct eval *e, struct list *l, const struct value *v)
{
	if (l->n == MAX_ARGS) {
		syntax(e, e->at, "a shorter list");
		return;
	}
	struct value *item = reallocarray(l->item, l->n + 1, sizeof(*item));
	if (!item) {
		e->no_memory = e->failed = true;
		return;
	}
	l->item = item;
	item[l->n++] = *v;
}

/* The list up to the closing word. */
static void arguments(struct eval *e, struct list *l, const char *close)
{
	if (accept(e, close))
		return;
	do {
		struct value v = expression(e);
		list_add(e, l, &v);
	} while (!e->failed && accept(e, ","));
	expect(e, close, "',' or the end of the list");
}

static struct value vector_literal(struct eval *e)
{
	ADAFS_CLEANUP(list_clear) struct list arg = { 0 };
	const char *where = e->at;
	arguments(e, &arg, "]");
	if (!eval_live(e))
		return (struct value){ 0 };
	struct value v = { .type = VALUE_VEC, .vec = eval_alloc(e, (arg.n + 1) * sizeof(double)) };
	for (; v.vec && v.n < arg.n; v.n++)
		v.vec[v.n] = eval_number(e, &arg.item[v.n], where);
	return v;
}

static struct value string_literal(struct eval *e)
{
	const char *end = strchr(e->at + 1, *e->at);
	if (!end)
		return syntax(e, e->at + strlen(e->at), "the end of a string");
	size_t n = (size_t)(end - e->at - 1);
	char *text = eval_alloc(e, n + 1);
	if (text)
		memcpy(text, e->at + 1, n);
	e->at = end + 1;
	return (struct value){ .type = VALUE_STRING, .text = text };
}

/* Digits, point, exponent: not the rest of what strtod reads, such as "inf" and hexadecimals. */
static struct value number_literal(struct eval *e)
{
	size_t n = strspn(e->at, "0123456789.");
	if (e->at[n] == 'e' || e->at[n] == 'E') {
		size_t sign = e->at[n + 1] == '-' || e->at[n + 1] == '+';
		size_t digits = strspn(e->at + n + 1 + sign, "0123456789");
		n += digits ? 1 + sign + digits : 0;
	}
	char text[64], *end;
	if (n >= sizeof(text))
		return syntax(e, e->at, "a shorter number");
	memcpy(text, e->at, n);
	text[n] = 0;
	double d = strtod(text, &end);
	if (*end)
		return syntax(e, e->at + (end - text), "a number");
	e->at += n;
	return value_double(d);
}

static struct value named(struct eval *e)
{
	char name[FORMULA_MAX_NAME];
	ADAFS_CLEANUP(list_clear) struct list arg = { 0 };
	skip_blanks(e);
	const char *where = e->at;
	if (!read_name(e, name))
		return syntax(e, e->at, "a value");
	if (!accept(e, "("))
		return variable_read(e, name, where);
	where = e->at - 1;
	if (!function_known(name))
		return eval_fail(e, AUTOSCALE_SYNTAX, where, "Unknown function %s", name);
	arguments(e, &arg, ")");
	return eval_live(e) ? function_call(e, name, arg.item, arg.n, where) : (struct value){ 0 };
}

static struct value primary(struct eval *e)
{
	skip_blanks(e);
	if (isdigit((unsigned char)*e->at) || (*e->at == '.' && isdigit((unsigned char)e->at[1])))
		return number_literal(e);
	if (*e->at == '"')
		return string_literal(e);
	if (accept(e, "["))
		return vector_literal(e);
	if (accept(e, "(")) {
		struct value v = expression(e);
		expect(e, ")", "')'");
		return v;
	}
	return named(e);
}

static struct value time_member(struct eval *e, const struct value *v, const char *name,
				const char *where)
{
	static const char *const names[] = { "year", "month",  "day",   "weekday",
					     "hour", "minute", "second" };
	size_t which = 0;
	while (which < ADAFS_ARRAY_SIZE(names) && strcmp(names[which], name) != 0)
		which++;
	if (which == ADAFS_ARRAY_SIZE(names))
		return eval_fail(e, AUTOSCALE_SYNTAX, where, "Unknown member %s", name);
	if (!eval_live(e))
		return (struct value){ 0 };
	if (v->type != VALUE_TIME)
		return eval_fail(e, AUTOSCALE_EVALUATION, where, "%s is a member of timestamps",
				 name);
	time_t t = (time_t)(v->ticks / TICKS_PER_SECOND);
	struct tm tm;
	gmtime_r(&t, &tm);
	const int fields[] = { tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_wday,
			       tm.tm_hour,        tm.tm_min,     tm.tm_sec };
	return value_double(fields[which]);
}

static struct value member(struct eval *e, const struct value *v)
{
	char name[FORMULA_MAX_NAME];
	ADAFS_CLEANUP(list_clear) struct list arg = { 0 };
	skip_blanks(e);
	const char *where = e->at;
	if (!read_name(e, name))
		return syntax(e, e->at, "the name of a member");
	if (!accept(e, "("))
		return time_member(e, v, name, where);
	where = e->at - 1;
	if (!method_known(name))
		return eval_fail(e, AUTOSCALE_SYNTAX, where, "Unknown method %s", name);
	arguments(e, &arg, ")");
	if (!eval_live(e))
		return (struct value){ 0 };
	if (v->type != VALUE_METRIC)
		return eval_fail(e, AUTOSCALE_EVALUATION, where, "%s is a method of metrics", name);
	return method_call(e, v->metric, name, arg.item, arg.n, where);
}

static struct value postfix(struct eval *e)
{
	struct value v = primary(e);
	while (!e->failed) {
		if (accept(e, ".")) {
			v = member(e, &v);
		} else if (accept(e, "[")) {
			const char *where = e->at - 1;
			struct value arg[2] = { v, expression(e) };
			expect(e, "]", "']'");
			v = eval_live(e) ? function_call(e, "val", arg, 2, where)
					 : (struct value){ 0 };
		} else {
			break;
		}
	}
	return v;
}

static struct value unary(struct eval *e)
{
	skip_blanks(e);
	const char *where = e->at;
	bool minus = accept(e, "-");
	if (!minus && !accept(e, "!"))
		return postfix(e);
	if (++e->depth > MAX_DEPTH)
		return syntax(e, where, "a simpler expression");
	struct value v = unary(e);
	e->depth--;
	if (!eval_live(e))
		return v;
	if (minus)
		return operator_minus(e, &v, where);
	return value_double(eval_number(e, &v, where) == 0);
}

static struct value product(struct eval *e)
{
	struct value a = unary(e);
	while (!e->failed) {
		skip_blanks(e);
		const char *where = e->at;
		bool times = accept(e, "*");
		if (!times && !accept(e, "/"))
			break;
		struct value b = unary(e);
		a = operator_binary(e, times ? OP_MUL : OP_DIV, &a, &b, where);
	}
	return a;
}

static struct value total(struct eval *e)
{
	struct value a = product(e);
	while (!e->failed) {
		skip_blanks(e);
		const char *where = e->at;
		bool plus = accept(e, "+");
		if (!plus && !accept(e, "-"))
			break;
		struct value b = product(e);
		a = operator_binary(e, plus ? OP_ADD : OP_SUB, &a, &b, where);
	}
	return a;
}

/* Left to right through one level of comparison operators. */
static struct value comparisons(struct eval *e, const char *const *ops,
				struct value (*next)(struct eval *))
{
	struct value a = next(e);
	while (!e->failed) {
		skip_blanks(e);
		const char *where = e->at, *op = NULL;
		for (size_t i = 0; ops[i] && !op; i++)
			op = accept(e, ops[i]) ? ops[i] : NULL;
		if (!op)
			break;
		struct value b = next(e);
		a = operator_compare(e, op, &a, &b, where);
	}
	return a;
}

static struct value relation(struct eval *e)
{
	static const char *const ops[] = { "<=", ">=", "<", ">", NULL };
	return comparisons(e, ops, total);
}

static struct value equality(struct eval *e)
{
	static const char *const ops[] = { "==", "!=", NULL };
	return comparisons(e, ops, relation);
}

/* The right side is not evaluated when the left one decides. */
static struct value logical(struct eval *e, const char *op, bool decides,
			    struct value (*next)(struct eval *))
{
	struct value a = next(e);
	for (;;) {
		skip_blanks(e);
		const char *where = e->at;
		if (e->failed || !accept(e, op))
			return a;
		bool live = eval_live(e);
		bool left = live && eval_number(e, &a, where) != 0;
		bool decided = live && left == decides;
		e->skip += decided;
		struct value b = next(e);
		e->skip -= decided;
		if (live && eval_live(e))
			a = value_double(decided ? left : eval_number(e, &b, where) != 0);
	}
}

static struct value conjunction(struct eval *e)
{
	return logical(e, "&&", false, equality);
}

static struct value disjunction(struct eval *e)
{
	return logical(e, "||", true, conjunction);
}

static struct value expression(struct eval *e)
{
	if (++e->depth > MAX_DEPTH)
		return syntax(e, e->at, "a simpler expression");
	struct value condition = disjunction(e);
	skip_blanks(e);
	const char *where = e->at;
	struct value result = condition;
	if (!e->failed && accept(e, "?")) {
		bool taken = eval_live(e) && eval_number(e, &condition, where) != 0;
		e->skip += !taken;
		struct value yes = expression(e);
		e->skip -= !taken;
		expect(e, ":", "':'");
		e->skip += taken;
		struct value no = expression(e);
		e->skip -= taken;
		result = taken ? yes : no;
	}
	e->depth--;
	return result;
}

static void statement(struct eval *e)
{
	char name[FORMULA_MAX_NAME];
	skip_blanks(e);
	const char *start = e->at;
	if (read_name(e, name) && accept(e, "=")) {
		struct value v = expression(e);
		if (!e->failed)
			variable_assign(e, name, &v, start);
		return;
	}
	if (e->failed)
		return;
	e->at = start;
	expression(e);
}

static void run(struct eval *e)
{
	int n = 0;
	for (skip_blanks(e); *e->at && !e->failed; skip_blanks(e)) {
		if (accept(e, ";"))
			continue;
		if (++n > AUTOSCALE_MAX_STATEMENTS) {
			syntax(e, e->at, "no more than 100 statements");
			return;
		}
		statement(e);
		skip_blanks(e);
		if (*e->at)
			expect(e, ";", "';'");
	}
}

/* --- the whole ---------------------------------------------------------------------------- */

static int finish(struct eval *e)
{
	for (size_t i = 0; i < e->n_owned; i++)
		free(e->owned[i]);
	free(e->owned);
	free(e->variable);
	return e->no_memory ? -ENOMEM : e->failed ? -EINVAL : 0;
}

int autoscale_check(const char *formula, struct autoscale_error *ret_error)
{
	struct eval e = { .text = formula, .at = formula, .error = ret_error };
	*ret_error = (struct autoscale_error){ 0 };
	run(&e);
	return finish(&e);
}

int autoscale_evaluate(const char *formula, const struct autoscale_input *in,
		       struct autoscale_result *ret, struct adafs_buf *ret_text,
		       struct autoscale_error *ret_error)
{
	struct eval e = { .text = formula,
			  .at = formula,
			  .in = in,
			  .error = ret_error,
			  .dedicated = (double)in->dedicated,
			  .low_priority = (double)in->low_priority,
			  .option = variable_default_option() };
	*ret_error = (struct autoscale_error){ 0 };
	run(&e);
	/* What failed half way changes nothing. */
	if (e.failed) {
		e.dedicated = (double)in->dedicated;
		e.low_priority = (double)in->low_priority;
		e.option = variable_default_option();
	}
	variables_print(&e, ret_text);
	ret->dedicated = (int64_t)e.dedicated;
	ret->low_priority = (int64_t)e.low_priority;
	snprintf(ret->option, sizeof(ret->option), "%s", e.option);
	return finish(&e);
}
