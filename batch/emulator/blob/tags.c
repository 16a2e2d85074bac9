/*
 * Index tags. The store keeps them as the header writes them: "key=value" pairs joined by '&', both
 * percent-encoded, sorted by key.
 */
#include "batch/emulator/blob/blob.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/codec.h"

#define MAX_TAGS 10
#define MAX_KEY 128
#define MAX_VALUE 256
#define MAX_TAGS_TEXT (MAX_TAGS * 3 * (MAX_KEY + MAX_VALUE + 2))

struct tag {
	char *key, *value; /* owned, decoded */
};

struct tags {
	struct tag v[MAX_TAGS];
	size_t n;
	int error; /* while XML is read: what is wrong with it */
};

static void tags_clear(struct tags *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free(t->v[i].key);
		free(t->v[i].value);
	}
	t->n = 0;
}

static bool is_tag_text(const char *text)
{
	for (; *text; text++)
		if (!isascii((unsigned char)*text) ||
		    (!isalnum((unsigned char)*text) && !strchr(" +-./:=_", *text)))
			return false;
	return true;
}

static int tags_check(const struct tags *t)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct tag *v = &t->v[i];
		if (!v->key || !*v->key || strlen(v->key) > MAX_KEY ||
		    (v->value && strlen(v->value) > MAX_VALUE))
			return BE_TAGS_TOO_LARGE;
		if (!is_tag_text(v->key) || (v->value && !is_tag_text(v->value)))
			return BE_INVALID_TAG;
		for (size_t k = 0; k < i; k++)
			if (strcmp(v->key, t->v[k].key) == 0)
				return BE_INVALID_TAG;
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct tag *)a)->key, ((const struct tag *)b)->key);
}

/* *ret NULL: no tags. */
static int tags_store_text(struct tags *t, char **ret)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_TAGS_TEXT);
	int rc = tags_check(t);
	if (rc == 0 && t->n)
		qsort(t->v, t->n, sizeof(*t->v), compare);
	for (size_t i = 0; rc == 0 && i < t->n; i++) {
		const char *value = t->v[i].value ? t->v[i].value : "";
		ADAFS_FREE char *k = adafs_url_encode(t->v[i].key, strlen(t->v[i].key), "");
		ADAFS_FREE char *v = adafs_url_encode(value, strlen(value), "");
		rc = k && v ? adafs_buf_addf(&b, "%s%s=%s", i ? "&" : "", k, v) : -ENOMEM;
	}
	if (rc != 0)
		return rc;
	*ret = t->n ? adafs_buf_steal(&b, NULL) : NULL;
	return t->n && !*ret ? -ENOMEM : 0;
}

/* Split text of the header or of the store. BE_INVALID_TAG, BE_TAGS_TOO_LARGE. */
static int tags_split(const char *text, struct tags *t)
{
	while (text && *text) {
		size_t len = strcspn(text, "&"), key = strcspn(text, "=&");
		if (t->n == MAX_TAGS)
			return BE_TAGS_TOO_LARGE;
		if (key >= len)
			return BE_INVALID_TAG;
		struct tag *v = &t->v[t->n++];
		v->key = adafs_url_decode(text, key, false);
		v->value = adafs_url_decode(text + key + 1, len - key - 1, false);
		if (!v->key || !v->value)
			return BE_INVALID_TAG;
		text += len + (text[len] == '&');
	}
	return 0;
}

int tags_parse_header(struct blob_call *c, char **ret_tags)
{
	ADAFS_CLEANUP(tags_clear) struct tags t = { 0 };
	*ret_tags = NULL;
	const char *v = call_header(c, "x-ms-tags");
	int rc = v ? tags_split(v, &t) : 0;
	return rc == 0 ? tags_store_text(&t, ret_tags) : rc;
}

int tags_check_permission(struct blob_call *c)
{
	static const struct blob_route tags = { .operation = "Tags",
						.level = LEVEL_BLOB,
						.permissions = "t" };
	const char *include = c->level == LEVEL_CONTAINER ? call_param(c, "include") : NULL;
	bool touches = call_header(c, "x-ms-tags") || call_header(c, "x-ms-if-tags") ||
		       (include && strstr(include, "tags"));
	if (!touches || (c->auth != AUTH_ACCOUNT_SAS && c->auth != AUTH_SERVICE_SAS))
		return 0;
	struct sas_request r = { .req = c->req,
				 .container = c->container,
				 .name = c->name,
				 .peer = c->req->peer,
				 .route = &tags };
	enum auth_kind kind;
	bool overwrite;
	return sas_check(c, &r, &kind, &overwrite);
}

