/* foreman/derive_int.h - what derive.c, which tells states, and sentences.c have in common. */
#ifndef ADAFS_FOREMAN_DERIVE_INT_H
#define ADAFS_FOREMAN_DERIVE_INT_H

#include "batch/base/buf.h"
#include "batch/foreman/derive.h"

/* Whether a step in this state will not change any more. */
bool derive_ended(enum adafs_state s);
/* Whether the service ended the task for its time limit. */
bool derive_time_limit(const struct derive_task *t);
/* The first step in a state; NULL: none is. */
const struct foreman_step *derive_first_in(const struct foreman_job *j, enum adafs_state state);
/* What the step waits for, or how it ended. t: its task, NULL if there is none. */
void derive_step_text(const struct foreman_job *j, const struct foreman_step *s,
		      const struct derive_task *t, const struct derive_job *job,
		      const struct derive_pool *pool, struct adafs_buf *out);
/* Exit code in words, or the service's code and message with what it means. */
void derive_failure_text(const struct foreman_step *s, const struct derive_task *t,
			 struct adafs_buf *out);

#endif
