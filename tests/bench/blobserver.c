/*
 * blobserver - a static Blob service in memory, so that no disk decides what scripts/bench
 * measures.
 *
 * usage: blobserver [--port PORT] [--size BYTES] [--names]
 *   --size   of the blob `big`; 512 MiB unless told
 *   --names  folders n5000/, n20000/ and n100000/ with so many empty blobs
 *
 * One container, `bench`, holds the above; others come and go by name only. It takes every
 * signature, and what adafs, rclone and curl ask of a Blob service: reads with ranges and their
 * CRC64 (summed once and remembered), Put Blob, Put Block, Put Block List, copies within the
 * server, metadata, deletes, conditions on the ETag, listings. Prints its port in one line when it
 * serves. GET /stats tells the requests since the last one by operation, and the bytes that went
 * out in answers to Get Blob, also of those that the client did not wait for. A thread a
 * connection.
 */
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/digest.h"
#include "tests/bench/memstore.h"

#define HEAD_MAX 16384
#define MAX_VECTORS 512
#define PAGE 5000
#define SMALL ((size_t)100 * 1024)
#define CRC_SLOTS 65536
#define LIST_MAX ((size_t)64 * 1024 * 1024)

/*
 * --- what is counted -----------------------------------------------------------------------------
 */
enum operation {
	GET_BLOB,
	HEAD_BLOB,
	PUT_BLOB,
	PUT_BLOCK,
	PUT_LIST,
	COPY,
	SET_META,
	DELETE_BLOB,
	LIST,
	CONTAINER,
	OTHER,
	N_OPERATIONS
};
static const char *const operation_name[N_OPERATIONS] = {
	"GetBlob",  "GetBlobProperties", "PutBlob",    "PutBlock",  "PutBlockList",
	"CopyBlob", "SetBlobMetadata",   "DeleteBlob", "ListBlobs", "Container",
	"Other"
};
static uint64_t counted[N_OPERATIONS], bytes_read;

static struct memstore *store;

struct request {
	int fd;
	char method[8];
	char *path;  /* container/blob, decoded */
	char *query; /* as sent */
	char *head;  /* all headers, each line NUL-terminated, "" at the end */
	size_t length;
};

/*
 * --- requests ------------------------------------------------------------------------------------
 */
static const char *header(const struct request *r, const char *name)
{
	size_t n = strlen(name);
	for (const char *line = r->head; *line; line += strlen(line) + 1)
		if (strncasecmp(line, name, n) == 0 && line[n] == ':')
			return line + n + 1 + strspn(line + n + 1, " ");
	return NULL;
}

/* A parameter of the query, decoded; free() it. NULL: it is not there. */
static char *parameter(const struct request *r, const char *name)
{
	size_t n = strlen(name);
	for (const char *p = r->query; p && *p;) {
		size_t len = strcspn(p, "&");
		if (strncmp(p, name, n) == 0 && p[n] == '=')
			return adafs_url_decode(p + n + 1, len - n - 1, true);
		p += len + (p[len] == '&');
	}
	return NULL;
}

static bool parameter_is(const struct request *r, const char *name, const char *value)
{
	char *have = parameter(r, name);
	bool is = have && strcmp(have, value) == 0;
	free(have);
	return is;
}

static uint64_t version_of(const char *etag)
{
	const char *digits = etag ? strstr(etag, "0x8D") : NULL;
	return digits ? strtoull(digits + 4, NULL, 16) : UINT64_MAX;
}

static struct condition condition_of(const struct request *r)
{
	const char *match = header(r, "If-Match"), *none = header(r, "If-None-Match");
	return (struct condition){ .match = match && *match != '*' ? version_of(match) : 0,
				   .absent = none && *none == '*' };
}

/* Lines "name:value\n" of what x-ms-meta- headers say. */
static char *meta_of(const struct request *r)
{
	struct adafs_buf b = ADAFS_BUF_INIT(HEAD_MAX);
	for (const char *line = r->head; *line; line += strlen(line) + 1) {
		const char *colon = strchr(line, ':');
		if (strncasecmp(line, "x-ms-meta-", 10) == 0 && colon)
			adafs_buf_addf(&b, "%.*s:%s\n", (int)(colon - line - 10), line + 10,
				       colon + 1 + strspn(colon + 1, " "));
	}
	return adafs_buf_steal(&b, NULL);
}

