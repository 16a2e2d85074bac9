/*
 * foreman/sas_url.c - URLs with the rights that a task needs: to read a blob, to write to the
 * container.
 */
#include "batch/foreman/sas_url.h"

#include <errno.h>
#include <string.h>

#include "batch/azure/sas.h"
#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"

/* Without a policy that could cut it: as long as Azure lets a user delegation SAS live. */
#define MAX_OWN_LIFE_S (7u * 86400)

static int make_query(const struct sas_urls *u, enum adafs_plan_access access, const char *blob,
		      const char *snapshot, char **ret, struct adafs_err *reterr)
{
	const struct adafs_storage_account *a = adafs_blob_client_account(u->blob);
	if (a->sas && !u->own_sas)
		return adafs_err_set(
			reterr, -EACCES,
			"this mount has only a SAS, and nodes would get it as it is: mount "
			"with -o sas_to_tasks if they may, or with a key or Entra ID");
	if (a->sas) {
		*ret = strdup(a->sas);
		return *ret ? 0 : adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	struct adafs_sas sas = { .policy = *u->policy ? u->policy : NULL };
	char expiry[32];
	uint32_t life_s = u->life_s ? u->life_s : MAX_OWN_LIFE_S;
	/* A user delegation SAS never outlives its key, whatever stands here. */
	if (a->token || !sas.policy) {
		adafs_clock_iso8601_seconds(adafs_blob_now_us(u->blob) + life_s * INT64_C(1000000),
					    expiry);
		sas.expiry = expiry;
	}
	switch (access) {
	case ADAFS_PLAN_READ_BLOB:
		sas.resource = snapshot ? "bs" : "b";
		sas.permissions = "r";
		sas.snapshot = snapshot;
		break;
	case ADAFS_PLAN_READ_CONTAINER:
		sas.resource = "c";
		sas.permissions = "rl";
		break;
	case ADAFS_PLAN_WRITE_CONTAINER:
		sas.resource = "c";
		sas.permissions = "cw";
		break;
	}
	return adafs_blob_sas(u->blob, u->container, blob, &sas, ret, reterr);
}

char *sas_url_make(void *arg, enum adafs_plan_access access, const char *blob, const char *snapshot,
		   struct adafs_err *reterr)
{
	const struct sas_urls *u = arg;
	ADAFS_FREE char *query = NULL;
	if (snapshot && !*snapshot)
		snapshot = NULL;
	if (access != ADAFS_PLAN_READ_BLOB)
		blob = snapshot = NULL;
	if (!u->bare && make_query(u, access, blob, snapshot, &query, reterr))
		return NULL;
	ADAFS_FREE char *url = adafs_blob_url(u->blob, u->container, blob);
	ADAFS_FREE char *time = snapshot ? adafs_url_encode(snapshot, strlen(snapshot), "") : NULL;
	char *whole = NULL;
	if (url && time)
		whole = adafs_fmt("%s?snapshot=%s%s%s", url, time, query ? "&" : "",
				  query ? query : "");
	else if (url && !snapshot)
		whole = adafs_fmt("%s%s%s", url, query ? "?" : "", query ? query : "");
	if (!whole)
		adafs_err_set(reterr, -ENOMEM, "out of memory");
	return whole;
}
