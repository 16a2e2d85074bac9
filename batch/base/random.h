/* base/random.h - random ids and jitter, from the operating system's generator. */
#ifndef ADAFS_BASE_RANDOM_H
#define ADAFS_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void adafs_random_bytes(void *out, size_t len);
/* A uniform number below bound (bound > 0). */
uint32_t adafs_random_below(uint32_t bound);
#define ADAFS_UUID_LEN 37
/* A random (version 4) UUID in lower case. */
void adafs_random_uuid(char out[ADAFS_UUID_LEN]);
/* 2 * bytes hexadecimal digits and a NUL. */
void adafs_random_hex(size_t bytes, char *out);

#endif
