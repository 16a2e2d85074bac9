/*
 * Data files: numbered, under data/<low byte of the number>/, never written again once committed.
 */
#include "batch/emulator/blob/store_db.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "batch/base/file.h"
#include "batch/base/log.h"

/* Of the disk, for what bytes are not: a full one must still let blobs be deleted. */
#define RESERVE (8ULL << 20)

static char *file_path(struct blob_store *s, int64_t file)
{
	/* By hand, as every read opens its file: "<dir>/<two digits>/<sixteen digits>". */
	size_t dir = strlen(s->dir);
	char *path = malloc(dir + 21);
	if (!path)
		return NULL;
	memcpy(path, s->dir, dir);
	path[dir] = path[dir + 3] = '/';
	for (int i = 0; i < 16; i++)
		path[dir + 4 + i] = "0123456789abcdef"[(uint64_t)file >> (60 - 4 * i) & 15];
	memcpy(path + dir + 1, path + dir + 18, 2);
	path[dir + 20] = 0;
	return path;
}

static int folder_create(struct blob_store *s, int64_t file)
{
	ADAFS_FREE char *folder = adafs_fmt("%s/%02x", s->dir, (unsigned)(file & 0xff));
	if (!folder)
		return -ENOMEM;
	if (mkdir(folder, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	return adafs_fsync_dir(s->dir);
}

int data_room(struct blob_store *s)
{
	struct statvfs v;
	if (statvfs(s->dir, &v) < 0)
		return -errno;
	return (uint64_t)v.f_bavail * v.f_frsize < RESERVE ? -ENOSPC : 0;
}

int data_create(struct blob_store *s, int64_t *ret_file, int *ret_fd)
{
	int64_t file = __atomic_fetch_add(&s->next_file, 1, __ATOMIC_SEQ_CST);
	int rc = data_room(s);
	if (rc < 0)
		return rc;
	ADAFS_FREE char *path = file_path(s, file);
	if (!path)
		return -ENOMEM;
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && errno == ENOENT) {
		rc = folder_create(s, file);
		if (rc < 0)
			return rc;
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	if (fd < 0)
		return -errno;
	*ret_file = file;
	*ret_fd = fd;
	return 0;
}

int data_sync(struct blob_store *s, int64_t file, int fd)
{
	ADAFS_FREE char *folder = adafs_fmt("%s/%02x", s->dir, (unsigned)(file & 0xff));
	if (!folder)
		return -ENOMEM;
	return fdatasync(fd) < 0 ? -errno : adafs_fsync_dir(folder);
}

int data_open(struct blob_store *s, int64_t file)
{
	ADAFS_FREE char *path = file_path(s, file);
	if (!path)
		return -ENOMEM;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void data_unlink(struct blob_store *s, int64_t file)
{
	ADAFS_FREE char *path = file_path(s, file);
	if (path && unlink(path) < 0 && errno != ENOENT)
		adafs_log(WARN, "emulator", "cannot remove '%s': %s", path, strerror(errno));
}

int data_dropped_locked(struct blob_store *s, int64_t file)
{
	for (size_t i = s->n_dropped; i > 0 && i + 8 > s->n_dropped; i--)
		if (s->dropped[i - 1] == file)
			return 0; /* extents of one file come together: most repetitions end here */
	int64_t *grown = reallocarray(s->dropped, s->n_dropped + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	s->dropped = grown;
	grown[s->n_dropped++] = file;
	return 0;
}

static int sweep_folder(struct blob_store *s, const char *folder,
			bool (*used)(void *arg, int64_t file), void *arg, int64_t *max)
{
	DIR *d = opendir(folder);
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	for (const struct dirent *e; (e = readdir(d));) {
		char *end;
		int64_t file = (int64_t)strtoull(e->d_name, &end, 16);
		if (strlen(e->d_name) != 16 || *end)
			continue;
		if (file > *max)
			*max = file;
		if (!used(arg, file)) {
			adafs_log(INFO, "emulator", "removing data file %s: nothing refers to it",
				  e->d_name);
			data_unlink(s, file);
		}
	}
	closedir(d);
	return 0;
}

int data_sweep(struct blob_store *s, bool (*used)(void *arg, int64_t file), void *arg,
	       int64_t *ret_max, struct adafs_err *reterr)
{
	int64_t max = 0;
	for (unsigned i = 0; i < 256; i++) {
		ADAFS_FREE char *folder = adafs_fmt("%s/%02x", s->dir, i);
		int rc = folder ? sweep_folder(s, folder, used, arg, &max) : -ENOMEM;
		if (rc < 0)
			return adafs_err_set(reterr, rc, "cannot read '%s': %s",
					     folder ? folder : s->dir, strerror(-rc));
	}
	*ret_max = max;
	return 0;
}
