/* base/random.c - random bytes of the kernel as ids and jitter. Any thread. */
#include "batch/base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/random.h>

#include "batch/base/cleanup.h"
#include "batch/base/codec.h"

void adafs_random_bytes(void *out, size_t len)
{
	uint8_t *p = out;
	while (len) {
		ssize_t n = getrandom(p, len < 256 ? len : 256, 0);
		if (n < 0)
			continue; /* only EINTR: the pool is ready long before us */
		p += n;
		len -= (size_t)n;
	}
}

uint32_t adafs_random_below(uint32_t bound)
{
	uint64_t r;
	adafs_random_bytes(&r, sizeof(r));
	return (uint32_t)(r % bound);
}

void adafs_random_uuid(char out[ADAFS_UUID_LEN])
{
	uint8_t b[16];
	adafs_random_bytes(b, sizeof(b));
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	char hex[2 * sizeof(b) + 1];
	adafs_hex_encode(b, sizeof(b), hex);
	static const struct {
		uint8_t at, from, len;
	} groups[] = { { 0, 0, 8 }, { 9, 8, 4 }, { 14, 12, 4 }, { 19, 16, 4 }, { 24, 20, 12 } };
	memset(out, '-', ADAFS_UUID_LEN - 1);
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(groups); i++)
		memcpy(out + groups[i].at, hex + groups[i].from, groups[i].len);
	out[ADAFS_UUID_LEN - 1] = 0;
}

void adafs_random_hex(size_t bytes, char *out)
{
	uint8_t b[64];
	if (bytes > sizeof(b))
		abort();
	adafs_random_bytes(b, bytes);
	adafs_hex_encode(b, bytes, out);
}
