/* The Blob client's frame: requests, their headers and signatures, errors. */
#include "batch/azure/blob_int.h"

#include <errno.h>
#include <string.h>

#include "batch/azure/auth.h"
#include "batch/azure/sas.h"
#include "batch/base/clock.h"
#include "batch/base/random.h"
#include "batch/base/xml.h"

#define READER_SAS_SECONDS 3600
#define READER_SAS_MARGIN_SECONDS 900
#define MAX_URL (64 * 1024)

/* --- the client --------------------------------------------------------------------------- */

static int account_copy(struct adafs_storage_account *dst, const struct adafs_storage_account *src)
{
	dst->name = strdup(src->name);
	dst->endpoint = strdup(src->endpoint);
	dst->path_style = src->path_style;
	if (src->key) {
		dst->key = malloc(src->key_len);
		if (dst->key)
			memcpy(dst->key, src->key, src->key_len);
		dst->key_len = src->key_len;
	}
	if (src->sas)
		dst->sas = strdup(src->sas);
	return dst->name && dst->endpoint && !dst->key == !src->key && !dst->sas == !src->sas
		       ? 0
		       : -ENOMEM;
}

struct adafs_blob_client *adafs_blob_client_new(struct adafs_http *http,
						const struct adafs_storage_account *account,
						struct adafs_err *reterr)
{
	if (!account->name || !account->endpoint || !account->key == !account->sas) {
		adafs_err_set(reterr, -EINVAL, "the storage account is not set up");
		return NULL;
	}
	struct adafs_blob_client *c = calloc(1, sizeof(*c));
	if (c)
		adafs_mutex_init(&c->lock, ADAFS_RANK_LEAF);
	if (!c || account_copy(&c->account, account) < 0) {
		adafs_blob_client_free(c);
		adafs_err_set(reterr, -ENOMEM, "out of memory");
		return NULL;
	}
	c->http = http;
	return c;
}

struct adafs_blob_client *adafs_blob_client_new_sas_reader(const struct adafs_blob_client *c,
							   struct adafs_err *reterr)
{
	struct adafs_blob_client *reader = adafs_blob_client_new(c->http, &c->account, reterr);
	if (reader) /* without a key the user's own SAS is all there is */
		reader->sas_reader = reader->account.key != NULL;
	return reader;
}

void adafs_blob_client_free(struct adafs_blob_client *c)
{
	if (!c)
		return;
	while (c->sas) {
		struct blob_sas *s = c->sas;
		c->sas = s->next;
		free(s->container);
		free(s->query);
		free(s);
	}
	adafs_storage_account_clear(&c->account);
	adafs_mutex_clear(&c->lock);
	free(c);
}

const struct adafs_storage_account *adafs_blob_client_account(const struct adafs_blob_client *c)
{
	return &c->account;
}

/* --- errors ------------------------------------------------------------------------------- */

static int on_error_element(void *arg, const char *path, const char *text, size_t len)
{
	struct adafs_err *err = arg;
	if (strcmp(path, "Error/Code") == 0 && !*err->service_code) {
		snprintf(err->service_code, sizeof(err->service_code), "%s", text);
	} else if (strcmp(path, "Error/Message") == 0) {
		/* The lines after the first repeat the request's id and the time. */
		snprintf(err->msg, sizeof(err->msg), "%.*s", (int)strcspn(text, "\r\n"), text);
	} else if (strcmp(path, "Error/AuthenticationErrorDetail") == 0 && len < 300 &&
		   strncmp(text, "Signature not valid in the specified time frame", 47) == 0) {
		/* Other details hold the string that was signed. */
		size_t n = strlen(err->msg);
		snprintf(err->msg + n, sizeof(err->msg) - n, " %s", text);
	}
	return 0;
}

static void parse_error(const struct adafs_http_response *response, struct adafs_err *err)
{
	const char *data = response->body.data;
	size_t len = response->body.len;
	if (len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
		data += 3;
		len -= 3;
	}
	const struct adafs_xml_handler handler = {.end = on_error_element, .arg = err};
	/* A body that is no XML comes from something in between; the status says enough then. */
	int rc = adafs_xml_parse(data, len, &handler, NULL);
	(void)rc;
}

/* --- signatures --------------------------------------------------------------------------- */

/* arg: the client whose key signs, or NULL where the URL carries a SAS. */
static int sign(void *arg, struct adafs_http_request *rq, struct adafs_err *reterr)
{
	const struct adafs_blob_client *c = arg;
	char id[ADAFS_UUID_LEN];
	adafs_random_uuid(id);
	int rc = adafs_http_headers_set(&rq->headers, "x-ms-client-request-id", id);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "out of memory");
	if (!c)
		return 0;
	return adafs_auth_sign_blob(rq, c->account.name, c->account.key, c->account.key_len,
				    adafs_http_now(c->http), reterr);
}

/* A reader's SAS for a container as an own copy, or NULL. */
static char *reader_sas_locked(struct adafs_blob_client *c, const char *container)
	ADAFS_REQUIRES(&c->lock)
{
	time_t now = adafs_http_now(c->http);
	struct blob_sas *s = c->sas;
	while (s && strcmp(s->container, container) != 0)
		s = s->next;
	if (s && now < s->renew_at)
		return strdup(s->query);
	char expiry[ADAFS_ISO8601_LEN];
	adafs_clock_iso8601_seconds(((int64_t)now + READER_SAS_SECONDS) * 1000000, expiry);
	const struct adafs_sas sas = {.resource = "c", .permissions = "rl", .expiry = expiry};
	char *query;
	if (adafs_sas_sign(&c->account, container, NULL, &sas, &query, NULL) < 0)
		return NULL;
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s || !(s->container = strdup(container))) {
			free(s);
			return query;
		}
		s->next = c->sas;
		c->sas = s;
	}
	free(s->query);
	s->query = query;
	s->renew_at = now + READER_SAS_SECONDS - READER_SAS_MARGIN_SECONDS;
	return strdup(query);
}

