"""Tasks that jobs and pools have of their own: preparation and release of jobs, start tasks of nodes."""
import random
import shlex
import sys
import time
import urllib.parse
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from batch_parts import alive, b, storage  # noqa: E402, F401
from batch_sign import Batch, sh  # noqa: E402
from harness import Emulator  # noqa: E402
from test_batch_spec import pool  # noqa: E402

STATUS = "/jobs/%s/jobpreparationandreleasetaskstatus"


def own(script, **more):
    """A task without an id that runs a script of the shell."""
    return dict({"commandLine": sh("", script)["commandLine"]}, **more)


def new_pool(b, nodes=1, slots=2, name="p", **more):  # noqa: F811
    b.ok("POST", "/pools", pool(name, targetDedicatedNodes=nodes, taskSlotsPerNode=slots, **more), 201)
    b.wait("steady", lambda: b.get("/pools/" + name)["allocationState"] == "steady")
    return ["/pools/%s/nodes/%s" % (name, n["id"]) for n in b.list("/pools/%s/nodes" % name)]


def node_file(b, node, path):  # noqa: F811
    r = b.call("GET", "%s/files/%s" % (node, urllib.parse.quote(path, safe="")))
    return r.body.decode() if r.status == 200 else None


def until(path):
    return "while ! test -e %s; do sleep 0.02; done" % shlex.quote(str(path))


def wait_state(b, node, state):  # noqa: F811
    return b.wait(state, lambda: (lambda n: n["state"] == state and n)(b.get(node)))


def lines(path):
    return path.read_text().split() if path.exists() else []


# --- preparation ---------------------------------------------------------------------------


def test_preparation_comes_first_and_once(b, tmp_path):  # noqa: F811
    node, = new_pool(b)
    go, ran = tmp_path / "go", tmp_path / "ran"
    script = "echo prepared >> %s; echo made > file; env; %s" % (ran, until(go))
    b.job("j", pool="p", jobPreparationTask=own(script), commonEnvironmentSettings=[{"name": "COMMON", "value": "c"}])
    b.add("j", *[sh("t%d" % i, "echo task >> %s; cat $AZ_BATCH_JOB_PREP_WORKING_DIR/file; "
                    "echo $AZ_BATCH_JOB_PREP_DIR" % ran) for i in range(4)])
    b.wait("two tasks wait", lambda: len(b.list("/jobs/j/tasks", S_filter="state eq 'preparing'")) == 2)
    t = b.list("/jobs/j/tasks", S_filter="state eq 'preparing'")[0]
    assert "startTime" not in t["executionInfo"] and t["nodeInfo"]["nodeId"] == node.rsplit("/", 1)[1]
    assert b.get("/jobs/j/taskcounts")["taskCounts"]["running"] == 2
    n = wait_state(b, node, "running")
    assert (n["runningTasksCount"], n["runningTaskSlotsCount"]) == (2, 2)
    s, = b.list(STATUS % "j")
    info = s["jobPreparationTaskExecutionInfo"]
    assert info["state"] == "running" and "endTime" not in info and "jobReleaseTaskExecutionInfo" not in s
    go.touch()
    for i in range(4):
        assert b.wait_task("j", "t%d" % i)["executionInfo"]["result"] == "success"
    assert lines(ran) == ["prepared"] + ["task"] * 4
    root = b.file("j", "t0", "stdout.txt").split()
    assert root[0] == "made" and root[1].endswith("/workitems/j/job-1/jobpreparation")
    s, = b.list(STATUS % "j")
    info = s["jobPreparationTaskExecutionInfo"]
    assert (info["state"], info["exitCode"], info["result"], info["retryCount"]) == ("completed", 0, "success", 0)
    assert info["taskRootDirectory"] == "workitems/j/job-1/jobpreparation"
    assert info["taskRootDirectoryUrl"] == b.endpoint + node + "/files/workitems/j/job-1/jobpreparation"
    assert (s["poolId"], s["nodeUrl"]) == ("p", b.endpoint + node)
    env = dict(line.split("=", 1) for line in
               node_file(b, node, info["taskRootDirectory"] + "/stdout.txt").splitlines() if "=" in line)
    assert env["AZ_BATCH_TASK_ID"] == "jobpreparation" and env["AZ_BATCH_JOB_ID"] == "j" and env["COMMON"] == "c"
    assert env["AZ_BATCH_TASK_WORKING_DIR"].endswith("/jobpreparation/wd") and "AZ_BATCH_JOB_PREP_DIR" not in env
    n = b.get(node)
    assert (n["totalTasksRun"], n["totalTasksSucceeded"]) == (4, 4)


