/*
 * List Blobs. A page is parsed in the calling thread after it has arrived whole: a page that broke
 * off is asked for again without the callback having seen half of it.
 */
#include "batch/azure/blob_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/xml.h"

#define MAX_QUERY (32 * 1024)
#define BLOB_PATH "EnumerationResults/Blobs/Blob"
#define PREFIX_PATH "EnumerationResults/Blobs/BlobPrefix"

struct listing {
	struct blob_target target;
	const char *prefix, *delimiter;
	unsigned flags;
	unsigned max; /* 0: all pages */
	adafs_blob_list_fn *fn;
	void *arg;
	/* parser */
	bool encoded; /* the Name that is open is percent-encoded */
	char *name;
	struct adafs_blob_props props;
	char *last_prefix; /* the same one may come again on the next page */
	char *marker;
	unsigned seen;
};

static void listing_clear(struct listing *l)
{
	free(l->name);
	free(l->last_prefix);
	free(l->marker);
	adafs_blob_props_clear(&l->props);
}

static int on_start(void *arg, const char *path, const char **attrs)
{
	struct listing *l = arg;
	if (strcmp(path, BLOB_PATH "/Name") != 0 && strcmp(path, PREFIX_PATH "/Name") != 0)
		return 0;
	l->encoded = false;
	for (size_t i = 0; attrs[i]; i += 2)
		if (strcmp(attrs[i], "Encoded") == 0 && strcmp(attrs[i + 1], "true") == 0)
			l->encoded = true;
	return 0;
}

static int set_name(struct listing *l, const char *text, size_t len)
{
	free(l->name);
	l->name = l->encoded ? adafs_url_decode(text, len, false) : strndup(text, len);
	if (l->name)
		return 0;
	return l->encoded && errno == EINVAL ? -EPROTO : -ENOMEM;
}

static int set_size(struct adafs_blob_props *p, const char *text)
{
	char *end;
	errno = 0;
	long long size = strtoll(text, &end, 10);
	if (errno || *end || end == text || size < 0)
		return -EPROTO;
	p->size = size;
	return 0;
}

static int set_property(struct listing *l, const char *name, const char *text)
{
	struct adafs_blob_props *p = &l->props;
	time_t t;
	if (strcmp(name, "Content-Length") == 0)
		return set_size(p, text);
	if (strcmp(name, "Etag") == 0)
		blob_etag_copy(p->etag, text);
	else if (strcmp(name, "Last-Modified") == 0 && adafs_clock_parse_rfc1123(text, &t) == 0)
		p->last_modified = t;
	else if (strcmp(name, "Creation-Time") == 0 && adafs_clock_parse_rfc1123(text, &t) == 0)
		p->created = t;
	else if (strcmp(name, "BlobType") == 0)
		p->type = blob_type_parse(text);
	else if (strcmp(name, "AccessTier") == 0)
		p->archived = strcmp(text, "Archive") == 0;
	else if (strcmp(name, "Content-MD5") == 0)
		blob_props_set_md5(p, text);
	else if (strcmp(name, "Content-Type") == 0)
		snprintf(p->content_type, sizeof(p->content_type), "%s", text);
	return 0;
}

static int emit(struct listing *l, bool is_prefix)
{
	int rc = 0;
	if (!l->name)
		return -EPROTO;
	bool again = is_prefix && l->last_prefix && strcmp(l->last_prefix, l->name) == 0;
	if (!again) {
		rc = l->fn(l->arg, l->name, is_prefix ? NULL : &l->props);
		l->seen++;
	}
	if (is_prefix) {
		free(l->last_prefix);
		l->last_prefix = ADAFS_STEAL(l->name);
	}
	free(l->name);
	l->name = NULL;
	adafs_blob_props_clear(&l->props);
	return rc < 0 ? rc : 0;
}

static int on_blob_element(struct listing *l, const char *path, const char *text, size_t len)
{
	if (strcmp(path, "/Name") == 0)
		return set_name(l, text, len);
	if (strncmp(path, "/Properties/", 12) == 0)
		return set_property(l, path + 12, text);
	if (strcmp(path, "/Snapshot") == 0)
		snprintf(l->props.snapshot, sizeof(l->props.snapshot), "%s", text);
	if (strncmp(path, "/Metadata/", 10) == 0)
		return adafs_blob_meta_set(&l->props.meta, path + 10, text) == -ENOMEM ? -ENOMEM
										       : 0;
	return *path ? 0 : emit(l, false);
}

