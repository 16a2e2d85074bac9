/*
 * Answers as libmicrohttpd sends them: one piece of a file by sendfile, several by reading them one
 * after the other, texts from memory.
 */
#include "batch/emulator/http_send.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "batch/base/log.h"

#define SEGMENT_BLOCK (128 * 1024) /* read at once when a body has several segments */

uint64_t http_send_length(const struct http_req *req, const struct http_resp *resp)
{
	if (strcmp(req->method, "HEAD") == 0)
		return 0;
	uint64_t len = resp->body.len;
	for (size_t i = 0; i < resp->n_segments; i++)
		len += resp->segments[i].len;
	return len;
}

/* A body of several segments on its way to the client; owns what it took from the response. */
struct segment_reader {
	struct http_segment *segments;
	size_t n_segments, current;
	uint64_t current_start; /* position in the body where the current segment starts */
	int *fds;
	size_t n_fds;
};

static ssize_t segments_read(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct segment_reader *r = cls;
	while (r->current < r->n_segments && pos >= r->current_start + r->segments[r->current].len)
		r->current_start += r->segments[r->current++].len;
	if (r->current == r->n_segments)
		return MHD_CONTENT_READER_END_OF_STREAM;
	const struct http_segment *s = &r->segments[r->current];
	uint64_t skip = pos - r->current_start;
	size_t len = max < s->len - skip ? max : (size_t)(s->len - skip);
	ssize_t n = pread(s->fd, buf, len, (off_t)(s->off + skip));
	if (n <= 0) {
		adafs_log(ERROR, "emulator", "data file ends early or cannot be read: %s",
			  n < 0 ? strerror(errno) : "short");
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	return n;
}

static void segments_free(void *cls)
{
	struct segment_reader *r = cls;
	for (size_t i = 0; i < r->n_fds; i++)
		close(r->fds[i]);
	free(r->fds);
	free(r->segments);
	free(r);
}

static struct MHD_Response *segments_response(struct http_resp *resp)
{
	struct segment_reader *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	uint64_t len = 0;
	for (size_t i = 0; i < resp->n_segments; i++)
		len += resp->segments[i].len;
	r->segments = ADAFS_STEAL(resp->segments);
	r->n_segments = resp->n_segments;
	r->fds = ADAFS_STEAL(resp->fds);
	r->n_fds = resp->n_fds;
	resp->n_segments = resp->n_fds = 0;
	struct MHD_Response *m = MHD_create_response_from_callback(len, SEGMENT_BLOCK,
								   segments_read, r, segments_free);
	if (!m)
		segments_free(r);
	return m;
}

static struct MHD_Response *sendfile_response(struct http_resp *resp)
{
	struct http_segment s = resp->segments[0];
	struct MHD_Response *m = MHD_create_response_from_fd_at_offset64(s.len, s.fd, s.off);
	if (!m)
		return NULL;
	for (size_t i = 0; i < resp->n_fds;
	     i++) /* the descriptor is libmicrohttpd's to close now */
		if (resp->fds[i] == s.fd)
			resp->fds[i] = resp->fds[--resp->n_fds];
	return m;
}

/* A body of a known length that is never sent: HEAD. */
static ssize_t no_content(void *cls, uint64_t pos, char *buf, size_t max)
{
	(void)cls;
	(void)pos;
	(void)buf;
	(void)max;
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *empty_response(void)
{
	return MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
}

static struct MHD_Response *body_response(const struct http_req *req, const struct http_fault *f,
					  struct http_resp *resp)
{
	if (strcmp(req->method, "HEAD") == 0 && resp->head_length)
		return MHD_create_response_from_callback(resp->head_length, 1024, no_content, NULL,
							 NULL);
	if (strcmp(req->method, "HEAD") == 0 || resp->status == 304 || resp->status == 204)
		return empty_response();
	if ((f->cut || f->slow_bytes > 0) && http_send_length(req, resp))
		return http_fault_response(f, resp);
	if (resp->n_segments == 1 && resp->segments[0].len)
		return sendfile_response(resp);
	if (resp->n_segments > 1)
		return segments_response(resp);
	if (!resp->body.len)
		return empty_response();
	size_t len = 0;
	char *data = adafs_buf_steal(&resp->body, &len);
	struct MHD_Response *m =
		data ? MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE) : NULL;
	if (!m)
		free(data);
	return m;
}

struct MHD_Response *http_send_response(const struct http_req *req, const struct http_fault *f,
					struct http_resp *resp)
{
	struct MHD_Response *m = body_response(req, f, resp);
	for (size_t i = 0; m && i < resp->n_headers; i++) {
		/* libmicrohttpd refuses empty values; readers strip the blank. */
		const char *value = *resp->headers[i].value ? resp->headers[i].value : " ";
		MHD_add_response_header(m, resp->headers[i].name, value);
	}
	return m;
}

bool http_send_cork(struct MHD_Connection *c, bool on)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	int value = on;
	return info &&
	       setsockopt(info->connect_fd, IPPROTO_TCP, TCP_CORK, &value, sizeof(value)) == 0;
}
