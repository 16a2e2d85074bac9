/*
 * fs/tree/tree.h - the directories and files that a user sees in the mount's root, one constructor
 * each. Each returns its node below `root` under its own name with a reference for the caller,
 * which keeps it as long as the mount lives. NULL: out of memory.
 */
#ifndef ADAFS_FS_TREE_TREE_H
#define ADAFS_FS_TREE_TREE_H

#include "fs/kernel/node.h"

/* inbox/: images/ of the container, with check, trigger and hiding of what has ended. */
struct node *inbox_root(struct fs *fs, struct node *root);
/* rejected/: what inbox/ refused, with reasons; files may be read and removed. */
struct node *rejected_root(struct fs *fs, struct node *root);
/* jobs/: the foreman's view as directories. */
struct node *jobs_root(struct fs *fs, struct node *root);
/* results/: merged maps and parts, read-only, read through a SAS. */
struct node *results_root(struct fs *fs, struct node *root);
/* containers/: every blob container as a directory. */
struct node *containers_root(struct fs *fs, struct node *root);
/* pool/: state, nodes/ and ctl of the pool that runs the jobs. */
struct node *pool_root(struct fs *fs, struct node *root);
/* status.json and status.html: the whole mount at a glance. */
struct node *status_json_file(struct fs *fs, struct node *root);
struct node *status_html_file(struct fs *fs, struct node *root);

#endif
