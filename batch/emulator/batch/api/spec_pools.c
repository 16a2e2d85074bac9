/* The bodies of /pools and of their nodes. */
#include "batch/emulator/batch/api/spec_fields.h"

#define MINUTES(n) ((n)*INT64_C(60000))

NAMES identity_type[] = { "none", "userassigned", NULL };
NAMES fill_type[] = { "spread", "pack", NULL };
NAMES job_order[] = { "none", "creationtime", NULL };
NAMES deallocation[] = { "requeue", "terminate", "taskcompletion", "retaineddata", NULL };
NAMES disable_scheduling[] = { "requeue", "terminate", "taskcompletion", NULL };
NAMES communication[] = { "default", "classic", "simplified", NULL };
NAMES container_type[] = { "dockerCompatible", "criCompatible", NULL };
NAMES caching[] = { "none", "readonly", "readwrite", NULL };
NAMES storage_type[] = { "standard_lrs", "premium_lrs", "standardssd_lrs", NULL };
NAMES encryption_target[] = { "osdisk", "temporarydisk", NULL };
NAMES placement[] = { "regional", "zonal", NULL };
NAMES disk_placement[] = { "cachedisk", NULL };
NAMES security_type[] = { "trustedLaunch", "confidentialVM", NULL };
NAMES disk_encryption[] = { "NonPersistedTPM", "VMGuestStateOnly", "DiskWithVMGuestState", NULL };
NAMES vnet_scope[] = { "none", "job", NULL };
NAMES nat_protocol[] = { "tcp", "udp", NULL };
NAMES access_rule[] = { "allow", "deny", NULL };
NAMES ip_provision[] = { "batchmanaged", "usermanaged", "nopublicipaddresses", NULL };
NAMES login_mode[] = { "batch", "interactive", NULL };
NAMES upgrade_mode[] = { "automatic", "manual", "rolling", NULL };
NAMES store_location[] = { "currentuser", "localmachine", NULL };

/* --- the virtual machine ------------------------------------------------------------------ */

FIELDS image_reference[] = {
	STRING("publisher"),
	STRING("offer"),
	STRING("sku"),
	STRING("version"),
	STRING("virtualMachineImageId"),
	STRING("sharedGalleryImageId"),
	STRING("communityGalleryImageId"),
	IGNORED("exactVersion"),
	END,
};
FIELDS container_configuration[] = {
	ENUM_REQ("type", container_type),
	STRINGS("containerImageNames"),
	LIST("containerRegistries", spec_registry),
	END,
};
FIELDS disk_encryption_set[] = { STRING("id"), END };
FIELDS disk_security[] = { ENUM("securityEncryptionType", disk_encryption), END };
FIELDS managed_disk[] = {
	ENUM("storageAccountType", storage_type),
	OBJECT("securityProfile", disk_security),
	OBJECT("diskEncryptionSet", disk_encryption_set),
	END,
};
FIELDS data_disk[] = {
	INT_REQ("lun", 0, 63),
	INT_REQ("diskSizeGB", 1, 1 << 20),
	ENUM("caching", caching),
	ENUM("storageAccountType", storage_type),
	OBJECT("managedDisk", managed_disk),
	END,
};
FIELDS ephemeral_disk[] = { ENUM("placement", disk_placement), END };
FIELDS os_disk[] = {
	OBJECT("ephemeralOSDiskSettings", ephemeral_disk),
	ENUM("caching", caching),
	OBJECT("managedDisk", managed_disk),
	INT("diskSizeGB", 1, 1 << 20),
	BOOL("writeAcceleratorEnabled"),
	END,
};
FIELDS encryption_key[] = { OBJECT("identityReference", spec_identity_reference), STRING("keyUrl"),
			    BOOL("rotationToLatestKeyVersionEnabled"), END };
