/*
 * references.c - {name} and {step.output} in commands and `files`. A brace that is not exactly of
 * this form, or that follows a '$', is literal: shells, awk and JSON keep theirs.
 */
#include <errno.h>
#include <string.h>

#include "batch/base/json.h"
#include "batch/pipeline/model.h"

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static size_t name_len(const char *p)
{
	if (*p < 'a' || *p > 'z')
		return 0;
	size_t n = 1;
	while (name_char(p[n]))
		n++;
	return n;
}

/* The length of a reference that starts at '{', or 0. */
static size_t reference_len(const char *p, size_t *ret_name, size_t *ret_output)
{
	size_t name = name_len(p + 1), output = 0, end = 1 + name;
	if (!name)
		return 0;
	if (p[end] == '.') {
		output = name_len(p + end + 1);
		if (!output)
			return 0;
		end += 1 + output;
	}
	if (p[end] != '}')
		return 0;
	*ret_name = name;
	*ret_output = output;
	return end + 1;
}

static bool same(const char *name, const char *text, size_t len)
{
	return strlen(name) == len && !memcmp(name, text, len);
}

/* A step by name as seen from another: its own group's first. n_steps: none. */
static size_t find_step(const struct adafs_pipeline *p, const struct model_step *from,
			const char *text, size_t len)
{
	for (size_t i = 0; from->member && i < p->n_steps; i++)
		if (p->steps[i].group == from->group && p->steps[i].member &&
		    !strcmp(p->steps[i].member, from->member) && same(p->steps[i].local, text, len))
			return i;
	for (size_t i = 0; i < p->n_steps; i++)
		if (!p->steps[i].merge && same(p->steps[i].name, text, len))
			return i;
	return p->n_steps;
}

/* A name that is not known may be the local name of a step in an `each`: say which to write. */
static int fail_unknown_step(struct parser *ps, const cJSON *at, const char *text, size_t len)
{
	for (size_t i = 0; i < ps->p->n_steps; i++)
		if (same(ps->p->steps[i].local, text, len))
			return parse_fail(
				ps, at,
				"step '%.*s' is repeated by \"each\"; write which one, such "
				"as '%s'",
				(int)len, text, ps->p->steps[i].name);
	return parse_fail(ps, at,
			  "step '%.*s' is not known; correct the name, or write '{ ' for a literal "
			  "brace",
			  (int)len, text);
}

static int resolve_output(struct parser *ps, const struct model_step *step, const cJSON *at,
			  const char *text, size_t name, size_t output, struct piece *ret)
{
	struct adafs_pipeline *p = ps->p;
	if (step->merge)
		return parse_fail(ps, at,
				  "the merge refers to '{%.*s}'; it reads only {parts} and assets",
				  (int)(name + 1 + output), text);
	size_t i = find_step(p, step, text, name);
	if (i == p->n_steps)
		return fail_unknown_step(ps, at, text, name);
	const struct model_step *of = &p->steps[i];
	if (of == step)
		return parse_fail(
			ps, at,
			"step '%s' refers to its own output '%.*s'; write the output's path",
			step->local, (int)output, text + name + 1);
	for (size_t o = 0; o < of->n_outputs; o++)
		if (same(of->outputs[o].name, text + name + 1, output)) {
			*ret = (struct piece){ .kind = PIECE_OUTPUT, .index = i, .output = o };
			return 0;
		}
	return parse_fail(
		ps, at, "step '%s' has no output '%.*s'; correct the name or add it to its outputs",
		of->name, (int)output, text + name + 1);
}

