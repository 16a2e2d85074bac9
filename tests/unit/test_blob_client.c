/* Calls of the Blob client against a scripted server: checksums, listing, copy, properties. */
#include <time.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "http_fixture.h"

#define RANGE_HEAD                                                                          \
	"HTTP/1.1 206 Partial\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/5\r\nETag: " \
	"\"0x8D1\"\r\n"
#define RANGE_GOOD RANGE_HEAD "x-ms-content-crc64: V0JSBnCFdzM=\r\n\r\nhello"
#define RANGE_BAD RANGE_HEAD "x-ms-content-crc64: V0JSBnCFdzM=\r\n\r\nhellO"

/* --- reading by SAS ------------------------------------------------------------------------- */

static void test_sas_reader(void **state)
{
	(void)state;
	BEGIN(f, { REPLY, RANGE_GOOD });
	struct adafs_blob_client *reader = adafs_blob_client_new_sas_reader(f.blob, NULL);
	char buf[5];
	size_t len;
	assert_int_equal(adafs_blob_get(reader, "c", "n", NULL, 0, 5, "0x8D1", buf, 5, &len, NULL),
			 0);
	assert_int_equal(adafs_blob_get(reader, "c", "m", NULL, 0, 5, NULL, buf, 5, &len, NULL), 0);
	assert_header(&f, 0, "Authorization", NULL);
	assert_header(&f, 0, "If-Match", "\"0x8D1\"");
	const char *sas = strstr(f.server.seen[0].head, "?sv=");
	assert_non_null(sas);
	assert_non_null(strstr(sas, "&sr=c&sp=rl&sig="));
	/* Made once, used for both. */
	size_t n = strcspn(sas, " ");
	assert_memory_equal(sas, strstr(f.server.seen[1].head, "?sv="), n);
	adafs_blob_client_free(reader);
	end(&f);
}

/* A SAS must not have ended by the clock of who checks it, however this machine's is set. */
static void test_sas_by_the_clock_of_the_service(void **state)
{
	(void)state;
	char date[ADAFS_RFC1123_LEN], expiry[ADAFS_ISO8601_LEN] = "", buf[8];
	size_t len;
	time_t theirs = time(NULL) + 7200;
	adafs_clock_rfc1123(theirs, date);
	ADAFS_FREE char *reply = adafs_fmt("HTTP/1.1 416 Range\r\nDate: %s\r\nx-ms-error-code: "
					   "InvalidRange\r\nContent-Length: 0\r\n\r\n",
					   date);
	const struct step steps[] = { { REPLY, reply }, { REPLY, reply } };
	struct fixture f;
	begin_with(&f, steps, 2, 8000, 0);
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 9, 8, NULL, buf, 8, &len, NULL), 0);
	assert_in_range(adafs_blob_now_us(f.blob) / 1000000, theirs - 1, theirs + 60);
	struct adafs_blob_client *reader = adafs_blob_client_new_sas_reader(f.blob, NULL);
	assert_int_equal(adafs_blob_get(reader, "c", "n", NULL, 9, 8, NULL, buf, 8, &len, NULL), 0);
	const char *se = strstr(f.server.seen[1].head, "&se=");
	se = se ? se : strstr(f.server.seen[1].head, "?se=");
	assert_non_null(se);
	ADAFS_FREE char *text = adafs_url_decode(se + 4, strcspn(se + 4, "& "), false);
	int64_t until_us;
	snprintf(expiry, sizeof(expiry), "%s", text);
	assert_int_equal(adafs_clock_parse_iso8601(expiry, &until_us), 0);
	assert_true(until_us / 1000000 > theirs);
	adafs_blob_client_free(reader);
	end(&f);
}

/* --- checksums ------------------------------------------------------------------------------ */

