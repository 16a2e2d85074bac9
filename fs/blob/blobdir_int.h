/*
 * fs/blob/blobdir_int.h - what the parts of a blob tree share: blobdir.c (nodes, lookup),
 * blobdir_list.c, blobdir_file.c (handles), blobdir_attr.c, blobdir_link.c, blobdir_mutate.c and
 * blobdir_rename.c (names), blobdir_orphan.c (open files that lose their name), write.c (files
 * being written), commit.c, send.c (their blocks).
 */
#ifndef ADAFS_FS_BLOB_BLOBDIR_INT_H
#define ADAFS_FS_BLOB_BLOBDIR_INT_H

#include <fuse_lowlevel.h>

#include "batch/base/mutex.h"
#include "fs/blob/blobdir.h"
#include "fs/blob/blobs.h"
#include "fs/blob/meta.h"
#include "fs/write/spool.h"

struct wfile;

/* One view of blobs; shared by its nodes, constant. */
struct view {
	unsigned refs; /* atomic */
	struct fs *fs;
	char *container, *prefix;
	const struct blobdir_policy *policy; /* never NULL */
	struct node *root;                   /* lives as long as any node below it */
};

/*
 * The data of a node; small, for listings make it by the hundred thousand. view and is_dir are
 * constant, the rest is guarded by wfiles_lock.
 */
struct bnode {
	struct view *view;
	struct blob_entry
		*entry;  /* the version that this node is; NULL: a directory, or never committed */
	struct wfile *w; /* not NULL while somebody has it open for writing; borrowed */
	struct wfile *orphan; /* keeps the content while readers are left and the name is gone; an
				 open of their own */
	char *link;           /* the target, once known */
	unsigned readers;     /* open handles that only read */
	uint64_t changes;     /* counts the versions that it was */
	unsigned leaving;     /* calls that may take name or ETag away: opens wait */
	bool is_dir;
	bool pages_lost; /* the kernel's pages hold bytes that were never stored: an open drops them
			  */
};

/* The data of a directory's node: what the kernel may have kept of its names. Guarded by
 * wfiles_lock. */
struct bdir {
	struct bnode bnode; /* first */
	unsigned streams;   /* open ones */
	uint64_t kept_gen;  /* the content that the kernel's names are of; 0: none */
	bool mixed;         /* streams of several contents are open at once */
};

extern const struct node_ops blobdir_dir_ops, blobdir_file_ops, blobdir_link_ops;

static inline struct bnode *bnode_of(const struct node *n)
{
	return n->data;
}

void view_unref(struct view *v);
/* The whole blob name of a node, or of a name in a directory; free() it. NULL: out of memory. */
char *blobdir_blob(const struct node *n);
char *blobdir_blob_in(const struct node *dir, const char *name);
/* The prefix of a directory: "" or with '/' at its end. */
char *blobdir_prefix(const struct node *dir);
/* A blob's path in its view. */
const char *blobdir_shown_path(const struct view *v, const char *blob);
/* Whether the view shows an entry of a directory. */
bool blobdir_shown(const struct node *dir, const struct blob_entry *e);
/* The node of a version of a file, or of a directory (version ""), with a reference. */
struct node *blobdir_node(struct node *dir, const char *name, const char *version,
			  struct blob_entry *entry, bool is_dir);
/* The same for an entry whose inode number is known. */
struct node *blobdir_node_at(struct node *dir, struct blob_entry *e, uint64_t ino);
/* A file that is being written: asked for every time, since it changes with every write. Takes over
 * the reference. */
void blobdir_wfile_child(struct wfile *w, struct child *ret);
/* Fill a child for LOOKUP from an entry. */
int blobdir_child(struct node *dir, struct blob_entry *e, struct child *ret);
/* The entry of a node's version with a reference; NULL: none. */
struct blob_entry *bnode_entry(const struct node *n);
void bnode_set_entry(struct node *n, struct blob_entry *e);
/* Whether this is the version that the node is. */
bool bnode_entry_is(const struct node *n, const struct blob_entry *e);
/* Attributes as an entry has them. */
void blobdir_stat(const struct node *n, const struct blob_entry *e, struct stat *ret);
/* The service has another blob there than was thought: its directory is asked for again. */
void blobdir_mistaken(struct node *n);
/* Log a failure once, where it is handled; returns rc. */
int blobdir_log(int rc, const char *what, const char *container, const char *blob,
		const struct adafs_err *err);

/*
 * --- blobdir_extra.c: the policy's file that is no blob
 * -----------------------------------------
 */
