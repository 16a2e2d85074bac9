/*
 * emulator/batch/batch_service.c - the life of the service: open, serve, stop; and the one place
 * where changes are committed. HTTP threads, runners, the scheduler and the janitor enter, all
 * under the service's lock.
 */
#include "batch/emulator/batch/batch_service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "batch/base/log.h"
#include "batch/base/random.h"
#include "batch/emulator/batch/batch_store.h"
#include "batch/emulator/batch/node/container.h"
#include "batch/emulator/batch/engine/counts_history.h"
#include "batch/emulator/batch/engine/janitor.h"
#include "batch/emulator/batch/engine/recover.h"
#include "batch/emulator/batch/node/runner.h"
#include "batch/emulator/batch/engine/scheduler.h"
#include "batch/emulator/batch/service.h"
#include "batch/emulator/traps.h"

#define MIN_LOCAL_SLOTS 4
#define STOP_GRACE_MS 2000

/* --- state -------------------------------------------------------------------------------- */

int64_t service_now_locked(struct batch_service *s)
{
	int64_t now = adafs_clock_wall_us();
	s->last_us = now > s->last_us ? now : s->last_us + 1;
	return s->last_us;
}

void service_dirty_locked(struct batch_service *s, struct entity *e, bool spec)
{
	e->spec_dirty |= spec;
	if (e->dirty)
		return;
	e->dirty = true;
	TAILQ_INSERT_TAIL(&s->dirty, e, dirty_link);
}

void service_set_state_locked(struct batch_service *s, struct entity *e, int state)
{
	if (e->state == state)
		return;
	e->prev_state = e->state;
	e->prev_state_us = e->state_us;
	e->state = state;
	e->state_us = service_now_locked(s);
	service_dirty_locked(s, e, false);
}

void service_touch_locked(struct batch_service *s, struct entity *e)
{
	e->modified_us = service_now_locked(s);
	service_dirty_locked(s, e, false);
}

void service_wake_locked(struct batch_service *s)
{
	s->work = true;
	adafs_cond_signal(&s->wake);
}

/* A task whose job is being deleted needs no row: the job's deletion takes them all. */
static bool row_wanted(const struct entity *e)
{
	return e->kind != ENTITY_TASK || !ADAFS_CONTAINER_OF(e, const struct task, e)->job->e.gone;
}

