/* Writing bytes: Put Blob, Put Block, Put Block List, and Get Block List. Bodies go straight to
 * disk. */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/codec.h"

#define MAX_PUT_BLOB (5000LL << 20)
#define MAX_BLOCK (4000LL << 20)
#define MAX_BLOCKS 50000
#define MAX_LIST_BODY (16LL << 20)
#define MAX_BLOCK_ID 64

static void answer_created(struct http_resp *resp)
{
	resp->status = 201;
	http_resp_header(resp, "x-ms-request-server-encrypted", "true");
}

/* What the common headers of Put Blob and Put Block List say. Clear with put_clear. */
struct put {
	struct blob_headers headers;
	char *metadata, *tags;
	struct write_guard guard;
	struct blob_write write;
};

static void put_clear(struct put *p)
{
	blob_headers_clear(&p->headers);
	free(p->metadata);
	free(p->tags);
}

static int put_parse(struct blob_call *c, struct put *p)
{
	bool any;
	const char *tier = NULL;
	int rc = write_guard_init(&p->guard, c, true);
	p->guard.has_type = true;
	if (rc == 0)
		rc = blob_parse_headers(c, &p->headers);
	if (rc == 0)
		rc = blob_parse_metadata(c, &p->metadata, &any);
	if (rc == 0)
		rc = blob_parse_tier(c, &tier);
	if (rc == 0)
		rc = tags_parse_header(c, &p->tags);
	if (rc != 0)
		return rc;
	p->write = (struct blob_write){ .container = c->container,
					.name = c->name,
					.headers = &p->headers,
					.metadata = p->metadata,
					.tier = tier,
					.tags = p->tags,
					.guard = write_guard_check,
					.guard_arg = &p->guard };
	return 0;
}

static int default_content_type(const struct blob_call *c, struct blob_headers *h,
				bool use_transport)
{
	if (h->content_type)
		return 0;
	const char *v = use_transport ? call_header(c, "Content-Type") : NULL;
	h->content_type = strdup(v ? v : "application/octet-stream");
	return h->content_type ? 0 : -ENOMEM;
}

/* --- Put Blob -------------------------------------------------------------------------------- */

static int check_container(struct blob_call *c)
{
	ADAFS_CLEANUP(container_info_clear) struct container_info info = { 0 };
	return store_container_get(c->service->store, c->container, false, &info);
}

static bool is_append(const struct blob_call *c)
{
	const char *type = call_header(c, "x-ms-blob-type");
	return type && strcmp(type, "AppendBlob") == 0;
}

int begin_put_blob(struct blob_call *c)
{
	uint64_t len;
	const char *type = call_header(c, "x-ms-blob-type");
	if (!type)
		return call_bad_header(c, BE_MISSING_REQUIRED_HEADER, "x-ms-blob-type");
	if (strcmp(type, "PageBlob") == 0) /* there are none here, and no client needs them */
		return call_bad_header(c, BE_UNSUPPORTED_HEADER, "x-ms-blob-type");
	if (strcmp(type, "BlockBlob") != 0 && !is_append(c))
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-blob-type");
	/* An append blob begins empty and has no tier. */
	if (is_append(c) && c->req->content_length)
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "Content-Length");
	if (is_append(c) && call_header(c, "x-ms-access-tier"))
		return BE_INVALID_BLOB_TIER;
	/* All that can be refused is refused before the bytes are stored. */
	ADAFS_CLEANUP(put_clear) struct put p = { 0 };
	int rc = body_length(c, MAX_PUT_BLOB, &len);
	if (rc == 0)
		rc = put_parse(c, &p);
	if (rc == 0)
		rc = check_container(c);
	if (rc == 0)
		rc = body_start(c, true);
	return rc == 0 ? store_writer_open(c->service->store, &c->writer) : rc;
}

static int add_to_blob(struct blob_call *c, const void *data, size_t len)
{
	return store_writer_add(&c->writer, data, len);
}

int piece_put_blob(struct blob_call *c, const void *data, size_t len)
{
	return body_feed(c, data, len, add_to_blob);
}

int op_put_blob(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(put_clear) struct put p = { 0 };
	blob_stamp stamp;
	int rc = body_finish(c);
	if (rc == 0)
		rc = put_parse(c, &p);
	if (rc == 0)
		rc = default_content_type(c, &p.headers, true);
	if (is_append(c))
		p.write.type = p.guard.type = BLOB_APPEND;
	else if (rc == 0 && !p.headers.md5 &&
		 !(p.headers.md5 = adafs_base64_encode(c->md5_value, ADAFS_MD5_LEN)))
		rc = -ENOMEM;
	if (rc == 0)
		rc = store_blob_put(c->service->store, &p.write, &c->writer, &stamp);
	if (rc != 0)
		return rc;
	answer_created(resp);
	answer_stamp(resp, stamp);
	if (p.write.type == BLOB_APPEND) /* there are no bytes yet */
		return 0;
	answer_wrapping(c, resp);
	answer_crc64(c, resp);
	return answer_md5(c, resp);
}

