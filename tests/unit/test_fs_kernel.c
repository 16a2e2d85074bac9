/* What is agreed with kernels of different age, by the flags of their INIT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* The device's messages, made up. */
static const void *message;
static size_t message_len;
static uint32_t replied_flags;

static long fake_read(int fd, void *buf, size_t size);
struct iovec;
static long fake_writev(int fd, const struct iovec *iov, int count);

#define mountpoint_device no_device
#define read fake_read
#define writev fake_writev
#include "fs/kernel/kernel.c"
#undef read
#undef writev

int no_device(const char *path, char ret[static 32])
{
	(void)path;
	(void)ret;
	return -ENOENT;
}

static long fake_read(int fd, void *buf, size_t size)
{
	(void)fd;
	assert_true(message_len <= size);
	memcpy(buf, message, message_len);
	return (long)message_len;
}

static long fake_writev(int fd, const struct iovec *iov, int count)
{
	(void)fd;
	if (count == 2 && iov[1].iov_len == sizeof(struct fuse_init_out))
		replied_flags = ((struct fuse_init_out *)iov[1].iov_base)->flags;
	return 0;
}

/* FUSE_CAP_ of Linux 5.4 (7.31) and 6.18 (7.45) as libfuse sees them; the first as long as kernels
 * write to pipes. */
#define CAPS_5_4                                                                                   \
	(FUSE_CAP_ASYNC_READ | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_ATOMIC_O_TRUNC |                    \
	 FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_DONT_MASK | FUSE_CAP_SPLICE_WRITE |                    \
	 FUSE_CAP_SPLICE_MOVE | FUSE_CAP_SPLICE_READ | FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_IOCTL_DIR | \
	 FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |             \
	 FUSE_CAP_ASYNC_DIO | FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_NO_OPEN_SUPPORT |                \
	 FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL | FUSE_CAP_HANDLE_KILLPRIV |                \
	 FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPENDIR_SUPPORT | FUSE_CAP_EXPLICIT_INVAL_DATA)
#define CAPS_6_18 (CAPS_5_4 | FUSE_CAP_EXPIRE_ONLY)
/* One of long ago: 3.18 has neither parallel directory operations nor invalidation by request. */
#define CAPS_3_18                                                                     \
	(CAPS_5_4 &                                                                   \
	 ~(FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL | FUSE_CAP_HANDLE_KILLPRIV | \
	   FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPENDIR_SUPPORT | FUSE_CAP_EXPLICIT_INVAL_DATA))
/* Flags of their INIT. */
#define INIT_5_4 0x03fffffbu
#define INIT_6_18 0x73fffffbu
/* What libfuse 3.14 wants unasked. */
#define LIBFUSE_WANTS                                                                \
	(FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_AUTO_INVAL_DATA | \
	 FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_ASYNC_DIO | FUSE_CAP_IOCTL_DIR |        \
	 FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_SPLICE_READ | FUSE_CAP_READDIRPLUS |     \
	 FUSE_CAP_READDIRPLUS_AUTO)

static struct fuse_conn_info agree(unsigned capable, unsigned max_write)
{
	struct fuse_conn_info conn = { .proto_major = 7,
				       .capable = capable,
				       .want = capable & LIBFUSE_WANTS,
				       .max_write = max_write };

	kernel_negotiate(&conn);
	/* libfuse ends a session that wants more than there is. */
	assert_int_equal(conn.want & ~capable, 0);
	assert_int_equal(conn.max_read, KERNEL_MAX_IO);
	assert_true(conn.max_background >= 1024);
	return conn;
}

static void test_wants_of_known_kernels(void **state)
{
	static const unsigned caps[] = { CAPS_5_4, CAPS_6_18 };

	(void)state;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(caps); i++) {
		struct fuse_conn_info conn = agree(caps[i], KERNEL_MAX_IO);
		assert_int_equal(conn.want,
				 FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO |
					 FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ATOMIC_O_TRUNC |
					 FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
					 FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_HANDLE_KILLPRIV);
		assert_int_equal(conn.max_write, KERNEL_MAX_IO);
	}
}

static void test_an_old_kernel_is_asked_for_nothing_that_it_lacks(void **state)
{
	(void)state;
	struct fuse_conn_info conn = agree(CAPS_3_18, 128 * 1024);
	assert_int_equal(conn.max_write, 128 * 1024);
	assert_false(conn.want & FUSE_CAP_AUTO_INVAL_DATA);
	assert_true(conn.want & FUSE_CAP_READDIRPLUS);
	assert_int_equal(agree(0, 128 * 1024).want, 0);
}

static void test_never_the_writeback_cache(void **state)
{
	(void)state;
	struct fuse_conn_info conn = { .capable = ~0u, .want = ~0u, .max_write = ~0u };
	kernel_negotiate(&conn);
	assert_false(conn.want & (FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_NO_OPEN_SUPPORT |
				  FUSE_CAP_NO_OPENDIR_SUPPORT | FUSE_CAP_POSIX_ACL));
}

/* INIT comes in, libfuse answers with its flags: what the kernel gets. */
static uint32_t init_reply(struct fs *fs, uint32_t offered, uint32_t libfuse)
{
	struct {
		struct fuse_in_header header;
		struct fuse_init_in in;
	} init = { .header.opcode = FUSE_INIT, .in.flags = offered };
	struct fuse_out_header header = { 0 };
	struct fuse_init_out out = { .flags = libfuse };
	struct iovec iov[] = { { &header, sizeof(header) }, { &out, sizeof(out) } };
	char buf[8192];

	message = &init;
	message_len = sizeof(init);
	replied_flags = 0;
	device_read(0, buf, sizeof(buf), fs);
	device_writev(0, iov, 2, fs);
	return replied_flags;
}

static void test_more_flags_go_into_the_reply(void **state)
{
	struct options options = { 0 };
	struct fs fs = { .options = &options };

	(void)state;
	assert_int_equal(init_reply(&fs, INIT_6_18, 0x4240e029u),
			 0x4240e029u | FUSE_HANDLE_KILLPRIV_V2);
	/* Once: a later reply may have this size by chance. */
	assert_int_equal(init_reply(&fs, INIT_6_18, 0x1u), 0x1u);
	fs = (struct fs){ .options = &options };
	assert_int_equal(init_reply(&fs, INIT_5_4, 0x0240e029u), 0x0240e029u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wants_of_known_kernels),
		cmocka_unit_test(test_an_old_kernel_is_asked_for_nothing_that_it_lacks),
		cmocka_unit_test(test_never_the_writeback_cache),
		cmocka_unit_test(test_more_flags_go_into_the_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
