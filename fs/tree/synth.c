/*
 * fs/tree/synth.c - synthetic files: open makes the text, reads are cut from it, a write is one
 * command.
 */
#include "fs/tree/synth.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <fuse_lowlevel.h>

#define TEXT_MAX ((size_t)16 << 20)
#define COMMAND_MAX 4096

struct text_handle {
	struct handle base;
	struct adafs_buf text; /* as of open */
	uint64_t read_to;      /* of a growing one, atomic: where the last read ended */
};

static const struct handle_ops text_handle_ops, growing_handle_ops;

static const struct synth_text *kind_of(const struct node *n)
{
	return (const struct synth_text *)((const char *)n->ops -
					   offsetof(struct synth_text, node));
}

static int make_text(struct call *c, struct node *n, struct adafs_buf *ret, time_t *ret_mtime)
{
	*ret_mtime = n->fs->mounted;
	return kind_of(n)->text(c, n, ret, ret_mtime);
}

static mode_t text_mode(const struct node *n)
{
	return S_IFREG | (kind_of(n)->command ? 0644 : 0444);
}

int synth_text_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
		       double *ret_timeout_s)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf text = ADAFS_BUF_INIT(TEXT_MAX);
	time_t mtime;
	int rc = make_text(c, n, &text, &mtime);
	if (rc < 0)
		return rc;
	size_t size = text.len;
	if (h && h->ops == &text_handle_ops && !kind_of(n)->growing && !kind_of(n)->command)
		size = ADAFS_CONTAINER_OF(h, struct text_handle, base)->text.len;
	node_stat(n, text_mode(n), (int64_t)size, mtime, ret);
	*ret_timeout_s = 0;
	return 0;
}

/* A shell's `>` truncates and touch sets times: harmless where commands are taken. */
int synth_text_setattr(struct call *c, struct node *n, struct handle *h, const struct stat *st,
		       int to_set, struct stat *ret)
{
	const int harmless = FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
			     FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW |
			     FUSE_SET_ATTR_CTIME;
	double timeout;

	(void)st;
	if (!kind_of(n)->command || (to_set & ~harmless))
		return -n->ops->readonly_errno;
	return synth_text_getattr(c, n, h, ret, &timeout);
}

int synth_text_open(struct call *c, struct node *n, struct fuse_file_info *fi, struct handle **ret)
{
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
	time_t mtime;

	if (writes && !kind_of(n)->command)
		return -n->ops->readonly_errno;
	struct text_handle *h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->base.ops = kind_of(n)->growing ? &growing_handle_ops : &text_handle_ops;
	adafs_buf_init(&h->text, TEXT_MAX);
	int rc = (fi->flags & O_ACCMODE) == O_WRONLY ? 0 : make_text(c, n, &h->text, &mtime);
	if (rc < 0) {
		adafs_buf_clear(&h->text);
		free(h);
		return rc;
	}
	fi->direct_io = 1;
	*ret = &h->base;
	return 0;
}

static int text_read(struct call *c, struct handle *base, size_t size, off_t off,
		     struct adafs_buf *ret)
{
	struct text_handle *h = ADAFS_CONTAINER_OF(base, struct text_handle, base);

	(void)c;
	if (off >= (off_t)h->text.len)
		return 0;
	size_t rest = h->text.len - (size_t)off;
	return adafs_buf_add(ret, h->text.data + off, size < rest ? size : rest);
}

static int growing_read(struct call *c, struct handle *base, size_t size, off_t off,
			struct adafs_buf *ret)
{
	struct text_handle *h = ADAFS_CONTAINER_OF(base, struct text_handle, base);
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf now = ADAFS_BUF_INIT(TEXT_MAX);
	time_t mtime;
	int rc = make_text(c, base->node, &now, &mtime);

	if (rc < 0)
		return rc;
	size_t rest = off < (off_t)now.len ? now.len - (size_t)off : 0;
	size_t len = size < rest ? size : rest;
	rc = len ? adafs_buf_add(ret, now.data + off, len) : 0;
	if (rc == 0)
		__atomic_store_n(&h->read_to, (uint64_t)off + len, __ATOMIC_RELAXED);
	return rc;
}

static int growing_poll(struct call *c, struct handle *base, unsigned *ret_revents)
{
	struct text_handle *h = ADAFS_CONTAINER_OF(base, struct text_handle, base);
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf now = ADAFS_BUF_INIT(TEXT_MAX);
	const struct synth_text *kind = kind_of(base->node);
	time_t mtime;
	int rc = make_text(c, base->node, &now, &mtime);

	if (rc < 0)
		return rc;
	bool ended = kind->ended && kind->ended(base->node);
	bool more = now.len > __atomic_load_n(&h->read_to, __ATOMIC_RELAXED);
	*ret_revents = (more || ended ? POLLIN | POLLRDNORM : 0u) | (ended ? POLLHUP : 0u);
	return 0;
}

/*
 * Each write is one command, wherever its offset: `echo x > f`, `printf x >> f` and tee all work.
 */
static int text_write(struct call *c, struct handle *base, const void *data, size_t size, off_t off)
{
	(void)off;
	if (size > COMMAND_MAX || memchr(data, 0, size))
		return -EINVAL;
	ADAFS_FREE char *command = strndup(data, size);
	if (!command)
		return -ENOMEM;
	char *start = command + strspn(command, " \t\r\n");
	size_t len = strlen(start);
	while (len > 0 && strchr(" \t\r\n", start[len - 1]))
		start[--len] = '\0';
	if (len == 0)
		return 0;
	return kind_of(base->node)->command(c, base->node, start);
}

static void text_release(struct call *c, struct handle *base)
{
	struct text_handle *h = ADAFS_CONTAINER_OF(base, struct text_handle, base);

	(void)c;
	adafs_buf_clear(&h->text);
	free(h);
}

static const struct handle_ops text_handle_ops = {
	.read = text_read,
	.write = text_write,
	.release = text_release,
};

static const struct handle_ops growing_handle_ops = {
	.read = growing_read,
	.poll = growing_poll,
	.release = text_release,
};

int synth_child(struct call *c, struct node *node, struct child *ret)
{
	struct child child = { .node = node };

	if (!node)
		return -ENOMEM;
	int rc = node->ops->getattr(c, node, NULL, &child.st, &child.attr_timeout_s);
	if (rc < 0) {
		node_unref(node);
		return rc;
	}
	*ret = child;
	return 0;
}

int synth_dir_stat(const struct node *n, time_t mtime, struct stat *ret, double *ret_timeout_s)
{
	node_stat(n, S_IFDIR | 0555, 0, mtime ? mtime : n->fs->mounted, ret);
	*ret_timeout_s = 0;
	return 0;
}
