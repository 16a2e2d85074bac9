/* azure/account.h - where the services are and with what we may enter: accounts, keys, SAS. */
#ifndef ADAFS_AZURE_ACCOUNT_H
#define ADAFS_AZURE_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/base/err.h"

/* A storage account's Blob service. Either key or sas is set. */
struct adafs_storage_account {
	char *name;
	char *endpoint; /* "http://127.0.0.1:10000/acct" or "https://acct.blob.core.windows.net"; no slash at the end */
	bool path_style; /* the endpoint's path holds the account name */
	uint8_t *key;    /* decoded account key; NULL: none */
	size_t key_len;
	char *sas;       /* without '?'; NULL: none */
};

/* A Batch account. */
struct adafs_batch_account {
	char *name;
	char *endpoint; /* "https://acct.region.batch.azure.com"; no slash at the end */
	uint8_t *key;
	size_t key_len;
};

/*
 * Fill an account from a connection string (keys of blob-rest.md section 1; unknown ones are
 * ignored). 0, or -EINVAL naming the part that is wrong; the text never holds the key.
 */
int adafs_storage_account_parse(struct adafs_storage_account *a, const char *connection_string,
				struct adafs_err *reterr) ADAFS_MUST_CHECK;
/*
 * Fill an account from its parts. endpoint NULL: https://NAME.blob.core.windows.net. Exactly one of
 * key_base64 and sas is not NULL. 0, -EINVAL.
 */
int adafs_storage_account_set(struct adafs_storage_account *a, const char *name, const char *endpoint,
			      const char *key_base64, const char *sas,
			      struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* An endpoint without a scheme gets https://. 0, -EINVAL. */
int adafs_batch_account_set(struct adafs_batch_account *a, const char *name, const char *endpoint,
			    const char *key_base64, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* Wipe and free what the account owns. */
void adafs_storage_account_clear(struct adafs_storage_account *a);
void adafs_batch_account_clear(struct adafs_batch_account *a);
/*
 * Whether a URL (or host[:port][/path]) names this machine: localhost, 127.*, [::1]. By its text
 * only, nothing is resolved. What is there no node in Azure can reach, and it answers at once.
 */
bool adafs_url_is_loopback(const char *url);

#endif
