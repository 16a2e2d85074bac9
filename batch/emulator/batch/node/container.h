/*
 * emulator/batch/node/container.h - a task's command turned into one that podman or docker runs:
 * the node's directories at the same paths, the task's environment, its working directory and
 * options (batch-rest.md 12.4 and 15). Nothing is started here.
 */
#ifndef ADAFS_EMULATOR_BATCH_CONTAINER_H
#define ADAFS_EMULATOR_BATCH_CONTAINER_H

#include <stdbool.h>

#include "batch/base/err.h"
#include "batch/base/json.h"

/*
 * The engine of this machine: podman, else docker, by PATH. *ret is its path, owned by the caller.
 * 0; -ENOENT saying what to install; -ENOMEM.
 */
int container_engine_find(char **ret, struct adafs_err *reterr) ADAFS_MUST_CHECK;

/* What a container task needs beside its command. */
struct container {
	const char *engine; /* borrowed */
	char *image;        /* with its tag */
	char *name;         /* of the container, unique */
	char *id_path;      /* the engine writes the container's id there */
	char *auth_dir;     /* config.json of the registry; NULL: none is needed */
	char **envp;        /* of the engine: its own and the task's */
};

/* Where a task runs; all borrowed. */
struct container_place {
	const char *node_dir, *wd, *tmp_dir;
	char *const *task_env;
};

/*
 * Read containerSettings. tmp_dir must exist: a registry's password is put into a private file of
 * it, so that no argument holds it. 0; -EINVAL for a quote that does not end in
 * containerRunOptions; -ENOMEM; errors of the disk.
 */
int container_init(struct container *c, const char *engine, const cJSON *settings,
		   const struct container_place *place) ADAFS_MUST_CHECK;
void container_clear(struct container *c);

/*
 * Arguments, each list to be freed by strings_free: is the image here; fetch it; run a command in
 * it (its words follow the image's name; none: what the image says); end it. NULL: out of memory.
 */
char **container_argv_inspect(const struct container *c);
char **container_argv_pull(const struct container *c);
char **container_argv_run(const struct container *c, const cJSON *settings,
			  const struct container_place *place, const char *user,
			  char *const *command);
char **container_argv_remove(const struct container *c);
/* The id of the container that was run; free(). NULL: none came to be. */
char *container_read_id(const struct container *c);

#endif
