"""Shared access signatures: which operation needs what, in which order faults are told, and times."""
import random
import urllib.parse

import pytest

import azure_sign
from blob_client import Client, Emulator, block_id, when
from trap_client import trap

LETTERS = "racwdxyltfi"
ID = urllib.parse.quote(block_id(1), safe="")
BLOB, NEW = {"x-ms-blob-type": "BlockBlob"}, {"x-ms-blob-type": "AppendBlob"}
LIST = b"<BlockList></BlockList>"
TAGS = b"<Tags><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tags>"
COPY = "x-ms-copy-source"

# name, method, path ({}: a blob that exists, {new}: one that does not), headers, body,
# letters of which one is needed, letter of srt, whether a service SAS can do it at all.
OPERATIONS = [
    ("get", "GET", "/{box}/{b}", {}, b"", "r", "o", True),
    ("head", "HEAD", "/{box}/{b}", {}, b"", "r", "o", True),
    ("blocks", "GET", "/{box}/{b}?comp=blocklist", {}, b"", "r", "o", True),
    ("metadata", "GET", "/{box}/{b}?comp=metadata", {}, b"", "r", "o", True),
    ("put new", "PUT", "/{box}/{new}", BLOB, b"x", "cw", "o", True),
    ("put over", "PUT", "/{box}/{b}", BLOB, b"x", "w", "o", True),
    ("append blob new", "PUT", "/{box}/{new}", NEW, b"", "cw", "o", True),
    ("block", "PUT", "/{box}/{b}?comp=block&blockid=" + ID, {}, b"x", "w", "o", True),
    ("commit", "PUT", "/{box}/{b}?comp=blocklist", {}, LIST, "w", "o", True),
    ("set metadata", "PUT", "/{box}/{b}?comp=metadata", {}, b"", "w", "o", True),
    ("set properties", "PUT", "/{box}/{b}?comp=properties", {}, b"", "w", "o", True),
    ("set tier", "PUT", "/{box}/{b}?comp=tier", {"x-ms-access-tier": "Cool"}, b"", "w", "o", True),
    ("append", "PUT", "/{box}/{log}?comp=appendblock", {}, b"x", "aw", "o", True),
    ("snapshot", "PUT", "/{box}/{b}?comp=snapshot", {}, b"", "cw", "o", True),
    ("delete", "DELETE", "/{box}/{b}", {"x-ms-delete-snapshots": "include"}, b"", "d", "o", True),
    ("lease", "PUT", "/{box}/{b}?comp=lease", {"x-ms-lease-action": "acquire", "x-ms-lease-duration": "15"}, b"",
     "w", "o", True),
    ("break", "PUT", "/{box}/{leased}?comp=lease", {"x-ms-lease-action": "break"}, b"", "wd", "o", True),
    ("tags", "GET", "/{box}/{b}?comp=tags", {}, b"", "t", "o", True),
    ("set tags", "PUT", "/{box}/{b}?comp=tags", {}, TAGS, "t", "o", True),
    ("list", "GET", "/{box}?restype=container&comp=list", {}, b"", "l", "c", True),
    ("container", "GET", "/{box}?restype=container", {}, b"", "r", "c", False),
    ("set container", "PUT", "/{box}?restype=container&comp=metadata", {}, b"", "w", "c", False),
    ("create container", "PUT", "/{box}-n?restype=container", {}, b"", "cw", "c", False),
    ("delete container", "DELETE", "/{box}?restype=container", {}, b"", "d", "c", False),
    ("acl", "GET", "/{box}?restype=container&comp=acl", {}, b"", "", "c", False),
    ("set acl", "PUT", "/{box}?restype=container&comp=acl", {}, b"", "", "c", False),
    ("containers", "GET", "/?comp=list", {}, b"", "l", "s", False),
    ("account", "GET", "/?restype=account&comp=properties", {}, b"", None, None, None),
]


