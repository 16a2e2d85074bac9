/*
 * fs/tree/status.c - status.json for programs and status.html for browsers: the whole mount at a
 * glance, from the foreman's view and counters of this process. Neither asks a service.
 */
#include <errno.h>
#include <string.h>

#include "batch/azure/sas_rights.h"
#include "batch/base/clock.h"
#include "batch/base/json.h"
#include "batch/base/xml.h"
#include "fs/tree/synth.h"
#include "fs/tree/tree.h"

#define SAS_SOON_US (INT64_C(86400) * 1000000)

static const char *time_text(int64_t wall_us, char out[ADAFS_ISO8601_LEN])
{
	out[0] = '\0';
	if (wall_us > 0)
		adafs_clock_iso8601_seconds(wall_us, out);
	return out;
}

static void add_time(cJSON *object, const char *name, int64_t wall_us)
{
	char text[ADAFS_ISO8601_LEN];

	if (wall_us > 0)
		cJSON_AddStringToObject(object, name, time_text(wall_us, text));
	else
		cJSON_AddNullToObject(object, name);
}

/* --- JSON --------------------------------------------------------------------------------- */

static cJSON *step_json(const struct adafs_step_view *step)
{
	cJSON *j = cJSON_CreateObject();

	cJSON_AddNumberToObject(j, "number", step->number);
	cJSON_AddStringToObject(j, "name", step->name);
	cJSON_AddStringToObject(j, "state", adafs_state_name(step->state));
	cJSON_AddStringToObject(j, "waiting_for", step->waiting_for);
	if (step->has_exit_code)
		cJSON_AddNumberToObject(j, "exit_code", step->exit_code);
	else
		cJSON_AddNullToObject(j, "exit_code");
	add_time(j, "started", step->started_us);
	add_time(j, "finished", step->finished_us);
	cJSON_AddStringToObject(j, "node", step->node);
	cJSON_AddStringToObject(j, "failure", step->failure);
	return j;
}

static cJSON *job_json(const struct adafs_job_view *job)
{
	cJSON *j = cJSON_CreateObject();

	cJSON_AddStringToObject(j, "id", job->id);
	cJSON_AddStringToObject(j, "event", job->event);
	cJSON_AddStringToObject(j, "pipeline", job->pipeline);
	cJSON_AddStringToObject(j, "state", adafs_state_name(job->state));
	cJSON_AddStringToObject(j, "waiting_for", job->waiting_for);
	cJSON_AddBoolToObject(j, "newest", job->newest);
	add_time(j, "created", job->created_us);
	add_time(j, "changed", job->changed_us);
	cJSON *images = cJSON_AddArrayToObject(j, "images");
	for (size_t i = 0; i < job->n_images; i++)
		cJSON_AddItemToArray(images, cJSON_CreateString(job->images[i]));
	cJSON *steps = cJSON_AddArrayToObject(j, "steps");
	for (size_t i = 0; i < job->n_steps; i++)
		cJSON_AddItemToArray(steps, step_json(&job->steps[i]));
	return j;
}

/* How long the mount's own SAS is good yet; INT64_MAX: it has none, or does not say. */
static int64_t sas_left_us(const struct fs *fs)
{
	const char *sas = fs->options->storage.sas;
	struct adafs_sas_rights rights;

	if (!sas || adafs_sas_rights_parse(sas, &rights, NULL) < 0 || !rights.expiry_us)
		return INT64_MAX;
	return rights.expiry_us - adafs_blob_now_us(fs->blob);
}

static cJSON *pool_json(const struct fs *fs, const struct adafs_view *view)
{
	cJSON *j = cJSON_CreateObject();

	cJSON_AddStringToObject(j, "id", fs->options->pool);
	cJSON_AddStringToObject(j, "state", view->pool_state);
	cJSON_AddNumberToObject(j, "nodes", view->pool_nodes);
	cJSON_AddNumberToObject(j, "slots", view->pool_slots);
	return j;
}

/* With what both services are entered, until when, and whether that is soon. */
static cJSON *credentials_json(const struct fs *fs)
{
	cJSON *j = cJSON_CreateObject();
	ADAFS_FREE char *blob = adafs_blob_client_describe(fs->blob);
	ADAFS_FREE char *batch = adafs_batch_client_describe(fs->batch);
	int64_t left_us = sas_left_us(fs);

	cJSON_AddStringToObject(j, "blob", blob ? blob : "");
	cJSON_AddStringToObject(j, "batch", batch ? batch : "");
	if (left_us < SAS_SOON_US)
		cJSON_AddStringToObject(
			j, "warning",
			left_us < 0 ? "the SAS has ended: mount again with a new one"
				    : "the SAS ends within a day: make a new one and mount again");
	return j;
}

