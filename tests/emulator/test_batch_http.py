"""The protocol of the Batch service: who may, which version, what an answer holds; pools."""
import base64
import sys
import time
from email.utils import formatdate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from batch_parts import b  # noqa: E402, F401
from batch_sign import sh  # noqa: E402, F401


def test_signature(b):
    r = b.call("GET", "/jobs", signed=False)
    assert r.status == 400 and r.code == "MissingRequiredHeader"
    assert {"key": "HeaderName", "value": "Authorization"} in r.json["values"]
    r = b.call("GET", "/jobs", key=base64.b64encode(b"wrong key, wrong key").decode())
    assert r.status == 403 and r.code == "AuthenticationFailed"
    assert "GET\n" in r.json["values"][0]["value"]
    old = formatdate(time.time() - 16 * 60, usegmt=True)
    assert b.call("GET", "/jobs", headers={"ocp-date": old}).status == 403
    assert b.call("GET", "/jobs", headers={"client-request-id": "unsigned"}).status == 200
    # A DELETE may sign a length of 0 or none.
    assert b.call("DELETE", "/jobs/none", headers={"Content-Length": "0"}).status == 404


def test_versions_and_headers(b):
    r = b.call("GET", "/pools", api_version="1999-01-01.1.0")
    assert r.status == 400 and r.code == "UnsupportedRequestVersion"
    r = b.call("GET", "/pools", api_version="")
    assert r.status == 400 and r.code == "MissingRequiredQueryParameter"
    for version in ("2018-12-01.8.0", "2022-10-01.16.0", "2025-06-01"):
        assert b.call("GET", "/pools", api_version=version).status == 200
    r = b.call("GET", "/pools", headers={"client-request-id": "abc",
                                         "return-client-request-id": "true"})
    assert r.headers["client-request-id"] == "abc" and len(r.headers["request-id"]) == 36
    assert r.headers["dataserviceversion"] == "3.0"
    assert r.headers["content-type"] == "application/json;odata=minimalmetadata"
    assert r.json["odata.metadata"] == b.endpoint + "/$metadata#pools"
    assert "client-request-id" not in b.call("GET", "/pools",
                                             headers={"client-request-id": "abc"}).headers


def test_errors(b):
    r = b.call("GET", "/jobs/none")
    assert r.status == 404 and r.code == "JobNotFound"
    assert r.json["message"]["lang"] == "en-US"
    assert "RequestId:" + r.headers["request-id"] in r.json["message"]["value"]
    assert r.json["odata.metadata"].endswith("Container.errors/@Element")
    assert b.call("HEAD", "/pools/none").status == 404
    assert b.call("HEAD", "/pools/none").body == b""
    assert b.call("GET", "/nothing").code == "ResourceNotFound"
    assert b.call("POST", "/pools/local").code == "UnsupportedHttpVerb"
    assert b.call("POST", "/jobs", b"{ not json").code == "InvalidRequestBody"
    assert b.call("POST", "/jobs", {"id": "x"}).code == "MissingRequiredProperty"
    assert b.call("POST", "/jobs", {"id": "a b", "poolInfo": {"poolId": "local"}}).code == \
        "InvalidPropertyValue"
    assert b.call("POST", "/jobs", b" " * (1 << 20) + b"{}").code == "RequestBodyTooLarge"
    base = {"id": "x", "poolInfo": {"poolId": "local"}}
    # No id is cut at a NUL, and a backslash before "u0000" is no NUL.
    assert b.call("POST", "/jobs", dict(base, id="cut\0here")).code == "InvalidRequestBody"
    assert b.call("POST", "/jobs", b'{"id":"cut\0"}').code == "InvalidRequestBody"
    assert b.call("GET", "/jobs/cut").status == 404
    assert b.call("POST", "/jobs", dict(base, id="uncut", displayName="\\u0000")).status == 201
    assert b.call("POST", "/jobs", dict(base, nonsense=1)).code == "InvalidRequestBody"
    assert b.call("POST", "/jobs", dict(base, priority=1001)).code == "OutOfRangePriority"
    b.job("Twice")
    assert b.call("POST", "/jobs", dict(base, id="tWICE")).code == "JobExists"
    assert b.get("/jobs/TWICE")["id"] == "Twice"
    # A null for an object is refused, as the service does.
    task = sh("t", "true", exitConditions={"default": None})
    assert b.call("POST", "/jobs/twice/tasks", task).status == 400


