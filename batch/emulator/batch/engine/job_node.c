/* Preparation and release tasks of jobs on nodes. */
#include "batch/emulator/batch/engine/job_node.h"

#include <errno.h>

#include "batch/emulator/batch/engine/node_ops.h"
#include "batch/emulator/batch/engine/scheduler.h"
#include "batch/emulator/batch/node/transfer.h"

const cJSON *job_own_spec(const struct job *j, enum run_kind kind)
{
	return adafs_json_get(j->e.spec,
			      kind == RUN_RELEASE ? "jobReleaseTask" : "jobPreparationTask");
}

const char *job_own_id(const struct job *j, enum run_kind kind)
{
	return adafs_json_str(job_own_spec(j, kind), "id",
			      kind == RUN_RELEASE ? "jobrelease" : "jobpreparation");
}

char *job_own_dir(const struct batch_service *s, const struct job *j, const char *node_id,
		  enum run_kind kind)
{
	return service_job_dir(s, node_id, j, job_own_id(j, kind));
}

/* Files of an earlier run stay, as they do on a node that boots again. NULL: out of memory. */
static struct run *begin(struct batch_service *s, struct job_node *at, enum run_kind kind)
{
	struct job *j = at->job;
	const cJSON *spec = job_own_spec(j, kind), *limits = adafs_json_get(spec, "constraints");
	struct execution *x = kind == RUN_RELEASE ? &at->release : &at->prep;
	const struct run like = {
		.kind = kind, .exec = x, .owner = &j->e, .job = j, .at = at, .node = at->node
	};
	struct run_plan plan = { .spec = spec,
				 .id = job_own_id(j, kind),
				 .dir = job_own_dir(s, j, at->node_id, kind),
				 .limit = adafs_json_str(limits ? limits : spec, "maxWallClockTime",
							 NULL),
				 .retries = adafs_json_int(limits, "maxTaskRetryCount", 0) };
	execution_reset(x);
	struct run *run = run_new_locked(s, &like, &plan);
	if (run)
		x->start_us = service_now_locked(s);
	service_dirty_locked(s, &j->e, false);
	return run;
}

/* --- preparation -------------------------------------------------------------------------- */

bool job_node_open(const struct job *j, const struct node *n)
{
	const struct job_node *at = j->prep_gates && j->prepares ? job_find_node(j, n) : NULL;
	return !at || at->state != PREP_FAILED;
}

int job_prepare_locked(struct batch_service *s, struct job *j, struct node *n,
		       struct run_list *started, struct job_node **ret_at)
{
	*ret_at = NULL;
	if (!j->prepares)
		return 0;
	struct job_node *at = job_add_node(j, n);
	if (!at)
		return -ENOMEM;
	if (at->state == PREP_WANTED) {
		struct run *run = begin(s, at, RUN_PREPARATION);
		if (!run)
			return -ENOMEM;
		execution_reset(&at->release);
		at->released = false;
		at->state = PREP_RUNNING;
		TAILQ_INSERT_TAIL(started, run, link);
	}
	if (j->prep_gates && at->state == PREP_RUNNING)
		*ret_at = at;
	return 0;
}

/* --- release ------------------------------------------------------------------------------ */

/* Not where nothing of the job is left to undo, nor on a node that runs no tasks any more. */
static bool release_due(const struct job_node *at)
{
	const struct node *n = at->node;
	return !at->released && at->prep.start_us && n && !n->leaving &&
	       (n->down == NODE_UP || n->down == NODE_REBOOTING) &&
	       !(n->start_gates && n->start_state == START_FAILED);
}

bool job_release_awaited(const struct job *j)
{
	const struct job_node *at;
	if (job_own_spec(j, RUN_RELEASE))
		TAILQ_FOREACH(at, &j->nodes, link)
	if (release_due(at))
		return true;
	return false;
}

void job_release_over(struct job *j)
{
	struct job_node *at;
	TAILQ_FOREACH(at, &j->nodes, link)
	at->released = true;
}

