/*
 * plan_env.c - what the wrapper is to do, as environment variables. Lists are lines of fields
 * between tabs. Nothing here is run as code but ADAFS_COMMAND, which comes from the pipeline file
 * and holds paths that adafs made.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/json.h"
#include "batch/pipeline/build.h"

static void add_env(struct build *b, cJSON *list, const char *name, const char *value)
{
	cJSON *item = build_item(b, list);
	build_str(b, item, "name", name);
	build_str(b, item, "value", value);
}

static void add_number(struct build *b, cJSON *list, const char *name, int64_t value)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRId64, value);
	add_env(b, list, name, text);
}

static int add_outputs(struct build *b, const struct model_step *s, cJSON *list)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf buf = ADAFS_BUF_INIT(1 << 20);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < s->n_outputs; i++) {
		const struct model_output *o = &s->outputs[i];
		rc = adafs_buf_addf(&buf, "%s\t%s\t%s\t%s\n", o->name, o->optional ? "may" : "must",
				    o->folder ? "dir" : "file", o->path);
	}
	add_env(b, list, "ADAFS_OUTPUTS", adafs_buf_str(&buf));
	return rc;
}

static int add_shell(struct build *b, cJSON *list)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf buf = ADAFS_BUF_INIT(1 << 16);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < b->p->n_shell; i++)
		rc = adafs_buf_addf(&buf, "%s%s", i ? "\n" : "", b->p->shell[i]);
	add_env(b, list, "ADAFS_SHELL", adafs_buf_str(&buf));
	return rc;
}

static int add_stop_on(struct build *b, const struct model_step *s, cJSON *list)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf buf = ADAFS_BUF_INIT(4096);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < s->n_stop_on; i++)
		rc = adafs_buf_addf(&buf, "%s%d", i ? " " : "", s->stop_on[i]);
	add_env(b, list, "ADAFS_STOP_ON", adafs_buf_str(&buf));
	return rc;
}

/* Who this part belongs to: for the result step, and for the merge, should that step never have
 * run. */
static int add_part(struct build *b, cJSON *list)
{
	char key[ADAFS_SHA256_HEX_LEN];
	const char *order = "";
	ADAFS_JSON *images = NULL;
	int rc = build_part(b, key, &order, &images);
	ADAFS_FREE char *text = rc == 0 ? adafs_json_print(images) : NULL;
	if (!text)
		return -ENOMEM;
	key[32] = 0;
	add_env(b, list, "ADAFS_PART_KEY", key);
	add_env(b, list, "ADAFS_PART_ORDER", order);
	add_env(b, list, "ADAFS_PART_IMAGES", text);
	return 0;
}

static int add_merge(struct build *b, const struct model_step *s, cJSON *list)
{
	const char *job = b->req->job_id;
	size_t len = strlen(job);
	ADAFS_JSON *event = cJSON_CreateString(b->req->event);
	ADAFS_FREE char *event_json = event ? adafs_json_print(event) : NULL;
	ADAFS_FREE char *parts = adafs_fmt(STAGE "%.*s", (int)strlen(b->parts) - 1, b->parts);
	ADAFS_FREE char *id =
		b->req->run > 1 ? adafs_fmt("%sr%u", job + (len > 8 ? len - 8 : 0), b->req->run)
				: strdup(job + (len > 8 ? len - 8 : 0));
	if (!event_json || !parts || !id)
		return -ENOMEM;
	add_env(b, list, "ADAFS_PARTS", parts);
	add_env(b, list, "ADAFS_MERGE_ID", id);
	add_env(b, list, "ADAFS_EVENT_JSON", event_json);
	add_env(b, list, "ADAFS_PIPELINE", b->p->name);
	for (size_t i = 0; i < s->n_outputs; i++) {
		char name[40];
		snprintf(name, sizeof(name), "ADAFS_EMPTY_%zu", i + 1);
		if (s->outputs[i].when_empty)
			add_env(b, list, name, s->outputs[i].when_empty);
	}
	return 0;
}

int build_environment(struct build *b, const struct model_step *s, cJSON *task)
{
	cJSON *list = build_array(b, task, "environmentSettings");
	ADAFS_FREE char *command = NULL;
	ADAFS_FREE char *inputs = NULL;
	int rc = build_command(b, s, &command);
	if (rc == 0)
		rc = build_inputs(b, s, &inputs);
	if (rc < 0)
		return build_oom(b);
	add_env(b, list, "ADAFS_MODE", s->merge ? "merge" : "step");
	add_env(b, list, "ADAFS_STEP", build_step(b, s)->task_id);
	add_env(b, list, "ADAFS_JOB", b->req->job_id);
	add_number(b, list, "ADAFS_RUN", b->req->run);
	add_env(b, list, "ADAFS_COMMAND", command);
	add_env(b, list, "ADAFS_INPUTS", inputs);
	add_number(b, list, "ADAFS_TIME_LIMIT", s->settings.time_limit_ms / 1000);
	add_number(b, list, "ADAFS_RETRIES", s->settings.retries);
	if (b->expires_us)
		add_number(b, list, "ADAFS_EXPIRES", b->expires_us / 1000000);
	rc = add_shell(b, list);
	if (rc == 0)
		rc = add_outputs(b, s, list);
	if (rc == 0)
		rc = add_stop_on(b, s, list);
	if (rc == 0 && s->result)
		add_env(b, list, "ADAFS_RESULT", "1");
	if (rc == 0 && (s->result || s->merge))
		rc = add_part(b, list);
	if (rc == 0 && s->merge)
		rc = add_merge(b, s, list);
	return rc < 0 ? build_oom(b) : 0;
}
