/*
 * base/file.c - small files on the local disk. An atomic write is a temporary beside the file,
 * synced and renamed.
 */
#include "batch/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include "batch/base/buf.h"

int adafs_file_read(const char *path, size_t max, char **ret_data, size_t *ret_len,
		    struct adafs_err *reterr)
{
	ADAFS_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return adafs_err_set(reterr, -errno, "cannot open '%s': %s", path, strerror(errno));
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(max);
	char chunk[16384];
	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));
		if (n < 0)
			return adafs_err_set(reterr, -errno, "cannot read '%s': %s", path,
					     strerror(errno));
		if (n == 0)
			break;
		int rc = adafs_buf_add(&b, chunk, (size_t)n);
		if (rc < 0)
			return adafs_err_set(reterr, rc, "'%s' is larger than %zu bytes", path,
					     max);
	}
	size_t len = 0;
	char *data = adafs_buf_steal(&b, &len);
	if (!data)
		return adafs_err_set(reterr, -ENOMEM, "out of memory reading '%s'", path);
	*ret_data = data;
	if (ret_len)
		*ret_len = len;
	return 0;
}

static int write_and_sync(int fd, const void *data, size_t len)
{
	int rc = adafs_write_all(fd, data, len);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	return rc;
}

int adafs_file_write_atomic(const char *path, const void *data, size_t len, mode_t mode,
			    struct adafs_err *reterr)
{
	ADAFS_FREE char *tmp = adafs_fmt("%s.XXXXXX", path);
	ADAFS_FREE char *copy = strdup(path);
	if (!tmp || !copy)
		return adafs_err_set(reterr, -ENOMEM, "out of memory writing '%s'", path);
	ADAFS_CLOSE int fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return adafs_err_set(reterr, -errno, "cannot create '%s': %s", tmp,
				     strerror(errno));
	int rc = fchmod(fd, mode) < 0 ? -errno : write_and_sync(fd, data, len);
	if (rc == 0 && rename(tmp, path) < 0)
		rc = -errno;
	if (rc == 0)
		rc = adafs_fsync_dir(dirname(copy));
	if (rc < 0) {
		unlink(tmp);
		return adafs_err_set(reterr, rc, "cannot write '%s': %s", path, strerror(-rc));
	}
	return 0;
}

int adafs_mkdir_p(const char *path, mode_t mode)
{
	ADAFS_FREE char *p = strdup(path);
	if (!p)
		return -ENOMEM;
	for (char *slash = p + (*p == '/');; slash++) {
		slash = strchr(slash, '/');
		if (slash)
			*slash = 0;
		if (mkdir(p, mode) < 0 && errno != EEXIST)
			return -errno;
		if (!slash)
			return 0;
		*slash = '/';
	}
}

int adafs_fsync_dir(const char *path)
{
	ADAFS_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

int adafs_remove_tree(const char *path)
{
	if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

int adafs_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int adafs_pwrite_all(int fd, const void *data, size_t len, off_t off)
{
	const char *p = data;
	while (len) {
		ssize_t n = pwrite(fd, p, len, off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		off += n;
		len -= (size_t)n;
	}
	return 0;
}

int adafs_pread_all(int fd, void *data, size_t len, off_t off)
{
	char *p = data;
	while (len) {
		ssize_t n = pread(fd, p, len, off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		off += n;
		len -= (size_t)n;
	}
	return 0;
}
