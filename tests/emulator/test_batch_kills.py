"""The Batch service when it is killed or stopped: nothing is lost, nothing stays."""
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from batch_parts import alive, b  # noqa: E402, F401
from batch_sign import Batch, sh  # noqa: E402, F401
from harness import Emulator  # noqa: E402, F401


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
