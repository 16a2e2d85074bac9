/*
 * foreman/foreman.h - images become jobs, jobs are watched. The filesystem hands over committed
 * images and reads immutable snapshots (views); it never waits for the foreman.
 */
#ifndef ADAFS_FOREMAN_FOREMAN_H
#define ADAFS_FOREMAN_FOREMAN_H

#include <stdbool.h>
#include <stdint.h>

#include "batch/azure/batch.h"
#include "batch/azure/blob.h"
#include "batch/foreman/pool_settings.h"
#include "batch/pipeline/pipeline.h"
#include "batch/pipeline/plan.h"

/*
 * Whether the settings fit each other and the pipeline: the image it uses is among those that nodes
 * pull, its steps fit into the slots, a registry has a user. -EINVAL with the setting and the fix.
 */
int adafs_pool_settings_check(const struct adafs_pool_settings *s, const struct adafs_pipeline *p,
			      struct adafs_err *reterr) ADAFS_MUST_CHECK;
/*
 * Whether the pipeline can run in a pool that exists, by the pool as the service shows it: its
 * slots, and whether it has containers. blob_local: the Blob service is on this machine. Sets
 * *ret_local: the nodes are, too. -EINVAL with the fix.
 */
int adafs_pool_suits(const cJSON *pool, const struct adafs_pipeline *p, bool blob_local,
		     bool *ret_local, struct adafs_err *reterr) ADAFS_MUST_CHECK;

/* States of jobs and steps as users read them. */
enum adafs_state {
	ADAFS_STATE_WAITING, /* steps only: a dependency is unmet */
	ADAFS_STATE_QUEUED,
	ADAFS_STATE_RUNNING,
	ADAFS_STATE_COMPLETED,
	ADAFS_STATE_FAILED,
	ADAFS_STATE_SKIPPED, /* steps only */
	ADAFS_STATE_CANCELLED,
	ADAFS_STATE_EMPTY, /* jobs; of steps: ended with nothing found */
};
const char *adafs_state_name(enum adafs_state s);

/* A step of a job. All texts are owned by the view, never NULL. Times: microseconds since 1970, 0:
 * not yet. */
struct adafs_step_view {
	unsigned place;  /* 1.. among the job's steps */
	unsigned number; /* shards of a step share it */
	char *name;
	char *task_id;
	char *batch_task_id; /* the same, or with a prefix in the Batch job of an event */
	enum adafs_state state;
	char *waiting_for; /* one sentence */
	char *command;
	bool has_exit_code;
	int exit_code;
	int64_t changed_us, started_us, finished_us;
	char *node;        /* "" before it runs */
	char *failure;     /* service code and message, or what the exit code means; "": none */
	char *depends_on;  /* names, one a line */
	char *work_prefix; /* blobs of this attempt; logs are there once the task has ended */
	bool task_running; /* logs are read from the node by the Batch file API */
};

struct adafs_job_view {
	char *id;
	char *batch_job_id; /* of the newest run */
	char *event;
	char *pipeline;
	char *digest; /* of the pipeline's text */
	char *unit;   /* of the event, "13.4823.6160"; "": it is of an image or a pair */
	enum adafs_state state;
	bool held; /* by the user: nothing more of it starts */
	char *waiting_for;
	bool submitted; /* Batch has it */
	char **images;  /* blob names, "images/flood/pre.tif" */
	char **roles;   /* the role of each */
	size_t n_images;
	int64_t created_us, changed_us;
	struct adafs_step_view *steps;
	size_t n_steps;
	bool work_removed; /* its logs too */
	bool member;       /* its tasks are in the Batch job of its event */
	bool newest;       /* the newest job of its images: only these count in the map */
	char *events;      /* append-only log, one line an event, RFC 3339 time first */
};

/* An image in inbox/ that has no job yet, or whose job has not ended: what inbox/ shows beside
 * uncommitted files. */
struct adafs_inbox_view {
	char *blob;         /* images/<event>/... */
	char *job_id;       /* "": none yet */
	char *waiting_for;  /* why it has no job yet; "": it has one */
	int64_t waiting_us; /* when that changed last */
	bool deleted;       /* its job was, by the user: the image is not shown in inbox/ */
};

/* An immutable snapshot of all that the foreman knows, sorted by id. */
struct adafs_view {
	uint64_t generation; /* rises with every published change */
	struct adafs_job_view *jobs;
	size_t n_jobs;
	struct adafs_inbox_view *inbox; /* sorted by blob */
	size_t n_inbox;
	char *pool_state; /* "steady", "resizing", ... "": unknown */
	int pool_nodes, pool_slots;
	bool loaded;         /* the first fill from the container has been done */
	char *trouble;       /* why the services cannot be reached now; "": all well */
	char *batch_trouble; /* why jobs cannot be followed now; "": they are */
};

