/* The operations of the service: how each is recognised and who may do it. */
#include "batch/emulator/blob/blob.h"

#define ACCOUNT(op, method, restype, comp) op, LEVEL_ACCOUNT, method, restype, comp, 0, 0
#define CONTAINER(op, method, comp) op, LEVEL_CONTAINER, method, "container", comp, 0, 0
#define BLOB(op, method, comp) op, LEVEL_BLOB, method, NULL, comp, 0, 0
#define BLOB_FROM(op, comp, source, type) op, LEVEL_BLOB, "PUT", NULL, comp, source, type

/*
 * Permissions are letters of which a SAS needs one: c or w for what may create; whether it may
 * overwrite is asked when the blob's state is known.
 */
const struct blob_route blob_routes[] = {
	{ACCOUNT("ListContainers", "GET", NULL, "list"), "l", 's', true, BODY_NONE, NULL, NULL,
	 op_list_containers},
	{ACCOUNT("GetAccountInformation", "GET", "account", "properties"), NULL, 0, false,
	 BODY_NONE, NULL, NULL, op_account_info},
	{ACCOUNT("GetAccountInformation", "HEAD", "account", "properties"), NULL, 0, false,
	 BODY_NONE, NULL, NULL, op_account_info},
	{ACCOUNT("GetBlobServiceProperties", "GET", "service", "properties"), "r", 's', true,
	 BODY_NONE, NULL, NULL, op_service_properties},
	{ACCOUNT("SetBlobServiceProperties", "PUT", "service", "properties"), "w", 's', true,
	 BODY_NONE, NULL, NULL, op_not_implemented},
	{ACCOUNT("GetBlobServiceStats", "GET", "service", "stats"), "r", 's', true, BODY_NONE, NULL,
	 NULL, op_not_implemented},
	{ACCOUNT("GetUserDelegationKey", "POST", "service", "userdelegationkey"), "", 's', true,
	 BODY_NONE, NULL, NULL, op_not_implemented},
	{ACCOUNT("BlobBatch", "POST", NULL, "batch"), "d", 's', true, BODY_NONE, NULL, NULL,
	 op_not_implemented},
	{ACCOUNT("FindBlobsByTags", "GET", NULL, "blobs"), "f", 's', true, BODY_NONE, NULL, NULL,
	 op_not_implemented},

	{CONTAINER("CreateContainer", "PUT", NULL), "cw", 'c', true, BODY_NONE, NULL, NULL,
	 op_create_container},
	{CONTAINER("GetContainerProperties", "GET", NULL), "r", 'c', true, BODY_NONE, NULL, NULL,
	 op_container_properties},
	{CONTAINER("GetContainerProperties", "HEAD", NULL), "r", 'c', true, BODY_NONE, NULL, NULL,
	 op_container_properties},
	{CONTAINER("GetContainerMetadata", "GET", "metadata"), "r", 'c', true, BODY_NONE, NULL,
	 NULL, op_container_properties},
	{CONTAINER("GetContainerMetadata", "HEAD", "metadata"), "r", 'c', true, BODY_NONE, NULL,
	 NULL, op_container_properties},
	{CONTAINER("DeleteContainer", "DELETE", NULL), "d", 'c', true, BODY_NONE, NULL, NULL,
	 op_delete_container},
	{CONTAINER("SetContainerMetadata", "PUT", "metadata"), "w", 'c', true, BODY_NONE, NULL,
	 NULL, op_set_container_metadata},
	{CONTAINER("GetContainerAcl", "GET", "acl"), "", 'c', true, BODY_NONE, NULL, NULL,
	 op_get_container_acl},
	{CONTAINER("GetContainerAcl", "HEAD", "acl"), "", 'c', true, BODY_NONE, NULL, NULL,
	 op_get_container_acl},
	{CONTAINER("SetContainerAcl", "PUT", "acl"), "", 'c', true, BODY_XML, NULL, NULL,
	 op_set_container_acl},
	{CONTAINER("ListBlobs", "GET", "list"), "l", 'c', false, BODY_NONE, NULL, NULL,
	 op_list_blobs},
	{CONTAINER("LeaseContainer", "PUT", "lease"), "w", 'c', true, BODY_NONE, NULL, NULL,
	 op_not_implemented},
	{CONTAINER("BlobBatch", "POST", "batch"), "d", 'c', false, BODY_NONE, NULL, NULL,
	 op_not_implemented},
	{CONTAINER("RestoreContainer", "PUT", "undelete"), "w", 'c', true, BODY_NONE, NULL, NULL,
	 op_not_implemented},

	{BLOB("GetBlob", "GET", NULL), "r", 'o', false, BODY_NONE, NULL, NULL, op_get_blob},
	{BLOB("GetBlobProperties", "HEAD", NULL), "r", 'o', false, BODY_NONE, NULL, NULL,
	 op_head_blob},
	{BLOB("DeleteBlob", "DELETE", NULL), "d", 'o', false, BODY_NONE, NULL, NULL,
	 op_delete_blob},
	{BLOB_FROM("PutBlobFromURL", NULL, 'y', 'y'), "cw", 'o', false, BODY_NONE, NULL, NULL,
	 op_put_blob_from_url},
	{BLOB_FROM("CopyBlob", NULL, 'y', 'n'), "cw", 'o', false, BODY_NONE, NULL, NULL,
	 op_copy_blob},
	{BLOB_FROM("PutBlob", NULL, 'n', 0), "cw", 'o', false, BODY_OWN, begin_put_blob,
	 piece_put_blob, op_put_blob},
	{BLOB_FROM("PutBlockFromURL", "block", 'y', 0), "w", 'o', false, BODY_NONE, NULL, NULL,
	 op_put_block_from_url},
	{BLOB_FROM("PutBlock", "block", 'n', 0), "w", 'o', false, BODY_OWN, begin_put_block,
	 piece_put_block, op_put_block},
	{BLOB("PutBlockList", "PUT", "blocklist"), "w", 'o', false, BODY_OWN, begin_put_block_list,
	 piece_put_block_list, op_put_block_list},
	{BLOB("GetBlockList", "GET", "blocklist"), "r", 'o', false, BODY_NONE, NULL, NULL,
	 op_get_block_list},
	{BLOB("GetBlobMetadata", "GET", "metadata"), "r", 'o', false, BODY_NONE, NULL, NULL,
	 op_get_blob_metadata},
	{BLOB("GetBlobMetadata", "HEAD", "metadata"), "r", 'o', false, BODY_NONE, NULL, NULL,
	 op_get_blob_metadata},
	{BLOB("SetBlobMetadata", "PUT", "metadata"), "w", 'o', false, BODY_NONE, NULL, NULL,
	 op_set_metadata},
	{BLOB("SetBlobProperties", "PUT", "properties"), "w", 'o', false, BODY_NONE, NULL, NULL,
	 op_set_properties},
	{BLOB("SetBlobTier", "PUT", "tier"), "w", 'o', false, BODY_NONE, NULL, NULL, op_set_tier},
	{BLOB("SnapshotBlob", "PUT", "snapshot"), "cw", 'o', false, BODY_NONE, NULL, NULL,
	 op_snapshot_blob},
	{BLOB("AbortCopyBlob", "PUT", "copy"), "w", 'o', false, BODY_NONE, NULL, NULL,
	 op_abort_copy},
	{BLOB("LeaseBlob", "PUT", "lease"), "w", 'o', false, BODY_NONE, NULL, NULL,
	 op_not_implemented},
	{BLOB("AppendBlock", "PUT", "appendblock"), "aw", 'o', false, BODY_NONE, NULL, NULL,
	 op_not_implemented},
	{BLOB("SealBlob", "PUT", "seal"), "w", 'o', false, BODY_NONE, NULL, NULL,
	 op_not_implemented},
	{BLOB("PutPage", "PUT", "page"), "w", 'o', false, BODY_NONE, NULL, NULL,
	 op_not_implemented},
	{BLOB("GetBlobTags", "GET", "tags"), "t", 'o', false, BODY_NONE, NULL, NULL,
	 op_not_implemented},
	{BLOB("SetBlobTags", "PUT", "tags"), "t", 'o', false, BODY_NONE, NULL, NULL,
	 op_not_implemented},
	{BLOB("SetBlobExpiry", "PUT", "expiry"), "w", 'o', false, BODY_NONE, NULL, NULL,
	 op_not_implemented},
	{BLOB("UndeleteBlob", "PUT", "undelete"), "w", 'o', false, BODY_NONE, NULL, NULL,
	 op_not_implemented},
	{BLOB("QueryBlobContents", "POST", "query"), "r", 'o', false, BODY_NONE, NULL, NULL,
	 op_not_implemented},
};
const size_t blob_n_routes = ADAFS_ARRAY_SIZE(blob_routes);

