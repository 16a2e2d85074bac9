/*
 * azure/blob.h - the Blob service's operations that adafs needs. Names of containers and blobs are
 * decoded UTF-8; the client encodes. Synchronous calls wait in the calling thread (never the HTTP
 * loop, never a FUSE thread); the asynchronous ones complete on the loop thread.
 * Errors: -ENOENT 404, -EEXIST 409 already exists, -ESTALE 412, -EACCES 401 and 403, -EINVAL 400,
 * -EBUSY 409 lease or copy pending, -EFBIG 413, -ETIMEDOUT, -EHOSTDOWN, -EHOSTUNREACH, -EAGAIN 429
 * and 503 after all retries, else -EIO.
 */
#ifndef ADAFS_AZURE_BLOB_H
#define ADAFS_AZURE_BLOB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "batch/azure/account.h"
#include "batch/azure/http.h"
#include "batch/base/err.h"

#define ADAFS_ETAG_LEN 64
#define ADAFS_SNAPSHOT_LEN 40

/* Metadata: x-ms-meta-NAME. Names are compared without case; values are ASCII. */
struct adafs_blob_meta {
	struct adafs_http_header *item;
	size_t n;
};
/* Metadata that tells one's own copy whose reply was lost from a foreign blob. */
#define ADAFS_META_COPY "adafscopy"
int adafs_blob_meta_set(struct adafs_blob_meta *m, const char *name, const char *value);
const char *adafs_blob_meta_get(const struct adafs_blob_meta *m, const char *name);
void adafs_blob_meta_clear(struct adafs_blob_meta *m);
int adafs_blob_meta_copy(struct adafs_blob_meta *dst, const struct adafs_blob_meta *src);

enum adafs_blob_type { ADAFS_BLOB_BLOCK, ADAFS_BLOB_APPEND, ADAFS_BLOB_PAGE };

/* What HEAD, GET and List say of a blob. */
struct adafs_blob_props {
	char etag[ADAFS_ETAG_LEN]; /* without quotes, from wherever it came */
	int64_t size;
	time_t last_modified;
	time_t created;
	enum adafs_blob_type type;
	bool archived;
	uint8_t md5[16];
	bool has_md5;
	char content_type[128];
	char snapshot[ADAFS_SNAPSHOT_LEN]; /* in listings of snapshots; else "" */
	struct adafs_blob_meta meta;
};
void adafs_blob_props_clear(struct adafs_blob_props *p);

/* Conditions of a call; ETags without quotes, "*" allowed. NULL: none. */
struct adafs_blob_cond {
	const char *if_match;
	const char *if_none_match;
};

struct adafs_blob_client;
/* Copies what it needs of the account. http is borrowed and outlives the client. NULL: -ENOMEM or
 * -EINVAL. */
struct adafs_blob_client *adafs_blob_client_new(struct adafs_http *http,
						const struct adafs_storage_account *account,
						struct adafs_err *reterr);
/*
 * A second client of the same account that enters every container by a SAS which it makes itself
 * from the key, or the user delegation key once there is one (permissions `rl`, one hour, renewed
 * in time): reads of `results/` need no key on the wire. With the user's own SAS it is a client
 * like the first.
 */
struct adafs_blob_client *adafs_blob_client_new_sas_reader(const struct adafs_blob_client *c,
							   struct adafs_err *reterr);
void adafs_blob_client_free(struct adafs_blob_client *c);
/*
 * Make a SAS for a container (blob NULL) or blob of the client's account, by the account's key or
 * the user delegation key, as adafs_sas_sign. With the latter an expiry that is absent or later
 * becomes the key's, and a policy is not named. Never waits. -EACCES: there is neither, or the key
 * was not fetched.
 */
struct adafs_sas;
int adafs_blob_sas(const struct adafs_blob_client *c, const char *container, const char *blob,
		   const struct adafs_sas *sas, char **ret_query, struct adafs_err *reterr);
/*
 * Get User Delegation Key, unless the one that is kept is good for six and a half days yet. Waits.
 * 0 at once for a client without a token.
 */
