/*
 * emulator/token.h - bearer tokens of a test issuer, as both services check them. The issuer is a
 * file with its public keys: a JSON Web Key Set, beside whose "keys" may stand "issuer" (what a
 * token's iss must be) and "tenant" (what its tid must be). The file is read anew when it changed.
 */
#ifndef ADAFS_EMULATOR_TOKEN_H
#define ADAFS_EMULATOR_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/base/digest.h"
#include "batch/base/err.h"

struct token_issuer;

/* Who a token speaks for. */
struct token_claims {
	char oid[64], tid[64];    /* object and tenant; "" where the token does not say */
	bool may_read, may_write; /* by its roles; both when it has no such claim */
};

/* 0; -ENOENT and others of the file; -EINVAL: no key set. */
int token_issuer_new(const char *path, struct token_issuer **ret,
		     struct adafs_err *reterr) ADAFS_MUST_CHECK;
void token_issuer_free(struct token_issuer *i);
/* The tenant that challenges name, "common" when the file has none. out holds 64 bytes. */
void token_issuer_tenant(struct token_issuer *i, char out[64]);

/*
 * Check a compact token (RS256): form, signature, issuer, audience, time, tenant. audiences compare
 * without case and without a slash at the end. Any thread. 0, -ENOMEM, or -EACCES with a sentence
 * that holds no part of the token.
 */
int token_check(struct token_issuer *i, const char *token, const char *const *audiences, size_t n,
		int64_t now_s, struct token_claims *ret, struct adafs_err *reterr) ADAFS_MUST_CHECK;

/* The fields of a user delegation key, as texts of requests and SAS. */
struct delegation_fields {
	const char *oid, *tid, *start, *expiry, *service, *version;
	bool may_write; /* the role of who asked for it */
};
/*
 * The key of such fields: it follows from the account's key, so that none is kept. 0, -ENOMEM,
 * -EIO.
 */
int delegation_key(const uint8_t *account_key, size_t key_len, const struct delegation_fields *f,
		   uint8_t out[ADAFS_SHA256_LEN]);

#endif