def test_each_node_is_prepared_when_a_task_comes(b, tmp_path):  # noqa: F811
    nodes = new_pool(b, nodes=3, slots=1)
    b.job("j", pool="p", jobPreparationTask=own("true", id="prep"), jobReleaseTask=own("true", id="rel"))
    go = tmp_path / "go"
    b.add("j", sh("a", until(go)), sh("b", until(go)))
    for t in "ab":
        b.wait_task("j", t, "running")
    ran = b.list(STATUS % "j")
    assert len(ran) == 2 and len(nodes) == 3
    assert {s["jobPreparationTaskExecutionInfo"]["taskRootDirectory"] for s in ran} == {"workitems/j/job-1/prep"}
    ids = [s["nodeId"] for s in ran]
    assert ids == sorted(ids)
    page = b.get(STATUS % "j", maxresults=1)
    assert [s["nodeId"] for s in page["value"]] == ids[:1] and "odata.nextLink" in page
    assert [s["nodeId"] for s in b.list(STATUS % "j", maxresults=1)] == ids
    for text, n in (("nodeId eq '%s'" % ids[1], 1), ("jobPreparationTaskExecutionInfo/state eq 'completed'", 2),
                    ("jobPreparationTaskExecutionInfo/exitCode ne 0", 0),
                    ("jobReleaseTaskExecutionInfo/state eq 'completed'", 0), ("poolId eq 'other'", 0)):
        assert len(b.list(STATUS % "j", S_filter=text)) == n, text
    only = b.get(STATUS % "j", S_select="nodeId")["value"]
    assert [list(s) for s in only] == [["nodeId"]] * 2
    assert b.call("POST", "/jobs/j/tasks", sh("prep", "true")).code == "TaskIdSameAsJobPreparationTask"
    go.touch()


def test_a_node_that_cannot_be_prepared_is_out_for_the_job(b, tmp_path):  # noqa: F811
    node, = new_pool(b)
    ran = tmp_path / "ran"
    b.job("j", pool="p", jobPreparationTask=own("echo x >> %s; exit 7" % ran, constraints={"maxTaskRetryCount": 2}))
    b.add("j", sh("t", "true"))
    for i in range(3):  # many more than a scheduler would skip
        b.add("j", *[sh("more%d" % k, "true") for k in range(100 * i, 100 * i + 100)])
    info = b.wait("it fails", lambda: [s["jobPreparationTaskExecutionInfo"] for s in b.list(
        STATUS % "j", S_filter="jobPreparationTaskExecutionInfo/result eq 'failure'")])[0]
    assert (info["exitCode"], info["retryCount"], info["failureInfo"]["code"]) == (7, 2, "FailureExitCode")
    assert "lastRetryTime" in info and lines(ran) == ["x"] * 3
    t = b.wait_task("j", "t", "active")
    assert t["executionInfo"]["requeueCount"] == 0
    b.job("other", pool="p")
    b.add("other", sh("t", "true"))
    b.wait_task("other", "t")
    # A reboot does not help, a new image does.
    b.ok("POST", node + "/reboot", {}, 202)
    wait_state(b, node, "idle")
    b.add("other", sh("t2", "true"))
    b.wait_task("other", "t2")
    assert len(lines(ran)) == 3 and b.task("j", "t")["state"] == "active"
    b.ok("POST", node + "/reimage", {}, 202)
    b.wait("prepared anew", lambda: len(lines(ran)) == 6)
    b.wait_task("j", "t", "active")
    assert b.get(node)["totalTasksRun"] == 2


