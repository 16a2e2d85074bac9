/* fs/program/main.c - the program: which command, and from settings to a mount. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <fuse_lowlevel.h>

#include "batch/base/log.h"
#include "batch/emulator/emulator.h"
#include "fs/blob/blobdir.h"
#include "fs/program/commands.h"
#include "fs/mount/mountpoint.h"
#include "fs/kernel/poll.h"
#include "fs/mount/session.h"

/* What the session's hooks work on. */
struct mount {
	struct engine *engine; /* NULL: both services are configured */
	struct adafs_pipeline *pipeline;
	bool http_started, foreman_started;
	int argc; /* the command line, for settings that are read again */
	char **argv;
};

static int fail(int status, const char *text)
{
	fprintf(stderr, "adafs: %s\n", text);
	return status;
}

/* Keys are in memory: it is for nobody's disk. */
static void forbid_core_dumps(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
#ifndef __SANITIZE_ADDRESS__ /* its leak check attaches to the process */
	prctl(PR_SET_DUMPABLE, 0);
#endif
}

/* --- while mounted ------------------------------------------------------------------------ */

static int start(struct fs *fs, void *arg, struct adafs_err *reterr)
{
	struct mount *m = arg;
	int rc = adafs_http_start(fs->http, reterr);

	if (rc < 0)
		return rc;
	m->http_started = true;
	rc = setup_container(fs, reterr);
	if (rc == 0)
		rc = adafs_foreman_start(fs->foreman, reterr);
	if (rc < 0)
		return rc;
	m->foreman_started = true;
	return m->engine ? engine_watch(m->engine, reterr) : 0;
}

static int note_active(void *arg, const cJSON *job)
{
	bool *active = arg;

	*active = *active || strcmp(adafs_json_str(job, "state", ""), "completed") != 0;
	return 0;
}

/* Whether no job waits or runs; a Batch that does not answer is not disturbed. */
static bool batch_is_idle(struct fs *fs)
{
	struct adafs_err err = { 0 };
	bool active = false;

	return adafs_batch_job_list(fs->batch, NULL, "id,state", note_active, &active, &err) == 0 &&
	       !active;
}

static void stop(struct fs *fs, void *arg)
{
	struct mount *m = arg;

	/* cp and unmount: the job starts all the same. */
	if (m->foreman_started) {
		adafs_foreman_drain(fs->foreman, fs->options->io_timeout_ms);
		adafs_foreman_stop(fs->foreman);
	}
	engine_unwatch(m->engine);
	bool idle = m->engine && m->http_started && batch_is_idle(fs);
	if (m->http_started)
		adafs_http_stop(fs->http);
	engine_close(ADAFS_STEAL(m->engine), idle);
}

/* Of settings that have changed only the log's level can follow while the mount serves. */
static void reload(struct fs *fs, void *arg)
{
	const struct mount *m = arg;
	struct adafs_err err = { 0 };
	struct options o;

	if (options_parse_again(&o, m->argc, m->argv, &err) < 0) {
		adafs_log(ERROR, "fs", "SIGHUP: settings stay as they are: %s", err.msg);
		return;
	}
	if (adafs_log_set_levels(o.log_level ? o.log_level : "warn", &err) < 0)
		adafs_log(ERROR, "fs", "SIGHUP: %s", err.msg);
	else
		adafs_log(
			WARN, "fs",
			"SIGHUP: log_level is %s; other settings are read when it is mounted again",
			o.log_level ? o.log_level : "warn");
	options_clear(&o);
	adafs_foreman_nudge(fs->foreman);
}

/* --- mount -------------------------------------------------------------------------------- */

static void foreman_changed(void *arg, uint64_t generation)
{
	struct fs *fs = arg;

	(void)generation;
	pollers_changed(fs->pollers);
}

static bool is_written(void *arg, const char *prefix)
{
	const struct fs *fs = arg;

	return blobdir_is_written(fs->container, prefix);
}

static int make_foreman(struct fs *fs, struct mount *m, struct adafs_err *reterr)
{
	const struct adafs_foreman_config config = {
		.blob = fs->blob,
		.batch = fs->batch,
		.container = fs->container,
		.pipeline = m->pipeline,
		.pool = fs->options->pool,
		.poll_ms = fs->options->poll_ms,
		.settle_ms = fs->options->settle_ms,
		.by_event = fs->options->by_event,
		.pool_settings = &fs->options->pool_make,
		.sas_life_s = fs->options->sas_life_s,
		.node_identity = fs->options->node_identity,
		.keep_ms = fs->options->keep_ms,
		.sas_to_tasks = fs->options->sas_to_tasks,
		.reads_only = fs->options->reads_only,
		.changed = foreman_changed,
		.changed_arg = fs,
		.is_written = is_written,
		.is_written_arg = fs,
	};

	fs->foreman = adafs_foreman_new(&config, reterr);
	return fs->foreman ? 0 : -ENOMEM;
}

