/* What requests say: names, properties, metadata, ranges, digests. */
#include "batch/emulator/blob/blob.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"

#define MAX_NAME_UNITS 1024
#define MAX_NAME_SEGMENTS 254
#define MAX_METADATA (8 * 1024)

const char *call_header(const struct blob_call *c, const char *name)
{
	const char *v = http_req_header(c->req, name);
	return v && *v ? v : NULL;
}

const char *call_param(const struct blob_call *c, const char *name)
{
	const char *v = http_req_param(c->req, name);
	return v && *v ? v : NULL;
}

void call_detail(struct blob_call *c, const char *element, const char *fmt, ...)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf text = ADAFS_BUF_INIT(64 * 1024);
	va_list ap;
	va_start(ap, fmt);
	/* A detail that does not fit is left out: the code is what clients need. */
	if (adafs_buf_vaddf(&text, fmt, ap) == 0)
		(void)adafs_xml_element(&c->detail, element, adafs_buf_str(&text));
	va_end(ap);
}

int call_bad_header(struct blob_call *c, int error, const char *name)
{
	const char *v = http_req_header(c->req, name);
	call_detail(c, "HeaderName", "%s", name);
	if (v)
		call_detail(c, "HeaderValue", "%s", v);
	return error;
}

int call_bad_param(struct blob_call *c, int error, const char *name, const char *reason)
{
	const char *v = http_req_param(c->req, name);
	call_detail(c, "QueryParameterName", "%s", name);
	call_detail(c, "QueryParameterValue", "%s", v ? v : "");
	if (reason)
		call_detail(c, "Reason", "%s", reason);
	return error;
}

/* --- names ----------------------------------------------------------------------------------- */

int blob_check_container_name(const char *name)
{
	static const char *const special[] = { "$root", "$web", "$logs", "$blobchangefeed" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(special); i++)
		if (strcmp(name, special[i]) == 0)
			return 0;
	size_t len = strlen(name);
	for (size_t i = 0; i < len; i++) {
		bool alnum =
			(name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9');
		if (!alnum && (name[i] != '-' || i == 0 || i == len - 1 || name[i + 1] == '-'))
			return BE_INVALID_RESOURCE_NAME;
	}
	return len < 3 || len > 63 ? BE_OUT_OF_RANGE_INPUT : 0;
}

int blob_check_name(const char *name)
{
	size_t len = strlen(name), segments = 1;
	if (!adafs_utf8_valid(name, len))
		return BE_INVALID_URI;
	for (const char *p = name; (p = strchr(p, '/')); p++)
		segments++;
	if (adafs_utf16_units(name, len) > MAX_NAME_UNITS || segments > MAX_NAME_SEGMENTS)
		return BE_INVALID_URI;
	return 0;
}

int blob_split_path(const char *decoded, char **ret_container, char **ret_name)
{
	size_t len = strcspn(decoded, "/");
	char *container = strndup(decoded, len);
	char *name = decoded[len] && decoded[len + 1] ? strdup(decoded + len + 1) : NULL;
	if (!container || (decoded[len] && decoded[len + 1] && !name)) {
		free(container);
		free(name);
		return -ENOMEM;
	}
	for (char *p = name; p && *p; p++)
		if (*p == '\\')
			*p = '/'; /* as the service does */
	*ret_container = container;
	*ret_name = name;
	return 0;
}

/* The path behind the account: of the Host ("account.blob...") or the first segment. */
static int strip_account(struct blob_call *c, const char *decoded, const char **ret_rest)
{
	static const char secondary[] = "-secondary";
	const char *account = c->service->account;
	size_t n = strlen(account);
	const char *host = http_req_header(c->req, "Host");
	if (host && strncasecmp(host, account, n) == 0 && host[n] == '.') {
		*ret_rest = decoded + (*decoded == '/');
		return 0;
	}
	if (*decoded != '/' || strncmp(decoded + 1, account, n) != 0)
		return BE_ACCOUNT_NOT_FOUND;
	const char *rest = decoded + 1 + n;
	c->secondary = strncmp(rest, secondary, sizeof(secondary) - 1) == 0;
	if (c->secondary)
		rest += sizeof(secondary) - 1;
	if (*rest && *rest != '/')
		return BE_ACCOUNT_NOT_FOUND;
	*ret_rest = rest + (*rest == '/');
	return 0;
}

int call_parse_target(struct blob_call *c)
{
	errno = 0;
	ADAFS_FREE char *decoded = adafs_url_decode(c->req->path, strlen(c->req->path), false);
	const char *rest;
	if (!decoded)
		return errno == EINVAL ? BE_INVALID_URI : -ENOMEM;
	int rc = strip_account(c, decoded, &rest);
	if (rc != 0)
		return rc;
	c->level = LEVEL_ACCOUNT;
	if (!*rest)
		return 0;
	rc = blob_split_path(rest, &c->container, &c->name);
	if (rc < 0)
		return rc;
	const char *restype = call_param(c, "restype");
	bool in_root = !c->name && !restype && strchr(rest, '/') == NULL;
	if (in_root) { /* "/b" is blob b of the container $root */
		c->name = ADAFS_STEAL(c->container);
		c->container = strdup("$root");
		if (!c->container)
			return -ENOMEM;
	}
	c->level = c->name ? LEVEL_BLOB : LEVEL_CONTAINER;
	rc = blob_check_container_name(c->container);
	if (rc == 0 && c->name)
		rc = blob_check_name(c->name);
	const char *snapshot = call_param(c, "snapshot");
	if (rc == 0 && snapshot && c->name && blob_parse_snapshot(snapshot, &c->snapshot) != 0)
		rc = call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, "snapshot", NULL);
	return rc;
}

