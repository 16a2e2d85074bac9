/*
 * fs/kernel/node.h - the inode table and the operations of a kind of node.
 *
 * A node is one nodeid of the kernel: one (parent, name, version). A blob with a new ETag is a new
 * node, so that the page cache never mixes two versions. st_ino says what a node stands for and may
 * be shared by several (the aliases of a step's directory).
 */
#ifndef ADAFS_FS_KERNEL_NODE_H
#define ADAFS_FS_KERNEL_NODE_H

#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "batch/base/buf.h"
#include "fs/kernel/call.h"

struct fuse_file_info;
struct node_ops;

struct node {
	const struct node_ops *ops;
	struct fs *fs;
	struct node *parent; /* a reference is held; NULL: the root */
	char *name;
	char *version; /* ETag or ""; part of the identity */
	uint64_t ino;
	void *data; /* the kind's own; freed by ops->free_data */
	/* fs/kernel/node.c only */
	uint64_t lookups;
	unsigned refs;
	struct node *hash_next;
	char text[]; /* name and version until the node moves */
};

/* A child as LOOKUP, CREATE and MKDIR answer it. */
struct child {
	struct node *node; /* a reference that passes to the receiver */
	struct stat st;
	double attr_timeout_s, entry_timeout_s;
};

/* One name of a directory's listing. */
struct dirent_item {
	char *name;
	uint64_t ino;
	mode_t mode; /* type bits at least */
	void *extra; /* the kind's own, to make a child without asking again; freed by dirlist's
			free_extra */
};

/* A listing as OPENDIR sees it; offsets stay valid while the directory changes. "." and ".." are
 * added by the core. */
struct dirlist {
	struct dirent_item *item;
	size_t n, size;
	void (*free_extra)(void *extra);
};
/* Add a name (copied); takes ownership of extra. 0 or -ENOMEM. */
int dirlist_add(struct dirlist *l, const char *name, uint64_t ino, mode_t mode, void *extra);
void dirlist_clear(struct dirlist *l);

/*
 * A directory that is read while it is being listed. A kind embeds it first. A place is an index
 * from 0 on and stays what it is for the life of the stream. Calls may come from several threads at
 * once.
 */
struct dirstream {
	const struct dirstream_ops *ops;
	bool cache; /* the kernel may keep the names that it reads from this stream ... */
	bool keep;  /* ... and those that it kept of the last one are still right */
};
/*
 * Takes one name, whose successor stands at `next`; child is NULL or a child to be answered with it
 * (its node's reference passes). false: there is no room, the name was not taken.
 */
typedef bool dirstream_add(void *arg, size_t next, const char *name, uint64_t ino, mode_t mode,
			   const struct child *child);
struct dirstream_ops {
	/*
	 * Hand over names from place `from` on, until add returns false or no more have arrived: at
	 * least one unless it is the end. plus: with children, where they can be made without
	 * waiting. -EWOULDBLOCK before anything was handed over.
	 */
	int (*read)(struct call *c, struct dirstream *s, struct node *dir, size_t from, bool plus,
		    dirstream_add *add, void *arg);
	/* Whether a stream that is opened now would show the same. */
	bool (*current)(struct dirstream *s);
	void (*close)(struct dirstream *s, struct node *dir);
};

struct handle;
/* What an open file does. A kind embeds struct handle first. Absent: read EISDIR/EBADF, write
 * EBADF, flush and fsync 0. */
struct handle_ops {
	/*
	 * Read at most size bytes at off: fills ret (its cap is size) and returns 0, or takes the
	 * call over with -EINPROGRESS (then call_reply_data), or -EWOULDBLOCK when may_wait is
	 * false.
	 */
	int (*read)(struct call *c, struct handle *h, size_t size, off_t off,
		    struct adafs_buf *ret);
	/*
	 * A read that was taken over ended with -ESTALE: whether to read again, since this mount
	 * itself gave the content another name or metadata meanwhile. On a worker; may wait.
	 * Absent: no.
	 */
	bool (*moved_on)(struct call *c, struct handle *h);
	/* Write all of it or fail. data is valid during the call; a deferred one gets a copy. */
	int (*write)(struct call *c, struct handle *h, const void *data, size_t size, off_t off);
	/* Also -EINPROGRESS, and call_reply later. */
	int (*flush)(struct call *c, struct handle *h);
	int (*fsync)(struct call *c, struct handle *h);
	/* Make sure that len bytes at off can be written, growing the file. Absent: EOPNOTSUPP. */
	int (*fallocate)(struct call *c, struct handle *h, off_t off, off_t len);
	/*
	 * copy_file_range(2) into h at `to`; source is any open file. -EOPNOTSUPP (absent: that):
	 * the kernel moves the bytes.
	 */
	int (*copy)(struct call *c, struct handle *h, off_t to, struct handle *source, off_t from,
		    size_t len, size_t *ret_len);
	/* release where all is stored, at once unless c->may_wait. False: nothing was done. Absent:
	 * it cannot. */
	bool (*release_now)(struct call *c, struct handle *h);
	/*
	 * Of a file that grows: what poll(2) says of it, POLLIN once there is more than was read,
	 * with POLLHUP once no more will come; 0: nothing yet. Absent: the file is always ready.
	 */
	int (*poll)(struct call *c, struct handle *h, unsigned *ret_revents);
	/* The last one: frees h. Never fails; runs on a worker when it may wait. */
	void (*release)(struct call *c, struct handle *h);
};
struct handle {
	const struct handle_ops *ops;
	struct node *node;           /* a reference is held by the core */
	unsigned refs;               /* the core's only: calls that use it, and the kernel */
	bool writes;                 /* the core's only: counted in fs->n_writers */
	struct handle *next, **link; /* handles.c's only: link NULL when it is not listed */
	uint64_t late_ms; /* the core's only, atomic: when a read of it was given up last; 0: never
			   */
};

