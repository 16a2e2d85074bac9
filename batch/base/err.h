/* base/err.h - one currency for failure: 0 or a negative errno, with optional detail beside it. */
#ifndef ADAFS_BASE_ERR_H
#define ADAFS_BASE_ERR_H

#include <stdbool.h>
#include <stdint.h>

#include "batch/base/cleanup.h"

/* What went wrong, for people and for the retry layer. All zero is "no error". */
struct adafs_err {
	int rc;                  /* negative errno; 0: success */
	int http_status;         /* 0: no response arrived */
	bool retryable;          /* the same request may succeed if sent again */
	bool outcome_unknown;    /* the service may have acted although no reply arrived */
	uint32_t retry_after_ms; /* what the service asked for; 0: nothing */
	char service_code[64];   /* x-ms-error-code or the JSON code; "": none */
	char request_id[40];     /* the service's id of the request, for its support */
	char msg[512];           /* one line, without secrets */
};

/*
 * Fill e (may be NULL) with rc and a formatted line; everything else in it is cleared.
 * Returns rc, so that `return adafs_err_set(reterr, -ESTALE, "...")` reads well.
 */
int adafs_err_set(struct adafs_err *e, int rc, const char *fmt, ...) ADAFS_PRINTF(3, 4);

/* Put a formatted text and ": " before e's line; rc and the other fields stay. Returns e->rc. */
int adafs_err_prefix(struct adafs_err *e, const char *fmt, ...) ADAFS_PRINTF(2, 3);

/* Copy src to dst (either may be NULL). Returns src's rc, or 0. */
int adafs_err_copy(struct adafs_err *dst, const struct adafs_err *src);

#endif
