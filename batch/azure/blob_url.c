/*
 * URLs of containers and blobs. The encoded form is what is signed and sent: it is made once, here.
 */
#include "batch/azure/blob_int.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "batch/base/codec.h"

#define MAX_URL (64 * 1024)

int blob_query_add(struct adafs_buf *b, const char *name, const char *value)
{
	ADAFS_FREE char *encoded = adafs_url_encode(value, strlen(value), "");
	if (!encoded)
		return -ENOMEM;
	return adafs_buf_addf(b, "%s%s=%s", b->len ? "&" : "", name, encoded);
}

char *adafs_blob_url(const struct adafs_blob_client *c, const char *container, const char *name)
{
	ADAFS_FREE char *where = adafs_url_encode(container, strlen(container), "$");
	ADAFS_FREE char *what = name ? adafs_url_encode(name, strlen(name), "/") : NULL;
	if (!where || (name && !what))
		return NULL;
	return adafs_fmt("%s/%s%s%s", c->account.endpoint, where, name ? "/" : "",
			 name ? what : "");
}

char *adafs_blob_url_in_container(const char *container_url_with_sas, const char *name)
{
	size_t path_len = strcspn(container_url_with_sas, "?#");
	const char *query = container_url_with_sas + path_len;
	query += *query == '?';
	while (path_len && container_url_with_sas[path_len - 1] == '/')
		path_len--;
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf b = ADAFS_BUF_INIT(MAX_URL);
	int rc = adafs_buf_add(&b, container_url_with_sas, path_len);
	ADAFS_FREE char *encoded = name ? adafs_url_encode(name, strlen(name), "/") : NULL;
	if (name)
		rc = rc == 0 && encoded ? adafs_buf_addf(&b, "/%s", encoded) : -ENOMEM;
	char separator = '?';
	while (*query && *query != '#' && rc == 0) {
		size_t len = strcspn(query, "&#");
		bool foreign = strncasecmp(query, "restype=", 8) == 0 ||
			       strncasecmp(query, "comp=", 5) == 0;
		if (len && !foreign) {
			rc = adafs_buf_addf(&b, "%c%.*s", separator, (int)len, query);
			separator = '&';
		}
		query += len + (query[len] == '&');
	}
	return rc < 0 ? NULL : adafs_buf_steal(&b, NULL);
}
