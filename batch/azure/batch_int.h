/* azure/batch_int.h - what the parts of the Batch client share. Only for batch/azure. */
#ifndef ADAFS_AZURE_BATCH_INT_H
#define ADAFS_AZURE_BATCH_INT_H

#include "batch/azure/batch.h"
#include "batch/base/buf.h"

#define BATCH_API_VERSION "2024-07-01.20.0"
#define BATCH_CONTENT_TYPE "application/json; odata=minimalmetadata; charset=utf-8"

struct adafs_batch_client {
	struct adafs_http *http; /* borrowed */
	struct adafs_batch_account account;
};

/*
 * Start a URL: the path by format (its texts encoded already) and api-version. Parameters are added
 * by batch_url_param. 0 or negative errno.
 */
int batch_url(struct adafs_buf *b, const struct adafs_batch_client *c, const char *path_fmt, ...)
	ADAFS_PRINTF(3, 4);
/* Append "&name=value" encoded; value NULL: nothing. */
int batch_url_param(struct adafs_buf *b, const char *name, const char *value);

/* A request with the protocol's headers, signed at each attempt. url is copied. NULL: out of
 * memory. */
struct adafs_http_request *batch_request(struct adafs_batch_client *c, const char *method,
					 const char *operation, const char *url);
/*
 * Send body (NULL: none) and parse the reply into *ret_reply (NULL: not wanted; a reply without a
 * body gives NULL).
 */
int batch_call(struct adafs_batch_client *c, const char *method, const char *operation,
	       const char *url, const cJSON *body, cJSON **ret_reply, struct adafs_err *reterr);
/* The same with a body that is text already. */
int batch_call_text(struct adafs_batch_client *c, const char *method, const char *operation,
		    const char *url, const char *body, cJSON **ret_reply, struct adafs_err *reterr);
/* All pages of a list that starts at url. */
int batch_list(struct adafs_batch_client *c, const char *operation, const char *url,
	       adafs_batch_item_fn *fn, void *arg, struct adafs_err *reterr);

#endif
