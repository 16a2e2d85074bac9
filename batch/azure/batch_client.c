/* The Batch client's frame: URLs, headers and signatures, JSON bodies and errors, paging. */
#include "batch/azure/batch_int.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "batch/azure/auth.h"
#include "batch/azure/token.h"
#include "batch/base/codec.h"
#include "batch/base/random.h"

struct adafs_batch_client *adafs_batch_client_new(struct adafs_http *http,
						  const struct adafs_batch_account *account,
						  struct adafs_err *reterr)
{
	if (!account->name || !account->endpoint || !account->key == !account->token) {
		adafs_err_set(reterr, -EINVAL, "the Batch account is not set up");
		return NULL;
	}
	if (account->token && !adafs_url_is_private(account->endpoint)) {
		adafs_err_set(reterr, -EINVAL, "a token of Entra ID goes by https only, not to %s",
			      account->endpoint);
		return NULL;
	}
	struct adafs_batch_client *c = calloc(1, sizeof(*c));
	if (!c || adafs_batch_account_copy(&c->account, account) < 0) {
		free(c);
		adafs_err_set(reterr, -ENOMEM, "out of memory");
		return NULL;
	}
	c->http = http;
	return c;
}

void adafs_batch_client_free(struct adafs_batch_client *c)
{
	if (!c)
		return;
	adafs_batch_account_clear(&c->account);
	free(c);
}

char *adafs_batch_client_describe(const struct adafs_batch_client *c)
{
	return c->account.token ? adafs_token_describe(c->account.token)
				: adafs_fmt("the key of Batch account '%s'", c->account.name);
}

const char *adafs_batch_client_name(const struct adafs_batch_client *c)
{
	return c->account.name;
}

bool adafs_batch_client_tries_again(const struct adafs_batch_client *c, struct adafs_err *ret)
{
	return adafs_http_tries_again(c->http, c->account.endpoint, ret);
}

int adafs_batch_client_ready(const struct adafs_batch_client *c, struct adafs_err *reterr)
{
	return c->account.token ? adafs_token_wait(c->account.token,
						   adafs_http_io_timeout_ms(c->http), reterr)
				: 0;
}

/* --- URLs --------------------------------------------------------------------------------- */

int batch_url(struct adafs_buf *b, const struct adafs_batch_client *c, const char *path_fmt, ...)
{
	va_list ap;
	int rc = adafs_buf_adds(b, c->account.endpoint);
	va_start(ap, path_fmt);
	if (rc == 0)
		rc = adafs_buf_vaddf(b, path_fmt, ap);
	va_end(ap);
	return rc < 0 ? rc : adafs_buf_adds(b, "?api-version=" BATCH_API_VERSION);
}

int batch_url_param(struct adafs_buf *b, const char *name, const char *value)
{
	if (!value)
		return 0;
	ADAFS_FREE char *encoded = adafs_url_encode(value, strlen(value), "");
	return encoded ? adafs_buf_addf(b, "&%s=%s", name, encoded) : -ENOMEM;
}

/* --- errors ------------------------------------------------------------------------------- */

/* The first value beside the message says what was wrong with which property. */
static void add_detail(struct adafs_err *err, const cJSON *values)
{
	const cJSON *first = cJSON_GetArrayItem(values, 0);
	const char *key = adafs_json_str(first, "key", NULL);
	const char *value = adafs_json_str(first, "value", NULL);
	/* This one repeats the signature. */
	if (!key || !value || strcmp(key, "AuthenticationErrorDetail") == 0)
		return;
	size_t n = strlen(err->msg);
	snprintf(err->msg + n, sizeof(err->msg) - n, " (%s: %s)", key, value);
}

static void parse_error(const struct adafs_http_response *response, struct adafs_err *err)
{
	const char *data = response->body.data;
	size_t len = response->body.len;
	if (len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
		data += 3;
		len -= 3;
	}
	ADAFS_JSON *body = adafs_json_parse(data, len, NULL);
	const char *code = adafs_json_str(body, "code", NULL);
	const char *message = adafs_json_str(adafs_json_get(body, "message"), "value", "");
	if (!code) /* from something in between; the status says enough then */
		return;
	snprintf(err->service_code, sizeof(err->service_code), "%s", code);
	snprintf(err->msg, sizeof(err->msg), "%.*s", (int)strcspn(message, "\r\n"), message);
	add_detail(err, adafs_json_get(body, "values"));
}

/* --- requests ----------------------------------------------------------------------------- */

