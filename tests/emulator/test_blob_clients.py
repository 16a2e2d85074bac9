"""
What each client really sends, replayed as raw signed HTTP: the order, the spelling of queries, the
headers, and of the answers what that client depends on.
"""
import base64
import hashlib
import os
import sys
import urllib.parse
import uuid
from email.utils import formatdate

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import azure_sign  # noqa: E402
from blob_client import Client, box, c, emulator, when  # noqa: E402,F401


class Sender:
    """A client with its habits: version, headers on every request, a suffix of every query."""
    version, suffix, always, sas = "2021-12-02", "", {}, None

    def __init__(self, emulator, sas=None):
        self.c, self.e, self.sas = Client(emulator), emulator, sas

    def __call__(self, method, path, body=b"", **headers):
        h = {"x-ms-version": self.version, "x-ms-client-request-id": str(uuid.uuid4()), **self.always}
        h.update({k if "-" in k else k.replace("_", "-"): v for k, v in headers.items()})
        if self.suffix:
            path += ("&" if "?" in path else "?") + self.suffix
        r = self.c.send(method, path, body, h, sas=self.sas)
        assert r["x-ms-request-id"] and r["x-ms-version"] == self.version and r["date"]
        assert r["x-ms-client-request-id"] == h["x-ms-client-request-id"]
        if r.status >= 400:
            assert r.code and (method == "HEAD") == (r.body == b"")
        return r

    def url(self, path):
        return "http://%s/%s%s" % (self.e.host, self.e.account, path)


class Rclone(Sender):
    """1.60.1: an endless timeout on everything, empty headers that are signed."""
    version, suffix = "2020-10-02", "timeout=31536001"
    empty = {"x-ms-blob-cache-control": "", "x-ms-blob-content-disposition": "",
             "x-ms-blob-content-encoding": "", "x-ms-blob-content-language": ""}


class Az(Sender):
    version = "2021-06-08"
    always = {"CommandName": "storage blob", "ParameterSetName": "--name", "Accept": "application/xml",
              "Accept-Encoding": "gzip, deflate", "User-Agent": "AZURECLI/2.45.0"}


class Js(Sender):
    version = "2026-04-06"
    always = {"Accept": "application/xml", "User-Agent": "azsdk-js-azure-storage-blob/12.32.0"}


class Azcopy(Sender):
    version = "2025-07-05"
    always = {"Accept": "application/xml", "User-Agent": "AzCopy/10.32.2"}


FOLDER = {"X-Ms-Meta-Hdi_isfolder": "true"}  # as the stacks of Go write it


def quoted(text):
    return urllib.parse.quote(text, safe="")


def block_list(ids, prolog=""):
    return (prolog + "<BlockList>%s</BlockList>" % "".join("<Latest>%s</Latest>" % i for i in ids)).encode()


def names(reply):
    assert reply.status == 200, reply.body
    assert reply["content-type"] == "application/xml"
    return [e.find("Name").text for e in reply.xml.find("Blobs")]


def md5(data):
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def check_stat(h, size):
    """What clients read unchecked."""
    assert h.status == 200 and h["content-length"] == str(size) and h["etag"].startswith('"0x')
    assert h["last-modified"].endswith(" GMT") and h["x-ms-creation-time"].endswith(" GMT")
    assert h["x-ms-blob-type"] == "BlockBlob" and h["accept-ranges"] == "bytes"
    assert h["x-ms-lease-status"] == "unlocked" and h["x-ms-lease-state"] == "available"
    assert h["x-ms-server-encrypted"] == "true" and h["x-ms-access-tier"] == "Hot"


# --- rclone ------------------------------------------------------------------------------------

