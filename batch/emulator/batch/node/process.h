/*
 * emulator/batch/node/process.h - the processes of tasks. Each leads a session of its own, so that
 * all it starts can be killed together; what left the session is known by its environment.
 */
#ifndef ADAFS_EMULATOR_BATCH_PROCESS_H
#define ADAFS_EMULATOR_BATCH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "batch/base/cleanup.h"

/* A list of texts that ends with NULL: argv, envp. */
void strings_free(char **list);
void strings_freep(char ***list);

/*
 * Split a command line as the node does, without a shell: blanks separate, '...' is literal, "..."
 * may hold \" and \\, outside of quotes a backslash takes the next character. 0; -EINVAL for a
 * quote that does not end; -ENOENT for an empty line; -ENOMEM.
 */
int batch_command_split(const char *line, char ***ret_argv) ADAFS_MUST_CHECK;

struct batch_command {
	char *const *argv;
	char *const *envp; /* the whole environment; its PATH finds argv[0] */
	const char *cwd;
	const char *stdout_path, *stderr_path; /* truncated */
};
/*
 * Start it as leader of a new session with nothing open but 0, 1 and 2. 0; -ENOENT: no such
 * program; -EACCES, -ENOEXEC, ...: it cannot be started. The caller reaps it.
 */
int batch_process_spawn(const struct batch_command *c, pid_t *ret_pid) ADAFS_MUST_CHECK;
/*
 * Wait for a process that nobody else waits for, at most so long; then it is killed with its
 * session. 0, or -ETIMEDOUT. Its exit code is not told.
 */
int batch_process_reap(pid_t pid, unsigned timeout_ms);
/* Start time in clock ticks since boot; 0: there is no such process. */
uint64_t batch_process_start_time(pid_t pid);
/* Kill the process group that pid leads, if pid is still the process that started then. */
void batch_process_kill_recorded(pid_t pid, uint64_t start_time);
/*
 * Kill every process but this one whose initial environment has an entry that begins with prefix
 * ("AZ_BATCH_TASK_DIR=/.../t1"); whole: the entry must be equal. Returns how many were hit.
 */
unsigned batch_process_kill_tagged(const char *prefix, bool whole);

#endif
