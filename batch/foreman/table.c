/*
 * foreman/table.c - sorted arrays of records, whose first member is the key, and the records
 * themselves. Under the foreman's lock.
 */
#include "batch/foreman/table.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/foreman/view.h"

static const char *key_of(const void *record)
{
	return *(char *const *)record;
}

size_t foreman_table_lower(const struct foreman_table *t, const char *key)
{
	size_t low = 0, high = t->n;
	/* Listings come sorted: nearly every insertion is at the end. */
	if (t->n && strcmp(key_of(t->item[t->n - 1]), key) < 0)
		return t->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (strcmp(key_of(t->item[mid]), key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void *foreman_table_find(const struct foreman_table *t, const char *key)
{
	size_t at = foreman_table_lower(t, key);
	if (at == t->n || strcmp(key_of(t->item[at]), key) != 0)
		return NULL;
	return t->item[at];
}

int foreman_table_insert(struct foreman_table *t, void *record)
{
	if (t->n == t->size) {
		size_t size = t->size ? 2 * t->size : 64;
		void **item = realloc(t->item, size * sizeof(*item));
		if (!item)
			return -ENOMEM;
		t->item = item;
		t->size = size;
	}
	size_t at = foreman_table_lower(t, key_of(record));
	memmove(t->item + at + 1, t->item + at, (t->n - at) * sizeof(*t->item));
	t->item[at] = record;
	t->n++;
	return 0;
}

void foreman_table_remove(struct foreman_table *t, const char *key)
{
	size_t at = foreman_table_lower(t, key);
	if (at == t->n || strcmp(key_of(t->item[at]), key) != 0)
		return;
	t->n--;
	memmove(t->item + at, t->item + at + 1, (t->n - at) * sizeof(*t->item));
}

bool foreman_text_set(char **text, const char *value)
{
	if (!value)
		value = "";
	if (*text && strcmp(*text, value) == 0)
		return false;
	char *copy = strdup(value);
	if (!copy)
		return false;
	free(*text);
	*text = copy;
	return true;
}

struct foreman_job *foreman_job_new(const char *id)
{
	struct foreman_job *j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	char **texts[] = { &j->batch_job_id, &j->event,      &j->pipeline, &j->digest,
			   &j->nonce,        &j->pairing,    &j->unit,     &j->waiting_for,
			   &j->batch_reason, &j->batch_error };
	j->id = strdup(id);
	bool ok = j->id;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(texts); i++) {
		*texts[i] = strdup("");
		ok = ok && *texts[i];
	}
	adafs_buf_init(&j->events, 256 * 1024);
	j->run = 1;
	j->state = ADAFS_STATE_QUEUED;
	j->newest = true;
	j->dirty = true;
	if (ok)
		return j;
	foreman_job_free(j);
	return NULL;
}

static void clear_step(struct foreman_step *s)
{
	free(s->name);
	free(s->task_id);
	free(s->command);
	free(s->work_prefix);
	free(s->dep);
	free(s->node);
	free(s->failure);
	free(s->told);
	free(s->waiting_for);
	*s = (struct foreman_step){ 0 };
}

void foreman_job_clear_steps(struct foreman_job *j)
{
	for (size_t i = 0; i < j->n_steps; i++)
		clear_step(&j->step[i]);
	free(j->step);
	j->step = NULL;
	j->n_steps = 0;
}

void foreman_job_clear_kept(struct foreman_job *j)
{
	for (size_t i = 0; i < j->n_kept; i++)
		clear_step(&j->kept[i]);
	free(j->kept);
	j->kept = NULL;
	j->n_kept = 0;
}

void foreman_job_keep_steps(struct foreman_job *j,
			    bool (*again)(const struct foreman_step *s, const char *name),
			    const char *name)
{
	size_t n = 0;
	foreman_job_clear_kept(j);
	for (size_t i = 0; i < j->n_steps; i++) {
		struct foreman_step *s = &j->step[i];
		bool well = s->state == ADAFS_STATE_COMPLETED || s->state == ADAFS_STATE_EMPTY;
		if (!well || s->merge || !*s->key || (again && again(s, name)))
			clear_step(s);
		else if (n++ != i)
			j->step[n - 1] = *s;
	}
	j->kept = j->step;
	j->n_kept = n;
	j->step = NULL;
	j->n_steps = 0;
}

struct adafs_plan_kept *foreman_job_kept(const struct foreman_job *j)
{
	struct adafs_plan_kept *list = calloc(j->n_kept + 1, sizeof(*list));
	for (size_t i = 0; list && i < j->n_kept; i++)
		list[i] = (struct adafs_plan_kept){ .name = j->kept[i].name,
						    .key = j->kept[i].key,
						    .run = j->kept[i].run };
	return list;
}

void foreman_job_clear_inputs(struct foreman_job *j)
{
	for (size_t i = 0; i < j->n_inputs; i++) {
		free(j->input[i].role);
		free(j->input[i].blob);
		free(j->input[i].snapshot);
		free(j->input[i].etag);
		free(j->input[i].sha256);
		free(j->input[i].date);
	}
	free(j->input);
	j->input = NULL;
	j->n_inputs = 0;
}

void foreman_job_free(struct foreman_job *j)
{
	if (!j)
		return;
	foreman_job_clear_steps(j);
	foreman_job_clear_kept(j);
	foreman_job_clear_inputs(j);
	adafs_buf_clear(&j->events);
	job_snap_unref(j->snap);
	free(j->id);
	free(j->batch_job_id);
	free(j->event);
	free(j->pipeline);
	free(j->digest);
	free(j->nonce);
	free(j->pairing);
	free(j->unit);
	free(j->part);
	free(j->waiting_for);
	free(j->batch_reason);
	free(j->batch_error);
	free(j);
}

bool foreman_same_map(const struct foreman_job *a, const struct foreman_job *b)
{
	return strcmp(a->event, b->event) == 0 && strcmp(a->pipeline, b->pipeline) == 0;
}

bool foreman_job_has_members(const struct foreman_job *j)
{
	return j->n_members && j->run == 1;
}

void foreman_job_begin_again(struct foreman_job *j)
{
	j->open = false;
	j->submitted = j->ended = j->cancel = j->cancel_sent = false;
	j->held = j->hold_wanted = false;
	j->batch_ended = false;
	foreman_text_set(&j->batch_reason, "");
	foreman_text_set(&j->batch_error, "");
	j->state = ADAFS_STATE_QUEUED;
	j->changed_us = j->created_us;
	j->ended_us = 0;
	j->deletion = FOREMAN_NOT_DELETED;
	j->work = FOREMAN_WORK_KEPT;
	j->dropped_us = 0;
	j->n_tries = 0;
	j->n_gone = 0;
	j->retry_at_ms = 0;
	foreman_text_set(&j->waiting_for, "is being submitted again");
}

void foreman_job_forget_keys(struct foreman_job *j)
{
	for (size_t i = 0; i < j->n_steps; i++)
		*j->step[i].key = 0;
}

static char *copy_or_empty(const char *text)
{
	return strdup(text ? text : "");
}

int foreman_job_add_input(struct foreman_job *j, const struct foreman_input *in)
{
	struct foreman_input *input = realloc(j->input, (j->n_inputs + 1) * sizeof(*input));
	if (!input)
		return -ENOMEM;
	j->input = input;
	input += j->n_inputs++;
	*input = (struct foreman_input){
		.role = strdup(in->role),
		.role_index = in->role_index,
		.blob = strdup(in->blob),
		.snapshot = copy_or_empty(in->snapshot),
		.etag = copy_or_empty(in->etag),
		.sha256 = strdup(in->sha256),
		.date = copy_or_empty(in->date),
		.size = in->size,
	};
	if (input->role && input->blob && input->snapshot && input->etag && input->sha256 &&
	    input->date)
		return 0;
	return -ENOMEM;
}

int foreman_job_add_part(struct foreman_job *j, const char *job_id, bool must, bool member)
{
	struct foreman_part *part = realloc(j->part, (j->n_parts + 1) * sizeof(*part));
	if (!part)
		return -ENOMEM;
	j->part = part;
	part += j->n_parts++;
	*part = (struct foreman_part){ .must = must, .member = member };
	snprintf(part->job_id, sizeof(part->job_id), "%s", job_id);
	return 0;
}

struct adafs_plan_part *foreman_job_parts(const struct foreman_job *j)
{
	struct adafs_plan_part *list = calloc(j->n_parts + 1, sizeof(*list));
	for (size_t i = 0; list && i < j->n_parts; i++)
		list[i] = (struct adafs_plan_part){ .job_id = j->part[i].job_id,
						    .must = j->part[i].must,
						    .member = j->part[i].member && j->run == 1 };
	return list;
}

bool foreman_job_is_member(const struct foreman_job *j)
{
	return *j->batch_job_id && strncmp(j->batch_job_id, j->id, strlen(j->id)) != 0;
}

void foreman_job_task_prefix(const struct foreman_job *j, char out[ADAFS_PLAN_PREFIX_LEN])
{
	*out = 0;
	if (foreman_job_is_member(j))
		adafs_plan_task_prefix(j->id, out);
}

static int take_step(struct foreman_step *s, const struct adafs_plan_step *from)
{
	s->number = from->number;
	s->name = strdup(from->name);
	s->task_id = strdup(from->task_id);
	s->command = strdup(from->command ? from->command : "");
	s->work_prefix = strdup(from->work_prefix ? from->work_prefix : "");
	s->dep = calloc(from->n_depends_on + 1, sizeof(*s->dep));
	s->node = strdup("");
	s->failure = strdup("");
	s->told = strdup("");
	s->waiting_for = strdup("");
	s->merge = from->merge;
	s->run = from->run;
	memcpy(s->key, from->key, sizeof(s->key));
	s->state = from->n_depends_on ? ADAFS_STATE_WAITING : ADAFS_STATE_QUEUED;
	if (!s->name || !s->task_id || !s->command || !s->work_prefix || !s->dep || !s->node ||
	    !s->failure || !s->told || !s->waiting_for)
		return -ENOMEM;
	s->n_dep = from->n_depends_on;
	if (s->n_dep)
		memcpy(s->dep, from->depends_on, s->n_dep * sizeof(*s->dep));
	return 0;
}

/* A step of an earlier run is shown as it ended then. */
static void show_kept(const struct foreman_job *j, struct foreman_step *s)
{
	s->reused = true;
	s->state = ADAFS_STATE_COMPLETED;
	for (size_t i = 0; i < j->n_kept; i++) {
		const struct foreman_step *k = &j->kept[i];
		if (strcmp(k->name, s->name) != 0 || k->run != s->run)
			continue;
		s->state = k->state;
		s->has_exit_code = k->has_exit_code;
		s->exit_code = k->exit_code;
		s->changed_us = k->changed_us;
		s->started_us = k->started_us;
		s->finished_us = k->finished_us;
		foreman_text_set(&s->node, k->node);
		foreman_text_set(&s->failure, k->failure);
	}
	ADAFS_FREE char *text =
		adafs_fmt("%s in run %u, and not run again", adafs_state_name(s->state), s->run);
	foreman_text_set(&s->waiting_for, text);
}

int foreman_job_take_plan(struct foreman_job *j, const struct adafs_plan *plan)
{
	foreman_job_clear_steps(j);
	j->step = calloc(plan->n_steps ? plan->n_steps : 1, sizeof(*j->step));
	if (!j->step)
		return -ENOMEM;
	j->n_steps = plan->n_steps;
	for (size_t i = 0; i < plan->n_steps; i++) {
		int rc = take_step(&j->step[i], &plan->steps[i]);
		if (rc) {
			foreman_job_clear_steps(j);
			return rc;
		}
		j->step[i].changed_us = j->created_us;
		if (plan->steps[i].reused)
			show_kept(j, &j->step[i]);
	}
	for (size_t i = 0; i < j->n_steps; i++) {
		bool waits = false;
		for (size_t k = 0; k < j->step[i].n_dep; k++)
			waits |= !j->step[j->step[i].dep[k]].reused;
		if (!j->step[i].reused && !waits)
			j->step[i].state = ADAFS_STATE_QUEUED;
	}
	j->body_loaded = true;
	return 0;
}

void foreman_job_log(struct foreman_job *j, int64_t when_us, const char *fmt, ...)
{
	char when[ADAFS_ISO8601_LEN];
	va_list ap;
	adafs_clock_iso8601_seconds(when_us, when);
	/* A log that reached its bound stays as it is: it is there for reading along. */
	if (adafs_buf_addf(&j->events, "%s ", when) < 0)
		return;
	va_start(ap, fmt);
	adafs_buf_vaddf(&j->events, fmt, ap);
	va_end(ap);
	adafs_buf_adds(&j->events, "\n");
	j->dirty = true;
}

struct foreman_image *foreman_image_new(const char *blob)
{
	struct foreman_image *i = calloc(1, sizeof(*i));
	if (!i)
		return NULL;
	i->blob = strdup(blob);
	i->sha256 = strdup("");
	i->digest = strdup("");
	i->nonce = strdup("");
	i->job_id = strdup("");
	i->waiting_for = strdup("");
	if (i->blob && i->sha256 && i->digest && i->nonce && i->job_id && i->waiting_for)
		return i;
	foreman_image_free(i);
	return NULL;
}

void foreman_image_take_facts(struct foreman_image *i, const char *facts)
{
	struct adafs_image_info info = { 0 };
	/* Damaged or of an older version: as if nothing were known. */
	if (!facts || adafs_image_facts_read(facts, &info))
		info = (struct adafs_image_info){ 0 };
	i->geo = info.geo;
	memcpy(i->date, info.date, sizeof(i->date));
	i->noted_ms = adafs_clock_mono_ms();
}

void foreman_image_free(struct foreman_image *i)
{
	if (!i)
		return;
	free(i->blob);
	free(i->sha256);
	free(i->digest);
	free(i->nonce);
	free(i->job_id);
	free(i->waiting_for);
	free(i);
}

char *foreman_event_of(const char *blob, const char **ret_rest)
{
	static const char prefix[] = "images/";
	if (strncmp(blob, prefix, sizeof(prefix) - 1) != 0)
		return NULL;
	const char *event = blob + sizeof(prefix) - 1;
	const char *slash = strchr(event, '/');
	if (!slash || slash == event || !slash[1])
		return NULL;
	if (ret_rest)
		*ret_rest = slash + 1;
	return strndup(event, (size_t)(slash - event));
}