static int write_dirty(struct batch_service *s)
{
	struct entity *e;
	TAILQ_FOREACH(e, &s->dirty, dirty_link)
	{
		int rc = !row_wanted(e) ? 0
			 : e->gone      ? batch_store_delete(s->store, e)
					: batch_store_save(s->store, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* What counts were becomes visible later when the trap is set. */
static void note_counts(struct batch_service *s)
{
	if (trap_value(s->traps, TRAP_STALE_COUNTS) <= 0)
		return;
	struct entity *e;
	TAILQ_FOREACH(e, &s->dirty, dirty_link)
	if (e->kind != ENTITY_POOL && !e->gone)
		counts_note_locked(e->kind == ENTITY_JOB ? entity_job(e) : entity_task(e)->job,
				   adafs_clock_wall_us());
}

int service_commit_locked(struct batch_service *s)
{
	if (TAILQ_EMPTY(&s->dirty))
		return 0;
	note_counts(s);
	int rc = batch_store_begin(s->store);
	if (rc == 0)
		rc = write_dirty(s);
	if (rc == 0)
		rc = batch_store_commit(s->store);
	if (rc < 0) {
		batch_store_rollback(s->store);
		service_wake_locked(s);
		return rc;
	}
	struct dirty_list gone = TAILQ_HEAD_INITIALIZER(gone);
	struct entity *e;
	while ((e = TAILQ_FIRST(&s->dirty)) != NULL) {
		TAILQ_REMOVE(&s->dirty, e, dirty_link);
		e->dirty = e->spec_dirty = false;
		e->stored = true;
		if (e->gone)
			TAILQ_INSERT_TAIL(&gone, e, dirty_link);
	}
	while ((e = TAILQ_FIRST(&gone)) != NULL) {
		TAILQ_REMOVE(&gone, e, dirty_link);
		entity_free(e);
	}
	return 0;
}

void service_forget_locked(struct batch_service *s, struct entity *e)
{
	if (e->dirty)
		TAILQ_REMOVE(&s->dirty, e, dirty_link);
	switch (e->kind) {
	case ENTITY_POOL:
		entity_list_remove(&s->pools, e);
		break;
	case ENTITY_JOB:
		entity_list_remove(&s->jobs, e);
		break;
	case ENTITY_TASK:
		sched_task_unqueue_locked(entity_task(e));
		task_count(entity_task(e), -1);
		entity_list_remove(&entity_task(e)->job->tasks, e);
		break;
	}
	entity_free(e);
}

void service_trash_locked(struct batch_service *s, const char *path)
{
	ADAFS_FREE char *to = adafs_fmt("%s/trash/%" PRIx64, s->dir, s->next_trash++);
	if (to && rename(path, to) == 0) {
		s->trash = true;
		adafs_cond_signal(&s->trash_added);
	} else if (errno != ENOENT) {
		adafs_log(WARN, "batch", "cannot remove '%s': %s", path, strerror(errno));
	}
}

char *service_node_dir(const struct batch_service *s, const char *node_id)
{
	return adafs_fmt("%s/nodes/%s", s->dir, node_id);
}

char *service_job_dir(const struct batch_service *s, const char *node_id, const struct job *j,
		      const char *task_id)
{
	return adafs_fmt("%s/nodes/%s/workitems/%s/job-1/%s", s->dir, node_id, j->e.id, task_id);
}

char *service_task_dir(const struct batch_service *s, const struct task *t)
{
	if (!t->node_id)
		return NULL;
	return service_job_dir(s, t->node_id, t->job, t->e.id);
}

/* --- life --------------------------------------------------------------------------------- */

static int make_dirs(struct batch_service *s, const char *dir, struct adafs_err *reterr)
{
	static const char *const names[] = { "nodes", "trash" };
	ADAFS_FREE char *path = adafs_fmt("%s/batch", dir);
	int rc = path ? adafs_mkdir_p(path, 0700) : -ENOMEM;
	if (rc == 0) {
		/* Tasks compare and print this path: no links in it. */
		s->dir = realpath(path, NULL);
		rc = s->dir ? 0 : -errno;
	}
	for (size_t i = 0; rc == 0 && i < ADAFS_ARRAY_SIZE(names); i++) {
		ADAFS_FREE char *sub = adafs_fmt("%s/%s", s->dir, names[i]);
		rc = sub ? adafs_mkdir_p(sub, 0700) : -ENOMEM;
	}
	if (rc < 0)
		return adafs_err_set(reterr, rc, "cannot make '%s': %s", path ? path : dir,
				     strerror(-rc));
	/* Names in the trash of a predecessor must not be met again. */
	uint32_t start;
	adafs_random_bytes(&start, sizeof(start));
	s->next_trash = (uint64_t)start << 32;
	s->trash = true;
	return 0;
}

static int copy_config(struct batch_service *s, const struct batch_service_config *c,
		       struct adafs_err *reterr)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	s->local_nodes = c->nodes ? c->nodes : 1;
	s->traps = c->traps;
	s->issuer = c->issuer;
	s->no_shared_key = c->no_shared_key;
	s->blob_authority = c->blob_authority ? strdup(c->blob_authority) : NULL;
	s->local_slots = c->slots                 ? c->slots
			 : cpus > MIN_LOCAL_SLOTS ? (unsigned)cpus
						  : MIN_LOCAL_SLOTS;
	if (c->containers) {
		int rc = container_engine_find(&s->container_engine, reterr);
		if (rc < 0)
			return rc;
	}
	s->account = strdup(c->account);
	s->key = malloc(c->key_len ? c->key_len : 1);
	if (!s->account || !s->key)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	memcpy(s->key, c->key, c->key_len);
	s->key_len = c->key_len;
	return 0;
}

static int bind_server(struct batch_service *s, const struct batch_service_config *c,
		       struct adafs_err *reterr)
{
	struct http_config http = { .host = c->host,
				    .port = c->port,
				    .access_log_fd = c->access_log_fd,
				    .traps = c->traps,
				    .ops = &batch_api_ops,
				    .service = s };
	int rc = http_server_new(&http, &s->server, reterr);
	if (rc < 0)
		return rc;
	s->endpoint = adafs_fmt("http://%s", http_server_authority(s->server));
	return s->endpoint ? 0 : adafs_err_set(reterr, -ENOMEM, "out of memory");
}

static int open_state(struct batch_service *s, struct adafs_err *reterr)
{
	ADAFS_FREE char *path = adafs_fmt("%s/state.db", s->dir);
	if (!path)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = batch_store_open(path, &s->store, reterr);
	if (rc < 0)
		return rc;
	/* Bodies of tasks hold signed URLs: the directory is 0700 and so is what is in it. */
	adafs_mutex_lock(&s->lock);
	rc = service_recover(s, reterr);
	adafs_mutex_unlock(&s->lock);
	return rc;
}

int batch_service_new(const struct batch_service_config *config, struct batch_service **ret_service,
		      struct adafs_err *reterr)
{
	struct batch_service *s = calloc(1, sizeof(*s));
	if (!s)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	adafs_mutex_init(&s->lock, ADAFS_RANK_SCHEDULER);
	adafs_cond_init(&s->wake);
	adafs_cond_init(&s->idle);
	adafs_cond_init(&s->prepared);
	adafs_cond_init(&s->trash_added);
	TAILQ_INIT(&s->dirty);
	TAILQ_INIT(&s->runs);
	s->next_seq = 1;
	int rc = copy_config(s, config, reterr);
	if (rc == 0)
		rc = make_dirs(s, config->dir, reterr);
	/* The port first: whoever serves this state already holds it. */
	if (rc == 0)
		rc = bind_server(s, config, reterr);
	if (rc == 0)
		rc = open_state(s, reterr);
	if (rc < 0) {
		batch_service_free(s);
		return rc;
	}
	*ret_service = s;
	return 0;
}

const char *batch_service_endpoint(const struct batch_service *s)
{
	return s->endpoint;
}

uint16_t batch_service_port(const struct batch_service *s)
{
	return http_server_port(s->server);
}

bool batch_service_busy(struct batch_service *s)
{
	bool busy = false;
	adafs_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->jobs.n && !busy; i++)
		busy = s->jobs.item[i]->state != JOB_COMPLETED;
	adafs_mutex_unlock(&s->lock);
	return busy;
}

int batch_service_start(struct batch_service *s, struct adafs_err *reterr)
{
	struct adafs_http_config http = { 0 };
	s->client = adafs_http_new(&http, reterr);
	if (!s->client)
		return -ENOMEM;
	int rc = adafs_http_start(s->client, reterr);
	if (rc < 0)
		return rc;
	rc = -pthread_create(&s->scheduler, NULL, sched_thread, s);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "cannot start the scheduler: %s", strerror(-rc));
	s->started = true;
	rc = -pthread_create(&s->janitor, NULL, janitor_thread, s);
	s->has_janitor = rc == 0;
	if (rc < 0)
		return adafs_err_set(reterr, rc, "cannot start a thread: %s", strerror(-rc));
	return http_server_start(s->server, reterr);
}

