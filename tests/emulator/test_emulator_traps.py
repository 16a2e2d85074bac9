"""Each fault on purpose strikes as it says, and nothing else."""
import http.client
import json
import time
import xml.etree.ElementTree as ET

import pytest

import azure_sign
from blob_client import Client, Emulator, block_id, when
from trap_client import ask, batch_host, trap


@pytest.fixture
def e(tmp_path):
    emulator = Emulator(tmp_path / "e")
    yield emulator
    emulator.stop()


def container(e, name="box"):
    assert Client(e).send("PUT", "/%s?restype=container" % name).status == 201
    return Client(e)


def counters(e, host=None):
    return json.loads(ask(host or e.host, "GET", "/adafs/counters")[2])["operations"]


def test_the_table_is_shown_set_and_reset(e):
    assert trap(e, job_quota=3, busy_rate=0.25)["job_quota"] == "3"
    # One table for both services.
    status, _, body = ask(batch_host(e), "GET", "/adafs/traps")
    assert status == 200 and b"busy_rate=0.25 #" in body and b"job_quota=3 #" in body
    for query, word in (("busy_rat=1", b"busy_rate"), ("busy_rate=2", b"0 to 1"), ("job_quota=x", b"number")):
        status, _, body = ask(e.host, "POST", "/adafs/traps?" + query)
        assert status == 400 and word in body, body
    assert ask(e.host, "POST", "/adafs/traps/reset")[0] == 204
    assert trap(e)["busy_rate"] == "0"


def test_web_pages_may_not_set_traps(e):
    for method, target in (("GET", "/adafs/traps"), ("POST", "/adafs/traps?busy_rate=1"),
                           ("POST", "/adafs/traps/reset")):
        assert ask(e.host, method, target, {"Origin": "http://example.com"})[0] == 403
    assert trap(e)["busy_rate"] == "0"


def test_busy_comes_before_any_effect_in_the_service_s_form(e):
    c = container(e)
    trap(e, busy_rate=1, retry_after=7)
    seen = []
    for i in range(4):
        r = c.put("/box/b%d" % i, b"x")
        assert r["retry-after"] == "7" and r["x-ms-request-id"]
        assert ET.fromstring(r.body.decode("utf-8-sig")).find("Code").text == r.code
        seen.append((r.status, r.code))
        status, headers, body = ask(batch_host(e), "GET", "/jobs?api-version=2024-07-01.20.0")
        error = json.loads(body)
        assert headers["retry-after"] == "7" and headers["request-id"]
        assert (status, error["code"]) in ((503, "ServerBusy"), (429, "TooManyRequests"))
        assert error["message"]["value"]
    assert seen == [(503, "ServerBusy"), (429, "TooManyRequests")] * 2
    trap(e, busy_rate=0)
    assert c.names("box") == []
    trap(e, busy_rate=1, retry_after=0)
    assert "retry-after" not in c.put("/box/b", b"x").headers


def test_busy_at_a_rate_repeats_itself_by_its_seed(e):
    c = container(e)
    runs = []
    for _ in range(2):
        trap(e, busy_rate=0.2, seed=5)
        runs.append([c.get("/box/none").status for _ in range(200)])
        trap(e, busy_rate=0)
    assert runs[0] == runs[1]
    struck = sum(s != 404 for s in runs[0])
    assert 20 <= struck <= 60 and set(runs[0]) == {404, 429, 503}


def test_a_lost_reply_is_a_request_that_was_done(e):
    c = container(e)
    trap(e, lost_reply_rate=1)
    with pytest.raises((http.client.BadStatusLine, ConnectionError)):
        c.put("/box/done", b"x")
    assert counters(e)["PutBlob"] == 1
    trap(e, lost_reply_rate=0)
    assert c.get("/box/done").body == b"x"


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_cut_body_ends_in_the_middle(e, blocks):
    c = container(e)
    data = bytes(range(256)) * 4000
    part = len(data) // blocks
    ids = [block_id(i) for i in range(blocks)]
    for i, name in enumerate(ids):
        end = len(data) if i == blocks - 1 else (i + 1) * part
        assert c.block("/box/b", name, data[i * part:end]).status == 201
    assert c.commit("/box/b", ids).status == 201
    trap(e, cut_rate=1)
    with pytest.raises(http.client.IncompleteRead) as cut:
        c.get("/box/b")
    assert cut.value.partial == data[:len(data) // 2]
    assert c.head("/box/b").status == 200, "an answer without a body is whole"
    trap(e, cut_rate=0)
    assert c.get("/box/b").body == data


def test_a_slow_body_is_whole_and_takes_its_time(e):
    c = container(e)
    data = bytes(range(256)) * 64
    assert c.put("/box/b", data).status == 201
    trap(e, slow_bytes=32768)
    start = time.monotonic()
    assert c.get("/box/b").body == data
    assert time.monotonic() - start >= 0.45, "16 KiB at 32 KiB a second"


def test_sas_are_checked_with_a_clock_of_their_own(e):
    c = container(e)
    assert c.put("/box/b", b"x").status == 201
    sas = azure_sign.service_sas(e.account, e.key, "box", sp="r", se=when(600))
    later = azure_sign.service_sas(e.account, e.key, "box", sp="r", st=when(600), se=when(1200))
    assert c.send("GET", "/box/b", sas=sas).status == 200
    assert c.send("GET", "/box/b", sas=later).status == 403
    trap(e, sas_clock=900)
    assert c.send("GET", "/box/b", sas=sas).status == 403
    assert c.send("GET", "/box/b", sas=later).status == 200
    assert c.get("/box/b").status == 200, "Shared Key knows the true time"


def policy(c, **fields):
    terms = "".join("<%s>%s</%s>" % (k, v, k) for k, v in fields.items())
    body = "<SignedIdentifiers>%s</SignedIdentifiers>" % (
        "<SignedIdentifier><Id>p</Id><AccessPolicy>%s</AccessPolicy></SignedIdentifier>" % terms if fields else "")
    assert c.send("PUT", "/box?restype=container&comp=acl", body.encode()).status == 200


def test_a_changed_policy_is_obeyed_later(e):
    c = container(e)
    assert c.put("/box/b", b"x").status == 201
    sas = azure_sign.service_sas(e.account, e.key, "box", si="p")
    policy(c, Expiry=when(600), Permission="r")
    assert c.send("GET", "/box/b", sas=sas).status == 200
    trap(e, policy_delay=3600)
    policy(c, Expiry=when(600), Permission="w")
    assert c.send("GET", "/box/b", sas=sas).status == 200
    policy(c)
    assert c.send("GET", "/box/b", sas=sas).status == 200, "the oldest one still holds"
    assert b"<Id>" not in c.get("/box?restype=container&comp=acl").body, "but the new one is shown"
    trap(e, policy_delay=0)
    assert c.send("GET", "/box/b", sas=sas).code == "AuthenticationFailed"
