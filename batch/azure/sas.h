/* azure/sas.h - Shared Key signatures and shared access signatures, as pure functions. */
#ifndef ADAFS_AZURE_SAS_H
#define ADAFS_AZURE_SAS_H

#include "batch/azure/account.h"
#include "batch/base/err.h"

/* A user delegation key with the texts that the service gave; in place of the account's key. */
struct adafs_sas_delegation {
	char oid[48], tid[48], start[32], expiry[32], service[8], version[16];
	uint8_t value[128]; /* secret */
	size_t value_len;
};

/*
 * A service or user delegation SAS (blob-rest.md section 4). Times are ISO 8601 texts as they will
 * stand in the URL; NULL fields are absent. What a stored access policy gives (expiry) is left out
 * here.
 */
struct adafs_sas {
	const char *version;          /* sv; NULL: the client's */
	const char *resource;         /* sr: "b", "c" or "bs" */
	const char *permissions;      /* sp, in the order racwdl; NULL: the policy's */
	const char *start;            /* st */
	const char *expiry;           /* se */
	const char *policy;           /* si: id of a stored access policy of the container */
	const char *protocol;         /* spr */
	const char *ip;               /* sip */
	const char *snapshot;         /* signed time of sr=bs */
	const char *encryption_scope; /* ses */
	const char *cache_control, *content_disposition, *content_encoding, *content_language,
		*content_type;                         /* rscc rscd rsce rscl rsct */
	const struct adafs_sas_delegation *delegation; /* NULL: a service SAS */
};

/*
 * Sign a SAS with the account's key, or the user delegation key, for a container (blob NULL) or a
 * blob. *ret_query is the query without '?', percent-encoded, owned by the caller. For sr=bs it
 * does not hold `snapshot=`, which the URL needs too. 0, -EACCES (no key), -ENOMEM.
 */
int adafs_sas_sign(const struct adafs_storage_account *a, const char *container, const char *blob,
		   const struct adafs_sas *sas, char **ret_query,
		   struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* The string-to-sign of the above, for tests and the emulator; free() it. */
char *adafs_sas_string_to_sign(const char *account, const char *container, const char *blob,
			       const struct adafs_sas *sas);

#endif
