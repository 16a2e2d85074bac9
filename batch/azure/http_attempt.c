/*
 * One attempt of a transfer: the handle that curl is given, its options, and the callbacks by which
 * curl takes the body and hands over the reply. All of it runs on the loop thread (http.c).
 */
#include "batch/azure/http_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "batch/base/clock.h"
#include "batch/base/digest.h"
#include "batch/base/file.h"

#define CONNECT_TIMEOUT_MS 10000
#define DEFAULT_MAX_BODY (32u * 1024 * 1024)
#define MAX_ERROR_BODY (64u * 1024)
#define MAX_HEADERS 256
#define TRANSFER_BUFFER (256L * 1024)
#define SMALL_BUFFER (64L * 1024) /* curl keeps one for each handle, and many send little */
#define SMALL_BODY (128u * 1024)
_Static_assert(HTTP_CURL_TEXT == CURL_ERROR_SIZE, "the buffer of curl's error texts");

/* --- callbacks of curl -------------------------------------------------------------------- */

void http_progress(struct transfer *t)
{
	t->retry.last_progress_ms = adafs_clock_mono_ms();
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	struct adafs_http_response *r = &t->response;
	size_t len = size * n;
	http_progress(t);
	t->host->heard_ms = t->retry.last_progress_ms;
	if (len > 9 && strncmp(data, "HTTP/", 5) == 0) {
		const char *space = memchr(data, ' ', len);
		adafs_http_headers_clear(&r->headers); /* those of a 100 Continue */
		r->status = space ? atoi(space + 1) : 0;
		if (!http_has_status_2xx(t) && r->body.cap < MAX_ERROR_BODY)
			r->body.cap = MAX_ERROR_BODY; /* the cap was for what was asked for */
		return len;
	}
	const char *colon = memchr(data, ':', len);
	if (!colon || r->headers.n >= MAX_HEADERS)
		return len;
	const char *value = colon + 1, *end = data + len;
	while (end > value && strchr(" \t\r\n", end[-1]))
		end--;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	ADAFS_FREE char *name_text = strndup(data, (size_t)(colon - data));
	ADAFS_FREE char *value_text = strndup(value, (size_t)(end - value));
	if (!name_text || !value_text ||
	    adafs_http_headers_set(&r->headers, name_text, value_text) == -ENOMEM) {
		t->callback_rc = -ENOMEM;
		return 0;
	}
	return len;
}

static size_t keep_body(struct transfer *t, const char *data, size_t len)
{
	t->callback_rc = adafs_buf_add(&t->response.body, data, len);
	return t->callback_rc < 0 ? 0 : len;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	struct adafs_http_request *rq = t->rq;
	size_t len = size * n;
	http_progress(t);
	t->host->heard_ms = t->retry.last_progress_ms;
	atomic_fetch_add(&t->http->bytes_in, len);
	if (!http_has_status_2xx(t)) {
		/*
		 * Of an error only the start matters, and an endless one must not fill the memory.
		 */
		struct adafs_buf *b = &t->response.body;
		size_t room = b->len < MAX_ERROR_BODY ? MAX_ERROR_BODY - b->len : 0;
		return keep_body(t, data, len < room ? len : room) || room == 0 ? len : 0;
	}
	if (rq->write) {
		t->wrote = true;
		t->callback_rc = rq->write(rq->write_arg, data, len);
		return t->callback_rc < 0 ? 0 : len;
	}
	if (!rq->sink)
		return keep_body(t, data, len);
	if (len > rq->sink_size - rq->sink_len) {
		t->callback_rc = -EPROTO;
		return 0;
	}
	memcpy((char *)rq->sink + rq->sink_len, data, len);
	rq->sink_len += len;
	if (rq->sink_summed)
		rq->sink_crc64 = adafs_crc64(rq->sink_crc64, data, len);
	return len;
}

