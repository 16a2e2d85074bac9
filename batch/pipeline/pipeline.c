/* pipeline.c - the pipeline as a shared, immutable object: load, look at, release. */
#include "batch/pipeline/pipeline.h"

#include <errno.h>
#include <limits.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/file.h"
#include "batch/pipeline/model.h"

#define MAX_PIPELINE_BYTES (1 << 20)

static void pipeline_free(struct adafs_pipeline *p)
{
	for (size_t i = 0; i < p->n_owned; i++)
		free(p->owned[i]);
	free(p->owned);
	free(p->assets);
	cJSON_Delete(p->json);
	free(p->path);
	free(p->text);
	free(p);
}

int adafs_pipeline_parse(const char *path, const char *text, size_t len,
			 struct adafs_pipeline **ret, struct adafs_err *reterr)
{
	struct adafs_pipeline *p = calloc(1, sizeof(*p));
	if (!p)
		return adafs_err_set(reterr, -ENOMEM, "%s: out of memory", path);
	atomic_init(&p->refs, 1);
	p->path = strdup(path);
	p->text = malloc(len + 1);
	int rc = -ENOMEM;
	if (p->path && p->text) {
		memcpy(p->text, text, len);
		p->text[len] = 0;
		p->len = len;
		adafs_sha256_hex(text, len, p->digest);
		rc = parse_pipeline(p, reterr);
	} else {
		adafs_err_set(reterr, rc, "%s: out of memory", path);
	}
	if (rc < 0) {
		pipeline_free(p);
		return rc;
	}
	*ret = p;
	return 0;
}

static int load_file(const char *path, struct adafs_pipeline **ret, struct adafs_err *reterr)
{
	ADAFS_FREE char *text = NULL;
	size_t len = 0;
	int rc = adafs_file_read(path, MAX_PIPELINE_BYTES, &text, &len, reterr);
	return rc < 0 ? rc : adafs_pipeline_parse(path, text, len, ret, reterr);
}

/*
 * Where pipelines lie beside the program: PREFIX/share/adafs of an installation wherever it was
 * moved, and the source tree of a program in its build directory. "" when it cannot be told.
 */
static void program_dirs(char share[PATH_MAX], char tree[PATH_MAX])
{
	char exe[PATH_MAX - 64];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	*share = *tree = 0;
	if (n <= 0)
		return;
	exe[n] = 0;
	char *slash = strrchr(exe, '/');
	*slash = 0;
	snprintf(share, PATH_MAX, "%s/../share/adafs/batch/pipelines", exe);
	snprintf(tree, PATH_MAX, "%s/../batch/pipelines", exe);
}

int adafs_pipeline_load(const char *name_or_path, struct adafs_pipeline **ret,
			struct adafs_err *reterr)
{
	size_t len = strlen(name_or_path);
	if (strchr(name_or_path, '/') || (len > 5 && !strcmp(name_or_path + len - 5, ".json")))
		return load_file(name_or_path, ret, reterr);
	char beside[PATH_MAX], tree[PATH_MAX];
	program_dirs(beside, tree);
	const char *const dirs[] = { getenv("ADAFS_PIPELINES"), beside, tree,
				     ADAFS_DATADIR "/batch/pipelines",
				     ADAFS_SOURCE_DIR "/batch/pipelines" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(dirs); i++) {
		if (!dirs[i] || !*dirs[i])
			continue;
		ADAFS_FREE char *path = adafs_fmt("%s/%s.json", dirs[i], name_or_path);
		if (!path)
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
		if (access(path, F_OK) == 0)
			return load_file(path, ret, reterr);
	}
	return adafs_err_set(reterr, -ENOENT,
			     "there is no pipeline '%s' in %s%s" ADAFS_DATADIR
			     "/batch/pipelines; correct the name, or give the path of a .json file",
			     name_or_path, dirs[0] ? dirs[0] : "", dirs[0] ? " or " : "");
}

bool adafs_pipeline_by_unit(const struct adafs_pipeline *p)
{
	bool many = false;
	for (size_t i = 0; i < p->n_inputs; i++)
		many |= p->inputs[i].many;
	return many || p->grid_zoom >= 0;
}

int adafs_pipeline_grid_zoom(const struct adafs_pipeline *p)
{
	return p->grid_zoom;
}

struct adafs_pipeline *adafs_pipeline_ref(struct adafs_pipeline *p)
{
	atomic_fetch_add(&p->refs, 1);
	return p;
}

void adafs_pipeline_unref(struct adafs_pipeline *p)
{
	if (p && atomic_fetch_sub(&p->refs, 1) == 1)
		pipeline_free(p);
}

const char *adafs_pipeline_name(const struct adafs_pipeline *p)
{
	return p->name;
}

const char *adafs_pipeline_text(const struct adafs_pipeline *p, size_t *ret_len)
{
	if (ret_len)
		*ret_len = p->len;
	return p->text;
}

const char *adafs_pipeline_digest(const struct adafs_pipeline *p)
{
	return p->digest;
}

const char *adafs_pipeline_path(const struct adafs_pipeline *p)
{
	return p->path;
}

const char *adafs_pipeline_pool(const struct adafs_pipeline *p)
{
	return p->pool;
}

const char *adafs_pipeline_image(const struct adafs_pipeline *p)
{
	return p->image;
}

int adafs_pipeline_max_slots(const struct adafs_pipeline *p, const char **ret_step)
{
	int most = 0;
	for (size_t i = 0; i < p->n_steps; i++) {
		if (p->steps[i].settings.slots <= most)
			continue;
		most = p->steps[i].settings.slots;
		if (ret_step)
			*ret_step = p->steps[i].name;
	}
	return most;
}

size_t adafs_pipeline_n_inputs(const struct adafs_pipeline *p)
{
	return p->n_inputs;
}

const struct adafs_pipeline_input *adafs_pipeline_input(const struct adafs_pipeline *p, size_t i)
{
	return i < p->n_inputs ? &p->inputs[i] : NULL;
}

size_t adafs_pipeline_n_assets(const struct adafs_pipeline *p)
{
	return p->n_assets;
}

const struct adafs_pipeline_asset *adafs_pipeline_asset(const struct adafs_pipeline *p, size_t i)
{
	return i < p->n_assets ? &p->assets[i] : NULL;
}

int adafs_pipeline_role(const struct adafs_pipeline *p, const char *path_in_event,
			struct adafs_err *reterr)
{
	for (size_t i = 0; i < p->n_inputs; i++) {
		const char *match = p->inputs[i].match ? p->inputs[i].match : "*";
		if (fnmatch(match, path_in_event, FNM_PATHNAME | FNM_PERIOD) == 0)
			return (int)i;
	}
	char list[256] = "";
	size_t used = 0;
	for (size_t i = 0; i < p->n_inputs && used < sizeof(list); i++) {
		const char *match = p->inputs[i].match ? p->inputs[i].match : "*";
		int n = snprintf(list + used, sizeof(list) - used, "%s%s (%s)", i ? ", " : "",
				 match, p->inputs[i].name);
		used += n > 0 ? (size_t)n : 0;
	}
	return adafs_err_set(reterr, -ENOENT,
			     "pipeline '%s' has no role for '%.100s'; inside an event it takes %s",
			     p->name, path_in_event, list);
}
