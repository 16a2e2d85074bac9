/* foreman/manifest.c - a job to metadata and JSON, and back. Pure. */
#include "batch/foreman/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"

/* All metadata of a blob must stay under 8 KiB; the images get most of it. */
#define MAX_IMAGES_TEXT 4096
#define MAX_REASON 600

char *manifest_blob(const char *job_id)
{
	return adafs_fmt(MANIFEST_PREFIX "%s.json", job_id);
}

char *manifest_job_id(const char *blob)
{
	size_t prefix = strlen(MANIFEST_PREFIX), len = strlen(blob);
	if (strncmp(blob, MANIFEST_PREFIX, prefix) != 0 || len <= prefix + 5 ||
	    strcmp(blob + len - 5, ".json") != 0 || strchr(blob + prefix, '/'))
		return NULL;
	return strndup(blob + prefix, len - prefix - 5);
}

/* --- writing ----------------------------------------------------------------------------- */

static void add_time(cJSON *object, const char *name, int64_t us)
{
	char text[ADAFS_ISO8601_LEN];
	if (!us)
		return;
	adafs_clock_iso8601(us, text);
	cJSON_AddStringToObject(object, name, text);
}

static void add_text(cJSON *object, const char *name, const char *text)
{
	if (*text)
		cJSON_AddStringToObject(object, name, text);
}

/* kept: it is of an earlier run and has ended, whatever the job does. */
static cJSON *step_json(const struct foreman_job *j, const struct foreman_step *s, bool kept)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddNumberToObject(o, "number", s->number);
	cJSON_AddStringToObject(o, "name", s->name);
	cJSON_AddStringToObject(o, "task", s->task_id);
	cJSON_AddStringToObject(o, "command", s->command);
	cJSON_AddStringToObject(o, "work", s->work_prefix);
	if (s->merge)
		cJSON_AddTrueToObject(o, "merge");
	add_text(o, "key", s->key);
	cJSON_AddNumberToObject(o, "run", s->run);
	if (s->reused)
		cJSON_AddTrueToObject(o, "reused");
	cJSON *deps = s->dep && !kept ? cJSON_AddArrayToObject(o, "dependsOn") : NULL;
	for (size_t i = 0; deps && i < s->n_dep; i++)
		cJSON_AddItemToArray(deps, cJSON_CreateString(j->step[s->dep[i]].task_id));
	if (!j->ended && !s->reused && !kept)
		return o;
	cJSON_AddStringToObject(o, "state", adafs_state_name(s->state));
	add_text(o, "sentence", s->waiting_for);
	if (s->has_exit_code)
		cJSON_AddNumberToObject(o, "exitCode", s->exit_code);
	add_time(o, "changed", s->changed_us);
	add_time(o, "started", s->started_us);
	add_time(o, "finished", s->finished_us);
	add_text(o, "node", s->node);
	add_text(o, "failure", s->failure);
	return o;
}

