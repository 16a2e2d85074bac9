/* The store of blobs: extents, sharing, what is removed and when, and opening after a crash. */
#include "batch/emulator/blob/store.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "batch/base/file.h"
#include "batch/emulator/blob/blob_error.h"

static char dir[64];
static struct blob_store *store;

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/adafs-store-XXXXXX");
	assert_non_null(mkdtemp(dir));
	struct adafs_err err = { 0 };
	blob_stamp stamp;
	assert_int_equal(blob_store_open(dir, &store, &err), 0);
	return store_container_create(store, "box", "", "", &stamp);
}

static int teardown(void **state)
{
	(void)state;
	blob_store_close(store);
	return adafs_remove_tree(dir);
}

static void reopen(void)
{
	struct adafs_err err = { 0 };
	blob_store_close(store);
	store = NULL;
	assert_int_equal(blob_store_open(dir, &store, &err), 0);
}

static int n_files;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path;
	(void)st;
	(void)ftw;
	n_files += type == FTW_F;
	return 0;
}

static int data_files(void)
{
	ADAFS_FREE char *data = adafs_fmt("%s/data", dir);
	n_files = 0;
	nftw(data, count_file, 8, FTW_PHYS);
	return n_files;
}

static struct blob_write to(const char *name)
{
	static const struct blob_headers none;
	return (struct blob_write){
		.container = "box", .name = name, .headers = &none, .metadata = ""
	};
}

static void put(const char *name, const char *text)
{
	struct blob_writer w = { 0 };
	struct blob_write bw = to(name);
	blob_stamp stamp;
	assert_int_equal(store_writer_open(store, &w), 0);
	assert_int_equal(store_writer_add(&w, text, strlen(text)), 0);
	assert_int_equal(store_blob_put(store, &bw, &w, &stamp), 0);
	store_writer_close(&w);
}

static int stage(const char *name, const char *id, const char *text)
{
	struct block_writer w = { 0 };
	assert_int_equal(store_block_open(store, "box", name, id, strlen(text), &w), 0);
	assert_int_equal(store_block_add(&w, text, strlen(text)), 0);
	int rc = store_block_stage(&w, "box", name, id);
	store_block_close(&w);
	return rc;
}

static int commit(const char *name, const char *const *ids, size_t n)
{
	struct block_ref refs[8];
	struct blob_write bw = to(name);
	blob_stamp stamp;
	for (size_t i = 0; i < n; i++)
		refs[i] = (struct block_ref){ .from = BLOCK_LATEST, .id = (char *)ids[i] };
	return store_blob_commit(store, &bw, refs, n, &stamp);
}

/* The blob's content as text, and in how many pieces it lies. */
static size_t pieces_of(const char *name, blob_stamp snapshot, const char *want)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	ADAFS_CLEANUP(blob_pieces_clear) struct blob_pieces p = { 0 };
	char text[256] = "";
	size_t n = 0;
	assert_int_equal(store_blob_get(store, "box", name, snapshot, &b), 0);
	assert_int_equal(store_content_open(store, b.content, 0, b.size, &p), 0);
	for (size_t i = 0; i < p.n; i++) {
		assert_int_equal(
			adafs_pread_all(p.v[i].fd, text + n, p.v[i].len, (off_t)p.v[i].off), 0);
		n += p.v[i].len;
	}
	assert_int_equal(n, b.size);
	assert_string_equal(text, want);
	return p.n;
}

#define BIG_BLOCK (64 * 1024)

/* Write a block of one letter and stage it (letter 0: break off). */
static void stage_big(const char *id, char letter, size_t len)
{
	static char text[2 * BIG_BLOCK];
	struct block_writer w = { 0 };
	memset(text, letter, len);
	assert_int_equal(store_block_open(store, "box", "big", id, len, &w), 0);
	assert_int_equal(store_block_add(&w, text, len), 0);
	if (letter)
		assert_int_equal(store_block_stage(&w, "box", "big", id), 0);
	store_block_close(&w);
}

