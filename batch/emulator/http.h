/*
 * emulator/http.h - a small HTTP/1.1 server under both services, on libmicrohttpd.
 *
 * A request passes two phases. When its headers are complete, `begin` authenticates it, names the
 * operation and chooses where a body goes; when the body is complete, `handle` answers. `end` runs
 * once for every request that began, answered or broken off. All three run in the thread of the
 * connection, one after the other, so a request needs no lock of its own. A refusal in `begin`
 * while a body arrives is answered after the rest was read and dropped, so that the client sees
 * the answer and keeps its connection.
 *
 * Requests and responses are plain values with helpers to build them: tests call handlers with no
 * socket. Names of headers and query parameters compare without case. The reason phrase is that of
 * the status: libmicrohttpd knows no other.
 */
#ifndef ADAFS_EMULATOR_HTTP_H
#define ADAFS_EMULATOR_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "batch/base/buf.h"
#include "batch/base/err.h"

struct http_field {
	char *name;  /* as sent (headers) or decoded (query parameters) */
	char *value; /* never NULL; headers: without blanks around it; parameters: decoded */
};

/* The texts of one message, one behind the other: a malloc for each would cost more than all else
 * that is done with them. */
struct http_chunk;

/* Where the body of a request goes; chosen in `begin`. */
enum http_sink {
	HTTP_SINK_BUFFER, /* collected in req->body, at most req->body_max bytes (0: none allowed)
			   */
	HTTP_SINK_STREAM, /* each piece goes to ops->body as it arrives */
	HTTP_SINK_DROP,   /* read and forgotten */
};

struct http_req {
	struct http_chunk *texts; /* owned; what the fields and the next three point into */
	char *method;             /* "GET", as sent */
	char *target;             /* the request target as on the wire, path and query, undecoded */
	char *path;               /* the target's path, undecoded: what Shared Key signs */
	struct http_field *params; /* query parameters in the order sent; values decoded */
	size_t n_params;
	struct http_field *headers;
	size_t n_headers;
	int64_t content_length; /* of the header; -1: absent (also with a chunked body) */
	bool chunked;           /* the body comes in chunks, of unknown length */
	bool expect_continue;   /* the client waits for 100 Continue before it sends the body */
	char peer[64];          /* address of the client, without port; "" in tests */

	/* Set by `begin`. */
	enum http_sink sink;   /* default HTTP_SINK_BUFFER */
	size_t body_max;       /* cap of HTTP_SINK_BUFFER; default 0 */
	const char *operation; /* for counters and logs, "PutBlob"; static text; NULL: unknown */
	void *user;            /* the service's own state of this request; free it in `end` */

	/* Set by the server before `handle`. */
	struct adafs_buf body; /* HTTP_SINK_BUFFER: the whole body */
	uint64_t body_len;     /* bytes received, whatever the sink */
	int body_rc;           /* 0; -EFBIG: larger than body_max; else what ops->body returned */
};

struct http_segment {
	int fd; /* one of the response's owned descriptors; -1 only when answering HEAD */
	uint64_t off, len;
};

/* A response under construction. The body is either `body` or the segments, never both. */
struct http_resp {
	int status;
	struct http_chunk *texts; /* owned; what the fields point into */
	struct http_field *headers;
	size_t n_headers;
	struct adafs_buf body;         /* small bodies: XML, JSON, text */
	struct http_segment *segments; /* file content; one segment is served by sendfile */
	size_t n_segments;
	int *fds; /* owned: closed when the response was sent */
	size_t n_fds;
	uint64_t head_length; /* HEAD only: the Content-Length to announce */
};

/* What a service does with requests. */
struct http_service_ops {
	const char *name; /* "blob", "batch": in logs and counters */
	/*
	 * Headers are complete. Set operation, sink, body_max, user. Return 0 to go on; anything
	 * else means that resp holds the answer already: a body is dropped and `handle` is not
	 * called.
	 */
	int (*begin)(void *service, struct http_req *req, struct http_resp *resp);
	/*
	 * A piece of the body (HTTP_SINK_STREAM only; may be NULL). After a negative return the
	 * rest is dropped and `handle` runs with that code in req->body_rc.
	 */
	int (*body)(void *service, struct http_req *req, const void *data, size_t len);
	/* The body is complete (or was none): fill resp. A status of 0 becomes 500. */
	void (*handle)(void *service, struct http_req *req, struct http_resp *resp);
	/* Before a response is sent, also one of `begin`: add the headers that every answer has.
	 * May be NULL. */
	void (*finish)(void *service, const struct http_req *req, struct http_resp *resp);
	/* The request is over: release req->user. May be NULL. */
	void (*end)(void *service, struct http_req *req);
};

