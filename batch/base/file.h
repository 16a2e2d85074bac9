/* base/file.h - small files on the local disk: whole reads, atomic writes, directories. */
#ifndef ADAFS_BASE_FILE_H
#define ADAFS_BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "batch/base/cleanup.h"
#include "batch/base/err.h"

/* Read a file of at most max bytes. *ret_data is owned and followed by a NUL. -errno, -EFBIG. */
int adafs_file_read(const char *path, size_t max, char **ret_data, size_t *ret_len,
		    struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* Replace path by data, durably: temporary file, fsync, rename, fsync of the directory. */
int adafs_file_write_atomic(const char *path, const void *data, size_t len, mode_t mode,
			    struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* mkdir -p with mode for what is made. 0 or -errno. */
int adafs_mkdir_p(const char *path, mode_t mode);
/* fsync a directory, so that names made in it survive a crash. */
int adafs_fsync_dir(const char *path);
/* rm -rf, not following symbolic links; a missing path is no error. */
int adafs_remove_tree(const char *path);
/* write()/pwrite() all of it. 0 or -errno. */
int adafs_write_all(int fd, const void *data, size_t len);
int adafs_pwrite_all(int fd, const void *data, size_t len, off_t off);
/* pread() exactly len bytes. 0, -errno, or -ENODATA at end of file. */
int adafs_pread_all(int fd, void *data, size_t len, off_t off);

#endif
