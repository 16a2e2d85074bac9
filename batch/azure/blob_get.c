/* Reading blobs: properties, ranges with checksums, whole texts, downloads by URL. */
#include "batch/azure/blob_int.h"
#include "batch/azure/waiter.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/digest.h"
#include "batch/base/file.h"

static char *snapshot_query(const char *snapshot, struct adafs_buf *b)
{
	return snapshot && *snapshot && blob_query_add(b, "snapshot", snapshot) == 0 ? b->data
										     : NULL;
}

static struct adafs_http_request *read_request(const struct blob_target *t, const char *method,
					       const char *operation, const char *snapshot)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(1024);
	char *query = snapshot_query(snapshot, &b);
	return snapshot && *snapshot && !query ? NULL : blob_request(t, method, operation, query);
}

int adafs_blob_head(struct adafs_blob_client *c, const char *container, const char *name,
		    const char *snapshot, struct adafs_blob_props *ret, struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_of(c, container, name);
	ADAFS_CLEANUP(adafs_http_response_clear) struct adafs_http_response response = { 0 };
	int rc = adafs_http_perform(c->http,
				    read_request(&t, "HEAD", "Get Blob Properties", snapshot),
				    &response, reterr);
	if (rc < 0)
		return rc;
	rc = blob_props_from_headers(&response.headers, ret);
	return rc < 0 ? adafs_err_set(reterr, rc, "Get Blob Properties: a reply without a length")
		      : 0;
}

/* --- ranges ------------------------------------------------------------------------------- */

/* A read under way; freed when `done` was called. */
struct get {
	struct adafs_blob_client *client;
	char *container, *name, *snapshot, *etag;
	int64_t off;
	size_t len; /* 0: the whole blob */
	void *buf;
	size_t size;
	bool repeated;                       /* a damaged reply was asked for again */
	const struct adafs_http_request *rq; /* valid until its completion returns */
	adafs_blob_get_done *done;
	void *arg;
};

static void get_free(struct get *g)
{
	if (!g)
		return;
	free(g->container);
	free(g->name);
	free(g->snapshot);
	free(g->etag);
	free(g);
}

static struct get *get_new(struct adafs_blob_client *c, const char *container, const char *name,
			   const char *snapshot, const char *etag)
{
	struct get *g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->client = c;
	g->container = strdup(container);
	g->name = strdup(name);
	g->snapshot = strdup(snapshot ? snapshot : "");
	g->etag = strdup(etag ? etag : "");
	if (g->container && g->name && g->snapshot && g->etag)
		return g;
	get_free(g);
	return NULL;
}

/* Whether the bytes are what Content-Range says, and that is what was asked for. */
static bool range_fits(const struct get *g, const struct adafs_http_response *r, size_t got)
{
	if (r->status == 200) /* the service did not heed the range; then it must have fitted */
		return g->off == 0;
	const char *text = adafs_http_headers_get(&r->headers, "Content-Range");
	int64_t first, last, total;
	if (!text ||
	    sscanf(text, "bytes %" SCNd64 "-%" SCNd64 "/%" SCNd64, &first, &last, &total) != 3)
		return false;
	return first == g->off && last - first + 1 == (int64_t)got &&
	       (got == g->len || last + 1 == total);
}

static bool checksum_fits(const struct get *g, const struct adafs_http_response *r, size_t got)
{
	if (!g->len)
		return got > BLOB_MAX_CHECKED_RANGE || blob_md5_fits(&r->headers, g->buf, got);
	const char *claimed = adafs_http_headers_get(&r->headers, "x-ms-content-crc64");
	if (!claimed || r->status != 206 || !g->rq->sink_summed)
		return true;
	char crc[16];
	adafs_crc64_text(g->rq->sink_crc64, crc);
	return strcmp(crc, claimed) == 0;
}

static void get_send(struct get *g);

static void get_finish(struct get *g, size_t got, const struct adafs_err *err)
{
	g->done(g->arg, got, err);
	get_free(g);
}

static void get_fail(struct get *g, int rc, const char *why)
{
	struct adafs_err err;
	adafs_err_set(&err, rc, "Get Blob: %s", why);
	get_finish(g, 0, &err);
}

static void on_get(void *arg, struct adafs_http_response *r, const struct adafs_err *err)
{
	struct get *g = arg;
	static const struct adafs_err success = { 0 };
	size_t got = g->rq ? g->rq->sink_len : 0;
	if (err->rc == 0 && !checksum_fits(g, r, got)) {
		if (g->repeated) {
			get_fail(g, -EIO, "the bytes do not fit their checksum, twice");
		} else {
			g->repeated = true;
			get_send(g);
		}
	} else if (err->rc == 0 && g->len && !range_fits(g, r, got)) {
		get_fail(g, -EPROTO, "the reply is another range than asked for");
	} else if (err->rc == 0) {
		get_finish(g, got, &success);
	} else if (err->http_status == 416) {
		get_finish(g, 0, &success); /* at or after the end */
	} else if (err->rc == -EPROTO && !g->len) {
		get_fail(g, -EFBIG, "the blob is larger than the buffer");
	} else {
		get_finish(g, 0, err);
	}
}

static int get_headers(struct get *g, struct adafs_http_request *rq)
{
	int rc = *g->etag ? blob_header_etag(rq, "If-Match", g->etag) : 0;
	if (rc < 0 || !g->len)
		return rc;
	char range[64];
	snprintf(range, sizeof(range), "bytes=%" PRId64 "-%" PRId64, g->off,
		 g->off + (int64_t)g->len - 1);
	rc = blob_header(rq, "x-ms-range", range);
	if (rc < 0 || g->len > BLOB_MAX_CHECKED_RANGE)
		return rc;
	rq->sink_summed = true;
	return blob_header(rq, "x-ms-range-get-content-crc64", "true");
}

