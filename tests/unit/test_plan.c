/* The plan: every task of ada.json with its files, outputs and dependencies; job bodies; limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "batch/base/buf.h"
#include "batch/base/json.h"
#include "batch/pipeline/plan.h"

#define JOB "flood-a-00000001"

/* "blob@snapshot", or what the container URL is for. arg: what to put behind, or NULL. */
static char *fake_url(void *arg, enum adafs_plan_access access, const char *blob,
		      const char *snapshot, struct adafs_err *reterr)
{
	(void)reterr;
	const char *tail = arg ? arg : "";
	if (access == ADAFS_PLAN_READ_BLOB)
		return adafs_fmt("%s%s%s%s", blob, snapshot ? "@" : "", snapshot ? snapshot : "",
				 tail);
	assert_null(blob);
	assert_null(snapshot);
	return adafs_fmt("%s%s", access == ADAFS_PLAN_READ_CONTAINER ? "read" : "write", tail);
}

static struct adafs_pipeline *load(const char *name)
{
	struct adafs_pipeline *p = NULL;
	struct adafs_err err = { 0 };
	if (adafs_pipeline_load(name, &p, &err) < 0)
		fail_msg("%s", err.msg);
	return p;
}

static struct adafs_pipeline *parse(const char *text)
{
	struct adafs_pipeline *p = NULL;
	struct adafs_err err = { 0 };
	if (adafs_pipeline_parse("p.json", text, strlen(text), &p, &err) < 0)
		fail_msg("%s", err.msg);
	return p;
}

static struct adafs_plan *plan(const struct adafs_pipeline *p, const struct adafs_plan_request *req)
{
	struct adafs_plan *out = NULL;
	struct adafs_err err = { 0 };
	if (adafs_plan_make(p, req, &out, &err) < 0)
		fail_msg("%s", err.msg);
	return out;
}

static const char *env(const cJSON *task, const char *name)
{
	const cJSON *e = NULL;
	cJSON_ArrayForEach(
		e, adafs_json_get(
			   task,
			   "environmentSettings")) if (!strcmp(adafs_json_str(e, "name", ""),
							       name)) return adafs_json_str(e,
											    "value",
											    NULL);
	return NULL;
}

/* The wrapper's digest changes with every edit of it. */
static const char *without_digest(const char *url)
{
	return strncmp(url, "assets/.adafs/", 14) ? url : url + 14 + 64 + 1;
}

/* A task as lines: what it waits for, fetches (<), lays out (=), runs ($), stores (>). */
static char *describe(const cJSON *task)
{
	struct adafs_buf b = ADAFS_BUF_INIT(1 << 20);
	adafs_buf_addf(&b, "%s slots %d after", adafs_json_str(task, "id", ""),
		       (int)adafs_json_int(task, "requiredSlots", 0));
	const cJSON *v = NULL;
	cJSON_ArrayForEach(v, adafs_json_path(task, "dependsOn/taskIds"))
		adafs_buf_addf(&b, " %s", v->valuestring);
	adafs_buf_adds(&b, "\n");
	cJSON_ArrayForEach(v, adafs_json_get(task, "resourceFiles"))
	{
		const char *url = adafs_json_str(v, "httpUrl", NULL);
		const char *path = adafs_json_str(v, "filePath", "");
		if (url) {
			assert_null(adafs_json_get(v, "blobPrefix"));
			adafs_buf_addf(&b, "< %s to %s\n", without_digest(url), path);
		} else {
			assert_string_equal(adafs_json_str(v, "storageContainerUrl", ""), "read");
			assert_string_equal(path, ".adafs/stage");
			adafs_buf_addf(&b, "< %s*\n", adafs_json_str(v, "blobPrefix", ""));
		}
	}
	for (const char *line = env(task, "ADAFS_INPUTS"); *line;) {
		size_t n = strcspn(line, "\n");
		adafs_buf_addf(&b, "= %.*s\n", (int)n, line);
		line += n + 1;
	}
	adafs_buf_addf(&b, "$ %s\n", env(task, "ADAFS_COMMAND"));
	cJSON_ArrayForEach(v, adafs_json_get(task, "outputFiles"))
	{
		const cJSON *to = adafs_json_path(v, "destination/container");
		assert_string_equal(adafs_json_str(to, "containerUrl", ""), "write");
		adafs_buf_addf(
			&b, "> %s to %s %s\n", adafs_json_str(v, "filePattern", ""),
			adafs_json_str(to, "path", ""),
			adafs_json_str(adafs_json_get(v, "uploadOptions"), "uploadCondition", ""));
	}
	for (char *c = b.data; *c; c++)
		*c = *c == '\t' ? ' ' : *c;
	return adafs_buf_steal(&b, NULL);
}