static void test_range_checksum(void **state)
{
	(void)state;
	BEGIN(f, { REPLY, RANGE_BAD }, { REPLY, RANGE_GOOD }, { REPLY, RANGE_BAD });
	char buf[8];
	size_t len;
	struct adafs_err err;
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", "2026-01-01T00:00:00.0000000Z", 0, 8,
					NULL, buf, 8, &len, NULL),
			 0);
	assert_int_equal(len, 5);
	assert_memory_equal(buf, "hello", 5);
	assert_header(&f, 0, "x-ms-range", "bytes=0-7");
	assert_header(&f, 0, "x-ms-range-get-content-crc64", "true");
	assert_non_null(
		strstr(f.server.seen[0].head, "?snapshot=2026-01-01T00%3A00%3A00.0000000Z "));
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 0, 8, NULL, buf, 8, &len, &err),
			 -EIO);
	assert_int_equal(f.server.n_seen, 4);
	end(&f);
}

static void test_range_ends(void **state)
{
	(void)state;
	BEGIN(f,
	      { REPLY,
		"HTTP/1.1 416 Range\r\nx-ms-error-code: InvalidRange\r\nContent-Length: 0\r\n\r\n" },
	      { REPLY,
		"HTTP/1.1 206 P\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/90\r\n\r\nhello" });
	char buf[8];
	size_t len = 9;
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 100, 8, NULL, buf, 8, &len, NULL),
			 0);
	assert_int_equal(len, 0);
	/*
	 * Fewer bytes than asked for although the blob goes on, and another range than asked for.
	 */
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 0, 8, NULL, buf, 8, &len, NULL),
			 -EPROTO);
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 10, 5, NULL, buf, 8, &len, NULL),
			 -EPROTO);
	end(&f);
}

static void test_whole(void **state)
{
	(void)state;
	BEGIN(f,
	      { REPLY,
		"HTTP/1.1 200 OK\r\nContent-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\nContent-Length: "
		"5\r\n\r\nhellO" },
	      { REPLY,
		"HTTP/1.1 200 OK\r\nContent-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\nContent-Length: "
		"5\r\n\r\nhello" });
	char buf[8];
	size_t len;
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 0, 0, NULL, buf, 8, &len, NULL), 0);
	assert_int_equal(len, 5);
	assert_int_equal(f.server.n_seen, 2);
	assert_header(&f, 0, "x-ms-range", NULL);
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 0, 0, NULL, buf, 4, &len, NULL),
			 -EFBIG);
	assert_int_equal(adafs_blob_get(f.blob, "c", "n", NULL, 0, 9, NULL, buf, 8, &len, NULL),
			 -EINVAL);
	end(&f);
}

static void test_upload_damaged(void **state)
{
	(void)state;
	static const char bad[] =
		"HTTP/1.1 400 Bad\r\nx-ms-error-code: Crc64Mismatch\r\nContent-Length: 0\r\n\r\n";
	BEGIN(f, { REPLY, bad }, { REPLY, CREATED }, { REPLY, bad });
	const struct adafs_blob_source src = { .data = "hello", .len = 5 };
	assert_int_equal(adafs_blob_put_block(f.blob, "c", "n", "block/1+", &src, NULL), 0);
	assert_int_equal(f.server.n_seen, 2);
	assert_non_null(strstr(f.server.seen[0].head, "?comp=block&blockid=YmxvY2svMSs%3D "));
	assert_int_equal(adafs_blob_put_block(f.blob, "c", "n", "block/1+", &src, NULL), -EIO);
	assert_int_equal(f.server.n_seen, 4);
	end(&f);
}

/* --- listing, copy, properties ---------------------------------------------------------------- */

struct listed {
	char text[512];
};

static int on_listed(void *arg, const char *name, const struct adafs_blob_props *p)
{
	struct listed *l = arg;
	size_t n = strlen(l->text);
	if (p)
		snprintf(l->text + n, sizeof(l->text) - n, "%s=%lld,%s,%s;", name,
			 (long long)p->size, p->etag,
			 adafs_blob_meta_get(&p->meta, "NONCE")
				 ? adafs_blob_meta_get(&p->meta, "NONCE")
				 : "-");
	else
		snprintf(l->text + n, sizeof(l->text) - n, "%s;", name);
	return strcmp(name, "stop") == 0 ? -EINTR : 0;
}

