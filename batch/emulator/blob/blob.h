/*
 * blob/blob.h - inside of the Blob service: one call, its route, and what handlers share. Codes are
 * those of blob_error.h.
 */
#ifndef ADAFS_EMULATOR_BLOB_BLOB_H
#define ADAFS_EMULATOR_BLOB_BLOB_H

#include <time.h>

#include "batch/base/digest.h"
#include "batch/base/mutex.h"
#include "batch/base/random.h"
#include "batch/base/xml.h"
#include "batch/emulator/blob/blob_error.h"
#include "batch/emulator/blob/blob_service.h"
#include "batch/emulator/blob/store.h"
#include "batch/emulator/token.h"

struct blob_service {
	char *account;
	uint8_t *key; /* decoded */
	size_t key_len;
	struct blob_store *store;
	struct http_server *http;
	struct traps *traps;             /* borrowed; NULL: none */
	struct cors *cors;               /* owned */
	struct token_issuer *issuer;     /* borrowed; NULL: no bearer tokens */
	bool no_shared_key;              /* the account key opens nothing, nor what it signed */
	struct policy_history *policies; /* owned */
	struct sas_memo *sas_memo;       /* owned */
	int64_t swept_ms;                /* atomic; when old staged blocks were last looked for */
};

struct blob_call;

enum blob_level { LEVEL_ACCOUNT, LEVEL_CONTAINER, LEVEL_BLOB };

/* One operation: how it is recognised, who may do it, and what does it. */
struct blob_route {
	const char *operation; /* as in the REST documentation, in one word */
	enum blob_level level;
	const char *method;
	const char *restype, *comp; /* NULL: absent */
	char source;             /* x-ms-copy-source: 'y' must be there, 'n' must not, 0 either */
	char type;               /* x-ms-blob-type likewise */
	const char *action;      /* x-ms-lease-action; NULL: any or none */
	const char *permissions; /* any of these letters of a service or account SAS; "": no SAS
				    can; NULL: any valid SAS */
	char resource;           /* account SAS: letter needed in srt; 0: any */
	bool no_service_sas;     /* only an account SAS can */
	enum {
		BODY_NONE,
		BODY_XML,
		BODY_BATCH,
		BODY_OWN
	} body; /* BODY_OWN: begin and body callbacks take it */
	int (*begin)(struct blob_call *c);
	int (*piece)(struct blob_call *c, const void *data, size_t len);
	int (*handle)(struct blob_call *c, struct http_resp *resp);
};

/* AUTH_SERVICE_SAS: also one of a user's delegation key. */
enum auth_kind { AUTH_ANONYMOUS, AUTH_KEY, AUTH_BEARER, AUTH_ACCOUNT_SAS, AUTH_SERVICE_SAS };

/* One request on its way through the service. */
struct blob_call {
	struct blob_service *service;
	struct http_req *req;
	const struct blob_route *route;
	char request_id[ADAFS_UUID_LEN];
	char version[12]; /* echoed x-ms-version */
	bool secondary;   /* asked at the read-only endpoint */
	enum blob_level level;
	char *container, *name; /* owned; NULL above their level */
	blob_stamp snapshot;    /* of the query; BLOB_SNAPSHOT_NONE: the blob itself */
	enum auth_kind auth;
	struct token_claims who; /* AUTH_BEARER */
	bool may_overwrite;      /* false: a SAS that may only create */
	struct adafs_buf detail; /* further elements of an error's XML */

	/* State of operations with bodies. */
	struct blob_writer writer;
	struct block_writer block;
	struct adafs_digest *md5;
	uint8_t md5_value[ADAFS_MD5_LEN];
	uint64_t crc64;
	struct block_list *list;
	struct structured *structured; /* a body in checksummed segments; NULL: a plain one */
	uint64_t content_length;       /* of the bytes in the body */

	/* State of one request of a batch. */
	struct blob_call *batch; /* the batch itself; NULL: a request of its own */
	int source_error;        /* what a copy's source answered; 0: nothing wrong */
};

/* --- parse.c: names, headers, metadata, ranges ------------------------------------------------ */

