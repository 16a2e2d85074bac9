/* Output files: patterns to blobs, with a log beside the task's own. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "batch/azure/blob.h"
#include "batch/base/buf.h"
#include "batch/base/file.h"
#include "batch/base/log.h"
#include "batch/emulator/batch/node/glob.h"
#include "batch/emulator/batch/node/identity.h"
#include "batch/emulator/batch/node/transfer_internal.h"

struct upload {
	const struct batch_transfer *t;
	const cJSON *container; /* destination of the item at hand */
	const char *pattern;    /* expanded */
	bool wildcard;
	FILE *out, *errors;
	cJSON **ret_failure;
};

static cJSON *failure_of(const struct adafs_err *err, const char *path)
{
	const char *category = "UserError", *code = "FileUploadMiscError";
	const char *message =
		"Encountered a miscellaneous error while uploading one of the output files";
	if (err->http_status == 404) {
		code = "FileUploadContainerNotFound";
		message =
			"One of the specified Azure container(s) was not found while attempting to "
			"upload an output file";
	} else if (err->http_status == 401 || err->http_status == 403) {
		code = "FileUploadAccessDenied";
		message = "Access to one of the specified file upload destinations was denied";
	} else if (err->http_status == 409) {
		code = "FileUploadConflict";
		message = "A conflict was encountered while uploading one of the output files";
	} else if (err->rc == -ETIMEDOUT) {
		category = "ServerError";
		code = "FileUploadTimedOut";
		message = "Timed out while uploading one of the output files";
	} else if (!err->http_status) {
		category = "ServerError";
	}
	return batch_failure_new(category, code, message, "FilePath", path, "Message", err->msg,
				 NULL);
}

/* fileuploaderr.txt holds one JSON object a failure. */
static void log_failure(const struct upload *u, const cJSON *failure, const char *path,
			const char *destination)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "code", adafs_json_str(failure, "code", ""));
	bool user = strcmp(adafs_json_str(failure, "category", ""), "UserError") == 0;
	cJSON_AddBoolToObject(o, "user_error", user);
	cJSON_AddStringToObject(o, "pattern", u->pattern);
	cJSON_AddStringToObject(o, "file", path);
	cJSON_AddStringToObject(o, "destination", destination);
	ADAFS_FREE char *text = adafs_json_print(o);
	if (u->errors && text)
		fprintf(u->errors, "%s\n", text);
	cJSON_Delete(o);
}

static char *blob_name(const struct upload *u, const char *relative)
{
	const char *path = adafs_json_str(u->container, "path", "");
	if (!u->wildcard)
		return strdup(*path ? path : relative);
	if (!*path)
		return strdup(relative);
	return adafs_fmt(path[strlen(path) - 1] == '/' ? "%s%s" : "%s/%s", path, relative);
}

static int put_file(const struct upload *u, const char *path, const char *url,
		    struct adafs_err *err)
{
	const char *refused = identity_refused(u->container);
	if (refused) {
		adafs_err_set(err, -EACCES, "%s", refused);
		err->http_status = 403;
		return err->rc;
	}
	ADAFS_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return adafs_err_set(err, -errno, "%s", strerror(errno));
	return adafs_blob_upload_url(u->t->http, url, fd, st.st_size, err);
}

static int upload_file(void *arg, const char *path, const char *relative)
{
	struct upload *u = arg;
	if (transfer_cancelled(u->t))
		return -ECANCELED;
	ADAFS_FREE char *name = blob_name(u, relative);
	ADAFS_FREE char *url =
		name ? adafs_blob_url_in_container(adafs_json_str(u->container, "containerUrl", ""),
						   name)
		     : NULL;
	if (!url)
		return -ENOMEM;
	ADAFS_FREE char *bare = strndup(url, strcspn(url, "?"));
	struct adafs_err err = { 0 };
	int rc = put_file(u, path, url, &err);
	if (rc < 0 && transfer_cancelled(u->t))
		return -ECANCELED;
	if (rc < 0) {
		cJSON *failure = failure_of(&err, path);
		log_failure(u, failure, path, bare ? bare : "");
		if (*u->ret_failure)
			cJSON_Delete(failure);
		else
			*u->ret_failure = failure;
		return 0; /* the others still go */
	}
	if (u->out)
		fprintf(u->out, "%s -> %s\n", path, bare ? bare : "");
	return 0;
}

static FILE *open_log(const struct batch_transfer *t, const char *name)
{
	ADAFS_FREE char *path = adafs_fmt("%s/%s", t->task_dir, name);
	return path ? fopen(path, "we") : NULL;
}

static bool condition_fits(const cJSON *item, bool success)
{
	const char *when = adafs_json_str(adafs_json_get(item, "uploadOptions"), "uploadCondition",
					  "taskcompletion");
	return strcmp(when, success ? "taskfailure" : "tasksuccess") != 0;
}

static int upload_item(struct upload *u, const cJSON *item)
{
	ADAFS_FREE char *pattern =
		batch_glob_expand(adafs_json_str(item, "filePattern", ""), u->t->envp);
	if (!pattern)
		return -ENOMEM;
	u->pattern = pattern;
	u->wildcard = batch_glob_has_wildcard(pattern);
	u->container = adafs_json_path(item, "destination/container");
	if (!u->out) {
		u->out = open_log(u->t, "fileuploadout.txt");
		u->errors = open_log(u->t, "fileuploaderr.txt");
	}
	int rc = batch_glob_walk(u->t->wd, pattern, upload_file, u);
	/* Logs that a later pattern sends are to be whole. */
	if (u->out)
		fflush(u->out);
	if (u->errors)
		fflush(u->errors);
	return rc;
}

int batch_transfer_upload(const struct batch_transfer *t, const cJSON *output_files, bool success,
			  cJSON **ret_failure)
{
	struct upload u = { .t = t, .ret_failure = ret_failure };
	int rc = 0;
	const cJSON *item;
	cJSON_ArrayForEach(item, output_files)
	{
		if (rc == 0 && condition_fits(item, success))
			rc = upload_item(&u, item);
	}
	fclosep(&u.out);
	fclosep(&u.errors);
	if (rc < 0 && rc != -ECANCELED && !*ret_failure)
		*ret_failure = batch_failure_new("ServerError", "FileUploadMiscError",
						 "The output files could not be read", "Message",
						 strerror(-rc), NULL);
	return *ret_failure && rc == 0 ? -EIO : rc;
}
