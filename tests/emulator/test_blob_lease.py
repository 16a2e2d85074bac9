"""Leases of blobs and containers: every action in every state, what writers must name, restarts."""
import os
import signal
import sqlite3
import sys
import uuid

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import azure_sign  # noqa: E402
from blob_client import Client, Emulator, block_id, box, c, emulator, when  # noqa: E402,F401
from harness import wait_for  # noqa: E402

A, B, C = (str(uuid.UUID(int=n)) for n in (0xa, 0xb, 0xc))


def lease(c, path, action, **headers):
    path += ("&" if "?" in path else "?") + "comp=lease"
    return c.send("PUT", path, headers=dict({"x-ms-lease-action": action}, **{
        "x-ms-" + k.replace("_", "-"): str(v) for k, v in headers.items()}))


def acquire(c, path, seconds=-1, **headers):
    return lease(c, path, "acquire", lease_duration=seconds, **headers)


@pytest.fixture(params=["blob", "container"])
def leased(request, c, box):
    """The path of something that can be leased, and how to look at it."""
    if request.param == "container":
        return "/%s?restype=container" % box
    c.put("/%s/b" % box, b"x")
    return "/%s/b" % box


def state(c, path):
    r = c.send("GET", path)
    return r["x-ms-lease-state"], r["x-ms-lease-status"], r["x-ms-lease-duration"]


def broken(c, path):
    return wait_for("the lease is broken", lambda: state(c, path)[0] == "broken", 10)


def test_life(c, leased):
    etag = c.send("GET", leased)["etag"]
    assert state(c, leased) == ("available", "unlocked", None)
    r = acquire(c, leased, 15)
    assert r.status == 201 and uuid.UUID(r["x-ms-lease-id"])
    assert r["etag"] == etag and r["last-modified"]
    assert state(c, leased) == ("leased", "locked", "fixed")
    assert lease(c, leased, "release", lease_id=r["x-ms-lease-id"]).status == 200
    assert state(c, leased) == ("available", "unlocked", None)
    r = acquire(c, leased, proposed_lease_id=A.upper())
    assert r.status == 201 and r["x-ms-lease-id"] == A
    assert state(c, leased) == ("leased", "locked", "infinite")
    r = lease(c, leased, "renew", lease_id=A)
    assert r.status == 200 and r["x-ms-lease-id"] == A
    r = lease(c, leased, "change", lease_id=A, proposed_lease_id=B)
    assert r.status == 200 and r["x-ms-lease-id"] == B
    assert lease(c, leased, "change", lease_id=A, proposed_lease_id=B).status == 200  # again
    r = lease(c, leased, "break")
    assert r.status == 202 and r["x-ms-lease-time"] == "0"
    assert state(c, leased) == ("broken", "unlocked", None)
    assert c.send("GET", leased)["etag"] == etag


def test_errors_by_state(c, leased):
    def code(action, **headers):
        r = lease(c, leased, action, **headers)
        return r.status, r.code
    assert code("renew", lease_id=A) == (409, "LeaseIdMismatchWithLeaseOperation")
    assert code("release", lease_id=A) == (409, "LeaseIdMismatchWithLeaseOperation")
    assert code("change", lease_id=A, proposed_lease_id=B) == (409, "LeaseNotPresentWithLeaseOperation")
    assert code("break") == (409, "LeaseNotPresentWithLeaseOperation")
    assert acquire(c, leased, proposed_lease_id=A).status == 201
    assert acquire(c, leased).code == "LeaseAlreadyPresent"
    assert acquire(c, leased, proposed_lease_id=B).code == "LeaseAlreadyPresent"
    assert acquire(c, leased, 30, proposed_lease_id=A).status == 201  # one's own, anew
    assert code("renew", lease_id=B) == (409, "LeaseIdMismatchWithLeaseOperation")
    assert code("release", lease_id=B) == (409, "LeaseIdMismatchWithLeaseOperation")
    assert code("change", lease_id=B, proposed_lease_id=C) == (409, "LeaseIdMismatchWithLeaseOperation")
    r = lease(c, leased, "break", lease_break_period=20)
    assert r.status == 202 and 19 <= int(r["x-ms-lease-time"]) <= 20
    assert state(c, leased) == ("breaking", "locked", None)
    assert acquire(c, leased, proposed_lease_id=A).code == "LeaseIsBreakingAndCannotBeAcquired"
    assert acquire(c, leased).code == "LeaseAlreadyPresent"
    assert code("change", lease_id=A, proposed_lease_id=B) == (409, "LeaseIsBreakingAndCannotBeChanged")
    assert code("renew", lease_id=A) == (409, "LeaseIsBrokenAndCannotBeRenewed")
    assert int(lease(c, leased, "break", lease_break_period=60)["x-ms-lease-time"]) <= 20
    assert lease(c, leased, "break", lease_break_period=0)["x-ms-lease-time"] == "0"
    assert code("renew", lease_id=A) == (409, "LeaseIsBrokenAndCannotBeRenewed")
    assert code("change", lease_id=A, proposed_lease_id=B) == (409, "LeaseNotPresentWithLeaseOperation")
    assert lease(c, leased, "break")["x-ms-lease-time"] == "0"
    assert lease(c, leased, "release", lease_id=A).status == 200
    assert state(c, leased)[0] == "available"