/* Split the path into container and blob; checks names. */
int call_parse_target(struct blob_call *c);
/* Split a decoded path "container/name" (leading slash gone). Outputs owned; name NULL if none. */
int blob_split_path(const char *decoded, char **ret_container, char **ret_name);
int blob_check_container_name(const char *name);
int blob_check_name(const char *name);
/* Parse a snapshot time of the query. BE_INVALID_QUERY_PARAMETER_VALUE. */
int blob_parse_snapshot(const char *text, blob_stamp *ret);
/* x-ms-meta-* of the request as "name:value\n" lines; *ret_any: whether there was one. Owned. */
int blob_parse_metadata(struct blob_call *c, char **ret_metadata, bool *ret_any);
/* The x-ms-blob-* properties of the request; clear with blob_headers_clear. */
int blob_parse_headers(struct blob_call *c, struct blob_headers *ret);
/* x-ms-access-tier; *ret NULL: none. Static text. */
int blob_parse_tier(struct blob_call *c, const char **ret);
struct blob_range {
	bool given;        /* a usable range was sent */
	uint64_t off, len; /* cut to the blob; the whole when not given */
};
/* x-ms-range or Range against a size. BE_INVALID_RANGE. */
int blob_parse_range(const char *text, uint64_t size, struct blob_range *ret);
/* The block id of the query: base64 of at most 64 bytes. */
int call_check_block_id(struct blob_call *c);
/* Compare the digests of the body with the headers that announced them. */
int blob_check_digests(struct blob_call *c);
/* The same for a body that was buffered. */
int call_check_body(struct blob_call *c);
/* A header that carries something, or NULL: an empty header means unset. */
const char *call_header(const struct blob_call *c, const char *name);
const char *call_param(const struct blob_call *c, const char *name);
/* Add <element>text</element> to the error that will be answered. */
void call_detail(struct blob_call *c, const char *element, const char *fmt, ...) ADAFS_PRINTF(3, 4);
/* BE code with HeaderName/HeaderValue, or QueryParameterName/Value/Reason. */
int call_bad_header(struct blob_call *c, int error, const char *name);
int call_bad_param(struct blob_call *c, int error, const char *name, const char *reason);

/* --- body.c, structured.c -------------------------------------------------------------------- */

/* The length of the bytes in the body. BE_REQUEST_BODY_TOO_LARGE beyond max. */
int body_length(struct blob_call *c, long long max, uint64_t *ret_len);
int body_too_large(struct blob_call *c, long long max);
/* After body_length, before the body. md5: to be computed as well as the CRC-64. */
int body_start(struct blob_call *c, bool md5);
/* Pass a piece on to add(), unwrapped. */
int body_feed(struct blob_call *c, const void *data, size_t len,
	      int (*add)(struct blob_call *c, const void *data, size_t len));
/* The body is complete: compare all checksums. */
int body_finish(struct blob_call *c);
int answer_md5(const struct blob_call *c, struct http_resp *resp);
void answer_crc64(const struct blob_call *c, struct http_resp *resp);
/* The kind of checksum that the client sent, CRC-64 by default. */
int answer_digests(const struct blob_call *c, struct http_resp *resp);
void answer_wrapping(const struct blob_call *c, struct http_resp *resp);

/* total: length of the whole message, length: of the content. free() it; NULL: out of memory. */
struct structured *structured_new(uint64_t total, uint64_t length);
/* BE_INVALID_INPUT, BE_CRC64_MISMATCH, or what sink() returned. */
int structured_feed(struct structured *s, const void *data, size_t len,
		    int (*sink)(void *arg, const void *data, size_t len), void *arg);
int structured_finish(const struct structured *s);

/* --- conditions.c ---------------------------------------------------------------------------- */

struct blob_conditions {
	const char *match, *none_match; /* borrowed from the request; NULL: absent */
	const char *tags;               /* an expression over the blob's tags; likewise */
	bool has_modified, has_unmodified;
	time_t modified_since, unmodified_since;
};
/* prefix "" or "x-ms-source-". */
int conditions_parse(struct blob_call *c, const char *prefix, struct blob_conditions *ret);
/*
 * For a read of what exists: 0, BE_NOT_MODIFIED, BE_CONDITION_NOT_MET, BE_UNSATISFIABLE_CONDITION.
 */
int conditions_check_read(const struct blob_conditions *k, blob_stamp stamp);
/* The expression over tags. BE_CONDITION_NOT_MET, BE_INVALID_HEADER_VALUE. */
int conditions_check_tags(const struct blob_conditions *k, const char *tags);
/* For a change that takes no conditions: BE_CONDITIONS_NOT_SUPPORTED. Reads ignore them: browsers
 * send some of their own accord. */
