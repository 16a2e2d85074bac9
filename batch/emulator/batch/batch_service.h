/*
 * emulator/batch/batch_service.h - the Batch service of the emulator: one HTTP server, the state of
 * pools, jobs and tasks in SQLite, and a scheduler that runs tasks as processes of this machine.
 *
 * Everything lives below DIR/batch: state.db, and nodes/<node>/ with the directories that a task
 * sees. One process at a time may own DIR (the emulator's lock file sees to that). Killing the
 * process at any moment loses nothing that was answered: the next start ends what the predecessor
 * left running and runs those tasks again.
 */
#ifndef ADAFS_EMULATOR_BATCH_BATCH_SERVICE_H
#define ADAFS_EMULATOR_BATCH_BATCH_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/base/err.h"

struct batch_service;
struct traps;

/* Copied by batch_service_new; nothing is borrowed but the descriptor. */
struct batch_service_config {
	const char *dir;     /* state directory of the emulator; made if missing */
	const char *account; /* name of the Batch account */
	const uint8_t *key;  /* the account's key, decoded */
	size_t key_len;
	const char *host;    /* loopback address to listen on */
	uint16_t port;       /* 0: the system chooses */
	unsigned nodes;      /* nodes of the pool `local`; 0: 1 */
	unsigned slots;      /* task slots of each of its nodes; 0: max(4, CPUs) */
	int access_log_fd;   /* one line a request is appended; -1: none; borrowed until stop */
	struct traps *traps; /* NULL: none; borrowed until free */
	bool containers;     /* container tasks run in podman or docker; -ENOENT where neither is */
	struct token_issuer
		*issuer;    /* of bearer tokens; NULL: none are taken; borrowed until free */
	bool no_shared_key; /* refuse the account key */
	const char *blob_authority; /* "127.0.0.1:10000" of the Blob service with the same account
				       and key: identities of pools enter there; NULL: nowhere */
};

/*
 * Open or make the state, end the processes that a predecessor left, bind the port. No request is
 * served and no task started before batch_service_start. The pool `local` exists afterwards.
 * 0; -EADDRINUSE and others of bind; -EIO for a state that cannot be read; -ENOMEM.
 */
int batch_service_new(const struct batch_service_config *config, struct batch_service **ret_service,
		      struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* "http://127.0.0.1:10001", what AZURE_BATCH_ENDPOINT is; borrowed until free. */
const char *batch_service_endpoint(const struct batch_service *s);
/* The port bound to. */
uint16_t batch_service_port(const struct batch_service *s);
/* Whether a job has not ended. Any thread. */
bool batch_service_busy(struct batch_service *s);
/* Serve requests and run tasks. */
int batch_service_start(struct batch_service *s, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/*
 * Stop serving, kill the processes of running tasks (they stay recorded as running and are run
 * again by the next start) and join all threads. May be called twice.
 */
void batch_service_stop(struct batch_service *s);
/* Stops if needed; accepts NULL. */
void batch_service_free(struct batch_service *s);

#endif