/*
 * --- answers -------------------------------------------------------------------------------------
 */
static __thread uint64_t thread_sent;

static bool send_vectors(int fd, struct iovec *iov, size_t n)
{
	while (n) {
		struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
		ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		thread_sent += (uint64_t)sent;
		for (; n && (size_t)sent >= iov->iov_len; iov++, n--)
			sent -= (ssize_t)iov->iov_len;
		if (n) {
			iov->iov_base = (char *)iov->iov_base + sent;
			iov->iov_len -= (size_t)sent;
		}
	}
	return true;
}

/* One answer; iov[0] is left for the head. extra: further header lines. length: what is told, sent
 * or not. */
static bool answer(const struct request *r, int status, const char *extra, struct iovec *iov,
		   size_t n, size_t length)
{
	char head[HEAD_MAX], date[ADAFS_RFC1123_LEN];
	adafs_clock_rfc1123(time(NULL), date);
	int len = snprintf(head, sizeof(head),
			   "HTTP/1.1 %d X\r\nx-ms-version: 2021-12-02\r\nx-ms-request-id: "
			   "0\r\nDate: %s\r\n%sContent-Length: %zu\r\n\r\n",
			   status, date, extra ? extra : "", length);
	struct iovec one;
	if (!iov)
		iov = &one;
	iov[0] = (struct iovec){ .iov_base = head, .iov_len = (size_t)len };
	return send_vectors(r->fd, iov, n + 1);
}

static bool refuse(const struct request *r, int status, const char *code)
{
	char extra[200], body[400];
	bool head = strcmp(r->method, "HEAD") == 0;
	snprintf(extra, sizeof(extra), "x-ms-error-code: %s\r\nContent-Type: application/xml\r\n",
		 code);
	int n = snprintf(body, sizeof(body),
			 "<?xml version=\"1.0\" "
			 "encoding=\"utf-8\"?><Error><Code>%s</Code><Message>%s</Message></Error>",
			 code, code);
	struct iovec iov[2] = { { 0 }, { .iov_base = body, .iov_len = (size_t)n } };
	return answer(r, status, extra, iov, head ? 0 : 1, (size_t)n);
}

static bool written(const struct request *r, enum outcome outcome, int status, uint64_t version)
{
	char extra[300], date[ADAFS_RFC1123_LEN];
	if (outcome == FAILED_CONDITION)
		return header(r, "If-None-Match") ? refuse(r, 409, "BlobAlreadyExists")
						  : refuse(r, 412, "ConditionNotMet");
	if (outcome == NO_BLOCK)
		return refuse(r, 400, "InvalidBlockList");
	adafs_clock_rfc1123(time(NULL), date);
	snprintf(extra, sizeof(extra),
		 "ETag: \"0x8D%" PRIX64
		 "\"\r\nLast-Modified: %s\r\nx-ms-request-server-encrypted: true\r\n",
		 version, date);
	return answer(r, status, extra, NULL, 0, 0);
}

/*
 * --- reading -------------------------------------------------------------------------------------
 */
/* A service has sums of what it stores: here each is made once. */
static uint64_t crc_of(const struct blob *b, size_t off, size_t len, const struct iovec *iov,
		       size_t n)
{
	static struct slot {
		uint64_t version, crc;
		size_t off, len;
	} slots[CRC_SLOTS];
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct slot *s = &slots[((off >> 12) * UINT64_C(0x9e3779b97f4a7c15) + len + b->version) %
				CRC_SLOTS],
		    have;
	pthread_mutex_lock(&lock);
	have = *s;
	pthread_mutex_unlock(&lock);
	if (have.version == b->version && have.off == off && have.len == len)
		return have.crc;
	have = (struct slot){ .version = b->version, .off = off, .len = len };
	for (size_t i = 0; i < n; i++)
		have.crc = adafs_crc64(have.crc, iov[i].iov_base, iov[i].iov_len);
	pthread_mutex_lock(&lock);
	*s = have;
	pthread_mutex_unlock(&lock);
	return have.crc;
}