/* --- requests ----------------------------------------------------------------------------- */

struct blob_target blob_target_of(struct adafs_blob_client *c, const char *container,
				  const char *name)
{
	return (struct blob_target){
		.http = c->http, .client = c, .container = container, .name = name};
}

struct blob_target blob_target_url(struct adafs_http *http, const char *url)
{
	return (struct blob_target){.http = http, .url = url};
}

/* Whether a client signs with its key, rather than by a SAS in the URL. */
static bool signs(const struct blob_target *t)
{
	return t->client && t->client->account.key && (!t->client->sas_reader || !t->container);
}

static char *target_url(const struct blob_target *t, const char *query)
{
	ADAFS_FREE char *base = NULL;
	ADAFS_FREE char *sas = NULL;
	if (!t->client) {
		base = strdup(t->url);
	} else {
		struct adafs_blob_client *c = t->client;
		base = t->container ? adafs_blob_url(c, t->container, t->name)
				    : adafs_fmt("%s/", c->account.endpoint);
		if (c->account.sas) {
			sas = strdup(c->account.sas);
		} else if (!signs(t)) {
			adafs_mutex_lock(&c->lock);
			sas = reader_sas_locked(c, t->container);
			adafs_mutex_unlock(&c->lock);
		}
		if (!sas && !signs(t))
			return NULL;
	}
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_URL);
	int rc = base ? adafs_buf_adds(&b, base) : -ENOMEM;
	const char *const parts[] = {query, sas};
	bool has_query = base && strchr(base, '?');
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(parts) && rc == 0; i++) {
		if (!parts[i] || !*parts[i])
			continue;
		rc = adafs_buf_addf(&b, "%c%s", has_query ? '&' : '?', parts[i]);
		has_query = true;
	}
	return rc < 0 ? NULL : adafs_buf_steal(&b, NULL);
}

struct adafs_http_request *blob_request(const struct blob_target *t, const char *method,
					const char *operation, const char *query)
{
	struct adafs_http_request *rq = adafs_http_request_new(method, target_url(t, query));
	if (!rq)
		return NULL;
	rq->operation = operation;
	rq->parse_error = parse_error;
	rq->sign = sign;
	rq->sign_arg = signs(t) ? t->client : NULL;
	if (adafs_http_headers_set(&rq->headers, "x-ms-version", BLOB_VERSION) < 0) {
		adafs_http_request_free(rq);
		return NULL;
	}
	return rq;
}

struct adafs_http_request *blob_container_request(const struct blob_target *t, const char *method,
						  const char *operation, const char *query)
{
	ADAFS_FREE char *whole =
		adafs_fmt("restype=container%s%s", query ? "&" : "", query ? query : "");
	return whole ? blob_request(t, method, operation, whole) : NULL;
}

int blob_header(struct adafs_http_request *rq, const char *name, const char *value)
{
	if (!rq)
		return -ENOMEM;
	return value ? adafs_http_headers_set(&rq->headers, name, value) : 0;
}

int blob_header_etag(struct adafs_http_request *rq, const char *name, const char *etag)
{
	if (!etag || strcmp(etag, "*") == 0 || *etag == '"')
		return blob_header(rq, name, etag);
	char quoted[ADAFS_ETAG_LEN + 2];
	if ((size_t)snprintf(quoted, sizeof(quoted), "\"%s\"", etag) >= sizeof(quoted))
		return -EINVAL;
	return blob_header(rq, name, quoted);
}

int blob_header_cond(struct adafs_http_request *rq, const struct adafs_blob_cond *cond)
{
	if (!cond)
		return rq ? 0 : -ENOMEM;
	int rc = blob_header_etag(rq, "If-Match", cond->if_match);
	return rc < 0 ? rc : blob_header_etag(rq, "If-None-Match", cond->if_none_match);
}

int blob_header_meta(struct adafs_http_request *rq, const struct adafs_blob_meta *meta)
{
	for (size_t i = 0; meta && i < meta->n; i++) {
		ADAFS_FREE char *name = adafs_fmt("x-ms-meta-%s", meta->item[i].name);
		int rc = name ? blob_header(rq, name, meta->item[i].value) : -ENOMEM;
		if (rc < 0)
			return rc;
	}
	return rq ? 0 : -ENOMEM;
}

int blob_request_drop(struct adafs_http_request *rq, int rc, struct adafs_err *reterr)
{
	const char *operation = rq && rq->operation ? rq->operation : "request";
	adafs_err_set(reterr, rc, "%s: %s", operation, strerror(-rc));
	adafs_http_request_free(rq);
	return rc;
}

void blob_etag_copy(char out[ADAFS_ETAG_LEN], const char *etag)
{
	size_t len = etag ? strlen(etag) : 0;
	if (len >= 2 && etag[0] == '"' && etag[len - 1] == '"') {
		etag++;
		len -= 2;
	}
	snprintf(out, ADAFS_ETAG_LEN, "%.*s", (int)len, etag ? etag : "");
}
