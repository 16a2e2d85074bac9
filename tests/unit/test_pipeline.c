/* The pipeline file: what parses, and for what does not, the exact line and sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/stat.h>

#include "batch/base/buf.h"
#include "batch/base/file.h"
#include "batch/pipeline/pipeline.h"

static int parse(const char *text, struct adafs_pipeline **ret, struct adafs_err *err)
{
	memset(err, 0, sizeof(*err));
	return adafs_pipeline_parse("p.json", text, strlen(text), ret, err);
}

/* A good pipeline around a list of steps that starts on line 2. */
#define HEAD "{\"name\":\"p\",\"assets\":{\"model\":\"assets/m\"},\n"
#define LAST "{\"name\":\"z\",\"command\":\"c\",\"outputs\":{\"o\":\"o.txt\"},\"result\":true}"
#define STEPS(list) HEAD "\"steps\":[" list "]}"

static const struct {
	const char *text;
	const char *says;
} wrong[] = {
	/* JSON and the top level */
	{ "{\"name\":\"p\",\n\"steps\":[\n{}\n",
	  "3: not valid JSON; look for a missing comma, quote or "
	  "bracket at or before this line" },
	{ "[]", "1: the pipeline is no object; write { ... }" },
	{ "{\n\"steps\":[" LAST "]}", "1: the pipeline has no \"name\"; add \"name\": \"...\"" },
	{ "{\n\"name\":\"P 1\",\"steps\":[]}",
	  "2: 'P 1' is no name for a pipeline; use a-z, 0-9, _ and -, a letter first, at most 48 characters" },
	{ "{\"name\":\"p\",\n\n\"stepz\":[" LAST "]}",
	  "3: the pipeline has an unknown key \"stepz\"; known are name, description, inputs, unit, assets, "
	  "scripts, container, shell, environments, pool, defaults, steps, merge" },
	{ "{\"name\":\"p\",\n\"name\":\"q\",\"steps\":[" LAST "]}",
	  "2: the pipeline has \"name\" twice; remove one of them" },
	{ "{\"name\":\"p\",\n\"steps\":[]}",
	  "2: the pipeline has no steps; add \"steps\": [ { \"name\": ..., \"command\": ... } ]" },
	/* inputs */
	{ "{\"name\":\"p\",\"inputs\":{\n\"pre\":{\"many\":true}},\"steps\":[" LAST "]}",
	  "2: input 'pre' has no \"match\"; say which files of an event it takes, such as \"pre-event/*\"" },
	{ "{\"name\":\"p\",\"inputs\":{\n\"pre\":\"a/b/*\"},\"steps\":[" LAST "]}",
	  "2: match 'a/b/*' fits no image of an event; write <pattern> or <folder>/<pattern>" },
	{ "{\"name\":\"p\",\"inputs\":{\n\"pre\":{\"match\":\"*\",\n\"many\":1}},\"steps\":[" LAST
	  "]}",
	  "3: many is no truth value; write true or false" },
	{ "{\"name\":\"p\",\"inputs\":{},\n\"steps\":[" LAST "]}",
	  "1: inputs is empty; name a role, or leave inputs out for one {image}" },
	{ "{\"name\":\"p\",\n\"unit\":{\"grid_zoom\":\n99},\"steps\":[" LAST "]}",
	  "3: grid_zoom is no whole number from 0 to 22; correct it" },
	/* assets and scripts */
	{ "{\"name\":\"p\",\"assets\":{\n\"m\":{\"optional\":true}},\"steps\":[" LAST "]}",
	  "2: asset 'm' has no \"blob\"; name the blob" },
	{ "{\"name\":\"p\",\"assets\":{\n\"m\":\"/abs\"},\"steps\":[" LAST "]}",
	  "2: '/abs' is no blob name; write it as in containers/<container>/, such as assets/config.toml" },
	{ "{\"name\":\"p\",\"assets\":{\n\"image\":\"assets/m\"},\"steps\":[" LAST "]}",
	  "2: 'image' is already an input; rename one of them" },
	{ "{\"name\":\"p\",\"assets\":{\"m\":\"assets/m\"},\n\"scripts\":{\n\"m\":\"test_pipeline.c\"},"
	  "\"steps\":[" LAST "]}",
	  "3: script 'm': cannot open 'test_pipeline.c': No such file or directory; correct the path, which "
	  "is relative to the pipeline file" },
	{ "{\"name\":\"p\",\"scripts\":{\n\"m\":\"nowhere/\"},\"steps\":[" LAST "]}",
	  "2: script folder 'nowhere' cannot be read: No such file or directory; correct the path, which is "
	  "relative to the pipeline file" },
	/* container, shell, environments, defaults */
	{ "{\"name\":\"p\",\"container\":{\n\"user\":\"root\",\"image\":\"i\"},\"steps\":[" LAST
	  "]}",
	  "2: user is neither \"admin\" nor \"nonadmin\"; write one of them" },
	{ "{\"name\":\"p\",\n\"shell\":\"/bin/bash\",\"steps\":[" LAST "]}",
	  "2: shell is no list of words; write [\"/bin/bash\", \"-c\"]" },
	{ "{\"name\":\"p\",\"defaults\":{\n\"env\":\"base\"},\"steps\":[" LAST "]}",
	  "2: environment 'base' is not known; add it to environments" },
	{ "{\"name\":\"p\",\"defaults\":{\"retries\":1,\n\"time_limit\":\"2h\"},\"steps\":[" LAST
	  "]}",
	  "2: time_limit '2h' is no duration from PT1S to P30D; write ISO 8601 such as \"PT2H\" or \"PT30M\"" },
	{ "{\"name\":\"p\",\"defaults\":{\n\"retries\":-1},\"steps\":[" LAST "]}",
	  "2: retries is no whole number from 0 to 10; correct it" },
	/* steps */
	{ STEPS("{\n\"command\":\"c\"}," LAST),
	  "2: a step has no \"name\"; add \"name\": \"...\"" },
	{ STEPS("\n{\"name\":\"a\"}," LAST),
	  "3: step 'a' has no \"command\"; add \"command\": \"...\"" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\n\"comand\":\"c\"}," LAST),
	  "3: a step has an unknown key \"comand\"; known are name, description, command, env, files, outputs, "
	  "after, retries, time_limit, slots, shards, stop_on, result" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\"},\n{\"name\":\"a\",\"command\":\"c\"}," LAST),
	  "3: step 'a' stands twice; rename one of them" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\n\"slots\":0}," LAST),
	  "3: slots is no whole number from 1 to 256; correct it" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\n\"stop_on\":[64,\n300]}," LAST),
	  "4: an exit code of stop_on is no whole number from 1 to 255; correct it" },
	{ STEPS("\n{\"name\":\"a\",\"command\":\"c\"}"),
	  "2: no step has \"result\": true; give it to the step whose outputs are merged" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"outputs\":{\"x\":\"x\"},\"result\":true},\n" LAST),
	  "3: steps 'a' and 'z' both have \"result\"; keep one" },
	{ STEPS("\n{\"name\":\"a\",\"command\":\"c\",\n\"result\":true}"),
	  "4: step 'a' is the result but has no outputs; add \"outputs\"" },
	{ STEPS("{\"name\":\"merge\",\"command\":\"c\"}," LAST),
	  "2: step 'merge' has the name of the last task; rename it" },
	/* what inputs demand */
	{ "{\"name\":\"p\",\"inputs\":{\"a\":{\"match\":\"*\",\n\"bands\":[3,0]}},\"steps\":[" LAST
	  "]}",
	  "2: bands is no whole number from 1 to 4096; correct it" },
	{ "{\"name\":\"p\",\"inputs\":{\"a\":{\"match\":\"*\",\n\"max_pixel_size\":\"1m\"}},\"steps\":[" LAST
	  "]}",
	  "2: max_pixel_size is no number above 0 and up to 1e+06; write metres, such as 0.6" },
	{ "{\"name\":\"p\",\"inputs\":{\"a\":{\"match\":\"*\",\n\"crs\":\"WGS84\"}},\"steps\":[" LAST
	  "]}",
	  "2: crs 'WGS84' is no EPSG code; write \"EPSG:4326\"" },
	{ "{\"name\":\"p\",\"inputs\":{\"a\":{\"match\":\"a/*\",\n\"overlap\":50},\"b\":\"b/*\"},\"steps\":[" LAST
	  "]}",
	  "2: overlap is no number above 0 and up to 1; write a share, such as 0.5" },
	{ "{\"name\":\"p\",\"inputs\":{\"a\":{\"match\":\"*\",\n\"overlap\":0.5}},\"steps\":[" LAST
	  "]}",
	  "2: input 'a' is the only one, and overlap needs another; remove it" },
	/* shards */
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\n\"shards\":4}," LAST),
	  "3: step 'a' has shards but reads no folder of a step that could be split; without one all "
	  "shards would do the same" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"outputs\":{\"x\":\"x/**/*\"}},"
		"{\"name\":\"b\",\"command\":\"c {a.x}\",\"shards\":2,\n\"outputs\":{\"y\":\"y\"}}," LAST),
	  "3: output 'y' of step 'b' would be one file of each of 2 shards; make it a folder, such as y/*" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\n\"outputs\":{\"x\":\"x/*\"}},"
		"{\"name\":\"b\",\"command\":\"c {a.x}\",\"shards\":2}," LAST),
	  "3: step 'b' splits output 'x' of step 'a', whose pattern 'x/*' reaches no folders 0/, 1/, ...; "
	  "write x/**/*" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"outputs\":{\"x\":\"x/**/*\"}},"
		"{\"name\":\"b\",\"command\":\"c {a.x}\",\"shards\":2,\"outputs\":{\"y\":\"y/*\"}},"
		"{\"name\":\"d\",\"command\":\"c {b.y}\",\n\"shards\":3}," LAST),
	  "3: step 'd' has 3 shards and reads from 'b', which has 2; give both the same number" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"outputs\":{\"x\":\"x/**/*\"}},"
		"{\"name\":\"b\",\"command\":\"c {a.x}\",\"shards\":2},"
		"{\"name\":\"d\",\"command\":\"c {a.x}\",\n\"shards\":3}," LAST),
	  "3: steps 'b' and 'd' split the same output in 2 and 3 shares; give both the same number" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"outputs\":{\"x\":\"x/**/*\"}},"
		"{\"name\":\"z\",\"command\":\"c {a.x}\",\n\"shards\":2,\"outputs\":{\"o\":\"o/*\"},"
		"\"result\":true}"),
	  "3: step 'z' is the result and has shards; let a step after it bring them together" },
	/* outputs */
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"outputs\":{\n\"x\":\"../x\"}}," LAST),
	  "3: output '../x' is no path below the working directory; write it without a leading / or -, "
	  "without . and .." },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"outputs\":{\n\"x\":\"a b\"}}," LAST),
	  "3: output 'a b' has the character ' '; use letters, digits and ._-+=,@%/ and the wildcards * ** ? "
	  "[]" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"outputs\":{\n\"x\":\"in/x\"}}," LAST),
	  "3: output 'in/x' is in a folder that adafs uses; choose another than in/ and .adafs/" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"outputs\":{\n\"x\":\"out/**\"}}," LAST),
	  "3: output 'out/**': ** stands for folders; write it as a segment of its own with a file pattern "
	  "after it, such as out/**/*" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"outputs\":{\"x\":\"o\",\n\"y\":\"o\"}}," LAST),
	  "3: outputs 'x' and 'y' have the same path 'o'; keep one of them" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"result\":true,\"outputs\":{\"x\":\"o/t\",\n\"y\":\"p/t\"}}"),
	  "3: outputs 'x' and 'y' of step 'a' would both be called t in results/; rename one of them" },
	/* references */
	{ STEPS("{\"name\":\"a\",\n\"command\":\"c {nothing}\"}," LAST),
	  "3: '{nothing}' is not known; name an input, an asset or a script, or write '{ ' for a literal brace" },
	{ STEPS("{\"name\":\"a\",\n\"command\":\n\"c {b.out}\"}," LAST),
	  "4: step 'b' is not known; correct the name, or write '{ ' for a literal brace" },
	{ STEPS("{\"name\":\"a\",\n\"command\":\"c {z.out}\"}," LAST),
	  "3: step 'z' has no output 'out'; correct the name or add it to its outputs" },
	{ STEPS("{\"name\":\"a\",\n\"command\":\"c {z}\"}," LAST),
	  "3: '{z}' is a step; write which output, such as '{z.o}'" },
	{ STEPS("{\"name\":\"a\",\n\"command\":\"c {a.x}\",\"outputs\":{\"x\":\"x\"}}," LAST),
	  "3: step 'a' refers to its own output 'x'; write the output's path" },
	{ STEPS("{\"name\":\"a\",\n\"command\":\"c {parts}\"}," LAST),
	  "3: {parts} stands in step 'a'; only the merge has it" },
	{ STEPS("{\"name\":\"a\",\n\"command\":\"c {unit}\"}," LAST),
	  "3: '{unit}' is not known; name an input, an asset or a script, or write '{ ' for a literal brace" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\n\"after\":[\"z\",\n\"y\"]}," LAST),
	  "4: step 'y' is not known; correct the name, or write '{ ' for a literal brace" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\n\"after\":[\"a\"]}," LAST),
	  "3: step 'a' comes after itself; remove it from after" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"files\":{\n\"d/x\":\"{model} x\"}}," LAST),
	  "3: files places '{model} x', which is no single reference; write one such as \"{step.output}\"" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\"files\":{\n\"/x\":\"{model}\"}}," LAST),
	  "3: files '/x' is no path below the working directory; write it without a leading / or -, without . "
	  "and .." },
	/* cycles */
	{ STEPS("{\"name\":\"x\",\"command\":\"c {b.o}\"},\n"
		"{\"name\":\"a\",\"command\":\"c {b.o}\",\"outputs\":{\"o\":\"o\"}},\n"
		"{\"name\":\"b\",\"command\":\"c\",\"after\":[\"c\"],\"outputs\":{\"o\":\"o\"}},\n"
		"{\"name\":\"c\",\"command\":\"c {a.o}\"}," LAST),
	  "3: the steps form a cycle: a needs b needs c needs a; remove one of these references" },
	/* each */
	{ STEPS("\n{\"each\":{},\"steps\":[]}," LAST),
	  "3: each has no members; name them, such as \"pre\": {}" },
	{ STEPS("{\"each\":{\"a\":{\"v\":\"1\"},\n\"b\":{}},\"steps\":[{\"name\":\"s\",\"command\":\"c\"}]}," LAST),
	  "3: member 'b' has no 'v', which 'a' has; give both the same variables" },
	{ STEPS("{\"each\":{\"a\":{}},\"steps\":[{\"name\":\"s\",\"command\":\"c\",\"outputs\":{\"o\":\"o\"}}]},\n"
		"{\"name\":\"t\",\"command\":\"{s.o}\"}," LAST),
	  "3: step 's' is repeated by \"each\"; write which one, such as 's-a'" },
	{ STEPS("{\"each\":{\"a\":{\n\"v\":\"{nix}\"}},\"steps\":[{\"name\":\"s\",\"command\":\"{v}\"}]}," LAST),
	  "3: '{nix}' is not known; name an input, an asset or a script, or write '{ ' for a literal brace" },
	{ STEPS("{\"each\":{\"a\":{}},\"steps\":[{\"name\":\"s\",\"command\":\"c\",\n\"result\":true}]}," LAST),
	  "3: a result inside \"each\" would be one a member; give \"result\" to a step after the group" },
	{ STEPS("{\"each\":{\"a\":{\n\"model\":\"x\"}},\"steps\":[{\"name\":\"s\",\"command\":\"c\"}]}," LAST),
	  "3: 'model' is already an asset; rename the variable" },
	/* merge */
	{ HEAD "\"steps\":[" LAST "],\n\"merge\":{}}",
	  "3: the merge has no \"command\"; add \"command\": \"...\"" },
	{ HEAD "\"steps\":[" LAST "],\n\"merge\":{\"command\":\"c {z.o}\"}}",
	  "3: the merge refers to '{z.o}'; it reads only {parts} and assets" },
	{ HEAD "\"steps\":[" LAST
	       "],\"merge\":{\"command\":\"c\",\"outputs\":{\n\"m\":\"*.txt\"}}}",
	  "3: output 'm' of the merge has a wildcard; name single files" },
	{ HEAD "\"steps\":[" LAST
	       "],\"merge\":{\"command\":\"c\",\n\"outputs\":{\"m\":\"summary.json\"}}}",
	  "3: output 'm' of step 'merge' would be called summary.json, a name of adafs; choose another" },
	{ HEAD "\"steps\":[" LAST
	       "],\"merge\":{\"command\":\"c\",\n\"outputs\":{\"m\":\"out/summary.txt\"}}}",
	  "3: output 'm' of step 'merge' would be called summary.txt, a name of adafs; choose another" },
	{ "{\"name\":\"p\",\n\"steps\":[{\"name\":\"a\",\"command\":\"\xe9\"}]}",
	  "2: not UTF-8; save the file in that encoding" },
	{ STEPS("{\"name\":\"a\",\"command\":\"c\",\n\"outputs\":{\"m\":\"manifest.json\"},\"result\":true}"),
	  "3: output 'm' of step 'a' would be called manifest.json, a name of adafs; choose another" },
	{ HEAD "\"steps\":[" LAST "],\"merge\":{\"command\":\"c\",\"when_empty\":{\n\"m\":\"x\"}}}",
	  "3: 'm' is no output of the merge; name one of its outputs" },
};

