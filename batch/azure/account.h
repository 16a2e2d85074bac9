/* azure/account.h - where the services are and with what we may enter: accounts, keys, SAS. */
#ifndef ADAFS_AZURE_ACCOUNT_H
#define ADAFS_AZURE_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/base/err.h"

struct adafs_token;

/* A storage account's Blob service. One of key, sas and token is set before a client is made. */
struct adafs_storage_account {
	char *name;
	char *endpoint; /* "http://127.0.0.1:10000/acct" or "https://acct.blob.core.windows.net"; no
			   slash at the end */
	bool path_style; /* the endpoint's path holds the account name */
	uint8_t *key;    /* decoded account key; NULL: none */
	size_t key_len;
	char *sas;                 /* without '?'; NULL: none */
	struct adafs_token *token; /* a reference; NULL: none */
};

/* A Batch account. */
struct adafs_batch_account {
	char *name;
	char *endpoint; /* "https://acct.region.batch.azure.com"; no slash at the end */
	uint8_t *key;   /* this or token is set before a client is made */
	size_t key_len;
	struct adafs_token *token; /* a reference; NULL: none */
};

/*
 * Fill an account from a connection string (keys of blob-rest.md section 1; unknown ones are
 * ignored). 0, or -EINVAL naming the part that is wrong; the text never holds the key.
 */
int adafs_storage_account_parse(struct adafs_storage_account *a, const char *connection_string,
				struct adafs_err *reterr) ADAFS_MUST_CHECK;
/*
 * Fill an account from its parts. endpoint NULL: https://NAME.blob.core.windows.net. At most one of
 * key_base64 and sas is not NULL; with neither it is for a token. 0, -EINVAL.
 */
int adafs_storage_account_set(struct adafs_storage_account *a, const char *name,
			      const char *endpoint, const char *key_base64, const char *sas,
			      struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* An endpoint without a scheme gets https://. key_base64 NULL: it is for a token. 0, -EINVAL. */
int adafs_batch_account_set(struct adafs_batch_account *a, const char *name, const char *endpoint,
			    const char *key_base64, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* A copy of all, the token by a further reference. 0 or -ENOMEM; dst is cleared then. */
int adafs_storage_account_copy(struct adafs_storage_account *dst,
			       const struct adafs_storage_account *src) ADAFS_MUST_CHECK;
int adafs_batch_account_copy(struct adafs_batch_account *dst,
			     const struct adafs_batch_account *src) ADAFS_MUST_CHECK;
/* Wipe and free what the account owns. */
void adafs_storage_account_clear(struct adafs_storage_account *a);
void adafs_batch_account_clear(struct adafs_batch_account *a);
/* Whether a token may be sent to an endpoint: by https, or to this machine. */
bool adafs_url_is_private(const char *url);
/*
 * Whether a URL (or host[:port][/path]) names this machine: localhost, 127.*, [::1]. By its text
 * only, nothing is resolved. What is there no node in Azure can reach, and it answers at once.
 */
bool adafs_url_is_loopback(const char *url);

#endif
