/* Faults on purpose: overload answers, slow and cut bodies, and the requests that set traps. */
#include "batch/emulator/http_fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <microhttpd.h>

#include "batch/base/clock.h"
#include "batch/base/random.h"

#define PIECE (64 * 1024)
#define NAP_MS 20
#define TABLE_MAX (64 * 1024)

struct http_fault http_fault_draw(struct traps *t)
{
	struct http_fault f = { .busy = trap_strikes(t, TRAP_BUSY_RATE) };
	if (f.busy)
		return f;
	f.lost = trap_strikes(t, TRAP_LOST_REPLY_RATE);
	f.cut = trap_strikes(t, TRAP_CUT_RATE);
	f.slow_bytes = trap_value(t, TRAP_SLOW_BYTES);
	return f;
}

/* --- overload -------------------------------------------------------------------------------- */

static void busy_blob(const char *code, const char *sentence, const char *id, const char *now,
		      const struct http_req *req, struct http_resp *resp)
{
	const char *version = http_req_header(req, "x-ms-version");
	const char *client = http_req_header(req, "x-ms-client-request-id");
	if (client && *client)
		http_resp_header(resp, "x-ms-client-request-id", client);
	http_resp_header(resp, "x-ms-error-code", code);
	http_resp_header(resp, "x-ms-request-id", id);
	http_resp_header(resp, "x-ms-version", version ? version : "2021-12-02");
	ADAFS_FREE char *text = adafs_fmt("\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?>"
					  "<Error><Code>%s</Code><Message>%s\nRequestId:%s\nTime:%s"
					  "</Message></Error>",
					  code, sentence, id, now);
	http_resp_text(resp, resp->status, "application/xml", text ? text : "");
}

static void busy_batch(const char *code, const char *sentence, const char *id, const char *now,
		       const struct http_req *req, struct http_resp *resp)
{
	const char *host = http_req_header(req, "Host");
	http_resp_header(resp, "request-id", id);
	http_resp_header(resp, "DataServiceVersion", "3.0");
	ADAFS_FREE char *text = adafs_fmt(
		"{\"odata.metadata\":\"http://%s/$metadata#Microsoft.Azure.Batch."
		"Protocol.Entities.Container.errors/@Element\",\"code\":\"%s\",\"message\":"
		"{\"lang\":\"en-US\",\"value\":\"%s\\nRequestId:%s\\nTime:%s\"}}",
		host ? host : "", code, sentence, id, now);
	http_resp_text(resp, resp->status, "application/json;odata=minimalmetadata",
		       text ? text : "");
}

void http_fault_busy(const struct traps *t, const char *service, unsigned turn,
		     const struct http_req *req, struct http_resp *resp)
{
	static const char *const codes[] = { "ServerBusy", "TooManyRequests" };
	static const char *const sentences[] = {
		"The server is currently unable to receive requests. Please retry your request.",
		"Request failed as server encountered too many requests. Please try again.",
	};
	unsigned which = turn % 2;
	double after = trap_value(t, TRAP_RETRY_AFTER);
	char id[ADAFS_UUID_LEN], now[ADAFS_ISO8601_LEN];
	adafs_random_uuid(id);
	adafs_clock_iso8601(adafs_clock_wall_us(), now);
	resp->status = which ? 429 : 503;
	if (after > 0)
		http_resp_headerf(resp, "Retry-After", "%.0f", after < 1 ? 1 : after);
	if (strcmp(service, "blob") == 0)
		busy_blob(codes[which], sentences[which], id, now, req, resp);
	else
		busy_batch(codes[which], sentences[which], id, now, req, resp);
}

/* --- slow and cut bodies --------------------------------------------------------------------- */

struct fault_body {
	char *data; /* owned; NULL: segments */
	struct http_segment *segments;
	size_t n_segments;
	int *fds;
	size_t n_fds;
	uint64_t end; /* no byte from here on */
	bool cut;     /* there would be more */
	double rate;  /* 0: no limit */
	uint64_t start_ms;
};

/* How many bytes are due; naps when there is none. */
static size_t due(const struct fault_body *b, uint64_t pos, size_t want)
{
	if (b->rate <= 0)
		return want;
	uint64_t ms = adafs_clock_mono_ms() - b->start_ms;
	double allowed = b->rate * (double)ms / 1000 - (double)pos;
	if (allowed < 1) {
		struct timespec nap = { .tv_nsec = NAP_MS * 1000000L };
		nanosleep(&nap, NULL);
		return 0;
	}
	return allowed < (double)want ? (size_t)allowed : want;
}