#define LOGS(step)                                                               \
	"> ../stdout.txt to work/" JOB "/" step "/1/stdout.txt taskcompletion\n" \
	"> ../stderr.txt to work/" JOB "/" step "/1/stderr.txt taskcompletion\n" \
	"> .adafs/end.json to work/" JOB "/" step "/1/end.json taskcompletion\n"
#define WRAPPER "< wrapper.sh to .adafs/wrapper.sh\n"
#define W(step) "work/" JOB "/" step "/1/"
#define FETCH(step, output) "< " W(step) "out/" output "/*\n< " W(step) "end.json*\n"
#define FETCH_MORE(step, output) "< " W(step) "out/" output "/*\n"
#define FILE_IN(step, output, base, target) \
	"= must file .adafs/stage/" W(step) "out/" output "/" base " " target " " W(step) "\n"
#define DIR_IN(step, output, target) \
	"= must dir .adafs/stage/" W(step) "out/" output " " target " " W(step) "\n"
#define ASSET(name, file) "< assets/" file " to .adafs/in/" name "/" file "\n"
#define ASSET_IN(name, file) "= must file .adafs/in/" name "/" file " in/" name "/" file " -\n"
#define STORE(step, path, output, base) "> " path " to " W(step) "out/" output base " tasksuccess\n"
#define ENV(name) "{ source ~/.bashrc && source activate " name "\n} || exit\n"
#define PARTS "parts/flood/ada/"

/* The five steps of a branch; n: numbers of cover, tile, predict, vectorize, filter. */
#define BRANCH(m, n1, n2, n3, n4, n5)                                                                                                                \
	{ n1 "-cover-" m " slots 1 after 01-setup\n" WRAPPER FETCH("01-setup", m)                                                                    \
		  FILE_IN("01-setup", m, "merged.tif", "in/setup." m "/merged.tif") "$ " ENV(                                                        \
			  "abd") "abd cover --raster in/setup." m                                                                                    \
				 "/merged.tif --zoom 17 --out cover.csv\n" LOGS(n1 "-cover-" m)                                                      \
					 STORE(n1 "-cover-" m, "cover.csv", "csv",                                                                   \
					       "/cover.csv") },                                                                                      \
		{ n2                                                                                                                                 \
		  "-tile-" m " slots 1 after 01-setup " n1 "-cover-" m                                                                               \
		  "\n" WRAPPER FETCH("01-setup", m) FETCH(n1 "-cover-" m, "csv") ASSET(                                                              \
			  "config",                                                                                                                  \
			  "config.toml") FILE_IN("01-setup", m, "merged.tif",                                                                        \
						 "in/setup." m                                                                                       \
						 "/merged.tif") FILE_IN(n1 "-cover-" m, "csv",                                                       \
									"cover.csv",                                                                 \
									"in/cover-" m                                                                \
									".csv/cover.csv")                                                            \
			  ASSET_IN("config", "config.toml") "$ " ENV(                                                                                \
				  "abd") "abd tile --raster in/setup." m                                                                             \
					 "/merged.tif --zoom 17 --cover in/cover-" m                                                                 \
					 ".csv/cover.csv --config in/config/config.toml --out images --format tif --keep_borders\n" LOGS(            \
						 n2 "-tile-" m)                                                                                      \
						 STORE(n2 "-tile-" m, "images/**/*.tif", "images",                                                   \
						       "") },                                                                                        \
		{ n3                                                                                                                                 \
		  "-predict-" m " slots 4 after " n1 "-cover-" m " " n2 "-tile-" m                                                                   \
		  "\n" WRAPPER FETCH(n2 "-tile-" m, "images") ASSET(                                                                                 \
			  "config",                                                                                                                  \
			  "config.toml") FETCH(n1 "-cover-" m,                                                                                       \
					       "csv") ASSET("abd", "neat-fullxview-epoch75.pth")                                                     \
			  DIR_IN(n2 "-tile-" m, "images", "set/images") ASSET_IN(                                                                    \
				  "config", "config.toml") FILE_IN(n1 "-cover-" m, "csv",                                                            \
								   "cover.csv",                                                                      \
								   "in/cover-" m ".csv/cover.csv")                                                   \
				  ASSET_IN("abd", "neat-fullxview-epoch75.pth") "$ " ENV(                                                            \
					  "abd") "abd predict --config in/config/config.toml --cover in/cover-" m                                    \
						 ".csv/cover.csv --dataset set --checkpoint in/abd/neat-fullxview-epoch75.pth --out "                \
						 "predictions --metatiles --keep_borders\n" LOGS(                                                    \
							 n3 "-predict-" m)                                                                           \
							 STORE(n3 "-predict-" m,                                                                     \
							       "predictions/**/*.png", "masks",                                                      \
							       "") },                                                                                \
		{ n4 "-vectorize-" m " slots 1 after " n3 "-predict-" m "\n" WRAPPER ASSET(                                                          \
			"config", "config.toml") FETCH(n3 "-predict-" m,                                                                             \
						       "masks") ASSET_IN("config", "config.toml")                                                    \
			  DIR_IN(n3 "-predict-" m, "masks", "in/predict-" m ".masks") "$ " ENV(                                                      \
				  "abd") "abd vectorize --config in/config/config.toml --masks in/predict-" m                                        \
					 ".masks --out buildings.geojson --type Building\n" LOGS(                                                    \
						 n4 "-vectorize-" m)                                                                                 \
						 STORE(n4 "-vectorize-" m, "buildings.geojson",                                                      \
						       "buildings", "/buildings.geojson") },                                                         \
	{                                                                                                                                            \
		n5 "-filter-" m " slots 1 after " n4 "-vectorize-" m "\n" WRAPPER                                                                    \
		FETCH(n4 "-vectorize-" m, "buildings") "< assets/hydropolys.gpkg*\n" FILE_IN(                                                        \
			n4 "-vectorize-" m, "buildings", "buildings.geojson",                                                                        \
			"in/vectorize-" m                                                                                                            \
			".buildings/buildings.geojson") "= may file .adafs/stage/assets/hydropolys.gpkg in/water/hydropolys.gpkg -\n"                \
							"$ " ENV(                                                                                    \
								"base") "filter-buildings --data in/vectorize-" m                                    \
									".buildings/buildings.geojson --dest buildings-clean.geojson --waterbodies " \
									"in/water/hydropolys.gpkg\n" LOGS(                                           \
										n5 "-filter-" m)                                                     \
										STORE(n5                                                             \
										      "-filter-" m,                                                  \
										      "buildings-clean.geojson",                                     \
										      "buildings",                                                   \
										      "/buildings-clean.geojson")                                    \
	}

