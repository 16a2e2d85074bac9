/*
 * Operations on the account, and what an account without hierarchy, pages or soft delete answers.
 */
#include "batch/emulator/blob/blob.h"

#include <string.h>

#include "batch/base/clock.h"

int op_account_info(struct blob_call *c, struct http_resp *resp)
{
	(void)c;
	resp->status = 200;
	http_resp_header(resp, "x-ms-sku-name", "Standard_LRS");
	http_resp_header(resp, "x-ms-account-kind", "StorageV2");
	return http_resp_header(resp, "x-ms-is-hns-enabled", "false");
}

/* Only the secondary endpoint tells how far it is behind. Here it is the same data. */
int op_service_stats(struct blob_call *c, struct http_resp *resp)
{
	if (!c->secondary)
		return call_bad_param(c, BE_INVALID_QUERY_PARAMETER_VALUE, "comp", NULL);
	char now[ADAFS_RFC1123_LEN];
	adafs_clock_rfc1123((time_t)(adafs_clock_wall_us() / 1000000), now);
	int rc = answer_xml(resp, 200);
	return rc == 0 ? adafs_buf_addf(&resp->body,
					"<StorageServiceStats><GeoReplication><Status>live</Status>"
					"<LastSyncTime>%s</LastSyncTime></GeoReplication>"
					"</StorageServiceStats>",
					now)
		       : rc;
}

int op_restore_container(struct blob_call *c, struct http_resp *resp)
{
	(void)resp;
	ADAFS_CLEANUP(container_info_clear) struct container_info info = { 0 };
	int rc = store_container_get(c->service->store, c->container, false, &info);
	return rc == 0 ? BE_CONTAINER_ALREADY_EXISTS : rc; /* nothing is kept of deleted ones */
}

/* No page blob can exist, so whatever does is of another type. */
int op_page(struct blob_call *c, struct http_resp *resp)
{
	(void)resp;
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	int rc = store_blob_get(c->service->store, c->container, c->name, c->snapshot, &b);
	return rc == 0 ? BE_INVALID_BLOB_TYPE : rc;
}

int op_unsupported(struct blob_call *c, struct http_resp *resp)
{
	(void)resp;
	return call_bad_param(c, BE_UNSUPPORTED_QUERY_PARAMETER, "comp", NULL);
}
