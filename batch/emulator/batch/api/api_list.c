/* Lists: filtered, selected, cut into pages. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/codec.h"
#include "batch/emulator/batch/api/api.h"

static int list_limit(struct api *a, long *ret)
{
	const char *text = http_req_param(a->req, "maxresults");
	*ret = 1000;
	if (!text)
		return 0;
	char *end;
	errno = 0;
	*ret = strtol(text, &end, 10);
	if (errno || *end || end == text)
		return api_error_query(a, "maxresults", text, "MaxResults is not a number");
	if (*ret < 1)
		return api_error_query(a, "maxresults", text, "MaxResults cannot be less than 1");
	if (*ret > 1000)
		return api_error_query(a, "maxresults", text,
				       "MaxResults cannot be more than 1000");
	return 0;
}

/* The request's URL with another $skiptoken. */
static char *next_link(const struct api *a, const char *key)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(64 * 1024);
	int rc = adafs_buf_addf(&b, "%s%s", a->base, a->req->path);
	char join = '?';
	for (size_t i = 0; rc == 0 && i < a->req->n_params; i++) {
		const struct http_field *p = &a->req->params[i];
		if (strcasecmp(p->name, "$skiptoken") == 0)
			continue;
		ADAFS_FREE char *value = adafs_url_encode(p->value, strlen(p->value), "");
		ADAFS_FREE char *name = adafs_url_encode(p->name, strlen(p->name), "$");
		rc = value && name ? adafs_buf_addf(&b, "%c%s=%s", join, name, value) : -ENOMEM;
		join = '&';
	}
	ADAFS_FREE char *token = adafs_base64_encode(key, strlen(key));
	ADAFS_FREE char *encoded = token ? adafs_url_encode(token, strlen(token), "") : NULL;
	if (rc == 0)
		rc = encoded ? adafs_buf_addf(&b, "%c$skiptoken=%s", join, encoded) : -ENOMEM;
	return rc == 0 ? adafs_buf_steal(&b, NULL) : NULL;
}

static int list_start(struct api *a, const struct api_list *l, struct odata_filter **ret_filter,
		      char **ret_after)
{
	const char *filter = http_req_param(a->req, "$filter");
	if (filter && *filter) {
		struct adafs_err err = { 0 };
		int rc = odata_filter_parse(filter, l->filterable, ret_filter, &err);
		if (rc < 0)
			return api_error_query(a, "$filter", filter, err.msg);
	}
	const char *token = http_req_param(a->req, "$skiptoken");
	size_t len;
	if (!token)
		*ret_after = strdup("");
	else if (adafs_base64_decode(token, strlen(token), (uint8_t **)ret_after, &len) < 0)
		return api_error_query(a, "$skiptoken", token,
				       "The token is not one of this service");
	return *ret_after ? 0 : api_error_internal(a);
}

/* The top-level properties that a list can be filtered by, as a $select; free(). */
static char *filter_select(const struct odata_property *p)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(4096);
	for (; p->name; p++) {
		const char *path = p->path ? p->path : p->name;
		if (adafs_buf_addf(&b, "%.*s,", (int)strcspn(path, "/"), path) < 0)
			return NULL;
	}
	return adafs_buf_steal(&b, NULL);
}

/* Looks at what lists can filter by alone, without the bulk of a task. */
static bool passes(struct api *a, const struct api_list *l, const struct odata_filter *filter,
		   const char *select, void *item)
{
	if (!filter)
		return true;
	ADAFS_JSON *view = l->view(a, item, select);
	return view && odata_filter_match(filter, view);
}

int api_list(struct api *a, const struct api_list *l)
{
	ADAFS_CLEANUP(odata_filter_freep) struct odata_filter *filter = NULL;
	ADAFS_FREE char *after = NULL;
	long limit;
	int rc = list_limit(a, &limit);
	if (rc == 0)
		rc = list_start(a, l, &filter, &after);
	if (rc < 0)
		return rc;
	const char *select = http_req_param(a->req, "$select");
	ADAFS_FREE char *by = filter_select(l->filterable);
	ADAFS_JSON *out = cJSON_CreateObject();
	cJSON *value = cJSON_AddArrayToObject(out, "value");
	void *last = NULL, *item = NULL;
	if (!by)
		return api_error_internal(a);
	while ((item = l->next(l->arg, after, item)) != NULL) {
		if (!passes(a, l, filter, by, item))
			continue;
		if (limit-- == 0) {
			ADAFS_FREE char *link = next_link(a, l->key(last));
			if (!link || !cJSON_AddStringToObject(out, "odata.nextLink", link))
				return api_error_internal(a);
			break;
		}
		if (!cJSON_AddItemToArray(value,
					  l->view(a, item, select && *select ? select : NULL)))
			return api_error_internal(a);
		last = item;
	}
	return api_json(a, l->metadata, ADAFS_STEAL(out));
}

struct entity_cursor {
	struct entity_list *list;
	size_t at;
};

static void *next_entity(void *arg, const char *after, void *previous)
{
	struct entity_cursor *c = arg;
	if (!previous) {
		size_t lo = 0, hi = c->list->n;
		while (lo < hi) {
			size_t mid = (lo + hi) / 2;
			if (strcmp(c->list->item[mid]->key, after) <= 0)
				lo = mid + 1;
			else
				hi = mid;
		}
		c->at = lo;
	}
	return c->at < c->list->n ? c->list->item[c->at++] : NULL;
}

static const char *entity_key(void *item)
{
	return ((struct entity *)item)->key;
}

int api_list_entities(struct api *a, struct entity_list *l, const char *metadata,
		      const struct odata_property *filterable,
		      cJSON *(*view)(struct api *a, void *item, const char *select))
{
	entity_list_sort(l);
	struct entity_cursor c = { .list = l };
	const struct api_list list = { .metadata = metadata,
				       .filterable = filterable,
				       .arg = &c,
				       .next = next_entity,
				       .key = entity_key,
				       .view = view };
	return api_list(a, &list);
}
