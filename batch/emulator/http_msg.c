/* Requests and responses as values: parsing a target, fields, path patterns, bodies. */
#include "batch/emulator/http.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/codec.h"
#include "batch/base/json.h"

#define RESP_BODY_MAX (64u << 20)

#define TEXTS_CHUNK 960 /* with what malloc needs, a size that it keeps at hand */
#define FIRST_FIELDS 32 /* most messages have fewer fields */

struct http_chunk {
	struct http_chunk *next;
	size_t used, size;
	char data[];
};

/* Room for one text in the message's memory, which ends with the message. NULL: out of memory. */
static char *texts_room(struct http_chunk **texts, size_t size)
{
	struct http_chunk *c = *texts;
	if (!c || size > c->size - c->used) {
		size_t room = size > TEXTS_CHUNK ? size : TEXTS_CHUNK;
		c = malloc(sizeof(*c) + room);
		if (!c)
			return NULL;
		*c = (struct http_chunk){ .next = *texts, .size = room };
		*texts = c;
	}
	char *text = c->data + c->used;
	c->used += size;
	return text;
}

static char *texts_add(struct http_chunk **texts, const char *text, size_t len)
{
	char *copy = texts_room(texts, len + 1);
	if (copy) {
		memcpy(copy, text, len);
		copy[len] = 0;
	}
	return copy;
}

static void texts_clear(struct http_chunk **texts)
{
	for (struct http_chunk *next; *texts; *texts = next) {
		next = (*texts)->next;
		free(*texts);
	}
}

/* The texts are in the message's memory; NULL: there was none. */
static int field_add(struct http_field **fields, size_t *n, char *name, char *value)
{
	/* Room for some, then for twice as many each time it is used up. */
	bool full = *n == 0 || (*n >= FIRST_FIELDS && (*n & (*n - 1)) == 0);
	struct http_field *grown = NULL;
	if (name && value)
		grown = full ? reallocarray(*fields, *n ? 2 * *n : FIRST_FIELDS, sizeof(**fields))
			     : *fields;
	if (!grown)
		return -ENOMEM;
	*fields = grown;
	grown[(*n)++] = (struct http_field){ .name = name, .value = value };
	return 0;
}

static void fields_clear(struct http_field **fields, size_t *n)
{
	free(*fields);
	*fields = NULL;
	*n = 0;
}

static const char *field_find(const struct http_field *fields, size_t n, const char *name)
{
	/* Most names differ in their first two letters: that saves a call. */
	for (size_t i = 0; i < n; i++) {
		const char *have = fields[i].name;
		if (((have[0] ^ name[0]) & ~0x20) == 0 && have[0] &&
		    ((have[1] ^ name[1]) & ~0x20) == 0 && strcasecmp(have, name) == 0)
			return fields[i].value;
	}
	return NULL;
}

static char *trimmed(struct http_chunk **texts, const char *text)
{
	text += strspn(text, " \t");
	size_t len = strlen(text);
	while (len && (text[len - 1] == ' ' || text[len - 1] == '\t'))
		len--;
	return texts_add(texts, text, len);
}

/* -ENOMEM, -EINVAL: a broken escape. */
static int decoded(struct http_chunk **texts, const char *text, size_t len, char **ret)
{
	if (!memchr(text, '%', len)) {
		*ret = texts_add(texts, text, len);
		return *ret ? 0 : -ENOMEM;
	}
	errno = ENOMEM;
	ADAFS_FREE char *plain = adafs_url_decode(text, len, false);
	if (!plain)
		return -errno;
	*ret = texts_add(texts, plain, strlen(plain));
	return *ret ? 0 : -ENOMEM;
}

static int parse_query(struct http_req *req, const char *query)
{
	while (*query) {
		size_t len = strcspn(query, "&");
		if (len) {
			size_t name_len = strcspn(query, "=&");
			const char *v = name_len < len ? query + name_len + 1 : query + len;
			char *name = NULL, *value = NULL;
			int rc = decoded(&req->texts, query, name_len, &name);
			if (rc == 0)
				rc = decoded(&req->texts, v, (size_t)(query + len - v), &value);
			if (rc == 0)
				rc = field_add(&req->params, &req->n_params, name, value);
			if (rc < 0)
				return rc;
		}
		query += len;
		query += *query == '&';
	}
	return 0;
}

int http_req_init(struct http_req *req, const char *method, const char *target)
{
	*req = (struct http_req){ .content_length = -1 };
	adafs_buf_init(&req->body, 0);
	/* An absolute target ("GET http://host/path") names the same resource. */
	if (*target != '/') {
		const char *authority = strstr(target, "://");
		const char *path = authority ? strchr(authority + 3, '/') : NULL;
		if (path)
			target = path;
	}
	size_t path_len = strcspn(target, "?#");
	req->method = texts_add(&req->texts, method, strlen(method));
	req->target = texts_add(&req->texts, target, strlen(target));
	req->path = texts_add(&req->texts, target, path_len);
	if (!req->method || !req->target || !req->path)
		return -ENOMEM;
	return target[path_len] == '?' ? parse_query(req, target + path_len + 1) : 0;
}

