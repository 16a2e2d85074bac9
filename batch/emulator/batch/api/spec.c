/*
 * emulator/batch/api/spec.c - the walk of a body along its table; the tables stand in spec_pools.c,
 * spec_jobs.c and spec_tasks.c. Pure.
 */
#include "batch/emulator/batch/api/spec.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"

#define ID_MAX 64

static int refuse(struct batch_spec_error *why, const char *code, const char *property,
		  const char *fmt, ...) ADAFS_PRINTF(4, 5);

static int refuse(struct batch_spec_error *why, const char *code, const char *property,
		  const char *fmt, ...)
{
	why->code = code;
	snprintf(why->property, sizeof(why->property), "%s", property);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why->reason, sizeof(why->reason), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int wrong_type(struct batch_spec_error *why, const struct batch_spec_field *f,
		      const char *expected)
{
	return refuse(why, "InvalidRequestBody", f->name, "The value must be %s", expected);
}

static bool id_valid(const char *id)
{
	size_t n = strlen(id);
	for (const char *p = id; *p; p++)
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_')
			return false;
	return n >= 1 && n <= ID_MAX;
}

static int check_int(const struct batch_spec_field *f, const cJSON *v, cJSON **ret,
		     struct batch_spec_error *why)
{
	if (!cJSON_IsNumber(v) || v->valuedouble != floor(v->valuedouble) ||
	    fabs(v->valuedouble) > INT32_MAX)
		return wrong_type(why, f, "an integer");
	int64_t n = (int64_t)v->valuedouble;
	if (n < f->min || n > f->max)
		return refuse(why,
			      strcmp(f->name, "priority") == 0 ? "OutOfRangePriority"
							       : "InvalidPropertyValue",
			      f->name, "The value must be between %" PRId64 " and %" PRId64, f->min,
			      f->max);
	*ret = cJSON_CreateNumber((double)n);
	return 0;
}

static int check_duration(const struct batch_spec_field *f, const cJSON *v, cJSON **ret,
			  struct batch_spec_error *why)
{
	int64_t ms;
	if (!cJSON_IsString(v) || adafs_duration_parse(v->valuestring, &ms) < 0)
		return wrong_type(why, f, "an ISO 8601 duration");
	if (ms < f->min)
		return refuse(why, "InvalidPropertyValue", f->name,
			      "The value must be at least %" PRId64 " seconds", f->min / 1000);
	if (f->max && ms > f->max)
		return refuse(why, "InvalidPropertyValue", f->name,
			      "The value must be at most %" PRId64 " seconds", f->max / 1000);
	char text[48];
	adafs_duration_format(ms, text);
	*ret = cJSON_CreateString(text);
	return 0;
}

static int check_time(const struct batch_spec_field *f, const cJSON *v, cJSON **ret,
		      struct batch_spec_error *why)
{
	int64_t us;
	if (!cJSON_IsString(v) || adafs_clock_parse_iso8601(v->valuestring, &us) < 0)
		return wrong_type(why, f, "an ISO 8601 time");
	char text[ADAFS_ISO8601_LEN];
	adafs_clock_iso8601(us, text);
	*ret = cJSON_CreateString(text);
	return 0;
}

/* The table's spelling of a name, or NULL. */
static const char *known_name(const struct batch_spec_field *f, const char *text)
{
	const char *const *name = f->names;
	while (*name && strcasecmp(*name, text) != 0)
		name++;
	return *name;
}

static int check_text(const struct batch_spec_field *f, const cJSON *v, cJSON **ret,
		      struct batch_spec_error *why)
{
	if (!cJSON_IsString(v))
		return wrong_type(why, f, "a text");
	const char *text = v->valuestring;
	if (f->type == SPEC_ID && !id_valid(text))
		return refuse(why, "InvalidPropertyValue", f->name,
			      "An id has 1 to %d letters, digits, hyphens and underscores", ID_MAX);
	if (f->type == SPEC_STRING && f->max && strlen(text) > (size_t)f->max)
		return refuse(why, "InvalidPropertyValue", f->name,
			      "The text must have at most %" PRId64 " characters", f->max);
	if (f->type == SPEC_ENUM) {
		const char *name = known_name(f, text);
		if (!name)
			return refuse(why, "InvalidPropertyValue", f->name,
				      "'%.100s' is not one of the allowed values", text);
		text = name;
	}
	*ret = cJSON_CreateString(text);
	return 0;
}

static int check_item(const struct batch_spec_field *f, const cJSON *v, cJSON **ret,
		      struct batch_spec_error *why)
{
	if (f->type == SPEC_LIST)
		return batch_spec_check(f->fields, v, ret, why);
	if (!cJSON_IsString(v))
		return wrong_type(why, f, "a list of texts");
	const char *text = f->type == SPEC_ENUMS ? known_name(f, v->valuestring) : v->valuestring;
	if (!text)
		return refuse(why, "InvalidPropertyValue", f->name,
			      "'%.100s' is not one of the allowed values", v->valuestring);
	*ret = cJSON_CreateString(text);
	return 0;
}

static int check_list(const struct batch_spec_field *f, const cJSON *v, cJSON **ret,
		      struct batch_spec_error *why)
{
	if (!cJSON_IsArray(v))
		return wrong_type(why, f, "a list");
	if (f->max && cJSON_GetArraySize(v) > f->max)
		return refuse(why, "InvalidPropertyValue", f->name,
			      "The list must have at most %" PRId64 " items", f->max);
	ADAFS_JSON *list = cJSON_CreateArray();
	const cJSON *item;
	cJSON_ArrayForEach(item, v)
	{
		cJSON *copy = NULL;
		int rc = check_item(f, item, &copy, why);
		if (rc < 0)
			return rc;
		if (!cJSON_AddItemToArray(list, copy))
			return -ENOMEM;
	}
	*ret = ADAFS_STEAL(list);
	return 0;
}

static int check_value(const struct batch_spec_field *f, const cJSON *v, cJSON **ret,
		       struct batch_spec_error *why)
{
	switch (f->type) {
	case SPEC_STRING:
	case SPEC_ID:
	case SPEC_ENUM:
		return check_text(f, v, ret, why);
	case SPEC_INT:
		return check_int(f, v, ret, why);
	case SPEC_BOOL:
		if (!cJSON_IsBool(v))
			return wrong_type(why, f, "true or false");
		*ret = cJSON_CreateBool(cJSON_IsTrue(v));
		return 0;
	case SPEC_DURATION:
		return check_duration(f, v, ret, why);
	case SPEC_TIME:
		return check_time(f, v, ret, why);
	case SPEC_OBJECT:
		return batch_spec_check(f->fields, v, ret, why);
	case SPEC_LIST:
	case SPEC_STRINGS:
	case SPEC_ENUMS:
		return check_list(f, v, ret, why);
	case SPEC_ANY:
		*ret = cJSON_Duplicate(v, true);
		return 0;
	case SPEC_IGNORED:
		return 0;
	}
	return 0;
}

static const struct batch_spec_field *field_of(const struct batch_spec_field *fields,
					       const char *name)
{
	for (; fields->name; fields++)
		if (strcmp(fields->name, name) == 0)
			return fields;
	return NULL;
}

static int check_member(const struct batch_spec_field *fields, const cJSON *v, cJSON *out,
			struct batch_spec_error *why)
{
	const struct batch_spec_field *f = field_of(fields, v->string);
	if (strncmp(v->string, "odata.", 6) == 0)
		return 0; /* annotations, which a client puts back with what it got */
	if (!f)
		return refuse(why, "InvalidRequestBody", v->string, "There is no such property");
	if (adafs_json_get(out, f->name))
		return refuse(why, "InvalidRequestBody", v->string, "The property is given twice");
	if (cJSON_IsNull(v)) {
		/* The service takes a null for an absent scalar, but not for an absent object. */
		if (f->type == SPEC_OBJECT)
			return wrong_type(why, f, "an object");
		return 0;
	}
	cJSON *copy = NULL;
	int rc = check_value(f, v, &copy, why);
	if (rc < 0 || f->type == SPEC_IGNORED)
		return rc;
	return copy && cJSON_AddItemToObject(out, f->name, copy) ? 0 : -ENOMEM;
}

int batch_spec_check(const struct batch_spec_field *fields, const cJSON *body, cJSON **ret,
		     struct batch_spec_error *why)
{
	if (!cJSON_IsObject(body))
		return refuse(why, "InvalidRequestBody", body && body->string ? body->string : "",
			      "An object is expected");
	ADAFS_JSON *out = cJSON_CreateObject();
	const cJSON *v;
	cJSON_ArrayForEach(v, body)
	{
		int rc = check_member(fields, v, out, why);
		if (rc < 0)
			return rc;
	}
	for (; fields->name; fields++)
		if (fields->required && !adafs_json_get(out, fields->name))
			return refuse(why, "MissingRequiredProperty", fields->name,
				      "The property is required");
	*ret = ADAFS_STEAL(out);
	return 0;
}

int batch_spec_merge(cJSON *spec, cJSON *change)
{
	while (change->child) {
		cJSON *item = cJSON_DetachItemViaPointer(change, change->child);
		/* cJSON frees the item's own name before it copies the one it is given. */
		ADAFS_FREE char *name = strdup(item->string);
		if (!name) {
			cJSON_Delete(item);
			return -ENOMEM;
		}
		cJSON_DeleteItemFromObjectCaseSensitive(spec, name);
		if (!cJSON_AddItemToObject(spec, name, item))
			return -ENOMEM;
	}
	return 0;
}
