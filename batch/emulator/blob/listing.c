/* List Containers and List Blobs: pages of XML with opaque markers. */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/codec.h"

#define MAX_RESULTS 5000
#define PAGE_BYTES (8u << 20) /* a page ends early rather than grow past this */

/* A page in the making. */
struct page {
	struct blob_call *call;
	struct adafs_buf *b;
	unsigned n, max;
	bool metadata, copy, tags;
	bool system;    /* containers of the service itself too */
	char *last;     /* containers: the name that the next page starts with; owned */
	int64_t date_s; /* blobs: the second that `date` shows */
	char date[32];  /* "": none yet */
};

int list_parse_max(struct blob_call *c, unsigned *ret)
{
	const char *text = call_param(c, "maxresults");
	*ret = MAX_RESULTS;
	if (!text)
		return 0;
	char *end;
	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (*end || n <= 0 || errno)
		return call_bad_param(c, BE_OUT_OF_RANGE_QUERY_PARAMETER, "maxresults", NULL);
	if (n < MAX_RESULTS)
		*ret = (unsigned)n;
	return 0;
}

/*
 * A page has five thousand entries of twenty elements: what is fixed is copied as it is, into room
 * that was made for all of it.
 */
static char *put(char *at, const char *text, size_t len)
{
	memcpy(at, text, len);
	return at + len;
}
#define PUT(at, literal) put(at, "" literal, sizeof(literal) - 1)
#define ADD(b, literal) adafs_buf_add(b, "" literal, sizeof(literal) - 1)

static char *put_number(char *at, uint64_t n)
{
	char digits[20];
	size_t len = 0;
	do
		digits[sizeof(digits) - ++len] = (char)('0' + n % 10);
	while (n /= 10);
	return put(at, digits + sizeof(digits) - len, len);
}

/* Whether XML 1.0 can carry the text. */
static bool xml_can_carry(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c < 0x20 && c != '\t' && c != '\n' && c != '\r')
			return false;
		/* U+FFFE and U+FFFF are EF BF BE and EF BF BF. */
		if (c == 0xef && i + 2 < len && (unsigned char)text[i + 1] == 0xbf &&
		    (unsigned char)text[i + 2] >= 0xbe)
			return false;
	}
	return true;
}

int list_add_name(struct adafs_buf *b, const char *element, const char *text, size_t len)
{
	bool plain = xml_can_carry(text, len);
	int rc = ADD(b, "<");
	if (rc == 0)
		rc = adafs_buf_adds(b, element);
	if (rc == 0)
		rc = plain ? ADD(b, ">") : ADD(b, " Encoded=\"true\">");
	if (rc == 0 && plain)
		rc = adafs_xml_escape(b, text, len);
	if (rc == 0 && !plain) {
		ADAFS_FREE char *encoded = adafs_url_encode(text, len, "");
		rc = encoded ? adafs_buf_adds(b, encoded) : -ENOMEM;
	}
	if (rc == 0)
		rc = ADD(b, "</");
	if (rc == 0)
		rc = adafs_buf_adds(b, element);
	return rc == 0 ? ADD(b, ">") : rc;
}

static int add_echo(struct blob_call *c, struct adafs_buf *b, const char *element, const char *name)
{
	const char *v = call_param(c, name);
	return v ? list_add_name(b, element, v, strlen(v)) : 0;
}

