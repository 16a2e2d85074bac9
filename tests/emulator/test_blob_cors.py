"""Service properties, and the rules in them by which pages of other origins may ask."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from blob_client import Client, Emulator  # noqa: E402

RULE = ("<CorsRule><AllowedOrigins>%s</AllowedOrigins><AllowedMethods>%s</AllowedMethods>"
        "<AllowedHeaders>%s</AllowedHeaders><ExposedHeaders>%s</ExposedHeaders>"
        "<MaxAgeInSeconds>%s</MaxAgeInSeconds></CorsRule>")
PATH = "?restype=service&comp=properties"


@pytest.fixture
def e(tmp_path):
    emulator = Emulator(tmp_path)
    yield emulator
    emulator.stop()


@pytest.fixture
def c(e):
    client = Client(e)
    client.send("PUT", "/box?restype=container")
    client.put("/box/b", b"x", x_ms_meta_a="1")
    return client


def set_rules(c, *rules):
    body = "<?xml version='1.0'?><StorageServiceProperties><Cors>%s</Cors></StorageServiceProperties>" % (
        "".join(RULE % r for r in rules))
    return c.send("PUT", PATH, body.encode())


def preflight(c, origin="http://app", method="PUT", headers=None, path="/box/b", **more):
    h = {"Origin": origin, "Access-Control-Request-Method": method, **more}
    if headers:
        h["Access-Control-Request-Headers"] = headers
    return c.send("OPTIONS", path, headers={k: v for k, v in h.items() if v}, sign=False)


def test_everybody_is_welcome_at_first(c):
    for path in ("/box/b", "/box?restype=container", "?comp=list", "/none/none"):
        r = preflight(c, "null", "DELETE", "x-ms-version,authorization,x-ms-date", path)
        assert r.status == 200 and r.body == b""
        assert r["access-control-allow-origin"] == "*"
        assert r["access-control-allow-methods"] == "DELETE"
        assert r["access-control-allow-headers"] == "x-ms-version,authorization,x-ms-date"
        assert r["access-control-max-age"] == "3600"
    r = c.get("/box/b", Origin="http://app")
    assert r["access-control-allow-origin"] == "*"
    exposed = r["access-control-expose-headers"].lower().split(",")
    for name in ("etag", "x-ms-request-id", "x-ms-meta-a", "content-length", "x-ms-blob-type", "date"):
        assert name in exposed
    assert c.get("/box/none", Origin="http://app")["access-control-allow-origin"] == "*"
    assert c.get("/box/b")["access-control-allow-origin"] is None


def test_malformed_preflights(c):
    for drop in ("Origin", "Access-Control-Request-Method"):
        assert preflight(c, **{drop: ""}).status == 400


def test_rules(c):
    assert set_rules(c, ("http://app,https://other", "GET,PUT", "x-ms-meta-*,content-type", "x-ms-*", "60"),
                     ("*", "DELETE", "*", "", "5")).status == 202
    r = preflight(c, headers="x-ms-meta-abc, Content-Type")
    assert r.status == 200 and r["access-control-allow-origin"] == "http://app"
    assert r["access-control-allow-credentials"] == "true" and r["access-control-max-age"] == "60"
    assert r["vary"] == "Origin"
    assert preflight(c, "https://other").status == 200
    assert preflight(c, "http://stranger", "DELETE", "anything").status == 200
    for r in (preflight(c, "http://stranger"), preflight(c, "http://app", "POST"),
              preflight(c, headers="x-ms-version")):
        assert (r.status, r.code) == (403, "CorsPreflightFailure")
    r = c.get("/box/b", Origin="http://app")
    exposed = r["access-control-expose-headers"].lower().split(",")
    assert "x-ms-meta-a" in exposed and "etag" not in exposed
    assert r["access-control-allow-origin"] == "http://app"
    assert c.get("/box/b", Origin="http://stranger")["access-control-allow-origin"] is None


def test_rules_outlive_a_restart(c, e):
    set_rules(c, ("http://app", "GET", "*", "*", "60"))
    e.stop()
    e.start()
    c = Client(e)
    assert preflight(c, "http://other", "GET").code == "CorsPreflightFailure"
    assert preflight(c, "http://app", "GET").status == 200
    assert set_rules(c).status == 202  # none at all
    assert preflight(c, "http://app", "GET").code == "CorsPreflightFailure"
    assert c.send("GET", PATH).xml.find("Cors") is not None
    assert c.send("GET", PATH).xml.find("Cors/CorsRule") is None


def test_sections_that_are_not_named_stay(c):
    body = (b"<StorageServiceProperties><StaticWebsite><Enabled>true</Enabled>"
            b"<IndexDocument>a&amp;b.html</IndexDocument></StaticWebsite>"
            b"<DefaultServiceVersion>2021-12-02</DefaultServiceVersion></StorageServiceProperties>")
    assert c.send("PUT", PATH, body).status == 202
    root = c.send("GET", PATH).xml
    assert root.find("StaticWebsite/IndexDocument").text == "a&b.html"
    assert root.find("DefaultServiceVersion").text == "2021-12-02"
    assert root.find("Cors/CorsRule/AllowedOrigins").text == "*"
    assert root.find("Logging/RetentionPolicy/Enabled").text == "false"


@pytest.mark.parametrize("rules,code", [
    ([("*", "GET", "*", "*", "1")] * 6, "InvalidXmlDocument"),
    ([("*", "FETCH", "*", "*", "1")], "InvalidXmlNodeValue"),
    ([("", "GET", "*", "*", "1")], "InvalidXmlNodeValue"),
    ([("*", "GET", "*", "*", "-1")], "InvalidXmlNodeValue")])
def test_malformed_rules(c, rules, code):
    r = set_rules(c, *rules)
    assert (r.status, r.code) == (400, code)


def test_malformed_documents(c):
    for body, code in ((b"", "InvalidXmlDocument"), (b"<Other/>", "InvalidXmlDocument"),
                       (b"<StorageServiceProperties><No/></StorageServiceProperties>", "InvalidXmlDocument"),
                       (b"<StorageServiceProperties><Cors><CorsRule><AllowedOrigins>*</AllowedOrigins>"
                        b"</CorsRule></Cors></StorageServiceProperties>", "MissingRequiredXmlNode")):
        assert c.send("PUT", PATH, body).code == code
    assert preflight(c).status == 200


def test_the_secondary_reads_and_tells_its_state(c, e):
    path = "-secondary"
    r = c.send("GET", path + "?restype=service&comp=stats")
    assert r.status == 200 and r.xml.find("GeoReplication/Status").text == "live"
    assert c.get(path + "/box/b").body == b"x"
    assert [n for n in c.send("GET", path + "/box?restype=container&comp=list").xml.iter("Name")][0].text == "b"
    r = c.put(path + "/box/b", b"y")
    assert (r.status, r.code) == (403, "InsufficientAccountPermissions")


def test_account_information_anywhere(c):
    for path in ("", "/", "/box", "/box/b"):
        for method in ("GET", "HEAD"):
            r = c.send(method, path + "?restype=account&comp=properties")
            assert r.status == 200 and r.body == b"" and r["x-ms-sku-name"] == "Standard_LRS"
            assert r["x-ms-account-kind"] == "StorageV2" and r["x-ms-is-hns-enabled"] == "false"
