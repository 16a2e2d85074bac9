/*
 * parse.c - the pipeline file's top level. The order is: JSON, single values, steps, then the
 * references between them, then the graph; the first error ends it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/json.h"
#include "batch/pipeline/model.h"

static void *own(struct parser *ps, void *mem)
{
	struct adafs_pipeline *p = ps->p;
	void **owned = mem ? realloc(p->owned, (p->n_owned + 1) * sizeof(*owned)) : NULL;
	if (!owned) {
		free(mem);
		adafs_err_set(ps->reterr, -ENOMEM, "%s: out of memory", p->path);
		return NULL;
	}
	p->owned = owned;
	owned[p->n_owned++] = mem;
	return mem;
}

void *parse_alloc(struct parser *ps, size_t n, size_t size)
{
	return own(ps, calloc(n ? n : 1, size));
}

char *parse_text(struct parser *ps, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	return own(ps, n < 0 ? NULL : text);
}

/* "pre-event/x*" or "x*": the folder of a role is one level deep. */
static int parse_match(struct parser *ps, const cJSON *v, const char **ret)
{
	const char *match = NULL;
	int rc = value_text(ps, v, "match", &match);
	if (rc < 0)
		return rc;
	const char *slash = strchr(match, '/');
	bool bad = match[0] == '/' || strstr(match, "..") || (slash && strchr(slash + 1, '/')) ||
		   (slash && !slash[1]);
	if (bad)
		return parse_fail(ps, v,
				  "match '%.60s' fits no image of an event; write <pattern> or "
				  "<folder>/<pattern>",
				  match);
	*ret = match;
	return 0;
}

static int parse_input(struct parser *ps, const cJSON *v, struct adafs_pipeline_input *in)
{
	int rc = value_name(ps, v, v->string, "an input");
	if (rc < 0)
		return rc;
	in->name = v->string;
	if (cJSON_IsString(v))
		return parse_match(ps, v, &in->match);
	rc = value_object(ps, v, "an input");
	if (rc == 0)
		rc = value_keys(ps, v, "an input",
				"match, many, bands, max_pixel_size, crs, overlap");
	if (rc < 0)
		return rc;
	if (!adafs_json_get(v, "match"))
		return parse_fail(ps, v,
				  "input '%s' has no \"match\"; say which files of an event it "
				  "takes, such as \"pre-event/*\"",
				  v->string);
	rc = parse_match(ps, adafs_json_get(v, "match"), &in->match);
	const cJSON *many = adafs_json_get(v, "many");
	if (rc == 0 && many)
		rc = value_bool(ps, many, "many", &in->many);
	return rc < 0 ? rc : parse_demands(ps, v, in);
}

static int parse_inputs(struct parser *ps, const cJSON *inputs)
{
	struct adafs_pipeline *p = ps->p;
	size_t n = inputs ? (size_t)cJSON_GetArraySize(inputs) : 0;
	p->inputs = parse_alloc(ps, n + 1, sizeof(*p->inputs));
	if (!p->inputs)
		return -ENOMEM;
	if (!inputs) {
		p->inputs[0].name = "image";
		p->n_inputs = 1;
		return 0;
	}
	int rc = value_object(ps, inputs, "inputs");
	if (rc == 0)
		rc = value_keys(ps, inputs, "inputs", NULL);
	if (rc == 0 && !n)
		rc = parse_fail(ps, inputs,
				"inputs is empty; name a role, or leave inputs out for "
				"one {image}");
	for (const cJSON *v = inputs->child; rc == 0 && v; v = v->next)
		rc = parse_input(ps, v, &p->inputs[p->n_inputs++]);
	if (rc == 0 && p->n_inputs == 1 && p->inputs[0].overlap > 0)
		rc = parse_fail(ps, adafs_json_get(inputs->child, "overlap"),
				"input '%s' is the only one, and overlap needs another; remove it",
				p->inputs[0].name);
	return rc;
}

static int parse_unit(struct parser *ps, const cJSON *unit)
{
	ps->p->grid_zoom = -1;
	if (!unit)
		return 0;
	int rc = value_object(ps, unit, "unit");
	if (rc == 0)
		rc = value_keys(ps, unit, "unit", "grid_zoom");
	if (rc < 0)
		return rc;
	if (!unit->child)
		return parse_fail(ps, unit, "unit has no \"grid_zoom\"; write {\"grid_zoom\": 13}");
	return value_int(ps, unit->child, "grid_zoom", 0, 22, &ps->p->grid_zoom);
}

