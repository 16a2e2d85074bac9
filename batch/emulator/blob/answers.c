/* What every answer is made of: errors, stamps, metadata. */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"

#define TICKS_1970                                                                     \
	621355968000000000LL /* of 100 ns since the year 1, the service's kind of ETag \
			      */

void blob_etag(blob_stamp stamp, char out[24])
{
	/* By hand, as it is made for every entry of a listing. */
	unsigned long long v = (unsigned long long)(stamp * 10 + TICKS_1970);
	int n = 1;
	for (unsigned long long rest = v >> 4; rest; rest >>= 4)
		n++;
	out[0] = '0';
	out[1] = 'x';
	out[2 + n] = 0;
	for (; n > 0; n--, v >>= 4)
		out[1 + n] = "0123456789ABCDEF"[v & 15];
}

void blob_date(blob_stamp stamp, char out[32])
{
	adafs_clock_rfc1123((time_t)(stamp / 1000000), out);
}

void blob_snapshot_text(blob_stamp snapshot, char out[32])
{
	adafs_clock_iso8601(snapshot, out);
}

const char *tier_word(const char *tier)
{
	return strcmp(tier, "Hot") == 0 ? "hot" : strcmp(tier, "Cool") == 0 ? "cool" : "cold";
}

void answer_stamp(struct http_resp *resp, blob_stamp stamp)
{
	char etag[26] = "\"", date[32];
	blob_etag(stamp, etag + 1);
	blob_date(stamp, date);
	strcat(etag, "\"");
	http_resp_header(resp, "ETag", etag);
	http_resp_header(resp, "Last-Modified", date);
}

/* Calls each() for every "name:value\n" line. */
static void each_metadata(const char *lines,
			  void (*each)(void *arg, const char *name, size_t name_len,
				       const char *value, size_t len),
			  void *arg)
{
	while (lines && *lines) {
		const char *end = strchr(lines, '\n'), *colon = strchr(lines, ':');
		if (!end || !colon || colon > end)
			return;
		each(arg, lines, (size_t)(colon - lines), colon + 1, (size_t)(end - colon - 1));
		lines = end + 1;
	}
}

static void metadata_header(void *arg, const char *name, size_t name_len, const char *value,
			    size_t len)
{
	char header[9000];
	if (name_len + 16 > sizeof(header))
		return;
	snprintf(header, sizeof(header), "x-ms-meta-%.*s", (int)name_len, name);
	http_resp_headerf(arg, header, "%.*s", (int)len, value);
}

void answer_metadata(struct http_resp *resp, const char *metadata)
{
	each_metadata(metadata, metadata_header, resp);
}

struct xml_target {
	struct adafs_buf *b;
	int rc;
};

static void metadata_element(void *arg, const char *name, size_t name_len, const char *value,
			     size_t len)
{
	struct xml_target *x = arg;
	if (x->rc == 0)
		x->rc = adafs_buf_addf(x->b, "<%.*s>", (int)name_len, name);
	if (x->rc == 0)
		x->rc = adafs_xml_escape(x->b, value, len);
	if (x->rc == 0)
		x->rc = adafs_buf_addf(x->b, "</%.*s>", (int)name_len, name);
}

int xml_metadata(struct adafs_buf *b, const char *metadata)
{
	if (!metadata || !*metadata)
		return adafs_buf_adds(b, "<Metadata />");
	struct xml_target x = { .b = b, .rc = adafs_buf_adds(b, "<Metadata>") };
	each_metadata(metadata, metadata_element, &x);
	return x.rc < 0 ? x.rc : adafs_buf_adds(b, "</Metadata>");
}

int answer_xml(struct http_resp *resp, int status)
{
	resp->status = status;
	http_resp_header(resp, "Content-Type", "application/xml");
	return adafs_buf_adds(&resp->body, "<?xml version=\"1.0\" encoding=\"utf-8\"?>");
}

static int error_body(const struct blob_call *c, struct http_resp *resp,
		      const struct blob_error_info *e)
{
	char now[ADAFS_ISO8601_LEN];
	adafs_clock_iso8601(adafs_clock_wall_us(), now);
	ADAFS_FREE char *message =
		adafs_fmt("%s\nRequestId:%s\nTime:%s", e->message, c->request_id, now);
	if (!message)
		return -ENOMEM;
	int rc = answer_xml(resp, resp->status);
	if (rc == 0)
		rc = adafs_buf_adds(&resp->body, "<Error>");
	if (rc == 0)
		rc = adafs_xml_element(&resp->body, "Code", e->code);
	if (rc == 0)
		rc = adafs_xml_element(&resp->body, "Message", message);
	if (rc == 0)
		rc = adafs_buf_adds(&resp->body, adafs_buf_str(&c->detail));
	return rc == 0 ? adafs_buf_adds(&resp->body, "</Error>") : rc;
}

void blob_answer_error(struct blob_call *c, struct http_resp *resp, int error)
{
	const struct blob_error_info *e = blob_error_info(error);
	char etag[64] = "", range[64] = "";
	const char *v = http_resp_get_header(resp, "ETag");
	if (v && e->status == 304)
		snprintf(etag, sizeof(etag), "%s", v);
	v = http_resp_get_header(resp, "Content-Range");
	if (v && e->status == 416)
		snprintf(range, sizeof(range), "%s", v);
	if (error < 0)
		adafs_log(ERROR, "emulator", "%s %s failed: %s", c->req->method,
			  c->route ? c->route->operation : "request", strerror(-error));
	http_resp_reset(resp);
	resp->status = e->status;
	http_resp_header(resp, "x-ms-error-code", e->code);
	if (error == BE_CANNOT_VERIFY_COPY_SOURCE && c->source_error) {
		const struct blob_error_info *source = blob_error_info(c->source_error);
		resp->status = source->status;
		http_resp_headerf(resp, "x-ms-copy-source-status-code", "%d", source->status);
		http_resp_header(resp, "x-ms-copy-source-error-code", source->code);
	}
	if (*etag)
		http_resp_header(resp, "ETag", etag);
	if (*range)
		http_resp_header(resp, "Content-Range", range);
	bearer_challenge(c, resp);
	if (e->status != 304 && strcmp(c->req->method, "HEAD") != 0 && error_body(c, resp, e) < 0)
		adafs_buf_reset(&resp->body);
}
