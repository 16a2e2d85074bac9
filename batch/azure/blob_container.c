/* Containers and their stored access policies. */
#include "batch/azure/blob_int.h"

#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/xml.h"

int adafs_blob_container_create(struct adafs_blob_client *c, const char *container,
				struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_of(c, container, NULL);
	return adafs_http_perform(
		c->http, blob_container_request(&t, "PUT", "Create Container", NULL), NULL, reterr);
}

int adafs_blob_container_delete(struct adafs_blob_client *c, const char *container,
				struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_of(c, container, NULL);
	struct adafs_err err = { 0 };
	int rc = adafs_http_perform(c->http,
				    blob_container_request(&t, "DELETE", "Delete Container", NULL),
				    NULL, &err);
	if (rc == -ENOENT && err.outcome_unknown) /* an earlier attempt did it */
		return 0;
	return adafs_err_copy(reterr, &err);
}

/* --- List Containers ---------------------------------------------------------------------- */

struct container_page {
	adafs_blob_container_fn *fn;
	void *arg;
	char name[80];
	struct adafs_blob_props props;
	char *marker; /* owned */
	bool seen;    /* the reply is a listing at all, and no page of HTML */
};

static int on_container_element(void *arg, const char *path, const char *text, size_t len)
{
	struct container_page *page = arg;
	static const char root[] = "EnumerationResults/Containers/Container";
	(void)len;
	if (strncmp(path, "EnumerationResults", strlen("EnumerationResults")) == 0)
		page->seen = true;
	if (strcmp(path, "EnumerationResults/NextMarker") == 0) {
		free(page->marker);
		page->marker = strdup(text);
		return page->marker ? 0 : -ENOMEM;
	}
	if (strncmp(path, root, sizeof(root) - 1) != 0)
		return 0;
	path += sizeof(root) - 1;
	if (strcmp(path, "/Name") == 0) {
		snprintf(page->name, sizeof(page->name), "%s", text);
	} else if (strcmp(path, "/Properties/Etag") == 0) {
		blob_etag_copy(page->props.etag, text);
	} else if (strcmp(path, "/Properties/Last-Modified") == 0) {
		time_t t;
		if (adafs_clock_parse_rfc1123(text, &t) == 0)
			page->props.last_modified = t;
	} else if (!*path) {
		int rc = page->fn(page->arg, page->name, &page->props);
		adafs_blob_props_clear(&page->props);
		page->name[0] = 0;
		return rc < 0 ? rc : 0;
	}
	return 0;
}

static int container_list_page(struct adafs_blob_client *c, struct container_page *page,
			       struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf query = ADAFS_BUF_INIT(16 * 1024);
	int rc = blob_query_add(&query, "comp", "list");
	if (rc == 0 && page->marker && *page->marker)
		rc = blob_query_add(&query, "marker", page->marker);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "List Containers: %s", strerror(-rc));
	const struct blob_target t = blob_target_of(c, NULL, NULL);
	struct adafs_http_request *rq = blob_request(&t, "GET", "List Containers", query.data);
	if (rq)
		rq->max_body = BLOB_MAX_PAGE;
	ADAFS_CLEANUP(adafs_http_response_clear) struct adafs_http_response response = { 0 };
	rc = adafs_http_perform(c->http, rq, &response, reterr);
	if (rc < 0)
		return rc;
	free(page->marker);
	page->marker = NULL;
	const struct adafs_xml_handler handler = { .end = on_container_element, .arg = page };
	page->seen = false;
	rc = adafs_xml_parse(response.body.data, response.body.len, &handler, reterr);
	if (rc == 0 && !page->seen)
		rc = adafs_err_set(
			reterr, -EIO,
			"List Containers: the reply is no listing, so not the service's: "
			"look for a proxy or a login page of the network");
	return rc;
}

int adafs_blob_container_list(struct adafs_blob_client *c, adafs_blob_container_fn *fn, void *arg,
			      struct adafs_err *reterr)
{
	struct container_page page = { .fn = fn, .arg = arg };
	int rc;
	do {
		rc = container_list_page(c, &page, reterr);
	} while (rc == 0 && page.marker && *page.marker);
	free(page.marker);
	adafs_blob_props_clear(&page.props);
	return rc;
}

/* --- Get and Set Container ACL -------------------------------------------------------------- */