/* Whether a name is that of such files in the whole view. */
bool blobdir_extra_name(const struct node *dir, const char *name);
/* The directory's, with a reference, and whether it is listed; NULL: errno, 0 for none. */
struct node *blobdir_extra(struct node *dir, bool *ret_listed);
/* Whether the directory has one (that is listed). */
bool blobdir_has_extra(struct node *dir, bool listed);
/* Fill a child for LOOKUP; listed: only with one that is. -ENOENT: there is none. */
int blobdir_extra_child(struct call *c, struct node *dir, bool listed, struct child *ret);
/* Add its name if it is listed. */
int blobdir_list_extra(struct node *dir, struct dirlist *to);

/*
 * --- blobdir_list.c ----------------------------------------------------------------------------
 */
int blobdir_list(struct call *c, struct node *dir, struct dirlist *ret);
int blobdir_stream(struct call *c, struct node *dir, struct dirstream **ret);

/* --- blobdir_file.c: handles ------------------------------------------------------------------ */
int blobdir_open(struct call *c, struct node *n, struct fuse_file_info *fi, struct handle **ret);
int blobdir_create(struct call *c, struct node *dir, const char *name, mode_t mode,
		   struct fuse_file_info *fi, struct child *ret, struct handle **ret_handle);
/* truncate(2), or ftruncate(2) with h. */
int blobdir_truncate(struct call *c, struct node *n, struct handle *h, int64_t size);

/*
 * --- blobdir_attr.c, blobdir_xattr.c ------------------------------------------------------------
 */
int blobdir_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
		    double *ret_timeout_s);
int blobdir_setattr(struct call *c, struct node *n, struct handle *h, const struct stat *st,
		    int to_set, struct stat *ret);
/*
 * Ask, as far as it is not known, whether a file's node is the version at the service. 0; -ESTALE:
 * no, the kernel looks the name up again.
 */
int blobdir_check_version(struct call *c, struct node *n);
/*
 * Change what is kept in metadata: of the commit that is to come, else at once and only of the
 * version that the node is. A directory without marker gets one. Errors of meta_apply, -ESTALE,
 * -EOPNOTSUPP (no place for an attribute), or the service's.
 */
int blobdir_change_meta(struct call *c, struct node *n, const struct meta_change *change);
int blobdir_getxattr(struct call *c, struct node *n, const char *name, struct adafs_buf *ret);
int blobdir_listxattr(struct call *c, struct node *n, struct adafs_buf *ret);
int blobdir_setxattr(struct call *c, struct node *n, const char *name, const void *value,
		     size_t size, int flags);

/* --- blobdir_link.c -------------------------------------------------------------------------- */
int blobdir_readlink(struct call *c, struct node *n, struct adafs_buf *ret);
int blobdir_symlink(struct call *c, struct node *dir, const char *target, const char *name,
		    struct child *ret);

/*
 * --- blobdir_orphan.c --------------------------------------------------------------------------
 */
/* A file whose name may be about to go. All zero: none. */
struct hold {
	struct node *node; /* a reference */
	struct wfile *w;   /* an open for those who read it; NULL: nobody does */
};
/*
 * Before a file loses its name or ETag (n NULL: there is none): opens and failed reads wait for the
 * end. With `keep` a file that has readers is opened as a writer would; w is what has it open for
 * writing already, or NULL. To be ended by blobdir_let_go.
 */
void blobdir_hold(struct node *n, struct wfile *w, bool keep, struct hold *ret);
/* The name is gone, and what was held goes to the readers that are left; or it stays. */
void blobdir_let_go(struct hold *h, bool gone);
/* Wait until it is decided what becomes of a file. 0 or -EWOULDBLOCK. */
int blobdir_await(struct call *c, struct node *n, bool *ret_waited);
void blobdir_reader_gone(struct node *n);

/* --- blobdir_mutate.c, blobdir_rename.c ------------------------------------------------------- */
int blobdir_mkdir(struct call *c, struct node *dir, const char *name, mode_t mode,
		  struct child *ret);
int blobdir_unlink(struct call *c, struct node *dir, const char *name);
int blobdir_rmdir(struct call *c, struct node *dir, const char *name);
int blobdir_rename(struct call *c, struct node *dir, const char *name, struct node *newdir,
		   const char *newname, unsigned flags);
/* A directory whose last name went keeps existing: give it a marker if it has none. */
void blobdir_keep(struct node *dir);
/*
 * A directory is gone. One that had no marker (was: what it was) may have hidden a blob of its
 * name, which is shown from now on: asks for it.
 */
void blobdir_uncover(struct call *c, const struct view *v, const char *prefix, const char *name,
		     const struct blob_entry *was);