int list_start_page(struct blob_call *c, struct http_resp *resp, unsigned max)
{
	const char *account = c->service->account;
	const char *host = http_req_header(c->req, "Host");
	struct adafs_buf *b = &resp->body;
	int rc = answer_xml(resp, 200);
	if (rc == 0)
		rc = adafs_buf_adds(b, "<EnumerationResults ServiceEndpoint=\"http://");
	if (rc == 0)
		rc = adafs_xml_escape(b, host ? host : "localhost",
				      strlen(host ? host : "localhost"));
	if (rc == 0)
		rc = adafs_buf_addf(b, "/%s/\"", account);
	if (rc == 0 && c->container)
		rc = adafs_buf_addf(b, " ContainerName=\"%s\"", c->container);
	if (rc == 0)
		rc = adafs_buf_adds(b, ">");
	if (rc == 0)
		rc = add_echo(c, b, "Prefix", "prefix");
	if (rc == 0)
		rc = add_echo(c, b, "Marker", "marker");
	if (rc == 0 && call_param(c, "maxresults"))
		rc = adafs_buf_addf(b, "<MaxResults>%u</MaxResults>", max);
	return rc == 0 ? add_echo(c, b, "Delimiter", "delimiter") : rc;
}

/* What a comma list of `include` asks for; unknown words are refused. */
static int parse_include(struct blob_call *c, const char *const *words, size_t n, unsigned *ret)
{
	const char *text = call_param(c, "include");
	*ret = 0;
	while (text && *text) {
		size_t len = strcspn(text, ","), i;
		for (i = 0; i < n; i++)
			if (strlen(words[i]) == len && strncmp(text, words[i], len) == 0)
				break;
		if (i == n && len)
			return call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, "include",
					      "Invalid query parameter value.");
		if (len)
			*ret |= 1u << i;
		text += len + (text[len] == ',');
	}
	return 0;
}

/* --- containers ------------------------------------------------------------------------------ */

static int container_properties(struct page *p, const struct container_info *c)
{
	char etag[24], date[32];
	blob_etag(c->stamp, etag);
	blob_date(c->stamp, date);
	int rc = adafs_buf_addf(p->b,
				"<Properties><Last-Modified>%s</Last-Modified><Etag>\"%s\"</Etag>",
				date, etag);
	if (rc == 0)
		rc = xml_lease(p->b, &c->lease);
	if (rc == 0 && *c->access)
		rc = adafs_xml_element(p->b, "PublicAccess", c->access);
	return rc == 0 ? adafs_buf_adds(p->b, "<HasImmutabilityPolicy>false</HasImmutabilityPolicy>"
					      "<HasLegalHold>false</HasLegalHold></Properties>")
		       : rc;
}

static int add_container(void *arg, const struct container_info *c)
{
	struct page *p = arg;
	bool system = strcmp(c->name, "$logs") == 0 || strcmp(c->name, "$blobchangefeed") == 0;
	if (system && !p->system)
		return 0;
	if (p->n++ == p->max) {
		p->last = strdup(c->name);
		return p->last ? 1 : -ENOMEM;
	}
	int rc = adafs_buf_adds(p->b, "<Container>");
	if (rc == 0)
		rc = adafs_xml_element(p->b, "Name", c->name);
	if (rc == 0)
		rc = container_properties(p, c);
	if (rc == 0 && p->metadata)
		rc = xml_metadata(p->b, c->metadata);
	return rc == 0 ? adafs_buf_adds(p->b, "</Container>") : rc;
}

int op_list_containers(struct blob_call *c, struct http_resp *resp)
{
	static const char *const words[] = { "metadata", "deleted", "system" };
	struct page p = { .call = c, .b = &resp->body };
	const char *prefix = call_param(c, "prefix"), *marker = call_param(c, "marker");
	unsigned include = 0;
	int rc = list_parse_max(c, &p.max);
	if (rc == 0)
		rc = parse_include(c, words, ADAFS_ARRAY_SIZE(words), &include);
	p.metadata = include & 1u;
	p.system = include & 4u;
	const char *from = marker ? strrchr(marker, '/') : NULL; /* "/account/name" */
	from = from ? from + 1 : marker ? marker : "";
	if (rc == 0)
		rc = list_start_page(c, resp, p.max);
	if (rc == 0)
		rc = adafs_buf_adds(p.b, "<Containers>");
	if (rc == 0)
		rc = store_container_list(c->service->store, prefix ? prefix : "", from,
					  add_container, &p);
	if (rc == 0)
		rc = adafs_buf_adds(p.b, "</Containers>");
	if (rc == 0 && p.last)
		rc = adafs_buf_addf(p.b, "<NextMarker>/%s/%s</NextMarker>", c->service->account,
				    p.last);
	else if (rc == 0)
		rc = adafs_buf_adds(p.b, "<NextMarker />");
	free(p.last);
	return rc == 0 ? adafs_buf_adds(p.b, "</EnumerationResults>") : rc;
}

