"""`adafs check`: 0 only when a mount would work, and every finding says what to do."""
import json
import subprocess
import sys
import urllib.request

import pytest

from harness import ROOT, batch_call, program, wait_for

sys.path.insert(0, str(ROOT / "tests" / "emulator"))
from azure_sign import service_sas, shared_key  # noqa: E402
from gateway import Gate  # noqa: E402


class Site:
    """An emulator with a container, and checks of it."""

    def __init__(self, emulator, tmp_path):
        self.settings, self.tmp_path = emulator.settings, tmp_path
        text = emulator.settings["AZURE_STORAGE_CONNECTION_STRING"]
        self.parts = dict(p.split("=", 1) for p in text.split(";") if "=" in p)
        self.account, self.key = self.parts["AccountName"], self.parts["AccountKey"]
        self.endpoint = emulator.blob_endpoint()
        url = self.endpoint + "/ada?restype=container"
        headers = shared_key(self.account, self.key, "PUT", url, {})
        headers["Content-Length"] = "0"
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method="PUT"), timeout=10):
            pass

    def with_sas(self, sp, **more):
        sas = service_sas(self.account, self.key, "ada", sp=sp, se=more.pop("se", "2099-01-01T00:00:00Z"), **more)
        return {"AZURE_STORAGE_CONNECTION_STRING": f"BlobEndpoint={self.endpoint};SharedAccessSignature={sas}"}

    def check(self, *options, **changes):
        """Exit status and the findings by name, each (word, text)."""
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.tmp_path), **self.settings, **changes}
        options = ["pool=local", f"dir={self.tmp_path / 'check'}", *options]
        done = subprocess.run([program(), "check", "-o", ",".join(options)], env=env, capture_output=True, text=True,
                              timeout=60)
        found = {}
        for line in done.stdout.splitlines():
            word, name, text = line.split(None, 2)
            found.setdefault(name, []).append((word, text))
        assert (done.returncode == 0) == all(w != "FAIL" for f in found.values() for w, _ in f), done.stdout
        assert self.key not in done.stdout + done.stderr and "sig=" not in done.stdout + done.stderr
        return done.returncode, found


@pytest.fixture
def site(emulator, tmp_path):
    return Site(emulator, tmp_path)


def test_all_is_well(site):
    status, found = site.check()
    assert status == 0
    assert found["container"][0][0] == found["read"][0][0] == found["write"][0][0] == found["delete"][0][0] == "ok"
    assert "1 nodes of 4 slots" in found["pool"][0][1]
    assert [w for w, _ in found["clock"]] == ["ok", "ok"]
    assert {text.split(":")[0] for _, text in found["tls"]} == {"Blob", "Batch"}


def test_nothing_was_changed(site):
    site.check()
    url = site.endpoint + "/ada?restype=container&comp=list&include=uncommittedblobs"
    headers = shared_key(site.account, site.key, "GET", url, {})
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
        assert b"<Blob>" not in reply.read()


def test_rights_of_a_sas(site):
    status, found = site.check("ro", **site.with_sas("rl"))
    assert status == 0 and found["read"][0][0] == "ok" and "write" not in found
    status, found = site.check(**site.with_sas("l"))
    assert status == 1 and "lacks r (read)" in found["settings"][0][1]


def test_a_container_that_a_sas_cannot_make(site):
    sas = service_sas(site.account, site.key, "none", sp="racwdl", se="2099-01-01T00:00:00Z")
    status, found = site.check("container=none", AZURE_STORAGE_CONNECTION_STRING=(
        f"BlobEndpoint={site.endpoint};SharedAccessSignature={sas}"))
    assert status == 1 and "container=NAME" in str(found)


