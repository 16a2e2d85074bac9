/*
 * base/xml_scan.h - a pull reader for the plain XML that services answer lists with: a whole UTF-8
 * document in memory, elements that hold either elements or text. Several times faster than the
 * streaming reader of xml.h, and as strict: tags match, text is well-formed, declarations of types
 * and entities, CDATA and mixed content are refused.
 */
#ifndef ADAFS_BASE_XML_SCAN_H
#define ADAFS_BASE_XML_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#define ADAFS_XML_SCAN_DEPTH 32

/* Texts point into the document; names are not ended by a NUL. */
struct adafs_xml_scan {
	const char *name; /* of the element that the last token is about */
	size_t name_len;
	const char *attrs; /* of a start or leaf: what stands between the name and '>' */
	size_t attrs_len;
	char *text; /* of a leaf: decoded in place and ended by a NUL */
	size_t text_len;
	unsigned depth; /* elements that are open */
	/* The reader's own. */
	char *p, *end;
	struct {
		const char *name;
		size_t len;
	} open[ADAFS_XML_SCAN_DEPTH];
};

enum adafs_xml_token {
	ADAFS_XML_START, /* an element that holds elements */
	ADAFS_XML_LEAF,  /* a whole element with text, or empty */
	ADAFS_XML_ENDED, /* the end of a START */
	ADAFS_XML_DONE,  /* the document's end */
};

/* doc[len] must be writable and is set to NUL; doc is changed by the reader and borrowed by it. */
void adafs_xml_scan_init(struct adafs_xml_scan *s, char *doc, size_t len);
/* The next token, or -EINVAL: not well-formed, or not plain. */
int adafs_xml_scan_next(struct adafs_xml_scan *s);
/* Go behind the element whose START was the last token. 0 or -EINVAL. */
int adafs_xml_scan_skip(struct adafs_xml_scan *s);
/* Whether the last token's name is this one. */
bool adafs_xml_scan_is(const struct adafs_xml_scan *s, const char *name);
/* Whether attrs hold name="value" without entities. */
bool adafs_xml_scan_has_attr(const struct adafs_xml_scan *s, const char *name, const char *value);

#endif
