/*
 * emulator/batch/node/process.c - command lines to arguments, and starting, waiting for and killing
 * a task's session.
 */
#include "batch/emulator/batch/node/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "batch/base/buf.h"
#include "batch/base/file.h"

#define COMMAND_MAX (1u << 20)

void strings_free(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

void strings_freep(char ***list)
{
	strings_free(*list);
}

/* --- command lines ------------------------------------------------------------------------ */

/* One word at *at into word; *at moves behind it. */
static int split_word(const char **at, struct adafs_buf *word)
{
	const char *p = *at;
	char quote = 0;
	int rc = 0;
	for (; rc == 0 && *p && (quote || !isspace((unsigned char)*p)); p++) {
		if (*p == quote) {
			quote = 0;
		} else if (!quote && (*p == '\'' || *p == '"')) {
			quote = *p;
		} else if (*p == '\\' && quote != '\'' && p[1] &&
			   (!quote || p[1] == '"' || p[1] == '\\')) {
			rc = adafs_buf_add(word, ++p, 1);
		} else {
			rc = adafs_buf_add(word, p, 1);
		}
	}
	*at = p;
	return rc == 0 && quote ? -EINVAL : rc;
}

int batch_command_split(const char *line, char ***ret_argv)
{
	ADAFS_CLEANUP(strings_freep) char **argv = calloc(1, sizeof(*argv));
	size_t n = 0;
	for (;;) {
		while (isspace((unsigned char)*line))
			line++;
		if (!*line)
			break;
		ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf word = ADAFS_BUF_INIT(COMMAND_MAX);
		int rc = split_word(&line, &word);
		if (rc < 0)
			return rc;
		char **grown = argv ? reallocarray(argv, n + 2, sizeof(*argv)) : NULL;
		if (!grown)
			return -ENOMEM;
		argv = grown;
		argv[n] = adafs_buf_steal(&word, NULL);
		argv[n + 1] = NULL;
		if (!argv[n++])
			return -ENOMEM;
	}
	if (!n)
		return -ENOENT;
	*ret_argv = ADAFS_STEAL(argv);
	return 0;
}

/* --- starting ----------------------------------------------------------------------------- */

static const char *env_get(char *const *envp, const char *name)
{
	size_t n = strlen(name);
	for (; *envp; envp++)
		if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=')
			return *envp + n + 1;
	return NULL;
}

static bool is_program(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* The program that argv[0] names for this command; free(). NULL: none (errno). */
static char *find_program(const struct batch_command *c)
{
	const char *name = c->argv[0];
	if (strchr(name, '/')) {
		char *path = *name == '/' ? strdup(name) : adafs_fmt("%s/%s", c->cwd, name);
		struct stat st;
		/* What exists but is no program is left to exec, which says why. */
		if (path && stat(path, &st) == 0)
			return path;
		free(path);
		errno = ENOENT;
		return NULL;
	}
	const char *path = env_get(c->envp, "PATH");
	while (path && *path && *name) {
		size_t n = strcspn(path, ":");
		char *try = adafs_fmt("%.*s/%s", (int)n, path, name);
		if (try && is_program(try))
			return try;
		free(try);
		path += n + (path[n] == ':');
	}
	errno = ENOENT;
	return NULL;
}

static int add_actions(posix_spawn_file_actions_t *a, const struct batch_command *c)
{
	int flags = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND;
	int rc = posix_spawn_file_actions_addchdir_np(a, c->cwd);
	if (!rc)
		rc = posix_spawn_file_actions_addopen(a, 0, "/dev/null", O_RDONLY, 0);
	if (!rc)
		rc = posix_spawn_file_actions_addopen(a, 1, c->stdout_path, flags, 0644);
	if (!rc)
		rc = posix_spawn_file_actions_addopen(a, 2, c->stderr_path, flags, 0644);
	if (!rc)
		rc = posix_spawn_file_actions_addclosefrom_np(a, 3);
	return rc;
}

int batch_process_spawn(const struct batch_command *c, pid_t *ret_pid)
{
	ADAFS_FREE char *program = find_program(c);
	if (!program)
		return -errno;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t all, none;
	sigfillset(&all);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	int rc = add_actions(&actions, c);
	if (!rc)
		rc = posix_spawn(ret_pid, program, &actions, &attr, c->argv, c->envp);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -rc;
}

int batch_process_reap(pid_t pid, unsigned timeout_ms)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0), n;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	do
		n = fd < 0 ? 0 : poll(&p, 1, (int)timeout_ms);
	while (n < 0 && errno == EINTR);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		kill(-pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return n > 0 ? 0 : -ETIMEDOUT;
}

/* --- finding and killing ------------------------------------------------------------------ */

uint64_t batch_process_start_time(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	ADAFS_FREE char *text = NULL;
	size_t len;
	if (adafs_file_read(path, 4096, &text, &len, NULL) < 0)
		return 0;
	/* The name in parentheses may hold anything; field 3 follows the last ')'. */
	const char *p = strrchr(text, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p + 1, NULL, 10) : 0;
}

void batch_process_kill_recorded(pid_t pid, uint64_t start_time)
{
	if (pid > 1 && start_time && batch_process_start_time(pid) == start_time)
		kill(-pid, SIGKILL);
}

static bool has_tag(const char *env, size_t len, const char *prefix, bool whole)
{
	size_t n = strlen(prefix);
	for (const char *p = env; p < env + len; p += strlen(p) + 1)
		if (strncmp(p, prefix, n) == 0 && (!whole || !p[n]))
			return true;
	return false;
}

/* In the middle of an exec the environment reads as empty, though a program is there. */
static bool in_exec(pid_t pid, size_t env_len)
{
	char path[64], target[8];
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	return !env_len && readlink(path, target, sizeof(target)) > 0;
}

static unsigned kill_tagged_once(const char *prefix, bool whole, bool *ret_undecided)
{
	DIR *proc = opendir("/proc");
	unsigned n = 0;
	const struct dirent *d;
	*ret_undecided = false;
	while (proc && (d = readdir(proc)) != NULL) {
		pid_t pid = (pid_t)strtol(d->d_name, NULL, 10);
		if (pid <= 1 || pid == getpid())
			continue;
		char path[64];
		snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
		ADAFS_FREE char *env = NULL;
		size_t len;
		if (adafs_file_read(path, 4u << 20, &env, &len, NULL) < 0)
			continue;
		*ret_undecided |= in_exec(pid, len);
		if (has_tag(env, len, prefix, whole) && kill(pid, SIGKILL) == 0)
			n++;
	}
	if (proc)
		closedir(proc);
	return n;
}

unsigned batch_process_kill_tagged(const char *prefix, bool whole)
{
	/* A process may fork while the list is read: look again until nothing is left. */
	unsigned total = 0;
	int undecided_rounds = 0;
	for (int round = 0; round < 100; round++) {
		bool undecided;
		unsigned n = kill_tagged_once(prefix, whole, &undecided);
		total += n;
		/* Some programs have no environment at all: do not wait for them for long. */
		if (!n && (!undecided || ++undecided_rounds > 3))
			break;
		usleep(1000);
	}
	return total;
}