/* --- the server ------------------------------------------------------------------------------ */

struct traps;

struct http_config {
	const char *host;    /* loopback only: "127.0.0.1", "::1" or "localhost"; anything else is
				refused */
	uint16_t port;       /* 0: the system chooses */
	int access_log_fd;   /* one line a request is appended; -1: none; borrowed until stop */
	struct traps *traps; /* faults to show; NULL: none; borrowed until free */
	const struct http_service_ops *ops; /* static */
	void *service;                      /* borrowed until stop */
};

struct http_server;

/*
 * Bind and listen; no request is served before http_server_start. 0; -EADDRINUSE, -EACCES,
 * -EADDRNOTAVAIL; -EINVAL when the host is not loopback.
 */
int http_server_new(const struct http_config *config, struct http_server **ret_server,
		    struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* The port bound to. */
uint16_t http_server_port(const struct http_server *s);
/* "127.0.0.1:10000" or "[::1]:10000"; borrowed until free. */
const char *http_server_authority(const struct http_server *s);
/* Start to accept. */
int http_server_start(struct http_server *s, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* Accept nothing more, let running requests end for at most grace_ms, join. May be called twice. */
void http_server_stop(struct http_server *s, unsigned grace_ms);
/* Stops if needed; accepts NULL. */
void http_server_free(struct http_server *s);

/*
 * Counters: each server answers GET /adafs/counters itself, without authentication and without
 * counting it, with {"service":"blob","total":3,"failed":1,"operations":{"PutBlob":2,...}}, and
 * POST /adafs/counters/reset with 204. An operation is counted before its answer is sent; requests
 * without an operation count as "Unknown"; failed counts answers of 400 and above.
 */

/* --- requests -------------------------------------------------------------------------------- */

/*
 * Prepare a request from its method and raw target (also for tests): splits path and query, decodes
 * the parameters (%XX only; "+" stays, as Azure's SAS and SDKs need). 0, -ENOMEM, or -EINVAL for a
 * broken escape.
 */
int http_req_init(struct http_req *req, const char *method, const char *target) ADAFS_MUST_CHECK;
/* Add a header as received. 0 or -ENOMEM. */
int http_req_add_header(struct http_req *req, const char *name, const char *value);
void http_req_clear(struct http_req *req);
/* First value of a header, or NULL; borrowed. */
const char *http_req_header(const struct http_req *req, const char *name);
/* First decoded value of a query parameter, or NULL; borrowed. */
const char *http_req_param(const struct http_req *req, const char *name);

/*
 * Match an undecoded path against a pattern such as "/jobs/{}/tasks/{}" ("{}": one segment that is
 * not empty; "{*}" at the end: the whole rest). One trailing slash of the path is ignored. On
 * success the decoded pieces are in args, each owned by the caller (free()), the rest NULL. 1:
 * matches; 0: does not; -ENOMEM; -EINVAL: a broken escape.
 */
#define HTTP_PATH_ARGS 6
int http_path_match(const char *pattern, const char *path, char *args[HTTP_PATH_ARGS]);
void http_path_args_clear(char *args[HTTP_PATH_ARGS]);

/* --- responses ------------------------------------------------------------------------------- */

/* An empty response with no status; bodies in memory are capped at 64 MiB. */
void http_resp_init(struct http_resp *resp);
void http_resp_clear(struct http_resp *resp);
/*
 * Append a header. 0 or -ENOMEM; a value that holds CR, LF or other controls is refused: -EINVAL.
 */
int http_resp_header(struct http_resp *resp, const char *name, const char *value);
int http_resp_headerf(struct http_resp *resp, const char *name, const char *fmt, ...)
	ADAFS_PRINTF(3, 4);
/* A header of the response so far, or NULL; borrowed. */
const char *http_resp_get_header(const struct http_resp *resp, const char *name);
/* Forget status, headers and body (when an answer half built turns into an error). */
void http_resp_reset(struct http_resp *resp);
/* Text body with its Content-Type. */
int http_resp_text(struct http_resp *resp, int status, const char *content_type, const char *text);
/* JSON body; content_type NULL: "application/json". */
int http_resp_json(struct http_resp *resp, int status, const char *content_type, const cJSON *json);
/* Serve part of a file. own: the response closes fd, also on failure; a descriptor that several
 * segments share is owned once. */
int http_resp_add_file(struct http_resp *resp, int fd, bool own, uint64_t off, uint64_t len);

#endif
