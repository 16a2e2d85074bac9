/* Conditional headers: what a read and a write may ask of the state of a resource. */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"

static time_t stamp_seconds(blob_stamp stamp)
{
	return (time_t)(stamp / 1000000);
}

static int parse_date(struct blob_call *c, const char *name, bool *ret_has, time_t *ret_t)
{
	const char *v = call_header(c, name);
	if (!v)
		return 0;
	*ret_has = true;
	if (adafs_clock_parse_rfc1123(v, ret_t) < 0)
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, name);
	return 0;
}

/* The header's name, in room where it has a prefix; most have none. */
static const char *prefixed(const char *prefix, const char *name, char room[64])
{
	if (!*prefix)
		return name;
	snprintf(room, 64, "%s%s", prefix, name);
	return room;
}

int conditions_parse(struct blob_call *c, const char *prefix, struct blob_conditions *ret)
{
	char room[64];
	struct blob_conditions k = { 0 };
	k.match = call_header(c, prefixed(prefix, "if-match", room));
	k.none_match = call_header(c, prefixed(prefix, "if-none-match", room));
	k.tags = call_header(c, *prefix ? prefixed(prefix, "if-tags", room) : "x-ms-if-tags");
	int rc = parse_date(c, prefixed(prefix, "if-modified-since", room), &k.has_modified,
			    &k.modified_since);
	if (rc == 0)
		rc = parse_date(c, prefixed(prefix, "if-unmodified-since", room), &k.has_unmodified,
				&k.unmodified_since);
	if (rc == 0)
		*ret = k;
	return rc;
}

/* Quoted or not, one tag or "*". */
static bool etag_matches(const char *text, blob_stamp stamp)
{
	char have[24];
	blob_etag(stamp, have);
	if (strcmp(text, "*") == 0)
		return true;
	size_t len = strlen(text);
	if (len >= 2 && text[0] == '"' && text[len - 1] == '"') {
		text++;
		len -= 2;
	}
	return len == strlen(have) && strncmp(text, have, len) == 0;
}

int conditions_check_read(const struct blob_conditions *k, blob_stamp stamp)
{
	if (k->none_match && strcmp(k->none_match, "*") == 0)
		return BE_UNSATISFIABLE_CONDITION;
	if (k->match && !etag_matches(k->match, stamp))
		return BE_CONDITION_NOT_MET;
	if (k->has_unmodified && stamp_seconds(stamp) > k->unmodified_since)
		return BE_CONDITION_NOT_MET;
	if (!k->none_match && !k->has_modified)
		return 0;
	bool changed = k->none_match && !etag_matches(k->none_match, stamp);
	bool newer = k->has_modified && stamp_seconds(stamp) > k->modified_since;
	return changed || newer ? 0 : BE_NOT_MODIFIED;
}

int conditions_check_tags(const struct blob_conditions *k, const char *tags)
{
	if (!k->tags)
		return 0;
	int rc = tag_query_matches(k->tags, tags, NULL);
	if (rc == -EINVAL)
		return BE_INVALID_HEADER_VALUE;
	return rc < 0 ? rc : rc ? 0 : BE_CONDITION_NOT_MET;
}

int conditions_dates_only(const struct blob_conditions *k)
{
	return k->match || k->none_match || k->tags ? BE_CONDITIONS_NOT_SUPPORTED : 0;
}

int conditions_refuse(struct blob_call *c)
{
	struct blob_conditions k;
	int rc = conditions_parse(c, "", &k);
	if (rc == 0)
		rc = conditions_dates_only(&k);
	return rc == 0 && (k.has_modified || k.has_unmodified) ? BE_CONDITIONS_NOT_SUPPORTED : rc;
}

int conditions_check_combination(const struct blob_conditions *k)
{
	bool same = k->match || k->has_unmodified, differs = k->none_match || k->has_modified;
	return same && differs ? BE_MULTIPLE_CONDITIONS : 0;
}

int conditions_check_write(const struct blob_conditions *k, bool exists, blob_stamp stamp,
			   bool create)
{
	if (!exists)
		return k->match ? BE_CONDITION_NOT_MET : 0;
	if (k->match && !etag_matches(k->match, stamp))
		return BE_CONDITION_NOT_MET;
	if (k->has_unmodified && stamp_seconds(stamp) > k->unmodified_since)
		return BE_CONDITION_NOT_MET;
	if (create && k->none_match && strcmp(k->none_match, "*") == 0)
		return BE_BLOB_ALREADY_EXISTS;
	if (!k->none_match && !k->has_modified)
		return 0;
	bool changed = k->none_match && !etag_matches(k->none_match, stamp);
	bool newer = k->has_modified && stamp_seconds(stamp) > k->modified_since;
	return changed || newer ? 0 : BE_CONDITION_NOT_MET;
}

int write_guard_init(struct write_guard *g, struct blob_call *c, bool create)
{
	*g = (struct write_guard){ .call = c, .create = create };
	int rc = conditions_parse(c, "", &g->conditions);
	return rc == 0 ? conditions_check_combination(&g->conditions) : rc;
}

int write_guard_check(void *arg, const struct blob_info *existing)
{
	const struct write_guard *g = arg;
	int rc = conditions_check_write(&g->conditions, existing != NULL,
					existing ? existing->stamp : 0, g->create);
	if (rc == 0)
		rc = conditions_check_tags(&g->conditions, existing ? existing->tags : NULL);
	if ((rc == BE_CONDITION_NOT_MET || rc == BE_BLOB_ALREADY_EXISTS) && g->failed)
		rc = g->failed;
	if (rc == 0 && existing && g->create && !g->call->may_overwrite)
		rc = BE_UNAUTHORIZED_OVERWRITE;
	const struct blob_lease *lease = existing ? &existing->lease : NULL;
	if (rc == 0)
		rc = g->reads ? lease_check_read(g->call, lease)
			      : lease_check_write(g->call, lease);
	if (rc == 0 && g->has_type && existing && existing->type != g->type)
		rc = BE_INVALID_BLOB_TYPE;
	if (rc == 0 && g->online && existing->tier && strcmp(existing->tier, "Archive") == 0)
		rc = BE_BLOB_ARCHIVED;
	return rc;
}
