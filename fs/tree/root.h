/* fs/tree/root.h - the directory that a user sees first: a fixed set of children. */
#ifndef ADAFS_FS_TREE_ROOT_H
#define ADAFS_FS_TREE_ROOT_H

#include "fs/kernel/node.h"

/* The root node with a reference for the caller; NULL: out of memory. */
struct node *root_new(struct fs *fs);

#endif