static cJSON *http_json(const struct fs *fs)
{
	struct adafs_http_stats stats;
	cJSON *j = cJSON_CreateObject();

	adafs_http_get_stats(fs->http, &stats);
	cJSON_AddNumberToObject(j, "requests", (double)stats.requests);
	cJSON_AddNumberToObject(j, "retries", (double)stats.retries);
	cJSON_AddNumberToObject(j, "timeouts", (double)stats.timeouts);
	cJSON_AddNumberToObject(j, "bytes_in", (double)stats.bytes_in);
	cJSON_AddNumberToObject(j, "bytes_out", (double)stats.bytes_out);
	return j;
}

static cJSON *image_json(const struct adafs_inbox_view *image)
{
	cJSON *j = cJSON_CreateObject();

	cJSON_AddStringToObject(j, "blob", image->blob);
	cJSON_AddStringToObject(j, "job", image->job_id);
	cJSON_AddStringToObject(j, "waiting_for", image->waiting_for);
	return j;
}

/* All but the lists, without the end of the object. */
static char *head_text(struct fs *fs, const struct adafs_view *view)
{
	ADAFS_JSON *j = cJSON_CreateObject();

	cJSON_AddStringToObject(j, "version", ADAFS_VERSION);
	add_time(j, "mounted", (int64_t)fs->mounted * 1000000);
	add_time(j, "now", adafs_clock_wall_us());
	cJSON_AddStringToObject(j, "container", fs->container);
	cJSON_AddStringToObject(j, "pipeline", fs->options->pipeline);
	cJSON_AddItemToObject(j, "credentials", credentials_json(fs));
	cJSON_AddStringToObject(j, "trouble", view->trouble);
	cJSON_AddBoolToObject(j, "loaded", view->loaded);
	cJSON_AddItemToObject(j, "pool", pool_json(fs, view));
	cJSON_AddItemToObject(j, "http", http_json(fs));
	char *text = cJSON_Print(j);
	size_t len = text ? strlen(text) : 0;
	while (len && text[len - 1] != '}')
		len--;
	if (text)
		text[len ? len - 1 : 0] = '\0';
	return text;
}

/* An item of a list on a line of its own. Takes the item. */
static int add_line(struct adafs_buf *b, cJSON *item, bool *first)
{
	ADAFS_JSON *j = item;
	ADAFS_FREE char *text = j ? adafs_json_print(j) : NULL;
	int rc = text ? adafs_buf_addf(b, "%s\n%s", *first ? "" : ",", text) : -ENOMEM;

	*first = false;
	return rc;
}

/* The jobs of a large event would take a lot of memory as one tree of JSON. */
static int json_lists(struct adafs_buf *b, const struct adafs_view *view)
{
	bool first = true;
	int rc = adafs_buf_adds(b, ",\n\"jobs\": [");

	for (size_t i = 0; rc == 0 && i < view->n_jobs; i++)
		rc = add_line(b, job_json(&view->jobs[i]), &first);
	if (rc == 0)
		rc = adafs_buf_adds(b, "],\n\"inbox\": [");
	first = true;
	for (size_t i = 0; rc == 0 && i < view->n_inbox; i++)
		if (!view->inbox[i].deleted)
			rc = add_line(b, image_json(&view->inbox[i]), &first);
	return rc < 0 ? rc : adafs_buf_adds(b, "]\n}\n");
}

static int json_text(struct call *c, struct node *n, struct adafs_buf *ret, time_t *ret_mtime)
{
	struct adafs_view *view = adafs_foreman_view(n->fs->foreman);
	ADAFS_FREE char *head = head_text(n->fs, view);

	(void)c;
	int rc = head ? adafs_buf_adds(ret, head) : -ENOMEM;
	if (rc == 0)
		rc = json_lists(ret, view);
	adafs_view_unref(view);
	*ret_mtime = time(NULL);
	return rc;
}

static const struct synth_text json_kind = {
	.node = SYNTH_TEXT_OPS("status.json", EPERM, NULL),
	.text = json_text,
};

/* --- HTML --------------------------------------------------------------------------------- */

static const char html_head[] =
	"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta http-equiv=\"refresh\" content=\"5\">\n<title>adafs</title>\n<style>\n"
	"body{font:15px/1.4 sans-serif;margin:2em;color:#222;background:#fff}\n"
	"table{border-collapse:collapse;margin:1em 0}\n"
	"th,td{text-align:left;padding:.25em .8em .25em 0;border-bottom:1px solid #ddd;"
	"vertical-align:top}\n"
	".s{display:inline-block;padding:0 .4em;margin:1px;border-radius:3px;background:#eee}\n"
	".running{background:#cfe3ff}.completed{background:#d2f0d2}.failed{background:#ffd0cc}\n"
	".empty,.skipped,.cancelled{background:#f3ecd2}.trouble{background:#ffd0cc;padding:.5em}\n"
	"</style>\n</head>\n<body>\n<h1>adafs</h1>\n";

