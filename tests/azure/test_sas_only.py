"""Mounts that have a SAS and no key: what they can do, what they say that they cannot, and who gets the SAS."""
import errno
import json
import subprocess
import sys
import time
import urllib.request

import pytest

from harness import ROOT, png, program, wait_for

sys.path.insert(0, str(ROOT / "tests" / "emulator"))
from azure_sign import account_sas, service_sas, shared_key  # noqa: E402

TINY = ROOT / "tests" / "faults" / "tiny.json"
LATE = "2099-01-01T00:00:00Z"


def in_seconds(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


class Site:
    """An emulator whose key only this class has, and its container."""

    def __init__(self, emulator):
        self.emulator = emulator
        parts = dict(p.split("=", 1) for p in
                     emulator.settings["AZURE_STORAGE_CONNECTION_STRING"].split(";") if "=" in p)
        self.account, self.key = parts["AccountName"], parts["AccountKey"]
        self.send("PUT", "/ada?restype=container")

    def send(self, method, path, data=b"", **headers):
        url = self.emulator.blob_endpoint() + path
        headers = shared_key(self.account, self.key, method, url,
                             {"Content-Type": "application/octet-stream", **headers}, len(data))
        request = urllib.request.Request(url, data=data, headers={**headers, "Content-Length": str(len(data))},
                                         method=method)
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.read()

    def env(self, sas):
        batch = {k: v for k, v in self.emulator.settings.items() if k.startswith("AZURE_BATCH")}
        return {"AZURE_STORAGE_ACCOUNT": self.account, "AZURE_STORAGE_SAS_TOKEN": sas,
                "AZURE_STORAGE_BLOB_ENDPOINT": self.emulator.blob_endpoint(), **batch}

    def container_sas(self, sp="racwdl", se=LATE, **more):
        return service_sas(self.account, self.key, "ada", sp=sp, se=se, **more)

    def account_sas(self, sp="rwdlac", se=LATE, **more):
        return account_sas(self.account, self.key, sp, se, **more)


@pytest.fixture
def site(emulator):
    return Site(emulator)


@pytest.fixture
def make_sas_mount(site, make_mount):
    def make(sas, *options):
        return make_mount(f"pipeline={TINY}", "pool=local", "poll=0.2", "log_level=debug", *options, env=site.env(sas))
    return make


def refused(site, tmp_path, sas, *options):
    """The line with which a mount is refused."""
    (tmp_path / "mnt").mkdir(exist_ok=True)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **site.env(sas)}
    done = subprocess.run([program(), "-f", "-o", ",".join(["pool=local", f"dir={tmp_path / 's'}", *options]),
                           str(tmp_path / "mnt")], env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "sig=" not in done.stderr
    return done.stderr


def image(mount, tmp_path, name="a.png", seed=1):
    (mount.path / "inbox" / name).write_bytes(png(tmp_path / name, seed).read_bytes())


def only_what_a_sas_may(site):
    forbidden = {"GetContainerACL", "SetContainerACL", "GetContainerProperties"}
    assert not forbidden & site.emulator.counters().keys()


# --- what works -------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["container", "account"])
def test_the_main_job_with_a_sas_that_tasks_may_have(kind, site, make_sas_mount, tmp_path):
    sas = site.container_sas() if kind == "container" else site.account_sas()
    mount = make_sas_mount(sas, "sas_to_tasks").start()
    image(mount, tmp_path)
    assert set(mount.wait_jobs(1).values()) == {"completed"}
    wait_for("the map", lambda: (mount.path / "results" / "default" / "all.txt").exists(), 30)
    assert (mount.path / "results" / "default" / "all.txt").read_text().split()
    status = json.loads((mount.path / "status.json").read_text())
    assert status["credentials"]["blob"].endswith("good until 2099-01-01T00:00:00Z")
    assert "warning" not in status["credentials"]
    only_what_a_sas_may(site)
    if kind == "container":
        assert "CreateContainer" not in {k for k in site.emulator.counters()} or \
            site.emulator.counters()["CreateContainer"] == 1  # the test's own
    log = mount.log.read_text()
    assert all(part.startswith("REDACTED") for part in log.split("sig=")[1:])


def test_an_account_sas_makes_its_container(site, make_sas_mount):
    mount = make_sas_mount(site.account_sas(), "container=fresh").start()
    (mount.path / "containers" / "fresh" / "x").write_bytes(b"x")
    assert "fresh" in [c.name for c in (mount.path / "containers").iterdir()]


def test_files_without_jobs(site, make_sas_mount):
    mount = make_sas_mount(site.container_sas()).start()
    folder = mount.path / "containers" / "ada" / "f"
    folder.mkdir()
    (folder / "a").write_bytes(b"bytes" * 1000)
    (folder / "a").rename(folder / "b")
    assert (folder / "b").read_bytes() == b"bytes" * 1000
    (folder / "b").unlink()
    assert not (folder / "b").exists()
    assert [c.name for c in (mount.path / "containers").iterdir()] == ["ada"]
    assert "ListContainers" not in site.emulator.counters()


def test_reading_only(site, make_sas_mount):
    site.send("PUT", "/ada/images/default/there.txt", b"there", **{"x-ms-blob-type": "BlockBlob"})
    mount = make_sas_mount(site.container_sas("rl")).start()
    path = mount.path / "containers" / "ada" / "images" / "default"
    assert (path / "there.txt").read_bytes() == b"there"
    with pytest.raises(OSError) as e:
        (path / "new").write_bytes(b"")
    assert e.value.errno == errno.EROFS
    assert "permits reading only" in mount.log.read_text()
    assert not any(name.startswith("Put") and n > 1 for name, n in site.emulator.counters().items())


# --- what is refused, and what is said --------------------------------------------------------

def test_nodes_get_the_sas_only_if_the_user_says_so(site, make_sas_mount, tmp_path):
    mount = make_sas_mount(site.container_sas()).start()
    image(mount, tmp_path)

    def waits():
        jobs = list((mount.path / "jobs").iterdir())
        text = (jobs[0] / "waiting_for").read_text() if jobs else ""
        return text if "sas_to_tasks" in text else None
    text = wait_for("the sentence", waits)
    assert "nodes would get it as it is" in text
    assert "AddTaskCollection" not in site.emulator.counters()


def test_a_container_that_is_missing(site, tmp_path):
    sas = service_sas(site.account, site.key, "none", sp="racwdl", se=LATE)
    text = refused(site, tmp_path, sas, "container=none")
    assert "container 'none' does not exist, and this SAS cannot make it" in text


@pytest.mark.parametrize("sp, words", [("racw", "lacks l (list)"), ("acwdl", "lacks r (read)"),
                                       ("rcwl", "lacks d (delete)"), ("rdl", "lacks c (create)")])
def test_rights_that_are_missing(sp, words, site, tmp_path):
    assert words in refused(site, tmp_path, site.container_sas(sp))


def test_times(site, tmp_path):
    assert "ended at" in refused(site, tmp_path, site.container_sas(se=in_seconds(-60)))
    assert "starts at" in refused(site, tmp_path, site.container_sas(st=in_seconds(3600)))


def test_kinds(site, tmp_path):
    blob = service_sas(site.account, site.key, "ada", blob="images/x", sp="r", se=LATE)
    assert "for one blob only" in refused(site, tmp_path, blob)
    assert "not for Blob (ss=q)" in refused(site, tmp_path, site.account_sas(ss="q"))
    assert "resource types o only" in refused(site, tmp_path, site.account_sas(srt="o"))
    assert "cut off" in refused(site, tmp_path, site.container_sas().split("&sr=")[0] + "&sig=x")


def test_a_sas_of_another_container(site, tmp_path):
    sas = service_sas(site.account, site.key, "other", sp="racwdl", se=LATE)
    assert "AuthenticationFailed" in refused(site, tmp_path, sas)


def test_the_end_is_announced(site, make_sas_mount):
    mount = make_sas_mount(site.container_sas(se=in_seconds(3600))).start()
    status = json.loads((mount.path / "status.json").read_text())
    assert "within a day" in status["credentials"]["warning"]


def test_a_step_does_not_start_when_the_sas_ends_too_soon(site, make_sas_mount, tmp_path):
    """The pipeline's time limit is longer than the SAS lives: 77, and a retry is what helps."""
    slow = json.loads(TINY.read_text())
    slow["defaults"] = {"time_limit": "PT2H"}
    path = tmp_path / "slow.json"
    path.write_text(json.dumps(slow))
    mount = make_sas_mount(site.container_sas(se=in_seconds(3600)), "sas_to_tasks", f"pipeline={path}").start()
    image(mount, tmp_path)
    assert set(mount.wait_jobs(1).values()) == {"failed"}
    job = next((mount.path / "jobs").iterdir())
    step = next(s for s in (job / "steps").iterdir() if s.name.startswith("01-look"))
    assert (step / "exit_code").read_text().strip() == "77"
    assert "a retry submits it anew" in (step / "failure").read_text()
    assert "a retry submits it anew" in (job / "waiting_for").read_text()
