/*
 * plan_keys.c - the key of a step: a digest of all that can change what it writes. A step that
 * ended well under the same key is not run again, unless something that it reads is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/codec.h"
#include "batch/base/digest.h"
#include "batch/pipeline/build.h"

static void feed(struct adafs_digest *d, const char *name, const char *value)
{
	adafs_digest_update(d, name, strlen(name) + 1);
	adafs_digest_update(d, value ? value : "", strlen(value ? value : "") + 1);
}

static void feed_number(struct adafs_digest *d, const char *name, long long value)
{
	char text[24];
	snprintf(text, sizeof(text), "%lld", value);
	feed(d, name, text);
}

/* Scripts by their content, blobs by their version: the same name may hold another model. */
static void feed_asset(const struct build *b, struct adafs_digest *d, size_t named)
{
	const struct model_asset *m = &b->p->named[named];
	for (size_t i = 0; i < m->n; i++) {
		const struct adafs_pipeline_asset *a = &b->p->assets[m->first + i];
		const char *etag = !a->sha256 && b->req->asset_etag
					   ? b->req->asset_etag(b->req->asset_arg, a->blob)
					   : NULL;
		feed(d, "asset", a->blob);
		feed(d, "version", a->sha256 ? a->sha256 : etag);
	}
}

static void feed_images(const struct build *b, struct adafs_digest *d, size_t role)
{
	for (size_t i = 0; i < b->req->n_images; i++) {
		if (b->req->images[i].role != role)
			continue;
		feed(d, "image", b->names[i]);
		feed(d, "content", b->req->images[i].sha256);
	}
}

static void feed_uses(const struct build *b, struct adafs_digest *d,
		      const struct adafs_plan_step *t)
{
	const struct model_step *s = build_model(b, t);
	for (size_t i = 0; i < s->n_uses; i++) {
		const struct piece *ref = &s->uses[i];
		if (ref->kind == PIECE_INPUT)
			feed_images(b, d, ref->index);
		else if (ref->kind == PIECE_ASSET)
			feed_asset(b, d, ref->index);
		if (ref->kind != PIECE_OUTPUT)
			continue;
		size_t n;
		const struct adafs_plan_step *from = build_producers(b, t, ref, &n);
		feed(d, "output", b->p->steps[ref->index].outputs[ref->output].name);
		for (size_t k = 0; k < n; k++)
			feed(d, "of", from[k].key);
	}
}

static void feed_settings(const struct build *b, struct adafs_digest *d,
			  const struct adafs_plan_step *t)
{
	const struct model_step *s = build_model(b, t);
	feed(d, "container", b->p->image);
	feed(d, "options", b->p->run_options);
	feed_number(d, "admin", b->p->admin);
	for (size_t i = 0; i < b->p->n_shell; i++)
		feed(d, "shell", b->p->shell[i]);
	for (size_t i = 0; i < s->n_stop_on; i++)
		feed_number(d, "stop", s->stop_on[i]);
	for (size_t i = 0; i < s->n_outputs; i++) {
		feed(d, "output", s->outputs[i].name);
		feed(d, "path", s->outputs[i].path);
		feed_number(d, "optional", s->outputs[i].optional);
		feed_number(d, "shares", build_shares(b, t->model, i));
	}
	for (size_t i = 0; i < s->n_places; i++)
		feed(d, "file", s->places[i].path);
	feed_number(d, "shard", t->shard);
	feed_number(d, "shards", s->shards);
	feed_number(d, "result", s->result);
}

/* Limits, tries and slots do not change what a command writes: they are no part of the key. */
static int make_key(struct build *b, struct adafs_plan_step *t)
{
	uint8_t sum[ADAFS_SHA256_LEN];
	char hex[ADAFS_SHA256_HEX_LEN];
	ADAFS_FREE char *command = NULL;
	struct adafs_digest *d = adafs_digest_new(ADAFS_DIGEST_SHA256);
	int rc = d ? build_command(b, build_model(b, t), &command) : -ENOMEM;
	if (rc == 0) {
		feed(d, "command", command);
		feed(d, "unit", b->req->unit);
		feed_settings(b, d, t);
		feed_uses(b, d, t);
		adafs_digest_final(d, sum);
		adafs_hex_encode(sum, sizeof(sum), hex);
		memcpy(t->key, hex, sizeof(t->key) - 1);
	}
	adafs_digest_free(d);
	return rc < 0 ? build_oom(b) : 0;
}

/* Whether all that a step reads is as an earlier run left it. */
static bool reads_nothing_new(const struct build *b, const struct adafs_plan_step *t)
{
	const struct model_step *s = build_model(b, t);
	for (size_t i = 0; i < s->n_uses; i++) {
		if (s->uses[i].kind != PIECE_OUTPUT)
			continue;
		size_t n;
		const struct adafs_plan_step *from = build_producers(b, t, &s->uses[i], &n);
		for (size_t k = 0; k < n; k++)
			if (!from[k].reused)
				return false;
	}
	return true;
}

static void reuse(struct build *b, struct adafs_plan_step *t)
{
	/* Without a merge of its own nothing else makes the part the newest one. */
	if (t->result && b->req->no_merge)
		return;
	for (size_t i = 0; i < b->req->n_kept; i++) {
		const struct adafs_plan_kept *k = &b->req->kept[i];
		if (strcmp(k->name, t->name) != 0 || strcmp(k->key, t->key) != 0 ||
		    k->run >= b->req->run || !reads_nothing_new(b, t))
			continue;
		t->reused = true;
		t->run = k->run;
	}
}

int build_keys(struct build *b)
{
	int rc = 0;
	/* Steps come after what they read: its keys and its fate are known by then. */
	for (size_t i = 0; rc == 0 && i < b->plan->n_steps; i++) {
		struct adafs_plan_step *t = &b->plan->steps[i];
		if (t->merge)
			continue;
		rc = make_key(b, t);
		if (rc == 0)
			reuse(b, t);
	}
	return rc;
}
