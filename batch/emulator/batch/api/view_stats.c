/*
 * The statistics behind $expand=stats. The emulator knows how long tasks ran and how they ended;
 * what it does not measure (processor time, reads and writes) is 0, as the service shows it at
 * first.
 */
#include <inttypes.h>
#include <stdio.h>

#include "batch/base/clock.h"
#include "batch/emulator/batch/api/view.h"

static void put_duration(cJSON *o, const char *name, int64_t us)
{
	char text[48];
	adafs_duration_format(us / 1000, text);
	cJSON_AddStringToObject(o, name, text);
}

/* Numbers of 64 bits are texts. */
static void put_count(cJSON *o, const char *name, uint64_t n)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, n);
	cJSON_AddStringToObject(o, name, text);
}

/* What all statistics begin with. Takes path. */
static cJSON *stats_new(const struct view *v, char *path, int64_t since_us)
{
	ADAFS_FREE char *owned = path;
	ADAFS_FREE char *url = owned ? adafs_fmt("%s%s/stats", v->a->base, owned) : NULL;
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "url", url ? url : "");
	view_put_time(o, "startTime", since_us);
	view_put_time(o, "lastUpdateTime", adafs_clock_wall_us());
	return o;
}

static void put_resources(cJSON *o, int64_t wall_us, int64_t wait_us)
{
	put_duration(o, "userCPUTime", 0);
	put_duration(o, "kernelCPUTime", 0);
	put_duration(o, "wallClockTime", wall_us);
	put_count(o, "readIOps", 0);
	put_count(o, "writeIOps", 0);
	cJSON_AddNumberToObject(o, "readIOGiB", 0);
	cJSON_AddNumberToObject(o, "writeIOGiB", 0);
	put_duration(o, "waitTime", wait_us);
}

static int64_t wall_us(const struct task *t)
{
	return t->exec.start_us && t->exec.end_us > t->exec.start_us
		       ? t->exec.end_us - t->exec.start_us
		       : 0;
}

static int64_t wait_us(const struct task *t)
{
	return t->exec.start_us > t->e.created_us ? t->exec.start_us - t->e.created_us : 0;
}

static bool wanted(const struct view *v)
{
	return v->a->stats && odata_selected(v->select, "stats");
}

void view_add_task_stats(struct view *v, const struct task *t)
{
	if (!wanted(v))
		return;
	cJSON *o = stats_new(v, adafs_fmt("/jobs/%s/tasks/%s", t->job->e.id, t->e.id),
			     t->e.created_us);
	put_resources(o, wall_us(t), wait_us(t));
	view_add(v, "stats", o);
}

void view_add_job_stats(struct view *v, const struct job *j)
{
	if (!wanted(v))
		return;
	int64_t wall = 0, wait = 0;
	uint64_t retries = 0;
	for (size_t i = 0; i < j->tasks.n; i++) {
		const struct task *t = entity_task(j->tasks.item[i]);
		wall += wall_us(t);
		wait += wait_us(t);
		retries += (uint64_t)t->exec.retry_count;
	}
	cJSON *o = stats_new(v, adafs_fmt("/jobs/%s", j->e.id), j->e.created_us);
	put_resources(o, wall, wait);
	put_count(o, "numSucceededTasks", j->counts.succeeded);
	put_count(o, "numFailedTasks", j->counts.failed);
	put_count(o, "numTaskRetries", retries);
	view_add(v, "stats", o);
}

void view_add_pool_stats(struct view *v, const struct pool *p)
{
	if (!wanted(v))
		return;
	int64_t cores_us = 0, now = adafs_clock_wall_us();
	const struct node *n;
	TAILQ_FOREACH(n, &p->nodes, link)
	cores_us += now > n->allocated_us ? now - n->allocated_us : 0;
	cJSON *o = stats_new(v, adafs_fmt("/pools/%s", p->e.id), p->e.created_us);
	cJSON *usage = cJSON_AddObjectToObject(o, "usageStats");
	view_put_time(usage, "startTime", p->e.created_us);
	view_put_time(usage, "lastUpdateTime", now);
	put_duration(usage, "dedicatedCoreTime", cores_us);
	view_add(v, "stats", o);
}
