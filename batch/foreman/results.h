/* foreman/results.h - the pure part of results.c, for its tests. */
#ifndef ADAFS_FOREMAN_RESULTS_H
#define ADAFS_FOREMAN_RESULTS_H

#include "batch/azure/blob.h"
#include "batch/base/json.h"

/* A blob of a listing below merged/<event>/ or parts/<event>/. */
struct results_blob {
	char *name;
	int64_t size;
	time_t mtime;
	char etag[ADAFS_ETAG_LEN];
	/* of merges: from "<pipeline>/<count>-<id>/" */
	uint64_t count;
	size_t pipeline_len;
	size_t folder_len; /* of the name up to and with the slash before the file */
};

/* Take the name of a merge's file apart. -EINVAL: it is none. */
int results_parse_merge(const char *name, size_t prefix_len, struct results_blob *b);
/* Binary search in a list sorted by name. */
const struct results_blob *results_find(const struct results_blob *list, size_t n,
					const char *name);
/* Whether all files that a summary lists are there with their sizes. */
bool results_complete(const struct results_blob *list, size_t n, const char *folder,
		      size_t folder_len, const cJSON *summary);

#endif
