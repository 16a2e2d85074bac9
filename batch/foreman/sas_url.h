/*
 * foreman/sas_url.h - the URLs that tasks get: with an account key a service SAS that names a
 * stored access policy, which holds the expiry; with Entra ID a user delegation SAS that lives as
 * long as its key; with a SAS only, the user's own, if the user says so. Where the nodes of the
 * pool have an identity they need none of these.
 */
#ifndef ADAFS_FOREMAN_SAS_URL_H
#define ADAFS_FOREMAN_SAS_URL_H

#include "batch/azure/blob.h"
#include "batch/pipeline/plan.h"

struct sas_urls {
	const struct adafs_blob_client *blob; /* borrowed */
	const char *container;                /* borrowed */
	char policy[65]; /* "": the service cannot do policies, and a SAS holds its own expiry */
	uint32_t life_s; /* of a SAS, or of its policy when it was made; 0: the longest that is
			    usual */
	bool own_sas;    /* the user's own may be handed out */
	bool bare;       /* without a SAS: nodes have an identity of their own */
};

/* An adafs_plan_url_fn; arg is a struct sas_urls. */
char *sas_url_make(void *arg, enum adafs_plan_access access, const char *blob, const char *snapshot,
		   struct adafs_err *reterr);

#endif
