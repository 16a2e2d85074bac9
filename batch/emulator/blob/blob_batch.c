/*
 * Blob Batch: up to 256 deletes or tier changes in one multipart request. Each part is a request of
 * its own, with its own authorisation and answer; it inherits the version of the batch. A batch
 * that cannot be read is answered by one part without a Content-ID, as SDKs expect.
 */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_PARTS 256

/* A piece of the body that moves forward as it is read. */
struct reader {
	const char *p, *end;
};

/* The next line without its end; false at the end of the body. */
static bool take_line(struct reader *r, const char **ret, size_t *ret_len)
{
	if (r->p == r->end)
		return false;
	const char *nl = memchr(r->p, '\n', (size_t)(r->end - r->p));
	const char *end = nl ? nl : r->end;
	*ret = r->p;
	*ret_len = (size_t)(end - r->p);
	if (*ret_len && end[-1] == '\r')
		(*ret_len)--;
	r->p = nl ? nl + 1 : r->end;
	return true;
}

/* The boundary of the Content-Type; owned, NULL: none. */
static char *find_boundary(struct blob_call *c)
{
	const char *type = call_header(c, "Content-Type");
	if (!type || strncasecmp(type, "multipart/mixed", 15) != 0)
		return NULL;
	const char *b = strcasestr(type, "boundary=");
	if (!b)
		return NULL;
	b += 9;
	bool quoted = *b == '"';
	b += quoted;
	size_t len = strcspn(b, quoted ? "\"" : "; \t");
	return len && len <= 200 ? strndup(b, len) : NULL;
}

struct part {
	char *id; /* owned; Content-ID; NULL: none */
	struct http_req req;
	bool has_req;
};

struct parts {
	struct part *v;
	size_t n;
};

static void parts_clear(struct parts *parts)
{
	for (size_t i = 0; i < parts->n; i++) {
		free(parts->v[i].id);
		if (parts->v[i].has_req)
			http_req_clear(&parts->v[i].req);
	}
	free(parts->v);
}

/* A "name: value" line; both outputs owned. -EINVAL: it is none. */
static int split_header(const char *line, size_t len, char **ret_name, char **ret_value)
{
	const char *colon = memchr(line, ':', len);
	if (!colon || colon == line)
		return -EINVAL;
	const char *value = colon + 1, *end = line + len;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*ret_name = strndup(line, (size_t)(colon - line));
	*ret_value = strndup(value, (size_t)(end - value));
	return *ret_name && *ret_value ? 0 : -ENOMEM;
}

