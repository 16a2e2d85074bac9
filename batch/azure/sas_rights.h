/* azure/sas_rights.h - what a SAS that somebody gave us permits, by its text alone. Pure. */
#ifndef ADAFS_AZURE_SAS_RIGHTS_H
#define ADAFS_AZURE_SAS_RIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#include "batch/base/err.h"

struct adafs_sas_rights {
	bool account;         /* an account SAS */
	bool delegated;       /* a user delegation SAS */
	bool by_policy;       /* rights and times not told here are a stored access policy's */
	char resource[4];     /* sr: "c", "b", "d", ...; "" for an account SAS */
	char services[8];     /* ss of an account SAS */
	char types[8];        /* srt */
	char permissions[24]; /* sp; "": the policy's */
	int64_t start_us;     /* 0: none, or the policy's */
	int64_t expiry_us;    /* 0: the policy's; of a user delegation SAS never after its key's */
};

/* What a mount does with it. */
enum adafs_sas_use { ADAFS_SAS_READ_WRITE, ADAFS_SAS_READ_ONLY };

/* Read a SAS, without '?'. 0, or -EINVAL saying what is wrong; its signature is in no text. */
int adafs_sas_rights_parse(const char *sas, struct adafs_sas_rights *ret,
			   struct adafs_err *reterr) ADAFS_MUST_CHECK;
/*
 * Whether a container can be mounted with it at now_us, and how. 0, or -EACCES with one line that
 * names what is missing and what to do. read_only: no more than that is wanted.
 */
int adafs_sas_rights_check(const struct adafs_sas_rights *r, int64_t now_us, bool read_only,
			   enum adafs_sas_use *ret_use, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* Whether it may make a container: only an account SAS ever may. */
bool adafs_sas_rights_may_create(const struct adafs_sas_rights *r);
/*
 * "a container SAS with racwdl, good until 2026-01-01T00:00:00Z"; free() it. NULL: out of memory.
 */
char *adafs_sas_rights_describe(const struct adafs_sas_rights *r);

#endif
