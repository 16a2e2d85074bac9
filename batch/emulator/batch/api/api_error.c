/* Errors as the Batch service tells them: codes, sentences, and the object around them. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/emulator/batch/api/api.h"

/* What the service says with each of its codes. */
static const char *const texts[][2] = {
	{ "ActiveJobAndScheduleQuotaReached",
	  "Active job and job schedule quota for the account has been reached." },
	{ "ApplicationNotFound", "The specified application does not exist." },
	{ "AuthenticationFailed",
	  "Server failed to authenticate the request. Make sure the value of Authorization header "
	  "is formed correctly including the signature." },
	{ "AutoScalingFormulaSyntaxError",
	  "The specified autoscaling formula has a syntax error." },
	{ "AutoScalingFormulaTooLong", "The specified autoscaling formula is too long." },
	{ "CertificateNotFound", "The specified certificate does not exist." },
	{ "ConditionNotMet",
	  "The condition specified using HTTP conditional header(s) is not met." },
	{ "FileNotFound", "The specified file does not exist." },
	{ "InternalError",
	  "Server encountered an internal error. Please try again after some time." },
	{ "InvalidAutoScalingSettings", "The autoscaling settings of the pool are invalid." },
	{ "InvalidHeaderValue",
	  "The value provided for one of the HTTP headers was not in the correct format." },
	{ "InvalidPropertyValue",
	  "The value provided for one of the properties in the request body is invalid." },
	{ "InvalidQueryParameterValue",
	  "Value for one of the query parameters specified in the request URI is invalid" },
	{ "InvalidRange", "The range specified is invalid for the current size of the resource." },
	{ "InvalidRequestBody", "The specified Request Body is not syntactically valid." },
	{ "InvalidUri", "The requested URI does not represent any resource on the server." },
	{ "JobBeingDeleted",
	  "The specified job has been marked for deletion and is being garbage collected." },
	{ "JobBeingTerminated", "The specified job is being terminated." },
	{ "JobCompleted", "The specified job is already in a completed state." },
	{ "JobExists", "The specified job already exists." },
	{ "JobNotActive", "The specified job is not active." },
	{ "JobNotFound", "The specified job does not exist." },
	{ "JobPreparationTaskNotSpecified",
	  "The specified job does not have a job preparation task." },
	{ "JobPreparationTaskOrReleaseTaskNotSpecified",
	  "The specified job does not have either job preparation task or job release task." },
	{ "JobReleaseTaskNotSpecified", "The specified job does not have a job release task." },
	{ "JobScheduleNotFound", "The specified job schedule does not exist." },
	{ "MissingRequiredHeader", "A required HTTP header was not specified." },
	{ "MissingRequiredProperty", "A required property was not specified in the request body." },
	{ "MissingRequiredQueryParameter", "A required query parameter was not specified." },
	{ "MultipleConditionHeadersNotSupported", "Multiple condition headers are not supported." },
	{ "NodeAlreadyInTargetSchedulingState",
	  "The specified node is already in the target scheduling state." },
	{ "NodeBeingCreated", "The specified node is being created." },
	{ "NodeBeingReimaged", "The specified node is being reimaged." },
	{ "NodeBeingRebooted", "The specified node is being rebooted." },
	{ "NodeBeingStarted", "The specified node is being started." },
	{ "NodeNotFound", "The specified node does not exist." },
	{ "NodeStateUnusable", "The specified node is unusable." },
	{ "NodeUserExists", "The specified node user already exists." },
	{ "NodeUserNotFound", "The specified node user does not exist." },
	{ "OperationInvalidForCurrentState",
	  "The operation is not valid for the current state of the resource." },
	{ "OperationNotValidOnNode", "The operation is not valid on the specified node." },
	{ "OperationTimedOut", "Operation could not be completed within the specified time." },
	{ "OutOfRangePriority", "The priority must be between -1000 and 1000." },
	{ "PoolBeingDeleted",
	  "The specified pool has been marked for deletion and is being reclaimed." },
	{ "PoolBeingResized", "The specified pool is being resized." },
	{ "PoolExists", "The specified pool already exists." },
	{ "PoolNotFound", "The specified pool does not exist." },
	{ "RequestBodyTooLarge",
	  "The size of the request body exceeds the maximum permitted size." },
	{ "ResourceNotFound", "The specified resource does not exist." },
	{ "ServerBusy", "Server is busy. Please try again." },
	{ "TaskCompleted", "The specified task is already in a completed state." },
	{ "TaskDependenciesNotSpecifiedOnJob",
	  "The task has dependencies, but the job does not use task dependencies." },
	{ "TaskDependencyListTooLong", "The list of task dependencies is too long." },
	{ "TaskExists", "The specified task already exists." },
	{ "TaskFilesCleanedup", "The files of the specified task have been cleaned up." },
	{ "TaskFilesUnavailable",
	  "The files of the specified task are unavailable as the node is unavailable." },
	{ "TaskIdSameAsJobPreparationTask",
	  "The task id is the same as that of the job preparation task." },
	{ "TaskIdSameAsJobReleaseTask",
	  "The task id is the same as that of the job release task." },
	{ "TaskNotCompleted", "The specified task is not in a completed state." },
	{ "TaskNotFound", "The specified task does not exist." },
	{ "TaskSucceeded", "The specified task has already succeeded." },
	{ "TooManyEnableAutoScaleRequests",
	  "There are too many enable autoscale requests. Please try again later." },
	{ "TooManyRequests",
	  "Request failed as server encountered too many requests. Please try again." },
	{ "UnsupportedHttpVerb", "The resource doesn't support the specified Http Verb." },
	{ "UnsupportedProperty",
	  "One of the properties specified in the request body is not supported." },
	{ "UnsupportedRequestVersion", "The specified API version is not supported." },
};

