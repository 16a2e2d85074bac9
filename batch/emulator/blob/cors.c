/*
 * Service properties and what follows from one of them: the rules by which pages of other origins
 * may ask. Sections that a Set does not name stay as they are. Until rules are set every origin is
 * welcome, so that browser tools work; an empty <Cors /> turns that off.
 */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NO_RETENTION "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy>"
#define NO_METRICS "<Version>1.0</Version><Enabled>false</Enabled>" NO_RETENTION
#define CORS_SECTION 3

/* The sections in the order of the answer, as they are while nobody has set them. */
static const struct section {
	const char *name, *initial;
} sections[] = {
	{ "Logging", "<Version>1.0</Version><Delete>false</Delete><Read>false</Read>"
		     "<Write>false</Write>" NO_RETENTION },
	{ "HourMetrics", NO_METRICS },
	{ "MinuteMetrics", NO_METRICS },
	[CORS_SECTION] = { "Cors", "<CorsRule><AllowedMethods>DELETE,GET,HEAD,MERGE,OPTIONS,PATCH,"
				   "POST,PUT</AllowedMethods><AllowedOrigins>*</AllowedOrigins>"
				   "<AllowedHeaders>*</AllowedHeaders><ExposedHeaders>*"
				   "</ExposedHeaders><MaxAgeInSeconds>3600</MaxAgeInSeconds>"
				   "</CorsRule>" },
	{ "DefaultServiceVersion", "" },
	{ "DeleteRetentionPolicy", "<Enabled>false</Enabled>" },
	{ "StaticWebsite", "<Enabled>false</Enabled>" },
};
#define N_SECTIONS ADAFS_ARRAY_SIZE(sections)
#define ROOT "StorageServiceProperties"

/* --- rules ----------------------------------------------------------------------------------- */

#define MAX_RULES 5

enum { METHODS, ORIGINS, HEADERS, EXPOSED, MAX_AGE, N_FIELDS };
static const char *const field_names[N_FIELDS] = {
	[METHODS] = "AllowedMethods", [ORIGINS] = "AllowedOrigins",  [HEADERS] = "AllowedHeaders",
	[EXPOSED] = "ExposedHeaders", [MAX_AGE] = "MaxAgeInSeconds",
};

struct cors_rule {
	char *fields[N_FIELDS]; /* owned */
};

struct cors_rules {
	struct cors_rule v[MAX_RULES];
	size_t n;
};

static void rules_clear(struct cors_rules *r)
{
	for (size_t i = 0; i < r->n; i++)
		for (int k = 0; k < N_FIELDS; k++)
			free(r->v[i].fields[k]);
	*r = (struct cors_rules){ 0 };
}

static int rules_start(void *arg, const char *path, const char **attrs)
{
	struct cors_rules *r = arg;
	(void)attrs;
	if (strcmp(path, "Cors/CorsRule") != 0)
		return 0;
	if (r->n == MAX_RULES)
		return -EINVAL;
	r->n++;
	return 0;
}

static int rules_end(void *arg, const char *path, const char *text, size_t len)
{
	struct cors_rules *r = arg;
	if (!r->n || strncmp(path, "Cors/CorsRule/", 14) != 0)
		return 0;
	for (int k = 0; k < N_FIELDS; k++) {
		char **to = &r->v[r->n - 1].fields[k];
		if (strcmp(path + 14, field_names[k]) != 0)
			continue;
		free(*to);
		*to = strndup(text, len);
		return *to ? 0 : -ENOMEM;
	}
	return -EINVAL;
}

/* Whether a list "a, b*, *" of a rule holds the word; patterns: a trailing star counts. */
static bool list_has(const char *list, const char *word, size_t len, bool patterns)
{
	while (*list) {
		list += strspn(list, ", ");
		size_t n = strcspn(list, ",");
		size_t end = n;
		while (end && list[end - 1] == ' ')
			end--;
		bool star = patterns && end && list[end - 1] == '*';
		if (star ? len >= end - 1 && strncasecmp(list, word, end - 1) == 0
			 : len == end && strncasecmp(list, word, end) == 0)
			return true;
		list += n;
	}
	return false;
}

static int rules_check(const struct cors_rules *r)
{
	static const char known[] = "DELETE,GET,HEAD,MERGE,OPTIONS,PATCH,POST,PUT";
	for (size_t i = 0; i < r->n; i++) {
		char *const *f = r->v[i].fields;
		for (int k = 0; k < N_FIELDS; k++)
			if (!f[k])
				return BE_MISSING_XML_NODE;
		if (!*f[ORIGINS] || !*f[METHODS] || !*f[MAX_AGE] ||
		    f[MAX_AGE][strspn(f[MAX_AGE], "0123456789")])
			return BE_INVALID_XML_NODE_VALUE;
		for (const char *p = f[METHODS]; *p; p += strcspn(p, ",")) {
			p += strspn(p, ", ");
			if (*p && !list_has(known, p, strcspn(p, ", "), false))
				return BE_INVALID_XML_NODE_VALUE;
		}
	}
	return 0;
}

