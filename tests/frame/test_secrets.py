"""Secrets stay where they belong: a main job at the most talkative log level, and then no key, no signature and no
token in any log, in the arguments of any process, in the mount's files or in what tasks are told to run."""
import json
import os
import re
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from harness import ROOT, SECRETS, Emulator, batch_get, png, wait_for

sys.path.insert(0, str(ROOT / "tests" / "azure"))
import issuer as entra  # noqa: E402
from test_entra import accounts  # noqa: E402

TINY = ROOT / "tests" / "faults" / "tiny.json"


def found_in(data: bytes, secrets: set[str]) -> list[str]:
    """The places of secrets, with the text before each and not the secret itself."""
    found = [data[max(0, m.start() - 60):m.start() + 6] for m in SECRETS.finditer(data)]
    found += [data[max(0, at - 60):at] for s in secrets if (at := data.find(s.encode())) >= 0]
    return [f.decode(errors="replace") for f in found]


class Arguments(threading.Thread):
    """The arguments of every process below these, and their secrets, until stopped."""

    def __init__(self, roots):
        super().__init__(daemon=True)
        self.roots, self.seen, self.end = roots, set(), threading.Event()
        self.start()

    def run(self):
        while not self.end.wait(0.005):
            parents, lines = {}, {}
            for p in Path("/proc").glob("[0-9]*"):
                try:
                    parents[int(p.name)] = int((p / "stat").read_text().rpartition(")")[2].split()[1])
                    lines[int(p.name)] = (p / "cmdline").read_bytes()
                except (OSError, IndexError):
                    continue
            below = set(self.roots())
            while more := {pid for pid, parent in parents.items() if parent in below} - below:
                below |= more
            self.seen |= {lines[pid] for pid in below if pid in lines}

    def stop(self):
        self.end.set()
        self.join()
        return self.seen


@pytest.fixture(params=["embedded", "key", "token"])
def site(request, tmp_path, make_mount):
    """A mount at debug level on each engine and credential, what is secret there, and its list of Batch."""
    options = [f"pipeline={TINY}", "pool=local", "poll=0.2", "log_level=debug"]
    if request.param == "embedded":
        mount = make_mount(*options)
        yield mount, lambda: keys_of(mount.engine_settings()), lambda path: batch_get(mount.engine_settings(), path)
        return
    issuer = entra.Issuer(tmp_path / "issuer")
    more = ["--issuer", str(issuer.keys_file), "--no-shared-key"] if request.param == "token" else []
    # Refusals and their whole replies go to the log.
    more += ["--trap", "busy_rate=0.2"]
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0", "--slots", "4",
                 "--access-log", str(tmp_path / "access.log"), *more).start()
    if request.param == "token":
        mount = make_mount(*options, env=accounts(e, **issuer.env_secret()))

        def listed(path):
            url = e.settings["AZURE_BATCH_ENDPOINT"] + path + "?api-version=2024-07-01.20.0"
            asked = urllib.request.Request(url, headers={"Authorization": "Bearer " + issuer.token("secret", entra.BATCH)})
            with urllib.request.urlopen(asked, timeout=10) as reply:
                return json.load(reply)["value"]
    else:
        mount = make_mount(*options, env=e.settings)

        def listed(path):
            return batch_get(e.settings, path)
    yield mount, lambda: keys_of(e.settings) | {entra.SECRET}, listed
    mount.unmount()
    e.stop()
    issuer.shutdown()


def keys_of(settings):
    storage = re.search("AccountKey=([^;]+)", settings["AZURE_STORAGE_CONNECTION_STRING"])
    return {storage[1], settings["AZURE_BATCH_ACCESS_KEY"]}


def patiently(listed, path):
    """A list of a service that is busy now and then; never None."""
    def probe():
        try:
            return [listed(path)]
        except urllib.error.HTTPError as e:
            assert e.code in (429, 503), e.code
            return None
    return wait_for("a list of " + path, probe, 20)[0]


def contents(mount):
    """Every file of the mount, by path."""
    for folder, _, names in os.walk(mount.path):
        for name in names:
            path = os.path.join(folder, name)
            try:
                with open(path, "rb") as f:
                    yield path, f.read(1 << 20)
            except OSError:
                continue


def test_no_secret_gets_out(site, tmp_path):
    mount, secrets_of, listed = site
    arguments = Arguments(lambda: [os.getpid(), *(int(p) for p in [mount.engine_settings().get("ADAFS_EMULATOR_PID")] if p)])
    mount.start()
    for n in range(2):
        (mount.path / "inbox" / f"i{n}.png").write_bytes(png(tmp_path / f"i{n}.png", n).read_bytes())
    assert set(mount.wait_jobs(2).values()) == {"completed"}
    wait_for("the map", lambda: (mount.path / "results" / "default" / "all.txt").exists(), 30)
    secrets = secrets_of()
    wrong = []
    files = 0
    for path, data in contents(mount):
        files += 1
        wrong += [(path, f) for f in found_in(path.encode() + b"\n" + data, secrets)]
    assert files > 10
    tasks = 0
    for job in patiently(listed, "/jobs"):
        for task in patiently(listed, f"/jobs/{job['id']}/tasks"):
            tasks += 1
            told = {k: v for k, v in task.items() if k not in ("resourceFiles", "outputFiles")}
            wrong += [(task["id"], f) for f in found_in(json.dumps(told).encode(), secrets)]
    assert tasks >= 4
    mount.unmount()
    seen = arguments.stop()
    assert any(b"size.txt" in line for line in seen) or len(seen) > 3
    wrong += [(repr(line[:40]), f) for line in seen for f in found_in(line, secrets)]
    logs = [p for p in tmp_path.rglob("*.log*") if p.is_file()]
    assert mount.log in logs
    if mount.state / "emulator.log" not in logs:
        assert b" debug " in mount.log.read_bytes()
    for log in logs:
        wrong += [(str(log), f) for f in found_in(log.read_bytes(), secrets)]
    assert not wrong, wrong


@pytest.mark.parametrize("text", ["GET /c/b?sv=2021-12-02&sig=abcdefghijklmnopq%2B&se=x", "u%3Fsig%3Dabcdefghijklmnopq",
                                  "Authorization: SharedKey ada:abcdefghijklmnopq=", "Bearer eyJ0eXAiOiJKV1QiLCJ.eyJhdWQiOiJo.x",
                                  "key is c2VjcmV0IGtleQ=="])
def test_the_scan_finds(text):
    assert found_in(b"x" * 100 + text.encode(), {"c2VjcmV0IGtleQ=="})
    assert not found_in(b"sig=REDACTED Bearer REDACTED SharedKey REDACTED", {"c2VjcmV0IGtleQ=="})
