"""What the Python tests share: the program under test, an emulator or mount of its own, waiting."""
import ctypes
import json
import os
import random
import re
import shlex
import signal
import struct
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import zlib
from email.utils import formatdate
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Ctrl-C works whoever started the tests: a shell's background jobs ignore it.
INTERRUPTIBLE = ("env", "--default-signal=INT")
# What must stand in no log, at no level, in no test.
SECRETS = re.compile(rb"sig(=|%3D)[A-Za-z0-9+/%]{16,}|SharedKey\s+\S+:[A-Za-z0-9+/]{16,}|eyJ[\w-]{8,}\.[\w-]{8,}\.")
SANITIZER_WORDS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:")


def program() -> str:
    """The adafs binary: $ADAFS_BIN, else build/adafs."""
    path = os.environ.get("ADAFS_BIN", str(ROOT / "build" / "adafs"))
    if not os.access(path, os.X_OK):
        pytest.skip(f"{path} is not built: run scripts/setup, or set ADAFS_BIN")
    return path


def shared_data() -> Path:
    """Real images that are not part of the project; tests that use them skip without them."""
    path = Path(os.environ.get("ADAFS_SHARED", ROOT.parent / "shared")) / "data"
    if not path.is_dir():
        pytest.skip(f"{path} is not here: set ADAFS_SHARED to the folder that holds data/")
    return path


def wait_for(what: str, probe, seconds: float = 60.0):
    """The first true answer of probe(); fails with what was waited for at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def ends_within(process: subprocess.Popen | None, seconds: float) -> bool:
    """Let it run for so long; whether it ended by itself meanwhile."""
    assert process
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def threads(pid: int) -> dict[str, str]:
    """The states of a process's threads, as ps shows them."""
    found = {}
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            found[stat.parent.name] = stat.read_text().rpartition(") ")[2][0]
        except OSError:
            pass
    return found


def free_killed(pid: int, mountpoint: Path) -> None:
    """
    A note to the kernel waits for a lookup that is under way: killed at that moment, the thread that sent it stays, and
    who looks up, too, until somebody ends the connection. What an administrator does: umount -f, without looking there.
    """
    before = threads(pid)
    if before.get(str(pid)) != "Z" or "D" not in before.values():
        return
    time.sleep(1)
    after = threads(pid)
    if any(state == "D" == after.get(tid) for tid, state in before.items()):
        ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(mountpoint), 1)  # MNT_FORCE


def check_log(path: Path, secrets=()) -> None:
    """No report of a sanitizer and no secret is in a log."""
    data = path.read_bytes() if path.exists() else b""
    for word in SANITIZER_WORDS:
        assert word.encode() not in data, data[-6000:].decode(errors="replace")
    if found := SECRETS.search(data):
        pytest.fail(f"a secret is in {path} after: " + data[max(0, found.start() - 200):found.start() + 4].decode(errors="replace"))
    for secret in secrets:
        assert secret.encode() not in data, f"a key is in {path}"


