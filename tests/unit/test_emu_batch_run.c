/*
 * What surrounds a task's process: globs of output files, command lines, starting and finding it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "batch/base/buf.h"
#include "batch/base/file.h"
#include "batch/emulator/batch/node/glob.h"
#include "batch/emulator/batch/node/process.h"

/* --- globs -------------------------------------------------------------------------------- */

static void test_segments(void **state)
{
	(void)state;
	static const struct {
		const char *pattern, *name;
		bool match;
	} cases[] = {
		{ "*.txt", "a.txt", true },
		{ "*.txt", "a.txt.gz", false },
		{ "*", ".hidden", false },
		{ ".*", ".hidden", true },
		{ "?.txt", "a.txt", true },
		{ "?.txt", ".txt", false },
		{ "[abc]x", "bx", true },
		{ "[a-c]x", "dx", false },
		{ "[!x]y", "ay", true },
		{ "[!x]y", "xy", false },
		{ "[*]", "*", true },
		{ "[*]", "a", false },
		{ "a[]]b", "a]b", true },
		{ "a[b", "a[b", true },
		{ "*a*b*c", "xaybzc", true },
		{ "*a*b*c", "xaybz", false },
		{ "[a-]", "-", true },
		{ "std*.txt", "stdout.txt", true },
		{ "", "", true },
		{ "**", "abc", true },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++)
		if (batch_glob_segment(cases[i].pattern, cases[i].name) != cases[i].match)
			fail_msg("%s on %s", cases[i].pattern, cases[i].name);
}

static int collect(void *arg, const char *path, const char *relative)
{
	(void)path;
	return adafs_buf_addf(arg, "%s ", relative);
}

static void put(const char *dir, const char *name)
{
	ADAFS_FREE char *path = adafs_fmt("%s/%s", dir, name);
	char *slash = strrchr(path, '/');
	*slash = 0;
	assert_int_equal(adafs_mkdir_p(path, 0700), 0);
	*slash = '/';
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
}

