/* Transfers without curl: lists, what a reply means, how a transfer ends, and what other threads
 * ask. */
#include "batch/azure/http_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/azure/status.h"
#include "batch/azure/words.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"

#define CLOCK_SKEW_SECONDS 300
#define LOG_PIECE 1500
#define MAX_LOGGED_REPLY 16384

/* --- lists -------------------------------------------------------------------------------- */

void http_list_add(struct transfer_list *l, struct transfer *t)
{
	t->list = l;
	t->next = NULL;
	t->prev = l->last;
	*(l->last ? &l->last->next : &l->first) = t;
	l->last = t;
	l->n++;
}

void http_list_remove(struct transfer *t)
{
	struct transfer_list *l = t->list;
	if (!l)
		return;
	*(t->prev ? &t->prev->next : &l->first) = t->next;
	*(t->next ? &t->next->prev : &l->last) = t->prev;
	l->n--;
	t->list = NULL;
}

void http_list_move(struct transfer_list *l, struct transfer *t)
{
	http_list_remove(t);
	http_list_add(l, t);
}

/*
 * --- what a reply means ------------------------------------------------------------------------
 */

bool http_has_status_2xx(const struct transfer *t)
{
	return t->response.status >= 200 && t->response.status < 300;
}

void http_refuse_stranger(struct transfer *t)
{
	adafs_err_set(
		&t->err, -EIO,
		"%s: answered with status %d instead of %d, so not by the service: look for a "
		"proxy or a login page of the network",
		t->rq->operation ? t->rq->operation : t->rq->method, t->response.status,
		t->rq->want_status);
	t->err.http_status = t->response.status;
	t->err.retryable = true;
}

static void copy_text(char *dst, size_t size, const char *src)
{
	if (src)
		snprintf(dst, size, "%s", src);
}

/* What the service said in full, for its support; the log cuts secrets out of each line. */
static void log_reply(const struct transfer *t)
{
	const struct adafs_buf *body = &t->response.body;
	if (!adafs_log_enabled(ADAFS_LOG_DEBUG, "azure"))
		return;
	ADAFS_FREE char *text = strndup(body->len ? body->data : "", body->len);
	if (!text)
		return;
	/* Before it is cut to lines: a secret must not hide in the cut. */
	adafs_redact(text);
	size_t len = strlen(text), at = 0;
	do {
		adafs_log(DEBUG, "azure", "reply %d to request %s: %.*s", t->response.status,
			  *t->err.request_id ? t->err.request_id : "without an id", LOG_PIECE,
			  text + at);
		at += LOG_PIECE;
	} while (at < len && at < MAX_LOGGED_REPLY);
}

void http_classify_status(struct transfer *t)
{
	const struct adafs_http_response *r = &t->response;
	struct adafs_err parsed = { 0 };
	copy_text(parsed.service_code, sizeof(parsed.service_code),
		  adafs_http_headers_get(&r->headers, "x-ms-error-code"));
	if (t->rq->parse_error && r->body.len)
		t->rq->parse_error(r, &parsed);
	bool retryable;
	int rc = adafs_status_errno(r->status, parsed.service_code, &retryable);
	char line[sizeof(t->err.msg)];
	adafs_words_line(t->rq, r->status, parsed.service_code, parsed.msg, line, sizeof(line));
	adafs_err_set(&t->err, rc, "%s", line);
	t->err.http_status = r->status;
	t->err.retryable = retryable;
	t->err.retry_after_ms = adafs_retry_after(&r->headers, adafs_http_now(t->http));
	memcpy(t->err.service_code, parsed.service_code, sizeof(t->err.service_code));
	const char *id = adafs_http_headers_get(&r->headers, "x-ms-request-id");
	copy_text(t->err.request_id, sizeof(t->err.request_id),
		  id ? id : adafs_http_headers_get(&r->headers, "request-id"));
	log_reply(t);
}

bool http_not_modified_wanted(const struct transfer *t)
{
	const struct adafs_http_headers *h = &t->rq->headers;
	return t->response.status == 304 && (adafs_http_headers_get(h, "If-None-Match") ||
					     adafs_http_headers_get(h, "If-Modified-Since"));
}

void http_clock_note(struct transfer *t)
{
	const char *date = adafs_http_headers_get(&t->response.headers, "Date");
	time_t theirs;
	if (!date || adafs_clock_parse_rfc1123(date, &theirs) < 0)
		return;
	adafs_mutex_lock(&t->http->lock);
	t->host->skew_s = (int64_t)theirs - adafs_clock_wall_us() / 1000000;
	t->host->has_skew = true;
	adafs_mutex_unlock(&t->http->lock);
}

