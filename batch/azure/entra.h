/*
 * azure/entra.h - what Microsoft Entra ID is asked with: the settings of all its credentials, as
 * the environment of Azure's own tools names them, and the resources that tokens are for.
 */
#ifndef ADAFS_AZURE_ENTRA_H
#define ADAFS_AZURE_ENTRA_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "batch/base/err.h"

/* Which credential is used. */
enum adafs_entra_kind {
	ADAFS_ENTRA_AUTO,        /* the first of the following that is there */
	ADAFS_ENTRA_ENVIRONMENT, /* a secret or a certificate of AZURE_CLIENT_ID */
	ADAFS_ENTRA_WORKLOAD,    /* workload identity federation */
	ADAFS_ENTRA_MANAGED,     /* managed identity */
	ADAFS_ENTRA_CLI,         /* who is signed in to the az command line */
};

/* All texts are owned; NULL: not set. Beside each its variable. */
struct adafs_entra {
	enum adafs_entra_kind kind;
	char *tenant;               /* AZURE_TENANT_ID */
	char *client;               /* AZURE_CLIENT_ID */
	char *secret;               /* AZURE_CLIENT_SECRET */
	char *certificate;          /* AZURE_CLIENT_CERTIFICATE_PATH, PEM with its key */
	char *certificate_password; /* AZURE_CLIENT_CERTIFICATE_PASSWORD */
	char *token_file;           /* AZURE_FEDERATED_TOKEN_FILE */
	char *authority;            /* AZURE_AUTHORITY_HOST; NULL: the cloud's of the resource */
	char *imds_host; /* AZURE_POD_IDENTITY_AUTHORITY_HOST; NULL: http://169.254.169.254 */
	char *endpoint;  /* IDENTITY_ENDPOINT, of App Service and Arc */
	char *header;    /* IDENTITY_HEADER, of App Service */
	char *arc;       /* IMDS_ENDPOINT, of Arc */
	char *arc_keys;  /* folder of Arc's key files; NULL: /var/opt/azcmagent/tokens */
	/* A managed identity other than AZURE_CLIENT_ID: a client id, "object:ID", or a resource
	 * id. */
	char *identity;
};

/*
 * Take the settings from the environment, AZURE_TOKEN_CREDENTIALS included. 0, -ENOMEM, or -EINVAL
 * for a value of that which nobody knows.
 */
int adafs_entra_from_environment(struct adafs_entra *e, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* 0 or -ENOMEM; dst is cleared then. */
int adafs_entra_copy(struct adafs_entra *dst, const struct adafs_entra *src) ADAFS_MUST_CHECK;
/* Wipe and free the texts. */
void adafs_entra_clear(struct adafs_entra *e);

/* What a token is for. Static texts. */
struct adafs_entra_resource {
	const char *resource;  /* "https://storage.azure.com/" */
	const char *scope;     /* the same for the v2 endpoint, with .default */
	const char *authority; /* of the cloud that the endpoint is in */
};
/* By the suffix of the service's endpoint: the public cloud, US government or China. */
struct adafs_entra_resource adafs_entra_storage(const char *endpoint);
struct adafs_entra_resource adafs_entra_batch(const char *endpoint);

/*
 * A client assertion (RFC 7523 as Entra ID wants it: PS256, x5t#S256) signed with the private key
 * of a PEM text that holds the certificate too; good for ten minutes from now. password may be
 * NULL. free() it; NULL: reterr says what is wrong with the file's content.
 */
char *adafs_entra_assertion(const char *pem, size_t len, const char *password, const char *client,
			    const char *audience, const char *jti, time_t now,
			    struct adafs_err *reterr);

#endif