static int on_acl_element(void *arg, const char *path, const char *text, size_t len)
{
	struct adafs_blob_acl *acl = arg;
	static const char root[] = "SignedIdentifiers/SignedIdentifier";
	if (strncmp(path, root, sizeof(root) - 1) != 0)
		return 0;
	path += sizeof(root) - 1;
	if (acl->n == ADAFS_BLOB_MAX_POLICIES)
		return -EPROTO;
	struct adafs_blob_policy *p = &acl->policy[acl->n];
	const struct {
		const char *path;
		char *out;
		size_t size;
	} fields[] = {
		{ "/Id", p->id, sizeof(p->id) },
		{ "/AccessPolicy/Start", p->start, sizeof(p->start) },
		{ "/AccessPolicy/Expiry", p->expiry, sizeof(p->expiry) },
		{ "/AccessPolicy/Permission", p->permissions, sizeof(p->permissions) },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(fields); i++) {
		if (strcmp(path, fields[i].path) != 0)
			continue;
		if (len >= fields[i].size)
			return -EPROTO;
		memcpy(fields[i].out, text, len + 1);
	}
	acl->n += !*path;
	return 0;
}

int adafs_blob_container_get_acl(struct adafs_blob_client *c, const char *container,
				 struct adafs_blob_acl *ret, struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_of(c, container, NULL);
	ADAFS_CLEANUP(adafs_http_response_clear) struct adafs_http_response response = { 0 };
	int rc = adafs_http_perform(
		c->http, blob_container_request(&t, "GET", "Get Container ACL", "comp=acl"),
		&response, reterr);
	if (rc < 0)
		return rc;
	struct adafs_blob_acl acl = { 0 };
	const char *access = adafs_http_headers_get(&response.headers, "x-ms-blob-public-access");
	snprintf(acl.public_access, sizeof(acl.public_access), "%s", access ? access : "");
	const struct adafs_xml_handler handler = { .end = on_acl_element, .arg = &acl };
	const char *body = adafs_buf_str(&response.body);
	size_t bom = strncmp(body, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	if (response.body.len > bom) /* an empty body is an empty list */
		rc = adafs_xml_parse(body + bom, response.body.len - bom, &handler, reterr);
	if (rc < 0)
		return rc;
	*ret = acl;
	return 0;
}

static int acl_write(struct adafs_buf *b, const struct adafs_blob_acl *acl)
{
	int rc = adafs_buf_adds(b, "<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers>");
	for (size_t i = 0; i < acl->n && rc == 0; i++) {
		const struct adafs_blob_policy *p = &acl->policy[i];
		const char *const fields[][2] = { { "Start", p->start },
						  { "Expiry", p->expiry },
						  { "Permission", p->permissions } };
		rc = adafs_buf_adds(b, "<SignedIdentifier>");
		if (rc == 0)
			rc = adafs_xml_element(b, "Id", p->id);
		if (rc == 0)
			rc = adafs_buf_adds(b, "<AccessPolicy>");
		for (size_t f = 0; f < ADAFS_ARRAY_SIZE(fields) && rc == 0; f++)
			if (*fields[f][1])
				rc = adafs_xml_element(b, fields[f][0], fields[f][1]);
		if (rc == 0)
			rc = adafs_buf_adds(b, "</AccessPolicy></SignedIdentifier>");
	}
	return rc < 0 ? rc : adafs_buf_adds(b, "</SignedIdentifiers>");
}

int adafs_blob_container_set_acl(struct adafs_blob_client *c, const char *container,
				 const struct adafs_blob_acl *acl, struct adafs_err *reterr)
{
	if (acl->n > ADAFS_BLOB_MAX_POLICIES)
		return adafs_err_set(reterr, -EINVAL,
				     "a container has at most %d stored access policies",
				     ADAFS_BLOB_MAX_POLICIES);
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf body = ADAFS_BUF_INIT(16 * 1024);
	const struct blob_target t = blob_target_of(c, container, NULL);
	struct adafs_http_request *rq =
		blob_container_request(&t, "PUT", "Set Container ACL", "comp=acl");
	int rc = acl_write(&body, acl);
	if (rc == 0)
		rc = blob_header(rq, "Content-Type", "application/xml");
	if (rc == 0 && *acl->public_access)
		rc = blob_header(rq, "x-ms-blob-public-access", acl->public_access);
	if (rc < 0)
		return blob_request_drop(rq, rc, reterr);
	rq->body = body.data;
	rq->body_len = body.len;
	return adafs_http_perform(c->http, rq, NULL, reterr);
}