def test_a_key_that_is_wrong(site):
    text = site.settings["AZURE_STORAGE_CONNECTION_STRING"].replace(site.key, "d3Jvbmcga2V5IHdyb25nIGtleQ==")
    status, found = site.check(AZURE_STORAGE_CONNECTION_STRING=text)
    assert status == 1 and "AuthenticationFailed" in found["container"][0][1]
    assert "key of '%s'" % site.account in found["container"][0][1]
    status, found = site.check(AZURE_BATCH_ACCESS_KEY="d3Jvbmcga2V5IHdyb25nIGtleQ==")
    assert status == 1 and "AuthenticationFailed" in found["batch"][0][1]


def test_a_pool_that_is_missing_or_empty(site):
    status, found = site.check("pool=none")
    assert status == 1 and "pool=ID" in found["pool"][0][1]
    batch_call(site.settings, "POST", "/pools/local/resize", {"targetDedicatedNodes": 0})
    wait_for("the node goes", lambda: not batch_call(site.settings, "GET", "/pools/local")["currentDedicatedNodes"])
    status, found = site.check()
    assert status == 0 and found["pool"][0][0] == "warn" and "resize 1" in found["pool"][0][1]


@pytest.mark.parametrize("options, words", [
    (["pool_vm_size=\\,A1"], "names no VM size"),
    (["pool_vm_size=A1", "pool_image=x"], "PUBLISHER:OFFER:SKU"), (["pool_vm_size=A1", "pool_node_agent=x"], "pool_image="),
    (["pool_vm_size=A1", "pool_registry_server=x"], "ADAFS_REGISTRY_USER")])
def test_a_pool_that_could_not_be_made(site, options, words):
    status, found = site.check("pool=none", *options)
    assert status == 1 and found["pool"][0][0] == "FAIL" and words in found["pool"][0][1]


def test_a_pool_whose_nodes_are_too_small(site, tmp_path):
    pipeline = json.loads((ROOT / "tests" / "faults" / "tiny.json").read_text())
    pipeline["steps"][0]["slots"] = 4
    (tmp_path / "p.json").write_text(json.dumps(pipeline))
    batch_call(site.settings, "POST", "/pools", {
        "id": "small", "vmSize": "standard_d2s_v3", "taskSlotsPerNode": 1,
        "targetDedicatedNodes": 0, "virtualMachineConfiguration": {
            "nodeAgentSKUId": "batch.node.debian 12",
            "imageReference": {"publisher": "debian", "offer": "debian-12", "sku": "12"}}})
    status, found = site.check("pool=small", f"pipeline={tmp_path / 'p.json'}")
    assert status == 1 and "lower the step's" in found["pool"][0][1]


@pytest.mark.parametrize("ahead, words", [(300, "300 s behind"), (-120, "120 s ahead")])
def test_a_clock_that_is_off(site, ahead, words):
    gate = Gate(site.endpoint)
    gate.ahead = ahead
    text = site.settings["AZURE_STORAGE_CONNECTION_STRING"].replace(
        gate.service, "127.0.0.1:%d" % gate.server_address[1])
    status, found = site.check(AZURE_STORAGE_CONNECTION_STRING=text)
    gate.shutdown()
    word, clock = found["clock"][0]
    seconds, rest = clock.split(" is ", 1)[1].split(" s ", 1)
    assert status == 0 and word == "warn" and "NTP" in clock
    assert abs(int(seconds) - abs(ahead)) <= 2 and rest.startswith(words.split(" s ")[1])


def test_a_service_that_is_not_there(site):
    status, found = site.check("io_timeout=1", AZURE_STORAGE_CONNECTION_STRING=(
        f"BlobEndpoint=http://127.0.0.1:9/{site.account};AccountName={site.account};AccountKey={site.key}"))
    assert status == 1 and "check the endpoint" in found["container"][0][1]


def test_a_pipeline_that_cannot_run(site, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"name": "p", "steps": [{"name": "a", "comand": "x"}]}))
    status, found = site.check(f"pipeline={tmp_path / 'p.json'}")
    assert status == 1 and "comand" in found["pipeline"][0][1]
