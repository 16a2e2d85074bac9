/* base/json.c - parsing that takes the whole text or nothing, and reading with defaults. */
#include "batch/base/json.h"

#include <errno.h>
#include <string.h>

cJSON *adafs_json_parse(const char *text, size_t len, struct adafs_err *reterr)
{
	const char *end = NULL;
	cJSON *j = cJSON_ParseWithLengthOpts(text, len, &end, 0);
	if (j) {
		while (end < text + len && strchr(" \t\r\n", *end) && *end)
			end++;
		if (end == text + len)
			return j;
		cJSON_Delete(j);
	}
	int line = 1, column = 1;
	for (const char *p = text; p < end && p < text + len; p++) {
		column = *p == '\n' ? 1 : column + 1;
		line += *p == '\n';
	}
	adafs_err_set(reterr, -EINVAL, "line %d, column %d: not valid JSON", line, column);
	return NULL;
}

void adafs_json_freep(cJSON **j)
{
	cJSON_Delete(*j);
}

const cJSON *adafs_json_get(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

const cJSON *adafs_json_path(const cJSON *object, const char *path)
{
	char name[64];
	while (object && *path) {
		size_t len = strcspn(path, "/");
		if (len >= sizeof(name))
			return NULL;
		memcpy(name, path, len);
		name[len] = 0;
		object = adafs_json_get(object, name);
		path += len + (path[len] == '/');
	}
	return object;
}

const char *adafs_json_str(const cJSON *object, const char *name, const char *fallback)
{
	const cJSON *item = adafs_json_get(object, name);
	return cJSON_IsString(item) ? item->valuestring : fallback;
}

int64_t adafs_json_int(const cJSON *object, const char *name, int64_t fallback)
{
	const cJSON *item = adafs_json_get(object, name);
	return cJSON_IsNumber(item) ? (int64_t)item->valuedouble : fallback;
}

bool adafs_json_bool(const cJSON *object, const char *name, bool fallback)
{
	const cJSON *item = adafs_json_get(object, name);
	return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

char *adafs_json_print(const cJSON *value)
{
	return cJSON_PrintUnformatted(value);
}
