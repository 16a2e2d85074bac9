/*
 * pipeline/pipeline.h - the pipeline file (design section 4): parsed, checked, immutable. Every
 * error names file, line, what is wrong and how to mend it.
 */
#ifndef ADAFS_PIPELINE_PIPELINE_H
#define ADAFS_PIPELINE_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>

#include "batch/base/digest.h"
#include "batch/base/err.h"
#include "batch/pipeline/image.h"

/* One role of input images. */
struct adafs_pipeline_input {
	const char *name;  /* "pre"; "image" when the pipeline declares no inputs */
	const char *match; /* pattern below the event directory, a glob such as "pre-event/x-?.tif";
			      NULL: any file directly in it */
	bool many;
	/* What an image of this role must be; refused at close otherwise. */
	const int *bands; /* one of these numbers; n_bands 0: any */
	size_t n_bands;
	double max_pixel_size;  /* metres; 0: any */
	const char *const *crs; /* one of these, "EPSG:32618"; n_crs 0: any */
	size_t n_crs;
	double overlap; /* with its partners, the least share of the smaller image; 0: any */
};

/* A file that the tasks need beside the images. */
struct adafs_pipeline_asset {
	const char *name;
	const char *blob; /* blob name in the container; a script's is assets/.adafs/<sha256>/<file
			     name> */
	const char *local_path; /* scripts: where data was read, for messages; NULL: a blob, or
				   built in */
	const char *sha256;     /* of data; NULL for blobs */
	const void *data; /* bytes to upload, as they were when the pipeline was loaded; NULL for
			     blobs */
	size_t data_len;
	bool optional;
	bool folder; /* one of the files of a script folder */
};

struct adafs_pipeline; /* reference counted; immutable after load */

/*
 * Load by name ("quicklook": looked up beside the program and in the data directory) or by path
 * (holds a '/' or ends in .json). 0, -ENOENT, -EINVAL with "file:line: what; fix" in reterr.
 */
int adafs_pipeline_load(const char *name_or_path, struct adafs_pipeline **ret,
			struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* Parse a text; path is for messages and for relative script files. */
int adafs_pipeline_parse(const char *path, const char *text, size_t len,
			 struct adafs_pipeline **ret, struct adafs_err *reterr) ADAFS_MUST_CHECK;
struct adafs_pipeline *adafs_pipeline_ref(struct adafs_pipeline *p);
void adafs_pipeline_unref(struct adafs_pipeline *p);

const char *adafs_pipeline_name(const struct adafs_pipeline *p);
/* The file's text as read, and its SHA-256: kept as an asset under its digest. */
const char *adafs_pipeline_text(const struct adafs_pipeline *p, size_t *ret_len);
const char *adafs_pipeline_digest(const struct adafs_pipeline *p);
/* The path given at load or parse: relative script files are looked up beside it. */
const char *adafs_pipeline_path(const struct adafs_pipeline *p);
/* The pool that the pipeline asks for, or NULL. */
const char *adafs_pipeline_pool(const struct adafs_pipeline *p);
/* The container image that its tasks run in, or NULL. */
const char *adafs_pipeline_image(const struct adafs_pipeline *p);
/*
 * The task slots of its largest step, whose name is *ret_step (may be NULL); the merge counts too.
 */
int adafs_pipeline_max_slots(const struct adafs_pipeline *p, const char **ret_step);
size_t adafs_pipeline_n_inputs(const struct adafs_pipeline *p);
/*
 * Whether its jobs are parts of an event rather than images or pairs: a grid's cells, or, where
 * only a role holds many images, the event as one.
 */
bool adafs_pipeline_by_unit(const struct adafs_pipeline *p);
/* The zoom of the grid whose cells become jobs; -1: there is none. */
int adafs_pipeline_grid_zoom(const struct adafs_pipeline *p);
const struct adafs_pipeline_input *adafs_pipeline_input(const struct adafs_pipeline *p, size_t i);
/*
 * The role of a file by its path below the event's directory ("pre-event/a.tif", "a.tif"): its
 * index, or -ENOENT with a sentence that says which patterns there are.
 */
int adafs_pipeline_role(const struct adafs_pipeline *p, const char *path_in_event,
			struct adafs_err *reterr);
/*
 * Whether an image is what its role demands. -EBADMSG with the rule, the measured value and what to
 * do. info: as the check at close saw it.
 */
int adafs_pipeline_demands(const struct adafs_pipeline *p, size_t role,
			   const struct adafs_image_info *info, struct adafs_err *reterr);
/* Assets and script files, the step wrapper among them, each once. */
size_t adafs_pipeline_n_assets(const struct adafs_pipeline *p);
const struct adafs_pipeline_asset *adafs_pipeline_asset(const struct adafs_pipeline *p, size_t i);

#endif
