/*
 * emulator/batch/node/glob.c - matching of one segment, the walk over directories segment by
 * segment, and variables.
 */
#include "batch/emulator/batch/node/glob.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "batch/base/buf.h"

#define MAX_DEPTH 100
#define PATTERN_MAX (64u << 10)

/* The set at p (behind '['); *ret_end is behind its ']'. NULL end: no set, '[' is literal. */
static bool set_match(const char *p, char c, const char **ret_end)
{
	bool negated = *p == '!' || *p == '^', found = false;
	p += negated;
	const char *first = p;
	for (; *p && (*p != ']' || p == first); p++) {
		if (p[1] == '-' && p[2] && p[2] != ']') {
			found |= (unsigned char)*p <= (unsigned char)c &&
				 (unsigned char)c <= (unsigned char)p[2];
			p += 2;
		} else {
			found |= *p == c;
		}
	}
	*ret_end = *p ? p + 1 : NULL;
	return found != negated;
}

static bool match(const char *pattern, const char *name)
{
	const char *star = NULL, *star_name = NULL, *end;
	for (;;) {
		if (*pattern == '*') {
			star = ++pattern;
			star_name = name;
			continue;
		}
		if (!*name && !*pattern)
			return true;
		bool ok = false;
		const char *next = pattern + 1;
		if (*name && *pattern == '?') {
			ok = true;
		} else if (*name && *pattern == '[') {
			ok = set_match(pattern + 1, *name, &end);
			if (end)
				next = end;
			else
				ok = *name == '[';
		} else if (*name && *pattern) {
			ok = *pattern == *name;
		}
		if (ok) {
			pattern = next;
			name++;
			continue;
		}
		if (!star || !*star_name)
			return false;
		pattern = star;
		name = ++star_name;
	}
}

bool batch_glob_segment(const char *pattern, const char *name)
{
	if (*name == '.' && *pattern != '.')
		return false;
	return match(pattern, name);
}

bool batch_glob_has_wildcard(const char *pattern)
{
	return strpbrk(pattern, "*?[") != NULL;
}

struct walk {
	batch_glob_fn *fn;
	void *arg;
};

static int walk_segments(const struct walk *w, const char *dir, const char *relative,
			 const char *pattern, int depth);

static char *join(const char *a, const char *b)
{
	if (!*a)
		return strdup(b);
	return adafs_fmt(a[strlen(a) - 1] == '/' ? "%s%s" : "%s/%s", a, b);
}

/* An entry matched `pattern`'s first segment: a file if it was the last one, else go down. */
static int walk_entry(const struct walk *w, const char *dir, const char *relative, const char *name,
		      const char *rest, int depth)
{
	ADAFS_FREE char *path = join(dir, name), *rel = join(relative, name);
	if (!path || !rel)
		return -ENOMEM;
	struct stat st;
	if (stat(path, &st) < 0)
		return 0;
	if (*rest)
		return S_ISDIR(st.st_mode) ? walk_segments(w, path, rel, rest, depth + 1) : 0;
	return S_ISREG(st.st_mode) ? w->fn(w->arg, path, rel) : 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* Entries of dir that match segment, in order of name. "**": its directories, no links. */
static int walk_directory(const struct walk *w, const char *dir, const char *relative,
			  const char *segment, const char *rest, int depth)
{
	struct dirent **entry = NULL;
	int n = scandir(dir, &entry, NULL, by_name), rc = 0;
	bool deep = strcmp(segment, "**") == 0;
	for (int i = 0; i < n; i++) {
		const char *name = entry[i]->d_name;
		bool dots = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
		if (rc == 0 && !dots && deep && *name != '.') {
			ADAFS_FREE char *path = join(dir, name), *rel = join(relative, name);
			struct stat st;
			if (!path || !rel)
				rc = -ENOMEM;
			else if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
				rc = walk_directory(w, path, rel, segment, rest, depth + 1);
		} else if (rc == 0 && !dots && !deep && batch_glob_segment(segment, name)) {
			rc = walk_entry(w, dir, relative, name, rest, depth);
		}
		free(entry[i]);
	}
	free(entry);
	/*
	 * "**" stands for no directory at all, too. By itself it matches directories only: no file.
	 */
	if (rc == 0 && deep && *rest && depth < MAX_DEPTH)
		rc = walk_segments(w, dir, relative, rest, depth + 1);
	return rc;
}

static int walk_segments(const struct walk *w, const char *dir, const char *relative,
			 const char *pattern, int depth)
{
	if (depth > MAX_DEPTH)
		return 0;
	size_t n = strcspn(pattern, "/");
	ADAFS_FREE char *segment = strndup(pattern, n);
	if (!segment)
		return -ENOMEM;
	const char *rest = pattern + n;
	rest += strspn(rest, "/");
	if (batch_glob_has_wildcard(segment))
		return walk_directory(w, dir, relative, segment, rest, depth);
	return walk_entry(w, dir, relative, segment, rest, depth);
}

int batch_glob_walk(const char *dir, const char *pattern, batch_glob_fn *fn, void *arg)
{
	struct walk w = { .fn = fn, .arg = arg };
	/* The base ends before the first segment with a wildcard, or before the file's name. */
	const char *rest = pattern, *slash;
	while ((slash = strchr(rest, '/')) != NULL) {
		ADAFS_FREE char *segment = strndup(rest, (size_t)(slash - rest));
		if (!segment)
			return -ENOMEM;
		if (batch_glob_has_wildcard(segment))
			break;
		rest = slash + 1;
	}
	ADAFS_FREE char *lead = strndup(pattern, (size_t)(rest - pattern));
	ADAFS_FREE char *base = !lead ? NULL : *pattern == '/' ? strdup(lead) : join(dir, lead);
	if (!base)
		return -ENOMEM;
	return *rest ? walk_segments(&w, base, "", rest, 0) : 0;
}

char *batch_glob_expand(const char *pattern, char *const *envp)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf out = ADAFS_BUF_INIT(PATTERN_MAX);
	while (*pattern) {
		const char *name = pattern + 1;
		bool brace = *pattern == '$' && *name == '{';
		name += brace;
		size_t n = 0;
		while (isalnum((unsigned char)name[n]) || name[n] == '_')
			n++;
		if (*pattern != '$' || !n || (brace && name[n] != '}')) {
			if (adafs_buf_add(&out, pattern++, 1) < 0)
				return NULL;
			continue;
		}
		for (char *const *e = envp; e && *e; e++)
			if (strncmp(*e, name, n) == 0 && (*e)[n] == '=' &&
			    adafs_buf_adds(&out, *e + n + 1) < 0)
				return NULL;
		pattern = name + n + brace;
	}
	return adafs_buf_steal(&out, NULL);
}