void batch_service_stop(struct batch_service *s)
{
	if (!s->started)
		return;
	s->started = false;
	http_server_stop(s->server, STOP_GRACE_MS);
	adafs_mutex_lock(&s->lock);
	s->stopping = true;
	adafs_cond_broadcast(&s->wake);
	adafs_cond_broadcast(&s->idle);
	adafs_cond_broadcast(&s->trash_added);
	adafs_mutex_unlock(&s->lock);
	pthread_join(s->scheduler, NULL);
	if (s->has_janitor)
		pthread_join(s->janitor, NULL);
	adafs_mutex_lock(&s->lock);
	run_stop_all_locked(s, NULL, NULL, ~0U, RUN_STOP_SHUTDOWN);
	while (s->n_runs)
		adafs_cond_wait(&s->idle, &s->lock);
	adafs_mutex_unlock(&s->lock);
	adafs_http_stop(s->client);
}

static void free_entities(struct entity_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		entity_free(l->item[i]);
	entity_list_clear(l);
}

void batch_service_free(struct batch_service *s)
{
	if (!s)
		return;
	batch_service_stop(s);
	http_server_free(s->server);
	adafs_http_free(s->client);
	free_entities(&s->jobs);
	free_entities(&s->pools);
	strmap_clear(&s->node_users);
	batch_store_close(s->store);
	adafs_cond_clear(&s->wake);
	adafs_cond_clear(&s->idle);
	adafs_cond_clear(&s->prepared);
	adafs_cond_clear(&s->trash_added);
	adafs_mutex_clear(&s->lock);
	free(s->endpoint);
	free(s->blob_authority);
	free(s->account);
	free(s->container_engine);
	if (s->key)
		explicit_bzero(s->key, s->key_len);
	free(s->key);
	free(s->dir);
	free(s);
}
