/* Copies within the account: Copy Blob, Copy From URL, Put Blob From URL, Put Block From URL. */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/codec.h"
#include "batch/base/file.h"

#define MAX_SYNC_COPY (256LL << 20)
#define MAX_PUT_FROM_URL (5000LL << 20)
#define MAX_BLOCK_FROM_URL (4000LL << 20)

/* Where a copy comes from. */
struct source {
	struct http_req req;    /* the URL's path and query, as of a GET of it */
	char *url;              /* owned; as recorded on the target: without signature */
	char *container, *name; /* owned */
	blob_stamp snapshot;
	struct blob_conditions conditions;
	uint64_t max;               /* larger sources are refused; 0: no limit */
	blob_stamp digested;        /* what the digests were made of; 0: none were */
	bool keeps_archive;         /* an archived source will do: the copy leaves the archive */
	struct write_guard *target; /* learns the type that the target must have; may be NULL */
};

static void source_clear(struct source *s)
{
	http_req_clear(&s->req);
	free(s->url);
	free(s->container);
	free(s->name);
}

/* The query without its signature: the URL is stored and shown. */
static char *without_sas(const char *url)
{
	const char *query = strchr(url, '?');
	if (!query)
		return strdup(url);
	const char *snapshot = strstr(query, "snapshot=");
	int len = snapshot ? (int)strcspn(snapshot, "&") : 0;
	return adafs_fmt("%.*s%s%.*s", (int)(query - url), url, len ? "?" : "", len,
			 snapshot ? snapshot : "");
}

/* Whether host (of a URL, with port) is this machine, as clients may write it. */
static bool is_own_host(const struct blob_call *c, const char *host)
{
	static const char *const own[] = { "127.", "localhost:", "localhost/", "[::1]" };
	const char *asked = http_req_header(c->req, "Host");
	size_t len = strcspn(host, "/");
	if (asked && strlen(asked) == len && strncasecmp(asked, host, len) == 0)
		return true;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(own); i++)
		if (strncasecmp(host, own[i], strlen(own[i])) == 0)
			return true;
	return false;
}

/* Clients name the service ("account.blob...", whatever the endpoint is) or this machine. */
static int source_path(struct blob_call *c, struct source *s, const char *url)
{
	const char *host = strstr(url, "://");
	if (!host)
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-copy-source");
	host += 3;
	const char *account = c->service->account;
	size_t n = strlen(account);
	bool in_host = strncasecmp(host, account, n) == 0 && host[n] == '.';
	errno = 0;
	ADAFS_FREE char *decoded = adafs_url_decode(s->req.path, strlen(s->req.path), false);
	if (!decoded)
		return errno == EINVAL
			       ? call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-copy-source")
			       : -ENOMEM;
	const char *rest = decoded + 1;
	if (!in_host) {
		if (!is_own_host(c, host) || strncmp(rest, account, n) != 0 || rest[n] != '/')
			return BE_CANNOT_VERIFY_COPY_SOURCE; /* other accounts cannot be reached
								from here */
		rest += n + 1;
	}
	int rc = blob_split_path(rest, &s->container, &s->name);
	if (rc == 0 &&
	    (!s->name || blob_check_container_name(s->container) || blob_check_name(s->name)))
		rc = call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-copy-source");
	return rc;
}

/* A read of the source, as its own request would be judged. */
static const struct blob_route read_route = { .operation = "GetBlob",
					      .level = LEVEL_BLOB,
					      .method = "GET",
					      .permissions = "r",
					      .resource = 'o' };

/* The source's own answer, told beside the code that says that the source was the reason. */
static int source_refused(struct blob_call *c, int error)
{
	c->source_error = error;
	return BE_CANNOT_VERIFY_COPY_SOURCE;
}

static int source_public(struct blob_call *c, const struct source *s)
{
	ADAFS_CLEANUP(container_info_clear) struct container_info info = { 0 };
	int rc = store_container_get(c->service->store, s->container, false, &info);
	if (rc < 0)
		return rc;
	return rc == 0 && *info.access ? 0 : source_refused(c, BE_ACCOUNT_NOT_FOUND);
}

