/*
 * The server: libmicrohttpd with a thread for each connection, so that one that waits for the disk
 * holds up nobody, and many that wait share one commit. One exchange lives from the request line
 * (uri_logged) to the completion (request_completed); between them answer_cb drives it:
 *
 *   NEW --headers--> BODY --last piece--> ANSWERED
 *                \-> REFUSED (answer ready, the body is read and dropped) -> ANSWERED
 *
 * Answers are always queued after the body, because libmicrohttpd would else close the connection
 * under a client that still sends. Only with Expect: 100-continue is a refusal sent at once.
 */
#include "batch/emulator/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <microhttpd.h>

#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "batch/base/json.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"
#include "batch/emulator/http_fault.h"
#include "batch/emulator/http_send.h"

#define STACK_SIZE (1024 * 1024) /* of a connection's thread */
/*
 * More connections than this are closed as they come. One that moved no byte for so long is closed,
 * else whoever keeps idle ones open could lock everybody else out.
 */
#define MAX_CONNECTIONS 2048
#define IDLE_TIMEOUT_S 300
#define MAX_OPERATIONS 96
/* Headers of a request and the piece of body in hand; wiped after each request. */
#define CONNECTION_MEMORY (64 * 1024)
#define MEMORY_INCREMENT (32 * 1024)

struct operation_count {
	const char *operation; /* static text */
	uint64_t n;
};

struct http_server {
	const struct http_service_ops *ops;
	void *service;
	int access_log_fd;
	struct traps *traps; /* borrowed; NULL: none */
	atomic_uint n_busy;  /* requests refused on purpose */
	int listen_fd;
	uint16_t port;
	char authority[64];
	struct MHD_Daemon *daemon;
	struct adafs_mutex lock; /* LEAF: counters, n_running */
	struct adafs_cond idle;  /* n_running became 0 */
	unsigned n_running;
	struct operation_count counts[MAX_OPERATIONS];
	size_t n_counts;
	uint64_t total, failed;
};

enum exchange_state { NEW, BODY, REFUSED, ANSWERED };

struct exchange;

/* A connection, to libmicrohttpd its socket context. */
struct peer {
	struct exchange *running; /* owned; NULL: between two requests */
};

struct exchange {
	struct http_server *server;
	struct peer *peer; /* NULL: out of memory */
	enum exchange_state state;
	bool began;       /* ops->begin ran, so ops->end must */
	bool is_admin;    /* counters: not the service's business */
	bool body_failed; /* ops->body refused or the cap was passed: drop the rest */
	bool corked;      /* the socket holds the headers back until the file follows */
	struct http_fault fault;
	char *target;
	uint64_t start_ms;
	struct http_req req;
	struct http_resp resp;
};

/* --- counters and the access log ------------------------------------------------------------- */

static void count_locked(struct http_server *s, const char *operation, int status)
{
	s->total++;
	s->failed += status >= 400;
	for (size_t i = 0; i < s->n_counts; i++) {
		if (strcmp(s->counts[i].operation, operation) == 0) {
			s->counts[i].n++;
			return;
		}
	}
	if (s->n_counts < MAX_OPERATIONS)
		s->counts[s->n_counts++] = (struct operation_count){ operation, 1 };
}

static void count(struct http_server *s, const char *operation, int status)
{
	adafs_mutex_lock(&s->lock);
	count_locked(s, operation, status);
	adafs_mutex_unlock(&s->lock);
}

static int counters_json(struct http_server *s, struct http_resp *resp)
{
	ADAFS_JSON *j = cJSON_CreateObject();
	cJSON *ops = j ? cJSON_AddObjectToObject(j, "operations") : NULL;
	if (!ops)
		return -ENOMEM;
	adafs_mutex_lock(&s->lock);
	cJSON_AddStringToObject(j, "service", s->ops->name);
	cJSON_AddNumberToObject(j, "total", (double)s->total);
	cJSON_AddNumberToObject(j, "failed", (double)s->failed);
	for (size_t i = 0; i < s->n_counts; i++)
		cJSON_AddNumberToObject(ops, s->counts[i].operation, (double)s->counts[i].n);
	adafs_mutex_unlock(&s->lock);
	return http_resp_json(resp, 200, NULL, j);
}

/*
 * Whether the request is for the server itself; then resp is its answer. The whole target is
 * compared: with a query it names the container `counters` of an account `adafs`.
 */
