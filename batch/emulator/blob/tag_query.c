/*
 * Expressions over tags, as conditions and searches have them:
 *
 *   or    := and { OR and }          and := term { AND term }
 *   term  := '(' or ')' | name op 'value'
 *   name  := "key" | key | @container     op := = | <> | > | >= | < | <=
 *
 * Values compare as texts. A tag that is not there fulfils nothing but <>.
 */
#include "batch/emulator/blob/blob.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_DEPTH 16

struct query {
	const char *p;
	const char *tags, *container;
	unsigned depth;
};

static void skip_blanks(struct query *q)
{
	while (isspace((unsigned char)*q->p))
		q->p++;
}

static bool take_word(struct query *q, const char *word)
{
	size_t len = strlen(word);
	skip_blanks(q);
	if (strncasecmp(q->p, word, len) != 0 || isalnum((unsigned char)q->p[len]))
		return false;
	q->p += len;
	return true;
}

/* A quoted text; the quote doubled stands for itself. Owned; NULL: broken or no memory. */
static char *take_quoted(struct query *q, char quote)
{
	char *out = malloc(strlen(q->p) + 1);
	size_t n = 0;
	const char *p = q->p + 1;
	for (; out && *p && (*p != quote || p[1] == quote); p++) {
		out[n++] = *p;
		if (*p == quote)
			p++;
	}
	if (!out || *p != quote) {
		free(out);
		return NULL;
	}
	out[n] = 0;
	q->p = p + 1;
	return out;
}

static char *take_name(struct query *q)
{
	skip_blanks(q);
	if (*q->p == '"')
		return take_quoted(q, '"');
	size_t len = *q->p == '@';
	while (isalnum((unsigned char)q->p[len]) || q->p[len] == '_')
		len++;
	char *name = len ? strndup(q->p, len) : NULL;
	q->p += len;
	return name;
}

enum op { OP_EQUAL, OP_DIFFERS, OP_AT_LEAST, OP_AT_MOST, OP_MORE, OP_LESS, OP_COUNT };

static int take_op(struct query *q)
{
	static const char *const texts[OP_COUNT] = { "=", "<>", ">=", "<=", ">", "<" };
	skip_blanks(q);
	for (int i = 0; i < OP_COUNT; i++) {
		size_t len = strlen(texts[i]);
		if (strncmp(q->p, texts[i], len) == 0) {
			q->p += len;
			return i;
		}
	}
	return -EINVAL;
}

static int compare(const char *have, int op, const char *want)
{
	if (!have)
		return op == OP_DIFFERS;
	int d = strcmp(have, want);
	switch (op) {
	case OP_EQUAL:
		return d == 0;
	case OP_DIFFERS:
		return d != 0;
	case OP_AT_LEAST:
		return d >= 0;
	case OP_AT_MOST:
		return d <= 0;
	case OP_MORE:
		return d > 0;
	default:
		return d < 0;
	}
}

static int take_comparison(struct query *q)
{
	ADAFS_FREE char *name = take_name(q);
	int op = name ? take_op(q) : -EINVAL;
	if (op < 0)
		return op;
	skip_blanks(q);
	ADAFS_FREE char *want = *q->p == '\'' ? take_quoted(q, '\'') : NULL;
	if (!want)
		return -EINVAL;
	if (strcasecmp(name, "@container") == 0)
		return q->container ? compare(q->container, op, want) : -EINVAL;
	ADAFS_FREE char *have = NULL;
	int rc = tags_get(q->tags, name, &have);
	return rc < 0 ? rc : compare(have, op, want);
}

static int take_or(struct query *q);

static int take_term(struct query *q)
{
	skip_blanks(q);
	if (*q->p != '(')
		return take_comparison(q);
	if (++q->depth > MAX_DEPTH)
		return -EINVAL;
	q->p++;
	int rc = take_or(q);
	skip_blanks(q);
	q->depth--;
	if (rc < 0 || *q->p != ')')
		return rc < 0 ? rc : -EINVAL;
	q->p++;
	return rc;
}

static int take_and(struct query *q)
{
	int all = take_term(q);
	while (all >= 0 && take_word(q, "AND")) {
		int rc = take_term(q);
		all = rc < 0 ? rc : all && rc;
	}
	return all;
}

static int take_or(struct query *q)
{
	int any = take_and(q);
	while (any >= 0 && take_word(q, "OR")) {
		int rc = take_and(q);
		any = rc < 0 ? rc : any || rc;
	}
	return any;
}

int tag_query_matches(const char *expression, const char *tags, const char *container)
{
	struct query q = { .p = expression, .tags = tags, .container = container };
	int rc = take_or(&q);
	skip_blanks(&q);
	return rc >= 0 && *q.p ? -EINVAL : rc;
}
