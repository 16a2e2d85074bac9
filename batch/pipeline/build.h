/*
 * pipeline/build.h - a plan under construction. What the files of the plan share; one thread.
 * On a node everything that is staged lies below .adafs/ in the task's working directory:
 *   .adafs/wrapper.sh
 *   .adafs/in/<role or asset>/<file>   images, assets, scripts
 *   .adafs/stage/<full blob name>      what comes by prefix, because the service keeps full names
 * and the wrapper links it to where the command sees it (in/... or the paths of `files`).
 */
#ifndef ADAFS_PIPELINE_BUILD_H
#define ADAFS_PIPELINE_BUILD_H

#include "batch/base/buf.h"
#include "batch/pipeline/model.h"
#include "batch/pipeline/plan.h"

#define STAGE ".adafs/stage/"

struct build {
	const struct adafs_pipeline *p;
	const struct adafs_plan_request *req;
	struct adafs_plan *plan;
	char **names;       /* of each image on the node, [A-Za-z0-9_.-] */
	char *parts;        /* "parts/<event>/<pipeline>/" */
	char *read_url;     /* container, made once */
	char *write_url;    /* container, made once */
	int64_t expires_us; /* earliest expiry that a URL told; 0: none did */
	bool oom;           /* sticky: a JSON node could not be made */
	struct adafs_err *reterr;
};

/* plan_images.c: names of the images on the node, the part's identity. */
int build_names(struct build *b);
/*
 * Key of the part (which images, whatever their content), newest snapshot, and the images as JSON.
 */
int build_part(const struct build *b, char key[ADAFS_SHA256_HEX_LEN], const char **ret_order,
	       cJSON **ret_images);

/* plan_shape.c */
/* The path by which the command of a step sees a reference. free(); NULL: out of memory. */
char *build_ref_path(const struct build *b, const struct model_step *s, const struct piece *ref);
/* The command with paths for references. -ENOMEM. */
int build_command(const struct build *b, const struct model_step *s, char **ret);
/* The wrapper's list of inputs: "must|may TAB file|dir TAB source TAB target TAB producer". */
int build_inputs(const struct build *b, const struct model_step *s, char **ret);

/* plan_stage.c: the lists of a task that hold SAS URLs. */
int build_resource_files(struct build *b, const struct model_step *s, cJSON *task);
int build_output_files(struct build *b, const struct model_step *s, cJSON *task);

/* plan_env.c: environmentSettings. */
int build_environment(struct build *b, const struct model_step *s, cJSON *task);

/* plan_task.c */
int build_task(struct build *b, const struct model_step *s, cJSON **ret);
int build_job(struct build *b, cJSON **ret);
cJSON *build_patch(struct build *b);

/* JSON nodes with a sticky failure. */
cJSON *build_object(struct build *b, cJSON *to, const char *name);
cJSON *build_array(struct build *b, cJSON *to, const char *name);
cJSON *build_item(struct build *b, cJSON *array); /* a new object at the end */
void build_str(struct build *b, cJSON *to, const char *name, const char *value);
void build_fmt(struct build *b, cJSON *to, const char *name, const char *fmt, ...)
	ADAFS_PRINTF(4, 5);
int build_oom(struct build *b);

/* The plan's entry of a model step. */
static inline const struct adafs_plan_step *build_step(const struct build *b,
						       const struct model_step *s)
{
	return &b->plan->steps[s - b->p->steps];
}

#endif
