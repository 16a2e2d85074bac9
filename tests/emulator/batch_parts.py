"""What the tests of the Batch service share: a little of Blob, and a client on an emulator."""
import datetime
import http.client
import urllib.parse

import pytest

import azure_sign
from batch_sign import Batch


@pytest.fixture
def b(emulator):
    client = Batch(emulator.settings)
    client.emulator = emulator
    return client


class Storage:
    """The little of Blob that these tests need."""

    def __init__(self, settings):
        parts = dict(p.split("=", 1) for p in
                     settings["AZURE_STORAGE_CONNECTION_STRING"].split(";") if "=" in p)
        self.account, self.key = parts["AccountName"], parts["AccountKey"]
        self.endpoint = parts["BlobEndpoint"].rstrip("/")

    def call(self, method, path, data=None, **headers):
        url = self.endpoint + path
        h = {k.replace("_", "-"): v for k, v in headers.items()}
        azure_sign.shared_key(self.account, self.key, method, url, h, len(data) if data else None)
        split = urllib.parse.urlsplit(url)
        c = http.client.HTTPConnection(split.netloc, timeout=30)
        if data is None and method == "PUT":
            data = b""
        c.request(method, url.split(split.netloc)[1], data, h)
        r = c.getresponse()
        body = r.read()
        c.close()
        return r.status, body

    def container(self, name):
        assert self.call("PUT", "/%s?restype=container" % name)[0] == 201

    def put(self, container, blob, data):
        status, body = self.call("PUT", "/%s/%s" % (container, urllib.parse.quote(blob)), data,
                                 x_ms_blob_type="BlockBlob")
        assert status == 201, body

    def read(self, container, blob):
        status, body = self.call("GET", "/%s/%s" % (container, urllib.parse.quote(blob)))
        return body if status == 200 else None

    def sas(self, container, permissions, blob=None, hours=1):
        end = datetime.datetime.utcnow() + datetime.timedelta(hours=hours)
        query = azure_sign.service_sas(self.account, self.key, container, blob, sp=permissions,
                                       se=end.strftime("%Y-%m-%dT%H:%M:%SZ"))
        path = "/" + container + ("/" + urllib.parse.quote(blob) if blob else "")
        return self.endpoint + path + "?" + query


@pytest.fixture
def storage(b):
    s = Storage(b.emulator.settings)
    s.container("input")
    s.container("output")
    return s


def out_file(storage, pattern, condition="taskcompletion", path=None, container="output", sp="cw"):
    target = {"containerUrl": storage.sas(container, sp)}
    if path is not None:
        target["path"] = path
    return {"filePattern": pattern, "destination": {"container": target},
            "uploadOptions": {"uploadCondition": condition}}


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
