/*
 * emulator/batch/node/fetch.c - a download through the shared HTTP loop; a runner waits for it, and
 * looks whether to give up.
 */
#include "batch/emulator/batch/node/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "batch/emulator/batch/node/transfer_internal.h"

/*
 * Shared by the task's thread, which may give up, and the loop thread of the client, which holds it
 * until the request has ended. The last of both frees it.
 */
struct fetch {
	atomic_int refs;
	atomic_bool abandoned;
	int fd;           /* own descriptor: the file may be gone before the request is */
	atomic_bool done; /* err and disk_failed are complete */
	int done_fd;      /* eventfd: written after that */
	bool disk_failed;
	struct adafs_err err;
};

static void fetch_unref(struct fetch *f)
{
	if (!f || atomic_fetch_sub(&f->refs, 1) != 1)
		return;
	if (f->fd >= 0)
		close(f->fd);
	if (f->done_fd >= 0)
		close(f->done_fd);
	free(f);
}

static struct fetch *fetch_new(int fd)
{
	struct fetch *f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	atomic_init(&f->refs, 1);
	f->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	f->done_fd = eventfd(0, EFD_CLOEXEC);
	if (f->fd >= 0 && f->done_fd >= 0)
		return f;
	fetch_unref(f);
	return NULL;
}

static int fetch_write(void *arg, const void *data, size_t len)
{
	struct fetch *f = arg;
	if (atomic_load(&f->abandoned))
		return -ECANCELED;
	int rc = adafs_write_all(f->fd, data, len);
	f->disk_failed |= rc < 0;
	return rc;
}

static int fetch_rewind(void *arg)
{
	struct fetch *f = arg;
	return ftruncate(f->fd, 0) < 0 || lseek(f->fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

static void fetch_done(void *arg, struct adafs_http_response *response, const struct adafs_err *err)
{
	struct fetch *f = arg;
	(void)response;
	adafs_err_copy(&f->err, err);
	atomic_store(&f->done, true);
	uint64_t one = 1;
	/* Never full: it is written once. */
	(void)!write(f->done_fd, &one, sizeof(one));
	fetch_unref(f);
}

/* 0: the request has ended; -ECANCELED: the task is to end first. */
static int fetch_wait(const struct batch_transfer *t, struct fetch *f)
{
	struct pollfd fds[] = { { .fd = f->done_fd, .events = POLLIN },
				{ .fd = t->stop_fd, .events = POLLIN } };
	for (;;) {
		uint64_t now = adafs_clock_mono_ms();
		int timeout = -1;
		if (t->deadline_ms <= now)
			timeout = 0;
		else if (t->deadline_ms - now < INT32_MAX)
			timeout = (int)(t->deadline_ms - now);
		int n = poll(fds, ADAFS_ARRAY_SIZE(fds), timeout);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && fds[0].revents && atomic_load(&f->done))
			return 0;
		if (transfer_cancelled(t))
			return -ECANCELED;
	}
}

int batch_fetch(const struct batch_transfer *t, const char *url, int fd, bool *ret_disk,
		struct adafs_err *reterr)
{
	struct fetch *f = fetch_new(fd);
	struct adafs_http_request *rq = f ? adafs_http_request_new("GET", strdup(url)) : NULL;
	if (!rq) {
		fetch_unref(f);
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	rq->write = fetch_write;
	rq->rewind = fetch_rewind;
	rq->write_arg = f;
	rq->operation = "GetResourceFile";
	atomic_fetch_add(&f->refs, 1);
	adafs_http_send(t->http, rq, fetch_done, f);
	int rc = fetch_wait(t, f);
	if (rc < 0) {
		atomic_store(&f->abandoned, true);
		adafs_err_set(reterr, rc, "%s", strerror(-rc));
	} else {
		rc = adafs_err_copy(reterr, &f->err);
		*ret_disk = f->disk_failed;
	}
	fetch_unref(f);
	return rc;
}
