/* emulator/batch/auth.h - Shared Key of the Batch service, as a pure function of a request. */
#ifndef ADAFS_EMULATOR_BATCH_AUTH_H
#define ADAFS_EMULATOR_BATCH_AUTH_H

#include <time.h>

#include "batch/emulator/http.h"

enum batch_auth_result {
	BATCH_AUTH_OK,
	BATCH_AUTH_MISSING, /* no Authorization header */
	BATCH_AUTH_FAILED,
};

/*
 * Check the signature and the date (15 minutes either way). On BATCH_AUTH_FAILED *ret_detail is a
 * sentence that holds the string which was signed here; free() it (NULL: out of memory).
 */
enum batch_auth_result batch_auth_check(const struct http_req *req, const char *account,
					const uint8_t *key, size_t key_len, time_t now,
					char **ret_detail);

#endif