def test_rclone(emulator, box):
    s = Rclone(emulator)
    r = s("GET", "?comp=list&maxresults=5000")  # no slash before the query
    assert box in [n.text for n in r.xml.iter("Name")]
    for _ in range(2):  # before every batch of uploads
        assert s("PUT", "/%s?restype=container" % box).code == "ContainerAlreadyExists"
    flat = "/%s?comp=list&delimiter=&include=metadata&maxresults=5000&restype=container" % box
    assert names(s("GET", flat)) == []
    h = s("HEAD", "/%s/dir" % box)
    assert (h.status, h.code, h.body) == (404, "BlobNotFound", b"")
    data, path = b"hello\n", "/%s/dir/a+b&c=d;e~f%%27%%20.txt" % box
    block = base64.b64encode(os.urandom(64)).decode()
    r = s("PUT", path + "?blockid=%s&comp=block" % quoted(block), data)
    assert r.status == 201 and r["etag"] is None and r["x-ms-content-crc64"]
    r = s("PUT", path + "?comp=blocklist", block_list([block]), **dict(
        Rclone.empty, x_ms_blob_content_type="text/plain", x_ms_blob_content_md5=md5(data),
        **{"X-Ms-Meta-Mtime": "2026-01-01T00:00:00.123456789Z"}))
    assert r.status == 201 and r["etag"] and r["last-modified"]
    h = s("HEAD", path)
    check_stat(h, 6)
    assert h["content-md5"] == md5(data) and h["x-ms-meta-mtime"].startswith("2026")
    g = s("GET", path)
    assert g.status == 200 and g.body == data and g["content-md5"] == md5(data)
    g = s("GET", path, x_ms_range="bytes=2-3")
    assert g.status == 206 and g.body == b"ll" and g["x-ms-blob-content-md5"] == md5(data)
    one = "/%s?comp=list&delimiter=%%2F&include=metadata&maxresults=5000&prefix=%s&restype=container"
    assert names(s("GET", one % (box, ""))) == ["dir/"]
    r = s("GET", one % (box, "dir%2F"))
    assert names(r) == ["dir/a+b&c=d;e~f' .txt"] and r.xml.find("Blobs/Blob/Metadata/*") is not None
    assert s("PUT", path + "?comp=metadata", x_ms_meta_mtime="2027").status == 200  # touch
    assert s("PUT", path + "?comp=tier", x_ms_access_tier="Cool").status == 200
    r = s("PUT", "/%s/copy" % box, x_ms_copy_source=s.url(path))
    assert r.status == 202 and r["x-ms-copy-status"] == "success"
    h = s("HEAD", "/%s/copy" % box)
    assert h["x-ms-copy-id"] == r["x-ms-copy-id"] and h["x-ms-copy-status"] == "success"
    assert s("DELETE", path).status == 202 and s("DELETE", "/%s/copy" % box).status == 202
    assert names(s("GET", "/%s?comp=list&delimiter=&maxresults=1&restype=container" % box)) == []
    assert s("GET", "/%s?restype=container" % box).status == 200  # rmdir looks first
    assert s("DELETE", "/%s?restype=container" % box).status == 202


def test_newer_rclone(emulator, box):
    s = Azcopy(emulator)  # the same SDK
    path = "/%s/big" % box
    ids = [base64.b64encode(n.to_bytes(8, "big") + os.urandom(8)).decode() for n in range(2)]
    for i in ids:
        put = s("PUT", path + "?blockid=%s&comp=block" % quoted(i), b"data", Content_MD5=md5(b"data"))
        assert put.status == 201 and put["content-md5"] == md5(b"data")
    other = base64.b64encode(b"another length").decode()
    r = s("PUT", path + "?blockid=%s&comp=block" % quoted(other), b"data")
    assert (r.status, r.code) == (400, "InvalidBlobOrBlock")
    lists = s("GET", path + "?blocklisttype=all&comp=blocklist")  # it clears what is in its way
    assert lists.xml.find("CommittedBlocks/Block") is None
    assert len(lists.xml.findall("UncommittedBlocks/Block")) == 2
    assert s("PUT", path + "?comp=blocklist", block_list([])).status == 201
    assert s("DELETE", path).status == 202
    assert s("PUT", path + "?blockid=%s&comp=block" % quoted(other), b"data").status == 201
    # Markers of folders.
    assert s("PUT", "/%s/dir%%2F" % box, x_ms_blob_type="BlockBlob", **FOLDER).status == 201
    r = s("GET", "/%s?comp=list&delimiter=%%2F&include=metadata&prefix=dir%%2F&restype=container" % box,
          Accept="application/vnd.apache.arrow.stream, application/xml")
    assert names(r) == ["dir/"] and [e.tag.lower() for e in r.xml.find("Blobs/Blob/Metadata")] == ["hdi_isfolder"]


