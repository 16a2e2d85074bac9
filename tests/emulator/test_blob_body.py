"""Checksums of bodies, bodies in checksummed segments, and the small print of requests."""
import base64
import hashlib
import os
import struct
import sys
import urllib.parse

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import azure_sign  # noqa: E402
from blob_client import block_id, box, c, emulator, when  # noqa: E402,F401

TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x9A6C9329AC4BC9B5 if n & 1 else 0)
    TABLE.append(n)


def crc64(data):
    crc = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFFFFFFFFFF


def crc_text(data):
    return base64.b64encode(struct.pack("<Q", crc64(data))).decode()


def md5(data):
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def wrap(parts, crc=True, flags=None, numbers=None, spoil=None):
    """The structured message of these segments."""
    body = b""
    for n, part in enumerate(parts, 1):
        number = numbers[n - 1] if numbers else n
        body += struct.pack("<HQ", number, len(part)) + part
        if crc:
            body += struct.pack("<Q", crc64(part) ^ (1 if spoil == n else 0))
    if crc:
        body += struct.pack("<Q", crc64(b"".join(parts)) ^ (1 if spoil == "all" else 0))
    flags = (1 if crc else 0) if flags is None else flags
    return struct.pack("<BQHH", 1, len(body) + 13, flags, len(parts)) + body


def wrapped(c, path, parts, body=None, length=None, **headers):
    h = {"x-ms-structured-body": "XSM/1.0; properties=crc64",
         "x-ms-structured-content-length": str(sum(map(len, parts)) if length is None else length)}
    h.update({k.replace("_", "-"): v for k, v in headers.items()})
    return c.send("PUT", path, wrap(parts) if body is None else body, h)


TARGETS = ["blob", "block", "append"]


@pytest.fixture
def put(c, box):
    """Write a wrapped body in one of three ways; read what arrived."""
    def write(how, parts, **kw):
        path = "/%s/%s" % (box, how)
        if how == "blob":
            kw.setdefault("x_ms_blob_type", "BlockBlob")
            return wrapped(c, path, parts, **kw)
        if how == "append":
            c.put(path, b"", x_ms_blob_type="AppendBlob")
            return wrapped(c, path + "?comp=appendblock", parts, **kw)
        return wrapped(c, path + "?comp=block&blockid=" + urllib.parse.quote(block_id(1), safe=""), parts, **kw)

    def read(how):
        if how == "block":
            assert c.commit("/%s/block" % box, [block_id(1)]).status == 201
        return c.get("/%s/%s" % (box, how)).body
    write.read = read
    return write


@pytest.mark.parametrize("how", TARGETS)
@pytest.mark.parametrize("parts", [[b"hello"], [b"one", b"two", b"three"], [os.urandom(50000)] * 3, [b"", b"x"]])
def test_wrapped(put, how, parts):
    r = put(how, parts)
    assert r.status == 201, r.body
    assert r["x-ms-structured-body"] == "XSM/1.0; properties=crc64"
    assert r["x-ms-content-crc64"] == crc_text(b"".join(parts))
    assert put.read(how) == b"".join(parts)


@pytest.mark.parametrize("how", TARGETS)
def test_wrapped_wrongly(put, how):
    parts = [b"hello", b"world"]
    good = wrap(parts)
    for body, code in ((wrap(parts, spoil=1), "Crc64Mismatch"), (wrap(parts, spoil=2), "Crc64Mismatch"),
                       (wrap(parts, spoil="all"), "Crc64Mismatch"), (good[:-1], "InvalidInput"),
                       (wrap(parts, numbers=[2, 1]), "InvalidInput"), (good + b"x", "InvalidInput"),
                       (b"\2" + good[1:], "InvalidInput"), (wrap(parts, flags=2), "InvalidInput"),
                       (wrap([b"hello", b"worlds"]), "InvalidInput"), (b"plain bytes, long enough to be read", "InvalidInput")):
        r = put(how, parts, body=body)
        assert (r.status, r.code) == (400, code), body
    assert put(how, parts, length="").code == "MissingRequiredHeader"
    assert put(how, parts, length="x").code == "InvalidHeaderValue"
    assert put(how, parts, length=10 ** 9).code == "InvalidHeaderValue"
    assert put(how, parts, x_ms_structured_body="XSM/2.0; properties=crc64").code == "UnsupportedHeader"
    assert put(how, parts).status == 201 and put.read(how) == b"helloworld"


def test_wrapping_where_no_bytes_go(c, box):
    c.put("/%s/b" % box, b"x")
    r = wrapped(c, "/%s/b?comp=tags" % box, [b"<Tags/>"])
    assert (r.status, r.code) == (400, "UnsupportedHeader")


def test_checksums_of_every_body(c, box):
    path = "/%s/b" % box
    c.put(path, b"x")
    acl, tags, blocks = b"<SignedIdentifiers/>", b"<Tags><TagSet/></Tags>", b"<BlockList/>"
    for query, body in ((path + "?comp=blocklist", blocks), (path + "?comp=tags", tags),
                        ("/%s?restype=container&comp=acl" % box, acl)):
        put = lambda **h: c.send("PUT", query, body, {k.replace("_", "-"): v for k, v in h.items()})
        assert put(Content_MD5=md5(body)).status < 300 and put(x_ms_content_crc64=crc_text(body)).status < 300
        assert put(Content_MD5=md5(b"other")).code == "Md5Mismatch"
        assert put(Content_MD5="short").code == "InvalidMd5"
        assert put(x_ms_content_crc64=crc_text(b"other")).code == "Crc64Mismatch"
        assert put(Content_MD5=md5(body), x_ms_content_crc64=crc_text(body)).code == "InvalidHeaderValue"


