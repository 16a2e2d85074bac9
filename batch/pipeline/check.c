/* check.c - the pipeline as a whole: duplicates, the one result, cycles, order of the steps. */
#include <errno.h>
#include <string.h>

#include "batch/base/json.h"
#include "batch/pipeline/model.h"

/*
 * The kind of thing that already has this name as {name}, or NULL. until: named assets to look at.
 */
static const char *taken(const struct adafs_pipeline *p, const char *name, size_t until)
{
	for (size_t i = 0; i < p->n_inputs; i++)
		if (!strcmp(p->inputs[i].name, name))
			return "an input";
	for (size_t i = 0; i < until; i++)
		if (!strcmp(p->named[i].name, name))
			return "an asset";
	return !strcmp(name, "unit") || !strcmp(name, "parts") ? "a name of adafs" : NULL;
}

static const cJSON *named_node(const struct adafs_pipeline *p, size_t i)
{
	size_t n_assets = (size_t)cJSON_GetArraySize(adafs_json_get(p->json, "assets"));
	const char *list = i < n_assets ? "assets" : "scripts";
	return adafs_json_get(adafs_json_get(p->json, list), p->named[i].name);
}

static int check_references_names(struct parser *ps)
{
	struct adafs_pipeline *p = ps->p;
	for (size_t i = 0; i < p->n_inputs; i++)
		if (!strcmp(p->inputs[i].name, "unit") || !strcmp(p->inputs[i].name, "parts"))
			return parse_fail_key(ps,
					      adafs_json_get(adafs_json_get(p->json, "inputs"),
							     p->inputs[i].name),
					      "'%s' is a name of adafs; rename the input",
					      p->inputs[i].name);
	for (size_t i = 0; i < p->n_named; i++) {
		const char *kind = taken(p, p->named[i].name, i);
		if (kind)
			return parse_fail_key(ps, named_node(p, i),
					      "'%s' is already %s; rename one of them",
					      p->named[i].name, kind);
	}
	for (size_t i = 0; i < p->n_steps; i++) {
		const cJSON *variables = p->steps[i].variables;
		for (const cJSON *v = variables ? variables->child : NULL; v; v = v->next) {
			const char *kind = taken(p, v->string, p->n_named);
			if (kind)
				return parse_fail_key(ps, v,
						      "'%s' is already %s; rename the variable",
						      v->string, kind);
		}
	}
	return 0;
}

