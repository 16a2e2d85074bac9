"""Azurite, Microsoft's own emulator of Azure Storage, pinned in azurite/package.json: the referee of the Blob tests."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import wait_for

HERE = Path(__file__).parent / "azurite"
PROGRAM = HERE / "node_modules" / ".bin" / "azurite-blob"
ACCOUNT = "devstoreaccount1"
# Azurite's own, in its documentation: not a secret.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def install() -> None:
    """The package, from npm at first use; skips when it cannot be had."""
    if PROGRAM.exists():
        return
    if not shutil.which("npm"):
        pytest.skip("npm is not installed: scripts/setup --tests installs it")
    done = subprocess.run(["npm", "install", "--no-package-lock", "--ignore-scripts", "--silent"], cwd=HERE,
                          capture_output=True, text=True, timeout=300)
    if done.returncode or not PROGRAM.exists():
        pytest.skip("Azurite cannot be had from npm: " + done.stderr.strip()[-300:])


class Azurite:
    """One on a free port, with its state in memory."""

    def __init__(self, directory: Path):
        install()
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "azurite.log"
        # crc64 headers, which it does not know, are refused unless it is loose.
        self.process = subprocess.Popen(
            ["node", str(PROGRAM), "--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence",
             "--loose", "--skipApiVersionCheck", "--disableTelemetry"],
            stdout=open(self.log, "wb"), stderr=subprocess.STDOUT, cwd=directory)
        self.port = int(wait_for("Azurite listens", self._address, 60))
        self.settings = {"AZURE_STORAGE_CONNECTION_STRING": self.connection_string()}

    def _address(self):
        if self.process.poll() is not None:
            pytest.fail("Azurite ended: " + self.log.read_text(errors="replace")[-2000:])
        found = re.search(r"successfully listen\w* (?:at|on) http://127\.0\.0\.1:(\d+)", self.log.read_text(errors="replace"))
        return found and found[1]

    def blob_endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    def connection_string(self) -> str:
        port = self.port
        return (f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
                f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
