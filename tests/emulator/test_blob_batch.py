"""Blob Batch: deletes and tier changes in one request, at the account and at a container."""
import email.parser
import os
import sys
import uuid

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import azure_sign  # noqa: E402
from blob_client import Reply, box, c, emulator, when  # noqa: E402,F401
from email.utils import formatdate  # noqa: E402


class Part:
    def __init__(self, message):
        head, _, self.body = message.get_payload().partition("\r\n\r\n")
        line, _, rest = head.partition("\r\n")
        _, status, self.reason = line.split(" ", 2)
        self.status, self.id = int(status), message["Content-ID"]
        self.headers = email.parser.HeaderParser().parsestr(rest.replace("\r\n", "\n"))
        self.code = self.headers["x-ms-error-code"]


def request(emulator, method, path, headers=None, sas=None, key=None):
    """One part's request, signed on its own and without a version."""
    target = "/" + emulator.account + path
    headers = dict(headers or {}, **{"Content-Length": "0"})
    if sas:
        target += ("&" if "?" in target else "?") + sas
    else:
        headers["x-ms-date"] = formatdate(usegmt=True)
        signed = dict(headers)
        fields = [method] + [""] * 11
        text = "\n".join(fields) + "\n" + azure_sign.canonical_headers(signed)
        text += azure_sign.canonical_resource(emulator.account, target)
        headers["Authorization"] = "SharedKey %s:%s" % (
            emulator.account, azure_sign.hmac_b64(key or emulator.key, text))
    return "%s %s HTTP/1.1\r\n%s\r\n" % (method, target, "".join(
        "%s: %s\r\n" % h for h in headers.items()))


def multipart(requests, boundary):
    body = ""
    for n, r in enumerate(requests):
        body += ("--%s\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
                 "Content-ID: %d\r\n\r\n%s\r\n" % (boundary, n, r))
    return (body + "--%s--\r\n" % boundary).encode()


def batch(c, requests, path="?comp=batch", body=None, **kw):
    boundary = "batch_%s" % uuid.uuid4()
    r = c.send("POST", path, multipart(requests, boundary) if body is None else body,
               {"Content-Type": "multipart/mixed; boundary=" + boundary}, **kw)
    if r.status != 202:
        return r, []
    assert r["content-type"].startswith("multipart/mixed; boundary=batchresponse_")
    m = email.parser.BytesParser().parsebytes(
        b"Content-Type: " + r["content-type"].encode() + b"\r\n\r\n" + r.body)
    return r, [Part(p) for p in m.get_payload()]


@pytest.mark.parametrize("path", ["?comp=batch", "/?comp=batch", "?comp=batch&restype=container",
                                  "/{box}?restype=container&comp=batch"])
def test_delete(c, box, emulator, path):
    for n in range(5):
        c.put("/%s/d%d" % (box, n), b"x")
    names = ["d0", "d1", "missing", "d3", "d%34"]
    r, parts = batch(c, [request(emulator, "DELETE", "/%s/%s" % (box, n)) for n in names],
                     path.replace("{box}", box))
    assert r.status == 202 and [p.id for p in parts] == ["0", "1", "2", "3", "4"]
    assert [p.status for p in parts] == [202, 202, 404, 202, 202]
    assert parts[0].reason == "Accepted" and parts[0].headers["x-ms-delete-type-permanent"] == "true"
    assert parts[0].headers["x-ms-version"] == r["x-ms-version"] and parts[0].headers["x-ms-request-id"]
    assert parts[2].code == "BlobNotFound" and "<Code>BlobNotFound</Code>" in parts[2].body
    assert parts[2].reason == "The specified blob does not exist."
    assert c.names(box) == [("Blob", "d2")]


def test_tier_and_headers(c, box, emulator):
    for n in "ab":
        c.put("/%s/%s" % (box, n), b"x")
    requests = [request(emulator, "PUT", "/%s/%s?comp=tier" % (box, n), {"x-ms-access-tier": t})
                for n, t in (("a", "Cool"), ("b", "Archive"), ("a", "Lukewarm"))]
    _, parts = batch(c, requests)
    assert [p.status for p in parts] == [200, 200, 400] and parts[2].code == "InvalidBlobTier"
    assert c.head("/%s/a" % box)["x-ms-access-tier"] == "Cool"
    assert c.head("/%s/b" % box)["x-ms-access-tier"] == "Archive"
    c.send("PUT", "/%s/a?comp=snapshot" % box)
    _, parts = batch(c, [request(emulator, "DELETE", "/%s/a" % box),
                         request(emulator, "DELETE", "/%s/a" % box, {"x-ms-delete-snapshots": "include"}),
                         request(emulator, "DELETE", "/%s/b" % box, {"If-Match": '"0x1"'})])
    assert [p.status for p in parts] == [409, 202, 403]  # If-Match is signed in its own line