@pytest.fixture(scope="module")
def e(tmp_path_factory):
    emulator = Emulator(tmp_path_factory.mktemp("e"))
    yield emulator
    emulator.stop()


@pytest.fixture
def c(e):
    return Client(e)


def fresh(c):
    """A container with what the operations need."""
    box = "box-%08x" % random.getrandbits(32)
    assert c.send("PUT", "/%s?restype=container" % box).status == 201
    for name in ("b", "leased"):
        assert c.put("/%s/%s" % (box, name), b"hello").status == 201
    assert c.send("PUT", "/%s/log" % box, headers=NEW).status == 201
    assert c.send("PUT", "/%s/leased?comp=lease" % box, headers={
        "x-ms-lease-action": "acquire", "x-ms-lease-duration": "15"}).status == 201
    return box


def run(c, operation, box, sas):
    _, method, path, headers, body, *_ = operation
    path = path.format(box=box, b="b", new="n%08x" % random.getrandbits(32), log="log", leased="leased")
    return c.send(method, path, body, headers, sas=sas)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o[0])
def test_permissions_of_an_account_sas(e, c, operation):
    needed, resource = operation[5], operation[6]
    if needed is None:
        assert run(c, operation, "", azure_sign.account_sas(e.account, e.key, "x", when(600))).status == 200
        return
    for letter in LETTERS:
        box = fresh(c)
        r = run(c, operation, box, azure_sign.account_sas(e.account, e.key, letter, when(600), srt=resource))
        if letter in needed:
            assert r.status < 300, (letter, r.status, r.code)
        else:
            assert (r.status, r.code) in ((403, "AuthorizationPermissionMismatch"), (403, "UnauthorizedBlobOverwrite"))
    for other in "sco".replace(resource, ""):
        r = run(c, operation, box, azure_sign.account_sas(e.account, e.key, LETTERS, when(600), srt=other))
        assert (r.status, r.code) == (403, "AuthorizationResourceTypeMismatch")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o[0])
def test_permissions_of_a_container_sas(e, c, operation):
    needed, possible = operation[5], operation[7]
    if possible is None:
        box = fresh(c)
        path = "/%s?restype=account&comp=properties" % box
        assert c.send("GET", path, sas=azure_sign.service_sas(e.account, e.key, box, sp="l", se=when(60))).status == 200
        return
    for letter in LETTERS:
        box = fresh(c)
        target = box + "-n" if operation[0] == "create container" else box
        r = run(c, operation, box, azure_sign.service_sas(e.account, e.key, target, sp=letter, se=when(600)))
        if possible and letter in needed:
            assert r.status < 300, (letter, r.status, r.code)
        else:
            assert r.status == 403, (letter, r.status, r.code)


def test_create_does_not_replace(e, c):
    box = fresh(c)
    sas = azure_sign.service_sas(e.account, e.key, box, sp="rc", se=when(600))
    source = "http://%s/%s/%s/leased?%s" % (e.host, e.account, box, sas)
    for i, headers in enumerate((BLOB, {COPY: source}, {COPY: source, **BLOB})):
        r = c.send("PUT", "/%s/b" % box, headers=headers, sas=sas)
        assert (r.status, r.code) == (403, "UnauthorizedBlobOverwrite"), headers
        assert c.send("PUT", "/%s/n%d" % (box, i), headers=headers, sas=sas).status < 300
    assert c.get("/%s/b" % box).body == b"hello"


def test_tags_on_a_write_need_their_letter(e, c):
    box = fresh(c)
    for sp, status in (("w", 403), ("wt", 201)):
        sas = azure_sign.service_sas(e.account, e.key, box, sp=sp, se=when(600))
        assert c.send("PUT", "/%s/b" % box, b"x", {**BLOB, "x-ms-tags": "a=1"}, sas=sas).status == status


