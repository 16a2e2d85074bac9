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
	/* While it is terminating, its running tasks still have to end. */
	ret->ended = strcasecmp(state, "completed") == 0 || strcasecmp(state, "deleting") == 0;
	copy_text(ret->reason, sizeof(ret->reason), adafs_json_str(info, "terminateReason", ""));
	copy_text(ret->scheduling_error, sizeof(ret->scheduling_error),
		  adafs_json_str(error, "message", ""));
}

bool derive_job_cancelled(const struct derive_job *job)
{
	return job->cancel || strcmp(job->reason, DERIVE_CANCEL_REASON) == 0;
}

static bool ended(enum adafs_state s)
{
	return s != ADAFS_STATE_WAITING && s != ADAFS_STATE_QUEUED && s != ADAFS_STATE_RUNNING;
}

static bool deps_ended(const struct foreman_job *j, const struct foreman_step *s)
{
	for (size_t i = 0; i < s->n_dep; i++)
		if (!ended(j->step[s->dep[i]].state))
			return false;
	return true;
}

static bool time_limit(const struct derive_task *t)
{
	return strstr(t->failure_detail, "maximum execution time") != NULL;
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
	if (strcasecmp(t->failure_code, "TaskEnded") == 0 && !time_limit(t))
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
	return deps_ended(j, s) ? ADAFS_STATE_QUEUED : ADAFS_STATE_WAITING;
}

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
	return !ended(s);
}

static bool gave_nothing(enum adafs_state s)
{
	return ended(s) && s != ADAFS_STATE_COMPLETED;
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
	else
		adafs_buf_addf(out, "waits for a free slot in pool '%s' behind other tasks",
			       pool->id);
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
static void failure_text(const struct derive_task *t, struct adafs_buf *out)
{
	bool by_exit = !*t->failure_code || strcasecmp(t->failure_code, "FailureExitCode") == 0;
	if (time_limit(t)) {
		adafs_buf_adds(out, "the step's time limit was exceeded");
	} else if (by_exit && t->has_exit_code) {
		char text[256];
		explain_exit(t->exit_code, text, sizeof(text));
		adafs_buf_adds(out, text);
	} else {
		const char *meaning = explain_failure_code(t->failure_code);
		adafs_buf_addf(out, "%s: %s", *t->failure_code ? t->failure_code : "failed",
			       meaning ? meaning : t->failure_text);
		if (*t->failure_detail)
			adafs_buf_addf(out, " (%s)", t->failure_detail);
	}
}

static void step_text(const struct foreman_job *j, const struct foreman_step *s,
		      const struct derive_task *t, const struct derive_job *job,
		      const struct derive_pool *pool, struct adafs_buf *out)
{
	switch (s->state) {
	case ADAFS_STATE_WAITING:
		adafs_buf_adds(out, "waits for ");
		name_deps(j, s, not_ended, out);
		break;
	case ADAFS_STATE_QUEUED:
		queued_text(pool, out);
		break;
	case ADAFS_STATE_RUNNING:
		if (t && t->state == DERIVE_TASK_PREPARING)
			adafs_buf_adds(out, "the node prepares itself for the job");
		else
			adafs_buf_addf(out, "runs on node %s", t ? t->node : "");
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
	struct adafs_buf text = ADAFS_BUF_INIT(2048);
	bool bad = s->state == ADAFS_STATE_FAILED;
	if (t && (bad || s->state == ADAFS_STATE_EMPTY || s->state == ADAFS_STATE_SKIPPED))
		failure_text(t, &text);
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
	if (s->state != before && ended(s->state))
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
		const struct derive_task *t = find_task(tasks, n, s->task_id);
		changed |= update_step(j, s, t, job, lines, &n_lines);
		struct adafs_buf text = ADAFS_BUF_INIT(8192);
		step_text(j, s, t, job, pool, &text);
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
		if (!ended(j->step[i].state))
			return false;
	return true;
}

static const struct foreman_step *first_in(const struct foreman_job *j, enum adafs_state state)
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
	if (!derive_all_ended(j)) {
		for (size_t i = 0; i < j->n_steps; i++)
			if (ended(j->step[i].state) || j->step[i].state == ADAFS_STATE_RUNNING)
				return ADAFS_STATE_RUNNING;
		return ADAFS_STATE_QUEUED;
	}
	bool cut = first_in(j, ADAFS_STATE_CANCELLED) != NULL;
	if (cut && derive_job_cancelled(job))
		return ADAFS_STATE_CANCELLED;
	if (first_in(j, ADAFS_STATE_FAILED))
		return ADAFS_STATE_FAILED;
	if (cut && strcmp(job->reason, "MaxWallClockTimeExpiry") == 0)
		return ADAFS_STATE_FAILED;
	if (cut)
		return ADAFS_STATE_CANCELLED;
	if (any_empty(j))
		return ADAFS_STATE_EMPTY;
	/* Skipped with nothing empty or failed before it: an input vanished under the job. */
	if (first_in(j, ADAFS_STATE_SKIPPED))
		return ADAFS_STATE_FAILED;
	return ADAFS_STATE_COMPLETED;
}

static void running_sentence(const struct foreman_job *j, struct adafs_buf *out)
{
	size_t n = 0, done = 0;
	adafs_buf_adds(out, "running: ");
	for (size_t i = 0; i < j->n_steps; i++) {
		done += ended(j->step[i].state);
		if (j->step[i].state == ADAFS_STATE_RUNNING)
			adafs_buf_addf(out, "%s%s", n++ ? ", " : "", j->step[i].task_id);
	}
	const struct foreman_step *queued = first_in(j, ADAFS_STATE_QUEUED);
	if (!n && queued)
		adafs_buf_addf(out, "%s %s", queued->task_id, queued->waiting_for);
	adafs_buf_addf(out, " (%zu of %zu steps ended)", done, j->n_steps);
}

static void failed_sentence(const struct foreman_job *j, const struct derive_job *job,
			    struct adafs_buf *out)
{
	const struct foreman_step *s = first_in(j, ADAFS_STATE_FAILED);
	if (!s)
		s = first_in(j, ADAFS_STATE_SKIPPED);
	if (strcmp(job->reason, "MaxWallClockTimeExpiry") == 0)
		adafs_buf_adds(out, "failed: the job ran over its time limit");
	else if (s)
		adafs_buf_addf(out, "%s %s; read stderr.txt of that step", s->task_id,
			       s->waiting_for);
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
		if (*job->scheduling_error)
			adafs_buf_addf(&out, "cannot be scheduled: %s", job->scheduling_error);
		else
			queued_text(pool, &out);
		break;
	case ADAFS_STATE_RUNNING:
		running_sentence(j, &out);
		break;
	case ADAFS_STATE_FAILED:
		failed_sentence(j, job, &out);
		break;
	case ADAFS_STATE_EMPTY:
		s = first_in(j, ADAFS_STATE_EMPTY);
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
