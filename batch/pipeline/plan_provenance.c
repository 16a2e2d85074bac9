/*
 * plan_provenance.c - what a result was made from and by, as far as the plan knows: the wrapper of
 * the result step adds what the nodes told and writes manifest.json beside the result. The lists
 * are JSON that only wants its end, so that no shell has to escape a name.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/json.h"
#include "batch/pipeline/build.h"

/* Of one variable: Linux takes 128 KiB. */
#define MAX_CHUNK (64 << 10)

/* NULL or "" becomes null. */
static void add_known(struct build *b, cJSON *to, const char *name, const char *value)
{
	if (value && *value)
		build_str(b, to, name, value);
	else
		b->oom |= !cJSON_AddNullToObject(to, name);
}

static void add_images(struct build *b, cJSON *to)
{
	cJSON *list = build_array(b, to, "images");
	for (size_t i = 0; i < b->req->n_images; i++) {
		const struct adafs_plan_image *image = &b->req->images[i];
		const char *slash = strrchr(image->blob, '/');
		cJSON *o = build_item(b, list);
		build_str(b, o, "name", slash ? slash + 1 : image->blob);
		build_str(b, o, "role", b->p->inputs[image->role].name);
		build_str(b, o, "blob", image->blob);
		if (image->size >= 0)
			b->oom |= !cJSON_AddNumberToObject(o, "size", (double)image->size);
		else
			add_known(b, o, "size", NULL);
		add_known(b, o, "sha256", image->sha256);
		add_known(b, o, "etag", image->etag);
		add_known(b, o, "snapshot", image->snapshot);
		add_known(b, o, "date", image->date);
	}
}

static void add_container(struct build *b, cJSON *to)
{
	const char *at = b->p->image ? strstr(b->p->image, "@sha256:") : NULL;
	if (!b->p->image) {
		add_known(b, to, "container", NULL);
		return;
	}
	cJSON *o = build_object(b, to, "container");
	build_str(b, o, "image", b->p->image);
	add_known(b, o, "digest", at ? at + 1 : NULL);
}

/* The head of the manifest. */
static int add_head(struct build *b, cJSON *list)
{
	ADAFS_JSON *head = cJSON_CreateObject();
	b->oom |= !cJSON_AddNumberToObject(head, "version", 1);
	build_str(b, head, "event", b->req->event);
	build_str(b, head, "job", b->req->job_id);
	if (b->req->unit)
		build_str(b, head, "unit", b->req->unit);
	add_images(b, head);
	add_container(b, head);
	build_str(b, head, "adafs", ADAFS_VERSION);
	build_str(b, head, "wrapper", b->p->assets[b->p->n_assets - 1].sha256);
	ADAFS_FREE char *text = b->oom ? NULL : build_print(head);
	if (!text)
		return -ENOMEM;
	build_env(b, list, "ADAFS_MANIFEST", text);
	return 0;
}

/* "task TAB run TAB JSON": by the first two the wrapper finds what the node told. */
static int add_step(struct build *b, const struct adafs_plan_step *t, struct adafs_buf *to)
{
	ADAFS_JSON *o = cJSON_CreateObject();
	build_str(b, o, "name", t->name);
	build_str(b, o, "task", t->task_id);
	b->oom |= !cJSON_AddNumberToObject(o, "run", t->run) ||
		  !cJSON_AddBoolToObject(o, "reused", t->reused);
	add_known(b, o, "key", t->key);
	ADAFS_FREE char *text = b->oom ? NULL : build_print(o);
	return text ? adafs_buf_addf(to, "%s\t%u\t%s\n", t->task_id, t->run, text) : -ENOMEM;
}

/* All steps but the merge, in as many variables as it takes: ADAFS_STEPS_1, ADAFS_STEPS_2, ... */
static int add_steps(struct build *b, cJSON *list)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf buf = ADAFS_BUF_INIT(2 * MAX_CHUNK);
	unsigned number = 0;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < b->plan->n_steps; i++) {
		if (!b->plan->steps[i].merge)
			rc = add_step(b, &b->plan->steps[i], &buf);
		if (rc < 0 || (buf.len < MAX_CHUNK && i + 1 < b->plan->n_steps))
			continue;
		char name[32];
		snprintf(name, sizeof(name), "ADAFS_STEPS_%u", ++number);
		build_env(b, list, name, adafs_buf_str(&buf));
		adafs_buf_reset(&buf);
	}
	return rc;
}

int build_provenance(struct build *b, cJSON *list)
{
	int rc = add_head(b, list);
	return rc < 0 ? rc : add_steps(b, list);
}
