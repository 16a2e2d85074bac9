"""Tasks and jobs of the Batch service with real processes."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from batch_parts import alive, b, out_file, storage  # noqa: E402, F401
from batch_sign import sh  # noqa: E402, F401


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