static bool published_by_adafs(const char *name)
{
	static const char *const names[] = { "part.json", "summary.json", "summary.txt",
					     "manifest.json" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

/* Outputs of the result and of the merge land in one folder under their own names. */
static int check_published(struct parser *ps, const struct model_step *s)
{
	for (size_t i = 0; i < s->n_outputs; i++) {
		const struct model_output *o = &s->outputs[i];
		const char *name = o->folder ? o->name : o->base;
		const cJSON *at = adafs_json_get(adafs_json_get(s->json, "outputs"), o->name);
		if (published_by_adafs(name))
			return parse_fail(ps, at,
					  "output '%s' of step '%s' would be called %s, a name of "
					  "adafs; choose another",
					  o->name, s->name, name);
		for (size_t j = 0; j < i; j++) {
			const struct model_output *u = &s->outputs[j];
			if (!strcmp(name, u->folder ? u->name : u->base))
				return parse_fail(
					ps, at,
					"outputs '%s' and '%s' of step '%s' would both be called "
					"%s in results/; rename one of them",
					u->name, o->name, s->name, name);
		}
	}
	return 0;
}

int check_names(struct parser *ps)
{
	struct adafs_pipeline *p = ps->p;
	const struct model_step *result = NULL;
	int rc = check_references_names(ps);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < p->n_steps; i++) {
		const struct model_step *s = &p->steps[i];
		const cJSON *name = adafs_json_get(s->json, "name");
		for (size_t j = 0; j < i; j++)
			if (!s->merge && !strcmp(p->steps[j].name, s->name))
				return parse_fail(ps, name,
						  "step '%s' stands twice; rename one of them",
						  s->name);
		if (!s->merge && !strcmp(s->name, "merge"))
			return parse_fail(ps, name,
					  "step 'merge' has the name of the last task; rename it");
		if (s->result && result)
			return parse_fail(ps, adafs_json_get(s->json, "result"),
					  "steps '%s' and '%s' both have \"result\"; keep one",
					  result->name, s->name);
		if (s->result)
			result = s;
	}
	if (!result)
		return parse_fail_key(
			ps, adafs_json_get(p->json, "steps"),
			"no step has \"result\": true; give it to the step whose outputs are "
			"merged");
	if (!result->n_outputs)
		return parse_fail(ps, adafs_json_get(result->json, "result"),
				  "step '%s' is the result but has no outputs; add \"outputs\"",
				  result->name);
	rc = check_published(ps, result);
	return rc < 0 ? rc : check_published(ps, &p->steps[p->n_steps - 1]);
}

/* One that the step waits for and that could not be placed either. */
static size_t unplaced_dep(const struct model_step *s, const bool *placed)
{
	size_t d = 0;
	while (placed[s->deps[d]])
		d++;
	return s->deps[d];
}

/*
 * Every step that is left after sorting waits for another one that is left: so many steps back as
 * there are, and the walk is on a cycle. It is told from its first step in the file.
 */
static int fail_cycle(struct parser *ps, const bool *placed)
{
	struct adafs_pipeline *p = ps->p;
	size_t at = 0;
	while (placed[at])
		at++;
	for (size_t k = 0; k < p->n_steps; k++)
		at = unplaced_dep(&p->steps[at], placed);
	size_t least = at;
	for (size_t i = unplaced_dep(&p->steps[at], placed); i != at;
	     i = unplaced_dep(&p->steps[i], placed))
		least = i < least ? i : least;
	char path[300];
	int used = snprintf(path, sizeof(path), "%s", p->steps[least].name);
	at = least;
	do {
		at = unplaced_dep(&p->steps[at], placed);
		if (used < (int)sizeof(path))
			used += snprintf(path + used, sizeof(path) - (size_t)used, " needs %s",
					 p->steps[at].name);
	} while (at != least);
	return parse_fail(ps, adafs_json_get(p->steps[least].json, "name"),
			  "the steps form a cycle: %s; remove one of these references", path);
}

static void renumber(struct model_step *s, const size_t *place)
{
	for (size_t i = 0; i < s->n_deps; i++)
		s->deps[i] = place[s->deps[i]];
	for (size_t i = 1; i < s->n_deps; i++)
		for (size_t j = i; j && s->deps[j - 1] > s->deps[j]; j--) {
			size_t swap = s->deps[j];
			s->deps[j] = s->deps[j - 1];
			s->deps[j - 1] = swap;
		}
	for (size_t i = 0; i < s->n_uses; i++)
		if (s->uses[i].kind == PIECE_OUTPUT)
			s->uses[i].index = place[s->uses[i].index];
	for (size_t i = 0; i < s->command.n; i++)
		if (s->command.v[i].kind == PIECE_OUTPUT)
			s->command.v[i].index = place[s->command.v[i].index];
	for (size_t i = 0; i < s->n_places; i++)
		if (s->places[i].ref.kind == PIECE_OUTPUT)
			s->places[i].ref.index = place[s->places[i].ref.index];
}

static bool ready(const struct model_step *s, const bool *placed)
{
	for (size_t i = 0; i < s->n_deps; i++)
		if (!placed[s->deps[i]])
			return false;
	return true;
}

/* Sort so that every step stands after those it needs, otherwise in the file's order. */
static int sort_steps(struct parser *ps)
{
	struct adafs_pipeline *p = ps->p;
	bool placed[MODEL_MAX_STEPS + 1] = { false };
	size_t place[MODEL_MAX_STEPS + 1] = { 0 };
	struct model_step *sorted = parse_alloc(ps, p->n_steps, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (size_t n = 0; n < p->n_steps; n++) {
		size_t i = 0;
		while (i < p->n_steps && (placed[i] || !ready(&p->steps[i], placed)))
			i++;
		if (i == p->n_steps)
			return fail_cycle(ps, placed);
		placed[i] = true;
		place[i] = n;
		sorted[n] = p->steps[i];
	}
	for (size_t n = 0; n < p->n_steps; n++)
		renumber(&sorted[n], place);
	p->steps = sorted;
	return 0;
}

static int check_places(struct parser *ps, const struct model_step *s)
{
	const cJSON *files = adafs_json_get(s->json, "files");
	const cJSON *at = files ? files->child : NULL;
	for (size_t i = 0; i < s->n_places; i++, at = at->next)
		for (size_t j = 0; j < i; j++)
			if (!s->places[i].into && !strcmp(s->places[i].path, s->places[j].path))
				return parse_fail_key(ps, at,
						      "files places two things at '%.80s'; choose "
						      "another path or end it with /",
						      s->places[i].path);
	return 0;
}

/* The pattern of a split output must reach into its folders 0/, 1/, ... */
static bool reaches_shares(const struct model_output *o)
{
	size_t base = strlen(o->base);
	return strchr(o->path + base + (base > 0), '/') != NULL;
}

/* One reference of a split step, or of a whole one to what is split. */
static int check_split_use(struct parser *ps, const struct model_step *s, const struct piece *ref,
			   bool *ret_split)
{
	const struct model_step *from = &ps->p->steps[ref->index];
	const struct model_output *o = &from->outputs[ref->output];
	const cJSON *at = adafs_json_get(s->json, "shards");
	if (!o->folder)
		return 0;
	*ret_split = true;
	if (from->shards > 1 && from->shards != s->shards)
		return parse_fail(ps, at,
				  "step '%s' has %d shards and reads from '%s', which has %d; give "
				  "both the same number",
				  s->name, s->shards, from->name, from->shards);
	if (from->shards == 1 && !reaches_shares(o))
		return parse_fail(ps, adafs_json_get(from->json, "outputs"),
				  "step '%s' splits output '%s' of step '%s', whose pattern '%s' "
				  "reaches no folders 0/, 1/, ...; write %s%s**/*",
				  s->name, o->name, from->name, o->path, o->base,
				  *o->base ? "/" : "");
	for (const struct model_step *other = ps->p->steps; other < s; other++)
		for (size_t i = 0; other->shards > 1 && i < other->n_uses; i++)
			if (other->uses[i].kind == PIECE_OUTPUT &&
			    other->uses[i].index == ref->index &&
			    other->uses[i].output == ref->output && other->shards != s->shards)
				return parse_fail(
					ps, at,
					"steps '%s' and '%s' split the same output in %d and %d "
					"shares; give both the same number",
					other->name, s->name, other->shards, s->shards);
	return 0;
}

static int check_shards(struct parser *ps, const struct model_step *s)
{
	const cJSON *at = adafs_json_get(s->json, "shards");
	bool split = false;
	int rc = 0;
	if (s->shards == 1)
		return 0;
	if (s->result)
		return parse_fail(ps, at,
				  "step '%s' is the result and has shards; let a step after it "
				  "bring them together",
				  s->name);
	for (size_t i = 0; i < s->n_outputs; i++)
		if (!s->outputs[i].folder)
			return parse_fail(
				ps, adafs_json_get(s->json, "outputs"),
				"output '%s' of step '%s' would be one file of each of %d shards; "
				"make it a folder, such as %s/*",
				s->outputs[i].name, s->name, s->shards, s->outputs[i].name);
	for (size_t i = 0; rc == 0 && i < s->n_uses; i++)
		if (s->uses[i].kind == PIECE_OUTPUT)
			rc = check_split_use(ps, s, &s->uses[i], &split);
	if (rc == 0 && !split)
		return parse_fail(
			ps, at,
			"step '%s' has shards but reads no folder of a step that could be "
			"split; without one all shards would do the same",
			s->name);
	return rc;
}

int check_graph(struct parser *ps)
{
	struct adafs_pipeline *p = ps->p;
	for (size_t i = 0; i < p->n_steps; i++) {
		int rc = check_places(ps, &p->steps[i]);
		if (rc < 0)
			return rc;
	}
	/* The merge comes last, after everything. */
	struct model_step *merge = &p->steps[p->n_steps - 1];
	for (size_t i = 0; i + 1 < p->n_steps; i++)
		merge->deps[merge->n_deps++] = i;
	int rc = sort_steps(ps);
	for (size_t i = 0; rc == 0 && i < p->n_steps; i++)
		rc = check_shards(ps, &p->steps[i]);
	return rc;
}