static int escape(struct adafs_buf *b, const char *text)
{
	return adafs_xml_escape(b, text, strlen(text));
}

/* A cell of a table. */
static int cell(struct adafs_buf *b, const char *text)
{
	int rc = adafs_buf_adds(b, "<td>");

	if (rc == 0)
		rc = escape(b, text);
	return rc < 0 ? rc : adafs_buf_adds(b, "</td>");
}

static int job_row(struct adafs_buf *b, const struct adafs_job_view *job)
{
	char changed[ADAFS_ISO8601_LEN];
	const char *state = adafs_state_name(job->state);
	int rc = adafs_buf_adds(b, "<tr>");

	if (rc == 0)
		rc = cell(b, job->id);
	if (rc == 0)
		rc = adafs_buf_addf(b, "<td><span class=\"s %s\">%s</span></td><td>", state, state);
	for (size_t i = 0; rc == 0 && i < job->n_steps; i++) {
		const char *step = adafs_state_name(job->steps[i].state);
		rc = adafs_buf_addf(b, "<span class=\"s %s\" title=\"%s\">", step, step);
		if (rc == 0)
			rc = escape(b, job->steps[i].name);
		if (rc == 0)
			rc = adafs_buf_adds(b, "</span> ");
	}
	if (rc == 0)
		rc = adafs_buf_adds(b, "</td>");
	if (rc == 0)
		rc = cell(b, job->waiting_for);
	if (rc == 0)
		rc = cell(b, time_text(job->changed_us, changed));
	return rc < 0 ? rc : adafs_buf_adds(b, "</tr>\n");
}

static int waiting_images(struct adafs_buf *b, const struct adafs_view *view)
{
	bool any = false;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < view->n_inbox; i++) {
		if (*view->inbox[i].job_id)
			continue;
		rc = adafs_buf_adds(b, any ? "<tr>"
					   : "<table>\n<tr><th>image without a job</th>"
					     "<th>waits for</th></tr>\n<tr>");
		any = true;
		if (rc == 0)
			rc = cell(b, view->inbox[i].blob);
		if (rc == 0)
			rc = cell(b, view->inbox[i].waiting_for);
		if (rc == 0)
			rc = adafs_buf_adds(b, "</tr>\n");
	}
	return rc < 0 || !any ? rc : adafs_buf_adds(b, "</table>\n");
}

static int html_body(struct adafs_buf *b, const struct fs *fs, const struct adafs_view *view)
{
	char now[ADAFS_ISO8601_LEN];
	int rc = adafs_buf_adds(b, html_head);

	if (rc == 0 && *view->trouble) {
		rc = adafs_buf_adds(b, "<p class=\"trouble\">");
		if (rc == 0)
			rc = escape(b, view->trouble);
		if (rc == 0)
			rc = adafs_buf_adds(b, "</p>\n");
	}
	if (rc == 0)
		rc = adafs_buf_adds(b,
				    "<table>\n<tr><th>time</th><th>container</th><th>pipeline</th>"
				    "<th>pool</th><th>nodes</th></tr>\n<tr>");
	if (rc == 0)
		rc = cell(b, time_text(adafs_clock_wall_us(), now));
	if (rc == 0)
		rc = cell(b, fs->container);
	if (rc == 0)
		rc = cell(b, fs->options->pipeline);
	if (rc == 0)
		rc = cell(b, fs->options->pool);
	if (rc == 0)
		rc = adafs_buf_addf(b, "<td>%d</td></tr>\n</table>\n", view->pool_nodes);
	if (rc == 0)
		rc = waiting_images(b, view);
	if (rc == 0)
		rc = adafs_buf_adds(b, "<table>\n<tr><th>job</th><th>state</th><th>steps</th>"
				       "<th>waits for</th><th>changed</th></tr>\n");
	for (size_t i = 0; rc == 0 && i < view->n_jobs; i++)
		rc = job_row(b, &view->jobs[i]);
	return rc < 0 ? rc : adafs_buf_adds(b, "</table>\n</body>\n</html>\n");
}

static int html_text(struct call *c, struct node *n, struct adafs_buf *ret, time_t *ret_mtime)
{
	struct adafs_view *view = adafs_foreman_view(n->fs->foreman);
	int rc = html_body(ret, n->fs, view);

	(void)c;
	adafs_view_unref(view);
	*ret_mtime = time(NULL);
	return rc;
}

static const struct synth_text html_kind = {
	.node = SYNTH_TEXT_OPS("status.html", EPERM, NULL),
	.text = html_text,
};

struct node *status_json_file(struct fs *fs, struct node *root)
{
	return node_get(fs, root, "status.json", "", &json_kind.node, node_ino("status.json"),
			NULL);
}

struct node *status_html_file(struct fs *fs, struct node *root)
{
	return node_get(fs, root, "status.html", "", &html_kind.node, node_ino("status.html"),
			NULL);
}
