/* foreman/pool_settings.h - what a pool is made from when it is missing: the pool_... settings. */
#ifndef ADAFS_FOREMAN_POOL_SETTINGS_H
#define ADAFS_FOREMAN_POOL_SETTINGS_H

#include <stdint.h>

/* NULL and 0: not set. Texts are owned by whoever filled it. */
struct adafs_pool_settings {
	char *vm_sizes; /* "STANDARD_NC4AS_T4_V3,STANDARD_NC8AS_T4_V3": the next when one cannot be
			   had; NULL: no pool is made */
	char *image;    /* publisher:offer:sku[:version] */
	char *node_agent; /* "batch.node.ubuntu 22.04" */
	char *containers; /* images that a node pulls before its first task, parted by commas; NULL:
			     the pipeline's */
	char *registry;   /* server that they come from; NULL: Docker Hub or one without a login */
	char *registry_user, *registry_password;
	uint32_t dedicated, spot; /* the most nodes; both 0: one dedicated */
	uint32_t slots;           /* of a node; 0: the pipeline's largest step, at least 4 */
};

#endif
