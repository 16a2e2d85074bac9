/* azure/blob_int.h - what the parts of the Blob client share. Only for batch/azure. */
#ifndef ADAFS_AZURE_BLOB_INT_H
#define ADAFS_AZURE_BLOB_INT_H

#include "batch/azure/blob.h"
#include "batch/base/buf.h"
#include "batch/base/mutex.h"

#define BLOB_VERSION "2021-12-02"
#define BLOB_MAX_PAGE (64u * 1024 * 1024)
/* The largest range that the service makes a checksum for. */
#define BLOB_MAX_CHECKED_RANGE (4u * 1024 * 1024)

/* A service SAS for reading one container, kept until it is about to expire. */
struct blob_sas {
	struct blob_sas *next;
	char *container;
	char *query;
	time_t renew_at;
};

struct blob_delegation;

struct adafs_blob_client {
	struct adafs_http *http; /* borrowed */
	struct adafs_storage_account account;
	bool sas_reader;
	struct blob_delegation *delegation; /* a reference; NULL: the account has no token */
	struct adafs_mutex lock;            /* rank ADAFS_RANK_LEAF */
	struct blob_sas *sas ADAFS_GUARDED_BY(&lock);
};

/* Where a request goes: a container or blob of a client's account, or a whole URL with a SAS. */
struct blob_target {
	struct adafs_http *http;
	struct adafs_blob_client *client; /* NULL: url */
	const char *container, *name;     /* name NULL: the container; both NULL: the account */
	const char *url;
};

/* --- delegation.c: the user delegation key, shared by the clients of one account --- */
struct blob_delegation *blob_delegation_new(void);
struct blob_delegation *blob_delegation_ref(struct blob_delegation *d);
/* Whether there is a key that is good until a wall time. */
bool blob_delegation_covers(struct blob_delegation *d, time_t until);
/* NULL is fine. The last one wipes the key. */
void blob_delegation_unref(struct blob_delegation *d);

/* Append "name=value" encoded, with '&' before it unless b is empty. 0 or negative errno. */
int blob_query_add(struct adafs_buf *b, const char *name, const char *value);

struct blob_target blob_target_of(struct adafs_blob_client *c, const char *container,
				  const char *name);
struct blob_target blob_target_url(struct adafs_http *http, const char *url);
/*
 * A request with the protocol's headers and its signature. query is encoded, without '?'; NULL:
 * none. NULL: out of memory (adafs_http_send takes that).
 */
struct adafs_http_request *blob_request(const struct blob_target *t, const char *method,
					const char *operation, const char *query);
/* The same with restype=container before query. */
struct adafs_http_request *blob_container_request(const struct blob_target *t, const char *method,
						  const char *operation, const char *query);

/* Set a header on a request that may be NULL (-ENOMEM). value NULL: nothing is set. */
int blob_header(struct adafs_http_request *rq, const char *name, const char *value);
/* If-Match and If-None-Match, quoted as they must be. cond may be NULL. */
int blob_header_cond(struct adafs_http_request *rq, const struct adafs_blob_cond *cond);
/* An ETag quoted as it is sent; "*" stays. */
int blob_header_etag(struct adafs_http_request *rq, const char *name, const char *etag);
/* x-ms-meta-* of all of meta, which may be NULL. */
int blob_header_meta(struct adafs_http_request *rq, const struct adafs_blob_meta *meta);
/* Free rq and report rc: for failures while a request is built. */
int blob_request_drop(struct adafs_http_request *rq, int rc, struct adafs_err *reterr);

/* Copy an ETag without its quotes, "" for NULL. */
void blob_etag_copy(char out[ADAFS_ETAG_LEN], const char *etag);
/*
 * What the headers of a reply to GET or HEAD say. 0, -ENOMEM, -EPROTO; ret is only set on success.
 */
int blob_props_from_headers(const struct adafs_http_headers *h, struct adafs_blob_props *ret);
enum adafs_blob_type blob_type_parse(const char *text);
/* Decode a base64 MD5 into props; anything else than 16 bytes is taken as absent. */
void blob_props_set_md5(struct adafs_blob_props *p, const char *base64);

/* Whether the Content-MD5 of a whole blob, where there is one, fits the bytes. */
bool blob_md5_fits(const struct adafs_http_headers *h, const void *data, size_t len);

/* Put Blob, Put Block and Put Block List on a target. */
int blob_put_to(const struct blob_target *t, const struct adafs_blob_source *src,
		const struct adafs_blob_put *put, char ret_etag[ADAFS_ETAG_LEN],
		struct adafs_err *reterr);
int blob_put_block_to(const struct blob_target *t, const char *block_id,
		      const struct adafs_blob_source *src, struct adafs_err *reterr);
int blob_put_block_list_to(const struct blob_target *t, const char *const *block_ids, size_t n,
			   const struct adafs_blob_put *put, char ret_etag[ADAFS_ETAG_LEN],
			   struct adafs_err *reterr);

#endif
