/*
 * emulator/batch/api/odata.c - a recursive-descent reader of $filter and its evaluation on an
 * entity; $select. Pure.
 */
#include "batch/emulator/batch/api/odata.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"

#define MAX_DEPTH 32

enum kind { AND, OR, COMPARE, STARTSWITH };
enum op { EQ, NE, GE, GT, LE, LT };
static const char *const op_names[] = { "eq", "ne", "ge", "gt", "le", "lt" };

struct odata_filter {
	enum kind kind;
	struct odata_filter *left, *right; /* AND, OR */
	const struct odata_property *property;
	enum op op;
	char *text;     /* ODATA_STRING */
	int64_t number; /* ODATA_TIME (microseconds), ODATA_INT, ODATA_BOOL */
};

struct parser {
	const char *start, *at;
	const struct odata_property *allowed;
	struct adafs_err *err;
	int depth;
};

static int parse_or(struct parser *p, struct odata_filter **ret);

static int fail(struct parser *p, const char *what)
{
	return adafs_err_set(p->err, -EINVAL, "%s at position %zu", what,
			     (size_t)(p->at - p->start));
}

static void blanks(struct parser *p)
{
	while (isspace((unsigned char)*p->at))
		p->at++;
}

/* The length of the word at the cursor: a name, an operator, a number. */
static size_t word_len(const struct parser *p)
{
	size_t n = 0;
	while (isalnum((unsigned char)p->at[n]) || (p->at[n] && strchr("_/.+-$", p->at[n])))
		n++;
	return n;
}

static bool take_word(struct parser *p, const char *word)
{
	blanks(p);
	size_t n = strlen(word);
	if (word_len(p) != n || strncmp(p->at, word, n) != 0)
		return false;
	p->at += n;
	return true;
}

static bool take_char(struct parser *p, char c)
{
	blanks(p);
	if (*p->at != c)
		return false;
	p->at++;
	return true;
}

/* A text in single quotes, a quote in it doubled. */
static int take_string(struct parser *p, char **ret)
{
	if (!take_char(p, '\''))
		return fail(p, "a text in single quotes is expected");
	char *out = malloc(strlen(p->at) + 1);
	if (!out)
		return -ENOMEM;
	size_t n = 0;
	for (;; p->at++) {
		if (!*p->at) {
			free(out);
			return fail(p, "the text does not end");
		}
		if (*p->at == '\'' && *++p->at != '\'')
			break;
		out[n++] = *p->at;
	}
	out[n] = 0;
	*ret = out;
	return 0;
}

static int take_property(struct parser *p, const struct odata_property **ret)
{
	blanks(p);
	size_t n = word_len(p);
	for (const struct odata_property *a = p->allowed; n && a->name; a++) {
		if (strlen(a->name) == n && strncmp(p->at, a->name, n) == 0) {
			*ret = a;
			p->at += n;
			return 0;
		}
	}
	return fail(p, "a property that can be filtered by is expected");
}

static int take_time(struct parser *p, int64_t *ret)
{
	blanks(p);
	if (strncasecmp(p->at, "datetime'", 9) == 0)
		p->at += 8;
	ADAFS_FREE char *text = NULL;
	int rc = take_string(p, &text);
	if (rc < 0)
		return rc;
	return adafs_clock_parse_iso8601(text, ret) < 0 ? fail(p, "a time is expected") : 0;
}

static int take_number(struct parser *p, int64_t *ret)
{
	blanks(p);
	char *end;
	errno = 0;
	*ret = strtoll(p->at, &end, 10);
	if (end == p->at || errno || isspace((unsigned char)*p->at) || *end == '.')
		return fail(p, "an integer is expected");
	p->at = end;
	return 0;
}

static int take_value(struct parser *p, struct odata_filter *f)
{
	switch (f->property->type) {
	case ODATA_STRING:
		return take_string(p, &f->text);
	case ODATA_TIME:
		return take_time(p, &f->number);
	case ODATA_INT:
		return take_number(p, &f->number);
	case ODATA_BOOL:
		f->number = take_word(p, "true");
		return f->number || take_word(p, "false") ? 0
							  : fail(p, "true or false is expected");
	}
	return -EINVAL;
}

static int parse_startswith(struct parser *p, struct odata_filter *f)
{
	f->kind = STARTSWITH;
	if (!take_char(p, '('))
		return fail(p, "'(' is expected");
	int rc = take_property(p, &f->property);
	if (rc < 0)
		return rc;
	if (!(f->property->ops & ODATA_STARTS))
		return fail(p, "startswith is not supported for this property");
	if (!take_char(p, ','))
		return fail(p, "',' is expected");
	rc = take_string(p, &f->text);
	if (rc < 0)
		return rc;
	return take_char(p, ')') ? 0 : fail(p, "')' is expected");
}

