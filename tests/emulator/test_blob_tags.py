"""Index tags, conditions over them, searches; tiers of listings; what expires."""
import os
import sys
import urllib.parse

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import azure_sign  # noqa: E402
from blob_client import Client, Emulator, block_id, box, c, emulator, when  # noqa: E402,F401
from harness import wait_for  # noqa: E402


def xml(**tags):
    return ("<?xml version='1.0' encoding='utf-8'?><Tags><TagSet>%s</TagSet></Tags>" % "".join(
        "<Tag><Key>%s</Key><Value>%s</Value></Tag>" % t for t in tags.items())).encode()


def tags_of(root):
    return {t.find("Key").text: t.find("Value").text or "" for t in root.iter("Tag")}


def get_tags(c, path):
    r = c.send("GET", path + "?comp=tags")
    assert r.status == 200, r.body
    return tags_of(r.xml)


def test_life(c, box):
    path = "/%s/t" % box
    r = c.put(path, b"x", x_ms_tags="kind=photo&place=a%2Fb%20c&empty=")
    want = {"kind": "photo", "place": "a/b c", "empty": ""}
    assert get_tags(c, path) == want and c.head(path)["x-ms-tag-count"] == "3"
    assert c.get(path)["x-ms-tag-count"] == "3"
    blob = c.list(box, include="tags").xml.find("Blobs/Blob")
    assert tags_of(blob) == want and blob.find("Properties/TagCount").text == "3"
    assert c.list(box).xml.find("Blobs/Blob/Tags") is None
    s = c.send("PUT", path + "?comp=tags", xml(n="1"))
    assert s.status == 204 and c.head(path)["etag"] == r["etag"]
    assert get_tags(c, path) == {"n": "1"}
    assert c.send("PUT", path + "?comp=metadata", headers={"x-ms-meta-a": "1"}).status == 200
    assert get_tags(c, path) == {"n": "1"}
    assert c.send("PUT", path + "?comp=tags", xml()).status == 204
    assert get_tags(c, path) == {} and c.head(path)["x-ms-tag-count"] is None
    c.block(path, block_id(1), b"y")
    assert c.commit(path, [block_id(1)], x_ms_tags="c=d").status == 201
    assert get_tags(c, path) == {"c": "d"}
    c.put(path, b"z")
    assert get_tags(c, path) == {}


@pytest.mark.parametrize("tags,code", [
    ("a", "InvalidTag"), ("a=%21", "InvalidTag"), ("a=1&a=2", "InvalidTag"), ("=x", "InvalidTag"),
    ("a=" + "x" * 257, "TagsTooLarge"), ("k" * 129 + "=x", "TagsTooLarge"),
    ("&".join("k%d=v" % i for i in range(11)), "TagsTooLarge")])
def test_malformed(c, box, tags, code):
    r = c.put("/%s/t" % box, b"x", x_ms_tags=tags)
    assert (r.status, r.code) in ((400, code), (400, "TagsTooLarge" if tags == "=x" else code))
    assert c.get("/%s/t" % box).status == 404


