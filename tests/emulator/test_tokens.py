"""Bearer tokens of a test issuer, user delegation keys and what they sign, at both services."""
import base64
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.error

import pytest

import azure_sign
from blob_client import Client, Emulator, when
from harness import batch_call
from trap_client import ask, batch_host, trap

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "azure"))
import jwt  # noqa: E402

STORAGE = "https://storage.azure.com/"
BATCH = "https://batch.core.windows.net/"
ISSUER = "https://sts.example.com/"
TENANT = "22222222-2222-2222-2222-222222222222"
USER = "11111111-1111-1111-1111-111111111111"


class Issuer:
    """A key, its file, and tokens by it."""

    def __init__(self, path):
        self.file = path / "issuer.json"
        self.key = jwt.make_key(path / "issuer.pem")
        self.publish()

    def publish(self):
        temporary = self.file.with_suffix(".new")
        temporary.write_text(json.dumps(jwt.jwks(self.key, issuer=ISSUER, tenant=TENANT)))
        temporary.rename(self.file)

    def token(self, key=None, header=None, **claims):
        now = int(time.time())
        every = {"aud": STORAGE, "iss": ISSUER, "tid": TENANT, "oid": USER, "nbf": now - 60, "iat": now - 60,
                 "exp": now + 3600}
        every.update(claims)
        return jwt.sign(key or self.key, {k: v for k, v in every.items() if v is not None}, **(header or {}))


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def e(tmp_path_factory, issuer):
    emulator = Emulator(tmp_path_factory.mktemp("e"), "--issuer", str(issuer.file), "--no-shared-key")
    yield emulator
    emulator.stop()


class Bearer(Client):
    """A client whose requests carry a token."""

    def __init__(self, emulator, token):
        super().__init__(emulator)
        self.token = token

    def send(self, method, path, body=b"", headers=None, sas=None, sign=True):
        headers = dict(headers or {})
        if sign and not sas:
            headers.setdefault("x-ms-version", azure_sign.VERSION)
            headers["Authorization"] = "Bearer " + self.token
        return super().send(method, path, body, headers, sas, sign=False)


@pytest.fixture
def c(e, issuer):
    return Bearer(e, issuer.token())


@pytest.fixture
def box(c):
    name = "box-%d" % time.monotonic_ns()
    assert c.send("PUT", "/%s?restype=container" % name).status == 201
    assert c.put("/%s/b" % name, b"hello").status == 201
    return name


# --- tokens ------------------------------------------------------------------------------------

@pytest.mark.parametrize("aud", [STORAGE, STORAGE[:-1], "https://ADAFS.blob.core.windows.net",
                                 "e406a681-f3d4-42a8-90b6-c2b029497af1", ["x", STORAGE]])
def test_audiences_of_storage(e, issuer, box, aud):
    assert Bearer(e, issuer.token(aud=aud)).get("/%s/b" % box).body == b"hello"


@pytest.mark.parametrize("claims,word", [
    ({"aud": BATCH}, "Audience"), ({"aud": None}, "Audience"), ({"aud": "https://storage.azure.com.evil/"}, "Audience"),
    ({"iss": "https://other/"}, "Issuer"), ({"tid": USER}, "Tenant"), ({"exp": 1}, "expired"),
    ({"exp": None}, "expired"), ({"nbf": 4000000000, "exp": 4000000001}, "not yet valid")])
def test_tokens_that_do_not_hold(e, issuer, box, claims, word):
    r = Bearer(e, issuer.token(**claims)).get("/%s/b" % box)
    assert (r.status, r.code) == (401, "InvalidAuthenticationInfo")
    assert word in r.xml.find("AuthenticationErrorDetail").text
    assert r["www-authenticate"] == ("Bearer authorization_uri=https://login.microsoftonline.com/%s/oauth2/authorize "
                                     "resource_id=https://storage.azure.com" % TENANT)


def test_signatures_of_tokens(e, issuer, box, tmp_path):
    good = issuer.token()
    head, claims, signature = good.split(".")
    other = jwt.make_key(tmp_path / "other.pem")
    forged = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    for bad in (issuer.token(key=other), issuer.token(key=other, header={"kid": jwt.key_id(issuer.key)}),
                ".".join((forged, claims, "")), ".".join((head, claims, "")), ".".join((head, claims)),
                ".".join((head, claims[:-4] + "AAAA", signature)), issuer.token(header={"alg": "HS256"}),
                "x", "..", "a.b.c", good + "A"):
        r = Bearer(e, bad).get("/%s/b" % box)
        assert r.status == 401, bad
        assert signature.encode() not in r.body
    assert Bearer(e, good).get("/%s/b" % box).status == 200


