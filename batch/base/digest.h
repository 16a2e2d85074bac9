/* base/digest.h - the checksums and signatures of the protocols. */
#ifndef ADAFS_BASE_DIGEST_H
#define ADAFS_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define ADAFS_SHA256_LEN 32
#define ADAFS_SHA256_HEX_LEN 65 /* with NUL */
#define ADAFS_MD5_LEN 16

/* HMAC-SHA256, the signature of Shared Key and SAS. 0 or -EIO (the crypto library failed). */
int adafs_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
		      uint8_t out[ADAFS_SHA256_LEN]);
void adafs_md5(const void *data, size_t len, uint8_t out[ADAFS_MD5_LEN]);
void adafs_sha256(const void *data, size_t len, uint8_t out[ADAFS_SHA256_LEN]);
/* Lower-case hexadecimal SHA-256 of data. */
void adafs_sha256_hex(const void *data, size_t len, char out[ADAFS_SHA256_HEX_LEN]);

/* A digest over a stream of parts. */
struct adafs_digest;
enum adafs_digest_kind { ADAFS_DIGEST_SHA256, ADAFS_DIGEST_MD5 };
/* NULL: out of memory. */
struct adafs_digest *adafs_digest_new(enum adafs_digest_kind kind);
void adafs_digest_update(struct adafs_digest *d, const void *data, size_t len);
/* Write the result (32 or 16 bytes) and end the stream; then only free it. */
void adafs_digest_final(struct adafs_digest *d, uint8_t *out);
void adafs_digest_free(struct adafs_digest *d);
void adafs_digest_freep(struct adafs_digest **d);

/*
 * CRC-64/NVME, the x-ms-content-crc64 of Blob. Start with 0 and pass the result on for the next
 * part. The header is the base64 of the 8 bytes in little-endian order.
 */
uint64_t adafs_crc64(uint64_t crc, const void *data, size_t len);
/* The header's text of a CRC: 12 characters and NUL. */
void adafs_crc64_text(uint64_t crc, char out[16]);

/* Compare secrets in constant time. Returns whether both are equal. */
int adafs_equal_secret(const void *a, size_t a_len, const void *b, size_t b_len);

#endif