def test_faults_are_told_in_the_service_s_order(e, c):
    """Each SAS has the fault named and all later ones too: the first is what is answered."""
    box = fresh(c)
    policy = ("<SignedIdentifiers><SignedIdentifier><Id>p</Id><AccessPolicy><Expiry>%s</Expiry></AccessPolicy>"
              "</SignedIdentifier></SignedIdentifiers>" % when(600)).encode()
    assert c.send("PUT", "/%s?restype=container&comp=acl" % box, policy).status == 200
    worse = {"spr": "https", "sip": "10.0.0.1", "sp": "w"}
    sas = lambda key=e.key, **p: azure_sign.service_sas(e.account, key, box, **{**worse, **p})  # noqa: E731
    other = "YWRhZnMtdGVzdC1rZXktMDEyMzQ1Njc4OWFiY2RlZjA="
    path = "/%s/b" % box

    def told(query):
        r = c.send("GET", path, sas=query)
        detail = r.xml.find("AuthenticationErrorDetail")
        return r.status, r.code, "" if detail is None else detail.text
    assert told(sas(other, se=when(-9), si="none").replace("sr=c&", ""))[:2] == (403, "AuthenticationFailed")
    assert "policy" in told(sas(other, se=when(-9), si="none"))[2]
    assert told(sas(other, se=when(-9), si="p"))[:2] == (400, "InvalidQueryParameterValue")
    assert "did not match. String to sign used was w\n" in told(sas(other, se=when(-9)))[2]
    assert "time frame: Start [] - Expiry [" in told(sas(se=when(-9)))[2]
    assert "has to be after signed start" in told(sas(se=when(-9), st=when(9)))[2]
    assert told(sas(se=when(9)))[1] == "AuthorizationSourceIPMismatch"
    worse.pop("sip")
    assert told(sas(se=when(9)))[1] == "AuthorizationProtocolMismatch"
    worse.pop("spr")
    account = lambda **p: azure_sign.account_sas(e.account, e.key, "w", when(9), **p)  # noqa: E731
    assert told(account(ss="q", srt="s"))[1] == "AuthorizationServiceMismatch"
    assert told(account(srt="s"))[1] == "AuthorizationResourceTypeMismatch"
    assert told(account(srt="o"))[1] == "AuthorizationPermissionMismatch"
    assert told(sas(se=when(9)))[1] == "AuthorizationPermissionMismatch"


@pytest.mark.parametrize("sv", ["2015-04-05", "2017-11-09", "2018-11-09", "2019-12-12", "2020-02-10", "2020-12-06",
                                "2024-08-04", "2026-04-06"])
def test_every_version(e, c, sv):
    box = fresh(c)
    for sas in (azure_sign.service_sas(e.account, e.key, box, "b", sv=sv, sp="r", se=when(60)),
                azure_sign.service_sas(e.account, e.key, box, sv=sv, sp="lr", se=when(60)),
                azure_sign.account_sas(e.account, e.key, "r", when(60), sv=sv)):
        assert c.send("GET", "/%s/b" % box, sas=sas).body == b"hello"
        r = c.send("GET", "/%s/b" % box, sas=sas.replace("sp=", "sp=w"))
        assert (r.status, r.code) == (403, "AuthenticationFailed")


@pytest.mark.parametrize("expiry,holds", [
    ("2099-01-01", True), ("2099-01-01T10:30Z", True), ("2099-01-01T10:30:00Z", True),
    ("2099-01-01T10:30:00.1234567Z", True), ("2099-01-01T10:30:00+02:00", True), ("2000-01-01", False),
    ("2099-13-01", False), ("soon", False)])
def test_times(e, c, expiry, holds):
    box = fresh(c)
    r = c.send("GET", "/%s/b" % box, sas=azure_sign.service_sas(e.account, e.key, box, sp="r", se=expiry))
    assert r.status == (200 if holds else 403) and r.code in (None, "AuthenticationFailed")