char *manifest_body(const struct foreman_job *j, const char *pool)
{
	ADAFS_JSON *root = cJSON_CreateObject();
	cJSON_AddNumberToObject(root, "version", 1);
	cJSON_AddStringToObject(root, "id", j->id);
	cJSON_AddNumberToObject(root, "run", j->run);
	cJSON_AddStringToObject(root, "batchJob", j->batch_job_id);
	cJSON_AddStringToObject(root, "event", j->event);
	cJSON_AddStringToObject(root, "pool", pool);
	cJSON *pipeline = cJSON_AddObjectToObject(root, "pipeline");
	cJSON_AddStringToObject(pipeline, "name", j->pipeline);
	cJSON_AddStringToObject(pipeline, "digest", j->digest);
	cJSON *images = cJSON_AddArrayToObject(root, "images");
	for (size_t i = 0; i < j->n_inputs; i++) {
		const struct foreman_input *in = &j->input[i];
		cJSON *o = cJSON_CreateObject();
		cJSON_AddStringToObject(o, "role", in->role);
		cJSON_AddStringToObject(o, "blob", in->blob);
		add_text(o, "snapshot", in->snapshot);
		add_text(o, "etag", in->etag);
		cJSON_AddStringToObject(o, "sha256", in->sha256);
		add_text(o, "date", in->date);
		if (in->size >= 0)
			cJSON_AddNumberToObject(o, "size", (double)in->size);
		cJSON_AddItemToArray(images, o);
	}
	cJSON *parts = j->n_parts ? cJSON_AddArrayToObject(root, "parts") : NULL;
	for (size_t i = 0; parts && i < j->n_parts; i++) {
		cJSON *o = cJSON_CreateObject();
		cJSON_AddStringToObject(o, "job", j->part[i].job_id);
		cJSON_AddBoolToObject(o, "must", j->part[i].must);
		if (j->part[i].member)
			cJSON_AddTrueToObject(o, "member");
		cJSON_AddItemToArray(parts, o);
	}
	if (j->n_parts)
		cJSON_AddNumberToObject(root, "mergedRuns", (double)j->merged_runs);
	add_text(root, "unit", j->unit);
	add_text(root, "pairing", j->pairing);
	cJSON *steps = cJSON_AddArrayToObject(root, "steps");
	for (size_t i = 0; i < j->n_steps; i++)
		cJSON_AddItemToArray(steps, step_json(j, &j->step[i], false));
	/* Whoever takes up a run that is not in Batch yet needs what it builds on. */
	cJSON *kept = j->n_kept && !j->ended ? cJSON_AddArrayToObject(root, "kept") : NULL;
	for (size_t i = 0; kept && i < j->n_kept; i++)
		cJSON_AddItemToArray(kept, step_json(j, &j->kept[i], true));
	add_time(root, "created", j->created_us);
	if (j->ended) {
		cJSON_AddStringToObject(root, "state", adafs_state_name(j->state));
		add_text(root, "reason", j->waiting_for);
		add_time(root, "ended", j->ended_us);
		add_text(root, "events", adafs_buf_str(&j->events));
	}
	return adafs_json_print(root);
}