static int on_end(void *arg, const char *path, const char *text, size_t len)
{
	struct listing *l = arg;
	static const size_t blob = sizeof(BLOB_PATH) - 1, prefix = sizeof(PREFIX_PATH) - 1;
	if (strncmp(path, BLOB_PATH, blob) == 0 && (path[blob] == '/' || !path[blob]))
		return on_blob_element(l, path + blob, text, len);
	if (strcmp(path, PREFIX_PATH "/Name") == 0)
		return set_name(l, text, len);
	if (strncmp(path, PREFIX_PATH, prefix) == 0 && !path[prefix])
		return emit(l, true);
	if (strcmp(path, "EnumerationResults/NextMarker") == 0) {
		l->marker = strdup(text);
		return l->marker ? 0 : -ENOMEM;
	}
	return 0;
}

static int build_query(const struct listing *l, const char *marker, struct adafs_buf *q)
{
	char max[16];
	const char *include = (l->flags & ADAFS_LIST_META) && (l->flags & ADAFS_LIST_SNAPSHOTS)
				      ? "metadata,snapshots"
			      : l->flags & ADAFS_LIST_META	? "metadata"
			      : l->flags & ADAFS_LIST_SNAPSHOTS ? "snapshots"
								: NULL;
	snprintf(max, sizeof(max), "%u", l->max ? l->max : 5000);
	int rc = blob_query_add(q, "comp", "list");
	if (rc == 0)
		rc = blob_query_add(q, "maxresults", max);
	if (rc == 0 && *l->prefix)
		rc = blob_query_add(q, "prefix", l->prefix);
	if (rc == 0 && l->delimiter && *l->delimiter)
		rc = blob_query_add(q, "delimiter", l->delimiter);
	if (rc == 0 && include)
		rc = blob_query_add(q, "include", include);
	if (rc == 0 && marker && *marker)
		rc = blob_query_add(q, "marker", marker);
	return rc;
}

/* One page; *marker is where it starts, and then where the next one does (NULL: no more). */
static int list_page(struct listing *l, char **marker, struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf query = ADAFS_BUF_INIT(MAX_QUERY);
	int rc = build_query(l, *marker, &query);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "List Blobs: %s", strerror(-rc));
	struct adafs_http_request *rq =
		blob_container_request(&l->target, "GET", "List Blobs", query.data);
	if (rq)
		rq->max_body = BLOB_MAX_PAGE;
	ADAFS_CLEANUP(adafs_http_response_clear) struct adafs_http_response response = {0};
	rc = adafs_http_perform(l->target.http, rq, &response, reterr);
	if (rc < 0)
		return rc;
	const struct adafs_xml_handler handler = {.start = on_start, .end = on_end, .arg = l};
	rc = adafs_xml_parse(adafs_buf_str(&response.body), response.body.len, &handler, reterr);
	if (rc < 0)
		return rc;
	bool stuck = l->marker && *l->marker && *marker && strcmp(l->marker, *marker) == 0;
	free(*marker);
	*marker = ADAFS_STEAL(l->marker);
	return stuck ? adafs_err_set(reterr, -EPROTO, "List Blobs: the same page came twice") : 0;
}

static int list_all(struct listing *l, struct adafs_err *reterr)
{
	ADAFS_FREE char *marker = NULL;
	int rc;
	/* Pages may be short, and even empty: only the marker tells the end. */
	do {
		rc = list_page(l, &marker, reterr);
	} while (rc == 0 && marker && *marker && (!l->max || l->seen == 0));
	listing_clear(l);
	return rc;
}

int adafs_blob_list_some(struct adafs_blob_client *c, const char *container, const char *prefix,
			 const char *delimiter, unsigned flags, unsigned max,
			 adafs_blob_list_fn *fn, void *arg, struct adafs_err *reterr)
{
	struct listing l = {.target = blob_target_of(c, container, NULL),
			    .prefix = prefix,
			    .delimiter = delimiter,
			    .flags = flags,
			    .max = max,
			    .fn = fn,
			    .arg = arg};
	return list_all(&l, reterr);
}

int adafs_blob_list(struct adafs_blob_client *c, const char *container, const char *prefix,
		    const char *delimiter, unsigned flags, adafs_blob_list_fn *fn, void *arg,
		    struct adafs_err *reterr)
{
	return adafs_blob_list_some(c, container, prefix, delimiter, flags, 0, fn, arg, reterr);
}

int adafs_blob_list_url(struct adafs_http *http, const char *container_url_with_sas,
			const char *prefix, adafs_blob_list_fn *fn, void *arg,
			struct adafs_err *reterr)
{
	ADAFS_FREE char *url = adafs_blob_url_in_container(container_url_with_sas, NULL);
	if (!url)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	struct listing l = {
		.target = blob_target_url(http, url), .prefix = prefix, .fn = fn, .arg = arg};
	return list_all(&l, reterr);
}
