/*
 * base/xml_scan.c - one pass over the document. A start tag whose text ends in its own end tag is a
 * leaf; one that is followed by another tag holds elements, and what stands between these may only
 * be white space and comments.
 */
#include "batch/base/xml_scan.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "batch/base/codec.h"

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-' || c == '.' || c == ':' || (unsigned char)c >= 0x80;
}

void adafs_xml_scan_init(struct adafs_xml_scan *s, char *doc, size_t len)
{
	static const char mark[] = "\xef\xbb\xbf";
	*s = (struct adafs_xml_scan){ .p = doc, .end = doc + len };
	*s->end = 0;
	if (len >= 3 && memcmp(doc, mark, 3) == 0)
		s->p += 3;
}

static void skip_space(struct adafs_xml_scan *s)
{
	while (is_space(*s->p))
		s->p++;
}

/* --- text ---------------------------------------------------------------------------------- */
/* Append a character as UTF-8; characters that XML does not have are refused. */
static int put_char(char **out, uint32_t c)
{
	char *o = *out;
	if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (c >= 0xd800 && c < 0xe000) ||
	    c == 0xfffe || c == 0xffff || c > 0x10ffff)
		return -EINVAL;
	if (c < 0x80) {
		*o++ = (char)c;
	} else if (c < 0x800) {
		*o++ = (char)(0xc0 | c >> 6);
		*o++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*o++ = (char)(0xe0 | c >> 12);
		*o++ = (char)(0x80 | (c >> 6 & 0x3f));
		*o++ = (char)(0x80 | (c & 0x3f));
	} else {
		*o++ = (char)(0xf0 | c >> 18);
		*o++ = (char)(0x80 | (c >> 12 & 0x3f));
		*o++ = (char)(0x80 | (c >> 6 & 0x3f));
		*o++ = (char)(0x80 | (c & 0x3f));
	}
	*out = o;
	return 0;
}

/* The character of "#38" or "#x26". */
static int char_reference(const char *name, size_t len, uint32_t *ret)
{
	unsigned base = len > 1 && name[1] == 'x' ? 16 : 10;
	size_t i = base == 16 ? 2 : 1;
	uint32_t c = 0;
	if (i == len)
		return -EINVAL;
	for (; i < len; i++) {
		unsigned digit = name[i] >= '0' && name[i] <= '9'   ? (unsigned)(name[i] - '0')
				 : name[i] >= 'a' && name[i] <= 'f' ? (unsigned)(name[i] - 'a') + 10
				 : name[i] >= 'A' && name[i] <= 'F' ? (unsigned)(name[i] - 'A') + 10
								    : 16;
		if (digit >= base || c > 0x10ffff)
			return -EINVAL;
		c = c * base + digit;
	}
	*ret = c;
	return 0;
}

static int entity(const char *name, size_t len, uint32_t *ret)
{
	static const struct {
		const char *name;
		char c;
	} known[] = {
		{ "amp", '&' }, { "lt", '<' }, { "gt", '>' }, { "quot", '"' }, { "apos", '\'' }
	};
	if (len > 0 && name[0] == '#')
		return char_reference(name, len, ret);
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (strlen(known[i].name) == len && memcmp(known[i].name, name, len) == 0) {
			*ret = (uint32_t)known[i].c;
			return 0;
		}
	}
	return -EINVAL;
}

/*
 * Decode entities and line ends in place; what a reference gives is never longer than the
 * reference.
 */
static int decode(char *text, size_t *len)
{
	char *out = text;
	const char *end = text + *len;
	for (const char *p = text; p < end;) {
		uint32_t c;
		if (*p == '\r') {
			p += p + 1 < end && p[1] == '\n' ? 2 : 1;
			*out++ = '\n';
		} else if (*p == '&') {
			const char *semicolon = memchr(p, ';', (size_t)(end - p));
			if (!semicolon || entity(p + 1, (size_t)(semicolon - p) - 1, &c) ||
			    put_char(&out, c))
				return -EINVAL;
			p = semicolon + 1;
		} else {
			*out++ = *p++;
		}
	}
	*len = (size_t)(out - text);
	return 0;
}

static int check_text(char *text, size_t *len)
{
	bool plain = true, ascii = true;
	for (size_t i = 0; i < *len; i++) {
		unsigned char c = (unsigned char)text[i];
		ascii = ascii && c < 0x80;
		plain = plain && c != '&' && c != '\r';
		if (c < 0x20 && c != '\t' && c != '\n' && c != '\r')
			return -EINVAL;
	}
	if (!ascii && !adafs_utf8_valid(text, *len))
		return -EINVAL;
	return plain ? 0 : decode(text, len);
}

/* --- tags ---------------------------------------------------------------------------------- */
/* Past comments and the XML declaration; p is at '<'. 1: there was one, 0: none, -EINVAL. */
static int skip_unsaid(struct adafs_xml_scan *s)
{
	const char *close;
	if (s->p[1] == '?')
		close = "?>";
	else if (strncmp(s->p, "<!--", 4) == 0)
		close = "-->";
	else
		return s->p[1] == '!' ? -EINVAL : 0;
	size_t opening = *close == '?' ? 2 : 4;
	char *end = (size_t)(s->end - s->p) < opening
			    ? NULL
			    : memmem(s->p + opening, (size_t)(s->end - s->p) - opening, close,
				     strlen(close));
	if (!end)
		return -EINVAL;
	s->p = end + strlen(close);
	return 1;
}

