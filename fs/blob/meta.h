/*
 * fs/blob/meta.h - what a tree of blobs keeps in their metadata: time, permission bits, kind,
 * extended attributes.
 *
 *   mtime          seconds and nanoseconds of the last change; rclone's RFC 3339 is understood as
 * well mode           type and permission bits in octal, as rclone writes it; absent: 0644, 0755 of
 * a directory hdi_isfolder   "true": the marker of a directory is_symlink     "true": the content
 * is the target of a symbolic link (blobfuse2) adafs...       what adafs itself says of the content
 *   xattr_...      an extended attribute whose name metadata cannot have: bytes but a-z and 0-9 are
 * _hh others         the extended attribute user.<name in lower case>
 *
 * The value of an attribute stands as it is where a header can carry it, else as "base64:" and its
 * base64.
 */
#ifndef ADAFS_FS_BLOB_META_H
#define ADAFS_FS_BLOB_META_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "batch/azure/blob.h"
#include "batch/base/buf.h"

#define META_MTIME "mtime"
#define META_MODE "mode"
#define META_FOLDER "hdi_isfolder"
#define META_LINK "is_symlink"
/* Names and values of extended attributes of one blob; the service takes 8 KiB with all that adafs
 * adds. */
#define META_XATTR_MAX 7168

/* Whether metadata speaks of the content or kind of its blob, so that new content gets its own: not
 * carried along. */
bool meta_is_own(const char *name);
/* Copy all that is carried along: modes, extended attributes, what other programs noted. 0 or
 * -ENOMEM. */
int meta_carry(struct adafs_blob_meta *dst, const struct adafs_blob_meta *src);
/* Permission bits; 0644 or 0755 where none are kept. */
mode_t meta_mode(const struct adafs_blob_meta *m, bool is_dir);

/* One change. The caller sets what is to be changed. */
struct meta_change {
	const struct timespec *mtime;
	const mode_t *mode; /* only permission bits are kept */
	const char *xattr;  /* its name with "user." */
	const void *value;  /* NULL: remove it */
	size_t value_len;
	int xattr_flags; /* XATTR_CREATE, XATTR_REPLACE */
};
/*
 * Apply it. *ret_changed: the metadata is another one than before. -EEXIST, -ENODATA; -EPERM:
 * user.adafs.* cannot be set; -E2BIG: the value alone is too large; -ENOSPC: there is no room for
 * it beside the others; -EOPNOTSUPP: not user.*.
 */
int meta_apply(struct adafs_blob_meta *m, const struct meta_change *change, bool is_dir,
	       bool *ret_changed);
/* The value of user.<name>, appended. -ENODATA, -ENOMEM, -EFBIG. */
int meta_xattr_get(const struct adafs_blob_meta *m, const char *xattr, struct adafs_buf *ret);
/* All names with "user." and their NUL, appended. */
int meta_xattr_list(const struct adafs_blob_meta *m, struct adafs_buf *ret);

#endif