/* --- Put Block ------------------------------------------------------------------------------- */

int call_check_block_id(struct blob_call *c)
{
	const char *id = call_param(c, "blockid");
	if (!id)
		return call_bad_param(c, BE_MISSING_REQUIRED_QUERY_PARAMETER, "blockid", NULL);
	ADAFS_FREE uint8_t *data = NULL;
	size_t len = 0;
	int rc = adafs_base64_decode(id, strlen(id), &data, &len);
	if (rc == -ENOMEM)
		return rc;
	if (rc < 0)
		return call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, "blockid",
				      "Not a valid base64 string.");
	return len > MAX_BLOCK_ID ? call_bad_param(c, BE_OUT_OF_RANGE_INPUT, "blockid", NULL) : 0;
}

int call_check_block_target(struct blob_call *c)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	int rc = conditions_refuse(c);
	if (rc != 0)
		return rc;
	rc = store_blob_get(c->service->store, c->container, c->name, BLOB_SNAPSHOT_NONE, &b);
	if (rc == BE_BLOB_NOT_FOUND)
		return lease_check_write(c, NULL);
	if (rc == 0 && b.type != BLOB_BLOCK)
		rc = BE_INVALID_BLOB_TYPE;
	return rc == 0 ? lease_check_write(c, &b.lease) : rc;
}

int begin_put_block(struct blob_call *c)
{
	uint64_t len;
	int rc = call_check_block_id(c);
	if (rc == 0)
		rc = body_length(c, MAX_BLOCK, &len);
	if (rc == 0 && !len)
		rc = call_bad_header(c, BE_INVALID_HEADER_VALUE, "Content-Length");
	if (rc == 0)
		rc = call_check_block_target(c);
	if (rc == 0)
		rc = body_start(c, call_header(c, "Content-MD5") != NULL);
	if (rc != 0)
		return rc;
	return store_block_open(c->service->store, c->container, c->name, call_param(c, "blockid"),
				len, &c->block);
}

static int add_to_block(struct blob_call *c, const void *data, size_t len)
{
	return store_block_add(&c->block, data, len);
}

int piece_put_block(struct blob_call *c, const void *data, size_t len)
{
	return body_feed(c, data, len, add_to_block);
}

int op_put_block(struct blob_call *c, struct http_resp *resp)
{
	int rc = body_finish(c);
	if (rc == 0)
		rc = store_block_stage(&c->block, c->container, c->name, call_param(c, "blockid"));
	if (rc != 0)
		return rc;
	answer_created(resp);
	return answer_digests(c, resp);
}

/* --- Put Block List -------------------------------------------------------------------------- */

/* The list while its XML arrives. */
struct block_list {
	struct adafs_xml_parser *parser;
	struct block_ref *v;
	size_t n, size;
	bool root_seen;
};

void block_list_free(struct block_list *l)
{
	if (!l)
		return;
	adafs_xml_parser_free(l->parser);
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].id);
	free(l->v);
	free(l);
}

static int list_start(void *arg, const char *path, const char **attrs)
{
	struct block_list *l = arg;
	(void)attrs;
	if (strcmp(path, "BlockList") == 0)
		l->root_seen = true;
	return 0;
}

static int list_add(struct block_list *l, struct block_ref b)
{
	if (l->n == MAX_BLOCKS)
		return -E2BIG;
	if (l->n == l->size) {
		size_t size = l->size ? 2 * l->size : 64;
		struct block_ref *grown = reallocarray(l->v, size, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		l->v = grown;
		l->size = size;
	}
	l->v[l->n++] = b;
	return 0;
}

static int list_end(void *arg, const char *path, const char *text, size_t len)
{
	static const char *const names[] = { [BLOCK_LATEST] = "BlockList/Latest",
					     [BLOCK_COMMITTED] = "BlockList/Committed",
					     [BLOCK_UNCOMMITTED] = "BlockList/Uncommitted" };
	if (strcmp(path, "BlockList") == 0)
		return 0;
	while (len && strchr(" \t\r\n", text[len - 1]))
		len--;
	while (len && strchr(" \t\r\n", *text)) {
		text++;
		len--;
	}
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++) {
		if (strcmp(path, names[i]) != 0)
			continue;
		struct block_ref b = { .from = (int)i, .id = strndup(text, len) };
		int rc = b.id ? list_add(arg, b) : -ENOMEM;
		if (rc < 0)
			free(b.id);
		return rc;
	}
	return -EINVAL;
}

