/* emulator/emulator_internal.h - what the files of the emulator's command share. */
#ifndef ADAFS_EMULATOR_INTERNAL_H
#define ADAFS_EMULATOR_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "batch/base/err.h"

struct emulator_address {
	char host[64];
	uint16_t port; /* 0: the system chooses */
	bool given;
};

struct emulator_options {
	char *dir;        /* owned */
	char *account;    /* owned; NULL: as before, else "adafs" */
	char *key;        /* owned; base64; NULL: as before, else a new one */
	char *access_log; /* owned; NULL: none */
	char *log_level;  /* owned; NULL: default */
	char *while_used; /* owned; end when this file is locked by nobody and no job is active;
			     NULL: never */
	struct emulator_address blob, batch;
	unsigned nodes, slots; /* 0: the service's default */
	unsigned grace_s;      /* how long it must have been unused; 0: 60 */
	char *traps;           /* owned; what traps_set takes; NULL: none */
	char *issuer;          /* owned; file of the token issuer's keys; NULL: no bearer tokens */
	bool no_shared_key;
	bool containers;
	bool help;
};

/* --- emulator_options.c ---------------------------------------------------------------------- */

/* Parse the command line; overwrites the key in argv. -EINVAL with a sentence. */
int emulator_options_parse(int argc, char **argv, struct emulator_options *ret,
			   struct adafs_err *reterr);
void emulator_options_clear(struct emulator_options *o);
const char *emulator_usage(void);
/* "HOST:PORT", "[::1]:PORT" or "PORT". */
int emulator_address_parse(const char *text, struct emulator_address *ret,
			   struct adafs_err *reterr);

/* --- emulator_state.c ------------------------------------------------------------------------ */

/* Make the directory and take its lock: the descriptor, or -EBUSY naming who holds it. */
int emulator_state_lock(const char *dir, struct adafs_err *reterr);
/*
 * Fill what the command line left open from the directory, choosing and keeping a key if need be.
 */
int emulator_state_load(struct emulator_options *o, struct adafs_err *reterr);
/* Keep account and addresses for the next start. */
int emulator_state_save(const struct emulator_options *o, const char *blob, const char *batch,
			struct adafs_err *reterr);
/* The printed lines; batch is the endpoint's URL. free(). NULL: out of memory. */
char *emulator_settings(const struct emulator_options *o, const char *blob, const char *batch);
int emulator_settings_write(const char *dir, const char *settings, struct adafs_err *reterr);
void emulator_settings_remove(const char *dir);

#endif
