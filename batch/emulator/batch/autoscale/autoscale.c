/*
 * emulator/batch/autoscale/autoscale.c - samples of pools, and formulas at their intervals. On the
 * scheduler's thread but for what the API asks for; under the service's lock.
 */
#include "batch/emulator/batch/autoscale/autoscale.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/emulator/batch/autoscale/autoscale_formula.h"
#include "batch/emulator/batch/engine/node_ops.h"
#include "batch/emulator/batch/engine/scheduler.h"
#include "batch/emulator/batch/service.h"
#include "batch/emulator/traps.h"

/* Formulas see a sample so long after it was taken; the service's documentation says "about". */
#define SAMPLE_DELAY_US (INT64_C(60) * 1000000)
#define ENABLE_PERIOD_US (INT64_C(30) * 1000000)
#define DEFAULT_INTERVAL_MS (15 * 60 * 1000)
/* Twelve hours of history. */
#define MAX_SAMPLES 1440
#define RESULTS_MAX (256 * 1024)
/* The speed of the clock may be set while the scheduler sleeps. */
#define LOOK_US (INT64_C(1) * 1000000)

/* Times are those of the pool's clock, but for looked_ms. */
struct autoscale {
	struct autoscale_sample *sample;
	size_t n, size;
	int64_t now_us;       /* as of looked_ms */
	uint64_t looked_ms;   /* of the monotonic clock; 0: the pool's has not started */
	int64_t ahead_us;     /* of the true time, when it starts */
	int64_t sampled_us;   /* last; 0: never */
	int64_t enabled_us;   /* of the last request to enable; 0: none since the start */
	int64_t evaluated_us; /* 0: is due */
	bool set;             /* it has had a formula */
	cJSON *run;           /* the last evaluation; NULL: none */
};

void autoscale_free(struct autoscale *a)
{
	if (!a)
		return;
	cJSON_Delete(a->run);
	free(a->sample);
	free(a);
}

static struct autoscale *autoscale_of(struct pool *p)
{
	if (!p->scale)
		p->scale = calloc(1, sizeof(*p->scale));
	return p->scale;
}

cJSON *autoscale_state_json(const struct autoscale *a)
{
	if (!a || !a->set)
		return NULL;
	cJSON *o = cJSON_CreateObject();
	cJSON_AddNumberToObject(o, "ahead", (double)(a->now_us - adafs_clock_wall_us()));
	cJSON_AddNumberToObject(o, "evaluated", (double)a->evaluated_us);
	if (a->run)
		cJSON_AddItemToObject(o, "run", cJSON_Duplicate(a->run, true));
	return o;
}

int autoscale_state_load(struct pool *p, const cJSON *json)
{
	if (!json)
		return 0;
	struct autoscale *a = autoscale_of(p);
	if (!a)
		return -ENOMEM;
	const cJSON *run = adafs_json_get(json, "run");
	a->set = true;
	a->ahead_us = adafs_json_int(json, "ahead", 0);
	a->evaluated_us = adafs_json_int(json, "evaluated", 0);
	a->run = run ? cJSON_Duplicate(run, true) : NULL;
	return run && !a->run ? -ENOMEM : 0;
}

const cJSON *autoscale_last_run(const struct pool *p)
{
	return p->scale ? p->scale->run : NULL;
}

static bool enabled(const struct pool *p)
{
	return adafs_json_bool(p->e.spec, "enableAutoScale", false);
}

static double speed_of(const struct batch_service *s)
{
	return trap_value(s->traps, TRAP_CLOCK_SPEED);
}

/* Bring the pool's clock up to now. */
static int64_t clock_us(const struct batch_service *s, struct autoscale *a)
{
	uint64_t now_ms = adafs_clock_mono_ms();
	if (!a->looked_ms)
		a->now_us = adafs_clock_wall_us() + a->ahead_us;
	else
		a->now_us += (int64_t)((double)(now_ms - a->looked_ms) * 1000 * speed_of(s));
	a->looked_ms = now_ms;
	return a->now_us;
}

/* --- samples ------------------------------------------------------------------------------ */

static void measure_tasks(const struct batch_service *s, const struct pool *p, float *value)
{
	unsigned active = 0, running = 0, succeeded = 0, failed = 0;
	for (size_t i = 0; i < s->jobs.n; i++) {
		const struct job *j = entity_job(s->jobs.item[i]);
		const struct task *t;
		if (j->e.state == JOB_DELETING || !j->pool_key ||
		    strcmp(j->pool_key, p->e.key) != 0)
			continue;
		running += j->n_runs;
		succeeded += j->counts.succeeded;
		failed += j->counts.failed;
		/*
		 * Tasks that wait for others are not in this list; those of ended jobs run never.
		 */
		if (j->e.state == JOB_ACTIVE)
			TAILQ_FOREACH(t, &j->ready, ready_link)
		active++;
	}
	value[METRIC_ACTIVE_TASKS] = (float)active;
	value[METRIC_RUNNING_TASKS] = (float)running;
	value[METRIC_PENDING_TASKS] = (float)(active + running);
	value[METRIC_SUCCEEDED_TASKS] = (float)succeeded;
	value[METRIC_FAILED_TASKS] = (float)failed;
}

