/* emulator/http_send.h - a response of a service made into what libmicrohttpd sends. */
#ifndef ADAFS_EMULATOR_HTTP_SEND_H
#define ADAFS_EMULATOR_HTTP_SEND_H

#include <stdbool.h>
#include <stdint.h>

#include "batch/emulator/http.h"
#include "batch/emulator/http_fault.h"

struct MHD_Connection;
struct MHD_Response;

/* Bytes of body that go out for this answer; none for a HEAD, whatever length it announces. */
uint64_t http_send_length(const struct http_req *req, const struct http_resp *resp);
/*
 * The response to queue, with its headers; takes over what the body is made of. f: a body is to be
 * slow or cut. The caller destroys it. NULL: out of memory.
 */
struct MHD_Response *http_send_response(const struct http_req *req, const struct http_fault *f,
					struct http_resp *resp);
/*
 * Hold back what is sent until it is switched off again: the headers of a file go out in one packet
 * with its first bytes, and the client wakes up once. Returns whether it was done.
 */
bool http_send_cork(struct MHD_Connection *c, bool on);

#endif
