/* meta.c - metadata of blobs as attributes of files. Pure. */
#include "fs/blob/meta.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "batch/base/codec.h"
#include "fs/blob/blobs.h"

#define USER "user."
#define RESERVED "adafs."
#define ESCAPED "xattr_"
#define BASE64 "base64:"
#define NAME_MAX_BYTES 255

bool meta_is_own(const char *name)
{
	return !strncasecmp(name, "adafs", 5) || !strcasecmp(name, META_MTIME) ||
	       !strcasecmp(name, META_FOLDER) || !strcasecmp(name, META_LINK);
}

int meta_carry(struct adafs_blob_meta *dst, const struct adafs_blob_meta *src)
{
	int rc = 0;
	for (size_t i = 0; i < src->n && !rc; i++)
		if (!meta_is_own(src->item[i].name))
			rc = adafs_blob_meta_set(dst, src->item[i].name, src->item[i].value);
	return rc;
}

static mode_t default_mode(bool is_dir)
{
	return is_dir ? 0755 : 0644;
}

mode_t meta_mode(const struct adafs_blob_meta *m, bool is_dir)
{
	const char *text = adafs_blob_meta_get(m, META_MODE);
	char *end;
	if (!text || !*text)
		return default_mode(is_dir);
	unsigned long mode = strtoul(text, &end, 8);
	return *end || mode > 0177777 ? default_mode(is_dir) : (mode_t)(mode & 0777);
}

/* --- removing ------------------------------------------------------------------------------- */
static int meta_remove(struct adafs_blob_meta *m, const char *name)
{
	struct adafs_blob_meta rest = { 0 };
	for (size_t i = 0; i < m->n; i++) {
		int rc = strcasecmp(m->item[i].name, name)
				 ? adafs_blob_meta_set(&rest, m->item[i].name, m->item[i].value)
				 : 0;
		if (rc) {
			adafs_blob_meta_clear(&rest);
			return rc;
		}
	}
	adafs_blob_meta_clear(m);
	*m = rest;
	return 0;
}

/*
 * --- names of attributes -----------------------------------------------------------------------
 */
static bool reserved(const char *meta_name)
{
	return meta_is_own(meta_name) || !strcasecmp(meta_name, META_MODE);
}

