/*
 * emulator/http_fault.h - faults on purpose between a service and its clients, and the requests
 * that show and set all traps. What strikes a request is drawn once, when its headers are complete.
 */
#ifndef ADAFS_EMULATOR_HTTP_FAULT_H
#define ADAFS_EMULATOR_HTTP_FAULT_H

#include <stdbool.h>

#include "batch/emulator/http.h"
#include "batch/emulator/traps.h"

struct MHD_Response;

/* What goes wrong with one request. */
struct http_fault {
	bool busy;         /* answered 503 or 429 before any effect */
	bool lost;         /* done, but the connection ends without a reply */
	bool cut;          /* the reply's body ends in the middle */
	double slow_bytes; /* bytes a second of the reply's body; 0: no limit */
};

struct http_fault http_fault_draw(struct traps *t);
/*
 * The service's own answer of an overload. service: "blob" or "batch" decides the form; turn: even
 * ones are 503 ServerBusy, odd ones 429 TooManyRequests.
 */
void http_fault_busy(const struct traps *t, const char *service, unsigned turn,
		     const struct http_req *req, struct http_resp *resp);
/*
 * The response when its body is to be slow or cut; takes over what the body is made of. NULL: out
 * of memory. Only for answers that have a body.
 */
struct MHD_Response *http_fault_response(const struct http_fault *f, struct http_resp *resp);
/*
 * GET /adafs/traps (the table), POST /adafs/traps?name=value&... (set, then the table; 400 with a
 * sentence) and POST /adafs/traps/reset (204). False: the request is something else. One with an
 * Origin is refused: no web page may change what the emulator does.
 */
bool http_fault_admin(struct traps *t, const struct http_req *req, struct http_resp *resp);

#endif
