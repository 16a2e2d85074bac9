/*
 * foreman/view.h - building and publishing the immutable snapshots. A job's part (job_snap) is
 * shared by all views in which it did not change, so that a new view costs one pointer and one
 * shallow copy a job.
 */
#ifndef ADAFS_FOREMAN_VIEW_H
#define ADAFS_FOREMAN_VIEW_H

#include "batch/foreman/table.h"

struct job_snap;
void job_snap_unref(struct job_snap *s);

struct view_input {
	const struct foreman_table *jobs;   /* of struct foreman_job */
	const struct foreman_table *images; /* of struct foreman_image */
	uint64_t generation;
	const char *pool_state;
	int pool_nodes, pool_slots;
	bool loaded;
	const char *trouble, *batch_trouble;
};
/* A new view with one reference, which renews the snapshots of dirty jobs. NULL: out of memory. */
struct adafs_view *view_make(const struct view_input *in);
/* One more reference. */
struct adafs_view *view_ref(struct adafs_view *v);

#endif
