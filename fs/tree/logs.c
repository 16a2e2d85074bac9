/*
 * fs/tree/logs.c - stdout.txt and stderr.txt of a step. While the task runs they are files of its
 * node (Batch file API) and grow; once it has ended they are blobs below the attempt's work prefix.
 * A task that was killed uploads nothing: then the node still has them for as long as the service
 * keeps it.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include <fuse_lowlevel.h>

#include "batch/base/mutex.h"
#include "fs/read/read.h"
#include "fs/tree/jobs.h"

enum log_place {
	LOG_NONE, /* the task never ran: an empty file */
	LOG_NODE,
	LOG_BLOB,
};

/* Where a log that cannot change any more is. */
struct log_end {
	enum log_place place; /* LOG_NONE: not known yet */
	int64_t size;
	time_t mtime;
	char etag[ADAFS_ETAG_LEN];
};

struct log_data {
	struct job_at at;        /* first: job_look reads it */
	struct adafs_mutex lock; /* rank TREE */
	char *prefix;            /* the attempt that `end` belongs to */
	struct log_end end;
};

static void log_data_free(void *data)
{
	struct log_data *d = data;

	if (!d)
		return;
	adafs_mutex_clear(&d->lock);
	free(d->prefix);
	free(d->at.job);
	free(d);
}

static bool end_get(struct log_data *d, const char *prefix, struct log_end *ret)
{
	adafs_mutex_lock(&d->lock);
	bool known = d->prefix && d->end.place != LOG_NONE && strcmp(d->prefix, prefix) == 0;
	if (known)
		*ret = d->end;
	adafs_mutex_unlock(&d->lock);
	return known;
}

static void end_set(struct log_data *d, const char *prefix, const struct log_end *end)
{
	char *copy = strdup(prefix);

	if (!copy)
		return;
	adafs_mutex_lock(&d->lock);
	char *old = d->prefix;
	d->prefix = copy;
	d->end = *end;
	adafs_mutex_unlock(&d->lock);
	free(old);
}

/* A file of the node, which need not be there. */
static int node_head(struct fs *fs, const struct job_look *l, const char *name, struct log_end *ret)
{
	struct log_end end = { .place = LOG_NODE };
	int rc = adafs_batch_file_head(fs->batch, l->job->batch_job_id, l->step->batch_task_id,
				       name, &end.size, &end.mtime, NULL);

	if (rc == -ENOENT || rc == -EAGAIN) {
		*ret = (struct log_end){ .place = LOG_NONE, .mtime = job_mtime(l) };
		return 0;
	}
	if (rc == 0)
		*ret = end;
	return rc;
}

static int blob_head(struct fs *fs, const struct job_look *l, const char *name, struct log_end *ret)
{
	ADAFS_CLEANUP(adafs_blob_props_clear) struct adafs_blob_props props = { 0 };
	ADAFS_FREE char *blob = adafs_fmt("%s%s", l->step->work_prefix, name);

	if (!blob)
		return -ENOMEM;
	int rc = adafs_blob_head(fs->blob, fs->container, blob, NULL, &props, NULL);
	if (rc < 0)
		return rc;
	struct log_end end = { .place = LOG_BLOB,
			       .size = props.size,
			       .mtime = props.last_modified };
	snprintf(end.etag, sizeof(end.etag), "%s", props.etag);
	*ret = end;
	return 0;
}

static bool never_ran(const struct adafs_step_view *step)
{
	return !step->task_running && step->started_us <= 0;
}

/* Where the log is now. A running one's size is asked for only if it is wanted. */
static int log_find(struct call *c, struct node *n, const struct job_look *l, bool want_size,
		    struct log_end *ret)
{
	struct log_data *d = n->data;

