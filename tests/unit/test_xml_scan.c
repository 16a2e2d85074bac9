/*
 * The pull reader of lists, held against the streaming one: what both take they read alike, what
 * one refuses both refuse.
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

#include "batch/base/buf.h"
#include "batch/base/xml.h"
#include "batch/base/xml_scan.h"

/* --- one text for what a reader saw: "path=text;" for leaves --------------------------------- */
struct seen {
	struct adafs_buf text;
	char last[4096]; /* the path that ended last: an element with children is no leaf */
};

static int on_end(void *arg, const char *path, const char *text, size_t len)
{
	struct seen *s = arg;
	size_t n = strlen(path);
	bool leaf = strncmp(s->last, path, n) != 0 || s->last[n] != '/';
	snprintf(s->last, sizeof(s->last), "%s", path);
	if (leaf) {
		adafs_buf_addf(&s->text, "%s=", path);
		adafs_buf_add(&s->text, text, len);
		adafs_buf_adds(&s->text, ";");
	}
	return 0;
}

static int read_streaming(const char *doc, size_t len, struct adafs_buf *ret)
{
	struct seen s = { .text = *ret };
	const struct adafs_xml_handler handler = { .end = on_end, .arg = &s };
	int rc = adafs_xml_parse(doc, len, &handler, NULL);
	*ret = s.text;
	return rc;
}

static int read_pulling(const char *doc, size_t len, struct adafs_buf *ret)
{
	ADAFS_FREE char *copy = malloc(len + 1);
	struct adafs_xml_scan s;
	int rc;
	assert_non_null(copy);
	memcpy(copy, doc, len);
	adafs_xml_scan_init(&s, copy, len);
	while ((rc = adafs_xml_scan_next(&s)) >= 0 && rc != ADAFS_XML_DONE) {
		if (rc != ADAFS_XML_LEAF)
			continue;
		for (unsigned i = 0; i < s.depth; i++)
			adafs_buf_addf(ret, "%.*s/", (int)s.open[i].len, s.open[i].name);
		adafs_buf_addf(ret, "%.*s=", (int)s.name_len, s.name);
		adafs_buf_add(ret, s.text, s.text_len);
		adafs_buf_adds(ret, ";");
	}
	return rc < 0 ? rc : 0;
}

static void compare(const char *doc, size_t len)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf a = ADAFS_BUF_INIT(1 << 20), b = a;
	int streaming = read_streaming(doc, len, &a), pulling = read_pulling(doc, len, &b);
	if ((streaming < 0) != (pulling < 0))
		print_message("%.*s\n", (int)len, doc);
	assert_int_equal(streaming < 0, pulling < 0);
	if (!streaming)
		assert_string_equal(adafs_buf_str(&a), adafs_buf_str(&b));
}

static void test_same_as_streaming(void **state)
{
	(void)state;
	static const char *const docs[] = {
		"<a/>",
		"<a></a>",
		"<a>x</a>",
		"\xef\xbb\xbf<a>x</a>",
		" <a>x</a>\n",
		"<?xml version=\"1.0\" encoding=\"utf-8\"?><a><b>1</b><c/></a>",
		"<a><b>&amp;&lt;&gt;&quot;&apos;&#65;&#x42;&#x20AC;&#128512;</b></a>",
		"<a><b>one\r\ntwo\rthree\n</b></a>",
		"<a><!-- no <b>1</b> --><b>2</b></a>",
		"<a><b>\xc3\xa4\xe2\x82\xac</b></a>",
		"<a><b x='1>2' y=\"3\">t</b ></a >",
		"<a><b> spaces </b><c>\t</c></a>",
		"<a:b><c-d.e_f>1</c-d.e_f></a:b>",
		"<a><b>]] &gt;</b></a>",
		/* refused */
		"",
		" ",
		"<a>",
		"<a></b>",
		"<a><b></a></b>",
		"<a>&</a>",
		"<a>&none;</a>",
		"<a>&#0;</a>",
		"<a>&#xD800;</a>",
		"<a>&#x110000;</a>",
		"<a>&#;</a>",
		"<a>&#x;</a>",
		"<a>&amp</a>",
		"<a>\x01</a>",
		"<a>\xff</a>",
		"<a>\xc0\x80</a>",
		"<a/><b/>",
		"x<a/>",
		"<a/>x",
		"</a>",
		"<a",
		"<a x",
		"<a>1",
		"<a>1<",
		"<a>1</",
		"<a>1</a",
		"< a/>",
		"<a><b>1</b>",
		"<a><",
		"<>",
		"<a><!-- ",
		"<a><!-",
		"<?xml",
		"<a>1</a b>",
		"<!DOCTYPE a [<!ENTITY e \"x\">]><a>&e;</a>",
	};
	for (size_t i = 0; i < sizeof(docs) / sizeof(*docs); i++)
		compare(docs[i], strlen(docs[i]));
}

