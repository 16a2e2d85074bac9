/* Append blobs: Append Block, Append Block From URL, Seal. Put Blob creates them. */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/codec.h"

#define MAX_APPEND (100LL << 20)
#define MAX_APPEND_BEFORE_2022 (4LL << 20)
#define MAX_APPENDED 50000

struct append {
	struct write_guard guard;
	bool has_position, has_max, seal;
	uint64_t position, max, len;
	uint64_t offset; /* where the block went */
};

static int take_size(struct blob_call *c, const char *name, bool *ret_has, uint64_t *ret)
{
	const char *v = call_header(c, name);
	char *end;
	if (!v)
		return 0;
	errno = 0;
	*ret = strtoull(v, &end, 10);
	*ret_has = true;
	return *end || errno || *v == '-' ? call_bad_header(c, BE_INVALID_HEADER_VALUE, name) : 0;
}

static int append_parse(struct blob_call *c, struct append *a)
{
	int rc = write_guard_init(&a->guard, c, false);
	if (rc == 0)
		rc = take_size(c, "x-ms-blob-condition-appendpos", &a->has_position, &a->position);
	if (rc == 0)
		rc = take_size(c, "x-ms-blob-condition-maxsize", &a->has_max, &a->max);
	return rc;
}

static int append_guard(void *arg, const struct blob_info *b)
{
	struct append *a = arg;
	if (b->type != BLOB_APPEND)
		return BE_INVALID_BLOB_TYPE;
	int rc = write_guard_check(&a->guard, b);
	if (rc != 0)
		return rc;
	if (a->has_position && a->position != b->size)
		return BE_APPEND_POSITION;
	if (a->seal)
		return 0;
	if (b->sealed)
		return BE_BLOB_IS_SEALED;
	if (a->has_max && b->size + a->len > a->max)
		return BE_MAX_SIZE;
	if (b->n_appended >= MAX_APPENDED)
		return BE_APPEND_COUNT;
	a->offset = b->size;
	return 0;
}

static long long max_append(const struct blob_call *c)
{
	return strcmp(c->version, "2022-11-02") >= 0 ? MAX_APPEND : MAX_APPEND_BEFORE_2022;
}

int begin_append_block(struct blob_call *c)
{
	struct append a = { 0 };
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	int rc = body_length(c, max_append(c), &a.len);
	if (rc == 0 && !a.len)
		rc = call_bad_header(c, BE_INVALID_HEADER_VALUE, "Content-Length");
	if (rc == 0)
		rc = append_parse(c, &a);
	/* What can be refused is refused before the bytes are stored. */
	if (rc == 0)
		rc = store_blob_get(c->service->store, c->container, c->name, BLOB_SNAPSHOT_NONE,
				    &b);
	if (rc == 0)
		rc = append_guard(&a, &b);
	if (rc == 0)
		rc = body_start(c, call_header(c, "Content-MD5") != NULL);
	return rc == 0 ? store_block_open(c->service->store, c->container, c->name, NULL, a.len,
					  &c->block)
		       : rc;
}

static int append(struct blob_call *c, struct http_resp *resp, uint64_t len)
{
	struct append a = { .len = len };
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	struct blob_append to = {
		.container = c->container, .name = c->name, .guard = append_guard, .guard_arg = &a
	};
	int rc = append_parse(c, &a);
	if (rc == 0)
		rc = store_blob_append(c->service->store, &to, &c->block, &b);
	if (rc != 0)
		return rc;
	resp->status = 201;
	http_resp_header(resp, "x-ms-request-server-encrypted", "true");
	answer_stamp(resp, b.stamp);
	http_resp_headerf(resp, "x-ms-blob-append-offset", "%llu", (unsigned long long)a.offset);
	http_resp_headerf(resp, "x-ms-blob-committed-block-count", "%u", b.n_appended);
	return answer_digests(c, resp);
}

int op_append_block(struct blob_call *c, struct http_resp *resp)
{
	int rc = body_finish(c);
	return rc == 0 ? append(c, resp, c->block.written) : rc;
}

int op_append_block_from_url(struct blob_call *c, struct http_resp *resp)
{
	int rc = source_to_block(c, max_append(c));
	return rc == 0 ? append(c, resp, c->block.written) : rc;
}

int op_seal(struct blob_call *c, struct http_resp *resp)
{
	struct append a = { .seal = true };
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	struct blob_append to = {
		.container = c->container, .name = c->name, .guard = append_guard, .guard_arg = &a
	};
	int rc = append_parse(c, &a);
	if (rc == 0)
		rc = store_blob_seal(c->service->store, &to, &b);
	if (rc != 0)
		return rc;
	resp->status = 200;
	answer_stamp(resp, b.stamp);
	return http_resp_header(resp, "x-ms-blob-sealed", "true");
}