	if (never_ran(l->step) || l->job->work_removed) {
		*ret = (struct log_end){ .place = LOG_NONE, .mtime = job_mtime(l) };
		return 0;
	}
	if (l->step->task_running) {
		if (!want_size) {
			*ret = (struct log_end){ .place = LOG_NODE };
			return 0;
		}
		return c->may_wait ? node_head(n->fs, l, n->name, ret) : -EWOULDBLOCK;
	}
	if (end_get(d, l->step->work_prefix, ret))
		return 0;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	int rc = blob_head(n->fs, l, n->name, ret);
	if (rc == -ENOENT)
		rc = node_head(n->fs, l, n->name, ret);
	if (rc == 0 && ret->place != LOG_NONE)
		end_set(d, l->step->work_prefix, ret);
	return rc;
}

static int log_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
		       double *ret_timeout_s)
{
	struct log_end end;
	JOB_LOOK l = { 0 };

	(void)h;
	int rc = job_look(n, &l);
	if (rc == 0)
		rc = log_find(c, n, &l, true, &end);
	if (rc < 0)
		return rc;
	node_stat(n, S_IFREG | 0444, end.size, end.mtime, ret);
	*ret_timeout_s = 0;
	return 0;
}

/* --- reading from the node ---------------------------------------------------------------- */

struct log_handle {
	struct handle base;
	enum log_place place;
	char *job, *task, *file;
	/* Atomic, as place: where the last read ended, and how long the file is known to be. */
	uint64_t read_to, size;
};

struct log_read {
	struct call *call;
	struct log_handle *handle; /* the call holds it */
	off_t off;
	void *buf;
};

static void log_read_done(void *arg, size_t len, const struct adafs_err *err)
{
	struct log_read *r = arg;
	/* Not written yet is an empty file, not an error. */
	bool none = err->rc == -ENOENT || err->rc == -EAGAIN;

	if (none)
		len = 0;
	if (none || err->rc == 0)
		__atomic_store_n(&r->handle->read_to, (uint64_t)r->off + len, __ATOMIC_RELAXED);
	call_reply_data(r->call, r->buf, len, none ? 0 : err->rc);
	free(r->buf);
	free(r);
}

static enum log_place place_of(const struct log_handle *h)
{
	return __atomic_load_n(&h->place, __ATOMIC_RELAXED);
}

/* What was opened before its task began is found on the node once it has. */
static void find_again(struct log_handle *h)
{
	JOB_LOOK l = { 0 };

	if (place_of(h) == LOG_NONE && job_look(h->base.node, &l) == 0 && !never_ran(l.step) &&
	    strcmp(l.job->batch_job_id, h->job) == 0 && strcmp(l.step->batch_task_id, h->task) == 0)
		__atomic_store_n(&h->place, LOG_NODE, __ATOMIC_RELAXED);
}

static int log_read(struct call *c, struct handle *base, size_t size, off_t off,
		    struct adafs_buf *ret)
{
	struct log_handle *h = ADAFS_CONTAINER_OF(base, struct log_handle, base);

	(void)ret;
	find_again(h);
	if (place_of(h) == LOG_NONE)
		return 0;
	struct log_read *r = malloc(sizeof(*r));
	void *buf = malloc(size);
	if (!r || !buf) {
		free(r);
		free(buf);
		return -ENOMEM;
	}
	*r = (struct log_read){ .call = c, .handle = h, .off = off, .buf = buf };
	adafs_batch_file_get_start(base->node->fs->batch, h->job, h->task, h->file, off, size, buf,
				   log_read_done, r);
	return -EINPROGRESS;
}

static void log_release(struct call *c, struct handle *base)
{
	struct log_handle *h = ADAFS_CONTAINER_OF(base, struct log_handle, base);

	(void)c;
	free(h->job);
	free(h->task);
	free(h->file);
	free(h);
}

/* Whether there is more than was read. The service is asked for the size only where it is not known
 * to suffice. */