/* --- blobs ----------------------------------------------------------------------------------- */

static int add_optional(struct adafs_buf *b, const char *element, const char *text)
{
	if (text && *text)
		return adafs_xml_element(b, element, text);
	int rc = ADD(b, "<");
	if (rc == 0)
		rc = adafs_buf_adds(b, element);
	return rc == 0 ? ADD(b, " />") : rc;
}

static int add_copy(struct adafs_buf *b, const struct blob_info *i)
{
	char date[32];
	blob_date(i->copy_stamp, date);
	int rc = adafs_xml_element(b, "CopyId", i->copy_id);
	if (rc == 0)
		rc = adafs_xml_element(b, "CopySource", i->copy_source ? i->copy_source : "");
	return rc == 0 ? adafs_buf_addf(
				 b,
				 "<CopyStatus>success</CopyStatus><CopyProgress>%llu/%llu"
				 "</CopyProgress><CopyCompletionTime>%s</CopyCompletionTime>",
				 (unsigned long long)i->size, (unsigned long long)i->size, date)
		       : rc;
}

static int add_tier(struct adafs_buf *b, const struct blob_info *i)
{
	if (!i->tier)
		return ADD(b, "<AccessTier>Hot</AccessTier>"
			      "<AccessTierInferred>true</AccessTierInferred>");
	int rc = adafs_xml_element(b, "AccessTier", i->tier);
	if (rc == 0) {
		char date[32];
		blob_date(i->tier_stamp, date);
		rc = adafs_xml_element(b, "AccessTierChangeTime", date);
	}
	if (rc == 0 && i->rehydrate)
		rc = adafs_buf_addf(b,
				    "<ArchiveStatus>rehydrate-pending-to-%s</ArchiveStatus>"
				    "<RehydratePriority>%s</RehydratePriority>",
				    tier_word(i->rehydrate),
				    i->rehydrate_high ? "High" : "Standard");
	return rc;
}

/* Neighbours were often written in the same second. */
static char *put_date(char *at, struct page *p, blob_stamp stamp)
{
	if (!*p->date || stamp / 1000000 != p->date_s) {
		blob_date(stamp, p->date);
		p->date_s = stamp / 1000000;
	}
	return put(at, p->date, strlen(p->date));
}

static int add_times_and_size(struct page *p, const struct blob_info *i)
{
	char etag[24];
	int rc = adafs_buf_reserve(p->b, 512);
	if (rc < 0)
		return rc;
	blob_etag(i->stamp, etag);
	char *at = p->b->data + p->b->len;
	at = PUT(at, "<Properties><Creation-Time>");
	at = put_date(at, p, i->created);
	at = PUT(at, "</Creation-Time><Last-Modified>");
	at = put_date(at, p, i->stamp);
	at = PUT(at, "</Last-Modified><Etag>");
	at = put(at, etag, strlen(etag));
	at = PUT(at, "</Etag><Content-Length>");
	at = put_number(at, i->size);
	at = PUT(at, "</Content-Length>");
	*at = 0;
	p->b->len = (size_t)(at - p->b->data);
	return 0;
}

static int add_lease(struct adafs_buf *b, const struct blob_lease *l)
{
	return l->id ? xml_lease(b, l)
		     : ADD(b, "<LeaseStatus>unlocked</LeaseStatus>"
			      "<LeaseState>available</LeaseState>");
}

