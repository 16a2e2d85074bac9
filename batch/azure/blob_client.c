/* The Blob client's frame: requests, their headers and signatures, errors. */
#include "batch/azure/blob_int.h"

#include <errno.h>
#include <string.h>

#include "batch/azure/auth.h"
#include "batch/azure/sas.h"
#include "batch/azure/sas_rights.h"
#include "batch/azure/token.h"
#include "batch/base/clock.h"
#include "batch/base/random.h"
#include "batch/base/xml.h"

#define READER_SAS_SECONDS 3600
#define READER_SAS_MARGIN_SECONDS 900
#define MAX_URL (64 * 1024)

/* --- the client --------------------------------------------------------------------------- */

struct adafs_blob_client *adafs_blob_client_new(struct adafs_http *http,
						const struct adafs_storage_account *account,
						struct adafs_err *reterr)
{
	if (!account->name || !account->endpoint ||
	    !!account->key + !!account->sas + !!account->token != 1) {
		adafs_err_set(reterr, -EINVAL, "the storage account is not set up");
		return NULL;
	}
	if (account->token && !adafs_url_is_private(account->endpoint)) {
		adafs_err_set(reterr, -EINVAL, "a token of Entra ID goes by https only, not to %s",
			      account->endpoint);
		return NULL;
	}
	struct adafs_blob_client *c = calloc(1, sizeof(*c));
	if (c)
		adafs_mutex_init(&c->lock, ADAFS_RANK_LEAF);
	if (c && account->token)
		c->delegation = blob_delegation_new();
	if (!c || adafs_storage_account_copy(&c->account, account) < 0 ||
	    !account->token != !c->delegation) {
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
	if (!reader)
		return NULL;
	/* Without a key or token the user's own SAS is all there is. */
	reader->sas_reader = !reader->account.sas;
	blob_delegation_unref(reader->delegation);
	reader->delegation = blob_delegation_ref(c->delegation);
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
	blob_delegation_unref(c->delegation);
	adafs_mutex_clear(&c->lock);
	free(c);
}

struct adafs_http *adafs_blob_client_http(const struct adafs_blob_client *c)
{
	return c->http;
}

const struct adafs_storage_account *adafs_blob_client_account(const struct adafs_blob_client *c)
{
	return &c->account;
}

int64_t adafs_blob_now_us(const struct adafs_blob_client *c)
{
	return adafs_http_service_us(c->http, c->account.endpoint);
}

char *adafs_blob_client_describe(const struct adafs_blob_client *c)
{
	const struct adafs_storage_account *a = &c->account;
	if (a->token)
		return adafs_token_describe(a->token);
	if (a->key)
		return adafs_fmt("the key of storage account '%s'", a->name);
	struct adafs_sas_rights rights;
	int rc = adafs_sas_rights_parse(a->sas, &rights, NULL);
	return rc < 0 ? strdup("a SAS that cannot be read") : adafs_sas_rights_describe(&rights);
}

int adafs_blob_client_ready(const struct adafs_blob_client *c, struct adafs_err *reterr)
{
	return c->account.token ? adafs_token_wait(c->account.token,
						   adafs_http_io_timeout_ms(c->http), reterr)
				: 0;
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
	const struct adafs_xml_handler handler = { .end = on_error_element, .arg = err };
	/* A body that is no XML comes from something in between; the status says enough then. */
	int rc = adafs_xml_parse(data, len, &handler, NULL);
	(void)rc;
}

/* --- signatures --------------------------------------------------------------------------- */

/* arg: the client whose key or token enters, or NULL where the URL carries a SAS. */
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
	if (!c->account.token)
		return adafs_auth_sign_blob(rq, c->account.name, c->account.key, c->account.key_len,
					    adafs_http_now(c->http), reterr);
	char date[ADAFS_RFC1123_LEN];
	adafs_clock_rfc1123(adafs_http_now(c->http), date);
	rc = adafs_http_headers_set(&rq->headers, "x-ms-date", date);
	return rc < 0 ? adafs_err_set(reterr, rc, "out of memory")
		      : adafs_token_sign(c->account.token, rq, reterr);
}

