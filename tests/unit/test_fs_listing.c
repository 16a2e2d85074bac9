/*
 * Pages of a directory: which names are shown, in which order, and what stays in memory. The
 * service is made up here.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "batch/azure/blob.h"

/*
 * Pages of names, NULL after each and NULL NULL at the end; a name that ends in '/' is a prefix,
 * one in '*' a marker.
 */
static const char *const *script;
static size_t script_start; /* where the first page begins */

struct adafs_blob_pages {
	size_t at;
	char marker[16];
};

static struct adafs_blob_pages *fake_open(struct adafs_blob_client *c, const char *container,
					  const char *prefix, const char *delimiter, unsigned flags,
					  const char *marker)
{
	struct adafs_blob_pages *p = calloc(1, sizeof(*p));
	(void)c, (void)container, (void)prefix, (void)delimiter, (void)flags;
	assert_non_null(p);
	p->at = marker && *marker ? strtoul(marker, NULL, 10) : script_start;
	return p;
}

static int fake_next(struct adafs_blob_pages *p, adafs_blob_list_fn *fn, void *arg,
		     struct adafs_err *err)
{
	(void)err;
	for (; script[p->at]; p->at++) {
		char name[600];
		snprintf(name, sizeof(name), "d/%s", script[p->at]);
		size_t len = strlen(name);
		struct adafs_blob_props props = { .etag = "0x1", .size = 5 };
		if (name[len - 1] == '*') {
			name[len - 1] = 0;
			assert_int_equal(adafs_blob_meta_set(&props.meta, "hdi_isfolder", "true"),
					 0);
		}
		int rc = fn(arg, name, name[len - 1] == '/' ? NULL : &props);
		adafs_blob_props_clear(&props);
		if (rc < 0)
			return rc;
	}
	snprintf(p->marker, sizeof(p->marker), "%zu", ++p->at);
	return script[p->at] != NULL;
}

static const char *fake_marker(const struct adafs_blob_pages *p)
{
	return p->marker;
}

static void fake_close(struct adafs_blob_pages *p)
{
	free(p);
}

#define adafs_blob_pages_open fake_open
#define adafs_blob_pages_next fake_next
#define adafs_blob_pages_marker fake_marker
#define adafs_blob_pages_close fake_close
#include "fs/blob/blob_entry.c"
#include "fs/blob/meta.c"
#include "fs/kernel/listing.c"

static struct fs nothing;

static struct listing *load(const char *const *pages)
{
	struct listing *l = listing_new(1, 1000);
	struct adafs_err err = { 0 };
	assert_non_null(l);
	script = pages;
	while (!l->done) {
		struct listing_adding a;
		char *marker = NULL;
		int rc = listing_fetch(l, &nothing, "c", "d/", &a, &marker, &err);
		listing_append(l, &a, rc, marker, &err);
	}
	assert_int_equal(l->rc, 0);
	return l;
}

/* All names in their order, a directory with '/' and a marker with '*' behind it. */
static char *shown(const struct listing *l)
{
	static char text[65536];
	size_t len = 0;
	text[0] = 0;
	for (size_t i = 0; i < l->n; i++) {
		const struct listing_page *p = listing_page_at(l, i);
		const struct blob_entry *e = p->entry[i - p->first];
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s%s ", e->name,
					e->is_dir ? "/" : "", e->marker ? "*" : "");
	}
	return text;
}

static void check(const char *const *pages, const char *wanted, unsigned hidden)
{
	struct listing *l = load(pages);
	assert_string_equal(shown(l), wanted);
	assert_int_equal(l->hidden, hidden);
	assert_false(l->unsorted);
	listing_free(l);
}
#define PAGES(...) ((const char *const[]){ __VA_ARGS__, NULL, NULL })

static void test_one_name_for_file_and_directory(void **state)
{
	(void)state;
	check(PAGES("a", "b", "c/"), "a b c/ ", 0);
	check(PAGES("a", "a/"), "a/ ", 1);
	check(PAGES("a*", "a/"), "a/* ", 0);
	check(PAGES("a*"), "a/* ", 0);
	/* What sorts between a file and its prefix. */
	check(PAGES("a", "a-", "a-1", "a-1/", "a.txt", "a/", "a0"), "a- a-1/ a.txt a/ a0 ", 2);
}

static void test_nested_beginnings(void **state)
{
	(void)state;
	check(PAGES("a", "a-", "a--", "a---", "b"), "a--- a-- a- a b ", 0);
	check(PAGES("a", "a-", "a--", "a--/", "a-/", "a/"), "a--/ a-/ a/ ", 3);
}

static void test_on_two_pages(void **state)
{
	(void)state;
	check(PAGES("a", "a-1", NULL, "a-2", NULL, "a/", "b"), "a-1 a-2 a/ b ", 1);
	check(PAGES("a*", NULL, "a/"), "a/* ", 0);
}