def test_a_token_needs_a_version_and_strangers_are_challenged(e, c, box):
    r = Client(e).send("GET", "/%s/b" % box, headers={"Authorization": "Bearer " + c.token}, sign=False)
    assert r.code == "AuthenticationFailed"
    r = Client(e).send("GET", "/%s/b" % box, headers={"x-ms-version": "2021-12-02"}, sign=False)
    assert (r.status, r.code) == (401, "NoAuthenticationInformation")
    assert TENANT in r["www-authenticate"]


def test_keys_rotate(tmp_path, issuer):
    own = Issuer(tmp_path)
    e = Emulator(tmp_path / "e", "--issuer", str(own.file))
    try:
        old = own.token()
        assert Bearer(e, old).send("PUT", "/box?restype=container").status == 201
        own.key = jwt.make_key(tmp_path / "next.pem")
        own.publish()
        assert Bearer(e, old).get("/box?restype=container").status == 401
        assert Bearer(e, own.token()).get("/box?restype=container").status == 200
        assert Client(e).get("/box?restype=container").status == 200, "Shared Key holds beside tokens"
        own.file.write_text("{")
        assert Bearer(e, own.token()).get("/box?restype=container").status == 200, "half a file changes nothing"
    finally:
        e.stop()


def test_roles(e, issuer, box):
    path = "/%s/b" % box
    reader = Bearer(e, issuer.token(roles=["Storage Blob Data Reader"]))
    assert reader.get(path).status == 200 and reader.list(box).status == 200
    for r in (reader.put(path, b"x"), reader.send("DELETE", path)):
        assert (r.status, r.code) == (403, "AuthorizationPermissionMismatch")
    nobody = Bearer(e, issuer.token(roles=[]))
    assert nobody.get(path).code == "AuthorizationPermissionMismatch"
    assert Bearer(e, issuer.token(roles=["Storage Blob Data Contributor"])).put(path, b"x").status == 201


def test_the_account_key_opens_nothing(e, c, box):
    path = "/%s/b" % box
    sas = (azure_sign.service_sas(e.account, e.key, box, sp="r", se=when(600)),
           azure_sign.account_sas(e.account, e.key, "r", when(600)))
    for r in (Client(e).get(path), *(Client(e).send("GET", path, sas=s) for s in sas)):
        assert (r.status, r.code) == (403, "KeyBasedAuthenticationNotPermitted")


def test_tokens_are_off_by_default(tmp_path, issuer):
    e = Emulator(tmp_path / "e")
    try:
        assert Bearer(e, issuer.token()).get("?comp=list").code == "InvalidAuthenticationInfo"
        r = ask(batch_host(e), "GET", "/jobs?api-version=2024-07-01.20.0",
                {"Authorization": "Bearer " + issuer.token(aud=BATCH)})
        assert r[0] == 403
    finally:
        e.stop()


# --- user delegation ---------------------------------------------------------------------------

def delegation_key(client, start, expiry, version="2021-12-02"):
    times = ("<Start>%s</Start>" % start if start else "") + "<Expiry>%s</Expiry>" % expiry
    body = '<?xml version="1.0" encoding="utf-8"?><KeyInfo>%s</KeyInfo>' % times
    return client.send("POST", "?restype=service&comp=userdelegationkey", body.encode(),
                       {"x-ms-version": version})


def key_of(client, seconds=3600):
    r = delegation_key(client, when(-60), when(seconds))
    assert r.status == 200, r.body
    return {n.tag: n.text for n in r.xml}


def user_sas(e, key, container, blob=None, sv="2020-12-06", sent=None, **p):
    """sent: what the request will have, for srh and srq: two lists of names and values."""
    sr = p.pop("sr", "c" if blob is None else "b")
    canon = "/blob/%s/%s" % (e.account, container) + ("" if blob is None else "/" + blob)
    p = {"skoid": key["SignedOid"], "sktid": key["SignedTid"], "skt": key["SignedStart"], "ske": key["SignedExpiry"],
         "sks": "b", "skv": key["SignedVersion"], "sp": "r", "se": when(600), **p}
    fields = [p.get(n, "") for n in ("sp", "st", "se")] + [canon]
    fields += [p[n] for n in ("skoid", "sktid", "skt", "ske", "sks", "skv")]
    if sv >= "2020-02-10":
        fields += [p.get(n, "") for n in ("saoid", "suoid", "scid")]
    if sv >= "2025-07-05":
        fields += [p.get(n, "") for n in ("skdutid", "sduoid")]
    fields += [p.get("sip", ""), p.get("spr", ""), sv, sr, p.get("snapshot", "")]
    if sv >= "2020-12-06":
        fields.append(p.get("ses", ""))
    if sv >= "2026-04-06":
        for pairs in sent or ((), ()):
            fields.append("".join("%s:%s\n" % pair for pair in pairs))
    fields += [p.get(n, "") for n in ("rscc", "rscd", "rsce", "rscl", "rsct")]
    mac = hmac.new(base64.b64decode(key["Value"]), "\n".join(fields).encode(), hashlib.sha256)
    return azure_sign._encode({**p, "sv": sv, "sr": sr, "sig": base64.b64encode(mac.digest()).decode()})


