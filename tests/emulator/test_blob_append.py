"""Append blobs, and that the types of blobs do not mix."""
import base64
import hashlib
import os
import signal
import sys
import threading

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import azure_sign  # noqa: E402
from blob_client import Client, Emulator, block_id, box, c, emulator, when  # noqa: E402,F401


def create(c, path, **headers):
    return c.put(path, b"", x_ms_blob_type="AppendBlob", **headers)


def append(c, path, data, **headers):
    return c.send("PUT", path + "?comp=appendblock", data, {
        k.replace("_", "-"): v for k, v in headers.items()})


def test_life(c, box):
    path = "/%s/log" % box
    r = create(c, path, x_ms_meta_a="1", x_ms_blob_content_type="text/plain")
    assert r.status == 201 and r["etag"] and r["content-md5"] is None
    h = c.head(path)
    assert h["x-ms-blob-type"] == "AppendBlob" and h["x-ms-blob-committed-block-count"] == "0"
    assert h["content-length"] == "0" and h["x-ms-access-tier"] is None
    etags, data = {h["etag"]}, b""
    for n, part in enumerate((b"one", b"two\n", os.urandom(300000), b"end"), 1):
        r = append(c, path, part)
        assert r.status == 201 and r["x-ms-blob-append-offset"] == str(len(data))
        assert r["x-ms-blob-committed-block-count"] == str(n) and r["x-ms-content-crc64"]
        etags.add(r["etag"])
        data += part
    assert len(etags) == 5
    g = c.get(path)
    assert g.body == data and g["content-type"] == "text/plain" and g["x-ms-meta-a"] == "1"
    assert g["x-ms-blob-committed-block-count"] == "4"
    assert c.get(path, x_ms_range="bytes=2-5").body == data[2:6]
    p = c.list(box).xml.find("Blobs/Blob/Properties")
    assert p.find("BlobType").text == "AppendBlob" and p.find("Content-Length").text == str(len(data))
    assert p.find("AccessTier") is None


def test_checksums(c, box):
    path = "/%s/sum" % box
    create(c, path)
    md5 = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    assert append(c, path, b"hello", Content_MD5=md5)["content-md5"] == md5
    assert append(c, path, b"other", Content_MD5=md5).code == "Md5Mismatch"
    assert append(c, path, b"hello", x_ms_content_crc64="V0JSBnCFdzM=").status == 201
    assert append(c, path, b"other", x_ms_content_crc64="V0JSBnCFdzM=").code == "Crc64Mismatch"
    assert c.get(path).body == b"hellohello"


def test_conditions(c, box):
    path = "/%s/cond" % box
    create(c, path)
    assert append(c, path, b"12345", x_ms_blob_condition_appendpos="0").status == 201
    r = append(c, path, b"6", x_ms_blob_condition_appendpos="0")
    assert (r.status, r.code) == (412, "AppendPositionConditionNotMet")
    r = append(c, path, b"67890x", x_ms_blob_condition_maxsize="10")
    assert (r.status, r.code) == (412, "MaxBlobSizeConditionNotMet")
    assert append(c, path, b"67890", x_ms_blob_condition_maxsize="10").status == 201
    assert append(c, path, b"x", x_ms_blob_condition_appendpos="a").code == "InvalidHeaderValue"
    etag = c.head(path)["etag"]
    assert append(c, path, b"!", If_Match='"0x1"').code == "ConditionNotMet"
    assert append(c, path, b"!", If_Match=etag).status == 201
    assert create(c, path, If_None_Match="*").code == "BlobAlreadyExists"
    assert c.get(path).body == b"1234567890!"
    assert create(c, path).status == 201 and c.head(path)["content-length"] == "0"


def test_limits(c, box):
    path = "/%s/lim" % box
    assert append(c, path, b"x").code == "BlobNotFound"
    create(c, path)
    assert append(c, path, b"").code == "InvalidHeaderValue"
    big = b"\0" * (4 * 1024 * 1024 + 1)
    r = append(c, path, big, x_ms_version="2021-12-02")
    assert (r.status, r.code) == (413, "RequestBodyTooLarge") and b"<MaxLimit>4194304<" in r.body
    assert append(c, path, big, x_ms_version="2022-11-02").status == 201
    assert c.put(path, b"not empty", x_ms_blob_type="AppendBlob").code == "InvalidHeaderValue"
    assert create(c, path, x_ms_access_tier="Cool").code == "InvalidBlobTier"


def test_types_do_not_mix(c, box):
    log, block = "/%s/log" % box, "/%s/block" % box
    create(c, log)
    c.put(block, b"x")
    for r in (c.put(log, b"x"), c.block(log, block_id(1), b"x"), c.commit(log, []),
              c.send("GET", log + "?comp=blocklist"), create(c, block), append(c, block, b"x"),
              c.send("PUT", block + "?comp=seal"),
              c.send("PUT", log + "?comp=tier", headers={"x-ms-access-tier": "Cool"})):
        assert (r.status, r.code) == (409, "InvalidBlobType")
    assert c.send("DELETE", log).status == 202
    assert c.put(log, b"x").status == 201


def test_seal(c, box):
    path = "/%s/seal" % box
    create(c, path)
    append(c, path, b"x")
    assert c.send("PUT", path + "?comp=seal", headers={
        "x-ms-blob-condition-appendpos": "7"}).code == "AppendPositionConditionNotMet"
    for _ in range(2):
        r = c.send("PUT", path + "?comp=seal")
        assert r.status == 200 and r["x-ms-blob-sealed"] == "true"
    r = append(c, path, b"y")
    assert (r.status, r.code) == (409, "BlobIsSealed")
    assert c.head(path)["x-ms-blob-sealed"] == "true" and c.get(path)["x-ms-blob-sealed"] == "true"
    assert c.list(box).xml.find("Blobs/Blob/Properties/Sealed").text == "true"
    assert create(c, path).status == 201 and append(c, path, b"z").status == 201