/* Header lines up to the empty one; each() may keep them. */
static int take_headers(struct reader *r, struct part *p,
			int (*each)(struct part *p, const char *name, const char *value))
{
	const char *line;
	size_t len;
	while (take_line(r, &line, &len)) {
		ADAFS_FREE char *name = NULL;
		ADAFS_FREE char *value = NULL;
		if (!len)
			return 0;
		int rc = split_header(line, len, &name, &value);
		if (rc == 0)
			rc = each(p, name, value);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int part_header(struct part *p, const char *name, const char *value)
{
	if (strcasecmp(name, "Content-Type") == 0)
		return strcasecmp(value, "application/http") == 0 ? 0 : -EINVAL;
	if (strcasecmp(name, "Content-ID") != 0)
		return 0;
	if (p->id || strlen(value) > 64)
		return -EINVAL;
	p->id = strdup(value);
	return p->id ? 0 : -ENOMEM;
}

static int request_header(struct part *p, const char *name, const char *value)
{
	if (strcasecmp(name, "Content-Length") == 0) /* no operation of a batch has a body */
		p->req.content_length = strtoll(value, NULL, 10);
	return http_req_add_header(&p->req, name, value);
}

/* "DELETE /account/container/name?query HTTP/1.1" */
static int request_line(struct part *p, const char *line, size_t len)
{
	ADAFS_FREE char *text = strndup(line, len);
	if (!text)
		return -ENOMEM;
	char *target = strchr(text, ' '), *version = strrchr(text, ' ');
	if (!target || version == target || strncmp(version, " HTTP/1.", 8) != 0)
		return -EINVAL;
	*target++ = *version = 0;
	const char *host = strstr(target, "://");
	if (host && strncasecmp(target, "http", 4) == 0) { /* absolute: the path counts */
		target = strchr(host + 3, '/');
		if (!target)
			return -EINVAL;
	}
	int rc = http_req_init(&p->req, text, target);
	p->has_req = rc == 0;
	p->req.content_length = -1;
	return rc;
}

static int parse_part(struct part *p, struct reader *r)
{
	const char *line;
	size_t len;
	int rc = take_headers(r, p, part_header);
	do {
		if (rc < 0 || !take_line(r, &line, &len))
			return rc < 0 ? rc : -EINVAL;
	} while (!len);
	rc = request_line(p, line, len);
	return rc == 0 ? take_headers(r, p, request_header) : rc;
}

static int add_part(struct parts *parts, struct reader r)
{
	struct part *grown = reallocarray(parts->v, parts->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	parts->v = grown;
	grown[parts->n] = (struct part){ 0 };
	return parse_part(&grown[parts->n++], &r);
}

/* Cut the body at its boundaries. 0, -EINVAL, -E2BIG, -ENOMEM. */
static int parse_parts(const struct adafs_buf *body, const char *boundary, struct parts *parts)
{
	struct reader r = { adafs_buf_str(body), adafs_buf_str(body) + body->len };
	const char *start = NULL, *line;
	size_t len, n = strlen(boundary);
	while (take_line(&r, &line, &len)) {
		if (len < n + 2 || strncmp(line, "--", 2) != 0 ||
		    strncmp(line + 2, boundary, n) != 0)
			continue;
		bool last = len >= n + 4 && strncmp(line + n + 2, "--", 2) == 0;
		if (start) {
			if (parts->n == MAX_PARTS)
				return -E2BIG;
			int rc = add_part(parts, (struct reader){ start, line });
			if (rc < 0)
				return rc;
		}
		if (last)
			return parts->n ? 0 : -EINVAL;
		start = r.p;
	}
	return -EINVAL; /* the end is missing */
}

/* Only deletes or only changes of tiers; each names a blob. */
static int check_parts(const struct parts *parts)
{
	for (size_t i = 0; i < parts->n; i++) {
		const struct http_req *req = &parts->v[i].req;
		if (strcmp(req->method, parts->v[0].req.method) != 0)
			return -EINVAL;
		const char *comp = http_req_param(req, "comp");
		bool tier = strcmp(req->method, "PUT") == 0 && comp && strcmp(comp, "tier") == 0;
		if (http_req_param(req, "restype") ||
		    (!tier && (strcmp(req->method, "DELETE") != 0 || comp)))
			return -EINVAL;
	}
	return 0;
}

/* --- answers --------------------------------------------------------------------------------- */

static int add_answer(struct adafs_buf *b, const char *boundary, const char *id, int error,
		      const struct http_resp *resp)
{
	const char *reason = error                 ? blob_error_info(error)->message
			     : resp->status == 202 ? "Accepted"
						   : "OK";
	int rc = adafs_buf_addf(b, "--%s\r\nContent-Type: application/http\r\n", boundary);
	if (rc == 0 && id)
		rc = adafs_buf_addf(b, "Content-ID: %s\r\n", id);
	if (rc == 0)
		rc = adafs_buf_addf(b, "\r\nHTTP/1.1 %d %s\r\n", resp->status, reason);
	for (size_t i = 0; rc == 0 && i < resp->n_headers; i++)
		rc = adafs_buf_addf(b, "%s: %s\r\n", resp->headers[i].name, resp->headers[i].value);
	if (rc == 0 && resp->body.len)
		rc = adafs_buf_addf(b, "Content-Length: %zu\r\n", resp->body.len);
	if (rc == 0)
		rc = adafs_buf_adds(b, "\r\n");
	if (rc == 0)
		rc = adafs_buf_add(b, resp->body.data, resp->body.len);
	return rc == 0 && resp->body.len ? adafs_buf_adds(b, "\r\n") : rc;
}

static int run_part(struct blob_call *c, struct part *p, const char *boundary, struct adafs_buf *b)
{
	ADAFS_CLEANUP(http_resp_clear) struct http_resp resp;
	http_resp_init(&resp);
	memcpy(p->req.peer, c->req->peer, sizeof(p->req.peer));
	const char *host = call_header(c, "Host");
	int rc = host && !http_req_header(&p->req, "Host")
			 ? http_req_add_header(&p->req, "Host", host)
			 : 0;
	if (rc < 0)
		return rc;
	if (p->req.content_length < 0)
		p->req.content_length = 0;
	int error = service_run_part(c, &p->req, &resp);
	return add_answer(b, boundary, p->id, error, &resp);
}

/* The batch as a whole is wrong: one part says so. */
static int refuse(struct blob_call *c, const char *boundary, int error, struct adafs_buf *b)
{
	ADAFS_CLEANUP(http_resp_clear) struct http_resp resp;
	http_resp_init(&resp);
	blob_answer_error(c, &resp, error);
	return add_answer(b, boundary, NULL, error, &resp);
}

int op_batch(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(parts_clear) struct parts parts = { 0 };
	ADAFS_FREE char *boundary = find_boundary(c);
	if (!boundary)
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "Content-Type");
	int rc = parse_parts(&c->req->body, boundary, &parts);
	if (rc == 0)
		rc = check_parts(&parts);
	if (rc == -ENOMEM)
		return rc;
	char uuid[ADAFS_UUID_LEN], mark[64];
	adafs_random_uuid(uuid);
	snprintf(mark, sizeof(mark), "batchresponse_%s", uuid);
	if (rc < 0)
		rc = refuse(c, mark, rc == -E2BIG ? BE_TOO_MANY_PARTS : BE_INVALID_INPUT,
			    &resp->body);
	else
		for (size_t i = 0; rc == 0 && i < parts.n; i++)
			rc = run_part(c, &parts.v[i], mark, &resp->body);
	if (rc == 0)
		rc = adafs_buf_addf(&resp->body, "--%s--\r\n", mark);
	if (rc < 0)
		return rc;
	resp->status = 202;
	return http_resp_headerf(resp, "Content-Type", "multipart/mixed; boundary=%s", mark);
}
