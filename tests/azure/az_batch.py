"""
The az command line's Batch commands against `adafs emulator`, whose settings are in the environment: in
one process, for each start of az takes a second. Prints one line a check and exits 1 at the first failure.
"""
import io
import json
import os
import sys
import time

from azure.cli.core import get_default_cli

TAG = "%08x" % int.from_bytes(os.urandom(4), "big")
POOL, JOB = "az-pool-" + TAG, "az-job-" + TAG
ACCOUNT = ["--account-name", os.environ["AZURE_BATCH_ACCOUNT"], "--account-key", os.environ["AZURE_BATCH_ACCESS_KEY"],
           "--account-endpoint", os.environ["AZURE_BATCH_ENDPOINT"]]


def az(*words, code=0):
    """What the command prints, as JSON; code: what it exits with."""
    cli, out = get_default_cli(), io.StringIO()
    try:
        rc = cli.invoke(["batch", *words, *ACCOUNT, "-o", "json"], out_file=out)
    except SystemExit as e:
        rc = e.code
    assert bool(rc) == bool(code), (words, rc, out.getvalue(), str(cli.result and cli.result.error))
    return json.loads(out.getvalue() or "null")


def until(what, probe):
    deadline = time.monotonic() + 60
    while True:
        value = probe()
        if value:
            return value
        assert time.monotonic() < deadline, "not within a minute: " + what
        time.sleep(0.05)


def ok(what):
    print("ok - " + what, flush=True)


def written(name, body):
    path = os.path.join(sys.argv[1], name)
    with open(path, "w") as f:
        json.dump(body, f)
    return path


def steady():
    return until("steady", lambda: (lambda p: p["allocationState"] == "steady" and p)(az("pool", "show", "--pool-id", POOL)))


def pools():
    az("pool", "create", "--id", POOL, "--vm-size", "STANDARD_D2S_V3", "--target-dedicated-nodes", "2", "--image",
       "canonical:0001-com-ubuntu-server-jammy:22_04-lts", "--node-agent-sku-id", "batch.node.ubuntu 22.04", "--metadata", "a=b")
    assert steady()["currentDedicatedNodes"] == 2
    az("pool", "create", "--id", POOL, "--vm-size", "x", "--image", "a:b:c", "--node-agent-sku-id", "x", code=1)
    assert [p["id"] for p in az("pool", "list", "--filter", "id eq '%s'" % POOL, "--select", "id")] == [POOL]
    az("pool", "set", "--pool-id", POOL, "--start-task-command-line", "/bin/true", "--metadata", "c=d")
    assert az("pool", "show", "--pool-id", POOL)["startTask"]["commandLine"] == "/bin/true"
    az("pool", "reset", "--pool-id", POOL)
    assert az("pool", "show", "--pool-id", POOL)["startTask"] is None
    az("pool", "resize", "--pool-id", POOL, "--target-dedicated-nodes", "1")
    steady()
    az("pool", "resize", "--pool-id", POOL, "--abort", code=1)
    assert any(c["poolId"] == POOL for c in az("pool", "node-counts", "list"))
    assert az("pool", "supported-images", "list", "--filter", "osType eq 'linux'")
    assert az("pool", "usage-metrics", "list") == []
    ok("pool: create, show, list, set, reset, resize, node-counts, supported-images")
    az("pool", "autoscale", "enable", "--pool-id", POOL, "--auto-scale-formula", "$TargetDedicatedNodes=1;")
    run = az("pool", "autoscale", "evaluate", "--pool-id", POOL, "--auto-scale-formula", "$TargetDedicatedNodes=3;")
    assert "$TargetDedicatedNodes=3" in run["results"]
    az("pool", "autoscale", "disable", "--pool-id", POOL)
    steady()
    ok("pool autoscale: enable, evaluate, disable")


