/*
 * azure/auth.c - the canonical texts that Shared Key signs, of Blob and of Batch, and the headers
 * made of them. Pure.
 */
#include "batch/azure/auth.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/azure/http_host.h"
#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/digest.h"

#define MAX_STRING (256 * 1024)

/* How the two services differ. */
struct dialect {
	const char *prefix; /* of the headers that are signed */
	const char *date_header;
	bool lower_query_names;
	bool zero_length_is_empty; /* Content-Length: 0 is signed as an empty line */
};
static const struct dialect blob_dialect = { "x-ms-", "x-ms-date", true, true };
static const struct dialect batch_dialect = { "ocp-", "ocp-date", false, false };

/* A name and a value, to be sorted. */
struct pair {
	char *name, *value;
};

struct pairs {
	struct pair *item;
	size_t n;
};

static void pairs_clear(struct pairs *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->item[i].name);
		free(p->item[i].value);
	}
	free(p->item);
}

/* Takes ownership of both texts, of which a NULL is out of memory. */
static int pairs_add(struct pairs *p, char *name, char *value)
{
	struct pair *item = name && value ? realloc(p->item, (p->n + 1) * sizeof(*item)) : NULL;
	if (!item) {
		free(name);
		free(value);
		return -ENOMEM;
	}
	p->item = item;
	p->item[p->n++] = (struct pair){ name, value };
	return 0;
}

static int pair_compare(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int c = strcmp(x->name, y->name);
	return c ? c : strcmp(x->value, y->value);
}

static void pairs_sort(struct pairs *p)
{
	if (p->n)
		qsort(p->item, p->n, sizeof(*p->item), pair_compare);
}

static void lower(char *text)
{
	for (; text && *text; text++)
		*text = (char)tolower((unsigned char)*text);
}

/* A copy without blanks at the ends, with runs of white space inside as one blank. */
static char *fold(const char *value)
{
	char *out = malloc(strlen(value) + 1), *p = out;
	if (!out)
		return NULL;
	while (isspace((unsigned char)*value))
		value++;
	for (; *value; value++) {
		if (!isspace((unsigned char)*value))
			*p++ = *value;
		else if (value[1] && !isspace((unsigned char)value[1]))
			*p++ = ' ';
	}
	*p = 0;
	return out;
}

static int add_headers(struct adafs_buf *b, const struct adafs_http_headers *h,
		       const struct dialect *d)
{
	ADAFS_CLEANUP(pairs_clear) struct pairs pairs = { 0 };
	for (size_t i = 0; i < h->n; i++) {
		if (strncasecmp(h->item[i].name, d->prefix, strlen(d->prefix)) != 0)
			continue;
		char *name = strdup(h->item[i].name);
		lower(name);
		int rc = pairs_add(&pairs, name, fold(h->item[i].value));
		if (rc < 0)
			return rc;
	}
	pairs_sort(&pairs);
	int rc = 0;
	for (size_t i = 0; i < pairs.n && rc == 0; i++)
		rc = adafs_buf_addf(b, "%s:%s\n", pairs.item[i].name, pairs.item[i].value);
	return rc;
}

static int parse_query(struct pairs *pairs, const char *query, const struct dialect *d)
{
	while (*query) {
		size_t len = strcspn(query, "&#");
		size_t name_len = strcspn(query, "=");
		if (name_len > len)
			name_len = len;
		if (len) {
			size_t value_at = name_len < len ? name_len + 1 : len;
			char *name = adafs_url_decode(query, name_len, false);
			if (d->lower_query_names)
				lower(name);
			int rc = pairs_add(
				pairs, name,
				adafs_url_decode(query + value_at, len - value_at, false));
			if (rc < 0)
				return rc;
		}
		query += len;
		if (*query == '#')
			break;
		query += *query == '&';
	}
	return 0;
}

static int add_resource(struct adafs_buf *b, const char *url, const char *account,
			const struct dialect *d)
{
	const char *path = url + http_host_root_len(url);
	size_t path_len = strcspn(path, "?#");
	int rc = adafs_buf_addf(b, "/%s%.*s", account, path_len ? (int)path_len : 1,
				path_len ? path : "/");
	ADAFS_CLEANUP(pairs_clear) struct pairs pairs = { 0 };
	if (rc == 0 && path[path_len] == '?')
		rc = parse_query(&pairs, path + path_len + 1, d);
	pairs_sort(&pairs);
	for (size_t i = 0; i < pairs.n && rc == 0; i++) {
		/* A parameter that is repeated is one line, its values joined. */
		if (i && strcmp(pairs.item[i].name, pairs.item[i - 1].name) == 0)
			rc = adafs_buf_addf(b, ",%s", pairs.item[i].value);
		else
			rc = adafs_buf_addf(b, "\n%s:%s", pairs.item[i].name, pairs.item[i].value);
	}
	return rc;
}