# --- az ----------------------------------------------------------------------------------------

def test_az(emulator, box):
    s = Az(emulator)
    r = s("GET", "/?comp=list&maxresults=5000&include=")
    assert box in [n.text for n in r.xml.iter("Name")]
    assert s("PUT", "/%s?restype=container" % box).code == "ContainerAlreadyExists"
    assert s("GET", "/%s?restype=container" % box)["last-modified"]
    assert s("GET", "/none?restype=container").code == "ContainerNotFound"
    data = os.urandom(40 << 20)
    path = "/%s/dir/a%%2Bb%%20c" % box
    put = lambda body, **h: s("PUT", path, body, x_ms_blob_type="BlockBlob", Content_Type="application/octet-stream",
                              x_ms_blob_content_type="text/plain", **h)
    assert put(data, If_None_Match="*").status == 201
    r = put(b"x", If_None_Match="*")
    assert (r.status, r.code) == (409, "BlobAlreadyExists")
    first = s("GET", path, x_ms_range="bytes=0-33554431")
    assert first.status == 206 and first["content-range"] == "bytes 0-33554431/%d" % len(data)
    got = first.body
    while len(got) < len(data):
        end = min(len(got) + (4 << 20), len(data)) - 1
        r = s("GET", path, x_ms_range="bytes=%d-%d" % (len(got), end), If_Match=first["etag"])
        assert r.status == 206
        got += r.body
    assert got == data
    assert put(b"").status == 201
    r = s("GET", path, x_ms_range="bytes=0-33554431")
    assert (r.status, r.code, r["content-range"]) == (416, "InvalidRange", "bytes */0")
    assert s("GET", path).status == 200
    ids = [base64.b64encode(b"%s" % quoted("MDAw%02d=" % n).encode()).decode() for n in range(3)]
    big = "/%s/big" % box
    for i in ids:
        assert s("PUT", big + "?comp=block&blockid=" + quoted(i), b"block").status == 201
    prolog = "<?xml version='1.0' encoding='utf-8'?>\n"
    commit = lambda: s("PUT", big + "?comp=blocklist", block_list(ids, prolog), If_None_Match="*",
                       Content_Type="application/xml")
    assert commit().status == 201 and commit().code == "BlobAlreadyExists"
    check_stat(s("HEAD", big), 15)
    lists = "/%s?restype=container&comp=list&maxresults=5000" % box
    assert names(s("GET", lists)) == ["big", "dir/a+b c"]
    assert names(s("GET", lists + "&delimiter=%2F&prefix=")) == ["big", "dir/"]
    for what in ("metadata", "snapshots", "deleted", "versions", "tags", "copy", "uncommittedblobs"):
        assert "big" in names(s("GET", lists + "&include=" + what))
    assert s("PUT", big + "?comp=metadata", x_ms_meta_a="1").status == 200
    assert s("PUT", big + "?comp=properties", x_ms_blob_content_type="a/b").status == 200
    source = "https://%s.blob.core.windows.net%s" % (emulator.account, big)  # whatever the endpoint is
    r = s("PUT", "/%s/copy" % box, x_ms_copy_source=source)
    assert r.status == 202 and s("HEAD", "/%s/copy" % box)["x-ms-copy-status"] == "success"
    assert s("PUT", big + "?comp=snapshot").status == 201
    assert s("DELETE", big).code == "SnapshotsPresent"
    assert s("DELETE", big, x_ms_delete_snapshots="include").status == 202
    assert s("DELETE", path).status == 202
    r = s("HEAD", "/?restype=account&comp=properties")
    assert r.status == 200 and r["x-ms-sku-name"]
    sas = Az(emulator, azure_sign.service_sas(emulator.account, emulator.key, box, sp="rl", se=when(600),
                                              sv="2021-06-08").replace("%2F", "/"))
    assert names(sas("GET", lists)) == ["copy"]


# --- JS ----------------------------------------------------------------------------------------