/* How many pieces "big" has; it must begin and end with these letters. */
static size_t big_pieces(char first, char last)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	ADAFS_CLEANUP(blob_pieces_clear) struct blob_pieces p = { 0 };
	char c = 0;
	assert_int_equal(store_blob_get(store, "box", "big", BLOB_SNAPSHOT_NONE, &b), 0);
	assert_int_equal(store_content_open(store, b.content, 0, b.size, &p), 0);
	assert_int_equal(adafs_pread_all(p.v[0].fd, &c, 1, (off_t)p.v[0].off), 0);
	assert_int_equal(c, first);
	const struct blob_piece *end = &p.v[p.n - 1];
	assert_int_equal(adafs_pread_all(end->fd, &c, 1, (off_t)(end->off + end->len - 1)), 0);
	assert_int_equal(c, last);
	return p.n;
}

/* Numbered blocks lie by number, whatever the order of their coming. */
static void test_numbered_blocks_are_one_piece(void **state)
{
	(void)state;
	/* "block-000000" to "block-000003" */
	static const char *const ids[] = { "YmxvY2stMDAwMDAw", "YmxvY2stMDAwMDAx",
					   "YmxvY2stMDAwMDAy", "YmxvY2stMDAwMDAz" };
	stage_big(ids[2], 'c', BIG_BLOCK);
	stage_big(ids[1], 0, BIG_BLOCK); /* broken off: its place is free again */
	stage_big(ids[1], 'b', BIG_BLOCK);
	stage_big(ids[3], 'd', 5);
	stage_big(ids[0], 'a', BIG_BLOCK);
	assert_int_equal(commit("big", ids, 4), 0);
	assert_int_equal(big_pieces('a', 'd'), 1);

	/* Named by their offsets, encoded twice: "00065536", "00000000" */
	static const char *const offsets[] = { "TURBd01EQXdNREE9", "TURBd05qVTFNelk9" };
	stage_big(offsets[1], 'f', BIG_BLOCK);
	stage_big(offsets[0], 'e', BIG_BLOCK);
	assert_int_equal(commit("big", offsets, 2), 0);
	assert_int_equal(big_pieces('e', 'f'), 1);

	/* A block that comes again, and one that is too long for a place, lie elsewhere. */
	stage_big(ids[0], 'x', BIG_BLOCK);
	stage_big(ids[0], 'a', BIG_BLOCK);
	stage_big(ids[1], 'b', BIG_BLOCK + 1);
	assert_int_equal(commit("big", ids, 2), 0);
	assert_int_equal(big_pieces('a', 'b'), 1);
}

static void test_blocks_in_order_are_one_piece(void **state)
{
	(void)state;
	static const char *const ids[] = { "AAAA", "BBBB", "CCCC" };
	assert_int_equal(stage("b", "AAAA", "first "), 0);
	assert_int_equal(stage("b", "BBBB", "second "), 0);
	assert_int_equal(stage("b", "CCCC", "third"), 0);
	assert_int_equal(data_files(), 1);
	assert_int_equal(commit("b", ids, 3), 0);
	assert_int_equal(pieces_of("b", BLOB_SNAPSHOT_NONE, "first second third"), 1);
	assert_int_equal(data_files(), 1);
}

static void test_blocks_out_of_order(void **state)
{
	(void)state;
	static const char *const ids[] = { "AAAA", "BBBB" }, *const again[] = { "BBBB", "CCCC",
										"AAAA" };
	assert_int_equal(stage("b", "BBBB", "second"), 0);
	assert_int_equal(stage("b", "AAAA", "first "), 0);
	assert_int_equal(commit("b", ids, 2), 0);
	assert_int_equal(pieces_of("b", BLOB_SNAPSHOT_NONE, "first second"), 2);
	assert_int_equal(stage("b", "CCCC", "-new-"), 0);
	assert_int_equal(commit("b", again, 3), 0);
	pieces_of("b", BLOB_SNAPSHOT_NONE, "second-new-first ");
	assert_int_equal(data_files(), 2);
	put("b", "x");
	assert_int_equal(data_files(), 1);
}