FIELDS encryption[] = {
	{ .name = "targets", .type = SPEC_ENUMS, .names = encryption_target },
	OBJECT("customerManagedKey", encryption_key),
	END,
};
FIELDS node_placement[] = { ENUM("policy", placement), END };
FIELDS vm_extension[] = {
	STRING_REQ("name"),
	STRING_REQ("publisher"),
	STRING_REQ("type"),
	STRING("typeHandlerVersion"),
	BOOL("autoUpgradeMinorVersion"),
	BOOL("enableAutomaticUpgrade"),
	ANY("settings"),
	ANY("protectedSettings"),
	STRINGS("provisionAfterExtensions"),
	END,
};
FIELDS uefi_settings[] = { BOOL("secureBootEnabled"), BOOL("vTpmEnabled"), END };
FIELDS security_profile[] = {
	ENUM("securityType", security_type),
	BOOL("encryptionAtHost"),
	OBJECT("uefiSettings", uefi_settings),
	ANY("proxyAgentSettings"),
	END,
};
FIELDS artifact_reference[] = { STRING_REQ("id"), END };
/* The service assigns identities by its management interface only; a test has no other way. */
FIELDS user_identity[] = { STRING_REQ("resourceId"), STRING("clientId"), STRING("principalId"),
			   END };
FIELDS identity[] = { ENUM_REQ("type", identity_type),
		      LIST("userAssignedIdentities", user_identity), END };
FIELDS windows[] = { BOOL("enableAutomaticUpdates"), END };
FIELDS vm_configuration[] = {
	OBJECT_REQ("imageReference", image_reference),
	STRING_REQ("nodeAgentSKUId"),
	OBJECT("containerConfiguration", container_configuration),
	LIST("dataDisks", data_disk),
	OBJECT("windowsConfiguration", windows),
	STRING("licenseType"),
	OBJECT("diskEncryptionConfiguration", encryption),
	OBJECT("nodePlacementConfiguration", node_placement),
	LIST("extensions", vm_extension),
	OBJECT("osDisk", os_disk),
	OBJECT("securityProfile", security_profile),
	OBJECT("serviceArtifactReference", artifact_reference),
	END,
};
FIELDS cloud_service[] = { STRING_REQ("osFamily"), STRING("osVersion"), END };

/* --- network, users, mounts --------------------------------------------------------------- */

FIELDS security_rule[] = { INT_REQ("priority", 150, 4096), ENUM_REQ("access", access_rule),
			   STRING_REQ("sourceAddressPrefix"), STRINGS("sourcePortRanges"), END };
FIELDS nat_pool[] = {
	STRING_REQ("name"),
	ENUM_REQ("protocol", nat_protocol),
	INT_REQ("backendPort", 1, 65535),
	INT_REQ("frontendPortRangeStart", 1, 65534),
	INT_REQ("frontendPortRangeEnd", 1, 65534),
	LIST_MAX("networkSecurityGroupRules", security_rule, 25),
	END,
};
FIELDS endpoints[] = { LIST_REQ("inboundNATPools", nat_pool), END };
FIELDS public_ip[] = { ENUM("provision", ip_provision), STRINGS("ipAddressIds"),
		       STRINGS("ipFamilies"), ANY("ipTags"), END };
FIELDS network[] = {
	STRING("subnetId"),
	ENUM("dynamicVNetAssignmentScope", vnet_scope),
	OBJECT("endpointConfiguration", endpoints),
	OBJECT("publicIPAddressConfiguration", public_ip),
	BOOL("enableAcceleratedNetworking"),
	END,
};
FIELDS linux_user[] = { INT("uid", 0, INT32_MAX), INT("gid", 0, INT32_MAX), STRING("sshPrivateKey"),
			END };