def test_a_fixed_lease_breaks_when_it_would_end(c, leased):
    acquire(c, leased, 15, proposed_lease_id=A)
    r = lease(c, leased, "break")
    assert 14 <= int(r["x-ms-lease-time"]) <= 15
    assert lease(c, leased, "break", lease_break_period=1)["x-ms-lease-time"] in ("0", "1")
    broken(c, leased)
    assert acquire(c, leased, 15, proposed_lease_id=B).status == 201


@pytest.mark.parametrize("headers,code", [
    ({}, "MissingRequiredHeader"), ({"lease-action": "acquire"}, "MissingRequiredHeader"),
    ({"lease-action": "steal"}, "InvalidHeaderValue"),
    ({"lease-action": "acquire", "lease-duration": "14"}, "InvalidHeaderValue"),
    ({"lease-action": "acquire", "lease-duration": "61"}, "InvalidHeaderValue"),
    ({"lease-action": "acquire", "lease-duration": "0"}, "InvalidHeaderValue"),
    ({"lease-action": "acquire", "lease-duration": "15", "proposed-lease-id": "no"}, "InvalidHeaderValue"),
    ({"lease-action": "renew"}, "MissingRequiredHeader"),
    ({"lease-action": "change", "lease-id": A}, "MissingRequiredHeader"),
    ({"lease-action": "break", "lease-break-period": "61"}, "InvalidHeaderValue"),
    ({"lease-action": "break", "lease-break-period": "-1"}, "InvalidHeaderValue")])
def test_malformed(c, leased, headers, code):
    path = leased + ("&" if "?" in leased else "?") + "comp=lease"
    r = c.send("PUT", path, headers={"x-ms-" + k: v for k, v in headers.items()})
    assert (r.status, r.code) == (400, code)


def test_what_does_not_exist(c, box):
    assert acquire(c, "/%s/none" % box).code == "BlobNotFound"
    assert acquire(c, "/none?restype=container").code == "ContainerNotFound"
    c.block("/%s/staged" % box, block_id(1), b"1")
    assert acquire(c, "/%s/staged" % box).code == "BlobNotFound"


WRITES = [
    ("PUT", "", {"x-ms-blob-type": "BlockBlob"}, b"new"),
    ("PUT", "?comp=block&blockid=MDAwMDAwMDE%3D", {}, b"1"),
    ("PUT", "?comp=blocklist", {}, b"<BlockList/>"),
    ("PUT", "?comp=metadata", {"x-ms-meta-a": "1"}, b""),
    ("PUT", "?comp=properties", {"x-ms-blob-content-type": "a/b"}, b""),
    ("PUT", "?comp=tags", {}, b"<Tags><TagSet/></Tags>"),
    ("PUT", "?comp=tier", {"x-ms-access-tier": "Cool"}, b""),
    ("PUT", "?comp=snapshot", {}, b""),
    ("DELETE", "", {}, b""),
]


