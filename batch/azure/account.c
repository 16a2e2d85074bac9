/*
 * azure/account.c - connection strings and their parts, checked before anything is sent. No state;
 * what fails leaves the account as it was.
 */
#include "batch/azure/account.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/azure/token.h"
#include "batch/base/buf.h"
#include "batch/base/codec.h"

/* The emulator account that every Azure SDK knows; its key is public. */
#define DEVELOPMENT_ACCOUNT "devstoreaccount1"
#define DEVELOPMENT_KEY \
	"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

static void wipe_free(void *p, size_t len)
{
	if (p)
		explicit_bzero(p, len);
	free(p);
}

void adafs_storage_account_clear(struct adafs_storage_account *a)
{
	free(a->name);
	free(a->endpoint);
	wipe_free(a->key, a->key_len);
	wipe_free(a->sas, a->sas ? strlen(a->sas) : 0);
	adafs_token_unref(a->token);
	*a = (struct adafs_storage_account){ 0 };
}

void adafs_batch_account_clear(struct adafs_batch_account *a)
{
	free(a->name);
	free(a->endpoint);
	wipe_free(a->key, a->key_len);
	adafs_token_unref(a->token);
	*a = (struct adafs_batch_account){ 0 };
}

static char *copy_text(const char *text, bool *whole)
{
	char *copy = text ? strdup(text) : NULL;
	*whole = *whole && (copy || !text);
	return copy;
}

static uint8_t *copy_key(const uint8_t *key, size_t len, bool *whole)
{
	uint8_t *copy = key ? malloc(len) : NULL;
	*whole = *whole && (copy || !key);
	return copy ? memcpy(copy, key, len) : NULL;
}

int adafs_storage_account_copy(struct adafs_storage_account *dst,
			       const struct adafs_storage_account *src)
{
	bool whole = true;
	*dst = (struct adafs_storage_account){
		.name = copy_text(src->name, &whole),
		.endpoint = copy_text(src->endpoint, &whole),
		.path_style = src->path_style,
		.key = copy_key(src->key, src->key_len, &whole),
		.key_len = src->key_len,
		.sas = copy_text(src->sas, &whole),
		.token = adafs_token_ref(src->token),
	};
	if (!whole)
		adafs_storage_account_clear(dst);
	return whole ? 0 : -ENOMEM;
}

int adafs_batch_account_copy(struct adafs_batch_account *dst, const struct adafs_batch_account *src)
{
	bool whole = true;
	*dst = (struct adafs_batch_account){
		.name = copy_text(src->name, &whole),
		.endpoint = copy_text(src->endpoint, &whole),
		.key = copy_key(src->key, src->key_len, &whole),
		.key_len = src->key_len,
		.token = adafs_token_ref(src->token),
	};
	if (!whole)
		adafs_batch_account_clear(dst);
	return whole ? 0 : -ENOMEM;
}

static int decode_key(const char *base64, uint8_t **ret_key, size_t *ret_len, const char *what,
		      struct adafs_err *reterr)
{
	int rc = adafs_base64_decode(base64, strlen(base64), ret_key, ret_len);
	if (rc == 0 && *ret_len == 0) {
		free(*ret_key);
		*ret_key = NULL;
		rc = -EINVAL;
	}
	return rc < 0 ? adafs_err_set(reterr, rc, "the %s is not valid base64", what) : 0;
}

static bool account_name_ok(const char *name)
{
	size_t len = strlen(name);
	return len >= 3 && len <= 24 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789") == len;
}

/* The part of an endpoint after scheme://, or NULL. */
static const char *after_scheme(const char *endpoint)
{
	if (strncasecmp(endpoint, "http://", 7) == 0)
		return endpoint + 7;
	return strncasecmp(endpoint, "https://", 8) == 0 ? endpoint + 8 : NULL;
}

/* Whether a host is an address or localhost: there the account's name is in the path. */
static bool host_is_local(const char *host)
{
	size_t len = strcspn(host, ":/");
	return *host == '[' || (len == 9 && strncasecmp(host, "localhost", 9) == 0) ||
	       strspn(host, "0123456789.") == len;
}

static void strip_slashes(char *text)
{
	size_t len = strlen(text);
	while (len && text[len - 1] == '/')
		text[--len] = 0;
}

/* The account's name out of an endpoint: the path's, or the host's first label. */
static char *name_from_endpoint(const char *endpoint)
{
	const char *host = after_scheme(endpoint);
	if (!host)
		return NULL;
	const char *path = strchr(host, '/');
	if (path)
		return strdup(path + 1);
	return host_is_local(host) ? NULL : strndup(host, strcspn(host, ".:"));
}

