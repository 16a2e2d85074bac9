/*
 * fs/tree/steps.c - jobs/<id>/steps. A step's directory is listed under "NN-name.state" and found
 * under "name", "NN-name" and either with any state's suffix: an `ls` followed by a `cat` never
 * loses a race with a change. Each spelling is a node of its own; all have the same st_ino.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/tree/jobs.h"

static bool is_state(const char *text)
{
	for (int s = ADAFS_STATE_WAITING; s <= ADAFS_STATE_EMPTY; s++)
		if (strcmp(adafs_state_name((enum adafs_state)s), text) == 0)
			return true;
	return false;
}

/* Whether a name stands for the step. */
static bool spells(const char *name, const struct adafs_step_view *step)
{
	char number[16];
	int n = snprintf(number, sizeof(number), "%02u-", step->number);
	size_t len = strlen(step->name);

	for (int numbered = 0; numbered <= 1; numbered++) {
		const char *p = name;
		if (numbered) {
			if (strncmp(p, number, (size_t)n) != 0)
				continue;
			p += n;
		}
		if (strncmp(p, step->name, len) != 0)
			continue;
		p += len;
		if (*p == '\0' || (*p == '.' && is_state(p + 1)))
			return true;
	}
	return false;
}

static int step_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	JOB_LOOK l = { 0 };
	int rc = job_look(dir, &l);

	if (rc < 0)
		return rc;
	struct node *file = strcmp(name, "stdout.txt") == 0 || strcmp(name, "stderr.txt") == 0
				    ? log_node(dir, name, &l)
				    : job_file_node(dir, name, &l);
	return file ? synth_child(c, file, ret) : -errno;
}

static int step_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	static const char *const logs[] = { "stdout.txt", "stderr.txt" };
	JOB_LOOK l = { 0 };
	int rc = job_look(dir, &l);

	(void)c;
	for (size_t i = 0; rc == 0 && job_file_name(true, i); i++)
		rc = dirlist_add(ret, job_file_name(true, i),
				 job_ino(l.job->id, l.step, job_file_name(true, i)), S_IFREG, NULL);
	for (size_t i = 0; rc == 0 && i < ADAFS_ARRAY_SIZE(logs); i++)
		rc = dirlist_add(ret, logs[i], job_ino(l.job->id, l.step, logs[i]), S_IFREG, NULL);
	return rc;
}

static const struct node_ops step_ops = {
	.kind = "step",
	.readonly_errno = EPERM,
	.lookup = step_lookup,
	.list = step_list,
	.getattr = job_dir_getattr,
	.free_data = job_at_free,
};

static int steps_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	JOB_LOOK l = { 0 };
	int rc = job_look(dir, &l);

	for (size_t i = 0; rc == 0 && i < l.job->n_steps; i++) {
		const struct adafs_step_view *step = &l.job->steps[i];
		if (!spells(name, step))
			continue;
		struct job_at *at = job_at_new(l.job->id, step->place, NULL);
		if (!at)
			return -ENOMEM;
		return synth_child(c,
				   node_get(dir->fs, dir, name, "", &step_ops,
					    job_ino(l.job->id, step, ""), at),
				   ret);
	}
	return rc < 0 ? rc : -ENOENT;
}

static int steps_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	JOB_LOOK l = { 0 };
	int rc = job_look(dir, &l);

	(void)c;
	adafs_foreman_nudge(dir->fs->foreman);
	/* The steps of a job that ended long ago are read from its manifest when somebody looks. */
	if (rc == 0 && l.job->n_steps == 0)
		adafs_foreman_want(dir->fs->foreman, l.job->id);
	for (size_t i = 0; rc == 0 && i < l.job->n_steps; i++) {
		const struct adafs_step_view *step = &l.job->steps[i];
		ADAFS_FREE char *name = adafs_fmt("%02u-%s.%s", step->number, step->name,
						  adafs_state_name(step->state));
		rc = name ? dirlist_add(ret, name, job_ino(l.job->id, step, ""), S_IFDIR, NULL)
			  : -ENOMEM;
	}
	return rc;
}

static int steps_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
			 double *ret_timeout_s)
{
	JOB_LOOK l = { 0 };
	int rc = job_look(n, &l);

	(void)c;
	(void)h;
	if (rc < 0)
		return rc;
	int64_t newest_us = l.job->created_us;
	for (size_t i = 0; i < l.job->n_steps; i++)
		if (l.job->steps[i].changed_us > newest_us)
			newest_us = l.job->steps[i].changed_us;
	return synth_dir_stat(n, (time_t)(newest_us / 1000000), ret, ret_timeout_s);
}

static const struct node_ops steps_ops = {
	.kind = "steps",
	.readonly_errno = EPERM,
	.lookup = steps_lookup,
	.list = steps_list,
	.getattr = steps_getattr,
	.free_data = job_at_free,
};

struct node *steps_dir(struct node *job_dir, const char *job)
{
	struct job_at *at = job_at_new(job, 0, NULL);

	if (!at)
		return NULL;
	return node_get(job_dir->fs, job_dir, "steps", "", &steps_ops, job_ino(job, NULL, "steps"),
			at);
}