/* {name} that is not a member's variable. */
static int resolve_name(struct parser *ps, const struct model_step *step, const cJSON *at,
			const char *text, size_t len, struct piece *ret)
{
	struct adafs_pipeline *p = ps->p;
	for (size_t i = 0; i < p->n_named; i++)
		if (same(p->named[i].name, text, len)) {
			*ret = (struct piece){ .kind = PIECE_ASSET, .index = i };
			return 0;
		}
	for (size_t i = 0; i < p->n_inputs; i++)
		if (same(p->inputs[i].name, text, len)) {
			if (step->merge)
				return parse_fail(
					ps, at,
					"the merge refers to '{%.*s}'; it reads only {parts} "
					"and assets",
					(int)len, text);
			*ret = (struct piece){ .kind = PIECE_INPUT, .index = i };
			return 0;
		}
	if (same("unit", text, len) && p->grid_zoom >= 0 && !step->merge) {
		*ret = (struct piece){ .kind = PIECE_UNIT };
		return 0;
	}
	if (same("parts", text, len)) {
		if (!step->merge)
			return parse_fail(ps, at,
					  "{parts} stands in step '%s'; only the merge has it",
					  step->local);
		*ret = (struct piece){ .kind = PIECE_PARTS };
		return 0;
	}
	size_t i = find_step(p, step, text, len);
	if (i < p->n_steps)
		return parse_fail(ps, at,
				  "'{%.*s}' is a step; write which output, such as '{%.*s.%s}'",
				  (int)len, text, (int)len, text,
				  p->steps[i].n_outputs ? p->steps[i].outputs[0].name : "output");
	return parse_fail(ps, at,
			  "'{%.*s}' is not known; name an input, an asset or a script, or write "
			  "'{ ' for a literal brace",
			  (int)len, text);
}

/* Append the pieces of a text. variables: NULL inside a variable's own value. */
static int add_pieces(struct parser *ps, const struct model_step *step, const cJSON *at,
		      const char *text, const cJSON *variables, struct pieces *to)
{
	const char *p = text;
	while (*p) {
		size_t n = 0, name = 0, output = 0, ref = 0;
		for (; p[n]; n++) {
			if (p[n] == '{' && !(p + n > text && p[n - 1] == '$')) {
				ref = reference_len(p + n, &name, &output);
				if (ref)
					break;
			}
		}
		if (n)
			to->v[to->n++] = (struct piece){ .kind = PIECE_TEXT, .text = p, .len = n };
		p += n;
		if (!ref)
			continue;
		const cJSON *variable = NULL;
		for (const cJSON *v = variables && !output ? variables->child : NULL; v;
		     v = v->next)
			if (same(v->string, p + 1, name))
				variable = v;
		int rc = 0;
		if (variable)
			rc = add_pieces(ps, step, variable, variable->valuestring, NULL, to);
		else if (output)
			rc = resolve_output(ps, step, at, p + 1, name, output, &to->v[to->n++]);
		else
			rc = resolve_name(ps, step, at, p + 1, name, &to->v[to->n++]);
		if (rc < 0)
			return rc;
		p += ref;
	}
	return 0;
}

/* An upper bound of the pieces of a text: two for each brace, variables opened. */
static size_t count_pieces(const char *text, const cJSON *variables)
{
	size_t longest = 2, n = 2;
	for (const cJSON *v = variables ? variables->child : NULL; v; v = v->next) {
		size_t inner = count_pieces(v->valuestring, NULL) + 1;
		longest = inner > longest ? inner : longest;
	}
	for (; *text; text++)
		n += *text == '{' ? longest : 0;
	return n;
}

static int parse_pieces(struct parser *ps, const struct model_step *step, const cJSON *at,
			const char *text, struct pieces *ret)
{
	ret->n = 0;
	ret->v = parse_alloc(ps, count_pieces(text, step->variables), sizeof(*ret->v));
	return ret->v ? add_pieces(ps, step, at, text, step->variables, ret) : -ENOMEM;
}

