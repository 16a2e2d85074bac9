/* Metadata and properties of blobs. */
#include "batch/azure/blob_int.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/digest.h"

/* The service takes C# identifiers; anything else is refused here and not after an upload. */
static bool meta_name_ok(const char *name)
{
	if (!isalpha((unsigned char)*name) && *name != '_')
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && *name != '_')
			return false;
	return true;
}

static bool meta_value_ok(const char *value)
{
	for (; *value; value++)
		if (*value < 0x20 || *value > 0x7e)
			return false;
	return true;
}

int adafs_blob_meta_set(struct adafs_blob_meta *m, const char *name, const char *value)
{
	if (!meta_name_ok(name) || !meta_value_ok(value))
		return -EINVAL;
	struct adafs_http_headers h = { m->item, m->n };
	int rc = adafs_http_headers_set(&h, name, value);
	*m = (struct adafs_blob_meta){ h.item, h.n };
	return rc;
}

const char *adafs_blob_meta_get(const struct adafs_blob_meta *m, const char *name)
{
	const struct adafs_http_headers h = { m->item, m->n };
	return adafs_http_headers_get(&h, name);
}

void adafs_blob_meta_clear(struct adafs_blob_meta *m)
{
	struct adafs_http_headers h = { m->item, m->n };
	adafs_http_headers_clear(&h);
	*m = (struct adafs_blob_meta){ 0 };
}

int adafs_blob_meta_copy(struct adafs_blob_meta *dst, const struct adafs_blob_meta *src)
{
	struct adafs_http_headers h = { 0 };
	for (size_t i = 0; i < src->n; i++) {
		int rc = adafs_http_headers_set(&h, src->item[i].name, src->item[i].value);
		if (rc < 0) {
			adafs_http_headers_clear(&h);
			return rc;
		}
	}
	*dst = (struct adafs_blob_meta){ h.item, h.n };
	return 0;
}

void adafs_blob_props_clear(struct adafs_blob_props *p)
{
	adafs_blob_meta_clear(&p->meta);
	*p = (struct adafs_blob_props){ 0 };
}

enum adafs_blob_type blob_type_parse(const char *text)
{
	if (text && strcmp(text, "AppendBlob") == 0)
		return ADAFS_BLOB_APPEND;
	return text && strcmp(text, "PageBlob") == 0 ? ADAFS_BLOB_PAGE : ADAFS_BLOB_BLOCK;
}

void blob_props_set_md5(struct adafs_blob_props *p, const char *base64)
{
	ADAFS_FREE uint8_t *md5 = NULL;
	size_t len;
	if (!base64 || adafs_base64_decode(base64, strlen(base64), &md5, &len) < 0 ||
	    len != ADAFS_MD5_LEN)
		return;
	memcpy(p->md5, md5, ADAFS_MD5_LEN);
	p->has_md5 = true;
}

bool blob_md5_fits(const struct adafs_http_headers *h, const void *data, size_t len)
{
	struct adafs_blob_props claimed = { 0 };
	blob_props_set_md5(&claimed, adafs_http_headers_get(h, "Content-MD5"));
	if (!claimed.has_md5)
		return true;
	uint8_t md5[ADAFS_MD5_LEN];
	adafs_md5(data, len, md5);
	return memcmp(md5, claimed.md5, sizeof(md5)) == 0;
}

static time_t header_time(const struct adafs_http_headers *h, const char *name)
{
	const char *value = adafs_http_headers_get(h, name);
	time_t t;
	return value && adafs_clock_parse_rfc1123(value, &t) == 0 ? t : 0;
}

/* The size of the whole blob: after the slash of Content-Range, else Content-Length. */
static int header_size(const struct adafs_http_headers *h, int64_t *ret_size)
{
	const char *range = adafs_http_headers_get(h, "Content-Range");
	const char *text = range ? strchr(range, '/') : NULL;
	text = text ? text + 1 : adafs_http_headers_get(h, "Content-Length");
	if (!text || !isdigit((unsigned char)*text))
		return -EPROTO;
	char *end;
	errno = 0;
	long long size = strtoll(text, &end, 10);
	if (errno || *end)
		return -EPROTO;
	*ret_size = size;
	return 0;
}

int blob_props_from_headers(const struct adafs_http_headers *h, struct adafs_blob_props *ret)
{
	ADAFS_CLEANUP(adafs_blob_props_clear) struct adafs_blob_props p = { 0 };
	const char *range = adafs_http_headers_get(h, "Content-Range");
	int rc = header_size(h, &p.size);
	if (rc < 0)
		return rc;
	blob_etag_copy(p.etag, adafs_http_headers_get(h, "ETag"));
	p.last_modified = header_time(h, "Last-Modified");
	p.created = header_time(h, "x-ms-creation-time");
	p.type = blob_type_parse(adafs_http_headers_get(h, "x-ms-blob-type"));
	const char *tier = adafs_http_headers_get(h, "x-ms-access-tier");
	p.archived = tier && strcmp(tier, "Archive") == 0;
	/* Of a range, Content-MD5 is the range's. */
	blob_props_set_md5(
		&p, adafs_http_headers_get(h, range ? "x-ms-blob-content-md5" : "Content-MD5"));
	const char *type = adafs_http_headers_get(h, "Content-Type");
	snprintf(p.content_type, sizeof(p.content_type), "%s", type ? type : "");
	for (size_t i = 0; i < h->n; i++) {
		if (strncasecmp(h->item[i].name, "x-ms-meta-", 10) != 0)
			continue;
		rc = adafs_blob_meta_set(&p.meta, h->item[i].name + 10, h->item[i].value);
		if (rc == -ENOMEM) /* what is malformed is nobody's of ours */
			return rc;
	}
	*ret = p;
	p = (struct adafs_blob_props){ 0 };
	return 0;
}
