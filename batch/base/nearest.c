/* base/nearest.c - edit distance over short lists; one row of the matrix on the stack. */
#include "batch/base/nearest.h"

#include <limits.h>
#include <string.h>

#include "batch/base/cleanup.h"

static unsigned distance(const char *a, const char *b)
{
	unsigned row[64];
	size_t n = strlen(b);

	if (n >= ADAFS_ARRAY_SIZE(row))
		return UINT_MAX;
	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; *a; a++, i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= n; j++) {
			unsigned best = diagonal + (*a != b[j - 1]);
			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

const char *adafs_nearest(const char *text, const char *const list[], size_t n, unsigned max_edits)
{
	const char *nearest = NULL;
	unsigned best = UINT_MAX;

	for (size_t i = 0; i < n; i++) {
		unsigned d = distance(text, list[i]);
		if (d < best && d <= max_edits && d < strlen(list[i])) {
			best = d;
			nearest = list[i];
		}
	}
	return nearest;
}
