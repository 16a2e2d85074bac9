/*
 * azure/http.h - HTTP for both services: one libcurl multi loop on one thread, pooled connections,
 * deadlines, and retry with back-off as a layer of its own (retry.c). Any thread may send; every
 * completion runs on the loop thread with no lock held and must not block.
 */
#ifndef ADAFS_AZURE_HTTP_H
#define ADAFS_AZURE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "batch/base/buf.h"
#include "batch/base/err.h"

struct adafs_http;

struct adafs_http_config {
	/*
	 * The longest time without a byte moved, over all attempts of a request together, in ms.
	 * A request that had no progress for so long ends with -ETIMEDOUT. 0: 30,000.
	 */
	uint32_t io_timeout_ms;
	uint32_t max_connections_per_host; /* 0: 64 */
};

/* Owned by the caller; threads exist only between start and stop. NULL and reterr: -ENOMEM. */
struct adafs_http *adafs_http_new(const struct adafs_http_config *config, struct adafs_err *reterr);
int adafs_http_start(struct adafs_http *h, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* Ends what is under way with -ECANCELED, joins the loop. May be called twice. */
void adafs_http_stop(struct adafs_http *h);
void adafs_http_free(struct adafs_http *h);

/* One header, "Name: value" kept as two texts. */
struct adafs_http_header {
	char *name;
	char *value;
};

/* A list of headers; owned by what embeds it. Names are compared without case. */
struct adafs_http_headers {
	struct adafs_http_header *item;
	size_t n;
};

/*
 * Add a copy of name and value; a name that is there already is replaced. 0, -ENOMEM, or -EINVAL
 * for an empty name or a control character.
 */
int adafs_http_headers_set(struct adafs_http_headers *h, const char *name, const char *value);
/* The value, or NULL. */
const char *adafs_http_headers_get(const struct adafs_http_headers *h, const char *name);
void adafs_http_headers_clear(struct adafs_http_headers *h);

struct adafs_http_request;
/*
 * Put date and authorization on a request; called before every attempt, on the loop thread, since
 * a signature is only good for 15 minutes. 0 or negative errno: the request fails with it; but
 * -EAGAIN (without reterr set) sets it aside until adafs_http_wake, for io_timeout at most, then
 * asks again.
 */
typedef int adafs_http_sign(void *arg, struct adafs_http_request *rq, struct adafs_err *reterr);

/* The answer: valid until the completion returns; steal what is to outlive it. */
struct adafs_http_response {
	int status; /* 0: none arrived */
	struct adafs_http_headers headers;
	struct adafs_buf body; /* empty when the request gave its own sink */
};

/*
 * Called exactly once on the loop thread. err->rc 0: a reply with status 200 to 299, or 304 if
 * the request said so. Otherwise err holds the translation (retry.c has tried what it may).
 */
typedef void adafs_http_done(void *arg, struct adafs_http_response *response,
			     const struct adafs_err *err);

/* What to send. Everything is owned by the request and freed with it. */
struct adafs_http_request {
	const char *method; /* static text: GET PUT POST PATCH DELETE HEAD */
	char *url;          /* percent-encoded; sent as it is */
	struct adafs_http_headers headers;

	const void *body; /* borrowed until done; may be NULL */
	size_t body_len;  /* PUT, POST and PATCH send Content-Length even when 0 */
	int body_fd; /* instead of body: body_len bytes at body_off are read from it; -1: none */
	off_t body_off;

	void *sink;       /* the reply's body goes here instead of response->body ... */
	size_t sink_size; /* ... at most so many bytes; more is -EPROTO */
	size_t sink_len;  /* bytes received, set before done */
	bool sink_summed; /* sink_crc64 is wanted: summed as bytes come, while the cache has them */
	uint64_t sink_crc64;
	/* Or bytes are passed on as they come (any attempt restarts at offset 0): 0 or negative
	 * errno. */
	int (*write)(void *arg, const void *data, size_t len);
	/* Called before an attempt's first byte when an earlier attempt had written some; NULL:
	 * then no retry after bytes. */
	int (*rewind)(void *arg);
	void *write_arg;
	size_t max_body; /* cap of response->body; 0: 32 MiB */

	/*
	 * The status of success, of which another 2xx is none: the login page of a network answers
	 * anything with 200. 0: any 2xx.
	 */
	int want_status;
	bool no_retry;          /* one attempt only */
	uint32_t io_timeout_ms; /* 0: the configuration's */
	adafs_http_sign *sign;  /* NULL: the URL carries a SAS */
	void *sign_arg;         /* borrowed until done */
	/*
	 * The reply refused what sign had put on; once a request, on the loop thread. true: sign
	 * can do better now, and the request is sent again. NULL: it cannot.
	 */
	bool (*renew)(void *sign_arg, const struct adafs_http_request *rq);
	/* An address that only this machine can reach: no proxy, and its silence does not make it
	 * count as down. */
	bool link_local;
	/* Parse the error body of the service (XML or JSON) into err's code and message. */
	void (*parse_error)(const struct adafs_http_response *response, struct adafs_err *err);
	/* For the counters: one name an operation, as in the REST documentation. Static. */
	const char *operation;
};

/* A request with its defaults (body_fd -1). Takes ownership of url (NULL is out of memory). */
struct adafs_http_request *adafs_http_request_new(const char *method, char *url);
/* Only for requests that were never sent. */
void adafs_http_request_free(struct adafs_http_request *rq);

/*
 * Send; takes ownership of rq, which is freed after done has returned. Never fails itself: every
 * failure comes through done (rq NULL is one: -ENOMEM). done is never called before
 * adafs_http_send returns on the same thread unless that thread is the loop, or nothing runs that
 * could call it: not started, stopped (-ECANCELED), or no memory for the bookkeeping (-ENOMEM).
 */
void adafs_http_send(struct adafs_http *h, struct adafs_http_request *rq, adafs_http_done *done,
		     void *arg);
/* Requests that sign set aside are tried again. Any thread. */
void adafs_http_wake(struct adafs_http *h);
/*
 * Send and wait. Not on the loop thread. On success *ret_response (may be NULL) holds the reply, to
 * be cleared by adafs_http_response_clear. Returns err->rc.
 */
int adafs_http_perform(struct adafs_http *h, struct adafs_http_request *rq,
		       struct adafs_http_response *ret_response, struct adafs_err *reterr);
void adafs_http_response_clear(struct adafs_http_response *r);

/*
 * Wall time in seconds since 1970 as the services see it: the local clock, corrected once a service
 * refused a signature and its Date was more than 5 minutes off. For signatures.
 */
time_t adafs_http_now(struct adafs_http *h);
/*
 * How many seconds the clock of a URL's host is ahead of this machine's, by the Date of its last
 * reply (to the second; the reply's way counts in). 0, or -ENODATA: it has not answered yet.
 */
int adafs_http_clock_skew(struct adafs_http *h, const char *url, int64_t *ret_seconds);
/*
 * Microseconds since 1970 by the clock of a URL's host, as its last reply told; adafs_http_now
 * while it has not answered. For times that the host compares with its own clock.
 */
int64_t adafs_http_service_us(struct adafs_http *h, const char *url);
/* The configured io_timeout. */
uint32_t adafs_http_io_timeout_ms(const struct adafs_http *h);

/*
 * The state of an endpoint. After a request timed out, or found no connection until its retries
 * were used up, its host counts as down: requests fail at once with -EHOSTDOWN, and a HEAD of the
 * host's root probes it every 2 seconds. Any reply from the host ends the state.
 */
bool adafs_http_is_down(struct adafs_http *h, const char *url);
/*
 * Whether a request to the URL's host failed and is to be sent again, and none to it went well
 * since: what its caller waits for. *ret, which is then that failure, keeps no secrets.
 */
bool adafs_http_tries_again(struct adafs_http *h, const char *url, struct adafs_err *ret);

/* Counters since start, for status.json and tests. */
struct adafs_http_stats {
	uint64_t requests; /* attempts that were sent */
	uint64_t retries;
	uint64_t timeouts;
	uint64_t bytes_in;
	uint64_t bytes_out;
};
void adafs_http_get_stats(struct adafs_http *h, struct adafs_http_stats *ret);

#endif
