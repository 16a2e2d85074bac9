/* Requests, responses and their headers: the data that the loop in http.c moves. */
#include "batch/azure/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A line break in a header would let a name or value forge further headers. */
static bool header_text_ok(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 && *text != '\t')
			return false;
	return true;
}

static struct adafs_http_header *find(const struct adafs_http_headers *h, const char *name)
{
	for (size_t i = 0; i < h->n; i++)
		if (strcasecmp(h->item[i].name, name) == 0)
			return &h->item[i];
	return NULL;
}

static void wipe_secret(struct adafs_http_header *header)
{
	if (strcasecmp(header->name, "Authorization") == 0)
		explicit_bzero(header->value, strlen(header->value));
}

int adafs_http_headers_set(struct adafs_http_headers *h, const char *name, const char *value)
{
	if (!*name || !header_text_ok(name) || !header_text_ok(value))
		return -EINVAL;
	ADAFS_FREE char *v = strdup(value);
	if (!v)
		return -ENOMEM;
	struct adafs_http_header *old = find(h, name);
	if (old) {
		wipe_secret(old);
		free(old->value);
		old->value = ADAFS_STEAL(v);
		return 0;
	}
	ADAFS_FREE char *n = strdup(name);
	if (!n)
		return -ENOMEM;
	struct adafs_http_header *item = realloc(h->item, (h->n + 1) * sizeof(*item));
	if (!item)
		return -ENOMEM;
	h->item = item;
	h->item[h->n++] = (struct adafs_http_header){ ADAFS_STEAL(n), ADAFS_STEAL(v) };
	return 0;
}

const char *adafs_http_headers_get(const struct adafs_http_headers *h, const char *name)
{
	const struct adafs_http_header *found = find(h, name);
	return found ? found->value : NULL;
}

void adafs_http_headers_clear(struct adafs_http_headers *h)
{
	for (size_t i = 0; i < h->n; i++) {
		wipe_secret(&h->item[i]);
		free(h->item[i].name);
		free(h->item[i].value);
	}
	free(h->item);
	*h = (struct adafs_http_headers){ 0 };
}

struct adafs_http_request *adafs_http_request_new(const char *method, char *url)
{
	struct adafs_http_request *rq = url ? calloc(1, sizeof(*rq)) : NULL;
	if (!rq) {
		free(url);
		return NULL;
	}
	rq->method = method;
	rq->url = url;
	rq->body_fd = -1;
	return rq;
}

void adafs_http_request_free(struct adafs_http_request *rq)
{
	if (!rq)
		return;
	free(rq->url);
	adafs_http_headers_clear(&rq->headers);
	free(rq);
}

void adafs_http_response_clear(struct adafs_http_response *r)
{
	adafs_http_headers_clear(&r->headers);
	adafs_buf_clear(&r->body);
	r->status = 0;
}
