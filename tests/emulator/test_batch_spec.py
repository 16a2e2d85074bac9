"""Bodies of the Batch service: every property is taken, kept and shown with its defaults."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from batch_sign import Batch  # noqa: E402

UNLIMITED = "P10675199DT2H48M5.4775807S"
USER = {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}}


@pytest.fixture
def b(emulator):
    return Batch(emulator.settings)


def vm(**more):
    return dict({"imageReference": {"publisher": "canonical", "offer": "o", "sku": "22_04-lts"},
                 "nodeAgentSKUId": "batch.node.ubuntu 22.04"}, **more)


def pool(pool_id, **more):
    return dict({"id": pool_id, "vmSize": "STANDARD_D2S_V3", "targetDedicatedNodes": 0,
                 "virtualMachineConfiguration": vm()}, **more)


def parts():
    """A part of a task of each kind."""
    return {
        "containerSettings": {"imageName": "debian:12", "containerRunOptions": "--rm",
                              "workingDirectory": "taskWorkingDirectory",
                              "containerHostBatchBindMounts": [{"source": "Task", "isReadOnly": False}]},
        "resourceFiles": [{"storageContainerUrl": "http://127.0.0.1/c", "blobPrefix": "in/",
                           "filePath": "data", "identityReference": {"resourceId": "/id"}},
                          {"autoStorageContainerName": "c"},
                          {"httpUrl": "http://127.0.0.1/c/b", "filePath": "b", "fileMode": "0644"}],
        "environmentSettings": [{"name": "A", "value": "b"}],
    }


def test_a_pool_shows_all_that_it_was_given(b):
    start = dict(parts(), commandLine="/bin/true", maxTaskRetryCount=2, waitForSuccess=False)
    given = pool(
        "full", displayName="Full", targetLowPriorityNodes=0, resizeTimeout="PT10M",
        taskSlotsPerNode=4, enableInterNodeCommunication=True, startTask=start,
        taskSchedulingPolicy={"nodeFillType": "Pack", "jobDefaultOrder": "CreationTime"},
        metadata=[{"name": "a", "value": "b"}], targetNodeCommunicationMode="Simplified",
        applicationPackageReferences=[{"applicationId": "app", "version": "1"}],
        certificateReferences=[{"thumbprint": "aa", "thumbprintAlgorithm": "sha1"}],
        applicationLicenses=["maya"], resourceTags={"team": "x"},
        upgradePolicy={"mode": "Automatic", "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": True},
                       "rollingUpgradePolicy": {"maxBatchInstancePercent": 20}},
        networkConfiguration={
            "subnetId": "/s", "dynamicVNetAssignmentScope": "none", "enableAcceleratedNetworking": False,
            "publicIPAddressConfiguration": {"provision": "BatchManaged"},
            "endpointConfiguration": {"inboundNATPools": [
                {"name": "ssh", "protocol": "tcp", "backendPort": 22, "frontendPortRangeStart": 1000,
                 "frontendPortRangeEnd": 1100,
                 "networkSecurityGroupRules": [{"priority": 150, "access": "allow",
                                                "sourceAddressPrefix": "*"}]}]}})
    given["virtualMachineConfiguration"] = vm(
        dataDisks=[{"lun": 0, "diskSizeGB": 10, "caching": "readwrite", "storageAccountType": "premium_lrs"}],
        licenseType="Windows_Server", windowsConfiguration={"enableAutomaticUpdates": True},
        diskEncryptionConfiguration={"targets": ["OsDisk", "TemporaryDisk"]},
        nodePlacementConfiguration={"policy": "Zonal"},
        osDisk={"ephemeralOSDiskSettings": {"placement": "CacheDisk"}},
        securityProfile={"securityType": "trustedLaunch", "encryptionAtHost": True,
                         "uefiSettings": {"secureBootEnabled": True, "vTpmEnabled": True}},
        serviceArtifactReference={"id": "/a"},
        extensions=[{"name": "e", "publisher": "p", "type": "t", "settings": {"any": 1}}],
        containerConfiguration={"type": "DockerCompatible", "containerImageNames": ["debian:12"]})
    b.ok("POST", "/pools", given, 201)
    p = b.get("/pools/full")
    for name in ("displayName", "enableInterNodeCommunication", "metadata", "applicationLicenses",
                 "applicationPackageReferences", "resourceTags", "resizeTimeout", "taskSlotsPerNode"):
        assert p[name] == given[name], name
    assert p["taskSchedulingPolicy"] == {"nodeFillType": "pack", "jobDefaultOrder": "creationtime"}
    assert p["targetNodeCommunicationMode"] == "simplified"
    assert p["startTask"] == dict(start, userIdentity=USER)
    shown = p["virtualMachineConfiguration"]
    assert shown["diskEncryptionConfiguration"] == {"targets": ["osdisk", "temporarydisk"]}
    assert shown["nodePlacementConfiguration"] == {"policy": "zonal"}
    assert shown["securityProfile"]["securityType"] == "trustedLaunch"
    assert shown["imageReference"]["version"] == "latest"
    assert p["networkConfiguration"]["endpointConfiguration"] == \
        given["networkConfiguration"]["endpointConfiguration"]


def test_secrets_are_not_shown(b):
    given = pool("secret", userAccounts=[
        {"name": "u", "password": "SECRETpw", "elevationLevel": "admin",
         "linuxUserConfiguration": {"uid": 1001, "gid": 1001, "sshPrivateKey": "SECRETssh"}}],
        mountConfiguration=[
            {"azureBlobFileSystemConfiguration": {"accountName": "a", "containerName": "c",
                                                  "accountKey": "SECRETkey", "relativeMountPath": "m"}},
            {"azureFileShareConfiguration": {"accountName": "a", "azureFileUrl": "http://f",
                                             "accountKey": "SECRETkey", "relativeMountPath": "n"}},
            {"nfsMountConfiguration": {"source": "h:/e", "relativeMountPath": "o"}},
            {"cifsMountConfiguration": {"username": "u", "source": "//h/s", "password": "SECRETpw",
                                        "relativeMountPath": "p"}}])
    given["virtualMachineConfiguration"]["containerConfiguration"] = {
        "type": "dockerCompatible",
        "containerRegistries": [{"username": "u", "password": "SECRETreg", "registryServer": "r.example"}]}
    b.ok("POST", "/pools", given, 201)
    r = b.call("GET", "/pools/secret")
    assert b"SECRET" not in r.body
    assert r.json["userAccounts"][0]["linuxUserConfiguration"] == {"uid": 1001, "gid": 1001}
    assert r.json["mountConfiguration"][2] == given["mountConfiguration"][2]
    assert b"SECRET" not in b.call("GET", "/pools").body
    two = dict(given["mountConfiguration"][2], **given["mountConfiguration"][3])
    assert b.call("POST", "/pools", pool("x", mountConfiguration=[two])).code == "InvalidPropertyValue"


def test_pools_that_are_refused(b):
    def code(**more):
        return b.call("POST", "/pools", pool("bad", **more)).code
    assert code(nonsense=1) == "InvalidRequestBody"
    assert code(taskSlotsPerNode=257) == "InvalidPropertyValue"
    assert code(resizeTimeout="PT4M") == "InvalidPropertyValue"
    assert code(displayName="x" * 1025) == "InvalidPropertyValue"
    assert code(startTask={"waitForSuccess": True}) == "MissingRequiredProperty"
    assert code(virtualMachineConfiguration=None) == "InvalidRequestBody"
    assert code(cloudServiceConfiguration={"osFamily": "6"}) == "InvalidPropertyValue"
    assert code(applicationPackageReferences=[{"applicationId": "a%d" % i} for i in range(11)]) == \
        "InvalidPropertyValue"
    both = pool("bad", enableAutoScale=True, autoScaleFormula="$TargetDedicatedNodes=0;")
    assert b.call("POST", "/pools", both).status == 400
    body = pool("bad")
    del body["targetDedicatedNodes"]
    assert b.call("POST", "/pools", body).code == "MissingRequiredProperty"


def test_patch_and_replace_of_a_pool(b):
    b.ok("POST", "/pools", pool("p", startTask={"commandLine": "/bin/true"},
                                metadata=[{"name": "a", "value": "b"}]), 201)
    old = b.get("/pools/p")["eTag"]
    b.ok("PATCH", "/pools/p", {"startTask": {"commandLine": "/bin/false"}}, 200)
    p = b.get("/pools/p")
    assert p["eTag"] != old
    assert p["startTask"] == {"commandLine": "/bin/false", "userIdentity": USER, "maxTaskRetryCount": 0,
                              "waitForSuccess": True}
    assert p["metadata"] == [{"name": "a", "value": "b"}]
    b.ok("PATCH", "/pools/p", {"displayName": "new"}, 200)
    r = b.call("PATCH", "/pools/p", {"displayName": "new"}, api_version="2022-10-01.16.0")
    assert r.code == "InvalidRequestBody"
    path = "/pools/p/updateproperties"
    assert b.call("POST", path, {"metadata": []}).code == "MissingRequiredProperty"
    # Takes no conditions, so a wrong one does not matter.
    b.ok("POST", path, {"metadata": [], "applicationPackageReferences": [], "certificateReferences": []}, 204,
         headers={"If-Match": "0x1"})
    p = b.get("/pools/p")
    assert "startTask" not in p and p["metadata"] == []


def test_a_job_shows_all_that_it_was_given(b):
    preparation = dict(parts(), id="prep", commandLine="/bin/true", waitForSuccess=False,
                       rerunOnNodeRebootAfterSuccess=False, constraints={"maxTaskRetryCount": 1})
    given = {"id": "j", "displayName": "J", "poolInfo": {"poolId": "none-yet"}, "priority": 7,
             "maxParallelTasks": 3, "allowTaskPreemption": True, "usesTaskDependencies": True,
             "onAllTasksComplete": "NoAction", "onTaskFailure": "PerformExitOptionsJobAction",
             "constraints": {"maxWallClockTime": "PT2H", "maxTaskRetryCount": 2},
             "commonEnvironmentSettings": [{"name": "A", "value": "b"}],
             "metadata": [{"name": "a", "value": "b"}], "networkConfiguration": {"subnetId": "/s"},
             "jobPreparationTask": preparation,
             "jobReleaseTask": {"commandLine": "/bin/true"}}
    b.ok("POST", "/jobs", given, 201)
    j = b.get("/jobs/j")
    for name in ("displayName", "priority", "maxParallelTasks", "allowTaskPreemption", "poolInfo",
                 "constraints", "commonEnvironmentSettings", "metadata", "networkConfiguration"):
        assert j[name] == given[name], name
    assert j["onTaskFailure"] == "performexitoptionsjobaction"
    constraints = {"maxWallClockTime": UNLIMITED, "retentionTime": "P7D", "maxTaskRetryCount": 1}
    assert j["jobPreparationTask"] == dict(preparation, userIdentity=USER, constraints=constraints)
    assert j["jobReleaseTask"] == {"id": "jobrelease", "commandLine": "/bin/true", "userIdentity": USER,
                                   "maxWallClockTime": "PT15M", "retentionTime": "P7D"}
    for task_id, code in (("PREP", "TaskIdSameAsJobPreparationTask"),
                          ("jobrelease", "TaskIdSameAsJobReleaseTask")):
        r = b.call("POST", "/jobs/j/tasks", {"id": task_id, "commandLine": "true"})
        assert (r.status, r.code) == (409, code)


def test_jobs_that_are_refused(b):
    def code(**more):
        r = b.call("POST", "/jobs", dict({"id": "bad", "poolInfo": {"poolId": "local"}}, **more))
        return r.code
    assert code(jobReleaseTask={"commandLine": "true"}) == "InvalidPropertyValue"
    assert code(poolInfo={}) == "InvalidPropertyValue"
    assert code(maxParallelTasks=0) == "InvalidPropertyValue"
    assert code(jobPreparationTask={"id": "x"}) == "MissingRequiredProperty"
    assert code(nonsense=1) == "InvalidRequestBody"


def test_a_task_shows_all_that_it_was_given(b):
    b.job("j", pool="none-yet", usesTaskDependencies=True)
    given = dict(parts(), id="t", displayName="T", commandLine="/bin/true", requiredSlots=2,
                 constraints={"maxWallClockTime": "PT1H", "retentionTime": "P1D", "maxTaskRetryCount": -1},
                 userIdentity={"username": "u"}, affinityInfo={"affinityId": "TVM:x"},
                 dependsOn={"taskIds": ["a"], "taskIdRanges": [{"start": 1, "end": 2}]},
                 exitConditions={"exitCodes": [{"code": 1, "exitOptions": {"dependencyAction": "satisfy"}}],
                                 "default": {"dependencyAction": "block"}},
                 applicationPackageReferences=[{"applicationId": "app"}],
                 authenticationTokenSettings={"access": ["job"]},
                 multiInstanceSettings={"numberOfInstances": 2, "coordinationCommandLine": "true"},
                 outputFiles=[{"filePattern": "*", "uploadOptions": {"uploadCondition": "TaskSuccess"},
                               "destination": {"container": {
                                   "containerUrl": "http://127.0.0.1/c", "path": "p",
                                   "identityReference": {"resourceId": "/id"},
                                   "uploadHeaders": [{"name": "x-ms-meta-a", "value": "b"}]}}}])
    b.ok("POST", "/jobs/j/tasks", given, 201)
    t = b.task("j", "t")
    given["outputFiles"][0]["uploadOptions"]["uploadCondition"] = "tasksuccess"
    for name, value in given.items():
        assert t[name] == value, name
    assert b.get("/jobs/j/tasks/t/subtasksinfo")["value"] == []
    # SDKs put back what they got.
    b.ok("PUT", "/jobs/j/tasks/t", {k: v for k, v in t.items() if k != "odata.metadata"}, 200)
    assert b.task("j", "t")["constraints"] == given["constraints"]
    b.ok("PUT", "/jobs/j/tasks/t", {"constraints": {"maxTaskRetryCount": 1}}, 200)
    assert b.task("j", "t")["constraints"] == {"maxWallClockTime": UNLIMITED, "retentionTime": "P7D",
                                               "maxTaskRetryCount": 1}
