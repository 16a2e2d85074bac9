/*
 * emulator/batch/engine/node_ops.h - what an operator asks of one node. All want the service's
 * lock; none commits.
 */
#ifndef ADAFS_EMULATOR_BATCH_NODE_OPS_H
#define ADAFS_EMULATOR_BATCH_NODE_OPS_H

#include "batch/emulator/batch/service.h"

/* It is up and stays, and its start task lets it take tasks. */
bool node_ready(const struct node *n);
/* And tasks may be scheduled on it. */
bool node_open(const struct node *n);

/*
 * A node is about to go or to boot: its start task ends, and what runs of jobs by option:
 * "requeue", "terminate"; any other lets it go on.
 */
void node_stop_runs_locked(struct batch_service *s, struct node *n, const char *option);
/* Schedule no more tasks on a node, and end its own by option. */
void node_disable_locked(struct batch_service *s, struct node *n, const char *option);
void node_enable_locked(struct batch_service *s, struct node *n);

/*
 * Begin to reboot, reimage or deallocate a node: it takes no more tasks, and those that it has end
 * by option. It is through when the last has ended.
 */
void node_take_down_locked(struct batch_service *s, struct node *n, enum node_down how,
			   const char *option);
/* Start a node that is deallocated. */
void node_start_locked(struct batch_service *s, struct node *n);
/* If nothing runs on a node that is being taken down: go on to what comes then. */
void node_settle_locked(struct batch_service *s, struct node *n);
/* The service takes a node back: its tasks are requeued, its files are lost, and it comes again. */
void node_preempt_locked(struct batch_service *s, struct node *n);
/* When a node that is asked for now exists (TRAP_ALLOCATION_DELAY); 0: at once. */
int64_t node_allocation_due_locked(struct batch_service *s);
/* Make the nodes and bring back those whose time has come; returns when the next one's has. */
int64_t nodes_tick_locked(struct batch_service *s);
/* Its state, in the service's words. */
const char *node_state_name(const struct node *n);

/*
 * Users of nodes are remembered, and nothing else: the emulator's nodes are directories of this
 * machine. They end with the service.
 */
bool node_user_exists_locked(const struct batch_service *s, const struct node *n, const char *name);
/* 0 or -ENOMEM. */
int node_user_add_locked(struct batch_service *s, const struct node *n, const char *name);
/* Whether it was there. */
bool node_user_remove_locked(struct batch_service *s, const struct node *n, const char *name);

#endif
