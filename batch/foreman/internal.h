/*
 * foreman/internal.h - the foreman itself, shared by its files.
 *
 * Four threads. The submitter (submitter.c) fills the tables from the container, brings jobs to
 * Batch and reads manifests; the tracker (tracker.c) polls Batch and writes final manifests; the
 * publisher (foreman.c) turns what they changed into views, never waits for the service, and so
 * shows a new image while they do; the janitor (janitor.c) removes what is deleted or has been kept
 * long enough. `lock` guards the tables and everything below it here; no thread holds it while it
 * waits for the service: copy out, unlock, act, lock, look again. Records of jobs are never freed
 * before the foreman, so a pointer to one stays good across an unlock.
 */
#ifndef ADAFS_FOREMAN_INTERNAL_H
#define ADAFS_FOREMAN_INTERNAL_H

#include <pthread.h>

#include "batch/base/mutex.h"
#include "batch/foreman/derive.h"
#include "batch/foreman/pipelines.h"
#include "batch/foreman/sas_url.h"
#include "batch/foreman/table.h"

/* The last triggers handed out, so that submit() knows the nonce of a commit without asking the
 * service. */
#define FOREMAN_N_TRIGGERS 1024
struct foreman_trigger {
	char *blob, *sha256;
	char nonce[33];
};

struct adafs_foreman {
	/* Constant after start. */
	struct adafs_blob_client *blob;
	struct adafs_batch_client *batch;
	char *container;
	char *pool;
	char *owner; /* "<account>/<container>": tells our Batch jobs from those of another
			container */
	struct adafs_pipeline *pipeline;
	void (*changed)(void *arg, uint64_t generation);
	void *changed_arg;
	bool (*is_written)(void *arg, const char *prefix);
	void *is_written_arg;
	uint32_t poll_ms, poll_max_ms;
	uint32_t settle_ms; /* so long nothing is copied into an event: then it is whole */
	bool local;         /* the engine is on this machine: be lively */
	bool reads_only;
	int64_t keep_ms;                                 /* how long the work of ended jobs stays */
	const struct adafs_pool_settings *pool_settings; /* borrowed; NULL: none */
	unsigned pool_next_size; /* VM size of the pool to come; 0: none is. Tracker thread only */
	struct sas_urls urls;
	bool policy_proven; /* the service has obeyed it; submitter thread after start */
	/* When to look at its expiry, or the delegation key's, again: by the service's clock, which
	 * goes on while this machine sleeps; 0: never. Submitter thread after start. */
	int64_t policy_check_us;
	struct foreman_pipelines pipelines; /* submitter thread only */
	/* Blobs below assets/ with their versions, as last listed: for the keys of steps. The
	 * submitter changes them under the lock. */
	struct foreman_asset {
		char *blob;
		char etag[ADAFS_ETAG_LEN];
	} * asset;
	size_t n_assets;
	char **missing_assets; /* submitter thread only after start: required blobs that are not
				  there */
	size_t n_missing_assets;