static int parse_comparison(struct parser *p, struct odata_filter *f)
{
	f->kind = COMPARE;
	int rc = take_property(p, &f->property);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(op_names); i++) {
		if (!take_word(p, op_names[i]))
			continue;
		unsigned need = i == EQ ? ODATA_EQ : i == NE ? ODATA_NE : ODATA_ORDER;
		if (!(f->property->ops & need))
			return fail(p, "the operator is not supported for this property");
		f->op = (enum op)i;
		return take_value(p, f);
	}
	return fail(p, "an operator is expected");
}

static int parse_term(struct parser *p, struct odata_filter **ret)
{
	if (take_char(p, '(')) {
		if (++p->depth > MAX_DEPTH)
			return fail(p, "too many parentheses");
		int rc = parse_or(p, ret);
		p->depth--;
		if (rc < 0)
			return rc;
		return take_char(p, ')') ? 0 : fail(p, "')' is expected");
	}
	struct odata_filter *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	*ret = f; /* owned by the caller also on failure */
	return take_word(p, "startswith") ? parse_startswith(p, f) : parse_comparison(p, f);
}

/* Operands joined by one word, left to right. */
static int parse_joined(struct parser *p, enum kind kind, const char *word,
			int (*operand)(struct parser *, struct odata_filter **),
			struct odata_filter **ret)
{
	int rc = operand(p, ret);
	while (rc == 0 && take_word(p, word)) {
		struct odata_filter *f = calloc(1, sizeof(*f));
		if (!f)
			return -ENOMEM;
		f->kind = kind;
		f->left = *ret;
		*ret = f;
		rc = operand(p, &f->right);
	}
	return rc;
}

static int parse_and(struct parser *p, struct odata_filter **ret)
{
	return parse_joined(p, AND, "and", parse_term, ret);
}

static int parse_or(struct parser *p, struct odata_filter **ret)
{
	return parse_joined(p, OR, "or", parse_and, ret);
}

int odata_filter_parse(const char *text, const struct odata_property *allowed,
		       struct odata_filter **ret, struct adafs_err *reterr)
{
	struct parser p = { .start = text, .at = text, .allowed = allowed, .err = reterr };
	ADAFS_CLEANUP(odata_filter_freep) struct odata_filter *f = NULL;
	int rc = parse_or(&p, &f);
	if (rc < 0)
		return rc;
	blanks(&p);
	if (*p.at)
		return fail(&p, "the end of the filter is expected");
	*ret = ADAFS_STEAL(f);
	return 0;
}

void odata_filter_free(struct odata_filter *f)
{
	/* Chains grow to the left without bound, to the right only with parentheses. */
	while (f) {
		struct odata_filter *left = f->left;
		odata_filter_free(f->right);
		free(f->text);
		free(f);
		f = left;
	}
}

void odata_filter_freep(struct odata_filter **f)
{
	odata_filter_free(*f);
}

static bool ordered(enum op op, int cmp)
{
	switch (op) {
	case EQ:
		return cmp == 0;
	case NE:
		return cmp != 0;
	case GE:
		return cmp >= 0;
	case GT:
		return cmp > 0;
	case LE:
		return cmp <= 0;
	case LT:
		return cmp < 0;
	}
	return false;
}

static bool match_one(const struct odata_filter *f, const cJSON *entity)
{
	const char *path = f->property->path ? f->property->path : f->property->name;
	const cJSON *v = adafs_json_path(entity, path);
	if (!v) /* null differs from every value and is not ordered */
		return f->kind == COMPARE && f->op == NE;
	if (f->kind == STARTSWITH)
		return cJSON_IsString(v) &&
		       strncasecmp(v->valuestring, f->text, strlen(f->text)) == 0;
	if (f->property->type == ODATA_STRING)
		return cJSON_IsString(v) && ordered(f->op, strcasecmp(v->valuestring, f->text));
	int64_t n = cJSON_IsTrue(v);
	if (f->property->type == ODATA_INT)
		n = (int64_t)v->valuedouble;
	if (f->property->type == ODATA_TIME &&
	    (!cJSON_IsString(v) || adafs_clock_parse_iso8601(v->valuestring, &n) < 0))
		return false;
	return ordered(f->op, n < f->number ? -1 : n > f->number);
}

bool odata_filter_match(const struct odata_filter *f, const cJSON *entity)
{
	if (!f)
		return true;
	switch (f->kind) {
	case AND:
		return odata_filter_match(f->left, entity) && odata_filter_match(f->right, entity);
	case OR:
		return odata_filter_match(f->left, entity) || odata_filter_match(f->right, entity);
	default:
		return match_one(f, entity);
	}
}

bool odata_selected(const char *select, const char *name)
{
	if (!select)
		return true;
	size_t n = strlen(name);
	while (*select) {
		size_t len;
		select += strspn(select, ", \t");
		len = strcspn(select, ", \t");
		if (len == n && strncmp(select, name, n) == 0)
			return true;
		select += len;
	}
	return false;
}
