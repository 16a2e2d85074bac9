/* emulator/batch/node/container.c - arguments and environment of podman or docker for one task. */
#include "batch/emulator/batch/node/container.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "batch/base/buf.h"
#include "batch/base/codec.h"
#include "batch/base/file.h"
#include "batch/base/random.h"
#include "batch/emulator/batch/node/process.h"

/* Of this process, for the engine: where it keeps images, and how it is reached. */
static const char *const engine_variables[] = { "PATH",
						"HOME",
						"XDG_RUNTIME_DIR",
						"XDG_DATA_HOME",
						"XDG_CONFIG_HOME",
						"CONTAINERS_CONF",
						"CONTAINERS_STORAGE_CONF",
						"DOCKER_HOST",
						"DBUS_SESSION_BUS_ADDRESS" };

int container_engine_find(char **ret, struct adafs_err *reterr)
{
	static const char *const names[] = { "podman", "docker" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++) {
		const char *path = getenv("PATH");
		while (path && *path) {
			size_t n = strcspn(path, ":");
			ADAFS_FREE char *try = adafs_fmt("%.*s/%s", (int)n, path, names[i]);
			if (!try)
				return adafs_err_set(reterr, -ENOMEM, "out of memory");
			if (access(try, X_OK) == 0) {
				*ret = ADAFS_STEAL(try);
				return 0;
			}
			path += n + (path[n] == ':');
		}
	}
	return adafs_err_set(
		reterr, -ENOENT,
		"--containers needs podman or docker, and neither is on PATH: install podman");
}

/* --- lists of texts ------------------------------------------------------------------------ */

struct words {
	char **list;
	size_t n;
	bool failed;
};

/* Takes ownership; NULL is out of memory. */
static void add(struct words *w, char *text)
{
	char **grown = text && !w->failed ? reallocarray(w->list, w->n + 2, sizeof(*grown)) : NULL;
	if (!grown) {
		free(text);
		w->failed = true;
		return;
	}
	w->list = grown;
	grown[w->n++] = text;
	grown[w->n] = NULL;
}

static void add_copy(struct words *w, const char *text)
{
	add(w, strdup(text));
}

static char **finish(struct words *w)
{
	if (!w->failed)
		return w->list;
	strings_free(w->list);
	return NULL;
}

/* --- settings ------------------------------------------------------------------------------ */

/* The name as the engine wants it: without a tag it is the latest. */
static char *image_of(const cJSON *settings)
{
	const char *name = adafs_json_str(settings, "imageName", "");
	const char *last = strrchr(name, '/');
	bool tagged = strpbrk(last ? last : name, ":@") != NULL;
	return tagged ? strdup(name) : adafs_fmt("%s:latest", name);
}

static int write_auth(struct container *c, const cJSON *registry, const char *tmp_dir)
{
	const char *user = adafs_json_str(registry, "username", NULL);
	const char *password = adafs_json_str(registry, "password", NULL);
	if (!user || !password)
		return 0;
	c->auth_dir = adafs_fmt("%s/registry", tmp_dir);
	ADAFS_FREE char *plain = adafs_fmt("%s:%s", user, password);
	ADAFS_FREE char *code = plain ? adafs_base64_encode(plain, strlen(plain)) : NULL;
	ADAFS_JSON *root = cJSON_CreateObject();
	cJSON *auths = cJSON_AddObjectToObject(root, "auths");
	cJSON *entry = cJSON_AddObjectToObject(
		auths, adafs_json_str(registry, "registryServer", "docker.io"));
	if (code)
		cJSON_AddStringToObject(entry, "auth", code);
	ADAFS_FREE char *text = adafs_json_print(root);
	ADAFS_FREE char *path = c->auth_dir ? adafs_fmt("%s/config.json", c->auth_dir) : NULL;
	int rc = path && code && text ? adafs_mkdir_p(c->auth_dir, 0700) : -ENOMEM;
	if (rc == 0)
		rc = adafs_file_write_atomic(path, text, strlen(text), 0600, NULL);
	return rc;
}

static bool has_name(const char *entry, const char *name)
{
	size_t n = strlen(name);
	return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

/* These are the engine's own in its environment; in the container they are the image's or the
 * task's. */
static bool is_engine_variable(const char *entry)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(engine_variables); i++)
		if (has_name(entry, engine_variables[i]))
			return true;
	return false;
}