def test_js(emulator, box):
    s = Js(emulator)
    assert s("GET", "/?comp=list&include=metadata").status == 200
    assert s("GET", "/%s?restype=container" % box).status == 200
    path = "/%s/a!()*~%%27b/c%%20d" % box
    assert s("PUT", path, b"hello", x_ms_blob_type="BlockBlob", Content_Type="application/octet-stream").status == 201
    g = s("GET", path)
    assert g.body == b"hello" and g["content-md5"] == md5(b"hello")
    g = s("GET", path, x_ms_range="bytes=1-2", x_ms_range_get_content_md5="true")
    assert g.status == 206 and g["content-md5"] == md5(b"el")
    g = s("GET", path, x_ms_range="bytes=1-2", x_ms_range_get_content_crc64="true")
    assert g["x-ms-content-crc64"]
    flat = "/%s?comp=list&restype=container&maxresults=1&include=metadata,snapshots" % box
    assert names(s("GET", flat)) == ["a!()*~'b/c d"]
    ids = [base64.b64encode((str(uuid.uuid4())[:30] + "%06d" % n).encode()).decode() for n in range(2)]
    assert len(ids[0]) == 48
    for i in ids:
        assert s("PUT", path + "?comp=block&blockid=" + quoted(i), b"part").status == 201
    prolog = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    assert s("PUT", path + "?comp=blocklist", block_list(ids, prolog),
             Content_Type="application/xml; charset=utf-8").status == 201
    lists = s("GET", path + "?comp=blocklist&blocklisttype=all").xml
    assert [n.text for n in lists.findall("CommittedBlocks/Block/Name")] == ids
    source = s.url(path) + "?" + azure_sign.service_sas(emulator.account, emulator.key, box, "a!()*~'b/c d",
                                                        sp="r", se=when(600))
    assert s("PUT", "/%s/begin" % box, x_ms_copy_source=s.url(path)).status == 202
    r = s("PUT", "/%s/sync" % box, x_ms_copy_source=source, x_ms_requires_sync="true")
    assert r.status == 202 and r["x-ms-copy-status"] == "success"
    r = s("PUT", "/%s/put" % box, x_ms_copy_source=source, x_ms_blob_type="BlockBlob",
          x_ms_copy_source_blob_properties="true")
    assert r.status == 201 and r["content-md5"] == md5(b"partpart")
    assert s("GET", "/?restype=account&comp=properties")["x-ms-account-kind"] == "StorageV2"
    assert s("GET", "/?restype=service&comp=properties").status == 200
    acl = ("<SignedIdentifiers><SignedIdentifier><Id>p</Id><AccessPolicy><Start>2026-01-01T00:00:00.0000000Z"
           "</Start><Expiry>2036-01-01T00:00:00.0000000Z</Expiry><Permission>racwdl</Permission>"
           "</AccessPolicy></SignedIdentifier></SignedIdentifiers>").encode()
    assert s("PUT", "/%s?restype=container&comp=acl" % box, acl).status == 200
    assert b"0000000Z" in s("GET", "/%s?restype=container&comp=acl" % box).body
    # The batch of a path-style account names the type of a container.
    headers = {"x-ms-date": formatdate(usegmt=True)}
    target = "/%s/%s/begin" % (emulator.account, box)
    text = "DELETE" + "\n" * 12 + azure_sign.canonical_headers(headers) + azure_sign.canonical_resource(
        emulator.account, target)
    body = ("--batch_x\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
            "Content-ID: 0\r\n\r\nDELETE %s HTTP/1.1\r\nx-ms-date: %s\r\nauthorization: SharedKey %s:%s\r\n\r\n"
            "--batch_x--\r\n" % (target, headers["x-ms-date"], emulator.account,
                                 azure_sign.hmac_b64(emulator.key, text))).encode()
    r = s("POST", "?comp=batch&restype=container", body, Content_Type="multipart/mixed; boundary=batch_x")
    assert r.status == 202 and b"HTTP/1.1 202 Accepted" in r.body and b"Content-ID: 0\r\n" in r.body
    assert s("HEAD", "/%s/begin" % box).code == "BlobNotFound"


# --- azcopy ------------------------------------------------------------------------------------