static int resolve_places(struct parser *ps, struct model_step *step, const cJSON *files)
{
	if (!files)
		return 0;
	int rc = value_object(ps, files, "files");
	if (rc == 0)
		rc = value_keys(ps, files, "files", NULL);
	if (rc < 0)
		return rc;
	step->places = parse_alloc(ps, (size_t)cJSON_GetArraySize(files), sizeof(*step->places));
	if (!step->places)
		return -ENOMEM;
	for (const cJSON *v = files->child; v; v = v->next) {
		struct model_place *place = &step->places[step->n_places++];
		size_t len = strlen(v->string);
		place->into = len && v->string[len - 1] == '/';
		char *path = parse_text(ps, "%.*s", (int)(len - place->into), v->string);
		if (!path)
			return -ENOMEM;
		place->path = path;
		rc = value_path(ps, v, place->path, "files", false);
		const char *text = NULL;
		struct pieces pieces = { 0 };
		if (rc == 0)
			rc = value_text(ps, v, "a value of files", &text);
		if (rc == 0)
			rc = parse_pieces(ps, step, v, text, &pieces);
		if (rc < 0)
			return rc;
		if (pieces.n != 1 || pieces.v[0].kind == PIECE_TEXT ||
		    pieces.v[0].kind == PIECE_UNIT)
			return parse_fail(
				ps, v,
				"files places '%.60s', which is no single reference; write one "
				"such as \"{step.output}\"",
				text);
		place->ref = pieces.v[0];
	}
	return 0;
}

static void add_dep(struct model_step *step, size_t dep)
{
	size_t i = 0;
	while (i < step->n_deps && step->deps[i] < dep)
		i++;
	if (i < step->n_deps && step->deps[i] == dep)
		return;
	memmove(&step->deps[i + 1], &step->deps[i], (step->n_deps - i) * sizeof(*step->deps));
	step->deps[i] = dep;
	step->n_deps++;
}

static void add_use(struct model_step *step, const struct piece *ref)
{
	if (ref->kind == PIECE_TEXT || ref->kind == PIECE_UNIT)
		return;
	for (size_t i = 0; i < step->n_uses; i++)
		if (step->uses[i].kind == ref->kind && step->uses[i].index == ref->index &&
		    step->uses[i].output == ref->output)
			return;
	step->uses[step->n_uses++] = *ref;
	if (ref->kind == PIECE_OUTPUT)
		add_dep(step, ref->index);
}

static int resolve_after(struct parser *ps, struct model_step *step, const cJSON *after)
{
	if (!after)
		return 0;
	if (!cJSON_IsArray(after))
		return parse_fail(ps, after,
				  "after is no list; write names of steps such as [\"cover\"]");
	for (const cJSON *v = after->child; v; v = v->next) {
		const char *name = NULL;
		int rc = value_text(ps, v, "a name of after", &name);
		if (rc < 0)
			return rc;
		size_t i = find_step(ps->p, step, name, strlen(name));
		if (i == ps->p->n_steps)
			return fail_unknown_step(ps, v, name, strlen(name));
		if (&ps->p->steps[i] == step)
			return parse_fail(
				ps, v, "step '%s' comes after itself; remove it from after", name);
		add_dep(step, i);
	}
	return 0;
}

static int resolve_step(struct parser *ps, struct model_step *step)
{
	const cJSON *command = adafs_json_get(step->json, "command");
	step->deps = parse_alloc(ps, ps->p->n_steps + 1, sizeof(*step->deps));
	if (!step->deps)
		return -ENOMEM;
	int rc = parse_pieces(ps, step, command, step->source, &step->command);
	if (rc == 0)
		rc = resolve_places(ps, step, adafs_json_get(step->json, "files"));
	if (rc < 0)
		return rc;
	step->uses = parse_alloc(ps, step->command.n + step->n_places, sizeof(*step->uses));
	if (!step->uses)
		return -ENOMEM;
	for (size_t i = 0; i < step->n_places; i++)
		add_use(step, &step->places[i].ref);
	for (size_t i = 0; i < step->command.n; i++)
		add_use(step, &step->command.v[i]);
	return resolve_after(ps, step, adafs_json_get(step->json, "after"));
}

int references_resolve(struct parser *ps)
{
	for (size_t i = 0; i < ps->p->n_steps; i++) {
		int rc = resolve_step(ps, &ps->p->steps[i]);
		if (rc < 0)
			return rc;
	}
	return 0;
}