/* key_reaches: the account key of the request also opens the source (Copy Blob, not the From
 * URL's). */
static int source_authorize(struct blob_call *c, const struct source *s, bool key_reaches)
{
	if (http_req_param(&s->req, "sig")) {
		struct sas_request r = { .req = &s->req,
					 .container = s->container,
					 .name = s->name,
					 .peer = c->req->peer,
					 .route = &read_route };
		enum auth_kind kind;
		bool overwrite;
		int rc = sas_check(c, &r, &kind, &overwrite);
		return rc > 0 ? source_refused(c, rc) : rc;
	}
	const char *bearer = call_header(c, "x-ms-copy-source-authorization");
	struct token_claims who;
	if (bearer) {
		int rc = bearer_check(c, bearer, &read_route, &who);
		return rc > 0 ? source_refused(c, rc) : rc;
	}
	if (key_reaches && (c->auth == AUTH_KEY || c->auth == AUTH_BEARER))
		return 0;
	return source_public(c, s);
}

static int source_parse(struct blob_call *c, struct source *s, bool key_reaches)
{
	const char *url = call_header(c, "x-ms-copy-source");
	if (!url)
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-copy-source");
	int rc = http_req_init(&s->req, "GET", url);
	if (rc == -EINVAL || (rc == 0 && s->req.path[0] != '/'))
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-copy-source");
	s->snapshot = BLOB_SNAPSHOT_NONE;
	s->url = without_sas(url);
	if (rc == 0 && !s->url)
		rc = -ENOMEM;
	if (rc == 0)
		rc = source_path(c, s, url);
	const char *snapshot = rc == 0 ? http_req_param(&s->req, "snapshot") : NULL;
	if (snapshot && blob_parse_snapshot(snapshot, &s->snapshot) != 0)
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-copy-source");
	if (rc == 0)
		rc = conditions_parse(c, "x-ms-source-", &s->conditions);
	if (rc == 0)
		rc = source_authorize(c, s, key_reaches);
	return rc;
}

static int source_conditions(const struct source *s, const struct blob_info *b)
{
	int rc = conditions_check_read(&s->conditions, b->stamp);
	if (rc == 0)
		rc = conditions_check_tags(&s->conditions, b->tags);
	if (rc == 0 && s->digested && b->stamp != s->digested)
		rc = BE_CONDITION_NOT_MET; /* it was replaced while it was read */
	return rc == BE_NOT_MODIFIED || rc == BE_CONDITION_NOT_MET ? BE_SOURCE_CONDITION_NOT_MET
								   : rc;
}

static int source_guard(void *arg, const struct blob_info *b)
{
	struct source *s = arg;
	if (s->max && b->size > s->max)
		return BE_REQUEST_BODY_TOO_LARGE;
	if (s->target && s->target->has_type)
		s->target->type = b->type;
	int rc = source_conditions(s, b);
	if (rc == 0 && !s->keeps_archive && b->tier && strcmp(b->tier, "Archive") == 0)
		rc = BE_BLOB_ARCHIVED;
	return rc;
}

/* The source as it is now. */
static int source_find(struct blob_call *c, struct source *s, struct blob_info *ret)
{
	int rc = store_blob_get(c->service->store, s->container, s->name, s->snapshot, ret);
	if (rc == 0)
		rc = source_guard(s, ret);
	if (rc == BE_BLOB_NOT_FOUND || rc == BE_CONTAINER_NOT_FOUND || rc == BE_BLOB_ARCHIVED)
		rc = source_refused(c, rc);
	return rc;
}

static int copy_blob(struct blob_call *c, const struct blob_write *bw, struct source *s,
		     struct blob_copy *copy, struct blob_info *ret)
{
	copy->source_container = s->container;
	copy->source_name = s->name;
	copy->source_snapshot = s->snapshot;
	copy->source_guard = source_guard;
	copy->source_arg = s;
	return store_blob_copy(c->service->store, bw, copy, ret);
}

/* --- reading the source ---------------------------------------------------------------------- */

#define CHUNK (256 * 1024)

