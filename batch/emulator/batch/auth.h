/* emulator/batch/auth.h - who may use the Batch service: Shared Key and bearer tokens. */
#ifndef ADAFS_EMULATOR_BATCH_AUTH_H
#define ADAFS_EMULATOR_BATCH_AUTH_H

#include <time.h>

#include "batch/emulator/http.h"
#include "batch/emulator/token.h"

enum batch_auth_result {
	BATCH_AUTH_OK,
	BATCH_AUTH_MISSING, /* no Authorization header */
	BATCH_AUTH_FAILED,
	BATCH_AUTH_BAD_TOKEN, /* a bearer token that does not hold: 401 */
};

/* How a service may be entered. */
struct batch_auth_keys {
	const char *account;
	const uint8_t *key;
	size_t key_len;
	bool no_shared_key;          /* tokens only */
	struct token_issuer *issuer; /* NULL: no tokens */
};

/*
 * Check a bearer token, or the signature and the date (15 minutes either way). On BATCH_AUTH_FAILED
 * *ret_detail is a sentence that holds the string which was signed here; free() it (NULL: out of
 * memory).
 */
enum batch_auth_result batch_auth_check(const struct http_req *req,
					const struct batch_auth_keys *keys, time_t now,
					char **ret_detail);

#endif
