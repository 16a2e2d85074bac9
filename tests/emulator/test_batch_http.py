"""The Batch service over HTTP with real processes: what a client of Azure Batch relies on."""
import base64
import datetime
import http.client
import random
import socket
import sys
import time
import urllib.parse
from email.utils import formatdate
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import azure_sign  # noqa: E402
from batch_sign import Batch, sh  # noqa: E402
from harness import Emulator  # noqa: E402


@pytest.fixture
def b(emulator):
    client = Batch(emulator.settings)
    client.emulator = emulator
    return client


class Storage:
    """The little of Blob that these tests need."""

    def __init__(self, settings):
        parts = dict(p.split("=", 1) for p in
                     settings["AZURE_STORAGE_CONNECTION_STRING"].split(";") if "=" in p)
        self.account, self.key = parts["AccountName"], parts["AccountKey"]
        self.endpoint = parts["BlobEndpoint"].rstrip("/")

    def call(self, method, path, data=None, **headers):
        url = self.endpoint + path
        h = {k.replace("_", "-"): v for k, v in headers.items()}
        azure_sign.shared_key(self.account, self.key, method, url, h, len(data) if data else None)
        split = urllib.parse.urlsplit(url)
        c = http.client.HTTPConnection(split.netloc, timeout=30)
        if data is None and method == "PUT":
            data = b""
        c.request(method, url.split(split.netloc)[1], data, h)
        r = c.getresponse()
        body = r.read()
        c.close()
        return r.status, body

    def container(self, name):
        assert self.call("PUT", "/%s?restype=container" % name)[0] == 201

    def put(self, container, blob, data):
        status, body = self.call("PUT", "/%s/%s" % (container, urllib.parse.quote(blob)), data,
                                 x_ms_blob_type="BlockBlob")
        assert status == 201, body

    def read(self, container, blob):
        status, body = self.call("GET", "/%s/%s" % (container, urllib.parse.quote(blob)))
        return body if status == 200 else None

    def sas(self, container, permissions, blob=None, hours=1):
        end = datetime.datetime.utcnow() + datetime.timedelta(hours=hours)
        query = azure_sign.service_sas(self.account, self.key, container, blob, sp=permissions,
                                       se=end.strftime("%Y-%m-%dT%H:%M:%SZ"))
        path = "/" + container + ("/" + urllib.parse.quote(blob) if blob else "")
        return self.endpoint + path + "?" + query


@pytest.fixture
def storage(b):
    s = Storage(b.emulator.settings)
    s.container("input")
    s.container("output")
    return s


def out_file(storage, pattern, condition="taskcompletion", path=None, container="output", sp="cw"):
    target = {"containerUrl": storage.sas(container, sp)}
    if path is not None:
        target["path"] = path
    return {"filePattern": pattern, "destination": {"container": target},
            "uploadOptions": {"uploadCondition": condition}}


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# --- protocol ------------------------------------------------------------------------------------

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


# --- pools ---------------------------------------------------------------------------------------

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


# --- tasks ---------------------------------------------------------------------------------------

def test_environment_and_directories(b):
    b.job("e", commonEnvironmentSettings=[{"name": "BOTH", "value": "job"}, {"name": "JOB", "value": "1"}])
    b.add("e", sh("t", "env; pwd; ls /proc/self/fd | wc -l; ps -o pgid= -p $$; echo $$; echo err >&2",
                  environmentSettings=[{"name": "BOTH", "value": "task"}]))
    t = b.wait_task("e", "t")
    text = b.file("e", "t", "stdout.txt")
    env = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    rest = [line.strip() for line in text.splitlines() if "=" not in line]
    assert env["BOTH"] == "task" and env["JOB"] == "1"
    assert env["AZ_BATCH_TASK_ID"] == "t" and env["AZ_BATCH_JOB_ID"] == "e"
    assert env["AZ_BATCH_POOL_ID"] == "local" and env["AZ_BATCH_NODE_ID"] == t["nodeInfo"]["nodeId"]
    assert env["AZ_BATCH_TASK_WORKING_DIR"] == env["AZ_BATCH_TASK_DIR"] + "/wd" == rest[0]
    assert env["AZ_BATCH_TASK_DIR"] == env["AZ_BATCH_NODE_ROOT_DIR"] + "/workitems/e/job-1/t"
    assert b.key not in text
    assert int(rest[1]) == 4  # 0, 1, 2 and the one that ls opened
    assert rest[2] == rest[3]  # leads its own process group
    assert b.file("e", "t", "stderr.txt") == "err\n"


