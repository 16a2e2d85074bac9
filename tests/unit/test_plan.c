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
#define DOCUMENT "< manifest.json to .adafs/pipeline.json\n"
#define PART(parts)                                                           \
	"> .adafs/part/part.json to " parts JOB "/part.json taskcompletion\n" \
	"> .adafs/part/manifest.json to " parts JOB "/manifest.json taskcompletion\n"
#define W(step) "work/" JOB "/" step "/1/"
#define FETCH(step, output) "< " W(step) "out/" output "/*\n< " W(step) "end.json*\n"
#define FETCH_MORE(step, output) "< " W(step) "out/" output "/*\n"
#define FILE_IN(step, output, base, target)                                   \
	"= must file .adafs/stage/" W(step) "out/" output "/" base " " target \
					    " " W(step) "end.json " output "\n"
#define DIR_IN(step, output, target)                                                               \
	"= must dir .adafs/stage/" W(step) "out/" output " " target " " W(step) "end.json " output \
										"\n"
#define ASSET(name, file) "< assets/" file " to .adafs/in/" name "/" file "\n"
#define ASSET_IN(name, file) "= must file .adafs/in/" name "/" file " in/" name "/" file " - -\n"
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
			".buildings/buildings.geojson") "= may file .adafs/stage/assets/hydropolys.gpkg in/water/hydropolys.gpkg - -\n"              \
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
	  "= must dir .adafs/in/pre data/pre-event/ - -\n= must dir .adafs/in/post data/post-event/ - -\n"
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
	{ "15-final slots 1 after 06-filter-pre 14-classify\n" WRAPPER DOCUMENT FETCH(
		"06-filter-pre", "buildings") FETCH("14-classify",
						    "labels") FILE_IN("06-filter-pre", "buildings",
								      "buildings-clean.geojson",
								      CLEAN_PRE)
		  FILE_IN("14-classify", "labels", LABELS, "in/classify.labels/" LABELS) "$ " ENV(
			  "base") "final-layer --builds " CLEAN_PRE
				  " --damage in/classify.labels/" LABELS " --out " MAP
				  "\n" LOGS("15-final") PART(PARTS)
					  STORE("15-final", MAP, "buildings",
						"/" MAP) "> " MAP " to " PARTS JOB "/" MAP
							 " tasksuccess\n" },
	{ "16-merge slots 1 after 01-setup 02-cover-pre 03-tile-pre 04-predict-pre 05-vectorize-pre 06-filter-pre "
	  "07-cover-post 08-tile-post 09-predict-post 10-vectorize-post 11-filter-post 12-align 13-prepare "
	  "14-classify 15-final\n" WRAPPER "< " PARTS "*\n= may dir .adafs/chosen in/parts - -\n"
	  "$ " ENV("base") "merge-output --dir in/parts --data " MAP " --dest " MAP "\n" LOGS(
		  "16-merge") "> .adafs/part/part.json to " PARTS JOB "/part.json taskcompletion\n"
			      "> .adafs/merged/**/* to merged/flood/ada tasksuccess\n" },
};

static const struct adafs_plan_image ada_images[] = {
	{ 0, "images/flood/pre-event/a b.tif", "2026-01-01T00:00:00.0000000Z", "e1", "s1", "",
	  1234567890123 },
	{ 0, "images/flood/pre-event/c.tif", "2026-01-02T00:00:00.0000000Z", "e2", "s2", NULL, 7 },
	{ 1, "images/flood/post-event/a b.tif", "2026-01-03T00:00:00.0000000Z", "e3", "s3",
	  "2026-01-02", -1 },
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
static bool has_null(const cJSON *v)
{
	if (cJSON_IsNull(v))
		return true;
	for (const cJSON *c = v->child; c; c = c->next)
		if (has_null(c))
			return true;
	return false;
}

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
	assert_false(has_null(task));
	assert_null(strstr(text, "jobAction"));
}

