/* value.c - single values of the pipeline file: their types, ranges and characters. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "batch/base/json.h"
#include "batch/pipeline/model.h"

static int fail_at(struct parser *ps, int line, const char *fmt, va_list ap)
{
	char msg[400];
	vsnprintf(msg, sizeof(msg), fmt, ap);
	return adafs_err_set(ps->reterr, -EINVAL, "%s:%d: %s", ps->p->path, line, msg);
}

int parse_fail(struct parser *ps, const cJSON *at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int rc = fail_at(ps, lines_of_value(&ps->lines, at), fmt, ap);
	va_end(ap);
	return rc;
}

int parse_fail_key(struct parser *ps, const cJSON *at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int rc = fail_at(ps, lines_of_key(&ps->lines, at), fmt, ap);
	va_end(ap);
	return rc;
}

int value_object(struct parser *ps, const cJSON *v, const char *what)
{
	if (!cJSON_IsObject(v))
		return parse_fail(ps, v, "%s is no object; write { ... }", what);
	return 0;
}

/* Whether a comma-separated list such as "name, command" holds the word. */
static bool list_has(const char *list, const char *word)
{
	size_t len = strlen(word);
	for (const char *p = list; len && (p = strstr(p, word)); p += len) {
		bool starts = p == list || p[-1] == ' ';
		if (starts && (p[len] == ',' || !p[len]))
			return true;
	}
	return false;
}

int value_keys(struct parser *ps, const cJSON *object, const char *what, const char *known)
{
	for (const cJSON *v = object->child; v; v = v->next) {
		if (known && !list_has(known, v->string))
			return parse_fail_key(ps, v,
					      "%s has an unknown key \"%.40s\"; known are %s", what,
					      v->string, known);
		for (const cJSON *u = object->child; u != v; u = u->next)
			if (!strcmp(u->string, v->string))
				return parse_fail_key(ps, v,
						      "%s has \"%.40s\" twice; remove one of them",
						      what, v->string);
	}
	return 0;
}

int value_text(struct parser *ps, const cJSON *v, const char *what, const char **ret)
{
	if (!cJSON_IsString(v) || !v->valuestring[0])
		return parse_fail(ps, v, "%s is no text; write it as \"...\"", what);
	*ret = v->valuestring;
	return 0;
}

int value_bool(struct parser *ps, const cJSON *v, const char *what, bool *ret)
{
	if (!cJSON_IsBool(v))
		return parse_fail(ps, v, "%s is no truth value; write true or false", what);
	*ret = cJSON_IsTrue(v);
	return 0;
}

int value_int(struct parser *ps, const cJSON *v, const char *what, int min, int max, int *ret)
{
	double d = cJSON_IsNumber(v) ? v->valuedouble : -1e9;
	if (d < min || d > max || d != (int)d)
		return parse_fail(ps, v, "%s is no whole number from %d to %d; correct it", what,
				  min, max);
	*ret = (int)d;
	return 0;
}

int value_name(struct parser *ps, const cJSON *at, const char *name, const char *what)
{
	size_t len = strlen(name);
	bool ok = len && len <= MODEL_MAX_NAME && name[0] >= 'a' && name[0] <= 'z' &&
		  name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-")] == 0;
	if (!ok)
		return parse_fail_key(
			ps, at,
			"'%.60s' is no name for %s; use a-z, 0-9, _ and -, a letter first, "
			"at most %d characters",
			name, what, MODEL_MAX_NAME);
	return 0;
}

/* One segment between slashes: not empty, not "." or "..". */
static bool segments_ok(const char *path)
{
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");
		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n;
		if (*p == '/' && !*++p)
			return false;
	}
	return *path != 0;
}

static bool below(const char *path, const char *folder)
{
	size_t n = strlen(folder);
	return !strncmp(path, folder, n) && (path[n] == '/' || !path[n]);
}

int value_path(struct parser *ps, const cJSON *at, const char *path, const char *what,
	       bool wildcards)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789._-+=,@%/";
	size_t n = strspn(path, plain);
	while (wildcards && path[n] && strchr("*?[]!", path[n]))
		n += 1 + strspn(path + n + 1, plain);
	if (path[n])
		return parse_fail(
			ps, at,
			"%s '%.80s' has the character '%.1s'; use letters, digits and ._-+=,@%%/%s",
			what, path, path + n, wildcards ? " and the wildcards * ** ? []" : "");
	if (!segments_ok(path) || path[0] == '-')
		return parse_fail(
			ps, at,
			"%s '%.80s' is no path below the working directory; write it without a "
			"leading / or -, without . and ..",
			what, path);
	if (below(path, ".adafs") || below(path, "in"))
		return parse_fail(ps, at,
				  "%s '%.80s' is in a folder that adafs uses; choose another "
				  "than in/ and .adafs/",
				  what, path);
	return 0;
}
