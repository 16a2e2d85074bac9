/*
 * emulator/batch/node/container_run.c - a run whose command goes into a container: the image is
 * brought, the container is watched as any process of a task, and ended by the engine when its
 * client was killed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "batch/base/buf.h"
#include "batch/base/file.h"
#include "batch/base/log.h"
#include "batch/emulator/batch/node/container.h"
#include "batch/emulator/batch/node/process.h"
#include "batch/emulator/batch/node/runner.h"
#include "batch/emulator/batch/node/transfer.h"

/* To end a container may take the engine so long; then it is left to the engine. */
#define REMOVE_MS 20000
#define MAX_LOG 65536

static const cJSON *settings_of(const struct run *run)
{
	return adafs_json_get(run->spec, "containerSettings");
}

static struct container_place place_of(const struct run *run, const char *node_dir)
{
	return (struct container_place){
		.node_dir = node_dir, .wd = run->wd, .tmp_dir = run->tmp_dir, .task_env = run->envp
	};
}

/*
 * Run a command of the engine to its end, its words into a file. Its exit code, or negative errno.
 */
static int run_engine(struct run *run, char **argv, const char *log, uint64_t deadline_ms)
{
	if (!argv)
		return -ENOMEM;
	struct batch_command c = { .argv = argv,
				   .envp = run->container->envp,
				   .cwd = run->wd,
				   .stdout_path = "/dev/null",
				   .stderr_path = log };
	pid_t pid;
	int rc = batch_process_spawn(&c, &pid);
	strings_free(argv);
	return rc < 0 ? rc : run_await(run, pid, deadline_ms);
}

/* The last line that the engine wrote: why it could not. */
static char *last_words(const char *log)
{
	char *text = NULL;
	size_t len;
	if (adafs_file_read(log, MAX_LOG, &text, &len, NULL) < 0)
		return NULL;
	while (len && text[len - 1] == '\n')
		text[--len] = 0;
	char *line = strrchr(text, '\n');
	if (line)
		memmove(text, line + 1, strlen(line));
	adafs_redact(text);
	return text;
}

static int bring_image(struct run *run, uint64_t deadline_ms, cJSON **ret_failure)
{
	ADAFS_FREE char *log = adafs_fmt("%s/engine.txt", run->tmp_dir);
	if (!log)
		return -ENOMEM;
	int rc = run_engine(run, container_argv_inspect(run->container), log, deadline_ms);
	if (rc > 0)
		rc = run_engine(run, container_argv_pull(run->container), log, deadline_ms);
	if (rc <= 0)
		return rc;
	ADAFS_FREE char *why = last_words(log);
	*ret_failure = batch_failure_new("UserError", "ContainerInvalidImage",
					 "One or more container images specified are invalid",
					 "Message", why ? why : "The image cannot be fetched",
					 "Image", run->container->image, NULL);
	return -ENOENT;
}

int run_container_open(struct run *run, uint64_t deadline_ms, cJSON **ret_failure)
{
	const char *engine = run->s->container_engine;
	if (!engine || !settings_of(run))
		return 0;
	ADAFS_FREE char *node_dir = service_node_dir(run->s, run->node->id);
	struct container_place place = place_of(run, node_dir);
	run->container = calloc(1, sizeof(*run->container));
	int rc = node_dir && run->container
			 ? container_init(run->container, engine, settings_of(run), &place)
			 : -ENOMEM;
	if (rc == 0)
		rc = bring_image(run, deadline_ms, ret_failure);
	if (rc < 0 && !*ret_failure)
		*ret_failure = batch_failure_new("UserError", "ContainerInvalidSettings",
						 "One or more container settings are invalid",
						 "Message", strerror(-rc), NULL);
	return rc;
}

char **run_container_argv(const struct run *run, char *const *command)
{
	ADAFS_FREE char *node_dir = service_node_dir(run->s, run->node->id);
	struct container_place place = place_of(run, node_dir);
	const cJSON *user = adafs_json_path(run->spec, "userIdentity/autoUser");
	bool admin = strcasecmp(adafs_json_str(user, "elevationLevel", ""), "admin") == 0;
	ADAFS_FREE char *ids = admin ? strdup("0:0")
				     : adafs_fmt("%u:%u", (unsigned)geteuid(), (unsigned)getegid());
	/* A retry is a new container, and the engine does not write over the id of the last. */
	unlink(run->container->id_path);
	return node_dir && ids
		       ? container_argv_run(run->container, settings_of(run), &place, ids, command)
		       : NULL;
}

/* The client was killed, which does not end what it had started. */
static void remove_container(struct run *run)
{
	char **argv = container_argv_remove(run->container);
	struct batch_command c = { .argv = argv,
				   .envp = run->container->envp,
				   .cwd = "/",
				   .stdout_path = "/dev/null",
				   .stderr_path = "/dev/null" };
	pid_t pid;
	int rc = argv ? batch_process_spawn(&c, &pid) : -ENOMEM;
	strings_free(argv);
	if (rc == 0)
		rc = batch_process_reap(pid, REMOVE_MS);
	if (rc < 0)
		adafs_log(WARN, "batch", "container '%s' may be left: %s", run->container->name,
			  strerror(-rc));
}

/* Takes the id. */
static void record_id(struct run *run, char *id)
{
	adafs_mutex_lock(&run->s->lock);
	free(run->exec->container_id);
	run->exec->container_id = id;
	adafs_mutex_unlock(&run->s->lock);
}

bool run_container_begun(struct run *run)
{
	char *id = run->container ? container_read_id(run->container) : NULL;
	if (id && *id)
		record_id(run, ADAFS_STEAL(id));
	free(id);
	return !run->container || run->exec->container_id;
}

void run_container_ended(struct run *run, bool killed)
{
	if (!run->container)
		return;
	char *id = container_read_id(run->container);
	if (killed && id)
		remove_container(run);
	record_id(run, id);
}

void run_container_free(struct run *run)
{
	if (run->container)
		container_clear(run->container);
	free(run->container);
}