def test_snapshots_and_copies_stay_as_they_were(c, box, emulator):
    path = "/%s/log" % box
    create(c, path)
    append(c, path, b"one")
    snapshot = c.send("PUT", path + "?comp=snapshot")["x-ms-snapshot"]
    url = "http://%s/%s%s" % (emulator.host, emulator.account, path)
    assert c.send("PUT", "/%s/copy" % box, headers={"x-ms-copy-source": url}).status == 202
    append(c, path, b"two")
    append(c, "/%s/copy" % box, b"2")
    assert c.get(path).body == b"onetwo"
    assert c.get(path + "?snapshot=" + snapshot).body == b"one"
    g = c.get("/%s/copy" % box)
    assert g.body == b"one2" and g["x-ms-blob-type"] == "AppendBlob"
    assert g["x-ms-blob-committed-block-count"] == "2"
    sealed = {"x-ms-copy-source": url, "x-ms-seal-blob": "true"}
    assert c.send("PUT", "/%s/sealed" % box, headers=sealed).status == 202
    assert append(c, "/%s/sealed" % box, b"x").code == "BlobIsSealed"


def test_from_url(c, box, emulator):
    c.put("/%s/src" % box, b"0123456789")
    path = "/%s/log" % box
    create(c, path)
    sas = azure_sign.service_sas(emulator.account, emulator.key, box, "src", sp="r", se=when(600))
    url = "http://%s/%s/%s/src?%s" % (emulator.host, emulator.account, box, sas)
    r = append(c, path, b"", x_ms_copy_source=url, x_ms_source_range="bytes=2-5")
    assert r.status == 201 and r["x-ms-blob-append-offset"] == "0"
    assert append(c, path, b"", x_ms_copy_source=url).status == 201
    assert append(c, path, b"", x_ms_copy_source=url, x_ms_source_if_match='"0x1"'
                  ).code == "SourceConditionNotMet"
    assert c.get(path).body == b"23450123456789"


def test_lease_and_permission(c, box, emulator):
    path = "/%s/log" % box
    create(c, path)
    sas = azure_sign.service_sas(emulator.account, emulator.key, box, "log", sp="a", se=when(600))
    assert c.send("PUT", path + "?comp=appendblock", b"x", sas=sas).status == 201
    lease_id = c.send("PUT", path + "?comp=lease", headers={
        "x-ms-lease-action": "acquire", "x-ms-lease-duration": "-1"})["x-ms-lease-id"]
    assert append(c, path, b"y").code == "LeaseIdMissing"
    assert append(c, path, b"y", x_ms_lease_id=lease_id).status == 201
    assert c.get(path).body == b"xy"


def test_what_was_answered_survives_a_kill(tmp_path):
    e = Emulator(tmp_path)
    c = Client(e)
    c.send("PUT", "/box?restype=container")
    create(c, "/box/log")
    for n in range(20):
        append(c, "/box/log", b"%d," % n)
    e.kill(signal.SIGKILL)
    e.start()
    c = Client(e)
    want = b"".join(b"%d," % n for n in range(20))
    assert c.get("/box/log").body == want
    assert append(c, "/box/log", b"!", x_ms_blob_condition_appendpos=str(len(want))).status == 201
    assert c.get("/box/log").body == want + b"!"
    e.stop()


@pytest.mark.parametrize("n", [40])
def test_many_appends_are_one_extent_each_way(c, box, n):
    """Two blobs that grow in turn: neither sees the other's bytes."""
    for name in "ab":
        create(c, "/%s/%s" % (box, name))
    for i in range(n):
        for name in "ab":
            append(c, "/%s/%s" % (box, name), b"%s%d;" % (name.encode(), i))
    for name in "ab":
        assert c.get("/%s/%s" % (box, name)).body == b"".join(b"%s%d;" % (name.encode(), i) for i in range(n))


def together(n, work):
    """work(i) in n threads at once; what they returned."""
    results, barrier = [None] * n, threading.Barrier(n)

    def run(i):
        barrier.wait()
        results[i] = work(i)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def test_appends_at_once(c, box):
    path = "/%s/log" % box
    create(c, path)
    rounds = together(8, lambda i: [append(c, path, b"%d%03d;" % (i, n)) for n in range(25)])
    replies = [r for replies in rounds for r in replies]
    assert {r.status for r in replies} == {201}
    assert sorted(int(r["x-ms-blob-append-offset"]) for r in replies) == [5 * n for n in range(200)]
    assert sorted(int(r["x-ms-blob-committed-block-count"]) for r in replies) == list(range(1, 201))
    body = c.get(path).body
    for i, replies in enumerate(rounds):
        for n, r in enumerate(replies):
            at = int(r["x-ms-blob-append-offset"])
            assert body[at:at + 5] == b"%d%03d;" % (i, n)


def test_one_position_has_one_winner(c, box):
    path = "/%s/log" % box
    create(c, path)
    replies = together(8, lambda i: append(c, path, b"x", x_ms_blob_condition_appendpos="0"))
    assert sorted(r.status for r in replies) == [201] + [412] * 7
    leases = together(8, lambda i: c.send("PUT", path + "?comp=lease", headers={
        "x-ms-lease-action": "acquire", "x-ms-lease-duration": "-1"}))
    assert sorted(r.status for r in leases) == [201] + [409] * 7