static void test_ada(void **state)
{
	(void)state;
	struct adafs_pipeline *p = load("ada");
	assert_true(adafs_pipeline_by_unit(p));
	assert_int_equal(adafs_pipeline_grid_zoom(p), 13);
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
	assert_string_equal(env(prepare, "ADAFS_OUTPUTS"),
			    "set\tmust\tdir\tcaladrius/**/*.png\t0\n");
	assert_string_equal(
		env(cJSON_GetArrayItem(pl->tasks, 11), "ADAFS_OUTPUTS"),
		"post\tmust\tfile\taligned.tif\t0\nbuildings\tmay\tfile\taligned.geojson\t0\n");
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
		"\"2026-01-03T00:00:00.0000000Z\",\"date\":\"2026-01-02\"}]");
	assert_string_equal(env(merge, "ADAFS_MODE"), "merge");
	assert_null(env(merge, "ADAFS_RESULT"));
	assert_string_equal(env(merge, "ADAFS_PARTS"), ".adafs/stage/parts/flood/ada");
	assert_string_equal(env(merge, "ADAFS_MERGE_ID"), "00000001");
	assert_string_equal(env(merge, "ADAFS_EVENT_JSON"), "\"flood\"");
	assert_string_equal(env(merge, "ADAFS_PIPELINE"), "ada");
	assert_string_equal(env(merge, "ADAFS_PIPELINE_DIGEST"), adafs_pipeline_digest(p));
	assert_string_equal(env(merge, "ADAFS_CONTAINER"), "ada510.azurecr.io/ada:latest");
	assert_null(env(final, "ADAFS_CONTAINER"));
	assert_string_equal(env(merge, "ADAFS_PART_IMAGES"), env(final, "ADAFS_PART_IMAGES"));
	assert_string_equal(env(merge, "ADAFS_EMPTY_1"),
			    "{\"type\":\"FeatureCollection\",\"features\":[]}");
	assert_string_equal(env(merge, "ADAFS_PART_KEY"), env(final, "ADAFS_PART_KEY"));
	adafs_plan_free(pl);
	adafs_pipeline_unref(p);
}

/* What the result step says of itself, without what its node will add. */
static void test_provenance(void **state)
{
	(void)state;
	struct adafs_pipeline *p = load("ada");
	struct adafs_plan_request req = ada_request();
	struct adafs_plan *pl = plan(p, &req);
	const cJSON *final = cJSON_GetArrayItem(pl->tasks, 14);
	const struct adafs_pipeline_asset *document =
		adafs_pipeline_asset(p, adafs_pipeline_n_assets(p) - 2);
	ADAFS_JSON *head = cJSON_Parse(env(final, "ADAFS_MANIFEST")),
		   *quoted = cJSON_ParseWithLength(document->data, document->data_len);
	const cJSON *image = cJSON_GetArrayItem(adafs_json_get(head, "images"), 0),
		    *other = cJSON_GetArrayItem(adafs_json_get(head, "images"), 2);
	assert_string_equal(adafs_json_str(head, "event", ""), "flood");
	assert_string_equal(adafs_json_str(image, "name", ""), "a b.tif");
	assert_string_equal(adafs_json_str(image, "role", ""), "pre");
	assert_int_equal(adafs_json_int(image, "size", 0), 1234567890123);
	assert_true(cJSON_IsNull(adafs_json_get(image, "date")));
	assert_true(cJSON_IsNull(adafs_json_get(other, "size")));
	assert_string_equal(adafs_json_str(other, "etag", ""), "e3");
	assert_string_equal(adafs_json_str(adafs_json_get(head, "container"), "image", ""),
			    "ada510.azurecr.io/ada:latest");
	assert_string_equal(adafs_json_str(quoted, "digest", ""), adafs_pipeline_digest(p));
	assert_string_equal(adafs_json_str(quoted, "text", ""), adafs_pipeline_text(p, NULL));
	const char *steps = env(final, "ADAFS_STEPS_1");
	size_t n = 0;
	for (const char *c = steps; *c; c++)
		n += *c == '\n';
	assert_int_equal(n, 15);
	assert_null(env(final, "ADAFS_STEPS_2"));
	assert_int_equal(strncmp(steps,
				 "01-setup\t1\t{\"name\":\"setup\",\"task\":\"01-setup\","
				 "\"run\":1,\"reused\":false,\"key\":\"",
				 strlen("01-setup\t1\t{\"name\":\"setup\",\"task\":\"01-setup\","
					"\"run\":1,\"reused\":false,\"key\":\"")),
			 0);
	assert_null(env(cJSON_GetArrayItem(pl->tasks, 15), "ADAFS_MANIFEST"));
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
		struct adafs_plan_image image = { 0, rows[i].blob, "s", "e", "h", NULL, -1 };
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
			adafs_fmt("must\tfile\t.adafs/in/image/%s\tin/image/%s\t-\t-\n",
				  rows[i].name, rows[i].name);
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
	struct adafs_plan_image image = { 0, "images/e/a.tif", "s", "e", "h", NULL, -1 };
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
	struct adafs_plan_image two[] = { { 0, "images/e/a.tif", "s", "e", "h", NULL, -1 },
					  { 0, "images/e/b.tif", "s", "e", "h", NULL, -1 } };
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
	struct adafs_plan_image images[] = {
		{ 0, "images/flood/pre/a b.tif", "s1", "e1", "aa", NULL, 7 },
		{ 1, "images/flood/post/a b.tif", "s2", "e2", "bb", NULL, 7 }
	};
	adafs_plan_job_id("flood", NULL, images, 2, id);
	assert_int_equal(strncmp(id, "flood-a_b-", 10), 0);
	assert_int_equal(strlen(id), 18);
	struct adafs_plan_image swapped[] = { images[1], images[0] };
	swapped[0].snapshot = "later";
	swapped[1].etag = "other";
	adafs_plan_job_id("flood", NULL, swapped, 2, other);
	assert_string_equal(id, other);
	images[0].sha256 = "ac";
	adafs_plan_job_id("flood", NULL, images, 2, other);
	assert_string_not_equal(id, other);
	ADAFS_FREE char *name = adafs_fmt("images/e/%0200d.tif", 1);
	struct adafs_plan_image longest = { 0, name, "", "", "aa", NULL, 7 };
	ADAFS_FREE char *event = adafs_fmt("%0100d", 1);
	adafs_plan_job_id(event, NULL, &longest, 1, id);
	assert_int_equal(strlen(id), 58);
	adafs_plan_job_id("\xc3\xbc", NULL, &longest, 1, id);
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
	struct adafs_plan_image image = { 0, "images/e/a.tif", "s", "e", "h", NULL, -1 };
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
		"01-a slots 1 after\n" WRAPPER DOCUMENT
		"< assets/my model.bin to .adafs/in/m/my_model.bin\n< assets/a b.gpkg*\n"
		"= must file .adafs/in/m/my_model.bin d/my_model.bin - -\n"
		"= must file .adafs/in/m/my_model.bin e/f - -\n"
		"= may file .adafs/stage/assets/a b.gpkg in/w/a_b.gpkg - -\n"
		"$ c in/w/a_b.gpkg d/my_model.bin\n" LOGS("01-a") PART("parts/e/p/")
			STORE("01-a", "t/*", "t", "")
				STORE("01-a", "o.txt", "o",
				      "/o.txt") "> t/* to parts/e/p/" JOB "/t tasksuccess\n"
						"> o.txt to parts/e/p/" JOB "/o.txt tasksuccess\n");
	adafs_plan_free(pl);
	adafs_pipeline_unref(p);
}

