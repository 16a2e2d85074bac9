"""$filter, $select, $expand and pages of the Batch lists."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from batch_sign import Batch, sh  # noqa: E402
from test_batch_spec import pool  # noqa: E402

PAST, FUTURE = "DateTime'2001-01-01T00:00:00Z'", "datetime'2999-01-01T00:00:00.1234567Z'"


@pytest.fixture
def b(emulator):
    return Batch(emulator.settings)


def names(b, path, text, key="id"):
    return [item[key] for item in b.list(path, S_filter=text)]


def check_operators(b, path, table):
    """Every property of a list with each operator: taken or refused."""
    for name, ops, value in table:
        for op in ("eq", "ne", "ge", "gt", "le", "lt"):
            r = b.call("GET", path, S_filter="%s %s %s" % (name, op, value))
            allowed = ops in "ST" or (ops == "E" and op in ("eq", "ne")) or (ops == "=" and op == "eq")
            assert r.status == (200 if allowed else 400), (path, name, op)
            assert allowed or r.code == "InvalidQueryParameterValue"
        r = b.call("GET", path, S_filter="startswith(%s,'x')" % name)
        assert r.status == (200 if ops == "S" else 400), (path, name)
    for bad in (name.upper() + " eq " + value, "nonsense eq 'x'", "id eq", name + " like 'x'",
                "(" + name + " eq " + value, name + " eq " + value + " and", "startswith(id)", "not id eq 'x'"):
        assert b.call("GET", path, S_filter=bad).code == "InvalidQueryParameterValue", bad


def test_operators_of_every_list(b):
    b.job("j", pool="local", jobPreparationTask={"commandLine": "/bin/true"})
    text, time, number = "'x'", PAST, "1"
    check_operators(b, "/pools", [
        ("id", "S", text), ("state", "E", text), ("allocationState", "E", text),
        ("stateTransitionTime", "T", time), ("allocationStateTransitionTime", "T", time),
        ("creationTime", "T", time), ("lastModified", "T", time), ("enableAutoScale", "E", "false"),
        ("enableInterNodeCommunication", "E", "true"), ("vmSize", "E", text)])
    check_operators(b, "/jobs", [
        ("id", "S", text), ("state", "E", text), ("stateTransitionTime", "T", time),
        ("creationTime", "T", time), ("lastModified", "T", time), ("executionInfo/startTime", "T", time),
        ("executionInfo/endTime", "T", time), ("executionInfo/poolId", "S", text)])
    check_operators(b, "/jobs/j/tasks", [
        ("id", "S", text), ("state", "E", text), ("stateTransitionTime", "T", time),
        ("creationTime", "T", time), ("lastModifiedTime", "T", time), ("executionInfo/startTime", "T", time),
        ("executionInfo/endTime", "T", time), ("executionInfo/exitCode", "T", number),
        ("executionInfo/result", "E", text)])
    check_operators(b, "/pools/local/nodes", [
        ("state", "E", text), ("stateTransitionTime", "T", time), ("lastBootTime", "T", time),
        ("allocationTime", "T", time), ("startTaskInfo/startTime", "T", time),
        ("startTaskInfo/endTime", "T", time), ("startTaskInfo/state", "=", text),
        ("startTaskInfo/result", "E", text), ("startTaskInfo/exitCode", "T", number)])
    check_operators(b, "/jobs/j/jobpreparationandreleasetaskstatus", [
        ("poolId", "E", text), ("nodeId", "E", text)] + [
        ("%s/%s" % (part, name), ops, value)
        for part in ("jobPreparationTaskExecutionInfo", "jobReleaseTaskExecutionInfo")
        for name, ops, value in (("state", "=", text), ("startTime", "T", time), ("endTime", "T", time),
                                 ("exitCode", "T", number), ("result", "E", text))])
    check_operators(b, "/nodecounts", [("poolId", "=", text)])
    check_operators(b, "/supportedimages", [("osType", "E", text), ("verificationType", "E", text),
                                            ("nodeAgentSKUId", "E", text)])


def test_jobs_by_filter(b):
    for i in range(4):
        b.job("Job%d" % i, pool="none-yet" if i % 2 else "other")
    b.ok("POST", "/jobs/job3/disable", {"disableTasks": "wait"}, 202)
    for text, found in (
            ("id eq 'JOB1'", ["Job1"]), ("id ne 'job1'", ["Job0", "Job2", "Job3"]),
            ("startswith(id,'jOB')", ["Job0", "Job1", "Job2", "Job3"]), ("id gt 'job1' and id le 'job3'", ["Job2", "Job3"]),
            ("state eq 'Active' and executionInfo/poolId eq 'none-yet'", ["Job1"]),
            ("state eq 'disabled' or id eq 'job0'", ["Job0", "Job3"]),
            ("id eq 'job0' or id eq 'job1' and state eq 'disabled'", ["Job0"]),
            ("(id eq 'job0' or id eq 'job1') and state eq 'disabled'", []),
            ("creationTime gt %s" % PAST, ["Job0", "Job1", "Job2", "Job3"]),
            ("creationTime gt %s" % FUTURE, []), ("executionInfo/endTime lt %s" % FUTURE, []),
            ("startswith(executionInfo/poolId,'oth')", ["Job0", "Job2"]), ("id eq 'it''s'", [])):
        assert names(b, "/jobs", text) == found, text


def test_pools_by_filter(b):
    b.ok("POST", "/pools", pool("a", enableInterNodeCommunication=True), 201)
    assert names(b, "/pools", "enableInterNodeCommunication eq true") == ["a"]
    assert names(b, "/pools", "enableAutoScale eq false and id ne 'local'") == ["a"]
    assert names(b, "/pools", "vmSize eq 'standard_d2s_v3'") == ["a"]
    assert set(names(b, "/pools", "state eq 'active'")) == {"a", "local"}
    assert names(b, "/nodecounts", "poolId eq 'A'", "poolId") == ["a"]
    assert b.call("GET", "/nodecounts", maxresults=11).code == "InvalidQueryParameterValue"
    assert b.list("/supportedimages", S_filter="osType eq 'windows'") == []
    verified = b.list("/supportedimages", S_filter="verificationType eq 'verified'", maxresults=1)
    assert len(verified) == len(b.list("/supportedimages", S_filter="verificationType ne 'unverified'")) > 1


def test_tasks_by_what_came_of_them(b):
    b.job("j")
    b.add("j", *[sh("t%d" % code, "exit %d" % code) for code in (0, 3, 7)], sh("wait", "true", requiredSlots=256))
    for code in (0, 3, 7):
        b.wait_task("j", "t%d" % code)
    for text, found in (
            ("executionInfo/exitCode eq 3", ["t3"]), ("executionInfo/exitCode ge 3", ["t3", "t7"]),
            ("(executionInfo/exitCode lt 0) or (executionInfo/exitCode gt 0)", ["t3", "t7"]),
            ("executionInfo/result eq 'Failure'", ["t3", "t7"]), ("state eq 'active'", ["wait"]),
            ("executionInfo/result ne 'success'", ["t3", "t7", "wait"]),
            ("executionInfo/endTime gt %s and id ne 't0'" % PAST, ["t3", "t7"]),
            ("lastModifiedTime gt %s" % PAST, ["t0", "t3", "t7", "wait"])):
        assert names(b, "/jobs/j/tasks", text) == found, text
    nodes = b.list("/pools/local/nodes", S_filter="state ne 'offline' and allocationTime gt %s" % PAST)
    recent = nodes[0]["recentTasks"]
    assert sorted(t["taskId"] for t in recent) == ["t0", "t3", "t7"]
    assert recent[0]["taskUrl"] == b.endpoint + "/jobs/j/tasks/" + recent[0]["taskId"]
    assert nodes[0]["totalTasksRun"] == 3 and nodes[0]["nodeAgentInfo"]["version"]


def test_select_and_expand(b):
    b.job("j", pool="none-yet")
    b.add("j", sh("t", "true"))
    for path, select in (("/jobs/j", "id, state"), ("/jobs/j/tasks/t", "id,executionInfo"),
                         ("/pools/local", "id,allocationState")):
        want = {"odata.metadata"} | {s.strip() for s in select.split(",")}
        assert set(b.get(path, S_select=select)) == want
    page = b.get("/jobs", S_select="id,poolInfo")
    assert page["value"] == [{"id": "j", "poolInfo": {"poolId": "none-yet"}}]
    assert "stats" not in b.get("/jobs/j")
    for path in ("/jobs/j", "/jobs/j/tasks/t", "/pools/local"):
        stats = b.get(path, S_expand="stats")["stats"]
        assert stats["url"] == b.endpoint + path + "/stats"
        assert set(b.get(path, S_expand="stats", S_select="id")) == {"odata.metadata", "id"}
        assert b.call("GET", path, S_expand="everything").code == "InvalidQueryParameterValue"
    assert b.get("/jobs/j", S_expand="stats")["stats"]["numSucceededTasks"] == "0"
    assert all("stats" in j for j in b.list("/jobs", S_expand="stats"))


def test_pages(b):
    b.job("j", pool="none-yet")
    b.add("j", *[sh("T%02d" % i, "true") for i in range(25)])
    page = b.get("/jobs/j/tasks", maxresults=10, S_select="id", S_filter="startswith(id,'t') and id ne 't03'")
    link = page["odata.nextLink"]
    assert link.startswith(b.endpoint + "/jobs/j/tasks?") and "$skiptoken=" in link
    assert [t["id"] for t in page["value"]] == ["T%02d" % i for i in range(11) if i != 3]
    # What was listed may go and what comes before may come: the rest stays what it was.
    b.ok("DELETE", "/jobs/j/tasks/t10", status=200)
    b.add("j", sh("A", "true"))
    rest = b.list(link)
    assert [t["id"] for t in rest] == ["T%02d" % i for i in range(11, 25)] and set(rest[0]) == {"id"}
    for bad in ("0", "1001", "x", "-1", "1.5", ""):
        assert b.call("GET", "/jobs/j/tasks", maxresults=bad).code == "InvalidQueryParameterValue", bad
    assert b.call("GET", "/jobs/j/tasks?$skiptoken=%21%21").code == "InvalidQueryParameterValue"
