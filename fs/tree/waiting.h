/* fs/tree/waiting.h - what images in inbox/ wait for that have no job yet. */
#ifndef ADAFS_FS_TREE_WAITING_H
#define ADAFS_FS_TREE_WAITING_H

#include "fs/tree/events.h"

#define WAITING_FILE "waiting_for"

/*
 * The sentence of an image, or of all that wait below a directory of blobs ("images/flood", a '/'
 * may follow) a line "<path>: <sentence>" each. *ret_changed_us: when one of them changed last; may
 * be NULL. 0 or -ENOMEM; nothing is added when nothing waits.
 */
int waiting_text(struct fs *fs, const char *blob, struct adafs_buf *ret, int64_t *ret_changed_us);

/*
 * The `extra` of a policy over events: the file inbox/<event>/waiting_for, listed while an image of
 * the event waits and empty by name otherwise. arg is a struct events_view.
 */
struct node *waiting_extra(void *arg, struct node *dir, const char *path, bool *ret_listed);

#endif