def test_conditions_and_select(b):
    b.job("c")
    r = b.call("GET", "/jobs/c")
    etag = r.headers["etag"]
    assert etag == r.json["eTag"] and etag.startswith("0x8D")
    assert b.call("GET", "/jobs/c", headers={"If-None-Match": etag}).status == 304
    assert b.call("GET", "/jobs/c", headers={"If-Match": "0x1"}).status == 304
    r = b.call("PATCH", "/jobs/c", {"priority": 5}, headers={"If-Match": "0x1"})
    assert r.status == 412 and r.code == "ConditionNotMet"
    r = b.call("PATCH", "/jobs/c", {"priority": 5}, headers={"If-Match": etag})
    assert r.status == 200 and r.headers["etag"] != etag
    assert r.headers["dataserviceid"] == b.endpoint + "/jobs/c"
    r = b.call("GET", "/jobs/c", headers={"If-Match": "*", "If-None-Match": "0x1"})
    assert r.code == "MultipleConditionHeadersNotSupported"
    assert set(b.get("/jobs/c", S_select="id, priority")) == {"odata.metadata", "id", "priority"}


def test_defaults_in_get(b):
    b.job("d")
    j = b.get("/jobs/d")
    assert (j["priority"], j["maxParallelTasks"], j["onAllTasksComplete"], j["onTaskFailure"]) == \
        (0, -1, "noaction", "noaction")
    assert j["constraints"] == {"maxWallClockTime": "P10675199DT2H48M5.4775807S",
                                "maxTaskRetryCount": 0}
    assert "previousState" not in j and j["executionInfo"]["poolId"] == "local"
    b.ok("POST", "/jobs/d/disable", {"disableTasks": "Requeue"}, 202)
    b.ok("POST", "/jobs/d/tasks", sh("t", "true", constraints={"maxWallClockTime": "P3Y6M4DT12H30M5S"}),
         201)
    t = b.task("d", "t")
    assert t["constraints"] == {"maxWallClockTime": "P1279DT12H30M5S", "retentionTime": "P7D",
                                "maxTaskRetryCount": 0}
    assert t["userIdentity"] == {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}}
    assert t["requiredSlots"] == 1 and t["executionInfo"] == {"requeueCount": 0, "retryCount": 0}
    assert "nodeInfo" not in t


def test_paging_and_filters(b):
    b.job("p")
    b.ok("POST", "/jobs/p/disable", {"disableTasks": "wait"}, 202)
    for at in range(0, 250, 50):
        b.add("p", *[sh("t%03d" % i, "true") for i in range(at, at + 50)])
    page = b.get("/jobs/p/tasks", maxresults=100, S_select="id,state")
    assert len(page["value"]) == 100 and set(page["value"][0]) == {"id", "state"}
    assert page["odata.nextLink"].startswith(b.endpoint + "/jobs/p/tasks?")
    ids = [t["id"] for t in b.list("/jobs/p/tasks", maxresults=99, S_select="id")]
    assert ids == ["t%03d" % i for i in range(250)]
    assert len(b.list("/jobs/p/tasks", S_filter="startswith(id,'t00') or id eq 't200'")) == 11
    assert len(b.list("/jobs/p/tasks", maxresults=3,
                      S_filter="(state eq 'active') and startswith(id,'t01')")) == 10
    assert b.list("/jobs/p/tasks", S_filter="state eq 'completed'") == []
    assert b.list("/jobs/p/tasks", S_filter="executionInfo/exitCode lt 0") == []
    assert len(b.list("/jobs/p/tasks", S_filter="creationTime gt DateTime'2020-01-01T00:00:00Z'")) == 250
    assert len(b.list("/jobs", S_filter="state eq 'disabled' and executionInfo/poolId eq 'local'")) == 1
    for bad in ("nonsense eq 1", "id eq", "id like 'x'", "state gt 'a'", "(id eq 'a'", "id eq 'a' b"):
        assert b.call("GET", "/jobs/p/tasks", S_filter=bad).code == "InvalidQueryParameterValue"
    r = b.call("GET", "/jobs", maxresults=0)
    assert r.code == "InvalidQueryParameterValue"
    assert {"key": "Reason", "value": "MaxResults cannot be less than 1"} in r.json["values"]


