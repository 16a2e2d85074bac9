"""The servers that mounts are measured on: the static one of tests/bench/blobserver.c, and the emulator."""
import http.client
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "emulator"))
import azure_sign  # noqa: E402

CONTAINER = "bench"
SMALL, N_SMALL = 100 * 1024, 300
# The key that is printed in every Azure manual for local services.
KNOWN_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoMGMw=="


class Emulator:
    """`adafs emulator` with a state of its own."""

    name = "emulator"

    def __init__(self, build, folder):
        self.build, self.settings = build, {}
        log = open(folder.with_suffix(".log"), "a")
        self.process = subprocess.Popen(
            [str(build / "adafs"), "emulator", "--dir", str(folder), "--nodes", "1", "--slots", "1", "--blob", "127.0.0.1:0",
             "--batch", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True, stderr=log)
        wanted = {"AZURE_STORAGE_CONNECTION_STRING", "AZURE_BATCH_ENDPOINT", "AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ACCESS_KEY"}
        while not wanted <= self.settings.keys():
            line = self.process.stdout.readline()
            if not line:
                sys.exit(f"bench: the emulator did not start: see {folder.with_suffix('.log')}")
            name, _, value = line.strip().partition("=")
            self.settings[name] = "".join(shlex.split(value))
        parts = dict(p.split("=", 1) for p in self.settings["AZURE_STORAGE_CONNECTION_STRING"].split(";") if "=" in p)
        self.url = parts["BlobEndpoint"].rstrip("/")
        self.host, self.port = self.url.split("/")[2].split(":")
        self.account, self.key = parts["AccountName"], parts["AccountKey"]
        self.sas = azure_sign.account_sas(self.account, self.key, "rwdlacx", "2099-01-01T00:00:00Z")

    def seed(self, size, folders):
        """The blob `big`, N_SMALL small ones and folders of empty ones, as the static server has them."""
        self.request("PUT", "", "restype=container").read()
        source = Path("/dev/shm") / f"adafs-bench-{os.getpid()}"
        with open(source, "wb") as f:
            chunk = os.urandom(1 << 20)
            for _ in range(size >> 20):
                f.write(chunk)
        self.load("blocks", self.target("big"), source, 8 << 20, 4)
        source.unlink()
        self.load("puts", self.target("small/"), 16, N_SMALL, SMALL)
        for n in folders:
            self.load("puts", self.target(f"n{n}/image-"), 64, n, 0)

    def target(self, name):
        return f"/{self.account}/{CONTAINER}/{name}"

    def load(self, mode, target, *arguments):
        """Seconds that tests/bench/blobload.c took."""
        argv = [self.build / "tests" / "blobload", mode, self.host, self.port, target, self.sas, *arguments]
        return float(subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.PIPE, text=True).stdout)

    def blob_url(self, name):
        return f"{self.url}/{CONTAINER}/{name}?{self.sas}"

    def request(self, method, name, query=""):
        connection = http.client.HTTPConnection(self.host, int(self.port), timeout=600)
        connection.request(method, f"{self.target(name).rstrip('/')}?{query}{'&' if query else ''}{self.sas}",
                           headers={"x-ms-version": "2021-12-02", "Content-Length": "0"})
        return connection.getresponse()

    def must_have(self, name, size):
        """What a program calls written is here."""
        reply = self.request("HEAD", name)
        if reply.status != 200 or int(reply.headers["Content-Length"]) != size:
            sys.exit(f"bench: {name} was closed and is not there: {reply.status} {reply.headers['Content-Length']}")

    def counters(self):
        with_stats = http.client.HTTPConnection(self.host, int(self.port), timeout=60)
        with_stats.request("GET", "/adafs/counters")
        return json.loads(with_stats.getresponse().read())["operations"]

    def storage(self):
        return self.settings["AZURE_STORAGE_CONNECTION_STRING"]

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


class Static(Emulator):
    """tests/bench/blobserver.c. Batch, of which a mount asks nothing while it is measured, is an emulator's."""

    name = "static"

    def __init__(self, build, batch, size):  # pylint: disable=super-init-not-called
        self.build, self.batch = build, batch
        self.process = subprocess.Popen([str(build / "tests" / "blobserver"), "--names", "--size", str(size)],
                                        stdout=subprocess.PIPE, text=True)
        self.host, self.port = "127.0.0.1", self.process.stdout.readline().strip()
        self.account, self.key = "devstoreaccount1", KNOWN_KEY
        self.url = f"http://{self.host}:{self.port}/{self.account}"
        self.sas = azure_sign.account_sas(self.account, self.key, "rwdlacx", "2099-01-01T00:00:00Z")
        self.settings = batch.settings
        self.total = {}

    def seed(self, size, folders):
        """It has made them."""

    def counters(self):
        connection = http.client.HTTPConnection(self.host, int(self.port), timeout=60)
        connection.request("GET", "/stats")
        for name, n in json.loads(connection.getresponse().read()).items():
            self.total[name] = self.total.get(name, 0) + n
        return dict(self.total)

    def storage(self):
        return f"AccountName={self.account};AccountKey={self.key};BlobEndpoint={self.url}"
