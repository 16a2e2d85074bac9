/*
 * fs/tree/jobs.c - from a node of jobs/ to its job and step in the newest view. Any thread; a look
 * holds its view.
 */
#include "fs/tree/jobs.h"

#include <errno.h>
#include <string.h>

#include "fs/tree/tree.h"

struct job_at *job_at_new(const char *job, unsigned step, const void *what)
{
	struct job_at *at = calloc(1, sizeof(*at));

	if (!at)
		return NULL;
	at->job = strdup(job);
	at->step = step;
	at->what = what;
	if (!at->job) {
		free(at);
		return NULL;
	}
	return at;
}

void job_at_free(void *data)
{
	struct job_at *at = data;

	if (!at)
		return;
	free(at->job);
	free(at);
}

int job_look(const struct node *n, struct job_look *ret)
{
	const struct job_at *at = n->data;
	struct job_look l = { .view = adafs_foreman_view(n->fs->foreman) };

	l.job = adafs_view_job(l.view, at->job);
	for (size_t i = 0; l.job && at->step && i < l.job->n_steps; i++)
		if (l.job->steps[i].place == at->step)
			l.step = &l.job->steps[i];
	if (!l.job || (at->step && !l.step)) {
		adafs_view_unref(l.view);
		return -ENOENT;
	}
	*ret = l;
	return 0;
}

void job_look_clear(struct job_look *l)
{
	if (l->view)
		adafs_view_unref(l->view);
	*l = (struct job_look){ 0 };
}

uint64_t job_ino(const char *job, const struct adafs_step_view *step, const char *name)
{
	char text[512];

	if (step)
		snprintf(text, sizeof(text), "jobs/%s/steps/%u/%s", job, step->place, name);
	else
		snprintf(text, sizeof(text), "jobs/%s/%s", job, name);
	return node_ino(text);
}

time_t job_mtime(const struct job_look *l)
{
	int64_t us = l->step ? l->step->changed_us : l->job->changed_us;

	/* A step that nothing has happened to is as old as its job. */
	if (us <= 0)
		us = l->job->created_us;
	return (time_t)(us / 1000000);
}

/* --- image -------------------------------------------------------------------------------- */

/* A link's name in a directory of several: the role, numbered from 1 if it holds many images. */
static void link_name(const struct adafs_job_view *job, size_t index, char *out, size_t size)
{
	size_t same = 0, before = 0;

	for (size_t i = 0; i < job->n_images; i++) {
		if (strcmp(job->roles[i], job->roles[index]) != 0)
			continue;
		same++;
		before += i < index;
	}
	if (same == 1)
		snprintf(out, size, "%s", job->roles[index]);
	else
		snprintf(out, size, "%s-%zu", job->roles[index], before + 1);
}

/* The link's target: `name` in image/, or the only image for jobs/<id>/image itself. */
static int link_target(const struct node *n, const struct adafs_job_view *job,
		       struct adafs_buf *ret)
{
	char name[256];

	if (job->n_images == 1)
		return adafs_buf_addf(ret, "../../containers/%s/%s", n->fs->container,
				      job->images[0]);
	for (size_t i = 0; i < job->n_images; i++) {
		link_name(job, i, name, sizeof(name));
		if (strcmp(name, n->name) == 0)
			return adafs_buf_addf(ret, "../../../containers/%s/%s", n->fs->container,
					      job->images[i]);
	}
	return -ENOENT;
}

static int link_readlink(struct call *c, struct node *n, struct adafs_buf *ret)
{
	JOB_LOOK l = { 0 };
	int rc = job_look(n, &l);

	(void)c;
	return rc < 0 ? rc : link_target(n, l.job, ret);
}

static int link_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
			double *ret_timeout_s)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf target = ADAFS_BUF_INIT(8192);
	JOB_LOOK l = { 0 };
	int rc = job_look(n, &l);

	(void)c;
	(void)h;
	if (rc == 0)
		rc = link_target(n, l.job, &target);
	if (rc < 0)
		return rc;
	node_stat(n, S_IFLNK | 0777, (int64_t)target.len, (time_t)(l.job->created_us / 1000000),
		  ret);
	*ret_timeout_s = 0;
	return 0;
}

static const struct node_ops link_ops = {
	.kind = "job image",
	.readonly_errno = EPERM,
	.getattr = link_getattr,
	.readlink = link_readlink,
	.free_data = job_at_free,
};

static int images_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	ADAFS_FREE char *path = adafs_fmt("image/%s", name);
	JOB_LOOK l = { 0 };
	int rc = job_look(dir, &l);

	if (rc < 0)
		return rc;
	struct job_at *at = job_at_new(l.job->id, 0, NULL);
	if (!path || !at) {
		job_at_free(at);
		return -ENOMEM;
	}
	return synth_child(
		c, node_get(dir->fs, dir, name, "", &link_ops, job_ino(l.job->id, NULL, path), at),
		ret);
}