static void test_commit_is_all_or_nothing(void **state)
{
	(void)state;
	static const char *const ids[] = { "AAAA", "none" };
	put("b", "old");
	assert_int_equal(stage("b", "AAAA", "new"), 0);
	assert_int_equal(stage("b", "BBBBBBBB", "x"), BE_INVALID_BLOB_OR_BLOCK);
	assert_int_equal(commit("b", ids, 2), BE_INVALID_BLOCK_LIST);
	pieces_of("b", BLOB_SNAPSHOT_NONE, "old");
	assert_int_equal(commit("b", ids, 1), 0);
	pieces_of("b", BLOB_SNAPSHOT_NONE, "new");
}

static void test_snapshots_and_copies_share(void **state)
{
	(void)state;
	blob_stamp snapshot, stamp;
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	put("b", "bytes");
	assert_int_equal(
		store_blob_snapshot(store, "box", "b", NULL, NULL, NULL, &snapshot, &stamp), 0);
	struct blob_write bw = to("copy");
	struct blob_copy copy = { .source_container = "box",
				  .source_name = "b",
				  .source_snapshot = snapshot,
				  .copy_id = "id",
				  .copy_source = "url" };
	assert_int_equal(store_blob_copy(store, &bw, &copy, &b), 0);
	assert_int_equal(data_files(), 1);
	put("b", "other");
	pieces_of("b", snapshot, "bytes");
	assert_int_equal(store_blob_delete(store, "box", "b", BLOB_SNAPSHOT_NONE, 0, NULL, NULL),
			 BE_SNAPSHOTS_PRESENT);
	assert_int_equal(store_blob_delete(store, "box", "b", BLOB_SNAPSHOT_NONE, 'i', NULL, NULL),
			 0);
	pieces_of("copy", BLOB_SNAPSHOT_NONE, "bytes");
	assert_int_equal(data_files(), 1);
	assert_int_equal(store_container_delete(store, "box", NULL, NULL), 0);
	assert_int_equal(data_files(), 0);
}

static void test_open_removes_what_nothing_names(void **state)
{
	(void)state;
	static const char *const ids[] = { "AAAA" };
	struct blob_writer w = { 0 };
	put("b", "kept");
	assert_int_equal(stage("s", "AAAA", "staged"), 0);
	assert_int_equal(store_writer_open(store, &w), 0);
	assert_int_equal(store_writer_add(&w, "half", 4), 0);
	close(w.fd); /* as if the process had been killed: the file stays */
	assert_int_equal(data_files(), 3);
	reopen();
	assert_int_equal(data_files(), 2);
	pieces_of("b", BLOB_SNAPSHOT_NONE, "kept");
	assert_int_equal(commit("s", ids, 1), 0);
	pieces_of("s", BLOB_SNAPSHOT_NONE, "staged");
}

static void test_stamps_rise_over_a_restart(void **state)
{
	(void)state;
	ADAFS_CLEANUP(blob_info_clear) struct blob_info a = { 0 }, b = { 0 };
	put("b", "1");
	assert_int_equal(store_blob_get(store, "box", "b", BLOB_SNAPSHOT_NONE, &a), 0);
	reopen();
	put("b", "2");
	assert_int_equal(store_blob_get(store, "box", "b", BLOB_SNAPSHOT_NONE, &b), 0);
	assert_true(b.stamp > a.stamp);
}

static void test_discarded_upload_in_flight(void **state)
{
	(void)state;
	struct block_writer w = { 0 };
	assert_int_equal(stage("b", "AAAA", "one"), 0);
	assert_int_equal(store_block_open(store, "box", "b", NULL, 3, &w), 0);
	put("b", "whole"); /* drops the staged block; the writer goes on */
	assert_int_equal(store_block_add(&w, "two", 3), 0);
	assert_int_equal(store_block_stage(&w, "box", "b", "BBBB"), 0);
	store_block_close(&w);
	static const char *const ids[] = { "BBBB" };
	assert_int_equal(commit("b", ids, 1), 0);
	pieces_of("b", BLOB_SNAPSHOT_NONE, "two");
	/* One that is given up leaves nothing. */
	assert_int_equal(store_block_open(store, "box", "c", NULL, 3, &w), 0);
	put("c", "x");
	store_block_close(&w);
	assert_int_equal(data_files(), 2);
}

