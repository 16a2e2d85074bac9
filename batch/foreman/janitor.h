/*
 * foreman/janitor.h - what is removed, and when: jobs that a user deleted, parts of images that are
 * gone, work that was kept long enough, maps that newer ones have followed. The choice is pure.
 */
#ifndef ADAFS_FOREMAN_JANITOR_H
#define ADAFS_FOREMAN_JANITOR_H

#include "batch/foreman/results.h"
#include "batch/foreman/table.h"

enum janitor_chore {
	JANITOR_NOTHING,
	JANITOR_CANCEL, /* it still runs, and is not wanted */
	JANITOR_DELETE, /* all that is left of it */
	JANITOR_DROP,   /* its part of the map: an image of it is gone */
	JANITOR_SWEEP,  /* the files of its part, which a tombstone stands for */
	JANITOR_CLEAR,  /* its work and logs, its Batch jobs */
};
/*
 * What is due for a job at now_us, by the service's clock. image_gone: one of its images is not in
 * the container. keep_ms: for a job that does not say how long its work stays. *ret_due_us: when
 * there is nothing yet, the time at which there will be; INT64_MAX: never.
 */
enum janitor_chore janitor_choose(const struct foreman_job *j, bool image_gone, int64_t keep_ms,
				  int64_t now_us, int64_t *ret_due_us);

/*
 * Whether a blob is work of the job's runs up to max_run: "work/<job-id>/<step>/<run>/...". What a
 * later run writes is never of an earlier one.
 */
bool janitor_is_work(const char *blob, const char *job_id, unsigned max_run);

/*
 * The part.json of a job that is no longer in the map, from the one that it had, for run `run`.
 * With its order it hides what former content of its images left; without, any other part of them
 * counts before it. free() it; NULL: that one cannot be read, or out of memory.
 */
char *janitor_tombstone(const char *part, size_t len, unsigned run, bool with_order);
/* Whether a part.json says so already. */
bool janitor_is_tombstone(const char *part, size_t len);

/* A map of an event and pipeline: a folder below merged/. */
struct janitor_map {
	const char *folder; /* "merged/<event>/<pipeline>/<count>-<id>/", not ended by it */
	size_t folder_len, pipeline_len; /* the latter of "merged/<event>/<pipeline>/" */
	size_t first, n_files;           /* its blobs in the listing */
	uint64_t count;
	time_t written; /* its newest file */
	bool complete;  /* known to be */
	bool old;       /* it may go */
};
/*
 * Mark the maps of one event and pipeline that may go: written before `before`, and two complete
 * ones rank above. Sorts them by rank.
 */
void janitor_old_maps(struct janitor_map *map, size_t n, time_t before);

/* --- the thread's own --------------------------------------------------------------------- */
struct janitor {
	struct adafs_foreman *f;
	uint64_t minute_ms; /* when the present minute of requests began */
	unsigned n_requests;
	bool urgent; /* a user waits to see it done: no such measure */
	int jitter;  /* of 1000: mounts do not all come at once */
	uint64_t maps_at_ms;
};
/* Wait until one more request is within the janitor's own measure. false: the foreman stops. */
bool janitor_turn(struct janitor *t);

/* --- remove.c: each may be done again, by anybody ------------------------------------------- */
struct janitor_part {
	const char *event, *pipeline, *id;
	unsigned run;    /* of the tombstone */
	bool with_order; /* as above */
};
/*
 * Take a job's part out of the map: a tombstone stands for it. Its files stay: a merge may be at
 * them. *ret_had: there was one.
 */
int janitor_bury_part(struct janitor *t, const struct janitor_part *part, bool *ret_had,
		      struct adafs_err *reterr);
/* Remove what is older than the tombstone of a part, and nothing where there is none. */
int janitor_sweep_part(struct janitor *t, const struct janitor_part *part,
		       struct adafs_err *reterr);
/* Remove the work of its runs up to max_run. */
int janitor_remove_work(struct janitor *t, const char *id, unsigned max_run,
			struct adafs_err *reterr);
/* Remove its Batch jobs of these runs that have ended and are ours. */
int janitor_remove_batch_jobs(struct janitor *t, const char *id, unsigned max_run,
			      struct adafs_err *reterr);
/* maps.c: remove maps that newer ones have followed for a day. */
int janitor_remove_maps(struct janitor *t, struct adafs_err *reterr);

#endif
