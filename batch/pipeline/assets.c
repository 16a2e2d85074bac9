/*
 * assets.c - `assets` are blobs that the user put there; `scripts` are files beside the pipeline,
 * read here once: what is uploaded is what was hashed. A script folder is taken file by file.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include "batch/base/buf.h"
#include "batch/base/codec.h"
#include "batch/base/file.h"
#include "batch/base/json.h"
#include "batch/pipeline/model.h"

#define MAX_SCRIPT_FILES 48 /* each costs a SAS URL in the task */
#define MAX_SCRIPT_BYTES (4 << 20)
#define MAX_SCRIPT_DEPTH 4

static struct adafs_pipeline_asset *add_asset(struct parser *ps)
{
	struct adafs_pipeline *p = ps->p;
	struct adafs_pipeline_asset *v = realloc(p->assets, (p->n_assets + 1) * sizeof(*v));
	if (!v) {
		adafs_err_set(ps->reterr, -ENOMEM, "%s: out of memory", p->path);
		return NULL;
	}
	p->assets = v;
	memset(&v[p->n_assets], 0, sizeof(*v));
	return &v[p->n_assets++];
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	return false;
}

static int parse_asset(struct parser *ps, const cJSON *v)
{
	struct adafs_pipeline *p = ps->p;
	struct model_asset *named = &p->named[p->n_named++];
	int rc = value_name(ps, v, v->string, "an asset");
	if (rc < 0)
		return rc;
	const cJSON *blob = v;
	if (!cJSON_IsString(v)) {
		rc = value_object(ps, v, "an asset");
		if (rc == 0)
			rc = value_keys(ps, v, "an asset", "blob, optional");
		if (rc < 0)
			return rc;
		blob = adafs_json_get(v, "blob");
		const cJSON *optional = adafs_json_get(v, "optional");
		if (!blob)
			return parse_fail(ps, v, "asset '%s' has no \"blob\"; name the blob",
					  v->string);
		rc = optional ? value_bool(ps, optional, "optional", &named->optional) : 0;
	}
	const char *name = NULL;
	if (rc == 0)
		rc = value_text(ps, blob, "the blob of an asset", &name);
	if (rc < 0)
		return rc;
	if (name[0] == '/' || name[strlen(name) - 1] == '/' || strlen(name) > 1024 ||
	    has_control(name) || !adafs_utf8_valid(name, strlen(name)) || strstr(name, "../") ||
	    strstr(name, "//"))
		return parse_fail(
			ps, blob,
			"'%.80s' is no blob name; write it as in containers/<container>/, "
			"such as assets/config.toml",
			name);
	named->name = v->string;
	named->first = p->n_assets;
	named->n = 1;
	struct adafs_pipeline_asset *a = add_asset(ps);
	if (!a)
		return -ENOMEM;
	*a = (struct adafs_pipeline_asset){ .name = v->string,
					    .blob = name,
					    .optional = named->optional };
	return 0;
}

/* The characters that a script's name may have: it becomes part of a blob's name and of a path. */
static bool plain_name(const char *name)
{
	return name[0] && name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					    "0123456789._-+=")] == 0;
}

/* One file; shown is its name below the script's own folder. */
static int add_script(struct parser *ps, const cJSON *at, const char *path, const char *shown,
		      bool folder)
{
	struct adafs_err err = { 0 };
	ADAFS_FREE char *data = NULL;
	size_t len = 0;
	if (adafs_file_read(path, MAX_SCRIPT_BYTES, &data, &len, &err) < 0)
		return parse_fail(ps, at,
				  "script '%s': %.200s; correct the path, which is relative to the "
				  "pipeline file",
				  at->string, err.msg);
	char *copy = parse_alloc(ps, len + 1, 1);
	char *digest = parse_alloc(ps, ADAFS_SHA256_HEX_LEN, 1);
	if (!copy || !digest)
		return -ENOMEM;
	memcpy(copy, data, len);
	adafs_sha256_hex(data, len, digest);
	char *local = parse_text(ps, "%s", path);
	char *blob = parse_text(ps, "assets/.adafs/%s/%s", digest, shown);
	struct adafs_pipeline_asset *a = local && blob ? add_asset(ps) : NULL;
	if (!a)
		return -ENOMEM;
	*a = (struct adafs_pipeline_asset){ .name = at->string,
					    .blob = blob,
					    .local_path = local,
					    .sha256 = digest,
					    .data = copy,
					    .data_len = len,
					    .folder = folder };
	return 0;
}

static int skip_hidden(const struct dirent *d)
{
	size_t n = strlen(d->d_name);
	bool compiled = n > 4 && !strcmp(d->d_name + n - 4, ".pyc");
	return d->d_name[0] != '.' && strcmp(d->d_name, "__pycache__") && !compiled;
}