static int set_encoded(struct adafs_blob_meta *m, const char *name, const char *text, size_t max)
{
	/* A cut inside an escape or a character would not decode: cut the text before it is
	 * encoded. */
	size_t len = strlen(text);
	ADAFS_FREE char *value = NULL;
	for (;;) {
		value = adafs_url_encode(text, len, "/");
		if (!value)
			return -ENOMEM;
		if (strlen(value) <= max)
			break;
		free(value);
		value = NULL;
		len = len > 32 ? len - 32 : 0;
		while (len && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
	}
	return *value ? adafs_blob_meta_set(m, name, value) : 0;
}

static int set_number(struct adafs_blob_meta *m, const char *name, int64_t value)
{
	char text[32];
	snprintf(text, sizeof(text), "%" PRId64, value);
	return adafs_blob_meta_set(m, name, text);
}

static char *images_text(const struct foreman_job *j)
{
	struct adafs_buf b = ADAFS_BUF_INIT(MAX_IMAGES_TEXT);
	int rc = 0;
	for (size_t i = 0; i < j->n_inputs && rc == 0; i++) {
		const struct foreman_input *in = &j->input[i];
		ADAFS_FREE char *role = adafs_url_encode(in->role, strlen(in->role), "");
		ADAFS_FREE char *blob = adafs_url_encode(in->blob, strlen(in->blob), "/");
		if (!role || !blob)
			rc = -ENOMEM;
		else
			rc = adafs_buf_addf(&b, "%s%s:%s:%.*s", i ? "," : "", role, blob,
					    MANIFEST_SHA_DIGITS, in->sha256);
	}
	if (rc < 0) { /* too many for the metadata: the body has them */
		adafs_buf_clear(&b);
		return strdup("");
	}
	return adafs_buf_steal(&b, NULL);
}

/* What is to become of the job; nothing is said of what is as usual. */
static int set_wishes(const struct foreman_job *j, struct adafs_blob_meta *m)
{
	int rc = 0;
	char keep[48];
	if (j->keep_ms) {
		adafs_duration_format(j->keep_ms, keep);
		rc = adafs_blob_meta_set(m, "adafskeep", keep);
	}
	if (!rc && j->deletion)
		rc = adafs_blob_meta_set(m, "adafsdelete",
					 j->deletion == FOREMAN_DELETED ? "done" : "wanted");
	if (!rc && j->ended && j->work)
		rc = adafs_blob_meta_set(m, "adafswork",
					 j->work == FOREMAN_WORK_GONE ? "removed" : "removing");
	if (!rc && j->ended && j->dropped_us)
		rc = set_number(m, "adafsdropped", j->dropped_us);
	return rc;
}

int manifest_meta(const struct foreman_job *j, struct adafs_blob_meta *ret)
{
	struct adafs_blob_meta m = { 0 };
	ADAFS_FREE char *images = images_text(j);
	if (!images ||
	    adafs_blob_meta_set(&m, "adafsstate",
				adafs_state_name(j->ended ? j->state : ADAFS_STATE_QUEUED)) ||
	    (*j->batch_job_id && adafs_blob_meta_set(&m, "adafsbatchjob", j->batch_job_id)) ||
	    set_number(&m, "adafsrun", j->run) || set_number(&m, "adafscreated", j->created_us) ||
	    set_number(&m, "adafsended", j->ended ? j->ended_us : 0) ||
	    set_encoded(&m, "adafsevent", j->event, 1024) ||
	    set_encoded(&m, "adafspipeline", j->pipeline, 256) ||
	    adafs_blob_meta_set(&m, "adafsdigest", j->digest) ||
	    (*j->unit && adafs_blob_meta_set(&m, "adafsunit", j->unit)) ||
	    (j->n_merged && set_number(&m, "adafsparts", (int64_t)j->n_merged)) ||
	    (j->n_members && set_number(&m, "adafsmembers", (int64_t)j->n_members)) ||
	    (*j->nonce && strlen(j->nonce) < 512 &&
	     adafs_blob_meta_set(&m, "adafsnonce", j->nonce)) ||
	    (*images && adafs_blob_meta_set(&m, "adafsimages", images)) ||
	    (j->ended && set_encoded(&m, "adafsreason", j->waiting_for, MAX_REASON)) ||
	    set_wishes(j, &m)) {
		adafs_blob_meta_clear(&m);
		return -ENOMEM;
	}
	*ret = m;
	return 0;
}

/* --- reading ----------------------------------------------------------------------------- */

static bool parse_state(const char *name, enum adafs_state *ret)
{
	for (int s = ADAFS_STATE_WAITING; s <= ADAFS_STATE_EMPTY; s++) {
		if (strcmp(adafs_state_name(s), name) == 0) {
			*ret = (enum adafs_state)s;
			return true;
		}
	}
	return false;
}

static const char *meta(const struct adafs_blob_meta *m, const char *name)
{
	const char *value = adafs_blob_meta_get(m, name);
	return value ? value : "";
}

static int get_encoded(const struct adafs_blob_meta *m, const char *name, char **text)
{
	const char *value = meta(m, name);
	ADAFS_FREE char *plain = adafs_url_decode(value, strlen(value), false);
	if (!plain)
		return errno == ENOMEM ? -ENOMEM : -EINVAL;
	foreman_text_set(text, plain);
	return 0;
}

/* One "role:blob:sha" of the metadata. */
static int apply_image(struct foreman_job *j, const char *item, size_t len)
{
	const char *blob = memchr(item, ':', len);
	const char *sha = blob ? memchr(blob + 1, ':', len - (size_t)(blob + 1 - item)) : NULL;
	if (!sha)
		return -EINVAL;
	ADAFS_FREE char *role_text = adafs_url_decode(item, (size_t)(blob - item), false);
	ADAFS_FREE char *blob_text = adafs_url_decode(blob + 1, (size_t)(sha - blob - 1), false);
	ADAFS_FREE char *sha_text = strndup(sha + 1, len - (size_t)(sha + 1 - item));
	if (!role_text || !blob_text || !sha_text)
		return -EINVAL;
	const struct foreman_input in = {
		.role = role_text, .blob = blob_text, .sha256 = sha_text, .size = -1
	};
	return foreman_job_add_input(j, &in);
}

static int apply_images(struct foreman_job *j, const char *text)
{
	foreman_job_clear_inputs(j);
	while (*text) {
		size_t len = strcspn(text, ",");
		int rc = apply_image(j, text, len);
		if (rc)
			return rc;
		text += len + (text[len] == ',');
	}
	return 0;
}

void manifest_apply_wishes(struct foreman_job *j, const struct adafs_blob_meta *m)
{
	const char *deletion = meta(m, "adafsdelete");
	if (adafs_duration_parse(meta(m, "adafskeep"), &j->keep_ms))
		j->keep_ms = 0;
	j->deletion = strcmp(deletion, "done") == 0     ? FOREMAN_DELETED
		      : strcmp(deletion, "wanted") == 0 ? FOREMAN_DELETION_WANTED
							: FOREMAN_NOT_DELETED;
}

int manifest_apply_meta(struct foreman_job *j, const struct adafs_blob_meta *m)
{
	enum adafs_state state;
	if (!parse_state(meta(m, "adafsstate"), &state))
		return -EINVAL;
	unsigned long run = strtoul(meta(m, "adafsrun"), NULL, 10);
	int rc = get_encoded(m, "adafsevent", &j->event);
	if (!rc)
		rc = get_encoded(m, "adafspipeline", &j->pipeline);
	if (!rc)
		rc = get_encoded(m, "adafsreason", &j->waiting_for);
	if (!rc && !j->body_loaded)
		rc = apply_images(j, meta(m, "adafsimages"));
	if (rc)
		return rc;
	j->run = run ? (unsigned)run : 1;
	foreman_text_set(&j->batch_job_id, meta(m, "adafsbatchjob"));
	foreman_text_set(&j->digest, meta(m, "adafsdigest"));
	foreman_text_set(&j->nonce, meta(m, "adafsnonce"));
	foreman_text_set(&j->unit, meta(m, "adafsunit"));
	j->n_merged = strtoul(meta(m, "adafsparts"), NULL, 10);
	j->n_members = strtoul(meta(m, "adafsmembers"), NULL, 10);
	j->created_us = strtoll(meta(m, "adafscreated"), NULL, 10);
	j->ended_us = strtoll(meta(m, "adafsended"), NULL, 10);
	j->ended = j->ended_us != 0;
	j->state = j->ended ? state : ADAFS_STATE_QUEUED;
	j->changed_us = j->ended ? j->ended_us : j->created_us;
	manifest_apply_wishes(j, m);
	const char *work = meta(m, "adafswork");
	j->work = strcmp(work, "removed") == 0    ? FOREMAN_WORK_GONE
		  : strcmp(work, "removing") == 0 ? FOREMAN_WORK_GOING
						  : FOREMAN_WORK_KEPT;
	j->dropped_us = strtoll(meta(m, "adafsdropped"), NULL, 10);
	/* A further run is written down before it is brought to Batch. */
	j->submitted = j->ended || *j->batch_job_id;
	j->dirty = true;
	return 0;
}

static int64_t time_of(const cJSON *o, const char *name)
{
	int64_t us;
	const char *text = adafs_json_str(o, name, NULL);
	return text && adafs_clock_parse_iso8601(text, &us) == 0 ? us : 0;
}

/* n_before: the job's steps that stand before it. */
static int read_step(struct foreman_job *j, struct foreman_step *s, size_t n_before, const cJSON *o)
{
	const cJSON *deps = adafs_json_get(o, "dependsOn"), *d;
	s->number = (unsigned)adafs_json_int(o, "number", 0);
	s->name = strdup(adafs_json_str(o, "name", ""));
	s->task_id = strdup(adafs_json_str(o, "task", ""));
	s->command = strdup(adafs_json_str(o, "command", ""));
	s->work_prefix = strdup(adafs_json_str(o, "work", ""));
	s->node = strdup(adafs_json_str(o, "node", ""));
	s->failure = strdup(adafs_json_str(o, "failure", ""));
	s->told = strdup("");
	s->waiting_for = strdup(adafs_json_str(o, "sentence", ""));
	s->merge = adafs_json_bool(o, "merge", false);
	s->reused = adafs_json_bool(o, "reused", false);
	s->run = (unsigned)adafs_json_int(o, "run", j->run);
	snprintf(s->key, sizeof(s->key), "%s", adafs_json_str(o, "key", ""));
	s->dep = calloc((size_t)cJSON_GetArraySize(deps) + 1, sizeof(*s->dep));
	if (!s->name || !s->task_id || !s->command || !s->work_prefix || !s->node || !s->failure ||
	    !s->told || !s->waiting_for || !s->dep)
		return -ENOMEM;
	cJSON_ArrayForEach(d, deps)
	{
		size_t k = 0;
		while (cJSON_IsString(d) && k < n_before &&
		       strcmp(j->step[k].task_id, d->valuestring) != 0)
			k++;
		if (cJSON_IsString(d) && k < n_before)
			s->dep[s->n_dep++] = k;
	}
	if (!parse_state(adafs_json_str(o, "state", ""), &s->state))
		s->state = s->n_dep ? ADAFS_STATE_WAITING : ADAFS_STATE_QUEUED;
	const cJSON *code = adafs_json_get(o, "exitCode");
	s->has_exit_code = cJSON_IsNumber(code);
	s->exit_code = s->has_exit_code ? (int)code->valuedouble : 0;
	s->started_us = time_of(o, "started");
	s->finished_us = time_of(o, "finished");
	s->changed_us = time_of(o, "changed");
	if (!s->changed_us)
		s->changed_us = j->created_us;
	return 0;
}

static int read_kept(struct foreman_job *j, const cJSON *kept)
{
	const cJSON *o;
	foreman_job_clear_kept(j);
	j->kept = calloc((size_t)cJSON_GetArraySize(kept) + 1, sizeof(*j->kept));
	if (!j->kept)
		return -ENOMEM;
	cJSON_ArrayForEach(o, kept)
	{
		int rc = read_step(j, &j->kept[j->n_kept++], 0, o);
		if (rc) {
			foreman_job_clear_kept(j);
			return rc;
		}
	}
	return 0;
}

int manifest_apply_body(struct foreman_job *j, const char *text, size_t len,
			struct adafs_err *reterr)
{
	ADAFS_JSON *root = adafs_json_parse(text, len, reterr);
	if (!root)
		return -EINVAL;
	const cJSON *images = adafs_json_get(root, "images"),
		    *steps = adafs_json_get(root, "steps");
	if (!cJSON_IsArray(images) || !cJSON_IsArray(steps) ||
	    strcmp(adafs_json_str(root, "id", ""), j->id) != 0)
		return adafs_err_set(reterr, -EINVAL, "manifest of job '%s' is not readable",
				     j->id);
	foreman_job_clear_inputs(j);
	const cJSON *o;
	cJSON_ArrayForEach(o, images)
	{
		const struct foreman_input in = {
			.role = (char *)adafs_json_str(o, "role", ""),
			.blob = (char *)adafs_json_str(o, "blob", ""),
			.snapshot = (char *)adafs_json_str(o, "snapshot", ""),
			.etag = (char *)adafs_json_str(o, "etag", ""),
			.sha256 = (char *)adafs_json_str(o, "sha256", ""),
			.date = (char *)adafs_json_str(o, "date", ""),
			.size = adafs_json_int(o, "size", -1),
		};
		int rc = foreman_job_add_input(j, &in);
		if (rc)
			return adafs_err_set(reterr, rc, "out of memory");
	}
	j->n_parts = j->n_members = 0;
	cJSON_ArrayForEach(o, adafs_json_get(root, "parts"))
	{
		bool member = adafs_json_bool(o, "member", false);
		if (foreman_job_add_part(j, adafs_json_str(o, "job", ""),
					 adafs_json_bool(o, "must", true), member))
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
		j->n_members += member;
	}
	j->n_merged = j->n_parts;
	j->merged_runs = (uint64_t)adafs_json_int(root, "mergedRuns", 0);
	foreman_text_set(&j->pairing, adafs_json_str(root, "pairing", ""));
	foreman_text_set(&j->unit, adafs_json_str(root, "unit", ""));
	foreman_job_clear_steps(j);
	j->step = calloc((size_t)cJSON_GetArraySize(steps) + 1, sizeof(*j->step));
	if (!j->step)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	cJSON_ArrayForEach(o, steps)
	{
		size_t n = j->n_steps++;
		int rc = read_step(j, &j->step[n], n, o);
		if (rc) {
			foreman_job_clear_steps(j);
			return adafs_err_set(reterr, rc, "out of memory");
		}
	}
	if (read_kept(j, adafs_json_get(root, "kept")))
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	adafs_buf_reset(&j->events);
	adafs_buf_adds(&j->events, adafs_json_str(root, "events", ""));
	j->body_loaded = true;
	j->body_wanted = false;
	j->dirty = true;
	return 0;
}
