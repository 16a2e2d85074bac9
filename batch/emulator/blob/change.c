/* Changing a blob without its bytes: delete, snapshot, metadata, properties, tier. */
#include "batch/emulator/blob/blob.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int op_delete_blob(struct blob_call *c, struct http_resp *resp)
{
	const char *which = call_header(c, "x-ms-delete-snapshots");
	char snapshots = 0;
	if (which && strcasecmp(which, "include") == 0)
		snapshots = 'i';
	else if (which && strcasecmp(which, "only") == 0)
		snapshots = 'o';
	else if (which)
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-delete-snapshots");
	/* One snapshot has no snapshots of its own. */
	if (which && c->snapshot != BLOB_SNAPSHOT_NONE)
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-delete-snapshots");
	struct write_guard g;
	int rc = write_guard_init(&g, c, false);
	if (rc == 0)
		rc = store_blob_delete(c->service->store, c->container, c->name, c->snapshot,
				       snapshots, write_guard_check, &g);
	if (rc != 0)
		return rc;
	resp->status = 202;
	return http_resp_header(resp, "x-ms-delete-type-permanent", "true");
}

int op_snapshot_blob(struct blob_call *c, struct http_resp *resp)
{
	struct write_guard g;
	bool any = false;
	ADAFS_FREE char *metadata = NULL;
	blob_stamp when, stamp;
	int rc = write_guard_init(&g, c, false);
	g.online = g.reads = true;
	if (rc == 0)
		rc = blob_parse_metadata(c, &metadata, &any);
	if (rc == 0)
		rc = store_blob_snapshot(c->service->store, c->container, c->name,
					 any ? metadata : NULL, write_guard_check, &g, &when,
					 &stamp);
	if (rc != 0)
		return rc;
	char text[32];
	blob_snapshot_text(when, text);
	resp->status = 201;
	http_resp_header(resp, "x-ms-snapshot", text);
	http_resp_header(resp, "x-ms-request-server-encrypted", "false");
	answer_stamp(resp, stamp);
	return 0;
}

static int update(struct blob_call *c, struct http_resp *resp, const char *metadata,
		  const struct blob_headers *headers)
{
	struct write_guard g;
	blob_stamp stamp;
	int rc = write_guard_init(&g, c, false);
	g.online = true;
	if (rc == 0)
		rc = store_blob_update(c->service->store, c->container, c->name, metadata, headers,
				       write_guard_check, &g, &stamp);
	if (rc != 0)
		return rc;
	resp->status = 200;
	answer_stamp(resp, stamp);
	return 0;
}

int op_set_metadata(struct blob_call *c, struct http_resp *resp)
{
	bool any;
	ADAFS_FREE char *metadata = NULL;
	int rc = blob_parse_metadata(c, &metadata, &any);
	if (rc == 0)
		rc = update(c, resp, metadata, NULL);
	return rc == 0 ? http_resp_header(resp, "x-ms-request-server-encrypted", "true") : rc;
}

int op_set_properties(struct blob_call *c, struct http_resp *resp)
{
	if (call_header(c, "x-ms-blob-content-length") ||
	    call_header(c, "x-ms-sequence-number-action"))
		return BE_INVALID_BLOB_TYPE; /* of page blobs only */
	ADAFS_CLEANUP(blob_headers_clear) struct blob_headers headers = { 0 };
	int rc = blob_parse_headers(c, &headers);
	return rc == 0 ? update(c, resp, NULL, &headers) : rc;
}

/* A tier is no change of the blob: of the conditions only that over tags counts, and the lease. */
static int tier_guard(void *arg, const struct blob_info *b)
{
	struct write_guard *g = arg;
	if (b->type != BLOB_BLOCK)
		return BE_INVALID_BLOB_TYPE;
	int rc = conditions_check_tags(&g->conditions, b->tags);
	if (rc == 0)
		rc = lease_check_write(g->call, &b->lease);
	return rc == 0 && b->rehydrate ? BE_BLOB_BEING_REHYDRATED : rc;
}

static int rehydrate_priority(struct blob_call *c, bool *ret_high)
{
	const char *v = call_header(c, "x-ms-rehydrate-priority");
	*ret_high = v && strcasecmp(v, "High") == 0;
	if (v && !*ret_high && strcasecmp(v, "Standard") != 0)
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-rehydrate-priority");
	return 0;
}

int op_set_tier(struct blob_call *c, struct http_resp *resp)
{
	const char *tier;
	bool high, rehydrating;
	struct write_guard g;
	int rc = blob_parse_tier(c, &tier);
	if (rc == 0 && !tier)
		rc = call_bad_header(c, BE_MISSING_REQUIRED_HEADER, "x-ms-access-tier");
	if (rc == 0)
		rc = rehydrate_priority(c, &high);
	if (rc == 0)
		rc = write_guard_init(&g, c, false);
	if (rc == 0)
		rc = store_blob_set_tier(c->service->store, c->container, c->name, c->snapshot,
					 tier, high, tier_guard, &g, &rehydrating);
	if (rc == 0)
		resp->status = rehydrating ? 202 : 200;
	return rc;
}

/* Nothing is kept of what was deleted, so there is never more to bring back than what exists. */
int op_undelete_blob(struct blob_call *c, struct http_resp *resp)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	int rc = store_blob_get(c->service->store, c->container, c->name, BLOB_SNAPSHOT_NONE, &b);
	if (rc == 0)
		resp->status = 200;
	return rc;
}
