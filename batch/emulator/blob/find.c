/* Find Blobs by Tags, in the account or in one container: a scan that keeps what fits. */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/codec.h"

struct find {
	struct blob_call *call;
	struct adafs_buf *b;
	const char *where;
	char *from_container, *from_name; /* owned; where this page starts; NULL: anywhere */
	const char *container;            /* the one being scanned */
	unsigned n, max;
	char *marker; /* owned; the next page's; NULL: this is the last */
};

static void find_clear(struct find *f)
{
	free(f->from_container);
	free(f->from_name);
	free(f->marker);
}

/* Base64 of "container/name", which no container's name can be mistaken in. */
static int parse_marker(struct find *f)
{
	const char *marker = call_param(f->call, "marker");
	ADAFS_FREE uint8_t *text = NULL;
	size_t len;
	if (!marker)
		return 0;
	int rc = adafs_base64_decode(marker, strlen(marker), &text, &len);
	if (rc == 0)
		rc = blob_split_path((char *)text, &f->from_container, &f->from_name);
	return rc == -EINVAL || (rc == 0 && !f->from_name)
		       ? call_bad_param(f->call, BE_INVALID_QUERY_PARAMETER_VALUE, "marker", NULL)
		       : rc;
}

static int stop_before(struct find *f, const char *name)
{
	ADAFS_FREE char *text = adafs_fmt("%s/%s", f->container, name);
	f->marker = text ? adafs_base64_encode(text, strlen(text)) : NULL;
	return f->marker ? 1 : -ENOMEM;
}

static int find_blob(void *arg, const struct blob_info *i, const char *prefix, size_t prefix_len)
{
	struct find *f = arg;
	(void)prefix;
	(void)prefix_len;
	int rc = tag_query_matches(f->where, i->tags, f->container);
	if (rc <= 0 || !i->tags)
		return rc < 0 ? rc : 0;
	if (f->n++ == f->max)
		return stop_before(f, i->name);
	rc = adafs_buf_adds(f->b, "<Blob>");
	if (rc == 0)
		rc = list_add_name(f->b, "Name", i->name, strlen(i->name));
	if (rc == 0)
		rc = adafs_xml_element(f->b, "ContainerName", f->container);
	if (rc == 0)
		rc = xml_tags(f->b, i->tags);
	return rc == 0 ? adafs_buf_adds(f->b, "</Blob>") : rc;
}

static int find_in(struct find *f, const char *container)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf next = ADAFS_BUF_INIT(64 * 1024);
	bool here = f->from_container && strcmp(container, f->from_container) == 0;
	struct blob_listing l = { .container = container,
				  .prefix = "",
				  .delimiter = "",
				  .from = here ? f->from_name : "",
				  .each = find_blob,
				  .arg = f };
	bool more;
	blob_stamp snapshot;
	f->container = container;
	return store_blob_list(f->call->service->store, &l, &more, &next, &snapshot);
}

struct names {
	char **v;
	size_t n;
};

static void names_clear(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->v[i]);
	free(names->v);
}

static int add_name(void *arg, const struct container_info *c)
{
	struct names *names = arg;
	char **grown = reallocarray(names->v, names->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	names->v = grown;
	grown[names->n] = strdup(c->name);
	return grown[names->n++] ? 0 : -ENOMEM;
}

static int find_everywhere(struct find *f)
{
	ADAFS_CLEANUP(names_clear) struct names names = { 0 };
	int rc = store_container_list(f->call->service->store, "",
				      f->from_container ? f->from_container : "", add_name, &names);
	for (size_t i = 0; rc == 0 && !f->marker && i < names.n; i++) {
		rc = find_in(f, names.v[i]);
		if (rc == BE_CONTAINER_NOT_FOUND)
			rc = 0; /* deleted meanwhile */
	}
	return rc;
}

int op_find_by_tags(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(find_clear)
	struct find f = { .call = c, .b = &resp->body, .where = call_param(c, "where") };
	if (!f.where)
		return call_bad_param(c, BE_MISSING_REQUIRED_QUERY_PARAMETER, "where", NULL);
	if (tag_query_matches(f.where, NULL, "") == -EINVAL)
		return call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, "where",
				      "Error parsing the filter expression.");
	int rc = list_parse_max(c, &f.max);
	if (rc == 0)
		rc = parse_marker(&f);
	if (rc == 0)
		rc = list_start_page(c, resp, f.max);
	if (rc == 0)
		rc = adafs_xml_element(f.b, "Where", f.where);
	if (rc == 0)
		rc = adafs_buf_adds(f.b, "<Blobs>");
	if (rc == 0)
		rc = c->container ? find_in(&f, c->container) : find_everywhere(&f);
	if (rc == 0)
		rc = adafs_buf_adds(f.b, "</Blobs>");
	if (rc == 0)
		rc = adafs_xml_element(f.b, "NextMarker", f.marker ? f.marker : "");
	return rc == 0 ? adafs_buf_adds(f.b, "</EnumerationResults>") : rc;
}