static bool admin_answer(struct exchange *x)
{
	struct http_server *s = x->server;
	if (strcmp(x->req.target, "/adafs/counters") == 0 && strcmp(x->req.method, "GET") == 0) {
		if (counters_json(s, &x->resp) < 0)
			x->resp.status = 500;
		return true;
	}
	if (strcmp(x->req.target, "/adafs/counters/reset") == 0 &&
	    strcmp(x->req.method, "POST") == 0) {
		adafs_mutex_lock(&s->lock);
		s->n_counts = 0;
		s->total = s->failed = 0;
		adafs_mutex_unlock(&s->lock);
		x->resp.status = 204;
		return true;
	}
	return http_fault_admin(s->traps, &x->req, &x->resp);
}

static void log_exchange(struct exchange *x)
{
	struct http_server *s = x->server;
	const char *operation = x->req.operation ? x->req.operation : "Unknown";
	uint64_t ms = adafs_clock_mono_ms() - x->start_ms;
	bool debug = adafs_log_enabled(ADAFS_LOG_DEBUG, "emulator");
	if (!debug && s->access_log_fd < 0)
		return;
	ADAFS_FREE char *line = adafs_fmt(
		"%s %s %s %d %s in=%llu out=%llu ms=%llu", s->ops->name, x->req.method,
		x->req.target, x->resp.status, operation, (unsigned long long)x->req.body_len,
		(unsigned long long)http_send_length(&x->req, &x->resp), (unsigned long long)ms);
	if (!line)
		return;
	adafs_redact(line);
	if (debug)
		adafs_log(DEBUG, "emulator", "%s", line);
	if (s->access_log_fd < 0)
		return;
	char now[ADAFS_ISO8601_LEN];
	adafs_clock_iso8601(adafs_clock_wall_us(), now);
	ADAFS_FREE char *whole = adafs_fmt("%s %s\n", now, line);
	/* O_APPEND and one write: lines of both services do not mix. A full disk only loses the
	 * line. */
	if (whole)
		(void)adafs_write_all(s->access_log_fd, whole, strlen(whole));
}

/* --- sending an answer ----------------------------------------------------------------------- */

static enum MHD_Result send_answer(struct MHD_Connection *c, struct exchange *x)
{
	struct http_server *s = x->server;
	x->state = ANSWERED;
	if (x->resp.status == 0)
		x->resp.status = 500;
	if (!x->is_admin) {
		if (s->ops->finish && !x->fault.busy)
			s->ops->finish(s->service, &x->req, &x->resp);
		count(s, x->req.operation ? x->req.operation : "Unknown", x->resp.status);
		log_exchange(x);
	}
	if (x->fault.lost)
		return MHD_NO; /* libmicrohttpd cuts the connection */
	x->corked = x->resp.n_segments && http_send_cork(c, true);
	struct MHD_Response *m = http_send_response(&x->req, &x->fault, &x->resp);
	if (!m)
		return MHD_NO;
	enum MHD_Result rc = MHD_queue_response(c, (unsigned)x->resp.status, m);
	MHD_destroy_response(m);
	return rc;
}

/* --- receiving a request --------------------------------------------------------------------- */

static enum MHD_Result take_header(void *cls, enum MHD_ValueKind kind, const char *name,
				   const char *value)
{
	struct http_req *req = cls;
	(void)kind;
	return http_req_add_header(req, name, value) < 0 ? MHD_NO : MHD_YES;
}

static void take_peer(struct MHD_Connection *c, struct http_req *req)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	if (!info || !info->client_addr)
		return;
	const struct sockaddr *sa = info->client_addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
	if (sa->sa_family == AF_INET && in->sin_addr.s_addr == htonl(INADDR_LOOPBACK))
		strcpy(req->peer, "127.0.0.1"); /* nearly always */
	else if (sa->sa_family == AF_INET)
		inet_ntop(AF_INET, &in->sin_addr, req->peer, sizeof(req->peer));
	else if (sa->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, req->peer,
			  sizeof(req->peer));
}

/* Two lengths, or a length and chunks: where the body ends would be a matter of taste. */
static bool length_is_ambiguous(const struct http_req *req)
{
	unsigned n = req->chunked;
	for (size_t i = 0; i < req->n_headers; i++)
		n += strcasecmp(req->headers[i].name, "Content-Length") == 0;
	return n > 1;
}

