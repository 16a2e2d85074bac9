/* blob/blob_service.h - the Blob half of the emulator: an HTTP service over a store of blobs. */
#ifndef ADAFS_EMULATOR_BLOB_SERVICE_H
#define ADAFS_EMULATOR_BLOB_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "batch/base/err.h"
#include "batch/emulator/http.h"

struct blob_service;

struct blob_service_config {
	const char *dir;     /* state: blob.db and data/; made if missing */
	const char *account; /* name; all of these are copied */
	const char *key;     /* account key, base64 */
	const char *host;  /* loopback address to listen on; NULL: no socket (tests call the ops) */
	uint16_t port;     /* 0: the system chooses */
	int access_log_fd; /* -1: none; borrowed */
	struct traps *traps; /* NULL: none; borrowed until free */
	struct token_issuer
		*issuer;    /* of bearer tokens; NULL: none are taken; borrowed until free */
	bool no_shared_key; /* refuse the account key and what it signed */
};

/*
 * Open the state and bind; nothing is served yet. -EADDRINUSE, -EINVAL (key), errors of the disk.
 */
int blob_service_new(const struct blob_service_config *config, struct blob_service **ret,
		     struct adafs_err *reterr) ADAFS_MUST_CHECK;
int blob_service_start(struct blob_service *s, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* Let running requests end for at most grace_ms. */
void blob_service_stop(struct blob_service *s, unsigned grace_ms);
void blob_service_free(struct blob_service *s);
/* "127.0.0.1:10000"; borrowed. */
const char *blob_service_authority(const struct blob_service *s);
uint16_t blob_service_port(const struct blob_service *s);

/* The callbacks that the server drives; tests drive them without a socket. */
extern const struct http_service_ops blob_service_ops;

#endif