static size_t on_upload(char *buffer, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	struct adafs_http_request *rq = t->rq;
	size_t len = size * n;
	if (len > rq->body_len - t->uploaded)
		len = rq->body_len - t->uploaded;
	http_progress(t);
	if (rq->body) {
		memcpy(buffer, (const char *)rq->body + t->uploaded, len);
	} else {
		t->callback_rc = adafs_pread_all(rq->body_fd, buffer, len,
						 rq->body_off + (off_t)t->uploaded);
		if (t->callback_rc < 0)
			return CURL_READFUNC_ABORT;
	}
	t->uploaded += len;
	atomic_fetch_add(&t->http->bytes_out, len);
	return len;
}

/* curl sends the body again after it found a pooled connection dead. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct transfer *t = arg;
	if (origin != SEEK_SET || offset < 0 || (size_t)offset > t->rq->body_len)
		return CURL_SEEKFUNC_FAIL;
	t->uploaded = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

static int on_send(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	struct transfer *t = arg;
	(void)remote_ip;
	(void)local_ip;
	t->fd = http_socket_find(&t->http->sockets, local_port, remote_port);
	t->moved = t->fd < 0 ? 0 : http_socket_moved(t->fd);
	t->sends++;
	return CURL_PREREQFUNC_OK;
}

static curl_socket_t on_socket_open(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct adafs_http *h = arg;
	(void)purpose;
	int fd = http_socket_open(&h->sockets, a->family, a->socktype, a->protocol);
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int on_socket_close(void *arg, curl_socket_t fd)
{
	struct adafs_http *h = arg;
	http_socket_close(&h->sockets, fd);
	return 0;
}

/* --- what curl is told -------------------------------------------------------------------- */

static CURL *handle_take(struct adafs_http *h)
{
	if (h->n_idle == 0)
		return curl_easy_init();
	CURL *easy = h->idle[--h->n_idle];
	curl_easy_reset(easy);
	return easy;
}

static void handle_put(struct adafs_http *h, CURL *easy)
{
	if (h->n_idle < HTTP_MAX_IDLE_HANDLES)
		h->idle[h->n_idle++] = easy;
	else
		curl_easy_cleanup(easy);
}

static bool sends_body(const char *method)
{
	return strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0 ||
	       strcmp(method, "PATCH") == 0;
}

static int header_list_build(struct transfer *t)
{
	/* Without this curl would wait for a 100 Continue before a large body. */
	t->header_list = curl_slist_append(NULL, "Expect:");
	if (!t->header_list)
		return -ENOMEM;
	for (size_t i = 0; i < t->rq->headers.n; i++) {
		const struct adafs_http_header *header = &t->rq->headers.item[i];
		/* The semicolon is curl's way to send a header without a value. */
		ADAFS_FREE char *line = *header->value
						? adafs_fmt("%s: %s", header->name, header->value)
						: adafs_fmt("%s;", header->name);
		struct curl_slist *list = line ? curl_slist_append(t->header_list, line) : NULL;
		if (!list)
			return -ENOMEM;
		t->header_list = list;
	}
	return 0;
}

#define SET(option, value)                                                                         \
	do {                                                                                       \
		CURLcode set_code_ = curl_easy_setopt(t->easy, option, value);                     \
		if (set_code_ != CURLE_OK)                                                         \
			return adafs_err_set(&t->err,                                              \
					     set_code_ == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL, \
					     #option ": %s", curl_easy_strerror(set_code_));       \
	} while (0)

static int set_method(struct transfer *t)
{
	const struct adafs_http_request *rq = t->rq;
	if (strcmp(rq->method, "HEAD") == 0) {
		SET(CURLOPT_NOBODY, 1L);
		return 0;
	}
	if (!sends_body(rq->method)) {
		SET(CURLOPT_HTTPGET, 1L);
		SET(CURLOPT_CUSTOMREQUEST, rq->method);
		return 0;
	}
	SET(CURLOPT_UPLOAD, 1L);
	SET(CURLOPT_CUSTOMREQUEST, rq->method);
	SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)rq->body_len);
	SET(CURLOPT_READFUNCTION, on_upload);
	SET(CURLOPT_READDATA, t);
	SET(CURLOPT_SEEKFUNCTION, on_seek);
	SET(CURLOPT_SEEKDATA, t);
	return 0;
}

