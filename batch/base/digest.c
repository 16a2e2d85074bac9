/* base/digest.c - MD5, SHA-256 and HMAC by OpenSSL. */
#include "batch/base/digest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "batch/base/codec.h"

int adafs_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
		      uint8_t out[ADAFS_SHA256_LEN])
{
	unsigned int out_len = 0;
	return HMAC(EVP_sha256(), key, (int)key_len, data, len, out, &out_len) ? 0 : -EIO;
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
	    !EVP_DigestInit_ex(d->ctx, kind == ADAFS_DIGEST_SHA256 ? EVP_sha256() : EVP_md5(), NULL)) {
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
