/* base/codec.h - base64, hexadecimal and percent-encoding. */
#ifndef ADAFS_BASE_CODEC_H
#define ADAFS_BASE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/base/cleanup.h"

/* Standard base64 with padding, no line breaks. free() the result; NULL: out of memory. */
char *adafs_base64_encode(const void *data, size_t len);
/* Strict base64. *ret_data is owned by the caller and followed by a NUL. 0, -EINVAL, -ENOMEM. */
int adafs_base64_decode(const char *text, size_t text_len, uint8_t **ret_data,
			size_t *ret_len) ADAFS_MUST_CHECK;
/* The URL's form of base64, without padding, as tokens have it; otherwise as above. */
int adafs_base64url_decode(const char *text, size_t text_len, uint8_t **ret_data,
			   size_t *ret_len) ADAFS_MUST_CHECK;
/* Lower-case hexadecimal; out holds 2 * len + 1 bytes. */
void adafs_hex_encode(const void *data, size_t len, char *out);

/*
 * Percent-encode for a URL. Letters, digits and -._~ stay, as do the bytes of `keep` ("/" for a
 * path); everything else, "+" included, becomes %XX. free() the result.
 */
char *adafs_url_encode(const char *text, size_t len, const char *keep);
/*
 * Decode %XX. plus_is_space: as in queries of HTML forms; false for paths and for Azure's SAS.
 * free() the result, which is followed by a NUL. NULL: a broken escape (errno EINVAL), an encoded
 * NUL (EINVAL), or ENOMEM.
 */
char *adafs_url_decode(const char *text, size_t len, bool plus_is_space);

/* Whether len bytes are well-formed UTF-8 (no surrogates, no overlong forms). */
bool adafs_utf8_valid(const char *text, size_t len);
/* The length of a UTF-8 text in UTF-16 code units, which is how Azure counts names. */
size_t adafs_utf16_units(const char *text, size_t len);

#endif