POOL = {"vmSize": "STANDARD_D2S_V3", "virtualMachineConfiguration": {
    "imageReference": {"publisher": "canonical", "offer": "o", "sku": "22_04-lts"},
    "nodeAgentSKUId": "batch.node.ubuntu 22.04"}}


def test_pools(b):
    r = b.ok("POST", "/pools", dict(POOL, id="p1", targetDedicatedNodes=2, taskSlotsPerNode=2), 201)
    assert r.headers["location"] == b.endpoint + "/pools/p1" and r.body == b""
    assert b.call("POST", "/pools", dict(POOL, id="P1", targetDedicatedNodes=1)).code == "PoolExists"
    p = b.wait("steady", lambda: (lambda p: p["allocationState"] == "steady" and p)(b.get("/pools/p1")))
    assert p["currentDedicatedNodes"] == 2 and p["state"] == "active"
    assert p["virtualMachineConfiguration"]["imageReference"]["version"] == "latest"
    assert b.call("HEAD", "/pools/p1").status == 200
    nodes = b.list("/pools/p1/nodes")
    assert len(nodes) == 2 and nodes[0]["state"] == "idle" and nodes[0]["id"].endswith("_d")
    assert b.get("/pools/p1/nodes/" + nodes[0]["id"])["schedulingState"] == "enabled"
    counts = {c["poolId"]: c for c in b.list("/nodecounts")}
    assert counts["p1"]["dedicated"]["idle"] == 2 and counts["p1"]["lowPriority"]["total"] == 0
    assert b.list("/supportedimages", S_filter="osType eq 'linux'")
    assert b.call("POST", "/pools/p1/stopresize").status == 409
    b.ok("POST", "/pools/p1/resize", {"targetDedicatedNodes": 1, "targetLowPriorityNodes": 1}, 202)
    kinds = b.wait("resized", lambda: (lambda n: len(n) == 2 and n)(b.list("/pools/p1/nodes")))
    assert sorted(n["isDedicated"] for n in kinds) == [False, True]
    b.ok("PATCH", "/pools/p1", {"metadata": [{"name": "a", "value": "b"}]}, 200)
    assert b.get("/pools/p1")["metadata"] == [{"name": "a", "value": "b"}]
    low = [n["id"] for n in kinds if not n["isDedicated"]]
    b.ok("POST", "/pools/p1/removenodes", {"nodeList": low}, 202)
    b.wait("node gone", lambda: len(b.list("/pools/p1/nodes")) == 1)
    b.ok("DELETE", "/pools/p1", status=202)
    b.wait("pool gone", lambda: b.call("GET", "/pools/p1").status == 404)


def test_two_nodes_and_requeue_on_resize(b, tmp_path):
    b.ok("POST", "/pools", dict(POOL, id="two", targetDedicatedNodes=2), 201)
    b.job("r", "two")
    b.add("r", sh("a", "sleep 0.2; test -e %s || sleep 1000" % (tmp_path / "go")),
          sh("b", "test -e %s || sleep 1000" % (tmp_path / "go")))
    for t in "ab":
        b.wait_task("r", t, "running")
    nodes = {b.task("r", t)["nodeInfo"]["nodeId"] for t in "ab"}
    assert len(nodes) == 2
    (tmp_path / "go").touch()
    b.ok("POST", "/pools/two/resize", {"targetDedicatedNodes": 0}, 202)
    for t in "ab":
        active = b.wait_task("r", t, "active")
        assert active["executionInfo"]["requeueCount"] == 1
    b.wait("empty", lambda: b.get("/pools/two")["currentDedicatedNodes"] == 0)
    b.ok("POST", "/pools/two/resize", {"targetDedicatedNodes": 1}, 202)
    for t in "ab":
        assert b.wait_task("r", t)["executionInfo"]["result"] == "success"
    # Files on a node that left are gone.
    b.ok("DELETE", "/pools/two", status=202)
    b.wait("pool gone", lambda: b.call("GET", "/pools/two").status == 404)
    assert b.call("GET", "/jobs/r/tasks/a/files/stdout.txt").code == "TaskFilesUnavailable"