/* Settle a's endpoint; a->name may be missing and is taken from it then. */
static int set_endpoint(struct adafs_storage_account *a, const char *endpoint,
			struct adafs_err *reterr)
{
	ADAFS_FREE char *url = strdup(endpoint);
	if (!url)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	url[strcspn(url, "?#")] = 0;
	strip_slashes(url);
	const char *host = after_scheme(url);
	if (!host || !*host || *host == '/' || strpbrk(url, " \t\r\n@"))
		return adafs_err_set(reterr, -EINVAL,
				     "the blob endpoint is no http:// or https:// URL of a host");
	if (!a->name)
		a->name = name_from_endpoint(url);
	if (!a->name)
		return adafs_err_set(reterr, -EINVAL, "the storage account's name is missing");
	if (!strchr(host, '/') && host_is_local(host)) {
		a->endpoint = adafs_fmt("%s/%s", url, a->name);
	} else {
		a->endpoint = ADAFS_STEAL(url);
	}
	if (!a->endpoint)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	a->path_style = strchr(after_scheme(a->endpoint), '/') != NULL;
	return 0;
}

/* What a connection string says; texts owned. */
struct settings {
	char *protocol, *name, *key, *suffix, *endpoint, *sas, *development, *proxy;
};

static void settings_clear(struct settings *s)
{
	wipe_free(s->key, s->key ? strlen(s->key) : 0);
	wipe_free(s->sas, s->sas ? strlen(s->sas) : 0);
	free(s->protocol);
	free(s->name);
	free(s->suffix);
	free(s->endpoint);
	free(s->development);
	free(s->proxy);
}

static char **setting_slot(struct settings *s, const char *key, size_t len)
{
	const struct {
		const char *key;
		char **slot;
	} known[] = {
		{ "DefaultEndpointsProtocol", &s->protocol },
		{ "AccountName", &s->name },
		{ "AccountKey", &s->key },
		{ "EndpointSuffix", &s->suffix },
		{ "BlobEndpoint", &s->endpoint },
		{ "SharedAccessSignature", &s->sas },
		{ "UseDevelopmentStorage", &s->development },
		{ "DevelopmentStorageProxyUri", &s->proxy },
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(known); i++)
		if (strlen(known[i].key) == len && strncasecmp(known[i].key, key, len) == 0)
			return known[i].slot;
	return NULL;
}

static void trim(const char **text, size_t *len)
{
	while (*len && isspace((unsigned char)**text)) {
		(*text)++;
		(*len)--;
	}
	while (*len && isspace((unsigned char)(*text)[*len - 1]))
		(*len)--;
}