static int digest_piece(struct blob_call *c, const struct blob_piece *p, char *chunk, bool keep)
{
	for (uint64_t done = 0; done < p->len;) {
		size_t n = p->len - done < CHUNK ? (size_t)(p->len - done) : CHUNK;
		int rc = adafs_pread_all(p->fd, chunk, n, (off_t)(p->off + done));
		if (rc == 0 && keep)
			rc = store_block_add(&c->block, chunk, n);
		if (rc < 0)
			return rc;
		c->crc64 = adafs_crc64(c->crc64, chunk, n);
		adafs_digest_update(c->md5, chunk, n);
		done += n;
	}
	return 0;
}

static int check_source_digests(struct blob_call *c)
{
	const char *md5 = call_header(c, "x-ms-source-content-md5");
	const char *crc = call_header(c, "x-ms-source-content-crc64");
	ADAFS_FREE char *have = adafs_base64_encode(c->md5_value, ADAFS_MD5_LEN);
	char crc_text[16];
	if (!have)
		return -ENOMEM;
	if (md5 && strcmp(md5, have) != 0) {
		call_detail(c, "UserSpecifiedMd5", "%s", md5);
		call_detail(c, "ServerCalculatedMd5", "%s", have);
		return BE_MD5_MISMATCH;
	}
	adafs_crc64_text(c->crc64, crc_text);
	return crc && strcmp(crc, crc_text) != 0 ? BE_CRC64_MISMATCH : 0;
}

/* Read the range once, for the checksums of the answer and those that the client may demand. keep:
 * into c->block. */
static int source_read(struct blob_call *c, const struct blob_info *b, const struct blob_range *r,
		       bool keep)
{
	ADAFS_CLEANUP(blob_pieces_clear) struct blob_pieces p = { 0 };
	ADAFS_FREE char *chunk = malloc(CHUNK);
	c->md5 = adafs_digest_new(ADAFS_DIGEST_MD5);
	if (!chunk || !c->md5)
		return -ENOMEM;
	int rc = store_content_open(c->service->store, b->content, r->off, r->len, &p);
	for (size_t i = 0; rc == 0 && i < p.n; i++)
		rc = digest_piece(c, &p.v[i], chunk, keep);
	if (rc < 0)
		return rc == -ESTALE ? source_refused(c, BE_BLOB_NOT_FOUND) : rc;
	adafs_digest_final(c->md5, c->md5_value);
	return check_source_digests(c);
}

/* The whole source, before it is copied. */
static int source_digest(struct blob_call *c, struct source *s)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	int rc = source_find(c, s, &b);
	if (rc == 0)
		rc = source_read(c, &b, &(struct blob_range){ .len = b.size }, false);
	s->digested = b.stamp;
	return rc;
}

static int answer_source_digests(struct blob_call *c, struct http_resp *resp)
{
	answer_crc64(c, resp);
	return answer_md5(c, resp);
}

/* x-ms-copy-source-tag-option: the source's tags come along, or those of the request. */
static int tag_option(struct blob_call *c, bool *ret_keep)
{
	const char *v = call_header(c, "x-ms-copy-source-tag-option");
	*ret_keep = v && strcasecmp(v, "COPY") == 0;
	if (v && (*ret_keep ? call_header(c, "x-ms-tags") != NULL : strcasecmp(v, "REPLACE") != 0))
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-copy-source-tag-option");
	return 0;
}

/* --- Copy Blob and Copy From URL ------------------------------------------------------------- */

static int sync_flag(struct blob_call *c, bool *ret)
{
	const char *v = call_header(c, "x-ms-requires-sync");
	*ret = v && strcasecmp(v, "true") == 0;
	return v && !*ret ? call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-requires-sync") : 0;
}

struct copy_request {
	struct source source;
	struct write_guard guard;
	char *metadata, *tags;
	bool any_metadata, sync, keep_tags;
	const char *tier;
};

/* What both kinds of copies say of their target. */
static int target_parse(struct blob_call *c, struct copy_request *r)
{
	int rc = write_guard_init(&r->guard, c, true);
	r->guard.has_type = true;
	if (rc == 0)
		rc = blob_parse_metadata(c, &r->metadata, &r->any_metadata);
	if (rc == 0)
		rc = blob_parse_tier(c, &r->tier);
	if (rc == 0)
		rc = tags_parse_header(c, &r->tags);
	if (rc == 0)
		rc = tag_option(c, &r->keep_tags);
	return rc;
}