#define CLEAN_PRE "in/filter-pre.buildings/buildings-clean.geojson"
#define LABELS "run-split_inference-epoch_001-model_attentive-predictions.txt"
#define RUN_DIR "caladrius/run-input_size_32-learning_rate_0.001-batch_size_2/predictions/"
#define MAP "buildings-predictions.geojson"

static const struct {
	const char *text;
} ada[] = {
	{ "01-setup slots 1 after\n" WRAPPER
	  "< images/flood/pre-event/a b.tif@2026-01-01T00:00:00.0000000Z to .adafs/in/pre/001-a_b.tif\n"
	  "< images/flood/pre-event/c.tif@2026-01-02T00:00:00.0000000Z to .adafs/in/pre/002-c.tif\n"
	  "< images/flood/post-event/a b.tif@2026-01-03T00:00:00.0000000Z to .adafs/in/post/001-a_b.tif\n"
	  "= must dir .adafs/in/pre data/pre-event/ -\n= must dir .adafs/in/post data/post-event/ -\n"
	  "$ " ENV(
		  "base") "create-index --data data --zoom 13 --dest index.geojson && setup-wd --data data "
			  "--index index.geojson --id 13-4680-2911 --dest raw\n" LOGS("01-setup")
				  STORE("01-setup", "raw/pre-event/merged.tif", "pre",
					"/merged.tif")
					  STORE("01-setup", "raw/post-event/merged.tif", "post",
						"/merged.tif") },
	BRANCH("pre", "02", "03", "04", "05", "06"),
	BRANCH("post", "07", "08", "09", "10", "11"),
	{ "12-align slots 1 after 01-setup 06-filter-pre 11-filter-post\n" WRAPPER FETCH(
		"11-filter-post", "buildings") FETCH("06-filter-pre", "buildings") FETCH("01-setup",
											 "post")
		  FILE_IN("11-filter-post", "buildings", "buildings-clean.geojson",
			  "in/filter-post.buildings/buildings-clean.geojson") FILE_IN("06-filter-pre",
										      "buildings",
										      "buildings-clean.geojson",
										      CLEAN_PRE)
			  FILE_IN("01-setup", "post", "merged.tif", "in/setup.post/merged.tif") "$ " ENV(
				  "base") "align-raster --targetbuild in/filter-post.buildings/buildings-clean.geojson "
					  "--referencebuild " CLEAN_PRE
					  " --alignedbuild aligned.geojson --targetraster "
					  "in/setup.post/merged.tif --alignedraster aligned.tif\n" LOGS(
						  "12-align") STORE("12-align", "aligned.tif",
								    "post", "/aligned.tif")
						  STORE("12-align", "aligned.geojson", "buildings",
							"/aligned.geojson") },
	{ "13-prepare slots 1 after 01-setup 06-filter-pre 12-align\n" WRAPPER FETCH(
		"01-setup",
		"pre") FETCH("12-align",
			     "post") FETCH("06-filter-pre",
					   "buildings") FILE_IN("01-setup", "pre", "merged.tif",
								"raw/pre-event/merged.tif")
		  FILE_IN("12-align", "post", "aligned.tif", "raw/post-event/merged.tif") FILE_IN(
			  "06-filter-pre", "buildings", "buildings-clean.geojson",
			  CLEAN_PRE) "$ " ENV("base") "prepare-data --data raw --datapre merged --datapost merged --buildings " CLEAN_PRE
						      " --dest caladrius\n" LOGS("13-prepare")
							      STORE("13-prepare",
								    "caladrius/**/*.png", "set",
								    "") },
	{ "14-classify slots 4 after 13-prepare\n" WRAPPER FETCH("13-prepare", "set") ASSET(
		"cal", "caladrius_att_effnet4_v1.pkl") DIR_IN("13-prepare", "set", "caladrius")
		  ASSET_IN(
			  "cal",
			  "caladrius_att_effnet4_v1.pkl") "$ { source ~/.bashrc && source activate cal && export CUDA_VISIBLE_DEVICES=0\n} || exit\n"
							  "python /caladrius/caladrius/run.py --run-name run --data-path caladrius --model-type attentive "
							  "--model-path in/cal/caladrius_att_effnet4_v1.pkl --batch-size 2 --classification-loss-type f1 "
							  "--checkpoint-path caladrius --output-type classification --inference\n" LOGS(
								  "14-classify")
								  STORE("14-classify",
									RUN_DIR LABELS, "labels",
									"/" LABELS) },
	{ "15-final slots 1 after 06-filter-pre 14-classify\n" WRAPPER FETCH(
		"06-filter-pre", "buildings") FETCH("14-classify",
						    "labels") FILE_IN("06-filter-pre", "buildings",
								      "buildings-clean.geojson",
								      CLEAN_PRE)
		  FILE_IN("14-classify", "labels", LABELS, "in/classify.labels/" LABELS) "$ " ENV(
			  "base") "final-layer --builds " CLEAN_PRE
				  " --damage in/classify.labels/" LABELS " --out " MAP
				  "\n" LOGS("15-final") "> .adafs/part/part.json to " PARTS JOB
							"/part.json taskcompletion\n" STORE(
								"15-final", MAP, "buildings",
								"/" MAP) "> " MAP " to " PARTS JOB
									 "/" MAP " tasksuccess\n" },
	{ "16-merge slots 1 after 01-setup 02-cover-pre 03-tile-pre 04-predict-pre 05-vectorize-pre 06-filter-pre "
	  "07-cover-post 08-tile-post 09-predict-post 10-vectorize-post 11-filter-post 12-align 13-prepare "
	  "14-classify 15-final\n" WRAPPER "< " PARTS "*\n= may dir .adafs/chosen in/parts -\n"
	  "$ " ENV("base") "merge-output --dir in/parts --data " MAP " --dest " MAP "\n" LOGS(
		  "16-merge") "> .adafs/part/part.json to " PARTS JOB "/part.json taskcompletion\n"
			      "> .adafs/merged/**/* to merged/flood/ada tasksuccess\n" },
};