def test_conditions_are_refused_where_they_mean_nothing(c, box, emulator):
    path = "/%s/b" % box
    etag = c.put(path, b"x")["etag"]
    for headers in ({"If-Match": etag}, {"If-None-Match": "*"},
                    {"If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}, {"x-ms-if-tags": "a = 'b'"}):
        for p in (path + "?comp=block&blockid=MDAw", path + "?comp=copy&copyid=x",
                  "/%s-new?restype=container" % box):
            r = c.send("PUT", p, b"x" if "block" in p else b"", dict(headers, **{"x-ms-copy-action": "abort"}))
            assert (r.status, r.code) == (400, "ConditionHeadersNotSupported"), p
    for headers in ({"If-Match": etag}, {"If-None-Match": "*"}):
        for method, p in (("DELETE", "/%s?restype=container" % box),
                          ("PUT", "/%s?restype=container&comp=acl" % box),
                          ("PUT", "/%s?restype=container&comp=metadata" % box)):
            assert c.send(method, p, headers=headers).code == "ConditionHeadersNotSupported"
    r = c.send("PUT", "/%s?restype=container&comp=metadata" % box,
               headers={"If-Unmodified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"})
    assert r.code == "ConditionHeadersNotSupported"
    # Browsers send these of their own accord.
    for p in ("/%s?restype=container" % box, "/%s?restype=container&comp=list" % box, "?comp=list"):
        assert c.send("GET", p, headers={"If-None-Match": "*"}).status == 200


def test_dates_of_containers(c, box):
    past, future = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
    path = "/%s?restype=container" % box
    for headers in ({"If-Modified-Since": future}, {"If-Unmodified-Since": past}):
        for method, query in (("DELETE", ""), ("PUT", "&comp=acl")):
            r = c.send(method, path + query, headers=headers)
            assert (r.status, r.code) == (412, "ConditionNotMet")
    assert c.send("PUT", path + "&comp=metadata", headers={"If-Modified-Since": future}).code == "ConditionNotMet"
    assert c.send("PUT", path + "&comp=acl", headers={"If-Unmodified-Since": future}).status == 200


def test_snapshots_wherever_they_may_be_named(c, box):
    path = "/%s/b" % box
    c.block(path, block_id(1), b"old")
    c.commit(path, [block_id(1)], x_ms_meta_a="1")
    r = c.send("PUT", path + "?comp=snapshot")
    q = "snapshot=" + urllib.parse.quote(r["x-ms-snapshot"], safe="")
    c.put(path, b"new")
    assert c.get(path + "?" + q).body == b"old" and c.head(path + "?" + q)["x-ms-meta-a"] == "1"
    assert c.head(path + "?" + q)["x-ms-lease-status"] is None
    assert c.send("GET", path + "?comp=metadata&" + q)["x-ms-meta-a"] == "1"
    assert len(c.send("GET", path + "?comp=blocklist&" + q).xml.findall("CommittedBlocks/Block")) == 1
    assert c.send("PUT", path + "?comp=tier&" + q, headers={"x-ms-access-tier": "Cool"}).status == 200
    assert c.head(path + "?" + q)["x-ms-access-tier"] == "Cool" and c.head(path)["x-ms-access-tier"] == "Hot"
    for p in ("?comp=metadata&", "?comp=properties&", "?comp=lease&", "?"):
        r = c.send("PUT", path + p + q, headers={"x-ms-blob-type": "BlockBlob"})
        assert r.code == "InvalidQueryParameterValue", p
    listed = c.list(box, include="snapshots").xml.findall("Blobs/Blob")
    assert [b.find("Snapshot") is not None for b in listed] == [True, False]
    assert c.send("DELETE", path).code == "SnapshotsPresent"
    assert c.send("DELETE", path, headers={"x-ms-delete-snapshots": "only"}).status == 202
    assert c.get(path + "?" + q).code == "BlobNotFound" and c.get(path).body == b"new"
    assert c.get(path + "?snapshot=nonsense").code == "InvalidQueryParameterValue"


def test_listing_includes(c, box):
    c.put("/%s/b" % box, b"x", x_ms_meta_a="1")
    c.block("/%s/staged" % box, block_id(1), b"x")
    words = ("snapshots,metadata,uncommittedblobs,copy,deleted,tags,versions,deletedwithversions,"
             "immutabilitypolicy,legalhold")
    r = c.list(box, include=words)
    assert [b.find("Name").text for b in r.xml.find("Blobs")] == ["b", "staged"]
    for bad in ("permissions", "nonsense", "metadata,nonsense"):
        assert c.list(box, include=bad).code == "InvalidQueryParameterValue"
    assert [n for _, n in c.names(box, startFrom="c", include="uncommittedblobs")] == ["staged"]
    r = c.send("GET", "?comp=list&include=metadata,deleted,system&prefix=" + box)
    assert [e.text for e in r.xml.iter("Name")] == [box]
    assert c.send("PUT", "/$logs?restype=container").status in (201, 409)
    seen = lambda q: [e.text for e in c.send("GET", "?comp=list" + q).xml.iter("Name")]
    assert "$logs" not in seen("") and "$logs" in seen("&include=system")
    c.send("DELETE", "/$logs?restype=container")
