/*
 * foreman/table.h - what the foreman knows in memory: jobs with their steps, and the images that
 * carry a trigger. Plain data, guarded by the foreman's lock; jobs live as long as the table.
 */
#ifndef ADAFS_FOREMAN_TABLE_H
#define ADAFS_FOREMAN_TABLE_H

#include "batch/foreman/foreman.h"

/* One step: the plan's part, fixed at submission, and what the tracker saw of its task. */
struct foreman_step {
	unsigned number;
	char *name;
	char *task_id;
	char *command;
	char *work_prefix;
	size_t *dep; /* indexes of the steps that it depends on */
	size_t n_dep;
	bool merge;

	enum adafs_state state;
	bool task_running;
	bool has_exit_code;
	int exit_code;
	int64_t changed_us, started_us, finished_us;
	char *node;
	char *failure;
	char *waiting_for;
};

/* One image of a job. */
struct foreman_input {
	char *role;
	size_t role_index; /* in the pipeline; only known for jobs that this process submits */
	char *blob;
	char *snapshot;
	char *etag;
	char *sha256; /* of jobs read from a listing only its first 16 digits */
};

struct job_snap;

/*
 * A job. Its life: created here (submitted false) -> the manifest is written or found (submitted)
 * -> ended. Only the submitter thread brings unsubmitted jobs to Batch, only the tracker follows
 * submitted ones to their end.
 */
struct foreman_job {
	char *id; /* the key: first member */
	unsigned run;
	char *batch_job_id;
	char *event;
	char *pipeline; /* its name */
	char *digest;   /* of its text */
	char *nonce;    /* of the triggers that made this run, joined by commas; "": unknown */
	struct foreman_input *input;
	size_t n_inputs;
	enum adafs_state state;
	char *waiting_for;
	int64_t created_us, changed_us, ended_us;
	struct foreman_step *step;
	size_t n_steps;
	struct adafs_buf events;

	char manifest_etag[ADAFS_ETAG_LEN]; /* "": there is none yet */
	bool submitted;
	bool ended;
	bool body_loaded; /* the steps are known */
	bool body_wanted;
	bool cancel;        /* asked for by the user */
	bool cancel_sent;   /* and Batch was told */
	bool final_pending; /* ended, but the manifest does not say so yet */
	bool newest;
	bool batch_ended; /* the Batch job as last seen: see struct derive_job */
	char *batch_reason, *batch_error;
	unsigned n_gone;  /* polls in a row that answered JobNotFound */
	unsigned n_tries; /* of the submission, for the back-off */
	uint64_t retry_at_ms;

	bool dirty; /* the snapshot is older than the job */
	struct job_snap *snap;
};

/* An image under images/ whose metadata carries a trigger. */
struct foreman_image {
	char *blob; /* the key: first member */
	char etag[ADAFS_ETAG_LEN];
	char *sha256;
	char *digest;
	char *nonce;
	char *job_id;      /* "": none yet */
	char *waiting_for; /* why there is none */
	uint64_t seen;     /* number of the last scan that saw it */
	bool resolved;     /* job_id belongs to the present content */
};

/* Pointers to records whose first member is their key, sorted by it. */
struct foreman_table {
	void **item;
	size_t n, size;
};

void *foreman_table_find(const struct foreman_table *t, const char *key);
/* The first index whose key is not below this one. */
size_t foreman_table_lower(const struct foreman_table *t, const char *key);
/* The key must not be there yet. 0 or -ENOMEM. */
int foreman_table_insert(struct foreman_table *t, void *record) ADAFS_MUST_CHECK;
/* Takes it out without freeing it. */
void foreman_table_remove(struct foreman_table *t, const char *key);

/* Replace an owned text; NULL counts as "". Whether it changed; out of memory keeps the old one. */
bool foreman_text_set(char **text, const char *value);

/* A job with empty texts. NULL: out of memory. */
struct foreman_job *foreman_job_new(const char *id);
void foreman_job_free(struct foreman_job *j);
void foreman_job_clear_steps(struct foreman_job *j);
void foreman_job_clear_inputs(struct foreman_job *j);
/* Add an input with these texts (copied). 0 or -ENOMEM. */
int foreman_job_add_input(struct foreman_job *j, const char *role, size_t role_index,
			  const char *blob, const char *snapshot, const char *etag,
			  const char *sha256);
/* Take the steps of a plan, all waiting or queued. 0 or -ENOMEM. */
int foreman_job_take_plan(struct foreman_job *j, const struct adafs_plan *plan);
/* Append "<time> <text>" to the job's log. */
void foreman_job_log(struct foreman_job *j, int64_t when_us, const char *fmt, ...)
	ADAFS_PRINTF(3, 4);

struct foreman_image *foreman_image_new(const char *blob);
void foreman_image_free(struct foreman_image *i);

/*
 * The event of a blob "images/<event>/<rest>" (owned) and where the rest begins (may be NULL).
 * NULL: no such name.
 */
char *foreman_event_of(const char *blob, const char **ret_rest);

#endif
