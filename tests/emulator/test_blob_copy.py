"""Copies in all forms: Copy Blob, its synchronous form, Put Blob From URL, Put Block From URL."""
import base64
import hashlib
import os
import sys
import urllib.parse

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import azure_sign  # noqa: E402
from blob_client import block_id, box, c, emulator, when  # noqa: E402,F401
from harness import wait_for  # noqa: E402


class Source:
    def __init__(self, c, emulator, box, name="src"):
        self.c, self.e, self.box, self.name = c, emulator, box, name
        self.path = "/%s/%s" % (box, name)

    def url(self, host=None):
        return "http://%s/%s%s" % (host or self.e.host, self.e.account, self.path)

    def signed(self, sp="r", se=600, **p):
        return self.url() + "?" + azure_sign.service_sas(self.e.account, self.e.key, self.box,
                                                         self.name, sp=sp, se=when(se), **p)


@pytest.fixture
def source(c, emulator, box):
    s = Source(c, emulator, box)
    s.data = os.urandom(100000)
    c.put(s.path, s.data, x_ms_meta_k="1", x_ms_blob_content_type="image/png",
          x_ms_blob_cache_control="no-store", x_ms_tags="a=b")
    return s


def send(c, path, **headers):
    return c.send("PUT", path, headers={k.replace("_", "-"): v for k, v in headers.items()})


def copy_of(c, source, kind, path, url=None, **headers):
    url = url or source.signed()
    if kind == "put":
        headers.setdefault("x_ms_blob_type", "BlockBlob")
    if kind == "sync":
        headers["x_ms_requires_sync"] = "true"
    if kind == "block":
        path += "?comp=block&blockid=MDAwMDAwMDE%3D"
    return send(c, path, x_ms_copy_source=url, **headers)


KINDS = ["async", "sync", "put", "block"]


def md5(data):
    return base64.b64encode(hashlib.md5(data).digest()).decode()


@pytest.mark.parametrize("kind", KINDS)
def test_refused_sources(c, box, source, kind):
    target = "/%s/t" % box

    def check(url, status, code, **headers):
        r = copy_of(c, source, kind, target, url, **headers)
        assert (r.status, r.code) == (status, "CannotVerifyCopySource"), r.body
        assert r["x-ms-copy-source-status-code"] == str(status)
        assert r["x-ms-copy-source-error-code"] == code
    check(source.signed(sp="w"), 403, "AuthorizationPermissionMismatch")
    check(source.signed(se=-600), 403, "AuthenticationFailed")
    check(source.signed()[:-6] + "AAAAAA", 403, "AuthenticationFailed")
    if kind in ("put", "block"):
        check(source.url(), 404, "ResourceNotFound")  # the account's key reaches no further
    missing = Source(c, source.e, box, "missing")
    r = copy_of(c, source, kind, target, missing.signed())
    assert r.status == 404 and r.code in ("BlobNotFound", "CannotVerifyCopySource")
    r = copy_of(c, source, kind, target, "http://example.org/a/b")
    assert (r.status, r.code) == (404, "CannotVerifyCopySource")
    for url in ("nonsense", "http://%s/%s" % (source.e.host, source.e.account)):
        assert copy_of(c, source, kind, target, url).status in (400, 404)
    assert c.get(target).code == "BlobNotFound"


@pytest.mark.parametrize("kind", KINDS)
def test_source_conditions(c, box, source, kind):
    etag, target = c.head(source.path)["etag"], "/%s/t" % box
    for headers in ({"x_ms_source_if_match": '"0x1"'}, {"x_ms_source_if_none_match": etag},
                    {"x_ms_source_if_modified_since": "Fri, 01 Jan 2100 00:00:00 GMT"},
                    {"x_ms_source_if_unmodified_since": "Sat, 01 Jan 2000 00:00:00 GMT"},
                    {"x_ms_source_if_tags": "\"a\" = 'c'"}):
        r = copy_of(c, source, kind, target, **headers)
        assert (r.status, r.code) == (412, "SourceConditionNotMet"), headers
    r = copy_of(c, source, kind, target, x_ms_source_if_match=etag, x_ms_source_if_tags="a = 'b'")
    assert r.status in (201, 202)