static int parse_container(struct parser *ps, const cJSON *v)
{
	struct adafs_pipeline *p = ps->p;
	if (!v)
		return 0;
	if (cJSON_IsString(v))
		return value_text(ps, v, "container", &p->image);
	int rc = value_object(ps, v, "container");
	if (rc == 0)
		rc = value_keys(ps, v, "container", "image, run_options, user");
	if (rc < 0)
		return rc;
	if (!adafs_json_get(v, "image"))
		return parse_fail(ps, v, "container has no \"image\"; name the container image");
	rc = value_text(ps, adafs_json_get(v, "image"), "image", &p->image);
	const cJSON *options = adafs_json_get(v, "run_options"), *user = adafs_json_get(v, "user");
	if (rc == 0 && options)
		rc = value_text(ps, options, "run_options", &p->run_options);
	if (rc < 0 || !user)
		return rc;
	const char *name = cJSON_IsString(user) ? user->valuestring : "";
	if (strcmp(name, "admin") && strcmp(name, "nonadmin"))
		return parse_fail(ps, user,
				  "user is neither \"admin\" nor \"nonadmin\"; write one of them");
	p->admin = !strcmp(name, "admin");
	return 0;
}

static int parse_shell(struct parser *ps, const cJSON *shell)
{
	static const char *const standard[] = { "/bin/sh", "-c" };
	struct adafs_pipeline *p = ps->p;
	size_t n = shell ? (size_t)cJSON_GetArraySize(shell) : 0;
	p->shell = parse_alloc(ps, n + 2, sizeof(*p->shell));
	if (!p->shell)
		return -ENOMEM;
	if (!shell) {
		memcpy(p->shell, standard, sizeof(standard));
		p->n_shell = 2;
		return 0;
	}
	if (!cJSON_IsArray(shell) || !n)
		return parse_fail(ps, shell,
				  "shell is no list of words; write [\"/bin/bash\", \"-c\"]");
	for (const cJSON *v = shell->child; v; v = v->next) {
		int rc = value_text(ps, v, "a word of shell", &p->shell[p->n_shell++]);
		if (rc < 0)
			return rc;
		if (strchr(v->valuestring, '\n'))
			return parse_fail(ps, v, "a word of shell has a line break; remove it");
	}
	return 0;
}

static int parse_environments(struct parser *ps, const cJSON *environments)
{
	if (!environments)
		return 0;
	int rc = value_object(ps, environments, "environments");
	if (rc == 0)
		rc = value_keys(ps, environments, "environments", NULL);
	const char *text = NULL;
	for (const cJSON *v = environments->child; rc == 0 && v; v = v->next) {
		rc = value_name(ps, v, v->string, "an environment");
		if (rc == 0)
			rc = value_text(ps, v, "an environment", &text);
	}
	ps->p->environments = environments;
	return rc;
}

static int parse_env(struct parser *ps, const cJSON *v, const char **ret_prelude)
{
	const char *name = NULL;
	int rc = value_text(ps, v, "env", &name);
	if (rc < 0)
		return rc;
	const cJSON *env = adafs_json_get(ps->p->environments, name);
	if (!env)
		return parse_fail(ps, v, "environment '%.60s' is not known; add it to environments",
				  name);
	*ret_prelude = env->valuestring;
	return 0;
}

int parse_settings(struct parser *ps, const cJSON *object, struct model_settings *s)
{
	const cJSON *env = adafs_json_get(object, "env"),
		    *retries = adafs_json_get(object, "retries"),
		    *limit = adafs_json_get(object, "time_limit"),
		    *slots = adafs_json_get(object, "slots");
	int rc = env ? parse_env(ps, env, &s->prelude) : 0;
	if (rc == 0 && retries)
		rc = value_int(ps, retries, "retries", 0, 10, &s->retries);
	if (rc == 0 && slots)
		rc = value_int(ps, slots, "slots", 1, 256, &s->slots);
	if (rc < 0 || !limit)
		return rc;
	int64_t ms = 0;
	const char *text = cJSON_IsString(limit) ? limit->valuestring : "";
	if (adafs_duration_parse(text, &ms) < 0 || ms < 1000 || ms > INT64_C(30) * 24 * 3600 * 1000)
		return parse_fail(ps, limit,
				  "time_limit '%.40s' is no duration from PT1S to P30D; write "
				  "ISO 8601 such as \"PT2H\" or \"PT30M\"",
				  text);
	s->time_limit_ms = ms;
	return 0;
}