/* Whether metadata can have this name, and nobody would take it for something else. */
static bool plain_name(const char *name)
{
	if (!islower((unsigned char)*name) && *name != '_')
		return false;
	for (const char *p = name; *p; p++)
		if (!islower((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '_')
			return false;
	return !reserved(name) && strncmp(name, ESCAPED, strlen(ESCAPED));
}

/* The metadata's name of an attribute (without "user."); free() it. NULL: out of memory. */
static char *meta_name_of(const char *name)
{
	if (plain_name(name))
		return strdup(name);
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(1024);
	int rc = adafs_buf_adds(&b, ESCAPED);
	for (; *name && !rc; name++) {
		unsigned char ch = (unsigned char)*name;
		rc = islower(ch) || isdigit(ch) ? adafs_buf_add(&b, name, 1)
						: adafs_buf_addf(&b, "_%02x", ch);
	}
	return rc ? NULL : adafs_buf_steal(&b, NULL);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool unescape(const char *text, char ret[NAME_MAX_BYTES + 1])
{
	size_t n = 0;
	for (; *text; text++) {
		char ch = (char)tolower((unsigned char)*text);
		if (ch == '_') {
			int high = text[1] ? hex_digit((char)tolower((unsigned char)text[1])) : -1;
			int low = high >= 0 && text[2]
					  ? hex_digit((char)tolower((unsigned char)text[2]))
					  : -1;
			if (low < 0 || high + low == 0)
				return false;
			ch = (char)(high << 4 | low);
			text += 2;
		}
		if (n == NAME_MAX_BYTES)
			return false;
		ret[n++] = ch;
	}
	ret[n] = 0;
	return n > 0;
}

/* The attribute's name (without "user.") of metadata. False: it is none. */
static bool xattr_name_of(const char *meta_name, char ret[NAME_MAX_BYTES + 1])
{
	if (reserved(meta_name))
		return false;
	if (!strncasecmp(meta_name, ESCAPED, strlen(ESCAPED)) &&
	    unescape(meta_name + strlen(ESCAPED), ret))
		return strlen(ret) + strlen(USER) <= NAME_MAX_BYTES;
	size_t n = strlen(meta_name);
	if (n + strlen(USER) > NAME_MAX_BYTES)
		return false;
	for (size_t i = 0; i <= n; i++)
		ret[i] = (char)tolower((unsigned char)meta_name[i]);
	return true;
}

/* The item that holds user.<name>; NULL: none. */
static const struct adafs_http_header *find(const struct adafs_blob_meta *m, const char *name)
{
	char theirs[NAME_MAX_BYTES + 1];
	for (size_t i = 0; i < m->n; i++)
		if (xattr_name_of(m->item[i].name, theirs) && !strcmp(theirs, name))
			return &m->item[i];
	return NULL;
}

/*
 * --- values ------------------------------------------------------------------------------------
 */
/* Headers lose spaces at the ends, and some clients drop empty ones. */
static bool plain_value(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)value[i] < 0x20 || (unsigned char)value[i] > 0x7e)
			return false;
	return len && value[0] != ' ' && value[len - 1] != ' ' &&
	       (len < strlen(BASE64) || memcmp(value, BASE64, strlen(BASE64)));
}

static char *encode_value(const void *value, size_t len)
{
	if (plain_value(value, len))
		return strndup(value, len);
	ADAFS_FREE char *text = adafs_base64_encode(value, len);
	return text ? adafs_fmt(BASE64 "%s", text) : NULL;
}

static int decode_value(const char *text, struct adafs_buf *ret)
{
	ADAFS_FREE uint8_t *data = NULL;
	size_t len, n = strlen(BASE64);
	if (!strncmp(text, BASE64, n) &&
	    !adafs_base64_decode(text + n, strlen(text + n), &data, &len))
		return adafs_buf_add(ret, data, len);
	return adafs_buf_adds(ret, text);
}

/*
 * --- attributes ----------------------------------------------------------------------------------
 */
static size_t xattrs_size(const struct adafs_blob_meta *m)
{
	size_t n = 0;
	for (size_t i = 0; i < m->n; i++)
		if (!reserved(m->item[i].name))
			n += strlen(m->item[i].name) + strlen(m->item[i].value);
	return n;
}

static int set_xattr(struct adafs_blob_meta *m, const struct meta_change *ch, bool *ret_changed)
{
	const char *name = ch->xattr + strlen(USER);
	const struct adafs_http_header *old = find(m, name);
	if (old && (ch->xattr_flags & XATTR_CREATE))
		return -EEXIST;
	if (!old && (ch->xattr_flags & XATTR_REPLACE))
		return -ENODATA;
	/* An attribute that another program made keeps its name. */
	ADAFS_FREE char *key = old ? strdup(old->name) : meta_name_of(name);
	ADAFS_FREE char *value = encode_value(ch->value, ch->value_len);
	if (!key || !value)
		return -ENOMEM;
	size_t own = strlen(key) + strlen(value);
	size_t others = xattrs_size(m) - (old ? strlen(old->name) + strlen(old->value) : 0);
	if (own > META_XATTR_MAX)
		return -E2BIG;
	if (others + own > META_XATTR_MAX)
		return -ENOSPC;
	if (old && !strcmp(old->value, value))
		return 0;
	*ret_changed = true;
	return adafs_blob_meta_set(m, key, value);
}

static int remove_xattr(struct adafs_blob_meta *m, const struct meta_change *ch, bool *ret_changed)
{
	const struct adafs_http_header *old = find(m, ch->xattr + strlen(USER));
	if (!old)
		return -ENODATA;
	ADAFS_FREE char *key = strdup(old->name);
	*ret_changed = true;
	return key ? meta_remove(m, key) : -ENOMEM;
}

static int change_xattr(struct adafs_blob_meta *m, const struct meta_change *ch, bool *ret_changed)
{
	if (strncmp(ch->xattr, USER, strlen(USER)) || !ch->xattr[strlen(USER)])
		return -EOPNOTSUPP;
	if (!strncmp(ch->xattr + strlen(USER), RESERVED, strlen(RESERVED)))
		return -EPERM;
	return ch->value ? set_xattr(m, ch, ret_changed) : remove_xattr(m, ch, ret_changed);
}

int meta_xattr_get(const struct adafs_blob_meta *m, const char *xattr, struct adafs_buf *ret)
{
	if (strncmp(xattr, USER, strlen(USER)))
		return -ENODATA;
	const struct adafs_http_header *item = find(m, xattr + strlen(USER));
	return item ? decode_value(item->value, ret) : -ENODATA;
}

int meta_xattr_list(const struct adafs_blob_meta *m, struct adafs_buf *ret)
{
	char name[NAME_MAX_BYTES + 1];
	int rc = 0;
	for (size_t i = 0; i < m->n && !rc; i++) {
		if (!xattr_name_of(m->item[i].name, name))
			continue;
		rc = adafs_buf_adds(ret, USER);
		if (!rc)
			rc = adafs_buf_add(ret, name, strlen(name) + 1);
	}
	return rc;
}

/*
 * --- changes -------------------------------------------------------------------------------------
 */
/* Bits that everything has anyway need no metadata. */
static int change_mode(struct adafs_blob_meta *m, mode_t mode, bool is_dir, bool *ret_changed)
{
	char text[16];
	mode &= 0777;
	if (mode == meta_mode(m, is_dir))
		return 0;
	*ret_changed = true;
	if (mode == default_mode(is_dir))
		return meta_remove(m, META_MODE);
	snprintf(text, sizeof(text), "%o", (unsigned)((is_dir ? S_IFDIR : S_IFREG) | mode));
	return adafs_blob_meta_set(m, META_MODE, text);
}

static int change_mtime(struct adafs_blob_meta *m, const struct timespec *t, bool *ret_changed)
{
	const char *old = adafs_blob_meta_get(m, META_MTIME);
	struct timespec was;
	char text[BLOB_MTIME_LEN];
	if (old && blob_mtime_parse(old, &was) && was.tv_sec == t->tv_sec &&
	    was.tv_nsec == t->tv_nsec)
		return 0;
	*ret_changed = true;
	blob_mtime_format(*t, text);
	return adafs_blob_meta_set(m, META_MTIME, text);
}

int meta_apply(struct adafs_blob_meta *m, const struct meta_change *ch, bool is_dir,
	       bool *ret_changed)
{
	*ret_changed = false;
	int rc = ch->mtime ? change_mtime(m, ch->mtime, ret_changed) : 0;
	if (!rc && ch->mode)
		rc = change_mode(m, *ch->mode, is_dir, ret_changed);
	if (!rc && ch->xattr)
		rc = change_xattr(m, ch, ret_changed);
	return rc;
}
