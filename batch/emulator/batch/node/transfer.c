/*
 * emulator/batch/node/transfer.c - what fetching and storing share: the failure as JSON, and
 * whether to give up.
 */
#include "batch/emulator/batch/node/transfer.h"

#include <stdarg.h>

#include "batch/base/clock.h"
#include "batch/emulator/batch/node/transfer_internal.h"

cJSON *batch_failure_new(const char *category, const char *code, const char *message, ...)
{
	cJSON *f = cJSON_CreateObject();
	cJSON_AddStringToObject(f, "category", category);
	cJSON_AddStringToObject(f, "code", code);
	cJSON_AddStringToObject(f, "message", message);
	cJSON *details = cJSON_AddArrayToObject(f, "details");
	va_list ap;
	va_start(ap, message);
	const char *name;
	while ((name = va_arg(ap, const char *)) != NULL) {
		cJSON *item = cJSON_CreateObject();
		cJSON_AddStringToObject(item, "name", name);
		cJSON_AddStringToObject(item, "value", va_arg(ap, const char *));
		cJSON_AddItemToArray(details, item);
	}
	va_end(ap);
	return f;
}

bool transfer_cancelled(const struct batch_transfer *t)
{
	return atomic_load(t->cancelled) || adafs_clock_mono_ms() >= t->deadline_ms;
}