static const struct adafs_plan_image ada_images[] = {
	{ 0, "images/flood/pre-event/a b.tif", "2026-01-01T00:00:00.0000000Z", "e1", "s1" },
	{ 0, "images/flood/pre-event/c.tif", "2026-01-02T00:00:00.0000000Z", "e2", "s2" },
	{ 1, "images/flood/post-event/a b.tif", "2026-01-03T00:00:00.0000000Z", "e3", "s3" },
};

static struct adafs_plan_request ada_request(void)
{
	return (struct adafs_plan_request){ .job_id = JOB,
					    .run = 1,
					    .event = "flood",
					    .pool = "gpu",
					    .unit = "13-4680-2911",
					    .pool_slots = 4,
					    .images = ada_images,
					    .n_images = ADAFS_ARRAY_SIZE(ada_images),
					    .url = fake_url };
}

/* What every task has, whatever its step. */
static void check_common(const cJSON *task)
{
	ADAFS_FREE char *conditions = adafs_json_print(adafs_json_get(task, "exitConditions"));
	assert_string_equal(conditions, "{\"default\":{\"dependencyAction\":\"satisfy\"},"
					"\"preProcessingError\":{\"dependencyAction\":\"satisfy\"},"
					"\"fileUploadError\":{\"dependencyAction\":\"satisfy\"}}");
	ADAFS_FREE char *limits = adafs_json_print(adafs_json_get(task, "constraints"));
	assert_string_equal(limits, "{\"maxWallClockTime\":\"PT6H\",\"maxTaskRetryCount\":0}");
	ADAFS_FREE char *container = adafs_json_print(adafs_json_get(task, "containerSettings"));
	assert_string_equal(container,
			    "{\"imageName\":\"ada510.azurecr.io/ada:latest\","
			    "\"containerRunOptions\":\"--rm --ipc=host --shm-size 8G\"}");
	assert_string_equal(adafs_json_str(adafs_json_path(task, "userIdentity/autoUser"),
					   "elevationLevel", ""),
			    "admin");
	assert_string_equal(adafs_json_str(task, "commandLine", ""), "/bin/sh .adafs/wrapper.sh");
	assert_string_equal(env(task, "ADAFS_SHELL"), "/bin/bash\n-c");
	assert_string_equal(env(task, "ADAFS_TIME_LIMIT"), "7200");
	assert_string_equal(env(task, "ADAFS_RETRIES"), "1");
	assert_string_equal(env(task, "ADAFS_JOB"), JOB);
	assert_null(env(task, "ADAFS_EXPIRES"));
	ADAFS_FREE char *text = adafs_json_print(task);
	assert_null(strstr(text, "null"));
	assert_null(strstr(text, "jobAction"));
}