struct adafs_foreman;

struct adafs_foreman_config {
	struct adafs_blob_client *blob;   /* borrowed */
	struct adafs_batch_client *batch; /* borrowed */
	const char *container;
	struct adafs_pipeline *pipeline; /* a reference is taken */
	const char *pool;                /* NULL or "": the one that the pipeline names */
	bool sas_to_tasks; /* tasks may get the client's own SAS, where it has no more */
	/*
	 * By which identity of the pool nodes enter the container, a resource id, borrowed; "off":
	 * by SAS; NULL or "auto": with Entra ID by the pool's first, if it has one.
	 */
	const char *node_identity;
	uint32_t sas_life_s; /* how long a task may wait and run at first; 0: 30 days by policy,
				else 7 */
	bool reads_only;     /* nothing may be written: jobs are watched, none is submitted */
	int64_t keep_ms; /* how long work stays after the end of jobs that are submitted here, and
			    of those that do not say; ADAFS_DURATION_NONE: forever; 0: 30 days */
	const struct adafs_pool_settings
		*pool_settings; /* of a pool to be made; NULL: none; borrowed */
	/* The images of an event go to Batch as one job when it is whole, else each by itself. */
	bool by_event;
	uint32_t settle_ms; /* quiet time after which an event is whole; 0: 10000 */
	uint32_t poll_ms;   /* shortest interval between two polls of one job; 0: 2000 */
	/* Called on a foreman thread, no lock held, after a new view was published. May be NULL. */
	void (*changed)(void *arg, uint64_t generation);
	void *changed_arg;
	/*
	 * Whether a blob of the container whose name starts with prefix is being written here: more
	 * of an event is to be expected. No lock held. May be NULL: never.
	 */
	bool (*is_written)(void *arg, const char *prefix);
	void *is_written_arg;
};

/* NULL: -ENOMEM. Threads exist from start to stop. */
struct adafs_foreman *adafs_foreman_new(const struct adafs_foreman_config *config,
					struct adafs_err *reterr);
/*
 * Bring the container into order once (pipeline text and scripts as assets, the stored access
 * policy) and start the threads. The first fill of the view goes on in the background.
 */