int adafs_blob_delegation_renew(struct adafs_blob_client *c, struct adafs_err *reterr);
/*
 * One line for people: the credential, until when it is good, and why others were passed over.
 * free() it; NULL: out of memory. Holds no secret.
 */
char *adafs_blob_client_describe(const struct adafs_blob_client *c);
/* Wait until the client can sign: at once for a key or SAS, for a token as adafs_token_wait. */
int adafs_blob_client_ready(const struct adafs_blob_client *c, struct adafs_err *reterr);
/*
 * The service's time in microseconds since 1970, as far as known: what the expiry of SAS, policies
 * and keys is compared with.
 */
int64_t adafs_blob_now_us(const struct adafs_blob_client *c);
/* The loop that it sends through; borrowed. */
struct adafs_http *adafs_blob_client_http(const struct adafs_blob_client *c);
/* Borrowed, for SAS made elsewhere. */
const struct adafs_storage_account *adafs_blob_client_account(const struct adafs_blob_client *c);
/* "http://host/acct/container/encoded/name"; name NULL: the container. free() it. */
char *adafs_blob_url(const struct adafs_blob_client *c, const char *container, const char *name);

/* --- containers ------------------------------------------------------------------------- */
int adafs_blob_container_create(struct adafs_blob_client *c, const char *container,
				struct adafs_err *reterr); /* -EEXIST */
int adafs_blob_container_delete(struct adafs_blob_client *c, const char *container,
				struct adafs_err *reterr);
/* Called for each container in name order; a negative return stops and is returned. */
typedef int adafs_blob_container_fn(void *arg, const char *name,
				    const struct adafs_blob_props *props);
/* List Containers, all pages. */
int adafs_blob_container_list(struct adafs_blob_client *c, adafs_blob_container_fn *fn, void *arg,
			      struct adafs_err *reterr);

/* A stored access policy; empty texts are absent. */
struct adafs_blob_policy {
	char id[65];
	char start[32], expiry[32], permissions[16];
};
#define ADAFS_BLOB_MAX_POLICIES 5
/* All that Set Container ACL replaces at once. */
struct adafs_blob_acl {
	struct adafs_blob_policy policy[ADAFS_BLOB_MAX_POLICIES];
	size_t n;
	char public_access[16]; /* "container", "blob" or "": none */
};
/* Get Container ACL. */
int adafs_blob_container_get_acl(struct adafs_blob_client *c, const char *container,
				 struct adafs_blob_acl *ret, struct adafs_err *reterr);
/* Set Container ACL replaces all, public access too: change what Get gave. -EINVAL: more than five
 * policies. */
int adafs_blob_container_set_acl(struct adafs_blob_client *c, const char *container,
				 const struct adafs_blob_acl *acl, struct adafs_err *reterr);

/* --- listing ---------------------------------------------------------------------------- */
enum {
	ADAFS_LIST_META = 1,      /* include=metadata */
	ADAFS_LIST_SNAPSHOTS = 2, /* include=snapshots; not with a delimiter */
};
/*
 * Called for each blob (props not NULL) and each prefix (props NULL; name ends with the delimiter)
 * of a listing in the service's order; name is the whole name. Everything is borrowed for the call.
 */
typedef int adafs_blob_list_fn(void *arg, const char *name, const struct adafs_blob_props *props);
/* List Blobs, all pages (5,000 each), streamed. prefix "" lists all; delimiter NULL: flat. */
int adafs_blob_list(struct adafs_blob_client *c, const char *container, const char *prefix,
		    const char *delimiter, unsigned flags, adafs_blob_list_fn *fn, void *arg,
		    struct adafs_err *reterr);
/* As above, but at most max results of the first page: to ask whether there is anything. */
int adafs_blob_list_some(struct adafs_blob_client *c, const char *container, const char *prefix,
			 const char *delimiter, unsigned flags, unsigned max,
			 adafs_blob_list_fn *fn, void *arg, struct adafs_err *reterr);

/*
 * A listing page by page: while the caller works on one, the next is under way. marker: where to
 * start, as an earlier listing said; NULL: at the beginning. All texts are copied. NULL: out of
 * memory. Of one thread at a time.
 */
