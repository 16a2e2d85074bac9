/*
 * foreman/derive.c - task JSON to step states.
 *
 *   task                                         step
 *   none in the list, or active                  waiting (a dependency has not ended), else queued
 *   active, and the job has ended                cancelled
 *   preparing, running                           running
 *   completed: success                           completed
 *              exit 64 / 97                      empty / skipped
 *              TaskEnded (not for its time limit) cancelled
 *              anything else                     failed
 */
#include "batch/foreman/derive.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/foreman/derive_int.h"

static int64_t time_of(const cJSON *object, const char *name)
{
	int64_t us;
	const char *text = adafs_json_str(object, name, NULL);
	return text && adafs_clock_parse_iso8601(text, &us) == 0 ? us : 0;
}

/* The service's texts hold line ends; a sentence of ours is one line. */
static void one_line(char *text)
{
	for (char *p = text; *p; p++)
		if (*p == '\n' || *p == '\r')
			*p = ' ';
}

static void copy_text(char *out, size_t size, const char *text)
{
	snprintf(out, size, "%s", text);
	one_line(out);
}

static void parse_failure(const cJSON *info, struct derive_task *t)
{
	copy_text(t->failure_code, sizeof(t->failure_code), adafs_json_str(info, "code", ""));
	copy_text(t->failure_text, sizeof(t->failure_text), adafs_json_str(info, "message", ""));
	const cJSON *d;
	cJSON_ArrayForEach(d, adafs_json_get(info, "details"))
	{
		size_t used = strlen(t->failure_detail);
		snprintf(t->failure_detail + used, sizeof(t->failure_detail) - used, "%s%s: %s",
			 used ? "; " : "", adafs_json_str(d, "name", ""),
			 adafs_json_str(d, "value", ""));
	}
	one_line(t->failure_detail);
}

int derive_task_parse(const cJSON *item, struct derive_task *ret)
{
	const char *id = adafs_json_str(item, "id", NULL),
		   *state = adafs_json_str(item, "state", NULL);
	if (!id || !state || strlen(id) >= sizeof(ret->id))
		return -EPROTO;
	*ret = (struct derive_task){ .state = DERIVE_TASK_ACTIVE };
	strcpy(ret->id, id);
	if (strcasecmp(state, "preparing") == 0)
		ret->state = DERIVE_TASK_PREPARING;
	else if (strcasecmp(state, "running") == 0)
		ret->state = DERIVE_TASK_RUNNING;
	else if (strcasecmp(state, "completed") == 0)
		ret->state = DERIVE_TASK_COMPLETED;
	ret->changed_us = time_of(item, "stateTransitionTime");

	const cJSON *info = adafs_json_get(item, "executionInfo");
	ret->started_us = time_of(info, "startTime");
	ret->finished_us = time_of(info, "endTime");
	const cJSON *code = adafs_json_get(info, "exitCode");
	ret->has_exit_code = cJSON_IsNumber(code);
	ret->exit_code = ret->has_exit_code ? (int)code->valuedouble : 0;
	ret->requeues = (int)adafs_json_int(info, "requeueCount", 0);
	ret->in_container = adafs_json_path(info, "containerInfo/containerId") != NULL;
	const cJSON *failure = adafs_json_get(info, "failureInfo");
	if (failure)
		parse_failure(failure, ret);
	const char *result = adafs_json_str(info, "result", "");
	/* Older api-versions leave `result` out: then the exit code and no failure decide. */
	ret->success = strcasecmp(result, "success") == 0 ||
		       (!*result && !failure && ret->has_exit_code && ret->exit_code == 0);
	copy_text(ret->node, sizeof(ret->node),
		  adafs_json_str(adafs_json_get(item, "nodeInfo"), "nodeId", ""));
	return 0;
}

void derive_job_parse(const cJSON *job, struct derive_job *ret)
{
	const char *state = adafs_json_str(job, "state", "");
	const cJSON *info = adafs_json_get(job, "executionInfo");
	const cJSON *error = adafs_json_get(info, "schedulingError");
	/*
	 * While it is terminating, its running tasks still have to end; one that is being deleted
	 * has not ended but will be gone.
	 */
	ret->ended = strcasecmp(state, "completed") == 0;
	ret->held = strcasecmp(state, "disabled") == 0 || strcasecmp(state, "disabling") == 0;
	copy_text(ret->reason, sizeof(ret->reason), adafs_json_str(info, "terminateReason", ""));
	copy_text(ret->scheduling_error, sizeof(ret->scheduling_error),
		  adafs_json_str(error, "message", ""));
}

