"""
The az command line's storage commands against `adafs emulator`, whose settings are in the environment: in
one process, for each start of az takes a second. Prints one line a check and exits 1 at the first failure.
"""
import io
import json
import os
import sys
import urllib.request

from azure.cli.core import get_default_cli

TAG = "%08x" % int.from_bytes(os.urandom(4), "big")
BOX, HERE = "az-" + TAG, sys.argv[1]
ENDPOINT = dict(p.split("=", 1) for p in os.environ["AZURE_STORAGE_CONNECTION_STRING"].split(";") if "=" in p)["BlobEndpoint"]


def az(*words, code=0):
    """What the command prints, as JSON; code: what it exits with."""
    cli, out = get_default_cli(), io.StringIO()
    try:
        rc = cli.invoke(["storage", *words, "-o", "json"], out_file=out)
    except SystemExit as e:
        rc = e.code
    assert bool(rc) == bool(code), (words, rc, out.getvalue(), str(cli.result and cli.result.error))
    text = out.getvalue()
    return json.loads(text) if text.strip() and not code else None


def blob(verb, name, *words, **more):
    return az("blob", *verb.split(), "-c", BOX, "-b" if "lease" in verb or "copy" in verb else "-n", name, *words, **more)


def ok(what):
    print("ok - " + what, flush=True)


def local(name, data=None):
    path = os.path.join(HERE, name)
    if data is not None:
        with open(path, "wb") as f:
            f.write(data)
    return path


def containers():
    assert az("container", "create", "-n", BOX)["created"] is True
    assert az("container", "create", "-n", BOX)["created"] is False
    assert az("container", "exists", "-n", BOX)["exists"] is True
    assert BOX in [c["name"] for c in az("container", "list")]
    az("container", "metadata", "update", "-n", BOX, "--metadata", "a=b")
    assert az("container", "metadata", "show", "-n", BOX) == {"a": "b"}
    assert az("container", "show", "-n", BOX)["name"] == BOX
    az("container", "policy", "create", "-c", BOX, "-n", "reader", "--permissions", "rl", "--expiry", "2099-01-01T00:00Z")
    assert az("container", "policy", "list", "-c", BOX)["reader"]["permission"] == "rl"
    lease = az("container", "lease", "acquire", "-c", BOX, "--lease-duration", "15")
    az("container", "lease", "release", "-c", BOX, "--lease-id", lease)
    ok("container: create, exists, list, metadata, show, policy, lease")


def content():
    small, large = b"hello", os.urandom(65 * 1024 * 1024)
    for name, data in (("small", small), ("d/ü +%.txt", b""), ("d/large", large)):
        path = local("up", data)
        blob("upload", name, "-f", path, "--no-progress")
        blob("download", name, "-f", local("down"), "--no-progress")
        with open(local("down"), "rb") as f:
            assert f.read() == data, name
    blob("upload", "small", "-f", local("up", b"x"), "--no-progress", code=1)
    blob("upload", "small", "-f", local("up", small), "--no-progress", "--overwrite", "--content-type", "a/b", "--tier", "Cool")
    shown = blob("show", "small")
    assert (shown["properties"]["contentLength"], shown["properties"]["contentSettings"]["contentType"],
            shown["properties"]["blobTier"]) == (5, "a/b", "Cool")
    assert blob("exists", "none")["exists"] is False
    blob("show", "none", code=3)
    blob("upload", "log", "-f", local("up", b"one"), "--type", "append", "--no-progress")
    blob("upload", "log", "-f", local("up", b"two"), "--type", "append", "--no-progress")
    assert blob("show", "log")["properties"]["contentLength"] == 6
    ok("blob: upload, download, show, exists, append")


def lists():
    names = [b["name"] for b in az("blob", "list", "-c", BOX)]
    assert names == ["d/large", "d/ü +%.txt", "log", "small"], names
    assert [b["name"] for b in az("blob", "list", "-c", BOX, "--prefix", "d/", "--include", "mst")] == names[:2]
    assert [b["name"] for b in az("blob", "list", "-c", BOX, "--delimiter", "/")] == ["d/", "log", "small"]
    assert len(az("blob", "list", "-c", BOX, "--num-results", "2")) >= 2
    ok("blob: list")


def properties():
    blob("metadata update", "small", "--metadata", "k=v")
    assert blob("metadata show", "small") == {"k": "v"}
    blob("update", "small", "--content-language", "de")
    assert blob("show", "small")["properties"]["contentSettings"]["contentLanguage"] == "de"
    blob("set-tier", "small", "--tier", "Hot")
    assert blob("show", "small")["properties"]["blobTier"] == "Hot"
    taken = blob("snapshot", "small")["snapshot"]
    blob("download", "small", "-f", local("down"), "--snapshot", taken, "--no-progress")
    blob("delete", "small", code=1)
    ok("blob: metadata, update, set-tier, snapshot")


def leases():
    lease = blob("lease acquire", "log", "--lease-duration", "-1")
    blob("delete", "log", code=1)
    assert blob("lease renew", "log", "--lease-id", lease) == lease
    blob("lease break", "log", "--lease-break-period", "0")
    blob("delete", "log")
    ok("blob: lease")


def copies():
    blob("copy start", "copy", "--source-container", BOX, "--source-blob", "d/large")
    assert blob("show", "copy")["properties"]["copy"]["status"] == "success"
    sas = blob("generate-sas", "small", "--permissions", "r", "--expiry", "2099-01-01T00:00Z")
    with urllib.request.urlopen(f"{ENDPOINT}/{BOX}/small?{sas}", timeout=10) as r:
        assert r.read() == b"hello"
    sas = az("container", "generate-sas", "-n", BOX, "--policy-name", "reader")
    with urllib.request.urlopen(f"{ENDPOINT}/{BOX}?restype=container&comp=list&{sas}", timeout=10) as r:
        assert b"<Name>small</Name>" in r.read()
    sas = az("account", "generate-sas", "--permissions", "l", "--services", "b", "--resource-types", "s", "--expiry", "2099-01-01T00:00Z")
    with urllib.request.urlopen(f"{ENDPOINT}/?comp=list&{sas}", timeout=10) as r:
        assert BOX.encode() in r.read()
    ok("blob: copy; generate-sas of blob, container and account")


def many():
    os.makedirs(local("tree/a"))
    for n in range(5):
        local(f"tree/a/f{n}", b"%d" % n)
    az("blob", "upload-batch", "-d", BOX, "-s", local("tree"), "--destination-path", "many", "--no-progress")
    os.makedirs(local("back"))
    az("blob", "download-batch", "-s", BOX, "-d", local("back"), "--pattern", "many/*", "--no-progress")
    with open(local("back/many/a/f3"), "rb") as f:
        assert f.read() == b"3"
    az("blob", "delete-batch", "-s", BOX, "--pattern", "many/*")
    assert az("blob", "list", "-c", BOX, "--prefix", "many/") == []
    blob("delete", "small", "--delete-snapshots", "include")
    assert az("container", "delete", "-n", BOX)["deleted"] is True
    ok("blob: upload-batch, download-batch, delete-batch, delete; container: delete")


containers()
content()
lists()
properties()
leases()
copies()
many()