static int sign(void *arg, struct adafs_http_request *rq, struct adafs_err *reterr)
{
	const struct adafs_batch_client *c = arg;
	char id[ADAFS_UUID_LEN];
	adafs_random_uuid(id);
	int rc = adafs_http_headers_set(&rq->headers, "client-request-id", id);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "out of memory");
	if (c->account.token)
		return adafs_token_sign(c->account.token, rq, reterr);
	return adafs_auth_sign_batch(rq, c->account.name, c->account.key, c->account.key_len,
				     adafs_http_now(c->http), reterr);
}

static bool renew(void *arg, const struct adafs_http_request *rq)
{
	const struct adafs_batch_client *c = arg;
	return adafs_token_refused(c->account.token, rq);
}

struct adafs_http_request *batch_request(struct adafs_batch_client *c, const char *method,
					 const char *operation, const char *url)
{
	struct adafs_http_request *rq = adafs_http_request_new(method, strdup(url));
	if (!rq)
		return NULL;
	rq->operation = operation;
	rq->parse_error = parse_error;
	rq->sign = sign;
	rq->sign_arg = c;
	if (c->account.token)
		rq->renew = renew;
	return rq;
}

int batch_call_text(struct adafs_batch_client *c, const char *method, const char *operation,
		    const char *url, const char *body, cJSON **ret_reply, struct adafs_err *reterr)
{
	struct adafs_http_request *rq = batch_request(c, method, operation, url);
	int rc = rq ? adafs_http_headers_set(&rq->headers, "Accept", "application/json") : -ENOMEM;
	if (rc == 0 && body)
		rc = adafs_http_headers_set(&rq->headers, "Content-Type", BATCH_CONTENT_TYPE);
	if (rc < 0) {
		adafs_http_request_free(rq);
		return adafs_err_set(reterr, rc, "%s: out of memory", operation);
	}
	rq->body = body;
	rq->body_len = body ? strlen(body) : 0;
	ADAFS_CLEANUP(adafs_http_response_clear) struct adafs_http_response response = { 0 };
	rc = adafs_http_perform(c->http, rq, &response, reterr);
	if (rc < 0 || !ret_reply)
		return rc;
	cJSON *reply = NULL;
	if (response.body.len) {
		struct adafs_err why = { 0 };
		reply = adafs_json_parse(response.body.data, response.body.len, &why);
		if (!reply)
			return adafs_err_set(reterr, -EPROTO, "%s: the reply is no JSON: %.200s",
					     operation, why.msg);
	}
	*ret_reply = reply;
	return 0;
}

int batch_call(struct adafs_batch_client *c, const char *method, const char *operation,
	       const char *url, const cJSON *body, cJSON **ret_reply, struct adafs_err *reterr)
{
	ADAFS_FREE char *text = body ? adafs_json_print(body) : NULL;
	if (body && !text)
		return adafs_err_set(reterr, -ENOMEM, "%s: out of memory", operation);
	return batch_call_text(c, method, operation, url, text, ret_reply, reterr);
}

/* --- paging ------------------------------------------------------------------------------- */

static int list_items(const cJSON *reply, adafs_batch_item_fn *fn, void *arg)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, adafs_json_get(reply, "value"))
	{
		int rc = fn(arg, item);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The link is followed as it is, but never from https to plain text. */
static bool link_ok(const struct adafs_batch_client *c, const char *link)
{
	if (strncasecmp(link, "https://", 8) == 0)
		return true;
	return strncasecmp(link, "http://", 7) == 0 &&
	       strncasecmp(c->account.endpoint, "http://", 7) == 0;
}

int batch_list(struct adafs_batch_client *c, const char *operation, const char *url,
	       adafs_batch_item_fn *fn, void *arg, struct adafs_err *reterr)
{
	ADAFS_FREE char *next = strdup(url);
	if (!next)
		return adafs_err_set(reterr, -ENOMEM, "%s: out of memory", operation);
	while (next) {
		ADAFS_JSON *reply = NULL;
		int rc = batch_call_text(c, "GET", operation, next, NULL, &reply, reterr);
		if (rc < 0)
			return rc;
		rc = list_items(reply, fn, arg);
		if (rc < 0)
			return adafs_err_set(reterr, rc, "%s: stopped by its reader", operation);
		const char *link = adafs_json_str(reply, "odata.nextLink", NULL);
		if (link && (!link_ok(c, link) || strcmp(link, next) == 0))
			return adafs_err_set(reterr, -EPROTO,
					     "%s: the link to the next page is wrong", operation);
		free(next);
		next = link ? strdup(link) : NULL;
		if (link && !next)
			return adafs_err_set(reterr, -ENOMEM, "%s: out of memory", operation);
	}
	return 0;
}