int http_req_add_header(struct http_req *req, const char *name, const char *value)
{
	int rc = field_add(&req->headers, &req->n_headers,
			   texts_add(&req->texts, name, strlen(name)),
			   trimmed(&req->texts, value ? value : ""));
	if (rc < 0)
		return rc;
	const char *v = req->headers[req->n_headers - 1].value;
	if (strcasecmp(name, "Content-Length") == 0) {
		char *end;
		errno = 0;
		long long n = strtoll(v, &end, 10);
		if (*v >= '0' && *v <= '9' && !*end && errno == 0)
			req->content_length = n;
	} else if (strcasecmp(name, "Transfer-Encoding") == 0) {
		req->chunked = strcasecmp(v, "chunked") == 0;
	} else if (strcasecmp(name, "Expect") == 0) {
		req->expect_continue = strcasecmp(v, "100-continue") == 0;
	}
	return 0;
}

void http_req_clear(struct http_req *req)
{
	texts_clear(&req->texts);
	fields_clear(&req->params, &req->n_params);
	fields_clear(&req->headers, &req->n_headers);
	adafs_buf_clear(&req->body);
	*req = (struct http_req){ .content_length = -1 };
}

const char *http_req_header(const struct http_req *req, const char *name)
{
	return field_find(req->headers, req->n_headers, name);
}

const char *http_req_param(const struct http_req *req, const char *name)
{
	return field_find(req->params, req->n_params, name);
}

void http_path_args_clear(char *args[HTTP_PATH_ARGS])
{
	for (int i = 0; i < HTTP_PATH_ARGS; i++) {
		free(args[i]);
		args[i] = NULL;
	}
}

static int take_arg(char *args[HTTP_PATH_ARGS], int *n, const char *text, size_t len)
{
	if (*n == HTTP_PATH_ARGS)
		return -EINVAL;
	errno = ENOMEM;
	args[*n] = adafs_url_decode(text, len, false);
	if (!args[*n])
		return -errno;
	(*n)++;
	return 1;
}

static int path_match(const char *pattern, const char *path, char *args[HTTP_PATH_ARGS])
{
	int n = 0;
	while (*pattern) {
		if (strcmp(pattern, "{*}") == 0)
			return take_arg(args, &n, path, strlen(path));
		if (strncmp(pattern, "{}", 2) == 0) {
			size_t len = strcspn(path, "/");
			if (!len)
				return 0;
			int rc = take_arg(args, &n, path, len);
			if (rc < 0)
				return rc;
			pattern += 2;
			path += len;
			continue;
		}
		if (*pattern++ != *path++)
			return 0;
	}
	return !*path || strcmp(path, "/") == 0;
}

int http_path_match(const char *pattern, const char *path, char *args[HTTP_PATH_ARGS])
{
	memset(args, 0, HTTP_PATH_ARGS * sizeof(*args));
	int rc = path_match(pattern, path, args);
	if (rc != 1)
		http_path_args_clear(args);
	return rc;
}

void http_resp_init(struct http_resp *resp)
{
	*resp = (struct http_resp){ 0 };
	adafs_buf_init(&resp->body, RESP_BODY_MAX);
}

void http_resp_clear(struct http_resp *resp)
{
	texts_clear(&resp->texts);
	fields_clear(&resp->headers, &resp->n_headers);
	adafs_buf_clear(&resp->body);
	free(resp->segments);
	for (size_t i = 0; i < resp->n_fds; i++)
		close(resp->fds[i]);
	free(resp->fds);
	http_resp_init(resp);
}

void http_resp_reset(struct http_resp *resp)
{
	http_resp_clear(resp);
}

int http_resp_header(struct http_resp *resp, const char *name, const char *value)
{
	for (const unsigned char *p = (const unsigned char *)value; *p; p++)
		if ((*p < 0x20 && *p != '\t') || *p == 0x7f)
			return -EINVAL;
	return field_add(&resp->headers, &resp->n_headers,
			 texts_add(&resp->texts, name, strlen(name)),
			 texts_add(&resp->texts, value, strlen(value)));
}

int http_resp_headerf(struct http_resp *resp, const char *name, const char *fmt, ...)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(64 * 1024);
	char text[128]; /* nearly always enough */
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(text))
		return http_resp_header(resp, name, text);
	va_start(ap, fmt);
	int rc = adafs_buf_vaddf(&b, fmt, ap);
	va_end(ap);
	return rc < 0 ? rc : http_resp_header(resp, name, adafs_buf_str(&b));
}

const char *http_resp_get_header(const struct http_resp *resp, const char *name)
{
	return field_find(resp->headers, resp->n_headers, name);
}

int http_resp_text(struct http_resp *resp, int status, const char *content_type, const char *text)
{
	resp->status = status;
	adafs_buf_reset(&resp->body);
	int rc = adafs_buf_adds(&resp->body, text);
	return rc < 0 ? rc : http_resp_header(resp, "Content-Type", content_type);
}

int http_resp_json(struct http_resp *resp, int status, const char *content_type, const cJSON *json)
{
	ADAFS_FREE char *text = adafs_json_print(json);
	if (!text)
		return -ENOMEM;
	return http_resp_text(resp, status, content_type ? content_type : "application/json", text);
}

static int own_fd(struct http_resp *resp, int fd)
{
	int *fds = reallocarray(resp->fds, resp->n_fds + 1, sizeof(*fds));
	if (!fds) {
		close(fd);
		return -ENOMEM;
	}
	resp->fds = fds;
	fds[resp->n_fds++] = fd;
	return 0;
}

int http_resp_add_file(struct http_resp *resp, int fd, bool own, uint64_t off, uint64_t len)
{
	if (own) {
		int rc = own_fd(resp, fd);
		if (rc < 0)
			return rc;
	}
	struct http_segment *grown =
		reallocarray(resp->segments, resp->n_segments + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	resp->segments = grown;
	grown[resp->n_segments++] = (struct http_segment){ .fd = fd, .off = off, .len = len };
	return 0;
}
