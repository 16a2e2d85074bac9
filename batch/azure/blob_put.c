/* Writing blobs: whole, in blocks, metadata, snapshots, deletes. */
#include "batch/azure/blob_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/codec.h"
#include "batch/base/digest.h"
#include "batch/base/file.h"
#include "batch/base/random.h"
#include "batch/base/xml.h"

#define CRC_CHUNK (256u * 1024)
#define MAX_BLOCKS 50000
#define MAX_BLOCK_LIST (16u * 1024 * 1024)
#define UPLOAD_SINGLE_MAX (64ll * 1024 * 1024)
#define UPLOAD_BLOCK (16ll * 1024 * 1024)

static int source_crc(const struct adafs_blob_source *src, uint64_t *ret_crc)
{
	uint64_t crc = src->crc_len ? src->crc : 0;
	size_t at = src->crc_len;
	if (src->data || at == src->len) {
		const char *rest = src->data ? (const char *)src->data + at : "";
		*ret_crc = adafs_crc64(crc, rest, src->len - at);
		return 0;
	}
	ADAFS_FREE char *chunk = malloc(CRC_CHUNK);
	if (!chunk)
		return -ENOMEM;
	while (at < src->len) {
		size_t n = src->len - at < CRC_CHUNK ? src->len - at : CRC_CHUNK;
		int rc = adafs_pread_all(src->fd, chunk, n, src->off + (off_t)at);
		if (rc < 0)
			return rc;
		crc = adafs_crc64(crc, chunk, n);
		at += n;
	}
	*ret_crc = crc;
	return 0;
}

/* Give rq its body and the checksum of it. */
static int set_body(struct adafs_http_request *rq, const struct adafs_blob_source *src)
{
	uint64_t crc;
	char text[16];
	int rc = source_crc(src, &crc);
	if (rc < 0)
		return rc;
	adafs_crc64_text(crc, text);
	rc = blob_header(rq, "x-ms-content-crc64", text);
	if (rc < 0)
		return rc;
	rq->body = src->data;
	rq->body_fd = src->data || !src->len ? -1 : src->fd;
	rq->body_off = src->off;
	rq->body_len = src->len;
	return 0;
}

static int set_put_headers(struct adafs_http_request *rq, const struct adafs_blob_put *put)
{
	static const struct adafs_blob_put plain = { 0 };
	if (!put)
		put = &plain;
	int rc = blob_header(rq, "x-ms-blob-content-type",
			     put->content_type ? put->content_type : "application/octet-stream");
	if (rc == 0 && put->md5) {
		ADAFS_FREE char *md5 = adafs_base64_encode(put->md5, ADAFS_MD5_LEN);
		rc = md5 ? blob_header(rq, "x-ms-blob-content-md5", md5) : -ENOMEM;
	}
	if (rc == 0)
		rc = blob_header_meta(rq, put->meta);
	return rc < 0 ? rc : blob_header_cond(rq, &put->cond);
}

/* Send, and take the ETag of the reply. */
static int perform_for_etag(const struct blob_target *t, struct adafs_http_request *rq,
			    char ret_etag[ADAFS_ETAG_LEN], struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_http_response_clear) struct adafs_http_response response = { 0 };
	int rc = adafs_http_perform(t->http, rq, &response, reterr);
	if (rc == 0 && ret_etag)
		blob_etag_copy(ret_etag, adafs_http_headers_get(&response.headers, "ETag"));
	return rc;
}

static int put_request(const struct blob_target *t, const struct adafs_blob_source *src,
		       const struct adafs_blob_put *put, struct adafs_http_request **ret,
		       struct adafs_err *reterr)
{
	struct adafs_http_request *rq = blob_request(t, "PUT", "Put Blob", NULL);
	int rc = blob_header(rq, "x-ms-blob-type", "BlockBlob");
	if (rq)
		rq->want_status = 201;
	if (rc == 0)
		rc = set_put_headers(rq, put);
	if (rc == 0)
		rc = set_body(rq, src);
	if (rc < 0)
		return blob_request_drop(rq, rc, reterr);
	*ret = rq;
	return 0;
}

int blob_put_to(const struct blob_target *t, const struct adafs_blob_source *src,
		const struct adafs_blob_put *put, char ret_etag[ADAFS_ETAG_LEN],
		struct adafs_err *reterr)
{
	struct adafs_http_request *rq;
	int rc = put_request(t, src, put, &rq, reterr);
	return rc < 0 ? rc : perform_for_etag(t, rq, ret_etag, reterr);
}