static void add_meta(struct adafs_buf *b, const char *meta, bool as_xml)
{
	for (const char *p = meta; *p; p = strchr(p, '\n') + 1) {
		int name = (int)strcspn(p, ":"), value = (int)strcspn(p + name + 1, "\n");
		if (as_xml)
			adafs_buf_addf(b, "<%.*s>%.*s</%.*s>", name, p, value, p + name + 1, name,
				       p);
		else
			adafs_buf_addf(b, "x-ms-meta-%.*s: %.*s\r\n", name, p, value, p + name + 1);
	}
}

static bool read_blob(struct request *r, struct blob *b)
{
	struct iovec iov[MAX_VECTORS];
	const char *range = header(r, "x-ms-range");
	size_t first = 0, last = b->size ? b->size - 1 : 0, n = 0;
	bool head = strcmp(r->method, "HEAD") == 0;
	if (!range)
		range = header(r, "Range");
	if (range && !head) {
		int got = sscanf(range, "bytes=%zu-%zu", &first, &last);
		if (got < 1 || first >= b->size)
			return refuse(r, 416, "InvalidRange");
		if (last >= b->size)
			last = b->size - 1;
	}
	size_t len = b->size ? last - first + 1 : 0;
	char date[ADAFS_RFC1123_LEN];
	struct adafs_buf extra = ADAFS_BUF_INIT(HEAD_MAX / 2);
	adafs_clock_rfc1123(b->modified, date);
	adafs_buf_addf(
		&extra,
		"ETag: \"0x8D%" PRIX64
		"\"\r\nLast-Modified: %s\r\nx-ms-creation-time: %s\r\nAccept-Ranges: bytes\r\n"
		"x-ms-blob-type: BlockBlob\r\nContent-Type: application/octet-stream\r\n",
		b->version, date, date);
	add_meta(&extra, b->meta, false);
	if (!head)
		n = blob_vectors(b, first, len, iov + 1, MAX_VECTORS - 1);
	size_t sent = 0;
	uint64_t before = thread_sent;
	for (size_t i = 1; i <= n; i++)
		sent += iov[i].iov_len;
	if (range && !head)
		adafs_buf_addf(&extra, "Content-Range: bytes %zu-%zu/%zu\r\n", first, last,
			       b->size);
	if (range && !head && header(r, "x-ms-range-get-content-crc64")) {
		char crc[16];
		adafs_crc64_text(crc_of(b, first, len, iov + 1, n), crc);
		adafs_buf_addf(&extra, "x-ms-content-crc64: %s\r\n", crc);
	}
	bool good = answer(r, range && !head ? 206 : 200, adafs_buf_str(&extra), iov, n, len);
	adafs_buf_clear(&extra);
	/* A blob of more pieces than one call takes. */
	while (good && !head && sent < len) {
		n = blob_vectors(b, first + sent, len - sent, iov, MAX_VECTORS);
		for (size_t i = 0; i < n; i++)
			sent += iov[i].iov_len;
		good = send_vectors(r->fd, iov, n);
	}
	__atomic_add_fetch(&bytes_read, thread_sent - before, __ATOMIC_RELAXED);
	return good;
}

static bool do_read(struct request *r, const char *name)
{
	struct blob *b = memstore_get(store, name);
	if (!b)
		return refuse(r, 404, "BlobNotFound");
	const char *match = header(r, "If-Match"), *none = header(r, "If-None-Match");
	bool good;
	if (match && *match != '*' && version_of(match) != b->version)
		good = refuse(r, 412, "ConditionNotMet");
	else if (none && version_of(none) == b->version)
		good = answer(r, 304, NULL, NULL, 0, 0);
	else
		good = read_blob(r, b);
	blob_release(store, b);
	return good;
}

/*
 * --- listing -------------------------------------------------------------------------------------
 */
struct page {
	struct adafs_buf xml;
	bool meta;
	size_t skip; /* names in the store begin with their container */
};

static void add_escaped(struct adafs_buf *b, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const char *as = text[i] == '&'   ? "&amp;"
				 : text[i] == '<' ? "&lt;"
				 : text[i] == '>' ? "&gt;"
						  : NULL;
		if (as)
			adafs_buf_adds(b, as);
		else
			adafs_buf_add(b, text + i, 1);
	}
}