int begin_put_block_list(struct blob_call *c)
{
	uint64_t len;
	ADAFS_CLEANUP(put_clear) struct put p = { 0 };
	int rc = body_length(c, MAX_LIST_BODY, &len);
	if (rc == 0)
		rc = put_parse(c, &p);
	if (rc == 0)
		rc = body_start(c, true);
	if (rc != 0)
		return rc;
	c->list = calloc(1, sizeof(*c->list));
	if (!c->list)
		return -ENOMEM;
	struct adafs_xml_handler h = { .start = list_start, .end = list_end, .arg = c->list };
	c->list->parser = adafs_xml_parser_new(&h);
	return c->list->parser ? 0 : -ENOMEM;
}

static int list_error(int rc)
{
	return rc == -E2BIG ? BE_BLOCK_LIST_TOO_LONG : rc == -EINVAL ? BE_INVALID_XML_DOCUMENT : rc;
}

static int add_to_list(struct blob_call *c, const void *data, size_t len)
{
	return list_error(adafs_xml_feed(c->list->parser, data, len, 0, NULL));
}

int piece_put_block_list(struct blob_call *c, const void *data, size_t len)
{
	return body_feed(c, data, len, add_to_list);
}

int op_put_block_list(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(put_clear) struct put p = { 0 };
	blob_stamp stamp;
	int rc = body_finish(c);
	if (rc == 0)
		rc = list_error(adafs_xml_feed(c->list->parser, "", 0, 1, NULL));
	if (rc == 0 && !c->list->root_seen)
		rc = BE_INVALID_XML_DOCUMENT;
	if (rc == 0)
		rc = put_parse(c, &p);
	/* The Content-Type of the request is that of the XML, never that of the blob. */
	if (rc == 0)
		rc = default_content_type(c, &p.headers, false);
	if (rc == 0)
		rc = store_blob_commit(c->service->store, &p.write, c->list->v, c->list->n, &stamp);
	if (rc != 0)
		return rc;
	answer_created(resp);
	answer_stamp(resp, stamp);
	answer_crc64(c, resp);
	return answer_md5(c, resp);
}

/* --- Get Block List -------------------------------------------------------------------------- */

struct lists {
	struct adafs_buf committed, staged;
};

static int add_block(struct adafs_buf *b, const char *id, uint64_t len)
{
	return adafs_buf_addf(b, "<Block><Name>%s</Name><Size>%llu</Size></Block>", id,
			      (unsigned long long)len);
}

static int add_committed(void *arg, const char *id, uint64_t len)
{
	return add_block(&((struct lists *)arg)->committed, id, len);
}

static int add_staged(void *arg, const char *id, uint64_t len)
{
	return add_block(&((struct lists *)arg)->staged, id, len);
}

static int answer_lists(struct http_resp *resp, const struct lists *l, bool committed, bool staged)
{
	int rc = answer_xml(resp, 200);
	if (rc == 0)
		rc = adafs_buf_adds(&resp->body, "<BlockList>");
	if (rc == 0 && committed)
		rc = adafs_buf_addf(&resp->body, "<CommittedBlocks>%s</CommittedBlocks>",
				    adafs_buf_str(&l->committed));
	if (rc == 0 && staged)
		rc = adafs_buf_addf(&resp->body, "<UncommittedBlocks>%s</UncommittedBlocks>",
				    adafs_buf_str(&l->staged));
	return rc == 0 ? adafs_buf_adds(&resp->body, "</BlockList>") : rc;
}

int op_get_block_list(struct blob_call *c, struct http_resp *resp)
{
	const char *type = call_param(c, "blocklisttype");
	bool all = type && strcasecmp(type, "all") == 0;
	bool committed = !type || all || strcasecmp(type, "committed") == 0;
	bool staged = all || (type && strcasecmp(type, "uncommitted") == 0);
	if (!committed && !staged)
		return call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, "blocklisttype", NULL);
	struct lists l = { .committed = ADAFS_BUF_INIT(16u << 20),
			   .staged = ADAFS_BUF_INIT(32u << 20) };
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	int rc = store_block_list(c->service->store, c->container, c->name, c->snapshot, &b,
				  committed ? add_committed : NULL, staged ? add_staged : NULL, &l);
	if (rc == 0 && b.type != BLOB_BLOCK)
		rc = BE_INVALID_BLOB_TYPE;
	if (rc == 0)
		rc = lease_check_read(c, &b.lease);
	if (rc == 0)
		rc = answer_lists(resp, &l, committed, staged);
	adafs_buf_clear(&l.committed);
	adafs_buf_clear(&l.staged);
	if (rc != 0)
		return rc;
	if (b.id)
		answer_stamp(resp, b.stamp);
	return http_resp_headerf(resp, "x-ms-blob-content-length", "%llu",
				 (unsigned long long)b.size);
}
