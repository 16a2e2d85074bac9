/*
 * foreman/grouping.h - which images of an event make a job: what pending.c, partners.c and
 * unit_jobs.c share. An event is looked at by its images of one pipeline text.
 */
#ifndef ADAFS_FOREMAN_GROUPING_H
#define ADAFS_FOREMAN_GROUPING_H

#include "batch/foreman/internal.h"

/* An event as it is looked at. */
struct foreman_event {
	struct adafs_pipeline *pipeline;
	const char *name;
	bool busy; /* a file of it is being written */
};

/* Its images that were triggered under the pipeline, by name, with their roles. */
struct foreman_members {
	struct foreman_image **image; /* owned list of borrowed records */
	size_t *role;
	size_t n;
};
/* 0 or -ENOMEM. */
int foreman_members_locked(struct adafs_foreman *f, const struct foreman_event *e,
			   struct foreman_members *ret) ADAFS_REQUIRES(&f->lock);
void foreman_members_clear(struct foreman_members *m);
/*
 * When the event will have been quiet for long enough; a moment that has passed: it has been.
 * UINT64_MAX: not known, a file is being written. An unmount waits for nothing.
 */
uint64_t foreman_settled_at_ms(const struct adafs_foreman *f, const struct foreman_event *e,
			       const struct foreman_members *m);
/* Look at images that wait then, if not earlier. */
void foreman_look_at_locked(struct adafs_foreman *f, uint64_t when_ms) ADAFS_REQUIRES(&f->lock);

/* The images of one job-to-be. Borrowed from the table. */
struct foreman_group {
	struct foreman_image **image;
	const size_t *role; /* of each */
	size_t n;
	const char *why;  /* they belong together; "" of one */
	const char *unit; /* its id, "" of images and pairs */
};
/* Give the group its job: the one that is known by its id, or a new one. */
void foreman_assign_locked(struct adafs_foreman *f, struct adafs_pipeline *p, const char *event,
			   const struct foreman_group *g) ADAFS_REQUIRES(&f->lock);
/* The image has no job, for this reason. Whether that is news. */
bool foreman_set_waiting_locked(struct adafs_foreman *f, struct foreman_image *i, const char *text)
	ADAFS_REQUIRES(&f->lock);
/* Whether two jobs are about the same unit of an event. */
bool foreman_same_unit(const struct foreman_job *a, const struct foreman_job *b);

/* --- partners.c: a pipeline of several roles --- */
void foreman_resolve_partners_locked(struct adafs_foreman *f, const struct foreman_event *e,
				     struct foreman_image *self) ADAFS_REQUIRES(&f->lock);
/* --- unit_jobs.c: a pipeline that goes by units; all images of the event at once --- */
void foreman_resolve_unit_locked(struct adafs_foreman *f, const struct foreman_event *e,
				 struct foreman_image *self) ADAFS_REQUIRES(&f->lock);

#endif