bool derive_job_cancelled(const struct derive_job *job)
{
	return job->cancel || strcmp(job->reason, DERIVE_CANCEL_REASON) == 0;
}

bool derive_ended(enum adafs_state s)
{
	return s != ADAFS_STATE_WAITING && s != ADAFS_STATE_QUEUED && s != ADAFS_STATE_RUNNING;
}

bool derive_time_limit(const struct derive_task *t)
{
	return strstr(t->failure_detail, "maximum execution time") != NULL;
}

static bool deps_ended(const struct foreman_job *j, const struct foreman_step *s)
{
	for (size_t i = 0; i < s->n_dep; i++)
		if (!derive_ended(j->step[s->dep[i]].state))
			return false;
	return true;
}

static enum adafs_state completed_state(const struct derive_task *t)
{
	if (t->success)
		return ADAFS_STATE_COMPLETED;
	/* A failure other than the exit code (upload, download) outranks what the code says. */
	bool by_exit = !*t->failure_code || strcasecmp(t->failure_code, "FailureExitCode") == 0;
	if (t->has_exit_code && by_exit && t->exit_code == ADAFS_EXIT_EMPTY)
		return ADAFS_STATE_EMPTY;
	if (t->has_exit_code && by_exit && t->exit_code == ADAFS_EXIT_SKIPPED)
		return ADAFS_STATE_SKIPPED;
	if (strcasecmp(t->failure_code, "TaskEnded") == 0 && !derive_time_limit(t))
		return ADAFS_STATE_CANCELLED;
	return ADAFS_STATE_FAILED;
}

static enum adafs_state step_state(const struct foreman_job *j, const struct foreman_step *s,
				   const struct derive_task *t, const struct derive_job *job)
{
	if (t && t->state == DERIVE_TASK_COMPLETED)
		return completed_state(t);
	if (t && t->state != DERIVE_TASK_ACTIVE && !job->ended)
		return ADAFS_STATE_RUNNING;
	if (job->ended)
		return ADAFS_STATE_CANCELLED;
	/* Its leaves, or the merge where there are none, wait for steps of other jobs. */
	if (job->n_awaited && s->merge && !s->n_dep)
		return ADAFS_STATE_WAITING;
	return deps_ended(j, s) ? ADAFS_STATE_QUEUED : ADAFS_STATE_WAITING;
}

static const struct derive_task *find_task(const struct derive_task *tasks, size_t n,
					   const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(tasks[i].id, id) == 0)
			return &tasks[i];
	return NULL;
}

/* One line of the log that is due: collected first, since steps end in another order than they are
 * listed. */
struct log_line {
	int64_t when_us;
	const struct foreman_step *step;
	bool start;
};

static bool update_step(struct foreman_job *j, struct foreman_step *s, const struct derive_task *t,
			const struct derive_job *job, struct log_line *lines, size_t *n_lines)
{
	enum adafs_state before = s->state;
	bool changed = false;
	s->state = step_state(j, s, t, job);
	if (before == ADAFS_STATE_RUNNING && s->state == ADAFS_STATE_QUEUED)
		s->n_taken++;
	if (t && t->requeues > s->n_taken)
		s->n_taken = t->requeues;
	struct adafs_buf text = ADAFS_BUF_INIT(2048);
	bool bad = s->state == ADAFS_STATE_FAILED;
	if (t && (bad || s->state == ADAFS_STATE_EMPTY || s->state == ADAFS_STATE_SKIPPED))
		derive_failure_text(s, t, &text);
	changed |= foreman_text_set(&s->failure, adafs_buf_str(&text));
	adafs_buf_clear(&text);

	int64_t started = t && t->state != DERIVE_TASK_ACTIVE ? t->started_us : 0;
	if (started && started != s->started_us)
		lines[(*n_lines)++] = (struct log_line){ started, s, true };
	int64_t finished = t && t->state == DERIVE_TASK_COMPLETED ? t->finished_us : 0;
	int64_t when = t && t->changed_us ? t->changed_us : s->changed_us;
	if (finished)
		when = finished;
	else if (s->state == ADAFS_STATE_RUNNING && started)
		when = started;
	if (s->state != before && derive_ended(s->state))
		lines[(*n_lines)++] = (struct log_line){ when, s, false };

	/* Without a task of its own that ran, the time of change is the service's, and an older one
	 * stays. */
	bool running = s->state == ADAFS_STATE_RUNNING;
	bool has_exit = t && t->state == DERIVE_TASK_COMPLETED && t->has_exit_code;
	int code = has_exit ? t->exit_code : 0;
	changed |= s->state != before || s->started_us != started || s->finished_us != finished ||
		   s->task_running != running || s->has_exit_code != has_exit ||
		   s->exit_code != code || s->changed_us != when;
	s->started_us = started;
	s->finished_us = finished;
	s->changed_us = when;
	s->task_running = running;
	s->has_exit_code = has_exit;
	s->exit_code = code;
	changed |= foreman_text_set(&s->node, t ? t->node : "");
	return changed;
}