int op_not_implemented(struct blob_call *c, struct http_resp *resp)
{
	(void)c;
	(void)resp;
	return BE_NOT_IMPLEMENTED;
}

int op_account_info(struct blob_call *c, struct http_resp *resp)
{
	(void)c;
	resp->status = 200;
	http_resp_header(resp, "x-ms-sku-name", "Standard_LRS");
	http_resp_header(resp, "x-ms-account-kind", "StorageV2");
	return http_resp_header(resp, "x-ms-is-hns-enabled", "false");
}

int op_service_properties(struct blob_call *c, struct http_resp *resp)
{
	static const char off[] = "<Version>1.0</Version><Enabled>false</Enabled>"
				  "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy>";
	(void)c;
	int rc = answer_xml(resp, 200);
	if (rc < 0)
		return rc;
	return adafs_buf_addf(
		&resp->body,
		"<StorageServiceProperties><Logging><Version>1.0</Version><Delete>false</Delete>"
		"<Read>false</Read><Write>false</Write><RetentionPolicy><Enabled>false</Enabled>"
		"</RetentionPolicy></Logging><HourMetrics>%s</HourMetrics><MinuteMetrics>%s"
		"</MinuteMetrics><Cors /><DeleteRetentionPolicy><Enabled>false</Enabled>"
		"</DeleteRetentionPolicy><StaticWebsite><Enabled>false</Enabled></StaticWebsite>"
		"</StorageServiceProperties>",
		off, off);
}
