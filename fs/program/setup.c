/* fs/program/setup.c - from settings to clients: what mount and check have in common. */
#include <errno.h>
#include <string.h>

#include "batch/azure/sas_rights.h"
#include "batch/azure/token.h"
#include "fs/program/commands.h"

int setup_engine(struct options *o, struct engine **ret_engine, struct adafs_err *reterr)
{
	struct engine *e = NULL;

	*ret_engine = NULL;
	if (!o->has_storage || !o->has_batch) {
		int rc = engine_open(o->dir, &e, reterr);
		if (rc == 0)
			rc = engine_fill(e, o, reterr);
		if (rc < 0) {
			engine_close(e, false);
			return rc;
		}
	}
	if (!o->pool && !o->has_batch)
		o->pool = strdup("local");
	if (!o->pool) {
		engine_close(e, false);
		return adafs_err_set(reterr, -EINVAL,
				     "no pool is set: name a pool of Batch account '%s' "
				     "with -o pool=ID",
				     o->batch.name);
	}
	*ret_engine = e;
	return 0;
}

/*
 * The clients of an account that has nothing else enter by a token. *ret stays NULL where it has.
 */
static int make_token(struct fs *fs, const struct options *o, bool wanted,
		      struct adafs_entra_resource resource, struct adafs_token **ret,
		      struct adafs_err *reterr)
{
	*ret = wanted ? adafs_token_new(fs->http, &o->entra, &resource, reterr) : NULL;
	return wanted && !*ret ? -ENOMEM : 0;
}

static int make_blob_clients(struct fs *fs, const struct options *o, struct adafs_err *reterr)
{
	struct adafs_storage_account account = o->storage; /* borrows all but the token */
	int rc = make_token(fs, o, !account.key && !account.sas,
			    adafs_entra_storage(account.endpoint), &account.token, reterr);

	if (rc < 0)
		return rc;
	fs->blob = adafs_blob_client_new(fs->http, &account, reterr);
	adafs_token_unref(account.token);
	fs->results = fs->blob ? adafs_blob_client_new_sas_reader(fs->blob, reterr) : NULL;
	return fs->results ? 0 : reterr->rc ? reterr->rc : -ENOMEM;
}

static int make_batch_client(struct fs *fs, const struct options *o, struct adafs_err *reterr)
{
	struct adafs_batch_account account = o->batch; /* borrows all but the token */
	int rc = make_token(fs, o, !account.key, adafs_entra_batch(account.endpoint),
			    &account.token, reterr);

	if (rc < 0)
		return rc;
	fs->batch = adafs_batch_client_new(fs->http, &account, reterr);
	adafs_token_unref(account.token);
	return fs->batch ? 0 : reterr->rc ? reterr->rc : -ENOMEM;
}

int setup_clients(struct fs *fs, const struct options *o, struct adafs_err *reterr)
{
	const struct adafs_http_config http = { .io_timeout_ms = o->io_timeout_ms };

	fs->http = adafs_http_new(&http, reterr);
	if (!fs->http)
		return -ENOMEM;
	int rc = make_blob_clients(fs, o, reterr);
	return rc < 0 ? rc : make_batch_client(fs, o, reterr);
}

/* --- the container ------------------------------------------------------------------------ */

static int any_blob(void *arg, const char *name, const struct adafs_blob_props *props)
{
	(void)arg;
	(void)name;
	(void)props;
	return 0;
}

/* Whether the credential may make a container, as far as its text tells. */
static bool may_create(const struct options *o)
{
	struct adafs_sas_rights rights;

	return !o->storage.sas || (adafs_sas_rights_parse(o->storage.sas, &rights, NULL) == 0 &&
				   adafs_sas_rights_may_create(&rights));
}

int setup_container(struct fs *fs, struct adafs_err *reterr)
{
	/* What is wrong with a credential is said by it, not by the first request that has none. */
	if (adafs_blob_client_ready(fs->blob, reterr) < 0 ||
	    adafs_batch_client_ready(fs->batch, reterr) < 0)
		return reterr->rc;
	/* A SAS of the container, or a role in it alone, may not ask for the container itself. */
	int rc = fs->options->storage.key ? -ENOENT
					  : adafs_blob_list_some(fs->blob, fs->container, "", NULL,
								 0, 1, any_blob, NULL, reterr);

	if (rc == -ENOENT && !may_create(fs->options))
		return adafs_err_set(reterr, rc,
				     "container '%s' does not exist, and this SAS cannot make it: "
				     "name another with -o container=NAME, or create it",
				     fs->container);
	if (rc == -ENOENT)
		rc = adafs_blob_container_create(fs->blob, fs->container, reterr);
	if (rc == -EEXIST)
		return 0;
	if (rc < 0)
		adafs_err_prefix(reterr, "container '%s'", fs->container);
	return rc;
}

void free_clients(struct fs *fs)
{
	if (fs->results)
		adafs_blob_client_free(ADAFS_STEAL(fs->results));
	if (fs->blob)
		adafs_blob_client_free(ADAFS_STEAL(fs->blob));
	if (fs->batch)
		adafs_batch_client_free(ADAFS_STEAL(fs->batch));
	if (fs->http)
		adafs_http_free(ADAFS_STEAL(fs->http));
}
