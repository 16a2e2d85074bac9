/* fs/tree/stepfiles.c - the small files of a job and of a step: one value each, from the view. */
#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"
#include "fs/tree/jobs.h"

struct job_file {
	const char *name;
	int (*text)(const struct job_look *l, struct adafs_buf *ret);
};

/* A value and the end of its line; nothing yet is an empty file. */
static int line(struct adafs_buf *b, const char *text)
{
	return *text ? adafs_buf_addf(b, "%s\n", text) : 0;
}

static int time_line(struct adafs_buf *b, int64_t wall_us)
{
	char text[ADAFS_ISO8601_LEN];

	if (wall_us <= 0)
		return 0;
	adafs_clock_iso8601_seconds(wall_us, text);
	return line(b, text);
}

static int state_text(const struct job_look *l, struct adafs_buf *ret)
{
	return line(ret, adafs_state_name(l->step ? l->step->state : l->job->state));
}

/* While Batch does not answer, what is known of a job that goes on there is only the last that was.
 */
static int waiting_for_text(const struct job_look *l, struct adafs_buf *ret)
{
	bool goes_on = l->job->state == ADAFS_STATE_QUEUED || l->job->state == ADAFS_STATE_RUNNING;

	if (!l->step && goes_on && l->job->submitted && *l->view->batch_trouble)
		return adafs_buf_addf(ret, "%s (last known: %s)\n", l->view->batch_trouble,
				      l->job->waiting_for);
	return line(ret, l->step ? l->step->waiting_for : l->job->waiting_for);
}

static int events_text(const struct job_look *l, struct adafs_buf *ret)
{
	return adafs_buf_adds(ret, l->job->events);
}

static int command_text(const struct job_look *l, struct adafs_buf *ret)
{
	return line(ret, l->step->command);
}

static int exit_code_text(const struct job_look *l, struct adafs_buf *ret)
{
	return l->step->has_exit_code ? adafs_buf_addf(ret, "%d\n", l->step->exit_code) : 0;
}

static int started_text(const struct job_look *l, struct adafs_buf *ret)
{
	return time_line(ret, l->step->started_us);
}

static int finished_text(const struct job_look *l, struct adafs_buf *ret)
{
	return time_line(ret, l->step->finished_us);
}

static int node_text(const struct job_look *l, struct adafs_buf *ret)
{
	return line(ret, l->step->node);
}

static int failure_text(const struct job_look *l, struct adafs_buf *ret)
{
	return line(ret, l->step->failure);
}

static int depends_on_text(const struct job_look *l, struct adafs_buf *ret)
{
	const char *text = l->step->depends_on;
	size_t len = strlen(text);

	/* One name a line; the last one gets its end too. */
	return len > 0 && text[len - 1] == '\n' ? adafs_buf_adds(ret, text) : line(ret, text);
}

static const struct job_file job_files[] = {
	{ "state", state_text },
	{ "waiting_for", waiting_for_text },
	{ "events", events_text },
	{ "ctl", NULL },
};

static const struct job_file step_files[] = {
	{ "state", state_text },
	{ "waiting_for", waiting_for_text },
	{ "command", command_text },
	{ "exit_code", exit_code_text },
	{ "started", started_text },
	{ "finished", finished_text },
	{ "node", node_text },
	{ "failure", failure_text },
	{ "depends_on", depends_on_text },
};

const char *job_file_name(bool step, size_t i)
{
	if (step)
		return i < ADAFS_ARRAY_SIZE(step_files) ? step_files[i].name : NULL;
	return i < ADAFS_ARRAY_SIZE(job_files) ? job_files[i].name : NULL;
}

static int file_text(struct call *c, struct node *n, struct adafs_buf *ret, time_t *ret_mtime)
{
	const struct job_at *at = n->data;
	const struct job_file *file = at->what;
	JOB_LOOK l = { 0 };

	(void)c;
	int rc = job_look(n, &l);
	if (rc < 0)
		return rc;
	*ret_mtime = job_mtime(&l);
	return file->text(&l, ret);
}

static const struct synth_text value_kind = {
	.node = SYNTH_TEXT_OPS("value", EPERM, job_at_free),
	.text = file_text,
};

static bool events_ended(struct node *n)
{
	JOB_LOOK l = { 0 };

	return job_look(n, &l) < 0 ||
	       (l.job->state != ADAFS_STATE_QUEUED && l.job->state != ADAFS_STATE_RUNNING);
}

static const struct synth_text events_kind = {
	.node = SYNTH_TEXT_OPS("events", EPERM, job_at_free),
	.text = file_text,
	.growing = true,
	.ended = events_ended,
};

struct node *job_file_node(struct node *dir, const char *name, const struct job_look *l)
{
	const struct job_file *files = l->step ? step_files : job_files;
	size_t n = l->step ? ADAFS_ARRAY_SIZE(step_files) : ADAFS_ARRAY_SIZE(job_files);
	size_t i = 0;

	while (i < n && strcmp(files[i].name, name) != 0)
		i++;
	if (i == n) {
		errno = ENOENT;
		return NULL;
	}
	struct job_at *at = job_at_new(l->job->id, l->step ? l->step->place : 0, &files[i]);
	const struct synth_text *kind = !files[i].text                 ? &job_ctl_kind
					: files[i].text == events_text ? &events_kind
								       : &value_kind;
	struct node *node = at ? node_get(dir->fs, dir, name, "", &kind->node,
					  job_ino(l->job->id, l->step, name), at)
			       : NULL;
	if (!node)
		errno = ENOMEM;
	return node;
}