static int set_options(struct transfer *t)
{
	uint32_t connect_ms =
		t->io_timeout_ms < CONNECT_TIMEOUT_MS ? t->io_timeout_ms : CONNECT_TIMEOUT_MS;
	SET(CURLOPT_URL, t->rq->url);
	SET(CURLOPT_PRIVATE, t);
	SET(CURLOPT_ERRORBUFFER, t->curl_text);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L); /* do not wait for a resolver that hangs */
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
	SET(CURLOPT_BUFFERSIZE, TRANSFER_BUFFER);
	SET(CURLOPT_UPLOAD_BUFFERSIZE,
	    t->rq->body_len > SMALL_BODY ? TRANSFER_BUFFER : SMALL_BUFFER);
	SET(CURLOPT_USERAGENT, "adafs/" ADAFS_VERSION);
	if (t->http->ca_file)
		SET(CURLOPT_CAINFO, t->http->ca_file);
	if (t->host->loopback || t->rq->link_local)
		SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_HTTPHEADER, t->header_list);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_PREREQFUNCTION, on_send);
	SET(CURLOPT_PREREQDATA, t);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_socket_open);
	SET(CURLOPT_OPENSOCKETDATA, t->http);
	SET(CURLOPT_CLOSESOCKETFUNCTION, on_socket_close);
	SET(CURLOPT_CLOSESOCKETDATA, t->http);
	return set_method(t);
}

/* Forget the last attempt's reply and make the request ready to be sent once more. */
static int attempt_prepare(struct transfer *t)
{
	struct adafs_http_request *rq = t->rq;
	adafs_http_response_clear(&t->response);
	adafs_buf_init(&t->response.body, rq->max_body ? rq->max_body : DEFAULT_MAX_BODY);
	rq->sink_len = 0;
	rq->sink_crc64 = 0;
	t->uploaded = 0;
	t->fd = -1;
	t->moved = 0;
	t->sends = 0;
	t->callback_rc = 0;
	t->curl_text[0] = 0;
	memset(&t->err, 0, sizeof(t->err));
	if (t->wrote) {
		int rc = rq->rewind(rq->write_arg);
		if (rc < 0)
			return adafs_err_set(&t->err, rc, "starting over");
		t->wrote = false;
	}
	if (rq->sign) {
		int rc = rq->sign(rq->sign_arg, rq, &t->err);
		t->parked = rc == -EAGAIN && t->err.rc == 0;
		if (t->parked)
			return rc;
		if (rc < 0)
			return t->err.rc < 0 ? rc : adafs_err_set(&t->err, rc, "signing");
	}
	return 0;
}

int http_attempt_begin(struct transfer *t)
{
	struct adafs_http *h = t->http;
	int rc = attempt_prepare(t);
	if (rc < 0)
		return rc;
	t->easy = handle_take(h);
	if (!t->easy || header_list_build(t) < 0)
		return adafs_err_set(&t->err, -ENOMEM, "out of memory");
	rc = set_options(t);
	if (rc < 0)
		return rc;
	CURLMcode code = curl_multi_add_handle(h->multi, t->easy);
	if (code != CURLM_OK)
		return adafs_err_set(&t->err, -ENOMEM, "%s", curl_multi_strerror(code));
	if (t->retry.attempts++ == 0 || t->parked_ms || t->answered)
		http_progress(t);
	t->parked_ms = 0;
	t->host->active++;
	atomic_fetch_add(&h->requests, 1);
	http_list_move(&h->active, t);
	return 0;
}

void http_attempt_end(struct transfer *t, bool well)
{
	struct adafs_http *h = t->http;
	if (t->list == &h->active) {
		curl_multi_remove_handle(h->multi, t->easy);
		t->host->active--;
	}
	http_list_remove(t);
	/* After a name that did not resolve curl keeps its buffer, and refuses options. */
	if (t->easy && well)
		handle_put(h, t->easy);
	else if (t->easy)
		curl_easy_cleanup(t->easy);
	t->easy = NULL;
	curl_slist_free_all(t->header_list);
	t->header_list = NULL;
}
