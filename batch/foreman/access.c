/*
 * foreman/access.c - what the SAS of tasks hang on: with an account key a stored access policy of
 * the container, with Entra ID a user delegation key. Made before use, extended while work waits.
 */
#include <errno.h>

#include "batch/azure/sas.h"
#include "batch/base/buf.h"
#include "batch/base/log.h"
#include "batch/foreman/internal.h"
#include "batch/foreman/policy.h"

#define MAX_CHECK_US (INT64_C(12) * 3600 * 1000000)
#define DELEGATION_CHECK_US (INT64_C(3600) * 1000000)
/* Nothing is there: to list it is the smallest thing that a SAS of the policy may ask for. */
#define NOTHING_PREFIX "assets/.adafs/none/"

static int64_t life_us(const struct adafs_foreman *f)
{
	return (int64_t)(f->urls.life_s ? f->urls.life_s : POLICY_LIFE_S) * 1000000;
}

static int write_policies(struct adafs_foreman *f, const struct adafs_blob_acl *acl,
			  struct adafs_err *reterr)
{
	int rc = adafs_blob_container_set_acl(f->blob, f->container, acl, reterr);
	if (rc)
		adafs_err_prefix(reterr, "cannot set the stored access policy of container '%s'",
				 f->container);
	return rc;
}

static int read_policies(struct adafs_foreman *f, struct adafs_blob_acl *ret,
			 struct adafs_err *reterr)
{
	int rc = adafs_blob_container_get_acl(f->blob, f->container, ret, reterr);
	if (rc == -ENOENT) {
		rc = adafs_blob_container_create(f->blob, f->container, reterr);
		if (rc == 0 || rc == -EEXIST)
			rc = adafs_blob_container_get_acl(f->blob, f->container, ret, reterr);
	}
	if (rc)
		adafs_err_prefix(reterr, "container '%s'", f->container);
	return rc;
}

static int setup_policy(struct adafs_foreman *f, struct adafs_err *reterr)
{
	struct adafs_blob_acl acl = { 0 };
	bool changed, added;
	int rc = read_policies(f, &acl, reterr);
	if (rc)
		return rc;
	int64_t now_us = adafs_blob_now_us(f->blob);
	rc = policy_merge(acl.policy, &acl.n, now_us, life_us(f), &changed, &added);
	if (rc == -ENOSPC)
		return adafs_err_set(
			reterr, rc,
			"container '%s' has five stored access policies of others: remove one, "
			"adafs needs one of its own",
			f->container);
	int64_t check_us = life_us(f) / 4;
	f->policy_check_us = now_us + (check_us < MAX_CHECK_US ? check_us : MAX_CHECK_US);
	if (!changed)
		return 0;
	if (added)
		f->policy_proven = false;
	return write_policies(f, &acl, reterr);
}

bool foreman_access_due(struct adafs_foreman *f)
{
	return f->policy_check_us && adafs_blob_now_us(f->blob) >= f->policy_check_us;
}

int foreman_setup_access(struct adafs_foreman *f, struct adafs_err *reterr)
{
	const struct adafs_storage_account *a = adafs_blob_client_account(f->blob);
	if (a->token) {
		f->policy_proven = true;
		f->policy_check_us = adafs_blob_now_us(f->blob) + DELEGATION_CHECK_US;
		return adafs_blob_delegation_renew(f->blob, reterr);
	}
	/* With a SAS only, tasks get the user's own and there is no policy to set. */
	if (!a->key || !*f->urls.policy) {
		f->policy_proven = true;
		return 0;
	}
	return setup_policy(f, reterr);
}

static int any_blob(void *arg, const char *name, const struct adafs_blob_props *props)
{
	(void)arg;
	(void)name;
	(void)props;
	return 0;
}

int foreman_prove_access(struct adafs_foreman *f, struct adafs_err *reterr)
{
	if (f->policy_proven)
		return 0;
	ADAFS_FREE char *url =
		sas_url_make(&f->urls, ADAFS_PLAN_READ_CONTAINER, NULL, NULL, reterr);
	if (!url)
		return -EACCES;
	int rc = adafs_blob_list_url(adafs_blob_client_http(f->blob), url, NOTHING_PREFIX, any_blob,
				     NULL, reterr);
	if (rc == -EACCES)
		return adafs_err_set(reterr, -EAGAIN,
				     "waits for the container's new access policy to take effect");
	if (rc == 0) {
		f->policy_proven = true;
	} else if (reterr->http_status == 500 && adafs_blob_client_account(f->blob)->path_style) {
		/*
		 * Azurite fails on a policy without permissions. The service takes it, and a
		 * failure of its own must not cost the tasks what can be extended: its endpoints
		 * are never path-style.
		 */
		adafs_log(WARN, "foreman",
			  "the Blob service cannot do stored access policies: the "
			  "SAS of tasks hold their own expiry, which nothing extends");
		*f->urls.policy = 0;
		f->policy_proven = true;
		rc = 0;
	}
	return rc;
}
