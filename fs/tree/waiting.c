/*
 * fs/tree/waiting.c - inbox/<event>/waiting_for: an image that waits for its partner has no job
 * whose directory could say so. It can always be opened by its name: who read it in a listing may
 * remove it after the last image that waited, as `rm -r` does.
 */
#include "fs/tree/waiting.h"

#include <errno.h>
#include <string.h>

#include "fs/tree/inbox.h"
#include "fs/tree/synth.h"
#include "fs/tree/tree.h"

/* No version of a blob: a blob of the same name has a node of its own. */
#define VERSION "waiting"

/* What of an image's name is below a blob or directory; NULL: it is neither that nor in there. */
static const char *path_below(const char *blob, const char *top, size_t len)
{
	if (strncmp(blob, top, len) != 0 || (blob[len] && blob[len] != '/'))
		return NULL;
	return blob[len] ? blob + len + 1 : blob + len;
}

static size_t top_len(const char *blob)
{
	size_t len = strlen(blob);

	return len > 0 && blob[len - 1] == '/' ? len - 1 : len;
}

int waiting_text(struct fs *fs, const char *blob, struct adafs_buf *ret, int64_t *ret_changed_us)
{
	struct adafs_view *view = adafs_foreman_view(fs->foreman);
	size_t len = top_len(blob);
	int64_t changed_us = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < view->n_inbox; i++) {
		const struct adafs_inbox_view *image = &view->inbox[i];
		const char *rest = path_below(image->blob, blob, len);
		if (!rest || !*image->waiting_for)
			continue;
		rc = *rest ? adafs_buf_addf(ret, "%s: %s\n", rest, image->waiting_for)
			   : adafs_buf_adds(ret, image->waiting_for);
		if (image->waiting_us > changed_us)
			changed_us = image->waiting_us;
	}
	adafs_view_unref(view);
	if (ret_changed_us)
		*ret_changed_us = changed_us;
	return rc;
}

static bool anything_waits(struct fs *fs, const char *blob)
{
	struct adafs_view *view = adafs_foreman_view(fs->foreman);
	size_t len = top_len(blob);
	bool waits = false;

	for (size_t i = 0; !waits && i < view->n_inbox; i++)
		waits = *view->inbox[i].waiting_for && path_below(view->inbox[i].blob, blob, len);
	adafs_view_unref(view);
	return waits;
}

/* The node's data is the event's directory of blobs. */
static int file_text(struct call *c, struct node *n, struct adafs_buf *ret, time_t *ret_mtime)
{
	int64_t changed_us;
	int rc = waiting_text(c->fs, n->data, ret, &changed_us);

	if (changed_us)
		*ret_mtime = (time_t)(changed_us / 1000000);
	return rc;
}

static const struct synth_text waiting_file = {
	.node = SYNTH_TEXT_OPS("waiting_for", EPERM, free),
	.text = file_text,
};

/* Whether the directory at a path of the view is that of an event. */
static bool is_event(const struct events_view *v, const char *path)
{
	bool all = strcmp(v->prefix, INBOX_PREFIX) == 0;

	return all ? *path && !strchr(path, '/') : !*path;
}

struct node *waiting_extra(void *arg, struct node *dir, const char *path, bool *ret_listed)
{
	struct events_view *v = arg;

	if (!is_event(v, path))
		return NULL;
	char *blob = events_blob(v, path);
	ADAFS_FREE char *identity = blob ? adafs_fmt("waiting/%s", blob) : NULL;
	if (!identity) {
		free(blob);
		errno = ENOMEM;
		return NULL;
	}
	*ret_listed = anything_waits(v->fs, blob);
	struct node *n = node_get(v->fs, dir, WAITING_FILE, VERSION, &waiting_file.node,
				  node_ino(identity), blob);
	errno = n ? 0 : ENOMEM;
	return n;
}
