/* fs/kernel/ops.h - the table of low-level callbacks that a session is made with; userdata is
 * struct fs. */
#ifndef ADAFS_FS_KERNEL_OPS_H
#define ADAFS_FS_KERNEL_OPS_H

#include <fuse_lowlevel.h>

extern const struct fuse_lowlevel_ops fs_ops;

#endif
