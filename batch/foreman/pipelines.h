/*
 * foreman/pipelines.h - pipelines by digest: the mount's own, and older ones whose text is kept in
 * the container. One thread.
 */
#ifndef ADAFS_FOREMAN_PIPELINES_H
#define ADAFS_FOREMAN_PIPELINES_H

#include "batch/azure/blob.h"
#include "batch/pipeline/pipeline.h"

struct foreman_pipelines {
	struct adafs_blob_client *blob; /* borrowed */
	const char *container;          /* borrowed */
	struct adafs_pipeline *own;     /* borrowed */
	struct foreman_pipeline_entry {
		char digest[65];
		struct adafs_pipeline *pipeline; /* NULL: cannot be used */
		char why[512];
	} * entry;
	size_t n;
};

/* The blob that keeps a pipeline's text; free() it. */
char *pipelines_blob(const char *digest);
/*
 * The pipeline of a digest, borrowed. NULL with the reason in reterr: -ENOENT its text is not in
 * the container, -EINVAL it cannot be used; any other code: the service could not be asked, try
 * again.
 */
struct adafs_pipeline *pipelines_get(struct foreman_pipelines *p, const char *digest,
				     struct adafs_err *reterr);
void pipelines_clear(struct foreman_pipelines *p);

#endif