static void test_not_plain_is_refused(void **state)
{
	(void)state;
	static const char *const docs[] = { "<a>x<b/></a>", "<a><b/>x</a>", "<a><![CDATA[x]]></a>",
					    "<!DOCTYPE a><a/>" };
	for (size_t i = 0; i < sizeof(docs) / sizeof(*docs); i++) {
		ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(1 << 20);
		assert_int_equal(read_pulling(docs[i], strlen(docs[i]), &b), -EINVAL);
	}
}

static void test_depth_is_bounded(void **state)
{
	(void)state;
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf deep = ADAFS_BUF_INIT(1 << 20), seen = deep;
	for (int i = 0; i < 40; i++)
		adafs_buf_adds(&deep, "<a>");
	assert_int_equal(read_pulling(deep.data, deep.len, &seen), -EINVAL);
}

static void test_attributes(void **state)
{
	(void)state;
	char doc[] = "<a><Name Encoded=\"true\" x = 'y' >1</Name><Name>2</Name></a>";
	struct adafs_xml_scan s;
	adafs_xml_scan_init(&s, doc, sizeof(doc) - 1);
	assert_int_equal(adafs_xml_scan_next(&s), ADAFS_XML_START);
	assert_int_equal(adafs_xml_scan_next(&s), ADAFS_XML_LEAF);
	assert_true(adafs_xml_scan_is(&s, "Name"));
	assert_false(adafs_xml_scan_is(&s, "Nam"));
	assert_true(adafs_xml_scan_has_attr(&s, "Encoded", "true"));
	assert_true(adafs_xml_scan_has_attr(&s, "x", "y"));
	assert_false(adafs_xml_scan_has_attr(&s, "Encoded", "false"));
	assert_false(adafs_xml_scan_has_attr(&s, "none", ""));
	assert_int_equal(adafs_xml_scan_next(&s), ADAFS_XML_LEAF);
	assert_false(adafs_xml_scan_has_attr(&s, "Encoded", "true"));
}

static void test_skip(void **state)
{
	(void)state;
	char doc[] = "<a><b><c>1</c><d><e/></d></b><f>2</f></a>";
	struct adafs_xml_scan s;
	adafs_xml_scan_init(&s, doc, sizeof(doc) - 1);
	assert_int_equal(adafs_xml_scan_next(&s), ADAFS_XML_START);
	assert_int_equal(adafs_xml_scan_next(&s), ADAFS_XML_START);
	assert_int_equal(adafs_xml_scan_skip(&s), 0);
	assert_int_equal(adafs_xml_scan_next(&s), ADAFS_XML_LEAF);
	assert_string_equal(s.text, "2");
	assert_int_equal(adafs_xml_scan_next(&s), ADAFS_XML_ENDED);
	assert_int_equal(adafs_xml_scan_next(&s), ADAFS_XML_DONE);
}

/*
 * Bytes of a whole page flipped, dropped and doubled: never a crash, and never read where the
 * streaming one refuses tags.
 */
static void test_damaged(void **state)
{
	(void)state;
	static const char page[] = "<?xml version=\"1.0\"?><R><Blobs><Blob><Name "
				   "Encoded=\"true\">a&amp;b</Name><P><E>0x1</E>"
				   "<L>5</L></P><M /></Blob></Blobs><NextMarker>m</NextMarker></R>";
	uint64_t x = 88172645463325252u;
	for (int i = 0; i < 20000; i++) {
		char doc[sizeof(page)];
		memcpy(doc, page, sizeof(page));
		for (int k = 0; k < 2; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			doc[x % (sizeof(page) - 1)] = "<>/&;a \"'\x80"[x >> 32 & 7];
		}
		ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(1 << 20);
		read_pulling(doc, (size_t)(x >> 20) % sizeof(page), &b);
		adafs_buf_reset(&b);
		read_pulling(doc, sizeof(page) - 1, &b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_as_streaming),
		cmocka_unit_test(test_not_plain_is_refused),
		cmocka_unit_test(test_depth_is_bounded),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_skip),
		cmocka_unit_test(test_damaged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