int conditions_refuse(struct blob_call *c);
/* For operations on containers: dates only. BE_CONDITIONS_NOT_SUPPORTED. */
int conditions_dates_only(const struct blob_conditions *k);
/* For a write: refuse combinations that the service refuses. */
int conditions_check_combination(const struct blob_conditions *k);
/* exists: whether there is something with this stamp. create: the operation makes the blob. */
int conditions_check_write(const struct blob_conditions *k, bool exists, blob_stamp stamp,
			   bool create);

/* What a write asks before it replaces something; a blob_guard with the call's conditions. */
struct write_guard {
	struct blob_call *call;
	struct blob_conditions conditions;
	bool create; /* may make the blob; otherwise it exists already */
	bool has_type;
	enum blob_type type; /* with has_type: what exists must be of this type */
	bool reads;          /* needs no lease, as a read */
	bool online;         /* the blob must not be archived */
	int failed;          /* code for every condition that fails; 0: the one of Put Blob */
};
int write_guard_init(struct write_guard *g, struct blob_call *c, bool create);
int write_guard_check(void *arg, const struct blob_info *existing);

/* --- lease.c --------------------------------------------------------------------------------- */

/* Whether the call may write to, or read, what has this lease (NULL: nothing exists). */
int lease_check_write(struct blob_call *c, const struct blob_lease *l);
int lease_check_read(struct blob_call *c, const struct blob_lease *l);
struct lease_words {
	const char *status, *state, *duration; /* static; duration NULL: not leased */
};
struct lease_words lease_words(const struct blob_lease *l);
void answer_lease(struct http_resp *resp, const struct blob_lease *l);
int xml_lease(struct adafs_buf *b, const struct blob_lease *l);

/* --- tags.c, tag_query.c --------------------------------------------------------------------- */

/* x-ms-tags of the request in the store's form, NULL where absent; owned. */
int tags_parse_header(struct blob_call *c, char **ret_tags);
/* A SAS that sets, reads or compares tags in passing must permit that too. */
int tags_check_permission(struct blob_call *c);
unsigned tags_count(const char *tags);
/* <Tags>...</Tags> of stored tags. */
int xml_tags(struct adafs_buf *b, const char *tags);
/* One tag's decoded value (free()), or NULL: none of that name. -ENOMEM. */
int tags_get(const char *tags, const char *key, char **ret_value);
/*
 * Whether the tags (and, for a search, the container: NULL in conditions) fulfil an expression such
 * as "kind" = 'a' AND "n" >= '3'. 1, 0, -EINVAL, -ENOMEM.
 */
int tag_query_matches(const char *expression, const char *tags, const char *container);

/* --- copy.c, put.c --------------------------------------------------------------------------- */

/* Whether blocks may be staged under the name: its lease, its type. */
int call_check_block_target(struct blob_call *c);
/* Read the source of an operation From URL into c->block, which is opened; checks its digests. */
int source_to_block(struct blob_call *c, long long max);

/* --- listing.c, used by find.c --------------------------------------------------------------- */

int list_parse_max(struct blob_call *c, unsigned *ret);
int list_start_page(struct blob_call *c, struct http_resp *resp, unsigned max);
/* A name as an element, encoded when XML cannot carry it. */
int list_add_name(struct adafs_buf *b, const char *element, const char *text, size_t len);

/* --- cors.c, service.c ----------------------------------------------------------------------- */

/* Load the rules into s->cors. */
int cors_new(struct blob_service *s);
void cors_free(struct cors *c);
/* What a page of another origin may read of this answer. */
void cors_answer(struct blob_call *c, struct http_resp *resp);
/* Run one request of a batch; the code that was answered, 0 for success. */
int service_run_part(struct blob_call *batch, struct http_req *req, struct http_resp *resp);

/* --- policy.c, bearer.c ----------------------------------------------------------------------- */

int policies_new(struct blob_service *s);
void policies_free(struct policy_history *h);
/* The call's container gets other policies now: remember those that still hold for a while. */
int policies_before_change(struct blob_call *c);
/* The container with the policies that hold now. BE_CONTAINER_NOT_FOUND. */
int policies_obeyed(struct blob_call *c, const char *container, struct container_info *ret);
/* Check "Bearer ..." for a route. BE_INVALID_TOKEN, BE_PERMISSION_MISMATCH. */
int bearer_check(struct blob_call *c, const char *authorization, const struct blob_route *route,
		 struct token_claims *ret);
