/* outputs.c - `outputs` of a step: a path, or {"path": ..., "optional": true}. */
#include <errno.h>
#include <string.h>

#include "batch/base/json.h"
#include "batch/pipeline/model.h"

/* The part of a pattern before the first segment with a wildcard, without its slash. */
static char *leading_folder(struct parser *ps, const char *path)
{
	size_t wild = strcspn(path, "*?["), end = 0;
	for (size_t i = 0; i < wild; i++)
		if (path[i] == '/')
			end = i;
	return parse_text(ps, "%.*s", (int)end, path);
}

/* `**` is whole segments of folders; as the last one it would match nothing. */
static int check_stars(struct parser *ps, const cJSON *at, const char *path)
{
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");
		bool last = !p[n];
		bool has = memmem(p, n, "**", 2) != NULL;
		if (has && (n != 2 || last))
			return parse_fail(
				ps, at,
				"output '%.80s': ** stands for folders; write it as a "
				"segment of its own with a file pattern after it, such as out/**/*",
				path);
		p += n + !last;
	}
	return 0;
}

static int parse_output(struct parser *ps, const cJSON *v, struct model_output *out)
{
	int rc = value_name(ps, v, v->string, "an output");
	if (rc < 0)
		return rc;
	out->name = v->string;
	const cJSON *path = v;
	if (!cJSON_IsString(v)) {
		rc = value_object(ps, v, "an output");
		if (rc == 0)
			rc = value_keys(ps, v, "an output", "path, optional");
		if (rc < 0)
			return rc;
		path = adafs_json_get(v, "path");
		if (!path)
			return parse_fail(ps, v,
					  "output '%s' has no \"path\"; say which file the command "
					  "writes",
					  v->string);
		const cJSON *optional = adafs_json_get(v, "optional");
		rc = optional ? value_bool(ps, optional, "optional", &out->optional) : 0;
	}
	if (rc == 0)
		rc = value_text(ps, path, "the path of an output", &out->path);
	if (rc == 0)
		rc = value_path(ps, path, out->path, "output", true);
	if (rc < 0)
		return rc;
	out->folder = strpbrk(out->path, "*?[") != NULL;
	if (!out->folder) {
		const char *slash = strrchr(out->path, '/');
		out->base = slash ? slash + 1 : out->path;
		return 0;
	}
	out->base = leading_folder(ps, out->path);
	return out->base ? check_stars(ps, path, out->path) : -ENOMEM;
}

int parse_outputs(struct parser *ps, struct model_step *step, const cJSON *outputs)
{
	if (!outputs)
		return 0;
	int rc = value_object(ps, outputs, "outputs");
	if (rc == 0)
		rc = value_keys(ps, outputs, "outputs", NULL);
	if (rc < 0)
		return rc;
	step->outputs =
		parse_alloc(ps, (size_t)cJSON_GetArraySize(outputs), sizeof(*step->outputs));
	if (!step->outputs)
		return -ENOMEM;
	for (const cJSON *v = outputs->child; v; v = v->next) {
		struct model_output *out = &step->outputs[step->n_outputs];
		rc = parse_output(ps, v, out);
		if (rc < 0)
			return rc;
		for (size_t i = 0; i < step->n_outputs; i++)
			if (!strcmp(step->outputs[i].path, out->path))
				return parse_fail(
					ps, v,
					"outputs '%s' and '%s' have the same path '%.60s'; "
					"keep one of them",
					step->outputs[i].name, out->name, out->path);
		step->n_outputs++;
	}
	return 0;
}
