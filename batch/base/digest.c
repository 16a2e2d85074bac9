/* base/digest.c - MD5, SHA-256 and HMAC by OpenSSL. */
#include "batch/base/digest.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "batch/base/codec.h"

/*
 * A thread keeps its context: to find the algorithm anew costs more than a signature. It forgets
 * the key with the next one, or as the thread ends.
 */
static pthread_key_t hmac_key;
static pthread_once_t hmac_once = PTHREAD_ONCE_INIT;
static bool hmac_ready;

static void hmac_free(void *ctx)
{
	EVP_MAC_CTX_free(ctx);
}

static void hmac_init(void)
{
	hmac_ready = pthread_key_create(&hmac_key, hmac_free) == 0;
}

static EVP_MAC_CTX *hmac_context(void)
{
	pthread_once(&hmac_once, hmac_init);
	EVP_MAC_CTX *ctx = hmac_ready ? pthread_getspecific(hmac_key) : NULL;
	if (ctx || !hmac_ready)
		return ctx;
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
	EVP_MAC_free(mac);
	OSSL_PARAM sha256[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
								 (char *)"SHA256", 0),
				OSSL_PARAM_construct_end() };
	if (!ctx || !EVP_MAC_CTX_set_params(ctx, sha256) ||
	    pthread_setspecific(hmac_key, ctx) != 0) {
		EVP_MAC_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

int adafs_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
		      uint8_t out[ADAFS_SHA256_LEN])
{
	static const unsigned char none[1];
	EVP_MAC_CTX *ctx = hmac_context();
	size_t out_len = 0;
	/* Without a key it would go on with that of before. */
	if (!ctx || !EVP_MAC_init(ctx, key_len ? key : none, key_len, NULL) ||
	    !EVP_MAC_update(ctx, data, len) || !EVP_MAC_final(ctx, out, &out_len, ADAFS_SHA256_LEN))
		return -EIO;
	return 0;
}

void adafs_md5(const void *data, size_t len, uint8_t out[ADAFS_MD5_LEN])
{
	EVP_Digest(data, len, out, NULL, EVP_md5(), NULL);
}

void adafs_sha256(const void *data, size_t len, uint8_t out[ADAFS_SHA256_LEN])
{
	EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL);
}

void adafs_sha256_hex(const void *data, size_t len, char out[ADAFS_SHA256_HEX_LEN])
{
	uint8_t digest[ADAFS_SHA256_LEN];
	adafs_sha256(data, len, digest);
	adafs_hex_encode(digest, sizeof(digest), out);
}

struct adafs_digest {
	EVP_MD_CTX *ctx;
};

struct adafs_digest *adafs_digest_new(enum adafs_digest_kind kind)
{
	struct adafs_digest *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->ctx = EVP_MD_CTX_new();
	if (!d->ctx ||
	    !EVP_DigestInit_ex(d->ctx, kind == ADAFS_DIGEST_SHA256 ? EVP_sha256() : EVP_md5(),
			       NULL)) {
		adafs_digest_free(d);
		return NULL;
	}
	return d;
}

void adafs_digest_update(struct adafs_digest *d, const void *data, size_t len)
{
	EVP_DigestUpdate(d->ctx, data, len);
}

void adafs_digest_final(struct adafs_digest *d, uint8_t *out)
{
	EVP_DigestFinal_ex(d->ctx, out, NULL);
}

void adafs_digest_free(struct adafs_digest *d)
{
	if (d)
		EVP_MD_CTX_free(d->ctx);
	free(d);
}

void adafs_digest_freep(struct adafs_digest **d)
{
	adafs_digest_free(*d);
}

void adafs_crc64_text(uint64_t crc, char out[16])
{
	uint8_t bytes[8];
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(crc >> (8 * i));
	EVP_EncodeBlock((unsigned char *)out, bytes, 8);
}

int adafs_equal_secret(const void *a, size_t a_len, const void *b, size_t b_len)
{
	return a_len == b_len && CRYPTO_memcmp(a, b, a_len) == 0;
}
