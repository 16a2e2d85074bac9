/*
 * pipeline/model.h - the parsed pipeline as the files of this folder share it. Built by one
 * thread in adafs_pipeline_parse, immutable afterwards. Texts belong to the JSON tree or to the
 * pipeline's list of allocations and live as long as the pipeline.
 */
#ifndef ADAFS_PIPELINE_MODEL_H
#define ADAFS_PIPELINE_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "batch/pipeline/pipeline.h"

/* A task's number has two digits, and the merge needs one. */
#define MODEL_MAX_STEPS 98
/* Longest name of a step with its member, an output, an asset, ...: fits a Batch id after "NN-". */
#define MODEL_MAX_NAME 48

enum piece_kind {
	PIECE_TEXT,   /* literal */
	PIECE_INPUT,  /* {role}: index of the input */
	PIECE_ASSET,  /* {asset}: index of the named asset */
	PIECE_OUTPUT, /* {step.output}: index of the step and of its output */
	PIECE_UNIT,   /* {unit} */
	PIECE_PARTS,  /* {parts}, only in the merge */
};

/* A literal or a reference of a command. */
struct piece {
	enum piece_kind kind;
	const char *text; /* PIECE_TEXT: not NUL-terminated, len bytes */
	size_t len;
	size_t index;
	size_t output;
};

struct pieces {
	struct piece *v;
	size_t n;
};

struct model_output {
	const char *name;
	const char *path; /* below the working directory; with wildcards for a folder */
	const char
		*base; /* folder: leading segments without wildcard, "" for none; file: its name */
	bool folder;
	bool optional;
	const char
		*when_empty; /* merge: content when there is nothing to merge; NULL: not written */
};

/* One entry of `files`. */
struct model_place {
	const char *path; /* without the trailing slash */
	bool into;        /* path is the directory that takes it */
	struct piece ref;
};

/* What `defaults` gives and a step may override. */
struct model_settings {
	const char *prelude; /* shell text before the command; NULL: none */
	int retries;
	int64_t time_limit_ms;
	int slots;
};

struct model_step {
	const char *name;   /* "cover", "cover-pre" */
	const char *local;  /* name inside its `each`, else the same as name */
	const char *member; /* NULL outside `each` */
	const cJSON *json;
	const cJSON *variables; /* of the member; NULL outside `each` */
	size_t group;           /* number of its `each`; 0 outside */
	const char *source;     /* command as in the file */
	struct pieces command;
	struct model_output *outputs;
	size_t n_outputs;
	struct model_place *places;
	size_t n_places;
	struct model_settings settings;
	int *stop_on;
	size_t n_stop_on;
	int shards; /* 1: whole */
	bool result;
	bool merge;
	size_t *deps; /* indexes of steps, rising, each once */
	size_t n_deps;
	struct piece *uses; /* references of command and files, each once, in order of first use */
	size_t n_uses;
};

/* A named asset: one blob, one script, or a folder of scripts. */
struct model_asset {
	const char *name;
	size_t first, n; /* its entries in the flat list */
	bool folder;
	bool optional;
};

struct adafs_pipeline {
	atomic_uint refs;
	char *path;
	char *text;
	size_t len;
	char digest[ADAFS_SHA256_HEX_LEN];
	cJSON *json;
	void **owned;
	size_t n_owned;

	const char *name;
	const char *pool; /* NULL: the mount's */
	struct adafs_pipeline_input *inputs;
	size_t n_inputs;
	int grid_zoom; /* -1: no `unit` */
	struct model_asset *named;
	size_t n_named;
	struct adafs_pipeline_asset *assets; /* flat; last what manifests say of the pipeline, and
 the wrapper */
	size_t n_assets;
	const char *image, *run_options; /* container; NULL: none */
	bool admin;                      /* tasks run as administrator of the node */
	const char **shell;
	size_t n_shell;
	const cJSON *environments;
	struct model_settings defaults;
	struct model_step *steps; /* so ordered that each depends on earlier ones; the merge last */
	size_t n_steps;
	size_t n_groups;
};