FIELDS windows_user[] = { ENUM("loginMode", login_mode), END };
FIELDS user_account[] = {
	STRING_REQ("name"),
	STRING_REQ("password"),
	ENUM("elevationLevel", spec_elevation),
	OBJECT("linuxUserConfiguration", linux_user),
	OBJECT("windowsUserConfiguration", windows_user),
	END,
};
FIELDS blob_mount[] = {
	STRING_REQ("accountName"),
	STRING_REQ("containerName"),
	STRING("accountKey"),
	STRING("sasKey"),
	OBJECT("identityReference", spec_identity_reference),
	STRING("blobfuseOptions"),
	STRING_REQ("relativeMountPath"),
	END,
};
FIELDS share_mount[] = {
	STRING_REQ("accountName"),       STRING_REQ("azureFileUrl"), STRING_REQ("accountKey"),
	STRING_REQ("relativeMountPath"), STRING("mountOptions"),     END,
};
FIELDS nfs_mount[] = { STRING_REQ("source"), STRING_REQ("relativeMountPath"),
		       STRING("mountOptions"), END };
FIELDS cifs_mount[] = {
	STRING_REQ("username"),          STRING_REQ("source"),   STRING_REQ("password"),
	STRING_REQ("relativeMountPath"), STRING("mountOptions"), END,
};
FIELDS mount[] = {
	OBJECT("azureBlobFileSystemConfiguration", blob_mount),
	OBJECT("azureFileShareConfiguration", share_mount),
	OBJECT("nfsMountConfiguration", nfs_mount),
	OBJECT("cifsMountConfiguration", cifs_mount),
	END,
};

/* --- the pool ----------------------------------------------------------------------------- */

const struct batch_spec_field spec_start_task[] = {
	STRING_REQ("commandLine"),
	OBJECT("containerSettings", spec_container_settings),
	LIST("resourceFiles", spec_resource_file),
	LIST("environmentSettings", spec_name_value),
	OBJECT("userIdentity", spec_user_identity),
	INT("maxTaskRetryCount", -1, 1 << 30),
	BOOL("waitForSuccess"),
	END,
};
FIELDS scheduling_policy[] = { ENUM_REQ("nodeFillType", fill_type),
			       ENUM("jobDefaultOrder", job_order), END };
FIELDS certificate[] = { STRING_REQ("thumbprint"),
			 STRING_REQ("thumbprintAlgorithm"),
			 ENUM("storeLocation", store_location),
			 STRING("storeName"),
			 STRINGS("visibility"),
			 END };
FIELDS os_upgrade[] = {
	BOOL("disableAutomaticRollback"),
	BOOL("enableAutomaticOSUpgrade"),
	BOOL("useRollingUpgradePolicy"),
	BOOL("osRollingUpgradeDeferral"),
	END,
};
FIELDS rolling_upgrade[] = {
	BOOL("enableCrossZoneUpgrade"),
	INT("maxBatchInstancePercent", 5, 100),
	INT("maxUnhealthyInstancePercent", 5, 100),
	INT("maxUnhealthyUpgradedInstancePercent", 0, 100),
	DURATION("pauseTimeBetweenBatches", 0),
	BOOL("prioritizeUnhealthyInstances"),
	BOOL("rollbackFailedInstancesOnPolicyBreach"),
	END,
};
FIELDS upgrade_policy[] = {
	ENUM_REQ("mode", upgrade_mode),
	OBJECT("automaticOSUpgradePolicy", os_upgrade),
	OBJECT("rollingUpgradePolicy", rolling_upgrade),
	END,
};

/* What newer versions can change of a living pool, beside POOL_PATCH. */
#define POOL_SHAPE                                                                                \
	STRING_MAX("displayName", 1024), OBJECT("virtualMachineConfiguration", vm_configuration), \
		BOOL("enableInterNodeCommunication"), OBJECT("networkConfiguration", network),    \
		INT("taskSlotsPerNode", 1, 256),                                                  \
		OBJECT("taskSchedulingPolicy", scheduling_policy),                                \
		LIST("userAccounts", user_account), LIST("mountConfiguration", mount),            \
		OBJECT("upgradePolicy", upgrade_policy), ANY("resourceTags")
#define POOL_PATCH                                                                        \
	OBJECT("startTask", spec_start_task), LIST("certificateReferences", certificate), \
		ENUM("targetNodeCommunicationMode", communication)
