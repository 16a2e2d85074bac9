"""Nodes that come late, not at all, or are taken away: the emulator's traps of pools."""
import sys
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from batch_parts import b  # noqa: E402, F401
from batch_sign import Batch, sh  # noqa: E402
from harness import Emulator  # noqa: E402
from test_batch_spec import pool  # noqa: E402
from trap_client import ask  # noqa: E402


def trap(b, **values):  # noqa: F811
    host = urllib.parse.urlsplit(b.emulator.settings["AZURE_BATCH_ENDPOINT"]).netloc
    status, _, body = ask(host, "POST", "/adafs/traps?" + urllib.parse.urlencode(values))
    assert status == 200, body


def steady(b, path):  # noqa: F811
    return b.wait("steady", lambda: (lambda p: p["allocationState"] == "steady" and p)(b.get(path)))


def test_preempted_nodes_come_back_and_tasks_run_again(b, tmp_path):  # noqa: F811
    trap(b, preempt_every=3)
    b.job("j")
    b.add("j", *[sh("t%d" % i, "echo x >> %s/t%d" % (tmp_path, i)) for i in range(8)])
    b.wait("all done", lambda: len(b.list("/jobs/j/tasks", S_filter="state eq 'completed'")) == 8)
    info = [t["executionInfo"] for t in b.list("/jobs/j/tasks")]
    assert all(i["result"] == "success" and i["retryCount"] == 0 for i in info)
    assert sum(i["requeueCount"] for i in info) >= 2
    assert all("lastRequeueTime" in i for i in info if i["requeueCount"])
    trap(b, preempt_every=0)
    b.wait("nodes are back", lambda: all(n["state"] == "idle" for n in b.list("/pools/local/nodes")))


def test_a_preempted_node_stays_away_for_a_while(b, tmp_path):  # noqa: F811
    b.ok("POST", "/pools", pool("p", targetDedicatedNodes=0, targetLowPriorityNodes=1), 201)
    steady(b, "/pools/p")
    b.job("j", pool="p")
    trap(b, preempt_every=1, allocation_delay=3600)
    b.add("j", sh("t", "test -e %s/go || sleep 600" % tmp_path))
    b.wait("preempted", lambda: b.list("/pools/p/nodes")[0]["state"] == "preempted")
    t = b.wait("requeued", lambda: (lambda t: t["state"] == "active" and t)(b.task("j", "t")))
    assert t["executionInfo"]["requeueCount"] == 1
    (tmp_path / "go").touch()
    trap(b, preempt_every=0, allocation_delay=0)
    b.add("j", sh("wakes", "true"))
    assert b.wait_task("j", "t")["executionInfo"]["exitCode"] == 0


def test_nodes_that_come_late_or_never(b):  # noqa: F811
    trap(b, allocation_delay=0.3)
    b.ok("POST", "/pools", pool("late", targetDedicatedNodes=2), 201)
    p = steady(b, "/pools/late")
    assert p["currentDedicatedNodes"] == 2 and "resizeErrors" not in p
    trap(b, allocation_delay=3600)
    b.ok("POST", "/pools", pool("never", targetDedicatedNodes=2), 201)
    p = b.get("/pools/never")
    assert (p["allocationState"], p["currentDedicatedNodes"]) == ("resizing", 0)
    b.ok("POST", "/pools/never/stopresize", None, 202)
    assert steady(b, "/pools/never")["resizeErrors"][0]["code"] == "ResizeStopped"


def test_a_resize_that_takes_too_long(tmp_path):
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0",
                 "--trap", "allocation_delay=3600", "--trap", "clock_speed=1000").start()
    try:
        c = Batch(e.settings)
        c.emulator = e
        c.ok("POST", "/pools", pool("late", targetDedicatedNodes=2, resizeTimeout="PT5M"), 201)
        p = steady(c, "/pools/late")
        assert [i["code"] for i in p["resizeErrors"]] == ["AllocationTimedout"] and p["currentDedicatedNodes"] == 0
        e.kill()
        e.start()
        c = Batch(e.settings)
        c.emulator = e
        assert c.get("/pools/late")["resizeErrors"] == p["resizeErrors"]
        trap(c, allocation_delay=0)
        c.ok("POST", "/pools/late/resize", {"targetDedicatedNodes": 1}, 202)
        p = steady(c, "/pools/late")
        assert "resizeErrors" not in p and p["currentDedicatedNodes"] == 1
    finally:
        e.stop()


def test_the_quota_of_nodes(b):  # noqa: F811
    have = len(b.list("/pools/local/nodes"))
    trap(b, core_quota=have + 2)
    b.ok("POST", "/pools", pool("p", targetDedicatedNodes=5), 201)
    p = steady(b, "/pools/p")
    assert p["currentDedicatedNodes"] == 2
    assert p["resizeErrors"][0]["code"] == "AccountCoreQuotaReached"


def test_nodes_on_their_way_survive_a_kill(tmp_path):
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0")
    e.start()
    try:
        c = Batch(e.settings)
        c.emulator = e
        c.ok("POST", "/pools", pool("gone", targetDedicatedNodes=1), 201)
        steady(c, "/pools/gone")
        c.job("j", pool="gone")
        trap(c, preempt_every=1, allocation_delay=2)
        c.add("j", sh("t", "true"))
        c.wait("preempted", lambda: c.list("/pools/gone/nodes")[0]["state"] == "preempted")
        c.ok("POST", "/pools", pool("late", targetDedicatedNodes=2), 201)
        assert c.get("/pools/late")["allocationState"] == "resizing"
        e.kill()
        e.start()
        c = Batch(e.settings)
        assert c.wait_task("j", "t")["executionInfo"]["requeueCount"] >= 1
        assert steady(c, "/pools/late")["currentDedicatedNodes"] == 2
    finally:
        e.stop()
