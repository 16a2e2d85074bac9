"""The programs that are measured, each as a class that mounts the container and unmounts it."""
import os
import shutil
import subprocess
import time
from pathlib import Path

from mountbench.servers import CONTAINER


class Mounted:
    """One mount in a folder of its own. `path` is where the container's names stand."""

    name, is_peer = "", True

    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        self.seconds = self.listed = 0.0
        self.point = folder / "mnt"
        self.point.mkdir(parents=True)

    def env(self):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AZURE_", "RCLONE_"))}
        return {**clean, "XDG_CONFIG_HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder / "cache"),
                "XDG_DATA_HOME": str(self.folder)}

    def argv(self):
        raise NotImplementedError

    def start(self):
        """Also how many seconds it took from exec to the first ls, and to that of the container."""
        begin = time.monotonic()
        self.process = subprocess.Popen([str(a) for a in self.argv()], env=self.env(), stdout=subprocess.DEVNULL,
                                        stderr=open(self.folder / "log", "ab"))
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > begin + 60:
                raise SystemExit(f"bench: {self.name} did not mount: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.0005)
        self.seconds = time.monotonic() - begin
        os.listdir(self.path)
        self.listed = time.monotonic() - begin

    def answers(self):
        try:
            return os.path.ismount(self.point) and os.listdir(self.point) is not None
        except OSError:
            return False

    def peak_mib(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) / 1024

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        subprocess.run(["fusermount3", "-u", str(self.point)], check=False, timeout=60, stderr=subprocess.DEVNULL)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if os.path.ismount(self.point):
            subprocess.run(["fusermount3", "-uz", str(self.point)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Adafs(Mounted):
    name, is_peer = "adafs", False

    @property
    def path(self):
        return self.point / "containers" / CONTAINER

    def env(self):
        batch = {k: v for k, v in self.server.settings.items() if k.startswith("AZURE_BATCH")}
        return {**super().env(), **batch, "AZURE_STORAGE_CONNECTION_STRING": self.server.storage()}

    def argv(self):
        return [self.server.build / "adafs", "-f", "-o", f"dir={self.folder / 'state'},pool=local", self.point]


class Rclone(Mounted):
    """With the options that it has when nobody gives any."""

    name = "rclone"
    program = "rclone"

    @property
    def path(self):
        return self.point

    def env(self):
        return {**super().env(), "RCLONE_CONFIG_AZ_TYPE": "azureblob",
                "RCLONE_CONFIG_AZ_SAS_URL": f"{self.server.url}/{CONTAINER}?{self.server.sas}"}

    def argv(self):
        return [self.program, "mount", f"az:{CONTAINER}", self.point, "--config", os.devnull]


class Blobfuse2(Mounted):
    """With its block cache, as its manual advises for large files."""

    name = "blobfuse2"
    program = ""

    @property
    def path(self):
        return self.point

    def env(self):
        return {**super().env(), "AZURE_STORAGE_ACCOUNT": self.server.account, "AZURE_STORAGE_ACCESS_KEY": self.server.key,
                "AZURE_STORAGE_ACCOUNT_CONTAINER": CONTAINER, "AZURE_STORAGE_BLOB_ENDPOINT": self.server.url,
                "AZURE_STORAGE_AUTH_TYPE": "key"}

    def argv(self):
        return [self.program, "mount", self.point, "--foreground", "--block-cache", "--use-http", "--log-type=base",
                f"--log-file-path={self.folder / 'log'}"]


def found(blobfuse2):
    """The programs that are on this machine, ours first."""
    classes = [Adafs]
    if shutil.which(Rclone.program):
        classes.append(Rclone)
    if blobfuse2:
        Blobfuse2.program = blobfuse2
        classes.append(Blobfuse2)
    return classes