def test_preparation_that_nobody_waits_for(b, tmp_path):  # noqa: F811
    new_pool(b)
    go = tmp_path / "go"
    b.job("j", pool="p", jobPreparationTask=own(until(go) + "; false", waitForSuccess=False))
    b.add("j", sh("t", "true"))
    b.wait_task("j", "t")
    assert b.list(STATUS % "j")[0]["jobPreparationTaskExecutionInfo"]["state"] == "running"
    go.touch()
    b.wait("failed", lambda: b.list(STATUS % "j", S_filter="jobPreparationTaskExecutionInfo/exitCode eq 1"))
    b.add("j", sh("t2", "true"))
    b.wait_task("j", "t2")


@pytest.mark.parametrize("again", [True, False])
def test_preparation_after_a_reboot(b, tmp_path, again):  # noqa: F811
    node, = new_pool(b)
    ran = tmp_path / "ran"
    b.job("j", pool="p", jobPreparationTask=own("echo x >> %s" % ran, rerunOnNodeRebootAfterSuccess=again))
    b.add("j", sh("t", "true"))
    b.wait_task("j", "t")
    b.ok("POST", node + "/reboot", {}, 202)
    b.add("j", sh("t2", "true"))
    b.wait_task("j", "t2")
    assert len(lines(ran)) == 1 + again
    b.ok("POST", node + "/reimage", {}, 202)
    b.add("j", sh("t3", "true"))
    b.wait_task("j", "t3")
    assert len(lines(ran)) == 2 + again


def test_what_ends_while_it_is_prepared(b, tmp_path):  # noqa: F811
    node, = new_pool(b, slots=4)
    go, pid = tmp_path / "go", tmp_path / "pid"
    b.job("j", pool="p", jobPreparationTask=own("echo $$ >> %s; %s" % (pid, until(go))))
    b.add("j", *[sh(t, "true") for t in ("ended", "deleted", "stays")])
    for t in ("ended", "deleted", "stays"):
        b.wait_task("j", t, "preparing")
    b.ok("POST", "/jobs/j/tasks/ended/terminate", None, 204)
    info = b.wait_task("j", "ended")["executionInfo"]
    assert info["failureInfo"]["code"] == "TaskEnded" and "exitCode" not in info and "startTime" not in info
    b.ok("DELETE", "/jobs/j/tasks/deleted", None, 200)
    b.wait("a process", lambda: lines(pid))
    b.ok("POST", node + "/reboot", {}, 202)
    b.wait("prepared anew", lambda: len(lines(pid)) == 2)
    assert not alive(int(lines(pid)[0]))
    b.ok("POST", "/jobs/j/disable", {"disableTasks": "requeue"}, 202)
    b.wait_job("j", "disabled")
    assert b.task("j", "stays")["state"] == "active"
    go.touch()
    b.ok("POST", "/jobs/j/enable", None, 202)
    assert b.wait_task("j", "stays")["executionInfo"]["requeueCount"] == 2
    b.ok("POST", "/jobs/j/terminate", None, 202)
    b.wait_job("j")


def test_preparation_has_a_time_limit_and_files(b, storage, tmp_path):  # noqa: F811
    new_pool(b)
    storage.put("input", "a", b"content")
    files = [{"httpUrl": storage.sas("input", "r", "a"), "filePath": "dir/a"}]
    b.job("j", pool="p", jobPreparationTask=own("cat dir/a", resourceFiles=files))
    b.add("j", sh("t", "cat $AZ_BATCH_JOB_PREP_DIR/stdout.txt"))
    b.wait_task("j", "t")
    assert b.file("j", "t", "stdout.txt") == "content"
    limits = {"maxWallClockTime": "PT0.2S", "maxTaskRetryCount": 5}
    b.job("k", pool="p", jobPreparationTask=own("sleep 600", constraints=limits))
    b.add("k", sh("t", "true"))
    info = b.wait("it fails", lambda: [s["jobPreparationTaskExecutionInfo"] for s in b.list(
        STATUS % "k", S_filter="jobPreparationTaskExecutionInfo/result eq 'failure'")])[0]
    assert info["failureInfo"]["code"] == "TaskEnded" and info["retryCount"] == 0
    identity = [{"httpUrl": storage.endpoint + "/input/a", "filePath": "a",
                 "identityReference": {"resourceId": "/subscriptions/none"}}]
    b.job("i", pool="p", jobPreparationTask=own("cat a", resourceFiles=identity))
    b.add("i", sh("t", "true"))
    info = b.wait("it fails", lambda: [s["jobPreparationTaskExecutionInfo"] for s in b.list(
        STATUS % "i", S_filter="jobPreparationTaskExecutionInfo/result eq 'failure'")])[0]
    assert info["failureInfo"]["code"] == "BlobAccessDenied" and "exitCode" not in info