/* Read "</name>" at p and compare it with the name. */
static int read_end_tag(struct adafs_xml_scan *s, const char *name, size_t len)
{
	if ((size_t)(s->end - s->p) < len + 3 || memcmp(s->p + 2, name, len) != 0)
		return -EINVAL;
	s->p += 2 + len;
	skip_space(s);
	return *s->p++ == '>' ? 0 : -EINVAL;
}

/* The name and attributes of the start tag at p, to behind its '>'. *ret_empty: it was "<x/>". */
static int read_start_tag(struct adafs_xml_scan *s, bool *ret_empty)
{
	s->name = ++s->p;
	while (is_name(*s->p))
		s->p++;
	s->name_len = (size_t)(s->p - s->name);
	s->attrs = s->p;
	char quote = 0;
	for (; *s->p && (quote || *s->p != '>'); s->p++) {
		if (*s->p == '<')
			return -EINVAL;
		if (quote ? *s->p == quote : *s->p == '"' || *s->p == '\'')
			quote = quote ? 0 : *s->p;
	}
	if (s->name_len == 0 || *s->p != '>' ||
	    (*s->attrs != '>' && *s->attrs != '/' && !is_space(*s->attrs)))
		return -EINVAL;
	s->attrs_len = (size_t)(s->p - s->attrs);
	*ret_empty = s->attrs_len > 0 && s->p[-1] == '/';
	s->attrs_len -= *ret_empty;
	s->p++;
	return 0;
}

static int read_element(struct adafs_xml_scan *s)
{
	bool empty;
	int rc = read_start_tag(s, &empty);
	if (rc < 0)
		return rc;
	s->text_len = 0;
	if (empty) {
		static char nothing[1];
		s->text = nothing;
		return ADAFS_XML_LEAF;
	}
	char *text = s->p;
	s->p = memchr(text, '<', (size_t)(s->end - text));
	if (!s->p)
		return -EINVAL;
	size_t len = (size_t)(s->p - text);
	if (s->p[1] == '/') {
		rc = read_end_tag(s, s->name, s->name_len);
		if (rc == 0)
			rc = check_text(text, &len);
		if (rc < 0)
			return rc;
		text[len] = 0; /* at the latest the '<' of the end tag */
		s->text = text;
		s->text_len = len;
		return ADAFS_XML_LEAF;
	}
	s->p = text;
	if (s->depth == ADAFS_XML_SCAN_DEPTH)
		return -EINVAL;
	s->open[s->depth].name = s->name;
	s->open[s->depth++].len = s->name_len;
	return ADAFS_XML_START;
}

int adafs_xml_scan_next(struct adafs_xml_scan *s)
{
	int rc;
	do {
		skip_space(s);
		if (s->p == s->end)
			return s->depth == 0 && s->name ? ADAFS_XML_DONE : -EINVAL;
		rc = *s->p == '<' ? skip_unsaid(s) : -EINVAL;
	} while (rc > 0);
	if (rc < 0)
		return rc;
	if (s->p[1] == '/') {
		if (s->depth == 0)
			return -EINVAL;
		s->name = s->open[--s->depth].name;
		s->name_len = s->open[s->depth].len;
		rc = read_end_tag(s, s->name, s->name_len);
		return rc < 0 ? rc : ADAFS_XML_ENDED;
	}
	/* One root. */
	if (s->depth == 0 && s->name)
		return -EINVAL;
	return read_element(s);
}

int adafs_xml_scan_skip(struct adafs_xml_scan *s)
{
	unsigned outside = s->depth - 1;
	while (s->depth > outside) {
		int rc = adafs_xml_scan_next(s);
		if (rc < 0)
			return rc;
	}
	return 0;
}

bool adafs_xml_scan_is(const struct adafs_xml_scan *s, const char *name)
{
	return strlen(name) == s->name_len && memcmp(name, s->name, s->name_len) == 0;
}

bool adafs_xml_scan_has_attr(const struct adafs_xml_scan *s, const char *name, const char *value)
{
	size_t name_len = strlen(name), value_len = strlen(value);
	const char *p = s->attrs, *end = p + s->attrs_len;
	while (p < end) {
		while (p < end && is_space(*p))
			p++;
		const char *start = p;
		while (p < end && is_name(*p))
			p++;
		bool same = (size_t)(p - start) == name_len && memcmp(start, name, name_len) == 0;
		while (p < end && *p != '"' && *p != '\'')
			p++;
		if (p == end)
			return false;
		char quote = *p++;
		start = p;
		while (p < end && *p != quote)
			p++;
		if (same)
			return (size_t)(p - start) == value_len &&
			       memcmp(start, value, value_len) == 0;
		p++;
	}
	return false;
}
