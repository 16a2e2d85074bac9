/*
 * azure/entra_managed.c - managed identities: the metadata service of a virtual machine or AKS
 * node, App Service and Functions, and Azure Arc. All three answer at an address that only this
 * machine can reach, so no proxy is ever asked. Waits in the calling thread.
 */
#include "batch/azure/entra_int.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "batch/base/random.h"

#define IMDS_HOST "http://169.254.169.254"
#define TOKEN_PATH "/metadata/identity/oauth2/token"
#define ARC_KEYS "/var/opt/azcmagent/tokens"
#define PROBE_MS 1000
#define MAX_URL 8192
#define MAX_ARC_KEY 4096
/* While the metadata service is updated it answers 410, for 70 seconds at most. */
#define RETRY_MS 75000
#define RETRY_BASE_MS 800

enum host { HOST_IMDS, HOST_APP_SERVICE, HOST_ARC };

static enum host host_of(const struct adafs_entra *s)
{
	if (s->endpoint && s->header)
		return HOST_APP_SERVICE;
	return s->endpoint && s->arc ? HOST_ARC : HOST_IMDS;
}

/* The parameter that names the identity, if one is wanted. */
static int add_identity(struct adafs_buf *query, const struct adafs_entra *s, enum host host)
{
	const char *id = s->identity ? s->identity : s->client;
	if (!id || host == HOST_ARC) /* an Arc machine has one identity only */
		return 0;
	if (strncmp(id, "object:", 7) == 0)
		return entra_param(query, host == HOST_IMDS ? "object_id" : "principal_id", id + 7);
	if (*id == '/')
		return entra_param(query, host == HOST_IMDS ? "msi_res_id" : "mi_res_id", id);
	return entra_param(query, "client_id", id);
}

static char *make_url(const struct entra_call *call, enum host host)
{
	static const char *const version[] = {
		[HOST_IMDS] = "2018-02-01",
		[HOST_APP_SERVICE] = "2019-08-01",
		[HOST_ARC] = "2019-11-01",
	};
	const struct adafs_entra *s = call->settings;
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf query = ADAFS_BUF_INIT(MAX_URL);
	int rc = entra_param(&query, "api-version", version[host]);
	if (rc == 0)
		rc = entra_param(&query, "resource", call->resource.resource);
	if (rc == 0)
		rc = add_identity(&query, s, host);
	if (rc < 0)
		return NULL;
	if (host != HOST_IMDS)
		return adafs_fmt("%s?%s", s->endpoint, adafs_buf_str(&query));
	const char *base = s->imds_host ? s->imds_host : IMDS_HOST;
	size_t len = strlen(base);
	while (len && base[len - 1] == '/')
		len--;
	return adafs_fmt("%.*s" TOKEN_PATH "?%s", (int)len, base, adafs_buf_str(&query));
}

static struct adafs_http_request *make_request(const char *url, const char *header,
					       const char *value)
{
	struct adafs_http_request *rq = adafs_http_request_new("GET", strdup(url));
	if (!rq)
		return NULL;
	rq->operation = "Get Token of Managed Identity";
	rq->link_local = true;
	if (header && adafs_http_headers_set(&rq->headers, header, value) < 0) {
		adafs_http_request_free(rq);
		return NULL;
	}
	return rq;
}

/*
 * Whether a metadata service is there at all: any answer will do, and without the header Metadata
 * it gives no token away.
 */
static bool imds_answers(const struct entra_call *call, const char *url)
{
	ADAFS_FREE char *bare = strndup(url, strcspn(url, "?"));
	struct adafs_http_request *rq = bare ? make_request(bare, NULL, NULL) : NULL;
	if (!rq)
		return false;
	rq->no_retry = true;
	rq->io_timeout_ms = PROBE_MS;
	ADAFS_CLEANUP(entra_reply_clear) struct adafs_http_response reply = { 0 };
	int rc = entra_exchange(call, rq, &reply, NULL);
	return rc == 0 || reply.status != 0;
}

/* 404 and 410 mean that it is not ready; what else may be tried again, the HTTP layer has tried. */
static int ask_imds(const struct entra_call *call, const char *url, struct entra_answer *ret,
		    struct adafs_err *reterr)
{
	uint64_t deadline_ms = adafs_clock_mono_ms() + RETRY_MS;
	uint32_t delay_ms = RETRY_BASE_MS;
	for (;;) {
		ADAFS_CLEANUP(entra_reply_clear) struct adafs_http_response reply = { 0 };
		int rc =
			entra_exchange(call, make_request(url, "Metadata", "true"), &reply, reterr);
		if (rc == 0)
			return entra_parse(&reply, ret, reterr);
		if ((reply.status != 404 && reply.status != 410) ||
		    adafs_clock_mono_ms() + delay_ms >= deadline_ms)
			return rc;
		if (entra_stopped_within(call, delay_ms + adafs_random_below(delay_ms / 4)))
			return adafs_err_set(reterr, -ECANCELED, "cancelled");
		delay_ms *= 2;
	}
}