struct adafs_blob_pages;
struct adafs_blob_pages *adafs_blob_pages_open(struct adafs_blob_client *c, const char *container,
					       const char *prefix, const char *delimiter,
					       unsigned flags, const char *marker);
/*
 * Wait for the next page and call fn for what is on it. 1: there are more; 0: it was the last; or
 * the service's error, or what fn returned; then the listing has ended.
 */
int adafs_blob_pages_next(struct adafs_blob_pages *p, adafs_blob_list_fn *fn, void *arg,
			  struct adafs_err *reterr);
/* Where the page after the last one that was read starts; borrowed. "": before the first, and at
 * the end. */
const char *adafs_blob_pages_marker(const struct adafs_blob_pages *p);
/* A page that is under way is dropped when it comes. Accepts NULL. */
void adafs_blob_pages_close(struct adafs_blob_pages *p);

/* --- reading ---------------------------------------------------------------------------- */
/* Get Blob Properties (HEAD). snapshot may be NULL. ret is to be cleared on success. */
int adafs_blob_head(struct adafs_blob_client *c, const char *container, const char *name,
		    const char *snapshot, struct adafs_blob_props *ret, struct adafs_err *reterr);
/*
 * Get Blob, len bytes at off (len 0: the whole blob) into buf, which holds size bytes. *ret_len is
 * less than len only at the end of the blob; off at or after the end gives 0 bytes. Ranges of at
 * most 4 MiB are asked for and checked with CRC64. etag (may be NULL) pins the version: -ESTALE
 * when it moved.
 */
int adafs_blob_get(struct adafs_blob_client *c, const char *container, const char *name,
		   const char *snapshot, int64_t off, size_t len, const char *etag, void *buf,
		   size_t size, size_t *ret_len, struct adafs_err *reterr);
/* On the loop thread; len bytes are in the buffer that was given. err->rc 0: success. */
typedef void adafs_blob_get_done(void *arg, size_t len, const struct adafs_err *err);
/*
 * The same without waiting; buf is borrowed until done, which is called exactly once (by
 * adafs_blob_get_start itself only where adafs_http_send would). len 0 is -EINVAL here.
 */
void adafs_blob_get_start(struct adafs_blob_client *c, const char *container, const char *name,
			  const char *snapshot, int64_t off, size_t len, const char *etag,
			  void *buf, adafs_blob_get_done *done, void *arg);
/* A whole small blob (at most max bytes) as owned text followed by a NUL; props (may be NULL) to be
 * cleared. */
int adafs_blob_get_text(struct adafs_blob_client *c, const char *container, const char *name,
			size_t max, char **ret_text, size_t *ret_len,
			struct adafs_blob_props *ret_props, struct adafs_err *reterr);
/* A whole blob of any size into a file; also for a bare URL with a SAS (see
 * adafs_blob_download_url). */
int adafs_blob_download_url(struct adafs_http *http, const char *url_with_sas, int fd,
			    struct adafs_err *reterr);

/* --- writing ---------------------------------------------------------------------------- */
/* Where the bytes of a write come from: memory, or a range of a file. */
struct adafs_blob_source {
	const void *data; /* NULL: fd */
	int fd;
	off_t off;
	size_t len;
	/* The CRC-64 of the first crc_len bytes where it is known, so that they are not read for
	 * it. */
	uint64_t crc;
	size_t crc_len;
};
/* Content type NULL: application/octet-stream. meta may be NULL. */
struct adafs_blob_put {
	const char *content_type;
	const struct adafs_blob_meta *meta;
	struct adafs_blob_cond cond;
	const uint8_t *md5; /* for Put Block List: stored as x-ms-blob-content-md5; NULL: none */
};
/*
 * Put Blob with a checksum. ret_etag (may be NULL) gets the new ETag. With a condition a lost reply
 * may make the retry meet its own success: that comes back as -ESTALE or -EEXIST with
 * outcome_unknown set, and the caller compares a nonce in the metadata.
 */
int adafs_blob_put(struct adafs_blob_client *c, const char *container, const char *name,
		   const struct adafs_blob_source *src, const struct adafs_blob_put *put,
		   char ret_etag[ADAFS_ETAG_LEN], struct adafs_err *reterr);