# --- release -------------------------------------------------------------------------------


def test_release_after_the_end(b, tmp_path):  # noqa: F811
    nodes = new_pool(b, nodes=3, slots=1)
    go, ran, pid = tmp_path / "go", tmp_path / "ran", tmp_path / "pid"
    b.job("j", pool="p", jobPreparationTask=own("echo p >> %s; echo 1 > file" % ran),
          jobReleaseTask=own("cat $AZ_BATCH_JOB_PREP_WORKING_DIR/file; echo $AZ_BATCH_TASK_ID; "
                             "echo r >> %s; %s" % (ran, until(go))))
    b.add("j", *[sh(t, "echo $$ >> %s; sleep 600" % pid) for t in "ab"])
    b.wait("processes", lambda: len(lines(pid)) == 2)
    b.ok("POST", "/jobs/j/terminate", {"terminateReason": "why"}, 202)
    b.wait("release tasks", lambda: sorted(lines(ran)) == ["p", "p", "r", "r"])
    assert b.get("/jobs/j")["state"] == "terminating" and not any(alive(int(p)) for p in lines(pid))
    assert {t["state"] for t in b.list("/jobs/j/tasks")} == {"completed"}
    assert len(b.list(STATUS % "j", S_filter="jobReleaseTaskExecutionInfo/state eq 'running'")) == 2
    assert b.call("POST", "/jobs/j/terminate").code == "JobBeingTerminated"
    go.touch()
    j = b.wait_job("j")
    assert j["executionInfo"]["terminateReason"] == "why"
    ended = b.list(STATUS % "j")
    for s in ended:
        info = s["jobReleaseTaskExecutionInfo"]
        assert (info["state"], info["exitCode"], info["result"]) == ("completed", 0, "success")
        assert "retryCount" not in info and info["endTime"] <= j["executionInfo"]["endTime"]
        node = "/pools/p/nodes/" + s["nodeId"]
        assert node_file(b, node, info["taskRootDirectory"] + "/stdout.txt") == "1\njobrelease\n"
    # It does not run again, and neither status nor job need the nodes.
    b.ok("POST", "/pools/p/resize", {"targetDedicatedNodes": 0}, 202)
    b.wait("no nodes", lambda: not b.list("/pools/p/nodes"))
    assert b.list(STATUS % "j") == ended and len(nodes) == 3
    b.ok("DELETE", "/jobs/j", None, 202)
    b.wait("gone", lambda: b.call("GET", "/jobs/j").status == 404)
    assert len(lines(ran)) == 4


def test_release_at_deletion_and_its_limit(b, tmp_path):  # noqa: F811
    node, = new_pool(b)
    ran, go = tmp_path / "ran", tmp_path / "go"
    b.job("d", pool="p", jobPreparationTask=own("true"), jobReleaseTask=own("echo r >> %s; %s" % (ran, until(go))))
    b.add("d", sh("t", "true"))
    b.wait_task("d", "t")
    b.ok("DELETE", "/jobs/d", None, 202)
    b.wait("released", lambda: lines(ran) == ["r"])
    assert b.get("/jobs/d")["state"] == "deleting"
    go.touch()
    b.wait("gone", lambda: b.call("GET", "/jobs/d").status == 404)
    assert node_file(b, node, "workitems/d/job-1/jobrelease/stdout.txt") is None
    # Its failure keeps no job; a job that never came to a node needs none.
    b.job("l", pool="p", jobPreparationTask=own("true"),
          jobReleaseTask=own("sleep 600", maxWallClockTime="PT0.2S"), onAllTasksComplete="noaction")
    b.add("l", sh("t", "true"))
    b.wait_task("l", "t")
    b.ok("PATCH", "/jobs/l", {"onAllTasksComplete": "terminatejob"}, 200)
    assert b.wait_job("l")["executionInfo"]["terminateReason"] == "AllTasksComplete"
    info = b.list(STATUS % "l")[0]["jobReleaseTaskExecutionInfo"]
    assert info["result"] == "failure" and info["failureInfo"]["code"] == "TaskEnded"
    b.job("n", pool="p", jobPreparationTask=own("true"), jobReleaseTask=own("echo no >> %s" % ran))
    b.ok("POST", "/jobs/n/terminate", None, 202)
    b.wait_job("n")
    assert b.list(STATUS % "n") == [] and lines(ran) == ["r"]


