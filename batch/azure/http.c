/*
 * The HTTP loop. One thread owns the multi handle, every easy handle and every transfer; other
 * threads only put transfers into `incoming` under the lock and wake the loop.
 *
 * A transfer is in one list at a time:
 *   incoming -> waiting (for a free slot of its host) -> active (an attempt is under way)
 *            -> sleeping (back-off, or no token yet) -> waiting -> active ... -> done
 *
 * Deadlines: last_progress_ms of a transfer moves with every byte in either direction. It starts
 * with the first attempt and anew with one that follows a reply, not in the queue: what waits
 * behind slow but healthy transfers is not late. Silent transfers give up their slots, so that
 * requests that hang keep no others from a host that answers them; what waits behind the most of
 * them that may be ends in its time too.
 */
#include "batch/azure/http.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "batch/azure/http_int.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/base/random.h"

#define DEFAULT_IO_TIMEOUT_MS 30000
#define DEFAULT_CONNECTIONS 64
#define MAX_LOOK_INTERVAL_MS 500
#define PARK_LOOK_MS 1000
#define STALL_MS 1000       /* silence after which a transfer takes no slot */
#define MAX_STALLED_TIMES 4 /* the most transfers under way, in slots */

/* --- what a finished attempt means ---------------------------------------------------------- */

/* How curl's codes read as errno; what is not here is -EIO and final. */
static const struct {
	CURLcode code;
	int rc;
	bool retryable;
} curl_codes[] = {
	{ CURLE_COULDNT_RESOLVE_HOST, -EHOSTUNREACH, true },
	{ CURLE_COULDNT_RESOLVE_PROXY, -EHOSTUNREACH, true },
	{ CURLE_COULDNT_CONNECT, -EHOSTUNREACH, true },
	{ CURLE_OPERATION_TIMEDOUT, -ETIMEDOUT,
	  true }, /* of the connection: the rest is timed here */
	{ CURLE_SEND_ERROR, -EIO, true },
	{ CURLE_RECV_ERROR, -EIO, true },
	{ CURLE_GOT_NOTHING, -EIO, true },
	{ CURLE_PARTIAL_FILE, -EIO, true },
	{ CURLE_SSL_CONNECT_ERROR, -EIO, true },
	{ CURLE_PEER_FAILED_VERIFICATION, -EACCES, false },
	{ CURLE_URL_MALFORMAT, -EINVAL, false },
	{ CURLE_UNSUPPORTED_PROTOCOL, -EINVAL, false },
	{ CURLE_WEIRD_SERVER_REPLY, -EPROTO, false },
	{ CURLE_OUT_OF_MEMORY, -ENOMEM, false },
};

/*
 * What to do about a line that fails before the service says a word; "": nothing better is known.
 */
static const char *transport_action(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return "; check the account's name and endpoint, and this machine's DNS";
	case CURLE_COULDNT_RESOLVE_PROXY:
		return "; check https_proxy in the environment";
	case CURLE_COULDNT_CONNECT:
		return "; check the endpoint, the network and its firewall";
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		return "; check this machine's clock and ca-certificates, and whether a proxy opens TLS";
	case CURLE_SSL_CONNECT_ERROR:
		return "; check whether the endpoint speaks https with TLS 1.2 or later";
	default:
		return "";
	}
}

static void classify_transport(struct transfer *t, CURLcode code)
{
	const char *operation = t->rq->operation ? t->rq->operation : t->rq->method;
	if (t->callback_rc < 0) {
		adafs_err_set(&t->err, t->callback_rc, "%s: %s", operation,
			      t->callback_rc == -EPROTO ? "the reply is larger than asked for"
							: strerror(-t->callback_rc));
		return;
	}
	int rc = -EIO;
	bool retryable = false;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(curl_codes); i++) {
		if (curl_codes[i].code == code) {
			rc = curl_codes[i].rc;
			retryable = curl_codes[i].retryable;
		}
	}
	adafs_err_set(&t->err, rc, "%s: %s%s", operation,
		      *t->curl_text ? t->curl_text : curl_easy_strerror(code),
		      transport_action(code));
	t->err.retryable = retryable;
}