def test_command_lines(b):
    b.job("cl")
    b.add("cl", {"id": "plain", "commandLine": "echo $HOME | 'a  b' \"c \\\"d\" e\\ f"},
          {"id": "missing", "commandLine": "no-such-program x"},
          {"id": "open", "commandLine": "echo 'x"})
    b.wait_task("cl", "plain")
    assert b.file("cl", "plain", "stdout.txt") == '$HOME | a  b c "d e f\n'
    info = b.wait_task("cl", "missing")["executionInfo"]
    assert info["failureInfo"]["code"] == "CommandProgramNotFound" and "exitCode" not in info
    assert info["result"] == "failure" and info["failureInfo"]["category"] == "UserError"
    assert b.wait_task("cl", "open")["executionInfo"]["failureInfo"]["code"] == "CommandLaunchFailed"


def test_collection_items(b):
    b.job("col")
    b.add("col", sh("old", "true"))
    results = b.ok("POST", "/jobs/col/addtaskcollection", {"value": [
        sh("old", "true"), sh("new", "true"), {"id": "bad"},
        sh("dep", "true", dependsOn={"taskIds": ["old"]})]}, 200).json
    assert results["odata.metadata"].endswith("#taskaddresult")
    by_id = {r["taskId"]: r for r in results["value"]}
    assert by_id["old"]["status"] == "clienterror" and by_id["old"]["error"]["code"] == "TaskExists"
    assert by_id["new"]["status"] == "Success" and by_id["new"]["location"].endswith("/jobs/col/tasks/new")
    assert by_id["bad"]["error"]["code"] == "MissingRequiredProperty"
    assert by_id["dep"]["status"] == "clienterror"
    assert by_id["dep"]["error"]["code"] == "UnsupportedProperty"
    assert b.call("POST", "/jobs/col/tasks", sh("dep", "true", dependsOn={"taskIds": ["old"]})).code == \
        "TaskDependenciesNotSpecifiedOnJob"
    many = {"value": [sh("x%d" % i, "true") for i in range(101)]}
    assert b.call("POST", "/jobs/col/addtaskcollection", many).status == 400
    assert b.call("POST", "/jobs/col/tasks", sh("OLD", "true")).code == "TaskExists"
    big = sh("big", "true", resourceFiles=[{"httpUrl": "http://x/" + "y" * 33000, "filePath": "f"}])
    assert b.call("POST", "/jobs/col/tasks", big).code == "InvalidPropertyValue"


def test_dependencies(b):
    b.job("dep", usesTaskDependencies=True)
    satisfy = {"default": {"dependencyAction": "satisfy"}}
    b.add("dep", sh("child", "true", dependsOn={"taskIds": ["B", "a"]}),
          sh("a", "true"), sh("b", "exit 1", exitConditions=satisfy),
          sh("blocked", "true", dependsOn={"taskIds": ["bad"]}), sh("bad", "exit 2"),
          sh("last", "true", dependsOn={"taskIdRanges": [{"start": 1, "end": 3}]}),
          sh("3", "true"), sh("01", "true"), sh("2", "true"),
          sh("never", "true", dependsOn={"taskIds": ["unknown"]}),
          sh("coded", "exit 7", exitConditions={
              "exitCodes": [{"code": 7, "exitOptions": {"dependencyAction": "satisfy"}}]}),
          sh("after-coded", "true", dependsOn={"taskIds": ["coded"]}))
    for t in ("child", "last", "after-coded", "bad"):
        b.wait_task("dep", t)
    child, first, second = b.task("dep", "child"), b.task("dep", "a"), b.task("dep", "b")
    assert child["executionInfo"]["startTime"] > max(first["executionInfo"]["endTime"],
                                                     second["executionInfo"]["endTime"])
    # Nothing ends what is blocked.
    assert b.task("dep", "blocked")["state"] == "active" and b.task("dep", "never")["state"] == "active"
    # Known dependencies hold although the parent is deleted; an id added later frees its child.
    b.ok("DELETE", "/jobs/dep/tasks/a", status=200)
    b.add("dep", sh("late", "true", dependsOn={"taskIds": ["a"]}), sh("unknown", "true"))
    b.wait_task("dep", "late")
    b.wait_task("dep", "never")
    counts = b.get("/jobs/dep/taskcounts")["taskCounts"]
    assert counts == {"active": 1, "running": 0, "completed": 12, "succeeded": 9, "failed": 3}
    # A job does not end while a child is blocked; terminate leaves it active.
    b.ok("PATCH", "/jobs/dep", {"onAllTasksComplete": "terminatejob"}, 200)
    assert b.get("/jobs/dep")["state"] == "active"
    b.ok("POST", "/jobs/dep/terminate", {"terminateReason": "enough"}, 202)
    j = b.wait_job("dep")
    assert j["executionInfo"]["terminateReason"] == "enough"
    assert b.task("dep", "blocked")["state"] == "active"
    assert b.call("POST", "/jobs/dep/tasks", sh("x", "true")).code == "JobCompleted"
    assert b.call("POST", "/jobs/dep/terminate").code == "JobCompleted"