class Emulator:
    """`adafs emulator` on free ports, with its state in a directory of its own."""

    def __init__(self, directory: Path, *options: str):
        self.directory = directory
        self.options = options
        self.settings: dict[str, str] = {}
        self.process: subprocess.Popen | None = None
        self.log = directory / "emulator-test.log"
        directory.mkdir(parents=True, exist_ok=True)

    def start(self) -> "Emulator":
        self.process = subprocess.Popen(
            [program(), "emulator", "--dir", str(self.directory), "--log-level", "debug", *self.options],
            stdout=subprocess.PIPE, stderr=open(self.log, "ab"), text=True, start_new_session=True)
        assert self.process.stdout
        wanted = {"AZURE_STORAGE_CONNECTION_STRING", "AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ACCESS_KEY",
                  "AZURE_BATCH_ENDPOINT"}
        self.settings = {}
        for line in self.process.stdout:
            name, _, value = line.strip().partition("=")
            self.settings[name] = "".join(shlex.split(value))
            if wanted <= self.settings.keys():
                return self
        pytest.fail("the emulator ended before it printed its settings: " + self.log.read_text()[-2000:])

    def environment(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("AZURE_")}
        env.update(self.settings)
        return env

    def blob_endpoint(self) -> str:
        parts = dict(p.split("=", 1) for p in
                     self.settings["AZURE_STORAGE_CONNECTION_STRING"].split(";") if "=" in p)
        return parts["BlobEndpoint"]

    def counters(self) -> dict[str, int]:
        """Requests by operation of both services since the last reset."""
        total: dict[str, int] = {}
        for endpoint in (self.blob_endpoint(), self.settings["AZURE_BATCH_ENDPOINT"]):
            host = "/".join(endpoint.split("/")[:3])
            with urllib.request.urlopen(host + "/adafs/counters", timeout=10) as reply:
                for name, n in json.load(reply)["operations"].items():
                    total[name] = total.get(name, 0) + n
        return total

    def ends_within(self, seconds: float) -> bool:
        return ends_within(self.process, seconds)

    def kill(self) -> None:
        """As a power cut would end it."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        check_log(self.log, [self.settings[k] for k in ("AZURE_BATCH_ACCESS_KEY",) if k in self.settings])


def trap(emulator, **values):
    """Set faults of the emulator, or with nothing given take all back."""
    host = "/".join(emulator.blob_endpoint().split("/")[:3])
    url = host + ("/adafs/traps?" + urllib.parse.urlencode(values) if values else "/adafs/traps/reset")
    urllib.request.urlopen(urllib.request.Request(url, data=b"", method="POST"), timeout=10).close()


def batch_call(settings: dict[str, str], method: str, path: str, body: dict | None = None) -> dict:
    """One signed request to the Batch service; path may be a whole URL (a next page's)."""
    sys.path.insert(0, str(ROOT / "tests" / "emulator"))
    from azure_sign import shared_key
    url = path if "://" in path else settings["AZURE_BATCH_ENDPOINT"] + path + "?api-version=2024-07-01.20.0"
    data = None if body is None else json.dumps(body).encode()
    headers = {"ocp-date": formatdate(usegmt=True)}
    if data:
        headers["Content-Type"] = "application/json; odata=minimalmetadata"
    shared_key(settings["AZURE_BATCH_ACCOUNT"], settings["AZURE_BATCH_ACCESS_KEY"], method, url, headers,
               len(data) if data else None, ms_prefix="ocp-")
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as reply:
        text = reply.read()
    return json.loads(text) if text else {}


def batch_get(settings: dict[str, str], path: str) -> list[dict]:
    """All items of a list of the Batch service."""
    items: list[dict] = []
    while path:
        page = batch_call(settings, "GET", path)
        items += page["value"]
        path = page.get("odata.nextLink")
    return items


class Mount:
    """`adafs -f` on a private directory, on the engine of a directory that outlives it."""

    def __init__(self, directory: Path, *options: str, env: dict[str, str] | None = None,
                 source: str | None = None):
        self.directory = directory
        self.path = directory / "mnt"
        self.state = directory / "state"
        self.options = [f"dir={self.state}", "log_level=debug", *options]
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("AZURE_")}
        self.env.update({"XDG_CONFIG_HOME": str(directory / "config"),
                         "XDG_DATA_HOME": str(directory / "data"),
                         "XDG_CACHE_HOME": str(directory / "cache")})
        self.env.update(env or {})
        self.source = source
        self.process: subprocess.Popen | None = None
        self.log = directory / "mount.log"
        self.path.mkdir(parents=True, exist_ok=True)

    def start(self, **extra_env: str) -> "Mount":
        argv = [program(), "-f", "-o", ",".join(self.options)]
        argv += [self.source] if self.source else []
        self.process = subprocess.Popen([*argv, str(self.path)], env={**self.env, **extra_env},
                                        stdout=subprocess.DEVNULL, stderr=open(self.log, "ab"))
        wait_for("the mount answers: " + str(self.log),
                 lambda: self.ready() or self.process.poll() is not None, 30)
        if self.process.poll() is not None and "ADAFS_CRASH_AT" not in extra_env:
            pytest.fail("adafs ended: " + self.log.read_text(errors="replace")[-3000:])
        return self

    def ready(self) -> bool:
        try:
            # Attributes of a dead mount may be cached: a listing asks the process.
            return os.path.ismount(self.path) and "inbox" in os.listdir(self.path)
        except OSError:  # a stale mount of a process that was killed
            return False

    def alive(self) -> bool:
        if self.process is not None and self.process.poll() is None:
            free_killed(self.process.pid, self.path)
        return self.process is not None and self.process.poll() is None

    def process_ends_within(self, seconds: float) -> bool:
        return ends_within(self.process, seconds)

    def kill(self) -> None:
        """As a power cut would end it; the stale mount stays for the next start."""
        assert self.process
        self.process.kill()
        wait_for("it has ended", lambda: not self.alive(), 60)

    def unmount(self) -> None:
        subprocess.run(["fusermount3", "-u", str(self.path)], capture_output=True, timeout=20)
        if self.process and self.alive():
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                pass
        if os.path.ismount(self.path) or self.alive():
            subprocess.run(["fusermount3", "-uz", str(self.path)], capture_output=True)
            if self.alive():
                self.process.kill()
                self.process.wait()

    def stop_engine(self) -> None:
        """End the embedded emulator, which outlives its mount while jobs run."""
        settings = self.engine_settings()
        if pid := settings.get("ADAFS_EMULATOR_PID"):
            try:
                os.kill(int(pid), signal.SIGTERM)
            except ProcessLookupError:
                return
            wait_for("the embedded emulator ends", lambda: not Path(f"/proc/{pid}").exists(), 20)

    def engine_settings(self) -> dict[str, str]:
        path = self.state / "settings"
        if not path.exists():
            return {}
        pairs = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
        return {k: "".join(shlex.split(v)) for k, v in pairs}

    def check_logs(self) -> None:
        keys = {v for k, v in {**self.env, **self.engine_settings()}.items() if k == "AZURE_BATCH_ACCESS_KEY"}
        for log in (self.log, self.state / "emulator.log"):
            check_log(log, keys)

    def jobs(self) -> dict[str, str]:
        """State by job id."""
        found = {}
        for job in sorted((self.path / "jobs").iterdir()):
            found[job.name] = (job / "state").read_text().strip()
        return found

    def wait_jobs(self, n: int, seconds: float = 120.0) -> dict[str, str]:
        """The states of n jobs once all have ended."""
        ended = {"completed", "failed", "cancelled", "empty"}

        def probe():
            jobs = self.jobs()
            return jobs if len(jobs) >= n and set(jobs.values()) <= ended else None
        return wait_for(f"{n} jobs end", probe, seconds)


def png(path: Path, seed: int, side: int = 64) -> Path:
    """A small whole image whose bytes depend on the seed."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    random_bytes = random.Random(seed)
    rows = b"".join(b"\0" + random_bytes.randbytes(side) for _ in range(side))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b""))
    return path
