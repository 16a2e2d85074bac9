/*
 * azure/http_int.h - what the loop (http.c), a single attempt (http_attempt.c) and the part that
 * does not need curl (http_transfer.c) share: transfers, their lists, and the state of the loop.
 * Only for these three.
 */
#ifndef ADAFS_AZURE_HTTP_INT_H
#define ADAFS_AZURE_HTTP_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "batch/azure/http.h"
#include "batch/azure/http_host.h"
#include "batch/azure/http_socket.h"
#include "batch/azure/retry.h"
#include "batch/base/mutex.h"

#define HTTP_CURL_TEXT 256
#define HTTP_MAX_IDLE_HANDLES 16

struct curl_slist;
struct transfer_list;

struct transfer {
	struct transfer *prev, *next;
	struct transfer_list *list;
	struct adafs_http *http;
	struct adafs_http_request *rq;
	adafs_http_done *done;
	void *arg;
	struct http_host *host; /* loop's table */
	bool probe;             /* asks whether the host answers again */

	/* this attempt */
	void *easy; /* CURL */
	struct curl_slist *header_list;
	struct adafs_http_response response;
	size_t uploaded; /* body bytes given to curl */
	int fd;          /* of the connection that the request went out on; -1: none yet */
	uint64_t moved;  /* bytes on that connection when last looked */
	unsigned sends; /* times that the request went out; curl repeats it on a stale connection */
	int callback_rc;                /* why a callback stopped the transfer */
	char curl_text[HTTP_CURL_TEXT]; /* CURL_ERROR_SIZE */

	/* all attempts */
	struct adafs_retry retry;
	uint64_t wake_ms;
	uint64_t queued_ms; /* when the loop took it over */
	uint32_t io_timeout_ms;
	bool answered;        /* the attempt before ended with a reply */
	bool wrote;           /* rq->write was given bytes */
	bool maybe_acted;     /* an attempt went out and its outcome was not told */
	bool clock_corrected; /* a refused signature was retried once already */
	bool renewed;         /* the same of a refused token */
	bool parked;          /* in `sleeping` until sign has what it needs */
	uint64_t parked_ms;   /* since when; 0: it is not */
	struct adafs_err err;
};

struct transfer_list {
	struct transfer *first, *last;
	size_t n;
};

struct adafs_http {
	struct adafs_http_config config;
	void *multi;         /* CURLM */
	const char *ca_file; /* certificates to trust instead of the system's; of the environment;
				NULL */
	pthread_t thread;

	struct adafs_mutex lock; /* rank ADAFS_RANK_QUEUE; also http_host.down */
	struct transfer_list incoming ADAFS_GUARDED_BY(&lock);
	bool running ADAFS_GUARDED_BY(&lock);
	struct http_host *hosts; /* changed by the loop under the lock */

	/* the loop's own */
	struct transfer_list waiting, active, sleeping;
	atomic_bool wake_parked;
	struct http_sockets sockets;
	void *idle[HTTP_MAX_IDLE_HANDLES]; /* CURL */
	size_t n_idle;

	atomic_llong clock_offset; /* seconds to add to the local clock */
	atomic_ullong requests, retries, timeouts, bytes_in, bytes_out;
};

/* --- http_attempt.c, on the loop thread --------------------------------------------------- */

/* A byte moved: the deadline of the transfer starts again. */
void http_progress(struct transfer *t);
/*
 * Sign the request, hand it to curl and move the transfer to `active`. 0, or -errno with t->err
 * saying why: http_attempt_end takes back what was built. t->parked: it was -EAGAIN, as sign has no
 * token yet; nothing was built.
 */
int http_attempt_begin(struct transfer *t);
/*
 * Take the handle back, and the transfer out of its list; on one under way this closes its
 * connection. well: curl ended it without an error; only such a handle serves again.
 */
void http_attempt_end(struct transfer *t, bool well);

/* --- http_transfer.c ---------------------------------------------------------------------- */

/* A transfer is in at most one list. */
void http_list_add(struct transfer_list *l, struct transfer *t);
void http_list_remove(struct transfer *t);
void http_list_move(struct transfer_list *l, struct transfer *t);

/* A reply with the status of success is not that of the service: the error of the transfer. */
void http_refuse_stranger(struct transfer *t);
/* Whether the reply has a status of success. */
bool http_has_status_2xx(const struct transfer *t);
/* Whether the reply is a 304 to a request that asked for one. */
bool http_not_modified_wanted(const struct transfer *t);
/* Translate a reply that is no success into t->err. */
void http_classify_status(struct transfer *t);
/* Remember how far the clock of the host that answered is off ours. */
void http_clock_note(struct transfer *t);
/* Whether a signature was refused because the local clock is wrong, which is put right then. */
bool http_clock_correct(struct transfer *t);

/* Whether a token was refused and a new one is on its way. */
bool http_token_renew(struct transfer *t);

/*
 * Tell the caller and free the transfer, which is in no list. Uses t->err, whose rc 0 is success.
 */
void http_transfer_finish(struct transfer *t);
/* The same with an error of our own. */
void http_transfer_fail(struct transfer *t, int rc, const char *why);

#endif