static char *temporary(void)
{
	char *dir = strdup("/tmp/adafs-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	return dir;
}

static void test_walk(void **state)
{
	(void)state;
	ADAFS_FREE char *dir = temporary();
	static const char *const files[] = { "stdout.txt",         "stderr.txt",
					     "wd/a.txt",           "wd/out/a.txt",
					     "wd/out/b/c.txt",     "wd/out/b/d.bin",
					     "wd/out/.hidden.txt", "wd/.git/x.txt",
					     "wd/odd*name" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(files); i++)
		put(dir, files[i]);
	ADAFS_FREE char *wd = adafs_fmt("%s/wd", dir);
	ADAFS_FREE char *link = adafs_fmt("%s/link.txt", wd), *loop = adafs_fmt("%s/out/loop", wd);
	assert_int_equal(symlink("out/a.txt", link), 0);
	assert_int_equal(symlink("..", loop), 0);
	ADAFS_FREE char *absolute = adafs_fmt("%s/std*.txt", dir);
	const struct {
		const char *pattern, *found;
	} cases[] = {
		{ "*.txt", "a.txt link.txt " },
		{ "**/*.txt", "out/b/c.txt out/a.txt a.txt link.txt " },
		{ "out/**/*", "b/c.txt b/d.bin a.txt " },
		{ "out/**", "" },
		{ "out/*", "a.txt " },
		{ "out/a.txt", "a.txt " },
		{ "out/b", "" },
		{ "missing/*.txt", "" },
		{ "missing", "" },
		{ "../std*.txt", "stderr.txt stdout.txt " },
		{ "out/b/?.???", "c.txt d.bin " },
		{ "o*/b/c.txt", "out/b/c.txt " },
		{ "odd[*]name", "odd*name " },
		{ ".git/*", "x.txt " },
		{ absolute, "stderr.txt stdout.txt " },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++) {
		ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(4096);
		assert_int_equal(batch_glob_walk(wd, cases[i].pattern, collect, &b), 0);
		if (strcmp(adafs_buf_str(&b), cases[i].found) != 0)
			fail_msg("%s: %s", cases[i].pattern, adafs_buf_str(&b));
	}
	adafs_remove_tree(dir);
}

static void test_expand(void **state)
{
	(void)state;
	char *env[] = { (char *)"A=1", (char *)"AB=two", NULL };
	static const char *const cases[][2] = {
		{ "$A/x", "1/x" }, { "${A}B", "1B" }, { "$AB", "two" },     { "$NO/x", "/x" },
		{ "a$", "a$" },    { "${A", "${A" },  { "*.txt", "*.txt" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++) {
		ADAFS_FREE char *got = batch_glob_expand(cases[i][0], env);
		assert_string_equal(got, cases[i][1]);
	}
}

/* --- command lines and processes ----------------------------------------------------------- */

static void test_split(void **state)
{
	(void)state;
	static const struct {
		const char *line, *words; /* joined by '|' */
	} cases[] = {
		{ "a b  c", "a|b|c" },
		{ "  a\tb\n", "a|b" },
		{ "/bin/sh -c 'echo \"x\" \\n $Y'", "/bin/sh|-c|echo \"x\" \\n $Y" },
		{ "sh -c \"echo \\\"a b\\\" \\\\ \\n 'q'\"", "sh|-c|echo \"a b\" \\ \\n 'q'" },
		{ "a\\ b c'd'\"e\"", "a b|cde" },
		{ "x '' \"\"", "x||" },
		{ "a | b > c && d", "a|||b|>|c|&&|d" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++) {
		char **argv = NULL;
		assert_int_equal(batch_command_split(cases[i].line, &argv), 0);
		ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(4096);
		for (size_t k = 0; argv[k]; k++)
			adafs_buf_addf(&b, "%s%s", k ? "|" : "", argv[k]);
		assert_string_equal(adafs_buf_str(&b), cases[i].words);
		strings_free(argv);
	}
	char **argv = NULL;
	assert_int_equal(batch_command_split("a 'b", &argv), -EINVAL);
	assert_int_equal(batch_command_split("a \"b", &argv), -EINVAL);
	assert_int_equal(batch_command_split(" ", &argv), -ENOENT);
}

static pid_t spawn(const char *dir, const char *script, const char *tag)
{
	ADAFS_FREE char *out = adafs_fmt("%s/out", dir), *err = adafs_fmt("%s/err", dir);
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)script, NULL };
	char *envp[] = { (char *)"PATH=/usr/bin:/bin", (char *)tag, NULL };
	const struct batch_command c = {
		.argv = argv, .envp = envp, .cwd = dir, .stdout_path = out, .stderr_path = err
	};
	pid_t pid = 0;
	assert_int_equal(batch_process_spawn(&c, &pid), 0);
	return pid;
}

static void test_spawn(void **state)
{
	(void)state;
	ADAFS_FREE char *dir = temporary();
	pid_t pid = spawn(dir, "pwd; exit 7", "T=1");
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 7);
	ADAFS_FREE char *out = adafs_fmt("%s/out", dir), *text = NULL;
	assert_int_equal(adafs_file_read(out, 4096, &text, NULL, NULL), 0);
	assert_memory_equal(text, dir, strlen(dir));

	char *argv[] = { (char *)"no-such-program", NULL };
	char *envp[] = { (char *)"PATH=/usr/bin:/bin", NULL };
	struct batch_command c = {
		.argv = argv, .envp = envp, .cwd = dir, .stdout_path = out, .stderr_path = out
	};
	assert_int_equal(batch_process_spawn(&c, &pid), -ENOENT);
	argv[0] = (char *)"./out";
	assert_int_equal(batch_process_spawn(&c, &pid), -EACCES);
	adafs_remove_tree(dir);
}

static void test_kill(void **state)
{
	(void)state;
	ADAFS_FREE char *dir = temporary();
	ADAFS_FREE char *tag = adafs_fmt("TAG=%s/x", dir), *prefix = adafs_fmt("TAG=%s/", dir);
	pid_t pid = spawn(dir, "exec sleep 1000", tag);
	uint64_t start = batch_process_start_time(pid);
	assert_true(start > 0);
	/* A number that another process has now is left alone. */
	batch_process_kill_recorded(pid, start + 1);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	batch_process_kill_recorded(pid, start);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);

	pid = spawn(dir, "exec sleep 1000", tag);
	assert_int_equal(batch_process_kill_tagged(prefix, true), 0);
	assert_true(batch_process_kill_tagged(prefix, false) >= 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	adafs_remove_tree(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments), cmocka_unit_test(test_walk),
		cmocka_unit_test(test_expand),   cmocka_unit_test(test_split),
		cmocka_unit_test(test_spawn),    cmocka_unit_test(test_kill),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