static void get_send(struct get *g)
{
	const struct blob_target t = blob_target_of(g->client, g->container, g->name);
	struct adafs_http_request *rq = read_request(&t, "GET", "Get Blob", g->snapshot);
	if (rq && get_headers(g, rq) < 0) {
		adafs_http_request_free(rq);
		rq = NULL;
	}
	if (rq) {
		rq->sink = g->buf;
		rq->sink_size = g->size;
	}
	g->rq = rq;
	adafs_http_send(g->client->http, rq, on_get, g);
}

/* Fails a request on the loop thread, where completions belong. */
static int refuse(void *arg, struct adafs_http_request *rq, struct adafs_err *reterr)
{
	(void)arg;
	return adafs_err_set(reterr, -EINVAL, "%s: not a range", rq->operation);
}

void adafs_blob_get_start(struct adafs_blob_client *c, const char *container, const char *name,
			  const char *snapshot, int64_t off, size_t len, const char *etag,
			  void *buf, adafs_blob_get_done *done, void *arg)
{
	struct get *g = get_new(c, container, name, snapshot, etag);
	if (!g) {
		struct adafs_err err;
		adafs_err_set(&err, -ENOMEM, "out of memory");
		done(arg, 0, &err);
		return;
	}
	g->off = off;
	g->len = len;
	g->buf = buf;
	g->size = len;
	g->done = done;
	g->arg = arg;
	if (len && off >= 0) {
		get_send(g);
		return;
	}
	const struct blob_target t = blob_target_of(c, container, name);
	struct adafs_http_request *rq = blob_request(&t, "GET", "Get Blob", NULL);
	if (rq)
		rq->sign = refuse;
	adafs_http_send(c->http, rq, on_get, g);
}

int adafs_blob_get(struct adafs_blob_client *c, const char *container, const char *name,
		   const char *snapshot, int64_t off, size_t len, const char *etag, void *buf,
		   size_t size, size_t *ret_len, struct adafs_err *reterr)
{
	if (len > size || off < 0 || (!len && off))
		return adafs_err_set(reterr, -EINVAL, "Get Blob: not a range");
	struct get *g = get_new(c, container, name, snapshot, etag);
	if (!g)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	struct waiter w;
	waiter_init(&w);
	g->off = off;
	g->len = len;
	g->buf = size ? buf : g; /* a sink of no bytes is one all the same */
	g->size = len ? len : size;
	g->done = waiter_got_bytes;
	g->arg = &w;
	get_send(g);
	int rc = waiter_wait(&w, reterr);
	if (rc == 0)
		*ret_len = w.len;
	return rc;
}

/* --- whole blobs -------------------------------------------------------------------------- */

static int get_whole(struct adafs_blob_client *c, const char *container, const char *name,
		     size_t max, struct adafs_http_response *ret, struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_of(c, container, name);
	for (int attempt = 0;; attempt++) {
		struct adafs_http_request *rq = blob_request(&t, "GET", "Get Blob", NULL);
		if (rq)
			rq->max_body = max ? max : 1;
		int rc = adafs_http_perform(c->http, rq, ret, reterr);
		if (rc < 0 ||
		    blob_md5_fits(&ret->headers, adafs_buf_str(&ret->body), ret->body.len))
			return rc;
		adafs_http_response_clear(ret);
		if (attempt)
			return adafs_err_set(reterr, -EIO,
					     "Get Blob: the bytes do not fit their MD5, twice");
	}
}

int adafs_blob_get_text(struct adafs_blob_client *c, const char *container, const char *name,
			size_t max, char **ret_text, size_t *ret_len,
			struct adafs_blob_props *ret_props, struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_http_response_clear) struct adafs_http_response response = { 0 };
	int rc = get_whole(c, container, name, max, &response, reterr);
	if (rc < 0)
		return rc;
	ADAFS_CLEANUP(adafs_blob_props_clear) struct adafs_blob_props props = { 0 };
	rc = blob_props_from_headers(&response.headers, &props);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "Get Blob: a reply without a length");
	size_t len;
	char *text = adafs_buf_steal(&response.body, &len);
	if (!text)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	*ret_text = text;
	if (ret_len)
		*ret_len = len;
	if (ret_props) {
		*ret_props = props;
		props = (struct adafs_blob_props){ 0 };
	}
	return 0;
}

struct download {
	int fd;
	off_t at;
};

static int download_write(void *arg, const void *data, size_t len)
{
	struct download *d = arg;
	int rc = adafs_pwrite_all(d->fd, data, len, d->at);
	if (rc == 0)
		d->at += (off_t)len;
	return rc;
}

static int download_rewind(void *arg)
{
	struct download *d = arg;
	d->at = 0;
	return ftruncate(d->fd, 0) < 0 ? -errno : 0;
}

int adafs_blob_download_url(struct adafs_http *http, const char *url_with_sas, int fd,
			    struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_url(http, url_with_sas);
	struct download d = { .fd = fd };
	struct adafs_http_request *rq = blob_request(&t, "GET", "Get Blob", NULL);
	if (rq) {
		rq->write = download_write;
		rq->rewind = download_rewind;
		rq->write_arg = &d;
	}
	return adafs_http_perform(http, rq, NULL, reterr);
}
