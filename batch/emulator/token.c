/* Bearer tokens: the issuer's keys, and the checks in the order of the service. */
#include "batch/emulator/token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/file.h"
#include "batch/base/json.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"

#define MAX_FILE (1024 * 1024)
#define MAX_KEYS 16
#define EARLY_S 300 /* clocks of issuers run a little ahead */

struct issuer_key {
	char kid[128]; /* "": any */
	EVP_PKEY *key;
};

struct token_issuer {
	char *path;
	struct adafs_mutex lock; /* LEAF: all below */
	struct timespec changed;
	off_t size;
	ino_t inode;
	char *name; /* owned; NULL: tokens of any issuer */
	char tenant[64];
	struct issuer_key keys[MAX_KEYS];
	size_t n_keys;
};

/* --- the file -------------------------------------------------------------------------------- */

static BIGNUM *number_of(const cJSON *jwk, const char *name)
{
	const char *text = adafs_json_str(jwk, name, "");
	ADAFS_FREE uint8_t *data = NULL;
	size_t len = 0;
	if (!*text || adafs_base64url_decode(text, strlen(text), &data, &len) < 0)
		return NULL;
	return BN_bin2bn(data, (int)len, NULL);
}

static EVP_PKEY *key_of(const cJSON *jwk)
{
	EVP_PKEY *key = NULL;
	BIGNUM *n = number_of(jwk, "n"), *e = number_of(jwk, "e");
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	if (n && e && build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		params = OSSL_PARAM_BLD_to_param(build);
	if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	BN_free(n);
	BN_free(e);
	return key;
}

static void forget_locked(struct token_issuer *i)
{
	for (size_t k = 0; k < i->n_keys; k++)
		EVP_PKEY_free(i->keys[k].key);
	i->n_keys = 0;
	free(i->name);
	i->name = NULL;
	*i->tenant = 0;
}

static int take_locked(struct token_issuer *i, const cJSON *json, struct adafs_err *reterr)
{
	const cJSON *keys = adafs_json_get(json, "keys"), *jwk;
	if (!cJSON_IsArray(keys))
		return adafs_err_set(reterr, -EINVAL, "'%s' has no \"keys\"", i->path);
	forget_locked(i);
	const char *name = adafs_json_str(json, "issuer", NULL);
	i->name = name ? strdup(name) : NULL;
	snprintf(i->tenant, sizeof(i->tenant), "%s", adafs_json_str(json, "tenant", ""));
	cJSON_ArrayForEach(jwk, keys)
	{
		if (i->n_keys == MAX_KEYS || strcmp(adafs_json_str(jwk, "kty", ""), "RSA") != 0)
			continue;
		struct issuer_key *k = &i->keys[i->n_keys];
		snprintf(k->kid, sizeof(k->kid), "%s", adafs_json_str(jwk, "kid", ""));
		k->key = key_of(jwk);
		if (!k->key)
			return adafs_err_set(reterr, -EINVAL, "'%s' holds a broken RSA key",
					     i->path);
		i->n_keys++;
	}
	return 0;
}

static int load_locked(struct token_issuer *i, const struct stat *st, struct adafs_err *reterr)
{
	ADAFS_FREE char *text = NULL;
	size_t len = 0;
	int rc = adafs_file_read(i->path, MAX_FILE, &text, &len, reterr);
	if (rc < 0)
		return rc;
	ADAFS_JSON *json = adafs_json_parse(text, len, reterr);
	if (!json) {
		adafs_err_prefix(reterr, "'%s'", i->path);
		return -EINVAL;
	}
	rc = take_locked(i, json, reterr);
	if (rc < 0)
		return rc;
	i->changed = st->st_mtim;
	i->size = st->st_size;
	i->inode = st->st_ino;
	return 0;
}

/* A file that is being written holds until it can be read again: the old keys stay. */
static void refresh_locked(struct token_issuer *i)
{
	struct stat st;
	if (stat(i->path, &st) < 0 ||
	    (st.st_size == i->size && st.st_ino == i->inode &&
	     st.st_mtim.tv_sec == i->changed.tv_sec && st.st_mtim.tv_nsec == i->changed.tv_nsec))
		return;
	struct adafs_err err = { 0 };
	if (load_locked(i, &st, &err) < 0)
		adafs_log(WARN, "emulator", "the keys of the token issuer: %s", err.msg);
}

int token_issuer_new(const char *path, struct token_issuer **ret, struct adafs_err *reterr)
{
	struct token_issuer *i = calloc(1, sizeof(*i));
	if (!i)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	adafs_mutex_init(&i->lock, ADAFS_RANK_LEAF);
	i->path = strdup(path);
	struct stat st;
	int rc = 0;
	if (!i->path)
		rc = adafs_err_set(reterr, -ENOMEM, "out of memory");
	else if (stat(path, &st) < 0)
		rc = adafs_err_set(reterr, -errno, "cannot read '%s': %s", path, strerror(errno));
	else
		rc = load_locked(i, &st, reterr);
	if (rc < 0) {
		token_issuer_free(i);
		return rc;
	}
	*ret = i;
	return 0;
}

void token_issuer_free(struct token_issuer *i)
{
	if (!i)
		return;
	forget_locked(i);
	adafs_mutex_clear(&i->lock);
	free(i->path);
	free(i);
}

void token_issuer_tenant(struct token_issuer *i, char out[64])
{
	adafs_mutex_lock(&i->lock);
	refresh_locked(i);
	snprintf(out, 64, "%s", *i->tenant ? i->tenant : "common");
	adafs_mutex_unlock(&i->lock);
}

/* --- one token ------------------------------------------------------------------------------- */

static cJSON *part_json(const char *text, size_t len)
{
	ADAFS_FREE uint8_t *data = NULL;
	size_t n = 0;
	if (adafs_base64url_decode(text, len, &data, &n) < 0)
		return NULL;
	return adafs_json_parse((const char *)data, n, NULL);
}

static bool verifies(EVP_PKEY *key, const char *text, size_t len, const uint8_t *sig, size_t n)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
		  EVP_DigestVerify(ctx, sig, n, (const uint8_t *)text, len) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

static bool signed_locked(const struct token_issuer *i, const char *kid, const char *token,
			  const char *sig_text)
{
	ADAFS_FREE uint8_t *sig = NULL;
	size_t n = 0;
	if (adafs_base64url_decode(sig_text, strlen(sig_text), &sig, &n) < 0)
		return false;
	for (size_t k = 0; k < i->n_keys; k++) {
		const struct issuer_key *key = &i->keys[k];
		if (kid && *key->kid && strcmp(kid, key->kid) != 0)
			continue;
		if (verifies(key->key, token, (size_t)(sig_text - 1 - token), sig, n))
			return true;
	}
	return false;
}

static bool same_audience(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	n -= n && a[n - 1] == '/';
	m -= m && b[m - 1] == '/';
	return n == m && strncasecmp(a, b, n) == 0;
}

static bool is_for(const cJSON *aud, const char *const *audiences, size_t n)
{
	const cJSON *item;
	if (cJSON_IsArray(aud)) {
		cJSON_ArrayForEach(item, aud) if (cJSON_IsString(item) &&
						  is_for(item, audiences, n)) return true;
		return false;
	}
	for (size_t k = 0; k < n && cJSON_IsString(aud); k++)
		if (same_audience(aud->valuestring, audiences[k]))
			return true;
	return false;
}

/* Without the claim a token may do everything, as most test issuers know no roles. */
static void take_roles(const cJSON *claims, struct token_claims *ret)
{
	const cJSON *roles = adafs_json_get(claims, "roles"), *r;
	ret->may_read = ret->may_write = !roles;
	cJSON_ArrayForEach(r, roles)
	{
		const char *role = cJSON_IsString(r) ? r->valuestring : "";
		bool writer = strcmp(role, "Storage Blob Data Contributor") == 0 ||
			      strcmp(role, "Storage Blob Data Owner") == 0 ||
			      strcmp(role, "Contributor") == 0 || strcmp(role, "Owner") == 0 ||
			      strcmp(role, "Azure Batch Data Contributor") == 0;
		bool reader = strcmp(role, "Storage Blob Data Reader") == 0 ||
			      strcmp(role, "Reader") == 0;
		ret->may_write |= writer;
		ret->may_read |= writer || reader;
	}
}

static int refused(struct adafs_err *reterr, const char *why)
{
	return adafs_err_set(reterr, -EACCES, "%s", why);
}

static int claims_locked(const struct token_issuer *i, const cJSON *claims,
			 const char *const *audiences, size_t n, int64_t now_s,
			 struct token_claims *ret, struct adafs_err *reterr)
{
	const char *iss = adafs_json_str(claims, "iss", ""),
		   *tid = adafs_json_str(claims, "tid", "");
	if (i->name && strcmp(iss, i->name) != 0)
		return refused(reterr, "Issuer validation failed. Issuer did not match.");
	if (!is_for(adafs_json_get(claims, "aud"), audiences, n))
		return refused(reterr, "Audience validation failed. Audience did not match.");
	if (*i->tenant && strcasecmp(tid, i->tenant) != 0)
		return refused(reterr, "Issuer validation failed. Tenant did not match.");
	if (adafs_json_int(claims, "exp", 0) <= now_s)
		return refused(reterr, "Lifetime validation failed. The token is expired.");
	if (adafs_json_int(claims, "nbf", 0) > now_s + EARLY_S)
		return refused(reterr, "Lifetime validation failed. The token is not yet valid.");
	snprintf(ret->oid, sizeof(ret->oid), "%s",
		 adafs_json_str(claims, "oid", adafs_json_str(claims, "sub", "")));
	snprintf(ret->tid, sizeof(ret->tid), "%s", tid);
	take_roles(claims, ret);
	return 0;
}

int token_check(struct token_issuer *i, const char *token, const char *const *audiences, size_t n,
		int64_t now_s, struct token_claims *ret, struct adafs_err *reterr)
{
	const char *first = strchr(token, '.'), *second = first ? strchr(first + 1, '.') : NULL;
	ADAFS_JSON *head = second ? part_json(token, (size_t)(first - token)) : NULL;
	ADAFS_JSON *claims = second ? part_json(first + 1, (size_t)(second - first - 1)) : NULL;
	if (!cJSON_IsObject(head) || !cJSON_IsObject(claims))
		return refused(reterr, "The token is no JSON Web Token.");
	if (strcmp(adafs_json_str(head, "alg", ""), "RS256") != 0)
		return refused(reterr, "Signature validation failed. The algorithm is not RS256.");
	struct token_claims c = { 0 };
	adafs_mutex_lock(&i->lock);
	refresh_locked(i);
	int rc = signed_locked(i, adafs_json_str(head, "kid", NULL), token, second + 1)
			 ? claims_locked(i, claims, audiences, n, now_s, &c, reterr)
			 : refused(reterr, "Signature validation failed. No key of the issuer "
					   "fits.");
	adafs_mutex_unlock(&i->lock);
	if (rc == 0)
		*ret = c;
	return rc;
}

/* --- delegation ------------------------------------------------------------------------------ */

int delegation_key(const uint8_t *account_key, size_t key_len, const struct delegation_fields *f,
		   uint8_t out[ADAFS_SHA256_LEN])
{
	ADAFS_FREE char *text = adafs_fmt("user delegation key\n%s\n%s\n%s\n%s\n%s\n%s\n%s",
					  f->may_write ? "w" : "r", f->oid, f->tid, f->start,
					  f->expiry, f->service, f->version);
	return text ? adafs_hmac_sha256(account_key, key_len, text, strlen(text), out) : -ENOMEM;
}
