/*
 * azure/entra.c - the settings of Entra ID's credentials, and which cloud an endpoint is in. Pure.
 */
#include "batch/azure/entra.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/cleanup.h"

#define AT(member) offsetof(struct adafs_entra, member)
static const struct {
	const char *variable; /* NULL: not of the environment */
	size_t at;
} texts[] = {
	{ "AZURE_TENANT_ID", AT(tenant) },
	{ "AZURE_CLIENT_ID", AT(client) },
	{ "AZURE_CLIENT_SECRET", AT(secret) },
	{ "AZURE_CLIENT_CERTIFICATE_PATH", AT(certificate) },
	{ "AZURE_CLIENT_CERTIFICATE_PASSWORD", AT(certificate_password) },
	{ "AZURE_FEDERATED_TOKEN_FILE", AT(token_file) },
	{ "AZURE_AUTHORITY_HOST", AT(authority) },
	{ "AZURE_POD_IDENTITY_AUTHORITY_HOST", AT(imds_host) },
	{ "IDENTITY_ENDPOINT", AT(endpoint) },
	{ "IDENTITY_HEADER", AT(header) },
	{ "IMDS_ENDPOINT", AT(arc) },
	{ NULL, AT(arc_keys) },
	{ NULL, AT(identity) },
};

static char **text_at(struct adafs_entra *e, size_t i)
{
	return (char **)((char *)e + texts[i].at);
}

void adafs_entra_clear(struct adafs_entra *e)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(texts); i++) {
		char *text = *text_at(e, i);
		if (text)
			explicit_bzero(text, strlen(text));
		free(text);
	}
	*e = (struct adafs_entra){ 0 };
}

int adafs_entra_copy(struct adafs_entra *dst, const struct adafs_entra *src)
{
	*dst = (struct adafs_entra){ .kind = src->kind };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(texts); i++) {
		const char *text = *(char *const *)((const char *)src + texts[i].at);
		if (text && !(*text_at(dst, i) = strdup(text))) {
			adafs_entra_clear(dst);
			return -ENOMEM;
		}
	}
	return 0;
}

static int kind_from_environment(struct adafs_entra *e, struct adafs_err *reterr)
{
	static const struct {
		const char *name;
		enum adafs_entra_kind kind;
	} known[] = {
		{ "dev",
		  ADAFS_ENTRA_CLI }, /* of the developer's credentials only this one is here */
		{ "prod", ADAFS_ENTRA_AUTO },
		{ "EnvironmentCredential", ADAFS_ENTRA_ENVIRONMENT },
		{ "WorkloadIdentityCredential", ADAFS_ENTRA_WORKLOAD },
		{ "ManagedIdentityCredential", ADAFS_ENTRA_MANAGED },
		{ "AzureCliCredential", ADAFS_ENTRA_CLI },
	};
	const char *name = getenv("AZURE_TOKEN_CREDENTIALS");
	if (!name || !*name)
		return 0;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(known); i++) {
		if (strcasecmp(name, known[i].name) == 0) {
			e->kind = known[i].kind;
			return 0;
		}
	}
	return adafs_err_set(reterr, -EINVAL,
			     "AZURE_TOKEN_CREDENTIALS=%.60s: adafs knows dev, prod, "
			     "EnvironmentCredential, WorkloadIdentityCredential, "
			     "ManagedIdentityCredential and AzureCliCredential",
			     name);
}

int adafs_entra_from_environment(struct adafs_entra *e, struct adafs_err *reterr)
{
	*e = (struct adafs_entra){ 0 };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(texts); i++) {
		const char *value = texts[i].variable ? getenv(texts[i].variable) : NULL;
		if (value && *value && !(*text_at(e, i) = strdup(value))) {
			adafs_entra_clear(e);
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
		}
	}
	return kind_from_environment(e, reterr);
}

/* --- clouds ------------------------------------------------------------------------------- */

enum cloud { CLOUD_PUBLIC, CLOUD_GOVERNMENT, CLOUD_CHINA };

static enum cloud cloud_of(const char *endpoint)
{
	const char *scheme = strstr(endpoint, "://"), *host = scheme ? scheme + 3 : endpoint;
	size_t len = strcspn(host, ":/?#");
	static const struct {
		const char *suffix;
		enum cloud cloud;
	} suffixes[] = {
		{ ".usgovcloudapi.net", CLOUD_GOVERNMENT },
		{ ".chinacloudapi.cn", CLOUD_CHINA },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(suffixes); i++) {
		size_t n = strlen(suffixes[i].suffix);
		if (len > n && strncasecmp(host + len - n, suffixes[i].suffix, n) == 0)
			return suffixes[i].cloud;
	}
	return CLOUD_PUBLIC;
}

static const char *const authorities[] = {
	[CLOUD_PUBLIC] = "https://login.microsoftonline.com",
	[CLOUD_GOVERNMENT] = "https://login.microsoftonline.us",
	[CLOUD_CHINA] = "https://login.chinacloudapi.cn",
};

struct adafs_entra_resource adafs_entra_storage(const char *endpoint)
{
	return (struct adafs_entra_resource){
		.resource = "https://storage.azure.com/",
		.scope = "https://storage.azure.com/.default",
		.authority = authorities[cloud_of(endpoint)],
	};
}

struct adafs_entra_resource adafs_entra_batch(const char *endpoint)
{
	/* The resource ends in a slash, so its scope has two. */
	static const struct {
		const char *resource, *scope;
	} names[] = {
		[CLOUD_PUBLIC] = { "https://batch.core.windows.net/",
				   "https://batch.core.windows.net//.default" },
		[CLOUD_GOVERNMENT] = { "https://batch.core.usgovcloudapi.net/",
				       "https://batch.core.usgovcloudapi.net//.default" },
		[CLOUD_CHINA] = { "https://batch.chinacloudapi.cn/",
				  "https://batch.chinacloudapi.cn//.default" },
	};
	enum cloud cloud = cloud_of(endpoint);
	return (struct adafs_entra_resource){
		.resource = names[cloud].resource,
		.scope = names[cloud].scope,
		.authority = authorities[cloud],
	};
}
