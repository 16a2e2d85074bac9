/* Resource files: one URL to one file, or every blob under a prefix of a container. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "batch/azure/blob.h"
#include "batch/base/buf.h"
#include "batch/base/file.h"
#include "batch/emulator/batch/node/fetch.h"
#include "batch/emulator/batch/node/identity.h"
#include "batch/emulator/batch/node/transfer_internal.h"

/* One resource file of the task. */
struct stage {
	const struct batch_transfer *t;
	const cJSON *item;
	mode_t mode;
	cJSON **ret_failure;
};

/* The URL without its query: a signature does not belong into a failure's details. */
static char *bare_url(const char *url)
{
	return strndup(url, strcspn(url, "?"));
}

static int disk_failure(const struct stage *st, const char *path, const char *code, int rc)
{
	*st->ret_failure = batch_failure_new(
		"ServerError", rc == -ENOSPC ? "DiskFull" : code,
		rc == -ENOSPC ? "There is not enough disk space on the node"
			      : "A resource file could not be written on the node",
		"FilePath", path, "Message", strerror(-rc), NULL);
	return rc;
}

static int blob_failure(const struct stage *st, const char *url, const char *path,
			const struct adafs_err *err)
{
	const char *category = "UserError", *code, *message;
	if (err->http_status == 404) {
		code = "BlobNotFound";
		message = "One of the specified Azure Blob(s) is not found";
	} else if (err->http_status == 401 || err->http_status == 403 || err->http_status == 409) {
		code = "BlobAccessDenied";
		message = "Access for one of the specified Azure Blob(s) is denied";
	} else if (err->rc == -ETIMEDOUT) {
		category = "ServerError";
		code = "BlobDownloadTimedOut";
		message = "Timed out while downloading one of the specified Azure Blob(s)";
	} else {
		category = "ServerError";
		code = "BlobDownloadMiscError";
		message = "Miscellaneous error encountered while downloading one of the specified "
			  "Azure Blob(s)";
	}
	ADAFS_FREE char *source = bare_url(url);
	*st->ret_failure =
		batch_failure_new(category, code, message, "BlobSource", source ? source : "",
				  "FilePath", path, "Message", err->msg, NULL);
	return err->rc;
}

/*
 * wd/path, with its directories made. Refuses what would leave the working directory. *ret NULL:
 * out of memory. A path that ends with a slash names a directory only.
 */
static int target_path(const struct stage *st, const char *path, char **ret)
{
	*ret = NULL;
	int depth = 0, lowest = 0;
	for (const char *p = path; *p; p += strspn(p, "/")) {
		size_t n = strcspn(p, "/");
		depth += n == 2 && p[0] == '.' && p[1] == '.' ? -1
			 : n == 1 && *p == '.'                ? 0
							      : n > 0;
		lowest = depth < lowest ? depth : lowest;
		p += n;
	}
	if (*path == '/' || lowest < 0)
		return disk_failure(st, path, "ResourceFileCreateFailed", -EPERM);
	ADAFS_FREE char *full = adafs_fmt("%s/%s", st->t->wd, path);
	ADAFS_FREE char *dir = full ? strndup(full, (size_t)(strrchr(full, '/') - full)) : NULL;
	int rc = dir ? adafs_mkdir_p(dir, 0770) : -ENOMEM;
	if (rc < 0)
		return disk_failure(st, path, "ResourceDirectoryCreateFailed", rc);
	*ret = ADAFS_STEAL(full);
	return 0;
}

static int download(const struct stage *st, const char *url, const char *path)
{
	ADAFS_FREE char *full = NULL;
	int rc = target_path(st, path, &full);
	if (rc < 0 || full[strlen(full) - 1] == '/')
		return rc;
	ADAFS_CLOSE int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, st->mode);
	if (fd < 0)
		return disk_failure(st, path, "ResourceFileCreateFailed", -errno);
	bool disk_failed = false;
	struct adafs_err err = { 0 };
	rc = batch_fetch(st->t, url, fd, &disk_failed, &err);
	if (rc < 0 && transfer_cancelled(st->t))
		return -ECANCELED;
	if (rc < 0)
		return disk_failed ? disk_failure(st, path, "ResourceFileWriteFailed", rc)
				   : blob_failure(st, url, path, &err);
	/* The mode is asked for as it is, without this process's umask. */
	return fchmod(fd, st->mode) < 0 ? disk_failure(st, path, "ResourceFileWriteFailed", -errno)
					: 0;
}