static int images_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	char name[256];
	JOB_LOOK l = { 0 };
	int rc = job_look(dir, &l);

	(void)c;
	for (size_t i = 0; rc == 0 && i < l.job->n_images; i++) {
		link_name(l.job, i, name, sizeof(name));
		ADAFS_FREE char *path = adafs_fmt("image/%s", name);
		rc = path ? dirlist_add(ret, name, job_ino(l.job->id, NULL, path), S_IFLNK, NULL)
			  : -ENOMEM;
	}
	return rc;
}

int job_dir_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
		    double *ret_timeout_s)
{
	JOB_LOOK l = { 0 };
	int rc = job_look(n, &l);

	(void)c;
	(void)h;
	return rc < 0 ? rc : synth_dir_stat(n, job_mtime(&l), ret, ret_timeout_s);
}

static const struct node_ops images_ops = {
	.kind = "job images",
	.readonly_errno = EPERM,
	.lookup = images_lookup,
	.list = images_list,
	.getattr = job_dir_getattr,
	.free_data = job_at_free,
};

/* A link for a job of one image, a directory of links for more. */
static struct node *image_node(struct node *dir, const struct adafs_job_view *job)
{
	struct job_at *at = job_at_new(job->id, 0, NULL);

	return at ? node_get(dir->fs, dir, "image", job->n_images == 1 ? "link" : "dir",
			     job->n_images == 1 ? &link_ops : &images_ops,
			     job_ino(job->id, NULL, "image"), at)
		  : NULL;
}

/* --- jobs/<id> ---------------------------------------------------------------------------- */

static int job_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	JOB_LOOK l = { 0 };
	int rc = job_look(dir, &l);

	if (rc < 0)
		return rc;
	if (strcmp(name, "steps") == 0)
		return synth_child(c, steps_dir(dir, l.job->id), ret);
	if (strcmp(name, "image") == 0 && l.job->n_images > 0)
		return synth_child(c, image_node(dir, l.job), ret);
	struct node *file = job_file_node(dir, name, &l);
	return file ? synth_child(c, file, ret) : -errno;
}

static int job_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	JOB_LOOK l = { 0 };
	int rc = job_look(dir, &l);

	(void)c;
	adafs_foreman_nudge(dir->fs->foreman);
	for (size_t i = 0; rc == 0 && job_file_name(false, i); i++)
		rc = dirlist_add(ret, job_file_name(false, i),
				 job_ino(l.job->id, NULL, job_file_name(false, i)), S_IFREG, NULL);
	if (rc == 0 && l.job->n_images > 0)
		rc = dirlist_add(ret, "image", job_ino(l.job->id, NULL, "image"),
				 l.job->n_images == 1 ? S_IFLNK : S_IFDIR, NULL);
	if (rc == 0)
		rc = dirlist_add(ret, "steps", job_ino(l.job->id, NULL, "steps"), S_IFDIR, NULL);
	return rc;
}

static const struct node_ops job_ops = {
	.kind = "job",
	.readonly_errno = EPERM,
	.lookup = job_lookup,
	.list = job_list,
	.getattr = job_dir_getattr,
	.free_data = job_at_free,
};

/* --- jobs --------------------------------------------------------------------------------- */

static int jobs_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	struct adafs_view *view = adafs_foreman_view(dir->fs->foreman);
	bool known = adafs_view_job(view, name) != NULL;

	adafs_view_unref(view);
	/* Another mount may have made it. */
	if (!known) {
		adafs_foreman_nudge(dir->fs->foreman);
		return -ENOENT;
	}
	struct job_at *at = job_at_new(name, 0, NULL);
	if (!at)
		return -ENOMEM;
	return synth_child(
		c, node_get(dir->fs, dir, name, "", &job_ops, job_ino(name, NULL, ""), at), ret);
}

static int jobs_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	struct adafs_view *view = adafs_foreman_view(dir->fs->foreman);
	int rc = 0;

	(void)c;
	adafs_foreman_nudge(dir->fs->foreman);
	for (size_t i = 0; rc == 0 && i < view->n_jobs; i++)
		rc = dirlist_add(ret, view->jobs[i].id, job_ino(view->jobs[i].id, NULL, ""),
				 S_IFDIR, NULL);
	adafs_view_unref(view);
	return rc;
}

static int jobs_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
			double *ret_timeout_s)
{
	struct adafs_view *view = adafs_foreman_view(n->fs->foreman);
	int64_t newest_us = 0;

	(void)c;
	(void)h;
	for (size_t i = 0; i < view->n_jobs; i++)
		if (view->jobs[i].changed_us > newest_us)
			newest_us = view->jobs[i].changed_us;
	adafs_view_unref(view);
	return synth_dir_stat(n, (time_t)(newest_us / 1000000), ret, ret_timeout_s);
}

static const struct node_ops jobs_ops = {
	.kind = "jobs",
	.readonly_errno = EPERM,
	.lookup = jobs_lookup,
	.list = jobs_list,
	.getattr = jobs_getattr,
};

struct node *jobs_root(struct fs *fs, struct node *root)
{
	return node_get(fs, root, "jobs", "", &jobs_ops, node_ino("jobs"), NULL);
}