/* --- shards, keys and what is kept ------------------------------------------------------- */

#define SPLIT                                                                           \
	"{\"name\":\"p\",\"steps\":["                                                   \
	"{\"name\":\"tile\",\"command\":\"t {image}\",\"outputs\":{\"i\":\"i/**/*\"}}," \
	"{\"name\":\"predict\",\"command\":\"p {tile.i}\",\"shards\":3,"                \
	"\"outputs\":{\"m\":\"m/*\"}},"                                                 \
	"{\"name\":\"clean\",\"command\":\"n {predict.m}\",\"shards\":3,"               \
	"\"outputs\":{\"m\":\"n/*\"}},"                                                 \
	"{\"name\":\"join\",\"command\":\"j {clean.m}\",\"outputs\":{\"o\":\"o\"},\"result\":true}]}"

static const struct adafs_plan_image one_image = { 0, "images/e/a.tif", "s", "e", "h", NULL, -1 };

static struct adafs_plan_request one_request(void)
{
	return (struct adafs_plan_request){ .job_id = JOB,
					    .run = 1,
					    .event = "e",
					    .pool = "p",
					    .images = &one_image,
					    .n_images = 1,
					    .url = fake_url };
}

static const struct adafs_plan_step *step_of(const struct adafs_plan *pl, const char *name)
{
	for (size_t i = 0; i < pl->n_steps; i++)
		if (!strcmp(pl->steps[i].name, name))
			return &pl->steps[i];
	fail_msg("no step %s", name);
	return NULL;
}