unsigned tags_count(const char *tags)
{
	unsigned n = tags && *tags;
	for (; tags && (tags = strchr(tags, '&')); tags++)
		n++;
	return n;
}

int tags_get(const char *tags, const char *key, char **ret_value)
{
	ADAFS_CLEANUP(tags_clear) struct tags t = { 0 };
	*ret_value = NULL;
	int rc = tags_split(tags, &t);
	for (size_t i = 0; rc == 0 && i < t.n; i++)
		if (strcmp(t.v[i].key, key) == 0)
			*ret_value = ADAFS_STEAL(t.v[i].value);
	return rc ? -ENOMEM : 0; /* what is stored was checked */
}

int xml_tags(struct adafs_buf *b, const char *tags)
{
	ADAFS_CLEANUP(tags_clear) struct tags t = { 0 };
	int rc = tags_split(tags, &t) ? -ENOMEM : 0;
	if (rc == 0)
		rc = adafs_buf_adds(b, "<Tags><TagSet>");
	for (size_t i = 0; rc == 0 && i < t.n; i++) {
		rc = adafs_buf_adds(b, "<Tag>");
		if (rc == 0)
			rc = adafs_xml_element(b, "Key", t.v[i].key);
		if (rc == 0)
			rc = adafs_xml_element(b, "Value", t.v[i].value);
		if (rc == 0)
			rc = adafs_buf_adds(b, "</Tag>");
	}
	return rc == 0 ? adafs_buf_adds(b, "</TagSet></Tags>") : rc;
}

/* --- Get and Set Blob Tags ------------------------------------------------------------------- */

int op_get_tags(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	struct blob_conditions k;
	int rc = conditions_parse(c, "", &k);
	if (rc == 0)
		rc = store_blob_get(c->service->store, c->container, c->name, c->snapshot, &b);
	if (rc == 0)
		rc = conditions_check_tags(&k, b.tags);
	if (rc == 0)
		rc = lease_check_read(c, &b.lease);
	if (rc == 0)
		rc = answer_xml(resp, 200);
	return rc == 0 ? xml_tags(&resp->body, b.tags) : rc;
}

static int tags_start(void *arg, const char *path, const char **attrs)
{
	struct tags *t = arg;
	(void)attrs;
	if (strcmp(path, "Tags/TagSet/Tag") != 0)
		return strncmp(path, "Tags", 4) == 0 ? 0 : -EINVAL;
	if (t->n == MAX_TAGS) {
		t->error = BE_TAGS_TOO_LARGE;
		return -EINVAL;
	}
	t->n++;
	return 0;
}

static int tags_end(void *arg, const char *path, const char *text, size_t len)
{
	struct tags *t = arg;
	if (!t->n || strncmp(path, "Tags/TagSet/Tag/", 16) != 0)
		return 0;
	struct tag *v = &t->v[t->n - 1];
	char **to = strcmp(path + 16, "Key") == 0     ? &v->key
		    : strcmp(path + 16, "Value") == 0 ? &v->value
						      : NULL;
	if (!to || *to)
		return -EINVAL;
	*to = strndup(text, len);
	return *to ? 0 : -ENOMEM;
}

static int tags_parse_body(const struct blob_call *c, char **ret_tags)
{
	ADAFS_CLEANUP(tags_clear) struct tags t = { 0 };
	struct adafs_xml_handler h = { .start = tags_start, .end = tags_end, .arg = &t };
	const struct adafs_buf *body = &c->req->body;
	int rc = adafs_xml_parse(adafs_buf_str(body), body->len, &h, NULL);
	if (rc == -EINVAL)
		return t.error ? t.error : BE_INVALID_XML_DOCUMENT;
	return rc == 0 ? tags_store_text(&t, ret_tags) : rc;
}

/* Tags are no change of the blob: of the conditions only that over tags counts, and the lease. */
static int tags_guard(void *arg, const struct blob_info *b)
{
	struct write_guard *g = arg;
	int rc = conditions_check_tags(&g->conditions, b->tags);
	return rc == 0 ? lease_check_write(g->call, &b->lease) : rc;
}

int op_set_tags(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_FREE char *tags = NULL;
	struct write_guard g;
	int rc = call_check_body(c);
	if (rc == 0)
		rc = write_guard_init(&g, c, false);
	if (rc == 0)
		rc = tags_parse_body(c, &tags);
	if (rc == 0)
		rc = store_blob_set_tags(c->service->store, c->container, c->name, c->snapshot,
					 tags, tags_guard, &g);
	if (rc == 0)
		resp->status = 204;
	return rc;
}