@pytest.mark.parametrize("kind", ["sync", "put", "block"])
def test_source_digests(c, box, source, kind):
    target = "/%s/t" % box
    r = copy_of(c, source, kind, target, x_ms_source_content_md5=md5(b"other"))
    assert (r.status, r.code) == (400, "Md5Mismatch")
    r = copy_of(c, source, kind, target, x_ms_source_content_crc64="AAAAAAAAAAA=")
    assert (r.status, r.code) == (400, "Crc64Mismatch")
    r = copy_of(c, source, kind, target, x_ms_source_content_md5=md5(source.data))
    assert r.status in (201, 202) and r["content-md5"] == md5(source.data)


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_copy_headers(c, box, source, kind):
    target = "/%s/t" % box
    r = copy_of(c, source, kind, target, source.url())  # the same key reaches the source
    assert r.status == 202 and r["x-ms-copy-status"] == "success" and r["etag"]
    h = c.head(target)
    assert h["x-ms-copy-id"] == r["x-ms-copy-id"] and h["x-ms-copy-status"] == "success"
    assert h["x-ms-copy-progress"] == "100000/100000" and h["x-ms-copy-completion-time"]
    assert h["x-ms-copy-source"] == source.url() and h["x-ms-meta-k"] == "1"
    assert h["content-type"] == "image/png" and h["cache-control"] == "no-store"
    assert h["x-ms-tag-count"] is None  # tags stay behind
    assert c.get(target).body == source.data
    copy_of(c, source, kind, target, source.signed())
    assert "sig" not in c.head(target)["x-ms-copy-source"]
    p = c.list(box, include="copy", prefix="t").xml.find("Blobs/Blob/Properties")
    assert p.find("CopyStatus").text == "success" and p.find("CopyProgress").text == "100000/100000"
    assert c.put(target, b"new").status == 201 and c.head(target)["x-ms-copy-id"] is None


def test_copy_as_the_service_is_named(c, box, source):
    """Clients write the service's own host whatever endpoint they use."""
    url = "https://%s.blob.core.windows.net%s" % (source.e.account, source.path)
    assert send(c, "/%s/t" % box, x_ms_copy_source=url).status == 202
    assert c.get("/%s/t" % box).body == source.data


def test_abort(c, box, source):
    target = "/%s/t" % box
    copy_id = copy_of(c, source, "async", target)["x-ms-copy-id"]
    path = target + "?comp=copy&copyid=" + copy_id
    r = send(c, path, x_ms_copy_action="abort")
    assert (r.status, r.code) == (409, "NoPendingCopyOperation")
    assert send(c, path).code == "MissingRequiredHeader"
    assert send(c, target + "?comp=copy", x_ms_copy_action="abort").code == "MissingRequiredQueryParameter"
    assert send(c, "/%s/none?comp=copy&copyid=x" % box, x_ms_copy_action="abort").code == "BlobNotFound"


def test_tags_of_copies(c, box, source):
    target = "/%s/t" % box
    for kind in ("async", "put"):
        assert copy_of(c, source, kind, target, x_ms_copy_source_tag_option="COPY").status in (201, 202)
        assert c.head(target)["x-ms-tag-count"] == "1"
        copy_of(c, source, kind, target, x_ms_tags="x=1&y=2")
        assert c.head(target)["x-ms-tag-count"] == "2"
        assert copy_of(c, source, kind, target, x_ms_tags="x=1", x_ms_copy_source_tag_option="COPY"
                       ).code == "InvalidHeaderValue"


def test_put_from_url_properties(c, box, source):
    target = "/%s/t" % box
    r = copy_of(c, source, "put", target, x_ms_blob_content_type="text/plain")
    assert r.status == 201 and r["content-md5"] == md5(source.data) and r["x-ms-content-crc64"]
    h = c.head(target)
    assert h["content-type"] == "text/plain" and h["cache-control"] == "no-store"
    assert h["content-md5"] == md5(source.data) and h["x-ms-meta-k"] == "1"
    assert h["x-ms-copy-id"] is None
    copy_of(c, source, "put", target, x_ms_copy_source_blob_properties="false", x_ms_meta_own="2")
    h = c.head(target)
    assert h["content-type"] == "application/octet-stream" and h["cache-control"] is None
    assert h["x-ms-meta-k"] is None and h["x-ms-meta-own"] == "2"
    assert copy_of(c, source, "put", target, x_ms_blob_type="AppendBlob").code == "InvalidHeaderValue"
    assert copy_of(c, source, "put", target, If_None_Match="*").code == "BlobAlreadyExists"
    r = copy_of(c, source, "put", target, x_ms_access_tier="Cool", x_ms_blob_content_md5=md5(b"claimed"))
    h = c.head(target)
    assert h["x-ms-access-tier"] == "Cool" and h["content-md5"] == md5(b"claimed")