def test_retries_reuse_the_directory(b):
    b.job("rt", usesTaskDependencies=True)
    conditions = {"exitCodes": [{"code": 1, "exitOptions": {"dependencyAction": "satisfy"}}],
                  "default": {"dependencyAction": "block"}}
    b.add("rt", sh("t", "echo x >> tries; echo run $(wc -l < tries); test $(wc -l < tries) -ge 3",
                   constraints={"maxTaskRetryCount": 5}),
          sh("f", "echo x >> tries; exit $(wc -l < tries)", constraints={"maxTaskRetryCount": 2},
             exitConditions=conditions),
          sh("child", "true", dependsOn={"taskIds": ["f"]}))
    info = b.wait_task("rt", "t")["executionInfo"]
    assert info["retryCount"] == 2 and info["result"] == "success" and "lastRetryTime" in info
    assert b.file("rt", "t", "stdout.txt") == "run 3\n"
    info = b.wait_task("rt", "f")["executionInfo"]
    # Only the last exit code (3) counts, so the child stays blocked.
    assert info["retryCount"] == 2 and info["exitCode"] == 3
    assert b.task("rt", "child")["state"] == "active"


def test_terminate_kills_the_group_and_what_left_it(b, tmp_path):
    pids = tmp_path / "pids"
    b.job("k")
    b.add("k", sh("t", "sleep 1000 & echo $! >> {0}; setsid sleep 1001 & "
                  "setsid sh -c 'echo $$ >> {0}; exec sleep 1002' & "
                  "echo $$ >> {0}; wait".format(pids)))
    b.wait("processes", lambda: pids.exists() and len(pids.read_text().split()) == 3)
    numbers = [int(p) for p in pids.read_text().split()]
    b.ok("POST", "/jobs/k/tasks/t/terminate", status=204)
    t = b.wait_task("k", "t")
    assert t["executionInfo"]["failureInfo"]["code"] == "TaskEnded"
    assert t["executionInfo"]["result"] == "failure"
    assert not any(alive(p) for p in numbers)
    assert b.call("POST", "/jobs/k/tasks/t/terminate").code == "TaskCompleted"


def test_time_limits(b, storage):
    b.job("tl")
    b.add("tl", sh("t", "echo partial > f; sleep 1000", constraints={"maxWallClockTime": "PT1S"},
                   outputFiles=[out_file(storage, "f")]))
    info = b.wait_task("tl", "t")["executionInfo"]
    assert info["failureInfo"]["code"] == "TaskEnded"
    assert "maximum execution time" in info["failureInfo"]["details"][0]["value"]
    assert storage.read("output", "f") is None  # a kill uploads nothing
    b.job("jl", constraints={"maxWallClockTime": "PT1S"})
    b.add("jl", sh("t", "sleep 1000"))
    j = b.wait_job("jl")
    assert j["executionInfo"]["terminateReason"] == "MaxWallClockTimeExpiry"
    assert b.task("jl", "t")["executionInfo"]["failureInfo"]["code"] == "TaskEnded"


def test_reactivate_and_update(b, tmp_path):
    go = tmp_path / "go"
    b.job("re", usesTaskDependencies=True)
    b.add("re", sh("t", "test -e %s" % go), sh("c", "true", dependsOn={"taskIds": ["t"]}), sh("ok", "true"))
    b.wait_task("re", "t")
    b.wait_task("re", "ok")
    go.touch()
    assert b.call("POST", "/jobs/re/tasks/ok/reactivate").code == "TaskSucceeded"
    assert b.call("POST", "/jobs/re/tasks/c/reactivate").code == "TaskNotCompleted"
    assert b.call("PUT", "/jobs/re/tasks/t", {"constraints": {}}).code == "TaskCompleted"
    b.ok("PUT", "/jobs/re/tasks/c", {"constraints": {"maxTaskRetryCount": 3}}, 200)
    assert b.task("re", "c")["constraints"]["maxTaskRetryCount"] == 3
    b.ok("POST", "/jobs/re/tasks/t/reactivate", status=204)
    t = b.wait_task("re", "t")
    assert t["executionInfo"]["result"] == "success" and t["executionInfo"]["retryCount"] == 0
    assert b.wait_task("re", "c")["executionInfo"]["result"] == "success"