const char *api_error_text(const char *code)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i][0], code) == 0)
			return texts[i][1];
	return "The request is invalid.";
}

cJSON *api_error_object(const struct api *a, const char *code, const cJSON *values)
{
	char now[ADAFS_ISO8601_LEN];
	adafs_clock_iso8601(adafs_clock_wall_us(), now);
	ADAFS_FREE char *text =
		adafs_fmt("%s\nRequestId:%s\nTime:%s", api_error_text(code), a->request_id, now);
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "code", code);
	cJSON *message = cJSON_AddObjectToObject(o, "message");
	cJSON_AddStringToObject(message, "lang", "en-US");
	cJSON_AddStringToObject(message, "value", text ? text : "");
	if (values && cJSON_GetArraySize(values))
		cJSON_AddItemToObject(o, "values", cJSON_Duplicate(values, true));
	return o;
}

int api_put_first(cJSON *o, const char *name, const char *value)
{
	cJSON *item = cJSON_CreateString(value);
	char *key = strdup(name);
	if (!item || !key) {
		cJSON_Delete(item);
		free(key);
		return -ENOMEM;
	}
	item->string = key;
	return cJSON_InsertItemInArray(o, 0, item) ? 0 : -ENOMEM;
}

int api_error(struct api *a, int status, const char *code, ...)
{
	ADAFS_JSON *values = cJSON_CreateArray();
	va_list ap;
	va_start(ap, code);
	const char *key;
	while ((key = va_arg(ap, const char *)) != NULL) {
		cJSON *item = cJSON_CreateObject();
		cJSON_AddStringToObject(item, "key", key);
		cJSON_AddStringToObject(item, "value", va_arg(ap, const char *));
		cJSON_AddItemToArray(values, item);
	}
	va_end(ap);
	http_resp_reset(a->resp);
	a->resp->status = status;
	if (strcmp(a->req->method, "HEAD") == 0 || status == 304)
		return -EIO;
	ADAFS_JSON *o = api_error_object(a, code, values);
	ADAFS_FREE char *metadata = adafs_fmt(
		"%s/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element",
		a->base ? a->base : "");
	if (!metadata || api_put_first(o, "odata.metadata", metadata) < 0 ||
	    http_resp_json(a->resp, status, API_CONTENT_TYPE, o) < 0)
		a->resp->status = 500;
	return -EIO;
}

int api_error_spec(struct api *a, const struct batch_spec_error *why)
{
	return api_error(a, 400, why->code, "PropertyName", why->property, "Reason", why->reason,
			 NULL);
}

int api_error_query(struct api *a, const char *name, const char *value, const char *reason)
{
	return api_error(a, 400, "InvalidQueryParameterValue", "QueryParameterName", name,
			 "QueryParameterValue", value, "Reason", reason, NULL);
}

int api_error_internal(struct api *a)
{
	return api_error(a, 500, "InternalError", NULL);
}
