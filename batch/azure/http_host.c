/*
 * azure/http_host.c - the list of hosts of the HTTP loop; a host is known by scheme and authority.
 */
#include "batch/azure/http_host.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/azure/account.h"

size_t http_host_root_len(const char *url)
{
	size_t scheme = strncasecmp(url, "http://", 7) == 0    ? 7
			: strncasecmp(url, "https://", 8) == 0 ? 8
							       : 0;
	size_t authority = scheme ? strcspn(url + scheme, "/?#") : 0;
	return authority ? scheme + authority : 0;
}

struct http_host *http_host_find(struct http_host *list, const char *url)
{
	size_t len = http_host_root_len(url);
	for (struct http_host *host = list; len && host; host = host->next)
		if (strlen(host->root) == len && strncasecmp(host->root, url, len) == 0)
			return host;
	return NULL;
}

struct http_host *http_host_get(struct http_host **list, const char *url)
{
	struct http_host *host = http_host_find(*list, url);
	size_t len = http_host_root_len(url);
	if (host || !len)
		return host;
	host = calloc(1, sizeof(*host));
	if (!host)
		return NULL;
	host->root = strndup(url, len);
	if (!host->root) {
		free(host);
		return NULL;
	}
	host->loopback = adafs_url_is_loopback(host->root);
	host->next = *list;
	*list = host;
	return host;
}

void http_host_free_all(struct http_host *list)
{
	while (list) {
		struct http_host *host = list;
		list = host->next;
		free(host->root);
		free(host);
	}
}
