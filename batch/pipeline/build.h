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
	size_t *first;      /* of each step of the pipeline, its first one in the plan */
	char **names;       /* of each image on the node, [A-Za-z0-9_.-] */
	char *parts;        /* "parts/<event>/<pipeline>/" */
	size_t *leaf;       /* of a tree, the first part of each leaf, and n_parts */
	size_t n_leaves;    /* 0: there is no tree */
	char *read_url;     /* container, made once */
	char *write_url;    /* container, made once */
	int64_t expires_us; /* earliest expiry that a URL told; 0: none did */
	bool oom;           /* sticky: a JSON node could not be made */
	struct adafs_err *reterr;
};

/* plan_images.c: names of the images on the node, the part's identity. */
/* At most max of len bytes as [A-Za-z0-9_-], runs of others as one '_'; never empty. */
size_t plan_slug(const char *text, size_t len, char *out, size_t max);
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
/*
 * The wrapper's list of inputs: "must|may|share|some TAB file|dir TAB source TAB target TAB end TAB
 * entry": end is the end.json of its producer below the stage and entry the name that the output
 * has there, both "-" for what no step made.
 */
int build_inputs(const struct build *b, const struct adafs_plan_step *t, char **ret);

/* plan_shards.c: which tasks a step is, and which of them a reference means. */
/* In how many tasks a step is split; 1: it is whole. */
static inline int build_width(const struct build *b, size_t model)
{
	return b->p->steps[model].shards;
}
/* The plan's steps that a task reads an output from: *ret_n of them from the one returned. */
const struct adafs_plan_step *build_producers(const struct build *b,
					      const struct adafs_plan_step *t,
					      const struct piece *ref, size_t *ret_n);
/* Whether a task reads only its own share of a whole step's output. */
bool build_is_share(const struct build *b, const struct adafs_plan_step *t,
		    const struct piece *ref);
/* In how many shares the consumers of an output read it; 0: it is not split. */
int build_shares(const struct build *b, size_t model, size_t output);
/*
 * Where the outputs of an attempt are: "work/<job>/<NN>-<step>/<run>/", of a shard too, so that one
 * listing finds what all shards left. free(); NULL: out of memory.
 */
char *build_common(const struct build *b, const struct adafs_plan_step *t);
/* Its end.json for those who read its outputs: "<common>end.json" or "<common>end/<shard>.json". */
char *build_end(const struct build *b, const struct adafs_plan_step *t);
/* The folder of one of its outputs: "<common>out/<output>[/<shard>]". */
char *build_out(const struct build *b, const struct adafs_plan_step *t,
		const struct model_output *o);

/* plan_merge.c: a job that merges an event. */
/* Its steps: the leaves of a tree, if there is one, and the merge. */
int build_merge_steps(struct build *b);
/* What a task of it stages beside the wrapper, stores, and is told. */
int build_merge_inputs(struct build *b, const struct adafs_plan_step *t, cJSON *list);
int build_merge_outputs(struct build *b, const struct adafs_plan_step *t, cJSON *list);
int build_merge_environment(struct build *b, const struct adafs_plan_step *t, cJSON *list);
/* What it waits for beside its leaves: the last steps of members, by the ids of their tasks. */
int build_merge_dependencies(struct build *b, const struct adafs_plan_step *t, cJSON *ids);

/* plan_stage.c, plan_env.c: what these and those of images have in common. */
int build_prefix(struct build *b, cJSON *list, const char *prefix);
int build_output(struct build *b, cJSON *list, const char *pattern, const char *condition,
		 const char *fmt, ...) ADAFS_PRINTF(5, 6);
/* The new map of an event. */
int build_merged(struct build *b, cJSON *list);
void build_env(struct build *b, cJSON *list, const char *name, const char *value);
void build_env_number(struct build *b, cJSON *list, const char *name, int64_t value);

/* plan_keys.c: the keys of all steps, and which of them run no more. */
int build_keys(struct build *b);

/* plan_stage.c: the lists of a task that hold SAS URLs. */
int build_resource_files(struct build *b, const struct adafs_plan_step *t, cJSON *task);
int build_output_files(struct build *b, const struct adafs_plan_step *t, cJSON *task);

/* plan_env.c: environmentSettings. */
int build_environment(struct build *b, const struct adafs_plan_step *t, cJSON *task);
void build_env(struct build *b, cJSON *list, const char *name, const char *value);
/*
 * JSON of names for a text that people read as it is: what a terminal obeys is escaped, DEL and
 * U+0080 to U+009F too. free(); NULL: out of memory.
 */
char *build_print(const cJSON *json);

/* plan_provenance.c: variables of the result step for its manifest.json. -ENOMEM. */
int build_provenance(struct build *b, cJSON *list);

/* plan_task.c */
/* Add "<prefix><task id>" to what a task waits for; prefix may be NULL. */
void build_dependency(struct build *b, cJSON *ids, const char *prefix, const char *task_id);
int build_task(struct build *b, const struct adafs_plan_step *t, cJSON **ret);
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

/* The pipeline's step of a step of the plan. */
static inline const struct model_step *build_model(const struct build *b,
						   const struct adafs_plan_step *t)
{
	return &b->p->steps[t->model];
}

#endif
