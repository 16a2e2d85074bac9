/* Containers: create, properties, metadata, access policies, delete. */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"

#define MAX_POLICY_ID 64

/* What a change of a container asks before: conditions, only the dates, and its lease. */
struct change_guard {
	struct blob_call *call;
	struct blob_conditions conditions;
	bool needs_lease; /* a lease that holds must be named */
};

static int change_guard_check(void *arg, const struct container_info *existing)
{
	const struct change_guard *g = arg;
	int rc = conditions_check_write(&g->conditions, true, existing->stamp, false);
	if (rc != 0)
		return rc;
	return g->needs_lease ? lease_check_write(g->call, &existing->lease)
			      : lease_check_read(g->call, &existing->lease);
}

static int change_guard_init(struct change_guard *g, struct blob_call *c)
{
	*g = (struct change_guard){ .call = c };
	struct blob_conditions *ret = &g->conditions;
	int rc = conditions_parse(c, "", ret);
	return rc == 0 ? conditions_dates_only(ret) : rc;
}

static int parse_access(struct blob_call *c, const char **ret)
{
	const char *v = call_header(c, "x-ms-blob-public-access");
	*ret = "";
	if (!v)
		return 0;
	if (strcasecmp(v, "container") == 0 || strcasecmp(v, "true") == 0)
		*ret = "container";
	else if (strcasecmp(v, "blob") == 0)
		*ret = "blob";
	else
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-blob-public-access");
	return 0;
}

int op_create_container(struct blob_call *c, struct http_resp *resp)
{
	const char *access;
	bool any;
	ADAFS_FREE char *metadata = NULL;
	blob_stamp stamp;
	int rc = conditions_refuse(c);
	if (rc == 0)
		rc = parse_access(c, &access);
	if (rc == 0)
		rc = blob_parse_metadata(c, &metadata, &any);
	if (rc == 0)
		rc = store_container_create(c->service->store, c->container, access, metadata,
					    &stamp);
	if (rc != 0)
		return rc;
	resp->status = 201;
	answer_stamp(resp, stamp);
	return 0;
}

int op_container_properties(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(container_info_clear) struct container_info info = { 0 };
	int rc = store_container_get(c->service->store, c->container, false, &info);
	if (rc == 0)
		rc = lease_check_read(c, &info.lease);
	if (rc != 0)
		return rc;
	resp->status = 200;
	answer_stamp(resp, info.stamp);
	if (c->route->comp) { /* Get Container Metadata */
		answer_metadata(resp, info.metadata);
		return 0;
	}
	answer_lease(resp, &info.lease);
	if (*info.access)
		http_resp_header(resp, "x-ms-blob-public-access", info.access);
	http_resp_header(resp, "x-ms-has-immutability-policy", "false");
	http_resp_header(resp, "x-ms-has-legal-hold", "false");
	http_resp_header(resp, "x-ms-default-encryption-scope", "$account-encryption-key");
	http_resp_header(resp, "x-ms-deny-encryption-scope-override", "false");
	answer_metadata(resp, info.metadata);
	return 0;
}

int op_delete_container(struct blob_call *c, struct http_resp *resp)
{
	struct change_guard g;
	int rc = change_guard_init(&g, c);
	g.needs_lease = true;
	if (rc == 0)
		rc = store_container_delete(c->service->store, c->container, change_guard_check,
					    &g);
	if (rc == 0)
		resp->status = 202;
	return rc;
}

int op_set_container_metadata(struct blob_call *c, struct http_resp *resp)
{
	struct change_guard g;
	bool any;
	ADAFS_FREE char *metadata = NULL;
	blob_stamp stamp;
	int rc = change_guard_init(&g, c);
	if (rc == 0 && g.conditions.has_unmodified)
		rc = BE_CONDITIONS_NOT_SUPPORTED;
	if (rc == 0)
		rc = blob_parse_metadata(c, &metadata, &any);
	if (rc == 0)
		rc = store_container_set_metadata(c->service->store, c->container, metadata,
						  change_guard_check, &g, &stamp);
	if (rc != 0)
		return rc;
	resp->status = 200;
	answer_stamp(resp, stamp);
	return 0;
}

/* --- access policies ------------------------------------------------------------------------- */

static int add_policy(struct adafs_buf *b, const struct blob_policy *p)
{
	int rc = adafs_buf_adds(b, "<SignedIdentifier>");
	if (rc == 0)
		rc = adafs_xml_element(b, "Id", p->id);
	if (rc == 0)
		rc = adafs_buf_adds(b, "<AccessPolicy>");
	if (rc == 0 && p->start)
		rc = adafs_xml_element(b, "Start", p->start);
	if (rc == 0 && p->expiry)
		rc = adafs_xml_element(b, "Expiry", p->expiry);
	if (rc == 0 && p->permission)
		rc = adafs_xml_element(b, "Permission", p->permission);
	return rc == 0 ? adafs_buf_adds(b, "</AccessPolicy></SignedIdentifier>") : rc;
}

