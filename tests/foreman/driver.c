/*
 * A foreman without a mount, driven line by line over stdin, for tests. Services and keys come from
 * the environment, as `adafs emulator` prints them.
 *
 *   foreman_driver CONTAINER PIPELINE [POOL]
 *
 *   put FILE BLOB     commit an image with its trigger, hand it over      -> {"etag": ...} or
 * {"error": ...} wait SECONDS      until the first fill is done and every job has ended -> the view
 *   view              -> the view
 *   cancel JOB | forget BLOB (deletes the blob too) | nudge | want JOB     -> {} or {"error": ...}
 *   results EVENT     -> {"path": size, ...}
 *   events            -> ["flood", ...]
 *   stats             -> {"requests": n}
 *   quit
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "batch/base/json.h"
#include "batch/base/log.h"
#include "batch/emulator/emulator.h"
#include "batch/foreman/foreman.h"

static struct adafs_http *http;
static struct adafs_blob_client *blob;
static struct adafs_batch_client *batch;
static struct adafs_foreman *foreman;
static const char *container;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed_cond = PTHREAD_COND_INITIALIZER;
static uint64_t n_changes;

static void changed(void *arg, uint64_t generation)
{
	(void)arg;
	(void)generation;
	pthread_mutex_lock(&lock);
	n_changes++;
	pthread_cond_signal(&changed_cond);
	pthread_mutex_unlock(&lock);
}

static void reply(cJSON *value)
{
	ADAFS_FREE char *text = adafs_json_print(value);
	puts(text);
	fflush(stdout);
	cJSON_Delete(value);
}

static void reply_rc(int rc, const struct adafs_err *err)
{
	cJSON *o = cJSON_CreateObject();
	if (rc) {
		cJSON_AddNumberToObject(o, "rc", rc);
		cJSON_AddStringToObject(o, "error", err->msg);
	}
	reply(o);
}

static cJSON *step_json(const struct adafs_step_view *s)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "task", s->task_id);
	cJSON_AddStringToObject(o, "state", adafs_state_name(s->state));
	cJSON_AddStringToObject(o, "waiting_for", s->waiting_for);
	cJSON_AddStringToObject(o, "failure", s->failure);
	cJSON_AddStringToObject(o, "depends_on", s->depends_on);
	cJSON_AddStringToObject(o, "work", s->work_prefix);
	cJSON_AddStringToObject(o, "node", s->node);
	if (s->has_exit_code)
		cJSON_AddNumberToObject(o, "exit_code", s->exit_code);
	return o;
}

static cJSON *job_json(const struct adafs_job_view *j)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "id", j->id);
	cJSON_AddStringToObject(o, "batch", j->batch_job_id);
	cJSON_AddStringToObject(o, "event", j->event);
	cJSON_AddStringToObject(o, "state", adafs_state_name(j->state));
	cJSON_AddStringToObject(o, "waiting_for", j->waiting_for);
	cJSON_AddStringToObject(o, "events", j->events);
	cJSON_AddBoolToObject(o, "newest", j->newest);
	cJSON *images = cJSON_AddArrayToObject(o, "images"),
	      *steps = cJSON_AddArrayToObject(o, "steps");
	for (size_t i = 0; i < j->n_images; i++)
		cJSON_AddItemToArray(images, cJSON_CreateString(j->images[i]));
	for (size_t i = 0; i < j->n_steps; i++)
		cJSON_AddItemToArray(steps, step_json(&j->steps[i]));
	return o;
}

static cJSON *view_json(const struct adafs_view *v)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddBoolToObject(o, "loaded", v->loaded);
	cJSON_AddStringToObject(o, "trouble", v->trouble);
	cJSON_AddStringToObject(o, "pool_state", v->pool_state);
	cJSON_AddNumberToObject(o, "pool_nodes", v->pool_nodes);
	cJSON *jobs = cJSON_AddArrayToObject(o, "jobs"),
	      *inbox = cJSON_AddObjectToObject(o, "inbox");
	for (size_t i = 0; i < v->n_jobs; i++)
		cJSON_AddItemToArray(jobs, job_json(&v->jobs[i]));
	for (size_t i = 0; i < v->n_inbox; i++)
		cJSON_AddStringToObject(inbox, v->inbox[i].blob,
					*v->inbox[i].job_id ? v->inbox[i].job_id
							    : v->inbox[i].waiting_for);
	return o;
}

static void do_view(void)
{
	struct adafs_view *v = adafs_foreman_view(foreman);
	reply(view_json(v));
	adafs_view_unref(v);
}

/* The blob that was put last: views that do not show it yet are too old to judge by. */
static char last_put[1024];