static void host_set_down(struct adafs_http *h, struct http_host *host, bool down)
{
	if (host->down == down)
		return;
	adafs_log(WARN, "azure", "%s %s", host->root, down ? "does not answer" : "answers again");
	adafs_mutex_lock(&h->lock);
	host->down = down;
	adafs_mutex_unlock(&h->lock);
	/* The first probe goes out at once: one request that hangs may not mean the whole host. */
	host->next_probe_ms = adafs_clock_mono_ms();
}

static void transfer_again(struct transfer *t, uint64_t delay_ms)
{
	atomic_fetch_add(&t->http->retries, 1);
	t->wake_ms = adafs_clock_mono_ms() + delay_ms;
	http_list_add(&t->http->sleeping, t);
}

/* For who waits meanwhile: what the host's last word was; err rc 0: all is well. */
static void host_note(struct transfer *t)
{
	if (!t->err.rc && !t->host->again.rc)
		return;
	adafs_mutex_lock(&t->http->lock);
	t->host->again = t->err;
	adafs_mutex_unlock(&t->http->lock);
}

static bool may_repeat(const struct transfer *t)
{
	return !t->probe && !t->rq->no_retry && !(t->wrote && !t->rq->rewind);
}

/* An attempt failed with t->err: again later, or the end. The transfer is in no list. */
static void attempt_failed(struct transfer *t, bool answered)
{
	struct adafs_http *h = t->http;
	t->answered = answered;
	if (may_repeat(t)) {
		if (answered && (http_clock_correct(t) || http_token_renew(t))) {
			transfer_again(t, 0);
			return;
		}
		uint32_t random;
		adafs_random_bytes(&random, sizeof(random));
		int64_t delay = adafs_retry_delay(&t->retry, &t->err, t->io_timeout_ms,
						  adafs_clock_mono_ms(), random);
		if (delay >= 0) {
			host_note(t);
			transfer_again(t, (uint64_t)delay);
			return;
		}
		if (!t->rq->link_local &&
		    (t->err.rc == -EHOSTUNREACH || (t->err.rc == -ETIMEDOUT && !answered)))
			host_set_down(h, t->host, true);
	}
	http_transfer_finish(t);
}

/* curl has ended an attempt. */
static void attempt_done(struct transfer *t, CURLcode code)
{
	bool answered = t->response.status > 0;
	http_attempt_end(t, code == CURLE_OK);
	if (answered) {
		host_set_down(t->http, t->host, false);
		http_clock_note(t);
	}
	/* A reply of 408 or 5xx does not say that nothing was done. */
	if (t->sends > 1 || (t->sends && code != CURLE_OK) || t->response.status == 408 ||
	    t->response.status >= 500)
		t->maybe_acted = true;
	if (code != CURLE_OK)
		classify_transport(t, code);
	else if (!http_has_status_2xx(t) && !http_not_modified_wanted(t))
		http_classify_status(t);
	else if (t->rq->want_status && t->response.status != t->rq->want_status)
		http_refuse_stranger(t);
	if (t->err.rc == 0 && !t->probe)
		host_note(t);
	if (t->err.rc == 0)
		http_transfer_finish(t);
	else
		attempt_failed(t, answered);
}

static void transfer_timed_out(struct transfer *t)
{
	struct adafs_http *h = t->http;
	/* Who has just answered others is there: this request hangs alone. */
	bool answers = t->host->heard_ms &&
		       adafs_clock_mono_ms() - t->host->heard_ms < t->io_timeout_ms / 2;
	bool down = !t->probe && !t->rq->link_local && !answers;
	if (t->sends)
		t->maybe_acted = true;
	http_attempt_end(t, false);
	atomic_fetch_add(&h->timeouts, 1);
	if (down)
		host_set_down(h, t->host, true);
	adafs_err_set(&t->err, -ETIMEDOUT, "%s: no byte moved for %u ms",
		      t->rq->operation ? t->rq->operation : t->rq->method, t->io_timeout_ms);
	t->err.retryable = true;
	http_transfer_finish(t);
}

/* --- the loop ----------------------------------------------------------------------------- */

