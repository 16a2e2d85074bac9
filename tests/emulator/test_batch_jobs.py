"""What a job of the Batch service brings itself: a manager task and a pool."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from batch_parts import b  # noqa: E402, F401
from batch_sign import sh  # noqa: E402
from test_batch_spec import vm  # noqa: E402


def test_the_manager_runs_and_ends_the_job(b, tmp_path):  # noqa: F811
    go = tmp_path / "go"
    manager = sh("manager", "while ! test -e %s; do sleep 0.02; done; exit 3" % go)
    b.job("j", jobManagerTask=manager, usesTaskDependencies=True)
    shown = b.get("/jobs/j")["jobManagerTask"]
    assert (shown["killJobOnCompletion"], shown["runExclusive"], shown["allowLowPriorityNode"]) == (True,) * 3
    b.add("j", sh("waits", "true", dependsOn={"taskIds": ["never"]}))
    b.wait_task("j", "manager", "running")
    assert b.call("POST", "/jobs/j/tasks", sh("MANAGER", "true")).code == "TaskExists"
    go.touch()
    j = b.wait_job("j")
    assert j["executionInfo"]["terminateReason"] == "JMComplete"
    assert b.task("j", "manager")["executionInfo"]["exitCode"] == 3
    assert b.task("j", "waits")["state"] == "active"


def test_a_manager_that_does_not_end_the_job(b):  # noqa: F811
    b.job("j", jobManagerTask=sh("m", "true", killJobOnCompletion=False), onAllTasksComplete="terminatejob")
    assert b.wait_job("j")["executionInfo"]["terminateReason"] == "AllTasksComplete"
    bad = {"id": "bad", "poolInfo": {"poolId": "local"}, "jobManagerTask": {"id": "m", "commandLine": ""}}
    assert b.call("POST", "/jobs", bad).code == "InvalidPropertyValue"
    assert b.call("GET", "/jobs/bad").status == 404


def automatic(**more):
    return {"autoPoolSpecification": dict({
        "autoPoolIdPrefix": "mine", "poolLifetimeOption": "Job",
        "pool": {"vmSize": "STANDARD_D2S_V3", "targetDedicatedNodes": 1, "virtualMachineConfiguration": vm()}}, **more)}


@pytest.mark.parametrize("end", ["terminate", "delete", "all tasks"])
def test_a_job_with_a_pool_of_its_own(b, end):  # noqa: F811
    b.ok("POST", "/jobs", {"id": "j", "poolInfo": automatic()}, 201)
    j = b.get("/jobs/j")
    pool = j["executionInfo"]["poolId"]
    assert pool.startswith("mine_") and "poolId" not in j["poolInfo"]
    assert j["poolInfo"]["autoPoolSpecification"]["keepAlive"] is False
    assert [x["id"] for x in b.list("/jobs", S_filter="startswith(executionInfo/poolId,'mine_')")] == ["j"]
    # Clients put back what they got: the pool stays.
    b.ok("PUT", "/jobs/j", {k: v for k, v in j.items() if k != "executionInfo"}, 200)
    assert b.get("/jobs/j")["executionInfo"]["poolId"] == pool
    b.add("j", sh("t", "true"))
    assert b.wait_task("j", "t")["nodeInfo"]["poolId"] == pool
    if end == "terminate":
        b.ok("POST", "/jobs/j/terminate", None, 202)
    elif end == "delete":
        b.ok("DELETE", "/jobs/j", None, 202)
    else:
        # The last run's end is the job's and the pool's.
        b.ok("PATCH", "/jobs/j", {"onAllTasksComplete": "noaction"}, 200)
        b.add("j", sh("last", "sleep 0.2"))
        b.ok("PATCH", "/jobs/j", {"onAllTasksComplete": "terminatejob"}, 200)
    b.wait("the pool is gone", lambda: b.call("GET", "/pools/" + pool).status == 404)


def test_a_pool_that_outlives_its_job(b):  # noqa: F811
    b.ok("POST", "/jobs", {"id": "j", "poolInfo": automatic(keepAlive=True)}, 201)
    pool = b.get("/jobs/j")["executionInfo"]["poolId"]
    b.ok("POST", "/jobs/j/terminate", None, 202)
    b.wait_job("j")
    assert b.get("/pools/" + pool)["state"] == "active"
    for info in (automatic(pool=None), {"autoPoolSpecification": {"poolLifetimeOption": "job"}},
                 dict(automatic(), poolId="local"), automatic(autoPoolIdPrefix="x" * 21)):
        r = b.call("POST", "/jobs", {"id": "bad", "poolInfo": info})
        assert r.status == 400, info