def test_slots_priority_and_limits(b, tmp_path):
    log = tmp_path / "log"
    gate = tmp_path / "gate"
    hold = "while ! test -e %s; do sleep 0.02; done" % gate
    b.job("hold")
    b.add("hold", sh("h", hold, requiredSlots=4))
    b.wait_task("hold", "h", "running")
    b.job("low", priority=-1)
    b.add("low", *[sh("l%d" % i, "echo low%d >> %s" % (i, log), requiredSlots=4) for i in range(3)])
    b.job("high", priority=10)
    b.add("high", sh("h", "echo high >> %s" % log, requiredSlots=4), sh("wide", "true", requiredSlots=5))
    node = b.list("/pools/local/nodes")[0]
    assert node["state"] == "running" and node["runningTaskSlotsCount"] == 4
    assert b.get("/jobs/hold/taskcounts")["taskSlotCounts"]["running"] == 4
    gate.touch()
    b.wait_task("low", "l2")
    assert log.read_text().split() == ["high", "low0", "low1", "low2"]
    assert b.task("high", "wide")["state"] == "active"
    b.job("par", maxParallelTasks=1)
    b.add("par", *[sh("t%d" % i, "echo + >> {0}.par; sleep 0.05; echo - >> {0}.par".format(log))
                   for i in range(4)])
    for i in range(4):
        b.wait_task("par", "t%d" % i)
    assert Path(str(log) + ".par").read_text().split() == ["+", "-"] * 4


# --- jobs ----------------------------------------------------------------------------------------

def test_job_ends_when_all_tasks_are_complete(b):
    b.job("empty", onAllTasksComplete="terminatejob")
    assert b.wait_job("empty")["executionInfo"]["terminateReason"] == "AllTasksComplete"
    b.job("all")
    b.add("all", sh("a", "sleep 0.2"), sh("b", "exit 1"))
    r = b.ok("PATCH", "/jobs/all", {"onAllTasksComplete": "terminatejob"}, 200)
    assert b.call("PATCH", "/jobs/all", {"onAllTasksComplete": "noaction"}).code in (
        "InvalidPropertyValue", "JobCompleted")
    j = b.wait_job("all")
    assert j["executionInfo"]["terminateReason"] == "AllTasksComplete" and "endTime" in j["executionInfo"]
    # The service's own transitions leave the ETag as it is.
    assert j["eTag"] == r.headers["etag"]


def test_job_actions_of_tasks(b):
    b.job("act", onTaskFailure="performExitOptionsJobAction")
    b.add("act", sh("a", "sleep 1000"), sh("b", "exit 4", exitConditions={
        "exitCodeRanges": [{"start": 3, "end": 5, "exitOptions": {"jobAction": "Terminate"}}]}))
    j = b.wait_job("act")
    assert j["executionInfo"]["terminateReason"] == "TaskFailed"
    assert b.task("act", "a")["executionInfo"]["failureInfo"]["code"] == "TaskEnded"
    b.job("dis", onTaskFailure="performexitoptionsjobaction")
    b.add("dis", sh("b", "exit 4", exitConditions={"default": {"jobAction": "disable"}}))
    b.wait_job("dis", "disabled")
    b.job("no")
    bad = sh("b", "true", exitConditions={"default": {"jobAction": "none"}})
    assert b.call("POST", "/jobs/no/tasks", bad).code == "InvalidPropertyValue"


def test_disable_and_enable(b, tmp_path):
    go = tmp_path / "go"
    b.job("dj")
    b.add("dj", sh("t", "test -e %s || sleep 1000" % go))
    b.wait_task("dj", "t", "running")
    b.ok("POST", "/jobs/dj/disable", {"disableTasks": "requeue"}, 202)
    b.wait_job("dj", "disabled")
    t = b.task("dj", "t")
    assert t["state"] == "active" and t["executionInfo"]["requeueCount"] == 1
    go.touch()
    r = b.ok("POST", "/jobs/dj/enable", status=202)
    assert r.headers["dataserviceid"] == b.endpoint + "/jobs/dj/enable"
    assert b.wait_task("dj", "t")["executionInfo"]["result"] == "success"