def test_malformed_documents(c, box):
    path = "/%s/t" % box
    c.put(path, b"x")
    for body, code in ((b"", "InvalidXmlDocument"), (b"<Other/>", "InvalidXmlDocument"),
                       (b"<Tags><TagSet><Tag><Key>a</Key><Value>%</Value></Tag></TagSet></Tags>", "InvalidTag"),
                       (xml(**{"k%d" % i: "v" for i in range(11)}), "TagsTooLarge")):
        assert c.send("PUT", path + "?comp=tags", body).code == code
    r = c.send("PUT", path + "?comp=tags", xml(a="b"), {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
    assert r.code == "Md5Mismatch"
    assert c.send("GET", "/%s/none?comp=tags" % box).code == "BlobNotFound"


def test_snapshot_and_permission(c, box, emulator):
    path = "/%s/t" % box
    c.put(path, b"x", x_ms_tags="a=1")
    snapshot = c.send("PUT", path + "?comp=snapshot")["x-ms-snapshot"]
    assert c.send("PUT", path + "?comp=tags&snapshot=" + snapshot, xml(a="2")).status == 204
    assert get_tags(c, path) == {"a": "1"}
    assert tags_of(c.send("GET", path + "?comp=tags&snapshot=" + snapshot).xml) == {"a": "2"}
    for sp, status in (("t", 200), ("rwd", 403)):
        sas = azure_sign.service_sas(emulator.account, emulator.key, box, "t", sp=sp, se=when(600))
        assert c.send("GET", path + "?comp=tags", sas=sas).status == status
    for sp, code in (("rwl", "AuthorizationPermissionMismatch"), ("rwlt", None)):
        sas = azure_sign.service_sas(emulator.account, emulator.key, box, sp=sp, se=when(600))
        for method, query, headers in (("PUT", "", {"x-ms-blob-type": "BlockBlob", "x-ms-tags": "a=1"}),
                                       ("GET", "", {"x-ms-if-tags": "a = '1'"})):
            assert c.send(method, path + query, headers=headers, sas=sas).code == code
        assert c.send("GET", "/%s?restype=container&comp=list&include=tags" % box, sas=sas).code == code


@pytest.mark.parametrize("expression,fits", [
    ("kind = 'photo'", True), ("\"kind\" = 'photo'", True), ("kind='photo' AND n>='3'", True),
    ("kind <> 'photo'", False), ("n > '5'", False), ("n < '5' OR n = '5'", True),
    ("(kind='x' OR kind='photo') AND (n <= '5')", True), ("other = 'x'", False),
    ("other <> 'x'", True), ("kind = 'it''s'", False)])
def test_conditions(c, box, expression, fits):
    path = "/%s/t" % box
    c.put(path, b"x", x_ms_tags="kind=photo&n=5")
    for send in (lambda h: c.send("GET", path, headers=h), lambda h: c.send("HEAD", path, headers=h),
                 lambda h: c.send("PUT", path + "?comp=metadata", headers=h),
                 lambda h: c.send("PUT", path + "?comp=tier", headers=dict(h, **{"x-ms-access-tier": "Hot"})),
                 lambda h: c.send("DELETE", path, headers=h)):
        r = send({"x-ms-if-tags": expression})
        assert r.status < 300 if fits else (r.status, r.code) == (412, "ConditionNotMet")
    assert c.get("/%s/t" % box).status == (404 if fits else 200)


def test_broken_conditions(c, box):
    c.put("/%s/t" % box, b"x")
    for text in ("kind", "kind = ", "kind = photo", "(a = 'b'", "a = 'b' AND", "a ~ 'b'", "@container = 'x'",
                 "(" * 40 + "a = 'b'" + ")" * 40):
        assert c.get("/%s/t" % box, x_ms_if_tags=text).code == "InvalidHeaderValue", text


def test_find(c, box):
    for n in range(7):
        c.put("/%s/f%d" % (box, n), b"x", x_ms_tags="n=%d&box=%s" % (n, box))
    c.put("/%s/plain" % box, b"x")

    def find(where, path="", **query):
        found, marker = [], ""
        while True:
            q = "".join("&%s=%s" % i for i in query.items())
            r = c.send("GET", "%s?comp=blobs%s&where=%s&marker=%s" % (
                path, q, urllib.parse.quote(where, safe=""), urllib.parse.quote(marker, safe="")))
            assert r.status == 200, r.body
            page = r.xml.findall("Blobs/Blob")
            assert len(page) <= int(query.get("maxresults", 5000))
            found += [(b.find("ContainerName").text, b.find("Name").text, tags_of(b)["n"]) for b in page]
            marker = r.xml.find("NextMarker").text or ""
            if not marker:
                return found
    where = "box = '%s' AND n >= '3'" % box
    want = [(box, "f%d" % n, str(n)) for n in (3, 4, 5, 6)]
    assert find(where) == want and find(where, maxresults="2") == want
    assert find("@container = '%s' AND n >= '3'" % box) == want
    assert find("@container = 'no' AND n >= '3'") == []
    assert find("n >= '3'", "/" + box, restype="container") == want
    r = c.send("GET", "?comp=blobs&where=" + urllib.parse.quote("nonsense"))
    assert r.code == "InvalidQueryParameterValue"
    assert c.send("GET", "?comp=blobs").code == "MissingRequiredQueryParameter"


# --- blocks that nobody commits ----------------------------------------------------------------

def test_staged_blocks_expire(tmp_path):
    e = Emulator(tmp_path, "--trap", "block_life=1")
    c = Client(e)
    c.send("PUT", "/box?restype=container")
    c.put("/box/b", b"old")
    assert c.block("/box/b", block_id(1), b"x" * 100000).status == 201
    assert c.block("/box/new", block_id(1), b"x").status == 201
    staged = lambda name: c.send("GET", "/box/%s?comp=blocklist&blocklisttype=all" % name)
    wait_for("both uploads are dropped", lambda: staged("new").status == 404 and
             b"<UncommittedBlocks></UncommittedBlocks>" in staged("b").body, 20)
    assert c.get("/box/b").body == b"old"
    assert c.commit("/box/b", [block_id(1)]).code == "InvalidBlockList"
    wait_for("their files are gone", lambda: sum(
        len(files) for _, _, files in os.walk(os.path.join(str(tmp_path), "data"))) <= 1, 20)
    assert c.block("/box/b", block_id(1), b"again").status == 201
    assert c.commit("/box/b", [block_id(1)]).status == 201 and c.get("/box/b").body == b"again"
    e.stop()
