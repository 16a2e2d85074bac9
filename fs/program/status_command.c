/* fs/program/status_command.c - `adafs status`: the mount's own status.json as a table. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "batch/base/file.h"
#include "batch/base/json.h"
#include "fs/program/commands.h"

#define STATUS_MAX ((size_t)64 << 20)
#define FUSE_MAGIC 0x65735546

static int fail(int status, const char *text)
{
	fprintf(stderr, "adafs: %s\n", text);
	return status;
}

/* Cells end where the longest one does; the last column is free. */
static void print_jobs(const cJSON *jobs)
{
	int id_width = 3;
	const cJSON *job, *step;

	cJSON_ArrayForEach(job, jobs)
	{
		int len = (int)strlen(adafs_json_str(job, "id", ""));
		id_width = len > id_width ? len : id_width;
	}
	printf("%-*s  %-9s  %5s  %s\n", id_width, "JOB", "STATE", "STEPS", "NOW");
	cJSON_ArrayForEach(job, jobs)
	{
		int done = 0, all = 0;
		const char *running = NULL;
		cJSON_ArrayForEach(step, adafs_json_get(job, "steps"))
		{
			const char *state = adafs_json_str(step, "state", "");
			all++;
			done += strcmp(state, "waiting") != 0 && strcmp(state, "queued") != 0 &&
				strcmp(state, "running") != 0;
			if (!running && strcmp(state, "running") == 0)
				running = adafs_json_str(step, "name", "");
		}
		const char *now = adafs_json_str(job, "waiting_for", "");
		printf("%-*s  %-9s  %2d/%-2d  %s\n", id_width, adafs_json_str(job, "id", ""),
		       adafs_json_str(job, "state", ""), done, all,
		       *now      ? now
		       : running ? running
				 : "");
	}
}

static void print_table(const cJSON *status)
{
	const cJSON *pool = adafs_json_get(status, "pool"), *image;
	const char *trouble = adafs_json_str(status, "trouble", "");
	const cJSON *jobs = adafs_json_get(status, "jobs");

	printf("container %s, pipeline %s, pool %s (%lld nodes)\n",
	       adafs_json_str(status, "container", ""), adafs_json_str(status, "pipeline", ""),
	       adafs_json_str(pool, "id", ""), (long long)adafs_json_int(pool, "nodes", 0));
	if (*trouble)
		printf("trouble: %s\n", trouble);
	cJSON_ArrayForEach(image,
			   adafs_json_get(status, "inbox")) if (!*adafs_json_str(image, "job", ""))
		printf("no job yet: %s: %s\n", adafs_json_str(image, "blob", ""),
		       adafs_json_str(image, "waiting_for", ""));
	if (cJSON_GetArraySize(jobs) > 0)
		print_jobs(jobs);
	else
		printf("no jobs\n");
}

int command_status(int argc, char **argv)
{
	struct adafs_err err = { 0 };
	const char *mountpoint = NULL;
	bool json = false;
	ADAFS_FREE char *text = NULL;
	struct statfs st;
	size_t len;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (argv[i][0] == '-' || mountpoint)
			return fail(EXIT_USAGE, "usage: adafs status [--json] MOUNTPOINT");
		else
			mountpoint = argv[i];
	}
	if (!mountpoint)
		return fail(EXIT_USAGE, "usage: adafs status [--json] MOUNTPOINT");
	ADAFS_FREE char *path = adafs_fmt("%s/status.json", mountpoint);
	if (!path)
		return fail(EXIT_SYSTEM, "out of memory");
	if (statfs(path, &st) < 0 || st.f_type != FUSE_MAGIC ||
	    adafs_file_read(path, STATUS_MAX, &text, &len, &err) < 0) {
		ADAFS_FREE char *line = adafs_fmt("'%s' is no mount of adafs that answers: %s",
						  mountpoint, *err.msg ? err.msg : strerror(errno));
		return fail(EXIT_USAGE, line ? line : "out of memory");
	}
	if (json) {
		fputs(text, stdout);
		return EXIT_OK;
	}
	ADAFS_JSON *status = adafs_json_parse(text, len, &err);
	if (!status)
		return fail(EXIT_SYSTEM, err.msg);
	print_table(status);
	return EXIT_OK;
}