def test_each_part_has_its_own_authorisation(c, box, emulator):
    for n in "abcd":
        c.put("/%s/%s" % (box, n), b"x")
    sas = lambda name, sp: azure_sign.service_sas(emulator.account, emulator.key, box, name, sp=sp,
                                                  se=when(600))
    wrong = "d3Jvbmcta2V5LXdyb25nLWtleQ=="
    requests = [request(emulator, "DELETE", "/%s/a" % box, key=wrong),
                request(emulator, "DELETE", "/%s/b" % box, sas=sas("b", "d")),
                request(emulator, "DELETE", "/%s/c" % box, sas=sas("c", "r")),
                "DELETE /%s/%s/d HTTP/1.1\r\nContent-Length: 0\r\n" % (emulator.account, box)]
    _, parts = batch(c, requests)
    assert [(p.status, p.code) for p in parts] == [
        (403, "AuthenticationFailed"), (202, None), (403, "AuthorizationPermissionMismatch"),
        (401, "NoAuthenticationInformation")]
    assert [n for _, n in c.names(box)] == ["a", "c", "d"]
    account = azure_sign.account_sas(emulator.account, emulator.key, "d", when(600), srt="o")
    r, parts = batch(c, [request(emulator, "DELETE", "/%s/a" % box, sas=account)], sas=account)
    assert [p.status for p in parts] == [202]
    container = azure_sign.service_sas(emulator.account, emulator.key, box, sp="w", se=when(600))
    r, parts = batch(c, [request(emulator, "PUT", "/%s/c?comp=tier" % box, {"x-ms-access-tier": "Cool"},
                                 sas=container)], "/%s?restype=container&comp=batch" % box, sas=container)
    assert [p.status for p in parts] == [200]
    r, _ = batch(c, [request(emulator, "DELETE", "/%s/d" % box)], sign=False)
    assert (r.status, r.code) == (401, "NoAuthenticationInformation")


def test_a_containers_batch_reaches_no_other(c, box, emulator):
    c.send("PUT", "/other-%s?restype=container" % box)
    c.put("/other-%s/x" % box, b"x")
    _, parts = batch(c, [request(emulator, "DELETE", "/other-%s/x" % box)],
                     "/%s?restype=container&comp=batch" % box)
    assert [(p.status, p.code) for p in parts] == [(400, "InvalidInput")]
    assert c.get("/other-%s/x" % box).status == 200
    c.send("DELETE", "/other-%s?restype=container" % box)


def test_limits_and_malformed(c, box, emulator):
    delete = request(emulator, "DELETE", "/%s/x" % box)
    r, parts = batch(c, [delete] * 256)
    assert len(parts) == 256
    for requests, code in (([delete] * 257, "ExceedsMaxBatchRequestCount"), ([], "InvalidInput"),
                           ([delete, request(emulator, "PUT", "/%s/x?comp=tier" % box)], "InvalidInput"),
                           ([request(emulator, "GET", "/%s/x" % box)], "InvalidInput"),
                           ([request(emulator, "PUT", "/%s/x?comp=metadata" % box)], "InvalidInput"),
                           ([request(emulator, "DELETE", "/%s?restype=container" % box)], "InvalidInput"),
                           (["nonsense"], "InvalidInput")):
        r, parts = batch(c, requests)
        assert [(p.id, p.code) for p in parts] == [(None, code)], requests
    r, parts = batch(c, [], body=b"no multipart at all")
    assert [p.code for p in parts] == ["InvalidInput"]
    r = c.send("POST", "?comp=batch", b"x", {"Content-Type": "text/plain"})
    assert (r.status, r.code) == (400, "InvalidHeaderValue")
    r = c.send("POST", "?comp=batch", b"x" * (4 * 1024 * 1024 + 1),
               {"Content-Type": "multipart/mixed; boundary=b"})
    assert (r.status, r.code) == (413, "RequestBodyTooLarge")


def test_lines_may_end_as_they_like(c, box, emulator):
    c.put("/%s/x" % box, b"x")
    body = multipart([request(emulator, "DELETE", "/%s/x" % box)], "b").replace(b"\r\n", b"\n")
    r = c.send("POST", "?comp=batch", body, {"Content-Type": 'multipart/mixed; boundary="b"'})
    assert r.status == 202 and b"HTTP/1.1 202 Accepted" in r.body
    assert c.names(box) == []
