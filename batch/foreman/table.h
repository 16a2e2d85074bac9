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
	char key[33]; /* of the attempt, see plan.h; "": unknown */
	unsigned run; /* that the attempt belongs to */
	bool reused;  /* of an earlier run: nothing changes it any more */
	char *told;   /* the message of its end.json, once it has failed; "": none */
	bool asked;   /* for that */

	enum adafs_state state;
	bool task_running;
	int n_taken; /* times that its node was taken from it and it queued again */
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
	char *date;   /* of acquisition; "": unknown */
	int64_t size; /* bytes; negative: unknown */
};

struct job_snap;

/* A part that a job merges which merges an event. */
struct foreman_part {
	char job_id[ADAFS_JOB_ID_LEN];
	bool must, member; /* see struct adafs_plan_part */
};

/* How far it is that a user deleted a job. */
enum foreman_deletion {
	FOREMAN_NOT_DELETED,
	FOREMAN_DELETION_WANTED, /* once it has ended, nobody sees it any more */
	FOREMAN_DELETED,         /* nothing is left but the manifest */
};

/* What is left in work/ of a job that has ended. */
enum foreman_work {
	FOREMAN_WORK_KEPT,
	FOREMAN_WORK_GOING, /* nothing of it counts any more */
	FOREMAN_WORK_GONE,
};

/* A retry that somebody waits for; owned by the one who waits. */
struct foreman_retry {
	const char *step; /* NULL: none in particular */
	bool done;
	struct adafs_err err; /* rc 0: it is made */
};

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
	char *unit;     /* of the event; "": it is of an image or a pair */
	char *pairing;  /* why its images belong together; "": there is one */
	struct foreman_input *input;
	size_t n_inputs;
	/* Of a job that merges its event: it has no images. The list itself is in the body. */
	size_t n_merged; /* how many parts; 0: a job of images */
	struct foreman_part *part;
	size_t n_parts;
	uint64_t merged_runs; /* see struct adafs_plan_request */
	/* How many of them are members: this is the Batch job of a whole event. */
	size_t n_members;
	enum adafs_state state;
	char *waiting_for;
	int64_t created_us, changed_us, ended_us;
	struct foreman_step *step;
	size_t n_steps;
	/* What earlier runs left that this one need not do again; until its steps are known for
	 * good. */
	struct foreman_step *kept;
	size_t n_kept;
	struct adafs_buf events;
	int64_t keep_ms; /* how long its work stays after its end; 0: as the mount says */
	enum foreman_deletion deletion;
	enum foreman_work work;
	/* When it was taken out of the map, by the service's clock; 0: never, 1: it was not in it.
	 */
	int64_t dropped_us;
	/* What it left in the map's folder is to go; not known to a mount that begins. */
	bool litter;

	char manifest_etag[ADAFS_ETAG_LEN]; /* "": there is none yet */
	bool submitted;
	bool begun; /* not submitted, and in Batch all the same: it takes no further place there */
	bool ended;
	bool body_loaded; /* the steps are known */
	bool body_wanted;
	bool in_hand;     /* the submitter is at it */
	bool look_again;  /* copied again while it could not be for this run: once it has ended */
	bool open;        /* of the Batch job of an event: the first of its tasks are in */
	bool alone;       /* never with others in the Batch job of their event */
	uint64_t told;    /* what its members' sentences were made of, hashed */
	int64_t seen_us;  /* the newest change of a task that was seen in it */
	bool kept_wanted; /* this run was made without a look at what the one before left */
	bool held;        /* as Batch, or the user, said last */
	bool hold_wanted; /* before it is in Batch */
	struct foreman_retry *retry; /* asked for, and waited for by who asked */
	bool cancel;                 /* asked for by the user */
	bool cancel_sent;            /* and Batch was told */
	bool final_pending;          /* ended, but the manifest does not say so yet */
	bool newest;
	bool batch_ended;  /* the Batch job as last seen: see struct derive_job */
	bool batch_unsure; /* as it was not seen among the live ones */
	char *batch_reason, *batch_error;
	unsigned n_gone;  /* polls in a row that answered JobNotFound */
	unsigned n_tries; /* of the submission, for the back-off */
	uint64_t retry_at_ms;
	unsigned n_sweeps;       /* of the janitor that failed in a row */
	uint64_t sweep_at_ms;    /* not before then once more */
	uint64_t images_seen_at; /* the scan after which its images were last looked for */

	bool dirty; /* the snapshot is older than the job */
	struct job_snap *snap;
};