def test_release_when_preparation_was_under_way_or_failed(b, tmp_path):  # noqa: F811
    new_pool(b)
    ran, pid = tmp_path / "ran", tmp_path / "pid"
    b.job("j", pool="p", jobPreparationTask=own("echo $$ > %s; sleep 600" % pid), jobReleaseTask=own("echo r >> %s" % ran))
    b.add("j", sh("t", "true"))
    b.wait("under way", lambda: lines(pid))
    b.ok("POST", "/jobs/j/terminate", None, 202)
    b.wait_job("j")
    assert lines(ran) == ["r"] and not alive(int(lines(pid)[0]))
    s, = b.list(STATUS % "j")
    assert s["jobPreparationTaskExecutionInfo"]["result"] == "failure"
    assert b.task("j", "t")["executionInfo"]["failureInfo"]["code"] == "TaskEnded"


def test_release_waits_for_a_node_that_boots_and_for_none_that_is_away(b, tmp_path):  # noqa: F811
    nodes = new_pool(b, nodes=2, slots=1)
    ran, go, task = tmp_path / "ran", tmp_path / "go", tmp_path / "task"
    b.job("j", pool="p", jobPreparationTask=own("true"), jobReleaseTask=own("echo $AZ_BATCH_NODE_ID >> %s" % ran))
    b.job("k", pool="p")
    b.add("j", sh("a", until(task)), sh("b", until(task)))
    for t in "ab":
        b.wait_task("j", t, "running")
    task.touch()
    for t in "ab":
        b.wait_task("j", t)
    b.add("k", sh("c", until(go)), sh("d", until(go)))
    for t in "cd":
        b.wait_task("k", t, "running")
    b.ok("POST", nodes[0] + "/reboot", {"nodeRebootOption": "taskcompletion"}, 202)
    b.ok("POST", nodes[1] + "/deallocate", {"nodeDeallocateOption": "taskcompletion"}, 202)
    b.ok("POST", "/jobs/j/terminate", None, 202)
    assert b.get("/jobs/j")["state"] == "terminating" and not lines(ran)
    go.touch()
    b.wait_job("j")
    assert lines(ran) == [nodes[0].rsplit("/", 1)[1]]


def test_job_deleted_or_node_gone_while_it_is_prepared(b, tmp_path):  # noqa: F811
    node, = new_pool(b)
    pid = tmp_path / "pid"
    b.job("j", pool="p", jobPreparationTask=own("echo $$ >> %s; sleep 600" % pid), jobReleaseTask=own("sleep 600"))
    b.add("j", sh("t", "true"))
    b.wait("under way", lambda: len(lines(pid)) == 1)
    b.ok("POST", "/pools/p/removenodes", {"nodeList": [node.rsplit("/", 1)[1]]}, 202)
    b.wait("no node", lambda: not b.list("/pools/p/nodes"))
    t = b.wait_task("j", "t", "active")
    assert t["executionInfo"]["requeueCount"] == 1 and not alive(int(lines(pid)[0]))
    s, = b.list(STATUS % "j")
    assert s["jobPreparationTaskExecutionInfo"]["result"] == "failure"
    b.ok("POST", "/pools/p/resize", {"targetDedicatedNodes": 1}, 202)
    b.wait("under way", lambda: len(lines(pid)) == 2)
    assert len(b.list(STATUS % "j")) == 2
    b.ok("DELETE", "/jobs/j", None, 202)
    b.wait("prepared no more", lambda: not alive(int(lines(pid)[1])))
    # The release task of the second node would run for long; the first node is gone.
    assert b.get("/jobs/j")["state"] == "deleting"
    b.ok("DELETE", "/pools/p", None, 202)
    b.wait("gone", lambda: b.call("GET", "/jobs/j").status == 404)
    b.wait("gone", lambda: b.call("GET", "/pools/p").status == 404)