static int add_properties(struct page *p, const struct blob_info *i)
{
	struct adafs_buf *b = p->b;
	int rc = add_times_and_size(p, i);
	if (rc == 0)
		rc = add_optional(b, "Content-Type", i->headers.content_type);
	if (rc == 0)
		rc = add_optional(b, "Content-Encoding", i->headers.encoding);
	if (rc == 0)
		rc = add_optional(b, "Content-Language", i->headers.language);
	if (rc == 0)
		rc = ADD(b, "<Content-CRC64 />");
	if (rc == 0)
		rc = add_optional(b, "Content-MD5", i->headers.md5);
	if (rc == 0)
		rc = add_optional(b, "Cache-Control", i->headers.cache_control);
	if (rc == 0)
		rc = add_optional(b, "Content-Disposition", i->headers.disposition);
	if (rc == 0)
		rc = adafs_buf_adds(b, i->type == BLOB_APPEND ? "<BlobType>AppendBlob</BlobType>"
							      : "<BlobType>BlockBlob</BlobType>");
	if (rc == 0 && i->type == BLOB_BLOCK)
		rc = add_tier(b, i);
	if (rc == 0 && i->snapshot == BLOB_SNAPSHOT_NONE)
		rc = add_lease(b, &i->lease);
	if (rc == 0 && i->sealed)
		rc = ADD(b, "<Sealed>true</Sealed>");
	if (rc == 0 && i->tags)
		rc = adafs_buf_addf(b, "<TagCount>%u</TagCount>", tags_count(i->tags));
	if (rc == 0 && p->copy && i->copy_id)
		rc = add_copy(b, i);
	return rc == 0 ? ADD(b, "<ServerEncrypted>true</ServerEncrypted></Properties>") : rc;
}

static int add_blob(struct page *p, const struct blob_info *i)
{
	int rc = ADD(p->b, "<Blob>");
	if (rc == 0)
		rc = list_add_name(p->b, "Name", i->name, strlen(i->name));
	if (rc == 0 && i->snapshot != BLOB_SNAPSHOT_NONE) {
		char text[32];
		blob_snapshot_text(i->snapshot, text);
		rc = adafs_xml_element(p->b, "Snapshot", text);
	}
	if (rc == 0)
		rc = i->uncommitted ? ADD(p->b, "<Properties><Content-Length>0</Content-Length>"
						"<BlobType>BlockBlob</BlobType></Properties>")
				    : add_properties(p, i);
	if (rc == 0 && p->metadata && !i->uncommitted)
		rc = xml_metadata(p->b, i->metadata);
	if (rc == 0 && p->tags && i->tags)
		rc = xml_tags(p->b, i->tags);
	return rc == 0 ? ADD(p->b, "<OrMetadata /></Blob>") : rc;
}

static int add_entry(void *arg, const struct blob_info *b, const char *prefix, size_t prefix_len)
{
	struct page *p = arg;
	if (p->n == p->max || (p->n && p->b->len > PAGE_BYTES))
		return 1;
	p->n++;
	if (b)
		return add_blob(p, b);
	int rc = ADD(p->b, "<BlobPrefix>");
	if (rc == 0)
		rc = list_add_name(p->b, "Name", prefix, prefix_len);
	return rc == 0 ? ADD(p->b, "</BlobPrefix>") : rc;
}

/* Marker: base64 of "<snapshot in hex>,<name>". Opaque to clients. */
static char *make_marker(const char *name, blob_stamp snapshot)
{
	ADAFS_FREE char *text = adafs_fmt("%llx,%s", (unsigned long long)snapshot, name);
	return text ? adafs_base64_encode(text, strlen(text)) : NULL;
}

