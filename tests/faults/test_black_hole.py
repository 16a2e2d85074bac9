"""A server that takes requests and says nothing: what does not need it goes on, and what does ends in time."""
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import INTERRUPTIBLE, ROOT, wait_for

sys.path.insert(0, str(ROOT / "tests" / "mount"))
from gateway import Gate  # noqa: E402

READERS = 64
IO_TIMEOUT = 4
LIMIT = IO_TIMEOUT + 1 + 0.5  # the last for a machine that does much else
SIZE = 6 << 20

# Reads a byte of each file at once, in a thread each: a line of seconds and errno a file, then the end.
READ_ALL = """
import os, sys, threading, time
def read(path):
    begun = time.monotonic()
    try:
        code = 0 if os.pread(os.open(path, os.O_RDONLY), 65536, 0) else -1
    except OSError as e:
        code = e.errno
    os.write(1, f"{time.monotonic() - begun:.3f} {code}\\n".encode())
threads = [threading.Thread(target=read, args=(path,)) for path in sys.argv[1:]]
for t in threads: t.start()
for t in threads: t.join()
"""


@pytest.fixture
def gate(emulator):
    g = Gate(emulator.blob_endpoint())
    yield g
    g.let_go.set()
    g.shutdown()
    g.server_close()


@pytest.fixture
def mount(emulator, gate, make_mount):
    env = dict(emulator.settings)
    env["AZURE_STORAGE_CONNECTION_STRING"] = env["AZURE_STORAGE_CONNECTION_STRING"].replace(
        gate.service, f"127.0.0.1:{gate.server_port}")
    m = make_mount("pool=asleep", "attr_timeout=60", f"io_timeout={IO_TIMEOUT}", env=env).start()
    data = m.path / "containers/ada/data"
    data.mkdir()
    for i in range(READERS):
        (data / f"hung-{i}").write_bytes(os.urandom(1000) * (SIZE // 1000))
    for i in range(40):
        (data / f"fine-{i}").write_bytes(b"fine" * 1000)
    m.unmount()
    m.start()
    assert len(list(data.iterdir())) == READERS + 40
    (data / "fine-0").read_bytes()
    return m


def read_all(mount, names) -> subprocess.Popen:
    paths = [str(mount.path / "containers/ada/data" / n) for n in names]
    return subprocess.Popen([sys.executable, "-c", READ_ALL, *paths], stdout=subprocess.PIPE, text=True)


def results(readers: subprocess.Popen) -> list[tuple[float, int]]:
    out, _ = readers.communicate(timeout=60)
    return [(float(line.split()[0]), int(line.split()[1])) for line in out.splitlines()]


def of_process(mount, name: str) -> int:
    status = Path(f"/proc/{mount.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(name + ":")).split()[1])


def within(seconds: float, do):
    """Its answer; it must come in so long, however busy the mount is."""
    begun = time.monotonic()
    answer = do()
    assert time.monotonic() - begun < seconds
    return answer


def all_that_needs_no_server(mount):
    data = mount.path / "containers/ada/data"
    within(1, lambda: os.listdir(mount.path / "jobs"))
    assert len(within(1, lambda: os.listdir(data))) >= READERS + 40
    assert within(1, lambda: (data / "fine-0").read_bytes()) == b"fine" * 1000
    within(1, lambda: (mount.path / "status.json").read_text())


def test_what_needs_no_server_goes_on(mount, gate):
    data = mount.path / "containers/ada/data"
    gate.held = ("*", "")
    readers = read_all(mount, [f"hung-{i}" for i in range(READERS)])
    wait_for("requests hang", lambda: gate.n_held >= 32, 20)
    for _ in range(3):
        all_that_needs_no_server(mount)
    with open(data / "new", "wb", buffering=0) as f:  # a spool's: CREATE and WRITE are local
        within(1, lambda: f.write(b"x" * (1 << 20)))
        assert readers.poll() is None, "the readers ended before that was looked at"
        times = results(readers)
        assert len(times) == READERS
        # Ended with an error, each in its time.
        assert max(t for t, _ in times) < LIMIT, sorted(times)[-5:]
        assert {e for _, e in times} <= {errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EIO}
        all_that_needs_no_server(mount)
        gate.held = None
        wait_for("the server is known to be back", lambda: read_ok(data / "fine-1"), 20)


def read_ok(path: Path) -> bool:
    try:
        return path.read_bytes() == b"fine" * 1000
    except OSError:
        return False


def test_some_requests_hang_and_others_do_not(mount, gate):
    """As when one of the servers behind an address is dead: healthy files of the same host are read."""
    data = mount.path / "containers/ada/data"
    gate.held = ("GET", "hung-")
    readers = read_all(mount, [f"hung-{i}" for i in range(READERS)])
    wait_for("requests hang", lambda: gate.n_held >= READERS, 20)
    for i in range(1, 10):
        assert within(IO_TIMEOUT / 2, (data / f"fine-{i}").read_bytes) == b"fine" * 1000
    (data / "written").write_bytes(b"y" * 1000)
    # Also when the first of them are given up: the host answers others, so it is not down.
    begun, i = time.monotonic(), 10
    while readers.poll() is None and time.monotonic() - begun < 3 * IO_TIMEOUT:
        assert within(IO_TIMEOUT / 2, (data / f"fine-{10 + i % 30}").read_bytes) == b"fine" * 1000
        i += 1
        time.sleep(0.05)
    times = results(readers)
    assert len(times) == READERS and all(e for _, e in times)
    assert max(t for t, _ in times) < LIMIT, sorted(times)[-5:]


def test_ctrl_c_is_immediate_and_sigurg_nothing(mount, gate):
    data = mount.path / "containers/ada/data"
    gate.held = ("GET", "hung-")
    cats = [subprocess.Popen([*INTERRUPTIBLE, "cat", str(data / f"hung-{i}")], stdout=subprocess.DEVNULL) for i in range(8)]
    # As Go's runtime: SIGURG with SA_RESTART, again and again.
    urged = subprocess.Popen([sys.executable, "-c",
                              "import os, signal, sys\n"
                              "signal.signal(signal.SIGURG, lambda *_: None)\n"
                              "signal.siginterrupt(signal.SIGURG, False)\n"
                              "print(flush=True)\n"
                              "print(len(os.pread(os.open(sys.argv[1], os.O_RDONLY), 100, 0)), flush=True)\n",
                              str(data / "hung-20")], stdout=subprocess.PIPE, text=True)
    assert urged.stdout and urged.stdout.readline() == "\n"
    wait_for("requests hang", lambda: gate.n_held >= 9, 20)
    stop = threading.Event()

    def urge():
        while not stop.is_set() and urged.poll() is None:
            urged.send_signal(signal.SIGURG)
            time.sleep(0.002)
    thread = threading.Thread(target=urge)
    thread.start()
    try:
        begun = time.monotonic()
        for cat in cats:
            cat.send_signal(signal.SIGINT)
        for cat in cats:
            assert cat.wait(10) == -signal.SIGINT
        assert time.monotonic() - begun < 1
        gate.held = None
        gate.let_go.set()  # their connections end; a request is sent again
        assert urged.stdout.readline() == "100\n" and urged.wait(10) == 0
    finally:
        stop.set()
        thread.join()


def test_nothing_grows(mount, gate):
    gate.held = ("*", "")
    sizes, threads = [], []
    for turn in range(3):
        wait_for("the server counts as there", lambda: gate_hangs_again(mount, gate), 20)
        hung = gate.n_held
        readers = read_all(mount, [f"hung-{i}" for i in range(READERS)])
        wait_for("requests hang", lambda: gate.n_held > hung, 20)
        threads.append(of_process(mount, "Threads"))
        assert len(results(readers)) == READERS
        sizes.append(of_process(mount, "VmRSS"))
    assert max(threads) < 32 and threads[-1] <= threads[0] + 2, threads
    if "san" not in os.environ.get("ADAFS_BIN", ""):
        assert sizes[-1] < sizes[0] + 8192, sizes


def gate_hangs_again(mount, gate) -> bool:
    """Let it answer until the mount has seen it, then hold all once more."""
    gate.held = None
    back = read_ok(mount.path / "containers/ada/data/fine-2") and read_ok(mount.path / "containers/ada/data/fine-3")
    gate.held = ("*", "")
    return back
