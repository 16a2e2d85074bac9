/*
 * emulator/batch/engine/deps.c - exit conditions, and the map of what holds and who waits for it.
 * Under the service's lock.
 */
#include "batch/emulator/batch/engine/deps.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- exit conditions ---------------------------------------------------------------------- */

static const cJSON *options_of_code(const cJSON *conditions, int code)
{
	const cJSON *item;
	cJSON_ArrayForEach(
		item, adafs_json_get(conditions,
				     "exitCodes")) if (adafs_json_int(item, "code", 0) ==
						       code) return adafs_json_get(item,
										   "exitOptions");
	cJSON_ArrayForEach(item, adafs_json_get(conditions, "exitCodeRanges")) if (
		adafs_json_int(item, "start", 0) <= code &&
		code <= adafs_json_int(item, "end", 0)) return adafs_json_get(item, "exitOptions");
	return NULL;
}

static const cJSON *options_of(const cJSON *conditions, enum batch_outcome outcome,
			       bool has_exit_code, int exit_code)
{
	const cJSON *options = has_exit_code ? options_of_code(conditions, exit_code) : NULL;
	if (!options && outcome == OUTCOME_PREPROCESSING)
		options = adafs_json_get(conditions, "preProcessingError");
	if (!options && outcome == OUTCOME_UPLOAD)
		options = adafs_json_get(conditions, "fileUploadError");
	bool success = outcome == OUTCOME_EXIT && exit_code == 0;
	if (!options && !success)
		options = adafs_json_get(conditions, "default");
	return options;
}

struct batch_exit_action batch_exit_action(const cJSON *conditions, enum batch_outcome outcome,
					   bool has_exit_code, int exit_code)
{
	bool success = outcome == OUTCOME_EXIT && exit_code == 0;
	const cJSON *options = options_of(conditions, outcome, has_exit_code, exit_code);
	const char *job = adafs_json_str(options, "jobAction", success ? "none" : "terminate");
	const char *dependency =
		adafs_json_str(options, "dependencyAction", success ? "satisfy" : "block");
	return (struct batch_exit_action){
		.satisfy = strcmp(dependency, "satisfy") == 0,
		.job = strcmp(job, "terminate") == 0 ? JOB_ACTION_TERMINATE
		       : strcmp(job, "disable") == 0 ? JOB_ACTION_DISABLE
						     : JOB_ACTION_NONE,
	};
}

bool batch_exit_has_job_action(const cJSON *conditions)
{
	static const char *const lists[] = { "exitCodes", "exitCodeRanges" };
	static const char *const single[] = { "preProcessingError", "fileUploadError", "default" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(lists); i++) {
		const cJSON *item;
		cJSON_ArrayForEach(item, adafs_json_get(conditions, lists[i])) if (
			adafs_json_path(item, "exitOptions/jobAction")) return true;
	}
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(single); i++)
		if (adafs_json_get(adafs_json_get(conditions, single[i]), "jobAction"))
			return true;
	return false;
}

/* --- dependencies ------------------------------------------------------------------------- */

#define NUMBER_KEY_LEN 24

static void number_key(int64_t n, char out[NUMBER_KEY_LEN])
{
	snprintf(out, NUMBER_KEY_LEN, "#%" PRId64, n);
}

/* Whether a whole id reads as an integer ("007" is 7); ids hold no '+'. */
static bool id_number(const char *id, int64_t *ret)
{
	const char *digits = id + (*id == '-');
	if (!*digits || strspn(digits, "0123456789") != strlen(digits))
		return false;
	errno = 0;
	*ret = strtoll(id, NULL, 10);
	return errno == 0;
}

/* Put t in front of the tasks that wait for key. */
static void wait_for(struct task *t, const char *key)
{
	t->waits_for = strdup(key);
	if (!t->waits_for)
		return;
	t->wait_next = strmap_get(&t->job->waiters, key);
	if (strmap_set(&t->job->waiters, key, t) < 0) {
		free(ADAFS_STEAL(t->waits_for));
		t->wait_next = NULL;
	}
}

static bool range_holds(struct task *t, const cJSON *range)
{
	int64_t end = adafs_json_int(range, "end", 0);
	if (t->range_cursor == INT64_MIN)
		t->range_cursor = adafs_json_int(range, "start", 0);
	for (; t->range_cursor <= end; t->range_cursor++) {
		char key[NUMBER_KEY_LEN];
		number_key(t->range_cursor, key);
		if (strmap_get(&t->job->satisfied, key))
			continue;
		wait_for(t, key);
		return false;
	}
	t->range_cursor = INT64_MIN;
	return true;
}

bool deps_check(struct task *t)
{
	deps_unwait(t);
	const cJSON *on = adafs_json_get(t->e.spec, "dependsOn");
	const cJSON *ids = adafs_json_get(on, "taskIds"),
		    *ranges = adafs_json_get(on, "taskIdRanges");
	size_t n_ids = (size_t)cJSON_GetArraySize(ids),
	       n_ranges = (size_t)cJSON_GetArraySize(ranges);
	const cJSON *item = cJSON_GetArrayItem(ids, (int)t->dep_cursor);
	for (; t->dep_cursor < n_ids; t->dep_cursor++, item = item->next) {
		ADAFS_FREE char *key = key_of(item->valuestring);
		if (key && strmap_get(&t->job->satisfied, key))
			continue;
		if (key)
			wait_for(t, key);
		return false;
	}
	for (; t->dep_cursor - n_ids < n_ranges; t->dep_cursor++)
		if (!range_holds(t, cJSON_GetArrayItem(ranges, (int)(t->dep_cursor - n_ids))))
			return false;
	return true;
}

void deps_unwait(struct task *t)
{
	if (!t->waits_for)
		return;
	struct strmap *waiters = &t->job->waiters;
	struct task *first = strmap_get(waiters, t->waits_for);
	if (first == t) {
		if (!t->wait_next)
			strmap_del(waiters, t->waits_for);
		else
			(void)strmap_set(waiters, t->waits_for, t->wait_next); /* replaces */
	} else {
		while (first && first->wait_next != t)
			first = first->wait_next;
		if (first)
			first->wait_next = t->wait_next;
	}
	t->wait_next = NULL;
	free(ADAFS_STEAL(t->waits_for));
}

static int satisfy_key(struct job *j, const char *key, void (*ready)(void *arg, struct task *t),
		       void *arg)
{
	if (strmap_set(&j->satisfied, key, j) < 0)
		return -ENOMEM;
	struct task *t = strmap_del(&j->waiters, key), *reversed = NULL;
	/* They were put in front: turn them round, so that the oldest becomes ready first. */
	while (t) {
		struct task *next = t->wait_next;
		t->wait_next = reversed;
		reversed = t;
		t = next;
	}
	for (t = reversed; t;) {
		struct task *next = t->wait_next;
		t->wait_next = NULL;
		free(ADAFS_STEAL(t->waits_for));
		if (deps_check(t) && ready)
			ready(arg, t);
		t = next;
	}
	return 0;
}

int deps_satisfy(struct job *j, const char *task_key, void (*ready)(void *arg, struct task *t),
		 void *arg)
{
	int64_t n;
	int rc = satisfy_key(j, task_key, ready, arg);
	if (rc < 0 || !id_number(task_key, &n))
		return rc;
	char key[NUMBER_KEY_LEN];
	number_key(n, key);
	return satisfy_key(j, key, ready, arg);
}

int deps_remember(struct job *j, const char *key)
{
	return deps_satisfy(j, key, NULL, NULL);
}