static const char *header_or_empty(const struct adafs_http_request *rq, const char *name)
{
	const char *value = adafs_http_headers_get(&rq->headers, name);
	return value ? value : "";
}

static void content_length(const struct adafs_http_request *rq, const struct dialect *d,
			   char out[24])
{
	const char *given = adafs_http_headers_get(&rq->headers, "Content-Length");
	bool has_body = strcmp(rq->method, "PUT") == 0 || strcmp(rq->method, "POST") == 0 ||
			strcmp(rq->method, "PATCH") == 0;
	out[0] = 0;
	if (given)
		snprintf(out, 24, "%s", given);
	else if (has_body)
		snprintf(out, 24, "%zu", rq->body_len);
	if (d->zero_length_is_empty && strcmp(out, "0") == 0)
		out[0] = 0;
}

static char *string_to_sign(const struct adafs_http_request *rq, const char *account,
			    const struct dialect *d)
{
	static const char *const after_type[] = { "If-Modified-Since", "If-Match", "If-None-Match",
						  "If-Unmodified-Since", "Range" };
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_STRING);
	char length[24];
	content_length(rq, d, length);
	int rc = adafs_buf_addf(
		&b, "%s\n%s\n%s\n%s\n%s\n%s\n", rq->method, header_or_empty(rq, "Content-Encoding"),
		header_or_empty(rq, "Content-Language"), length, header_or_empty(rq, "Content-MD5"),
		header_or_empty(rq, "Content-Type"));
	/* Date is empty where the service's own date header is sent. */
	if (rc == 0)
		rc = adafs_buf_addf(
			&b, "%s\n",
			*header_or_empty(rq, d->date_header) ? "" : header_or_empty(rq, "Date"));
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(after_type) && rc == 0; i++)
		rc = adafs_buf_addf(&b, "%s\n", header_or_empty(rq, after_type[i]));
	if (rc == 0)
		rc = add_headers(&b, &rq->headers, d);
	if (rc == 0)
		rc = add_resource(&b, rq->url, account, d);
	return rc < 0 ? NULL : adafs_buf_steal(&b, NULL);
}

char *adafs_auth_blob_string(const struct adafs_http_request *rq, const char *account)
{
	return string_to_sign(rq, account, &blob_dialect);
}

char *adafs_auth_batch_string(const struct adafs_http_request *rq, const char *account)
{
	return string_to_sign(rq, account, &batch_dialect);
}

char *adafs_auth_signature(const uint8_t *key, size_t key_len, const char *string)
{
	uint8_t mac[ADAFS_SHA256_LEN];
	if (adafs_hmac_sha256(key, key_len, string, strlen(string), mac) < 0)
		return NULL;
	return adafs_base64_encode(mac, sizeof(mac));
}

static int sign(struct adafs_http_request *rq, const struct dialect *d, const char *account,
		const uint8_t *key, size_t key_len, time_t now, struct adafs_err *reterr)
{
	char date[ADAFS_RFC1123_LEN];
	adafs_clock_rfc1123(now, date);
	int rc = adafs_http_headers_set(&rq->headers, d->date_header, date);
	ADAFS_FREE char *string = rc == 0 ? string_to_sign(rq, account, d) : NULL;
	ADAFS_FREE char *signature = string ? adafs_auth_signature(key, key_len, string) : NULL;
	ADAFS_FREE char *value =
		signature ? adafs_fmt("SharedKey %s:%s", account, signature) : NULL;
	if (!value || adafs_http_headers_set(&rq->headers, "Authorization", value) < 0)
		return adafs_err_set(reterr, -EINVAL, "the request cannot be signed");
	return 0;
}

int adafs_auth_sign_blob(struct adafs_http_request *rq, const char *account, const uint8_t *key,
			 size_t key_len, time_t now, struct adafs_err *reterr)
{
	return sign(rq, &blob_dialect, account, key, key_len, now, reterr);
}

int adafs_auth_sign_batch(struct adafs_http_request *rq, const char *account, const uint8_t *key,
			  size_t key_len, time_t now, struct adafs_err *reterr)
{
	return sign(rq, &batch_dialect, account, key, key_len, now, reterr);
}