int blob_parse_snapshot(const char *text, blob_stamp *ret)
{
	return adafs_clock_parse_iso8601(text, ret) < 0 ? BE_INVALID_QUERY_PARAMETER_VALUE : 0;
}

/* --- metadata and properties ----------------------------------------------------------------- */

static bool is_identifier(const char *text)
{
	if (!isalpha((unsigned char)*text) && *text != '_')
		return false;
	for (; *text; text++)
		if ((unsigned char)*text >= 0x80 ||
		    (!isalnum((unsigned char)*text) && *text != '_'))
			return false;
	return true;
}

static int add_metadata(const struct http_req *req, size_t at, struct adafs_buf *b, size_t *total)
{
	static const char prefix[] = "x-ms-meta-";
	const char *name = req->headers[at].name + sizeof(prefix) - 1;
	const char *value = req->headers[at].value;
	if (!*name)
		return BE_EMPTY_METADATA_KEY;
	if (!is_identifier(name))
		return BE_INVALID_METADATA;
	for (const char *p = value; *p; p++)
		if ((unsigned char)*p >= 0x7f || ((unsigned char)*p < 0x20 && *p != '\t'))
			return BE_INVALID_METADATA;
	for (size_t i = 0; i < at; i++)
		if (strcasecmp(req->headers[i].name, req->headers[at].name) == 0)
			return BE_INVALID_METADATA;
	*total += strlen(name) + strlen(value);
	if (*total > MAX_METADATA)
		return BE_METADATA_TOO_LARGE;
	return adafs_buf_addf(b, "%s:%s\n", name, value);
}

int blob_parse_metadata(struct blob_call *c, char **ret_metadata, bool *ret_any)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(4 * MAX_METADATA);
	size_t total = 0;
	*ret_any = false;
	for (size_t i = 0; i < c->req->n_headers; i++) {
		if (strncasecmp(c->req->headers[i].name, "x-ms-meta-", 10) != 0)
			continue;
		*ret_any = true;
		int rc = add_metadata(c->req, i, &b, &total);
		if (rc != 0)
			return rc == -EFBIG ? BE_METADATA_TOO_LARGE : rc;
	}
	*ret_metadata = adafs_buf_steal(&b, NULL);
	return *ret_metadata ? 0 : -ENOMEM;
}

static int take_header(const struct blob_call *c, const char *name, char **ret)
{
	const char *v = call_header(c, name);
	*ret = v ? strdup(v) : NULL;
	return v && !*ret ? -ENOMEM : 0;
}

static bool is_md5(const char *text)
{
	ADAFS_FREE uint8_t *data = NULL;
	size_t len = 0;
	return adafs_base64_decode(text, strlen(text), &data, &len) == 0 && len == ADAFS_MD5_LEN;
}