static char **engine_env(const struct container *c, char *const *task_env)
{
	struct words w = { 0 };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(engine_variables); i++) {
		const char *value = getenv(engine_variables[i]);
		if (value)
			add(&w, adafs_fmt("%s=%s", engine_variables[i], value));
	}
	if (c->auth_dir) {
		add(&w, adafs_fmt("REGISTRY_AUTH_FILE=%s/config.json", c->auth_dir));
		add(&w, adafs_fmt("DOCKER_CONFIG=%s", c->auth_dir));
	}
	for (; *task_env; task_env++)
		if (!is_engine_variable(*task_env))
			add_copy(&w, *task_env);
	return finish(&w);
}

int container_init(struct container *c, const char *engine, const cJSON *settings,
		   const struct container_place *place)
{
	char id[ADAFS_UUID_LEN];
	adafs_random_uuid(id);
	*c = (struct container){ .engine = engine };
	c->image = image_of(settings);
	c->name = adafs_fmt("adafs-%s", id);
	c->id_path = adafs_fmt("%s/container-id", place->tmp_dir);
	int rc = c->image && c->name && c->id_path ? 0 : -ENOMEM;
	if (rc == 0)
		rc = write_auth(c, adafs_json_get(settings, "registry"), place->tmp_dir);
	if (rc == 0) {
		c->envp = engine_env(c, place->task_env);
		rc = c->envp ? 0 : -ENOMEM;
	}
	if (rc < 0)
		container_clear(c);
	return rc;
}

void container_clear(struct container *c)
{
	free(c->image);
	free(c->name);
	free(c->id_path);
	free(c->auth_dir);
	strings_free(c->envp);
	*c = (struct container){ 0 };
}

/* --- arguments ----------------------------------------------------------------------------- */

static char **engine_words(const struct container *c, const char *a, const char *b,
			   const char *last)
{
	struct words w = { 0 };
	add_copy(&w, c->engine);
	add_copy(&w, a);
	if (b)
		add_copy(&w, b);
	add_copy(&w, last);
	return finish(&w);
}

char **container_argv_inspect(const struct container *c)
{
	return engine_words(c, "image", "inspect", c->image);
}

char **container_argv_pull(const struct container *c)
{
	return engine_words(c, "pull", NULL, c->image);
}

char **container_argv_remove(const struct container *c)
{
	return engine_words(c, "rm", "-f", c->name);
}

/*
 * By name alone, so that no argument shows a value; but for what the engine has of its own, where
 * the task's value must be told. Defaults of this machine's tasks are not for an image.
 */
static void add_env(struct words *w, const struct container_place *place)
{
	for (char *const *e = place->task_env; *e; e++) {
		bool own = is_engine_variable(*e);
		if (has_name(*e, "PATH") ||
		    (has_name(*e, "HOME") && strcmp(*e + 5, place->wd) == 0))
			continue;
		add_copy(w, "--env");
		add(w, own ? strdup(*e) : strndup(*e, strcspn(*e, "=")));
	}
}

static void add_run_options(struct words *w, const cJSON *settings)
{
	const char *text = adafs_json_str(settings, "containerRunOptions", "");
	ADAFS_CLEANUP(strings_freep) char **options = NULL;
	int rc = batch_command_split(text, &options);
	if (rc < 0 && rc != -ENOENT)
		w->failed = true;
	for (size_t i = 0; rc == 0 && options[i]; i++)
		add_copy(w, options[i]);
}

char **container_argv_run(const struct container *c, const cJSON *settings,
			  const struct container_place *place, const char *user,
			  char *const *command)
{
	struct words w = { 0 };
	const char *where = adafs_json_str(settings, "workingDirectory", "");
	add_copy(&w, c->engine);
	add_copy(&w, "run");
	add_copy(&w, "--rm");
	add(&w, adafs_fmt("--name=%s", c->name));
	add(&w, adafs_fmt("--cidfile=%s", c->id_path));
	/* Tasks reach both services on loopback, as they reach Azure from a node. */
	add_copy(&w, "--network=host");
	add(&w, adafs_fmt("--user=%s", user));
	add(&w, adafs_fmt("--volume=%s:%s", place->node_dir, place->node_dir));
	if (strcasecmp(where, "containerImageDefault") != 0)
		add(&w, adafs_fmt("--workdir=%s", place->wd));
	add_env(&w, place);
	/* Last, so that the task's own options win. */
	add_run_options(&w, settings);
	add_copy(&w, c->image);
	for (; command && *command; command++)
		add_copy(&w, *command);
	return finish(&w);
}

char *container_read_id(const struct container *c)
{
	char *text = NULL;
	size_t len;
	if (adafs_file_read(c->id_path, 256, &text, &len, NULL) < 0)
		return NULL;
	text[strcspn(text, "\r\n")] = 0;
	return text;
}