static void test_shards(void **state)
{
	(void)state;
	struct adafs_pipeline *p = parse(SPLIT);
	struct adafs_plan_request req = one_request();
	struct adafs_plan *pl = plan(p, &req);
	assert_int_equal(pl->n_steps, 1 + 3 + 3 + 1 + 1);
	assert_string_equal(pl->steps[2].task_id, "02-predict-1");
	assert_string_equal(pl->steps[5].task_id, "03-clean-1");
	assert_string_equal(pl->steps[5].work_prefix, "work/" JOB "/03-clean-1/1/");
	const cJSON *tile = cJSON_GetArrayItem(pl->tasks, 0);
	assert_string_equal(env(tile, "ADAFS_OUTPUTS"), "i\tmust\tdir\ti/**/*\t3\n");
	const cJSON *predict = cJSON_GetArrayItem(pl->tasks, 2);
	assert_string_equal(env(predict, "ADAFS_SHARD"), "1");
	assert_string_equal(env(predict, "ADAFS_SHARDS"), "3");
	ADAFS_FREE char *one = describe(predict);
	assert_non_null(strstr(one, "02-predict-1 slots 1 after 01-tile\n"));
	assert_non_null(strstr(one, "< work/" JOB "/01-tile/1/out/i/1/*\n"));
	assert_non_null(strstr(one, "= share dir .adafs/stage/work/" JOB
				    "/01-tile/1/out/i/1 in/tile.i work/" JOB
				    "/01-tile/1/end.json i/1\n"));
	assert_non_null(strstr(one, "> m/* to work/" JOB "/02-predict/1/out/m/1 tasksuccess\n"));
	assert_non_null(strstr(one, "> .adafs/end.json to work/" JOB
				    "/02-predict/1/end/1.json taskcompletion\n"));
	/* Two split steps of one width go hand in hand. */
	ADAFS_FREE char *two = describe(cJSON_GetArrayItem(pl->tasks, 6));
	assert_non_null(strstr(two, "03-clean-2 slots 1 after 02-predict-2\n"));
	assert_non_null(strstr(two, "= some dir .adafs/stage/work/" JOB
				    "/02-predict/1/out/m/2 in/predict.m work/" JOB
				    "/02-predict/1/end/2.json m\n"));
	/* They come together with two entries in the list, however many they are. */
	ADAFS_FREE char *all = describe(cJSON_GetArrayItem(pl->tasks, 7));
	assert_non_null(strstr(all, "after 03-clean-0 03-clean-1 03-clean-2\n" WRAPPER DOCUMENT
				    "< work/" JOB "/03-clean/1/out/m/*\n< work/" JOB
				    "/03-clean/1/end/*\n= some dir"));
	adafs_plan_free(pl);
	adafs_pipeline_unref(p);
}

/* The keys of a plan as "name key" for a later run; texts are borrowed from it. */
static size_t keep_all(const struct adafs_plan *pl, struct adafs_plan_kept *kept)
{
	size_t n = 0;
	for (size_t i = 0; i < pl->n_steps; i++)
		if (!pl->steps[i].merge)
			kept[n++] = (struct adafs_plan_kept){ pl->steps[i].name, pl->steps[i].key,
							      pl->steps[i].run };
	return n;
}

/* What runs of a plan, as ids with spaces. */
static char *runs(const struct adafs_plan *pl)
{
	struct adafs_buf b = ADAFS_BUF_INIT(4096);
	for (size_t i = 0; i < pl->n_steps; i++)
		if (!pl->steps[i].reused)
			adafs_buf_addf(&b, "%s ", pl->steps[i].task_id);
	return adafs_buf_steal(&b, NULL);
}

static void test_a_retry_runs_what_is_missing(void **state)
{
	(void)state;
	struct adafs_pipeline *p = parse(SPLIT);
	struct adafs_plan_request req = one_request();
	struct adafs_plan *first = plan(p, &req);
	struct adafs_plan_kept kept[16];
	size_t n = keep_all(first, kept);
	req.run = 2;
	req.kept = kept;
	req.n_kept = n;
	struct adafs_plan *again = plan(p, &req);
	ADAFS_FREE char *nothing = runs(again);
	assert_string_equal(nothing, "05-merge ");
	const cJSON *merge = cJSON_GetArrayItem(again->tasks, 0);
	assert_null(adafs_json_get(merge, "dependsOn"));
	assert_string_equal(env(merge, "ADAFS_RUN"), "2");
	assert_string_equal(env(merge, "ADAFS_PART_RUN"), "1");
	adafs_plan_free(again);

	/* One shard failed: it, what follows from it, and what brings them together. */
	for (size_t i = 0; i < n; i++)
		if (!strcmp(kept[i].name, "predict-1"))
			kept[i--] = kept[--n];
	req.n_kept = n;
	again = plan(p, &req);
	ADAFS_FREE char *some = runs(again);
	assert_string_equal(some, "02-predict-1 03-clean-1 04-join 05-merge ");
	assert_string_equal(step_of(again, "predict-0")->work_prefix,
			    "work/" JOB "/02-predict-0/1/");
	assert_string_equal(step_of(again, "predict-1")->work_prefix,
			    "work/" JOB "/02-predict-1/2/");
	ADAFS_FREE char *join = describe(cJSON_GetArrayItem(again->tasks, 2));
	assert_non_null(strstr(join,
			       "04-join slots 1 after 03-clean-1\n" WRAPPER DOCUMENT "< work/" JOB
			       "/03-clean/1/out/m/*\n< work/" JOB "/03-clean/1/end/*\n< work/" JOB
			       "/03-clean/2/out/m/*\n< work/" JOB "/03-clean/2/end/*\n"));
	assert_non_null(strstr(join, "/03-clean/2/out/m/1 in/clean.m"));
	assert_non_null(strstr(join, "/03-clean/1/out/m/2 in/clean.m"));
	adafs_plan_free(again);
	adafs_plan_free(first);
	adafs_pipeline_unref(p);
}

