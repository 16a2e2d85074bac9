/* The environment of a command on a node (batch-rest.md, 15). */
#include <stdlib.h>
#include <string.h>

#include "batch/emulator/batch/engine/job_node.h"
#include "batch/emulator/batch/node/process.h"
#include "batch/emulator/batch/node/runner.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct env {
	char **list;
	size_t n;
	bool failed;
};

/* Set or replace; takes ownership of text ("NAME=value"). */
static void env_put(struct env *e, char *text)
{
	size_t name = text ? strcspn(text, "=") : 0;
	for (size_t i = 0; text && i < e->n; i++) {
		if (strncmp(e->list[i], text, name + 1) == 0) {
			free(e->list[i]);
			e->list[i] = text;
			return;
		}
	}
	char **grown = text ? reallocarray(e->list, e->n + 2, sizeof(*grown)) : NULL;
	if (!grown) {
		free(text);
		e->failed = true;
		return;
	}
	e->list = grown;
	grown[e->n++] = text;
	grown[e->n] = NULL;
}

static void env_put_settings(struct env *e, const cJSON *settings)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, settings)
		env_put(e, adafs_fmt("%s=%s", adafs_json_str(item, "name", ""),
				     adafs_json_str(item, "value", "")));
}

static void env_put_node(struct env *e, const struct node *n, const char *node_dir)
{
	env_put(e, adafs_fmt("AZ_BATCH_POOL_ID=%s", n->pool->e.id));
	env_put(e, adafs_fmt("AZ_BATCH_NODE_ID=%s", n->id));
	env_put(e, adafs_fmt("AZ_BATCH_NODE_IS_DEDICATED=%s", n->dedicated ? "true" : "false"));
	env_put(e, adafs_fmt("AZ_BATCH_NODE_ROOT_DIR=%s", node_dir));
	env_put(e, adafs_fmt("AZ_BATCH_NODE_SHARED_DIR=%s/shared", node_dir));
	env_put(e, adafs_fmt("AZ_BATCH_NODE_STARTUP_DIR=%s/startup", node_dir));
	env_put(e, adafs_fmt("AZ_BATCH_NODE_MOUNTS_DIR=%s/fsmounts", node_dir));
}

static void env_put_job(struct env *e, const struct run *run, const char *id)
{
	env_put(e, adafs_fmt("AZ_BATCH_JOB_ID=%s", run->job->e.id));
	env_put(e, adafs_fmt("AZ_BATCH_TASK_ID=%s", id));
	if (run->job->prepares && run->kind != RUN_PREPARATION) {
		ADAFS_FREE char *dir =
			job_own_dir(run->s, run->job, run->node->id, RUN_PREPARATION);
		env_put(e, dir ? adafs_fmt("AZ_BATCH_JOB_PREP_DIR=%s", dir) : NULL);
		env_put(e, dir ? adafs_fmt("AZ_BATCH_JOB_PREP_WORKING_DIR=%s/wd", dir) : NULL);
	}
	env_put_settings(e, adafs_json_get(run->job->e.spec, "commonEnvironmentSettings"));
}

/* Nothing of this process's environment is passed on: it may hold keys. */
char **run_env_new(const struct run *run, const char *node_dir, const char *id)
{
	struct env e = { 0 };
	env_put(&e, strdup("PATH=" DEFAULT_PATH));
	env_put(&e, strdup("LANG=C.UTF-8"));
	env_put(&e, adafs_fmt("HOME=%s", run->wd));
	env_put(&e, adafs_fmt("TMPDIR=%s", run->tmp_dir));
	env_put(&e, adafs_fmt("AZ_BATCH_ACCOUNT_NAME=%s", run->s->account));
	env_put(&e, adafs_fmt("AZ_BATCH_ACCOUNT_URL=%s", run->s->endpoint));
	env_put_node(&e, run->node, node_dir);
	env_put(&e, adafs_fmt("AZ_BATCH_TASK_DIR=%s", run->dir));
	env_put(&e, adafs_fmt("AZ_BATCH_TASK_WORKING_DIR=%s", run->wd));
	if (run->job)
		env_put_job(&e, run, id);
	env_put_settings(&e, adafs_json_get(run->spec, "environmentSettings"));
	if (e.failed) {
		strings_free(e.list);
		return NULL;
	}
	return e.list;
}
