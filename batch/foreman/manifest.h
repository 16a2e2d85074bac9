/*
 * foreman/manifest.h - the blob jobs/<job-id>.json: written last at submission and once more when
 * the job has ended. Its metadata holds what a listing needs to show the job, its body the rest
 * (steps). Pure.
 *
 * Metadata (ASCII, texts percent-encoded): adafsstate, adafsrun, adafsbatchjob, adafsevent,
 * adafspipeline (name), adafsdigest, adafsnonce, adafscreated, adafsended (microseconds; 0:
 * active), adafsimages ("role:blob:<16 hex of sha256>", joined by ","), adafsreason;
 * adafskeep (a duration: how long work stays after the end; absent: as a mount says), adafsdelete
 * ("wanted", "done": by the user), adafswork ("removing", "removed"), adafsdropped (when its
 * part was taken out of the map: it or an image of it is deleted). A deletion is a run of its own,
 * without a Batch job: what it leaves in parts/ is newer than what the run before left.
 */
#ifndef ADAFS_FOREMAN_MANIFEST_H
#define ADAFS_FOREMAN_MANIFEST_H

#include "batch/foreman/table.h"

#define MANIFEST_PREFIX "jobs/"
/* Digits of an image's SHA-256 in the metadata. */
#define MANIFEST_SHA_DIGITS 16
#define MANIFEST_MAX_BODY (8 << 20)

/* "jobs/<id>.json"; free() it. */
char *manifest_blob(const char *job_id);
/* The job id in a blob name below jobs/ (owned), or NULL when it is no manifest. */
char *manifest_job_id(const char *blob);

/* The body; free() it. NULL: out of memory. */
char *manifest_body(const struct foreman_job *j, const char *pool);
/* 0 or -ENOMEM; ret is to be cleared. */
int manifest_meta(const struct foreman_job *j, struct adafs_blob_meta *ret);

/* Fill a job from the metadata of its manifest. -EINVAL: not ours or not readable; -ENOMEM. */
int manifest_apply_meta(struct foreman_job *j, const struct adafs_blob_meta *m);
/* Take of the metadata only what is told of an active job: how long it is kept, and its deletion.
 */
void manifest_apply_wishes(struct foreman_job *j, const struct adafs_blob_meta *m);
/* Fill inputs and steps from the body. -EINVAL with what is wrong; -ENOMEM. */
int manifest_apply_body(struct foreman_job *j, const char *text, size_t len,
			struct adafs_err *reterr);

#endif
