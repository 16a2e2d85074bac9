"""A mount on an emulator with containers/data, and a second client that changes things beside it."""
import ctypes
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from xml.etree import ElementTree

import pytest

from harness import ROOT, batch_call

sys.path.insert(0, str(ROOT / "tests" / "emulator"))
from azure_sign import shared_key  # noqa: E402

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2


class Blobs:
    """Another client of the account."""

    def __init__(self, emulator):
        parts = dict(p.split("=", 1) for p in
                     emulator.settings["AZURE_STORAGE_CONNECTION_STRING"].split(";") if "=" in p)
        self.account, self.key, self.url = parts["AccountName"], parts["AccountKey"], parts["BlobEndpoint"]

    def call(self, method, path, body=None, **headers):
        return self.call_url(method, self.url + "/" + urllib.parse.quote(path, safe="/?=&"), body, **headers)

    def call_url(self, method, url, body=None, **headers):
        sent = {k.replace("_", "-", 3 if k.startswith("x_ms_meta_") else -1): v for k, v in headers.items()}
        if body is not None:
            sent["Content-Type"] = "application/octet-stream"
        shared_key(self.account, self.key, method, url, sent, len(body) if body else None)
        request = urllib.request.Request(url, data=body, headers=sent, method=method)
        return urllib.request.urlopen(request, timeout=20)

    def put(self, path, body, **headers):
        self.call("PUT", path, body, x_ms_blob_type="BlockBlob", **headers).close()

    def get(self, path):
        with self.call("GET", path) as reply:
            return reply.read()

    def meta(self, path):
        """The metadata of a blob, names in lower case."""
        with self.call("HEAD", path) as reply:
            return {k[10:].lower(): v for k, v in reply.headers.items() if k.lower().startswith("x-ms-meta-")}

    def names(self, prefix="", container="data"):
        """All blobs of a container, as the service lists them."""
        with self.call("GET", container + "?restype=container&comp=list&prefix=" + prefix) as reply:
            return [n.text for n in ElementTree.fromstring(reply.read()).iter("Name")]

    def exists(self, path):
        try:
            self.call("HEAD", path).close()
        except urllib.error.HTTPError as e:
            assert e.code == 404
            return False
        return True


class Site:
    def __init__(self, emulator, mount):
        self.emulator, self.mount, self.blobs = emulator, mount, Blobs(emulator)
        self.root = mount.path / "containers"
        self.dir = self.root / "data"

    def requests(self, action):
        """What the service was asked for while action ran, without what the mount does by itself."""
        before = self.emulator.counters()
        action()
        after = self.emulator.counters()
        return {k: n - before.get(k, 0) for k, n in after.items()
                if n != before.get(k, 0) and not k.startswith(("ListJobs", "GetPool", "ListNodes", "GetJob", "ListTasks"))}

    def remount(self):
        self.mount.unmount()
        self.mount.start()


def batch_pool(emulator):
    """A pool without nodes, so that nothing but the mount uses the services."""
    try:
        batch_call(emulator.settings, "POST", "/pools", {
            "id": "asleep", "vmSize": "STANDARD_D2S_V3", "targetDedicatedNodes": 0,
            "virtualMachineConfiguration": {
                "imageReference": {"publisher": "canonical", "offer": "jammy", "sku": "22"},
                "nodeAgentSKUId": "batch.node.ubuntu 22.04"}})
    except urllib.error.HTTPError as e:
        assert e.code == 409


@pytest.fixture
def make_site(make_mount, emulator):
    """Mounts on one emulator, each as on a machine of its own."""
    def make(*options, name="m"):
        env = {k: v for k, v in emulator.settings.items() if k.startswith("AZURE_")}
        batch_pool(emulator)
        site = Site(emulator, make_mount("pool=asleep", *options, env=env, name=name).start())
        if not site.dir.exists():
            site.dir.mkdir()
        return site
    return make


def errno_of(action):
    with pytest.raises(OSError) as e:
        action()
    return e.value.errno


def rename2(old, new, flags):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
