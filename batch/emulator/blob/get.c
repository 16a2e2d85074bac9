/* Reading: Get Blob, Get Blob Properties, Get Blob Metadata. */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/codec.h"
#include "batch/base/file.h"

#define MAX_RANGE_DIGEST (4u << 20)
#define LOOKUPS 16 /* a blob that is replaced between look-up and open is looked up again */

static bool is_true(const char *text)
{
	return text && strcasecmp(text, "true") == 0;
}

/* A stored property, which a service SAS may override for this answer. */
static void add_property(struct blob_call *c, struct http_resp *resp, const char *name,
			 const char *stored, const char *override)
{
	const char *v = c->auth == AUTH_SERVICE_SAS ? call_param(c, override) : NULL;
	if (!v)
		v = stored;
	if (v && *v)
		http_resp_header(resp, name, v);
}

static void add_copy(struct http_resp *resp, const struct blob_info *b)
{
	if (!b->copy_id)
		return;
	char date[32];
	blob_date(b->copy_stamp, date);
	http_resp_header(resp, "x-ms-copy-id", b->copy_id);
	http_resp_header(resp, "x-ms-copy-source", b->copy_source ? b->copy_source : "");
	http_resp_header(resp, "x-ms-copy-status", "success");
	http_resp_headerf(resp, "x-ms-copy-progress", "%llu/%llu", (unsigned long long)b->size,
			  (unsigned long long)b->size);
	http_resp_header(resp, "x-ms-copy-completion-time", date);
}

static void add_tier(struct http_resp *resp, const struct blob_info *b)
{
	if (b->type != BLOB_BLOCK)
		return;
	http_resp_header(resp, "x-ms-access-tier", b->tier ? b->tier : "Hot");
	if (b->rehydrate) {
		http_resp_headerf(resp, "x-ms-archive-status", "rehydrate-pending-to-%s",
				  tier_word(b->rehydrate));
		http_resp_header(resp, "x-ms-rehydrate-priority",
				 b->rehydrate_high ? "High" : "Standard");
	}
	if (!b->tier) {
		http_resp_header(resp, "x-ms-access-tier-inferred", "true");
		return;
	}
	char date[32];
	blob_date(b->tier_stamp, date);
	http_resp_header(resp, "x-ms-access-tier-change-time", date);
}

static void add_properties(struct blob_call *c, struct http_resp *resp, const struct blob_info *b)
{
	char created[32];
	blob_date(b->created, created);
	answer_stamp(resp, b->stamp);
	http_resp_header(resp, "x-ms-creation-time", created);
	http_resp_header(resp, "Accept-Ranges", "bytes");
	http_resp_header(resp, "x-ms-blob-type",
			 b->type == BLOB_APPEND ? "AppendBlob" : "BlockBlob");
	if (b->type == BLOB_APPEND)
		http_resp_headerf(resp, "x-ms-blob-committed-block-count", "%u", b->n_appended);
	if (b->sealed)
		http_resp_header(resp, "x-ms-blob-sealed", "true");
	if (b->snapshot == BLOB_SNAPSHOT_NONE)
		answer_lease(resp, &b->lease);
	if (b->tags)
		http_resp_headerf(resp, "x-ms-tag-count", "%u", tags_count(b->tags));
	http_resp_header(resp, "x-ms-server-encrypted", "true");
	add_property(c, resp, "Content-Type", b->headers.content_type, "rsct");
	add_property(c, resp, "Content-Encoding", b->headers.encoding, "rsce");
	add_property(c, resp, "Content-Language", b->headers.language, "rscl");
	add_property(c, resp, "Cache-Control", b->headers.cache_control, "rscc");
	add_property(c, resp, "Content-Disposition", b->headers.disposition, "rscd");
	add_copy(resp, b);
	answer_metadata(resp, b->metadata);
}

/* The blob as the conditions allow to read it. On 304 the answer carries its ETag. */
static int read_blob(struct blob_call *c, struct http_resp *resp, struct blob_info *ret)
{
	struct blob_conditions k;
	int rc = conditions_parse(c, "", &k);
	if (rc == 0)
		rc = store_blob_get(c->service->store, c->container, c->name, c->snapshot, ret);
	if (rc != 0)
		return rc;
	rc = conditions_check_read(&k, ret->stamp);
	if (rc == BE_NOT_MODIFIED)
		answer_stamp(resp, ret->stamp);
	if (rc == 0)
		rc = conditions_check_tags(&k, ret->tags);
	return rc == 0 ? lease_check_read(c, &ret->lease) : rc;
}

/* --- Get Blob -------------------------------------------------------------------------------- */

