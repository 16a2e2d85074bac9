/*
 * foreman/work.h - a submission under way: a copy of what it needs of its job, so that nothing of
 * the tables is used while it waits for the service. Submitter thread only.
 */
#ifndef ADAFS_FOREMAN_WORK_H
#define ADAFS_FOREMAN_WORK_H

#include "batch/foreman/internal.h"

struct work {
	struct adafs_foreman *f;
	struct foreman_job *job;
	struct adafs_pipeline *pipeline; /* borrowed */
	char *event, *unit;
	unsigned run;
	struct adafs_plan_image *image; /* texts borrowed from `text` */
	size_t n;
	const char **role;            /* of each image; so are these */
	struct adafs_plan_kept *kept; /* and these */
	size_t n_kept;
	struct adafs_plan_part *part; /* and of these */
	size_t n_parts;
	bool no_merge, hold;
	bool foreign;     /* its Batch id is somebody else's */
	bool has_members; /* it is the Batch job of a whole event */
	/* Of a member: where its tasks go, borrowed, and what their ids begin with. */
	const char *batch_job_id;
	char task_prefix[ADAFS_PLAN_PREFIX_LEN];
	char **text; /* owned */
	size_t n_texts;
	struct adafs_plan *plan;
};

/* Copy the job. 0; -ENOMEM; -EAGAIN: its pipeline cannot be had now; -EINVAL. Clear it in any case.
 */
int work_init(struct work *w, struct adafs_foreman *f, struct foreman_job *j,
	      struct adafs_err *reterr);
void work_clear(struct work *w);
/* While a job is in hand, nobody else changes its images and steps. */
void work_in_hand(struct adafs_foreman *f, struct foreman_job *j, bool in_hand);
/* A copy that lives as long as the work. NULL: out of memory. */
const char *work_keep(struct work *w, const char *text);
/*
 * Snapshots of the images that have none yet; the job has them, too, then. -ESTALE: one was
 * replaced; -ENOENT: it is gone.
 */
int work_take_snapshots(struct work *w, struct adafs_err *reterr);
/* Plan its tasks anew, for w->run. */
int work_plan(struct work *w, struct adafs_err *reterr);
/* What a later mount needs to know the Batch job again, into the plan's body of it. */
int work_mark_job(struct work *w, struct adafs_err *reterr);
/*
 * Of the Batch job of an event, which is there already: claim its members and add their tasks.
 * Plans what merges them anew. -ENODATA: none is left.
 */
int work_add_members(struct work *w, struct adafs_err *reterr);
/* The job takes the images and the steps of the plan, and its run. */
int work_take(struct work *w, struct adafs_err *reterr);

#endif