def test_put_patch_delete(b):
    b.job("u", priority=3, metadata=[{"name": "a", "value": "b"}],
          constraints={"maxTaskRetryCount": 4})
    b.ok("PATCH", "/jobs/u", {"constraints": {"maxWallClockTime": "PT1H"}}, 200)
    j = b.get("/jobs/u")
    assert j["priority"] == 3 and j["metadata"] and j["constraints"]["maxTaskRetryCount"] == 0
    b.ok("PUT", "/jobs/u", {"poolInfo": {"poolId": "local"}}, 200)
    j = b.get("/jobs/u")
    assert j["priority"] == 0 and "metadata" not in j
    b.add("u", sh("t", "sleep 1000"), sh("done", "echo x"))
    b.wait_task("u", "t", "running")
    b.wait_task("u", "done")
    root = b.emulator.directory / "batch" / "nodes"
    assert list(root.glob("*/workitems/u"))
    b.ok("DELETE", "/jobs/u", status=202)
    b.wait("job gone", lambda: b.call("GET", "/jobs/u").status == 404)
    assert not list(root.glob("*/workitems/u"))
    b.job("u")
    assert b.list("/jobs/u/tasks") == []


# --- files ---------------------------------------------------------------------------------------

def test_files(b, tmp_path):
    go = tmp_path / "go"
    b.job("f")
    b.add("f", sh("t", "echo one; mkdir -p 'sub dir'; echo data > 'sub dir/x y.txt'; "
                  "while ! test -e %s; do sleep 0.02; done; echo two" % go))
    path = "/jobs/f/tasks/t/files/"
    b.wait_task("f", "t", "running")
    b.wait("first line", lambda: b.call("GET", path + "stdout.txt").body == b"one\n")
    r = b.call("HEAD", path + "stdout.txt")
    assert r.status == 200 and r.headers["content-length"] == "4"
    assert r.headers["ocp-batch-file-isdirectory"] == "False"
    assert r.headers["ocp-batch-file-mode"].startswith("0o100")
    assert urllib.parse.unquote(r.headers["ocp-batch-file-url"]) == b.endpoint + path + "stdout.txt"
    assert "last-modified" in r.headers and "etag" not in r.headers
    r = b.call("GET", path + "stdout.txt", headers={"ocp-range": "bytes=4-1000"})
    assert r.status == 416 and r.code == "InvalidRange"
    go.touch()
    b.wait_task("f", "t")
    r = b.call("GET", path + "stdout.txt", headers={"ocp-range": "bytes=4-1000"})
    assert r.status == 200 and r.body == b"two\n" and "content-range" not in r.headers
    assert b.call("GET", path + "stdout.txt", headers={"ocp-range": "bytes=0-2"}).body == b"one"
    for name in ("wd%2Fsub%20dir%2Fx%20y.txt", "wd/sub%20dir/x%20y.txt"):
        assert b.call("GET", path + name).body == b"data\n"
    assert b.call("GET", path + "nothing").code == "FileNotFound"
    assert b.call("GET", path + "wd%2F..%2F..%2F..%2Fsecret").code == "FileNotFound"
    for root in ("", ".", "%2F.", "wd%2F.."):
        assert b.call("DELETE", path + root, recursive="true").status in (404, 405)
    flat = {f["name"]: f for f in b.list("/jobs/f/tasks/t/files")}
    assert set(flat) == {"stdout.txt", "stderr.txt", "wd"} and "properties" not in flat["wd"]
    assert flat["stdout.txt"]["properties"]["contentLength"] == "8"
    deep = b.list("/jobs/f/tasks/t/files", recursive="true", S_filter="startswith(name, 'wd/')",
                  maxresults=1)
    assert [f["name"] for f in deep] == ["wd/sub dir", "wd/sub dir/x y.txt"]
    assert b.call("DELETE", path + "wd").status == 409
    assert b.call("DELETE", path + "wd%2Fsub%20dir", recursive="true").status == 200
    assert b.call("HEAD", path + "wd%2Fsub%20dir").status == 404
    node = b.task("f", "t")["nodeInfo"]
    r = b.call("GET", "/pools/local/nodes/%s/files/%s/stdout.txt" %
               (node["nodeId"], node["taskRootDirectory"]))
    assert r.body == b"one\ntwo\n"
    b.ok("POST", "/jobs/f/disable", {"disableTasks": "wait"}, 202)
    b.add("f", sh("later", "true"))
    r = b.call("GET", "/jobs/f/tasks/later/files/stdout.txt")
    assert r.status == 409 and r.code == "OperationInvalidForCurrentState"


