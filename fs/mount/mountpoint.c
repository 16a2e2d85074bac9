/* mountpoint.c - see mountpoint.h. Nothing here asks a mounted file system unless it has to. */
#include "fs/mount/mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "batch/base/buf.h"
#include "batch/base/log.h"

#define FSTYPE "fuse.adafs"
#define MAX_STALE 8 /* dead mounts on top of each other */

extern char **environ;

static int set_path(char **path, char *value)
{
	if (!value)
		return -ENOMEM;
	free(*path);
	*path = value;
	return 0;
}

int mountpoint_absolute(char **path)
{
	char resolved[PATH_MAX];
	size_t len = strlen(*path);

	while (len > 1 && (*path)[len - 1] == '/')
		(*path)[--len] = '\0';
	char *slash = strrchr(*path, '/');
	const char *base = slash ? slash + 1 : *path;
	if (strcmp(base, ".") == 0 || strcmp(base, "..") == 0 || !*base)
		return realpath(*path, resolved) ? set_path(path, strdup(resolved)) : -errno;
	ADAFS_FREE char *dir = !slash           ? strdup(".")
			       : slash == *path ? strdup("/")
						: strndup(*path, (size_t)(slash - *path));
	if (!dir)
		return -ENOMEM;
	/* A directory that is to be made yet is fine if it is named in full. */
	if (!realpath(dir, resolved))
		return **path == '/' ? 0 : -errno;
	return set_path(path, adafs_fmt("%s/%s", strcmp(resolved, "/") == 0 ? "" : resolved, base));
}

/* --- the table of mounts -------------------------------------------------------------------- */

/* Undo "\040" and the like, in place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *p = text; *p; p++) {
		if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
		    p[3] >= '0' && p[3] <= '7') {
			*to++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			p += 3;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
}

struct look {
	const char *path;
	bool ours, below; /* the topmost mount at the path is adafs'; something is mounted below */
	char device[32];  /* of that mount */
};

static void look_at_line(struct look *l, char *line)
{
	char *rest = line, *word = NULL, *device = NULL;

	/* id, parent, device, root, mount point, ... " - " type */
	for (int i = 0; i < 5; i++) {
		if (!(word = strsep(&rest, " ")))
			return;
		if (i == 2)
			device = word;
	}
	char *type = rest ? strstr(rest, " - ") : NULL;
	if (!type)
		return;
	type += 3;
	type[strcspn(type, " ")] = '\0';
	unescape(word);
	size_t len = strlen(l->path);
	if (strcmp(word, l->path) == 0) {
		l->ours = strcmp(type, FSTYPE) == 0;
		snprintf(l->device, sizeof(l->device), "%s", device);
	} else if (strncmp(word, l->path, len) == 0 && word[len] == '/') {
		l->below = true;
	}
}

static struct look look_at_mounts(const char *path)
{
	struct look l = { .path = path };
	FILE *f = fopen("/proc/self/mountinfo", "re");
	ADAFS_FREE char *line = NULL;
	size_t size = 0;

	while (f && getline(&line, &size, f) > 0)
		look_at_line(&l, line);
	if (f)
		fclose(f);
	return l;
}

bool mountpoint_is_ours(const char *path)
{
	return look_at_mounts(path).ours;
}

int mountpoint_device(const char *path, char ret[static 32])
{
	struct look l = look_at_mounts(path);

	if (!l.ours)
		return -ENOENT;
	memcpy(ret, l.device, sizeof(l.device));
	return 0;
}

bool mountpoint_has_below(const char *path)
{
	return look_at_mounts(path).below;
}

/* --- unmounting ----------------------------------------------------------------------------- */

/* Exit status of fusermount3, or -errno. Its own words are left out: the caller's say more. */
static int run_fusermount(const char *path, bool lazily)
{
	char *argv[] = { (char *)"fusermount3",
			 (char *)"-u",
			 (char *)"-q",
			 (char *)(lazily ? "-z" : "--"),
			 (char *)(lazily ? "--" : path),
			 (char *)(lazily ? path : NULL),
			 NULL };
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status;

	if (posix_spawn_file_actions_init(&actions))
		return -ENOMEM;
	int rc = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	if (rc == 0)
		rc = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (rc)
		return -rc;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int mountpoint_unmount(const char *path, bool lazily)
{
	if (umount2(path, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	int rc = run_fusermount(path, lazily);
	if (rc <= 0)
		return rc;
	/* It says no more than that it failed. */
	return mountpoint_is_ours(path) ? -EBUSY : -EINVAL;
}

/* --- whether it will do --------------------------------------------------------------------- */

/* 0 when path is a directory to mount on; -ENOTCONN when a dead mount lies on it. */
static int look_at(const char *path, bool nonempty, struct adafs_err *reterr)
{
	DIR *dir = opendir(path);

	if (!dir && errno == ENOENT)
		return adafs_err_set(reterr, -ENOENT,
				     "mount point '%s' does not exist: mkdir it first", path);
	if (!dir && errno == ENOTDIR)
		return adafs_err_set(reterr, -ENOTDIR, "mount point '%s' is no directory", path);
	if (!dir)
		return adafs_err_set(reterr, -errno, "mount point '%s': %s", path, strerror(errno));
	bool empty = true;
	for (struct dirent *d; (d = readdir(dir));)
		empty = empty && (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0);
	closedir(dir);
	if (mountpoint_is_ours(path))
		return adafs_err_set(
			reterr, -EBUSY,
			"an adafs is mounted on '%s' already: use it, or unmount it first", path);
	if (!empty && !nonempty)
		return adafs_err_set(
			reterr, -ENOTEMPTY,
			"mount point '%s' is not empty: take another directory, or hide what it holds "
			"with -o nonempty",
			path);
	return 0;
}

int mountpoint_check(const char *path, bool nonempty, struct adafs_err *reterr)
{
	for (int i = 0; i < MAX_STALE; i++) {
		/* Attributes of a dead mount's root may still be cached: only opening it tells. */
		int rc = look_at(path, nonempty, reterr);
		if (rc != -ENOTCONN && rc != -ECONNABORTED)
			return rc;
		adafs_log(WARN, "fs", "'%s' is the mount of a process that died; unmounting it",
			  path);
		int unmounted = mountpoint_unmount(path, true);
		if (unmounted < 0)
			return adafs_err_set(
				reterr, rc,
				"'%s' is the mount of a process that died, and cannot be "
				"unmounted (%s): umount -l it as root",
				path, strerror(-unmounted));
	}
	return adafs_err_set(reterr, -ENOTCONN, "'%s' is a dead mount still: umount -l it", path);
}