/* prefix: path below the script's folder, "" or with a trailing slash. */
static int add_folder(struct parser *ps, const cJSON *at, const char *folder, const char *prefix,
		      int depth)
{
	struct dirent **list = NULL;
	int n = scandir(folder, &list, skip_hidden, alphasort);
	if (n < 0)
		return parse_fail(
			ps, at,
			"script folder '%.120s' cannot be read: %s; correct the path, which "
			"is relative to the pipeline file",
			folder, strerror(errno));
	int rc = 0;
	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;
		ADAFS_FREE char *path = adafs_fmt("%s/%s", folder, name);
		ADAFS_FREE char *shown = adafs_fmt("%s%s", prefix, name);
		ADAFS_FREE char *deeper = adafs_fmt("%s%s/", prefix, name);
		struct stat st;
		if (rc < 0) {
			/* only the list is freed */
		} else if (!path || !shown || !deeper) {
			rc = adafs_err_set(ps->reterr, -ENOMEM, "%s: out of memory", ps->p->path);
		} else if (!plain_name(name)) {
			rc = parse_fail(
				ps, at,
				"script file '%.80s' has an unusual name; use letters, digits "
				"and ._-+=",
				name);
		} else if (stat(path, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
			rc = parse_fail(ps, at,
					"script '%.120s' is no file; remove it from the folder",
					path);
		} else if (S_ISDIR(st.st_mode)) {
			rc = depth < MAX_SCRIPT_DEPTH ? add_folder(ps, at, path, deeper, depth + 1)
						      : 0;
		} else {
			rc = add_script(ps, at, path, shown, true);
		}
		free(list[i]);
	}
	free(list);
	return rc;
}

/* Relative to the pipeline's own folder; free() the result. */
static char *script_path(const struct adafs_pipeline *p, const char *path)
{
	const char *slash = strrchr(p->path, '/');
	size_t n = strlen(path);
	while (n > 1 && path[n - 1] == '/')
		n--;
	if (path[0] == '/' || !slash)
		return adafs_fmt("%.*s", (int)n, path);
	return adafs_fmt("%.*s/%.*s", (int)(slash - p->path), p->path, (int)n, path);
}

static int parse_script(struct parser *ps, const cJSON *v)
{
	struct adafs_pipeline *p = ps->p;
	struct model_asset *named = &p->named[p->n_named++];
	const char *text = NULL;
	int rc = value_name(ps, v, v->string, "a script");
	if (rc == 0)
		rc = value_text(ps, v, "a script", &text);
	if (rc < 0)
		return rc;
	ADAFS_FREE char *path = script_path(p, text);
	if (!path)
		return adafs_err_set(ps->reterr, -ENOMEM, "%s: out of memory", p->path);
	named->name = v->string;
	named->first = p->n_assets;
	named->folder = text[strlen(text) - 1] == '/';
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	if (named->folder)
		rc = add_folder(ps, v, path, "", 0);
	else if (!plain_name(base))
		rc = parse_fail(ps, v,
				"script file '%.80s' has an unusual name; use letters, digits and "
				"._-+=",
				base);
	else
		rc = add_script(ps, v, path, base, false);
	named->n = p->n_assets - named->first;
	if (rc == 0 && !named->n)
		rc = parse_fail(ps, v, "script folder '%.120s' has no files; correct the path",
				path);
	if (rc == 0 && named->n > MAX_SCRIPT_FILES)
		rc = parse_fail(ps, v,
				"script folder '%.120s' has %zu files; at most %d are allowed",
				path, named->n, MAX_SCRIPT_FILES);
	return rc;
}

int parse_assets(struct parser *ps, const cJSON *assets, const cJSON *scripts)
{
	int rc = 0;
	size_t n = (size_t)cJSON_GetArraySize(assets) + (size_t)cJSON_GetArraySize(scripts);
	ps->p->named = parse_alloc(ps, n, sizeof(*ps->p->named));
	if (!ps->p->named)
		return -ENOMEM;
	if (assets) {
		rc = value_object(ps, assets, "assets");
		if (rc == 0)
			rc = value_keys(ps, assets, "assets", NULL);
		for (const cJSON *v = assets->child; rc == 0 && v; v = v->next)
			rc = parse_asset(ps, v);
	}
	if (rc == 0 && scripts) {
		rc = value_object(ps, scripts, "scripts");
		if (rc == 0)
			rc = value_keys(ps, scripts, "scripts", NULL);
		for (const cJSON *v = scripts->child; rc == 0 && v; v = v->next)
			rc = parse_script(ps, v);
	}
	return rc;
}

/* A built-in asset, named after its content. data lives as long as the pipeline. */
static int add_own(struct parser *ps, const char *name, const char *file, const char *data,
		   size_t len)
{
	char *digest = parse_alloc(ps, ADAFS_SHA256_HEX_LEN, 1);
	if (!digest)
		return -ENOMEM;
	adafs_sha256_hex(data, len, digest);
	char *blob = parse_text(ps, "assets/.adafs/%s/%s", digest, file);
	struct adafs_pipeline_asset *a = blob ? add_asset(ps) : NULL;
	if (!a)
		return -ENOMEM;
	*a = (struct adafs_pipeline_asset){
		.name = name, .blob = blob, .sha256 = digest, .data = data, .data_len = len
	};
	return 0;
}

/* Escaped here, so that no shell has to. */
static int add_document(struct parser *ps)
{
	ADAFS_JSON *json = cJSON_CreateObject();
	ADAFS_FREE char *text = NULL;
	if (cJSON_AddStringToObject(json, "name", ps->p->name) &&
	    cJSON_AddStringToObject(json, "digest", ps->p->digest) &&
	    cJSON_AddStringToObject(json, "text", ps->p->text))
		text = adafs_json_print(json);
	char *kept = text ? parse_text(ps, "%s", text) : NULL;
	if (!kept)
		return adafs_err_set(ps->reterr, -ENOMEM, "%s: out of memory", ps->p->path);
	return add_own(ps, "pipeline", "manifest.json", kept, strlen(kept));
}

int parse_add_own(struct parser *ps)
{
	size_t len = 0;
	const char *text = wrapper_text(&len);
	int rc = add_document(ps);
	return rc < 0 ? rc : add_own(ps, "wrapper", "wrapper.sh", text, len);
}