def test_resource_files(b, storage):
    for name in ("in/a/x.txt", "in/a/deep/y.txt", "in/ab.txt", "other.txt"):
        storage.put("input", name, name.encode())
    storage.put("input", "big", b"0123456789" * 300000)
    b.job("rf")
    b.add("rf", sh("t", "find . -type f | sort; wc -c < single/file.bin; stat -c %a single/file.bin run.sh",
                   resourceFiles=[
                       {"httpUrl": storage.sas("input", "r", "big"), "filePath": "single/file.bin"},
                       {"httpUrl": storage.sas("input", "r", "other.txt"), "filePath": "run.sh",
                        "fileMode": "0755"},
                       {"storageContainerUrl": storage.sas("input", "rl"), "blobPrefix": "in/a/",
                        "filePath": "data"},
                       {"storageContainerUrl": storage.sas("input", "rl"), "blobPrefix": "none/"}]),
          sh("gone", "true", resourceFiles=[{"httpUrl": storage.sas("input", "r", "nothing"),
                                             "filePath": "f"}]),
          sh("denied", "true", constraints={"maxTaskRetryCount": 3}, resourceFiles=[
              {"httpUrl": storage.endpoint + "/input/big", "filePath": "f"}]),
          sh("nolist", "true", resourceFiles=[{"storageContainerUrl": storage.sas("input", "r")}]),
          sh("nocontainer", "true", resourceFiles=[{"storageContainerUrl": storage.sas("none", "rl")}]),
          sh("expired", "true", resourceFiles=[{"httpUrl": storage.sas("input", "r", "big", hours=-1),
                                                "filePath": "f"}]),
          sh("folder", "true", resourceFiles=[{"httpUrl": storage.sas("input", "r", "big"),
                                               "filePath": "f/"}]),
          sh("escape", "true", resourceFiles=[{"httpUrl": storage.sas("input", "r", "big"),
                                               "filePath": "../../f"}]))
    assert b.wait_task("rf", "t")["executionInfo"]["result"] == "success"
    assert b.file("rf", "t", "stdout.txt").split() == [
        "./data/in/a/deep/y.txt", "./data/in/a/x.txt", "./run.sh", "./single/file.bin", "3000000",
        "770", "755"]
    for task, code in (("gone", "BlobNotFound"), ("denied", "BlobAccessDenied"),
                       ("expired", "BlobAccessDenied"), ("nolist", "ResourceContainerAccessDenied"),
                       ("nocontainer", "ResourceContainerNotFound"),
                       ("folder", "ResourceFileCreateFailed"),
                       ("escape", "ResourceFileCreateFailed")):
        info = b.wait_task("rf", task)["executionInfo"]
        assert info["failureInfo"]["code"] == code, (task, info)
        assert "exitCode" not in info and info["retryCount"] == 0
        assert "sig=" not in str(info)