/*
 * Put a small blob that must not exist, under a name that is a marker's or a link's: with meta
 * (which gets its mtime) as metadata. -EEXIST: something is there.
 */
int blobdir_put_new(struct fs *fs, const char *container, const char *blob, const char *text,
		    struct adafs_blob_meta *meta, struct blob_entry **ret,
		    struct adafs_err *reterr);

/*
 * --- write.c: files being written ---------------------------------------------------------------
 */
/*
 * One a node that is open for writing, shared by its handles. Lock order: wfiles_lock (rank TREE),
 * then lock (rank HANDLE). `busy` is the right to commit, fetch, rename or unlink: its owner works
 * without the lock, writers wait.
 */
/* What copy_file_range(2) has named so far: the first len bytes of a version of another blob. */
struct copied {
	char *container, *blob;
	struct blob_entry *entry;
	int64_t len;
};

struct wfile {
	struct wfile *next, **prev; /* registry; under wfiles_lock */
	struct node *dir;           /* where it stands, with a reference; under wfiles_lock */
	char *name;                 /* NULL: unlinked or replaced */
	unsigned handles;           /* under wfiles_lock */
	bool finishing;             /* under wfiles_lock: one of them is being closed as the last */
	bool direct;       /* under wfiles_lock: all opens of it go past the kernel's page cache */
	unsigned refs;     /* atomic */
	struct view *view; /* borrowed from node */
	struct node *node; /* a reference */

	struct adafs_mutex lock;
	struct adafs_cond changed;
	struct spool *spool;
	struct blob_entry *base; /* the version that it replaces; NULL: must not exist */
	bool fetched; /* the spool has the content; else it is that of `copied`, or base's */
	struct copied *copied; /* not NULL: not committed yet */
	bool busy;
	bool dirty; /* something to commit */
	bool unlinked;
	uint64_t gen;      /* counts changes */
	uint64_t held_gen; /* this content is not tried again at RELEASE: refused, failed, or its
			      writer was killed */
	struct adafs_err held; /* why; rc 0: killed */
	struct timespec mtime;
	struct adafs_blob_meta meta; /* what the next commit carries along; see meta_carry */
	char *blob;                  /* its whole name; changed under both locks by who is busy */
	int64_t run_start, run_end;  /* the last sequential run of writes */
	bool send_all;    /* a commit wants all blocks, not only those behind the writer */
	unsigned senders; /* jobs that are sending */
	unsigned queued;  /* jobs that no worker has taken yet: never waited for */
	int lost_rc; /* a write failed and its bytes are missing: what is an image is not committed
			so */
	int64_t lost_off; /* where; a write that covers it mends it */
	int send_rc;      /* a block failed: wait for the commit to try again */
	char nonce[64];   /* of the last commit whose outcome is not known; by who is busy */
	/* Told to the policy at RELEASE. */
	enum { TELL_NOTHING, TELL_COMMITTED, TELL_REFUSED } tell;
	char *tell_blob;
	char tell_etag[ADAFS_ETAG_LEN];
	char tell_sha256[ADAFS_SHA256_HEX_LEN];
	struct adafs_blob_meta tell_meta;
	struct adafs_err tell_why;
};

extern struct adafs_mutex wfiles_lock;

/* Open a node for writing: joins its wfile or makes one over base (a reference is taken). */
int wfile_open(struct node *n, struct node *dir, const char *name, struct blob_entry *base,
	       struct wfile **ret);
/*
 * Before an open that may map the file: one whose writer goes past the page cache and has stored
 * all is about to be closed, and after that can be mapped. Waits for it a moment. 0 or
 * -EWOULDBLOCK.
 */
int wfile_await_close(const struct node *n, bool may_wait);
/* A handle is closed: on the last one commits what is left, tells the policy, forgets the file. On
 * a worker. */
void wfile_close(struct wfile *w);
/* The same where all is stored; may_wait: for a spool on disk to go. False: nothing was done. */
bool wfile_close_now(struct wfile *w, bool may_wait);
/* One more open of a file that has readers, as wfile_open; NULL: it has none. */
struct wfile *wfile_share(struct wfile *w);
/* With a reference, or NULL. */
struct wfile *wfile_of(const struct node *n);
struct wfile *wfile_find(struct fs *fs, const struct node *dir, const char *name);
void wfile_unref(struct wfile *w);
/* Names of files in a directory that were never committed: fn for each. */
int wfile_each(const struct node *dir, int (*fn)(void *arg, const char *name, uint64_t ino),
	       void *arg);
/* Whether one stands in a directory, or (deep) below it. */
bool wfile_any_below(const struct node *dir);