static int parse_defaults(struct parser *ps, const cJSON *defaults)
{
	/* A step that nobody limited ends after a day: a node that hangs costs money. */
	ps->p->defaults =
		(struct model_settings){ .slots = 1, .time_limit_ms = INT64_C(24) * 3600 * 1000 };
	if (!defaults)
		return 0;
	int rc = value_object(ps, defaults, "defaults");
	if (rc == 0)
		rc = value_keys(ps, defaults, "defaults", "env, retries, time_limit, slots");
	return rc < 0 ? rc : parse_settings(ps, defaults, &ps->p->defaults);
}

static int parse_head(struct parser *ps, const cJSON *root)
{
	int rc = value_object(ps, root, "the pipeline");
	if (rc == 0)
		rc = value_keys(
			ps, root, "the pipeline",
			"name, description, inputs, unit, assets, scripts, container, shell, "
			"environments, pool, defaults, steps, merge");
	if (rc < 0)
		return rc;
	const cJSON *name = adafs_json_get(root, "name"), *pool = adafs_json_get(root, "pool");
	if (!name)
		return parse_fail(ps, root, "the pipeline has no \"name\"; add \"name\": \"...\"");
	rc = value_text(ps, name, "name", &ps->p->name);
	if (rc == 0)
		rc = value_name(ps, name, ps->p->name, "a pipeline");
	if (rc == 0 && pool)
		rc = value_text(ps, pool, "pool", &ps->p->pool);
	if (rc == 0)
		rc = parse_inputs(ps, adafs_json_get(root, "inputs"));
	if (rc == 0)
		rc = parse_unit(ps, adafs_json_get(root, "unit"));
	if (rc == 0)
		rc = parse_assets(ps, adafs_json_get(root, "assets"),
				  adafs_json_get(root, "scripts"));
	if (rc == 0)
		rc = parse_container(ps, adafs_json_get(root, "container"));
	if (rc == 0)
		rc = parse_shell(ps, adafs_json_get(root, "shell"));
	if (rc == 0)
		rc = parse_environments(ps, adafs_json_get(root, "environments"));
	return rc < 0 ? rc : parse_defaults(ps, adafs_json_get(root, "defaults"));
}

static int parse_tree(struct parser *ps, const cJSON *root)
{
	int rc = parse_head(ps, root);
	if (rc < 0)
		return rc;
	const cJSON *steps = adafs_json_get(root, "steps");
	if (!cJSON_IsArray(steps) || !steps->child)
		return parse_fail(
			ps, steps ? steps : root,
			"the pipeline has no steps; add \"steps\": [ { \"name\": ..., \"command\": "
			"... } ]");
	rc = parse_steps(ps, steps);
	if (rc == 0)
		rc = parse_merge(ps, adafs_json_get(root, "merge"));
	if (rc == 0)
		rc = check_names(ps);
	if (rc == 0)
		rc = references_resolve(ps);
	if (rc == 0)
		rc = check_graph(ps);
	return rc < 0 ? rc : parse_add_own(ps);
}

/* cJSON takes any bytes, but the services and the readers of a manifest do not. */
static int check_utf8(const struct adafs_pipeline *p, struct adafs_err *reterr)
{
	const char *line = p->text, *end = p->text + p->len;
	for (int number = 1; line < end; number++) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));
		if (!stop)
			stop = end;
		if (!adafs_utf8_valid(line, (size_t)(stop - line)))
			return adafs_err_set(reterr, -EINVAL,
					     "%s:%d: not UTF-8; save the file in that encoding",
					     p->path, number);
		line = stop + 1;
	}
	return 0;
}

int parse_pipeline(struct adafs_pipeline *p, struct adafs_err *reterr)
{
	struct parser ps = { .p = p, .reterr = reterr };
	const char *end = p->text;
	int rc = check_utf8(p, reterr);
	if (rc < 0)
		return rc;
	p->json = cJSON_ParseWithLengthOpts(p->text, p->len, &end, 0);
	const char *rest = end;
	while (p->json && rest < p->text + p->len && (unsigned char)*rest <= ' ' && *rest)
		rest++;
	if (!p->json || rest < p->text + p->len) {
		int line = 1;
		for (const char *c = p->text; c < rest && c < p->text + p->len; c++)
			line += *c == '\n';
		return adafs_err_set(
			reterr, -EINVAL,
			"%s:%d: not valid JSON; look for a missing comma, quote or bracket at "
			"or before this line",
			p->path, line);
	}
	rc = lines_build(&ps.lines, p->json, p->text, p->len);
	if (rc < 0)
		adafs_err_set(reterr, rc, "%s: out of memory", p->path);
	else
		rc = parse_tree(&ps, p->json);
	lines_clear(&ps.lines);
	return rc;
}
