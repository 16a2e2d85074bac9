/* fs/tree/rejected.c - what inbox/ refused, each file with its reason: to read, and to remove. */
#include <errno.h>
#include <string.h>

#include "batch/base/log.h"
#include "batch/base/random.h"
#include "fs/tree/events.h"
#include "fs/tree/inbox.h"
#include "fs/tree/tree.h"

/* Nothing is written here by users: their bytes would look refused. */
static int rejected_before_commit(void *arg, const struct blobdir_commit *commit,
				  struct adafs_blob_meta *meta, struct adafs_err *reterr)
{
	(void)arg;
	(void)meta;
	return adafs_err_set(reterr, -EPERM, "'%s': only adafs writes below rejected/", commit->blob);
}

static int rejected_before_rename(void *arg, const char *old_blob, const char *new_blob,
				  const struct adafs_blob_props *props, struct adafs_blob_meta *meta,
				  struct adafs_err *reterr)
{
	(void)arg;
	(void)new_blob;
	(void)props;
	(void)meta;
	return adafs_err_set(reterr, -EPERM, "'%s' stays where it is", old_blob);
}

static const struct blobdir_policy rejected_policy = {
	.kind = "rejected",
	.before_commit = rejected_before_commit,
	.before_rename = rejected_before_rename,
};

struct node *rejected_root(struct fs *fs, struct node *root)
{
	return events_root(fs, root, "rejected", REJECTED_PREFIX, REJECTED_PREFIX EVENT_DEFAULT "/",
			   &rejected_policy);
}

/* --- keeping refused bytes ---------------------------------------------------------------- */

static int put_blocks(struct fs *fs, const char *blob, int fd, int64_t size, struct adafs_err *reterr)
{
	size_t block = fs->options->block_size;
	size_t n = ((size_t)size + block - 1) / block;
	char run[17];
	char(*ids)[33] = calloc(n, sizeof(*ids));
	const char **list = calloc(n, sizeof(*list));
	int rc = ids && list ? 0 : adafs_err_set(reterr, -ENOMEM, "out of memory");

	adafs_random_hex(8, run);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct adafs_blob_source src = { .fd = fd, .off = (off_t)(i * block), .len = block };
		if ((int64_t)(src.off + (off_t)src.len) > size)
			src.len = (size_t)(size - src.off);
		snprintf(ids[i], sizeof(ids[i]), "%s%08zx", run, i);
		list[i] = ids[i];
		rc = adafs_blob_put_block(fs->blob, fs->container, blob, ids[i], &src, reterr);
	}
	struct adafs_blob_put put = { 0 };
	if (rc == 0)
		rc = adafs_blob_put_block_list(fs->blob, fs->container, blob, list, n, &put, NULL,
					       reterr);
	free(list);
	free(ids);
	return rc;
}

static int put_bytes(struct fs *fs, const char *blob, int fd, int64_t size, struct adafs_err *reterr)
{
	struct adafs_blob_source src = { .fd = fd, .len = (size_t)size };
	struct adafs_blob_put put = { 0 };

	if (size > (int64_t)fs->options->block_size)
		return put_blocks(fs, blob, fd, size, reterr);
	if (size == 0)
		src.data = "";
	return adafs_blob_put(fs->blob, fs->container, blob, &src, &put, NULL, reterr);
}

static int put_reason(struct fs *fs, const char *blob, const char *text, struct adafs_err *reterr)
{
	ADAFS_FREE char *name = adafs_fmt("%s.reason", blob);
	ADAFS_FREE char *line = adafs_fmt("%s\n", text);

	if (!name || !line)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	struct adafs_blob_source src = { .data = line, .fd = -1, .len = strlen(line) };
	struct adafs_blob_put put = { .content_type = "text/plain; charset=utf-8" };
	int rc = adafs_blob_put(fs->blob, fs->container, name, &src, &put, NULL, reterr);
	blobdir_invalidate(fs, fs->container, name);
	return rc;
}

void rejected_keep(struct fs *fs, const struct blobdir_commit *commit, const struct adafs_err *why)
{
	struct adafs_err err = { 0 };
	const char *path = commit->blob;

	if (strncmp(path, INBOX_PREFIX, strlen(INBOX_PREFIX)) == 0)
		path += strlen(INBOX_PREFIX);
	ADAFS_FREE char *blob = adafs_fmt(REJECTED_PREFIX "%s", path);
	if (!blob)
		return;
	adafs_log(WARN, "fs", "'%s' is refused: %s", commit->blob, why->msg);
	/* The reason first: a file without one would leave its owner in the dark. */
	int rc = put_reason(fs, blob, why->msg, &err);
	if (rc == 0)
		rc = put_bytes(fs, blob, commit->fd, commit->size, &err);
	if (rc < 0)
		adafs_log(ERROR, "fs", "refused bytes of '%s' cannot be kept as '%s': %s", commit->blob,
			  blob, err.msg);
	blobdir_invalidate(fs, fs->container, blob);
}
