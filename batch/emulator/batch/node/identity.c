/* Identities of pools: which ones a pool has, and what lets their holders into Blob. */
#include "batch/emulator/batch/node/identity.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "batch/azure/account.h"
#include "batch/azure/sas.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/emulator/token.h"

#define REFUSED "refused" /* member of the reference; clients cannot send it */
#define IDENTITY_OID "00000000-0000-0000-0000-00000000ada5"
#define IDENTITY_TID "00000000-0000-0000-0000-000000000000"
/* A task may run for long before it stores anything, and tests set the clock of SAS. */
#define LIFE_US (30LL * 86400 * 1000000)

const char *identity_refused(const cJSON *entry)
{
	return adafs_json_str(adafs_json_get(entry, "identityReference"), REFUSED, NULL);
}

static bool pool_has(const struct pool *p, const char *id)
{
	const cJSON *item;
	if (strcasecmp(id, BATCH_TEST_IDENTITY) == 0)
		return true;
	cJSON_ArrayForEach(item, adafs_json_path(p->e.spec, "identity/userAssignedIdentities")) if (
		strcasecmp(adafs_json_str(item, "resourceId", ""), id) == 0) return true;
	return false;
}

/* The container of a URL of our own Blob service, decoded; free(). NULL: it is elsewhere. */
static char *own_container(const struct batch_service *s, const char *url)
{
	ADAFS_FREE char *root = s->blob_authority
					? adafs_fmt("http://%s/%s/", s->blob_authority, s->account)
					: NULL;
	if (!root || strncmp(url, root, strlen(root)) != 0)
		return NULL;
	const char *name = url + strlen(root);
	size_t len = strcspn(name, "/?");
	return len ? adafs_url_decode(name, len, false) : NULL;
}

static int make_key(const struct batch_service *s, struct adafs_sas_delegation *ret)
{
	int64_t now = adafs_clock_wall_us();
	char start[ADAFS_ISO8601_LEN], expiry[ADAFS_ISO8601_LEN];
	adafs_clock_iso8601_seconds(now - LIFE_US, start);
	adafs_clock_iso8601_seconds(now + LIFE_US, expiry);
	snprintf(ret->oid, sizeof(ret->oid), "%s", IDENTITY_OID);
	snprintf(ret->tid, sizeof(ret->tid), "%s", IDENTITY_TID);
	snprintf(ret->start, sizeof(ret->start), "%.20s", start);
	snprintf(ret->expiry, sizeof(ret->expiry), "%.20s", expiry);
	snprintf(ret->service, sizeof(ret->service), "b");
	snprintf(ret->version, sizeof(ret->version), "2021-12-02");
	struct delegation_fields f = { .oid = ret->oid,
				       .tid = ret->tid,
				       .start = ret->start,
				       .expiry = ret->expiry,
				       .service = ret->service,
				       .version = ret->version,
				       .may_write = true };
	ret->value_len = ADAFS_SHA256_LEN;
	return delegation_key(s->key, s->key_len, &f, ret->value);
}

/* url with a SAS for its container; free(). */
static int with_sas(const struct batch_service *s, const char *container, const char *url,
		    char **ret)
{
	struct adafs_sas_delegation key = { 0 };
	struct adafs_storage_account account = { .name = s->account };
	int rc = make_key(s, &key);
	struct adafs_sas sas = { .version = "2021-12-02",
				 .resource = "c",
				 .permissions = "racwdl",
				 .expiry = key.expiry,
				 .delegation = &key };
	ADAFS_FREE char *query = NULL;
	if (rc == 0)
		rc = adafs_sas_sign(&account, container, NULL, &sas, &query, NULL);
	explicit_bzero(&key, sizeof(key));
	if (rc < 0)
		return rc;
	*ret = adafs_fmt("%s%c%s", url, strchr(url, '?') ? '&' : '?', query);
	return *ret ? 0 : -ENOMEM;
}

static int refuse(cJSON *reference, const char *why)
{
	return cJSON_AddStringToObject(reference, REFUSED, why) ? 0 : -ENOMEM;
}

static int apply_to(const struct batch_service *s, const struct pool *p, cJSON *entry,
		    const char *member)
{
	cJSON *reference = cJSON_GetObjectItemCaseSensitive(entry, "identityReference");
	const char *id = adafs_json_str(reference, "resourceId", NULL);
	const char *url = adafs_json_str(entry, member, NULL);
	if (!id || !url)
		return 0;
	if (!pool_has(p, id))
		return refuse(reference, "The identity is not assigned to the pool");
	ADAFS_FREE char *container = own_container(s, url);
	if (!container)
		return refuse(reference, "The identity has no access to this storage account");
	if (strstr(url, "sig="))
		return 0;
	ADAFS_FREE char *opened = NULL;
	int rc = with_sas(s, container, url, &opened);
	if (rc < 0)
		return rc;
	return cJSON_SetValuestring(cJSON_GetObjectItemCaseSensitive(entry, member), opened)
		       ? 0
		       : -ENOMEM;
}

/*
 * A container of the account's own storage, which is this emulator's, needs no SAS of the client.
 */
static int apply_auto_storage(const struct batch_service *s, cJSON *entry)
{
	const char *container = adafs_json_str(entry, "autoStorageContainerName", NULL);
	if (!container || !s->blob_authority)
		return 0;
	ADAFS_FREE char *name = adafs_url_encode(container, strlen(container), "");
	ADAFS_FREE char *url =
		name ? adafs_fmt("http://%s/%s/%s", s->blob_authority, s->account, name) : NULL;
	ADAFS_FREE char *opened = NULL;
	int rc = url ? with_sas(s, container, url, &opened) : -ENOMEM;
	if (rc < 0)
		return rc;
	return cJSON_AddStringToObject(entry, "storageContainerUrl", opened) ? 0 : -ENOMEM;
}

int identity_apply_locked(const struct batch_service *s, const struct pool *p, cJSON *spec)
{
	int rc = 0;
	cJSON *item;
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(spec, "resourceFiles"))
	{
		if (rc == 0)
			rc = apply_to(s, p, item, "httpUrl");
		if (rc == 0)
			rc = apply_to(s, p, item, "storageContainerUrl");
		if (rc == 0)
			rc = apply_auto_storage(s, item);
	}
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(spec, "outputFiles"))
	{
		cJSON *destination = cJSON_GetObjectItemCaseSensitive(item, "destination");
		if (rc == 0)
			rc = apply_to(s, p,
				      cJSON_GetObjectItemCaseSensitive(destination, "container"),
				      "containerUrl");
	}
	return rc;
}
