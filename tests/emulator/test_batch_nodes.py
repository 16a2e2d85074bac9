"""Nodes of the Batch service as an operator handles them, and the account's traps of jobs and counts."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from batch_parts import b  # noqa: E402, F401
from batch_sign import Batch, sh  # noqa: E402
from harness import Emulator  # noqa: E402
from test_batch_spec import pool  # noqa: E402


@pytest.fixture
def node(b):  # noqa: F811
    """The path of the only node of a pool with two slots."""
    b.ok("POST", "/pools", pool("p", targetDedicatedNodes=1, taskSlotsPerNode=2), 201)
    b.wait("a node", lambda: b.get("/pools/p")["allocationState"] == "steady")
    b.job("j", pool="p")
    return "/pools/p/nodes/" + b.list("/pools/p/nodes")[0]["id"]


def blocked(b, tmp_path, name="t"):  # noqa: F811
    """A running task that ends when the returned file is made."""
    go = tmp_path / ("go-" + name)
    b.add("j", sh(name, "while ! test -e %s; do sleep 0.02; done" % go))
    b.wait_task("j", name, "running")
    return go


def state(b, node):  # noqa: F811
    return b.get(node)["state"]


def test_what_a_node_shows(b, node):  # noqa: F811
    b.add("j", *[sh("t%02d" % i, "exit %d" % (i % 2)) for i in range(12)])
    b.wait("all done", lambda: len(b.list("/jobs/j/tasks", S_filter="state eq 'completed'")) == 12)
    n = b.get(node)
    assert (n["state"], n["schedulingState"], n["isDedicated"]) == ("idle", "enabled", True)
    assert (n["totalTasksRun"], n["totalTasksSucceeded"], n["runningTasksCount"]) == (12, 6, 0)
    recent = n["recentTasks"]
    assert len(recent) == 10 and {t["jobId"] for t in recent} == {"j"}
    times = [t["executionInfo"]["startTime"] for t in recent]
    assert times == sorted(times, reverse=True)
    assert n["virtualMachineInfo"]["imageReference"]["sku"] == "22_04-lts"
    assert n["affinityId"] == "TVM:" + n["id"] and n["vmSize"] == "STANDARD_D2S_V3"


@pytest.mark.parametrize("option, after", [("Requeue", "active"), ("terminate", "completed"), (None, "active")])
def test_scheduling_off_and_what_becomes_of_tasks(b, node, tmp_path, option, after):  # noqa: F811
    blocked(b, tmp_path)
    body = {"nodeDisableSchedulingOption": option} if option else None
    b.ok("POST", node + "/disablescheduling", body, 200)
    b.wait_task("j", "t", after)
    assert b.get(node)["schedulingState"] == "disabled"
    assert b.call("POST", node + "/disablescheduling").code == "NodeAlreadyInTargetSchedulingState"
    (tmp_path / "go-t").touch()
    b.ok("POST", node + "/enablescheduling", None, 200)
    assert b.call("POST", node + "/enablescheduling").code == "NodeAlreadyInTargetSchedulingState"
    assert b.wait_task("j", "t")["executionInfo"]["requeueCount"] == (after == "active")


def test_scheduling_off_lets_tasks_end(b, node, tmp_path):  # noqa: F811
    go = blocked(b, tmp_path)
    b.ok("POST", node + "/disablescheduling", {"nodeDisableSchedulingOption": "taskcompletion"}, 200)
    b.add("j", sh("later", "true"))
    go.touch()
    assert b.wait_task("j", "t")["executionInfo"]["exitCode"] == 0
    assert b.task("j", "later")["state"] == "active"
    r = b.call("POST", node + "/disablescheduling", {"nodeDisableSchedulingOption": "retaineddata"})
    assert r.code == "InvalidPropertyValue"


def test_reboot_keeps_files_and_reimage_does_not(b, node, tmp_path):  # noqa: F811
    b.add("j", sh("first", "echo kept"))
    b.wait_task("j", "first")
    boot = b.get(node)["lastBootTime"]
    go = blocked(b, tmp_path)
    b.ok("POST", node + "/reboot", {"nodeRebootOption": "taskcompletion"}, 202)
    assert state(b, node) == "rebooting" and b.task("j", "t")["state"] == "running"
    counts = {c["poolId"]: c["dedicated"] for c in b.list("/nodecounts")}["p"]
    assert (counts["rebooting"], counts["running"], counts["total"]) == (1, 0, 1)
    assert b.call("POST", node + "/reboot").code == "NodeBeingRebooted"
    b.add("j", sh("later", "true"))
    assert b.task("j", "later")["state"] == "active"
    go.touch()
    b.wait_task("j", "later")
    assert b.get(node)["lastBootTime"] > boot
    assert b.file("j", "first", "stdout.txt") == "kept\n"
    b.wait("idle", lambda: state(b, node) == "idle")
    b.ok("POST", node + "/reimage", {}, 202)
    b.wait("idle", lambda: state(b, node) == "idle")
    assert b.call("GET", "/jobs/j/tasks/first/files/stdout.txt").status == 404


def test_deallocated_and_started_again(b, node, tmp_path):  # noqa: F811
    assert b.call("POST", node + "/start").code == "OperationNotValidOnNode"
    blocked(b, tmp_path)
    b.ok("POST", node + "/deallocate", {"nodeDeallocateOption": "requeue"}, 202)
    b.wait("down", lambda: state(b, node) == "deallocated")
    assert b.task("j", "t")["state"] == "active"
    assert b.call("POST", node + "/reboot").code == "OperationNotValidOnNode"
    (tmp_path / "go-t").touch()
    b.ok("POST", node + "/start", None, 202)
    assert b.wait_task("j", "t")["executionInfo"]["exitCode"] == 0


def test_a_resize_that_is_stopped(b, node, tmp_path):  # noqa: F811
    go = blocked(b, tmp_path)
    assert b.call("POST", "/pools/p/stopresize").code == "OperationInvalidForCurrentState"
    b.ok("POST", "/pools/p/resize", {"targetDedicatedNodes": 0, "nodeDeallocationOption": "taskcompletion"}, 202)
    p = b.get("/pools/p")
    assert p["allocationState"] == "resizing" and "resizeErrors" not in p and state(b, node) == "leavingpool"
    assert b.call("POST", "/pools/p/resize", {"targetDedicatedNodes": 1}).code == "PoolBeingResized"
    b.ok("POST", "/pools/p/stopresize", None, 202)
    p = b.wait("steady", lambda: (lambda p: p["allocationState"] == "steady" and p)(b.get("/pools/p")))
    assert [e["code"] for e in p["resizeErrors"]] == ["ResizeStopped"] and p["currentDedicatedNodes"] == 1
    go.touch()
    assert b.wait_task("j", "t")["executionInfo"]["exitCode"] == 0
    b.ok("POST", "/pools/p/resize", {"targetDedicatedNodes": 1}, 202)
    assert "resizeErrors" not in b.get("/pools/p")


def test_users_login_and_logs(b, node):  # noqa: F811
    user = {"name": "user", "isAdmin": True, "expiryTime": "2030-01-01T00:00:00Z", "password": "not-shown-1A"}
    r = b.ok("POST", node + "/users", user, 201)
    assert r.headers["location"] == b.endpoint + node + "/users/user"
    assert b.call("POST", node + "/users", user).code == "NodeUserExists"
    assert b.call("POST", node + "/users", {"name": "x" * 21}).code == "InvalidPropertyValue"
    b.ok("PUT", node + "/users/user", {"sshPublicKey": "ssh-rsa AAAA"}, 200)
    b.ok("DELETE", node + "/users/user", None, 200)
    for method, body in (("DELETE", None), ("PUT", {})):
        r = b.call(method, node + "/users/user", body)
        assert (r.status, r.code) == (404, "NodeUserNotFound")
    login = b.get(node + "/remoteloginsettings")
    assert login["remoteLoginIPAddress"] == "127.0.0.1" and login["remoteLoginPort"] == 22
    logs = {"containerUrl": "https://a.blob.core.windows.net/c", "startTime": "2026-01-01T00:00:00Z"}
    assert b.ok("POST", node + "/uploadbatchservicelogs", logs, 200).json["numberOfFilesUploaded"] == 0
    assert b.call("POST", node + "/uploadbatchservicelogs", {"containerUrl": "x"}).code == "MissingRequiredProperty"
    assert b.get(node + "/extensions")["value"] == []


@pytest.fixture
def trapped(tmp_path):
    made = []

    def start(*traps):
        words = [word for trap in traps for word in ("--trap", trap)]
        e = Emulator(tmp_path / "trapped", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0", "--slots", "4", *words)
        made.append(e.start())
        return Batch(e.settings)

    yield start
    for e in made:
        e.stop()


def test_the_quota_of_jobs(trapped):
    b = trapped("job_quota=2")  # noqa: F811
    b.job("a")
    b.job("c")
    r = b.call("POST", "/jobs", {"id": "d", "poolInfo": {"poolId": "local"}})
    assert (r.status, r.code) == (409, "ActiveJobAndScheduleQuotaReached")
    # What is there already is told first, and an ended job does not count.
    assert b.call("POST", "/jobs", {"id": "a", "poolInfo": {"poolId": "local"}}).code == "JobExists"
    b.ok("POST", "/jobs/a/terminate", None, 202)
    b.wait_job("a")
    b.job("d")


def test_counts_lag(trapped):
    b = trapped("stale_counts=3")  # noqa: F811
    b.job("j")
    b.add("j", *[sh("t%d" % i, "true") for i in range(3)])
    for i in range(3):
        b.wait_task("j", "t%d" % i)
    assert b.get("/jobs/j/taskcounts")["taskCounts"]["completed"] < 3
    b.wait("the counts follow", lambda: b.get("/jobs/j/taskcounts")["taskCounts"]["succeeded"] == 3, 10)