static int copy_parse(struct blob_call *c, struct copy_request *r)
{
	int rc = target_parse(c, r);
	r->guard.failed = BE_TARGET_CONDITION_NOT_MET;
	if (rc == 0)
		rc = sync_flag(c, &r->sync);
	r->source.max = r->sync ? MAX_SYNC_COPY : 0;
	r->source.target = &r->guard;
	r->source.keeps_archive = r->tier && strcmp(r->tier, "Archive") != 0;
	if (rc == 0)
		rc = source_parse(c, &r->source, true);
	return rc == 0 && r->sync ? source_digest(c, &r->source) : rc;
}

static void copy_clear(struct copy_request *r)
{
	source_clear(&r->source);
	free(r->metadata);
	free(r->tags);
}

int op_copy_blob(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(copy_clear) struct copy_request r = { 0 };
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	char id[ADAFS_UUID_LEN];
	adafs_random_uuid(id);
	int rc = copy_parse(c, &r);
	struct blob_write bw = { .container = c->container,
				 .name = c->name,
				 .metadata = r.metadata,
				 .tier = r.tier,
				 .tags = r.tags,
				 .guard = write_guard_check,
				 .guard_arg = &r.guard };
	const char *seal = call_header(c, "x-ms-seal-blob");
	struct blob_copy copy = { .copy_id = id,
				  .copy_source = r.source.url,
				  .keep_blocks = true,
				  .keep_headers = true,
				  .keep_metadata = !r.any_metadata,
				  .keep_tags = r.keep_tags,
				  .seal = seal && strcasecmp(seal, "true") == 0 };
	if (rc == 0)
		rc = copy_blob(c, &bw, &r.source, &copy, &b);
	if (rc == BE_REQUEST_BODY_TOO_LARGE)
		call_detail(c, "MaxLimit", "%lld", MAX_SYNC_COPY);
	if (rc != 0)
		return rc;
	resp->status = 202;
	answer_stamp(resp, b.stamp);
	http_resp_header(resp, "x-ms-copy-id", id);
	http_resp_header(resp, "x-ms-copy-status", "success");
	return r.sync ? answer_source_digests(c, resp) : 0;
}

int op_abort_copy(struct blob_call *c, struct http_resp *resp)
{
	(void)resp;
	const char *action = call_header(c, "x-ms-copy-action");
	if (!action || strcasecmp(action, "abort") != 0)
		return call_bad_header(c, BE_MISSING_REQUIRED_HEADER, "x-ms-copy-action");
	if (!call_param(c, "copyid"))
		return call_bad_param(c, BE_MISSING_REQUIRED_QUERY_PARAMETER, "copyid", NULL);
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	int rc = conditions_refuse(c);
	if (rc == 0)
		rc = store_blob_get(c->service->store, c->container, c->name, BLOB_SNAPSHOT_NONE,
				    &b);
	if (rc == 0)
		rc = lease_check_write(c, &b.lease);
	return rc == 0 ? BE_NO_PENDING_COPY : rc; /* every copy was complete when it was answered */
}

/* --- Put Blob From URL ----------------------------------------------------------------------- */

static void fill(char **to, char **from)
{
	if (!*to)
		*to = ADAFS_STEAL(*from);
}

/* The target's properties: those of the request, then (keep) those of the source, then defaults. */
static int fill_headers(struct blob_call *c, struct source *s, bool keep, struct blob_headers *h)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	int rc = source_find(c, s, &b);
	if (rc != 0)
		return rc;
	if (keep) {
		fill(&h->content_type, &b.headers.content_type);
		fill(&h->encoding, &b.headers.encoding);
		fill(&h->language, &b.headers.language);
		fill(&h->cache_control, &b.headers.cache_control);
		fill(&h->disposition, &b.headers.disposition);
	}
	if (!h->content_type && !(h->content_type = strdup("application/octet-stream")))
		return -ENOMEM;
	if (!h->md5 && !(h->md5 = adafs_base64_encode(c->md5_value, ADAFS_MD5_LEN)))
		return -ENOMEM;
	return 0;
}