@pytest.mark.parametrize("method,query,headers,body", WRITES)
def test_writers_name_the_lease(c, box, method, query, headers, body):
    path = "/%s/w" % box
    c.put(path, b"x")

    def write(lease_id=None):
        named = dict(headers, **({"x-ms-lease-id": lease_id} if lease_id else {}))
        return c.send(method, path + query, body, named)
    assert (write(A).status, write(A).code) == (412, "LeaseNotPresentWithBlobOperation")
    acquire(c, path, proposed_lease_id=A)
    if "snapshot" in query:  # no change of the blob
        assert write().status == 201
    else:
        assert (write().status, write().code) == (412, "LeaseIdMissing")
    assert (write(B).status, write(B).code) == (412, "LeaseIdMismatchWithBlobOperation")
    lease(c, path, "break", lease_break_period=60)
    assert write(B).code == "LeaseIdMismatchWithBlobOperation"
    lease(c, path, "break", lease_break_period=0)
    assert (write(A).status, write(A).code) == (412, "LeaseLost")
    acquire(c, path, proposed_lease_id=A)
    r = write(A)
    assert r.status < 300, r.body
    if method != "DELETE":
        assert c.head(path)["x-ms-lease-state"] == "leased"
        lease(c, path, "break")
        assert write().status < 300


def test_overwriting_keeps_the_lease(c, box, emulator):
    path = "/%s/k" % box
    c.put(path, b"x")
    c.put("/%s/src" % box, b"source")
    acquire(c, path, proposed_lease_id=A)
    assert c.put(path, b"y", x_ms_lease_id=A).status == 201
    assert c.block(path, block_id(1), b"no").code == "LeaseIdMissing"
    assert c.commit(path, [], x_ms_lease_id=A).status == 201
    url = "http://%s/%s/%s/src" % (emulator.host, emulator.account, box)
    assert c.send("PUT", path, headers={"x-ms-copy-source": url}).code == "LeaseIdMissing"
    assert c.send("PUT", path, headers={"x-ms-copy-source": url, "x-ms-lease-id": A}).status == 202
    h = c.head(path)
    assert h["x-ms-lease-state"] == "leased" and c.get(path).body == b"source"
    assert lease(c, path, "renew", lease_id=A).status == 200


def test_reads_need_no_lease_but_check_one(c, box):
    path = "/%s/r" % box
    c.put(path, b"x")
    assert c.get(path, x_ms_lease_id=A).code == "LeaseNotPresentWithBlobOperation"
    acquire(c, path, proposed_lease_id=A)
    assert c.get(path).status == 200 and c.get(path, x_ms_lease_id=A).status == 200
    for r in (c.get(path, x_ms_lease_id=B), c.head(path, x_ms_lease_id=B)):
        assert (r.status, r.code) == (412, "LeaseIdMismatchWithBlobOperation")
    lease(c, path, "break")
    assert c.get(path, x_ms_lease_id=A).code == "LeaseLost"


def test_a_write_ends_a_broken_lease(c, box):
    path = "/%s/e" % box
    c.put(path, b"x")
    acquire(c, path, proposed_lease_id=A)
    lease(c, path, "break")
    assert c.send("PUT", path + "?comp=metadata", headers={"x-ms-meta-a": "1"}).status == 200
    assert c.head(path)["x-ms-lease-state"] == "available"


def test_container_operations(c, box):
    path = "/%s?restype=container" % box
    acquire(c, path, proposed_lease_id=A)
    assert c.put("/%s/b" % box, b"free").status == 201  # a container's lease is none of its blobs
    for comp in ("metadata", "acl"):
        assert c.send("PUT", path + "&comp=" + comp).status == 200
        assert c.send("PUT", path + "&comp=" + comp, headers={"x-ms-lease-id": A}).status == 200
        r = c.send("PUT", path + "&comp=" + comp, headers={"x-ms-lease-id": B})
        assert (r.status, r.code) == (412, "LeaseIdMismatchWithContainerOperation")
    r = c.send("GET", "?comp=list&prefix=" + box)
    p = r.xml.find("Containers/Container/Properties")
    assert (p.find("LeaseStatus").text, p.find("LeaseState").text, p.find("LeaseDuration").text) == (
        "locked", "leased", "infinite")
    r = c.send("DELETE", path)
    assert (r.status, r.code) == (412, "LeaseIdMissing")
    assert c.send("DELETE", path, headers={"x-ms-lease-id": B}).code == "LeaseIdMismatchWithContainerOperation"
    lease(c, path, "release", lease_id=A)
    assert c.send("DELETE", path, headers={"x-ms-lease-id": A}).code == "LeaseNotPresentWithContainerOperation"
    acquire(c, path, proposed_lease_id=A)
    assert c.send("DELETE", path, headers={"x-ms-lease-id": A}).status == 202


