/* fs/setup.c - from settings to clients: what mount and check have in common. */
#include <errno.h>
#include <string.h>

#include "fs/commands.h"

int setup_pipeline(const struct options *o, struct adafs_pipeline **ret, struct adafs_err *reterr)
{
	struct adafs_pipeline *p;
	int rc = adafs_pipeline_load(o->pipeline, &p, reterr);

	if (rc < 0)
		return rc;
	rc = adafs_pipeline_runnable(p, reterr);
	if (rc < 0) {
		adafs_pipeline_unref(p);
		return rc;
	}
	*ret = p;
	return 0;
}

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
		return adafs_err_set(reterr, -EINVAL, "no pool is set: name a pool of Batch account '%s' "
						      "with -o pool=ID", o->batch.name);
	}
	*ret_engine = e;
	return 0;
}

int setup_clients(struct fs *fs, const struct options *o, struct adafs_err *reterr)
{
	const struct adafs_http_config http = { .io_timeout_ms = o->io_timeout_ms };

	fs->http = adafs_http_new(&http, reterr);
	if (!fs->http)
		return -ENOMEM;
	fs->blob = adafs_blob_client_new(fs->http, &o->storage, reterr);
	fs->batch = fs->blob ? adafs_batch_client_new(fs->http, &o->batch, reterr) : NULL;
	if (!fs->batch)
		return reterr->rc ? reterr->rc : -ENOMEM;
	/* Without a key no SAS can be made: results are read with the user's own. */
	fs->results = o->storage.key ? adafs_blob_client_new_sas_reader(fs->blob, reterr) :
				       adafs_blob_client_new(fs->http, &o->storage, reterr);
	return fs->results ? 0 : reterr->rc ? reterr->rc : -ENOMEM;
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