static enum MHD_Result headers_complete(struct MHD_Connection *c, struct exchange *x,
					const char *method)
{
	struct http_server *s = x->server;
	int rc = http_req_init(&x->req, method, x->target);
	if (rc == 0 && MHD_get_connection_values(c, MHD_HEADER_KIND, take_header, &x->req) < 0)
		rc = -ENOMEM;
	if (rc == 0)
		take_peer(c, &x->req);
	if (rc == 0 && length_is_ambiguous(&x->req))
		rc = -EINVAL;
	if (rc == -ENOMEM)
		return MHD_NO;
	if (rc < 0) {
		x->state = REFUSED;
		x->resp.status = 400;
	} else if (admin_answer(x)) {
		x->is_admin = true;
		x->state = REFUSED;
	} else if ((x->fault = http_fault_draw(s->traps)).busy) {
		x->req.operation = "Busy";
		http_fault_busy(s->traps, s->ops->name, atomic_fetch_add(&s->n_busy, 1), &x->req,
				&x->resp);
		x->state = REFUSED;
	} else {
		x->began = true;
		x->state = s->ops->begin(s->service, &x->req, &x->resp) == 0 ? BODY : REFUSED;
		x->req.body.cap = x->req.body_max;
	}
	/* This client has not sent its body, and never will. */
	if (x->state == REFUSED && x->req.expect_continue)
		return send_answer(c, x);
	return MHD_YES;
}

static void body_piece(struct exchange *x, const char *data, size_t len)
{
	struct http_server *s = x->server;
	struct http_req *req = &x->req;
	req->body_len += len;
	if (x->state != BODY || x->body_failed)
		return;
	int rc = 0;
	if (req->sink == HTTP_SINK_BUFFER)
		rc = adafs_buf_add(&req->body, data, len);
	else if (req->sink == HTTP_SINK_STREAM && s->ops->body)
		rc = s->ops->body(s->service, req, data, len);
	if (rc < 0) {
		req->body_rc = rc;
		x->body_failed = true;
	}
}

static enum MHD_Result answer_cb(void *cls, struct MHD_Connection *c, const char *url,
				 const char *method, const char *version, const char *data,
				 size_t *len, void **con_cls)
{
	struct exchange *x = *con_cls;
	(void)cls;
	(void)url;
	(void)version;
	if (!x)
		return MHD_NO; /* out of memory at its start */
	if (x->state == NEW)
		return headers_complete(c, x, method);
	if (*len) {
		body_piece(x, data, *len);
		*len = 0;
		return MHD_YES;
	}
	if (x->state == BODY)
		x->server->ops->handle(x->server->service, &x->req, &x->resp);
	return x->state == ANSWERED ? MHD_YES : send_answer(c, x);
}

static struct peer *peer_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info ? info->socket_context : NULL;
}

static void *uri_logged(void *cls, const char *uri, struct MHD_Connection *c)
{
	struct http_server *s = cls;
	struct exchange *x = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	x->server = s;
	x->peer = peer_of(c);
	if (x->peer)
		x->peer->running = x;
	x->target = strdup(uri);
	x->start_ms = adafs_clock_mono_ms();
	http_resp_init(&x->resp);
	adafs_mutex_lock(&s->lock);
	s->n_running++;
	adafs_mutex_unlock(&s->lock);
	if (!x->target)
		x->target = strdup("/");
	return x;
}

static void exchange_end(struct exchange *x)
{
	struct http_server *s = x->server;
	if (x->peer)
		x->peer->running = NULL;
	if (x->began && s->ops->end)
		s->ops->end(s->service, &x->req);
	http_req_clear(&x->req);
	http_resp_clear(&x->resp);
	free(x->target);
	free(x);
	adafs_mutex_lock(&s->lock);
	if (--s->n_running == 0)
		adafs_cond_broadcast(&s->idle);
	adafs_mutex_unlock(&s->lock);
}

static void request_completed(void *cls, struct MHD_Connection *c, void **con_cls,
			      enum MHD_RequestTerminationCode toe)
{
	struct exchange *x = *con_cls;
	(void)cls;
	(void)toe;
	if (!x)
		return;
	if (x->corked)
		(void)http_send_cork(c, false);
	exchange_end(x);
	*con_cls = NULL;
}

/*
 * A request whose parameters or headers do not fit into the connection's memory is dropped by
 * libmicrohttpd without a word, so that what it began ends with its connection.
 */
static void connection_changed(void *cls, struct MHD_Connection *c, void **socket_context,
			       enum MHD_ConnectionNotificationCode toe)
{
	(void)cls;
	(void)c;
	if (toe == MHD_CONNECTION_NOTIFY_STARTED) {
		*socket_context = calloc(1, sizeof(struct peer));
		return;
	}
	struct peer *peer = ADAFS_STEAL(*socket_context);
	if (peer && peer->running)
		exchange_end(peer->running);
	free(peer);
}

/* The services decode what they need themselves: signatures cover the undecoded text. */
static size_t keep_escapes(void *cls, struct MHD_Connection *c, char *text)
{
	(void)cls;
	(void)c;
	return strlen(text);
}

/* --- life ------------------------------------------------------------------------------------ */