/* content: what stands inside <Cors>. */
static int rules_parse(const char *content, struct cors_rules *ret)
{
	struct cors_rules r = { 0 };
	struct adafs_xml_handler h = { .start = rules_start, .end = rules_end, .arg = &r };
	ADAFS_FREE char *xml = adafs_fmt("<Cors>%s</Cors>", content);
	int rc = xml ? adafs_xml_parse(xml, strlen(xml), &h, NULL) : -ENOMEM;
	if (rc == -EINVAL)
		rc = BE_INVALID_XML_DOCUMENT;
	if (rc == 0)
		rc = rules_check(&r);
	if (rc != 0)
		rules_clear(&r);
	else
		*ret = r;
	return rc;
}

struct cors {
	struct adafs_mutex lock; /* LEAF */
	struct cors_rules rules ADAFS_GUARDED_BY(&lock);
};

static int setting_name(size_t i, char out[64])
{
	return snprintf(out, 64, "properties/%s", sections[i].name) < 64 ? 0 : -EINVAL;
}

/* What stands inside a section: as set, or as it is at first. Owned. */
static int section_get(struct blob_service *s, size_t i, char **ret)
{
	char name[64];
	int rc = setting_name(i, name);
	if (rc == 0)
		rc = store_setting_get(s->store, name, ret);
	if (rc == 0 && !*ret && !(*ret = strdup(sections[i].initial)))
		rc = -ENOMEM;
	return rc;
}

int cors_new(struct blob_service *s)
{
	ADAFS_FREE char *text = NULL;
	s->cors = calloc(1, sizeof(*s->cors));
	if (!s->cors)
		return -ENOMEM;
	adafs_mutex_init(&s->cors->lock, ADAFS_RANK_LEAF);
	int rc = section_get(s, CORS_SECTION, &text);
	if (rc == 0)
		rc = rules_parse(text, &s->cors->rules);
	return rc > 0 ? -EINVAL : rc;
}

void cors_free(struct cors *c)
{
	if (!c)
		return;
	rules_clear(&c->rules);
	adafs_mutex_clear(&c->lock);
	free(c);
}

/* --- requests -------------------------------------------------------------------------------- */

static const struct cors_rule *find_rule_locked(const struct cors *c, const char *origin,
						const char *method, const char *headers)
{
	for (size_t i = 0; i < c->rules.n; i++) {
		char *const *f = c->rules.v[i].fields;
		bool fits = list_has(f[ORIGINS], "*", 1, false) ||
			    list_has(f[ORIGINS], origin, strlen(origin), false);
		fits = fits && list_has(f[METHODS], method, strlen(method), false);
		for (const char *p = headers; fits && p && *p;) {
			p += strspn(p, ", ");
			size_t n = strcspn(p, ", ");
			fits = !n || list_has(f[HEADERS], p, n, true);
			p += n;
		}
		if (fits)
			return &c->rules.v[i];
	}
	return NULL;
}

static void add_origin(struct http_resp *resp, const struct cors_rule *r, const char *origin)
{
	bool any = list_has(r->fields[ORIGINS], "*", 1, false);
	http_resp_header(resp, "Access-Control-Allow-Origin", any ? "*" : origin);
	if (!any) {
		http_resp_header(resp, "Access-Control-Allow-Credentials", "true");
		http_resp_header(resp, "Vary", "Origin");
	}
}

int op_preflight(struct blob_call *c, struct http_resp *resp)
{
	struct cors *cors = c->service->cors;
	const char *origin = call_header(c, "Origin");
	const char *method = call_header(c, "Access-Control-Request-Method");
	const char *headers = call_header(c, "Access-Control-Request-Headers");
	if (!origin)
		return call_bad_header(c, BE_MISSING_REQUIRED_HEADER, "Origin");
	if (!method)
		return call_bad_header(c, BE_MISSING_REQUIRED_HEADER,
				       "Access-Control-Request-Method");
	adafs_mutex_lock(&cors->lock);
	const struct cors_rule *r = find_rule_locked(cors, origin, method, headers);
	if (r) {
		resp->status = 200;
		add_origin(resp, r, origin);
		http_resp_header(resp, "Access-Control-Allow-Methods", method);
		if (headers)
			http_resp_header(resp, "Access-Control-Allow-Headers", headers);
		http_resp_header(resp, "Access-Control-Max-Age", r->fields[MAX_AGE]);
	}
	adafs_mutex_unlock(&cors->lock);
	return r ? 0 : BE_CORS_PREFLIGHT;
}

/* The headers of this answer that the rule lets a page read. */
static void add_exposed(struct http_resp *resp, const struct cors_rule *r)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(64 * 1024);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < resp->n_headers; i++) {
		const char *name = resp->headers[i].name;
		if (list_has(r->fields[EXPOSED], name, strlen(name), true))
			rc = adafs_buf_addf(&b, "%s%s", b.len ? "," : "", name);
	}
	if (rc == 0 && list_has(r->fields[EXPOSED], "Content-Length", 14, true))
		rc = adafs_buf_addf(&b, "%sContent-Length,Date", b.len ? "," : "");
	if (rc == 0 && b.len)
		http_resp_header(resp, "Access-Control-Expose-Headers", adafs_buf_str(&b));
}

