/*
 * fs/tree/ctl.c - jobs/<id>/ctl: a verb a write; reading lists the verbs that are legal now. A verb
 * that is not is refused: EINVAL unknown, EBUSY in this state, ENOENT no such step; the log and the
 * job's events say why.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "fs/tree/jobs.h"

/* How long a write waits to see what the service has accepted already. */
#define SEEN_MS 10000
#define LOOK_MS 20
/* How long for the submitter to write a retry or an end down, behind what it is doing. */
#define WRITE_MS 60000

static bool has_ended(const struct adafs_job_view *job)
{
	return job->state != ADAFS_STATE_QUEUED && job->state != ADAFS_STATE_RUNNING &&
	       job->state != ADAFS_STATE_WAITING;
}

/* Whether a retry may find something to run; of one that ended well only another pipeline does. */
static bool may_retry(const struct node *n, const struct adafs_job_view *job)
{
	return job->newest &&
	       (job->state == ADAFS_STATE_FAILED || job->state == ADAFS_STATE_CANCELLED ||
		strcmp(job->digest, adafs_foreman_digest(n->fs->foreman)) != 0);
}

static int ctl_text(struct call *c, struct node *n, struct adafs_buf *ret, time_t *ret_mtime)
{
	JOB_LOOK l = { 0 };

	(void)c;
	int rc = job_look(n, &l);
	if (rc < 0)
		return rc;
	*ret_mtime = job_mtime(&l);
	if (!has_ended(l.job) && l.job->member) /* the others are for the whole event */
		rc = adafs_buf_adds(ret, "cancel\n");
	else if (!has_ended(l.job))
		rc = adafs_buf_addf(ret, "cancel\n%s\npriority N\n",
				    l.job->held ? "release" : "hold");
	else if (may_retry(n, l.job))
		rc = adafs_buf_adds(ret, "retry\n");
	if (rc == 0 && has_ended(l.job) && l.job->newest)
		rc = adafs_buf_adds(ret, "retry STEP\n");
	if (rc == 0 && !l.job->work_removed)
		rc = adafs_buf_adds(ret, "keep DURATION\n");
	return rc < 0 ? rc : adafs_buf_adds(ret, "delete\n");
}

/* The next command of a script finds the job ended, or gone: wait until the view shows it. */
static void wait_seen(struct node *n, bool gone)
{
	const struct timespec nap = { .tv_nsec = LOOK_MS * 1000000L };
	uint64_t deadline_ms = adafs_clock_mono_ms() + SEEN_MS;

	while (adafs_clock_mono_ms() < deadline_ms) {
		JOB_LOOK l = { 0 };
		if (job_look(n, &l) < 0 || (!gone && has_ended(l.job)))
			return;
		adafs_foreman_nudge(n->fs->foreman);
		nanosleep(&nap, NULL);
	}
}

/* The same for what the foreman did itself: a view is a moment away. */
static void wait_generation(struct node *n, uint64_t before)
{
	const struct timespec nap = { .tv_nsec = LOOK_MS * 1000000L };
	uint64_t deadline_ms = adafs_clock_mono_ms() + SEEN_MS;

	while (adafs_clock_mono_ms() < deadline_ms) {
		struct adafs_view *view = adafs_foreman_view(n->fs->foreman);
		bool newer = view->generation > before;
		adafs_view_unref(view);
		if (newer)
			return;
		nanosleep(&nap, NULL);
	}
}

/* A command and its argument, if the first word is the verb; NULL: it is another one. */
static const char *argument(const char *command, const char *verb)
{
	size_t len = strlen(verb);

	if (strncmp(command, verb, len) != 0 || (command[len] && command[len] != ' '))
		return NULL;
	return command + len + strspn(command + len, " ");
}

static int take_priority(struct node *n, const char *job, const char *text, struct adafs_err *err)
{
	char *end;

	errno = 0;
	long value = strtol(text, &end, 10);
	if (end == text || *end || errno || value < -1000 || value > 1000)
		return adafs_err_set(err, -EINVAL, "'%s' is no priority from -1000 to 1000", text);
	return adafs_foreman_priority(n->fs->foreman, job, (int)value, err);
}

static int take_keep(struct node *n, const char *job, const char *text, struct adafs_err *err)
{
	int64_t ms;
	int rc = adafs_keep_parse(text, &ms, err);

	return rc < 0 ? rc : adafs_foreman_keep(n->fs->foreman, job, ms, err);
}

static int do_command(struct node *n, const char *job, const char *command, struct adafs_err *err)
{
	struct adafs_foreman *f = n->fs->foreman;
	const char *arg;

	if (strcmp(command, "cancel") == 0)
		return adafs_foreman_cancel(f, job, err);
	if (strcmp(command, "delete") == 0)
		return adafs_foreman_delete(f, job, WRITE_MS, err);
	if (strcmp(command, "hold") == 0 || strcmp(command, "release") == 0)
		return adafs_foreman_hold(f, job, *command == 'h', err);
	arg = argument(command, "retry");
	if (arg)
		return adafs_foreman_retry(f, job, *arg ? arg : NULL, WRITE_MS, err);
	arg = argument(command, "priority");
	if (arg)
		return take_priority(n, job, arg, err);
	arg = argument(command, "keep");
	if (arg)
		return take_keep(n, job, arg, err);
	return adafs_err_set(err, -EINVAL, "'%.40s' is no verb of a job; reading ctl lists them",
			     command);
}

static int ctl_command(struct call *c, struct node *n, const char *command)
{
	struct adafs_err err = { 0 };
	JOB_LOOK l = { 0 };
	int rc = job_look(n, &l);

	if (rc < 0)
		return rc;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	rc = do_command(n, l.job->id, command, &err);
	if (rc < 0)
		adafs_log(WARN, "fs", "'%.40s' to job '%s' failed: %s", command, l.job->id,
			  err.msg);
	else if (strcmp(command, "cancel") == 0)
		wait_seen(n, false);
	else if (strcmp(command, "delete") == 0)
		wait_seen(n, true);
	else
		wait_generation(n, l.view->generation);
	return rc;
}

const struct synth_text job_ctl_kind = {
	.node = SYNTH_TEXT_OPS("ctl", EPERM, job_at_free),
	.text = ctl_text,
	.command = ctl_command,
};