#define POOL_LISTS                                                            \
	LIST_MAX("applicationPackageReferences", spec_package, PACKAGES_MAX), \
		LIST("metadata", spec_metadata)
#define POOL_SCALE                                                                                \
	OBJECT("cloudServiceConfiguration", cloud_service),                                       \
		INT("targetDedicatedNodes", 0, 100000), INT("targetLowPriorityNodes", 0, 100000), \
		DURATION("resizeTimeout", MINUTES(5)), BOOL("enableAutoScale"),                   \
		STRING("autoScaleFormula"),                                                       \
		DURATION_IN("autoScaleEvaluationInterval", MINUTES(5), MINUTES(168 * 60)),        \
		STRINGS("applicationLicenses"), OBJECT("identity", identity)

const struct batch_spec_field batch_spec_pool_add[] = {
	ID_REQ("id"), STRING_REQ("vmSize"), POOL_SHAPE, POOL_PATCH, POOL_LISTS, POOL_SCALE, END,
};
const struct batch_spec_field spec_auto_pool[] = {
	STRING_REQ("vmSize"), POOL_SHAPE, POOL_PATCH, POOL_LISTS, POOL_SCALE, END,
};
const struct batch_spec_field batch_spec_pool_patch[] = { POOL_PATCH, POOL_LISTS, END };
const struct batch_spec_field batch_spec_pool_patch_2024[] = { STRING("vmSize"), POOL_SHAPE,
							       POOL_PATCH, POOL_LISTS, END };
const struct batch_spec_field batch_spec_pool_replace[] = {
	POOL_PATCH,
	{ .name = "applicationPackageReferences",
	  .type = SPEC_LIST,
	  .required = true,
	  .fields = spec_package,
	  .max = PACKAGES_MAX },
	LIST_REQ("metadata", spec_metadata),
	END,
};
const struct batch_spec_field batch_spec_pool_resize[] = {
	INT("targetDedicatedNodes", 0, 100000),
	INT("targetLowPriorityNodes", 0, 100000),
	DURATION("resizeTimeout", MINUTES(5)),
	ENUM("nodeDeallocationOption", deallocation),
	END,
};
const struct batch_spec_field batch_spec_pool_remove_nodes[] = {
	{ .name = "nodeList", .type = SPEC_STRINGS, .required = true, .max = 100 },
	DURATION("resizeTimeout", MINUTES(5)),
	ENUM("nodeDeallocationOption", deallocation),
	END,
};
const struct batch_spec_field batch_spec_pool_autoscale[] = {
	STRING("autoScaleFormula"),
	DURATION_IN("autoScaleEvaluationInterval", MINUTES(5), MINUTES(168 * 60)),
	END,
};
const struct batch_spec_field batch_spec_pool_evaluate[] = { STRING_REQ("autoScaleFormula"), END };

/* --- nodes -------------------------------------------------------------------------------- */

const struct batch_spec_field batch_spec_node_reboot[] = { ENUM("nodeRebootOption", deallocation),
							   END };
const struct batch_spec_field batch_spec_node_reimage[] = { ENUM("nodeReimageOption", deallocation),
							    END };
const struct batch_spec_field batch_spec_node_deallocate[] = {
	ENUM("nodeDeallocateOption", deallocation), END
};
const struct batch_spec_field batch_spec_node_disable[] = {
	ENUM("nodeDisableSchedulingOption", disable_scheduling), END
};
const struct batch_spec_field batch_spec_node_user_add[] = {
	STRING_REQ("name"), BOOL("isAdmin"),        TIME("expiryTime"),
	STRING("password"), STRING("sshPublicKey"), END,
};
const struct batch_spec_field batch_spec_node_user_put[] = { STRING("password"), TIME("expiryTime"),
							     STRING("sshPublicKey"), END };
const struct batch_spec_field batch_spec_node_logs[] = {
	STRING_REQ("containerUrl"),
	TIME_REQ("startTime"),
	TIME("endTime"),
	OBJECT("identityReference", spec_identity_reference),
	END,
};