bool http_clock_correct(struct transfer *t)
{
	const char *date = adafs_http_headers_get(&t->response.headers, "Date");
	time_t theirs;
	if (t->clock_corrected || !t->rq->sign || t->err.http_status != 403 || !date ||
	    strcmp(t->err.service_code, "AuthenticationFailed") != 0 ||
	    adafs_clock_parse_rfc1123(date, &theirs) < 0)
		return false;
	int64_t off = (int64_t)theirs - (int64_t)adafs_http_now(t->http);
	if (llabs(off) <= CLOCK_SKEW_SECONDS)
		return false;
	t->clock_corrected = true;
	atomic_store(&t->http->clock_offset,
		     (long long)((int64_t)theirs - adafs_clock_wall_us() / 1000000));
	adafs_log(WARN, "azure",
		  "the local clock is %lld s off the service's: corrected for signatures",
		  (long long)off);
	return true;
}

bool http_token_renew(struct transfer *t)
{
	/* Which of the two an expired token gets is not the same everywhere. */
	bool refused = t->response.status == 401 ||
		       (t->response.status == 403 &&
			strcmp(t->err.service_code, "AuthenticationFailed") == 0);
	if (t->renewed || !refused || !t->rq->renew)
		return false;
	t->renewed = true;
	return t->rq->renew(t->rq->sign_arg, t->rq);
}

/*
 * --- the end of a transfer ----------------------------------------------------------------------
 */

static void transfer_free(struct transfer *t)
{
	adafs_http_response_clear(&t->response);
	adafs_http_request_free(t->rq);
	free(t);
}

static bool is_write(const struct adafs_http_request *rq)
{
	return strcmp(rq->method, "GET") != 0 && strcmp(rq->method, "HEAD") != 0;
}

void http_transfer_finish(struct transfer *t)
{
	if (t->err.rc < 0) {
		t->err.outcome_unknown = t->maybe_acted && is_write(t->rq);
		adafs_redact(t->err.msg);
		adafs_log(DEBUG, "azure", "%s %s after %u attempts: %s", t->rq->method,
			  t->rq->operation ? t->rq->operation : "", t->retry.attempts, t->err.msg);
	}
	t->done(t->arg, &t->response, &t->err);
	transfer_free(t);
}

void http_transfer_fail(struct transfer *t, int rc, const char *why)
{
	adafs_err_set(&t->err, rc, "%s: %s", t->rq->operation ? t->rq->operation : t->rq->method,
		      why);
	http_transfer_finish(t);
}

/*
 * --- what other threads ask ----------------------------------------------------------------------
 */

time_t adafs_http_now(struct adafs_http *h)
{
	return (time_t)(adafs_clock_wall_us() / 1000000 + atomic_load(&h->clock_offset));
}

uint32_t adafs_http_io_timeout_ms(const struct adafs_http *h)
{
	return h->config.io_timeout_ms;
}

bool adafs_http_is_down(struct adafs_http *h, const char *url)
{
	adafs_mutex_lock(&h->lock);
	const struct http_host *host = http_host_find(h->hosts, url);
	bool down = host && host->down;
	adafs_mutex_unlock(&h->lock);
	return down;
}

bool adafs_http_tries_again(struct adafs_http *h, const char *url, struct adafs_err *ret)
{
	adafs_mutex_lock(&h->lock);
	const struct http_host *host = http_host_find(h->hosts, url);
	bool again = host && host->again.rc;
	if (again)
		*ret = host->again;
	adafs_mutex_unlock(&h->lock);
	if (again)
		adafs_redact(ret->msg);
	return again;
}

int adafs_http_clock_skew(struct adafs_http *h, const char *url, int64_t *ret_seconds)
{
	adafs_mutex_lock(&h->lock);
	const struct http_host *host = http_host_find(h->hosts, url);
	bool known = host && host->has_skew;
	if (known)
		*ret_seconds = host->skew_s;
	adafs_mutex_unlock(&h->lock);
	return known ? 0 : -ENODATA;
}

int64_t adafs_http_service_us(struct adafs_http *h, const char *url)
{
	int64_t skew_s;
	if (adafs_http_clock_skew(h, url, &skew_s) < 0)
		skew_s = atomic_load(&h->clock_offset);
	return adafs_clock_wall_us() + skew_s * 1000000;
}

void adafs_http_get_stats(struct adafs_http *h, struct adafs_http_stats *ret)
{
	*ret = (struct adafs_http_stats){
		.requests = atomic_load(&h->requests),
		.retries = atomic_load(&h->retries),
		.timeouts = atomic_load(&h->timeouts),
		.bytes_in = atomic_load(&h->bytes_in),
		.bytes_out = atomic_load(&h->bytes_out),
	};
}