static void release_job(struct batch_service *s, struct job *j, struct run_list *started)
{
	struct job_node *at;
	if (j->n_runs || !job_own_spec(j, RUN_RELEASE))
		return;
	TAILQ_FOREACH(at, &j->nodes, link)
	{
		if (s->n_runs >= SCHED_MAX_RUNS)
			return;
		if (!release_due(at) || !node_ready(at->node) || at->prep.run || at->release.run)
			continue;
		struct run *run = begin(s, at, RUN_RELEASE);
		if (!run)
			return;
		TAILQ_INSERT_TAIL(started, run, link);
	}
}

void job_releases_begin_locked(struct batch_service *s, struct run_list *started)
{
	/* A job may leave the list. */
	for (size_t i = s->jobs.n; i-- > 0;) {
		struct job *j = entity_job(s->jobs.item[i]);
		if (j->e.state != JOB_TERMINATING && j->e.state != JOB_DELETING)
			continue;
		release_job(s, j, started);
		sched_job_settle_locked(s, j);
	}
}

/* --- ends --------------------------------------------------------------------------------- */

void job_own_ended_locked(struct batch_service *s, struct run *run, struct run_result *r)
{
	struct job_node *at = run->at;
	bool failed = r->failure != NULL;
	int64_t now = service_now_locked(s);
	execution_end(run->exec, now, r->has_exit_code, r->exit_code, &r->failure);
	service_dirty_locked(s, run->owner, false);
	if (run->kind == RUN_PREPARATION) {
		at->state = run->stop ? PREP_WANTED : failed ? PREP_FAILED : PREP_DONE;
		adafs_cond_broadcast(&s->prepared);
	} else if (run->stop == RUN_STOP_REQUEUE) {
		execution_reset(run->exec); /* again when the node is back */
	} else {
		at->released = true;
	}
}

void job_nodes_recover_locked(struct batch_service *s, struct job *j)
{
	struct job_node *at;
	TAILQ_FOREACH(at, &j->nodes, link)
	{
		struct entity *p = entity_list_find(&s->pools, at->pool_id);
		at->node = p ? pool_find_node(entity_pool(p), at->node_id) : NULL;
		if (at->state == PREP_RUNNING) {
			cJSON *failure = batch_failure_new("ServerError", "TaskEnded",
							   "The node was lost", NULL);
			execution_end(&at->prep, service_now_locked(s), false, 0, &failure);
			at->state = PREP_WANTED;
			service_dirty_locked(s, &j->e, false);
		}
		if (at->release.start_us && !at->release.end_us)
			execution_reset(&at->release);
	}
}

/* --- nodes -------------------------------------------------------------------------------- */

static void each_job_on(struct batch_service *s, const struct node *n,
			void (*change)(struct job_node *at))
{
	for (size_t i = 0; i < s->jobs.n; i++) {
		struct job *j = entity_job(s->jobs.item[i]);
		struct job_node *at = j->prepares ? job_find_node(j, n) : NULL;
		if (!at)
			continue;
		change(at);
		service_dirty_locked(s, &j->e, false);
	}
}

static void rebooted(struct job_node *at)
{
	const cJSON *spec = job_own_spec(at->job, RUN_PREPARATION);
	if (at->state == PREP_DONE && adafs_json_bool(spec, "rerunOnNodeRebootAfterSuccess", true))
		at->state = PREP_WANTED;
}

static void lost(struct job_node *at)
{
	at->state = PREP_WANTED;
	at->released = true;
}

static void gone(struct job_node *at)
{
	at->node = NULL;
}

void job_nodes_rebooted_locked(struct batch_service *s, const struct node *n)
{
	each_job_on(s, n, rebooted);
}

void job_nodes_lost_locked(struct batch_service *s, const struct node *n)
{
	each_job_on(s, n, lost);
}

void job_nodes_gone_locked(struct batch_service *s, const struct node *n)
{
	each_job_on(s, n, gone);
}