int op_get_container_acl(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(container_info_clear) struct container_info info = { 0 };
	int rc = store_container_get(c->service->store, c->container, true, &info);
	if (rc == 0)
		rc = lease_check_read(c, &info.lease);
	if (rc != 0)
		return rc;
	answer_stamp(resp, info.stamp);
	if (*info.access)
		http_resp_header(resp, "x-ms-blob-public-access", info.access);
	rc = answer_xml(resp, 200);
	if (rc == 0)
		rc = adafs_buf_adds(&resp->body, "<SignedIdentifiers>");
	for (size_t i = 0; rc == 0 && i < info.n_policies; i++)
		rc = add_policy(&resp->body, &info.policies[i]);
	return rc == 0 ? adafs_buf_adds(&resp->body, "</SignedIdentifiers>") : rc;
}

/* The policies of a request while its XML is read. */
struct acl {
	struct blob_policy v[BLOB_MAX_POLICIES];
	size_t n;
	int error;
};

static int acl_start(void *arg, const char *path, const char **attrs)
{
	struct acl *a = arg;
	(void)attrs;
	if (strcmp(path, "SignedIdentifiers/SignedIdentifier") != 0)
		return strncmp(path, "SignedIdentifiers", 17) == 0 ? 0 : -EINVAL;
	if (a->n == BLOB_MAX_POLICIES)
		return -EINVAL; /* five is all that the service keeps */
	a->n++;
	return 0;
}

static int take_text(char **ret, const char *text, size_t len)
{
	free(*ret);
	*ret = len ? strndup(text, len) : NULL;
	return len && !*ret ? -ENOMEM : 0;
}

static int take_time(struct acl *a, char **ret, const char *text, size_t len)
{
	int64_t us;
	int rc = take_text(ret, text, len);
	if (rc == 0 && *ret && adafs_clock_parse_iso8601(*ret, &us) < 0) {
		a->error = BE_INVALID_XML_NODE_VALUE;
		return -EINVAL;
	}
	return rc;
}

static int acl_end(void *arg, const char *path, const char *text, size_t len)
{
	static const char prefix[] = "SignedIdentifiers/SignedIdentifier/";
	struct acl *a = arg;
	if (strncmp(path, prefix, sizeof(prefix) - 1) != 0 || !a->n)
		return 0;
	struct blob_policy *p = &a->v[a->n - 1];
	path += sizeof(prefix) - 1;
	if (strcmp(path, "Id") == 0)
		return take_text(&p->id, text, len);
	if (strcmp(path, "AccessPolicy/Start") == 0)
		return take_time(a, &p->start, text, len);
	if (strcmp(path, "AccessPolicy/Expiry") == 0)
		return take_time(a, &p->expiry, text, len);
	if (strcmp(path, "AccessPolicy/Permission") == 0)
		return take_text(&p->permission, text, len);
	return 0;
}

static void acl_clear(struct acl *a)
{
	for (size_t i = 0; i < a->n; i++)
		blob_policy_clear(&a->v[i]);
}

static int acl_check(const struct acl *a)
{
	for (size_t i = 0; i < a->n; i++) {
		const struct blob_policy *p = &a->v[i];
		if (!p->id || strlen(p->id) > MAX_POLICY_ID)
			return BE_INVALID_XML_DOCUMENT;
		if (p->permission && p->permission[strspn(p->permission, "racwdxyltfmeopi")])
			return BE_INVALID_XML_NODE_VALUE;
		for (size_t k = 0; k < i; k++)
			if (strcmp(p->id, a->v[k].id) == 0)
				return BE_INVALID_XML_DOCUMENT;
	}
	return 0;
}

static int acl_parse(const struct adafs_buf *body, struct acl *ret)
{
	if (!body->len)
		return 0;
	struct adafs_xml_handler h = { .start = acl_start, .end = acl_end, .arg = ret };
	int rc = adafs_xml_parse(body->data, body->len, &h, NULL);
	if (rc == -EINVAL)
		return ret->error ? ret->error : BE_INVALID_XML_DOCUMENT;
	return rc == 0 ? acl_check(ret) : rc;
}

int op_set_container_acl(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(acl_clear) struct acl acl = { 0 };
	struct change_guard g;
	const char *access;
	blob_stamp stamp;
	int rc = call_check_body(c);
	if (rc == 0)
		rc = change_guard_init(&g, c);
	if (rc == 0)
		rc = parse_access(c, &access);
	if (rc == 0)
		rc = acl_parse(&c->req->body, &acl);
	if (rc == 0)
		rc = policies_before_change(c);
	if (rc == 0)
		rc = store_container_set_acl(c->service->store, c->container, access, acl.v, acl.n,
					     change_guard_check, &g, &stamp);
	if (rc != 0)
		return rc;
	resp->status = 200;
	answer_stamp(resp, stamp);
	return 0;
}