/* An image under images/ whose metadata carries a trigger. */
struct foreman_image {
	char *blob; /* the key: first member */
	char etag[ADAFS_ETAG_LEN];
	int64_t size; /* bytes */
	char *sha256;
	char *digest;
	char *nonce;
	char *job_id;                     /* "": none yet */
	char *waiting_for;                /* why there is none */
	int64_t waiting_us;               /* when that changed last; 0: never */
	struct adafs_image_geo geo;       /* where it lies, as its trigger says */
	char date[ADAFS_IMAGE_DATE_SIZE]; /* of acquisition; "": unknown */
	uint64_t noted_ms;                /* when this process first saw its present content */
	bool own;                         /* it was copied through this mount */
	uint64_t looked;                  /* number of the last look at its event's units */
	const struct foreman_job *shown;  /* what its state is taken from; while a view is made */
	uint64_t seen;                    /* number of the last scan that saw it */
	bool resolved;                    /* job_id belongs to the present content */
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
/* Whether they are of one event and pipeline. */
bool foreman_same_map(const struct foreman_job *a, const struct foreman_job *b);
void foreman_job_clear_steps(struct foreman_job *j);
void foreman_job_clear_kept(struct foreman_job *j);
/*
 * The steps that ended well become what is kept, the others go; so do those that `again` picks (may
 * be NULL).
 */
void foreman_job_keep_steps(struct foreman_job *j,
			    bool (*again)(const struct foreman_step *s, const char *name),
			    const char *name);
void foreman_job_clear_inputs(struct foreman_job *j);
/* A job that has ended is unsubmitted again, for its next run, which began at created_us. */
void foreman_job_begin_again(struct foreman_job *j);
/* Nothing that its steps did serves a later run. */
void foreman_job_forget_keys(struct foreman_job *j);
/* Add a copy of an input; its texts may be NULL for "", all but role, blob and sha256. 0 or
 * -ENOMEM. */
int foreman_job_add_input(struct foreman_job *j, const struct foreman_input *in);
/* Add a part that it merges. 0 or -ENOMEM. */
int foreman_job_add_part(struct foreman_job *j, const char *job_id, bool must, bool member);
/* Whether it is the Batch job of an event; a further run of it only merges. */
bool foreman_job_has_members(const struct foreman_job *j);
/* Whether its tasks are in the Batch job of its event, whose id batch_job_id is then. */
bool foreman_job_is_member(const struct foreman_job *j);
/* What the ids of its tasks begin with there; "" of others. */
void foreman_job_task_prefix(const struct foreman_job *j, char out[ADAFS_PLAN_PREFIX_LEN]);
/* The parts as a plan wants them, owned by the caller, texts by the job. NULL: out of memory. */
struct adafs_plan_part *foreman_job_parts(const struct foreman_job *j);
/* What is kept as a plan wants it, owned by the caller, texts by the job. NULL: out of memory. */
struct adafs_plan_kept *foreman_job_kept(const struct foreman_job *j);
/*
 * Take the steps of a plan, all waiting or queued, but for those that are kept: they stay as they
 * ended. 0 or -ENOMEM.
 */
int foreman_job_take_plan(struct foreman_job *j, const struct adafs_plan *plan);
/* Append "<time> <text>" to the job's log. */
void foreman_job_log(struct foreman_job *j, int64_t when_us, const char *fmt, ...)
	ADAFS_PRINTF(3, 4);

struct foreman_image *foreman_image_new(const char *blob);
/* Take what the facts of a trigger say of an image (NULL: nothing), seen just now. */
void foreman_image_take_facts(struct foreman_image *i, const char *facts);
void foreman_image_free(struct foreman_image *i);

/*
 * The event of a blob "images/<event>/<rest>" (owned) and where the rest begins (may be NULL).
 * NULL: no such name.
 */
char *foreman_event_of(const char *blob, const char **ret_rest);

#endif
