/* fs/tree/ctl.c - jobs/<id>/ctl: a verb a write; reading lists the verbs that are legal now. */
#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "fs/tree/jobs.h"

/* How long a write waits to see what the service has accepted already. */
#define SEEN_MS 10000
#define LOOK_MS 20

static bool has_ended(const struct adafs_job_view *job)
{
	return job->state != ADAFS_STATE_QUEUED && job->state != ADAFS_STATE_RUNNING &&
	       job->state != ADAFS_STATE_WAITING;
}

static int ctl_text(struct call *c, struct node *n, struct adafs_buf *ret, time_t *ret_mtime)
{
	JOB_LOOK l = { 0 };

	(void)c;
	int rc = job_look(n, &l);
	if (rc < 0)
		return rc;
	*ret_mtime = job_mtime(&l);
	return has_ended(l.job) ? 0 : adafs_buf_adds(ret, "cancel\n");
}

/* The next command of a script finds the job ended: wait until the view shows it. */
static void wait_ended(struct node *n)
{
	const struct timespec nap = { .tv_nsec = LOOK_MS * 1000000L };
	uint64_t deadline_ms = adafs_clock_mono_ms() + SEEN_MS;

	while (adafs_clock_mono_ms() < deadline_ms) {
		JOB_LOOK l = { 0 };
		if (job_look(n, &l) < 0 || has_ended(l.job))
			return;
		adafs_foreman_nudge(n->fs->foreman);
		nanosleep(&nap, NULL);
	}
}

static int ctl_command(struct call *c, struct node *n, const char *command)
{
	struct adafs_err err = { 0 };
	JOB_LOOK l = { 0 };
	int rc = job_look(n, &l);

	if (rc < 0)
		return rc;
	if (strcmp(command, "cancel") != 0)
		return -EINVAL;
	if (has_ended(l.job))
		return -EBUSY;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	rc = adafs_foreman_cancel(n->fs->foreman, l.job->id, &err);
	if (rc < 0)
		adafs_log(WARN, "fs", "cancel of job '%s' failed: %s", l.job->id, err.msg);
	else
		wait_ended(n);
	return rc;
}

const struct synth_text job_ctl_kind = {
	.node = SYNTH_TEXT_OPS("ctl", EPERM, job_at_free),
	.text = ctl_text,
	.command = ctl_command,
};
