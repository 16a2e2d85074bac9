"""Tasks whose files name an identity of the pool instead of carrying a SAS."""
import pytest

from batch_sign import Batch, sh
from blob_client import Client, Emulator

MINE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mine"
DEFAULT = ("/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/adafs/providers/"
           "Microsoft.ManagedIdentity/userAssignedIdentities/adafs")


@pytest.fixture(scope="module")
def e(tmp_path_factory):
    emulator = Emulator(tmp_path_factory.mktemp("e"), "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0")
    yield emulator
    emulator.stop()


@pytest.fixture(scope="module")
def b(e):
    """A Batch client with a pool that has an identity, a job in it, and a private container."""
    c = Client(e)
    assert c.send("PUT", "/box?restype=container").status == 201
    for name in ("in/a b", "in/c"):
        assert c.put("/box/" + name.replace(" ", "%20"), name.encode()).status == 201
    batch = Batch(e.env)
    batch.ok("POST", "/pools", {
        "id": "p", "vmSize": "standard_d2s_v3", "targetDedicatedNodes": 1,
        "virtualMachineConfiguration": {
            "imageReference": {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"},
            "nodeAgentSKUId": "batch.node.ubuntu 24.04"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": [{"resourceId": MINE}]}}, 201)
    batch.job("j", "p")
    return batch


def url(e, path):
    return "http://%s/%s/%s" % (e.host, e.account, path)


def by(identity, **item):
    return {**item, "identityReference": {"resourceId": identity}}


def output(e, identity, container="box"):
    return {"filePattern": "out.txt", "uploadOptions": {"uploadCondition": "taskcompletion"},
            "destination": {"container": by(identity, containerUrl=url(e, container), path="out/made")}}


@pytest.mark.parametrize("name,identity", [("mine", MINE), ("case", MINE.upper()), ("default", DEFAULT)])
def test_files_move_in_the_name_of_an_identity(e, b, name, identity):
    b.add("j", sh(name, "cat one all/in/c > out.txt",
                  resourceFiles=[by(identity, httpUrl=url(e, "box/in/a%20b"), filePath="one"),
                                 by(identity, storageContainerUrl=url(e, "box"), blobPrefix="in/", filePath="all")],
                  outputFiles=[output(e, identity)]))
    t = b.wait_task("j", name)
    assert t["executionInfo"]["result"] == "success", t["executionInfo"]
    assert Client(e).get("/box/out/made").body == b"in/a bin/c"
    # What the task shows is what was sent: no signature.
    assert "sig=" not in str(t) and t["resourceFiles"][0]["identityReference"] == {"resourceId": identity}
    assert "sig=" not in b.file("j", name, "fileuploadout.txt")


@pytest.mark.parametrize("name,files,code", [
    ("d1", lambda e: {"resourceFiles": [by(MINE + "x", httpUrl=url(e, "box/in/c"), filePath="one")]},
     "BlobAccessDenied"),
    ("d2", lambda e: {"resourceFiles": [by(MINE + "x", storageContainerUrl=url(e, "box"))]},
     "ResourceContainerListMiscError"),
    ("d3", lambda e: {"outputFiles": [output(e, MINE + "x")]}, "FileUploadAccessDenied"),
    ("d4", lambda e: {"resourceFiles": [by(MINE, httpUrl="http://127.0.0.1:1/other/box/c", filePath="one")]},
     "BlobAccessDenied"),
    ("d5", lambda e: {"resourceFiles": [by(MINE, httpUrl=url(e, "box/none"), filePath="one")]}, "BlobNotFound"),
    ("d6", lambda e: {"outputFiles": [output(e, MINE, "none")]}, "FileUploadContainerNotFound"),
    ("d7", lambda e: {"resourceFiles": [{"httpUrl": url(e, "box/in/c"), "filePath": "one"}]}, "BlobAccessDenied"),
])
def test_what_an_identity_does_not_open(e, b, name, files, code):
    b.add("j", sh(name, "echo x > out.txt", **files(e)))
    failure = b.wait_task("j", name)["executionInfo"]["failureInfo"]
    assert (failure["category"].lower(), failure["code"]) == ("usererror", code)
    assert "sig=" not in str(failure)


def test_files_of_the_accounts_own_storage(e, b):
    b.add("j", sh("auto", "cat all/in/c", resourceFiles=[{"autoStorageContainerName": "box", "blobPrefix": "in/",
                                                          "filePath": "all"}]))
    t = b.wait_task("j", "auto")
    assert t["executionInfo"]["result"] == "success", t["executionInfo"]
    assert b.file("j", "auto", "stdout.txt") == "in/c"
    assert "sig=" not in str(t) and t["resourceFiles"][0]["autoStorageContainerName"] == "box"
    b.add("j", sh("none", "true", resourceFiles=[{"autoStorageContainerName": "nobox"}]))
    assert b.wait_task("j", "none")["executionInfo"]["failureInfo"]["code"] == "ResourceContainerNotFound"
