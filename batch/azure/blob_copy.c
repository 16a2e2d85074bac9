/* Copy Blob inside an account, to its end. */
#include "batch/azure/blob_int.h"

#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"

#define POLL_FIRST_MS 100
#define POLL_MAX_MS 1000

static int copy_request(struct adafs_blob_client *c, const struct blob_target *dst,
			const char *src_container, const char *src_name, const char *src_etag,
			const struct adafs_blob_meta *meta, const struct adafs_blob_cond *cond,
			struct adafs_http_request **ret_rq, struct adafs_err *reterr)
{
	ADAFS_FREE char *url = adafs_blob_url(c, src_container, src_name);
	/* The key signs for the source too; a SAS must be there itself. */
	ADAFS_FREE char *source =
		url && c->account.sas ? adafs_fmt("%s?%s", url, c->account.sas) : NULL;
	struct adafs_http_request *rq = blob_request(dst, "PUT", "Copy Blob", NULL);
	int rc = url && (source || !c->account.sas) ? 0 : -ENOMEM;
	if (rc == 0)
		rc = blob_header(rq, "x-ms-copy-source", source ? source : url);
	if (rc == 0)
		rc = blob_header_etag(rq, "x-ms-source-if-match", src_etag);
	if (rc == 0)
		rc = blob_header_meta(rq, meta);
	if (rc == 0)
		rc = blob_header_cond(rq, cond);
	if (rc < 0)
		return blob_request_drop(rq, rc, reterr);
	*ret_rq = rq;
	return 0;
}

static void pause_ms(unsigned ms)
{
	const struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
	nanosleep(&ts, NULL);
}

/* Ask until the copy is no longer pending; response holds the last reply with its status. */
static int copy_wait(struct adafs_blob_client *c, const struct blob_target *dst,
		     struct adafs_http_response *response, struct adafs_err *reterr)
{
	unsigned wait_ms = POLL_FIRST_MS;
	char progress[64] = "";
	uint64_t moved_at = adafs_clock_mono_ms();
	for (;;) {
		const char *status = adafs_http_headers_get(&response->headers, "x-ms-copy-status");
		if (!status || strcmp(status, "success") == 0)
			return 0;
		if (strcmp(status, "pending") != 0)
			return adafs_err_set(reterr, -EIO, "Copy Blob: the service reports '%s'",
					     status);
		const char *now = adafs_http_headers_get(&response->headers, "x-ms-copy-progress");
		if (now && strcmp(now, progress) != 0) {
			snprintf(progress, sizeof(progress), "%s", now);
			moved_at = adafs_clock_mono_ms();
		}
		if (adafs_clock_mono_ms() - moved_at > adafs_http_io_timeout_ms(c->http))
			return adafs_err_set(reterr, -ETIMEDOUT, "Copy Blob: no progress for %u ms",
					     adafs_http_io_timeout_ms(c->http));
		pause_ms(wait_ms);
		wait_ms = wait_ms * 2 < POLL_MAX_MS ? wait_ms * 2 : POLL_MAX_MS;
		adafs_http_response_clear(response);
		int rc = adafs_http_perform(c->http,
					    blob_request(dst, "HEAD", "Get Blob Properties", NULL),
					    response, reterr);
		if (rc < 0)
			return rc;
	}
}

/*
 * The copy failed after an attempt without an answer: is what stands there made by this call? 0
 * with its properties in response when it has this call's nonce and is whole; else failed, as the
 * service said it.
 */
static int copy_resolve(struct adafs_blob_client *c, const struct blob_target *dst,
			const struct adafs_blob_meta *meta, int failed,
			struct adafs_http_response *response)
{
	const char *nonce = meta ? adafs_blob_meta_get(meta, ADAFS_META_COPY) : NULL;
	if (!nonce)
		return failed;
	adafs_http_response_clear(response);
	int rc = adafs_http_perform(c->http, blob_request(dst, "HEAD", "Get Blob Properties", NULL),
				    response, NULL);
	const char *theirs =
		rc ? NULL
		   : adafs_http_headers_get(&response->headers, "x-ms-meta-" ADAFS_META_COPY);
	if (!theirs || strcmp(theirs, nonce) != 0)
		return failed;
	return copy_wait(c, dst, response, NULL) < 0 ? failed : 0;
}

int adafs_blob_copy(struct adafs_blob_client *c, const char *src_container, const char *src_name,
		    const char *src_etag, const char *dst_container, const char *dst_name,
		    const struct adafs_blob_meta *meta, const struct adafs_blob_cond *cond,
		    char ret_etag[ADAFS_ETAG_LEN], struct adafs_err *reterr)
{
	const struct blob_target dst = blob_target_of(c, dst_container, dst_name);
	struct adafs_http_request *rq = NULL;
	int rc = copy_request(c, &dst, src_container, src_name, src_etag, meta, cond, &rq, reterr);
	if (rc < 0)
		return rc;
	ADAFS_CLEANUP(adafs_http_response_clear) struct adafs_http_response response = { 0 };
	struct adafs_err err = { 0 };
	rc = adafs_http_perform(c->http, rq, &response, &err);
	if (rc == 0)
		rc = copy_wait(c, &dst, &response, &err);
	else if (err.outcome_unknown)
		rc = copy_resolve(c, &dst, meta, rc, &response);
	if (rc < 0)
		return adafs_err_copy(reterr, &err);
	if (ret_etag)
		blob_etag_copy(ret_etag, adafs_http_headers_get(&response.headers, "ETag"));
	return 0;
}
