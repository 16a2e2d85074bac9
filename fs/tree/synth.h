/*
 * fs/tree/synth.h - synthetic files and directories: small texts that are made when somebody opens
 * them, and files that take a command a write.
 *
 * A handle reads the text as it was at open; sizes are true at getattr. All of them are read with
 * direct_io and attribute timeout 0, so a text that changes is never cut to an older size.
 */
#ifndef ADAFS_FS_TREE_SYNTH_H
#define ADAFS_FS_TREE_SYNTH_H

#include "fs/kernel/node.h"

/* A kind of text file: node->ops points at `node` inside it. */
struct synth_text {
	struct node_ops node; /* SYNTH_TEXT_OPS */
	/* The content now. *ret_mtime holds the mount's time before. 0, -EWOULDBLOCK or another
	 * negative errno. */
	int (*text)(struct call *c, struct node *n, struct adafs_buf *ret, time_t *ret_mtime);
	/* One command, without the end of line, never empty; its effect is done on return. NULL:
	 * read-only. */
	int (*command)(struct call *c, struct node *n, const char *command);
	bool growing; /* an append-only text: handles read what is there at the read, and can be
			 polled for more */
	bool (*ended)(struct node *n); /* of a growing one: no more will come */
};

#define SYNTH_TEXT_OPS(kind_, errno_, free_)                                                 \
	{                                                                                    \
		.kind = (kind_), .readonly_errno = (errno_), .getattr = synth_text_getattr,  \
		.setattr = synth_text_setattr, .open = synth_text_open, .free_data = (free_) \
	}
int synth_text_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
		       double *ret_timeout_s);
int synth_text_setattr(struct call *c, struct node *n, struct handle *h, const struct stat *st,
		       int to_set, struct stat *ret);
int synth_text_open(struct call *c, struct node *n, struct fuse_file_info *fi, struct handle **ret);

/*
 * Answer a look-up with a node whose attributes its own getattr gives. Takes over the reference;
 * node NULL: out of memory. The entry is asked for again each time: names here cost no request.
 */
int synth_child(struct call *c, struct node *node, struct child *ret);
/* getattr of a directory that changed at mtime, or cannot say (0: the time of the mount). */
int synth_dir_stat(const struct node *n, time_t mtime, struct stat *ret, double *ret_timeout_s);

#endif
