/* The files of a task. A path is encoded whole, its slashes too, and signed like that. */
#include "batch/azure/batch_int.h"
#include "batch/azure/waiter.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"

#define MAX_URL (64 * 1024)

static struct adafs_http_request *file_request(struct adafs_batch_client *c, const char *method,
					       const char *operation, const char *job,
					       const char *task, const char *path)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf url = ADAFS_BUF_INIT(MAX_URL);
	ADAFS_FREE char *encoded = adafs_url_encode(path, strlen(path), "");
	if (!encoded || batch_url(&url, c, "/jobs/%s/tasks/%s/files/%s", job, task, encoded) < 0)
		return NULL;
	return batch_request(c, method, operation, url.data);
}

int adafs_batch_file_head(struct adafs_batch_client *c, const char *job, const char *task,
			  const char *path, int64_t *ret_size, time_t *ret_mtime,
			  struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_http_response_clear) struct adafs_http_response response = { 0 };
	struct adafs_err err = { 0 };
	int rc = adafs_http_perform(c->http,
				    file_request(c, "HEAD", "get file properties", job, task, path),
				    &response, &err);
	if (rc < 0) {
		/* A HEAD has no body and Batch no header for the code: this conflict is the only
		 * one here. */
		if (err.http_status == 409)
			err.rc = -EAGAIN;
		return adafs_err_copy(reterr, &err);
	}
	const char *length = adafs_http_headers_get(&response.headers, "Content-Length");
	const char *modified = adafs_http_headers_get(&response.headers, "Last-Modified");
	if (!length || !isdigit((unsigned char)*length))
		return adafs_err_set(reterr, -EPROTO,
				     "get file properties: a reply without a length");
	time_t mtime;
	if (!modified || adafs_clock_parse_rfc1123(modified, &mtime) < 0)
		mtime = 0;
	if (ret_size)
		*ret_size = strtoll(length, NULL, 10);
	if (ret_mtime)
		*ret_mtime = mtime;
	return 0;
}

/* A read under way; freed when `done` was called. */
struct file_get {
	const struct adafs_http_request *rq;
	adafs_batch_file_done *done;
	void *arg;
};

static void on_file(void *arg, struct adafs_http_response *response, const struct adafs_err *err)
{
	struct file_get *g = arg;
	static const struct adafs_err success = { 0 };
	(void)response;
	if (err->rc == 0)
		g->done(g->arg, g->rq->sink_len, &success);
	else if (err->http_status == 416) /* nothing new */
		g->done(g->arg, 0, &success);
	else
		g->done(g->arg, 0, err);
	free(g);
}

static int refuse(void *arg, struct adafs_http_request *rq, struct adafs_err *reterr)
{
	(void)arg;
	return adafs_err_set(reterr, -EINVAL, "%s: not a range", rq->operation);
}

void adafs_batch_file_get_start(struct adafs_batch_client *c, const char *job, const char *task,
				const char *path, int64_t off, size_t len, void *buf,
				adafs_batch_file_done *done, void *arg)
{
	struct file_get *g = calloc(1, sizeof(*g));
	if (!g) {
		struct adafs_err err;
		adafs_err_set(&err, -ENOMEM, "out of memory");
		done(arg, 0, &err);
		return;
	}
	char range[64];
	snprintf(range, sizeof(range), "bytes=%" PRId64 "-%" PRId64, off, off + (int64_t)len - 1);
	struct adafs_http_request *rq = file_request(c, "GET", "get file", job, task, path);
	if (rq && adafs_http_headers_set(&rq->headers, "ocp-range", range) < 0) {
		adafs_http_request_free(rq);
		rq = NULL;
	}
	if (rq) {
		rq->sink = buf;
		rq->sink_size = len;
		if (off < 0 || !len)
			rq->sign = refuse;
	}
	*g = (struct file_get){ .rq = rq, .done = done, .arg = arg };
	adafs_http_send(c->http, rq, on_file, g);
}

int adafs_batch_file_get(struct adafs_batch_client *c, const char *job, const char *task,
			 const char *path, int64_t off, size_t len, void *buf, size_t *ret_len,
			 struct adafs_err *reterr)
{
	struct waiter w;
	waiter_init(&w);
	adafs_batch_file_get_start(c, job, task, path, off, len, buf, waiter_got_bytes, &w);
	int rc = waiter_wait(&w, reterr);
	if (rc == 0)
		*ret_len = w.len;
	return rc;
}

/* name starts with `starts_with`, as OData writes it: a quote in a text is doubled. */
static int name_filter(const char *starts_with, struct adafs_buf *b)
{
	int rc = adafs_buf_adds(b, "startswith(name,'");
	for (; *starts_with && rc == 0; starts_with++)
		rc = *starts_with == '\'' ? adafs_buf_adds(b, "''")
					  : adafs_buf_add(b, starts_with, 1);
	return rc < 0 ? rc : adafs_buf_adds(b, "')");
}

int adafs_batch_file_list(struct adafs_batch_client *c, const char *job, const char *task,
			  const char *starts_with, adafs_batch_item_fn *fn, void *arg,
			  struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf url = ADAFS_BUF_INIT(MAX_URL);
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf filter = ADAFS_BUF_INIT(MAX_URL);
	int rc = batch_url(&url, c, "/jobs/%s/tasks/%s/files", job, task);
	if (rc == 0)
		rc = batch_url_param(&url, "recursive", "true");
	if (rc == 0 && starts_with && *starts_with) {
		rc = name_filter(starts_with, &filter);
		if (rc == 0)
			rc = batch_url_param(&url, "$filter", filter.data);
	}
	return rc < 0 ? adafs_err_set(reterr, rc, "list files: %s", strerror(-rc))
		      : batch_list(c, "list files", url.data, fn, arg, reterr);
}