def test_own_pool_of_a_job_goes_after_its_release(b, tmp_path):  # noqa: F811
    ran = tmp_path / "ran"
    body = pool("x", targetDedicatedNodes=2, startTask=own("echo s >> %s" % ran))
    del body["id"]
    info = {"autoPoolSpecification": {"poolLifetimeOption": "job", "pool": body}}
    b.ok("POST", "/jobs", {"id": "j", "poolInfo": info, "jobPreparationTask": own("echo p >> %s" % ran),
                           "jobReleaseTask": own("echo r >> %s" % ran)}, 201)
    b.add("j", sh("t", "true"))
    b.ok("PATCH", "/jobs/j", {"onAllTasksComplete": "terminatejob"}, 200)
    j = b.wait_job("j")
    assert sorted(lines(ran))[:2] == ["p", "r"]
    b.wait("no pool", lambda: b.call("GET", "/pools/" + j["executionInfo"]["poolId"]).status == 404)
    assert b.list(STATUS % "j")[0]["jobReleaseTaskExecutionInfo"]["exitCode"] == 0


# --- start ---------------------------------------------------------------------------------


def test_start_task_before_any_task(b, tmp_path):  # noqa: F811
    go = tmp_path / "go"
    start = own("echo made > file; env; %s; exit 0" % until(go), environmentSettings=[{"name": "MINE", "value": "m"}])
    node, = new_pool(b, startTask=start)
    b.job("j", pool="p", commonEnvironmentSettings=[{"name": "COMMON", "value": "c"}])
    b.add("j", sh("t", "cat $AZ_BATCH_NODE_STARTUP_DIR/wd/file"))
    n = b.wait("it runs", lambda: (lambda n: "startTaskInfo" in n and n)(b.get(node)))
    assert n["state"] == "waitingforstarttask" and n["startTaskInfo"]["state"] == "running"
    assert n["startTask"]["commandLine"] == start["commandLine"] and b.task("j", "t")["state"] == "active"
    counted = {c["poolId"]: c["dedicated"] for c in b.list("/nodecounts")}["p"]
    assert (counted["waitingForStartTask"], counted["idle"], counted["total"]) == (1, 0, 1)
    waiting = b.list("/pools/p/nodes", S_filter="state eq 'waitingforstarttask' and startTaskInfo/state eq 'running'")
    assert len(waiting) == 1
    go.touch()
    b.wait_task("j", "t")
    assert b.file("j", "t", "stdout.txt") == "made\n"
    n = wait_state(b, node, "idle")
    info = n["startTaskInfo"]
    assert (info["state"], info["exitCode"], info["result"], info["retryCount"]) == ("completed", 0, "success", 0)
    assert n["totalTasksRun"] == 1 and not b.list("/pools/p/nodes", S_filter="startTaskInfo/exitCode ne 0")
    env = dict(line.split("=", 1) for line in node_file(b, node, "startup/stdout.txt").splitlines() if "=" in line)
    assert "AZ_BATCH_JOB_ID" not in env and "AZ_BATCH_TASK_ID" not in env and "COMMON" not in env
    assert env["AZ_BATCH_TASK_WORKING_DIR"] == env["AZ_BATCH_NODE_STARTUP_DIR"] + "/wd" and env["MINE"] == "m"
    assert node_file(b, node, "startup/wd/file") == "made\n"
    names = [f["name"] for f in b.list(node + "/files", recursive="true")]
    assert {"startup/stdout.txt", "startup/stderr.txt", "startup/wd/file"} <= set(names)


