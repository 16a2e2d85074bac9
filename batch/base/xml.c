/*
 * base/xml.c - the writer escapes into a buffer; the reader hands expat's elements on by
 * callbacks.
 */
#include "batch/base/xml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <expat.h>

#define MAX_DEPTH 32
#define MAX_TEXT (1024 * 1024)

static const char *entity(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\r': /* a raw one is read back as a line feed */
		return "&#xD;";
	default:
		return NULL;
	}
}

int adafs_xml_escape(struct adafs_buf *b, const char *text, size_t len)
{
	int rc = 0;
	size_t start = 0;
	for (size_t i = 0; i < len && rc == 0; i++) {
		const char *e = entity(text[i]);
		if (!e)
			continue;
		rc = adafs_buf_add(b, text + start, i - start);
		if (rc == 0)
			rc = adafs_buf_adds(b, e);
		start = i + 1;
	}
	return rc == 0 ? adafs_buf_add(b, text + start, len - start) : rc;
}

int adafs_xml_element(struct adafs_buf *b, const char *name, const char *text)
{
	int rc = adafs_buf_adds(b, "<");
	if (rc == 0)
		rc = adafs_buf_adds(b, name);
	if (rc == 0)
		rc = adafs_buf_adds(b, ">");
	if (rc == 0)
		rc = adafs_xml_escape(b, text, strlen(text));
	if (rc == 0)
		rc = adafs_buf_adds(b, "</");
	if (rc == 0)
		rc = adafs_buf_adds(b, name);
	return rc == 0 ? adafs_buf_adds(b, ">") : rc;
}

struct adafs_xml_parser {
	XML_Parser expat;
	struct adafs_xml_handler handler;
	struct adafs_buf path;
	struct adafs_buf text;
	int depth;
	int rc;
};

static void stop(struct adafs_xml_parser *p, int rc)
{
	p->rc = rc;
	XML_StopParser(p->expat, XML_FALSE);
}

static void on_start(void *arg, const char *name, const char **attrs)
{
	struct adafs_xml_parser *p = arg;
	if (++p->depth > MAX_DEPTH ||
	    adafs_buf_addf(&p->path, "%s%s", p->path.len ? "/" : "", name) < 0) {
		stop(p, -EINVAL);
		return;
	}
	adafs_buf_reset(&p->text);
	if (p->handler.start) {
		int rc = p->handler.start(p->handler.arg, p->path.data, attrs);
		if (rc < 0)
			stop(p, rc);
	}
}

static void on_end(void *arg, const char *name)
{
	struct adafs_xml_parser *p = arg;
	if (p->rc < 0) /* expat ends an empty element even after it was stopped inside its start */
		return;
	if (p->handler.end) {
		int rc = p->handler.end(p->handler.arg, p->path.data, adafs_buf_str(&p->text),
					p->text.len);
		if (rc < 0)
			stop(p, rc);
	}
	adafs_buf_reset(&p->text);
	p->depth--;
	p->path.len -= strlen(name) + (p->depth > 0);
	p->path.data[p->path.len] = 0;
}

static void on_text(void *arg, const char *text, int len)
{
	struct adafs_xml_parser *p = arg;
	if (adafs_buf_add(&p->text, text, (size_t)len) < 0)
		stop(p, -EFBIG);
}

/* No document of Blob declares entities: one that does is an attack. */
static void on_entity(void *arg, const XML_Char *name, int is_parameter, const XML_Char *value,
		      int value_len, const XML_Char *base, const XML_Char *system_id,
		      const XML_Char *public_id, const XML_Char *notation)
{
	(void)name;
	(void)is_parameter;
	(void)value;
	(void)value_len;
	(void)base;
	(void)system_id;
	(void)public_id;
	(void)notation;
	stop(arg, -EINVAL);
}

struct adafs_xml_parser *adafs_xml_parser_new(const struct adafs_xml_handler *handler)
{
	struct adafs_xml_parser *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->expat = XML_ParserCreate("UTF-8");
	if (!p->expat) {
		free(p);
		return NULL;
	}
	p->handler = *handler;
	adafs_buf_init(&p->path, 4096);
	adafs_buf_init(&p->text, MAX_TEXT);
	XML_SetUserData(p->expat, p);
	XML_SetElementHandler(p->expat, on_start, on_end);
	XML_SetCharacterDataHandler(p->expat, on_text);
	XML_SetEntityDeclHandler(p->expat, on_entity);
	return p;
}

int adafs_xml_feed(struct adafs_xml_parser *p, const char *data, size_t len, int last,
		   struct adafs_err *reterr)
{
	if (p->rc < 0)
		return adafs_err_set(reterr, p->rc, "the XML was refused");
	if (len > INT32_MAX)
		return adafs_err_set(reterr, -EFBIG, "an XML part of %zu bytes is too large", len);
	if (XML_Parse(p->expat, data, (int)len, last) != XML_STATUS_ERROR)
		return 0;
	if (p->rc == 0)
		p->rc = -EINVAL;
	return adafs_err_set(reterr, p->rc, "line %lu, column %lu: %s",
			     (unsigned long)XML_GetCurrentLineNumber(p->expat),
			     (unsigned long)XML_GetCurrentColumnNumber(p->expat),
			     XML_ErrorString(XML_GetErrorCode(p->expat)));
}

void adafs_xml_parser_free(struct adafs_xml_parser *p)
{
	if (!p)
		return;
	XML_ParserFree(p->expat);
	adafs_buf_clear(&p->path);
	adafs_buf_clear(&p->text);
	free(p);
}

int adafs_xml_parse(const char *data, size_t len, const struct adafs_xml_handler *handler,
		    struct adafs_err *reterr)
{
	struct adafs_xml_parser *p = adafs_xml_parser_new(handler);
	if (!p)
		return adafs_err_set(reterr, -ENOMEM, "out of memory parsing XML");
	int rc = adafs_xml_feed(p, data, len, 1, reterr);
	adafs_xml_parser_free(p);
	return rc;
}
