/* The table of the service's errors: status, code and sentence. */
#include "batch/emulator/blob/blob_error.h"

static const struct blob_error_info table[BE_COUNT] = {
	[BE_NONE] = { 200, "", "" },
	[BE_NOT_MODIFIED] = { 304, "ConditionNotMet",
			      "The condition specified using HTTP conditional "
			      "header(s) is not met." },
	[BE_ACCOUNT_NOT_FOUND] = { 404, "ResourceNotFound",
				   "The specified resource does not exist." },
	[BE_AUTHENTICATION_FAILED] = { 403, "AuthenticationFailed",
				       "Server failed to authenticate the request. Make sure the "
				       "value of Authorization header is "
				       "formed correctly including the signature." },
	[BE_BLOB_ALREADY_EXISTS] = { 409, "BlobAlreadyExists",
				     "The specified blob already exists." },
	[BE_BLOB_NOT_FOUND] = { 404, "BlobNotFound", "The specified blob does not exist." },
	[BE_BLOCK_COUNT_EXCEEDS_LIMIT] = { 409, "BlockCountExceedsLimit",
					   "The uncommitted block count cannot exceed the maximum limit of 100,000 blocks." },
	[BE_BLOCK_LIST_TOO_LONG] = { 400, "BlockListTooLong",
				     "The block list may not contain more than 50,000 blocks." },
	[BE_CANNOT_VERIFY_COPY_SOURCE] = { 404, "CannotVerifyCopySource",
					   "Could not verify the copy source within the specified time." },
	[BE_CONDITION_NOT_MET] = { 412, "ConditionNotMet",
				   "The condition specified using HTTP conditional header(s) is not met." },
	[BE_CONTAINER_ALREADY_EXISTS] = { 409, "ContainerAlreadyExists",
					  "The specified container already exists." },
	[BE_CONTAINER_LEASE_NOT_PRESENT] = { 412, "LeaseNotPresentWithContainerOperation",
					     "There is currently no lease on the container." },
	[BE_CONTAINER_NOT_FOUND] = { 404, "ContainerNotFound",
				     "The specified container does not exist." },
	[BE_CRC64_MISMATCH] = { 400, "Crc64Mismatch",
				"The CRC64 value specified in the request did not match with the "
				"CRC64 value calculated by "
				"the server." },
	[BE_EMPTY_METADATA_KEY] = { 400, "EmptyMetadataKey",
				    "The key for one of the metadata key-value pairs is empty." },
	[BE_INTERNAL_ERROR] = { 500, "InternalError",
				"The server encountered an internal error. Please retry the request." },
	[BE_INVALID_AUTHENTICATION_INFO] = { 400, "InvalidAuthenticationInfo",
					     "Authentication information is not given in the "
					     "correct format. Check the value of "
					     "Authorization header." },
	[BE_INVALID_BLOB_OR_BLOCK] = { 400, "InvalidBlobOrBlock",
				       "The specified blob or block content is invalid." },
	[BE_INVALID_BLOB_TIER] = { 400, "InvalidBlobTier",
				   "The specified blob tier is invalid for the blob type." },
	[BE_INVALID_BLOB_TYPE] = { 409, "InvalidBlobType",
				   "The blob type is invalid for this operation." },
	[BE_INVALID_BLOCK_LIST] = { 400, "InvalidBlockList",
				    "The specified block list is invalid." },
	[BE_INVALID_HEADER_VALUE] = { 400, "InvalidHeaderValue",
				      "The value for one of the HTTP headers is not in the correct format." },
	[BE_INVALID_INPUT] = { 400, "InvalidInput", "One of the request inputs is not valid." },
	[BE_INVALID_MD5] = { 400, "InvalidMd5",
			     "The MD5 value specified in the request is invalid. MD5 value must be "
			     "128 bits and base64 "
			     "encoded." },
	[BE_INVALID_METADATA] = { 400, "InvalidMetadata",
				  "The metadata specified is invalid. It has characters that are not permitted." },
	[BE_INVALID_OPERATION] = { 400, "InvalidOperation",
				   "Invalid operation against a blob snapshot." },
	[BE_INVALID_QUERY_PARAMETER_VALUE] = { 400, "InvalidQueryParameterValue",
					       "Value for one of the query parameters specified in the request URI is invalid." },
	[BE_INVALID_RANGE] = { 416, "InvalidRange",
			       "The range specified is invalid for the current size of the resource." },
	[BE_INVALID_RESOURCE_NAME] = { 400, "InvalidResourceName",
				       "The specified resource name contains invalid characters." },
	[BE_INVALID_URI] = { 400, "InvalidUri",
			     "The requested URI does not represent any resource on the server." },
	[BE_INVALID_XML_DOCUMENT] = { 400, "InvalidXmlDocument",
				      "XML specified is not syntactically valid." },
	[BE_INVALID_XML_NODE_VALUE] = { 400, "InvalidXmlNodeValue",
					"The value for one of the XML nodes is not in the correct format." },
	[BE_LEASE_NOT_PRESENT] = { 412, "LeaseNotPresentWithBlobOperation",
				   "There is currently no lease on the blob." },
	[BE_MD5_MISMATCH] = { 400, "Md5Mismatch",
			      "The MD5 value specified in the request did not match with the MD5 "
			      "value calculated by the "
			      "server." },
	[BE_METADATA_TOO_LARGE] = { 400, "MetadataTooLarge",
				    "The metadata specified exceeds the maximum permissible limit (8KB)." },
	[BE_MISSING_CONTENT_LENGTH] = { 411, "MissingContentLengthHeader",
					"Content-Length HTTP header is missing." },
	[BE_MISSING_REQUIRED_HEADER] = { 400, "MissingRequiredHeader",
					 "An HTTP header that's mandatory for this request is not specified." },
	[BE_MISSING_REQUIRED_QUERY_PARAMETER] = { 400, "MissingRequiredQueryParameter",
						  "A query parameter that's mandatory for this request is not specified." },
	[BE_MULTIPLE_CONDITIONS] = { 400, "MultipleConditionHeadersNotSupported",
				     "Multiple condition headers are not supported." },
	[BE_NO_AUTHENTICATION_INFORMATION] = { 401, "NoAuthenticationInformation",
					       "Server failed to authenticate the request. Please "
					       "refer to the information in the "
					       "www-authenticate header." },
	[BE_NO_PENDING_COPY] = { 409, "NoPendingCopyOperation",
				 "There is currently no pending copy operation." },
	[BE_OUT_OF_RANGE_INPUT] = { 400, "OutOfRangeInput",
				    "One of the request inputs is out of range." },
	[BE_OUT_OF_RANGE_QUERY_PARAMETER] = { 400, "OutOfRangeQueryParameterValue",
					      "One of the query parameters specified in the request "
					      "URI is outside the permissible range." },
	[BE_PERMISSION_MISMATCH] = { 403, "AuthorizationPermissionMismatch",
				     "This request is not authorized to perform this operation using this permission." },
	[BE_PROTOCOL_MISMATCH] = { 403, "AuthorizationProtocolMismatch",
				   "This request is not authorized to perform this operation using this protocol." },
	[BE_REQUEST_BODY_TOO_LARGE] = { 413, "RequestBodyTooLarge",
					"The request body is too large and exceeds the maximum permissible limit." },
	[BE_RESOURCE_TYPE_MISMATCH] = { 403, "AuthorizationResourceTypeMismatch",
					"This request is not authorized to perform this operation "
					"using this resource type." },
	[BE_SERVICE_MISMATCH] = { 403, "AuthorizationServiceMismatch",
				  "This request is not authorized to perform this operation using this service." },
	[BE_SNAPSHOTS_PRESENT] = { 409, "SnapshotsPresent",
				   "This operation is not permitted because the blob has snapshots." },
	[BE_SOURCE_CONDITION_NOT_MET] = { 412, "SourceConditionNotMet",
					  "The source condition specified using HTTP conditional header(s) is not met." },
	[BE_SOURCE_IP_MISMATCH] = { 403, "AuthorizationSourceIPMismatch",
				    "This request is not authorized to perform this operation using this source IP." },
	[BE_TARGET_CONDITION_NOT_MET] = { 412, "TargetConditionNotMet",
					  "The target condition specified using HTTP conditional header(s) is not met." },
	[BE_UNAUTHORIZED_OVERWRITE] = { 403, "UnauthorizedBlobOverwrite",
					"This request is not authorized to perform blob overwrites." },
	[BE_UNSATISFIABLE_CONDITION] = { 400, "UnsatisfiableCondition",
					 "The request includes an unsatisfiable condition for this operation." },
	[BE_UNSUPPORTED_HEADER] = { 400, "UnsupportedHeader",
				    "One of the HTTP headers specified in the request is not supported." },
	[BE_UNSUPPORTED_HTTP_VERB] = { 405, "UnsupportedHttpVerb",
				       "The resource doesn't support specified Http Verb." },
	[BE_APPEND_COUNT] = { 409, "BlockCountExceedsLimit",
			      "The committed block count cannot exceed the maximum limit of "
			      "50,000 blocks." },
	[BE_APPEND_POSITION] = { 412, "AppendPositionConditionNotMet",
				 "The append position condition specified was not met." },
	[BE_BLOB_ARCHIVED] = { 409, "BlobArchived",
			       "This operation is not permitted on an archived blob." },
	[BE_BLOB_BEING_REHYDRATED] = { 409, "BlobBeingRehydrated",
				       "This operation is not permitted because the blob is being "
				       "rehydrated." },
	[BE_BLOB_IS_SEALED] = { 409, "BlobIsSealed",
				"The specified blob is sealed and its contents can't be modified "
				"unless the blob is re-created after a delete." },
	[BE_CONDITIONS_NOT_SUPPORTED] = { 400, "ConditionHeadersNotSupported",
					  "Condition headers are not supported." },
	[BE_CORS_PREFLIGHT] = { 403, "CorsPreflightFailure",
				"CORS not enabled or no matching rule found for this request." },
	[BE_INVALID_TAG] = { 400, "InvalidTag",
			     "The tags specified are invalid. It contains characters that are "
			     "not permitted." },
	[BE_LEASE_ALREADY_PRESENT] = { 409, "LeaseAlreadyPresent",
				       "There is already a lease present." },
	[BE_LEASE_BREAKING_ACQUIRE] = { 409, "LeaseIsBreakingAndCannotBeAcquired",
					"The lease ID matched, but the lease is currently in breaking state "
					"and cannot be acquired until it is broken." },
	[BE_LEASE_BREAKING_CHANGE] = { 409, "LeaseIsBreakingAndCannotBeChanged",
				       "The lease ID matched, but the lease is currently in breaking state "
				       "and cannot be changed." },
	[BE_LEASE_BROKEN_RENEW] = { 409, "LeaseIsBrokenAndCannotBeRenewed",
				    "The lease ID matched, but the lease has been broken explicitly and "
				    "cannot be renewed." },
	[BE_LEASE_ID_MISMATCH_BLOB] = { 412, "LeaseIdMismatchWithBlobOperation",
					"The lease ID specified did not match the lease ID for the blob." },
	[BE_LEASE_ID_MISMATCH_CONTAINER] = { 412, "LeaseIdMismatchWithContainerOperation",
					     "The lease ID specified did not match the lease ID for the "
					     "container." },
	[BE_LEASE_ID_MISMATCH_OPERATION] = { 409, "LeaseIdMismatchWithLeaseOperation",
					     "The lease ID specified did not match the lease ID for the "
					     "blob/container." },
	[BE_LEASE_ID_MISSING] = { 412, "LeaseIdMissing",
				  "There is currently a lease on the blob/container and no lease ID "
				  "was specified in the request." },
	[BE_LEASE_LOST] = { 412, "LeaseLost",
			    "A lease ID was specified, but the lease for the blob/container has "
			    "expired." },
	[BE_LEASE_NOT_PRESENT_OPERATION] = { 409, "LeaseNotPresentWithLeaseOperation",
					     "There is currently no lease on the blob/container." },
	[BE_MAX_SIZE] = { 412, "MaxBlobSizeConditionNotMet",
			  "The max blob size condition specified was not met." },
	[BE_MISSING_XML_NODE] = { 400, "MissingRequiredXmlNode",
				  "A required XML node was not specified in the request body." },
	[BE_SECONDARY_WRITE] = { 403, "InsufficientAccountPermissions",
				 "The account being accessed does not have sufficient permissions to "
				 "execute this operation. Write operations are not allowed." },
	[BE_INVALID_TOKEN] = { 401, "InvalidAuthenticationInfo",
			       "Server failed to authenticate the request. Please refer to the information in "
			       "the www-authenticate header." },
	[BE_KEY_NOT_PERMITTED] = { 403, "KeyBasedAuthenticationNotPermitted",
				   "Key based authentication is not permitted on this storage account." },
	[BE_TAGS_TOO_LARGE] = { 400, "TagsTooLarge",
				"The tags specified exceed the maximum permissible limit." },
	[BE_TOO_MANY_PARTS] = { 400, "ExceedsMaxBatchRequestCount",
				"The batch operation exceeds the allowed 256 sub requests." },
	[BE_UNSUPPORTED_QUERY_PARAMETER] = { 400, "UnsupportedQueryParameter",
					     "One of the query parameters specified in the request URI is not "
					     "supported." },
};

const struct blob_error_info *blob_error_info(int error)
{
	if (error < 0 || error >= BE_COUNT || !table[error].code)
		error = BE_INTERNAL_ERROR;
	return &table[error];
}