/*
 * The same without waiting: done is called exactly once, on the loop thread, or at once if the
 * request cannot be made or sent. What src names is borrowed until then.
 */
void adafs_blob_put_start(struct adafs_blob_client *c, const char *container, const char *name,
			  const struct adafs_blob_source *src, const struct adafs_blob_put *put,
			  adafs_http_done *done, void *arg);
/* The ETag of a reply, without quotes; "" if it has none. */
void adafs_blob_etag(const struct adafs_http_response *response, char ret_etag[ADAFS_ETAG_LEN]);
/* Put Block with CRC64. block_id is the plain text (at most 64 bytes, all of one length); it is
 * sent as base64. */
int adafs_blob_put_block(struct adafs_blob_client *c, const char *container, const char *name,
			 const char *block_id, const struct adafs_blob_source *src,
			 struct adafs_err *reterr);
/*
 * The same without waiting: done is called exactly once, on the loop thread, or at once if the
 * request cannot be made or sent. What src names is borrowed until then.
 */
void adafs_blob_put_block_start(struct adafs_blob_client *c, const char *container,
				const char *name, const char *block_id,
				const struct adafs_blob_source *src, adafs_http_done *done,
				void *arg);
/* Put Block List with <Latest> ids: repeating it is safe. */
int adafs_blob_put_block_list(struct adafs_blob_client *c, const char *container, const char *name,
			      const char *const *block_ids, size_t n,
			      const struct adafs_blob_put *put, char ret_etag[ADAFS_ETAG_LEN],
			      struct adafs_err *reterr);
int adafs_blob_set_meta(struct adafs_blob_client *c, const char *container, const char *name,
			const struct adafs_blob_meta *meta, const struct adafs_blob_cond *cond,
			char ret_etag[ADAFS_ETAG_LEN], struct adafs_err *reterr);
/* Delete Blob; with_snapshots: x-ms-delete-snapshots: include. */
int adafs_blob_delete(struct adafs_blob_client *c, const char *container, const char *name,
		      bool with_snapshots, const struct adafs_blob_cond *cond,
		      struct adafs_err *reterr);
/* Snapshot Blob. if_match (may be NULL) makes sure which version is taken. */
int adafs_blob_snapshot(struct adafs_blob_client *c, const char *container, const char *name,
			const char *if_match, char ret_snapshot[ADAFS_SNAPSHOT_LEN],
			struct adafs_err *reterr);
/*
 * Copy Blob inside the account, waiting for the end of a pending copy (bounded by io_timeout
 * without progress). meta NULL or empty keeps the source's metadata. cond holds for the
 * destination, src_etag (may be NULL) for the source; either failing is -ESTALE, also If-None-Match
 * "*" on a destination that exists. With ADAFS_META_COPY in meta, new for each call, a copy whose
 * reply was lost is found by it (Get Blob Properties) and succeeds.
 */
int adafs_blob_copy(struct adafs_blob_client *c, const char *src_container, const char *src_name,
		    const char *src_etag, const char *dst_container, const char *dst_name,
		    const struct adafs_blob_meta *meta, const struct adafs_blob_cond *cond,
		    char ret_etag[ADAFS_ETAG_LEN], struct adafs_err *reterr);

/* --- by URL with a SAS, as a node does it (the emulator's runner) ------------------------ */
/* Put a file at a blob URL that carries a SAS: Put Blob, or blocks above 64 MiB. */
int adafs_blob_upload_url(struct adafs_http *http, const char *url_with_sas, int fd, int64_t size,
			  struct adafs_err *reterr);
/* List Blobs of a container URL that carries a SAS, all pages. */
int adafs_blob_list_url(struct adafs_http *http, const char *container_url_with_sas,
			const char *prefix, adafs_blob_list_fn *fn, void *arg,
			struct adafs_err *reterr);
/*
 * URL of a blob from a container URL with a SAS: the encoded name goes into the path, before the
 * query. Cleans restype and comp from the query. free() it.
 */
char *adafs_blob_url_in_container(const char *container_url_with_sas, const char *name);

#endif
