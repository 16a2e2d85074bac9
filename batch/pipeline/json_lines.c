/*
 * json_lines.c - cJSON keeps no positions. A second walk over the same text, in step with the
 * finished tree, finds the line of every key and value. The text is known to be valid.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/pipeline/model.h"

struct walk {
	struct lines *lines;
	const char *pos, *end;
	int line;
};

static void skip_space(struct walk *w)
{
	while (w->pos < w->end && (unsigned char)*w->pos <= ' ')
		w->line += *w->pos++ == '\n';
}

static void skip_string(struct walk *w)
{
	for (w->pos++; w->pos < w->end && *w->pos != '"'; w->pos++) {
		w->line += *w->pos == '\n';
		if (*w->pos == '\\')
			w->pos++;
	}
	w->pos++;
}

/* Past one sign such as a comma or a bracket. */
static void skip_sign(struct walk *w)
{
	skip_space(w);
	if (w->pos < w->end)
		w->pos++;
}

static int add_entry(struct lines *l, const cJSON *node, int key, int value)
{
	if (l->n == l->size) {
		size_t size = l->size ? 2 * l->size : 64;
		struct line_entry *v = realloc(l->v, size * sizeof(*v));
		if (!v)
			return -ENOMEM;
		l->v = v;
		l->size = size;
	}
	l->v[l->n++] = (struct line_entry){ node, key, value };
	return 0;
}

static int walk_value(struct walk *w, const cJSON *node, int key_line)
{
	skip_space(w);
	int rc = add_entry(w->lines, node, key_line ? key_line : w->line, w->line);
	if (rc < 0)
		return rc;
	if (cJSON_IsString(node)) {
		skip_string(w);
		return 0;
	}
	if (!cJSON_IsObject(node) && !cJSON_IsArray(node)) {
		while (w->pos < w->end && (unsigned char)*w->pos > ' ' && !strchr(",]}", *w->pos))
			w->pos++;
		return 0;
	}
	skip_sign(w);
	for (const cJSON *child = node->child; child; child = child->next) {
		int line = 0;
		skip_space(w);
		if (cJSON_IsObject(node)) {
			line = w->line;
			skip_string(w);
			skip_sign(w);
		}
		rc = walk_value(w, child, line);
		if (rc < 0)
			return rc;
		if (child->next)
			skip_sign(w);
	}
	skip_sign(w);
	return 0;
}

static int by_node(const void *a, const void *b)
{
	const struct line_entry *x = a, *y = b;
	return (x->node > y->node) - (x->node < y->node);
}

int lines_build(struct lines *l, const cJSON *root, const char *text, size_t len)
{
	struct walk w = { .lines = l, .pos = text, .end = text + len, .line = 1 };
	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
		w.pos += 3;
	int rc = walk_value(&w, root, 0);
	if (rc == 0)
		qsort(l->v, l->n, sizeof(*l->v), by_node);
	return rc;
}

void lines_clear(struct lines *l)
{
	free(l->v);
	*l = (struct lines){ 0 };
}

static const struct line_entry *find(const struct lines *l, const cJSON *node)
{
	struct line_entry key = { .node = node };
	return node && l->n ? bsearch(&key, l->v, l->n, sizeof(key), by_node) : NULL;
}

int lines_of_key(const struct lines *l, const cJSON *node)
{
	const struct line_entry *e = find(l, node);
	return e ? e->key : 1;
}

int lines_of_value(const struct lines *l, const cJSON *node)
{
	const struct line_entry *e = find(l, node);
	return e ? e->value : 1;
}
