/* fs/tree/rejected.c - what inbox/ refused, each file with its reason: to read, and to remove. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/log.h"
#include "batch/base/random.h"
#include "fs/tree/events.h"
#include "fs/tree/inbox.h"
#include "fs/tree/tree.h"

#define REASON ".reason"
#define META_SHA256 "adafssha256"
/* Of a reason: the sum of the bytes that it is about. */
#define META_REASON "adafsreasonof"
/* The longest name that a reason can stand beside, and the longest ending that a changed name
 * keeps. */
#define MAX_BASE (255 - (sizeof(REASON) - 1))
#define MAX_EXT 32

/* Nothing is written here by users: their bytes would look refused. */
static int rejected_before_commit(void *arg, const struct blobdir_commit *commit,
				  struct adafs_blob_meta *meta, struct adafs_err *reterr)
{
	(void)arg;
	(void)meta;
	return adafs_err_set(reterr, -EPERM, "'%s': only adafs writes below rejected/",
			     commit->blob);
}

static int rejected_before_rename(void *arg, const char *old_blob, const char *new_blob,
				  const struct adafs_blob_props *props,
				  struct adafs_blob_meta *meta, struct adafs_err *reterr)
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

static int put_blocks(struct fs *fs, const char *blob, int fd, int64_t size,
		      const struct adafs_blob_put *put, struct adafs_err *reterr)
{
	size_t block = fs->options->block_size;
	size_t n = ((size_t)size + block - 1) / block;
	char run[17];
	char(*ids)[33] = calloc(n, sizeof(*ids));
	const char **list = calloc(n, sizeof(*list));
	int rc = ids && list ? 0 : adafs_err_set(reterr, -ENOMEM, "out of memory");

	adafs_random_hex(8, run);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct adafs_blob_source src = { .fd = fd,
						 .off = (off_t)(i * block),
						 .len = block };
		if ((int64_t)(src.off + (off_t)src.len) > size)
			src.len = (size_t)(size - src.off);
		snprintf(ids[i], sizeof(ids[i]), "%s%08zx", run, i);
		list[i] = ids[i];
		rc = adafs_blob_put_block(fs->blob, fs->container, blob, ids[i], &src, reterr);
	}
	if (rc == 0)
		rc = adafs_blob_put_block_list(fs->blob, fs->container, blob, list, n, put, NULL,
					       reterr);
	free(list);
	free(ids);
	return rc;
}

/* 0: a blob stands there and is of this content; -EEXIST: of another one; -ENOENT. */
static int compare(struct fs *fs, const char *blob, const char *name, const char *sha256,
		   struct adafs_err *reterr)
{
	struct adafs_blob_props props;
	int rc = adafs_blob_head(fs->blob, fs->container, blob, NULL, &props, reterr);

	if (rc < 0)
		return rc;
	const char *theirs = adafs_blob_meta_get(&props.meta, name);
	rc = theirs && strcmp(theirs, sha256) == 0
		     ? 0
		     : adafs_err_set(reterr, -EEXIST, "'%s' is taken", blob);
	adafs_blob_props_clear(&props);
	return rc;
}

/*
 * Put what does not exist yet. 0 also if it is there with this content, which a repeated request
 * after a lost reply meets too; -EEXIST: another content has the name.
 */
static int put_new(struct fs *fs, const char *blob, const struct blobdir_commit *commit,
		   const struct adafs_blob_source *src, const char *meta_name, const char *type,
		   struct adafs_err *reterr)
{
	struct adafs_blob_meta meta = { 0 };
	struct adafs_blob_put put = { .content_type = type, .cond.if_none_match = "*" };
	int rc = compare(fs, blob, meta_name, commit->sha256, reterr);

	if (rc != -ENOENT)
		return rc;
	rc = adafs_blob_meta_set(&meta, meta_name, commit->sha256);
	put.meta = &meta;
	if (rc < 0)
		adafs_err_set(reterr, rc, "out of memory");
	else if ((int64_t)src->len > fs->options->block_size)
		rc = put_blocks(fs, blob, src->fd, commit->size, &put, reterr);
	else
		rc = adafs_blob_put(fs->blob, fs->container, blob, src, &put, NULL, reterr);
	adafs_blob_meta_clear(&meta);
	if (rc == -EEXIST || rc == -ESTALE)
		rc = compare(fs, blob, meta_name, commit->sha256, reterr);
	blobdir_invalidate(fs, fs->container, blob);
	return rc;
}