int op_put_blob_from_url(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(copy_clear) struct copy_request r = { 0 };
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	ADAFS_CLEANUP(blob_headers_clear) struct blob_headers headers = { 0 };
	const char *type = call_header(c, "x-ms-blob-type");
	const char *keep = call_header(c, "x-ms-copy-source-blob-properties");
	if (!type || strcmp(type, "BlockBlob") != 0)
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-blob-type");
	int rc = target_parse(c, &r);
	if (rc == 0)
		rc = blob_parse_headers(c, &headers);
	r.source.max = MAX_PUT_FROM_URL;
	if (rc == 0)
		rc = source_parse(c, &r.source, false);
	if (rc == 0)
		rc = source_digest(c, &r.source);
	/* By default the source's properties come along where the request has none of its own; its
	 * metadata too unless some was given. */
	bool keep_headers = !keep || strcasecmp(keep, "true") == 0;
	struct blob_write bw = { .container = c->container,
				 .name = c->name,
				 .metadata = r.metadata,
				 .headers = &headers,
				 .tier = r.tier,
				 .tags = r.tags,
				 .guard = write_guard_check,
				 .guard_arg = &r.guard };
	struct blob_copy copy = { .keep_metadata = !r.any_metadata && keep_headers,
				  .keep_tags = r.keep_tags };
	if (rc == 0)
		rc = fill_headers(c, &r.source, keep_headers, &headers);
	if (rc == 0)
		rc = copy_blob(c, &bw, &r.source, &copy, &b);
	if (rc != 0)
		return rc;
	resp->status = 201;
	http_resp_header(resp, "x-ms-request-server-encrypted", "true");
	answer_stamp(resp, b.stamp);
	return answer_source_digests(c, resp);
}

/* --- Put Block From URL ---------------------------------------------------------------------- */

/* The source and the part of it that the request names. */
static int range_source(struct blob_call *c, struct source *s, long long max, struct blob_info *ret,
			struct blob_range *ret_range)
{
	int rc = source_parse(c, s, false);
	if (rc == 0)
		rc = source_find(c, s, ret);
	if (rc == 0)
		rc = blob_parse_range(call_header(c, "x-ms-source-range"), ret->size, ret_range);
	if (rc == 0 && ret_range->len == 0)
		rc = BE_INVALID_RANGE;
	return rc == 0 && ret_range->len > (uint64_t)max ? body_too_large(c, max) : rc;
}

int source_to_block(struct blob_call *c, long long max)
{
	ADAFS_CLEANUP(source_clear) struct source s = { 0 };
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	struct blob_range r;
	int rc = range_source(c, &s, max, &b, &r);
	if (rc == 0)
		rc = store_block_open(c->service->store, c->container, c->name,
				      call_param(c, "blockid"), r.len, &c->block);
	return rc == 0 ? source_read(c, &b, &r, true) : rc;
}

/* The digest that the client named, by default the CRC-64. */
static int answer_range_digest(struct blob_call *c, struct http_resp *resp)
{
	if (call_header(c, "x-ms-source-content-md5"))
		return answer_md5(c, resp);
	answer_crc64(c, resp);
	return 0;
}

int op_put_block_from_url(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(source_clear) struct source s = { 0 };
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	struct blob_range r;
	int rc = call_check_block_id(c);
	if (rc == 0)
		rc = call_check_block_target(c);
	if (rc == 0)
		rc = range_source(c, &s, MAX_BLOCK_FROM_URL, &b, &r);
	if (rc == 0)
		rc = source_read(c, &b, &r, false);
	if (rc == 0)
		rc = store_block_from_blob(c->service->store, c->container, c->name,
					   call_param(c, "blockid"), &b, r.off, r.len);
	if (rc != 0)
		return rc;
	resp->status = 201;
	http_resp_header(resp, "x-ms-request-server-encrypted", "true");
	return answer_range_digest(c, resp);
}
