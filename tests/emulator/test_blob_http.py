"""The emulator's Blob service over HTTP, as any client sees it."""
import base64
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from email.utils import formatdate

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import azure_sign  # noqa: E402
from blob_client import (Client, Emulator, Reply, block_id, box, c, emulator, when)  # noqa: E402,F401
from harness import program  # noqa: E402


# --- containers --------------------------------------------------------------------------------

def test_container_life(c, box):
    r = c.send("PUT", "/%s?restype=container" % box)
    assert (r.status, r.code) == (409, "ContainerAlreadyExists")
    assert b"<Code>ContainerAlreadyExists</Code>" in r.body
    for method in ("GET", "HEAD"):
        r = c.send(method, "/%s?restype=container" % box)
        assert r.status == 200 and r["etag"].startswith('"0x') and r["last-modified"]
        assert r["x-ms-has-legal-hold"] == "false"
    r2 = c.send("PUT", "/%s?restype=container&comp=metadata" % box, headers={"x-ms-meta-Kind": "b"})
    assert r2.status == 200 and r2["etag"] != r["etag"]
    assert c.send("GET", "/%s?restype=container" % box)["x-ms-meta-kind"] == "b"
    assert c.send("DELETE", "/%s?restype=container" % box).status == 202
    r = c.send("HEAD", "/%s?restype=container" % box)
    assert (r.status, r.code, r.body) == (404, "ContainerNotFound", b"")
    assert c.put("/%s/b" % box, b"x").code == "ContainerNotFound"
    assert c.list(box).code == "ContainerNotFound"


@pytest.mark.parametrize("name,code", [("ab", "OutOfRangeInput"), ("Abc", "InvalidResourceName"),
                                       ("a--b", "InvalidResourceName"), ("-abc", "InvalidResourceName"),
                                       ("abc-", "InvalidResourceName"), ("a" * 64, "OutOfRangeInput")])
def test_container_names(c, name, code):
    r = c.send("PUT", "/%s?restype=container" % name)
    assert (r.status, r.code) == (400, code)


def test_list_containers_pages(c):
    names = ["page-%04x-%d" % (random.getrandbits(16), i) for i in range(5)]
    for n in names:
        c.send("PUT", "/%s?restype=container" % n, headers={"x-ms-meta-a": "1"})
    seen, marker = [], ""
    while True:
        r = c.send("GET", "?comp=list&prefix=page-&maxresults=2&include=metadata&marker=" +
                   urllib.parse.quote(marker, safe=""))
        assert r.status == 200
        for n in r.xml.find("Containers"):
            seen.append(n.find("Name").text)
            assert n.find("Properties/Etag").text.startswith('"0x')
            assert n.find("Metadata/a").text == "1"
        marker = r.xml.find("NextMarker").text or ""
        if not marker:
            break
    assert seen == sorted(names)
    for n in names:
        c.send("DELETE", "/%s?restype=container" % n)


def test_account_information(c, box):
    for path in ("/?restype=account&comp=properties", "/%s?restype=account&comp=properties" % box,
                 "/%s/some/blob?comp=properties&restype=account" % box):
        r = c.get(path)
        assert r.status == 200 and r["x-ms-is-hns-enabled"] == "false", path


# --- blobs -------------------------------------------------------------------------------------

def test_put_and_get(c, box):
    r = c.put("/%s/a" % box, b"hello", Content_Type="text/plain", x_ms_meta_Mtime="17",
              x_ms_client_request_id="mine")
    assert r.status == 201 and r["content-md5"] == "XUFAKrxLKna5cZ2REBfFkg=="
    assert r["x-ms-content-crc64"] == "V0JSBnCFdzM=" and r["x-ms-client-request-id"] == "mine"
    g = c.get("/%s/a" % box)
    assert (g.status, g.body, g["content-type"]) == (200, b"hello", "text/plain")
    assert g["etag"] == r["etag"] and g["x-ms-meta-mtime"] == "17" and g["accept-ranges"] == "bytes"
    h = c.head("/%s/a" % box)
    assert (h.status, h["content-length"], h.body) == (200, "5", b"")
    assert h["x-ms-blob-type"] == "BlockBlob" and h["x-ms-creation-time"] and h["content-md5"]
    assert h["x-ms-access-tier"] == "Hot" and h["x-ms-version"] == azure_sign.VERSION
    h = c.head("/%s/none" % box)
    assert (h.status, h.code, h.body) == (404, "BlobNotFound", b"")


def test_put_overrides(c, box):
    c.put("/%s/a" % box, b"x", Content_Type="text/plain", x_ms_blob_content_type="image/tiff",
          x_ms_blob_content_encoding="gzip", x_ms_blob_cache_control="no-cache",
          x_ms_blob_content_language="", x_ms_blob_content_disposition="inline")
    g = c.get("/%s/a" % box)
    assert g["content-type"] == "image/tiff" and g["content-encoding"] == "gzip"
    assert g["cache-control"] == "no-cache" and g["content-language"] is None
    c.put("/%s/a" % box, b"y")
    g = c.get("/%s/a" % box)
    assert g["content-type"] == "application/octet-stream" and g["content-encoding"] is None


def test_digests(c, box):
    good = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    assert c.put("/%s/a" % box, b"hello", Content_MD5=good).status == 201
    r = c.put("/%s/b" % box, b"hellO", Content_MD5=good)
    assert (r.status, r.code) == (400, "Md5Mismatch") and b"ServerCalculatedMd5" in r.body
    assert c.put("/%s/b" % box, b"hello", Content_MD5="xx").code == "InvalidMd5"
    assert c.put("/%s/b" % box, b"hello", x_ms_content_crc64="V0JSBnCFdzM=").status == 201
    assert c.put("/%s/b" % box, b"hellO", x_ms_content_crc64="V0JSBnCFdzM=").code == "Crc64Mismatch"
    assert c.put("/%s/b" % box, b"", x_ms_blob_content_md5=good).status == 201
    assert c.head("/%s/b" % box)["content-md5"] == good


