/* fs/program/credentials.h - the texts that name accounts and enter them, put together. Only for
 * options.c. */
#ifndef ADAFS_FS_PROGRAM_CREDENTIALS_H
#define ADAFS_FS_PROGRAM_CREDENTIALS_H

#include "fs/program/options.h"

/* Texts of accounts before they are put together; wiped at the end. */
enum cred {
	CRED_CONNECTION, /* storage from here ... */
	CRED_ACCOUNT,
	CRED_KEY,
	CRED_SAS,
	CRED_ENDPOINT,
	CRED_BATCH_ACCOUNT, /* Batch from here */
	CRED_BATCH_KEY,
	CRED_BATCH_ENDPOINT,
	N_CREDS,
};

/* What the sources said. */
struct credentials {
	struct options *o;
	char *cred[N_CREDS];             /* NULL: not said */
	enum adafs_entra_kind auth_kind; /* of auth=; with auto the environment's counts */
};

/*
 * Fill accounts and Entra ID's settings of o from texts, o->auth and the environment, and judge a
 * SAS by its text; a mount that could not work is refused. 0, -ENOMEM, or -EINVAL naming what is
 * wrong.
 */
int credentials_apply(struct credentials *c, struct adafs_err *reterr) ADAFS_MUST_CHECK;

#endif
