/*
 * kernel.c - the choice among the kernel's features.
 *
 * libfuse 3.14 neither knows nor passes on HANDLE_KILLPRIV_V2. Without it the kernel asks for the
 * extended attribute security.capability before every write(2), a whole round trip more than the
 * write itself. So the device's messages pass through two functions here, which look at the first
 * one only: INIT and its reply.
 */
#include "fs/kernel/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "batch/base/cleanup.h"
#include "batch/base/log.h"
#include "fs/fs.h"
#include "fs/mount/mountpoint.h"

#ifndef FUSE_HANDLE_KILLPRIV_V2 /* headers before Linux 5.11 */
#define FUSE_HANDLE_KILLPRIV_V2 (1 << 28)
#endif

static const struct {
	unsigned cap;
	bool on;
} wants[] = {
	{ FUSE_CAP_ASYNC_READ, true },
	{ FUSE_CAP_ASYNC_DIO, true },
	{ FUSE_CAP_PARALLEL_DIROPS, true },
	{ FUSE_CAP_ATOMIC_O_TRUNC, true },
	{ FUSE_CAP_READDIRPLUS, true },
	{ FUSE_CAP_READDIRPLUS_AUTO, true },
	{ FUSE_CAP_EXPLICIT_INVAL_DATA, true },
	/* No file here ever runs as somebody else. */
	{ FUSE_CAP_HANDLE_KILLPRIV, true },
	/* It makes the kernel ignore the server's size and time, and moves errors past close. */
	{ FUSE_CAP_WRITEBACK_CACHE, false },
	/* A version is a nodeid of its own; mtime says nothing about the page cache. */
	{ FUSE_CAP_AUTO_INVAL_DATA, false },
	/* Data are in memory on both sides: a pipe between costs more than the copy. */
	{ FUSE_CAP_SPLICE_READ, false },
	{ FUSE_CAP_SPLICE_WRITE, false },
	{ FUSE_CAP_SPLICE_MOVE, false },
	/*
	 * Locks stay in the kernel: one client's processes see each other's, as on any local disk.
	 */
	{ FUSE_CAP_POSIX_LOCKS, false },
	{ FUSE_CAP_FLOCK_LOCKS, false },
	/* Modes are of this mount, not of the account: no access lists. */
	{ FUSE_CAP_POSIX_ACL, false },
	/* A nodeid that was forgotten cannot be found again by its number, as NFS servers would. */
	{ FUSE_CAP_EXPORT_SUPPORT, false },
	{ FUSE_CAP_IOCTL_DIR, false },
	/* Every handle has a state: its version. */
	{ FUSE_CAP_NO_OPEN_SUPPORT, false },
	{ FUSE_CAP_NO_OPENDIR_SUPPORT, false },
};

void kernel_negotiate(struct fuse_conn_info *conn)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(wants); i++) {
		if (!wants[i].on)
			conn->want &= ~wants[i].cap;
		else if (conn->capable & wants[i].cap)
			conn->want |= wants[i].cap;
	}
	/* As the session's option says: libfuse insists on both. */
	conn->max_read = KERNEL_MAX_IO;
	if (conn->max_write > KERNEL_MAX_IO)
		conn->max_write = KERNEL_MAX_IO;
	/* With the default of 12 a few hung readers stop the reads of healthy files. */
	conn->max_background = 1024;
	conn->congestion_threshold = 768;
}

uint64_t kernel_more_flags(uint64_t offered)
{
	return offered & FUSE_HANDLE_KILLPRIV_V2;
}

static ssize_t device_read(int fd, void *buf, size_t size, void *userdata)
{
	struct kernel_init *init = &((struct fs *)userdata)->init;
	ssize_t n = read(fd, buf, size);

	if (__atomic_load_n(&init->answered, __ATOMIC_RELAXED))
		return n;
	const struct fuse_in_header *header = buf;
	struct fuse_init_in in;
	const size_t flags_end = offsetof(struct fuse_init_in, flags) + sizeof(in.flags);
	if (n >= (ssize_t)(sizeof(*header) + flags_end) && header->opcode == FUSE_INIT) {
		memcpy(&in, header + 1, flags_end);
		__atomic_store_n(&init->offered, in.flags, __ATOMIC_RELAXED);
	}
	return n;
}

/*
 * The page cache asks for 128 KiB at a time, whatever one READ may hold; with as much as that a
 * sequential read costs a quarter less CPU. The kernel takes no more from INIT, and only root may
 * set it. Where that fails all works as well.
 */
static void raise_readahead(const char *path)
{
	char device[32], file[128], text[16];

	if (geteuid() || mountpoint_device(path, device) < 0)
		return;
	snprintf(file, sizeof(file), "/sys/class/bdi/%s/read_ahead_kb", device);
	ADAFS_CLOSE int fd = open(file, O_WRONLY | O_CLOEXEC);
	int len = snprintf(text, sizeof(text), "%d", KERNEL_MAX_IO / 1024);
	if (fd < 0 || write(fd, text, (size_t)len) != len)
		adafs_log(DEBUG, "fs", "%s: %s", file, strerror(errno));
}

/* The kernel sends nothing before INIT is answered, so the first reply of a whole fuse_init_out is
 * INIT's. */
static ssize_t device_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fs *fs = userdata;

	if (__atomic_load_n(&fs->init.answered, __ATOMIC_RELAXED))
		return writev(fd, iov, count);
	const struct fuse_out_header *header = iov[0].iov_base;
	if (count == 2 && header->error == 0 && iov[1].iov_len == sizeof(struct fuse_init_out)) {
		struct fuse_init_out *out = iov[1].iov_base;
		out->flags |= (uint32_t)kernel_more_flags(
			__atomic_load_n(&fs->init.offered, __ATOMIC_RELAXED));
	}
	__atomic_store_n(&fs->init.answered, true, __ATOMIC_RELAXED);
	ssize_t n = writev(fd, iov, count);
	raise_readahead(fs->options->mountpoint);
	return n;
}

int kernel_extend(struct fuse_session *se, struct adafs_err *reterr)
{
	static const struct fuse_custom_io io = { .read = device_read, .writev = device_writev };

	if (fuse_session_custom_io(se, &io, fuse_session_fd(se)))
		return adafs_err_set(reterr, -ENOMEM, "out of memory for the session");
	return 0;
}
