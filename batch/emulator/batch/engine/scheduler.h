/*
 * emulator/batch/engine/scheduler.h - what happens to tasks, jobs and pools by time and by each
 * other. Every function wants the service's lock; none commits: the caller does, before it answers.
 */
#ifndef ADAFS_EMULATOR_BATCH_SCHEDULER_H
#define ADAFS_EMULATOR_BATCH_SCHEDULER_H

#include "batch/emulator/batch/engine/deps.h"
#include "batch/emulator/batch/service.h"

/* The most tasks that run at a time on this machine, whatever the pools promise. */
#define SCHED_MAX_RUNS 512
/* The most nodes that a pool gets; what is asked beyond shows as a resize error. */
#define SCHED_MAX_NODES 1000

/*
 * The thread: starts tasks that fit, ends jobs at their limits, throws away files past their time.
 */
void *sched_thread(void *service);

/* Place what fits; the new runs are to be launched when that is committed. */
void sched_place_locked(struct batch_service *s, struct run_list *started);

/*
 * An active task (added, loaded, requeued, reactivated) waits for its dependencies or becomes
 * ready.
 */
void sched_task_active_locked(struct batch_service *s, struct task *t);
/* It has a run; wait: which will not begin before the job's preparation on that node is through. */
void sched_task_placed_locked(struct batch_service *s, struct task *t, bool wait);
/* It is running from now on. */
void sched_task_begins_locked(struct batch_service *s, struct task *t);
/* Take an active task out of every queue. */
void sched_task_unqueue_locked(struct task *t);
/* Active again after its run was lost; it goes to the front. */
void sched_task_requeue_locked(struct batch_service *s, struct task *t);
/* End an active or running task; a running one is completed when its process is gone. */
void sched_task_terminate_locked(struct batch_service *s, struct task *t);
/* Forget a task that has no run, and its files. */
void sched_task_remove_locked(struct batch_service *s, struct task *t);

/* If the job is to end when all its tasks are complete, and they are: end it. */
void sched_job_check_locked(struct batch_service *s, struct job *j);
void sched_job_terminate_locked(struct batch_service *s, struct job *j, const char *reason);
/* option: "requeue", "terminate" or "wait". */
void sched_job_disable_locked(struct batch_service *s, struct job *j, const char *option);
void sched_job_enable_locked(struct batch_service *s, struct job *j);
/* A job in passing goes to its next state once nothing of it runs. */
void sched_job_settle_locked(struct batch_service *s, struct job *j);
/* Gone as soon as nothing of it runs. */
void sched_job_delete_locked(struct batch_service *s, struct job *j);

/*
 * Bring the nodes to the targets in the pool's spec. option: what happens to tasks on nodes that
 * go: "requeue", "terminate", or another, which waits for them.
 */
void sched_pool_resize_locked(struct batch_service *s, struct pool *p, const char *option);
/* Make the nodes that a resize waits for. */
void sched_pool_grow_locked(struct batch_service *s, struct pool *p);
/* A node takes no more tasks and goes. */
void sched_node_leave_locked(struct batch_service *s, struct node *n, const char *option);
/* Remove nodes that have left; end a deletion or a resize that is through. */
void sched_pool_settle_locked(struct batch_service *s, struct pool *p);
void sched_pool_delete_locked(struct batch_service *s, struct pool *p);

#endif
