/* Bodies of bytes: their length, their checksums, and the wrapping that they may come in. */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/codec.h"

#define WRAPPING "XSM/1.0; properties=crc64"

int body_too_large(struct blob_call *c, long long max)
{
	call_detail(c, "MaxLimit", "%lld", max);
	return BE_REQUEST_BODY_TOO_LARGE;
}

int body_length(struct blob_call *c, long long max, uint64_t *ret_len)
{
	const char *wrapping = call_header(c, "x-ms-structured-body");
	uint64_t len = (uint64_t)c->req->content_length;
	if (wrapping) {
		const char *text = call_header(c, "x-ms-structured-content-length");
		char *end;
		if (strcasecmp(wrapping, WRAPPING) != 0)
			return call_bad_header(c, BE_UNSUPPORTED_HEADER, "x-ms-structured-body");
		if (!text)
			return call_bad_header(c, BE_MISSING_REQUIRED_HEADER,
					       "x-ms-structured-content-length");
		errno = 0;
		len = strtoull(text, &end, 10);
		if (*end || errno || *text == '-' || len > (uint64_t)c->req->content_length)
			return call_bad_header(c, BE_INVALID_HEADER_VALUE,
					       "x-ms-structured-content-length");
	}
	if (len > (uint64_t)max)
		return body_too_large(c, max);
	c->content_length = len;
	*ret_len = len;
	return 0;
}

int body_start(struct blob_call *c, bool md5)
{
	if (md5 && !(c->md5 = adafs_digest_new(ADAFS_DIGEST_MD5)))
		return -ENOMEM;
	if (!call_header(c, "x-ms-structured-body"))
		return 0;
	c->structured = structured_new((uint64_t)c->req->content_length, c->content_length);
	return c->structured ? 0 : -ENOMEM;
}

struct body_sink {
	struct blob_call *call;
	int (*add)(struct blob_call *c, const void *data, size_t len);
};

static int take(void *arg, const void *data, size_t len)
{
	const struct body_sink *s = arg;
	s->call->crc64 = adafs_crc64(s->call->crc64, data, len);
	if (s->call->md5)
		adafs_digest_update(s->call->md5, data, len);
	return s->add(s->call, data, len);
}

int body_feed(struct blob_call *c, const void *data, size_t len,
	      int (*add)(struct blob_call *c, const void *data, size_t len))
{
	struct body_sink sink = { c, add };
	return c->structured ? structured_feed(c->structured, data, len, take, &sink)
			     : take(&sink, data, len);
}

int body_finish(struct blob_call *c)
{
	int rc = c->structured ? structured_finish(c->structured) : 0;
	return rc == 0 ? blob_check_digests(c) : rc;
}

/* --- answers --------------------------------------------------------------------------------- */

int answer_md5(const struct blob_call *c, struct http_resp *resp)
{
	ADAFS_FREE char *text = adafs_base64_encode(c->md5_value, ADAFS_MD5_LEN);
	return text ? http_resp_header(resp, "Content-MD5", text) : -ENOMEM;
}

void answer_crc64(const struct blob_call *c, struct http_resp *resp)
{
	char text[16];
	adafs_crc64_text(c->crc64, text);
	http_resp_header(resp, "x-ms-content-crc64", text);
}

void answer_wrapping(const struct blob_call *c, struct http_resp *resp)
{
	if (c->structured)
		http_resp_header(resp, "x-ms-structured-body", WRAPPING);
}

int answer_digests(const struct blob_call *c, struct http_resp *resp)
{
	answer_wrapping(c, resp);
	if (c->md5)
		return answer_md5(c, resp);
	answer_crc64(c, resp);
	return 0;
}
