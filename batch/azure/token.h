/*
 * azure/token.h - the bearer token of one resource: fetched in a thread of its own, kept, renewed
 * before it expires. Requests never wait for it on the HTTP loop: they are set aside until it is
 * there.
 *
 * none -> fetching -> good -> (less than five minutes left: renewing, the old one serves) -> good
 * ...
 *                  -> failed (requests fail with its sentence, or wait where it is the line or a
 * busy issuer; tried again after a pause)
 */
#ifndef ADAFS_AZURE_TOKEN_H
#define ADAFS_AZURE_TOKEN_H

#include "batch/azure/entra.h"
#include "batch/azure/http.h"
#include "batch/base/err.h"

struct adafs_token;

/*
 * Copies the settings; http is borrowed and outlives the source. Nothing is asked and no thread
 * runs until a token is wanted. NULL: -ENOMEM.
 */
struct adafs_token *adafs_token_new(struct adafs_http *http, const struct adafs_entra *settings,
				    const struct adafs_entra_resource *resource,
				    struct adafs_err *reterr);
struct adafs_token *adafs_token_ref(struct adafs_token *t);
/* The last one ends the thread, and az with it, and wipes the token. NULL is fine. */
void adafs_token_unref(struct adafs_token *t);

/* An adafs_http_sign: puts "Authorization: Bearer" on a request. -EAGAIN: none is there yet. */
int adafs_token_sign(struct adafs_token *t, struct adafs_http_request *rq,
		     struct adafs_err *reterr);
/*
 * The service refused the token on rq. Drops it if it is still the one in use. Returns whether a
 * request may be sent again; not when the refused one had only just been made: a new one would fare
 * no better.
 */
bool adafs_token_refused(struct adafs_token *t, const struct adafs_http_request *rq);

/*
 * Wait for a token, so that what is wrong is said at start. Not on the HTTP loop, which must run.
 * 0, or why there is none; -ETIMEDOUT.
 */
int adafs_token_wait(struct adafs_token *t, uint32_t timeout_ms, struct adafs_err *reterr);
/*
 * One line for people: which credential gave the token and until when it is good, and why those
 * before it in the chain were passed over; or what is wrong. free() it; NULL: out of memory. Holds
 * no secret.
 */
char *adafs_token_describe(struct adafs_token *t);

#endif
