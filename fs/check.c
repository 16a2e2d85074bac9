/* fs/check.c - `adafs check`: what a mount would need, tried without mounting. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/commands.h"

static bool report(bool good, const char *what, const char *text)
{
	printf("%-4s %-10s %s\n", good ? "ok" : "FAIL", what, text);
	return good;
}

static int any_blob(void *arg, const char *name, const struct adafs_blob_props *props)
{
	(void)arg;
	(void)name;
	(void)props;
	return 0;
}

static bool check_container(struct fs *fs)
{
	struct adafs_err err = { 0 };
	ADAFS_FREE char *text = adafs_fmt("container '%s' at %s", fs->container,
					  fs->options->storage.endpoint);
	int rc = adafs_blob_list_some(fs->blob, fs->container, "images/", NULL, 0, 1, any_blob, NULL,
				      &err);

	if (rc == 0)
		return report(true, "blob", text ? text : "");
	if (rc == -ENOENT)
		return report(true, "blob", "the container is missing; a mount makes it");
	return report(false, "blob", err.msg);
}

static bool check_pool(struct fs *fs)
{
	struct adafs_err err = { 0 };
	ADAFS_JSON *pool = NULL;
	int rc = adafs_batch_pool_get(fs->batch, fs->options->pool, &pool, &err);

	if (rc == -ENOENT) {
		ADAFS_FREE char *text = adafs_fmt("pool '%s' does not exist: make it, or name another "
						  "with -o pool=ID", fs->options->pool);
		return report(false, "pool", text ? text : "");
	}
	if (rc < 0)
		return report(false, "batch", err.msg);
	int64_t nodes = adafs_json_int(pool, "currentDedicatedNodes", 0) +
			adafs_json_int(pool, "currentLowPriorityNodes", 0);
	ADAFS_FREE char *text = adafs_fmt("pool '%s' is %s with %lld nodes of %lld slots",
					  fs->options->pool,
					  adafs_json_str(pool, "allocationState", "unknown"),
					  (long long)nodes,
					  (long long)adafs_json_int(pool, "taskSlotsPerNode", 1));
	return report(true, "pool", text ? text : "");
}

static bool check_services(struct fs *fs, struct options *o)
{
	struct adafs_err err = { 0 };
	struct engine *engine = NULL;

	if (setup_engine(o, &engine, &err) < 0)
		return report(false, "accounts", err.msg);
	report(true, "accounts", engine ? "the embedded engine serves what is not configured" :
					  "both services are configured");
	fs->options = o;
	fs->container = o->container;
	bool good = setup_clients(fs, o, &err) == 0 && adafs_http_start(fs->http, &err) == 0;
	if (good) {
		good = check_container(fs);
		good = check_pool(fs) && good;
		adafs_http_stop(fs->http);
	} else {
		report(false, "accounts", err.msg);
	}
	free_clients(fs);
	/* A check starts no job, so an emulator that it had to start is not needed any more. */
	engine_close(engine, true);
	return good;
}

int command_check(int argc, char **argv)
{
	struct adafs_err err = { 0 };
	struct adafs_pipeline *pipeline = NULL;
	struct options o;
	struct fs fs = { 0 };

	if (options_parse(&o, argc, argv, &err) < 0) {
		report(false, "settings", err.msg);
		return EXIT_USAGE;
	}
	report(true, "settings", "understood");
	bool good = setup_pipeline(&o, &pipeline, &err) == 0;
	report(good, "pipeline", good ? adafs_pipeline_name(pipeline) : err.msg);
	good = check_services(&fs, &o) && good;
	adafs_pipeline_unref(pipeline);
	options_clear(&o);
	return good ? EXIT_OK : EXIT_USAGE;
}
