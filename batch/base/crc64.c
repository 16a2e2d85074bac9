/*
 * base/crc64.c - CRC-64/NVME: by carry-less multiplication where the processor has it, else by
 * tables. Bits are reflected: bit 63 of a word is x^0, so a product of two words comes out times x.
 */
#include "batch/base/digest.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_CLMUL 1
#endif

#define POLYNOMIAL UINT64_C(0x9A6C9329AC4BC9B5)

static uint64_t table[8][256]; /* for eight bytes at once */
static pthread_once_t once = PTHREAD_ONCE_INIT;

#ifdef HAVE_CLMUL
#define LANES 4
#define FOLD_MIN 256 /* shorter parts are not worth it */
#define WIDE_LANES 8
#define WIDE_MIN 1024
static bool have_clmul, have_wide;
/* What the first and the second word of 16 bytes become 256, 64 and 16 bytes further on. */
static uint64_t fold_256[2], fold_64[2], fold_16[2];

/* x^n modulo the polynomial. */
static uint64_t power(unsigned n)
{
	uint64_t v = UINT64_C(1) << 63;
	while (n--)
		v = v & 1 ? v >> 1 ^ POLYNOMIAL : v >> 1;
	return v;
}

static void clmul_init(void)
{
	have_clmul = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse2");
	have_wide = have_clmul && __builtin_cpu_supports("vpclmulqdq") &&
		    __builtin_cpu_supports("avx2");
	/* One less than the distance in bits: the product brings an x. */
	fold_256[0] = power(64 + 2048 - 1);
	fold_256[1] = power(2048 - 1);
	fold_64[0] = power(64 + 512 - 1);
	fold_64[1] = power(512 - 1);
	fold_16[0] = power(64 + 128 - 1);
	fold_16[1] = power(128 - 1);
}

__attribute__((target("pclmul,sse2"))) static inline __m128i fold(__m128i v, __m128i k,
								  __m128i next)
{
	__m128i first = _mm_clmulepi64_si128(v, k, 0x00);
	__m128i second = _mm_clmulepi64_si128(v, k, 0x11);
	return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

/* Eight times 32 bytes at once; len: a multiple of 256, at least 512. Leaves 256 bytes with the
 * same remainder in rest. */
__attribute__((target("avx2,vpclmulqdq"))) static void fold_wide(uint64_t c, const uint8_t *p,
								 size_t len, uint8_t rest[256])
{
	const __m256i k = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)fold_256));
	__m256i v[WIDE_LANES];
	for (int i = 0; i < WIDE_LANES; i++)
		v[i] = _mm256_loadu_si256((const __m256i *)p + i);
	v[0] = _mm256_xor_si256(v[0], _mm256_set_epi64x(0, 0, 0, (long long)c));
	for (len -= 256, p += 256; len; len -= 256, p += 256)
		for (int i = 0; i < WIDE_LANES; i++) {
			__m256i next = _mm256_loadu_si256((const __m256i *)p + i);
			__m256i first = _mm256_clmulepi64_epi128(v[i], k, 0x00);
			__m256i second = _mm256_clmulepi64_epi128(v[i], k, 0x11);
			v[i] = _mm256_xor_si256(_mm256_xor_si256(first, second), next);
		}
	for (int i = 0; i < WIDE_LANES; i++)
		_mm256_storeu_si256((__m256i *)rest + i, v[i]);
}

/* len: a multiple of 64, at least 64. Leaves 16 bytes with the same remainder in rest. */
__attribute__((target("pclmul,sse2"))) static void fold_all(uint64_t c, const uint8_t *p,
							    size_t len, uint8_t rest[16])
{
	__m128i k = _mm_loadu_si128((const __m128i *)fold_64), v[LANES];
	for (int i = 0; i < LANES; i++)
		v[i] = _mm_loadu_si128((const __m128i *)p + i);
	v[0] = _mm_xor_si128(v[0], _mm_cvtsi64_si128((long long)c));
	for (len -= 64, p += 64; len; len -= 64, p += 64)
		for (int i = 0; i < LANES; i++)
			v[i] = fold(v[i], k, _mm_loadu_si128((const __m128i *)p + i));
	k = _mm_loadu_si128((const __m128i *)fold_16);
	for (int i = 1; i < LANES; i++)
		v[i] = fold(v[i - 1], k, v[i]);
	_mm_storeu_si128((__m128i *)rest, v[LANES - 1]);
}
#endif

static void init(void)
{
	for (unsigned i = 0; i < 256; i++) {
		uint64_t c = i;
		for (int k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
		table[0][i] = c;
	}
	for (unsigned i = 0; i < 256; i++)
		for (int t = 1; t < 8; t++)
			table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 0xff];
#ifdef HAVE_CLMUL
	clmul_init();
#endif
}

static uint64_t by_table(uint64_t c, const uint8_t *p, size_t len)
{
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t v;
		memcpy(&v, p, 8);
		c ^= v;
		c = table[7][c & 0xff] ^ table[6][c >> 8 & 0xff] ^ table[5][c >> 16 & 0xff] ^
		    table[4][c >> 24 & 0xff] ^ table[3][c >> 32 & 0xff] ^ table[2][c >> 40 & 0xff] ^
		    table[1][c >> 48 & 0xff] ^ table[0][c >> 56];
	}
	while (len--)
		c = table[0][(c ^ *p++) & 0xff] ^ c >> 8;
	return c;
}

uint64_t adafs_crc64(uint64_t crc, const void *data, size_t len)
{
	pthread_once(&once, init);
	const uint8_t *p = data;
	uint64_t c = ~crc;
#ifdef HAVE_CLMUL
	if (have_wide && len >= WIDE_MIN) {
		uint8_t wide[256], rest[16];
		size_t whole = len & ~(size_t)255;
		fold_wide(c, p, whole, wide);
		fold_all(0, wide, sizeof(wide), rest);
		c = by_table(0, rest, sizeof(rest));
		p += whole;
		len -= whole;
	}
	if (have_clmul && len >= FOLD_MIN) {
		uint8_t rest[16];
		size_t whole = len & ~(size_t)63;
		fold_all(c, p, whole, rest);
		c = by_table(0, rest, sizeof(rest));
		p += whole;
		len -= whole;
	}
#endif
	return ~by_table(c, p, len);
}