static int loopback_address(const char *host, uint16_t port, struct sockaddr_storage *ss,
			    socklen_t *ret_len)
{
	memset(ss, 0, sizeof(*ss));
	struct sockaddr_in *in4 = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	if (strcasecmp(host, "localhost") == 0)
		host = "127.0.0.1";
	if (inet_pton(AF_INET, host, &in4->sin_addr) == 1) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		*ret_len = sizeof(*in4);
		return (ntohl(in4->sin_addr.s_addr) >> 24) == 127 ? 0 : -EINVAL;
	}
	memset(ss, 0, sizeof(*ss));
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1 ||
	    !IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr))
		return -EINVAL;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	*ret_len = sizeof(*in6);
	return 0;
}

static int bind_and_listen(struct http_server *s, const char *host, uint16_t port,
			   struct adafs_err *reterr)
{
	struct sockaddr_storage ss;
	socklen_t len;
	if (loopback_address(host, port, &ss, &len) < 0)
		return adafs_err_set(
			reterr, -EINVAL,
			"'%s' is not a loopback address: the emulator serves this machine only; "
			"use 127.0.0.1",
			host);
	s->listen_fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;
	if (s->listen_fd < 0 ||
	    setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(s->listen_fd, (struct sockaddr *)&ss, len) < 0 ||
	    listen(s->listen_fd, SOMAXCONN) < 0)
		return adafs_err_set(reterr, -errno, "cannot listen on %s port %u: %s", host, port,
				     strerror(errno));
	len = sizeof(ss);
	if (getsockname(s->listen_fd, (struct sockaddr *)&ss, &len) < 0)
		return adafs_err_set(reterr, -errno, "getsockname: %s", strerror(errno));
	char text[INET6_ADDRSTRLEN] = "";
	if (ss.ss_family == AF_INET) {
		s->port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
		inet_ntop(AF_INET, &((struct sockaddr_in *)&ss)->sin_addr, text, sizeof(text));
		snprintf(s->authority, sizeof(s->authority), "%s:%u", text, s->port);
	} else {
		s->port = ntohs(((struct sockaddr_in6 *)&ss)->sin6_port);
		snprintf(s->authority, sizeof(s->authority), "[::1]:%u", s->port);
	}
	return 0;
}

int http_server_new(const struct http_config *config, struct http_server **ret_server,
		    struct adafs_err *reterr)
{
	struct http_server *s = calloc(1, sizeof(*s));
	if (!s)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	s->ops = config->ops;
	s->service = config->service;
	s->access_log_fd = config->access_log_fd;
	s->traps = config->traps;
	s->listen_fd = -1;
	adafs_mutex_init(&s->lock, ADAFS_RANK_LEAF);
	adafs_cond_init(&s->idle);
	int rc = bind_and_listen(s, config->host, config->port, reterr);
	if (rc < 0) {
		http_server_free(s);
		return rc;
	}
	*ret_server = s;
	return 0;
}

uint16_t http_server_port(const struct http_server *s)
{
	return s->port;
}

const char *http_server_authority(const struct http_server *s)
{
	return s->authority;
}

int http_server_start(struct http_server *s, struct adafs_err *reterr)
{
	unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
			 MHD_USE_POLL | MHD_USE_ITC;
	s->daemon = MHD_start_daemon(
		flags, 0, NULL, NULL, answer_cb, s, MHD_OPTION_LISTEN_SOCKET, s->listen_fd,
		MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_SIZE, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)MEMORY_INCREMENT,
		MHD_OPTION_URI_LOG_CALLBACK, uri_logged, s, MHD_OPTION_NOTIFY_COMPLETED,
		request_completed, s, MHD_OPTION_NOTIFY_CONNECTION, connection_changed, NULL,
		MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_END);
	if (!s->daemon)
		return adafs_err_set(reterr, -EIO, "cannot start the %s service: %s", s->ops->name,
				     strerror(errno));
	return 0;
}

void http_server_stop(struct http_server *s, unsigned grace_ms)
{
	if (!s->daemon)
		return;
	MHD_quiesce_daemon(s->daemon);
	uint64_t deadline = adafs_clock_mono_ms() + grace_ms;
	adafs_mutex_lock(&s->lock);
	while (s->n_running && adafs_cond_wait_until(&s->idle, &s->lock, deadline) == 0)
		;
	adafs_mutex_unlock(&s->lock);
	MHD_stop_daemon(s->daemon);
	s->daemon = NULL;
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	http_server_stop(s, 0);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	adafs_cond_clear(&s->idle);
	adafs_mutex_clear(&s->lock);
	free(s);
}
