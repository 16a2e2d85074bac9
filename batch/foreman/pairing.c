/* foreman/pairing.c - the look for partners: linear, for events are small. Pure. */
#include "batch/foreman/pairing.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/cleanup.h"

static const char *base_name(const char *blob)
{
	const char *slash = strrchr(blob, '/');
	return slash ? slash + 1 : blob;
}

char *pairing_key(const char *blob)
{
	const char *name = base_name(blob), *dot = strrchr(name, '.');
	return strndup(name, dot && dot != name ? (size_t)(dot - name) : strlen(name));
}

bool pairing_find(const struct pairing_image *images, size_t n, size_t self, size_t n_roles,
		  size_t *ret)
{
	ADAFS_FREE char *want = pairing_key(images[self].blob);
	for (size_t r = 0; r < n_roles; r++)
		ret[r] = SIZE_MAX;
	if (!want)
		return false;
	for (size_t i = 0; i < n; i++) {
		ADAFS_FREE char *key = pairing_key(images[i].blob);
		size_t r = images[i].role;
		if (!key || r >= n_roles || strcmp(key, want) != 0)
			continue;
		if (ret[r] == SIZE_MAX || strcmp(images[i].blob, images[ret[r]].blob) < 0)
			ret[r] = i;
	}
	for (size_t r = 0; r < n_roles; r++)
		if (ret[r] == SIZE_MAX)
			return false;
	return ret[images[self].role] == self;
}

char *pairing_suggest(const char *match, const char *blob)
{
	const char *name = base_name(blob);
	if (!match)
		return strdup(name);
	/* Only the directory part of the pattern is sure; the name must match the partner's. */
	const char *slash = strrchr(match, '/');
	if (!slash)
		return strdup(name);
	return adafs_fmt("%.*s/%s", (int)(slash - match), match, name);
}