def test_start_task_that_fails(b, tmp_path):  # noqa: F811
    ok, ran = tmp_path / "ok", tmp_path / "ran"
    node, = new_pool(b, startTask=own("echo x >> %s; test -e %s" % (ran, ok), maxTaskRetryCount=1))
    b.job("j", pool="p", jobPreparationTask=own("true"))
    b.add("j", sh("t", "true"))
    info = wait_state(b, node, "starttaskfailed")["startTaskInfo"]
    assert (info["exitCode"], info["result"], info["retryCount"]) == (1, "failure", 1)
    assert info["failureInfo"]["code"] == "FailureExitCode" and lines(ran) == ["x", "x"]
    assert {c["poolId"]: c["dedicated"] for c in b.list("/nodecounts")}["p"]["startTaskFailed"] == 1
    assert b.task("j", "t")["state"] == "active"
    ok.touch()
    b.ok("POST", node + "/reboot", {}, 202)
    b.wait_task("j", "t")
    assert len(lines(ran)) == 3
    b.ok("POST", node + "/reimage", {}, 202)
    b.add("j", sh("t2", "true"))
    b.wait_task("j", "t2")
    assert len(lines(ran)) == 4


def test_start_task_that_nobody_waits_for_and_a_patch(b, tmp_path):  # noqa: F811
    go, ran = tmp_path / "go", tmp_path / "ran"
    node, = new_pool(b, startTask=own(until(go) + "; false", waitForSuccess=False))
    b.job("j", pool="p")
    b.add("j", sh("t", "true"))
    b.wait_task("j", "t")
    assert b.get(node)["startTaskInfo"]["state"] == "running"
    go.touch()
    b.wait("failed", lambda: b.get(node)["startTaskInfo"].get("result") == "failure")
    assert b.get(node)["state"] == "idle"
    b.ok("PATCH", "/pools/p", {"startTask": own("echo new >> %s" % ran)}, 200)
    b.add("j", sh("t2", "true"))
    b.wait_task("j", "t2")
    assert not ran.exists()  # only nodes that boot later run it
    b.ok("POST", "/pools/p/resize", {"targetDedicatedNodes": 2}, 202)
    b.wait("the new node", lambda: lines(ran) == ["new"])
    b.ok("POST", node + "/reboot", {}, 202)
    b.wait("the old node", lambda: lines(ran) == ["new", "new"])


def test_nodes_go_while_they_start(b, tmp_path):  # noqa: F811
    pid = tmp_path / "pid"
    node, = new_pool(b, startTask=own("echo $$ >> %s; sleep 600" % pid))
    b.wait("it runs", lambda: len(lines(pid)) == 1)
    b.ok("POST", node + "/reboot", {"nodeRebootOption": "taskcompletion"}, 202)
    b.wait("it runs again", lambda: len(lines(pid)) == 2)
    b.ok("DELETE", "/pools/p", None, 202)
    b.wait("gone", lambda: b.call("GET", "/pools/p").status == 404)
    assert not any(alive(int(p)) for p in lines(pid))


# --- kills ---------------------------------------------------------------------------------


def test_own_tasks_survive_a_kill(tmp_path):
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0")
    e.start()
    ran, steps = tmp_path / "ran", [tmp_path / ("go%d" % i) for i in range(3)]

    def step(i):
        return own("echo %d $$ >> %s; %s" % (i, ran, until(steps[i])))

    def pids(i):
        text = ran.read_text() if ran.exists() else ""
        return [int(line.split()[1]) for line in text.splitlines() if line.split()[0] == str(i)]

    def kill(i):
        """While step i runs; it runs again."""
        c.wait("step %d" % i, lambda: len(pids(i)) == 1)
        e.kill()
        e.start()
        new = Batch(e.settings)
        new.wait("step %d again" % i, lambda: len(pids(i)) == 2)
        assert not alive(pids(i)[0])
        steps[i].touch()
        return new

    try:
        c = Batch(e.settings)
        node, = new_pool(c, startTask=step(0))
        c.job("j", pool="p", jobPreparationTask=step(1), jobReleaseTask=step(2))
        c.add("j", sh("t", "true"))
        c = kill(0)
        c = kill(1)
        t = c.wait_task("j", "t")
        assert t["executionInfo"]["result"] == "success" and c.get(node)["startTaskInfo"]["exitCode"] == 0
        c.ok("POST", "/jobs/j/terminate", None, 202)
        c = kill(2)
        c.wait_job("j")
        s, = c.list(STATUS % "j")
        assert s["jobPreparationTaskExecutionInfo"]["exitCode"] == 0
        assert s["jobReleaseTaskExecutionInfo"]["exitCode"] == 0
        e.kill()  # all of it is known after another one
        e.start()
        c = Batch(e.settings)
        assert c.list(STATUS % "j") == [dict(s, nodeUrl=c.endpoint + node, **{
            k: dict(s[k], taskRootDirectoryUrl=c.endpoint + node + "/files/" + s[k]["taskRootDirectory"])
            for k in s if k.endswith("ExecutionInfo")})]
        c.job("k", pool="p", jobPreparationTask=own("true"))
        c.add("k", sh("t", "true"))
        c.wait_task("k", "t")
        assert [len(pids(i)) for i in range(3)] == [2, 2, 2]
    finally:
        e.stop()