def test_put_from_url_of_blocks_has_a_digest(c, box, emulator):
    c.block("/%s/b" % box, block_id(1), b"one")
    c.block("/%s/b" % box, block_id(2), b"two")
    c.commit("/%s/b" % box, [block_id(2), block_id(1)])
    s = Source(c, emulator, box, "b")
    assert copy_of(c, s, "put", "/%s/t" % box)["content-md5"] == md5(b"twoone")
    assert c.send("GET", "/%s/t?comp=blocklist" % box).xml.find("CommittedBlocks/Block") is None
    assert copy_of(c, s, "async", "/%s/u" % box).status == 202
    ids = [n.text for n in c.send("GET", "/%s/u?comp=blocklist" % box).xml.iter("Name")]
    assert ids == [block_id(2), block_id(1)]


def test_ranges_of_blocks(c, box, source):
    def block(n, a, b, **headers):
        q = urllib.parse.quote(block_id(n), safe="")
        return send(c, "/%s/t?comp=block&blockid=%s" % (box, q), x_ms_copy_source=source.signed(),
                    x_ms_source_range="bytes=%s-%s" % (a, b), **headers)
    assert block(1, 5, 9)["x-ms-content-crc64"]
    r = block(2, 0, 4, x_ms_source_content_md5=md5(source.data[:5]))
    assert r["content-md5"] == md5(source.data[:5])
    assert block(3, 100000, 100001).code == "InvalidRange"
    assert block(2, 0, 4, x_ms_source_content_md5=md5(b"x")).code == "Md5Mismatch"
    assert c.commit("/%s/t" % box, [block_id(1), block_id(2)]).status == 201
    assert c.get("/%s/t" % box).body == source.data[5:10] + source.data[:5]


def test_snapshot_sources(c, box, source):
    when_ = send(c, source.path + "?comp=snapshot")["x-ms-snapshot"]
    c.put(source.path, b"new")
    r = send(c, "/%s/t" % box, x_ms_copy_source=source.url() + "?snapshot=" + when_)
    assert r.status == 202 and c.get("/%s/t" % box).body == source.data
    assert send(c, source.path, x_ms_copy_source=source.url() + "?snapshot=" + when_).status == 202
    assert c.get(source.path).body == source.data  # promoted


def test_public_source(c, box, emulator):
    public = "public-" + box
    c.send("PUT", "/%s?restype=container" % public, headers={"x-ms-blob-public-access": "blob"})
    c.put("/%s/p" % public, b"open")
    s = Source(c, emulator, public, "p")
    for kind in KINDS:
        assert copy_of(c, s, kind, "/%s/%s" % (box, kind), s.url()).status in (201, 202)
    c.send("DELETE", "/%s?restype=container" % public)


def test_archive(c, box, source):
    send(c, source.path + "?comp=tier", x_ms_access_tier="Archive")
    r = c.get(source.path)
    assert (r.status, r.code) == (409, "BlobArchived")
    h = c.head(source.path)
    assert h.status == 200 and h["x-ms-access-tier"] == "Archive"
    for query in ("?comp=metadata", "?comp=properties", "?comp=snapshot"):
        assert send(c, source.path + query).code == "BlobArchived"
    for kind in ("put", "block"):
        r = copy_of(c, source, kind, "/%s/t" % box)
        assert r.code == "CannotVerifyCopySource" and r["x-ms-copy-source-error-code"] == "BlobArchived"
    assert copy_of(c, source, "async", "/%s/t" % box).code == "BlobArchived"
    assert copy_of(c, source, "async", "/%s/t" % box, x_ms_access_tier="Hot").status == 202
    assert c.get("/%s/t" % box).body == source.data
    r = send(c, source.path + "?comp=tier", x_ms_access_tier="Cool", x_ms_rehydrate_priority="High")
    assert r.status == 202
    h = c.head(source.path)
    assert h["x-ms-archive-status"] == "rehydrate-pending-to-cool" and h["x-ms-access-tier"] == "Archive"
    assert h["x-ms-rehydrate-priority"] == "High"
    assert send(c, source.path + "?comp=tier", x_ms_access_tier="Hot").code == "BlobBeingRehydrated"
    p = c.list(box, prefix="src").xml.find("Blobs/Blob/Properties")
    assert p.find("ArchiveStatus").text == "rehydrate-pending-to-cool"
    wait_for("the blob is back", lambda: c.head(source.path)["x-ms-access-tier"] == "Cool", 30)
    assert c.get(source.path).body == source.data and c.head(source.path)["x-ms-archive-status"] is None