static char *page(const char *blobs, const char *marker)
{
	ADAFS_FREE char *body = adafs_fmt(
		"<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Prefix>p"
		"</Prefix><Blobs>%s</Blobs><NextMarker>%s</NextMarker></EnumerationResults>",
		blobs, marker);
	return adafs_fmt("HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
}

static void test_list(void **state)
{
	(void)state;
	ADAFS_FREE char *first =
		page("<Blob><Name>a &amp; "
		     "b</Name><Unknown><Name>x</Name></Unknown><Properties><Content-Length>5</"
		     "Content-Length>"
		     "<Etag>0x1</Etag></Properties><Metadata><nonce>n1</nonce></Metadata></Blob>"
		     "<BlobPrefix><Name>d/</Name></BlobPrefix>",
		     "m &amp;1");
	ADAFS_FREE char *empty = page("", "m2");
	ADAFS_FREE char *last = page(
		"<BlobPrefix><Name>d/</Name></BlobPrefix>"
		"<Blob><Name "
		"Encoded=\"true\">e%01%2Ff</Name><Properties><Content-Length>0</Content-Length>"
		"<Etag>\"0x2\"</Etag></Properties></Blob>",
		"");
	const struct step steps[] = { { REPLY, first }, { REPLY, empty }, { REPLY, last } };
	struct fixture f;
	struct listed l = { 0 };
	begin_with(&f, steps, 3, 8000, 0);
	assert_int_equal(
		adafs_blob_list(f.blob, "c", "p q/", "/", ADAFS_LIST_META, on_listed, &l, NULL), 0);
	assert_string_equal(l.text, "a & b=5,0x1,n1;d/;e\001/f=0,0x2,-;");
	assert_non_null(strstr(f.server.seen[0].head,
			       "GET /acct/c?restype=container&comp=list&maxresults=5000&"
			       "prefix=p%20q%2F&delimiter=%2F&include=metadata HTTP"));
	assert_non_null(strstr(f.server.seen[1].head, "&marker=m%20%261 "));
	assert_int_equal(f.server.n_seen, 3);
	end(&f);
}

static void test_list_stops(void **state)
{
	(void)state;
	ADAFS_FREE char *only =
		page("<Blob><Name>stop</Name></Blob><Blob><Name>z</Name></Blob>", "m");
	const struct step steps[] = { { REPLY, only } };
	struct fixture f;
	struct listed l = { 0 };
	begin_with(&f, steps, 1, 8000, 0);
	assert_int_equal(adafs_blob_list(f.blob, "c", "", NULL, 0, on_listed, &l, NULL), -EINTR);
	assert_string_equal(l.text, "stop=0,,-;");
	end(&f);
	/* A service that repeats a page would keep us for ever. */
	ADAFS_FREE char *again = page("", "m");
	const struct step repeat[] = { { REPLY, again } };
	begin_with(&f, repeat, 1, 8000, 0);
	assert_int_equal(adafs_blob_list(f.blob, "c", "", NULL, 0, on_listed, &l, NULL), -EPROTO);
	assert_int_equal(adafs_blob_list_some(f.blob, "c", "", NULL, 0, 1, on_listed, &l, NULL),
			 -EPROTO);
	end(&f);
}

static void test_head(void **state)
{
	(void)state;
	BEGIN(f,
	      { REPLY,
		"HTTP/1.1 200 OK\r\nContent-Length: 1234567890123\r\nETag: \"0x9\"\r\n"
		"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nx-ms-blob-type: AppendBlob\r\n"
		"Content-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\nX-Ms-Meta-Nonce: "
		"abc\r\nx-ms-meta-empty:\r\n"
		"x-ms-access-tier: Archive\r\nContent-Type: image/tiff\r\n\r\n" },
	      { REPLY, "HTTP/1.1 404 No\r\nx-ms-error-code: BlobNotFound\r\n\r\n" });
	struct adafs_blob_props p = { 0 };
	struct adafs_err err;
	assert_int_equal(adafs_blob_head(f.blob, "c", "n", NULL, &p, NULL), 0);
	assert_true(p.size == 1234567890123);
	assert_string_equal(p.etag, "0x9");
	assert_int_equal(p.last_modified, 1767225600);
	assert_int_equal(p.type, ADAFS_BLOB_APPEND);
	assert_true(p.has_md5 && p.archived);
	assert_string_equal(p.content_type, "image/tiff");
	assert_string_equal(adafs_blob_meta_get(&p.meta, "nonce"), "abc");
	assert_string_equal(adafs_blob_meta_get(&p.meta, "empty"), "");
	adafs_blob_props_clear(&p);
	assert_int_equal(adafs_blob_head(f.blob, "c", "n", NULL, &p, &err), -ENOENT);
	assert_string_equal(err.service_code, "BlobNotFound");
	end(&f);
}

static void test_copy(void **state)
{
	(void)state;
	BEGIN(f,
	      { REPLY, "HTTP/1.1 202 A\r\nx-ms-copy-status: pending\r\nETag: "
		       "\"1\"\r\nContent-Length: 0\r\n\r\n" },
	      { REPLY, "HTTP/1.1 200 A\r\nx-ms-copy-status: pending\r\nx-ms-copy-progress: "
		       "1/2\r\nETag: \"1\"\r\n\r\n" },
	      { REPLY, "HTTP/1.1 200 A\r\nx-ms-copy-status: success\r\nETag: \"2\"\r\n\r\n" },
	      { REPLY, "HTTP/1.1 202 A\r\nx-ms-copy-status: failed\r\nContent-Length: 0\r\n\r\n" });
	char etag[ADAFS_ETAG_LEN], url[256];
	const struct adafs_blob_cond cond = { .if_none_match = "*" };
	struct adafs_blob_meta meta = { 0 };
	assert_int_equal(adafs_blob_meta_set(&meta, "empty", ""), 0);
	assert_int_equal(adafs_blob_meta_set(&meta, "bad-name", "x"), -EINVAL);
	assert_int_equal(
		adafs_blob_copy(f.blob, "c", "a b", "0x1", "d", "n", &meta, &cond, etag, NULL), 0);
	assert_string_equal(etag, "2");
	snprintf(url, sizeof(url), "%s/acct/c/a%%20b", f.server.url);
	assert_header(&f, 0, "x-ms-copy-source", url);
	assert_header(&f, 0, "x-ms-source-if-match", "\"0x1\"");
	assert_header(&f, 0, "If-None-Match", "*");
	assert_header(&f, 0, "x-ms-meta-empty", "");
	assert_int_equal(
		adafs_blob_copy(f.blob, "c", "a b", NULL, "d", "n", NULL, NULL, NULL, NULL), -EIO);
	adafs_blob_meta_clear(&meta);
	end(&f);
}

static void test_copy_without_a_reply(void **state)
{
	(void)state;
	/* Lost, then refused by its own result: that is found by its nonce. Then by somebody
	 * else's. */
	BEGIN(f, { LOSE, NULL },
	      { REPLY,
		"HTTP/1.1 409 C\r\nx-ms-error-code: BlobAlreadyExists\r\nContent-Length: 0\r\n\r\n" },
	      { REPLY,
		"HTTP/1.1 200 A\r\nx-ms-meta-AdafsCopy: mine\r\nx-ms-copy-status: success\r\n"
		"ETag: \"7\"\r\n\r\n" },
	      { LOSE, NULL },
	      { REPLY,
		"HTTP/1.1 409 C\r\nx-ms-error-code: BlobAlreadyExists\r\nContent-Length: 0\r\n\r\n" },
	      { REPLY, "HTTP/1.1 200 A\r\nx-ms-meta-adafscopy: theirs\r\nETag: \"8\"\r\n\r\n" },
	      { REPLY,
		"HTTP/1.1 409 C\r\nx-ms-error-code: BlobAlreadyExists\r\nContent-Length: 0\r\n\r\n" });
	char etag[ADAFS_ETAG_LEN] = "";
	const struct adafs_blob_cond cond = { .if_none_match = "*" };
	struct adafs_blob_meta meta = { 0 };
	struct adafs_err err;
	assert_int_equal(adafs_blob_meta_set(&meta, ADAFS_META_COPY, "mine"), 0);
	assert_int_equal(
		adafs_blob_copy(f.blob, "c", "a", "0x1", "d", "n", &meta, &cond, etag, NULL), 0);
	assert_string_equal(etag, "7");
	assert_int_equal(
		adafs_blob_copy(f.blob, "c", "a", "0x1", "d", "n", &meta, &cond, etag, &err),
		-EEXIST);
	assert_string_equal(err.service_code, "BlobAlreadyExists");
	assert_true(err.outcome_unknown);
	/* Answered at once: nothing to find out. */
	assert_int_equal(
		adafs_blob_copy(f.blob, "c", "a", "0x1", "d", "n", &meta, &cond, etag, &err),
		-EEXIST);
	assert_false(err.outcome_unknown);
	assert_string_equal(etag, "7");
	assert_int_equal(f.server.n_seen, 7);
	adafs_blob_meta_clear(&meta);
	end(&f);
}

static void test_acl(void **state)
{
	(void)state;
	static const char body[] =
		"<?xml version=\"1.0\" "
		"encoding=\"utf-8\"?><SignedIdentifiers><SignedIdentifier><Id>p1</Id>"
		"<AccessPolicy><Expiry>2030-01-01T00:00:00.0000000Z</Expiry><Permission>rl</"
		"Permission>"
		"</AccessPolicy></SignedIdentifier><SignedIdentifier><Id>p2</Id><AccessPolicy>"
		"</AccessPolicy></SignedIdentifier></SignedIdentifiers>";
	ADAFS_FREE char *reply = adafs_fmt("HTTP/1.1 200 OK\r\nx-ms-blob-public-access: blob\r\n"
					   "Content-Length: %zu\r\n\r\n%s",
					   sizeof(body) - 1, body);
	const struct step steps[] = { { REPLY, reply }, { REPLY, OK_EMPTY } };
	struct fixture f;
	struct adafs_blob_acl acl;
	begin_with(&f, steps, 2, 8000, 0);
	assert_int_equal(adafs_blob_container_get_acl(f.blob, "c", &acl, NULL), 0);
	assert_int_equal(acl.n, 2);
	assert_string_equal(acl.policy[0].id, "p1");
	assert_string_equal(acl.policy[0].permissions, "rl");
	assert_string_equal(acl.policy[1].expiry, "");
	assert_int_equal(adafs_blob_container_set_acl(f.blob, "c", &acl, NULL), 0);
	assert_string_equal(f.server.seen[1].body, body);
	assert_non_null(strstr(f.server.seen[1].head, "x-ms-blob-public-access: blob\r\n"));
	acl.n = 6;
	assert_int_equal(adafs_blob_container_set_acl(f.blob, "c", &acl, NULL), -EINVAL);
	end(&f);
}

static void test_urls(void **state)
{
	(void)state;
	BEGIN(f, { REPLY_CLOSE, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel" },
	      { REPLY, OK_HELLO }, { REPLY, CREATED });
	ADAFS_FREE char *container =
		adafs_fmt("%s/acct/c?restype=container&sv=1&comp=list&sig=a%%2Bb", f.server.url);
	ADAFS_FREE char *url = adafs_blob_url_in_container(container, "x y/z");
	ADAFS_FREE char *want = adafs_fmt("%s/acct/c/x%%20y/z?sv=1&sig=a%%2Bb", f.server.url);
	assert_string_equal(url, want);
	char path[] = "/tmp/adafs-test-http-XXXXXX", data[16] = "";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(adafs_blob_download_url(f.http, url, fd, NULL), 0);
	assert_int_equal(pread(fd, data, sizeof(data), 0), 5);
	assert_string_equal(data, "hello");
	assert_int_equal(adafs_blob_upload_url(f.http, url, fd, 5, NULL), 0);
	assert_string_equal(f.server.seen[2].body, "hello");
	assert_header(&f, 2, "Authorization", NULL);
	close(fd);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sas_reader),
		cmocka_unit_test(test_sas_by_the_clock_of_the_service),
		cmocka_unit_test(test_range_checksum),
		cmocka_unit_test(test_range_ends),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_upload_damaged),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_list_stops),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_copy_without_a_reply),
		cmocka_unit_test(test_acl),
		cmocka_unit_test(test_urls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
