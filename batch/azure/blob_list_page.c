/*
 * azure/blob_list_page.c - one page of List Blobs. It comes whole, so that it is read in place:
 * texts are decoded where they stand, and a listing of many thousands allocates nothing a blob here
 * but for metadata.
 */
#include "batch/azure/blob_list_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/xml_scan.h"

/* The marker stands behind the blobs. */
#define MARKER_TAIL 16384

void blob_page_clear(struct blob_page *p)
{
	free(p->last_prefix);
	free(p->marker);
	free(p->decoded);
	adafs_blob_props_clear(&p->props);
}

static int set_name(struct blob_page *p, const struct adafs_xml_scan *s)
{
	p->name = s->text;
	if (!s->attrs_len || !adafs_xml_scan_has_attr(s, "Encoded", "true"))
		return 0;
	free(p->decoded);
	p->name = p->decoded = adafs_url_decode(s->text, s->text_len, false);
	if (p->name)
		return 0;
	return errno == EINVAL ? -EPROTO : -ENOMEM;
}

static int set_size(struct adafs_blob_props *props, const char *text)
{
	char *end;
	errno = 0;
	long long size = strtoll(text, &end, 10);
	if (errno || *end || end == text || size < 0)
		return -EPROTO;
	props->size = size;
	return 0;
}

static void set_text(char *out, size_t size, const struct adafs_xml_scan *s)
{
	size_t n = s->text_len < size - 1 ? s->text_len : size - 1;
	memcpy(out, s->text, n);
	out[n] = 0;
}

/* By the length of the name first: most properties are none of ours. */
static int set_property(struct adafs_blob_props *props, const struct adafs_xml_scan *s)
{
	time_t t;
	switch (s->name_len) {
	case sizeof("Etag") - 1:
		if (adafs_xml_scan_is(s, "Etag"))
			blob_etag_copy(props->etag, s->text);
		break;
	case sizeof("BlobType") - 1:
		if (adafs_xml_scan_is(s, "BlobType"))
			props->type = blob_type_parse(s->text);
		break;
	case sizeof("AccessTier") - 1:
		if (adafs_xml_scan_is(s, "AccessTier"))
			props->archived = strcmp(s->text, "Archive") == 0;
		break;
	case sizeof("Content-MD5") - 1:
		if (s->text_len && adafs_xml_scan_is(s, "Content-MD5"))
			blob_props_set_md5(props, s->text);
		break;
	case sizeof("Content-Type") - 1:
		if (adafs_xml_scan_is(s, "Content-Type"))
			set_text(props->content_type, sizeof(props->content_type), s);
		break;
	case sizeof("Last-Modified") - 1: /* and Creation-Time */
		if (adafs_xml_scan_is(s, "Last-Modified") &&
		    adafs_clock_parse_rfc1123(s->text, &t) == 0)
			props->last_modified = t;
		else if (adafs_xml_scan_is(s, "Creation-Time") &&
			 adafs_clock_parse_rfc1123(s->text, &t) == 0)
			props->created = t;
		break;
	case sizeof("Content-Length") - 1:
		if (adafs_xml_scan_is(s, "Content-Length"))
			return set_size(props, s->text);
		break;
	default:
		break;
	}
	return 0;
}

static int add_meta(struct adafs_blob_props *props, const struct adafs_xml_scan *s)
{
	char name[256];
	if (s->name_len >= sizeof(name))
		return 0;
	memcpy(name, s->name, s->name_len);
	name[s->name_len] = 0;
	/* What is malformed is nobody's of ours. */
	return adafs_blob_meta_set(&props->meta, name, s->text) == -ENOMEM ? -ENOMEM : 0;
}

/* The leaves of <Properties> or <Metadata>, whose START was the last token. */
static int read_group(struct adafs_xml_scan *s, struct adafs_blob_props *props,
		      int (*take)(struct adafs_blob_props *props, const struct adafs_xml_scan *s))
{
	for (;;) {
		int rc = adafs_xml_scan_next(s);
		if (rc == ADAFS_XML_ENDED)
			return 0;
		if (rc == ADAFS_XML_LEAF)
			rc = take(props, s);
		else if (rc == ADAFS_XML_START)
			rc = adafs_xml_scan_skip(s);
		if (rc < 0)
			return rc;
	}
}

