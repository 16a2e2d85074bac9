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
	if (rc == 0)
		rc = store_blob_update(c->service->store, c->container, c->name, metadata, headers,
				       NULL, write_guard_check, &g, &stamp);
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
	ADAFS_CLEANUP(blob_headers_clear) struct blob_headers headers = {0};
	int rc = blob_parse_headers(c, &headers);
	return rc == 0 ? update(c, resp, NULL, &headers) : rc;
}

int op_set_tier(struct blob_call *c, struct http_resp *resp)
{
	const char *tier;
	blob_stamp stamp;
	int rc = blob_parse_tier(c, &tier);
	if (rc == 0 && !tier)
		rc = call_bad_header(c, BE_MISSING_REQUIRED_HEADER, "x-ms-access-tier");
	if (rc == 0)
		rc = store_blob_update(c->service->store, c->container, c->name, NULL, NULL, tier,
				       NULL, NULL, &stamp);
	if (rc == 0)
		resp->status = 200;
	return rc;
}