void cors_answer(struct blob_call *c, struct http_resp *resp)
{
	struct cors *cors = c->service->cors;
	const char *origin = call_header(c, "Origin");
	if (!origin || !cors || strcmp(c->req->method, "OPTIONS") == 0)
		return;
	adafs_mutex_lock(&cors->lock);
	const struct cors_rule *r = find_rule_locked(cors, origin, c->req->method, NULL);
	if (r) {
		add_exposed(resp, r);
		add_origin(resp, r, origin);
	}
	adafs_mutex_unlock(&cors->lock);
}

/* --- Get and Set Blob Service Properties ----------------------------------------------------- */

int op_service_properties(struct blob_call *c, struct http_resp *resp)
{
	int rc = answer_xml(resp, 200);
	if (rc == 0)
		rc = adafs_buf_adds(&resp->body, "<" ROOT ">");
	for (size_t i = 0; rc == 0 && i < N_SECTIONS; i++) {
		ADAFS_FREE char *text = NULL;
		rc = section_get(c->service, i, &text);
		if (rc == 0 && (*text || i == CORS_SECTION))
			rc = adafs_buf_addf(&resp->body, "<%s>%s</%s>", sections[i].name, text,
					    sections[i].name);
	}
	return rc == 0 ? adafs_buf_adds(&resp->body, "</" ROOT ">") : rc;
}

/* The sections of a request, each written out again without what no element holds. */
struct properties {
	struct adafs_buf text[N_SECTIONS];
	bool given[N_SECTIONS];
	int at;    /* the section that is being read; -1: none */
	bool leaf; /* nothing was opened since the last start */
	bool root_seen;
};

static void properties_clear(struct properties *p)
{
	for (size_t i = 0; i < N_SECTIONS; i++)
		adafs_buf_clear(&p->text[i]);
}

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static int properties_start(void *arg, const char *path, const char **attrs)
{
	struct properties *p = arg;
	(void)attrs;
	p->leaf = true;
	if (strcmp(path, ROOT) == 0) {
		p->root_seen = true;
		return 0;
	}
	if (!p->root_seen)
		return -EINVAL;
	if (p->at >= 0)
		return adafs_buf_addf(&p->text[p->at], "<%s>", last_name(path));
	for (size_t i = 0; i < N_SECTIONS; i++)
		if (strcmp(last_name(path), sections[i].name) == 0 && !p->given[i])
			p->at = (int)i;
	if (p->at < 0)
		return -EINVAL;
	p->given[p->at] = true;
	return 0;
}

static int properties_end(void *arg, const char *path, const char *text, size_t len)
{
	struct properties *p = arg;
	if (p->at < 0)
		return 0;
	struct adafs_buf *b = &p->text[p->at];
	bool section = strchr(strchr(path, '/') + 1, '/') == NULL;
	int rc = p->leaf ? adafs_xml_escape(b, text, len) : 0;
	p->leaf = false;
	if (section)
		p->at = -1;
	else if (rc == 0)
		rc = adafs_buf_addf(b, "</%s>", last_name(path));
	return rc;
}

static int properties_store(struct blob_service *s, const struct properties *p,
			    struct cors_rules *rules)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < N_SECTIONS; i++) {
		char name[64];
		if (!p->given[i])
			continue;
		rc = setting_name(i, name);
		if (rc == 0)
			rc = store_setting_set(s->store, name, adafs_buf_str(&p->text[i]));
	}
	if (rc != 0 || !p->given[CORS_SECTION])
		return rc;
	adafs_mutex_lock(&s->cors->lock);
	struct cors_rules old = s->cors->rules;
	s->cors->rules = *rules;
	adafs_mutex_unlock(&s->cors->lock);
	*rules = old;
	return 0;
}

int op_set_service_properties(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(properties_clear) struct properties p = { .at = -1 };
	ADAFS_CLEANUP(rules_clear) struct cors_rules rules = { 0 };
	for (size_t i = 0; i < N_SECTIONS; i++)
		adafs_buf_init(&p.text[i], 64 * 1024);
	struct adafs_xml_handler h = { .start = properties_start,
				       .end = properties_end,
				       .arg = &p };
	int rc = call_check_body(c);
	if (rc == 0)
		rc = adafs_xml_parse(adafs_buf_str(&c->req->body), c->req->body.len, &h, NULL);
	if (rc == -EINVAL || rc == -EFBIG)
		rc = BE_INVALID_XML_DOCUMENT;
	if (rc == 0 && p.given[CORS_SECTION])
		rc = rules_parse(adafs_buf_str(&p.text[CORS_SECTION]), &rules);
	if (rc == 0)
		rc = properties_store(c->service, &p, &rules);
	if (rc == 0)
		resp->status = 202;
	return rc;
}
