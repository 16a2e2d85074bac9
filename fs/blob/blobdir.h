/*
 * fs/blob/blobdir.h - a tree of blobs as directories and files: listing with a cache, reading,
 * writing through a spool, mkdir, unlink, rename. containers/, inbox/ and rejected/ are views of it
 * with a policy of their own.
 */
#ifndef ADAFS_FS_BLOB_BLOBDIR_H
#define ADAFS_FS_BLOB_BLOBDIR_H

#include "fs/kernel/node.h"

/* A file that is being written, as its policy sees it at commit. */
struct blobdir_commit {
	const char *container;
	const char *blob;
	int fd; /* the whole content on local disk */
	int64_t size;
	const char *sha256; /* lower-case hexadecimal */
	bool caller_killed; /* the flush comes from a process that was killed */
};

/*
 * What a view adds. Every member may be NULL. arg of all calls is `arg`. Names are paths below the
 * view's prefix
 * ("flood/pre.tif") unless they are called blob.
 */
struct blobdir_policy {
	const char *kind;
	bool read_only;
	bool links; /* symbolic links may be made */
	/* Whether a listed blob is shown; called for files. */
	bool (*shown)(void *arg, const char *path, const struct adafs_blob_props *props);
	/*
	 * A FLUSH with unsaved bytes, on a worker: may refuse with -EBADMSG (bytes are kept,
	 * `refused` follows), add metadata to the commit, or answer -ECANCELED: nothing is
	 * committed and nobody is told (a killed copy).
	 */
	int (*before_commit)(void *arg, const struct blobdir_commit *commit,
			     struct adafs_blob_meta *meta, struct adafs_err *reterr);
	/* At RELEASE of the last handle after a commit that is sure. Must not wait. */
	void (*committed)(void *arg, const struct blobdir_commit *commit, const char *etag,
			  const struct adafs_blob_meta *meta);
	/*
	 * At RELEASE after the last commit was refused or lost a race (rc -EBADMSG, -ESTALE), or
	 * failed with bytes that a mapping wrote after the last close(2): keep the bytes. On a
	 * worker.
	 */
	void (*refused)(void *arg, const struct blobdir_commit *commit,
			const struct adafs_err *why);
	/* A file was removed. After the deletion; on a worker. */
	void (*removed)(void *arg, const char *blob);
	/*
	 * Before a rename inside the view, on a worker: may refuse, or fill meta with the metadata
	 * of the new blob (then meta replaces the old one). props are the source's.
	 */
	int (*before_rename)(void *arg, const char *old_blob, const char *new_blob,
			     const struct adafs_blob_props *props, struct adafs_blob_meta *meta,
			     struct adafs_err *reterr);
	/* props are the new blob's. */
	void (*renamed)(void *arg, const char *old_blob, const char *new_blob,
			const struct adafs_blob_props *props);
	int (*getxattr)(void *arg, const char *path, const struct adafs_blob_props *props,
			const char *name, struct adafs_buf *ret);
	int (*listxattr)(void *arg, const char *path, struct adafs_buf *ret);
	/*
	 * A file that is no blob, in the directories for which `extra` answers with its node (a
	 * reference; its version is neither "" nor an ETag). path is the directory's, "" the view's
	 * root. *ret_listed: it comes before a blob of that name and is listed; else it is only
	 * there for those who ask for it by name, where no blob has the name. Nobody can write or
	 * rename it; its removal does nothing. NULL with errno 0: none here, else out of memory.
	 */
	const char *extra_name;
	struct node *(*extra)(void *arg, struct node *dir, const char *path, bool *ret_listed);
	void *arg;
};

/*
 * The root of a view below `parent` in the tree, as `name`: all blobs of container that start with
 * prefix ("images/", "" for all). A reference for the caller; NULL: out of memory. policy is
 * borrowed for the life of the mount.
 */
struct node *blobdir_root(struct fs *fs, struct node *parent, const char *name,
			  const char *container, const char *prefix,
			  const struct blobdir_policy *policy);
/*
 * The directories of views that show the names below a prefix ("" or "a/b/"), as far as nodes of
 * them exist: fn for each, with the directory by which the kernel knows it. Both are borrowed for
 * the call.
 */
typedef void blobdir_place_fn(void *arg, struct node *view_dir, struct node *kernel_dir);
void blobdir_each_place(struct fs *fs, const char *container, const char *prefix,
			blobdir_place_fn *fn, void *arg);
/* Whether more than one view shows the names below a prefix. */
bool blobdir_shown_twice(const struct fs *fs, const char *container, const char *prefix);
/* Whether a file below a prefix ("a/b/") is open for writing. Any thread. */
bool blobdir_is_written(const char *container, const char *prefix);
/* Forget cached listings that hold this blob, here and in the kernel: after changes made beside the
 * view. */
void blobdir_invalidate(struct fs *fs, const char *container, const char *blob);

#endif
