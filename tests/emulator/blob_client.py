"""What the tests of the Blob service share: an emulator, a client that signs, a fresh container."""
import base64
import http.client
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ET

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import azure_sign  # noqa: E402
from harness import program  # noqa: E402


def when(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


class Emulator:
    def __init__(self, path, *args):
        self.path, self.args = str(path), list(args)
        self.start()

    def start(self):
        self.process = subprocess.Popen([program(), "emulator", "--dir", self.path, *self.args],
                                        stdout=subprocess.PIPE, text=True)
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("AZURE_BATCH_ENDPOINT="):
                break
        self.env = dict(word.split("=", 1) for word in shlex.split("".join(lines)))
        assert self.env, "the emulator did not start"
        self.account, self.key = self.env["AZURE_STORAGE_ACCOUNT"], self.env["AZURE_STORAGE_KEY"]
        self.host = urllib.parse.urlsplit(self.env["AZURE_STORAGE_BLOB_ENDPOINT"]).netloc

    def kill(self, sig=signal.SIGKILL):
        self.process.send_signal(sig)
        return self.process.wait(timeout=30)

    def stop(self):
        if self.process.poll() is None:
            assert self.kill(signal.SIGTERM) == 0
        self.process.stdout.close()


class Reply:
    def __init__(self, response):
        self.status, self.body = response.status, response.read()
        self.headers = {k.lower(): v for k, v in response.getheaders()}
        self.code = self.headers.get("x-ms-error-code")

    def __getitem__(self, name):
        return self.headers.get(name.lower())

    @property
    def xml(self):
        return ET.fromstring(self.body)


class Client:
    def __init__(self, emulator):
        self.emulator = emulator
        self.local = threading.local()

    def send(self, method, path, body=b"", headers=None, sas=None, sign=True):
        e, headers = self.emulator, dict(headers or {})
        url = "/" + e.account + path
        if method in ("PUT", "POST"):
            headers.setdefault("Content-Length", str(len(body)))
        if sas:
            url += ("&" if "?" in url else "?") + sas
            headers.setdefault("x-ms-version", azure_sign.VERSION)
        elif sign:
            azure_sign.shared_key(e.account, e.key, method, url, headers, len(body))
        if getattr(self.local, "host", None) != e.host:
            self.local.connection = http.client.HTTPConnection(e.host, timeout=60)
            self.local.host = e.host
        c = self.local.connection
        try:
            c.request(method, url, body or None, headers)
            return Reply(c.getresponse())
        except Exception:
            c.close()
            self.local.host = None
            raise

    def put(self, path, data=b"", **headers):
        h = {"x-ms-blob-type": "BlockBlob"}
        h.update({k.replace("_", "-"): v for k, v in headers.items()})
        return self.send("PUT", path, data, h)

    def get(self, path, **headers):
        return self.send("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def head(self, path, **headers):
        return self.send("HEAD", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def block(self, path, block_id, data):
        q = urllib.parse.quote(block_id, safe="")
        return self.send("PUT", "%s?comp=block&blockid=%s" % (path, q), data)

    def commit(self, path, ids, tag="Latest", **headers):
        body = "<?xml version='1.0' encoding='utf-8'?>\n<BlockList>%s</BlockList>" % "".join(
            "<%s>%s</%s>" % (tag, i, tag) for i in ids)
        return self.send("PUT", path + "?comp=blocklist", body.encode(),
                         {k.replace("_", "-"): v for k, v in headers.items()})

    def list(self, container, **query):
        q = "".join("&%s=%s" % (k, urllib.parse.quote(str(v), safe="")) for k, v in query.items())
        return self.send("GET", "/%s?restype=container&comp=list%s" % (container, q))

    def names(self, container, **query):
        r = self.list(container, **query)
        assert r.status == 200, r.body
        return [(n.tag, n.find("Name").text) for n in r.xml.find("Blobs")]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    e = Emulator(tmp_path_factory.mktemp("emulator"))
    yield e
    e.stop()


@pytest.fixture
def c(emulator):
    return Client(emulator)


@pytest.fixture
def box(c):
    """A fresh container."""
    name = "box-%08x" % random.getrandbits(32)
    assert c.send("PUT", "/%s?restype=container" % name).status == 201
    yield name
    c.send("DELETE", "/%s?restype=container" % name)


def block_id(n):
    return base64.b64encode(b"%08d" % n).decode()