	struct adafs_mutex lock; /* rank FOREMAN */
	struct adafs_cond submitter_wake, tracker_wake, publisher_wake, janitor_wake;
	struct foreman_table jobs, images;
	struct foreman_trigger trigger[FOREMAN_N_TRIGGERS];
	size_t next_trigger;
	size_t n_threads; /* that run, in the order of start */
	bool stopping;
	bool draining;            /* nothing more comes through this mount */
	bool by_event;            /* the images of an event go to Batch as one job */
	uint64_t event_job_at_ms; /* when to see whether an event is whole; 0: nothing is new */
	bool scan_wanted, resolve_wanted, loaded;
	unsigned n_retries; /* jobs with a retry that somebody waits for */
	uint64_t scan_number, last_scan_ms, scan_retry_ms;
	uint64_t resolve_at_ms; /* when images that wait are to be looked at again; 0: none do */
	char **stale_map;       /* "<event>\n<pipeline>" of maps that are to be made anew */
	size_t n_stale_maps;
	uint64_t merge_at_ms; /* when to see whether an event is to be merged; 0: nothing is new */
	uint64_t resolve_number; /* of the last look at all of them */
	/* The account had as many active jobs as it may: no other is tried before then, unless one
	 * ended. 0: not held. */
	uint64_t admit_at_ms;
	unsigned n_admit;   /* jobs that may be tried, since so many ended */
	unsigned n_refused; /* for quota, in a row; 0: never */
	bool nudged;
	struct adafs_cond chore_done; /* of the submitter: drain looks again */
	bool view_dirty;              /* the publisher has something to do */
	bool newest_dirty;
	char *pool_state;
	const char *identity_wish; /* "off", a resource id; NULL or "auto": as is usual; constant */
	char *pool_identities;     /* resource ids of those that the pool has, a line each */
	char *pool_trouble;        /* why it has no nodes; "": nothing is wrong */
	int pool_nodes, pool_slots;
	bool pool_scaled; /* it scales by a formula */
	bool pool_boxes;  /* its nodes can run containers */
	/* Nodes, as of the last refresh. */
	int pool_usable, pool_starting, pool_broken, pool_preempted;
	uint64_t pool_wake_ms;              /* when it may be woken again */
	char *blob_trouble, *batch_trouble; /* "": all well */
	/* What the service was asked and has not answered yet; see waits.c. */
	uint64_t asked_ms;      /* the tracker's request went out then; 0: none is under way */
	uint64_t submitting_ms; /* the submitter began with a job then; 0: with none */
	bool asked_told, submit_told; /* and a sentence says so */
	pthread_t submitter, tracker, publisher, janitor;

	struct adafs_mutex view_lock; /* rank VIEW */
	struct adafs_view *view;
	uint64_t generation;
};

/* --- foreman.c --- */
/* Note why a service cannot be reached; NULL or "": it can. */
void foreman_set_trouble_locked(struct adafs_foreman *f, char **which, const char *text)
	ADAFS_REQUIRES(&f->lock);
/* Something that a view shows has changed: the publisher makes a new one. */
void foreman_show_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock);
/* The same for a job. */
void foreman_touch_locked(struct adafs_foreman *f, struct foreman_job *j) ADAFS_REQUIRES(&f->lock);
/* Whether a failure is worth another try later: the service or the line, not the request. */
bool foreman_transient(const struct adafs_err *err);
/* Back-off with jitter for the n-th try in a row. */
uint32_t foreman_backoff_ms(const struct adafs_foreman *f, unsigned n_tries);

/* --- waits.c --- */
/* Say of what is asked for too long what it waits for. Returns when to look again, UINT64_MAX: when
 * something is asked. */
uint64_t foreman_tell_waits_locked(struct adafs_foreman *f, uint64_t now_ms)
	ADAFS_REQUIRES(&f->lock);
/* The tracker asks, or (0) has its answer. */
void foreman_asks_locked(struct adafs_foreman *f, uint64_t now_ms) ADAFS_REQUIRES(&f->lock);
/* The submitter begins with a job, or (0) is through with it. */
void foreman_submits_locked(struct adafs_foreman *f, uint64_t now_ms) ADAFS_REQUIRES(&f->lock);

/* --- submitter.c --- */
void *foreman_submitter_main(void *arg);
/* An active job of the account has ended: what waits for quota is tried at once. */
void foreman_admit_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock);

/* --- retry.c --- */
/* Make the next run of an ended job, for who waits in j->retry. Submitter thread. */
void foreman_make_retry(struct adafs_foreman *f, struct foreman_job *j);
/*
 * What this run of an unsubmitted job need not do again, from its manifest or from that of the run
 * before.
 */
int foreman_load_kept(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr);

/* --- merge.c --- */
/* Whether the job's event is so large that jobs of their own merge it. */
bool foreman_merges_event_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/* Something of an event has ended: see, in so many milliseconds, whether to merge it. */
void foreman_look_at_merges_locked(struct adafs_foreman *f, uint32_t delay_ms)
	ADAFS_REQUIRES(&f->lock);