void adafs_blob_put_start(struct adafs_blob_client *c, const char *container, const char *name,
			  const struct adafs_blob_source *src, const struct adafs_blob_put *put,
			  adafs_http_done *done, void *arg)
{
	const struct blob_target t = blob_target_of(c, container, name);
	struct adafs_http_response none = { 0 };
	struct adafs_http_request *rq;
	struct adafs_err err = { 0 };
	if (put_request(&t, src, put, &rq, &err) == 0)
		adafs_http_send(t.http, rq, done, arg);
	else
		done(arg, &none, &err);
}

void adafs_blob_etag(const struct adafs_http_response *response, char ret_etag[ADAFS_ETAG_LEN])
{
	blob_etag_copy(ret_etag, adafs_http_headers_get(&response->headers, "ETag"));
}

int adafs_blob_put(struct adafs_blob_client *c, const char *container, const char *name,
		   const struct adafs_blob_source *src, const struct adafs_blob_put *put,
		   char ret_etag[ADAFS_ETAG_LEN], struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_of(c, container, name);
	return blob_put_to(&t, src, put, ret_etag, reterr);
}

/* NULL: reterr says why. */
static struct adafs_http_request *block_request(const struct blob_target *t, const char *block_id,
						const struct adafs_blob_source *src,
						struct adafs_err *reterr)
{
	ADAFS_FREE char *id = adafs_base64_encode(block_id, strlen(block_id));
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf query = ADAFS_BUF_INIT(1024);
	int rc = id ? blob_query_add(&query, "comp", "block") : -ENOMEM;
	if (rc == 0)
		rc = blob_query_add(&query, "blockid", id);
	struct adafs_http_request *rq =
		rc == 0 ? blob_request(t, "PUT", "Put Block", query.data) : NULL;
	if (rq)
		rq->want_status = 201;
	if (rc == 0)
		rc = rq ? set_body(rq, src) : -ENOMEM;
	if (rc == 0)
		return rq;
	blob_request_drop(rq, rc, reterr);
	return NULL;
}

int blob_put_block_to(const struct blob_target *t, const char *block_id,
		      const struct adafs_blob_source *src, struct adafs_err *reterr)
{
	struct adafs_err err = { 0 };
	struct adafs_http_request *rq = block_request(t, block_id, src, &err);
	return rq ? adafs_http_perform(t->http, rq, NULL, reterr) : adafs_err_copy(reterr, &err);
}

int adafs_blob_put_block(struct adafs_blob_client *c, const char *container, const char *name,
			 const char *block_id, const struct adafs_blob_source *src,
			 struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_of(c, container, name);
	return blob_put_block_to(&t, block_id, src, reterr);
}

void adafs_blob_put_block_start(struct adafs_blob_client *c, const char *container,
				const char *name, const char *block_id,
				const struct adafs_blob_source *src, adafs_http_done *done,
				void *arg)
{
	const struct blob_target t = blob_target_of(c, container, name);
	struct adafs_http_response none = { 0 };
	struct adafs_err err = { 0 };
	struct adafs_http_request *rq = block_request(&t, block_id, src, &err);
	if (rq)
		adafs_http_send(t.http, rq, done, arg);
	else
		done(arg, &none, &err);
}

