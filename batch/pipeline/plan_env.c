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

void build_env(struct build *b, cJSON *list, const char *name, const char *value)
{
	cJSON *item = build_item(b, list);
	build_str(b, item, "name", name);
	build_str(b, item, "value", value);
}

void build_env_number(struct build *b, cJSON *list, const char *name, int64_t value)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRId64, value);
	build_env(b, list, name, text);
}

/* "name TAB must|may TAB file|dir TAB path TAB shares": shares 0 for what is not split. */
static int add_outputs(struct build *b, const struct adafs_plan_step *t, cJSON *list)
{
	const struct model_step *s = build_model(b, t);
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf buf = ADAFS_BUF_INIT(1 << 20);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < s->n_outputs; i++) {
		const struct model_output *o = &s->outputs[i];
		rc = adafs_buf_addf(&buf, "%s\t%s\t%s\t%s\t%d\n", o->name,
				    o->optional ? "may" : "must", o->folder ? "dir" : "file",
				    o->path, build_shares(b, t->model, i));
	}
	build_env(b, list, "ADAFS_OUTPUTS", adafs_buf_str(&buf));
	return rc;
}

static int add_shell(struct build *b, cJSON *list)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf buf = ADAFS_BUF_INIT(1 << 16);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < b->p->n_shell; i++)
		rc = adafs_buf_addf(&buf, "%s%s", i ? "\n" : "", b->p->shell[i]);
	build_env(b, list, "ADAFS_SHELL", adafs_buf_str(&buf));
	return rc;
}

static int add_stop_on(struct build *b, const struct model_step *s, cJSON *list)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf buf = ADAFS_BUF_INIT(4096);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < s->n_stop_on; i++)
		rc = adafs_buf_addf(&buf, "%s%d", i ? " " : "", s->stop_on[i]);
	build_env(b, list, "ADAFS_STOP_ON", adafs_buf_str(&buf));
	return rc;
}

/* cJSON escapes control characters below 0x20 only. */
char *build_print(const cJSON *json)
{
	ADAFS_FREE char *text = adafs_json_print(json);
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf buf = ADAFS_BUF_INIT(1 << 24);
	int rc = text ? 0 : -ENOMEM;
	for (const char *c = text; rc == 0 && *c; c++) {
		unsigned next = *c == '\xc2' ? (unsigned char)c[1] : 0;
		if (*c == 0x7f)
			rc = adafs_buf_adds(&buf, "\\u007f");
		else if (next >= 0x80 && next < 0xa0)
			rc = adafs_buf_addf(&buf, "\\u%04x", (unsigned char)*++c);
		else
			rc = adafs_buf_add(&buf, c, 1);
	}
	return rc == 0 ? adafs_buf_steal(&buf, NULL) : NULL;
}

/* Who this part belongs to: for the result step, and for the merge, should that step never have
 * run. */
static int add_part(struct build *b, cJSON *list)
{
	char key[ADAFS_SHA256_HEX_LEN];
	const char *order = "";
	ADAFS_JSON *images = NULL;
	int rc = build_part(b, key, &order, &images);
	ADAFS_FREE char *text = rc == 0 ? build_print(images) : NULL;
	if (!text)
		return -ENOMEM;
	key[32] = 0;
	/* A result that is kept from an earlier run has left its part then. */
	for (size_t i = 0; i < b->plan->n_steps; i++)
		if (b->plan->steps[i].result)
			build_env_number(b, list, "ADAFS_PART_RUN", b->plan->steps[i].run);
	build_env(b, list, "ADAFS_PART_KEY", key);
	build_env(b, list, "ADAFS_PART_ORDER", order);
	build_env(b, list, "ADAFS_PART_IMAGES", text);
	return 0;
}

static int add_merge(struct build *b, const struct model_step *s, cJSON *list)
{
	const char *job = b->req->job_id;
	size_t len = strlen(job);
	ADAFS_JSON *event = cJSON_CreateString(b->req->event);
	ADAFS_FREE char *event_json = event ? build_print(event) : NULL;
	ADAFS_FREE char *id =
		b->req->run > 1 ? adafs_fmt("%sr%u", job + (len > 8 ? len - 8 : 0), b->req->run)
				: strdup(job + (len > 8 ? len - 8 : 0));
	if (!event_json || !id)
		return -ENOMEM;
	build_env(b, list, "ADAFS_MERGE_ID", id);
	build_env(b, list, "ADAFS_EVENT_JSON", event_json);
	build_env(b, list, "ADAFS_PIPELINE", b->p->name);
	build_env(b, list, "ADAFS_PIPELINE_DIGEST", adafs_pipeline_digest(b->p));
	if (b->p->image)
		build_env(b, list, "ADAFS_CONTAINER", b->p->image);
	for (size_t i = 0; i < s->n_outputs; i++) {
		char name[40];
		snprintf(name, sizeof(name), "ADAFS_EMPTY_%zu", i + 1);
		if (s->outputs[i].when_empty)
			build_env(b, list, name, s->outputs[i].when_empty);
	}
	return 0;
}

/* A step of a job of images, or its own merge. */
static int add_of_image(struct build *b, const struct model_step *s, cJSON *list)
{
	ADAFS_FREE char *parts = adafs_fmt(STAGE "%.*s", (int)strlen(b->parts) - 1, b->parts);
	int rc = s->result || s->merge ? add_part(b, list) : 0;
	if (!parts)
		return -ENOMEM;
	build_env(b, list, "ADAFS_MODE", s->merge ? "merge" : "step");
	if (s->merge)
		build_env(b, list, "ADAFS_PARTS", parts);
	return rc == 0 && s->result ? build_provenance(b, list) : rc;
}

int build_environment(struct build *b, const struct adafs_plan_step *t, cJSON *task)
{
	const struct model_step *s = build_model(b, t);
	cJSON *list = build_array(b, task, "environmentSettings");
	ADAFS_FREE char *command = NULL;
	ADAFS_FREE char *inputs = NULL;
	int rc = build_command(b, s, &command);
	if (rc == 0)
		rc = build_inputs(b, t, &inputs);
	if (rc < 0)
		return build_oom(b);
	build_env(b, list, "ADAFS_STEP", t->task_id);
	build_env(b, list, "ADAFS_JOB", b->req->job_id);
	build_env_number(b, list, "ADAFS_RUN", b->req->run);
	build_env(b, list, "ADAFS_COMMAND", command);
	build_env(b, list, "ADAFS_INPUTS", inputs);
	build_env_number(b, list, "ADAFS_TIME_LIMIT", s->settings.time_limit_ms / 1000);
	build_env_number(b, list, "ADAFS_RETRIES", s->settings.retries);
	if (b->expires_us)
		build_env_number(b, list, "ADAFS_EXPIRES", b->expires_us / 1000000);
	if (t->shard >= 0 && !b->req->n_parts) {
		build_env_number(b, list, "ADAFS_SHARD", t->shard);
		build_env_number(b, list, "ADAFS_SHARDS", s->shards);
	}
	rc = add_shell(b, list);
	if (rc == 0)
		rc = add_outputs(b, t, list);
	if (rc == 0)
		rc = add_stop_on(b, s, list);
	if (rc == 0 && s->result)
		build_env(b, list, "ADAFS_RESULT", "1");
	if (rc == 0 && b->req->n_parts)
		rc = build_merge_environment(b, t, list);
	else if (rc == 0)
		rc = add_of_image(b, s, list);
	if (rc == 0 && s->merge)
		rc = add_merge(b, s, list);
	return rc < 0 ? build_oom(b) : 0;
}
