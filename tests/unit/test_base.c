/* The base library's codecs, clocks, digests, redaction, XML and JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/digest.h"
#include "batch/base/err.h"
#include "batch/base/json.h"
#include "batch/base/log.h"
#include "batch/base/nearest.h"
#include "batch/base/random.h"
#include "batch/base/xml.h"

/* --- codecs ------------------------------------------------------------------------------- */

static void test_base64(void **state)
{
	(void)state;
	static const char *const pairs[][2] = {
		{ "", "" },        { "f", "Zg==" },        { "fo", "Zm8=" },
		{ "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "\xfb\xff", "+/8=" }
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(pairs); i++) {
		ADAFS_FREE char *text = adafs_base64_encode(pairs[i][0], strlen(pairs[i][0]));
		ADAFS_FREE uint8_t *data = NULL;
		size_t len;
		assert_string_equal(text, pairs[i][1]);
		assert_int_equal(adafs_base64_decode(text, strlen(text), &data, &len), 0);
		assert_int_equal(len, strlen(pairs[i][0]));
		assert_string_equal((char *)data, pairs[i][0]);
	}
	static const char *const bad[] = { "Zg=",    "Zg",   "Z===", "====",
					   "Zm9v\n", "Zm 9", "Zm-_", "=Zg=" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++) {
		uint8_t *data = NULL;
		size_t len;
		if (adafs_base64_decode(bad[i], strlen(bad[i]), &data, &len) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
	}
}

static void test_url(void **state)
{
	(void)state;
	static const char text[] = "a b+c%d/\xc3\xa9~-._?#&=";
	ADAFS_FREE char *path = adafs_url_encode(text, strlen(text), "/");
	assert_string_equal(path, "a%20b%2Bc%25d/%C3%A9~-._%3F%23%26%3D");
	ADAFS_FREE char *back = adafs_url_decode(path, strlen(path), false);
	assert_string_equal(back, text);
	ADAFS_FREE char *plus = adafs_url_decode("a+b%2b", 6, false),
			*space = adafs_url_decode("a+b%2b", 6, true);
	assert_string_equal(plus, "a+b+");
	assert_string_equal(space, "a b+");
	static const char *const bad[] = { "%", "%2", "%zz", "a%0", "%00", "a%4" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++)
		assert_null(adafs_url_decode(bad[i], strlen(bad[i]), false));
	/* The length counts, not what stands behind it. */
	assert_null(adafs_url_decode("%41", 2, false));
	ADAFS_FREE char *nul = adafs_url_encode("a\0b", 3, "/");
	assert_string_equal(nul, "a%00b");
}

static void test_utf8(void **state)
{
	(void)state;
	static const char *const good[] = {
		"", "abc", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xef\xbf\xbf"
	};
	static const char *const bad[] = { "\x80",
					   "\xc3",
					   "\xc0\xaf",
					   "\xe0\x80\xaf",
					   "\xed\xa0\x80",
					   "\xf4\x90\x80\x80",
					   "\xf8\x88\x80\x80\x80",
					   "a\xff",
					   "\xe2\x82",
					   "\xf0\x82\x82\xac" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(good); i++)
		assert_true(adafs_utf8_valid(good[i], strlen(good[i])));
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++)
		assert_false(adafs_utf8_valid(bad[i], strlen(bad[i])));
	assert_int_equal(adafs_utf16_units("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10), 5);
}

static void test_hex_and_random(void **state)
{
	(void)state;
	char hex[7], a[ADAFS_UUID_LEN], b[ADAFS_UUID_LEN];
	adafs_hex_encode("\x00\x9f\xff", 3, hex);
	assert_string_equal(hex, "009fff");
	adafs_random_uuid(a);
	adafs_random_uuid(b);
	assert_int_equal(strlen(a), 36);
	assert_int_equal(a[14], '4');
	assert_string_not_equal(a, b);
	for (int i = 0; i < 100; i++)
		assert_true(adafs_random_below(3) < 3);
}

/* --- clock -------------------------------------------------------------------------------- */

static void test_rfc1123(void **state)
{
	(void)state;
	char text[ADAFS_RFC1123_LEN];
	time_t t;
	setlocale(LC_ALL, ""); /* whatever the locale, the names are English */
	adafs_clock_rfc1123(1767225600, text);
	assert_string_equal(text, "Thu, 01 Jan 2026 00:00:00 GMT");
	assert_int_equal(adafs_clock_parse_rfc1123(text, &t), 0);
	assert_int_equal(t, 1767225600);
	for (time_t at = 0; at < INT64_C(16725225600);
	     at += 86400 * 7 + 3661) { /* to the year 2500 */
		adafs_clock_rfc1123(at, text);
		assert_int_equal(adafs_clock_parse_rfc1123(text, &t), 0);
		assert_int_equal(t, at);
	}
	static const char *const bad[] = { "",
					   "Thu",
					   "Thu, 32 Jan 2026 00:00:00 GMT",
					   "Thu, 01 Foo 2026 00:00:00 GMT",
					   "2026-01-01T00:00:00Z",
					   "Thu, 01 Jan 2026 25:00:00 GMT" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++)
		if (adafs_clock_parse_rfc1123(bad[i], &t) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
}

static void test_iso8601(void **state)
{
	(void)state;
	char text[ADAFS_ISO8601_LEN];
	int64_t us;
	adafs_clock_iso8601(INT64_C(1767225600123456), text);
	assert_string_equal(text, "2026-01-01T00:00:00.1234560Z");
	adafs_clock_iso8601_seconds(INT64_C(1767225600123456), text);
	assert_string_equal(text, "2026-01-01T00:00:00Z");
	static const struct {
		const char *text;
		int64_t us;
	} good[] = {
		{ "2026-01-01", INT64_C(1767225600000000) },
		{ "2026-01-01T00:01Z", INT64_C(1767225660000000) },
		{ "2026-01-01T00:00:01Z", INT64_C(1767225601000000) },
		{ "2026-01-01T00:00:00.5Z", INT64_C(1767225600500000) },
		{ "2026-01-01T00:00:00.1234567Z", INT64_C(1767225600123456) },
		{ "2026-01-01T01:00:00+01:00", INT64_C(1767225600000000) },
		{ "2025-12-31T23:30:00-00:30", INT64_C(1767225600000000) },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(good); i++) {
		if (adafs_clock_parse_iso8601(good[i].text, &us) != 0 || us != good[i].us)
			fail_msg("'%s' is read wrong", good[i].text);
	}
	static const char *const bad[] = { "",
					   "2026",
					   "2026-13-01",
					   "2026-01-32",
					   "2026-01-01T00:00",
					   "2026-01-01T24:00Z",
					   "2026-01-01T-1:00Z",
					   "2026-01-01T00:-1Z",
					   "2026-01-01T00:00:00",
					   "2026-01-01T00:00:00Zx",
					   "26-01-01",
					   "2026-1-1",
					   "2026-01-01T00:00:00+1" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++)
		if (adafs_clock_parse_iso8601(bad[i], &us) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
}

static void test_duration_short(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {
		{ "30d", INT64_C(30) * 86400000 },
		{ "12h", INT64_C(12) * 3600000 },
		{ "90m", INT64_C(90) * 60000 },
		{ "2s", 2000 },
		{ "0s", 0 },
		{ "4w", INT64_C(28) * 86400000 },
		{ "P30D", INT64_C(30) * 86400000 },
		{ "PT1.5S", 1500 },
		{ "forever", ADAFS_DURATION_NONE },
	};
	static const char *const bad[] = { "",          "30",  "d",       "30 d",        "-3d",
					   "3.5d",      "3dd", "Forever", "9999999999d", "P",
					   "999999999w" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(good); i++) {
		int64_t ms = -1;
		assert_int_equal(adafs_duration_parse_short(good[i].text, &ms), 0);
		assert_int_equal(ms, good[i].ms);
	}
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++) {
		int64_t ms;
		if (adafs_duration_parse_short(bad[i], &ms) != -EINVAL)
			fail_msg("'%s' was taken for a duration", bad[i]);
	}
}

static void test_duration(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t ms;
		const char *normal;
	} good[] = {
		{ "PT5M", 300000, "PT5M" },
		{ "PT0S", 0, "PT0S" },
		{ "P1DT2H", 93600000, "P1DT2H" },
		{ "PT90S", 90000, "PT1M30S" },
		{ "PT1.5S", 1500, "PT1.500S" },
		{ "P1W", 604800000, "P7D" },
		{ "P3Y6M4DT12H30M5S", INT64_C(110550605000), "P1279DT12H30M5S" },
		{ "P10675199DT2H48M5.4775807S", ADAFS_DURATION_NONE, "P10675199DT2H48M5.4775807S" },
		{ "P99999999999D", ADAFS_DURATION_NONE, "P10675199DT2H48M5.4775807S" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(good); i++) {
		int64_t ms = -1;
		char text[48];
		if (adafs_duration_parse(good[i].text, &ms) != 0 || ms != good[i].ms)
			fail_msg("'%s' is read as %lld", good[i].text, (long long)ms);
		adafs_duration_format(ms, text);
		assert_string_equal(text, good[i].normal);
	}
	static const char *const bad[] = { "",
					   "P",
					   "PT",
					   "5M",
					   "PT5",
					   "P5S",
					   "PT5D",
					   "P-1D",
					   "P1.5D",
					   "PT5M ",
					   "P9999999999999999999Y" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++) {
		int64_t ms;
		if (adafs_duration_parse(bad[i], &ms) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
	}
	/* A sum that no 64 bits hold. */
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(1 << 20);
	adafs_buf_adds(&b, "P");
	for (int i = 0; i < 12000; i++)
		adafs_buf_adds(&b, "9999999D");
	int64_t ms;
	assert_int_equal(adafs_duration_parse(b.data, &ms), -EINVAL);
}

/* --- digests ------------------------------------------------------------------------------ */

static void test_crc64(void **state)
{
	(void)state;
	char text[16];
	static const char *const vectors[][2] = { { "123456789", "iJh5CoYUi64=" },
						  { "hello", "V0JSBnCFdzM=" },
						  { "", "AAAAAAAAAAA=" } };
	assert_true(adafs_crc64(0, "123456789", 9) == UINT64_C(0xAE8B14860A799888));
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(vectors); i++) {
		adafs_crc64_text(adafs_crc64(0, vectors[i][0], strlen(vectors[i][0])), text);
		assert_string_equal(text, vectors[i][1]);
	}
	/* In parts, at any cut and alignment, as byte by byte. */
	char data[3001];
	uint64_t whole = 0;
	for (size_t i = 0; i < sizeof(data); i++) {
		data[i] = (char)(i * 73 ^ i >> 3);
		whole = adafs_crc64(whole, &data[i], 1);
	}
	for (size_t cut = 0; cut <= sizeof(data); cut++)
		assert_true(adafs_crc64(adafs_crc64(0, data, cut), data + cut,
					sizeof(data) - cut) == whole);
}

static void test_digests(void **state)
{
	(void)state;
	uint8_t md5[ADAFS_MD5_LEN];
	char hex[ADAFS_SHA256_HEX_LEN];
	adafs_md5("hello", 5, md5);
	ADAFS_FREE char *hello = adafs_base64_encode(md5, sizeof(md5));
	assert_string_equal(hello, "XUFAKrxLKna5cZ2REBfFkg==");
	adafs_md5("", 0, md5);
	ADAFS_FREE char *empty = adafs_base64_encode(md5, sizeof(md5));
	assert_string_equal(empty, "1B2M2Y8AsgTpgAmY7PhCfg==");
	adafs_sha256_hex("abc", 3, hex);
	assert_string_equal(hex,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	struct adafs_digest *d = adafs_digest_new(ADAFS_DIGEST_MD5);
	adafs_digest_update(d, "hel", 3);
	adafs_digest_update(d, "lo", 2);
	adafs_digest_final(d, md5);
	adafs_digest_free(d);
	ADAFS_FREE char *parts = adafs_base64_encode(md5, sizeof(md5));
	assert_string_equal(parts, hello);
	adafs_digest_free(NULL);
	/* RFC 4231, case 2 */
	uint8_t mac[ADAFS_SHA256_LEN];
	char mac_hex[ADAFS_SHA256_HEX_LEN];
	assert_int_equal(adafs_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac), 0);
	adafs_hex_encode(mac, sizeof(mac), mac_hex);
	assert_string_equal(mac_hex,
			    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	assert_true(adafs_equal_secret("ab", 2, "ab", 2));
	assert_false(adafs_equal_secret("ab", 2, "ac", 2));
	assert_false(adafs_equal_secret("ab", 2, "abc", 3));
}

/* --- redaction, errors ------------------------------------------------------------------------ */

static void test_redact(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
		{ "https://h/c?sv=1&sig=abcdefghij%2B%3D&se=2",
		  "https://h/c?sv=1&sig=REDACTED&se=2" },
		{ "AccountName=a;AccountKey=c2VjcmV0c2VjcmV0==;X=1",
		  "AccountName=a;AccountKey=REDACTED;X=1" },
		{ "Authorization: SharedKey acct:c2VjcmV0c2VjcmV0=\r\nX: y",
		  "Authorization: SharedKey REDACTED\r\nX: y" },
		{ "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.x.y",
		  "Authorization: Bearer REDACTED" },
		{ "{\"access_token\":\"eyJhbGciOi\",\"x\":1}",
		  "{\"access_token\":\"REDACTED\",\"x\":1}" },
		{ "two sig=aaaaaaaaaaaa and SIG=bbbbbbbbbbbb.",
		  "two sig=REDACTED and SIG=REDACTED" },
		{ "nothing here", "nothing here" },
		{ "sig=", "sig=" },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++) {
		char text[128];
		snprintf(text, sizeof(text), "%s", rows[i][0]);
		adafs_redact(text);
		assert_string_equal(text, rows[i][1]);
	}
	char text[] = "sig=abc";
	adafs_redact(text);
	assert_null(strstr(text, "abc"));
}

static void test_err(void **state)
{
	(void)state;
	struct adafs_err e, copy;
	assert_int_equal(adafs_err_set(&e, -EIO, "%d of %s", 3, "x"), -EIO);
	assert_string_equal(e.msg, "3 of x");
	e.http_status = 500;
	assert_int_equal(adafs_err_prefix(&e, "outer"), -EIO);
	assert_string_equal(e.msg, "outer: 3 of x");
	assert_int_equal(e.http_status, 500);
	assert_int_equal(adafs_err_copy(&copy, &e), -EIO);
	assert_string_equal(copy.msg, e.msg);
	assert_int_equal(adafs_err_copy(NULL, &e), -EIO);
	assert_int_equal(adafs_err_set(NULL, -EIO, "x"), -EIO);
	for (int i = 0; i < 100; i++)
		adafs_err_prefix(&e, "a prefix that grows the line again and again");
	assert_true(strlen(e.msg) < sizeof(e.msg));
}

static void test_buf(void **state)
{
	(void)state;
	struct adafs_buf b = ADAFS_BUF_INIT(10);
	assert_string_equal(adafs_buf_str(&b), "");
	assert_int_equal(adafs_buf_adds(&b, "12345"), 0);
	assert_int_equal(adafs_buf_addf(&b, "%d", 67890), 0);
	assert_int_equal(adafs_buf_adds(&b, "x"), -EFBIG);
	assert_int_equal(adafs_buf_addf(&b, "x"), -EFBIG);
	assert_string_equal(b.data, "1234567890");
	assert_int_equal(adafs_buf_reserve(&b, SIZE_MAX), -EFBIG);
	size_t len;
	ADAFS_FREE char *text = adafs_buf_steal(&b, &len);
	assert_int_equal(len, 10);
	ADAFS_FREE char *empty = adafs_buf_steal(&b, &len);
	assert_int_equal(len, 0);
	assert_string_equal(empty, "");
}

/* --- XML and JSON ----------------------------------------------------------------------------- */

static int on_end(void *arg, const char *path, const char *text, size_t len)
{
	struct adafs_buf *b = arg;
	(void)len;
	return adafs_buf_addf(b, "%s=%s;", path, text);
}

static int parse_into(const char *xml, struct adafs_buf *b)
{
	const struct adafs_xml_handler h = { .end = on_end, .arg = b };
	adafs_buf_reset(b);
	return adafs_xml_parse(xml, strlen(xml), &h, NULL);
}

static void test_xml(void **state)
{
	(void)state;
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(4096);
	assert_int_equal(
		parse_into("\xef\xbb\xbf<a x='1'><b>1 &lt;&amp;&#xD;</b><c/><b>2</b></a>", &b), 0);
	assert_string_equal(b.data, "a/b=1 <&\r;a/c=;a/b=2;a=;");
	static const char *const bad[] = {
		"",
		"<a>",
		"<a></b>",
		"<a/><b/>",
		"x",
		/* entities: a billion laughs, and a file of ours */
		"<!DOCTYPE a [<!ENTITY x \"y\"><!ENTITY z \"&x;&x;\">]><a>&z;</a>",
		"<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
		"<!DOCTYPE a [<!ENTITY % x \"y\">]><a/>",
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++)
		if (parse_into(bad[i], &b) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
	/* Too deep, and the innermost has a name longer than the path so far. */
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf deep = ADAFS_BUF_INIT(8192);
	for (int i = 0; i < 32; i++)
		adafs_buf_adds(&deep, "<a>");
	adafs_buf_adds(&deep, "<");
	for (int i = 0; i < 2000; i++)
		adafs_buf_adds(&deep, "b");
	adafs_buf_adds(&deep, "/>");
	assert_int_equal(parse_into(deep.data, &b), -EINVAL);
}

static void test_xml_in_parts(void **state)
{
	(void)state;
	static const char doc[] = "<?xml version=\"1.0\"?><a><b>one two</b><c>\xc3\xa9</c></a>";
	for (size_t cut = 0; cut < sizeof(doc) - 1; cut++) {
		ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(4096);
		const struct adafs_xml_handler h = { .end = on_end, .arg = &b };
		struct adafs_xml_parser *p = adafs_xml_parser_new(&h);
		assert_int_equal(adafs_xml_feed(p, doc, cut, 0, NULL), 0);
		assert_int_equal(adafs_xml_feed(p, doc + cut, sizeof(doc) - 1 - cut, 1, NULL), 0);
		assert_string_equal(b.data, "a/b=one two;a/c=\xc3\xa9;a=;");
		adafs_xml_parser_free(p);
	}
	adafs_xml_parser_free(NULL);
}

static void test_xml_write(void **state)
{
	(void)state;
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(4096);
	assert_int_equal(adafs_xml_element(&b, "n", "<a & \"b\">\r"), 0);
	assert_string_equal(b.data, "<n>&lt;a &amp; &quot;b&quot;&gt;&#xD;</n>");
}

static void test_json(void **state)
{
	(void)state;
	static const char text[] = "{\"a\":{\"b\":7,\"c\":\"x\"},\"t\":true,\"A\":1} \n";
	ADAFS_JSON *j = adafs_json_parse(text, strlen(text), NULL);
	assert_non_null(j);
	assert_int_equal(adafs_json_int(adafs_json_get(j, "a"), "b", -1), 7);
	assert_int_equal(adafs_json_int(j, "A", -1), 1);
	assert_int_equal(adafs_json_int(j, "none", -1), -1);
	assert_string_equal(adafs_json_path(j, "a/c")->valuestring, "x");
	assert_null(adafs_json_path(j, "a/x/y"));
	assert_true(adafs_json_bool(j, "t", false));
	assert_string_equal(adafs_json_str(j, "t", "fallback"), "fallback");
	assert_string_equal(adafs_json_str(NULL, "t", "fallback"), "fallback");
	static const char *const bad[] = { "", "{", "{} x", "[1,]", "nul", "{\"a\":1}}" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bad); i++) {
		struct adafs_err err = { 0 };
		if (adafs_json_parse(bad[i], strlen(bad[i]), &err))
			fail_msg("'%s' was taken", bad[i]);
		assert_int_equal(err.rc, -EINVAL);
	}
	/* Deep nesting must be an error and no crash. */
	char deep[20001];
	memset(deep, '[', 20000);
	deep[20000] = 0;
	assert_null(adafs_json_parse(deep, 20000, NULL));
}

static void test_nearest(void **state)
{
	(void)state;
	static const char *const list[] = { "dir", "pool", "poll", "cache_size", "ro" };
	static const struct {
		const char *text, *nearest;
	} cases[] = {
		{ "pool", "pool" },
		{ "pol", "pool" }, /* the first of two as near */
		{ "polll", "poll" },
		{ "cachesize", "cache_size" },
		{ "chache_sise", "cache_size" },
		{ "cash_sz", NULL }, /* too many edits */
		{ "xy", NULL },      /* as many edits as the word has letters */
		{ "", NULL },
		{ "a_word_of_more_than_sixty_four_bytes_that_somebody_typed_with_a_cat_on_the_keys",
		  NULL },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(cases); i++) {
		const char *got = adafs_nearest(cases[i].text, list, ADAFS_ARRAY_SIZE(list), 3);
		if (!cases[i].nearest)
			assert_null(got);
		else if (!got || strcmp(got, cases[i].nearest) != 0)
			fail_msg("'%s': %s", cases[i].text, got ? got : "none");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base64),       cmocka_unit_test(test_url),
		cmocka_unit_test(test_utf8),         cmocka_unit_test(test_hex_and_random),
		cmocka_unit_test(test_rfc1123),      cmocka_unit_test(test_iso8601),
		cmocka_unit_test(test_duration),     cmocka_unit_test(test_duration_short),
		cmocka_unit_test(test_crc64),        cmocka_unit_test(test_digests),
		cmocka_unit_test(test_redact),       cmocka_unit_test(test_err),
		cmocka_unit_test(test_buf),          cmocka_unit_test(test_xml),
		cmocka_unit_test(test_xml_in_parts), cmocka_unit_test(test_xml_write),
		cmocka_unit_test(test_json),         cmocka_unit_test(test_nearest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