/* What nodes use of memory, disk and network is not measured: the metrics have no samples. */
static void measure_nodes(const struct pool *p, float *value)
{
	unsigned dedicated = 0, low_priority = 0, usable = 0, preempted = 0, used = 0, slots = 0;
	const struct node *n;
	TAILQ_FOREACH(n, &p->nodes, link)
	{
		*(n->dedicated ? &dedicated : &low_priority) += 1;
		usable += node_ready(n);
		preempted += n->down == NODE_PREEMPTED;
		used += n->used_slots;
		slots += p->slots;
	}
	value[METRIC_TASK_SLOTS_PER_NODE] = (float)p->slots;
	value[METRIC_CURRENT_DEDICATED_NODES] = (float)dedicated;
	value[METRIC_CURRENT_LOW_PRIORITY_NODES] = (float)low_priority;
	value[METRIC_PREEMPTED_NODE_COUNT] = (float)preempted;
	value[METRIC_USABLE_NODE_COUNT] = (float)usable;
	value[METRIC_SAMPLE_NODE_COUNT] = (float)(dedicated + low_priority);
	/* Nodes share this machine: what is told of each is how full it is. */
	if (slots)
		value[METRIC_CPU_PERCENT] = 100.0F * (float)used / (float)slots;
}

static void take_sample(struct batch_service *s, struct pool *p, struct autoscale *a, int64_t now)
{
	a->sampled_us = now;
	if (a->n == a->size && a->size < MAX_SAMPLES) {
		size_t size = a->size ? a->size * 2 : 32;
		size = size < MAX_SAMPLES ? size : MAX_SAMPLES;
		struct autoscale_sample *grown = reallocarray(a->sample, size, sizeof(*grown));
		/* A sample that is missing is what formulas must live with. */
		if (!grown)
			return;
		a->sample = grown;
		a->size = size;
	}
	if (a->n == a->size)
		memmove(a->sample, a->sample + 1, --a->n * sizeof(*a->sample));
	struct autoscale_sample *sample = &a->sample[a->n++];
	sample->at_us = now;
	for (int i = 0; i < N_METRICS; i++)
		sample->value[i] = NAN;
	measure_tasks(s, p, sample->value);
	measure_nodes(p, sample->value);
}

/* --- evaluation --------------------------------------------------------------------------- */

static cJSON *run_error(const struct autoscale_error *error)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "code", autoscale_failure_code(error->kind));
	cJSON_AddStringToObject(o, "message", autoscale_failure_text(error->kind));
	cJSON *value = cJSON_CreateObject();
	cJSON_AddStringToObject(value, "name", "Message");
	cJSON_AddStringToObject(value, "value", error->detail);
	cJSON_AddItemToArray(cJSON_AddArrayToObject(o, "values"), value);
	return o;
}

/* NULL: out of memory. ret->option "": the formula failed. */
static cJSON *evaluate(struct batch_service *s, struct pool *p, const char *formula,
		       struct autoscale_result *ret)
{
	struct autoscale *a = autoscale_of(p);
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf text = ADAFS_BUF_INIT(RESULTS_MAX);
	if (!a)
		return NULL;
	struct autoscale_input in = {
		.now_us = clock_us(s, a),
		.sample = a->sample,
		.dedicated = adafs_json_int(p->e.spec, "targetDedicatedNodes", 0),
		.low_priority = adafs_json_int(p->e.spec, "targetLowPriorityNodes", 0),
	};
	while (in.n_samples < a->n && a->sample[in.n_samples].at_us <= in.now_us - SAMPLE_DELAY_US)
		in.n_samples++;
	for (int i = 0; i < N_METRICS; i++)
		in.current[i] = NAN;
	measure_nodes(p, in.current);
	in.current[METRIC_CPU_PERCENT] = NAN;
	struct autoscale_error error;
	int rc = autoscale_evaluate(formula, &in, ret, &text, &error);
	if (rc == -ENOMEM)
		return NULL;
	cJSON *run = cJSON_CreateObject();
	char timestamp[ADAFS_ISO8601_LEN];
	adafs_clock_iso8601(adafs_clock_wall_us(), timestamp);
	cJSON_AddStringToObject(run, "timestamp", timestamp);
	cJSON_AddStringToObject(run, "results", adafs_buf_str(&text));
	if (rc < 0) {
		cJSON_AddItemToObject(run, "error", run_error(&error));
		*ret->option = 0;
	}
	return run;
}