@pytest.fixture
def azcopy(emulator):
    """It has no key: only a SAS."""
    return Azcopy(emulator, azure_sign.account_sas(emulator.account, emulator.key, "rwdlactf", when(600),
                                                   sv="2025-07-05"))


def test_azcopy(emulator, azcopy, box):
    s = azcopy
    assert s("GET", "/%s?comp=list&restype=container" % box).status == 200  # before a folder's upload
    path, data = "/%s/dir%%2Fsub%%2Fa+b%%25c" % box, os.urandom(20 << 20)
    assert s("HEAD", path).code == "BlobNotFound"
    assert s("PUT", path, b"small", x_ms_blob_type="BlockBlob", x_ms_blob_content_type="text/plain",
             x_ms_blob_content_md5=md5(b"small")).status == 201
    check_stat(s("HEAD", path), 5)
    big = "/%s/dir%%2Fbig" % box
    ids = [base64.b64encode(b"%05d" % n + os.urandom(16) + b"%015d" % n).decode() for n in range(3)]
    for n, i in enumerate(ids):
        part = data[n * (8 << 20):(n + 1) * (8 << 20)]
        assert s("PUT", big + "?blockid=%s&comp=block" % quoted(i), part).status == 201
    assert s("PUT", big + "?comp=blocklist", block_list(ids), x_ms_blob_content_md5=md5(data),
             x_ms_meta_modtime="1700000000000000000").status == 201
    h = s("HEAD", big)
    check_stat(h, len(data))
    got = b""
    for at in range(0, len(data), 8 << 20):
        r = s("GET", big, x_ms_range="bytes=%d-%d" % (at, min(at + (8 << 20), len(data)) - 1),
              If_Unmodified_Since=h["last-modified"])
        assert r.status == 206 and r["x-ms-blob-content-md5"] == md5(data) and r["content-range"]
        got += r.body
    assert got == data
    level = "/%s?comp=list&delimiter=%%2F&include=metadata&prefix=%s&restype=container"
    assert names(s("GET", level % (box, ""))) == ["dir/"]
    assert names(s("GET", level % (box, "dir%2F"))) == ["dir/big", "dir/sub/"]
    assert names(s("GET", level % (box, "dir%2Fsub%2F"))) == ["dir/sub/a+b%c"]
    probe = "/%s?comp=list&include=metadata&maxresults=1&prefix=dir%%2F&restype=container" % box
    assert names(s("GET", probe)) == ["dir/big"]
    info = s("GET", big + "?comp=properties&restype=account")  # on the path of a blob
    assert info.status == 200 and info["x-ms-account-kind"] == "StorageV2" and info["x-ms-is-hns-enabled"] == "false"
    source = s.url(big) + "?" + s.sas
    r = s("PUT", "/%s/copy" % box, x_ms_blob_type="BlockBlob", x_ms_copy_source=source, x_ms_access_tier="Cool",
          x_ms_blob_content_md5=md5(data), x_ms_blob_content_type="a/b")
    assert r.status == 201
    h = s("HEAD", "/%s/copy" % box)
    assert h["x-ms-access-tier"] == "Cool" and h["content-md5"] == md5(data) and h["content-type"] == "a/b"
    for n, i in enumerate(ids):
        r = s("PUT", "/%s/parts?blockid=%s&comp=block" % (box, quoted(i)), x_ms_copy_source=source,
              x_ms_source_range="bytes=%d-%d" % (n << 20, ((n + 1) << 20) - 1))
        assert r.status == 201
    assert s("PUT", "/%s/parts?comp=blocklist" % box, block_list(ids)).status == 201
    assert s("GET", "/%s/parts" % box).body == data[:3 << 20]
    assert s("PUT", "/%s/parts?comp=tier" % box, x_ms_access_tier="Cool").status == 200
    assert s("PUT", "/%s/parts?comp=metadata" % box, x_ms_meta_a="1").status == 200
    for name in ("dir", "dir%2F", "dir%2Fsub", "dir%2Fsub%2F"):  # remove looks for markers
        assert s("HEAD", "/%s/%s" % (box, name)).code == "BlobNotFound"
    for name in ("dir%2Fbig", "dir%2Fsub%2Fa+b%25c", "copy", "parts"):
        assert s("DELETE", "/%s/%s" % (box, name)).status == 202
    assert names(s("GET", probe)) == []