static void test_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(wrong); i++) {
		struct adafs_pipeline *p = NULL;
		struct adafs_err err;
		int rc = parse(wrong[i].text, &p, &err);
		ADAFS_FREE char *expected = adafs_fmt("p.json:%s", wrong[i].says);
		if (rc != -EINVAL || strcmp(err.msg, expected))
			fail_msg("row %zu: %d\n  got      %s\n  expected %s\n  of %s", i, rc,
				 err.msg, expected, wrong[i].text);
		assert_null(p);
		assert_int_equal(err.rc, -EINVAL);
	}
}

static void test_good(void **state)
{
	(void)state;
	static const char text[] =
		"\xef\xbb\xbf{\"name\":\"p\",\"description\":\"d\",\"pool\":\"gpu\",\"container\":\"img\","
		"\"inputs\":{\"pre\":\"pre-event/*\",\"post\":{\"match\":\"post-event/x-?.tif\"}},"
		"\"steps\":[{\"name\":\"a\",\"command\":\"awk '{ print $1 }' ${x} {A} {} {pre} {pre. } ${pre}\"}," LAST
		"],\"merge\":{\"command\":\"m {parts}\",\"outputs\":{\"o\":\"o\"},\"when_empty\":{\"o\":\"\"}}}\n";
	struct adafs_pipeline *p = NULL;
	struct adafs_err err;
	if (parse(text, &p, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(adafs_pipeline_name(p), "p");
	assert_string_equal(adafs_pipeline_pool(p), "gpu");
	size_t len = 0;
	assert_string_equal(adafs_pipeline_text(p, &len), text);
	assert_int_equal(len, sizeof(text) - 1);
	assert_int_equal(strlen(adafs_pipeline_digest(p)), 64);
	assert_int_equal(adafs_pipeline_n_inputs(p), 2);
	assert_string_equal(adafs_pipeline_input(p, 0)->match, "pre-event/*");
	assert_false(adafs_pipeline_input(p, 1)->many);
	assert_int_equal(adafs_pipeline_role(p, "pre-event/a.tif", &err), 0);
	assert_int_equal(adafs_pipeline_role(p, "post-event/x-1.tif", &err), 1);
	assert_int_equal(adafs_pipeline_role(p, "post-event/x-12.tif", &err), -ENOENT);
	assert_string_equal(
		err.msg, "pipeline 'p' has no role for 'post-event/x-12.tif'; inside an event it "
			 "takes pre-event/* (pre), post-event/x-?.tif (post)");
	assert_int_equal(adafs_pipeline_role(p, "a.tif", &err), -ENOENT);
	assert_int_equal(adafs_pipeline_n_assets(p), 2);
	const struct adafs_pipeline_asset *w = adafs_pipeline_asset(p, 1);
	assert_string_equal(w->name, "wrapper");
	assert_int_equal(strncmp(w->data, "#!/bin/sh\n", 10), 0);
	assert_int_equal(w->data_len, strlen(w->data));
	ADAFS_FREE char *blob = adafs_fmt("assets/.adafs/%s/wrapper.sh", w->sha256);
	assert_string_equal(w->blob, blob);
	assert_ptr_equal(adafs_pipeline_ref(p), p);
	adafs_pipeline_unref(p);
	adafs_pipeline_unref(p);
}

static void test_single_image(void **state)
{
	(void)state;
	struct adafs_pipeline *p = NULL;
	struct adafs_err err;
	assert_int_equal(parse(STEPS(LAST), &p, &err), 0);
	assert_int_equal(adafs_pipeline_n_inputs(p), 1);
	assert_string_equal(adafs_pipeline_input(p, 0)->name, "image");
	assert_int_equal(adafs_pipeline_role(p, "a b.tif", &err), 0);
	assert_int_equal(adafs_pipeline_role(p, "x/a.tif", &err), -ENOENT);
	adafs_pipeline_unref(p);
}

static void test_units(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool by_unit;
		int zoom;
	} rows[] = {
		{ "{\"name\":\"p\",\"unit\":{\"grid_zoom\":3},\"steps\":[" LAST "]}", true, 3 },
		{ "{\"name\":\"p\",\"inputs\":{\"a\":{\"match\":\"*\",\"many\":true}},\"steps\":[" LAST
		  "]}",
		  true, -1 },
		{ STEPS(LAST), false, -1 },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		struct adafs_pipeline *p = NULL;
		struct adafs_err err;
		assert_int_equal(parse(rows[i].text, &p, &err), 0);
		assert_int_equal(adafs_pipeline_by_unit(p), rows[i].by_unit);
		assert_int_equal(adafs_pipeline_grid_zoom(p), rows[i].zoom);
		adafs_pipeline_unref(p);
	}
}

static void write_file(const char *dir, const char *name, const char *text)
{
	ADAFS_FREE char *path = adafs_fmt("%s/%s", dir, name);
	assert_int_equal(adafs_file_write_atomic(path, text, strlen(text), 0644, NULL), 0);
}

static void test_load_with_scripts(void **state)
{
	(void)state;
	char dir[] = "/tmp/adafs-pipeline-XXXXXX";
	assert_non_null(mkdtemp(dir));
	ADAFS_FREE char *sub = adafs_fmt("%s/tools/sub", dir);
	assert_int_equal(adafs_mkdir_p(sub, 0755), 0);
	write_file(dir, "one.py", "print(1)\n");
	write_file(dir, "tools/b.py", "b");
	write_file(dir, "tools/.hidden", "h");
	write_file(dir, "tools/c.pyc", "c");
	write_file(sub, "a.py", "a");
	write_file(
		dir, "mine.json",
		"{\"name\":\"mine\",\"scripts\":{\"one\":\"one.py\",\"tools\":\"tools/\"},"
		"\"steps\":[{\"name\":\"a\",\"command\":\"{one} {tools}/b.py\",\"outputs\":{\"o\":\"o\"},"
		"\"result\":true}]}");
	setenv("ADAFS_PIPELINES", dir, 1);
	struct adafs_pipeline *p = NULL;
	struct adafs_err err = { 0 };
	if (adafs_pipeline_load("mine", &p, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(adafs_pipeline_n_assets(p), 5);
	const struct adafs_pipeline_asset *one = adafs_pipeline_asset(p, 0),
					  *b = adafs_pipeline_asset(p, 1),
					  *a = adafs_pipeline_asset(p, 2);
	assert_string_equal(one->name, "one");
	assert_false(one->folder);
	assert_memory_equal(one->data, "print(1)\n", 9);
	char digest[ADAFS_SHA256_HEX_LEN];
	adafs_sha256_hex("print(1)\n", 9, digest);
	assert_string_equal(one->sha256, digest);
	assert_true(b->folder && a->folder);
	assert_non_null(strstr(b->blob, "/b.py"));
	assert_non_null(strstr(a->blob, "/sub/a.py"));
	adafs_pipeline_unref(p);
	ADAFS_FREE char *path = adafs_fmt("%s/mine.json", dir);
	assert_int_equal(adafs_pipeline_load(path, &p, &err), 0);
	adafs_pipeline_unref(p);
	assert_int_equal(adafs_pipeline_load("yours", &p, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "there is no pipeline 'yours'"));
	unsetenv("ADAFS_PIPELINES");
	adafs_remove_tree(dir);
}

static void test_shipped(void **state)
{
	(void)state;
	static const char *const names[] = { "quicklook", "damage" };
	unsetenv("ADAFS_PIPELINES");
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++) {
		ADAFS_FREE char *path =
			adafs_fmt("%s/batch/pipelines/%s.json", ADAFS_SOURCE_DIR, names[i]);
		struct adafs_pipeline *p = NULL;
		struct adafs_err err = { 0 };
		if (adafs_pipeline_load(path, &p, &err) < 0)
			fail_msg("%s", err.msg);
		assert_string_equal(adafs_pipeline_name(p), names[i]);
		adafs_pipeline_unref(p);
	}
}

/* No text crashes the parser: every cut of a good one, and damage by one byte. */
static void test_rubbish(void **state)
{
	(void)state;
	ADAFS_FREE char *text = NULL;
	size_t len = 0;
	assert_int_equal(adafs_file_read(ADAFS_SOURCE_DIR "/batch/pipelines/ada.json", 1 << 20,
					 &text, &len, NULL),
			 0);
	for (size_t n = 0; n < len; n++) {
		struct adafs_pipeline *p = NULL;
		struct adafs_err err = { 0 };
		int rc = adafs_pipeline_parse("p.json", text, n, &p, &err);
		assert_true(rc == -EINVAL || n + 2 >= len);
		adafs_pipeline_unref(p);
		char was = text[n];
		static const char others[] = "\"{}[],:0 x";
		text[n] = others[n % (sizeof(others) - 1)];
		p = NULL;
		rc = adafs_pipeline_parse("p.json", text, len, &p, &err);
		assert_true(rc == 0 || (rc == -EINVAL && !strncmp(err.msg, "p.json:", 7)));
		adafs_pipeline_unref(p);
		text[n] = was;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_single_image),
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_load_with_scripts),
		cmocka_unit_test(test_rubbish),
		cmocka_unit_test(test_shipped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
