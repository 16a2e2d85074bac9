/*
 * fs/blob/blobs.h - what is known of the directories of a container: listings, and single names
 * that were looked up, each for attr_timeout. Shared by all views of the same blobs. Own changes
 * are entered as they happen, and stay right when a listing that began before them ends after them.
 *
 * A container is flat. What of it is shown as a tree:
 * - `a/b` makes a directory `a`; so does a blob `a` with metadata hdi_isfolder=true, and an empty
 *   blob `a/`.
 * - Where a blob `a` that is no marker stands beside `a/b`, the directory is shown and the blob is
 *   hidden: it hides one file instead of a whole tree.
 * - Names with an empty segment (`a//b`, `/a`), segments `.` and `..`, and those above 255 bytes
 *   are hidden.
 */
#ifndef ADAFS_FS_BLOB_BLOBS_H
#define ADAFS_FS_BLOB_BLOBS_H

#include "fs/fs.h"

struct blobs;
struct blobs *blobs_new(struct fs *fs);
void blobs_free(struct blobs *b);

/* What the service says of one name: immutable and shared. */
struct blob_entry {
	unsigned refs; /* atomic */
	bool is_dir;
	bool marker;  /* a directory with a marker blob `name` */
	bool is_link; /* a symbolic link: its content is the target */
	bool archived;
	bool has_md5;
	uint16_t mode; /* permission bits */
	int64_t size;
	struct timespec mtime; /* metadata `mtime`, else Last-Modified */
	time_t last_modified, created;
	const char *name;
	const char *etag; /* "" of a directory without marker */
	const char *meta; /* name NUL value NUL ... */
	uint32_t meta_len;
	uint8_t type; /* enum adafs_blob_type */
	uint8_t md5[16];
	char text[];
};
/* props NULL: a directory without marker. NULL: out of memory. */
struct blob_entry *blob_entry_new(const char *name, const struct adafs_blob_props *props);
struct blob_entry *blob_entry_ref(struct blob_entry *e);
void blob_entry_unref(struct blob_entry *e);
void blob_entry_unrefp(struct blob_entry **e);
/* Properties as the service gave them, to be cleared. 0 or -ENOMEM. */
int blob_entry_props(const struct blob_entry *e, struct adafs_blob_props *ret);
/* Whether two are the same version of the same kind; NULL is a name that is not there. */
bool blob_entry_same(const struct blob_entry *a, const struct blob_entry *b);
/* Whether one can stand for the other in everything. */
bool blob_entry_equal(const struct blob_entry *a, const struct blob_entry *b);
/* Whether metadata marks a directory; names are compared without case. */
bool blob_meta_is_dir(const struct adafs_blob_meta *m);
/* Seconds and nanoseconds, as metadata `mtime` holds them. */
#define BLOB_MTIME_LEN 40
void blob_mtime_format(struct timespec t, char ret[BLOB_MTIME_LEN]);
/* The same, or RFC 3339 as rclone writes it. False: neither. */
bool blob_mtime_parse(const char *text, struct timespec *ret);

/* Entries of a directory, sorted by strcmp, each with a reference. */
struct blob_list {
	struct blob_entry **entry;
	size_t n;
};
void blob_list_clear(struct blob_list *l);

/*
 * The names below a prefix one after the other, while the service is still listing them; entries as
 * they are at the time of reading. Opening costs nothing while a listing is fresh or under way,
 * else it waits for its first page. -EWOULDBLOCK when that needs the network and may_wait is false,
 * or the service's error.
 */
struct blob_stream;
int blobs_stream_open(struct blobs *b, const char *container, const char *prefix, bool may_wait,
		      struct blob_stream **ret, struct adafs_err *reterr);
/*
 * At most max entries from place `from` on, each with a reference, or NULL where a name is gone:
 * those that have arrived, at least one. *ret_n 0: the end. *ret_left_s: seconds for which they
 * stay fresh. Places stay for the life of the stream. Any thread.
 */
int blobs_stream_read(struct blob_stream *s, size_t from, bool may_wait, struct blob_entry *ret[],
		      size_t max, size_t *ret_n, double *ret_left_s, struct adafs_err *reterr);
/* Whether a name was among those of a stream whose end was read. */
bool blobs_stream_has(struct blob_stream *s, const char *name);
/* How many places there are: final once the end was read. */
size_t blobs_stream_size(struct blob_stream *s);
/* A number that is another one for another content: of the directory as it was at opening. */
uint64_t blobs_stream_gen(const struct blob_stream *s);
/* Whether a stream that is opened now would show the same. */
bool blobs_stream_current(struct blob_stream *s);
/* Accepts NULL. */
void blobs_stream_close(struct blob_stream *s);

/*
 * All names below a prefix ("" or "a/b/"). Costs one List Blobs a page, or nothing while fresh.
 * -EWOULDBLOCK when that needs the network and may_wait is false, or the service's error.
 */
int blobs_list(struct blobs *b, const char *container, const char *prefix, bool may_wait,
	       struct blob_list *ret, struct adafs_err *reterr);
/*
 * One name. -ENOENT, -EWOULDBLOCK, or the service's error. Costs one small List Blobs, rarely two.
 */
int blobs_lookup(struct blobs *b, const char *container, const char *prefix, const char *name,
		 bool may_wait, struct blob_entry **ret, struct adafs_err *reterr);
/*
 * The name as it is known now, or NULL: never asks. *ret_known: false when it is not known whether
 * it is there.
 */
struct blob_entry *blobs_peek(struct blobs *b, const char *container, const char *prefix,
			      const char *name, bool *ret_known);
/* Seconds for which what is known of a name stays fresh: what the kernel may be told. */
double blobs_left_s(struct blobs *b, const char *container, const char *prefix, const char *name);
/* Enter an own change: the name is now e (a reference is taken), or gone if NULL. */
void blobs_put(struct blobs *b, const char *container, const char *prefix, const char *name,
	       struct blob_entry *e);
/* This mount has made a directory where nothing was: it is known to be empty. */
void blobs_made(struct blobs *b, const char *container, const char *prefix);
/* Whether a directory is known to have no names now. Never asks. */
bool blobs_known_empty(struct blobs *b, const char *container, const char *prefix);
/* Ask again for this directory, and with `deep` for all below it. */
void blobs_forget(struct blobs *b, const char *container, const char *prefix, bool deep);

/*
 * Split a blob's name into the prefix of its directory (with '/') and the last segment, which
 * points into blob.
 */
int blob_split(const char *blob, char **ret_prefix, const char **ret_name);

#endif