static const char *etag_a(void *arg, const char *blob)
{
	return strcmp(blob, "assets/w") == 0 ? arg : NULL;
}

static void test_keys(void **state)
{
	(void)state;
#define KEYED(a, b, limit)                                                            \
	"{\"name\":\"p\",\"assets\":{\"w\":\"assets/w\"},\"steps\":["                 \
	"{\"name\":\"a\",\"command\":\"" a "\",\"outputs\":{\"x\":\"x\"}," limit      \
	"\"stop_on\":[3]},"                                                           \
	"{\"name\":\"b\",\"command\":\"" b " {a.x} {w}\",\"outputs\":{\"y\":\"y\"}}," \
	"{\"name\":\"c\",\"command\":\"c {a.x}\",\"outputs\":{\"z\":\"z\"},\"result\":true}]}"
	static const struct {
		const char *text, *etag, *sha, *runs;
	} rows[] = {
		{ KEYED("a {image}", "b", ""), "1", "h", "04-merge " },
		/* limits and tries change nothing that is written */
		{ KEYED("a {image}", "b", "\"time_limit\":\"PT9M\",\"retries\":3,"), "1", "h",
		  "04-merge " },
		{ KEYED("a {image}", "b2", ""), "1", "h", "02-b 04-merge " },
		{ KEYED("a {image}", "b", ""), "2", "h", "02-b 04-merge " },
		{ KEYED("a2 {image}", "b", ""), "1", "h", "01-a 02-b 03-c 04-merge " },
		{ KEYED("a {image}", "b", ""), "1", "other", "01-a 02-b 03-c 04-merge " },
	};
	struct adafs_plan *first = NULL;
	struct adafs_plan_kept kept[8];
	size_t n = 0;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		struct adafs_pipeline *p = parse(rows[i].text);
		struct adafs_plan_image image = one_image;
		struct adafs_plan_request req = one_request();
		image.sha256 = rows[i].sha;
		req.images = &image;
		req.asset_etag = etag_a;
		req.asset_arg = (void *)rows[i].etag;
		if (!first) {
			first = plan(p, &req);
			n = keep_all(first, kept);
		}
		req.run = 2;
		req.kept = kept;
		req.n_kept = n;
		struct adafs_plan *again = plan(p, &req);
		ADAFS_FREE char *ran = runs(again);
		assert_string_equal(ran, rows[i].runs);
		adafs_plan_free(again);
		adafs_pipeline_unref(p);
	}
	adafs_plan_free(first);
}

/* A unit's job and part are known by it, whatever images it has. */
static void test_units(void **state)
{
	(void)state;
	char id[ADAFS_JOB_ID_LEN], other[ADAFS_JOB_ID_LEN];
	adafs_plan_job_id("flood", "13.4823.6160", ada_images, 3, id);
	assert_int_equal(strncmp(id, "flood-13_4823_6160-", 19), 0);
	assert_int_equal(strlen(id), 27);
	adafs_plan_job_id("flood", "13.4823.6161", ada_images, 3, other);
	assert_string_not_equal(id + 19, other + 19);
	adafs_plan_job_id("flood", "13.4823.6160", ada_images, 2, other);
	assert_string_not_equal(id, other);

	struct adafs_pipeline *p = load("ada");
	struct adafs_plan_request req = ada_request(), further = ada_request();
	struct adafs_plan_image images[4];
	memcpy(images, ada_images, sizeof(ada_images));
	images[3] = images[2];
	images[3].blob = "images/flood/post-event/d.tif";
	req.unit = further.unit = "13.4823.6160";
	further.images = images;
	further.n_images = 4;
	struct adafs_plan *a = plan(p, &req), *b = plan(p, &further);
	further.unit = "13.4823.6161";
	struct adafs_plan *c = plan(p, &further);
	size_t last = a->n_steps - 1;
	const char *key = env(cJSON_GetArrayItem(a->tasks, (int)last), "ADAFS_PART_KEY");
	assert_string_equal(env(cJSON_GetArrayItem(b->tasks, (int)last), "ADAFS_PART_KEY"), key);
	assert_string_not_equal(env(cJSON_GetArrayItem(c->tasks, (int)last), "ADAFS_PART_KEY"),
				key);
	assert_non_null(strstr(env(cJSON_GetArrayItem(a->tasks, 0), "ADAFS_COMMAND"),
			       "--id 13.4823.6160 "));
	adafs_plan_free(a);
	adafs_plan_free(b);
	adafs_plan_free(c);
	req.unit = "13.1.1;reboot";
	struct adafs_err err;
	assert_int_equal(adafs_plan_make(p, &req, &a, &err), -EINVAL);
	assert_string_equal(err.msg, "'13.1.1;reboot' is no unit of pipeline 'ada'");
	adafs_pipeline_unref(p);
}