static int range_digest(struct blob_call *c, struct http_resp *resp, const struct blob_pieces *p,
			uint64_t len)
{
	bool md5 = is_true(call_header(c, "x-ms-range-get-content-md5"));
	bool crc = is_true(call_header(c, "x-ms-range-get-content-crc64"));
	if (!md5 && !crc)
		return 0;
	ADAFS_FREE char *data = malloc(len ? len : 1);
	if (!data)
		return -ENOMEM;
	size_t have = 0;
	for (size_t i = 0; i < p->n; i++) {
		int rc = adafs_pread_all(p->v[i].fd, data + have, p->v[i].len, (off_t)p->v[i].off);
		if (rc < 0)
			return rc;
		have += p->v[i].len;
	}
	int rc = store_content_check(c->service->store, p, data);
	if (rc < 0)
		return rc;
	if (crc) {
		char text[16];
		adafs_crc64_text(adafs_crc64(0, data, have), text);
		return http_resp_header(resp, "x-ms-content-crc64", text);
	}
	uint8_t value[ADAFS_MD5_LEN];
	adafs_md5(data, have, value);
	ADAFS_FREE char *text = adafs_base64_encode(value, sizeof(value));
	return text ? http_resp_header(resp, "Content-MD5", text) : -ENOMEM;
}

static int check_range_digest(struct blob_call *c, const struct blob_range *r)
{
	bool md5 = is_true(call_header(c, "x-ms-range-get-content-md5"));
	bool crc = is_true(call_header(c, "x-ms-range-get-content-crc64"));
	const char *name = md5 ? "x-ms-range-get-content-md5" : "x-ms-range-get-content-crc64";
	if ((md5 && crc) || ((md5 || crc) && (!r->given || r->len > MAX_RANGE_DIGEST)))
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, name);
	return 0;
}

static const char *range_header(const struct blob_call *c)
{
	const char *v = call_header(c, "x-ms-range");
	return v ? v : call_header(c, "Range");
}

static int find_range(struct blob_call *c, struct http_resp *resp, const struct blob_info *b,
		      struct blob_range *ret)
{
	int rc = blob_parse_range(range_header(c), b->size, ret);
	if (rc == BE_INVALID_RANGE)
		http_resp_headerf(resp, "Content-Range", "bytes */%llu",
				  (unsigned long long)b->size);
	return rc == 0 ? check_range_digest(c, ret) : rc;
}

static int answer_range(struct http_resp *resp, const struct blob_info *b,
			const struct blob_range *r)
{
	resp->status = r->given ? 206 : 200;
	if (b->headers.md5)
		http_resp_header(resp, r->given ? "x-ms-blob-content-md5" : "Content-MD5",
				 b->headers.md5);
	if (!r->given)
		return 0;
	return http_resp_headerf(
		resp, "Content-Range", "bytes %llu-%llu/%llu", (unsigned long long)r->off,
		(unsigned long long)(r->off + r->len - 1), (unsigned long long)b->size);
}

/* Hand the open pieces to the response. */
static int answer_pieces(struct http_resp *resp, struct blob_pieces *p)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < p->n; i++)
		rc = http_resp_add_file(resp, p->v[i].fd, false, p->v[i].off, p->v[i].len);
	if (rc < 0)
		return rc;
	resp->fds = ADAFS_STEAL(p->fds);
	resp->n_fds = p->n_fds;
	p->n_fds = 0;
	return 0;
}

/* One try: -ESTALE when the blob was replaced meanwhile. */
static int try_get(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	ADAFS_CLEANUP(blob_pieces_clear) struct blob_pieces p = { 0 };
	struct blob_range r;
	int rc = read_blob(c, resp, &b);
	if (rc == 0 && b.tier && strcmp(b.tier, "Archive") == 0)
		rc = BE_BLOB_ARCHIVED;
	if (rc == 0)
		rc = find_range(c, resp, &b, &r);
	if (rc == 0)
		rc = store_content_open(c->service->store, b.content, r.off, r.len, &p);
	if (rc != 0)
		return rc;
	add_properties(c, resp, &b);
	rc = answer_range(resp, &b, &r);
	if (rc == 0)
		rc = range_digest(c, resp, &p, r.len);
	return rc == 0 ? answer_pieces(resp, &p) : rc;
}

int op_get_blob(struct blob_call *c, struct http_resp *resp)
{
	int rc = -ESTALE;
	for (int i = 0; rc == -ESTALE && i < LOOKUPS; i++) {
		http_resp_reset(resp);
		rc = try_get(c, resp);
	}
	return rc;
}

int op_head_blob(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	int rc = read_blob(c, resp, &b);
	if (rc != 0)
		return rc;
	resp->status = 200;
	resp->head_length = b.size;
	add_properties(c, resp, &b);
	add_tier(resp, &b);
	return b.headers.md5 ? http_resp_header(resp, "Content-MD5", b.headers.md5) : 0;
}

int op_get_blob_metadata(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	int rc = read_blob(c, resp, &b);
	if (rc != 0)
		return rc;
	resp->status = 200;
	answer_stamp(resp, b.stamp);
	answer_metadata(resp, b.metadata);
	return 0;
}