static int log_poll(struct call *c, struct handle *base, unsigned *ret_revents)
{
	struct log_handle *h = ADAFS_CONTAINER_OF(base, struct log_handle, base);
	uint64_t read_to = __atomic_load_n(&h->read_to, __ATOMIC_RELAXED);
	struct log_end end = { 0 };
	JOB_LOOK l = { 0 };

	if (__atomic_load_n(&h->size, __ATOMIC_RELAXED) > read_to) {
		*ret_revents = POLLIN | POLLRDNORM;
		return 0;
	}
	int rc = job_look(base->node, &l);
	if (rc < 0)
		return rc;
	if (!l.step->task_running && l.step->state != ADAFS_STATE_WAITING &&
	    l.step->state != ADAFS_STATE_QUEUED && l.step->state != ADAFS_STATE_RUNNING) {
		*ret_revents = POLLIN | POLLRDNORM | POLLHUP;
		return 0;
	}
	if (never_ran(l.step)) {
		*ret_revents = 0;
		return 0;
	}
	if (!c->may_wait)
		return -EWOULDBLOCK;
	rc = node_head(base->node->fs, &l, h->file, &end);
	/* A service that is silent says nothing of the file. */
	if (rc < 0)
		return 0;
	__atomic_store_n(&h->size, (uint64_t)end.size, __ATOMIC_RELAXED);
	*ret_revents = (uint64_t)end.size > read_to ? POLLIN | POLLRDNORM : 0;
	return 0;
}

static const struct handle_ops log_handle_ops = {
	.read = log_read,
	.poll = log_poll,
	.release = log_release,
};

static struct log_handle *log_handle_new(const struct node *n, const struct job_look *l,
					 enum log_place place)
{
	struct log_handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->base.ops = &log_handle_ops;
	h->place = place;
	h->job = strdup(l->job->batch_job_id);
	h->task = strdup(l->step->batch_task_id);
	h->file = strdup(n->name);
	if (!h->job || !h->task || !h->file) {
		log_release(NULL, &h->base);
		return NULL;
	}
	return h;
}

static int log_open(struct call *c, struct node *n, struct fuse_file_info *fi, struct handle **ret)
{
	struct log_end end;
	JOB_LOOK l = { 0 };

	if ((fi->flags & O_ACCMODE) != O_RDONLY)
		return -EPERM;
	int rc = job_look(n, &l);
	if (rc == 0)
		rc = log_find(c, n, &l, false, &end);
	if (rc < 0)
		return rc;
	if (end.place == LOG_BLOB) {
		ADAFS_FREE char *blob = adafs_fmt("%s%s", l.step->work_prefix, n->name);
		rc = blob ? read_open(n->fs, n->fs->blob, n->fs->container, blob, end.etag,
				      end.size, fi, ret)
			  : -ENOMEM;
		/* The page cache of this node may hold nothing: the file was another one while the
		 * task ran. */
		fi->keep_cache = 0;
		fi->direct_io = 1;
		return rc;
	}
	struct log_handle *h = log_handle_new(n, &l, end.place);
	if (!h)
		return -ENOMEM;
	fi->direct_io = 1;
	*ret = &h->base;
	return 0;
}

static const struct node_ops log_ops = {
	.kind = "log",
	.readonly_errno = EPERM,
	.getattr = log_getattr,
	.open = log_open,
	.free_data = log_data_free,
};

struct node *log_node(struct node *step_dir, const char *name, const struct job_look *l)
{
	struct log_data *d = calloc(1, sizeof(*d));
	struct node *node = NULL;

	if (d) {
		adafs_mutex_init(&d->lock, ADAFS_RANK_TREE);
		d->at.step = l->step->place;
		d->at.job = strdup(l->job->id);
		if (d->at.job)
			node = node_get(step_dir->fs, step_dir, name, "", &log_ops,
					job_ino(l->job->id, l->step, name), d);
		else
			log_data_free(d);
	}
	if (!node)
		errno = ENOMEM;
	return node;
}