static void test_ada(void **state)
{
	(void)state;
	struct adafs_pipeline *p = load("ada");
	struct adafs_err err = { 0 };
	assert_int_equal(adafs_pipeline_runnable(p, &err), -EOPNOTSUPP);
	struct adafs_plan_request req = ada_request();
	struct adafs_plan *pl = plan(p, &req);
	assert_int_equal(pl->n_steps, ADAFS_ARRAY_SIZE(ada));
	assert_int_equal(cJSON_GetArraySize(pl->tasks), ADAFS_ARRAY_SIZE(ada));
	for (size_t i = 0; i < pl->n_steps; i++) {
		const cJSON *task = cJSON_GetArrayItem(pl->tasks, (int)i);
		ADAFS_FREE char *text = describe(task);
		assert_string_equal(text, ada[i].text);
		check_common(task);
		assert_int_equal(pl->steps[i].number, i + 1);
		assert_string_equal(pl->steps[i].task_id, adafs_json_str(task, "id", ""));
		assert_int_equal(pl->steps[i].merge, i == 15);
		assert_int_equal(pl->steps[i].result, i == 14);
	}
	assert_string_equal(pl->steps[2].name, "tile-pre");
	assert_non_null(strstr(pl->steps[2].command, "--cover {cover.csv} --config {config}"));
	assert_string_equal(pl->steps[2].work_prefix, W("03-tile-pre"));
	assert_int_equal(pl->steps[2].n_depends_on, 2);
	assert_int_equal(pl->steps[2].depends_on[1], 1);
	const cJSON *prepare = cJSON_GetArrayItem(pl->tasks, 12);
	assert_string_equal(env(prepare, "ADAFS_STOP_ON"), "64");
	assert_string_equal(env(prepare, "ADAFS_OUTPUTS"), "set\tmust\tdir\tcaladrius/**/*.png\n");
	assert_string_equal(
		env(cJSON_GetArrayItem(pl->tasks, 11), "ADAFS_OUTPUTS"),
		"post\tmust\tfile\taligned.tif\nbuildings\tmay\tfile\taligned.geojson\n");
	adafs_plan_free(pl);
	adafs_pipeline_unref(p);
}

