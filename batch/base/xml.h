/*
 * base/xml.h - the little XML that Blob speaks: an escaping writer and a streaming reader on expat.
 */
#ifndef ADAFS_BASE_XML_H
#define ADAFS_BASE_XML_H

#include <stddef.h>

#include "batch/base/buf.h"
#include "batch/base/err.h"

/* Append text with & < > " and CR escaped, as element content or attribute value. 0 or -errno. */
int adafs_xml_escape(struct adafs_buf *b, const char *text, size_t len);
/* Append <name>escaped text</name>. */
int adafs_xml_element(struct adafs_buf *b, const char *name, const char *text);

/*
 * What a reader is told. `path` is the element's path from the root, "BlockList/Latest". Text
 * comes whole, when its element ends. Any callback may be NULL; a negative return stops the parse
 * and is passed on.
 */
struct adafs_xml_handler {
	int (*start)(void *arg, const char *path, const char **attrs);
	int (*end)(void *arg, const char *path, const char *text, size_t len);
	void *arg;
};

struct adafs_xml_parser;
/* NULL: out of memory. A text of more than 1 MiB in one element and depth above 32 are refused. */
struct adafs_xml_parser *adafs_xml_parser_new(const struct adafs_xml_handler *handler);
/* Feed the next part of the document; last says that it is the end. 0, -EINVAL, or a callback's
 * code. */
int adafs_xml_feed(struct adafs_xml_parser *p, const char *data, size_t len, int last,
		   struct adafs_err *reterr);
void adafs_xml_parser_free(struct adafs_xml_parser *p);
/* A whole document at once. */
int adafs_xml_parse(const char *data, size_t len, const struct adafs_xml_handler *handler,
		    struct adafs_err *reterr);

#endif