def test_files_past_their_retention_go(tmp_path):
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0").start()
    try:
        c = Batch(e.settings)
        keep = {"retentionTime": "PT0S"}
        node, = new_pool(c)
        for j in ("ended", "goes-on"):
            c.job(j, pool="p", jobPreparationTask=own("echo p", constraints=keep), jobReleaseTask=own("echo r"))
            c.add(j, sh("t", "true"))
            c.wait_task(j, "t")
        c.ok("POST", "/jobs/ended/terminate", None, 202)
        c.wait_job("ended")
        assert node_file(c, node, "workitems/ended/job-1/jobpreparation/stdout.txt") == "p\n"
        e.stop()
        e.start()  # it looks for such files at once, and later now and then
        c = Batch(e.settings)
        path = "workitems/%s/job-1/%s/stdout.txt"
        c.wait("gone", lambda: node_file(c, node, path % ("ended", "jobpreparation")) is None)
        assert node_file(c, node, path % ("ended", "jobrelease")) == "r\n"
        assert node_file(c, node, path % ("goes-on", "jobpreparation")) == "p\n"
    finally:
        e.stop()


def test_own_tasks_over_a_storm_of_kills_and_preemption(tmp_path):
    """Every task ends once, after a preparation on its node that succeeded; every job is released."""
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0",
                 "--trap", "preempt_every=5").start()
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    try:
        c = Batch(e.settings)
        new_pool(c, nodes=3, slots=2, startTask=own("sleep 0.03; echo 1 > started"))
        for j in "jk":
            c.job(j, pool="p", jobPreparationTask=own("rm -f done; sleep 0.05; cp $AZ_BATCH_NODE_STARTUP_DIR/wd/started done"),
                  jobReleaseTask=own("sleep 0.05; rm -r $AZ_BATCH_JOB_PREP_WORKING_DIR/*"))
            c.add(j, *[sh("t%02d" % i, "sleep 0.0%d; cat $AZ_BATCH_JOB_PREP_WORKING_DIR/done" % rng.randrange(1, 9))
                       for i in range(30)])
            c.ok("PATCH", "/jobs/" + j, {"onAllTasksComplete": "terminatejob"}, 200)
        for _ in range(8):
            time.sleep(rng.uniform(0, 0.3))  # not a wait: the moment of the kill is to vary
            e.kill()
            e.start()
        c = Batch(e.settings)
        for j in "jk":
            c.wait_job(j, seconds=60)
            tasks = c.list("/jobs/%s/tasks" % j)
            assert len(tasks) == 30 and all(t["executionInfo"]["result"] == "success" for t in tasks)
            for s in c.list(STATUS % j):
                # A node that was preempted lost what there was to release.
                assert s.get("jobReleaseTaskExecutionInfo", {"state": "completed"})["state"] == "completed"
                assert s["jobPreparationTaskExecutionInfo"]["state"] == "completed"
        c.wait("idle", lambda: {n["state"] for n in c.list("/pools/p/nodes")} == {"idle"})
    finally:
        e.stop()
