/*
 * foreman/sentences.c - states in words: what a step or a job waits for, why it stopped, what to
 * do.
 */
#include <string.h>

#include "batch/base/buf.h"
#include "batch/foreman/derive_int.h"

/* Names of the dependencies for which pick holds, "01-cover and 02-tile"; "" when there is none. */
static void name_deps(const struct foreman_job *j, const struct foreman_step *s,
		      bool (*pick)(enum adafs_state), struct adafs_buf *out)
{
	size_t n = 0, k = 0;
	for (size_t i = 0; i < s->n_dep; i++)
		n += pick(j->step[s->dep[i]].state);
	for (size_t i = 0; i < s->n_dep; i++) {
		const struct foreman_step *d = &j->step[s->dep[i]];
		if (!pick(d->state))
			continue;
		adafs_buf_addf(out, "%s%s", k == 0 ? "" : k + 1 == n ? " and " : ", ", d->task_id);
		k++;
	}
}

static bool not_ended(enum adafs_state s)
{
	return !derive_ended(s);
}

static bool gave_nothing(enum adafs_state s)
{
	return derive_ended(s) && s != ADAFS_STATE_COMPLETED;
}

static void queued_text(const struct derive_pool *pool, struct adafs_buf *out)
{
	if (pool->nodes == 0 && pool->trouble && *pool->trouble)
		adafs_buf_addf(out, "waits for a node of pool '%s': %s", pool->id, pool->trouble);
	else if (pool->nodes == 0 && strcasecmp(pool->state, "resizing") == 0)
		adafs_buf_addf(out, "waits for the nodes of pool '%s' to start", pool->id);
	else if (pool->nodes == 0 && pool->scaled)
		adafs_buf_addf(
			out, "waits for a node: pool '%s' is empty and starts one within 6 minutes",
			pool->id);
	else if (pool->nodes == 0)
		adafs_buf_addf(out, "waits for a node: pool '%s' has none; resize it", pool->id);
	else if (!pool->usable && pool->broken)
		adafs_buf_addf(
			out,
			"waits for a node: %d of pool '%s' cannot run tasks; pool/nodes says why",
			pool->broken, pool->id);
	else if (!pool->usable && pool->starting)
		adafs_buf_addf(out, "waits for the nodes of pool '%s' to start: %d on the way",
			       pool->id, pool->starting);
	else if (!pool->usable && pool->preempted)
		adafs_buf_addf(
			out,
			"waits for the nodes of pool '%s' to come back: %d preempted, Azure returns "
			"them when it has capacity; dedicated nodes are not taken",
			pool->id, pool->preempted);
	else
		adafs_buf_addf(out, "waits for a free slot in pool '%s' behind other tasks",
			       pool->id);
	if (pool->nodes > 0 && pool->trouble && *pool->trouble)
		adafs_buf_addf(out, "; it gets no more nodes: %s", pool->trouble);
}

static void skipped_text(const struct foreman_job *j, const struct foreman_step *s,
			 struct adafs_buf *out)
{
	struct adafs_buf names = ADAFS_BUF_INIT(4096);
	name_deps(j, s, gave_nothing, &names);
	if (names.len)
		adafs_buf_addf(out, "skipped: %s left no input for it", adafs_buf_str(&names));
	else
		adafs_buf_adds(out, "skipped: an input is missing");
	adafs_buf_clear(&names);
}

static void cancelled_text(const struct derive_task *t, const struct derive_job *job,
			   struct adafs_buf *out)
{
	if (derive_job_cancelled(job))
		adafs_buf_adds(out, "cancelled");
	else if (strcmp(job->reason, "MaxWallClockTimeExpiry") == 0)
		adafs_buf_adds(out, "ended: the whole job ran over its time limit");
	else if (job->ended && !(t && t->state == DERIVE_TASK_COMPLETED))
		adafs_buf_adds(out,
			       "cancelled: the Batch job was ended outside adafs before this step");
	else
		adafs_buf_adds(out, "cancelled: the task was ended outside adafs");
}

/* The failure's text: exit code in words, or the service's code and message with what it means. */
void derive_failure_text(const struct foreman_step *s, const struct derive_task *t,
			 struct adafs_buf *out)
{
	bool by_exit = !*t->failure_code || strcasecmp(t->failure_code, "FailureExitCode") == 0;
	if (derive_time_limit(t)) {
		adafs_buf_adds(out, "the step's time limit was exceeded");
	} else if (by_exit && t->has_exit_code) {
		char text[256];
		explain_exit(t->exit_code, text, sizeof(text));
		adafs_buf_adds(out, text);
		if (*s->told)
			adafs_buf_addf(out, " (%s)", s->told);
	} else {
		const char *meaning = explain_failure_code(t->failure_code);
		adafs_buf_addf(out, "%s: %s", *t->failure_code ? t->failure_code : "failed",
			       meaning ? meaning : t->failure_text);
		if (*t->failure_detail)
			adafs_buf_addf(out, " (%s)", t->failure_detail);
	}
}

/*
 * A node that went took the task with it: no fault of the step, and no try of it either. The
 * service does not count every kind of going, and what this process did not see it cannot count.
 */
static void queued_again_text(const struct foreman_step *s, const struct derive_pool *pool,
			      struct adafs_buf *out)
{
	if (s->n_taken)
		adafs_buf_addf(out,
			       "queued again, its node was taken from it %d time%s (preempted, "
			       "rebooted or removed); ",
			       s->n_taken, s->n_taken == 1 ? "" : "s");
	queued_text(pool, out);
}