def test_the_key_of_a_user(c):
    key = key_of(c)
    assert (key["SignedOid"], key["SignedTid"], key["SignedService"], key["SignedVersion"]) == (
        USER, TENANT, "b", "2021-12-02")
    assert len(base64.b64decode(key["Value"])) == 32
    start, expiry = when(0), when(3000)
    assert delegation_key(c, start, expiry).body == delegation_key(c, start, expiry).body
    assert key_of(c, 1800)["Value"] != key["Value"]
    assert delegation_key(c, None, when(600)).status == 200
    for bad in (when(8 * 86400), when(-60), "tomorrow"):
        assert delegation_key(c, when(-60), bad).code == "InvalidXmlNodeValue"
    assert c.send("POST", "?restype=service&comp=userdelegationkey", b"<KeyInfo/>").code == "MissingRequiredXmlNode"
    assert c.send("POST", "?restype=service&comp=userdelegationkey", b"x").code == "InvalidXmlDocument"


def test_shared_key_gets_no_key(tmp_path):
    e = Emulator(tmp_path / "e")
    try:
        r = delegation_key(Client(e), when(0), when(600))
        assert (r.status, r.code) == (403, "AuthenticationFailed")
    finally:
        e.stop()


@pytest.mark.parametrize("sv", ["2018-11-09", "2020-02-10", "2020-12-06", "2022-11-02", "2025-07-05", "2026-04-06"])
def test_sas_of_a_user_of_every_form(e, c, box, sv):
    key = key_of(c)
    for sas in (user_sas(e, key, box, "b", sv=sv), user_sas(e, key, box, sv=sv, sp="rl", spr="https,http")):
        assert Client(e).send("GET", "/%s/b" % box, sas=sas).body == b"hello"
    assert Client(e).send("GET", "/%s?restype=container&comp=list" % box, sas=sas).status == 200
    r = Client(e).send("PUT", "/%s/b" % box, b"x", {"x-ms-blob-type": "BlockBlob"}, sas=sas)
    assert r.code == "AuthorizationPermissionMismatch"
    over = user_sas(e, key, box, "b", sv=sv, rsct="text/x", rscd="inline")
    r = Client(e).send("GET", "/%s/b" % box, sas=over)
    assert (r["content-type"], r["content-disposition"]) == ("text/x", "inline")


def test_what_breaks_a_sas_of_a_user(e, c, box):
    key = key_of(c)
    path = "/%s/b" % box

    def code(**p):
        return Client(e).send("GET", path, sas=user_sas(e, p.pop("key", key), box, "b", **p)).code
    assert code() is None
    for field in ("skoid", "sktid", "skt", "ske", "skv"):
        assert code(**{field: "2020-12-06" if field == "skv" else when(7200)}) == "AuthenticationFailed", field
    assert code(key={**key, "Value": base64.b64encode(b"x" * 32).decode()}) == "AuthenticationFailed"
    assert code(se=when(-5)) == "AuthenticationFailed"
    assert code(sip="10.0.0.1") == "AuthorizationSourceIPMismatch"
    assert code(spr="https") == "AuthorizationProtocolMismatch"
    assert code(sp="w") == "AuthorizationPermissionMismatch"
    whole = user_sas(e, key, box, "b")
    for name in ("skt", "ske", "sktid", "sks", "skv", "sp", "se", "sr"):
        cut = "&".join(f for f in whole.split("&") if not f.startswith(name + "="))
        r = Client(e).send("GET", path, sas=cut)
        assert (r.status, r.code) == (403, "AuthenticationFailed"), name
    with_policy = user_sas(e, key, box, "b", si="p")
    assert Client(e).send("GET", path, sas=with_policy).code == "AuthenticationFailed"


def test_a_sas_ends_with_its_key(e, c, box):
    short = key_of(c, 300)
    sas = user_sas(e, short, box, "b", se=when(3600))
    assert Client(e).send("GET", "/%s/b" % box, sas=sas).status == 200
    trap(e, sas_clock=600)
    try:
        r = Client(e).send("GET", "/%s/b" % box, sas=sas)
        assert r.code == "AuthenticationFailed" and "time frame" in r.xml.find("AuthenticationErrorDetail").text
    finally:
        trap(e, sas_clock=0)


