/* parse_step.c - steps and the merge as they stand in the file; references come later. */
#include <errno.h>
#include <string.h>

#include "batch/base/json.h"
#include "batch/pipeline/model.h"

static struct model_step *add_step(struct parser *ps)
{
	struct adafs_pipeline *p = ps->p;
	if (!p->steps)
		p->steps = parse_alloc(ps, MODEL_MAX_STEPS + 1, sizeof(*p->steps));
	return p->steps ? &p->steps[p->n_steps++] : NULL;
}

static int parse_stop_on(struct parser *ps, struct model_step *step, const cJSON *stop_on)
{
	if (!stop_on)
		return 0;
	if (!cJSON_IsArray(stop_on))
		return parse_fail(ps, stop_on, "stop_on is no list; write exit codes such as [64]");
	step->stop_on =
		parse_alloc(ps, (size_t)cJSON_GetArraySize(stop_on), sizeof(*step->stop_on));
	if (!step->stop_on)
		return -ENOMEM;
	for (const cJSON *v = stop_on->child; v; v = v->next) {
		int rc = value_int(ps, v, "an exit code of stop_on", 1, 255,
				   &step->stop_on[step->n_stop_on++]);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Everything but the name, which `each` changes. */
static int parse_body(struct parser *ps, struct model_step *step, const cJSON *json)
{
	step->json = json;
	step->shards = 1;
	step->settings = ps->p->defaults;
	const cJSON *shards = adafs_json_get(json, "shards"),
		    *result = adafs_json_get(json, "result");
	int rc = parse_settings(ps, json, &step->settings);
	if (rc == 0)
		rc = parse_stop_on(ps, step, adafs_json_get(json, "stop_on"));
	if (rc == 0 && shards)
		rc = value_int(ps, shards, "shards", 1, 100, &step->shards);
	if (rc == 0 && result)
		rc = value_bool(ps, result, "result", &step->result);
	return rc < 0 ? rc : parse_outputs(ps, step, adafs_json_get(json, "outputs"));
}

int parse_step(struct parser *ps, const cJSON *json, const cJSON *member, size_t group)
{
	const cJSON *name = adafs_json_get(json, "name"),
		    *command = adafs_json_get(json, "command");
	int rc = value_keys(ps, json, "a step",
			    "name, description, command, env, files, outputs, after, retries, "
			    "time_limit, slots, shards, stop_on, result");
	if (rc < 0)
		return rc;
	if (!name)
		return parse_fail(ps, json, "a step has no \"name\"; add \"name\": \"...\"");
	if (ps->p->n_steps >= MODEL_MAX_STEPS)
		return parse_fail(ps, json, "there are more than %d steps; split the pipeline",
				  MODEL_MAX_STEPS);
	struct model_step *step = add_step(ps);
	if (!step)
		return -ENOMEM;
	rc = value_text(ps, name, "name", &step->local);
	if (rc == 0)
		rc = value_name(ps, name, step->local, "a step");
	if (rc < 0)
		return rc;
	step->name = step->local;
	step->group = group;
	if (member) {
		step->member = member->string;
		step->variables = member;
		step->name = parse_text(ps, "%s-%s", step->local, step->member);
		if (!step->name)
			return -ENOMEM;
		rc = value_name(ps, name, step->name, "a step");
		if (rc < 0)
			return rc;
	}
	if (!command)
		return parse_fail(ps, json,
				  "step '%s' has no \"command\"; add \"command\": \"...\"",
				  step->local);
	rc = value_text(ps, command, "command", &step->source);
	if (rc == 0)
		rc = parse_body(ps, step, json);
	if (rc == 0 && member && step->result)
		rc = parse_fail(
			ps, adafs_json_get(json, "result"),
			"a result inside \"each\" would be one a member; give \"result\" to a step "
			"after the group");
	return rc;
}

int parse_steps(struct parser *ps, const cJSON *steps)
{
	for (const cJSON *v = steps->child; v; v = v->next) {
		int rc = value_object(ps, v, "a step");
		if (rc == 0)
			rc = adafs_json_get(v, "each") ? parse_each(ps, v)
						       : parse_step(ps, v, NULL, 0);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int parse_when_empty(struct parser *ps, struct model_step *merge, const cJSON *when_empty)
{
	if (!when_empty)
		return 0;
	int rc = value_object(ps, when_empty, "when_empty");
	if (rc == 0)
		rc = value_keys(ps, when_empty, "when_empty", NULL);
	if (rc < 0)
		return rc;
	for (const cJSON *v = when_empty->child; v; v = v->next) {
		struct model_output *out = NULL;
		for (size_t i = 0; i < merge->n_outputs; i++)
			if (!strcmp(merge->outputs[i].name, v->string))
				out = &merge->outputs[i];
		if (!out)
			return parse_fail_key(ps, v,
					      "'%.60s' is no output of the merge; name one of its "
					      "outputs",
					      v->string);
		if (!cJSON_IsString(v))
			return parse_fail(ps, v,
					  "the content of '%s' is no text; write it as \"...\"",
					  v->string);
		out->when_empty = v->valuestring;
	}
	return 0;
}

int parse_merge(struct parser *ps, const cJSON *json)
{
	struct model_step *merge = add_step(ps);
	if (!merge)
		return -ENOMEM;
	merge->name = merge->local = "merge";
	merge->merge = true;
	merge->source = "";
	if (!json) { /* only the summary is written then */
		merge->shards = 1;
		merge->settings = ps->p->defaults;
		return 0;
	}
	int rc = value_object(ps, json, "merge");
	if (rc == 0)
		rc = value_keys(
			ps, json, "the merge",
			"command, env, files, outputs, when_empty, retries, time_limit, slots");
	if (rc < 0)
		return rc;
	const cJSON *command = adafs_json_get(json, "command");
	if (!command)
		return parse_fail(ps, json,
				  "the merge has no \"command\"; add \"command\": \"...\"");
	rc = value_text(ps, command, "command", &merge->source);
	if (rc == 0)
		rc = parse_body(ps, merge, json);
	for (size_t i = 0; rc == 0 && i < merge->n_outputs; i++) {
		const cJSON *at =
			adafs_json_get(adafs_json_get(json, "outputs"), merge->outputs[i].name);
		if (merge->outputs[i].folder)
			rc = parse_fail(
				ps, at,
				"output '%s' of the merge has a wildcard; name single files",
				merge->outputs[i].name);
	}
	return rc < 0 ? rc : parse_when_empty(ps, merge, adafs_json_get(json, "when_empty"));
}