/* Each blob keeps its full name below the folder: the prefix is not taken off. */
static int download_listed(void *arg, const char *name, const struct adafs_blob_props *props)
{
	const struct stage *st = arg;
	(void)props;
	if (transfer_cancelled(st->t))
		return -ECANCELED;
	const char *dir = adafs_json_str(st->item, "filePath", "");
	ADAFS_FREE char *url = adafs_blob_url_in_container(
		adafs_json_str(st->item, "storageContainerUrl", ""), name);
	ADAFS_FREE char *path = adafs_fmt(*dir ? "%s/%s" : "%s%s", dir, name);
	if (!url || !path)
		return disk_failure(st, name, "ResourceFileCreateFailed", -ENOMEM);
	return download(st, url, path);
}

static int list_failure(const struct stage *st, const char *url, const struct adafs_err *err)
{
	const char *category = "UserError", *code, *message;
	if (err->http_status == 404) {
		code = "ResourceContainerNotFound";
		message = "One of the specified Azure Blob container(s) is not found";
	} else if (err->http_status == 401 || err->http_status == 403) {
		code = "ResourceContainerAccessDenied";
		message = "Access for one of the specified Azure Blob container(s) is denied";
	} else if (err->rc == -ETIMEDOUT) {
		category = "ServerError";
		code = "ResourceContainerListTimedOut";
		message = "Timed out while listing one of the specified Azure Blob container(s)";
	} else {
		code = "ResourceContainerListMiscError";
		message = "Miscellaneous error encountered while listing one of the specified "
			  "Azure Blob container(s)";
	}
	ADAFS_FREE char *source = bare_url(url);
	*st->ret_failure = batch_failure_new(category, code, message, "StorageContainerUrl",
					     source ? source : "", "Message", err->msg, NULL);
	return err->rc;
}

/* The service tells a listing by a bad identity from one that is merely denied. */
static int identity_failure(const struct stage *st, const char *refused)
{
	const char *url = adafs_json_str(st->item, "httpUrl", NULL);
	struct adafs_err err = { .rc = -EACCES, .http_status = url ? 403 : 400 };
	snprintf(err.msg, sizeof(err.msg), "%s", refused);
	if (url)
		return blob_failure(st, url, adafs_json_str(st->item, "filePath", ""), &err);
	return list_failure(st, adafs_json_str(st->item, "storageContainerUrl", ""), &err);
}

static int stage_item(struct stage *st)
{
	const char *refused = identity_refused(st->item);
	if (refused)
		return identity_failure(st, refused);
	const char *mode = adafs_json_str(st->item, "fileMode", "0770");
	st->mode = (mode_t)strtoul(mode, NULL, 8) & 07777;
	const char *url = adafs_json_str(st->item, "httpUrl", NULL);
	if (url) {
		const char *path = adafs_json_str(st->item, "filePath", "");
		if (!*path || path[strlen(path) - 1] == '/')
			return disk_failure(st, path, "ResourceFileCreateFailed", -EISDIR);
		return download(st, url, path);
	}
	url = adafs_json_str(st->item, "storageContainerUrl", "");
	struct adafs_err err = { 0 };
	int rc = adafs_blob_list_url(st->t->http, url, adafs_json_str(st->item, "blobPrefix", ""),
				     download_listed, st, &err);
	if (rc < 0 && transfer_cancelled(st->t))
		return -ECANCELED;
	/* The failure of a download in the listing has been described already. */
	return rc < 0 && !*st->ret_failure ? list_failure(st, url, &err) : rc;
}

int batch_transfer_stage(const struct batch_transfer *t, const cJSON *resource_files,
			 cJSON **ret_failure)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, resource_files)
	{
		if (transfer_cancelled(t))
			return -ECANCELED;
		struct stage st = { .t = t, .item = item, .ret_failure = ret_failure };
		int rc = stage_item(&st);
		if (rc < 0)
			return rc;
	}
	return 0;
}
