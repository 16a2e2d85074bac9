/*
 * emulator/batch/api/view.h - how the views of view.c, view_pool.c and view_stats.c are put
 * together: each helper adds a member if the request selects it.
 */
#ifndef ADAFS_EMULATOR_BATCH_VIEW_H
#define ADAFS_EMULATOR_BATCH_VIEW_H

#include "batch/emulator/batch/api/api.h"

struct view {
	struct api *a;
	cJSON *out;
	const char *select; /* NULL: everything */
};

/* Takes item. */
void view_add(struct view *v, const char *name, cJSON *item);
/* NULL: left out. */
void view_add_text(struct view *v, const char *name, const char *text);
/* 0: left out. */
void view_add_time(struct view *v, const char *name, int64_t us);
void view_add_number(struct view *v, const char *name, int64_t n);
/* Takes path, the one of the entity. */
void view_add_url(struct view *v, char *path);
/* A part of a spec, without the secrets in it. */
void view_add_part(struct view *v, const char *name, const cJSON *part);
/* Every member of a spec but the id. */
void view_add_spec(struct view *v, const cJSON *spec);
/* What all entities have. */
void view_add_entity(struct view *v, const struct entity *e, const char *(*state_name)(int));
/* A time as a member of an object; 0: left out. */
void view_put_time(cJSON *o, const char *name, int64_t us);

/* The statistics that $expand asks for. */
void view_add_pool_stats(struct view *v, const struct pool *p);
void view_add_job_stats(struct view *v, const struct job *j);
void view_add_task_stats(struct view *v, const struct task *t);

/* How a preparation, release or start task fares; retries: it may have some. */
cJSON *view_own_execution(const struct execution *x, bool retries);
/* executionInfo of a task. */
cJSON *view_task_execution(const struct task *t);

#endif