/* Adopt what was sent since the last round. Returns whether to go on. */
static bool take_incoming(struct adafs_http *h)
{
	adafs_mutex_lock(&h->lock);
	bool running = h->running;
	while (h->incoming.first) {
		struct transfer *t = h->incoming.first;
		t->host = http_host_get(&h->hosts, t->rq->url);
		t->queued_ms = adafs_clock_mono_ms();
		http_list_move(&h->waiting, t);
	}
	adafs_mutex_unlock(&h->lock);
	return running;
}

/* No token yet: set aside without a slot of the host, looked at again now and then. */
static void transfer_park(struct transfer *t)
{
	uint64_t now = adafs_clock_mono_ms();
	if (!t->parked_ms)
		t->parked_ms = now;
	if (now - t->parked_ms >= t->io_timeout_ms) {
		http_list_remove(t);
		http_transfer_fail(t, -ETIMEDOUT, "no token was obtained in time");
		return;
	}
	uint64_t limit = t->parked_ms + t->io_timeout_ms;
	t->wake_ms = now + PARK_LOOK_MS < limit ? now + PARK_LOOK_MS : limit;
	http_list_move(&t->http->sleeping, t);
}

/* Start one transfer, or end it when it cannot be. It is in no list or in `waiting`. */
static void transfer_start(struct transfer *t)
{
	if (t->host->down && !t->probe) {
		http_list_remove(t);
		adafs_err_set(&t->err, -EHOSTDOWN,
			      "%s: %s did not answer before and is being probed; check the "
			      "endpoint, the network and its firewall",
			      t->rq->operation ? t->rq->operation : t->rq->method, t->host->root);
		t->err.retryable = true;
		http_transfer_finish(t);
	} else if (http_attempt_begin(t) < 0) {
		if (t->parked) {
			transfer_park(t);
			return;
		}
		http_attempt_end(t, false);
		http_transfer_finish(t);
	}
}

static bool has_slot(const struct adafs_http *h, const struct http_host *host)
{
	const unsigned slots = h->config.max_connections_per_host;

	return host->active < slots + host->stalled && host->active < slots * MAX_STALLED_TIMES;
}

static void start_waiting(struct adafs_http *h)
{
	struct transfer *next;
	for (struct transfer *t = h->waiting.first; t; t = next) {
		next = t->next;
		if (!t->host) {
			http_list_remove(t);
			http_transfer_fail(t, -EINVAL, "not an absolute http or https URL");
		} else if (t->host->down || has_slot(h, t->host)) {
			transfer_start(t);
		}
	}
}

static void wake_sleeping(struct adafs_http *h, uint64_t now)
{
	struct transfer *next;
	bool woken = atomic_exchange(&h->wake_parked, false);
	for (struct transfer *t = h->sleeping.first; t; t = next) {
		next = t->next;
		if (t->wake_ms <= now || (woken && t->parked))
			http_list_move(&h->waiting, t);
	}
}

static void reap(struct adafs_http *h)
{
	CURLMsg *msg;
	int left;
	while ((msg = curl_multi_info_read(h->multi, &left))) {
		struct transfer *t = NULL;
		CURLcode code = msg->data.result;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &t);
		attempt_done(t, code);
	}
}

/* Whether bytes moved that curl did not tell of. */
static bool bytes_moved(struct transfer *t)
{
	uint64_t moved = t->fd < 0 ? 0 : http_socket_moved(t->fd);
	bool more = moved > t->moved;
	t->moved = moved;
	return more;
}

/* How often to look: what is found late extends the deadline by as much. */
static uint64_t look_interval_ms(const struct transfer *t)
{
	return t->io_timeout_ms / 8 < MAX_LOOK_INTERVAL_MS ? t->io_timeout_ms / 8
							   : MAX_LOOK_INTERVAL_MS;
}

/* Behind so many that are silent, one that waits is as late as these. */
static void expire_waiting(struct adafs_http *h, uint64_t now)
{
	struct transfer *next;
	for (struct transfer *t = h->waiting.first; t; t = next) {
		next = t->next;
		if (!t->host || t->host->stalled < h->config.max_connections_per_host ||
		    now - t->queued_ms < t->io_timeout_ms)
			continue;
		http_list_remove(t);
		http_transfer_fail(t, -ETIMEDOUT, "the host does not answer requests before this");
	}
}

