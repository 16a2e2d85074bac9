/*
 * base/codec.c - base64, hexadecimal, percent-encoding and UTF-8; what is malformed is refused.
 * Pure.
 */
#include "batch/base/codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

char *adafs_base64_encode(const void *data, size_t len)
{
	char *out = malloc((len + 2) / 3 * 4 + 1);
	if (!out)
		return NULL;
	EVP_EncodeBlock((unsigned char *)out, data, (int)len);
	return out;
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int adafs_base64_decode(const char *text, size_t text_len, uint8_t **ret_data, size_t *ret_len)
{
	if (text_len % 4)
		return -EINVAL;
	size_t pad = 0;
	while (pad < 2 && pad < text_len && text[text_len - 1 - pad] == '=')
		pad++;
	ADAFS_FREE uint8_t *out = malloc(text_len / 4 * 3 + 1);
	if (!out)
		return -ENOMEM;
	uint32_t bits = 0;
	size_t n = 0;
	for (size_t i = 0; i < text_len - pad; i++) {
		int v = base64_value(text[i]);
		if (v < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)v;
		if (i % 4 == 1)
			out[n++] = (uint8_t)(bits >> 4);
		else if (i % 4 == 2)
			out[n++] = (uint8_t)(bits >> 2);
		else if (i % 4 == 3)
			out[n++] = (uint8_t)bits;
	}
	out[n] = 0;
	*ret_len = n;
	*ret_data = ADAFS_STEAL(out);
	return 0;
}

int adafs_base64url_decode(const char *text, size_t text_len, uint8_t **ret_data, size_t *ret_len)
{
	size_t padded = (text_len + 3) / 4 * 4;
	ADAFS_FREE char *copy = malloc(padded + 1);
	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < padded; i++) {
		char c = i < text_len ? text[i] : '=';
		if (i < text_len && (c == '+' || c == '/' || c == '='))
			return -EINVAL;
		copy[i] = (char)(c == '-' ? '+' : c == '_' ? '/' : c);
	}
	return adafs_base64_decode(copy, padded, ret_data, ret_len);
}

void adafs_hex_encode(const void *data, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = data;
	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * len] = 0;
}

static bool unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

char *adafs_url_encode(const char *text, size_t len, const char *keep)
{
	static const char digits[] = "0123456789ABCDEF";
	char *out = malloc(3 * len + 1), *p = out;
	if (!out)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (unreserved(c) || (c && strchr(keep, c))) {
			*p++ = (char)c;
		} else {
			*p++ = '%';
			*p++ = digits[c >> 4];
			*p++ = digits[c & 15];
		}
	}
	*p = 0;
	return out;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *adafs_url_decode(const char *text, size_t len, bool plus_is_space)
{
	ADAFS_FREE char *out = malloc(len + 1);
	if (!out)
		return NULL;
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] != '%') {
			out[n++] = plus_is_space && text[i] == '+' ? ' ' : text[i];
			continue;
		}
		int hi = i + 2 < len ? hex_value(text[i + 1]) : -1;
		int lo = hi >= 0 ? hex_value(text[i + 2]) : -1;
		if (lo < 0 || (hi == 0 && lo == 0)) {
			errno = EINVAL;
			return NULL;
		}
		out[n++] = (char)(hi << 4 | lo);
		i += 2;
	}
	out[n] = 0;
	return ADAFS_STEAL(out);
}

/* The bytes of the sequence at p (at most len), or 0 if it is malformed. */
static size_t utf8_sequence(const unsigned char *p, size_t len)
{
	if (p[0] < 0x80)
		return 1;
	size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	if (p[0] < 0xc2 || p[0] > 0xf4 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

bool adafs_utf8_valid(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;
	while (len) {
		size_t n = utf8_sequence(p, len);
		if (!n)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

size_t adafs_utf16_units(const char *text, size_t len)
{
	size_t units = 0;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		units += (c & 0xc0) != 0x80;
		units += c >= 0xf0;
	}
	return units;
}
