/*
 * azure/entra_http.c - what the credentials that ask over HTTP share. Waits in the calling thread.
 */
#include "batch/azure/entra_int.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "batch/azure/waiter.h"
#include "batch/base/codec.h"
#include "batch/base/json.h"

#define DEFAULT_LIFETIME_S 3600

void entra_answer_clear(struct entra_answer *a)
{
	if (a->token)
		explicit_bzero(a->token, strlen(a->token));
	free(a->token);
	*a = (struct entra_answer){ 0 };
}

void entra_reply_clear(struct adafs_http_response *r)
{
	if (r->body.data)
		explicit_bzero(r->body.data, r->body.size);
	adafs_http_response_clear(r);
}

int entra_param(struct adafs_buf *b, const char *name, const char *value)
{
	ADAFS_FREE char *encoded = adafs_url_encode(value, strlen(value), "");
	int rc = encoded ? adafs_buf_addf(b, "%s%s=%s", b->len ? "&" : "", name, encoded) : -ENOMEM;
	if (encoded)
		explicit_bzero(encoded, strlen(encoded));
	return rc;
}

bool entra_stopped_within(const struct entra_call *call, uint32_t timeout_ms)
{
	struct pollfd p = { .fd = call->stop_fd, .events = POLLIN };
	return poll(&p, 1, (int)timeout_ms) > 0;
}

/* --- one exchange ------------------------------------------------------------------------- */

struct exchange {
	struct waiter waiter;
	struct adafs_http_response response;
};

/* Unlike adafs_http_perform the reply is kept when it is a refusal: its headers and body matter. */
static void on_done(void *arg, struct adafs_http_response *response, const struct adafs_err *err)
{
	struct exchange *x = arg;
	x->response = *response; /* stolen */
	*response = (struct adafs_http_response){ 0 };
	waiter_end(&x->waiter, err);
}

/* The service's own sentence: the first of error_description, without ids that follow it. */
static void parse_refusal(const struct adafs_http_response *r, struct adafs_err *err)
{
	ADAFS_JSON *body = adafs_json_parse(r->body.data, r->body.len, NULL);
	const char *code = adafs_json_str(body, "error", NULL);
	const char *text = adafs_json_str(body, "error_description", "");
	if (!code) { /* App Service has it one level down, or by other names */
		const cJSON *inner = adafs_json_get(body, "error");
		code = adafs_json_str(inner, "code", "");
		text = adafs_json_str(inner, "message", adafs_json_str(body, "message", ""));
	}
	snprintf(err->service_code, sizeof(err->service_code), "%s", code);
	const char *ids = strstr(text, "Trace ID:");
	int len = (int)strcspn(text, "\r\n");
	if (ids && ids - text < len)
		len = (int)(ids - text);
	snprintf(err->msg, sizeof(err->msg), "%.*s", len, text);
}

int entra_exchange(const struct entra_call *call, struct adafs_http_request *rq,
		   struct adafs_http_response *ret, struct adafs_err *reterr)
{
	struct exchange x = { 0 };
	struct adafs_err err = { 0 };
	waiter_init(&x.waiter);
	adafs_http_send(call->http, rq, on_done, &x);
	int rc = waiter_wait(&x.waiter, &err);
	*ret = x.response;
	if (rc == 0)
		return 0;
	struct adafs_err said = { 0 };
	if (ret->body.len)
		parse_refusal(ret, &said);
	if (*said.service_code || *said.msg) {
		rc = err.retryable ? rc : -EACCES;
		adafs_err_set(reterr, rc, "%d %s%s%s", ret->status, said.service_code,
			      *said.service_code && *said.msg ? ": " : "", said.msg);
		if (reterr) {
			reterr->http_status = ret->status;
			reterr->retryable = err.retryable;
		}
		return rc;
	}
	return adafs_err_copy(reterr, &err);
}

/* --- the token ---------------------------------------------------------------------------- */

/* A number, or the text of one; -1: neither. */
static int64_t number_of(const cJSON *body, const char *name)
{
	const cJSON *item = adafs_json_get(body, name);
	if (cJSON_IsNumber(item))
		return (int64_t)item->valuedouble;
	const char *text = adafs_json_str(body, name, "");
	char *end;
	long long value = strtoll(text, &end, 10);
	return *text && !*end ? value : -1;
}

int entra_parse(const struct adafs_http_response *r, struct entra_answer *ret,
		struct adafs_err *reterr)
{
	ADAFS_JSON *body = adafs_json_parse(r->body.data, r->body.len, NULL);
	cJSON *token = (cJSON *)adafs_json_get(body, "access_token");
	if (!cJSON_IsString(token) || !*token->valuestring)
		return adafs_err_set(reterr, -EPROTO, "the reply holds no access_token");
	int64_t lifetime_s = number_of(body, "expires_in");
	/* The other one is by the clock of whoever made it, which may be off ours. */
	if (lifetime_s < 0 && number_of(body, "expires_on") >= 0)
		lifetime_s = number_of(body, "expires_on") - (int64_t)time(NULL);
	if (lifetime_s < 0)
		lifetime_s = DEFAULT_LIFETIME_S;
	char *copy = strdup(token->valuestring);
	explicit_bzero(token->valuestring, strlen(token->valuestring));
	if (!copy)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	*ret = (struct entra_answer){ .token = copy, .lifetime_s = lifetime_s };
	return 0;
}
