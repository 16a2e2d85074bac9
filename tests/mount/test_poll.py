"""poll(2) and epoll(7) of events and of growing logs; tail -f."""
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import wait_for
from images import tiff, write_pipeline


def step_command(at: Path) -> str:
    """Prints a line whenever the file `more` appears, and ends with the file `open`."""
    return (f"echo waiting; while [ ! -e {at}/open ]; do if [ -e {at}/more ]; then echo more; rm {at}/more; fi; "
            "sleep 0.02; done; echo passed")


@pytest.fixture
def mount(make_mount, tmp_path):
    pipeline = write_pipeline(tmp_path / "gate.json", step_command(tmp_path))
    m = make_mount(f"pipeline={pipeline}", "poll=0.1", "attr_timeout=1").start()
    yield m
    (tmp_path / "open").touch()


@pytest.fixture
def job(mount):
    """The directory of a job whose first step runs."""
    (mount.path / "inbox/flood").mkdir()
    (mount.path / "inbox/flood/a.tif").write_bytes(tiff(1))
    [found] = wait_for("the job is listed", lambda: list((mount.path / "jobs").iterdir()))
    wait_for("it has written", lambda: (found / "steps/look/stdout.txt").read_text() == "waiting\n")
    return found


def read_on(fd: int) -> bytes:
    """All that is there after the descriptor's offset."""
    data = b""
    while part := os.read(fd, 65536):
        data += part
    return data


def poll_of(fd: int, events: int = select.POLLIN) -> select.poll:
    p = select.poll()
    p.register(fd, events)
    return p


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_events_wake_who_polls(mount, job, tmp_path):
    fd = os.open(job / "events", os.O_RDONLY)
    p = poll_of(fd)
    assert p.poll(0) == [(fd, select.POLLIN)]  # nothing was read yet
    assert b"01-look started" in read_on(fd)
    assert p.poll(0) == []
    before = cpu_seconds(mount.process.pid)
    assert p.poll(2000) == []
    assert cpu_seconds(mount.process.pid) - before < 0.5, "a busy loop"
    threading.Timer(0.1, lambda: (tmp_path / "open").touch()).start()
    assert p.poll(20000)
    told = read_on(fd)
    assert told
    # Until the job has ended: then the end of the file is its end.
    deadline = time.monotonic() + 60
    while not (found := p.poll(20000))[0][1] & select.POLLHUP:
        told += read_on(fd)
        assert time.monotonic() < deadline
    told += read_on(fd)
    assert b"completed" in told and found[0][1] & select.POLLIN
    os.close(fd)


def test_a_log_wakes_who_polls(mount, job, tmp_path):
    fd = os.open(job / "steps/look/stdout.txt", os.O_RDONLY)
    with select.epoll() as e:
        e.register(fd, select.EPOLLIN)
        assert e.poll(10) == [(fd, select.EPOLLIN)]
        assert read_on(fd) == b"waiting\n"
        for _ in range(3):
            assert e.poll(0.3) == []
            (tmp_path / "more").touch()
            begun = time.monotonic()
            assert e.poll(20) == [(fd, select.EPOLLIN)]
            # Logs are looked at twice a second; the step itself looks every 20 ms.
            assert time.monotonic() - begun < 1.5
            assert read_on(fd) == b"more\n"
        (tmp_path / "open").touch()
        told = b""
        while not (found := e.poll(20))[0][1] & select.EPOLLHUP:
            told += read_on(fd)
        assert told + read_on(fd) == b"passed\n" and found[0][1] & select.EPOLLIN
    os.close(fd)


def test_a_log_that_was_opened_before_its_step_began(mount, job, tmp_path):
    fd = os.open(job / "steps/tell/stderr.txt", os.O_RDONLY)
    p = poll_of(fd)
    assert os.read(fd, 100) == b"" and p.poll(100) == []
    (tmp_path / "open").touch()
    told = b""
    deadline = time.monotonic() + 60
    while b"told\n" not in told:
        assert p.poll(20000) and time.monotonic() < deadline
        told += read_on(fd)
    os.close(fd)


def test_closed_while_it_is_polled(mount, job):
    """Another thread polls; the file goes under it, and so does the mount's notice of who waits."""
    program = ("import os, select, sys, threading, time\n"
               "fds = [os.open(p, os.O_RDONLY) for p in sys.argv[1:] * 8]\n"
               "p = select.poll()\n"
               "for fd in fds:\n"
               "    while os.read(fd, 65536): pass\n"
               "    p.register(fd, select.POLLIN)\n"
               "threading.Thread(target=p.poll, daemon=True).start()\n"
               "print(flush=True)\n"
               "for fd in fds: os.close(fd)\n"
               "print('closed', flush=True)\n"
               "sys.stdin.read()\n")
    files = [str(job / "events"), str(job / "steps/look/stdout.txt")]
    child = subprocess.Popen([sys.executable, "-c", program, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout and child.stdout.readline() == "\n" and child.stdout.readline() == "closed\n"
    child.kill()
    child.wait()
    assert (job / "events").read_text()
    # A mount in which somebody still waits can end.
    fd = os.open(job / "events", os.O_RDONLY)
    read_on(fd)
    thread = threading.Thread(target=lambda: poll_of(fd).poll(30000))
    thread.start()
    mount.process.terminate()
    assert mount.process_ends_within(20)
    thread.join(20)
    assert not thread.is_alive()


def test_ordinary_files_are_always_ready(mount):
    file = mount.path / "containers/ada/x"
    file.write_text("x")
    for path in (file, mount.path / "status.json"):
        fd = os.open(path, os.O_RDONLY)
        assert poll_of(fd, select.POLLIN | select.POLLOUT).poll(0) == [(fd, select.POLLIN | select.POLLOUT)]
        os.close(fd)


@pytest.mark.parametrize("how", ["-f", "-F"])
def test_tail_follows(mount, job, tmp_path, how):
    tail = subprocess.Popen(["tail", "-s", "0.1", how, "-n", "+1", str(job / "steps/look/stdout.txt")], stdout=subprocess.PIPE,
                            text=True)
    try:
        assert tail.stdout and tail.stdout.readline() == "waiting\n"
        (tmp_path / "more").touch()
        assert tail.stdout.readline() == "more\n"
        (tmp_path / "open").touch()
        assert tail.stdout.readline() == "passed\n"
    finally:
        tail.kill()
        tail.wait()
