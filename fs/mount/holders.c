/* holders.c - by the links of /proc/<pid>: the kernel writes their paths without asking the file
 * system. */
#include "fs/mount/holders.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batch/base/file.h"

#define MAX_NAMED 5
#define TEXT_MAX 8192

struct seek {
	const char *mountpoint;
	size_t len;
	struct holders *found;
};

/*
 * The rest of a link's path below the mount point, "" for the mount point itself; NULL: elsewhere.
 */
static const char *below(const struct seek *s, int dir_fd, const char *link, char path[PATH_MAX])
{
	ssize_t n = readlinkat(dir_fd, link, path, PATH_MAX - 1);

	if (n <= 0)
		return NULL;
	path[n] = '\0';
	if (strncmp(path, s->mountpoint, s->len))
		return NULL;
	return path[s->len] == '/' ? path + s->len + 1 : path[s->len] == '\0' ? "" : NULL;
}

static bool opened_for_writing(int proc_fd, const char *fd)
{
	char name[300], text[512];
	const char *flags;

	snprintf(name, sizeof(name), "fdinfo/%s", fd);
	ADAFS_CLOSE int info = openat(proc_fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = info < 0 ? -1 : read(info, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	flags = strstr(text, "flags:");
	return flags && (strtoul(flags + 6, NULL, 8) & O_ACCMODE) != O_RDONLY;
}

/* What a process does with the mount: the most telling of it. */
struct use {
	const char *verb; /* NULL: nothing */
	char path[PATH_MAX];
};

static void note(struct use *u, const char *verb, const char *path)
{
	u->verb = verb;
	snprintf(u->path, sizeof(u->path), "%s", *path ? path : ".");
}

static void look_at_files(struct seek *s, int proc_fd, struct use *u)
{
	char path[PATH_MAX];
	int fd = openat(proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (struct dirent *d; (d = readdir(dir));) {
		const char *rest = below(s, fd, d->d_name, path);
		if (!rest)
			continue;
		bool writes = opened_for_writing(proc_fd, d->d_name);
		s->found->n_writes += writes;
		if (writes || !u->verb)
			note(u, writes ? "writes" : "has open", rest);
	}
	closedir(dir);
}

static void look_at_maps(const struct seek *s, int proc_fd, struct use *u)
{
	ADAFS_CLOSE int fd = openat(proc_fd, "maps", O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "re");
	ADAFS_FREE char *line = NULL;
	size_t size = 0;

	if (!f)
		return;
	fd = -1;
	while (!u->verb && getline(&line, &size, f) > 0) {
		const char *path = strchr(line, '/');
		line[strcspn(line, "\n")] = '\0';
		if (path && strncmp(path, s->mountpoint, s->len) == 0 && path[s->len] == '/')
			note(u, "has mapped", path + s->len + 1);
	}
	fclose(f);
}

static void look_at_process(struct seek *s, int proc_fd, struct use *u)
{
	char path[PATH_MAX];
	const char *rest;

	if ((rest = below(s, proc_fd, "cwd", path)))
		note(u, "stands in", rest);
	else if ((rest = below(s, proc_fd, "root", path)))
		note(u, "has its root in", rest);
	else if ((rest = below(s, proc_fd, "exe", path)))
		note(u, "runs", rest);
	look_at_files(s, proc_fd, u);
	if (!u->verb)
		look_at_maps(s, proc_fd, u);
}

static int name_process(struct seek *s, int proc_fd, const char *pid, const struct use *u)
{
	char comm[64] = "?";
	ADAFS_CLOSE int fd = openat(proc_fd, "comm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, comm, sizeof(comm) - 1);

	if (n > 0)
		comm[comm[n - 1] == '\n' ? n - 1 : n] = '\0';
	if (s->found->n++ >= MAX_NAMED)
		return 0;
	return adafs_buf_addf(&s->found->text, "%s%s (pid %s, %s %s)",
			      s->found->text.len ? ", " : "", comm, pid, u->verb, u->path);
}

/* Names are anybody's, and a terminal obeys control characters. */
static void make_printable(struct adafs_buf *text)
{
	for (size_t i = 0; i < text->len; i++)
		if ((unsigned char)text->data[i] < 0x20 || text->data[i] == 0x7f)
			text->data[i] = '?';
}

int holders_find(const char *mountpoint, struct holders *ret)
{
	struct seek s = { .mountpoint = mountpoint, .len = strlen(mountpoint), .found = ret };
	DIR *proc = opendir("/proc");
	int rc = 0;

	*ret = (struct holders){ .text = ADAFS_BUF_INIT(TEXT_MAX) };
	for (struct dirent *d; proc && rc == 0 && (d = readdir(proc));) {
		if (!isdigit((unsigned char)d->d_name[0]))
			continue;
		ADAFS_CLOSE int fd =
			openat(dirfd(proc), d->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		struct use u = { 0 };
		if (fd >= 0)
			look_at_process(&s, fd, &u);
		if (u.verb)
			rc = name_process(&s, fd, d->d_name, &u);
	}
	if (proc)
		closedir(proc);
	if (rc == 0 && ret->n > MAX_NAMED)
		rc = adafs_buf_addf(&ret->text, " and %u more", ret->n - MAX_NAMED);
	make_printable(&ret->text);
	if (rc < 0)
		holders_clear(ret);
	return rc;
}

void holders_clear(struct holders *h)
{
	adafs_buf_clear(&h->text);
	*h = (struct holders){ 0 };
}