cJSON *autoscale_try_locked(struct batch_service *s, struct pool *p, const char *formula)
{
	struct autoscale_result result;
	return evaluate(s, p, formula, &result);
}

static void set_number(cJSON *spec, const char *name, int64_t n)
{
	cJSON *item = cJSON_GetObjectItemCaseSensitive(spec, name);
	if (item)
		cJSON_SetNumberValue(item, (double)n);
	else
		cJSON_AddNumberToObject(spec, name, (double)n);
}

static void run_formula(struct batch_service *s, struct pool *p, struct autoscale *a)
{
	struct autoscale_result r;
	a->evaluated_us = clock_us(s, a);
	cJSON *run = evaluate(s, p, adafs_json_str(p->e.spec, "autoScaleFormula", ""), &r);
	if (!run)
		return;
	cJSON_Delete(a->run);
	a->run = run;
	service_dirty_locked(s, &p->e, false);
	if (!*r.option ||
	    (r.dedicated == adafs_json_int(p->e.spec, "targetDedicatedNodes", 0) &&
	     r.low_priority == adafs_json_int(p->e.spec, "targetLowPriorityNodes", 0)))
		return;
	adafs_log(INFO, "batch", "autoscale of pool %s: %s", p->e.id,
		  adafs_json_str(run, "results", ""));
	set_number(p->e.spec, "targetDedicatedNodes", r.dedicated);
	set_number(p->e.spec, "targetLowPriorityNodes", r.low_priority);
	sched_pool_resize_locked(s, p, r.option);
}

/* --- the clock ---------------------------------------------------------------------------- */

static int64_t interval_us(const struct pool *p)
{
	int64_t ms = DEFAULT_INTERVAL_MS;
	const char *text = adafs_json_str(p->e.spec, "autoScaleEvaluationInterval", NULL);
	if (text && adafs_duration_parse(text, &ms) < 0)
		ms = DEFAULT_INTERVAL_MS;
	return ms * 1000;
}

/* Returns how long the pool's clock runs until there is something to do. */
static int64_t tick_pool(struct batch_service *s, struct pool *p)
{
	struct autoscale *a = autoscale_of(p);
	if (!a)
		return INT64_MAX;
	int64_t now = clock_us(s, a), interval = interval_us(p);
	if (now >= a->sampled_us + AUTOSCALE_PERIOD_US)
		take_sample(s, p, a, now);
	int64_t next = a->sampled_us + AUTOSCALE_PERIOD_US;
	if (enabled(p)) {
		if (now >= a->evaluated_us + interval)
			run_formula(s, p, a);
		if (a->evaluated_us + interval < next)
			next = a->evaluated_us + interval;
	}
	return next - now;
}

int64_t autoscale_tick_locked(struct batch_service *s)
{
	int64_t wait = AUTOSCALE_PERIOD_US;
	for (size_t i = 0; i < s->pools.n; i++) {
		struct pool *p = entity_pool(s->pools.item[i]);
		if (p->e.state != POOL_ACTIVE)
			continue;
		int64_t due = tick_pool(s, p);
		wait = due < wait ? due : wait;
	}
	wait = (int64_t)((double)wait / speed_of(s));
	if (s->traps && wait > LOOK_US)
		wait = LOOK_US;
	return adafs_clock_wall_us() + wait;
}

int autoscale_start_locked(struct batch_service *s, struct pool *p)
{
	struct autoscale *a = autoscale_of(p);
	if (!a)
		return -ENOMEM;
	/* Times in the formula are true ones: the clock goes back to that, and history with it. */
	int64_t shift = adafs_clock_wall_us() - clock_us(s, a);
	a->now_us += shift;
	a->sampled_us += a->sampled_us ? shift : 0;
	a->enabled_us += a->enabled_us ? shift : 0;
	for (size_t i = 0; i < a->n; i++)
		a->sample[i].at_us += shift;
	a->set = true;
	a->evaluated_us = 0;
	service_dirty_locked(s, &p->e, true);
	service_wake_locked(s);
	return 0;
}

bool autoscale_admit_locked(struct batch_service *s, struct pool *p)
{
	struct autoscale *a = autoscale_of(p);
	if (!a || (a->enabled_us && clock_us(s, a) < a->enabled_us + ENABLE_PERIOD_US))
		return false;
	a->enabled_us = clock_us(s, a);
	return true;
}
