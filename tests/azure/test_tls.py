"""The client over https: a certificate that is trusted, one that is not, one of another name."""
import subprocess
import sys

import pytest

from harness import ROOT, png, program

sys.path.insert(0, str(ROOT / "tests" / "mount"))
from gateway import Gate  # noqa: E402

TINY = ROOT / "tests" / "faults" / "tiny.json"


def certificate(path, name):
    """A PEM file with a self-signed certificate for an address, and its key."""
    key = path.with_suffix(".key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=adafs-test",
                    "-addext", "subjectAltName=" + name, "-keyout", str(key), "-out", str(path)], check=True,
                   capture_output=True, timeout=60)
    path.write_text(path.read_text() + key.read_text())
    return path


class Site:
    """Both services behind TLS, with the same certificate."""

    def __init__(self, emulator, pem, trusted):
        settings = dict(emulator.settings)
        self.gates = [Gate(emulator.blob_endpoint(), str(pem)), Gate(settings["AZURE_BATCH_ENDPOINT"], str(pem))]
        for gate in self.gates:
            here = "https://127.0.0.1:%d" % gate.server_address[1]
            settings = {k: v.replace("http://" + gate.service, here) for k, v in settings.items()}
        self.env = {**settings, "SSL_CERT_FILE": str(trusted)}

    def check(self, tmp_path):
        env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **self.env}
        return subprocess.run([program(), "check", "-o", f"pool=local,io_timeout=3,dir={tmp_path / 'check'}"], env=env,
                              capture_output=True, text=True, timeout=60)

    def close(self):
        for gate in self.gates:
            gate.shutdown()


@pytest.fixture
def pem(tmp_path, monkeypatch):
    """The certificate of this machine, which the emulator's nodes trust too."""
    path = certificate(tmp_path / "server.pem", "IP:127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


@pytest.fixture
def make_site(pem, emulator):
    made = []

    def make(served=None, trusted=None):
        made.append(Site(emulator, served or pem, trusted or pem))
        return made[-1]

    yield make
    for site in made:
        site.close()


def test_a_mount_over_https(make_site, make_mount, tmp_path):
    site = make_site()
    done = site.check(tmp_path)
    assert done.returncode == 0 and done.stdout.count("https, the certificate is verified") == 2, done.stdout
    m = make_mount(f"pipeline={TINY}", "pool=local", env=site.env).start()
    (m.path / "inbox" / "flood").mkdir()
    subprocess.run(["cp", str(png(tmp_path / "a.png", 1)), str(m.path / "inbox" / "flood")], check=True, timeout=60)
    (m.path / "containers" / "ada" / "big").write_bytes(bytes(range(256)) * 40000)
    assert (m.path / "containers" / "ada" / "big").read_bytes() == bytes(range(256)) * 40000
    assert set(m.wait_jobs(1).values()) == {"completed"}


def test_a_certificate_that_nobody_trusts(make_site, tmp_path):
    done = make_site(trusted=certificate(tmp_path / "other.pem", "IP:127.0.0.1")).check(tmp_path)
    assert done.returncode == 1 and "ca-certificates" in done.stdout, done.stdout


def test_a_certificate_of_another_name(make_site, tmp_path):
    other = certificate(tmp_path / "other.pem", "DNS:somewhere.example")
    done = make_site(served=other, trusted=other).check(tmp_path)
    assert done.returncode == 1 and "container" in done.stdout and "FAIL" in done.stdout, done.stdout