static void on_name(void *arg, const char *name, size_t len, const struct blob *b)
{
	struct page *p = arg;
	static __thread time_t last;
	static __thread char date[ADAFS_RFC1123_LEN];
	adafs_buf_adds(&p->xml, b ? "<Blob><Name>" : "<BlobPrefix><Name>");
	add_escaped(&p->xml, name + p->skip, len - p->skip);
	if (!b) {
		adafs_buf_adds(&p->xml, "</Name></BlobPrefix>");
		return;
	}
	if (b->modified != last)
		adafs_clock_rfc1123(last = b->modified, date);
	adafs_buf_addf(&p->xml,
		       "</Name><Properties><Creation-Time>%s</Creation-Time><Last-Modified>%s</"
		       "Last-Modified><Etag>0x8D%" PRIX64
		       "</Etag><Content-Length>%zu</Content-Length><Content-Type>application/"
		       "octet-stream</Content-Type>"
		       "<Content-Encoding /><Content-Language /><Content-CRC64 /><Content-MD5 "
		       "/><Cache-Control />"
		       "<Content-Disposition "
		       "/><BlobType>BlockBlob</BlobType><AccessTier>Hot</"
		       "AccessTier><AccessTierInferred>true"
		       "</AccessTierInferred><LeaseStatus>unlocked</"
		       "LeaseStatus><LeaseState>available</LeaseState>"
		       "<ServerEncrypted>true</ServerEncrypted></Properties>",
		       date, date, b->version, b->size);
	if (p->meta && *b->meta) {
		adafs_buf_adds(&p->xml, "<Metadata>");
		add_meta(&p->xml, b->meta, true);
		adafs_buf_adds(&p->xml, "</Metadata>");
	}
	adafs_buf_adds(&p->xml, "<OrMetadata /></Blob>");
}

static bool do_list(struct request *r, const char *container)
{
	char *prefix = parameter(r, "prefix"), *marker = parameter(r, "marker"),
	     *most = parameter(r, "maxresults");
	char *include = parameter(r, "include");
	size_t max = most ? strtoul(most, NULL, 10) : PAGE;
	struct page p = { .xml = ADAFS_BUF_INIT(LIST_MAX), .skip = strlen(container) + 1 };
	p.meta = include && strstr(include, "metadata");
	adafs_buf_addf(&p.xml,
		       "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults "
		       "ServiceEndpoint=\"http://blobserver/\" "
		       "ContainerName=\"%s\"><Blobs>",
		       container);
	char *below = adafs_fmt("%s/%s", container, prefix ? prefix : "");
	char *from = marker && *marker ? adafs_fmt("%s/%s", container, marker) : NULL;
	char *after = memstore_list(store, below, from, parameter_is(r, "delimiter", "/"),
				    max < PAGE ? max : PAGE, on_name, &p);
	adafs_buf_adds(&p.xml, "</Blobs><NextMarker>");
	if (after)
		add_escaped(&p.xml, after + p.skip, strlen(after + p.skip));
	adafs_buf_adds(&p.xml, "</NextMarker></EnumerationResults>");
	struct iovec iov[2] = { { 0 }, { .iov_base = p.xml.data, .iov_len = p.xml.len } };
	bool good = answer(r, 200, "Content-Type: application/xml\r\n", iov, 1, p.xml.len);
	adafs_buf_clear(&p.xml);
	free(prefix);
	free(marker);
	free(most);
	free(include);
	free(below);
	free(from);
	free(after);
	return good;
}

/*
 * --- writing -------------------------------------------------------------------------------------
 */
/* The request's body; bytes of it that came with the headers stand before. */
static struct piece *take_body(struct request *r, const char *early, size_t n_early)
{
	struct piece *p = piece_new(r->length);
	size_t have = n_early < r->length ? n_early : r->length;
	memcpy(p->data, early, have);
	while (have < r->length) {
		ssize_t n = recv(r->fd, p->data + have, r->length - have, MSG_WAITALL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			piece_unref(p);
			return NULL;
		}
		have += (size_t)n;
	}
	p->data[have] = 0;
	return p;
}

static bool do_commit(struct request *r, const char *name, struct piece *body)
{
	size_t n = 0, size = 64;
	uint64_t version = 0;
	char **id = malloc(size * sizeof(*id)), *meta = meta_of(r);
	for (char *p = body->data; (p = strstr(p, "<Latest>")) ||
				   (n == 0 && (p = strstr(body->data, "<Uncommitted>")));) {
		p = strchr(p, '>') + 1;
		if (n + 2 > size)
			id = reallocarray(id, size *= 2, sizeof(*id));
		if (!id)
			err(1, "memory");
		id[n++] = strndup(p, strcspn(p, "<"));
	}
	id[n] = NULL;
	const struct condition cond = condition_of(r);
	enum outcome outcome = memstore_commit(store, name, id, meta, &cond, &version);
	for (size_t i = 0; i < n; i++)
		free(id[i]);
	free(id);
	free(meta);
	return written(r, outcome, 201, version);
}