static int block_list_write(struct adafs_buf *b, const char *const *block_ids, size_t n)
{
	int rc = adafs_buf_adds(b, "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
	for (size_t i = 0; i < n && rc == 0; i++) {
		ADAFS_FREE char *id = adafs_base64_encode(block_ids[i], strlen(block_ids[i]));
		rc = id ? adafs_buf_addf(b, "<Latest>%s</Latest>", id) : -ENOMEM;
	}
	return rc < 0 ? rc : adafs_buf_adds(b, "</BlockList>");
}

int blob_put_block_list_to(const struct blob_target *t, const char *const *block_ids, size_t n,
			   const struct adafs_blob_put *put, char ret_etag[ADAFS_ETAG_LEN],
			   struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf body = ADAFS_BUF_INIT(MAX_BLOCK_LIST);
	struct adafs_http_request *rq = blob_request(t, "PUT", "Put Block List", "comp=blocklist");
	int rc = blob_header(rq, "Content-Type", "application/xml");
	if (rq)
		rq->want_status = 201;
	if (rc == 0)
		rc = block_list_write(&body, block_ids, n);
	if (rc == 0)
		rc = set_put_headers(rq, put);
	if (rc < 0)
		return blob_request_drop(rq, rc, reterr);
	rq->body = body.data;
	rq->body_len = body.len;
	return perform_for_etag(t, rq, ret_etag, reterr);
}

int adafs_blob_put_block_list(struct adafs_blob_client *c, const char *container, const char *name,
			      const char *const *block_ids, size_t n,
			      const struct adafs_blob_put *put, char ret_etag[ADAFS_ETAG_LEN],
			      struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_of(c, container, name);
	return blob_put_block_list_to(&t, block_ids, n, put, ret_etag, reterr);
}

int adafs_blob_set_meta(struct adafs_blob_client *c, const char *container, const char *name,
			const struct adafs_blob_meta *meta, const struct adafs_blob_cond *cond,
			char ret_etag[ADAFS_ETAG_LEN], struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_of(c, container, name);
	struct adafs_http_request *rq =
		blob_request(&t, "PUT", "Set Blob Metadata", "comp=metadata");
	int rc = blob_header_meta(rq, meta);
	if (rc == 0)
		rc = blob_header_cond(rq, cond);
	return rc < 0 ? blob_request_drop(rq, rc, reterr)
		      : perform_for_etag(&t, rq, ret_etag, reterr);
}

int adafs_blob_delete(struct adafs_blob_client *c, const char *container, const char *name,
		      bool with_snapshots, const struct adafs_blob_cond *cond,
		      struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_of(c, container, name);
	struct adafs_http_request *rq = blob_request(&t, "DELETE", "Delete Blob", NULL);
	int rc = blob_header(rq, "x-ms-delete-snapshots", with_snapshots ? "include" : NULL);
	if (rq)
		rq->want_status = 202;
	if (rc == 0)
		rc = blob_header_cond(rq, cond);
	if (rc < 0)
		return blob_request_drop(rq, rc, reterr);
	struct adafs_err err = { 0 };
	rc = adafs_http_perform(c->http, rq, NULL, &err);
	if (rc == -ENOENT && err.outcome_unknown) /* an earlier attempt did it */
		return 0;
	return adafs_err_copy(reterr, &err);
}

int adafs_blob_snapshot(struct adafs_blob_client *c, const char *container, const char *name,
			const char *if_match, char ret_snapshot[ADAFS_SNAPSHOT_LEN],
			struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_of(c, container, name);
	struct adafs_http_request *rq = blob_request(&t, "PUT", "Snapshot Blob", "comp=snapshot");
	int rc = rq ? blob_header_etag(rq, "If-Match", if_match) : -ENOMEM;
	if (rc < 0)
		return blob_request_drop(rq, rc, reterr);
	rq->want_status = 201;
	ADAFS_CLEANUP(adafs_http_response_clear) struct adafs_http_response response = { 0 };
	rc = adafs_http_perform(c->http, rq, &response, reterr);
	if (rc < 0)
		return rc;
	const char *snapshot = adafs_http_headers_get(&response.headers, "x-ms-snapshot");
	if (!snapshot || strlen(snapshot) >= ADAFS_SNAPSHOT_LEN)
		return adafs_err_set(reterr, -EPROTO,
				     "Snapshot Blob: a reply without x-ms-snapshot");
	memcpy(ret_snapshot, snapshot, strlen(snapshot) + 1);
	return 0;
}

/* --- by URL with a SAS ---------------------------------------------------------------------- */

#define BLOCK_ID_LEN 32

static int upload_blocks(const struct blob_target *t, int fd, int64_t size,
			 struct adafs_err *reterr)
{
	int64_t block = UPLOAD_BLOCK;
	while ((size + block - 1) / block > MAX_BLOCKS)
		block *= 2;
	size_t n = (size_t)((size + block - 1) / block);
	ADAFS_FREE char(*ids)[BLOCK_ID_LEN] = calloc(n, BLOCK_ID_LEN);
	ADAFS_FREE const char **list = calloc(n, sizeof(*list));
	if (!ids || !list)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	char upload[17]; /* ids of their own: two uploads to one name must not mix their blocks */
	adafs_random_hex(8, upload);
	for (size_t i = 0; i < n; i++) {
		int64_t off = (int64_t)i * block;
		struct adafs_blob_source src = { .fd = fd,
						 .off = off,
						 .len = (size_t)(size - off < block ? size - off
										    : block) };
		snprintf(ids[i], BLOCK_ID_LEN, "%s%08u", upload, (unsigned)i);
		list[i] = ids[i];
		int rc = blob_put_block_to(t, ids[i], &src, reterr);
		if (rc < 0)
			return rc;
	}
	return blob_put_block_list_to(t, list, n, NULL, NULL, reterr);
}

int adafs_blob_upload_url(struct adafs_http *http, const char *url_with_sas, int fd, int64_t size,
			  struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_url(http, url_with_sas);
	if (size > UPLOAD_SINGLE_MAX)
		return upload_blocks(&t, fd, size, reterr);
	const struct adafs_blob_source src = { .fd = fd, .len = (size_t)size };
	return blob_put_to(&t, &src, NULL, NULL, reterr);
}
