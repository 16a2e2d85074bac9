"""What the Batch service answers by api-version, header and query parameter."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from batch_sign import Batch, sh  # noqa: E402
from test_batch_spec import pool  # noqa: E402

VERSIONS = ["2018-12-01.8.0", "2019-06-01.9.0", "2019-08-01.10.0", "2020-03-01.11.0", "2020-09-01.12.0",
            "2021-06-01.14.0", "2022-01-01.15.0", "2022-10-01.16.0", "2023-05-01.17.0", "2023-11-01.18.0",
            "2024-02-01.19.0", "2024-07-01.20.0", "2025-06-01", "2026-10-01"]


@pytest.fixture
def b(emulator):
    return Batch(emulator.settings)


def test_versions(b):
    for version in VERSIONS:
        assert b.call("GET", "/jobs", api_version=version).status == 200, version
    for version in ("2018-08-01.7.0", "2017-05-01.5.0", "2024", "latest", "2024-07-01.", "2024-07-01.20.x",
                    "2024-7-1.20.0"):
        r = b.call("GET", "/jobs", api_version=version)
        assert (r.status, r.code) == (400, "UnsupportedRequestVersion"), version
    r = b.call("GET", "/jobs", api_version="")
    assert (r.status, r.code) == (400, "MissingRequiredQueryParameter")
    # Names of parameters are matched without regard to case.
    assert b.call("GET", "/jobs?API-Version=2024-07-01.20.0&MaxResults=1", api_version="").status == 200


def test_slots_had_another_name(b):
    old = "2020-03-01.11.0"
    b.ok("POST", "/pools", pool("p", maxTasksPerNode=3), 201, api_version=old)
    assert b.get("/pools/p")["taskSlotsPerNode"] == 3
    p = b.get("/pools/p", api_version=old)
    assert p["maxTasksPerNode"] == 3 and "taskSlotsPerNode" not in p
    assert set(b.get("/pools/p", api_version=old, S_select="maxTasksPerNode")) == \
        {"odata.metadata", "maxTasksPerNode"}
    r = b.call("POST", "/pools", pool("q", maxTasksPerNode=3))
    assert r.status == 400


def test_task_counts_were_flat(b):
    b.job("j", pool="none-yet")
    b.add("j", sh("a", "true"), sh("b", "true", requiredSlots=2))
    counts = b.get("/jobs/j/taskcounts")
    zero = {"running": 0, "completed": 0, "succeeded": 0, "failed": 0}
    assert counts["taskCounts"] == dict(zero, active=2)
    assert counts["taskSlotCounts"] == dict(zero, active=3)
    flat = b.get("/jobs/j/taskcounts", api_version="2019-08-01.10.0")
    del flat["odata.metadata"]
    assert flat == dict(zero, active=2)


def test_headers_of_answers(b):
    r = b.ok("POST", "/jobs", {"id": "Job", "poolInfo": {"poolId": "none-yet"}}, 201)
    url = b.endpoint + "/jobs/Job"
    assert r.body == b"" and r.headers["location"] == r.headers["dataserviceid"] == url
    assert r.headers["etag"].startswith("0x8D") and r.headers["last-modified"].endswith("GMT")
    assert r.headers["dataserviceversion"] == "3.0" and r.headers["x-content-type-options"] == "nosniff"
    r = b.ok("POST", "/jobs/Job/disable", {"disableTasks": "wait"}, 202)
    assert r.headers["dataserviceid"] == b.endpoint + "/jobs/Job/disable"
    for headers, echoed in (({"client-request-id": "x"}, None),
                            ({"client-request-id": "x", "return-client-request-id": "false"}, None),
                            ({"client-request-id": "x", "return-client-request-id": "True"}, "x"),
                            ({"return-client-request-id": "true"}, None)):
        r = b.call("GET", "/jobs/none", headers=headers)
        assert r.headers.get("client-request-id") == echoed and len(r.headers["request-id"]) == 36


def test_force_is_taken(b):
    b.job("j", pool="none-yet")
    assert b.call("POST", "/jobs/j/terminate", force="maybe").code == "InvalidQueryParameterValue"
    b.ok("POST", "/jobs/j/terminate", {"terminateReason": "enough"}, 202, force="true")
    assert b.wait_job("j")["executionInfo"]["terminateReason"] == "enough"
    b.ok("DELETE", "/jobs/j", None, 202, force="true")


def test_verbs_and_places(b):
    b.job("j", pool="none-yet")
    for method, path in (("OPTIONS", "/jobs"), ("POST", "/jobs/j"), ("PUT", "/pools"), ("HEAD", "/jobs/j"),
                         ("DELETE", "/jobs"), ("FETCH", "/jobs")):
        r = b.call(method, path)
        assert r.status == 405, (method, path)
        assert method == "HEAD" or r.code == "UnsupportedHttpVerb"
    for path, code in (("/pools/none", "PoolNotFound"), ("/pools/none/nodes", "PoolNotFound"),
                       ("/pools/local/nodes/none", "NodeNotFound"), ("/jobs/none/tasks", "JobNotFound"),
                       ("/jobs/j/tasks/none", "TaskNotFound"), ("/jobs/none/taskcounts", "JobNotFound"),
                       ("/jobs/j/tasks/none/files", "TaskNotFound"), ("/nothing", "ResourceNotFound"),
                       ("/jobschedules/none", "JobScheduleNotFound"),
                       ("/applications/none", "ApplicationNotFound"), ("/lifetimejobstats", "ResourceNotFound")):
        r = b.call("GET", path)
        assert (r.status, r.code) == (404, code), path
    for path in ("/jobschedules", "/applications", "/certificates", "/poolusagemetrics"):
        assert b.get(path)["value"] == []
    assert b.call("HEAD", "/pools/none").status == b.call("HEAD", "/jobschedules/none").status == 404
    assert b.call("HEAD", "/jobschedules/none").body == b""


def test_conditions_stand_where_they_are_taken(b):
    b.ok("POST", "/pools", pool("p"), 201)
    b.job("j", pool="none-yet")
    b.add("j", sh("t", "true"))
    wrong = {"If-Match": "0x1"}
    late = {"If-Unmodified-Since": "Tue, 01 Jan 2019 00:00:00 GMT"}
    for headers in (wrong, late):
        for path in ("/pools/p", "/jobs/j", "/jobs/j/tasks/t"):
            assert b.call("GET", path, headers=headers).status == 304
        assert b.call("HEAD", "/pools/p", headers=headers).status == 304
        for method, path, body in (
                ("PATCH", "/pools/p", {}), ("POST", "/pools/p/resize", {"targetDedicatedNodes": 0}),
                ("POST", "/pools/p/stopresize", None), ("POST", "/pools/p/removenodes", {"nodeList": ["x"]}),
                ("DELETE", "/pools/p", None), ("PATCH", "/jobs/j", {}),
                ("PUT", "/jobs/j", {"poolInfo": {"poolId": "none-yet"}}),
                ("POST", "/jobs/j/disable", {"disableTasks": "wait"}), ("POST", "/jobs/j/enable", None),
                ("POST", "/jobs/j/terminate", None), ("DELETE", "/jobs/j", None),
                ("PUT", "/jobs/j/tasks/t", {}), ("POST", "/jobs/j/tasks/t/terminate", None),
                ("POST", "/jobs/j/tasks/t/reactivate", None), ("DELETE", "/jobs/j/tasks/t", None)):
            r = b.call(method, path, body, headers=headers)
            assert (r.status, r.code) == (412, "ConditionNotMet"), (method, path)
    future = {"If-Modified-Since": "Tue, 01 Jan 2999 00:00:00 GMT"}
    assert b.call("GET", "/jobs/j", headers=future).status == 304
    assert b.call("PATCH", "/jobs/j", {}, headers=future).status == 412
    assert b.call("GET", "/jobs/j", headers={"If-Modified-Since": "soon"}).code == "InvalidHeaderValue"
    two = dict(wrong, **late)
    assert b.call("GET", "/jobs/j", headers=two).code == "MultipleConditionHeadersNotSupported"
    # Not taken here.
    assert b.call("GET", "/jobs", headers=wrong).status == 200
    assert b.call("GET", "/jobs/j/taskcounts", headers=wrong).status == 200
    assert b.call("POST", "/jobs/j/tasks", sh("u", "true"), headers=wrong).status == 201