static bool do_copy(struct request *r, const char *name, const char *source)
{
	/* scheme://host/account/container/blob?query */
	const char *p = strstr(source, "://");
	for (int i = 0; p && i < 2; i++)
		p = strchr(i ? p + 1 : p + 3, '/');
	uint64_t version = 0;
	char *from = p ? adafs_url_decode(p + 1, strcspn(p + 1, "?"), false) : NULL;
	struct blob *b = from ? memstore_get(store, from) : NULL;
	free(from);
	if (!b)
		return refuse(r, 404, "BlobNotFound");
	const char *wanted = header(r, "x-ms-source-if-match");
	bool good;
	if (wanted && version_of(wanted) != b->version) {
		good = refuse(r, 412, "SourceConditionNotMet");
	} else {
		char *meta = meta_of(r);
		const struct condition cond = condition_of(r);
		for (size_t i = 0; i < b->n_pieces; i++)
			__atomic_add_fetch(&b->piece[i]->refs, 1, __ATOMIC_RELAXED);
		enum outcome outcome = memstore_put(store, name, b->piece, b->n_pieces,
						    *meta ? meta : b->meta, &cond, &version);
		free(meta);
		good = written(r, outcome, header(r, "x-ms-blob-type") ? 201 : 202, version);
	}
	blob_release(store, b);
	return good;
}

static bool do_put(struct request *r, const char *name, struct piece *body)
{
	const struct condition cond = condition_of(r);
	uint64_t version = 0;
	char *meta = meta_of(r);
	__atomic_add_fetch(&body->refs, 1, __ATOMIC_RELAXED);
	enum outcome outcome = memstore_put(store, name, &body, 1, meta, &cond, &version);
	free(meta);
	return written(r, outcome, 201, version);
}

static bool do_put_block(struct request *r, const char *name, struct piece *body)
{
	char *id = parameter(r, "blockid");
	if (!id)
		return refuse(r, 400, "MissingRequiredQueryParameter");
	__atomic_add_fetch(&body->refs, 1, __ATOMIC_RELAXED);
	memstore_put_block(store, name, id, body);
	free(id);
	return answer(r, 201, "x-ms-request-server-encrypted: true\r\n", NULL, 0, 0);
}

static bool do_delete(struct request *r, const char *name)
{
	const struct condition cond = condition_of(r);
	switch (memstore_delete(store, name, &cond)) {
	case DONE:
		return answer(r, 202, NULL, NULL, 0, 0);
	case FAILED_CONDITION:
		return refuse(r, 412, "ConditionNotMet");
	default:
		return refuse(r, 404, "BlobNotFound");
	}
}

static bool do_set_meta(struct request *r, const char *name)
{
	const struct condition cond = condition_of(r);
	uint64_t version = 0;
	char *meta = meta_of(r);
	enum outcome outcome = memstore_set_meta(store, name, meta, &cond, &version);
	free(meta);
	return outcome == NO_BLOB ? refuse(r, 404, "BlobNotFound")
				  : written(r, outcome, 200, version);
}

/*
 * --- one connection ------------------------------------------------------------------------------
 */
static bool do_container(struct request *r)
{
	static const char names[] =
		"<?xml version=\"1.0\" "
		"encoding=\"utf-8\"?><EnumerationResults><Containers><Container><Name>"
		"bench</Name></Container></Containers><NextMarker /></EnumerationResults>";
	static const char policies[] =
		"<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers />";
	static const char common[] =
		"ETag: \"0x8D1\"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
		"Content-Type: application/xml\r\n";
	bool gets = strcmp(r->method, "GET") == 0;
	const char *text = gets && parameter_is(r, "comp", "acl") ? policies
			   : gets && !*r->path                    ? names
								  : "";
	struct iovec iov[2] = { { 0 }, { .iov_base = (char *)text, .iov_len = strlen(text) } };
	int status = strcmp(r->method, "PUT") == 0 && !parameter_is(r, "comp", "acl") ? 201
		     : strcmp(r->method, "DELETE") == 0                               ? 202
										      : 200;
	return answer(r, status, common, iov, 1, strlen(text));
}

