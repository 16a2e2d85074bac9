/* What is recorded of a command on a node. */
#include "batch/emulator/batch/engine/execution.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/cleanup.h"

void execution_clear(struct execution *x)
{
	cJSON_Delete(x->failure);
	x->failure = NULL;
	free(x->container_id);
	x->container_id = NULL;
}

void execution_restart(struct execution *x)
{
	execution_clear(x);
	x->has_exit_code = false;
	x->exit_code = 0;
	x->start_us = x->end_us = 0;
	x->pid = 0;
	x->pid_start = 0;
}

void execution_reset(struct execution *x)
{
	execution_clear(x);
	*x = (struct execution){ 0 };
}

void execution_end(struct execution *x, int64_t now_us, bool has_exit_code, int exit_code,
		   cJSON **failure)
{
	cJSON_Delete(x->failure);
	x->end_us = now_us;
	x->has_exit_code = has_exit_code;
	x->exit_code = exit_code;
	x->failure = *failure;
	*failure = NULL;
}

static void put_int(cJSON *o, const char *name, int64_t value)
{
	if (value)
		cJSON_AddNumberToObject(o, name, (double)value);
}

void execution_put(const struct execution *x, cJSON *o)
{
	put_int(o, "start", x->start_us);
	put_int(o, "end", x->end_us);
	if (x->has_exit_code)
		cJSON_AddNumberToObject(o, "exit", x->exit_code);
	put_int(o, "retries", x->retry_count);
	put_int(o, "last_retry", x->last_retry_us);
	put_int(o, "ending", x->ending);
	put_int(o, "pid", x->pid);
	put_int(o, "pid_start", (int64_t)x->pid_start);
	if (x->container_id)
		cJSON_AddStringToObject(o, "container", x->container_id);
	if (x->failure)
		cJSON_AddItemToObject(o, "failure", cJSON_Duplicate(x->failure, true));
}

int execution_load(struct execution *x, const cJSON *o)
{
	x->start_us = adafs_json_int(o, "start", 0);
	x->end_us = adafs_json_int(o, "end", 0);
	x->has_exit_code = adafs_json_get(o, "exit") != NULL;
	x->exit_code = (int)adafs_json_int(o, "exit", 0);
	x->retry_count = (int)adafs_json_int(o, "retries", 0);
	x->last_retry_us = adafs_json_int(o, "last_retry", 0);
	x->ending = (int)adafs_json_int(o, "ending", 0);
	x->pid = (pid_t)adafs_json_int(o, "pid", 0);
	x->pid_start = (uint64_t)adafs_json_int(o, "pid_start", 0);
	const cJSON *failure = adafs_json_get(o, "failure");
	x->failure = failure ? cJSON_Duplicate(failure, true) : NULL;
	const char *container = adafs_json_str(o, "container", NULL);
	x->container_id = container ? strdup(container) : NULL;
	return (failure && !x->failure) || (container && !x->container_id) ? -ENOMEM : 0;
}