static int fetch_imds(const struct entra_call *call, const char *url, struct entra_answer *ret,
		      struct adafs_err *reterr)
{
	if (call->in_chain && !imds_answers(call, url))
		return adafs_err_set(reterr, -ENODATA, "no metadata service answers at %.*s",
				     (int)(strstr(url, TOKEN_PATH) - url), url);
	struct adafs_err err = { 0 };
	int rc = ask_imds(call, url, ret, &err);
	/* A machine without an identity says so: in a chain the next may have one. */
	if (rc < 0 && err.http_status == 400 && call->in_chain &&
	    strstr(err.msg, "dentity not found"))
		rc = err.rc = -ENODATA;
	adafs_err_copy(reterr, &err);
	return rc;
}

static int fetch_app_service(const struct entra_call *call, const char *url,
			     struct entra_answer *ret, struct adafs_err *reterr)
{
	ADAFS_CLEANUP(entra_reply_clear) struct adafs_http_response reply = { 0 };
	struct adafs_http_request *rq =
		make_request(url, "X-IDENTITY-HEADER", call->settings->header);
	int rc = entra_exchange(call, rq, &reply, reterr);
	return rc < 0 ? rc : entra_parse(&reply, ret, reterr);
}

/* --- Azure Arc ---------------------------------------------------------------------------- */

/*
 * The key that the agent has put where only its group can read it. A path elsewhere is refused:
 * whoever listens at the port could have any file of ours sent to it.
 */
static int read_arc_key(const struct adafs_entra *s, const char *challenge, char **ret,
			struct adafs_err *reterr)
{
	const char *dir = s->arc_keys ? s->arc_keys : ARC_KEYS;
	const char *path = challenge ? strstr(challenge, "realm=") : NULL;
	if (!path)
		return adafs_err_set(reterr, -EPROTO, "Azure Arc's agent names no key file");
	path += strlen("realm=");
	path += *path == '"';
	ADAFS_FREE char *name = strndup(path, strcspn(path, "\"\r\n"));
	if (!name)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	size_t len = strlen(name), dir_len = strlen(dir);
	if (len < dir_len + 6 || strncmp(name, dir, dir_len) != 0 || name[dir_len] != '/' ||
	    strchr(name + dir_len + 1, '/') || strcmp(name + len - 4, ".key") != 0)
		return adafs_err_set(reterr, -EACCES,
				     "Azure Arc's agent names a key file outside %s", dir);
	size_t key_len;
	int rc = adafs_file_read(name, MAX_ARC_KEY, ret, &key_len, reterr);
	if (rc < 0)
		adafs_err_prefix(reterr, "Azure Arc's key (be a member of the group himds)");
	return rc < 0 ? -EACCES : 0;
}

static int fetch_arc(const struct entra_call *call, const char *url, struct entra_answer *ret,
		     struct adafs_err *reterr)
{
	ADAFS_CLEANUP(entra_reply_clear) struct adafs_http_response first = { 0 };
	struct adafs_err err = { 0 };
	if (call->settings->identity)
		return adafs_err_set(reterr, -EINVAL,
				     "Azure Arc has one identity only: take identity= away");
	entra_exchange(call, make_request(url, "Metadata", "true"), &first, &err);
	if (first.status != 401) {
		adafs_err_copy(reterr, &err);
		return err.rc < 0 ? err.rc
				  : adafs_err_set(reterr, -EPROTO,
						  "Azure Arc's agent did not challenge");
	}
	ADAFS_FREE char *key = NULL;
	int rc = read_arc_key(call->settings,
			      adafs_http_headers_get(&first.headers, "WWW-Authenticate"), &key,
			      reterr);
	if (rc < 0)
		return rc;
	ADAFS_FREE char *value = adafs_fmt("Basic %s", key);
	explicit_bzero(key, strlen(key));
	struct adafs_http_request *rq = value ? make_request(url, "Metadata", "true") : NULL;
	if (rq && adafs_http_headers_set(&rq->headers, "Authorization", value) < 0) {
		adafs_http_request_free(rq);
		rq = NULL;
	}
	if (value)
		explicit_bzero(value, strlen(value));
	ADAFS_CLEANUP(entra_reply_clear) struct adafs_http_response reply = { 0 };
	rc = entra_exchange(call, rq, &reply, reterr);
	return rc < 0 ? rc : entra_parse(&reply, ret, reterr);
}

int entra_fetch_managed(const struct entra_call *call, struct entra_answer *ret,
			struct adafs_err *reterr)
{
	enum host host = host_of(call->settings);
	ADAFS_FREE char *url = make_url(call, host);
	if (!url)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	switch (host) {
	case HOST_APP_SERVICE:
		return fetch_app_service(call, url, ret, reterr);
	case HOST_ARC:
		return fetch_arc(call, url, ret, reterr);
	case HOST_IMDS:
		break;
	}
	return fetch_imds(call, url, ret, reterr);
}