static bool do_stats(struct request *r)
{
	struct adafs_buf b = ADAFS_BUF_INIT(4096);
	adafs_buf_adds(&b, "{");
	for (int i = 0; i < N_OPERATIONS; i++)
		adafs_buf_addf(&b, "%s\"%s\": %" PRIu64, i ? ", " : "", operation_name[i],
			       __atomic_exchange_n(&counted[i], 0, __ATOMIC_RELAXED));
	adafs_buf_addf(&b, ", \"BytesRead\": %" PRIu64 "}\n",
		       __atomic_exchange_n(&bytes_read, 0, __ATOMIC_RELAXED));
	struct iovec iov[2] = { { 0 }, { .iov_base = b.data, .iov_len = b.len } };
	bool good = answer(r, 200, "Content-Type: application/json\r\n", iov, 1, b.len);
	adafs_buf_clear(&b);
	return good;
}

static enum operation operation_of(const struct request *r)
{
	const char *slash = strchr(r->path, '/');
	if (!slash || !slash[1])
		return parameter_is(r, "comp", "list") && *r->path ? LIST : CONTAINER;
	if (strcmp(r->method, "GET") == 0)
		return GET_BLOB;
	if (strcmp(r->method, "HEAD") == 0)
		return HEAD_BLOB;
	if (strcmp(r->method, "DELETE") == 0)
		return DELETE_BLOB;
	if (strcmp(r->method, "PUT") != 0)
		return OTHER;
	if (parameter_is(r, "comp", "block"))
		return PUT_BLOCK;
	if (parameter_is(r, "comp", "blocklist"))
		return PUT_LIST;
	if (parameter_is(r, "comp", "metadata"))
		return SET_META;
	return header(r, "x-ms-copy-source") ? COPY
	       : header(r, "x-ms-blob-type") ? PUT_BLOB
					     : OTHER;
}

static bool serve_write(struct request *r, enum operation operation, struct piece *body)
{
	switch (operation) {
	case PUT_BLOB:
		return do_put(r, r->path, body);
	case PUT_BLOCK:
		return do_put_block(r, r->path, body);
	case PUT_LIST:
		return do_commit(r, r->path, body);
	case COPY:
		return do_copy(r, r->path, header(r, "x-ms-copy-source"));
	case SET_META:
		return do_set_meta(r, r->path);
	default:
		return do_delete(r, r->path);
	}
}

static bool serve(struct request *r, const char *early, size_t n_early)
{
	enum operation operation = operation_of(r);
	if (strcmp(r->path, "stats") == 0)
		return do_stats(r);
	__atomic_add_fetch(&counted[operation], 1, __ATOMIC_RELAXED);
	/* Azure's clients wait for it before a large body. */
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	if (header(r, "Expect") && send(r->fd, go_on, sizeof(go_on) - 1, MSG_NOSIGNAL) < 0)
		return false;
	struct piece *body = take_body(r, early, n_early);
	if (!body)
		return false;
	bool good;
	switch (operation) {
	case GET_BLOB:
	case HEAD_BLOB:
		good = do_read(r, r->path);
		break;
	case LIST:
		r->path[strcspn(r->path, "/")] = 0;
		good = do_list(r, r->path);
		break;
	case CONTAINER:
		good = do_container(r);
		break;
	case OTHER:
		good = refuse(r, 400, "InvalidQueryParameterValue");
		break;
	default:
		good = serve_write(r, operation, body);
	}
	piece_unref(body);
	return good;
}

/* Split the head in place: the request line, then one text a header. False: not HTTP. */
static bool parse(struct request *r, char *head)
{
	char *line = strstr(head, "\r\n"), *target = strchr(head, ' ');
	if (!line || !target || target > line || target - head >= (long)sizeof(r->method))
		return false;
	*line = 0;
	*target++ = 0;
	strcpy(r->method, head);
	target[strcspn(target, " ")] = 0;
	char *query = strchr(target, '?');
	if (query)
		*query++ = 0;
	r->query = query;
	/* Without the account, whatever it is called. */
	char *path = strchr(target + 1, '/');
	r->path = adafs_url_decode(path ? path + 1 : target + 1,
				   strlen(path ? path + 1 : target + 1), false);
	if (r->path && !path && strcmp(r->path, "stats") != 0)
		*r->path = 0;
	r->head = line + 2;
	char *out = r->head;
	for (char *p = r->head, *end; (end = strstr(p, "\r\n")) && end != p; p = end + 2) {
		memmove(out, p, (size_t)(end - p));
		out += end - p;
		*out++ = 0;
	}
	*out = 0;
	const char *length = header(r, "Content-Length");
	r->length = length ? strtoull(length, NULL, 10) : 0;
	return r->path != NULL;
}