def test_a_reader_s_key_writes_nothing(e, issuer, box):
    key = key_of(Bearer(e, issuer.token(roles=["Storage Blob Data Reader"])))
    sas = user_sas(e, key, box, sp="racwdl")
    assert Client(e).send("GET", "/%s/b" % box, sas=sas).status == 200
    assert Client(e).send("GET", "/%s?restype=container&comp=list" % box, sas=sas).status == 200
    for method in ("PUT", "DELETE"):
        r = Client(e).send(method, "/%s/b" % box, headers={"x-ms-blob-type": "BlockBlob"}, sas=sas)
        assert r.code == "AuthorizationPermissionMismatch"


def test_a_sas_bound_to_a_user(e, c, issuer, box):
    sas = user_sas(e, key_of(c), box, "b", sv="2025-07-05", sduoid=USER)

    def code(token):
        headers = {"Authorization": "Bearer " + token, "x-ms-version": "2021-12-02"} if token else {}
        return Client(e).send("GET", "/%s/b" % box, headers=headers, sas=sas).code
    assert code(issuer.token()) is None
    assert code(None) == "AuthenticationFailed"
    assert code(issuer.token(oid=TENANT)) == "AuthenticationFailed"
    assert code("x.y.z") == "InvalidAuthenticationInfo"


def test_a_sas_that_wants_headers_and_parameters(e, c, box):
    sent = ((("x-ms-client-request-id", "mine"),), (("timeout", "30"),))
    sas = user_sas(e, key_of(c), box, "b", sv="2026-04-06", srh="x-ms-client-request-id", srq="timeout", sent=sent)
    path = "/%s/b" % box
    headers = {"x-ms-client-request-id": "mine"}
    assert Client(e).send("GET", path + "?timeout=30", headers=headers, sas=sas).status == 200
    assert Client(e).send("GET", path + "?timeout=31", headers=headers, sas=sas).code == "AuthenticationFailed"
    assert Client(e).send("GET", path + "?timeout=30", sas=sas).code == "AuthenticationFailed"


def test_copies_as_a_user(e, c, box):
    source = "http://%s/%s/%s/b" % (e.host, e.account, box)
    assert c.send("PUT", "/%s/copy" % box, headers={"x-ms-copy-source": source}).status == 202
    assert c.get("/%s/copy" % box).body == b"hello"
    asks = {"x-ms-copy-source": source, "x-ms-blob-type": "BlockBlob"}
    assert c.send("PUT", "/%s/url" % box, headers=asks).status in (401, 403, 404, 409)
    asks["x-ms-copy-source-authorization"] = "Bearer " + c.token
    assert c.send("PUT", "/%s/url" % box, headers=asks).status == 201
    for broken in ("B", "Bearer", "Basic " + c.token, c.token):
        asks["x-ms-copy-source-authorization"] = broken
        assert c.send("PUT", "/%s/url" % box, headers=asks).code == "CannotVerifyCopySource", broken
    asks["x-ms-copy-source"] = source + "?" + user_sas(e, key_of(c), box, "b")
    del asks["x-ms-copy-source-authorization"]
    assert c.send("PUT", "/%s/url2" % box, headers=asks).status == 201


# --- Batch -------------------------------------------------------------------------------------

def test_batch_takes_tokens(e, issuer):
    def jobs(token, method="GET", path="/jobs"):
        headers = {"Authorization": "Bearer " + token} if token else {}
        if method == "POST":
            headers["Content-Length"] = "0"
        status, headers, body = ask(batch_host(e), method, path + "?api-version=2024-07-01.20.0", headers)
        return status, headers, json.loads(body) if body else {}
    assert jobs(issuer.token(aud=BATCH))[0] == 200
    assert jobs(issuer.token(aud=BATCH[:-1]))[0] == 200
    for bad in (issuer.token(), issuer.token(aud=BATCH, exp=1), "x"):
        status, headers, body = jobs(bad)
        assert (status, body["code"]) == (401, "AuthenticationFailed")
        assert TENANT in headers["www-authenticate"] and BATCH in headers["www-authenticate"]
    reader = issuer.token(aud=BATCH, roles=["Reader"])
    assert jobs(reader)[0] == 200
    assert jobs(reader, "POST", "/jobs/none/enable")[0] == 403
    assert jobs(None)[0] == 400


def test_batch_refuses_its_key_too(e):
    with pytest.raises(urllib.error.HTTPError) as refused:
        batch_call(e.env, "GET", "/jobs")
    assert refused.value.code == 403 and json.load(refused.value)["code"] == "AuthenticationFailed"
