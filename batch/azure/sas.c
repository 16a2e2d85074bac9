/* azure/sas.c - the texts of service and user delegation SAS and their signatures. Pure. */
#include "batch/azure/sas.h"

#include <errno.h>
#include <string.h>

#include "batch/azure/auth.h"
#include "batch/azure/blob_int.h"
#include "batch/base/buf.h"
#include "batch/base/codec.h"

#define MAX_SAS (64 * 1024)

static const char *text(const char *field)
{
	return field ? field : "";
}

static const char *sas_version(const struct adafs_sas *sas)
{
	return sas->version ? sas->version : BLOB_VERSION;
}

static int add_resource(struct adafs_buf *b, const char *version, const char *account,
			const char *container, const char *blob)
{
	/*
	 * Dates compare as texts. Until 2015-02-20 the service's name was not part of the resource.
	 */
	return adafs_buf_addf(b, "%s/%s/%s%s%s\n",
			      strcmp(version, "2015-02-21") >= 0 ? "/blob" : "", account, container,
			      blob ? "/" : "", text(blob));
}

/* What stands between the resource and the address range: by whose grace, or by which policy. */
static int add_grantor(struct adafs_buf *b, const char *version, const struct adafs_sas *sas)
{
	const struct adafs_sas_delegation *d = sas->delegation;
	if (!d)
		return adafs_buf_addf(b, "%s\n", text(sas->policy));
	int rc = adafs_buf_addf(b, "%s\n%s\n%s\n%s\n%s\n%s\n", d->oid, d->tid, d->start, d->expiry,
				d->service, d->version);
	/* Fields that are not used: saoid suoid scid, skdutid sduoid. */
	if (rc == 0 && strcmp(version, "2020-02-10") >= 0)
		rc = adafs_buf_adds(b, "\n\n\n");
	if (rc == 0 && strcmp(version, "2025-07-05") >= 0)
		rc = adafs_buf_adds(b, "\n\n");
	return rc;
}

char *adafs_sas_string_to_sign(const char *account, const char *container, const char *blob,
			       const struct adafs_sas *sas)
{
	const char *version = sas_version(sas);
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_SAS);
	int rc = adafs_buf_addf(&b, "%s\n%s\n%s\n", text(sas->permissions), text(sas->start),
				text(sas->expiry));
	if (rc == 0)
		rc = add_resource(&b, version, account, container, blob);
	if (rc == 0)
		rc = add_grantor(&b, version, sas);
	if (rc == 0)
		rc = adafs_buf_addf(&b, "%s\n%s\n%s\n", text(sas->ip), text(sas->protocol),
				    version);
	if (rc == 0 && strcmp(version, "2018-11-09") >= 0)
		rc = adafs_buf_addf(&b, "%s\n%s\n", text(sas->resource), text(sas->snapshot));
	if (rc == 0 && strcmp(version, "2020-12-06") >= 0)
		rc = adafs_buf_addf(&b, "%s\n", text(sas->encryption_scope));
	if (rc == 0 && sas->delegation && strcmp(version, "2026-04-06") >= 0)
		rc = adafs_buf_adds(&b,
				    "\n\n"); /* headers and parameters that are demanded: none */
	if (rc == 0)
		rc = adafs_buf_addf(&b, "%s\n%s\n%s\n%s\n%s", text(sas->cache_control),
				    text(sas->content_disposition), text(sas->content_encoding),
				    text(sas->content_language), text(sas->content_type));
	return rc < 0 ? NULL : adafs_buf_steal(&b, NULL);
}

int adafs_sas_sign(const struct adafs_storage_account *a, const char *container, const char *blob,
		   const struct adafs_sas *sas, char **ret_query, struct adafs_err *reterr)
{
	const struct adafs_sas_delegation *d = sas->delegation;
	if (!a->key && !d)
		return adafs_err_set(reterr, -EACCES,
				     "a SAS needs the account key, which is not configured");
	ADAFS_FREE char *string = adafs_sas_string_to_sign(a->name, container, blob, sas);
	ADAFS_FREE char *signature =
		string ? adafs_auth_signature(d ? d->value : a->key, d ? d->value_len : a->key_len,
					      string)
		       : NULL;
	const struct {
		const char *name, *value;
	} fields[] = {
		{ "sv", sas_version(sas) },
		{ "spr", sas->protocol },
		{ "st", sas->start },
		{ "se", sas->expiry },
		{ "sip", sas->ip },
		{ "si", sas->policy },
		{ "ses", sas->encryption_scope },
		{ "sr", sas->resource },
		{ "sp", sas->permissions },
		{ "skoid", d ? d->oid : NULL },
		{ "sktid", d ? d->tid : NULL },
		{ "skt", d ? d->start : NULL },
		{ "ske", d ? d->expiry : NULL },
		{ "sks", d ? d->service : NULL },
		{ "skv", d ? d->version : NULL },
		{ "rscc", sas->cache_control },
		{ "rscd", sas->content_disposition },
		{ "rsce", sas->content_encoding },
		{ "rscl", sas->content_language },
		{ "rsct", sas->content_type },
		{ "sig", signature },
	};
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_SAS);
	int rc = signature ? 0 : -ENOMEM;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(fields) && rc == 0; i++)
		if (fields[i].value && *fields[i].value)
			rc = blob_query_add(&b, fields[i].name, fields[i].value);
	char *query = rc == 0 ? adafs_buf_steal(&b, NULL) : NULL;
	if (!query)
		return adafs_err_set(reterr, -ENOMEM, "out of memory making a SAS");
	*ret_query = query;
	return 0;
}
