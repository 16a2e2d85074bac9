/*
 * azure/sas_rights.c - a SAS taken apart, and judged before anything is asked of the service. Pure.
 */
#include "batch/azure/sas_rights.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"

/* Keep one decoded field. 0, -EINVAL: it is longer than any that is right. */
static int keep(char *at, size_t size, const char *value)
{
	if (strlen(value) >= size)
		return -EINVAL;
	memcpy(at, value, strlen(value) + 1);
	return 0;
}

static int take_field(struct adafs_sas_rights *r, const char *name, size_t len, const char *value,
		      int64_t *key_expiry_us)
{
	const struct {
		const char *name;
		char *text;
		size_t size;
		int64_t *time_us;
		bool *flag;
	} fields[] = {
		{ "sr", r->resource, sizeof(r->resource), NULL, NULL },
		{ "ss", r->services, sizeof(r->services), NULL, &r->account },
		{ "srt", r->types, sizeof(r->types), NULL, &r->account },
		{ "sp", r->permissions, sizeof(r->permissions), NULL, NULL },
		{ "st", NULL, 0, &r->start_us, NULL },
		{ "se", NULL, 0, &r->expiry_us, NULL },
		{ "ske", NULL, 0, key_expiry_us, NULL },
		{ "si", NULL, 0, NULL, &r->by_policy },
		{ "skoid", NULL, 0, NULL, &r->delegated },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(fields); i++) {
		if (strlen(fields[i].name) != len || strncmp(fields[i].name, name, len) != 0)
			continue;
		int rc = fields[i].text ? keep(fields[i].text, fields[i].size, value) : 0;
		if (fields[i].time_us)
			rc = adafs_clock_parse_iso8601(value, fields[i].time_us);
		if (fields[i].flag)
			*fields[i].flag = true;
		return rc;
	}
	return 0;
}

int adafs_sas_rights_parse(const char *sas, struct adafs_sas_rights *ret, struct adafs_err *reterr)
{
	struct adafs_sas_rights r = { 0 };
	int64_t key_expiry_us = 0;
	bool version = false, signature = false;
	for (const char *p = sas; *p;) {
		size_t len = strcspn(p, "&"), name_len = strcspn(p, "=&");
		const char *name = p, *value = p + name_len + (p[name_len] == '=');
		p += len + (p[len] == '&');
		if (!name_len)
			continue;
		version = version || (name_len == 2 && strncmp(name, "sv", 2) == 0);
		signature = signature || (name_len == 3 && strncmp(name, "sig", 3) == 0);
		ADAFS_FREE char *text =
			adafs_url_decode(value, (size_t)(name + len - value), false);
		if (!text || take_field(&r, name, name_len, text, &key_expiry_us) < 0)
			return adafs_err_set(reterr, -EINVAL,
					     "the SAS is broken: its %.*s= cannot be read",
					     (int)name_len, name);
	}
	if (!version || !signature)
		return adafs_err_set(
			reterr, -EINVAL,
			"the SAS is cut off: it has no %s=; quote it in the shell, since "
			"it holds '&'",
			version ? "sig" : "sv");
	if (!r.account && !*r.resource)
		return adafs_err_set(reterr, -EINVAL,
				     "the SAS is cut off: it has neither sr= nor ss= and srt=");
	if (key_expiry_us && (!r.expiry_us || key_expiry_us < r.expiry_us))
		r.expiry_us = key_expiry_us;
	*ret = r;
	return 0;
}

static bool has(const struct adafs_sas_rights *r, const char *letters)
{
	/* What a policy grants only the service knows. */
	return (r->by_policy && !*r->permissions) || strpbrk(r->permissions, letters) != NULL;
}

static int check_kind(const struct adafs_sas_rights *r, struct adafs_err *reterr)
{
	if (r->account && !strchr(r->services, 'b'))
		return adafs_err_set(reterr, -EACCES,
				     "the account SAS is not for Blob (ss=%s): make one with b",
				     r->services);
	if (r->account && (!strchr(r->types, 'c') || !strchr(r->types, 'o')))
		return adafs_err_set(
			reterr, -EACCES,
			"the account SAS is for the resource types %s only: make one with co "
			"(container, object), or sco",
			r->types);
	if (!r->account && strcmp(r->resource, "c") != 0)
		return adafs_err_set(reterr, -EACCES,
				     "the SAS is for one %s only (sr=%s): a mount needs one of the "
				     "container (sr=c) or the account",
				     strcmp(r->resource, "d") == 0 ? "directory" : "blob",
				     r->resource);
	return 0;
}

static int check_time(const struct adafs_sas_rights *r, int64_t now_us, struct adafs_err *reterr)
{
	char text[ADAFS_ISO8601_LEN];
	if (r->expiry_us && r->expiry_us <= now_us) {
		adafs_clock_iso8601_seconds(r->expiry_us, text);
		return adafs_err_set(reterr, -EACCES, "the SAS ended at %s: make a new one", text);
	}
	if (r->start_us > now_us) {
		adafs_clock_iso8601_seconds(r->start_us, text);
		return adafs_err_set(reterr, -EACCES,
				     "the SAS starts at %s only: wait, or make one without a start",
				     text);
	}
	return 0;
}

int adafs_sas_rights_check(const struct adafs_sas_rights *r, int64_t now_us, bool read_only,
			   enum adafs_sas_use *ret_use, struct adafs_err *reterr)
{
	static const struct {
		const char *letters, *name;
	} wanted[] = { { "c", "c (create)" }, { "w", "w (write)" }, { "d", "d (delete)" } };
	int rc = check_kind(r, reterr);
	if (rc == 0)
		rc = check_time(r, now_us, reterr);
	if (rc < 0)
		return rc;
	if (!has(r, "r") || !has(r, "l"))
		return adafs_err_set(
			reterr, -EACCES,
			"the SAS (sp=%s) lacks %s: nothing can be shown without; make one with "
			"racwdl, or rl to read only",
			r->permissions, has(r, "r") ? "l (list)" : "r (read)");
	if (read_only || !has(r, "acwd")) {
		*ret_use = ADAFS_SAS_READ_ONLY;
		return 0;
	}
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(wanted); i++)
		if (!has(r, wanted[i].letters))
			return adafs_err_set(
				reterr, -EACCES,
				"the SAS (sp=%s) lacks %s: make one with racwdl, or mount "
				"with -o ro",
				r->permissions, wanted[i].name);
	*ret_use = ADAFS_SAS_READ_WRITE;
	return 0;
}

bool adafs_sas_rights_may_create(const struct adafs_sas_rights *r)
{
	return r->account && strchr(r->types, 'c') && strpbrk(r->permissions, "cw");
}

char *adafs_sas_rights_describe(const struct adafs_sas_rights *r)
{
	char until[ADAFS_ISO8601_LEN];
	adafs_clock_iso8601_seconds(r->expiry_us, until);
	return adafs_fmt("%s SAS with %s, good until %s",
			 r->account            ? "an account"
			 : r->delegated        ? "a user delegation"
			 : *r->resource == 'c' ? "a container"
					       : "a blob",
			 *r->permissions ? r->permissions : "the rights of its policy",
			 r->expiry_us ? until : "its policy says");
}