def test_listing_and_conditions(c, box):
    path = "/%s/l" % box
    etag = c.put(path, b"x")["etag"]
    p = "/%s/l?comp=lease" % box
    h = {"x-ms-lease-action": "acquire", "x-ms-lease-duration": "20", "If-Match": '"0x1"'}
    assert c.send("PUT", p, headers=h).code == "ConditionNotMet"
    assert c.send("PUT", p, headers=dict(h, **{"If-Match": etag})).status == 201
    props = c.list(box).xml.find("Blobs/Blob/Properties")
    assert [props.find(n).text for n in ("LeaseStatus", "LeaseState", "LeaseDuration")] == [
        "locked", "leased", "fixed"]
    container = "/%s?restype=container&comp=lease" % box
    assert c.send("PUT", container, headers=h).code == "ConditionHeadersNotSupported"


def test_who_may_delete_may_break(c, box, emulator):
    path = "/%s/s" % box
    c.put(path, b"x")
    acquire(c, path, proposed_lease_id=A)
    sas = azure_sign.service_sas(emulator.account, emulator.key, box, "s", sp="d", se=when(600))
    send = lambda action: c.send("PUT", path + "?comp=lease", headers={
        "x-ms-lease-action": action, "x-ms-lease-id": A}, sas=sas)
    assert send("release").code == "AuthorizationPermissionMismatch"
    assert send("break").status == 202


def test_leases_outlive_a_restart_and_a_kill(tmp_path):
    e = Emulator(tmp_path)
    c = Client(e)
    for path in ("/box?restype=container", "/gone?restype=container"):
        c.send("PUT", path)
    c.put("/box/b", b"x")
    acquire(c, "/box/b", proposed_lease_id=A)
    acquire(c, "/box?restype=container", 60, proposed_lease_id=B)
    e.kill(signal.SIGKILL)
    e.start()
    c = Client(e)
    assert c.put("/box/b", b"y").code == "LeaseIdMissing"
    assert c.put("/box/b", b"y", x_ms_lease_id=A).status == 201
    assert c.send("DELETE", "/box?restype=container").code == "LeaseIdMissing"
    assert lease(c, "/box?restype=container", "renew", lease_id=B).status == 200
    e.stop()


def test_expired_leases(tmp_path):
    """The shortest lease lasts 15 s: the state on disk is set back instead of waiting."""
    e = Emulator(tmp_path)
    c = Client(e)
    c.send("PUT", "/box?restype=container")
    names = ["renew", "write", "named", "stolen", "broken", "changed", "released", "read"]
    for name in names:
        c.put("/box/" + name, b"x")
        acquire(c, "/box/" + name, 15, proposed_lease_id=A)
    acquire(c, "/box?restype=container", 15, proposed_lease_id=B)
    e.stop()
    folder = next(root for root, _, files in os.walk(str(tmp_path)) if "blob.db" in files)
    db = sqlite3.connect(os.path.join(folder, "blob.db"))
    for table in ("blob", "container"):
        db.execute("UPDATE %s SET lease_end = lease_end - 60000000" % table)
    db.commit()
    db.close()
    e.start()
    c = Client(e)
    for name in names:
        assert state(c, "/box/" + name) == ("expired", "unlocked", None)
    assert lease(c, "/box/renew", "renew", lease_id=B).code == "LeaseIdMismatchWithLeaseOperation"
    assert lease(c, "/box/renew", "renew", lease_id=A).status == 200
    assert state(c, "/box/renew") == ("leased", "locked", "fixed")
    assert c.put("/box/named", b"y", x_ms_lease_id=A).code == "LeaseLost"
    assert c.get("/box/read", x_ms_lease_id=A).code == "LeaseLost"
    assert c.put("/box/write", b"y").status == 201
    assert lease(c, "/box/write", "renew", lease_id=A).code == "LeaseIdMismatchWithLeaseOperation"
    assert acquire(c, "/box/stolen", proposed_lease_id=B).status == 201
    r = lease(c, "/box/broken", "break", lease_break_period=30)
    assert r.status == 202 and r["x-ms-lease-time"] == "0"
    assert state(c, "/box/broken") == ("broken", "unlocked", None)
    r = lease(c, "/box/changed", "change", lease_id=A, proposed_lease_id=B)
    assert (r.status, r.code) == (409, "LeaseNotPresentWithLeaseOperation")
    assert lease(c, "/box/released", "release", lease_id=A).status == 200
    assert c.send("DELETE", "/box?restype=container", headers={"x-ms-lease-id": B}).code == "LeaseLost"
    assert c.send("DELETE", "/box?restype=container").status == 202
    e.stop()