#define N_WRITERS 8
#define N_PUTS 20

static int refuse(void *arg, const struct blob_info *existing)
{
	(void)arg;
	(void)existing;
	return BE_CONDITION_NOT_MET;
}

/* Every third write is refused; it must take nothing of its neighbours' away. */
static void *write_many(void *arg)
{
	const char *letter = arg;
	static const struct blob_headers none;
	uintptr_t wrong = 0;
	for (int i = 0; i < N_PUTS; i++) {
		ADAFS_FREE char *name = adafs_fmt("%s-%02d", letter, i);
		struct blob_writer w = { 0 };
		struct blob_write bw = { .container = "box",
					 .name = name,
					 .headers = &none,
					 .metadata = "",
					 .guard = i % 3 ? NULL : refuse };
		blob_stamp stamp;
		wrong |= store_writer_open(store, &w) != 0;
		wrong |= store_writer_add(&w, letter, 1) != 0;
		wrong |= store_blob_put(store, &bw, &w, &stamp) !=
			 (i % 3 ? 0 : BE_CONDITION_NOT_MET);
		store_writer_close(&w);
	}
	return (void *)wrong;
}

static void test_writers_share_a_commit(void **state)
{
	(void)state;
	static const char *const letters[N_WRITERS] = { "a", "b", "c", "d", "e", "f", "g", "h" };
	pthread_t threads[N_WRITERS];
	for (int i = 0; i < N_WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, (void *)letters[i]),
				 0);
	for (int i = 0; i < N_WRITERS; i++) {
		void *wrong;
		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
	reopen();
	for (int i = 0; i < N_WRITERS * N_PUTS; i++) {
		ADAFS_FREE char *name = adafs_fmt("%s-%02d", letters[i / N_PUTS], i % N_PUTS);
		if (i % N_PUTS % 3) {
			pieces_of(name, BLOB_SNAPSHOT_NONE, letters[i / N_PUTS]);
			continue;
		}
		struct blob_info b;
		assert_int_equal(store_blob_get(store, "box", name, BLOB_SNAPSHOT_NONE, &b),
				 BE_BLOB_NOT_FOUND);
	}
	assert_int_equal(data_files(), N_WRITERS * (N_PUTS - (N_PUTS + 2) / 3));
}

/* Whoever looked a blob up before it went never meets what came after it. */
static void test_ids_come_once(void **state)
{
	(void)state;
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	ADAFS_CLEANUP(blob_pieces_clear) struct blob_pieces p = { 0 };
	ADAFS_CLEANUP(container_info_clear) struct container_info old = { 0 }, new = { 0 };
	blob_stamp stamp;
	put("gone", "mine");
	assert_int_equal(store_blob_get(store, "box", "gone", BLOB_SNAPSHOT_NONE, &b), 0);
	assert_int_equal(store_blob_delete(store, "box", "gone", BLOB_SNAPSHOT_NONE, 0, NULL, NULL),
			 0);
	put("other", "theirs");
	assert_int_equal(store_content_open(store, b.content, 0, b.size, &p), -ESTALE);

	assert_int_equal(store_container_create(store, "first", "", "", &stamp), 0);
	assert_int_equal(store_container_get(store, "first", false, &old), 0);
	assert_int_equal(store_container_delete(store, "first", NULL, NULL), 0);
	assert_int_equal(store_container_create(store, "second", "", "", &stamp), 0);
	assert_int_equal(store_container_get(store, "second", false, &new), 0);
	assert_int_not_equal(old.id, new.id);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_blocks_in_order_are_one_piece),
		CASE(test_numbered_blocks_are_one_piece),
		CASE(test_blocks_out_of_order),
		CASE(test_commit_is_all_or_nothing),
		CASE(test_snapshots_and_copies_share),
		CASE(test_open_removes_what_nothing_names),
		CASE(test_stamps_rise_over_a_restart),
		CASE(test_discarded_upload_in_flight),
		CASE(test_writers_share_a_commit),
		CASE(test_ids_come_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
