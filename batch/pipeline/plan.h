/*
 * pipeline/plan.h - a pipeline and its images become Batch tasks: one a step, and the merge last.
 * Deterministic: the same request gives the same ids and bodies (but for SAS texts), so that a
 * submission which was cut off can be taken up by anybody.
 */
#ifndef ADAFS_PIPELINE_PLAN_H
#define ADAFS_PIPELINE_PLAN_H

#include <cjson/cJSON.h>

#include "batch/pipeline/pipeline.h"

#define ADAFS_JOB_ID_LEN 65 /* with NUL; a job id itself has at most 58 characters */

/* One image of a job. Texts are borrowed. */
struct adafs_plan_image {
	size_t role;          /* index of the pipeline's input */
	const char *blob;     /* "images/<event>/[<role>/]<name>" */
	const char *snapshot; /* time of the snapshot that the job reads */
	const char *etag;
	const char *sha256; /* of the content, lower-case hexadecimal */
	const char *date;   /* of acquisition, "2026-05-03" or with a time; NULL or "": unknown */
	int64_t size;       /* bytes; negative: unknown */
};

/*
 * The job's id: "<event>-<slug of name>-<8 hex>", the hex from the images' paths and contents.
 * images are sorted by role and name. Only blob and sha256 count. unit: of a pipeline that goes by
 * units, which is the name then and counts as well; NULL or "": none.
 */
void adafs_plan_job_id(const char *event, const char *unit, const struct adafs_plan_image *images,
		       size_t n, char out[ADAFS_JOB_ID_LEN]);

/* What a SAS URL in a task is for: the least that the node needs. */
enum adafs_plan_access {
	ADAFS_PLAN_READ_BLOB,       /* one blob or snapshot: r */
	ADAFS_PLAN_READ_CONTAINER,  /* a prefix: container URL with rl */
	ADAFS_PLAN_WRITE_CONTAINER, /* container URL with cw */
};
/*
 * Make a URL with a SAS. blob and snapshot are NULL for containers. free() the result; NULL:
 * failed, reason in reterr.
 */
typedef char *adafs_plan_url_fn(void *arg, enum adafs_plan_access access, const char *blob,
				const char *snapshot, struct adafs_err *reterr);

/* An attempt of a step that is there already, of an earlier run of the same job. */
struct adafs_plan_kept {
	const char *name; /* the step's, as in the plan */
	const char *key;  /* that it ran under */
	unsigned run;     /* whose outputs are in work/ */
};

/* A part that an event's merge reads. */
struct adafs_plan_part {
	const char *job_id;
	bool must; /* a part that is not there is told as failed; else it is left out */
	/* Its steps are tasks of the same Batch job, and what merges the part waits for them. */
	bool member;
};

/* What the task ids of a member begin with, in the Batch job of a whole event: "1a2b3c4d-". */
#define ADAFS_PLAN_PREFIX_LEN 10 /* with NUL */
void adafs_plan_task_prefix(const char *job_id, char out[ADAFS_PLAN_PREFIX_LEN]);
/*
 * How many members the Batch job of an event may have, because its merge has to wait for all of
 * them.
 */
size_t adafs_plan_most_members(const struct adafs_pipeline *p);