void wfile_stat(struct wfile *w, struct stat *ret);
/* These follow the rule of -EWOULDBLOCK. */
int wfile_write(struct wfile *w, bool may_wait, const void *data, size_t size, off_t off);
int wfile_truncate(struct wfile *w, bool may_wait, int64_t size);
/* posix_fallocate(3): what is there stays, the file grows to off + len if it is shorter. -ENOSPC,
 * -EFBIG. */
int wfile_reserve(struct wfile *w, bool may_wait, int64_t off, int64_t len);
/* The bytes read; -EAGAIN: the content is still base's, read that. */
ssize_t wfile_read(struct wfile *w, bool may_wait, void *buf, size_t size, off_t off);
/* 0 or an error of meta_apply: kept for the commit. -EAGAIN: nothing is to be committed, so the
 * blob's metadata must be set now. */
int wfile_change_meta(struct wfile *w, bool may_wait, const struct meta_change *change);
/* What the file carries along as of now; ret is all zero. 0 or -ENOMEM. */
int wfile_copy_meta(struct wfile *w, struct adafs_blob_meta *ret);
/* close(2) and fsync(2). killed: the caller was killed. */
/* On a FUSE thread -EINPROGRESS: the call will be answered. */
int wfile_flush(struct wfile *w, struct call *c, bool killed);
int wfile_fsync(struct wfile *w, const struct call *c);
/* Commit a change made without a handle; a policy's file that somebody else has open is left to his
 * close. On a worker. */
int wfile_commit_alone(struct wfile *w);
/* Take and give back the right to change where the file stands. Blocks that are under way have
 * ended. */
void wfile_begin(struct wfile *w);
void wfile_end(struct wfile *w);
/* Between begin and end: a new place (dir NULL: none any more) and the version there. */
int wfile_move(struct wfile *w, struct node *dir, const char *name, struct blob_entry *base);
void wfile_unlink(struct wfile *w);
/* Between begin and end, before unlink: content that is only at the service comes to the spool,
 * unless it is large. */
void wfile_save(struct wfile *w);
/* Between begin and end: the same content has a new version. */
void wfile_rebase(struct wfile *w, struct blob_entry *base);
/* Tell the policy what it has to know before the file is moved or at its end. */
void wfile_tell(struct wfile *w);

/* What the file's size is now; the lock is held. */
int64_t wfile_size_locked(const struct wfile *w);
/* The content became another one; the lock is held. */
void wfile_changed_locked(struct wfile *w);

/* --- fetch.c ---------------------------------------------------------------------------------- */
/* Between begin and end: bring the content to the spool. */
int wfile_fetch(struct wfile *w);
/* A reply of copy_file_range has 32 bits: the most whole pages. */
#define WFILE_COPY_MAX ((int64_t)0xfffff000)
/*
 * Copy len bytes of the version that a node is, which ends as a copy made by the service. *ret_len:
 * how many. -EOPNOTSUPP: not what the service can copy, so the bytes have to be moved; or what the
 * service said.
 */
int wfile_copy_from(struct wfile *w, bool may_wait, struct node *source, off_t from, off_t to,
		    size_t len, size_t *ret_len);
void wfile_drop_copy_locked(struct wfile *w);
/* Before content is read that may still be only noted: it comes to the spool. Follows the rule of
 * -EWOULDBLOCK. */
int wfile_end_copy(struct wfile *w, bool may_wait);

/* --- commit.c -------------------------------------------------------------------------------- */
/* Between begin and end: make the content the blob's. 0, -ECANCELED, or why not. */
int wfile_commit(struct wfile *w, bool killed, struct adafs_err *reterr);
/*
 * The same for a file of one block where no policy asks, without waiting: 0, and it ends the right
 * to change and answers the call when it is done; or an error, and nothing was begun.
 */
int wfile_commit_start(struct wfile *w, struct call *call);
/* Remember how a commit ended, and what close(2) answers: write.c. */
int wfile_committed(struct wfile *w, int rc, const struct adafs_err *err);
/*
 * Between begin and end, when the last commit failed and no close(2) will say so: the policy's
 * `refused` keeps the bytes, else the log names the file.
 */
void wfile_rescue(struct wfile *w);
/*
 * --- send.c ------------------------------------------------------------------------------------
 */
/* Between begin and end: send what the service does not have, and make the blocks the blob. */
int wfile_put_blocks(struct wfile *w, const struct adafs_blob_put *put, char etag[ADAFS_ETAG_LEN],
		     struct adafs_err *reterr);
/* Send blocks that are complete while the writer goes on; the lock is held. */
void wfile_send_ahead_locked(struct wfile *w);

#endif
