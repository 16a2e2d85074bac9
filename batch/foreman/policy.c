/* foreman/policy.c - our policy added to those of others, or renewed. Pure. */
#include "batch/foreman/policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "batch/base/clock.h"

int policy_merge(struct adafs_blob_policy *policies, size_t *n, int64_t now_us, int64_t life_us,
		 bool *ret_changed, bool *ret_added)
{
	struct adafs_blob_policy *p = NULL;
	bool added = false, changed = false;
	for (size_t i = 0; i < *n; i++)
		if (strcmp(policies[i].id, POLICY_FIRST) == 0)
			p = &policies[i];
	if (!p) {
		if (*n == ADAFS_BLOB_MAX_POLICIES)
			return -ENOSPC;
		p = &policies[(*n)++];
		*p = (struct adafs_blob_policy){ .id = POLICY_FIRST };
		added = true;
	}
	int64_t expiry_us = 0;
	if (adafs_clock_parse_iso8601(p->expiry, &expiry_us) || expiry_us < now_us + life_us / 2) {
		adafs_clock_iso8601_seconds(now_us + life_us, p->expiry);
		changed = true;
	}
	/* A field may stand in the policy or in the SAS, never in both: ours are in the SAS. */
	if (*p->permissions || *p->start) {
		*p->permissions = *p->start = 0;
		changed = true;
	}
	*ret_changed = changed || added;
	*ret_added = added;
	return 0;
}