struct adafs_plan_request {
	const char *job_id; /* from adafs_plan_job_id, or adafs_plan_merge_id */
	unsigned run; /* 1: Batch job <job_id>; n > 1: <job_id>-r<n>; also the attempt's number in
			 work/ */
	const char *event;
	const char *pool; /* NULL: the pipeline's own */
	/*
	 * The value of {unit}, [A-Za-z0-9_.-]; NULL or "" for pipelines that do not go by units.
	 * The part is the unit's, whichever images it has.
	 */
	const char *unit;
	int pool_slots; /* slots of a node; a step that wants more is refused. 0: unknown */
	const struct adafs_plan_image *images;
	size_t n_images;
	bool no_merge; /* the event is merged by other tasks than the job's own */
	/*
	 * The Batch job of the whole event, which the tasks are for, and their prefix: no job is
	 * planned then. NULL: the job has a Batch job of its own.
	 */
	const char *batch_job_id;
	const char *task_prefix;
	/*
	 * The job merges these parts of the event and has no images: in a tree where they are more
	 * than ADAFS_PLAN_FLAT and the merge can read what it writes. n_parts 0: a job of images.
	 */
	const struct adafs_plan_part *parts;
	size_t n_parts;
	uint64_t merged_runs; /* runs that a merge of the event may have counted beside theirs */
	/*
	 * What need not run again: a step whose key is the same, and that reads nothing new, is
	 * taken as it is.
	 */
	const struct adafs_plan_kept *kept;
	size_t n_kept;
	/* The ETag of an asset's blob, NULL: unknown. The function itself may be NULL. */
	const char *(*asset_etag)(void *arg, const char *blob);
	void *asset_arg;
	/*
	 * The resource id of the pool's identity by which nodes read and write: then URLs hold no
	 * SAS. NULL or "": they do.
	 */
	const char *identity;
	adafs_plan_url_fn *url;
	void *url_arg;
};

/* A step of the plan in order, as users see it, one a shard; the merge is the last. */
struct adafs_plan_step {
	unsigned number;    /* 1.. of the step in the pipeline; shards share it */
	size_t model;       /* index of the step in the pipeline */
	int shard;          /* 0..; -1: the step is not split */
	char *name;         /* "cover", "cover-pre" (each), "predict-3" (shard), "merge" */
	char *task_id;      /* "01-cover" */
	char *command;      /* as in the pipeline file, with references */
	size_t *depends_on; /* indexes of steps */
	size_t n_depends_on;
	int slots;
	bool result; /* writes the job's part */
	bool merge;
	/*
	 * What it depends on that can change its outputs: command, container, assets, inputs.
	 * Equal keys give equal outputs. "" for the merge, which always runs.
	 */
	char key[33];
	unsigned run;      /* the one that its attempt belongs to */
	bool reused;       /* that is an earlier one: there is no task for it */
	char *work_prefix; /* "work/<job-id>/01-cover/1/": stdout.txt, stderr.txt, end.json and
			      outputs are below */
};

struct adafs_plan {
	char *batch_job_id;
	struct adafs_plan_step *steps;
	size_t n_steps;
	cJSON *job;   /* body of POST /jobs; onAllTasksComplete is noaction */
	cJSON *tasks; /* array for addtaskcollection */
	cJSON *patch; /* body of the PATCH that lets the job end by itself */
};

/* An event of more images is merged by jobs of its own. */
#define ADAFS_PLAN_FLAT 64

/*
 * The id of the job that merges these parts of an event: "<event>-merge-<8 hex>", by their jobs and
 * runs.
 * again: 0; else which one it is for the same set.
 */
void adafs_plan_merge_id(const char *event, const char *pipeline,
			 const struct adafs_plan_part *parts, const unsigned *runs, size_t n,
			 unsigned again, char out[ADAFS_JOB_ID_LEN]);

/*
 * Make the plan. req->url NULL makes a plan without job and tasks: only the steps, for showing and
 * for their keys.
 * 0, -EINVAL (an input is missing, a SAS list above 32,768 characters, slots), -ENOMEM.
 */
int adafs_plan_make(const struct adafs_pipeline *p, const struct adafs_plan_request *req,
		    struct adafs_plan **ret, struct adafs_err *reterr) ADAFS_MUST_CHECK;
void adafs_plan_free(struct adafs_plan *plan);

/* What the wrapper's exit codes mean, for the tracker. */
enum {
	ADAFS_EXIT_EMPTY = 64,
	ADAFS_EXIT_OUTPUT_MISSING = 66,
	ADAFS_EXIT_SAS_SHORT = 77,
	ADAFS_EXIT_SKIPPED = 97,
};

#endif
