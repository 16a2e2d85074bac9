/*
 * addtaskcollection. Tasks are printed once; a chunk is a run of those texts that keeps within the
 * service's limits. A task is `pending` until the service has it. Each round sends all that are
 * pending; rounds repeat only for items that came back as servererror.
 */
#include "batch/azure/batch_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define CHUNK_TASKS 100
#define CHUNK_BYTES (1024u * 1024 - 64 * 1024)
#define MAX_ROUNDS 8
#define ROUND_PAUSE_MS 250

struct task_text {
	const char *id; /* borrowed from the caller's JSON */
	char *text;
	size_t len;
	bool pending;
};

struct adding {
	struct adafs_batch_client *client;
	const char *url;
	struct task_text *tasks;
	size_t n;
	bool again; /* something came back as servererror */
};

static void adding_clear(struct adding *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->tasks[i].text);
	free(a->tasks);
}

static int adding_init(struct adding *a, const cJSON *tasks)
{
	a->tasks = calloc((size_t)cJSON_GetArraySize(tasks) + 1, sizeof(*a->tasks));
	if (!a->tasks)
		return -ENOMEM;
	const cJSON *task;
	cJSON_ArrayForEach(task, tasks)
	{
		struct task_text *t = &a->tasks[a->n];
		t->id = adafs_json_str(task, "id", NULL);
		if (!t->id)
			return -EINVAL;
		t->text = adafs_json_print(task);
		if (!t->text)
			return -ENOMEM;
		t->len = strlen(t->text);
		t->pending = true;
		a->n++;
	}
	return 0;
}

static struct task_text *find_task(struct adding *a, const char *id)
{
	for (size_t i = 0; id && i < a->n; i++)
		if (strcmp(a->tasks[i].id, id) == 0)
			return &a->tasks[i];
	return NULL;
}

/* One result of a chunk. 0, or the error of a task that the service will not take. */
static int take_result(struct adding *a, const cJSON *result, struct adafs_err *reterr)
{
	const char *status = adafs_json_str(result, "status", "");
	struct task_text *t = find_task(a, adafs_json_str(result, "taskId", NULL));
	const cJSON *error = adafs_json_get(result, "error");
	const char *code = adafs_json_str(error, "code", "");
	if (!t)
		return 0;
	if (strcasecmp(status, "success") == 0 || strcmp(code, "TaskExists") == 0) {
		t->pending = false;
		return 0;
	}
	if (strcasecmp(status, "servererror") == 0) {
		a->again = true;
		return 0;
	}
	const char *message = adafs_json_str(adafs_json_get(error, "message"), "value", "");
	int rc = strcmp(code, "RequestBodyTooLarge") == 0 ? -EFBIG : -EINVAL;
	adafs_err_set(reterr, rc, "add tasks: task '%s' was refused: %s: %.*s", t->id, code,
		      (int)strcspn(message, "\r\n"), message);
	if (reterr)
		snprintf(reterr->service_code, sizeof(reterr->service_code), "%s", code);
	return rc;
}

static int chunk_write(struct adafs_buf *b, const struct adding *a, const size_t *index, size_t n)
{
	int rc = adafs_buf_adds(b, "{\"value\":[");
	for (size_t i = 0; i < n && rc == 0; i++) {
		const struct task_text *t = &a->tasks[index[i]];
		rc = i ? adafs_buf_adds(b, ",") : 0;
		if (rc == 0)
			rc = adafs_buf_add(b, t->text, t->len);
	}
	return rc < 0 ? rc : adafs_buf_adds(b, "]}");
}

static int chunk_send(struct adding *a, const size_t *index, size_t n, struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf body = ADAFS_BUF_INIT(64u * 1024 * 1024);
	int rc = chunk_write(&body, a, index, n);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "add tasks: %s", strerror(-rc));
	ADAFS_JSON *reply = NULL;
	struct adafs_err err = { 0 };
	rc = batch_call_text(a->client, "POST", "add tasks", a->url, body.data, &reply, &err);
	if (rc < 0 && err.http_status == 413 && n > 1) {
		rc = chunk_send(a, index, n / 2, reterr);
		return rc < 0 ? rc : chunk_send(a, index + n / 2, n - n / 2, reterr);
	}
	if (rc < 0) {
		if (n == 1)
			adafs_err_prefix(&err, "task '%s'", a->tasks[index[0]].id);
		return adafs_err_copy(reterr, &err);
	}
	const cJSON *result;
	cJSON_ArrayForEach(result, adafs_json_get(reply, "value"))
	{
		rc = take_result(a, result, reterr);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Send everything pending once, in chunks. */
static int round_send(struct adding *a, struct adafs_err *reterr)
{
	size_t index[CHUNK_TASKS], n = 0, bytes = 0;
	for (size_t i = 0; i < a->n; i++) {
		if (!a->tasks[i].pending)
			continue;
		if (n && (n == CHUNK_TASKS || bytes + a->tasks[i].len + 1 > CHUNK_BYTES)) {
			int rc = chunk_send(a, index, n, reterr);
			if (rc < 0)
				return rc;
			n = bytes = 0;
		}
		index[n++] = i;
		bytes += a->tasks[i].len + 1;
	}
	return n ? chunk_send(a, index, n, reterr) : 0;
}

static const struct task_text *first_pending(const struct adding *a)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->tasks[i].pending)
			return &a->tasks[i];
	return NULL;
}

int adafs_batch_task_add_all(struct adafs_batch_client *c, const char *job, const cJSON *tasks,
			     struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf url = ADAFS_BUF_INIT(4096);
	ADAFS_CLEANUP(adding_clear) struct adding a = { .client = c };
	int rc = batch_url(&url, c, "/jobs/%s/addtaskcollection", job);
	if (rc == 0)
		rc = adding_init(&a, tasks);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "add tasks: %s",
				     rc == -EINVAL ? "a task without an id" : strerror(-rc));
	a.url = url.data;
	for (unsigned round = 0; round < MAX_ROUNDS; round++) {
		if (round) {
			const struct timespec pause = { .tv_nsec = ROUND_PAUSE_MS * 1000000l };
			nanosleep(&pause, NULL);
		}
		a.again = false;
		rc = round_send(&a, reterr);
		if (rc < 0)
			return rc;
		if (!first_pending(&a))
			return 0;
		if (!a.again)
			return adafs_err_set(reterr, -EPROTO,
					     "add tasks: the reply does not mention task '%s'",
					     first_pending(&a)->id);
	}
	return adafs_err_set(reterr, -EAGAIN, "add tasks: the service keeps failing on task '%s'",
			     first_pending(&a)->id);
}