static int split(const char *string, struct settings *s, struct adafs_err *reterr)
{
	for (int part = 1; *string; part++) {
		size_t len = strcspn(string, ";");
		const char *key = string, *equals = memchr(string, '=', len);
		size_t pair_len = len;
		string += len + (string[len] == ';');
		trim(&key, &pair_len);
		if (!pair_len)
			continue;
		if (!equals) /* not quoted: it may be a key whose name was lost */
			return adafs_err_set(reterr, -EINVAL,
					     "part %d of the connection string has no '='", part);
		const char *value = equals + 1;
		size_t key_len = (size_t)(equals - key),
		       value_len = (size_t)(key + pair_len - value);
		if (key + pair_len < value)
			value_len = 0;
		trim(&key, &key_len);
		trim(&value, &value_len);
		char **slot = setting_slot(s, key, key_len);
		if (!slot)
			continue;
		free(*slot);
		*slot = strndup(value, value_len);
		if (!*slot)
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	return 0;
}

static int set_development(struct adafs_storage_account *a, const char *proxy,
			   struct adafs_err *reterr)
{
	ADAFS_FREE char *host = strdup(proxy ? proxy : "http://127.0.0.1");
	if (!host)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	strip_slashes(host);
	ADAFS_FREE char *endpoint = adafs_fmt("%s:10000/" DEVELOPMENT_ACCOUNT, host);
	if (!endpoint)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	return adafs_storage_account_set(a, DEVELOPMENT_ACCOUNT, endpoint, DEVELOPMENT_KEY, NULL,
					 reterr);
}

int adafs_storage_account_parse(struct adafs_storage_account *a, const char *connection_string,
				struct adafs_err *reterr)
{
	ADAFS_CLEANUP(settings_clear) struct settings s = { 0 };
	int rc = split(connection_string, &s, reterr);
	if (rc < 0)
		return rc;
	if (s.development && strcasecmp(s.development, "true") == 0)
		return set_development(a, s.proxy, reterr);
	if (!s.endpoint && !s.name)
		return adafs_err_set(
			reterr, -EINVAL,
			"the connection string has neither AccountName nor BlobEndpoint");
	if (!s.endpoint) {
		s.endpoint = adafs_fmt("%s://%s.blob.%s", s.protocol ? s.protocol : "https", s.name,
				       s.suffix ? s.suffix : "core.windows.net");
		if (!s.endpoint)
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	/* A SAS may stand behind the endpoint itself. */
	const char *query = strchr(s.endpoint, '?');
	if (!s.sas && !s.key && query) {
		s.sas = strdup(query + 1);
		if (!s.sas)
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	/* A key whose name was lost must not pass for an account of Entra ID. */
	if (!s.key && !s.sas)
		return adafs_err_set(reterr, -EINVAL,
				     "the connection string has neither AccountKey nor "
				     "SharedAccessSignature; for "
				     "Entra ID set AZURE_STORAGE_ACCOUNT instead");
	return adafs_storage_account_set(a, s.name, s.endpoint, s.key, s.key ? NULL : s.sas,
					 reterr);
}

int adafs_storage_account_set(struct adafs_storage_account *a, const char *name,
			      const char *endpoint, const char *key_base64, const char *sas,
			      struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_storage_account_clear) struct adafs_storage_account new = { 0 };
	if (key_base64 && sas)
		return adafs_err_set(
			reterr, -EINVAL,
			"give either the storage account's key or a SAS, and not both");
	if (name && !account_name_ok(name))
		return adafs_err_set(reterr, -EINVAL,
				     "the storage account's name is not 3 to 24 of a-z and 0-9");
	if (name && !(new.name = strdup(name)))
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (!endpoint && !name)
		return adafs_err_set(reterr, -EINVAL, "the storage account's name is missing");
	ADAFS_FREE char *standard =
		endpoint ? NULL : adafs_fmt("https://%s.blob.core.windows.net", name);
	if (!endpoint && !standard)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = set_endpoint(&new, endpoint ? endpoint : standard, reterr);
	if (rc < 0)
		return rc;
	if (key_base64) {
		rc = decode_key(key_base64, &new.key, &new.key_len, "storage account's key",
				reterr);
		if (rc < 0)
			return rc;
	} else if (sas) {
		new.sas = strdup(*sas == '?' ? sas + 1 : sas);
		if (!new.sas)
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
		if (!strstr(new.sas, "sig="))
			return adafs_err_set(reterr, -EINVAL, "the SAS has no signature (sig=)");
	}
	*a = new;
	new = (struct adafs_storage_account){ 0 };
	return 0;
}

int adafs_batch_account_set(struct adafs_batch_account *a, const char *name, const char *endpoint,
			    const char *key_base64, struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_batch_account_clear) struct adafs_batch_account new = { 0 };
	if (!name || !*name || !account_name_ok(name))
		return adafs_err_set(reterr, -EINVAL,
				     "the Batch account's name is not 3 to 24 of a-z and 0-9");
	if (!endpoint || !*endpoint)
		return adafs_err_set(reterr, -EINVAL, "the Batch account's endpoint is missing");
	new.name = strdup(name);
	new.endpoint =
		strstr(endpoint, "://") ? strdup(endpoint) : adafs_fmt("https://%s", endpoint);
	if (!new.name || !new.endpoint)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	strip_slashes(new.endpoint);
	const char *host = after_scheme(new.endpoint);
	if (!host || !*host || strpbrk(host, " \t\r\n@?#"))
		return adafs_err_set(reterr, -EINVAL,
				     "the Batch endpoint is no http:// or https:// URL of a host");
	int rc = key_base64 ? decode_key(key_base64, &new.key, &new.key_len, "Batch account's key",
					 reterr)
			    : 0;
	if (rc < 0)
		return rc;
	*a = new;
	new = (struct adafs_batch_account){ 0 };
	return 0;
}

bool adafs_url_is_private(const char *url)
{
	return strncasecmp(url, "https://", 8) == 0 || adafs_url_is_loopback(url);
}

bool adafs_url_is_loopback(const char *url)
{
	const char *scheme = strstr(url, "://"), *host = scheme ? scheme + 3 : url;
	size_t len = strcspn(host, "/?#");
	const char *at = memrchr(host, '@', len);
	if (at) {
		len -= (size_t)(at + 1 - host);
		host = at + 1;
	}
	if (strncmp(host, "127.", 4) == 0 || strncmp(host, "[::1]", 5) == 0)
		return true;
	const char *colon = memchr(host, ':', len);
	return (colon ? (size_t)(colon - host) : len) == 9 &&
	       strncasecmp(host, "localhost", 9) == 0;
}