#define LARGE                                                                               \
	"{\"name\":\"p\",\"steps\":[{\"name\":\"a\",\"command\":\"c {image}\",\"outputs\":" \
	"{\"o\":\"out/o.txt\"},\"result\":true}],\"merge\":{\"command\":\"m {parts}\",\"outputs\":{\"m\":\"%s\"}}}"

struct made {
	size_t n;
	char (*id)[ADAFS_JOB_ID_LEN];
	struct adafs_plan_part *part;
	unsigned *run;
};

static struct made make_parts(size_t n)
{
	struct made m = { .n = n };
	m.id = calloc(n, sizeof(*m.id));
	m.part = calloc(n, sizeof(*m.part));
	m.run = calloc(n, sizeof(*m.run));
	assert_true(m.id && m.part && m.run);
	for (size_t i = 0; i < n; i++) {
		snprintf(m.id[i], sizeof(m.id[i]), "flood-%043zu-00000000", i);
		m.part[i] = (struct adafs_plan_part){ .job_id = m.id[i], .must = true };
		m.run[i] = 1;
	}
	return m;
}

static void free_parts(struct made *m)
{
	free(m->id);
	free(m->part);
	free(m->run);
}

static struct adafs_plan *plan_of_parts(struct adafs_pipeline *p, const struct made *m)
{
	char id[ADAFS_JOB_ID_LEN];
	adafs_plan_merge_id("flood", "p", m->part, m->run, m->n, 0, id);
	struct adafs_plan_request req = one_request();
	req.job_id = id;
	req.event = "flood";
	req.images = NULL;
	req.n_images = 0;
	req.parts = m->part;
	req.n_parts = m->n;
	req.merged_runs = 3;
	return plan(p, &req);
}

static void test_merges_of_an_event(void **state)
{
	(void)state;
	static const struct {
		const char *output;
		size_t n, n_leaves;
	} rows[] = { { "o.txt", 1, 0 },    { "o.txt", 64, 0 },      { "o.txt", 65, 2 },
		     { "o.txt", 100, 2 },  { "o.txt", 10001, 201 }, { "all.txt", 65, 0 },
		     { "all.txt", 500, 0 } };
	for (size_t r = 0; r < ADAFS_ARRAY_SIZE(rows); r++) {
		ADAFS_FREE char *text = adafs_fmt(LARGE, rows[r].output);
		struct adafs_pipeline *p = parse(text);
		struct made m = make_parts(rows[r].n);
		struct adafs_plan *pl = plan_of_parts(p, &m);
		size_t n_leaves = pl->n_steps - 1, seen = 0;
		assert_int_equal(n_leaves, rows[r].n_leaves);
		assert_int_equal(cJSON_GetArraySize(pl->tasks), pl->n_steps);
		for (size_t i = 0; i < n_leaves; i++) {
			const cJSON *task = cJSON_GetArrayItem(pl->tasks, (int)i);
			assert_string_equal(env(task, "ADAFS_MODE"), "leaf");
			const char *of = env(task, "ADAFS_PARTS_OF");
			int in = cJSON_GetArraySize(cJSON_GetObjectItem(task, "resourceFiles")) - 1;
			for (; *of; of = strchr(of, '\n') + 1, in--, seen++)
				assert_memory_equal(of, m.id[seen], strlen(m.id[seen]));
			assert_int_equal(in, 0);
			assert_null(cJSON_GetObjectItem(task, "dependsOn"));
		}
		assert_int_equal(seen, n_leaves ? rows[r].n : 0);
		const cJSON *root = cJSON_GetArrayItem(pl->tasks, (int)n_leaves);
		assert_string_equal(env(root, "ADAFS_MODE"), n_leaves ? "root" : "event");
		assert_null(env(root, "ADAFS_PART_KEY"));
		if (n_leaves) {
			assert_string_equal(env(root, "ADAFS_COUNT_BASE"), "6");
			assert_int_equal(
				cJSON_GetArraySize(cJSON_GetObjectItem(
					cJSON_GetObjectItem(root, "dependsOn"), "taskIds")),
				n_leaves);
		}
		adafs_plan_free(pl);
		free_parts(&m);
		adafs_pipeline_unref(p);
	}
}

