/*
 * fs/kernel/kernel.h - what is agreed with the kernel when a mount begins. What a kernel lacks is
 * left out: Linux 5.4 and 6.18 both do.
 */
#ifndef ADAFS_FS_KERNEL_KERNEL_H
#define ADAFS_FS_KERNEL_KERNEL_H

#include <stdint.h>

#include "batch/base/err.h"

struct fuse_conn_info;
struct fuse_session;

/* Bytes of one READ or WRITE; a kernel without max_pages (before 4.20) makes it 128 KiB. */
#define KERNEL_MAX_IO (1024 * 1024)

/* What has passed of INIT; a member of struct fs. */
struct kernel_init {
	uint64_t offered; /* flags of the kernel's INIT */
	bool answered;
};

/* Of INIT: choose from conn->capable, and set the sizes. */
void kernel_negotiate(struct fuse_conn_info *conn);
/*
 * Flags of the INIT reply beside those that libfuse knows, from the flags that the kernel offers.
 */
uint64_t kernel_more_flags(uint64_t offered);
/*
 * Add them to the reply: libfuse's reads and writes of the device go through here. After
 * fuse_session_mount, before the loop; the session's userdata is fs. 0 or -ENOMEM.
 */
int kernel_extend(struct fuse_session *se, struct adafs_err *reterr);

#endif
