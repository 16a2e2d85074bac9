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
};

/*
 * The job's id: "<event>-<slug of name>-<8 hex>", the hex from the images' paths and contents.
 * images are sorted by role and name. Only blob and sha256 count.
 */
void adafs_plan_job_id(const char *event, const struct adafs_plan_image *images, size_t n,
		       char out[ADAFS_JOB_ID_LEN]);

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

struct adafs_plan_request {
	const char *job_id; /* from adafs_plan_job_id */
	unsigned run; /* 1: Batch job <job_id>; n > 1: <job_id>-r<n>; also the attempt's number in
			 work/ */
	const char *event;
	const char *pool; /* NULL: the pipeline's own */
	const char *unit; /* value of {unit}, [A-Za-z0-9_-]; NULL for pipelines without unit */
	int pool_slots;   /* slots of a node; a step that wants more is refused. 0: unknown */
	const struct adafs_plan_image *images;
	size_t n_images;
	adafs_plan_url_fn *url;
	void *url_arg;
};

/* A step of the plan in order, as users see it; the merge is the last. */
struct adafs_plan_step {
	unsigned number;    /* 1.. */
	char *name;         /* "cover", "cover-pre" (each), "merge" */
	char *task_id;      /* "01-cover" */
	char *command;      /* as in the pipeline file, with references */
	size_t *depends_on; /* indexes of steps */
	size_t n_depends_on;
	int slots;
	bool result; /* writes the job's part */
	bool merge;
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

/*
 * Make the plan. req->url NULL makes a plan without job and tasks: only the steps, for showing.
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