def test_missing_headers(c, box):
    r = c.send("PUT", "/%s/a" % box, b"x")
    assert (r.status, r.code) == (400, "MissingRequiredHeader")
    assert c.send("PUT", "/%s/a" % box, headers={"x-ms-blob-type": "PageBlob"}).code == "UnsupportedHeader"
    assert c.put("/%s/a" % box, b"x", x_ms_meta_="v").code == "EmptyMetadataKey"
    assert c.send("PUT", "/%s/a" % box, b"", {"x-ms-blob-type": "BlockBlob", "x-ms-meta-a-b": "v"}
                  ).code == "InvalidMetadata"
    assert c.put("/%s/a" % box, b"x", x_ms_meta_a="v" * 8192).code == "MetadataTooLarge"
    s = socket.create_connection(c.emulator.host.split(":"), timeout=20)
    s.sendall(b"PUT /%s/%s/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
              % (c.emulator.account.encode(), box.encode()))
    assert s.recv(4096).startswith(b"HTTP/1.1 401")
    s.close()


def test_early_refusal_of_a_large_body(c, box):
    """The refusal arrives although the body was being sent, and the connection lives on."""
    s = socket.create_connection(c.emulator.host.split(":"), timeout=60)
    s.sendall(b"PUT /%s/%s/a HTTP/1.1\r\nHost: h\r\nContent-Length: 33554432\r\n\r\n"
              % (c.emulator.account.encode(), box.encode()))
    for _ in range(32):
        s.sendall(bytes(1 << 20))
    f = s.makefile("rb")
    assert b" 401 " in f.readline()
    length = 0
    while (line := f.readline().strip()):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    assert b"NoAuthenticationInformation" in f.read(length)
    s.sendall(b"GET /adafs/counters HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b" 200 " in f.readline()
    s.close()


def raw_answer(emulator, request):
    """What comes for these bytes, until the connection ends or the answer's head is there."""
    host, port = emulator.host.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as s:
        s.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            try:
                piece = s.recv(65536)
            except ConnectionResetError:
                piece = b""
            if not piece:
                break
            answer += piece
    return answer


@pytest.mark.parametrize("more", ("Content-Length: 3", "Content-Length: 5", "Transfer-Encoding: chunked"))
def test_a_body_ends_in_one_place_only(c, emulator, box, more):
    path = "/%s/%s/b" % (emulator.account, box)
    headers = {"x-ms-blob-type": "BlockBlob", "Content-Length": "5"}
    azure_sign.shared_key(emulator.account, emulator.key, "PUT", path, headers, 5)
    lines = ["PUT %s HTTP/1.1" % path, "Host: " + emulator.host] + ["%s: %s" % h for h in headers.items()]
    body = "0\r\n\r\n" if "chunked" in more else "hello"
    answer = raw_answer(emulator, "\r\n".join(lines + [more, "", body]).encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert c.get("/%s/b" % box).status == 404


def test_more_parameters_than_fit(c, emulator, box):
    """The connection ends; what the request began must not outlive it (checked when the emulator stops)."""
    request = "GET /%s/%s/b?%s HTTP/1.1\r\nHost: x\r\n\r\n" % (emulator.account, box, "a&" * 10000)
    assert not raw_answer(emulator, request.encode()).startswith(b"HTTP/1.1 2")
    assert c.get("/%s/b" % box).status == 404


def test_ranges(c, box):
    data = bytes(range(100))
    c.put("/%s/r" % box, data)
    for header in ("Range", "x-ms-range"):
        r = c.send("GET", "/%s/r" % box, headers={header: "bytes=10-19"})
        assert (r.status, r.body, r["content-range"]) == (206, data[10:20], "bytes 10-19/100")
        assert r["content-md5"] is None and r["x-ms-blob-content-md5"]
    r = c.send("GET", "/%s/r" % box, headers={"x-ms-range": "bytes=0-", "Range": "bytes=5-6"})
    assert (r.status, r.body, r["content-range"]) == (206, data, "bytes 0-99/100")
    assert c.get("/%s/r" % box, x_ms_range="bytes=90-200").body == data[90:]
    for text in ("bytes=-5", "bytes=9-3", "bytes=a-b", "lines=1-2", "bytes=1-2,4-5"):
        assert c.get("/%s/r" % box, x_ms_range=text).status == 200, text
    r = c.get("/%s/r" % box, x_ms_range="bytes=100-")
    assert (r.status, r.code, r["content-range"]) == (416, "InvalidRange", "bytes */100")
    c.put("/%s/empty" % box, b"")
    assert c.get("/%s/empty" % box, x_ms_range="bytes=0-5").status == 416
    assert c.get("/%s/empty" % box).body == b""
    r = c.get("/%s/r" % box, x_ms_range="bytes=1-2", x_ms_range_get_content_md5="true")
    assert r["content-md5"] == base64.b64encode(hashlib.md5(data[1:3]).digest()).decode()
    assert c.get("/%s/r" % box, x_ms_range="bytes=1-2", x_ms_range_get_content_crc64="true")[
        "x-ms-content-crc64"]
    assert c.get("/%s/r" % box, x_ms_range_get_content_md5="true").code == "InvalidHeaderValue"


NAMES = ["a//b", "/lead", "trail/", "dot.", "a/../b", "./x", "plus+and space", "per%cent", "q?m#h",
         "é/日本/😀", "tab\tname", "quote'\"<&>", "x" * 1024, "Upper", "upper", "a%2Fb", "~!*()"]


def test_names(c, box):
    for i, name in enumerate(NAMES):
        quoted = urllib.parse.quote(name, safe="/" if i % 2 else "")
        assert c.put("/%s/%s" % (box, quoted), name.encode()).status == 201, name
    for i, name in enumerate(NAMES):
        quoted = urllib.parse.quote(name, safe="" if i % 2 else "/!*'()+~")
        assert c.get("/%s/%s" % (box, quoted)).body == name.encode(), name
    assert [n for _, n in c.names(box)] == sorted(NAMES, key=lambda n: n.encode())
    assert c.put("/%s/%s" % (box, "y" * 1025), b"").status == 400
    assert c.put("/%s/%%ff%%fe" % box, b"").code == "InvalidUri"


def test_names_that_xml_cannot_carry(c, box):
    assert c.put("/%s/a%%01b/c" % box, b"").status == 201
    r = c.list(box)
    name = r.xml.find("Blobs/Blob/Name")
    assert name.get("Encoded") == "true" and urllib.parse.unquote(name.text) == "a\x01b/c"
    name = c.list(box, delimiter="/").xml.find("Blobs/BlobPrefix/Name")
    assert urllib.parse.unquote(name.text) == "a\x01b/"


# --- conditions --------------------------------------------------------------------------------

def test_conditions_of_reads(c, box):
    etag = c.put("/%s/a" % box, b"1")["etag"]
    past, future = formatdate(time.time() - 3600, usegmt=True), formatdate(time.time() + 3600, usegmt=True)
    p = "/%s/a" % box
    for method in (c.get, c.head):
        assert method(p, If_Match=etag).status == 200
        assert method(p, If_Match=etag.strip('"')).status == 200
        assert (method(p, If_Match='"0x1"').status) == 412
        r = method(p, If_None_Match=etag)
        assert (r.status, r.code, r.body, r["etag"]) == (304, "ConditionNotMet", b"", etag)
        assert method(p, If_None_Match='"0x1"').status == 200
        assert method(p, If_Modified_Since=future).status == 304
        assert method(p, If_Modified_Since=past).status == 200
        assert method(p, If_Unmodified_Since=past).status == 412
        assert method(p, If_None_Match=etag, If_Modified_Since=past).status == 200
        assert method(p, If_None_Match="*").status == 400
    assert c.get("/%s/none" % box, If_Match=etag).code == "BlobNotFound"


def test_conditions_of_writes(c, box):
    p = "/%s/a" % box
    r = c.put(p, b"1", If_Match='"0x1"')
    assert (r.status, r.code) == (412, "ConditionNotMet")
    etag = c.put(p, b"1", If_None_Match="*")["etag"]
    r = c.put(p, b"2", If_None_Match="*")
    assert (r.status, r.code) == (409, "BlobAlreadyExists")
    r = c.put(p, b"2", If_Match='"0x1"')
    assert (r.status, r.code) == (412, "ConditionNotMet")
    assert c.put(p, b"2", If_Match=etag, If_None_Match="*").code == "MultipleConditionHeadersNotSupported"
    etag2 = c.put(p, b"2", If_Match=etag)["etag"]
    assert etag2 != etag
    assert c.block(p, block_id(1), b"3").status == 201
    assert c.commit(p, [block_id(1)], If_Match=etag).code == "ConditionNotMet"
    assert c.commit(p, [block_id(1)], If_None_Match="*").code == "BlobAlreadyExists"
    assert c.commit(p, [block_id(1)], If_Match=etag2).status == 201
    assert c.get(p).body == b"3"
    assert c.send("DELETE", p, headers={"If-Match": etag2}).code == "ConditionNotMet"
    assert c.send("PUT", p + "?comp=metadata", headers={"If-Match": etag2}).code == "ConditionNotMet"
    for lease, code in (("x", "InvalidHeaderValue"), ("8e2b3f00-0000-4000-8000-000000000001",
                                                      "LeaseNotPresentWithBlobOperation")):
        assert c.put(p, b"", x_ms_lease_id=lease).code == code


# --- blocks ------------------------------------------------------------------------------------

def test_block_list(c, box):
    p = "/%s/big" % box
    parts = [os.urandom(70000 + i) for i in range(8)]
    order = list(range(8))
    random.shuffle(order)
    for i in order:
        r = c.block(p, block_id(i), parts[i])
        assert r.status == 201 and r["etag"] is None and r["x-ms-content-crc64"]
    assert c.head(p).code == "BlobNotFound"
    assert c.names(box) == [] and c.names(box, include="uncommittedblobs") == [("Blob", "big")]
    r = c.send("GET", p + "?comp=blocklist&blocklisttype=all")
    assert len(r.xml.find("UncommittedBlocks")) == 8 and len(r.xml.find("CommittedBlocks")) == 0
    r = c.commit(p, [block_id(i) for i in range(8)], x_ms_meta_a="1", Content_Type="text/xml")
    assert r.status == 201
    whole = b"".join(parts)
    g = c.get(p)
    assert g.body == whole and g["x-ms-meta-a"] == "1" and g["content-md5"] is None
    assert g["content-type"] == "application/octet-stream"
    for _ in range(50):
        a, b = sorted(random.sample(range(len(whole)), 2))
        assert c.get(p, x_ms_range="bytes=%d-%d" % (a, b)).body == whole[a:b + 1]
    assert c.commit(p, [block_id(0)], tag="Uncommitted").code == "InvalidBlockList"
    c.block(p, block_id(9), b"new")
    ids = [block_id(7), block_id(9), block_id(7)]
    assert c.commit(p, ids).status == 201
    assert c.get(p).body == parts[7] + b"new" + parts[7]
    r = c.send("GET", p + "?comp=blocklist")
    assert [b.find("Name").text for b in r.xml.find("CommittedBlocks")] == ids
    assert r["x-ms-blob-content-length"] == str(2 * len(parts[7]) + 3)
    assert c.commit(p, []).status == 201 and c.get(p).body == b""


def test_block_refusals(c, box):
    p = "/%s/b" % box
    assert c.block(p, block_id(1), b"x").status == 201
    assert c.block(p, base64.b64encode(b"longer id").decode(), b"x").code == "InvalidBlobOrBlock"
    assert c.block(p, "not base64!", b"x").code == "InvalidQueryParameterValue"
    assert c.block(p, base64.b64encode(b"x" * 65).decode(), b"x").code == "OutOfRangeInput"
    assert c.send("PUT", p + "?comp=block", b"x").code == "MissingRequiredQueryParameter"
    assert c.block(p, block_id(2), b"").code == "InvalidHeaderValue"
    assert c.commit(p, [block_id(7)]).code == "InvalidBlockList"
    r = c.send("PUT", p + "?comp=blocklist", b"<BlockList><Latest>")
    assert (r.status, r.code) == (400, "InvalidXmlDocument")
    assert c.block("/none-such/b", block_id(1), b"x").code == "ContainerNotFound"
    good = base64.b64encode(hashlib.md5(b"y").digest()).decode()
    q = p + "?comp=block&blockid=" + urllib.parse.quote(block_id(3))
    assert c.send("PUT", q, b"x", {"Content-MD5": good}).code == "Md5Mismatch"
    r = c.send("PUT", q, b"y", {"Content-MD5": good})
    assert r.status == 201 and r["content-md5"] == good
    assert c.put(p, b"whole").status == 201  # drops the staged blocks
    assert c.commit(p, [block_id(1)]).code == "InvalidBlockList"


def data_files(emulator):
    return [os.path.join(d, f) for d, _, fs in os.walk(os.path.join(emulator.path, "blob", "data"))
            for f in fs]


def test_parallel_blocks_share_one_file(c, emulator, box):
    before = set(data_files(emulator))
    p = "/%s/par" % box
    parts = [os.urandom(1 << 20) for _ in range(16)]
    errors = []

    def work(k):
        for i in range(k, 16, 4):
            if c.block(p, block_id(i), parts[i]).status != 201:
                errors.append(i)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    new = set(data_files(emulator)) - before
    assert len(new) == 1 and os.path.getsize(new.pop()) == 16 << 20
    assert c.commit(p, [block_id(i) for i in range(16)]).status == 201
    assert hashlib.sha256(c.get(p).body).digest() == hashlib.sha256(b"".join(parts)).digest()
    assert len(set(data_files(emulator)) - before) == 1
    c.send("DELETE", p)
    assert set(data_files(emulator)) <= before


def test_replaced_content_stays_readable(c, emulator, box):
    data = os.urandom(24 << 20)
    p = "/%s/run" % box
    c.put(p, data)
    url = "/%s%s" % (emulator.account, p)
    h = azure_sign.shared_key(emulator.account, emulator.key, "GET", url, {})
    k = http.client.HTTPConnection(emulator.host, timeout=60)
    k.request("GET", url, headers=h)
    r = k.getresponse()
    first = r.read(1 << 20)
    assert c.put(p, b"new").status == 201
    assert first + r.read() == data
    k.close()
    assert c.get(p).body == b"new"


# --- listing -----------------------------------------------------------------------------------

def test_listing(c, box):
    blobs = ["a", "a-b", "a.c", "a/1", "a/2", "a/b/3", "b", "b/x", "c"]
    for n in blobs:
        c.put("/%s/%s" % (box, n), n.encode(), x_ms_meta_n="1")
    assert c.names(box) == [("Blob", n) for n in blobs]
    assert c.names(box, delimiter="") == [("Blob", n) for n in blobs]
    assert c.names(box, delimiter="/") == [("Blob", "a"), ("Blob", "a-b"), ("Blob", "a.c"),
                                           ("BlobPrefix", "a/"), ("Blob", "b"), ("BlobPrefix", "b/"),
                                           ("Blob", "c")]
    assert c.names(box, delimiter="/", prefix="a/") == [("Blob", "a/1"), ("Blob", "a/2"),
                                                        ("BlobPrefix", "a/b/")]
    for delimiter in ("", "/"):
        for size in (1, 2, 3):
            seen, marker = [], ""
            while True:
                r = c.list(box, delimiter=delimiter, maxresults=size, marker=marker)
                page = [(n.tag, n.find("Name").text) for n in r.xml.find("Blobs")]
                assert len(page) <= size
                seen += page
                marker = r.xml.find("NextMarker").text or ""
                if not marker:
                    break
            assert seen == c.names(box, delimiter=delimiter)
    b = c.list(box, include="metadata", prefix="c").xml.find("Blobs/Blob")
    assert b.find("Metadata/n").text == "1" and b.find("Properties/Content-Length").text == "1"
    assert '"%s"' % b.find("Properties/Etag").text == c.head("/%s/c" % box)["etag"]
    assert c.list(box, maxresults=0).code == "OutOfRangeQueryParameterValue"
    assert c.list(box, maxresults=99999).status == 200
    assert c.list(box, include="permissions").code == "InvalidQueryParameterValue"
    assert c.list(box, include="snapshots", delimiter="/").status == 400
    assert c.list(box, include="").status == 200
    assert c.list(box, marker="%%%").status == 400


# --- snapshots, copies, deletes ----------------------------------------------------------------

def test_snapshots(c, emulator, box):
    before = len(data_files(emulator))
    p = "/%s/s" % box
    c.put(p, b"one", x_ms_meta_v="1")
    r = c.send("PUT", p + "?comp=snapshot")
    snap = r["x-ms-snapshot"]
    assert r.status == 201 and snap.endswith("Z") and len(snap) == 28
    assert len(data_files(emulator)) == before + 1
    c.put(p, b"two")
    q = p + "?snapshot=" + urllib.parse.quote(snap)
    g = c.get(q)
    assert g.body == b"one" and g["x-ms-meta-v"] == "1" and c.get(p).body == b"two"
    assert c.get(p + "?snapshot=2020-01-01T00:00:00.0000000Z").code == "BlobNotFound"
    assert c.put(q, b"no").status == 400
    second = c.send("PUT", p + "?comp=snapshot", headers={"x-ms-meta-w": "2"})["x-ms-snapshot"]
    blobs = c.list(box, include="snapshots,metadata").xml.findall("Blobs/Blob")
    assert [b.findtext("Snapshot") for b in blobs] == [snap, second, None]
    for size in (1, 2):
        seen, marker = [], ""
        while True:
            r = c.list(box, include="snapshots", maxresults=size, marker=marker)
            seen += [b.findtext("Snapshot") for b in r.xml.findall("Blobs/Blob")]
            marker = r.xml.findtext("NextMarker")
            if not marker:
                break
        assert seen == [snap, second, None]
    r = c.send("DELETE", p)
    assert (r.status, r.code) == (409, "SnapshotsPresent")
    assert c.send("DELETE", p + "?snapshot=" + urllib.parse.quote(second)).status == 202
    assert c.send("DELETE", p, headers={"x-ms-delete-snapshots": "only"}).status == 202
    assert c.get(q).code == "BlobNotFound" and c.get(p).body == b"two"
    c.send("PUT", p + "?comp=snapshot")
    assert c.send("DELETE", p, headers={"x-ms-delete-snapshots": "include"}).status == 202
    assert c.send("DELETE", p).code == "BlobNotFound"
    assert len(data_files(emulator)) == before


def test_copy(c, emulator, box):
    before = len(data_files(emulator))
    c.block("/%s/src" % box, block_id(1), b"abc")
    c.block("/%s/src" % box, block_id(2), b"def")
    c.commit("/%s/src" % box, [block_id(1), block_id(2)], x_ms_meta_k="1",
             x_ms_blob_content_type="image/tiff")
    source = "https://%s.blob.core.windows.net/%s/src" % (emulator.account, box)
    r = c.send("PUT", "/%s/dst" % box, headers={"x-ms-copy-source": source})
    assert (r.status, r["x-ms-copy-status"]) == (202, "success") and r["etag"]
    h = c.head("/%s/dst" % box)
    assert h["x-ms-copy-id"] == r["x-ms-copy-id"] and h["x-ms-copy-progress"] == "6/6"
    assert h["x-ms-meta-k"] == "1" and h["content-type"] == "image/tiff"
    assert c.get("/%s/dst" % box).body == b"abcdef"
    assert len(data_files(emulator)) == before + 1
    assert len(c.send("GET", "/%s/dst?comp=blocklist" % box).xml.find("CommittedBlocks")) == 2
    source = "http://%s/%s/%s/src" % (emulator.host, emulator.account, box)
    r = c.send("PUT", "/%s/d2" % box, headers={"x-ms-copy-source": source, "x-ms-requires-sync": "true",
                                               "x-ms-meta-new": "2"})
    assert r.status == 202
    h = c.head("/%s/d2" % box)
    assert h["x-ms-meta-new"] == "2" and h["x-ms-meta-k"] is None
    copy = lambda **k: c.send("PUT", "/%s/d2" % box, headers=dict({"x-ms-copy-source": source}, **{
        n.replace("_", "-"): v for n, v in k.items()}))
    assert copy(If_None_Match="*").code == "TargetConditionNotMet"
    assert copy(If_Match='"0x1"').code == "TargetConditionNotMet"
    assert copy(x_ms_source_if_match='"0x1"').code == "SourceConditionNotMet"
    assert copy(x_ms_source_if_match=c.head("/%s/src" % box)["etag"]).status == 202
    assert c.send("PUT", "/%s/x" % box, headers={"x-ms-copy-source": source + "no"}).code == "BlobNotFound"
    assert c.send("PUT", "/%s/x" % box, headers={"x-ms-copy-source": "http://example.org/a/b"}
                  ).code == "CannotVerifyCopySource"
    other = source.replace(emulator.host, "example.org")
    assert c.send("PUT", "/%s/x" % box, headers={"x-ms-copy-source": other}
                  ).code == "CannotVerifyCopySource"
    c.send("DELETE", "/%s/src" % box)
    assert c.get("/%s/dst" % box).body == b"abcdef"
    assert c.send("PUT", "/%s/dst" % box, headers={  # onto itself
        "x-ms-copy-source": source[:-3] + "dst"}).status == 202
    assert c.get("/%s/dst" % box).body == b"abcdef"


def test_from_url(c, emulator, box):
    data = os.urandom(100000)
    c.put("/%s/src" % box, data, x_ms_meta_k="1", x_ms_blob_content_type="image/png")
    plain = "http://%s/%s/%s/src" % (emulator.host, emulator.account, box)
    sas = azure_sign.service_sas(emulator.account, emulator.key, box, "src", sp="r", se=when(600))
    h = {"x-ms-blob-type": "BlockBlob", "x-ms-copy-source": plain}
    assert c.send("PUT", "/%s/u" % box, headers=h).code == "CannotVerifyCopySource"
    h["x-ms-copy-source"] += "?" + sas
    assert c.send("PUT", "/%s/u" % box, headers=h).status == 201
    g = c.get("/%s/u" % box)
    assert g.body == data and g["content-type"] == "image/png" and g["x-ms-copy-id"] is None
    for i, (a, b) in enumerate(((50000, 99999), (0, 49999))):
        r = c.send("PUT", "/%s/v?comp=block&blockid=%s" % (box, urllib.parse.quote(block_id(i))),
                   headers={"x-ms-copy-source": plain + "?" + sas,
                            "x-ms-source-range": "bytes=%d-%d" % (a, b)})
        assert r.status == 201 and r["x-ms-content-crc64"], r.body
    assert c.commit("/%s/v" % box, [block_id(0), block_id(1)]).status == 201
    assert c.get("/%s/v" % box).body == data[50000:] + data[:50000]
    # A range over two extents is copied.
    sas = azure_sign.service_sas(emulator.account, emulator.key, box, "v", sp="r", se=when(600))
    v = "http://%s/%s/%s/v?%s" % (emulator.host, emulator.account, box, sas)
    r = c.send("PUT", "/%s/w?comp=block&blockid=%s" % (box, urllib.parse.quote(block_id(0))),
               headers={"x-ms-copy-source": v, "x-ms-source-range": "bytes=49000-50999"})
    assert r.status == 201
    assert c.commit("/%s/w" % box, [block_id(0)]).status == 201
    assert c.get("/%s/w" % box).body == (data[50000:] + data[:50000])[49000:51000]


def test_metadata_properties_tier(c, box):
    p = "/%s/m" % box
    e0 = c.put(p, b"x", x_ms_meta_a="1", x_ms_blob_content_language="en")["etag"]
    r = c.send("PUT", p + "?comp=metadata", headers={"x-ms-meta-B": "2", "x-ms-meta-empty": ""})
    assert r.status == 200 and r["etag"] != e0
    g = c.send("GET", p + "?comp=metadata")
    assert g["x-ms-meta-b"] == "2" and g["x-ms-meta-a"] is None and g["x-ms-meta-empty"] == ""
    r2 = c.send("PUT", p + "?comp=properties", headers={"x-ms-blob-content-type": "a/b"})
    assert r2.status == 200 and r2["etag"] != r["etag"]
    h = c.head(p)
    assert h["content-type"] == "a/b" and h["content-language"] is None and h["content-md5"] is None
    assert h["x-ms-meta-b"] == "2"
    assert c.send("PUT", p + "?comp=tier", headers={"x-ms-access-tier": "Cool"}).status == 200
    h = c.head(p)
    assert h["x-ms-access-tier"] == "Cool" and h["etag"] == r2["etag"]


def test_what_is_not_there_says_so(c, box):
    c.put("/%s/l" % box, b"")
    for method, path, code in (
            ("PUT", "/%s/l?comp=expiry" % box, "UnsupportedQueryParameter"),
            ("PUT", "/%s/l?comp=legalhold" % box, "UnsupportedQueryParameter"),
            ("POST", "/%s/l?comp=query" % box, "UnsupportedQueryParameter"),
            ("PUT", "/%s/l?comp=page" % box, "InvalidBlobType"),
            ("PUT", "/%s/none?comp=page" % box, "BlobNotFound"),
            ("PUT", "/%s/none?comp=undelete" % box, "BlobNotFound"),
            ("PUT", "/none?restype=container&comp=undelete", "ContainerNotFound"),
            ("GET", "?restype=service&comp=stats", "InvalidQueryParameterValue"),
            ("POST", "/%s/l" % box, "UnsupportedHttpVerb"),
            ("GET", "/%s/l?comp=nonsense" % box, "InvalidQueryParameterValue")):
        r = c.send(method, path)
        assert r.code == code and r.xml.tag == "Error", path
    assert c.send("PUT", "/%s/l?comp=undelete" % box).status == 200
    r = c.get("/%s/l" % box, x_ms_version="2017-11-09")
    assert (r.status, r.code) == (400, "InvalidHeaderValue")
    assert c.get("/%s/l" % box, x_ms_version="2031-01-01")["x-ms-version"] == "2031-01-01"


# --- authentication ----------------------------------------------------------------------------

def test_shared_key(c, emulator, box):
    r = c.send("GET", "/%s?restype=container" % box, sign=False)
    assert (r.status, r.code) == (401, "NoAuthenticationInformation") and r["www-authenticate"]
    url = "/%s/%s?restype=container" % (emulator.account, box)

    def signed(**change):
        h = azure_sign.shared_key(emulator.account, emulator.key, "GET", url,
                                  dict(change.pop("headers", {})))
        h.update(change)
        k = http.client.HTTPConnection(emulator.host, timeout=30)
        k.request("GET", url, headers=h)
        reply = Reply(k.getresponse())
        k.close()
        return reply

    assert signed().status == 200
    r = signed(**{"x-ms-meta-more": "1"})
    assert (r.status, r.code) == (403, "AuthenticationFailed")
    assert b"AuthenticationErrorDetail" in r.body and emulator.key.encode() not in r.body
    old = formatdate(time.time() - 20 * 60, usegmt=True)
    assert signed(headers={"x-ms-date": old}).code == "AuthenticationFailed"
    assert signed(Authorization="SharedKey nonsense").code == "InvalidAuthenticationInfo"
    assert signed(Authorization="Basic eDp5").code == "InvalidAuthenticationInfo"
    assert signed(Authorization="SharedKey other:c2ln").code == "AuthenticationFailed"


def test_service_sas(c, emulator, box):
    sas = lambda blob=None, **p: azure_sign.service_sas(emulator.account, emulator.key, box, blob,
                                                        **dict({"se": when(600)}, **p))
    put = {"x-ms-blob-type": "BlockBlob"}
    name = "dir/a b+c%dé.txt"
    p = "/%s/%s" % (box, urllib.parse.quote(name))
    for sv in ("2018-11-09", "2020-12-06", "2022-11-02", "2026-04-06"):
        assert c.send("PUT", p, b"1", put, sas=sas(name, sp="cw", sv=sv)).status == 201, sv
    assert c.send("GET", p, sas=sas(name, sp="r")).body == b"1"
    assert c.send("GET", p, sas=sas(sp="r")).body == b"1"
    r = c.send("GET", p, sas=sas(name, sp="w"))
    assert (r.status, r.code) == (403, "AuthorizationPermissionMismatch")
    r = c.send("PUT", p, b"2", put, sas=sas(name, sp="c"))
    assert (r.status, r.code) == (403, "UnauthorizedBlobOverwrite")
    assert c.send("PUT", "/%s/fresh" % box, b"2", put, sas=sas("fresh", sp="c")).status == 201
    r = c.send("GET", "/%s/fresh" % box, sas=sas(name, sp="r"))
    assert r.code == "AuthenticationFailed" and b"sig=" not in r.body
    assert c.send("GET", p, sas=sas(name, sp="r", se=when(-60))).code == "AuthenticationFailed"
    assert c.send("GET", p, sas=sas(name, sp="r", st=when(60))).code == "AuthenticationFailed"
    assert c.send("GET", p, sas=sas(name, sp="r", sip="10.0.0.1")).code == "AuthorizationSourceIPMismatch"
    assert c.send("GET", p, sas=sas(name, sp="r", sip="127.0.0.0-127.0.0.9")).status == 200
    assert c.send("GET", p, sas=sas(name, sp="r", spr="https")).code == "AuthorizationProtocolMismatch"
    assert c.send("GET", p, sas=sas(name, sp="r", spr="https,http")).status == 200
    assert c.send("GET", p, sas=sas(name, sp="r", rsct="x/y"))["content-type"] == "x/y"
    assert c.send("GET", p, sas="sv=2020-12-06&sr=b").code == "AuthenticationFailed"
    lst = "/%s?restype=container&comp=list" % box
    assert c.send("GET", lst, sas=sas(sp="l")).status == 200
    assert c.send("GET", lst, sas=sas(sp="r")).code == "AuthorizationPermissionMismatch"
    r = c.send("GET", "/%s?restype=container" % box, sas=sas(sp="rwdl"))
    assert (r.status, r.code) == (403, "AuthorizationPermissionMismatch")
    snap = c.send("PUT", p + "?comp=snapshot")["x-ms-snapshot"]
    q = p + "?snapshot=" + urllib.parse.quote(snap)
    both = azure_sign.service_sas(emulator.account, emulator.key, box, name, sr="bs", sp="r",
                                  se=when(600), snapshot=snap)
    assert c.send("GET", p, sas=both).status == 200
    assert c.send("GET", q, sas=sas(sp="r")).status == 200
    assert c.send("GET", q, sas=sas(name, sp="r")).code == "AuthenticationFailed"


def test_account_sas(c, emulator, box):
    sas = lambda sp, **p: azure_sign.account_sas(emulator.account, emulator.key, sp, when(600), **p)
    assert c.send("GET", "/?comp=list", sas=sas("l")).status == 200
    assert c.send("GET", "/?comp=list", sas=sas("l", srt="o")).code == "AuthorizationResourceTypeMismatch"
    assert c.send("GET", "/?comp=list", sas=sas("l", ss="q")).code == "AuthorizationServiceMismatch"
    assert c.send("GET", "/%s?restype=container" % box, sas=sas("r")).status == 200
    assert c.send("GET", "/%s?restype=container&comp=acl" % box, sas=sas("rwdlacup")).status == 403
    assert c.send("PUT", "/%s/b" % box, b"1", {"x-ms-blob-type": "BlockBlob"},
                  sas=sas("w", sv="2018-11-09")).status == 201


def acl(**policies):
    text = "<?xml version='1.0' encoding='utf-8'?><SignedIdentifiers>"
    for name, (start, expiry, permission) in policies.items():
        text += "<SignedIdentifier><Id>%s</Id><AccessPolicy>" % name
        for tag, value in (("Start", start), ("Expiry", expiry), ("Permission", permission)):
            if value:
                text += "<%s>%s</%s>" % (tag, value, tag)
        text += "</AccessPolicy></SignedIdentifier>"
    return (text + "</SignedIdentifiers>").encode()


def test_stored_policies(c, emulator, box):
    p = "/%s?restype=container&comp=acl" % box
    c.put("/%s/b" % box, b"1")
    expiry = when(600).replace("Z", ".0000000Z")
    assert c.send("PUT", p, acl(p1=(None, expiry, "r"), p2=(None, None, "rl"))).status == 200
    r = c.send("GET", p)
    ids = r.xml.findall("SignedIdentifier")
    assert [i.findtext("Id") for i in ids] == ["p1", "p2"]
    assert ids[0].findtext("AccessPolicy/Expiry") == expiry
    sas = lambda blob="b", **q: azure_sign.service_sas(emulator.account, emulator.key, box, blob, **q)
    assert c.send("GET", "/%s/b" % box, sas=sas(si="p1")).body == b"1"
    assert c.send("GET", "/%s/b" % box, sas=sas(si="p2", se=when(60))).body == b"1"
    assert c.send("GET", "/%s/b" % box, sas=sas(si="p2")).code == "AuthenticationFailed"
    assert c.send("GET", "/%s/b" % box, sas=sas(si="nope", se=when(60), sp="r")).code == "AuthenticationFailed"
    r = c.send("GET", "/%s/b" % box, sas=sas(si="p1", sp="r"))
    assert (r.status, r.code) == (400, "InvalidQueryParameterValue")
    assert c.send("PUT", p, acl(p1=(None, when(-5), "r"))).status == 200  # cut at once
    assert c.send("GET", "/%s/b" % box, sas=sas(si="p1")).code == "AuthenticationFailed"
    six = acl(**{"i%d" % i: (None, expiry, "r") for i in range(6)})
    assert c.send("PUT", p, six).code == "InvalidXmlDocument"
    assert c.send("PUT", p, b"<x").code == "InvalidXmlDocument"
    assert c.send("PUT", p, b"").status == 200
    assert len(c.send("GET", p).xml) == 0
    assert c.send("PUT", p, b"", {"x-ms-blob-public-access": "blob"}).status == 200
    assert c.send("GET", "/%s/b" % box, sign=False).body == b"1"
    assert c.send("GET", "/%s?restype=container&comp=list" % box, sign=False).status == 401


# --- the process -------------------------------------------------------------------------------

def test_counters(c, emulator, box):
    def admin(method, path):
        k = http.client.HTTPConnection(emulator.host, timeout=30)
        k.request(method, path, headers={"Content-Length": "0"})
        r = Reply(k.getresponse())
        k.close()
        return r
    assert admin("POST", "/adafs/counters/reset").status == 204
    c.put("/%s/a" % box, b"1")
    c.get("/%s/a" % box)
    c.get("/%s/a" % box)
    c.list(box)
    j = json.loads(admin("GET", "/adafs/counters").body)
    assert j["operations"] == {"PutBlob": 1, "GetBlob": 2, "ListBlobs": 1} and j["total"] == 4
    for method, status in (("PUT", 201), ("GET", 200), ("DELETE", 202)):  # a container of that name
        assert c.send(method, "/counters?restype=container").status == status


def test_restart_keeps_everything(tmp_path):
    log = tmp_path / "access.log"
    e = Emulator(tmp_path / "state", "--access-log", str(log))
    try:
        c = Client(e)
        env = dict(e.env)
        c.send("PUT", "/keep?restype=container")
        etag = c.put("/keep/a", b"kept")["etag"]
        second = subprocess.run([program(), "emulator", "--dir", e.path], capture_output=True, text=True,
                                timeout=30)
        assert second.returncode == 1 and "already serves" in second.stderr
        assert (os.stat(e.path + "/key").st_mode & 0o777) == 0o600
        assert (os.stat(e.path + "/settings").st_mode & 0o777) == 0o600
        assert e.kill(signal.SIGTERM) == 0
        assert not os.path.exists(e.path + "/settings")
        e.start()
        assert e.env == env
        c = Client(e)
        g = c.get("/keep/a")
        assert g.body == b"kept" and g["etag"] == etag
        sas = azure_sign.service_sas(e.account, e.key, "keep", "a", sp="r", se=when(60))
        assert c.send("GET", "/keep/a", sas=sas).status == 200
        text = log.read_text()
        assert "PutBlob" in text and e.key not in text
        assert urllib.parse.parse_qs(sas)["sig"][0] not in urllib.parse.unquote(text)
    finally:
        e.stop()


def test_usage(tmp_path):
    run = lambda *a: subprocess.run([program(), "emulator", *a], capture_output=True, text=True, timeout=30)
    r = run("--slot", "2")
    assert r.returncode == 2 and "--slots" in r.stderr
    assert run("--help").returncode == 0
    assert run("--nodes", "none").returncode == 2
    r = run("--dir", str(tmp_path / "x"), "--blob", "0.0.0.0:0")
    assert r.returncode == 1 and "loopback" in r.stderr


def test_kill_loses_no_commit(tmp_path):
    """kill -9 in the middle of writers: whatever was answered 201 is there, whole; nothing else stays."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    e = Emulator(tmp_path / "state")
    committed, pending = {}, {}  # by name; one writer a name
    try:
        Client(e).send("PUT", "/kill?restype=container")
        for round_ in range(4):
            stop = threading.Event()
            progress = threading.Semaphore(0)

            def writer(k):
                c, n = Client(e), 0
                while not stop.is_set():
                    name = "/kill/%d-%d" % (k, n % 7)
                    data = b"%d:%d:%d:" % (round_, k, n) * (1 + (n * 37) % 9000)
                    n += 1
                    pending[name] = data
                    try:
                        if n % 2:
                            ok = c.put(name, data).status == 201
                        else:
                            half = len(data) // 2
                            ok = c.block(name, block_id(1), data[:half]).status == 201 and \
                                c.block(name, block_id(2), data[half:]).status == 201 and \
                                c.commit(name, [block_id(1), block_id(2)]).status == 201
                    except (OSError, http.client.HTTPException):
                        return
                    assert ok
                    committed[name] = pending.pop(name)
                    progress.release()

            threads = [threading.Thread(target=writer, args=(k,)) for k in range(4)]
            for t in threads:
                t.start()
            for _ in range(rng.randrange(20, 120)):
                assert progress.acquire(timeout=30)
            e.kill(signal.SIGKILL)
            stop.set()
            for t in threads:
                t.join()
            e.start()
            c = Client(e)
            for name in set(committed) | set(pending):
                g = c.get(name)
                if g.status == 404:
                    assert name not in committed, name
                else:
                    assert g.body in (committed.get(name), pending.get(name)), name
                    committed[name] = g.body
            pending.clear()
        for _, name in c.names("kill"):
            c.send("DELETE", "/kill/" + name)
        c.send("DELETE", "/kill?restype=container")
        e.stop()
        e.start()  # the sweep at start
        assert data_files(e) == []
    finally:
        e.stop()