static int parse_marker(struct blob_call *c, char **ret_name, blob_stamp *ret_snapshot)
{
	const char *marker = call_param(c, "marker");
	ADAFS_FREE uint8_t *data = NULL;
	size_t len;
	char *end = NULL;
	*ret_name = NULL;
	*ret_snapshot = 0;
	if (!marker)
		return 0;
	int rc = adafs_base64_decode(marker, strlen(marker), &data, &len);
	if (rc == -ENOMEM)
		return rc;
	if (rc == 0)
		*ret_snapshot = (blob_stamp)strtoull((char *)data, &end, 16);
	if (rc < 0 || *end != ',')
		return call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, "marker", NULL);
	*ret_name = strdup(end + 1);
	return *ret_name ? 0 : -ENOMEM;
}

enum {
	SNAPSHOTS,
	METADATA,
	UNCOMMITTED,
	COPY,
	DELETED,
	TAGS,
	VERSIONS,
	DELETED_VERSIONS,
	IMMUTABILITY,
	LEGAL_HOLD,
	N_INCLUDE
};

/* The words that an account without hierarchy knows; of some of these things there are none. */
static int parse_blob_include(struct blob_call *c, struct page *p, struct blob_listing *l)
{
	static const char *const words[N_INCLUDE] = {
		[SNAPSHOTS] = "snapshots",
		[METADATA] = "metadata",
		[UNCOMMITTED] = "uncommittedblobs",
		[COPY] = "copy",
		[DELETED] = "deleted",
		[TAGS] = "tags",
		[VERSIONS] = "versions",
		[DELETED_VERSIONS] = "deletedwithversions",
		[IMMUTABILITY] = "immutabilitypolicy",
		[LEGAL_HOLD] = "legalhold",
	};
	unsigned include;
	int rc = parse_include(c, words, ADAFS_ARRAY_SIZE(words), &include);
	if (rc != 0)
		return rc;
	p->metadata = include & 1u << METADATA;
	p->copy = include & 1u << COPY;
	p->tags = include & 1u << TAGS;
	l->snapshots = include & 1u << SNAPSHOTS;
	l->uncommitted = include & 1u << UNCOMMITTED;
	if (*l->delimiter && (include & (1u << SNAPSHOTS | 1u << VERSIONS)))
		return call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, "include",
				      "Snapshots cannot be listed with a delimiter.");
	return 0;
}

static int finish_page(struct adafs_buf *b, bool more, const char *next, blob_stamp snapshot)
{
	int rc = ADD(b, "</Blobs>");
	if (rc == 0 && more) {
		ADAFS_FREE char *marker = make_marker(next, snapshot);
		rc = marker ? adafs_xml_element(b, "NextMarker", marker) : -ENOMEM;
	} else if (rc == 0) {
		rc = ADD(b, "<NextMarker />");
	}
	return rc == 0 ? ADD(b, "</EnumerationResults>") : rc;
}

int op_list_blobs(struct blob_call *c, struct http_resp *resp)
{
	struct page p = { .call = c, .b = &resp->body };
	const char *prefix = call_param(c, "prefix"), *delimiter = call_param(c, "delimiter");
	ADAFS_FREE char *from = NULL;
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf next = ADAFS_BUF_INIT(64 * 1024);
	struct blob_listing l = { .container = c->container,
				  .prefix = prefix ? prefix : "",
				  .delimiter = delimiter ? delimiter : "",
				  .each = add_entry,
				  .arg = &p };
	bool more = false;
	blob_stamp next_snapshot = 0;
	int rc = list_parse_max(c, &p.max);
	if (rc == 0)
		rc = parse_blob_include(c, &p, &l);
	if (rc == 0)
		rc = parse_marker(c, &from, &l.from_snapshot);
	const char *start = call_param(c, "startFrom");
	l.from = from ? from : start ? start : "";
	if (rc == 0)
		rc = list_start_page(c, resp, p.max);
	if (rc == 0)
		rc = adafs_buf_adds(p.b, "<Blobs>");
	if (rc == 0)
		rc = store_blob_list(c->service->store, &l, &more, &next, &next_snapshot);
	return rc == 0 ? finish_page(p.b, more, adafs_buf_str(&next), next_snapshot) : rc;
}
