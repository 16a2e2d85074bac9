/*
 * emulator/batch/node/identity.h - managed identities of pools: a resource or output file that
 * names one instead of carrying a SAS is moved in its name, within this emulator's own Blob
 * service.
 */
#ifndef ADAFS_EMULATOR_BATCH_IDENTITY_H
#define ADAFS_EMULATOR_BATCH_IDENTITY_H

#include "batch/emulator/batch/service.h"

/* The identity that every pool has; others stand in the pool's "identity". */
#define BATCH_TEST_IDENTITY                                                                   \
	"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/adafs/providers/" \
	"Microsoft.ManagedIdentity/userAssignedIdentities/adafs"

/*
 * Give the URLs in a copy of a task's spec what their identities may do: entries that refer to one
 * of the pool's get a SAS of a delegation key, those that refer to another are marked as refused;
 * containers of the account's own storage (autoStorageContainerName) get such a URL. 0, -ENOMEM or
 * -EIO. Under the service's lock.
 */
int identity_apply_locked(const struct batch_service *s, const struct pool *p, cJSON *spec);
/* Why an entry's identity opens nothing, or NULL. Borrowed. */
const char *identity_refused(const cJSON *entry);

#endif