int adafs_foreman_start(struct adafs_foreman *f, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/*
 * Wait until every image that was handed over is submitted, at most timeout_ms; gives up at the
 * first trouble with the service. What is left is taken up by the next mount. Before stop, on an
 * orderly unmount.
 */
void adafs_foreman_drain(struct adafs_foreman *f, uint32_t timeout_ms);
void adafs_foreman_stop(struct adafs_foreman *f);
void adafs_foreman_free(struct adafs_foreman *f);

/* The newest view with a reference for the caller; never NULL, never waits. */
struct adafs_view *adafs_foreman_view(struct adafs_foreman *f);
void adafs_view_unref(struct adafs_view *v);
/* Binary search by id. NULL: none. Borrowed from v. */
const struct adafs_job_view *adafs_view_job(const struct adafs_view *v, const char *id);

/* What the check at close saw, as metadata of the blob: a line of facts (footprint.h). */
#define FOREMAN_META_FACTS "adafsfacts"

/* An image whose commit in images/ is sure. */
struct adafs_foreman_image {
	const char *blob; /* images/<event>/[<role>/]<name> */
	const char *etag;
	const char *sha256;
	const char *facts; /* of its trigger; NULL: none */
	int64_t size;
};
/*
 * The metadata that makes a commit carry its trigger: adafssha256, adafspipeline, adafsnonce,
 * adafsfacts, and adafsjob if there is one input. Called before the commit of an image. -ENOENT
 * with the sentence to show when the pipeline has no role for it, -EBADMSG when it is not what its
 * role demands.
 */
int adafs_foreman_trigger(struct adafs_foreman *f, const char *blob, const char *sha256,
			  const struct adafs_image_info *info, struct adafs_blob_meta *ret,
			  struct adafs_err *reterr);
/* Hand over a committed image; copies what it needs and returns at once. Lost calls are found again
 * by the next scan. */
void adafs_foreman_submit(struct adafs_foreman *f, const struct adafs_foreman_image *image);
/* An image was deleted or replaced in inbox/: cancels its job. Returns at once. */
void adafs_foreman_forget(struct adafs_foreman *f, const char *blob);
/*
 * Cancel a job; waits for the service (worker threads only). -ENOENT, -EBUSY with the reason when
 * it has ended.
 */
int adafs_foreman_cancel(struct adafs_foreman *f, const char *job_id, struct adafs_err *reterr);
/*
 * Run a job that has ended once more, as its next run: what did not succeed, what the mount's
 * pipeline does in another way by now, and what follows from these. step: this one in any case, by
 * its name, "NN-name" or the name without its shard; NULL: none. Waits until the container knows of
 * it, at most timeout_ms; from then on no crash forgets it. -EBUSY with the reason: it has not
 * ended, or there is nothing to run; -ENOENT: no such job or step; -ESTALE: its image holds other
 * content by now.
 */
int adafs_foreman_retry(struct adafs_foreman *f, const char *job_id, const char *step,
			uint32_t timeout_ms, struct adafs_err *reterr);
/* The digest of the mount's own pipeline: jobs of another one may have something to retry. */
const char *adafs_foreman_digest(const struct adafs_foreman *f);
/*
 * Let nothing more of an active job start, or let it go on; what runs goes on. Any mount sees it.
 * Waits for the service (worker threads only). -EBUSY: it has ended, or is (not) held already.
 */
int adafs_foreman_hold(struct adafs_foreman *f, const char *job_id, bool hold,
		       struct adafs_err *reterr);
/*
 * Tasks of jobs with a higher priority, -1000 to 1000, start first; 0 is the usual one. Waits for
 * the service. -EBUSY: the job has ended, or is not in Batch yet; -ERANGE.
 */
int adafs_foreman_priority(struct adafs_foreman *f, const char *job_id, int priority,
			   struct adafs_err *reterr);
/* How long work of ended jobs stays, as people write it: at least a second. 0 or -EINVAL. */
int adafs_keep_parse(const char *text, int64_t *ret_ms, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/*
 * How long the work of a job, its logs too, stays after its end; in its manifest, so that every
 * mount obeys. Waits for the service. -EBUSY: there is no manifest yet, or another mount has
 * changed it.
 */
int adafs_foreman_keep(struct adafs_foreman *f, const char *job_id, int64_t keep_ms,
		       struct adafs_err *reterr);
/*
 * Remove a job for good: its part of the map, its work and logs, its Batch jobs. Its images stay.
 * An active one is cancelled first. Waits, at most timeout_ms, until the container knows of it;
 * from then on no crash forgets it, and the removal goes on in the background, here or in another
 * mount.
 */
int adafs_foreman_delete(struct adafs_foreman *f, const char *job_id, uint32_t timeout_ms,
			 struct adafs_err *reterr);
/*
 * Bring the pool to a number of nodes; waits for the service (worker threads only). Where a formula
 * of adafs scales it, the number is a floor for so many minutes (0: an hour) and nodes 0 takes
 * floors away. -EPERM: the formula is another's; -ERANGE: the pool is not made for so many.
 */
int adafs_foreman_resize(struct adafs_foreman *f, int nodes, int minutes, struct adafs_err *reterr);
/* Somebody looks: poll now if nothing was polled for a while. Returns at once. */
void adafs_foreman_nudge(struct adafs_foreman *f);

/*
 * Somebody looks into a job whose steps are not known yet (n_steps 0, ended long ago: only the
 * newest 1,000 are read without being asked for): read its manifest, publish a new view. Returns at
 * once.
 */
void adafs_foreman_want(struct adafs_foreman *f, const char *job_id);

/* --- results ----------------------------------------------------------------------------- */
/* One file below results/<event>/. */
struct adafs_result_file {
	char *path; /* shown, relative to results/<event>/: "buildings.geojson",
		       "<job-id>/buildings.geojson", "<pipeline>/..." */
	char *blob;
	char etag[ADAFS_ETAG_LEN];
	int64_t size;
	time_t mtime;
};
struct adafs_results {
	struct adafs_result_file *file; /* sorted by path */
	size_t n;
};
/* Names of events that have something in merged/ or parts/; waits for the service. */
int adafs_results_events(struct adafs_blob_client *c, const char *container, char ***ret_names,
			 size_t *ret_n, struct adafs_err *reterr);
/* The newest complete map of an event and each job's parts; waits for the service. first_pipeline:
 * the one whose map stands in results/<event>/ itself; NULL: the only one, or the first by name. */
int adafs_results_load(struct adafs_blob_client *c, const char *container, const char *event,
		       const char *first_pipeline, struct adafs_results *ret,
		       struct adafs_err *reterr);
void adafs_results_clear(struct adafs_results *r);

#endif
