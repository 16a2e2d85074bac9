/* base/random.c - random bytes of the kernel as ids and jitter. Any thread. */
#include "batch/base/random.h"

#include <stdio.h>
#include <stdlib.h>

#include <sys/random.h>

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
	snprintf(out, ADAFS_UUID_LEN,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		 b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		 b[15]);
}

void adafs_random_hex(size_t bytes, char *out)
{
	uint8_t b[64];
	if (bytes > sizeof(b))
		abort();
	adafs_random_bytes(b, bytes);
	adafs_hex_encode(b, bytes, out);
}