/* Tell where tokens come from when the answer is 401. */
void bearer_challenge(struct blob_call *c, struct http_resp *resp);

/* --- auth.c, sas.c --------------------------------------------------------------------------- */

/* Authenticate and authorise the call for its route. */
int call_authorize(struct blob_call *c);
/* Shared Key string-to-sign of a request. plus_is_space, culture: the variants that clients use. */
int auth_string_to_sign(const struct http_req *req, const char *account, bool plus_is_space,
			bool culture, struct adafs_buf *ret);
/* Signature of a text by the account key: base64, free(). */
char *auth_sign(const struct blob_service *s, const char *text, size_t len);

struct sas_request {
	const struct http_req *req;   /* its query holds the SAS */
	const char *container, *name; /* NULL above their level */
	const char *peer;
	const struct blob_route *route; /* what it should allow */
};
/* Verify a SAS in the order of the service. *ret_kind, *ret_overwrite only on success. */
int sas_check(struct blob_call *c, const struct sas_request *r, enum auth_kind *ret_kind,
	      bool *ret_overwrite);
/* Signatures by the account's key that were found right; see sas_memo.c. free accepts NULL. */
struct sas_memo *sas_memo_new(void);
void sas_memo_free(struct sas_memo *m);
bool sas_memo_knows(struct sas_memo *m, const struct adafs_buf *text, const char *sig);
void sas_memo_keep(struct sas_memo *m, const struct adafs_buf *text, const char *sig);
/* The string that a SAS signs; exposed for its test vectors. */
int sas_string_to_sign(const struct http_req *req, const char *account, const char *container,
		       const char *name, struct adafs_buf *ret);

/* --- answers.c ------------------------------------------------------------------------------- */

/* Turn resp into the XML error of a code. */
void blob_answer_error(struct blob_call *c, struct http_resp *resp, int error);
void answer_stamp(struct http_resp *resp, blob_stamp stamp); /* ETag and Last-Modified */
void blob_etag(blob_stamp stamp, char out[24]);              /* without quotes */
void blob_date(blob_stamp stamp, char out[32]);              /* RFC 1123 */
/* "hot" of "Hot", as archive states are written. Static. */
const char *tier_word(const char *tier);
void blob_snapshot_text(blob_stamp snapshot, char out[32]);
/* Metadata lines as headers, and as XML elements. */
void answer_metadata(struct http_resp *resp, const char *metadata);
int xml_metadata(struct adafs_buf *b, const char *metadata);
/* XML document with the declaration. */
int answer_xml(struct http_resp *resp, int status);

/* --- operations ------------------------------------------------------------------------------ */

extern const struct blob_route blob_routes[];
extern const size_t blob_n_routes;

typedef int blob_handler(struct blob_call *c, struct http_resp *resp);
blob_handler op_list_containers, op_account_info, op_service_properties;
blob_handler op_create_container, op_container_properties, op_delete_container,
	op_set_container_metadata, op_get_container_acl, op_set_container_acl;
blob_handler op_list_blobs;
blob_handler op_put_blob, op_put_block, op_put_block_list, op_get_block_list;
blob_handler op_get_blob, op_head_blob, op_get_blob_metadata;
blob_handler op_delete_blob, op_snapshot_blob, op_set_metadata, op_set_properties, op_set_tier;
blob_handler op_copy_blob, op_put_blob_from_url, op_put_block_from_url, op_abort_copy;
blob_handler op_lease, op_append_block, op_append_block_from_url, op_seal;
blob_handler op_get_tags, op_set_tags, op_find_by_tags;
blob_handler op_batch, op_user_delegation_key;
blob_handler op_set_service_properties, op_service_stats, op_preflight;
blob_handler op_undelete_blob, op_restore_container, op_page, op_unsupported;

int begin_put_blob(struct blob_call *c);
int piece_put_blob(struct blob_call *c, const void *data, size_t len);
int begin_put_block(struct blob_call *c);
int piece_put_block(struct blob_call *c, const void *data, size_t len);
int begin_put_block_list(struct blob_call *c);
int begin_append_block(struct blob_call *c);
int piece_put_block_list(struct blob_call *c, const void *data, size_t len);
void block_list_free(struct block_list *l);

#endif