static void running_text(const struct derive_task *t, const struct derive_pool *pool,
			 struct adafs_buf *out)
{
	if (t && t->state == DERIVE_TASK_PREPARING)
		adafs_buf_addf(out, "node %s prepares itself for the job", t->node);
	else if (t && pool->image && !t->in_container)
		/* The service calls that running, too. */
		adafs_buf_addf(out,
			       "node %s fetches container image '%s' and the inputs, then the "
			       "command runs",
			       t->node, pool->image);
	else
		adafs_buf_addf(out, "runs on node %s", t ? t->node : "");
}

static void awaited_text(const struct derive_job *job, struct adafs_buf *out)
{
	adafs_buf_addf(out, "%zu job%s of its event", job->n_awaited,
		       job->n_awaited == 1 ? "" : "s");
}

void derive_step_text(const struct foreman_job *j, const struct foreman_step *s,
		      const struct derive_task *t, const struct derive_job *job,
		      const struct derive_pool *pool, struct adafs_buf *out)
{
	switch (s->state) {
	case ADAFS_STATE_WAITING:
		adafs_buf_adds(out, "waits for ");
		if (s->n_dep)
			name_deps(j, s, not_ended, out);
		else
			awaited_text(job, out);
		break;
	case ADAFS_STATE_QUEUED:
		if (job->held)
			adafs_buf_adds(out, DERIVE_HELD_TEXT);
		else
			queued_again_text(s, pool, out);
		break;
	case ADAFS_STATE_RUNNING:
		running_text(t, pool, out);
		break;
	case ADAFS_STATE_COMPLETED:
		adafs_buf_adds(out, "completed");
		break;
	case ADAFS_STATE_EMPTY:
		adafs_buf_adds(out, "nothing was found: the steps after it are skipped");
		break;
	case ADAFS_STATE_SKIPPED:
		skipped_text(j, s, out);
		break;
	case ADAFS_STATE_CANCELLED:
		cancelled_text(t, job, out);
		break;
	case ADAFS_STATE_FAILED:
		adafs_buf_addf(out, "failed: %s", s->failure);
		break;
	}
}

static void running_sentence(const struct foreman_job *j, bool held, struct adafs_buf *out)
{
	size_t n = 0, done = 0;
	if (held)
		adafs_buf_adds(out, DERIVE_HELD_TEXT);
	if (!held || derive_first_in(j, ADAFS_STATE_RUNNING))
		adafs_buf_adds(out, held ? "; running: " : "running: ");
	for (size_t i = 0; i < j->n_steps; i++) {
		done += derive_ended(j->step[i].state);
		if (j->step[i].state == ADAFS_STATE_RUNNING)
			adafs_buf_addf(out, "%s%s", n++ ? ", " : "", j->step[i].task_id);
	}
	const struct foreman_step *running = derive_first_in(j, ADAFS_STATE_RUNNING),
				  *queued = derive_first_in(j, ADAFS_STATE_QUEUED);
	/* A single step may not run its command yet. */
	if (n == 1 && strncmp(running->waiting_for, "runs ", 5) != 0)
		adafs_buf_addf(out, ": %s", running->waiting_for);
	if (!n && queued && !held)
		adafs_buf_addf(out, "%s %s", queued->task_id, queued->waiting_for);
	adafs_buf_addf(out, " (%zu of %zu steps ended)", done, j->n_steps);
}

static void failed_sentence(const struct foreman_job *j, const struct derive_job *job,
			    struct adafs_buf *out)
{
	const struct foreman_step *s = derive_first_in(j, ADAFS_STATE_FAILED);
	if (!s)
		s = derive_first_in(j, ADAFS_STATE_SKIPPED);
	if (strcmp(job->reason, "MaxWallClockTimeExpiry") == 0)
		adafs_buf_adds(out, "failed: the job ran over its time limit");
	else if (s)
		adafs_buf_addf(out, "%s %s; %s", s->task_id, s->waiting_for,
			       s->has_exit_code && s->exit_code
				       ? "read stderr.txt of that step"
				       : "mend that and write 'retry' to ctl");
	else
		adafs_buf_adds(out, "failed");
}

char *derive_job_sentence(const struct foreman_job *j, enum adafs_state state,
			  const struct derive_job *job, const struct derive_pool *pool)
{
	struct adafs_buf out = ADAFS_BUF_INIT(16 * 1024);
	const struct foreman_step *s;
	switch (state) {
	case ADAFS_STATE_QUEUED:
		s = derive_first_in(j, ADAFS_STATE_QUEUED);
		if (*job->scheduling_error)
			adafs_buf_addf(&out, "cannot be scheduled: %s", job->scheduling_error);
		else if (job->held)
			adafs_buf_adds(&out, DERIVE_HELD_TEXT);
		else if (job->n_awaited) {
			adafs_buf_adds(&out, "waits for ");
			awaited_text(job, &out);
		} else if (s)
			adafs_buf_adds(&out, s->waiting_for);
		else
			queued_text(pool, &out);
		break;
	case ADAFS_STATE_RUNNING:
		running_sentence(j, job->held, &out);
		break;
	case ADAFS_STATE_FAILED:
		failed_sentence(j, job, &out);
		break;
	case ADAFS_STATE_EMPTY:
		s = derive_first_in(j, ADAFS_STATE_EMPTY);
		adafs_buf_addf(&out, "nothing was found in this image (%s)", s ? s->task_id : "");
		break;
	case ADAFS_STATE_CANCELLED:
		adafs_buf_adds(&out, derive_job_cancelled(job)
					     ? "cancelled"
					     : "cancelled: the Batch job was ended outside adafs");
		break;
	default:
		adafs_buf_adds(&out, "completed");
	}
	return adafs_buf_steal(&out, NULL);
}