/* Everything before threads and fork. Returns the exit status. */
static int prepare(struct fs *fs, struct options *o, struct mount *m, struct adafs_err *err)
{
	if (o->log_level && adafs_log_set_levels(o->log_level, err) < 0)
		return EXIT_USAGE;
	if (adafs_pipeline_load(o->pipeline, &m->pipeline, err) < 0)
		return EXIT_USAGE;
	if (mountpoint_check(o->mountpoint, o->nonempty, err) < 0)
		return EXIT_MOUNT;
	int rc = setup_engine(o, &m->engine, err);
	if (rc < 0)
		return rc == -EINVAL ? EXIT_USAGE : EXIT_SYSTEM;
	fs->options = o;
	fs->container = o->container;
	fs->uid = o->has_uid ? o->uid : getuid();
	fs->gid = o->has_gid ? o->gid : getgid();
	fs->mounted = time(NULL);
	fs->spool_dir = adafs_fmt("%s/spool", o->dir);
	if (!fs->spool_dir || setup_clients(fs, o, err) < 0 || make_foreman(fs, m, err) < 0)
		return EXIT_SYSTEM;
	return EXIT_OK;
}

static int command_mount(int argc, char **argv)
{
	struct adafs_err err = { 0 };
	struct options o;
	struct mount m = { .argc = argc, .argv = argv };
	struct fs fs = { 0 };

	/* What one thread lets go of is of use to the others: else every one holds its own peak. */
	mallopt(M_ARENA_MAX, 2);
	int rc = options_parse(&o, argc, argv, &err);
	if (rc < 0) /* a credential that does not permit what is needed is no wrong setting */
		return fail(rc == -EACCES ? EXIT_MOUNT : EXIT_USAGE, err.msg);
	if (!o.mountpoint) {
		options_clear(&o);
		return fail(EXIT_USAGE, "no mount point is given; see adafs --help");
	}
	int status = prepare(&fs, &o, &m, &err);
	if (status == EXIT_OK) {
		const struct session_hooks hooks = {
			.start = start, .stop = stop, .reload = reload, .arg = &m
		};
		rc = session_run(&fs, &hooks, &err);
		if (rc < 0)
			status = rc == -EINTR ? EXIT_INTERRUPTED : EXIT_MOUNT;
		else if (!o.foreground)
			_exit(EXIT_OK); /* all that is here is the child's: taking it down would
					   only take time */
	}
	/* A parent lets go of nothing but memory: the child, which shares the open lock file, goes
	 * on. */
	engine_close(m.engine, false);
	if (fs.foreman)
		adafs_foreman_free(fs.foreman);
	free_clients(&fs);
	adafs_pipeline_unref(m.pipeline);
	free(fs.spool_dir);
	options_clear(&o);
	return status == EXIT_OK ? EXIT_OK : fail(status, *err.msg ? err.msg : "out of memory");
}

static int print_version(void)
{
	printf("adafs %s\nlibfuse %s, cJSON %s\n", ADAFS_VERSION, fuse_pkgversion(),
	       cJSON_Version());
	return EXIT_OK;
}

/*
 * As mount(8) calls its helper: SOURCE MOUNTPOINT [-sfnv] [-N namespace] [-t type] [-o options].
 * What is left of that for options_parse is put to the front; returns how many, or a negative exit
 * status.
 */
static int helper_arguments(int argc, char **argv, bool *ret_fake)
{
	int n = 0;

	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i];
		if (strcmp(arg, "-o") == 0 && i + 1 < argc) {
			argv[n++] = argv[i];
			argv[n++] = argv[++i];
		} else if (strcmp(arg, "-t") == 0) {
			i++;
		} else if (strcmp(arg, "-N") == 0) {
			return -fail(EXIT_USAGE, "-N: enter the namespace with nsenter(1) instead");
		} else if (arg[0] == '-' && arg[1] && arg[1 + strspn(arg + 1, "sfnv")] == '\0') {
			*ret_fake = *ret_fake || strchr(arg, 'f');
		} else {
			argv[n++] = argv[i];
		}
	}
	return n;
}

static int helper_mount(int argc, char **argv)
{
	bool fake = false;
	int n = helper_arguments(argc, argv, &fake);

	if (n < 0)
		return -n;
	return fake ? EXIT_OK : command_mount(n, argv);
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";
	const char *name = argc > 0 && strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];

	forbid_core_dumps();
	if (name && strncmp(name, "umount.", 7) == 0)
		return command_umount(argc, argv, true);
	if (name && strncmp(name, "mount.", 6) == 0)
		return helper_mount(argc - 1, argv + 1);
	if (strcmp(word, "umount") == 0)
		return command_umount(argc - 1, argv + 1, false);
	if (strcmp(word, "emulator") == 0)
		return adafs_emulator_main(argc - 1, argv + 1);
	if (strcmp(word, "check") == 0)
		return command_check(argc - 2, argv + 2);
	if (strcmp(word, "status") == 0)
		return command_status(argc - 2, argv + 2);
	if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
		return print_version();
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		options_print_usage(stdout);
		return EXIT_OK;
	}
	return command_mount(argc - 1, argv + 1);
}
