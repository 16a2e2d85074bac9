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
	char **texts[] = { &j->batch_job_id, &j->event,       &j->pipeline,     &j->digest,
			   &j->nonce,        &j->waiting_for, &j->batch_reason, &j->batch_error };
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

void foreman_job_clear_steps(struct foreman_job *j)
{
	for (size_t i = 0; i < j->n_steps; i++) {
		struct foreman_step *s = &j->step[i];
		free(s->name);
		free(s->task_id);
		free(s->command);
		free(s->work_prefix);
		free(s->dep);
		free(s->node);
		free(s->failure);
		free(s->waiting_for);
	}
	free(j->step);
	j->step = NULL;
	j->n_steps = 0;
}

void foreman_job_clear_inputs(struct foreman_job *j)
{
	for (size_t i = 0; i < j->n_inputs; i++) {
		free(j->input[i].role);
		free(j->input[i].blob);
		free(j->input[i].snapshot);
		free(j->input[i].etag);
		free(j->input[i].sha256);
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
	foreman_job_clear_inputs(j);
	adafs_buf_clear(&j->events);
	job_snap_unref(j->snap);
	free(j->id);
	free(j->batch_job_id);
	free(j->event);
	free(j->pipeline);
	free(j->digest);
	free(j->nonce);
	free(j->waiting_for);
	free(j->batch_reason);
	free(j->batch_error);
	free(j);
}

int foreman_job_add_input(struct foreman_job *j, const char *role, size_t role_index,
			  const char *blob, const char *snapshot, const char *etag,
			  const char *sha256)
{
	struct foreman_input *input = realloc(j->input, (j->n_inputs + 1) * sizeof(*input));
	if (!input)
		return -ENOMEM;
	j->input = input;
	input += j->n_inputs++;
	*input = (struct foreman_input){
		.role = strdup(role),
		.role_index = role_index,
		.blob = strdup(blob),
		.snapshot = strdup(snapshot ? snapshot : ""),
		.etag = strdup(etag ? etag : ""),
		.sha256 = strdup(sha256),
	};
	if (input->role && input->blob && input->snapshot && input->etag && input->sha256)
		return 0;
	return -ENOMEM;
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
	s->waiting_for = strdup("");
	s->merge = from->merge;
	s->state = from->n_depends_on ? ADAFS_STATE_WAITING : ADAFS_STATE_QUEUED;
	if (!s->name || !s->task_id || !s->command || !s->work_prefix || !s->dep || !s->node ||
	    !s->failure || !s->waiting_for)
		return -ENOMEM;
	s->n_dep = from->n_depends_on;
	if (s->n_dep)
		memcpy(s->dep, from->depends_on, s->n_dep * sizeof(*s->dep));
	return 0;
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