static void expire(struct adafs_http *h, uint64_t now)
{
	struct transfer *next;
	for (struct http_host *host = h->hosts; host; host = host->next)
		host->stalled = 0;
	for (struct transfer *t = h->active.first; t; t = next) {
		next = t->next;
		uint64_t idle = now - t->retry.last_progress_ms;
		if (idle >= look_interval_ms(t) && bytes_moved(t))
			http_progress(t);
		else if (idle >= t->io_timeout_ms)
			transfer_timed_out(t);
		else if (idle >= STALL_MS)
			t->host->stalled++;
	}
	expire_waiting(h, now);
}

static void probe_done(void *arg, struct adafs_http_response *response, const struct adafs_err *err)
{
	struct http_host *host = arg;
	(void)response;
	(void)err;
	host->probing = false;
}

static void probe_start(struct adafs_http *h, struct http_host *host, uint64_t now)
{
	host->next_probe_ms = now + HTTP_PROBE_INTERVAL_MS;
	struct transfer *t = calloc(1, sizeof(*t));
	struct adafs_http_request *rq =
		adafs_http_request_new("HEAD", adafs_fmt("%s/", host->root));
	if (!t || !rq) {
		free(t);
		adafs_http_request_free(rq);
		return; /* the next one may find memory */
	}
	rq->operation = "probe";
	*t = (struct transfer){
		.http = h, .rq = rq, .done = probe_done, .arg = host, .host = host, .probe = true
	};
	t->io_timeout_ms = h->config.io_timeout_ms < HTTP_PROBE_INTERVAL_MS
				   ? h->config.io_timeout_ms
				   : HTTP_PROBE_INTERVAL_MS;
	host->probing = true;
	transfer_start(t);
}

static void probe_hosts(struct adafs_http *h, uint64_t now)
{
	for (struct http_host *host = h->hosts; host; host = host->next)
		if (host->down && !host->probing && host->next_probe_ms <= now)
			probe_start(h, host, now);
}

static void earlier(uint64_t *wait, uint64_t at, uint64_t now)
{
	uint64_t ms = at > now ? at - now : 0;
	if (ms < *wait)
		*wait = ms;
}

/* Milliseconds until something of ours is due. */
static int next_due(struct adafs_http *h)
{
	uint64_t wait = 10000, now = adafs_clock_mono_ms();
	for (struct transfer *t = h->active.first; t; t = t->next) {
		uint64_t limit = t->retry.last_progress_ms + t->io_timeout_ms;
		uint64_t look = now + look_interval_ms(t);
		earlier(&wait, look < limit ? look : limit, now);
	}
	for (struct transfer *t = h->sleeping.first; t; t = t->next)
		earlier(&wait, t->wake_ms, now);
	for (struct http_host *host = h->hosts; host; host = host->next)
		if (host->down && !host->probing)
			earlier(&wait, host->next_probe_ms, now);
	return (int)wait;
}

static void cancel_list(struct transfer_list *l)
{
	while (l->first) {
		struct transfer *t = l->first;
		if (t->sends)
			t->maybe_acted = true;
		http_attempt_end(t, false);
		http_transfer_fail(t, -ECANCELED, "cancelled");
	}
}

static void *loop(void *arg)
{
	struct adafs_http *h = arg;
	while (take_incoming(h)) {
		uint64_t now = adafs_clock_mono_ms();
		int running;
		wake_sleeping(h, now);
		probe_hosts(h, now);
		start_waiting(h);
		curl_multi_perform(h->multi, &running);
		reap(h);
		expire(h, adafs_clock_mono_ms());
		start_waiting(h); /* slots have become free */
		curl_multi_poll(h->multi, NULL, 0, next_due(h), NULL);
	}
	cancel_list(&h->active);
	cancel_list(&h->sleeping);
	cancel_list(&h->waiting);
	return NULL;
}