static bool shows(const struct adafs_view *v, const char *name)
{
	for (size_t i = 0; i < v->n_inbox; i++)
		if (strcmp(v->inbox[i].blob, name) == 0)
			return true;
	for (size_t i = 0; i < v->n_jobs; i++)
		for (size_t k = 0; k < v->jobs[i].n_images; k++)
			if (strcmp(v->jobs[i].images[k], name) == 0)
				return true;
	return false;
}

static bool settled(void)
{
	struct adafs_view *v = adafs_foreman_view(foreman);
	bool all = v->loaded && (!*last_put || shows(v, last_put));
	for (size_t i = 0; i < v->n_jobs; i++)
		all = all && v->jobs[i].state != ADAFS_STATE_QUEUED &&
		      v->jobs[i].state != ADAFS_STATE_RUNNING && v->jobs[i].n_steps;
	adafs_view_unref(v);
	return all;
}

static void do_wait(double seconds)
{
	struct timespec end;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += (time_t)seconds;
	pthread_mutex_lock(&lock);
	for (;;) {
		uint64_t before = n_changes;
		pthread_mutex_unlock(&lock);
		bool done = settled();
		pthread_mutex_lock(&lock);
		if (done)
			break;
		if (n_changes == before &&
		    pthread_cond_timedwait(&changed_cond, &lock, &end) == ETIMEDOUT)
			break;
	}
	pthread_mutex_unlock(&lock);
	do_view();
}

static void do_put(const char *path, const char *name)
{
	struct adafs_err err = { 0 };
	ADAFS_FREE char *data = NULL;
	size_t len = 0;
	char sha256[ADAFS_SHA256_HEX_LEN], etag[ADAFS_ETAG_LEN] = "";
	struct adafs_blob_meta meta = { 0 };
	int rc = adafs_file_read(path, 64 << 20, &data, &len, &err);
	if (!rc) {
		adafs_sha256_hex(data, len, sha256);
		rc = adafs_foreman_trigger(foreman, name, sha256,
					   &(struct adafs_image_info){ .format = "TIFF",
								       .width = 1,
								       .height = 1,
								       .bands = 1,
								       .bits_per_sample = 8 },
					   &meta, &err);
	}
	if (!rc) {
		struct adafs_blob_source src = { .data = data, .fd = -1, .len = len };
		struct adafs_blob_put put = { .meta = &meta };
		rc = adafs_blob_put(blob, container, name, &src, &put, etag, &err);
	}
	adafs_blob_meta_clear(&meta);
	if (rc) {
		reply_rc(rc, &err);
		return;
	}
	/*
	 * Told before the hand-over, as close(2) would have returned 0 if the process dies in it.
	 */
	printf("{\"etag\": \"%s\"}\n", etag);
	fflush(stdout);
	struct adafs_foreman_image image = {
		.blob = name, .etag = etag, .sha256 = sha256, .size = (int64_t)len
	};
	adafs_foreman_submit(foreman, &image);
	snprintf(last_put, sizeof(last_put), "%s", name);
}

static void do_results(const char *event)
{
	struct adafs_err err = { 0 };
	struct adafs_results r;
	int rc = adafs_results_load(blob, container, event, NULL, &r, &err);
	if (rc) {
		reply_rc(rc, &err);
		return;
	}
	cJSON *o = cJSON_CreateObject();
	for (size_t i = 0; i < r.n; i++)
		cJSON_AddNumberToObject(o, r.file[i].path, (double)r.file[i].size);
	adafs_results_clear(&r);
	reply(o);
}

static void do_events(void)
{
	struct adafs_err err = { 0 };
	char **names;
	size_t n;
	int rc = adafs_results_events(blob, container, &names, &n, &err);
	if (rc) {
		reply_rc(rc, &err);
		return;
	}
	cJSON *list = cJSON_CreateArray();
	for (size_t i = 0; i < n; i++) {
		cJSON_AddItemToArray(list, cJSON_CreateString(names[i]));
		free(names[i]);
	}
	free(names);
	reply(list);
}

static void do_stats(void)
{
	struct adafs_http_stats s;
	adafs_http_get_stats(http, &s);
	cJSON *o = cJSON_CreateObject();
	cJSON_AddNumberToObject(o, "requests", (double)s.requests);
	reply(o);
}

