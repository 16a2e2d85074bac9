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
	struct http_req req;	/* the URL's path and query, as of a GET of it */
	char *url;		/* owned; as recorded on the target: without signature */
	char *container, *name; /* owned */
	blob_stamp snapshot;
	struct blob_conditions conditions;
	uint64_t max; /* larger sources are refused; 0: no limit */
	bool too_large;
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
	static const char *const own[] = {"127.", "localhost:", "localhost/", "[::1]"};
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
static const struct blob_route read_route = {.operation = "GetBlob",
					     .level = LEVEL_BLOB,
					     .method = "GET",
					     .permissions = "r",
					     .resource = 'o'};

static int source_public(struct blob_call *c, const struct source *s)
{
	ADAFS_CLEANUP(container_info_clear) struct container_info info = {0};
	int rc = store_container_get(c->service->store, s->container, false, &info);
	if (rc < 0)
		return rc;
	return rc == 0 && *info.access ? 0 : BE_CANNOT_VERIFY_COPY_SOURCE;
}

/* key_reaches: the account key of the request also opens the source (Copy Blob, not the From
 * URL's). */
static int source_authorize(struct blob_call *c, const struct source *s, bool key_reaches)
{
	if (http_req_param(&s->req, "sig")) {
		struct sas_request r = {.req = &s->req,
					.container = s->container,
					.name = s->name,
					.peer = c->req->peer,
					.route = &read_route};
		enum auth_kind kind;
		bool overwrite;
		return sas_check(c, &r, &kind, &overwrite);
	}
	if (key_reaches && c->auth == AUTH_KEY)
		return 0;
	return source_public(c, s);
}

static int source_parse(struct blob_call *c, struct source *s, bool key_reaches)
{
	const char *url = call_header(c, "x-ms-copy-source");
	if (!url)
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-copy-source");
	if (call_header(c, "x-ms-copy-source-authorization"))
		return BE_NOT_IMPLEMENTED; /* tokens of Entra ID mean nothing here */
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
	return rc == 0 ? source_authorize(c, s, key_reaches) : rc;
}