static ssize_t read_segments(const struct fault_body *b, uint64_t pos, char *buf, size_t len)
{
	for (size_t i = 0; i < b->n_segments; i++) {
		const struct http_segment *s = &b->segments[i];
		if (pos < s->len) {
			size_t n = len < s->len - pos ? len : (size_t)(s->len - pos);
			return pread(s->fd, buf, n, (off_t)(s->off + pos));
		}
		pos -= s->len;
	}
	return -1;
}

static ssize_t fault_read(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct fault_body *b = cls;
	if (pos >= b->end)
		return b->cut ? MHD_CONTENT_READER_END_WITH_ERROR
			      : MHD_CONTENT_READER_END_OF_STREAM;
	size_t len = max < b->end - pos ? max : (size_t)(b->end - pos);
	len = due(b, pos, len);
	if (len == 0)
		return 0;
	if (b->data) {
		memcpy(buf, b->data + pos, len);
		return (ssize_t)len;
	}
	ssize_t n = read_segments(b, pos, buf, len);
	return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void fault_free(void *cls)
{
	struct fault_body *b = cls;
	for (size_t i = 0; i < b->n_fds; i++)
		close(b->fds[i]);
	free(b->fds);
	free(b->segments);
	free(b->data);
	free(b);
}

struct MHD_Response *http_fault_response(const struct http_fault *f, struct http_resp *resp)
{
	struct fault_body *b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	uint64_t len = resp->body.len;
	for (size_t i = 0; i < resp->n_segments; i++)
		len += resp->segments[i].len;
	b->segments = ADAFS_STEAL(resp->segments);
	b->n_segments = resp->n_segments;
	b->fds = ADAFS_STEAL(resp->fds);
	b->n_fds = resp->n_fds;
	resp->n_segments = resp->n_fds = 0;
	if (!b->n_segments)
		b->data = adafs_buf_steal(&resp->body, NULL);
	b->cut = f->cut;
	b->end = f->cut ? len / 2 : len;
	b->rate = f->slow_bytes;
	b->start_ms = adafs_clock_mono_ms();
	struct MHD_Response *m =
		b->data || b->n_segments
			? MHD_create_response_from_callback(len, PIECE, fault_read, b, fault_free)
			: NULL;
	if (!m)
		fault_free(b);
	return m;
}

/* --- setting traps --------------------------------------------------------------------------- */

static void answer_table(const struct traps *t, struct http_resp *resp)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(TABLE_MAX);
	if (traps_print(t, &b) < 0)
		resp->status = 500;
	else
		http_resp_text(resp, 200, "text/plain; charset=utf-8", adafs_buf_str(&b));
}

static void set_from_query(struct traps *t, const struct http_req *req, struct http_resp *resp)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(TABLE_MAX);
	struct adafs_err err = { 0 };
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < req->n_params; i++)
		rc = adafs_buf_addf(&b, "%s=%s\n", req->params[i].name, req->params[i].value);
	if (rc == 0)
		rc = traps_set(t, adafs_buf_str(&b), &err);
	if (rc < 0)
		http_resp_text(resp, 400, "text/plain; charset=utf-8",
			       *err.msg ? err.msg : "too many traps");
	else
		answer_table(t, resp);
}

bool http_fault_admin(struct traps *t, const struct http_req *req, struct http_resp *resp)
{
	bool get = strcmp(req->method, "GET") == 0, post = strcmp(req->method, "POST") == 0;
	bool reset = post && strcmp(req->target, "/adafs/traps/reset") == 0;
	bool show = get && strcmp(req->target, "/adafs/traps") == 0;
	/* With one of these it names the container `traps` of an account `adafs`. */
	bool set = post && strcmp(req->path, "/adafs/traps") == 0 && !http_req_param(req, "comp") &&
		   !http_req_param(req, "restype");
	if (!t || !(reset || show || set))
		return false;
	if (http_req_header(req, "Origin")) {
		http_resp_text(resp, 403, "text/plain", "Web pages may not use this.\n");
	} else if (reset) {
		traps_reset(t);
		resp->status = 204;
	} else if (show) {
		answer_table(t, resp);
	} else {
		set_from_query(t, req, resp);
	}
	return true;
}