static void test_hidden_names(void **state)
{
	(void)state;
	char lengthy[300] = { 0 };
	memset(lengthy, 'x', 256);
	/* The directory's own marker is no name in it, and not counted. */
	check(PAGES("/", ".", "..", "./", "a", lengthy), "a ", 5);
}

static void test_finding(void **state)
{
	(void)state;
	uint64_t ms;
	struct listing *l = load(PAGES("a", "b", NULL, "c", "c-1", "d/", NULL, "e"));
	const char *const there[] = { "a", "b", "c", "c-1", "d", "e" };
	for (size_t i = 0; i < sizeof(there) / sizeof(*there); i++) {
		assert_string_equal(listing_find(l, there[i], &ms)->name, there[i]);
		assert_true(ms >= 1000);
	}
	const char *const absent[] = { "", "A", "a0", "bb", "c-", "z" };
	for (size_t i = 0; i < sizeof(absent) / sizeof(*absent); i++) {
		assert_null(listing_find(l, absent[i], &ms));
		assert_true(listing_is_past(l, absent[i]));
	}
	listing_free(l);
}

static void test_what_is_past_while_it_is_listed(void **state)
{
	(void)state;
	struct listing *l = listing_new(1, 1000);
	struct adafs_err err = { 0 };
	struct listing_adding a;
	char *marker = NULL;
	script = PAGES("a", "c", "c-1", NULL, "d");
	int rc = listing_fetch(l, &nothing, "c", "d/", &a, &marker, &err);
	assert_int_equal(rc, 1);
	listing_append(l, &a, rc, marker, &err);
	/* `c` may still become a directory, and `c-1` may. */
	assert_string_equal(shown(l), "a ");
	assert_true(listing_is_past(l, "A"));
	assert_false(listing_is_past(l, "b"));
	assert_false(listing_is_past(l, "c"));
	listing_free(l);
}

static void test_another_order(void **state)
{
	(void)state;
	struct listing *l = load(PAGES("b", "a", NULL, "c", "a/", "b"));
	assert_true(l->unsorted);
	assert_non_null(listing_find_any(l, "c"));
	assert_null(listing_find_any(l, "d"));
	struct listing *s = listing_sorted(l);
	assert_string_equal(shown(s), "a/ b c ");
	assert_non_null(listing_find(s, "a", NULL));
	listing_free(s);
	listing_free(l);
}

static void test_nothing(void **state)
{
	(void)state;
	struct listing *l = load(PAGES("/"));
	assert_int_equal(l->n, 0);
	assert_true(listing_is_past(l, "a"));
	assert_null(listing_find(l, "a", NULL));
	listing_free(l);
}

static void count_dropped(void *arg, const struct listing_page *p)
{
	*(size_t *)arg += p->n;
}

static void test_a_large_one_keeps_its_last_pages(void **state)
{
	(void)state;
	static char name[400][8];
	const char *pages[1002];
	size_t n = 0, dropped = 0;
	for (size_t i = 0; i < 400; i++) {
		snprintf(name[i], sizeof(name[i]), "f%03zu", i);
		pages[n++] = name[i];
		if (i % 10 == 9)
			pages[n++] = NULL;
	}
	pages[n] = NULL;
	struct listing *l = load(pages);
	listing_trim(l, count_dropped, &dropped);
	assert_int_equal(dropped, 0);
	l->large = true;
	listing_trim(l, count_dropped, &dropped);
	assert_true(dropped > 0 && dropped <= 400 - (LISTING_WINDOW - 1) * 10);
	assert_null(l->page[0].entry);
	assert_non_null(l->page[l->n_pages - 1].entry);
	assert_null(listing_find(l, "f399x", NULL));
	assert_string_equal(listing_find(l, "f399", NULL)->name, "f399");
	/* What was dropped comes again, to the same places. */
	struct blob_entry **entry;
	script_start = 0;
	assert_int_equal(
		listing_refetch(&nothing, "c", "d/", l->page[3].marker, l->page[3].n, &entry, NULL),
		0);
	listing_restore(l, 3, entry);
	size_t place = l->page[3].first;
	assert_ptr_equal(listing_page_at(l, place), &l->page[3]);
	assert_non_null(l->page[3].entry[0]);
	listing_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_name_for_file_and_directory),
		cmocka_unit_test(test_nested_beginnings),
		cmocka_unit_test(test_on_two_pages),
		cmocka_unit_test(test_hidden_names),
		cmocka_unit_test(test_finding),
		cmocka_unit_test(test_what_is_past_while_it_is_listed),
		cmocka_unit_test(test_another_order),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_a_large_one_keeps_its_last_pages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