static void *connection(void *arg)
{
	int fd = (int)(intptr_t)arg, on = 1;
	char head[HEAD_MAX + 1], copy[HEAD_MAX + 1];
	size_t have = 0;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	for (;;) {
		head[have] = 0;
		char *end = strstr(head, "\r\n\r\n");
		if (!end) {
			ssize_t n = have < HEAD_MAX ? recv(fd, head + have, HEAD_MAX - have, 0) : 0;
			if (n <= 0)
				break;
			have += (size_t)n;
			continue;
		}
		size_t len = (size_t)(end + 4 - head), early = have - len;
		struct request r = { .fd = fd };
		memcpy(copy, head, len);
		copy[len] = 0;
		bool good = parse(&r, copy) && serve(&r, head + len, early);
		free(r.path);
		if (!good)
			break;
		early -= early < r.length ? early : r.length;
		memmove(head, head + have - early, early);
		have = early;
	}
	close(fd);
	return NULL;
}

/*
 * --- the start -----------------------------------------------------------------------------------
 */
static void seed_one(const char *name, size_t size)
{
	const size_t step = (size_t)16 * 1024 * 1024;
	size_t n = (size + step - 1) / step;
	const struct condition any = { 0 };
	uint64_t version;
	struct piece **piece = calloc(n + 1, sizeof(*piece));
	for (size_t i = 0; piece && i < n; i++) {
		size_t len = size - i * step < step ? size - i * step : step;
		piece[i] = piece_new(len);
		for (size_t k = 0; k < len; k++)
			piece[i]->data[k] = (char)((i * step + k) * 2654435761u >> 13);
	}
	memstore_put(store, name, piece, n, NULL, &any, &version);
	free(piece);
}

static void seed(size_t size, bool names)
{
	static const unsigned counts[] = { 5000, 20000, 100000 };
	char name[64];
	seed_one("bench/big", size);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "bench/small/%05u", i);
		seed_one(name, SMALL);
	}
	for (size_t k = 0; names && k < 3; k++) {
		for (unsigned i = 0; i < counts[k]; i++) {
			snprintf(name, sizeof(name), "bench/n%u/image-%06u.tif", counts[k], i);
			seed_one(name, 0);
		}
	}
}

static int listen_on(unsigned port, unsigned *ret_port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(fd, 256) < 0 ||
	    getsockname(fd, (struct sockaddr *)&in, &len) < 0)
		err(1, "port %u", port);
	*ret_port = ntohs(in.sin_port);
	return fd;
}

int main(int argc, char **argv)
{
	unsigned port = 0;
	size_t size = (size_t)512 * 1024 * 1024;
	bool names = false;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--names") == 0)
			names = true;
		else if (strcmp(argv[i], "--port") == 0 && i + 1 < argc)
			port = (unsigned)strtoul(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--size") == 0 && i + 1 < argc)
			size = strtoull(argv[++i], NULL, 10);
		else
			errx(2, "usage: blobserver [--port PORT] [--size BYTES] [--names]");
	}
	signal(SIGPIPE, SIG_IGN);
	/* Memory of blobs that went is for those that come: page faults would be measured
	 * otherwise. */
	mallopt(M_MMAP_MAX, 0);
	mallopt(M_TRIM_THRESHOLD, INT32_MAX);
	mallopt(M_ARENA_MAX, 1);
	store = memstore_new();
	seed(size, names);
	int fd = listen_on(port, &port);
	printf("%u\n", port);
	fflush(stdout);
	for (;;) {
		pthread_t thread;
		int one = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (one >= 0 &&
		    pthread_create(&thread, NULL, connection, (void *)(intptr_t)one) == 0)
			pthread_detach(thread);
	}
}