/*
 * Operations of a kind. NULL: not offered (lookup ENOTDIR, mutations EPERM or EROFS as
 * `readonly_errno` says, readlink EINVAL, xattr ENODATA). All follow fs/kernel/call.h's rule of
 * -EWOULDBLOCK.
 */
struct node_ops {
	const char *kind;   /* for logs */
	int readonly_errno; /* what a missing mutation answers: EROFS or EPERM */
	/* With -ENOENT, an entry_timeout_s in ret (else untouched) is how long the kernel may
	 * remember that. */
	int (*lookup)(struct call *c, struct node *dir, const char *name, struct child *ret);
	int (*list)(struct call *c, struct node *dir, struct dirlist *ret);
	/* Instead of list when the kernel reads the directory, if it is there. */
	int (*stream)(struct call *c, struct node *dir, struct dirstream **ret);
	/* For readdirplus: a child from a listing's item without waiting; NULL or -EWOULDBLOCK: the
	 * kernel looks it up itself. */
	int (*child_of)(struct call *c, struct node *dir, const struct dirent_item *item,
			struct child *ret);
	int (*getattr)(struct call *c, struct node *n, struct handle *h, struct stat *ret,
		       double *ret_timeout_s);
	/* to_set: FUSE_SET_ATTR_*; h may be NULL. */
	int (*setattr)(struct call *c, struct node *n, struct handle *h, const struct stat *st,
		       int to_set, struct stat *ret);
	int (*readlink)(struct call *c, struct node *n, struct adafs_buf *ret);
	/* fi: flags in; direct_io, keep_cache, nonseekable out. */
	int (*open)(struct call *c, struct node *n, struct fuse_file_info *fi, struct handle **ret);
	int (*create)(struct call *c, struct node *dir, const char *name, mode_t mode,
		      struct fuse_file_info *fi, struct child *ret, struct handle **ret_handle);
	int (*symlink)(struct call *c, struct node *dir, const char *target, const char *name,
		       struct child *ret);
	int (*mkdir)(struct call *c, struct node *dir, const char *name, mode_t mode,
		     struct child *ret);
	int (*unlink)(struct call *c, struct node *dir, const char *name);
	int (*rmdir)(struct call *c, struct node *dir, const char *name);
	/* newdir has the same ops table as dir or another one: the kind checks; -EXDEV makes mv
	 * copy. */
	int (*rename)(struct call *c, struct node *dir, const char *name, struct node *newdir,
		      const char *newname, unsigned flags);
	/*
	 * For a directory that stands for others: the directory that `name` of dir gets to when it
	 * is renamed into newdir, with a reference; NULL with errno. Absent: newdir itself.
	 */
	struct node *(*rename_target)(struct call *c, struct node *newdir, struct node *dir,
				      const char *name);
	/* "user.*" only; others are answered by the core with EOPNOTSUPP. -ENODATA. */
	int (*getxattr)(struct call *c, struct node *n, const char *name, struct adafs_buf *ret);
	int (*listxattr)(struct call *c, struct node *n,
			 struct adafs_buf *ret); /* names, each with its NUL */
	/*
	 * value NULL: remove it. Besides the errors of xattr(7): -EOPNOTSUPP where absent. flags:
	 * XATTR_*.
	 */
	int (*setxattr)(struct call *c, struct node *n, const char *name, const void *value,
			size_t size, int flags);
	int (*statfs)(struct call *c, struct node *n, struct statvfs *ret);
	void (*free_data)(void *data);
};

/*
 * The node of (parent, name, version) with one more reference; made if it is new, else data is
 * freed (ops->free_data). NULL: out of memory (data is freed too). parent NULL only for the root.
 */
struct node *node_get(struct fs *fs, struct node *parent, const char *name, const char *version,
		      const struct node_ops *ops, uint64_t ino, void *data);
struct node *node_ref(struct node *n);
void node_unref(struct node *n);
/* A stable st_ino from what a node stands for, e.g. "job/flood-pre-01234567/steps/01-cover". */
uint64_t node_ino(const char *identity);
/* The same in two steps, for many that begin alike. */
uint64_t node_ino_begin(const char *identity);
uint64_t node_ino_end(uint64_t begun, const char *rest);

/* struct stat of a synthetic directory or file, owned by the mount's user: mode has type and
 * permission bits. */
void node_stat(const struct node *n, mode_t mode, int64_t size, time_t mtime, struct stat *ret);

/* --- for the core and for kinds whose nodes move --------------------------------------------- */
/* NULL: out of memory. */
struct node_table *node_table_new(void);
/* Frees all nodes, whatever still refers to them: the session has ended. */
void node_table_free(struct node_table *t);
/* Count a lookup of the kernel (an entry was answered), and take n of them back. */
void node_lookup(struct node *n);
void node_forget(struct node *n, uint64_t count);
/*
 * Move a node to a new place in the table: after a rename, or when its content got a new version by
 * this mount's own write. A node that stood there is no longer found but lives on for those who
 * hold it. 0 or -ENOMEM.
 */
int node_move(struct node *n, struct node *parent, const char *name, const char *version);
/* The names from below `top` to n, joined with '/': appended to ret. 0, -ENOMEM, -EFBIG. */
int node_path(const struct node *n, const struct node *top, struct adafs_buf *ret);
/* The node that stands there, with a reference; NULL: none. */
struct node *node_find(struct fs *fs, struct node *parent, const char *name, const char *version);
/* The parent with a reference; NULL: the root. */
struct node *node_parent(const struct node *n);

#endif
