/*
 * foreman/internal.h - the foreman itself, shared by its files.
 *
 * Three threads. The submitter (submitter.c) fills the tables from the container, brings jobs to
 * Batch and reads manifests; the tracker (tracker.c) polls Batch and writes final manifests; the
 * publisher (foreman.c) turns what they changed into views, never waits for the service, and so
 * shows a new image while they do. `lock` guards the tables and everything below it here; no thread
 * holds it while it waits for the service: copy out, unlock, act, lock, look again. Records of jobs
 * are never freed before the foreman, so a pointer to one stays good across an unlock.
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
	uint32_t poll_ms, poll_max_ms;
	bool local; /* the engine is on this machine: be lively */
	bool reads_only;
	const struct adafs_pool_settings *pool_settings; /* borrowed; NULL: none */
	unsigned pool_next_size; /* VM size of the pool to come; 0: none is. Tracker thread only */
	struct sas_urls urls;
	bool policy_proven; /* the service has obeyed it; submitter thread after start */
	/* When to look at its expiry, or the delegation key's, again: by the service's clock, which
	 * goes on while this machine sleeps; 0: never. Submitter thread after start. */
	int64_t policy_check_us;
	struct foreman_pipelines pipelines; /* submitter thread only */
	char **missing_assets; /* submitter thread only after start: required blobs that are not
				  there */
	size_t n_missing_assets;

	struct adafs_mutex lock; /* rank FOREMAN */
	struct adafs_cond submitter_wake, tracker_wake, publisher_wake;
	struct foreman_table jobs, images;
	struct foreman_trigger trigger[FOREMAN_N_TRIGGERS];
	size_t next_trigger;
	size_t n_threads; /* that run, in the order of start */
	bool stopping;
	bool scan_wanted, resolve_wanted, loaded;
	uint64_t scan_number, last_scan_ms, scan_retry_ms;
	/* The account had as many active jobs as it may: no other is tried before then. 0: not
	 * held. */
	uint64_t admit_at_ms;
	unsigned n_refused; /* for quota, since a job ended; 0: never */
	bool nudged;
	struct adafs_cond chore_done; /* of the submitter: drain looks again */
	bool view_dirty;              /* the publisher has something to do */
	bool newest_dirty;
	char *pool_state;
	char *pool_trouble; /* why it has no nodes; "": nothing is wrong */
	int pool_nodes, pool_slots;
	bool pool_scaled;                            /* it scales by a formula */
	int pool_usable, pool_starting, pool_broken; /* nodes, as of the last refresh */
	uint64_t pool_wake_ms;                       /* when it may be woken again */
	char *blob_trouble, *batch_trouble;          /* "": all well */
	pthread_t submitter, tracker, publisher;

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

/* --- submitter.c --- */
void *foreman_submitter_main(void *arg);
/* An active job of the account has ended: what waits for quota is tried at once. */
void foreman_admit_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock);

/* --- setup.c --- */
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
/* Read the pool's state, nodes and slots into the tables; go on to another VM size if need be. */
int foreman_refresh_pool(struct adafs_foreman *f, struct adafs_err *reterr);
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
/* Resolve all images that are not. Submitter thread only. */
void foreman_resolve_all(struct adafs_foreman *f);
/* A job has ended and its manifest says so: images that were committed again meanwhile are looked
 * at once more. */
void foreman_job_settled_locked(struct adafs_foreman *f, struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/* Recompute which jobs are the newest of their images. */
void foreman_mark_newest_locked(struct adafs_foreman *f) ADAFS_REQUIRES(&f->lock);

/* --- submit.c --- */
/* Bring an unsubmitted job to Batch and write its manifest. Idempotent. */
int foreman_submit_job(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr);
/* Write the manifest of a job as it stands in the table. if_match NULL: it must not exist. */
int foreman_put_manifest(struct adafs_foreman *f, struct foreman_job *j, const char *if_match,
			 struct adafs_err *reterr);

/* --- tracker.c --- */
void *foreman_tracker_main(void *arg);
/* Take over what another mount wrote of a job. */
int foreman_adopt_manifest(struct adafs_foreman *f, struct foreman_job *j,
			   struct adafs_err *reterr);

#endif
