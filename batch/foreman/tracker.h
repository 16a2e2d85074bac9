/*
 * foreman/tracker.h - the tracker thread, shared by its files: tracker.c decides what is looked at,
 * tracker_tasks.c takes over what the tasks of a job say, tracker_event.c does so for the Batch job
 * of an event and its members, tracker_end.c settles and writes down how a job ended.
 */
#ifndef ADAFS_FOREMAN_TRACKER_H
#define ADAFS_FOREMAN_TRACKER_H

#include "batch/foreman/internal.h"

#define TRACKER_REQUESTS_PER_SECOND 10

/* The tracker thread's own state. */
struct tracker {
	struct adafs_foreman *f;
	uint64_t
		sent_ms[TRACKER_REQUESTS_PER_SECOND]; /* when the last requests were sent, a ring */
	size_t next_sent;
	unsigned n_polls, n_quiet, n_failures;
	bool members_queued;      /* at the last look at Batch jobs of events */
	bool taken_back;          /* a step that ran is queued again: the pool is looked at now */
	struct foreman_job **job; /* of the present poll */
	size_t n, size;
	size_t next_live; /* whose turn it is */
};

/* Wait until one more request keeps the rate. Returns false when the foreman stops. */
bool tracker_take_slot(struct tracker *t);
/* A copy, since another mount's manifest may name another run at any moment. */
char *tracker_batch_id(struct adafs_foreman *f, const struct foreman_job *j);

/* --- tracker_tasks.c --- */
/* Tasks as a list showed them. */
struct task_list {
	struct derive_task *task;
	size_t n, size;
	char prefix[ADAFS_PLAN_PREFIX_LEN]; /* only those with it, which is taken off; "": all */
	struct adafs_foreman *f;            /* for a list of many pages; NULL: none */
	int64_t newest_us;                  /* change of a task */
};
/* Take an item of a list; arg is the task_list. */
int tracker_see_task(void *arg, const cJSON *item);
/* Take over what a job of a list of jobs says. */
void tracker_take_job_locked(struct foreman_job *j, const cJSON *item);
/*
 * It was not among the live jobs, and yet not all of its tasks have ended: why is worth a question.
 */
int tracker_ask_why(struct tracker *t, struct foreman_job *j, const struct task_list *l,
		    struct adafs_err *reterr);
/*
 * The message of a failed step's end.json: which output is missing, which input. One request a
 * failure; what cannot be read is left out.
 */
void tracker_read_ends(struct adafs_foreman *f, struct foreman_job *j, const struct task_list *l);
/*
 * Bring a job up to date with its tasks, or with those that have changed; n_awaited: members that
 * have to end before it does. Returns whether anything changed.
 */
bool tracker_apply_tasks(struct tracker *t, struct foreman_job *j, const struct task_list *l,
			 bool partial, size_t n_awaited);
/* A job that is looked at by itself: one list of its tasks. */
int tracker_poll_tasks(struct tracker *t, struct foreman_job *j, bool *changed,
		       struct adafs_err *reterr);

/* --- tracker_event.c --- */
/* Whether a member is looked at with the Batch job of its event. */
bool tracker_is_followed_locked(struct adafs_foreman *f, const struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/*
 * The Batch job of an event: one list of the tasks that changed since the last look; at first, and
 * once it has ended, of all.
 */
int tracker_poll_event(struct tracker *t, struct foreman_job *e, bool *changed,
		       struct adafs_err *reterr);

/* --- tracker_end.c --- */
/* Nothing more of the job will happen. */
void tracker_end_job_locked(struct adafs_foreman *f, struct foreman_job *j)
	ADAFS_REQUIRES(&f->lock);
/*
 * Batch knows the job no more, though it was not seen to end: what it left in the container
 * decides.
 */
int tracker_settle_gone(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr);
/* Write how the job ended. Another mount may have done so already. */
int tracker_write_end(struct adafs_foreman *f, struct foreman_job *j, struct adafs_err *reterr);

#endif