/* Returns false at the end. */
static bool command(char *line)
{
	struct adafs_err err = { 0 };
	char *word = strtok(line, " \n"), *a = strtok(NULL, " \n"), *b = strtok(NULL, " \n");
	if (!word || strcmp(word, "quit") == 0)
		return false;
	if (strcmp(word, "put") == 0 && b) {
		do_put(a, b);
	} else if (strcmp(word, "wait") == 0 && a) {
		do_wait(atof(a));
	} else if (strcmp(word, "view") == 0) {
		do_view();
	} else if (strcmp(word, "cancel") == 0 && a) {
		int rc = adafs_foreman_cancel(foreman, a, &err);
		reply_rc(rc, &err);
	} else if (strcmp(word, "forget") == 0 && a) {
		int rc = adafs_blob_delete(blob, container, a, true, NULL, &err);
		adafs_foreman_forget(foreman, a);
		reply_rc(rc, &err);
	} else if (strcmp(word, "nudge") == 0) {
		adafs_foreman_nudge(foreman);
		reply_rc(0, NULL);
	} else if (strcmp(word, "want") == 0 && a) {
		adafs_foreman_want(foreman, a);
		reply_rc(0, NULL);
	} else if (strcmp(word, "results") == 0 && a) {
		do_results(a);
	} else if (strcmp(word, "events") == 0) {
		do_events();
	} else if (strcmp(word, "stats") == 0) {
		do_stats();
	} else {
		err.rc = -EINVAL;
		snprintf(err.msg, sizeof(err.msg), "unknown command");
		reply_rc(-EINVAL, &err);
	}
	return true;
}

static int env_int(const char *name)
{
	const char *text = getenv(name);
	return text ? atoi(text) : 0;
}

static int open_services(struct adafs_err *err)
{
	struct adafs_storage_account storage = { 0 };
	struct adafs_batch_account account = { 0 };
	struct adafs_http_config config = { .io_timeout_ms =
						    (uint32_t)env_int("DRIVER_IO_TIMEOUT_MS") };
	const char *connection = getenv("AZURE_STORAGE_CONNECTION_STRING");
	http = adafs_http_new(&config, err);
	int rc = http ? adafs_http_start(http, err) : -ENOMEM;
	if (!rc)
		rc = adafs_storage_account_parse(&storage, connection ? connection : "", err);
	if (!rc)
		rc = adafs_batch_account_set(&account, getenv("AZURE_BATCH_ACCOUNT"),
					     getenv("AZURE_BATCH_ENDPOINT"),
					     getenv("AZURE_BATCH_ACCESS_KEY"), err);
	if (!rc) {
		blob = adafs_blob_client_new(http, &storage, err);
		batch = adafs_batch_client_new(http, &account, err);
		rc = blob && batch ? 0 : -ENOMEM;
	}
	adafs_storage_account_clear(&storage);
	adafs_batch_account_clear(&account);
	return rc;
}

static int start(char **argv, struct adafs_err *err)
{
	struct adafs_pipeline *pipeline;
	int rc = adafs_pipeline_load(argv[2], &pipeline, err);
	if (rc)
		return rc;
	container = argv[1];
	struct adafs_foreman_config config = {
		.blob = blob,
		.batch = batch,
		.container = container,
		.pipeline = pipeline,
		.pool = argv[3] ? argv[3] : "local",
		.poll_ms = (uint32_t)env_int("DRIVER_POLL_MS"),
		.changed = changed,
	};
	foreman = adafs_foreman_new(&config, err);
	adafs_pipeline_unref(pipeline);
	return foreman ? adafs_foreman_start(foreman, err) : -ENOMEM;
}

int main(int argc, char **argv)
{
	struct adafs_err err = { 0 };
	char line[4096];
	if (argc > 1 && strcmp(argv[1], "emulator") == 0)
		return adafs_emulator_main(argc - 1, argv + 1);
	if (argc < 3)
		return 2;
	int rc = open_services(&err);
	if (!rc)
		rc = start(argv, &err);
	if (rc) {
		reply_rc(rc, &err);
	} else {
		puts("{\"started\": true}");
		fflush(stdout);
		while (fgets(line, sizeof(line), stdin) && command(line))
			;
	}
	adafs_foreman_stop(foreman);
	adafs_foreman_free(foreman);
	adafs_http_stop(http);
	adafs_batch_client_free(batch);
	adafs_blob_client_free(blob);
	adafs_http_free(http);
	return rc ? 1 : 0;
}