static int source_guard(void *arg, const struct blob_info *b)
{
	struct source *s = arg;
	if (s->max && b->size > s->max)
		return BE_REQUEST_BODY_TOO_LARGE;
	int rc = conditions_check_read(&s->conditions, b->stamp);
	return rc == BE_NOT_MODIFIED || rc == BE_CONDITION_NOT_MET ? BE_SOURCE_CONDITION_NOT_MET
								   : rc;
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

static int no_tags(struct blob_call *c)
{
	return call_header(c, "x-ms-tags") ? BE_NOT_IMPLEMENTED : 0;
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
	char *metadata;
	bool any_metadata, sync;
	const char *tier;
};

static int copy_parse(struct blob_call *c, struct copy_request *r)
{
	int rc = write_guard_init(&r->guard, c, true);
	r->guard.failed = BE_TARGET_CONDITION_NOT_MET;
	if (rc == 0)
		rc = sync_flag(c, &r->sync);
	if (rc == 0)
		rc = blob_parse_metadata(c, &r->metadata, &r->any_metadata);
	if (rc == 0)
		rc = blob_parse_tier(c, &r->tier);
	if (rc == 0)
		rc = no_tags(c);
	if (rc == 0 && call_header(c, "x-ms-source-content-md5"))
		rc = BE_NOT_IMPLEMENTED; /* the bytes of a copy are never read here */
	r->source.max = r->sync ? MAX_SYNC_COPY : 0;
	return rc == 0 ? source_parse(c, &r->source, true) : rc;
}

static void copy_clear(struct copy_request *r)
{
	source_clear(&r->source);
	free(r->metadata);
}

int op_copy_blob(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(copy_clear) struct copy_request r = {0};
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = {0};
	char id[ADAFS_UUID_LEN];
	adafs_random_uuid(id);
	int rc = copy_parse(c, &r);
	struct blob_write bw = {.container = c->container,
				.name = c->name,
				.metadata = r.metadata,
				.tier = r.tier,
				.guard = write_guard_check,
				.guard_arg = &r.guard};
	struct blob_copy copy = {.copy_id = id,
				 .copy_source = r.source.url,
				 .keep_blocks = true,
				 .keep_headers = true,
				 .keep_metadata = !r.any_metadata};
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
	return r.sync && b.headers.md5 ? http_resp_header(resp, "Content-MD5", b.headers.md5) : 0;
}

int op_abort_copy(struct blob_call *c, struct http_resp *resp)
{
	(void)resp;
	const char *action = call_header(c, "x-ms-copy-action");
	if (!action || strcasecmp(action, "abort") != 0)
		return call_bad_header(c, BE_MISSING_REQUIRED_HEADER, "x-ms-copy-action");
	if (!call_param(c, "copyid"))
		return call_bad_param(c, BE_MISSING_REQUIRED_QUERY_PARAMETER, "copyid", NULL);
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = {0};
	int rc = store_blob_get(c->service->store, c->container, c->name, BLOB_SNAPSHOT_NONE, &b);
	return rc == 0 ? BE_NO_PENDING_COPY : rc; /* every copy was complete when it was answered */
}

/* --- Put Blob From URL ----------------------------------------------------------------------- */

int op_put_blob_from_url(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(copy_clear) struct copy_request r = {0};
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = {0};
	ADAFS_CLEANUP(blob_headers_clear) struct blob_headers headers = {0};
	const char *type = call_header(c, "x-ms-blob-type");
	const char *keep = call_header(c, "x-ms-copy-source-blob-properties");
	if (!type || strcmp(type, "BlockBlob") != 0)
		return BE_NOT_IMPLEMENTED;
	int rc = write_guard_init(&r.guard, c, true);
	if (rc == 0)
		rc = blob_parse_headers(c, &headers);
	if (rc == 0)
		rc = blob_parse_metadata(c, &r.metadata, &r.any_metadata);
	if (rc == 0)
		rc = blob_parse_tier(c, &r.tier);
	if (rc == 0)
		rc = no_tags(c);
	if (rc == 0 && call_header(c, "x-ms-source-content-md5"))
		rc = BE_NOT_IMPLEMENTED;
	r.source.max = MAX_PUT_FROM_URL;
	if (rc == 0)
		rc = source_parse(c, &r.source, false);
	if (rc == 0 && !headers.content_type &&
	    !(headers.content_type = strdup("application/octet-stream")))
		rc = -ENOMEM;
	/* By default the source's properties come along; its metadata too unless some was given. */
	bool keep_headers = !keep || strcasecmp(keep, "true") == 0;
	struct blob_write bw = {.container = c->container,
				.name = c->name,
				.metadata = r.metadata,
				.headers = &headers,
				.tier = r.tier,
				.guard = write_guard_check,
				.guard_arg = &r.guard};
	struct blob_copy copy = {.keep_headers = keep_headers, .keep_metadata = !r.any_metadata};
	if (rc == 0)
		rc = copy_blob(c, &bw, &r.source, &copy, &b);
	if (rc != 0)
		return rc;
	resp->status = 201;
	http_resp_header(resp, "x-ms-request-server-encrypted", "true");
	answer_stamp(resp, b.stamp);
	return b.headers.md5 ? http_resp_header(resp, "Content-MD5", b.headers.md5) : 0;
}

/* --- Put Block From URL ---------------------------------------------------------------------- */

static int block_source(struct blob_call *c, const struct source *s, struct blob_info *ret,
			struct blob_range *ret_range)
{
	int rc = store_blob_get(c->service->store, s->container, s->name, s->snapshot, ret);
	if (rc == 0)
		rc = source_guard((void *)s, ret);
	if (rc == 0)
		rc = blob_parse_range(call_header(c, "x-ms-source-range"), ret->size, ret_range);
	if (rc == 0 && ret_range->len == 0)
		rc = BE_INVALID_RANGE;
	return rc == 0 && ret_range->len > MAX_BLOCK_FROM_URL ? BE_REQUEST_BODY_TOO_LARGE : rc;
}

#define CHUNK (256 * 1024)

static int digest_piece(struct blob_call *c, const struct blob_piece *p, char *chunk)
{
	for (uint64_t done = 0; done < p->len;) {
		size_t n = p->len - done < CHUNK ? (size_t)(p->len - done) : CHUNK;
		int rc = adafs_pread_all(p->fd, chunk, n, (off_t)(p->off + done));
		if (rc < 0)
			return rc;
		c->crc64 = adafs_crc64(c->crc64, chunk, n);
		adafs_digest_update(c->md5, chunk, n);
		done += n;
	}
	return 0;
}

/* Read the range once, for the checksum of the answer and the one that the client may demand. */
static int source_digests(struct blob_call *c, const struct blob_info *b,
			  const struct blob_range *r)
{
	ADAFS_CLEANUP(blob_pieces_clear) struct blob_pieces p = {0};
	ADAFS_FREE char *chunk = malloc(CHUNK);
	c->md5 = adafs_digest_new(ADAFS_DIGEST_MD5);
	if (!chunk || !c->md5)
		return -ENOMEM;
	int rc = store_content_open(c->service->store, b->content, r->off, r->len, &p);
	for (size_t i = 0; rc == 0 && i < p.n; i++)
		rc = digest_piece(c, &p.v[i], chunk);
	if (rc < 0)
		return rc == -ESTALE ? BE_BLOB_NOT_FOUND : rc;
	adafs_digest_final(c->md5, c->md5_value);
	const char *want = call_header(c, "x-ms-source-content-md5");
	ADAFS_FREE char *have = adafs_base64_encode(c->md5_value, ADAFS_MD5_LEN);
	if (!have)
		return -ENOMEM;
	return want && strcmp(want, have) != 0 ? BE_MD5_MISMATCH : 0;
}

int op_put_block_from_url(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(source_clear) struct source s = {0};
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = {0};
	struct blob_range r;
	int rc = call_check_block_id(c);
	if (rc == 0)
		rc = source_parse(c, &s, false);
	if (rc == 0)
		rc = block_source(c, &s, &b, &r);
	if (rc == 0)
		rc = source_digests(c, &b, &r);
	if (rc == 0)
		rc = store_block_from_blob(c->service->store, c->container, c->name,
					   call_param(c, "blockid"), &b, r.off, r.len);
	if (rc != 0)
		return rc;
	resp->status = 201;
	http_resp_header(resp, "x-ms-request-server-encrypted", "true");
	char text[16];
	adafs_crc64_text(c->crc64, text);
	http_resp_header(resp, "x-ms-content-crc64", text);
	return 0;
}