def test_a_source_that_hangs_keeps_nobody(b):
    """Terminate and time limit end a task whose download never comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = "http://127.0.0.1:%d/f" % server.getsockname()[1]
        b.job("hang")
        b.add("hang", sh("t", "true", resourceFiles=[{"httpUrl": url, "filePath": "f"}]),
              sh("limit", "true", resourceFiles=[{"httpUrl": url, "filePath": "f"}],
                 constraints={"maxWallClockTime": "PT1S"}))
        b.wait_task("hang", "t", "running")
        b.ok("POST", "/jobs/hang/tasks/t/terminate", status=204)
        for t in ("t", "limit"):
            info = b.wait_task("hang", t, seconds=10)["executionInfo"]
            assert info["failureInfo"]["code"] == "TaskEnded" and "exitCode" not in info


def test_output_files(b, storage):
    b.job("of", usesTaskDependencies=True)
    make = "mkdir -p out/sub; echo a > out/a.txt; echo b > out/sub/b.txt; echo c > out/.hid; echo said"
    both = [out_file(storage, "out/**/*", "tasksuccess", "r1"),
            out_file(storage, "**/*.txt", "tasksuccess", "r2/"),
            out_file(storage, "out/a.txt", "tasksuccess", "renamed"),
            out_file(storage, "out/**", "tasksuccess", "r3"),
            out_file(storage, "nothing-here", "tasksuccess"),
            out_file(storage, "../std*.txt", "taskcompletion", "logs/$AZ_BATCH_TASK_ID"),
            out_file(storage, "$AZ_BATCH_TASK_DIR/std*.txt", "taskcompletion", "expanded"),
            out_file(storage, "out/a.txt", "taskfailure", "failed")]
    b.add("of", sh("t", make, outputFiles=both))
    b.wait_task("of", "t")
    names = {n: storage.read("output", n) for n in (
        "r1/a.txt", "r1/sub/b.txt", "r2/out/a.txt", "r2/out/sub/b.txt", "renamed",
        "logs/$AZ_BATCH_TASK_ID/stdout.txt", "logs/$AZ_BATCH_TASK_ID/stderr.txt", "expanded/stdout.txt")}
    assert names == {"r1/a.txt": b"a\n", "r1/sub/b.txt": b"b\n", "r2/out/a.txt": b"a\n",
                     "r2/out/sub/b.txt": b"b\n", "renamed": b"a\n",
                     "logs/$AZ_BATCH_TASK_ID/stdout.txt": b"said\n",
                     "logs/$AZ_BATCH_TASK_ID/stderr.txt": b"", "expanded/stdout.txt": b"said\n"}
    for n in ("r1/.hid", "failed", "nothing-here", "r3/a.txt", "r3/sub/b.txt"):
        assert storage.read("output", n) is None, n
    assert "renamed" in b.file("of", "t", "fileuploadout.txt")
    assert b.file("of", "t", "fileuploaderr.txt") == ""
    assert "sig=" not in b.file("of", "t", "fileuploadout.txt")

    bad = [out_file(storage, "f", container="missing"), out_file(storage, "f", path="still")]
    b.add("of", sh("up", "echo x > f", outputFiles=bad),
          sh("child", "true", dependsOn={"taskIds": ["up"]}),
          sh("up2", "echo x > f", outputFiles=[out_file(storage, "f", path="p", sp="r")],
             exitConditions={"fileUploadError": {"dependencyAction": "satisfy"}}),
          sh("child2", "true", dependsOn={"taskIds": ["up2"]}))
    info = b.wait_task("of", "up")["executionInfo"]
    assert info["exitCode"] == 0 and info["result"] == "failure"
    assert info["failureInfo"]["code"] == "FileUploadContainerNotFound"
    assert storage.read("output", "still") == b"x\n"  # one failing file does not stop the others
    assert '"code":"FileUploadContainerNotFound"' in b.file("of", "up", "fileuploaderr.txt")
    assert b.wait_task("of", "up2")["executionInfo"]["failureInfo"]["code"] == "FileUploadAccessDenied"
    b.wait_task("of", "child2")
    assert b.task("of", "child")["state"] == "active"


# --- life and death ------------------------------------------------------------------------------

def test_killed_emulator_resumes(tmp_path):
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0",
                 "--slots", "2")
    e.start()
    try:
        b = Batch(e.settings)
        pids, go = tmp_path / "pids", tmp_path / "go"
        script = ("echo $$ >> {0}; setsid sh -c 'echo $$ >> {0}; exec sleep 1000' & "
                  "while ! test -e {1}; do sleep 0.02; done; echo done >> mark; cat mark").format(pids, go)
        b.job("k", usesTaskDependencies=True, onAllTasksComplete="noaction")
        b.add("k", sh("first", "true"), sh("run", script), sh("run2", script),
              sh("queued", "true"), sh("child", "true", dependsOn={"taskIds": ["run", "first"]}))
        b.job("gone")
        b.job("bare")  # its tasks had not come yet
        b.wait("processes", lambda: pids.exists() and len(pids.read_text().split()) == 4)
        old = [int(p) for p in pids.read_text().split()]
        b.wait_task("k", "first")
        b.ok("PATCH", "/jobs/k", {"onAllTasksComplete": "terminatejob"}, 200)
        b.ok("DELETE", "/jobs/gone", status=202)
        e.kill()
        assert all(alive(p) for p in old)
        e.start()
        b = Batch(e.settings)
        assert not any(alive(p) for p in old)
        assert b.call("GET", "/jobs/gone").status == 404
        b.wait("new processes", lambda: len(pids.read_text().split()) == 8)
        t = b.wait_task("k", "run", "running")
        assert t["executionInfo"]["requeueCount"] == 1
        go.touch()
        assert b.wait_job("k")["executionInfo"]["terminateReason"] == "AllTasksComplete"
        assert b.file("k", "run", "stdout.txt") == "done\n"  # a fresh directory, run once
        counts = b.get("/jobs/k/taskcounts")["taskCounts"]
        assert counts["succeeded"] == 5 and counts["active"] == counts["running"] == 0
        assert b.task("k", "first")["executionInfo"]["requeueCount"] == 0
    finally:
        e.stop()


def test_kills_at_any_moment_lose_nothing(tmp_path):
    """Each answer held: a chain and a crowd of tasks all end once, over a storm of kills."""
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0")
    e.start()
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    try:
        b = Batch(e.settings)
        b.job("st", usesTaskDependencies=True)
        for i in range(0, 60, 20):
            b.add("st", *[sh("c%02d" % k, "echo $AZ_BATCH_TASK_ID; sleep 0.0%d" % rng.randrange(1, 9),
                             dependsOn={"taskIds": ["c%02d" % (k - 6)] if k >= 6 else []})
                          for k in range(i, i + 20)])
            time.sleep(rng.uniform(0, 0.1))  # not a wait: the moment of the kill is to vary
            e.kill()
            e.start()
            b = Batch(e.settings)
        b.ok("PATCH", "/jobs/st", {"onAllTasksComplete": "terminatejob"}, 200)
        for _ in range(4):
            time.sleep(rng.uniform(0, 0.1))
            e.kill()
            e.start()
        b = Batch(e.settings)
        j = b.wait_job("st")
        assert j["executionInfo"]["terminateReason"] == "AllTasksComplete"
        tasks = b.list("/jobs/st/tasks")
        assert len(tasks) == 60
        for t in tasks:
            assert t["executionInfo"]["result"] == "success" and t["executionInfo"]["exitCode"] == 0
            assert b.file("st", t["id"], "stdout.txt") == t["id"] + "\n"
        end = {t["id"]: t["executionInfo"] for t in tasks}
        for k in range(6, 60):
            assert end["c%02d" % k]["startTime"] > end["c%02d" % (k - 6)]["endTime"]
    finally:
        e.stop()


def test_an_answered_terminate_holds_over_a_kill(tmp_path):
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0")
    e.start()
    try:
        b = Batch(e.settings)
        b.job("t")
        b.job("d")
        for job in "td":
            b.add(job, sh("a", "sleep 1000"), sh("b", "sleep 1000"))
            b.wait_task(job, "a", "running")
            b.wait_task(job, "b", "running")
        b.ok("POST", "/jobs/t/tasks/a/terminate", status=204)
        b.ok("POST", "/jobs/d/disable", {"disableTasks": "terminate"}, 202)
        e.kill()
        e.start()
        b = Batch(e.settings)
        assert b.wait_task("t", "a")["executionInfo"]["failureInfo"]["code"] == "TaskEnded"
        assert b.wait_task("t", "b", "running")["executionInfo"]["requeueCount"] == 1
        b.wait_job("d", "disabled")
        for t in "ab":
            assert b.task("d", t)["executionInfo"]["failureInfo"]["code"] == "TaskEnded"
    finally:
        e.stop()


def test_stopped_emulator_leaves_nothing(tmp_path):
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0")
    e.start()
    try:
        b = Batch(e.settings)
        pids = tmp_path / "pids"
        b.job("s")
        b.add("s", sh("t", "echo $$ >> %s; sleep 1000" % pids))
        b.wait("process", lambda: pids.exists() and pids.read_text().split())
    finally:
        e.stop()
    assert not alive(int(pids.read_text()))
    e.start()
    try:
        b = Batch(e.settings)
        assert b.wait_task("s", "t", "running")["executionInfo"]["requeueCount"] == 1
        assert not (tmp_path / "emulator" / "batch" / "nodes" / "x").exists()
    finally:
        e.stop()


def test_one_hundred_and_fifty_tasks(b):
    b.job("many", usesTaskDependencies=True)
    b.add("many", *[sh("%d" % i, "echo $AZ_BATCH_TASK_ID") for i in range(100)])
    b.add("many", *[sh("%d" % i, "echo $AZ_BATCH_TASK_ID",
                       dependsOn={"taskIdRanges": [{"start": i - 100, "end": i - 1}]})
                    for i in range(100, 150)])
    b.ok("PATCH", "/jobs/many", {"onAllTasksComplete": "terminatejob"}, 200)
    b.wait_job("many", seconds=60)
    assert b.file("many", "149", "stdout.txt") == "149\n"
    assert b.get("/jobs/many/taskcounts")["taskCounts"]["succeeded"] == 150
    times = {t["id"]: t["executionInfo"] for t in b.list("/jobs/many/tasks", maxresults=40)}
    assert all(times[str(i)]["startTime"] > times[str(i - 1)]["endTime"] for i in range(100, 150))
