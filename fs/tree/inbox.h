/* fs/tree/inbox.h - what inbox/ and rejected/ share. */
#ifndef ADAFS_FS_TREE_INBOX_H
#define ADAFS_FS_TREE_INBOX_H

#include "fs/blob/blobdir.h"

#define INBOX_PREFIX "images/"
#define REJECTED_PREFIX "rejected/"

/*
 * Keep the bytes of a refused image as rejected/<event>/<name>, and why beside it as <name>.reason.
 * Other bytes that were refused under this name stay: the new ones go to <stem>.<start of their
 * SHA-256>.<ext>. Waits; failures are logged, since nobody is left to be told.
 */
void rejected_keep(struct fs *fs, const struct blobdir_commit *commit, const struct adafs_err *why);

#endif