def nodes():
    node = az("node", "list", "--pool-id", POOL)[0]["id"]
    where = ["--pool-id", POOL, "--node-id", node]
    assert az("node", "show", *where)["schedulingState"] == "enabled"
    az("node", "scheduling", "disable", *where)
    az("node", "scheduling", "enable", *where)
    az("node", "user", "create", *where, "--name", "user", "--is-admin", "--password", "not-shown-1A")
    az("node", "user", "reset", *where, "--user-name", "user", "--password", "not-shown-2B")
    az("node", "user", "delete", *where, "--user-name", "user", "--yes")
    assert az("node", "remote-login-settings", "show", *where)["remoteLoginPort"]
    az("node", "service-logs", "upload", *where, "--container-url", "https://a.blob.core.windows.net/c", "--start-time",
       "2026-01-01T00:00:00Z")
    for what in ("reboot", "reimage"):
        az("node", what, *where)
        until("idle", lambda: az("node", "show", *where)["state"] == "idle")
    assert az("node", "file", "list", *where) is not None
    ok("node: list, show, scheduling, user, login, logs, reboot, reimage, files")


def jobs(directory):
    az("job", "create", "--id", JOB, "--pool-id", POOL, "--priority", "3", "--metadata", "a=b")
    assert az("job", "show", "--job-id", JOB)["priority"] == 3
    az("job", "set", "--job-id", JOB, "--priority", "5")
    az("job", "reset", "--job-id", JOB, "--pool-id", POOL)
    assert az("job", "show", "--job-id", JOB)["priority"] == 0
    # az 2.45 as Debian has it takes no value of --disable-tasks: it cannot disable a job.
    az("job", "enable", "--job-id", JOB)
    assert JOB in [j["id"] for j in az("job", "list", "--filter", "state eq 'active'", "--select", "id")]
    az("job", "prep-release-status", "list", "--job-id", JOB, code=1)
    ok("job: create, show, set, reset, enable, list")

    az("task", "create", "--job-id", JOB, "--task-id", "one", "--command-line", "/bin/sh -c 'echo one'")
    az("task", "create", "--job-id", JOB, "--json-file", written("tasks.json", [
        {"id": "t%d" % i, "commandLine": "/bin/sh -c 'exit %d'" % i} for i in range(2)]))
    done = until("tasks", lambda: (lambda t: len(t) == 3 and t)(
        az("task", "list", "--job-id", JOB, "--filter", "state eq 'completed'")))
    assert {t["id"]: t["executionInfo"]["exitCode"] for t in done} == {"one": 0, "t0": 0, "t1": 1}
    assert az("task", "show", "--job-id", JOB, "--task-id", "t1")["executionInfo"]["failureInfo"]["code"] == "FailureExitCode"
    az("task", "reactivate", "--job-id", JOB, "--task-id", "t1")
    until("again", lambda: az("task", "show", "--job-id", JOB, "--task-id", "t1")["state"] == "completed")
    az("task", "reset", "--job-id", JOB, "--task-id", "t1", code=1)
    az("task", "stop", "--job-id", JOB, "--task-id", "t1", code=1)
    assert az("task", "subtask", "list", "--job-id", JOB, "--task-id", "one")["value"] == []
    assert az("job", "task-counts", "show", "--job-id", JOB)["taskCounts"]["completed"] == 3
    ok("task: create, list, show, reactivate, reset, stop, subtasks, counts")

    where = ["--job-id", JOB, "--task-id", "one"]
    assert "stdout.txt" in [f["name"] for f in az("task", "file", "list", *where, "--recursive", "true")]
    to = os.path.join(directory, "got.txt")
    az("task", "file", "download", *where, "--file-path", "stdout.txt", "--destination", to)
    with open(to) as f:
        assert f.read() == "one\n"
    az("task", "file", "show", *where, "--file-path", "stdout.txt")
    az("task", "file", "delete", *where, "--file-path", "stderr.txt", "--yes")
    ok("task file: list, download, show, delete")

    az("task", "delete", "--job-id", JOB, "--task-id", "t0", "--yes")
    az("job", "stop", "--job-id", JOB, "--terminate-reason", "enough")
    until("ended", lambda: az("job", "show", "--job-id", JOB)["state"] == "completed")
    az("job", "delete", "--job-id", JOB, "--yes")
    az("pool", "delete", "--pool-id", POOL, "--yes")
    until("gone", lambda: POOL not in [p["id"] for p in az("pool", "list")])
    assert az("job-schedule", "list") == []
    ok("task, job and pool: delete")


pools()
nodes()
jobs(sys.argv[1])