static int by_time(const void *a, const void *b)
{
	const struct log_line *x = a, *y = b;
	if (x->when_us != y->when_us)
		return x->when_us < y->when_us ? -1 : 1;
	if (x->step->number != y->step->number)
		return x->step->number < y->step->number ? -1 : 1;
	return (int)y->start - (int)x->start;
}

static void write_log(struct foreman_job *j, struct log_line *lines, size_t n)
{
	qsort(lines, n, sizeof(*lines), by_time);
	for (size_t i = 0; i < n; i++) {
		const struct foreman_step *s = lines[i].step;
		if (lines[i].start)
			foreman_job_log(j, lines[i].when_us, "%s started on %s", s->task_id,
					*s->node ? s->node : "a node");
		else if (s->state == ADAFS_STATE_COMPLETED)
			foreman_job_log(j, lines[i].when_us, "%s completed", s->task_id);
		else
			foreman_job_log(j, lines[i].when_us, "%s %s: %s", s->task_id,
					adafs_state_name(s->state), s->waiting_for);
	}
}

bool derive_steps(struct foreman_job *j, const struct derive_task *tasks, size_t n,
		  const struct derive_job *job, const struct derive_pool *pool)
{
	bool changed = false;
	size_t n_lines = 0;
	ADAFS_FREE struct log_line *lines = calloc(2 * j->n_steps + 1, sizeof(*lines));
	if (!lines)
		return false;
	/* Steps come after what they depend on, so one pass is enough. */
	for (size_t i = 0; i < j->n_steps; i++) {
		struct foreman_step *s = &j->step[i];
		if (s->reused)
			continue;
		const struct derive_task *t = find_task(tasks, n, s->task_id);
		if (!t && job->partial && (s->task_running || derive_ended(s->state)))
			continue;
		changed |= update_step(j, s, t, job, lines, &n_lines);
		struct adafs_buf text = ADAFS_BUF_INIT(8192);
		derive_step_text(j, s, t, job, pool, &text);
		changed |= foreman_text_set(&s->waiting_for, adafs_buf_str(&text));
		adafs_buf_clear(&text);
	}
	write_log(j, lines, n_lines);
	if (changed)
		j->dirty = true;
	return changed;
}

bool derive_all_ended(const struct foreman_job *j)
{
	for (size_t i = 0; i < j->n_steps; i++)
		if (!derive_ended(j->step[i].state))
			return false;
	return true;
}

const struct foreman_step *derive_first_in(const struct foreman_job *j, enum adafs_state state)
{
	for (size_t i = 0; i < j->n_steps; i++)
		if (j->step[i].state == state)
			return &j->step[i];
	return NULL;
}

/* Empty counts for the image's own steps: the merge finds nothing only when other images did not
 * either. */
static bool any_empty(const struct foreman_job *j)
{
	for (size_t i = 0; i < j->n_steps; i++)
		if (j->step[i].state == ADAFS_STATE_EMPTY && !j->step[i].merge)
			return true;
	return false;
}

enum adafs_state derive_job_state(const struct foreman_job *j, const struct derive_job *job)
{
	if (!derive_all_ended(j) || !j->n_steps) {
		for (size_t i = 0; i < j->n_steps; i++)
			if (derive_ended(j->step[i].state) ||
			    j->step[i].state == ADAFS_STATE_RUNNING)
				return ADAFS_STATE_RUNNING;
		return ADAFS_STATE_QUEUED;
	}
	bool cut = derive_first_in(j, ADAFS_STATE_CANCELLED) != NULL;
	if (cut && derive_job_cancelled(job))
		return ADAFS_STATE_CANCELLED;
	if (derive_first_in(j, ADAFS_STATE_FAILED))
		return ADAFS_STATE_FAILED;
	if (cut && strcmp(job->reason, "MaxWallClockTimeExpiry") == 0)
		return ADAFS_STATE_FAILED;
	if (cut)
		return ADAFS_STATE_CANCELLED;
	if (any_empty(j))
		return ADAFS_STATE_EMPTY;
	/* Skipped with nothing empty or failed before it: an input vanished under the job. */
	if (derive_first_in(j, ADAFS_STATE_SKIPPED))
		return ADAFS_STATE_FAILED;
	return ADAFS_STATE_COMPLETED;
}
