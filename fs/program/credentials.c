/* fs/program/credentials.c - accounts out of their texts: which credential counts, and whether it
 * can do. */
#include "fs/program/credentials.h"

#include <errno.h>
#include <string.h>

#include "batch/azure/sas_rights.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"

/* Whether the account has what auth= asks for; what it does not ask for is taken away. */
static int check_auth(struct credentials *c, struct adafs_err *reterr)
{
	struct adafs_storage_account *a = &c->o->storage;

	bool whole = c->cred[CRED_CONNECTION] != NULL; /* a key or SAS beside it does not count */
	const char *before = whole ? ", and the connection string goes before" : ": set";
	const char *fix = whole ? ": take it away, or put its own in" : "";

	if (c->o->auth == AUTH_KEY && !a->key)
		return adafs_err_set(reterr, -EINVAL,
				     "auth=key, but storage account '%s' has no key%s "
				     "AZURE_STORAGE_KEY%s",
				     a->name, before, fix);
	if (c->o->auth == AUTH_SAS && !a->sas)
		return adafs_err_set(reterr, -EINVAL,
				     "auth=sas, but storage account '%s' has no SAS%s "
				     "AZURE_STORAGE_SAS_TOKEN%s",
				     a->name, before, fix);
	if (c->o->auth != AUTH_ENTRA)
		return 0;
	if (a->key)
		explicit_bzero(a->key, a->key_len);
	free(ADAFS_STEAL(a->key));
	if (a->sas)
		explicit_bzero(a->sas, strlen(a->sas));
	free(ADAFS_STEAL(a->sas));
	return 0;
}

static int make_storage(struct credentials *c, struct adafs_err *reterr)
{
	char *const *cred = c->cred;

	if (!cred[CRED_CONNECTION] && !cred[CRED_ACCOUNT]) {
		if (cred[CRED_KEY] || cred[CRED_SAS] || cred[CRED_ENDPOINT])
			return adafs_err_set(
				reterr, -EINVAL,
				"a storage key, SAS or endpoint is set, but no account: set "
				"AZURE_STORAGE_ACCOUNT");
		return 0;
	}
	c->o->has_storage = true;
	enum options_auth auth = c->o->auth;
	const char *key = auth == AUTH_AUTO || auth == AUTH_KEY ? cred[CRED_KEY] : NULL;
	const char *sas = auth == AUTH_SAS || (auth == AUTH_AUTO && !key) ? cred[CRED_SAS] : NULL;
	int rc =
		cred[CRED_CONNECTION]
			? adafs_storage_account_parse(&c->o->storage, cred[CRED_CONNECTION], reterr)
			: adafs_storage_account_set(&c->o->storage, cred[CRED_ACCOUNT],
						    cred[CRED_ENDPOINT], key, sas, reterr);
	if (rc == 0 && cred[CRED_CONNECTION] && cred[CRED_ACCOUNT] &&
	    strcmp(c->o->storage.name, cred[CRED_ACCOUNT]) != 0)
		return adafs_err_set(
			reterr, -EINVAL,
			"the connection string is of storage account '%s' and AZURE_STORAGE_ACCOUNT "
			"says '%s': take one of them away",
			c->o->storage.name, cred[CRED_ACCOUNT]);
	return rc < 0 ? rc : check_auth(c, reterr);
}

/* What the SAS permits is known by its text: a mount that could not work is refused here. */
static int check_sas(struct options *o, struct adafs_err *reterr)
{
	struct adafs_sas_rights rights;
	enum adafs_sas_use use;

	if (!o->storage.sas)
		return 0;
	if (adafs_sas_rights_parse(o->storage.sas, &rights, reterr) < 0)
		return -EINVAL;
	if (adafs_sas_rights_check(&rights, adafs_clock_wall_us(), o->read_only, &use, reterr) < 0)
		return -EACCES;
	if (use == ADAFS_SAS_READ_WRITE)
		return 0;
	if (!o->read_only)
		adafs_log(WARN, "fs", "the SAS permits reading only (sp=%s): mounted read-only",
			  rights.permissions);
	o->read_only = o->reads_only = true;
	return 0;
}

static int make_batch(struct credentials *c, struct adafs_err *reterr)
{
	static const char *const names[] = { "AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ACCESS_KEY",
					     "AZURE_BATCH_ENDPOINT" };
	char *const *cred = c->cred + CRED_BATCH_ACCOUNT;

	if (!cred[0] && !cred[1] && !cred[2])
		return 0;
	/* Without a key it is for Entra ID. */
	for (int i = 0; i < 3; i++)
		if (!cred[i] && (i != 1 || c->o->auth == AUTH_KEY))
			return adafs_err_set(reterr, -EINVAL,
					     "the Batch account is only half set: %s is missing",
					     names[i]);
	c->o->has_batch = true;
	return adafs_batch_account_set(&c->o->batch, cred[0], cred[2],
				       c->o->auth == AUTH_ENTRA ? NULL : cred[1], reterr);
}

/* Settings of Entra ID, which has no options but auth= and identity=. */
static int make_entra(struct credentials *c, struct adafs_err *reterr)
{
	char *identity = ADAFS_STEAL(c->o->entra.identity);
	int rc = adafs_entra_from_environment(&c->o->entra, reterr);

	c->o->entra.identity = identity;
	if (rc == 0 && identity && c->o->auth != AUTH_AUTO && c->auth_kind != ADAFS_ENTRA_MANAGED)
		return adafs_err_set(reterr, -EINVAL,
				     "identity= names a managed identity, and auth= asks for "
				     "something else: set auth=msi, or take identity= away");
	if (rc == 0 && c->o->auth == AUTH_ENTRA)
		c->o->entra.kind = c->auth_kind;
	return rc;
}

int credentials_apply(struct credentials *c, struct adafs_err *reterr)
{
	int rc = make_entra(c, reterr);

	if (rc == 0)
		rc = make_storage(c, reterr);
	if (rc == 0)
		rc = check_sas(c->o, reterr);
	return rc == 0 ? make_batch(c, reterr) : rc;
}