def test_kinds_of_resources(e, c):
    box = fresh(c)
    path = "/%s/b" % box
    sas = lambda **p: azure_sign.service_sas(e.account, e.key, box, "b", sp="r", se=when(60), **p)  # noqa: E731
    for sr in ("d", "x", ""):
        r = c.send("GET", path, sas=sas(sr=sr))
        assert (r.status, r.code) == (403, "AuthenticationFailed"), sr
    assert c.send("GET", path, sas=sas(sr="bs")).status == 403, "the snapshot is missing"
    # A blob's SAS lists no container and opens no other blob.
    for target in ("/%s?restype=container&comp=list" % box, "/%s/log" % box):
        assert c.send("GET", target, sas=sas()).status == 403
    # Both at once are refused, whatever each of them is worth.
    headers = azure_sign.shared_key(e.account, e.key, "GET", "/" + e.account + path, {})
    assert c.send("GET", path, headers=headers, sas=sas()).code == "InvalidAuthenticationInfo"


def test_a_signature_that_was_right_before(e, c):
    """The second request with a SAS is judged by all that may have changed since the first."""
    box, twin = fresh(c), fresh(c)
    path, acl = "/%s/b" % box, "/%s?restype=container&comp=acl" % box
    status = lambda sas, method="GET", at=path: c.send(method, at, sas=sas).status  # noqa: E731

    def policy(permission):
        text = ("<SignedIdentifiers><SignedIdentifier><Id>p</Id><AccessPolicy><Expiry>%s</Expiry><Permission>%s"
                "</Permission></AccessPolicy></SignedIdentifier></SignedIdentifiers>" % (when(600), permission))
        assert c.send("PUT", acl, text.encode()).status == 200
    by_policy = azure_sign.service_sas(e.account, e.key, box, si="p")
    policy("r")
    assert [status(by_policy) for _ in range(3)] == [200] * 3
    policy("l")
    assert status(by_policy) == 403
    policy("r")
    assert status(by_policy) == 200
    assert c.send("PUT", acl, b"<SignedIdentifiers />").status == 200
    assert status(by_policy) == 403

    plain = azure_sign.service_sas(e.account, e.key, box, sp="r", se=when(600))
    assert [status(plain) for _ in range(3)] == [200] * 3
    assert status(plain, "DELETE") == 403 and status(plain, at="/%s/b" % twin) == 403
    for before, after in (("sp=r", "sp=rw"), ("sr=c", "sr=b"), ("se=20", "se=21")):
        assert before in plain and status(plain.replace(before, after)) == 403
    head, _, sig = plain.partition("sig=")
    changed = sig[:20] + ("A" if sig[20] != "A" else "B") + sig[21:]
    assert status(head + "sig=" + changed) == 403 and status(plain) == 200
    trap(e, sas_clock=900)
    try:
        assert status(plain) == 403
    finally:
        trap(e, sas_clock=0)
    assert status(plain) == 200
    # Many others in between, and the same ones again.
    many = [azure_sign.service_sas(e.account, e.key, box, sp="r", se=when(600 + i)) for i in range(200)]
    assert {status(sas) for sas in many + many + [plain]} == {200}


def test_a_signature_after_the_key_changed(tmp_path):
    e = Emulator(tmp_path)
    try:
        box = fresh(Client(e))
        sas = azure_sign.service_sas(e.account, e.key, box, sp="r", se=when(600))
        assert Client(e).send("GET", "/%s/b" % box, sas=sas).status == 200
        e.stop()
        e.args = ["--key", "YWRhZnMtdGVzdC1rZXktMDEyMzQ1Njc4OWFiY2RlZjA="]
        e.start()
        assert Client(e).send("GET", "/%s/b" % box, sas=sas).status == 403
        sas = azure_sign.service_sas(e.account, e.key, box, sp="r", se=when(600))
        assert Client(e).send("GET", "/%s/b" % box, sas=sas).status == 200
    finally:
        e.stop()
