/* azure/auth.h - Shared Key for both services as pure functions; the time is an argument. */
#ifndef ADAFS_AZURE_AUTH_H
#define ADAFS_AZURE_AUTH_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "batch/azure/http.h"
#include "batch/base/err.h"

/*
 * The string-to-sign of a request as it stands (blob-rest.md section 3, batch-rest.md section 2.1).
 * The length of the body counts unless there is a Content-Length header. free() it; NULL: out of
 * memory or a URL that cannot be decoded.
 */
char *adafs_auth_blob_string(const struct adafs_http_request *rq, const char *account);
char *adafs_auth_batch_string(const struct adafs_http_request *rq, const char *account);

/* base64(HMAC-SHA256(key, string)). free() it. NULL: out of memory. */
char *adafs_auth_signature(const uint8_t *key, size_t key_len, const char *string);

/*
 * Put the date header (x-ms-date, ocp-date) of wall time now and Authorization on a request, in
 * place of older ones. 0, -ENOMEM, -EINVAL.
 */
int adafs_auth_sign_blob(struct adafs_http_request *rq, const char *account, const uint8_t *key,
			 size_t key_len, time_t now, struct adafs_err *reterr) ADAFS_MUST_CHECK;
int adafs_auth_sign_batch(struct adafs_http_request *rq, const char *account, const uint8_t *key,
			  size_t key_len, time_t now, struct adafs_err *reterr) ADAFS_MUST_CHECK;

#endif
