/*
 * emulator/batch/engine/job_node.h - preparation and release tasks of jobs. The preparation task
 * runs on a node before the first task of the job there; the release task after the job's end,
 * wherever the former ran. All want the service's lock; none commits.
 *
 *   WANTED -> RUNNING -> DONE     and WANTED again when the node's files are lost
 *                     -> FAILED   or, from DONE and if the job says so, when it was rebooted
 */
#ifndef ADAFS_EMULATOR_BATCH_JOB_NODE_H
#define ADAFS_EMULATOR_BATCH_JOB_NODE_H

#include "batch/emulator/batch/node/runner.h"

/* The body of a job's preparation or release task; NULL: it has none. Borrowed. */
const cJSON *job_own_spec(const struct job *j, enum run_kind kind);
/* Its id. Borrowed. */
const char *job_own_id(const struct job *j, enum run_kind kind);
/* Its directory on a node; free(). NULL: out of memory. */
char *job_own_dir(const struct batch_service *s, const struct job *j, const char *node_id,
		  enum run_kind kind);

/* Whether tasks of the job may be placed on the node: not if it could not be prepared. */
bool job_node_open(const struct job *j, const struct node *n);
/*
 * A task of the job goes to the node: begin to prepare it if need be. *ret_at: what the task has to
 * wait for, or NULL. 0 or -ENOMEM.
 */
int job_prepare_locked(struct batch_service *s, struct job *j, struct node *n,
		       struct run_list *started, struct job_node **ret_at);
/* Whether a job that ends must wait for release tasks. */
bool job_release_awaited(const struct job *j);
/* The job has ended: its release task never runs again. */
void job_release_over(struct job *j);
/* Begin the release tasks of jobs that end, and let those end that wait no more. */
void job_releases_begin_locked(struct batch_service *s, struct run_list *started);
/* The end of such a run. Takes the result's failure. */
void job_own_ended_locked(struct batch_service *s, struct run *run, struct run_result *r);
/* After the load: what was running when the predecessor ended runs again. */
void job_nodes_recover_locked(struct batch_service *s, struct job *j);

/* What happened to a node: it has booted, has lost all files, is about to be freed. */
void job_nodes_rebooted_locked(struct batch_service *s, const struct node *n);
void job_nodes_lost_locked(struct batch_service *s, const struct node *n);
void job_nodes_gone_locked(struct batch_service *s, const struct node *n);

#endif