static size_t n_waited(const cJSON *task, const char *first)
{
	const cJSON *ids = cJSON_GetObjectItem(cJSON_GetObjectItem(task, "dependsOn"), "taskIds");
	if (first)
		assert_string_equal(cJSON_GetArrayItem(ids, 0)->valuestring, first);
	return (size_t)cJSON_GetArraySize(ids);
}

/* The Batch job of an event: what merges waits for the last steps of members, and tells of them. */
static void test_members_of_an_event(void **state)
{
	(void)state;
	for (size_t n = 3; n <= 130; n += 127) {
		ADAFS_FREE char *text = adafs_fmt(LARGE, "o.txt");
		struct adafs_pipeline *p = parse(text);
		struct made m = make_parts(n);
		for (size_t i = 1; i < n; i++) {
			snprintf(m.id[i] + 50, 9, "%08zx", i);
			m.part[i].member = true;
		}
		struct adafs_plan *pl = plan_of_parts(p, &m);
		size_t waited = 0;
		for (size_t i = 0; i + 1 < pl->n_steps; i++)
			waited += n_waited(cJSON_GetArrayItem(pl->tasks, (int)i), NULL);
		const cJSON *root = cJSON_GetArrayItem(pl->tasks, (int)pl->n_steps - 1);
		if (pl->n_steps == 1) {
			assert_int_equal(n_waited(root, "00000001-01-a"), n - 1);
			const char *of = env(root, "ADAFS_PARTS_OF");
			assert_memory_equal(of, m.id[1], strlen(m.id[1]));
		} else {
			assert_int_equal(waited, n - 1);
			n_waited(cJSON_GetArrayItem(pl->tasks, 0), "00000001-01-a");
			assert_int_equal(n_waited(root, "01-leaf-0"), pl->n_steps - 1);
		}
		adafs_plan_free(pl);
		free_parts(&m);
		adafs_pipeline_unref(p);
	}
}

static void test_a_member(void **state)
{
	(void)state;
	struct adafs_pipeline *p =
		parse("{\"name\":\"p\",\"steps\":[{\"name\":\"a\",\"command\":\"c {image}\","
		      "\"outputs\":{\"o\":\"o.txt\"}},{\"name\":\"b\",\"command\":\"d {a.o}\","
		      "\"outputs\":{\"r\":\"r.txt\"},\"result\":true}],"
		      "\"merge\":{\"command\":\"m {parts}\",\"outputs\":{\"r\":\"r.txt\"}}}");
	struct adafs_plan_request req = one_request();
	char prefix[ADAFS_PLAN_PREFIX_LEN];
	adafs_plan_task_prefix("flood-x-1a2b3c4d", prefix);
	assert_string_equal(prefix, "1a2b3c4d-");
	req.batch_job_id = "flood-merge-00000000";
	req.task_prefix = prefix;
	req.no_merge = true;
	struct adafs_plan *pl = plan(p, &req);
	assert_string_equal(pl->batch_job_id, "flood-merge-00000000");
	assert_null(pl->job);
	assert_false(pl->steps[pl->n_steps - 1].merge);
	const cJSON *second = cJSON_GetArrayItem(pl->tasks, 1);
	assert_string_equal(cJSON_GetObjectItem(second, "id")->valuestring, "1a2b3c4d-02-b");
	n_waited(second, "1a2b3c4d-01-a");
	/* Where its work lies is the job's own matter, so that a retry finds it. */
	assert_null(strstr(pl->steps[1].work_prefix, prefix));
	adafs_plan_free(pl);
	adafs_pipeline_unref(p);
}

static void test_merge_ids(void **state)
{
	(void)state;
	char id[ADAFS_JOB_ID_LEN], other[ADAFS_JOB_ID_LEN];
	struct made m = make_parts(70);
	adafs_plan_merge_id("flood", "p", m.part, m.run, 70, 0, id);
	assert_int_equal(strncmp(id, "flood-merge-", 12), 0);
	assert_int_equal(strlen(id), 20);
	adafs_plan_merge_id("flood", "p", m.part, m.run, 69, 0, other);
	assert_string_not_equal(id, other);
	adafs_plan_merge_id("flood", "p", m.part, m.run, 70, 1, other);
	assert_string_not_equal(id, other);
	adafs_plan_merge_id("flood", "q", m.part, m.run, 70, 0, other);
	assert_string_not_equal(id, other);
	m.run[3] = 2;
	adafs_plan_merge_id("flood", "p", m.part, m.run, 70, 0, other);
	assert_string_not_equal(id, other);
	free_parts(&m);
}