int blob_parse_headers(struct blob_call *c, struct blob_headers *ret)
{
	struct blob_headers h = { 0 };
	const char *md5 = call_header(c, "x-ms-blob-content-md5");
	if (md5 && !is_md5(md5))
		return BE_INVALID_MD5;
	int rc = take_header(c, "x-ms-blob-content-type", &h.content_type);
	if (rc == 0)
		rc = take_header(c, "x-ms-blob-content-encoding", &h.encoding);
	if (rc == 0)
		rc = take_header(c, "x-ms-blob-content-language", &h.language);
	if (rc == 0)
		rc = take_header(c, "x-ms-blob-cache-control", &h.cache_control);
	if (rc == 0)
		rc = take_header(c, "x-ms-blob-content-disposition", &h.disposition);
	if (rc == 0)
		rc = take_header(c, "x-ms-blob-content-md5", &h.md5);
	if (rc < 0) {
		blob_headers_clear(&h);
		return rc;
	}
	*ret = h;
	return 0;
}

int blob_parse_tier(struct blob_call *c, const char **ret)
{
	static const char *const tiers[] = { "Hot", "Cool", "Cold", "Archive" };
	const char *v = call_header(c, "x-ms-access-tier");
	*ret = NULL;
	if (!v)
		return 0;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(tiers); i++)
		if (strcasecmp(v, tiers[i]) == 0)
			*ret = tiers[i];
	return *ret ? 0 : BE_INVALID_BLOB_TIER;
}

/* --- ranges and digests ---------------------------------------------------------------------- */

static bool parse_number(const char **p, uint64_t *ret)
{
	if (!isdigit((unsigned char)**p))
		return false;
	char *end;
	errno = 0;
	*ret = strtoull(*p, &end, 10);
	*p = end;
	return errno == 0;
}

int blob_parse_range(const char *text, uint64_t size, struct blob_range *ret)
{
	uint64_t first, last = UINT64_MAX;
	*ret = (struct blob_range){ .len = size };
	if (!text || strncasecmp(text, "bytes=", 6) != 0)
		return 0;
	text += 6;
	if (!parse_number(&text, &first) || *text++ != '-')
		return 0;
	if (*text && (!parse_number(&text, &last) || *text || last < first))
		return 0; /* what cannot be read as one range is ignored, as the service does */
	if (first >= size)
		return BE_INVALID_RANGE;
	if (last >= size)
		last = size - 1;
	*ret = (struct blob_range){ .given = true, .off = first, .len = last - first + 1 };
	return 0;
}

int call_check_body(struct blob_call *c)
{
	const struct adafs_buf *body = &c->req->body;
	adafs_md5(adafs_buf_str(body), body->len, c->md5_value);
	c->crc64 = adafs_crc64(0, adafs_buf_str(body), body->len);
	return blob_check_digests(c);
}

int blob_check_digests(struct blob_call *c)
{
	const char *md5 = call_header(c, "Content-MD5");
	const char *crc = call_header(c, "x-ms-content-crc64");
	if (c->md5)
		adafs_digest_final(c->md5, c->md5_value);
	if (md5 && crc)
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-content-crc64");
	if (md5) {
		ADAFS_FREE uint8_t *want = NULL;
		size_t len = 0;
		if (adafs_base64_decode(md5, strlen(md5), &want, &len) < 0 || len != ADAFS_MD5_LEN)
			return BE_INVALID_MD5;
		if (memcmp(want, c->md5_value, ADAFS_MD5_LEN) != 0) {
			ADAFS_FREE char *have = adafs_base64_encode(c->md5_value, ADAFS_MD5_LEN);
			call_detail(c, "UserSpecifiedMd5", "%s", md5);
			call_detail(c, "ServerCalculatedMd5", "%s", have ? have : "");
			return BE_MD5_MISMATCH;
		}
	}
	if (crc) {
		char have[16];
		adafs_crc64_text(c->crc64, have);
		if (strcmp(crc, have) != 0) {
			call_detail(c, "UserSpecifiedCrc64", "%s", crc);
			call_detail(c, "ServerCalculatedCrc64", "%s", have);
			return BE_CRC64_MISMATCH;
		}
	}
	return 0;
}
