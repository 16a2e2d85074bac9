/* foreman/policy.h - stored access policies of the container, merged with those of others. Pure. */
#ifndef ADAFS_FOREMAN_POLICY_H
#define ADAFS_FOREMAN_POLICY_H

#include "batch/azure/blob.h"

/* Policies of ours are named adafs-1 to adafs-3. */
#define POLICY_FIRST "adafs-1"
#define POLICY_LIFE_S (30 * 86400)

/*
 * Make sure that POLICY_FIRST is among the *n policies and lives for at least half of life_us from
 * now_us on, else for life_us. *ret_changed: they must be written; *ret_added: it is new (the
 * service needs 30 s to know it). -ENOSPC: five foreign ones are there.
 */
int policy_merge(struct adafs_blob_policy *policies, size_t *n, int64_t now_us, int64_t life_us,
		 bool *ret_changed, bool *ret_added);

#endif