static int emit(struct blob_page *p, bool is_prefix)
{
	int rc = 0;
	if (!p->name)
		return -EPROTO;
	bool again = is_prefix && p->last_prefix && strcmp(p->last_prefix, p->name) == 0;
	if (!again) {
		p->seen++;
		rc = p->fn(p->arg, p->name, is_prefix ? NULL : &p->props);
	}
	if (is_prefix && !again && rc >= 0) {
		free(p->last_prefix);
		p->last_prefix = strdup(p->name);
		rc = p->last_prefix ? rc : -ENOMEM;
	}
	p->name = NULL;
	adafs_blob_props_clear(&p->props);
	return rc < 0 ? rc : 0;
}

static int read_blob_element(struct blob_page *p, struct adafs_xml_scan *s, int token)
{
	if (token == ADAFS_XML_LEAF) {
		if (adafs_xml_scan_is(s, "Name"))
			return set_name(p, s);
		if (adafs_xml_scan_is(s, "Snapshot"))
			set_text(p->props.snapshot, sizeof(p->props.snapshot), s);
		return 0;
	}
	if (adafs_xml_scan_is(s, "Properties"))
		return read_group(s, &p->props, set_property);
	if (adafs_xml_scan_is(s, "Metadata"))
		return read_group(s, &p->props, add_meta);
	return adafs_xml_scan_skip(s);
}

/* A <Blob> or <BlobPrefix>, whose START was the last token. */
static int read_item(struct blob_page *p, struct adafs_xml_scan *s, bool is_prefix)
{
	p->name = NULL;
	for (;;) {
		int rc = adafs_xml_scan_next(s);
		if (rc == ADAFS_XML_ENDED)
			return emit(p, is_prefix);
		if (rc >= 0)
			rc = read_blob_element(p, s, rc);
		if (rc < 0)
			return rc;
	}
}

static int read_items(struct blob_page *p, struct adafs_xml_scan *s)
{
	for (;;) {
		int rc = adafs_xml_scan_next(s);
		if (rc == ADAFS_XML_ENDED)
			return 0;
		if (rc == ADAFS_XML_START && adafs_xml_scan_is(s, "Blob"))
			rc = read_item(p, s, false);
		else if (rc == ADAFS_XML_START && adafs_xml_scan_is(s, "BlobPrefix"))
			rc = read_item(p, s, true);
		else if (rc == ADAFS_XML_START)
			rc = adafs_xml_scan_skip(s);
		if (rc < 0)
			return rc;
	}
}

static int read_marker(struct blob_page *p, const struct adafs_xml_scan *s)
{
	free(p->marker);
	p->marker = strdup(s->text);
	return p->marker ? 0 : -ENOMEM;
}

int blob_page_read(struct blob_page *p, char *doc, size_t len)
{
	struct adafs_xml_scan s;
	free(p->marker);
	p->marker = NULL;
	adafs_xml_scan_init(&s, doc, len);
	int rc = adafs_xml_scan_next(&s);
	if (rc < 0 || rc == ADAFS_XML_DONE || !adafs_xml_scan_is(&s, "EnumerationResults"))
		return -EPROTO;
	while (rc != ADAFS_XML_DONE) {
		rc = adafs_xml_scan_next(&s);
		if (rc == ADAFS_XML_START && adafs_xml_scan_is(&s, "Blobs"))
			rc = read_items(p, &s);
		else if (rc == ADAFS_XML_START)
			rc = adafs_xml_scan_skip(&s);
		else if (rc == ADAFS_XML_LEAF && adafs_xml_scan_is(&s, "NextMarker"))
			rc = read_marker(p, &s);
		if (rc < 0)
			return rc == -EINVAL ? -EPROTO : rc;
	}
	return 0;
}

char *blob_page_marker(const char *doc, size_t len)
{
	static const char start[] = "<NextMarker";
	const char *tail = doc + (len > MARKER_TAIL ? len - MARKER_TAIL : 0);
	const char *found = memmem(tail, (size_t)(doc + len - tail), start, sizeof(start) - 1);
	if (!found)
		return NULL;
	size_t n = (size_t)(doc + len - found);
	ADAFS_FREE char *copy = strndup(found, n);
	if (!copy)
		return NULL;
	struct adafs_xml_scan s;
	adafs_xml_scan_init(&s, copy, strlen(copy));
	if (adafs_xml_scan_next(&s) != ADAFS_XML_LEAF || !adafs_xml_scan_is(&s, "NextMarker"))
		return NULL;
	return strdup(s.text);
}
