/* fs/tree/containers.h - containers/: every blob container of the account as a directory. */
#ifndef ADAFS_FS_TREE_CONTAINERS_H
#define ADAFS_FS_TREE_CONTAINERS_H

#include "fs/kernel/node.h"

/* The node of containers/ with a reference; NULL: out of memory. */
struct node *containers_root(struct fs *fs, struct node *root);

#endif