# --- blobfuse2 and Storage Explorer --------------------------------------------------------------

def test_blobfuse2(emulator, box):
    s = Azcopy(emulator)
    probe = "/%s?comp=list&delimiter=%%2F&maxresults=2&restype=container" % box
    assert s("GET", probe).status == 200
    r = s("GET", "/%s?comp=list&include=permissions&maxresults=2&restype=container" % box)
    assert (r.status, r.code) == (400, "InvalidQueryParameterValue")  # 200 would mean a hierarchy
    assert s("PUT", "/%s/dir" % box, x_ms_blob_type="BlockBlob", **FOLDER).status == 201
    assert s("PUT", "/%s/dir/link" % box, b"target", x_ms_blob_type="BlockBlob", **{"x-ms-meta-is_symlink": "true"}).status == 201
    r = s("GET", "/%s?comp=list&delimiter=%%2F&include=metadata&prefix=&restype=container" % box)
    assert names(r) == ["dir", "dir/"]
    blob = r.xml.find("Blobs/Blob")
    assert blob.find("Properties/Content-Length").text == "0" and blob.find("Properties/Last-Modified").text
    assert [(e.tag.lower(), e.text) for e in blob.find("Metadata")] == [("hdi_isfolder", "true")]
    h = s("HEAD", "/%s/dir/link" % box)
    check_stat(h, 6)
    assert h["x-ms-meta-is_symlink"] == "true"
    ids = [base64.b64encode(b"%016d" % n).decode() for n in range(3)]
    path = "/%s/dir/file" % box
    for i in ids[:2]:
        s("PUT", path + "?blockid=%s&comp=block" % quoted(i), b"data")
    s("PUT", path + "?comp=blocklist", block_list(ids[:2]))
    lists = s("GET", path + "?blocklisttype=committed&comp=blocklist").xml
    assert [n.text for n in lists.findall("CommittedBlocks/Block/Size")] == ["4", "4"]
    s("PUT", path + "?blockid=%s&comp=block" % quoted(ids[2]), b"new!")
    assert s("PUT", path + "?comp=blocklist", block_list([ids[0], ids[2]])).status == 201
    assert s("GET", path).body == b"datanew!"
    r = s("PUT", "/%s/dir/renamed" % box, x_ms_copy_source=s.url(path))
    assert r["x-ms-copy-status"] == "success"
    assert s("DELETE", path, x_ms_delete_snapshots="include").status == 202


def test_storage_explorer(emulator, box):
    s = Js(emulator)
    origin = {"Origin": "vscode-file://vscode-app"}
    r = s.c.send("OPTIONS", "/%s?restype=container&comp=list" % box, headers=dict(origin, **{
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,x-ms-client-request-id,x-ms-date,x-ms-version"}), sign=False)
    assert r.status == 200 and r["access-control-allow-origin"]
    s.always = dict(s.always, **origin)
    r = s("GET", "/?comp=list&maxresults=1000&include=metadata")
    assert r.status == 200 and r["access-control-allow-origin"]
    s("PUT", "/%s/b" % box, b"x", x_ms_blob_type="BlockBlob")
    include = "snapshots,metadata,uncommittedblobs,copy,deleted,tags,legalhold,immutabilitypolicy"
    r = s("GET", "/%s?restype=container&comp=list&include=%s&maxresults=1000" % (box, include))
    assert names(r) == ["b"]
    r = s("GET", "/%s?restype=container&comp=list&delimiter=%%2F&include=metadata,versions" % box)
    assert r.code == "InvalidQueryParameterValue"
    r = s("PUT", "/%s/b?comp=lease" % box, x_ms_lease_action="acquire", x_ms_lease_duration="-1")
    assert r.status == 201
    assert s("PUT", "/%s/b?comp=lease" % box, x_ms_lease_action="break", x_ms_lease_break_period="0").status == 202
    assert s("GET", "/%s?restype=container&comp=acl" % box).status == 200
    assert s("PUT", "/%s/b?comp=undelete" % box).status == 200
    assert "etag" in s("HEAD", "/%s/b" % box)["access-control-expose-headers"].lower()
