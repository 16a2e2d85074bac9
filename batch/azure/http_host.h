/* azure/http_host.h - the hosts that the HTTP loop talks to, and whether they answer. Loop only,
 * but for `down`. */
#ifndef ADAFS_AZURE_HTTP_HOST_H
#define ADAFS_AZURE_HTTP_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/base/err.h"

#define HTTP_PROBE_INTERVAL_MS 2000

struct http_host {
	struct http_host *next;
	char *root;             /* "http://127.0.0.1:10000" */
	bool loopback;          /* never through a proxy */
	unsigned active;        /* transfers under way */
	unsigned stalled;       /* of these, silent for a while when last looked */
	uint64_t heard_ms;      /* when it last said something; 0: never */
	bool down;              /* written under the loop's lock, read by any thread under it */
	bool probing;           /* a probe is under way */
	uint64_t next_probe_ms; /* while down: when the next probe starts */
	bool has_skew;          /* the next two as `down` */
	int64_t skew_s;         /* how far the host's clock is ahead of ours, by its last Date */
	struct adafs_err
		again; /* why a request is to be sent again, and none went well since; as `down` */
};

/* The bytes of a URL that name its host: scheme and authority. 0: not an absolute http URL. */
size_t http_host_root_len(const char *url);
/* The entry of a URL's host, or NULL. */
struct http_host *http_host_find(struct http_host *list, const char *url);
/* The same, added to the list when it is new. NULL: out of memory or no URL. */
struct http_host *http_host_get(struct http_host **list, const char *url);
void http_host_free_all(struct http_host *list);

#endif