static void test_ada_merge(void **state)
{
	(void)state;
	struct adafs_pipeline *p = load("ada");
	struct adafs_plan_request req = ada_request();
	struct adafs_plan *pl = plan(p, &req);
	const cJSON *final = cJSON_GetArrayItem(pl->tasks, 14),
		    *merge = cJSON_GetArrayItem(pl->tasks, 15);
	assert_string_equal(env(final, "ADAFS_RESULT"), "1");
	assert_string_equal(env(final, "ADAFS_MODE"), "step");
	assert_string_equal(env(final, "ADAFS_PART_ORDER"), "2026-01-03T00:00:00.0000000Z");
	assert_int_equal(strlen(env(final, "ADAFS_PART_KEY")), 32);
	assert_string_equal(
		env(final, "ADAFS_PART_IMAGES"),
		"[{\"role\":\"pre\",\"blob\":\"images/flood/pre-event/a b.tif\",\"snapshot\":"
		"\"2026-01-01T00:00:00.0000000Z\"},{\"role\":\"pre\",\"blob\":"
		"\"images/flood/pre-event/c.tif\",\"snapshot\":\"2026-01-02T00:00:00.0000000Z\"},"
		"{\"role\":\"post\",\"blob\":\"images/flood/post-event/a b.tif\",\"snapshot\":"
		"\"2026-01-03T00:00:00.0000000Z\"}]");
	assert_string_equal(env(merge, "ADAFS_MODE"), "merge");
	assert_null(env(merge, "ADAFS_RESULT"));
	assert_string_equal(env(merge, "ADAFS_PARTS"), ".adafs/stage/parts/flood/ada");
	assert_string_equal(env(merge, "ADAFS_MERGE_ID"), "00000001");
	assert_string_equal(env(merge, "ADAFS_EVENT_JSON"), "\"flood\"");
	assert_string_equal(env(merge, "ADAFS_PIPELINE"), "ada");
	assert_string_equal(env(merge, "ADAFS_EMPTY_1"),
			    "{\"type\":\"FeatureCollection\",\"features\":[]}");
	assert_string_equal(env(merge, "ADAFS_PART_KEY"), env(final, "ADAFS_PART_KEY"));
	adafs_plan_free(pl);
	adafs_pipeline_unref(p);
}

static void test_job(void **state)
{
	(void)state;
	struct adafs_pipeline *p = load("ada");
	struct adafs_plan_request req = ada_request();
	req.run = 3;
	struct adafs_plan *pl = plan(p, &req);
	ADAFS_FREE char *job = adafs_json_print(pl->job);
	ADAFS_FREE char *expected = adafs_fmt(
		"{\"id\":\"" JOB
		"-r3\",\"poolInfo\":{\"poolId\":\"gpu\"},\"usesTaskDependencies\":true,"
		"\"onAllTasksComplete\":\"noaction\",\"onTaskFailure\":\"noaction\","
		"\"constraints\":{\"maxWallClockTime\":\"P11D\"},\"metadata\":["
		"{\"name\":\"adafs\",\"value\":\"" ADAFS_VERSION
		"\"},{\"name\":\"adafs-job\",\"value\":\"" JOB
		"\"},{\"name\":\"adafs-pipeline\",\"value\":\"%s\"},{\"name\":\"adafs-snapshot\",\"value\":"
		"\"2026-01-01T00:00:00.0000000Z 2026-01-02T00:00:00.0000000Z 2026-01-03T00:00:00.0000000Z\"}]}",
		adafs_pipeline_digest(p));
	assert_string_equal(job, expected);
	ADAFS_FREE char *patch = adafs_json_print(pl->patch);
	assert_string_equal(patch, "{\"onAllTasksComplete\":\"terminatejob\"}");
	assert_string_equal(pl->batch_job_id, JOB "-r3");
	assert_string_equal(pl->steps[0].work_prefix, "work/" JOB "/01-setup/3/");
	assert_string_equal(env(cJSON_GetArrayItem(pl->tasks, 15), "ADAFS_MERGE_ID"), "00000001r3");
	struct adafs_plan *again = plan(p, &req);
	assert_true(cJSON_Compare(pl->tasks, again->tasks, true) &&
		    cJSON_Compare(pl->job, again->job, true));
	adafs_plan_free(again);
	adafs_plan_free(pl);
	req.url = NULL;
	pl = plan(p, &req);
	assert_null(pl->job);
	assert_null(pl->tasks);
	assert_int_equal(pl->n_steps, 16);
	adafs_plan_free(pl);
	adafs_pipeline_unref(p);
}

#define SIMPLE                                                                                    \
	"{\"name\":\"p\",\"steps\":[{\"name\":\"b\",\"command\":\"c {a.x} {image}\",\"slots\":3," \
	"\"outputs\":{\"y\":\"y\"},\"result\":true},{\"name\":\"a\",\"command\":\"c {image}\","   \
	"\"outputs\":{\"x\":\"x\"}}]}"