/* The reason first: a file without one would leave its owner in the dark. It holds the name for
 * these bytes. */
static int keep_as(struct fs *fs, const char *blob, const struct blobdir_commit *commit,
		   const struct adafs_err *why, struct adafs_err *reterr)
{
	ADAFS_FREE char *reason = adafs_fmt("%s" REASON, blob);
	ADAFS_FREE char *line = adafs_fmt("%s\n", why->msg);

	if (!reason || !line)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	const struct adafs_blob_source text = { .data = line, .fd = -1, .len = strlen(line) };
	struct adafs_blob_source bytes = { .fd = commit->fd, .len = (size_t)commit->size };
	if (commit->size == 0)
		bytes.data = "";
	int rc = put_new(fs, reason, commit, &text, META_REASON, "text/plain; charset=utf-8",
			 reterr);
	if (rc == 0)
		rc = put_new(fs, blob, commit, &bytes, META_SHA256, NULL, reterr);
	return rc;
}

/* Where a name that is taken continues: "a.tif" becomes "a.0f3c9a12.tif". A long stem is cut. NULL:
 * out of memory. */
static char *other_name(const char *blob, const char *sha256, int digits)
{
	const char *slash = strrchr(blob, '/');
	const char *base = slash ? slash + 1 : blob;
	const char *dot = strrchr(base, '.');
	const char *ext = dot && dot > base && strlen(dot) <= MAX_EXT ? dot : "";
	size_t stem = strlen(base) - strlen(ext),
	       room = MAX_BASE - strlen(ext) - (size_t)digits - 1;

	if (stem > room) {
		stem = room;
		while (stem && ((unsigned char)base[stem] & 0xc0) == 0x80)
			stem--;
	}
	return adafs_fmt("%.*s.%.*s%s", (int)((size_t)(base - blob) + stem), blob, digits, sha256,
			 ext);
}

/* Keep under the first name that is free or has these bytes already; *ret_name says which. */
static int keep(struct fs *fs, const char *first, const struct blobdir_commit *commit,
		const struct adafs_err *why, char **ret_name, struct adafs_err *reterr)
{
	static const int digits[] = { 0, 8, 16, 64 };
	const char *slash = strrchr(first, '/');
	int rc = -EEXIST;

	for (size_t i = 0; rc == -EEXIST && i < ADAFS_ARRAY_SIZE(digits); i++) {
		/* With its reason it would be too long to be shown. */
		if (i == 0 && strlen(slash ? slash + 1 : first) > MAX_BASE)
			continue;
		char *name = i ? other_name(first, commit->sha256, digits[i]) : strdup(first);
		if (!name)
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
		rc = keep_as(fs, name, commit, why, reterr);
		if (rc == 0)
			*ret_name = name;
		else
			free(name);
	}
	return rc;
}

void rejected_keep(struct fs *fs, const struct blobdir_commit *commit, const struct adafs_err *why)
{
	struct adafs_err err = { 0 };
	const char *path = commit->blob;

	if (strncmp(path, INBOX_PREFIX, strlen(INBOX_PREFIX)) == 0)
		path += strlen(INBOX_PREFIX);
	ADAFS_FREE char *first = adafs_fmt(REJECTED_PREFIX "%s", path);
	ADAFS_FREE char *name = NULL;
	int rc = first ? keep(fs, first, commit, why, &name, &err) : -ENOMEM;
	if (rc < 0)
		adafs_log(ERROR, "fs", "refused bytes of '%s' (%s) cannot be kept: %s",
			  commit->blob, why->msg, err.rc ? err.msg : strerror(-rc));
	else
		adafs_log(WARN, "fs", "'%s' is refused and kept as '%s': %s", commit->blob, name,
			  why->msg);
}