/* A job whose event is merged by others has all its steps but that. */
static void test_no_merge(void **state)
{
	(void)state;
	ADAFS_FREE char *text = adafs_fmt(LARGE, "o.txt");
	struct adafs_pipeline *p = parse(text);
	struct adafs_plan_request req = one_request();
	struct adafs_plan *first = plan(p, &req);
	assert_int_equal(first->n_steps, 2);
	req.no_merge = true;
	req.run = 2;
	struct adafs_plan_kept kept = { first->steps[0].name, first->steps[0].key, 1 };
	req.kept = &kept;
	req.n_kept = 1;
	/* Its result runs again: no merge of its own would make the part the newest one. */
	struct adafs_plan *pl = plan(p, &req);
	assert_int_equal(pl->n_steps, 1);
	assert_false(pl->steps[0].reused);
	adafs_plan_free(first);
	adafs_plan_free(pl);
	adafs_pipeline_unref(p);
}

/* A date is told and decides nothing. */
static void test_dates_change_no_key(void **state)
{
	(void)state;
	struct adafs_pipeline *p = parse(SIMPLE);
	struct adafs_plan_image image = one_image;
	struct adafs_plan_request req = one_request();
	struct adafs_plan *without = plan(p, &req);
	char id[ADAFS_JOB_ID_LEN], other[ADAFS_JOB_ID_LEN];
	adafs_plan_job_id("e", NULL, &image, 1, id);
	image.date = "2026-05-03T09:08:07Z";
	adafs_plan_job_id("e", NULL, &image, 1, other);
	assert_string_equal(id, other);
	req.images = &image;
	struct adafs_plan *with = plan(p, &req);
	const cJSON *a = cJSON_GetArrayItem(without->tasks, 2),
		    *b = cJSON_GetArrayItem(with->tasks, 2);
	assert_string_equal(
		env(a, "ADAFS_PART_IMAGES"),
		"[{\"role\":\"image\",\"blob\":\"images/e/a.tif\",\"snapshot\":\"s\"}]");
	assert_string_equal(env(b, "ADAFS_PART_IMAGES"),
			    "[{\"role\":\"image\",\"blob\":\"images/e/a.tif\",\"snapshot\":\"s\","
			    "\"date\":\"2026-05-03T09:08:07Z\"}]");
	assert_string_equal(env(a, "ADAFS_PART_KEY"), env(b, "ADAFS_PART_KEY"));
	assert_string_equal(env(a, "ADAFS_PART_ORDER"), env(b, "ADAFS_PART_ORDER"));
	for (size_t i = 0; i < with->n_steps; i++)
		assert_string_equal(without->steps[i].key, with->steps[i].key);
	assert_null(env(b, "ADAFS_CONTAINER"));
	adafs_plan_free(without);
	adafs_plan_free(with);
	adafs_pipeline_unref(p);
}

/* What the merge prints for people holds nothing that a terminal obeys, and is the same name. */
static void test_names_are_printed_without_controls(void **state)
{
	(void)state;
	struct adafs_pipeline *p = parse(SIMPLE);
	struct adafs_plan_image image = one_image;
	struct adafs_plan_request req = one_request();
	image.blob = "images/e/\x7f\xc2\x9b\xc2\xa0\xc3\x9f\x01.tif";
	req.images = &image;
	struct adafs_plan *pl = plan(p, &req);
	const char *text = env(cJSON_GetArrayItem(pl->tasks, 2), "ADAFS_PART_IMAGES");
	assert_non_null(strstr(text, "\"images/e/\\u007f\\u009b\xc2\xa0\xc3\x9f\\u0001.tif\""));
	ADAFS_JSON *images = adafs_json_parse(text, strlen(text), NULL);
	assert_string_equal(adafs_json_str(cJSON_GetArrayItem(images, 0), "blob", ""), image.blob);
	adafs_plan_free(pl);
	adafs_pipeline_unref(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ada),
		cmocka_unit_test(test_ada_merge),
		cmocka_unit_test(test_provenance),
		cmocka_unit_test(test_job),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_job_id),
		cmocka_unit_test(test_folder_script_and_optional),
		cmocka_unit_test(test_shards),
		cmocka_unit_test(test_a_retry_runs_what_is_missing),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_merges_of_an_event),
		cmocka_unit_test(test_members_of_an_event),
		cmocka_unit_test(test_a_member),
		cmocka_unit_test(test_merge_ids),
		cmocka_unit_test(test_no_merge),
		cmocka_unit_test(test_dates_change_no_key),
		cmocka_unit_test(test_names_are_printed_without_controls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