/* No byte of a user's name reaches a path on the node, a command or a list. */
static void test_names(void **state)
{
	(void)state;
	struct adafs_pipeline *p = parse(SIMPLE);
	static const struct {
		const char *blob, *name;
	} rows[] = {
		{ "images/e/a.tif", "a.tif" },
		{ "images/e/$(rm -rf ~)`x`;'\"\t\n.tif", "rm_-rf_x.tif" },
		{ "images/e/-rf.tif", "rf.tif" },
		{ "images/e/Sc\xc3\xa9ne 1.TIFF", "Sc_ne_1.TIFF" },
		{ "images/e/noext", "noext" },
		{ "images/e/a.t$i f", "a.tif" },
		{ "images/e/\xe5\x9c\xb0.png", "x.png" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		struct adafs_plan_image image = { 0, rows[i].blob, "s", "e", "h" };
		struct adafs_plan_request req = { .job_id = JOB,
						  .run = 1,
						  .event = "e",
						  .pool = "p",
						  .images = &image,
						  .n_images = 1,
						  .url = fake_url };
		struct adafs_plan *pl = plan(p, &req);
		const cJSON *task = cJSON_GetArrayItem(pl->tasks, 0);
		ADAFS_FREE char *command = adafs_fmt("c in/image/%s", rows[i].name);
		ADAFS_FREE char *inputs =
			adafs_fmt("must\tfile\t.adafs/in/image/%s\tin/image/%s\t-\n", rows[i].name,
				  rows[i].name);
		assert_string_equal(env(task, "ADAFS_COMMAND"), command);
		assert_string_equal(env(task, "ADAFS_INPUTS"), inputs);
		adafs_plan_free(pl);
	}
	adafs_pipeline_unref(p);
}

/* A step that stands before what it needs is numbered after it. */
static void test_order(void **state)
{
	(void)state;
	struct adafs_pipeline *p = parse(SIMPLE);
	struct adafs_plan_image image = { 0, "images/e/a.tif", "s", "e", "h" };
	struct adafs_plan_request req = { .job_id = JOB,
					  .run = 1,
					  .event = "e",
					  .pool = "p",
					  .images = &image,
					  .n_images = 1,
					  .url = fake_url,
					  .url_arg = "?sv=1&se=2030-01-01T00%3A00%3A00Z&sig=x" };
	struct adafs_plan *pl = plan(p, &req);
	assert_string_equal(pl->steps[0].task_id, "01-a");
	assert_string_equal(pl->steps[1].task_id, "02-b");
	assert_string_equal(pl->steps[2].task_id, "03-merge");
	assert_int_equal(pl->steps[1].depends_on[0], 0);
	assert_int_equal(pl->steps[2].n_depends_on, 2);
	/* The SAS tells its end: the wrapper is told as well. */
	assert_string_equal(env(cJSON_GetArrayItem(pl->tasks, 0), "ADAFS_EXPIRES"), "1893456000");
	assert_null(adafs_json_get(cJSON_GetArrayItem(pl->tasks, 0), "containerSettings"));
	adafs_plan_free(pl);
	adafs_pipeline_unref(p);
}

static char *no_url(void *arg, enum adafs_plan_access access, const char *blob,
		    const char *snapshot, struct adafs_err *reterr)
{
	(void)arg;
	(void)access;
	(void)blob;
	(void)snapshot;
	adafs_err_set(reterr, -EACCES, "no key to sign with");
	return NULL;
}

static void test_refused(void **state)
{
	(void)state;
	struct adafs_pipeline *p = parse(SIMPLE);
	char *big = calloc(1, 20001);
	assert_non_null(big);
	memset(big, 'x', 20000);
	struct adafs_plan_image two[] = { { 0, "images/e/a.tif", "s", "e", "h" },
					  { 0, "images/e/b.tif", "s", "e", "h" } };
	const struct adafs_plan_request good = { .job_id = JOB,
						 .run = 1,
						 .event = "e",
						 .pool = "p",
						 .images = two,
						 .n_images = 1,
						 .url = fake_url };
	struct adafs_plan_request r[7];
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(r); i++)
		r[i] = good;
	r[0].n_images = 0;
	r[1].n_images = 2;
	r[2].pool_slots = 2;
	r[3].url_arg = big;
	r[4].pool = NULL;
	r[5].event = "a\tb";
	r[6].url = no_url;
	static const struct {
		int rc;
		const char *says;
	} expected[] = {
		{ -EINVAL, "pipeline 'p' needs an image for 'image', and none is given" },
		{ -EINVAL, "pipeline 'p' takes one image for 'image', and 2 are given" },
		{ -EINVAL,
		  "step 'b' takes 3 slots and a node of the pool has 2; lower its \"slots\" or make the "
		  "pool with more task slots" },
		{ -EINVAL,
		  "characters of URLs, and the service allows 32768; give the step fewer files" },
		{ -EINVAL, "no pool is named for job '" JOB "'; set pool=" },
		{ -EINVAL, "is no name of an event" },
		{ -EACCES, "no key to sign with" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(r); i++) {
		struct adafs_plan *pl = NULL;
		struct adafs_err err = { 0 };
		assert_int_equal(adafs_plan_make(p, &r[i], &pl, &err), expected[i].rc);
		if (!strstr(err.msg, expected[i].says))
			fail_msg("row %zu: %s", i, err.msg);
		assert_null(pl);
	}
	free(big);
	adafs_pipeline_unref(p);
}

static void test_job_id(void **state)
{
	(void)state;
	char id[ADAFS_JOB_ID_LEN], other[ADAFS_JOB_ID_LEN];
	struct adafs_plan_image images[] = { { 0, "images/flood/pre/a b.tif", "s1", "e1", "aa" },
					     { 1, "images/flood/post/a b.tif", "s2", "e2", "bb" } };
	adafs_plan_job_id("flood", images, 2, id);
	assert_int_equal(strncmp(id, "flood-a_b-", 10), 0);
	assert_int_equal(strlen(id), 18);
	struct adafs_plan_image swapped[] = { images[1], images[0] };
	swapped[0].snapshot = "later";
	swapped[1].etag = "other";
	adafs_plan_job_id("flood", swapped, 2, other);
	assert_string_equal(id, other);
	images[0].sha256 = "ac";
	adafs_plan_job_id("flood", images, 2, other);
	assert_string_not_equal(id, other);
	ADAFS_FREE char *name = adafs_fmt("images/e/%0200d.tif", 1);
	struct adafs_plan_image longest = { 0, name, "", "", "aa" };
	ADAFS_FREE char *event = adafs_fmt("%0100d", 1);
	adafs_plan_job_id(event, &longest, 1, id);
	assert_int_equal(strlen(id), 58);
	adafs_plan_job_id("\xc3\xbc", &longest, 1, id);
	assert_int_equal(strlen(id), 58);
	assert_int_equal(
		strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"), 58);
}

static void test_folder_script_and_optional(void **state)
{
	(void)state;
	struct adafs_pipeline *p = parse(
		"{\"name\":\"p\",\"assets\":{\"w\":{\"blob\":\"assets/a b.gpkg\",\"optional\":true},"
		"\"m\":\"assets/my model.bin\"},\"steps\":[{\"name\":\"a\",\"command\":\"c {w} {m}\","
		"\"files\":{\"d/\":\"{m}\",\"e/f\":\"{m}\"},\"outputs\":{\"t\":\"t/*\",\"o\":\"o.txt\"},"
		"\"result\":true}]}");
	struct adafs_plan_image image = { 0, "images/e/a.tif", "s", "e", "h" };
	struct adafs_plan_request req = { .job_id = JOB,
					  .run = 1,
					  .event = "e",
					  .pool = "p",
					  .images = &image,
					  .n_images = 1,
					  .url = fake_url };
	struct adafs_plan *pl = plan(p, &req);
	ADAFS_FREE char *text = describe(cJSON_GetArrayItem(pl->tasks, 0));
	assert_string_equal(
		text,
		"01-a slots 1 after\n" WRAPPER
		"< assets/my model.bin to .adafs/in/m/my_model.bin\n< assets/a b.gpkg*\n"
		"= must file .adafs/in/m/my_model.bin d/my_model.bin -\n"
		"= must file .adafs/in/m/my_model.bin e/f -\n"
		"= may file .adafs/stage/assets/a b.gpkg in/w/a_b.gpkg -\n"
		"$ c in/w/a_b.gpkg d/my_model.bin\n" LOGS(
			"01-a") "> .adafs/part/part.json to parts/e/p/" JOB
				"/part.json taskcompletion\n" STORE("01-a", "t/*", "t", "")
					STORE("01-a", "o.txt", "o",
					      "/o.txt") "> t/* to parts/e/p/" JOB "/t tasksuccess\n"
							"> o.txt to parts/e/p/" JOB
							"/o.txt tasksuccess\n");
	adafs_plan_free(pl);
	adafs_pipeline_unref(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ada),    cmocka_unit_test(test_ada_merge),
		cmocka_unit_test(test_job),    cmocka_unit_test(test_names),
		cmocka_unit_test(test_order),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_job_id), cmocka_unit_test(test_folder_script_and_optional),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