/*
 * A part of the map was taken away: make the map anew once the event's jobs have ended, however few
 * they are.
 */
void foreman_want_merge_locked(struct adafs_foreman *f, const char *event, const char *pipeline)
	ADAFS_REQUIRES(&f->lock);
/* Whether that was asked for the job's map, and is not begun yet. */
bool foreman_merge_is_wanted_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/* Make the jobs of events that are to be merged. */
void foreman_make_merges_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock);
/*
 * Write down what a job will merge before anything of it is in Batch, so that whoever comes later
 * can finish or end it. Submitter thread. When another mount has submitted it, so is the job then.
 */
int foreman_intend_merge(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr);

/*
 * A job that merges the parts of a map that are there by now; with `most` not 0, it is the Batch
 * job of their event for up to so many others, too. Not in the table yet. NULL: such a one is known
 * (*ret_known), or there is no memory.
 */
struct foreman_job *foreman_new_merge_locked(struct adafs_foreman *f, const char *event,
					     const char *pipeline, size_t most,
					     struct foreman_job **ret_known)
	ADAFS_REQUIRES(&f->lock);

/* --- event_job.c --- */
/* Whether a job that is not submitted goes to Batch with the others of its event. */
bool foreman_goes_with_event_locked(const struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/* Whether all tasks of a job that is submitted are in Batch, and known: a member's come late. */
bool foreman_is_in_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/* A job that goes with others has come, or may go now. */
void foreman_look_at_event_jobs_locked(struct adafs_foreman *f, uint64_t when_ms)
	ADAFS_REQUIRES(&f->lock);
/* Make the Batch jobs of events that are whole. Submitter thread. */
void foreman_make_event_jobs(struct adafs_foreman *f);
/* The Batch job that a member's tasks are in, if it is known. */
struct foreman_job *foreman_event_job_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/*
 * End the tasks of a member; its Batch job goes on. Waits for the service. Tasks that have ended
 * already are no error.
 */
int foreman_end_member(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr);

/* --- setup.c --- */
/* List assets/ anew: their versions are part of the keys of steps. */
int foreman_refresh_assets(struct adafs_foreman *f, struct adafs_err *reterr);
/* The asset_etag of a plan; arg is the foreman. Submitter thread, or the lock is held. */
const char *foreman_asset_etag(void *arg, const char *blob);
int foreman_setup(struct adafs_foreman *f, struct adafs_err *reterr) ADAFS_MUST_CHECK;

/* --- access.c --- */
/*
 * Make or extend what the SAS of tasks hang on: the stored access policy, or without an account key
 * the user delegation key. Nothing to do with the user's own SAS.
 */
int foreman_setup_access(struct adafs_foreman *f, struct adafs_err *reterr);
/* Whether that is to be looked at again. Submitter thread. */
bool foreman_access_due(struct adafs_foreman *f);
/* Whether the service obeys the policy by now; -EAGAIN: not yet. Asks only as long as it is not
 * known. */
int foreman_prove_access(struct adafs_foreman *f, struct adafs_err *reterr);

/* --- pool.c --- */
/* The pool, made if it is missing and the settings say of what; refused if it does not suit. */
int foreman_setup_pool(struct adafs_foreman *f, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/*
 * The identity of the pool by which its nodes are to enter the container, "": by SAS; free() it.
 * -EINVAL: the one that is wanted is not the pool's.
 */
int foreman_node_identity(struct adafs_foreman *f, char **ret, struct adafs_err *reterr);
/* Read the pool's state and slots, and what its nodes do (nodes_too, or they are more or less); go
 * on to another VM size if need be. */
int foreman_refresh_pool(struct adafs_foreman *f, bool nodes_too, struct adafs_err *reterr);
/*
 * There is new work: an empty pool that scales by our formula gets a node. Waits for the service.
 */
void foreman_wake_pool(struct adafs_foreman *f);

/* --- scan.c --- */
/* Fill or renew the tables from the container: two listings. */
int foreman_scan(struct adafs_foreman *f, struct adafs_err *reterr);
/* Read the body of a job's manifest. */
int foreman_load_body(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr);

/* --- pending.c --- */
/*
 * Find the job of an image; makes one that is to be submitted when there is none. May ask the
 * service for an older pipeline: submitter thread only.
 */
void foreman_resolve_image(struct adafs_foreman *f, const char *blob);
/* The same for an image of the mount's own pipeline, which needs no service: any thread. */
void foreman_resolve_own_locked(struct adafs_foreman *f, struct foreman_image *i)
	ADAFS_REQUIRES(&f->lock);
/* The content of an image is another one: its partners are free again. */
void foreman_release_partners_locked(struct adafs_foreman *f, struct foreman_image *i)
	ADAFS_REQUIRES(&f->lock);
/*
 * An image of the job is gone: the others wait for a new one, or their unit goes on without it.
 */
void foreman_free_partners_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/* Resolve all images that are not. Submitter thread only. */
void foreman_resolve_all(struct adafs_foreman *f);
/* A job has ended and its manifest says so: images that were committed again meanwhile are looked
 * at once more. */
void foreman_job_settled_locked(struct adafs_foreman *f, struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/*
 * The time for a run of the job that begins now: by the service's clock, which all mounts share,
 * and after whatever ran for its unit, since the last to begin is the one that counts.
 */
int64_t foreman_begin_us_locked(const struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/* Whether every image of the job has the content now that the job was made of. */
bool foreman_job_is_current_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/*
 * Take the steps of the job's next run, under this pipeline and with what is kept, to show them.
 */
int foreman_show_plan(struct adafs_foreman *f, struct foreman_job *j, struct adafs_pipeline *p,
		      struct adafs_err *reterr);
/* The job is to run once more. */
void foreman_start_rerun_locked(struct adafs_foreman *f, struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/* Recompute which jobs are the newest of their images. */
void foreman_mark_newest_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock);

/* --- submit.c --- */
#define FOREMAN_MAX_RUNS 99
/* Bring an unsubmitted job to Batch and write its manifest. Idempotent. */
int foreman_submit_job(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr);
/* The image is gone or holds something else: there is nothing to submit, and nothing to write. */
void foreman_give_up(struct adafs_foreman *f, struct foreman_job *j, const char *why);
/* Write the manifest of a job as it stands in the table. if_match NULL: it must not exist. */
int foreman_put_manifest(struct adafs_foreman *f, struct foreman_job *j, const char *if_match,
			 struct adafs_err *reterr);
/* What a job of Batch is marked with, as by foreman_submit_job: adafsowner, adafsjob. "": nothing.
 */
const char *foreman_metadata_of(const cJSON *job, const char *name);
/* Whether a job of Batch, read with its metadata, is this container's and of the job `id`. */
bool foreman_owns(const struct adafs_foreman *f, const cJSON *job, const char *id);

/* --- rewrite.c --- */
/* What is to be changed of a job; called with the foreman's lock, for a copy and for the job. */
typedef void foreman_change_fn(struct foreman_job *j, int64_t arg);
/*
 * Change the manifest of a job that has one, and then the job: all or nothing. Reads the body first
 * if need be. -EBUSY: another mount has changed it, which is looked at again; -ENOENT: it is gone.
 */
int foreman_rewrite(struct adafs_foreman *f, struct foreman_job *j, foreman_change_fn *change,
		    int64_t arg, struct adafs_err *reterr) ADAFS_MUST_CHECK;

/* --- janitor.c --- */
void *foreman_janitor_main(void *arg);
/* A job has ended: look at once whether anything of it is to go. */
void foreman_wake_janitor_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);

/* --- tracker.c --- */
void *foreman_tracker_main(void *arg);
/* Take over what another mount wrote of a job. */
int foreman_adopt_manifest(struct adafs_foreman *f, struct foreman_job *j,
			   struct adafs_err *reterr);

#endif
