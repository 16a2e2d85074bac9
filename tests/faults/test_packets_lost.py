"""A network that loses every packet, as when a cable is pulled: in a network namespace of the test's own."""
import errno
import os
import subprocess
import threading
import time
from urllib.parse import urlsplit

import pytest

import harness
from harness import Emulator, Mount, wait_for

IO_TIMEOUT = 4
LIMIT = IO_TIMEOUT + 1 + 0.5  # the last for a machine that does much else

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may have a network namespace of its own")


@pytest.fixture
def net(tmp_path, monkeypatch):
    """A namespace in which adafs runs; a function that runs a command there."""
    keeper = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link set lo up && echo; exec sleep 600"],
                              stdout=subprocess.PIPE)
    assert keeper.stdout
    inside = ["nsenter", "-n", "-t", str(keeper.pid), "--"]
    try:
        if keeper.stdout.readline() != b"\n":
            pytest.skip("no network namespace can be made here")
        wrapper = tmp_path / "adafs-inside"
        wrapper.write_text(f"#!/bin/sh\nexec {' '.join(inside)} {harness.program()} \"$@\"\n")
        wrapper.chmod(0o755)
        monkeypatch.setenv("ADAFS_BIN", str(wrapper))
        yield lambda *argv: subprocess.run([*inside, *argv], capture_output=True, text=True, timeout=20)
    finally:
        keeper.kill()
        keeper.wait()


@pytest.fixture
def mount(net, tmp_path):
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0").start()
    m = Mount(tmp_path / "m", "pool=asleep", "attr_timeout=60", f"io_timeout={IO_TIMEOUT}", env=e.settings)
    m.port = urlsplit(e.blob_endpoint()).port
    try:
        yield m.start()
    finally:
        net("iptables", "-F")
        m.unmount()
        m.check_logs()
        e.stop()


def lose(net, port: int) -> None:
    for direction in ("--dport", "--sport"):
        done = net("iptables", "-A", "INPUT", "-p", "tcp", direction, str(port), "-j", "DROP")
        if done.returncode:
            pytest.skip("packets cannot be dropped here: " + done.stderr)


def timed(do) -> tuple[float, int]:
    begun = time.monotonic()
    try:
        do()
        code = 0
    except OSError as e:
        code = e.errno
    return time.monotonic() - begun, code


def test_every_call_ends_and_all_is_well_afterwards(net, mount):
    data = mount.path / "containers/ada/data"
    data.mkdir()
    for i in range(16):
        (data / f"f{i}").write_bytes(os.urandom(100_000))
    # RENAME holds the lock of its directory while the service copies: ls of that one waits.
    other = mount.path / "containers/ada/other"
    other.mkdir()
    (other / "f").write_bytes(b"x")
    known = (data / "f0").read_bytes()
    assert len(os.listdir(data)) == 16
    lose(net, mount.port)
    calls = [lambda i=i: (data / f"f{i}").read_bytes() for i in range(1, 16)]
    calls += [lambda: os.listdir(mount.path / "containers"), lambda: (data / "no-such-file").stat(),
              lambda: (data / "new").write_bytes(b"x"), lambda: os.rename(other / "f", other / "g")]
    outcome: dict[int, tuple[float, int]] = {}
    threads = [threading.Thread(target=lambda n=n, do=do: outcome.update({n: timed(do)})) for n, do in enumerate(calls)]
    for t in threads:
        t.start()
    for _ in range(5):
        assert timed(lambda: os.listdir(mount.path / "jobs"))[0] < 1
        assert timed(lambda: os.listdir(data))[0] < 1 and (data / "f0").read_bytes() == known
        time.sleep(0.1)
    for t in threads:
        t.join(30)
    assert len(outcome) == len(calls)
    late = {n: o for n, o in outcome.items() if o[0] > LIMIT}
    assert not late, late
    assert all(code in (errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EIO) for n, (_, code) in outcome.items() if n < 15), outcome
    net("iptables", "-F")
    wait_for("it is read again", lambda: timed((data / "f2").read_bytes)[1] == 0, 30)
    assert timed((data / "f3").read_bytes)[1] == 0