/* Where every value of a JSON tree stands in its text. */
struct line_entry {
	const cJSON *node;
	int key, value; /* lines from 1 */
};
struct lines {
	struct line_entry *v;
	size_t n, size;
};
/* Index a tree that cJSON made from exactly this text. 0 or -ENOMEM. */
int lines_build(struct lines *l, const cJSON *root, const char *text, size_t len);
void lines_clear(struct lines *l);
int lines_of_key(const struct lines *l, const cJSON *node);
int lines_of_value(const struct lines *l, const cJSON *node);

/* A parse under way. */
struct parser {
	struct adafs_pipeline *p;
	struct lines lines;
	struct adafs_err *reterr;
};

/* Zeroed memory that lives as long as the pipeline. NULL: out of memory (reterr is set). */
void *parse_alloc(struct parser *ps, size_t n, size_t size);
char *parse_text(struct parser *ps, const char *fmt, ...) ADAFS_PRINTF(2, 3);
/* Fail with "file:line: ..." at a value, or at its key. Return -EINVAL. */
int parse_fail(struct parser *ps, const cJSON *at, const char *fmt, ...) ADAFS_PRINTF(3, 4);
int parse_fail_key(struct parser *ps, const cJSON *at, const char *fmt, ...) ADAFS_PRINTF(3, 4);

/* value.c: single values with their checks; what is the subject of the sentence. */
int value_object(struct parser *ps, const cJSON *v, const char *what);
/* Every key is one of a comma-separated list, and none comes twice. */
int value_keys(struct parser *ps, const cJSON *object, const char *what, const char *known);
int value_text(struct parser *ps, const cJSON *v, const char *what, const char **ret);
int value_bool(struct parser *ps, const cJSON *v, const char *what, bool *ret);
int value_int(struct parser *ps, const cJSON *v, const char *what, int min, int max, int *ret);
/* A name in lower case, as references need it. at: the node whose line is told. */
int value_name(struct parser *ps, const cJSON *at, const char *name, const char *what);
/* A relative path of plain characters, with wildcards if allowed, outside in/ and .adafs/. */
int value_path(struct parser *ps, const cJSON *at, const char *path, const char *what,
	       bool wildcards);

/* demands.c: what an input demands of its images. */
int parse_demands(struct parser *ps, const cJSON *input, struct adafs_pipeline_input *in);
/* parse_step.c: `steps` and `merge` without their references. */
int parse_steps(struct parser *ps, const cJSON *steps);
int parse_merge(struct parser *ps, const cJSON *merge);
int parse_settings(struct parser *ps, const cJSON *object, struct model_settings *s);
/* each.c: a group of steps, once a member. */
int parse_each(struct parser *ps, const cJSON *group);
/* Add one step, expanded for member unless that is NULL. */
int parse_step(struct parser *ps, const cJSON *json, const cJSON *member, size_t group);
/* outputs.c */
int parse_outputs(struct parser *ps, struct model_step *step, const cJSON *outputs);
/* assets.c: `assets` and `scripts`; reads the script files. */
int parse_assets(struct parser *ps, const cJSON *assets, const cJSON *scripts);
/* What every pipeline brings along: itself, as manifests quote it, and the wrapper. */
int parse_add_own(struct parser *ps);
/* references.c: commands, `files` and `after` of every step become pieces and dependencies. */
int references_resolve(struct parser *ps);
/* check.c: the graph as a whole: duplicates, the result, cycles; sorts the steps. */
int check_names(struct parser *ps);
int check_graph(struct parser *ps);

/* The whole text into p, which has path, text and len. */
int parse_pipeline(struct adafs_pipeline *p, struct adafs_err *reterr);

/* wrapper.sh as built into the program. */
const char *wrapper_text(size_t *ret_len);

#endif