/* --- the object --------------------------------------------------------------------------- */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_init(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct adafs_http *adafs_http_new(const struct adafs_http_config *config, struct adafs_err *reterr)
{
	pthread_once(&curl_once, curl_init);
	struct adafs_http *h = calloc(1, sizeof(*h));
	if (!h) {
		adafs_err_set(reterr, -ENOMEM, "out of memory");
		return NULL;
	}
	adafs_mutex_init(&h->lock, ADAFS_RANK_QUEUE);
	if (config)
		h->config = *config;
	if (!h->config.io_timeout_ms)
		h->config.io_timeout_ms = DEFAULT_IO_TIMEOUT_MS;
	if (!h->config.max_connections_per_host)
		h->config.max_connections_per_host = DEFAULT_CONNECTIONS;
	/* As OpenSSL's programs and Azure's tools do it; Debian's libcurl looks at its own bundle
	 * only. */
	h->ca_file = secure_getenv("SSL_CERT_FILE");
	if (h->ca_file && !*h->ca_file)
		h->ca_file = NULL;
	h->multi = curl_multi_init();
	if (!h->multi ||
	    curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING) != CURLM_OK ||
	    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS,
			      (long)h->config.max_connections_per_host * 2) != CURLM_OK) {
		adafs_err_set(reterr, -ENOMEM, "the HTTP loop cannot be made");
		adafs_http_free(h);
		return NULL;
	}
	return h;
}

int adafs_http_start(struct adafs_http *h, struct adafs_err *reterr)
{
	adafs_mutex_lock(&h->lock);
	bool was = h->running;
	h->running = true;
	adafs_mutex_unlock(&h->lock);
	if (was)
		return adafs_err_set(reterr, -EALREADY, "the HTTP loop runs already");
	/* Signals are for the threads of the filesystem. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&h->thread, NULL, loop, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0) {
		adafs_mutex_lock(&h->lock);
		h->running = false;
		adafs_mutex_unlock(&h->lock);
		return adafs_err_set(reterr, -rc, "the HTTP thread cannot be started: %s",
				     strerror(rc));
	}
	pthread_setname_np(h->thread, "adafs-http");
	return 0;
}

void adafs_http_stop(struct adafs_http *h)
{
	if (!h)
		return;
	adafs_mutex_lock(&h->lock);
	bool was = h->running;
	h->running = false;
	adafs_mutex_unlock(&h->lock);
	if (!was)
		return;
	curl_multi_wakeup(h->multi);
	pthread_join(h->thread, NULL);
}

void adafs_http_free(struct adafs_http *h)
{
	if (!h)
		return;
	adafs_http_stop(h);
	for (size_t i = 0; i < h->n_idle; i++)
		curl_easy_cleanup(h->idle[i]);
	if (h->multi)
		curl_multi_cleanup(h->multi);
	http_sockets_clear(&h->sockets);
	http_host_free_all(h->hosts);
	adafs_mutex_clear(&h->lock);
	free(h);
}

void adafs_http_wake(struct adafs_http *h)
{
	atomic_store(&h->wake_parked, true);
	curl_multi_wakeup(h->multi);
}

void adafs_http_send(struct adafs_http *h, struct adafs_http_request *rq, adafs_http_done *done,
		     void *arg)
{
	struct transfer *t = rq ? calloc(1, sizeof(*t)) : NULL;
	struct adafs_http_response none = { 0 };
	struct adafs_err err;
	if (!t) {
		adafs_err_set(&err, -ENOMEM, "out of memory for a request");
		adafs_http_request_free(rq);
		done(arg, &none, &err);
		return;
	}
	*t = (struct transfer){ .http = h, .rq = rq, .done = done, .arg = arg };
	t->io_timeout_ms = rq->io_timeout_ms ? rq->io_timeout_ms : h->config.io_timeout_ms;
	adafs_mutex_lock(&h->lock);
	bool running = h->running;
	if (running)
		http_list_add(&h->incoming, t);
	adafs_mutex_unlock(&h->lock);
	if (running)
		curl_multi_wakeup(h->multi);
	else
		http_transfer_fail(t, -ECANCELED, "the HTTP loop does not run");
}
