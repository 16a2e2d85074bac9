/*
 * fs/tree/jobs.h - what the files of jobs/ share: where a node stands in the foreman's view.
 *
 * Nodes hold names only (job id, place of the step); each call looks them up in the newest view,
 * which is immutable. Nothing here waits for a service but the logs and ctl.
 */
#ifndef ADAFS_FS_TREE_JOBS_H
#define ADAFS_FS_TREE_JOBS_H

#include "fs/tree/synth.h"

/* The data of every node below jobs/. */
struct job_at {
	char *job;
	unsigned step;    /* its place; 0: the job itself */
	const void *what; /* which file; static */
};
/* NULL: out of memory. */
struct job_at *job_at_new(const char *job, unsigned step, const void *what);
void job_at_free(void *at);

/* A node's place in the newest view, held until job_look_clear. */
struct job_look {
	struct adafs_view *view;
	const struct adafs_job_view *job;
	const struct adafs_step_view *step; /* NULL: the job itself */
};
#define JOB_LOOK ADAFS_CLEANUP(job_look_clear) struct job_look
/* 0, or -ENOENT: the job or the step is gone. */
int job_look(const struct node *n, struct job_look *ret);
void job_look_clear(struct job_look *l);

/*
 * Stable numbers: the same for all aliases of a step's directory. name "" is the directory itself.
 */
uint64_t job_ino(const char *job, const struct adafs_step_view *step, const char *name);
time_t job_mtime(const struct job_look *l);
/* getattr of a directory of a job: it is there as long as its job is in the view. */
int job_dir_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
		    double *ret_timeout_s);

/* steps.c: jobs/<id>/steps. */
struct node *steps_dir(struct node *job_dir, const char *job);

/* stepfiles.c: one value a file. */
struct job_file;
/* The files of a job (step false) or a step; ends with a NULL name. */
const char *job_file_name(bool step, size_t i);
/* A file of a job's or a step's directory, or NULL with errno ENOENT or ENOMEM. */
struct node *job_file_node(struct node *dir, const char *name, const struct job_look *at);

/* logs.c: stdout.txt and stderr.txt of a step. */
struct node *log_node(struct node *step_dir, const char *name, const struct job_look *at);

/* ctl.c: what a job can be told. */
extern const struct synth_text job_ctl_kind;

#endif
