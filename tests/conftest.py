"""What all Python tests share: the program under test, an emulator of its own, waiting."""
import json
import os
import shlex
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
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
            [program(), "emulator", "--dir", str(self.directory), *self.options],
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
                for name, n in json.load(reply).items():
                    total[name] = total.get(name, 0) + n
        return total

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
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        for word in SANITIZER_WORDS:
            assert word not in text, text[-6000:]


@pytest.fixture
def emulator(tmp_path):
    """A fresh emulator for one test."""
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0",
                 "--slots", "4")
    e.start()
    yield e
    e.stop()