static bool renew(void *arg, const struct adafs_http_request *rq)
{
	const struct adafs_blob_client *c = arg;
	return adafs_token_refused(c->account.token, rq);
}

static struct blob_sas *find_sas_locked(struct adafs_blob_client *c, const char *container)
	ADAFS_REQUIRES(&c->lock)
{
	struct blob_sas *s = c->sas;
	while (s && strcmp(s->container, container) != 0)
		s = s->next;
	return s;
}

static void keep_sas_locked(struct adafs_blob_client *c, const char *container, const char *query,
			    time_t renew_at) ADAFS_REQUIRES(&c->lock)
{
	struct blob_sas *s = find_sas_locked(c, container);
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s || !(s->container = strdup(container))) {
			free(s);
			return;
		}
		s->next = c->sas;
		c->sas = s;
	}
	free(s->query);
	s->query = strdup(query);
	s->renew_at = s->query ? renew_at : 0;
}

/* A reader's SAS for a container as an own copy, or NULL. */
static char *reader_sas(struct adafs_blob_client *c, const char *container)
{
	time_t now = (time_t)(adafs_blob_now_us(c) / 1000000);
	adafs_mutex_lock(&c->lock);
	const struct blob_sas *s = find_sas_locked(c, container);
	char *query = s && now < s->renew_at ? strdup(s->query) : NULL;
	adafs_mutex_unlock(&c->lock);
	if (query)
		return query;
	/* Without a key that lives so long the token serves as well. */
	if (c->delegation && !blob_delegation_covers(c->delegation, now + READER_SAS_SECONDS))
		return NULL;
	char expiry[ADAFS_ISO8601_LEN];
	adafs_clock_iso8601_seconds(((int64_t)now + READER_SAS_SECONDS) * 1000000, expiry);
	const struct adafs_sas sas = { .resource = "c", .permissions = "rl", .expiry = expiry };
	if (adafs_blob_sas(c, container, NULL, &sas, &query, NULL) < 0)
		return NULL;
	adafs_mutex_lock(&c->lock);
	keep_sas_locked(c, container, query, now + READER_SAS_SECONDS - READER_SAS_MARGIN_SECONDS);
	adafs_mutex_unlock(&c->lock);
	return query;
}

/* --- requests ----------------------------------------------------------------------------- */

struct blob_target blob_target_of(struct adafs_blob_client *c, const char *container,
				  const char *name)
{
	return (struct blob_target){
		.http = c->http, .client = c, .container = container, .name = name
	};
}

struct blob_target blob_target_url(struct adafs_http *http, const char *url)
{
	return (struct blob_target){ .http = http, .url = url };
}

/* The SAS that a client puts into the URL, owned; NULL: it signs. */
static char *target_sas(const struct blob_target *t)
{
	struct adafs_blob_client *c = t->client;
	if (!c)
		return NULL;
	if (c->account.sas)
		return strdup(c->account.sas);
	return c->sas_reader && t->container ? reader_sas(c, t->container) : NULL;
}

static char *target_url(const struct blob_target *t, const char *query, const char *sas)
{
	ADAFS_FREE char *base = NULL;
	if (!t->client)
		base = strdup(t->url);
	else if (t->container)
		base = adafs_blob_url(t->client, t->container, t->name);
	else
		base = adafs_fmt("%s/", t->client->account.endpoint);
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_URL);
	int rc = base ? adafs_buf_adds(&b, base) : -ENOMEM;
	const char *const parts[] = { query, sas };
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
	ADAFS_FREE char *sas = target_sas(t);
	bool signs = t->client && !sas;
	if (signs && t->client->account.sas)
		return NULL; /* out of memory */
	struct adafs_http_request *rq = adafs_http_request_new(method, target_url(t, query, sas));
	if (!rq)
		return NULL;
	rq->operation = operation;
	rq->parse_error = parse_error;
	rq->sign = sign;
	rq->sign_arg = signs ? t->client : NULL;
	if (signs && t->client->account.token)
		rq->renew = renew;
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
